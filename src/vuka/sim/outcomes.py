"""What participants were told, on disk: one line of JSON for each end of a transfer.

A line is written and flushed to the operating system when the hub's word arrives, so the file outlives its process
(not the machine: nothing is synced). Tests that kill processes compare these files with the hub's records.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import msgspec


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """One end, as one participant was told it. ``amount`` is in minor units, ``at_ms`` in UTC milliseconds."""

    at_ms: int
    transfer_id: str
    participant: str
    role: str
    """``payer`` or ``payee``."""
    state: str
    """``COMMITTED`` or ``ABORTED``."""
    amount: int = 0
    currency: str = ""
    error: str = ""


class Outcomes:
    """An append-only file of outcomes; several participants of one process may share it."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; what it has stays. Raises `OSError`."""
        self.path = path
        self._encoder = msgspec.json.Encoder()
        _end_last_line(path)
        self._file = path.open("ab")

    def add(self, outcome: Outcome) -> None:
        """Writes one line."""
        self._file.write(self._encoder.encode(outcome) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file; again does nothing."""
        self._file.close()

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()


def _end_last_line(path: Path) -> None:
    """Ends a line that a killed process left unfinished, so that the next one is not lost with it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes of a file, in their order. A line that a killed process left unfinished is passed over."""
    found: list[Outcome] = []
    decoder = msgspec.json.Decoder(Outcome)
    with path.open("rb") as file:
        for line in file:
            try:
                found.append(decoder.decode(line))
            except msgspec.DecodeError:
                continue
    return found
