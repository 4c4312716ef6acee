"""A ledger that does not wait for the commit: whatever instant the hub dies at, it ends as if it had not.

Each story is run once undisturbed, and once for every instant at which a process may die: before and after each request
that it makes of the ledger, and before the commit of its records. The next process recovers, and then all must be as in
the undisturbed run: every figure, every state, every message. The ledger elsewhere is one in a database of its own, and
a real cluster.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import msgspec
import pytest
from tests import tigerbeetle
from tests.ledger.engines import Apart, SqlEngine
from tests.stores import on_disk
from tests.switch.banking import Banking, statement_files
from tests.switch.charging import SIX_PER_MILLE, fee_rule
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling
from tests.switch.wire import EXPIRY_MS, OTHER, PAYEE, PAYER, abort, fulfil, prepare, reserved

from vuka.api.hub import USE_CASES
from vuka.api.wire import FspiopWire
from vuka.config import Scheme
from vuka.engine import intents
from vuka.engine.batch import Batch, Rules, run_batch
from vuka.engine.outbox import Outbox
from vuka.ids import FspId
from vuka.ledger import chart, terms
from vuka.ledger.model import NS_PER_S, Ledger
from vuka.money import Currency
from vuka.plugins import ADJUSTMENT, POSITION_CHANGE
from vuka.store import Tx
from vuka.switch.account_types import AddLedgerAccountType
from vuka.switch.audit import audit
from vuka.switch.bank_statements import ImportStatement
from vuka.switch.directory import DirectoryCache
from vuka.switch.fees import SetFeeRules
from vuka.switch.gross_settlement import SettleGross
from vuka.switch.participants import (
    AdjustLimit,
    CreateHubAccount,
    CreateParticipant,
    Endpoint,
    SetAccountActive,
    SetEndpoints,
    SetInitialPositionAndLimits,
    SetParticipantActive,
    SetParticipantVersion,
)
from vuka.switch.reconciliation import reconcile
from vuka.switch.records import State
from vuka.switch.settlement_models import AddSettlementModel, SetSettlementModelActive
from vuka.switch.settlements import AbortSettlement, CreateSettlement, FinaliseSettlement
from vuka.switch.transfers import ExpireTransfers, PrepareTransfer
from vuka.switch.windows import CloseWindow
from vuka.switch.work import Command


class DiedError(BaseException):
    """The process is gone: nothing of ours may catch it."""


class Mortal:
    """A ledger elsewhere, and a process that may die at one of the requests it makes of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.requests = 0
        self.dies_at: float | None = None
        """Before the request of this number, or, with a half, after it."""

    shares_transaction = False
    late: Callable[[], Any] | None = None
    """The request before which it died: it may still be on its way."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._ledger, name)

        def request(*arguments: Any) -> Any:
            self.requests += 1
            if self.dies_at == self.requests:
                self.late = partial(function, *arguments)
                raise DiedError
            answer = function(*arguments)
            if self.dies_at == self.requests + 0.5:
                raise DiedError
            return answer

        return request


class Process:
    """A hub's batches as its engine runs them over a ledger elsewhere, and its recovery."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = Mortal(ledger)
        self.bench = SchemeBench(ledger=self._open, rules=Scheme(on_us_transfers=True))
        self.settling = Settling(self.bench)
        self.messages: list[tuple[str, str, str, str]] = []
        self.outbox = Outbox()
        self._rules = Rules(USE_CASES, self.bench.rules, FspiopWire(), self._open, DirectoryCache().load, journal=True)
        self.recover()

    def _open(self, _tx: Tx, _now_ns: int) -> Ledger:
        return self.ledger  # type: ignore[return-value]

    def next_id(self) -> int:
        return self.bench._keys.next(self.bench.now_ms)

    def run(self, *commands: Command, at_commit: Callable[[], None] = lambda: None) -> None:
        """One batch; ``at_commit`` may let the process die just before the records are durable."""
        with self.bench.database.begin() as tx:
            begun = intents.write(tx, commands, term=self._rules.term, now_ms=self.bench.now_ms, next_id=self.next_id)
        with self.bench.database.begin() as tx:
            batch = run_batch(
                tx, self._rules, commands, now_ms=self.bench.now_ms, next_id=self.next_id, outbox=self.outbox
            )
            intents.strike_out(tx, begun)
            at_commit()
        self._keep([batch])

    def recover(self) -> None:
        """What the next process does first."""
        self._rules = msgspec.structs.replace(self._rules, term=secrets.randbelow(terms.TERM_MAX) + 1)
        with self.bench.database.begin() as tx:
            intents.mark(tx, self.next_id(), term=self._rules.term, now_ms=self.bench.now_ms)
        with self.bench.database.begin() as tx:
            self.outbox = Outbox()
            batches = intents.recover(
                tx, self._rules, now_ms=self.bench.now_ms, next_id=self.next_id, outbox=self.outbox
            )
        self._keep(batches)

    def _keep(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            if batch.written is not None:
                self.outbox.committed(batch.written)
            for each in batch.outgoing:
                target: Any = each.delivery.target
                self.messages.append((each.delivery.to, target.method, target.resource, target.resource_id))

    def state(self, prepared: PrepareTransfer) -> State:
        return self.bench.transfer(prepared.transfer_id).state

    def all_there_is(self) -> dict[str, Any]:
        """Every figure and every state that anybody is shown."""
        tables = {
            name: self.bench.read(lambda tx, _ledger, _directory, sql=sql: sorted(tx.query(sql), key=str))
            for name, sql in {
                "transfers": "SELECT wire_id, kind, state, fulfilment, error_code, settlement_window_id FROM transfer"
                " WHERE wire_id LIKE '%-0000-4000-8000-000000000000'",
                "flows": "SELECT * FROM window_flow",
                "settlements": "SELECT settlement_id, state FROM settlement",
                "accounts": "SELECT settlement_id, account_id, state FROM settlement_account",
                "unsettled": "SELECT COUNT(*) FROM gross_unsettled",
                "caps": "SELECT account_id, value, is_active FROM participant_limit",
                "statements": "SELECT settlement_id, movements FROM bank_statement",
                "shortfalls": "SELECT account_id, amount FROM shortfall",
                "fees": "SELECT rule, amount, debtor_account_id, creditor_account_id FROM fee",
            }.items()
        }
        figures = {
            (participant.name, currency, kind): self.bench.figures(participant.name, currency, kind).value
            for participant in self.bench.directory.participants.values()
            for currency, kind in participant.accounts
            if kind in ("POSITION", "SETTLEMENT", "HUB_MULTILATERAL_SETTLEMENT", "HUB_RECONCILIATION")
        }
        available = {name: self.bench.available(name, "USD") for name in (PAYER, PAYEE, OTHER)}
        notified = self.bench.read(
            lambda tx, _ledger, _directory: tx.query("SELECT kind, participant, currency, data FROM notification")
        )
        told = sorted((kind, fsp, code, sorted(json.loads(data).items())) for kind, fsp, code, data in notified)
        return {**tables, "told": told, "figures": figures, "available": available, "messages": sorted(self.messages)}


Story = Callable[[Process], Sequence[Command]]
"""Prepares what is needed and gives the commands of the batch in which the process dies."""

STORIES: Final[dict[str, Story]] = {}


def story(function: Story) -> Story:
    STORIES[function.__name__] = function
    return function


WIRE_IDS: Final = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(1, 20)]


def _reserved(process: Process, place: int, amount: str = "10 USD", **fields: Any) -> PrepareTransfer:
    prepared = prepare(process.bench, amount, wire_id=WIRE_IDS[place], **fields)
    process.run(prepared)
    return prepared


@story
def a_fulfilment(process: Process) -> Sequence[Command]:
    return [fulfil(process.bench, _reserved(process, 0))]


@story
def a_fulfilment_that_waits_for_the_hub(process: Process) -> Sequence[Command]:
    return [reserved(process.bench, _reserved(process, 0))]


@story
def an_abort(process: Process) -> Sequence[Command]:
    return [abort(process.bench, _reserved(process, 0))]


@story
def a_payment_to_oneself(process: Process) -> Sequence[Command]:
    return [fulfil(process.bench, _reserved(process, 0, payee=PAYER), source=PAYER)]


@story
def ends_of_all_kinds_and_funds_in_one_batch(process: Process) -> Sequence[Command]:
    one, two, own = (_reserved(process, 0), _reserved(process, 1), _reserved(process, 2, payee=PAYER))
    return [
        process.bench.funds_in(PAYEE, "50 USD", wire_id=WIRE_IDS[10], transfer_id=_raw(10)),
        fulfil(process.bench, one),
        abort(process.bench, two),
        fulfil(process.bench, own, source=PAYER),
    ]


@story
def a_credit_that_pays_a_shortfall(process: Process) -> Sequence[Command]:
    _reserved(process, 0, "80 USD")
    process.run(AdjustLimit(name=FspId(PAYER), currency=Currency("USD"), value=20_0000))
    back = _reserved(process, 1, "70 USD", payer=PAYEE, payee=PAYER)
    assert process.bench.shortfall(PAYER, "USD") == "60"
    return [fulfil(process.bench, back, source=PAYER)]


@story
def funds_in(process: Process) -> Sequence[Command]:
    return [process.bench.funds_in(PAYER, "25 USD", wire_id=WIRE_IDS[10], transfer_id=_raw(10))]


@story
def funds_out(process: Process) -> Sequence[Command]:
    return [process.bench.funds_out(PAYER, "25 USD", wire_id=WIRE_IDS[10], transfer_id=_raw(10))]


def _withdrawal(process: Process) -> Any:
    reserve = process.bench.funds_out(PAYER, "25 USD", wire_id=WIRE_IDS[10], transfer_id=_raw(10))
    process.run(reserve)
    return reserve


@story
def a_withdrawal_that_is_paid(process: Process) -> Sequence[Command]:
    return [process.bench.commit_out(_withdrawal(process))]


@story
def a_withdrawal_that_is_not_paid(process: Process) -> Sequence[Command]:
    return [process.bench.abort_out(_withdrawal(process))]


def _settlement(process: Process) -> int:
    for place, (payer, payee, amount) in enumerate(
        ((PAYER, PAYEE, "40 USD"), (PAYEE, OTHER, "30 USD"), (OTHER, PAYER, "15 USD"))
    ):
        process.run(fulfil(process.bench, _reserved(process, place, amount, payer=payer, payee=payee), source=payee))
    # Who is due something has sent it on: settlement must make room to take it.
    _reserved(process, 5, "110 USD", payer=PAYEE, payee=OTHER)
    # Its cap suffices for what settlement takes, and would not for twice that.
    _reserved(process, 6, "90 USD", payer=OTHER, payee=PAYEE)
    return process.settling.create(process.settling.close())


@story
def a_settlement_at_once(process: Process) -> Sequence[Command]:
    return [FinaliseSettlement(settlement_id=_settlement(process), reason="all paid")]


def _step(process: Process, settlement_id: int, state: str) -> Command:
    kept: list[Command] = []
    run = process.bench.accept
    process.bench.accept = kept.append  # type: ignore[assignment,method-assign]
    try:
        with contextlib.suppress(AttributeError):
            process.settling.step(settlement_id, state)
    finally:
        process.bench.accept = run  # type: ignore[method-assign]
    return kept[0]


@story
def a_settlement_that_takes_what_is_due(process: Process) -> Sequence[Command]:
    settlement_id = _settlement(process)
    process.settling.step(settlement_id, "PS_TRANSFERS_RECORDED")
    return [_step(process, settlement_id, "PS_TRANSFERS_RESERVED")]


@story
def a_settlement_that_gives_back_what_is_owed(process: Process) -> Sequence[Command]:
    settlement_id = _settlement(process)
    for state in ("PS_TRANSFERS_RECORDED", "PS_TRANSFERS_RESERVED"):
        process.settling.step(settlement_id, state)
    return [_step(process, settlement_id, "PS_TRANSFERS_COMMITTED")]


BANK_NAMES: Final = ("alpha", "bravo", "charlie")


@story
def a_statement_of_the_bank(process: Process) -> Sequence[Command]:
    for name in BANK_NAMES:
        process.bench.onboard(name, "USD", cap="100", funds="100")
    banking = Banking(process.bench, *BANK_NAMES)
    for place, (payer, payee, amount) in enumerate((("alpha", "bravo", "40 USD"), ("bravo", "charlie", "30 USD"))):
        process.run(fulfil(process.bench, _reserved(process, place, amount, payer=payer, payee=payee), source=payee))
    settlement_id = banking.create(banking.close())
    banking.carry(settlement_id, "csv")
    # What the hub does not know of is adjusted, and one participant has nothing left.
    banking.book("charlie", "7", "INTEREST")
    banking.book("alpha", "-60", "CHARGE")
    content = banking.bank.camt053()
    check = banking.check_file(settlement_id, content)
    return [
        ImportStatement(
            settlement_id=settlement_id,
            files=statement_files(content),
            accepted=frozenset(check.warnings),
            digest=check.digest,
            by="olga",
        )
    ]


@story
def a_payment_that_settles_at_once(process: Process) -> Sequence[Command]:
    process.settling.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    return [
        fulfil(process.bench, _reserved(process, 0, "60 USD")),
        fulfil(process.bench, _reserved(process, 1, "30 USD")),
    ]


def _raw(place: int) -> Any:
    return bytes.fromhex(WIRE_IDS[place].replace("-", ""))


@pytest.fixture(params=["a database of its own", pytest.param("tigerbeetle", marks=tigerbeetle.GROUP)])
def elsewhere(request: pytest.FixtureRequest) -> Callable[[], Ledger]:
    """Makes a ledger that commits whatever it is asked at once."""
    if request.param == "tigerbeetle":
        tigerbeetle.cluster()
        return Apart

    def make() -> SqlEngine:
        engine = SqlEngine(on_disk(None))
        request.addfinalizer(engine.close)
        return engine

    return make


@contextmanager
def processes(elsewhere: Callable[[], Ledger]) -> Iterator[Callable[[], Process]]:
    """Makes processes, each with a scheme of three funded participants."""
    made: list[Process] = []

    def make() -> Process:
        process = Process(elsewhere())
        made.append(process)
        for name in (PAYER, PAYEE, OTHER):
            process.bench.onboard(name, "USD", cap="100", funds="100")
        return process

    yield make
    for process in made:
        process.bench.close()


@pytest.mark.store("sqlite")
@pytest.mark.parametrize("name", STORIES)
def test_whatever_instant_the_hub_dies_at_it_ends_as_if_it_had_not(elsewhere: Callable[[], Ledger], name: str) -> None:
    with processes(elsewhere) as make:
        undisturbed = make()
        commands = STORIES[name](undisturbed)
        before = undisturbed.ledger.requests
        undisturbed.run(*commands)
        asked = undisturbed.ledger.requests - before
        assert asked > 0
        undisturbed.settling.check()
        expected = undisturbed.all_there_is()
        instants = [n / 2 for n in range(2, 2 * asked + 2)]
        for instant in (*instants, None):
            process = make()
            commands = STORIES[name](process)
            _die(process, commands, instant)
            process.recover()
            process.settling.check()
            assert _as_told(name, process.all_there_is()) == _as_told(name, expected), (
                f"it died at request {instant} of {asked}"
            )
            # Whoever got no answer asks again, and nothing moves.
            process.run(*commands)
            process.settling.check()
            assert process.all_there_is()["figures"] == expected["figures"]


_USE: Final = frozenset(("available", "position", "percentageUsed"))
OF_THE_MOMENT: Final[dict[str, dict[str, frozenset[str]]]] = {
    "a_limit_that_is_lowered_beside_payments": {ADJUSTMENT: _USE},
    "a_settlement_at_once": {ADJUSTMENT: _USE},
    "a_settlement_that_takes_what_is_due": {ADJUSTMENT: _USE},
    "a_statement_of_the_bank": {ADJUSTMENT: _USE, POSITION_CHANGE: frozenset(("available",))},
}
"""Figures of notifications that may differ, by story and kind.

They are the ledger's at the moment at which they are written, before later steps of the same batch have moved the
position. When the batch is decided again, the ledger may have taken those already.
"""


def _as_told(name: str, there_is: dict[str, Any]) -> dict[str, Any]:
    """Without the figures that may differ."""
    may_differ = OF_THE_MOMENT.get(name, {})
    told = [
        (kind, *row, [(key, value) for key, value in data if key not in may_differ.get(kind, ())])
        for kind, *row, data in there_is["told"]
    ]
    return {**there_is, "told": sorted(told)}


@pytest.mark.store("sqlite")
@pytest.mark.parametrize("name", STORIES)
def test_a_request_that_arrives_when_another_process_has_carried_on_moves_nothing(
    elsewhere: Callable[[], Ledger], name: str
) -> None:
    with processes(elsewhere) as make:
        undisturbed = make()
        commands = STORIES[name](undisturbed)
        before = undisturbed.ledger.requests
        undisturbed.run(*commands)
        asked = undisturbed.ledger.requests - before
        expected = undisturbed.all_there_is()
        for instant in range(1, asked + 1):
            process = make()
            commands = STORIES[name](process)
            _die(process, commands, instant)
            assert process.ledger.late is not None
            process.recover()
            process.ledger.late()
            process.settling.check()
            assert process.all_there_is()["figures"] == expected["figures"], f"request {instant} of {asked} was late"
            assert process.all_there_is()["available"] == expected["available"]


@pytest.mark.store("sqlite")
@pytest.mark.parametrize("name", STORIES)
def test_who_dies_while_it_recovers_leaves_it_to_the_next(elsewhere: Callable[[], Ledger], name: str) -> None:
    with processes(elsewhere) as make:
        undisturbed = make()
        commands = STORIES[name](undisturbed)
        undisturbed.run(*commands)
        expected = undisturbed.all_there_is()
        process = make()
        commands = STORIES[name](process)
        _die(process, commands, 1.5)
        late: list[Callable[[], Any]] = []
        for instant in (2, 3.5, 5, 6.5, 8):
            process.ledger.dies_at = process.ledger.requests + instant
            with contextlib.suppress(DiedError):
                process.recover()
            if process.ledger.late is not None:
                late.append(process.ledger.late)
        process.ledger.dies_at = None
        process.recover()
        for request in late:
            request()
        process.settling.check()
        assert _as_told(name, process.all_there_is()) == _as_told(name, expected)


def _die(process: Process, commands: Sequence[Command], instant: float | None) -> None:
    """Dies at a request of the ledger, or, with None, just before the commit."""

    def die() -> None:
        raise DiedError

    if instant is not None:
        process.ledger.dies_at = process.ledger.requests + instant
    with pytest.raises(DiedError):
        process.run(*commands, at_commit=die)
    process.ledger.dies_at = None


def test_the_same_commands_may_die_again_and_again(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        commands = STORIES["ends_of_all_kinds_and_funds_in_one_batch"](process)
        _die(process, commands, None)
        for instant in (1.5, 2.5, 3.5):
            process.ledger.dies_at = process.ledger.requests + instant
            with pytest.raises(DiedError):
                process.recover()
        process.ledger.dies_at = None
        process.recover()
        process.settling.check()
        assert process.bench.read(lambda tx, _ledger, _directory: intents.unfinished(tx)) == []


@story
def fees_that_are_changed_beside_a_payment(process: Process) -> Sequence[Command]:
    process.settling.add_fee_model()
    process.settling.charge(SIX_PER_MILLE)
    ten = _reserved(process, 0)
    return [
        fulfil(process.bench, ten),
        SetFeeRules(content=json.dumps([fee_rule(name="dearer", percentage="3", currency="USD")]), by="alice"),
    ]


@story
def a_limit_that_is_lowered_beside_payments(process: Process) -> Sequence[Command]:
    _reserved(process, 0, "80 USD")
    back = _reserved(process, 1, "70 USD", payer=PAYEE, payee=PAYER)
    return [
        AdjustLimit(name=FspId(PAYER), currency=Currency("USD"), value=20_0000),
        fulfil(process.bench, back, source=PAYER),
    ]


# --- what the timers ask again ---------------------------------------------------------------------------------------


def _expired(process: Process) -> Command:
    _reserved(process, 0, "80 USD")
    process.run(AdjustLimit(name=FspId(PAYER), currency=Currency("USD"), value=20_0000))
    process.bench.advance(EXPIRY_MS)
    return ExpireTransfers()


def _settled_late(process: Process) -> Command:
    process.settling.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    hundred = _reserved(process, 0, "100 USD")
    out = process.bench.funds_out(PAYER, "100 USD", wire_id=WIRE_IDS[10], transfer_id=_raw(10))
    process.run(out)
    process.run(fulfil(process.bench, hundred))
    process.run(process.bench.abort_out(out))
    return SettleGross()


@pytest.mark.store("sqlite")
@pytest.mark.parametrize("timer", [_expired, _settled_late])
def test_what_a_timer_asks_may_die_too_and_headroom_is_right_before_it_asks_again(
    elsewhere: Callable[[], Ledger], timer: Callable[[Process], Command]
) -> None:
    with processes(elsewhere) as make:
        undisturbed = make()
        command = timer(undisturbed)
        before = undisturbed.ledger.requests
        undisturbed.run(command)
        asked = undisturbed.ledger.requests - before
        expected = undisturbed.all_there_is()
        for instant in (*(n / 2 for n in range(2, 2 * asked + 2)), None):
            process = make()
            command = timer(process)
            _die(process, [command], instant)
            process.recover()
            if process.ledger.late is not None:
                process.ledger.late()
            process.run(command)
            process.settling.check()
            assert process.all_there_is() == expected, f"it died at request {instant} of {asked}"


# --- reservations without a record ----------------------------------------------------------------------------------


def test_a_payer_that_sends_again_finds_its_reservation(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = prepare(process.bench, "10 USD")
        _die(process, [ten], None)
        process.recover()
        assert process.bench.available(PAYER, "USD") == "90"
        process.bench.advance(2_000)
        process.run(ten)
        assert (process.state(ten), process.bench.available(PAYER, "USD")) == (State.RESERVED, "90")
        process.run(fulfil(process.bench, ten))
        process.settling.check()
        assert process.bench.position(PAYEE, "USD") == "-10"


def test_a_reservation_without_a_record_is_no_difference_to_the_audit(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        _die(process, [prepare(process.bench, "10 USD"), process.bench.funds_out(PAYER, "5 USD")], None)
        _forget_intents(process)
        process.recover()
        report = process.bench.read(lambda tx, ledger, _directory: audit(tx, ledger, now_ms=process.bench.now_ms))
        assert report.differences == []
        items = process.bench.read(lambda tx, ledger, _directory: reconcile(tx, ledger, now_ms=process.bench.now_ms))
        assert (len(items.orphans), items.differences) == (2, [])


def test_a_reservation_whose_payment_is_refused_when_it_is_sent_again_is_no_difference(
    elsewhere: Callable[[], Ledger],
) -> None:
    with processes(elsewhere) as make:
        process = make()
        late = prepare(process.bench, "10 USD")
        invalid = prepare(process.bench, "10 USD")
        _die(process, [late, invalid], None)
        process.bench.accept(SetParticipantActive(name=FspId(PAYEE), is_active=False))
        process.run(invalid)
        process.bench.accept(SetParticipantActive(name=FspId(PAYEE), is_active=True))
        process.bench.advance(EXPIRY_MS)
        process.run(late)
        assert (process.state(invalid), process.state(late)) == (State.INVALID, State.EXPIRED_PREPARED)
        report = process.bench.read(lambda tx, ledger, _directory: audit(tx, ledger, now_ms=process.bench.now_ms))
        items = process.bench.read(lambda tx, ledger, _directory: reconcile(tx, ledger, now_ms=process.bench.now_ms))
        assert (report.differences, items.differences) == ([], [])


def test_a_payer_that_sends_something_else_under_the_same_id_is_refused(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = prepare(process.bench, "10 USD")
        _die(process, [ten], None)
        process.run(prepare(process.bench, "11 USD", wire_id=ten.message.resource_id))
        assert process.messages[-1][:3] == (PAYER, "PUT", "transfers")
        assert process.bench.available(PAYER, "USD") == "90"


def test_a_later_expiration_than_the_reservation_lasts_is_refused(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = prepare(process.bench, "10 USD")
        _die(process, [ten], None)
        longer = prepare(
            process.bench,
            "10 USD",
            wire_id=ten.message.resource_id,
            # The embedded ledger's clock is the bench's; a cluster's is the world's, which is ahead of it.
            expires_in_ms=EXPIRY_MS + 2 * chart.ORPHAN_SECONDS * 1000 + 10**13,
        )
        process.run(longer)
        sql = "SELECT * FROM transfer WHERE kind = 'PAYMENT'"
        assert process.bench.read(lambda tx, _ledger, _directory: tx.query(sql)) == []


def test_a_reservation_that_nobody_asks_for_again_frees_itself() -> None:
    ledger = SqlEngine(on_disk(None))
    with processes(lambda: ledger) as make:
        process = make()
        ledger.now_ns = process.bench.now_ms * 1_000_000 + NS_PER_S
        _die(process, [prepare(process.bench, "10 USD")], None)
        process.recover()
        assert process.bench.available(PAYER, "USD") == "90"
        ledger.advance(EXPIRY_MS // 1000 + chart.ORPHAN_SECONDS + 2)
        process.run(prepare(process.bench, "100 USD"))
        assert process.bench.available(PAYER, "USD") == "0"
    ledger.close()


def test_a_refusal_whose_record_was_lost_is_a_refusal_again(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        much = prepare(process.bench, "101 USD")
        _die(process, [much], None)
        process.run(much)
        assert process.state(much) is State.ABORTED_REJECTED
        process.settling.check()


# --- where the ledger has ended it otherwise -------------------------------------------------------------------------


def _forget_intents(process: Process) -> None:
    with process.bench.database.begin() as tx:
        tx.run("DELETE FROM ledger_intent")


def test_an_expiry_after_the_post_makes_it_committed_and_both_are_told(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = _reserved(process, 0)
        _die(process, [fulfil(process.bench, ten)], None)
        _forget_intents(process)
        process.messages.clear()
        process.bench.advance(EXPIRY_MS)
        process.run(ExpireTransfers())
        assert process.state(ten) is State.COMMITTED
        assert {each[:3] for each in process.messages} == {(PAYER, "PUT", "transfers"), (PAYEE, "PUT", "transfers")}
        assert (process.bench.position(PAYER, "USD"), process.bench.position(PAYEE, "USD")) == ("10", "-10")
        process.settling.check()


@pytest.mark.parametrize("answer", [fulfil, reserved])
def test_a_fulfilment_that_is_sent_again_after_that_is_told_that_it_is_committed(
    elsewhere: Callable[[], Ledger], answer: Callable[..., Command]
) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = _reserved(process, 0)
        _die(process, [answer(process.bench, ten)], None)
        _forget_intents(process)
        process.bench.advance(EXPIRY_MS)
        process.run(ExpireTransfers())
        process.messages.clear()
        process.run(answer(process.bench, ten))
        details = process.bench.transfer(ten.transfer_id)
        assert (details.state, details.fulfilment is None) == (State.COMMITTED, False)
        methods = sorted((to, method, ident[-6:] == "/error") for to, method, _, ident in process.messages)
        told = "PATCH" if answer is reserved else "PUT"
        assert methods == sorted([(PAYER, "PUT", False), (PAYEE, told, False)])
        process.settling.check()


def test_a_fulfilment_after_the_void_finds_it_aborted(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten, five = _reserved(process, 0), _reserved(process, 1, "5 USD")
        _die(process, [abort(process.bench, ten)], None)
        _forget_intents(process)
        process.run(fulfil(process.bench, ten), fulfil(process.bench, five))
        assert (process.state(ten), process.state(five)) == (State.ABORTED_ERROR, State.COMMITTED)
        process.settling.check()


def test_an_abort_after_the_post_finds_it_committed(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = _reserved(process, 0)
        _die(process, [fulfil(process.bench, ten)], None)
        _forget_intents(process)
        process.run(abort(process.bench, ten))
        assert process.state(ten) is State.COMMITTED
        process.settling.check()


def test_a_withdrawal_that_was_paid_out_is_not_expired(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        out = _withdrawal(process)
        _die(process, [process.bench.commit_out(out)], None)
        _forget_intents(process)
        process.bench.advance(process.bench.rules.funds_out_validity_seconds * 1000)
        process.run(ExpireTransfers())
        assert process.bench.transfer(out.transfer_id).state is State.COMMITTED
        assert process.bench.liquidity(PAYER, "USD") == "-75"
        process.settling.check()


def test_a_reservation_that_freed_itself_can_not_be_fulfilled() -> None:
    ledger = SqlEngine(on_disk(None))
    with processes(lambda: ledger) as make:
        process = make()
        ledger.now_ns = process.bench.now_ms * 1_000_000 + NS_PER_S
        ten = _reserved(process, 0)
        # The hub's clock has stood still.
        ledger.advance(EXPIRY_MS // 1000 + chart.ORPHAN_SECONDS + 2)
        process.run(fulfil(process.bench, ten))
        assert process.state(ten) is State.EXPIRED_RESERVED
        assert process.bench.available(PAYER, "USD") == "100"
    ledger.close()


def test_what_the_timer_was_settling_is_not_settled_twice(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        process.settling.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
        hundred = _reserved(process, 0, "100 USD")
        out = process.bench.funds_out(PAYER, "100 USD")
        process.run(out)
        process.run(fulfil(process.bench, hundred))
        process.run(process.bench.abort_out(out))
        _die(process, [SettleGross()], None)
        process.recover()
        process.run(SettleGross())
        process.settling.check()
        assert (process.bench.liquidity(PAYER, "USD"), process.bench.liquidity(PAYEE, "USD")) == ("0", "-200")


def test_a_batch_that_is_run_again_one_by_one_moves_nothing_twice(elsewhere: Callable[[], Ledger]) -> None:
    with processes(elsewhere) as make:
        process = make()
        ten = _reserved(process, 0)
        # A number that SQLite does not take: the use case fails.
        poison = FinaliseSettlement(settlement_id=2**63, reason="does not fit")
        process.run(process.bench.funds_in(PAYER, "25 USD"), poison, fulfil(process.bench, ten))
        assert process.state(ten) is State.COMMITTED
        assert (process.bench.liquidity(PAYER, "USD"), process.bench.position(PAYEE, "USD")) == ("-125", "-10")
        process.settling.check()


USD: Final = Currency("USD")

BY_OPERATORS: Final[Sequence[Command]] = (
    CreateHubAccount(currency=USD, type="HUB_FEE"),
    CreateParticipant(name=FspId("new"), currency=USD),
    SetParticipantActive(name=FspId("new"), is_active=False),
    SetParticipantVersion(name=FspId("new"), version=None),
    SetInitialPositionAndLimits(name=FspId("new"), currency=USD, value=2**62),
    AdjustLimit(name=FspId("new"), currency=USD, liquidity_share=12_50),
    SetAccountActive(name=FspId("new"), account_id=7, is_active=True),
    SetEndpoints(name=FspId("new"), endpoints=(Endpoint("FSPIOP_CALLBACK_URL_TRANSFER_POST", "http://new"),)),
    AddLedgerAccountType(name="KEPT", description="kept", is_active=True, is_settleable=True),
    AddSettlementModel(
        name="NEW",
        granularity="NET",
        interchange="MULTILATERAL",
        delay="DEFERRED",
        currency=None,
        require_liquidity_check=True,
        ledger_account_type="POSITION",
        settlement_account_type="SETTLEMENT",
        auto_position_reset=False,
    ),
    SetSettlementModelActive(name="NEW", is_active=False),
    CloseWindow(window_id=3, reason="evening"),
    CreateSettlement(settlement_model="NEW", reason="evening", window_ids=(1, 2)),
    AbortSettlement(settlement_id=1, reason="no"),
)
"""One of each command of operators that no story has."""


def test_every_command_that_is_written_down_is_read_as_it_was() -> None:
    with processes(lambda: SqlEngine(on_disk(None))) as make:
        process = make()
        asked = [command for story in STORIES.values() for command in story(make())]
        written = [command for command in asked if type(command) in intents.INTENDED]
        out = process.bench.funds_out(PAYER, "1 USD")
        written += [process.bench.commit_out(out), process.bench.abort_out(out)]
        written += BY_OPERATORS
        assert {type(each) for each in written} == intents.INTENDED
        with process.bench.database.begin() as tx:
            intents.write(tx, written, term=7, now_ms=7, next_id=process.next_id)
            assert [each.command for each in intents.unfinished(tx)] == written
