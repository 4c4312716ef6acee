"""A lean HTTP/1.1 server for simulated participants: an asyncio protocol on httptools, and nothing else.

Many may run in one process, each on its own port: to the hub they are separate participants.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias, cast

import httptools
import msgspec

BODY_BYTES_MAX: Final = 6 * 1024 * 1024


class Inquiry(msgspec.Struct, frozen=True):
    """One request as a participant sees it; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What is answered."""

    status: int
    body: bytes = b""


Handler: TypeAlias = Callable[[Inquiry], "Answer | Awaitable[Answer] | None"]
"""Answers a request, at once or later; None never answers: the connection hangs."""

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_EMPTY: Final = {
    status: f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\n\r\n".encode() for status, phrase in _PHRASES.items()
}


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in their order."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A TCP server has no others; uvloop's are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport is not None:
            self._server.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._write(Answer(400))
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._size = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._server.reads_headers:
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= BODY_BYTES_MAX:
            self._body.append(part)

    def on_message_complete(self) -> None:
        if self._size > BODY_BYTES_MAX:
            self._write(Answer(413))
            return
        inquiry = Inquiry(
            self._parser.get_method().decode("ascii"), self._url.decode("latin-1"), self._headers, b"".join(self._body)
        )
        answer = self._server.handler(inquiry)
        if inspect.isawaitable(answer):
            self._server.spawn(self._answer_later(answer))
        elif isinstance(answer, Answer):
            self._write(answer)

    async def _answer_later(self, answer: Awaitable[Answer]) -> None:
        self._write(await answer)

    def _write(self, answer: Answer) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if not answer.body:
            self._transport.write(_EMPTY[answer.status])
            return
        head = (
            f"HTTP/1.1 {answer.status} {_PHRASES[answer.status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer.body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + answer.body)


class Server:
    """A listening server. ``port`` 0 takes a free one."""

    def __init__(self, handler: Handler, *, host: str = "127.0.0.1", port: int = 0, reads_headers: bool = True) -> None:
        self.handler = handler
        self.reads_headers = reads_headers
        """Whether `Inquiry.headers` is filled: who needs none saves the work."""
        self.host = host
        self.port = port
        self.connections: set[asyncio.Transport] = set()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Begins to listen. Raises `OSError` where the port is taken."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and closes every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for transport in list(self.connections):
            transport.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Awaitable[None]) -> None:
        """Runs something beside; it ends with the server."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
