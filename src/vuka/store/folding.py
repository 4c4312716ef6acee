"""Folding: a thread moves what SQLite's write-ahead log holds into the database's file, beside whoever writes.

Left to itself SQLite does that in the commit after which the log is long enough, and that commit takes some thirty
milliseconds instead of one: thousands of pages are written to the file, which the disk must then have. Here a thread
does nearly all of it on a connection of its own. SQLite lets it do so while others write; only what they add
meanwhile is left, and only when nothing is left does the log begin anew. So a commit adds the last step: a few
pages. Whatever instant the process dies at, log and file together say all that was committed, as ever.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

ROWS_MAX: Final = 8_000
"""Rows written before the log is folded; a hub writes about a page of 4 KiB for each, more where batches are small."""

_FOLD: Final = "PRAGMA wal_checkpoint(PASSIVE)"
_PASSES: Final = 2
"""What is written during the first, which takes tens of milliseconds, is folded by the second."""

log: Final = structlog.get_logger("vuka.store")


class Folder:
    """Folds the log of one database file until it is closed."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], *, rows_max: int = ROWS_MAX) -> None:
        self._path = path
        self._connection = connect()
        self._rows_max = rows_max
        self._rows_seen = 0
        self._is_under_way = False
        self._is_closing = False
        self._due = threading.Event()
        self.is_prepared = threading.Event()
        """Set where a commit has the last step to do."""
        # A process that ends without closing its database does not wait for it.
        self._thread = threading.Thread(target=self._run, name="vuka-folding", daemon=True)
        self._thread.start()

    def committed(self, connection: sqlite3.Connection) -> None:
        """A commit was made on this connection, the only one that writes: has folded what is due, or does the rest.

        Raises nothing: what is committed is committed.
        """
        if self.is_prepared.is_set():
            with _reported(self._path):
                connection.execute(_FOLD).fetchone()
            self._rows_seen = connection.total_changes
            self.is_prepared.clear()
            self._is_under_way = False
        elif not self._is_under_way and connection.total_changes - self._rows_seen >= self._rows_max:
            self._is_under_way = True
            self._due.set()

    def close(self) -> None:
        """Ends the thread, when it has done what it is doing."""
        self._is_closing = True
        self._due.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        descriptor = _descriptor(self._path)
        while True:
            self._due.wait()
            self._due.clear()
            if self._is_closing:
                return
            with _reported(self._path):
                for _ in range(_PASSES):
                    self._connection.execute(_FOLD).fetchone()
                    # SQLite leaves this to the one who comes to the log's end, and that is a commit.
                    if descriptor is not None:
                        os.fdatasync(descriptor)
            self.is_prepared.set()


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """What goes wrong is told, and done again when as much has been written once more: the log has it all the while."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        log.warning("the write-ahead log can't be folded into the database now", path=str(path), error=str(error))


def _descriptor(path: Path) -> int | None:
    """The descriptor by which SQLite has the file open; None where the system does not tell (it is not Linux).

    None is opened for this: to close it would give up the locks that SQLite has on the file
    (https://sqlite.org/howtocorrupt.html, 2.2). To flush the wrong file, were it ever closed, would harm nothing.
    """
    try:
        file = path.stat()
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return None
    for number in numbers:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), file):
                return number
    return None
