"""The records in one SQLite file: what a hub on one machine keeps everything in.

One connection writes, in explicit transactions, with a write-ahead log and ``synchronous=FULL``: when a commit
has returned, it survives the power being cut. Another connection reads a consistent snapshot beside it. The
connection may be used from any thread, by one at a time: the engine runs statements on its own thread and
lets another wait for the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from vuka.store import Row, Value

BUSY_TIMEOUT_MS: Final = 10_000
"""How long to wait for another process that writes the same file."""

WAL_PAGES_MAX: Final = 4_000
"""Pages of 4 KiB in the write-ahead log before a commit also moves them into the database."""

PAGE_CACHE_KIB: Final = 32 * 1024
STATEMENTS_CACHED: Final = 512
IN_LIST_MAX: Final = 8_192
"""Values in one ``IN`` list; a longer one is asked in several statements."""


# The driver looks whether a value has to be adapted, and to find out that None and bytes have not costs it an exception
# each, made and thrown away: more than to bind them. Told how, it asks no further.
sqlite3.register_adapter(type(None), {None: None}.get)
sqlite3.register_adapter(bytes, bytes)


def may_lose_pages(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite may lose what it has written where several processes write and fold the log.

    It takes a checkpoint that begins just after another one, while a third process begins the log anew
    (https://www.sqlite.org/wal.html#walresetbug). One process that writes, beside any that read, is safe with each.
    """
    return not (version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45))


def read_only_uri(path: Path) -> str:
    """How SQLite is asked for a file that it must not write; what means something in a URI is escaped."""
    return f"file:{quote(str(path))}?mode=ro"


@lru_cache(maxsize=STATEMENTS_CACHED)
def _with_places(sql: str, places: int) -> str:
    """The statement with so many places in its ``IN`` list."""
    before, after = sql.split("{values}")
    return f"{before}({','.join('?' * places)}){after}"


class SqliteTx:
    """One transaction on a connection: see `vuka.store.Tx`."""

    __slots__ = ("_begin", "_connection", "_cursor", "_is_untouched", "_undo", "closed")

    def __init__(self, connection: sqlite3.Connection, *, write: bool) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._undo: list[Callable[[], None]] = []
        self.closed = False
        self._is_untouched = True
        """Whether nothing has been asked or written in it yet."""
        self._begin = "BEGIN IMMEDIATE" if write else "BEGIN"
        self._cursor.execute(self._begin)

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        self._is_untouched = False
        return self._cursor.execute(sql, parameters).fetchall()

    def named(self, sql: str, parameters: Sequence[Value] = ()) -> list[dict[str, Value]]:
        self._is_untouched = False
        rows = self._cursor.execute(sql, parameters).fetchall()
        names = [column[0] for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def query_in(self, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> list[Row]:
        if not values:
            return []
        self._is_untouched = False
        rows: list[Row] = []
        for start in range(0, len(values), IN_LIST_MAX):
            chunk = values[start : start + IN_LIST_MAX]
            # Lengths are rounded up to a power of two, the last value repeated, so that few distinct texts exist
            # and the statement cache serves them all.
            places = 1 << (len(chunk) - 1).bit_length()
            filled = (*parameters, *chunk, *(chunk[-1],) * (places - len(chunk)))
            rows += self._cursor.execute(_with_places(sql, places), filled).fetchall()
        return rows

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self._is_untouched = False
        return self._cursor.execute(sql, parameters).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._is_untouched = False
        self._cursor.executemany(sql, rows)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    @property
    def given_up(self) -> bool:
        """Whether SQLite itself has undone everything, as it may when the disk is full or fails.

        There is no transaction then: a statement run now would be a commit of its own.
        """
        return not self._connection.in_transaction

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is done inside is undone alone when it raises; the transaction goes on, unless it is given up.

        Raises `sqlite3.OperationalError` where it is given up already.
        """
        if self.given_up:
            raise sqlite3.OperationalError("the transaction was given up")
        kept = len(self._undo)
        # Where it is all that the transaction has done, the transaction is begun anew when it fails, which is seldom:
        # for a savepoint SQLite keeps a copy of every page that is changed.
        is_whole = self._is_untouched
        if not is_whole:
            self._cursor.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            while len(self._undo) > kept:
                self._undo.pop()()
            if not self.given_up:
                for statement in ("ROLLBACK", self._begin) if is_whole else ("ROLLBACK TO one", "RELEASE one"):
                    self._cursor.execute(statement)
                self._is_untouched = is_whole
            raise
        if not is_whole:
            self._cursor.execute("RELEASE one")

    def commit(self) -> None:
        """Makes it durable: returns after the disk has it."""
        self._cursor.execute("COMMIT")
        self.closed = True
        self._undo.clear()
        self._cursor.close()

    def rollback(self) -> None:
        """Undoes everything, in the tables and in what memory kept on their strength."""
        self.closed = True
        while self._undo:
            self._undo.pop()()
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")
        self._cursor.close()

    def end(self) -> None:
        """Ends a transaction that only read: there is nothing to undo."""
        self._undo.clear()
        self.rollback()


class Database:
    """An open SQLite database. One transaction writes at a time."""

    is_remote: Final = False

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._writer = self._connect(writable=not read_only)
        # A database in memory has one connection: a second would be another database.
        self._reader = self._writer if path is None else self._connect(writable=False)

    @property
    def commits_at_once(self) -> bool:
        """Whether there is no disk to wait for."""
        return self.path is None

    @classmethod
    def open(cls, path: Path | None, *, read_only: bool = False) -> Database:
        """Opens the file, made when missing; ``None`` is a database in memory.

        Raises `sqlite3.OperationalError` where the file can't be opened, `sqlite3.DatabaseError` where it is none.
        """
        return cls(path, read_only=read_only)

    def _connect(self, *, writable: bool) -> sqlite3.Connection:
        name = ":memory:" if self.path is None else str(self.path)
        if self._read_only and self.path is not None:
            name = read_only_uri(self.path)
        connection = sqlite3.connect(
            name,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
            uri=name.startswith("file:"),
        )
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if writable:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
        elif not self._read_only:
            connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA foreign_keys = 1")
        return connection

    def start(self) -> SqliteTx:
        """A write transaction that the caller ends with `commit` or `rollback`."""
        return SqliteTx(self._writer, write=True)

    @contextlib.contextmanager
    def begin(self) -> Iterator[SqliteTx]:
        """A write transaction: committed at the end of the block, rolled back when it raises."""
        tx = self.start()
        try:
            yield tx
            # A commit that fails (the disk is full) leaves the transaction open: nobody could begin another.
            tx.commit()
        except BaseException:
            tx.rollback()
            raise

    def hold(self) -> contextlib.nullcontext[None]:
        """Nothing: what needs it runs in one process on a file."""
        return contextlib.nullcontext()

    def end_silent_writers(self) -> int:
        """None: a process that is gone holds no lock on a file, and what stands still on it is this machine's."""
        return 0

    @contextlib.contextmanager
    def read(self) -> Iterator[SqliteTx]:
        """A transaction that only reads, from one snapshot, beside whatever is being written."""
        if self._reader is self._writer and self._writer.in_transaction:
            raise RuntimeError("a database in memory can't be read beside an open write transaction")
        tx = SqliteTx(self._reader, write=False)
        try:
            yield tx
        finally:
            tx.end()

    def create_all(self) -> None:
        """Makes every table at once, for a new database in a test; a real one is made by migrations."""
        with self.begin() as tx:
            for statement in ddl():
                tx.run(statement)

    def close(self) -> None:
        """Closes the connections; the write-ahead log is folded into the file."""
        self._reader.close()
        self._writer.close()


@cache
def ddl() -> tuple[str, ...]:
    """Every table and index as SQLite makes them."""
    from sqlalchemy.dialects import sqlite

    from vuka.store.schema import statements

    return statements(sqlite.dialect())
