"""The participants' HTTP server: order, bounds, and what happens when a handler fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from vuka.sim.server import BODY_BYTES_MAX, HEAD_BYTES_MAX, Answer, Inquiry, Server


class Desk:
    """Answers by path, and what arrived."""

    def __init__(self) -> None:
        self.seen: list[Inquiry] = []
        self.may_answer = asyncio.Event()
        self.has_two = asyncio.Event()

    def __call__(self, inquiry: Inquiry) -> Any:
        self.seen.append(inquiry)
        if len(self.seen) == 2:
            self.has_two.set()
        match inquiry.path:
            case "/later":
                return self._later()
            case "/fails":
                raise ValueError("a bug")
            case "/fails-later":
                return self._fail()
            case "/never":
                return None
            case _:
                return Answer(200, inquiry.path.encode())

    async def _later(self) -> Answer:
        await self.may_answer.wait()
        return Answer(200, b"later")

    async def _fail(self) -> Answer:
        raise ValueError("a bug")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def server(desk: Desk) -> AsyncIterator[Server]:
    server = Server(desk)
    await server.start()
    yield server
    await server.stop()


class Caller:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, text: str | bytes) -> None:
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: status and body."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            return int(head.split(b" ")[1]), await self.reader.readexactly(size)

    async def is_closed(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@pytest.fixture
async def caller(server: Server) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    yield Caller(reader, writer)
    writer.close()


def _get(path: str, *headers: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n" + "".join(f"{each}\r\n" for each in headers) + "\r\n"


async def test_a_connection_serves_many_requests(caller: Caller) -> None:
    for path in ("/a", "/b"):
        caller.send(_get(path))
        assert await caller.answer() == (200, path.encode())


async def test_a_body_that_comes_in_pieces_is_put_together(caller: Caller, desk: Desk) -> None:
    caller.send("POST /a HTTP/1.1\r\nHost: x\r\nFSPIOP-Source: bank\r\nContent-Length: 6\r\n\r\nabc")
    await caller.writer.drain()
    caller.send("def")
    await caller.answer()
    assert (desk.seen[0].method, desk.seen[0].body) == ("POST", b"abcdef")
    assert desk.seen[0].headers["fspiop-source"] == "bank"


async def test_answers_keep_the_order_of_the_requests_however_long_the_first_takes(caller: Caller, desk: Desk) -> None:
    caller.send(_get("/later") + _get("/at-once"))
    await caller.writer.drain()
    await desk.has_two.wait()
    desk.may_answer.set()
    assert await caller.answer() == (200, b"later")
    assert await caller.answer() == (200, b"/at-once")


@pytest.mark.parametrize("path", ["/fails", "/fails-later"])
async def test_a_handler_that_fails_is_told_as_500_and_reported(caller: Caller, path: str) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    caller.send(_get(path))
    assert await caller.answer() == (500, b"")
    assert [str(each) for each in reported] == ["a bug"]
    caller.send(_get("/a"))
    assert await caller.answer() == (200, b"/a")


async def test_a_handler_that_never_answers_leaves_the_connection_open(caller: Caller, desk: Desk) -> None:
    caller.send(_get("/never"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await caller.reader.read(1)
    assert len(desk.seen) == 1


async def test_what_is_no_http_is_refused_and_the_connection_ends(caller: Caller) -> None:
    caller.send("SING A SONG\r\n\r\n")
    assert await caller.answer() == (400, b"")
    assert await caller.is_closed()


async def test_a_body_beyond_the_bound_is_refused_before_it_is_kept(caller: Caller, desk: Desk) -> None:
    caller.send(f"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n")
    caller.send(b"x" * (BODY_BYTES_MAX + 1))
    assert await caller.answer() == (413, b"")
    assert desk.seen == []


async def test_a_head_beyond_the_bound_is_refused(caller: Caller, desk: Desk) -> None:
    caller.send(_get("/a", *(f"X-{number}: {'x' * 1000}" for number in range(HEAD_BYTES_MAX // 1000 + 1))))
    assert await caller.answer() == (431, b"")
    assert desk.seen == []


async def test_a_caller_that_wants_no_more_is_let_go_after_its_answer(caller: Caller) -> None:
    caller.send(_get("/a", "Connection: close"))
    assert await caller.answer() == (200, b"/a")
    assert await caller.is_closed()


async def test_a_stopped_server_ends_its_connections(caller: Caller, server: Server) -> None:
    caller.send(_get("/a"))
    await caller.answer()
    await server.stop()
    assert await caller.is_closed()
