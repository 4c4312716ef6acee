"""Notifications: what people are told of the scheme, beyond what participants' systems are told.

A notification is a row written in the commit of what it tells; `vuka.engine.notifier` delivers it from there, so that
none is lost and none told of what did not happen. The kinds are the reference's three (hub reference §4.12), each
named as the endpoint type without its ``_EMAIL`` that says where its e-mails go:

- a net debit cap was set or changed: by an operator, or by a settlement that must take a position beyond it;
- its use has reached the alarm's threshold, still has, or no longer does (`vuka.switch.alarms`);
- settlement has moved a position.

A cap that is a share of the liquidity moves with every movement of funds: that is no change of the limit, and not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from vuka.ids import FspId
from vuka.money import format_amount
from vuka.plugins import ADJUSTMENT, POSITION_CHANGE
from vuka.switch.cap_use import cap_uses, figures, show_share
from vuka.switch.directory import POSITION, Account, Participant
from vuka.switch.work import Work


class AdjustmentCause(StrEnum):
    """Why a net debit cap is another one now."""

    INITIAL = "INITIAL"
    ADJUSTED = "ADJUSTED"
    SETTLEMENT = "SETTLEMENT"


def notify(work: Work, kind: str, participant: str, currency: str, data: dict[str, str]) -> None:
    """Has people told of something, if the batch commits. ``data`` holds figures as people write them."""
    work.tx.run(
        """INSERT INTO notification (notification_id, kind, participant, currency, data, created_ms)
           VALUES (?, ?, ?, ?, ?, ?)""",
        (work.next_id(), kind, participant, currency, msgspec.json.encode(data).decode(), work.now_ms),
    )


def notify_adjusted(work: Work, cause: AdjustmentCause, former: Sequence[tuple[FspId, Account]]) -> None:
    """Tells of net debit caps that are in force now, with the positions' use of them.

    ``former`` are the positions that have them, as they were before.
    """
    owners = [work.directory.participants[name] for name, _ in former]
    positions = [
        (owner, owner.accounts[before.currency, POSITION]) for owner, (_, before) in zip(owners, former, strict=True)
    ]
    uses = cap_uses(work.ledger, positions)
    for (owner, position), use, (_, before) in zip(positions, uses, former, strict=True):
        data = {"cause": cause.value, **_former_limit(before), **figures(position, use)}
        notify(work, ADJUSTMENT, owner.name, position.currency, data)


def _former_limit(before: Account) -> dict[str, str]:
    if before.net_debit_cap is None:
        return {}
    if before.liquidity_share is not None:
        return {"formerLiquidityPercentage": show_share(before.liquidity_share)}
    return {"formerLimit": format_amount(before.net_debit_cap)}


def notify_settled(work: Work, settlement_id: int, moved: Sequence[tuple[Participant, Account]]) -> None:
    """Tells of positions that a settlement has moved."""
    for (participant, position), use in zip(moved, cap_uses(work.ledger, moved), strict=True):
        data = {"settlementId": str(settlement_id), **figures(position, use)}
        notify(work, POSITION_CHANGE, participant.name, position.currency, data)
