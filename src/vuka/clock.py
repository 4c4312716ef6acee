"""The machine's clock, by which a hub decides what has expired."""

from __future__ import annotations

import time


def clock_ms() -> int:
    """The machine's clock: milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
