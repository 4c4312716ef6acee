"""The lean server and the lean pool of connections, against each other and against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.certificates import Authority
from tests.test_httpclient import raw_server

from vuka.httpclient import HttpClient, Request, believing
from vuka.sim.bench.wire import Connections, Listener

HEAD = b"%b /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"


class Heard:
    """A listener that keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, bytes]] = []
        self.listener = Listener(lambda *request: self.requests.append(request))


@pytest_asyncio.fixture
async def heard() -> AsyncIterator[Heard]:
    made = Heard()
    await made.listener.start()
    yield made
    await made.listener.stop()


async def _send(connections: Connections, message: bytes) -> tuple[int, bytes]:
    answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
    connections.send(message, lambda status, body: answer.set_result((status, body)))
    async with asyncio.timeout(10):
        return await answer


def _message(method: bytes, path: bytes, body: bytes = b"") -> bytes:
    return HEAD % (method, path, len(body), body)


async def test_requests_are_answered_by_their_method_and_passed_on(heard: Heard) -> None:
    pool = Connections("127.0.0.1", heard.listener.port)
    assert await _send(pool, _message(b"POST", b"transfers", b'{"a":1}')) == (202, b"")
    assert await _send(pool, _message(b"PUT", b"transfers/1", b"{}")) == (200, b"")
    assert await _send(pool, _message(b"GET", b"parties/1")) == (202, b"")
    assert heard.requests == [
        (b"POST", b"/transfers", b'{"a":1}'),
        (b"PUT", b"/transfers/1", b"{}"),
        (b"GET", b"/parties/1", b""),
    ]
    assert len(heard.listener.connections) == 1, "one after another they go over one connection"
    await pool.close()


async def test_what_exceeds_the_connections_waits_in_order(heard: Heard) -> None:
    pool = Connections("127.0.0.1", heard.listener.port, connections_max=2)
    bodies = [str(number).encode() for number in range(50)]
    answers = await asyncio.gather(*(_send(pool, _message(b"POST", b"transfers", each)) for each in bodies))
    assert answers == [(202, b"")] * 50
    assert sorted(body for _, _, body in heard.requests) == sorted(bodies)
    assert len(heard.listener.connections) <= 2
    await pool.close()


async def test_a_body_in_many_pieces_is_put_together(heard: Heard) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", heard.listener.port)
    for byte in _message(b"PUT", b"transfers/1", b"123456"):
        writer.write(bytes((byte,)))
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert heard.requests == [(b"PUT", b"/transfers/1", b"123456")]
    writer.close()


async def test_what_is_not_http_is_refused_and_harms_nobody(heard: Heard) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", heard.listener.port)
    writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    assert heard.requests == []


async def test_a_server_that_goes_away_is_no_answer_and_the_next_request_has_a_new_connection() -> None:
    turn = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        await reader.readuntil(b"\r\n\r\n")
        if turn > 1:
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
            await writer.drain()

    async with raw_server(talk) as url:
        pool = Connections("127.0.0.1", int(url.rpartition(":")[2].strip("/")))
        assert (await _send(pool, _message(b"POST", b"transfers")))[0] == 0
        assert await _send(pool, _message(b"POST", b"transfers")) == (503, b"busy")
        await pool.close()


async def test_where_nobody_listens_every_request_is_told_so() -> None:
    pool = Connections("127.0.0.1", 1, connections_max=1)
    answers = await asyncio.gather(*(_send(pool, _message(b"POST", b"transfers")) for _ in range(3)))
    assert {status for status, _ in answers} == {0}
    await pool.close()


async def test_over_tls_both_sides_speak_to_whom_they_believe(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listener = Listener(lambda *_request: None, tls=authority.server_context("dfsp"))
    await listener.start()
    assert listener.url.startswith("https://")
    client = HttpClient(tls=believing(str(authority.file)))
    answer = await client.send(Request("PUT", f"{listener.url}/transfers/1", (), b"{}"))
    assert answer.status == 200
    await client.close()
    await listener.stop()


@pytest.mark.parametrize("waits", [True, False])
async def test_closing_tells_whoever_still_waits(heard: Heard, waits: bool) -> None:
    pool = Connections("127.0.0.1", heard.listener.port, connections_max=1 if waits else 4)
    told: list[int] = []
    for _ in range(3):
        pool.send(_message(b"POST", b"transfers"), lambda status, _body: told.append(status))
    await pool.close()
    assert told == [0, 0, 0]
