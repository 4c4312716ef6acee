"""The channel ``log``: a line for each notification, once and not for each recipient. It needs no configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from vuka.config import Config
from vuka.plugins import Channel, Notification, hookimpl

log: Final = structlog.get_logger("vuka.notifications")


@hookimpl
def vuka_notification_channels(config: Config) -> Sequence[Channel]:
    """The log, unless it is switched off."""
    return [Channel(name="log", deliver=_write, tells_participants=False)] if config.notifications.log else []


def _write(notification: Notification, _address: str) -> None:
    is_alarm = notification.data.get("event") in ("RAISED", "REPEATED")
    (log.warning if is_alarm else log.info)(
        "a notification",
        notification=notification.id,
        kind=notification.kind,
        participant=notification.participant,
        currency=notification.currency,
        figures=dict(notification.data),
        is_test=notification.is_test,
    )
