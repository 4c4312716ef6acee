"""Funds in and out: what participants place at the settlement bank, and what they ask back.

An operator records what has happened at the bank. Funds in count at once. Funds out are first reserved, so that the
participant can no longer send what is about to leave, and then committed when the bank has paid, or aborted; a
reservation that nobody concludes expires (``scheme.funds_out_validity_seconds``). Each movement is a transfer with
the hub on the other side, so participants find it with ``GET /transfers/{ID}``; its rules are the reference's
(administrative API, recordFundsIn and recordFundsOut…), except that an operator is always told what became of it.

Liquidity is a limit of payments, so headroom follows every movement in the same commit, see `vuka.switch.headroom`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId, TransferId, record_id
from vuka.ledger import chart
from vuka.ledger.model import CreateTransferStatus, Transfer
from vuka.money import Amount, Currency
from vuka.switch.directory import HUB_RECONCILIATION, SETTLEMENT, Account
from vuka.switch.headroom import LedgerRefusedError, create, create_or_raise, rebalance, rebalance_all
from vuka.switch.participants import participant_not_found
from vuka.switch.records import (
    FINAL_STATES,
    Record,
    State,
    end_changes,
    insert_changes,
    insert_records,
    load_records,
    note_end,
    update_records,
)
from vuka.switch.work import Command, Outcome, Work

FUNDS_IN: Final = "FUNDS_IN"
FUNDS_OUT: Final = "FUNDS_OUT"

RECORD_FUNDS_IN: Final = "recordFundsIn"
FUNDS_OUT_RESERVE: Final = "recordFundsOutPrepareReserve"
FUNDS_OUT_COMMIT: Final = "recordFundsOutCommit"
FUNDS_OUT_ABORT: Final = "recordFundsOutAbort"

# A ledger of its own may have refused it just before a crash kept the record from being written.
_BEYOND_LIQUIDITY: Final = (CreateTransferStatus.exceeds_credits, CreateTransferStatus.id_already_failed)


class Movement(Command, frozen=True, kw_only=True):
    """``POST /participants/{name}/accounts/{id}``: money that enters or is to leave; see its two kinds."""

    name: FspId
    account_id: int
    """Its SETTLEMENT account, by the number that the administrative API shows."""
    transfer_id: TransferId
    wire_id: str
    """`transfer_id` as the operator wrote it."""
    amount: Amount
    reason: str
    external_reference: str
    extensions: tuple[tuple[str, str], ...] = ()
    by: str = "operator"


class RecordFundsIn(Movement, frozen=True, kw_only=True):
    """``recordFundsIn``: the settlement bank holds more for the participant."""


class ReserveFundsOut(Movement, frozen=True, kw_only=True):
    """``recordFundsOutPrepareReserve``: the participant wants money back; it is set aside."""


class Conclusion(Command, frozen=True, kw_only=True):
    """``PUT /participants/{name}/accounts/{id}/transfers/{transferId}``: how a withdrawal ended; see its two kinds."""

    name: FspId
    account_id: int
    transfer_id: TransferId
    reason: str


class CommitFundsOut(Conclusion, frozen=True, kw_only=True):
    """``recordFundsOutCommit``: the bank has paid."""


class AbortFundsOut(Conclusion, frozen=True, kw_only=True):
    """``recordFundsOutAbort``: the bank will not pay; the participant may use the money again."""


class FundsState(msgspec.Struct, frozen=True):
    """How a movement of funds stands: the value of an accepted command."""

    transfer_id: str
    """As the operator wrote it when it was recorded."""
    state: State
    error_code: str | None
    error_description: str | None
    """Why it was aborted; a withdrawal beyond the liquidity is recorded, and ends at once."""


class BankMovement(msgspec.Struct, frozen=True):
    """Money that has moved at the settlement bank, as its statement says: see `record_bank_movements`."""

    name: FspId
    currency: Currency
    transfer_id: TransferId
    """New: no transfer has it yet."""
    wire_id: str
    amount: int
    """Minor units: positive for funds in, negative for funds out."""
    reason: str
    external_reference: str


def move(work: Work, commands: Sequence[RecordFundsIn | ReserveFundsOut]) -> list[Outcome]:
    """Records funds in, and reserves funds out. The outcome's value is a `FundsState`."""
    return [_move(work, command) for command in commands]


def _move(work: Work, command: RecordFundsIn | ReserveFundsOut) -> Outcome:
    account = _account(work, command.name, command.account_id, command.amount.currency)
    if isinstance(account, FspiopError):
        return Outcome(error=account)
    if command.amount.minor <= 0:
        return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, "amount must be a positive number"))
    content_hash = _content_hash(command)
    record = load_records(work, [command.transfer_id]).get(command.transfer_id)
    if record is not None:
        if record.request_hash != content_hash:
            return _modified()
        return _state(record, note="a resend: nothing happened twice")
    hub_account = work.directory.participants[HUB].accounts[account.currency, HUB_RECONCILIATION]
    record = _new_record(work, command, content_hash)
    (result,) = create(work, [_ledger_transfer(work, command, account, hub_account)])
    status = result.status
    if status in _BEYOND_LIQUIDITY and isinstance(command, ReserveFundsOut):
        error = FspiopError(ErrorCode.PAYER_FSP_INSUFFICIENT_LIQUIDITY)
        record.state = State.ABORTED_REJECTED
        record.error_code, record.error_description = error.code, error.description
        record.completed_ms = work.now_ms
    elif status.name.startswith("overflows"):
        return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, "the account can't hold that much"))
    elif status.name.startswith("exists_with_different"):
        return _modified()
    elif status not in (CreateTransferStatus.created, CreateTransferStatus.exists):
        raise LedgerRefusedError(f"the ledger refused {record.kind} {command.wire_id}: {status.name}")
    insert_records(work, [record])
    work.tx.run(
        _INSERT_MOVEMENT,
        (
            record.transfer_seq,
            account.account_id,
            _action(command),
            command.reason,
            command.external_reference,
            command.by,
        ),
    )
    if record.state is not State.ABORTED_REJECTED:
        _liquidity_changed(work, command.name, account)
    return _state(record)


def conclude(work: Work, commands: Sequence[CommitFundsOut | AbortFundsOut]) -> list[Outcome]:
    """Commits or aborts reserved withdrawals. The outcome's value is a `FundsState`."""
    return [_conclude(work, command) for command in commands]


def _conclude(work: Work, command: CommitFundsOut | AbortFundsOut) -> Outcome:
    account = _account(work, command.name, command.account_id, None)
    if isinstance(account, FspiopError):
        return Outcome(error=account)
    record = load_records(work, [command.transfer_id]).get(command.transfer_id)
    if record is None or record.kind != FUNDS_OUT or _movement_account(work, record) != account.account_id:
        detail = "Provided Transfer ID was not found on the server."
        return Outcome(error=FspiopError(ErrorCode.TRANSFER_ID_NOT_FOUND, detail))
    commits = isinstance(command, CommitFundsOut)
    wanted = State.COMMITTED if commits else State.ABORTED_REJECTED
    if record.state is wanted:
        return _state(record, note=f"a resend: it is {wanted.api} already")
    if record.state in FINAL_STATES:
        detail = f"non-RESERVED transfer state: it is {record.state.api} already"
        return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))
    if record.expires_ms <= work.now_ms:
        # The timer ends it within the second.
        return Outcome(error=FspiopError(ErrorCode.TRANSFER_EXPIRED))
    ending = chart.post(record.transfer_id, record.amount, window_id=0) if commits else chart.void(record.transfer_id)
    create_or_raise(work, [ending])
    record.state = wanted
    record.completed_ms = work.now_ms
    update_records(work, [record])
    note_end(work, record)
    through = State.RECEIVED_FULFIL if commits else State.RECEIVED_ERROR
    insert_changes(work, end_changes(record, through, wanted, command.reason, work.now_ms))
    _liquidity_changed(work, command.name, account)
    return _state(record)


def record_bank_movements(work: Work, movements: Sequence[BankMovement], by: str) -> None:
    """Records what has moved already: funds in, and funds out reserved and committed at once.

    The caller has seen that the liquidity suffices for all of them together. Whether a participant is active does not
    matter: the bank has moved its money. Funds in come first, so that they can cover what goes out.
    """
    hub_accounts = work.directory.participants[HUB].accounts
    transfers: list[Transfer] = []
    records: list[Record] = []
    rows: list[tuple[int, int, str, str, str, str]] = []
    touched: set[int] = set()
    for each in sorted(movements, key=lambda each: each.amount < 0):
        account = work.directory.participants[each.name].accounts[each.currency, SETTLEMENT]
        reconciliation = hub_accounts[each.currency, HUB_RECONCILIATION]
        enters, amount = each.amount > 0, abs(each.amount)
        build = chart.funds_in if enters else chart.funds_out
        transfers.append(
            build(
                each.transfer_id,
                liquidity=account.ledger_account_id,
                reconciliation=reconciliation.ledger_account_id,
                amount=amount,
                currency=each.currency,
            )
        )
        if not enters:
            transfers.append(chart.post(each.transfer_id, amount, window_id=0))
        content = (each.name, each.currency, each.amount, each.reason, each.external_reference)
        content_hash = hashlib.sha256(msgspec.json.encode(content)).digest()
        record = _record(
            work, each.transfer_id, each.wire_id, each.name, Amount(each.currency, amount), content_hash, enters=enters
        )
        record.state, record.completed_ms = State.COMMITTED, work.now_ms
        records.append(record)
        action = RECORD_FUNDS_IN if enters else FUNDS_OUT_COMMIT
        rows.append((record.transfer_seq, account.account_id, action, each.reason, each.external_reference, by))
        touched |= {account.account_id, reconciliation.account_id}
    create_or_raise(work, transfers)
    insert_records(work, records)
    work.tx.run_many(_INSERT_MOVEMENT, rows)
    work.tx.run_many(
        "UPDATE account SET changed_ms = ? WHERE account_id = ?",
        [(work.now_ms, account_id) for account_id in sorted(touched)],
    )
    rebalance_all(
        work,
        record_id(work.next_id()),
        [(work.directory.participants[each.name], each.currency) for each in movements],
    )


_INSERT_MOVEMENT: Final = """
    INSERT INTO funds_movement (transfer_seq, account_id, action, reason, external_reference, created_by)
    VALUES (?, ?, ?, ?, ?, ?)"""


def after_expiry(work: Work, records: Iterable[Record]) -> None:
    """Gives participants back the headroom of withdrawals that `transfers.expire` has ended; other kinds are passed."""
    for record in records:
        if record.kind != FUNDS_OUT:
            continue
        participant = work.directory.participants[record.payee_fsp]
        _liquidity_changed(work, participant.name, participant.accounts[record.currency, SETTLEMENT])


def _account(work: Work, name: FspId, account_id: int, currency: str | None) -> Account | FspiopError:
    """The SETTLEMENT account that a command names, or the reference's error, in its order."""
    participant = work.directory.get(name)
    if participant is None:
        return participant_not_found()
    if not participant.is_active:
        return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "Participant is currently set inactive")
    account = next((each for each in participant.accounts.values() if each.account_id == account_id), None)
    if account is None or currency not in (None, account.currency):
        detail = "The account does not match participant or currency specified"
        return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, detail)
    if not account.is_active:
        return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "Account is currently set inactive")
    if account.type != SETTLEMENT:
        return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "Account is not SETTLEMENT type")
    return account


def _action(command: RecordFundsIn | ReserveFundsOut) -> str:
    return RECORD_FUNDS_IN if isinstance(command, RecordFundsIn) else FUNDS_OUT_RESERVE


def _content_hash(command: RecordFundsIn | ReserveFundsOut) -> bytes:
    """What makes two requests the same: who asked for what, however the amount or the JSON was written."""
    content = (
        _action(command),
        command.name,
        command.account_id,
        command.amount.currency,
        command.amount.minor,
        command.reason,
        command.external_reference,
        command.extensions,
    )
    return hashlib.sha256(msgspec.json.encode(content)).digest()


def _ledger_transfer(
    work: Work, command: RecordFundsIn | ReserveFundsOut, account: Account, hub_account: Account
) -> Transfer:
    if isinstance(command, RecordFundsIn):
        return chart.funds_in(
            command.transfer_id,
            liquidity=account.ledger_account_id,
            reconciliation=hub_account.ledger_account_id,
            amount=command.amount.minor,
            currency=command.amount.currency,
        )
    # Where the ledger is elsewhere, a withdrawal without a record frees itself.
    validity_ms = work.scheme.funds_out_validity_seconds * 1000
    return chart.funds_out(
        command.transfer_id,
        liquidity=account.ledger_account_id,
        reconciliation=hub_account.ledger_account_id,
        amount=command.amount.minor,
        currency=command.amount.currency,
        timeout_seconds=0 if work.ledger.shares_transaction else chart.timeout(validity_ms, 0),
    )


def _new_record(work: Work, command: RecordFundsIn | ReserveFundsOut, content_hash: bytes) -> Record:
    enters = isinstance(command, RecordFundsIn)
    record = _record(
        work, command.transfer_id, command.wire_id, command.name, command.amount, content_hash, enters=enters
    )
    if enters:
        record.state, record.completed_ms = State.COMMITTED, work.now_ms
    return record


def _record(
    work: Work,
    transfer_id: TransferId,
    wire_id: str,
    name: FspId,
    amount: Amount,
    content_hash: bytes,
    *,
    enters: bool,
) -> Record:
    """Funds in are paid by the participant to the hub, funds out by the hub to the participant; reserved so far."""
    own_version = work.directory.participants[name].fspiop_version or work.scheme.hub_version
    return Record(
        transfer_seq=work.next_id(),
        transfer_id=transfer_id,
        wire_id=wire_id,
        kind=FUNDS_IN if enters else FUNDS_OUT,
        payer_fsp=name if enters else HUB,
        payee_fsp=HUB if enters else name,
        currency=amount.currency,
        amount=amount.minor,
        state=State.RESERVED,
        condition=None,
        ilp_packet=None,
        expires_ms=work.now_ms + work.scheme.funds_out_validity_seconds * 1000,
        request_hash=content_hash,
        fulfil_hash=None,
        error_hash=None,
        fulfilment=None,
        error_code=None,
        error_description=None,
        settlement_window_id=None,
        payer_version=own_version,
        payee_version=own_version,
        created_ms=work.now_ms,
        completed_ms=None,
    )


def _movement_account(work: Work, record: Record) -> int | None:
    rows = work.tx.query("SELECT account_id FROM funds_movement WHERE transfer_seq = ?", (record.transfer_seq,))
    return rows[0][0] if rows else None


def _liquidity_changed(work: Work, name: FspId, account: Account) -> None:
    """Notes when the participant's account and the hub's moved, and lets the headroom follow."""
    hub_account = work.directory.participants[HUB].accounts[account.currency, HUB_RECONCILIATION]
    work.tx.run_many(
        "UPDATE account SET changed_ms = ? WHERE account_id = ?",
        [(work.now_ms, each.account_id) for each in (account, hub_account)],
    )
    rebalance(work, record_id(work.next_id()), work.directory.participants[name], account.currency)


def _state(record: Record, *, note: str = "") -> Outcome:
    value = FundsState(record.wire_id, record.state, record.error_code, record.error_description)
    return Outcome(value=value, note=note or f"{record.kind} {record.state.name}")


def _modified() -> Outcome:
    detail = "transferId was used before with other content"
    return Outcome(error=FspiopError(ErrorCode.MODIFIED_REQUEST, detail))


USE_CASES: Final = (
    # What brings liquidity, or gives it back, comes before what is sent in the same batch.
    (conclude, CommitFundsOut, AbortFundsOut),
    (move, RecordFundsIn, ReserveFundsOut),
)
"""Each function with the commands that it decides, in the order in which one batch takes them."""
