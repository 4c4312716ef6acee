"""The notifier: delivers notifications by channels, beside everything else.

A channel may wait for a slow mail server, or hang: each delivery runs in a thread of its own, never on the event loop
and never in the one that writes, and each channel has so many at once and no more. What fails is tried again, later and
later, and after so many attempts parked, where operators see it and can have it sent again. A delivery that takes too
long has failed, though its thread can't be ended: it is not begun again beside that one, and has arrived after all if
that one says so. Where all of a channel's threads hang its deliveries fail at once, until one of them comes back.
Nobody else waits.

Nothing is kept here that is not in the tables: a hub that dies has its deliveries taken up by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import PurePath
from typing import Final, Protocol, TypeVar

import msgspec
import structlog

from vuka.channels.words import compose
from vuka.config import Notifications
from vuka.engine.keys import key_floor
from vuka.engine.notifications import (
    Attempt,
    NoteAttempts,
    Owed,
    Purged,
    PurgeNotifications,
    Route,
    TakeNotifications,
    anything_lost,
    anything_past,
    anything_to_take,
)
from vuka.engine.outbox import DeliveryState
from vuka.ledger.model import Ledger
from vuka.plugins import Channel, DeliveryError, Notification
from vuka.store import Tx
from vuka.switch.directory import Directory
from vuka.switch.work import Command, Outcome

log: Final = structlog.get_logger("vuka.notifications")

T = TypeVar("T")

LOST_MS: Final = 600_000
"""How long what is due may wait for a channel that one of several hub processes lacks: another may have it."""

FOREVER_MS: Final = 2**62

LEASE_SPARE_MS: Final = 5_000
"""How long after its time a delivery is still left to whoever has taken it."""

STOP_MS_MAX: Final = 2_000
"""How long a stop waits for deliveries under way: what takes longer is delivered again."""

QUIET_MS: Final = 30_000
"""How long no second line is written of a channel that fails."""

PURGE_EVERY_MS: Final = 60_000
DAY_MS: Final = 86_400_000

HUNG_MAX: Final = 100
"""Deliveries by a channel that hangs that fail in one tick."""

HANGS: Final = DeliveryError("all deliveries by this channel hang")


class OwnEngine(Protocol):
    """What a timer needs of the engine that it belongs to."""

    def read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        """What ``function`` finds in a snapshot."""

    async def run_own(self, command: Command) -> Outcome:
        """Runs a command of the engine's own; its outcome once it is durable."""


class NotificationOutcome(StrEnum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    RETRYING = "retrying"
    PARKED = "parked"


class _Lane:
    """A channel, and the threads that deliver by it."""

    def __init__(self, channel: Channel, at_once_max: int) -> None:
        self.channel = channel
        self._at_once_max = at_once_max
        self.busy = 0
        """Deliveries under way, and those about to be."""
        self.late: set[str] = set()
        """Those of them, by id, that have taken longer than a delivery may."""
        self.failed = 0
        """Attempts that failed since one succeeded."""
        self.told_ms: int | None = None
        """When a line was last written of that."""
        self.is_told = False
        """Whether the last line says that it fails."""

    @property
    def hangs(self) -> bool:
        """Whether none of its threads has come back in time."""
        return len(self.late) >= self._at_once_max

    @property
    def room(self) -> int:
        """How many more deliveries may begin."""
        return max(0, self._at_once_max - self.busy)


class Notifier:
    """Delivers what is owed by the channels of one hub. The engine's timer calls `tick`."""

    def __init__(
        self,
        channels: Sequence[Channel],
        settings: Notifications,
        engine: OwnEngine,
        *,
        clock_ms: Callable[[], int],
        attempted: Callable[[str, NotificationOutcome], None],
        is_alone: bool = True,
    ) -> None:
        """``attempted`` is told the channel and the outcome of each attempt.

        ``is_alone``: no other process delivers, so that a channel that is not here is nowhere.
        """
        self._settings = settings
        self._is_alone = is_alone
        self._engine = engine
        self._clock_ms = clock_ms
        self._attempted = attempted
        self._lanes = {channel.name: _Lane(channel, settings.at_once_max) for channel in channels}
        self.routes = tuple(Route.of(channel) for channel in channels)
        """Whom each channel reaches."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._looked_for_lost = False
        self._began_ms = clock_ms()
        self._purged_ms = 0
        self._closing = False

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels by name."""
        return tuple(self._lanes)

    def route(self, channel: str) -> Route | None:
        """Whom a channel reaches; None where there is none of that name."""
        return next((route for route in self.routes if route.channel == channel), None)

    # --- time -----------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Begins what is due, as far as there is room; returns without waiting for any of it."""
        if self._closing:
            return
        now_ms = self._clock_ms()
        # What hangs has no room, but what is due by it fails now, so that it does not wait for ever unseen.
        hung = {name for name, lane in self._lanes.items() if lane.hangs}
        room = {name: HUNG_MAX if name in hung else lane.room for name, lane in self._lanes.items()}
        if self._engine.read(lambda tx, _ledger, _directory: self._is_needed(tx, room, now_ms)):
            await self._take(room, hung, now_ms)
        await self._purge(now_ms)

    async def _take(self, room: dict[str, int], hung: set[str], now_ms: int) -> None:
        begun = {name: 0 if name in hung else free for name, free in room.items()}
        for name, free in begun.items():
            self._lanes[name].busy += free
        until_ms = now_ms + self._settings.timeout_ms + LEASE_SPARE_MS
        taken: list[Owed] = []
        try:
            command = TakeNotifications(
                routes=self.routes,
                room=room,
                until_ms=until_ms,
                attempts_max=self._settings.attempts_max,
                lost_before_ms=self._lost_before_ms(now_ms),
            )
            outcome = await self._engine.run_own(command)
            taken = outcome.value if isinstance(outcome.value, list) else []
        finally:
            for owed in taken:
                begun[owed.channel] -= 0 if owed.channel in hung else 1
            for name, free in begun.items():
                self._lanes[name].busy -= free
        self._looked_for_lost = True
        if self._closing:
            # They are due again when the time for which they were taken has passed.
            return
        for owed in taken:
            task = asyncio.create_task(self._deliver(owed, owed.channel in hung), name=f"vuka-notification-{owed.id}")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    def _is_needed(self, tx: Tx, room: dict[str, int], now_ms: int) -> bool:
        is_looked_for = not (self._is_alone and self._looked_for_lost)
        if is_looked_for and anything_lost(tx, self._lanes, self._lost_before_ms(now_ms)):
            return True
        self._looked_for_lost = True
        return anything_to_take(tx, room, now_ms)

    def _lost_before_ms(self, now_ms: int) -> int:
        """Where others deliver, one of them may have a channel that this one lacks: while a new one is being added.

        It may start after this one, when all of them were down and much is due since long before.
        """
        if self._is_alone:
            return FOREVER_MS
        return now_ms - LOST_MS if now_ms - self._began_ms >= LOST_MS else 0

    async def _purge(self, now_ms: int) -> None:
        if 0 <= now_ms - self._purged_ms < PURGE_EVERY_MS:
            return
        self._purged_ms = now_ms
        before, parked_before = (
            key_floor(now_ms - days * DAY_MS)
            for days in (self._settings.retention_days, self._settings.parked_retention_days)
        )
        while self._engine.read(lambda tx, _ledger, _directory: anything_past(tx, before, parked_before)):
            outcome = await self._engine.run_own(PurgeNotifications(before=before, parked_before=parked_before))
            if not isinstance(outcome.value, Purged) or not outcome.value.removed:
                return
            if outcome.value.parked:
                log.warning("parked notifications are removed: their time is over", deliveries=outcome.value.parked)

    async def close(self) -> None:
        """Begins nothing more, and waits a little for what is under way."""
        self._closing = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_MS_MAX / 1000)
        for task in list(self._under_way):
            task.cancel()

    # --- one delivery ---------------------------------------------------------------------------------------------

    async def _deliver(self, owed: Owed, hangs: bool) -> None:
        lane = self._lanes[owed.channel]
        try:
            error = HANGS if hangs else await self._try_owed(lane, owed)
            attempt = self._attempt_of(owed, error)
            self._tell(lane, owed, attempt, error)
            await self._engine.run_own(NoteAttempts(attempts=(attempt,)))
        except Exception:  # it is due again when the time for which it was taken has passed
            log.exception("a delivery of a notification failed", notification=owed.id, channel=owed.channel)

    async def _try_owed(self, lane: _Lane, owed: Owed) -> BaseException | None:
        if owed.id in lane.late:
            # It may arrive yet: another attempt beside it might be a second mail.
            lane.busy -= 1
            return DeliveryError("the attempt before has not ended")
        try:
            notification = compose(
                delivery_id=owed.id,
                kind=owed.kind,
                participant=owed.participant,
                recipient=owed.recipient,
                currency=owed.currency,
                created_ms=owed.created_ms,
                data=msgspec.json.decode(owed.data, type=dict[str, str]),
                scheme=owed.scheme,
            )
        except Exception as error:  # a defect of ours: it ends in the delivery's row, as a channel's does
            lane.busy -= 1
            return error
        return await self._try(lane, notification, owed.address, lambda: self._arrived_late(lane, owed))

    def _arrived_late(self, lane: _Lane, owed: Owed) -> None:
        """A delivery that was given up has arrived after all."""
        if self._closing:
            return
        task = asyncio.create_task(self._note_late(lane, owed), name=f"vuka-notification-{owed.id}-late")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _note_late(self, lane: _Lane, owed: Owed) -> None:
        try:
            attempt = self._attempt_of(owed, None)
            self._tell(lane, owed, attempt, None)
            await self._engine.run_own(NoteAttempts(attempts=(attempt,)))
        except Exception:
            log.exception("a delivery of a notification failed", notification=owed.id, channel=owed.channel)

    def _attempt_of(self, owed: Owed, error: BaseException | None) -> Attempt:
        settings, now_ms, attempts = self._settings, self._clock_ms(), owed.attempts
        state, next_ms = DeliveryState.DELIVERED, now_ms
        if error is not None:
            is_final = isinstance(error, DeliveryError) and error.is_final
            if is_final or attempts >= settings.attempts_max:
                state = DeliveryState.PARKED
            else:
                state = DeliveryState.PENDING
                # Doubling beyond any wait that may be configured would only make a large number.
                next_ms += min(settings.retry_max_ms, settings.retry_first_ms << min(attempts - 1, 40))
        return Attempt(
            notification_id=owed.notification_id,
            delivery_no=owed.delivery_no,
            state=state,
            attempts=attempts,
            next_ms=next_ms,
            error=None if error is None else _shown(error),
            at_ms=now_ms,
        )

    def _tell(self, lane: _Lane, owed: Owed, attempt: Attempt, error: BaseException | None) -> None:
        """Counts an attempt, and logs what operators should know: of a channel that fails one line in `QUIET_MS`."""
        self._attempted(lane.channel.name, _OUTCOMES[attempt.state])
        if error is None:
            if lane.is_told:
                log.info("notifications are delivered again", channel=lane.channel.name, failed=lane.failed)
            lane.failed, lane.is_told = 0, False
            return
        lane.failed += 1
        if lane.told_ms is not None and 0 <= attempt.at_ms - lane.told_ms < QUIET_MS:
            return
        lane.told_ms, lane.is_told = attempt.at_ms, True
        log.warning(
            "notifications can't be delivered",
            channel=lane.channel.name,
            notification=owed.id,
            participant=owed.participant,
            attempts=attempt.attempts,
            is_parked=attempt.state is DeliveryState.PARKED,
            failed=lane.failed,
            # What the other side said may name people: it is kept with the delivery.
            error=error.reason if isinstance(error, DeliveryError) else type(error).__name__,
            at=None if isinstance(error, DeliveryError) else _place(error),
        )

    async def try_now(self, notification: Notification, channel: str, address: str) -> None:
        """One attempt that is noted nowhere: an operator tries a channel. Raises `DeliveryError` where it fails."""
        lane = self._lanes[channel]
        if not lane.room:
            raise HANGS if lane.hangs else DeliveryError("the channel is busy: try again")
        lane.busy += 1
        error = await self._try(lane, notification, address)
        if isinstance(error, DeliveryError):
            raise error
        if error is not None:
            raise DeliveryError(_shown(error)) from error

    async def _try(
        self, lane: _Lane, notification: Notification, address: str, arrived_late: Callable[[], None] = lambda: None
    ) -> BaseException | None:
        """One attempt, in a thread, that the lane has counted as busy; what went wrong, if anything.

        ``arrived_late`` is called where it was given up and arrives after all.
        """
        ended = _begin(lane, notification, address)
        timeout_ms = self._settings.timeout_ms
        done, _ = await asyncio.wait({ended}, timeout=timeout_ms / 1000)
        if done:
            return ended.result()
        lane.late.add(notification.id)

        def end_late(late: asyncio.Future[BaseException | None]) -> None:
            lane.late.discard(notification.id)
            if late.result() is None:
                arrived_late()

        ended.add_done_callback(end_late)
        return DeliveryError(f"timed out after {timeout_ms} ms")


def _begin(lane: _Lane, notification: Notification, address: str) -> asyncio.Future[BaseException | None]:
    """Begins a delivery in a thread; the future has what it raised, if anything."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()

    def end(error: BaseException | None) -> None:
        lane.busy -= 1
        if not ended.done():
            ended.set_result(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            lane.channel.deliver(notification, address)
        except BaseException as failure:  # a plugin may raise anything: it ends in the delivery's row
            error = failure
        # Where the loop has ended, so has the hub.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(end, error)

    try:
        # A daemon: one that hangs must not keep the hub from ending.
        threading.Thread(target=run, name=f"vuka-{lane.channel.name}", daemon=True).start()
    except RuntimeError as error:
        end(error)
    return ended


_OUTCOMES: Final = {
    DeliveryState.DELIVERED: NotificationOutcome.DELIVERED,
    DeliveryState.PENDING: NotificationOutcome.RETRYING,
    DeliveryState.PARKED: NotificationOutcome.PARKED,
}


def _shown(error: BaseException) -> str:
    """Why, for operators."""
    return str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"


def _place(error: BaseException) -> str | None:
    """Where a plugin raised, without what: that may hold secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None
