"""Orders in every format that a settlement bank may want."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from vuka.bankfiles.camt050 import write_camt050
from vuka.bankfiles.instructions_csv import write_instructions_csv
from vuka.bankfiles.model import File, Order
from vuka.bankfiles.pacs009 import write_pacs009

FORMATS: Final[Mapping[str, Callable[[Order], list[File]]]] = {
    "csv": write_instructions_csv,
    "pacs.009": write_pacs009,
    "camt.050": write_camt050,
}
"""What writes an order, by the format's name: one file or several, the same for the same order."""
