"""``vuka bench``: how many durable transfers a second this machine clears, and where the time goes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vuka.cli.hub import found
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.cli.process import HubProcess, hub_process
from vuka.cli.reading import reading
from vuka.config import load
from vuka.errors import OperatorError
from vuka.sim.load import LoadReport

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LOAD_GRACE_SECONDS = 120.0


class Run(msgspec.Struct):
    """One run: what the load saw, and what the hub used meanwhile."""

    load: LoadReport
    hub_cpu_ms_per_transfer: float
    hub_memory_mib: float
    bytes_per_transfer: float
    commands_per_commit: float
    decide_ms_per_commit: float
    commit_ms_per_commit: float
    differences: int


class Machine(msgspec.Struct):
    """What it ran on."""

    processor: str
    cores: int
    kernel: str
    python: str
    sqlite: str
    vuka: str


class Bench(msgspec.Struct):
    """All runs, and the medians to quote."""

    machine: Machine
    concurrency: int
    participants: int
    seconds: float
    answer: str
    runs: list[Run]

    def median(self, figure: str) -> float:
        """The median of a figure over the runs; figures of the load are named ``load.…``."""
        return statistics.median(_figure(run, figure) for run in self.runs)


def _figure(run: Run, name: str) -> float:
    value: object = run
    for part in name.split("."):
        value = getattr(value, part)
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is no figure")
    return float(value)


_SHOWN = (
    ("transfers/s", "load.per_second"),
    ("p50 ms", "load.p50_ms"),
    ("p95 ms", "load.p95_ms"),
    ("p99 ms", "load.p99_ms"),
    ("p99.9 ms", "load.p999_ms"),
    ("hub CPU ms/transfer", "hub_cpu_ms_per_transfer"),
    ("participants CPU ms/transfer", "load.cpu_ms_per_transfer"),
    ("hub memory MiB", "hub_memory_mib"),
    ("bytes on disk/transfer", "bytes_per_transfer"),
    ("commands/commit", "commands_per_commit"),
    ("decide ms/commit", "decide_ms_per_commit"),
    ("commit ms/commit", "commit_ms_per_commit"),
)


def bench(
    concurrency: Annotated[int, typer.Option(help="Transfers under way at once.")] = 64,
    seconds: Annotated[float, typer.Option(help="Seconds measured in each run.")] = 10.0,
    warmup: Annotated[float, typer.Option(help="Seconds before that.")] = 3.0,
    runs: Annotated[int, typer.Option(min=1, help="Runs; the median is quoted.")] = 3,
    participants: Annotated[int, typer.Option(min=2, max=99, help="Participants.")] = 8,
    committed: Annotated[bool, typer.Option("--committed", help="Payees answer COMMITTED, as in FSPIOP 1.0.")] = False,
    journal: Annotated[bool, typer.Option("--journal/--no-journal", help="Keep the message journal.")] = True,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where the hub's data goes while it runs.", show_default="the temporary directory"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure clearing: a hub in one process, participants in another, everything durable, books audited.

    A run after which payer, payee and hub do not agree on every transfer, or the books do not balance, fails.

    Example: [bold]vuka bench --seconds 10 --concurrency 64[/bold]
    """
    result = Bench(
        machine=_machine(),
        concurrency=concurrency,
        participants=participants,
        seconds=seconds,
        answer="COMMITTED" if committed else "RESERVED, then PATCH",
        runs=[],
    )
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="vuka-bench-", dir=directory) as folder:
            arguments = ["--participants", str(participants), "--concurrency", str(concurrency)]
            arguments += ["--warmup", str(warmup), "--seconds", str(seconds), *(["--committed"] if committed else [])]
            run = _run(Path(folder) / "hub", arguments, journal=journal)
        result.runs.append(run)
        if not as_json:
            console.print(
                f"run {number + 1}: {run.load.per_second:,.0f} transfers/s, p99 {run.load.p99_ms:.1f} ms, "
                f"hub {run.hub_cpu_ms_per_transfer:.3f} ms CPU a transfer",
                highlight=False,
            )
    if as_json:
        print_json({**msgspec.to_builtins(result), "median": {label: result.median(key) for label, key in _SHOWN}})
        return
    machine = result.machine
    console.print(
        f"{machine.processor}, {machine.cores} cores, kernel {machine.kernel}, Python {machine.python}, "
        f"SQLite {machine.sqlite} (synchronous=FULL), journal {'on' if journal else 'off'}.",
        highlight=False,
    )
    title = f"Clearing, {concurrency} under way, payees answer {result.answer}: median of {runs}"
    print_table(title, ("figure", "median>"), [(label, f"{result.median(key):,.3f}") for label, key in _SHOWN])


def _run(data: Path, arguments: list[str], *, journal: bool) -> Run:
    """One run on a new hub. Ends the command where anything is not as it should be."""
    try:
        found(load(None, {}, data_dir=str(data)), "Bench", ["USD"])
    except OperatorError as error:
        fail(str(error))
    environment = {"VUKA_JOURNAL_ENABLED": str(journal).lower(), "VUKA_LOG_JSON": "true"}
    with hub_process(data, environment=environment) as hub:
        command = [sys.executable, "-m", "vuka.sim", "--hub", hub.participants_url, "--operators", hub.operators_url]
        with _measured(hub.process.pid) as usage:
            process = subprocess.run(  # noqa: S603 - our own program
                [*command, *arguments], capture_output=True, check=False, timeout=LOAD_GRACE_SECONDS + 600
            )
        if process.returncode:
            fail(f"The participants failed: {process.stderr.decode(errors='replace')[-500:]}")
        report = msgspec.json.decode(process.stdout, type=LoadReport)
        memory_mib = _memory_mib(hub.process.pid)
        _stop(hub)
        engine = _engine_statistics(hub)
    return _checked(data, report, usage, memory_mib, engine)


def _checked(data: Path, report: LoadReport, usage: list[float], memory_mib: float, engine: dict[str, float]) -> Run:
    """The run, if everybody agrees on every transfer. Otherwise there is nothing to quote."""
    from vuka.switch.audit import audit

    with reading(load(None, {}, data_dir=str(data))) as (tx, ledger):
        audited = audit(tx, ledger)
        ((committed,),) = tx.query("SELECT COUNT(*) FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED'")
    if report.disagreements or report.unfinished:
        fail(f"Payer and payee disagree or wait: {report.disagreements[:3]}, {report.unfinished} unfinished.")
    if committed != report.committed:
        fail(f"The hub has {committed} transfers committed, the payers were told of {report.committed}.")
    if audited.differences:
        fail(f"The books do not balance: {audited.differences[0]}")
    batches = max(engine.get("batches", 0), 1)
    whole = usage[0] * 1000 / report.committed
    return Run(
        load=report,
        hub_cpu_ms_per_transfer=round(whole, 4),
        hub_memory_mib=round(memory_mib, 1),
        bytes_per_transfer=round((data / "vuka.db").stat().st_size / max(committed, 1), 1),
        commands_per_commit=round(engine.get("commands", 0) / batches, 2),
        decide_ms_per_commit=round(engine.get("run_ms", 0) / batches, 3),
        commit_ms_per_commit=round(engine.get("commit_ms", 0) / batches, 3),
        differences=len(audited.differences),
    )


@contextlib.contextmanager
def _measured(process_id: int) -> Iterator[list[float]]:
    """The CPU seconds that a process uses inside the block: the list has them afterwards."""
    used: list[float] = []
    before = _cpu_seconds(process_id)
    yield used
    used.append(_cpu_seconds(process_id) - before)


def _cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _memory_mib(process_id: int) -> float:
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _stop(hub: HubProcess) -> None:
    hub.process.send_signal(signal.SIGTERM)
    hub.process.wait(30)


def _engine_statistics(hub: HubProcess) -> dict[str, float]:
    """What the hub logged of its engine when it stopped."""
    for line in reversed(hub.log_path.read_text(encoding="utf-8").splitlines()):
        with contextlib.suppress(msgspec.DecodeError):
            entry = msgspec.json.decode(line, type=dict[str, object])
            if entry.get("event") == "what the engine did":
                return {key: float(value) for key, value in entry.items() if isinstance(value, int | float)}
    return {}


def _machine() -> Machine:
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return Machine(
        processor=processor,
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        vuka=importlib.metadata.version("vuka"),
    )
