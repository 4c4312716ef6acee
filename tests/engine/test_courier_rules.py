"""The courier: each participant on its own, tried again while it matters, never dropped silently."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from vuka.engine.courier import (
    FAILURES_BEFORE_PROBING,
    Courier,
    CourierSettings,
    Delivery,
    DeliveryOutcome,
    DeliveryReport,
    Lane,
    LaneState,
)
from vuka.httpclient import HttpClient
from vuka.sim.participant import now_ms
from vuka.sim.server import Answer, Inquiry, Server

SETTINGS = CourierSettings(queue_max=4, in_flight_max=2, retry_first_ms=100, retry_max_ms=1_000)


def delivery(number: int, *, deadline_ms: int = 10**9, to: str = "payeefsp", target: object = None) -> Delivery:
    return Delivery(number, to, "POST", [], b"{}", deadline_ms, True, 0, target)


def take(lane: Lane, at_ms: int) -> list[int]:
    """What the lane sends now; each attempt counted, as the courier does."""
    taken: list[int] = []
    while (each := lane.take(at_ms)) is not None:
        each.attempts += 1
        taken.append(each.id)
    return taken


def posted(lane: Lane, *deliveries: Delivery, at_ms: int = 0) -> list[Delivery]:
    assert all(lane.post(each, at_ms) for each in deliveries)
    return list(deliveries)


@pytest.fixture
def lane() -> Lane:
    return Lane(SETTINGS, lambda: 1.0)


# --- the lane, by a time it is given ----------------------------------------------------------------------------


def test_messages_go_out_in_their_order_and_so_many_at_once(lane: Lane) -> None:
    first, *_ = posted(lane, delivery(1), delivery(2), delivery(3))
    assert take(lane, 0) == [1, 2]
    lane.arrived(first)
    assert take(lane, 0) == [3]


def test_a_full_queue_refuses_and_a_message_that_is_in_it_is_in_it_once(lane: Lane) -> None:
    posted(lane, *(delivery(number) for number in range(4)))
    assert lane.post(delivery(0), 0)
    assert len(lane) == 4
    assert not lane.post(delivery(9), 0)
    assert lane.refused_since_full


def test_retries_wait_twice_as_long_each_time_up_to_a_bound(lane: Lane) -> None:
    (only,) = posted(lane, delivery(1))
    now = 0
    waits: list[int] = []
    for _ in range(FAILURES_BEFORE_PROBING - 1):
        assert take(lane, now) == [1]
        due = lane.failed(only, now)
        assert due is not None
        waits.append(due - now)
        assert take(lane, due - 1) == []
        now = due
    assert waits == [100, 200, 400, 800]


def test_half_of_a_wait_is_drawn_by_lot() -> None:
    lane = Lane(SETTINGS, lambda: 0.0)
    (only,) = posted(lane, delivery(1))
    take(lane, 0)
    assert lane.failed(only, 0) == 50


def test_a_participant_that_asks_for_later_gets_later(lane: Lane) -> None:
    (only,) = posted(lane, delivery(1))
    take(lane, 0)
    assert lane.failed(only, 0, retry_after_ms=700) == 700


def test_the_last_attempt_is_just_before_the_deadline_and_none_after_it(lane: Lane) -> None:
    (only,) = posted(lane, delivery(1, deadline_ms=50))
    take(lane, 0)
    assert lane.failed(only, 0) == 49
    assert take(lane, 49) == [1]
    assert lane.failed(only, 60) is None
    assert (len(lane), lane.parked) == (0, 1)


def test_what_waits_past_its_deadline_is_taken_out_fresh_or_tried_before(lane: Lane) -> None:
    tried, _hangs, _fresh = posted(lane, delivery(1, deadline_ms=80), delivery(2), delivery(3, deadline_ms=90))
    take(lane, 0)
    lane.failed(tried, 0)
    assert [each.id for each in lane.expired(79)] == []
    assert [each.id for each in lane.expired(90)] == [1, 3]
    assert (lane.parked, len(lane)) == (2, 1)


def test_many_failures_at_once_pause_the_participant_once_and_then_it_is_probed_one_by_one() -> None:
    lane = Lane(CourierSettings(in_flight_max=32, retry_first_ms=100, retry_max_ms=1_000), lambda: 1.0)
    many = posted(lane, *(delivery(number) for number in range(20)))
    assert len(take(lane, 0)) == 20
    for each in many:
        lane.failed(each, 0)
    assert lane.state is LaneState.PROBING
    assert take(lane, 99) == []
    (probe,) = take(lane, 100)
    lane.failed(many[probe], 100)
    assert take(lane, 299) == []
    (probe,) = take(lane, 300)
    lane.arrived(many[probe])
    assert lane.state is LaneState.OPEN
    assert len(take(lane, 2_000)) == 19


def test_a_hanging_participant_wakes_nobody_before_its_deadline(lane: Lane) -> None:
    posted(lane, delivery(1), delivery(2), delivery(3, deadline_ms=5_000))
    take(lane, 0)
    assert lane.next_due_ms(0) == 5_000


def test_what_was_delivered_leaves_nothing_behind() -> None:
    lane = Lane(CourierSettings(), lambda: 1.0)
    for number in range(20_000):
        (only,) = posted(lane, delivery(number))
        take(lane, 0)
        lane.arrived(only)
    assert len(lane) == 0
    assert len(lane._deadlines) < 2_000


# --- the courier, over real connections -------------------------------------------------------------------------


class Round:
    """A courier with the reports it makes, and participants on real servers."""

    def __init__(self, settings: CourierSettings) -> None:
        self.client = HttpClient(timeout_ms=2_000)
        self.reports: asyncio.Queue[DeliveryReport] = asyncio.Queue()
        self.urls: dict[str, str] = {}
        self.drained: list[str] = []
        self.servers: list[Server] = []
        self.courier = Courier(
            self.client,
            resolve=self._resolve,
            report=self.reports.put_nowait,
            settings=settings,
            clock=now_ms,
            jitter=lambda: 0.0,
            on_drained=self.drained.append,
        )

    def _resolve(self, each: Delivery) -> str:
        if each.to not in self.urls:
            raise LookupError(f"{each.to} has no endpoint")
        return self.urls[each.to]

    async def participant(self, name: str, answers: list[Answer | None]) -> list[Inquiry]:
        """A participant that gives these answers, the last one for ever; None hangs. What it got."""
        got: list[Inquiry] = []

        def handle(inquiry: Inquiry) -> Answer | None:
            got.append(inquiry)
            return answers[min(len(got), len(answers)) - 1]

        server = Server(handle)
        await server.start()
        self.servers.append(server)
        self.urls[name] = f"{server.url}/transfers"
        return got

    async def next(self) -> DeliveryReport:
        async with asyncio.timeout(5):
            return await self.reports.get()

    async def close(self) -> None:
        await self.courier.close()
        await self.client.close()
        for server in self.servers:
            await server.stop()


@pytest.fixture
async def round_() -> AsyncIterator[Round]:
    made = Round(CourierSettings(queue_max=6, in_flight_max=2, retry_first_ms=10, retry_max_ms=40))
    yield made
    await made.close()


def soon(number: int, to: str, milliseconds: int = 60_000) -> Delivery:
    return delivery(number, deadline_ms=now_ms() + milliseconds, to=to)


async def test_a_participant_that_hangs_does_not_delay_another(round_: Round) -> None:
    hanging = await round_.participant("hanging", [None])
    await round_.participant("fine", [Answer(202)])
    for number in range(5):
        assert round_.courier.post(soon(number, "hanging"))
    assert round_.courier.post(soon(9, "fine"))
    report = await round_.next()
    assert (report.to, report.outcome, report.status) == ("fine", DeliveryOutcome.DELIVERED, 202)
    assert len(hanging) <= 2
    assert round_.courier.statistics()["hanging"].in_flight == 2


async def test_a_5xx_is_tried_again_until_it_is_taken(round_: Round) -> None:
    await round_.participant("payeefsp", [Answer(500), Answer(503), Answer(200)])
    round_.courier.post(soon(1, "payeefsp"))
    outcomes = [(report.outcome, report.status) for report in [await round_.next() for _ in range(3)]]
    assert outcomes == [
        (DeliveryOutcome.RETRYING, 500),
        (DeliveryOutcome.RETRYING, 503),
        (DeliveryOutcome.DELIVERED, 200),
    ]


async def test_a_4xx_is_a_refusal_and_parks_with_what_was_answered(round_: Round) -> None:
    await round_.participant("payeefsp", [Answer(400, b'{"errorCode":"3100"}')])
    round_.courier.post(soon(1, "payeefsp"))
    report = await round_.next()
    assert (report.outcome, report.status, report.attempts) == (DeliveryOutcome.PARKED, 400, 1)
    assert report.error == 'HTTP 400 {"errorCode":"3100"}'


async def test_an_endpoint_that_is_missing_may_still_be_set_in_time(round_: Round) -> None:
    round_.courier.post(soon(1, "payeefsp"))
    first = await round_.next()
    assert (first.outcome, first.error) == (DeliveryOutcome.RETRYING, "payeefsp has no endpoint")
    await round_.participant("payeefsp", [Answer(202)])
    while (report := await round_.next()).outcome is DeliveryOutcome.RETRYING:
        pass
    assert report.outcome is DeliveryOutcome.DELIVERED


async def test_what_can_not_be_delivered_in_time_is_parked_with_the_last_error(round_: Round) -> None:
    round_.urls["payeefsp"] = "http://127.0.0.1:1/transfers"
    round_.courier.post(soon(1, "payeefsp", milliseconds=60))
    while (report := await round_.next()).outcome is DeliveryOutcome.RETRYING:
        assert report.error == "connection refused"
    assert report.outcome is DeliveryOutcome.PARKED
    assert round_.courier.statistics()["payeefsp"].parked == 1


async def test_a_queue_that_refused_says_when_it_has_room_again(round_: Round) -> None:
    await round_.participant("payeefsp", [Answer(202)])
    accepted = [round_.courier.post(soon(number, "payeefsp")) for number in range(8)]
    assert accepted == [True] * 6 + [False] * 2
    for _ in range(6):
        await round_.next()
    assert round_.drained == ["payeefsp"]


async def test_draining_waits_for_what_is_under_way_and_starts_nothing_more(round_: Round) -> None:
    got = await round_.participant("payeefsp", [Answer(202)])
    for number in range(5):
        round_.courier.post(soon(number, "payeefsp"))
    await round_.courier.drain(2_000)
    assert len(got) == 2
    assert round_.courier.statistics()["payeefsp"].in_flight == 0
    assert not round_.courier.post(soon(9, "payeefsp"))
