"""One run: a plan played from its beginning to a calm in which everything that is open comes to its end.

The database that it begins with is the same for every run, made once by each process. Files are in memory where the
machine has a directory for that; nothing waits for a real disk, a real clock or a socket.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import structlog

from vuka.config import Config, Courier, Engine, Journal, Notifications
from vuka.config import Scheme as SchemeRules
from vuka.engine.keys import NODE_MAX, KeySource
from vuka.ledger.choice import write_choice
from vuka.ledger.sql import SqlLedger
from vuka.simulation.beliefs import Beliefs
from vuka.simulation.checks import Checker
from vuka.simulation.disk import Disk
from vuka.simulation.loop import StandstillError, VirtualLoop
from vuka.simulation.machine import BEGIN_MS, START_SECONDS, Clock, Machine
from vuka.simulation.network import Network, Roughness
from vuka.simulation.operators import Operators
from vuka.simulation.participants import Participant
from vuka.simulation.plan import (
    Advance,
    AnyStep,
    CloseWindow,
    Crash,
    Disable,
    EndSettlement,
    FillDisk,
    Funds,
    Pay,
    Plan,
    SetCap,
    Settle,
    Stop,
    Suffer,
)
from vuka.simulation.world import Event, Failure, World
from vuka.store.sqlite import Database
from vuka.switch import scheme as schemes
from vuka.switch.directory import DirectoryCache
from vuka.switch.work import Work

CURRENCIES: Final = ("USD", "KES")

WATCH_SECONDS: Final = 0.1
"""How often it is looked whether what has expired is final."""

CALM_SECONDS: Final = 45.0
"""How long everything works at the end, at least: longer than any delivery waits for its next attempt."""

CALM_ROUNDS_MAX: Final = 6

YOUNG_OBJECTS_MAX: Final = 500_000
"""Objects made by runs before what nobody refers to any more is looked for."""

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a fresh directory of our own is made in it


class Statistics(msgspec.Struct):
    """What was in a run, or in several."""

    runs: int = 0
    steps: int = 0
    messages: int = 0
    messages_lost: int = 0
    commits: int = 0
    commits_failed: int = 0
    crashes: int = 0
    faults: int = 0
    """Servers that failed, full disks and stops."""
    transfers: Counter[str] = msgspec.field(default_factory=Counter)
    """By final state."""
    virtual_seconds: float = 0.0

    def add(self, other: Statistics) -> None:
        """What was in another."""
        for name in ("runs", "steps", "messages", "messages_lost", "commits", "commits_failed", "crashes", "faults"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.virtual_seconds += other.virtual_seconds
        self.transfers += other.transfers


class Outcome(msgspec.Struct, frozen=True):
    """What came of a run."""

    plan: Plan
    story: list[Event]
    failure: Failure | None
    statistics: Statistics

    @property
    def digest(self) -> str:
        """The same for the same run: of every message, answer and moment."""
        lines = "\n".join(f"{each.at_ms!r} {each.text}" for each in self.story)
        return hashlib.sha256(lines.encode()).hexdigest()


def run(plan: Plan) -> Outcome:
    """Plays a plan. What it raises is a defect of the simulation."""
    with tempfile.TemporaryDirectory(
        prefix="vuka-simulation-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None
    ) as name:
        was_enabled = gc.isenabled()
        # Memory is given back between runs, not in the middle of one, where something might come of it.
        gc.disable()
        try:
            return _run(plan, Path(name))
        finally:
            if gc.get_count()[0] > YOUNG_OBJECTS_MAX:
                gc.collect()
            if was_enabled:
                gc.enable()


def _run(plan: Plan, directory: Path) -> Outcome:
    loop = VirtualLoop(_chance(plan, "loop"))
    clock = Clock(loop)
    network = Network(loop, plan.seed, Roughness())
    world = World(plan, loop, clock, network)
    beliefs = Beliefs()
    participants = [Participant(world, beliefs, each, number) for number, each in enumerate(plan.scheme.members)]
    for each in participants:
        each.others = lambda: participants
    operators = Operators(world)
    disk = Disk.holding(_founded(), directory, lambda: world.machine.die("dies in a commit"))
    reader = disk.reader()
    checker = Checker(world, beliefs, operators, participants, reader)
    disk.committed = checker.committed
    world.machine = Machine(loop, clock, network, disk, _config(plan, directory), plan.seed, checker)
    loop.thread_seconds = _thread_seconds(plan)
    play = _Play(world, disk, checker, operators, participants, beliefs)
    with _quiet(checker.log):
        try:
            loop.run_until_complete(play.whole())
        except StandstillError as error:
            world.fail("the hub goes on", str(error))
        finally:
            world.machine.bury()
            reader.close()
            loop.close()
    if world.defect is not None:
        raise world.defect
    statistics = Statistics(
        runs=1,
        steps=len(plan.steps),
        messages=network.messages,
        messages_lost=network.lost,
        commits=disk.commits,
        commits_failed=disk.commits_failed,
        crashes=world.machine.crashes,
        faults=play.faults,
        transfers=checker.transfers,
        virtual_seconds=loop.time(),
    )
    return Outcome(plan, world.story, world.failure, statistics)


class _Play:
    """Has a plan happen."""

    def __init__(
        self,
        world: World,
        disk: Disk,
        checker: Checker,
        operators: Operators,
        participants: list[Participant],
        beliefs: Beliefs,
    ) -> None:
        self._world = world
        self._disk = disk
        self._checker = checker
        self._operators = operators
        self._participants = {each.name: each for each in participants}
        self._beliefs = beliefs
        self._shortages = 0
        self._troubles: Counter[str] = Counter()
        self.faults = 0

    async def whole(self) -> None:
        """From the founding of the scheme to the end."""
        playing = self._world.loop.create_task(self._play())
        failing = self._world.loop.create_task(self._world.failed.wait())
        await asyncio.wait((playing, failing), return_when=asyncio.FIRST_COMPLETED)
        failing.cancel()
        if playing.done():
            playing.result()
        else:
            playing.cancel()

    async def _play(self) -> None:
        world = self._world
        world.machine.start()
        await self._until_listening()
        await self._operators.found(world.plan.scheme)
        await asyncio.gather(*(each.register() for each in self._participants.values()))
        world.is_founded = True
        world.tell("the scheme is founded")
        world.network.roughness = world.plan.scheme.roughness
        for step in world.plan.steps:
            if isinstance(step, Pay):
                self._beliefs.payments[step.transfer_id] = step
        watch = world.loop.create_task(self._watch())
        began_s = world.loop.time()
        for step in world.plan.steps:
            await asyncio.sleep(max(0.0, began_s + step.at_ms / 1000 - world.loop.time()))
            world.begin(self._do(step))
        await self._calm()
        watch.cancel()
        if world.failure is None:
            self._checker.at_the_end()
        await world.machine.stop()
        if world.failure is None:
            # A hub that has stopped in order has lost nothing either.
            self._checker.at_the_end()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._disk.shortage is not None:
                self._checker.disk_failed()
            self._checker.time_passes()

    async def _until_listening(self) -> None:
        while not self._world.machine.is_listening:
            await asyncio.sleep(START_SECONDS)

    # --- steps ------------------------------------------------------------------------------------------------------

    async def _do(self, step: AnyStep) -> None:
        operators = self._operators
        match step:
            case Pay():
                await self._participants[step.payer].pay(step)
            case Suffer():
                await self._suffer(step)
            case Funds():
                await operators.move_funds(step)
            case SetCap():
                await operators.set_cap(step)
            case Disable():
                await operators.disable(step)
            case CloseWindow():
                await operators.close_window()
            case Settle():
                await operators.settle(step)
            case Advance():
                await operators.advance(step)
            case EndSettlement():
                await operators.end_settlement(step)
            case Crash():
                self._crash(step)
            case Stop():
                await self._stop(step)
            case FillDisk():
                await self._fill_disk(step)

    async def _suffer(self, step: Suffer) -> None:
        participant = self._participants[step.name]
        self.faults += 1
        self._troubles[step.name] += 1
        self._world.tell(f"{step.name} {step.trouble} for {step.for_ms} ms")
        participant.trouble = step.trouble
        await asyncio.sleep(step.for_ms / 1000)
        self._troubles[step.name] -= 1
        if not self._troubles[step.name]:
            participant.trouble = None

    def _crash(self, step: Crash) -> None:
        machine = self._world.machine
        if not machine.is_listening:
            return

        def start_again() -> None:
            self._world.clock.offset_ms += step.clock_ms
            self._world.loop.call_later(step.down_ms / 1000, machine.start)
            self._world.tell(f"it starts again in {step.down_ms} ms, all clocks set by {step.clock_ms} ms")

        machine.when_dead = start_again
        if step.after_sends:
            machine.sends_left = step.after_sends
        elif step.tear is not None:
            self._disk.tear = step.tear
        else:
            machine.die()

    async def _stop(self, step: Stop) -> None:
        machine = self._world.machine
        if not machine.is_listening:
            return
        self.faults += 1
        self._world.tell("the hub is stopped")
        crashes = machine.crashes
        await machine.stop()
        if machine.crashes == crashes:
            await asyncio.sleep(step.down_ms / 1000)
            machine.start()

    async def _fill_disk(self, step: FillDisk) -> None:
        self.faults += 1
        self._shortages += 1
        self._world.tell(f"the hub's disk is full {step.shortage}, for {step.for_ms} ms")
        self._disk.shortage = step.shortage
        self._checker.disk_failed()
        await asyncio.sleep(step.for_ms / 1000)
        self._shortages -= 1
        if not self._shortages:
            self._disk.shortage = None

    # --- the calm ---------------------------------------------------------------------------------------------------

    async def _calm(self) -> None:
        """Everything works from here on; participants ask until they know, operators end what is open."""
        world = self._world
        world.network.roughness = Roughness()
        for each in self._participants.values():
            each.trouble = None
        while world.is_busy:
            await asyncio.sleep(1.0)
        self._disk.tear = None
        world.machine.sends_left = None
        await self._until_listening()
        world.tell("everything works, and what is open comes to its end")
        last_ms = max((each.at_ms + each.valid_ms for each in world.plan.steps if isinstance(each, Pay)), default=0)
        await asyncio.sleep(max(CALM_SECONDS, (BEGIN_MS + last_ms - world.clock.now_ms()) / 1000))
        await self._operators.bring_to_end()
        await self._operators.learn_ends()
        for _ in range(CALM_ROUNDS_MAX):
            for name, transfer_id in sorted(self._beliefs.word_expected):
                participant = self._participants.get(name)
                if participant is not None and not self._beliefs.end_told(name, transfer_id):
                    await participant.learn_end(transfer_id, 1)
            if not await self._operators.resend_parked():
                break
            await asyncio.sleep(1.0)
        await asyncio.sleep(1.0)


# --- what a run begins with -----------------------------------------------------------------------------------------


def _chance(plan: Plan, what: str) -> Random:
    return Random(f"{plan.seed}/{plan.scenario}/{what}")


def _thread_seconds(plan: Plan) -> Callable[[], tuple[float, float]]:
    chance, slowest = _chance(plan, "threads"), plan.scheme.commit_ms_max / 1000

    def draw() -> tuple[float, float]:
        seconds = chance.random() * (slowest if chance.random() < 0.1 else 0.002)
        effect = seconds * chance.random()
        return effect, seconds - effect

    return draw


def _config(plan: Plan, directory: Path) -> Config:
    scheme = plan.scheme
    return Config(
        data_dir=str(directory),
        scheme=SchemeRules(
            on_us_transfers=scheme.on_us,
            check_payee_account=scheme.checks_payee_account,
            confirm_to_payee=scheme.confirms_to_payee,
        ),
        engine=Engine(batch_max=scheme.batch_max, queue_max=scheme.queue_max),
        courier=Courier(queue_max=scheme.courier_queue_max, in_flight_max=scheme.in_flight_max),
        journal=Journal(enabled=scheme.keeps_journal),
        # What people are told leaves the hub in threads of its own, by servers that are not in the simulation.
        notifications=Notifications(log=False, webhook=False),
    )


@lru_cache(maxsize=1)
def _founded() -> bytes:
    """The file of a hub whose scheme was founded a moment ago: nobody takes part yet."""
    with tempfile.TemporaryDirectory(prefix="vuka-simulation-") as name:
        file = Path(name) / "founded.db"
        database = Database(file)
        database.create_all()
        keys = KeySource(node=NODE_MAX)
        with database.begin() as tx:
            work = Work(
                tx=tx,
                ledger=SqlLedger(tx, BEGIN_MS * 1_000_000),
                now_ms=BEGIN_MS,
                scheme=SchemeRules(),
                next_id=lambda: keys.next(BEGIN_MS),
                load_directory=DirectoryCache().load,
            )
            write_choice(tx, Config().ledger, work.ledger)
            schemes.found(work, "Simulated scheme", list(CURRENCIES))
        database.close()
        return file.read_bytes()


@contextmanager
def _quiet(note: Callable[[str, str], None]) -> Iterator[None]:
    """Has the hub's log go to ``note``, with its level, and nowhere else."""

    def keep(_logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        reason = event.get("exc_info")
        error = f": {reason}" if isinstance(reason, BaseException) else ""
        note(method, f"{event['event']}{error}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
