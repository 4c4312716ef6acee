"""What is logged of a request: who, what, which error, in which trace; and nothing that was in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.e2e.rig import Rig, encode, running, transfer

from vuka.api import observed
from vuka.api.request import trace_of
from vuka.config import Engine
from vuka.fspiop.headers import Headers
from vuka.httpclient import Request

PAYER, PAYEE = "payerfsp", "payeefsp"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CONTEXT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "a=1", "baggage": "b=2;c"}
PHONE = "254711000001"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, engine=Engine(drain_seconds=1)) as rig:
        await rig.join(PAYER)
        await rig.join(PAYEE)
        yield rig


def only(lines: list[Any], event: str) -> dict[str, Any]:
    """The one line of that event, without how long it took."""
    (line,) = [each for each in lines if each["event"] == event]
    assert line.pop("ms") >= 0
    found: dict[str, Any] = line
    return found


async def test_a_refused_request_is_a_line_with_who_what_and_which_error(rig: Rig) -> None:
    body = {**transfer(PAYER, PAYEE), "condition": "too short"}
    with capture_logs() as lines:
        answer = await rig.send(
            "POST", "/transfers", PAYER, destination=PAYEE, body=encode(body), headers=dict(CONTEXT)
        )
    assert answer.status == 400
    assert only(lines, "a request is refused") == {
        "log_level": "info",
        "event": "a request is refused",
        "api": "participants",
        "method": "POST",
        "resource": "transfers",
        "id": body["transferId"],
        "participant": PAYER,
        "status": 400,
        "code": json.loads(answer.body)["errorInformation"]["errorCode"],
        "trace_id": TRACE,
    }


async def test_one_who_is_refused_before_anybody_knows_who_it_is_is_a_line_too(rig: Rig) -> None:
    with capture_logs() as lines:
        await rig.send("GET", f"/parties/MSISDN/{PHONE}", "stranger", headers=dict(CONTEXT))
    line = only(lines, "a request is refused")
    assert (line["code"], line["resource"], line["trace_id"]) == ("3101", "parties", TRACE)
    assert "participant" not in line
    assert PHONE not in str(lines)


async def test_an_answered_request_is_a_line_for_those_who_want_every_one(rig: Rig) -> None:
    body = transfer(PAYER, PAYEE)
    with capture_logs() as lines:
        await rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=encode(body))
    line = only(lines, "a request is answered")
    assert (line["log_level"], line["status"], line["id"]) == ("debug", 202, body["transferId"])


async def test_no_line_names_a_person(rig: Rig) -> None:
    quote = {"quoteId": "no", "payer": {"personalInfo": {"complexName": {"lastName": "Kamau"}}, "partyId": PHONE}}
    with capture_logs() as lines:
        await rig.send("GET", f"/parties/MSISDN/{PHONE}", PAYER)
        await rig.send("PUT", f"/parties/MSISDN/{PHONE}", PAYEE, destination=PAYER, body=encode({"party": PHONE}))
        await rig.send("POST", "/quotes", PAYER, destination=PAYEE, body=encode(quote))
        url = f"{rig.addresses.operators_url}/oracle/parties?partyIdType=MSISDN&partyIdentifier={PHONE}x"
        await rig.client.send(Request("GET", url))
    assert len(lines) >= 4
    assert [line for line in lines if PHONE in str(line) or "Kamau" in str(line)] == []


async def test_no_line_has_a_secret(rig: Rig) -> None:
    secret = "vuka_" + "s" * 43
    with capture_logs() as lines:
        for headers in ({"Authorization": f"Bearer {secret}"}, {"X-Api-Key": secret}):
            await rig.send("GET", "/nothing", PAYER, headers=dict(headers))
            url = f"{rig.addresses.operators_url}/nothing"
            await rig.client.send(Request("GET", url, list(headers.items())))
    assert len(lines) >= 4
    assert secret not in str(lines)


async def test_a_malformed_traceparent_is_passed_on_as_it_came_and_not_logged(rig: Rig) -> None:
    body = transfer(PAYER, PAYEE)
    with capture_logs() as lines:
        headers: dict[str, str | None] = {"traceparent": "zz-forged", "baggage": "b=2"}
        await rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=encode(body), headers=headers)
        got = await rig.participants[PAYEE].one("POST", "/transfers")
    assert (got.headers["traceparent"], got.headers["baggage"]) == ("zz-forged", "b=2")
    assert only(lines, "a request is answered")["trace_id"] is None


async def test_a_callback_of_the_hubs_own_carries_the_trace_context_of_the_request(rig: Rig) -> None:
    body = transfer(PAYER, "nobody")
    headers: dict[str, str | None] = dict(CONTEXT)
    await rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=encode(body), headers=headers)
    got = await rig.participants[PAYER].one("PUT", f"/transfers/{body['transferId']}/error")
    assert {name: got.headers.get(name) for name in CONTEXT} == CONTEXT


def test_a_trace_context_in_several_headers_is_passed_on_whole() -> None:
    headers = Headers(
        [("TraceState", "a=1"), ("date", "x"), ("tracestate", ""), ("tracestate", "b=2"), ("baggage", "")]
    )
    assert trace_of(headers) == (("tracestate", "a=1,b=2"),)
    assert trace_of(Headers([("date", "x")])) == ()


async def test_the_hub_begins_no_trace_where_there_is_none(rig: Rig) -> None:
    forwarded, refused = transfer(PAYER, PAYEE), transfer(PAYER, "nobody")
    for body in (forwarded, refused):
        await rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=encode(body))
    told = await rig.participants[PAYER].one("PUT", f"/transfers/{refused['transferId']}/error")
    passed_on = await rig.participants[PAYEE].one("POST", "/transfers")
    assert not {"traceparent", "tracestate", "baggage"} & {*told.headers, *passed_on.headers}


async def test_those_that_a_busy_hub_refuses_are_one_line_a_second_and_counted_one_by_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.hub.engine, "has_room", lambda *, is_question: not is_question)
    monkeypatch.setattr(observed, "BUSY_LINES_SECONDS", 3_600.0)
    with capture_logs() as lines:
        for _ in range(5):
            answer = await rig.send("POST", "/transfers", PAYER, body=encode(transfer(PAYER, PAYEE)))
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert [each["event"] for each in lines] == ["requests are refused: there are too many"]
    counted = await rig.client.send(Request("GET", rig.addresses.operators_url + "/metrics"))
    assert b'vuka_error_answers_total{api="participants",code="2005"} 5.0' in counted.body
