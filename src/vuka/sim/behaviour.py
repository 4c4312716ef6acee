"""How a simulated participant behaves: as it should, or in one of the ways in which participants of life go wrong.

A scheme is proven by what it does with the others, so each can be switched on while the participant runs, by a test
(`vuka.sim.participant.Participant.conduct`) or by people over HTTP (``PUT /sim/behaviour`` on its own port).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

DELAY_MS: Final = 500
"""How late a slow participant answers, in milliseconds, where nobody says otherwise."""

DELAY_MS_MAX: Final = 600_000


class Conduct(StrEnum):
    """How a participant behaves when it is asked."""

    NORMAL = "normal"
    SLOW = "slow"
    """Answers whatever it is asked after `Participant.delay_ms`."""
    SILENT = "silent"
    """Takes a transfer and never answers it; lookups and quotes it answers."""
    REJECTS_QUOTES = "rejects-quotes"
    ABORTS = "aborts"
    """Declines transfers with PUT …/error."""
    WRONG_FULFILMENT = "wrong-fulfilment"
    DUPLICATES = "duplicates"
    """Sends each answer twice."""
    MODIFIED_DUPLICATES = "modified-duplicates"
    """Sends each answer to a transfer twice, the second time changed."""
    HANGS = "hangs"
    """Takes connections and answers no request."""
    FAILS = "fails"
    """Answers every request with HTTP 500."""
    WRONG_SOURCE = "wrong-source"
    """Answers transfers in the name of another participant."""


class BehaviourRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``PUT /sim/behaviour``: ``{"kind": "slow", "delayMs": 2000}``; ``conduct`` is read as ``kind``."""

    kind: Conduct | None = None
    conduct: Conduct | None = None
    delay_ms: int = DELAY_MS

    def __post_init__(self) -> None:
        if (self.kind is None) == (self.conduct is None):
            raise ValueError("kind is required: one of " + ", ".join(Conduct))
        if not 0 <= self.delay_ms <= DELAY_MS_MAX:
            raise ValueError(f"delayMs must be 0 to {DELAY_MS_MAX}")

    @property
    def wanted(self) -> Conduct:
        """What it asks for."""
        return self.kind or self.conduct or Conduct.NORMAL
