"""What people read: the participant and the hub, of each kind, with the figures as they are."""

from __future__ import annotations

import pytest

from vuka.channels.words import compose
from vuka.plugins import ADJUSTMENT, NOTIFICATION_KINDS, POSITION_CHANGE, THRESHOLD_BREACH, Notification

USE = {
    "limit": "1000",
    "position": "812.3456",
    "available": "187.6544",
    "percentageUsed": "81.23",
    "alarmPercentage": "80",
}


def told(kind: str, data: dict[str, str], *, recipient: str = "greenbank", scheme: str = "Kibali") -> Notification:
    return compose(
        delivery_id="7-1",
        kind=kind,
        participant="greenbank",
        recipient=recipient,
        currency="USD",
        created_ms=1_700_000_000_123,
        data={**USE, **data},
        scheme=scheme,
    )


RAISED = {"event": "RAISED", "threshold": "80"}


def test_a_participant_reads_how_far_its_cap_is_used_and_what_follows() -> None:
    notification = told(THRESHOLD_BREACH, RAISED)
    assert notification.subject == "[Kibali] greenbank uses 81.23 % of its net debit cap in USD"
    assert notification.text == (
        "Dear greenbank,\n"
        "\n"
        "Your position has reached the alarm threshold (80 %) of the net debit cap in USD.\n"
        "Once it reaches the cap your outgoing transfers will be refused.\n"
        "Please take in time what steps you need to improve your position.\n"
        "\n"
        "  Participant     greenbank\n"
        "  Net debit cap   1,000.00 USD\n"
        "  Position        812.3456 USD\n"
        "  Used            81.23 %\n"
        "  Can still send  187.6544 USD\n"
        "  At              2023-11-14T22:13:20.123Z\n"
        "\n"
        "This message was written by the hub of the scheme Kibali.\n"
    )


def test_the_hub_reads_of_whom_it_is() -> None:
    text = told(THRESHOLD_BREACH, RAISED, recipient="Hub").text
    assert text.startswith("Dear operator of the hub,\n\nThe position of greenbank has reached the alarm threshold")
    assert "Your" not in text


def test_a_reminder_says_which_it_is() -> None:
    data = {"event": "REPEATED", "threshold": "80", "repeat": "2", "repeatsMax": "3"}
    notification = told(THRESHOLD_BREACH, data)
    assert notification.subject.startswith("[Kibali] Reminder: greenbank uses 81.23 %")
    assert "This is reminder 2 of at most 3 in one reset period." in notification.text


def test_the_end_of_an_alarm_is_no_alarm() -> None:
    notification = told(THRESHOLD_BREACH, {"event": "CLEARED", "threshold": "80"})
    assert notification.subject == "[Kibali] greenbank: the alarm about the net debit cap in USD is over"
    assert "refused" not in notification.text


def test_of_a_cap_of_0_there_is_no_percentage() -> None:
    notification = compose(
        delivery_id="7-1",
        kind=THRESHOLD_BREACH,
        participant="greenbank",
        recipient="greenbank",
        currency="USD",
        created_ms=0,
        data={**RAISED, "limit": "0", "position": "1", "available": "0"},
        scheme="Kibali",
    )
    assert notification.subject == "[Kibali] greenbank uses more than all of its net debit cap in USD"
    assert "Used" not in notification.text


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"cause": "INITIAL"}, "It is the first."),
        ({"cause": "ADJUSTED", "formerLimit": "900.5"}, "An operator of the hub has adjusted it."),
        ({"cause": "SETTLEMENT", "formerLimit": "900.5"}, "A settlement has raised it"),
    ],
)
def test_an_adjustment_tells_the_cap_before_and_why(data: dict[str, str], sentence: str) -> None:
    notification = told(ADJUSTMENT, data)
    assert notification.subject == "[Kibali] Net debit cap of greenbank: 1,000.00 USD"
    assert "Your net debit cap in USD is 1,000.00 USD now.\n" + sentence in notification.text
    assert ("  Before          900.50 USD\n" in notification.text) == ("formerLimit" in data)


def test_a_cap_that_is_a_share_says_so() -> None:
    data = {"cause": "ADJUSTED", "liquidityPercentage": "12.5", "formerLiquidityPercentage": "20"}
    text = told(ADJUSTMENT, data).text
    assert "  Net debit cap   1,000.00 USD (12.5 % of the liquidity)\n" in text
    assert "  Before          20 % of the liquidity\n" in text


def test_a_position_that_settlement_has_moved_is_told_with_the_settlement() -> None:
    notification = told(POSITION_CHANGE, {"settlementId": "12", "position": "-30"})
    assert notification.subject == "[Kibali] Settlement 12 has moved the position of greenbank in USD"
    assert "Settlement 12 has moved your position in USD: it is -30.00 USD now." in notification.text
    hub = told(POSITION_CHANGE, {"settlementId": "12"}, recipient="Hub").text
    assert "has moved the position of greenbank in USD" in hub


@pytest.mark.parametrize("kind", NOTIFICATION_KINDS)
def test_a_test_says_that_it_is_one(kind: str) -> None:
    notification = compose(
        delivery_id="test-1",
        kind=kind,
        participant="greenbank",
        recipient="Hub",
        currency="XTS",
        created_ms=0,
        data=USE,
        scheme="Kibali",
        is_test=True,
    )
    assert (notification.is_test, notification.subject.startswith("[Kibali] Test: ")) == (True, True)
    assert "This is a test of the channel: nothing of it has happened." in notification.text


def test_no_name_of_a_scheme_begins_another_header() -> None:
    notification = told(ADJUSTMENT, {}, scheme="Kibali\r\nBcc: everybody@example")
    assert notification.subject.startswith("[Kibali Bcc: everybody@example] ")
    assert "\n" not in notification.subject


def test_a_figure_larger_than_any_amount_is_told_as_it_is() -> None:
    assert "Position        9223372036854775808.5 USD" in told(ADJUSTMENT, {"position": "9223372036854775808.5"}).text


def test_a_figure_that_is_missing_keeps_nobody_from_being_told() -> None:
    notification = compose(
        delivery_id="7-1",
        kind=POSITION_CHANGE,
        participant="greenbank",
        recipient="greenbank",
        currency="USD",
        created_ms=0,
        data={},
        scheme="Kibali",
    )
    assert "it is ? USD now" in notification.text
