"""Headroom: how far a participant's position may go, kept equal to min(net debit cap, liquidity cover).

The ledger refuses what exceeds the headroom, so the limits hold with no lock and no check of ours, provided
that the headroom granted follows every movement of funds and every change of a cap. That is `rebalance`. Where
headroom must shrink below what is already used, what is free is taken at once and the rest is remembered as
a *shortfall*, which `recall_shortfalls` takes from the next credits: until then the participant can send nothing.

Which limit refused a payment (4001 or 4200) is told by `refusal`, in the reference's order: liquidity first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import record_id
from vuka.ledger import chart
from vuka.ledger.model import BATCH_MAX, CreateTransferStatus, Transfer
from vuka.ledger.model import Account as LedgerAccount
from vuka.switch.directory import HEADROOM, POSITION, SETTLEMENT, Account, Participant
from vuka.switch.work import Work


class LedgerRefusedError(Exception):
    """The ledger refused what the records say it must accept: a defect of ours, never a participant's doing."""


def create_or_raise(work: Work, transfers: Sequence[Transfer]) -> None:
    """Creates ledger transfers that must succeed. Raises `LedgerRefusedError` for any that is not there then."""
    if not transfers:
        return
    for transfer, result in zip(transfers, work.ledger.create_transfers(transfers), strict=True):
        if result.status not in (CreateTransferStatus.created, CreateTransferStatus.exists):
            raise LedgerRefusedError(f"the ledger refused transfer {transfer.id:032x}: {result.status.name}")


def balances(work: Work, accounts: Iterable[Account]) -> dict[int, LedgerAccount]:
    """The ledger accounts of these, by ledger account id."""
    wanted = list({account.ledger_account_id for account in accounts})
    found: dict[int, LedgerAccount] = {}
    for start in range(0, len(wanted), BATCH_MAX):
        found |= {account.id: account for account in work.ledger.lookup_accounts(wanted[start : start + BATCH_MAX])}
    return found


def rebalance(work: Work, cause: bytes, participant: Participant, currency: str) -> None:
    """Grants or takes back headroom after the participant's liquidity or net debit cap has changed.

    ``cause`` names the change (16 bytes), and no other: a cause that was used before is a defect, and is refused.
    """
    position = participant.account(currency, POSITION)
    headroom = participant.account(currency, HEADROOM)
    liquidity = participant.account(currency, SETTLEMENT)
    if position is None or headroom is None or liquidity is None:
        return
    ledger = balances(work, (position, headroom, liquidity))
    cover = chart.liquidity_cover(ledger[liquidity.ledger_account_id])
    target = max(0, min(cover, position.net_debit_cap or 0))
    difference = target - chart.granted(ledger[headroom.ledger_account_id])
    missing = 0
    if difference > 0:
        grant = chart.grant_headroom(
            cause,
            headroom=headroom.ledger_account_id,
            position=position.ledger_account_id,
            amount=difference,
            currency=currency,
        )
        status = work.ledger.create_transfers([grant])[0].status
        if status is not CreateTransferStatus.created:
            raise LedgerRefusedError(f"the ledger refused to grant headroom: {status.name}")
    elif difference < 0:
        recall = chart.recall_headroom(
            cause,
            headroom=headroom.ledger_account_id,
            position=position.ledger_account_id,
            amount_max=-difference,
            currency=currency,
        )
        free = chart.available(ledger[position.ledger_account_id])
        missing = -difference - (_moved(work, [recall])[recall.id] if free > 0 else 0)
    work.tx.run("DELETE FROM shortfall WHERE account_id = ?", (position.account_id,))
    if missing:
        work.tx.run("INSERT INTO shortfall (account_id, amount) VALUES (?, ?)", (position.account_id, missing))


def recall_shortfalls(work: Work) -> None:
    """Takes back headroom that is owed, from positions that have something free. Run after credits and releases."""
    owed = work.tx.query("SELECT account_id, amount FROM shortfall ORDER BY account_id")
    if not owed:
        return
    positions = {
        account.account_id: (participant, account)
        for participant in work.directory.participants.values()
        for account in participant.accounts.values()
        if account.type == POSITION
    }
    ledger = balances(work, (positions[account_id][1] for account_id, _ in owed))
    for account_id, amount in owed:
        participant, position = positions[account_id]
        free = chart.available(ledger[position.ledger_account_id])
        if free <= 0:
            continue
        recall = chart.recall_headroom(
            record_id(work.next_id()),
            headroom=participant.accounts[position.currency, HEADROOM].ledger_account_id,
            position=position.ledger_account_id,
            amount_max=min(amount, free),
            currency=position.currency,
            code=chart.TransferCode.SHORTFALL_RECALL,
        )
        left = amount - _moved(work, [recall])[recall.id]
        if left:
            work.tx.run("UPDATE shortfall SET amount = ? WHERE account_id = ?", (left, account_id))
        else:
            work.tx.run("DELETE FROM shortfall WHERE account_id = ?", (account_id,))


def _moved(work: Work, recalls: Sequence[Transfer]) -> dict[int, int]:
    """Runs recalls and says how much each took: nothing, where the position has nothing free.

    Each is new, so one that the ledger has already is a defect: to take it for done would leave headroom behind.
    """
    wanted: list[int] = []
    for transfer, result in zip(recalls, work.ledger.create_transfers(recalls), strict=True):
        if result.status is CreateTransferStatus.created:
            wanted.append(transfer.id)
        elif result.status is not CreateTransferStatus.exceeds_credits:
            raise LedgerRefusedError(f"the ledger refused to take back headroom: {result.status.name}")
    taken = {transfer.id: transfer.amount for transfer in work.ledger.lookup_transfers(wanted)}
    return {transfer.id: taken.get(transfer.id, 0) for transfer in recalls}


def refusal(
    participant: Participant, currency: str, amount: int, ledger: dict[int, LedgerAccount], *, reserved_since: int = 0
) -> FspiopError:
    """The error for a payment beyond the headroom: liquidity is named first, as in the reference (4001 before 4200).

    ``ledger`` holds the participant's position, headroom and liquidity accounts; ``reserved_since`` is how much of that
    position (minor units) was reserved only after the payment had been refused.
    """
    position = participant.accounts[currency, POSITION]
    headroom = participant.accounts[currency, HEADROOM]
    liquidity = participant.accounts[currency, SETTLEMENT]
    used = chart.position_value(ledger[position.ledger_account_id], ledger[headroom.ledger_account_id]) - reserved_since
    cover = chart.liquidity_cover(ledger[liquidity.ledger_account_id])
    cap = position.net_debit_cap or 0
    code = ErrorCode.PAYER_LIMIT_ERROR
    # Neither may fall short any more where the same batch has credited the position since: then the smaller one did.
    if cover - used < amount or (cap - used >= amount and cover <= cap):
        code = ErrorCode.PAYER_FSP_INSUFFICIENT_LIQUIDITY
    return FspiopError(code)
