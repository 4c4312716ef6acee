"""The server of the participants' API, against clients that behave and clients that do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Authority

from vuka import httpserver
from vuka.httpserver import HEAD_BYTES_MAX, HEADERS_MAX, Answer, Fault, Head, HttpServer, Limits

BODY_BYTES_MAX = 1_000
CLOSED = b""


class Echo:
    """Answers with what it was sent; refuses what goes to ``/refused``; waits for ``release`` at ``/wait``."""

    body_bytes_max = BODY_BYTES_MAX

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.bodies: list[bytes] = []
        self.answering = asyncio.Event()
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()

    def accept(self, head: Head) -> _Exchange | Answer:
        self.heads.append(head)
        if head.path == b"/shed":
            return Answer(503, sheds=True)
        return Answer(403, (("x-why", "head"),), b"no") if head.path == b"/refused" else _Exchange(self, head)

    def refuse(self, fault: Fault) -> Answer:
        return Answer({Fault.TOO_MANY_CONNECTIONS: 503}.get(fault, 400), (), fault.name.encode())


class _Exchange:
    def __init__(self, app: Echo, head: Head) -> None:
        self._app = app
        self._head = head

    async def answer(self, body: bytes) -> Answer:
        self._app.bodies.append(body)
        if self._head.path == b"/wait":
            self._app.waiting.set()
            await self._app.release.wait()
        self._app.answering.set()
        if self._head.path == b"/large":
            return Answer(200, (), b"x" * 8_000_000)
        return Answer(200, (), body) if body else Answer(202)


class Client:
    """A client that sends exactly the bytes it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, content: bytes) -> None:
        self.writer.write(content)

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        length = 0 if head_only else int(headers["content-length"])
        return int(lines[0].split(" ")[1]), headers, await self.reader.readexactly(length)

    async def end(self) -> None:
        """Waits until the server has closed, properly or not."""
        with contextlib.suppress(ConnectionResetError):
            assert await self.reader.read() == CLOSED

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await self.reader.read()


class Served:
    """A server under test."""

    def __init__(self, app: Echo, server: HttpServer, port: int) -> None:
        self.app = app
        self.server = server
        self.port = port
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client


@asynccontextmanager
async def serving(limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    app = Echo()
    server = HttpServer(app, limits=limits, tls=tls)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await server.start(listener)
    served = Served(app, server, listener.getsockname()[1])
    yield served
    app.release.set()
    for client in served.clients:
        client.writer.close()
    await server.stop(1)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as made:
        yield made


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: hub", b"Content-Length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


async def test_a_request_is_told_apart_into_method_path_query_headers_and_body(served: Served) -> None:
    client = await served.connect()
    client.send(post(b"/a/b%20c?x=1&y", b"hello", b"FSPIOP-Source: payerfsp"))
    assert await client.answer() == (200, {"content-length": "5"}, b"hello")
    (head,) = served.app.heads
    assert (head.method, head.path, head.query) == ("POST", b"/a/b%20c", b"x=1&y")
    assert (b"FSPIOP-Source", b"payerfsp") in head.headers


async def test_an_empty_answer_says_that_it_is_empty(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await client.answer() == (202, {"content-length": "0"}, b"")


async def test_a_url_with_a_host_names_the_same_path(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET http://hub:4000/a?b HTTP/1.1\r\n\r\n")
    await client.answer()
    assert [(each.path, each.query) for each in served.app.heads] == [(b"/a", b"b")]


async def test_requests_that_come_at_once_are_answered_in_their_order(served: Served) -> None:
    client = await served.connect()
    client.send(post(b"/wait", b"one") + post(b"/", b"two") + post(b"/refused", b"three") + post(b"/", b"four"))
    await served.app.waiting.wait()
    served.app.release.set()
    assert [(await client.answer())[2] for _ in range(4)] == [b"one", b"two", b"no", b"four"]
    assert served.app.bodies == [b"one", b"two", b"four"]


async def test_however_many_requests_come_at_once_each_is_answered(served: Served) -> None:
    client = await served.connect()
    client.send(b"".join(post(b"/", b"%d" % number) for number in range(1_000)))
    assert [(await client.answer())[2] for _ in range(1_000)] == [b"%d" % number for number in range(1_000)]


async def test_no_more_is_read_of_a_connection_than_two_bodies_that_wait(served: Served) -> None:
    client = await served.connect()
    client.send(post(b"/wait", b"first"))
    await served.app.waiting.wait()
    for _ in range(20):
        client.send(post(b"/", b"x" * (BODY_BYTES_MAX - 100)))
        # One at a time, as they come from somebody else's machine.
        await asyncio.sleep(0.01)
    assert len(served.app.heads) <= 1 + 2
    served.app.release.set()
    assert (await client.answer())[2] == b"first"
    assert [len((await client.answer())[2]) for _ in range(20)] == [BODY_BYTES_MAX - 100] * 20


async def test_a_body_in_chunks_arrives_whole(served: Served) -> None:
    client = await served.connect()
    client.send(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await client.answer())[2] == b"abcde"


async def test_a_request_that_comes_byte_by_byte_is_one_request(served: Served) -> None:
    client = await served.connect()
    for number in post(b"/", b"slow"):
        client.send(bytes([number]))
        await client.writer.drain()
    assert (await client.answer())[2] == b"slow"


async def test_what_is_refused_by_its_head_is_refused_and_the_connection_goes_on(served: Served) -> None:
    client = await served.connect()
    client.send(post(b"/refused", b"x" * 500) + post(b"/", b"next"))
    status, headers, body = await client.answer()
    assert (status, headers["x-why"], body) == (403, "head", b"no")
    assert (await client.answer())[2] == b"next"
    assert served.app.bodies == [b"next"]


async def test_a_client_that_asks_whether_to_send_its_body_is_told_to_go_on(served: Served) -> None:
    client = await served.connect()
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"ok")
    assert (await client.answer())[2] == b"ok"


async def test_a_client_that_asks_and_sends_its_body_all_the_same_is_answered_at_once(served: Served) -> None:
    client = await served.connect()
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok")
    assert (await client.answer())[::2] == (200, b"ok")


async def test_a_client_that_asks_and_sends_what_is_no_body_is_told_so_and_not_to_go_on(served: Served) -> None:
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(context))
    client = await served.connect()
    client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\nzz\r\n")
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (400, "close", b"MALFORMED")
    assert await client.rest() == CLOSED
    assert failed == []


async def test_a_client_that_asks_whether_to_send_its_body_is_told_not_to(served: Served) -> None:
    client = await served.connect()
    client.send(b"POST /refused HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer())[0] == 403
    assert await client.rest() == CLOSED


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"], ids=["length", "chunks"]
)
async def test_a_body_that_is_too_large_is_refused_and_the_connection_closed(served: Served, framing: bytes) -> None:
    client = await served.connect()
    client.send(b"POST / HTTP/1.1\r\n" + framing + b"x" * 1_001)
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (400, "close", b"BODY_TOO_LARGE")
    assert await client.rest() == CLOSED
    assert served.app.bodies == []


async def test_a_client_that_sends_far_too_much_still_reads_why_it_is_refused(served: Served) -> None:
    def send_all_then_read() -> bytes:
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
            return answer

    assert (await asyncio.to_thread(send_all_then_read)).endswith(b"BODY_TOO_LARGE")
    # It ends when the client does: there is nothing left to wait for.
    await asyncio.wait_for(served.server.quiet.wait(), 1)


async def test_whoever_never_stops_sending_after_its_last_answer_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpserver, "LINGER_SECONDS", 0.1)
    client = await served.connect()
    client.send(b"this is not HTTP\r\n\r\n")
    assert (await client.answer())[2] == b"MALFORMED"
    async with asyncio.timeout(10):
        await served.server.quiet.wait()


async def test_whoever_goes_on_sending_after_a_refusal_is_not_listened_to_for_ever(served: Served) -> None:
    client = await served.connect()
    client.send(b"POST /refused HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5_000)
    assert (await client.answer())[0] == 403
    assert await client.rest() == CLOSED


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\nX",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["value", "name", "trailer", "chunk"],
)
async def test_a_header_that_does_not_end_is_refused_while_it_comes(served: Served, begin: bytes) -> None:
    client = await served.connect()
    client.send(begin + b"y" * (4 * HEAD_BYTES_MAX))
    async with asyncio.timeout(10):
        assert (await client.answer())[2] == b"HEAD_TOO_LARGE"
    assert served.app.bodies == []


async def test_headers_that_do_not_end_are_refused_while_they_come(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET / HTTP/1.1\r\n")
    for number in range(2 * HEAD_BYTES_MAX // 1_000):
        client.send(b"X-%d: " % number + b"y" * 1_000 + b"\r\n")
    async with asyncio.timeout(10):
        assert (await client.answer())[2] == b"HEAD_TOO_LARGE"
    assert served.app.heads == []


async def test_more_headers_than_anybody_needs_are_refused_however_short_they_are(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * HEADERS_MAX + b"\r\n")
    assert (await client.answer())[0] == 202
    # Each takes much more memory than it has bytes, and time whenever the head is counted again.
    client.send(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * (HEADERS_MAX + 1) + b"\r\n")
    assert (await client.answer())[2] == b"TOO_MANY_HEADERS"
    assert await client.rest() == CLOSED
    unfinished = await served.connect()
    unfinished.send(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * (HEADERS_MAX + 2))
    async with asyncio.timeout(10):
        assert (await unfinished.answer())[2] == b"TOO_MANY_HEADERS"
    assert len(served.app.heads) == 1


async def test_a_head_behind_much_else_is_not_too_large(served: Served) -> None:
    client = await served.connect()
    for _ in range(2 * HEAD_BYTES_MAX // 1_000):
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 960\r\n\r\n" + b"x" * 960)
        assert (await client.answer())[0] == 200
    client.send(b"GET / HTTP/1.1\r\nX: " + b"y" * (HEAD_BYTES_MAX - 20) + b"\r\n\r\n")
    assert (await client.answer())[0] == 202


async def test_what_comes_behind_a_body_is_no_header_of_its_request(served: Served) -> None:
    client = await served.connect()
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    client.send(chunked + b"FSPIOP-Source: somebodyelse\r\n\r\n")
    assert (await client.answer())[2] == b"hi"
    assert served.app.heads[0].headers == [(b"Transfer-Encoding", b"chunked")]


async def test_a_head_that_is_too_large_is_refused(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET / HTTP/1.1\r\nX: " + b"y" * (HEAD_BYTES_MAX + 1) + b"\r\n\r\n")
    assert (await client.answer())[2] == b"HEAD_TOO_LARGE"
    assert served.app.heads == []


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "no HTTP", "no header", "version", "two lengths", "length and chunks", "no chunk"],
)
async def test_what_is_not_http_is_refused_and_the_connection_closed(served: Served, content: bytes) -> None:
    client = await served.connect()
    client.send(content)
    assert (await client.answer())[2] == b"MALFORMED"
    assert await client.rest() == CLOSED
    assert served.app.bodies == []


async def test_an_answer_to_head_has_no_body(served: Served) -> None:
    client = await served.connect()
    client.send(b"HEAD /refused HTTP/1.1\r\n\r\n" + post(b"/", b"next"))
    assert (await client.answer(head_only=True))[1]["content-length"] == "2"
    assert (await client.answer())[2] == b"next"


@pytest.mark.parametrize("content", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"])
async def test_the_connection_closes_after_the_answer_where_the_client_wants_that(
    served: Served, content: bytes
) -> None:
    client = await served.connect()
    client.send(content + b"GET / HTTP/1.1\r\n\r\n")
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (202, "close")
    assert await client.rest() == CLOSED


async def test_another_protocol_is_not_spoken_and_the_request_answered(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await client.answer())[0] == 202
    client.send(post(b"/", b"next"))
    assert (await client.answer())[2] == b"next"


@pytest.mark.parametrize("is_whole", [True, False], ids=["at once", "in pieces"])
async def test_a_request_that_would_rather_have_another_protocol_keeps_its_body(served: Served, is_whole: bool) -> None:
    # As the HTTP client of Java sends its first request to whom it does not know.
    request = post(b"/", b"body", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAA")
    sent = post(b"/", b"before") + request + post(b"/", b"after")
    client = await served.connect()
    for part in [sent] if is_whole else [sent[place : place + 1] for place in range(len(sent))]:
        client.send(part)
    assert [(await client.answer())[2] for _ in range(3)] == [b"before", b"body", b"after"]
    assert len(served.app.heads) == 3


async def test_what_follows_a_connect_is_not_read(served: Served) -> None:
    client = await served.connect()
    client.send(b"CONNECT /x HTTP/1.1\r\n\r\n" + post(b"/", b"smuggled"))
    assert (await client.answer())[1]["connection"] == "close"
    await client.end()
    assert b"smuggled" not in served.app.bodies


async def test_whoever_stops_sending_still_gets_its_answer(served: Served) -> None:
    client = await served.connect()
    client.send(post(b"/wait", b"one"))
    client.writer.write_eof()
    await served.app.waiting.wait()
    served.app.release.set()
    assert (await client.answer())[2] == b"one"
    assert await client.rest() == CLOSED


async def test_a_request_cut_off_in_the_middle_is_none(served: Served) -> None:
    client = await served.connect()
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
    client.writer.write_eof()
    assert await client.rest() == CLOSED
    assert served.app.bodies == []


@pytest.mark.parametrize("content", [b"", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf", b"GET / HT"])
async def test_a_connection_that_takes_too_long_is_closed(content: bytes) -> None:
    async with serving(Limits(request_seconds=0.1, idle_seconds=0.1)) as served:
        client = await served.connect()
        client.send(content)
        async with asyncio.timeout(5):
            await client.end()
        assert served.app.bodies == []


async def test_a_connection_on_which_nobody_begins_tls_is_closed_in_the_time_of_a_request(tmp_path: Path) -> None:
    context = Authority(tmp_path).server_context("hub")
    async with serving(Limits(request_seconds=0.2), context) as served, asyncio.timeout(10):
        await (await served.connect()).end()


async def test_a_request_that_is_being_answered_may_take_its_time() -> None:
    async with serving(Limits(request_seconds=0.1, idle_seconds=0.1)) as served:
        client, other = await served.connect(), await served.connect()
        client.send(post(b"/wait", b"one"))
        await served.app.waiting.wait()
        # The sweep that closes the idle one leaves this one alone.
        await other.end()
        served.app.release.set()
        assert (await client.answer())[2] == b"one"


async def test_one_connection_too_many_is_told_so_and_room_is_there_again_later() -> None:
    async with serving(Limits(connections_max=1)) as served:
        first = await served.connect()
        first.send(post(b"/", b"first"))
        assert (await first.answer())[0] == 200
        second = await served.connect()
        assert (await second.answer())[::2] == (503, b"TOO_MANY_CONNECTIONS")
        assert await second.rest() == CLOSED
        first.writer.close()
        await served.server.quiet.wait()
        third = await served.connect()
        third.send(post(b"/", b"third"))
        assert (await third.answer())[2] == b"third"


async def test_nothing_more_is_done_for_a_client_that_does_not_read_its_answers(served: Served) -> None:
    client = await served.connect()
    client.send(b"GET /large HTTP/1.1\r\n\r\n" * 20)
    await served.app.answering.wait()
    assert len(served.app.bodies) < 20
    assert [len((await client.answer())[2]) for _ in range(20)] == [8_000_000] * 20


async def test_a_stop_answers_what_has_come_and_takes_nothing_more(served: Served) -> None:
    idle, busy = await served.connect(), await served.connect()
    busy.send(post(b"/wait", b"one"))
    await served.app.waiting.wait()
    stopping = asyncio.create_task(served.server.stop(5))
    assert await idle.rest() == CLOSED
    with pytest.raises(ConnectionRefusedError):
        await served.connect()
    served.app.release.set()
    status, headers, body = await busy.answer()
    assert (status, headers["connection"], body) == (200, "close", b"one")
    await stopping
    assert served.server.connections == 0


async def test_a_stop_hears_whoever_has_just_come_in_and_whoever_goes_on_asking(served: Served) -> None:
    fresh, kept = await served.connect(), await served.connect()
    kept.send(post(b"/", b"one"))
    assert (await kept.answer())[1].get("connection") is None
    stopping = asyncio.create_task(served.server.stop(5))
    while not served.server.is_stopping:  # noqa: ASYNC110 - a stop does not say that it has begun
        await asyncio.sleep(0)
    for client in (fresh, kept):
        client.send(post(b"/", b"two"))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"two")
        assert await client.rest() == CLOSED
    await stopping


async def test_a_stop_waits_for_a_request_that_has_come_in_part(served: Served) -> None:
    client = await served.connect()
    whole = post(b"/", b"in two parts")
    client.send(whole[:-5])
    while not served.app.heads:  # noqa: ASYNC110 - a head has no event
        await asyncio.sleep(0)
    stopping = asyncio.create_task(served.server.stop(5))
    while not served.server.is_stopping:  # noqa: ASYNC110 - a stop does not say that it has begun
        await asyncio.sleep(0)
    client.send(whole[-5:])
    assert (await client.answer())[2] == b"in two parts"
    await stopping


async def test_a_stop_hears_whoever_is_agreeing_on_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(tls=authority.server_context("hub")) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        while not served.server.beginning:  # noqa: ASYNC110 - nor has a handshake
            await asyncio.sleep(0)
        stopping = asyncio.create_task(served.server.stop(5))
        while not served.server.is_stopping:  # noqa: ASYNC110 - a stop does not say that it has begun
            await asyncio.sleep(0)
        await writer.start_tls(ssl.create_default_context(cafile=authority.file), server_hostname="127.0.0.1")
        client = Client(reader, writer)
        client.send(post(b"/", b"agreed"))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"agreed")
        await stopping
        writer.close()


async def test_a_stop_ends_what_is_closing_for_more_than_one_reason(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(tls=authority.server_context("hub")) as served:
        context = ssl.create_default_context(cafile=authority.file)
        _reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
        while not served.server.connections:  # noqa: ASYNC110 - a connection has no event
            await asyncio.sleep(0)
        (connection,) = served.server._connections
        # Its last answer is given, and the client ends too: its transport is closed once.
        connection.eof_received()
        connection.eof_received()
        await served.server.stop(5)
        assert served.server.connections == 0
        writer.close()


async def test_a_stop_does_not_wait_for_ever(served: Served) -> None:
    client = await served.connect()
    client.send(post(b"/wait", b"one"))
    await served.app.waiting.wait()
    await served.server.stop(0.05)
    await client.end()


async def test_beyond_so_many_refusals_a_client_is_read_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpserver, "SHED_MAX", 1)
    monkeypatch.setattr(httpserver, "SHED_SECONDS", 3_600.0)
    async with serving() as served:
        first, second, third = [await served.connect() for _ in range(3)]
        for client in (first, second):
            client.send(post(b"/shed", b""))
            assert (await client.answer())[0] == 503
        for client, body in ((first, b"first"), (second, b"second"), (third, b"third")):
            client.send(post(b"/", body))
        assert [(await client.answer())[2] for client in (first, third)] == [b"first", b"third"]
        assert served.app.bodies == [b"first", b"third"]
        served.server._shed_more()
        assert (await second.answer())[2] == b"second"


async def test_a_client_that_was_refused_several_times_at_once_has_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpserver, "SHED_MAX", 1)
    monkeypatch.setattr(httpserver, "SHED_SECONDS", 3_600.0)
    async with serving() as served:
        first, often, last = [await served.connect() for _ in range(3)]
        for client, times in ((first, 1), (often, 3), (last, 1)):
            client.send(post(b"/shed", b"") * times)
            assert [(await client.answer())[0] for _ in range(times)] == [503] * times
        for client, body in ((often, b"often"), (last, b"last")):
            client.send(post(b"/", body))
            served.server._shed_more()
            assert (await client.answer())[2] == body


async def test_clients_that_wait_for_their_turn_have_it_without_being_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(httpserver, "SHED_MAX", 2)
    monkeypatch.setattr(httpserver, "SHED_SECONDS", 0.01)
    async with serving() as served:
        clients = [await served.connect() for _ in range(9)]
        for _ in range(3):
            for client in clients:
                client.send(post(b"/shed", b""))
            assert [(await client.answer())[0] for client in clients] == [503] * 9


async def test_a_client_that_goes_while_it_waits_for_its_turn_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpserver, "SHED_MAX", 0)
    monkeypatch.setattr(httpserver, "SHED_SECONDS", 0.01)
    async with serving() as served:
        client = await served.connect()
        client.send(post(b"/shed", b""))
        assert (await client.answer())[0] == 503
        client.writer.close()
        # With no turn to be had it is not read, and so not seen to go: it goes with the turn that comes.
        monkeypatch.setattr(httpserver, "SHED_MAX", 1)
        await served.server.quiet.wait()
