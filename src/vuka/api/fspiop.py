"""The participants' API: a raw ASGI application, because every payment passes through it four times.

A request is routed, its headers are checked in the reference's order (hub reference §1.3), its source must be a
participant; then the use case takes it. What is wrong is answered as ``ErrorInformationObject`` with the reference's
status; what is right is answered ``202`` (requests) or ``200`` (callbacks) with an empty body, once it is durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
import structlog

from vuka.api import bulk_quotes, fx_quotes, participants, parties, quotes, transfers
from vuka.api.hub import Hub
from vuka.api.identity import identifier, without
from vuka.api.observed import CHECKED
from vuka.api.request import Request, make_inbound
from vuka.api.signatures import check_signature
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.headers import TOO_LARGE, Headers, check_request
from vuka.fspiop.render import error_body

log: Final = structlog.get_logger("vuka.api")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
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

_JSON: Final = (b"content-type", b"application/json; charset=utf-8")
_EMPTY: Final = ((b"content-length", b"0"),)
_RETRY_AFTER: Final = (b"retry-after", b"5")
"""Seconds after which it is worth asking again, where whoever refused did not say."""


class _TooLargeError(Exception):
    """The body is larger than the hub reads."""


class _GoneError(Exception):
    """The client went away in the middle of its request: what came of it is no message."""


class FspiopApi:
    """The ASGI application of the participants' API."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._body_bytes_max = hub.config.participants_api.body_bytes_max
        settings = hub.config.participants_api
        self._identify = identifier(settings, lambda: hub.directory, hub.now_ms)
        self._certificate_header = settings.client_certificate_header.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status = await self._serve(scope, receive)
        except FspiopError as error:
            await _answer_error(send, error)
            return
        except Exception:
            # Not the path: what follows the resource may be somebody's telephone number.
            log.exception("a request failed", method=scope["method"], resource=scope["path"].split("/")[1])
            await _answer_error(send, FspiopError(ErrorCode.INTERNAL_SERVER_ERROR))
            return
        if status:
            await send({"type": "http.response.start", "status": status, "headers": _EMPTY})
            await send({"type": "http.response.body", "body": b""})
            return
        await _answer_health(send, self._hub)

    async def _serve(self, scope: Scope, receive: Receive) -> int:
        """The status of the answer; 0 for the health page."""
        method: str = scope["method"]
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw_path.partition(b"?")[0]
        if path == b"/health" and method == "GET":
            return 0
        resource, segments, is_error = _segments(path)
        handlers = _handlers(resource, segments, is_error=is_error)
        if handlers is None:
            raise FspiopError(ErrorCode.UNKNOWN_URI, _shown(path))
        handler = handlers.get(method)
        if handler is None:
            allowed = ", ".join(sorted(handlers))
            raise FspiopError(ErrorCode.CLIENT_ERROR, "Method Not Allowed", status=405, headers=(("Allow", allowed),))
        if not self._hub.engine.running:
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub is shutting down")
        headers = Headers.from_asgi(scope["headers"])
        # All of this before the body is read: nobody unknown has the hub hold five megabytes.
        caller = self._identify(headers)
        if self._certificate_header:
            headers = without(headers, self._certificate_header)
        checked = check_request(
            method, resource, headers, trusted_client_id=caller, body_bytes_max=self._body_bytes_max
        )
        hub = self._hub
        sender = hub.directory.get(checked.source)
        if sender is None:
            if resource == "participants":
                # As the reference's account lookup has it, and only there.
                raise FspiopError(ErrorCode.ID_NOT_FOUND, "Requester FSP not found")
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "invalid fspiop-source header: no such participant")
        try:
            body = await self._read(receive)
        except _GoneError:
            return 499
        except _TooLargeError:
            # Only of a body in chunks: that of another its Content-Length has told.
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, TOO_LARGE) from None
        request = Request(
            method=method,
            path=path.decode("ascii", "replace"),
            ids=segments,
            query=_query(scope["query_string"]),
            headers=headers,
            checked=checked,
            body=body,
            resource=resource,
            message_id=hub.new_message_id(),
            received_ms=hub.now_ms(),
        )
        scope[CHECKED] = request
        try:
            check_signature(hub.config.signatures, sender, request)
            return await handler(hub, request)
        except FspiopError as error:
            hub.record(make_inbound(request, request.ids), f"refused: {error}")
            raise

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self._body_bytes_max:
                raise _TooLargeError
            return body
        parts = [body]
        size = len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._body_bytes_max:
                raise _TooLargeError
            parts.append(part)
        return b"".join(parts)


def _segments(path: bytes) -> tuple[str, tuple[str, ...], bool]:
    """The resource, what follows it, and whether the path ends in ``/error``. Raises `FspiopError` 3101."""
    resource, *rest = path[1:].split(b"/")
    is_error = len(rest) > 1 and rest[-1] == b"error"
    if is_error:
        rest.pop()
    try:
        return resource.decode("ascii"), tuple(unquote_to_bytes(each).decode() for each in rest), is_error
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


async def _answer_error(send: Send, error: FspiopError) -> None:
    body = error_body(error)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers]
    if error.status == 503 and not any(name.lower() == "retry-after" for name, _ in error.headers):
        headers.append(_RETRY_AFTER)
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer_health(send: Send, hub: Hub) -> None:
    from vuka.api.health import health

    status, answer = health(hub)
    body = msgspec.json.encode(answer)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
