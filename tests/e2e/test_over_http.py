"""The participants' API over real sockets: what passes untouched, what the hub says itself, and every refusal."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.e2e.rig import Recorder, Rig, answer, encode, error_of, running, transfer

from vuka.config import Courier, Engine, Scheme
from vuka.fspiop.versions import Version
from vuka.sim.onboard import Terms
from vuka.sim.server import Answer
from vuka.sim.unquoted import FULFILMENT

TYPE = "application/vnd.interoperability.transfers+json"
SIGNATURE = '{"signature":"c2ln","protectedHeader":"e30"}'


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    scheme = Scheme(routed_deadline_seconds=1)
    courier = Courier(retry_first_ms=20, timeout_ms=2_000)
    async with running(tmp_path, scheme=scheme, courier=courier, engine=Engine(timer_ms=50)) as made:
        await made.join("payerfsp")
        await made.join("payeefsp")
        yield made


@pytest.fixture
def payer(rig: Rig) -> Recorder:
    return rig.participants["payerfsp"]


@pytest.fixture
def payee(rig: Rig) -> Recorder:
    return rig.participants["payeefsp"]


async def prepared(rig: Rig, version: Version = Version.V1_1, **wanted: object) -> str:
    body = transfer("payerfsp", "payeefsp", **wanted)  # type: ignore[arg-type]
    sent = await rig.send(
        "POST",
        "/transfers",
        "payerfsp",
        destination="payeefsp",
        body=encode(body),
        version=version,
        headers={"Accept": f"{TYPE};version={version}"},
    )
    assert (sent.status, sent.body) == (202, b"")
    await rig.participants["payeefsp"].one("POST", "/transfers")
    return str(body["transferId"])


# --- what passes untouched --------------------------------------------------------------------------------------


async def test_a_prepare_reaches_the_payee_byte_for_byte_with_its_signature_and_date(rig: Rig, payee: Recorder) -> None:
    body = encode(
        {**transfer("payerfsp", "payeefsp"), "extensionList": {"extension": [{"key": "k", "value": "ကောင်း"}]}}
    )
    sent = await rig.send(
        "POST",
        "/transfers",
        "payerfsp",
        destination="payeefsp",
        body=body,
        headers={
            "FSPIOP-Signature": SIGNATURE,
            "Date": "Tue, 24 Nov 2026 00:00:01 GMT",
            "Authorization": "Bearer secret",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    assert sent.status == 202
    got = await payee.one("POST", "/transfers")
    assert got.body == body
    assert got.headers["fspiop-signature"] == SIGNATURE
    assert got.headers["date"] == "Tue, 24 Nov 2026 00:00:01 GMT"
    assert got.headers["content-type"] == "application/vnd.interoperability.transfers+json;version=1.1"
    assert got.headers["fspiop-source"] == "payerfsp"
    assert got.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    assert "authorization" not in got.headers
    assert got.headers["host"] == payee.server.url.removeprefix("http://")


async def test_what_lets_one_speak_for_a_participant_is_not_written_down(rig: Rig, payee: Recorder) -> None:
    body = encode(transfer("payerfsp", "payeefsp"))
    await rig.send("POST", "/transfers", "payerfsp", body=body, headers={"Authorization": "Bearer secret"})
    await payee.one("POST", "/transfers")
    rows = rig.hub.read(lambda tx, _ledger, _directory: tx.query("SELECT headers FROM message"))
    assert rows
    assert not any("secret" in headers for (headers,) in rows)


async def test_committed_reaches_the_payer_as_the_payee_wrote_it_and_is_confirmed(
    rig: Rig, payer: Recorder, payee: Recorder
) -> None:
    transfer_id = await prepared(rig, Version.V1_0)
    path = f"/transfers/{transfer_id}"
    body = encode(answer("COMMITTED"))
    headers = {"FSPIOP-Signature": SIGNATURE}
    sent = await rig.send(
        "PUT", path, "payeefsp", destination="payerfsp", body=body, version=Version.V1_0, headers=headers
    )
    assert (sent.status, sent.body) == (200, b"")
    got = await payer.one("PUT", path)
    assert (got.body, got.headers["fspiop-source"]) == (body, "payeefsp")
    assert got.headers["fspiop-signature"] == SIGNATURE
    assert "accept" not in got.headers
    confirmed = await payee.one("PUT", path)
    assert confirmed.headers["fspiop-source"] == "Hub"
    assert json.loads(confirmed.body)["transferState"] == "COMMITTED"
    assert await rig.position("payerfsp") == 10
    assert await rig.position("payeefsp") == -10


# --- what the hub says itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payer_version", "payee_version"),
    [(Version.V1_0, Version.V1_1), (Version.V1_1, Version.V2_0), (Version.V2_0, Version.V1_1)],
    ids=["1.0-1.1", "1.1-2.0", "2.0-1.1"],
)
async def test_reserved_is_told_by_the_hub_to_each_in_its_own_version(
    rig: Rig, payer: Recorder, payee: Recorder, payer_version: Version, payee_version: Version
) -> None:
    transfer_id = await prepared(rig, payer_version)
    path = f"/transfers/{transfer_id}"
    body = encode(answer("RESERVED"))
    await rig.send("PUT", path, "payeefsp", destination="payerfsp", body=body, version=payee_version)
    result = await payer.one("PUT", path)
    assert result.headers["fspiop-source"] == "Hub"
    assert result.headers["fspiop-destination"] == "payerfsp"
    assert result.headers["fspiop-uri"] == path
    assert result.headers["content-type"].endswith(f"version={payer_version}")
    told = json.loads(result.body)
    assert (told["transferState"], told["fulfilment"]) == ("COMMITTED", FULFILMENT)
    patch = await payee.one("PATCH", path)
    assert patch.headers["content-type"].endswith(f"version={payee_version}")
    assert json.loads(patch.body).keys() == {"completedTimestamp", "transferState"}
    assert json.loads(patch.body)["transferState"] == "COMMITTED"


async def test_a_transfer_that_expires_is_final_within_about_a_second_and_both_are_told(
    rig: Rig, payer: Recorder, payee: Recorder
) -> None:
    transfer_id = await prepared(rig, seconds=0.4)
    assert await rig.position("payerfsp") == 10
    for party in (payer, payee):
        got = await party.one("PUT", f"/transfers/{transfer_id}/error")
        assert json.loads(got.body)["errorInformation"]["errorCode"] == "3303"
    shown = await rig.operator.do("GET", f"/transfers/{transfer_id}")
    assert shown["internalState"] == "EXPIRED_RESERVED"
    assert await rig.position("payerfsp") == 0


async def test_each_party_may_ask_how_a_transfer_stands_and_nobody_else(
    rig: Rig, payer: Recorder, payee: Recorder
) -> None:
    other = await rig.join("otherfsp")
    transfer_id = await prepared(rig)
    path = f"/transfers/{transfer_id}"
    for party in (payer, payee):
        assert (await rig.send("GET", path, party.name)).status == 202
        assert json.loads((await party.one("PUT", path)).body)["transferState"] == "RESERVED"
    assert (await rig.send("GET", path, "otherfsp")).status == 202
    refused = await other.one("PUT", f"{path}/error")
    assert json.loads(refused.body)["errorInformation"]["errorCode"] == "3000"


async def test_an_endpoint_may_be_any_template(rig: Rig, payee: Recorder) -> None:
    value = payee.server.url + "/deep/down?kind=transfer&id={{transferId}}"
    await rig.set_endpoint("payeefsp", "FSPIOP_CALLBACK_URL_TRANSFER_PUT", value)
    transfer_id = await prepared(rig)
    path = f"/transfers/{transfer_id}"
    await rig.send("PUT", path, "payeefsp", destination="payerfsp", body=encode(answer("RESERVED")))
    await payee.one("PATCH", f"/deep/down?kind=transfer&id={transfer_id}")


async def test_two_participants_behind_one_address_do_not_delay_each_other(rig: Rig, payee: Recorder) -> None:
    """One hangs; the other, behind the same host and port, is served at once."""
    await rig.operator.add_participant("hanging", payee.server.url + "/hanging", {"USD": Terms(10_000, 0)})
    payee.answer = lambda inquiry: None if inquiry.path.startswith("/hanging") else Answer(202)
    for _ in range(60):
        body = encode(transfer("payerfsp", "hanging", amount="1"))
        assert (await rig.send("POST", "/transfers", "payerfsp", destination="hanging", body=body)).status == 202
    await payee.one("POST", "/hanging/transfers")
    async with asyncio.timeout(1.0):
        await prepared(rig)


# --- lookup -----------------------------------------------------------------------------------------------------


async def registered(rig: Rig, owner: Recorder, path: str) -> None:
    body = encode({"fspId": owner.name, "currency": "USD"})
    assert (await rig.send("POST", f"/participants/{path}", owner.name, body=body)).status == 202
    confirmed = await owner.one("PUT", f"/participants/{path}")
    assert json.loads(confirmed.body)["partyList"][0]["fspId"] == owner.name


async def test_a_lookup_goes_to_every_participant_that_serves_the_party(
    rig: Rig, payer: Recorder, payee: Recorder
) -> None:
    other = await rig.join("otherfsp")
    for owner in (payee, other):
        await registered(rig, owner, "MSISDN/123")
    assert (await rig.send("GET", "/parties/MSISDN/123", "payerfsp")).status == 202
    for owner in (payee, other):
        got = await owner.one("GET", "/parties/MSISDN/123")
        assert got.headers["fspiop-destination"] == owner.name
    party = encode({"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "123"}, "name": "ကောင်း"}})
    await rig.send("PUT", "/parties/MSISDN/123", "payeefsp", destination="payerfsp", body=party)
    assert (await payer.one("PUT", "/parties/MSISDN/123")).body == party


async def test_a_sub_identifier_is_another_party(rig: Rig, payer: Recorder, payee: Recorder) -> None:
    await registered(rig, payee, "BUSINESS/shop%2F1/TILL-4")
    await rig.send("GET", "/parties/BUSINESS/shop%2F1/TILL-4", "payerfsp")
    await payee.one("GET", "/parties/BUSINESS/shop%2F1/TILL-4")
    await rig.send("GET", "/parties/BUSINESS/shop%2F1", "payerfsp")
    unknown = await payer.one("PUT", "/parties/BUSINESS/shop%2F1/error")
    assert json.loads(unknown.body)["errorInformation"]["errorCode"] == "3204"


async def test_a_party_that_nobody_serves_any_more_is_not_found(rig: Rig, payer: Recorder, payee: Recorder) -> None:
    await registered(rig, payee, "MSISDN/5")
    payee.got.clear()
    await rig.send("DELETE", "/participants/MSISDN/5", "payeefsp")
    assert json.loads((await payee.one("PUT", "/participants/MSISDN/5")).body) == {"fspId": "payeefsp"}
    await rig.send("GET", "/participants/MSISDN/5", "payerfsp")
    unknown = await payer.one("PUT", "/participants/MSISDN/5/error")
    assert json.loads(unknown.body)["errorInformation"]["errorCode"] == "3204"


async def test_a_batch_registers_ones_own_parties_and_refuses_the_others_one_by_one(rig: Rig, payee: Recorder) -> None:
    request_id = str(uuid.uuid4())
    parties = [
        {"partyIdType": "MSISDN", "partyIdentifier": "71", "fspId": "payeefsp"},
        {"partyIdType": "MSISDN", "partyIdentifier": "72", "fspId": "payerfsp"},
    ]
    body = encode({"requestId": request_id, "partyList": parties, "currency": "USD"})
    assert (await rig.send("POST", "/participants", "payeefsp", body=body)).status == 200
    results = json.loads((await payee.one("PUT", f"/participants/{request_id}")).body)["partyList"]
    assert [each.get("errorInformation", {}).get("errorCode") for each in results] == [None, "3204"]


async def test_a_lookup_that_can_not_be_delivered_is_told_its_requester(
    rig: Rig, payer: Recorder, payee: Recorder
) -> None:
    await registered(rig, payee, "MSISDN/9")
    await payee.server.stop()
    await rig.send("GET", "/parties/MSISDN/9", "payerfsp")
    told = await payer.one("PUT", "/parties/MSISDN/9/error")
    assert json.loads(told.body)["errorInformation"]["errorCode"] == "1001"
    (parked,) = await rig.operator.do("GET", "/messages/parked?participant=payeefsp")
    assert (parked["method"], parked["path"]) == ("GET", "/parties/MSISDN/9")


async def test_a_malformed_party_is_told_by_callback(rig: Rig, payer: Recorder) -> None:
    assert (await rig.send("GET", "/parties/MSISDN/not-a-number", "payerfsp")).status == 202
    told = await payer.one("PUT", "/parties/MSISDN/not-a-number/error")
    assert json.loads(told.body)["errorInformation"]["errorCode"] == "3101"


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "code", "text"),
    [
        ({"Accept": None}, 400, "3102", "Accept"),
        ({"Accept": f"{TYPE};version=9"}, 406, "3001", "The Client requested an unsupported version"),
        ({"Content-Type": f"{TYPE};version=9.0"}, 406, "3001", "Client supplied a protocol version which is not"),
        ({"Content-Type": "application/json"}, 400, "3101", ""),
        ({"Content-Type": None}, 400, "3102", ""),
        ({"Date": None}, 400, "3102", ""),
        ({"Date": "yesterday"}, 400, "3101", ""),
        ({"FSPIOP-Source": None}, 400, "3102", "fspiop-source"),
        ({"FSPIOP-Source": "nobody"}, 400, "3101", "invalid fspiop-source header"),
        ({"x-client-id": "otherfsp"}, 400, "3100", ""),
    ],
)
async def test_headers_are_refused_with_the_references_codes(
    rig: Rig, headers: dict[str, str | None], status: int, code: str, text: str
) -> None:
    body = encode(transfer("payerfsp", "payeefsp"))
    refused = error_of(await rig.send("POST", "/transfers", "payerfsp", body=body, headers=headers))
    assert refused[:2] == (status, code)
    assert text in refused[2]


async def test_an_unsupported_version_is_answered_with_those_that_are(rig: Rig) -> None:
    answered = await rig.send("GET", f"/transfers/{uuid.uuid4()}", "payerfsp", headers={"Accept": f"{TYPE};version=9"})
    extensions = json.loads(answered.body)["errorInformation"]["extensionList"]["extension"]
    assert {(each["key"], each["value"]) for each in extensions} == {("1", "0"), ("1", "1"), ("2", "0")}


async def test_an_accept_without_a_version_is_answered_in_the_highest(rig: Rig, payer: Recorder) -> None:
    unknown = str(uuid.uuid4())
    await rig.send("GET", f"/transfers/{unknown}", "payerfsp", headers={"Accept": TYPE})
    told = await payer.one("PUT", f"/transfers/{unknown}/error")
    assert told.headers["content-type"].endswith("version=2.0")
    assert json.loads(told.body)["errorInformation"]["errorCode"] == "3208"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amount": {"amount": "1.00", "currency": "USD"}}, "3100", "amount"),
        ({"amount": {"amount": "1", "currency": "XXZ"}}, "3100", "currency"),
        ({"transferId": "not-an-id"}, "3100", "transferId"),
        ({"expiration": "tomorrow"}, "3100", "expiration"),
        ({"condition": "short"}, "3100", "condition"),
        ({"payeeFsp": 7}, "3101", "payeeFsp"),
        ({"ilpPacket": None}, "3101", "ilpPacket"),
    ],
)
async def test_a_body_is_refused_naming_the_field(rig: Rig, change: dict[str, object], code: str, field: str) -> None:
    body = encode({**transfer("payerfsp", "payeefsp"), **change})
    refused = error_of(await rig.send("POST", "/transfers", "payerfsp", body=body))
    assert refused[:2] == (400, code)
    assert field in refused[2]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"transferId":1,"transferId":1}', b"[" * 100_000])
async def test_what_is_no_transfer_at_all_is_refused(rig: Rig, body: bytes) -> None:
    refused = await rig.send("POST", "/transfers", "payerfsp", body=body)
    assert refused.status == 400


async def test_an_unknown_element_is_refused_in_2_0_and_passed_on_before(rig: Rig, payee: Recorder) -> None:
    body = encode({**transfer("payerfsp", "payeefsp"), "extra": 1})
    refused = error_of(await rig.send("POST", "/transfers", "payerfsp", body=body, version=Version.V2_0))
    assert refused[:2] == (400, "3103")
    assert (await rig.send("POST", "/transfers", "payerfsp", body=body)).status == 202
    assert (await payee.one("POST", "/transfers")).body == body


async def test_a_body_that_is_too_large_is_refused(rig: Rig) -> None:
    refused = error_of(await rig.send("POST", "/transfers", "payerfsp", body=b"x" * 5_300_000))
    assert refused[:2] == (400, "3104")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "3002"),
        ("PUT", "/transfers/", 404, "3002"),
        ("DELETE", "/transfers", 405, "3000"),
        ("PATCH", "/transfers/b51ec534-ee48-4575-b6a9-ead2955b8069", 501, "2002"),
        ("GET", "/transfers/none", 400, "3100"),
        ("GET", "/parties/MSISDN/%FF", 400, "3101"),
    ],
)
async def test_paths_and_methods_are_refused_with_the_references_codes(
    rig: Rig, method: str, path: str, status: int, code: str
) -> None:
    body = b"{}" if method in ("PUT", "PATCH") else None
    refused = await rig.send(method, path, "payerfsp", body=body)
    assert error_of(refused)[:2] == (status, code)
    if status == 405:
        assert refused.headers["allow"] == "POST"


@pytest.mark.parametrize("offset_ms", [60_000, -301_000], ids=["ahead", "too old"])
async def test_a_completed_timestamp_must_be_of_now(rig: Rig, offset_ms: int) -> None:
    from vuka.fspiop.times import format_datetime_ms
    from vuka.sim.participant import now_ms

    transfer_id = await prepared(rig)
    body = encode({**answer("RESERVED"), "completedTimestamp": format_datetime_ms(now_ms() + offset_ms)})
    refused = error_of(await rig.send("PUT", f"/transfers/{transfer_id}", "payeefsp", body=body))
    assert refused[:2] == (400, "3100")
    assert (await rig.operator.do("GET", f"/transfers/{transfer_id}"))["transferState"] == "RESERVED"


async def test_a_quote_callback_with_an_accept_header_is_refused(rig: Rig) -> None:
    headers = {"Accept": "application/vnd.interoperability.quotes+json;version=1.1"}
    refused = await rig.send("PUT", f"/quotes/{uuid.uuid4()}", "payeefsp", body=b"{}", headers=headers)
    assert error_of(refused)[:2] == (400, "3100")


# --- stopping and starting --------------------------------------------------------------------------------------


async def test_a_restart_delivers_what_was_owed_and_expires_what_is_past(tmp_path: Path) -> None:
    courier = Courier(retry_first_ms=20)
    async with running(tmp_path, courier=courier, engine=Engine(timer_ms=50, drain_seconds=1)) as rig:
        await rig.join("payerfsp")
        payee = await rig.join("payeefsp")
        payee.answer = lambda _inquiry: Answer(503)
        kept = transfer("payerfsp", "payeefsp")
        short = transfer("payerfsp", "payeefsp", seconds=0.3)
        for body in (kept, short):
            await rig.send("POST", "/transfers", "payerfsp", destination="payeefsp", body=encode(body))
        await payee.one("POST", "/transfers")
    await asyncio.sleep(0.3)  # the shorter one passes its expiration while no hub runs
    async with running(tmp_path, courier=courier, engine=Engine(timer_ms=50)) as rig:
        recorders = {name: Recorder(name) for name in ("payerfsp", "payeefsp")}
        for name, recorder in recorders.items():
            await recorder.server.start()
            rig.participants[name] = recorder
            await rig.operator.add_participant(name, recorder.server.url, {})
        delivered = await recorders["payeefsp"].one("POST", "/transfers")
        assert delivered.body == encode(kept)
        expired = await recorders["payerfsp"].one("PUT", f"/transfers/{short['transferId']}/error")
        assert json.loads(expired.body)["errorInformation"]["errorCode"] == "3303"
        assert await rig.position("payerfsp") == 10


async def test_a_parked_message_can_be_sent_again(rig: Rig, payer: Recorder, payee: Recorder) -> None:
    payer.answer = lambda inquiry: Answer(400, b"no") if inquiry.method == "PUT" else Answer(202)
    transfer_id = await prepared(rig)
    path = f"/transfers/{transfer_id}"
    await rig.send("PUT", path, "payeefsp", destination="payerfsp", body=encode(answer("RESERVED")))
    await payer.one("PUT", path)
    await payee.one("PATCH", path)
    parked: list[dict[str, object]] = []
    async with asyncio.timeout(5):
        while not parked:
            parked = await rig.operator.do("GET", "/messages/parked?participant=payerfsp")
    assert (parked[0]["path"], parked[0]["error"]) == (path, "HTTP 400 no")
    payer.answer = lambda _inquiry: Answer(200)
    payer.got.clear()
    status, _ = await rig.operator.call("POST", f"/messages/{parked[0]['messageId']}/resend")
    assert status == 202
    assert json.loads((await payer.one("PUT", path)).body)["transferState"] == "COMMITTED"
