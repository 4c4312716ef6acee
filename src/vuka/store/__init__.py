"""Tables, transactions and migrations.

`Tx` is the one door to the tables: the rules of the scheme (`vuka.switch`) and the embedded ledger read and
write through it and never commit. SQL is written once, with ``?`` placeholders, in what SQLite and PostgreSQL
share. `Database` is what opens transactions: `vuka.store.sqlite` and `vuka.store.postgresql` are the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = int | str | bytes | None
"""What a column holds. Amounts and times are integers; there is no column of floats."""

Row: TypeAlias = tuple[Any, ...]


class UnavailableError(Exception):
    """The database can't be reached now; nothing was done."""


class CommitUnknownError(Exception):
    """The connection was lost before the answer to a commit: it was made or not, only the database knows."""


class Tx(Protocol):
    """One transaction. Every statement sees the ones before it; nothing is visible outside before the commit."""

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """The rows of a ``SELECT`` (or of a statement with ``RETURNING``)."""

    def named(self, sql: str, parameters: Sequence[Value] = ()) -> list[dict[str, Value]]:
        """The same, each row by the names of its columns: for what is to be shown, whatever the table has."""

    def query_in(self, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> list[Row]:
        """The rows of a ``SELECT … WHERE x IN {values}``, for a list of any length, empty included.

        ``{values}`` stands exactly once in ``sql`` and is filled from ``values``; the ``?``
        placeholders before it are filled from ``parameters``. The order of the rows is not the order of ``values``.
        """

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Runs one statement; the number of rows it touched."""

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Runs one statement for each row of parameters."""

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Has ``undo`` called if this transaction is rolled back: for what memory kept on its strength."""


class WriteTx(Tx, Protocol):
    """A transaction that its opener ends: what the engine holds, and no rule of the scheme does.

    Transactions that write run one after another, whichever process opened them.
    """

    @property
    def closed(self) -> bool:
        """Whether it has ended, by `commit` or `rollback`."""

    @property
    def given_up(self) -> bool:
        """Whether the database itself has undone everything: no statement may run any more."""

    def savepoint(self) -> AbstractContextManager[None]:
        """What is done inside is undone alone when it raises; the transaction goes on, unless it is given up."""

    def commit(self) -> None:
        """Makes it durable: returns after the disk has it.

        Raises `CommitUnknownError` where the answer was lost; with any other exception nothing was committed.
        """

    def rollback(self) -> None:
        """Undoes everything, in the tables and in what memory kept on their strength."""


class Database(Protocol):
    """An open database. Closed with `close`, after every transaction has ended."""

    @property
    def is_remote(self) -> bool:
        """Whether each statement waits for a server, so that whoever must not wait runs them in a thread."""

    @property
    def commits_at_once(self) -> bool:
        """Whether a commit waits for no disk: a database in memory."""

    def start(self) -> WriteTx:
        """A write transaction that the caller ends with `commit` or `rollback`; waits for other writers.

        Raises `UnavailableError` where the database can't be reached.
        """

    def begin(self) -> AbstractContextManager[WriteTx]:
        """A write transaction: committed at the end of the block, rolled back when it raises."""

    def hold(self) -> AbstractContextManager[None]:
        """Lets no other process write until the end of the block, or until the connection is lost.

        For several transactions with nobody's in between. Raises `UnavailableError` as `start` does.
        """

    def end_silent_writers(self) -> int:
        """Undoes what other processes were writing when they stopped to say anything, so that others can; how many."""

    def read(self) -> AbstractContextManager[Tx]:
        """A transaction that only reads, from one snapshot, beside whatever is being written.

        Raises `UnavailableError` where the database can't be reached.
        """

    def create_all(self) -> None:
        """Makes every table at once, for a new database in a test; a real one is made by migrations."""

    def close(self) -> None:
        """Closes every connection."""
