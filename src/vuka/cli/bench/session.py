"""One session: a hub and its participants, each a process of its own, measured under several loads, and checked.

Every session has a hub of its own, made for it. Its figures are made of what the participants saw and what the
kernel and the hub say of the hub's process; they are given out only after payer, payee and hub have been found to agree
on every payment (`vuka.cli.bench.verify`).
"""

from __future__ import annotations

import contextlib
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import httpx
import msgspec

from vuka.cli.bench.observed import Counters, Memory, Usage, counters_of, database_bytes, memory_of, usage_of
from vuka.cli.bench.security import Secrets, Security
from vuka.cli.bench.verify import check
from vuka.cli.hub import found
from vuka.cli.process import HubProcess, hub_process
from vuka.config import load
from vuka.errors import OperatorError
from vuka.sim.bench.messages import CURRENCY
from vuka.sim.bench.participants import QUIET_SECONDS_MAX
from vuka.sim.bench.plan import BEGAN, ENDED, READY, Phase, PhaseReport, Setting, read_ends
from vuka.sim.bench.scenarios import Scenario
from vuka.sim.bench.shapes import Shape
from vuka.sim.bench.wire import CONNECTIONS_MAX

STOP_SECONDS_MAX: Final = 60.0

T = TypeVar("T")


class BenchError(Exception):
    """A session that could not be led to its end; the message is a sentence."""


class Terms(msgspec.Struct, frozen=True):
    """What all sessions of one benchmark have in common."""

    folder: Path
    """Where hubs have their data while they run, and keys and certificates are."""
    secrets: Secrets
    participants: int = 8
    reserves: bool = True
    journal: bool = True
    connections_max: int = CONNECTIONS_MAX
    """Connections that payers keep to the hub; payees have half as many, or the usual number where that is more."""
    warmup_seconds: float = 1.0
    seconds: float = 3.0


class Figures(msgspec.Struct, kw_only=True):
    """One load on one hub: what participants saw, what the hub used meanwhile."""

    shape: Shape
    report: PhaseReport
    hub_cpu_ms_per_transfer: float
    participants_cpu_ms_per_transfer: float
    hub_cores: float
    """How much of a core the hub's processes used, on average."""
    participants_cores: float
    hub_memory_mib: float
    hub_memory_mib_max: float
    """The highest that it ever had, this load included."""
    written_bytes_per_transfer: float
    """What the hub had the kernel write to disk, the write-ahead log included."""
    commits_per_transfer: float
    """Each is one fsync. This and the following are of the whole load, warm-up and end included."""
    commands_per_commit: float
    decide_ms_per_commit: float
    commit_ms_per_commit: float


class SessionResult(msgspec.Struct, kw_only=True):
    """All loads of a session, after everybody was found to agree."""

    figures: list[Figures]
    agreed: int
    """Payments that payer, payee and hub agree to be COMMITTED, over all loads."""
    bytes_per_transfer: float
    """Of the hub's database, when it had stopped."""


class Driven(msgspec.Struct, frozen=True):
    """What a hub was put through, before anybody has checked it."""

    figures: list[Figures]
    bytes_before: int
    """The size of its database when everybody had been taken in, and no payment was made."""


Shapes = Callable[[Sequence[Figures]], "Shape | None"]
"""Says which load comes next, from what was measured before; None: no more."""


def in_turn(shapes: Sequence[Shape]) -> Shapes:
    """Loads that are known beforehand."""
    return lambda figures: shapes[len(figures)] if len(figures) < len(shapes) else None


def run_session(
    terms: Terms,
    scenario: Scenario,
    security: Security,
    shapes: Shapes,
    *,
    pool_file: Path | None = None,
    name: str = "hub",
) -> SessionResult:
    """Runs one session on a new hub.

    Raises `BenchError` where it can't be led to its end, `DisagreementError` where its figures are worth nothing.
    """
    data = terms.folder / name
    try:
        found(load(None, {}, data_dir=str(data)), "Bench", [CURRENCY])
    except OperatorError as error:
        raise BenchError(str(error)) from None
    with running_hub(terms, security, data) as hub:
        driven = drive(terms, scenario, security, shapes, hub, data / "ends", pool_file=pool_file)
        stop(hub)
    agreed = check(data, read_ends(data / "ends"))
    grown = database_bytes(data / "vuka.db") - driven.bytes_before
    return SessionResult(figures=driven.figures, agreed=agreed, bytes_per_transfer=round(grown / max(agreed, 1), 1))


@contextlib.contextmanager
def running_hub(terms: Terms, security: Security, data: Path) -> Iterator[HubProcess]:
    """A hub of a data directory, configured for the benchmark."""
    environment = {
        "VUKA_JOURNAL_ENABLED": str(terms.journal).lower(),
        "VUKA_LOG_JSON": "true",
        **terms.secrets.hub_environment(security),
    }
    with hub_process(data, environment=environment, tls=terms.secrets.context(security)) as hub:
        yield hub


def stop(hub: HubProcess) -> None:
    """Stops a hub in order, so that all it has decided is in its database."""
    hub.process.send_signal(signal.SIGTERM)
    try:
        hub.process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise BenchError(f"The hub did not stop within {STOP_SECONDS_MAX:.0f} s; see {hub.log_path}.") from None


def drive(
    terms: Terms,
    scenario: Scenario,
    security: Security,
    shapes: Shapes,
    hub: HubProcess,
    ends_file: Path,
    *,
    pool_file: Path | None = None,
) -> Driven:
    """Has participants put one load after another on a running hub; what they were told is in ``ends_file`` then."""
    setting = Setting(
        participants_url=hub.participants_url,
        operators_url=hub.operators_url,
        scenario=scenario.name,
        participants=terms.participants,
        reserves=terms.reserves,
        ca_file=str(terms.secrets.ca_file) if security.tls else "",
        certificate_file=str(terms.secrets.certificate_file) if security.tls else "",
        key_file=str(terms.secrets.key_file) if security.tls else "",
        signing_keys=terms.secrets.signing_keys if security.jws else (),
        pool_file=str(pool_file) if pool_file is not None else "",
        ends_file=str(ends_file),
        connections_max=terms.connections_max,
    )
    tls = terms.secrets.context(security)
    figures: list[Figures] = []
    database = ends_file.parent / "vuka.db"
    with _ParticipantsProcess(setting) as participants:
        participants.expect(READY)
        bytes_before = database_bytes(database)
        while (shape := shapes(figures)) is not None:
            figures.append(_measure(terms, shape, hub, participants, tls))
        participants.finish()
    return Driven(figures, bytes_before)


def _measure(
    terms: Terms, shape: Shape, hub: HubProcess, participants: _ParticipantsProcess, tls: ssl.SSLContext | None
) -> Figures:
    counters = _counters(hub, tls)
    participants.send(Phase(shape, terms.warmup_seconds, terms.seconds))
    participants.expect(BEGAN)
    before = usage_of(hub.process.pid)
    participants.expect(ENDED)
    after = usage_of(hub.process.pid)
    memory = memory_of(hub.process.pid)
    report = participants.receive(PhaseReport)
    return _figures(shape, report, before, after, memory, _counters(hub, tls).since(counters))


def _counters(hub: HubProcess, tls: ssl.SSLContext | None) -> Counters:
    try:
        return counters_of(hub.operators_url, tls)
    except httpx.HTTPError as error:
        raise BenchError(f"The hub does not tell its metrics ({error}); see {hub.log_path}.") from None


def _figures(
    shape: Shape, report: PhaseReport, before: Usage, after: Usage, memory: Memory, counters: Counters
) -> Figures:
    ended, commits = max(report.ended, 1), max(counters.commits, 1.0)
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    return Figures(
        shape=shape,
        report=report,
        hub_cpu_ms_per_transfer=round(cpu_seconds * 1000 / ended, 4),
        participants_cpu_ms_per_transfer=round(report.participants_cpu_seconds * 1000 / ended, 4),
        hub_cores=round(cpu_seconds / report.seconds, 3),
        participants_cores=round(report.participants_cpu_seconds / report.seconds, 3),
        hub_memory_mib=round(memory.now / 2**20, 1),
        hub_memory_mib_max=round(memory.highest / 2**20, 1),
        written_bytes_per_transfer=round((after.written_bytes - before.written_bytes) / ended, 1),
        commits_per_transfer=round(counters.commits / max(counters.committed, 1), 4),
        commands_per_commit=round(counters.commands / commits, 2),
        decide_ms_per_commit=round(counters.decide_seconds * 1000 / commits, 3),
        commit_ms_per_commit=round(counters.commit_seconds * 1000 / commits, 3),
    )


class _ParticipantsProcess:
    """``python -m vuka.sim.bench``, spoken to by lines."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = Path(setting.ends_file).with_suffix(".log")

    def __enter__(self) -> _ParticipantsProcess:
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vuka.sim.bench"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.send(self._setting)
        return self

    def __exit__(self, *_error: object) -> None:
        process = self._running
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None  # noqa: S101 - entered
        return self._process

    def send(self, value: object) -> None:
        """One line to it. Raises `BenchError` where it is gone."""
        stdin = self._running.stdin
        assert stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            stdin.write(msgspec.json.encode(value) + b"\n")
            stdin.flush()
        except OSError:
            raise self._gone() from None

    def receive(self, kind: type[T]) -> T:
        """One line from it. Raises `BenchError` where it is gone."""
        stdout = self._running.stdout
        assert stdout is not None  # noqa: S101 - a pipe was asked for
        line = stdout.readline()
        if not line:
            raise self._gone()
        return msgspec.json.decode(line, type=kind)

    def expect(self, word: str) -> None:
        """Waits until it says so."""
        said = self.receive(str)
        if said != word:
            raise BenchError(f"The participants said {said!r} and not {word!r}.")

    def finish(self) -> None:
        """No more loads: it writes what everybody was told, and ends."""
        process = self._running
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(QUIET_SECONDS_MAX + STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise BenchError("The participants did not end.") from None
        if process.returncode:
            raise self._gone()

    def _gone(self) -> BenchError:
        self._running.wait(STOP_SECONDS_MAX)
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return BenchError(f"The participants failed: {lines[-1] if lines else 'they said nothing'}.")
