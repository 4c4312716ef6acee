"""The operators' API: every route's success, its documented errors, and the shapes that the reference gives them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench, new_transfer_id

from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.ids import HUB

START = "2023-11-14T22:13:20.000Z"


def error(answer: Response) -> tuple[int, str, str]:
    """Status, code and description of an error answer, whose shape is checked on the way."""
    body = answer.json()
    assert list(body) == ["errorInformation"], body
    information = body["errorInformation"]
    assert answer.headers["content-type"] == "application/json"
    assert len(information["errorDescription"]) <= 128
    return answer.status_code, information["errorCode"], information["errorDescription"]


def exact(answer: Response) -> str:
    """The body as it was written: numbers digit by digit."""
    assert answer.status_code == 200
    return answer.text


@pytest.fixture
def dfsp(bench: SchemeBench) -> str:
    """payerfsp: a cap of 1,000 USD, 500.25 USD at the bank."""
    bench.onboard("payerfsp", "USD", cap="1000", funds="500.25")
    return "payerfsp"


@pytest.fixture
def settlement(bench: SchemeBench, dfsp: str) -> str:
    """The path of payerfsp's SETTLEMENT account."""
    return f"/participants/{dfsp}/accounts/{bench.account_id(dfsp, 'USD', 'SETTLEMENT')}"


def movement(**changes: Any) -> dict[str, Any]:
    """The body that records funds in of 100 USD."""
    return {
        "transferId": new_transfer_id()[1],
        "externalReference": "bank-1",
        "action": "recordFundsIn",
        "reason": "deposit",
        "amount": {"amount": 100, "currency": "USD"},
        **changes,
    }


# --- health and enums -------------------------------------------------------------------------------------------


def test_a_healthy_hub_says_ok(client: TestClient, bench: SchemeBench) -> None:
    bench.advance(90_000)
    answer = client.get("/health")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["uptime"], body["startTime"]) == ("OK", 90, START)
    assert body["services"] == [{"name": "datastore", "status": "OK"}, {"name": "broker", "status": "OK"}]


def test_a_hub_with_a_part_down_says_502(client: TestClient, hub: Any) -> None:
    hub.works["datastore"] = False
    answer = client.get("/health")
    assert answer.status_code == 502
    assert answer.json()["status"] == "DOWN"
    assert {"name": "datastore", "status": "DOWN"} in answer.json()["services"]


def test_enums_number_names_as_the_reference_does(client: TestClient) -> None:
    body = client.get("/enums").json()
    assert body["hubParticipant"]["participantId"] == 1
    assert body["ledgerAccountType"]["POSITION"] == 1
    assert body["ledgerAccountType"]["SETTLEMENT"] == 2
    assert body["endpointType"]["FSPIOP_CALLBACK_URL_TRANSFER_POST"] == 3
    assert body["transferStateEnum"]["EXPIRED_RESERVED"] == "ABORTED"
    assert body["participantLimitType"] == {"NET_DEBIT_CAP": 1}


# --- participants -----------------------------------------------------------------------------------------------


def test_a_participant_is_created(client: TestClient) -> None:
    answer = client.post("/participants", json={"name": "payerfsp", "currency": "USD"})
    assert answer.status_code == 201
    body = answer.json()
    ids = [account.pop("id") for account in body["accounts"]]
    assert all(isinstance(account_id, int) for account_id in ids)
    account = {"currency": "USD", "isActive": 0, "createdDate": START, "createdBy": "operator"}
    assert body == {
        "name": "payerfsp",
        "id": "http://hub/participants/payerfsp",
        "created": START,
        "isActive": 1,
        "links": {"self": "http://hub/participants/payerfsp"},
        "accounts": [{"ledgerAccountType": kind, **account} for kind in ("POSITION", "SETTLEMENT")],
        "isProxy": 0,
    }


def test_a_participant_created_again_is_3000(client: TestClient, dfsp: str) -> None:
    assert error(client.post("/participants", json={"name": dfsp, "currency": "USD"})) == (
        400,
        "3000",
        "Generic client error - Participant currency has already been registered",
    )


@pytest.mark.parametrize("written", [True, "true", 1, "1"])
def test_a_proxy_may_be_said_in_many_ways(client: TestClient, written: object) -> None:
    answer = client.post("/participants", json={"name": "proxy1", "currency": "USD", "isProxy": written})
    assert answer.json()["isProxy"] == 1


@pytest.mark.parametrize("written", [False, "false", 0, "0", "", None])
def test_no_proxy_may_be_said_in_many_ways(client: TestClient, written: object) -> None:
    answer = client.post("/participants", json={"name": "dfsp1", "currency": "USD", "isProxy": written})
    assert answer.json()["isProxy"] == 0


def test_participants_are_listed_the_hub_first(client: TestClient, dfsp: str) -> None:
    assert [each["name"] for each in client.get("/participants").json()] == [HUB, dfsp]


def test_proxies_can_be_listed_alone(client: TestClient, dfsp: str) -> None:
    client.post("/participants", json={"name": "proxy1", "currency": "USD", "isProxy": True})
    assert [each["name"] for each in client.get("/participants?isProxy=true").json()] == ["proxy1"]
    assert len(client.get("/participants?isProxy=false").json()) == 3


def test_one_participant_is_shown(client: TestClient, dfsp: str) -> None:
    assert client.get(f"/participants/{dfsp}").json()["name"] == dfsp


def test_an_unknown_participant_is_3200_with_status_400(client: TestClient) -> None:
    status, code, description = error(client.get("/participants/nobody"))
    assert (status, code) == (400, "3200")
    assert description.startswith("Generic ID not found")


def test_a_participant_is_disabled(client: TestClient, dfsp: str) -> None:
    answer = client.put(f"/participants/{dfsp}", json={"isActive": False})
    assert (answer.status_code, answer.json()["isActive"]) == (200, 0)
    assert client.get(f"/participants/{dfsp}").json()["isActive"] == 0


def test_the_version_of_a_participant_is_declared(client: TestClient, dfsp: str) -> None:
    answer = client.put(f"/participants/{dfsp}/version", json={"version": "1.1"})
    assert (answer.status_code, answer.json()) == (200, {"name": dfsp, "version": "1.1"})
    assert client.get(f"/participants/{dfsp}").json()["version"] == "1.1"
    assert client.put(f"/participants/{dfsp}/version", json={"version": None}).json()["version"] is None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {"isActive": True}),
        ("PUT", "/version", {"version": "1.1"}),
        ("GET", "/limits", None),
        ("GET", "/limits?currency=USD", None),
        ("PUT", "/limits", {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1, "alarmPercentage": 10}}),
        ("POST", "/initialPositionAndLimits", {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1}}),
        ("GET", "/positions", None),
        ("GET", "/accounts", None),
        ("PUT", "/accounts/1", {"isActive": True}),
        ("POST", "/accounts/1", movement()),
        (
            "PUT",
            "/accounts/1/transfers/6f1f7c4e-58a2-4a6b-9d6c-0b8f3f2a1c5d",
            {"action": "recordFundsOutCommit", "reason": "paid"},
        ),
        ("GET", "/endpoints", None),
        ("POST", "/endpoints", {"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://dfsp"}),
    ],
)
def test_every_route_of_an_unknown_participant_is_3200(
    client: TestClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = client.request(method, f"/participants/nobody{path}", json=body)
    assert error(answer)[:2] == (400, "3200")


# --- what is wrong with a body ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "description"),
    [
        ({"currency": "USD"}, "3102", 'Missing mandatory element - "name" is required'),
        ({"name": "payerfsp"}, "3102", 'Missing mandatory element - "currency" is required'),
        ({"name": 7, "currency": "USD"}, "3101", 'Malformed syntax - "name" must be a string'),
        ({"name": "", "currency": "USD"}, "3101", 'Malformed syntax - "name" is not allowed to be empty'),
        ({"name": "x", "currency": "USD"}, "3101", 'Malformed syntax - "name" length must be at least 2'),
        ({"name": "x" * 31, "currency": "USD"}, "3101", 'Malformed syntax - "name" length must be less than'),
        ({"name": "payer10", "currency": "A#"}, "3101", 'Malformed syntax - "currency" must be one of [AED, AFN'),
        ({"name": "dfsp", "currency": "USD", "x": 1}, "3103", 'Too many elements - "x" is not allowed'),
        ({"name": "dfsp", "currency": "USD", "isProxy": "?"}, "3100", 'Generic validation error - "isProxy" must be'),
        ({"name": "dfsp", "currency": "XOF"}, "3003", "Add Party information error - Hub reconciliation account"),
        ([], "3100", 'Generic validation error - "value" must be of type object'),
    ],
)
def test_a_body_is_refused_with_the_field_and_the_code_of_the_reference(
    client: TestClient, body: object, code: str, description: str
) -> None:
    answer = error(client.post("/participants", json=body))
    assert answer[:2] == (400, code)
    assert answer[2].startswith(description)


@pytest.mark.parametrize("content", [b"{", b'{"name": NaN}', b"\xff\xfe", b'{"a" "b"}', b'"\\ud800"'])
def test_a_body_that_is_not_json_is_3000(client: TestClient, content: bytes) -> None:
    answer = client.post("/participants", content=content, headers={"content-type": "application/json"})
    assert error(answer) == (400, "3000", "Generic client error - Invalid request payload JSON format")


def test_an_empty_body_is_no_object(client: TestClient) -> None:
    assert error(client.post("/participants"))[:2] == (400, "3100")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_another_content_type_is_3101(client: TestClient, content_type: str) -> None:
    answer = client.post("/participants", content=b"{}", headers={"content-type": content_type})
    assert error(answer) == (400, "3101", "Malformed syntax - Unsupported Media Type")


def test_json_may_name_its_character_set(client: TestClient) -> None:
    answer = client.post(
        "/participants",
        content=b'{"name": "payerfsp", "currency": "USD"}',
        headers={"content-type": "application/json; charset=utf-8"},
    )
    assert answer.status_code == 201


def test_a_body_of_more_than_a_mebibyte_is_too_large(client: TestClient) -> None:
    assert error(client.post("/participants", json={"name": "x" * 1_048_577}))[:2] == (413, "3104")


@pytest.mark.parametrize("written", ['"yes"', "1", "null", "[]"])
def test_a_boolean_is_a_boolean(client: TestClient, dfsp: str, written: str) -> None:
    answer = client.put(
        f"/participants/{dfsp}",
        content=f'{{"isActive": {written}}}'.encode(),
        headers={"content-type": "application/json"},
    )
    assert error(answer) == (400, "3100", 'Generic validation error - "isActive" must be a boolean')


# --- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/participants/", "/participants/dfsp/", "/participants/dfsp/nothing"]
)
def test_an_unknown_path_is_3002(client: TestClient, path: str) -> None:
    assert error(client.get(path))[:2] == (404, "3002")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/participants", {"GET", "POST"}),
        ("POST", "/health", {"GET"}),
        ("PATCH", "/participants/dfsp", {"GET", "PUT"}),
        ("DELETE", "/settlementModels", {"GET", "POST"}),
    ],
)
def test_another_method_is_405_with_those_allowed(
    client: TestClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = client.request(method, path)
    assert error(answer) == (405, "3000", "Generic client error - Method Not Allowed")
    assert {each.strip() for each in answer.headers["allow"].split(",")} == allowed


def test_a_name_too_short_for_a_participant_is_3101(client: TestClient) -> None:
    assert error(client.get("/participants/x")) == (400, "3101", "Malformed syntax - 'name' URI path parameter")


@pytest.mark.parametrize("account_id", ["0", "-1", "one", "1.5", "9" * 30, "²"])
def test_an_account_is_named_by_a_positive_number(client: TestClient, dfsp: str, account_id: str) -> None:
    answer = client.put(f"/participants/{dfsp}/accounts/{account_id}", json={"isActive": True})
    assert error(answer) == (400, "3100", "Generic validation error - 'id' URI path parameter")


def test_a_transfer_is_named_by_a_uuid_or_ulid(client: TestClient, settlement: str) -> None:
    body = {"action": "recordFundsOutCommit", "reason": "paid"}
    answer = client.put(f"{settlement}/transfers/42", json=body)
    assert error(answer) == (400, "3101", "Malformed syntax - 'transferId' URI path parameter")


def test_participants_limits_is_not_a_participant_called_limits(client: TestClient, dfsp: str) -> None:
    assert client.get("/participants/limits").json()[0]["name"] == dfsp


# --- limits -----------------------------------------------------------------------------------------------------


def first_limit(**limit: Any) -> dict[str, Any]:
    return {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", **limit}}


def test_the_first_limit_is_201_and_activates_the_accounts(client: TestClient) -> None:
    client.post("/participants", json={"name": "payerfsp", "currency": "USD"})
    answer = client.post("/participants/payerfsp/initialPositionAndLimits", json=first_limit(value=1000))
    assert (answer.status_code, answer.content) == (201, b"")
    assert {account["isActive"] for account in client.get("/participants/payerfsp/accounts").json()} == {1}


def test_the_first_limit_again_is_2001_with_status_500(client: TestClient, dfsp: str) -> None:
    answer = client.post(f"/participants/{dfsp}/initialPositionAndLimits", json=first_limit(value=1))
    assert error(answer) == (
        500,
        "2001",
        "Internal server error - Participant Limit or Initial Position already set",
    )


@pytest.mark.parametrize("written", ["12.5", '"12.5"', "12.5000", "1.25e1", "0.125E+2", '" 12.50 "'])
def test_a_limit_may_be_written_as_a_number_or_as_text(client: TestClient, written: str) -> None:
    client.post("/participants", json={"name": "payerfsp", "currency": "USD"})
    content = f'{{"currency": "USD", "limit": {{"type": "NET_DEBIT_CAP", "value": {written}}}, "initialPosition": "0"}}'
    answer = client.post(
        "/participants/payerfsp/initialPositionAndLimits",
        content=content.encode(),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 201
    assert '"value":12.5,' in exact(client.get("/participants/payerfsp/limits"))


def test_an_amount_that_no_float_can_hold_comes_back_to_the_digit(client: TestClient) -> None:
    client.post("/participants", json={"name": "payerfsp", "currency": "USD"})
    client.post(
        "/participants/payerfsp/initialPositionAndLimits",
        content=b'{"currency":"USD","limit":{"type":"NET_DEBIT_CAP","value":900719925474099.3333}}',
        headers={"content-type": "application/json"},
    )
    assert '"value":900719925474099.3333,' in exact(client.get("/participants/payerfsp/limits"))


@pytest.mark.parametrize(
    "written",
    ["-1", "1.00001", "1e40", "1e999999999", "1e-999999999", '"ten"', '"1_000"', '"NaN"', "true", "[]", "null"],
)
def test_a_limit_the_hub_can_not_hold_exactly_is_refused(client: TestClient, dfsp: str, written: str) -> None:
    content = f'{{"currency":"USD","limit":{{"type":"NET_DEBIT_CAP","value":{written},"alarmPercentage":10}}}}'
    answer = client.put(
        f"/participants/{dfsp}/limits", content=content.encode(), headers={"content-type": "application/json"}
    )
    assert error(answer)[:2] == (400, "3100")


def test_an_initial_position_other_than_0_is_refused(client: TestClient) -> None:
    client.post("/participants", json={"name": "payerfsp", "currency": "USD"})
    body = {**first_limit(value=1000), "initialPosition": 100}
    assert error(client.post("/participants/payerfsp/initialPositionAndLimits", json=body))[:2] == (400, "3100")
    assert client.get("/participants/payerfsp/limits?currency=USD").json() == []


def test_a_limit_is_adjusted(client: TestClient, dfsp: str) -> None:
    answer = client.put(f"/participants/{dfsp}/limits", json=first_limit(value=250.75, alarmPercentage=20))
    assert exact(answer) == ('{"currency":"USD","limit":{"type":"NET_DEBIT_CAP","value":250.75,"alarmPercentage":20}}')
    assert client.get(f"/participants/{dfsp}/limits").json() == [answer.json()]


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"type": "NET_DEBIT_CAP", "value": 1}, "3102"),
        ({"type": "NET_DEBIT_CAP", "alarmPercentage": 10}, "3102"),
        ({"value": 1, "alarmPercentage": 10}, "3102"),
        ({"type": "DAILY", "value": 1, "alarmPercentage": 10}, "3100"),
        ({"type": "NET_DEBIT_CAP", "value": 1, "alarmPercentage": 10.5}, "3101"),
        ({"type": "NET_DEBIT_CAP", "value": 1, "alarmPercentage": 101}, "3100"),
        ({"type": "NET_DEBIT_CAP", "value": 1, "alarmPercentage": 10, "x": 1}, "3103"),
        ([], "3100"),
    ],
)
def test_an_adjustment_must_be_whole(client: TestClient, dfsp: str, limit: object, code: str) -> None:
    answer = client.put(f"/participants/{dfsp}/limits", json={"currency": "USD", "limit": limit})
    assert error(answer)[:2] == (400, code)


def test_a_limit_that_was_never_set_can_not_be_adjusted(client: TestClient) -> None:
    client.post("/participants", json={"name": "payerfsp", "currency": "USD"})
    answer = client.put("/participants/payerfsp/limits", json=first_limit(value=1, alarmPercentage=10))
    assert error(answer) == (500, "2001", "Internal server error - Participant Limit does not exist")


def test_limits_of_all_name_their_participant(client: TestClient, dfsp: str, bench: SchemeBench) -> None:
    bench.onboard(dfsp, "EUR", cap="7")
    limit = {"type": "NET_DEBIT_CAP", "alarmPercentage": 10}
    assert client.get("/participants/limits").json() == [
        {"name": dfsp, "currency": "EUR", "limit": {**limit, "value": 7}},
        {"name": dfsp, "currency": "USD", "limit": {**limit, "value": 1000}},
    ]
    assert len(client.get("/participants/limits?currency=USD&type=NET_DEBIT_CAP").json()) == 1


def test_limits_in_a_currency_of_others_are_3200(client: TestClient, dfsp: str) -> None:
    assert error(client.get(f"/participants/{dfsp}/limits?currency=EUR"))[:2] == (400, "3200")


@pytest.mark.parametrize(("query", "code"), [("currency=A%23", "3101"), ("x=1", "3103"), ("type=", "3101")])
@pytest.mark.parametrize("path", ["/participants/limits", "/participants/payerfsp/limits"])
def test_limits_are_asked_for_by_currency_and_type_only(
    client: TestClient, dfsp: str, path: str, query: str, code: str
) -> None:
    assert error(client.get(f"{path}?{query}"))[:2] == (400, code)


# --- positions and accounts -------------------------------------------------------------------------------------


def test_positions_are_a_list(client: TestClient, dfsp: str, bench: SchemeBench) -> None:
    bench.onboard("payeefsp", "USD", cap="1")
    bench.pay(dfsp, "payeefsp", "12.34 USD")
    assert exact(client.get(f"/participants/{dfsp}/positions")) == (
        f'[{{"currency":"USD","value":12.34,"changedDate":"{START}"}}]'
    )
    assert client.get("/participants/payeefsp/positions").json()[0]["value"] == -12.34


def test_the_position_of_one_currency_is_an_object(client: TestClient, dfsp: str) -> None:
    body = client.get(f"/participants/{dfsp}/positions?currency=USD").json()
    assert body == {"currency": "USD", "value": 0, "changedDate": START}


def test_the_position_of_a_currency_without_limits_is_empty(client: TestClient, dfsp: str) -> None:
    client.post("/participants", json={"name": dfsp, "currency": "EUR"})
    assert client.get(f"/participants/{dfsp}/positions?currency=EUR").json() == {}


def test_the_position_in_a_currency_of_others_is_3200(client: TestClient, dfsp: str) -> None:
    assert error(client.get(f"/participants/{dfsp}/positions?currency=EUR"))[:2] == (400, "3200")


def test_accounts_are_shown_with_their_balances(client: TestClient, dfsp: str, bench: SchemeBench) -> None:
    position, settlement = (bench.account_id(dfsp, "USD", kind) for kind in ("POSITION", "SETTLEMENT"))
    rest = f'"currency":"USD","isActive":1,"value":%s,"reservedValue":0,"changedDate":"{START}"'
    assert exact(client.get(f"/participants/{dfsp}/accounts")) == (
        f'[{{"id":{position},"ledgerAccountType":"POSITION",{rest % "0"}}},'
        f'{{"id":{settlement},"ledgerAccountType":"SETTLEMENT",{rest % "-500.25"}}}]'
    )


def test_the_hubs_accounts_are_shown(client: TestClient, dfsp: str) -> None:
    found = {
        (each["ledgerAccountType"], each["currency"]): each["value"]
        for each in client.get("/participants/Hub/accounts").json()
    }
    assert found == {
        ("HUB_RECONCILIATION", "USD"): 500.25,
        ("HUB_MULTILATERAL_SETTLEMENT", "USD"): 0,
        ("HUB_RECONCILIATION", "EUR"): 0,
        ("HUB_MULTILATERAL_SETTLEMENT", "EUR"): 0,
    }


def test_a_hub_account_is_opened(client: TestClient) -> None:
    answer = client.post("/participants/Hub/accounts", json={"currency": "KES", "type": "HUB_RECONCILIATION"})
    assert answer.status_code == 201
    added = answer.json()["accounts"][-1]
    assert (added["ledgerAccountType"], added["currency"], added["isActive"]) == ("HUB_RECONCILIATION", "KES", 1)


def test_a_hub_account_opened_again_is_3003(client: TestClient) -> None:
    answer = client.post("/participants/Hub/accounts", json={"currency": "USD", "type": "HUB_RECONCILIATION"})
    assert error(answer) == (400, "3003", "Add Party information error - Hub account has already been registered.")


def test_a_hub_account_of_a_participant_that_does_not_exist_is_3003(client: TestClient) -> None:
    answer = client.post("/participants/nobody/accounts", json={"currency": "USD", "type": "HUB_RECONCILIATION"})
    assert error(answer) == (400, "3003", "Add Party information error - Participant was not found.")


def test_a_position_is_disabled(client: TestClient, dfsp: str, bench: SchemeBench) -> None:
    account_id = bench.account_id(dfsp, "USD", "POSITION")
    answer = client.put(f"/participants/{dfsp}/accounts/{account_id}", json={"isActive": False})
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.get(f"/participants/{dfsp}/accounts").json()[0]["isActive"] == 0


def test_no_account_but_a_position_is_disabled(client: TestClient, settlement: str) -> None:
    assert error(client.put(settlement, json={"isActive": False})) == (
        500,
        "2001",
        "Internal server error - Only position account update is permitted",
    )


# --- funds ------------------------------------------------------------------------------------------------------


def test_funds_in_are_202_and_said_to_be_committed(client: TestClient, settlement: str, bench: SchemeBench) -> None:
    body = movement()
    answer = client.post(settlement, json=body)
    assert (answer.status_code, answer.json()) == (
        202,
        {"transferId": body["transferId"], "transferState": "COMMITTED"},
    )
    assert bench.liquidity("payerfsp", "USD") == "-600.25"


def test_funds_may_be_recorded_by_a_ulid(client: TestClient, settlement: str) -> None:
    body = movement(transferId="01HF7YAT00ZZZZZZZZZZZZZZZZ", extensionList={"extension": [{"key": "a", "value": "b"}]})
    assert client.post(settlement, json=body).status_code == 202
    assert client.get("/transfers/01HF7YAT00ZZZZZZZZZZZZZZZZ").json()["transferId"] == body["transferId"]


def test_funds_recorded_again_are_202_and_happen_once(client: TestClient, settlement: str, bench: SchemeBench) -> None:
    body = movement()
    first = client.post(settlement, json=body)
    again = client.post(settlement, json={**body, "amount": {"amount": "100.00", "currency": "USD"}})
    assert (again.status_code, again.json()) == (202, first.json())
    assert bench.liquidity("payerfsp", "USD") == "-600.25"


def test_funds_recorded_differently_under_the_same_id_are_3106(client: TestClient, settlement: str) -> None:
    body = movement()
    client.post(settlement, json=body)
    assert error(client.post(settlement, json={**body, "reason": "another"}))[:2] == (400, "3106")


def test_funds_out_are_reserved_and_committed(client: TestClient, settlement: str, bench: SchemeBench) -> None:
    body = movement(action="recordFundsOutPrepareReserve")
    assert client.post(settlement, json=body).json()["transferState"] == "RESERVED"
    path = f"{settlement}/transfers/{body['transferId']}"
    answer = client.put(path, json={"action": "recordFundsOutCommit", "reason": "paid"})
    assert (answer.status_code, answer.json()["transferState"]) == (202, "COMMITTED")
    assert bench.liquidity("payerfsp", "USD") == "-400.25"


def test_funds_out_are_aborted(client: TestClient, settlement: str, bench: SchemeBench) -> None:
    body = movement(action="recordFundsOutPrepareReserve")
    client.post(settlement, json=body)
    path = f"{settlement}/transfers/{body['transferId']}"
    answer = client.put(path, json={"action": "recordFundsOutAbort", "reason": "not paid"})
    assert (answer.status_code, answer.json()["transferState"]) == (202, "ABORTED")
    assert bench.liquidity("payerfsp", "USD") == "-500.25"


def test_funds_out_beyond_the_liquidity_are_202_and_said_to_be_aborted(client: TestClient, settlement: str) -> None:
    """The reference says 202 and aborts unseen."""
    body = movement(action="recordFundsOutPrepareReserve", amount={"amount": 500.2501, "currency": "USD"})
    answer = client.post(settlement, json=body)
    assert (answer.status_code, answer.json()) == (
        202,
        {
            "transferId": body["transferId"],
            "transferState": "ABORTED",
            "errorInformation": {"errorCode": "4001", "errorDescription": "Payer FSP insufficient liquidity"},
        },
    )


def test_funds_out_that_were_never_reserved_can_not_be_committed(client: TestClient, settlement: str) -> None:
    answer = client.put(
        f"{settlement}/transfers/{new_transfer_id()[1]}", json={"action": "recordFundsOutCommit", "reason": "paid"}
    )
    assert error(answer)[:2] == (400, "3208")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount": {"amount": 1, "currency": "EUR"}}, 500, "2001"),
        ({"amount": {"amount": 0, "currency": "USD"}}, 400, "3100"),
        ({"amount": {"amount": -1, "currency": "USD"}}, 400, "3100"),
        ({"amount": {"amount": 1.00001, "currency": "USD"}}, 400, "3100"),
        ({"amount": {"amount": "one", "currency": "USD"}}, 400, "3100"),
        ({"amount": {"currency": "USD"}}, 400, "3102"),
        ({"amount": {"amount": 1}}, 400, "3102"),
        ({"amount": 1}, 400, "3100"),
        ({"action": "recordFundsOutCommit"}, 400, "3101"),
        ({"transferId": "42"}, 400, "3101"),
        ({"transferId": 42}, 400, "3101"),
        ({"reason": ""}, 400, "3101"),
        ({"reason": "nul\x00"}, 400, "3101"),
        ({"extensionList": {"extension": {}}}, 400, "3100"),
        ({"extensionList": {"extension": ["a"]}}, 400, "3100"),
        ({"extensionList": {"extension": [{"key": "a", "x": 1}]}}, 400, "3103"),
        ({"more": 1}, 400, "3103"),
    ],
)
def test_funds_are_recorded_only_as_they_must_be(
    client: TestClient, settlement: str, change: dict[str, Any], status: int, code: str
) -> None:
    assert error(client.post(settlement, json=movement(**change)))[:2] == (status, code)


@pytest.mark.parametrize("missing", ["transferId", "externalReference", "action", "reason", "amount"])
def test_funds_need_every_field(client: TestClient, settlement: str, missing: str) -> None:
    body = movement()
    del body[missing]
    assert error(client.post(settlement, json=body))[:2] == (400, "3102")


def test_funds_on_a_position_are_refused(client: TestClient, dfsp: str, bench: SchemeBench) -> None:
    path = f"/participants/{dfsp}/accounts/{bench.account_id(dfsp, 'USD', 'POSITION')}"
    assert error(client.post(path, json=movement())) == (
        500,
        "2001",
        "Internal server error - Account is not SETTLEMENT type",
    )


def test_funds_of_an_inactive_participant_are_refused(client: TestClient, dfsp: str, settlement: str) -> None:
    client.put(f"/participants/{dfsp}", json={"isActive": False})
    assert error(client.post(settlement, json=movement())) == (
        500,
        "2001",
        "Internal server error - Participant is currently set inactive",
    )


# --- transfers --------------------------------------------------------------------------------------------------


def test_a_transfer_is_shown_with_its_history(client: TestClient, settlement: str, bench: SchemeBench) -> None:
    body = movement(amount={"amount": "7.0001", "currency": "USD"})
    client.post(settlement, json=body)
    answer = client.get(f"/transfers/{body['transferId']}")
    assert '"amount":7.0001,' in exact(answer)
    shown = answer.json()
    assert (shown["kind"], shown["payerFsp"], shown["payeeFsp"]) == ("FUNDS_IN", "payerfsp", HUB)
    assert (shown["transferState"], shown["completedTimestamp"]) == ("COMMITTED", START)
    assert [step["state"] for step in shown["history"]] == ["RECEIVED_PREPARE", "COMMITTED"]
    assert shown["funds"] == {
        "accountId": bench.account_id("payerfsp", "USD", "SETTLEMENT"),
        "action": "recordFundsIn",
        "reason": "deposit",
        "externalReference": "bank-1",
        "createdBy": "operator",
    }


def test_a_rejected_transfer_shows_why(client: TestClient, settlement: str) -> None:
    body = movement(action="recordFundsOutPrepareReserve", amount={"amount": 501, "currency": "USD"})
    client.post(settlement, json=body)
    shown = client.get(f"/transfers/{body['transferId']}").json()
    assert (shown["internalState"], shown["errorInformation"]["errorCode"]) == ("ABORTED_REJECTED", "4001")


def test_an_unknown_transfer_is_3208(client: TestClient) -> None:
    assert error(client.get(f"/transfers/{new_transfer_id()[1]}"))[:2] == (400, "3208")


# --- endpoints, models and types --------------------------------------------------------------------------------


def test_an_endpoint_is_set_and_shown(client: TestClient, dfsp: str) -> None:
    endpoint = {"type": "FSPIOP_CALLBACK_URL_TRANSFER_PUT", "value": "http://dfsp/transfers/{{transferId}}"}
    answer = client.post(f"/participants/{dfsp}/endpoints", json=endpoint)
    assert (answer.status_code, answer.content) == (201, b"")
    assert client.get(f"/participants/{dfsp}/endpoints").json() == [endpoint]
    assert client.get(f"/participants/{dfsp}/endpoints?type={endpoint['type']}").json() == endpoint
    assert client.get(f"/participants/{dfsp}/endpoints?type=FSPIOP_CALLBACK_URL_QUOTES").json() == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "FSPIOP_CALLBACK_URL_QUOTES"}, "3102"),
        ({"value": "http://dfsp"}, "3102"),
        ({"type": "NO_SUCH_TYPE", "value": "http://dfsp"}, "3100"),
        ([{"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://dfsp"}], "3100"),
    ],
)
def test_an_endpoint_has_a_type_and_a_value(client: TestClient, dfsp: str, body: object, code: str) -> None:
    assert error(client.post(f"/participants/{dfsp}/endpoints", json=body))[:2] == (400, code)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("FSPIOP_CALLBACK_URL_QUOTES", "dfsp", "must be a URL of http or https"),
        ("FSPIOP_CALLBACK_URL_TRANSFER_PUT", "http://169.254.169.254/latest", "is none that participants have"),
        ("FSPIOP_CALLBACK_URL_TRANSFER_PUT", "http://127.0.0.1:4001/{{transferId}}", "is the hub's own"),
        ("FSPIOP_CALLBACK_URL_PARTIES_GET", "http://{{partyIdentifier}}/", "must name its host: a placeholder"),
        ("ALARM_NOTIFICATION_URL", "http://user:secret@alarms.example/", "must not carry a user name or a password"),
    ],
)
def test_an_endpoint_that_the_hub_will_not_call_is_refused_and_not_kept(
    client: TestClient, dfsp: str, kind: str, value: str, words: str
) -> None:
    answer = client.post(f"/participants/{dfsp}/endpoints", json={"type": kind, "value": value})
    status, code, description = error(answer)
    assert (status, code) == (400, "3101")
    assert description.startswith(f"Malformed syntax - value of {kind} {words}")
    assert client.get(f"/participants/{dfsp}/endpoints").json() == []


MODEL = {
    "settlementModelId": 1,
    "name": "DEFAULTDEFERREDNET",
    "isActive": True,
    "settlementGranularity": "NET",
    "settlementInterchange": "MULTILATERAL",
    "settlementDelay": "DEFERRED",
    "currency": None,
    "requireLiquidityCheck": True,
    "ledgerAccountTypeId": "POSITION",
    "autoPositionReset": True,
}


def test_settlement_models_are_listed(client: TestClient) -> None:
    assert client.get("/settlementModels").json() == [MODEL]


def test_one_settlement_model_is_shown(client: TestClient) -> None:
    assert client.get("/settlementModels/DEFAULTDEFERREDNET").json() == MODEL


def test_an_unknown_settlement_model_is_3200(client: TestClient) -> None:
    assert error(client.get("/settlementModels/CGS"))[:2] == (400, "3200")


def test_ledger_account_types_are_listed(client: TestClient) -> None:
    body = client.get("/ledgerAccountTypes").json()
    assert [each["name"] for each in body if each["isSettleable"]] == ["POSITION", "INTERCHANGE_FEE"]


# --- a hub that can't -------------------------------------------------------------------------------------------


def test_an_overloaded_hub_says_503_and_when_to_come_back(client: TestClient, hub: Any, dfsp: str) -> None:
    hub.refuses = FspiopError(ErrorCode.SERVER_BUSY, status=503, headers=(("Retry-After", "1"),))
    answer = client.put(f"/participants/{dfsp}", json={"isActive": False})
    assert error(answer) == (503, "2005", "Server busy")
    assert answer.headers["retry-after"] == "1"


def test_what_an_operator_can_not_do_is_told_in_a_sentence(client: TestClient, hub: Any, dfsp: str) -> None:
    hub.refuses = OperatorError("The hub is stopping.")
    answer = client.put(f"/participants/{dfsp}", json={"isActive": False})
    assert error(answer) == (400, "3000", "Generic client error - The hub is stopping.")


def test_a_defect_says_no_more_than_that(client: TestClient, hub: Any, dfsp: str) -> None:
    hub.refuses = ZeroDivisionError("secret")
    answer = client.put(f"/participants/{dfsp}", json={"isActive": False})
    assert error(answer) == (500, "2001", "Internal server error")


# --- the reference's own description ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """The reference's OpenAPI 2.0 description of this API."""
    folder = Path(os.environ.get("VUKA_SPECS", Path(__file__).parents[3] / "shared" / "specs"))
    file = folder / "central-ledger-admin.json"
    if not file.exists():
        pytest.skip(f"{file.name} is not there: set VUKA_SPECS to the folder that holds it")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def conforms(value: object, schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether a JSON value is what an OpenAPI 2.0 schema says, as far as this description goes."""
    if "$ref" in schema:
        return conforms(value, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "number": (int, float),
        "integer": (int,),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
    }
    kind = schema.get("type", "object")
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return set(schema.get("required", ())) <= set(value) <= set(properties) and all(
            conforms(member, properties[name], definitions) for name, member in value.items()
        )
    if isinstance(value, list):
        return all(conforms(member, schema["items"], definitions) for member in value)
    if isinstance(value, str):
        bounded = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        known = value in schema.get("enum", [value])
        return bounded and known and re.search(schema.get("pattern", ""), value) is not None
    return True


def test_every_route_of_the_description_is_served(client: TestClient, description: dict[str, Any]) -> None:
    for path, methods in description["paths"].items():
        for method in methods:
            filled = path.replace("{name}", "payerfsp").replace("{id}", "1")
            filled = filled.replace("{transferId}", new_transfer_id()[1])
            assert client.request(method, filled).status_code not in (404, 405), (method, path)


@pytest.mark.parametrize(
    ("definition", "body"),
    [
        ("PostParticipantsRequest", {"name": "payerfsp", "currency": "USD", "isProxy": False}),
        ("PostParticipantsNameEndpointsRequest", {"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://dfsp"}),
        ("PutParticipantsNameLimitsRequest", first_limit(value=1, alarmPercentage=10)),
        ("PostInitialPositionAndLimitsRequest", {**first_limit(value=1), "initialPosition": 0}),
        ("PostParticipantsNameAccountsRequest", {"currency": "USD", "type": "HUB_RECONCILIATION"}),
        ("Participants", movement()),
        ("RecordFundsOut", {"action": "recordFundsOutCommit", "reason": "paid"}),
        ("ParticipantIsActive", {"isActive": True}),
        ("CurrencyIsActive", {"isActive": True}),
    ],
)
def test_the_bodies_of_these_tests_are_what_the_description_says(
    description: dict[str, Any], definition: str, body: dict[str, Any]
) -> None:
    definitions = description["definitions"]
    assert conforms(body, definitions[definition], definitions)


def test_ledger_account_types_are_what_the_description_says(client: TestClient, description: dict[str, Any]) -> None:
    definitions = description["definitions"]
    schema = definitions["LedgerAccountType"]
    for each in client.get("/ledgerAccountTypes").json():
        each.pop("ledgerAccountTypeId")
        assert conforms(each, schema, definitions)
