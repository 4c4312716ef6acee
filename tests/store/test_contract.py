"""The contract of `vuka.store`: what the rules of the scheme rely on means the same on every store."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from tests import stores

from vuka.store import Database, Row, Value
from vuka.switch import obligations

pytestmark = pytest.mark.store("sqlite", "postgresql")

NS = 1_700_000_000_000_000_000
INSERT = "INSERT INTO transfer_state_change (transfer_seq, step, state, reason, created_ms) VALUES (?, ?, ?, ?, ?)"


@pytest.fixture
def database() -> Iterator[Database]:
    database = stores.fresh()
    yield database
    database.close()


def write(database: Database, sql: str, rows: list[tuple[Value, ...]]) -> None:
    with database.begin() as tx:
        tx.run_many(sql, rows)


def changes(database: Database) -> list[Row]:
    with database.read() as tx:
        return [
            tuple(row)
            for row in tx.query(
                "SELECT transfer_seq, step, state, reason FROM transfer_state_change ORDER BY transfer_seq, step"
            )
        ]


# --- statements ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_a_statement_for_many_rows_is_that_statement_for_each(database: Database, count: int) -> None:
    write(database, INSERT, [(number, 1, "RECEIVED", None, NS) for number in range(count)])
    assert changes(database) == [(number, 1, "RECEIVED", None) for number in range(count)]


def test_rows_may_leave_columns_empty_each_in_its_own_way(database: Database) -> None:
    write(database, INSERT, [(1, 1, "A", None, 0), (2, 1, "B", "why", 0), (3, 1, "C", "", 0)])
    assert changes(database) == [(1, 1, "A", None), (2, 1, "B", "why"), (3, 1, "C", "")]


@pytest.mark.parametrize("again", [False, True], ids=["apart", "on one row"])
def test_what_is_added_to_a_row_that_is_there_or_not_is_added_once_for_each(database: Database, again: bool) -> None:
    for _ in range(2):
        rows: list[tuple[Value, ...]] = [(1, 7, 8, 0, 1, 10, 1), (1, 8, 7, 0, 2, 20, 1)]
        write(database, obligations._ADD, [*rows, *rows] if again else rows)
    with database.read() as tx:
        found = tx.query("SELECT debtor_account_id, amount_high, amount_low, transfers FROM window_flow ORDER BY 1")
    times = 4 if again else 2
    assert [tuple(row) for row in found] == [(7, times, 10 * times, times), (8, 2 * times, 20 * times, times)]


def test_what_is_constant_in_a_statement_stands_beside_what_each_row_says(database: Database) -> None:
    sql = "INSERT INTO transfer_state_change (transfer_seq, step, state, created_ms) VALUES (?, 7, 'is it 5%?', ?)"
    write(database, sql, [(1, 0), (2, 0)])
    assert changes(database) == [(1, 7, "is it 5%?", None), (2, 7, "is it 5%?", None)]


def test_an_update_that_meets_a_row_twice_leaves_it_as_the_last_one_says(database: Database) -> None:
    write(database, INSERT, [(1, 1, "A", None, 0), (2, 1, "A", None, 0)])
    update = "UPDATE transfer_state_change SET state = ?, reason = ? WHERE transfer_seq = ? AND step = ?"
    write(database, update, [("B", "first", 1, 1), ("C", None, 2, 1), ("D", None, 1, 1)])
    assert changes(database) == [(1, 1, "D", None), (2, 1, "C", None)]


def test_an_update_may_compute_with_what_is_there(database: Database) -> None:
    write(database, INSERT, [(number, number, "A", None, 0) for number in (1, 2, 3)])
    write(database, "UPDATE transfer_state_change SET step = step + 10 WHERE transfer_seq = ?", [(1,), (3,)])
    assert changes(database) == [(1, 11, "A", None), (2, 2, "A", None), (3, 13, "A", None)]


def test_an_update_of_every_row_for_each_of_many_leaves_the_last(database: Database) -> None:
    write(database, INSERT, [(1, 1, "A", None, 0), (2, 1, "A", None, 0)])
    write(database, "UPDATE transfer_state_change SET state = ?", [("B",), ("C",)])
    assert [row[2] for row in changes(database)] == ["C", "C"]


def test_conditions_beside_the_key_are_kept(database: Database) -> None:
    write(database, INSERT, [(1, 1, "A", None, 0), (2, 1, "Z", None, 0), (3, 1, "A", None, 0)])
    write(
        database,
        "UPDATE transfer_state_change SET reason = ? WHERE transfer_seq = ? AND state <> 'Z'",
        [("x", 1), ("x", 2)],
    )
    write(database, "DELETE FROM transfer_state_change WHERE transfer_seq = ? AND state <> ?", [(2, "Z"), (3, "Z")])
    assert changes(database) == [(1, 1, "A", "x"), (2, 1, "Z", None)]


def test_a_null_is_equal_to_nothing(database: Database) -> None:
    write(database, INSERT, [(1, 1, "A", None, 0), (2, 1, "B", None, 0)])
    write(database, "DELETE FROM transfer_state_change WHERE reason = ?", [(None,), (None,), ("x",)])
    assert len(changes(database)) == 2


def test_what_is_there_already_may_be_left_as_it_is(database: Database) -> None:
    write(database, INSERT, [(1, 1, "A", None, 0)])
    write(
        database, f"{INSERT} ON CONFLICT DO NOTHING", [(1, 1, "B", None, 0), (2, 1, "C", None, 0), (2, 1, "D", None, 0)]
    )
    assert changes(database) == [(1, 1, "A", None), (2, 1, "C", None)]


def test_what_is_there_already_may_be_added_to_more_than_once(database: Database) -> None:
    sql = """INSERT INTO window_flow (settlement_window_id, debtor_account_id, creditor_account_id, is_immediate,
                                      amount_high, amount_low, transfers) VALUES (?, ?, ?, 0, ?, ?, 1)
             ON CONFLICT (settlement_window_id, debtor_account_id, creditor_account_id, is_immediate) DO UPDATE
             SET amount_low = window_flow.amount_low + excluded.amount_low, transfers = window_flow.transfers + 1"""
    write(database, sql, [(1, 2, 3, 0, 5), (1, 2, 4, 0, 7), (1, 2, 3, 0, 6)])
    with database.read() as tx:
        assert tx.query("SELECT creditor_account_id, amount_low, transfers FROM window_flow ORDER BY 1") == [
            (3, 11, 2),
            (4, 7, 1),
        ]


def test_a_list_asked_for_may_be_empty_long_and_with_repetitions(database: Database) -> None:
    write(database, INSERT, [(number, 1, "A", None, 0) for number in range(100)])
    sql = "SELECT transfer_seq FROM transfer_state_change WHERE step = ? AND transfer_seq IN {values} AND state <> 'Z'"
    with database.read() as tx:
        assert tx.query_in(sql, [], (1,)) == []
        assert sorted(row[0] for row in tx.query_in(sql, [7, 3, 7, 10**12], (1,))) == [3, 7]
        assert len(tx.query_in(sql, list(range(20_000)), (1,))) == 100


def test_a_list_may_be_of_bytes_or_of_text(database: Database) -> None:
    with database.begin() as tx:
        tx.run_many("INSERT INTO ledger_failed (id) VALUES (?)", [(bytes([n]) * 16,) for n in range(3)])
        assert len(tx.query_in("SELECT id FROM ledger_failed WHERE id IN {values}", [b"\0" * 16, b"\2" * 16, b""])) == 2
        tx.run_many(INSERT, [(1, 1, "A", None, 0), (2, 1, "B", None, 0)])
        assert tx.query_in("SELECT transfer_seq FROM transfer_state_change WHERE state IN {values}", ["B", "?"]) == [
            (2,)
        ]


def test_a_statement_says_how_many_rows_it_touched(database: Database) -> None:
    write(database, INSERT, [(number, 1, "A", None, 0) for number in range(3)])
    with database.begin() as tx:
        assert tx.run("UPDATE transfer_state_change SET state = 'B' WHERE transfer_seq >= ?", (1,)) == 2
        assert tx.run("UPDATE transfer_state_change SET state = 'B' WHERE transfer_seq = ?", (9,)) == 0


def test_the_key_of_a_new_row_is_told_and_keys_grow(database: Database) -> None:
    sql = """INSERT INTO settlement_window (state, reason, created_ms, changed_ms) VALUES ('OPEN', ?, 0, 0)
             RETURNING settlement_window_id"""
    with database.begin() as tx:
        ((first,),) = tx.query(sql, ("one",))
        ((second,),) = tx.query(sql, ("two",))
    assert (first, second) == (1, 2)


# --- values -------------------------------------------------------------------------------------------------------


def test_numbers_come_back_as_they_went_to_the_last_of_64_bits(database: Database) -> None:
    numbers = [0, 1, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)]
    write(database, INSERT, [(number, 1, "A", None, number) for number in numbers])
    with database.read() as tx:
        found = tx.query("SELECT transfer_seq, created_ms FROM transfer_state_change ORDER BY 1")
    assert found == [(number, number) for number in sorted(numbers)]


def test_a_sum_is_an_integer(database: Database) -> None:
    write(database, INSERT, [(number, 1, "A", None, NS) for number in range(3)])
    with database.read() as tx:
        ((total, count, nothing),) = tx.query(
            "SELECT SUM(created_ms), COUNT(*), (SELECT SUM(created_ms) FROM transfer_state_change WHERE step = 9)"
            " FROM transfer_state_change"
        )
    assert (total, type(total), count, nothing) == (3 * NS, int, 3, None)


def test_true_is_one_and_false_is_zero(database: Database) -> None:
    write(database, INSERT, [(1, True, "A", None, False), (2, 0, "A", None, True)])
    with database.read() as tx:
        assert tx.query("SELECT step, created_ms FROM transfer_state_change ORDER BY transfer_seq") == [(1, 0), (0, 1)]


@pytest.mark.parametrize("text", ["", "ကောင်းထက်စံ", "it's 100%", "a?b", "\\", "😀", "line\nline"])
def test_text_comes_back_as_it_went(database: Database, text: str) -> None:
    write(database, INSERT, [(1, 1, text, text, 0)])
    with database.read() as tx:
        assert tx.query("SELECT reason FROM transfer_state_change WHERE state = ?", (text,)) == [(text,)]


def test_a_nul_in_text_harms_nobody_and_is_found_again(database: Database) -> None:
    write(database, INSERT, [(1, 1, "a\0b", "\0", 0), (2, 1, "A", None, 0)])
    write(database, INSERT, [(3, 1, "c\0", None, 0)])
    write(database, "UPDATE transfer_state_change SET reason = ? WHERE state = ?", [("x", "c\0"), ("y", "A")])
    with database.read() as tx:
        assert tx.query("SELECT transfer_seq FROM transfer_state_change WHERE state = ?", ("a\0b",)) == [(1,)]
        found = tx.query_in("SELECT transfer_seq FROM transfer_state_change WHERE state IN {values}", ["a\0b", "c\0"])
        assert sorted(found) == [(1,), (3,)]
        assert tx.query("SELECT transfer_seq, reason FROM transfer_state_change WHERE transfer_seq > 1 ORDER BY 1") == [
            (2, "y"),
            (3, "x"),
        ]


def test_bytes_come_back_as_they_went(database: Database) -> None:
    every = bytes(range(256))
    with database.begin() as tx:
        tx.run("INSERT INTO ledger_failed (id) VALUES (?)", (every,))
        ((found,),) = tx.query("SELECT id FROM ledger_failed WHERE id = ?", (every,))
    assert (found, type(found)) == (every, bytes)


# --- transactions -------------------------------------------------------------------------------------------------


def test_what_a_savepoint_undoes_is_undone_alone(database: Database) -> None:
    undone: list[str] = []
    with database.begin() as tx:
        tx.run(INSERT, (1, 1, "A", None, 0))
        with contextlib.suppress(KeyError), tx.savepoint():
            tx.run(INSERT, (2, 1, "A", None, 0))
            tx.on_rollback(lambda: undone.append("inner"))
            raise KeyError
        with tx.savepoint():
            tx.run(INSERT, (3, 1, "A", None, 0))
            tx.on_rollback(lambda: undone.append("outer"))
    assert ([row[0] for row in changes(database)], undone) == ([1, 3], ["inner"])


def test_a_statement_that_fails_in_a_savepoint_costs_no_more_than_that(database: Database) -> None:
    with database.begin() as tx:
        tx.run(INSERT, (1, 1, "A", None, 0))
        with pytest.raises(Exception, match=r"(?i)unique"), tx.savepoint():
            tx.run(INSERT, (1, 1, "B", None, 0))
        assert not tx.given_up
        tx.run(INSERT, (2, 1, "A", None, 0))
    assert [row[0] for row in changes(database)] == [1, 2]


def test_a_rollback_leaves_nothing_in_tables_or_memory(database: Database) -> None:
    undone: list[int] = []
    tx = database.start()
    tx.run(INSERT, (1, 1, "A", None, 0))
    tx.on_rollback(lambda: undone.append(1))
    tx.on_rollback(lambda: undone.append(2))
    tx.rollback()
    assert (tx.closed, undone, changes(database)) == (True, [2, 1], [])


def test_a_block_that_raises_is_rolled_back(database: Database) -> None:
    with contextlib.suppress(KeyError), database.begin() as tx:
        tx.run(INSERT, (1, 1, "A", None, 0))
        raise KeyError
    assert changes(database) == []


@pytest.mark.store("postgresql")
def test_a_read_is_of_one_moment_whatever_is_written_beside_it(database: Database) -> None:
    with database.read() as tx:
        before = tx.query("SELECT COUNT(*) FROM transfer_state_change")
        write(database, INSERT, [(1, 1, "A", None, 0)])
        assert tx.query("SELECT COUNT(*) FROM transfer_state_change") == before
    assert len(changes(database)) == 1


@pytest.mark.store("postgresql")
def test_writers_run_one_after_another_and_each_sees_what_the_one_before_left(database: Database) -> None:
    from vuka.store.postgresql import Database as PostgresDatabase

    assert isinstance(database, PostgresDatabase)
    write(database, INSERT, [(1, 0, "A", None, 0)])

    def adds_one(times: int) -> None:
        other = PostgresDatabase.open(database.url)
        for _ in range(times):
            with other.begin() as tx:
                ((step,),) = tx.query("SELECT step FROM transfer_state_change WHERE transfer_seq = 1")
                tx.run("UPDATE transfer_state_change SET step = ? WHERE transfer_seq = 1", (step + 1,))
        other.close()

    threads = [threading.Thread(target=adds_one, args=(50,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert changes(database) == [(1, 200, "A", None)]
