"""PostgreSQL alone: a server that goes away, a commit that is not answered, and how statements are translated."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from tests import stores
from tests.postgres_server import Server, running_server

from vuka.config import Store, load, to_toml
from vuka.errors import OperatorError
from vuka.store import CommitUnknownError, UnavailableError, Value
from vuka.store import postgresql as on_postgresql
from vuka.store.migrate import HEAD, current_revision, migrate, open_place
from vuka.store.postgresql import LOCK_CLASS, Database, PostgresTx, _as_many, _placed

INSERT = "INSERT INTO ledger_failed (id) VALUES (?)"


@pytest.fixture
def url(postgresql: Server) -> str:
    """An empty database."""
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
        connection.execute("CREATE DATABASE empty")
    return postgresql.url_of("empty")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database.open(url)
    database.create_all()
    yield database
    database.close()


def cut(tx: PostgresTx) -> None:
    """The server ends the connection of a transaction."""
    with psycopg.connect(tx._connection.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (tx._connection.info.backend_pid,))
        while other.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s", (tx._connection.info.backend_pid,)
        ).fetchall():
            pass


def ids(database: Database) -> list[bytes]:
    with database.read() as tx:
        return [row[0] for row in tx.query("SELECT id FROM ledger_failed ORDER BY id")]


# --- a server that goes away --------------------------------------------------------------------------------------


def test_a_transaction_whose_connection_is_lost_is_given_up_as_a_whole(database: Database) -> None:
    undone: list[int] = []
    tx = database.start()
    tx.run(INSERT, (b"1",))
    tx.on_rollback(lambda: undone.append(1))
    cut(tx)
    with pytest.raises(psycopg.OperationalError), tx.savepoint():
        tx.run(INSERT, (b"2",))
    assert tx.given_up
    with pytest.raises(psycopg.OperationalError, match="given up"), tx.savepoint():
        pass
    tx.rollback()
    assert (ids(database), undone) == ([], [1])
    with database.begin() as again:
        again.run(INSERT, (b"3",))
    assert ids(database) == [b"3"]


def test_a_commit_that_is_not_answered_is_said_to_be_in_doubt(database: Database) -> None:
    undone: list[int] = []
    tx = database.start()
    tx.run(INSERT, (b"1",))
    tx.on_rollback(lambda: undone.append(1))
    cut(tx)
    with pytest.raises(CommitUnknownError):
        tx.commit()
    assert (tx.closed, undone) == (True, [1])


def test_a_failed_transaction_is_never_taken_for_committed(database: Database) -> None:
    tx = database.start()
    tx.run(INSERT, (b"1",))
    with pytest.raises(psycopg.errors.UniqueViolation):
        tx.run(INSERT, (b"1",))
    with pytest.raises(psycopg.InternalError, match="not committed"):
        tx.commit()
    assert ids(database) == []


def _write_beside(database: Database, written: list[bytes]) -> threading.Thread:
    """Another process that writes as soon as it may."""

    def write() -> None:
        beside = Database.open(database.url)
        with beside.begin() as tx:
            tx.run(INSERT, (b"beside",))
        written.append(b"beside")
        beside.close()

    thread = threading.Thread(target=write)
    thread.start()
    with psycopg.connect(database.url, autocommit=True) as other:
        while not other.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall():
            pass
    return thread


def test_while_one_process_holds_its_turn_its_transactions_have_nobody_between_them(database: Database) -> None:
    written: list[bytes] = []
    with database.hold():
        with database.begin() as tx:
            tx.run(INSERT, (b"1",))
        thread = _write_beside(database, written)
        with database.begin() as tx:
            assert tx.query("SELECT COUNT(*) FROM ledger_failed") == [(1,)]
        assert written == []
    thread.join(10)
    assert ids(database) == [b"1", b"beside"]


def test_a_turn_is_lost_with_the_connection(database: Database) -> None:
    written: list[bytes] = []
    with database.hold():
        tx = database.start()
        thread = _write_beside(database, written)
        cut(tx)
        thread.join(10)
        tx.rollback()
        assert written == [b"beside"]
        with database.begin() as again:
            again.run(INSERT, (b"2",))
    assert ids(database) == [b"2", b"beside"]
    with database.hold(), database.begin() as tx:
        tx.run(INSERT, (b"3",))


def test_connections_that_a_restart_has_cut_are_replaced_unnoticed(database: Database) -> None:
    with database.begin() as tx:
        tx.run(INSERT, (b"1",))
        cut_write = tx._connection.info.backend_pid
    with database.read() as tx:
        cut_read = tx._connection.info.backend_pid
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) pid", ([cut_write, cut_read],))
    with database.begin() as tx:
        tx.run(INSERT, (b"2",))
    assert ids(database) == [b"1", b"2"]


@pytest.mark.xdist_group("server")
def test_while_the_server_is_away_whoever_asks_is_refused_at_once_and_it_is_found_again(tmp_path: Path) -> None:
    try:
        running = running_server()
        server = running.__enter__()
    except LookupError as error:
        pytest.skip(str(error))
    try:
        database = Database.open(server.url)
        database.create_all()
        server.stop(at_once=True)
        for _ in range(20):
            began = time.monotonic()
            with pytest.raises(UnavailableError, match="can't be reached"):
                database.start()
            with pytest.raises(UnavailableError), database.read():
                pass
            assert time.monotonic() - began < 1
        server.start()
        deadline = time.monotonic() + 10
        while True:
            try:
                assert ids(database) == []
                break
            except UnavailableError:
                assert time.monotonic() < deadline
        database.close()
    finally:
        running.__exit__(None, None, None)


def test_a_server_that_hangs_is_given_up_and_asked_again_when_it_has_taken_what_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_postgresql, "READ_SECONDS_MAX", 0.2)
    with database.begin() as tx:
        tx.run(INSERT, (b"1",))
    with database.read() as tx:
        ((hanging,),) = tx.query("SELECT pg_backend_pid()")
    os.kill(hanging, signal.SIGSTOP)
    try:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="does not answer"):
                ids(database)
        with database.begin():
            pass
        assert ids(database) == [b"1"]
    finally:
        os.kill(hanging, signal.SIGCONT)


def test_a_question_that_is_not_answered_in_the_middle_of_a_read_ends_that_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_postgresql, "READ_SECONDS_MAX", 0.2)
    with pytest.raises(UnavailableError, match="does not answer"), database.read() as tx:
        tx.query("SELECT pg_sleep(30)")
    reading = Database.open(database.url, read_only=True)
    with reading.read() as tx:
        assert tx.query("SELECT 1 FROM pg_sleep(0.5)") == [(1,)], "a report takes the time that it needs"
    reading.close()


def test_what_a_silent_process_was_writing_is_undone_so_that_others_can_write(database: Database) -> None:
    silent = Database.open(database.url)
    held = silent.start()
    held.run("INSERT INTO transfer_state_change (transfer_seq, step, state, created_ms) VALUES (1, 1, 'A', 0)")
    assert database.end_silent_writers() == 0, "it has said something a moment ago"
    assert database.end_silent_writers(0) == 1
    with database.begin() as tx:
        assert tx.query("SELECT * FROM transfer_state_change") == []
    with pytest.raises(CommitUnknownError):
        held.commit()
    silent.close()


def test_whoever_has_given_up_a_read_and_waits_to_write_still_ends_a_silent_writer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_postgresql, "READ_SECONDS_MAX", 0.2)
    silent = Database.open(database.url)
    silent.start()
    with pytest.raises(UnavailableError, match="does not answer"), database.read() as tx:
        tx.query("SELECT pg_sleep(30)")
    with ThreadPoolExecutor(1) as other:
        writing = other.submit(lambda: database.start().rollback())
        try:
            assert database.end_silent_writers(0) == 1
        finally:
            silent.close()
        writing.result(10)
    assert ids(database) == []


def test_a_process_that_stands_still_among_the_rows_of_a_statement_is_silent_too(database: Database) -> None:
    silent = Database.open(database.url)
    silent.start()
    assert silent._writer is not None
    wire = silent._writer.pgconn
    # As psycopg sends many rows: what has been answered of them leaves the server active, and waiting for the rest.
    wire.enter_pipeline_mode()
    wire.send_query_params(b"SELECT 1", None)
    wire.send_flush_request()
    wire.flush()
    with psycopg.connect(database.url, autocommit=True) as looking:
        deadline = time.monotonic() + 10
        while True:
            state = looking.execute(
                "SELECT state, wait_event FROM pg_stat_activity WHERE pid = %b", (wire.backend_pid,)
            ).fetchone()
            if state == ("active", "ClientRead"):
                break
            assert time.monotonic() < deadline, state
    assert database.end_silent_writers() == 0, "it has said something a moment ago"
    assert database.end_silent_writers(0) == 1
    with database.begin() as tx:
        tx.run("INSERT INTO transfer_state_change (transfer_seq, step, state, created_ms) VALUES (1, 1, 'A', 0)")
    silent.close()


def test_whoever_writes_and_says_so_is_left_alone(database: Database) -> None:
    with database.begin():
        pass
    assert database.end_silent_writers(0) == 0, "it holds nothing"


@pytest.mark.parametrize(("configured", "held"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")])
def test_what_is_committed_is_on_disk_whatever_the_server_is_told(
    database: Database, configured: str, held: str
) -> None:
    elsewhere = Database.open(f"{database.url}?options=-csynchronous_commit%3D{configured}")
    with elsewhere.begin() as tx:
        assert tx.query("SELECT current_setting('synchronous_commit')") == [(held,)]
    elsewhere.close()


def test_a_database_that_is_not_there_is_said_so_without_its_password(postgresql: Server) -> None:
    url = f"postgresql://vuka:geheim@127.0.0.1:{postgresql.port}/nowhere"
    with pytest.raises(OperatorError) as raised:
        open_place(url)
    assert 'database "nowhere" does not exist' in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_what_is_opened_to_be_read_is_not_written(database: Database) -> None:
    reading = Database.open(database.url, read_only=True)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reading.start()
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), reading.read() as tx:
        tx.run(INSERT, (b"1",))
    reading.close()


# --- migrations ---------------------------------------------------------------------------------------------------


def test_migrations_make_exactly_the_tables_that_the_code_declares(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from vuka.store.migrate import _alembic
    from vuka.store.schema import metadata

    assert current_revision(url) is None
    assert migrate(url) is None
    engine = _alembic(url).attributes["engine"]
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    # What a column is for is told to readers of the schema, not to databases that have it already.
    changes = [each for each in found if not (isinstance(each, list) and each[0][0] == "modify_comment")]
    assert changes == []
    engine.dispose()
    assert migrate(url) == HEAD == current_revision(url)


def test_a_migration_waits_for_the_batch_under_way_and_has_none_beside_it(url: str) -> None:
    from alembic import command

    from vuka.store.migrate import _alembic

    command.upgrade(_alembic(url), "0010")
    database = Database.open(url)
    waiting = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND NOT granted"
    with ThreadPoolExecutor(1) as other:
        batch = database.start()
        migrating = other.submit(migrate, url)
        with psycopg.connect(url, autocommit=True) as looking:
            while not looking.execute(waiting).fetchall():
                assert not migrating.done()
        batch.commit()
        assert migrating.result(10) == "0010"
    assert current_revision(url) == HEAD
    database.close()


def test_a_database_made_for_a_test_is_the_one_that_migrations_make(url: str) -> None:
    columns = """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
                 WHERE table_schema = current_schema() AND table_name <> 'alembic_version' ORDER BY 1, 2"""
    indexes = r"""SELECT indexname::text, regexp_replace(indexdef, 'ON \w+\.', 'ON ') FROM pg_indexes
                 WHERE schemaname = current_schema() AND tablename <> 'alembic_version' ORDER BY 1"""

    def declared(database: Database) -> tuple[object, object]:
        with database.read() as tx:
            return tx.query(columns), tx.query(indexes)

    migrate(url)
    migrated = Database.open(url)
    found = declared(migrated)
    with migrated.begin() as tx:
        tx.run("DROP SCHEMA public CASCADE")
        tx.run("CREATE SCHEMA public")
    migrated.create_all()
    assert declared(migrated) == found
    migrated.close()


def test_a_database_of_a_newer_program_or_of_something_else_is_refused(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        with pytest.raises(OperatorError, match="not one of a hub"):
            migrate(url)
        connection.execute("DROP TABLE t")
        migrate(url)
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(OperatorError, match="newer than this program"):
        migrate(url)


def test_a_database_in_another_encoding_is_refused(url: str, postgresql: Server) -> None:
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(OperatorError, match="LATIN1; a hub needs a database in UTF8"):
        migrate(postgresql.url_of("latin"))


def test_a_plan_is_made_for_the_table_as_it_is(database: Database) -> None:
    """A plan that is kept from when a table was new reads every row of it, until the server has looked at it again."""
    update = "UPDATE ledger_resolution SET status = ? WHERE timestamp = ?"
    rows: list[tuple[Value, ...]] = [(2, number) for number in range(100)]
    with database.begin() as tx:
        tx.run("INSERT INTO ledger_resolution (timestamp, status, resolved_at) VALUES (-1, 1, 0)")
    with psycopg.connect(database.url, autocommit=True) as server:
        server.execute("VACUUM ANALYZE ledger_resolution")
    with database.begin() as tx:
        for _ in range(10):
            tx.run_many(update, rows)
        tx.run("INSERT INTO ledger_resolution SELECT number, 1, 0 FROM generate_series(0, 99999) AS number")
        before = _rows_read(tx)
        tx.run_many(update, rows)
        assert _rows_read(tx) - before <= len(rows)


def _rows_read(tx: PostgresTx) -> int:
    """Rows of the table and of its index that were looked at in this transaction."""
    ((found,),) = tx.query("SELECT pg_stat_get_xact_tuples_returned('ledger_resolution'::regclass)")
    return int(str(found))


# --- the configuration --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://vuka:s3cret@db/hub", "postgresql://vuka@db/hub"),
        ("postgresql://vuka@db/hub?password=s3cret&sslmode=require", "postgresql://vuka@db/hub?sslmode=require"),
        ("postgres://db/hub?sslmode=require&password=s3cret", "postgres://db/hub?sslmode=require"),
        ("postgresql:///hub", "postgresql:///hub"),
    ],
)
def test_a_password_in_the_url_is_neither_shown_nor_written(given: str, shown: str) -> None:
    config = load(None, {"VUKA_STORE_URL": given})
    assert config.place == given
    assert config.place_shown == shown
    assert "s3cret" not in to_toml(config)
    assert Store(url=given).url_shown == shown


def test_a_url_of_something_else_is_refused() -> None:
    with pytest.raises(OperatorError, match="store"):
        load(None, {"VUKA_STORE_URL": "mysql://db/hub"})


# --- statements ---------------------------------------------------------------------------------------------------


def test_placeholders_and_percent_signs_are_told_apart_from_text() -> None:
    assert _placed("SELECT '?%' , a % 2 FROM t WHERE b = ?") == "SELECT '?%%' , a %% 2 FROM t WHERE b = %b"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (a, b) VALUES (?, ? + 1)",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (b) DO UPDATE SET a = excluded.a",
        "INSERT INTO t (a, b) VALUES (?, 1) ON CONFLICT (a, b) DO UPDATE SET a = excluded.a",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET b = (SELECT MAX(b) FROM t)",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) WHERE a > 1 DO UPDATE SET b = 1",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET b = ?",
        "UPDATE t SET a = a + ? WHERE b = ?",
        "UPDATE t SET a = ? WHERE b = ? OR c = ?",
        "UPDATE t SET a = ? WHERE b > ?",
        "UPDATE t SET a = ?",
        "DELETE FROM t WHERE a = (SELECT 1) AND b = ?",
        "DELETE FROM t WHERE a = '?' AND b = ?",
    ],
)
def test_what_may_mean_something_else_over_arrays_is_run_row_by_row(sql: str) -> None:
    assert _as_many(sql) is None


def test_the_statements_of_the_hot_path_run_over_arrays() -> None:
    from vuka.engine import outbox
    from vuka.ledger import sql
    from vuka.switch import journal, obligations, records

    for statement in (
        journal._INSERT_SUBJECT,
        outbox._INSERT_MISSING,
        outbox._UPSERT,
        obligations._ADD,
        records._INSERT,
        records._INSERT_CHANGE,
        records._UPDATE,
        sql._UPDATE_ACCOUNT,
        sql._INSERT_BALANCE,
    ):
        assert _as_many(statement) is not None, statement


def test_every_store_of_the_tests_is_of_the_head() -> None:
    assert stores.HEAD == HEAD
