"""On what it ran: a figure says nothing without it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.backends.openssl import backend

PACKAGES: Final = ("vuka", "uvicorn", "uvloop", "httptools", "msgspec", "cryptography")
ROOT: Final = Path(__file__).parents[4]


class Machine(msgspec.Struct, frozen=True):
    """A machine, and the programs on it."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    file_system: str
    """Of the directory that the hub's data is in."""
    load_average: float
    """Of the last minute, when the benchmark began: what else the machine was doing."""
    python: str
    sqlite: str
    openssl: str
    packages: dict[str, str]
    commit: str
    """Of the source, where it runs from a checkout; with + where files differ from it."""

    def line(self) -> str:
        """It in one line."""
        commit = f" ({self.commit})" if self.commit else ""
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.file_system}, kernel "
            f"{self.kernel}; Vuka {self.packages['vuka']}{commit}, Python {self.python}, SQLite {self.sqlite} "
            f"(synchronous=FULL), {self.openssl}; load average {self.load_average:.1f}"
        )


def describe(directory: Path) -> Machine:
    """This machine, for data in a directory."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=platform.release(),
        file_system=_file_system(directory),
        load_average=round(os.getloadavg()[0], 2),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        openssl=backend.openssl_version_text(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        commit=_commit(),
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    """The type of the file system that a directory is on: that of the longest mount point above it."""
    found, depth = "unknown file system", -1
    here = directory.resolve()
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, point, kind, *_ = line.split()
            mount = Path(point)
            if here.is_relative_to(mount) and len(mount.parts) > depth:
                found, depth = kind, len(mount.parts)
    return found


def _commit() -> str:
    if not (ROOT / ".git").exists():
        return ""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],  # noqa: S607 - whichever git it is
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
