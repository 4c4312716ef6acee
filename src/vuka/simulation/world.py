"""What everybody in a simulation shares: time, wires, the hub's machine, the story so far, and the first failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Final

import msgspec

from vuka.simulation.loop import VirtualLoop
from vuka.simulation.machine import Clock, Machine
from vuka.simulation.network import Answer, Broken, Call, Network
from vuka.simulation.plan import Plan

RETRY_SECONDS_FIRST: Final = 0.15
RETRY_SECONDS_MAX: Final = 2.0


class Event(msgspec.Struct, frozen=True):
    """One line of a story. ``at_ms`` counts from the beginning."""

    at_ms: float
    text: str


class Failure(msgspec.Struct, frozen=True):
    """What must always be true, and is not."""

    check: str
    what: str
    at_ms: float


class World:
    """One simulated scheme."""

    machine: Machine

    def __init__(self, plan: Plan, loop: VirtualLoop, clock: Clock, network: Network) -> None:
        self.plan = plan
        self.loop = loop
        self.clock = clock
        self.network = network
        self.story: list[Event] = []
        self.failure: Failure | None = None
        self.is_founded = False
        """Whether everybody is there who is to take part."""
        self.failed = asyncio.Event()
        self._outside = copy_context()
        self._tasks: set[asyncio.Task[Any]] = set()

    def tell(self, text: str) -> None:
        """Adds a line to the story, which begins when the scheme is founded."""
        if self.is_founded:
            self.story.append(Event(self.loop.time() * 1000, text))

    def fail(self, check: str, what: str) -> None:
        """Something that must always be true is not; the first counts."""
        if self.failure is None:
            self.failure = Failure(check, what, self.loop.time() * 1000)
            self.is_founded = True
            self.tell(f"FAILED: {check}: {what}")
            self.failed.set()

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Has somebody do something beside everything else."""
        task = self.loop.create_task(coroutine, context=self._outside.copy())
        # Not a set's order, but its memory: what nobody refers to might be forgotten.
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._break(error)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """For whoever looks on from inside the hub's own calls: what it raises is nothing that the hub may see."""
        try:
            yield
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """A defect of the simulation, never of what it simulates, ends it."""
        self.defect = self.defect or error
        self.failed.set()

    defect: Exception | None = None
    """What was raised in the simulation itself."""

    @property
    def is_busy(self) -> bool:
        """Whether anybody is still doing anything."""
        return bool(self._tasks)

    async def ask(self, call: Call, *, operates: bool = False) -> Answer | Broken:
        """One request to the hub, and what comes of it."""
        answered: asyncio.Future[Answer | Broken] = self.loop.create_future()

        def done(outcome: Answer | Broken) -> None:
            if not answered.done():
                answered.set_result(outcome)

        self.machine.ask(call, done, operates=operates)
        return await answered

    async def ask_until(self, call: Callable[[], Call], *, seconds: float, operates: bool = False) -> Answer | Broken:
        """A request, again and again until it is answered by anything but "not now" or so long."""
        pause, ends = RETRY_SECONDS_FIRST, self.loop.time() + seconds
        while True:
            outcome = await self.ask(call(), operates=operates)
            is_no_answer = isinstance(outcome, Broken) or outcome.status >= 500
            if not is_no_answer or self.loop.time() >= ends:
                return outcome
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS_MAX)


def shown(outcome: Answer | Broken) -> str:
    """An answer, for a story."""
    if isinstance(outcome, Broken):
        return outcome.reason
    try:
        information = msgspec.json.decode(outcome.body)["errorInformation"]
        return f"{outcome.status} {information['errorCode']} {information['errorDescription']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return str(outcome.status)


def short(id_: str) -> str:
    """An id, as a story shows it."""
    return id_[:8]
