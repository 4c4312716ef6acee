"""What is measured: scenarios, each under several securities and loads, as data.

Without wishes of the caller that is every scenario under every security; the loads differ, so that it ends within
minutes: all of them where nothing is switched on, one closed loop elsewhere. ``--full`` takes all of them everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.cli.bench.security import SECURITIES, Security
from vuka.sim.bench.scenarios import SCENARIOS, Scenario
from vuka.sim.bench.shapes import Shape


class Load(msgspec.Struct, frozen=True):
    """A load of a run: a fixed one, or an open loop at a part of the peak that closed loops have found before it."""

    concurrency: int | None = None
    rate: float | None = None
    part_of_peak: float | None = None

    @property
    def name(self) -> str:
        """How it is called in reports."""
        if self.part_of_peak is not None:
            return f"open, {self.part_of_peak:.0%} of peak"
        return Shape(self.concurrency, self.rate).name

    def shape(self, peak: float) -> Shape:
        """The load for a hub whose peak is so many payments a second."""
        if self.part_of_peak is None:
            return Shape(self.concurrency, self.rate)
        return Shape(rate=max(round(peak * self.part_of_peak), 1))


def closed(*concurrencies: int) -> tuple[Load, ...]:
    """Closed loops."""
    return tuple(Load(concurrency=each) for each in concurrencies)


def at_parts_of_peak(*parts: float) -> tuple[Load, ...]:
    """Open loops at parts of the peak."""
    return tuple(Load(part_of_peak=each) for each in parts)


ALL_LOADS: Final = (*closed(16, 64, 256), *at_parts_of_peak(0.5, 0.9))
FEW_LOADS: Final = (*closed(64), *at_parts_of_peak(0.5))
ONE_LOAD: Final = closed(64)


class Cell(msgspec.Struct, frozen=True):
    """A scenario under a security, with the loads that one session puts on its hub in turn."""

    scenario: Scenario
    security: Security
    loads: tuple[Load, ...]

    @property
    def name(self) -> str:
        """How it is called in reports."""
        return f"{self.scenario.name}, {self.security.name}"


def make_plan(
    *,
    scenarios: Sequence[str] = (),
    securities: Sequence[str] = (),
    loads: Sequence[Load] = (),
    full: bool = False,
    quick: bool = False,
) -> list[Cell]:
    """The cells to measure. Raises `ValueError` with a sentence for a name that is none."""
    for kind, given, known in (("scenario", scenarios, SCENARIOS), ("security", securities, SECURITIES)):
        for each in given:
            if each not in known:
                raise ValueError(f"{each} is no {kind}: choose from {', '.join(known)}.")
    plan: list[Cell] = []
    for scenario in scenarios or SCENARIOS:
        for security in securities or SECURITIES:
            chosen = tuple(loads) or _usual(scenario, SECURITIES[security], full=full, quick=quick)
            plan.append(Cell(SCENARIOS[scenario], SECURITIES[security], chosen))
    return plan


def _usual(scenario: str, security: Security, *, full: bool, quick: bool) -> tuple[Load, ...]:
    if full:
        return ALL_LOADS
    if quick or security != Security() or scenario == "settlement":
        return ONE_LOAD
    return ALL_LOADS if scenario == "clearing" else FEW_LOADS
