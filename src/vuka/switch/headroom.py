"""Headroom: how far a participant's position may go, kept equal to min(net debit cap, liquidity cover).

The ledger refuses what exceeds the headroom, so the limits hold with no lock and no check of ours, provided
that the headroom granted follows every movement of funds and every change of a cap. That is `rebalance`. Where
headroom must shrink below what is already used, what is free is taken at once and the rest is remembered as
a *shortfall*, which `recall_shortfalls` takes from the next credits: until then the participant can send nothing.

A ledger elsewhere keeps what a transaction has moved when that is undone. Headroom therefore follows the ledger's own
balances and nothing that is remembered of it: to rebalance again moves only what is still amiss, and `restore` does so
for everybody, after each recovery. Two processes must not do so by the same balances: see `create`.

Which limit refused a payment (4001 or 4200) is told by `refusal`, in the reference's order: liquidity first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import record_id
from vuka.ledger import chart, terms
from vuka.ledger.model import BATCH_MAX, CreateTransferResult, CreateTransferStatus, Ledger, Transfer, TransferFlags
from vuka.ledger.model import Account as LedgerAccount
from vuka.switch.directory import HEADROOM, POSITION, SETTLEMENT, Account, Participant
from vuka.switch.work import Work

SHARE_WHOLE: Final = 10_000
"""All of the liquidity: a share is counted in hundredths of a percent."""


class LedgerRefusedError(Exception):
    """The ledger refused what the records say it must accept: a defect of ours, never a participant's doing."""


def create(work: Work, transfers: Sequence[Transfer], *, in_term: bool = True) -> list[CreateTransferResult]:
    """Asks the ledger for any number of transfers, in as few requests as it takes; linked ones stay together.

    ``in_term`` is for what was decided by the balances of the moment: a ledger elsewhere moves it only while this
    process has its turn (`vuka.ledger.terms`); else it raises `TermEndedError`.
    """
    if in_term and work.term:
        asked = terms.guarded(work.term, transfers)
        return terms.without_guards(asked, create(work, asked, in_term=False))
    results: list[CreateTransferResult] = []
    start = 0
    while start < len(transfers):
        end = min(start + BATCH_MAX, len(transfers))
        while end < len(transfers) and transfers[end - 1].flags & TransferFlags.linked:
            end -= 1
        results += work.ledger.create_transfers(transfers[start:end])
        start = end
    return results if work.ledger.shares_transaction else _whole_chains(transfers, results)


def _whole_chains(transfers: Sequence[Transfer], results: list[CreateTransferResult]) -> list[CreateTransferResult]:
    """The results, where linked transfers that were all created before are all told so.

    The ledger breaks such a chain at a link that ``exists``; but a chain is created as a whole or not at all.
    """
    start = 0
    for place, transfer in enumerate(transfers):
        if transfer.flags & TransferFlags.linked:
            continue
        chain = results[start : place + 1]
        if len(chain) > 1 and any(each.status is CreateTransferStatus.exists for each in chain):
            results[start : place + 1] = [_exists_too(each) for each in chain]
        start = place + 1
    return results


def _exists_too(result: CreateTransferResult) -> CreateTransferResult:
    if result.status is not CreateTransferStatus.linked_event_failed:
        return result
    return msgspec.structs.replace(result, status=CreateTransferStatus.exists)


_DONE: Final = frozenset((CreateTransferStatus.created, CreateTransferStatus.exists))

# A payment that was posted, and its fees, in a transaction that was undone: the window may have been closed since. The
# records say to which window they belong.
DONE_BEFORE: Final = _DONE | {CreateTransferStatus.exists_with_different_user_data_64}


def create_or_raise(work: Work, transfers: Sequence[Transfer], *, in_term: bool = True) -> None:
    """Creates ledger transfers that must succeed; ``in_term`` as in `create`.

    Raises `LedgerRefusedError` for any that is not there then.
    """
    done = _DONE if work.ledger.shares_transaction else DONE_BEFORE
    for transfer, result in zip(transfers, create(work, transfers, in_term=in_term), strict=True):
        if result.status not in done:
            raise LedgerRefusedError(f"the ledger refused transfer {transfer.id:032x}: {result.status.name}")


def in_ledger(work: Work, ids: Sequence[int]) -> dict[int, Transfer]:
    """The ledger transfers of these ids that exist, by id."""
    found: dict[int, Transfer] = {}
    for start in range(0, len(ids), BATCH_MAX):
        found |= {transfer.id: transfer for transfer in work.ledger.lookup_transfers(ids[start : start + BATCH_MAX])}
    return found


def balances(work: Work, accounts: Iterable[Account]) -> dict[int, LedgerAccount]:
    """The ledger accounts of these, by ledger account id."""
    return lookup(work.ledger, accounts)


def lookup(ledger: Ledger, accounts: Iterable[Account]) -> dict[int, LedgerAccount]:
    """The same, for whoever only reads."""
    wanted = list({account.ledger_account_id for account in accounts})
    found: dict[int, LedgerAccount] = {}
    for start in range(0, len(wanted), BATCH_MAX):
        found |= {account.id: account for account in ledger.lookup_accounts(wanted[start : start + BATCH_MAX])}
    return found


def cap(position: Account, cover: int) -> int:
    """The net debit cap in force, in minor units: a fixed amount, or a share of the liquidity ``cover``.

    0 where no limits are set: nothing may be sent.
    """
    if position.liquidity_share is not None:
        return max(0, cover) * position.liquidity_share // SHARE_WHOLE
    return position.net_debit_cap or 0


def rebalance(work: Work, cause: bytes, participant: Participant, currency: str) -> None:
    """Grants or takes back headroom after the participant's liquidity or net debit cap has changed.

    ``cause`` names the change (16 bytes), and no other: a cause that was used before is a defect, and is refused.
    """
    rebalance_all(work, cause, [(participant, currency)])


def rebalance_all(work: Work, cause: bytes, changed: Iterable[tuple[Participant, str]]) -> None:
    """Lets the headroom of many participants, each in one currency, follow what one ``cause`` has changed."""
    concerned: list[tuple[Account, Account, Account]] = []
    for participant, currency in {(each.name, code): (each, code) for each, code in changed}.values():
        position = participant.account(currency, POSITION)
        headroom = participant.account(currency, HEADROOM)
        liquidity = participant.account(currency, SETTLEMENT)
        if position is not None and headroom is not None and liquidity is not None:
            concerned.append((position, headroom, liquidity))
    if not concerned:
        return
    ledger = balances(work, (account for accounts in concerned for account in accounts))
    grants: list[Transfer] = []
    recalls: list[tuple[Account, Transfer]] = []
    missing: dict[int, int] = {}
    for position, headroom, liquidity in concerned:
        cover = chart.liquidity_cover(ledger[liquidity.ledger_account_id])
        target = max(0, min(cover, cap(position, cover)))
        difference = target - chart.granted(ledger[headroom.ledger_account_id])
        if difference > 0:
            grants += _grants(cause, position, headroom, difference)
        elif difference < 0:
            missing[position.account_id] = -difference
            if chart.available(ledger[position.ledger_account_id]) > 0:
                recalls += (
                    (
                        position,
                        chart.recall_headroom(
                            cause,
                            headroom=headroom.ledger_account_id,
                            position=position.ledger_account_id,
                            amount_max=part,
                            currency=position.currency,
                            part=part_no,
                        ),
                    )
                    for part_no, part in enumerate(chart.parts(-difference))
                )
    _create_new(work, grants)
    taken = _moved(work, [recall for _, recall in recalls])
    for position, recall in recalls:
        missing[position.account_id] -= taken[recall.id]
    work.tx.run_many(
        "DELETE FROM shortfall WHERE account_id = ?", [(position.account_id,) for position, _, _ in concerned]
    )
    work.tx.run_many(
        "INSERT INTO shortfall (account_id, amount) VALUES (?, ?)",
        [(account_id, amount) for account_id, amount in missing.items() if amount],
    )


def restore(work: Work) -> None:
    """Lets every headroom follow the limits and the liquidity, whatever has moved it before."""
    changed = [
        (participant, currency)
        for participant in work.directory.participants.values()
        for currency, account_type in participant.accounts
        if account_type == POSITION
    ]
    rebalance_all(work, record_id(work.next_id()), changed)


def make_room(work: Work, cause: bytes, debits: Iterable[tuple[Participant, str, int]]) -> None:
    """Lets debits through that must not be refused, whatever the headroom: settlement takes what is due.

    ``debits`` are participants, currencies and amounts in minor units, about to be taken from their positions. What a
    position has not free is granted on top and remembered as a shortfall, so that the headroom is as before once later
    credits have paid for it; until then the participant can send nothing. ``cause`` as in `rebalance`.
    """
    wanted: dict[tuple[str, str], int] = {}
    owners: dict[tuple[str, str], Participant] = {}
    for participant, currency, amount in debits:
        key = (str(participant.name), currency)
        owners[key] = participant
        wanted[key] = wanted.get(key, 0) + amount
    positions = {key: owners[key].accounts[key[1], POSITION] for key in wanted}
    ledger = balances(work, positions.values())
    grants: list[Transfer] = []
    owed: list[tuple[int, int]] = []
    for key, position in positions.items():
        lacking = wanted[key] - chart.available(ledger[position.ledger_account_id])
        if lacking > 0:
            grants += _grants(cause, position, owners[key].accounts[key[1], HEADROOM], lacking, room=True)
            owed.append((position.account_id, lacking))
    _create_new(work, grants)
    for account_id, lacking in owed:
        rows = work.tx.query("SELECT amount FROM shortfall WHERE account_id = ?", (account_id,))
        amount = lacking + (rows[0][0] if rows else 0)
        work.tx.run(
            """INSERT INTO shortfall (account_id, amount) VALUES (?, ?)
               ON CONFLICT (account_id) DO UPDATE SET amount = excluded.amount""",
            (account_id, amount),
        )


def _grants(cause: bytes, position: Account, headroom: Account, amount: int, *, room: bool = False) -> list[Transfer]:
    """What grants ``amount``: several ledger transfers where it is more than one can move."""
    return [
        chart.grant_headroom(
            cause,
            headroom=headroom.ledger_account_id,
            position=position.ledger_account_id,
            amount=part,
            currency=position.currency,
            part=part_no,
            code=chart.TransferCode.HEADROOM_ROOM if room else chart.TransferCode.HEADROOM_GRANT,
        )
        for part_no, part in enumerate(chart.parts(amount))
    ]


def _create_new(work: Work, transfers: Sequence[Transfer]) -> None:
    """Creates transfers none of which may be there already: to take one for done would leave headroom behind.

    A ledger elsewhere may tell of one that it exists because it was asked twice: its first answer was lost.
    """
    done = {CreateTransferStatus.created} if work.ledger.shares_transaction else _DONE
    for result in create(work, transfers):
        if result.status not in done:
            raise LedgerRefusedError(f"the ledger refused to grant headroom: {result.status.name}")


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
    recalls: dict[int, Transfer] = {}
    for account_id, amount in owed:
        participant, position = positions[account_id]
        free = chart.available(ledger[position.ledger_account_id])
        if free > 0:
            recalls[account_id] = chart.recall_headroom(
                record_id(work.next_id()),
                headroom=participant.accounts[position.currency, HEADROOM].ledger_account_id,
                position=position.ledger_account_id,
                amount_max=min(amount, free),
                currency=position.currency,
                code=chart.TransferCode.SHORTFALL_RECALL,
            )
    taken = _moved(work, list(recalls.values()))
    for account_id, amount in owed:
        if account_id not in recalls:
            continue
        left = amount - taken[recalls[account_id].id]
        if left:
            work.tx.run("UPDATE shortfall SET amount = ? WHERE account_id = ?", (left, account_id))
        else:
            work.tx.run("DELETE FROM shortfall WHERE account_id = ?", (account_id,))


def _moved(work: Work, recalls: Sequence[Transfer]) -> dict[int, int]:
    """Runs recalls and says how much each took: nothing, where the position has nothing free.

    Each is new, so one that the ledger has already is a defect: to take it for done would leave headroom behind. Only a
    ledger elsewhere may have been asked twice, its first answer lost.
    """
    if not recalls:
        return {}
    done, nothing_free = {CreateTransferStatus.created}, {CreateTransferStatus.exceeds_credits}
    if not work.ledger.shares_transaction:
        done, nothing_free = {*_DONE}, {*nothing_free, CreateTransferStatus.id_already_failed}
    wanted: list[int] = []
    for transfer, result in zip(recalls, create(work, recalls), strict=True):
        if result.status in done:
            wanted.append(transfer.id)
        elif result.status not in nothing_free:
            raise LedgerRefusedError(f"the ledger refused to take back headroom: {result.status.name}")
    taken = in_ledger(work, wanted)
    return {transfer.id: taken[transfer.id].amount if transfer.id in taken else 0 for transfer in recalls}


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
    limit = cap(position, cover)
    code = ErrorCode.PAYER_LIMIT_ERROR
    # Neither may fall short any more where the same batch has credited the position since: then the smaller one did.
    if cover - used < amount or (limit - used >= amount and cover <= limit):
        code = ErrorCode.PAYER_FSP_INSUFFICIENT_LIQUIDITY
    return FspiopError(code)
