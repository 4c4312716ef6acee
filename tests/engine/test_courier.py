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


def fail_all(lane: Lane, count: int) -> None:
    """So many new messages, all of which fail at once."""
    failed = posted(lane, *(delivery(number) for number in range(count)))
    take(lane, 0)
    for each in failed:
        lane.failed(each, 0)


@pytest.fixture
def lane() -> Lane:
    return Lane(SETTINGS, lambda: 1.0)


# --- the lane, by a time it is given ----------------------------------------------------------------------------


def test_messages_go_out_in_their_order_and_so_many_at_once(lane: Lane) -> None:
    first, *_ = posted(lane, delivery(1), delivery(2), delivery(3))
    assert take(lane, 0) == [1, 2]
    lane.arrived(first)
    assert take(lane, 0) == [3]


def test_where_nothing_waits_a_message_starts_at_once_and_counts_as_any_other(lane: Lane) -> None:
    first, second, third = (delivery(number) for number in (1, 2, 3))
    assert [lane.start_at_once(each, 0) for each in (first, second, third)] == [True, True, False]
    assert len(lane) == 2
    assert not lane.start_at_once(first, 0), "it is under way already"
    posted(lane, third)
    lane.arrived(first)
    assert not lane.start_at_once(delivery(4), 0), "another one waits before it"
    assert take(lane, 0) == [3]
    lane.refused(second)
    lane.arrived(third)
    assert (len(lane), lane.is_calm, lane.delivered, lane.parked) == (0, True, 2, 1)


def test_nothing_starts_at_once_that_is_late_or_goes_to_whom_deliveries_fail(lane: Lane) -> None:
    assert not lane.start_at_once(delivery(1, deadline_ms=5), 5)
    failing = delivery(2)
    assert lane.start_at_once(failing, 0)
    failing.attempts = 1
    assert lane.failed(failing, 0) == 100
    assert take(lane, 100) == [2]
    assert not lane.start_at_once(delivery(3), 100)
    lane.arrived(failing)
    assert lane.start_at_once(delivery(3), 100)


def test_nothing_starts_at_once_in_a_lane_that_is_more_than_half_full() -> None:
    lane = Lane(CourierSettings(queue_bytes_max=3, in_flight_max=2), lambda: 1.0)
    assert lane.start_at_once(delivery(1), 0)
    assert not lane.start_at_once(delivery(2), 0), "what is only routed may not take more"
    posted(lane, delivery(2))


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


def test_a_wish_for_later_is_bounded_and_one_for_sooner_changes_nothing(lane: Lane) -> None:
    long, short = posted(lane, delivery(1), delivery(2))
    take(lane, 0)
    assert lane.failed(long, 0, retry_after_ms=60_000) == SETTINGS.retry_max_ms
    assert lane.failed(short, 0, retry_after_ms=0) == SETTINGS.retry_first_ms


def test_what_is_due_again_goes_before_what_is_new(lane: Lane) -> None:
    first, _second = posted(lane, delivery(1), delivery(2))
    take(lane, 0)
    lane.failed(first, 0)
    posted(lane, delivery(3), at_ms=50)
    lane.release(delivery(2))
    assert take(lane, 100) == [1, 3]


def test_what_arrives_or_is_refused_ends_a_row_of_failures(lane: Lane) -> None:
    failing, other = posted(lane, delivery(1), delivery(2))
    now = 0
    for count in range(3 * FAILURES_BEFORE_PROBING):
        take(lane, now)
        now = lane.failed(failing, now) or now
        if count % 4 == 0:
            lane.arrived(other)
        elif count % 4 == 2:
            lane.refused(other)
    assert lane.state is LaneState.OPEN


def test_a_deadline_parks_what_waits_even_while_as_many_as_may_are_under_way(lane: Lane) -> None:
    tried, _hangs = posted(lane, delivery(1, deadline_ms=400), delivery(2))
    take(lane, 0)
    lane.failed(tried, 0)
    posted(lane, delivery(3), delivery(9, deadline_ms=500))
    assert take(lane, 0) == [3]
    assert lane.next_due_ms(100) == 400
    assert take(lane, 500) == []
    assert [each.id for each in lane.expired(500)] == [1, 9]


def test_a_deadline_parks_what_waits_even_while_the_participant_is_probed() -> None:
    lane = Lane(CourierSettings(in_flight_max=FAILURES_BEFORE_PROBING, retry_first_ms=100), lambda: 1.0)
    down = posted(lane, *(delivery(number) for number in range(4)), delivery(8, deadline_ms=450))
    take(lane, 0)
    for each in down:
        lane.failed(each, 0)
    posted(lane, delivery(7), delivery(9, deadline_ms=500))
    assert take(lane, 100) == [7], "the probe is something new"
    assert lane.next_due_ms(100) == 450
    assert [each.id for each in lane.expired(500)] == [8, 9]


def test_a_probe_that_fails_doubles_the_pause_up_to_its_bound_and_half_of_it_is_drawn_by_lot() -> None:
    for jitter, pauses in ((1.0, [200, 400, 800, 1_000, 1_000]), (0.0, [100, 200, 400, 500, 500])):
        lane = Lane(CourierSettings(in_flight_max=32, retry_first_ms=200, probe_max_ms=1_000), lambda j=jitter: j)
        many = posted(lane, *(delivery(number) for number in range(20)))
        take(lane, 0)
        now = 0
        for each in many:
            lane.failed(each, now)
        for pause in pauses:
            assert take(lane, now + pause - 1) == []
            now += pause
            (probe,) = take(lane, now)
            lane.failed(many[probe], now)


def test_a_probe_does_not_wait_until_one_of_the_messages_that_failed_is_due_again() -> None:
    lane = Lane(CourierSettings(retry_first_ms=100, retry_max_ms=30_000, probe_max_ms=400), lambda: 1.0)
    (only,) = posted(lane, delivery(1))
    now = 0
    waits: list[int] = []
    for _ in range(12):
        assert take(lane, now) == [1]
        lane.failed(only, now)
        due = lane.next_due_ms(now)
        assert due is not None
        assert take(lane, due - 1) == []
        waits.append(due - now)
        now = due
    assert waits == [100, 200, 400, 800, 100, 200, 400, 400, 400, 400, 400, 400]


def test_a_participant_that_keeps_asking_for_later_is_not_probed_sooner_than_it_asked() -> None:
    lane = Lane(CourierSettings(retry_first_ms=100, retry_max_ms=30_000, probe_max_ms=400), lambda: 1.0)
    (only,) = posted(lane, delivery(1))
    now = 0
    for _ in range(FAILURES_BEFORE_PROBING + 3):
        assert take(lane, now) == [1]
        lane.failed(only, now, retry_after_ms=7_000)
        due = lane.next_due_ms(now)
        assert due == now + 7_000
        now = due


def test_a_message_that_was_refused_and_is_sent_again_has_its_new_deadline_only(lane: Lane) -> None:
    (once,) = posted(lane, delivery(1, deadline_ms=1_000))
    take(lane, 0)
    lane.refused(once)
    posted(lane, delivery(7), delivery(8))
    take(lane, 0)
    posted(lane, delivery(1, deadline_ms=9_000), at_ms=10)
    assert lane.next_due_ms(10) == 9_000
    assert lane.expired(1_000) == []
    assert [each.id for each in lane.expired(9_000)] == [1]


def test_a_message_that_expired_in_the_queue_and_is_sent_again_waits_between_its_attempts(lane: Lane) -> None:
    flying, _ = posted(lane, delivery(7), delivery(8))
    take(lane, 0)
    posted(lane, delivery(1, deadline_ms=50))
    lane.expired(50)
    (again,) = posted(lane, delivery(1), at_ms=60)
    lane.arrived(flying)
    assert take(lane, 60) == [1]
    assert lane.failed(again, 60) == 160
    assert take(lane, 159) == []
    assert take(lane, 160) == [1]


@pytest.fixture
def probing() -> Lane:
    """A lane whose participant has failed often: it is left alone until 1,000."""
    lane = Lane(CourierSettings(in_flight_max=32, retry_first_ms=1_000, probe_max_ms=5_000), lambda: 1.0)
    fail_all(lane, FAILURES_BEFORE_PROBING)
    return lane


def test_what_an_operator_has_sent_again_goes_first_and_no_pause_holds_it_up(probing: Lane) -> None:
    posted(probing, delivery(8), at_ms=5)
    assert take(probing, 10) == [], "the participant is left alone"
    assert probing.post(delivery(9), 10, is_first=True)
    assert (probing.statistics().queued, probing.statistics().oldest_queued_ms) == (2, 5)
    assert take(probing, 10) == [9]
    assert take(probing, 10) == [], "it is the probe"


def test_what_an_operator_has_sent_again_does_not_wait_for_a_probe_on_its_way_to_nowhere(probing: Lane) -> None:
    posted(probing, delivery(8), at_ms=5)
    assert take(probing, 1_000) == [8]
    again, later = delivery(9), delivery(10)
    assert probing.post(again, 1_010, is_first=True)
    assert probing.post(later, 1_020, is_first=True)
    assert take(probing, 1_020) == [9], "one beside the probe, and no more"
    probing.failed(again, 1_030)
    assert take(probing, 1_030) == [10], "those sent again go out in their order"
    probing.arrived(later)
    assert probing.state is LaneState.OPEN, "one of them has shown that the participant works"


def test_a_message_that_waits_already_goes_first_when_it_is_sent_again(probing: Lane) -> None:
    posted(probing, delivery(8), delivery(9), at_ms=5)
    assert probing.post(delivery(9), 10, is_first=True)
    assert take(probing, 10) == [9]
    assert take(probing, 1_000) == []
    assert len(probing) == FAILURES_BEFORE_PROBING + 2


def test_what_is_sent_again_goes_before_what_is_due_again_but_keeps_the_bound_on_messages_under_way(lane: Lane) -> None:
    first, second = posted(lane, delivery(1), delivery(2))
    assert take(lane, 0) == [1, 2]
    lane.failed(first, 0)
    assert lane.post(delivery(3), 100, is_first=True)
    assert lane.post(delivery(4), 100, is_first=True)
    assert take(lane, 100) == [3], "two may be under way"
    lane.arrived(second)
    assert take(lane, 100) == [4]


def test_what_is_sent_again_and_can_not_go_out_in_time_is_parked(lane: Lane) -> None:
    posted(lane, delivery(1), delivery(2))
    take(lane, 0)
    assert lane.post(delivery(3, deadline_ms=50), 10, is_first=True)
    assert lane.next_due_ms(10) == 50
    assert [each.id for each in lane.expired(50)] == [3]
    assert (len(lane), lane.statistics().queued) == (2, 0)


def test_what_expires_behind_a_message_that_waits_long_leaves_nothing_behind() -> None:
    lane = Lane(SETTINGS, lambda: 1.0)
    posted(lane, delivery(1), delivery(2))
    take(lane, 0)
    posted(lane, delivery(3))
    for number in range(10, 20_010):
        posted(lane, delivery(number, deadline_ms=number), at_ms=number - 1)
        assert len(lane.expired(number)) == 1
    assert lane.statistics().queued == len(lane._fresh) == 1
    assert len(lane._deadlines) < 2_000


def test_a_message_that_fails_for_long_is_kept_once(lane: Lane) -> None:
    (only,) = posted(lane, delivery(1, deadline_ms=10**12))
    now = 0
    for _ in range(5_000):
        assert take(lane, now) == [1]
        now = lane.failed(only, now) or now
        now = max(now, lane.next_due_ms(now) or 0)
    assert len(lane) == len(lane._retries) == 1
    assert len(lane._deadlines) < 2_000


def test_a_clock_set_back_makes_no_wait_longer(lane: Lane) -> None:
    day_ms = 86_400_000
    first, second = posted(lane, delivery(1, deadline_ms=3 * day_ms), delivery(2, deadline_ms=3 * day_ms), at_ms=day_ms)
    assert take(lane, day_ms) == [1, 2]
    assert (lane.failed(first, day_ms), lane.failed(second, day_ms)) == (day_ms + 100, day_ms + 100)
    lane.set_back(day_ms)
    assert (take(lane, 99), lane.next_due_ms(99)) == ([], 100)
    assert take(lane, 100) == [1, 2]


def test_a_clock_set_back_makes_no_pause_longer_and_moves_no_deadline(lane: Lane) -> None:
    day_ms = 86_400_000
    (only,) = posted(lane, delivery(1, deadline_ms=day_ms + 10_000), at_ms=day_ms)
    now = day_ms
    for _ in range(FAILURES_BEFORE_PROBING):
        assert take(lane, now) == [1]
        now = lane.failed(only, now) or 0
    assert lane.state is LaneState.PROBING
    lane.set_back(day_ms)
    assert take(lane, now - day_ms) == [1]
    lane.failed(only, now - day_ms)
    assert lane.expired(day_ms + 9_999) == []
    assert lane.expired(day_ms + 10_000) == [only]


def test_how_a_lane_stands_is_told(lane: Lane) -> None:
    first, _second = posted(lane, delivery(1), delivery(2), at_ms=5)
    take(lane, 5)
    lane.failed(first, 6)
    posted(lane, delivery(3), at_ms=7)
    posted(lane, delivery(4), at_ms=8)
    told = lane.statistics()
    assert (told.state, told.queued, told.in_flight, told.waiting_retry) == (LaneState.OPEN, 2, 1, 1)
    assert (told.delivered, told.parked, told.oldest_queued_ms) == (0, 0, 7)


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


async def test_one_that_hangs_delays_nobody_behind_the_same_address(round_: Round) -> None:
    server = Server(lambda inquiry: None if inquiry.path.startswith("/hanging") else Answer(202))
    await server.start()
    round_.servers.append(server)
    for name in ("hanging", "fine"):
        round_.urls[name] = f"{server.url}/{name}"
    for number in range(5):
        round_.courier.post(soon(number, "hanging"))
    for number in range(10, 16):
        round_.courier.post(soon(number, "fine"))
    async with asyncio.timeout(1):
        reports = [await round_.next() for _ in range(6)]
    assert {(report.to, report.outcome) for report in reports} == {("fine", DeliveryOutcome.DELIVERED)}
    assert round_.courier.statistics()["hanging"].in_flight == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_an_answer_that_means_later_is_not_a_refusal(round_: Round, status: int) -> None:
    await round_.participant("payeefsp", [Answer(status), Answer(200)])
    round_.courier.post(soon(1, "payeefsp"))
    outcomes = [(await round_.next()).outcome for _ in range(2)]
    assert outcomes == [DeliveryOutcome.RETRYING, DeliveryOutcome.DELIVERED]


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 422])
async def test_an_answer_that_means_no_is_not_tried_again(round_: Round, status: int) -> None:
    got = await round_.participant("payeefsp", [Answer(status)])
    round_.courier.post(soon(1, "payeefsp"))
    assert (await round_.next()).outcome is DeliveryOutcome.PARKED
    assert (len(got), len(round_.courier._lanes["payeefsp"])) == (1, 0)


async def test_a_participant_says_how_long_it_wants_to_be_left_alone(round_: Round) -> None:
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(busy, "127.0.0.1", 0)
    round_.urls["payeefsp"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    round_.courier.post(soon(1, "payeefsp"))
    report = await round_.next()
    server.close()
    assert report.next_attempt_ms == report.at_ms + 40, "as long as the longest wait between attempts, no longer"


async def test_a_message_that_is_queued_twice_is_sent_once(round_: Round) -> None:
    got = await round_.participant("payeefsp", [Answer(202)])
    assert all(round_.courier.post(soon(1, "payeefsp")) for _ in range(3))
    await round_.next()
    await round_.courier.drain(1_000)
    assert len(got) == 1


async def test_messages_reach_a_participant_in_their_order() -> None:
    round_ = Round(CourierSettings(in_flight_max=1))
    got = await round_.participant("payeefsp", [Answer(202)])
    for number in range(50):
        round_.courier.post(Delivery(number, "payeefsp", "POST", [], b"%d" % number, 2**60, True))
    for _ in range(50):
        await round_.next()
    await round_.close()
    assert [int(each.body) for each in got] == list(range(50))


async def test_a_queue_of_one_says_when_it_has_room_again() -> None:
    round_ = Round(CourierSettings(queue_max=1))
    await round_.participant("payeefsp", [Answer(202)])
    assert [round_.courier.post(soon(number, "payeefsp")) for number in range(2)] == [True, False]
    await round_.next()
    await round_.close()
    assert round_.drained == ["payeefsp"]


async def test_what_was_under_way_when_the_courier_stopped_counts_as_not_sent(round_: Round) -> None:
    await round_.participant("payeefsp", [None])
    round_.courier.post(soon(1, "payeefsp"))
    round_.courier.post(soon(2, "nobody"))
    await round_.courier.drain(10)
    await round_.client.close()
    assert round_.reports.empty()
    assert [each.in_flight for each in round_.courier.statistics().values()] == [0, 0]


async def test_while_a_participant_hangs_the_courier_sleeps() -> None:
    looks = 0

    def clock() -> int:
        nonlocal looks
        looks += 1
        return now_ms()

    client = HttpClient(timeout_ms=10_000)
    server = Server(lambda inquiry: None)
    await server.start()
    parked = asyncio.Event()
    courier = Courier(
        client,
        resolve=lambda _delivery: server.url,
        report=lambda _report: parked.set(),
        settings=CourierSettings(in_flight_max=1),
        clock=clock,
        jitter=lambda: 0.0,
    )
    for number in range(5):
        courier.post(soon(number, "hanging"))
    courier.post(soon(9, "hanging", milliseconds=150))
    before = looks
    async with asyncio.timeout(5):
        await parked.wait()
    await courier.close()
    await client.close()
    await server.stop()
    assert looks - before <= 3, "it looks at its clock when a deadline has come, and not before"


def test_a_message_that_has_nowhere_to_go_does_not_hold_up_the_others() -> None:
    lane = Lane(CourierSettings(in_flight_max=100, retry_first_ms=100), lambda: 1.0)
    nonsense = posted(lane, *(delivery(number) for number in range(2 * FAILURES_BEFORE_PROBING)))
    take(lane, 0)
    for each in nonsense:
        assert lane.failed(each, 0, is_unable=False) == 100
    posted(lane, delivery(99))
    assert lane.state is LaneState.OPEN
    assert take(lane, 0) == [99]


def test_a_probe_is_something_new_where_there_is_anything() -> None:
    lane = Lane(CourierSettings(in_flight_max=100, retry_first_ms=100, probe_max_ms=100), lambda: 1.0)
    fail_all(lane, FAILURES_BEFORE_PROBING)
    posted(lane, delivery(99))
    assert take(lane, 1_000) == [99]


def test_what_is_only_routed_takes_at_most_half_of_a_queue() -> None:
    lane = Lane(CourierSettings(queue_max=10), lambda: 1.0)
    routed = [delivery(number) for number in range(8)]
    for each in routed:
        each.durable = False
    assert [lane.post(each, 0) for each in routed] == [True] * 6 + [False] * 2
    assert lane.post(delivery(99), 0)
    assert not lane.refused_since_full


def test_a_queue_is_bounded_by_bytes_too() -> None:
    lane = Lane(CourierSettings(in_flight_max=100, queue_bytes_max=1_000), lambda: 1.0)
    large = [delivery(number) for number in range(3)]
    for each in large:
        each.body = bytes(600)
    assert [lane.post(each, 0) for each in large] == [True, True, False]
    take(lane, 0)
    for each in large[:2]:
        lane.arrived(each)
    assert lane.has_room
    assert lane.post(large[2], 0)


async def test_a_clock_that_was_a_day_ahead_and_is_put_right_keeps_nobody_waiting() -> None:
    answers = [503, 503, 202]
    server = Server(lambda _inquiry: Answer(answers.pop(0)))
    await server.start()
    ahead_ms = 86_400_000
    arrived = asyncio.Event()

    def report(told: DeliveryReport) -> None:
        nonlocal ahead_ms
        ahead_ms = 0
        if told.outcome is DeliveryOutcome.DELIVERED:
            arrived.set()

    client = HttpClient()
    courier = Courier(
        client,
        resolve=lambda _delivery: f"{server.url}/",
        report=report,
        settings=CourierSettings(retry_first_ms=5),
        clock=lambda: now_ms() + ahead_ms,
        jitter=lambda: 1.0,
    )
    assert courier.post(delivery(1, deadline_ms=now_ms() + 3 * ahead_ms))
    await asyncio.wait_for(arrived.wait(), 10)
    await courier.close()
    await client.close()
    await server.stop()
