"""Identifiers: what names a transfer, a participant or a message, typed so that they can't be mixed up.

FSPIOP identifies transfers, quotes and the like by a ``CorrelationId``: a lower-case UUID (every version)
or an upper-case ULID (2.0). Both are 128 bits, and those 128 bits *are* the id in the ledger and in every table,
so the same transfer sent once as UUID and once as ULID is one transfer.

What follows from a transfer (its post, its void, the movement of headroom it causes) needs ledger ids of its
own, derived by a hash so that a retry repeats and never duplicates. They live in a part of the id space that
no participant may use (`is_reserved`): nobody can occupy, ahead of time, the id with which the hub will post
their neighbour's transfer.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

FspId = NewType("FspId", str)
"""The name of a participant, as FSPIOP-Source carries it: 1..32 characters."""

TransferId = NewType("TransferId", bytes)
"""The 128 bits of a transfer's id, big-endian: the key of its record and of its ledger transfer."""

HUB: Final = FspId("Hub")
"""The hub's own participant (the reference's ``HUB_PARTICIPANT``)."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CROCKFORD_VALUE: Final = {letter: value for value, letter in enumerate(_CROCKFORD)}
_MASK_128: Final = 2**128 - 1

# Derived ids begin with this byte and carry the version nibble 0xF: no UUID has that version, and a ULID that
# begins with it would be of the year 10,889, which `parse_id` refuses.
_RESERVED_BYTE: Final = 0xFF


class IdError(ValueError):
    """The text is not an id that a participant may use; the message says why."""


def parse_id(text: str) -> bytes:
    """The 16 bytes of a ``CorrelationId`` of any version. Raises `IdError`."""
    if _UUID.fullmatch(text) is not None:
        return bytes.fromhex(text.replace("-", ""))
    if _ULID.fullmatch(text) is not None:
        value = 0
        for letter in text:
            value = (value << 5) | _CROCKFORD_VALUE[letter]
        raw = value.to_bytes(16, "big")
        if raw[0] == _RESERVED_BYTE or value == 0:
            raise IdError(f"{text} is outside the range of ids a participant may use")
        return raw
    raise IdError(f"{text[:40]!r} is neither a lower-case UUID nor an upper-case ULID")


def format_uuid(raw: bytes) -> str:
    """16 bytes as a UUID is written."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def format_ulid(raw: bytes) -> str:
    """16 bytes as a ULID is written."""
    value = int.from_bytes(raw, "big")
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def derive_id(purpose: str, *parts: bytes) -> int:
    """The ledger id of what follows from ``parts`` for one ``purpose``: the same arguments, the same id."""
    digest = hashlib.blake2b(digest_size=16, person=purpose.encode()[:16])
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    raw = bytearray(digest.digest())
    raw[0] = _RESERVED_BYTE
    raw[1] &= 0x7F  # never 2^128 - 1, which the ledger refuses
    raw[6] = 0xF0 | (raw[6] & 0x0F)
    return int.from_bytes(raw, "big")


def is_reserved(ledger_id: int) -> bool:
    """Whether an id lies where only the hub makes ids."""
    return (ledger_id >> 120) & 0xFF == _RESERVED_BYTE


def ledger_id(raw: bytes) -> int:
    """The ledger id of a record's id."""
    return int.from_bytes(raw, "big")


def record_id(value: int) -> bytes:
    """The 16 bytes of a ledger id."""
    return (value & _MASK_128).to_bytes(16, "big")
