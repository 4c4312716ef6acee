"""Every scalar and every required property of the API, in every version: what is taken and what is refused.

The rows are those of the hub reference (§2.1 and §2.2); a property of each kind is found in a body of each version.
`tests/fspiop/test_openapi.py` compares the same bodies with the published files, property by property, so that a row
here that says otherwise than they do fails there. What the hub serves is sent to its API; what it does not serve yet
is read as it will be.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import pytest
from tests.contract.application import Api

from vuka.errors import FspiopError
from vuka.fspiop import bulk, bulk_transfers, fx, fx_transfers, messages, requests
from vuka.fspiop.messages import Message, decode
from vuka.fspiop.versions import Version
from vuka.money import CURRENCIES

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1_0, V1_1, V2_0 = Version
EVERY: Final = tuple(Version)

ID: Final = "b51ec534-ee48-4575-b6a9-ead2955b8069"
UUIDS: Final = {number: f"b51ec534-ee48-{number}575-b6a9-ead2955b8069" for number in "0123456789"}
ULID: Final = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
BINARY_32: Final = "WLctttbu2HvTsa1XWvUoGRcQozHsqeu9Ahl2JW9Bsu8"
WHEN: Final = "2016-05-24T08:38:08.699-04:00"

MONEY: Final = {"currency": "USD", "amount": "10"}
FX_MONEY: Final = {"currency": "USD"}
INFO: Final = {"partyIdType": "MSISDN", "partyIdentifier": "27713803912"}
PARTY: Final = {"partyIdInfo": INFO}
KIND: Final = {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"}
ERROR: Final = {"errorCode": "5100", "errorDescription": "No"}
CONVERSION: Final = {
    "conversionId": ID,
    "initiatingFsp": "payerfsp",
    "counterPartyFsp": "fxp",
    "amountType": "SEND",
    "sourceAmount": FX_MONEY,
    "targetAmount": FX_MONEY,
    "expiration": WHEN,
}
QUOTE: Final = {
    "quoteId": ID,
    "transactionId": ID,
    "payee": PARTY,
    "payer": PARTY,
    "amountType": "SEND",
    "amount": MONEY,
    "transactionType": KIND,
}
INDIVIDUAL_QUOTE: Final = {key: value for key, value in QUOTE.items() if key != "payer"}
INDIVIDUAL_TRANSFER: Final = {"transferId": ID, "transferAmount": MONEY, "ilpPacket": "AYIB", "condition": BINARY_32}


class Body(NamedTuple):
    """A body with what it requires and nothing more, and the operation that takes it where the hub has it."""

    message: type[Message]
    content: dict[str, Any]
    operation: tuple[str, str] | None = None


BODIES: Final = {
    "POST /transfers": Body(
        messages.TransfersPostRequest,
        {
            "transferId": ID,
            "payeeFsp": "payeefsp",
            "payerFsp": "payerfsp",
            "amount": MONEY,
            "ilpPacket": "AYIB",
            "condition": BINARY_32,
            "expiration": WHEN,
        },
        ("POST", "/transfers"),
    ),
    "PUT /transfers/{ID}": Body(
        messages.TransfersIDPutResponse, {"transferState": "COMMITTED"}, ("PUT", f"/transfers/{ID}")
    ),
    "PATCH /transfers/{ID}": Body(
        messages.TransfersIDPatchResponse, {"completedTimestamp": WHEN, "transferState": "COMMITTED"}
    ),
    "POST /fxTransfers": Body(
        fx_transfers.FxTransfersPostRequest,
        {
            "commitRequestId": ID,
            "initiatingFsp": "payerfsp",
            "counterPartyFsp": "fxp",
            "sourceAmount": MONEY,
            "targetAmount": MONEY,
            "condition": BINARY_32,
        },
    ),
    "PUT /fxTransfers/{ID}": Body(fx_transfers.FxTransfersIDPutResponse, {"conversionState": "RESERVED"}),
    "PATCH /fxTransfers/{ID}": Body(fx_transfers.FxTransfersIDPatchResponse, {"conversionState": "COMMITTED"}),
    "POST /quotes": Body(messages.QuotesPostRequest, QUOTE, ("POST", "/quotes")),
    "PUT /quotes/{ID}": Body(
        messages.QuotesIDPutResponse,
        {"transferAmount": MONEY, "expiration": WHEN, "ilpPacket": "AYIB", "condition": BINARY_32},
        ("PUT", f"/quotes/{ID}"),
    ),
    "POST /fxQuotes": Body(
        fx.FxQuotesPostRequest, {"conversionRequestId": ID, "conversionTerms": CONVERSION}, ("POST", "/fxQuotes")
    ),
    "PUT /fxQuotes/{ID}": Body(fx.FxQuotesIDPutResponse, {"conversionTerms": CONVERSION}, ("PUT", f"/fxQuotes/{ID}")),
    "POST /bulkQuotes": Body(
        bulk.BulkQuotesPostRequest,
        {"bulkQuoteId": ID, "payer": PARTY, "individualQuotes": [INDIVIDUAL_QUOTE]},
        ("POST", "/bulkQuotes"),
    ),
    "PUT /bulkQuotes/{ID}": Body(bulk.BulkQuotesIDPutResponse, {"expiration": WHEN}, ("PUT", f"/bulkQuotes/{ID}")),
    "POST /bulkTransfers": Body(
        bulk_transfers.BulkTransfersPostRequest,
        {
            "bulkTransferId": ID,
            "bulkQuoteId": ID,
            "payerFsp": "payerfsp",
            "payeeFsp": "payeefsp",
            "individualTransfers": [INDIVIDUAL_TRANSFER],
            "expiration": WHEN,
        },
    ),
    "PUT /bulkTransfers/{ID}": Body(bulk_transfers.BulkTransfersIDPutResponse, {"bulkTransferState": "COMPLETED"}),
    "POST /transactionRequests": Body(
        requests.TransactionRequestsPostRequest,
        {"transactionRequestId": ID, "payee": PARTY, "payer": INFO, "amount": MONEY, "transactionType": KIND},
    ),
    "PUT /transactionRequests/{ID}": Body(
        requests.TransactionRequestsIDPutResponse, {"transactionRequestState": "RECEIVED"}
    ),
    "PUT /transactions/{ID}": Body(requests.TransactionsIDPutResponse, {"transactionState": "COMPLETED"}),
    "PUT /authorizations/{ID}": Body(requests.AuthorizationsIDPutResponse, {"responseType": "ENTERED"}),
    "POST /participants/{Type}/{ID}": Body(
        messages.ParticipantsTypeIDSubIDPostRequest, {"fspId": "payerfsp"}, ("POST", "/participants/MSISDN/1")
    ),
    "POST /participants": Body(
        messages.ParticipantsPostRequest, {"requestId": ID, "partyList": [INFO]}, ("POST", "/participants")
    ),
    "PUT /participants/{ID}": Body(messages.ParticipantsIDPutResponse, {"partyList": [{"partyId": INFO}]}),
    "PUT /parties/{Type}/{ID}": Body(messages.PartiesTypeIDPutResponse, {"party": PARTY}, ("PUT", "/parties/MSISDN/1")),
    "PUT …/error": Body(
        messages.ErrorInformationObject, {"errorInformation": ERROR}, ("PUT", f"/transfers/{ID}/error")
    ),
    "PUT /services/FXP": Body(fx_transfers.ServicesFXPPutResponse, {"providers": ["fxp"]}),
}


def changed(body: Any, path: str, value: object) -> Any:
    """The body with another value at a path, e.g. ``payee/personalInfo/dateOfBirth``; what is on the way is made."""
    name, _, rest = path.partition("/")
    if isinstance(body, list):
        return [changed(body[0], path, value), *body[1:]]
    here = body.get(name, {})
    return {**body, name: changed(here, rest, value) if rest else value}


async def refusal(api: Api, body: Body, version: Version, content: object) -> tuple[str, str] | None:
    """Code and description with which a body is refused, None where it is taken."""
    encoded = json.dumps(content, ensure_ascii=False).encode()
    try:
        decode(body.message, version, encoded)
    except FspiopError as error:
        refused = (error.code, error.description)
    else:
        return None
    if body.operation is not None:
        method, path = body.operation
        answer = await api.send(method, path, encoded, version=version)
        assert answer.refusal == (400, *refused)
    return refused


# --- scalars ---------------------------------------------------------------------------------------------------------


class Scalar(NamedTuple):
    """A kind of value, where one stands, and examples of what it may be and what it may not."""

    name: str
    body: str
    path: str
    taken: tuple[object, ...]
    refused: tuple[object, ...]
    versions: tuple[Version, ...] = EVERY


def texts(most: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a text of 1 to so many characters of any script: what it may be and what it may not."""
    return ("x", " ", "x" * most, "က" * most, "😀" * most), ("", "x" * (most + 1))


T, Q, E = "POST /transfers", "POST /quotes", "PUT …/error"
PI, FI = "payer/personalInfo", "payer/personalInfo/complexName/"
PERSON: Final = (
    ("Amina", "O'Brien-Smith, Jr.", "J. R.", "Zoë", "ကောင်းထက်စံ", "नरेन्द्र", "محمد", "a\u200db", "a_b", "\u0661",
     "é" * 128),
    ("", " ", "\t", "é" * 129, "Mats12@#$3", "@#4768", "Smith & Sons", "a\u2019b", "😀", "a\nb"),
)  # fmt: skip
STATES: Final = ("RECEIVED", "RESERVED", "COMMITTED", "ABORTED")
BULK_STATES: Final = ("RECEIVED", "PENDING", "ACCEPTED", "PROCESSING", "COMPLETED", "REJECTED")
DATES: Final = ("1966-06-16", "2000-02-29", "1000-01-01", "9999-12-31")
NO_DATES: Final = (
    "",
    "1983-25-25",
    "null",
    "1980/05/05",
    "abc@3#",
    "83-10-25",
    "1967-02-29",
    "1900-02-29",
    "0999-01-01",
)

SCALARS: Final = [
    Scalar("Amount", T, "amount/amount",
           ("0", "1", "10", "0.1", "123.45", "1.0001", "9" * 14),
           ("", "00", "01", "1.0", "1.50", "1.", ".5", "-1", "+1", "1e3", "1,000", " 1", "1.00001", "9" * 19, "NaN",
            "١")),
    Scalar("Amount: 18 digits", T, "amount/amount", ("9" * 18, "9" * 18 + ".9999"), ("1" + "0" * 18,)),
    Scalar("AmountType", Q, "amountType", ("SEND", "RECEIVE"), ("", "send", "BOTH")),
    Scalar("Currency", T, "amount/currency", tuple(sorted(CURRENCIES)), ("", "usd", "ABC", "US", "USDX", "BTC", "ZWG")),
    Scalar("CorrelationId of 1.x", T, "transferId", tuple(UUIDS[each] for each in "12345"),
           (UUIDS["0"], UUIDS["6"], UUIDS["7"], UUIDS["8"], ID.upper(), ID.replace("-", ""), ULID, "", ID + "+´+1´"),
           (V1_0, V1_1)),
    Scalar("CorrelationId of 2.0", T, "transferId", (*(UUIDS[each] for each in "1234567"), ULID),
           (UUIDS["0"], UUIDS["8"], ID.upper(), ULID.lower(), ULID[:-1], ULID[:-1] + "I", ULID[:-1] + "U", ""),
           (V2_0,)),
    Scalar("DateTime", T, "expiration",
           (WHEN, "2016-05-24T08:38:08.699Z", "2016-02-29T00:00:00.000Z", "2000-02-29T23:59:59.999+19:59"),
           ("", "2016-05-24", "2016-05-24T08:38:08Z", "2016-05-24T08:38:08.69Z", "2016-05-24T08:38:08.6999Z",
            "2016-05-24T08:38:08.699", "2016-05-24 08:38:08.699Z", "2015-02-29T00:00:00.000Z",
            "2016-05-24T24:00:00.000Z", "2016-05-24T08:38:60.000Z", "2016-05-24T08:38:08.699+20:00", "tomorrow")),
    Scalar("DateOfBirth", Q, f"{PI}/dateOfBirth", DATES, NO_DATES),
    Scalar("FspId", T, "payerFsp", ("a", "payer fsp", "ကောင်း", "x" * 32), ("", "x" * 33)),
    Scalar("PartyIdType", Q, "payee/partyIdInfo/partyIdType",
           ("MSISDN", "EMAIL", "PERSONAL_ID", "BUSINESS", "DEVICE", "ACCOUNT_ID", "IBAN", "ALIAS"),
           ("", "msisdn", "CONSENT", "PASSPORT")),
    Scalar("PartyIdentifier", Q, "payee/partyIdInfo/partyIdentifier", *texts(128)),
    Scalar("PartySubIdOrType", Q, "payee/partyIdInfo/partySubIdOrType",
           (*texts(128)[0], "PASSPORT", "DRIVING_LICENSE"), texts(128)[1]),
    Scalar("IlpPacket", T, "ilpPacket",
           ("A", "AYIB", "AYI=", "AY==", "-_" * 16_384), ("", "=", "A===", "A=B", "AY+/", "A B", "A" * 32_769)),
    Scalar("IlpCondition", T, "condition",
           (BINARY_32, "-_" * 21 + "A"), ("", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "+")),
    Scalar("IlpFulfilment", "PUT /transfers/{ID}", "fulfilment",
           (BINARY_32,), ("", "A" * 42, "A" * 44, "A" * 42 + "=", "mmmm")),
    Scalar("ErrorCode", E, "errorInformation/errorCode",
           ("1000", "5100", "5299", "9999"), ("", "0100", "510", "51000", "abcd", "٣١٠٠")),
    Scalar("ErrorDescription", E, "errorInformation/errorDescription", *texts(128)),
    Scalar("ExtensionKey", T, "extensionList",
           tuple({"extension": [{"key": key, "value": "x"}]} for key in texts(32)[0]),
           tuple({"extension": [{"key": key, "value": "x"}]} for key in texts(32)[1])),
    Scalar("ExtensionValue", T, "extensionList",
           tuple({"extension": [{"key": "x", "value": value}]} for value in texts(128)[0]),
           tuple({"extension": [{"key": "x", "value": value}]} for value in texts(128)[1])),
    Scalar("ExtensionList: 1 to 16", T, "extensionList",
           tuple({"extension": [{"key": "x", "value": "x"}] * count} for count in (1, 16)),
           tuple({"extension": [{"key": "x", "value": "x"}] * count} for count in (0, 17))),
    Scalar("FirstName", Q, f"{FI}firstName", *PERSON),
    Scalar("MiddleName", Q, f"{FI}middleName", *PERSON),
    Scalar("LastName", Q, f"{FI}lastName", *PERSON),
    Scalar("PartyName", Q, "payee/name", (*texts(128)[0], "Smith & Sons"), texts(128)[1]),
    Scalar("Note", Q, "note", *texts(128)),
    Scalar("RefundReason", Q, "transactionType/refundInfo",
           tuple({"originalTransactionId": ID, "refundReason": reason} for reason in texts(128)[0]),
           tuple({"originalTransactionId": ID, "refundReason": reason} for reason in texts(128)[1])),
    Scalar("BalanceOfPayments", Q, "transactionType/balanceOfPayments",
           ("100", "999"), ("", "099", "12", "1234", "abc")),
    Scalar("MerchantClassificationCode", Q, "payee/merchantClassificationCode",
           ("0", "1", "1234"), ("", "12345", "abc", "١")),
    Scalar("TransactionScenario", Q, "transactionType/scenario",
           ("DEPOSIT", "WITHDRAWAL", "TRANSFER", "PAYMENT", "REFUND"), ("", "transfer", "GIFT")),
    Scalar("TransactionSubScenario", Q, "transactionType/subScenario",
           ("A", "_", "A_" * 16), ("", "a", "A1", "A" * 33)),
    Scalar("TransactionInitiator", Q, "transactionType/initiator", ("PAYER", "PAYEE"), ("", "payer", "HUB")),
    Scalar("TransactionInitiatorType", Q, "transactionType/initiatorType",
           ("CONSUMER", "AGENT", "BUSINESS", "DEVICE"), ("", "consumer", "GOVERNMENT")),
    Scalar("TransferState", "PUT /transfers/{ID}", "transferState", STATES, ("", "committed", "SETTLED")),
    Scalar("TransactionState", "PUT /transactions/{ID}", "transactionState",
           ("RECEIVED", "PENDING", "COMPLETED", "REJECTED"), ("", "ACCEPTED")),
    Scalar("TransactionRequestState", "PUT /transactionRequests/{ID}", "transactionRequestState",
           ("RECEIVED", "PENDING", "ACCEPTED", "REJECTED"), ("", "COMPLETED")),
    Scalar("BulkTransferState", "PUT /bulkTransfers/{ID}", "bulkTransferState", BULK_STATES, ("", "COMMITTED")),
    Scalar("AuthenticationType of 1.x", "POST /transactionRequests", "authenticationType",
           ("OTP", "QRCODE"), ("", "U2F", "PIN"), (V1_0, V1_1)),
    Scalar("AuthenticationType of 2.0", "POST /transactionRequests", "authenticationType",
           ("OTP", "QRCODE", "U2F"), ("", "PIN"), (V2_0,)),
    Scalar("AuthenticationValue", "PUT /authorizations/{ID}", "authenticationInfo",
           tuple({"authentication": "OTP", "authenticationValue": value} for value in ("123", "1234567890", "x" * 64)),
           tuple({"authentication": "OTP", "authenticationValue": value} for value in ("", "a b", "x" * 65))),
    Scalar("AuthenticationValue of U2F", "PUT /authorizations/{ID}", "authenticationInfo/authenticationValue",
           (), ({"pinValue": "1"}, {"pinValue": "a b", "counter": "1"}, {"pinValue": "1", "counter": "01"}), (V2_0,)),
    Scalar("AuthorizationResponse", "PUT /authorizations/{ID}", "responseType",
           ("ENTERED", "REJECTED", "RESEND"), ("", "CANCELLED")),
    Scalar("Code", "PUT /transactions/{ID}", "code", ("1234", "aB" * 16), ("", "123", "a-bc", "a" * 33)),
    Scalar("Latitude", Q, "geoCode",
           tuple({"latitude": value, "longitude": "0"} for value in ("0", "-90", "+90.000000", "89.123456")),
           tuple({"latitude": value, "longitude": "0"} for value in ("", "91", "-90.000001", "1.1234567", "1.", "N1"))),
    Scalar("Longitude", Q, "geoCode",
           tuple({"latitude": "0", "longitude": value} for value in ("0", "-180", "+180.000000", "179.123456")),
           tuple({"latitude": "0", "longitude": value} for value in ("", "181", "180.1", "1.1234567", "E1"))),
    Scalar("KYCInformation", Q, f"{PI}/kycInformation", *texts(2048), (V2_0,)),
    Scalar("supportedCurrencies: 0 to 16", Q, "payer/supportedCurrencies",
           ([], ["USD"], ["USD"] * 16), (["USD"] * 17, ["usd"]), (V2_0,)),
    Scalar("CurrencyConverter", Q, "converter", ("PAYER", "PAYEE"), ("", "HUB"), (V2_0,)),
    Scalar("FxCharge: 0 to 16", "POST /fxQuotes", "conversionTerms/charges",
           ([], [{"chargeType": "x" * 32}] * 16), ([{"chargeType": "x"}] * 17, [{"chargeType": ""}]), (V2_0,)),
    Scalar("FXP providers: 0 to 16", "PUT /services/FXP", "providers",
           ([], ["fxp"] * 16), (["fxp"] * 17, [""]), (V2_0,)),
    Scalar("bulk: 1 to 1000 quotes", "POST /bulkQuotes", "individualQuotes",
           ([INDIVIDUAL_QUOTE] * 1000,), ([], [INDIVIDUAL_QUOTE] * 1001)),
    Scalar("bulk: 1 to 1000 transfers", "POST /bulkTransfers", "individualTransfers",
           ([INDIVIDUAL_TRANSFER] * 1000,), ([], [INDIVIDUAL_TRANSFER] * 1001)),
    Scalar("partyList: 1 to 10000", "POST /participants", "partyList", ([INFO] * 10_000,), ([], [INFO] * 10_001)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("scalar", "version"),
    [pytest.param(scalar, version, id=f"{scalar.name}-{version}") for scalar in SCALARS for version in scalar.versions],
)
async def test_a_scalar_is_what_the_table_says_and_nothing_else(api: Api, scalar: Scalar, version: Version) -> None:
    body = BODIES[scalar.body]
    for value in scalar.taken:
        refused = await refusal(api, body, version, changed(body.content, scalar.path, value))
        assert refused is None, repr(value)[:80]
    for value in scalar.refused:
        refused = await refusal(api, body, version, changed(body.content, scalar.path, value))
        assert refused is not None, repr(value)[:80]
        # A pattern, an enumeration, a length: 3100. Only what a U2F object lacks is something else.
        assert refused[0] == ("3102" if value == {"pinValue": "1"} else "3100"), repr(value)[:80]
        assert scalar.path.split("/")[-1] in refused[1]
        assert len(refused[1]) <= 128


@pytest.mark.parametrize("version", EVERY)
async def test_a_value_of_another_type_is_malformed_and_null_is_no_text(api: Api, version: Version) -> None:
    """The reference reads 10 as "10"; here an amount never is a number on the wire, which many readers make a float."""
    body = BODIES[T]
    no_texts: tuple[object, ...] = (10, 1.5, True, [], {}, ["10"])
    for value in no_texts:
        assert await refusal(api, body, version, changed(body.content, "amount/amount", value)) == (
            "3101",
            "Malformed syntax - /requestBody/amount/amount must be string",
        )
    no_objects: tuple[object, ...] = ("10 USD", 10, [], None)
    for value in no_objects:
        assert await refusal(api, body, version, changed(body.content, "amount", value)) == (
            "3101",
            "Malformed syntax - /requestBody/amount must be object",
        )
    assert await refusal(api, body, version, changed(body.content, "amount/amount", None)) == (
        "3100",
        "Generic validation error - /requestBody/amount/amount must not be null",
    )


async def test_every_amount_is_read_to_the_last_digit() -> None:
    for text, minor in (("0.0001", 1), ("0.1", 1_000), ("90071992547409.93", 900_719_925_474_099_300)):
        body = json.dumps(changed(BODIES[T].content, "amount/amount", text)).encode()
        assert decode(messages.TransfersPostRequest, V1_1, body).amount.to_amount().minor == minor


@pytest.mark.parametrize("version", EVERY)
async def test_more_than_the_hub_can_hold_is_refused_by_name(api: Api, version: Version) -> None:
    body = changed(BODIES[T].content, "amount/amount", "9" * 18)
    answer = await api.send("POST", "/transfers", body, version=version)
    assert answer.refusal[:2] == (400, "3100")
    assert "/requestBody/amount" in answer.refusal[2]


# --- required and additional properties ------------------------------------------------------------------------------

REQUIRED: Final = [
    ("POST /transfers", "", "transferId payeeFsp payerFsp amount ilpPacket condition expiration"),
    ("POST /transfers", "amount", "currency amount"),
    ("PUT /transfers/{ID}", "", "transferState"),
    ("PATCH /transfers/{ID}", "", "completedTimestamp transferState"),
    ("POST /fxTransfers", "", "commitRequestId initiatingFsp counterPartyFsp sourceAmount targetAmount condition"),
    ("PUT /fxTransfers/{ID}", "", "conversionState"),
    ("PATCH /fxTransfers/{ID}", "", "conversionState"),
    ("POST /quotes", "", "quoteId transactionId payee payer amountType amount transactionType"),
    ("POST /quotes", "payee", "partyIdInfo"),
    ("POST /quotes", "payee/partyIdInfo", "partyIdType partyIdentifier"),
    ("POST /quotes", "transactionType", "scenario initiator initiatorType"),
    ("PUT /quotes/{ID}", "", "transferAmount expiration ilpPacket condition"),
    ("POST /fxQuotes", "", "conversionRequestId conversionTerms"),
    (
        "POST /fxQuotes",
        "conversionTerms",
        "conversionId initiatingFsp counterPartyFsp amountType sourceAmount targetAmount expiration",
    ),
    ("POST /fxQuotes", "conversionTerms/sourceAmount", "currency"),
    ("PUT /fxQuotes/{ID}", "", "conversionTerms"),
    ("POST /bulkQuotes", "", "bulkQuoteId payer individualQuotes"),
    ("PUT /bulkQuotes/{ID}", "", "expiration"),
    (
        "POST /bulkTransfers",
        "",
        "bulkTransferId bulkQuoteId payerFsp payeeFsp individualTransfers expiration",
    ),
    ("POST /bulkTransfers", "individualTransfers", "transferId transferAmount ilpPacket condition"),
    ("PUT /bulkTransfers/{ID}", "", "bulkTransferState"),
    ("POST /transactionRequests", "", "transactionRequestId payee payer amount transactionType"),
    ("PUT /transactionRequests/{ID}", "", "transactionRequestState"),
    ("PUT /transactions/{ID}", "", "transactionState"),
    ("PUT /authorizations/{ID}", "", "responseType"),
    ("POST /participants/{Type}/{ID}", "", "fspId"),
    ("POST /participants", "", "requestId partyList"),
    ("PUT /participants/{ID}", "", "partyList"),
    ("PUT /parties/{Type}/{ID}", "", "party"),
    ("PUT /services/FXP", "", "providers"),
    ("PUT …/error", "", "errorInformation"),
    ("PUT …/error", "errorInformation", "errorCode errorDescription"),
]
"""The body, the object in it, and what that object requires: nothing else."""


def in_each_version(rows: list[Any]) -> list[Any]:
    """The rows in every version that knows their body."""
    return [
        pytest.param(*row, version, id="-".join((*(each for each in row[:2] if each), version)))
        for row in rows
        for version in Version
        if version >= BODIES[row[0]].message.SINCE
    ]


def at(content: Any, path: str) -> Any:
    """What stands at a path; of a list its first."""
    for name in filter(None, path.split("/")):
        content = content[name]
        content = content[0] if isinstance(content, list) else content
    return content


def replaced(content: Any, path: str, value: object) -> Any:
    """The body with another object at a path."""
    return value if not path else changed(content, path, [value] if isinstance(content.get(path), list) else value)


@pytest.mark.parametrize(("name", "path", "required", "version"), in_each_version(REQUIRED))
async def test_what_is_required_is_missed_by_name_and_nothing_else_is(
    api: Api, name: str, path: str, required: str, version: Version
) -> None:
    body = BODIES[name]
    whole = at(body.content, path)
    assert whole.keys() == set(required.split())
    assert await refusal(api, body, version, body.content) is None
    for missing in required.split():
        lacking = {key: value for key, value in whole.items() if key != missing}
        refused = await refusal(api, body, version, replaced(body.content, path, lacking))
        assert refused is not None
        assert refused[0] == "3102"
        assert refused[1].startswith("Missing mandatory element - /requestBody")
        assert refused[1].endswith(f" must have required property '{missing}'")


@pytest.mark.parametrize(("name", "path", "required", "version"), in_each_version(REQUIRED))
async def test_an_additional_property_is_refused_by_name_from_2_0_on(
    api: Api, name: str, path: str, required: str, version: Version
) -> None:
    body = BODIES[name]
    more = {**at(body.content, path), "surprise": {"a": [1, None]}}
    refused = await refusal(api, body, version, replaced(body.content, path, more))
    if version < V2_0:
        assert refused is None
        return
    assert refused is not None
    assert refused[0] == "3103"
    assert refused[1].startswith("Too many elements - /requestBody")
    assert refused[1].endswith(" must NOT have additional property 'surprise'")


async def test_of_several_faults_one_is_told(api: Api) -> None:
    content = {**BODIES[T].content, "transferId": "x", "payeeFsp": "", "surprise": 1}
    assert await refusal(api, BODIES[T], V2_0, content) == (
        "3100",
        "Generic validation error - /requestBody/payeeFsp must have length >= 1",
    )


# --- bodies that cannot be read --------------------------------------------------------------------------------------

WHOLE: Final = json.dumps(BODIES[T].content).encode()
NO_JSON: Final = "Malformed syntax - The body is not valid JSON in UTF-8"
TWICE: Final = "Malformed syntax - The body has property 'payerFsp' twice"
NESTED: Final = "Malformed syntax - The body is nested more than 32 deep"


def with_unknown(value: bytes) -> bytes:
    """A body with a property that no version knows."""
    return WHOLE[:-1] + b', "unknown": ' + value + b"}"


UNREADABLE: Final = [
    ("no body", b"", "3102", "Missing mandatory element - The request has no body"),
    ("broken off", WHOLE[:-1], "3101", NO_JSON),
    ("text after it", WHOLE + b"x", "3101", NO_JSON),
    ("a byte order mark", b"\xef\xbb\xbf" + WHOLE, "3101", NO_JSON),
    ("UTF-16", WHOLE.decode().encode("utf-16"), "3101", NO_JSON),
    ("UTF-32", WHOLE.decode().encode("utf-32-le"), "3101", NO_JSON),
    ("Latin-1", WHOLE.replace(b"payeefsp", b"caf\xe9"), "3101", NO_JSON),
    ("half a surrogate", WHOLE.replace(b"payeefsp", b"\\ud800"), "3101", NO_JSON),
    ("a control character", WHOLE.replace(b"payeefsp", b"a\x00b"), "3101", NO_JSON),
    ("gzip", b"\x1f\x8b\x08\x00" + WHOLE, "3101", NO_JSON),
    ("NaN", WHOLE.replace(b'"10"', b"NaN"), "3101", NO_JSON),
    ("Infinity", with_unknown(b"Infinity"), "3101", None),
    ("a number beyond every float", with_unknown(b"1e999"), "3101", None),
    ("a number of 5000 digits", with_unknown(b"9" * 5_000), "3101", None),
    ("a property twice", WHOLE[:-1] + b', "payerFsp": "other"}', "3101", TWICE),
    ("a property twice, once escaped", WHOLE[:-1] + b', "payer\\u0046sp": "other"}', "3101", TWICE),
    ("a list", b"[]", "3101", "Malformed syntax - /requestBody must be object"),
    ("null", b"null", "3101", "Malformed syntax - /requestBody must be object"),
    ("33 lists in one another", with_unknown(b"[" * 33 + b"]" * 33), "3101", NESTED),
    ("33 objects in one another", with_unknown(b'{"a":' * 33 + b"1" + b"}" * 33), "3101", NESTED),
    ("100,000 lists in one another", b"[" * 100_000, "3101", None),
]  # fmt: skip


@pytest.mark.parametrize("version", [V1_0, V1_1])
@pytest.mark.parametrize(("body", "code", "words"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
async def test_what_cannot_be_read_is_a_clear_400(
    api: Api, body: bytes, code: str, words: str | None, version: Version
) -> None:
    answer = await api.send("POST", "/transfers", body, version=version)
    status, told, description = answer.refusal
    assert (status, told) == (400, code)
    assert description == (words or description)
    assert len(description) <= 128


@pytest.mark.parametrize(("body", "code"), [(row[1], row[2]) for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
async def test_what_cannot_be_read_is_refused_in_2_0_too(api: Api, body: bytes, code: str) -> None:
    """There a property that nobody knows may be told first, as one too many."""
    status, told, _ = (await api.send("POST", "/transfers", body, version=V2_0)).refusal
    assert status == 400
    assert told in {code, "3103"}
