"""The hub processes that share a database: which of them live, and which delivers what.

Each process is a *node* with a number, which stands in every key that it makes; so what is owed under a number is
delivered by the node that holds the number, and a row of the outbox needs no mark of its own. A node signs each of its
batches, inside the batch's transaction; one that has been taken over can't, and so writes nothing more. The others
watch the count of its signatures: one that stays the same while the watcher itself goes on writing belongs to a node
that has died, and the first to say so holds its numbers from then on.

No two clocks need to agree. A watcher waits `SILENCE_MS` by its own clock from when it saw the last signature; the node
itself stops delivering `LEASE_MS` by its own clock from before it began to sign, which is shorter and began earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.engine import outbox
from vuka.engine.keys import NODE_MAX, node_of
from vuka.errors import OperatorError
from vuka.store import Tx
from vuka.store.migrate import HEAD
from vuka.switch.work import Command, Outcome, Work

BEAT_MS: Final = 1_000
"""How often a node that has nothing to write signs nevertheless, and looks at the others."""

SILENCE_MS: Final = 5_000
"""How long a node may be silent before another takes over."""

LOOKS_MIN: Final = 4
"""In how many looks, each after a commit of the watcher's own: where nobody can write, nobody is dead for it."""

LEASE_MS: Final = 3_500
"""How long a node delivers on the strength of its last signature."""


class FencedError(Exception):
    """Others go on without this process: it must end, and may start anew. The message is a sentence for operators."""


TAKEN_OVER: Final = "Another hub process has taken over from this one, which was silent. Start it again."
MIGRATED: Final = (
    "A newer version of vuka has migrated the database, and this one must not write what it does not know. "
    "Start the newer version here too."
)


class Seat(msgspec.Struct, frozen=True):
    """The place of one process among the nodes."""

    number: int
    incarnation: int


class Node(msgspec.Struct, frozen=True):
    """A node as its row has it."""

    number: int
    place: str
    run: int
    incarnation: int
    beats: int
    held_by: int
    resends: int
    is_stopped: int

    @property
    def is_held_by_another(self) -> bool:
        """Whether it has been taken over."""
        return self.held_by != self.number


def nodes(tx: Tx) -> list[Node]:
    """Every node that lives, or under whose number something may still be owed."""
    return [
        Node(*row)
        for row in tx.query(
            """SELECT node_no, place, run, incarnation, beats, held_by, resends, is_stopped
               FROM hub_node ORDER BY node_no"""
        )
    ]


def join(tx: Tx, *, place: str, run: int, incarnation: int, now_ms: int) -> Seat:
    """Takes the lowest free number, and what earlier runs in the same place hold: the place is locked, they are dead.

    The highest number is for commands beside the hub.
    Raises `OperatorError` where every number is taken, or a newer program has migrated the database meanwhile.
    """
    if not _is_known(tx):
        raise OperatorError(MIGRATED)
    there = nodes(tx)
    number = next((each for each in range(NODE_MAX) if each not in {node.number for node in there}), None)
    if number is None:
        raise OperatorError(f"{NODE_MAX} hub processes share this database already. Stop one that is not needed.")
    for node in there:
        if node.place == place and node.run != run and not node.is_held_by_another:
            _take(tx, node.number, number, now_ms)
    tx.run(
        """INSERT INTO hub_node (node_no, place, run, incarnation, beats, held_by, last_batch, resends, is_stopped,
                                 started_ms)
           VALUES (?, ?, ?, ?, 0, ?, 0, 0, 0, ?)""",
        (number, place, run, incarnation, number, now_ms),
    )
    return Seat(number, incarnation)


def _take(tx: Tx, dead: int, by: int, now_ms: int) -> None:
    outbox.settle(tx, dead, now_ms=now_ms)
    tx.run("UPDATE hub_node SET held_by = ?, is_stopped = 1 WHERE held_by = ?", (by, dead))


def sign(tx: Tx, seat: Seat, batch: int) -> None:
    """Signs a batch: says that the node lives, and which batch it was if the answer to its commit is lost.

    Raises `FencedError` where the node has been taken over, or a newer program has migrated the database.
    """
    touched = tx.run(
        """UPDATE hub_node SET beats = beats + 1, last_batch = ?
           WHERE node_no = ? AND incarnation = ? AND held_by = node_no
             AND EXISTS (SELECT 1 FROM alembic_version WHERE version_num = ?)""",
        (batch, seat.number, seat.incarnation, HEAD),
    )
    if touched != 1:
        raise FencedError(TAKEN_OVER if _is_known(tx) else MIGRATED)


def _is_known(tx: Tx) -> bool:
    """Whether the database has the schema that this program writes."""
    return bool(tx.query("SELECT 1 FROM alembic_version WHERE version_num = ?", (HEAD,)))


def last_batch(tx: Tx, seat: Seat) -> int | None:
    """The last batch that the node has committed; None where its row is gone."""
    rows = tx.query(
        "SELECT last_batch FROM hub_node WHERE node_no = ? AND incarnation = ?", (seat.number, seat.incarnation)
    )
    return int(rows[0][0]) if rows else None


def leave(tx: Tx, seat: Seat, *, now_ms: int) -> None:
    """Says that the node ends in order: the others need not wait to take over what it still owes.

    Raises `FencedError` where a newer program has migrated the database: it takes over by itself.
    """
    if not _is_known(tx):
        raise FencedError(MIGRATED)
    tx.run(
        "UPDATE hub_node SET is_stopped = 1 WHERE node_no = ? AND incarnation = ? AND held_by = node_no",
        (seat.number, seat.incarnation),
    )
    outbox.settle(tx, seat.number, now_ms=now_ms)
    _forget_done(tx, seat.number)


def _forget_done(tx: Tx, holder: int) -> None:
    """Removes the ended nodes under whose numbers nothing is owed any more: their numbers are free again."""
    ended = [node.number for node in nodes(tx) if node.held_by == holder and node.is_stopped]
    if not ended:
        return
    owing = outbox.nodes_owing(tx)
    tx.run_many("DELETE FROM hub_node WHERE node_no = ?", [(number,) for number in ended if number not in owing])


class Watch:
    """What one node has seen of the others: its own memory and its own clock, nothing is believed."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._seen: dict[tuple[int, int], _Seen] = {}

    def look(self, there: Sequence[Node], now_ms: int) -> list[Node]:
        """Those that are dead by now. To be asked only after this node itself has written something.

        ``now_ms`` is of a clock that never goes back.
        """
        others = [node for node in there if node.number != self._seat.number and not node.is_held_by_another]
        seen, self._seen = self._seen, {}
        dead: list[Node] = []
        for node in others:
            key = (node.number, node.incarnation)
            before = seen.get(key)
            if before is None or before.beats != node.beats:
                before = _Seen(node.beats, now_ms, 0)
            self._seen[key] = now = _Seen(before.beats, before.since_ms, before.looks + 1)
            if node.is_stopped or (now.looks > LOOKS_MIN and now_ms - now.since_ms >= SILENCE_MS):
                dead.append(node)
        return dead


class _Seen(msgspec.Struct, frozen=True):
    beats: int
    since_ms: int
    looks: int


class Beat(Command, frozen=True, kw_only=True):
    """A node with nothing to write says that it lives: its batch is signed, which is all there is to it."""


class TakeOver(Command, frozen=True, kw_only=True):
    """A node holds from now on what a dead one held. Nothing happens where that one has signed again since."""

    dead: Node
    by: Seat


class TidyNodes(Command, frozen=True, kw_only=True):
    """A node frees the numbers it holds for others under which nothing is owed any more."""

    by: Seat


def _beat(_work: Work, commands: Sequence[Beat]) -> list[Outcome]:
    return [Outcome() for _ in commands]


def _take_over(work: Work, commands: Sequence[TakeOver]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for command in commands:
        dead = command.dead
        is_as_seen = bool(
            work.tx.query(
                """SELECT 1 FROM hub_node
                   WHERE node_no = ? AND incarnation = ? AND beats = ? AND held_by = node_no""",
                (dead.number, dead.incarnation, dead.beats),
            )
        )
        if is_as_seen:
            _take(work.tx, dead.number, command.by.number, work.now_ms)
        outcomes.append(Outcome(value=is_as_seen))
    return outcomes


def _tidy(work: Work, commands: Sequence[TidyNodes]) -> list[Outcome]:
    for command in commands:
        _forget_done(work.tx, command.by.number)
    return [Outcome() for _ in commands]


USE_CASES: Final = ((_beat, Beat), (_take_over, TakeOver), (_tidy, TidyNodes))
"""Each function with the commands that it decides."""


def ask_again(tx: Tx, message_id: int) -> None:
    """Has the node that holds a message's number read the outbox again; where there is none, whoever comes first."""
    number = node_of(message_id)
    if tx.run("UPDATE hub_node SET resends = resends + 1 WHERE node_no = ?", (number,)):
        return
    tx.run(
        """INSERT INTO hub_node (node_no, place, run, incarnation, beats, held_by, last_batch, resends, is_stopped,
                                 started_ms)
           VALUES (?, '', 0, 0, 0, ?, 0, 1, 1, 0)""",
        (number, number),
    )
