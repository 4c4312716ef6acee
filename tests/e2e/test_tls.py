"""TLS on every side: both APIs speak it, and the hub calls only those whose certificate it can verify."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.certificates import Authority
from tests.cli.conftest import refused, vuka
from tests.e2e.conftest import TERMS
from tests.e2e.recorder import Recorder
from tests.e2e.running import RunningHub, running

from vuka.errors import OperatorError
from vuka.httpclient import HttpClient, Request, TransportError, believing
from vuka.sim.bench.wire import Listener
from vuka.sim.onboard import Operator

TRANSFER_ERROR = "FSPIOP_CALLBACK_URL_TRANSFER_ERROR"
"""What the hub calls when it knows no such transfer."""


def _tls(authority: Authority) -> dict[str, str]:
    certificate, key = authority.issue("hub")
    return {
        f"{api}_API_TLS_{name}_FILE": str(file)
        for api in ("PARTICIPANTS", "OPERATORS")
        for name, file in (("CERTIFICATE", certificate), ("KEY", key))
    }


class Secured:
    """A hub with TLS, its authority, and a participant who listens with a certificate of it."""

    def __init__(self, hub: RunningHub, authority: Authority, client: HttpClient) -> None:
        self.hub = hub
        self.authority = authority
        self.client = client
        self.operator = Operator(client, hub.operators_url)
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.payer = Recorder("payerfsp", client, hub.participants_url)

    async def listen(self, context: ssl.SSLContext) -> Listener:
        """A participant's server; what it is sent is in `heard`."""
        listener = Listener(lambda _method, path, _body: self.heard.put_nowait(path), tls=context)
        await listener.start()
        return listener

    async def ask(self) -> bytes:
        """A question about a transfer that nobody made; the path to which the answer comes, by callback."""
        path = f"/transfers/{uuid.uuid4()}"
        answer = await self.payer.send("GET", path, None)
        assert answer.status == 202, answer.body
        return f"{path}/error".encode()

    async def parked(self) -> list[dict[str, Any]]:
        """Messages that could not be delivered, as soon as there is one."""
        async with asyncio.timeout(20):
            while True:
                found: list[dict[str, Any]] = await self.operator.do("GET", "/messages/parked")
                if found:
                    return found
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    authority = Authority(tmp_path)
    client = HttpClient(timeout_ms=5_000, tls=believing(str(authority.file)))
    settings = {
        **_tls(authority),
        "COURIER_CA_FILE": str(authority.file),
        "SCHEME_RESULT_DEADLINE_SECONDS": "1",
    }
    async with running(tmp_path / "data", **settings) as hub:
        made = Secured(hub, authority, client)
        await made.operator.add_hub_accounts("USD")
        yield made
    await client.close()


async def test_both_apis_speak_tls_and_nothing_else(secured: Secured) -> None:
    for url in (secured.hub.participants_url, secured.hub.operators_url):
        assert url.startswith("https://")
        answer = await secured.client.send(Request("GET", f"{url}/health"))
        assert answer.status == 200
        with pytest.raises(TransportError):
            await secured.client.send(Request("GET", f"{url}/health".replace("https", "http")))


async def test_who_does_not_believe_the_authority_does_not_speak_to_the_hub(secured: Secured, tmp_path: Path) -> None:
    stranger = HttpClient(timeout_ms=5_000, tls=believing(str(Authority(tmp_path, "stranger").file)))
    with pytest.raises(TransportError, match="certificate"):
        await stranger.send(Request("GET", f"{secured.hub.operators_url}/health"))
    await stranger.close()


async def test_a_callback_is_delivered_to_a_participant_whose_certificate_is_believed(secured: Secured) -> None:
    listener = await secured.listen(secured.authority.server_context("payer"))
    await secured.operator.add_participant("payerfsp", listener.url, {"USD": TERMS})
    path = await secured.ask()
    async with asyncio.timeout(10):
        assert await secured.heard.get() == path
    await listener.stop()


@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_nothing_is_sent_to_a_certificate_of_another_authority_or_host(
    secured: Secured, tmp_path: Path, wrong: str
) -> None:
    if wrong == "authority":
        context = Authority(tmp_path, "stranger").server_context("payer")
    else:
        context = secured.authority.server_context("payer", host="elsewhere.example")
    listener = await secured.listen(context)
    await secured.operator.add_participant("payerfsp", listener.url, {"USD": TERMS})
    path = await secured.ask()
    (parked,) = await secured.parked()
    assert parked["attempts"] > 1, "it is tried again while it can matter"
    assert secured.heard.empty()
    # The right certificate in its place: an operator has the message sent again.
    right = await secured.listen(secured.authority.server_context("payer-right"))
    url = f"{right.url}/transfers/{{{{transferId}}}}/error"
    await secured.operator.do("POST", "/participants/payerfsp/endpoints", {"type": TRANSFER_ERROR, "value": url})
    await secured.operator.do("POST", f"/messages/{parked['messageId']}/resend")
    async with asyncio.timeout(10):
        assert await secured.heard.get() == path
    await listener.stop()
    await right.stop()


async def test_a_hub_with_a_wrong_file_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"operators_api\.tls_key_file"):
        async with running(tmp_path / "data", OPERATORS_API_TLS_KEY_FILE=str(tmp_path / "none.key")):
            pass


async def test_commands_know_the_hub_by_the_file_that_they_are_given(secured: Secured, tmp_path: Path) -> None:
    url = secured.hub.operators_url
    known = await asyncio.to_thread(vuka, "--ca-file", str(secured.authority.file), "participant", "list", "--url", url)
    assert known.exit_code == 0, known.output
    assert "certificate" in (await asyncio.to_thread(refused, "participant", "list", "--url", url)).lower()
    missing = str(tmp_path / "none.pem")
    said = await asyncio.to_thread(refused, "--ca-file", missing, "participant", "list", "--url", url)
    assert said == f"{missing} can't be used to know the hub by: No such file or directory. See --ca-file."


async def test_the_hub_shows_its_certificate_to_a_participant_that_asks_for_one(tmp_path: Path) -> None:
    """Mutual TLS outward; without a certificate such a participant does not listen to the hub."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("hub-as-client")
    context = authority.server_context("payer")
    context.load_verify_locations(cafile=str(authority.file))
    context.verify_mode = ssl.CERT_REQUIRED
    client = HttpClient(timeout_ms=5_000, tls=believing(str(authority.file)))
    settings = {**_tls(authority), "COURIER_CA_FILE": str(authority.file), "SCHEME_RESULT_DEADLINE_SECONDS": "1"}
    async with running(tmp_path / "silent", **settings) as hub:
        silent = Secured(hub, authority, client)
        await silent.operator.add_hub_accounts("USD")
        listener = await silent.listen(context)
        await silent.operator.add_participant("payerfsp", listener.url, {"USD": TERMS})
        await silent.ask()
        assert (await silent.parked())[0]["attempts"] > 1
        assert silent.heard.empty()
        await listener.stop()
    settings |= {"OUTBOUND_CLIENT_CERTIFICATE_FILE": str(certificate), "OUTBOUND_CLIENT_KEY_FILE": str(key)}
    async with running(tmp_path / "shown", **settings) as hub:
        shown = Secured(hub, authority, client)
        await shown.operator.add_hub_accounts("USD")
        listener = await shown.listen(context)
        await shown.operator.add_participant("payerfsp", listener.url, {"USD": TERMS})
        path = await shown.ask()
        async with asyncio.timeout(10):
            assert await shown.heard.get() == path
        await listener.stop()
    await client.close()


async def test_a_certificate_to_show_needs_its_key(tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).issue("hub-as-client")
    with pytest.raises(OperatorError, match=r"outbound\.client_certificate_file needs outbound\.client_key_file"):
        async with running(tmp_path / "data", OUTBOUND_CLIENT_CERTIFICATE_FILE=str(certificate)):
            pass
