"""``vuka simulate``: a whole scheme in one thread, on a clock of its own, with everything that can go wrong."""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from vuka.cli.output import fail

if TYPE_CHECKING:
    from vuka.simulation.plan import Plan
    from vuka.simulation.run import Outcome

STEPS_MAX = 100_000
FRESH_SEED_MAX = 2**31


class Scenario(StrEnum):
    """What happens; `vuka.simulation.plan` has the mixes."""

    CALM = "calm"
    ROUGH = "rough"
    CRASHES = "crashes"
    LIARS = "liars"
    SETTLEMENT = "settlement"
    ALL = "all"


def simulate(
    seed: Annotated[int | None, typer.Option(help="What the plan is drawn from.", show_default="a fresh one")] = None,
    steps: Annotated[int, typer.Option(min=1, max=STEPS_MAX, help="Steps in a plan.")] = 60,
    scenario: Annotated[Scenario, typer.Option(help="What happens.")] = Scenario.ALL,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 1,
    only: Annotated[
        str | None, typer.Option(help="Only these steps of the plan, e.g. 3,7-9.", show_default="all")
    ] = None,
    among: Annotated[
        str | None, typer.Option(help="Only these participants, e.g. alder,birch.", show_default="all")
    ] = None,
    quiet_network: Annotated[bool, typer.Option("--quiet-network", help="Let the network lose nothing.")] = False,
    story: Annotated[bool, typer.Option("--story", help="Tell what happens in a run that does not fail, too.")] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Do not cut a run that fails down to what it needs.")] = False,
) -> None:
    """Simulate a scheme: the hub itself, on a simulated clock, network and disk; exit 1 where a check fails.

    Example: [bold]vuka simulate --seed 1 --seeds 100 --scenario crashes[/bold]
    """
    from vuka.simulation.plan import draw_plan
    from vuka.simulation.run import Statistics, run
    from vuka.simulation.story import figures, read_ranges, story_lines

    first = secrets.randbelow(FRESH_SEED_MAX) if seed is None else seed
    try:
        numbers = None if only is None else read_ranges(only)
    except ValueError as error:
        fail(f"--only: {error}.")
    began, found = time.monotonic(), Statistics()
    for number in range(first, first + seeds):
        plan = draw_plan(number, steps=steps, scenario=scenario.value)
        plan = plan if numbers is None else plan.only(numbers)
        plan = plan.in_quiet_network() if quiet_network else plan
        if among is not None:
            try:
                plan = plan.among(among.split(","))
            except ValueError as error:
                fail(f"--among: {error}.")
        outcome = run(plan)
        if outcome.failure is not None:
            _tell_failure(outcome, steps, is_whole=whole or numbers is not None)
            raise typer.Exit(1)
        found.add(outcome.statistics)
        if story:
            typer.echo("\n".join(story_lines(outcome)))
    seconds = time.monotonic() - began
    typer.echo(figures(found))
    last = f"{first}" if seeds == 1 else f"{first} to {first + seeds - 1}"
    typer.echo(f"Seed {last}, scenario {scenario.value}: nothing failed, in {seconds:.1f} s.")


def _tell_failure(outcome: Outcome, steps: int, *, is_whole: bool) -> None:
    from vuka.simulation.shrink import shrink
    from vuka.simulation.story import replay_command, story_lines

    failure = outcome.failure
    if failure is None:
        return
    if not is_whole:
        typer.echo(f"Seed {outcome.plan.seed} fails: {failure.check}. Cutting it down to what it needs …")
    smallest: Plan = outcome.plan
    if not is_whole:
        outcome = shrink(outcome)
        smallest, failure = outcome.plan, outcome.failure or failure
    typer.echo("\n".join(story_lines(outcome)))
    typer.echo(f"\nFailed: {failure.check}\n        {failure.what}")
    typer.echo(f"Replay: {replay_command(smallest, steps)}")
