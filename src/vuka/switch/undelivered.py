"""What a requester is told when its request could not be delivered: FSPIOP error 1001, from the hub.

Only requests that wait for an answer are told of: a lookup, a quote. A transfer ends by its expiration, and a
callback that could not be delivered is parked, and asked for with GET (FSPIOP API 1.1 §3.2.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import FspId
from vuka.switch.work import Action, Command, ErrorBody, Header, Notice, Outcome, Work

RESOURCES: Final = frozenset(("parties", "participants", "quotes", "bulkQuotes", "fxQuotes"))
METHODS: Final = frozenset(("GET", "POST"))


class ReportUndelivered(Command, frozen=True, kw_only=True):
    """The engine gave up on a request that it had passed on."""

    resource: str
    ids: tuple[str, ...]
    source: FspId
    """Who had sent it."""
    to: FspId
    """Who could not be reached."""
    reason: str
    version: str
    """The highest that the request's Accept allows: in what its sender is told."""
    trace: tuple[Header, ...] = ()


def report(work: Work, commands: Sequence[ReportUndelivered]) -> list[Outcome]:
    """Tells the requesters."""
    for command in commands:
        if work.directory.get(command.source) is None:
            continue
        error = FspiopError(ErrorCode.DESTINATION_COMMUNICATION_ERROR, f"{command.to} cannot be reached")
        work.notify(
            Notice(
                to=command.source,
                action=Action.ERROR,
                resource=command.resource,
                ids=command.ids,
                body=ErrorBody.of(error),
                deadline_ms=work.now_ms + work.scheme.result_deadline_seconds * 1000,
                version=command.version,
                trace=command.trace,
            )
        )
    return [Outcome(note="told the requester") for _ in commands]
