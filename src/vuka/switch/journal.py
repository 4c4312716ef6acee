"""The message journal: what came in, what goes out and what became of it, in one block for each batch.

A block is appended in the commit that it belongs to, as MessagePack: what a payment costs here is its bytes. It is
found again by what its messages are about, their *subject*: the key of the transfer or quote, which grows with time, or
the hash of the text where there is no such record. A body is stored once: what is forwarded refers to the message it
came with (`Sent.body_of`), which is in the same block.

What became of a message (a `Marked`) is in a later block. One that follows within `NEAR_MS` is not filed: it is found
by going through the blocks of that time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from vuka.store import Row, Tx
from vuka.switch.work import Header

NEAR_MS: Final = 1_000
"""How much later than its message a mark may be and still not be filed, by the keys of the message and the block."""

KEY_TIME_SHIFT: Final = 21
"""Bits of a key below its milliseconds since 1970."""

BLOCKS_AT_A_TIME: Final = 50
"""Blocks read by one statement: some megabytes at most."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """What every message has."""

    message_id: int
    at_ms: int
    source: str
    destination: str
    method: str
    path: str
    resource: str
    resource_id: str
    headers: Sequence[Header]


class Received(Message, frozen=True, array_like=True):
    """A message as it came in, and what the hub did with it."""

    body: bytes
    outcome: str


class Sent(Message, frozen=True, array_like=True):
    """A message as it goes out, with all that is needed to send it again."""

    body: bytes | None
    """None where there is none, or where `body_of` has it."""
    body_of: int | None
    """The received message whose body this is too."""
    to: str
    """The participant that it goes to."""
    endpoint: str
    parameters: Mapping[str, str]
    """What fills the endpoint's template."""
    deadline_ms: int
    is_owed: bool
    """Whether the hub owes it: what was only routed is not sent again after a crash."""
    subject: int
    """Under what it is filed."""


class Marked(msgspec.Struct, frozen=True, array_like=True):
    """What became of a message that went out: an attempt, or its end."""

    message_id: int
    state: str
    attempts: int
    status: int | None
    """The HTTP status answered."""
    error: str | None
    at_ms: int


class Block(msgspec.Struct, frozen=True, array_like=True):
    """What one batch has to say."""

    received: Sequence[Received]
    sent: Sequence[Sent]
    marks: Sequence[Marked]
    subjects: Sequence[int]
    """Under what it is filed."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Block)
_sent_decoder: Final = msgspec.msgpack.Decoder(Sent)


def encode_sent(message: Sent) -> bytes:
    """One message that goes out, for a row of its own."""
    return _encode(message)


def decode_sent(content: bytes) -> Sent:
    """What `encode_sent` has made."""
    return _sent_decoder.decode(content)


def subject_of(text: str) -> int:
    """The subject of messages about something that has no record: below zero, always the same for a text."""
    return -1 - (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1)


# --- writing ----------------------------------------------------------------------------------------------------


_INSERT_SUBJECT: Final = "INSERT INTO journal_subject (subject, block_id) VALUES (?, ?)"


def write(tx: Tx, block_id: int, block: Block, *, node: int, settled: int) -> None:
    """Appends a block.

    ``settled`` is the last of the node's blocks of which everything owed has arrived or has its row of ``delivery``.
    """
    tx.run(
        "INSERT INTO journal_block (block_id, node, settled, content) VALUES (?, ?, ?, ?)",
        (block_id, node, settled, _encode(block)),
    )
    tx.run_many(_INSERT_SUBJECT, [(subject, block_id) for subject in block.subjects])


def is_near(message_id: int, block_id: int) -> bool:
    """Whether a mark in that block is found by going through the blocks after its message."""
    return (block_id >> KEY_TIME_SHIFT) - (message_id >> KEY_TIME_SHIFT) <= NEAR_MS


def nodes(tx: Tx) -> list[int]:
    """The nodes that have blocks. Each is sought in the index: of blocks there may be many millions."""
    found: list[int] = []
    while True:
        ((following,),) = tx.query("SELECT MIN(node) FROM journal_block WHERE node > ?", (found[-1] if found else -1,))
        if following is None:
            return found
        found.append(following)


def settled_up_to(tx: Tx, node: int) -> tuple[int, int]:
    """A node's last block, and the last of which everything owed has arrived or has a row; zeros where it has none."""
    rows = tx.query(
        "SELECT block_id, settled FROM journal_block WHERE node = ? ORDER BY block_id DESC LIMIT 1", (node,)
    )
    return (rows[0][0], rows[0][1]) if rows else (0, 0)


def settle(tx: Tx, block_id: int) -> None:
    """Says of a node's last block that everything owed up to it has arrived or has a row."""
    tx.run("UPDATE journal_block SET settled = block_id WHERE block_id = ?", (block_id,))


def forget(tx: Tx, node: int, up_to: int) -> None:
    """Removes a node's blocks up to one that is settled: where no journal is kept they have done their service."""
    rows = tx.query("SELECT block_id FROM journal_block WHERE node = ? AND block_id <= ?", (node, up_to))
    _remove(tx, [block_id for (block_id,) in rows])


def purge(tx: Tx, before: int, *, blocks_max: int) -> int:
    """Removes blocks older than the key ``before``, some at a time; the number removed.

    A node's last block stays, and whatever comes after those that are settled: what is owed is known by them.
    """
    removed = 0
    for node in nodes(tx):
        last, settled = settled_up_to(tx, node)
        rows = tx.query(
            """SELECT block_id FROM journal_block WHERE node = ? AND block_id < ? AND block_id <= ?
               ORDER BY block_id LIMIT ?""",
            (node, min(before, last), settled, blocks_max - removed),
        )
        _remove(tx, [block_id for (block_id,) in rows])
        removed += len(rows)
    return removed


def anything_before(tx: Tx, before: int) -> bool:
    """Whether there is a block older than that key."""
    return bool(tx.query("SELECT 1 FROM journal_block WHERE block_id < ? LIMIT 1", (before,)))


def _remove(tx: Tx, block_ids: Sequence[int]) -> None:
    for block_id, block in _load(tx, block_ids):
        tx.run_many(
            "DELETE FROM journal_subject WHERE subject = ? AND block_id = ?",
            [(subject, block_id) for subject in block.subjects],
        )
    tx.run_many("DELETE FROM journal_block WHERE block_id = ?", [(block_id,) for block_id in block_ids])


# --- reading ----------------------------------------------------------------------------------------------------


def blocks_after(tx: Tx, node: int, after: int) -> Iterator[Block]:
    """A node's blocks after one, the oldest first."""
    rows = tx.query(
        "SELECT block_id FROM journal_block WHERE node = ? AND block_id > ? ORDER BY block_id", (node, after)
    )
    for _, block in _load(tx, [block_id for (block_id,) in rows]):
        yield block


class Exchange(msgspec.Struct, frozen=True):
    """Messages about something: what came in, what went out, and how each that went out stands."""

    received: list[Received]
    sent: list[Sent]
    marks: dict[int, Marked]
    """The last of each message, by its key; a message without one is still on its way."""


def find(
    tx: Tx,
    subjects: Iterable[int],
    resource_ids: Collection[str],
    *,
    between_ms: tuple[int, int] | None = None,
) -> Exchange:
    """The messages about what has these subjects and is called so, the oldest first.

    With ``between_ms``, UTC milliseconds, those of the blocks of that time, and a little after it.
    """
    low, high = 0, (1 << 63) - 1
    if between_ms is not None:
        low, high = between_ms[0] << KEY_TIME_SHIFT, (between_ms[1] + NEAR_MS) << KEY_TIME_SHIFT
    rows = tx.query_in(
        """SELECT DISTINCT block_id FROM journal_subject
           WHERE block_id >= ? AND block_id < ? AND subject IN {values}""",
        sorted({*subjects, *map(subject_of, resource_ids)}),
        (low, high),
    )
    found = Exchange([], [], {})
    marks: list[Marked] = []
    for _, block in _load(tx, sorted({block_id for (block_id,) in rows})):
        found.received.extend(_about(block, resource_ids))
        found.sent.extend(each for each in block.sent if each.resource_id in resource_ids)
        marks += block.marks
    found.received[:] = _once(found.received)
    found.sent.sort(key=lambda each: each.message_id)
    ids = {each.message_id for each in found.sent}
    _note(found.marks, marks, ids)
    _note_near(tx, found.marks, ids)
    _note_rows(tx, found.marks, ids)
    return found


def _about(block: Block, resource_ids: Collection[str]) -> Iterator[Received]:
    return (each for each in block.received if each.resource_id in resource_ids)


def _once(received: Iterable[Received]) -> list[Received]:
    """Messages in the order in which they came. Of one that is in several blocks the first word counts.

    A batch says how it failed, and whoever answers its sender may say later that it was refused.
    """
    first: dict[int, Received] = {}
    for each in received:
        first.setdefault(each.message_id, each)
    return sorted(first.values(), key=lambda each: each.message_id)


def _note(noted: dict[int, Marked], marks: Iterable[Marked], ids: Collection[int]) -> None:
    for mark in marks:
        before = noted.get(mark.message_id)
        if mark.message_id in ids and (before is None or before.at_ms <= mark.at_ms):
            noted[mark.message_id] = mark


def _note_near(tx: Tx, noted: dict[int, Marked], ids: set[int]) -> None:
    """Goes through the blocks of the time in which a mark is not filed, until every message has its end."""
    missing = {message_id for message_id in ids if not _is_end(noted.get(message_id))}
    seen: set[int] = set()
    while missing:
        first = min(missing)
        until = ((first >> KEY_TIME_SHIFT) + NEAR_MS + 1) << KEY_TIME_SHIFT
        rows = tx.query(
            "SELECT block_id FROM journal_block WHERE block_id > ? AND block_id < ? ORDER BY block_id", (first, until)
        )
        for block_id, block in _load(tx, [each for (each,) in rows if each not in seen]):
            seen.add(block_id)
            _note(noted, block.marks, ids)
            if _is_end(noted.get(first)):
                break
        missing.discard(first)
        missing = {message_id for message_id in missing if not _is_end(noted.get(message_id))}


def _is_end(mark: Marked | None) -> bool:
    return mark is not None and mark.state != "PENDING"


def _note_rows(tx: Tx, noted: dict[int, Marked], ids: set[int]) -> None:
    """What has a row of its own stands as the row says."""
    rows = tx.query_in(
        "SELECT message_id, state, attempts, status, error, updated_ms FROM delivery WHERE message_id IN {values}",
        sorted(ids),
    )
    noted.update({row[0]: Marked(*row) for row in rows})


class Page(msgspec.Struct, frozen=True):
    """What came in, the newest first, and where the next page ends."""

    received: list[Received]
    before: int | None
    """The key that the next page's blocks are below; None where there are no more."""


def received_before(tx: Tx, *, before: int, down_to: int, blocks: int) -> Page:
    """What came in with the next ``blocks`` blocks below the key ``before``, down to the key ``down_to``.

    Going through the journal by so many at a time lets a hub do it between payments.
    """
    rows = tx.query(
        """SELECT block_id, content FROM journal_block WHERE block_id < ? AND block_id >= ?
           ORDER BY block_id DESC LIMIT ?""",
        (before, down_to, blocks),
    )
    found = [each for _, content in rows for each in _decoder.decode(content).received if each.message_id >= down_to]
    found.sort(key=lambda each: -each.message_id)
    return Page(found, rows[-1][0] if len(rows) == blocks else None)


def received_about(tx: Tx, subjects: Iterable[int], resource_ids: Collection[str]) -> list[Received]:
    """What came in about what has these subjects and is called so, the newest first."""
    rows = tx.query_in("SELECT DISTINCT block_id FROM journal_subject WHERE subject IN {values}", sorted(set(subjects)))
    blocks = _load(tx, sorted(block_id for (block_id,) in rows))
    return _once(each for _, block in blocks for each in _about(block, resource_ids))[::-1]


def everything(tx: Tx) -> Iterator[Block]:
    """Every block, the oldest first."""
    rows = tx.query("SELECT block_id FROM journal_block ORDER BY block_id")
    for _, block in _load(tx, [block_id for (block_id,) in rows]):
        yield block


def _load(tx: Tx, block_ids: Sequence[int]) -> Iterator[tuple[int, Block]]:
    for start in range(0, len(block_ids), BLOCKS_AT_A_TIME):
        rows: list[Row] = tx.query_in(
            "SELECT block_id, content FROM journal_block WHERE block_id IN {values}",
            block_ids[start : start + BLOCKS_AT_A_TIME],
        )
        for block_id, content in sorted(rows):
            yield block_id, _decoder.decode(content)
