"""Deliveries of notifications: each until it has arrived or is parked, whatever channels do, and nobody else waits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from vuka.api.hub import USE_CASES, open_database
from vuka.api.wire import FspiopWire
from vuka.channels import webhook
from vuka.cli.hub import found
from vuka.clock import clock_ms
from vuka.config import Config, Engine, Notifications, load
from vuka.engine import notifications as records
from vuka.engine import notifier as notifier_module
from vuka.engine.membership import Identity
from vuka.engine.node import Engine as Node
from vuka.engine.notifications import NotificationFilter, NotificationView, ResendNotifications, notifications
from vuka.engine.notifier import LEASE_SPARE_MS, LOST_MS, NotificationOutcome
from vuka.engine.observed import Observer
from vuka.errors import OperatorError
from vuka.ids import FspId
from vuka.ledger.sql import SqlLedger
from vuka.money import Currency
from vuka.plugins import ADJUSTMENT, Channel, DeliveryError, Notification
from vuka.sim.server import Answer, Inquiry, Server
from vuka.store.sqlite import Database, SqliteTx
from vuka.switch.participants import AdjustLimit, CreateParticipant, Endpoint, SetEndpoints, SetInitialPositionAndLimits
from vuka.switch.transfers import ExpireTransfers

BANK = FspId("greenbank")
DELIVERED, RETRYING, PARKED = NotificationOutcome.DELIVERED, NotificationOutcome.RETRYING, NotificationOutcome.PARKED

QUICK = Notifications(
    timeout_ms=5_000, retry_first_ms=1, retry_max_ms=1, attempts_max=3, at_once_max=2, alarm_check_ms=10_000
)


class Fake:
    """A channel of a plugin: it keeps what it is given, and does what a test has it do."""

    def __init__(self, name: str = "chat", **fields: Any) -> None:
        self.got: list[tuple[Notification, str]] = []
        self.does: Callable[[], None] = lambda: None
        self.channel = Channel(name=name, deliver=self._deliver, **fields)

    def _deliver(self, notification: Notification, address: str) -> None:
        self.got.append((notification, address))
        self.does()


class Told(Observer):
    """What became of attempts, as they end."""

    def __init__(self) -> None:
        self.attempts: asyncio.Queue[tuple[str, NotificationOutcome]] = asyncio.Queue()

    def notified(self, channel: str, outcome: NotificationOutcome) -> None:
        self.attempts.put_nowait((channel, outcome))


class Rig:
    """An engine with the channels of a test, over a file that others may open, too."""

    def __init__(self, config: Config, database: Database, channels: Sequence[Channel]) -> None:
        self.config = config
        self.database = database
        self.told = Told()
        self.ahead_ms = 0
        """How far the hub's clock is ahead of the machine's."""
        self.identity: Identity | None = None
        self.engine = self.new_engine(channels)

    def new_engine(self, channels: Sequence[Channel], config: Config | None = None) -> Node:
        return Node(
            config=config or self.config,
            database=self.database,
            use_cases=USE_CASES,
            wire=FspiopWire(),
            ledger=SqlLedger,
            clock_ms=lambda: clock_ms() + self.ahead_ms,
            jitter=lambda: 0.0,
            observers=(self.told,),
            channels=channels,
            identity=self.identity,
        )

    async def restart(self, channels: Sequence[Channel], config: Config | None = None) -> None:
        """Another process takes over the same file."""
        if self.engine.running:
            await self.engine.stop()
        self.engine = self.new_engine(channels, config)
        await self.engine.start()

    async def kill(self) -> None:
        """The process dies: nothing more is written."""
        for task in self.engine._tasks:
            task.cancel()
        for task in self.engine.notifier._under_way:
            task.cancel()
        await asyncio.gather(*self.engine._tasks, return_exceptions=True)

    async def join(self, name: str = BANK, **endpoints: str) -> None:
        """A participant that has been told of its first limits by nobody."""
        await self.engine.submit(CreateParticipant(name=FspId(name), currency=Currency("USD")))
        await self.point(name, **endpoints)

    async def point(self, name: str, **endpoints: str) -> None:
        given = tuple(Endpoint(kind, value) for kind, value in endpoints.items())
        await self.engine.submit(SetEndpoints(name=FspId(name), endpoints=given))

    async def tell(self, name: str = BANK) -> None:
        """Something that people are told."""
        await self.engine.submit(SetInitialPositionAndLimits(name=FspId(name), currency=Currency("USD"), value=10_0000))

    async def again(self, count: int = 1, name: str = BANK) -> None:
        """The same, of one who has been told already."""
        for number in range(count):
            command = AdjustLimit(name=FspId(name), currency=Currency("USD"), value=11_0000 + number)
            await self.engine.submit(command)

    async def attempted(self, *outcomes: NotificationOutcome, channel: str | None = None) -> None:
        """The next attempts, of that channel where one is named, once they are written: they end so."""
        seen: list[NotificationOutcome] = []
        async with asyncio.timeout(20):
            while len(seen) < len(outcomes):
                by, outcome = await self.told.attempts.get()
                if channel in (None, by):
                    seen.append(outcome)
        assert seen == list(outcomes)
        await self.written()

    async def none_pending(self) -> None:
        """Every delivery has arrived or is parked."""
        async with asyncio.timeout(20):
            while self._has_undistributed():
                # What was told before may all have arrived.
                await self.looked()
            while "PENDING" in {state for _, _, state, *_ in self.deliveries()} or not self.deliveries():
                await self.told.attempts.get()
                await self.written()
        while not self.told.attempts.empty():
            self.told.attempts.get_nowait()

    def _has_undistributed(self) -> bool:
        """Whether something is told of which nobody knows yet whom it goes to."""
        with self.database.read() as tx:
            return bool(tx.query("SELECT 1 FROM notification WHERE distributed_ms IS NULL LIMIT 1"))

    async def written(self) -> None:
        """Whatever was asked of the engine before this is durable."""
        await self.engine.submit(ExpireTransfers())

    async def looked(self) -> None:
        """The timer has looked at least once more, and found nothing to do."""
        await self.engine.notifier.tick()
        await self.written()

    def list(self, **asked: Any) -> list[NotificationView]:
        with self.database.read() as tx:
            return notifications(tx, NotificationFilter(**asked), 1_000)

    def deliveries(self) -> list[tuple[str, str, str, int, str | None]]:
        """Every delivery: channel, recipient, state, attempts, error."""
        return [
            (each.channel, each.recipient, each.state, each.attempts, each.error)
            for notification in self.list()
            for each in notification.deliveries
        ]

    async def resend(self, notification_id: int | None = None, channel: str | None = None) -> object:
        command = ResendNotifications(
            notification_id=notification_id, channel=channel, channels=self.engine.notifier.channels
        )
        return await self.engine.submit(command)


@asynccontextmanager
async def running(directory: Path, *channels: Channel, settings: Notifications = QUICK) -> AsyncIterator[Rig]:
    config = load(None, {}, data_dir=str(directory / "hub"))
    config = msgspec.structs.replace(config, engine=Engine(timer_ms=10, drain_seconds=1), notifications=settings)
    found(config, "Test", ["USD"])
    database = open_database(config)
    rig = Rig(config, database, channels)
    await rig.engine.start()
    try:
        yield rig
    finally:
        if rig.engine.running:
            await rig.engine.stop()
        database.close()


def by_webhook(settings: Notifications = QUICK) -> Channel:
    (channel,) = webhook.vuka_notification_channels(Config(notifications=settings))
    return channel


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.server.start()
    try:
        yield made
    finally:
        await made.server.stop()


class Receiver:
    """A real server that takes webhooks."""

    def __init__(self) -> None:
        self.got: list[Inquiry] = []
        self.answer = Answer(200)
        self.server = Server(self._hear)

    def _hear(self, inquiry: Inquiry) -> Answer:
        self.got.append(inquiry)
        return self.answer

    @property
    def url(self) -> str:
        return f"{self.server.url}/alarms"

    @property
    def ids(self) -> list[str]:
        return [inquiry.headers["vuka-notification"] for inquiry in self.got]


# --- to whom ------------------------------------------------------------------------------------------------------


async def test_participant_and_hub_are_each_told_at_their_own_address(tmp_path: Path) -> None:
    chat = Fake(endpoints={ADJUSTMENT: "NET_DEBIT_CAP_ADJUSTMENT_EMAIL"})
    async with running(tmp_path, chat.channel) as rig:
        await rig.join(NET_DEBIT_CAP_ADJUSTMENT_EMAIL="ops@greenbank.example")
        await rig.point("Hub", NET_DEBIT_CAP_ADJUSTMENT_EMAIL="desk@hub.example")
        await rig.tell()
        await rig.attempted(DELIVERED, DELIVERED)
        told = sorted((notification.recipient, address) for notification, address in chat.got)
        assert told == [("Hub", "desk@hub.example"), (BANK, "ops@greenbank.example")]
        assert {notification.participant for notification, _ in chat.got} == {BANK}
        assert len({notification.id for notification, _ in chat.got}) == 2
        assert rig.deliveries() == [
            ("chat", BANK, "DELIVERED", 1, None),
            ("chat", "Hub", "DELIVERED", 1, None),
        ]


async def test_who_has_no_address_is_not_told_and_the_notification_is_on_record(tmp_path: Path) -> None:
    chat = Fake(endpoints={ADJUSTMENT: "NET_DEBIT_CAP_ADJUSTMENT_EMAIL"})
    async with running(tmp_path, chat.channel) as rig:
        await rig.join(NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL="ops@greenbank.example")
        await rig.tell()
        await rig.looked()
        assert [(each.kind, each.deliveries) for each in rig.list()] == [(ADJUSTMENT, ())]
        await rig.point(BANK, NET_DEBIT_CAP_ADJUSTMENT_EMAIL="ops@greenbank.example")
        await rig.looked()
        assert chat.got == [], "what happened before is not told to a new address"


async def test_a_channel_without_addresses_is_given_all_or_the_hubs_alone(tmp_path: Path) -> None:
    every, desk = Fake("all"), Fake("desk", tells_participants=False)
    async with running(tmp_path, every.channel, desk.channel) as rig:
        await rig.join()
        await rig.tell()
        await rig.attempted(DELIVERED, DELIVERED, DELIVERED)
        assert sorted(notification.recipient for notification, _ in every.got) == ["Hub", BANK]
        assert [(notification.recipient, address) for notification, address in desk.got] == [("Hub", "")]


async def test_a_delivery_goes_to_the_address_that_is_set_when_it_is_tried(tmp_path: Path) -> None:
    chat = Fake(endpoints={ADJUSTMENT: "NET_DEBIT_CAP_ADJUSTMENT_EMAIL"})
    chat.does = _refuses
    async with running(tmp_path, chat.channel) as rig:
        await rig.join(NET_DEBIT_CAP_ADJUSTMENT_EMAIL="typo@greenbank.example")
        await rig.tell()
        await rig.attempted(PARKED)
        await rig.point(BANK, NET_DEBIT_CAP_ADJUSTMENT_EMAIL="ops@greenbank.example")
        chat.does = lambda: None
        assert await rig.resend() == 1
        await rig.attempted(DELIVERED)
        assert [address for _, address in chat.got] == ["typo@greenbank.example", "ops@greenbank.example"]
        assert rig.list()[0].deliveries[0].address == "ops@greenbank.example"


def _refuses() -> None:
    raise DeliveryError("no such address", "550 go away", is_final=True)


# --- again and again, parked, sent again --------------------------------------------------------------------------


async def test_a_delivery_that_fails_is_tried_again_under_the_same_id_and_then_parked(tmp_path: Path) -> None:
    async with receiver() as there, running(tmp_path, by_webhook()) as rig:
        there.answer = Answer(500)
        await rig.join(ALARM_NOTIFICATION_URL=there.url)
        await rig.tell()
        await rig.attempted(RETRYING, RETRYING, PARKED)
        assert rig.deliveries() == [("webhook", BANK, "PARKED", 3, "answered 500")]
        assert (len(there.got), len(set(there.ids))) == (3, 1)
        assert len({inquiry.body for inquiry in there.got}) == 1
        await rig.looked()
        assert len(there.got) == 3, "what is parked is left alone"
        (notification,) = rig.list(state="PARKED")
        there.answer = Answer(200)
        assert await rig.resend(notification.notification_id) == 1
        await rig.attempted(DELIVERED)
        assert rig.deliveries() == [("webhook", BANK, "DELIVERED", 1, None)]
        assert len(set(there.ids)) == 1
        with pytest.raises(OperatorError, match=r"No delivery of notification \d+ is parked"):
            await rig.resend(notification.notification_id)


async def test_waits_between_attempts_double_up_to_the_longest(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(QUICK, retry_first_ms=100_000, retry_max_ms=300_000, attempts_max=5)
    chat = Fake(tells_participants=False)
    chat.does = _fails
    async with running(tmp_path, chat.channel, settings=settings) as rig:
        await rig.join()
        await rig.tell()
        waits = []
        for _ in range(4):
            await rig.attempted(RETRYING)
            delivery = rig.list()[0].deliveries[0]
            waits.append(delivery.next_ms - delivery.updated_ms)
            count = len(chat.got)
            rig.ahead_ms += waits[-1] - 90_000
            await rig.looked()
            assert len(chat.got) == count, "not before its time"
            rig.ahead_ms += 90_000
        await rig.attempted(PARKED)
        assert waits == [100_000, 200_000, 300_000, 300_000]


def _fails() -> None:
    raise DeliveryError("not now")


async def test_what_is_refused_for_good_is_parked_at_once(tmp_path: Path) -> None:
    async with receiver() as there, running(tmp_path, by_webhook()) as rig:
        there.answer = Answer(410)
        await rig.join(ALARM_NOTIFICATION_URL=there.url)
        await rig.tell()
        await rig.attempted(PARKED)
        assert rig.deliveries() == [("webhook", BANK, "PARKED", 1, "answered 410")]


async def test_all_that_is_parked_may_be_sent_again_or_that_of_one_channel(tmp_path: Path) -> None:
    chat, pager = Fake("chat", tells_participants=False), Fake("pager", tells_participants=False)
    chat.does = pager.does = _refuses
    async with running(tmp_path, chat.channel, pager.channel) as rig:
        await rig.join()
        await rig.tell()
        await rig.again()
        await rig.attempted(PARKED, PARKED, PARKED, PARKED)
        chat.does = pager.does = lambda: None
        assert await rig.resend(channel="pager") == 2
        await rig.attempted(DELIVERED, DELIVERED)
        assert [state for channel, _, state, *_ in rig.deliveries() if channel == "chat"] == ["PARKED", "PARKED"]
        with pytest.raises(OperatorError, match="There is no channel fax"):
            await rig.resend(channel="fax")
        assert await rig.resend() == 2
        await rig.attempted(DELIVERED, DELIVERED)
        assert await rig.resend() == 0


# --- channels that raise, hang and are slow -----------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt, RecursionError])
async def test_a_plugin_that_raises_fails_alone_and_its_words_are_not_logged(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def raises() -> None:
        raise error("token xoxb-secret is wrong")

    chat, desk = Fake(tells_participants=False), Fake("desk", tells_participants=False)
    chat.does = raises
    with capture_logs() as logs:
        async with running(tmp_path, chat.channel, desk.channel) as rig:
            await rig.join()
            await rig.tell()
            await rig.attempted(RETRYING, RETRYING, PARKED, channel="chat")
            assert ("desk", "Hub", "DELIVERED", 1, None) in rig.deliveries()
            shown = f"{error.__name__}: token xoxb-secret is wrong"
            assert ("chat", "Hub", "PARKED", 3, shown) in rig.deliveries()
    assert "xoxb-secret" not in str(logs)
    (line,) = [line for line in logs if line["event"] == "notifications can't be delivered"]
    assert (line["channel"], line["error"]) == ("chat", error.__name__)
    assert line["at"].startswith("test_notifier.py:")


async def test_what_the_other_side_said_is_kept_for_operators_and_not_logged(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    chat.does = _refuses
    with capture_logs() as logs:
        async with running(tmp_path, chat.channel) as rig:
            await rig.join()
            await rig.tell()
            await rig.attempted(PARKED)
            assert rig.deliveries() == [("chat", "Hub", "PARKED", 1, "no such address: 550 go away")]
    (line,) = [line for line in logs if line["event"] == "notifications can't be delivered"]
    assert (line["error"], line["is_parked"]) == ("no such address", True)
    assert "go away" not in str(logs)


async def test_a_channel_that_is_down_has_one_line_in_a_while_and_one_when_it_is_back(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    chat.does = _fails
    with capture_logs() as logs:
        async with running(tmp_path, chat.channel) as rig:
            await rig.join()
            await rig.tell()
            await rig.attempted(RETRYING, RETRYING, PARKED)
            chat.does = lambda: None
            await rig.resend()
            await rig.attempted(DELIVERED)
    lines = [(line["event"], line["failed"]) for line in logs if "failed" in line and line.get("channel") == "chat"]
    assert lines == [("notifications can't be delivered", 1), ("notifications are delivered again", 3)]


async def test_one_recipient_that_fails_among_others_that_do_not_is_no_flood(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(QUICK, attempts_max=20, at_once_max=1)
    chat = Fake(endpoints={ADJUSTMENT: "NET_DEBIT_CAP_ADJUSTMENT_EMAIL"})

    def does() -> None:
        if chat.got[-1][1].startswith("gone"):
            raise DeliveryError("not now")

    chat.does = does
    with capture_logs() as logs:
        async with running(tmp_path, chat.channel, settings=settings) as rig:
            await rig.join(NET_DEBIT_CAP_ADJUSTMENT_EMAIL="gone@greenbank.example")
            await rig.point("Hub", NET_DEBIT_CAP_ADJUSTMENT_EMAIL="desk@hub.example")
            await rig.tell()
            await rig.again(5)
            await rig.none_pending()
    lines = [line["event"] for line in logs if line.get("channel") == "chat"]
    assert lines == ["notifications can't be delivered", "notifications are delivered again"]


async def test_a_channel_that_hangs_delays_nothing_and_its_deliveries_end_parked(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(QUICK, timeout_ms=500)
    held = threading.Event()
    chat, desk = Fake(tells_participants=False), Fake("desk", tells_participants=False)
    chat.does = lambda: _wait(held)
    async with running(tmp_path, chat.channel, desk.channel, settings=settings) as rig:
        await rig.join()
        await rig.tell()
        await rig.again(4)
        # Two hang, their time passes, and from then on everything fails at once: each delivery has its 3 attempts.
        await rig.none_pending()
        assert len(chat.got) == 2, "no more than two of its threads were ever begun"
        assert [each for each in rig.deliveries() if each[0] == "desk"] == [("desk", "Hub", "DELIVERED", 1, None)] * 5
        errors = {error for channel, _, _, _, error in rig.deliveries() if channel == "chat"}
        assert errors <= {"timed out after 500 ms", "all deliveries by this channel hang"}
        assert "all deliveries by this channel hang" in errors
        held.set()
        chat.does = lambda: None
        # The two that hung have arrived after all; the others never left.
        await rig.attempted(DELIVERED, DELIVERED, channel="chat")
        assert await rig.resend() == 3
        await rig.attempted(*[DELIVERED] * 3, channel="chat")


def _wait(held: threading.Event) -> None:
    held.wait(20)


async def test_no_more_deliveries_are_under_way_than_a_channel_may_have(tmp_path: Path) -> None:
    held, both = threading.Event(), threading.Barrier(3)
    chat = Fake(tells_participants=False)

    def does() -> None:
        if not held.is_set():
            both.wait(20)
            _wait(held)

    chat.does = does
    async with running(tmp_path, chat.channel) as rig:
        await rig.join()
        await rig.tell()
        await rig.again(5)
        await asyncio.to_thread(both.wait, 20)
        await rig.looked()
        assert len(chat.got) == 2
        with pytest.raises(DeliveryError, match="the channel is busy"):
            await rig.engine.notifier.try_now(chat.got[0][0], "chat", "")
        held.set()
        await rig.attempted(*[DELIVERED] * 6)
        assert len(chat.got) == 6


@pytest.mark.parametrize("attempts_max", [1_000, 2])
async def test_a_delivery_that_arrives_too_late_has_arrived_and_is_not_begun_again_beside_itself(
    tmp_path: Path, attempts_max: int
) -> None:
    settings = msgspec.structs.replace(QUICK, timeout_ms=500, attempts_max=attempts_max)
    held = threading.Event()
    chat = Fake(tells_participants=False)
    chat.does = lambda: _wait(held)
    async with running(tmp_path, chat.channel, settings=settings) as rig:
        await rig.join()
        await rig.tell()
        await rig.attempted(RETRYING, RETRYING if attempts_max > 2 else PARKED)
        assert rig.deliveries()[0][4] == "the attempt before has not ended"
        held.set()
        async with asyncio.timeout(20):
            while (await rig.told.attempts.get())[1] is not DELIVERED:
                pass
        await rig.written()
        assert len(chat.got) == 1
        assert [(state, error) for _, _, state, _, error in rig.deliveries()] == [("DELIVERED", None)]


async def test_a_delivery_that_fails_too_late_is_tried_again(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(QUICK, timeout_ms=500, attempts_max=1_000)
    held = threading.Event()
    chat = Fake(tells_participants=False)

    def does() -> None:
        _wait(held)
        raise DeliveryError("gave up")

    chat.does = does
    async with running(tmp_path, chat.channel, settings=settings) as rig:
        await rig.join()
        await rig.tell()
        await rig.attempted(RETRYING)
        chat.does = lambda: None
        held.set()
        await rig.none_pending()
        assert [state for _, _, state, *_ in rig.deliveries()] == ["DELIVERED"]
        assert [notification.id for notification, _ in chat.got] == [chat.got[0][0].id] * 2


# --- crashes, stops and other processes ---------------------------------------------------------------------------


async def test_a_crash_between_delivery_and_its_note_delivers_again_under_the_same_id(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    delivered, dead = threading.Event(), threading.Event()

    def does() -> None:
        delivered.set()
        _wait(dead)

    chat.does = does
    async with running(tmp_path, chat.channel) as rig:
        await rig.join()
        await rig.tell()
        await asyncio.to_thread(_wait, delivered)
        await rig.kill()
        dead.set()
        assert rig.deliveries() == [("chat", "Hub", "PENDING", 1, None)]
        await rig.restart([chat.channel])
        await rig.looked()
        assert len(chat.got) == 1, "whoever has taken it may still be at it"
        rig.ahead_ms += QUICK.timeout_ms + LEASE_SPARE_MS
        await rig.attempted(DELIVERED)
        assert [notification.id for notification, _ in chat.got] == [chat.got[0][0].id] * 2
        assert chat.got[0] == chat.got[1], "it reads the same"


async def test_a_delivery_that_kills_the_hub_does_so_no_more_often_than_it_may_be_attempted(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    begun, dead = threading.Event(), threading.Event()

    def does() -> None:
        begun.set()
        _wait(dead)

    chat.does = does
    async with running(tmp_path, chat.channel) as rig:
        await rig.join()
        await rig.tell()
        for _ in range(QUICK.attempts_max):
            await asyncio.to_thread(_wait, begun)
            await rig.kill()
            begun.clear()
            rig.ahead_ms += QUICK.timeout_ms + LEASE_SPARE_MS
            await rig.restart([chat.channel])
        await rig.looked()
        assert rig.deliveries() == [("chat", "Hub", "PARKED", 3, "the hub has died at each attempt")]
        assert len(chat.got) == 3
        dead.set()


async def test_what_was_told_before_a_crash_is_delivered_after_it(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    async with running(tmp_path) as rig:
        await rig.join()
        await rig.engine.stop()
        rig.engine = rig.new_engine([], msgspec.structs.replace(rig.config, engine=Engine(timer_ms=10_000)))
        await rig.engine.start()
        await rig.tell()
        await rig.kill()
        await rig.restart([chat.channel])
        await rig.attempted(DELIVERED)


async def test_a_stop_waits_for_what_is_under_way_and_notes_it(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    begun, held = threading.Event(), threading.Event()

    def does() -> None:
        begun.set()
        _wait(held)

    chat.does = does
    async with running(tmp_path, chat.channel) as rig:
        await rig.join()
        await rig.tell()
        await asyncio.to_thread(_wait, begun)
        stopping = asyncio.create_task(rig.engine.stop())
        await asyncio.sleep(0)
        held.set()
        await stopping
        assert rig.deliveries() == [("chat", "Hub", "DELIVERED", 1, None)]


async def test_a_stop_does_not_wait_for_what_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "STOP_MS_MAX", 50)
    chat = Fake(tells_participants=False)
    begun, held = threading.Event(), threading.Event()

    def does() -> None:
        begun.set()
        _wait(held)

    chat.does = does
    async with running(tmp_path, chat.channel) as rig:
        await rig.join()
        await rig.tell()
        await asyncio.to_thread(_wait, begun)
        async with asyncio.timeout(5):
            await rig.engine.stop()
        assert rig.deliveries() == [("chat", "Hub", "PENDING", 1, None)]
        held.set()


async def test_two_processes_deliver_each_notification_once(tmp_path: Path) -> None:
    one, other = Fake(tells_participants=False), Fake(tells_participants=False)
    async with running(tmp_path, one.channel) as rig:
        await rig.join()
        second = Database.open(rig.config.database_path)
        twin = Rig(rig.config, second, [other.channel])
        await twin.engine.start()
        await rig.tell()
        await rig.again(20)
        async with asyncio.timeout(20):
            while {state for _, _, state, *_ in rig.deliveries()} != {"DELIVERED"} or len(rig.deliveries()) < 21:
                await rig.written()
        await twin.engine.stop()
        second.close()
        ids = [notification.id for notification, _ in (*one.got, *other.got)]
        assert (len(ids), len(set(ids))) == (21, 21)


@asynccontextmanager
async def waiting_for_chat(directory: Path) -> AsyncIterator[tuple[Rig, Fake]]:
    """A notification has failed once, and waits for its channel; both."""
    chat = Fake(tells_participants=False)
    chat.does = _fails
    settings = msgspec.structs.replace(QUICK, retry_first_ms=60_000, retry_max_ms=60_000)
    async with running(directory, chat.channel, settings=settings) as rig:
        await rig.join()
        await rig.tell()
        await rig.attempted(RETRYING)
        yield rig, chat


async def test_what_waits_for_a_channel_that_is_gone_is_parked_where_it_is_seen(tmp_path: Path) -> None:
    async with waiting_for_chat(tmp_path) as (rig, chat):
        await rig.restart([])
        await rig.looked()
        assert rig.deliveries() == [("chat", "Hub", "PARKED", 1, "the hub has no channel of that name")]
        with pytest.raises(OperatorError, match="There is no channel chat"):
            await rig.resend(channel="chat")
        assert await rig.resend() == 0, "it would wait for ever"
        chat.does = lambda: None
        await rig.restart([chat.channel])
        assert await rig.resend() == 1
        await rig.attempted(DELIVERED)


async def test_one_of_several_that_lacks_a_channel_leaves_what_waits_for_it_to_the_others_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with waiting_for_chat(tmp_path) as (rig, _chat):
        rig.identity = Identity.draw("here")
        await rig.restart([])
        await rig.looked()
        ((_, _, state, *_),) = rig.deliveries()
        assert state == "PENDING"
        # As if it had been due for so long.
        monkeypatch.setattr(notifier_module, "LOST_MS", -120_000)
        await rig.looked()
        assert rig.deliveries() == [("chat", "Hub", "PARKED", 1, "the hub has no channel of that name")]


async def test_after_all_were_down_whoever_starts_first_without_a_channel_leaves_what_is_due_to_the_next(
    tmp_path: Path,
) -> None:
    async with waiting_for_chat(tmp_path) as (rig, _chat):
        rig.identity = Identity.draw("here")
        # Everybody is down for so long.
        rig.ahead_ms = 60_000 + LOST_MS + 1_000
        await rig.restart([])
        await rig.looked()
        ((_, _, state, *_),) = rig.deliveries()
        assert state == "PENDING"
        rig.ahead_ms += LOST_MS
        await rig.looked()
        assert rig.deliveries() == [("chat", "Hub", "PARKED", 1, "the hub has no channel of that name")]


async def test_a_disk_that_is_full_delivers_nothing_that_it_could_not_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = Fake(tells_participants=False)
    commit = SqliteTx.commit
    is_full = False

    def commits(tx: SqliteTx) -> None:
        if is_full:
            raise sqlite3.OperationalError("database or disk is full")
        commit(tx)

    monkeypatch.setattr(SqliteTx, "commit", commits)
    held = Fake("held")
    async with running(tmp_path) as rig:
        await rig.join()
        await rig.tell()
        await rig.looked()
        with rig.database.begin() as tx:
            tx.run("UPDATE notification SET distributed_ms = NULL")
        is_full = True
        await rig.restart([chat.channel, held.channel])
        with pytest.raises(Exception, match="cannot write its records"):
            await rig.written()
        await rig.engine.notifier.tick()
        assert (chat.got, held.got) == ([], [])
        is_full = False
        await rig.attempted(DELIVERED, DELIVERED, DELIVERED)
        assert (len(chat.got), len(held.got)) == (1, 2)


# --- bounds -------------------------------------------------------------------------------------------------------


async def test_notifications_are_distributed_so_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "DISTRIBUTED_MAX", 2)
    chat = Fake(tells_participants=False)
    async with running(tmp_path) as rig:
        await rig.join()
        await rig.engine.stop()
        rig.engine = rig.new_engine([], msgspec.structs.replace(rig.config, engine=Engine(timer_ms=10_000)))
        await rig.engine.start()
        await rig.tell()
        await rig.again(6)
        await rig.restart([chat.channel])
        await rig.attempted(*[DELIVERED] * 7)
        assert chat.got[0][0].data["limit"] == "10", "the oldest first"


async def test_what_is_delivered_is_kept_for_its_time_and_what_is_not_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "PURGE_EVERY_MS", 0)
    settings = msgspec.structs.replace(QUICK, retention_days=2)
    chat = Fake(tells_participants=False)
    async with running(tmp_path, chat.channel, settings=settings) as rig:
        await rig.join()
        await rig.tell()
        await rig.attempted(DELIVERED)
        chat.does = _refuses
        await rig.again()
        await rig.attempted(PARKED)
        rig.ahead_ms += 2 * 86_400_000 - 60_000
        await rig.looked()
        assert len(rig.list()) == 2
        rig.ahead_ms += 120_000
        await rig.looked()
        assert [state for _, _, state, *_ in rig.deliveries()] == ["PARKED"]
        assert len(rig.list()) == 1
        chat.does = lambda: None
        await rig.resend()
        await rig.attempted(DELIVERED)
        await rig.looked()
        assert (rig.list(), rig.deliveries()) == ([], [])


async def test_what_is_parked_is_kept_for_a_time_of_its_own_and_its_end_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "PURGE_EVERY_MS", 0)
    settings = msgspec.structs.replace(QUICK, retention_days=2, parked_retention_days=5)
    chat = Fake(tells_participants=False)
    async with running(tmp_path, chat.channel, settings=settings) as rig:
        await rig.join()
        chat.does = _refuses
        await rig.tell()
        await rig.attempted(PARKED)
        rig.ahead_ms += 5 * 86_400_000 - 60_000
        await rig.looked()
        assert [state for _, _, state, *_ in rig.deliveries()] == ["PARKED"]
        rig.ahead_ms += 120_000
        with capture_logs() as lines:
            await rig.looked()
        assert (rig.list(), rig.deliveries()) == ([], [])
        told = [line["deliveries"] for line in lines if line["event"].startswith("parked notifications are removed")]
        assert told == [1]


async def test_what_waits_to_be_delivered_is_not_removed_however_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "PURGE_EVERY_MS", 0)
    settings = msgspec.structs.replace(
        QUICK, retention_days=1, parked_retention_days=1, retry_first_ms=10**12, retry_max_ms=10**12
    )
    chat = Fake(tells_participants=False)
    async with running(tmp_path, chat.channel, settings=settings) as rig:
        await rig.join()
        chat.does = _fails
        await rig.tell()
        await rig.attempted(RETRYING)
        rig.ahead_ms += 9 * 86_400_000
        await rig.looked()
        assert [state for _, _, state, *_ in rig.deliveries()] == ["PENDING"]


async def test_what_nobody_was_told_is_kept_for_its_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "PURGE_EVERY_MS", 0)
    async with running(tmp_path) as rig:
        await rig.join()
        await rig.tell()
        await rig.looked()
        assert len(rig.list()) == 1
        rig.ahead_ms += 91 * 86_400_000
        await rig.looked()
        assert rig.list() == []


# --- trying a channel ---------------------------------------------------------------------------------------------


async def test_a_channel_that_is_tried_says_what_happened_and_nothing_is_noted(tmp_path: Path) -> None:
    chat = Fake()
    tried = Notification(
        id="test-1",
        kind=ADJUSTMENT,
        participant=BANK,
        recipient="Hub",
        currency="XTS",
        created_ms=0,
        data={},
        subject="Test",
        text="Test",
        is_test=True,
    )
    async with running(tmp_path, chat.channel) as rig:
        await rig.engine.notifier.try_now(tried, "chat", "here")
        assert chat.got == [(tried, "here")]
        chat.does = _refuses
        with pytest.raises(DeliveryError, match="no such address: 550 go away"):
            await rig.engine.notifier.try_now(tried, "chat", "here")
        chat.does = _raises
        with pytest.raises(DeliveryError, match="ValueError: odd"):
            await rig.engine.notifier.try_now(tried, "chat", "here")
        assert (rig.list(), rig.deliveries()) == ([], [])


def _raises() -> None:
    raise ValueError("odd")


# --- reading ------------------------------------------------------------------------------------------------------


async def test_notifications_are_found_by_state_kind_participant_and_age(tmp_path: Path) -> None:
    chat = Fake(tells_participants=False)
    async with running(tmp_path, chat.channel) as rig:
        for name in ("greenbank", "pesapay"):
            await rig.join(name)
            await rig.tell(name)
        await rig.attempted(DELIVERED, DELIVERED)
        chat.does = _refuses
        await rig.again(name="pesapay")
        await rig.attempted(PARKED)
        found = rig.list()
        assert [each.participant for each in found] == ["pesapay", "pesapay", "greenbank"], "the newest first"
        assert rig.list(state="PARKED") == found[:1]
        assert rig.list(state="DELIVERED") == found[1:]
        assert rig.list(state="PENDING") == []
        assert rig.list(participant="pesapay") == found[:2]
        assert rig.list(kind=ADJUSTMENT, participant="greenbank") == found[2:]
        assert rig.list(kind="NET_DEBIT_CAP_THRESHOLD_BREACH") == []
        assert rig.list(before=found[0].notification_id) == found[1:]
        with rig.database.read() as tx:
            assert notifications(tx, NotificationFilter(), 2) == found[:2]
            assert records.notification(tx, found[1].notification_id) == found[1]
            assert records.notification(tx, found[1].notification_id + 1) is None
            assert records.parked_counts(tx) == {"chat": 1}
