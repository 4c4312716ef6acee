"""Notifications: what people are told of the scheme, beyond what participants' systems are told.

A notification is a row written in the commit of what it tells; the channels that deliver it read it from there, so
that none is lost and none told of what did not happen.
"""

from __future__ import annotations

from typing import Final

import msgspec

from vuka.switch.work import Work

THRESHOLD_BREACH: Final = "NET_DEBIT_CAP_THRESHOLD_BREACH"
ADJUSTMENT: Final = "NET_DEBIT_CAP_ADJUSTMENT"
POSITION_CHANGE: Final = "SETTLEMENT_TRANSFER_POSITION_CHANGE"


def notify(work: Work, kind: str, participant: str, currency: str, data: dict[str, str]) -> None:
    """Has people told of something, if the batch commits. ``data`` holds figures as people write them."""
    work.tx.run(
        """INSERT INTO notification (notification_id, kind, participant, currency, data, created_ms)
           VALUES (?, ?, ?, ?, ?, ?)""",
        (work.next_id(), kind, participant, currency, msgspec.json.encode(data).decode(), work.now_ms),
    )
