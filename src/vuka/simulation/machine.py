"""The machine that the hub runs on: one process after another, on one disk and one clock.

The process is the hub as ``vuka serve`` puts it together (`vuka.api.hub.Hub`, both APIs), short of the sockets. When it
dies its memory is abandoned, whatever it was doing; the next one starts from what is on the disk. Logs are not printed:
what the hub says of its own defects is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, MutableMapping
from contextvars import copy_context
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from vuka.api.admin import admin_app
from vuka.api.fspiop import FspiopApi
from vuka.api.hub import Hub
from vuka.api.observed import ObservedFspiopApi
from vuka.api.server import SHUTDOWN_SECONDS
from vuka.config import Config
from vuka.httpserver import Answer as HttpAnswer
from vuka.httpserver import Head
from vuka.simulation.disk import Disk, SimulatedDatabase
from vuka.simulation.loop import Process, VirtualLoop, is_of_the_dead
from vuka.simulation.network import Answer, Broken, Call, HubClient, Network

BEGIN_MS: Final = 1_780_000_000_000
"""When every simulation begins: in May 2026."""

START_SECONDS: Final = 0.05
"""How long a machine takes to start the hub's process."""

RESET: Final = Broken("the connection was reset")


class Clock:
    """Everybody's clock: it goes on with the loop, and is set while nobody looks."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = 0

    def now_ms(self) -> int:
        """UTC milliseconds."""
        return BEGIN_MS + self.offset_ms + int(self._loop.time() * 1000)


class Watcher:
    """Told of what the machine does; what is not of interest is not overridden."""

    def hub_sends(self, call: Call) -> None:
        """A process of the hub sends a request."""

    def hub_is_asked(self, call: Call) -> None:
        """A request has come to a process of the hub."""

    def hub_answers(self, call: Call, answer: Answer) -> None:
        """A process of the hub has answered a request, which the asker does not know yet."""

    def hub_started(self) -> None:
        """A process of the hub takes requests."""

    def hub_died(self, how: str) -> None:
        """A process of the hub has died."""


class Machine:
    """The hub's machine."""

    def __init__(
        self, loop: VirtualLoop, clock: Clock, network: Network, disk: Disk, config: Config, seed: int, watcher: Watcher
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._network = network
        self._disk = disk
        self._config = config
        self._seed = seed
        self._watcher = watcher
        self._outside = copy_context()
        self._buried: list[tuple[Process, Hub]] = []
        self._process: Process | None = None
        self._hub: Hub | None = None
        self._database: SimulatedDatabase | None = None
        self._participants_api: ObservedFspiopApi | None = None
        self._operators_api: Callable[..., Coroutine[Any, Any, None]] | None = None
        self._under_way: dict[int, Callable[[Answer | Broken], None]] = {}
        self._asked = 0
        self._starts = 0
        self.is_listening = False
        self.since_s = 0.0
        """Since when the process takes requests, by the loop's clock."""
        self.crashes = 0
        self.sends_left: int | None = None
        """How many more requests leave before the machine dies; None: it does not die of that."""
        self.when_dead: Callable[[], None] = lambda: None
        """Called once when it has died: whoever has the machine die says how it goes on."""

    @property
    def hub(self) -> Hub | None:
        """The hub, where one runs."""
        return self._hub

    @property
    def waiting(self) -> int:
        """Requests that the hub has not answered."""
        return len(self._under_way)

    # --- its processes ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts a process; it takes requests a little later."""
        self._loop.call_later(START_SECONDS, self._start, context=self._outside)

    def _start(self) -> None:
        self._starts += 1
        process = self._process = Process(f"hub {self._starts}")
        database = self._database = self._disk.open()
        chance = Random(f"{self._seed}/hub/{self._starts}")
        client = HubClient(self._network, process, self._leaves)
        hub = process.context.copy().run(
            lambda: Hub(self._config, database, clock=self._clock.now_ms, jitter=chance.random, client=client)
        )
        self._hub = hub
        self._buried.append((process, hub))
        task = self._loop.start_in(process, self._serve(hub))
        task.add_done_callback(partial(self._started, process), context=self._outside)

    async def _serve(self, hub: Hub) -> None:
        await hub.start()
        if is_of_the_dead():
            return
        self._participants_api = ObservedFspiopApi(FspiopApi(hub), metrics=hub.metrics)
        self._operators_api = admin_app(hub)
        self.is_listening = True
        self.since_s = self._loop.time()

    def _started(self, process: Process, task: asyncio.Task[None]) -> None:
        # One that died while it started says nothing more, whatever its code then meets.
        if task.cancelled() or not process.is_alive:
            return
        error = task.exception()
        if error is not None:
            raise error
        if self.is_listening:
            self._watcher.hub_started()

    def die(self, how: str = "dies") -> None:
        """The process dies, in the middle of whatever it does."""
        process, database = self._process, self._database
        self.sends_left = None
        self._disk.tear = None
        if process is None or database is None:
            return
        self._loop.kill(process)
        database.cut_off()
        self._forget()
        self.crashes += 1
        self._watcher.hub_died(how)
        waiting, self._under_way = list(self._under_way.values()), {}
        for answered in waiting:
            self._loop.call_later(0.001, answered, RESET, context=self._outside.copy())
        when_dead, self.when_dead = self.when_dead, lambda: None
        self._loop.call_soon(when_dead, context=self._outside)

    async def stop(self) -> None:
        """Stops the hub in order, as its process does at SIGTERM, where one runs."""
        process, hub, database = self._process, self._hub, self._database
        if process is None or hub is None or database is None or not self.is_listening:
            return
        self.is_listening = False
        hub.is_stopping = True
        # What it still does, and answers, is its own; it may die meanwhile.
        task = self._loop.start_in(process, self._stop(hub))
        while not task.done() and process.is_alive:
            await asyncio.sleep(0.01)
        if process.is_alive:
            task.result()
            # What is not answered by now never is: the process ends.
            self._loop.kill(process)
            database.close()
            self._forget()
            waiting, self._under_way = list(self._under_way.values()), {}
            for answered in waiting:
                answered(RESET)

    async def _stop(self, hub: Hub) -> None:
        """First requests under way end, as far as they do, then the hub."""
        gives_up_s = self._loop.time() + SHUTDOWN_SECONDS
        while self._under_way and self._loop.time() < gives_up_s:
            await asyncio.sleep(0.005)
        await hub.stop()

    def _forget(self) -> None:
        self._process = self._hub = self._database = None
        self._participants_api = self._operators_api = None
        self.is_listening = False

    def bury(self) -> None:
        """Gives back the memory of all its processes, once the loop runs no more."""
        if self._database is not None:
            self._database.cut_off()
        for process, _ in self._buried:
            self._loop.bury(process)
        self._buried.clear()

    def _leaves(self, call: Call) -> bool:
        if self.sends_left is not None:
            self.sends_left -= 1
            if self.sends_left < 0:
                self.die("dies as it sends a message")
                return False
        self._watcher.hub_sends(call)
        return True

    # --- asking it --------------------------------------------------------------------------------------------------

    def ask(self, call: Call, answered: Callable[[Answer | Broken], None], *, operates: bool = False) -> None:
        """Takes a request to the hub; ``answered`` is called once."""
        network = self._network
        chance = network.chance(call.sender, call.method, f"hub{call.path}")
        there, back = network.seconds(chance), network.seconds(chance)
        if network.is_lost(chance, 0 if operates else network.roughness.lost_requests):
            self._loop.call_later(10.0, answered, Broken("timed out after 10000 ms"), context=self._outside)
            return
        lost_back = network.is_lost(chance, 0 if operates else network.roughness.lost_answers)

        def ended(outcome: Answer | Broken) -> None:
            self._loop.call_later(back, answered, RESET if lost_back else outcome, context=self._outside)

        self._loop.call_later(there, self._arrive, call, ended, operates, context=self._outside)

    def _arrive(self, call: Call, ended: Callable[[Answer | Broken], None], operates: bool) -> None:
        process = self._process
        if process is None or not self.is_listening:
            ended(Broken("connection refused"))
            return
        self._watcher.hub_is_asked(call)
        self._asked += 1
        number = self._asked
        self._under_way[number] = ended
        task = self._loop.start_in(process, self._operate(call) if operates else self._take(call))

        def done(task: asyncio.Task[Answer]) -> None:
            waiting = self._under_way.pop(number, None)
            if waiting is None:
                return
            answer = task.result()
            self._watcher.hub_answers(call, answer)
            waiting(answer)

        task.add_done_callback(done, context=self._outside)

    async def _take(self, call: Call) -> Answer:
        """A participant's request, as the hub's own server would give it to the API."""
        api = self._participants_api
        if api is None:
            raise AssertionError("the hub listens without an API")
        path, _, query = call.path.partition("?")
        headers = [(name.encode(), value.encode()) for name, value in call.headers]
        accepted = api.accept(Head(call.method, path.encode(), query.encode(), headers))
        answer = accepted if isinstance(accepted, HttpAnswer) else await accepted.answer(call.body)
        return Answer(answer.status, answer.headers, answer.body)

    async def _operate(self, call: Call) -> Answer:
        """An operator's request, as uvicorn would give it to the application."""
        app = self._operators_api
        if app is None:
            raise AssertionError("the hub listens without an API")
        path, _, query = call.path.partition("?")
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in call.headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 4001),
        }
        told: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": call.body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            told.append(message)

        await app(scope, receive, send)
        body = b"".join(each.get("body", b"") for each in told[1:])
        return Answer(told[0]["status"], (), body)


class Decoded(msgspec.Struct, frozen=True):
    """An operator's answer."""

    status: int
    body: Any
