"""Quotes of conversions: the terms on which an FXP gives one currency for another, passed on and kept.

FSPIOP API 2.0 ``/fxQuotes``, hub reference §6.5. As with quotes the hub is a router; what is checked is the FXP alone,
which must have active positions in both currencies. A later conversion names the transfer that it depends on, and its
quote does too (``determiningTransferId``), so that the two can be told together.
"""

from __future__ import annotations

from collections.abc import Sequence

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB
from vuka.money import Currency
from vuka.switch import agreement
from vuka.switch.agreement import Record, check_may_deal, unsupported
from vuka.switch.quote_rules import QuoteRules
from vuka.switch.work import Command, Inbound, Outcome, Work


class RequestFxQuote(Command, frozen=True, kw_only=True):
    """``POST /fxQuotes``: a participant asks an FXP for the terms of a conversion."""

    message: Inbound
    conversion_request_id: bytes
    conversion_id: str
    determining_transfer_id: str | None
    source_currency: Currency
    source_amount: int | None
    """Minor units; None where the FXP is to say it."""
    target_currency: Currency
    target_amount: int | None
    amount_type: str
    expires_ms: int
    body_hash: bytes


class AnswerFxQuote(Command, frozen=True, kw_only=True):
    """``PUT /fxQuotes/{ID}``: the FXP gives terms."""

    message: Inbound
    conversion_request_id: bytes
    condition: str | None
    body_hash: bytes


class DeclineFxQuote(Command, frozen=True, kw_only=True):
    """``PUT /fxQuotes/{ID}/error``: the FXP declines."""

    message: Inbound
    conversion_request_id: bytes
    error_code: str
    body_hash: bytes


class GetFxQuote(Command, frozen=True, kw_only=True):
    """``GET /fxQuotes/{ID}``: passed on to the FXP."""

    message: Inbound
    conversion_request_id: bytes


def _load(work: Work, conversion_request_ids: Sequence[bytes]) -> dict[bytes, Record]:
    rows = work.tx.query_in(
        """SELECT conversion_request_id, fx_quote_seq, initiating_fsp, counter_party_fsp, state, request_hash,
                  response_hash, condition, error_code, rerouted_fsp, added_headers
           FROM fx_quote WHERE conversion_request_id IN {values}""",
        conversion_request_ids,
    )
    return {row[0]: Record(*row[1:]) for row in rows}


def request(work: Work, commands: Sequence[RequestFxQuote], *, rules: QuoteRules) -> list[Outcome]:
    """Checks requests and passes them on to the FXPs."""
    known = _load(work, [command.conversion_request_id for command in commands])
    rows: list[tuple[int | str | bytes | None, ...]] = []
    outcomes: list[Outcome] = []
    for command in commands:
        asked = _ask(work, rules, command, known.get(command.conversion_request_id))
        outcomes.append(asked.outcome)
        if asked.record is not None:
            known[command.conversion_request_id] = asked.record
            rows.append(_row(command, asked.record))
    work.tx.run_many(
        """INSERT INTO fx_quote (fx_quote_seq, conversion_request_id, wire_id, conversion_id, determining_transfer_id,
               initiating_fsp, counter_party_fsp, source_currency, source_amount, target_currency, target_amount,
               amount_type, state, request_hash, created_ms, rerouted_fsp, added_headers)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        rows,
    )
    return outcomes


def _ask(work: Work, rules: QuoteRules, command: RequestFxQuote, record: Record | None) -> agreement.Asked:
    return agreement.ask(
        work,
        rules,
        command.message,
        body_hash=command.body_hash,
        record=record,
        check=lambda: _invalid(work, command, command.message.destination),
        check_other=lambda name: _invalid(work, command, name),
        expires_ms=command.expires_ms,
    )


def _row(command: RequestFxQuote, record: Record) -> tuple[int | str | bytes | None, ...]:
    return (
        record.seq,
        command.conversion_request_id,
        command.message.resource_id,
        command.conversion_id,
        command.determining_transfer_id,
        record.asking_fsp,
        record.asked_fsp,
        command.source_currency,
        command.source_amount,
        command.target_currency,
        command.target_amount,
        command.amount_type,
        record.state,
        record.request_hash,
        command.message.received_ms,
        record.rerouted_fsp,
        record.added_headers,
    )


def _invalid(work: Work, command: RequestFxQuote, fxp: str | None) -> FspiopError | None:
    """Why an FXP can't be asked. The initiator is not checked: it need not hold the target currency."""
    if fxp is None:
        return FspiopError(ErrorCode.MISSING_ELEMENT, "FSPIOP-Destination is required")
    if fxp == HUB:
        return unsupported(fxp, ErrorCode.VALIDATION_ERROR)
    currencies = (command.source_currency, command.target_currency)
    return check_may_deal(work, fxp, currencies, ErrorCode.VALIDATION_ERROR)


def answer(work: Work, commands: Sequence[AnswerFxQuote | DeclineFxQuote]) -> list[Outcome]:
    """Passes the FXPs' terms, or their refusals, back to whoever asked."""
    known = _load(work, list({command.conversion_request_id for command in commands}))
    open_before = {each for each, record in known.items() if record.response_hash is None}
    outcomes = [_answer(work, command, known.get(command.conversion_request_id)) for command in commands]
    answered = [known[each] for each in open_before if known[each].response_hash is not None]
    work.tx.run_many(
        """UPDATE fx_quote SET state = ?, response_hash = ?, condition = ?, error_code = ?, answered_ms = ?
           WHERE fx_quote_seq = ?""",
        [
            (record.state, record.response_hash, record.condition, record.error_code, work.now_ms, record.seq)
            for record in sorted(answered, key=lambda each: each.seq)
        ],
    )
    return outcomes


def _answer(work: Work, command: AnswerFxQuote | DeclineFxQuote, record: Record | None) -> Outcome:
    if isinstance(command, DeclineFxQuote):
        return agreement.answer(
            work, command.message, record, body_hash=command.body_hash, error_code=command.error_code
        )
    return agreement.answer(work, command.message, record, body_hash=command.body_hash, condition=command.condition)


def get(work: Work, commands: Sequence[GetFxQuote]) -> list[Outcome]:
    """Passes questions about a conversion's quote on to the other side."""
    known = _load(work, list({command.conversion_request_id for command in commands}))
    return [agreement.get(work, command.message, known.get(command.conversion_request_id)) for command in commands]
