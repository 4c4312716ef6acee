"""Every filter of ``GET /v2/settlementWindows`` and ``/v2/settlements``, alone and together, on a day of many windows.

Window 1 (from 08:00) holds alpha's dollars to bravo; window 2 (from 09:00) bravo's euros to charlie and alpha's dollars
to charlie; window 3 (from 10:00) charlie's euros to alpha; window 4 (from 11:00) alpha's dollars to bravo; window 5 is
open since 12:00 and holds bravo's euros to charlie. Settlement 1 (of 13:00) is of window 1 and has been recorded;
settlement 2 (of 14:00) is of windows 2 and 3; settlement 3 (of 15:00) of window 4, and it was aborted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling

ALPHA, BRAVO, CHARLIE = "alpha", "bravo", "charlie"
IDS = {"Hub": 1, ALPHA: 2, BRAVO: 3, CHARLIE: 4}


@pytest.fixture
def scheme(bench: SchemeBench) -> Settling:
    at(bench, 7)
    with bench.work() as work:
        # The window that the founding opened is of another year.
        work.tx.run("UPDATE settlement_window SET created_ms = ?", (ms(8),))
    for name in (ALPHA, BRAVO, CHARLIE):
        for currency in ("USD", "EUR"):
            bench.onboard(name, currency, cap="1000", funds="1000")
    settling = Settling(bench)
    windows = (
        [(ALPHA, BRAVO, "1 USD")],
        [(BRAVO, CHARLIE, "2 EUR"), (ALPHA, CHARLIE, "3 USD")],
        [(CHARLIE, ALPHA, "4 EUR")],
        [(ALPHA, BRAVO, "5 USD")],
        [(BRAVO, CHARLIE, "6 EUR")],
    )
    for number, payments in enumerate(windows, 1):
        for payer, payee, amount in payments:
            settling.pay(payer, payee, amount)
        at(bench, 8 + number)
        if number < len(windows):
            settling.close()
    for number, window_ids in enumerate(((1,), (2, 3), (4,))):
        at(bench, 13 + number)
        settling.create(*window_ids)
    at(bench, 16)
    settling.step(1, "PS_TRANSFERS_RECORDED")
    at(bench, 17)
    settling.abort(3)
    settling.check()
    return settling


def ms(hour: int) -> int:
    return int(datetime.fromisoformat(f"2026-11-24T{hour:02}:00:00Z").timestamp()) * 1000


def at(bench: SchemeBench, hour: int) -> None:
    bench.now_ms = ms(hour)


def found(client: TestClient, path: str, query: str) -> list[Any]:
    """What a filter finds; nothing, where that is what the error says."""
    answer = client.get(f"{path}?{query}")
    if answer.status_code == 400:
        information = answer.json()["errorInformation"]
        assert information["errorCode"] == "3100"
        assert "not found" in information["errorDescription"] or "No settlements" in information["errorDescription"]
        return []
    assert answer.status_code == 200, answer.text
    listed: list[Any] = answer.json()
    return listed


@pytest.mark.parametrize(
    ("query", "window_ids"),
    [
        ("fromDateTime=1970-01-01", [1, 2, 3, 4, 5]),
        ("state=OPEN", [5]),
        ("state=CLOSED", []),
        ("state=PENDING_SETTLEMENT", [1, 2, 3]),
        ("state=ABORTED", [4]),
        ("state=SETTLED", []),
        ("currency=USD", [1, 2, 4]),
        ("currency=EUR", [2, 3, 5]),
        ("currency=KES", []),
        (f"participantId={IDS[ALPHA]}", [1, 2, 3, 4]),
        (f"participantId={IDS[BRAVO]}", [1, 2, 4, 5]),
        (f"participantId={IDS[CHARLIE]}", [2, 3, 5]),
        (f"participantId={IDS['Hub']}", []),
        ("participantId=99", []),
        ("fromDateTime=2026-11-24T10:00:00Z", [3, 4, 5]),
        ("fromDateTime=2026-11-24T10:00:00.001Z", [4, 5]),
        ("toDateTime=2026-11-24T10:00:00Z", [1, 2, 3]),
        ("toDateTime=2026-11-24T09:59:59.999Z", [1, 2]),
        ("fromDateTime=2026-11-24T12:00:00%2B03:00&toDateTime=2026-11-24T13:00:00%2B03:00", [2, 3]),
        ("fromDateTime=2026-11-25", []),
        # Together: all of them hold, and of a participant and a currency its trade in that currency.
        (f"participantId={IDS[ALPHA]}&currency=USD", [1, 2, 4]),
        (f"participantId={IDS[ALPHA]}&currency=EUR", [3]),
        (f"participantId={IDS[BRAVO]}&currency=EUR", [2, 5]),
        (f"participantId={IDS[CHARLIE]}&currency=USD", [2]),
        (f"participantId={IDS[BRAVO]}&state=PENDING_SETTLEMENT", [1, 2]),
        ("currency=EUR&state=PENDING_SETTLEMENT&fromDateTime=2026-11-24T09:30:00Z", [3]),
        (f"participantId={IDS[ALPHA]}&state=OPEN", []),
        (
            f"participantId={IDS[ALPHA]}&state=PENDING_SETTLEMENT&currency=USD"
            "&fromDateTime=2026-11-24T08:00:00Z&toDateTime=2026-11-24T08:30:00Z",
            [1],
        ),
    ],
)
def test_windows_are_found_by_what_they_hold(
    client: TestClient, scheme: Settling, query: str, window_ids: list[int]
) -> None:
    windows = found(client, "/v2/settlementWindows", query)
    assert sorted(each["settlementWindowId"] for each in windows) == window_ids
    for each in windows:
        assert each == client.get(f"/v2/settlementWindows/{each['settlementWindowId']}").json()


def test_windows_come_with_the_one_that_changed_last_first(client: TestClient, scheme: Settling) -> None:
    windows = found(client, "/v2/settlementWindows", "fromDateTime=1970-01-01")
    # Aborted at 17:00; taken up by settlements at 14:00 and 13:00; opened at 12:00.
    assert [each["id"] for each in windows] == [4, 3, 2, 1, 5]


@pytest.mark.parametrize(
    ("query", "settlement_ids"),
    [
        ("fromDateTime=1970-01-01", [1, 2, 3]),
        ("state=PENDING_SETTLEMENT", [2]),
        ("state=PS_TRANSFERS_RECORDED", [1]),
        ("state=ABORTED", [3]),
        ("state=SETTLED", []),
        ("currency=USD", [1, 2, 3]),
        ("currency=EUR", [2]),
        ("currency=KES", []),
        (f"participantId={IDS[BRAVO]}", [1, 2, 3]),
        (f"participantId={IDS[CHARLIE]}", [2]),
        (f"participantId={IDS['Hub']}", []),
        ("accountId={charlie EUR}", [2]),
        ("accountId={bravo USD}", [1, 3]),
        ("accountId={bravo EUR}", [2]),
        ("accountId=9999", []),
        ("settlementWindowId=1", [1]),
        ("settlementWindowId=3", [2]),
        ("settlementWindowId=5", []),
        ("fromDateTime=2026-11-24T14:00:00Z", [2, 3]),
        ("fromDateTime=2026-11-24T14:00:00.001Z", [3]),
        ("toDateTime=2026-11-24T14:00:00Z", [1, 2]),
        ("toDateTime=2026-11-24T12:59:59.999Z", []),
        ("fromSettlementWindowDateTime=2026-11-24T10:00:00Z", [2, 3]),
        ("fromSettlementWindowDateTime=2026-11-24T10:00:00.001Z", [3]),
        ("toSettlementWindowDateTime=2026-11-24T09:00:00Z", [1, 2]),
        ("toSettlementWindowDateTime=2026-11-24T08:59:59Z", [1]),
        # One window must lie between both, and one account be of the participant in the currency.
        ("fromSettlementWindowDateTime=2026-11-24T09:30:00Z&toSettlementWindowDateTime=2026-11-24T10:30:00Z", [2]),
        ("fromSettlementWindowDateTime=2026-11-24T09:10:00Z&toSettlementWindowDateTime=2026-11-24T09:50:00Z", []),
        ("settlementWindowId=2&fromSettlementWindowDateTime=2026-11-24T10:00:00Z", []),
        (f"participantId={IDS[CHARLIE]}&currency=USD", [2]),
        (f"participantId={IDS[BRAVO]}&currency=EUR", [2]),
        ("accountId={bravo USD}&currency=EUR", []),
        ("accountId={bravo USD}&state=ABORTED&settlementWindowId=4", [3]),
        ("state=ABORTED&currency=EUR", []),
    ],
)
def test_settlements_are_found_by_what_they_settle(
    client: TestClient, scheme: Settling, query: str, settlement_ids: list[int]
) -> None:
    for name in (ALPHA, BRAVO, CHARLIE):
        for currency in ("USD", "EUR"):
            number = scheme.hub.account_id(name, currency, "POSITION")
            query = query.replace(f"{{{name} {currency}}}", str(number))
    assert [each["id"] for each in found(client, "/v2/settlements", query)] == settlement_ids


def test_a_settlement_is_listed_as_it_is_shown(client: TestClient, scheme: Settling) -> None:
    for each in found(client, "/v2/settlements", "fromDateTime=1970-01-01"):
        assert each == client.get(f"/v2/settlements/{each['id']}").json()


def test_a_filter_of_accounts_narrows_the_accounts_and_none_narrows_the_windows(
    client: TestClient, scheme: Settling
) -> None:
    query = f"participantId={IDS[CHARLIE]}&currency=USD&settlementWindowId=2"
    (settlement,) = found(client, "/v2/settlements", query)
    (participant,) = settlement["participants"]
    (account,) = participant["accounts"]
    assert (participant["id"], account["id"]) == (IDS[CHARLIE], scheme.hub.account_id(CHARLIE, "USD", "POSITION"))
    assert account["netSettlementAmount"] == {"amount": -3, "currency": "USD"}
    assert [each["id"] for each in settlement["settlementWindows"]] == [2, 3]


@pytest.mark.parametrize("path", ["/v2/settlementWindows", "/v2/settlements"])
def test_no_filter_at_all_is_told_which_there_are(client: TestClient, scheme: Settling, path: str) -> None:
    answer = client.get(path).json()["errorInformation"]
    assert answer["errorCode"] == "3100"
    assert answer["errorDescription"].startswith("Generic validation error - Use at least one parameter: ")


@pytest.mark.parametrize(
    ("path", "query", "code", "text"),
    [
        ("settlements", "accountId=x", "3100", '"accountId" must be a number'),
        ("settlements", "accountId=0", "3100", '"accountId" must be a positive number'),
        ("settlements", "settlementWindowId=1.5", "3101", '"settlementWindowId" must be an integer'),
        ("settlements", "participantId=-2", "3100", '"participantId" must be a positive number'),
        ("settlements", "toSettlementWindowDateTime=noon", "3101", '"toSettlementWindowDateTime" must be in ISO 8601'),
        ("settlements", "currency=QQQ", "3101", '"currency" must be one of ['),
        ("settlements", "state=OPEN", "3101", '"state" must be one of [ABORTED, PENDING_SETTLEMENT,'),
        ("settlements", "windowId=1", "3103", '"windowId" is not allowed'),
        ("settlementWindows", "state=SETTLING", "3101", '"state" must be one of [ABORTED, CLOSED, OPEN,'),
        ("settlementWindows", "currency=usd", "3101", '"currency" must be one of ['),
        ("settlementWindows", "accountId=1", "3103", '"accountId" is not allowed'),
    ],
)
def test_a_filter_that_is_none(
    client: TestClient, scheme: Settling, path: str, query: str, code: str, text: str
) -> None:
    information = client.get(f"/v2/{path}?{query}").json()["errorInformation"]
    assert information["errorCode"] == code
    assert information["errorDescription"].partition(" - ")[2].startswith(text)
