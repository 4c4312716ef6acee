"""Transactions on SQLite: whole or nothing, durable once committed, read from one snapshot."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from vuka.store.sqlite import Database, may_lose_pages


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


def test_a_block_whose_commit_fails_is_rolled_back_and_the_next_can_begin(path: Path) -> None:
    database = open_with_table(path)
    undone: list[int] = []
    with database.begin() as tx:
        tx.run("CREATE TABLE p (id INTEGER PRIMARY KEY)")
        tx.run("CREATE TABLE c (p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)")

    def write_what_only_the_commit_finds_wrong() -> None:
        with database.begin() as tx:
            tx.run("INSERT INTO t VALUES (1)")
            tx.on_rollback(lambda: undone.append(1))
            tx.run("INSERT INTO c VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        write_what_only_the_commit_finds_wrong()
    assert (rows(database), undone) == ([], [1])
    with database.begin() as tx:
        tx.run("INSERT INTO t VALUES (2)")
    assert rows(database) == [2]
    database.close()


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


@pytest.mark.parametrize("count", [0, 1, 3, 8_192, 8_193, 9_000])
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


def test_a_list_may_name_a_value_twice() -> None:
    database = open_with_table(None)
    with database.begin() as tx:
        tx.run_many("INSERT INTO t VALUES (?)", [(1,), (2,), (3,)])
        assert sorted(tx.query_in("SELECT a FROM t WHERE a IN {values}", [3, 1, 3])) == [(1,), (3,)]
    database.close()


def test_what_is_committed_is_there_when_the_file_is_opened_again(path: Path) -> None:
    database = open_with_table(path)
    with database.begin() as tx:
        tx.run("INSERT INTO t VALUES (1)")
    other = Database.open(path)
    assert rows(other) == [1]
    other.close()
    database.close()


def test_a_transaction_sees_what_it_has_done_and_says_how_many_rows_it_touched(path: Path) -> None:
    database = open_with_table(path)
    with database.begin() as tx:
        assert tx.run("INSERT INTO t VALUES (1), (2)") == 2
        assert tx.query("SELECT COUNT(*) FROM t") == [(2,)]
        assert tx.run("DELETE FROM t WHERE a = 9") == 0
    database.close()


def test_a_commit_forgets_what_was_to_be_undone(path: Path) -> None:
    database = open_with_table(path)
    undone: list[str] = []
    with database.begin() as tx:
        tx.on_rollback(lambda: undone.append("never"))
    assert undone == []
    database.close()


@pytest.mark.parametrize("asks_first", [False, True])
def test_a_savepoint_that_is_all_of_a_transaction_is_undone_and_the_transaction_goes_on(
    path: Path, *, asks_first: bool
) -> None:
    database = open_with_table(path)
    undone: list[str] = []
    with database.begin() as tx:
        tx.on_rollback(lambda: undone.append("outer"))
        if asks_first:
            tx.query("SELECT a FROM t")
        for number in (1, 2):
            with contextlib.suppress(RuntimeError), tx.savepoint():
                tx.run_many("INSERT INTO t VALUES (?)", [(number,)])
                tx.on_rollback(lambda number=number: undone.append(str(number)))
                raise RuntimeError
        with tx.savepoint():
            tx.run("INSERT INTO t VALUES (3)")
        with contextlib.suppress(RuntimeError), tx.savepoint():
            tx.run("INSERT INTO t VALUES (4)")
            raise RuntimeError
        assert not tx.given_up
    assert (rows(database), undone) == ([3], ["1", "2"])
    database.close()


def test_a_savepoint_within_a_savepoint_is_undone_alone(path: Path) -> None:
    database = open_with_table(path)
    with database.begin() as tx, tx.savepoint():
        tx.run("INSERT INTO t VALUES (1)")
        with contextlib.suppress(RuntimeError), tx.savepoint():
            tx.run("INSERT INTO t VALUES (2)")
            raise RuntimeError
        tx.run("INSERT INTO t VALUES (3)")
    assert rows(database) == [1, 3]
    database.close()


def test_a_transaction_that_sqlite_has_given_up_is_gone_as_a_whole(path: Path) -> None:
    database = open_with_table(path)
    undone: list[str] = []
    tx = database.start()
    tx.query("PRAGMA max_page_count = 1")
    tx.run("INSERT INTO t VALUES (1)")
    tx.on_rollback(lambda: undone.append("outer"))

    def fill_the_disk() -> None:
        with tx.savepoint():
            tx.on_rollback(lambda: undone.append("inner"))
            tx.run("INSERT INTO t VALUES (zeroblob(100000))")

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill_the_disk()
    assert tx.given_up
    with pytest.raises(sqlite3.OperationalError, match="given up"), tx.savepoint():
        pytest.fail("what is run now would be a commit of its own")
    tx.rollback()
    assert (rows(database), undone) == ([], ["inner", "outer"])
    database.close()


def test_a_commit_that_fails_can_be_rolled_back(path: Path) -> None:
    database = open_with_table(path)
    with database.begin() as tx:
        tx.run("CREATE TABLE child (a INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        tx.run("CREATE TABLE parent (a INTEGER PRIMARY KEY)")
    undone: list[str] = []
    tx = database.start()
    tx.run("INSERT INTO t VALUES (1)")
    tx.run("INSERT INTO child VALUES (1)")
    tx.on_rollback(lambda: undone.append("once"))
    with pytest.raises(sqlite3.IntegrityError):
        tx.commit()
    assert not tx.closed
    tx.rollback()
    assert (rows(database), undone, tx.closed) == ([], ["once"], True)
    database.close()


def test_a_reader_can_not_write(path: Path) -> None:
    database = open_with_table(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"), database.read() as tx:
        tx.run("INSERT INTO t VALUES (1)")
    assert rows(database) == []
    database.close()


@pytest.mark.parametrize("name", ["plain.db", "a b?c#d%41.db"])
def test_a_file_opened_to_read_only_is_that_file_and_is_not_written(tmp_path: Path, name: str) -> None:
    open_with_table(tmp_path / name).close()
    database = Database.open(tmp_path / name, read_only=True)
    assert rows(database) == []
    with pytest.raises(sqlite3.OperationalError), database.begin() as tx:
        tx.run("INSERT INTO t VALUES (1)")
    database.close()
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".db"] == [name]


def test_a_database_in_memory_is_not_read_beside_what_is_being_written() -> None:
    database = open_with_table(None)
    with database.begin(), pytest.raises(RuntimeError, match="in memory"), database.read():
        pytest.fail("it would see what is not committed")
    assert rows(database) == []
    database.close()


def test_what_is_not_a_database_is_not_opened(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Database.open(path)


@pytest.mark.parametrize(
    ("version", "may"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_which_versions_may_lose_what_several_processes_write(version: tuple[int, int, int], may: bool) -> None:
    assert may_lose_pages(version) is may
