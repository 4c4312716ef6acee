"""Folding: the write-ahead log goes into the file beside whoever writes, and all that was committed stays."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from vuka.store import folding
from vuka.store.folding import Folder
from vuka.store.sqlite import Database

ROWS_MAX = 100
PAGE = 4_096
PADDING = bytes(PAGE)
"""A row of its own page and more, so that the log grows by what is written."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    made = Database.open(path)
    with made.begin() as tx:
        tx.run("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
    made.fold_beside(rows_max=ROWS_MAX)
    yield made
    made.close()


def folder_of(database: Database) -> Folder:
    assert database._folder is not None
    return database._folder


def write(database: Database, rows: int) -> None:
    """So many rows, ten in a commit."""
    for _ in range(rows // 10):
        with database.begin() as tx:
            tx.run_many("INSERT INTO t (b) VALUES (?)", [(PADDING,)] * 10)


def write_until_folded(database: Database) -> None:
    """As many rows as make folding due, and no commit more: the thread has done its part, the next has the rest."""
    folder = folder_of(database)
    assert not folder._is_under_way
    while not folder._is_under_way:
        write(database, 10)
    assert folder.is_prepared.wait(10), "the thread has folded it"


def count(database: Database) -> int:
    with database.read() as tx:
        ((number,),) = tx.query("SELECT COUNT(*) FROM t")
    return int(number)


def wal_pages(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size // PAGE


def file_pages(path: Path) -> int:
    return path.stat().st_size // PAGE


def test_what_was_written_is_folded_beside_and_the_log_begins_anew(database: Database, path: Path) -> None:
    folder = folder_of(database)
    for turn in range(1, 6):
        write_until_folded(database)
        assert file_pages(path) >= turn * ROWS_MAX
        write(database, 10)
        assert not folder.is_prepared.is_set(), "the commit has done the rest"
    assert count(database) == 5 * (ROWS_MAX + 10)
    # Each row takes two or three pages; without folding the log would have those of all five turns.
    assert wal_pages(path) < 4 * ROWS_MAX


def test_no_commit_folds_much_by_itself(database: Database, path: Path) -> None:
    before = file_pages(path)
    write(database, ROWS_MAX - 10)
    assert file_pages(path) == before
    assert not folder_of(database).is_prepared.is_set()


def test_log_and_file_together_say_all_that_was_committed_at_any_instant(database: Database, path: Path) -> None:
    for turn in range(1, 8):
        write(database, 50)
        copy = path.with_name(f"copy-{turn}.db")
        # As a crash leaves them: the file first, for what is folded later is in the log still.
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        found = Database.open(copy)
        assert count(found) == turn * 50
        found.close()


def test_what_cannot_be_folded_is_told_and_folded_later(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(folding, "_FOLD", "SELECT no_such_function()")
        write_until_folded(database)
        write(database, 10)
    assert "can't be folded" in "".join(capfd.readouterr())
    assert count(database) == ROWS_MAX + 10, "what is committed is committed"
    write_until_folded(database)
    assert file_pages(path) >= 2 * ROWS_MAX


def test_a_reader_of_long_ago_loses_nothing_of_what_it_sees(database: Database, path: Path) -> None:
    write(database, 10)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM t").fetchone() == (10,)
    for _ in range(2):
        write_until_folded(database)
        write(database, 10)
    assert reader.execute("SELECT COUNT(*) FROM t").fetchone() == (10,)
    reader.execute("ROLLBACK")
    assert reader.execute("SELECT COUNT(*) FROM t").fetchone() == (count(database),)
    reader.close()


def test_the_file_is_flushed_by_the_descriptor_that_is_open_already(database: Database, path: Path) -> None:
    found = folding._descriptor(path)
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell which descriptors are open")
    assert found is not None
    assert os.path.samestat(os.fstat(found), path.stat())


def test_a_file_that_nobody_has_open_has_no_descriptor(tmp_path: Path) -> None:
    file = tmp_path / "other"
    file.touch()
    assert folding._descriptor(file) is None
    assert folding._descriptor(tmp_path / "none") is None


def test_a_closed_database_has_no_thread_and_no_log(database: Database, path: Path) -> None:
    thread = folder_of(database)._thread
    write(database, 2 * ROWS_MAX)
    database.close()
    assert not thread.is_alive()
    assert not Path(f"{path}-wal").exists()


def test_a_database_in_memory_has_no_log_to_fold() -> None:
    memory = Database.open(None)
    memory.fold_beside()
    assert memory._folder is None
    memory.close()
