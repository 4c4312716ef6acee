"""HTTP/1.1 as lean as it gets: asyncio protocols on httptools, for servers and for kept connections to one server.

No header of a request is looked at and none of an answer but its length, bodies are passed on as they came, and a
request is written as the bytes that it was given. A request costs some 10 µs on either side, the larger part of it the
kernel's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import httptools

CONNECTIONS_MAX: Final = 500
"""Connections that one process of participants keeps to a hub: what is to be sent beyond that waits."""

BACKLOG: Final = 1_024

Handler: TypeAlias = Callable[[bytes, bytes, bytes], None]
"""Takes the method, the path and the body of a request that has been answered already."""

Answered: TypeAlias = Callable[[int, bytes], None]
"""Takes the status and the body of an answer. Status 0: there was none, and the body says why."""

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TAKEN: Final = frozenset((b"GET", b"POST"))
"""What is answered 202: the answer to it comes later. The rest, callbacks, are answered 200."""


class _Incoming(asyncio.Protocol):
    """One connection from the hub."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A TCP server has no others; uvloop's are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._listener.connections.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport is not None:
            self._listener.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._transport is not None:
                self._transport.write(_BAD_REQUEST)
                self._transport.close()

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        if self._transport is None:
            return
        method = self._parser.get_method()
        self._transport.write(_ACCEPTED if method in _TAKEN else _OK)
        if not self._parser.should_keep_alive():
            self._transport.close()
        self._listener.handler(method, self._url, self._body)


class Listener:
    """A server on a free port of 127.0.0.1 that answers every request at once and then handles it."""

    def __init__(self, handler: Handler, *, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.connections: set[asyncio.Transport] = set()
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Begins to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Incoming(self), "127.0.0.1", 0, backlog=BACKLOG, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops and ends every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self.connections):
            # Over TLS a close would wait for the other side's word.
            transport.abort()
        await asyncio.sleep(0)


class _Outgoing(asyncio.Protocol):
    """One connection to the hub, with at most one request under way."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._body = b""

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: bytes, answered: Answered) -> None:
        """Sends a request. The connection must be usable and nothing under way on it."""
        assert self._transport is not None  # noqa: S101 - usable, so it has one
        self._answered = answered
        self._transport.write(message)

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends it at once, without a last word over TLS."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._pool.lost(self)
        self._end(0, str(error or "the connection was closed without an answer").encode())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        body = self._body
        self._end(status, body)
        self._pool.free(self)

    def _end(self, status: int, body: bytes) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status, body)


class Connections:
    """Kept connections to one server; requests go out on whichever is free, and wait in order where none is."""

    def __init__(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._max = connections_max
        self._idle: list[_Outgoing] = []
        self._all: set[_Outgoing] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[bytes, Answered]] = deque()
        self._is_closed = False

    def __len__(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def send(self, message: bytes, answered: Answered) -> None:
        """Sends a request, at once or as soon as a connection is free."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                connection.send(message, answered)
                return
        self._waiting.append((message, answered))
        self._open()

    def _open(self) -> None:
        if len(self._all) + len(self._opening) < self._max and not self._is_closed:
            task = asyncio.ensure_future(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if self._waiting and not self._opening and not self._all:
            # It failed: whatever else waits would do so for ever.
            self._open()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Outgoing(self), self._host, self._port, ssl=self._tls)
        except OSError as error:
            if self._waiting:
                _, answered = self._waiting.popleft()
                answered(0, str(error).encode())
            return
        self._all.add(connection)
        self.free(connection)

    def free(self, connection: _Outgoing) -> None:
        """A connection has nothing under way: it takes what waits."""
        if not connection.is_usable:
            return
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: _Outgoing) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if self._waiting:
            self._open()

    async def close(self) -> None:
        """Ends every connection; what waits is answered that it was not sent."""
        self._is_closed = True
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._all):
            connection.abort()
        while self._waiting:
            _, answered = self._waiting.popleft()
            answered(0, b"the connections were closed")
        await asyncio.sleep(0)
