"""The journal and the outbox: every message in and out, and what is still owed to whom.

A message that the hub owes is a row of ``message`` with a row of ``delivery`` beside it, both written in the
commit that made it owed. It is handed to the courier after that commit; when it has arrived the ``delivery`` row
says so. A start, or a drained queue, reads what is still ``PENDING``: a crash in between loses nothing and
at worst delivers twice, which FSPIOP allows (API 1.1 §3.2.5).

A body is stored once: what is forwarded refers to the message it came with (``body_of``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from vuka.engine.courier import Delivery
from vuka.engine.keys import NODE_OF_KEY
from vuka.ids import FspId
from vuka.store import Row, Tx
from vuka.switch.work import ErrorBody, Forward, Header, Inbound, Notice

TRACE_HEADERS: Final = frozenset(("traceparent", "tracestate", "baggage"))
"""The trace context: W3C Trace Context and Baggage."""

PURGE_MAX: Final = 2_000
"""Messages that one run of `purge` removes at most: a longer transaction would keep payments waiting."""


class DeliveryState(StrEnum):
    """Where a message that is owed stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    PARKED = "PARKED"


class Composed(msgspec.Struct, frozen=True):
    """A notice as it goes over the wire."""

    method: str
    path: str
    """What FSPIOP-URI says: the path from the resource on."""
    endpoint: str
    """The endpoint type of the participant that it goes to."""
    parameters: Mapping[str, str]
    headers: Sequence[Header]
    body: bytes | None


class Wire(Protocol):
    """How notices look on the wire: the one thing the engine is told by the API that owns it."""

    def compose(self, notice: Notice, now_ms: int) -> Composed:
        """Method, headers and body of a notice."""

    def answer_version(self, resource: str, headers: Sequence[Header]) -> str:
        """The highest version that a request, passed on with these headers, may be answered in."""

    def url(self, endpoints: Mapping[str, str], target: Target) -> str:
        """Where it goes. Raises `LookupError` with a sentence where the participant has no such endpoint."""


class Target(msgspec.Struct, frozen=True):
    """What a delivery carries to find its URL, and to tell its sender if it can't be delivered."""

    endpoint: str
    parameters: dict[str, str]
    path: str
    resource: str
    resource_id: str
    method: str
    source: FspId
    destination: str
    body_of: int | None
    written: bool
    """Whether the message has its row in the journal."""


class Outgoing(msgspec.Struct, frozen=True):
    """A notice made ready: the delivery for the courier, and what its rows hold."""

    delivery: Delivery
    target: Target
    at_ms: int
    error_code: str | None = None
    """What the hub itself refuses with, where the message says that."""


def make_outgoing(
    notice: Notice, composed: Composed, *, message_id: int, now_ms: int, durable: bool, journal: bool
) -> Outgoing:
    """Gives a composed notice its key and its place in the courier's queue."""
    body_of = notice.body.inbound.message_id if journal and isinstance(notice.body, Forward) else None
    target = Target(
        endpoint=composed.endpoint,
        parameters=dict(composed.parameters),
        path=composed.path,
        resource=notice.resource,
        resource_id=notice.body.inbound.resource_id if isinstance(notice.body, Forward) else notice.resource_id,
        method=composed.method,
        source=notice.source,
        destination=notice.destination or notice.to,
        body_of=body_of,
        written=durable or journal,
    )
    delivery = Delivery(
        id=message_id,
        to=notice.to,
        method=composed.method,
        headers=list(composed.headers),
        body=composed.body,
        deadline_ms=notice.deadline_ms,
        durable=durable,
        target=target,
        owed_ms=now_ms,
    )
    return Outgoing(delivery, target, now_ms, notice.body.code if isinstance(notice.body, ErrorBody) else None)


def with_trace_of_prepare(tx: Tx, notices: Sequence[Notice]) -> list[Notice]:
    """Gives what the hub says of transfers by itself, when they expire, the trace context of their prepares.

    Each prepare is in the journal with its headers; where there is no journal nothing is added.
    """
    wanted = {each.resource_id for each in notices if _lacks_trace(each)}
    rows = tx.query_in(
        """SELECT resource_id, headers FROM message
           WHERE direction = 'in' AND method = 'POST' AND resource = 'transfers' AND resource_id IN {values}
           ORDER BY message_id DESC""",
        sorted(wanted),
    )
    # The first message of that id is the last of these rows: it counts.
    traces = {resource_id: traces_of(msgspec.json.decode(headers, type=list[Header])) for resource_id, headers in rows}
    return [
        msgspec.structs.replace(each, trace=traces.get(each.resource_id, ())) if _lacks_trace(each) else each
        for each in notices
    ]


def _lacks_trace(notice: Notice) -> bool:
    return notice.resource == "transfers" and not notice.trace and not isinstance(notice.body, Forward)


def traces_of(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The trace context among headers, to pass on."""
    return tuple((name.lower(), value) for name, value in headers if name.lower() in TRACE_HEADERS)


_INSERT_MESSAGE: Final = """INSERT INTO message
    (message_id, at_ms, direction, source, destination, method, path, resource, resource_id, headers, body, body_of,
     outcome)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_INSERT_DELIVERY: Final = """INSERT INTO delivery
    (message_id, participant, endpoint, parameters, deadline_ms, state, attempts, status, error, updated_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def write_received(tx: Tx, messages: Iterable[tuple[Inbound, str]]) -> None:
    """Journals messages that came in, each with what the hub did with it.

    What a batch has journalled stays as it is when the API records the same message as refused.
    """
    tx.run_many(
        f"{_INSERT_MESSAGE} ON CONFLICT (message_id) DO NOTHING",
        [
            (
                inbound.message_id,
                inbound.received_ms,
                "in",
                inbound.source,
                inbound.destination or "",
                inbound.method,
                inbound.path,
                inbound.resource,
                inbound.resource_id,
                _json(inbound.headers),
                inbound.body or None,
                None,
                outcome,
            )
            for inbound, outcome in messages
        ],
    )


def write_sent(tx: Tx, messages: Iterable[Outgoing]) -> None:
    """Journals messages that go out."""
    tx.run_many(
        _INSERT_MESSAGE,
        [
            (
                each.delivery.id,
                each.at_ms,
                "out",
                each.target.source,
                each.target.destination,
                each.target.method,
                each.target.path,
                each.target.resource,
                each.target.resource_id,
                _json(each.delivery.headers),
                each.delivery.body if each.target.body_of is None else None,
                each.target.body_of,
                "sent",
            )
            for each in messages
        ],
    )


def write_owed(tx: Tx, messages: Iterable[Outgoing]) -> None:
    """Writes what the hub owes: durable from this commit on, until it is delivered or parked."""
    tx.run_many(
        _INSERT_DELIVERY,
        [
            (
                each.delivery.id,
                each.delivery.to,
                each.target.endpoint,
                _json(each.target.parameters),
                each.delivery.deadline_ms,
                DeliveryState.PENDING.value,
                0,
                None,
                None,
                each.at_ms,
            )
            for each in messages
        ],
    )


class Mark(msgspec.Struct, frozen=True):
    """What became of a delivery, to be written with the next batch."""

    delivery: Delivery
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    at_ms: int


def write_marks(tx: Tx, marks: Sequence[Mark], *, journal: bool) -> None:
    """Notes what became of deliveries. Without a journal, what has arrived leaves no row behind."""
    routed: list[Mark] = []
    updates: list[Mark] = []
    gone: list[tuple[int]] = []
    for mark in marks:
        if not mark.delivery.durable:
            routed.append(mark)
        elif not journal and mark.state is DeliveryState.DELIVERED:
            gone.append((mark.delivery.id,))
        else:
            updates.append(mark)
    if gone:
        tx.run_many("DELETE FROM delivery WHERE message_id = ?", gone)
        tx.run_many("DELETE FROM message WHERE message_id = ?", gone)
    tx.run_many(
        "UPDATE delivery SET state = ?, attempts = ?, status = ?, error = ?, updated_ms = ? WHERE message_id = ?",
        [(mark.state.value, mark.attempts, mark.status, mark.error, mark.at_ms, mark.delivery.id) for mark in updates],
    )
    for mark in routed:
        _write_routed_mark(tx, mark, journal=journal)


def _write_routed_mark(tx: Tx, mark: Mark, *, journal: bool) -> None:
    """A message that was only routed gets its row now: with a journal always, without one only when it is parked."""
    target = mark.delivery.target
    if not isinstance(target, Target) or (not journal and mark.state is not DeliveryState.PARKED):
        return
    if not journal:
        write_sent(tx, [Outgoing(mark.delivery, target, mark.at_ms)])
    tx.run("DELETE FROM delivery WHERE message_id = ?", (mark.delivery.id,))
    tx.run(
        _INSERT_DELIVERY,
        (
            mark.delivery.id,
            mark.delivery.to,
            target.endpoint,
            _json(target.parameters),
            mark.delivery.deadline_ms,
            # What was only routed is not sent again after a crash: the requester asks again.
            mark.state.value if mark.state is not DeliveryState.PENDING else DeliveryState.PARKED.value,
            mark.attempts,
            mark.status,
            mark.error,
            mark.at_ms,
        ),
    )


_SELECT_OWED: Final = """SELECT d.message_id, d.participant, d.endpoint, d.parameters, d.deadline_ms, d.attempts,
    m.method, m.path, m.source, m.destination, m.resource, m.resource_id, m.headers, m.body, m.body_of, b.body, m.at_ms
    FROM delivery d
    JOIN message m ON m.message_id = d.message_id
    LEFT JOIN message b ON b.message_id = m.body_of"""


def participants_owed(tx: Tx, *, node: int | None = None) -> list[str]:
    """Who is still owed a message, under the number of one node where that is given."""
    under, parameters = _under(node)
    # The first condition is that of the index, which holds only what is open.
    rows = tx.query(
        f"SELECT DISTINCT d.participant FROM delivery d WHERE d.state <> 'DELIVERED' AND d.state = 'PENDING' {under}",
        parameters,
    )
    return [name for (name,) in rows]


def load_owed(tx: Tx, participant: str, *, after: int, limit: int, node: int | None = None) -> list[Delivery]:
    """What is still owed to a participant, oldest first, from the message after ``after`` on.

    Where a node is given, only what is owed under its number.
    """
    under, parameters = _under(node)
    rows = tx.query(
        f"""{_SELECT_OWED}
            WHERE d.participant = ? AND d.state <> 'DELIVERED' AND d.state = 'PENDING' AND d.message_id > ? {under}
            ORDER BY d.message_id LIMIT ?""",
        (participant, after, *parameters, limit),
    )
    return [_delivery(row) for row in rows]


def _under(node: int | None) -> tuple[str, tuple[int, ...]]:
    return ("", ()) if node is None else (f"AND {NODE_OF_KEY.format('d.message_id')} = ?", (node,))


def load_one(tx: Tx, message_id: int) -> Delivery | None:
    """One message that is owed or parked."""
    rows = tx.query(f"{_SELECT_OWED} WHERE d.message_id = ? AND d.state <> 'DELIVERED'", (message_id,))
    return _delivery(rows[0]) if rows else None


def _delivery(row: Row) -> Delivery:
    (message_id, participant, endpoint, parameters, deadline_ms, attempts, method, path, source, destination) = row[:10]
    (resource, resource_id, headers, body, body_of, shared_body, owed_ms) = row[10:]
    return Delivery(
        id=message_id,
        to=participant,
        method=method,
        headers=msgspec.json.decode(headers, type=list[tuple[str, str]]),
        body=body if body_of is None else shared_body,
        deadline_ms=deadline_ms,
        durable=True,
        attempts=attempts,
        target=Target(
            endpoint=endpoint,
            parameters=msgspec.json.decode(parameters, type=dict[str, str]),
            path=path,
            resource=resource,
            resource_id=resource_id,
            method=method,
            source=FspId(source),
            destination=destination,
            body_of=body_of,
            written=True,
        ),
        owed_ms=owed_ms,
    )


class Parked(msgspec.Struct, frozen=True):
    """A message that could not be delivered while it mattered, as operators see it."""

    message_id: int
    participant: str
    method: str
    path: str
    attempts: int
    status: int | None
    error: str | None
    at_ms: int


def parked(tx: Tx, *, participant: str | None = None, limit: int = 100) -> list[Parked]:
    """What is parked, the newest first."""
    condition, parameters = ("AND d.participant = ?", (participant,)) if participant is not None else ("", ())
    rows = tx.query(
        f"""SELECT d.message_id, d.participant, m.method, m.path, d.attempts, d.status, d.error, d.updated_ms
            FROM delivery d JOIN message m ON m.message_id = d.message_id
            WHERE d.state <> 'DELIVERED' AND d.state = 'PARKED' {condition}
            ORDER BY d.message_id DESC LIMIT ?""",
        (*parameters, limit),
    )
    return [Parked(*row) for row in rows]


def parked_counts(tx: Tx) -> dict[str, int]:
    """How many messages are parked, by participant."""
    rows = tx.query(
        """SELECT participant, COUNT(*) FROM delivery
           WHERE state <> 'DELIVERED' AND state = 'PARKED' GROUP BY participant"""
    )
    return {str(participant): int(count) for participant, count in rows}


def unpark(tx: Tx, message_id: int, *, deadline_ms: int, now_ms: int) -> bool:
    """Makes a parked message owed again. False where there is no such parked message."""
    touched = tx.run(
        """UPDATE delivery SET state = 'PENDING', attempts = 0, deadline_ms = ?, updated_ms = ?
           WHERE message_id = ? AND state = 'PARKED'""",
        (deadline_ms, now_ms, message_id),
    )
    return touched > 0


def purge(tx: Tx, before: int) -> int:
    """Removes messages older than the key ``before``, some at a time; the number removed.

    What is still owed or parked stays, with the message whose body it needs.
    """
    rows = tx.query(
        """SELECT message_id FROM message
           WHERE message_id < ?
             AND message_id NOT IN (SELECT message_id FROM delivery WHERE state <> 'DELIVERED')
             AND message_id NOT IN (
                 SELECT m.body_of FROM message m JOIN delivery d ON d.message_id = m.message_id
                 WHERE d.state <> 'DELIVERED' AND m.body_of IS NOT NULL)
           ORDER BY message_id LIMIT ?""",
        (before, PURGE_MAX),
    )
    tx.run_many("DELETE FROM delivery WHERE message_id = ?", rows)
    tx.run_many("DELETE FROM message WHERE message_id = ?", rows)
    return len(rows)
