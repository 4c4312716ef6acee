"""The operators' listener: who holds its sockets without asking anything is let go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.e2e.running import RunningHub, running

from vuka.api import server
from vuka.httpserver import HEAD_BYTES_MAX, HEADERS_MAX


def _address(hub: RunningHub) -> tuple[str, int]:
    return _at(hub.operators_url)


def _at(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


async def _ends(reader: asyncio.StreamReader) -> bytes:
    """What comes until the hub closes."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    "start", [b"", b"GET /health HTTP/1.1\r\nX: ", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_request_that_does_not_arrive_in_time_ends_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(server, "OPERATORS_REQUEST_SECONDS_MAX", 0.2)
    async with running(tmp_path / "data") as hub:
        reader, writer = await asyncio.open_connection(*_address(hub))
        writer.write(start)
        await _ends(reader)
        writer.close()


async def test_a_request_that_arrives_is_answered_however_long_its_connection_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "OPERATORS_REQUEST_SECONDS_MAX", 0.2)
    async with running(tmp_path / "data") as hub:
        reader, writer = await asyncio.open_connection(*_address(hub))
        for _ in range(2):
            writer.write(b"GET /health HTTP/1.1\r\nHost: hub\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            length = next(each for each in head.decode().lower().split("\r\n") if each.startswith("content-length"))
            await reader.readexactly(int(length.partition(":")[2]))
            # Idle for longer than a request may take: a kept connection has a time of its own.
            await asyncio.sleep(0.3)
        writer.close()


async def test_no_more_connections_are_kept_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "OPERATORS_CONNECTIONS_MAX", 2)
    async with running(tmp_path / "data") as hub:
        kept = [await asyncio.open_connection(*_address(hub)) for _ in range(2)]
        reader, writer = await asyncio.open_connection(*_address(hub))
        assert await _ends(reader) == b""
        kept[0][1].write(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        assert (await _ends(kept[0][0])).startswith(b"HTTP/1.1 200")
        for _, each in kept:
            each.close()
        writer.close()


@pytest.mark.parametrize("part", [b"X: " + b"a" * 1000 + b"\r\n", b"a" * 1000, b"X"])
@pytest.mark.parametrize("start", [b"GET /health", b"GET /health HTTP/1.1\r\nX: "])
async def test_a_head_without_end_is_kept_no_further_than_may_be(tmp_path: Path, start: bytes, part: bytes) -> None:
    async with running(tmp_path / "data") as hub:
        reader, writer = await asyncio.open_connection(*_address(hub))
        writer.write(start)
        many = part * (1 + 3 * HEAD_BYTES_MAX // len(part))
        try:
            async with asyncio.timeout(10):
                for at in range(0, len(many), 10_000):
                    writer.write(many[at : at + 10_000])
                    await writer.drain()
                answer = await reader.read()
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        writer.close()


async def test_more_headers_than_anybody_needs_are_refused_while_they_come(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as hub:
        for address, said in (
            (_address(hub), b"The request has more than 1000 headers."),
            (_at(hub.participants_url), b"There are more than 1000 headers"),
        ):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /health HTTP/1.1\r\n" + b"a:\r\n" * (HEADERS_MAX + 2))
            async with asyncio.timeout(10):
                answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 400")
            assert said in answer
            writer.close()


async def test_a_head_within_the_limit_is_answered_and_a_body_is_no_head(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as hub:
        reader, writer = await asyncio.open_connection(*_address(hub))
        body = b"{" + b" " * (2 * HEAD_BYTES_MAX)
        writer.write(b"POST /participants HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n")
        writer.write(b"X: " + b"a" * (HEAD_BYTES_MAX - 200) + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.write(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        answer = await _ends(reader)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"Invalid request payload JSON format" in answer
        assert b"HTTP/1.1 200" in answer
        writer.close()


async def test_whoever_has_just_come_in_is_answered_though_the_hub_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a busy machine takes to find the door closed.
    monkeypatch.setattr(server, "QUIET_SECONDS", 10)
    async with running(tmp_path / "data") as hub:
        reader, writer = await asyncio.open_connection(*_address(hub))
        stopping = asyncio.create_task(hub.stop())
        async with asyncio.timeout(10):
            while True:
                try:
                    _, other = await asyncio.open_connection(*_address(hub))
                except ConnectionError:
                    break
                other.close()
        writer.write(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        assert (await _ends(reader)).startswith(b"HTTP/1.1 502")
        writer.close()
        await stopping
