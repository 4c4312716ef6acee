"""The watch over alarms: every position has its turn, and what is told is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import pytest
from tests.switch.scheme_bench import SchemeBench

from vuka.engine import alarm_watch
from vuka.engine.alarm_watch import AlarmWatch
from vuka.ledger.model import Ledger
from vuka.store import Tx
from vuka.switch.alarms import AlarmRules, CheckAlarms, Told
from vuka.switch.directory import Directory
from vuka.switch.work import Command, Outcome

T = TypeVar("T")

NAMES = tuple(f"bank{number}" for number in range(5))


class Hub:
    """What the watch needs of an engine, on the bench; it counts."""

    def __init__(self, bench: SchemeBench) -> None:
        self.bench = bench
        self.looks = 0
        self.commands: list[Command] = []
        self.told: list[Told] = []
        self.fails = False

    def read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        self.looks += 1
        return self.bench.read(function)

    async def run_own(self, command: Command) -> Outcome:
        self.commands.append(command)
        return Outcome() if self.fails else self.bench.run(command)

    def watch(self, every_ms: int = 1_000) -> AlarmWatch:
        return AlarmWatch(AlarmRules(), self, every_ms=every_ms, clock_ms=lambda: self.bench.now_ms, told=self._hears)

    def _hears(self, told: Sequence[Told]) -> None:
        self.told += told

    def events(self) -> list[str]:
        return [f"{each.participant} {each.event}" for each in self.told]


@pytest.fixture
def hub() -> Iterator[Hub]:
    bench = SchemeBench()
    for name in NAMES:
        bench.onboard(name, "USD", cap="1000", funds="1000")
    yield Hub(bench)
    bench.audit()
    bench.close()


async def test_a_quiet_hub_is_only_read(hub: Hub) -> None:
    watch = hub.watch()
    for _ in range(3):
        hub.bench.advance(1_000)
        await watch.tick()
    assert (hub.looks, hub.commands) == (3, [])


async def test_it_looks_as_often_as_it_is_told_and_no_oftener(hub: Hub) -> None:
    watch = hub.watch()
    await watch.tick()
    hub.bench.advance(999)
    await watch.tick()
    assert hub.looks == 1
    hub.bench.advance(1)
    await watch.tick()
    assert hub.looks == 2
    hub.bench.advance(-60_000)
    await watch.tick()
    assert hub.looks == 3, "a clock set back stops nothing"


async def test_what_it_sees_is_told_by_one_command_and_counted(hub: Hub) -> None:
    hub.bench.pay(NAMES[0], NAMES[1], "100 USD")
    hub.bench.pay(NAMES[2], NAMES[1], "100 USD")
    watch = hub.watch()
    await watch.tick()
    (command,) = hub.commands
    assert isinstance(command, CheckAlarms)
    assert len(command.account_ids) == 2
    assert hub.events() == ["bank0 RAISED", "bank2 RAISED"]
    hub.bench.advance(1_000)
    await watch.tick()
    assert len(hub.commands) == 1


async def test_more_positions_than_one_look_takes_have_their_turn(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_watch, "POSITIONS_MAX", 2)
    for name in NAMES[:-1]:
        hub.bench.pay(name, NAMES[-1], "100 USD")
    hub.bench.reserve(NAMES[-1], NAMES[0], "600 USD")
    watch = hub.watch()
    seen = []
    for _ in range(4):
        hub.bench.advance(1_000)
        await watch.tick()
        seen.append(hub.events())
        hub.told.clear()
    assert seen == [
        ["bank0 RAISED", "bank1 RAISED"],
        ["bank2 RAISED", "bank3 RAISED"],
        ["bank4 RAISED"],
        [],
    ]


async def test_as_many_positions_as_one_look_takes_are_all_looked_at_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_watch, "POSITIONS_MAX", 5)
    watch = hub.watch()
    for _ in range(3):
        hub.bench.advance(1_000)
        await watch.tick()
    hub.bench.pay(NAMES[-1], NAMES[0], "100 USD")
    hub.bench.advance(1_000)
    await watch.tick()
    assert hub.events() == ["bank4 RAISED"]


async def test_a_participant_that_joins_and_a_limit_that_changes_are_seen(hub: Hub) -> None:
    watch = hub.watch()
    await watch.tick()
    hub.bench.onboard("newcomer", "USD", cap="1000", funds="1000")
    hub.bench.pay("newcomer", NAMES[0], "100 USD")
    hub.bench.pay(NAMES[1], NAMES[0], "50 USD")
    hub.bench.adjust_cap(NAMES[1], "USD", "500")
    hub.bench.advance(1_000)
    await watch.tick()
    assert hub.events() == ["bank1 RAISED", "newcomer RAISED"]


async def test_what_could_not_be_written_is_seen_again(hub: Hub) -> None:
    hub.bench.pay(NAMES[0], NAMES[1], "100 USD")
    watch = hub.watch()
    hub.fails = True
    await watch.tick()
    assert hub.events() == []
    hub.fails = False
    hub.bench.advance(1_000)
    await watch.tick()
    assert hub.events() == ["bank0 RAISED"]
