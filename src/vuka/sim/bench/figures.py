"""What is made of measured times: percentiles by nearest rank, so that every figure is one that was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

PARTS: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}


class Latency(msgspec.Struct, frozen=True):
    """The distribution of times, in milliseconds; all zero where there was none."""

    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest of the ordered figures that at least ``part`` (above 0, at most 1) of them do not exceed."""
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    if not 0 < part <= 1:
        raise ValueError(f"a percentile is a part above 0 and at most 1, not {part}")
    # 0.95 × 20 is 19.000000000000004 or 18.999999999999996, by the machine's arithmetic: both mean the 19th.
    return ordered[max(math.ceil(round(part * len(ordered), 9)), 1) - 1]


def latency(seconds: Sequence[float]) -> Latency:
    """The distribution of times given in seconds, in any order."""
    if not seconds:
        return Latency()
    ordered = sorted(seconds)
    p50, p95, p99, p999 = (round(percentile(ordered, part) * 1000, 3) for part in PARTS.values())
    return Latency(p50, p95, p99, p999, round(ordered[-1] * 1000, 3))
