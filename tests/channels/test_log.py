"""The log as a channel: one line for each notification, and an alarm is a warning."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from vuka.channels import channels, log
from vuka.channels.words import compose
from vuka.config import Config, Notifications
from vuka.errors import OperatorError
from vuka.plugins import NOTIFICATION_KINDS, THRESHOLD_BREACH, Channel, Notification, hookimpl


def written(data: dict[str, str]) -> dict[str, object]:
    (channel,) = log.vuka_notification_channels(Config())
    with capture_logs() as lines:
        channel.deliver(
            compose(
                delivery_id="7-1",
                kind=THRESHOLD_BREACH,
                participant="greenbank",
                recipient="Hub",
                currency="USD",
                created_ms=0,
                data=data,
                scheme="Kibali",
            ),
            "",
        )
    (line,) = lines
    return dict(line)


def test_a_line_has_the_figures_beside_a_fixed_sentence() -> None:
    data = {"event": "RAISED", "position": "800"}
    assert written(data) == {
        "event": "a notification",
        "log_level": "warning",
        "notification": "7-1",
        "kind": THRESHOLD_BREACH,
        "participant": "greenbank",
        "currency": "USD",
        "figures": data,
        "is_test": False,
    }


@pytest.mark.parametrize(("event", "level"), [("RAISED", "warning"), ("REPEATED", "warning"), ("CLEARED", "info")])
def test_an_alarm_is_a_warning_and_its_end_is_not(event: str, level: str) -> None:
    assert written({"event": event})["log_level"] == level


def test_it_is_written_once_and_not_for_each_recipient() -> None:
    (channel,) = log.vuka_notification_channels(Config())
    assert (channel.endpoints, channel.tells_participants) == (None, False)


def test_it_may_be_switched_off() -> None:
    assert log.vuka_notification_channels(Config(notifications=Notifications(log=False))) == []


# --- all channels of a hub ----------------------------------------------------------------------------------------


class Slack:
    """A plugin with a channel of its own."""

    def __init__(self, name: str = "slack") -> None:
        self.name = name

    @hookimpl
    def vuka_notification_channels(self, config: Config) -> list[Channel]:
        return [Channel(name=self.name, deliver=_ignore)]


def _ignore(_notification: Notification, _address: str) -> None:
    pass


def test_the_hubs_own_channels_come_first_and_plugins_of_the_same_hook_after_them() -> None:
    mail = Notifications(smtp_host="127.0.0.1", smtp_from="hub@scheme.example")
    found = channels(Config(notifications=mail), [("slack", Slack())])
    assert [channel.name for channel in found] == ["log", "webhook", "smtp", "slack"]
    assert all(channel.endpoints is None or set(channel.endpoints) == set(NOTIFICATION_KINDS) for channel in found)


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(OperatorError, match="Two plugins call a channel log"):
        channels(Config(), [("other", Slack("log"))])


@pytest.mark.parametrize("name", ["", "Slack", "with space", "-x", "x" * 40])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OperatorError, match="must be small letters"):
        channels(Config(), [("other", Slack(name))])


def test_a_plugin_that_fails_or_gives_what_is_no_channel_keeps_the_hub_from_starting() -> None:
    class Broken:
        @hookimpl
        def vuka_notification_channels(self) -> list[Channel]:
            raise RuntimeError("no address of the chat")

    class Odd:
        @hookimpl
        def vuka_notification_channels(self) -> object:
            return ["slack"]

    with pytest.raises(OperatorError, match="The plugin chat can't be used: no address of the chat"):
        channels(Config(), [("chat", Broken())])
    with pytest.raises(OperatorError, match="A plugin gave list for a list of channels"):
        channels(Config(), [("odd", Odd())])
