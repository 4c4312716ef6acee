"""The engines that the contract is proven on, and how a test opens one.

To put another engine under contract, wrap it in an `Engine` and name it in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pytest

from vuka.ledger.model import (
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
from vuka.store.sqlite import Database

START_NS = 1_800_000_000_000_000_000
"""When every test begins."""


class Engine(Ledger, Protocol):
    """A ledger of its own, empty at first. Each call is one request, durable when it returns."""

    now_ns: int
    """The engine's clock; a test moves it."""

    def release_expired(self) -> None:
        """Has the engine release pending transfers whose timeout has passed."""

    def close(self) -> None: ...


class SqlEngine:
    """The embedded ledger over SQLite in memory, one transaction for each request."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.database = Database.open(None)
        self.database.create_all()

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        with self.database.begin() as tx:
            return SqlLedger(tx, self.now_ns).create_accounts(accounts)

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        with self.database.begin() as tx:
            return SqlLedger(tx, self.now_ns).create_transfers(transfers)

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        with self.database.read() as tx:
            return SqlLedger(tx, self.now_ns).lookup_accounts(ids)

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        with self.database.read() as tx:
            return SqlLedger(tx, self.now_ns).lookup_transfers(ids)

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        with self.database.read() as tx:
            return SqlLedger(tx, self.now_ns).get_account_transfers(account_filter)

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        with self.database.read() as tx:
            return SqlLedger(tx, self.now_ns).get_account_balances(account_filter)

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        with self.database.read() as tx:
            return SqlLedger(tx, self.now_ns).query_accounts(query_filter)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        with self.database.read() as tx:
            return SqlLedger(tx, self.now_ns).query_transfers(query_filter)

    def release_expired(self) -> None:
        with self.database.begin() as tx:
            SqlLedger(tx, self.now_ns).expire_pending()

    def close(self) -> None:
        self.database.close()


ENGINES: dict[str, Callable[[], Engine]] = {"sql": SqlEngine}


@pytest.fixture(params=ENGINES)
def open_engine(request: pytest.FixtureRequest) -> Iterator[Callable[[], Engine]]:
    """Opens engines, each with an empty ledger; they are closed when the test ends."""
    opened: list[Engine] = []

    def open_one() -> Engine:
        opened.append(ENGINES[request.param]())
        return opened[-1]

    yield open_one
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(open_engine: Callable[[], Engine]) -> Engine:
    """One engine with an empty ledger."""
    return open_engine()
