"""What the hub refuses in its answer: status, code and words, as the reference has them (hub reference §1.3, §3.1)."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from tests.e2e.conftest import Wire, fulfilled, in_seconds
from tests.e2e.recorder import code, description, json_of, media_type, refusal

from vuka.sim.unquoted import CONDITION, ILP_PACKET

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSFER = "/transfers/b51ec534-ee48-4575-b6a9-ead2955b8069"
PARTY = "/parties/MSISDN/254700000001"


# --- paths and methods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/transfers/",
        "/transfers/1/2",
        "/transfers//error",
        "/transfers/1/2/error",
        "/parties",
        "/parties/MSISDN",
        "/parties/MSISDN/",
        "/parties/MSISDN/1/2/3",
        "/quotes/1/2/error",
        "/Transfers",
        "/transfers%2F1",
    ],
)
async def test_a_path_that_is_none_is_3002_with_404(wire: Wire, path: str) -> None:
    answer = await wire.payer.send("PUT", path, headers=wire.payer.headers("transfers", "PUT"))
    assert refusal(answer) == (404, "3002")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert description(answer.body).startswith("Unknown URI")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/transfers", "POST"),
        ("DELETE", "/transfers", "POST"),
        ("POST", TRANSFER, "GET, PATCH, PUT"),
        ("GET", f"{TRANSFER}/error", "PUT"),
        ("PATCH", "/quotes/1", "GET, PUT"),
        ("POST", PARTY, "GET, PUT"),
        ("PATCH", "/participants/MSISDN/1", "DELETE, GET, POST, PUT"),
        ("GET", "/participants", "POST"),
        ("OPTIONS", "/quotes", "POST"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_3000_with_405_and_allow(
    wire: Wire, method: str, path: str, allowed: str
) -> None:
    answer = await wire.payer.send(method, path)
    assert refusal(answer) == (405, "3000")
    assert answer.headers["allow"] == allowed


async def test_patch_goes_from_the_hub_and_never_to_it(wire: Wire) -> None:
    body = {"transferState": "COMMITTED", "completedTimestamp": in_seconds(0)}
    assert refusal(await wire.payee.send("PATCH", TRANSFER, body)) == (501, "2002")


async def test_the_hub_takes_no_result_of_a_batch(wire: Wire) -> None:
    answer = await wire.payer.send("PUT", f"/participants/{uuid.uuid4()}", {"partyList": []})
    assert refusal(answer) == (501, "2002")


async def test_a_path_that_is_no_utf_8_is_malformed(wire: Wire) -> None:
    assert refusal(await wire.payer.send("GET", "/parties/MSISDN/%ff")) == (400, "3101")


async def test_a_query_that_is_no_utf_8_is_malformed(wire: Wire) -> None:
    assert refusal(await wire.payer.send("GET", f"{PARTY}?currency=%ff")) == (400, "3101")


async def test_what_is_no_http_is_refused_and_the_hub_goes_on(wire: Wire) -> None:
    host, port = wire.hub.participants_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"this is no HTTP\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.readline()).split(b" ")[1] == b"400"
        await reader.read()
    writer.close()
    assert (await wire.payer.send("GET", PARTY)).status == 202


async def test_a_client_that_goes_away_in_the_middle_of_a_body_has_sent_nothing(wire: Wire) -> None:
    transfer_id = str(uuid.uuid4())
    host, port = wire.hub.participants_url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in wire.payer.headers("transfers", "POST"))
    body = f'{{"transferId":"{transfer_id}"'
    writer.write(f"POST /transfers HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n{head}\r\n{body}".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await wire.payer.send("GET", f"/transfers/{transfer_id}")
    assert code((await wire.payer.heard("PUT", f"/transfers/{transfer_id}/error")).body) == "3208"


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected", "text"),
    [
        ({"accept": None}, (400, "3102"), "Missing mandatory element - Accept is required"),
        ({"accept": "application/json"}, (400, "3101"), "Malformed syntax - Invalid accept header"),
        ({"accept": media_type("quotes", "1.0")}, (400, "3101"), "Malformed syntax - Invalid accept header"),
        ({"date": None}, (400, "3102"), "Missing mandatory element - Missing required date header"),
        ({"date": "2024-01-01"}, (400, "3101"), "Malformed syntax - Invalid date header"),
        ({"content_type": None}, (400, "3102"), "Missing mandatory element - Content-type is required"),
        ({"content_type": "application/json"}, (400, "3101"), "Malformed syntax - Invalid content-type header"),
        (
            {"content_type": media_type("transfers", "1.1") + ";charset=utf-8"},
            (400, "3101"),
            "Malformed syntax - Invalid content-type header",
        ),
        (
            {"fspiop_source": None},
            (400, "3102"),
            "Missing mandatory element - /header must have required property 'fspiop-source'",
        ),
        ({"fspiop_source": "x" * 33}, (400, "3100"), "Generic validation error - "),
        (
            {"fspiop_source": "nobody"},
            (400, "3101"),
            "Malformed syntax - invalid fspiop-source header: no such participant",
        ),
        ({"x_client_id": "otherfsp"}, (400, "3100"), "Generic validation error - Invalid fspiop-source header"),
        ({"x_client_id": "", "fspiop_source": ""}, (400, "3100"), "Generic validation error - "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_a_header_that_is_not_in_order_is_refused(
    wire: Wire, changed: dict[str, str | None], expected: tuple[int, str], text: str
) -> None:
    answer = await wire.payer.send("POST", "/transfers", wire.transfer(), wire.payee.name, **changed)
    assert refusal(answer) == expected
    assert description(answer.body).startswith(text)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"accept": media_type("transfers", "3.0")}, "The Client requested an unsupported version"),
        (
            {"content_type": media_type("transfers", "1.2")},
            "Client supplied a protocol version which is not supported by the server",
        ),
    ],
)
async def test_a_version_that_the_hub_does_not_speak_is_406_and_lists_those_it_does(
    wire: Wire, changed: dict[str, str | None], text: str
) -> None:
    answer = await wire.payer.send("POST", "/transfers", wire.transfer(), wire.payee.name, **changed)
    assert refusal(answer) == (406, "3001")
    assert text in description(answer.body)
    extensions = json_of(answer.body)["errorInformation"]["extensionList"]["extension"]
    assert [(each["key"], each["value"]) for each in extensions] == [("1", "0"), ("1", "1"), ("2", "0")]


async def test_headers_are_checked_in_the_references_order(wire: Wire) -> None:
    """Identity, Accept, Date, Content-Type, source: the first that is wrong is the one that is told."""
    changed: dict[str, str | None] = {
        "x_client_id": "otherfsp",
        "accept": None,
        "date": None,
        "content_type": None,
        "fspiop_source": None,
    }
    found: list[str] = []
    while changed:
        answer = await wire.payer.send("POST", "/transfers", b"{", **changed)
        found.append(f"{code(answer.body)} {description(answer.body).partition(' - ')[2]}")
        changed.pop(next(iter(changed)))
        if len(changed) == 4:
            changed["fspiop_source"] = None
    assert found == [
        "3100 Invalid fspiop-source header",
        "3102 Accept is required: /header must have required property 'accept'",
        "3102 Missing required date header",
        "3102 Content-type is required",
        "3102 /header must have required property 'fspiop-source'",
    ]


async def test_the_identity_that_a_gateway_vouches_for_is_believed(wire: Wire) -> None:
    assert (await wire.payer.send("GET", PARTY, x_client_id=wire.payer.name)).status == 202


async def test_content_type_is_required_even_on_get(wire: Wire) -> None:
    assert refusal(await wire.payer.send("GET", PARTY, content_type=None)) == (400, "3102")


async def test_put_needs_no_accept(wire: Wire) -> None:
    party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}
    assert (await wire.payee.send("PUT", PARTY, party, wire.payer.name)).status == 200


async def test_put_quotes_with_accept_is_refused(wire: Wire) -> None:
    body = {
        "transferAmount": {"amount": "1", "currency": "USD"},
        "expiration": in_seconds(60),
        "ilpPacket": ILP_PACKET,
        "condition": CONDITION,
    }
    path = f"/quotes/{uuid.uuid4()}"
    answer = await wire.payee.send("PUT", path, body, wire.payer.name, accept=media_type("quotes", "1.1"))
    assert refusal(answer) == (400, "3100")
    assert description(answer.body) == "Generic validation error - Unexpected header: accept"


async def test_a_quote_without_a_destination_is_refused(wire: Wire) -> None:
    answer = await wire.payer.send("POST", "/quotes", {})
    assert refusal(answer) == (400, "3102")
    assert description(answer.body) == (
        "Missing mandatory element - /header must have required property 'fspiop-destination'"
    )


async def test_an_answer_to_a_lookup_without_a_destination_is_refused(wire: Wire) -> None:
    party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}
    assert refusal(await wire.payee.send("PUT", PARTY, party)) == (400, "3102")


async def test_a_header_that_stands_twice_is_refused(wire: Wire) -> None:
    headers = [*wire.payer.headers("parties", "GET"), ("FSPIOP-Source", "otherfsp")]
    assert refusal(await wire.payer.send("GET", PARTY, headers=headers)) == (400, "3101")


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "3102"),
        (b"{", "3101"),
        (b"[]", "3101"),
        (b'{"transferId":"\xff"}', "3101"),
        (b'{"transferId":1}', "3101"),
        (b"[" * 200_000, "3101"),
    ],
    ids=["none", "broken", "no-object", "no-utf-8", "wrong-type", "too-deep"],
)
async def test_a_body_that_cannot_be_read_is_refused(wire: Wire, body: bytes, expected: str) -> None:
    assert refusal(await wire.payer.send("POST", "/transfers", body, wire.payee.name)) == (400, expected)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"transferId": "not-an-id"}, "3100"),
        ({"transferId": "B51EC534-EE48-4575-B6A9-EAD2955B8069"}, "3100"),
        ({"amount": {"amount": "1.50", "currency": "USD"}}, "3100"),
        ({"amount": {"amount": "-1", "currency": "USD"}}, "3100"),
        ({"amount": {"amount": "1.00001", "currency": "USD"}}, "3100"),
        ({"amount": {"amount": "999999999999999999", "currency": "USD"}}, "3100"),
        ({"amount": {"amount": "1", "currency": "XYZ"}}, "3100"),
        ({"amount": {"amount": 1, "currency": "USD"}}, "3101"),
        ({"amount": {"currency": "USD"}}, "3102"),
        ({"condition": "short"}, "3100"),
        ({"expiration": "tomorrow"}, "3100"),
        ({"payerFsp": ""}, "3100"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_transfer_that_breaks_its_schema_is_refused(wire: Wire, changed: dict[str, Any], expected: str) -> None:
    answer = await wire.payer.send("POST", "/transfers", wire.transfer(**changed), wire.payee.name)
    assert refusal(answer) == (400, expected)


@pytest.mark.parametrize(
    "name", ["transferId", "payerFsp", "payeeFsp", "amount", "ilpPacket", "condition", "expiration"]
)
async def test_a_transfer_without_a_required_property_is_refused_and_the_property_named(wire: Wire, name: str) -> None:
    body = wire.transfer()
    del body[name]
    answer = await wire.payer.send("POST", "/transfers", body, wire.payee.name)
    assert refusal(answer) == (400, "3102")
    assert description(answer.body).endswith(f"must have required property '{name}'")


async def test_a_property_too_many_is_refused_in_version_2_0_and_passed_on_before(wire: Wire) -> None:
    body = wire.transfer(surprise=1)
    content_type, accept = media_type("transfers", "2.0"), media_type("transfers", "2.0")
    answer = await wire.payer.send(
        "POST", "/transfers", body, wire.payee.name, content_type=content_type, accept=accept
    )
    assert refusal(answer) == (400, "3103")
    await wire.reserved(body)
    heard = await wire.payee.heard("POST", "/transfers", having=body["transferId"].encode())
    assert json_of(heard.body) == body


async def test_a_ulid_is_no_id_before_version_2_0(wire: Wire) -> None:
    body = wire.transfer(transferId="01HQ0000000000000000000000")
    assert refusal(await wire.payer.send("POST", "/transfers", body, wire.payee.name)) == (400, "3100")


async def test_a_refused_transfer_leaves_no_record(wire: Wire) -> None:
    body = wire.transfer(amount={"amount": "-1", "currency": "USD"})
    await wire.payer.send("POST", "/transfers", body, wire.payee.name)
    assert body["transferId"] not in wire.hub.states()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/transfers/not-an-id"),
        ("PUT", "/transfers/not-an-id"),
        ("PUT", "/transfers/not-an-id/error"),
        ("GET", "/quotes/not-an-id"),
        ("PUT", "/quotes/not-an-id"),
        ("PUT", "/quotes/not-an-id/error"),
        ("GET", "/transfers/B51EC534-EE48-4575-B6A9-EAD2955B8069"),
    ],
)
async def test_an_id_in_a_path_that_is_none_is_refused(wire: Wire, method: str, path: str) -> None:
    answer = await wire.payer.send(method, path, None if method == "GET" else {}, wire.payee.name)
    assert refusal(answer) == (400, "3100")
    assert "/path/ID" in description(answer.body)


async def test_a_body_beyond_the_limit_is_refused(wire: Wire) -> None:
    limit = wire.hub.config.participants_api.body_bytes_max
    answer = await wire.payer.send("POST", "/transfers", b" " * (limit + 1), wire.payee.name)
    assert refusal(answer) == (400, "3104")
    assert (await wire.payer.send("GET", PARTY)).status == 202


async def test_a_body_that_grows_beyond_the_limit_is_refused(wire: Wire) -> None:
    headers = wire.payer.headers("transfers", "POST", wire.payee.name)
    limit = wire.hub.config.participants_api.body_bytes_max
    answer = await wire.payer.send_in_chunks("/transfers", [b" " * limit, b" "], headers)
    assert refusal(answer) == (400, "3104")
    assert (await wire.payer.send("GET", PARTY)).status == 202


# --- when a fulfilment says it was completed --------------------------------------------------------------------------


async def test_a_completed_timestamp_of_the_future_is_refused_and_the_transfer_is_as_before(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    body = fulfilled("COMMITTED", completedTimestamp=in_seconds(2))
    answer = await wire.payee.send("PUT", f"/transfers/{transfer_id}", body, wire.payer.name)
    assert refusal(answer) == (400, "3100")
    assert description(answer.body) == (
        "Generic validation error - completedTimestamp fails because future timestamp was provided"
    )
    assert wire.hub.states()[transfer_id] == "RESERVED"


async def test_a_completed_timestamp_of_long_ago_is_refused(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    body = fulfilled("COMMITTED", completedTimestamp=in_seconds(-301))
    answer = await wire.payee.send("PUT", f"/transfers/{transfer_id}", body, wire.payer.name)
    assert refusal(answer) == (400, "3100")
    assert "exceeded the maximum timeout" in description(answer.body)
    assert wire.hub.states()[transfer_id] == "RESERVED"


@pytest.mark.parametrize("seconds", [-290, -1, 0])
async def test_a_completed_timestamp_of_about_now_is_taken(wire: Wire, seconds: int) -> None:
    transfer_id = await wire.reserved()
    body = fulfilled("COMMITTED", completedTimestamp=in_seconds(seconds))
    answer = await wire.payee.send("PUT", f"/transfers/{transfer_id}", body, wire.payer.name)
    assert answer.status == 200
    assert wire.hub.states()[transfer_id] == "COMMITTED"


async def test_a_fulfilment_without_a_completed_timestamp_is_taken(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    body = fulfilled("COMMITTED")
    del body["completedTimestamp"]
    assert (await wire.payee.send("PUT", f"/transfers/{transfer_id}", body, wire.payer.name)).status == 200
    assert wire.hub.states()[transfer_id] == "COMMITTED"


# --- what is told by callback, after 202 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected", "text"),
    [
        ({"payeeFsp": "nobody"}, "3100", "Participant nobody not found"),
        ({"payerFsp": "otherfsp"}, "3100", "FSPIOP-Source header should match Payer"),
        ({"payeeFsp": "payerfsp"}, "3100", "Payer FSP and Payee FSP should be different"),
        (
            {"expiration": "2020-01-01T00:00:00.000Z"},
            "3100",
            "Expiration date 2020-01-01T00:00:00.000Z is already in the past",
        ),
        ({"amount": {"amount": "1", "currency": "KES"}}, "3100", "Participant payerfsp KES account not found"),
        ({"amount": {"amount": "1000000.01", "currency": "USD"}}, "4001", "Payer FSP insufficient liquidity"),
    ],
)
async def test_a_transfer_that_cannot_be_is_told_to_its_sender(
    wire: Wire, changed: dict[str, Any], expected: str, text: str
) -> None:
    body = wire.transfer(**changed)
    answer = await wire.payer.send("POST", "/transfers", body, wire.payee.name)
    assert (answer.status, answer.body) == (202, b"")
    heard = await wire.payer.heard("PUT", f"/transfers/{body['transferId']}/error")
    assert code(heard.body) == expected
    assert text in description(heard.body)


async def test_a_fulfilment_of_an_unknown_transfer_is_told_to_its_sender(wire: Wire) -> None:
    path = f"/transfers/{uuid.uuid4()}"
    assert (await wire.payee.send("PUT", path, fulfilled("RESERVED"), wire.payer.name)).status == 200
    heard = await wire.payee.heard("PUT", f"{path}/error")
    assert (code(heard.body), description(heard.body)) == ("2001", "Internal server error - transfer not found")


async def test_a_fulfilment_from_another_than_the_payee_changes_nothing(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    path = f"/transfers/{transfer_id}"
    assert (await wire.other.send("PUT", path, fulfilled("COMMITTED"), wire.payer.name)).status == 200
    assert code((await wire.other.heard("PUT", f"{path}/error")).body) == "3100"
    assert wire.hub.states()[transfer_id] == "RESERVED"


# --- health -----------------------------------------------------------------------------------------------------------


async def test_health_needs_no_headers_and_names_the_parts(wire: Wire) -> None:
    answer = await wire.payer.send("GET", "/health", headers=[])
    assert answer.status == 200
    health = json_of(answer.body)
    assert health["status"] == "OK"
    assert {each["name"]: each["status"] for each in health["services"]} == {"datastore": "OK", "broker": "OK"}
