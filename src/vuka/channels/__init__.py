"""The hub's own channels for notifications: the log, webhooks and e-mail.

Each is a plugin of `vuka.plugins.Hooks.vuka_notification_channels`, as a scheme's own are; what each needs of the
configuration it reads itself. `vuka.channels.words` says what notifications read like.
"""

from __future__ import annotations

from typing import Final

from vuka.channels import log, smtp, webhook
from vuka.config import Config
from vuka.plugins import Channel, Plugins

BUILT_IN: Final = (("log", log), ("webhook", webhook), ("smtp", smtp))
"""Plugins by name, in the order in which they are asked."""


def channels(config: Config, plugins: list[tuple[str, object]]) -> list[Channel]:
    """The channels of a hub, its own first. Raises `OperatorError` where one can't be used as it is configured."""
    return Plugins([*BUILT_IN, *plugins]).notification_channels(config)
