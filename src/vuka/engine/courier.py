"""The courier: delivers what the hub owes, to each participant on its own.

Every participant has a queue, a bound on it, and a bound on how many messages are under way to it, so that one that is
slow or dead delays nobody else. A failed delivery is tried again, later and later, while the message can still
matter (its deadline); after that, or where the participant answers that it does not want it, it is parked and
reported. `Lane` decides what is sent when, by a time it is given; `Courier` is the thin part that waits and sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from vuka.httpclient import Client, Request, Response, TransportError

FAILURES_BEFORE_PROBING: Final = 5
"""Failures in a row after which a participant is tried with one message at a time, until one arrives."""

ANSWER_SHOWN_MAX: Final = 200
"""Characters of a refusing answer that are kept for operators."""

DEADLINES_SPARE: Final = 1_000

RETRY_STATUSES: Final = frozenset((408, 425, 429))
"""Statuses below 500 that mean "later", not "no"."""

UNABLE_STATUSES: Final = RETRY_STATUSES | frozenset((502, 503, 504))
"""Statuses that tell of the participant, not of the message: it is down or has too much to do."""


class CourierSettings(msgspec.Struct, frozen=True):
    """How hard the courier tries."""

    queue_max: int = 10_000
    queue_bytes_max: int = 64 * 1024 * 1024
    in_flight_max: int = 32
    retry_first_ms: int = 200
    retry_max_ms: int = 30_000
    probe_max_ms: int = 5_000


class Delivery(msgspec.Struct):
    """One message to deliver. ``target`` is what `resolve` needs for its URL.

    ``deadline_ms`` and ``owed_ms``, since when it is owed, are UTC milliseconds.
    """

    id: int
    to: str
    method: str
    headers: Sequence[tuple[str, str]]
    body: bytes | None
    deadline_ms: int
    durable: bool
    attempts: int = 0
    target: object = None
    owed_ms: int = 0
    has_row: bool = False
    """Whether it may have a row in the outbox's table, to be removed when it has arrived."""


class DeliveryOutcome(StrEnum):
    """What became of an attempt."""

    DELIVERED = "DELIVERED"
    RETRYING = "RETRYING"
    PARKED = "PARKED"


class DeliveryReport(msgspec.Struct, frozen=True):
    """One attempt, or the end of a message's time."""

    delivery: Delivery
    outcome: DeliveryOutcome
    status: int | None
    error: str | None
    attempts: int
    at_ms: int
    next_attempt_ms: int | None = None
    duration_ms: int | None = None

    @property
    def to(self) -> str:
        """The participant."""
        return self.delivery.to


class LaneState(StrEnum):
    """How deliveries to one participant go."""

    OPEN = "OPEN"
    PROBING = "PROBING"
    """It failed several times in a row: one message at a time until one arrives."""


class ParticipantStatistics(msgspec.Struct, frozen=True):
    """How deliveries to one participant stand."""

    state: LaneState
    queued: int
    in_flight: int
    waiting_retry: int
    delivered: int
    parked: int
    oldest_queued_ms: int | None
    """When the oldest message that was never tried was posted, UTC milliseconds."""


class Lane:
    """The queue of one participant, driven by the time it is given: no clock, no input or output of its own.

    What waits is in `_waiting`, and in one of `_first`, `_fresh` and `_retrying`. The heaps of retries and of deadlines
    hold keys with times; one whose message no longer waits for that time is passed over.
    """

    def __init__(self, settings: CourierSettings, jitter: Callable[[], float]) -> None:
        self._settings = settings
        self._jitter = jitter
        self._waiting: dict[int, Delivery] = {}
        self._flying: set[int] = set()
        # When each was posted, the oldest first; in milliseconds, as all times here.
        self._fresh: OrderedDict[int, int] = OrderedDict()
        self._first: OrderedDict[int, int] = OrderedDict()
        self._retrying: dict[int, int] = {}
        self._retries: list[tuple[int, int]] = []
        self._deadlines: list[tuple[int, int]] = []
        self._bytes = 0
        self._failures = 0
        self._probe: int | None = None
        self._beside_probe: int | None = None
        self._probes_failed = 0
        self._pause_until_ms = 0
        self.delivered = 0
        self.parked = 0
        self.refused_since_full = False

    def __len__(self) -> int:
        """Messages waiting or under way."""
        return len(self._waiting) + len(self._flying)

    @property
    def has_room(self) -> bool:
        """Whether it is at most half full, by number and by bytes."""
        settings = self._settings
        return len(self) <= settings.queue_max // 2 and self._bytes <= settings.queue_bytes_max // 2

    @property
    def state(self) -> LaneState:
        """Whether the participant is being probed."""
        return LaneState.PROBING if self._failures >= FAILURES_BEFORE_PROBING else LaneState.OPEN

    def post(self, delivery: Delivery, now_ms: int, *, is_first: bool = False) -> bool:
        """Queues a message; one that is queued already stays as it is. False where the queue is full.

        What is only routed may take half of the queue: it never keeps out what the hub owes. Where ``is_first``, it
        goes before all others, and neither a pause nor a probe under way holds up its first attempt: an operator who
        has it sent again knows what has been mended.
        """
        if delivery.id in self._flying:
            return True
        if delivery.id in self._waiting:
            if is_first and delivery.id not in self._first:
                self._first[delivery.id] = self._fresh.pop(delivery.id, now_ms)
                self._retrying.pop(delivery.id, None)
            return True
        if not delivery.durable and not self.has_room:
            return False
        settings = self._settings
        if len(self) >= settings.queue_max or self._bytes >= settings.queue_bytes_max:
            self.refused_since_full = True
            return False
        self._bytes += _size_of(delivery)
        self._waiting[delivery.id] = delivery
        (self._first if is_first else self._fresh)[delivery.id] = now_ms
        self._watch_deadline(delivery)
        return True

    def start_at_once(self, delivery: Delivery, now_ms: int) -> bool:
        """Takes a new message under way without queueing it: what `post` and `take` come to where nothing waits.

        False, and nothing has changed, where anything is in its way.
        """
        if self._waiting or self._failures or self.refused_since_full or not self.has_room:
            return False
        flying = self._flying
        if len(flying) >= self._settings.in_flight_max or delivery.id in flying or delivery.deadline_ms <= now_ms:
            return False
        self._bytes += _size_of(delivery)
        flying.add(delivery.id)
        return True

    @property
    def is_calm(self) -> bool:
        """Whether nothing waits, and nobody who was refused waits to be told that there is room."""
        return not self._waiting and not self.refused_since_full

    def _watch_deadline(self, delivery: Delivery) -> None:
        heapq.heappush(self._deadlines, (delivery.deadline_ms, delivery.id))
        # Deadlines lie a day ahead and messages arrive in milliseconds: what no longer waits is cleared out in bulk.
        if len(self._deadlines) > 2 * len(self._waiting) + DEADLINES_SPARE:
            self._deadlines = [(each.deadline_ms, each.id) for each in self._waiting.values()]
            heapq.heapify(self._deadlines)

    def take(self, now_ms: int) -> Delivery | None:
        """The next message to send now, if any: what is due again before what is new.

        A probe is something new where there is anything: what has failed before may be why. Where all that waits has
        failed, a probe does not wait until one of them is due: the pause is over.
        """
        self._pass_over_gone()
        if self._first and not self._is_at_limit_for_first():
            return self._take_first()
        if self._is_at_limit() or now_ms < self._pause_until_ms:
            return None
        is_probing_with_new = self.state is LaneState.PROBING and bool(self._fresh)
        is_due = bool(self._retries) and (self._retries[0][0] <= now_ms or self._is_probed_with_retries)
        if is_due and not is_probing_with_new:
            delivery = self._waiting.pop(heapq.heappop(self._retries)[1])
            del self._retrying[delivery.id]
        elif self._fresh:
            delivery = self._waiting.pop(self._fresh.popitem(last=False)[0])
        else:
            return None
        self._flying.add(delivery.id)
        if self.state is LaneState.PROBING:
            self._probe = delivery.id
        return delivery

    def _take_first(self) -> Delivery:
        delivery = self._waiting.pop(self._first.popitem(last=False)[0])
        self._flying.add(delivery.id)
        if self.state is LaneState.PROBING:
            if self._probe is None:
                self._probe = delivery.id
            else:
                self._beside_probe = delivery.id
        return delivery

    def _is_at_limit_for_first(self) -> bool:
        if self.state is LaneState.PROBING:
            # The probe may be on its way to where nobody answers any more.
            return self._probe is not None and self._beside_probe is not None
        return len(self._flying) >= self._settings.in_flight_max

    def _is_at_limit(self) -> bool:
        if self.state is LaneState.PROBING:
            return self._probe is not None
        return len(self._flying) >= self._settings.in_flight_max

    @property
    def _is_probed_with_retries(self) -> bool:
        return self.state is LaneState.PROBING and not self._fresh

    def _pass_over_gone(self) -> None:
        while self._retries and self._retrying.get(self._retries[0][1]) != self._retries[0][0]:
            heapq.heappop(self._retries)
        while self._deadlines and not self._is_deadline(*self._deadlines[0]):
            heapq.heappop(self._deadlines)

    def _is_deadline(self, deadline_ms: int, key: int) -> bool:
        # What was parked and is sent again has a new deadline: the old one is nobody's.
        delivery = self._waiting.get(key)
        return delivery is not None and delivery.deadline_ms == deadline_ms

    def expired(self, now_ms: int) -> list[Delivery]:
        """Takes out what waits and can matter no more."""
        late: list[Delivery] = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            deadline_ms, key = heapq.heappop(self._deadlines)
            if self._is_deadline(deadline_ms, key):
                late.append(self._waiting.pop(key))
                self._bytes -= _size_of(late[-1])
                self._first.pop(key, None)
                self._fresh.pop(key, None)
                self._retrying.pop(key, None)
        self.parked += len(late)
        return late

    def arrived(self, delivery: Delivery) -> None:
        """The participant took it."""
        self._leave(delivery)
        self._works_again()
        self.delivered += 1

    def refused(self, delivery: Delivery) -> None:
        """The participant answered that it does not want it: it works, so it is not probed for that."""
        self._leave(delivery)
        self._works_again()
        self.parked += 1

    def failed(
        self, delivery: Delivery, now_ms: int, *, retry_after_ms: int | None = None, is_unable: bool = True
    ) -> int | None:
        """It did not arrive: when it is tried again, or None where that is too late.

        ``is_unable`` says that the participant could not take anything now. Where the fault may be the message's own
        (it has no endpoint to go to, or is answered 500), the messages beside it do not wait for it: else anybody who
        can send a participant nonsense could cut it off.
        """
        was_probe = delivery.id == self._probe
        was_probing = self.state is LaneState.PROBING
        self._landed(delivery)
        if not is_unable:
            return self._again(delivery, now_ms, self._wait_ms(delivery.attempts - 1, self._settings.retry_max_ms))
        self._failures += 1
        if was_probe:
            self._probes_failed += 1
        asked_ms = min(retry_after_ms or 0, self._settings.retry_max_ms)
        # Of many that were under way when the participant went away only the first to tell counts; the
        # pause grows with the probes after it.
        if was_probe or (self.state is LaneState.PROBING and not was_probing):
            pause_ms = self._wait_ms(self._probes_failed, self._settings.probe_max_ms)
            self._pause_until_ms = now_ms + max(pause_ms, asked_ms)
        return self._again(
            delivery, now_ms, max(self._wait_ms(delivery.attempts - 1, self._settings.retry_max_ms), asked_ms)
        )

    def _again(self, delivery: Delivery, now_ms: int, wait_ms: int) -> int | None:
        if now_ms >= delivery.deadline_ms:
            self._bytes -= _size_of(delivery)
            self.parked += 1
            return None
        # One last attempt is made just before the deadline rather than none after it.
        next_ms = max(min(now_ms + wait_ms, delivery.deadline_ms - 1), now_ms + 1)
        self._waiting[delivery.id] = delivery
        self._retrying[delivery.id] = next_ms
        heapq.heappush(self._retries, (next_ms, delivery.id))
        self._watch_deadline(delivery)
        return next_ms

    def _wait_ms(self, doublings: int, longest_ms: int) -> int:
        """The wait after so many doublings, bounded, with half of it drawn by lot."""
        wait_ms = min(self._settings.retry_first_ms << min(max(doublings, 0), 20), longest_ms)
        return max(round(wait_ms * (0.5 + self._jitter() / 2)), 1)

    def release(self, delivery: Delivery) -> None:
        """It was under way when the courier stopped: it counts as not sent."""
        self._leave(delivery)

    def _leave(self, delivery: Delivery) -> None:
        self._landed(delivery)
        self._bytes -= _size_of(delivery)

    def _landed(self, delivery: Delivery) -> None:
        self._flying.discard(delivery.id)
        if self._probe == delivery.id:
            self._probe = None
        if self._beside_probe == delivery.id:
            self._beside_probe = None

    def _works_again(self) -> None:
        if not self._failures:
            return
        self._failures = 0
        self._probes_failed = 0
        self._pause_until_ms = 0

    def set_back(self, by_ms: int) -> None:
        """The clock was set back by so much: what waits for a while goes on waiting that while, and no longer.

        A deadline is a time of day and stays what it is.
        """
        self._pause_until_ms -= by_ms
        self._retrying = {key: due_ms - by_ms for key, due_ms in self._retrying.items()}
        self._retries = [(due_ms, key) for key, due_ms in self._retrying.items()]
        heapq.heapify(self._retries)

    def next_due_ms(self, now_ms: int) -> int | None:
        """When something is to be done by itself: a retry, a probe, the end of a message's time."""
        self._pass_over_gone()
        times: list[int] = []
        if not self._is_at_limit():
            if self._retries:
                due_ms = 0 if self._is_probed_with_retries else self._retries[0][0]
                times.append(max(due_ms, self._pause_until_ms))
            if self._fresh and self._pause_until_ms > now_ms:
                times.append(self._pause_until_ms)
        if self._deadlines:
            times.append(self._deadlines[0][0])
        return min(times) if times else None

    def statistics(self) -> ParticipantStatistics:
        """How it stands."""
        oldest = [next(iter(each.values())) for each in (self._first, self._fresh) if each]
        return ParticipantStatistics(
            state=self.state,
            queued=len(self._first) + len(self._fresh),
            in_flight=len(self._flying),
            waiting_retry=len(self._retrying),
            delivered=self.delivered,
            parked=self.parked,
            oldest_queued_ms=min(oldest, default=None),
        )


class _NowhereError(TransportError):
    """There is no URL to send a message to: nothing of the participant's server is known by that."""


def _size_of(delivery: Delivery) -> int:
    return len(delivery.body or b"")


class Courier:
    """Delivers to every participant, each on a lane of its own."""

    def __init__(
        self,
        client: Client,
        *,
        resolve: Callable[[Delivery], str],
        report: Callable[[DeliveryReport], None],
        settings: CourierSettings,
        clock: Callable[[], int],
        jitter: Callable[[], float],
        on_drained: Callable[[str], None] | None = None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._resolve = resolve
        self._report = report
        self._settings = settings
        self._clock = clock
        self._seen_ms = 0
        self._jitter = jitter
        self._on_drained = on_drained
        self._may_send = may_send
        self._lanes: dict[str, Lane] = {}
        self._timers: dict[str, tuple[int, asyncio.TimerHandle]] = {}
        self._in_flight = 0
        self._stopping = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    def post(self, delivery: Delivery, *, is_first: bool = False) -> bool:
        """Queues a message and starts what may start; see `Lane.post`. False where that participant's queue is full."""
        if self._stopping:
            return False
        lane = self._lanes.get(delivery.to)
        if lane is None:
            lane = self._lanes[delivery.to] = Lane(self._settings, self._jitter)
        now_ms = self._now_ms()
        if self._may_send() and lane.start_at_once(delivery, now_ms):
            self._attempt(delivery.to, lane, delivery)
            return True
        if not lane.post(delivery, now_ms, is_first=is_first):
            return False
        self._pump(delivery.to, lane)
        return True

    def has_room(self, name: str) -> bool:
        """Whether a participant's queue is at most half full."""
        lane = self._lanes.get(name)
        return lane is None or lane.has_room

    def statistics(self) -> dict[str, ParticipantStatistics]:
        """How deliveries stand, by participant."""
        return {name: lane.statistics() for name, lane in self._lanes.items()}

    def resume(self) -> None:
        """What it may send again: goes through every queue."""
        for name, lane in list(self._lanes.items()):
            self._pump(name, lane)

    async def drain(self, timeout_ms: int) -> None:
        """Starts nothing more and waits for what is under way; what waits stays in the outbox."""
        self._stopping = True
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), timeout_ms / 1000)

    async def close(self) -> None:
        """Stops at once."""
        await self.drain(0)

    def _now_ms(self) -> int:
        """The time. A clock that was ahead and is put right keeps nobody waiting for the time that it showed."""
        now_ms = self._clock()
        if now_ms < self._seen_ms:
            for lane in self._lanes.values():
                lane.set_back(self._seen_ms - now_ms)
        self._seen_ms = now_ms
        return now_ms

    def _pump(self, name: str, lane: Lane) -> None:
        """Sends what may be sent now, parks what is late, and sets the timer for what comes by itself."""
        if self._stopping or (lane.is_calm and name not in self._timers):
            return
        now_ms = self._now_ms()
        for late in lane.expired(now_ms):
            error = "its time has passed while the participant could not be reached"
            self._tell(late, DeliveryOutcome.PARKED, None, error, now_ms)
        while self._may_send() and (delivery := lane.take(now_ms)) is not None:
            self._attempt(name, lane, delivery)
        self._set_timer(name, lane, now_ms)
        if lane.refused_since_full and lane.has_room and self._on_drained is not None:
            lane.refused_since_full = False
            self._on_drained(name)

    def _set_timer(self, name: str, lane: Lane, now_ms: int) -> None:
        due_ms = lane.next_due_ms(now_ms)
        current = self._timers.get(name)
        if current is not None and due_ms == current[0]:
            return
        if current is not None:
            current[1].cancel()
            del self._timers[name]
        if due_ms is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(max(due_ms - now_ms, 1) / 1000, self._on_due, name)
            self._timers[name] = (due_ms, timer)

    def _on_due(self, name: str) -> None:
        self._timers.pop(name, None)
        self._pump(name, self._lanes[name])

    def _attempt(self, name: str, lane: Lane, delivery: Delivery) -> None:
        delivery.attempts += 1
        self._in_flight += 1
        self._quiet.clear()
        try:
            url = self._resolve(delivery)
        except Exception as error:  # whatever is wrong with where it goes, it is a failed attempt
            reason = str(error.args[0] if error.args else error)
            # Not from inside `_pump`, which is going through the lane.
            asyncio.get_running_loop().call_soon(self._ended, name, lane, delivery, _NowhereError(reason))
            return
        request = Request(delivery.method, url, delivery.headers, delivery.body)
        self._client.start(request, lambda answer: self._ended(name, lane, delivery, answer))

    def _ended(self, name: str, lane: Lane, delivery: Delivery, answer: Response | TransportError) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self._quiet.set()
        now_ms = self._now_ms()
        if isinstance(answer, Response) and 200 <= answer.status < 300:
            lane.arrived(delivery)
            self._tell(delivery, DeliveryOutcome.DELIVERED, answer, None, now_ms)
        elif isinstance(answer, Response) and answer.status < 500 and answer.status not in RETRY_STATUSES:
            lane.refused(delivery)
            self._tell(delivery, DeliveryOutcome.PARKED, answer, _refusal(answer), now_ms)
        elif self._stopping:
            lane.release(delivery)
        else:
            self._failed(lane, delivery, answer, now_ms)
        self._pump(name, lane)

    def _failed(self, lane: Lane, delivery: Delivery, answer: Response | TransportError, now_ms: int) -> None:
        response = answer if isinstance(answer, Response) else None
        error = _refusal(answer) if isinstance(answer, Response) else str(answer)
        is_unable = not isinstance(answer, _NowhereError) if response is None else response.status in UNABLE_STATUSES
        next_ms = lane.failed(delivery, now_ms, retry_after_ms=_retry_after_ms(response), is_unable=is_unable)
        outcome = DeliveryOutcome.RETRYING if next_ms is not None else DeliveryOutcome.PARKED
        self._tell(delivery, outcome, response, error, now_ms, next_ms)

    def _tell(
        self,
        delivery: Delivery,
        outcome: DeliveryOutcome,
        response: Response | None,
        error: str | None,
        now_ms: int,
        next_ms: int | None = None,
    ) -> None:
        self._report(
            DeliveryReport(
                delivery,
                outcome,
                response.status if response is not None else None,
                error,
                delivery.attempts,
                now_ms,
                next_ms,
                response.total_ms if response is not None else None,
            )
        )


def _refusal(answer: Response) -> str:
    shown = answer.body[: ANSWER_SHOWN_MAX * 4].decode("utf-8", "replace")[:ANSWER_SHOWN_MAX]
    return f"HTTP {answer.status} {shown}".strip()


def _retry_after_ms(answer: Response | None) -> int | None:
    """What an answer asks for, where it asks in seconds; a date is as good as no wish."""
    if answer is None:
        return None
    text = answer.headers.get("retry-after", "")
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) < 7 else None
