"""Sets of rules that operators put in force: of each kind at most one at a time, and every version kept.

What the rules of a kind may say is the business of the module that runs them (`vuka.switch.quote_rules`,
`vuka.switch.fees`); here they are texts of JSON that have been checked.
What all of them see of a participant is here too.
"""

from __future__ import annotations

import msgspec

from vuka.store import Tx
from vuka.switch.directory import INTERNAL_ACCOUNT_TYPES, Directory
from vuka.switch.work import Work


class StoredRuleSet(msgspec.Struct, frozen=True):
    """One version of the rules of a kind."""

    rule_set_id: int
    content: str
    is_active: bool
    created_ms: int
    created_by: str


def put_in_force(work: Work, kind: str, content: str, by: str) -> int:
    """Makes ``content`` the rules of that kind, instead of those before, which stay for the record; its version."""
    work.tx.run("UPDATE rule_set SET is_active = 0 WHERE kind = ? AND is_active = 1", (kind,))
    ((rule_set_id,),) = work.tx.query(
        """INSERT INTO rule_set (kind, content, is_active, created_ms, created_by)
           VALUES (?, ?, 1, ?, ?) RETURNING rule_set_id""",
        (kind, content, work.now_ms, by),
    )
    work.directory_changed()
    return int(rule_set_id)


def history(tx: Tx, kind: str, *, limit: int, active_only: bool = False) -> list[StoredRuleSet]:
    """Versions of the rules of a kind, the newest first."""
    rows = tx.query(
        """SELECT rule_set_id, content, is_active, created_ms, created_by FROM rule_set
           WHERE kind = ? AND (? = 0 OR is_active = 1) ORDER BY rule_set_id DESC LIMIT ?""",
        (kind, int(active_only), limit),
    )
    return [
        StoredRuleSet(rule_set_id, content, bool(is_active), created_ms, created_by)
        for rule_set_id, content, is_active, created_ms, created_by in rows
    ]


def participant_fact(directory: Directory, name: str) -> dict[str, object]:
    """A participant in the shape of the reference's administrative API: flags are 0 and 1, as there."""
    participant = directory.get(name)
    if participant is None:
        return {"name": name, "isActive": 0, "isProxy": 0, "accounts": []}
    return {
        "name": participant.name,
        "isActive": int(participant.is_active),
        "isProxy": int(participant.is_proxy),
        "accounts": [
            {
                "id": account.account_id,
                "ledgerAccountType": account.type,
                "currency": account.currency,
                "isActive": int(account.is_active),
            }
            for account in sorted(participant.accounts.values(), key=lambda each: each.account_id)
            if account.type not in INTERNAL_ACCOUNT_TYPES
        ],
    }
