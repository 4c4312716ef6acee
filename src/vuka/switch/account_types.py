"""Ledger account types: what accounts may be for.

The reference's own come with the scheme, numbered as its seeds are; a scheme adds others (hub reference §5.1). A type
alone opens no account: a settlement model that names it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.store import Tx
from vuka.switch.directory import INTERNAL_ACCOUNT_TYPES
from vuka.switch.work import Command, Outcome, Work

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


class AddLedgerAccountType(Command, frozen=True, kw_only=True):
    """``POST /ledgerAccountTypes``: one more thing that accounts may be for."""

    name: str
    description: str
    is_active: bool
    is_settleable: bool
    by: str = "operator"


class LedgerAccountType(msgspec.Struct, frozen=True):
    """A ledger account type as operators see it."""

    ledger_account_type_id: int
    name: str
    description: str
    is_active: bool
    is_settleable: bool


def add(work: Work, commands: Sequence[AddLedgerAccountType]) -> list[Outcome]:
    """Stores types. No account is opened by that: a settlement model that names the type does it."""
    return [_add(work, command) for command in commands]


def _add(work: Work, command: AddLedgerAccountType) -> Outcome:
    exists = work.tx.query("SELECT 1 FROM ledger_account_type WHERE name = ?", (command.name,))
    if exists or command.name in INTERNAL_ACCOUNT_TYPES:
        return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, "This Ledger Account Type already exists"))
    work.tx.run(
        """INSERT INTO ledger_account_type (name, description, is_active, is_settleable, created_ms, created_by)
           VALUES (?, ?, ?, ?, ?, ?)""",
        (
            command.name,
            command.description,
            int(command.is_active),
            int(command.is_settleable),
            work.now_ms,
            command.by,
        ),
    )
    return Outcome(note=f"ledger account type {command.name} created")


def account_types(tx: Tx) -> list[LedgerAccountType]:
    """Every ledger account type, in the order of its number."""
    rows = tx.query(
        """SELECT ledger_account_type_id, name, description, is_active, is_settleable
           FROM ledger_account_type ORDER BY ledger_account_type_id"""
    )
    return [LedgerAccountType(row[0], row[1], row[2], bool(row[3]), bool(row[4])) for row in rows]


USE_CASES: Final = ((add, AddLedgerAccountType),)
"""What is decided here."""
