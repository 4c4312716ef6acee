"""Quotes of bulks: many requests for terms in one message, passed on and not kept (hub reference §6.6).

As in the reference there is no record, no check for duplicates and no rules; of the individual quotes the first one's
currency is checked, on both sides. Answers go where their sender says.
"""

from __future__ import annotations

from collections.abc import Sequence

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB
from vuka.money import Currency
from vuka.switch.agreement import check_can_be_reached, check_may_deal, forward, refuse, unsupported
from vuka.switch.work import Action, Command, Inbound, Outcome, Work


class RequestBulkQuote(Command, frozen=True, kw_only=True):
    """``POST /bulkQuotes``: the payer's participant asks for terms of many transactions."""

    message: Inbound
    currency: Currency
    """Of the first individual quote."""
    expires_ms: int | None


class RouteBulkQuote(Command, frozen=True, kw_only=True):
    """``GET``, ``PUT /bulkQuotes/{ID}`` or ``PUT /bulkQuotes/{ID}/error``: for whom the sender says."""

    message: Inbound
    action: Action


def request(work: Work, commands: Sequence[RequestBulkQuote]) -> list[Outcome]:
    """Checks requests and passes them on to the payees' participants."""
    return [_pass(work, each.message, Action.POST, _invalid(work, each), each.expires_ms) for each in commands]


def _invalid(work: Work, command: RequestBulkQuote) -> FspiopError | None:
    message = command.message
    if message.destination is None:
        return FspiopError(ErrorCode.MISSING_ELEMENT, "FSPIOP-Destination is required")
    currencies = (command.currency,)
    return check_may_deal(work, message.source, currencies, ErrorCode.PAYER_FSP_ID_NOT_FOUND) or check_may_deal(
        work, message.destination, currencies, ErrorCode.DESTINATION_FSP_ERROR
    )


def route(work: Work, commands: Sequence[RouteBulkQuote]) -> list[Outcome]:
    """Passes questions and answers on."""
    return [_pass(work, command.message, command.action, None, None) for command in commands]


def _pass(work: Work, message: Inbound, action: Action, error: FspiopError | None, expires_ms: int | None) -> Outcome:
    if error is not None:
        return refuse(work, message, error)
    # The reference has a code of its own for an error callback that has nowhere to go.
    code = ErrorCode.PARTY_NOT_FOUND if action is Action.ERROR else ErrorCode.DESTINATION_FSP_ERROR
    destination = message.destination or ""
    participant = work.directory.get(destination)
    if participant is None or participant.name == HUB:
        return refuse(work, message, unsupported(destination, code))
    error = check_can_be_reached(work, destination, message.resource, code)
    if error is not None:
        return refuse(work, message, error)
    forward(work, participant.name, message, action, expires_ms=expires_ms)
    return Outcome()
