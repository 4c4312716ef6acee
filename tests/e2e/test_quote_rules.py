"""Quotes of every kind in a hub of life: passed on byte for byte, refused or rerouted by the scheme's rules."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.conftest import TERMS, Wire, in_seconds
from tests.e2e.recorder import code, description, media_type

from vuka.sim.unquoted import CONDITION, ILP_PACKET

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALWAYS = {"all": [{"fact": "operation", "operator": "isString", "value": True}]}
TYPE = {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def scheme(wire: Wire) -> None:
    """Everybody in USD and KES, with somewhere to send quotes of every kind."""
    await wire.operator.add_hub_accounts("KES")
    for each in wire.all:
        await wire.operator.add_participant(each.name, each.server.url, {"KES": TERMS})
        for kind in ("BULK_QUOTES", "FX_QUOTES"):
            await wire.point(each, f"FSPIOP_CALLBACK_URL_{kind}", each.server.url)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def without_rules(wire: Wire) -> AsyncIterator[None]:
    """Every test begins and ends without rules."""
    yield
    await wire.operator.do("PUT", "/rules/quotes", [])


def party(fsp: str) -> dict[str, Any]:
    return {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "27713803912", "fspId": fsp}}


def quote(wire: Wire, amount: str = "10") -> dict[str, Any]:
    return {
        "quoteId": str(uuid.uuid4()),
        "transactionId": str(uuid.uuid4()),
        "payer": party(wire.payer.name),
        "payee": party(wire.payee.name),
        "amountType": "SEND",
        "amount": {"amount": amount, "currency": "USD"},
        "transactionType": TYPE,
    }


def terms() -> dict[str, Any]:
    amount = {"amount": "10", "currency": "USD"}
    return {"transferAmount": amount, "expiration": in_seconds(30), "ilpPacket": ILP_PACKET, "condition": CONDITION}


def spaced(body: object) -> bytes:
    """JSON as the hub would not write it."""
    return json.dumps(body, indent=3, sort_keys=False).encode()


async def test_a_rule_on_an_amount_refuses_what_is_above_it(wire: Wire) -> None:
    above = {"all": [{"fact": "payload", "path": "$.amount.amount", "operator": "greaterThan", "value": "99.5"}]}
    params = {"FSPIOPError": "PAYER_LIMIT_ERROR", "message": "at most 99.5 at a time"}
    rule = {"conditions": above, "event": {"type": "INVALID_QUOTE_REQUEST", "params": params}}
    await wire.operator.do("PUT", "/rules/quotes", [rule])
    small, large = quote(wire, "99.5"), quote(wire, "100")
    for each in (small, large):
        assert (await wire.payer.send("POST", "/quotes", each, wire.payee.name)).status == 202
    await wire.payee.heard("POST", "/quotes", having=small["quoteId"].encode())
    told = await wire.payer.heard("PUT", f"/quotes/{large['quoteId']}/error")
    assert (code(told.body), description(told.body)) == ("4200", "Payer limit error - at most 99.5 at a time")


async def test_a_rerouted_quote_goes_to_another_participant_whose_answer_counts(wire: Wire) -> None:
    params = {"rerouteToFsp": wire.other.name, "additionalHeaders": {"x-fspiop-sourcecurrency": "USD"}}
    rule = {"conditions": ALWAYS, "event": {"type": "INTERCEPT_QUOTE", "params": params}}
    await wire.operator.do("PUT", "/rules/quotes", [rule])
    asked = quote(wire)
    body, path = spaced(asked), f"/quotes/{asked['quoteId']}"
    assert (await wire.payer.send("POST", "/quotes", body, wire.payee.name)).status == 202
    heard = await wire.other.heard("POST", "/quotes", having=asked["quoteId"].encode())
    assert heard.body == body
    assert heard.headers["fspiop-destination"] == wire.other.name
    assert heard.headers["x-fspiop-sourcecurrency"] == "USD"
    answer = spaced(terms())
    assert (await wire.other.send("PUT", path, answer, wire.payer.name)).status == 200
    assert (await wire.payer.heard("PUT", path)).body == answer


async def test_rules_are_tried_on_what_has_gone_through(wire: Wire) -> None:
    asked = quote(wire)
    await wire.payer.send("POST", "/quotes", asked, wire.payee.name)
    await wire.payee.heard("POST", "/quotes", having=asked["quoteId"].encode())
    params = {"FSPIOPError": "PAYER_ERROR", "message": "no"}
    rule = {"conditions": ALWAYS, "event": {"type": "INVALID_QUOTE_REQUEST", "params": params}}
    tried = await wire.operator.do("POST", "/rules/quotes/try", {"rules": [rule], "ids": [asked["quoteId"]]})
    assert [(each["outcome"], each["decision"]["errorCode"]) for each in tried["quotes"]] == [("accepted", "4000")]


async def test_a_quote_that_cannot_be_delivered_is_told_in_the_version_that_its_accept_allows(wire: Wire) -> None:
    asked = quote(wire)
    wire.payee.answers["/quotes"] = 400
    sent = await wire.payer.send(
        "POST",
        "/quotes",
        asked,
        wire.payee.name,
        content_type=media_type("quotes", "1.0"),
        accept=f"{media_type('quotes', '1.0')},{media_type('quotes', '2')}",
    )
    assert sent.status == 202
    told = await wire.payer.heard("PUT", f"/quotes/{asked['quoteId']}/error")
    del wire.payee.answers["/quotes"]
    assert (code(told.body), told.headers["content-type"]) == ("1001", media_type("quotes", "2.0"))


async def test_a_bulk_quote_and_its_answer_are_passed_on_byte_for_byte(wire: Wire) -> None:
    bulk_id = str(uuid.uuid4())
    single = {name: value for name, value in quote(wire).items() if name != "payer"}
    asked = spaced({"bulkQuoteId": bulk_id, "payer": party(wire.payer.name), "individualQuotes": [single]})
    assert (await wire.payer.send("POST", "/bulkQuotes", asked, wire.payee.name)).status == 202
    assert (await wire.payee.heard("POST", "/bulkQuotes", having=bulk_id.encode())).body == asked
    path, answer = f"/bulkQuotes/{bulk_id}", spaced({"expiration": in_seconds(30), "individualQuoteResults": []})
    assert (await wire.payee.send("PUT", path, answer, wire.payer.name)).status == 200
    assert (await wire.payer.heard("PUT", path)).body == answer
    assert (await wire.payer.send("GET", path, None, wire.payee.name)).status == 202
    await wire.payee.heard("GET", path)


async def test_an_answer_to_a_bulk_quote_carries_no_accept(wire: Wire) -> None:
    path = f"/bulkQuotes/{uuid.uuid4()}"
    answer = await wire.payee.send(
        "PUT", path, {"expiration": in_seconds(30)}, wire.payer.name, accept=media_type("bulkQuotes", "1.1")
    )
    assert (answer.status, code(answer.body)) == (400, "3100")


def conversion(wire: Wire) -> dict[str, Any]:
    return {
        "conversionId": str(uuid.uuid4()),
        "determiningTransferId": str(uuid.uuid4()),
        "initiatingFsp": wire.payer.name,
        "counterPartyFsp": wire.other.name,
        "amountType": "SEND",
        "sourceAmount": {"currency": "USD", "amount": "10"},
        "targetAmount": {"currency": "KES"},
        "expiration": in_seconds(30),
    }


async def test_a_conversions_quote_and_its_answer_are_passed_on_byte_for_byte(wire: Wire) -> None:
    request_id = str(uuid.uuid4())
    wire.payer.version = wire.payer.accepts = wire.other.version = "2.0"
    asked = spaced({"conversionRequestId": request_id, "conversionTerms": conversion(wire)})
    for count in (1, 2):
        assert (await wire.payer.send("POST", "/fxQuotes", asked, wire.other.name)).status == 202
        heard = await wire.other.heard("POST", "/fxQuotes", having=request_id.encode(), count=count)
        assert heard.body == asked
    path, answer = f"/fxQuotes/{request_id}", spaced({"condition": CONDITION, "conversionTerms": conversion(wire)})
    assert (await wire.other.send("PUT", path, answer, wire.payer.name)).status == 200
    assert (await wire.payer.heard("PUT", path)).body == answer
    changed = asked.replace(b'"10"', b'"11"')
    assert (await wire.payer.send("POST", "/fxQuotes", changed, wire.other.name)).status == 202
    assert code((await wire.payer.heard("PUT", path + "/error")).body) == "3106"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_conversions_are_of_version_2_0_only(wire: Wire, version: str) -> None:
    kind = media_type("fxQuotes", version)
    answer = await wire.payer.send("POST", "/fxQuotes", {}, wire.other.name, content_type=kind, accept=kind)
    assert (answer.status, code(answer.body)) == (406, "3001")
