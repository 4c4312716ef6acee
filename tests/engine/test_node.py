"""The engine: one commit for a batch, one failure for a poisonous command, and nothing owed is forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from vuka.api.hub import USE_CASES, Hub, clock_ms, open_database
from vuka.api.wire import FspiopWire
from vuka.cli.hub import found
from vuka.config import Config, Courier, Engine, Journal, load
from vuka.engine import outbox
from vuka.engine.batch import UseCase, use_case
from vuka.engine.courier import DeliveryOutcome, DeliveryReport
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
from vuka.store.sqlite import Database, SqliteTx
from vuka.switch.audit import audit
from vuka.switch.funds import RecordFundsIn
from vuka.switch.participants import CreateParticipant, Endpoint, SetEndpoints, SetInitialPositionAndLimits
from vuka.switch.quotes import RequestQuote
from vuka.switch.transfers import ExpireTransfers, PrepareTransfer
from vuka.switch.work import Action, Command, Forward, Inbound, Notice, Outcome, Work

PAYER, PAYEE = FspId("payerfsp"), FspId("payeefsp")


class Poison(Command, frozen=True, kw_only=True):
    """A command whose use case has a defect."""


def _poisoned(_work: Work, _commands: Sequence[Poison]) -> list[Outcome]:
    raise RuntimeError("a defect")


class Rig:
    """An engine on a database, with two participants behind one recording server."""

    def __init__(self, config: Config, database: Database, got: list[Inquiry]) -> None:
        self.config = config
        self.database = database
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

    def new_engine(self) -> Node:
        cases: tuple[UseCase, ...] = (*USE_CASES, use_case(_poisoned, Poison))
        engine = Node(
            config=self.config,
            database=self.database,
            use_cases=cases,
            wire=FspiopWire(),
            ledger=SqlLedger,
            clock_ms=lambda: clock_ms() + self.ahead_ms,
            jitter=lambda: 0.0,
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
            return [tuple(row) for row in tx.query("SELECT participant, state FROM delivery ORDER BY message_id")]

    def differences(self) -> list[object]:
        with self.database.read() as tx:
            return list(audit(tx, SqlLedger(tx, 0)).differences)


def _config(tmp_path: Path, **sections: msgspec.Struct) -> Config:
    config = load(None, {}, data_dir=str(tmp_path / "hub"))
    return msgspec.structs.replace(config, **sections)


async def _started(config: Config) -> AsyncIterator[Rig]:
    found(config, "Engine", ["USD"])
    got: list[Inquiry] = []
    database = open_database(config)
    node = Rig(config, database, got)
    server = node.server
    await server.start()
    await node.engine.start()
    await node.onboard()
    yield node
    if node.engine.running:
        await node.engine.stop()
    database.close()
    await server.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    config = _config(tmp_path, courier=Courier(retry_first_ms=10, retry_max_ms=20), engine=Engine(drain_seconds=1))
    async for made in _started(config):
        yield made


# --- batches ----------------------------------------------------------------------------------------------------


async def test_a_command_is_durable_before_it_is_answered(node: Rig) -> None:
    command = node.prepare()
    await node.engine.submit(command)
    connection = sqlite3.connect(node.config.database_path)
    states = [state for (state,) in connection.execute("SELECT state FROM transfer WHERE kind = 'PAYMENT'")]
    connection.close()
    assert states == ["RESERVED"]


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
    async for node in _started(_config(tmp_path, engine=Engine(queue_max=3))):
        commands = [node.prepare() for _ in range(10)]
        results = await asyncio.gather(*(node.engine.submit(each) for each in commands), return_exceptions=True)
        refused = [each for each in results if isinstance(each, FspiopError)]
        assert {(each.code, each.status, each.headers) for each in refused} == {("2005", 503, (("Retry-After", "1"),))}
        assert len(node.states()) == len(results) - len(refused) == 3


async def test_a_commit_that_fails_accepts_nothing_sends_nothing_and_stops_nothing(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_tx: SqliteTx) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(SqliteTx, "commit", full)
        with pytest.raises(FspiopError) as raised:
            await node.engine.submit(node.prepare())
    assert (raised.value.code, raised.value.status) == ("2003", 503)
    assert (node.states(), node.got) == ({}, [])
    await node.engine.submit(node.prepare())
    await node.until_got(1)
    assert list(node.states().values()) == ["RESERVED"]
    assert node.differences() == []


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
    async for node in _started(_config(tmp_path, courier=courier)):
        commands = [node.prepare("1 USD") for _ in range(40)]
        await asyncio.gather(*(node.engine.submit(each) for each in commands))
        await node.until_got(40)
        assert [each.body for each in node.got] == [command.message.body for command in commands]


async def test_a_body_is_stored_once_however_often_it_is_sent(node: Rig) -> None:
    command = node.prepare()
    await node.engine.submit(command)
    await node.until_got(1)
    with node.database.read() as tx:
        rows = tx.query("SELECT direction, body, body_of FROM message ORDER BY message_id")
    assert rows == [("in", command.message.body, None), ("out", None, command.message.message_id)]
    assert node.got[0].body == command.message.body


async def test_without_a_journal_only_what_is_owed_is_kept_and_goes_when_it_has_arrived(tmp_path: Path) -> None:
    async for node in _started(_config(tmp_path, journal=Journal(enabled=False))):
        command = node.prepare()
        await node.engine.submit(command)
        await node.until_got(1)
        await node.engine.stop()
        assert node.got[0].body == command.message.body
        with node.database.read() as tx:
            assert tx.query("SELECT COUNT(*) FROM message") == [(0,)]
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
        assert outbox.purge(tx, 2**62) == 2
        assert outbox.purge(tx, 2**62) == 0
    with node.database.read() as tx:
        ((message_id,),) = tx.query("SELECT message_id FROM delivery")
        kept = outbox.load_one(tx, message_id)
    assert kept is not None
    assert kept.body == node.got[0].body


async def test_only_a_parked_message_can_be_sent_again(node: Rig) -> None:
    with pytest.raises(OperatorError, match="No message 1 is parked"):
        await node.engine.resend(1)


async def test_a_stopping_hub_refuses_what_is_new(node: Rig) -> None:
    await node.engine.stop()
    with pytest.raises(FspiopError) as raised:
        await node.engine.submit(node.prepare())
    assert (raised.value.code, raised.value.status) == ("2003", 503)


def test_a_hub_can_be_built_twice_in_one_process(tmp_path: Path) -> None:
    async def build() -> None:
        for name in ("one", "two"):
            config = load(None, {}, data_dir=str(tmp_path / name))
            found(config, name, ["USD"])
            database = open_database(config)
            hub = Hub(config, database)
            await hub.start()
            assert hub.directory.scheme_name == name
            await hub.stop()
            database.close()

    asyncio.run(build())
