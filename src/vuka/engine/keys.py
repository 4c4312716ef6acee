"""Keys of records: 63 bits that grow with time, so that tables append, and that no two hub processes share."""

from __future__ import annotations

import threading
from typing import Final

from vuka.switch.journal import KEY_TIME_SHIFT

_NODE_BITS: Final = 8
_SEQUENCE_BITS: Final = KEY_TIME_SHIFT - _NODE_BITS
NODE_MAX: Final = (1 << _NODE_BITS) - 1

NODE_OF_KEY: Final = f"(({{}} >> {_SEQUENCE_BITS}) & {NODE_MAX})"
"""In SQL: the number of the node that made a key."""


class KeySource:
    """Makes keys: milliseconds since 1970 (42 bits), the node (8), a count within the millisecond (13).

    ``above`` is the highest key already in the tables: a clock set back never makes a key twice. Any thread may ask.
    """

    __slots__ = ("_at_ms", "_lock", "_node", "_sequence")

    def __init__(self, *, node: int = 0, above: int = 0) -> None:
        if not 0 <= node <= NODE_MAX:
            raise ValueError(f"a node's number is 0..{NODE_MAX}, not {node}")
        self._node = node
        self._at_ms = (above >> KEY_TIME_SHIFT) + 1 if above else 0
        self._sequence = 0
        self._lock = threading.Lock()

    def next(self, now_ms: int) -> int:
        """A key never made before, in whichever thread."""
        with self._lock:
            if now_ms > self._at_ms:
                self._at_ms = now_ms
                self._sequence = 0
            elif self._sequence + 1 < 1 << _SEQUENCE_BITS:
                self._sequence += 1
            else:
                self._at_ms += 1
                self._sequence = 0
            return (((self._at_ms << _NODE_BITS) | self._node) << _SEQUENCE_BITS) | self._sequence

    def rise_above(self, key: int) -> None:
        """Makes no key of the millisecond of ``key``, or before."""
        with self._lock:
            self._at_ms = max(self._at_ms, (key >> KEY_TIME_SHIFT) + 1)


def node_of(key: int) -> int:
    """The number of the node that made a key."""
    return (key >> _SEQUENCE_BITS) & NODE_MAX


def key_time_ms(key: int) -> int:
    """When a key was made, to the millisecond."""
    return key >> KEY_TIME_SHIFT


def key_floor(at_ms: int) -> int:
    """The lowest key of that millisecond: keys below it were made earlier."""
    return at_ms << KEY_TIME_SHIFT
