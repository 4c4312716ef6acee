"""``vuka notification``, alarms in ``vuka participant``, and that no command shows a secret."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.answering import answering
from tests.cli.conftest import refused, vuka, vuka_process

from vuka.cli.hub import found
from vuka.cli.process import HubProcess, hub_process
from vuka.config import load
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.sim.participant import now_ms
from vuka.sim.unquoted import CONDITION, ILP_PACKET

PASSWORD = "correct horse battery"
ENVIRONMENT = {
    "VUKA_ENGINE_TIMER_MS": "20",
    "VUKA_NOTIFICATIONS_ALARM_CHECK_MS": "20",
    "VUKA_NOTIFICATIONS_SMTP_HOST": "127.0.0.1",
    "VUKA_NOTIFICATIONS_SMTP_PORT": "1",
    "VUKA_NOTIFICATIONS_SMTP_FROM": "hub@scheme.example",
    "VUKA_NOTIFICATIONS_SMTP_USER": "hub",
    "VUKA_NOTIFICATIONS_SMTP_PASSWORD": PASSWORD,
    "VUKA_NOTIFICATIONS_WEBHOOK_SECRET": "hush hush",
}
WAIT_SECONDS = 20


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub with two participants: greenbank's webhook is gone, so that what it is told is parked at once."""
    data = tmp_path_factory.mktemp("notifications")
    found(load(None, {}, data_dir=str(data)), "Notifications", ["USD"])
    with answering(410) as gone, hub_process(data, environment=ENVIRONMENT) as running:
        url = running.operators_url
        for name in ("greenbank", "pesapay"):
            said(url, "participant", "add", name, "-c", "USD")
        said(url, "participant", "endpoint", "greenbank", "ALARM_NOTIFICATION_URL", gone)
        for name in ("greenbank", "pesapay"):
            said(url, "participant", "limit", name, "1000", "-c", "USD")
            said(url, "funds", "in", name, "1000 USD")
        yield running
    assert PASSWORD not in running.log_path.read_text()
    assert "hush hush" not in running.log_path.read_text()


def said(url: str, *arguments: str) -> str:
    result = vuka(*arguments, "--url", url, environment={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def parked(url: str) -> str:
    """The notification that is parked, as soon as it is."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        listed = json.loads(said(url, "notification", "list", "--state", "parked", "--json"))
        if listed:
            number: str = listed[0]["notificationId"]
            return number
        time.sleep(0.05)
    raise AssertionError("nothing was parked")


def reserve(hub: HubProcess, amount: str) -> None:
    """A payment of greenbank to pesapay that is not answered."""
    body = {
        "transferId": str(uuid.uuid4()),
        "payerFsp": "greenbank",
        "payeeFsp": "pesapay",
        "amount": {"amount": amount, "currency": "USD"},
        "ilpPacket": ILP_PACKET,
        "condition": CONDITION,
        "expiration": format_datetime_ms(now_ms() + 600_000),
    }
    headers = hub_headers(
        "transfers",
        Version.V1_1,
        method="POST",
        source="greenbank",
        destination="pesapay",
        uri="/transfers",
        now_ms=now_ms(),
    )
    url = f"{hub.participants_url}/transfers"
    answer = httpx.post(url, content=msgspec.json.encode(body), headers=headers, trust_env=False)
    assert answer.status_code == 202, answer.text


def test_what_is_parked_is_listed_shown_and_sent_again(hub: HubProcess) -> None:
    url = hub.operators_url
    number = parked(url)
    listed = said(url, "notification", "list", "--state", "parked", "--participant", "greenbank")
    assert number in listed
    assert "webhook to greenbank parked" in listed
    assert "initial, position 0, cap 1000 USD, 0.00 %" in listed
    shown = said(url, "notification", "show", number)
    assert "NET_DEBIT_CAP_ADJUSTMENT of greenbank in USD" in shown
    assert "answered 410" in shown
    assert json.loads(said(url, "notification", "show", number, "--json"))["notificationId"] == number
    assert said(url, "notification", "resend", number) == "1 delivery is on the way again."
    parked(url)
    assert said(url, "notification", "resend", "--all", "--channel", "webhook") == "1 delivery is on the way again."
    parked(url)


def test_what_nobody_has_an_address_for_is_listed_too(hub: HubProcess) -> None:
    listed = json.loads(said(hub.operators_url, "notification", "list", "--kind", "net_debit_cap_adjustment", "--json"))
    assert {each["participant"] for each in listed} == {"greenbank", "pesapay"}


def test_a_command_that_makes_no_sense_is_refused_with_a_sentence(hub: HubProcess) -> None:
    url = ("--url", hub.operators_url)
    assert refused("notification", "resend", *url) == "Name one notification, or say --all."
    assert refused("notification", "resend", "7", "--all", *url) == "Name one notification, or say --all."
    assert "No delivery of notification 7 is parked" in refused("notification", "resend", "7", *url)
    assert "there is no notification 7" in refused("notification", "show", "7", *url)
    assert '"state" must be one of' in refused("notification", "list", "--state", "lost", *url)
    assert "There is no channel fax" in refused("notification", "test", "fax", *url)


def test_a_channel_is_tried(hub: HubProcess) -> None:
    url = hub.operators_url
    assert said(url, "notification", "test", "log") == "log has delivered to Hub."
    sentence = refused("notification", "test", "webhook", "--participant", "greenbank", "--url", url)
    assert re.sub(r"\(http://127\.0\.0\.1:\d+\)", "(URL)", sentence) == (
        "webhook could not deliver to greenbank (URL): answered 410."
    )
    assert "pesapay has no endpoint ALARM_NOTIFICATION_URL" in refused(
        "notification", "test", "webhook", "--participant", "pesapay", "--url", url
    )
    said(url, "participant", "endpoint", "Hub", "NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL", "desk@hub.example")
    sentence = refused("notification", "test", "smtp", "--url", url)
    assert sentence.startswith("smtp could not deliver to Hub (desk@hub.example): the mail server can't be reached")


def test_the_channels_are_listed(hub: HubProcess) -> None:
    listed = said(hub.operators_url, "notification", "channels")
    for word in ("log", "webhook", "smtp", "ALARM_NOTIFICATION_URL", "NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "needs none"):
        assert word in listed


def test_an_alarm_that_stands_is_shown_with_its_participant(hub: HubProcess) -> None:
    url = hub.operators_url
    assert "Alarms" not in said(url, "participant", "show", "greenbank")
    said(url, "participant", "limit", "greenbank", "1000", "-c", "USD", "--alarm", "80")
    reserve(hub, "800.5")
    deadline = time.monotonic() + WAIT_SECONDS
    while "Alarms" not in (shown := said(url, "participant", "show", "greenbank")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    row = next(line for line in shown.splitlines() if "80.05 %" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][:5] == ["USD", "80 %", "800.5", "80.05 %", "199.5"]
    (alarm,) = json.loads(said(url, "participant", "show", "greenbank", "--json"))["alarms"]
    assert (alarm["threshold"], alarm["percentageUsed"]) == ("80", "80.05")
    assert "raised, position 800.5, cap 1000 USD, 80.05 %" in said(url, "notification", "list", "--limit", "1")


def test_another_cap_keeps_the_alarm_percentage_unless_it_is_named(hub: HubProcess) -> None:
    url = hub.operators_url

    def percentage() -> int:
        (limit,) = json.loads(said(url, "participant", "show", "pesapay", "--json"))["limits"]
        number: int = limit["limit"]["alarmPercentage"]
        return number

    assert percentage() == 10
    set_to = said(url, "participant", "limit", "pesapay", "900", "-c", "USD", "--alarm", "75")
    assert set_to.splitlines() == ["pesapay: net debit cap 900 USD.", "pesapay: alarm percentage 75 %."]
    assert percentage() == 75
    assert said(url, "participant", "limit", "pesapay", "50%", "-c", "USD").splitlines() == [
        "pesapay: net debit cap 50 % of its USD liquidity."
    ]
    assert percentage() == 75
    assert said(url, "participant", "limit", "pesapay", "900", "-c", "USD", "--alarm", "0").endswith("no alarm.")
    assert percentage() == 0
    assert vuka("participant", "limit", "pesapay", "900", "-c", "USD", "--alarm", "101").exit_code == 2


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_configuration_that_is_printed_has_a_secret_in_it(data: Path) -> None:
    for arguments in (("config",), ("config", "--json"), ("config", "--describe")):
        result = vuka(*arguments, environment={**ENVIRONMENT, "VUKA_DATA_DIR": str(data)})
        assert result.exit_code == 0
        assert PASSWORD not in result.output
        assert "hush hush" not in result.output
    text = vuka("config", environment={**ENVIRONMENT, "VUKA_DATA_DIR": str(data)}).output
    assert 'smtp_password = ""  # It is set, and not shown.' in text
    assert 'smtp_user = "hub"' in text
    assert 'smtp_password = ""\n' in vuka("config", environment={"VUKA_DATA_DIR": str(data)}).output


def test_a_new_hubs_file_has_no_secret_of_the_environment_in_it(data: Path) -> None:
    result = vuka("init", "--data", str(data), environment=ENVIRONMENT)
    assert result.exit_code == 0
    written = (data / "vuka.toml").read_text()
    assert PASSWORD not in written
    assert "hush hush" not in written
    assert load(data / "vuka.toml", {}).notifications.smtp_password == ""
    assert PASSWORD.encode() not in (data / "vuka.db").read_bytes()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SMTP_HOST": "127.0.0.1"}, "notifications.smtp_from must be an address"),
        ({"WEBHOOK_SECRET_FILE": "/no/such/file"}, "notifications.webhook_secret_file names /no/such/file"),
    ],
)
def test_a_hub_whose_channels_are_not_configured_as_they_must_be_says_so(
    data: Path, variables: dict[str, str], sentence: str
) -> None:
    found(load(None, {}, data_dir=str(data)), "Notifications", ["USD"])
    environment = {f"VUKA_NOTIFICATIONS_{key}": value for key, value in variables.items()}
    done = vuka_process("serve", "--data", str(data), **environment)
    assert (done.returncode, f"Error: {sentence}" in done.stderr) == (1, True), done.stderr
