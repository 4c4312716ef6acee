"""``vuka backup`` and ``vuka restore``: what they refuse, in sentences, and that nothing is left of it."""

from __future__ import annotations

import gzip
import os
import shutil
from collections import namedtuple
from pathlib import Path

import msgspec
import psycopg
import pytest
from tests.cli.conftest import refused, vuka
from tests.postgres_server import Server

from vuka.store import backup as copies
from vuka.store.backup import MANIFEST, read_manifest
from vuka.store.sqlite import Database
from vuka.switch import auditlog


@pytest.fixture
def hub(data: Path) -> Path:
    assert vuka("init", "--data", str(data), "-c", "USD").exit_code == 0
    return data


@pytest.fixture
def made(hub: Path, tmp_path: Path) -> Path:
    target = tmp_path / "backup"
    assert vuka("backup", str(target), "--data", str(hub)).exit_code == 0
    return target


def test_a_backup_holds_no_key_and_no_token(made: Path) -> None:
    assert sorted(each.name for each in made.iterdir()) == ["auditlog.pub.pem", MANIFEST, "vuka.db", "vuka.toml"]
    assert all(each.stat().st_mode & 0o077 == 0 for each in made.iterdir() if each.name != MANIFEST)


def test_a_backup_is_never_written_over(made: Path, hub: Path) -> None:
    before = (made / MANIFEST).read_bytes()
    assert "is there already" in refused("backup", str(made), "--data", str(hub))
    assert (made / MANIFEST).read_bytes() == before


def test_without_a_hub_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    assert "There is no hub in" in refused("backup", str(tmp_path / "b"), "--data", str(tmp_path / "none"))
    assert not (tmp_path / "b").exists()


def test_a_disk_that_is_too_small_is_said_before_anything_is_copied(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1, 1, 1_000))
    assert "MiB free" in refused("backup", str(tmp_path / "b"), "--data", str(hub))
    assert [each.name for each in tmp_path.iterdir()] == ["hub"], "nothing is left"


def test_a_copy_that_fails_leaves_nothing(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "sync", full)
    assert "No space left on device" in refused("backup", str(tmp_path / "b"), "--data", str(hub))
    assert [each.name for each in tmp_path.iterdir()] == ["hub"]


def test_a_restored_hub_is_the_one_that_was_backed_up(made: Path, hub: Path, tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    result = vuka("restore", str(made), "--data", str(restored))
    assert "all agree" in result.output
    database = Database.open(restored / "vuka.db", read_only=True)
    with database.read() as tx:
        entries = list(auditlog.entries(tx))
        assert tx.query("SELECT name FROM scheme") == [("Vuka",)]
    database.close()
    assert entries[read_manifest(made).facts.audit_entries - 1].hash.hex() == read_manifest(made).facts.audit_hash
    last = entries[-1].read()
    assert isinstance(last, auditlog.Act)
    assert (last.what, last.asked["backup"]) == ("Restore", "backup")
    assert (restored / "vuka.toml").read_bytes() == (hub / "vuka.toml").read_bytes()
    assert vuka("auditlog", "verify", "--data", str(restored)).exit_code == 0


def test_a_hub_is_never_restored_over_another(made: Path, hub: Path) -> None:
    before = (hub / "vuka.db").read_bytes()
    assert "is not empty" in refused("restore", str(made), "--data", str(hub))
    assert (hub / "vuka.db").read_bytes() == before


def test_a_backup_that_was_altered_is_refused(made: Path, tmp_path: Path) -> None:
    content = bytearray((made / "vuka.db").read_bytes())
    content[-1] ^= 1
    (made / "vuka.db").write_bytes(content)
    assert "is not what was backed up" in refused("restore", str(made), "--data", str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_a_backup_whose_books_were_altered_is_refused_though_its_manifest_agrees(made: Path, tmp_path: Path) -> None:
    database = Database.open(made / "vuka.db")
    with database.begin() as tx:
        tx.run("UPDATE audit_entry SET at_ms = at_ms + 1 WHERE seq = 1")
    database.close()
    length, sha256 = copies.digest(made / "vuka.db")
    manifest = msgspec.structs.replace(
        read_manifest(made), bytes=length, sha256=sha256, content_bytes=length, content_sha256=sha256
    )
    copies.write_manifest(made, manifest)
    assert "entry 1" in refused("restore", str(made), "--data", str(tmp_path / "r"))
    assert not (tmp_path / "r").exists(), "nothing is left"
    assert vuka("restore", str(made), "--data", str(tmp_path / "r"), "--no-check").exit_code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "of a later vuka"),
        ({"file": "../vuka.db"}, "outside of the backup"),
        ({"with_files": {"/etc/passwd": ""}}, "outside of the backup"),
        ({"with_files": {"..": ""}}, "outside of the backup"),
        ({"with_files": {"vuka.toml": "00"}}, "is not what was backed up"),
        ({"with_files": {"none": "00"}}, "can't be read"),
        ({"file": "vuka.db\0"}, "outside of the backup"),
        ({"began_ms": 1 << 60}, "is no manifest of a backup"),
        ({"store": "postgresql"}, "a backup is restored into what it was made of"),
        ({"facts": {"schema": "9999"}}, "newer than this program"),
        ({"bytes": "many"}, "is no manifest of a backup"),
    ],
)
def test_a_manifest_that_will_not_do_is_refused(
    made: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    manifest = msgspec.json.decode((made / MANIFEST).read_bytes())
    for name, value in change.items():
        manifest[name] = {**manifest[name], **value} if isinstance(value, dict) else value
    (made / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert said in refused("restore", str(made), "--data", str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_a_directory_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    assert "is no backup" in refused("restore", str(tmp_path), "--data", str(tmp_path / "r"))


def test_a_copy_that_unpacks_to_something_else_is_refused(hub: Path, tmp_path: Path) -> None:
    made = tmp_path / "packed"
    assert vuka("backup", str(made), "--data", str(hub), "--compress").exit_code == 0
    good = (made / "vuka.db.gz").read_bytes()
    spoiled = (
        good[:20] + b"\xff" * 40 + good[60:],
        gzip.compress(bytes(4 << 20)),
        good[: len(good) // 2],
        b"no gzip at all",
    )
    for content in spoiled:
        (made / "vuka.db.gz").write_bytes(content)
        length, sha256 = copies.digest(made / "vuka.db.gz")
        copies.write_manifest(made, msgspec.structs.replace(read_manifest(made), bytes=length, sha256=sha256))
        said = refused("restore", str(made), "--data", str(tmp_path / "r"))
        assert "can't be written from" in said or "does not hold what its manifest says" in said
        assert not (tmp_path / "r").exists()


def test_tables_without_a_hub_are_no_backup(hub: Path, tmp_path: Path) -> None:
    database = Database.open(hub / "vuka.db")
    with database.begin() as tx:
        tx.run("DELETE FROM scheme")
    database.close()
    assert "no hub in them" in refused("backup", str(tmp_path / "b"), "--data", str(hub))
    assert not (tmp_path / "b").exists()


def test_what_somebody_has_put_into_the_audit_log_stops_no_backup(hub: Path, tmp_path: Path) -> None:
    database = Database.open(hub / "vuka.db")
    with database.begin() as tx:
        tx.run("UPDATE audit_entry SET hash = 'text' WHERE seq = 2")
    database.close()
    assert vuka("backup", str(tmp_path / "b"), "--data", str(hub)).exit_code == 0
    assert "entry 2" in refused("restore", str(tmp_path / "b"), "--data", str(tmp_path / "r"))


def _new_database(server: Server, name: str) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server.url.rpartition('/')[0]}/{name}"


@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="PostgreSQL's client programs are not installed")
def test_a_hub_in_postgresql_is_dumped_and_restored(postgresql: Server, tmp_path: Path) -> None:
    source, target = (_new_database(postgresql, f"{name}_{os.getpid()}") for name in ("kept", "again"))
    data, backup, restored = tmp_path / "hub", tmp_path / "backup", tmp_path / "restored"
    here, there = {"VUKA_STORE_URL": source}, {"VUKA_STORE_URL": target}
    assert vuka("init", "--data", str(data), "-c", "USD", environment=here).exit_code == 0
    made = vuka("backup", str(backup), "--data", str(data), environment=here)
    assert made.exit_code == 0, made.output
    said = refused("restore", str(backup), "--data", str(restored), environment=here)
    assert "There is a hub in" in said, "never over another"
    assert not restored.exists()
    result = vuka("restore", str(backup), "--data", str(restored), "--hold", environment=there)
    assert "all agree" in result.output, result.output
    verified = vuka("auditlog", "verify", "--data", str(restored), environment=there)
    assert verified.exit_code == 0, verified.output


def test_without_the_client_programs_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(copies.OperatorError, match="pg_dump is not here"):
        copies.dump_postgresql("postgresql://nobody@127.0.0.1:1/none", tmp_path / "vuka.dump")
