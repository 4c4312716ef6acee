"""Keys of records: they grow, they never repeat, and two hub processes share none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.engine.keys import NODE_MAX, KeySource, key_floor, key_time_ms

NOW_MS = 1_700_000_000_000
YEAR_2100_MS = 4_102_444_800_000
KEYS_A_MILLISECOND = 8_192


def test_a_key_says_when_it_was_made() -> None:
    assert key_time_ms(KeySource(node=7).next(NOW_MS)) == NOW_MS


def test_keys_of_one_millisecond_follow_one_another() -> None:
    source = KeySource()
    assert [source.next(NOW_MS) - key_floor(NOW_MS) for _ in range(3)] == [0, 1, 2]


def test_more_keys_than_a_millisecond_has_go_on_in_the_next() -> None:
    source = KeySource(node=3)
    keys = [source.next(NOW_MS) for _ in range(3 * KEYS_A_MILLISECOND)]
    assert keys == sorted(set(keys))
    assert key_time_ms(keys[-1]) == NOW_MS + 2


@given(st.lists(st.integers(0, 50), max_size=200), st.integers(0, NODE_MAX))
def test_keys_grow_whatever_the_clock_does(times_ms: list[int], node: int) -> None:
    source = KeySource(node=node)
    keys = [source.next(NOW_MS + at_ms) for at_ms in times_ms]
    assert keys == sorted(set(keys))


@given(st.integers(1, 2**62), st.integers(0, NODE_MAX))
def test_a_clock_set_back_never_makes_a_key_that_is_in_the_tables(highest: int, node: int) -> None:
    assert KeySource(node=node, above=highest).next(0) > highest


def test_two_nodes_never_make_the_same_key() -> None:
    made = [KeySource(node=node).next(NOW_MS) for node in range(NODE_MAX + 1)]
    assert len(set(made)) == NODE_MAX + 1


@pytest.mark.parametrize("node", [-1, NODE_MAX + 1])
def test_a_node_has_a_number_that_fits(node: int) -> None:
    with pytest.raises(ValueError, match=rf"0\.\.{NODE_MAX}"):
        KeySource(node=node)


def test_keys_fit_a_column_for_as_long_as_anybody_plans() -> None:
    assert KeySource(node=NODE_MAX).next(YEAR_2100_MS) < 2**63


def test_the_floor_of_a_time_is_above_every_key_made_before_and_below_every_key_made_then() -> None:
    source = KeySource(node=NODE_MAX)
    before = [source.next(NOW_MS - 1) for _ in range(KEYS_A_MILLISECOND)][-1]
    assert before < key_floor(NOW_MS) <= KeySource(node=0).next(NOW_MS)
