"""A hub that asks everybody who they are: a payment runs through it, and an impostor gets nowhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests import journalled
from tests.e2e.running import RunningHub, running

from vuka.cli.hub import make_admin_token
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response
from vuka.money import Amount
from vuka.sim.onboard import Operator, Terms
from vuka.sim.participant import Customer, Participant, PaymentState, now_ms
from vuka.switch.transfers import ExpireTransfers

pytestmark = pytest.mark.asyncio(loop_scope="module")

CERTIFICATE_HEADER = "X-Ssl-Client-S-Dn"
SUBJECT = "CN=pesapay,O=Pesapay Ltd,C=KE"


def usd(text: str) -> int:
    return Amount.from_string(f"{text} USD").minor


class Guarded:
    """A hub that wants to know everybody, an operator with a token, and two participants with one each."""

    def __init__(self, hub: RunningHub, client: HttpClient, token: str) -> None:
        self.hub = hub
        self.client = client
        self.operator = Operator(client, hub.operators_url, token=token)
        self.bank = self._participant("greenbank", "254700000001")
        self.wallet = self._participant("pesapay", "254711000001")

    def _participant(self, name: str, identifier: str) -> Participant:
        customer = Customer(f"A customer of {name}", "MSISDN", identifier, {"USD": usd("500")})
        url = self.hub.participants_url
        return Participant(name, currencies=("USD",), client=self.client, customers=[customer], hub_url=url)

    async def take_in(self, participant: Participant) -> None:
        """Onboards a participant and gives it its token."""
        await participant.start()
        terms = {"USD": Terms(usd("1000"), usd("1000"))}
        await self.operator.add_participant(participant.name, participant.url, terms)
        participant.token = await self.grant(participant=participant.name)
        await participant.register()

    async def grant(self, **body: Any) -> str:
        """The secret of a new credential; empty for a certificate."""
        made: dict[str, str] = await self.operator.do("POST", "/credentials", body)
        return made.get("secret", "")

    async def ask(self, source: str, *shown: tuple[str, str]) -> Response:
        """A lookup that says to be from ``source``."""
        return await look_up(self.client, self.hub, source, *shown)


async def look_up(client: HttpClient, hub: RunningHub, source: str, *shown: tuple[str, str]) -> Response:
    """A lookup that says to be from ``source``, and shows what else it is given."""
    path = "/parties/MSISDN/254711000001"
    headers = hub_headers(
        "parties", Version.V1_1, method="GET", source=source, destination=None, uri=path, now_ms=now_ms()
    )
    return await client.send(Request("GET", hub.participants_url + path, [*headers, *shown]))


def refusal(answer: Response) -> tuple[int, str, str]:
    information = json.loads(answer.body)["errorInformation"]
    return answer.status, information["errorCode"], information["errorDescription"]


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """One hub for all tests of the page."""
    client = HttpClient(timeout_ms=5_000)
    directory = tmp_path_factory.mktemp("guarded") / "hub"
    settings = {
        "PARTICIPANTS_API_AUTHENTICATION": "required",
        "PARTICIPANTS_API_CLIENT_CERTIFICATE_HEADER": CERTIFICATE_HEADER.lower(),
        # The participants of these tests are on this machine, which a hub behind a gateway does not call.
        "OUTBOUND_LOOPBACK": "allow",
        "OPERATORS_API_AUTHENTICATION": "required",
    }
    async with running(directory, **settings) as hub:
        await hub.stop()
        token = make_admin_token(hub.config, by="test").read_text().strip()
        await hub.start()
        guarded = Guarded(hub, client, token)
        for each in (guarded.bank, guarded.wallet):
            await guarded.take_in(each)
        yield guarded
        for each in (guarded.bank, guarded.wallet):
            await each.stop()
    await client.close()


async def test_a_payment_runs_between_participants_that_show_who_they_are(guarded: Guarded) -> None:
    payment = await guarded.bank.pay("254700000001", ("MSISDN", "254711000001"), usd("12.50"), "USD")
    assert (payment.state, payment.error) == (PaymentState.COMMITTED, "")
    assert guarded.bank.customer("254700000001").balances["USD"] == usd("487.50")
    assert guarded.wallet.customer("254711000001").balances["USD"] == usd("512.50")
    assert guarded.hub.audit().differences == []


async def test_nobody_known_is_refused_by_both_apis(guarded: Guarded) -> None:
    answer = await guarded.ask("greenbank")
    assert refusal(answer) == (401, "3000", "Generic client error - authentication is required")
    assert answer.headers["www-authenticate"] == 'Bearer realm="vuka"'
    assert (await Operator(guarded.client, guarded.hub.operators_url).call("GET", "/participants"))[0] == 401


async def test_an_impostor_is_refused_and_nothing_of_it_is_passed_on(guarded: Guarded) -> None:
    """pesapay says to be greenbank: with its own token, with none that counts, and as a proxy that it is not."""
    before = guarded.hub.states()
    answer = await guarded.ask("greenbank", bearer(guarded.wallet.token))
    assert refusal(answer) == (400, "3100", "Generic validation error - Invalid fspiop-source header")
    assert refusal(await guarded.ask("greenbank", bearer("vuka_guessed")))[:2] == (401, "3000")
    assert refusal(await guarded.ask("greenbank", ("x-client-id", "greenbank")))[:2] == (401, "3000")
    as_proxy = ("FSPIOP-Proxy", "pesapay")
    answer = await guarded.ask("greenbank", bearer(guarded.wallet.token), as_proxy)
    assert refusal(answer) == (400, "3100", "Generic validation error - Invalid fspiop-proxy header")
    answer = await guarded.ask("greenbank", bearer(guarded.wallet.token), ("x-client-id", "greenbank"))
    assert refusal(answer)[:2] == (400, "3100")
    assert guarded.hub.states() == before


async def test_who_a_caller_is_comes_before_what_its_headers_are(guarded: Guarded) -> None:
    request = Request("POST", guarded.hub.participants_url + "/transfers", [("Content-Type", "text/plain")], b"x")
    assert (await guarded.client.send(request)).status == 401


async def test_an_operators_token_speaks_for_no_participant(guarded: Guarded) -> None:
    assert (await guarded.ask("greenbank", bearer(guarded.operator.token))).status == 401


async def test_a_participants_token_operates_nothing(guarded: Guarded) -> None:
    operator = Operator(guarded.client, guarded.hub.operators_url, token=guarded.bank.token)
    assert (await operator.call("GET", "/participants"))[0] == 401


async def test_a_token_is_changed_without_a_gap_and_the_old_one_ends_at_once(guarded: Guarded) -> None:
    old = guarded.bank.token
    new = await guarded.grant(participant="greenbank", name="second")
    assert (await guarded.ask("greenbank", bearer(old))).status == 202
    assert (await guarded.ask("greenbank", bearer(new))).status == 202
    listed = await guarded.operator.do("GET", "/credentials")
    first = next(each for each in listed if each.get("participant") == "greenbank" and each["name"] == "greenbank")
    await guarded.operator.do("DELETE", f"/credentials/{first['credentialId']}")
    assert (await guarded.ask("greenbank", bearer(old))).status == 401
    assert (await guarded.ask("greenbank", bearer(new))).status == 202
    guarded.bank.token = new


async def test_keys_and_certificates_let_in_too(guarded: Guarded) -> None:
    key = await guarded.grant(participant="pesapay", kind="API_KEY")
    assert (await guarded.ask("pesapay", ("X-Api-Key", key))).status == 202
    assert (await guarded.ask("pesapay", (CERTIFICATE_HEADER, SUBJECT))).status == 401
    await guarded.grant(participant="pesapay", kind="CERTIFICATE", certificate=SUBJECT)
    assert (await guarded.ask("pesapay", (CERTIFICATE_HEADER, SUBJECT))).status == 202
    assert refusal(await guarded.ask("greenbank", (CERTIFICATE_HEADER, SUBJECT)))[:2] == (400, "3100")


async def test_what_a_caller_shows_is_neither_written_down_nor_passed_on(guarded: Guarded) -> None:
    heard: list[dict[str, str]] = []
    handle = guarded.wallet.server.handler

    def listening(inquiry: Any) -> Any:
        heard.append(inquiry.headers)
        return handle(inquiry)

    guarded.wallet.server.handler = listening
    shown = [bearer(guarded.bank.token), ("x-client-id", "greenbank")]
    key = await guarded.grant(participant="greenbank", kind="API_KEY")
    subject = "CN=greenbank"
    await guarded.grant(participant="greenbank", kind="CERTIFICATE", certificate=subject)
    shown += [("X-Api-Key", key), (CERTIFICATE_HEADER, subject)]
    assert (await guarded.ask("greenbank", *shown)).status == 202
    payment = await guarded.bank.pay("254700000001", ("MSISDN", "254711000001"), usd("1"), "USD")
    assert payment.state is PaymentState.COMMITTED
    secret = {"authorization", "x-api-key", "x-client-id", CERTIFICATE_HEADER.lower()}
    assert heard
    assert not any(secret & each.keys() for each in heard)
    await guarded.hub.hub.submit(ExpireTransfers())
    kept = guarded.hub.hub.read(lambda tx, _ledger, _directory: journalled.messages(tx))
    written = "".join(str(each.headers) for each in kept)
    assert written
    assert not any(each in written for each in (guarded.bank.token, key, subject))
    whole = b"".join(each.read_bytes() for each in guarded.hub.config.database_path.parent.glob("vuka.db*"))
    assert guarded.bank.token.encode() not in whole
    assert key.encode() not in whole
