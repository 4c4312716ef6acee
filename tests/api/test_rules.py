"""``/rules/quotes``: the rules in force and before, every fault told, and trying without consequences."""

from __future__ import annotations

import json
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import PAYEE, PAYER, request_quote

from vuka.api.access import needed_role
from vuka.engine.keys import key_floor
from vuka.switch.access import Role
from vuka.switch.journal import Block, Received, subject_of, write

ALWAYS = {"all": [{"fact": "operation", "operator": "isString", "value": True}]}
OF_USD = {"all": [{"fact": "payload", "path": "$.amount.currency", "operator": "equal", "value": "USD"}]}


def refusing(conditions: object = ALWAYS, **more: Any) -> dict[str, Any]:
    params = {"FSPIOPError": "PAYER_ERROR", "message": "not today"}
    return {"conditions": conditions, "event": {"type": "INVALID_QUOTE_REQUEST", "params": params}, **more}


def rerouting(to: str = PAYEE) -> dict[str, Any]:
    return {"conditions": ALWAYS, "event": {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": to}}}


def error(answer: Response) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


@pytest.fixture(autouse=True)
def scheme(bench: SchemeBench) -> None:
    for name in (PAYER, PAYEE):
        bench.onboard(name, "USD", cap="100")
    bench.take_quotes(PAYER, PAYEE)
    bench.take_notices()


# --- the rules in force -----------------------------------------------------------------------------------------


def test_a_new_hub_has_no_rules(client: TestClient) -> None:
    answer = client.get("/rules/quotes")
    assert answer.status_code == 200
    assert answer.json() == {"version": None, "createdDate": None, "createdBy": None, "rules": []}


def test_rules_are_stored_and_shown_as_they_were_written(client: TestClient) -> None:
    written = json.dumps([refusing(name="caf\u00e9")], indent=2)
    answer = client.put("/rules/quotes", content=written)
    assert answer.status_code == 200
    assert answer.json()["rules"] == json.loads(written)
    assert answer.json()["createdBy"] == "operator"
    assert written.encode() in client.get("/rules/quotes").content


def test_rules_hold_from_then_on(client: TestClient, bench: SchemeBench) -> None:
    client.put("/rules/quotes", json=[refusing()])
    bench.accept(request_quote(bench))
    assert [notice.to for notice in bench.take_notices()] == [PAYER]


def test_the_history_has_every_version_the_newest_first(client: TestClient, bench: SchemeBench) -> None:
    client.put("/rules/quotes", json=[refusing()])
    bench.advance(60_000)
    client.put("/rules/quotes", json=[])
    shown = client.get("/rules/quotes/history").json()
    assert [(each["version"], each["isActive"], len(each["rules"])) for each in shown] == [(2, True, 0), (1, False, 1)]
    assert [each["createdDate"] for each in shown] == ["2023-11-14T22:14:20.000Z", "2023-11-14T22:13:20.000Z"]


# --- what is refused --------------------------------------------------------------------------------------------


def test_every_fault_is_told_with_its_rule_and_place(client: TestClient) -> None:
    wrong = {"conditions": {"all": [{"fact": "payer", "operator": "equals", "value": 1}]}, "event": {"type": "X"}}
    answer = client.put("/rules/quotes", json=[refusing(), {**wrong, "name": "odd"}])
    status, code, description = error(answer)
    assert (status, code) == (400, "3100")
    assert description.startswith("Generic validation error - rule 2 (odd), conditions.all[0].operator: 'equals' is no")
    assert [(each["rule"], each["name"], each["path"]) for each in answer.json()["faults"]] == [
        (2, "odd", "conditions.all[0].operator"),
        (2, "odd", "event.type"),
    ]


def test_faulty_rules_change_nothing(client: TestClient) -> None:
    client.put("/rules/quotes", json=[refusing()])
    assert client.put("/rules/quotes", json=[refusing(), {}]).status_code == 400
    assert client.get("/rules/quotes").json()["version"] == 1


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe", b'"rules"', b"[" * 50_000])
def test_what_is_no_list_of_rules_is_refused(client: TestClient, content: bytes) -> None:
    assert error(client.put("/rules/quotes", content=content))[:2] == (400, "3100")


def test_too_large_a_set_is_refused(client: TestClient) -> None:
    assert error(client.put("/rules/quotes", content=b"[" + b" " * 300_000 + b"]"))[:2] == (413, "3104")


def test_rules_that_reroute_to_nobody_are_refused(client: TestClient) -> None:
    status, code, description = error(client.put("/rules/quotes", json=[rerouting("nobody")]))
    assert (status, code) == (400, "3000")
    assert "nobody, which the scheme does not have" in description


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_rules_are_only_put(client: TestClient, method: str) -> None:
    assert error(client.request(method, "/rules/quotes"))[:2] == (405, "3000")


@pytest.mark.parametrize(
    ("path", "method", "role"),
    [
        ("/rules/quotes", "GET", Role.READ),
        ("/rules/quotes", "PUT", Role.OPERATE),
        ("/rules/quotes/history", "GET", Role.READ),
        ("/rules/quotes/try", "POST", Role.READ),
    ],
)
def test_a_role_is_needed(path: str, method: str, role: Role) -> None:
    assert needed_role(path, method) is role


# --- trying -----------------------------------------------------------------------------------------------------


@pytest.fixture
def past(bench: SchemeBench) -> list[str]:
    """Three past requests a minute apart, the oldest first: two quotes in USD and EUR, and a conversion."""
    rows = []
    for number, (resource, currency) in enumerate((("quotes", "USD"), ("quotes", "EUR"), ("fxQuotes", "USD"))):
        at_ms = bench.now_ms + number * 60_000
        body = json.dumps({"amount": {"currency": currency}}).encode()
        rows.append((key_floor(at_ms), at_ms, resource, f"q-{number}", body))
    headers = (("FSPIOP-Source", "payerfsp"),)
    with bench.work() as work:
        for key, at_ms, resource, about, body in rows:
            message = Received(key, at_ms, PAYER, PAYEE, "POST", "/", resource, about, headers, body, "accepted")
            write(work.tx, key, Block([message], [], [], [subject_of(about)]), node=0, settled=key)
    return [about for _, _, _, about, _ in rows]


def test_rules_are_tried_on_past_requests_and_change_nothing(
    client: TestClient, bench: SchemeBench, past: list[str]
) -> None:
    answer = client.post("/rules/quotes/try", json={"rules": [refusing(OF_USD, name="no dollars")]})
    assert answer.status_code == 200
    tried = answer.json()
    assert (tried["tried"], tried["decided"]) == (3, 2)
    assert tried["rules"] == [{"rule": 1, "name": "no dollars", "type": "INVALID_QUOTE_REQUEST", "held": 2}]
    assert [(each["id"], each["decision"]["action"]) for each in tried["quotes"]] == [
        ("q-2", "refuse"),
        ("q-1", "forward"),
        ("q-0", "refuse"),
    ]
    assert client.get("/rules/quotes").json()["version"] is None
    assert bench.take_notices() == []


def test_a_trial_tells_the_quote_what_became_of_it_and_what_would_have(client: TestClient, past: list[str]) -> None:
    answer = client.post("/rules/quotes/try", json={"rules": [refusing(OF_USD), rerouting()], "ids": ["q-0"]})
    assert answer.json()["quotes"] == [
        {
            "id": "q-0",
            "operation": "quoteRequest",
            "source": PAYER,
            "destination": PAYEE,
            "receivedDate": "2023-11-14T22:13:20.000Z",
            "outcome": "accepted",
            "held": [
                {"rule": 1, "name": None, "type": "INVALID_QUOTE_REQUEST"},
                {"rule": 2, "name": None, "type": "INTERCEPT_QUOTE"},
            ],
            "decision": {
                "action": "refuse",
                "errorCode": "4000",
                "errorDescription": "Generic Payer error - not today",
            },
        }
    ]


def test_a_trial_tells_who_would_have_been_asked(client: TestClient, past: list[str]) -> None:
    answer = client.post("/rules/quotes/try", json={"rules": [rerouting()], "limit": 1})
    (quote,) = answer.json()["quotes"]
    assert quote["decision"] == {"action": "reroute", "to": PAYEE, "additionalHeaders": {}}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"limit": 2}, ["q-2", "q-1"]),
        ({"since": "2023-11-14T22:14:20.000Z"}, ["q-2", "q-1"]),
        ({"since": "2030-01-01T00:00:00.000Z"}, []),
        ({"since": "9999-12-31T23:59:59.999Z"}, []),
        ({"since": "1000-01-01T00:00:00.000Z"}, ["q-2", "q-1", "q-0"]),
        ({"ids": ["q-1", "q-9"]}, ["q-1"]),
        ({"ids": ["q-9"]}, []),
    ],
)
def test_past_requests_are_chosen(client: TestClient, past: list[str], asked: dict[str, Any], found: list[str]) -> None:
    answer = client.post("/rules/quotes/try", json={"rules": [], **asked})
    assert [each["id"] for each in answer.json()["quotes"]] == found


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "3100"),
        ({"rules": [], "limit": 0}, "3100"),
        ({"rules": [], "limit": 1001}, "3100"),
        ({"rules": [], "limits": 1}, "3100"),
        ({"rules": [], "ids": []}, "3100"),
        ({"rules": [], "since": "yesterday"}, "3101"),
        ({"rules": {}}, "3100"),
        ({"rules": [{}]}, "3100"),
    ],
)
def test_what_cannot_be_tried_is_refused(client: TestClient, body: dict[str, Any], code: str) -> None:
    assert error(client.post("/rules/quotes/try", json=body))[:2] == (400, code)


def test_what_is_no_json_cannot_be_tried(client: TestClient) -> None:
    assert error(client.post("/rules/quotes/try", content=b"{"))[:2] == (400, "3101")
