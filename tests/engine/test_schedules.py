"""The engine keeps the schedules: at the start, when they are due, once for all hub processes, also after a failure."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
from tests.cli.test_settlement import settled_hub

from vuka.api.hub import Hub
from vuka.config import Config, load
from vuka.store.sqlite import Database, SqliteTx
from vuka.switch.schedules import AddSchedule, RunSchedules, Schedule, schedules

pytestmark = pytest.mark.store("sqlite")

MINUTE_MS = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


class Clock:
    """The time, as the test has it."""

    def __init__(self, text: str) -> None:
        self.now_ms = ms(text)

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock("2026-11-24T17:59:00Z")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a hub in which somebody has paid; its other timers look seldom."""
    settled_hub(tmp_path)
    return load(None, {"VUKA_ENGINE_TIMER_MS": "10000"}, data_dir=str(tmp_path))


@asynccontextmanager
async def started(config: Config, clock: Callable[[], int]) -> AsyncIterator[Hub]:
    database = Database.open(config.database_path)
    hub = Hub(config, database, clock=clock)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()
        database.close()


def kept(hub: Hub) -> Schedule:
    (found,) = hub.read(lambda tx, _ledger, _directory: schedules(tx))
    return found


def closes(hub: Hub) -> list[str]:
    """Who has closed windows."""
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query(
            "SELECT created_by FROM settlement_change WHERE subject = 'WINDOW' AND state = 'CLOSED'"
        )
    )
    return [by for (by,) in rows]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


async def add(hub: Hub) -> None:
    await hub.submit(AddSchedule(name="evening", cron="0 18 * * *", time_zone="UTC"))


async def test_a_window_closes_when_its_time_has_come(config: Config, clock: Clock) -> None:
    async with started(config, clock) as hub:
        await add(hub)
        clock.now_ms = ms("2026-11-24T18:00:00Z")
        await until(lambda: kept(hub).last_ms is not None)
        assert closes(hub) == ["schedule evening"]
        assert kept(hub).next_ms == ms("2026-11-25T18:00:00Z")


async def test_what_fell_due_while_no_hub_ran_comes_before_what_is_asked_of_the_next(
    config: Config, clock: Clock
) -> None:
    async with started(config, clock) as hub:
        await add(hub)
    clock.now_ms = ms("2026-11-27T09:00:00Z")
    async with started(config, clock) as hub:
        await asyncio.sleep(0)
        seen: list[int] = []
        await hub.submit(AddSchedule(name="later", cron="0 18 * * *", time_zone="UTC"))
        seen += [each.last_ms or 0 for each in hub.read(lambda tx, _ledger, _directory: schedules(tx, "evening"))]
        assert (seen, closes(hub)) == ([clock.now_ms], ["schedule evening"])


async def test_at_the_start_all_is_planned_anew(config: Config, clock: Clock) -> None:
    async with started(config, clock) as hub:
        await add(hub)
    with sqlite3.connect(config.database_path) as connection:
        connection.execute("UPDATE settlement_schedule SET next_ms = next_ms + 3600000")
    connection.close()
    async with started(config, clock) as hub:
        await until(lambda: kept(hub).next_ms == ms("2026-11-24T18:00:00Z"))


async def test_a_clock_that_is_set_back_has_all_planned_anew(config: Config, clock: Clock) -> None:
    clock.now_ms += 366 * 86_400_000
    async with started(config, clock) as hub:
        await add(hub)
        clock.now_ms = ms("2026-11-24T12:00:00Z")
        await until(lambda: kept(hub).next_ms == ms("2026-11-24T18:00:00Z"))


async def test_of_two_hub_processes_one_closes_the_window(config: Config, clock: Clock) -> None:
    async with started(config, clock) as one, started(config, clock) as other:
        await one.submit(AddSchedule(name="often", cron="* * * * *", time_zone="UTC"))
        for _ in range(10):
            clock.now_ms += MINUTE_MS
            ran = await asyncio.gather(*(hub.submit(RunSchedules()) for hub in (one, other)))
            # Or the timer of one of them was faster than both.
            assert sum(len(each) for each in ran if isinstance(each, tuple)) <= 1
            assert kept(one).last_due_ms == clock.now_ms
        assert closes(other) == ["schedule often"]


async def test_a_run_that_could_not_be_written_is_tried_again(
    config: Config, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(config, clock) as hub:
        await add(hub)
        commit, failures = SqliteTx.commit, 0

        def fails_first(tx: SqliteTx) -> None:
            nonlocal failures
            failures += 1
            if failures <= 2:
                raise sqlite3.OperationalError("database or disk is full")
            commit(tx)

        monkeypatch.setattr(SqliteTx, "commit", fails_first)
        clock.now_ms = ms("2026-11-24T18:00:00Z")
        await until(lambda: kept(hub).last_ms is not None)
        assert closes(hub) == ["schedule evening"]
        assert failures > 2
