"""Health: up, and down for whoever asks on either listener as soon as a part of the hub does not work."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests import stores
from tests.e2e.rig import Rig, encode, running, transfer

from vuka.config import Engine
from vuka.httpclient import Request, Response
from vuka.store import WriteTx


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, engine=Engine(timer_ms=20, drain_seconds=1)) as rig:
        yield rig


async def prepare(rig: Rig) -> Response:
    """The answer to a payment's prepare. The payee need not exist: the payer is told that by callback."""
    return await rig.send(
        "POST", "/transfers", "payerfsp", destination="payeefsp", body=encode(transfer("payerfsp", "payeefsp"))
    )


async def health(rig: Rig) -> tuple[int, dict[str, Any]]:
    """Status and body, the same on both listeners."""
    participants, operators = [
        await rig.client.send(Request("GET", f"{url}/health"))
        for url in (rig.addresses.participants_url, rig.addresses.operators_url)
    ]
    assert participants.status == operators.status
    bodies = [json.loads(each.body) for each in (participants, operators)]
    assert bodies[0]["services"] == bodies[1]["services"]
    return participants.status, bodies[0]


def services(datastore: str, broker: str) -> list[dict[str, str]]:
    return [{"name": "datastore", "status": datastore}, {"name": "broker", "status": broker}]


async def test_a_hub_that_works_says_so_in_the_references_shape(rig: Rig) -> None:
    status, body = await health(rig)
    assert list(body) == ["status", "uptime", "startTime", "versionNumber", "services"]
    assert (status, body["status"], body["services"]) == (200, "OK", services("OK", "OK"))


async def test_a_disk_that_is_full_is_down_and_up_again_by_itself_when_it_has_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_tx: WriteTx) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await rig.join("payerfsp")
    works_again = asyncio.Event()
    monkeypatch.setattr(rig.hub.metrics, "committed", lambda _batch: works_again.set())
    with monkeypatch.context() as broken:
        broken.setattr(stores.transaction_class(), "commit", full)
        assert (await prepare(rig)).status == 503
        works_again.clear()
        status, told = await health(rig)
        assert (status, told["status"], told["services"]) == (502, "DOWN", services("DOWN", "OK"))
    async with asyncio.timeout(5):
        await works_again.wait()
    assert (await health(rig))[0] == 200


async def test_records_that_can_not_be_read_are_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_tx: WriteTx, _sql: str, _parameters: object = ()) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(stores.transaction_class(), "query", fails)
    status, body = await health(rig)
    assert (status, body["services"]) == (502, services("DOWN", "OK"))


async def test_a_hub_whose_writer_has_failed_is_down_and_has_nobody_wait_in_vain(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_arguments: object) -> None:
        raise RuntimeError("a defect")

    await rig.join("payerfsp")
    monkeypatch.setattr(rig.hub.engine, "_write_batch", defect)
    for _ in range(2):
        refused = await prepare(rig)
        assert (refused.status, json.loads(refused.body)["errorInformation"]["errorCode"]) == (503, "2003")
    status, told = await health(rig)
    assert (status, told["services"]) == (502, services("OK", "DOWN"))


async def test_a_hub_that_is_stopping_is_down(rig: Rig) -> None:
    rig.hub.is_stopping = True
    status, body = await health(rig)
    assert (status, body["services"]) == (502, services("OK", "DOWN"))


async def test_health_is_answered_while_commits_wait_for_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.join("payerfsp")
    loop = asyncio.get_running_loop()
    waits, release = asyncio.Event(), threading.Event()
    commit = stores.transaction_class().commit

    def slow(tx: WriteTx) -> None:
        loop.call_soon_threadsafe(waits.set)
        release.wait(10)
        commit(tx)

    monkeypatch.setattr(stores.transaction_class(), "commit", slow)
    sending = asyncio.create_task(prepare(rig))
    async with asyncio.timeout(5):
        await waits.wait()
    assert (await health(rig))[0] == 200
    assert not sending.done()
    release.set()
    assert (await sending).status == 202
