"""Migrations: a database is brought to this program's schema, and one that it does not know is never written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy.exc
from tests import journalled

from vuka.engine import outbox
from vuka.engine.keys import KeySource
from vuka.errors import OperatorError
from vuka.store.migrate import HEAD, current_revision, migrate
from vuka.store.sqlite import Database
from vuka.switch import auditlog, journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def test_the_head_is_the_newest_migration(path: Path) -> None:
    from alembic.script import ScriptDirectory

    from vuka.store.migrate import _alembic

    assert ScriptDirectory.from_config(_alembic(path)).get_current_head() == HEAD


def test_migrations_make_exactly_the_tables_that_the_code_declares(path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from vuka.store.schema import metadata

    assert migrate(path) is None
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_migrating_again_changes_nothing(path: Path) -> None:
    migrate(path)
    assert migrate(path) == HEAD == current_revision(path)


def test_a_database_of_a_newer_program_is_refused(path: Path) -> None:
    migrate(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(OperatorError, match="newer than this program"):
        migrate(path)


def test_a_database_of_something_else_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a INTEGER)")
    connection.close()
    with pytest.raises(OperatorError, match="not one of a hub"):
        migrate(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(OperatorError, match="can't be read as a database"):
        migrate(path)


def test_what_is_refused_is_left_as_it_was(path: Path) -> None:
    content = b"not a database, but long enough to be read as one" * 100
    path.write_bytes(content)
    with pytest.raises(OperatorError):
        migrate(path)
    assert [path.read_bytes(), *path.parent.iterdir()] == [content, path]


def test_a_file_that_is_not_there_or_empty_has_no_schema(path: Path) -> None:
    assert current_revision(path) is None
    assert not path.exists(), "asking makes no file"
    path.touch()
    assert current_revision(path) is None


def test_a_path_may_hold_what_means_something_in_a_url(tmp_path: Path) -> None:
    path = tmp_path / "100%41 ?#.db"
    assert migrate(path) is None
    assert migrate(path) == HEAD
    assert [each.name for each in tmp_path.iterdir() if not each.name.endswith(("-wal", "-shm"))] == [path.name]


def test_a_database_made_for_a_test_is_the_one_that_migrations_make(path: Path) -> None:
    def declared(file: Path) -> set[tuple[str, str]]:
        connection = sqlite3.connect(file)
        rows = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
        connection.close()
        return set(rows)

    migrate(path)
    at_once = path.with_name("at_once.db")
    database = Database.open(at_once)
    database.create_all()
    database.close()
    assert declared(path) - {("table", "alembic_version")} == declared(at_once)


def test_what_was_noted_before_there_were_deliveries_is_kept_and_told_to_nobody(path: Path) -> None:
    from alembic import command

    from vuka.store.migrate import _alembic

    command.upgrade(_alembic(path), "0004")
    connection = sqlite3.connect(path)
    connection.execute(
        """INSERT INTO notification (notification_id, kind, participant, currency, data, created_ms)
           VALUES (7, 'SETTLEMENT_TRANSFER_POSITION_CHANGE', 'greenbank', 'USD', '{}', 1700000000000)"""
    )
    connection.commit()
    connection.close()
    assert migrate(path) == "0004"
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT notification_id, distributed_ms FROM notification").fetchall() == [
        (7, 1_700_000_000_000)
    ]
    connection.close()


def test_the_journal_of_an_older_program_is_kept_in_blocks_and_what_it_owed_is_owed(path: Path) -> None:
    from alembic import command

    from vuka.store.migrate import _alembic

    command.upgrade(_alembic(path), "0008")
    connection = sqlite3.connect(path)
    keys = [KeySource(node=node).next(1_700_000_000_000 + number) for node in (0, 3) for number in range(150)]
    for number, key in enumerate(keys):
        is_in = number % 2 == 0
        direction, body, body_of = ("in", b"{%d}" % number, None) if is_in else ("out", None, keys[number - 1])
        about = ("payer", "payee", "POST", "/transfers", "transfers", f"id-{number // 2}", '[["a", "b"]]')
        connection.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, number, direction, *about, body, body_of, "accepted"),
        )
        if direction == "out":
            state = {1: "PENDING", 3: "PARKED"}.get(number, "DELIVERED")
            connection.execute(
                "INSERT INTO delivery VALUES (?, 'payee', 'TRANSFER', '{}', 9, ?, 2, 200, NULL, 7)",
                (key, state),
            )
    connection.commit()
    connection.close()
    assert migrate(path) == "0008"
    database = Database.open(path)
    with database.read() as tx:
        kept = journalled.messages(tx)
        assert [each.message_id for each in kept] == sorted(keys)
        assert [each.body for each in kept if each.message_id in keys[:4]] == [b"{0}", b"{0}", b"{2}", b"{2}"]
        (owed,) = outbox.load_owed(tx, "payee", after=0, limit=10)
        assert (owed.id, owed.body, owed.headers, owed.attempts) == (keys[1], b"{0}", [("a", "b")], 2)
        assert [each.message_id for each in outbox.parked(tx)] == [keys[3]]
        found = journal.find(tx, (), {"id-0", "id-70", "id-149"})
        states = [found.marks[each.message_id].state for each in found.sent]
        assert states == ["PENDING", "DELIVERED", "DELIVERED"]
    database.close()


def test_the_audit_log_of_an_older_hub_begins_with_what_was_final_before(path: Path) -> None:
    from alembic import command

    from vuka.store.migrate import _alembic

    command.upgrade(_alembic(path), "0010")
    connection = sqlite3.connect(path)
    connection.execute("""INSERT INTO scheme ("only", version, name, created_ms) VALUES (1, 1, 'Older', 7)""")
    columns = """transfer_seq, transfer_id, wire_id, kind, payer_fsp, payee_fsp, currency, amount, state, expires_ms,
                 request_hash, payer_version, payee_version, created_ms"""
    ends = {bytes([number]) * 16: state for number, state in ((3, "COMMITTED"), (1, "ABORTED_ERROR"), (2, "RESERVED"))}
    connection.executemany(
        f"INSERT INTO transfer ({columns}) VALUES (?, ?, ?, 'PAYMENT', 'a', 'b', 'USD', 1, ?, 0, x'', '1.1', '1.1', 0)",
        [(number, key, key.hex(), state) for number, (key, state) in enumerate(ends.items())],
    )
    connection.commit()
    connection.close()
    assert migrate(path) == "0010"
    database = Database.open(path)
    with database.read() as tx:
        (first,) = auditlog.entries(tx)
        assert auditlog.verify([first]).fault is None
        content = first.read()
        assert isinstance(content, auditlog.Genesis)
        final = sorted(
            (key, state, None, 1, "USD", "a", "b", "PAYMENT", None)
            for key, state in ends.items()
            if state != "RESERVED"
        )
        assert (content.scheme, content.transfers, content.digest) == ("Older", *auditlog.digest_of(final))
        assert list(auditlog.compare(tx)) == []
    for altered, undone in (("state = 'COMMITTED'", "state = 'ABORTED_ERROR'"), ("amount = 2", "amount = 1")):
        with database.begin() as tx:
            tx.run(f"UPDATE transfer SET {altered} WHERE transfer_seq = 1")
        with database.read() as tx:
            assert [each.rule for each in auditlog.compare(tx)] == ["what ended before the audit log"]
        with database.begin() as tx:
            tx.run(f"UPDATE transfer SET {undone} WHERE transfer_seq = 1")
    database.close()


def test_a_migration_that_does_not_come_to_its_end_leaves_the_database_as_it_was(path: Path) -> None:
    from alembic import command

    from vuka.store.migrate import _alembic

    command.upgrade(_alembic(path), "0010")
    connection = sqlite3.connect(path)
    # In the way of what comes after the table.
    connection.execute("CREATE INDEX ix_audit_entry_at_ms ON scheme (name)")
    before = set(connection.execute("SELECT name FROM sqlite_master"))
    with pytest.raises(sqlalchemy.exc.OperationalError, match="already exists"):
        migrate(path)
    assert set(connection.execute("SELECT name FROM sqlite_master")) == before
    connection.execute("DROP INDEX ix_audit_entry_at_ms")
    connection.close()
    assert migrate(path) == "0010"
    assert migrate(path) == HEAD


def test_a_database_without_a_hub_has_no_audit_log_yet(path: Path) -> None:
    migrate(path)
    database = Database.open(path)
    with database.read() as tx:
        assert list(auditlog.entries(tx)) == []
    database.close()
