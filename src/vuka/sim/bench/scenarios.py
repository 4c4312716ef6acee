"""What is measured: which legs a payment has, and what goes on beside it.

A leg is a question of the payer to which the payee answers, both through the hub (FSPIOP API 1.1 §6.3, §6.5, §6.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from vuka.sim.bench.messages import SIGNED, Kind


class Leg(msgspec.Struct, frozen=True):
    """A question and its answer, and what identifies them on the wire."""

    name: str
    asks: Kind
    answers: Kind


LOOKUP: Final = Leg("lookup", Kind.LOOKUP, Kind.FOUND)
AGREEMENT: Final = Leg("quote", Kind.ASK, Kind.TERMS)
CLEARING: Final = Leg("transfer", Kind.PREPARE, Kind.FULFIL)


class Scenario(msgspec.Struct, frozen=True):
    """Payments of the same legs, the last of which is the transfer."""

    name: str
    title: str
    legs: tuple[Leg, ...]
    closes_every_seconds: float | None = None
    """How often an operator closes the settlement window meanwhile; all of them are settled in the end."""

    @property
    def signed(self) -> tuple[Kind, ...]:
        """The messages of one payment that are signed, where participants sign."""
        return tuple(kind for leg in self.legs for kind in (leg.asks, leg.answers) if kind in SIGNED)

    @property
    def looks_up(self) -> bool:
        """Whether parties must be registered."""
        return LOOKUP in self.legs


SCENARIOS: Final[Mapping[str, Scenario]] = {
    each.name: each
    for each in (
        Scenario("clearing", "Clearing: the transfer alone", (CLEARING,)),
        Scenario("payment", "Full payment: lookup, quote, transfer", (LOOKUP, AGREEMENT, CLEARING)),
        Scenario("settlement", "Clearing while windows close", (CLEARING,), closes_every_seconds=1.0),
    )
}
