"""Immediate gross settlement: the liquidity moves with each payment.

Where the model in force for a currency's positions is IMMEDIATE, GROSS, a payment is settled in the batch that commits
it: its effect on the two positions is undone and the liquidity of the two participants moves instead (hub reference
§5.2, "Gross"). Headroom follows, as with any other movement of liquidity.

The payer had the liquidity when the payment was reserved, but an operator may have paid it out since. The payment is
committed all the same, for the payee has fulfilled it: it stays an obligation on the positions, is remembered, and
is settled as soon as the payer has liquidity again. Nothing is owed twice and nothing is forgotten by a crash: what was
not settled with its commit is a row of ``gross_unsettled``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vuka.ids import HUB, record_id
from vuka.ledger import chart
from vuka.ledger.model import CreateTransferStatus, Transfer
from vuka.store import Tx
from vuka.switch.directory import POSITION, SETTLEMENT, Account, Participant
from vuka.switch.headroom import balances, create, in_ledger, make_room, rebalance_all
from vuka.switch.records import COLUMNS, Record, insert_changes, to_record
from vuka.switch.windows import settle_immediate_content
from vuka.switch.work import Command, Outcome, Work

STEP_SETTLED: Final = 5
"""In the history of a transfer, after its commit."""

RETRIED_MAX: Final = 1_000
"""Payments of one payer that one command settles at most; the timer asks again while there are more."""


class SettleGross(Command, frozen=True, kw_only=True):
    """The engine's timer: payers that had no liquidity may have some now."""


def is_immediate(work: Work, currency: str) -> bool:
    """Whether payments in a currency settle one by one, as they are committed."""
    model = work.directory.model_for(POSITION, currency)
    return model is not None and model.is_immediate


def settle_committed(work: Work, records: Sequence[Record]) -> None:
    """Settles payments that this batch has committed; those whose payer has no liquidity are remembered."""
    unsettled = _settle(work, [(record, 0) for record in records])
    work.tx.run_many(
        "INSERT INTO gross_unsettled (transfer_seq, attempts, created_ms) VALUES (?, 1, ?)",
        [(record.transfer_seq, work.now_ms) for record in unsettled],
    )


def retry(work: Work, commands: Sequence[SettleGross]) -> list[Outcome]:
    """Settles what could not be settled before. The outcome's value counts what was settled now."""
    waiting = _waiting(work)
    unsettled = {record.transfer_seq for record in _settle(work, waiting)}
    settled = [record for record, _ in waiting if record.transfer_seq not in unsettled]
    work.tx.run_many(
        "DELETE FROM gross_unsettled WHERE transfer_seq = ?", [(record.transfer_seq,) for record in settled]
    )
    work.tx.run_many(
        "UPDATE gross_unsettled SET attempts = attempts + 1 WHERE transfer_seq = ?", [(seq,) for seq in unsettled]
    )
    windows = {record.settlement_window_id for record in settled}
    settle_immediate_content(work, [window_id for window_id in windows if window_id is not None])
    return [Outcome(value=len(settled), note=f"settled {len(settled)}") for _ in commands]


def anything_to_retry(tx: Tx) -> bool:
    """Whether any payment waits for its payer's liquidity."""
    return bool(tx.query("SELECT 1 FROM gross_unsettled LIMIT 1"))


def _waiting(work: Work) -> list[tuple[Record, int]]:
    """Unsettled payments, oldest first, of payers that have liquidity: others would only be refused again."""
    payers: list[tuple[Participant, Account]] = []
    # CROSS JOIN keeps SQLite from looking through all transfers for the few that are left.
    for name, currency in work.tx.query(
        """SELECT DISTINCT t.payer_fsp, t.currency
           FROM gross_unsettled g CROSS JOIN transfer t WHERE t.transfer_seq = g.transfer_seq"""
    ):
        participant = work.directory.participants[name]
        payers.append((participant, participant.accounts[currency, SETTLEMENT]))
    ledger = balances(work, (account for _, account in payers))
    found: list[tuple[Record, int]] = []
    columns = ", ".join(f"t.{column}" for column in COLUMNS.split(", "))
    for participant, account in payers:
        # Where the ledger is elsewhere, what it has taken may be what is not on record.
        if work.ledger.shares_transaction and chart.liquidity_cover(ledger[account.ledger_account_id]) <= 0:
            continue
        for attempts, *row in work.tx.query(
            f"""SELECT g.attempts, {columns}
                FROM gross_unsettled g CROSS JOIN transfer t
                WHERE t.transfer_seq = g.transfer_seq AND t.payer_fsp = ? AND t.currency = ?
                ORDER BY g.transfer_seq LIMIT {RETRIED_MAX}""",
            (participant.name, account.currency),
        ):
            found.append((to_record(row), attempts))
    return sorted(found, key=lambda each: each[0].transfer_seq)


def _settle(work: Work, payments: Sequence[tuple[Record, int]]) -> list[Record]:
    """Settles committed payments in order; gives back those that their payers' liquidity did not allow."""
    unsettled: list[Record] = []
    moving: list[tuple[Record, int]] = []
    settled: list[Record] = []
    parties = work.directory.participants
    cover = {
        ledger_id: chart.liquidity_cover(account)
        for ledger_id, account in balances(
            work,
            (
                parties[name].accounts[record.currency, SETTLEMENT]
                for record, _ in payments
                for name in (record.payer_fsp, record.payee_fsp)
            ),
        ).items()
    }
    before = _settled_before(work, payments)
    for record, attempts in payments:
        if record.payer_fsp == record.payee_fsp or record.transfer_seq in before:
            # Nothing is owed to anybody else, or no longer.
            settled.append(record)
            continue
        payer = parties[record.payer_fsp].accounts[record.currency, SETTLEMENT].ledger_account_id
        payee = parties[record.payee_fsp].accounts[record.currency, SETTLEMENT].ledger_account_id
        if cover[payer] < record.amount:
            unsettled.append(record)
            continue
        cover[payer] -= record.amount
        cover[payee] += record.amount
        moving.append((record, attempts))
    if moving:
        make_room(
            work,
            record_id(work.next_id()),
            [(parties[record.payee_fsp], record.currency, record.amount) for record, _ in moving],
        )
        unsettled += _move(work, moving, settled)
        rebalance_all(
            work,
            record_id(work.next_id()),
            [
                (parties[name], record.currency)
                for record, _ in moving
                for name in (record.payer_fsp, record.payee_fsp)
                if name != HUB
            ],
        )
    reason = "Settled with its commit: the liquidity has moved"
    insert_changes(work, [(each.transfer_seq, STEP_SETTLED, "SETTLED", reason, work.now_ms) for each in settled])
    return unsettled


def _settled_before(work: Work, payments: Sequence[tuple[Record, int]]) -> set[int]:
    """Those that a ledger elsewhere has settled in a transaction that was undone."""
    if work.ledger.shares_transaction:
        return set()
    ids = {chart.gross_settlement_id(record.transfer_id, attempt): record.transfer_seq for record, attempt in payments}
    return {ids[id_] for id_ in in_ledger(work, list(ids))}


def _move(work: Work, moving: Sequence[tuple[Record, int]], settled: list[Record]) -> list[Record]:
    """Asks the ledger; what it refuses (another hub process was faster) is given back."""
    transfers: list[Transfer] = []
    for record, attempts in moving:
        payer, payee = (
            tuple(
                work.directory.participants[name].accounts[record.currency, kind].ledger_account_id
                for kind in (POSITION, SETTLEMENT)
            )
            for name in (record.payer_fsp, record.payee_fsp)
        )
        transfers += chart.gross_settlement(
            record.transfer_id,
            attempt=attempts,
            payer=(payer[0], payer[1]),
            payee=(payee[0], payee[1]),
            amount=record.amount,
            currency=record.currency,
        )
    results = create(work, transfers)
    refused: list[Record] = []
    for place, (record, _) in enumerate(moving):
        pair = results[2 * place : 2 * place + 2]
        done = all(each.status in (CreateTransferStatus.created, CreateTransferStatus.exists) for each in pair)
        (settled if done else refused).append(record)
    return refused


USE_CASES: Final = ((retry, SettleGross),)
"""What is decided here beside the commits of payments."""
