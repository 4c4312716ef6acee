"""The door that connections come in by: all of them count, and what can't be accepted is said."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.certificates import Authority

from vuka import door
from vuka.descriptors import shared
from vuka.door import Door


class Hello(asyncio.Protocol):
    """Says so."""

    def __init__(self, known: set[Hello]) -> None:
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._known.add(self)
        transport.write(b"hello")

    def connection_lost(self, _error: Exception | None) -> None:
        self._known.discard(self)


class Listener(socket.socket):
    """Can accept nothing for the first times, for want of what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.wants: list[int] = []
        self.came: asyncio.Queue[int] = asyncio.Queue()
        """0 for each connection that was accepted, and the error for each that was not."""

    def accept(self) -> tuple[socket.socket, object]:
        number = self.wants.pop(0) if self.wants else 0
        if number:
            self.came.put_nowait(number)
            raise OSError(number, os.strerror(number))
        accepted = super().accept()
        self.came.put_nowait(0)
        return accepted


class Opened:
    """An open door."""

    def __init__(self, opened: Door, listener: Listener) -> None:
        self.door = opened
        self.listener = listener
        self.address: tuple[str, int] = listener.getsockname()

    async def first(self, tls: ssl.SSLContext | None = None) -> bytes:
        """What a new connection is told first; empty where it is closed."""
        try:
            reader, writer = await asyncio.open_connection(*self.address, ssl=tls)
        except ConnectionError:
            return b""
        try:
            return await reader.read(5)
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


@asynccontextmanager
async def opened(
    connections_max: int = 10, *, tls: ssl.SSLContext | None = None, handshake_seconds: float = 60.0
) -> AsyncIterator[Opened]:
    known: set[Hello] = set()
    listener = Listener()
    listener.bind(("127.0.0.1", 0))
    made = Door(
        listener,
        lambda: Hello(known),
        api="participants",
        connections=known.__len__,
        connections_max=connections_max,
        tls=tls,
        handshake_seconds=handshake_seconds,
    )
    made.open(100)
    async with asyncio.timeout(20):
        yield Opened(made, listener)
    made.close()
    made.break_off()
    await asyncio.sleep(0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_what_can_not_be_accepted_for_want_of_files_waits_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(door, "PAUSE_SECONDS", 0.01)
    with capture_logs() as lines:
        async with opened() as at:
            at.listener.wants += [number] * 3
            assert await at.first() == b"hello"
            assert [at.listener.came.get_nowait() for _ in range(4)] == [number] * 3 + [0]
    (line,) = lines
    assert (line["log_level"], line["api"], line["error"]) == ("warning", "participants", os.strerror(number))
    assert "LimitNOFILE" in line["event"]


async def test_a_connection_that_has_gone_before_it_is_accepted_stops_nobody() -> None:
    with capture_logs() as lines:
        async with opened() as at:
            at.listener.wants += [errno.ECONNABORTED, errno.EPROTO]
            assert await at.first() == b"hello"
    assert lines == []


async def test_a_door_that_is_closed_while_it_waits_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PAUSE_SECONDS", 3_600.0)
    async with opened() as at:
        at.listener.wants += [errno.EMFILE]
        _, writer = await asyncio.open_connection(*at.address)
        assert await at.listener.came.get() == errno.EMFILE
        at.door.close()
        writer.transport.abort()
        assert await at.first() == b""


async def test_connections_on_which_nobody_begins_tls_count_until_their_time_is_over(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)
    with capture_logs() as lines:
        async with opened(2, tls=authority.server_context("hub"), handshake_seconds=0.5) as at:
            silent = [await asyncio.open_connection(*at.address) for _ in range(2)]
            assert [await at.listener.came.get() for _ in silent] == [0, 0]
            assert at.door.beginning == 2
            assert [await at.first(trusting) for _ in range(3)] == [b""] * 3
            for reader, writer in silent:
                assert await reader.read() == b""
                writer.close()
            assert at.door.beginning == 0
            assert await at.first(trusting) == b"hello"
    assert [line["event"] for line in lines] == ["connections are closed at once: there are too many"]


def test_what_is_too_little_for_all_is_shared_in_proportion() -> None:
    assert shared(100, (60, 30, 10)) == (60, 30, 10)
    assert shared(50, (60, 30, 10)) == (30, 15, 5)
    assert shared(0, (60, 30, 10)) == (1, 1, 1)
