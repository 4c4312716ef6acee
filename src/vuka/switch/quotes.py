"""Quotes: the agreement of terms, passed between the two participants and kept so that it can be proven.

The hub is a router here (FSPIOP API 1.1 §6.5, hub reference §6): it computes no fee and makes no packet. It checks
that both sides may deal in the currency, refuses a changed resend (3106), applies the scheme's rules, passes the
messages on byte for byte, and remembers what was asked and answered.
"""

from __future__ import annotations

from collections.abc import Sequence

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import FspId
from vuka.money import Currency
from vuka.switch import agreement
from vuka.switch.agreement import Record, check_may_deal, check_takes_part
from vuka.switch.quote_rules import QuoteRules
from vuka.switch.work import Command, Inbound, Outcome, Work


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


def _load(work: Work, quote_ids: Sequence[bytes]) -> dict[bytes, Record]:
    rows = work.tx.query_in(
        """SELECT quote_id, quote_seq, payer_fsp, payee_fsp, state, request_hash, response_hash, condition, error_code,
                  rerouted_fsp, added_headers
           FROM quote WHERE quote_id IN {values}""",
        quote_ids,
    )
    return {row[0]: Record(*row[1:]) for row in rows}


def request(work: Work, commands: Sequence[RequestQuote], *, rules: QuoteRules) -> list[Outcome]:
    """Checks requests and passes them on to the payees' participants (hub reference §6.3)."""
    known = _load(work, [command.quote_id for command in commands])
    rows: list[tuple[int | str | bytes | None, ...]] = []
    outcomes: list[Outcome] = []
    for command in commands:
        asked = _ask(work, rules, command, known.get(command.quote_id))
        outcomes.append(asked.outcome)
        if asked.record is not None:
            known[command.quote_id] = asked.record
            rows.append(_row(command, asked.record))
    work.tx.run_many(
        """INSERT INTO quote (quote_seq, quote_id, wire_id, transaction_id, payer_fsp, payee_fsp, payee_party,
               currency, amount, amount_type, state, request_hash, created_ms, rerouted_fsp, added_headers)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        rows,
    )
    return outcomes


def _ask(work: Work, rules: QuoteRules, command: RequestQuote, record: Record | None) -> agreement.Asked:
    return agreement.ask(
        work,
        rules,
        command.message,
        body_hash=command.body_hash,
        record=record,
        check=lambda: _invalid(work, command),
        check_other=lambda name: check_takes_part(work, name),
        expires_ms=command.expires_ms,
    )


def _row(command: RequestQuote, record: Record) -> tuple[int | str | bytes | None, ...]:
    return (
        record.seq,
        command.quote_id,
        command.message.resource_id,
        command.transaction_id,
        record.asking_fsp,
        record.asked_fsp,
        command.payee_party,
        command.currency,
        command.amount,
        command.amount_type,
        record.state,
        record.request_hash,
        command.message.received_ms,
        record.rerouted_fsp,
        record.added_headers,
    )


def _invalid(work: Work, command: RequestQuote) -> FspiopError | None:
    """The first reason for which a request can't be passed on."""
    message = command.message
    if message.destination is None:
        return FspiopError(ErrorCode.MISSING_ELEMENT, "FSPIOP-Destination is required")
    if command.payer_currencies:
        # Either the payer or the payee is checked, never both: whoever names the currencies it holds vouches for it.
        error = check_may_deal(work, message.source, command.payer_currencies, ErrorCode.PAYER_FSP_ID_NOT_FOUND)
    else:
        error = check_may_deal(work, message.destination, (command.currency,), ErrorCode.DESTINATION_FSP_ERROR)
    error = error or check_takes_part(work, message.destination)
    if error is not None:
        return error
    if command.payer_fsp is not None and command.payer_fsp != message.source:
        error = check_may_deal(work, command.payer_fsp, (command.currency,), ErrorCode.PAYER_FSP_ID_NOT_FOUND)
        if error is not None:
            return error
    if command.payee_fsp is not None and command.payee_fsp != message.destination:
        return check_may_deal(work, command.payee_fsp, (command.currency,), ErrorCode.DESTINATION_FSP_ERROR)
    return None


def answer(work: Work, commands: Sequence[AnswerQuote | DeclineQuote]) -> list[Outcome]:
    """Passes the payees' terms, or their refusals, back to whoever asked."""
    known = _load(work, list({command.quote_id for command in commands}))
    open_before = {quote_id for quote_id, record in known.items() if record.response_hash is None}
    outcomes = [_answer(work, command, known.get(command.quote_id)) for command in commands]
    answered = [known[quote_id] for quote_id in open_before if known[quote_id].response_hash is not None]
    work.tx.run_many(
        """UPDATE quote SET state = ?, response_hash = ?, condition = ?, error_code = ?, answered_ms = ?
           WHERE quote_seq = ?""",
        [
            (record.state, record.response_hash, record.condition, record.error_code, work.now_ms, record.seq)
            for record in sorted(answered, key=lambda each: each.seq)
        ],
    )
    return outcomes


def _answer(work: Work, command: AnswerQuote | DeclineQuote, record: Record | None) -> Outcome:
    message = command.message
    if isinstance(command, DeclineQuote):
        return agreement.answer(work, message, record, body_hash=command.body_hash, error_code=command.error_code)
    return agreement.answer(
        work,
        message,
        record,
        body_hash=command.body_hash,
        condition=command.condition,
        check=lambda: check_may_deal(work, message.source, (command.currency,), ErrorCode.DESTINATION_FSP_ERROR),
    )


def get(work: Work, commands: Sequence[GetQuote]) -> list[Outcome]:
    """Passes questions about a quote on to the other side."""
    known = _load(work, list({command.quote_id for command in commands}))
    return [agreement.get(work, command.message, known.get(command.quote_id)) for command in commands]
