"""The settlement API over HTTP: a day led to its end, each filter, and what is wrong told in the reference's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import DEFAULT, Settling

A, B = "alpha", "bravo"
STEPS = ("PS_TRANSFERS_RECORDED", "PS_TRANSFERS_RESERVED", "PS_TRANSFERS_COMMITTED", "SETTLED")


@pytest.fixture
def scheme(bench: SchemeBench) -> Iterator[Settling]:
    for name in (A, B):
        bench.onboard(name, "USD", cap="1000", funds="2000")
    settling = Settling(bench)
    settling.pay(A, B, "12.5 USD")
    yield settling
    settling.check()


def close(client: TestClient, window_id: int = 1) -> Any:
    return client.post(f"/v2/settlementWindows/{window_id}", json={"state": "CLOSED", "reason": "end of day"})


def create(client: TestClient, *window_ids: int, model: str = DEFAULT) -> Any:
    body = {"settlementModel": model, "reason": "settle", "settlementWindows": [{"id": each} for each in window_ids]}
    return client.post("/v2/settlements", json=body)


@pytest.fixture
def settlement(client: TestClient, scheme: Settling) -> dict[str, Any]:
    """A settlement of the first window, as its creation was answered."""
    close(client)
    answer: dict[str, Any] = create(client, 1).json()
    return answer


def updates(settlement: dict[str, Any], state: str, **fields: str) -> list[dict[str, Any]]:
    """Every account of a settlement, led to one state."""
    return [
        {
            "id": each["id"],
            "accounts": [
                {"id": account["id"], "state": state, "reason": "paid", **fields} for account in each["accounts"]
            ],
        }
        for each in settlement["participants"]
    ]


def error(answer: Any) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


# --- windows ----------------------------------------------------------------------------------------------------


def test_closing_a_window_answers_the_one_that_is_open_then(client: TestClient, scheme: Settling) -> None:
    answer = close(client)
    assert (answer.status_code, answer.json()["settlementWindowId"], answer.json()["state"]) == (200, 2, "OPEN")


def test_a_closed_window_shows_its_content(client: TestClient, scheme: Settling) -> None:
    close(client)
    window = client.get("/v2/settlementWindows/1").json()
    (content,) = window.pop("content")
    assert (window["id"], window["state"], window["reason"]) == (1, "CLOSED", "end of day")
    assert {key: content[key] for key in ("id", "state", "ledgerAccountType", "currencyId")} == {
        "id": 1,
        "state": "CLOSED",
        "ledgerAccountType": "POSITION",
        "currencyId": "USD",
    }


def test_an_empty_window_is_not_closed(client: TestClient, bench: SchemeBench) -> None:
    assert error(close(client)) == (400, "3100", "Generic validation error - Window 1 is empty")


def test_an_unknown_window_is_an_error(client: TestClient, bench: SchemeBench) -> None:
    assert error(client.get("/v2/settlementWindows/9")) == (
        400,
        "3100",
        "Generic validation error - No record for settlementWindowId: 9 found",
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=OPEN", [2]),
        ("state=CLOSED", [1]),
        ("currency=USD", [1]),
        ("fromDateTime=2023-11-14T22:13:20Z", [2, 1]),
        ("toDateTime=2023-11-14T22:13:20.000Z", [2, 1]),
        ("fromDateTime=2023-11-14&state=CLOSED", [1]),
        ("fromDateTime=2023-11-14T23:13:20%2B01:00", [2, 1]),
        ("participantId=2", [1]),
    ],
)
def test_windows_are_found_by_each_filter(client: TestClient, scheme: Settling, query: str, found: list[int]) -> None:
    close(client)
    assert [each["settlementWindowId"] for each in client.get(f"/v2/settlementWindows?{query}").json()] == found


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("", "3100", "Use at least one parameter: participantId, state, fromDateTime, toDateTime, currency"),
        ("currency=EUR", "3100", "settlementWindow by filters: currency:EUR not found"),
        ("fromDateTime=2030-01-01", "3100", "settlementWindow by filters: fromDateTime:2030-01-01 not found"),
        ("fromDateTime=yesterday", "3101", '"fromDateTime" must be in ISO 8601 date format'),
        ("toDateTime=2026-02-30", "3101", '"toDateTime" must be in ISO 8601 date format'),
        ("state=SHUT", "3101", '"state" must be one of [ABORTED, CLOSED, OPEN, PENDING_SETTLEMENT, SETTLED]'),
        ("participantId=x", "3100", '"participantId" must be a number'),
        ("unknown=1", "3103", '"unknown" is not allowed'),
    ],
)
def test_a_window_filter_that_is_wrong_or_finds_nothing(
    client: TestClient, scheme: Settling, query: str, code: str, text: str
) -> None:
    status, found, description = error(client.get(f"/v2/settlementWindows?{query}"))
    assert (status, found, description.partition(" - ")[2]) == (400, code, text)


# --- settlements ------------------------------------------------------------------------------------------------


def test_a_settlement_is_answered_with_its_windows_and_accounts(settlement: dict[str, Any]) -> None:
    assert (settlement["id"], settlement["settlementModel"], settlement["state"]) == (1, DEFAULT, "PENDING_SETTLEMENT")
    assert [each["state"] for each in settlement["settlementWindows"]] == ["PENDING_SETTLEMENT"]
    amounts = [account["netSettlementAmount"] for each in settlement["participants"] for account in each["accounts"]]
    assert amounts == [{"amount": 12.5, "currency": "USD"}, {"amount": -12.5, "currency": "USD"}]


def test_a_settlement_is_led_to_its_end(client: TestClient, scheme: Settling, settlement: dict[str, Any]) -> None:
    for state in STEPS:
        answer = client.put("/v2/settlements/1", json={"participants": updates(settlement, state)})
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        scheme.check()
    assert client.get("/v2/settlementWindows/1").json()["state"] == "SETTLED"
    assert scheme.positions(A, B) == ("0", "0")


def test_a_settlement_is_led_on_participant_by_participant_and_account_by_account(
    client: TestClient, scheme: Settling, settlement: dict[str, Any]
) -> None:
    first, second = settlement["participants"]
    body = {"accounts": [{"id": first["accounts"][0]["id"], "state": STEPS[0], "reason": "sent"}]}
    answer = client.put(f"/v2/settlements/1/participants/{first['id']}", json=body)
    assert (answer.status_code, answer.json()["state"]) == (200, "PENDING_SETTLEMENT")
    path = f"/v2/settlements/1/participants/{second['id']}/accounts/{second['accounts'][0]['id']}"
    answer = client.put(path, json={"state": STEPS[0], "reason": "sent", "externalReference": "bank-7"})
    assert (answer.status_code, answer.json()["state"]) == (200, STEPS[0])
    (shown,) = client.get(path).json()["participants"]
    assert (shown["id"], shown["accounts"][0]["externalReference"]) == (second["id"], "bank-7")


def test_what_is_wrong_with_one_account_is_told_beside_the_others(
    client: TestClient, scheme: Settling, settlement: dict[str, Any]
) -> None:
    asked = updates(settlement, STEPS[0])
    asked[0]["accounts"].append({"id": 999, "state": STEPS[0], "reason": "lost"})
    answer = client.put("/v2/settlements/1", json={"participants": asked})
    assert (answer.status_code, answer.json()["state"]) == (200, STEPS[0])
    assert answer.json()["participants"][0]["accounts"][1] == {
        "id": 999,
        "errorInformation": {"errorCode": "3000", "errorDescription": "Generic client error - Account not found"},
    }


def test_a_settlement_is_aborted_and_its_window_settled_anew(
    client: TestClient, scheme: Settling, settlement: dict[str, Any]
) -> None:
    client.put("/v2/settlements/1", json={"participants": updates(settlement, STEPS[0])})
    answer = client.put("/v2/settlements/1", json={"state": "ABORTED", "reason": "bank closed"})
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "state": "ABORTED", "reason": "bank closed"})
    again = create(client, 1)
    assert (again.status_code, again.json()["id"]) == (200, 2)


def test_a_settlement_is_finalised_at_once(client: TestClient, scheme: Settling, settlement: dict[str, Any]) -> None:
    answer = client.post("/v2/settlements/1/finalise", json={"reason": "all paid", "externalReference": "file-1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "SETTLED")
    assert scheme.positions(A, B) == ("0", "0")


@pytest.mark.parametrize(
    "query",
    [
        "state=PENDING_SETTLEMENT",
        "currency=USD",
        "participantId=2",
        "accountId={account}",
        "settlementWindowId=1",
        "fromDateTime=2023-11-14",
        "toDateTime=2030-01-01",
        "fromSettlementWindowDateTime=2023-11-14",
        "toSettlementWindowDateTime=2030-01-01",
    ],
)
def test_settlements_are_found_by_each_filter(
    client: TestClient, scheme: Settling, settlement: dict[str, Any], query: str
) -> None:
    account = settlement["participants"][0]["accounts"][0]["id"]
    found = client.get(f"/v2/settlements?{query.format(account=account)}").json()
    assert [each["id"] for each in found] == [1]


@pytest.mark.parametrize(
    "query",
    [
        "state=SETTLED",
        "currency=EUR",
        "participantId=77",
        "accountId=777",
        "settlementWindowId=2",
        "fromDateTime=2030-01-01",
        "toDateTime=2020-01-01",
        "fromSettlementWindowDateTime=2030-01-01",
        "toSettlementWindowDateTime=2020-01-01",
    ],
)
def test_a_filter_that_finds_no_settlement_is_an_error(
    client: TestClient, scheme: Settling, settlement: dict[str, Any], query: str
) -> None:
    status, code, description = error(client.get(f"/v2/settlements?{query}"))
    assert (status, code, "No settlements found matching" in description) == (400, "3100", True)


def test_a_filter_narrows_the_accounts_of_what_it_finds(
    client: TestClient, scheme: Settling, settlement: dict[str, Any]
) -> None:
    (found,) = client.get("/v2/settlements?participantId=2").json()
    assert [each["id"] for each in found["participants"]] == [2]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({}, "3100", "Invalid request payload input"),
        ({"state": "ABORTED"}, "3102", "State and reason are mandatory"),
        ({"reason": "why"}, "3102", "State and reason are mandatory"),
        ({"state": "SETTLED", "reason": "why"}, "3100", "Invalid request payload input"),
        (
            {"participants": [], "state": "ABORTED", "reason": "both"},
            "3100",
            "No other properties are allowed when participants is provided",
        ),
        ({"participants": {}}, "3100", '"participants" must be an array'),
        ({"participants": [1]}, "3100", '"participants[0]" must be of type object'),
        ({"participants": [{"accounts": []}]}, "3102", '"participants[0].id" is required'),
        (
            {"participants": [{"id": 2, "accounts": [{"id": 1, "reason": "x"}]}]},
            "3102",
            '"participants[0].accounts[0].state" is required',
        ),
        (
            {"participants": [{"id": 2, "accounts": [{"id": 1, "state": "SETTLED"}]}]},
            "3102",
            '"participants[0].accounts[0].reason" is required',
        ),
    ],
)
def test_an_update_that_is_wrong_changes_nothing(
    client: TestClient, scheme: Settling, settlement: dict[str, Any], body: object, code: str, text: str
) -> None:
    before = client.get("/v2/settlements/1").json()
    status, found, description = error(client.put("/v2/settlements/1", json=body))
    assert (status, found, description.partition(" - ")[2]) == (400, code, text)
    assert client.get("/v2/settlements/1").json() == before


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"reason": "x", "settlementWindows": [{"id": 1}]}, "3102", '"settlementModel" is required'),
        ({"settlementModel": DEFAULT, "settlementWindows": [{"id": 1}]}, "3102", '"reason" is required'),
        ({"settlementModel": DEFAULT, "reason": "x"}, "3102", '"settlementWindows" is required'),
        (
            {"settlementModel": DEFAULT, "reason": "x", "settlementWindows": []},
            "3100",
            '"settlementWindows" must contain 1 to 1000 items',
        ),
        (
            {"settlementModel": DEFAULT, "reason": "x", "settlementWindows": [{"id": 1}, {"id": 1}]},
            "3100",
            '"settlementWindows" contains a duplicate value',
        ),
        (
            {"settlementModel": DEFAULT, "reason": "x", "settlementWindows": [{"id": 2}]},
            "3100",
            "Inapplicable windows 2",
        ),
    ],
)
def test_a_settlement_that_is_asked_for_wrongly(
    client: TestClient, scheme: Settling, body: object, code: str, text: str
) -> None:
    close(client)
    status, found, description = error(client.post("/v2/settlements", json=body))
    assert (status, found, description.partition(" - ")[2]) == (400, code, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v2/settlements/5", "Settlement with ID '5' not found"),
        ("/v2/settlements/1/participants/77", "Participant with ID '77' is not part of settlement '1'"),
        (
            "/v2/settlements/1/participants/2/accounts/1",
            "Provided account ID '1' does not match any position account for participant '2' in settlement '1'",
        ),
    ],
)
def test_what_a_settlement_does_not_have(
    client: TestClient, scheme: Settling, settlement: dict[str, Any], path: str, text: str
) -> None:
    # A description is cut where FSPIOP ends it.
    assert error(client.get(path)) == (400, "3100", f"Generic validation error - {text}"[:128])


def test_an_account_that_is_not_settled_by_it(client: TestClient, scheme: Settling, settlement: dict[str, Any]) -> None:
    liquidity = scheme.hub.account_id(A, "USD", "SETTLEMENT")
    status, code, description = error(client.get(f"/v2/settlements/1/participants/2/accounts/{liquidity}"))
    text = f"Account ID '{liquidity}' is not part of settlement '1'"
    assert (status, code, description.partition(" - ")[2]) == (400, "3100", text)


@pytest.mark.parametrize("path", ["/v2/settlements/x", "/v2/settlementWindows/-1", "/v2/settlements/99999999999"])
def test_a_number_that_is_none(client: TestClient, bench: SchemeBench, path: str) -> None:
    assert error(client.get(path))[:2] == (400, "3101")


# --- net debit caps as a share of the liquidity ---------------------------------------------------------------------


def adjust(client: TestClient, **limit: object) -> Any:
    body = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "alarmPercentage": 10, **limit}}
    return client.put(f"/participants/{A}/limits", json=body)


def test_a_cap_may_be_a_share_of_the_liquidity(client: TestClient, scheme: Settling) -> None:
    shown = {"type": "NET_DEBIT_CAP", "value": 510, "alarmPercentage": 10, "liquidityPercentage": 25.5}
    answer = adjust(client, liquidityPercentage="25.5")
    assert (answer.status_code, answer.json()) == (200, {"currency": "USD", "limit": shown})
    assert client.get(f"/participants/{A}/limits").json() == [{"currency": "USD", "limit": shown}]


@pytest.mark.parametrize(
    ("limit", "code", "text"),
    [
        ({"liquidityPercentage": 101}, "3100", "limit.liquidityPercentage must be between 0 and 100"),
        ({"liquidityPercentage": 0.001}, "3100", '"limit.liquidityPercentage" must have at most 2 decimals'),
        ({"liquidityPercentage": "much"}, "3100", '"limit.liquidityPercentage" must be a number'),
        ({"liquidityPercentage": 10, "value": 5}, "3103", '"limit.liquidityPercentage" is not allowed'),
        ({}, "3102", '"limit.value" is required'),
    ],
)
def test_a_share_that_is_wrong(
    client: TestClient, scheme: Settling, limit: dict[str, object], code: str, text: str
) -> None:
    status, found, description = error(adjust(client, **limit))
    assert (status, found, description.partition(" - ")[2]) == (400, code, text)
