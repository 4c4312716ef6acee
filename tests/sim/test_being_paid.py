"""What a participant does as payee: terms, reservations, and when its customer is credited."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest
from tests.sim.conftest import AMINA, KAUNG, Scheme, usd
from tests.sim.fake_hub import FakeHub, Message

from vuka.fspiop import ilp
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request
from vuka.sim.behaviour import Conduct
from vuka.sim.participant import Customer, Participant, PaymentState, now_ms

TO = ("MSISDN", KAUNG)


class Payer:
    """A participant that says what a test has it say."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub

    async def quote(self, amount: str, currency: str = "USD", to: str = KAUNG, quote_id: str = "") -> Message:
        """Asks the wallet for a quote; its answer."""
        quote_id = quote_id or str(uuid.uuid4())
        body = {
            "quoteId": quote_id,
            "transactionId": str(uuid.uuid4()),
            "payee": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": to, "fspId": "wallet"}},
            "payer": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": AMINA, "fspId": "bank"}},
            "amountType": "SEND",
            "amount": {"amount": amount, "currency": currency},
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        }
        before = len(self.hub.of("PUT", "quotes"))
        await self._post("quotes", body)
        await self.hub.until(lambda: len(self.hub.of("PUT", "quotes")) > before)
        return self.hub.of("PUT", "quotes")[-1]

    async def transfer(self, terms: dict[str, Any], source: str = "bank", **changed: Any) -> tuple[str, Message]:
        """Sends a transfer on the terms of a quote, with what is changed; its id and the wallet's answer."""
        body = {
            "transferId": str(uuid.uuid4()),
            "payerFsp": source,
            "payeeFsp": "wallet",
            "amount": terms["transferAmount"],
            "ilpPacket": terms["ilpPacket"],
            "condition": terms["condition"],
            "expiration": format_datetime_ms(now_ms() + 5_000),
            **changed,
        }
        return body["transferId"], await self.send(body, source)

    async def send(self, body: dict[str, Any], source: str = "bank") -> Message:
        """Sends a transfer, or sends it again."""
        before = len(self.hub.of("PUT", "transfers"))
        message = Message("POST", ("transfers",), source, "wallet", msgspec.json.encode(body), "1.1")
        if body["transferId"] in self.hub.transfers:
            await self.hub._forward(message, "wallet")
        else:
            await self.hub._prepare(message)
        await self.hub.until(lambda: len(self.hub.of("PUT", "transfers")) > before)
        return self.hub.of("PUT", "transfers")[-1]

    async def _post(self, resource: str, body: dict[str, Any]) -> None:
        message = Message("POST", (resource,), "bank", "wallet", msgspec.json.encode(body), "1.1")
        await self.hub._forward(message, "wallet")


@pytest.fixture
def payer(hub: FakeHub, bank: Participant, wallet: Participant) -> Payer:
    return Payer(hub)


def _error(message: Message) -> str:
    assert message.key[-1] == "error"
    code: str = message.json["errorInformation"]["errorCode"]
    return code


# --- terms ------------------------------------------------------------------------------------------------------------


async def test_a_quote_names_amount_fee_and_what_the_payee_gets(payer: Payer) -> None:
    terms = (await payer.quote("10")).json
    assert terms["transferAmount"] == {"amount": "10", "currency": "USD"}
    assert terms["payeeFspFee"] == {"amount": "0.25", "currency": "USD"}
    assert terms["payeeReceiveAmount"] == {"amount": "9.75", "currency": "USD"}


@pytest.mark.parametrize(
    ("version", "packet"),
    [(Version.V1_0, ilp.IlpPayment), (Version.V1_1, ilp.IlpPayment), (Version.V2_0, ilp.IlpPrepare)],
)
async def test_each_version_has_its_own_packet(
    scheme: Scheme, hub: FakeHub, bank: Participant, version: Version, packet: type
) -> None:
    payee = await scheme.add("payee", Customer("Mya", "MSISDN", "95900000001", {}), version=version)
    payment = await bank.pay(AMINA, ("MSISDN", "95900000001"), usd("1.5"), "USD")
    await payee.ended(payment.transfer_id)
    terms = hub.of("PUT", "quotes")[-1].json
    decoded = ilp.decode_packet(terms["ilpPacket"])
    assert (type(decoded), decoded.amount) == (packet, 150)
    assert payee.customer("95900000001").balances["USD"] == usd("1.5")


async def test_the_packet_holds_the_transaction(payer: Payer) -> None:
    terms = (await payer.quote("10")).json
    transaction = ilp.transaction_of(terms["ilpPacket"])
    assert transaction is not None
    assert transaction["amount"] == {"amount": "10", "currency": "USD"}
    assert transaction["payee"]["partyIdInfo"]["partyIdentifier"] == KAUNG


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"amount": "0.25"}, "5103"),
        ({"amount": "10.001"}, "5103"),
        ({"amount": "10", "currency": "KES"}, "5106"),
        ({"amount": "10", "to": "95911111111"}, "5107"),
    ],
    ids=["no more than the fee", "parts of a cent", "a currency it has not", "nobody it knows"],
)
async def test_a_quote_is_refused_for(payer: Payer, asked: dict[str, str], code: str) -> None:
    assert _error(await payer.quote(**asked)) == code


async def test_a_quote_asked_for_twice_is_answered_with_the_same_bytes(payer: Payer) -> None:
    quote_id = str(uuid.uuid4())
    first, second = await payer.quote("10", quote_id=quote_id), await payer.quote("10", quote_id=quote_id)
    assert first.body == second.body


async def test_terms_are_told_again_on_get(payer: Payer, hub: FakeHub) -> None:
    quote_id = str(uuid.uuid4())
    first = await payer.quote("10", quote_id=quote_id)
    await hub._forward(Message("GET", ("quotes", quote_id), "bank", "wallet", b"", "1.1"), "wallet")
    await hub.until(lambda: len(hub.of("PUT", "quotes")) == 2)
    assert hub.of("PUT", "quotes")[-1].body == first.body


@pytest.mark.parametrize(("resource", "code"), [("quotes", "3205"), ("transfers", "3208")])
async def test_what_it_never_answered_is_not_found_on_get(
    hub: FakeHub, bank: Participant, wallet: Participant, resource: str, code: str
) -> None:
    unknown = str(uuid.uuid4())
    if resource == "transfers":
        # The hub has to know it, or it would not take the answer.
        wallet.conduct = Conduct.SILENT
        paying = asyncio.create_task(bank.pay(AMINA, TO, usd("1"), "USD"))
        await hub.until(lambda: hub.transfers)
        (unknown,) = hub.transfers
    await hub._forward(Message("GET", (resource, unknown), "bank", "wallet", b"", "1.1"), "wallet")
    await hub.until(lambda: hub.of("PUT", resource) and hub.of("PUT", resource)[-1].key[-1] == "error")
    assert _error(hub.of("PUT", resource)[-1]) == code
    if resource == "transfers":
        await hub.expire(unknown)
        await paying


# --- transfers --------------------------------------------------------------------------------------------------------


async def test_a_transfer_on_its_terms_is_reserved_and_fulfilled(payer: Payer, wallet: Participant) -> None:
    terms = (await payer.quote("10")).json
    transfer_id, answer = await payer.transfer(terms)
    assert answer.json["transferState"] == "RESERVED"
    assert ilp.fulfilment_matches(answer.json["fulfilment"], terms["condition"])
    assert await wallet.ended(transfer_id) == "COMMITTED"


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": {"amount": "10.01", "currency": "USD"}},
        {"amount": {"amount": "10", "currency": "KES"}},
        {"ilpPacket": "AQAAAA"},
        {"condition": "A" * 43},
        {"expiration": "2020-01-01T00:00:00.000Z"},
        {"payerFsp": "wallet"},
    ],
    ids=["the amount", "the currency", "the packet", "the condition", "the expiration", "the payer"],
)
async def test_a_transfer_that_differs_from_its_quote_is_declined_in(
    payer: Payer, wallet: Participant, changed: dict[str, Any]
) -> None:
    terms = (await payer.quote("10")).json
    transfer_id, answer = await payer.transfer(terms, **changed)
    assert _error(answer) == "5105"
    assert transfer_id not in wallet.reservations
    assert wallet.customer(KAUNG).balances["USD"] == usd("5")


async def test_a_quote_binds_towards_the_participant_it_was_given_to(
    payer: Payer, scheme: Scheme, wallet: Participant
) -> None:
    await scheme.add("other")
    terms = (await payer.quote("10")).json
    _, answer = await payer.transfer(terms, source="other")
    assert _error(answer) == "5105"


async def test_a_transfer_that_comes_twice_is_answered_twice_the_same(
    payer: Payer, hub: FakeHub, wallet: Participant
) -> None:
    terms = (await payer.quote("10")).json
    transfer_id, first = await payer.transfer(terms)
    await wallet.ended(transfer_id)
    body = {
        "transferId": transfer_id,
        "payerFsp": "bank",
        "payeeFsp": "wallet",
        "amount": terms["transferAmount"],
        "ilpPacket": terms["ilpPacket"],
        "condition": terms["condition"],
        "expiration": format_datetime_ms(now_ms() + 5_000),
    }
    second = await payer.send(body)
    assert second.body == first.body
    assert wallet.customer(KAUNG).balances["USD"] == usd("14.75")


# --- when the customer is credited ------------------------------------------------------------------------------------


async def test_nobody_is_credited_before_the_hub_has_said_committed(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    hub.loses = lambda to, method, _key: to == "wallet" and method == "PATCH"
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    assert payment.state is PaymentState.COMMITTED
    assert wallet.reservations[payment.transfer_id].state == "RESERVED"
    assert wallet.customer(KAUNG).balances["USD"] == usd("5")


async def test_a_payee_that_is_not_told_asks_when_the_transfers_time_is_over(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    hub.loses = lambda to, method, _key: to == "wallet" and method == "PATCH"
    bank.transfer_seconds = 0.05
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    assert await wallet.ended(payment.transfer_id) == "COMMITTED"
    assert [each.source for each in hub.of("GET", "transfers")] == ["wallet"]
    assert wallet.customer(KAUNG).balances["USD"] == usd("14.75")


async def test_it_is_credited_once_however_often_it_is_told(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    await wallet.ended(payment.transfer_id)
    await hub._patch(hub.transfers[payment.transfer_id])
    await hub._result(hub.transfers[payment.transfer_id], "wallet")
    assert wallet.told[payment.transfer_id] == ["COMMITTED"] * 3
    assert wallet.customer(KAUNG).balances["USD"] == usd("14.75")


async def test_in_version_1_0_it_answers_committed_and_waits_for_the_confirmation(
    scheme: Scheme, hub: FakeHub, bank: Participant
) -> None:
    payee = await scheme.add("payee", Customer("Mya", "MSISDN", "95900000001", {}), version=Version.V1_0)
    payment = await bank.pay(AMINA, ("MSISDN", "95900000001"), usd("10"), "USD")
    assert await payee.ended(payment.transfer_id) == "COMMITTED"
    assert hub.of("PUT", "transfers")[-1].json["transferState"] == "COMMITTED"
    assert payee.customer("95900000001").balances["USD"] == usd("10")


async def test_in_version_1_0_it_asks_a_hub_that_does_not_confirm(
    scheme: Scheme, hub: FakeHub, bank: Participant
) -> None:
    hub.confirms_to_payee = False
    customer = Customer("Mya", "MSISDN", "95900000001", {})
    payee = await scheme.add("payee", customer, version=Version.V1_0, answer_seconds=0.02)
    payment = await bank.pay(AMINA, ("MSISDN", "95900000001"), usd("10"), "USD")
    assert await payee.ended(payment.transfer_id) == "COMMITTED"
    assert customer.balances["USD"] == usd("10")


async def test_an_aborted_reservation_credits_nobody(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    wallet.conduct = Conduct.WRONG_FULFILMENT
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    assert await wallet.ended(payment.transfer_id) == "ABORTED"
    assert wallet.customer(KAUNG).balances["USD"] == usd("5")
    assert wallet.received["USD"] == 0


async def test_what_cannot_be_read_is_refused(wallet: Participant, client: HttpClient) -> None:
    for body in (b"{", b"[]", b'{"quoteId": 1'):
        answer = await client.send(Request("POST", f"{wallet.url}/quotes", (), body))
        assert answer.status == 400
