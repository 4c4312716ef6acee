"""The participants' API, without a framework, because every payment passes through it at least twice.

A request is routed, its headers are checked in the reference's order (hub reference §1.3), its source must be a
participant, all before its body is read: nobody unknown has the hub hold five megabytes. Then the use case takes it.
What is wrong is answered as ``ErrorInformationObject`` with the reference's status; what is right is answered ``202``
(requests) or ``200`` (callbacks) with an empty body, once it is durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
import structlog

from vuka.api import bulk_quotes, fx_quotes, participants, parties, quotes, transfers
from vuka.api.hub import Hub
from vuka.api.identity import identifier, without
from vuka.api.request import Request, make_inbound
from vuka.api.signatures import check_signature
from vuka.engine.node import busy
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.headers import HEADERS_TOO_LARGE, TOO_LARGE, Headers, RequestHeaders, check_request
from vuka.fspiop.render import error_body
from vuka.httpserver import HEADERS_MAX, Answer, Fault, Head, prepared
from vuka.switch.directory import Participant

log: Final = structlog.get_logger("vuka.api")

Handler: TypeAlias = Callable[[Hub, Request], Awaitable[int]]

# By resource and shape: the number of segments after the resource, and whether they end in "error".
_ROUTES: Final[Mapping[tuple[str, int, bool], Mapping[str, Handler]]] = {
    ("transfers", 0, False): {"POST": transfers.post},
    ("transfers", 1, False): {"GET": transfers.get, "PUT": transfers.put, "PATCH": transfers.patch},
    ("transfers", 1, True): {"PUT": transfers.put_error},
    ("quotes", 0, False): {"POST": quotes.post},
    ("quotes", 1, False): {"GET": quotes.get, "PUT": quotes.put},
    ("quotes", 1, True): {"PUT": quotes.put_error},
    ("bulkQuotes", 0, False): {"POST": bulk_quotes.post},
    ("bulkQuotes", 1, False): {"GET": bulk_quotes.get, "PUT": bulk_quotes.put},
    ("bulkQuotes", 1, True): {"PUT": bulk_quotes.put_error},
    ("fxQuotes", 0, False): {"POST": fx_quotes.post},
    ("fxQuotes", 1, False): {"GET": fx_quotes.get, "PUT": fx_quotes.put},
    ("fxQuotes", 1, True): {"PUT": fx_quotes.put_error},
    ("parties", 2, False): {"GET": parties.get, "PUT": parties.put},
    ("parties", 3, False): {"GET": parties.get, "PUT": parties.put},
    ("parties", 2, True): {"PUT": parties.put_error},
    ("parties", 3, True): {"PUT": parties.put_error},
    ("participants", 0, False): {"POST": participants.post_batch},
    ("participants", 1, False): {"PUT": participants.put_batch},
    ("participants", 1, True): {"PUT": participants.put_error},
    ("participants", 2, False): {
        "GET": participants.get,
        "POST": participants.post,
        "PUT": participants.put,
        "DELETE": participants.delete,
    },
    ("participants", 3, False): {
        "GET": participants.get,
        "POST": participants.post,
        "PUT": participants.put,
        "DELETE": participants.delete,
    },
    ("participants", 2, True): {"PUT": participants.put_error},
    ("participants", 3, True): {"PUT": participants.put_error},
}

# What FSPIOP documents and this hub does not have: 501, as the reference answers to what it knows and does not do, once
# the headers are in order and the source is a participant. The reference's own handlers come as late.
_NOT_SERVED: Final[Mapping[tuple[str, int, bool], frozenset[str]]] = {
    ("fxTransfers", 0, False): frozenset(("POST",)),
    ("fxTransfers", 1, False): frozenset(("GET", "PUT", "PATCH")),
    ("fxTransfers", 1, True): frozenset(("PUT",)),
    ("bulkTransfers", 0, False): frozenset(("POST",)),
    ("bulkTransfers", 1, False): frozenset(("GET", "PUT")),
    ("bulkTransfers", 1, True): frozenset(("PUT",)),
    ("transactionRequests", 0, False): frozenset(("POST",)),
    ("transactionRequests", 1, False): frozenset(("GET", "PUT")),
    ("transactionRequests", 1, True): frozenset(("PUT",)),
    ("authorizations", 1, False): frozenset(("GET", "PUT")),
    ("authorizations", 1, True): frozenset(("PUT",)),
    ("transactions", 1, False): frozenset(("GET", "PUT")),
    ("transactions", 1, True): frozenset(("PUT",)),
    ("services", 1, False): frozenset(("GET", "PUT")),
    ("services", 3, False): frozenset(("GET", "PUT")),
}


_DECIDED: Final = frozenset(("transfers", "quotes", "fxQuotes", "bulkQuotes"))
"""Resources whose messages wait for a batch."""

_QUESTIONS: Final = frozenset(("GET", "POST"))


def _handlers(resource: str, segments: tuple[str, ...], *, is_error: bool) -> Mapping[str, Handler] | None:
    """What answers to the methods of a path, None where FSPIOP has no such path."""
    shape = (resource, len(segments), is_error)
    if "" in segments or (resource == "services" and segments[:1] != ("FXP",)):
        return None
    handlers = _ROUTES.get(shape)
    if handlers is None and shape in _NOT_SERVED:
        return dict.fromkeys(_NOT_SERVED[shape], _not_served)
    return handlers


async def _not_served(_hub: Hub, request: Request) -> int:
    raise FspiopError(ErrorCode.NOT_IMPLEMENTED, f"this hub does not have /{request.resource}")


RESOURCES: Final = frozenset(("health", *(resource for resource, _, _ in (*_ROUTES, *_NOT_SERVED))))
"""The first segments of this API's paths."""

_JSON: Final = ("content-type", "application/json; charset=utf-8")
_RETRY_AFTER: Final = ("retry-after", "5")
"""Seconds after which it is worth asking again, where whoever refused did not say."""

_ACCEPTED: Final = {status: Answer(status) for status in (200, 202)}

_FAULTS: Final = {
    Fault.MALFORMED: FspiopError(ErrorCode.MALFORMED_SYNTAX, Fault.MALFORMED.value),
    Fault.HEAD_TOO_LARGE: FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, HEADERS_TOO_LARGE),
    Fault.TOO_MANY_HEADERS: FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"There are more than {HEADERS_MAX} headers"),
    Fault.BODY_TOO_LARGE: FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, TOO_LARGE),
    Fault.TOO_MANY_CONNECTIONS: FspiopError(
        ErrorCode.SERVER_BUSY, Fault.TOO_MANY_CONNECTIONS.value, status=503, headers=(("Retry-After", "5"),)
    ),
}


class Accepted(msgspec.Struct):
    """A request whose headers are in order and whose source is a participant: see `vuka.httpserver.Exchange`."""

    hub: Hub
    handler: Handler
    method: str
    path: str
    ids: tuple[str, ...]
    query: dict[str, str]
    headers: Headers
    checked: RequestHeaders
    sender: Participant
    resource: str
    request: Request | None = None
    """The request, once its body has come."""

    async def answer(self, body: bytes) -> Answer:
        """Has the use case take it."""
        hub = self.hub
        request = self.request = Request(
            method=self.method,
            path=self.path,
            ids=self.ids,
            query=self.query,
            headers=self.headers,
            checked=self.checked,
            body=body,
            resource=self.resource,
            message_id=hub.new_message_id(),
            received_ms=hub.now_ms(),
        )
        try:
            check_signature(hub.config.signatures, self.sender, request)
            return _ACCEPTED[await self.handler(hub, request)]
        except FspiopError as error:
            hub.record(make_inbound(request, request.ids), f"refused: {error}")
            return error_answer(error)
        except Exception:
            return _failed(self.method, self.resource)


class FspiopApi:
    """The participants' API: see `vuka.httpserver.Application`."""

    def __init__(self, hub: Hub) -> None:
        settings = hub.config.participants_api
        self.body_bytes_max = settings.body_bytes_max
        self._hub = hub
        self._identify = identifier(settings, lambda: hub.directory, hub.now_ms, hub.tokens)
        self._certificate_header = settings.client_certificate_header.lower()

    def accept(self, head: Head) -> Accepted | Answer:
        """What takes the request's body, or the refusal of its head."""
        try:
            return self._accept(head)
        except FspiopError as error:
            return error_answer(error)
        except Exception:
            return _failed(head.method, head.path.split(b"/")[1].decode("ascii", "replace"))

    def refuse(self, fault: Fault) -> Answer:
        """The answer to what is no request."""
        return error_answer(_FAULTS[fault])

    def _accept(self, head: Head) -> Accepted | Answer:
        method, path, hub = head.method, head.path, self._hub
        if path == b"/health" and method == "GET":
            return _health(hub)
        resource, segments, is_error = _segments(path)
        handlers = _handlers(resource, segments, is_error=is_error)
        if handlers is None:
            raise FspiopError(ErrorCode.UNKNOWN_URI, _shown(path))
        handler = handlers.get(method)
        if handler is None:
            allowed = ", ".join(sorted(handlers))
            raise FspiopError(ErrorCode.CLIENT_ERROR, "Method Not Allowed", status=405, headers=(("Allow", allowed),))
        if not hub.engine.running:
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub is shutting down")
        if resource in _DECIDED and method in _QUESTIONS and not hub.engine.has_room(is_question=True):
            # Before anything of it is looked at: a hub that is asked too much must not work for those it refuses.
            return _BUSY
        headers = Headers.from_raw(head.headers)
        caller = self._identify(headers, head.peer)
        if self._certificate_header:
            headers = without(headers, self._certificate_header)
        checked = check_request(method, resource, headers, trusted_client_id=caller, body_bytes_max=self.body_bytes_max)
        sender = hub.directory.get(checked.source)
        if sender is None:
            if resource == "participants":
                # As the reference's account lookup has it, and only there.
                raise FspiopError(ErrorCode.ID_NOT_FOUND, "Requester FSP not found")
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "invalid fspiop-source header: no such participant")
        return Accepted(
            hub=hub,
            handler=handler,
            method=method,
            path=path.decode("ascii", "replace"),
            ids=segments,
            query=_query(head.query),
            headers=headers,
            checked=checked,
            sender=sender,
            resource=resource,
        )


def _segments(path: bytes) -> tuple[str, tuple[str, ...], bool]:
    """The resource, what follows it, and whether the path ends in ``/error``. Raises `FspiopError` 3101."""
    resource, *rest = path[1:].split(b"/")
    is_error = len(rest) > 1 and rest[-1] == b"error"
    if is_error:
        rest.pop()
    try:
        if b"%" in path:
            rest = [unquote_to_bytes(each) for each in rest]
        return resource.decode("ascii"), tuple([each.decode() for each in rest]), is_error
    except UnicodeDecodeError:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the path is not percent-encoded UTF-8") from None


def _query(query_string: bytes) -> dict[str, str]:
    if not query_string:
        return {}
    try:
        return dict(parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the query is not percent-encoded UTF-8") from None


def _shown(path: bytes) -> str:
    return path[:80].decode("ascii", "backslashreplace")


def error_answer(error: FspiopError) -> Answer:
    """An error as it is answered."""
    headers = [_JSON, *((name.lower(), value) for name, value in error.headers)]
    if error.status == 503 and not any(name.lower() == "retry-after" for name, _ in error.headers):
        headers.append(_RETRY_AFTER)
    return Answer(error.status, tuple(headers), error_body(error), error.code)


_BUSY: Final = prepared(msgspec.structs.replace(error_answer(busy()), sheds=True))


def _failed(method: str, resource: str) -> Answer:
    """A defect of ours. Not the path: what follows the resource may be somebody's telephone number."""
    log.exception("a request failed", method=method, resource=resource)
    return error_answer(FspiopError(ErrorCode.INTERNAL_SERVER_ERROR))


def _health(hub: Hub) -> Answer:
    from vuka.api.health import health

    status, answer = health(hub)
    return Answer(status, (_JSON,), msgspec.json.encode(answer))
