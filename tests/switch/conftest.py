"""Fixtures of the rules' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests import tigerbeetle
from tests.ledger.engines import Apart
from tests.switch.scheme_bench import SchemeBench

from vuka.ledger.model import Ledger
from vuka.ledger.sql import SqlLedger
from vuka.store import Tx

MakeLedger = Callable[[Tx, int], Ledger]


@pytest.fixture(params=["embedded", pytest.param("tigerbeetle", marks=tigerbeetle.GROUP)])
def make_ledger(request: pytest.FixtureRequest) -> MakeLedger:
    """Where a scheme keeps its money: the rules hold on every ledger."""
    if request.param == "embedded":
        return SqlLedger
    apart = Apart()
    return lambda _tx, _now_ns: apart


@pytest.fixture
def hub(make_ledger: MakeLedger) -> Iterator[SchemeBench]:
    """A scheme with the hub's accounts in USD and EUR, and no participants. The books must balance in the end."""
    bench = SchemeBench(ledger=make_ledger)
    yield bench
    bench.audit()
    bench.close()
