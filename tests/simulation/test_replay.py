"""The same plan is the same run, to the byte, and a run that fails is cut down to one that fails in the same way."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from tests.cli.conftest import vuka

from vuka.cli.simulate import Scenario
from vuka.simulation.plan import SCENARIOS, Crash, Pay, Plan, draw_plan
from vuka.simulation.run import Outcome, Statistics, run
from vuka.simulation.shrink import shrink
from vuka.simulation.story import ranges, read_ranges, replay_command, story_lines
from vuka.simulation.world import Failure
from vuka.switch import transfers

DIGESTS = """
from vuka.simulation.plan import draw_plan
from vuka.simulation.run import run
for scenario in ("all", "crashes"):
    print(run(draw_plan(7, steps=25, scenario=scenario)).digest)
"""


def test_a_seed_is_the_same_run_in_two_processes_whatever_the_order_of_their_hashes() -> None:
    digests = [
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "4711")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0].split()) == 2


def test_two_runs_in_one_process_are_the_same_too() -> None:
    plan = draw_plan(7, steps=30)
    assert run(plan).digest == run(plan).digest


def test_other_seeds_are_other_runs() -> None:
    assert run(draw_plan(7, steps=10)).digest != run(draw_plan(8, steps=10)).digest


def test_a_longer_plan_begins_as_a_shorter_one() -> None:
    assert draw_plan(3, steps=50).steps[:20] == draw_plan(3, steps=20).steps


# --- cutting down -----------------------------------------------------------------------------------------------------


class Attempts:
    """Runs that fail where all of these steps are in the plan."""

    def __init__(self, needed: set[int]) -> None:
        self.needed = needed
        self.plans: list[Plan] = []

    def attempt(self, plan: Plan) -> Outcome:
        self.plans.append(plan)
        fails = self.needed <= {each.number for each in plan.steps}
        return Outcome(plan, [], Failure("a check", "fails", 0.0) if fails else None, Statistics())


def test_what_a_failure_does_not_need_is_left_out() -> None:
    plan = draw_plan(5, steps=60)
    attempts = Attempts({7, 31, 58})
    smallest = shrink(attempts.attempt(plan), attempt=attempts.attempt)
    assert [each.number for each in smallest.plan.steps] == [7, 31, 58]
    assert smallest.failure is not None


def test_cutting_down_ends_after_so_many_attempts() -> None:
    attempts = Attempts(set(range(1, 61)))
    smallest = shrink(attempts.attempt(draw_plan(5, steps=60)), attempts_max=10, attempt=attempts.attempt)
    assert len(smallest.plan.steps) == 60
    assert len(attempts.plans) <= 1 + 10 + 2


def test_a_run_that_has_not_failed_can_not_be_cut_down() -> None:
    attempts = Attempts({1000})
    with pytest.raises(ValueError, match="has not failed"):
        shrink(attempts.attempt(draw_plan(5, steps=5)))


def test_participants_leave_with_what_they_do() -> None:
    plan = draw_plan(2, steps=60, scenario="calm")
    names = [each.name for each in plan.scheme.members][:2]
    left = plan.among(names)
    assert [each.name for each in left.scheme.members] == names
    assert all({each.payer, each.payee} <= set(names) for each in left.steps if isinstance(each, Pay))
    with pytest.raises(ValueError, match="larch is not one of alder, birch"):
        plan.among(["larch"])


# --- the story and the command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("numbers", "text"), [([1, 4, 5, 6, 9], "1,4-6,9"), ([], "none"), ([3, 2], "2-3")])
def test_numbers_of_steps_are_written_in_short_and_read_again(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
    assert read_ranges(text) == sorted(numbers)


def test_the_command_plays_exactly_what_is_left_of_a_plan() -> None:
    plan = draw_plan(11, steps=60, scenario="rough")
    names = [each.name for each in plan.scheme.members][:2]
    left = plan.only([2, 3, 4, 40]).in_quiet_network().among(names)
    kept = ranges([each.number for each in left.steps])
    assert replay_command(left, 60) == (
        f"vuka simulate --scenario rough --seed 11 --steps 60 --only {kept} --among {','.join(names)} --quiet-network"
    )
    assert replay_command(plan, 60) == "vuka simulate --scenario rough --seed 11 --steps 60"


def test_the_story_tells_what_was_planned_and_what_happened() -> None:
    outcome = run(draw_plan(1, steps=30, scenario="crashes"))
    told = "\n".join(story_lines(outcome))
    assert any(isinstance(step, Crash) for step in outcome.plan.steps)
    for words in (
        "the hub dies",
        "the hub is ready",
        "at once; down",
        "alder pays",
        "→ hub: POST transfer",
        "COMMITTED",
    ):
        assert words in told


def test_the_command_says_what_was_in_the_runs() -> None:
    result = vuka("simulate", "--seed", "3", "--seeds", "2", "--steps", "10", "--scenario", "calm")
    assert result.exit_code == 0, result.output
    assert "2 runs, 20 steps" in result.output
    assert "Seed 3 to 4, scenario calm: nothing failed" in result.output


def test_the_command_tells_the_least_that_fails_and_how_to_play_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "expire", lambda _work, commands, **_fees: [transfers.Outcome() for _ in commands])
    result = vuka("simulate", "--seed", "1", "--steps", "8", "--scenario", "liars")
    assert result.exit_code == 1
    assert "Failed: what has expired is final within a second" in result.output
    (replay,) = [line for line in result.output.splitlines() if line.startswith("Replay: vuka ")]
    again = vuka(*replay.removeprefix("Replay: vuka ").split())
    assert again.exit_code == 1
    assert "Failed: what has expired is final within a second" in again.output
    assert replay in again.output


def test_the_command_has_every_scenario() -> None:
    assert [each.value for each in Scenario] == list(SCENARIOS)


def test_the_command_refuses_what_is_no_list_of_steps_or_participants() -> None:
    result = vuka("simulate", "--seed", "1", "--only", "3,x")
    assert (result.exit_code, "'x' is neither a number" in result.output) == (1, True)
    result = vuka("simulate", "--seed", "1", "--among", "larch")
    assert (result.exit_code, "larch is not one of" in result.output) == (1, True)


def test_a_plan_survives_being_written_down() -> None:
    plan = draw_plan(9, steps=40)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
