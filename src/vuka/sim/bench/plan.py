"""What passes between the benchmark and its process of participants: one JSON object a line, each way.

The benchmark sends a `Setting` and then a `Phase` for each measurement; the process says `READY`, and for each phase
`BEGAN` and `ENDED` at the very moments between which it measures, then the `PhaseReport`. When its input ends, it
writes what payers and payees were told of every payment (`Ends`) and stops.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from vuka.sim.bench.figures import Latency
from vuka.sim.bench.shapes import Shape
from vuka.sim.bench.wire import CONNECTIONS_MAX

READY: Final = "ready"
BEGAN: Final = "began"
ENDED: Final = "ended"


class Setting(msgspec.Struct, frozen=True):
    """Who takes part, and where the hub is."""

    participants_url: str
    operators_url: str
    scenario: str
    participants: int = 8
    reserves: bool = True
    """Whether payees answer RESERVED (1.1 and later), or COMMITTED as in 1.0."""
    ca_file: str = ""
    """With TLS: whom to believe, and what the participants' own servers show."""
    certificate_file: str = ""
    key_file: str = ""
    signing_keys: tuple[str, ...] = ()
    """With signatures: the PEM of each participant's private key."""
    pool_file: str = ""
    """With signatures: the payments that have been signed beforehand."""
    ends_file: str = ""
    connections_max: int = CONNECTIONS_MAX
    """Connections to the hub: so many requests are with it at most, and the others wait here."""


class Phase(msgspec.Struct, frozen=True):
    """One measurement."""

    shape: Shape
    warmup_seconds: float = 1.0
    seconds: float = 5.0


class Told(msgspec.Struct, array_like=True):
    """What payer and payee were told of one transfer: COMMITTED, ABORTED, REFUSED (never taken), or nothing."""

    transfer_id: str
    payer: str
    payee: str
    amount: int
    payer_told: str = ""
    payee_told: str = ""


class Ends(msgspec.Struct):
    """Every transfer that was sent to the hub."""

    told: list[Told]
    contradictions: list[str] = []
    """What somebody was told that cannot be: a second end."""


class PhaseReport(msgspec.Struct):
    """What the participants saw. Latencies count from the moment at which a payment was meant to begin."""

    committed: int
    """Payments that are counted: those that ended (closed loop) or were meant to begin (open loop) in the time."""
    seconds: float
    """The time measured."""
    per_second: float
    """Payments that ended COMMITTED in that time, by that time."""
    ended: int
    """As many of them."""
    latency: Latency
    hub_part: Latency
    """Of that, what was spent between a participant's message and what the hub made of it at the other side."""
    legs: dict[str, Latency]
    offered_per_second: float | None
    """In an open loop: the rate at which payments were meant to begin."""
    refused: int
    """Payments whose first or later message the hub refused."""
    resent: int
    not_begun: int
    """In an open loop: payments that were not even begun because too many were under way."""
    errors: dict[str, int]
    participants_cpu_seconds: float
    lateness: Latency
    """How late the participants' own event loop was: what it adds to every latency."""
    pool_ended: bool = False
    """Whether signed payments ran out before the time did; then the time is shorter."""
    closes_ms: list[float] = []
    """How long each close of a window took, from request to answer."""


def write_ends(path: Path, ends: Ends) -> None:
    """Writes them to a file."""
    path.write_bytes(msgspec.msgpack.encode(ends))


def read_ends(path: Path) -> Ends:
    """Reads them again."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Ends)
