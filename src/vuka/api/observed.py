"""The APIs with what is measured and logged of every request wrapped around them.

A request is a line at ``debug``, a refused one at ``info``: who, what, which error, how long, in which trace; never
what was in it. Those that are refused because there are too many are one line a second, and counted one by one. Which
participant sent a request is known only once the API has checked it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from http import HTTPStatus
from math import inf
from time import monotonic, perf_counter
from typing import Final

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vuka.api.fspiop import RESOURCES, Accepted, FspiopApi
from vuka.api.metrics import OTHER, Metrics
from vuka.api.request import Request
from vuka.errors import ErrorCode
from vuka.httpserver import Answer, Fault, Head
from vuka.logs import loggable_id, trace_id

log: Final = structlog.get_logger("vuka.api")

CLIENT_GONE: Final = 499
"""The status that is counted where nobody was there to be answered."""


BUSY_LINES_SECONDS: Final = 1.0
"""How often it is logged that requests are refused because there are too many."""


class _ErrorInformation(msgspec.Struct):
    code: str = msgspec.field(name="errorCode")


class _ErrorAnswer(msgspec.Struct):
    information: _ErrorInformation = msgspec.field(name="errorInformation")


class _Ids(msgspec.Struct):
    """The ids by which a body may name what it is about."""

    transfer: str | None = msgspec.field(name="transferId", default=None)
    quote: str | None = msgspec.field(name="quoteId", default=None)


class _Notes:
    """What is measured and logged of the requests of one API.

    ``resources`` are the first segments of its paths: others are not told apart.
    """

    def __init__(self, *, api: str, resources: Collection[str], metrics: Metrics) -> None:
        self._api = api
        self._resources = frozenset(resources)
        self._metrics = metrics
        # Bound once: a bound logger is made anew for each line otherwise.
        self._log = log.bind(api=api)
        self._busy = 0
        # A clock that counts from the start of the machine may say little yet.
        self._busy_told = -inf
        self._tells_all = bool(self._log.is_enabled_for(logging.DEBUG))

    def note(
        self,
        method: str,
        resource: str,
        headers: Iterable[tuple[bytes, bytes]],
        request: Request | None,
        status: int,
        code: str | None,
        seconds: float,
    ) -> None:
        """A request was answered; ``request`` is it, checked, where that is how far it came."""
        if resource not in self._resources:
            resource = OTHER
        participant = request.checked.source if request is not None else ""
        self._metrics.request(self._api, resource, method, participant, status, code, seconds)
        if code == ErrorCode.SERVER_BUSY.code and status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._note_busy()
        elif code is not None:
            about = _about(method, resource, headers, request, status, seconds)
            self._log.info("a request is refused", code=code, **about)
        elif self._tells_all:
            self._log.debug("a request is answered", **_about(method, resource, headers, request, status, seconds))

    def _note_busy(self) -> None:
        """One line a second at most, with how many: a hub that is asked too much has better things to do."""
        self._busy += 1
        now = monotonic()
        if now - self._busy_told < BUSY_LINES_SECONDS:
            return
        self._log.warning("requests are refused: there are too many", refused=self._busy)
        self._busy, self._busy_told = 0, now


class ObservedApi:
    """An ASGI application whose requests are counted, timed and logged: the operators'."""

    def __init__(self, app: ASGIApp, *, api: str, resources: Collection[str], metrics: Metrics) -> None:
        self._app = app
        self._notes = _Notes(api=api, resources=resources, metrics=metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE
        code: str | None = None

        async def noting(message: Message) -> None:
            nonlocal status, code
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= 400:
                code = _code_of(message.get("body", b""))
            await send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, noting)
        finally:
            resource: str = scope["path"][1:].partition("/")[0]
            seconds = perf_counter() - began
            self._notes.note(scope["method"], resource, scope["headers"], None, status, code, seconds)


class ObservedFspiopApi:
    """The participants' API with its requests counted, timed and logged: see `vuka.httpserver.Application`."""

    def __init__(self, api: FspiopApi, *, metrics: Metrics) -> None:
        self.body_bytes_max = api.body_bytes_max
        self._api = api
        self._notes = _Notes(api="participants", resources=RESOURCES, metrics=metrics)

    def accept(self, head: Head) -> _Observed | Answer:
        began = perf_counter()
        accepted = self._api.accept(head)
        if isinstance(accepted, Answer):
            self.note(head, None, accepted, perf_counter() - began)
            return accepted
        return _Observed(self, head, accepted, began)

    def refuse(self, fault: Fault) -> Answer:
        return self._api.refuse(fault)

    def note(self, head: Head, request: Request | None, answer: Answer, seconds: float) -> None:
        """A request was answered."""
        resource = head.path[1:].partition(b"/")[0].decode("ascii", "replace")
        self._notes.note(head.method, resource, head.headers, request, answer.status, answer.error_code, seconds)


class _Observed:
    """An accepted request whose answer is waited for."""

    __slots__ = ("_accepted", "_api", "_began", "_head")

    def __init__(self, api: ObservedFspiopApi, head: Head, accepted: Accepted, began: float) -> None:
        self._api = api
        self._head = head
        self._accepted = accepted
        self._began = began

    async def answer(self, body: bytes) -> Answer:
        answer = await self._accepted.answer(body)
        self._api.note(self._head, self._accepted.request, answer, perf_counter() - self._began)
        return answer


def _code_of(body: bytes) -> str | None:
    """The code of an error answer."""
    try:
        return msgspec.json.decode(body, type=_ErrorAnswer).information.code
    except msgspec.DecodeError:
        return None


def _about(
    method: str,
    resource: str,
    headers: Iterable[tuple[bytes, bytes]],
    request: Request | None,
    status: int,
    seconds: float,
) -> dict[str, object]:
    """What may be said of a request."""
    about: dict[str, object] = {
        "method": method,
        "resource": resource,
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    if request is not None:
        about |= {
            "participant": request.checked.source,
            "id": loggable_id(resource, _id_of(request)),
            "trace_id": trace_id(request.checked.traceparent),
        }
        return about
    traceparent = next((value for name, value in headers if name.lower() == b"traceparent"), b"")
    return about | {"trace_id": trace_id(traceparent.decode("latin-1"))}


def _id_of(request: Request) -> str:
    """What a request is about: its path says it, or its body, as far as it can be read."""
    if request.ids:
        return "/".join(request.ids)
    try:
        ids = msgspec.json.decode(request.body, type=_Ids)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return ids.transfer or ids.quote or ""
