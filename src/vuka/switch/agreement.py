"""Agreements: what quotes of every kind have in common. One participant asks, another answers, the hub passes both on.

The hub is a router here (hub reference §6): it computes nothing and keeps what it needs to prove who asked and answered
what, to tell a resend from a modified request, and to know whose answer counts. `vuka.switch.quotes` and
`vuka.switch.fx_quotes` say who may ask whom; `vuka.switch.bulk_quotes` keeps no record and uses the passing on alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId
from vuka.switch.directory import POSITION
from vuka.switch.lookup import callback
from vuka.switch.quote_rules import QuoteRules, Reroute
from vuka.switch.work import Action, ErrorBody, Forward, Header, Inbound, Notice, Outcome, Work

REQUESTED: Final = "REQUESTED"
ANSWERED: Final = "ANSWERED"
DECLINED: Final = "DECLINED"

ENDPOINTS: Final = {
    "quotes": "FSPIOP_CALLBACK_URL_QUOTES",
    "bulkQuotes": "FSPIOP_CALLBACK_URL_BULK_QUOTES",
    "fxQuotes": "FSPIOP_CALLBACK_URL_FX_QUOTES",
}
"""The endpoint type that everything about a resource goes to."""

RESENT: Final = "a resend: forwarded again"


class Record(msgspec.Struct):
    """What the hub remembers of an agreement while it decides about it."""

    seq: int
    asking_fsp: FspId
    asked_fsp: FspId
    """Who it was asked of; who was really asked is `answering_fsp`."""
    state: str
    request_hash: bytes
    response_hash: bytes | None = None
    condition: str | None = None
    error_code: str | None = None
    rerouted_fsp: FspId | None = None
    added_headers: str | None = None
    """What a rule added to the headers: a JSON array of [name, value]."""

    @property
    def answering_fsp(self) -> FspId:
        """Whose answer counts."""
        return self.rerouted_fsp or self.asked_fsp

    @property
    def added(self) -> tuple[Header, ...]:
        """What is added to the headers of what goes to `answering_fsp`."""
        if self.rerouted_fsp is None:
            return ()
        headers = msgspec.json.decode(self.added_headers or "[]", type=tuple[Header, ...])
        return (("FSPIOP-Destination", self.rerouted_fsp), *headers)


# --- passing on -------------------------------------------------------------------------------------------------


def refuse(work: Work, message: Inbound, error: FspiopError) -> Outcome:
    """Tells the sender what is wrong with its message. Nothing else happens."""
    deadline_ms = work.now_ms + work.scheme.result_deadline_seconds * 1000
    if work.directory.get(message.source) is not None:
        work.notify(callback(message, message.source, ErrorBody.of(error), deadline_ms))
    return Outcome(note=f"refused: {error}")


def forward(
    work: Work,
    to: FspId,
    inbound: Inbound,
    action: Action,
    *,
    expires_ms: int | None = None,
    added: tuple[Header, ...] = (),
) -> None:
    """Passes a participant's own message on, byte for byte, while its terms can still be of use."""
    deadline_ms = work.now_ms + work.scheme.routed_deadline_seconds * 1000
    work.notify(
        Notice(
            to=to,
            action=action,
            resource=inbound.resource,
            ids=() if action is Action.POST else inbound.ids,
            body=Forward(inbound),
            deadline_ms=deadline_ms if expires_ms is None else min(deadline_ms, max(expires_ms, work.now_ms + 1)),
            source=inbound.source,
            destination=to,
            trace=inbound.trace,
            headers=added,
        )
    )


# --- who may be asked -------------------------------------------------------------------------------------------


def unsupported(name: str, code: ErrorCode = ErrorCode.DESTINATION_FSP_ERROR, reason: str = "") -> FspiopError:
    """The reference's refusal of a participant."""
    return FspiopError(code, f"Unsupported participant '{name}'{reason and ': '}{reason}")


def check_takes_part(work: Work, name: str, code: ErrorCode = ErrorCode.DESTINATION_FSP_ERROR) -> FspiopError | None:
    """Whether a participant is there and active. The hub itself is none."""
    participant = work.directory.get(name)
    if participant is None or not participant.is_active or participant.name == HUB:
        return unsupported(name, code)
    return None


def check_may_deal(work: Work, name: str, currencies: Sequence[str], code: ErrorCode) -> FspiopError | None:
    """Whether a participant is active and has an active position in every one of the currencies."""
    participant = work.directory.get(name)
    if participant is None or not participant.is_active:
        return unsupported(name, code)
    for currency in currencies:
        account = participant.account(currency, POSITION)
        if account is None or not account.is_active:
            return unsupported(name, code, f"no active {currency} account")
    return None


def check_can_be_reached(
    work: Work, name: str, resource: str, code: ErrorCode = ErrorCode.DESTINATION_FSP_ERROR
) -> FspiopError | None:
    """Whether a participant has said where messages about a resource go: otherwise its sender is told at once."""
    participant = work.directory.get(name)
    endpoint = ENDPOINTS[resource]
    if participant is not None and endpoint in participant.endpoints:
        return None
    return FspiopError(code, f"No {endpoint} found for {name}")


# --- asking -----------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """How a request ended: for the journal, and as a new record where it is to be remembered."""

    outcome: Outcome
    record: Record | None = None


def ask(
    work: Work,
    rules: QuoteRules,
    message: Inbound,
    *,
    body_hash: bytes,
    record: Record | None,
    check: Callable[[], FspiopError | None],
    check_other: Callable[[FspId], FspiopError | None],
    expires_ms: int | None,
) -> Asked:
    """Passes a request on to whom it is for, or to whom the rules of the scheme say.

    ``check`` says whether it may be asked at all, ``check_other`` whether another participant may be asked instead. A
    resend goes the way of the first, and is not judged by the rules again: they may have changed since.
    """
    if record is not None and _is_modified(record, message, body_hash):
        return Asked(refuse(work, message, FspiopError(ErrorCode.MODIFIED_REQUEST)))
    error = check()
    if error is not None:
        return Asked(refuse(work, message, error))
    is_resend = record is not None
    if record is None:
        assert message.destination is not None, "checked above"  # noqa: S101
        decision = rules.decide(work.directory, message, message.destination)
        if isinstance(decision, FspiopError):
            return Asked(refuse(work, message, decision))
        error = check_other(decision.to) if decision is not None else None
        if error is not None:
            return Asked(refuse(work, message, error))
        record = _new_record(work, message, body_hash, decision)
    error = check_can_be_reached(work, record.answering_fsp, message.resource)
    if error is not None:
        return Asked(refuse(work, message, error))
    forward(work, record.answering_fsp, message, Action.POST, expires_ms=expires_ms, added=record.added)
    work.file(message, record.seq)
    if is_resend:
        return Asked(Outcome(note=RESENT))
    note = Outcome() if record.rerouted_fsp is None else Outcome(note=f"rerouted to {record.rerouted_fsp} by a rule")
    return Asked(note, record)


def _is_modified(record: Record, message: Inbound, body_hash: bytes) -> bool:
    """Whether a known id comes with another body, from another participant, or to another one."""
    return (
        record.request_hash != body_hash
        or record.asking_fsp != message.source
        or message.destination not in (None, record.asked_fsp)
    )


def _new_record(work: Work, message: Inbound, body_hash: bytes, reroute: Reroute | None) -> Record:
    asked_fsp = work.directory.participants[message.destination or ""].name
    record = Record(work.next_id(), message.source, asked_fsp, REQUESTED, body_hash)
    # A rule may send a quote where it was going anyway: then it only adds its headers, which need a record too.
    if reroute is not None:
        record.rerouted_fsp = reroute.to
        record.added_headers = msgspec.json.encode(reroute.headers).decode()
    return record


# --- answering --------------------------------------------------------------------------------------------------


def answer(
    work: Work,
    message: Inbound,
    record: Record | None,
    *,
    body_hash: bytes,
    condition: str | None = None,
    error_code: str | None = None,
    check: Callable[[], FspiopError | None] = lambda: None,
) -> Outcome:
    """Passes terms, or with ``error_code`` a refusal, back to whoever asked, and notes them in ``record``."""
    if record is None:
        return refuse(work, message, FspiopError(ErrorCode.QUOTE_ID_NOT_FOUND))
    if message.source != record.answering_fsp:
        detail = "FSPIOP-Source header should match the participant that was asked"
        return refuse(work, message, FspiopError(ErrorCode.VALIDATION_ERROR, detail))
    error = check()
    if error is not None:
        return refuse(work, message, error)
    if record.response_hash is not None and record.response_hash != body_hash:
        return refuse(work, message, FspiopError(ErrorCode.MODIFIED_REQUEST))
    work.file(message, record.seq)
    # The reference has a code of its own for an error callback that has nowhere to go.
    unreachable = ErrorCode.DESTINATION_FSP_ERROR if error_code is None else ErrorCode.PARTY_NOT_FOUND
    error = check_can_be_reached(work, record.asking_fsp, message.resource, unreachable)
    if error is not None:
        return refuse(work, message, error)
    forward(work, record.asking_fsp, message, Action.PUT if error_code is None else Action.ERROR)
    if record.response_hash is not None:
        return Outcome(note=RESENT)
    record.response_hash = body_hash
    if error_code is None:
        record.state, record.condition = ANSWERED, condition
    else:
        record.state, record.error_code = DECLINED, error_code
    return Outcome()


# --- asking how it stands ---------------------------------------------------------------------------------------


def get(work: Work, message: Inbound, record: Record | None) -> Outcome:
    """Passes a question on to the other side: the hub keeps no terms of its own to answer with."""
    if record is not None and message.source not in (record.asking_fsp, record.answering_fsp):
        return refuse(work, message, FspiopError(ErrorCode.CLIENT_ERROR))
    other = message.destination if message.destination != HUB else None
    added: tuple[Header, ...] = ()
    if record is not None and message.source == record.asking_fsp and other in (None, record.asked_fsp):
        other, added = record.answering_fsp, record.added
    elif record is not None and other is None:
        other = record.asking_fsp
    if record is not None:
        work.file(message, record.seq)
    participant = work.directory.get(other)
    if record is None and participant is None:
        return refuse(work, message, FspiopError(ErrorCode.QUOTE_ID_NOT_FOUND))
    if participant is None:
        return refuse(work, message, unsupported(str(other)))
    error = check_can_be_reached(work, participant.name, message.resource)
    if error is not None:
        return refuse(work, message, error)
    forward(work, participant.name, message, Action.GET, added=added)
    return Outcome()
