"""When payments begin: an open loop goes by the clock, whatever becomes of what it began."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vuka.sim.bench.shapes import Schedule, Shape


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0


def test_every_moment_is_given_once_when_it_has_come() -> None:
    clock = Clock()
    schedule = Schedule(rate=10, began=clock.now, seconds=1)
    given_at: dict[float, float] = {}
    while (following := schedule.next) is not None:
        clock.now = following
        for moment in schedule.due(clock.now):
            given_at[moment] = clock.now
    assert list(given_at) == pytest.approx([100 + number / 10 for number in range(10)])
    assert all(moment == at for moment, at in given_at.items())


def test_one_who_comes_late_is_given_what_was_missed_with_the_moments_at_which_it_was_meant() -> None:
    clock = Clock()
    schedule = Schedule(rate=10, began=clock.now, seconds=1)
    assert schedule.due(clock.now) == [100.0]
    clock.now += 0.55  # busy with something else
    late = schedule.due(clock.now)
    assert late == pytest.approx([100.1, 100.2, 100.3, 100.4, 100.5])
    assert schedule.next == pytest.approx(100.6)
    # What they are late counts: from the moment meant, not from when they could be sent.
    assert clock.now - late[0] == pytest.approx(0.45)


def test_nothing_is_given_before_its_time_or_after_the_end() -> None:
    schedule = Schedule(rate=4, began=10.0, seconds=0.5)
    assert schedule.due(9.99) == []
    assert schedule.due(99.0) == [10.0, 10.25]
    assert schedule.next is None
    assert schedule.due(999.0) == []


@settings(deadline=None)
@given(
    st.integers(1, 500),
    st.lists(st.floats(0, 0.2, allow_nan=False), max_size=60),
)
def test_however_irregularly_it_is_asked_the_moments_are_even_and_none_is_lost(rate: int, steps: list[float]) -> None:
    schedule, now, moments = Schedule(rate, 50.0, 2.0), 50.0, []
    for step in steps:
        now += step
        due = schedule.due(now)
        assert all(moment <= now for moment in due)
        moments += due
    moments += schedule.due(1_000.0)
    assert len(moments) == rate * 2
    assert all(abs(moment - 50.0 - number / rate) < 1e-9 for number, moment in enumerate(moments))


@pytest.mark.parametrize(
    ("concurrency", "rate"), [(None, None), (1, 1.0), (0, None), (None, 0.0), (None, -1.0), (None, float("nan"))]
)
def test_a_shape_is_one_thing_and_positive(concurrency: int | None, rate: float | None) -> None:
    with pytest.raises(ValueError, match=r"a (load|concurrency|rate)"):
        Shape(concurrency, rate)


def test_a_shape_has_a_name_that_says_what_it_is() -> None:
    assert Shape(concurrency=64).name == "closed, 64 under way"
    assert Shape(rate=1_500.0).name == "open, 1,500/s"
