"""Percentiles: each is a figure that was measured, at the place that its definition says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vuka.sim.bench.figures import Latency, latency, percentile

FIGURES = st.lists(st.integers(0, 10_000), min_size=1, max_size=300)
PARTS = st.fractions(min_value=0, max_value=1, max_denominator=1_000).filter(lambda part: part > 0)


@settings(deadline=None)
@given(FIGURES, PARTS)
def test_a_percentile_is_the_smallest_figure_that_enough_of_them_do_not_exceed(
    figures: list[int], part: object
) -> None:
    ordered = sorted(figures)
    found = percentile(ordered, float(part))  # type: ignore[arg-type]
    assert found in ordered
    assert sum(each <= found for each in ordered) >= part * len(ordered)  # type: ignore[operator]
    assert sum(each < found for each in ordered) < part * len(ordered)  # type: ignore[operator]


@settings(deadline=None)
@given(FIGURES, PARTS, PARTS)
def test_a_greater_part_has_no_smaller_percentile(figures: list[int], one: object, other: object) -> None:
    less, more = sorted((float(one), float(other)))  # type: ignore[arg-type]
    ordered = sorted(figures)
    assert percentile(ordered, less) <= percentile(ordered, more)


def test_percentiles_of_a_hundred_figures_are_known() -> None:
    assert latency([number / 1000 for number in range(100, 0, -1)]) == Latency(50, 95, 99, 100, 100)


def test_of_nothing_there_is_no_percentile_and_an_empty_distribution() -> None:
    assert latency([]) == Latency(0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


@pytest.mark.parametrize("part", [0, -0.1, 1.01])
def test_a_percentile_is_a_part_of_one(part: float) -> None:
    with pytest.raises(ValueError, match="part"):
        percentile([1.0], part)
