"""A lean HTTP/1.1 server for simulated participants: an asyncio protocol on httptools, and nothing else.

Many may run in one process, each on its own port: to the hub they are separate participants.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias, cast

import httptools
import msgspec

BODY_BYTES_MAX: Final = 6 * 1024 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024
"""Bytes in a request's URL and headers together."""


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
_BAD_REQUEST: Final = Answer(400)
_TOO_LARGE: Final = Answer(413)
_HEAD_TOO_LARGE: Final = Answer(431)
_FAILED: Final = Answer(500)


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in their order, however long one of them takes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_size = 0
        self._size = 0
        self._owed: deque[asyncio.Future[Answer] | Answer] = deque()
        """Answers that wait for the one before them."""
        self._hangs = False
        self._is_last = False
        """Whether the connection ends with the answers that are owed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A TCP server has no others; uvloop's are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport is not None:
            self._server.connections.discard(self._transport)
        self._transport = None
        self._owed.clear()

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end_with(_BAD_REQUEST)
        except httptools.HttpParserError:
            self._end_with(_BAD_REQUEST)

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._size, self._head_size = b"", {}, [], 0, 0

    def on_url(self, url: bytes) -> None:
        self._head_size += len(url)
        if self._head_size <= HEAD_BYTES_MAX:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._server.reads_headers:
            return
        self._head_size += len(name) + len(value)
        if self._head_size <= HEAD_BYTES_MAX:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= BODY_BYTES_MAX:
            self._body.append(part)
        elif not self._is_last:
            self._end_with(_TOO_LARGE)

    def on_message_complete(self) -> None:
        if self._is_last or self._hangs:
            return
        if not self._parser.should_keep_alive():
            self._is_last = True
        if self._head_size > HEAD_BYTES_MAX:
            self._end_with(_HEAD_TOO_LARGE)
            return
        inquiry = Inquiry(
            self._parser.get_method().decode("ascii"), self._url.decode("latin-1"), self._headers, b"".join(self._body)
        )
        try:
            answer = self._server.handler(inquiry)
        except Exception as error:  # whatever went wrong inside, the caller learns that it did
            self._server.report(error)
            self._answer(_FAILED)
            return
        if isinstance(answer, Answer):
            self._answer(answer)
        elif inspect.isawaitable(answer):
            self._answer_later(answer)
        else:
            self._hangs = True

    def _answer(self, answer: Answer) -> None:
        if self._owed:
            self._owed.append(answer)
            return
        self._write(answer)
        if self._is_last:
            self._close()

    def _answer_later(self, answer: Awaitable[Answer]) -> None:
        coming: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._owed.append(coming)
        self._server.spawn(self._arrive(answer, coming))

    async def _arrive(self, answer: Awaitable[Answer], coming: asyncio.Future[Answer]) -> None:
        try:
            coming.set_result(await answer)
        except Exception as error:  # whatever went wrong inside, the caller learns that it did
            self._server.report(error)
            coming.set_result(_FAILED)
        while self._owed:
            first = self._owed[0]
            if isinstance(first, asyncio.Future):
                if not first.done():
                    return
                first = first.result()
            self._owed.popleft()
            self._write(first)
        if self._is_last:
            self._close()

    def _end_with(self, answer: Answer) -> None:
        """The last answer of a connection on which nothing more can be understood."""
        self._is_last = True
        self._answer(answer)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

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
        """Runs something beside; it ends with the server, and an error of it is reported."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def report(self, error: BaseException) -> None:
        """Tells the loop's exception handler of an error that nobody awaits."""
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"the participant at {self.url} failed", "exception": error}
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report(error)
