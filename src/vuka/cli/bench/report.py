"""What a benchmark came to: every run, the medians, as tables for people and JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec
from rich.text import Text

from vuka.cli.bench.machine import Machine
from vuka.cli.bench.plan import Cell, Load
from vuka.cli.bench.session import Figures, SessionResult
from vuka.cli.output import console, print_table

CROWDED: Final = 0.85
"""From how much of a core on the participants, who are one thread, may be what is measured."""

SHOWN: Final = (
    ("transfers/s", "report.per_second", 0),
    ("p50 ms", "report.latency.p50_ms", 2),
    ("p95 ms", "report.latency.p95_ms", 2),
    ("p99 ms", "report.latency.p99_ms", 2),
    ("p99.9 ms", "report.latency.p999_ms", 2),
    ("hub's part p50 ms", "report.hub_part.p50_ms", 2),
    ("hub's part p99 ms", "report.hub_part.p99_ms", 2),
    ("hub's part p99.9 ms", "report.hub_part.p999_ms", 2),
    ("refused", "report.refused", 0),
    ("not begun", "report.not_begun", 0),
    ("hub CPU ms/transfer", "hub_cpu_ms_per_transfer", 3),
    ("participants CPU ms/transfer", "participants_cpu_ms_per_transfer", 3),
    ("hub cores", "hub_cores", 2),
    ("participants cores", "participants_cores", 2),
    ("hub memory MiB", "hub_memory_mib", 1),
    ("written bytes/transfer", "written_bytes_per_transfer", 0),
    ("commits (fsyncs)/transfer", "commits_per_transfer", 3),
    ("commands/commit", "commands_per_commit", 1),
    ("decide ms/commit", "decide_ms_per_commit", 2),
    ("commit ms/commit", "commit_ms_per_commit", 2),
    ("participants late p99 ms", "report.lateness.p99_ms", 2),
)
"""What is shown of a load: its name, where it is, and decimals."""


class LoadSummary(msgspec.Struct):
    """A load over all runs: medians by name."""

    load: Load
    name: str
    rates: list[float]
    """In an open loop: the rates at which payments were meant to begin, run by run."""
    median: dict[str, float]
    legs_p99_ms: dict[str, float]
    closes_ms: list[float]
    """How long closes of windows took, over all runs: the median, the longest; empty where none was closed."""


class CellReport(msgspec.Struct):
    """A scenario under a security."""

    scenario: str
    security: str
    loads: list[LoadSummary]
    agreed: int
    """Payments of which payer, payee and hub agree that they are COMMITTED, over all runs."""
    bytes_per_transfer: float
    runs: list[SessionResult]

    @property
    def peak(self) -> LoadSummary:
        """The closed loop with the most transfers a second, or the load with the most where there is none."""
        loops = [each for each in self.loads if each.load.concurrency is not None] or self.loads
        return max(loops, key=lambda each: each.median["transfers/s"])


class Bench(msgspec.Struct):
    """Everything."""

    machine: Machine
    started: str
    runs: int
    seconds: float
    warmup_seconds: float
    participants: int
    answer: str
    journal: bool
    environment: dict[str, str]
    """Variables of the caller that configure hubs: without any, the configuration is the default one."""
    cells: list[CellReport]


def summarise(cell: Cell, runs: list[SessionResult]) -> CellReport:
    """The medians of a cell over its runs."""
    loads: list[LoadSummary] = []
    for place, load in enumerate(cell.loads):
        figures = [run.figures[place] for run in runs]
        closes = [took for each in figures for took in each.report.closes_ms]
        loads.append(
            LoadSummary(
                load=load,
                name=load.name,
                rates=[each.shape.rate for each in figures if each.shape.rate is not None],
                median={name: _median(figures, path) for name, path, _ in SHOWN},
                legs_p99_ms={
                    leg: statistics.median(each.report.legs[leg].p99_ms for each in figures)
                    for leg in figures[0].report.legs
                },
                closes_ms=[round(statistics.median(closes), 2), max(closes)] if closes else [],
            )
        )
    return CellReport(
        scenario=cell.scenario.name,
        security=cell.security.name,
        loads=loads,
        agreed=sum(run.agreed for run in runs),
        bytes_per_transfer=round(statistics.median(run.bytes_per_transfer for run in runs), 1),
        runs=runs,
    )


def _median(figures: Sequence[Figures], path: str) -> float:
    return statistics.median(_figure(each, path) for each in figures)


def _figure(figures: Figures, path: str) -> float:
    value: object = figures
    for part in path.split("."):
        value = getattr(value, part)
    if not isinstance(value, int | float):
        raise TypeError(f"{path} is no figure")
    return float(value)


def print_bench(bench: Bench, cells: Sequence[Cell]) -> None:
    """Prints it for people."""
    console.print(Text(bench.machine.line()), highlight=False)
    said = (
        f"{bench.participants} participants in one process, payees answer {bench.answer}; message journal "
        f"{'on' if bench.journal else 'off'}. Medians of {bench.runs} runs, {bench.seconds:g} s each load after "
        f"{bench.warmup_seconds:g} s to warm up. Payer, payee and hub agree on every payment; the books are audited."
    )
    console.print(Text(said), highlight=False)
    if bench.environment:
        variables = ", ".join(f"{name}={value}" for name, value in sorted(bench.environment.items()))
        console.print(Text(f"Not the default configuration: {variables}."), highlight=False)
    for cell, report in zip(cells, bench.cells, strict=True):
        rows = [(name, *(f"{load.median[name]:,.{decimals}f}" for load in report.loads)) for name, _, decimals in SHOWN]
        if len(cell.scenario.legs) > 1:
            rows += [
                (f"{leg.name} p99 ms", *(f"{load.legs_p99_ms[leg.name]:,.2f}" for load in report.loads))
                for leg in cell.scenario.legs
            ]
        print_table(
            f"{cell.scenario.title}; {_protected(report.security)}",
            ("figure", *(f"{_column(load)}>" for load in report.loads)),
            rows,
        )
        console.print(Text(_about(report)), highlight=False)


def _protected(security: str) -> str:
    return {"plain": "no signatures, no TLS", "jws": "signatures", "tls": "TLS", "jws+tls": "signatures and TLS"}[
        security
    ]


def _column(load: LoadSummary) -> str:
    return f"{load.name} ({statistics.median(load.rates):,.0f}/s)" if load.load.part_of_peak else load.name


def _about(report: CellReport) -> str:
    parts = [f"{report.bytes_per_transfer:,.0f} bytes on disk a transfer; {report.agreed:,} payments agreed"]
    closes = next((load.closes_ms for load in report.loads if load.closes_ms), None)
    if closes:
        parts.append(f"a window's close took {closes[0]:,.1f} ms (median), {closes[1]:,.1f} ms (longest)")
    if any(load.median["participants cores"] > CROWDED for load in report.loads):
        parts.append("the participants were busy: it may be they who were measured")
    if any(figures.report.pool_ended for run in report.runs for figures in run.figures):
        parts.append("signed payments ran out in a run, which was shorter for it")
    return "; ".join(parts) + "."
