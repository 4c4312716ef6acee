"""What a hub process knows of itself as one of several: its seat, how long it may deliver, whom it stands in for.

The rules are in `vuka.engine.nodes`; this keeps what they need between one batch and the next.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from vuka.engine.nodes import LEASE_MS, Node, Seat, Watch, join, last_batch, leave, sign
from vuka.errors import OperatorError
from vuka.store import Database, Tx

_INCARNATION_BITS: Final = 62

TIDY_MS: Final = 30_000
"""How often a node looks whether something is still owed for those that it stands in for."""

PLACE_FILE: Final = "node-id"
"""In the data directory: what a hub that shares its database is known by after a restart."""


class Identity(msgspec.Struct, frozen=True):
    """Whose process it is: the data directory it runs in, and one start of that."""

    place: str
    run: int

    @classmethod
    def draw(cls, place: str) -> Identity:
        """A new run in a place that nobody else runs in."""
        return cls(place, secrets.randbits(_INCARNATION_BITS))


def place_of(data_dir: Path) -> str:
    """What names a data directory among all those that share a database: drawn once and kept in it.

    With the machine's boot and the file's number beside it: a copy of the directory, here or on another machine, is
    another place, and whatever ran before a reboot is told dead by its silence.

    Raises `OperatorError` where it can't be written.
    """
    file = data_dir / PLACE_FILE
    try:
        place = ""
        with contextlib.suppress(FileNotFoundError):
            place = file.read_text(encoding="ascii").strip()
        if not place:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = secrets.token_hex(8)
            file.write_text(place + "\n", encoding="ascii")
        is_file = file.stat()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file} can't be read or written: {error}.") from None
    return f"{place}@{_boot()}:{is_file.st_dev}:{is_file.st_ino}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def boot_ms() -> int:
    """A clock that never goes back, and goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Membership:
    """One process among the nodes of a database."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.seat = Seat(0, 0)
        self._watch = Watch(self.seat)
        self._lease_ends_ms = 0
        self._signed = 0
        self._looked = 0
        self._tidied_ms = 0
        self._resends: dict[int, int] = {}

    def join(self, tx: Tx, now_ms: int) -> None:
        """Takes a seat. Raises `OperatorError` where there is none."""
        self.seat = join(
            tx,
            place=self.identity.place,
            run=self.identity.run,
            incarnation=secrets.randbits(_INCARNATION_BITS),
            now_ms=now_ms,
        )
        self._watch = Watch(self.seat)
        self._resends = {self.seat.number: 0}

    def sign(self, tx: Tx, batch: int) -> None:
        """Signs a batch that is about to be run. Raises `FencedError`."""
        sign(tx, self.seat, batch)

    def signed(self, began_ms: int) -> None:
        """A batch that was begun then, by `boot_ms`, has been committed."""
        self._lease_ends_ms = began_ms + LEASE_MS
        self._signed += 1

    def may_deliver(self) -> bool:
        """Whether what is owed under its numbers is still its to deliver."""
        return boot_ms() < self._lease_ends_ms

    def committed(self, database: Database, batch: int) -> bool:
        """Whether a batch was committed, when its answer was lost: waits until the transaction has ended.

        Raises `UnavailableError` or the driver's error where the database can't be asked now.
        """
        with database.begin() as tx:
            # Whoever may write now writes after that transaction, whatever became of it.
            return last_batch(tx, self.seat) == batch

    @property
    def has_signed(self) -> bool:
        """Whether it has written anything since it last looked at the others."""
        return self._signed > self._looked

    def look(self, there: Sequence[Node]) -> list[Node]:
        """The nodes that are dead by now."""
        self._looked = self._signed
        return self._watch.look(there, boot_ms())

    def to_reload(self, there: Sequence[Node]) -> list[int]:
        """The numbers it holds under which more may be owed than it knows: newly taken over, or asked to send again."""
        held = {node.number: node.resends for node in there if node.held_by == self.seat.number}
        before, self._resends = self._resends, held
        return [number for number, resends in held.items() if before.get(number) != resends]

    def forget_reloads(self) -> None:
        """It may owe what it does not know of: the next look has everything read from the outbox."""
        self._resends = dict.fromkeys(self._resends, -1)

    def may_tidy(self, there: Sequence[Node]) -> bool:
        """Whether it holds numbers for nodes that have ended, and has not looked for a while if it may free them."""
        now_ms = boot_ms()
        if now_ms - self._tidied_ms < TIDY_MS:
            return False
        if not any(node.is_stopped and node.held_by == self.seat.number for node in there):
            return False
        self._tidied_ms = now_ms
        return True

    def leave(self, database: Database, *, now_ms: int) -> None:
        """Says that it ends, so that nobody waits for it."""
        with database.begin() as tx:
            leave(tx, self.seat, now_ms=now_ms)
