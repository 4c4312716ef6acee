"""The error codes (hub reference §3.2): each with its words and its status, and where the hub raises it, who is told.

A refusal is either the answer itself or, after a 202 or a 200, a ``PUT …/error`` of the hub's own to those whom it
concerns: the requester, both parties, or the sender of a bad callback (hub reference §3.3). One row is one situation.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from tests.contract.application import Api, right_headers, serving
from tests.e2e.conftest import Wire, fulfilled, in_seconds
from tests.e2e.recorder import Recorder, json_of

from vuka.api.fspiop import FspiopApi
from vuka.engine.waiting import Waiting
from vuka.errors import DESCRIPTION_MAX, ErrorCode, FspiopError
from vuka.fspiop.render import error_body
from vuka.httpclient import Response
from vuka.httpserver import Answer as HttpAnswer
from vuka.httpserver import Head
from vuka.sim.unquoted import CONDITION, ILP_PACKET

pytestmark = pytest.mark.asyncio(loop_scope="module")

# --- the codes -------------------------------------------------------------------------------------------------------

CODES: Final = [
    ("1000", "Communication error", 503),
    ("1001", "Destination communication error", 503),
    ("2000", "Generic server error", 500),
    ("2001", "Internal server error", 500),
    ("2002", "Not implemented", 501),
    ("2003", "Service currently unavailable", 503),
    ("2004", "Server timed out", 500),
    ("2005", "Server busy", 500),
    ("2006", "Temporary party resolution failed, try again", 503),
    ("3000", "Generic client error", 400),
    ("3001", "Unacceptable version requested", 406),
    ("3002", "Unknown URI", 404),
    ("3003", "Add Party information error", 400),
    ("3040", "Delete Party information error", 400),
    ("3100", "Generic validation error", 400),
    ("3101", "Malformed syntax", 400),
    ("3102", "Missing mandatory element", 400),
    ("3103", "Too many elements", 400),
    ("3104", "Too large payload", 400),
    ("3105", "Invalid signature", 400),
    ("3106", "Modified request", 400),
    ("3107", "Missing mandatory extension parameter", 400),
    ("3200", "Generic ID not found", 400),
    ("3201", "Destination FSP Error", 400),
    ("3202", "Payer FSP ID not found", 400),
    ("3203", "Payee FSP ID not found", 400),
    ("3204", "Party not found", 400),
    ("3205", "Quote ID not found", 400),
    ("3206", "Transaction request ID not found", 400),
    ("3207", "Transaction ID not found", 400),
    ("3208", "Transfer ID not found", 400),
    ("3209", "Bulk quote ID not found", 400),
    ("3210", "Bulk transfer ID not found", 400),
    ("3300", "Generic expired error", 400),
    ("3301", "Transaction request expired", 400),
    ("3302", "Quote expired", 400),
    ("3303", "Transfer expired", 400),
    ("4000", "Generic Payer error", 400),
    ("4001", "Payer FSP insufficient liquidity", 400),
    ("4100", "Generic Payer rejection", 400),
    ("4101", "Payer rejected transaction request", 400),
    ("4102", "Payer FSP unsupported transaction type", 400),
    ("4103", "Payer unsupported currency", 400),
    ("4200", "Payer limit error", 400),
    ("4300", "Generic Payer permission error", 400),
    ("4400", "Generic Payer blocked error", 400),
    ("5000", "Generic Payee error", 400),
    ("5001", "Payee FSP insufficient liquidity", 400),
    ("5100", "Generic Payee rejection", 400),
    ("5101", "Payee rejected quote", 400),
    ("5102", "Payee FSP unsupported transaction type", 400),
    ("5103", "Payee FSP rejected quote", 400),
    ("5104", "Payee rejected transaction", 400),
    ("5105", "Payee FSP rejected transaction", 400),
    ("5106", "Payee unsupported currency", 400),
    ("5107", "Payee identifier no-longer valid", 400),
    ("5200", "Payee limit error", 400),
    ("5300", "Generic Payee permission error", 400),
    ("5400", "Generic Payee blocked error", 400),
    ("6000", "Generic settlement error", 400),
]
"""Code, words, HTTP status. An overloaded hub says 2005 with 503."""


@pytest.mark.parametrize(("code", "words", "status"), CODES, ids=[row[0] for row in CODES])
async def test_a_code_has_its_words_and_its_status(code: str, words: str, status: int) -> None:
    error = FspiopError(code)
    assert (error.code, error.description, error.status) == (code, words, status)


async def test_the_hub_knows_these_codes_and_no_others() -> None:
    assert [each.code for each in ErrorCode] == [code for code, _, _ in CODES]


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.code)
async def test_whatever_is_said_with_a_code_fits_the_wire(code: ErrorCode) -> None:
    extensions = (("cause", "x" * 500), *((f"key {number}", "x") for number in range(20)))
    information = json_of(error_body(FspiopError(code, "ကောင်း" * 100, extensions=extensions)))["errorInformation"]
    assert information["errorCode"] == code.code
    assert information["errorDescription"].startswith(f"{code.message} - ")
    assert len(information["errorDescription"]) == DESCRIPTION_MAX
    listed = information["extensionList"]["extension"]
    assert len(listed) == 16
    assert listed[0] == {"key": "cause", "value": "x" * 128}


# --- refused in the answer -------------------------------------------------------------------------------------------

ID: Final = "b51ec534-ee48-4575-b6a9-ead2955b8069"
TRANSFER: Final = {
    "transferId": ID,
    "payerFsp": "payerfsp",
    "payeeFsp": "payeefsp",
    "amount": {"amount": "10", "currency": "USD"},
    "ilpPacket": ILP_PACKET,
    "condition": CONDITION,
    "expiration": "2099-01-01T00:00:00.000Z",
}


class Refused(NamedTuple):
    """A request that is refused in its answer."""

    situation: str
    method: str
    path: str
    status: int
    code: str
    words: str
    body: object = b""
    version: str = "1.1"


FUTURE: Final = "completedTimestamp fails because future timestamp was provided"
PAST: Final = "completedTimestamp fails because provided timestamp exceeded the maximum timeout"

REFUSED: Final = [
    Refused("a path that is none", "GET", "/nothing", 404, "3002", "Unknown URI - /nothing"),
    Refused("an empty id in a path", "PUT", "/transfers/", 404, "3002", "Unknown URI - /transfers/"),
    Refused("a service that is none", "GET", "/services/TTP", 404, "3002", "Unknown URI - /services/TTP"),
    Refused("another method", "POST", f"/transfers/{ID}", 405, "3000", "Generic client error - Method Not Allowed"),
    Refused("PATCH to the hub", "PATCH", f"/transfers/{ID}", 501, "2002", "Not implemented"),
    Refused("a result of a batch", "PUT", f"/participants/{ID}", 501, "2002", "Not implemented"),
    Refused(
        "an id in a path that is none",
        "GET",
        "/transfers/1",
        400,
        "3100",
        "Generic validation error - /path/ID must be a UUID or a ULID",
    ),
    Refused(
        "a path that is no UTF-8",
        "GET",
        "/parties/MSISDN/%ff",
        400,
        "3101",
        "Malformed syntax - the path is not percent-encoded UTF-8",
    ),
    Refused(
        "a query that is no UTF-8",
        "GET",
        "/parties/MSISDN/1?currency=%ff",
        400,
        "3101",
        "Malformed syntax - the query is not percent-encoded UTF-8",
    ),
    Refused(
        "a fulfilment of the future",
        "PUT",
        f"/transfers/{ID}",
        400,
        "3100",
        f"Generic validation error - {FUTURE}",
        {"transferState": "COMMITTED", "completedTimestamp": "2099-01-01T00:00:00.000Z"},
    ),
    Refused(
        "a fulfilment of long ago",
        "PUT",
        f"/transfers/{ID}",
        400,
        "3100",
        f"Generic validation error - {PAST}",
        {"transferState": "COMMITTED", "completedTimestamp": "2016-05-24T08:38:08.699Z"},
    ),
    Refused(
        "a value that breaks its rule",
        "POST",
        "/transfers",
        400,
        "3100",
        "Generic validation error - /requestBody/condition must be 32 bytes in base64url: 43 characters",
        {**TRANSFER, "condition": "short"},
    ),
    Refused(
        "a value of another type",
        "POST",
        "/transfers",
        400,
        "3101",
        "Malformed syntax - /requestBody/amount/amount must be string",
        {**TRANSFER, "amount": {"currency": "USD", "amount": 10}},
    ),
    Refused(
        "a property that lacks",
        "POST",
        "/transfers",
        400,
        "3102",
        "Missing mandatory element - /requestBody/amount must have required property 'amount'",
        {**TRANSFER, "amount": {"currency": "USD"}},
    ),
    Refused(
        "a property too many",
        "POST",
        "/transfers",
        400,
        "3103",
        "Too many elements - /requestBody must NOT have additional property 'surprise'",
        {**TRANSFER, "surprise": 1},
        "2.0",
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=[row.situation for row in REFUSED])
async def test_a_refusal_is_the_answer(api: Api, row: Refused) -> None:
    answer = await api.send(row.method, row.path, row.body, version=row.version)
    assert answer.refusal == (row.status, row.code, row.words)


NOT_SERVED: Final = [
    ("/fxTransfers", "POST"),
    (f"/fxTransfers/{ID}", "GET, PATCH, PUT"),
    (f"/fxTransfers/{ID}/error", "PUT"),
    ("/bulkTransfers", "POST"),
    (f"/bulkTransfers/{ID}", "GET, PUT"),
    (f"/bulkTransfers/{ID}/error", "PUT"),
    ("/transactionRequests", "POST"),
    (f"/transactionRequests/{ID}", "GET, PUT"),
    (f"/transactionRequests/{ID}/error", "PUT"),
    (f"/authorizations/{ID}", "GET, PUT"),
    (f"/authorizations/{ID}/error", "PUT"),
    (f"/transactions/{ID}", "GET, PUT"),
    (f"/transactions/{ID}/error", "PUT"),
    ("/services/FXP", "GET, PUT"),
    ("/services/FXP/USD/KES", "GET, PUT"),
]
"""What FSPIOP documents and the hub does not have, with its methods."""


@pytest.mark.parametrize(("path", "methods"), NOT_SERVED)
async def test_what_the_hub_does_not_have_is_not_implemented(api: Api, path: str, methods: str) -> None:
    resource = path.split("/")[1]
    for method in methods.split(", "):
        answer = await api.send(method, path, version="2.0")
        assert answer.refusal == (501, "2002", f"Not implemented - this hub does not have /{resource}")


@pytest.mark.parametrize(("path", "methods"), NOT_SERVED)
async def test_what_the_hub_does_not_have_has_its_methods_all_the_same(api: Api, path: str, methods: str) -> None:
    answer = await api.send("DELETE", path, version="2.0")
    assert answer.refusal == (405, "3000", "Generic client error - Method Not Allowed")
    assert answer.headers["allow"] == methods


@pytest.mark.parametrize(("path", "methods"), NOT_SERVED)
async def test_headers_are_checked_before_it_is_said_that_the_hub_does_not_have_something(
    api: Api, path: str, methods: str
) -> None:
    method = methods.split(", ", maxsplit=1)[0]
    answer = await api.send(method, path, version="2.0", changed={"date": None})
    assert answer.refusal[:2] == (400, "3102")


@pytest.mark.parametrize("size", [2_048, 2_049])
async def test_the_largest_body_is_the_one_that_is_configured(tmp_path: Path, size: int) -> None:
    """Of a body with Content-Length, and of one in chunks that says nothing before."""
    async with serving(tmp_path / "hub", PARTICIPANTS_API_BODY_BYTES_MAX="2048") as api:
        headers = [(name.encode(), value.encode()) for name, value in right_headers("POST", "/transfers").items()]
        body = b" " * size
        told = await api.call("POST", "/transfers", [*headers, (b"content-length", b"%d" % size)], [body])
        chunked = await api.call("POST", "/transfers", headers, [body[:1_024], body[1_024:]])
        expected = "3104" if size > 2_048 else "3101"
        assert (told.refusal[1], chunked.refusal[1]) == (expected, expected)
        if expected == "3104":
            assert told.refusal == chunked.refusal == (400, "3104", "Too large payload - Payload size is too large")


async def test_a_limit_above_the_usual_one_holds(tmp_path: Path) -> None:
    async with serving(tmp_path / "hub", PARTICIPANTS_API_BODY_BYTES_MAX="6000000") as api:
        body = b" " * 5_900_000
        answer = await api.send("POST", "/transfers", body, changed={"content-length": str(len(body))})
        assert answer.refusal[1] == "3101"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/transfers/{ID}", b""),
        ("POST", "/transfers", TRANSFER),
        ("PUT", "/parties/MSISDN/1", {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}),
    ],
    ids=["a question", "a record", "what is only routed"],
)
async def test_a_hub_that_is_stopping_refuses_with_2003_and_says_when_to_come_back(
    tmp_path: Path, method: str, path: str, body: object
) -> None:
    async with serving(tmp_path / "hub") as api:
        await api.hub.stop()
        answer = await api.send(method, path, body, changed={"fspiop-destination": "payeefsp"})
        assert answer.refusal == (503, "2003", "Service currently unavailable - the hub is shutting down")
        assert answer.headers["retry-after"] == "5"


async def test_a_hub_with_too_much_to_do_refuses_with_2005_and_503(tmp_path: Path) -> None:
    async with serving(tmp_path / "hub", ENGINE_QUEUE_MAX="1") as api:
        answers = await asyncio.gather(*(api.send("GET", f"/transfers/{uuid.uuid4()}") for _ in range(8)))
        refused = [answer for answer in answers if answer.status != 202]
        assert refused
        for answer in refused:
            assert answer.refusal == (503, "2005", "Server busy - the hub is busy")
            assert answer.headers["retry-after"] == "1"


async def test_a_question_is_refused_by_a_busy_hub_before_anything_of_it_is_read_and_an_answer_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path / "hub", ENGINE_QUEUE_MAX="4") as api:
        app, body = FspiopApi(api.hub), Head("POST", b"/transfers", b"", [])
        monkeypatch.setattr(Waiting, "count", lambda _waiting, *, is_question: 4 if is_question else 0)
        refused = app.accept(body)
        assert isinstance(refused, HttpAnswer)
        assert (refused.status, json.loads(refused.body)["errorInformation"]["errorCode"]) == (503, "2005")
        headers = [(name.encode(), value.encode()) for name, value in right_headers("PUT", "/transfers/x").items()]
        assert not isinstance(app.accept(Head("PUT", b"/transfers/x", b"", headers)), HttpAnswer)
        headers = [(name.encode(), value.encode()) for name, value in right_headers("GET", "/parties/x").items()]
        assert not isinstance(app.accept(Head("GET", b"/parties/MSISDN/1", b"", headers)), HttpAnswer)
        monkeypatch.undo()


async def test_what_is_routed_to_one_who_does_not_keep_up_is_refused_with_2005_and_503(tmp_path: Path) -> None:
    async with serving(tmp_path / "hub", COURIER_QUEUE_MAX="1") as api:
        party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}
        answers = [await api.send("PUT", "/parties/MSISDN/1", party) for _ in range(40)]
        refused = [answer for answer in answers if answer.status != 200]
        assert refused
        assert refused[0].refusal == (503, "2005", "Server busy - payeefsp has too many messages waiting")
        assert refused[0].headers["retry-after"] == "1"


# --- told by callback ------------------------------------------------------------------------------------------------

Situation = Callable[[Wire], Awaitable[tuple[Response, str]]]


class Row(NamedTuple):
    """What happens, with which error, and who is told of it by ``PUT …/error``."""

    situation: str
    happens: Situation
    code: str
    words: str
    to: str
    status: int = 202
    before: str = ""
    """Who had been told of an earlier error on the same path."""


ROWS: list[Row] = []


def row(
    situation: str, code: str, words: str, *, to: str, status: int = 202, before: str = ""
) -> Callable[[Situation], Situation]:
    """Enters a situation: it sends something and returns the answer, and the path that an error comes on."""

    def enter(happens: Situation) -> Situation:
        ROWS.append(Row(situation, happens, code, words, to, status, before))
        return happens

    return enter


def invalid(situation: str, detail: str, **changed: Any) -> None:
    """A transfer that the hub can't prepare: 3100 to its payer."""

    @row(situation, "3100", f"Generic validation error - {detail}", to="payer")
    async def happens(wire: Wire) -> tuple[Response, str]:
        body = wire.transfer(**changed)
        answer = await wire.payer.send("POST", "/transfers", body, wire.payee.name)
        return answer, f"/transfers/{body['transferId']}/error"


ON_US: Final = "Payer FSP and Payee FSP should be different, unless on-us transfers are allowed by the Scheme"

invalid("the payer is not the source", "FSPIOP-Source header should match Payer", payerFsp="otherfsp")
invalid("the payee is no participant", "Participant nobody not found", payeeFsp="nobody")
invalid("the payer has no such account", "Participant payerfsp KES account not found",
        amount={"amount": "1", "currency": "KES"})  # fmt: skip
invalid("the condition's spare bits", "Condition validation failed", condition="A" * 42 + "B")
invalid("the expiration is past", "Expiration date 2020-01-01T00:00:00.000Z is already in the past",
        expiration="2020-01-01T00:00:00.000Z")  # fmt: skip
invalid("the payer pays itself", ON_US, payeeFsp="payerfsp")


@row("beyond the payer's liquidity", "4001", "Payer FSP insufficient liquidity", to="payer")
async def beyond_liquidity(wire: Wire) -> tuple[Response, str]:
    body = wire.transfer(amount={"amount": "1000000.01", "currency": "USD"})
    answer = await wire.payer.send("POST", "/transfers", body, wire.payee.name)
    return answer, f"/transfers/{body['transferId']}/error"


@row("beyond the payer's net debit cap", "4200", "Payer limit error", to="other")
async def beyond_the_cap(wire: Wire) -> tuple[Response, str]:
    limit = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1, "alarmPercentage": 10}}
    await wire.operator.do("PUT", f"/participants/{wire.other.name}/limits", limit)
    body = wire.transfer(payerFsp=wire.other.name)
    answer = await wire.other.send("POST", "/transfers", body, wire.payee.name)
    return answer, f"/transfers/{body['transferId']}/error"


@row("another transfer with the same id", "3106", "Modified request", to="payer")
async def another_prepare(wire: Wire) -> tuple[Response, str]:
    body = wire.transfer()
    await wire.reserved(body)
    body["amount"] = {"amount": "11", "currency": "USD"}
    answer = await wire.payer.send("POST", "/transfers", body, wire.payee.name)
    return answer, f"/transfers/{body['transferId']}/error"


@row("a transfer that expires", "3303", "Transfer expired", to="payer payee")
async def expires(wire: Wire) -> tuple[Response, str]:
    body = wire.transfer(expiration=in_seconds(0.3))
    answer = await wire.payer.send("POST", "/transfers", body, wire.payee.name)
    return answer, f"/transfers/{body['transferId']}/error"


async def fulfil(wire: Wire, body: object, sender: Recorder | None = None) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved()}"
    return await (sender or wire.payee).send("PUT", path, body, wire.payer.name), f"{path}/error"


FULFILMENT_INVALID: Final = "Generic validation error - invalid fulfilment"


@row("a fulfilment that is not the condition's", "3100", FULFILMENT_INVALID, to="payer payee", status=200)
async def wrong_fulfilment(wire: Wire) -> tuple[Response, str]:
    return await fulfil(wire, fulfilled("COMMITTED", fulfilment="A" * 43))


@row("no fulfilment", "3100", FULFILMENT_INVALID, to="payer payee", status=200)
async def no_fulfilment(wire: Wire) -> tuple[Response, str]:
    return await fulfil(wire, {"transferState": "RESERVED"})


@row("a fulfilment of a stranger's", "3100", "Generic validation error - FSPIOP-Source header should match Payee FSP",
     to="other", status=200)  # fmt: skip
async def a_strangers_fulfilment(wire: Wire) -> tuple[Response, str]:
    return await fulfil(wire, fulfilled("COMMITTED"), wire.other)


@row("a fulfilment for another payer", "3100",
     "Generic validation error - FSPIOP-Destination header should match Payer FSP",
     to="payer payee", status=200)  # fmt: skip
async def a_fulfilment_for_another(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved()}"
    return await wire.payee.send("PUT", path, fulfilled("COMMITTED"), wire.other.name), f"{path}/error"


@row("a fulfilment of what has ended", "3100", "Generic validation error - non-RESERVED transfer state",
     to="payee", status=200, before="payer payee")  # fmt: skip
async def a_fulfilment_too_late(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved(wire.transfer(expiration=in_seconds(0.3)))}"
    await wire.payee.heard("PUT", f"{path}/error")
    wire.payee.received.clear()
    return await wire.payee.send("PUT", path, fulfilled("COMMITTED"), wire.payer.name), f"{path}/error"


@row("another fulfilment of the same transfer", "3106", "Modified request", to="payee", status=200)
async def another_fulfilment(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved()}"
    await wire.payee.send("PUT", path, fulfilled("COMMITTED"), wire.payer.name)
    return await wire.payee.send("PUT", path, fulfilled("RESERVED"), wire.payer.name), f"{path}/error"


@row("a fulfilment of no transfer", "2001", "Internal server error - transfer not found", to="payee", status=200)
async def a_fulfilment_of_nothing(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{uuid.uuid4()}"
    return await wire.payee.send("PUT", path, fulfilled("COMMITTED"), wire.payer.name), f"{path}/error"


def payees_error(code: str) -> dict[str, Any]:
    return {"errorInformation": {"errorCode": code, "errorDescription": "No"}}


@row("an error code that nobody defined", "3100", "Generic validation error - API specification undefined errorCode",
     to="payer payee", status=200)  # fmt: skip
async def an_undefined_code(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved()}/error"
    return await wire.payee.send("PUT", path, payees_error("9999"), wire.payer.name), path


@row("an error that the payee tells: confirmed to it", "5142", "No", to="payee", status=200)
async def a_payees_error(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved()}/error"
    return await wire.payee.send("PUT", path, payees_error("5142"), wire.payer.name), path


@row("a question about no transfer", "3208",
     "Transfer ID not found - Provided Transfer ID was not found on the server.", to="payer")  # fmt: skip
async def a_question_about_nothing(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{uuid.uuid4()}"
    return await wire.payer.send("GET", path), f"{path}/error"


@row("a question about others' transfer", "3000", "Generic client error", to="other")
async def a_strangers_question(wire: Wire) -> tuple[Response, str]:
    path = f"/transfers/{await wire.reserved()}"
    return await wire.other.send("GET", path), f"{path}/error"


@row("a party that nobody serves", "3204", "Party not found", to="payer")
async def no_party(wire: Wire) -> tuple[Response, str]:
    path = f"/parties/MSISDN/{uuid.uuid4().int % 10**15}"
    return await wire.payer.send("GET", path), f"{path}/error"


@row("an identifier that is none of its type", "3101", "Malformed syntax - /path/ID is not of type MSISDN", to="payer")
async def no_msisdn(wire: Wire) -> tuple[Response, str]:
    path = f"/parties/MSISDN/x{uuid.uuid4()}"
    return await wire.payer.send("GET", path), f"{path}/error"


@row("a party's participant that can't be reached", "1001",
     "Destination communication error - payeefsp cannot be reached", to="payer")  # fmt: skip
async def cannot_be_reached(wire: Wire) -> tuple[Response, str]:
    path = f"/parties/MSISDN/{uuid.uuid4().int % 10**15}"
    wire.payee.answers[path] = 404
    return await wire.payer.send("GET", path, None, wire.payee.name), f"{path}/error"


@row("a party registered for another", "3003",
     "Add Party information error - otherfsp can't register a party for payeefsp", to="other")  # fmt: skip
async def registers_for_another(wire: Wire) -> tuple[Response, str]:
    path = f"/participants/MSISDN/{uuid.uuid4().int % 10**15}"
    return await wire.other.send("POST", path, {"fspId": wire.payee.name}), f"{path}/error"


def quote(wire: Wire, **changed: Any) -> dict[str, Any]:
    party = {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}
    return {
        "quoteId": str(uuid.uuid4()),
        "transactionId": str(uuid.uuid4()),
        "payee": party,
        "payer": party,
        "amountType": "SEND",
        "amount": {"amount": "10", "currency": "USD"},
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        **changed,
    }


@row("a quote from no participant", "3201", "Destination FSP Error - Unsupported participant 'nobody'", to="payer")
async def a_quote_from_nobody(wire: Wire) -> tuple[Response, str]:
    body = quote(wire)
    return await wire.payer.send("POST", "/quotes", body, "nobody"), f"/quotes/{body['quoteId']}/error"


@row("another quote with the same id", "3106", "Modified request", to="payer")
async def another_quote(wire: Wire) -> tuple[Response, str]:
    body = quote(wire)
    await wire.payer.send("POST", "/quotes", body, wire.payee.name)
    answer = await wire.payer.send("POST", "/quotes", {**body, "note": "x"}, wire.payee.name)
    return answer, f"/quotes/{body['quoteId']}/error"


@row("terms of no quote", "3205", "Quote ID not found", to="payee", status=200)
async def terms_of_nothing(wire: Wire) -> tuple[Response, str]:
    path = f"/quotes/{uuid.uuid4()}"
    body = {
        "transferAmount": {"amount": "1", "currency": "USD"},
        "expiration": in_seconds(60),
        "ilpPacket": ILP_PACKET,
        "condition": CONDITION,
    }
    return await wire.payee.send("PUT", path, body, wire.payer.name), f"{path}/error"


@pytest.mark.parametrize("row", ROWS, ids=[row.situation for row in ROWS])
async def test_an_error_is_told_by_callback_to_whom_it_concerns(wire: Wire, row: Row) -> None:
    answer, path = await row.happens(wire)
    assert (answer.status, answer.body) == (row.status, b"")
    told = row.to.split()
    for name in told:
        heard = await getattr(wire, name).heard("PUT", path)
        information = json_of(heard.body)["errorInformation"]
        assert (information["errorCode"], information["errorDescription"]) == (row.code, row.words)
        assert len(information["errorDescription"]) <= DESCRIPTION_MAX
        assert heard.headers["fspiop-source"] == "Hub"
        assert heard.headers["fspiop-destination"] == f"{name}fsp"
        assert heard.headers["fspiop-uri"] == path


@pytest.mark.parametrize("row", ROWS, ids=[row.situation for row in ROWS])
async def test_an_error_is_told_to_nobody_else(wire: Wire, row: Row) -> None:
    _, path = await row.happens(wire)
    for name in row.to.split():
        await getattr(wire, name).heard("PUT", path)
    sent = await wire.hub.journal(path.split("/")[2]) if path.startswith(("/transfers", "/quotes")) else []
    by_the_hub = {each[4] for each in sent if each[0] == "out" and each[2] == path and each[3] == "Hub"}
    assert by_the_hub <= {f"{name}fsp" for name in (row.to + " " + row.before).split()}


@pytest.mark.parametrize("fulfilment", ["A" * 43, None], ids=["wrong fulfilment", "no fulfilment"])
async def test_a_payee_that_waits_for_the_end_is_told_it_with_the_cause(wire: Wire, fulfilment: str | None) -> None:
    body = {"transferState": "RESERVED"} if fulfilment is None else fulfilled("RESERVED", fulfilment=fulfilment)
    _, path = await fulfil(wire, body)
    patched = json_of((await wire.payee.heard("PATCH", path.removesuffix("/error"))).body)
    assert patched["transferState"] == "ABORTED"
    assert patched["extensionList"]["extension"] == [{"key": "cause", "value": f"3100: {FULFILMENT_INVALID}"}]


async def test_the_result_of_what_was_aborted_has_its_cause(wire: Wire) -> None:
    _, path = await wrong_fulfilment(wire)
    await wire.payer.heard("PUT", path)
    await wire.payer.send("GET", path.removesuffix("/error"))
    result = json_of((await wire.payer.heard("PUT", path.removesuffix("/error"))).body)
    assert result["transferState"] == "ABORTED"
    assert result["extensionList"]["extension"] == [{"key": "cause", "value": f"3100: {FULFILMENT_INVALID}"}]
