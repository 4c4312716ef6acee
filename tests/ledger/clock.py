"""Where clocks that a test can move begin."""

from typing import Final

from vuka.ledger.model import NS_PER_S

START_NS: Final = 1_700_000_000 * NS_PER_S
"""2023-11-14T22:13:20Z, in nanoseconds since 1970."""
