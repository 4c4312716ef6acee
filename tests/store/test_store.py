"""The store: transactions that are whole or nothing, and migrations that never write what they don't know."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from vuka.errors import OperatorError
from vuka.store.migrate import HEAD, current_revision, migrate
from vuka.store.sqlite import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def open_with_table(path: Path | None) -> Database:
    database = Database.open(path)
    with database.begin() as tx:
        tx.run("CREATE TABLE t (a INTEGER)")
    return database


def rows(database: Database) -> list[int]:
    with database.read() as tx:
        return [a for (a,) in tx.query("SELECT a FROM t ORDER BY a")]


def test_a_transaction_that_raises_leaves_nothing_and_undoes_what_memory_kept(path: Path) -> None:
    database = open_with_table(path)
    undone: list[str] = []

    def fail() -> None:
        with database.begin() as tx:
            tx.run("INSERT INTO t VALUES (1)")
            tx.on_rollback(lambda: undone.append("first"))
            tx.on_rollback(lambda: undone.append("second"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (rows(database), undone) == ([], ["second", "first"])
    database.close()


def test_a_savepoint_that_raises_is_undone_alone(path: Path) -> None:
    database = open_with_table(path)
    undone: list[str] = []
    with database.begin() as tx:
        tx.run("INSERT INTO t VALUES (1)")
        tx.on_rollback(lambda: undone.append("outer"))
        with contextlib.suppress(RuntimeError), tx.savepoint():
            tx.run("INSERT INTO t VALUES (2)")
            tx.on_rollback(lambda: undone.append("inner"))
            raise RuntimeError
        tx.run("INSERT INTO t VALUES (3)")
    assert (rows(database), undone) == ([1, 3], ["inner"])
    database.close()


def test_a_reader_sees_one_snapshot_beside_a_writer(path: Path) -> None:
    database = open_with_table(path)
    writing = database.start()
    writing.run("INSERT INTO t VALUES (1)")
    with database.read() as tx:
        assert tx.query("SELECT a FROM t") == []
        writing.commit()
        assert tx.query("SELECT a FROM t") == []
    assert rows(database) == [1]
    database.close()


@pytest.mark.parametrize("count", [0, 1, 3, 8_192, 20_001])
def test_a_list_of_any_length_can_be_asked_for(count: int) -> None:
    database = open_with_table(None)
    with database.begin() as tx:
        tx.run_many("INSERT INTO t VALUES (?)", [(number,) for number in range(count)])
        found = tx.query_in("SELECT a FROM t WHERE a >= ? AND a IN {values}", list(range(count)), (0,))
    assert sorted(found) == [(number,) for number in range(count)]
    database.close()


def test_every_commit_is_durable(path: Path) -> None:
    database = open_with_table(path)
    with database.begin() as tx:
        assert tx.query("PRAGMA synchronous") == [(2,)], "FULL"
        assert tx.query("PRAGMA journal_mode") == [("wal",)]
    database.close()


# --- migrations -------------------------------------------------------------------------------------------------


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
    open_with_table(path).close()
    with pytest.raises(OperatorError, match="not one of a hub"):
        migrate(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(OperatorError, match="can't be read as a database"):
        migrate(path)
