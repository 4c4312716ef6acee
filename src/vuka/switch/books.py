"""The books: a trial balance, the journal, and statements of accounts, all from the ledger's own transfers.

Reading only, from one snapshot, a page at a time: a million entries do not have to fit the memory. Balances are counted
debits less credits, in minor units. A statement of a position shows what its participant owes the scheme, as the API
does: movements of headroom, which are the scheme's own bookkeeping, are left out of it, reservations are in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from vuka.ids import format_uuid
from vuka.ledger import chart, terms
from vuka.ledger.model import (
    BATCH_MAX,
    TIMESTAMP_MAX,
    AccountFilter,
    Ledger,
    QueryFilter,
    Transfer,
    TransferFlags,
)
from vuka.switch.directory import HUB_MULTILATERAL_SETTLEMENT, POSITION, Account, Directory

NS_PER_MS: Final = 1_000_000

_WORDS: Final = {
    chart.TransferCode.PAYMENT: "payment",
    chart.TransferCode.ON_US_RETURN: "on-us return",
    chart.TransferCode.HEADROOM_GRANT: "headroom granted",
    chart.TransferCode.HEADROOM_RECALL: "headroom recalled",
    chart.TransferCode.SHORTFALL_RECALL: "shortfall recalled",
    chart.TransferCode.HEADROOM_ROOM: "room for settlement",
    chart.TransferCode.FUNDS_IN: "funds in",
    chart.TransferCode.FUNDS_OUT: "funds out",
    chart.TransferCode.GROSS_POSITION: "gross settlement, position",
    chart.TransferCode.GROSS_LIQUIDITY: "gross settlement, liquidity",
    chart.TransferCode.SETTLEMENT: "settlement",
    chart.TransferCode.FEE: "fee",
}

_HEADROOM: Final = frozenset(
    (
        chart.TransferCode.HEADROOM_GRANT,
        chart.TransferCode.HEADROOM_RECALL,
        chart.TransferCode.SHORTFALL_RECALL,
        chart.TransferCode.HEADROOM_ROOM,
    )
)


class Balance(msgspec.Struct):
    """An account in the trial balance."""

    participant: str
    currency: str
    type: str
    debits: int = 0
    credits: int = 0
    debits_pending: int = 0
    credits_pending: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One entry of the journal."""

    at_ms: int
    what: str
    """E.g. ``payment reserved``."""
    entry_id: str
    debit: tuple[str, str]
    """Participant and account type."""
    credit: tuple[str, str]
    currency: str
    amount: int
    is_pending: bool
    reference: str
    """The transfer, or ``settlement 7``, that it belongs to."""


class Movement(msgspec.Struct, frozen=True):
    """A line of a statement."""

    at_ms: int
    what: str
    counterparty: str
    reference: str
    debit: int
    credit: int
    balance: int


class Statement(msgspec.Struct, frozen=True):
    """A statement of one account: ``opening`` and the movements make ``closing``."""

    participant: str
    currency: str
    type: str
    opening: int
    movements: tuple[Movement, ...]
    closing: int


class Names:
    """Whose account each ledger account is."""

    def __init__(self, directory: Directory) -> None:
        self._names = {
            account.ledger_account_id: (str(participant.name), account)
            for participant in directory.participants.values()
            for account in participant.accounts.values()
        }

    def __iter__(self) -> Iterator[tuple[str, Account]]:
        return iter(self._names.values())

    def of(self, ledger_account_id: int) -> tuple[str, str]:
        """Its participant and type."""
        found = self._names.get(ledger_account_id)
        return (found[0], found[1].type) if found is not None else ("?", f"{ledger_account_id:032x}")

    def currency(self, ledger_account_id: int) -> str:
        """Its currency."""
        found = self._names.get(ledger_account_id)
        return found[1].currency if found is not None else "?"


def trial_balance(ledger: Ledger, directory: Directory, *, until_ms: int | None = None) -> list[Balance]:
    """Every account with what it was debited and credited, as of now or of the end of ``until_ms``."""
    balances = {
        account.ledger_account_id: Balance(name, account.currency, account.type) for name, account in Names(directory)
    }
    if until_ms is None:
        for ids in _chunks(list(balances)):
            for account in ledger.lookup_accounts(ids):
                balance = balances[account.id]
                balance.debits, balance.credits = account.debits_posted, account.credits_posted
                balance.debits_pending, balance.credits_pending = account.debits_pending, account.credits_pending
    else:
        for transfer in transfers(ledger, until_ms=until_ms):
            _play(ledger, balances, transfer)
    return sorted(balances.values(), key=lambda each: (each.currency, each.participant, each.type))


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), BATCH_MAX):
        yield ids[start : start + BATCH_MAX]


def _play(ledger: Ledger, balances: dict[int, Balance], transfer: Transfer) -> None:
    debit, credit = balances[transfer.debit_account_id], balances[transfer.credit_account_id]
    ends = transfer.flags & (TransferFlags.post_pending_transfer | TransferFlags.void_pending_transfer)
    if ends:
        (reserved,) = ledger.lookup_transfers([transfer.pending_id])
        debit.debits_pending -= reserved.amount
        credit.credits_pending -= reserved.amount
    if transfer.flags & TransferFlags.pending:
        debit.debits_pending += transfer.amount
        credit.credits_pending += transfer.amount
    elif not transfer.flags & TransferFlags.void_pending_transfer:
        debit.debits += transfer.amount
        credit.credits += transfer.amount


def transfers(ledger: Ledger, *, from_ms: int | None = None, until_ms: int | None = None) -> Iterator[Transfer]:
    """The ledger's transfers in order, a page at a time; both ends inclusive."""
    after = 0 if from_ms is None else max(from_ms * NS_PER_MS - 1, 0)
    until = _end_of(until_ms)
    while True:
        page = ledger.query_transfers(QueryFilter(timestamp_min=after + 1, timestamp_max=until))
        yield from (transfer for transfer in page if transfer.ledger != terms.LEDGER)
        if len(page) < BATCH_MAX:
            return
        after = page[-1].timestamp


def _end_of(until_ms: int | None) -> int:
    """The last nanosecond of a millisecond, as the ledger's filters take it: they know none beyond their own years."""
    return 0 if until_ms is None else min((until_ms + 1) * NS_PER_MS - 1, TIMESTAMP_MAX)


def entry(names: Names, transfer: Transfer) -> Entry:
    """A transfer as the journal shows it."""
    return Entry(
        at_ms=transfer.timestamp // NS_PER_MS,
        what=_what(transfer),
        entry_id=f"{transfer.id:032x}",
        debit=names.of(transfer.debit_account_id),
        credit=names.of(transfer.credit_account_id),
        currency=names.currency(transfer.debit_account_id),
        amount=transfer.amount,
        is_pending=bool(transfer.flags & TransferFlags.pending),
        reference=_reference(transfer),
    )


def _what(transfer: Transfer) -> str:
    try:
        words = _WORDS[chart.TransferCode(transfer.code)]
    except (KeyError, ValueError):
        words = f"code {transfer.code}"
    if transfer.flags & TransferFlags.pending:
        return f"{words} reserved"
    if transfer.flags & TransferFlags.post_pending_transfer:
        return f"{words} committed"
    return f"{words} aborted" if transfer.flags & TransferFlags.void_pending_transfer else words


def _reference(transfer: Transfer) -> str:
    """What it belongs to: a settlement by its number, a payment or movement of funds by its id."""
    if transfer.code == chart.TransferCode.SETTLEMENT:
        return f"settlement {transfer.user_data_64}"
    if transfer.code in _HEADROOM:
        return ""
    owner = transfer.pending_id or transfer.user_data_128 or transfer.id
    return format_uuid(owner.to_bytes(16, "big"))


def statement(
    ledger: Ledger,
    directory: Directory,
    owner: str,
    account: Account,
    *,
    from_ms: int | None = None,
    until_ms: int | None = None,
) -> Statement:
    """The statement of one account between two moments, both inclusive."""
    names = Names(directory)
    opening, balance = 0, 0
    movements: list[Movement] = []
    for transfer in _of_account(ledger, account.ledger_account_id, until_ms):
        change = _change(ledger, account, transfer)
        balance += change
        if from_ms is not None and transfer.timestamp < from_ms * NS_PER_MS:
            opening = balance
            continue
        if change:
            is_debit = transfer.debit_account_id == account.ledger_account_id
            other = transfer.credit_account_id if is_debit else transfer.debit_account_id
            movements.append(
                Movement(
                    transfer.timestamp // NS_PER_MS,
                    _what(transfer),
                    " ".join(names.of(other)),
                    _reference(transfer),
                    max(change, 0),
                    max(-change, 0),
                    balance,
                )
            )
    return Statement(owner, account.currency, account.type, opening, tuple(movements), balance)


def _of_account(ledger: Ledger, account_id: int, until_ms: int | None) -> Iterator[Transfer]:
    after, until = 0, _end_of(until_ms)
    while True:
        asked = AccountFilter(account_id=account_id, timestamp_min=after + 1, timestamp_max=until)
        page = ledger.get_account_transfers(asked)
        yield from page
        if len(page) < BATCH_MAX:
            return
        after = page[-1].timestamp


def _change(ledger: Ledger, account: Account, transfer: Transfer) -> int:
    """What a transfer adds to an account's debits less credits, what is reserved of it included."""
    if account.type == POSITION and transfer.code in _HEADROOM:
        return 0
    if transfer.debit_account_id == account.ledger_account_id:
        if transfer.flags & TransferFlags.post_pending_transfer:
            return 0
        if transfer.flags & TransferFlags.void_pending_transfer:
            (reserved,) = ledger.lookup_transfers([transfer.pending_id])
            return -reserved.amount
        return transfer.amount
    ends = transfer.flags & (TransferFlags.post_pending_transfer | TransferFlags.void_pending_transfer)
    if account.type == HUB_MULTILATERAL_SETTLEMENT and ends:
        # What is reserved for the hub's side of settlement counts already.
        (reserved,) = ledger.lookup_transfers([transfer.pending_id])
        return reserved.amount if transfer.flags & TransferFlags.void_pending_transfer else 0
    if account.type != HUB_MULTILATERAL_SETTLEMENT and transfer.flags & (
        TransferFlags.pending | TransferFlags.void_pending_transfer
    ):
        return 0
    return -transfer.amount
