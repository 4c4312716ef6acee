"""Accounts and transfers as tests write them: short, with the fields that don't matter filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vuka.ledger.model import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
)

LEDGER: Final = 840
CODE: Final = 1

T = TransferFlags
A = AccountFlags


def account(id: int, flags: int = 0, *, ledger: int = LEDGER, code: int = CODE, **fields: int) -> Account:
    return Account(id=id, flags=int(flags), ledger=ledger, code=code, **fields)


def transfer(
    id: int,
    debit: int,
    credit: int,
    amount: int,
    flags: int = 0,
    *,
    ledger: int = LEDGER,
    code: int = CODE,
    **fields: int,
) -> Transfer:
    return Transfer(
        id=id,
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        flags=int(flags),
        ledger=ledger,
        code=code,
        **fields,
    )


def pending(id: int, debit: int, credit: int, amount: int, flags: int = 0, **fields: int) -> Transfer:
    return transfer(id, debit, credit, amount, flags | T.pending, **fields)


def post(id: int, pending_id: int, amount: int = AMOUNT_MAX, flags: int = 0, **fields: int) -> Transfer:
    """Posts all of it, unless an amount is given."""
    return Transfer(id=id, pending_id=pending_id, amount=amount, flags=int(flags | T.post_pending_transfer), **fields)


def void(id: int, pending_id: int, amount: int = 0, flags: int = 0, **fields: int) -> Transfer:
    return Transfer(id=id, pending_id=pending_id, amount=amount, flags=int(flags | T.void_pending_transfer), **fields)


def open_accounts(ledger: Ledger, *accounts: Account) -> None:
    """Creates accounts that must not be refused."""
    for result in ledger.create_accounts(accounts):
        assert result.status is CreateAccountStatus.created


def move(ledger: Ledger, *transfers: Transfer) -> None:
    """Creates transfers, in one batch, that must not be refused."""
    assert statuses(ledger, *transfers) == [CreateTransferStatus.created] * len(transfers)


def statuses(ledger: Ledger, *transfers: Transfer) -> list[CreateTransferStatus]:
    """What comes of one batch of transfers."""
    return [result.status for result in ledger.create_transfers(transfers)]


def account_statuses(ledger: Ledger, *accounts: Account) -> list[CreateAccountStatus]:
    """What comes of one batch of accounts."""
    return [result.status for result in ledger.create_accounts(accounts)]


def balances(ledger: Ledger, *ids: int) -> list[tuple[int, int, int, int]]:
    """Debits pending and posted, credits pending and posted, of each account."""
    return [
        (each.debits_pending, each.debits_posted, each.credits_pending, each.credits_posted)
        for each in ledger.lookup_accounts(ids)
    ]


def ids(events: Sequence[Account | Transfer]) -> list[int]:
    return [each.id for each in events]
