"""Payments that are signed before anything is measured.

To sign with RS256 costs a participant 0.4 ms a message, ten times what the hub has from checking it: signed as they go,
the participants would be what is measured. They know their ids, so both sides of a payment can sign ahead; the
times in the messages are then those of the signing, which the hub takes for `AGE_SECONDS_MAX` (its limit is the
age of a completedTimestamp, ``scheme.fulfil_age_seconds_max``).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from vuka.fspiop.jws import PrivateKey
from vuka.fspiop.times import format_datetime_ms, format_http_date
from vuka.sim.bench.messages import COMPLETED, DATE, EXPIRES, PARTY, QUOTE, TRANSFER, Kind, make_pairs, party_of
from vuka.sim.bench.scenarios import SCENARIOS, Scenario

AGE_SECONDS_MAX: Final = 240
EXPIRES_SECONDS: Final = 600
"""How long after its signing a signed transfer may take: longer than it may be used."""

_PAYEES: Final = frozenset((Kind.FOUND, Kind.TERMS, Kind.FULFIL))
_CHUNK: Final = 200


class Signed(msgspec.Struct, array_like=True, frozen=True):
    """One payment: its ids, and the line of each signature."""

    pair: int
    transfer: bytes
    quote: bytes
    party: bytes
    signatures: dict[str, bytes]
    """By `Kind`."""


class Pool(msgspec.Struct):
    """Payments ready to be sent, in the order in which they are."""

    made_at: float
    """Seconds since 1970."""
    date: bytes
    expires: bytes
    completed: bytes
    payments: list[Signed]

    def lasts(self, seconds: float) -> bool:
        """Whether the hub will still take them in so many seconds."""
        return time.time() - self.made_at + seconds < AGE_SECONDS_MAX


def make_pool(
    scenario: Scenario, names: list[str], keys: Sequence[bytes], *, count: int, reserves: bool, workers: int
) -> Pool:
    """``count`` signed payments among participants with these names and private keys (PEM), made by ``workers``."""
    now_ms = time.time_ns() // 1_000_000
    pool = Pool(
        made_at=now_ms / 1000,
        date=format_http_date(now_ms).encode(),
        expires=format_datetime_ms(now_ms + EXPIRES_SECONDS * 1000).encode(),
        completed=format_datetime_ms(now_ms).encode(),
        payments=[],
    )
    sign = partial(_sign, scenario.name, names, tuple(keys), reserves, pool.date, pool.expires, pool.completed)
    starts = range(0, count, _CHUNK)
    sizes = [min(_CHUNK, count - start) for start in starts]
    if workers == 1:
        parts = list(map(sign, starts, sizes))
    else:
        with ProcessPoolExecutor(workers) as executor:
            parts = list(executor.map(sign, starts, sizes))
    pool.payments = [each for part in parts for each in part]
    return pool


def _sign(
    scenario: str,
    names: list[str],
    keys: tuple[bytes, ...],
    reserves: bool,
    date: bytes,
    expires: bytes,
    completed: bytes,
    start: int,
    count: int,
) -> list[Signed]:
    """Signs payments number ``start`` and following. The host in a request is no part of what is signed."""
    kinds = SCENARIOS[scenario].signed
    pairs = make_pairs(names, reserves=reserves, host="")
    private = [PrivateKey.load(each) for each in keys]
    made: list[Signed] = []
    for number in range(start, start + count):
        pair = pairs[number % len(pairs)]
        transfer, quote = str(uuid.uuid4()).encode(), str(uuid.uuid4()).encode()
        party = party_of(pair.number, number // len(pairs))
        fields = {TRANSFER: transfer, QUOTE: quote, PARTY: party, DATE: date, EXPIRES: expires, COMPLETED: completed}
        signatures = {
            kind.value: pair.forms[kind].sign(private[pair.payee if kind in _PAYEES else pair.payer], fields)
            for kind in kinds
        }
        made.append(Signed(pair.number, transfer, quote, party, signatures))
    return made


def write_pool(path: Path, pool: Pool) -> None:
    """Writes it to a file."""
    path.write_bytes(msgspec.msgpack.encode(pool))


def read_pool(path: Path) -> Pool:
    """Reads it again."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Pool)


def default_workers() -> int:
    """As many as there are cores."""
    return os.cpu_count() or 1
