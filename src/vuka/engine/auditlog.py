"""How the engine keeps the audit log: one place in which each batch's entries are chained, and who acts in a request.

The rules of the chain are in `vuka.switch.auditlog`. Here is where the chain ends now: a process that writes alone
knows it, one of several reads it in each batch's transaction, under the lock that every batch takes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vuka.store import Tx
from vuka.switch import auditlog
from vuka.switch.auditlog import Act, Checkpoint, Head, Kind, Sign
from vuka.switch.work import Actor, ActorKind, Command, Ended, Outcome, Work

log: Final = structlog.get_logger("vuka.auditlog")

ACTING: Final[ContextVar[Actor | None]] = ContextVar("vuka_acting", default=None)
"""Who makes the request that is being answered, where an operator does: their commands carry it."""


class AuditLog:
    """Appends what a batch has done to the chain."""

    __slots__ = ("_head", "_undone", "is_alone", "sign")

    def __init__(self, sign: Sign | None = None, *, is_alone: bool = False) -> None:
        """``sign``: makes checkpoints. ``is_alone``: nobody else writes, so where the chain ends need not be read."""
        self.sign = sign
        self.is_alone = is_alone
        self._head: Head | None = None
        self._undone: Head | None = None
        """Where the chain ended before a batch that was undone, or whose commit was not answered."""

    def write(
        self, tx: Tx, *, acts: Sequence[Act], ended: Sequence[Ended], checkpoints: bool, now_ms: int
    ) -> Checkpoint | None:
        """Adds an entry for each act, one for all that has ended, and a checkpoint where it is asked for: that one.

        Where somebody has acted (and not only a timer) it is made in any case: where it is not asked for, to be kept
        beside the database alone, so that no act can be cut off again unseen before the log is signed next.
        Nobody may be shown the checkpoint before it is committed: it would accuse a log that has gone another way.
        """
        if not (acts or ended or checkpoints):
            return None
        last = self._head if self.is_alone and self._head is not None else self._read_head(tx)
        if not last.seq:
            log.critical("the audit log was empty: what came before is missing from it")
        if self.is_alone:
            before = self._undone if self._head is None else self._head
            tx.on_rollback(lambda: self._forget(before))
        for act in acts:
            last = auditlog.append(tx, last, Kind.ACT, act, now_ms)
        if ended:
            last = auditlog.append_ends(tx, last, ended, now_ms)
        checkpoint: Checkpoint | None = None
        if checkpoints and self.sign is not None and last.seq:
            last, checkpoint = auditlog.sign(tx, last, self.sign, now_ms)
        elif self.sign is not None and any(act.who.kind is not ActorKind.TIMER for act in acts):
            checkpoint = auditlog.signed_head(tx, last, self.sign, now_ms)
        if self.is_alone:
            self._head, self._undone = last, None
        return checkpoint

    def _read_head(self, tx: Tx) -> Head:
        """Where the chain ends by the table.

        Where that is not where this hub has ended it, it goes on from its own hash: what somebody else has written is
        then part of no chain, and whoever checks the log is told of it.
        """
        found, expected = auditlog.head(tx), self._undone
        if expected is None or found == expected:
            return found
        log.critical(
            "the audit log ends elsewhere than this hub has ended it: somebody else has written it",
            expected=expected.seq,
            found=found.seq,
        )
        return Head(max(found.seq, expected.seq), expected.hash)

    def _forget(self, before: Head | None) -> None:
        """After a batch that was undone the table says where the chain ends.

        Were memory believed, one row that somebody else has put there would be in the way of every batch to come.
        """
        self._head, self._undone = None, before


LAST_FILE: Final = "auditlog.checkpoint.json"
"""In the data directory: the newest checkpoint, in the log or of an act. Whoever has the database alone can make no
other log agree with it."""


def tell(checkpoint: Checkpoint, directory: Path) -> None:
    """Writes a checkpoint that is committed into the hub's own log, and beside the database.

    Whoever keeps the hub's log elsewhere keeps this, too.
    """
    content = msgspec.json.encode(checkpoint)
    log.info("the audit log is signed", checkpoint=content.decode())
    file = directory / LAST_FILE
    new = directory / f"{LAST_FILE}.{os.getpid()}"
    try:
        with new.open("wb") as handle:
            handle.write(content + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        new.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        log.warning("the audit log's checkpoint can't be kept", file=str(file), reason=error.strerror)


class SignAuditLog(Command, frozen=True, kw_only=True):
    """The audit log is to be signed now, at the end of this batch."""


def sign_audit_log(work: Work, commands: Sequence[SignAuditLog]) -> list[Outcome]:
    """Has the batch end with a checkpoint."""
    work.checkpoints = True
    return [Outcome(note="the audit log is signed") for _ in commands]


USE_CASES: Final = ((sign_audit_log, SignAuditLog),)
"""Each function with the commands that it decides."""
