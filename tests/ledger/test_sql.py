"""The embedded ledger inside a transaction that is not its own: calls compose, and a rollback leaves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from tests import stores
from tests.ledger.clock import START_NS
from tests.ledger.events import A, account, balances, move, open_accounts, pending, post, statuses, transfer

from vuka.ledger.model import (
    AMOUNT_MAX,
    BATCH_MAX,
    NS_PER_S,
    Account,
    AccountFilter,
    CreateTransferStatus,
    Transfer,
)
from vuka.ledger.sql import SqlLedger
from vuka.store import Database

MINUTE_LATER_NS = START_NS + 61 * NS_PER_S


@pytest.fixture
def database() -> Iterator[Database]:
    """A ledger with three accounts: 1 and 2 go anywhere, 3 may not be overdrawn."""
    database = stores.fresh()
    with database.begin() as tx:
        open_accounts(
            SqlLedger(tx, START_NS), account(1, A.history), account(2), account(3, A.debits_must_not_exceed_credits)
        )
    yield database
    database.close()


def test_requests_in_one_transaction_see_each_other(database: Database) -> None:
    with database.begin() as tx:
        ledger = SqlLedger(tx, START_NS)
        open_accounts(ledger, account(4))
        move(ledger, pending(10, 1, 4, 100))
        move(ledger, post(11, 10, 60), transfer(12, 4, 3, 20))
        move(ledger, transfer(13, 3, 2, 20))
        assert statuses(ledger, post(14, 10)) == [CreateTransferStatus.pending_transfer_already_posted]
        assert balances(ledger, 1, 4, 3) == [(0, 60, 0, 0), (0, 20, 0, 60), (0, 20, 0, 20)]


def test_two_ledgers_of_one_transaction_are_one_ledger(database: Database) -> None:
    with database.begin() as tx:
        one, other = SqlLedger(tx, START_NS), SqlLedger(tx, START_NS)
        move(one, transfer(10, 1, 2, 5))
        move(other, transfer(11, 1, 2, 5))
        move(one, transfer(12, 1, 2, 5))
        timestamps = [each.timestamp for each in one.lookup_transfers([10, 11, 12])]
    assert timestamps == sorted(set(timestamps))


def test_a_rollback_leaves_nothing(database: Database) -> None:
    refused = transfer(11, 3, 2, 1)
    tx = database.start()
    ledger = SqlLedger(tx, START_NS)
    move(ledger, transfer(10, 1, 2, 100), pending(12, 1, 2, 7, timeout=60))
    assert statuses(ledger, refused) == [CreateTransferStatus.exceeds_credits]
    tx.rollback()
    with database.begin() as tx:
        ledger = SqlLedger(tx, MINUTE_LATER_NS)
        assert ledger.lookup_transfers([10, 12]) == []
        assert ledger.get_account_balances(AccountFilter(account_id=1)) == []
        assert ledger.expire_pending() == 0
        move(ledger, transfer(13, 1, 3, 1), refused)


def test_what_a_savepoint_takes_back_can_be_done_again(database: Database) -> None:
    with database.begin() as tx:
        ledger = SqlLedger(tx, START_NS)
        with contextlib.suppress(KeyError), tx.savepoint():
            move(ledger, transfer(10, 1, 2, 100))
            raise KeyError
        move(ledger, transfer(10, 1, 2, 100))
        assert balances(ledger, 2) == [(0, 0, 0, 100)]


def test_expired_reservations_are_released_on_demand_and_counted(database: Database) -> None:
    with database.begin() as tx:
        move(SqlLedger(tx, START_NS), pending(10, 1, 2, 5, timeout=60), pending(11, 1, 2, 7, timeout=600))
    with database.begin() as tx:
        assert SqlLedger(tx, START_NS + 60 * NS_PER_S - 1).expire_pending() == 0
    with database.begin() as tx:
        ledger = SqlLedger(tx, MINUTE_LATER_NS)
        assert ledger.expire_pending() == 1
        assert ledger.expire_pending() == 0
        assert balances(ledger, 1, 2) == [(7, 0, 0, 0), (0, 0, 7, 0)]


def test_more_than_a_batch_of_reservations_is_released_on_demand(database: Database) -> None:
    with database.begin() as tx:
        ledger = SqlLedger(tx, START_NS)
        move(ledger, *(pending(1_000 + each, 1, 2, 1, timeout=60) for each in range(BATCH_MAX)))
        move(ledger, *(pending(10_000 + each, 1, 2, 1, timeout=60) for each in range(10)))
    with database.begin() as tx:
        ledger = SqlLedger(tx, MINUTE_LATER_NS)
        assert ledger.expire_pending() == BATCH_MAX + 10
        assert balances(ledger, 1, 2) == [(0, 0, 0, 0), (0, 0, 0, 0)]


def test_balances_go_beyond_63_bits_and_are_kept_to_the_last_unit() -> None:
    database = stores.fresh()
    with database.begin() as tx:
        ledger = SqlLedger(tx, START_NS)
        ledger.create_accounts([Account(id=1, ledger=1, code=1), Account(id=2, ledger=1, code=1)])
        for first in (10, 13):
            ledger.create_transfers(
                [
                    Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=AMOUNT_MAX, ledger=1, code=1)
                    for id_ in range(first, first + 3)
                ]
            )
    with database.begin() as tx:
        payer, payee = SqlLedger(tx, START_NS).lookup_accounts([1, 2])
    database.close()
    assert payer.debits_posted == payee.credits_posted == 6 * AMOUNT_MAX
