"""What the engine tells those who watch it: what it has committed, what it could not, what became of deliveries.

An `Observer` is told after the fact and decides nothing; what is measured (`vuka.api.metrics`) and logged (`EngineLog`)
of the engine is wrapped around it here instead of being written between its lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from vuka.engine.courier import Delivery, DeliveryOutcome, DeliveryReport
from vuka.engine.notifier import NotificationOutcome
from vuka.engine.outbox import Outgoing
from vuka.logs import loggable_id, trace_id
from vuka.switch.alarms import Told
from vuka.switch.journal import Sent
from vuka.switch.work import Ended

log: Final = structlog.get_logger("vuka.engine")

SLOW_BATCH_SECONDS: Final = 0.5
"""From how long on a batch is worth a line: payments wait for it."""

QUIET_MS: Final = 30_000
"""How long no second line is written of the same trouble."""


class Committed(msgspec.Struct, frozen=True):
    """A batch that is durable."""

    commands: int
    outgoing: Sequence[Outgoing]
    ended: Sequence[Ended]
    decide_seconds: float
    """Deciding and writing, before the commit."""
    commit_seconds: float
    """Waiting for the disk."""


class Observer:
    """Watches an engine; what is not of interest is not overridden. Called on the engine's event loop: be quick."""

    def committed(self, batch: Committed) -> None:
        """A batch is durable, its messages are about to be sent."""

    def not_committed(self, commands: int, error: Exception, at_ms: int) -> None:
        """Nothing of a batch is durable: its ``commands`` have failed. ``at_ms`` is UTC milliseconds."""

    def routed(self, sent: Sequence[Outgoing]) -> None:
        """Messages were given to the courier without a record."""

    def attempted(self, report: DeliveryReport) -> None:
        """A delivery was attempted, or its time has passed."""

    def notified(self, channel: str, outcome: NotificationOutcome) -> None:
        """A notification was attempted to be delivered by a channel."""

    def alarmed(self, told: Sequence[Told]) -> None:
        """Alarms were raised, repeated or cleared."""


class Observers(Observer):
    """Tells several observers. One that fails is logged and harms nobody."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def committed(self, batch: Committed) -> None:
        for observer in self._observers:
            try:
                observer.committed(batch)
            except Exception:
                _observer_failed(observer)

    def not_committed(self, commands: int, error: Exception, at_ms: int) -> None:
        for observer in self._observers:
            try:
                observer.not_committed(commands, error, at_ms)
            except Exception:
                _observer_failed(observer)

    def routed(self, sent: Sequence[Outgoing]) -> None:
        for observer in self._observers:
            try:
                observer.routed(sent)
            except Exception:
                _observer_failed(observer)

    def attempted(self, report: DeliveryReport) -> None:
        for observer in self._observers:
            try:
                observer.attempted(report)
            except Exception:
                _observer_failed(observer)

    def notified(self, channel: str, outcome: NotificationOutcome) -> None:
        for observer in self._observers:
            try:
                observer.notified(channel, outcome)
            except Exception:
                _observer_failed(observer)

    def alarmed(self, told: Sequence[Told]) -> None:
        for observer in self._observers:
            try:
                observer.alarmed(told)
            except Exception:
                _observer_failed(observer)


def _observer_failed(observer: Observer) -> None:
    log.exception("an observer failed", observer=type(observer).__name__)


class _Trouble(msgspec.Struct):
    """How deliveries to one participant fail, since the last line about it."""

    failed: int = 0
    parked: int = 0
    told_ms: int | None = None
    is_over: bool = False


class EngineLog(Observer):
    """Logs what operators should know: batches that are slow or fail, participants that do not take their messages.

    However many messages a dead participant is owed, it has one line in `QUIET_MS`, and one when it is back.
    """

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self._not_committed_ms: int | None = None
        self._not_committed = 0

    def committed(self, batch: Committed) -> None:
        if self._not_committed:
            log.info("batches are committed again", failed=self._not_committed)
            self._not_committed, self._not_committed_ms = 0, None
        if batch.decide_seconds + batch.commit_seconds >= SLOW_BATCH_SECONDS:
            log.warning(
                "a slow batch",
                commands=batch.commands,
                decide_ms=round(batch.decide_seconds * 1000),
                commit_ms=round(batch.commit_seconds * 1000),
            )

    def not_committed(self, commands: int, error: Exception, at_ms: int) -> None:
        self._not_committed += 1
        if self._not_committed_ms is not None and 0 <= at_ms - self._not_committed_ms < QUIET_MS:
            return
        self._not_committed_ms = at_ms
        log.error("a batch could not be committed", commands=commands, failed=self._not_committed, exc_info=error)

    def attempted(self, report: DeliveryReport) -> None:
        trouble = self._troubles.get(report.delivery.to)
        if report.outcome is DeliveryOutcome.DELIVERED:
            if trouble is not None and not trouble.is_over:
                trouble.is_over = True
                log.info("deliveries to a participant arrive again", participant=report.to)
            return
        if trouble is None:
            trouble = self._troubles[report.to] = _Trouble()
        trouble.failed += 1
        trouble.parked += report.outcome is DeliveryOutcome.PARKED
        if trouble.told_ms is not None and 0 <= report.at_ms - trouble.told_ms < QUIET_MS:
            return
        log.warning(
            "deliveries to a participant fail",
            participant=report.to,
            failed=trouble.failed,
            parked=trouble.parked,
            status=report.status,
            # What the participant answered may name people: it is kept with the parked message.
            error=report.error if report.status is None else None,
            **_about(report.delivery),
        )
        self._troubles[report.to] = _Trouble(told_ms=report.at_ms)


def _about(delivery: Delivery) -> dict[str, object]:
    """The latest message that failed, as far as it may be logged."""
    target = delivery.target
    traceparent = next((value for name, value in delivery.headers if name.lower() == "traceparent"), None)
    about: dict[str, object] = {"message_id": delivery.id, "trace_id": trace_id(traceparent)}
    if isinstance(target, Sent):
        about |= {
            "method": target.method,
            "resource": target.resource,
            "id": loggable_id(target.resource, target.resource_id),
        }
    return about
