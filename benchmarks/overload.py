"""What a hub clears when it is offered several times what it can: whether it goes on, refuses the rest, and recovers.

    python benchmarks/overload.py                          # three runs, a quarter of an hour
    python benchmarks/overload.py --runs 1 --seconds 5

Each run makes a new hub and measures, one after another: its peak (closed loop), the overload (open loop at a multiple
of that peak: payments begin by the clock, whatever becomes of the others), and the peak again. A payer that is refused
does not come again: the next payment does. Payers keep so many connections to the hub that its queue can
fill, payees half as many of their own.

Afterwards payer, payee and hub must agree on every payment, refused ones included. Printed are medians of the runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from vuka.cli.bench.machine import describe
from vuka.cli.bench.security import Security, make_secrets
from vuka.cli.bench.session import BenchError, Figures, Terms, run_session
from vuka.cli.bench.verify import DisagreementError
from vuka.descriptors import take_all
from vuka.sim.bench.scenarios import SCENARIOS
from vuka.sim.bench.shapes import Shape

FILES_SPARE = 200
"""Open files that a process needs besides its connections."""

BUSY = frozenset(("2003", "2005"))
"""What a hub that has too much to do may answer."""


class Run(msgspec.Struct, frozen=True):
    """One hub, before, while and after it was asked too much."""

    peak_per_second: float
    offered_per_second: float
    begun_per_second: float
    """What the participants came to offer: they share the machine with the hub."""
    cleared_per_second: float
    p99_ms: float
    refused: int
    errors: dict[str, int]
    memory_mib_before: float
    memory_mib_max: float
    after_per_second: float
    agreed: int

    @property
    def part_of_peak(self) -> float:
        """Of what the hub clears at best, what it cleared when it was asked too much."""
        return self.cleared_per_second / self.peak_per_second


def measure(terms: Terms, *, times: float, concurrency: int, name: str) -> Run:
    """One run. Raises `BenchError`, `DisagreementError`."""

    def following(figures: Sequence[Figures]) -> Shape | None:
        if len(figures) == 1:
            return Shape(rate=figures[0].report.per_second * times)
        return Shape(concurrency=concurrency) if len(figures) < 3 else None

    result = run_session(terms, SCENARIOS["clearing"], Security(jws=False, tls=False), following, name=name)
    before, over, after = result.figures
    offered = over.report.offered_per_second or 0.0
    seconds = terms.warmup_seconds + terms.seconds
    return Run(
        peak_per_second=before.report.per_second,
        offered_per_second=round(offered, 1),
        begun_per_second=round(offered - over.report.not_begun / seconds, 1),
        cleared_per_second=over.report.per_second,
        p99_ms=over.report.latency.p99_ms,
        refused=over.report.refused,
        errors=over.report.errors,
        memory_mib_before=before.hub_memory_mib_max,
        memory_mib_max=over.hub_memory_mib_max,
        after_per_second=after.report.per_second,
        agreed=result.agreed,
    )


@contextlib.contextmanager
def with_queue(commands: int | None) -> Iterator[None]:
    """A hub started inside has a queue of that length."""
    if commands is None:
        yield
        return
    os.environ["VUKA_ENGINE_QUEUE_MAX"] = str(commands)
    try:
        yield
    finally:
        del os.environ["VUKA_ENGINE_QUEUE_MAX"]


def show(runs: Sequence[Run]) -> None:
    """Medians, and what the hub said."""

    def middle(name: str) -> float:
        return median(getattr(run, name) for run in runs)

    said: dict[str, int] = {}
    for run in runs:
        for code, count in run.errors.items():
            said[code] = said.get(code, 0) + count
    for label, name, unit in (
        ("peak", "peak_per_second", "transfers/s"),
        ("asked for", "offered_per_second", "transfers/s"),
        ("begun meanwhile", "begun_per_second", "transfers/s"),
        ("cleared meanwhile", "cleared_per_second", "transfers/s"),
        ("of the peak", "part_of_peak", ""),
        ("p99 meanwhile", "p99_ms", "ms"),
        ("refused", "refused", "payments"),
        ("memory before", "memory_mib_before", "MiB"),
        ("memory at most", "memory_mib_max", "MiB"),
        ("peak afterwards", "after_per_second", "transfers/s"),
    ):
        print(f"{label:<20}{middle(name):>12,.2f} {unit}")
    print(f"errors, all runs: {said or 'none'}; payments that all agree on: {sum(run.agreed for run in runs):,}")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description="Measure a hub that is asked too much.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--times", type=float, default=3.0, help="the overload, as a multiple of the peak")
    parser.add_argument("--concurrency", type=int, default=256, help="payments under way at the peak")
    parser.add_argument("--warmup", type=float, default=10.0, help="seconds before each measurement: the queue fills")
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds of each measurement")
    parser.add_argument("--connections", type=int, default=3_000, help="of payers to the hub; payees have half")
    parser.add_argument("--queue", type=int, default=None, help="engine.queue_max; the default where it is left out")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    chosen = parsed(arguments)
    take_all()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = max((hard - FILES_SPARE) // 2, 1)
    if hard != resource.RLIM_INFINITY and possible < chosen.connections:
        sys.exit(f"A process may open {hard} files here: choose --connections {possible} or fewer.")
    with tempfile.TemporaryDirectory(prefix="vuka-overload-") as folder, with_queue(chosen.queue):
        terms = Terms(
            folder=Path(folder),
            secrets=make_secrets(Path(folder), 8),
            connections_max=chosen.connections,
            warmup_seconds=chosen.warmup,
            seconds=chosen.seconds,
        )
        try:
            runs = [
                measure(terms, times=chosen.times, concurrency=chosen.concurrency, name=f"hub-{number}")
                for number in range(chosen.runs)
            ]
        except (BenchError, DisagreementError) as error:
            sys.exit(str(error))
        described = describe(Path(folder))
    show(runs)
    if chosen.json is not None:
        told = {"machine": described, "arguments": vars(chosen) | {"json": ""}, "runs": runs}
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
