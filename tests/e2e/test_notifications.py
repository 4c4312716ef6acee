"""Notifications of a whole hub: payments raise an alarm, people are told by mail and webhook, a kill loses nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.test_metrics import scrape
from tests.channels.mail import PASSWORD, USER, Mailbox, certificate, login, mail_server
from tests.e2e.rig import Rig, answer, encode, running, transfer

from vuka.cli.hub import found
from vuka.cli.process import hub_process
from vuka.config import Engine, Notifications, load
from vuka.httpclient import HttpClient, Request, Response
from vuka.sim.onboard import Operator
from vuka.sim.server import Answer, Inquiry, Server

PAYER, PAYEE = "payerfsp", "payeefsp"
SECRET = "hush"
BREACH, ADJUSTMENT = "NET_DEBIT_CAP_THRESHOLD_BREACH", "NET_DEBIT_CAP_ADJUSTMENT"
CHANGE = "SETTLEMENT_TRANSFER_POSITION_CHANGE"


class Receiver:
    """Takes webhooks on a real socket."""

    def __init__(self) -> None:
        self.got: list[Inquiry] = []
        self.answer: Answer | None = Answer(200)
        self.arrived = asyncio.Event()
        self.server = Server(self._hear)

    def _hear(self, inquiry: Inquiry) -> Answer | None:
        self.got.append(inquiry)
        self.arrived.set()
        return self.answer

    async def until(self, count: int) -> list[dict[str, Any]]:
        """The bodies of so many, as soon as they have come."""
        async with asyncio.timeout(30):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return [json.loads(inquiry.body) for inquiry in self.got]


class Scheme:
    """A hub with two participants, a mailbox and a receiver of webhooks."""

    def __init__(self, rig: Rig, mailbox: Mailbox, receiver: Receiver) -> None:
        self.rig = rig
        self.mailbox = mailbox
        self.receiver = receiver

    async def ask(self, method: str, path: str, body: object = None) -> Response:
        content = None if body is None else json.dumps(body).encode()
        headers = () if body is None else (("Content-Type", "application/json"),)
        return await self.rig.client.send(Request(method, self.rig.addresses.operators_url + path, headers, content))

    async def read(self, path: str) -> Any:
        response = await self.ask("GET", path)
        assert response.status == 200, response.body
        return json.loads(response.body)

    async def limit(self, cap: int, alarm: int) -> None:
        limit = {"type": "NET_DEBIT_CAP", "value": cap, "alarmPercentage": alarm}
        response = await self.ask("PUT", f"/participants/{PAYER}/limits", {"currency": "USD", "limit": limit})
        assert response.status == 200, response.body

    async def pay(self, amount: str) -> None:
        body = transfer(PAYER, PAYEE, amount=amount)
        await self.rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=encode(body))
        await self.rig.participants[PAYEE].one("POST", "/transfers")
        path = f"/transfers/{body['transferId']}"
        await self.rig.send("PUT", path, PAYEE, destination=PAYER, body=encode(answer("COMMITTED")))

    async def until(self, path: str, state: str) -> list[Any]:
        """The notifications of a query, once there are some and all of their deliveries are in that state."""
        async with asyncio.timeout(30):
            while True:
                listed: list[Any] = await self.read(path)
                states = {delivery["state"] for each in listed for delivery in each["deliveries"]}
                if states == {state}:
                    return listed
                await asyncio.sleep(0.02)


@pytest.fixture
async def scheme(tmp_path: Path) -> AsyncIterator[Scheme]:
    receiver = Receiver()
    await receiver.server.start()
    context, ca_file = certificate(tmp_path)
    with mail_server(tls_context=context, authenticator=login, auth_required=True) as mailbox:
        settings = Notifications(
            webhook_secret=SECRET,
            smtp_host="127.0.0.1",
            smtp_port=mailbox.port,
            smtp_ca_file=str(ca_file),
            smtp_user=USER,
            smtp_password=PASSWORD,
            smtp_from="hub@scheme.example",
            alarm_check_ms=20,
            retry_first_ms=1,
            retry_max_ms=1,
            attempts_max=2,
        )
        async with running(tmp_path, notifications=settings, engine=Engine(timer_ms=20, drain_seconds=1)) as rig:
            await rig.join(PAYER)
            await rig.join(PAYEE)
            for kind in (BREACH, ADJUSTMENT, CHANGE):
                await rig.set_endpoint(PAYER, f"{kind}_EMAIL", f"{kind.lower()}@payer.example")
                await rig.set_endpoint("Hub", f"{kind}_EMAIL", f"{kind.lower()}@hub.example")
            await rig.set_endpoint(PAYER, "ALARM_NOTIFICATION_URL", f"{receiver.server.url}/payer")
            yield Scheme(rig, mailbox, receiver)
    await receiver.server.stop()


async def test_payments_raise_an_alarm_that_participant_and_hub_are_told_once(scheme: Scheme) -> None:
    await scheme.limit(1000, 80)
    (adjusted,) = await scheme.receiver.until(1)
    assert (adjusted["kind"], adjusted["data"]["limit"]) == (ADJUSTMENT, "1000")
    await scheme.pay("799.9999")
    await scheme.pay("0.0001")
    raised = (await scheme.receiver.until(2))[1]
    assert (raised["kind"], raised["participant"], raised["recipient"]) == (BREACH, PAYER, PAYER)
    figures = {"event": "RAISED", "position": "800", "percentageUsed": "80.00", "available": "200"}
    assert raised["data"].items() >= figures.items()
    inquiry = scheme.receiver.got[1]
    digest = hmac.new(SECRET.encode(), inquiry.body, hashlib.sha256).hexdigest()
    assert inquiry.headers["vuka-signature"] == f"sha256={digest}"
    (notification,) = await scheme.until(f"/notifications?kind={BREACH}", "DELIVERED")
    told = [(each["channel"], each["recipient"], each["address"]) for each in notification["deliveries"]]
    assert told == [
        ("log", "Hub", None),
        ("webhook", PAYER, f"{scheme.receiver.server.url}/payer"),
        ("smtp", PAYER, f"{BREACH.lower()}@payer.example"),
        ("smtp", "Hub", f"{BREACH.lower()}@hub.example"),
    ]
    mails = {mail["To"]: mail for mail in scheme.mailbox.mails if BREACH.lower() in mail["To"]}
    assert set(mails) == {f"{BREACH.lower()}@payer.example", f"{BREACH.lower()}@hub.example"}
    assert mails[f"{BREACH.lower()}@payer.example"].get_content().startswith(f"Dear {PAYER},")
    assert mails[f"{BREACH.lower()}@hub.example"].get_content().startswith("Dear operator of the hub,")
    assert set(scheme.mailbox.encrypted) == set(scheme.mailbox.authenticated) == {True}
    # It stands, and is told no more.
    (alarm,) = await scheme.read(f"/alarms?participant={PAYER}")
    assert (alarm["currency"], alarm["threshold"], alarm["position"], alarm["repeats"]) == ("USD", "80", "800", 0)
    assert await scheme.read(f"/alarms?participant={PAYEE}") == []
    (limits,) = await scheme.read(f"/participants/{PAYER}/limits")
    assert limits == {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1000, "alarmPercentage": 80}}
    seen = await scrape(scheme.rig)
    assert seen[f"vuka_alarms_raised_total{{currency=USD,participant={PAYER}}}"] == 1
    assert seen[f"vuka_alarms{{participant={PAYER}}}"] == 1
    assert seen["vuka_notifications_total{channel=webhook,outcome=delivered}"] == 2
    assert len(await scheme.read(f"/notifications?kind={BREACH}")) == 1
    # Its cap is raised: the alarm is over.
    await scheme.limit(2000, 80)
    await scheme.receiver.until(4)
    assert await scheme.read("/alarms") == []
    cleared = (await scheme.read(f"/notifications?kind={BREACH}"))[0]
    assert (cleared["data"]["event"], cleared["data"]["percentageUsed"]) == ("CLEARED", "40.00")
    assert f"vuka_alarms{{participant={PAYER}}}" not in await scrape(scheme.rig)


async def test_what_could_not_be_delivered_is_seen_and_sent_again(scheme: Scheme) -> None:
    scheme.mailbox.answer = lambda: "451 the disk is full"
    scheme.receiver.answer = Answer(404)
    await scheme.limit(1000, 80)
    notification = await _parked(scheme)
    errors = {
        (each["channel"], each["error"], each["attempts"]) for each in notification["deliveries"] if each["error"]
    }
    assert errors == {
        ("smtp", "the mail server refuses the mail: 451 the disk is full", 2),
        ("webhook", "answered 404", 1),
    }
    seen = await scrape(scheme.rig)
    assert (seen["vuka_parked_notifications{channel=smtp}"], seen["vuka_parked_notifications{channel=webhook}"]) == (
        2,
        1,
    )
    scheme.mailbox.answer = lambda: "250 OK"
    scheme.receiver.answer = Answer(200)
    resend = f"/notifications/{notification['notificationId']}/resend"
    response = await scheme.ask("POST", resend, {"channel": "smtp"})
    assert (response.status, json.loads(response.body)) == (202, {"resent": 2})
    response = await scheme.ask("POST", "/notifications/resend")
    assert (response.status, json.loads(response.body)) == (202, {"resent": 1})
    await scheme.until(f"/notifications?kind={ADJUSTMENT}&participant={PAYER}", "DELIVERED")
    ids = {inquiry.headers["vuka-notification"] for inquiry in scheme.receiver.got}
    assert (len(scheme.receiver.got), len(ids)) == (2, 1)
    response = await scheme.ask("POST", resend)
    assert (response.status, b"is parked" in response.body) == (400, True)


async def _parked(scheme: Scheme) -> Any:
    """The last notification, once all of its deliveries but the log's are parked."""
    async with asyncio.timeout(30):
        while True:
            listed = await scheme.read(f"/notifications?state=PARKED&participant={PAYER}")
            if listed and sum(each["state"] == "PARKED" for each in listed[0]["deliveries"]) == 3:
                return listed[0]
            await asyncio.sleep(0.02)


async def test_a_receiver_that_hangs_delays_no_payment(scheme: Scheme) -> None:
    scheme.receiver.answer = None
    await scheme.limit(1000, 80)
    await scheme.receiver.until(1)
    for _ in range(5):
        await scheme.pay("1")
    listed = await scheme.read(f"/notifications?kind={ADJUSTMENT}&state=PENDING&participant={PAYER}")
    assert [each["state"] for each in listed[0]["deliveries"] if each["channel"] == "webhook"] == ["PENDING"]


async def test_a_channel_is_tried_by_an_operator(scheme: Scheme) -> None:
    body = {"channel": "smtp", "participant": PAYER, "kind": CHANGE}
    response = await scheme.ask("POST", "/notifications/test", body)
    tried = json.loads(response.body)
    assert (response.status, tried["state"], tried["error"]) == (200, "DELIVERED", None)
    (mail,) = [mail for mail in scheme.mailbox.mails if mail["Vuka-Notification"] == tried["id"]]
    assert (mail["To"], mail["Subject"].startswith("[Test] Test: ")) == (f"{CHANGE.lower()}@payer.example", True)
    scheme.mailbox.recipient = lambda _address: "550 nobody here"
    failed = json.loads((await scheme.ask("POST", "/notifications/test", body)).body)
    assert (failed["state"], failed["error"]) == ("FAILED", "the address was refused: 550 nobody here")
    assert await scheme.read(f"/notifications?kind={CHANGE}") == []


@pytest.mark.xdist_group("crash")
async def test_a_hub_that_is_killed_while_it_delivers_delivers_again_under_the_same_id(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    found(load(None, {}, data_dir=str(data)), "Killed", ["USD"])
    environment = {"VUKA_NOTIFICATIONS_TIMEOUT_MS": "1000", "VUKA_ENGINE_TIMER_MS": "20"}
    receiver, client = Receiver(), HttpClient()
    await receiver.server.start()
    receiver.answer = None
    with hub_process(data, environment=environment) as hub:
        operator = Operator(client, hub.operators_url)
        await operator.do("POST", "/participants", {"name": PAYER, "currency": "USD"})
        url = {"type": "ALARM_NOTIFICATION_URL", "value": receiver.server.url}
        await operator.do("POST", f"/participants/{PAYER}/endpoints", url)
        limits = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1000}, "initialPosition": 0}
        await operator.do("POST", f"/participants/{PAYER}/initialPositionAndLimits", limits)
        await receiver.until(1)
        os.kill(hub.process.pid, signal.SIGKILL)
        hub.process.wait()
    receiver.answer = Answer(200)
    with hub_process(data, environment=environment) as hub:
        first, second = await receiver.until(2)
        assert (first, first["kind"]) == (second, ADJUSTMENT)
        operator = Operator(client, hub.operators_url)
        async with asyncio.timeout(10):
            while (await operator.do("GET", "/notifications"))[0]["deliveries"][1]["state"] != "DELIVERED":  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.02)
    ids = {inquiry.headers["vuka-notification"] for inquiry in receiver.got}
    assert len(ids) == 1
    await client.close()
    await receiver.server.stop()
