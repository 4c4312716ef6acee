"""A real little oracle on loopback, that answers as a test wants it to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from vuka.sim.server import Answer, Inquiry, Server

WAIT_SECONDS = 8

Behaviour = Callable[[Inquiry], "Answer | Awaitable[Answer] | None"]


class LittleOracle:
    """An oracle. ``lists`` has its answers by path and query; ``behaviour``, where it is set, answers all."""

    def __init__(self) -> None:
        self.server = Server(self._answer)
        self.asked: list[Inquiry] = []
        self.lists: dict[str, list[Any]] = {}
        self.behaviour: Behaviour | None = None
        self._something = asyncio.Event()

    @property
    def url(self) -> str:
        return self.server.url

    def _answer(self, inquiry: Inquiry) -> Answer | Awaitable[Answer] | None:
        self.asked.append(inquiry)
        self._something.set()
        if self.behaviour is not None:
            return self.behaviour(inquiry)
        if inquiry.method == "GET":
            return Answer(200, msgspec.json.encode({"partyList": self.lists.get(inquiry.path, [])}))
        return Answer({"POST": 201, "PUT": 200, "DELETE": 204}[inquiry.method])

    async def heard(self, method: str, path: str) -> Inquiry:
        """The first request with that method and path, awaited."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                self._something.clear()
                found = [each for each in self.asked if (each.method, each.path) == (method, path)]
                if found:
                    return found[0]
                await self._something.wait()

    def paths(self) -> list[tuple[str, str]]:
        """Methods and paths of what it was asked."""
        return [(each.method, each.path) for each in self.asked]


def answering(status: int, body: object = b"") -> Behaviour:
    """Always the same answer; bytes as they are, anything else as JSON."""
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return lambda _inquiry: Answer(status, encoded)


def silent(_inquiry: Inquiry) -> None:
    """Never answers."""


@asynccontextmanager
async def little_oracle(behaviour: Behaviour | None = None) -> AsyncIterator[LittleOracle]:
    """An oracle that listens on a free port."""
    oracle = LittleOracle()
    oracle.behaviour = behaviour
    await oracle.server.start()
    try:
        yield oracle
    finally:
        await oracle.server.stop()
