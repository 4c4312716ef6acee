"""``vuka bench``: what this machine clears, and where the time goes, in one command."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.text import Text

from vuka.cli.bench.machine import describe
from vuka.cli.bench.plan import Cell, Load, make_plan
from vuka.cli.bench.plot import NoPlotError, draw
from vuka.cli.bench.report import Bench, print_bench, summarise
from vuka.cli.bench.security import make_secrets
from vuka.cli.bench.session import BenchError, Figures, SessionResult, Shapes, Terms, run_session
from vuka.cli.bench.verify import DisagreementError
from vuka.cli.options import at_home
from vuka.cli.output import AsJson, errors, fail, print_json
from vuka.config import ENVIRONMENT_PREFIX
from vuka.sim.bench.participants import NAMES
from vuka.sim.bench.scenarios import Scenario
from vuka.sim.bench.shapes import Shape
from vuka.sim.bench.signing import AGE_SECONDS_MAX, Pool, default_workers, make_pool, write_pool

EXPECTED_PER_SECOND: Final = 2_000
"""For how many payments a second signatures are made where nothing was measured before."""

SPARE: Final = 1.3
REST_SECONDS: Final = 3.0
"""What a load takes besides warming up and measuring: for its payments to end."""

TOKEN: Final = "VUKA_TOKEN"  # noqa: S105 - the name of a variable, whose value is nobody's to read in a report

QUICK_SECONDS: Final = 1.0
FULL_SECONDS: Final = 10.0
SECONDS: Final = 3.0


class Benchmark:
    """All sessions of a command, one after another."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._pools: dict[str, Pool] = {}
        # The peak that the first run of a cell has found: open loops of its other runs have the same rates.
        self._peaks: dict[str, float] = {}
        self._sessions = 0

    def run(self, cell: Cell) -> SessionResult:
        """One session of a cell. Raises `BenchError` and `DisagreementError`."""
        self._sessions += 1
        pool_file = self._pool_file(cell) if cell.security.jws else None
        result = run_session(
            self._terms,
            cell.scenario,
            cell.security,
            self._shapes(cell),
            pool_file=pool_file,
            name=f"hub-{self._sessions}",
        )
        self._peaks.setdefault(cell.name, _peak(result.figures))
        return result

    def _shapes(self, cell: Cell) -> Shapes:
        def following(figures: Sequence[Figures]) -> Shape | None:
            if len(figures) == len(cell.loads):
                return None
            return cell.loads[len(figures)].shape(self._peaks.get(cell.name) or _peak(figures))

        return following

    def _pool_file(self, cell: Cell) -> Path:
        """Signed payments enough for one session, those of the session before where the hub still takes them."""
        terms, scenario = self._terms, cell.scenario
        wanted = self._wanted(cell)
        pool = self._pools.get(scenario.name)
        lasting = sum(terms.warmup_seconds + terms.seconds + REST_SECONDS for _ in cell.loads)
        if pool is None or not pool.lasts(lasting) or len(pool.payments) < wanted:
            pool = make_pool(
                scenario,
                NAMES[: terms.participants],
                [each.encode() for each in terms.secrets.signing_keys],
                count=wanted,
                reserves=terms.reserves,
                workers=default_workers(),
            )
            self._pools[scenario.name] = pool
            if not pool.lasts(lasting):
                raise BenchError(
                    f"What is signed beforehand holds for {AGE_SECONDS_MAX} s, and this takes longer: "
                    "choose fewer or shorter loads with --concurrency, --rate and --seconds."
                )
        file = terms.folder / f"pool-{scenario.name}"
        write_pool(file, pool)
        return file

    def _wanted(self, cell: Cell) -> int:
        """How many payments a session may need: signatures make nothing faster, so what is known bounds it."""
        peak = max((peak for name, peak in self._peaks.items() if _is_of(name, cell.scenario)), default=0.0)
        expected = (peak or EXPECTED_PER_SECOND) * SPARE
        seconds = self._terms.warmup_seconds + self._terms.seconds
        return round(sum(_rate(load, expected) * seconds + (load.concurrency or 0) for load in cell.loads)) + 1


def _is_of(cell_name: str, scenario: Scenario) -> bool:
    return cell_name.partition(",")[0] == scenario.name


def _rate(load: Load, expected: float) -> float:
    return load.rate or expected * (load.part_of_peak or 1)


def _peak(figures: Sequence[Figures]) -> float:
    """The most payments a second in a closed loop, or at all."""
    loops = [each.report.per_second for each in figures if each.shape.concurrency is not None]
    return max(loops or [each.report.per_second for each in figures], default=0.0)


def bench(
    context: typer.Context,
    scenario: Annotated[
        list[str] | None, typer.Option("--scenario", help="clearing, payment or settlement; may be repeated.")
    ] = None,
    security: Annotated[
        list[str] | None, typer.Option("--security", help="plain, jws, tls or jws+tls; may be repeated.")
    ] = None,
    concurrency: Annotated[
        list[int] | None, typer.Option("--concurrency", min=1, help="A closed loop: payments under way at once.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option("--rate", min=0.1, help="An open loop: payments that begin each second.")
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Runs; medians are quoted.", show_default="3")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds measured of each load.", show_default="3")
    ] = None,
    warmup: Annotated[float, typer.Option(min=0.0, help="Seconds before that.")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="One run of one short load for each scenario.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every load everywhere, 10 seconds each.")] = False,
    participants: Annotated[int, typer.Option(min=2, max=len(NAMES), help="Participants.")] = 8,
    committed: Annotated[bool, typer.Option("--committed", help="Payees answer COMMITTED, as in FSPIOP 1.0.")] = False,
    journal: Annotated[bool, typer.Option("--journal/--no-journal", help="Keep the message journal.")] = True,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where the hub's data goes while it runs.", show_default="the temporary directory"),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the figures are saved.")] = Path("bench-results"),
    as_json: AsJson = False,
) -> None:
    """Measure a hub: throughput, latency, CPU, memory and disk, everything durable, all payments checked.

    Scenarios: clearing alone, full payments (lookup, quote, transfer), clearing while settlement windows close.

    Loads: closed loops (so many payments under way), open loops (so many begin each second, whatever becomes of them).

    Where payer, payee and hub do not agree on every payment, or the books do not balance, no figure is shown.

    Example: [bold]vuka bench --scenario clearing --security plain --concurrency 64 --runs 1[/bold]
    """
    if context.invoked_subcommand is not None:
        return
    loads = [Load(concurrency=each) for each in concurrency or ()] + [Load(rate=each) for each in rate or ()]
    try:
        cells = make_plan(scenarios=scenario or (), securities=security or (), loads=loads, full=full, quick=quick)
    except ValueError as error:
        fail(str(error))
    started = datetime.datetime.now(datetime.UTC)
    runs = runs or (1 if quick else 3)
    with tempfile.TemporaryDirectory(prefix="vuka-bench-", dir=directory) as folder:
        terms = Terms(
            folder=Path(folder),
            secrets=make_secrets(Path(folder), participants),
            participants=participants,
            reserves=not committed,
            journal=journal,
            warmup_seconds=warmup,
            seconds=seconds or (QUICK_SECONDS if quick else FULL_SECONDS if full else SECONDS),
        )
        machine = describe(terms.folder)
        results = _run_all(Benchmark(terms), cells, runs)
    result = Bench(
        machine=machine,
        started=started.isoformat(timespec="seconds"),
        runs=runs,
        seconds=terms.seconds,
        warmup_seconds=warmup,
        participants=participants,
        answer="RESERVED, and wait for PATCH" if terms.reserves else "COMMITTED",
        journal=journal,
        environment=_environment(os.environ),
        cells=[summarise(cell, done) for cell, done in zip(cells, results, strict=True)],
    )
    if as_json:
        print_json(result)
    else:
        print_bench(result, cells)
    saved = save(result, output, started)
    errors.print(Text(f"saved: {', '.join(str(each) for each in saved)}"), highlight=False)


def save(result: Bench, directory: Path, started: datetime.datetime) -> list[Path]:
    """Writes the figures as JSON, and as pictures where there is what draws them; the files.

    Ends the command where that can't be done.
    """
    stem = f"bench-{started:%Y%m%dT%H%M%SZ}"
    file = directory / f"{stem}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
        return [file, *draw(result, lambda shown: directory / f"{stem}-{shown}.svg")]
    except OSError as error:
        fail(f"The figures can't be saved in {directory}: {error.strerror}. Name another place with --output.")
    except NoPlotError as error:
        errors.print(Text(str(error)), highlight=False)
    return [file]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What configures hubs besides the benchmark: no token, and no URL with a password in it."""
    return {
        name: "(not shown)" if "@" in value else value
        for name, value in at_home(variables).items()
        if name.startswith(ENVIRONMENT_PREFIX) and name != TOKEN
    }


def _run_all(benchmark: Benchmark, cells: Sequence[Cell], runs: int) -> list[list[SessionResult]]:
    """Every cell, run after run, so that what the machine does besides falls on all of them alike."""
    results: list[list[SessionResult]] = [[] for _ in cells]
    for number in range(runs):
        for cell, done in zip(cells, results, strict=True):
            # Where it is, and no figure: those are given out when all have been checked.
            errors.print(Text(f"run {number + 1} of {runs}: {cell.name}"), highlight=False)
            try:
                done.append(benchmark.run(cell))
            except DisagreementError as error:
                fail(f"{cell.name}: {error} No figure is reported.")
            except BenchError as error:
                fail(f"{cell.name}: {error}")
    return results
