"""Every ledger engine behind one face, so that one suite judges them all.

An `Engine` is a `Ledger` whose every call is a batch of its own, with a clock that a test can move. A further engine
is one more entry of `FACTORIES`; nothing in the tests knows which one it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests import stores
from tests.ledger.clock import START_NS
from tests.ledger.obvious import ObviousLedger

from vuka.ledger.model import (
    AMOUNT_MAX,
    NS_PER_S,
    Account,
    AccountBalance,
    AccountFilter,
    CreateAccountResult,
    CreateTransferResult,
    Ledger,
    QueryFilter,
    Transfer,
)
from vuka.ledger.sql import SqlLedger
from vuka.store import Database, Tx
from vuka.store import sqlite as on_sqlite


class Engine(Ledger, Protocol):
    """A ledger that was empty when the test began. Each call is a request of its own, final when it returns."""

    @property
    def now_ns(self) -> int:
        """The time at which the next batch begins, in nanoseconds since 1970."""

    def advance(self, seconds: int) -> None:
        """Returns when so many seconds have passed for the ledger."""

    def close(self) -> None:
        """Gives back whatever the engine holds."""


class SqlEngine:
    """The embedded ledger on a database of its own. Its clock stands still until a test moves it."""

    def __init__(self, database: Database, wrap: Callable[[Tx], Tx] = lambda tx: tx) -> None:
        self.database = database
        self.now_ns = START_NS
        self._wrap = wrap

    def advance(self, seconds: int) -> None:
        self.now_ns += seconds * NS_PER_S

    def close(self) -> None:
        self.database.close()

    @contextmanager
    def request(self) -> Iterator[SqlLedger]:
        """A ledger in a transaction that is committed at the end, or rolled back when it raises."""
        with self.database.begin() as tx:
            # The highest balance is out of reach of any test; a lower one shows what happens there.
            yield SqlLedger(self._wrap(tx), self.now_ns, balance_max=AMOUNT_MAX)

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        with self.request() as ledger:
            return ledger.create_accounts(accounts)

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        with self.request() as ledger:
            return ledger.create_transfers(transfers)

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        with self.request() as ledger:
            return ledger.lookup_accounts(ids)

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        with self.request() as ledger:
            return ledger.lookup_transfers(ids)

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        with self.request() as ledger:
            return ledger.get_account_transfers(account_filter)

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        with self.request() as ledger:
            return ledger.get_account_balances(account_filter)

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        with self.request() as ledger:
            return ledger.query_accounts(query_filter)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        with self.request() as ledger:
            return ledger.query_transfers(query_filter)


def _on_disk(path: Path) -> Database:
    database = on_sqlite.Database.open(path)
    database.create_all()
    return database


EngineFactory = Callable[[Path], Engine]
"""Makes an engine whose ledger is empty; the directory is its own."""

FACTORIES: Final[dict[str, EngineFactory]] = {
    "sql": lambda directory: SqlEngine(stores.fresh()),
    "sql-disk": lambda directory: SqlEngine(_on_disk(directory / "ledger.db")),
    "obvious": lambda directory: ObviousLedger(),
}
"""Every engine there is, the model that the others are compared with among them."""

QUICK: Final = ("sql", "obvious")
"""The engines that the whole suite judges; the others, only tests that are parametrised with `EVERY`."""

EVERY: Final = tuple(FACTORIES)
