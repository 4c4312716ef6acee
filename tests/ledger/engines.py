"""Every ledger engine behind one face, so that one suite judges them all.

An `Engine` is a `Ledger` whose every call is a batch of its own, with a clock that a test can move. A further engine
is one more entry of `FACTORIES`; nothing in the tests knows which one it has.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pytest
from tests import stores, tigerbeetle
from tests.ledger.clock import START_NS
from tests.ledger.obvious import ObviousLedger

from vuka.ledger.model import (
    AMOUNT_MAX,
    ID_MAX,
    NS_PER_S,
    TIMEOUT_MAX,
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
from vuka.ledger.tigerbeetle import TigerBeetleLedger
from vuka.store import Database, Tx


class Engine(Ledger, Protocol):
    """A ledger that was empty when the test began. Each call is a request of its own, final when it returns."""

    @property
    def now_ns(self) -> int:
        """The time at which the next batch begins, in nanoseconds since 1970."""

    @property
    def has_own_clock(self) -> bool:
        """Whether the clock is the test's to set; else it is that of the world."""

    @property
    def quiet_ns(self) -> int:
        """A moment in the past since which nothing has happened in the ledger, in nanoseconds since 1970."""

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

    shares_transaction = False
    has_own_clock = True

    @property
    def quiet_ns(self) -> int:
        return self.now_ns - 3600 * NS_PER_S

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


WHOLE: Final = 2**128 - 1
"""The largest amount in TigerBeetle, which has a wider one than the hub."""


class Apart(TigerBeetleLedger):
    """A part of a cluster that many tests share, empty at first, and all that one test sees of it.

    Every id is masked by a number of this test's own, and what is older than the test is never found.
    """

    __slots__ = ("_mask", "_since_ns")

    def __init__(self, *, amount_max: int = AMOUNT_MAX) -> None:
        super().__init__(tigerbeetle.cluster(), amount_max=amount_max)
        self._mask = secrets.randbits(127)
        last = [
            each.timestamp
            for found in (super().query_accounts(_LAST), super().query_transfers(_LAST))
            for each in found
        ]
        self._since_ns = max(last, default=0) + 1

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        return super().create_accounts([self._account(each) for each in accounts])

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        return super().create_transfers([self._transfer(each) for each in transfers])

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        return [self._account(each) for each in super().lookup_accounts([self._id(each) for each in ids])]

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        return [self._transfer(each) for each in super().lookup_transfers([self._id(each) for each in ids])]

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        return [self._transfer(each) for each in super().get_account_transfers(self._of_account(account_filter))]

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        return super().get_account_balances(self._of_account(account_filter))

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        return [self._account(each) for each in super().query_accounts(self._since(query_filter))]

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        return [self._transfer(each) for each in super().query_transfers(self._since(query_filter))]

    def _id(self, id_: int) -> int:
        return id_ ^ self._mask if 0 < id_ < ID_MAX else id_

    def _account(self, account: Account) -> Account:
        return msgspec.structs.replace(account, id=self._id(account.id))

    def _transfer(self, transfer: Transfer) -> Transfer:
        return msgspec.structs.replace(
            transfer,
            id=self._id(transfer.id),
            debit_account_id=self._id(transfer.debit_account_id),
            credit_account_id=self._id(transfer.credit_account_id),
            pending_id=self._id(transfer.pending_id),
        )

    def _of_account(self, wanted: AccountFilter) -> AccountFilter:
        return msgspec.structs.replace(wanted, account_id=self._id(wanted.account_id))

    def _since(self, wanted: QueryFilter) -> QueryFilter:
        if wanted.timestamp_max and wanted.timestamp_max < wanted.timestamp_min:
            return wanted
        return msgspec.structs.replace(wanted, timestamp_min=max(wanted.timestamp_min, self._since_ns))


_LAST: Final = QueryFilter(limit=1, flags=1)


class ClusterEngine(Apart):
    """A real cluster, whose clock nobody can set: what takes a minute for the tests takes it a second.

    Its amounts and balances may be larger than those of the embedded ledger; here the largest of the one, and half of
    it, stand for those of the other, so that the tests get to where they overflow.
    """

    has_own_clock = False

    def __init__(self) -> None:
        super().__init__(amount_max=WHOLE)

    @property
    def now_ns(self) -> int:
        return time.time_ns()

    @now_ns.setter
    def now_ns(self, _now_ns: int) -> None:
        pytest.skip("the clock of a cluster can't be set")

    @property
    def quiet_ns(self) -> int:
        time.sleep(0.05)
        return time.time_ns() - 40_000_000

    def advance(self, seconds: int) -> None:
        if seconds < 0 or (seconds > 10**9 and seconds != TIMEOUT_MAX):
            pytest.skip("the clock of a cluster can't be set")
        time.sleep(min(seconds, 120) / 60 + 0.3 if seconds >= 60 else 1.1)

    def close(self) -> None:
        """The session is shared."""

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        for each in transfers:
            if not 0 <= each.amount <= AMOUNT_MAX:
                # The hub's own limits are those of the embedded ledger.
                TigerBeetleLedger(tigerbeetle.cluster()).create_transfers([each])
        return super().create_transfers([self._as_cluster(each) for each in transfers])

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        return [self._as_test(each) for each in super().lookup_transfers(ids)]

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        return [self._as_test(each) for each in super().get_account_transfers(account_filter)]

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        return [self._as_test(each) for each in super().query_transfers(query_filter)]

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        return [_small_balances(each) for each in super().lookup_accounts(ids)]

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        return [_small_balances(each) for each in super().query_accounts(query_filter)]

    def _as_cluster(self, transfer: Transfer) -> Transfer:
        timeout = transfer.timeout
        if timeout % 60 == 0:
            timeout //= 60
        return msgspec.structs.replace(transfer, amount=_large(transfer.amount), timeout=timeout)

    def _as_test(self, transfer: Transfer) -> Transfer:
        timeout = transfer.timeout
        if timeout in (1, 2, 10):
            timeout *= 60
        return msgspec.structs.replace(transfer, amount=_small(transfer.amount), timeout=timeout)


_HALF: Final = 2**62


def _large(amount: int) -> int:
    """What stands in the cluster for an amount near the embedded ledger's largest, or near half of it."""
    if amount > AMOUNT_MAX - 2**32:
        return WHOLE - (AMOUNT_MAX - amount)
    if amount > _HALF - 2**32:
        return 2**127 + (amount - _HALF)
    return amount


def _small(amount: int) -> int:
    """The reverse of `_large`."""
    if amount > WHOLE - 2**32:
        return AMOUNT_MAX - (WHOLE - amount)
    if amount > 2**127 - 2**32:
        return _HALF + (amount - 2**127)
    return amount


def _small_balances(account: Account) -> Account:
    names = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
    return msgspec.structs.replace(account, **{name: _small(getattr(account, name)) for name in names})


EngineFactory = Callable[[Path], Engine]
"""Makes an engine whose ledger is empty; the directory is its own."""

FACTORIES: Final[dict[str, EngineFactory]] = {
    "sql": lambda directory: SqlEngine(stores.fresh()),
    "sql-disk": lambda directory: SqlEngine(stores.on_disk(directory / "ledger.db")),
    "obvious": lambda directory: ObviousLedger(),
    "tigerbeetle": lambda directory: ClusterEngine(),
}
"""Every engine there is, the model that the others are compared with among them."""

QUICK: Final = ("sql", "obvious", "tigerbeetle")
"""The engines that the whole suite judges; the others, only tests that are parametrised with `EVERY`."""

EVERY: Final = tuple(FACTORIES)


def parameters(names: Sequence[str], *, real: Sequence[pytest.MarkDecorator] = ()) -> list[Any]:
    """These engines as parameters of a fixture or test: those that share a server stay in one process.

    ``real`` marks further what runs against a real server: its time is everybody's, and passes slowly.
    """
    return [pytest.param(name, marks=[tigerbeetle.GROUP, *real] if name == "tigerbeetle" else []) for name in names]
