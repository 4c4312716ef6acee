"""The records in PostgreSQL: what any number of hub processes on any number of machines share.

Transactions that write run one after another, as SQLite's do: each takes one advisory lock as it begins and keeps
it until it has ended. A batch decides from what the batch before it committed, in whichever process that ran, so the
rules need no thought of concurrency, and nothing can deadlock: there is one lock. What this costs is little, because
a batch is a few statements however many payments it holds: while one process commits, the next batches gather in all.

SQL comes with ``?`` placeholders and is translated once. A statement for many rows is sent as one statement over
arrays (``unnest``) where that means the same, and row by row in one pipeline where it may not.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg import Connection, Cursor, pq
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import StrBinaryDumper

from vuka.store import CommitUnknownError, Row, UnavailableError, Value

T = TypeVar("T")

CONNECT_SECONDS_MAX: Final = 3
"""How long a new connection may take. libpq takes no less than 2."""

SILENCE_MS_MAX: Final = 10_000
"""How long what was sent may stay unacknowledged by the server's machine before the connection counts as lost."""

READ_SECONDS_MAX: Final = 10.0
"""How long a hub waits for the answer to one question: its event loop, and all that is in it, waits too.

A server that hangs acknowledges whatever it is sent, so that the network does not tell.
"""

IDLE_IN_TRANSACTION_MS_MAX: Final = 15_000
"""After which the server undoes the transaction of a process that says nothing: it keeps every other from writing."""

RETRY_MS_FIRST: Final = 50
RETRY_MS_MAX: Final = 1_000
"""Between attempts to reach a database that is away; meanwhile whoever asks is refused at once."""

READERS_KEPT_MAX: Final = 4
STATEMENTS_PREPARED_MAX: Final = 512
STATEMENT_USES_BEFORE_PREPARED: Final = 1
LOCK_CLASS: Final = 0x76_75_6B_61
"""The class of the advisory lock: "vuka" in ASCII. Its second half is the schema, so that hubs may share a server."""

# Plans: one that is kept is of the time when it was made, so that a hub that was new then goes on reading whole tables
# until the server has looked at them; to plan anew costs little for a batch. And whatever a batch looks for is few rows
# by their keys, mostly in memory: rows apart cost little more than rows in a row.
_SESSION: Final = (
    "-c plan_cache_mode=force_custom_plan -c random_page_cost=1.1 "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    "-c client_min_messages=warning -c default_transaction_isolation=read\\ committed"
)
_LOCK_HOLDERS: Final = f"""pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {LOCK_CLASS} AND l.objsubid = 2
      AND l.objid::bigint = hashtext(current_schema())::bigint & 4294967295
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
# Among the rows of one statement (psycopg sends them in a pipeline) a transaction is not idle but waits for its client.
_END_SILENT: Final = f"""SELECT COUNT(pg_terminate_backend(a.pid)) FROM {_LOCK_HOLDERS}
      AND (a.state LIKE 'idle%' OR a.wait_event_type = 'Client')
      AND a.state_change < clock_timestamp() - ? * interval '1 ms'"""
# What is answered with 202 is on disk, whatever server or role say; where more is waited for (a replica), that stays.
# Blocks of the journal are compressed while others wait for the lock: fast, where the server can do that.
_PREPARE_WRITER: Final = f"""SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS_MAX};
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
    DO $$ BEGIN
        PERFORM set_config('default_toast_compression', 'lz4', false);
    EXCEPTION WHEN undefined_object OR invalid_parameter_value THEN NULL; END $$"""
LOCK_BATCHES: Final = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext(current_schema()))"
"""Taken by whoever writes, until the transaction has ended."""

_BEGIN_WRITE: Final = f"BEGIN; {LOCK_BATCHES}"
_HOLD: Final = (
    f"SET idle_session_timeout = {IDLE_IN_TRANSACTION_MS_MAX}; "
    f"SELECT pg_advisory_lock({LOCK_CLASS}, hashtext(current_schema()))"
)
_LET_GO: Final = f"SELECT pg_advisory_unlock({LOCK_CLASS}, hashtext(current_schema())); SET idle_session_timeout = 0"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class _WholeNumberLoader(NumericBinaryLoader):
    """A sum of 64-bit integers is a ``numeric`` to PostgreSQL: read as the integer that it is."""

    def load(self, data: Buffer) -> int:  # type: ignore[override]
        return int(super().load(data))


def _adapt(adapters: AdaptersMap) -> None:
    # One type for all integers, however large: else a statement would be prepared anew for each size. True is 1.
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(bool, Int8BinaryDumper)
    adapters.register_dumper(str, StrBinaryDumper)
    adapters.register_loader("numeric", _WholeNumberLoader)


class _Translated(msgspec.Struct, frozen=True):
    """A statement as psycopg takes it, and how it may be run for many rows at once."""

    text: str
    many: _Many | None


class _Many(msgspec.Struct, frozen=True):
    """A statement over arrays: its text around the placeholders, and what each of those is compared with or put in."""

    table: str
    pieces: tuple[str, ...]
    source: str
    """Where the arrays are named: ``FROM`` or ``USING``."""
    before: str
    """What of the statement stands before `source`."""
    columns: tuple[str, ...]
    keys: tuple[int, ...]
    """The parameters that choose the rows: where two rows of parameters agree in them, order matters."""
    after: str


_INSERT: Final = re.compile(
    r"\s*INSERT INTO (\w+)\s*\(([\w\s,]+)\)\s*VALUES\s*\(([^()]+)\)\s*(ON CONFLICT[^?]*)?", re.IGNORECASE
)
_DOES_NOTHING: Final = re.compile(r"ON CONFLICT.*DO NOTHING\s*", re.IGNORECASE | re.DOTALL)
_UPDATES: Final = re.compile(r"ON CONFLICT\s*\(([\w\s,]+)\)\s*DO UPDATE\s+SET\s[^()]*", re.IGNORECASE)
_UPDATE: Final = re.compile(r"\s*UPDATE (\w+)\s+SET\s+([^()]+?)\s+WHERE\s+([^()]+?)\s*", re.IGNORECASE)
_DELETE: Final = re.compile(r"\s*DELETE FROM (\w+)\s+WHERE\s+([^()]+?)\s*", re.IGNORECASE)
_COMPARED: Final = re.compile(r"\s*(\w+)\s*=\s*\?\s*")


@lru_cache(maxsize=4096)
def _translated(sql: str) -> _Translated:
    return _Translated(_placed(sql), _as_many(sql))


def _placed(sql: str) -> str:
    """The statement with psycopg's placeholders. What is quoted stays as it is, but for the percent sign."""
    quoted = False
    out: list[str] = []
    for character in sql:
        if character == "'":
            quoted = not quoted
        if character == "?" and not quoted:
            out.append("%b")
        else:
            out.append("%%" if character == "%" else character)
    return "".join(out)


def _as_many(sql: str) -> _Many | None:
    """How to run it over arrays; None where that might not mean the same as one row after another."""
    if "'" in sql and "?" in "".join(sql.split("'")[1::2]):
        return None
    if (found := _INSERT.fullmatch(sql)) is not None:
        table, names, values, conflict = found.groups()
        columns = [each.strip() for each in names.split(",")]
        places = [each.strip() for each in values.split(",")]
        if len(columns) != len(places) or any("?" in each and each != "?" for each in places):
            return None
        filled = tuple(column for column, place in zip(columns, places, strict=True) if place == "?")
        keys = _conflicting(conflict, filled) if conflict else ()
        if keys is None:
            return None
        return _Many(
            table=table,
            pieces=tuple(", ".join(places).split("?")),
            source="FROM",
            before=f"INSERT INTO {table} ({', '.join(columns)}) SELECT ",
            columns=filled,
            keys=keys,
            after=f" {conflict}" if conflict else "",
        )
    if (found := _UPDATE.fullmatch(sql)) is not None:
        table, assignments, where = found.groups()
        conditions = re.split(r"\s+AND\s+", where, flags=re.IGNORECASE)
        parts = [*assignments.split(","), *conditions]
        set_places = assignments.count("?")
        return _over_rows(table, f"UPDATE {table} SET ", assignments, where, parts, set_places, "FROM")
    if (found := _DELETE.fullmatch(sql)) is not None:
        table, where = found.groups()
        parts = re.split(r"\s+AND\s+", where, flags=re.IGNORECASE)
        return _over_rows(table, f"DELETE FROM {table}", "", where, parts, 0, "USING")
    return None


def _conflicting(conflict: str, columns: tuple[str, ...]) -> tuple[int, ...] | None:
    """The parameters by which rows conflict, where such a row changes what is there; None where that can't be told."""
    if _DOES_NOTHING.fullmatch(conflict):
        return ()
    found = _UPDATES.fullmatch(conflict)
    chosen = [each.strip() for each in found[1].split(",")] if found is not None else []
    if not chosen or not set(chosen).issubset(columns):
        return None
    return tuple(columns.index(each) for each in chosen)


def _over_rows(
    table: str, verb: str, assignments: str, where: str, parts: list[str], set_places: int, source: str
) -> _Many | None:
    if re.search(r"\bOR\b", where, re.IGNORECASE):
        return None
    columns: list[str] = []
    for part in parts:
        if "?" in part:
            compared = _COMPARED.fullmatch(part)
            if compared is None:
                return None
            columns.append(compared[1])
    if len(columns) == set_places:
        return None
    return _Many(
        table=table,
        pieces=tuple(where.split("?")),
        source=source,
        before=verb + assignments,
        columns=tuple(columns),
        keys=tuple(range(set_places, len(columns))),
        after="",
    )


class PostgresTx:
    """One transaction on a connection: see `vuka.store.WriteTx`."""

    __slots__ = ("_connection", "_cursor", "_types", "_undo", "closed")

    def __init__(
        self, connection: Connection[Row], types: Callable[[Cursor[Row], str], dict[str, str]], *, write: bool
    ) -> None:
        self._connection = connection
        self._types = types
        self._undo: list[Callable[[], None]] = []
        self.closed = False
        connection.execute(_BEGIN_WRITE if write else _BEGIN_READ)
        self._cursor = connection.cursor(binary=True)

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        return self._cursor.execute(_translated(sql).text, _storable(parameters)).fetchall()

    def named(self, sql: str, parameters: Sequence[Value] = ()) -> list[dict[str, Value]]:
        rows = self.query(sql, parameters)
        names = [column.name for column in self._cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def query_in(self, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> list[Row]:
        if not values:
            return []
        listed = list(_storable(values))
        return self._cursor.execute(_translated_in(sql), (*_storable(parameters), listed)).fetchall()

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        return self._cursor.execute(_translated(sql).text, _storable(parameters)).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        rows = rows if isinstance(rows, list) else list(rows)
        if not rows:
            return
        statement = _translated(sql)
        many = statement.many
        if len(rows) == 1:
            self._cursor.execute(statement.text, _storable(rows[0]))
        elif many is not None and _are_apart(rows, many.keys):
            self._run_arrays(many, rows)
        else:
            self._cursor.executemany(statement.text, [_storable(row) for row in rows])

    def _run_arrays(self, many: _Many, rows: list[Sequence[Value]]) -> None:
        types = self._types(self._cursor, many.table)
        arrays = list(zip(*rows, strict=True))
        # A column that no row fills is no array: there is nothing to tell its type by.
        filled = tuple(any(value is not None for value in array) for array in arrays)
        text = _over_arrays(many, filled, tuple(types[column] for column in many.columns))
        self._cursor.execute(
            text, [list(_storable(array)) for array, is_filled in zip(arrays, filled, strict=True) if is_filled]
        )

    def on_rollback(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    @property
    def given_up(self) -> bool:
        """Whether the connection is lost, and the transaction with it."""
        return self._connection.closed or self._status == pq.TransactionStatus.IDLE

    @property
    def _status(self) -> pq.TransactionStatus:
        return self._connection.info.transaction_status

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is done inside is undone alone when it raises; the transaction goes on, unless it is given up.

        Raises `psycopg.OperationalError` where it is given up already.
        """
        if self.given_up:
            raise psycopg.OperationalError("the transaction was given up")
        kept = len(self._undo)
        self._cursor.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            # The connection may be lost meanwhile: what was raised first tells more.
            with contextlib.suppress(psycopg.Error):
                if not self.given_up:
                    self._connection.execute("ROLLBACK TO one; RELEASE one")
            while len(self._undo) > kept:
                self._undo.pop()()
            raise
        self._cursor.execute("RELEASE one")

    def commit(self) -> None:
        """Makes it durable: returns after the server's disk has it. Raises `CommitUnknownError`."""
        self.closed = True
        try:
            ended = self._cursor.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            self._take_back()
            if self._connection.closed or isinstance(error, psycopg.OperationalError):
                raise CommitUnknownError("the answer to a commit was lost") from error
            raise
        if ended != "COMMIT":
            self._take_back()
            raise psycopg.InternalError("the transaction had failed and was not committed")
        self._undo.clear()
        self._cursor.close()

    def _take_back(self) -> None:
        while self._undo:
            self._undo.pop()()

    def rollback(self) -> None:
        """Undoes everything, in the tables and in what memory kept on their strength."""
        self.closed = True
        self._take_back()
        with contextlib.suppress(psycopg.Error):
            if not self._connection.closed:
                self._connection.execute("ROLLBACK")
        self._cursor.close()

    def end(self) -> None:
        """Ends a transaction that only read: there is nothing to undo."""
        self._undo.clear()
        self.rollback()


def _storable(values: Sequence[Value]) -> Sequence[Value]:
    """The values, with what no text of PostgreSQL may hold replaced: a participant may write it, and harms nobody."""
    if any(type(value) is str and "\0" in value for value in values):
        return [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values]
    return values


@lru_cache(maxsize=1024)
def _translated_in(sql: str) -> str:
    before, after = sql.split("{values}")
    head = before.rstrip()
    if head[-3:].upper() != " IN" or head[-7:].upper() == " NOT IN":
        raise ValueError(f"{{values}} must follow IN: {sql}")
    return _placed(f"{head[:-3]} = ANY(?){after}")


@lru_cache(maxsize=1024)
def _over_arrays(many: _Many, filled: tuple[bool, ...], types: tuple[str, ...]) -> str:
    names = [f"v.p{place}" if is_filled else f"NULL::{types[place]}" for place, is_filled in enumerate(filled)]
    used = [place for place, is_filled in enumerate(filled) if is_filled]
    arrays = ", ".join(f"%b::{types[place]}[]" for place in used)
    source = f" {many.source} unnest({arrays}) AS v({', '.join(f'p{place}' for place in used)})"
    if many.before.startswith("INSERT"):
        return f"{_placed(many.before)}{_joined(many.pieces, names)}{source}{_placed(many.after)}"
    places = len(names) - (len(many.pieces) - 1)
    head = _joined(tuple(many.before.split("?")), names[:places])
    return f"{head}{source} WHERE {_joined(many.pieces, names[places:])}"


def _joined(pieces: tuple[str, ...], names: Sequence[str]) -> str:
    text = _placed(pieces[0])
    for name, piece in zip(names, pieces[1:], strict=True):
        text += name + _placed(piece)
    return text


def _are_apart(rows: list[Sequence[Value]], keys: tuple[int, ...]) -> bool:
    """Whether no two rows of parameters can touch the same row of the table, and none is chosen by nothing."""
    if not keys:
        return True
    chosen = {tuple(row[key] for key in keys) for row in rows}
    return len(chosen) == len(rows) and not any(None in each for each in chosen)


class _SilentError(psycopg.OperationalError):
    """The server did not answer in time."""


class _Reading(Connection[Row]):
    """A connection that waits for `READ_SECONDS_MAX` at most, and is lost then. Raises `_SilentError`."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        try:
            return super().wait(_in_time(gen, time.monotonic() + READ_SECONDS_MAX), *args, **kwargs)
        except _SilentError:
            self.pgconn.finish()
            raise


def _in_time(waiting: PQGen[T], deadline: float) -> PQGen[T]:
    """The same, as long as there is time: psycopg looks in now and then where nothing has come."""
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _SilentError("the database does not answer")
            wanted = waiting.send(ready)
    except StopIteration as done:
        value: T = done.value
        return value


class Database:
    """An open PostgreSQL database, by its URL: see `vuka.store.Database`.

    One connection writes; it belongs to one thread at a time. Reads take a connection each, from any thread. Unless it
    is opened to be read only, by a report that may take its time, a read that is not answered in time is given up, and
    others are refused until something was written: whoever writes has a thread to wait in.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = url
        self._read_only = read_only
        self._writer: Connection[Row] | None = None
        self._readers: list[Connection[Row]] = []
        self._lock = threading.Lock()
        self._column_types: dict[str, dict[str, str]] = {}
        self._away_until = 0.0
        self._retry_ms = RETRY_MS_FIRST
        self._is_closed = False
        self._is_silent = False
        self._reader: type[Connection[Row]] = Connection if read_only else _Reading

    is_remote: Final = True
    commits_at_once: Final = False

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Database:
        """Opens the database of a URL, e.g. ``postgresql://vuka@db.example/vuka``. Raises `UnavailableError`."""
        database = cls(url, read_only=read_only)
        database._readers.append(database._connect(database._reader))
        return database

    def _connect(self, kind: type[Connection[Row]]) -> Connection[Row]:
        """A new connection. While the database is away, it is asked for again after a pause, and refused in it."""
        if self._is_closed:
            raise UnavailableError("the database is closed")
        if time.monotonic() < self._away_until:
            raise UnavailableError("the database can't be reached")
        try:
            connection = connect(self.url, kind)
        except psycopg.OperationalError as error:
            self._away_until = time.monotonic() + self._retry_ms / 1000
            self._retry_ms = min(self._retry_ms * 2, RETRY_MS_MAX)
            raise UnavailableError(f"the database can't be reached: {first_line(error)}") from error
        self._retry_ms = RETRY_MS_FIRST
        connection.prepare_threshold = STATEMENT_USES_BEFORE_PREPARED
        connection.prepared_max = STATEMENTS_PREPARED_MAX
        return connection

    def start(self) -> PostgresTx:
        """A write transaction, after those of every other process. Raises `UnavailableError`."""
        return self._on_writer(lambda writer: PostgresTx(writer, self._types_of, write=True))

    def _on_writer(self, function: Callable[[Connection[Row]], T]) -> T:
        """What ``function`` gives on the connection that writes; it is made anew where it was lost."""
        if self._read_only:
            raise psycopg.errors.ReadOnlySqlTransaction("the database was opened to be read only")
        for attempt in (1, 2):
            is_new = self._writer is None or self._writer.closed
            if self._writer is None or is_new:
                self._writer = self._connect(Connection)
            try:
                if is_new:
                    _prepare(self._writer)
                done = function(self._writer)
            except psycopg.OperationalError as error:
                # The server was restarted since: what has not begun can begin again.
                self._writer.close()
                if attempt == 2:
                    raise UnavailableError(f"the database can't be reached: {first_line(error)}") from error
            else:
                self._is_silent = False
                return done
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def begin(self) -> Iterator[PostgresTx]:
        """A write transaction: committed at the end of the block, rolled back when it raises."""
        tx = self.start()
        try:
            yield tx
        except BaseException:
            tx.rollback()
            raise
        tx.commit()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """The lock that write transactions take, for several of them: the session keeps it, not a transaction.

        The server lets go of it where the connection is lost, or silent for too long. Raises `UnavailableError`.
        """
        holder = self._on_writer(_hold)
        try:
            yield
        finally:
            try:
                if not holder.closed:
                    holder.execute(_LET_GO)
            except psycopg.Error:
                # What can't be let go of goes with the connection.
                holder.close()

    def end_silent_writers(self, silent_ms: int = IDLE_IN_TRANSACTION_MS_MAX) -> int:
        """Undoes the transaction of a process that has said nothing for so long; how many.

        The server is asked to do so by itself, and doesn't always: it was seen to lose the alarm that it sets itself.
        To be asked by a thread that may wait: it may be what keeps this process from writing, after a read that was
        given up, and so from reading again. Raises `UnavailableError`.
        """
        with self._read(though_silent=True) as tx:
            ((ended,),) = tx.query(_END_SILENT, (silent_ms,))
        return int(ended)

    def read(self) -> contextlib.AbstractContextManager[PostgresTx]:
        """A transaction that only reads, from one snapshot. Raises `UnavailableError`."""
        return self._read(though_silent=False)

    @contextlib.contextmanager
    def _read(self, *, though_silent: bool) -> Iterator[PostgresTx]:
        connection, tx = self._start_reading(though_silent=though_silent)
        try:
            yield tx
        except _SilentError as error:
            raise self._fallen_silent() from error
        finally:
            tx.end()
            with self._lock:
                if len(self._readers) < READERS_KEPT_MAX and not connection.closed and not self._is_closed:
                    self._readers.append(connection)
                else:
                    connection.close()

    def _start_reading(self, *, though_silent: bool) -> tuple[Connection[Row], PostgresTx]:
        while True:
            if self._is_silent and not though_silent:
                raise UnavailableError("the database does not answer")
            with self._lock:
                kept = self._readers.pop() if self._readers else None
            connection = kept or self._connect(self._reader)
            try:
                return connection, PostgresTx(connection, self._types_of, write=False)
            except _SilentError as error:
                raise self._fallen_silent() from error
            except psycopg.OperationalError as error:
                connection.close()
                if kept is None:
                    raise UnavailableError(f"the database can't be reached: {first_line(error)}") from error

    def _fallen_silent(self) -> UnavailableError:
        """Nobody reads before something was written: the connections that are kept would be waited for one by one."""
        with self._lock:
            self._is_silent = True
            readers, self._readers = self._readers, []
        for each in readers:
            each.close()
        return UnavailableError("the database does not answer")

    def _types_of(self, cursor: Cursor[Row], table: str) -> dict[str, str]:
        """The types of a table's columns, asked once."""
        known = self._column_types.get(table)
        if known is None:
            rows = cursor.execute(
                """SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
                   WHERE attrelid = to_regclass(%b) AND attnum > 0 AND NOT attisdropped""",
                (table,),
            ).fetchall()
            known = self._column_types[table] = dict(rows)
        return known

    def create_all(self) -> None:
        """Makes every table at once, for a new database in a test; a real one is made by migrations."""
        with self.begin() as tx:
            for statement in ddl():
                tx.run(statement)

    def close(self) -> None:
        """Closes the connections."""
        with self._lock:
            self._is_closed = True
            readers, self._readers = self._readers, []
        for connection in (self._writer, *readers):
            if connection is not None:
                connection.close()


def _prepare(writer: Connection[Row]) -> None:
    """Makes a new connection one that writes. Raises `UnavailableError` where the server lets nobody write."""
    writer.execute(_PREPARE_WRITER)
    if writer.execute("SELECT current_setting('transaction_read_only')").fetchall() == [("on",)]:
        writer.close()
        raise UnavailableError("the database takes no writes: it is a standby, or read-only. Name the primary's URL")


def _hold(writer: Connection[Row]) -> Connection[Row]:
    writer.execute(_HOLD)
    return writer


def connect(url: str, kind: type[Connection[Row]] = Connection) -> Connection[Row]:
    """A connection that commits what it is told to. Raises `psycopg.OperationalError`."""
    connection = kind.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_SECONDS_MAX,
        tcp_user_timeout=SILENCE_MS_MAX,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"{_SESSION} {conninfo_to_dict(url).get('options') or ''}".strip(),
        application_name="vuka",
        client_encoding="utf8",
    )
    _adapt(connection.adapters)
    return connection


def first_line(error: BaseException) -> str:
    """What a driver says first: the rest of it is for whoever debugs libpq."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@cache
def ddl() -> tuple[str, ...]:
    """Every table and index as PostgreSQL makes them."""
    from sqlalchemy.dialects import postgresql

    from vuka.store.schema import statements

    return statements(postgresql.dialect())  # type: ignore[no-untyped-call]
