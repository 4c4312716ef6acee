"""A day with an interchange fee, over the wire: what the reference's sample script charges, charged by a rule.

0.6 % of what one consumer sends another from wallet to wallet, rounded to two decimals, which the payer's participant
owes the payee's. Whether a payment is one its transaction object says, by extensions of both parties.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Wire, fulfilled, in_seconds
from tests.e2e.recorder import Recorder
from tests.e2e.running import running
from tests.switch.charging import BETWEEN_CONSUMERS, FEE_TYPE, WALLET_TO_WALLET, fee_rule, where

from vuka.fspiop.ilp import Agreement, IlpVersion, agree
from vuka.httpclient import HttpClient, Request
from vuka.money import format_amount
from vuka.switch import books

FLAT = ("0", "0", "0")
SECRET = b"only the payee's side knows it"
MERCHANT = {**BETWEEN_CONSUMERS, "scenario": "PAYMENT", "initiatorType": "BUSINESS"}
MODEL = {
    "name": "INTERCHANGE",
    "settlementGranularity": "NET",
    "settlementInterchange": "MULTILATERAL",
    "settlementDelay": "DEFERRED",
    "currency": "USD",
    "requireLiquidityCheck": False,
    "ledgerAccountType": FEE_TYPE,
    "settlementAccountType": "INTERCHANGE_FEE_SETTLEMENT",
    "autoPositionReset": True,
}
INTERCHANGE = fee_rule(name="wallet to wallet", conditions=WALLET_TO_WALLET, percentage="0.6", currency="USD")


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    """A hub and three participants of a test's own: what it settles is what it has paid."""
    client = HttpClient(timeout_ms=5_000)
    async with running(tmp_path / "hub") as hub:
        wire = Wire(hub, client)
        await wire.operator.add_hub_accounts("USD")
        for each in wire.all:
            await wire.take_in(each)
        yield wire
        for each in wire.all:
            await each.server.stop()
    await client.close()


def party(recorder: Recorder, kind: str) -> dict[str, Any]:
    info = {"partyIdType": "MSISDN", "partyIdentifier": "254711000001", "fspId": recorder.name}
    return {"partyIdInfo": {**info, "extensionList": {"extension": [{"key": "accountType", "value": kind}]}}}


def agreed(
    payer: Recorder, payee: Recorder, amount: str, kinds: tuple[str, str], of: dict[str, str], version: IlpVersion
) -> Agreement:
    """What both sides have agreed on: the packet holds the transaction object."""
    transaction = {
        "transactionId": str(uuid.uuid4()),
        "quoteId": str(uuid.uuid4()),
        "payer": party(payer, kinds[0]),
        "payee": party(payee, kinds[1]),
        "amount": {"amount": amount, "currency": "USD"},
        "transactionType": of,
        "expiration": in_seconds(30),
    }
    return agree(transaction, SECRET, version)


async def pay(
    wire: Wire,
    payer: Recorder,
    payee: Recorder,
    amount: str,
    *,
    kinds: tuple[str, str] = ("Wallet", "Wallet"),
    of: dict[str, str] = BETWEEN_CONSUMERS,
    version: IlpVersion = IlpVersion.V1,
    declined: bool = False,
    **more: Any,
) -> str:
    """A payment, prepared by one participant and fulfilled or declined by the other; its id."""
    terms = agreed(payer, payee, amount, kinds, of, version)
    body = wire.transfer(
        payerFsp=payer.name,
        payeeFsp=payee.name,
        amount={"amount": amount, "currency": "USD"},
        ilpPacket=terms.packet,
        condition=terms.condition,
        **more,
    )
    transfer_id: str = body["transferId"]
    assert (await payer.send("POST", "/transfers", body, payee.name)).status == 202
    await payee.heard("POST", "/transfers", having=transfer_id.encode())
    if declined:
        error = {"errorInformation": {"errorCode": "5104", "errorDescription": "Payee rejected transaction"}}
        assert (await payee.send("PUT", f"/transfers/{transfer_id}/error", error, payer.name)).status == 200
        await payer.heard("PUT", f"/transfers/{transfer_id}/error")
        return transfer_id
    answer = fulfilled("COMMITTED", fulfilment=terms.fulfilment)
    for _ in range(2):
        # Sent twice, as after a lost answer: it is charged once.
        assert (await payee.send("PUT", f"/transfers/{transfer_id}", answer, payer.name)).status == 200
    told = await payer.heard("PUT", f"/transfers/{transfer_id}")
    assert b"COMMITTED" in told.body
    return transfer_id


async def fees(wire: Wire, transfer_id: str) -> list[tuple[str, str, str]]:
    """Who owes whom how much for a transfer."""
    found = await shown(wire, f"/transfers/{transfer_id}")
    return [(each["from"], each["to"], each["amount"]["amount"]) for each in found.get("fees", ())]


async def shown(wire: Wire, path: str) -> Any:
    """What the operators' API shows; numbers as the digits in which they are written."""
    answer = await wire.client.send(Request("GET", wire.hub.operators_url + path, []))
    assert answer.status == 200, answer.body
    return json.loads(answer.body, parse_int=str, parse_float=str)


async def settled(wire: Wire, window: int, model: str) -> str:
    """A new settlement of a window; its path."""
    asked = {"settlementModel": model, "reason": "end of day", "settlementWindows": [{"id": window}]}
    made = await wire.operator.do("POST", "/v2/settlements", asked)
    return f"/v2/settlements/{made['id']}"


async def nets(wire: Wire, settlement: str) -> dict[str, str]:
    """What each participant is to pay (negative: to get) in a settlement."""
    owners = {
        account["id"]: each.name
        for each in wire.all
        for account in await shown(wire, f"/participants/{each.name}/accounts")
    }
    return {
        owners[account["id"]]: account["netSettlementAmount"]["amount"]
        for each in (await shown(wire, settlement))["participants"]
        for account in each["accounts"]
    }


async def values(wire: Wire, account_type: str) -> tuple[str, ...]:
    """The balances of the three participants' accounts of a type."""
    return tuple(
        [
            account["value"]
            for each in wire.all
            for account in await shown(wire, f"/participants/{each.name}/accounts")
            if account["ledgerAccountType"] == account_type
        ]
    )


async def test_a_day_with_an_interchange_fee_is_charged_settled_and_in_the_books(wire: Wire) -> None:
    payer, payee, other = wire.all
    # Before the fee: a payment to try the rule on.
    before = await pay(wire, payer, payee, "100")
    tried = await wire.operator.do("POST", "/rules/fees/try", {"rules": [INTERCHANGE]})
    assert (tried["total"], tried["totalThen"]) == ([{"amount": "0.6", "currency": "USD"}], [])
    await wire.operator.do("POST", "/settlementModels", MODEL)
    await wire.operator.do("PUT", "/rules/fees", [INTERCHANGE])

    sent = [
        await pay(wire, payer, payee, "12.5"),
        await pay(wire, payee, payer, "250", version=IlpVersion.V4),
        await pay(wire, other, payee, "1000.1"),
        await pay(wire, payer, other, "77.77", kinds=("Bank", "Wallet")),
        await pay(wire, payer, other, "77.77", of=MERCHANT),
        await pay(wire, payer, payee, "500", declined=True),
        await pay(wire, payer, payee, "0.5"),
    ]
    assert [await fees(wire, each) for each in (before, *sent)] == [
        [],
        [(payer.name, payee.name, "0.08")],
        [(payee.name, payer.name, "1.5")],
        [(other.name, payee.name, "6")],
        [],
        [],
        [],
        [],
    ]
    assert await values(wire, FEE_TYPE) == ("-1.42", "-4.58", "6")

    closed = await wire.operator.do("GET", "/v2/settlementWindows?state=OPEN")
    window = closed[0]["id"]
    await wire.operator.do("POST", f"/v2/settlementWindows/{window}", {"state": "CLOSED", "reason": "end of day"})
    content = (await shown(wire, f"/v2/settlementWindows/{window}"))["content"]
    assert [each["ledgerAccountType"] for each in content] == [FEE_TYPE, "POSITION"]

    positions = await settled(wire, window, "DEFAULTDEFERREDNET")
    assert await nets(wire, positions) == {payer.name: "18.54", payee.name: "-863.1", other.name: "844.56"}
    interchange = await settled(wire, window, "INTERCHANGE")
    assert await nets(wire, interchange) == {payer.name: "-1.42", payee.name: "-4.58", other.name: "6"}
    ended = await wire.operator.do("POST", f"{positions}/finalise", {"reason": "the bank has paid"})
    assert (ended["state"], ended["settlementWindows"][0]["state"]) == ("SETTLED", "PENDING_SETTLEMENT")
    assert (await values(wire, "POSITION"), await values(wire, FEE_TYPE)) == (FLAT, ("-1.42", "-4.58", "6"))
    ended = await wire.operator.do("POST", f"{interchange}/finalise", {"reason": "the bank has paid"})
    assert (ended["state"], ended["settlementWindows"][0]["state"]) == ("SETTLED", "SETTLED")
    assert (await values(wire, "POSITION"), await values(wire, FEE_TYPE)) == (FLAT, FLAT)
    assert await values(wire, "SETTLEMENT") == ("-1000000",) * 3

    def statement(name: str) -> list[tuple[str, str, str]]:
        account = wire.hub.hub.directory.participants[name].accounts["USD", FEE_TYPE]
        found = wire.hub.hub.read(lambda _tx, ledger, directory: books.statement(ledger, directory, name, account))
        return [(each.what, each.counterparty, format_amount(each.balance)) for each in found.movements]

    assert statement(payer.name) == [
        ("fee", f"{payee.name} {FEE_TYPE}", "0.08"),
        ("fee", f"{payee.name} {FEE_TYPE}", "-1.42"),
        ("settlement reserved", "Hub HUB_MULTILATERAL_SETTLEMENT", "0"),
    ]
    assert statement(other.name) == [
        ("fee", f"{payee.name} {FEE_TYPE}", "6"),
        ("settlement", "Hub HUB_MULTILATERAL_SETTLEMENT", "0"),
    ]
    balances = wire.hub.hub.read(lambda _tx, ledger, directory: books.trial_balance(ledger, directory))
    kept = [(each.participant, each.debits, each.credits) for each in balances if each.type == FEE_TYPE]
    assert kept == [(other.name, 60_000, 60_000), (payee.name, 60_800, 60_800), (payer.name, 15_000, 15_000)]
    assert sum(each.debits - each.credits for each in balances) == 0
    assert wire.hub.audit().differences == []


async def test_a_fee_may_depend_on_extensions_of_the_transfer(wire: Wire) -> None:
    of_merchants = {"all": [where("transfer", "$.extensions.segment", "equal", "merchant")]}
    await wire.operator.do("POST", "/settlementModels", MODEL)
    rule = fee_rule(conditions=of_merchants, debtor="payee", creditor="hub", fixed="0.25", currency="USD")
    await wire.operator.do("PUT", "/rules/fees", [rule])
    segment = {"key": "segment", "value": "merchant"}
    merchant = await pay(wire, wire.payer, wire.payee, "10", extensionList={"extension": [segment]})
    farmer = await pay(
        wire, wire.payer, wire.payee, "10", extensionList={"extension": [{**segment, "value": "farmer"}, segment]}
    )
    assert await fees(wire, merchant) == [(wire.payee.name, "Hub", "0.25")]
    assert await fees(wire, farmer) == [], "the first of a key counts"
    assert wire.hub.audit().differences == []


async def test_payments_that_cross_are_each_charged_once(wire: Wire) -> None:
    await wire.operator.do("POST", "/settlementModels", MODEL)
    await wire.operator.do("PUT", "/rules/fees", [INTERCHANGE])
    a, b = wire.payer, wire.payee
    ids = await asyncio.gather(*(pay(wire, *(pair), "10") for pair in ((a, b), (b, a)) for _ in range(20)))
    assert [len(await fees(wire, each)) for each in ids] == [1] * 40
    assert await values(wire, FEE_TYPE) == FLAT
    assert wire.hub.audit().differences == []
