"""An engine whose ledger is elsewhere, and out of reach: it refuses early, leaves nothing half done, and recovers."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests import stores
from tests.ledger.engines import SqlEngine
from tests.stores import on_disk
from tests.switch.scheme_bench import new_transfer_id

from vuka.api.hub import USE_CASES, open_database
from vuka.api.wire import FspiopWire
from vuka.clock import clock_ms
from vuka.config import Config
from vuka.config import Engine as EngineSettings
from vuka.engine.membership import Identity
from vuka.engine.node import Engine as Node
from vuka.engine.nodes import nodes
from vuka.errors import FspiopError
from vuka.ids import HUB, FspId
from vuka.ledger import chart, terms
from vuka.ledger.model import Ledger, LedgerUnavailableError
from vuka.ledger.sql import SqlLedger
from vuka.ledger.terms import TermEndedError
from vuka.ledger.tigerbeetle import Cluster
from vuka.money import Amount
from vuka.store import Tx
from vuka.switch.audit import Difference, audit
from vuka.switch.directory import HEADROOM, POSITION, SETTLEMENT
from vuka.switch.funds import FundsState, RecordFundsIn
from vuka.switch.participants import CreateParticipant, SetInitialPositionAndLimits
from vuka.switch.records import State

PAYER = FspId("payerfsp")


class Elsewhere(SqlEngine):
    """A ledger elsewhere, and its session: it may be out of reach, or fall silent in the middle of a batch."""

    def __init__(self, path: Path) -> None:
        super().__init__(on_disk(path))
        self.is_reachable = True
        self.answers: float = math.inf
        """Requests that it still answers."""
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[SqlLedger]:
        with self._one_at_a_time, self._request() as ledger:
            yield ledger

    @contextmanager
    def _request(self) -> Iterator[SqlLedger]:
        self.now_ns = max(self.now_ns, clock_ms() * 1_000_000)
        if self.answers <= 0:
            self.is_reachable = False
            raise LedgerUnavailableError
        self.answers -= 1
        with super().request() as ledger:
            yield ledger

    def ping(self) -> None:
        """The test says when it is there."""

    def for_looking(self, _tx: Tx, _now_ns: int) -> Ledger:
        return cast(Ledger, self)

    def comes_back(self) -> None:
        self.answers, self.is_reachable = math.inf, True

    @property
    def placed(self) -> int:
        """What the payer has placed at the settlement bank, in minor units."""
        (account,) = self.lookup_accounts([chart.account_id(PAYER, "USD", SETTLEMENT)])
        return chart.liquidity_cover(account)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    ledger = Elsewhere(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
async def engine(tmp_path: Path, elsewhere: Elsewhere) -> AsyncIterator[Node]:
    config = stores.configured(Config(data_dir=str(tmp_path / "hub"), engine=EngineSettings(timer_ms=10)))
    stores.found(config, "Elsewhere", ["USD"])
    kinds = ("HUB_RECONCILIATION", "HUB_MULTILATERAL_SETTLEMENT", "HUB_ON_US")
    elsewhere.create_accounts([chart.account(HUB, "USD", kind) for kind in kinds])
    database = open_database(config)
    engine = Node(
        config=config,
        database=database,
        use_cases=USE_CASES,
        wire=FspiopWire(),
        ledger=lambda _tx, _now_ns: elsewhere,
        clock_ms=clock_ms,
        jitter=lambda: 0.0,
        identity=Identity.draw("here@boot") if database.is_remote else None,
        cluster=cast(Cluster, elsewhere),
    )
    await engine.start()
    await engine.submit(CreateParticipant(name=PAYER, currency="USD", is_proxy=False))
    await engine.submit(
        SetInitialPositionAndLimits(name=PAYER, currency="USD", limit_type="NET_DEBIT_CAP", value=1_000_0000)
    )
    yield engine
    elsewhere.comes_back()
    await engine.stop()
    database.close()


def _funds_in(engine: Node, amount: str) -> RecordFundsIn:
    transfer_id, wire_id = new_transfer_id()
    return RecordFundsIn(
        name=PAYER,
        account_id=engine.directory.participants[PAYER].accounts["USD", SETTLEMENT].account_id,
        transfer_id=transfer_id,
        wire_id=wire_id,
        amount=Amount.from_string(amount),
        reason="funds",
        external_reference="bank",
    )


async def _until_recovered(engine: Node) -> None:
    async with asyncio.timeout(10):
        while engine._behind_ledger or not engine.writes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _intents(engine: Node) -> int:
    return engine.read(lambda tx, _ledger, _directory: len(tx.query("SELECT * FROM ledger_intent")))


async def test_what_was_under_way_when_the_ledger_fell_silent_is_ended_once_when_it_is_back(
    engine: Node, elsewhere: Elsewhere
) -> None:
    hundred = _funds_in(engine, "100 USD")
    # It takes the money in, and is not heard of again.
    elsewhere.answers = 1
    with pytest.raises(FspiopError) as told:
        await engine.submit(hundred)
    assert (told.value.code, told.value.status, engine.reaches_ledger) == ("2003", 503, False)
    elsewhere.comes_back()
    await _until_recovered(engine)
    assert (elsewhere.placed, _intents(engine)) == (100_0000, 0)
    again = await engine.submit(hundred)
    assert isinstance(again, FundsState)
    assert (again.state, elsewhere.placed) == (State.COMMITTED, 100_0000)


async def test_while_the_ledger_is_out_of_reach_requests_are_refused_before_they_are_accepted(
    engine: Node, elsewhere: Elsewhere
) -> None:
    elsewhere.is_reachable = False
    batches = engine.statistics.batches
    with pytest.raises(LedgerUnavailableError) as told:
        await engine.submit(_funds_in(engine, "100 USD"))
    assert (told.value.code, told.value.status, told.value.headers) == ("2003", 503, (("Retry-After", "1"),))
    assert (engine.queued, engine.statistics.batches, _intents(engine), elsewhere.placed) == (0, batches, 0, 0)
    elsewhere.comes_back()
    await engine.submit(_funds_in(engine, "100 USD"))
    assert elsewhere.placed == 100_0000


async def test_what_waited_when_the_ledger_fell_silent_is_refused_and_moves_nothing(
    engine: Node, elsewhere: Elsewhere
) -> None:
    elsewhere.answers = 0
    results = await asyncio.gather(
        *(engine.submit(_funds_in(engine, "1 USD")) for _ in range(3)), return_exceptions=True
    )
    assert {getattr(each, "code", None) for each in results} == {"2003"}
    elsewhere.comes_back()
    await _until_recovered(engine)
    # All were begun in one batch, so all are ended: who asks again learns so.
    assert (elsewhere.placed, _intents(engine)) == (3_0000, 0)


# --- several processes -----------------------------------------------------------------------------------------------


class Line:
    """One process's way to a ledger that several share. It may be cut, in the middle of a batch too."""

    shares_transaction = False

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self.is_reachable = True
        self.answers: float = math.inf

    def __getattr__(self, name: str) -> Any:
        def request(*arguments: Any) -> Any:
            if self.answers <= 0:
                self.is_reachable = False
                raise LedgerUnavailableError
            self.answers -= 1
            return getattr(self._elsewhere, name)(*arguments)

        return request

    def ping(self) -> None:
        """The test says when it is there."""

    def for_looking(self, _tx: Tx, _now_ns: int) -> Ledger:
        return cast(Ledger, self)

    def cut(self, after: int = 0) -> None:
        """After so many more requests."""
        self.answers = after

    def mend(self) -> None:
        self.answers, self.is_reachable = math.inf, True


@pytest.fixture
async def beside(engine: Node, elsewhere: Elsewhere) -> AsyncIterator[tuple[Node, Line]]:
    """A second process on the same database and ledger, with a line of its own."""
    line = Line(elsewhere)
    database = open_database(engine.config)
    other = Node(
        config=engine.config,
        database=database,
        use_cases=USE_CASES,
        wire=FspiopWire(),
        ledger=lambda _tx, _now_ns: cast(Ledger, line),
        clock_ms=clock_ms,
        jitter=lambda: 0.0,
        identity=Identity.draw("there@boot"),
        cluster=cast(Cluster, line),
    )
    await other.start()
    yield other, line
    line.mend()
    await other.stop()
    database.close()


@pytest.mark.store("postgresql")
async def test_two_processes_move_money_in_one_ledger_in_turn(
    engine: Node, elsewhere: Elsewhere, beside: tuple[Node, Line]
) -> None:
    other, _ = beside
    await _until_recovered(other)
    movements = [(each, _funds_in(engine, "10 USD")) for each in (engine, other) * 10]
    await asyncio.gather(*(each.submit(movement) for each, movement in movements))
    assert (elsewhere.placed, _intents(engine)) == (200_0000, 0)
    assert _differences(engine) == []


@pytest.mark.store("postgresql")
async def test_what_one_process_has_left_in_the_ledger_the_other_ends_before_anything_else(
    engine: Node, elsewhere: Elsewhere, beside: tuple[Node, Line]
) -> None:
    other, line = beside
    await _until_recovered(other)
    hundred = _funds_in(engine, "100 USD")
    # The money is in, its headroom is not granted, and the line is cut.
    line.cut(after=1)
    with pytest.raises(FspiopError):
        await other.submit(hundred)
    assert (elsewhere.placed, _intents(engine)) == (100_0000, 1)
    await engine.submit(_funds_in(engine, "1 USD"))
    assert (elsewhere.placed, _intents(engine)) == (101_0000, 0)
    assert _differences(engine) == []
    line.mend()
    again = await other.submit(hundred)
    assert isinstance(again, FundsState)
    assert (again.state, elsewhere.placed) == (State.COMMITTED, 101_0000)


@pytest.mark.store("postgresql")
async def test_a_process_that_others_have_carried_on_for_moves_nothing_in_its_old_term(
    engine: Node, elsewhere: Elsewhere, beside: tuple[Node, Line]
) -> None:
    other, line = beside
    await _until_recovered(other)
    term = other._rules.term
    line.cut(after=1)
    with pytest.raises(FspiopError):
        await other.submit(_funds_in(engine, "100 USD"))
    await engine.submit(_funds_in(engine, "1 USD"))
    grant = chart.grant_headroom(
        bytes(16),
        headroom=chart.account_id(PAYER, "USD", HEADROOM),
        position=chart.account_id(PAYER, "USD", POSITION),
        amount=1,
        currency="USD",
    )
    asked = terms.guarded(term, [grant])
    with pytest.raises(TermEndedError):
        terms.without_guards(asked, elsewhere.create_transfers(asked))
    line.mend()
    await other.submit(_funds_in(engine, "1 USD"))
    assert other._rules.term != term
    assert (elsewhere.placed, _differences(engine)) == (102_0000, [])


@pytest.mark.store("postgresql")
async def test_a_process_that_has_lost_the_ledger_goes_on_living_among_the_others(
    engine: Node, beside: tuple[Node, Line]
) -> None:
    other, line = beside
    await _until_recovered(other)
    line.cut()
    with pytest.raises(FspiopError):
        await other.submit(_funds_in(engine, "1 USD"))
    assert other._membership is not None
    number = other._membership.seat.number

    def beats() -> int:
        there = engine.read(lambda tx, _ledger, _directory: nodes(tx))
        return next(each.beats for each in there if each.number == number)

    before = beats()
    async with asyncio.timeout(10):
        while beats() < before + 2:  # noqa: ASYNC110 - it beats once a second
            await asyncio.sleep(0.05)
    assert other.writes
    assert not other.reaches_ledger


def _differences(engine: Node) -> list[Difference]:
    return engine.read(lambda tx, ledger, _directory: audit(tx, ledger, now_ms=clock_ms()).differences)
