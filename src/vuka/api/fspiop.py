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

from vuka.api import participants, parties, quotes, transfers
from vuka.api.hub import Hub
from vuka.api.request import Request, make_inbound
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.headers import Headers, check_request
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

_JSON: Final = (b"content-type", b"application/json; charset=utf-8")
_EMPTY: Final = ((b"content-length", b"0"),)


class _TooLargeError(Exception):
    """The body is larger than the hub reads."""


class _GoneError(Exception):
    """The client went away in the middle of its request: what came of it is no message."""


class FspiopApi:
    """The ASGI application of the participants' API."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._body_bytes_max = hub.config.participants_api.body_bytes_max
        # Without it nobody is known but by the source it names: a gateway that says otherwise is believed all the same.
        self._trusts_client_id = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status = await self._serve(scope, receive)
        except FspiopError as error:
            await _answer_error(send, error)
            return
        except Exception:
            log.exception("a request failed", method=scope["method"], path=scope["path"])
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
        handlers = _ROUTES.get((resource, len(segments), is_error))
        if handlers is None or "" in segments:
            raise FspiopError(ErrorCode.UNKNOWN_URI, _shown(path))
        handler = handlers.get(method)
        if handler is None:
            allowed = ", ".join(sorted(handlers))
            raise FspiopError(
                ErrorCode.CLIENT_ERROR, f"{method} is not allowed here", status=405, headers=(("Allow", allowed),)
            )
        try:
            body = await self._read(receive)
        except _GoneError:
            return 499
        except _TooLargeError:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {self._body_bytes_max} bytes") from None
        headers = Headers.from_asgi(scope["headers"])
        client_id = headers.get("x-client-id") if self._trusts_client_id else None
        checked = check_request(method, resource, headers, trusted_client_id=client_id)
        hub = self._hub
        if hub.directory.get(checked.source) is None:
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "invalid fspiop-source header: no such participant")
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
        try:
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
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer_health(send: Send, hub: Hub) -> None:
    from vuka.api.health import health

    status, answer = health(hub)
    body = msgspec.json.encode(answer)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
