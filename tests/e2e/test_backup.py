"""A hub process under load is backed up, and restored: what was committed before is in the copy, and nothing half."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.e2e.test_crash import Hub

from vuka.cli.hub import found
from vuka.config import load as load_config
from vuka.ledger.sql import SqlLedger
from vuka.sim.load import Load
from vuka.store.backup import read_manifest
from vuka.store.sqlite import Database
from vuka.switch import auditlog
from vuka.switch.audit import audit

CONCURRENCY = 32
ENDED_BEFORE = 300
ENDED_AFTER = 300


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    data = tmp_path / "hub"
    found(load_config(None, {}, data_dir=str(data)), "Backup", ["USD"])
    running = Hub(data)
    await running.start()
    yield running
    running.stop()


async def vuka(*arguments: str) -> str:
    """Runs a command in a process of its own, while everything else goes on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vuka", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def payments(database: Path) -> dict[str, str]:
    connection = sqlite3.connect(database)
    try:
        return dict(connection.execute("SELECT wire_id, state FROM transfer WHERE kind = 'PAYMENT'"))
    finally:
        connection.close()


async def _backed_up_under_load(hub: Hub, target: Path, *options: str) -> tuple[Load, set[str]]:
    """The load, and whose end its payer had been told before the backup began."""
    load = Load(hub_url=hub.urls[0], operators_url=hub.urls[1], participants=4, reserve=True)
    await load.start()
    for _ in range(CONCURRENCY):
        load.prepare()
    async with asyncio.timeout(60):
        await load.until_ended(ENDED_BEFORE)
        before = set(load.payer_told)
        backup = asyncio.create_task(vuka("backup", str(target), "--data", str(hub.data), *options))
        await backup
        await load.until_ended(len(load.payer_told) + ENDED_AFTER)
    await load.finish()
    await load.stop()
    return load, before


@pytest.mark.timeout(240)
@pytest.mark.parametrize("options", [(), ("--compress",)], ids=["plain", "compressed"])
async def test_a_backup_under_load_has_all_that_was_committed_before_it_and_nothing_half(
    hub: Hub, tmp_path: Path, options: tuple[str, ...]
) -> None:
    target, restored = tmp_path / "backup", tmp_path / "restored"
    load, before = await _backed_up_under_load(hub, target, *options)
    hub.stop()
    said = await vuka("restore", str(target), "--data", str(restored))
    assert "all agree" in said

    copied, last = payments(restored / "vuka.db"), payments(hub.data / "vuka.db")
    assert before <= copied.keys()
    assert {copied[each] for each in before} == {"COMMITTED"}
    assert copied.keys() <= last.keys(), "what is in the copy was committed"
    assert len(copied) < len(last), "the hub went on meanwhile"
    manifest = read_manifest(target)
    assert manifest.facts.transfers >= len(copied)
    database = Database.open(hub.data / "vuka.db", read_only=True)
    with database.read() as tx:
        entry = auditlog.entry(tx, manifest.facts.audit_entries)
    database.close()
    assert entry is not None
    assert entry.hash.hex() == manifest.facts.audit_hash, "the copy's audit log is the beginning of the hub's"
    assert load.disagreements() == []

    # It can be served: payments under way at the moment of the backup come to their end.
    again = Hub(restored)
    await again.start()
    again.stop()
    database = Database.open(restored / "vuka.db", read_only=True)
    with database.read() as tx:
        assert audit(tx, SqlLedger(tx, 0)).differences == []
        assert list(auditlog.compare(tx)) == []
        assert auditlog.verify(auditlog.entries(tx)).fault is None
    database.close()


@pytest.mark.timeout(240)
async def test_what_is_owed_is_held_after_a_restore_where_asked(hub: Hub, tmp_path: Path) -> None:
    target, restored = tmp_path / "backup", tmp_path / "restored"
    load = Load(hub_url=hub.urls[0], operators_url=hub.urls[1], participants=2, reserve=True)
    await load.start()
    for _ in range(CONCURRENCY):
        load.prepare()
    async with asyncio.timeout(60):
        await load.until_ended(ENDED_BEFORE)
    # Participants that are gone: what is owed to them stays owed.
    await load.stop()
    await vuka("backup", str(target), "--data", str(hub.data))
    hub.kill()
    said = await vuka("restore", str(target), "--data", str(restored), "--hold")
    assert "Parked" in said
    database = Database.open(restored / "vuka.db", read_only=True)
    with database.read() as tx:
        assert tx.query("SELECT COUNT(*) FROM delivery WHERE state = 'PENDING'") == [(0,)]
        ((held,),) = tx.query("SELECT COUNT(*) FROM delivery WHERE state = 'PARKED'")
        ((reserved,),) = tx.query("SELECT COUNT(*) FROM transfer WHERE state = 'RESERVED'")
        (last,) = auditlog.find(tx, auditlog.Search(what="Restore"), limit=1).entries
    database.close()
    assert held > 0
    assert f"Parked {held} messages" in said
    content = last.read()
    assert isinstance(content, auditlog.Act)
    assert content.asked["held"] == held
    lines = (restored / "reserved.csv").read_text().splitlines()
    assert lines[0].startswith("transferId,payerFsp")
    assert len(lines) == 1 + reserved
    assert msgspec.json.decode((target / "manifest.json").read_bytes())["format"] == 1
