"""The disk of a simulated machine: a real SQLite file, on which commits fail and power is cut.

A commit is torn as SQLite tears it, not at all: when the power is cut the transaction is in the file or it is not. What
SQLite itself does to a file that was being written is its own affair, and proven elsewhere (`tests/e2e/test_crash.py`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from vuka.store import Value
from vuka.store.sqlite import Database, SqliteTx

PAGE_CACHE_KIB: Final = 2_048


class PowerCutError(BaseException):
    """The machine is dead: whatever the process was about to do, it does not."""


class Tear(StrEnum):
    """What becomes of the commit in which the power is cut."""

    LOST = "lost"
    KEPT = "kept"


class Shortage(StrEnum):
    """How a full disk shows."""

    AT_COMMIT = "at the commit"
    IN_A_STATEMENT = "in a statement"
    """SQLite then undoes the whole transaction by itself."""


class Disk:
    """What outlives the processes of a machine: its file, and how well it can be written."""

    def __init__(self, file: Path, power_cut: Callable[[], None]) -> None:
        """``power_cut`` ends the process."""
        self.file = file
        self.shortage: Shortage | None = None
        self.commits = 0
        """Commits that were made."""
        self.commits_failed = 0
        self.tear: Tear | None = None
        """What the next commit ends in, if the power is to be cut in it."""
        self.committed: Callable[[], None] = lambda: None
        """Called when the file has changed."""
        self._power_cut = power_cut

    @classmethod
    def holding(cls, content: bytes, directory: Path, power_cut: Callable[[], None]) -> Disk:
        """A disk with the file of a database in a directory."""
        file = directory / "vuka.db"
        file.write_bytes(content)
        return cls(file, power_cut)

    def open(self) -> SimulatedDatabase:
        """The database, as a process opens it."""
        return SimulatedDatabase(self)

    def reader(self) -> Database:
        """The database, for somebody who only looks: sees what is committed, and nothing else."""
        return Database(self.file, read_only=True)

    def commit(self, make: Callable[[], None]) -> None:
        """One commit: made, failed, or cut off."""
        if self.tear is not None:
            tear, self.tear = self.tear, None
            if tear is Tear.KEPT:
                make()
                self._made()
            self._power_cut()
            raise PowerCutError
        if self.shortage is Shortage.AT_COMMIT:
            self.commits_failed += 1
            raise full()
        make()
        self._made()

    def _made(self) -> None:
        self.commits += 1
        self.committed()


def full() -> sqlite3.OperationalError:
    """What SQLite says."""
    return sqlite3.OperationalError("database or disk is full")


class SimulatedTx(SqliteTx):
    """A write transaction on a `Disk`."""

    __slots__ = ("_disk",)

    def __init__(self, connection: sqlite3.Connection, disk: Disk) -> None:
        super().__init__(connection, write=True)
        self._disk = disk

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self._give_up_where_full()
        return super().run(sql, parameters)

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._give_up_where_full()
        super().run_many(sql, rows)

    def _give_up_where_full(self) -> None:
        if self._disk.shortage is Shortage.IN_A_STATEMENT and not self.given_up:
            self._disk.commits_failed += 1
            self._cursor.execute("ROLLBACK")
            raise full()

    def commit(self) -> None:
        self._disk.commit(super().commit)


class SimulatedDatabase(Database):
    """The hub's own database, opened by one process on a `Disk`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.file)

    def _connect(self, *, writable: bool) -> sqlite3.Connection:
        connection = super()._connect(writable=writable)
        # Power is cut by `Disk`, never by the machine that simulates it: nothing need wait for a real disk.
        connection.execute("PRAGMA synchronous = OFF")
        # Nor for another process: the one before is dead.
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        return connection

    def start(self) -> SimulatedTx:
        return SimulatedTx(self._writer, self._disk)

    def cut_off(self) -> None:
        """The process is dead: what it had not committed is gone."""
        for connection in (self._reader, self._writer):
            with contextlib.suppress(sqlite3.Error):
                # A statement that somebody dead still holds would keep a closed connection, and its locks.
                connection.rollback()
                connection.close()
