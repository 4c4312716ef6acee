"""``/notifications`` and ``/alarms``: what may be asked, and a sentence for whatever may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from vuka.api.admin import admin_app
from vuka.api.hub import Hub
from vuka.cli.hub import found
from vuka.config import Engine, Notifications, load
from vuka.store.sqlite import Database

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1000}, "initialPosition": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A hub with two participants, of whom one has been told of its limits by nobody but the log."""
    config = load(None, {}, data_dir=str(tmp_path_factory.mktemp("hub")))
    mail = Notifications(smtp_host="127.0.0.1", smtp_port=1, smtp_from="hub@scheme.example")
    config = msgspec.structs.replace(config, notifications=mail, engine=Engine(timer_ms=20))
    found(config, "Notifications", ["USD"])
    database = Database.open(config.database_path)
    hub = Hub(config, database)
    await hub.start()
    transport = httpx.ASGITransport(admin_app(hub), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        for name in ("greenbank", "pesapay"):
            await client.post("/participants", json={"name": name, "currency": "USD"})
        await client.post("/participants/greenbank/initialPositionAndLimits", json=LIMITS)
        yield client
    await hub.stop()
    database.close()


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


async def test_a_notification_is_listed_and_shown_with_its_figures_and_deliveries(client: httpx.AsyncClient) -> None:
    (listed,) = (await client.get("/notifications")).json()
    shown = (await client.get(f"/notifications/{listed['notificationId']}")).json()
    assert shown["notificationId"] == listed["notificationId"]
    assert isinstance(shown["notificationId"], str), "more digits than a reader of JSON may keep"
    assert (shown["kind"], shown["participant"], shown["currency"]) == ("NET_DEBIT_CAP_ADJUSTMENT", "greenbank", "USD")
    assert shown["data"] == {
        "cause": "INITIAL",
        "limit": "1000",
        "position": "0",
        "available": "0",
        "percentageUsed": "0.00",
        "alarmPercentage": "10",
    }
    assert shown["createdDate"].endswith("Z")


async def test_only_so_many_are_listed_as_are_asked_for(client: httpx.AsyncClient) -> None:
    (listed,) = (await client.get("/notifications?limit=1")).json()
    older = await client.get(f"/notifications?before={listed['notificationId']}")
    assert (older.status_code, older.json()) == (200, [])
    assert (await client.get("/notifications?participant=pesapay")).json() == []


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("state=LOST", "3101", '"state" must be one of [DELIVERED, PARKED, PENDING]'),
        ("kind=ALARM", "3101", '"kind" must be one of'),
        ("limit=0", "3100", '"limit" must be from 1 to 1000'),
        ("limit=1001", "3100", '"limit" must be from 1 to 1000'),
        ("limit=many", "3100", '"limit" must be a number'),
        ("limit=1.5", "3101", '"limit" must be an integer'),
        ("before=0", "3100", '"before" must be from 1'),
        (f"before={1 << 63}", "3100", '"before" must be from 1'),
        ("colour=red", "3103", '"colour" is not allowed'),
        ("participant=", "3101", '"participant" is not allowed to be empty'),
    ],
)
async def test_a_query_that_will_not_do_is_named(client: httpx.AsyncClient, query: str, code: str, named: str) -> None:
    status, found_code, description = refused(await client.get(f"/notifications?{query}"))
    assert (status, found_code, named in description) == (400, code, True), description


async def test_a_notification_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    assert refused(await client.get("/notifications/7"))[:2] == (400, "3200")
    assert refused(await client.get(f"/notifications/{1 << 63}"))[:2] == (400, "3100")
    assert refused(await client.get("/notifications/seven"))[:2] == (404, "3002")
    assert "No delivery of notification 7 is parked" in refused(await client.post("/notifications/7/resend"))[2]


async def test_the_channels_say_which_endpoints_hold_their_addresses(client: httpx.AsyncClient) -> None:
    channels = {each["name"]: each for each in (await client.get("/notifications/channels")).json()}
    assert list(channels) == ["log", "webhook", "smtp"]
    assert channels["log"] == {"name": "log", "endpoints": None, "tellsParticipants": False}
    assert set(channels["webhook"]["endpoints"].values()) == {"ALARM_NOTIFICATION_URL"}
    assert channels["smtp"]["endpoints"]["NET_DEBIT_CAP_ADJUSTMENT"] == "NET_DEBIT_CAP_ADJUSTMENT_EMAIL"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"channel": "fax"}, "There is no channel fax: there are log, webhook, smtp."),
        ({"channel": "smtp"}, "Hub has no endpoint NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL: set it to be told by smtp."),
        ({"channel": "webhook", "participant": "greenbank"}, "greenbank has no endpoint ALARM_NOTIFICATION_URL"),
        ({"channel": "smtp", "participant": "nobody"}, "participant not found"),
        ({"channel": "smtp", "kind": "ALARM"}, '"kind" must be one of'),
        ({"channel": "smtp", "to": "me"}, '"to" is not allowed'),
        ({}, '"channel" is required'),
    ],
)
async def test_a_test_that_can_not_be_made_says_why(
    client: httpx.AsyncClient, body: dict[str, Any], sentence: str
) -> None:
    status, _, description = refused(await client.post("/notifications/test", json=body))
    assert (status, sentence in description) == (400, True), description


async def test_a_test_that_fails_says_why_and_leaves_nothing_behind(client: httpx.AsyncClient) -> None:
    before = (await client.get("/notifications")).json()
    mail = {"type": "NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "value": "ops@pesapay.example"}
    assert (await client.post("/participants/pesapay/endpoints", json=mail)).status_code == 201
    body = {"channel": "smtp", "participant": "pesapay", "kind": "NET_DEBIT_CAP_ADJUSTMENT"}
    answer = (await client.post("/notifications/test", json=body)).json()
    assert answer | {"id": ""} == {
        "id": "",
        "channel": "smtp",
        "recipient": "pesapay",
        "address": "ops@pesapay.example",
        "state": "FAILED",
        "error": "the mail server can't be reached: Connection refused",
    }
    assert (await client.get("/notifications")).json() == before


async def test_nothing_is_resent_by_a_channel_that_is_not_there(client: httpx.AsyncClient) -> None:
    assert (await client.post("/notifications/resend", json={"channel": "webhook"})).json() == {"resent": 0}
    assert "There is no channel fax" in refused(await client.post("/notifications/resend", json={"channel": "fax"}))[2]
    assert refused(await client.post("/notifications/resend", json={"all": True}))[1] == "3103"
    assert refused(await client.post("/notifications/resend", content=b"{"))[0] == 400


async def test_alarms_that_stand_are_none_at_first(client: httpx.AsyncClient) -> None:
    assert (await client.get("/alarms")).json() == []
    assert refused(await client.get("/alarms?currency=USD"))[1] == "3103"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "ops"),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "ops@"),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "ops@bank.example,"),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "ops@bank.example\r\nBcc: all@bank.example"),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "Ops <ops@bank.example>"),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", ",".join(["ops@bank.example"] * 21)),
        ("ALARM_NOTIFICATION_URL", "bank.example/alarms"),
        ("ALARM_NOTIFICATION_URL", "ftp://bank.example/alarms"),
        ("ALARM_NOTIFICATION_URL", "http://bank.example/a b"),
    ],
)
async def test_an_address_at_which_nobody_can_be_told_is_refused(
    client: httpx.AsyncClient, kind: str, value: str
) -> None:
    answer = await client.post("/participants/greenbank/endpoints", json={"type": kind, "value": value})
    status, code, description = refused(answer)
    assert (status, code) == (400, "3101")
    assert f"value of {kind} must be" in description
    assert (await client.get(f"/participants/greenbank/endpoints?type={kind}")).json() == {}


@pytest.mark.parametrize(
    "value", ["ops@bank.example", "ops+hub@bank.example , treasury@bank.example", "o'b@bank.example"]
)
async def test_an_address_may_be_any_that_mail_goes_to(client: httpx.AsyncClient, value: str) -> None:
    body = {"type": "SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL", "value": value}
    assert (await client.post("/participants/pesapay/endpoints", json=body)).status_code == 201
