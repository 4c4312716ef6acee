"""Ledger account types: what accounts may be for.

The reference's own come with the scheme, numbered as its seeds are; a scheme adds others (hub reference §5.1). A type
alone opens no account: a settlement model that names it does.
"""

from __future__ import annotations

from typing import Final

from vuka.store import Tx

LEDGER_ACCOUNT_TYPES: Final = (
    ("POSITION", "Typical accounts from which a DFSP provisions transfers", True),
    ("SETTLEMENT", "Reflects the individual DFSP Settlement Accounts as held at the Settlement Bank", False),
    (
        "HUB_RECONCILIATION",
        "A single account for each currency with which the hub operates, held by the hub: funds in and out",
        False,
    ),
    (
        "HUB_MULTILATERAL_SETTLEMENT",
        "A single account for each currency with which the hub operates, held by the hub: the other side of settlement",
        False,
    ),
    ("INTERCHANGE_FEE", "Fees that participants owe each other", True),
    ("INTERCHANGE_FEE_SETTLEMENT", "Where fees that participants owe each other are settled", False),
    ("HUB_FEE", "Fees that participants owe the hub", False),
)
"""Name, description, and whether it can be settled."""


def seed(tx: Tx, *, by: str, now_ms: int) -> None:
    """Writes the types that every scheme has."""
    tx.run_many(
        """INSERT INTO ledger_account_type (name, description, is_active, is_settleable, created_ms, created_by)
           VALUES (?, ?, 1, ?, ?, ?)""",
        [
            (name, description, int(is_settleable), now_ms, by)
            for name, description, is_settleable in LEDGER_ACCOUNT_TYPES
        ],
    )
