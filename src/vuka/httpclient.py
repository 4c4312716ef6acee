"""Outgoing HTTP/1.1: many small messages over kept connections, with httptools on the event loop's own transports.

A payment makes the hub send three messages, so what one costs is felt: a pool of connections for each origin, one
write for each request, and a parser in C for its answer (``docs/dependencies.md`` has the figures). No redirect is
followed, no proxy of the environment is used, only http and https are spoken, certificates are checked, and an answer
larger than `ANSWER_BYTES_MAX` is refused.

A connection that was kept may have been closed by the other side at the moment at which it is used again. Where not a
byte of an answer had come, the request is sent once more on a new connection, whatever its method: everything that is
sent here may arrive twice (FSPIOP API 1.1 §3.2.5).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import httptools
import msgspec

ANSWER_BYTES_MAX: Final = 256 * 1024
"""The largest answer that is read, headers and body each: participants answer callbacks with nothing."""

IDLE_SECONDS_MAX: Final = 60
"""A connection that was idle for longer is not used again: the other side may be about to close it."""

IDLE_CONNECTIONS_MAX: Final = 64
"""Connections to one origin that are kept while nothing is sent."""

ORIGINS_MAX: Final = 4_096
"""Origins that are remembered; beyond that those without connections are forgotten."""

_PORTS: Final = {"http": 80, "https": 443}
_HEAD_END: Final = b"\r\n\r\n"
_FRAMING: Final = frozenset(("content-length", "transfer-encoding"))
"""What says where a body ends: two of them could say two things."""
_OTHER_MAX: Final = 1_000
_NAME_MAX: Final = 64
_OTHER: Final[set[str]] = set()
"""Names of headers that were sent before and say no such thing; of most messages they are all.

At most `_OTHER_MAX`, no longer than `_NAME_MAX`: participants choose them.
"""
_WITH_LENGTH: Final = frozenset(("POST", "PUT", "PATCH"))
"""Methods that say so where they have no body."""


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
        for line in _last_head(self._raw).decode("latin-1").split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            if colon:
                found[name.strip().lower()] = value.strip()
        return found


def _last_head(raw: bytes) -> bytes:
    """The head that counts: an interim answer (100 Continue, 103 Early Hints) may stand before it."""
    head, _, rest = raw.partition(_HEAD_END)
    while rest and head.partition(b" ")[2].startswith(b"1"):
        head, _, rest = rest.partition(_HEAD_END)
    return head


class TransportError(Exception):
    """No answer: the message is a short reason."""


class Guard(Protocol):
    """Whom a client may connect to."""

    def refusal(self, host: str, address: str, port: int, *, is_secure: bool) -> str | None:
        """Why not to an address that a URL's host has now; None where it may."""


Outcome: TypeAlias = Response | TransportError
Done = Callable[[Outcome], None]


class Client(Protocol):
    """What the courier asks of an HTTP client: `HttpClient`, or the network of a simulation."""

    def start(self, request: Request, done: Done) -> None:
        """Starts a request; ``done`` is called once, later, with the answer or a `TransportError`."""

    async def close(self) -> None:
        """Ends everything: requests under way end with a `TransportError`."""


def believing(ca_file: str) -> ssl.SSLContext | None:
    """For a client that believes the authorities in a file (PEM), and no others; None, the usual ones, without a file.

    Raises `OSError` where the file can't be read or holds none.
    """
    return ssl.create_default_context(cafile=ca_file) if ca_file else None


class _Origin:
    """One scheme, host and port, with the connections to it that are free, the last used at the end."""

    __slots__ = ("authorization", "free", "host", "host_header", "is_secure", "port")

    def __init__(self, text: str) -> None:
        """Raises `TransportError` where the text is no http or https origin."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise TransportError("the URL is malformed") from None
        if parts.scheme not in _PORTS:
            raise TransportError("the URL is not http or https")
        if not parts.hostname or not text.isascii() or any(mark <= " " for mark in text):
            raise TransportError("the URL is malformed")
        self.host = parts.hostname
        self.port = port or _PORTS[parts.scheme]
        self.is_secure = parts.scheme == "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.host_header = host if self.port == _PORTS[parts.scheme] else f"{host}:{self.port}"
        self.authorization = ""
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = f"Authorization: Basic {b64encode(secret.encode()).decode()}"
        self.free: list[_Connection] = []


class _Exchange:
    """One request under way."""

    __slots__ = ("connecting", "connection", "content", "done", "origin", "started")

    def __init__(self, origin: _Origin, content: bytes, done: Done, started: float) -> None:
        self.origin = origin
        self.content = content
        self.done: Done | None = done
        """None once it has its outcome."""
        self.started = started
        self.connection: _Connection | None = None
        self.connecting: asyncio.Task[None] | None = None


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way on it."""

    __slots__ = (
        "_answered",
        "_body",
        "_client",
        "_has_head",
        "_keeps",
        "_parser",
        "_raw",
        "_status",
        "_too_large",
        "exchange",
        "idle_since",
        "is_reused",
        "origin",
        "transport",
    )

    def __init__(self, client: HttpClient, origin: _Origin) -> None:
        self._client = client
        self.origin = origin
        self.exchange: _Exchange | None = None
        self.transport: asyncio.Transport | None = None
        self.is_reused = False
        """Whether an answer came on it before the request that is under way."""
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._raw = b""
        self._body = b""
        self._status = 0
        self._has_head = False
        self._keeps = False
        self._answered = False
        self._too_large = False

    def send(self, exchange: _Exchange) -> None:
        """Sends the request; its answer ends it."""
        assert self.transport is not None  # noqa: S101 - connections are handed out when they are made
        self.exchange = exchange
        exchange.connection = self
        self.transport.write(exchange.content)

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            # Nobody asked: what this is, no later request may take for its answer.
            self.abandon()
            return
        if not self._has_head:
            self._raw += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the answer is in another protocol")
            return
        except httptools.HttpParserError:
            if not self._answered:
                self._fail("the answer is not HTTP")
                return
            self._keeps = False
        if self._answered:
            self._finish()
        elif self._too_large or len(self._raw) > 2 * ANSWER_BYTES_MAX:
            self._fail("the answer is too large")

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.exchange is None:
            if self in self.origin.free:
                self.origin.free.remove(self)
            return
        if self._has_head and not self._answered and error is None and self._ends_with_connection():
            self._finish()
            return
        if self.is_reused and not self._raw:
            exchange, self.exchange = self.exchange, None
            self._client._reconnect(exchange)
            return
        if isinstance(error, ConnectionResetError):
            self._fail("the connection was reset")
        elif error is not None:
            self._fail(_reason_of(error))
        elif self._raw:
            self._fail("the answer was cut short")
        else:
            self._fail("the connection was closed without an answer")

    def _ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the answer: where nothing else says how long it is."""
        headers = Response(self._status, self._raw, b"", 0).headers
        return "content-length" not in headers and "transfer-encoding" not in headers

    # --- the parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answered:
            # A second answer to one request.
            self._keeps = False

    def on_headers_complete(self) -> None:
        if self._answered:
            return
        self._status = self._parser.get_status_code()
        # Of an interim answer there is nothing to keep but that it came.
        self._has_head = self._status >= 200

    def on_body(self, data: bytes) -> None:
        if self._answered:
            return
        if len(self._body) + len(data) > ANSWER_BYTES_MAX:
            self._too_large = True
            return
        self._body += data

    def on_message_complete(self) -> None:
        if not self._has_head or self._answered or self._too_large:
            return
        self._answered = True
        self._keeps = self._parser.should_keep_alive()

    # --- the end of a request -----------------------------------------------------------------------------------

    def _finish(self) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None  # noqa: S101 - only one that is asked is answered
        now = self._client.now()
        response = Response(self._status, self._raw, self._body, round((now - exchange.started) * 1000))
        if self._keeps and self.transport is not None and not self.transport.is_closing():
            self._reset()
            self.is_reused = True
            self.idle_since = now
            self._client._release(self)
        else:
            self.abandon()
        self._client._end(exchange, response)

    def _fail(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self.abandon()
        if exchange is not None:
            self._client._end(exchange, TransportError(reason))

    def abandon(self) -> None:
        """Closes it at once; nobody waits for anything on it any more."""
        if self in self.origin.free:
            self.origin.free.remove(self)
        if self.transport is not None:
            self.transport.abort()


class HttpClient:
    """A client for one event loop. Make it, `start` requests or await `send`, and `close` it."""

    def __init__(
        self,
        *,
        connect_timeout_ms: int = 2_000,
        timeout_ms: int = 10_000,
        tls: ssl.SSLContext | None = None,
        user_agent: str = "vuka",
        guard: Guard | None = None,
    ) -> None:
        """``tls`` says whose certificates are believed; None: those that the machine believes. None guards nothing."""
        self._guard = guard
        self._connect_timeout = connect_timeout_ms / 1000
        self._timeout = timeout_ms / 1000
        self._tls = tls
        self._user_agent = user_agent
        self._origins: dict[str, _Origin] = {}
        # How many requests run at once is the caller's to bound, for each of its recipients: a bound here would be
        # shared, and let one that hangs hold up another behind the same address.
        self._running: dict[_Exchange, None] = {}
        """In the order of their start, which is that of their deadlines: all have the same time."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # --- asking -------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The loop's clock, in seconds."""
        return self._running_loop().time()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def start(self, request: Request, done: Done) -> None:
        """Starts a request; ``done`` is called once, later, with the answer or a `TransportError`."""
        loop = self._running_loop()
        if self._closed:
            loop.call_soon(done, TransportError("the client is closed"))
            return
        try:
            origin, target = self._locate(request.url)
            content = self._written(request, origin, target)
        except TransportError as error:
            loop.call_soon(done, error)
            return
        exchange = _Exchange(origin, content, done, loop.time())
        self._running[exchange] = None
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._on_timeout)
        connection = self._free(origin, exchange.started)
        if connection is None:
            self._connect(exchange)
        else:
            connection.send(exchange)

    async def send(self, request: Request) -> Response:
        """One request, awaited. Raises `TransportError`."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def arrived(outcome: Outcome) -> None:
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for exchange in list(self._running):
            self._give_up(exchange, "the client was closed")
        for origin in self._origins.values():
            for connection in list(origin.free):
                connection.abandon()
        # Transports tell their end with the next turn of the loop.
        await asyncio.sleep(0)

    def _locate(self, url: str) -> tuple[_Origin, str]:
        """The origin of a URL, and what is asked of it. Raises `TransportError`."""
        path_start = url.find("/", url.find("://") + 3)
        text = url if path_start < 0 else url[:path_start]
        target = "/" if path_start < 0 else url[path_start:].partition("#")[0]
        if "?" in text or "#" in text:
            raise TransportError("the URL is malformed")
        origin = self._origins.get(text)
        if origin is None:
            origin = _Origin(text)
            if len(self._origins) >= ORIGINS_MAX:
                self._origins = {key: each for key, each in self._origins.items() if each.free}
            self._origins[text] = origin
        return origin, target

    def _written(self, request: Request, origin: _Origin, target: str) -> bytes:
        """A request as it goes over the wire. Raises `TransportError` for what would be none, or two."""
        body = request.body
        lines = [
            f"{request.method} {target} HTTP/1.1",
            f"Host: {origin.host_header}",
            f"User-Agent: {self._user_agent}",
            *map(": ".join, request.headers),
        ]
        if origin.authorization:
            lines.append(origin.authorization)
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        elif request.method in _WITH_LENGTH:
            lines.append("Content-Length: 0")
        if not _OTHER.issuperset(dict(request.headers)) and _frames(request.headers):
            raise TransportError("Content-Length and Transfer-Encoding are the client's to set")
        head = "\r\n".join(lines)
        ends = len(lines) - 1
        if head.count("\n") != ends or head.count("\r") != ends or "\0" in head:
            raise TransportError("the URL or a header has a line end in it")
        if " " in target:
            raise TransportError("the URL is malformed")
        try:
            written = head.encode("ascii")
        except UnicodeEncodeError:
            raise TransportError("the URL or a header is not ASCII") from None
        return b"%b\r\n\r\n%b" % (written, body) if body else written + _HEAD_END

    # --- connections --------------------------------------------------------------------------------------------

    def _free(self, origin: _Origin, now: float) -> _Connection | None:
        """The free connection that was used last, if it may be used again."""
        while origin.free:
            connection = origin.free.pop()
            transport = connection.transport
            if transport is not None and not transport.is_closing() and now - connection.idle_since < IDLE_SECONDS_MAX:
                return connection
            connection.abandon()
        return None

    def _release(self, connection: _Connection) -> None:
        """A connection has nothing to do any more."""
        free = connection.origin.free
        free.append(connection)
        if len(free) > IDLE_CONNECTIONS_MAX or connection.idle_since - free[0].idle_since >= IDLE_SECONDS_MAX:
            free[0].abandon()

    def _reconnect(self, exchange: _Exchange) -> None:
        """The other side had closed the connection before the request came: it is sent on a new one."""
        if exchange.done is not None and not self._closed:
            exchange.connection = None
            self._connect(exchange)

    def _connect(self, exchange: _Exchange) -> None:
        exchange.connecting = self._running_loop().create_task(self._open(exchange))

    async def _open(self, exchange: _Exchange) -> None:
        origin = exchange.origin
        tls = self._context() if origin.is_secure else None
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._connected(origin, tls)
        except TimeoutError:
            self._end(exchange, TransportError(f"timed out after {round((self.now() - exchange.started) * 1000)} ms"))
            return
        except TransportError as error:
            self._end(exchange, error)
            return
        except (OSError, UnicodeError) as error:
            self._end(exchange, TransportError(_reason_of(error)))
            return
        finally:
            exchange.connecting = None
        if exchange.done is None:
            connection.abandon()
            return
        connection.send(exchange)

    async def _connected(self, origin: _Origin, tls: ssl.SSLContext | None) -> _Connection:
        """A new connection. Raises `TransportError` where the guard refuses, `OSError` where there is none."""
        guard = self._guard
        if guard is None:
            return await self._connected_to(origin, origin.host, tls)
        # Connected to is what was looked at: another look-up of the name might find another address.
        found = await self._running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        refusals = [guard.refusal(origin.host, each, origin.port, is_secure=origin.is_secure) for each in addresses]
        allowed = [each for each, refusal in zip(addresses, refusals, strict=True) if refusal is None]
        if not allowed:
            raise TransportError(next(iter(refusals)) or "unknown host")
        for each in allowed[:-1]:
            try:
                return await self._connected_to(origin, each, tls)
            except ssl.SSLCertVerificationError:
                raise
            except OSError:
                continue
        return await self._connected_to(origin, allowed[-1], tls)

    async def _connected_to(self, origin: _Origin, host: str, tls: ssl.SSLContext | None) -> _Connection:
        _, connection = await self._running_loop().create_connection(
            lambda: _Connection(self, origin),
            host,
            origin.port,
            ssl=tls,
            server_hostname=origin.host if tls is not None else None,
        )
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    # --- ends ---------------------------------------------------------------------------------------------------

    def _on_timeout(self) -> None:
        """The oldest request may have had its time."""
        self._timer = None
        loop = self._running_loop()
        now = loop.time()
        while self._running:
            exchange = next(iter(self._running))
            left = exchange.started + self._timeout - now
            if left > 0:
                self._timer = loop.call_later(left, self._on_timeout)
                return
            self._give_up(exchange, f"timed out after {round((now - exchange.started) * 1000)} ms")

    def _give_up(self, exchange: _Exchange, reason: str) -> None:
        if exchange.connecting is not None:
            exchange.connecting.cancel()
        connection = exchange.connection
        if connection is not None and connection.exchange is exchange:
            connection.exchange = None
            connection.abandon()
        self._end(exchange, TransportError(reason))

    def _end(self, exchange: _Exchange, outcome: Outcome) -> None:
        self._running.pop(exchange, None)
        done, exchange.done = exchange.done, None
        if done is None:
            return
        try:
            done(outcome)
        except Exception as error:  # what else has ended in this turn is told in any case
            context = {"message": "a callback of a request failed", "exception": error}
            self._running_loop().call_exception_handler(context)


def _frames(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether any of them says where the body ends; what does not is remembered, unless it is long."""
    for name, _ in headers:
        if name.lower() in _FRAMING:
            return True
        if len(name) <= _NAME_MAX and len(_OTHER) < _OTHER_MAX:
            _OTHER.add(name)
    return False


def _reason_of(error: Exception) -> str:
    """Why there is no connection, in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not believed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "unknown host"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was reset"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
