"""The outbox: what the hub owes to whom, from the commit that makes it owed until it has arrived or is parked.

What a batch owes is in its block of the journal (`vuka.switch.journal`), and is handed to the courier after the commit.
Most of it arrives at once: a later block says so, and that is all. What does not, because its participant fails, is
slow or has a full queue, gets a row of ``delivery`` with everything that is needed to send it again. Each block says
up to which block everything has arrived or has a row (``settled``): after a crash only the blocks after that one are
read, and what they owe gets its rows (`settle`). A crash loses nothing and at worst delivers twice, which FSPIOP allows
(API 1.1 §3.2.5).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from vuka.engine.courier import Delivery
from vuka.engine.keys import NODE_OF_KEY, key_time_ms
from vuka.store import Row, Tx, Value
from vuka.switch import journal
from vuka.switch.journal import Block, Marked, Received, Sent, decode_sent, encode_sent, subject_of
from vuka.switch.work import ErrorBody, Forward, Header, Inbound, Notice

TRACE_HEADERS: Final = frozenset(("traceparent", "tracestate", "baggage"))
"""The trace context: W3C Trace Context and Baggage."""

YOUNG_MS: Final = 2_000
"""How long what is owed may be known by its block alone; after that it gets a row."""


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

    def url(self, endpoints: Mapping[str, str], target: Sent) -> str:
        """Where it goes. Raises `LookupError` with a sentence where the participant has no such endpoint."""


class Outgoing(msgspec.Struct, frozen=True):
    """A notice made ready: the delivery for the courier, and what the journal holds of it."""

    delivery: Delivery
    target: Sent
    error_code: str | None = None
    """What the hub itself refuses with, where the message says that."""


def make_outgoing(
    notice: Notice,
    composed: Composed,
    *,
    message_id: int,
    now_ms: int,
    durable: bool,
    keeps_journal: bool,
    filed: Mapping[tuple[str, str], int] = {},
) -> Outgoing:
    """Gives a composed notice its key and its place in the courier's queue.

    ``filed`` has the keys of records by resource and id: what is about none of them is filed under the hash of its id.
    """
    body = notice.body
    forwarded = body.inbound if isinstance(body, Forward) else None
    resource_id = notice.resource_id if forwarded is None else forwarded.resource_id
    body_of = forwarded.message_id if forwarded is not None and keeps_journal else None
    subject = filed.get((notice.resource, resource_id))
    target = Sent(
        message_id=message_id,
        at_ms=now_ms,
        source=notice.source,
        destination=notice.destination or notice.to,
        method=composed.method,
        path=composed.path,
        resource=notice.resource,
        resource_id=resource_id,
        headers=composed.headers,
        body=composed.body if body_of is None else None,
        body_of=body_of,
        to=notice.to,
        endpoint=composed.endpoint,
        parameters=composed.parameters,
        deadline_ms=notice.deadline_ms,
        is_owed=durable,
        subject=subject_of(resource_id) if subject is None else subject,
    )
    delivery = Delivery(
        id=message_id,
        to=notice.to,
        method=composed.method,
        headers=composed.headers,
        body=composed.body,
        deadline_ms=notice.deadline_ms,
        durable=durable,
        target=target,
        owed_ms=now_ms,
    )
    return Outgoing(delivery, target, body.code if isinstance(body, ErrorBody) else None)


def traces_of(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The trace context among headers, to pass on."""
    return tuple((name.lower(), value) for name, value in headers if name.lower() in TRACE_HEADERS)


class Mark(msgspec.Struct, frozen=True):
    """What became of a delivery, to be written with the next batch."""

    delivery: Delivery
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    at_ms: int


class Entries(msgspec.Struct, frozen=True):
    """What one batch has for the journal."""

    received: Sequence[tuple[Inbound, str]]
    """What came in, each with what the hub did with it; the first word about a message counts."""
    routed: Sequence[Outgoing]
    """What was passed on at once."""
    owed: Sequence[Outgoing]
    marks: Sequence[Mark]
    filed: Mapping[tuple[str, str], int] = {}
    """Which records the messages are about: the keys of these by resource and the id in the messages."""


class Written(msgspec.Struct, frozen=True):
    """What a batch has written into journal and outbox: to be told to `Outbox.committed` when it is durable."""

    block_id: int
    young: Sequence[Outgoing]
    """What it owes and has no row for."""
    gone: Collection[int]
    """What earlier batches owe and have a block alone for no more: it has arrived, is parked, or has a row now."""


class _Everybody(Container[str]):
    def __contains__(self, _name: object) -> bool:
        return True


EVERYBODY: Final = _Everybody()
"""Those who are read for from the table, where that is all: for several batches in one transaction."""


class Outbox:
    """What one process owes by its blocks alone: little, and not for long.

    It changes between batches only: `write` reads it and may run in another thread.
    """

    def __init__(self, *, node: int = 0, keeps_journal: bool = True) -> None:
        self.node = node
        self.keeps_journal = keeps_journal
        # By block, the oldest first.
        self._young: dict[int, dict[int, Outgoing]] = {}
        self._block_of: dict[int, int] = {}
        # Who could not be given what a block owes, since his queue is full: it must have rows before he is read for.
        self._stranded: dict[str, set[int]] = {}
        self.is_in_doubt = False
        """Whether nobody knows if the last batch is durable: the next one looks what is owed."""
        self.left_behind: Collection[int] = ()
        """Nodes of before that owe something by their blocks alone, which could not be given rows at the start."""

    def write(
        self, tx: Tx, entries: Entries, *, block_id: int, now_ms: int, behind: Container[str] = ()
    ) -> Written | None:
        """Writes a block, and rows for what did not arrive at once; None where there is nothing to write.

        Whoever is in ``behind`` is read for from the table: what he is owed has its row from the beginning.
        """
        if self.is_in_doubt:
            for node in (self.node, *self.left_behind):
                settle(tx, node, now_ms=now_ms)
        ended = {mark.delivery.id for mark in entries.marks}
        late = [each for each in self._late(now_ms) if each.delivery.id not in ended]
        held = [each for each in entries.owed if each.delivery.to in behind]
        # By message: of two attempts in one batch the last counts.
        rows = {
            each.delivery.id: _row(each.delivery, each.target, DeliveryState.PENDING, now_ms) for each in (*late, *held)
        }
        marked: list[Marked] = []
        delivered: list[tuple[int]] = []
        for mark in entries.marks:
            delivery, target = mark.delivery, mark.delivery.target
            if mark.state is not DeliveryState.DELIVERED:
                if isinstance(target, Sent):
                    rows[delivery.id] = _row(delivery, target, mark.state, mark.at_ms, mark)
            elif delivery.has_row or self.is_in_doubt:
                delivered.append((delivery.id,))
            if mark.state is not DeliveryState.PENDING and (delivery.durable or self.keeps_journal):
                state = mark.state._value_
                marked.append(Marked(delivery.id, state, mark.attempts, mark.status, mark.error, mark.at_ms))
        if rows:
            tx.run_many(_UPSERT, list(rows.values()))
        if delivered:
            tx.run_many("DELETE FROM delivery WHERE message_id = ?", delivered)
        received, sent = self._messages(entries)
        if not (received or sent or marked or rows or self.is_in_doubt):
            return None
        gone = ended.union(each.delivery.id for each in late)
        young = [each for each in entries.owed if not each.delivery.has_row]
        settled = None if self.is_in_doubt else self._settled(gone)
        if settled is None:
            settled = block_id - 1 if young else block_id
        block = Block(received, sent, marked, _subjects(entries, received, sent, block_id))
        journal.write(tx, block_id, block, node=self.node, settled=settled)
        if not self.keeps_journal:
            journal.forget(tx, self.node, min(settled, block_id - 1))
        return Written(block_id, young, gone)

    def _messages(self, entries: Entries) -> tuple[list[Received], list[Sent]]:
        """What came in and goes out, as a block has it; without a journal only what is owed."""
        if not self.keeps_journal:
            return [], [each.target for each in entries.owed if not each.delivery.has_row]
        received: dict[int, Received] = {}
        for inbound, outcome in entries.received:
            if inbound.message_id not in received:
                received[inbound.message_id] = _received(inbound, outcome)
        sent = [each.target for each in entries.routed]
        sent += [each.target for each in entries.owed]
        return list(received.values()), sent

    def _settled(self, gone: Collection[int]) -> int | None:
        """Up to which block everything has arrived or has a row once ``gone`` has; None: up to the last."""
        for block_id, messages in self._young.items():
            if any(message_id not in gone for message_id in messages):
                return block_id - 1
        return None

    def _late(self, now_ms: int) -> list[Outgoing]:
        """What has been owed by a block alone for too long, or could not be handed over."""
        if not self._young:
            return []
        stranded = set().union(*self._stranded.values())
        return [
            each
            for block_id, messages in self._young.items()
            if stranded or now_ms - key_time_ms(block_id) >= YOUNG_MS
            for message_id, each in messages.items()
            if message_id in stranded or now_ms - key_time_ms(block_id) >= YOUNG_MS
        ]

    def has_late(self, now_ms: int) -> bool:
        """Whether a batch is to be written though nothing has come: what is owed needs rows."""
        if self._stranded or self.is_in_doubt:
            return True
        oldest = next(iter(self._young), None)
        return oldest is not None and now_ms - key_time_ms(oldest) >= YOUNG_MS

    def committed(self, written: Written) -> None:
        """What was written is durable."""
        for message_id in written.gone:
            block_id = self._block_of.pop(message_id, None)
            if block_id is None:
                continue
            messages = self._young[block_id]
            self._free(messages.pop(message_id).delivery)
            if not messages:
                del self._young[block_id]
        if self.is_in_doubt:
            # All of it has rows now.
            for messages in self._young.values():
                for each in messages.values():
                    each.delivery.has_row = True
            self._young.clear()
            self._block_of.clear()
            self._stranded.clear()
            self.is_in_doubt = False
            self.left_behind = ()
        if written.young:
            self._young[written.block_id] = {each.delivery.id: each for each in written.young}
            self._block_of.update((each.delivery.id, written.block_id) for each in written.young)

    def strand(self, delivery: Delivery) -> None:
        """It could not be handed to the courier: it gets its row with the next batch, to be read when there is room."""
        if delivery.id in self._block_of:
            self._stranded.setdefault(delivery.to, set()).add(delivery.id)

    def has_stranded(self, participant: str) -> bool:
        """Whether something that he is owed is to get its row yet: the table does not tell all."""
        return participant in self._stranded

    def _free(self, delivery: Delivery) -> None:
        stranded = self._stranded.get(delivery.to)
        if stranded is not None:
            stranded.discard(delivery.id)
            if not stranded:
                del self._stranded[delivery.to]


def _received(inbound: Inbound, outcome: str) -> Received:
    return Received(
        message_id=inbound.message_id,
        at_ms=inbound.received_ms,
        source=inbound.source,
        destination=inbound.destination or "",
        method=inbound.method,
        path=inbound.path,
        resource=inbound.resource,
        resource_id=inbound.resource_id,
        headers=inbound.headers,
        body=inbound.body,
        outcome=outcome,
    )


def _subjects(entries: Entries, received: Sequence[Received], sent: Sequence[Sent], block_id: int) -> list[int]:
    """What the block is filed under: what its messages are about, and what those are about that arrived late."""
    filed = entries.filed
    subjects = {each.subject for each in sent}
    for each in received:
        subject = filed.get((each.resource, each.resource_id))
        subjects.add(subject_of(each.resource_id) if subject is None else subject)
    for mark in entries.marks:
        target = mark.delivery.target
        if isinstance(target, Sent) and not journal.is_near(target.message_id, block_id):
            subjects.add(target.subject)
    return sorted(subjects)


# --- rows -------------------------------------------------------------------------------------------------------

_UPSERT: Final = """INSERT INTO delivery
    (message_id, participant, state, deadline_ms, attempts, status, error, updated_ms, message)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (message_id) DO UPDATE
    SET state = excluded.state, attempts = excluded.attempts, status = excluded.status, error = excluded.error,
        updated_ms = excluded.updated_ms"""

_INSERT_MISSING: Final = """INSERT INTO delivery
    (message_id, participant, state, deadline_ms, attempts, status, error, updated_ms, message)
    VALUES (?, ?, 'PENDING', ?, 0, NULL, NULL, ?, ?)
    ON CONFLICT (message_id) DO NOTHING"""


def _row(
    delivery: Delivery, target: Sent, state: DeliveryState, at_ms: int, mark: Mark | None = None
) -> tuple[Value, ...]:
    """The row of a message; it may have one from now on, whether this is committed or not."""
    delivery.has_row = True
    if not delivery.durable and state is DeliveryState.PENDING:
        # What was only routed is not sent again after a crash: the requester asks again.
        state = DeliveryState.PARKED
    return (
        delivery.id,
        delivery.to,
        state.value,
        delivery.deadline_ms,
        mark.attempts if mark is not None else delivery.attempts,
        mark.status if mark is not None else None,
        mark.error if mark is not None else None,
        at_ms,
        encode_sent(msgspec.structs.replace(target, body=delivery.body, body_of=None)),
    )


def settle(tx: Tx, node: int, *, now_ms: int) -> int:
    """Gives everything that a node owes by its blocks alone a row; the number of messages.

    For a node that is dead, or has just begun: nobody may be writing blocks under its number.
    """
    last, settled = journal.settled_up_to(tx, node)
    if last <= settled:
        return 0
    owed: dict[int, Sent] = {}
    for block in journal.blocks_after(tx, node, settled):
        bodies = {each.message_id: each.body or None for each in block.received}
        for each in block.sent:
            if each.is_owed:
                body = each.body if each.body_of is None else bodies.get(each.body_of)
                owed[each.message_id] = msgspec.structs.replace(each, body=body, body_of=None)
        for mark in block.marks:
            owed.pop(mark.message_id, None)
    tx.run_many(
        _INSERT_MISSING,
        [(each.message_id, each.to, each.deadline_ms, now_ms, encode_sent(each)) for each in owed.values()],
    )
    journal.settle(tx, last)
    return len(owed)


_SELECT_OWED: Final = "SELECT message_id, participant, deadline_ms, attempts, message FROM delivery"


def participants_owed(tx: Tx, *, node: int | None = None) -> list[str]:
    """Who is still owed a message that has its row, under the number of one node where that is given."""
    under, parameters = _under(node)
    rows = tx.query(f"SELECT DISTINCT participant FROM delivery WHERE state = 'PENDING' {under}", parameters)
    return [name for (name,) in rows]


def nodes_owing(tx: Tx) -> set[int]:
    """The numbers of the nodes under which something is owed that has its row: all of it, where `settle` was called."""
    rows = tx.query(f"SELECT DISTINCT {NODE_OF_KEY.format('message_id')} FROM delivery WHERE state = 'PENDING'")
    return {number for (number,) in rows}


def load_owed(tx: Tx, participant: str, *, after: int, limit: int, node: int | None = None) -> list[Delivery]:
    """What a participant is still owed and has its row, oldest first, from the message after ``after`` on.

    Where a node is given, only what is owed under its number.
    """
    under, parameters = _under(node)
    rows = tx.query(
        f"""{_SELECT_OWED}
            WHERE participant = ? AND state = 'PENDING' AND message_id > ? {under}
            ORDER BY message_id LIMIT ?""",
        (participant, after, *parameters, limit),
    )
    return [_delivery(row) for row in rows]


def _under(node: int | None) -> tuple[str, tuple[int, ...]]:
    return ("", ()) if node is None else (f"AND {NODE_OF_KEY.format('message_id')} = ?", (node,))


def load_one(tx: Tx, message_id: int) -> Delivery | None:
    """One message that is parked, or owed and has its row."""
    rows = tx.query(f"{_SELECT_OWED} WHERE message_id = ?", (message_id,))
    return _delivery(rows[0]) if rows else None


def _delivery(row: Row) -> Delivery:
    message_id, participant, deadline_ms, attempts, message = row
    target = decode_sent(message)
    return Delivery(
        id=message_id,
        to=participant,
        method=target.method,
        headers=target.headers,
        body=target.body,
        deadline_ms=deadline_ms,
        durable=True,
        attempts=attempts,
        target=target,
        owed_ms=target.at_ms,
        has_row=True,
    )


def still_owed(tx: Tx) -> list[Sent]:
    """Everything that is owed, by rows and by blocks alone, whichever node owes it; for tests and for operators."""
    rows = tx.query("SELECT message_id, message FROM delivery WHERE state = 'PENDING'")
    owed = {message_id: decode_sent(message) for message_id, message in rows}
    for node in journal.nodes(tx):
        _, settled = journal.settled_up_to(tx, node)
        for block in journal.blocks_after(tx, node, settled):
            owed.update({each.message_id: each for each in block.sent if each.is_owed})
            for mark in block.marks:
                owed.pop(mark.message_id, None)
    for (message_id,) in tx.query("SELECT message_id FROM delivery WHERE state = 'PARKED'"):
        owed.pop(message_id, None)
    return list(owed.values())


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
    condition, parameters = ("AND participant = ?", (participant,)) if participant is not None else ("", ())
    rows = tx.query(
        f"""SELECT message_id, participant, message, attempts, status, error, updated_ms FROM delivery
            WHERE state = 'PARKED' {condition} ORDER BY message_id DESC LIMIT ?""",
        (*parameters, limit),
    )
    found: list[Parked] = []
    for message_id, name, message, *rest in rows:
        sent = decode_sent(message)
        found.append(Parked(message_id, name, sent.method, sent.path, *rest))
    return found


def parked_counts(tx: Tx) -> dict[str, int]:
    """How many messages are parked, by participant."""
    rows = tx.query("SELECT participant, COUNT(*) FROM delivery WHERE state = 'PARKED' GROUP BY participant")
    return {str(participant): int(count) for participant, count in rows}


def hold(tx: Tx, *, now_ms: int) -> int:
    """Parks all that is owed, of every node, and what people were to be told: how many messages to participants.

    For a hub that was restored, while nothing serves it: what it owes may have been sent, or made void, long ago.
    """
    for node in journal.nodes(tx):
        settle(tx, node, now_ms=now_ms)
    tx.run(
        """UPDATE notification_delivery SET state = 'PARKED', error = 'held: the hub was restored', updated_ms = ?
           WHERE state <> 'DELIVERED' AND state = 'PENDING'""",
        (now_ms,),
    )
    return tx.run(
        """UPDATE delivery SET state = 'PARKED', error = 'held: the hub was restored', updated_ms = ?
           WHERE state = 'PENDING'""",
        (now_ms,),
    )


def unpark(tx: Tx, message_id: int, *, deadline_ms: int, now_ms: int) -> bool:
    """Makes a parked message owed again. False where there is no such parked message."""
    touched = tx.run(
        """UPDATE delivery SET state = 'PENDING', attempts = 0, deadline_ms = ?, updated_ms = ?
           WHERE message_id = ? AND state = 'PARKED'""",
        (deadline_ms, now_ms, message_id),
    )
    return touched > 0
