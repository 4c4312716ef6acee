"""What is seen of an act at the tables: by every form of statement that the rules use, and that none fails for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest
from tests.switch.scheme_bench import SchemeBench

from vuka.switch.auditlog import Act
from vuka.switch.witness import CHANGES_MAX, asked, witnessed
from vuka.switch.work import Actor, ActorKind, Command, Outcome, Work

ALICE = Actor(ActorKind.OPERATOR, "alice")


class Anything(Command, frozen=True, kw_only=True):
    """An act that does what its test says."""


@pytest.fixture
def see() -> Callable[[Callable[[Work], None]], Act]:
    bench = SchemeBench()

    def seen(do: Callable[[Work], None]) -> Act:
        def decide(work: Work, commands: Sequence[Anything]) -> list[Outcome]:
            do(work)
            return [Outcome() for _ in commands]

        with bench.work() as work:
            _, act = witnessed(work, decide, Anything(actor=ALICE), ALICE)
            assert work.tx is not None
        return act

    return seen


See = Callable[[Callable[[Work], None]], Act]

_ORACLE = """INSERT INTO oracle_party (party_id_type, party_identifier, party_sub_id, currency, fsp_id, created_ms)
             VALUES (?, ?, '', 'USD', ?, 0)"""


def test_a_row_that_is_inserted_and_removed_by_one_act_is_no_change(see: See) -> None:
    def do(work: Work) -> None:
        work.tx.run(_ORACLE, ("MSISDN", "1", "a"))
        assert work.tx.run("DELETE FROM oracle_party WHERE party_identifier = ?", ("1",)) == 1

    assert see(do).changes == []


def test_a_row_that_is_changed_twice_is_told_as_at_first_and_in_the_end(see: See) -> None:
    see(lambda work: work.tx.run_many(_ORACLE, [("MSISDN", "1", "a"), ("MSISDN", "2", "a")]))

    def do(work: Work) -> None:
        for name in ("b", "c"):
            assert work.tx.run("UPDATE oracle_party SET fsp_id = ? WHERE party_identifier = ?", (name, "1")) == 1

    (change,) = see(do).changes
    assert (change.table, change.before, change.after) == ("oracle_party", {"fsp_id": "a"}, {"fsp_id": "c"})
    assert change.of["party_identifier"] == "1"


def test_a_condition_may_hold_another_and_so_may_what_is_set(see: See) -> None:
    see(lambda work: work.tx.run(_ORACLE, ("MSISDN", "where (", "a")))
    sql = """UPDATE oracle_party SET fsp_id = (SELECT name FROM participant WHERE name = ?), created_ms = created_ms + ?
             WHERE party_identifier IN (SELECT party_identifier FROM oracle_party WHERE party_identifier = ?)
               AND party_identifier <> 'a ? (where'"""
    (change,) = see(lambda work: work.tx.run(sql, ("Hub", 5, "where (")) and None).changes
    assert change.before == {"fsp_id": "a", "created_ms": 0}
    assert change.after == {"fsp_id": "Hub", "created_ms": 5}


def test_what_returns_something_still_returns_it(see: See) -> None:
    def do(work: Work) -> None:
        rows = work.tx.query(f"{_ORACLE} RETURNING party_identifier, fsp_id", ("MSISDN", "7", "a"))
        assert rows == [("7", "a")]
        assert work.tx.query("DELETE FROM oracle_party WHERE fsp_id = ? RETURNING fsp_id", ("nobody",)) == []

    (change,) = see(do).changes
    assert change.before is None


def test_a_row_in_the_way_that_stays_is_no_change(see: See) -> None:
    see(lambda work: work.tx.run(_ORACLE, ("MSISDN", "1", "a")) and None)
    act = see(lambda work: work.tx.run(f"{_ORACLE} ON CONFLICT DO NOTHING", ("MSISDN", "1", "a")) and None)
    assert act.changes == []


def test_a_statement_of_a_form_that_is_not_known_is_told_itself(see: See) -> None:
    sql = """WITH who AS (SELECT name FROM participant WHERE name = 'Hub')
             UPDATE participant SET is_proxy = 1 WHERE name IN (SELECT name FROM who)"""
    (change,) = see(lambda work: work.tx.run(sql) and None).changes
    assert change.after is not None
    assert str(change.after["statement"]).startswith("WITH who AS")


def test_of_very_many_changes_the_rest_is_counted(see: See) -> None:
    rows = [("MSISDN", str(number), "a") for number in range(CHANGES_MAX + 7)]
    act = see(lambda work: work.tx.run_many(_ORACLE, rows))
    assert (len(act.changes), act.left_out) == (CHANGES_MAX, 7)


class Long(Command, frozen=True, kw_only=True):
    """An act that asks for more than an entry can hold."""

    number: int
    numbers: tuple[int, ...]


def test_a_number_that_no_entry_can_hold_is_kept_as_text_and_a_list_says_what_is_left_out() -> None:
    told = asked(Long(number=-(1 << 127), numbers=tuple(range(CHANGES_MAX + 2)), actor=ALICE))
    assert told == {"number": str(-(1 << 127)), "numbers": [*range(CHANGES_MAX), "and 2 more"]}
    msgspec.msgpack.encode(told)


def test_what_is_large_is_kept_as_its_digest(see: See) -> None:
    act = see(lambda work: work.tx.run(_ORACLE, ("MSISDN", "x" * 5_000, "a")) and None)
    (change,) = act.changes
    assert change.after is not None
    kept = change.after["party_identifier"]
    assert isinstance(kept, dict)
    assert (kept["characters"], len(str(kept["sha256"]))) == (5_000, 64)


def test_a_transaction_is_its_own_again_afterwards() -> None:
    bench = SchemeBench()
    with bench.work() as work:
        tx, ledger = work.tx, work.ledger

        def decide(_work: Work, _commands: Sequence[Anything]) -> list[Outcome]:
            raise RuntimeError("a defect")

        with pytest.raises(RuntimeError):
            witnessed(work, decide, Anything(actor=ALICE), ALICE)
        assert (work.tx, work.ledger) == (tx, ledger)
    bench.close()
