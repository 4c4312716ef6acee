"""The wire, byte by byte: what one participant writes is what the other one reads, and what the hub itself says."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from tests.e2e.conftest import Wire, fulfilled, in_seconds
from tests.e2e.recorder import Recorder, code, description, json_of, media_type

from vuka.fspiop.times import parse_datetime_ms, parse_http_date
from vuka.sim.participant import now_ms
from vuka.sim.server import Inquiry
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNATURE = '{"signature":"bm90LWEtc2lnbmF0dXJl","protectedHeader":"eyJhbGciOiJSUzI1NiJ9"}'
SIGNED_DATE = "Tue, 15 Nov 1994 08:12:31 GMT"
TRACE = "00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01"

UNTOUCHED = ("content-type", "date", "fspiop-source", "fspiop-destination", "fspiop-signature", "fspiop-uri")


def _new_id() -> str:
    return str(uuid.uuid4())


def _new_msisdn() -> str:
    return "2547" + str(uuid.uuid4().int)[:9]


def _signed(sender: Recorder, method: str, resource: str, uri: str, to: str) -> list[tuple[str, str]]:
    """Headers as a careful participant signs them, and some that are only for the hub."""
    content_type = f"application/vnd.interoperability.{resource}+json; version={sender.version}"
    return [
        ("Content-Type", content_type),
        ("Date", SIGNED_DATE),
        ("FSPIOP-Source", sender.name),
        ("FSPIOP-Destination", to),
        ("FSPIOP-URI", uri),
        ("FSPIOP-HTTP-Method", method),
        ("FSPIOP-Signature", SIGNATURE),
        ("Accept", media_type(resource, sender.accepts)),
        ("X-Scheme-Note", "kept as it is"),
        ("Authorization", "Bearer not-for-others"),
        ("X-Client-Id", sender.name),
        ("Accept-Encoding", "gzip"),
    ]


def _is_as_sent(heard: Inquiry, sent: list[tuple[str, str]], body: bytes | None, receiver: Recorder) -> None:
    """A message that was passed on: bytes and signed headers are the sender's, the rest is of this hop alone."""
    expected = {name.lower(): value for name, value in sent}
    assert heard.body == (body or b"")
    assert {name: heard.headers.get(name) for name in UNTOUCHED} == {name: expected[name] for name in UNTOUCHED}
    assert heard.headers["x-scheme-note"] == "kept as it is"
    assert not {"authorization", "x-client-id", "accept-encoding"} & heard.headers.keys()
    assert heard.headers["host"] == f"127.0.0.1:{receiver.server.port}"
    if body is not None:
        assert heard.headers["content-length"] == str(len(body))
    if heard.method in ("GET", "POST"):
        assert heard.headers["accept"] == expected["accept"]
    else:
        assert "accept" not in heard.headers


# --- passed on byte for byte ------------------------------------------------------------------------------------------


async def test_post_transfers_reaches_the_payee_byte_for_byte(wire: Wire) -> None:
    transfer_id = _new_id()
    body = (
        f'{{\n  "expiration" : "{in_seconds(30)}",\t"ilpPacket":"{ILP_PACKET}",\n'
        f'"amount":{{"currency":"USD" , "amount":"1.5"}},"condition":"{CONDITION}",'
        '"extensionList":{"extension":[{"value":"caf\\u00e9, ကောင်းထက်စံ \\/ Ñandú","key":"note"}]},'
        f'"payeeFsp":"{wire.payee.name}","transferId":"{transfer_id}", "payerFsp":"{wire.payer.name}"}}\n'
    ).encode()
    headers = _signed(wire.payer, "POST", "transfers", "/transfers", wire.payee.name)
    answer = await wire.payer.send("POST", "/transfers", body, headers=headers)
    assert (answer.status, answer.body) == (202, b"")
    heard = await wire.payee.heard("POST", "/transfers", having=transfer_id.encode())
    _is_as_sent(heard, headers, body, wire.payee)


async def test_put_transfers_committed_reaches_the_payer_byte_for_byte(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    body = f'{{ "transferState":"COMMITTED",\r\n  "fulfilment":"{FULFILMENT}" }}'.encode()
    path = f"/transfers/{transfer_id}"
    headers = _signed(wire.payee, "PUT", "transfers", path, wire.payer.name)
    answer = await wire.payee.send("PUT", path, body, headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    _is_as_sent(await wire.payer.heard("PUT", path), headers, body, wire.payer)


async def test_put_transfers_error_reaches_the_payer_byte_for_byte(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    body = '{"errorInformation" : {"errorDescription":"ငွေ\\u0020no","errorCode":"5142"}}'.encode()
    path = f"/transfers/{transfer_id}/error"
    headers = _signed(wire.payee, "PUT", "transfers", path, wire.payer.name)
    answer = await wire.payee.send("PUT", path, body, headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    _is_as_sent(await wire.payer.heard("PUT", path), headers, body, wire.payer)


def _quote(wire: Wire, quote_id: str, expiration: str = "") -> bytes:
    until = f'"expiration":"{expiration}",' if expiration else ""
    return (
        f'{{"note":"ကျေးဇူး \\ud83d\\ude00",{until}"transactionType":{{"initiatorType":"CONSUMER","scenario":"TRANSFER",'
        '"initiator":"PAYER"},"amountType" : "SEND",  "amount":{"amount":"12.25","currency":"USD"},'
        f'"payer":{{"partyIdInfo":{{"partyIdType":"MSISDN","partyIdentifier":"1","fspId":"{wire.payer.name}"}}}},'
        f'"payee":{{"name":"Ko Htet","partyIdInfo":{{"fspId":"{wire.payee.name}","partyIdentifier":"2",'
        f'"partyIdType":"MSISDN"}}}},"transactionId":"{_new_id()}","quoteId":"{quote_id}"}}'
    ).encode()


def _terms() -> bytes:
    return (
        f'{{"condition":"{CONDITION}" ,"ilpPacket":"{ILP_PACKET}","expiration":"{in_seconds(60)}",\n'
        '"transferAmount":{"currency":"USD","amount":"12.25"}}'
    ).encode()


def _without_accept(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in headers if pair[0] != "Accept"]


async def test_quotes_pass_both_ways_byte_for_byte(wire: Wire) -> None:
    quote_id = _new_id()
    asked, terms = _quote(wire, quote_id), _terms()
    headers = _signed(wire.payer, "POST", "quotes", "/quotes", wire.payee.name)
    assert (await wire.payer.send("POST", "/quotes", asked, headers=headers)).status == 202
    heard = await wire.payee.heard("POST", "/quotes", having=quote_id.encode())
    _is_as_sent(heard, headers, asked, wire.payee)
    path = f"/quotes/{quote_id}"
    headers = _without_accept(_signed(wire.payee, "PUT", "quotes", path, wire.payer.name))
    assert (await wire.payee.send("PUT", path, terms, headers=headers)).status == 200
    _is_as_sent(await wire.payer.heard("PUT", path), headers, terms, wire.payer)


async def test_a_refused_quote_passes_byte_for_byte(wire: Wire) -> None:
    quote_id = _new_id()
    await wire.payer.send("POST", "/quotes", _quote(wire, quote_id), wire.payee.name)
    await wire.payee.heard("POST", "/quotes", having=quote_id.encode())
    path = f"/quotes/{quote_id}/error"
    body = b'{"errorInformation":{"errorDescription":"No","errorCode":"5101"} }'
    headers = _signed(wire.payee, "PUT", "quotes", path, wire.payer.name)
    assert (await wire.payee.send("PUT", path, body, headers=headers)).status == 200
    _is_as_sent(await wire.payer.heard("PUT", path), headers, body, wire.payer)


async def test_get_quotes_is_passed_to_the_participant_that_made_the_terms(wire: Wire) -> None:
    quote_id = _new_id()
    await wire.payer.send("POST", "/quotes", _quote(wire, quote_id), wire.payee.name)
    path = f"/quotes/{quote_id}"
    headers = _signed(wire.payer, "GET", "quotes", path, wire.payee.name)
    assert (await wire.payer.send("GET", path, headers=headers)).status == 202
    _is_as_sent(await wire.payee.heard("GET", path), headers, None, wire.payee)


async def test_an_answer_to_a_lookup_passes_byte_for_byte(wire: Wire) -> None:
    msisdn = _new_msisdn()
    path = f"/parties/MSISDN/{msisdn}"
    body = (
        f'{{"party":{{"personalInfo":{{"complexName":{{"lastName":"ထက်စံ","firstName":"ကောင်း"}}}},"partyIdInfo":'
        f'{{"partyIdentifier":"{msisdn}","fspId":"{wire.payee.name}" , "partyIdType":"MSISDN"}} }} }}'
    ).encode()
    headers = _signed(wire.payee, "PUT", "parties", path, wire.payer.name)
    answer = await wire.payee.send("PUT", path, body, headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    _is_as_sent(await wire.payer.heard("PUT", path), headers, body, wire.payer)


async def test_a_refused_lookup_passes_byte_for_byte(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}/error"
    body = b'{ "errorInformation":{"errorCode":"3204","errorDescription":"Party not found"}}'
    headers = _signed(wire.payee, "PUT", "parties", path, wire.payer.name)
    assert (await wire.payee.send("PUT", path, body, headers=headers)).status == 200
    _is_as_sent(await wire.payer.heard("PUT", path), headers, body, wire.payer)


async def test_a_lookup_for_a_known_destination_passes_with_its_signed_headers(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}"
    headers = _signed(wire.payer, "GET", "parties", path, wire.payee.name)
    answer = await wire.payer.send("GET", path, headers=headers)
    assert (answer.status, answer.body) == (202, b"")
    _is_as_sent(await wire.payee.heard("GET", path), headers, None, wire.payee)


async def test_a_body_sent_in_chunks_is_passed_on_whole(wire: Wire) -> None:
    body = wire.transfer()
    sent = msgspec.json.encode(body)
    headers = wire.payer.headers("transfers", "POST", wire.payee.name)
    assert (await wire.payer.send_in_chunks("/transfers", [sent[:9], sent[9:]], headers)).status_code == 202
    heard = await wire.payee.heard("POST", "/transfers", having=body["transferId"].encode())
    assert heard.body == sent
    assert "transfer-encoding" not in heard.headers


# --- the hub's own messages, in the version that each side speaks -----------------------------------------------------


def _is_from_hub(heard: Inquiry, receiver: Recorder, resource: str, version: str) -> None:
    headers = heard.headers
    assert headers["content-type"] == media_type(resource, version)
    assert headers["fspiop-source"] == "Hub"
    assert headers["fspiop-destination"] == receiver.name
    assert headers["fspiop-uri"] == heard.path
    assert headers["fspiop-http-method"] == heard.method
    assert "fspiop-signature" not in headers
    assert "accept" not in headers
    date = parse_http_date(headers["date"])
    assert date is not None
    assert abs(date * 1000 - now_ms()) < 10_000


def _ended(body: dict[str, Any]) -> dict[str, Any]:
    """A result without its time, which must be one of now."""
    assert abs(parse_datetime_ms(body.pop("completedTimestamp")) - now_ms()) < 10_000
    return body


@pytest.mark.parametrize(
    ("payer_version", "accepts", "answered_in", "payee_version"),
    [
        ("1.0", "1.0", "1.0", "1.1"),
        ("1.0", "1.0", "1.0", "2.0"),
        ("1.0", "1", "1.1", "1.1"),
        ("1.1", "1.1", "1.1", "1.1"),
        ("1.1", "1", "1.1", "2.0"),
        ("2.0", "2.0", "2.0", "1.1"),
        ("2.0", "2", "2.0", "2.0"),
    ],
)
async def test_a_reserved_transfer_ends_with_put_and_patch_in_the_version_of_each_side(
    wire: Wire, payer_version: str, accepts: str, answered_in: str, payee_version: str
) -> None:
    content_type, accept = media_type("transfers", payer_version), media_type("transfers", accepts)
    transfer_id = await wire.reserved(None, content_type=content_type, accept=accept)
    path = f"/transfers/{transfer_id}"
    answer = await wire.payee.send(
        "PUT",
        path,
        fulfilled("RESERVED"),
        wire.payer.name,
        content_type=media_type("transfers", payee_version),
        fspiop_signature=SIGNATURE,
    )
    assert answer.status == 200
    put, patch = await wire.payer.heard("PUT", path), await wire.payee.heard("PATCH", path)
    _is_from_hub(put, wire.payer, "transfers", answered_in)
    _is_from_hub(patch, wire.payee, "transfers", payee_version)
    told, confirmed = json_of(put.body), json_of(patch.body)
    assert told["completedTimestamp"] == confirmed["completedTimestamp"]
    assert _ended(told) == {"transferState": "COMMITTED", "fulfilment": FULFILMENT}
    assert _ended(confirmed) == {"transferState": "COMMITTED"}


async def test_a_forwarded_transfer_keeps_the_version_of_its_sender(wire: Wire) -> None:
    body = wire.transfer()
    await wire.reserved(body, content_type=media_type("transfers", "1.0"), accept=media_type("transfers", "1.0"))
    heard = await wire.payee.heard("POST", "/transfers", having=body["transferId"].encode())
    assert heard.headers["content-type"] == media_type("transfers", "1.0")
    assert heard.headers["accept"] == media_type("transfers", "1.0")


async def test_a_payee_that_answers_committed_is_told_that_the_hub_committed_in_its_own_version(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    path = f"/transfers/{transfer_id}"
    await wire.payee.send(
        "PUT", path, fulfilled("COMMITTED"), wire.payer.name, content_type=media_type("transfers", "1.0")
    )
    confirmed = await wire.payee.heard("PUT", path)
    _is_from_hub(confirmed, wire.payee, "transfers", "1.0")
    assert _ended(json_of(confirmed.body)) == {"transferState": "COMMITTED", "fulfilment": FULFILMENT}
    assert (await wire.payer.heard("PUT", path)).headers["fspiop-source"] == wire.payee.name


async def test_a_declared_version_is_what_the_hub_writes_to_a_participant_in(wire: Wire) -> None:
    await wire.operator.do("PUT", f"/participants/{wire.other.name}/version", {"version": "1.0"})
    path = f"/parties/MSISDN/{_new_msisdn()}"
    await wire.other.send("GET", path, content_type=media_type("parties", "2.0"), accept=media_type("parties", "2.0"))
    _is_from_hub(await wire.other.heard("PUT", f"{path}/error"), wire.other, "parties", "1.0")
    await wire.operator.do("PUT", f"/participants/{wire.other.name}/version", {"version": None})


async def test_reserved_in_version_1_0_is_no_answer_and_the_transfer_expires(wire: Wire) -> None:
    transfer_id = await wire.reserved(wire.transfer(expiration=in_seconds(0.5)))
    path = f"/transfers/{transfer_id}"
    answer = await wire.payee.send(
        "PUT", path, fulfilled("RESERVED"), wire.payer.name, content_type=media_type("transfers", "1.0")
    )
    assert answer.status == 200
    for party in (wire.payer, wire.payee):
        assert code((await party.heard("PUT", f"{path}/error")).body) == "3303"
    assert wire.hub.states()[transfer_id] == "EXPIRED_RESERVED"


# --- how a transfer ends ----------------------------------------------------------------------------------------------


async def test_an_expired_transfer_is_told_to_both_parties(wire: Wire) -> None:
    transfer_id = await wire.reserved(wire.transfer(expiration=in_seconds(0.3)))
    for party in (wire.payer, wire.payee):
        heard = await party.heard("PUT", f"/transfers/{transfer_id}/error")
        assert json_of(heard.body) == {
            "errorInformation": {"errorCode": "3303", "errorDescription": "Transfer expired"}
        }
        _is_from_hub(heard, party, "transfers", "1.1")


async def test_a_wrong_fulfilment_aborts_and_both_parties_are_told(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    path = f"/transfers/{transfer_id}"
    await wire.payee.send("PUT", path, fulfilled("RESERVED", fulfilment=CONDITION), wire.payer.name)
    for party in (wire.payer, wire.payee):
        heard = await party.heard("PUT", f"{path}/error")
        assert (code(heard.body), description(heard.body)) == (
            "3100",
            "Generic validation error - invalid fulfilment",
        )
    patch = await wire.payee.heard("PATCH", path)
    assert _ended(json_of(patch.body)) == {
        "transferState": "ABORTED",
        "extensionList": {
            "extension": [{"key": "cause", "value": "3100: Generic validation error - invalid fulfilment"}]
        },
    }


@pytest.mark.parametrize("party", ["payer", "payee"])
async def test_each_party_of_a_transfer_may_ask_how_it_stands(wire: Wire, party: str) -> None:
    transfer_id = await wire.reserved()
    asks: Recorder = getattr(wire, party)
    path = f"/transfers/{transfer_id}"
    assert (await asks.send("GET", path)).status == 202
    heard = await asks.heard("PUT", path)
    _is_from_hub(heard, asks, "transfers", "1.1")
    assert json_of(heard.body) == {"transferState": "RESERVED"}


async def test_a_party_of_an_ended_transfer_is_told_its_fulfilment(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    path = f"/transfers/{transfer_id}"
    await wire.payee.send("PUT", path, fulfilled("RESERVED"), wire.payer.name)
    await wire.payer.heard("PUT", path)
    await wire.payer.send("GET", path, accept=media_type("transfers", "2"))
    again = await wire.payer.heard("PUT", path, count=2)
    _is_from_hub(again, wire.payer, "transfers", "2.0")
    assert _ended(json_of(again.body)) == {"transferState": "COMMITTED", "fulfilment": FULFILMENT}


async def test_somebody_else_is_not_told_of_a_transfer(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    assert (await wire.other.send("GET", f"/transfers/{transfer_id}")).status == 202
    assert code((await wire.other.heard("PUT", f"/transfers/{transfer_id}/error")).body) == "3000"


async def test_an_unknown_transfer_is_not_found(wire: Wire) -> None:
    transfer_id = _new_id()
    assert (await wire.payer.send("GET", f"/transfers/{transfer_id}")).status == 202
    heard = await wire.payer.heard("PUT", f"/transfers/{transfer_id}/error")
    assert (code(heard.body), description(heard.body)) == (
        "3208",
        "Transfer ID not found - Provided Transfer ID was not found on the server.",
    )


async def test_a_transfer_sent_again_is_answered_with_its_result_and_not_forwarded_again(wire: Wire) -> None:
    body = wire.transfer()
    transfer_id = await wire.reserved(body)
    path = f"/transfers/{transfer_id}"
    await wire.payee.send("PUT", path, fulfilled("RESERVED"), wire.payer.name)
    await wire.payer.heard("PUT", path)
    assert (await wire.payer.send("POST", "/transfers", body, wire.payee.name)).status == 202
    again = await wire.payer.heard("PUT", path, count=2)
    assert json_of(again.body)["transferState"] == "COMMITTED"
    forwarded = [each for each in await wire.hub.journal(transfer_id) if each[:2] == ("out", "POST")]
    assert forwarded == [("out", "POST", "/transfers", wire.payer.name, wire.payee.name)]


async def test_a_transfer_sent_again_with_another_body_is_a_modified_request(wire: Wire) -> None:
    body = wire.transfer()
    transfer_id = await wire.reserved(body)
    changed = {**body, "amount": {"amount": "11", "currency": "USD"}}
    assert (await wire.payer.send("POST", "/transfers", changed, wire.payee.name)).status == 202
    heard = await wire.payer.heard("PUT", f"/transfers/{transfer_id}/error")
    assert (code(heard.body), description(heard.body)) == ("3106", "Modified request")


async def test_a_ulid_of_version_2_0_names_a_transfer_on_the_whole_way(wire: Wire) -> None:
    transfer_id = "01HQ" + uuid.uuid4().hex[:22].upper()
    body = wire.transfer(transferId=transfer_id)
    await wire.reserved(body, content_type=media_type("transfers", "2.0"), accept=media_type("transfers", "2.0"))
    path = f"/transfers/{transfer_id}"
    sent = await wire.payee.send(
        "PUT", path, fulfilled("RESERVED"), wire.payer.name, content_type=media_type("transfers", "2.0")
    )
    assert sent.status == 200
    assert (await wire.payer.heard("PUT", path)).headers["fspiop-uri"] == path
    assert (await wire.payee.heard("PATCH", path)).headers["fspiop-uri"] == path


# --- traces -----------------------------------------------------------------------------------------------------------


async def test_a_trace_goes_with_what_is_passed_on(wire: Wire) -> None:
    body = wire.transfer()
    await wire.reserved(body, traceparent=TRACE, tracestate="vendor=1", baggage="who=payer")
    heard = await wire.payee.heard("POST", "/transfers", having=body["transferId"].encode())
    assert [heard.headers.get(name) for name in ("traceparent", "tracestate", "baggage")] == [
        TRACE,
        "vendor=1",
        "who=payer",
    ]


async def test_a_trace_goes_with_what_the_hub_answers(wire: Wire) -> None:
    transfer_id = await wire.reserved()
    path = f"/transfers/{transfer_id}"
    await wire.payee.send("PUT", path, fulfilled("RESERVED"), wire.payer.name, traceparent=TRACE, tracestate="vendor=1")
    for heard in (await wire.payer.heard("PUT", path), await wire.payee.heard("PATCH", path)):
        assert (heard.headers.get("traceparent"), heard.headers.get("tracestate")) == (TRACE, "vendor=1")


async def test_a_trace_goes_with_an_error(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}"
    await wire.payer.send("GET", path, traceparent=TRACE)
    assert (await wire.payer.heard("PUT", f"{path}/error")).headers["traceparent"] == TRACE


# --- endpoints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "template", "path"),
    [
        ("PARTIES_GET", "/als/parties/{{partyIdType}}/{{partyIdentifier}}", "/als/parties/MSISDN/{id}"),
        ("PARTIES_GET", "/find?type={{partyIdType}}&id={{partyIdentifier}}", "/find?type=MSISDN&id={id}"),
        ("PARTIES_GET", "/v/{{ partyIdentifier }}/of/{{partyIdType}}/", "/v/{id}/of/MSISDN/"),
        ("PARTIES_GET", "/one-for-all", "/one-for-all"),
    ],
)
async def test_an_endpoint_is_a_template_of_any_shape(wire: Wire, kind: str, template: str, path: str) -> None:
    msisdn = _new_msisdn()
    await wire.serve(wire.other, "MSISDN", msisdn)
    await wire.point(wire.other, f"FSPIOP_CALLBACK_URL_{kind}", wire.other.server.url + template)
    await wire.payer.send("GET", f"/parties/MSISDN/{msisdn}")
    heard = await wire.other.heard("GET", path.replace("{id}", msisdn))
    assert heard.headers["fspiop-destination"] == wire.other.name
    usual = "/parties/{{partyIdType}}/{{partyIdentifier}}"
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_PARTIES_GET", wire.other.server.url + usual)


@pytest.mark.parametrize("name", ["transferId", "ID", "id"])
async def test_a_transfers_id_has_every_name_that_scripts_in_use_give_it(wire: Wire, name: str) -> None:
    await wire.point(
        wire.other, "FSPIOP_CALLBACK_URL_TRANSFER_ERROR", f"{wire.other.server.url}/t?{name}={{{{{name}}}}}&e=1"
    )
    transfer_id = _new_id()
    await wire.other.send("GET", f"/transfers/{transfer_id}")
    heard = await wire.other.heard("PUT", f"/t?{name}={transfer_id}&e=1")
    # What a signature names is the resource, wherever the participant has it.
    assert heard.headers["fspiop-uri"] == f"/transfers/{transfer_id}/error"
    usual = wire.other.server.url + "/transfers/{{transferId}}/error"
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_TRANSFER_ERROR", usual)


@pytest.mark.parametrize("base", ["/fspiop/v1", "/fspiop/v1/"])
async def test_the_quotes_endpoint_is_a_base(wire: Wire, base: str) -> None:
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_QUOTES", wire.other.server.url + base)
    quote_id = _new_id()
    await wire.other.send("PUT", f"/quotes/{quote_id}", _terms(), wire.payer.name)
    heard = await wire.other.heard("PUT", f"/fspiop/v1/quotes/{quote_id}/error")
    assert (code(heard.body), heard.headers["fspiop-uri"]) == ("3205", f"/quotes/{quote_id}/error")
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_QUOTES", wire.other.server.url)


async def test_a_changed_endpoint_holds_from_the_next_message_on(wire: Wire) -> None:
    moved = Recorder("otherfsp", wire.client, wire.hub.participants_url)
    await moved.server.start()
    usual = "/parties/{{partyIdType}}/{{partyIdentifier}}/error"
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_PARTIES_PUT_ERROR", moved.server.url + usual)
    path = f"/parties/MSISDN/{_new_msisdn()}"
    await wire.other.send("GET", path)
    await moved.heard("PUT", f"{path}/error")
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_PARTIES_PUT_ERROR", wire.other.server.url + usual)
    await moved.server.stop()


# --- lookups ----------------------------------------------------------------------------------------------------------


async def test_a_lookup_is_passed_to_whom_the_oracle_names_with_its_destination(wire: Wire) -> None:
    msisdn = _new_msisdn()
    await wire.serve(wire.payee, "MSISDN", msisdn)
    path = f"/parties/MSISDN/{msisdn}"
    answer = await wire.payer.send("GET", path)
    assert (answer.status, answer.body) == (202, b"")
    heard = await wire.payee.heard("GET", path)
    assert heard.body == b""
    assert (heard.headers["fspiop-source"], heard.headers["fspiop-destination"]) == (
        wire.payer.name,
        wire.payee.name,
    )


async def test_an_empty_destination_is_as_good_as_none(wire: Wire) -> None:
    msisdn = _new_msisdn()
    await wire.serve(wire.payee, "MSISDN", msisdn)
    path = f"/parties/MSISDN/{msisdn}"
    await wire.payer.send("GET", path, fspiop_destination="")
    assert (await wire.payee.heard("GET", path)).headers["fspiop-destination"] == wire.payee.name


async def test_every_participant_that_serves_a_party_is_asked(wire: Wire) -> None:
    msisdn = _new_msisdn()
    for each in (wire.payee, wire.other):
        await wire.serve(each, "MSISDN", msisdn)
    path = f"/parties/MSISDN/{msisdn}"
    await wire.payer.send("GET", path)
    for each in (wire.payee, wire.other):
        assert (await each.heard("GET", path)).headers["fspiop-destination"] == each.name


async def test_a_sub_identifier_is_another_party(wire: Wire) -> None:
    msisdn = _new_msisdn()
    await wire.serve(wire.payee, "MSISDN", msisdn)
    await wire.serve(wire.other, "MSISDN", msisdn, "SAVINGS")
    path = f"/parties/MSISDN/{msisdn}"
    await wire.payer.send("GET", f"{path}/SAVINGS")
    await wire.other.heard("GET", f"{path}/SAVINGS")
    await wire.payer.send("GET", path)
    await wire.payee.heard("GET", path)
    assert (await wire.hub.journal(f"MSISDN/{msisdn}/SAVINGS"))[1:] == [
        ("out", "GET", f"{path}/SAVINGS", wire.payer.name, wire.other.name)
    ]


async def test_answers_about_a_sub_identifier_go_to_the_sub_identifiers_endpoints(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}/SAVINGS"
    party = {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1", "partySubIdOrType": "SAVINGS"}}
    await wire.payee.send("PUT", path, {"party": party}, wire.payer.name)
    await wire.payer.heard("PUT", path)
    error = {"errorInformation": {"errorCode": "3204", "errorDescription": "Party not found"}}
    await wire.payee.send("PUT", f"{path}/error", error, wire.payer.name)
    await wire.payer.heard("PUT", f"{path}/error")


async def test_a_sub_identifier_that_nobody_serves_is_not_found(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}/SAVINGS"
    await wire.payer.send("GET", path)
    heard = await wire.payer.heard("PUT", f"{path}/error")
    assert code(heard.body) == "3200"
    _is_from_hub(heard, wire.payer, "parties", "1.1")


async def test_a_party_that_nobody_serves_is_not_found(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}"
    assert (await wire.payer.send("GET", path)).status == 202
    heard = await wire.payer.heard("PUT", f"{path}/error")
    assert (code(heard.body), description(heard.body)) == ("3204", "Party not found")
    _is_from_hub(heard, wire.payer, "parties", "1.1")


async def test_a_lookup_for_a_currency_finds_those_that_serve_it(wire: Wire) -> None:
    msisdn = _new_msisdn()
    party = {"partyIdType": "MSISDN", "partyIdentifier": msisdn}
    for each, currency in ((wire.payee, "USD"), (wire.other, "KES")):
        await wire.operator.do("POST", "/oracle/parties", {**party, "fspId": each.name, "currency": currency})
    path = f"/parties/MSISDN/{msisdn}"
    await wire.payer.send("GET", f"{path}?currency=KES")
    await wire.other.heard("GET", path)
    assert [each[4] for each in await wire.hub.journal(f"MSISDN/{msisdn}") if each[0] == "out"] == [wire.other.name]


@pytest.mark.parametrize(
    ("party_type", "identifier", "written"),
    [
        ("EMAIL", "amina+pay@example.org", "amina%2Bpay%40example.org"),
        ("ALIAS", "shop/4", "shop%2F4"),
        ("ALIAS", "ကောင်း", "%E1%80%80%E1%80%B1%E1%80%AC%E1%80%84%E1%80%BA%E1%80%B8"),
        ("ALIAS", "100%", "100%25"),
    ],
)
async def test_an_identifier_of_any_letters_arrives_as_it_was_sent(
    wire: Wire, party_type: str, identifier: str, written: str
) -> None:
    await wire.serve(wire.payee, party_type, identifier)
    await wire.payer.send("GET", f"/parties/{party_type}/{written}")
    await wire.payee.heard("GET", f"/parties/{party_type}/{written}")


@pytest.mark.parametrize(
    ("path", "error_path"),
    [
        ("/parties/MSISDN/not-a-number", "/parties/MSISDN/not-a-number/error"),
        ("/parties/EMAIL/nobody", "/parties/EMAIL/nobody/error"),
        ("/parties/IBAN/xx", "/parties/IBAN/xx/error"),
        ("/parties/ALIAS/%7Bid%7D", "/parties/ALIAS/%7Bid%7D/error"),
        ("/participants/MSISDN/not-a-number", "/participants/MSISDN/not-a-number/error"),
    ],
)
async def test_a_malformed_identifier_is_told_by_callback(wire: Wire, path: str, error_path: str) -> None:
    answer = await wire.payer.send("GET", path)
    assert (answer.status, answer.body) == (202, b"")
    heard = await wire.payer.heard("PUT", error_path)
    assert code(heard.body) == "3101"
    assert heard.headers["fspiop-uri"] == error_path


async def test_a_currency_that_is_none_is_told_by_callback(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}"
    assert (await wire.payer.send("GET", f"{path}?currency=XYZ")).status == 202
    assert code((await wire.payer.heard("PUT", f"{path}/error")).body) == "3100"


async def test_an_answer_for_a_participant_that_is_none_is_told_to_its_sender(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}"
    party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}
    assert (await wire.payee.send("PUT", path, party, "nobody")).status == 200
    assert code((await wire.payee.heard("PUT", f"{path}/error")).body) == "3201"


# --- requests that could not be delivered -----------------------------------------------------------------------------


async def test_a_lookup_that_is_refused_is_told_to_its_requester(wire: Wire) -> None:
    path = f"/parties/MSISDN/{_new_msisdn()}"
    wire.payee.answers[path] = 404
    await wire.payer.send("GET", path, None, wire.payee.name)
    heard = await wire.payer.heard("PUT", f"{path}/error")
    assert (code(heard.body), description(heard.body)) == (
        "1001",
        f"Destination communication error - {wire.payee.name} cannot be reached",
    )


async def test_what_could_not_be_delivered_is_told_on_the_path_that_was_asked_for(wire: Wire) -> None:
    path = f"/parties/ALIAS/shop%2F{_new_id()}"
    wire.payee.answers[path] = 404
    await wire.payer.send("GET", path, None, wire.payee.name)
    heard = await wire.payer.heard("PUT", f"{path}/error")
    assert (code(heard.body), heard.headers["fspiop-uri"]) == ("1001", f"{path}/error")


async def test_a_lookup_of_a_participant_that_cannot_be_reached_is_told_when_its_time_is_over(wire: Wire) -> None:
    await wire.point(
        wire.other, "FSPIOP_CALLBACK_URL_PARTIES_GET", "http://127.0.0.1:1/parties/{{partyIdType}}/{{partyIdentifier}}"
    )
    path = f"/parties/MSISDN/{_new_msisdn()}"
    await wire.payer.send("GET", path, None, wire.other.name)
    assert code((await wire.payer.heard("PUT", f"{path}/error")).body) == "1001"
    usual = "/parties/{{partyIdType}}/{{partyIdentifier}}"
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_PARTIES_GET", wire.other.server.url + usual)


async def test_a_quote_that_cannot_be_delivered_is_told_to_its_requester(wire: Wire) -> None:
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_QUOTES", "http://127.0.0.1:1")
    quote_id = _new_id()
    body = _quote(wire, quote_id, in_seconds(0.4)).replace(wire.payee.name.encode(), wire.other.name.encode())
    assert (await wire.payer.send("POST", "/quotes", body, wire.other.name)).status == 202
    assert code((await wire.payer.heard("PUT", f"/quotes/{quote_id}/error")).body) == "1001"
    await wire.point(wire.other, "FSPIOP_CALLBACK_URL_QUOTES", wire.other.server.url)


# --- participants: who serves whom ------------------------------------------------------------------------------------


async def test_a_registered_party_is_confirmed_in_the_references_form_and_found(wire: Wire) -> None:
    msisdn = _new_msisdn()
    path = f"/participants/MSISDN/{msisdn}"
    answer = await wire.payee.send("POST", path, {"fspId": wire.payee.name, "currency": "USD"})
    assert (answer.status, answer.body) == (202, b"")
    heard = await wire.payee.heard("PUT", path)
    _is_from_hub(heard, wire.payee, "participants", "1.1")
    assert json_of(heard.body) == {
        "partyList": [{"partyIdType": "MSISDN", "partyIdentifier": msisdn, "fspId": wire.payee.name}],
        "currency": "USD",
    }
    assert (await wire.payer.send("GET", path)).status == 202
    found = await wire.payer.heard("PUT", path)
    _is_from_hub(found, wire.payer, "participants", "1.1")
    assert json_of(found.body) == {"fspId": wire.payee.name}


async def test_a_sub_identifier_is_registered_on_its_own_path(wire: Wire) -> None:
    msisdn = _new_msisdn()
    path = f"/participants/MSISDN/{msisdn}/SAVINGS"
    await wire.payee.send("POST", path, {"fspId": wire.payee.name})
    assert json_of((await wire.payee.heard("PUT", path)).body)["partyList"][0]["partySubIdOrType"] == "SAVINGS"


async def test_a_party_registered_anew_replaces_what_its_participant_said_before(wire: Wire) -> None:
    path = f"/participants/MSISDN/{_new_msisdn()}"
    await wire.payee.send("POST", path, {"fspId": wire.payee.name, "currency": "USD"})
    await wire.payee.heard("PUT", path)
    assert (await wire.payee.send("PUT", path, {"fspId": wire.payee.name, "currency": "KES"})).status == 200
    await wire.payee.heard("PUT", path, count=2)
    await wire.payer.send("GET", f"{path}?currency=USD")
    assert code((await wire.payer.heard("PUT", f"{path}/error")).body) == "3204"
    await wire.payer.send("GET", f"{path}?currency=KES")
    assert json_of((await wire.payer.heard("PUT", path)).body) == {"fspId": wire.payee.name}


async def test_a_removed_party_is_confirmed_and_no_longer_found(wire: Wire) -> None:
    path = f"/participants/MSISDN/{_new_msisdn()}"
    await wire.payee.send("POST", path, {"fspId": wire.payee.name})
    await wire.payee.heard("PUT", path)
    answer = await wire.payee.send("DELETE", path)
    assert (answer.status, answer.body) == (202, b"")
    assert json_of((await wire.payee.heard("PUT", path, count=2)).body) == {"fspId": wire.payee.name}
    await wire.payer.send("GET", path)
    assert code((await wire.payer.heard("PUT", f"{path}/error")).body) == "3204"


async def test_nobody_removes_what_another_registered(wire: Wire) -> None:
    path = f"/participants/MSISDN/{_new_msisdn()}"
    await wire.payee.send("POST", path, {"fspId": wire.payee.name})
    await wire.payee.heard("PUT", path)
    await wire.other.send("DELETE", path)
    assert code((await wire.other.heard("PUT", f"{path}/error")).body) == "3040"
    await wire.payer.send("GET", path)
    assert json_of((await wire.payer.heard("PUT", path)).body) == {"fspId": wire.payee.name}


async def test_nobody_registers_a_party_for_another(wire: Wire) -> None:
    path = f"/participants/MSISDN/{_new_msisdn()}"
    assert (await wire.other.send("POST", path, {"fspId": wire.payee.name})).status == 202
    assert code((await wire.other.heard("PUT", f"{path}/error")).body) == "3003"


async def test_a_batch_is_answered_party_by_party(wire: Wire) -> None:
    request_id, mine, theirs = _new_id(), _new_msisdn(), _new_msisdn()
    parties = [
        {"partyIdType": "MSISDN", "partyIdentifier": mine, "fspId": wire.payee.name},
        {"partyIdType": "MSISDN", "partyIdentifier": theirs, "fspId": wire.other.name},
    ]
    body = {"requestId": request_id, "partyList": parties, "currency": "USD"}
    answer = await wire.payee.send("POST", "/participants", body)
    # 200, as the reference answers, where the specification has 202.
    assert (answer.status, answer.body) == (200, b"")
    heard = await wire.payee.heard("PUT", f"/participants/{request_id}")
    _is_from_hub(heard, wire.payee, "participants", "1.1")
    told = json_of(heard.body)
    assert told["currency"] == "USD"
    assert [each["partyId"] for each in told["partyList"]] == parties
    assert "errorInformation" not in told["partyList"][0]
    assert told["partyList"][1]["errorInformation"]["errorCode"] == "3204"
    await wire.payer.send("GET", f"/participants/MSISDN/{mine}")
    assert json_of((await wire.payer.heard("PUT", f"/participants/MSISDN/{mine}")).body) == {"fspId": wire.payee.name}
    await wire.payer.send("GET", f"/participants/MSISDN/{theirs}")
    await wire.payer.heard("PUT", f"/participants/MSISDN/{theirs}/error")


async def test_an_error_about_a_party_is_passed_to_its_destination(wire: Wire) -> None:
    path = f"/participants/MSISDN/{_new_msisdn()}/error"
    body = b'{"errorInformation": {"errorDescription":"x","errorCode":"3003"}}'
    headers = _signed(wire.payee, "PUT", "participants", path, wire.payer.name)
    assert (await wire.payee.send("PUT", path, body, headers=headers)).status == 200
    _is_as_sent(await wire.payer.heard("PUT", path), headers, body, wire.payer)


async def test_a_payer_that_can_not_read_the_payees_answer_is_told_the_end_by_the_hub(wire: Wire) -> None:
    """What the payee writes is passed on byte for byte; the end is final all the same, and the payer must learn it."""
    transfer_id = await wire.reserved()
    path = f"/transfers/{transfer_id}"
    wire.payer.answers[path] = 400
    await wire.payee.send("PUT", path, fulfilled("COMMITTED"), wire.payer.name)
    await wire.payer.heard("PUT", path)
    told = await wire.payer.heard("PUT", path, count=2)
    assert told.headers["fspiop-source"] == "Hub"
    assert b'"COMMITTED"' in told.body
