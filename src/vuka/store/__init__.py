"""Tables, transactions and migrations.

`Tx` is the one door to the tables: the rules of the scheme (`vuka.switch`) and the embedded ledger read and
write through it and never commit. SQL is written once, with ``?`` placeholders, in what SQLite and PostgreSQL
share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = int | str | bytes | None
"""What a column holds. Amounts and times are integers; there is no column of floats."""

Row: TypeAlias = tuple[Any, ...]


class Tx(Protocol):
    """One transaction. Every statement sees the ones before it; nothing is visible outside before the commit."""

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """The rows of a ``SELECT`` (or of a statement with ``RETURNING``)."""

    def query_in(self, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> list[Row]:
        """The rows of a ``SELECT … WHERE x IN ({values})``, for a list of any length, empty included.

        ``{values}`` stands exactly once in ``sql`` and is filled from ``values``; the ``?``
        placeholders before it are filled from ``parameters``. The order of the rows is not the order of ``values``.
        """

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Runs one statement; the number of rows it touched."""

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Runs one statement for each row of parameters."""

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Has ``undo`` called if this transaction is rolled back: for what memory kept on its strength."""
