"""A hub process under load is killed, again and again: nothing that it accepted is lost, and nobody was misled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from vuka.api.audit_key import trusted_keys
from vuka.cli.hub import found
from vuka.cli.process import free_port
from vuka.config import load as load_config
from vuka.ledger.sql import SqlLedger
from vuka.sim.load import Load
from vuka.store.sqlite import Database
from vuka.switch import auditlog
from vuka.switch.audit import Report, audit

CONCURRENCY = 48
KILLS = 4
ENDED_BETWEEN_KILLS = 150
START_SECONDS_MAX = 30


class Hub:
    """A hub process on fixed ports, that can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.ports = (free_port(), free_port())
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def urls(self) -> tuple[str, str]:
        """The participants' API and the operators' API."""
        return f"http://127.0.0.1:{self.ports[0]}", f"http://127.0.0.1:{self.ports[1]}"

    async def start(self) -> None:
        """Starts it and waits until it is healthy."""
        with (self.data / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - started in no time
                [sys.executable, "-m", "vuka", "serve", "--data", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "VUKA_PARTICIPANTS_API_PORT": str(self.ports[0]),
                    "VUKA_OPERATORS_API_PORT": str(self.ports[1]),
                },
            )
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(START_SECONDS_MAX):
            while True:
                assert self.process.poll() is None, (self.data / "hub.log").read_text()
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{self.urls[1]}/health")).is_success:
                        return
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``: no chance to write, flush or say goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Asks it to stop, and waits."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    data = tmp_path / "hub"
    found(load_config(None, {}, data_dir=str(data)), "Crash", ["USD"])
    running = Hub(data)
    await running.start()
    yield running
    running.stop()


async def _crash_under_load(hub: Hub, *, reserve: bool, kills: int = KILLS) -> Load:
    load = Load(hub_url=hub.urls[0], operators_url=hub.urls[1], participants=4, reserve=reserve)
    await load.start()
    for _ in range(CONCURRENCY):
        load.prepare()
    for _ in range(kills):
        wanted = len(load.payer_told) + ENDED_BETWEEN_KILLS
        async with asyncio.timeout(30):
            await load.until_ended(wanted)
        hub.kill()
        await hub.start()
    await load.finish()
    await load.stop()
    hub.stop()
    return load


def _states(hub: Hub) -> dict[str, str]:
    connection = sqlite3.connect(hub.data / "vuka.db")
    try:
        return dict(connection.execute("SELECT wire_id, state FROM transfer WHERE kind = 'PAYMENT'"))
    finally:
        connection.close()


def _audit(hub: Hub) -> Report:
    database = Database.open(hub.data / "vuka.db", read_only=True)
    try:
        with database.read() as tx:
            keys = trusted_keys(load_config(None, {}, data_dir=str(hub.data)))
            verdict = auditlog.verify(auditlog.entries(tx), keys=keys)
            assert verdict.fault is None, "no crash breaks the chain"
            assert verdict.signed_up_to == verdict.last - 1, "the last stop signs whatever kills have left unsigned"
            assert list(auditlog.compare(tx)) == [], "every end is in the audit log"
            return audit(tx, SqlLedger(tx, 0))
    finally:
        database.close()


def told_alike(states: Mapping[str, str], load: Load) -> None:
    """Payer, payee and records: one end for each transfer, and none lost."""
    told = {**load.payer_told}
    assert not load.accepted - states.keys(), "the hub accepted transfers of which it has no record"
    assert {each: states[each] for each in told if (states[each] == "COMMITTED") != (told[each] == "COMMITTED")} == {}
    assert set(states.values()) <= {"COMMITTED"}, "with willing payees and in good time every transfer commits"
    assert told.keys() == states.keys(), "every transfer's payer was told its end"
    assert load.disagreements() == []


def _agree(hub: Hub, load: Load) -> None:
    told_alike(_states(hub), load)
    assert load.refused == 0
    report = _audit(hub)
    assert report.differences == []
    assert report.transfers >= KILLS * ENDED_BETWEEN_KILLS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("reserve", [True, False], ids=["reserved", "committed"])
async def test_kill_9_under_load_loses_no_accepted_transfer_and_tells_no_two_ends(hub: Hub, reserve: bool) -> None:
    load = await _crash_under_load(hub, reserve=reserve)
    _agree(hub, load)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reserve", [True, False], ids=["reserved", "committed"])
async def test_forty_kills_under_load_lose_nothing(hub: Hub, reserve: bool) -> None:
    load = await _crash_under_load(hub, reserve=reserve, kills=40)
    _agree(hub, load)
