"""Hub processes whose money is in a real cluster: killed under load, and parted from their ledger, again and again."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from tests import tigerbeetle
from tests.e2e.test_crash import CONCURRENCY, ENDED_BETWEEN_KILLS, KILLS, Hub, _crash_under_load, _states, told_alike
from tests.e2e.test_several_hubs import (
    HubProcess,
    LoadOnAll,
    ended_and_told,
    ended_further,
    nothing_owed,
    one_is_frozen,
    one_is_killed,
    under_load,
)
from tests.postgres_server import Server as PostgresServer
from tests.tigerbeetle import Server

from vuka.cli.hub import found
from vuka.config import Config
from vuka.config import load as load_config
from vuka.sim.load import Load
from vuka.store.migrate import open_place

pytestmark = [tigerbeetle.GROUP, pytest.mark.timeout(300)]

LEDGER_TIMEOUT_MS = 1_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A cluster belongs to one hub, so every test has its own."""
    server = Server(tigerbeetle.binary(), tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def hub(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setenv("VUKA_LEDGER_ENGINE", "tigerbeetle")
    monkeypatch.setenv("VUKA_LEDGER_ADDRESSES", server.address)
    monkeypatch.setenv("VUKA_LEDGER_TIMEOUT_MS", str(LEDGER_TIMEOUT_MS))
    data = tmp_path / "hub"
    found(load_config(None, os.environ, data_dir=str(data)), "Cluster", ["USD"])
    running = Hub(data)
    await running.start()
    yield running
    running.stop()


def _audited(hub: Hub) -> dict[str, object]:
    """What ``vuka audit --against-ledger`` says of a hub that does not run."""
    command = [sys.executable, "-m", "vuka", "audit", "--data", str(hub.data), "--against-ledger", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def _agree(hub: Hub, load: Load) -> None:
    """Payer, payee, records and cluster: one end for each transfer, and none lost."""
    told_alike(_states(hub), load)
    report = _audited(hub)
    assert report["differences"] == []
    against = report["against_ledger"]
    assert isinstance(against, dict)
    assert (against["differences"], against["records"]) == ([], report["transfers"])


@pytest.mark.parametrize("reserve", [True, False], ids=["reserved", "committed"])
async def test_kill_9_under_load_leaves_records_and_cluster_of_one_mind(hub: Hub, reserve: bool) -> None:
    load = await _crash_under_load(hub, reserve=reserve)
    assert load.refused == 0
    _agree(hub, load)
    assert len(_states(hub)) >= KILLS * ENDED_BETWEEN_KILLS


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_twenty_kills_under_load_lose_nothing(hub: Hub) -> None:
    load = await _crash_under_load(hub, reserve=True, kills=20)
    _agree(hub, load)


async def test_a_cluster_that_is_gone_is_told_at_once_and_taken_up_when_it_is_back(hub: Hub, server: Server) -> None:
    load = Load(hub_url=hub.urls[0], operators_url=hub.urls[1], participants=4, reserve=True)
    await load.start()
    for _ in range(CONCURRENCY):
        load.prepare()
    async with asyncio.timeout(60):
        await load.until_ended(ENDED_BETWEEN_KILLS)
    load.goes_on = False
    async with httpx.AsyncClient(trust_env=False, timeout=LEDGER_TIMEOUT_MS / 1000 + 10) as client:
        server.stop()
        await _until_health(client, hub, is_well=False)
        health = (await client.get(f"{hub.urls[1]}/health")).json()
        assert {"name": "ledger", "status": "DOWN"} in health["services"]
        (name, *_) = (each["name"] for each in (await client.get(f"{hub.urls[1]}/participants")).json()[1:])
        began = asyncio.get_running_loop().time()
        refused = await client.get(f"{hub.urls[1]}/participants/{name}/accounts")
        assert asyncio.get_running_loop().time() - began < LEDGER_TIMEOUT_MS / 1000
        assert (refused.status_code, refused.json()["errorInformation"]["errorCode"]) == (503, "2003")
        server.start()
        await _until_health(client, hub, is_well=True)
    # Whatever was refused or is not known to have happened is asked for again, or asked about.
    load.goes_on = True
    for _ in range(CONCURRENCY):
        load.prepare()
    async with asyncio.timeout(60):
        await load.until_ended(len(load.payer_told) + ENDED_BETWEEN_KILLS)
    await load.finish()
    await load.stop()
    hub.stop()
    states = _states(hub)
    assert {each for each in load.accepted if states.get(each) is None} == set()
    told = load.payer_told
    assert {
        each for each in told if each in states and (states[each] == "COMMITTED") != (told[each] == "COMMITTED")
    } == set()
    assert load.disagreements() == []
    report = _audited(hub)
    assert report["differences"] == []


async def _until_health(client: httpx.AsyncClient, hub: Hub, *, is_well: bool) -> None:
    """Asks for health until it says so: the hub looks for its ledger by itself."""
    async with asyncio.timeout(60):
        while (await client.get(f"{hub.urls[1]}/health")).is_success is not is_well:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def test_a_hub_is_made_and_read_with_the_command(tmp_path: Path, server: Server) -> None:
    data = tmp_path / "made"

    def vuka(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vuka", *arguments, "--data", str(data)]
        return subprocess.run(command, capture_output=True, check=False, text=True)

    made = vuka("init", "-c", "USD", "--ledger", "tigerbeetle", "--ledger-addresses", server.address)
    assert made.returncode == 0, made.stdout + made.stderr
    assert 'engine = "tigerbeetle"' in (data / "vuka.toml").read_text()
    assert "The books balance" in vuka("audit", "--against-ledger").stdout
    settings = (data / "vuka.toml").read_text()
    (data / "vuka.toml").write_text(settings.replace('engine = "tigerbeetle"', 'engine = "embedded"'))
    other = vuka("audit")
    assert other.returncode == 1
    assert "A hub keeps the ledger it was made with" in " ".join((other.stdout + other.stderr).split())
    refused = vuka("serve")
    assert refused.returncode == 1
    assert "A hub keeps the ledger it was made with" in " ".join((refused.stdout + refused.stderr).split())


# --- two hubs, one PostgreSQL, one cluster ---------------------------------------------------------------------------


@pytest.fixture
def shared(postgresql: PostgresServer, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A founded hub: its records in a schema of its own, its money in a cluster of its own."""
    schema = f"hubs_{secrets.token_hex(4)}"
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    monkeypatch.setenv("VUKA_STORE_URL", f"{postgresql.url}?options={quote(f'-csearch_path={schema}')}")
    monkeypatch.setenv("VUKA_LEDGER_ENGINE", "tigerbeetle")
    monkeypatch.setenv("VUKA_LEDGER_ADDRESSES", server.address)
    monkeypatch.setenv("VUKA_LEDGER_TIMEOUT_MS", str(LEDGER_TIMEOUT_MS))
    config = load_config(None, os.environ, data_dir=str(tmp_path / "a"))
    found(config, "Shared", ["USD"])
    return config


@pytest.fixture
async def hubs(shared: Config, tmp_path: Path) -> AsyncIterator[list[HubProcess]]:
    """Two hubs, each as on a machine of its own."""
    made = [HubProcess(tmp_path / name, shared.store.url) for name in ("a", "b")]
    for each in made:
        await each.start()
    yield made
    for each in made:
        each.signal(signal.SIGCONT)
        each.stop()


def _all_agree(config: Config, load: Load) -> None:
    """Payers, payees, records and cluster: one end for each transfer, none lost, none doubled, nothing still owed."""
    database = open_place(config.place, read_only=True)
    try:
        with database.read() as tx:
            ended_and_told(tx, load)
            assert tx.query("SELECT command FROM ledger_intent") == []
    finally:
        database.close()
    command = [sys.executable, "-m", "vuka", "audit", "--data", config.data_dir, "--against-ledger", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["differences"], report["against_ledger"]["differences"]) == ([], [])
    assert report["against_ledger"]["records"] == report["transfers"]


async def test_one_of_two_hubs_on_a_cluster_is_killed_under_load_and_the_other_ends_its_work(
    shared: Config, hubs: list[HubProcess]
) -> None:
    _all_agree(shared, await one_is_killed(shared, hubs))


async def test_a_hub_on_a_cluster_that_was_frozen_is_carried_on_for_and_ends_when_it_finds_out(
    shared: Config, hubs: list[HubProcess]
) -> None:
    _all_agree(shared, await one_is_frozen(shared, hubs, seconds=90))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reserve", [True, False], ids=["reserved", "committed"])
async def test_twenty_kills_of_two_hubs_on_a_cluster_lose_nothing(
    shared: Config, hubs: list[HubProcess], reserve: bool
) -> None:
    load = LoadOnAll(hubs, reserve=reserve)
    await under_load(load)
    for number in range(20):
        await ended_further(load)
        hubs[number % 2].kill()
        await hubs[number % 2].start()
    await load.finish()
    await nothing_owed(shared)
    await load.stop()
    for each in hubs:
        each.stop()
    _all_agree(shared, load)
