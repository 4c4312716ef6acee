"""Windows closed while payments cross: each payment is in exactly one window, and all of them settle."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.e2e.test_crash import Hub

from vuka.cli.hub import found
from vuka.cli.options import read_config
from vuka.cli.process import hub_process
from vuka.cli.reading import reading
from vuka.clock import clock_ms
from vuka.config import load
from vuka.sim.load import Load
from vuka.switch.audit import audit

NEVER = "0 0 1 1 *"
"""When the schedules of these tests would run by themselves; they are made due by hand."""

SETTLE = {"settlementModel": "DEFAULTDEFERREDNET", "reason": "all of them"}


def test_windows_closed_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    found(load(None, {}, data_dir=str(tmp_path)), "Windows", ["USD"])
    closed: list[int] = []
    with (
        hub_process(tmp_path) as hub,
        httpx.Client(base_url=hub.operators_url, timeout=30, trust_env=False) as client,
    ):
        command = [sys.executable, "-m", "vuka.sim", "--hub", hub.participants_url, "--operators", hub.operators_url]
        load_ = subprocess.Popen([*command, "--warmup", "0", "--seconds", "3"], stdout=subprocess.DEVNULL)
        window_id = 1
        while load_.poll() is None:
            answer = client.post(f"/v2/settlementWindows/{window_id}", json={"state": "CLOSED", "reason": "again"})
            if answer.is_success:
                closed.append(window_id)
                window_id = answer.json()["id"]
        assert load_.wait() == 0
        if client.post(f"/v2/settlementWindows/{window_id}", json={"state": "CLOSED", "reason": "last"}).is_success:
            closed.append(window_id)
        for start in range(0, len(closed), 1000):
            windows = [{"id": each} for each in closed[start : start + 1000]]
            made = client.post("/v2/settlements", json={**SETTLE, "settlementWindows": windows})
            path = f"/v2/settlements/{made.json()['id']}/finalise"
            assert client.post(path, json={"reason": "paid"}).json()["state"] == "SETTLED"
    assert len(closed) > 10
    _each_payment_is_in_one_window(tmp_path)


def _each_payment_is_in_one_window(data: Path) -> None:
    """Whose hub is down, and has settled every window."""
    with reading(read_config(data)) as (tx, ledger):
        assert audit(tx, ledger).differences == []
        ((committed,),) = tx.query("SELECT COUNT(*) FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED'")
        ((held,),) = tx.query("SELECT SUM(transfers) FROM window_flow")
        ((unsettled,),) = tx.query("SELECT COUNT(*) FROM window_content WHERE state <> 'SETTLED'")
    assert (held, unsettled) == (committed, 0)


def _make_due(data: Path, due_ms: int) -> None:
    """Has every schedule be due then, in a commit beside those of the hub."""
    connection = sqlite3.connect(data / "vuka.db", timeout=10)
    with connection:
        connection.execute("UPDATE settlement_schedule SET next_ms = ?", (due_ms,))
    connection.close()


def _scheduled_closes(data: Path) -> int:
    """How many windows schedules have closed."""
    with reading(read_config(data)) as (tx, _ledger):
        ((closed,),) = tx.query(
            """SELECT COUNT(*) FROM settlement_change
               WHERE subject = 'WINDOW' AND state = 'CLOSED' AND created_by LIKE 'schedule%'"""
        )
    return int(closed)


def test_windows_closed_and_settled_by_schedules_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    found(load(None, {}, data_dir=str(tmp_path)), "Windows", ["USD"])
    outcomes: list[str] = []
    with (
        hub_process(tmp_path, environment={"VUKA_ENGINE_TIMER_MS": "20"}) as hub,
        httpx.Client(base_url=hub.operators_url, timeout=30, trust_env=False) as client,
    ):
        for name, model in (("closing", None), ("settling", "DEFAULTDEFERREDNET")):
            body = {"name": name, "cron": NEVER, "settlementModel": model}
            client.post("/settlementSchedules", json=body).raise_for_status()
        command = [sys.executable, "-m", "vuka.sim", "--hub", hub.participants_url, "--operators", hub.operators_url]
        load_ = subprocess.Popen([*command, "--warmup", "0", "--seconds", "3"], stdout=subprocess.DEVNULL)
        due_ms = 0
        while load_.poll() is None:
            due_ms = max(clock_ms(), due_ms + 1)
            outcomes.append(_run_at(tmp_path, due_ms))
        assert load_.wait() == 0
        outcomes.append(_run_at(tmp_path, max(clock_ms(), due_ms + 1)))
        made = client.get("/v2/settlements", params={"state": "PENDING_SETTLEMENT"}).json()
        for each in made:
            path = f"/v2/settlements/{each['id']}/finalise"
            assert client.post(path, json={"reason": "paid"}).json()["state"] == "SETTLED"
    closed = [each for each in outcomes if "closed," in each]
    assert len(closed) > 10
    assert len(made) == len(closed) == _scheduled_closes(tmp_path)
    _each_payment_is_in_one_window(tmp_path)


def _run_at(data: Path, due_ms: int) -> str:
    """Has the schedules be due, and waits until they have run; what the one that settles says."""
    _make_due(data, due_ms)
    deadline = time.monotonic() + 20
    while True:
        with reading(read_config(data)) as (tx, _ledger):
            rows = tx.query("SELECT last_due_ms, last_outcome FROM settlement_schedule WHERE name = 'settling'")
        if rows[0][0] == due_ms:
            outcome: str = rows[0][1]
            return outcome
        assert time.monotonic() < deadline, "the schedules do not run"
        time.sleep(0.005)


@pytest.mark.timeout(180)
async def test_kill_9_around_a_due_time_makes_it_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VUKA_ENGINE_TIMER_MS", "20")
    data = tmp_path / "hub"
    found(load(None, {}, data_dir=str(data)), "Windows", ["USD"])
    hub = Hub(data)
    await hub.start()
    async with httpx.AsyncClient(base_url=hub.urls[1], trust_env=False) as client:
        body = {"name": "closing", "cron": NEVER}
        (await client.post("/settlementSchedules", json=body)).raise_for_status()
    payments = Load(hub_url=hub.urls[0], operators_url=hub.urls[1], participants=4)
    await payments.start()
    for _ in range(16):
        payments.prepare()
    offsets_ms = (-5, 5, 15, 25, 40)
    for offset_ms in offsets_ms:
        async with asyncio.timeout(30):
            await payments.until_ended(len(payments.payer_told) + 20)
        due_ms = clock_ms() + 100
        _make_due(data, due_ms)
        await asyncio.sleep((due_ms + offset_ms - clock_ms()) / 1000)
        hub.kill()
        await hub.start()
        async with asyncio.timeout(20):
            while _last_due(data) != due_ms:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
    await payments.finish()
    await payments.stop()
    hub.stop()
    assert payments.disagreements() == []
    assert _scheduled_closes(data) == len(offsets_ms)
    with reading(read_config(data)) as (tx, ledger):
        assert audit(tx, ledger).differences == []
        ((committed,),) = tx.query("SELECT COUNT(*) FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED'")
        ((held,),) = tx.query("SELECT SUM(transfers) FROM window_flow")
    assert held == committed == len(payments.payer_told)


def _last_due(data: Path) -> int | None:
    with reading(read_config(data)) as (tx, _ledger):
        ((due_ms,),) = tx.query("SELECT last_due_ms FROM settlement_schedule")
    return None if due_ms is None else int(due_ms)
