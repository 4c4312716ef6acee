"""The engine: one commit for a batch, one failure for a poisonous command, and nothing owed is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests import journalled, stores

from vuka.api.audit_key import AuditKey
from vuka.api.hub import USE_CASES, Hub, open_database
from vuka.api.wire import FspiopWire
from vuka.clock import clock_ms
from vuka.config import Config, Courier, Engine, Journal, load
from vuka.engine import outbox
from vuka.engine.batch import UseCase, use_case
from vuka.engine.courier import Delivery, DeliveryOutcome, DeliveryReport
from vuka.engine.membership import Identity
from vuka.engine.node import NOTES_WAIT_MS
from vuka.engine.node import Engine as Node
from vuka.errors import FspiopError, OperatorError
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.versions import Version
from vuka.ids import FspId, TransferId, parse_id
from vuka.ledger.sql import SqlLedger
from vuka.money import Amount, Currency
from vuka.sim.onboard import ENDPOINTS
from vuka.sim.server import Answer, Inquiry, Server
from vuka.sim.unquoted import CONDITION, ILP_PACKET
from vuka.store import Database, Tx, WriteTx
from vuka.switch import auditlog, journal
from vuka.switch.audit import audit
from vuka.switch.funds import RecordFundsIn
from vuka.switch.participants import AdjustLimit, CreateParticipant, Endpoint, SetEndpoints, SetInitialPositionAndLimits
from vuka.switch.quotes import RequestQuote
from vuka.switch.transfers import AbortTransfer, ExpireTransfers, PrepareTransfer
from vuka.switch.work import Action, Command, Forward, Inbound, Notice, Outcome, Work

PAYER, PAYEE = FspId("payerfsp"), FspId("payeefsp")


class Poison(Command, frozen=True, kw_only=True):
    """A command whose use case has a defect."""

    message: Inbound | None = None


def _poisoned(_work: Work, _commands: Sequence[Poison]) -> list[Outcome]:
    raise RuntimeError("a defect")


class Rig:
    """An engine on a database, with two participants behind one recording server."""

    def __init__(self, config: Config, database: Database, got: list[Inquiry]) -> None:
        self.config = config
        self.database = database
        self.place = uuid.uuid4().hex
        self.server = Server(self._hear)
        self.got = got
        self.arrived = asyncio.Event()
        self.answer: Answer | Callable[[Inquiry], Answer | Awaitable[Answer] | None] = Answer(202)
        self.ahead_ms = 0
        """How far the hub's clock is ahead of the machine's."""
        self.reports: asyncio.Queue[DeliveryReport] = asyncio.Queue()
        self.engine = self.new_engine()

    def _hear(self, inquiry: Inquiry) -> Answer | Awaitable[Answer] | None:
        self.got.append(inquiry)
        self.arrived.set()
        return self.answer if isinstance(self.answer, Answer) else self.answer(inquiry)

    def new_engine(self, clock: Callable[[], int] | None = None) -> Node:
        cases: tuple[UseCase, ...] = (*USE_CASES, use_case(_poisoned, Poison))
        engine = Node(
            config=self.config,
            database=self.database,
            use_cases=cases,
            wire=FspiopWire(),
            ledger=SqlLedger,
            clock_ms=clock or (lambda: clock_ms() + self.ahead_ms),
            jitter=lambda: 0.0,
            identity=Identity.draw(self.place) if self.database.is_remote else None,
        )
        report = engine.courier._report

        def reported(told: DeliveryReport) -> None:
            report(told)
            self.reports.put_nowait(told)

        engine.courier._report = reported
        return engine

    async def restart(self) -> None:
        """Another process takes over the same file."""
        await self.engine.stop()
        self.got.clear()
        self.engine = self.new_engine()
        await self.engine.start()

    async def noted(self, outcome: DeliveryOutcome) -> DeliveryReport:
        """The next delivery that ends so, once it is written in the outbox."""
        async with asyncio.timeout(10):
            while (report := await self.reports.get()).outcome is not outcome:
                pass
        await self.engine.submit(ExpireTransfers())
        return report

    async def onboard(self) -> None:
        for name in (PAYER, PAYEE):
            await self.engine.submit(CreateParticipant(name=name, currency="USD", is_proxy=False))
            await self.engine.submit(
                SetInitialPositionAndLimits(name=name, currency="USD", limit_type="NET_DEBIT_CAP", value=1_000_0000)
            )
            account = self.engine.directory.participants[name].accounts["USD", "SETTLEMENT"]
            wire_id = str(uuid.uuid4())
            await self.engine.submit(
                RecordFundsIn(
                    name=name,
                    account_id=account.account_id,
                    transfer_id=TransferId(parse_id(wire_id)),
                    wire_id=wire_id,
                    amount=Amount.from_string("1000 USD"),
                    reason="first funds",
                    external_reference="bank",
                )
            )
            base = f"{self.server.url}/{name}"
            endpoints = tuple(Endpoint(kind, base + path) for kind, path in ENDPOINTS.items())
            await self.engine.submit(SetEndpoints(name=name, endpoints=endpoints))

    def inbound(self, method: str, resource: str, ids: tuple[str, ...]) -> Inbound:
        """A message of the payer to the payee."""
        now_ms = clock_ms()
        path = f"/{resource}" if method == "POST" else "/".join(("", resource, *(quote(each, safe="") for each in ids)))
        headers = hub_headers(
            resource, Version.V1_1, method=method, source=PAYER, destination=PAYEE, uri=path, now_ms=now_ms
        )
        return Inbound(
            message_id=self.engine.new_message_id(),
            method=method,
            path=path,
            headers=tuple(headers),
            body=b'{"id": "' + ids[-1].encode() + b'"}' if method == "POST" else b"",
            source=PAYER,
            destination=PAYEE,
            resource=resource,
            ids=ids,
            version="1.1",
            answer_version="1.1",
            received_ms=now_ms,
        )

    def lookup(self, *ids: str) -> tuple[Inbound, list[Notice]]:
        """A question of the payer about a party, and what passes it on."""
        message = self.inbound("GET", "parties", ids)
        deadline_ms = clock_ms() + 5_000
        return message, [Notice(PAYEE, Action.GET, "parties", ids, Forward(message), deadline_ms, source=PAYER)]

    def quote(self) -> RequestQuote:
        wire_id = str(uuid.uuid4())
        return RequestQuote(
            message=self.inbound("POST", "quotes", (wire_id,)),
            quote_id=parse_id(wire_id),
            transaction_id=str(uuid.uuid4()),
            payer_fsp=PAYER,
            payee_fsp=PAYEE,
            payee_party="MSISDN/1",
            payer_currencies=(),
            currency=Currency("USD"),
            amount=Amount.from_string("10 USD").minor,
            amount_type="SEND",
            expires_ms=None,
            body_hash=uuid.uuid4().bytes * 2,
        )

    def prepare(self, amount: str = "10 USD", *, expires_in_ms: int = 60_000) -> PrepareTransfer:
        wire_id = str(uuid.uuid4())
        message = self.inbound("POST", "transfers", (wire_id,))
        return PrepareTransfer(
            message=message,
            transfer_id=TransferId(parse_id(wire_id)),
            payer_fsp=PAYER,
            payee_fsp=PAYEE,
            amount=Amount.from_string(amount),
            condition=CONDITION,
            ilp_packet=ILP_PACKET,
            expires_ms=message.received_ms + expires_in_ms,
            body_hash=uuid.uuid4().bytes * 2,
        )

    def decline(self, prepared: PrepareTransfer) -> AbortTransfer:
        message = self.inbound("PUT", "transfers", prepared.message.ids)
        return AbortTransfer(
            message=msgspec.structs.replace(message, source=PAYEE, destination=PAYER),
            transfer_id=prepared.transfer_id,
            error_code="5104",
            error_description="declined",
            body_hash=uuid.uuid4().bytes * 2,
        )

    async def until_got(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def until_heard(self, method: str, path: str) -> Inquiry:
        """The first message of that method and path, as soon as it has come."""
        async with asyncio.timeout(10):
            while True:
                for inquiry in self.got:
                    if (inquiry.method, inquiry.path) == (method, path):
                        return inquiry
                self.arrived.clear()
                await self.arrived.wait()

    def parked(self) -> list[outbox.Parked]:
        with self.database.read() as tx:
            return outbox.parked(tx)

    def states(self) -> dict[str, str]:
        with self.database.read() as tx:
            return dict(tx.query("SELECT wire_id, state FROM transfer WHERE kind = 'PAYMENT'"))

    def deliveries(self) -> list[tuple[str, str]]:
        with self.database.read() as tx:
            return journalled.deliveries(tx)

    async def received(self, count: int, method: str | None = None) -> None:
        """As soon as so many messages, of that method where one is named, have come to the participants' server."""
        async with asyncio.timeout(20):
            while sum(1 for each in self.got if method in (None, each.method)) < count:
                self.arrived.clear()
                await self.arrived.wait()

    def differences(self) -> list[object]:
        with self.database.read() as tx:
            return list(audit(tx, SqlLedger(tx, 0)).differences)


def _config(tmp_path: Path, **sections: msgspec.Struct) -> Config:
    config = stores.configured(load(None, {}, data_dir=str(tmp_path / "hub")))
    return msgspec.structs.replace(config, **sections)


@asynccontextmanager
async def _started(config: Config) -> AsyncIterator[Rig]:
    stores.found(config, "Engine", ["USD"])
    got: list[Inquiry] = []
    database = open_database(config)
    node = Rig(config, database, got)
    server = node.server
    await server.start()
    await node.engine.start()
    await node.onboard()
    try:
        yield node
    finally:
        if node.engine.running:
            await node.engine.stop()
        database.close()
        await server.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    config = _config(
        tmp_path, courier=Courier(retry_first_ms=10, retry_max_ms=20), engine=Engine(timer_ms=20, drain_seconds=1)
    )
    async with _started(config) as made:
        yield made


# --- batches ----------------------------------------------------------------------------------------------------


async def test_a_command_is_durable_before_it_is_answered(node: Rig) -> None:
    command = node.prepare()
    await node.engine.submit(command)
    other = open_database(node.config)
    with other.read() as tx:
        states = tx.query("SELECT state FROM transfer WHERE kind = 'PAYMENT'")
    other.close()
    assert states == [("RESERVED",)]


async def test_what_arrives_together_is_one_commit(node: Rig) -> None:
    before = node.engine.statistics.batches
    await asyncio.gather(*(node.engine.submit(node.prepare()) for _ in range(50)))
    assert node.engine.statistics.batches - before <= 3
    assert len(node.states()) == 50


async def test_a_poisonous_command_fails_alone(node: Rig) -> None:
    good = [node.prepare() for _ in range(5)]
    commands: list[Command] = [*good[:3], Poison(), *good[3:]]
    results = await asyncio.gather(*(node.engine.submit(each) for each in commands), return_exceptions=True)
    (failed,) = [each for each in results if isinstance(each, Exception)]
    assert isinstance(failed, FspiopError)
    assert (failed.code, failed.status) == ("2001", 500)
    assert node.states() == {each.message.resource_id: "RESERVED" for each in good}
    await node.until_got(5)
    assert node.differences() == []


async def test_prepares_that_arrive_together_never_exceed_the_headroom_together(node: Rig) -> None:
    await asyncio.gather(*(node.engine.submit(node.prepare("300 USD")) for _ in range(5)))
    assert sorted(node.states().values()) == ["ABORTED_REJECTED"] * 2 + ["RESERVED"] * 3
    assert node.differences() == []


async def test_a_hub_with_too_much_waiting_refuses_before_it_accepts(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, engine=Engine(queue_max=3))) as node:
        commands = [node.prepare() for _ in range(10)]
        results = await asyncio.gather(*(node.engine.submit(each) for each in commands), return_exceptions=True)
        refused = [each for each in results if isinstance(each, FspiopError)]
        assert {(each.code, each.status, each.headers) for each in refused} == {("2005", 503, (("Retry-After", "1"),))}
        assert len(node.states()) == len(results) - len(refused) == 3


async def test_a_hub_with_too_much_waiting_has_room_of_its_own_for_answers(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, engine=Engine(queue_max=2))) as node:
        prepared = [node.prepare("1 USD") for _ in range(3)]
        for each in prepared:
            await node.engine.submit(each)
        questions = [node.prepare("1 USD") for _ in range(3)]
        answers = [node.decline(each) for each in prepared]
        results = await asyncio.gather(
            *(node.engine.submit(each) for each in (*questions, *answers)), return_exceptions=True
        )
        assert [getattr(each, "code", None) for each in results] == [None, None, "2005"] * 2
        assert sorted(node.states().values()) == ["ABORTED_ERROR"] * 2 + ["RESERVED"] * 3
        assert node.differences() == []


async def test_an_answer_does_not_wait_behind_questions(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, engine=Engine(batch_max=4))) as node:
        asked = node.prepare("1 USD")
        await node.engine.submit(asked)
        ended: list[str] = []

        async def submit(command: Command, name: str) -> None:
            await node.engine.submit(command)
            ended.append(name)

        questions = [submit(node.prepare("1 USD"), "question") for _ in range(8)]
        await asyncio.gather(*questions, submit(node.decline(asked), "answer"))
        # One batch takes the answer and three questions, those that follow the rest.
        assert ended.index("answer") < 4
        assert node.differences() == []


async def test_a_commit_that_fails_accepts_nothing_sends_nothing_and_stops_nothing(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_tx: WriteTx) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(stores.transaction_class(), "commit", full)
        with pytest.raises(FspiopError) as raised:
            await node.engine.submit(node.prepare())
    assert (raised.value.code, raised.value.status) == ("2003", 503)
    assert (node.states(), node.got) == ({}, [])
    await node.engine.submit(node.prepare())
    await node.until_got(1)
    assert list(node.states().values()) == ["RESERVED"]
    assert node.differences() == []


@pytest.mark.store("sqlite")
async def test_a_full_disk_refuses_and_what_was_accepted_is_what_is_there(node: Rig) -> None:
    writer = node.database._writer
    writer.execute("PRAGMA max_page_count = 1")
    commands = [node.prepare("1 USD") for _ in range(200)]
    results = await asyncio.gather(*(node.engine.submit(each) for each in commands), return_exceptions=True)
    assert {(each.code, each.status) for each in results if isinstance(each, FspiopError)} == {("2003", 503)}
    accepted = {each.message.resource_id for each, result in zip(commands, results, strict=True) if result is None}
    assert set(node.states()) == accepted
    writer.execute("PRAGMA max_page_count = 1000000")
    await node.engine.submit(node.prepare())
    await node.until_got(len(accepted) + 1)
    assert len(node.deliveries()) == len(accepted) + 1
    assert node.differences() == []


async def test_a_poisonous_message_that_is_recorded_as_refused_too_harms_no_other(node: Rig) -> None:
    message = node.prepare().message
    with pytest.raises(FspiopError) as raised:
        await node.engine.submit(Poison(message=message))
    node.engine.record(message, f"refused: {raised.value}")
    await node.engine.submit(node.prepare())
    assert list(node.states().values()) == ["RESERVED"]


async def test_no_answer_is_given_while_the_commit_is_under_way(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    committing, go_on = asyncio.Event(), threading.Event()
    commit = stores.transaction_class().commit

    def slow(tx: WriteTx) -> None:
        loop.call_soon_threadsafe(committing.set)
        go_on.wait(5)
        commit(tx)

    with monkeypatch.context() as slowed:
        slowed.setattr(stores.transaction_class(), "commit", slow)
        answer = asyncio.create_task(node.engine.submit(node.prepare()))
        await committing.wait()
        assert (answer.done(), node.got, node.states()) == (False, [], {})
        go_on.set()
        await answer
    await node.until_got(1)


# --- the outbox -------------------------------------------------------------------------------------------------


async def test_what_is_owed_is_in_the_outbox_until_it_has_arrived(node: Rig) -> None:
    await node.engine.submit(node.prepare())
    assert node.deliveries() == [("payeefsp", "PENDING")]
    await node.until_got(1)
    await node.engine.stop()
    assert node.deliveries() == [("payeefsp", "DELIVERED")]


async def test_a_start_delivers_what_an_earlier_process_left(node: Rig) -> None:
    node.answer = Answer(500)
    commands = [node.prepare() for _ in range(3)]
    for command in commands:
        await node.engine.submit(command)
    await node.until_got(1)
    await node.engine.stop()
    assert node.deliveries() == [("payeefsp", "PENDING")] * 3
    node.got.clear()
    node.answer = Answer(202)
    node.engine = node.new_engine()
    await node.engine.start()
    await node.until_got(3)
    assert {each.body for each in node.got} == {command.message.body for command in commands}


async def test_a_full_queue_leaves_messages_in_the_outbox_and_takes_them_up_in_order(tmp_path: Path) -> None:
    courier = Courier(queue_max=4, in_flight_max=1, retry_first_ms=10, retry_max_ms=20)
    async with _started(_config(tmp_path, courier=courier)) as node:
        commands = [node.prepare("1 USD") for _ in range(40)]
        await asyncio.gather(*(node.engine.submit(each) for each in commands))
        await node.until_got(40)
        assert [each.body for each in node.got] == [command.message.body for command in commands]


async def test_a_body_is_stored_once_however_often_it_is_sent(node: Rig) -> None:
    command = node.prepare()
    await node.engine.submit(command)
    await node.until_got(1)
    with node.database.read() as tx:
        rows = [(each.direction, each.body, each.body_of) for each in journalled.messages(tx)]
    assert rows == [("in", command.message.body, None), ("out", None, command.message.message_id)]
    assert node.got[0].body == command.message.body


async def test_without_a_journal_only_what_is_owed_is_kept_and_goes_when_it_has_arrived(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, journal=Journal(enabled=False))) as node:
        command = node.prepare()
        await node.engine.submit(command)
        await node.until_got(1)
        await node.engine.stop()
        assert node.got[0].body == command.message.body
        with node.database.read() as tx:
            assert journalled.messages(tx) == []
        assert node.deliveries() == []


async def test_retention_keeps_what_is_still_owed_and_the_body_it_needs(node: Rig) -> None:
    node.answer = Answer(400)
    await node.engine.submit(node.prepare())
    await node.until_got(1)
    node.answer = Answer(202)
    await node.engine.submit(node.prepare())
    await node.until_got(2)
    await node.engine.stop()
    with node.database.begin() as tx:
        assert journal.purge(tx, 2**62, blocks_max=100) >= 1
        assert journal.purge(tx, 2**62, blocks_max=100) == 0
    with node.database.read() as tx:
        ((message_id,),) = tx.query("SELECT message_id FROM delivery")
        kept = outbox.load_one(tx, message_id)
    assert kept is not None
    assert kept.body == node.got[0].body


async def test_only_a_parked_message_can_be_sent_again(node: Rig) -> None:
    with pytest.raises(OperatorError, match="No message 1 is parked"):
        await node.engine.resend(1)


async def test_what_is_past_its_time_at_the_start_is_parked_and_the_rest_is_sent_in_order(node: Rig) -> None:
    node.answer = Answer(503)
    commands = [node.prepare() for _ in range(4)]
    for command in commands:
        await node.engine.submit(command)
    await node.engine.stop()
    with node.database.begin() as tx:
        tx.run("UPDATE delivery SET deadline_ms = 1 WHERE message_id = (SELECT MIN(message_id) FROM delivery)")
    node.answer = Answer(202)
    await node.restart()
    await node.until_got(3)
    await node.restart()
    assert {state for _, state in node.deliveries()[1:]} == {"DELIVERED"}
    (parked,) = node.parked()
    assert (parked.participant, parked.error) == (
        "payeefsp",
        "its time has passed while the participant could not be reached",
    )


async def test_keys_go_on_above_the_last_even_where_the_clock_was_set_back(node: Rig) -> None:
    await node.engine.submit(node.prepare())
    await node.engine.stop()
    with node.database.read() as tx:
        highest = max(each.message_id for each in journalled.messages(tx))
    node.ahead_ms = -86_400_000
    await node.restart()
    assert node.engine.new_message_id() > highest


@pytest.mark.store("sqlite")
async def test_the_only_process_sends_what_others_owed_when_there_were_several(tmp_path: Path) -> None:
    """They were killed, and the next one is started alone: nobody else will take over from them."""
    async with _started(_config(tmp_path, engine=Engine(drain_seconds=0))) as node:
        node.answer = lambda _inquiry: None
        await node.engine.submit(node.prepare())
        await node.until_got(1)
        await node.engine.stop()
        with node.database.begin() as tx:
            assert tx.query("SELECT COUNT(*) FROM delivery") == [(0,)], "it is known by its block alone"
            tx.run("UPDATE journal_block SET node = 3")
        node.answer = Answer(202)
        node.got.clear()
        node.engine = node.new_engine()
        await node.engine.start()
        await node.until_got(1)


async def test_what_is_owed_can_not_be_read_once_and_the_hub_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit whose answer was lost everything owed is read anew: not being able to must end nothing."""
    async with _started(_config(tmp_path, engine=Engine(timer_ms=20, drain_seconds=0))) as node:
        read, failures, has_read = outbox.participants_owed, iter([OSError("disk I/O error")]), asyncio.Event()

        def fails_once(tx: Tx, *, node: int | None = None) -> list[str]:
            for failure in failures:
                raise failure
            has_read.set()
            return read(tx, node=node)

        monkeypatch.setattr(outbox, "participants_owed", fails_once)
        node.answer = lambda _inquiry: None
        await node.engine.submit(node.prepare())
        await node.until_got(1)
        node.engine._outbox.is_in_doubt = True
        await node.engine.submit(node.prepare())
        async with asyncio.timeout(10):
            await has_read.wait()
        await node.until_got(2)
        assert node.engine.running


async def test_what_a_full_queue_left_in_the_outbox_is_taken_up_by_the_next_process(tmp_path: Path) -> None:
    config = _config(tmp_path, courier=Courier(queue_max=2, in_flight_max=1), engine=Engine(drain_seconds=0))
    async with _started(config) as node:
        node.answer = lambda _inquiry: None
        commands = [node.prepare("1 USD") for _ in range(10)]
        await asyncio.gather(*(node.engine.submit(each) for each in commands))
        await node.until_got(1)
        assert node.engine.courier.statistics()["payeefsp"].queued == 1
        node.answer = Answer(202)
        await node.restart()
        await node.until_got(10)
        await node.engine.stop()
        assert [each.body for each in node.got] == [command.message.body for command in commands]
        assert {state for _, state in node.deliveries()} == {"DELIVERED"}


async def test_a_refused_message_is_parked_and_listed_and_arrives_when_it_is_sent_again(node: Rig) -> None:
    node.answer = Answer(400, b"not now")
    command = node.prepare()
    await node.engine.submit(command)
    report = await node.noted(DeliveryOutcome.PARKED)
    (parked,) = node.parked()
    assert (parked.participant, parked.status, parked.error) == ("payeefsp", 400, "HTTP 400 not now")
    node.answer = Answer(202)
    await node.engine.resend(parked.message_id)
    again = await node.noted(DeliveryOutcome.DELIVERED)
    assert again.delivery.id == report.delivery.id == parked.message_id
    assert [each.body for each in node.got] == [command.message.body] * 2
    assert (node.parked(), node.deliveries()) == ([], [("payeefsp", "DELIVERED")])
    with pytest.raises(OperatorError, match="is parked"):
        await node.engine.resend(parked.message_id)


async def _one_parked_and_one_under_way(
    node: Rig,
) -> tuple[PrepareTransfer, DeliveryReport, PrepareTransfer, asyncio.Event]:
    """A prepare that its payee has refused, how it was parked, one that the payee answers on the event, and that."""
    node.answer = Answer(400)
    refused = node.prepare("1 USD")
    await node.engine.submit(refused)
    parked = await node.noted(DeliveryOutcome.PARKED)
    release = asyncio.Event()

    async def slow(_inquiry: Inquiry) -> Answer:
        await release.wait()
        return Answer(202)

    node.answer = slow
    node.got.clear()
    busy = node.prepare("1 USD")
    await node.engine.submit(busy)
    await node.until_got(1)
    return refused, parked, busy, release


async def test_a_message_sent_again_goes_before_those_that_wait_for_the_first_time(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, courier=Courier(in_flight_max=1))) as node:
        refused, parked, busy, release = await _one_parked_and_one_under_way(node)
        waiting = node.prepare("1 USD")
        await node.engine.submit(waiting)
        await node.engine.resend(parked.delivery.id)
        release.set()
        await node.until_got(3)
        await node.engine.stop()
        expected = [busy.message.body, refused.message.body, waiting.message.body]
        assert [each.body for each in node.got] == expected


async def test_a_message_sent_again_while_the_queue_is_full_waits_in_the_outbox(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, courier=Courier(queue_max=1, in_flight_max=1))) as node:
        refused, parked, busy, release = await _one_parked_and_one_under_way(node)
        waiting = node.prepare("1 USD")
        await node.engine.resend(parked.delivery.id)
        await node.engine.submit(waiting)
        release.set()
        await node.until_got(3)
        await node.engine.stop()
        expected = [busy.message.body, refused.message.body, waiting.message.body]
        assert [each.body for each in node.got] == expected


async def test_stopping_waits_for_what_is_under_way_and_notes_that_it_arrived(node: Rig) -> None:
    release = asyncio.Event()

    async def slow(_inquiry: Inquiry) -> Answer:
        await release.wait()
        return Answer(202)

    node.answer = slow
    await node.engine.submit(node.prepare())
    await node.until_got(1)
    stopping = asyncio.create_task(node.engine.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    assert node.deliveries() == [("payeefsp", "DELIVERED")]


async def test_an_end_that_its_payer_refuses_while_the_hub_stops_is_told_in_the_hubs_words_by_the_next_process(
    node: Rig,
) -> None:
    refuse = asyncio.Event()

    async def refused(inquiry: Inquiry) -> Answer:
        if inquiry.method == "PUT" and inquiry.path.endswith("/error") and inquiry.path.startswith(f"/{PAYER}/"):
            await refuse.wait()
            return Answer(400)
        return Answer(202)

    node.answer = refused
    command = node.prepare()
    path = f"/{PAYER}/transfers/{command.message.resource_id}"
    await node.engine.submit(command)
    await node.engine.submit(node.decline(command))
    await node.until_heard("PUT", f"{path}/error")
    stopping = asyncio.create_task(node.engine.stop())
    await asyncio.sleep(0)
    refuse.set()
    await stopping
    await node.restart()
    told = await node.until_heard("PUT", path)
    assert json.loads(told.body)["transferState"] == "ABORTED"


async def test_that_an_end_is_refused_is_on_record_together_with_what_its_payer_is_told_then(tmp_path: Path) -> None:
    """Else a crash between the two would leave it refused, and told by nobody."""
    async with _started(_config(tmp_path, engine=Engine(batch_max=1))) as node:
        first, *others = [node.prepare("1 USD") for _ in range(40)]
        path = f"/transfers/{first.message.resource_id}"
        answers: list[asyncio.Task[object]] = []

        def refused(inquiry: Inquiry) -> Answer:
            if inquiry.path != f"/{PAYER}{path}/error":
                return Answer(202)
            # What is to be decided before the hub's own word.
            answers.extend(asyncio.create_task(node.engine.submit(node.decline(each))) for each in others)
            return Answer(400)

        node.answer = refused
        committed, found = node.engine._outbox.committed, set[tuple[bool, bool]]()

        def look(written: outbox.Written) -> None:
            committed(written)
            with node.database.read() as tx:
                is_parked = bool(outbox.parked(tx))
                is_told = any(each.path == path for each in outbox.still_owed(tx))
            if is_parked not in {parked for parked, _ in found}:
                found.add((is_parked, is_told))

        node.engine._outbox.committed = look  # type: ignore[method-assign]
        await asyncio.gather(*(node.engine.submit(each) for each in (first, *others)))
        await node.engine.submit(node.decline(first))
        await node.until_heard("PUT", f"/{PAYER}{path}")
        await asyncio.gather(*answers)
        assert found == {(False, False), (True, True)}


async def test_refused_ends_are_on_record_with_their_words_also_where_a_commit_has_failed(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, engine=Engine(batch_max=4))) as node:
        ends = [node.prepare("1 USD") for _ in range(4)]
        release = asyncio.Event()

        async def hang_with_ends(inquiry: Inquiry) -> Answer:
            if inquiry.path.startswith(f"/{PAYER}/") and inquiry.path.endswith("/error"):
                await release.wait()
            return Answer(202)

        node.answer = hang_with_ends
        for each in ends:
            await node.engine.submit(each)
            await node.engine.submit(node.decline(each))
            await node.until_heard("PUT", f"/{PAYER}/transfers/{each.message.resource_id}/error")
        with node.database.read() as tx:
            owed = [each for each in outbox.still_owed(tx) if each.to == PAYER]
        commit, committed = node.engine._commit, node.engine._outbox.committed
        questions: list[asyncio.Task[object]] = []
        told, alone = set[str](), set[str]()

        async def fail_once(_tx: WriteTx) -> None:
            node.engine._commit = commit  # type: ignore[method-assign]
            # Of the next batch a part is theirs: not all four words find room in it.
            questions.extend(asyncio.create_task(node.engine.submit(node.prepare("1 USD"))) for _ in range(8))
            raise sqlite3.OperationalError("disk I/O error")

        def look(written: outbox.Written) -> None:
            committed(written)
            with node.database.read() as tx:
                told.update(each.path for each in outbox.still_owed(tx))
                alone.update({each.path.removesuffix("/error") for each in outbox.parked(tx)} - told)

        node.engine._commit = fail_once  # type: ignore[method-assign]
        node.engine._outbox.committed = look  # type: ignore[method-assign]
        for sent in owed:
            delivery = Delivery(sent.message_id, sent.to, sent.method, sent.headers, sent.body, 0, True, 1, sent)
            node.engine.courier._report(
                DeliveryReport(delivery, DeliveryOutcome.PARKED, 400, "HTTP 400", 1, clock_ms())
            )
        for each in ends:
            await node.until_heard("PUT", f"/{PAYER}/transfers/{each.message.resource_id}")
        await asyncio.gather(*questions)
        assert len(node.parked()) == len(ends)
        assert not alone
        release.set()


async def test_stopping_answers_what_was_accepted_and_leaves_it_for_the_next_process_to_send(node: Rig) -> None:
    commands = [node.prepare("1 USD") for _ in range(20)]
    answers = [asyncio.create_task(node.engine.submit(each)) for each in commands]
    await asyncio.sleep(0)
    await node.engine.stop()
    assert [await each for each in answers] == [None] * 20
    assert set(node.states().values()) == {"RESERVED"}
    sent = {each.body for each in node.got}
    await node.restart()
    await node.until_got(20 - len(sent))
    assert sent | {each.body for each in node.got} == {command.message.body for command in commands}


async def test_stopping_waits_no_longer_than_it_may_for_one_that_hangs(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, engine=Engine(drain_seconds=0))) as node:
        node.answer = lambda _inquiry: None
        await node.engine.submit(node.prepare())
        await node.until_got(1)
        async with asyncio.timeout(2):
            await node.engine.stop()
        assert node.deliveries() == [("payeefsp", "PENDING")]


# --- what is routed ---------------------------------------------------------------------------------------------


async def test_a_routed_message_goes_out_at_once_and_is_in_the_journal_with_the_next_batch(node: Rig) -> None:
    message, notices = node.lookup("MSISDN", "1")
    node.engine.route(message, notices)
    got = await node.until_heard("GET", "/payeefsp/parties/MSISDN/1")
    assert got.headers["fspiop-source"] == PAYER
    await node.noted(DeliveryOutcome.DELIVERED)
    with node.database.read() as tx:
        rows = [(each.direction, each.method, each.path, each.outcome) for each in journalled.messages(tx)]
    assert rows == [("in", "GET", "/parties/MSISDN/1", "routed"), ("out", "GET", "/parties/MSISDN/1", "sent")]
    assert node.deliveries() == [("payeefsp", "DELIVERED")]


async def test_notes_for_which_nobody_waits_share_a_batch(node: Rig) -> None:
    loop = asyncio.get_running_loop()
    began, before = loop.time(), node.engine.statistics.batches
    for number in range(20):
        node.engine.route(*node.lookup("MSISDN", f"1{number:03}"))
        assert (await node.reports.get()).outcome is DeliveryOutcome.DELIVERED
    batches = node.engine.statistics.batches - before
    # One for each time that notes may wait, however long this takes here; and what the engine does by itself.
    assert batches <= (loop.time() - began) * 1000 / NOTES_WAIT_MS + 2
    await node.engine.submit(ExpireTransfers())
    with node.database.read() as tx:
        blocks = list(journal.everything(tx))
    assert sum(each.resource == "parties" for block in blocks for each in block.received) == 20
    assert sum(each.state == "DELIVERED" for block in blocks for each in block.marks) == 20


async def test_a_message_that_was_only_routed_is_not_sent_again_by_the_next_process(node: Rig) -> None:
    node.answer = Answer(503)
    node.engine.route(*node.lookup("MSISDN", "1"))
    await node.until_got(1)
    node.answer = Answer(202)
    await node.restart()
    await node.engine.submit(node.prepare())
    await node.until_got(1)
    assert [each.method for each in node.got] == ["POST"]


async def test_nothing_is_routed_to_one_whose_queue_is_full(tmp_path: Path) -> None:
    config = _config(tmp_path, courier=Courier(queue_max=1), engine=Engine(drain_seconds=0))
    async with _started(config) as node:
        node.answer = lambda _inquiry: None
        node.engine.route(*node.lookup("MSISDN", "1"))
        with pytest.raises(FspiopError) as raised:
            node.engine.route(*node.lookup("MSISDN", "2"))
        assert raised.value.code == "2005"


@pytest.mark.parametrize("ids", [("MSISDN", "1"), ("MSISDN", "1", "SAVINGS"), ("ALIAS", "a/b c")])
async def test_who_asked_about_a_party_is_told_that_the_question_could_not_be_delivered(
    node: Rig, ids: tuple[str, ...]
) -> None:
    node.answer = lambda inquiry: Answer(404) if inquiry.path.startswith("/payeefsp") else Answer(200)
    message, notices = node.lookup(*ids)
    node.engine.route(message, notices)
    got = await node.until_heard("PUT", f"/payerfsp{message.path}/error")
    assert json.loads(got.body)["errorInformation"]["errorCode"] == "1001"
    assert (got.headers["fspiop-source"], got.headers["fspiop-destination"]) == ("Hub", PAYER)


async def test_who_asked_for_a_quote_is_told_that_it_could_not_be_delivered(node: Rig) -> None:
    node.answer = lambda inquiry: Answer(404) if inquiry.path.startswith("/payeefsp") else Answer(200)
    command = node.quote()
    await node.engine.submit(command)
    got = await node.until_heard("PUT", f"/payerfsp/quotes/{command.message.resource_id}/error")
    assert json.loads(got.body)["errorInformation"]["errorCode"] == "1001"


async def test_nobody_is_told_of_an_answer_that_could_not_be_delivered(node: Rig) -> None:
    node.answer = Answer(404)
    node.engine.route(*node.lookup("MSISDN", "1"))
    await node.until_heard("PUT", "/payerfsp/parties/MSISDN/1/error")
    for _ in range(2):
        await node.noted(DeliveryOutcome.PARKED)
    assert len(node.got) == 2, "the question, and what was told of it"


# --- time -------------------------------------------------------------------------------------------------------


async def test_a_payment_is_final_within_a_second_of_its_expiration_and_both_sides_are_told(node: Rig) -> None:
    command = node.prepare("10 USD", expires_in_ms=100)
    await node.engine.submit(command)
    for name in (PAYER, PAYEE):
        got = await node.until_heard("PUT", f"/{name}/transfers/{command.message.resource_id}/error")
        assert json.loads(got.body)["errorInformation"]["errorCode"] == "3303"
    assert 0 <= clock_ms() - command.expires_ms < 1_000
    assert list(node.states().values()) == ["EXPIRED_RESERVED"]
    assert node.differences() == []


async def test_what_expired_while_no_process_ran_is_final_soon_after_the_start(node: Rig) -> None:
    command = node.prepare("10 USD")
    await node.engine.submit(command)
    node.ahead_ms = 60_000
    await node.restart()
    await node.until_heard("PUT", f"/payerfsp/transfers/{command.message.resource_id}/error")
    assert list(node.states().values()) == ["EXPIRED_RESERVED"]


async def test_the_journal_is_kept_for_its_time_and_what_is_owed_or_parked_for_longer(tmp_path: Path) -> None:
    config = _config(tmp_path, journal=Journal(retention_days=1), engine=Engine(timer_ms=10, drain_seconds=1))
    async with _started(config) as node:
        node.answer = Answer(400)
        parked = node.prepare()
        await node.engine.submit(parked)
        await node.noted(DeliveryOutcome.PARKED)
        node.answer = Answer(202)
        await node.engine.submit(node.prepare())
        await node.noted(DeliveryOutcome.DELIVERED)
        await node.engine.stop()
        with node.database.begin() as tx:
            tx.run("UPDATE transfer SET expires_ms = ?", (2**60,))
        node.ahead_ms = 3 * 86_400_000
        node.engine = node.new_engine()
        await node.engine.start()
        await node.engine._purge()
        with node.database.read() as tx:
            assert len(journalled.messages(tx)) == 0
        assert node.deliveries() == [("payeefsp", "PARKED")]
        await node.engine.resend(node.parked()[0].message_id)
        await node.noted(DeliveryOutcome.DELIVERED)
        assert node.got[-1].body == parked.message.body


# --- life and death of the engine --------------------------------------------------------------------------------


async def test_a_stopping_hub_refuses_what_is_new(node: Rig) -> None:
    await node.engine.stop()
    with pytest.raises(FspiopError) as raised:
        await node.engine.submit(node.prepare())
    assert (raised.value.code, raised.value.status) == ("2003", 503)


def test_a_hub_can_be_built_twice_in_one_process(tmp_path: Path) -> None:
    async def build() -> None:
        for name in ("one", "two"):
            config = load(None, {}, data_dir=str(tmp_path / name))
            stores.found(config, name, ["USD"])
            database = open_database(config)
            hub = Hub(config, database)
            await hub.start()
            assert hub.directory.scheme_name == name
            await hub.stop()
            database.close()

    asyncio.run(build())


# --- defects of ours, and what they must not cost ------------------------------------------------------------------


async def test_a_courier_that_fails_once_costs_neither_the_writer_nor_the_message(tmp_path: Path) -> None:
    config = _config(tmp_path, engine=Engine(timer_ms=20, drain_seconds=1))
    async with _started(config) as node:
        post, failures = node.engine.courier.post, iter([OSError("too many open files")])

        def fails_once(delivery: Delivery) -> bool:
            for failure in failures:
                raise failure
            return post(delivery)

        node.engine.courier.post = fails_once  # type: ignore[method-assign]
        await node.engine.submit(node.prepare())
        await node.engine.submit(node.prepare())
        await node.received(2)
        assert node.engine.running


async def test_a_read_that_fails_once_leaves_nothing_in_the_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = Courier(queue_max=4, in_flight_max=1, retry_first_ms=10, retry_max_ms=20)
    async with _started(_config(tmp_path, courier=courier, engine=Engine(timer_ms=20, drain_seconds=1))) as node:
        load, failures = outbox.load_owed, iter([OSError("disk I/O error")])

        def fails_once(tx: Tx, participant: str, *, after: int, limit: int, node: int | None) -> list[Delivery]:
            for failure in failures:
                raise failure
            return load(tx, participant, after=after, limit=limit, node=node)

        monkeypatch.setattr(outbox, "load_owed", fails_once)
        await asyncio.gather(*(node.engine.submit(node.prepare("1 USD")) for _ in range(10)))
        await node.received(10)
        assert list(failures) == [], "the read did fail"


async def test_a_clock_set_back_over_a_restart_moves_headroom_all_the_same(tmp_path: Path) -> None:
    config = _config(tmp_path, engine=Engine(timer_ms=10_000, drain_seconds=1))
    async with _started(config) as node:
        frozen_ms = clock_ms() + 100_000
        for cap in ("600 USD", "200 USD"):
            await node.engine.stop()
            node.engine = node.new_engine(lambda: frozen_ms)
            await node.engine.start()
            value = Amount.from_string(cap).minor
            await node.engine.submit(AdjustLimit(name=PAYER, currency="USD", value=value))
            assert node.differences() == []


async def test_a_clock_that_was_ahead_and_is_put_right_keeps_no_checkpoint_waiting(tmp_path: Path) -> None:
    async with _started(_config(tmp_path, engine=Engine(timer_ms=20, drain_seconds=1))) as node:
        day_ms, key = 86_400_000, AuditKey(Ed25519PrivateKey.generate())

        def signed() -> int:
            with node.database.read() as tx:
                found = auditlog.last_checkpoint(tx)
            return 0 if found is None else found[0]

        async def until_signed_behind(seq: int) -> int:
            async with asyncio.timeout(5):
                while signed() <= seq:  # noqa: ASYNC110 - the timer does not announce it
                    await asyncio.sleep(0.01)
            return signed()

        node.ahead_ms = 2 * day_ms
        node.engine._auditlog.sign = key.sign
        first = await until_signed_behind(0)
        # A look in between would find nothing new, and the next one is an hour later.
        node.engine._auditlog.sign = None
        node.ahead_ms = 0
        transfer = node.prepare()
        await node.engine.submit(transfer)
        await node.engine.submit(node.decline(transfer))
        node.engine._auditlog.sign = key.sign
        await until_signed_behind(first)


async def test_a_question_reaches_whoever_has_room_and_is_refused_only_where_nobody_has(tmp_path: Path) -> None:
    courier = Courier(queue_max=1, in_flight_max=1, retry_first_ms=10, retry_max_ms=20)
    async with _started(_config(tmp_path, courier=courier, engine=Engine(timer_ms=20, drain_seconds=1))) as node:
        open_again = asyncio.Event()

        async def waits() -> Answer:
            await open_again.wait()
            return Answer(202)

        node.answer = lambda inquiry: waits() if inquiry.path.startswith("/payeefsp") else Answer(202)
        first, (to_payee,) = node.lookup("MSISDN", "1")
        node.engine.route(first, [to_payee])
        second, (also_to_payee,) = node.lookup("MSISDN", "2")
        node.engine.route(second, [msgspec.structs.replace(also_to_payee, to=PAYER), also_to_payee])
        third, notices = node.lookup("MSISDN", "3")
        with pytest.raises(FspiopError) as refused:
            node.engine.route(third, notices)
        assert (refused.value.code, refused.value.status) == ("2005", 503)
        assert refused.value.headers == (("Retry-After", "1"),)
        open_again.set()
        await node.received(2)


async def test_lookups_never_keep_out_what_the_hub_owes(tmp_path: Path) -> None:
    courier = Courier(queue_max=10, in_flight_max=1, retry_first_ms=10, retry_max_ms=20)
    async with _started(_config(tmp_path, courier=courier, engine=Engine(timer_ms=20, drain_seconds=1))) as node:
        is_over = False

        async def flood() -> None:
            number = 0
            while not is_over:
                number += 1
                message, notices = node.lookup("MSISDN", str(number))
                with contextlib.suppress(FspiopError):
                    node.engine.route(message, notices)
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        await asyncio.gather(*(node.engine.submit(node.prepare("1 USD")) for _ in range(30)))
        await node.received(30, "POST")
        is_over = True
        await flooding
