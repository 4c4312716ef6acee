"""The APIs with what is measured and logged of every request wrapped around them.

A request is a line at ``debug``, a refused one at ``info``: who, what, which error, how long, in which trace; never
what was in it. Which participant sent a request is known only once the API has checked it, so the participants' API
leaves the checked request in the scope under `CHECKED`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection
from time import perf_counter
from typing import Final

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vuka.api.metrics import OTHER, Metrics
from vuka.api.request import Request
from vuka.logs import loggable_id, trace_id

log: Final = structlog.get_logger("vuka.api")

CHECKED: Final = "vuka.checked"
"""Where the scope has the `Request` as soon as its headers are in order and its source is a participant."""

CLIENT_GONE: Final = 499
"""The status that is counted where nobody was there to be answered."""


class _ErrorInformation(msgspec.Struct):
    code: str = msgspec.field(name="errorCode")


class _ErrorAnswer(msgspec.Struct):
    information: _ErrorInformation = msgspec.field(name="errorInformation")


class _Ids(msgspec.Struct):
    """The ids by which a body may name what it is about."""

    transfer: str | None = msgspec.field(name="transferId", default=None)
    quote: str | None = msgspec.field(name="quoteId", default=None)


class ObservedApi:
    """An ASGI application that counts, times and logs the requests of another.

    ``resources`` are the first segments of its paths: others are not told apart.
    """

    def __init__(self, app: ASGIApp, *, api: str, resources: Collection[str], metrics: Metrics) -> None:
        self._app = app
        self._api = api
        self._resources = frozenset(resources)
        self._metrics = metrics
        # Bound once: a bound logger is made anew for each line otherwise.
        self._log = log.bind(api=api)
        self._tells_all = bool(self._log.is_enabled_for(logging.DEBUG))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE
        code: str | None = None

        # No coroutine of its own: every payment passes here.
        def noting(message: Message) -> Awaitable[None]:
            nonlocal status, code
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= 400:
                code = _code_of(message.get("body", b""))
            return send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, status, code, perf_counter() - began)

    def _note(self, scope: Scope, status: int, code: str | None, seconds: float) -> None:
        resource: str = scope["path"][1:].partition("/")[0]
        if resource not in self._resources:
            resource = OTHER
        checked = scope.get(CHECKED)
        participant = checked.checked.source if isinstance(checked, Request) else ""
        self._metrics.request(self._api, resource, scope["method"], participant, status, code, seconds)
        if code is not None:
            self._log.info("a request is refused", code=code, **_about(scope, resource, status, seconds))
        elif self._tells_all:
            self._log.debug("a request is answered", **_about(scope, resource, status, seconds))


def _code_of(body: bytes) -> str | None:
    """The code of an error answer."""
    try:
        return msgspec.json.decode(body, type=_ErrorAnswer).information.code
    except msgspec.DecodeError:
        return None


def _about(scope: Scope, resource: str, status: int, seconds: float) -> dict[str, object]:
    """What may be said of a request."""
    about: dict[str, object] = {
        "method": scope["method"],
        "resource": resource,
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    checked = scope.get(CHECKED)
    if isinstance(checked, Request):
        about |= {
            "participant": checked.checked.source,
            "id": loggable_id(resource, _id_of(checked)),
            "trace_id": trace_id(checked.checked.traceparent),
        }
        return about
    traceparent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
    return about | {"trace_id": trace_id(traceparent.decode("latin-1"))}


def _id_of(request: Request) -> str:
    """What a request is about: its path says it, or its body, as far as it can be read."""
    if request.ids:
        return "/".join(request.ids)
    try:
        ids = msgspec.json.decode(request.body, type=_Ids)
    except msgspec.DecodeError:
        return ""
    return ids.transfer or ids.quote or ""
