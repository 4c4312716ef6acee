"""Webhooks, through real HTTP servers on this machine: what is posted, what is signed, what each answer means."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vuka.channels import webhook
from vuka.channels.words import compose
from vuka.config import Config, Notifications, Outbound
from vuka.errors import OperatorError
from vuka.plugins import THRESHOLD_BREACH, DeliveryError, Notification
from vuka.sim.server import Answer, Handler, Inquiry, Server

DATA = {"event": "RAISED", "threshold": "80", "limit": "1000", "position": "812.5", "percentageUsed": "81.25"}


def notification() -> Notification:
    return compose(
        delivery_id="7-1",
        kind=THRESHOLD_BREACH,
        participant="greenbank",
        recipient="Hub",
        currency="USD",
        created_ms=1_700_000_000_123,
        data=DATA,
        scheme="Scheme",
    )


async def post(url: str, **fields: Any) -> None:
    (channel,) = webhook.vuka_notification_channels(Config(notifications=Notifications(**fields)))
    await asyncio.to_thread(channel.deliver, notification(), url)


async def refusal(url: str, **fields: Any) -> tuple[str, bool]:
    """Why it could not be delivered, and whether another attempt is of no use."""
    with pytest.raises(DeliveryError) as error:
        await post(url, **fields)
    return error.value.reason, error.value.is_final


@asynccontextmanager
async def receiver(answer: Answer | Handler) -> AsyncIterator[tuple[str, list[Inquiry]]]:
    """A server that answers so; its URL, and what it gets."""
    got: list[Inquiry] = []

    def hear(inquiry: Inquiry) -> Any:
        got.append(inquiry)
        return answer if isinstance(answer, Answer) else answer(inquiry)

    server = Server(hear)
    await server.start()
    try:
        yield f"{server.url}/alarms?from=hub", got
    finally:
        await server.stop()


@asynccontextmanager
async def raw(reply: bytes, *, is_endless: bool = False) -> AsyncIterator[str]:
    """A server that says these bytes, whatever it is asked; again and again, where it is endless."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        while is_endless and not done.is_set() and not writer.is_closing():
            writer.write(b"x" * 1000)
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}/"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


# --- what is posted -----------------------------------------------------------------------------------------------


async def test_a_notification_is_posted_as_json_with_the_id_of_its_delivery() -> None:
    async with receiver(Answer(204)) as (url, got):
        await post(url)
    (inquiry,) = got
    assert (inquiry.method, inquiry.path) == ("POST", "/alarms?from=hub")
    assert inquiry.headers["content-type"] == "application/json"
    assert inquiry.headers["vuka-notification"] == "7-1"
    assert "vuka-signature" not in inquiry.headers
    told = notification()
    assert json.loads(inquiry.body) == {
        "id": "7-1",
        "kind": "NET_DEBIT_CAP_THRESHOLD_BREACH",
        "participant": "greenbank",
        "recipient": "Hub",
        "currency": "USD",
        "createdDate": "2023-11-14T22:13:20.123Z",
        "data": DATA,
        "subject": told.subject,
        "text": told.text,
        "isTest": False,
    }


def test_the_page_shows_the_body_that_is_posted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text(encoding="utf-8")
    shown = json.loads(page.split("```json\n")[1].split("```")[0])
    assert list(shown) == list(json.loads(webhook.body_of(notification())))
    assert shown["data"].keys() >= DATA.keys()


async def test_a_body_is_signed_where_there_is_a_secret() -> None:
    async with receiver(Answer(200)) as (url, got):
        await post(url, webhook_secret="hush")
        await post(url, webhook_secret="hush")
    digest = hmac.new(b"hush", got[0].body, hashlib.sha256).hexdigest()
    assert got[0].headers["vuka-signature"] == f"sha256={digest}"
    assert (got[0].body, got[0].headers) == (got[1].body, got[1].headers), "an attempt again is the same request"


async def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    async with receiver(Answer(200)) as (url, got):
        await post(url, webhook_secret_file=str(tmp_path / "secret"))
    assert got[0].headers["vuka-signature"] == webhook.sign(b"hush", got[0].body)
    with pytest.raises(OperatorError, match=r"webhook_secret_file names /no/such, which can't be read"):
        await post("http://127.0.0.1:1/", webhook_secret_file="/no/such")


def test_whoever_switches_webhooks_off_has_no_such_channel() -> None:
    assert webhook.vuka_notification_channels(Config(notifications=Notifications(webhook=False))) == []


# --- what an answer means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_a_2xx_is_delivered(status: int) -> None:
    async with receiver(Answer(status)) as (url, _):
        await post(url)


@pytest.mark.parametrize("status", [500, 502, 503, 408, 425, 429])
async def test_a_status_that_means_later_is_tried_again(status: int) -> None:
    async with receiver(Answer(status, b"who are you?")) as (url, _):
        assert await refusal(url) == (f"answered {status}", False)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
async def test_a_status_that_means_no_is_final(status: int) -> None:
    async with receiver(Answer(status)) as (url, _):
        assert await refusal(url) == (f"answered {status}", True)


async def test_no_redirect_is_followed() -> None:
    async with receiver(Answer(200)) as (elsewhere, got):
        redirect = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
        async with raw(redirect) as url:
            assert await refusal(url) == ("answered 302", True)
        assert got == []


async def test_an_answer_without_end_is_read_no_further_than_its_status() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\n\r\n", is_endless=True) as url:
        await post(url, timeout_ms=60_000)


@pytest.mark.parametrize("reply", [b"220 mail.example ESMTP\r\n", b"\x00\xff\x00\xff\r\n\r\n"])
async def test_what_is_no_http_is_no_answer(reply: bytes) -> None:
    async with raw(reply) as url:
        assert await refusal(url) == ("there was no answer", False)


async def test_a_receiver_that_hangs_up_or_is_not_there_is_tried_again() -> None:
    async with raw(b"") as url:
        assert await refusal(url) == ("there was no answer", False)
    assert await refusal(url) == ("there is no connection", False)


async def test_a_receiver_that_does_not_answer_is_given_up() -> None:
    async with receiver(lambda _inquiry: None) as (url, got):
        assert await refusal(url, timeout_ms=2_000) == ("timed out", False)
        assert len(got) == 1


async def test_headers_without_end_are_given_up() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nX: ", is_endless=True) as url:
        _, is_final = await refusal(url, timeout_ms=500)
        assert not is_final


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:25/x", "greenbank"])
async def test_only_http_and_https_are_spoken(url: str) -> None:
    assert await refusal(url) == ("the URL is not http or https", True)


@pytest.mark.parametrize("url", ["http://", "http://a b/", "http://[/", "http://greenbank:x/"])
async def test_a_url_that_is_none_is_not_tried_again(url: str) -> None:
    assert await refusal(url) == ("the URL is malformed", True)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with receiver(Answer(200)) as (url, got):
        await post(url)
    assert len(got) == 1


async def test_nobody_is_told_whom_the_hub_does_not_call() -> None:
    async with receiver(Answer(204)) as (url, got):
        config = Config(outbound=Outbound(loopback="refuse"))
        (channel,) = webhook.vuka_notification_channels(config)
        with pytest.raises(DeliveryError, match="is of the hub's own machine"):
            await asyncio.to_thread(channel.deliver, notification(), url)
        assert got == []


async def test_a_receiver_is_told_which_of_its_hosts_is_meant() -> None:
    async with receiver(Answer(204)) as (url, got):
        await post(url.replace("127.0.0.1", "localhost"))
    assert got[0].headers["host"].startswith("localhost:")


async def test_a_name_with_foreign_letters_is_looked_up_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded and encoded again by older rules, ``straße`` would be ``strasse``: the host of somebody else."""
    looked_up: list[str] = []

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with receiver(Answer(200)) as (url, got):
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        await post(url.replace("127.0.0.1", "xn--strae-oqa.example"))
    assert looked_up[0] == "xn--strae-oqa.example"
    assert got[0].headers["host"].startswith("xn--strae-oqa.example:")
