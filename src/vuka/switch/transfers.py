"""Transfers: prepare, fulfil, abort, expire, and what each party is told.

The rules are FSPIOP API 1.1 §6.7 and, where it is silent, what the reference hub does, without its defects:

- A callback is authorised *before* anything is looked at or changed; an unauthorised one changes nothing.
- The ledger refuses what exceeds the headroom, so concurrent prepares never exceed it together.
- State, ledger and the messages owed are written in one commit: nobody is told what is not so, and nothing
  that is so goes untold.

A transfer is prepared and reserved in the same commit, so the states in between (RECEIVED_PREPARE, RECEIVED_FULFIL,
RECEIVED_ERROR, RESERVED_TIMEOUT) stand in its history and are never where it rests.

A ledger elsewhere is asked before the records are committed, and does not undo what it did when they are not (see
`vuka.ledger.tigerbeetle`). There a prepare may find its own reservation, and goes on with it; and an answer or an
expiry may find a payment posted or freed that the records call RESERVED: the ledger is right, see `_ledger_is_right`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError, is_known_group
from vuka.ids import HUB, FspId, TransferId, ledger_id
from vuka.ledger import chart
from vuka.ledger.model import (
    NS_PER_S,
    CreateTransferResult,
    CreateTransferStatus,
    Transfer,
    TransferFlags,
)
from vuka.money import Amount
from vuka.switch import gross_settlement
from vuka.switch.directory import HEADROOM, HUB_ON_US, POSITION, SETTLEMENT, Account
from vuka.switch.fees import Entry, Fees, insert_fees
from vuka.switch.funds import after_expiry
from vuka.switch.headroom import (
    DONE_BEFORE,
    LedgerRefusedError,
    balances,
    create,
    create_or_raise,
    in_ledger,
    recall_shortfalls,
    refusal,
)
from vuka.switch.obligations import Flows
from vuka.switch.records import (
    COLUMNS,
    FINAL_STATES,
    Change,
    Record,
    State,
    end_changes,
    file,
    insert_changes,
    insert_records,
    load_records,
    note_end,
    to_record,
    update_records,
)
from vuka.switch.work import (
    ACCEPTED,
    Action,
    Command,
    ErrorBody,
    Forward,
    Header,
    Inbound,
    Notice,
    Outcome,
    TransferBody,
    Work,
)

EXPIRE_MAX: Final = 1_000
"""Transfers that one command expires at most; the timer asks again at once while there are more."""


class PrepareTransfer(Command, frozen=True, kw_only=True):
    """``POST /transfers``: the payer's participant asks that the money be reserved."""

    message: Inbound
    transfer_id: TransferId
    payer_fsp: FspId
    payee_fsp: FspId
    amount: Amount
    condition: str
    ilp_packet: str
    expires_ms: int
    body_hash: bytes
    extensions: tuple[tuple[str, str], ...] = ()
    """Key and value, as the scheme has agreed on them: fees may depend on them."""


class FulfilTransfer(Command, frozen=True, kw_only=True):
    """``PUT /transfers/{ID}``: the payee's participant answers, with the fulfilment that proves it."""

    message: Inbound
    transfer_id: TransferId
    transfer_state: str
    fulfilment: str | None
    body_hash: bytes


class AbortTransfer(Command, frozen=True, kw_only=True):
    """``PUT /transfers/{ID}/error``: the payee's participant declines."""

    message: Inbound
    transfer_id: TransferId
    error_code: str
    error_description: str
    body_hash: bytes


class TellResult(Command, frozen=True, kw_only=True):
    """A participant refused the end of a transfer as the other one wrote it: it is told once more, by the hub."""

    transfer_id: TransferId
    to: FspId


class GetTransfer(Command, frozen=True, kw_only=True):
    """``GET /transfers/{ID}``: one of its two parties asks how a transfer stands."""

    message: Inbound
    transfer_id: TransferId


class ExpireTransfers(Command, frozen=True, kw_only=True):
    """The engine's timer: what is past its expiration ends now."""


# A ledger that committed a refusal of which the record was lost in a crash says that the id has failed already.
_BEYOND_HEADROOM: Final = frozenset((CreateTransferStatus.exceeds_credits, CreateTransferStatus.id_already_failed))

# --- prepare ----------------------------------------------------------------------------------------------------


def prepare(work: Work, commands: Sequence[PrepareTransfer]) -> list[Outcome]:
    """Reserves what the payers' headroom allows and forwards it to the payees (FSPIOP API 1.1 §6.7.3.1).

    Every command is accepted; what is wrong with one its sender learns by ``PUT /transfers/{ID}/error``.
    """
    known = load_records(work, [command.transfer_id for command in commands])
    undecided: dict[bytes, PrepareTransfer] = {}
    ended: list[Record] = []
    outcomes: list[Outcome] = []
    for command in commands:
        earlier = undecided.get(command.transfer_id)
        if earlier is not None:
            outcomes.append(_prepare_again_at_once(work, command, earlier))
            continue
        record = known.get(command.transfer_id)
        if record is not None:
            outcomes.append(_prepare_again(work, command, record))
            continue
        if command.message.source != command.payer_fsp:
            # Not recorded: otherwise anyone could use up the ids of others' transfers.
            outcomes.append(
                _refuse(work, command.message, ErrorCode.VALIDATION_ERROR, "FSPIOP-Source header should match Payer")
            )
            continue
        reason = _invalid(work, command)
        if reason is not None:
            error = FspiopError(ErrorCode.VALIDATION_ERROR, reason)
            record = _end_unreserved(work, command, State.INVALID, error)
        elif command.expires_ms <= work.now_ms:
            # It was in time when it arrived and expired while it waited here: the payer is told at once.
            record = _end_unreserved(work, command, State.EXPIRED_PREPARED, FspiopError(ErrorCode.TRANSFER_EXPIRED))
        else:
            undecided[command.transfer_id] = command
            outcomes.append(ACCEPTED)
            continue
        known[command.transfer_id] = record
        ended.append(record)
        outcomes.append(Outcome(note=f"{record.state.name}: {record.error_description}"))
    insert_records(work, [*ended, *_reserve(work, list(undecided.values()))])
    return outcomes


def _prepare_again_at_once(work: Work, command: PrepareTransfer, earlier: PrepareTransfer) -> Outcome:
    """The id came twice in one batch: the first is still in progress."""
    if command.body_hash != earlier.body_hash or command.message.source != earlier.message.source:
        return _refuse(work, command.message, ErrorCode.MODIFIED_REQUEST)
    return Outcome(note="ignored: a resend of what is in progress")


def _prepare_again(work: Work, command: PrepareTransfer, record: Record) -> Outcome:
    """A resend: answered with how the transfer stands, if it is the same to the letter (hub matrix, §4.8)."""
    if command.body_hash != record.request_hash or command.message.source != record.payer_fsp:
        return _refuse(work, command.message, ErrorCode.MODIFIED_REQUEST)
    _notify_result(work, command.message.source, record, command.message.answer_version, command.message)
    return Outcome(note=f"a resend: answered {record.state.api}")


def _invalid(work: Work, command: PrepareTransfer) -> str | None:
    """The first reason for which a transfer can't be prepared, in the reference's order and words."""
    payer = work.directory.get(command.payer_fsp)
    payee = work.directory.get(command.payee_fsp)
    currency = command.amount.currency
    for name, participant in ((command.payer_fsp, payer), (command.payee_fsp, payee)):
        if participant is None or name == HUB:
            return f"Participant {name} not found"
        if not participant.is_active:
            return f"Participant {name} is inactive"
    if _binary_32(command.condition) is None:
        return "Condition validation failed"
    if command.expires_ms <= command.message.received_ms:
        expired = datetime.fromtimestamp(command.expires_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return f"Expiration date {expired.replace('+00:00', 'Z')} is already in the past"
    if command.payer_fsp.lower() == command.payee_fsp.lower() and not work.scheme.on_us_transfers:
        return "Payer FSP and Payee FSP should be different, unless on-us transfers are allowed by the Scheme"
    payer_account = payer.account(currency, POSITION) if payer is not None else None
    if payer_account is None:
        return f"Participant {command.payer_fsp} {currency} account not found"
    if not payer_account.is_active:
        return f"Participant {command.payer_fsp} {currency} account is inactive"
    payee_account = payee.account(currency, POSITION) if payee is not None else None
    if payee_account is None:
        return f"Participant {command.payee_fsp} {currency} account not found"
    if work.scheme.check_payee_account and not payee_account.is_active:
        return f"Participant {command.payee_fsp} {currency} account is inactive"
    return None


def _new_record(work: Work, command: PrepareTransfer, state: State, error: FspiopError | None) -> Record:
    return Record(
        transfer_seq=work.next_id(),
        transfer_id=command.transfer_id,
        wire_id=command.message.resource_id,
        kind="PAYMENT",
        payer_fsp=command.payer_fsp,
        payee_fsp=command.payee_fsp,
        currency=command.amount.currency,
        amount=command.amount.minor,
        state=state,
        condition=command.condition,
        ilp_packet=command.ilp_packet,
        expires_ms=command.expires_ms,
        request_hash=command.body_hash,
        fulfil_hash=None,
        error_hash=None,
        fulfilment=None,
        error_code=error.code if error is not None else None,
        error_description=error.description if error is not None else None,
        settlement_window_id=None,
        payer_version=command.message.answer_version,
        payee_version=command.message.version,
        created_ms=command.message.received_ms,
        completed_ms=work.now_ms if state in FINAL_STATES else None,
        extensions=msgspec.json.encode(command.extensions).decode() if command.extensions else None,
        trace=msgspec.json.encode(command.message.trace).decode() if command.message.trace else None,
    )


def _end_unreserved(work: Work, command: PrepareTransfer, state: State, error: FspiopError) -> Record:
    """A transfer that ends before any money was reserved: recorded, and its payer told."""
    _notify_error(work, command.message.source, command.message, error, command.message.answer_version)
    return _new_record(work, command, state, error)


def _reserve(work: Work, commands: Sequence[PrepareTransfer]) -> list[Record]:
    """Asks the ledger for the reservations, all at once, in order: each is decided by what the ones before left."""
    reservations = [_reservation(work, command) for command in commands]
    results = work.ledger.create_transfers(reservations)
    if not work.ledger.shares_transaction:
        results = _found_again(work, commands, reservations, results)
    refused = [command for command, result in zip(commands, results, strict=True) if result.status in _BEYOND_HEADROOM]
    ledger = balances(work, _accounts_of_payers(work, refused))
    # The balances are those at the end of the batch: what came after a refused command had no part in its refusal.
    since = Counter[int]()
    for reservation, result in zip(reservations, results, strict=True):
        if result.status is CreateTransferStatus.created:
            since[reservation.debit_account_id] += reservation.amount
    records: list[Record] = []
    for command, reservation, result in zip(commands, reservations, results, strict=True):
        position_id, amount = reservation.debit_account_id, reservation.amount
        if result.status is CreateTransferStatus.created:
            since[position_id] -= amount
        if result.status in (CreateTransferStatus.created, CreateTransferStatus.exists):
            records.append(_new_record(work, command, State.RESERVED, None))
            _forward(work, command.payee_fsp, command.message, None, Action.POST, deadline_ms=command.expires_ms)
        elif result.status in _BEYOND_HEADROOM:
            payer = work.directory.participants[command.payer_fsp]
            error = refusal(payer, command.amount.currency, amount, ledger, reserved_since=since[position_id])
            records.append(_end_unreserved(work, command, State.ABORTED_REJECTED, error))
        elif result.status.name.startswith("exists_with_different"):
            # Its record was lost with a transaction that was undone, and now the payer asks for something else.
            _refuse(work, command.message, ErrorCode.MODIFIED_REQUEST)
        else:
            raise LedgerRefusedError(
                f"the ledger refused to reserve {command.message.resource_id}: {result.status.name}"
            )
    return records


def _found_again(
    work: Work,
    commands: Sequence[PrepareTransfer],
    reservations: Sequence[Transfer],
    results: Sequence[CreateTransferResult],
) -> list[CreateTransferResult]:
    """The results, where a reservation that has lost its record is taken up by the same payment sent again.

    Its timeout differs, for it counts from when it was made; it must suffice for the payment's expiration.
    """
    differing = CreateTransferStatus.exists_with_different_timeout
    found = in_ledger(
        work, [each.id for each, result in zip(reservations, results, strict=True) if result.status is differing]
    )
    taken_up = list(results)
    for place, (command, asked, result) in enumerate(zip(commands, reservations, results, strict=True)):
        there = found.get(asked.id)
        if there is None:
            continue
        same = msgspec.structs.replace(there, timeout=asked.timeout, timestamp=0) == asked
        if same and there.timestamp + there.timeout * NS_PER_S > command.expires_ms * 1_000_000:
            taken_up[place] = msgspec.structs.replace(result, status=CreateTransferStatus.exists)
    return taken_up


def _reservation(work: Work, command: PrepareTransfer) -> Transfer:
    currency = command.amount.currency
    payer = work.directory.participants[command.payer_fsp].accounts[currency, POSITION]
    payee = work.directory.participants[command.payee_fsp].accounts[currency, POSITION]
    if payer.account_id == payee.account_id:
        payee = _on_us_account(work, currency)
    return chart.reserve(
        command.transfer_id,
        debit=payer.ledger_account_id,
        credit=payee.ledger_account_id,
        amount=command.amount.minor,
        currency=currency,
        timeout_seconds=0 if work.ledger.shares_transaction else chart.timeout(command.expires_ms, work.now_ms),
    )


def _on_us_account(work: Work, currency: str) -> Account:
    return work.directory.participants[HUB].accounts[currency, HUB_ON_US]


def _accounts_of_payers(work: Work, commands: Sequence[PrepareTransfer]) -> list[Account]:
    accounts: list[Account] = []
    for command in commands:
        payer = work.directory.participants[command.payer_fsp]
        accounts += (payer.accounts[command.amount.currency, kind] for kind in (POSITION, HEADROOM, SETTLEMENT))
    return accounts


# --- fulfil and abort -------------------------------------------------------------------------------------------


class _Ending:
    """What a batch of answers has decided so far: ledger transfers to create, records to write back."""

    __slots__ = ("changed", "committed", "fees", "flows", "history", "ledger")

    def __init__(self) -> None:
        self.ledger: list[Transfer] = []
        self.flows = Flows()
        self.fees: list[Entry] = []
        self.committed: list[Record] = []
        self.changed: dict[bytes, Record] = {}
        self.history: list[Change] = []

    def change(self, record: Record) -> None:
        self.changed[record.transfer_id] = record

    def end(self, work: Work, record: Record, through: State, state: State, error: FspiopError | None = None) -> None:
        """Moves a reserved transfer to its final state, through the state that announces it."""
        if record.state is not State.RESERVED or state not in FINAL_STATES:
            raise AssertionError(f"{record.wire_id} can't go from {record.state.name} to {state.name}")
        record.state = state
        record.completed_ms = work.now_ms
        if error is not None:
            record.error_code, record.error_description = error.code, error.description
        self.history += end_changes(record, through, state, error.description if error else None, work.now_ms)
        self.change(record)
        note_end(work, record)

    def charge(self, work: Work, fees: Fees) -> None:
        """Adds the fees of what is committed: they are owed as soon as the payments are, and not otherwise."""
        for entry in fees.entries(work, self.committed):
            self.fees.append(entry)
            self.ledger.append(entry.ledger)
            window_id = entry.ledger.user_data_64
            self.flows.add(window_id, entry.debtor, entry.creditor, entry.ledger.amount, is_immediate=False)

    def write(self, work: Work) -> None:
        """Ledger first: a record never says what the ledger has refused.

        Raises `EndedOtherwiseError`, before anything is written, where a ledger elsewhere has ended one in another way.
        """
        fees = [entry.ledger for entry in self.fees]
        if work.ledger.shares_transaction:
            create_or_raise(work, self.ledger + fees)
        else:
            # What is charged can't be taken back there: first it must be certain that the payments are committed.
            self._end_or_raise(work)
            create_or_raise(work, fees, in_term=False)
        insert_fees(work, self.fees)
        update_records(work, list(self.changed.values()))
        insert_changes(work, self.history)
        self.flows.write(work)
        immediate = [record for record in self.committed if gross_settlement.is_immediate(work, record.currency)]
        if immediate:
            gross_settlement.settle_committed(work, immediate)
        if self.ledger:
            recall_shortfalls(work)

    def _end_or_raise(self, work: Work) -> None:
        """Asks a ledger that may have ended some of these before, in a transaction that was undone."""
        ends = {ledger_id(record.transfer_id): record for record in self.changed.values()}
        otherwise: list[tuple[Record, CreateTransferStatus]] = []
        for transfer, result in zip(self.ledger, create(work, self.ledger, in_term=False), strict=True):
            voids = bool(transfer.flags & TransferFlags.void_pending_transfer)
            # What has freed itself is as free as if it were voided.
            if result.status in DONE_BEFORE or (
                voids and result.status is CreateTransferStatus.pending_transfer_expired
            ):
                continue
            record = ends.get(transfer.pending_id or transfer.user_data_128)
            if record is not None and result.status in _OTHERWISE:
                otherwise.append((record, result.status))
            elif record is None or result.status is not CreateTransferStatus.linked_event_failed:
                raise LedgerRefusedError(f"the ledger refused transfer {transfer.id:032x}: {result.status.name}")
        if otherwise:
            raise EndedOtherwiseError(otherwise)


_OTHERWISE: Final = frozenset(
    (
        CreateTransferStatus.pending_transfer_already_posted,
        CreateTransferStatus.pending_transfer_already_voided,
        CreateTransferStatus.pending_transfer_expired,
    )
)


class EndedOtherwiseError(Exception):
    """The ledger has ended transfers in another way than the batch was about to."""

    def __init__(self, ends: Sequence[tuple[Record, CreateTransferStatus]]) -> None:
        super().__init__(", ".join(f"{record.wire_id}: {status.name}" for record, status in ends))
        self.ends = ends


def _ledger_is_right(work: Work, decide: Callable[[], list[Outcome]], fees: Fees | None) -> list[Outcome]:
    """Decides; where the ledger has ended a transfer otherwise, the record is brought to it, and all is decided anew.

    It happens only with a ledger elsewhere, for what it did in a transaction that was undone and that nothing
    else has made good. Both parties are told the end in the hub's own words: theirs are lost.
    """
    while True:
        notices, ended = len(work.notices), len(work.ended)
        try:
            return decide()
        except EndedOtherwiseError as found:
            del work.notices[notices:], work.ended[ended:]
            _follow(work, found.ends, fees)


def _follow(work: Work, ends: Sequence[tuple[Record, CreateTransferStatus]], fees: Fees | None) -> None:
    known = load_records(work, [record.transfer_id for record, _ in ends])
    ending = _Ending()
    for transfer_id, status in {record.transfer_id: status for record, status in ends}.items():
        record = known[transfer_id]
        if status is CreateTransferStatus.pending_transfer_already_posted:
            if record.kind == "PAYMENT":
                _commit_record(work, record, ending)
            else:
                ending.ledger.append(chart.post(record.transfer_id, record.amount, window_id=0))
                ending.end(work, record, State.RECEIVED_FULFIL, State.COMMITTED)
        else:
            is_late = status is CreateTransferStatus.pending_transfer_expired or record.expires_ms <= work.now_ms
            error = FspiopError(ErrorCode.TRANSFER_EXPIRED if is_late else ErrorCode.PAYEE_FSP_REJECTED_TXN)
            if record.kind != "PAYMENT":
                ending.end(work, record, State.RECEIVED_ERROR, State.ABORTED_REJECTED, error)
            elif is_late:
                ending.end(work, record, State.RESERVED_TIMEOUT, State.EXPIRED_RESERVED, error)
            else:
                ending.end(work, record, State.RECEIVED_ERROR, State.ABORTED_ERROR, error)
        if record.kind != "PAYMENT":
            continue
        for party, version in {record.payer_fsp: record.payer_version, record.payee_fsp: record.payee_version}.items():
            if record.state is State.COMMITTED:
                body = TransferBody(record.state.api, record.completed_ms, record.fulfilment, record.cause)
                _notify(work, party, Action.PUT, record.wire_id, body, version)
            else:
                _notify(work, party, Action.ERROR, record.wire_id, ErrorBody.of(error), version)
    if fees is not None:
        ending.charge(work, fees)
    ending.write(work)
    after_expiry(work, list(ending.changed.values()))


def fulfil(work: Work, commands: Sequence[FulfilTransfer | AbortTransfer], *, fees: Fees) -> list[Outcome]:
    """Commits or aborts what the payees have answered (FSPIOP API 1.1 §6.7.3.2, §6.7.4.2, §6.7.5).

    Answers are taken in the order of arrival; one after the end of its transfer finds it ended. What is committed is
    charged by the rules about ``fees``.
    """

    def decide() -> list[Outcome]:
        known = load_records(work, list({command.transfer_id for command in commands}))
        ending = _Ending()
        outcomes = [_answer(work, command, known.get(command.transfer_id), ending) for command in commands]
        ending.charge(work, fees)
        ending.write(work)
        return outcomes

    return _ledger_is_right(work, decide, fees)


def _answer(work: Work, command: FulfilTransfer | AbortTransfer, record: Record | None, ending: _Ending) -> Outcome:
    """The rules for one answer, in the reference's order, authorisation first."""
    message = command.message
    reserves = isinstance(command, FulfilTransfer) and command.transfer_state == "RESERVED"
    if reserves and message.version == "1.0":
        # FSPIOP 1.0 has no PATCH to tell the payee the end, so RESERVED is no answer in it. As in the reference,
        # the transfer is left to expire.
        return Outcome(note="ignored: RESERVED needs FSPIOP 1.1 or later")
    if record is None or record.kind != "PAYMENT":
        return _refuse(work, message, ErrorCode.INTERNAL_SERVER_ERROR, "transfer not found")
    if message.source.lower() != record.payee_fsp.lower():
        return _refuse(work, message, ErrorCode.VALIDATION_ERROR, "FSPIOP-Source header should match Payee FSP")
    earlier = record.fulfil_hash if isinstance(command, FulfilTransfer) else record.error_hash
    if earlier is not None:
        return _answer_again(work, command, record, earlier, reserves=reserves)
    if isinstance(command, FulfilTransfer):
        if command.transfer_state == "ABORTED":
            # A payee declines with PUT …/error. As in the reference, the transfer is left to that, or to expire.
            return Outcome(note="ignored: ABORTED is told by PUT …/error")
        if command.transfer_state not in ("COMMITTED", "RESERVED"):
            return _refuse(work, message, ErrorCode.VALIDATION_ERROR, "transferState should be COMMITTED or RESERVED")
        record.fulfil_hash = command.body_hash
    else:
        record.error_hash = command.body_hash
    record.payee_version = message.version
    ending.change(record)
    if record.state is State.COMMITTED and isinstance(command, FulfilTransfer):
        return _answer_of_committed(work, command, record, reserves=reserves)
    if record.state is not State.RESERVED:
        error = FspiopError(ErrorCode.VALIDATION_ERROR, "non-RESERVED transfer state")
        return _answer_refused(work, message, record, error, reserves=reserves)
    # Without a destination it is for the payer, whom the hub knows; for another one it is a mistake.
    if message.destination is not None and message.destination.lower() != record.payer_fsp.lower():
        error = FspiopError(ErrorCode.VALIDATION_ERROR, "FSPIOP-Destination header should match Payer FSP")
        return _abort_invalid(work, message, record, ending, error, reserves=reserves)
    if isinstance(command, FulfilTransfer) and not _fulfils(command.fulfilment, record.condition):
        error = FspiopError(ErrorCode.VALIDATION_ERROR, "invalid fulfilment")
        return _abort_invalid(work, message, record, ending, error, reserves=reserves)
    if record.expires_ms <= work.now_ms:
        # The timer ends it within the second, and tells both parties.
        error = FspiopError(ErrorCode.TRANSFER_EXPIRED)
        return _answer_refused(work, message, record, error, reserves=reserves)
    if isinstance(command, AbortTransfer):
        return _abort(work, command, record, ending)
    return _commit(work, command, record, ending, reserves=reserves)


def _answer_again(
    work: Work, command: FulfilTransfer | AbortTransfer, record: Record, earlier: bytes, *, reserves: bool
) -> Outcome:
    """A resent answer: repeated back with the result, or refused where it differs from the first."""
    if command.body_hash != earlier:
        return _refuse(work, command.message, ErrorCode.MODIFIED_REQUEST)
    if record.state not in FINAL_STATES:
        return Outcome(note="ignored: a resend of what is in progress")
    if reserves:
        _notify_patch(work, record, command.message)
    else:
        _notify_result(work, record.payee_fsp, record, command.message.version, command.message)
    return Outcome(note=f"a resend: answered {record.state.api}")


def _answer_refused(work: Work, message: Inbound, record: Record, error: FspiopError, *, reserves: bool) -> Outcome:
    """An answer that comes too late: its sender is told, the transfer stays as it is."""
    _notify_error(work, message.source, message, error, message.version)
    if reserves:
        _notify_patch(work, record, message, TransferBody("ABORTED", work.now_ms, None, (_cause(error),)))
    return Outcome(note=f"refused: {error}")


def _answer_of_committed(work: Work, command: FulfilTransfer, record: Record, *, reserves: bool) -> Outcome:
    """The first answer to a transfer that is committed by the word of a ledger elsewhere: see `_ledger_is_right`.

    The answer by which it was is lost. If this one fulfils it, it is that one again, and tells the payer what it lacks.
    """
    message = command.message
    if not _fulfils(command.fulfilment, record.condition):
        record.fulfil_hash = None
        return _refuse(work, message, ErrorCode.VALIDATION_ERROR, "invalid fulfilment")
    record.fulfilment = command.fulfilment
    _notify_result(work, record.payer_fsp, record, record.payer_version, message)
    if reserves:
        _notify_patch(work, record, message)
    else:
        _notify_result(work, record.payee_fsp, record, message.version, message)
    return Outcome(note=f"answered {record.state.api}: the ledger had committed it")


def _commit(work: Work, command: FulfilTransfer, record: Record, ending: _Ending, *, reserves: bool) -> Outcome:
    message = command.message
    record.fulfilment = command.fulfilment
    _commit_record(work, record, ending)
    if reserves:
        # The payee waits for the hub's word: it gets PATCH, and the payer the hub's own PUT (§6.7.3.2).
        _notify_result(work, record.payer_fsp, record, record.payer_version, message)
        _notify_patch(work, record, message)
        return ACCEPTED
    _forward(work, record.payer_fsp, message, record.wire_id, Action.PUT)
    if work.scheme.confirm_to_payee:
        _notify_result(work, record.payee_fsp, record, message.version, message)
    return ACCEPTED


def _commit_record(work: Work, record: Record, ending: _Ending) -> None:
    """The money moves: in the ledger, in the flows of the open window, in the record."""
    on_us = record.payer_fsp == record.payee_fsp
    window_id = work.directory.open_window_id
    ending.ledger.append(chart.post(record.transfer_id, record.amount, window_id=window_id, linked=on_us))
    if on_us:
        position = work.directory.participants[record.payer_fsp].accounts[record.currency, POSITION]
        ending.ledger.append(
            chart.return_on_us(
                record.transfer_id,
                debit=_on_us_account(work, record.currency).ledger_account_id,
                credit=position.ledger_account_id,
                amount=record.amount,
                currency=record.currency,
            )
        )
    record.settlement_window_id = window_id
    ending.committed.append(record)
    ending.flows.add(
        window_id,
        work.directory.participants[record.payer_fsp].accounts[record.currency, POSITION],
        work.directory.participants[record.payee_fsp].accounts[record.currency, POSITION],
        record.amount,
        is_immediate=gross_settlement.is_immediate(work, record.currency),
    )
    ending.end(work, record, State.RECEIVED_FULFIL, State.COMMITTED)


def _abort(work: Work, command: AbortTransfer, record: Record, ending: _Ending) -> Outcome:
    message = command.message
    known = is_known_group(command.error_code)
    error = (
        FspiopError(command.error_code, description=command.error_description)
        if known
        else FspiopError(ErrorCode.VALIDATION_ERROR, "API specification undefined errorCode")
    )
    ending.ledger.append(chart.void(record.transfer_id))
    ending.end(work, record, State.RECEIVED_ERROR, State.ABORTED_ERROR, error)
    if known:
        _forward(work, record.payer_fsp, message, record.wire_id, Action.ERROR)
    else:
        _notify(
            work, record.payer_fsp, Action.ERROR, record.wire_id, ErrorBody.of(error), record.payer_version, message
        )
    if work.scheme.confirm_to_payee:
        _notify_error(work, record.payee_fsp, message, error, message.version)
    return Outcome(note=f"aborted: {error}")


def _abort_invalid(
    work: Work, message: Inbound, record: Record, ending: _Ending, error: FspiopError, *, reserves: bool
) -> Outcome:
    """The payee answered, and its answer is not valid: the transfer ends, and both parties are told."""
    ending.ledger.append(chart.void(record.transfer_id))
    ending.end(work, record, State.RECEIVED_ERROR, State.ABORTED_ERROR, error)
    _notify(work, record.payer_fsp, Action.ERROR, record.wire_id, ErrorBody.of(error), record.payer_version, message)
    _notify_error(work, record.payee_fsp, message, error, message.version)
    if reserves:
        _notify_patch(work, record, message)
    return Outcome(note=f"aborted: {error}")


def _binary_32(text: str) -> bytes | None:
    """The 32 bytes of a condition or fulfilment in base64url without padding, or None."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    # One text for each 32 bytes: spare bits and foreign letters, which a lenient decoder passes over, are refused.
    if len(raw) != 32 or base64.urlsafe_b64encode(raw).rstrip(b"=") != text.encode():
        return None
    return raw


def _fulfils(fulfilment: str | None, condition: str | None) -> bool:
    """Whether SHA-256 of the fulfilment is the condition (FSPIOP API 1.1 §6.5)."""
    if fulfilment is None or condition is None:
        return False
    preimage = _binary_32(fulfilment)
    if preimage is None:
        return False
    # A condition has one text for its 32 bytes: that was checked when the transfer was prepared.
    return base64.urlsafe_b64encode(hashlib.sha256(preimage).digest()).rstrip(b"=") == condition.encode()


# --- expiry -----------------------------------------------------------------------------------------------------


def expire(work: Work, commands: Sequence[ExpireTransfers], *, fees: Fees | None = None) -> list[Outcome]:
    """Ends what is past its expiration and tells both parties 3303. The outcome's value counts what it ended.

    ``fees`` are those of `fulfil`: a ledger elsewhere may tell that one was committed after all.
    """
    return _ledger_is_right(work, lambda: _expire(work, commands), fees)


def _expire(work: Work, commands: Sequence[ExpireTransfers]) -> list[Outcome]:
    rows = work.tx.query(
        f"""SELECT {COLUMNS} FROM transfer
            WHERE state = 'RESERVED' AND expires_ms <= ? ORDER BY expires_ms LIMIT {EXPIRE_MAX}""",
        (work.now_ms,),
    )
    ending = _Ending()
    error = FspiopError(ErrorCode.TRANSFER_EXPIRED)
    for record in map(to_record, rows):
        ending.ledger.append(chart.void(record.transfer_id))
        if record.kind != "PAYMENT":
            ending.end(work, record, State.RESERVED_TIMEOUT, State.ABORTED_REJECTED, error)
            continue
        ending.end(work, record, State.RESERVED_TIMEOUT, State.EXPIRED_RESERVED, error)
        file(work, record)
        trace = msgspec.json.decode(record.trace, type=tuple[Header, ...]) if record.trace is not None else ()
        parties = {record.payer_fsp: record.payer_version, record.payee_fsp: record.payee_version}
        for party, version in parties.items():
            _notify(work, party, Action.ERROR, record.wire_id, ErrorBody.of(error), version, trace=trace)
    ending.write(work)
    after_expiry(work, list(ending.changed.values()))
    return [Outcome(value=len(rows), note=f"expired {len(rows)}") for _ in commands]


# --- get --------------------------------------------------------------------------------------------------------


def get(work: Work, commands: Sequence[GetTransfer]) -> list[Outcome]:
    """Tells a party of a transfer how it stands, by ``PUT`` (FSPIOP API 1.1 §6.7.2.1)."""
    known = load_records(work, list({command.transfer_id for command in commands}))
    return [_get(work, command.message, known.get(command.transfer_id)) for command in commands]


def tell_result(work: Work, commands: Sequence[TellResult]) -> list[Outcome]:
    """Tells the end of transfers in the hub's own words.

    What one participant writes is passed on to the other byte for byte; where the other can't read it, it would not
    know an end that the hub has already made final.
    """
    known = load_records(work, list({command.transfer_id for command in commands}))
    for command in commands:
        record = known.get(command.transfer_id)
        if record is None or command.to != record.payer_fsp or record.state not in FINAL_STATES:
            continue
        body = TransferBody(record.state.api, record.completed_ms, record.fulfilment, record.cause)
        _notify(work, command.to, Action.PUT, record.wire_id, body, record.payer_version)
    return [Outcome(note="told the payer") for _ in commands]


def _get(work: Work, message: Inbound, record: Record | None) -> Outcome:
    requester = work.directory.get(message.source)
    if requester is None or not requester.is_active:
        return Outcome(note="ignored: the requester is not an active participant")
    if record is None:
        return _refuse(
            work, message, ErrorCode.TRANSFER_ID_NOT_FOUND, "Provided Transfer ID was not found on the server."
        )
    if message.source not in (record.payer_fsp, record.payee_fsp):
        return _refuse(work, message, ErrorCode.CLIENT_ERROR)
    _notify_result(work, message.source, record, message.answer_version, message)
    return Outcome(note=f"answered {record.state.api}")


# --- what the parties are told ----------------------------------------------------------------------------------


def _cause(error: FspiopError) -> tuple[str, str]:
    return ("cause", f"{error.code}: {error.description}")


def _notify(
    work: Work,
    to: FspId,
    action: Action,
    wire_id: str,
    body: ErrorBody | TransferBody,
    version: str,
    inbound: Inbound | None = None,
    *,
    trace: tuple[Header, ...] = (),
) -> None:
    """A message of the hub's own. One to somebody who is no participant has nowhere to go and is not owed."""
    participant = work.directory.get(to)
    if participant is None:
        return
    work.notify(
        Notice(
            to=participant.name,
            action=action,
            resource="transfers",
            ids=(wire_id,),
            body=body,
            deadline_ms=work.now_ms + work.scheme.result_deadline_seconds * 1000,
            version=version,
            trace=inbound.trace if inbound is not None else trace,
        )
    )


def _notify_error(work: Work, to: FspId, inbound: Inbound, error: FspiopError, version: str) -> None:
    _notify(work, to, Action.ERROR, inbound.resource_id, ErrorBody.of(error), version, inbound)


def _notify_result(work: Work, to: FspId, record: Record, version: str, inbound: Inbound) -> None:
    """``PUT /transfers/{ID}`` from the hub: how the transfer stands, never an internal state."""
    body = TransferBody(record.state.api, record.completed_ms, record.fulfilment, record.cause)
    _notify(work, to, Action.PUT, record.wire_id, body, version, inbound)


def _notify_patch(work: Work, record: Record, inbound: Inbound, body: TransferBody | None = None) -> None:
    """``PATCH /transfers/{ID}`` to the payee: the end it waits for, without the fulfilment it already has."""
    if body is None:
        body = TransferBody(record.state.api, record.completed_ms, None, record.cause)
    _notify(work, record.payee_fsp, Action.PATCH, record.wire_id, body, inbound.version, inbound)


def _refuse(work: Work, inbound: Inbound, code: ErrorCode, detail: str = "") -> Outcome:
    """Tells the sender of a message what is wrong with it. Nothing else happens."""
    error = FspiopError(code, detail)
    version = inbound.answer_version if inbound.method in ("POST", "GET") else inbound.version
    _notify_error(work, inbound.source, inbound, error, version)
    return Outcome(note=f"refused: {error}")


def _forward(
    work: Work, to: FspId, inbound: Inbound, wire_id: str | None, action: Action, *, deadline_ms: int | None = None
) -> None:
    """Passes a participant's own message on, byte for byte.

    Its path has the transfer's id as the payer wrote it (``wire_id``; None for a prepare, which has none in its path):
    the same 128 bits may be written as a UUID and as a ULID, and the payer knows its own spelling only.
    """
    work.notify(
        Notice(
            to=to,
            action=action,
            resource="transfers",
            ids=() if wire_id is None else (wire_id,),
            body=Forward(inbound),
            deadline_ms=deadline_ms or work.now_ms + work.scheme.result_deadline_seconds * 1000,
            source=inbound.source,
            destination=inbound.destination,
            trace=inbound.trace,
        )
    )
