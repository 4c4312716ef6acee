"""When payments begin: closed loop, so many always under way; or open loop, so many a second whatever becomes of them.

In a closed loop a hub that is slow is asked less, so its latency looks better than what anybody meets who comes by
the clock. In an open loop each payment has the moment at which it is meant to begin, and its latency counts
from then, also where it could only be sent later.
"""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """A load: ``concurrency`` payments under way at once, or ``rate`` of them beginning each second."""

    concurrency: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("a load has either a concurrency or a rate")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError("a concurrency is 1 or more")
        if self.rate is not None and not self.rate > 0:
            raise ValueError("a rate is more than 0")

    @property
    def name(self) -> str:
        """How it is called in reports."""
        if self.rate is None:
            return f"closed, {self.concurrency} under way"
        return f"open, {self.rate:,.0f}/s"


class Schedule:
    """The moments at which payments of an open loop are meant to begin: evenly, from ``began`` on, in seconds."""

    def __init__(self, rate: float, began: float, seconds: float) -> None:
        self._interval = 1 / rate
        self._began = began
        self._count = round(rate * seconds)
        self._given = 0

    def _moment(self, number: int) -> float:
        # Multiplied, not added up: the thousandth is as exact as the first.
        return self._began + number * self._interval

    def due(self, now: float) -> list[float]:
        """The moments that have come since the last call, each once, however late it is."""
        moments: list[float] = []
        while self._given < self._count and (moment := self._moment(self._given)) <= now:
            moments.append(moment)
            self._given += 1
        return moments

    @property
    def next(self) -> float | None:
        """When the next one is due; None where there is none left."""
        return self._moment(self._given) if self._given < self._count else None
