"""What a hub's process uses, as the kernel and its own metrics tell: CPU, memory, bytes written, commits."""

from __future__ import annotations

import contextlib
import sqlite3
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

PROC: Final = Path("/proc")


class Usage(msgspec.Struct, frozen=True):
    """What a process and all below it have used so far."""

    cpu_seconds: float
    written_bytes: int
    """Bytes that it had the kernel write to disk (``write_bytes`` of /proc/PID/io)."""


class Memory(msgspec.Struct, frozen=True):
    """Resident memory of a process and all below it, in bytes: now, and the sum of their highest."""

    now: int
    highest: int


class Counters(msgspec.Struct, frozen=True):
    """The hub's own metrics that matter here, since it started."""

    commits: float = 0.0
    """Batches committed: each waits for one fsync of the write-ahead log (those of checkpoints come on top)."""
    commands: float = 0.0
    decide_seconds: float = 0.0
    commit_seconds: float = 0.0
    committed: float = 0.0
    """Payments that ended COMMITTED."""

    def since(self, earlier: Counters) -> Counters:
        """What has come since then."""
        names = self.__struct_fields__
        return Counters(**{name: getattr(self, name) - getattr(earlier, name) for name in names})


def usage_of(process_id: int) -> Usage:
    """What a process and all below it have used."""
    cpu = 0.0
    written = 0
    for each in family(process_id):
        with contextlib.suppress(OSError):
            cpu += time.clock_gettime(cpu_clock(each))
            written += _line_of((PROC / str(each) / "io").read_text(encoding="ascii"), "write_bytes")
    return Usage(cpu, written)


def cpu_clock(process_id: int) -> int:
    """The kernel's clock of the CPU that a process and its threads, also those that have ended, have used.

    What clock_getcpuclockid(3) gives, which Python does not have: to the nanosecond, where /proc counts hundredths.
    """
    return ~process_id << 3 | 2


def memory_of(process_id: int) -> Memory:
    """The memory of a process and all below it."""
    now = highest = 0
    for each in family(process_id):
        with contextlib.suppress(OSError):
            # Read once: what it has now may be more than it ever had a moment ago.
            status = (PROC / str(each) / "status").read_text(encoding="ascii")
            resident = _line_of(status, "VmRSS") * 1024
            now += resident
            # The kernel counts roughly, each thread for itself at first: its highest may be less than what is there.
            highest += max(resident, _line_of(status, "VmHWM") * 1024)
    return Memory(now, highest)


def family(process_id: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for each in PROC.iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (each / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(each.name))

    def below(parent: int) -> Iterator[int]:
        yield parent
        for child in parents.get(parent, ()):
            yield from below(child)

    return list(below(process_id))


def _line_of(content: str, name: str) -> int:
    for line in content.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return 0


def counters_of(operators_url: str, tls: ssl.SSLContext | None) -> Counters:
    """What a hub says of itself. Raises `httpx.HTTPError`."""
    answer = httpx.get(f"{operators_url}/metrics", trust_env=False, timeout=30, verify=tls or True)
    answer.raise_for_status()
    found: dict[str, float] = {}
    for metric in text_string_to_metric_families(answer.text):
        for sample in metric.samples:
            if sample.name == "vuka_transfers_total":
                if (sample.labels["kind"], sample.labels["state"]) == ("PAYMENT", "COMMITTED"):
                    found["committed"] = sample.value
            elif not sample.labels:
                found[sample.name] = sample.value
    return Counters(
        commits=found.get("vuka_batch_commands_count", 0),
        commands=found.get("vuka_batch_commands_sum", 0),
        decide_seconds=found.get("vuka_batch_decide_seconds_sum", 0),
        commit_seconds=found.get("vuka_batch_commit_seconds_sum", 0),
        committed=found.get("committed", 0),
    )


def database_bytes(file: Path) -> int:
    """The size of a hub's database, with what is still in its write-ahead log; also while the hub runs."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
    return int(pages) * int(page_bytes)
