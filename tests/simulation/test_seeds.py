"""The hub in simulated schemes: seeds that are always the same, and some that are new each time."""

from __future__ import annotations

import secrets

import pytest

from vuka.simulation.plan import SCENARIOS, draw_plan
from vuka.simulation.run import run
from vuka.simulation.shrink import shrink
from vuka.simulation.story import replay_command, story_lines

STEPS = 60
FIXED_SEEDS = range(1, 3)
FOUND_SOMETHING = (
    # A commit that failed while the hub started left its transaction open.
    ("all", 11),
    # A process that died while it started was taken for one that failed to.
    ("all", 1055),
    # What a callback did after its process had died in it was taken for a defect.
    ("all", 1089),
)
FRESH_SEEDS = 2
FRESH_SEED_MAX = 2**31

SOAK_STEPS = 100
SOAK_CHUNKS = 60
SOAK_SEEDS = 50
"""In each chunk: three thousand seeds in all, as many at once as there are cores."""


def check(seed: int, scenario: str, steps: int = STEPS) -> None:
    """Runs a seed; where it fails the story of what it needs to fail is told, and how to play it again."""
    outcome = run(draw_plan(seed, steps=steps, scenario=scenario))
    if outcome.failure is None:
        return
    smallest = shrink(outcome, attempts_max=60)
    told = "\n".join(story_lines(smallest))
    pytest.fail(
        f"{told}\n\n{outcome.failure.check}: {outcome.failure.what}\n"
        f"the whole: {replay_command(outcome.plan, steps)}\nthe least: {replay_command(smallest.plan, steps)}",
        pytrace=False,
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", FIXED_SEEDS)
def test_a_known_seed_fails_nothing(seed: int, scenario: str) -> None:
    check(seed, scenario)


@pytest.mark.parametrize(("scenario", "seed"), FOUND_SOMETHING)
def test_a_seed_that_has_found_something_finds_it_no_more(scenario: str, seed: int) -> None:
    check(seed, scenario)


def test_new_seeds_fail_nothing() -> None:
    first = secrets.randbelow(FRESH_SEED_MAX)
    for seed in range(first, first + FRESH_SEEDS):
        check(seed, "all")


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(SOAK_CHUNKS))
def test_thousands_of_new_seeds_fail_nothing(chunk: int) -> None:
    first = secrets.randbelow(FRESH_SEED_MAX)
    scenario = list(SCENARIOS)[chunk % len(SCENARIOS)]
    for seed in range(first, first + SOAK_SEEDS):
        check(seed, scenario, SOAK_STEPS)
