"""Quotes: the agreement of terms, passed between the two participants and kept so that it can be proven.

The hub is a router here (FSPIOP API 1.1 §6.5, hub reference §6): it computes no fee and makes no packet. It checks
that both sides may deal in the currency, refuses a changed resend (3106), passes the messages on byte for byte, and
remembers what was asked and answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId
from vuka.money import Currency
from vuka.switch.directory import POSITION
from vuka.switch.lookup import callback
from vuka.switch.work import Action, Command, ErrorBody, Forward, Inbound, Notice, Outcome, Work

REQUESTED: Final = "REQUESTED"
ANSWERED: Final = "ANSWERED"
DECLINED: Final = "DECLINED"


class RequestQuote(Command, frozen=True, kw_only=True):
    """``POST /quotes``: the payer's participant asks for terms."""

    message: Inbound
    quote_id: bytes
    transaction_id: str
    payer_fsp: FspId | None
    """The participant that the body names for the payer, where it names one."""
    payee_fsp: FspId | None
    payee_party: str
    payer_currencies: tuple[str, ...]
    """``payer.supportedCurrencies`` (2.0); empty where there are none."""
    currency: Currency
    amount: int
    amount_type: str
    expires_ms: int | None
    body_hash: bytes


class AnswerQuote(Command, frozen=True, kw_only=True):
    """``PUT /quotes/{ID}``: the payee's participant gives terms."""

    message: Inbound
    quote_id: bytes
    currency: Currency
    """Of ``payeeReceiveAmount`` where there is one, else of ``transferAmount``."""
    condition: str
    body_hash: bytes


class DeclineQuote(Command, frozen=True, kw_only=True):
    """``PUT /quotes/{ID}/error``: the payee's participant declines."""

    message: Inbound
    quote_id: bytes
    error_code: str
    body_hash: bytes


class GetQuote(Command, frozen=True, kw_only=True):
    """``GET /quotes/{ID}``: passed on to the participant that made the terms."""

    message: Inbound
    quote_id: bytes


class Record(msgspec.Struct):
    """What the hub remembers of a quote while it decides about it."""

    quote_seq: int
    payer_fsp: FspId
    payee_fsp: FspId
    state: str
    request_hash: bytes
    response_hash: bytes | None
    condition: str | None
    error_code: str | None


def _load(work: Work, quote_ids: Sequence[bytes]) -> dict[bytes, Record]:
    rows = work.tx.query_in(
        """SELECT quote_id, quote_seq, payer_fsp, payee_fsp, state, request_hash, response_hash, condition, error_code
           FROM quote WHERE quote_id IN {values}""",
        quote_ids,
    )
    return {row[0]: Record(*row[1:]) for row in rows}


def request(work: Work, commands: Sequence[RequestQuote]) -> list[Outcome]:
    """Checks requests and passes them on to the payees' participants (hub reference §6.3)."""
    known = _load(work, [command.quote_id for command in commands])
    rows: list[tuple[int | str | bytes | None, ...]] = []
    outcomes: list[Outcome] = []
    for command in commands:
        message = command.message
        record = known.get(command.quote_id)
        if record is not None and _modified(record, command):
            outcomes.append(_refuse(work, message, FspiopError(ErrorCode.MODIFIED_REQUEST)))
            continue
        error = _invalid(work, command)
        if error is not None:
            outcomes.append(_refuse(work, message, error))
            continue
        payee = work.directory.participants[message.destination or ""].name
        _forward(work, payee, message, Action.POST, command.expires_ms)
        if record is not None:
            outcomes.append(Outcome(note="a resend: forwarded again"))
            continue
        seq = work.next_id()
        known[command.quote_id] = Record(seq, message.source, payee, REQUESTED, command.body_hash, None, None, None)
        rows.append(
            (
                seq,
                command.quote_id,
                message.resource_id,
                command.transaction_id,
                message.source,
                payee,
                command.payee_party,
                command.currency,
                command.amount,
                command.amount_type,
                REQUESTED,
                command.body_hash,
                message.received_ms,
            )
        )
        outcomes.append(Outcome())
    work.tx.run_many(
        """INSERT INTO quote (quote_seq, quote_id, wire_id, transaction_id, payer_fsp, payee_fsp, payee_party,
               currency, amount, amount_type, state, request_hash, created_ms)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        rows,
    )
    return outcomes


def _modified(record: Record, command: RequestQuote) -> bool:
    """Whether a known id comes with another body, from another participant, or to another one."""
    message = command.message
    return (
        record.request_hash != command.body_hash
        or record.payer_fsp != message.source
        or message.destination not in (None, record.payee_fsp)
    )


def _invalid(work: Work, command: RequestQuote) -> FspiopError | None:
    """The first reason for which a request can't be passed on."""
    message = command.message
    if message.destination is None:
        return FspiopError(ErrorCode.MISSING_ELEMENT, "FSPIOP-Destination is required")
    if command.payer_currencies:
        # Either the payer or the payee is checked, never both: whoever names the currencies it holds vouches for it.
        error = _may_deal(work, message.source, command.payer_currencies, ErrorCode.PAYER_FSP_ID_NOT_FOUND)
    else:
        error = _may_deal(work, message.destination, (command.currency,), ErrorCode.DESTINATION_FSP_ERROR)
    if error is not None:
        return error
    payee = work.directory.get(message.destination)
    if payee is None or not payee.is_active or payee.name == HUB:
        return FspiopError(ErrorCode.DESTINATION_FSP_ERROR, f"Unsupported participant '{message.destination}'")
    if command.payer_fsp is not None and command.payer_fsp != message.source:
        error = _may_deal(work, command.payer_fsp, (command.currency,), ErrorCode.PAYER_FSP_ID_NOT_FOUND)
        if error is not None:
            return error
    if command.payee_fsp is not None and command.payee_fsp != message.destination:
        return _may_deal(work, command.payee_fsp, (command.currency,), ErrorCode.DESTINATION_FSP_ERROR)
    return None


def _may_deal(work: Work, name: str, currencies: Sequence[str], code: ErrorCode) -> FspiopError | None:
    """Whether a participant is active and has an active position in every one of the currencies."""
    participant = work.directory.get(name)
    if participant is None or not participant.is_active:
        return FspiopError(code, f"Unsupported participant '{name}'")
    for currency in currencies:
        account = participant.account(currency, POSITION)
        if account is None or not account.is_active:
            return FspiopError(code, f"Unsupported participant '{name}': no active {currency} account")
    return None


def answer(work: Work, commands: Sequence[AnswerQuote | DeclineQuote]) -> list[Outcome]:
    """Passes the payees' terms, or their refusals, back to whoever asked."""
    known = _load(work, list({command.quote_id for command in commands}))
    changed: dict[int, Record] = {}
    outcomes = [_answer(work, command, known.get(command.quote_id), changed) for command in commands]
    work.tx.run_many(
        """UPDATE quote SET state = ?, response_hash = ?, condition = ?, error_code = ?, answered_ms = ?
           WHERE quote_seq = ?""",
        [
            (record.state, record.response_hash, record.condition, record.error_code, work.now_ms, seq)
            for seq, record in changed.items()
        ],
    )
    return outcomes


def _answer(
    work: Work, command: AnswerQuote | DeclineQuote, record: Record | None, changed: dict[int, Record]
) -> Outcome:
    message = command.message
    if record is None:
        return _refuse(work, message, FspiopError(ErrorCode.QUOTE_ID_NOT_FOUND))
    if message.source != record.payee_fsp:
        detail = "FSPIOP-Source header should match the participant that was asked"
        return _refuse(work, message, FspiopError(ErrorCode.VALIDATION_ERROR, detail))
    if isinstance(command, AnswerQuote):
        error = _may_deal(work, message.source, (command.currency,), ErrorCode.DESTINATION_FSP_ERROR)
        if error is not None:
            return _refuse(work, message, error)
    if record.response_hash is not None and record.response_hash != command.body_hash:
        return _refuse(work, message, FspiopError(ErrorCode.MODIFIED_REQUEST))
    action = Action.PUT if isinstance(command, AnswerQuote) else Action.ERROR
    _forward(work, record.payer_fsp, message, action, None)
    if record.response_hash is not None:
        return Outcome(note="a resend: forwarded again")
    record.response_hash = command.body_hash
    if isinstance(command, AnswerQuote):
        record.state, record.condition = ANSWERED, command.condition
    else:
        record.state, record.error_code = DECLINED, command.error_code
    changed[record.quote_seq] = record
    return Outcome()


def get(work: Work, commands: Sequence[GetQuote]) -> list[Outcome]:
    """Passes questions about a quote on to the other side: the hub keeps no terms of its own to answer with."""
    known = _load(work, list({command.quote_id for command in commands}))
    return [_get(work, command.message, known.get(command.quote_id)) for command in commands]


def _get(work: Work, message: Inbound, record: Record | None) -> Outcome:
    if record is not None and message.source not in (record.payer_fsp, record.payee_fsp):
        return _refuse(work, message, FspiopError(ErrorCode.CLIENT_ERROR))
    other = message.destination if message.destination != HUB else None
    if other is None and record is not None:
        other = record.payee_fsp if message.source == record.payer_fsp else record.payer_fsp
    participant = work.directory.get(other)
    if record is None and participant is None:
        return _refuse(work, message, FspiopError(ErrorCode.QUOTE_ID_NOT_FOUND))
    if participant is None:
        return _refuse(
            work, message, FspiopError(ErrorCode.DESTINATION_FSP_ERROR, f"Unsupported participant '{other}'")
        )
    _forward(work, participant.name, message, Action.GET, None)
    return Outcome()


def _refuse(work: Work, message: Inbound, error: FspiopError) -> Outcome:
    """Tells the sender what is wrong with its message. Nothing else happens."""
    deadline_ms = work.now_ms + work.scheme.result_deadline_seconds * 1000
    if work.directory.get(message.source) is not None:
        work.notify(callback(message, message.source, ErrorBody.of(error), deadline_ms))
    return Outcome(note=f"refused: {error}")


def _forward(work: Work, to: FspId, inbound: Inbound, action: Action, expires_ms: int | None) -> None:
    """Passes a participant's own message on, byte for byte, while its terms can still be of use."""
    deadline_ms = work.now_ms + work.scheme.routed_deadline_seconds * 1000
    work.notify(
        Notice(
            to=to,
            action=action,
            resource="quotes",
            ids=() if action is Action.POST else inbound.ids,
            body=Forward(inbound),
            deadline_ms=deadline_ms if expires_ms is None else min(deadline_ms, max(expires_ms, work.now_ms + 1)),
            source=inbound.source,
            destination=to,
            trace=inbound.trace,
        )
    )
