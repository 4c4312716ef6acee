"""Signatures end to end: participants of two versions sign what they send and check what they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.e2e.conftest import fulfilled
from tests.e2e.recorder import Recorder, description, refusal
from tests.e2e.running import RunningHub, running

from vuka.fspiop.jws import ES256, RS256, PrivateKey, PublicKey, canonical, sign
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient
from vuka.ids import HUB
from vuka.money import Amount
from vuka.sim.onboard import Operator, Terms
from vuka.sim.participant import Customer, Participant, PaymentState

pytestmark = pytest.mark.asyncio(loop_scope="module")

BANK, WALLET = ("greenbank", "254700000001"), ("pesapay", "254711000001")


def usd(text: str) -> int:
    return Amount.from_string(f"{text} USD").minor


class Signed:
    """A hub that wants signatures and signs itself; a bank that speaks 1.0 and a wallet that speaks 2.0."""

    def __init__(self, hub: RunningHub, client: HttpClient, hub_key: PrivateKey, key_file: Path) -> None:
        self.hub = hub
        self.client = client
        self.key_file = key_file
        self.operator = Operator(client, hub.operators_url)
        self.peer_keys: dict[str, list[PublicKey]] = {HUB: [hub_key.public]}
        self.bank = self._participant(*BANK, Version.V1_0, PrivateKey.generate(RS256))
        self.wallet = self._participant(*WALLET, Version.V2_0, PrivateKey.generate(ES256))

    def _participant(self, name: str, identifier: str, version: Version, key: PrivateKey) -> Participant:
        self.peer_keys[name] = [key.public]
        return Participant(
            name,
            currencies=("USD",),
            client=self.client,
            customers=[Customer(f"A customer of {name}", "MSISDN", identifier, {"USD": usd("500")})],
            hub_url=self.hub.participants_url,
            version=version,
            signing_key=key,
            # Both sign PUT /parties too, so each can ask it of the other.
            peer_keys=self.peer_keys,
        )

    async def take_in(self, participant: Participant) -> None:
        await participant.start()
        terms = {"USD": Terms(usd("1000"), usd("1000"))}
        await self.operator.add_participant(participant.name, participant.url, terms)
        assert participant.signing_key is not None
        await self.register(participant.name, participant.signing_key.public)
        await participant.register()

    async def register(self, name: str, key: PublicKey) -> Any:
        return await self.operator.do("POST", f"/participants/{name}/keys", {"publicKey": key.pem})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Signed]:
    directory = tmp_path_factory.mktemp("signed")
    key_file, key = directory / "hub.pem", PrivateKey.generate(ES256)
    key_file.write_bytes(key.to_pem())
    settings = {
        "SIGNATURES_VERIFY": "true",
        "SIGNATURES_VERIFY_PUT_PARTIES": "true",
        "SIGNATURES_HUB_KEY_FILE": str(key_file),
    }
    client = HttpClient(timeout_ms=5_000)
    async with running(directory / "hub", **settings) as hub:
        signed = Signed(hub, client, key, key_file)
        for each in (signed.bank, signed.wallet):
            await signed.take_in(each)
        yield signed
        for each in (signed.bank, signed.wallet):
            await each.stop()
    await client.close()


async def pay(payer: Participant, from_id: str, to_id: str) -> None:
    payment = await payer.pay(from_id, ("MSISDN", to_id), usd("1.25"), "USD")
    assert (payment.state, payment.error) == (PaymentState.COMMITTED, "")


async def test_participants_of_1_0_and_2_0_pay_each_other_both_ways_and_every_message_is_signed(signed: Signed) -> None:
    checked = signed.bank.signatures_checked, signed.wallet.signatures_checked
    await pay(signed.bank, BANK[1], WALLET[1])
    await pay(signed.wallet, WALLET[1], BANK[1])
    assert signed.bank.contradictions == signed.wallet.contradictions == []
    assert signed.bank.signatures_checked >= checked[0] + 5
    assert signed.wallet.signatures_checked >= checked[1] + 5
    assert signed.hub.audit().differences == []


async def test_the_hub_signs_what_it_makes_itself(signed: Signed) -> None:
    before = signed.bank.signatures_checked
    await signed.bank.register()
    # The confirmation of a registration is the hub's own word.
    assert signed.bank.signatures_checked > before
    assert signed.bank.contradictions == []


async def test_the_hub_tells_its_public_key(signed: Signed) -> None:
    told = await signed.operator.do("GET", "/keys/hub")
    assert told["fingerprint"] == signed.peer_keys[HUB][0].fingerprint


async def send_transfer(signed: Signed, *, key: PrivateKey | None, tampered: bool = False) -> tuple[int, str]:
    """A ``PUT /transfers/{ID}`` of the bank, signed with that key; ``tampered`` after it was signed."""
    bank = Recorder(BANK[0], signed.client, signed.hub.participants_url)
    path = "/transfers/e5b1a2c0-9f4b-4f5e-8a51-6f0d3f5a7c11"
    body = canonical(msgspec.json.encode(fulfilled("COMMITTED")))
    headers = bank.headers("transfers", "PUT", WALLET[0], fspiop_uri=path, fspiop_http_method="PUT")
    if key is not None:
        headers.append(("fspiop-signature", sign(key, get=dict(headers).get, body=body)))
    sent = body.replace(b"COMMITTED", b"ABORTED") if tampered else body
    answer = await bank.send("PUT", path, sent, headers=headers)
    if answer.status == 200:
        return 200, ""
    assert "Invalid signature" in description(answer.body)
    return refusal(answer)


async def test_a_message_that_was_changed_on_its_way_is_refused_at_once(signed: Signed) -> None:
    assert await send_transfer(signed, key=signed.bank.signing_key) == (200, "")
    assert await send_transfer(signed, key=signed.bank.signing_key, tampered=True) == (400, "3105")


async def test_an_unsigned_message_is_refused_where_signatures_are_required(signed: Signed) -> None:
    assert await send_transfer(signed, key=None) == (400, "3105")


async def test_keys_are_changed_without_a_restart_and_both_hold_meanwhile(signed: Signed) -> None:
    old, new = signed.bank.signing_key, PrivateKey.generate(ES256)
    assert old is not None
    assert await send_transfer(signed, key=new) == (400, "3105")
    await signed.register(BANK[0], new.public)
    assert await send_transfer(signed, key=new) == await send_transfer(signed, key=old) == (200, "")
    await signed.operator.do("DELETE", f"/participants/{BANK[0]}/keys/{old.public.fingerprint}")
    assert await send_transfer(signed, key=old) == (400, "3105")
    signed.bank.signing_key, signed.peer_keys[BANK[0]] = new, [new.public]
    await pay(signed.bank, BANK[1], WALLET[1])


async def test_a_participant_may_be_set_apart_from_the_rest(signed: Signed) -> None:
    path = f"/participants/{BANK[0]}/signatures"
    await signed.operator.do("PUT", path, {"signatures": "OFF"})
    assert await send_transfer(signed, key=None) == (200, "")
    await signed.operator.do("PUT", path, {"signatures": "REQUIRED"})
    assert await send_transfer(signed, key=None) == (400, "3105")
    await signed.operator.do("PUT", path, {"signatures": None})


async def test_the_hub_takes_up_another_key_of_its_own_without_a_restart(signed: Signed) -> None:
    key = PrivateKey.generate(ES256)
    replacement = signed.key_file.with_suffix(".new")
    replacement.write_bytes(key.to_pem())
    replacement.replace(signed.key_file)
    signed.peer_keys[HUB] = [key.public]
    before = signed.bank.signatures_checked
    await signed.bank.register()
    assert signed.bank.signatures_checked > before
    assert signed.bank.contradictions == []
