"""Reconciliation: every record against the ledger's own transfers, and every one of those against the records.

The audit (`vuka.switch.audit`) compares figures. This compares items, one by one and both ways: whatever the records
say was done must be in the ledger, and whatever is in the ledger must have been caused by a record. Nothing is
repaired. A reservation without a record that will free itself is no difference: it is what a failure leaves where the
ledger is a cluster (`vuka.ledger.tigerbeetle`). Those are told apart, with the time at which each is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from vuka.ids import TransferId, format_uuid, ledger_id, record_id
from vuka.ledger import chart, terms
from vuka.ledger.model import BATCH_MAX, NS_PER_S, Ledger, QueryFilter, Transfer, TransferFlags
from vuka.money import format_amount, ledger_currency
from vuka.store import Row, Tx
from vuka.switch.audit import DIFFERENCES_MAX, Difference
from vuka.switch.directory import HEADROOM, POSITION, read_directory
from vuka.switch.records import State

_RECORDS_MAX: Final = BATCH_MAX // 3
"""Records whose transfers, three at most, are asked of the ledger in one request."""

_HEADROOM: Final = frozenset(
    (
        chart.TransferCode.HEADROOM_GRANT,
        chart.TransferCode.HEADROOM_RECALL,
        chart.TransferCode.SHORTFALL_RECALL,
        chart.TransferCode.HEADROOM_ROOM,
    )
)
_POST: Final = int(TransferFlags.post_pending_transfer)
_VOID: Final = int(TransferFlags.void_pending_transfer)


class Orphan(msgspec.Struct, frozen=True):
    """A reservation that has lost its record, and frees itself."""

    transfer_id: str
    amount: str
    currency: str
    free_ms: int
    """When it is free again, UTC milliseconds."""


class Reconciliation(msgspec.Struct):
    """What was compared, and what has no counterpart."""

    ledger_transfers: int = 0
    records: int = 0
    orphans: list[Orphan] = []
    differences: list[Difference] = []

    def differs(self, rule: str, subject: str, expected: object, found: object) -> None:
        """Notes a difference, unless ``expected`` is ``found``."""
        if expected != found and len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(rule, subject, str(expected), str(found)))


def reconcile(tx: Tx, ledger: Ledger, *, now_ms: int) -> Reconciliation:
    """Compares both ways. Where the ledger is a cluster and the hub is at work, what is under way may show."""
    found = Reconciliation(orphans=[], differences=[])
    _records(tx, ledger, found, now_ms)
    _fees(tx, ledger, found)
    for page in _pages(ledger):
        _ledger_transfers(tx, page, found, now_ms)
    return found


# --- from the records to the ledger ------------------------------------------------------------------------------


def _records(tx: Tx, ledger: Ledger, found: Reconciliation, now_ms: int) -> None:
    after = 0
    while rows := tx.query(
        f"""SELECT transfer_seq, transfer_id, wire_id, kind, state, amount FROM transfer
            WHERE transfer_seq > ? ORDER BY transfer_seq LIMIT {_RECORDS_MAX}""",
        (after,),
    ):
        after = rows[-1][0]
        found.records += len(rows)
        wanted = [id_ for row in rows for id_ in _ids(row[1])]
        there = {transfer.id: transfer for transfer in ledger.lookup_transfers(wanted)}
        for _, transfer_id, wire_id, kind, state, amount in rows:
            moved, post, void = (there.get(id_) for id_ in _ids(transfer_id))
            subject = f"{kind} {wire_id} {state}"
            expected = _expected(kind, State(state), moved is not None)
            has_freed_itself = moved is not None and post is None and 0 < _free_ms(moved) <= now_ms
            if expected == ("moved", "voided") and has_freed_itself:
                expected = ("moved",)
            if expected == () and moved is not None and moved.timeout and post is None and void is None:
                # It had lost its record, and was refused when it was sent again.
                expected = ("moved",)
            seen = tuple(
                name for name, each in (("moved", moved), ("posted", post), ("voided", void)) if each is not None
            )
            if expected is not None:
                report = ", ".join(expected) or "nothing"
                found.differs("what is on record is in the ledger", subject, report, ", ".join(seen) or "nothing")
            for each in (moved, post):
                if each is not None:
                    amounts = format_amount(amount), format_amount(each.amount)
                    found.differs("ledger and record name the same amount", subject, *amounts)


def _ids(transfer_id: bytes) -> tuple[int, int, int]:
    id_ = TransferId(transfer_id)
    return ledger_id(id_), chart.post_id(id_), chart.void_id(id_)


def _expected(kind: str, state: State, is_moved: bool) -> tuple[str, ...] | None:
    if kind == "FUNDS_IN":
        return ("moved",)
    if state is State.RESERVED:
        return ("moved",)
    if state is State.COMMITTED:
        return ("moved", "posted")
    if state in (State.ABORTED_ERROR, State.EXPIRED_RESERVED) or (state is State.ABORTED_REJECTED and is_moved):
        return ("moved", "voided")
    return ()


def _fees(tx: Tx, ledger: Ledger, found: Reconciliation) -> None:
    after = (0, 0)
    while rows := tx.query(
        f"""SELECT f.transfer_seq, f.fee_no, t.transfer_id, t.wire_id, f.amount
            FROM fee f JOIN transfer t ON t.transfer_seq = f.transfer_seq
            WHERE f.transfer_seq > ? OR (f.transfer_seq = ? AND f.fee_no > ?)
            ORDER BY f.transfer_seq, f.fee_no LIMIT {BATCH_MAX}""",
        (after[0], *after),
    ):
        after = rows[-1][:2]
        ids = [chart.fee_id(TransferId(transfer_id), number) for _, number, transfer_id, _, _ in rows]
        there = {transfer.id: transfer.amount for transfer in ledger.lookup_transfers(ids)}
        for id_, (_, number, _, wire_id, amount) in zip(ids, rows, strict=True):
            charged = format_amount(there[id_]) if id_ in there else "nothing"
            subject = f"fee {number} of {wire_id}"
            found.differs("what is on record is in the ledger", subject, format_amount(amount), charged)


# --- from the ledger to the records -------------------------------------------------------------------------------


def _pages(ledger: Ledger) -> Iterator[list[Transfer]]:
    after = 0
    while page := ledger.query_transfers(QueryFilter(timestamp_min=after + 1)):
        after = page[-1].timestamp
        yield [transfer for transfer in page if transfer.ledger != terms.LEDGER]


def _ledger_transfers(tx: Tx, page: Sequence[Transfer], found: Reconciliation, now_ms: int) -> None:
    """What caused each of these."""
    found.ledger_transfers += len(page)
    causes = list({record_id(_cause(transfer)) for transfer in page})
    sql = "SELECT transfer_id, transfer_seq, kind, state FROM transfer WHERE transfer_id IN {values}"
    records = {ledger_id(TransferId(row[0])): row for row in tx.query_in(sql, causes)}
    fees = {
        chart.fee_id(TransferId(transfer_id), number)
        for transfer_id, number in tx.query_in(
            """SELECT t.transfer_id, f.fee_no FROM fee f JOIN transfer t ON t.transfer_seq = f.transfer_seq
               WHERE f.transfer_seq IN {values}""",
            [row[1] for row in records.values()],
        )
    }
    settlements = {
        settlement_id
        for (settlement_id,) in tx.query_in(
            "SELECT settlement_id FROM settlement WHERE settlement_id IN {values}",
            list({each.user_data_64 for each in page if each.code == chart.TransferCode.SETTLEMENT}),
        )
    }
    pairs = {
        frozenset((account.ledger_account_id, participant.accounts[currency, HEADROOM].ledger_account_id))
        for participant in read_directory(tx).participants.values()
        for (currency, kind), account in participant.accounts.items()
        if kind == POSITION
    }
    for transfer in page:
        if transfer.code in _HEADROOM:
            has_cause = frozenset((transfer.debit_account_id, transfer.credit_account_id)) in pairs
        elif transfer.code == chart.TransferCode.SETTLEMENT:
            has_cause = transfer.user_data_64 in settlements
        elif transfer.code == chart.TransferCode.FEE:
            has_cause = transfer.id in fees
        else:
            has_cause = _is_on_record(transfer, records.get(_cause(transfer)))
        if has_cause:
            continue
        name = format_uuid(record_id(transfer.id))
        amount, currency = format_amount(transfer.amount), ledger_currency(transfer.ledger)
        if transfer.flags & TransferFlags.pending and transfer.timeout and _cause(transfer) not in records:
            if _free_ms(transfer) > now_ms:
                found.orphans.append(Orphan(name, amount, str(currency), _free_ms(transfer)))
            continue
        what = _WORDS.get(transfer.code, f"code {transfer.code}")
        found.differs("what is in the ledger is on record", f"{what} {name} {amount} {currency}", "a record", "none")


_WORDS: Final = {int(code): code.name for code in chart.TransferCode}


def _cause(transfer: Transfer) -> int:
    """The id of the payment or movement of funds that a transfer belongs to."""
    if transfer.flags & (_POST | _VOID):
        return transfer.pending_id
    if transfer.code in (chart.TransferCode.PAYMENT, chart.TransferCode.FUNDS_IN, chart.TransferCode.FUNDS_OUT):
        return transfer.id
    return transfer.user_data_128


def _is_on_record(transfer: Transfer, record: Row | None) -> bool:
    """Whether the record of its payment, or movement of funds, says what the transfer does."""
    if record is None:
        return False
    transfer_id, _, _, name = record
    state, id_ = State(name), TransferId(transfer_id)
    if transfer.flags & _POST:
        return state is State.COMMITTED and transfer.id == chart.post_id(id_)
    if transfer.flags & _VOID:
        return state not in (State.COMMITTED, State.RESERVED) and transfer.id == chart.void_id(id_)
    if transfer.code in (
        chart.TransferCode.ON_US_RETURN,
        chart.TransferCode.GROSS_POSITION,
        chart.TransferCode.GROSS_LIQUIDITY,
    ):
        return state is State.COMMITTED
    return transfer.code in (
        chart.TransferCode.PAYMENT,
        chart.TransferCode.FUNDS_IN,
        chart.TransferCode.FUNDS_OUT,
    )


def _free_ms(transfer: Transfer) -> int:
    """When a reservation frees itself, UTC milliseconds; 0 where it does not."""
    return (transfer.timestamp + transfer.timeout * NS_PER_S) // 1_000_000 if transfer.timeout else 0
