"""What the hub measures of itself, for Prometheus: ``GET /metrics`` on the operators' listener.

Figures are gathered in plain numbers where things happen (`Metrics` watches the engine, `vuka.api.observed` the APIs)
and become Prometheus' families only when it asks: a payment costs a few additions. What changes by itself, such as the
length of a queue, is read at that moment.

A stranger can't make it grow: labels are participants of the directory, resources of the route tables, methods,
statuses and states that the hub has names for, and error codes of the hub's table; everything else is ``other``. Every
hub has a registry of its own. Names begin with ``vuka_`` and end with their unit; ``docs/operators.md`` lists them.
"""

from __future__ import annotations

import asyncio
import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vuka import __version__
from vuka.api.siblings import Family, Siblings
from vuka.engine import notifications
from vuka.engine.courier import DeliveryOutcome, DeliveryReport, LaneState, ParticipantStatistics
from vuka.engine.node import Engine
from vuka.engine.notifier import NotificationOutcome
from vuka.engine.observed import Committed, Observer
from vuka.engine.outbox import Outgoing, parked_counts
from vuka.errors import ErrorCode
from vuka.store import Tx
from vuka.switch import alarms
from vuka.switch.alarms import AlarmEvent, Told
from vuka.switch.directory import Oracle

log: Final = structlog.get_logger("vuka.metrics")

K = TypeVar("K")

OTHER: Final = "other"
"""Stands for every value that has no label of its own."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds for waits of participants and operators, in seconds."""

BATCH_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds for what one batch takes, in seconds."""

BATCH_COMMANDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 4_000)
"""Upper bounds for the commands in one batch; more than the last ``engine.batch_max`` does not allow."""

METHODS: Final = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))

RESULTS_MAX: Final = 100_000
"""Results on their way whose payments' durations are not lost; where more wait, the oldest are not measured."""

_CODES: Final = frozenset(each.code for each in ErrorCode)


class Histogram:
    """How often a figure was within which bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, figure: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, figure)] += 1
        self.total += figure

    def add(self, other: Histogram) -> None:
        """All that another one of the same bounds has."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    @property
    def count(self) -> int:
        """How many figures there were."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus counts: each bucket with what is in those before it."""
        found: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*(str(float(each)) for each in self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


class Deliveries:
    """What became of deliveries to one participant."""

    __slots__ = ("delivered", "lag_seconds", "parked", "retrying")

    def __init__(self) -> None:
        self.delivered = 0
        self.retrying = 0
        self.parked = 0
        self.lag_seconds = Histogram(SECONDS)


class Now(msgspec.Struct, frozen=True):
    """What stands as it does when Prometheus asks."""

    queued_commands: int
    lanes: Mapping[str, ParticipantStatistics]
    parked: Mapping[str, int] | None
    """By participant; None where the records can't be read."""
    parked_notifications: Mapping[str, int] | None
    """By channel."""
    alarms: Mapping[str, int] | None
    """By participant."""
    services: Sequence[tuple[str, bool]]
    at_ms: int


class Metrics(Observer, Collector):
    """The figures of one hub. ``is_participant`` says whether the directory has that name."""

    def __init__(self, is_participant: Callable[[str], bool]) -> None:
        self._is_participant = is_participant
        # By API, resource, method, participant and status: one look-up for each request.
        self._requests: dict[tuple[str, str, str, str, int], Histogram] = {}
        self._error_answers: Counter[tuple[str, str]] = Counter()
        self._error_callbacks: Counter[str] = Counter()
        self._batch_commands = Histogram(BATCH_COMMANDS)
        self._decide_seconds = Histogram(BATCH_SECONDS)
        self._commit_seconds = Histogram(BATCH_SECONDS)
        self._batches_failed = 0
        self._transfers: Counter[tuple[str, str]] = Counter()
        self._payment_seconds: dict[str, Histogram] = {}
        self._deliveries: dict[str, Deliveries] = {}
        # By the type of party that the oracle is registered for, and outcome.
        self._oracle_seconds: dict[tuple[str, str], Histogram] = {}
        self._notifications: Counter[tuple[str, str]] = Counter()
        # By participant and currency.
        self._alarms_raised: Counter[tuple[str, str]] = Counter()
        # Results on their way to payers, by message: when the payment began and how it ended.
        self._results: dict[int, tuple[int, str]] = {}
        self._now: Now | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    # --- what the APIs tell -------------------------------------------------------------------------------------

    def request(
        self, api: str, resource: str, method: str, participant: str, status: int, code: str | None, seconds: float
    ) -> None:
        """A request was answered, ``seconds`` after it had come; ``code`` is what an error answer says.

        ``resource`` is one of the API's, ``participant`` one of the directory or empty.
        """
        key = (api, resource, method if method in METHODS else OTHER, participant, status)
        histogram = self._requests.get(key)
        if histogram is None:
            histogram = self._requests[key] = Histogram(SECONDS)
        histogram.observe(seconds)
        if code is not None:
            self._error_answers[api, code if code in _CODES else OTHER] += 1

    def oracle_asked(self, oracle: Oracle, outcome: str, seconds: float) -> None:
        """An oracle outside the hub was asked: see `vuka.api.oracle_client.OracleObserver`."""
        key = (oracle.party_id_type, outcome)
        histogram = self._oracle_seconds.get(key)
        if histogram is None:
            histogram = self._oracle_seconds[key] = Histogram(SECONDS)
        histogram.observe(seconds)

    # --- what the engine tells ----------------------------------------------------------------------------------

    def committed(self, batch: Committed) -> None:
        self._batch_commands.observe(batch.commands)
        self._decide_seconds.observe(batch.decide_seconds)
        self._commit_seconds.observe(batch.commit_seconds)
        self._count_errors(batch.outgoing)
        if not batch.ended:
            return
        payments = {}
        for ended in batch.ended:
            self._transfers[ended.kind, ended.state] += 1
            if ended.kind == "PAYMENT":
                payments[ended.wire_id] = ended
        for outgoing in batch.outgoing:
            target = outgoing.target
            payment = payments.get(target.resource_id) if target.resource == "transfers" else None
            if payment is None or target.method != "PUT" or outgoing.delivery.to != payment.payer_fsp:
                continue
            del payments[target.resource_id]
            self._results[outgoing.delivery.id] = (payment.began_ms, payment.state)
        while len(self._results) > RESULTS_MAX:
            del self._results[next(iter(self._results))]

    def not_committed(self, _commands: int, _error: Exception, _at_ms: int) -> None:
        self._batches_failed += 1

    def routed(self, sent: Sequence[Outgoing]) -> None:
        self._count_errors(sent)

    def _count_errors(self, sent: Sequence[Outgoing]) -> None:
        for outgoing in sent:
            code = outgoing.error_code
            if code is not None:
                self._error_callbacks[code if code in _CODES else OTHER] += 1

    def attempted(self, report: DeliveryReport) -> None:
        outcome, delivery = report.outcome, report.delivery
        deliveries = self._deliveries.get(delivery.to) or self._deliveries_to(delivery.to)
        if outcome is DeliveryOutcome.RETRYING:
            deliveries.retrying += 1
            return
        result = self._results.pop(delivery.id, None)
        if outcome is DeliveryOutcome.PARKED:
            deliveries.parked += 1
            return
        deliveries.delivered += 1
        deliveries.lag_seconds.observe((report.at_ms - delivery.owed_ms) / 1000)
        if result is None:
            return
        began_ms, state = result
        took = self._payment_seconds.get(state)
        if took is None:
            took = self._payment_seconds[state] = Histogram(SECONDS)
        took.observe((report.at_ms - began_ms) / 1000)

    def notified(self, channel: str, outcome: NotificationOutcome) -> None:
        self._notifications[channel, outcome.value] += 1

    def alarmed(self, told: Sequence[Told]) -> None:
        for each in told:
            if each.event is AlarmEvent.RAISED:
                self._alarms_raised[self._name(each.participant), each.currency] += 1

    def _deliveries_to(self, participant: str) -> Deliveries:
        return self._deliveries.setdefault(self._name(participant), Deliveries())

    def _name(self, participant: str) -> str:
        return participant if self._is_participant(participant) else OTHER

    # --- what Prometheus asks -----------------------------------------------------------------------------------

    async def expose(
        self, engine: Engine, services: Sequence[tuple[str, bool]], accept: str, siblings: Siblings | None = None
    ) -> tuple[bytes, str]:
        """Everything as text, in the format that ``accept`` asks for, and its content type.

        Where this process is one of several workers, with what ``siblings`` tell.
        """
        encode, content_type = choose_encoder(accept)
        if siblings is None:
            self._look(engine, services)
            registry = self._registry
        else:
            registry = await siblings.with_others(await self.families(engine, services))
        # Thousands of lines are written beside the event loop: payments go on.
        return await asyncio.to_thread(encode, registry), content_type

    async def families(self, engine: Engine, services: Sequence[tuple[str, bool]]) -> list[Family]:
        """Everything that this process measures, for another worker to show."""
        self._look(engine, services)
        return await asyncio.to_thread(lambda: [Family.of(each) for each in self._registry.collect()])

    def _look(self, engine: Engine, services: Sequence[tuple[str, bool]]) -> None:
        self._now = Now(
            queued_commands=engine.queued,
            lanes=engine.courier.statistics(),
            parked=_counted(engine, parked_counts),
            parked_notifications=_counted(engine, notifications.parked_counts),
            alarms=_counted(engine, alarms.counts),
            services=services,
            at_ms=engine.now_ms(),
        )

    def collect(self) -> Iterable[Metric]:
        """The families: see `prometheus_client.registry.Collector`."""
        yield from self._hub_families()
        yield from self._request_families()
        yield from self._engine_families()
        yield from self._delivery_families()
        yield from self._notification_families()

    def _hub_families(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("vuka_build_info", "The running program: always 1.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build
        now = self._now
        if now is None:
            return
        up = GaugeMetricFamily("vuka_service_up", "1 where a part of the hub works, 0 where not.", labels=("service",))
        for name, works in now.services:
            up.add_metric((name,), int(works))
        yield up

    def _request_families(self) -> Iterator[Metric]:
        counts: Counter[tuple[str, ...]] = Counter()
        waits: dict[tuple[str, ...], Histogram] = {}
        for (api, resource, method, participant, status), figures in _taken(self._requests.items()):
            counts[api, resource, method, str(status)] += figures.count
            waits.setdefault((api, resource, method, participant), Histogram(SECONDS)).add(figures)
        labels = ("api", "resource", "method", "status")
        yield _counter("vuka_requests", "Requests answered.", labels, counts.items())
        text = "From a request until its answer, by who sent it where that is known."
        labels = ("api", "resource", "method", "participant")
        yield _histogram("vuka_request_duration_seconds", text, labels, waits.items())
        text = "Requests answered with an error, by its code."
        yield _counter("vuka_error_answers", text, ("api", "code"), self._error_answers.items())
        text = "Error callbacks that the hub made itself, by code."
        callbacks = [((code,), count) for code, count in _taken(self._error_callbacks.items())]
        yield _counter("vuka_error_callbacks", text, ("code",), callbacks)
        text = "From a question to an oracle outside the hub until its answer."
        oracles = self._oracle_seconds.items()
        yield _histogram("vuka_oracle_duration_seconds", text, ("party_id_type", "outcome"), oracles)

    def _engine_families(self) -> Iterator[Metric]:
        now = self._now
        if now is not None:
            text = "Commands that wait for a batch."
            yield GaugeMetricFamily("vuka_engine_queued_commands", text, value=now.queued_commands)
        for name, text, figures in (
            ("vuka_batch_commands", "Commands in a batch.", self._batch_commands),
            ("vuka_batch_decide_seconds", "Deciding and writing a batch, before its commit.", self._decide_seconds),
            ("vuka_batch_commit_seconds", "Waiting for the disk to have a batch.", self._commit_seconds),
        ):
            yield _histogram(name, text, (), [((), figures)])
        text = "Batches that could not be committed."
        yield CounterMetricFamily("vuka_batches_failed", text, value=self._batches_failed)
        text = "Transfers that came to an end, by kind and final state."
        yield _counter("vuka_transfers", text, ("kind", "state"), self._transfers.items())
        yield _histogram(
            "vuka_payment_duration_seconds",
            "From the prepare until the payer has the result, by final state.",
            ("state",),
            [((state,), figures) for state, figures in _taken(self._payment_seconds.items())],
        )

    def _delivery_families(self) -> Iterator[Metric]:
        deliveries = _taken(self._deliveries.items())
        attempts = [
            ((name, outcome), count)
            for name, each in deliveries
            for outcome, count in (("delivered", each.delivered), ("retrying", each.retrying), ("parked", each.parked))
        ]
        text = "Attempts to deliver a message, and messages whose time has passed."
        yield _counter("vuka_delivery_attempts", text, ("participant", "outcome"), attempts)
        yield _histogram(
            "vuka_delivery_lag_seconds",
            "From when a message was owed until it was delivered.",
            ("participant",),
            [((name,), each.lag_seconds) for name, each in deliveries],
        )
        now = self._now
        if now is None:
            return
        if now.parked is not None:
            yield self._by_participant("vuka_parked_messages", "Messages that are parked.", now.parked)
        for name, text, of_lane in _LANE_FIGURES:
            yield self._by_participant(name, text, {each: of_lane(lane) for each, lane in now.lanes.items()})
        text = "How long the oldest message that was never tried has waited."
        waits = {name: _waited_seconds(lane, now.at_ms) for name, lane in now.lanes.items()}
        yield self._by_participant("vuka_delivery_oldest_queued_seconds", text, waits)

    def _notification_families(self) -> Iterator[Metric]:
        text = "Attempts to deliver a notification, by channel."
        yield _counter("vuka_notifications", text, ("channel", "outcome"), self._notifications.items())
        text = "Alarms about the use of net debit caps that were raised."
        yield _counter("vuka_alarms_raised", text, ("participant", "currency"), self._alarms_raised.items())
        now = self._now
        if now is None:
            return
        if now.alarms is not None:
            yield self._by_participant("vuka_alarms", "Alarms about the use of net debit caps that stand.", now.alarms)
        if now.parked_notifications is not None:
            text = "Notifications that are parked."
            family = GaugeMetricFamily("vuka_parked_notifications", text, labels=("channel",))
            for channel, count in sorted(now.parked_notifications.items()):
                family.add_metric((channel,), count)
            yield family

    def _by_participant(self, name: str, text: str, figures: Mapping[str, float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=("participant",))
        named: dict[str, float] = {}
        for participant, figure in figures.items():
            name_shown = self._name(participant)
            named[name_shown] = named.get(name_shown, 0) + figure
        for participant, figure in sorted(named.items()):
            family.add_metric((participant,), figure)
        return family


_LANE_FIGURES: Final[Sequence[tuple[str, str, Callable[[ParticipantStatistics], int]]]] = (
    ("vuka_delivery_queued_messages", "Messages that were never tried.", lambda lane: lane.queued),
    ("vuka_delivery_in_flight_messages", "Messages under way.", lambda lane: lane.in_flight),
    ("vuka_delivery_retrying_messages", "Messages that have failed and wait.", lambda lane: lane.waiting_retry),
    (
        "vuka_delivery_probing",
        "1 where a participant keeps failing and is tried with one message at a time, else 0.",
        lambda lane: int(lane.state is LaneState.PROBING),
    ),
)


def _counted(engine: Engine, count: Callable[[Tx], dict[str, int]]) -> dict[str, int] | None:
    try:
        return engine.read(lambda tx, _ledger, _directory: count(tx))
    except Exception:
        # The other figures say why; they are needed most when the records can't be read.
        log.exception("what the records hold could not be counted")
        return None


def _waited_seconds(lane: ParticipantStatistics, now_ms: int) -> float:
    return 0.0 if lane.oldest_queued_ms is None else max(now_ms - lane.oldest_queued_ms, 0) / 1000


def _taken(items: Iterable[K]) -> list[K]:
    """What a table holds at this moment: it goes on growing while it is written out by another thread."""
    return list(items)


def _counter(
    name: str, text: str, labels: Sequence[str], items: Iterable[tuple[Sequence[str], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(_taken(items)):
        family.add_metric(values, count)
    return family


def _histogram(
    name: str, text: str, labels: Sequence[str], items: Iterable[tuple[Sequence[str], Histogram]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, figures in sorted(_taken(items), key=lambda item: tuple(item[0])):
        family.add_metric(values, figures.buckets(), sum_value=figures.total)
    return family
