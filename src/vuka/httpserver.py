"""Incoming HTTP/1.1 where every microsecond counts: one protocol on httptools, and an application without a framework.

Every payment makes the hub read two messages, and a general server spends more on one than the hub's own rules do
(``docs/dependencies.md`` has the figures). This one does what the participants' API needs and no more: requests whose
head is looked at before their body is read, bodies of a bounded length, one answer each, in order, on kept
connections. What would let a stranger hold the hub's memory or its sockets has a limit: the length of a head, the time
that a request may take to arrive, the time that a connection may be idle, and how many there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Coroutine, Sequence
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, cast

import httptools
import msgspec
import structlog

from vuka.door import Door
from vuka.tls import is_of_before

log: Final = structlog.get_logger("vuka.http")

HEAD_BYTES_MAX: Final = 128 * 1024
"""Bytes in a request's line and headers: what lies between the application's own limit and this, that refuses.

Of one header, too, while it comes: the parser keeps what has come of it and tells nothing until it has come whole.
"""

HEADERS_MAX: Final = 1_000
"""Headers in a request. Each takes memory, and time to be counted, however short it is."""

WRITE_BUFFER_BYTES_MAX: Final = 256 * 1024
"""Bytes of answers that a client has not read yet: beyond that nothing more is done for it until it reads."""

PIPELINED_MAX: Final = 64
"""Requests on one connection that wait for the one before them; beyond that no more of it is read.

Nor where their bodies together have more bytes than one may have.
"""

REFUSED_AT_ONCE_MAX: Final = 64
"""Connections beyond the limit that are told so at once; one more is closed unheard.

By TLS it takes an agreement to tell anybody anything: whoever only begins one is not told, and holds up these at most.
"""

LINGER_SECONDS: Final = 2.0
"""How long what a client still sends is thrown away after its last answer.

To close at once would reset the connection, and the client would lose the answer that says why (RFC 9112 §9.6).
"""

QUIET_SECONDS: Final = 0.5
"""For how long a connection must have had nothing to do for a stop to end it.

What its client has just sent may not have come yet. Until then a request is answered as the last of its connection.
"""

STOP_LOOK_SECONDS: Final = 0.02
"""How often a stop looks which connections have become quiet."""

SHED_SECONDS: Final = 0.05
SHED_MAX: Final = 50
"""Requests that are refused in so many seconds for want of time to answer them; others are not read for the moment.

To read and refuse one costs a good part of what it costs to take it: beyond a thousand a second little else was done.
"""

SWEEP_SECONDS: Final = 1.0
"""How often connections are looked at whose time may be over."""


class Peer:
    """Who is at the other end of a connection, as far as the connection itself tells."""

    __slots__ = ("address", "certificate", "known_as")

    def __init__(self, address: str = "", certificate: bytes | None = None) -> None:
        self.address = address
        """Its IP address; empty where there is none."""
        self.certificate = certificate
        """Its client certificate (DER), which TLS has verified; None where it showed none."""
        self.known_as: object = None
        """What an application has found out about it, to find it out once for a connection."""

    @classmethod
    def of(cls, transport: asyncio.BaseTransport) -> Peer:
        """The peer of a connection that has been made."""
        name = transport.get_extra_info("peername")
        secured = transport.get_extra_info("ssl_object")
        return cls(
            name[0] if isinstance(name, tuple) else "",
            None if secured is None else secured.getpeercert(binary_form=True),
        )


NOBODY: Final = Peer()
"""Of whom nothing is known."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request before its body. Header names are spelled as they came."""

    method: str
    path: bytes
    """Percent-encoded, without the query."""
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    peer: Peer = NOBODY


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a request is answered. A Content-Length is added."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    error_code: str | None = None
    """For whoever counts and logs: what the body says is wrong."""
    sheds: bool = False
    """Whether it refuses for want of time: where that happens often the client is read more slowly."""
    written: bytes = b""
    """All of it as it goes out, where it is known beforehand: see `prepared`."""


def prepared(answer: Answer) -> Answer:
    """An answer that is given often, and always the same."""
    return msgspec.structs.replace(answer, written=_written(answer, is_head=False, is_last=False))


class Fault(StrEnum):
    """What is wrong with a request, or with the moment, before an application sees it."""

    MALFORMED = "the request is not HTTP/1.1"
    HEAD_TOO_LARGE = "the headers are too large"
    TOO_MANY_HEADERS = "there are too many headers"
    BODY_TOO_LARGE = "the body is too large"
    TOO_MANY_CONNECTIONS = "too many connections"


class Exchange(Protocol):
    """A request whose head is accepted."""

    def answer(self, body: bytes) -> Coroutine[Any, Any, Answer]:
        """The answer, once the whole body has come. Never raises."""


class Application(Protocol):
    """What answers requests."""

    body_bytes_max: int
    """The longest body that is read."""

    def accept(self, head: Head) -> Exchange | Answer:
        """Decides by its head whether a request is read further: an `Answer` refuses it. Never raises."""

    def refuse(self, fault: Fault) -> Answer:
        """The answer to what is no request."""


class Limits(msgspec.Struct, frozen=True):
    """What a client may take, in seconds and connections."""

    request_seconds: float = 30.0
    """From the first byte of a request to its last."""
    idle_seconds: float = 75.0
    """Between two requests."""
    connections_max: int = 10_000


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_EMPTY: Final = {
    status: f"HTTP/1.1 {status} {phrase}\r\ncontent-length: 0\r\n\r\n".encode() for status, phrase in _PHRASES.items()
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_Waiting: TypeAlias = tuple["Exchange | Answer", bytes, bool]
"""A request that has come whole: what accepted it, its body, and whether it is a HEAD."""


class _Connection(asyncio.Protocol):
    """One connection: its requests are answered one after the other, in their order."""

    __slots__ = (
        "_accepted",
        "_body",
        "_body_size",
        "_head_read",
        "_headers",
        "_is_busy",
        "_is_coming_in",
        "_is_head",
        "_is_last",
        "_is_lingering",
        "_is_paused",
        "_is_unread",
        "_is_upgrade",
        "_lingers",
        "_may_wait",
        "_parser",
        "_peer",
        "_read",
        "_server",
        "_since",
        "_told",
        "_trailer_size",
        "_transport",
        "_untold",
        "_url",
        "_waiting",
        "_waiting_size",
    )

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._peer = NOBODY
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._read = 0
        """Bytes in what is being read."""
        self._head_read = 0
        """Bytes read before, for as long as the head of the request is not complete."""
        self._trailer_size = 0
        self._told = 0
        """How much the parser had told of the request when it was last looked at, and it had not come whole."""
        self._untold = 0
        """Bytes since the parser told of anything: those of a header that has no end yet."""
        self._is_head = False
        """Whether the method is HEAD."""
        self._may_wait = False
        """Whether the client may be waiting to be told to send the body."""
        self._is_upgrade = False
        """Whether the request wants another protocol: it is read again without that wish."""
        self._accepted: Exchange | Answer | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._waiting: deque[_Waiting] = deque()
        self._waiting_size = 0
        """Bytes in the bodies of those that wait."""
        self._is_busy = False
        """Whether a request is being answered."""
        self._is_coming_in = False
        """Whether a request has begun to come and has not come whole."""
        self._is_paused = False
        """Whether the client does not read its answers."""
        self._is_unread = False
        """Whether the connection is not read, because too many requests wait on it."""
        self._is_last = False
        """Whether nothing more is read: the connection ends with the answers that are owed."""
        self._lingers = False
        """Whether the client may still be sending when it has had its last answer."""
        self._is_lingering = False
        """Whether all is answered, and only what the client still sends is waited for."""
        self._since = 0.0
        """When the request that is coming in began, or when the connection became idle, by the loop's clock."""

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self._peer = Peer.of(transport)
        self._since = self._server.now()
        if self._server.is_outdated(transport):
            self._is_last = True
            self._transport.abort()
            return
        if not self._server.admit(self):
            # There is no room to wait in.
            self._end_with(self._server.application.refuse(Fault.TOO_MANY_CONNECTIONS), lingers=False)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            return
        headers = self._headers
        self._read = len(data)
        self._feed(data)
        if self._is_coming_in or self._headers is headers:
            self._look_at_incomplete(is_new=self._headers is not headers)
        else:
            self._untold = 0
        if self._has_too_many(PIPELINED_MAX) and not self._is_unread and self._transport is not None:
            self._is_unread = True
            self._transport.pause_reading()

    def _has_too_many(self, waiting_max: int) -> bool:
        return len(self._waiting) > waiting_max or self._waiting_size > self._server.application.body_bytes_max

    def _look_at_incomplete(self, *, is_new: bool) -> None:
        """Some of a request has come, or nothing that the parser told of: there is an end to how much that may be."""
        told = len(self._url) + len(self._headers) + self._body_size + self._trailer_size
        self._untold = 0 if is_new or told != self._told else self._untold + self._read
        self._told = told
        if self._is_coming_in and self._accepted is None:
            self._head_read += self._read
        if self._untold > HEAD_BYTES_MAX or self._is_head_too_large(self._head_read):
            self._refuse_head()
        elif self._may_wait and self._accepted is not None and not self._body_size and not self._is_last:
            self._may_wait = False
            if not _waits_to_send(self._headers):
                return
            if isinstance(self._accepted, Answer):
                # The client waits to be told whether to send its body: it is not.
                self._end_with(self._accepted)
            else:
                self._write(_CONTINUE)

    def _is_head_too_large(self, read: int) -> bool:
        """``read`` is the least that is known to be no less than the head: mostly there is nothing to count."""
        if len(self._headers) > HEADERS_MAX:
            return True
        if read <= HEAD_BYTES_MAX:
            return False
        return len(self._url) + sum([len(name) + len(value) for name, value in self._headers]) > HEAD_BYTES_MAX

    def _refuse_head(self) -> None:
        fault = Fault.TOO_MANY_HEADERS if len(self._headers) > HEADERS_MAX else Fault.HEAD_TOO_LARGE
        self._end_with(self._server.application.refuse(fault))
        # Nobody keeps them until the client has gone.
        self._headers = []

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._is_upgrade and not self._is_last:
                    # It is answered as if nobody had asked for another protocol. The parser would pass its body over.
                    data = self._without_upgrade() + data[upgrade.args[0] :]
                    continue
                # What follows a CONNECT can't be told apart.
                self._is_last = True
                self._close_if_done()
            except httptools.HttpParserError:
                self._end_with(self._server.application.refuse(Fault.MALFORMED))
            return

    def _without_upgrade(self) -> bytes:
        """The head of the request again, for a parser of its own, without its wish for another protocol."""
        version = self._parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
        lines += [name + b": " + value for name, value in self._headers if name.lower() != b"upgrade"]
        self._parser = httptools.HttpRequestParser(self)
        self._is_upgrade = False
        return b"\r\n".join([*lines, b"", b""])

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._next()

    def eof_received(self) -> bool:
        """Whoever only stops sending may still be waiting for an answer."""
        self._is_last = True
        self._lingers = False
        self._close_if_done()
        return not self._server.is_secure

    # --- the parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._head_read = self._trailer_size = self._body_size = 0
        self._may_wait = True
        self._accepted = None
        self._body = []
        self._is_coming_in = True
        self._since = self._server.now()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._accepted is None:
            self._headers.append((name, value))
            return
        # What comes behind a body was not there when the request was accepted: it is no header (RFC 9110 §6.5.1).
        self._trailer_size += len(name) + len(value)
        if self._trailer_size > HEAD_BYTES_MAX:
            self._end_with(self._server.application.refuse(Fault.HEAD_TOO_LARGE))

    def on_headers_complete(self) -> None:
        if self._is_last:
            return
        if self._is_head_too_large(self._head_read + self._read):
            self._refuse_head()
            return
        method = self._parser.get_method()
        if self._parser.should_upgrade() and method != b"CONNECT":
            self._is_upgrade = True
            return
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/"):
            try:
                url = httptools.parse_url(self._url)
            except httptools.HttpParserInvalidURLError:
                self._end_with(self._server.application.refuse(Fault.MALFORMED))
                return
            path, query = url.path or b"/", url.query or b""
        self._is_head = method == b"HEAD"
        head = Head(method.decode("ascii"), path, query, self._headers, self._peer)
        self._accepted = self._server.application.accept(head)

    def on_body(self, part: bytes) -> None:
        self._body_size += len(part)
        if self._body_size <= self._server.application.body_bytes_max:
            if not isinstance(self._accepted, Answer):
                self._body.append(part)
        elif isinstance(self._accepted, Answer):
            # It was refused by its head and goes on sending: there is nobody to listen.
            self._end_with(self._accepted)
        else:
            self._end_with(self._server.application.refuse(Fault.BODY_TOO_LARGE))

    def on_message_complete(self) -> None:
        self._is_coming_in = False
        if self._is_last or self._accepted is None:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._is_last = not self._parser.should_keep_alive() or self._server.is_stopping
        self._waiting.append((self._accepted, body, self._is_head))
        self._waiting_size += len(body)
        self._accepted, self._body = None, []
        if not self._is_busy:
            self._next()

    # --- answering ----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begins with the request that has waited longest, if there is one and the client reads its answers."""
        while self._waiting and not self._is_busy and not self._is_paused:
            accepted, body, is_head = self._waiting.popleft()
            self._waiting_size -= len(body)
            if isinstance(accepted, Answer):
                self._answered(accepted, is_head=is_head)
                continue
            self._is_busy = True
            self._server.spawn(self._run(accepted, body, is_head=is_head))

    async def _run(self, exchange: Exchange, body: bytes, *, is_head: bool) -> None:
        try:
            answer = await exchange.answer(body)
        except Exception:
            # A defect of ours: the client learns by a closed connection that nobody knows what came of its request.
            log.exception("a request was not answered")
            self.abort()
            return
        self._is_busy = False
        self._answered(answer, is_head=is_head)
        if self._waiting:
            self._next()

    def _answered(self, answer: Answer, *, is_head: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        is_last = (self._is_last or self._server.is_stopping) and not self._waiting
        if not answer.headers and not answer.body and not is_last:
            self._write(_EMPTY[answer.status])
        elif answer.written and not is_head and not is_last:
            self._write(answer.written)
        else:
            self._write(_written(answer, is_head=is_head, is_last=is_last))
        if not self._is_coming_in:
            self._since = self._server.now()
        if is_last:
            self._is_last = True
            self._close_if_done()
            return
        if answer.sheds and self._server.sheds_too_much_with(self):
            transport.pause_reading()
        if self._is_unread and not self._has_too_many(PIPELINED_MAX // 2):
            self._is_unread = False
            self.read_on()

    def _write(self, content: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(content)

    def _end_with(self, answer: Answer, *, lingers: bool = True) -> None:
        """The last answer of a connection on which nothing more can be understood."""
        if self._is_last:
            return
        self._is_last = True
        # TLS has no such end of one side only.
        self._lingers = lingers and not self._server.is_secure
        self._waiting.append((answer, b"", False))
        if not self._is_busy:
            self._next()

    def _close_if_done(self) -> None:
        if not self._is_last or self._is_busy or self._waiting or self._transport is None:
            return
        if self._transport.is_closing():
            # By TLS a transport that is closed twice can be asked nothing more, nor cut off.
            return
        if not self._lingers:
            self._transport.close()
        elif not self._is_lingering:
            self._is_lingering = True
            self._since = self._server.now()
            self._transport.write_eof()

    def read_on(self) -> None:
        """Goes on reading, unless too much waits on the connection, or its turn has not come."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._is_unread or self._server.holds(self):
            return
        transport.resume_reading()

    # --- what the server does with it ---------------------------------------------------------------------------

    def is_over(self, now: float, limits: Limits) -> bool:
        """Whether it has taken too long: to send a request, to begin one, or to take the last answer."""
        if self._is_lingering and self._is_idle():
            return now - self._since > LINGER_SECONDS
        if self._is_busy and not self._is_paused:
            return False
        return now - self._since > (limits.request_seconds if self._is_coming_in else limits.idle_seconds)

    def is_quiet(self, now: float) -> bool:
        """Whether nothing is under way on it, and has not been for a while."""
        return self._is_idle() and now - self._since > QUIET_SECONDS

    def end(self) -> None:
        """Takes nothing more; closes when what it owes is answered."""
        self._is_last = True
        self._lingers = False
        if self._server.is_secure and self._is_idle():
            # TLS ends with a word of both sides, and whoever keeps a connection idle reads none: it is not waited for.
            self.abort()
        else:
            self._close_if_done()

    def _is_idle(self) -> bool:
        """Whether nothing is coming in, being answered, or on its way out."""
        transport = self._transport
        is_coming_in = self._is_coming_in and not self._is_lingering
        if self._is_busy or is_coming_in or self._waiting or transport is None:
            return False
        return not transport.get_write_buffer_size()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()


def _waits_to_send(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the client sends its body only when it is told to (RFC 9110 §10.1.1)."""
    for name, value in headers:
        if len(name) == 6 and name.lower() == b"expect" and value.lower() == b"100-continue":
            return True
    return False


def _written(answer: Answer, *, is_head: bool, is_last: bool) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    lines.append(f"content-length: {len(answer.body)}")
    if is_last:
        lines.append("connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if is_head else head + answer.body


class HttpServer:
    """A listener for an `Application`. Make it, `start` it on a socket, and `stop` it."""

    def __init__(
        self, application: Application, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.application = application
        self.limits = limits or Limits()
        self.is_stopping = False
        self.is_secure = tls is not None
        self._tls = tls
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._door: Door | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_said_full = False
        self._held: dict[_Connection, None] = {}
        """Connections that are not read, because too much is refused as it is, in the order of their turns."""
        self._shed = 0
        """What has been refused for want of time since that was counted last."""
        self._shed_timer: asyncio.TimerHandle | None = None
        self.quiet = asyncio.Event()
        """Set while there is no connection."""

    async def start(self, listener: socket.socket, *, backlog: int = 2_048) -> None:
        """Begins to listen on a bound socket."""
        self._loop = asyncio.get_running_loop()
        self._door = Door(
            listener,
            lambda: _Connection(self),
            api="participants",
            connections=self._connections.__len__,
            connections_max=self.limits.connections_max + REFUSED_AT_ONCE_MAX,
            tls=self._tls,
            # Before it has ended nobody else looks whether the connection's time is over.
            handshake_seconds=self.limits.request_seconds,
        )
        self._door.open(backlog)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    async def stop(self, timeout_seconds: float) -> None:
        """Takes no more connections, answers what has come or is on its way, and closes.

        Each connection ends with its next answer, or when it has been quiet for a while; also one that has just begun.
        """
        self.is_stopping = True
        for timer in (self._sweeper, self._shed_timer):
            if timer is not None:
                timer.cancel()
        for connection in list(self._held):
            del self._held[connection]
            connection.read_on()
        if self._door is not None:
            self._door.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._become_quiet()
        for connection in list(self._connections):
            connection.abort()
        # Answers to those that have gone away are still being made: what they were asked is decided.
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=timeout_seconds)
        if self._door is not None:
            self._door.break_off()

    async def _become_quiet(self) -> None:
        while self._connections or self.beginning:
            now = self.now()
            for connection in list(self._connections):
                if connection.is_quiet(now):
                    connection.end()
            if self._connections:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.quiet.wait(), STOP_LOOK_SECONDS)
            else:
                await asyncio.sleep(STOP_LOOK_SECONDS)

    def end_connections(self) -> None:
        """Has every connection end with what it owes: its client begins another, and is looked at anew."""
        for connection in list(self._connections):
            connection.end()

    @property
    def beginning(self) -> int:
        """How many connections have been accepted and have not begun."""
        return 0 if self._door is None else self._door.beginning

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def now(self) -> float:
        """The loop's clock, in seconds."""
        assert self._loop is not None  # noqa: S101 - connections come after the start
        return self._loop.time()

    def is_outdated(self, transport: asyncio.BaseTransport) -> bool:
        """Whether what a new connection was verified by has changed meanwhile."""
        return is_of_before(self._tls, transport)

    def admit(self, connection: _Connection) -> bool:
        """Takes note of a connection; False where there are too many."""
        self._connections.add(connection)
        self.quiet.clear()
        if len(self._connections) <= self.limits.connections_max:
            self._has_said_full = False
            return True
        if not self._has_said_full:
            self._has_said_full = True
            log.warning("connections are refused: there are too many", connections_max=self.limits.connections_max)
        return False

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._held.pop(connection, None)
        if not self._connections:
            self.quiet.set()

    def holds(self, connection: _Connection) -> bool:
        """Whether a connection is not read until its turn comes."""
        return connection in self._held

    def sheds_too_much_with(self, connection: _Connection) -> bool:
        """Notes that a request was refused for want of time; True where the connection has to wait for its turn now."""
        if self._shed_timer is None:
            assert self._loop is not None  # noqa: S101 - requests come after the start
            self._shed_timer = self._loop.call_later(SHED_SECONDS, self._shed_more)
        self._shed += 1
        if self._shed <= SHED_MAX:
            return False
        self._held.setdefault(connection)
        return True

    def _shed_more(self) -> None:
        self._shed_timer = None
        self._shed = 0
        for connection in list(islice(self._held, SHED_MAX)):
            del self._held[connection]
            connection.read_on()
        if self._held:
            assert self._loop is not None  # noqa: S101 - requests come after the start
            self._shed_timer = self._loop.call_later(SHED_SECONDS, self._shed_more)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs the answer to a request."""
        assert self._loop is not None  # noqa: S101 - requests come after the start
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        """Closes connections that have taken too long."""
        now = self.now()
        for connection in [each for each in self._connections if each.is_over(now, self.limits)]:
            connection.abort()
        assert self._loop is not None  # noqa: S101 - swept only after the start
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
