"""Every operation of the participants' API, how it succeeds, and how each of its documented errors is provoked.

An operation is a method and a path template of the published OpenAPI files. Its success is a coroutine that sends it
for real and sees what follows from it; a documented error is a request that differs from a right one in one respect.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from tests.e2e.conftest import Wire, fulfilled, in_seconds
from tests.e2e.recorder import Recorder

from vuka.sim.unquoted import CONDITION, ILP_PACKET

Success = Callable[[Wire], Awaitable[int]]

SUCCESSES: Final[dict[tuple[str, str], Success]] = {}
"""By method and path template: sends the operation, sees what follows, and returns the status answered."""

NOT_SERVED: Final = (
    ("POST", "/transactionRequests"),
    ("GET", "/transactionRequests/{ID}"),
    ("PUT", "/transactionRequests/{ID}"),
    ("PUT", "/transactionRequests/{ID}/error"),
    ("GET", "/authorizations/{ID}"),
    ("PUT", "/authorizations/{ID}"),
    ("PUT", "/authorizations/{ID}/error"),
    ("GET", "/transactions/{ID}"),
    ("PUT", "/transactions/{ID}"),
    ("PUT", "/transactions/{ID}/error"),
    ("POST", "/bulkTransfers"),
    ("GET", "/bulkTransfers/{ID}"),
    ("PUT", "/bulkTransfers/{ID}"),
    ("PUT", "/bulkTransfers/{ID}/error"),
    ("POST", "/fxTransfers"),
    ("GET", "/fxTransfers/{ID}"),
    ("PATCH", "/fxTransfers/{ID}"),
    ("PUT", "/fxTransfers/{ID}"),
    ("PUT", "/fxTransfers/{ID}/error"),
    ("GET", "/services/FXP"),
    ("PUT", "/services/FXP"),
    ("GET", "/services/FXP/{SourceCurrency}/{TargetCurrency}"),
    ("PUT", "/services/FXP/{SourceCurrency}/{TargetCurrency}"),
)
"""What FSPIOP has and this hub answers 501 to: it says that it knows them, and does not have them."""

NOT_OF_THE_API: Final = frozenset((("GET", "/requests/{ID}"), ("GET", "/callbacks/{ID}")))
"""What the file of 1.0 has for a test tool's own sake."""

NEVER_RECEIVED: Final = frozenset((("PATCH", "/transfers/{ID}"), ("PUT", "/participants/{ID}")))
"""Messages that only the hub sends: 501 from the reference too (hub reference §1.2)."""

PARAMETERS: Final[Mapping[str, str]] = {
    "{Type}": "MSISDN",
    "{ID}": "e5b1a2c0-9f4b-4f5e-8a51-6f0d3f5a7c11",
    "{SubId}": "HOME",
    "{SourceCurrency}": "USD",
    "{TargetCurrency}": "KES",
}


def filled(template: str) -> str:
    """A path of that template."""
    for name, value in PARAMETERS.items():
        template = template.replace(name, value)
    return template


def succeeds(method: str, template: str) -> Callable[[Success], Success]:
    """Enters how an operation succeeds."""

    def enter(success: Success) -> Success:
        assert (method, template) not in SUCCESSES
        SUCCESSES[method, template] = success
        return success

    return enter


def new_id() -> str:
    """An id nobody has used."""
    return str(uuid.uuid4())


def new_msisdn() -> str:
    """A telephone number nobody has used."""
    return str(uuid.uuid4().int)[:15]


async def passed_on(
    sender: Recorder, receiver: Recorder, method: str, path: str, body: object = None, *, heard_path: str | None = None
) -> int:
    """Sends a message and sees it arrive at the other side with the same bytes."""
    answer = await sender.send(method, path, body, receiver.name)
    inquiry = await receiver.heard(method, heard_path or path)
    assert inquiry.headers["fspiop-source"] == sender.name
    return answer.status


# --- participants ----------------------------------------------------------------------------------------------------


async def _registered(wire: Wire, *ids: str) -> str:
    path = "/participants/" + "/".join(ids)
    answer = await wire.payee.send("POST", path, {"fspId": wire.payee.name, "currency": "USD"})
    assert answer.status == 202, answer.body
    await wire.payee.heard("PUT", path)
    return path


@succeeds("POST", "/participants")
async def post_participants(wire: Wire) -> int:
    request_id = new_id()
    party = {"partyIdType": "MSISDN", "partyIdentifier": new_msisdn(), "fspId": wire.payee.name}
    answer = await wire.payee.send(
        "POST", "/participants", {"requestId": request_id, "partyList": [party], "currency": "USD"}, wire.payee.name
    )
    await wire.payee.heard("PUT", f"/participants/{request_id}")
    return answer.status


@succeeds("PUT", "/participants/{ID}/error")
async def put_participants_batch_error(wire: Wire) -> int:
    return await passed_on(wire.payee, wire.payer, "PUT", f"/participants/{new_id()}/error", an_error())


def _of_a_party(template: str, *sub_ids: str) -> None:
    """The operations on one party, with and without a sub-identifier."""

    @succeeds("POST", f"/participants/{template}")
    async def post_participant(wire: Wire) -> int:
        path = f"/participants/MSISDN/{new_msisdn()}" + "".join(f"/{each}" for each in sub_ids)
        answer = await wire.payee.send("POST", path, {"fspId": wire.payee.name, "currency": "USD"})
        await wire.payee.heard("PUT", path)
        return answer.status

    @succeeds("GET", f"/participants/{template}")
    async def get_participant(wire: Wire) -> int:
        path = await _registered(wire, "MSISDN", new_msisdn(), *sub_ids)
        answer = await wire.payer.send("GET", path)
        told = await wire.payer.heard("PUT", path)
        assert wire.payee.name.encode() in told.body
        return answer.status

    @succeeds("PUT", f"/participants/{template}")
    async def put_participant(wire: Wire) -> int:
        path = f"/participants/MSISDN/{new_msisdn()}" + "".join(f"/{each}" for each in sub_ids)
        answer = await wire.payee.send("PUT", path, {"fspId": wire.payee.name})
        await wire.payee.heard("PUT", path)
        return answer.status

    @succeeds("DELETE", f"/participants/{template}")
    async def delete_participant(wire: Wire) -> int:
        path = await _registered(wire, "MSISDN", new_msisdn(), *sub_ids)
        answer = await wire.payee.send("DELETE", path)
        await wire.payee.heard("PUT", path, count=2)
        return answer.status

    @succeeds("PUT", f"/participants/{template}/error")
    async def put_participant_error(wire: Wire) -> int:
        path = f"/participants/MSISDN/{new_msisdn()}" + "".join(f"/{each}" for each in sub_ids) + "/error"
        return await passed_on(wire.payee, wire.payer, "PUT", path, an_error())

    @succeeds("GET", f"/parties/{template}")
    async def get_party(wire: Wire) -> int:
        path = await _registered(wire, "MSISDN", new_msisdn(), *sub_ids)
        path = path.replace("/participants/", "/parties/")
        answer = await wire.payer.send("GET", path)
        asked = await wire.payee.heard("GET", path)
        assert asked.headers["fspiop-destination"] == wire.payee.name
        return answer.status

    @succeeds("PUT", f"/parties/{template}")
    async def put_party(wire: Wire) -> int:
        msisdn = new_msisdn()
        path = f"/parties/MSISDN/{msisdn}" + "".join(f"/{each}" for each in sub_ids)
        party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": msisdn}}}
        return await passed_on(wire.payee, wire.payer, "PUT", path, party)

    @succeeds("PUT", f"/parties/{template}/error")
    async def put_party_error(wire: Wire) -> int:
        path = f"/parties/MSISDN/{new_msisdn()}" + "".join(f"/{each}" for each in sub_ids) + "/error"
        return await passed_on(wire.payee, wire.payer, "PUT", path, an_error())


_of_a_party("{Type}/{ID}")
_of_a_party("{Type}/{ID}/{SubId}", "HOME")


# --- quotes ----------------------------------------------------------------------------------------------------------


def a_party(recorder: Recorder) -> dict[str, Any]:
    """A party of that participant."""
    info = {"partyIdType": "MSISDN", "partyIdentifier": "27713803912", "fspId": recorder.name}
    return {"partyIdInfo": info}


TRANSACTION_TYPE: Final = {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"}
TEN: Final = {"amount": "10", "currency": "USD"}


def a_quote(wire: Wire) -> dict[str, Any]:
    """A body of ``POST /quotes``."""
    return {
        "quoteId": new_id(),
        "transactionId": new_id(),
        "payee": a_party(wire.payee),
        "payer": a_party(wire.payer),
        "amountType": "SEND",
        "amount": TEN,
        "transactionType": TRANSACTION_TYPE,
    }


def terms() -> dict[str, Any]:
    """A body of ``PUT /quotes/{ID}``."""
    return {"transferAmount": TEN, "expiration": in_seconds(30), "ilpPacket": ILP_PACKET, "condition": CONDITION}


def an_error() -> dict[str, Any]:
    """A body of any ``…/error``."""
    return {"errorInformation": {"errorCode": "3204", "errorDescription": "Party not found"}}


async def _quoted(wire: Wire) -> str:
    body = a_quote(wire)
    answer = await wire.payer.send("POST", "/quotes", body, wire.payee.name)
    assert answer.status == 202, answer.body
    await wire.payee.heard("POST", "/quotes", having=body["quoteId"].encode())
    return f"/quotes/{body['quoteId']}"


@succeeds("POST", "/quotes")
async def post_quotes(wire: Wire) -> int:
    body = a_quote(wire)
    answer = await wire.payer.send("POST", "/quotes", body, wire.payee.name)
    await wire.payee.heard("POST", "/quotes", having=body["quoteId"].encode())
    return answer.status


@succeeds("GET", "/quotes/{ID}")
async def get_quotes(wire: Wire) -> int:
    return await passed_on(wire.payer, wire.payee, "GET", await _quoted(wire))


@succeeds("PUT", "/quotes/{ID}")
async def put_quotes(wire: Wire) -> int:
    return await passed_on(wire.payee, wire.payer, "PUT", await _quoted(wire), terms())


@succeeds("PUT", "/quotes/{ID}/error")
async def put_quotes_error(wire: Wire) -> int:
    return await passed_on(wire.payee, wire.payer, "PUT", await _quoted(wire) + "/error", an_error())


# --- bulk quotes -----------------------------------------------------------------------------------------------------


def a_bulk_quote(wire: Wire) -> dict[str, Any]:
    """A body of ``POST /bulkQuotes``."""
    single = {
        "quoteId": new_id(),
        "transactionId": new_id(),
        "payee": a_party(wire.payee),
        "amountType": "SEND",
        "amount": TEN,
        "transactionType": TRANSACTION_TYPE,
    }
    return {"bulkQuoteId": new_id(), "payer": a_party(wire.payer), "individualQuotes": [single]}


async def _bulk_quoted(wire: Wire) -> str:
    body = a_bulk_quote(wire)
    answer = await wire.payer.send("POST", "/bulkQuotes", body, wire.payee.name)
    assert answer.status == 202, answer.body
    await wire.payee.heard("POST", "/bulkQuotes", having=body["bulkQuoteId"].encode())
    return f"/bulkQuotes/{body['bulkQuoteId']}"


@succeeds("POST", "/bulkQuotes")
async def post_bulk_quotes(wire: Wire) -> int:
    body = a_bulk_quote(wire)
    answer = await wire.payer.send("POST", "/bulkQuotes", body, wire.payee.name)
    await wire.payee.heard("POST", "/bulkQuotes", having=body["bulkQuoteId"].encode())
    return answer.status


@succeeds("GET", "/bulkQuotes/{ID}")
async def get_bulk_quotes(wire: Wire) -> int:
    return await passed_on(wire.payer, wire.payee, "GET", await _bulk_quoted(wire))


@succeeds("PUT", "/bulkQuotes/{ID}")
async def put_bulk_quotes(wire: Wire) -> int:
    path = await _bulk_quoted(wire)
    return await passed_on(wire.payee, wire.payer, "PUT", path, {"expiration": in_seconds(30)})


@succeeds("PUT", "/bulkQuotes/{ID}/error")
async def put_bulk_quotes_error(wire: Wire) -> int:
    return await passed_on(wire.payee, wire.payer, "PUT", await _bulk_quoted(wire) + "/error", an_error())


# --- fx quotes -------------------------------------------------------------------------------------------------------


def conversion(wire: Wire) -> dict[str, Any]:
    """Terms of a conversion by the other participant."""
    return {
        "conversionId": new_id(),
        "initiatingFsp": wire.payer.name,
        "counterPartyFsp": wire.other.name,
        "amountType": "SEND",
        "sourceAmount": TEN,
        "targetAmount": {"currency": "KES", "amount": "1290"},
        "expiration": in_seconds(30),
    }


async def _fx_quoted(wire: Wire) -> tuple[str, dict[str, Any]]:
    body = {"conversionRequestId": new_id(), "conversionTerms": conversion(wire)}
    answer = await wire.payer.send("POST", "/fxQuotes", body, wire.other.name)
    assert answer.status == 202, answer.body
    await wire.other.heard("POST", "/fxQuotes", having=str(body["conversionRequestId"]).encode())
    return f"/fxQuotes/{body['conversionRequestId']}", body


@succeeds("POST", "/fxQuotes")
async def post_fx_quotes(wire: Wire) -> int:
    await _fx_quoted(wire)
    return 202


@succeeds("GET", "/fxQuotes/{ID}")
async def get_fx_quotes(wire: Wire) -> int:
    path, _ = await _fx_quoted(wire)
    return await passed_on(wire.payer, wire.other, "GET", path)


@succeeds("PUT", "/fxQuotes/{ID}")
async def put_fx_quotes(wire: Wire) -> int:
    path, body = await _fx_quoted(wire)
    answer = {"condition": CONDITION, "conversionTerms": body["conversionTerms"]}
    return await passed_on(wire.other, wire.payer, "PUT", path, answer)


@succeeds("PUT", "/fxQuotes/{ID}/error")
async def put_fx_quotes_error(wire: Wire) -> int:
    path, _ = await _fx_quoted(wire)
    return await passed_on(wire.other, wire.payer, "PUT", path + "/error", an_error())


# --- transfers -------------------------------------------------------------------------------------------------------


@succeeds("POST", "/transfers")
async def post_transfers(wire: Wire) -> int:
    await wire.reserved()
    return 202


@succeeds("GET", "/transfers/{ID}")
async def get_transfers(wire: Wire) -> int:
    path = f"/transfers/{await wire.reserved()}"
    answer = await wire.payer.send("GET", path)
    told = await wire.payer.heard("PUT", path)
    assert b"RESERVED" in told.body
    return answer.status


@succeeds("PUT", "/transfers/{ID}")
async def put_transfers(wire: Wire) -> int:
    path = f"/transfers/{await wire.reserved()}"
    answer = await wire.payee.send("PUT", path, fulfilled("COMMITTED"), wire.payer.name)
    told = await wire.payer.heard("PUT", path)
    assert b"COMMITTED" in told.body
    return answer.status


@succeeds("PUT", "/transfers/{ID}/error")
async def put_transfers_error(wire: Wire) -> int:
    path = f"/transfers/{await wire.reserved()}/error"
    answer = await wire.payee.send("PUT", path, an_error(), wire.payer.name)
    await wire.payer.heard("PUT", path)
    return answer.status
