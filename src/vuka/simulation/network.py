"""The network of a simulated scheme: requests and answers that take their time, are lost, and pass each other.

Who is called by name takes a `Call` and gives an `Answer`, or says how the connection was `Broken`. How long a message
is on its way is drawn from what it is, so that leaving another one out of a plan changes nothing for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from random import Random
from typing import Final

import msgspec

from vuka.httpclient import Done, Request, Response, TransportError
from vuka.simulation.loop import Process, VirtualLoop

TIMEOUT_SECONDS: Final = 10.0
"""How long whoever asks waits for an answer."""

QUICK_SECONDS: Final = 0.000_5
"""How long a message is usually on its way, at least."""


class Call(msgspec.Struct, frozen=True):
    """A request as it arrives."""

    sender: str
    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What it is answered."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


class Broken(msgspec.Struct, frozen=True):
    """How a connection ends without an answer."""

    reason: str
    seconds: float = 0.0
    """After how long; 0 with the usual delay."""


Receive = Callable[[Call], Answer | Broken]
"""What a participant does with a call; it decides at once, and acts later."""


class Roughness(msgspec.Struct, frozen=True):
    """How bad a network is: shares of a thousand messages."""

    slow: int = 0
    """On their way for up to `slow_seconds`, and so overtaken by others."""
    slow_seconds: float = 1.0
    lost_requests: int = 0
    lost_answers: int = 0
    """The request was taken, and whoever sent it does not know."""


class Network:
    """Everybody's wires."""

    def __init__(self, loop: VirtualLoop, seed: int, roughness: Roughness) -> None:
        self._loop = loop
        self._seed = seed
        self.roughness = roughness
        self._receivers: dict[str, Receive] = {}
        self._sent: dict[tuple[str, str, str], int] = {}
        self._outside: Context = copy_context()
        self.messages = 0
        self.lost = 0

    def connect(self, name: str, receive: Receive) -> None:
        """Has somebody take calls."""
        self._receivers[name] = receive

    def chance(self, sender: str, method: str, path: str) -> Random:
        """What is drawn about one message, by what it is and the how-manieth of its kind it is."""
        key = (sender, method, path)
        number = self._sent[key] = self._sent.get(key, 0) + 1
        self.messages += 1
        return Random(f"{self._seed}/{sender}/{method}/{path}/{number}")

    def seconds(self, chance: Random) -> float:
        """How long one way takes."""
        if chance.randrange(1_000) < self.roughness.slow:
            return chance.random() * self.roughness.slow_seconds
        return QUICK_SECONDS + chance.random() * 0.004

    def is_lost(self, chance: Random, share: int) -> bool:
        """Whether something never arrives."""
        lost = chance.randrange(1_000) < share
        self.lost += lost
        return lost

    def deliver(self, call: Call, to: str, answered: Callable[[Answer | Broken], None]) -> None:
        """Takes a call to somebody; ``answered`` is called once, in the context in which this was asked for."""
        chance = self.chance(call.sender, call.method, f"{to}{call.path}")
        there, back = self.seconds(chance), self.seconds(chance)
        lost_there = self.is_lost(chance, self.roughness.lost_requests)
        lost_back = self.is_lost(chance, self.roughness.lost_answers)
        context = copy_context()

        def answer(outcome: Answer | Broken, seconds: float) -> None:
            self._loop.call_later(seconds, answered, outcome, context=context)

        def arrive() -> None:
            outcome = self._receivers[to](call) if to in self._receivers else Broken("connection refused")
            if lost_back:
                answer(Broken("the connection was reset"), back)
            else:
                answer(outcome, outcome.seconds if isinstance(outcome, Broken) and outcome.seconds else back)

        if lost_there:
            answer(Broken(f"timed out after {round(TIMEOUT_SECONDS * 1000)} ms"), TIMEOUT_SECONDS)
        else:
            self._loop.call_later(there, arrive, context=self._outside)


class HubClient:
    """How one process of the hub calls participants: see `vuka.httpclient.Client`."""

    def __init__(self, network: Network, process: Process, leaves: Callable[[Call], bool]) -> None:
        """``leaves`` is told of each request as it is sent; whether it goes out."""
        self._network = network
        self._process = process
        self._leaves = leaves
        self._waiting: dict[int, Done] = {}
        self._number = 0
        self._closed = False

    def start(self, request: Request, done: Done) -> None:
        """Sends a request to the participant whose name is the host of its URL."""
        loop = asyncio.get_running_loop()
        if self._closed:
            loop.call_soon(done, TransportError("the client is closed"))
            return
        if not self._process.is_alive:
            return
        host, _, path = request.url.partition("://")[2].partition("/")
        call = Call("hub", request.method, f"/{path}", request.headers, request.body or b"")
        if not self._leaves(call):
            return
        self._number += 1
        number = self._number
        self._waiting[number] = done
        began = loop.time()

        def answered(outcome: Answer | Broken) -> None:
            waiting = self._waiting.pop(number, None)
            if waiting is None:
                return
            if isinstance(outcome, Broken):
                waiting(TransportError(outcome.reason))
                return
            head = "".join(f"{name}: {value}\r\n" for name, value in outcome.headers)
            raw = f"HTTP/1.1 {outcome.status} \r\n{head}\r\n".encode()
            waiting(Response(outcome.status, raw, outcome.body, round((loop.time() - began) * 1000)))

        self._network.deliver(call, host, answered)

    async def close(self) -> None:
        """Ends what is under way."""
        self._closed = True
        waiting, self._waiting = list(self._waiting.values()), {}
        for done in waiting:
            done(TransportError("the client was closed"))
        await asyncio.sleep(0)
