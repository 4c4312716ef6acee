"""The audit log: who changed what about the hub, and how every transfer ended, so that nobody can alter it unseen.

The log is a chain of entries, each written in the commit of what it tells of: one for each act of administration (who,
what, before and after), one for each batch that ended transfers. An entry's hash is the SHA-256 of the hash before it
and of all that it says; what is edited, removed, inserted or put elsewhere no longer fits what comes after. Now and
then a *checkpoint* signs the last hash (Ed25519): whoever can write the tables can make a new chain, but not sign it;
and a checkpoint that is kept elsewhere shows that a log was cut off behind it.

This module says what entries are, reads them and checks them. It needs the entries and public keys, and no hub.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, TypeAlias, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vuka.ids import IdError, format_uuid, parse_id
from vuka.store import Row, Tx
from vuka.switch.records import FINAL_STATES
from vuka.switch.work import Actor, Ended

PAGE: Final = 500
"""Entries read by one statement."""

SCANNED_MAX: Final = 5_000
"""Entries that one search goes through at most: then it says where to go on."""

UNTOLD_MAX: Final = 1_000
"""Transfers named that have ended and are not in the log: more are beyond reading."""

LATEST: Final = (1 << 63) - 1
"""Later than any time, and above any number."""

AT_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999."""

NO_HASH: Final = bytes(32)
"""What comes before the first entry."""

_SIGNED: Final = b"vuka audit log checkpoint 1\n"
_SIGNED_PRUNED: Final = b"vuka audit log pruned 1\n"
"""What every signature covers first: it is never taken for one of something else."""

Scalar: TypeAlias = int | str | bool | None
Fields: TypeAlias = Mapping[str, object]
EndOf: TypeAlias = tuple[bytes, str, int | None, int, str, str, str, str, str | None]
"""How a transfer ended, as its record has it: the fields of `End`, in that order."""


class Kind(StrEnum):
    """What an entry tells of."""

    GENESIS = "GENESIS"
    ENDS = "ENDS"
    ACT = "ACT"
    CHECKPOINT = "CHECKPOINT"
    PRUNED = "PRUNED"


class Genesis(msgspec.Struct, frozen=True):
    """The first entry: from when the log counts, and what was final before it."""

    scheme: str
    from_ms: int
    transfers: int
    """How many transfers had ended before, which no entry tells of."""
    digest: str
    """Of their records (`digest_of`)."""


class End(msgspec.Struct, frozen=True, array_like=True):
    """How one transfer ended. The amount is in minor units at asset scale 4."""

    transfer_id: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    state: str
    completed_ms: int
    amount: int
    currency: str
    payer_fsp: str
    payee_fsp: str
    kind: str
    error_code: str | None


class Change(msgspec.Struct, frozen=True):
    """One row of a table, before and after an act: of the latter only what differs."""

    table: str
    of: Fields
    """What did not change: by it the row is known."""
    before: Fields | None
    """None where there was no such row."""
    after: Fields | None
    """None where there is none any more."""


class Balance(msgspec.Struct, frozen=True):
    """A ledger account before and after an act, in minor units at asset scale 4."""

    account: str
    before: Mapping[str, int] | None
    after: Mapping[str, int]


class Act(msgspec.Struct, frozen=True):
    """What somebody did, or tried to."""

    who: Actor
    what: str
    """The command's name."""
    outcome: str
    """What came of it, in words; begins with ``refused:`` or ``failed:`` where nothing was changed."""
    asked: Fields
    changes: Sequence[Change] = ()
    balances: Sequence[Balance] = ()
    left_out: int = 0
    """Further changes of rows, too many to be kept each."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A signature of the log up to an entry."""

    log: str
    """Which log: the hash of its first entry."""
    seq: int
    hash: str
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=AT_MS_MAX)]
    key: str
    """The public key, 32 bytes in hexadecimal: whoever checks compares it with the one that they were given."""
    signature: str

    def signed(self) -> bytes:
        """The bytes that are signed."""
        return _SIGNED + f"{self.log}\n{self.seq}\n{self.hash}\n{self.at_ms}\n".encode()

    def is_genuine(self) -> bool:
        """Whether it is signed with the key that it names."""
        return _is_genuine(self.key, self.signature, self.signed())


def _is_genuine(key: str, signature: str, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), signed)
    except (ValueError, InvalidSignature):
        return False
    return True


class Pruned(msgspec.Struct, frozen=True):
    """Says that the entries up to one were moved into an archive, and what of the transfers no entry tells any more.

    It is signed by itself: whoever can only write the tables could append one, and remove what it says was moved.
    """

    log: str
    """Which log: the hash of its first entry."""
    who: Actor
    up_to: int
    first: int
    archive: str
    """The archive's name."""
    sha256: str
    """Of the archive."""
    transfers: int
    digest: str
    key: str = ""
    """As a checkpoint's."""
    signature: str = ""

    def signed(self) -> bytes:
        """The bytes that are signed: all that it says, as MessagePack."""
        return _SIGNED_PRUNED + _encode(msgspec.structs.replace(self, key="", signature=""))

    def is_genuine(self) -> bool:
        """Whether it is signed with the key that it names."""
        return _is_genuine(self.key, self.signature, self.signed())


Content: TypeAlias = Genesis | Sequence[End] | Act | Checkpoint | Pruned

Sign: TypeAlias = Callable[[bytes], tuple[str, str]]
"""Signs some bytes; the public key and the signature, in hexadecimal."""


class Entry(msgspec.Struct, frozen=True):
    """One entry as it is stored."""

    seq: int
    at_ms: int
    kind: str
    content: bytes
    """MessagePack."""
    hash: bytes

    def expected_hash(self, before: bytes) -> bytes:
        """Its hash, after an entry with the hash ``before``."""
        return chained(before, self.seq, self.at_ms, self.kind, self.content)

    def read(self) -> Content:
        """What it tells. Raises `UnreadableError` where somebody has put there what can't be read."""
        decoder = _DECODERS.get(self.kind)
        if decoder is None:
            raise UnreadableError(f"there is no kind {self.kind!r}")
        try:
            content = decoder.decode(self.content)
            if isinstance(content, Act):
                # MessagePack says things that no JSON can: nobody could be shown them, and no hub has written them.
                msgspec.json.encode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise UnreadableError(str(error)) from None
        return content

    def content_or_none(self) -> Content | None:
        """The same, and None where it can't be read: for whoever lists entries, and does not check them."""
        try:
            return self.read()
        except UnreadableError:
            return None


class UnreadableError(ValueError):
    """What is stored is not what was ever written."""


_encode: Final = msgspec.msgpack.Encoder().encode
_DECODERS: Final[Mapping[str, msgspec.msgpack.Decoder[Content]]] = {
    Kind.GENESIS: msgspec.msgpack.Decoder(Genesis),
    Kind.ENDS: msgspec.msgpack.Decoder(list[End]),
    Kind.ACT: msgspec.msgpack.Decoder(Act),
    Kind.CHECKPOINT: msgspec.msgpack.Decoder(Checkpoint),
    Kind.PRUNED: msgspec.msgpack.Decoder(Pruned),
}


def chained(before: bytes, seq: int, at_ms: int, kind: str, content: bytes) -> bytes:
    """SHA-256 of the hash before and of an entry: number and time in 8 bytes each, kind, a zero byte, content."""
    return hashlib.sha256(b"%b%b%b%b\0%b" % (before, _eight(seq), _eight(at_ms), kind.encode(), content)).digest()


def _eight(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


# --- writing ----------------------------------------------------------------------------------------------------------


class Head(msgspec.Struct, frozen=True):
    """Where the chain ends."""

    seq: int
    hash: bytes


_COLUMNS: Final = "seq, at_ms, kind, content, hash"
_INSERT: Final = "INSERT INTO audit_entry (seq, at_ms, kind, content, hash) VALUES (?, ?, ?, ?, ?)"


def head(tx: Tx) -> Head:
    """The last entry; of an empty log number 0."""
    rows = tx.query("SELECT seq, hash FROM audit_entry WHERE seq > 0 ORDER BY seq DESC LIMIT 1")
    if not rows:
        return Head(0, NO_HASH)
    seq, digest = rows[0]
    # Payments go on behind an entry that somebody has spoiled; whoever checks the log is told of it.
    return Head(seq, digest if isinstance(digest, bytes) else NO_HASH)


def append(tx: Tx, last: Head, kind: Kind, content: Content, now_ms: int) -> Head:
    """Adds an entry behind ``last``; where the chain ends then."""
    return _append(tx, last, kind, _encode(content), now_ms)


def append_ends(tx: Tx, last: Head, ended: Sequence[Ended], now_ms: int) -> Head:
    """Adds one entry for all transfers that a batch has ended."""
    rows: list[EndOf] = [
        (
            each.transfer_id,
            each.state,
            each.completed_ms,
            each.amount,
            each.currency,
            each.payer_fsp,
            each.payee_fsp,
            each.kind,
            each.error_code,
        )
        for each in ended
    ]
    return _append(tx, last, Kind.ENDS, _encode(rows), now_ms)


def _append(tx: Tx, last: Head, kind: Kind, content: bytes, now_ms: int) -> Head:
    seq = last.seq + 1
    digest = chained(last.hash, seq, now_ms, kind.value, content)
    tx.run(_INSERT, (seq, now_ms, kind.value, content, digest))
    return Head(seq, digest)


def begin(tx: Tx, scheme: str, now_ms: int) -> Head:
    """Begins the log of a hub: what has ended so far is in it as a digest."""
    count, digest = digest_of(_final(tx))
    return append(tx, Head(0, NO_HASH), Kind.GENESIS, Genesis(scheme, now_ms, count, digest), now_ms)


def sign(tx: Tx, last: Head, sign_bytes: Sign, now_ms: int) -> tuple[Head, Checkpoint]:
    """Adds a checkpoint of all entries so far. Raises `ValueError` where there is none: it would begin another log."""
    checkpoint = signed_head(tx, last, sign_bytes, now_ms)
    return append(tx, last, Kind.CHECKPOINT, checkpoint, now_ms), checkpoint


def signed_head(tx: Tx, last: Head, sign_bytes: Sign, now_ms: int) -> Checkpoint:
    """A checkpoint to be kept elsewhere alone: the log needs no entry for it. Raises `ValueError` as `sign` does."""
    if not last.seq:
        raise ValueError("an empty audit log is not signed")
    unsigned = Checkpoint(log_id(tx), last.seq, last.hash.hex(), now_ms, "", "")
    key, signature = sign_bytes(unsigned.signed())
    return msgspec.structs.replace(unsigned, key=key, signature=signature)


def log_id(tx: Tx) -> str:
    """Which log it is: the hash of its first entry, which is in every checkpoint where that has been pruned.

    A log begins with one of the two: what else somebody has put before it gives it no other name.
    """
    rows = tx.query(
        f"""SELECT {_COLUMNS} FROM audit_entry
            WHERE kind <> 'ENDS' AND kind IN ('GENESIS', 'CHECKPOINT') AND seq > 0 ORDER BY seq LIMIT 1"""
    )
    if not rows:
        return ""
    first = _entry(rows[0])
    content = first.content_or_none()
    return content.log if isinstance(content, Checkpoint) else first.hash.hex()


_FINAL_NAMES: Final = ", ".join(f"'{state.name}'" for state in sorted(FINAL_STATES))


_END_COLUMNS: Final = "transfer_id, state, completed_ms, amount, currency, payer_fsp, payee_fsp, kind, error_code"


def _final(tx: Tx) -> Iterator[EndOf]:
    """Every transfer that has ended as its record has it, by its id, some at a time."""
    after = b""
    while True:
        rows = tx.query(
            f"""SELECT {_END_COLUMNS} FROM transfer
                WHERE transfer_id > ? AND state IN ({_FINAL_NAMES}) ORDER BY transfer_id LIMIT 10000""",
            (after,),
        )
        for row in rows:
            yield cast(EndOf, row)
        if len(rows) < 10_000:
            return
        after = rows[-1][0]


def digest_of(ends: Iterable[EndOf]) -> tuple[int, str]:
    """How many, and the SHA-256 of them in the order of their ids, each as MessagePack."""
    count, digest = 0, hashlib.sha256()
    for end in ends:
        count += 1
        digest.update(_encode(end))
    return count, digest.hexdigest()


# --- reading ----------------------------------------------------------------------------------------------------------


def _entry(row: Row) -> Entry:
    """A row as an entry; an unreadable one where no hub has written it.

    A file of SQLite takes text for a number, and bytes for text; and nothing ever stands below the first entry.
    """
    seq, at_ms, kind, content, digest = row
    types = (at_ms, int), (kind, str), (content, bytes), (digest, bytes)
    if seq > 0 and all(isinstance(value, type_) for value, type_ in types) and 0 <= at_ms <= AT_MS_MAX:
        return Entry(seq, at_ms, kind, content, digest)
    return Entry(seq, 0, str(kind), b"", b"")


def entries(tx: Tx, *, after: int | None = None) -> Iterator[Entry]:
    """All entries behind one, the oldest first; behind none: whatever is in the table, below the first entry too."""
    while True:
        condition, parameters = ("", ()) if after is None else ("WHERE seq > ?", (after,))
        rows = tx.query(f"SELECT {_COLUMNS} FROM audit_entry {condition} ORDER BY seq LIMIT {PAGE}", parameters)
        yield from (_entry(row) for row in rows)
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def entry(tx: Tx, seq: int) -> Entry | None:
    """One entry."""
    rows = tx.query(f"SELECT {_COLUMNS} FROM audit_entry WHERE seq = ?", (seq,))
    return _entry(rows[0]) if rows else None


def last_checkpoint(tx: Tx, *, up_to: int | None = None) -> tuple[int, Checkpoint] | None:
    """The newest checkpoint, with its own entry's number; None where there is none (up to an entry)."""
    rows = tx.query(
        f"""SELECT {_COLUMNS} FROM audit_entry WHERE kind <> 'ENDS' AND kind = 'CHECKPOINT' AND seq <= ?
            ORDER BY seq DESC LIMIT 1""",
        (LATEST if up_to is None else up_to,),
    )
    if not rows:
        return None
    content = _entry(rows[0]).content_or_none()
    return (rows[0][0], content) if isinstance(content, Checkpoint) else None


def checkpoints(tx: Tx, *, limit: int) -> list[Checkpoint]:
    """The newest checkpoints, the newest first."""
    rows = tx.query(
        f"""SELECT {_COLUMNS} FROM audit_entry WHERE kind <> 'ENDS' AND kind = 'CHECKPOINT'
            ORDER BY seq DESC LIMIT ?""",
        (limit,),
    )
    return [content for row in rows if isinstance(content := _entry(row).content_or_none(), Checkpoint)]


class Search(msgspec.Struct, frozen=True):
    """Which entries are wanted. Times are UTC milliseconds, the first included, the second not."""

    who: str = ""
    """The actor's name or kind, in any case."""
    what: str = ""
    """A part of the command's name or of the entry's kind, in any case."""
    since_ms: int = 0
    until_ms: int = LATEST
    transfer: str = ""
    """The id of a transfer: how it ended, and the acts that name it."""

    @property
    def wants_acts_only(self) -> bool:
        """Whether no entry about the ends of payments can be among them."""
        return bool(self.who) or (bool(self.what) and self.what.upper() not in Kind.ENDS)


class Found(msgspec.Struct, frozen=True):
    """Some of the entries found, the newest first."""

    entries: list[Entry]
    before: int | None
    """Where the next search goes on; None where all has been looked at."""


def find(tx: Tx, search: Search, *, before: int | None = None, limit: int = 100) -> Found:
    """Entries, the newest first."""
    if search.transfer:
        return _find_transfer(tx, search, before=before, limit=limit)
    condition = ""
    parameters: list[int] = []
    if search.wants_acts_only:
        condition += " AND kind <> 'ENDS'"
    if search.since_ms > 0:
        condition, parameters = f"{condition} AND at_ms >= ?", [*parameters, search.since_ms]
    if search.until_ms < LATEST:
        condition, parameters = f"{condition} AND at_ms < ?", [*parameters, search.until_ms]
    found: list[Entry] = []
    at, scanned = LATEST if before is None else before, 0
    # Numbers grow with time: without these bounds all entries that are too old or too young would be gone through.
    if search.since_ms > 0:
        condition, parameters = f"{condition} AND seq >= ?", [*parameters, _bound(tx, _FIRST_SINCE, search.since_ms)]
    if search.until_ms < LATEST:
        at = min(at, _bound(tx, _LAST_UNTIL, search.until_ms) + 1)
    while True:
        rows = tx.query(
            f"SELECT {_COLUMNS} FROM audit_entry WHERE seq < ?{condition} ORDER BY seq DESC LIMIT {PAGE}",
            (at, *parameters),
        )
        for row in rows:
            at = row[0]
            each = _entry(row)
            if _matches(each, search):
                found.append(each)
                if len(found) == limit:
                    return Found(found, at)
        scanned += len(rows)
        if len(rows) < PAGE:
            return Found(found, None)
        if scanned >= SCANNED_MAX:
            return Found(found, at)


_FIRST_SINCE: Final = f"""SELECT COALESCE(MIN(seq), {LATEST}) FROM
    (SELECT seq FROM audit_entry WHERE at_ms >= ? ORDER BY at_ms LIMIT {SCANNED_MAX}) AS scanned"""
_LAST_UNTIL: Final = f"""SELECT COALESCE(MAX(seq), 0) FROM
    (SELECT seq FROM audit_entry WHERE at_ms < ? ORDER BY at_ms DESC LIMIT {SCANNED_MAX}) AS scanned"""
"""The number that a time stands for; a clock that was set back is seen through as far as a search goes."""


def _bound(tx: Tx, sql: str, at_ms: int) -> int:
    ((seq,),) = tx.query(sql, (at_ms,))
    return int(seq)


def _find_transfer(tx: Tx, search: Search, *, before: int | None, limit: int) -> Found:
    """What is known of a transfer: its end is in an entry of the time at which its record says it ended."""
    try:
        transfer_id = parse_id(search.transfer)
    except IdError:
        return Found([], None)
    rows = tx.query("SELECT created_ms, completed_ms FROM transfer WHERE transfer_id = ?", (transfer_id,))
    if not rows:
        return Found([], None)
    ((created_ms, completed_ms),) = rows
    until_ms = LATEST if completed_ms is None else completed_ms + 1
    found = [
        _entry(row)
        for row in tx.query(
            f"SELECT {_COLUMNS} FROM audit_entry WHERE at_ms = ? AND kind = 'ENDS'",
            (-1 if completed_ms is None else completed_ms,),
        )
    ]
    found = [each for each in found if any(end.transfer_id == transfer_id for end in ends_of(each))]
    name = format_uuid(transfer_id)
    found += [
        each
        for row in tx.query(
            f"SELECT {_COLUMNS} FROM audit_entry WHERE kind <> 'ENDS' AND kind = 'ACT' AND at_ms >= ? AND at_ms < ?",
            (created_ms, until_ms),
        )
        if isinstance(act := (each := _entry(row)).content_or_none(), Act) and name in act.asked.values()
    ]
    plain = msgspec.structs.replace(search, transfer="")
    chosen = sorted(
        (
            each
            for each in found
            if (before is None or each.seq < before)
            and search.since_ms <= each.at_ms < search.until_ms
            and _matches(each, plain)
        ),
        key=lambda each: -each.seq,
    )
    return Found(chosen[:limit], chosen[limit - 1].seq if len(chosen) > limit else None)


def ends_of(each: Entry) -> Sequence[End]:
    """The ends that an entry tells of; none where it tells of something else, or can't be read."""
    content = each.content_or_none() if each.kind == Kind.ENDS else ()
    return content if isinstance(content, list) else ()


def _matches(each: Entry, search: Search) -> bool:
    if not search.who and not search.what:
        return True
    if each.kind == Kind.ENDS:
        return not search.who and search.what.lower() in each.kind.lower()
    content = each.content_or_none()
    who = content.who if isinstance(content, (Act, Pruned)) else None
    if search.who and (who is None or search.who.lower() not in (who.name.lower(), who.kind.value)):
        return False
    what = f"{each.kind} {content.what if isinstance(content, Act) else ''}"
    return search.what.lower() in what.lower()


# --- checking ---------------------------------------------------------------------------------------------------------


class Fault(msgspec.Struct, frozen=True):
    """The first entry that is not as it was written, and why."""

    seq: int
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """What a check has found."""

    fault: Fault | None
    entries: int
    first: int
    last: int
    log: str
    checkpoints: int
    """Signatures that were checked, within the log."""
    signed_up_to: int
    """The last entry that a checkpoint covers, in the log or kept elsewhere."""
    unsigned: int
    """Entries after it, but for the checkpoint's own: they are chained, and not signed yet."""
    keys: list[str]
    """The public keys with which it is signed."""
    signed_ms: int
    """When that was signed, UTC milliseconds; 0 where nothing is."""
    kept: int
    """Checkpoints kept elsewhere that are of entries in the log, and agree."""
    kept_of_pruned: int
    """Those that are of entries which were pruned: the archive must agree with them."""
    pruned: Pruned | None
    """By whom, and into which archive, the log's beginning was moved."""


def verify(
    chain: Iterable[Entry],
    *,
    kept: Sequence[Checkpoint] = (),
    keys: Collection[str] | None = None,
    is_part: bool = False,
) -> Verdict:
    """Goes through a log from its first entry and stops at the first that is not as it was written.

    ``kept`` are checkpoints kept elsewhere: the log must have what they have signed. ``keys`` are the public keys, in
    hexadecimal, that may have signed it; None: any. ``is_part``: it may begin with any checkpoint, for what came before
    is in another archive.
    """
    check = _Check(kept, keys, is_part=is_part)
    for each in chain:
        fault = check.fault_of(each)
        if fault is not None:
            return check.verdict(Fault(check.seq + 1 if each.seq > check.seq + 1 and check.seq else each.seq, fault))
    return check.verdict(check.fault_at_the_end())


class _Check:
    """How far a check has come."""

    def __init__(self, kept: Sequence[Checkpoint], keys: Collection[str] | None, *, is_part: bool) -> None:
        self._is_part = is_part
        self._kept: dict[int, list[Checkpoint]] = {}
        for each in kept:
            self._kept.setdefault(each.seq, []).append(each)
        self._trusted = keys
        self.seq = 0
        self._hash = NO_HASH
        self._at_ms = 0
        self._first = 0
        self._entries = 0
        self._log = ""
        self._checkpoints = 0
        self._signed_up_to = 0
        self._unsigned = 0
        self._keys: dict[str, None] = {}
        self._signed_ms = 0
        self._pruned: Pruned | None = None
        self._agreed = 0
        self._faulty_kept = next((each for each in kept if self._signature_fault(each) is not None), None)

    def fault_of(self, each: Entry) -> str | None:
        """Why an entry is not what must follow; None where it is, and then it is the last."""
        if each.seq < 1:
            return "no entry has such a number: somebody else has put it there"
        try:
            content = each.read()
        except UnreadableError as error:
            return f"it can't be read: {error}"
        if not self._entries:
            fault = self._begin(each, content)
            if fault is not None:
                return fault
        elif each.seq != self.seq + 1:
            if each.seq > self.seq + 1:
                return "it is missing" if each.seq == self.seq + 2 else f"it and those up to {each.seq - 1} are missing"
            return f"it stands behind entry {self.seq}"
        if each.expected_hash(self._hash) != each.hash:
            return "it, or its place, is not the one that it was written with"
        if isinstance(content, Checkpoint):
            fault = self._checkpoint_fault(content)
            if fault is not None:
                return fault
        if isinstance(content, Pruned):
            fault = self._pruned_fault(content)
            if fault is not None:
                return fault
            self._pruned = content
        self.seq, self._hash, self._at_ms = each.seq, each.hash, each.at_ms
        self._entries += 1
        self._unsigned = 0 if isinstance(content, Checkpoint) else self._unsigned + 1
        return self._kept_fault(each.seq, each.hash.hex())

    def _begin(self, each: Entry, content: Content) -> str | None:
        self._first = each.seq
        if each.seq == 1 and isinstance(content, Genesis):
            self._log = each.hash.hex()
            return None
        # A checkpoint of no entry at all would let any log begin anew.
        if isinstance(content, Checkpoint) and content.seq == each.seq - 1 and content.seq > 0:
            fault = self._signature_fault(content)
            if fault is not None:
                return fault
            try:
                self._hash = bytes.fromhex(content.hash)
            except ValueError:
                return "what it has signed is no hash"
            self._log, self.seq = content.log, content.seq
            return self._kept_fault(content.seq, content.hash)
        return "the log does not begin with it: what came before is missing"

    def _checkpoint_fault(self, content: Checkpoint) -> str | None:
        if (content.seq, content.hash, content.log) != (self.seq, self._hash.hex(), self._log):
            return "what it has signed is not what comes before it"
        fault = self._signature_fault(content)
        if fault is None:
            self._checkpoints += 1
            self._note_signed(content)
        return fault

    def _note_signed(self, content: Checkpoint) -> None:
        self._signed_up_to, self._signed_ms = content.seq, content.at_ms
        self._keys[content.key] = None

    def _pruned_fault(self, content: Pruned) -> str | None:
        if content.log != self._log:
            return "it says that another log was pruned"
        return self._signature_fault(content)

    def _signature_fault(self, content: Checkpoint | Pruned) -> str | None:
        if not content.is_genuine():
            return "its signature is not genuine"
        if self._trusted is not None and content.key not in self._trusted:
            return f"it is signed with the key {content.key[:16]}…, which is none of those that are trusted"
        return None

    def _kept_fault(self, seq: int, found: str) -> str | None:
        for kept in self._kept.get(seq, ()):
            if kept.log == self._log and kept.hash != found:
                return "it is not the one that a checkpoint kept elsewhere has signed"
            self._agreed += 1
            self._unsigned = 0
            self._note_signed(kept)
        return None

    def fault_at_the_end(self) -> Fault | None:
        """What is wrong although every entry follows from the one before."""
        if self._faulty_kept is not None:
            each = self._faulty_kept
            return Fault(each.seq, f"the checkpoint kept elsewhere: {self._signature_fault(each)}")
        for kept in (each for same in self._kept.values() for each in same):
            if kept.log != self._log:
                return Fault(kept.seq, "a checkpoint kept elsewhere is of another log, or this one was made anew")
            if kept.seq > self.seq:
                return Fault(self.seq + 1, f"the log ends before it, where a checkpoint has signed entry {kept.seq}")
        if not self._entries:
            return Fault(1, "there is none: the log is empty")
        if self._is_part:
            return None
        if self._first != 1 and (self._pruned is None or self._pruned.up_to != self._first - 1):
            return Fault(self._first - 1, "it is missing, and no entry says that it was pruned")
        return None

    def verdict(self, fault: Fault | None) -> Verdict:
        """What has been found so far."""
        return Verdict(
            fault=fault,
            entries=self._entries,
            first=self._first,
            last=self.seq,
            log=self._log,
            checkpoints=self._checkpoints,
            signed_up_to=self._signed_up_to,
            unsigned=self._unsigned,
            keys=list(self._keys),
            signed_ms=self._signed_ms,
            kept=self._agreed,
            kept_of_pruned=sum(len(same) for seq, same in self._kept.items() if seq < self._first - 1),
            pruned=self._pruned,
        )


# --- an export ----------------------------------------------------------------------------------------------------


class Exported(msgspec.Struct, frozen=True):
    """A line of an export. Hash and content, which count, are as they are stored; `means` is for people."""

    seq: Annotated[int, msgspec.Meta(ge=-LATEST - 1, le=LATEST)]
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=AT_MS_MAX)]
    kind: str
    hash: str
    """In hexadecimal."""
    content: bytes
    """The stored MessagePack, as Base64 in JSON."""
    means: object = None


_json_decoder: Final = msgspec.json.Decoder(Exported)


def export_line(each: Entry) -> bytes:
    """An entry as one line of JSON."""
    line = Exported(each.seq, each.at_ms, each.kind, each.hash.hex(), each.content, shown(each))
    return msgspec.json.encode(line) + b"\n"


def read_line(line: bytes) -> Entry:
    """What `export_line` has written. Raises `ValueError` where it is none, or means another thing than it says."""
    try:
        read = _json_decoder.decode(line)
        each = Entry(read.seq, read.at_ms, read.kind, read.content, bytes.fromhex(read.hash))
        means = msgspec.json.decode(msgspec.json.encode(shown(each)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"it is no line of an export: {error}") from None
    if means != read.means:
        raise ValueError(f"entry {read.seq} is not what stands beside it for people to read")
    if msgspec.json.encode(read) != line.rstrip(b"\r\n"):
        # A field that is there twice, or is none of ours, is read by one program and not by another.
        raise ValueError(f"entry {read.seq} is not written as an export writes it")
    return each


def shown(each: Entry) -> object:
    """What an entry tells, as it is given to people and programs: ids as UUIDs, fields by their names."""
    content = each.content_or_none()
    if content is None:
        return {"unreadable": "somebody has altered it: see vuka auditlog verify"}
    if not isinstance(content, list):
        return msgspec.to_builtins(content)
    return [shown_end(end) for end in content]


def shown_end(end: End) -> dict[str, object]:
    """How a transfer ended, by the names of the fields."""
    return {**msgspec.structs.asdict(end), "transfer_id": format_uuid(end.transfer_id)}


# --- the log and the records --------------------------------------------------------------------------------------


class Mismatch(msgspec.Struct, frozen=True):
    """Where the log and the records of transfers say different things."""

    rule: str
    subject: str
    expected: str
    found: str


def compare(tx: Tx) -> Iterator[Mismatch]:
    """Each transfer that has ended is in the log as its record has it, once, and the other way round.

    What had ended when the log began, or was pruned, is there as a digest.
    """
    told: dict[bytes, bytes] = {}
    outside: tuple[int, str] | None = None
    for each in entries(tx):
        content = each.content_or_none()
        if content is None:
            yield Mismatch("an entry of the audit log can be read", str(each.seq), "as it was written", "unreadable")
        elif isinstance(content, (Genesis, Pruned)):
            outside = (content.transfers, content.digest)
        for end in ends_of(each):
            if end.transfer_id in told:
                name = format_uuid(end.transfer_id)
                before = _end_of(told[end.transfer_id]).state
                yield Mismatch("a transfer ends once in the audit log", name, before, end.state)
            # Packed: there may be very many.
            told[end.transfer_id] = _encode(end)
    untold: list[EndOf] = []
    count, digest = 0, hashlib.sha256()
    for row in _final(tx):
        packed = told.pop(row[0], None)
        if packed is None:
            # Of an older hub all that it had cleared: of these no more is kept than can be told.
            count += 1
            digest.update(_encode(row))
            untold += [row] if len(untold) < UNTOLD_MAX else []
        elif packed != _encode(row):
            yield from _differences(_end_of(packed), row)
    for transfer_id, packed in told.items():
        state = _end_of(packed).state
        yield Mismatch("what the audit log has ended has a record", format_uuid(transfer_id), state, "no end")
    found = count, digest.hexdigest()
    if outside is not None and found != outside:
        # Which of them is too much can't be known from a digest: where there were none, all are.
        if outside[0] == 0:
            for row in untold:
                yield Mismatch("a transfer that has ended is in the audit log", format_uuid(row[0]), row[1], "none")
        else:
            yield Mismatch("what ended before the audit log", "", _digest(outside), _digest(found))
    if outside is None:
        yield Mismatch("the audit log says from when it counts", "", "a first entry", "none")


_end_of: Final = msgspec.msgpack.Decoder(End).decode


def _differences(end: End, row: EndOf) -> Iterator[Mismatch]:
    for name, told, found in zip(End.__struct_fields__, msgspec.structs.astuple(end), row, strict=True):
        if told != found:
            subject = f"{name} of {format_uuid(end.transfer_id)}"
            yield Mismatch("a transfer ended as the audit log says", subject, str(told), str(found))


def _digest(of: tuple[int, str]) -> str:
    return f"{of[0]} transfers, {of[1][:16]}…"


def prune(tx: Tx, up_to: int, *, who: Actor, archive: str, sha256: str, sign_bytes: Sign, now_ms: int) -> Head:
    """Removes the entries up to one, behind which a checkpoint stands, and says so in the log, signed.

    Raises `ValueError` where no checkpoint comes next.
    """
    following = entry(tx, up_to + 1)
    if following is None or following.kind != Kind.CHECKPOINT:
        raise ValueError(f"entry {up_to} is not the last before a checkpoint")
    log = log_id(tx)
    rows: list[Row] = tx.query("SELECT seq FROM audit_entry WHERE seq > 0 ORDER BY seq LIMIT 1")
    tx.run("DELETE FROM audit_entry WHERE seq > 0 AND seq <= ?", (up_to,))
    told = {end.transfer_id for each in entries(tx) for end in ends_of(each)}
    count, digest = digest_of(end for end in _final(tx) if end[0] not in told)
    unsigned = Pruned(log, who, up_to, rows[0][0], archive, sha256, count, digest)
    key, signature = sign_bytes(unsigned.signed())
    content = msgspec.structs.replace(unsigned, key=key, signature=signature)
    return append(tx, head(tx), Kind.PRUNED, content, now_ms)
