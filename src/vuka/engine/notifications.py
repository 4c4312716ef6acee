"""The records of notifications: who is told what by which channel, and what became of it.

A notification is written by the switch, in the commit of what it tells. It is *distributed* in a later one: each
channel gets a delivery for each recipient that it can reach, the participant and the hub. A delivery that is due is
*taken*: put off by a while in the same commit, so that no other process takes it, and due again if this one dies before
it has noted what became of it. Whoever was told then is told again, under the same id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from vuka.engine.batch import use_case
from vuka.engine.outbox import DeliveryState
from vuka.errors import OperatorError
from vuka.ids import HUB
from vuka.plugins import Channel
from vuka.store import Tx, Value
from vuka.switch.work import Command, Outcome, Work

DISTRIBUTED_MAX: Final = 200
"""Notifications that one command distributes at most: the timer asks again."""

PURGE_MAX: Final = 1_000
"""Notifications that one command removes at most: a longer transaction would keep payments waiting."""

ERROR_LENGTH_MAX: Final = 300


class Route(msgspec.Struct, frozen=True):
    """Whom a channel reaches: what distributing needs to know of it."""

    channel: str
    endpoints: Mapping[str, str] | None
    tells_participants: bool

    @classmethod
    def of(cls, channel: Channel) -> Route:
        """That of a channel."""
        return cls(channel.name, channel.endpoints, channel.tells_participants)

    def address(self, kind: str, endpoints: Mapping[str, str]) -> str | None:
        """Where a recipient with these endpoints is told of a kind; None: not by this channel."""
        if self.endpoints is None:
            return ""
        return endpoints.get(self.endpoints.get(kind, "")) or None


class Owed(msgspec.Struct, frozen=True):
    """A delivery that was taken, to be attempted now."""

    notification_id: int
    delivery_no: int
    channel: str
    recipient: str
    address: str
    attempts: int
    """This one included: what kills the process counts too, so that it does not do so for ever."""
    kind: str
    participant: str
    currency: str
    data: str
    created_ms: int
    scheme: str = ""

    @property
    def id(self) -> str:
        """What the receiver knows it by."""
        return delivery_id(self.notification_id, self.delivery_no)


def delivery_id(notification_id: int, delivery_no: int) -> str:
    """What the receiver of a delivery knows it by."""
    return f"{notification_id}-{delivery_no}"


class Attempt(msgspec.Struct, frozen=True):
    """What became of an attempt."""

    notification_id: int
    delivery_no: int
    state: DeliveryState
    attempts: int
    next_ms: int
    error: str | None
    at_ms: int


class TakeNotifications(Command, frozen=True, kw_only=True):
    """The timer: distributes what is new, and takes what is due."""

    routes: tuple[Route, ...]
    room: Mapping[str, int]
    """How many deliveries each channel can begin now."""
    until_ms: int
    """Until when nobody else takes them."""
    attempts_max: int
    """After how many attempts nobody takes one any more."""
    lost_before_ms: int
    """What is due since before then, by a channel that is none of the routes', has no channel any more."""


class NoteAttempts(Command, frozen=True, kw_only=True):
    """What became of deliveries."""

    attempts: tuple[Attempt, ...]


class ResendNotifications(Command, frozen=True, kw_only=True):
    """An operator has parked deliveries attempted again: of one notification, or of all."""

    notification_id: int | None
    channel: str | None
    """Those by this channel only."""
    channels: tuple[str, ...]
    """The channels that the hub has."""


class PurgeNotifications(Command, frozen=True, kw_only=True):
    """The timer removes notifications past their retention time; what is still to be delivered stays."""

    before: int
    """Those older than this key, of which nothing is parked."""
    parked_before: int
    """Those older than this key and the other one."""


class Purged(msgspec.Struct, frozen=True):
    """What one command has removed."""

    removed: int
    """Notifications."""
    parked: int
    """Their deliveries that were parked to the last: nobody was told."""


# --- distributing and taking --------------------------------------------------------------------------------------

_OPEN: Final = "state <> 'DELIVERED' AND state"
"""The first condition is that of the index, which holds only what is open."""


def anything_to_take(tx: Tx, room: Mapping[str, int], now_ms: int) -> bool:
    """Whether there is anything new, or anything due by a channel that has room."""
    if tx.query("SELECT 1 FROM notification WHERE distributed_ms IS NULL LIMIT 1"):
        return True
    return any(
        tx.query(
            f"SELECT 1 FROM notification_delivery WHERE {_OPEN} = 'PENDING' AND channel = ? AND next_ms <= ? LIMIT 1",
            (channel, now_ms),
        )
        for channel, free in room.items()
        if free > 0
    )


def anything_lost(tx: Tx, channels: Collection[str], before_ms: int) -> bool:
    """Whether anything due before then waits for a channel that the hub does not have (any more)."""
    rows = tx.query(
        f"SELECT DISTINCT channel FROM notification_delivery WHERE {_OPEN} = 'PENDING' AND next_ms < ?", (before_ms,)
    )
    return any(channel not in channels for (channel,) in rows)


def _take(work: Work, commands: Sequence[TakeNotifications]) -> list[Outcome]:
    """The outcome's value is a list of `Owed`."""
    return [Outcome(value=_take_for(work, command)) for command in commands]


def _take_for(work: Work, command: TakeNotifications) -> list[Owed]:
    _distribute(work, command.routes)
    _park_lost(work, [route.channel for route in command.routes], command.lost_before_ms)
    _park_unnoted(work, command.attempts_max)
    by_channel = {route.channel: route for route in command.routes}
    taken: list[Owed] = []
    for channel, free in command.room.items():
        for row in work.tx.query(
            """SELECT d.notification_id, d.delivery_no, d.channel, d.recipient, d.address, d.attempts + 1,
                       n.kind, n.participant, n.currency, n.data, n.created_ms
                FROM notification_delivery d JOIN notification n ON n.notification_id = d.notification_id
                WHERE d.state <> 'DELIVERED' AND d.state = 'PENDING' AND d.channel = ? AND d.next_ms <= ?
                ORDER BY d.next_ms, d.notification_id, d.delivery_no LIMIT ?""",
            (channel, work.now_ms, free),
        ):
            taken.append(_at_its_address(work, Owed(*row), by_channel[channel]))
    work.tx.run_many(
        """UPDATE notification_delivery SET next_ms = ?, address = ?, attempts = ?
           WHERE notification_id = ? AND delivery_no = ?""",
        [(command.until_ms, each.address, each.attempts, each.notification_id, each.delivery_no) for each in taken],
    )
    return taken


def _at_its_address(work: Work, owed: Owed, route: Route) -> Owed:
    """Where the recipient is reached now: its endpoint may be another one than when the delivery was made."""
    recipient = work.directory.get(owed.recipient)
    address = route.address(owed.kind, recipient.endpoints) if recipient is not None else None
    return msgspec.structs.replace(
        owed, address=owed.address if address is None else address, scheme=work.directory.scheme_name
    )


def _distribute(work: Work, routes: Sequence[Route]) -> None:
    """Makes the deliveries of notifications that have none yet."""
    new = work.tx.query(
        """SELECT notification_id, kind, participant FROM notification WHERE distributed_ms IS NULL
           ORDER BY notification_id LIMIT ?""",
        (DISTRIBUTED_MAX,),
    )
    rows: list[tuple[Value, ...]] = []
    for notification_id, kind, participant in new:
        made = 0
        for route in routes:
            for recipient in (participant, HUB) if route.tells_participants else (HUB,):
                told = work.directory.get(recipient)
                address = route.address(kind, told.endpoints) if told is not None else None
                if address is None:
                    continue
                made += 1
                rows.append((notification_id, made, route.channel, recipient, address, work.now_ms, work.now_ms))
    work.tx.run_many(
        """INSERT INTO notification_delivery
               (notification_id, delivery_no, channel, recipient, address, state, attempts, next_ms, error, updated_ms)
           VALUES (?, ?, ?, ?, ?, 'PENDING', 0, ?, NULL, ?)""",
        rows,
    )
    work.tx.run_many(
        "UPDATE notification SET distributed_ms = ? WHERE notification_id = ?",
        [(work.now_ms, notification_id) for notification_id, _, _ in new],
    )


def _park_lost(work: Work, channels: Sequence[str], before_ms: int) -> None:
    """What waits for a channel that is gone would wait for ever, and nobody would see it."""
    known = f"AND channel NOT IN ({', '.join('?' * len(channels))})" if channels else ""
    work.tx.run(
        f"""UPDATE notification_delivery SET state = 'PARKED', error = 'the hub has no channel of that name',
                   updated_ms = ?
            WHERE {_OPEN} = 'PENDING' AND next_ms < ? {known}""",
        (work.now_ms, before_ms, *channels),
    )


def _park_unnoted(work: Work, attempts_max: int) -> None:
    """What was attempted often enough, and every time by a process that died before it could say what became of it."""
    work.tx.run(
        f"""UPDATE notification_delivery SET state = 'PARKED', error = 'the hub has died at each attempt',
                   updated_ms = ?
            WHERE {_OPEN} = 'PENDING' AND next_ms <= ? AND attempts >= ?""",
        (work.now_ms, work.now_ms, attempts_max),
    )


# --- what became of it --------------------------------------------------------------------------------------------


def _note(work: Work, commands: Sequence[NoteAttempts]) -> list[Outcome]:
    """A failure is noted of what is still pending; that something has arrived, whatever was thought of it meanwhile."""
    work.tx.run_many(
        """UPDATE notification_delivery SET state = ?, attempts = ?, next_ms = ?, error = ?, updated_ms = ?
           WHERE notification_id = ? AND delivery_no = ? AND state IN ('PENDING', ?)""",
        [
            (
                each.state.value,
                each.attempts,
                each.next_ms,
                None if each.error is None else each.error[:ERROR_LENGTH_MAX],
                each.at_ms,
                each.notification_id,
                each.delivery_no,
                "PARKED" if each.state is DeliveryState.DELIVERED else "PENDING",
            )
            for command in commands
            for each in command.attempts
        ],
    )
    return [Outcome() for _ in commands]


def _resend(work: Work, commands: Sequence[ResendNotifications]) -> list[Outcome]:
    """The outcome's value is how many deliveries are on their way again."""
    return [_resend_one(work, command) for command in commands]


def _resend_one(work: Work, command: ResendNotifications) -> Outcome:
    if command.channel is not None and command.channel not in command.channels:
        return Outcome(error=OperatorError(f"There is no channel {command.channel[:40]}."))
    asked: list[tuple[str, Value]] = []
    if command.notification_id is not None:
        asked.append(("notification_id = ?", command.notification_id))
    if command.channel is not None:
        asked.append(("channel = ?", command.channel))
    conditions = "".join(f" AND {condition}" for condition, _ in asked)
    known = ", ".join("?" * len(command.channels))
    touched = 0
    if command.channels:
        touched = work.tx.run(
            f"""UPDATE notification_delivery SET state = 'PENDING', attempts = 0, next_ms = ?, updated_ms = ?
                WHERE {_OPEN} = 'PARKED' {conditions} AND channel IN ({known})""",
            (work.now_ms, work.now_ms, *(value for _, value in asked), *command.channels),
        )
    if touched or command.notification_id is None:
        return Outcome(value=touched, note=f"{touched} notifications unparked")
    return Outcome(error=OperatorError(f"No delivery of notification {command.notification_id} is parked."))


# --- retention ----------------------------------------------------------------------------------------------------

_PAST: Final = """
    FROM notification n
    WHERE n.notification_id < ? AND n.distributed_ms IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM notification_delivery d
                      WHERE d.notification_id = n.notification_id AND d.state <> 'DELIVERED'
                        AND (d.state <> 'PARKED' OR n.notification_id >= ?))"""


def anything_past(tx: Tx, before: int, parked_before: int) -> bool:
    """Whether there is anything that `PurgeNotifications` of these keys removes."""
    return bool(tx.query(f"SELECT 1 {_PAST} LIMIT 1", (before, parked_before)))


def _purge(work: Work, commands: Sequence[PurgeNotifications]) -> list[Outcome]:
    """The outcome's value is `Purged`."""
    return [Outcome(value=_purge_past(work.tx, command)) for command in commands]


def _purge_past(tx: Tx, command: PurgeNotifications) -> Purged:
    rows = tx.query(
        f"SELECT n.notification_id {_PAST} ORDER BY n.notification_id LIMIT ?",
        (command.before, command.parked_before, PURGE_MAX),
    )
    ids = [notification_id for (notification_id,) in rows]
    parked = tx.query_in(
        f"SELECT notification_id FROM notification_delivery WHERE {_OPEN} = 'PARKED' AND notification_id IN {{values}}",
        ids,
    )
    tx.run_many("DELETE FROM notification_delivery WHERE notification_id = ?", rows)
    tx.run_many("DELETE FROM notification WHERE notification_id = ?", rows)
    return Purged(len(rows), len(parked))


# --- reading ------------------------------------------------------------------------------------------------------


class DeliveryView(msgspec.Struct, frozen=True):
    """A delivery as operators see it."""

    id: str
    channel: str
    recipient: str
    address: str
    state: str
    attempts: int
    next_ms: int
    error: str | None
    updated_ms: int


class NotificationView(msgspec.Struct, frozen=True):
    """A notification as operators see it."""

    notification_id: int
    kind: str
    participant: str
    currency: str
    data: dict[str, str]
    created_ms: int
    deliveries: tuple[DeliveryView, ...]


class NotificationFilter(msgspec.Struct, frozen=True):
    """Which notifications are asked for; None asks for nothing."""

    state: str | None = None
    """Those with a delivery in that state."""
    kind: str | None = None
    participant: str | None = None
    before: int | None = None
    """Those older than this one."""


_HAS: Final = """EXISTS (SELECT 1 FROM notification_delivery d
            WHERE d.notification_id = n.notification_id AND d.state = ?)"""
_HAS_OPEN: Final = f"n.notification_id IN (SELECT notification_id FROM notification_delivery WHERE {_OPEN} = ?)"
"""What is open is seldom: it is found by its index, and not by looking through everything."""


def notifications(tx: Tx, asked: NotificationFilter, limit: int) -> list[NotificationView]:
    """The notifications that a filter lets through, the newest first."""
    where: list[tuple[str, Value]] = [
        (condition, value)
        for condition, value in (
            ("n.kind = ?", asked.kind),
            ("n.participant = ?", asked.participant),
            ("n.notification_id < ?", asked.before),
        )
        if value is not None
    ]
    if asked.state is not None:
        where.append((_HAS_OPEN if asked.state != DeliveryState.DELIVERED else _HAS, asked.state))
    conditions = " AND ".join(condition for condition, _ in where) or "1 = 1"
    rows = tx.query(
        f"""SELECT n.notification_id, n.kind, n.participant, n.currency, n.data, n.created_ms FROM notification n
            WHERE {conditions} ORDER BY n.notification_id DESC LIMIT ?""",
        [*(value for _, value in where), limit],
    )
    deliveries: dict[int, list[DeliveryView]] = {}
    for notification_id, delivery_no, *columns in sorted(
        tx.query_in(
            """SELECT notification_id, delivery_no, channel, recipient, address, state, attempts, next_ms, error,
                      updated_ms
               FROM notification_delivery WHERE notification_id IN {values}""",
            [row[0] for row in rows],
        ),
        key=lambda row: row[:2],
    ):
        view = DeliveryView(delivery_id(notification_id, delivery_no), *columns)
        deliveries.setdefault(notification_id, []).append(view)
    return [
        NotificationView(
            notification_id,
            kind,
            participant,
            currency,
            msgspec.json.decode(data, type=dict[str, str]),
            created_ms,
            tuple(deliveries.get(notification_id, ())),
        )
        for notification_id, kind, participant, currency, data, created_ms in rows
    ]


def notification(tx: Tx, notification_id: int) -> NotificationView | None:
    """The notification of that number."""
    found = notifications(tx, NotificationFilter(before=notification_id + 1), 1)
    return found[0] if found and found[0].notification_id == notification_id else None


def parked_counts(tx: Tx) -> dict[str, int]:
    """How many deliveries by each channel are parked."""
    rows = tx.query(f"SELECT channel, COUNT(*) FROM notification_delivery WHERE {_OPEN} = 'PARKED' GROUP BY channel")
    return {str(channel): int(count) for channel, count in rows}


USE_CASES: Final = (
    use_case(_resend, ResendNotifications),
    use_case(_note, NoteAttempts),
    use_case(_take, TakeNotifications),
    use_case(_purge, PurgeNotifications),
)
"""What the engine decides about its own deliveries, in the order in which one batch takes them."""
