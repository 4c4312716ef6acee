"""What a batch costs the database: a handful of statements, however long the batch and however full the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import pytest
from tests import stores
from tests.ledger.engines import SqlEngine
from tests.ledger.events import A, T, account, move, open_accounts, pending, post, transfer, void

from vuka.ledger.model import Transfer
from vuka.store import Row, Tx, Value

STATEMENTS_MAX = 16
"""The most statements of any batch: one reads the clock, at most five read, at most seven write; expiry adds a few."""


class CountingTx:
    """A transaction that notes what is asked of it. A statement run for many rows counts once: it is prepared once."""

    def __init__(self, tx: Tx, statements: list[str]) -> None:
        self._tx = tx
        self._statements = statements

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        self._statements.append(sql)
        return self._tx.query(sql, parameters)

    def query_in(self, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> list[Row]:
        self._statements.append(sql)
        return self._tx.query_in(sql, values, parameters)

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self._statements.append(sql)
        return self._tx.run(sql, parameters)

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._statements.append(sql)
        self._tx.run_many(sql, rows)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        self._tx.on_rollback(undo)


class CountingEngine(SqlEngine):
    """The embedded ledger, which tells what its requests cost."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        super().__init__(stores.fresh(), wrap=lambda tx: CountingTx(tx, self.statements))
        self.ids = count(1_000)

    def cost(self, transfers: Sequence[Transfer]) -> int:
        """The number of statements of a batch that must succeed."""
        self.statements.clear()
        move(self, *transfers)
        return len(self.statements)

    def payments(self, number: int) -> list[Transfer]:
        """Five transfers in turn: a reservation and its post, another and its void, and a plain one."""
        batch: list[Transfer] = []
        for index in range(number // 5):
            debit, credit = 1 + index % 50, 51 + index % 50
            reserved, held = next(self.ids), next(self.ids)
            batch += [
                pending(reserved, debit, credit, 10, timeout=60),
                post(next(self.ids), reserved),
                pending(held, debit, credit, 10, timeout=60),
                void(next(self.ids), held, flags=T.linked),
                transfer(next(self.ids), debit, credit, 1, T.balancing_debit, user_data_64=7),
            ]
        return batch


@pytest.fixture
def engine() -> Iterator[CountingEngine]:
    engine = CountingEngine()
    open_accounts(engine, *(account(id, A.history) for id in range(1, 101)))
    yield engine
    engine.close()


def test_a_batch_of_any_length_costs_the_same_few_statements(engine: CountingEngine) -> None:
    costs = {length: engine.cost(engine.payments(length)) for length in (10, 100, 1_000, 5_000)}
    assert len(set(costs.values())) == 1, costs
    assert costs[10] <= STATEMENTS_MAX


def test_a_batch_costs_the_same_in_a_full_ledger_as_in_an_empty_one(engine: CountingEngine) -> None:
    when_empty = engine.cost(engine.payments(100))
    for _ in range(5):
        move(engine, *engine.payments(2_000))
    assert engine.cost(engine.payments(100)) == when_empty


def test_refusals_cost_no_more_than_successes(engine: CountingEngine) -> None:
    success = engine.cost(engine.payments(100))
    engine.statements.clear()
    engine.create_transfers([transfer(next(engine.ids), 1, 999, 1) for _ in range(100)])
    assert len(engine.statements) <= success


def test_expiring_many_costs_the_same_as_expiring_one(engine: CountingEngine) -> None:
    def cost_of_expiring(number: int) -> int:
        move(engine, *(pending(next(engine.ids), 1, 2, 1, timeout=1) for _ in range(number)))
        engine.advance(2)
        return engine.cost([transfer(next(engine.ids), 3, 4, 1)])

    assert cost_of_expiring(1) == cost_of_expiring(1_000) <= STATEMENTS_MAX


@pytest.mark.store("sqlite")
def test_no_statement_reads_a_whole_table(engine: CountingEngine) -> None:
    move(engine, *engine.payments(100))
    move(engine, pending(next(engine.ids), 1, 2, 1, timeout=1))
    engine.advance(2)
    engine.cost(engine.payments(10))
    with engine.database.begin() as tx:
        for sql in dict.fromkeys(engine.statements):
            text = sql.replace("{values}", "(?)")
            plan = [row[3] for row in tx.query(f"EXPLAIN QUERY PLAN {text}", (None,) * text.count("?"))]
            scans = [step for step in plan if step.startswith("SCAN") and "CONSTANT ROW" not in step]
            assert not scans, f"{scans} in {sql}"
