"""A request on the participants' API, read and checked: what every use case of that API starts from."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.headers import Headers, RequestHeaders
from vuka.fspiop.messages import Message, body_hash, decode
from vuka.ids import IdError, parse_id
from vuka.switch.work import Header, Inbound

M = TypeVar("M", bound=Message)

SECRET_HEADERS: Final = frozenset(
    ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-forwarded-client-cert")
)
"""What lets somebody speak for a participant is neither passed on nor written down.

The header in which a gateway passes a certificate on has the name that the configuration gives it: it is taken out of
a request before anything is made of it.
"""

TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")


class Request(msgspec.Struct, frozen=True):
    """One checked request: its headers are in order, its source is a participant."""

    method: str
    path: str
    ids: tuple[str, ...]
    """The path's segments after the resource, percent-decoded, without a final ``error``."""
    query: dict[str, str]
    headers: Headers
    checked: RequestHeaders
    body: bytes
    resource: str
    message_id: int
    received_ms: int

    def decode(self, message: type[M]) -> M:
        """The body as that message of the version it says it is. Raises `FspiopError`."""
        return decode(message, self.checked.version, self.body)

    def body_hash(self) -> bytes:
        """What tells a resend from a changed message. Raises `FspiopError`."""
        return body_hash(self.body)

    def inbound(self, ids: tuple[str, ...] | None = None) -> Inbound:
        """The message as the switch and the journal take it; ``ids`` where the body names it and not the path."""
        return make_inbound(self, self.ids if ids is None else ids)


def make_inbound(request: Request, ids: tuple[str, ...]) -> Inbound:
    """What is kept of a request."""
    checked, headers = request.checked, request.headers
    pairs = headers.pairs
    if not SECRET_HEADERS.isdisjoint(headers.first):
        pairs = tuple(pair for pair in pairs if pair[0].lower() not in SECRET_HEADERS)
    return Inbound(
        message_id=request.message_id,
        method=request.method,
        path=request.path,
        headers=pairs,
        body=request.body,
        source=checked.source,
        destination=checked.destination,
        resource=request.resource,
        ids=ids,
        version=checked.version._value_,
        answer_version=(checked.versions[0] if checked.versions else checked.version)._value_,
        received_ms=request.received_ms,
        trace=trace_of(headers),
    )


def trace_of(headers: Headers) -> tuple[Header, ...]:
    """The trace context to pass on; of what stands in several headers, as ``tracestate`` may, one list."""
    names = [name for name in TRACE_HEADERS if name in headers.first]
    if not names:
        return ()
    found = ((name, ",".join(value for key, value in headers.pairs if value and key.lower() == name)) for name in names)
    return tuple(pair for pair in found if pair[1])


def path_id(text: str, name: str = "ID") -> bytes:
    """The 128 bits of an id in a path. Raises `FspiopError` 3100 naming the parameter."""
    try:
        return parse_id(text)
    except IdError:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, f"/path/{name} must be a UUID or a ULID") from None


def body_id(text: str, name: str) -> bytes:
    """The 128 bits of an id in a body that its schema allows. Raises `FspiopError` 3100 naming the field."""
    try:
        return parse_id(text)
    except IdError:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, f"/requestBody/{name} must be a UUID or a ULID") from None
