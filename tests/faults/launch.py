"""``python -m tests.faults.launch OFFSET_FILE serve …``: the ``vuka`` command, with a clock that a test may set.

The file holds, as one 64-bit number, by how many milliseconds the hub's clock is ahead of the machine's. Nothing but
the clock that the hub passes to its parts is another one; how long a wait lasts is still measured by the machine.
"""

from __future__ import annotations

import mmap
import struct
import sys
from pathlib import Path

from vuka.api import hub

OFFSET = struct.Struct("=q")


def set_offset(file: Path, offset_ms: int) -> None:
    """Sets the clock of whoever was launched with that file; makes it where it is missing."""
    with file.open("r+b" if file.exists() else "wb") as handle:
        handle.write(OFFSET.pack(offset_ms))


def main() -> None:
    """Runs the command by the other clock."""
    with Path(sys.argv[1]).open("r+b") as handle:
        offset = mmap.mmap(handle.fileno(), OFFSET.size)
    by_the_machine = hub.clock_ms

    def clock_ms() -> int:
        (ahead_ms,) = OFFSET.unpack(offset[:])
        return by_the_machine() + int(ahead_ms)

    hub.clock_ms = clock_ms
    assert hub.Hub.__init__.__kwdefaults__["clock"] is by_the_machine
    hub.Hub.__init__.__kwdefaults__["clock"] = clock_ms
    sys.argv[1:2] = []
    from vuka.cli import main as command

    command()


if __name__ == "__main__":
    main()
