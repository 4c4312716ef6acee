"""Outgoing HTTP: many small messages over kept connections, on libcurl's multi interface.

libcurl does the connections, keep-alive, timeouts and (with https) TLS; asyncio tells it when a socket is ready.
It was measured against the Python clients: an order of magnitude less work for each request
(``docs/dependencies.md``). No redirect is followed, no proxy of the environment is used, only http and https are
spoken, and an answer larger than `ANSWER_BYTES_MAX` is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import pycurl

ANSWER_BYTES_MAX: Final = 256 * 1024
"""The largest answer that is read: participants answer callbacks with nothing."""

_ADDED_BY_LIBCURL: Final = ("Accept", "Content-Type", "Expect")

IDLE_HANDLES_MAX: Final = 256
CONNECTION_AGE_SECONDS_MAX: Final = 60
"""An idle connection older than this is not used again: the other side may be about to close it."""

_FAILURES: Final = {
    pycurl.E_COULDNT_CONNECT: "connection refused",
    pycurl.E_COULDNT_RESOLVE_HOST: "unknown host",
    pycurl.E_OPERATION_TIMEDOUT: "timed out",
    pycurl.E_GOT_NOTHING: "the connection was closed without an answer",
    pycurl.E_RECV_ERROR: "the connection was reset",
    pycurl.E_SEND_ERROR: "the connection was reset while sending",
    pycurl.E_WRITE_ERROR: "the answer is too large",
    pycurl.E_UNSUPPORTED_PROTOCOL: "the URL is not http or https",
    pycurl.E_URL_MALFORMAT: "the URL is malformed",
    pycurl.E_PARTIAL_FILE: "the answer was cut short",
}


class Request(msgspec.Struct, frozen=True):
    """One request. ``body`` None sends none; a GET or DELETE may have one too."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None


class Response:
    """An answer. ``total_ms`` is how long it took from start to end, in milliseconds."""

    __slots__ = ("_raw", "body", "status", "total_ms")

    def __init__(self, status: int, raw_headers: bytes, body: bytes, total_ms: int) -> None:
        self.status = status
        self._raw = raw_headers
        self.body = body
        self.total_ms = total_ms

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; parsed when asked for, because most answers are read no further."""
        found: dict[str, str] = {}
        for line in self._raw.decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                found[name.strip().lower()] = value.strip()
        return found


class TransportError(Exception):
    """No answer: the message is a short reason."""


Done = Callable[[Response | TransportError], None]


class _Exchange:
    """One handle of libcurl, with what it is receiving."""

    __slots__ = ("body", "done", "handle", "raw")

    def __init__(self) -> None:
        self.handle = pycurl.Curl()
        self.done: Done | None = None
        self.raw = bytearray()
        self.body = bytearray()

    def on_header(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            # A 100-continue or the like came before: only the last answer counts.
            self.raw.clear()
        self.raw += line

    def on_body(self, data: bytes) -> int:
        if len(self.body) + len(data) > ANSWER_BYTES_MAX:
            return 0
        self.body += data
        return len(data)


class HttpClient:
    """A client for one event loop. Make it, `start` requests or await `send`, and `close` it."""

    def __init__(
        self,
        *,
        connect_timeout_ms: int = 2_000,
        timeout_ms: int = 10_000,
        idle_connections_max: int = 1_024,
        user_agent: str = "vuka",
    ) -> None:
        self._connect_timeout_ms = connect_timeout_ms
        self._timeout_ms = timeout_ms
        self._user_agent = user_agent
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # How many requests run at once is the caller's to bound, for each of its recipients: a bound here would be
        # shared, and let one that hangs hold up another behind the same address.
        self._multi.setopt(pycurl.M_MAXCONNECTS, idle_connections_max)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watched: dict[int, int] = {}
        self._idle: list[_Exchange] = []
        self._running: dict[Any, _Exchange] = {}
        self._closed = False

    # --- asking -----------------------------------------------------------------------------------------------

    def start(self, request: Request, done: Done) -> None:
        """Starts a request; ``done`` is called once, later, with the answer or a `TransportError`."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if self._closed:
            self._loop.call_soon(done, TransportError("the client is closed"))
            return
        try:
            exchange = self._prepare(request, done)
        except (pycurl.error, UnicodeEncodeError, ValueError) as error:
            self._loop.call_soon(done, TransportError(_reason_of(error)))
            return
        self._running[exchange.handle] = exchange
        # libcurl sets its timer to now: the transfer begins with the next turn of the loop.
        self._multi.add_handle(exchange.handle)

    async def send(self, request: Request) -> Response:
        """One request, awaited. Raises `TransportError`."""
        answer: asyncio.Future[Response | TransportError] = asyncio.get_running_loop().create_future()

        def arrived(outcome: Response | TransportError) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self.start(request, arrived)
        outcome = await answer
        if isinstance(outcome, TransportError):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Ends everything: requests under way end with a `TransportError`."""
        if self._closed:
            return
        self._closed = True
        for exchange in list(self._running.values()):
            self._multi.remove_handle(exchange.handle)
            self._end(exchange, TransportError("the client was closed"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for exchange in self._idle:
            exchange.handle.close()
        self._idle.clear()
        for descriptor in list(self._watched):
            self._unwatch(descriptor)
        self._multi.close()
        await asyncio.sleep(0)

    def _new_exchange(self) -> _Exchange:
        exchange = _Exchange()
        handle = exchange.handle
        setopt = handle.setopt
        setopt(pycurl.NOSIGNAL, 1)
        setopt(pycurl.FOLLOWLOCATION, 0)
        setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        setopt(pycurl.PROXY, "")
        # A path is sent as it was made: an identifier that looks like ``..`` climbs nowhere.
        setopt(pycurl.PATH_AS_IS, 1)
        setopt(pycurl.TCP_NODELAY, 1)
        setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        setopt(pycurl.USERAGENT, self._user_agent)
        setopt(pycurl.CONNECTTIMEOUT_MS, self._connect_timeout_ms)
        setopt(pycurl.TIMEOUT_MS, self._timeout_ms)
        setopt(pycurl.MAXAGE_CONN, CONNECTION_AGE_SECONDS_MAX)
        setopt(pycurl.HEADERFUNCTION, exchange.on_header)
        setopt(pycurl.WRITEFUNCTION, exchange.on_body)
        return exchange

    def _prepare(self, request: Request, done: Done) -> _Exchange:
        lines = [_header_line(name, value) for name, value in request.headers]
        # Nothing is sent that was not asked for: a colon with nothing after it takes back what libcurl would add.
        named = {name.lower() for name, _ in request.headers}
        lines += [f"{name}:" for name in _ADDED_BY_LIBCURL if name.lower() not in named]
        exchange = self._idle.pop() if self._idle else self._new_exchange()
        setopt = exchange.handle.setopt
        try:
            setopt(pycurl.URL, request.url)
            if request.body is None:
                setopt(pycurl.HTTPGET, 1)
                if request.method in ("POST", "PUT", "PATCH"):
                    lines.append("Content-Length: 0")
            else:
                # The body is the bytes themselves: libcurl copies them, and sends their number.
                setopt(pycurl.POSTFIELDS, request.body)
            setopt(pycurl.CUSTOMREQUEST, request.method)
            setopt(pycurl.HTTPHEADER, lines)
        except BaseException:
            exchange.handle.close()
            raise
        exchange.done = done
        exchange.raw.clear()
        exchange.body.clear()
        return exchange

    # --- libcurl's sockets and timer --------------------------------------------------------------------------

    def _on_socket(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._unwatch(descriptor)
            return
        loop = self._loop
        assert loop is not None  # noqa: S101 - a socket exists only after a request was started
        before = self._watched.get(descriptor, 0)
        self._watched[descriptor] = what
        if what & pycurl.POLL_IN and not before & pycurl.POLL_IN:
            loop.add_reader(descriptor, self._ready, descriptor, pycurl.CSELECT_IN)
        elif before & pycurl.POLL_IN and not what & pycurl.POLL_IN:
            loop.remove_reader(descriptor)
        if what & pycurl.POLL_OUT and not before & pycurl.POLL_OUT:
            loop.add_writer(descriptor, self._ready, descriptor, pycurl.CSELECT_OUT)
        elif before & pycurl.POLL_OUT and not what & pycurl.POLL_OUT:
            loop.remove_writer(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        before = self._watched.pop(descriptor, 0)
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if before & pycurl.POLL_IN:
            loop.remove_reader(descriptor)
        if before & pycurl.POLL_OUT:
            loop.remove_writer(descriptor)

    def _on_timer(self, timeout_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout_ms < 0 or self._loop is None or self._closed:
            return
        # Never at once: libcurl calls this from inside its own functions, which must not be entered again.
        self._timer = self._loop.call_later(timeout_ms / 1000, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timer = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _ready(self, descriptor: int, events: int) -> None:
        self._act(descriptor, events)

    def _act(self, descriptor: int, events: int) -> None:
        if self._closed:
            return
        while True:
            code, _running = self._multi.socket_action(descriptor, events)
            if code != pycurl.E_CALL_MULTI_PERFORM:
                break
        self._collect()

    def _collect(self) -> None:
        while True:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                exchange = self._running[handle]
                status = handle.getinfo(pycurl.RESPONSE_CODE)
                total_ms = round(handle.getinfo(pycurl.TOTAL_TIME) * 1000)
                self._multi.remove_handle(handle)
                self._end(exchange, Response(status, bytes(exchange.raw), bytes(exchange.body), total_ms))
            for handle, code, message in failed:
                exchange = self._running[handle]
                total_ms = round(handle.getinfo(pycurl.TOTAL_TIME) * 1000)
                self._multi.remove_handle(handle)
                reason = _FAILURES.get(code) or message or f"libcurl error {code}"
                if code == pycurl.E_OPERATION_TIMEDOUT:
                    reason = f"timed out after {total_ms} ms"
                self._end(exchange, TransportError(reason))
            if not left:
                return

    def _end(self, exchange: _Exchange, outcome: Response | TransportError) -> None:
        self._running.pop(exchange.handle, None)
        done, exchange.done = exchange.done, None
        if isinstance(outcome, TransportError) or len(self._idle) >= IDLE_HANDLES_MAX or self._closed:
            exchange.handle.close()
        else:
            self._idle.append(exchange)
        if done is None:
            return
        try:
            done(outcome)
        except Exception as error:  # what else has ended in this turn is told in any case
            if self._loop is not None:
                context = {"message": "a callback of a request failed", "exception": error}
                self._loop.call_exception_handler(context)


def _header_line(name: str, value: str) -> str:
    if any(mark in name or mark in value for mark in ("\r", "\n", "\0")):
        raise ValueError(f"the header {name!r} has a line end in it")
    # "Name;" is how libcurl is told to send a header that is empty.
    return f"{name}: {value}" if value else f"{name};"


def _reason_of(error: Exception) -> str:
    if isinstance(error, pycurl.error) and len(error.args) > 1:
        return _FAILURES.get(error.args[0]) or str(error.args[1])
    return str(error)
