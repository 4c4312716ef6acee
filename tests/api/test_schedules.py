"""``/settlementSchedules``: added, shown with their next runs, changed, removed, and refused in a sentence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import DEFAULT, Settling

from vuka.switch.schedules import RunSchedules

EVENING = {"name": "evening", "cron": "0 18 * * MON-FRI", "timeZone": "Africa/Kigali", "settlementModel": DEFAULT}
PATH = "/settlementSchedules/evening"


@pytest.fixture(autouse=True)
def _clock(bench: SchemeBench) -> None:
    """A Thursday."""
    bench.now_ms = int(datetime.fromisoformat("2026-11-26T12:00:00Z").timestamp()) * 1000


def refused(answer: Any) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"].partition(" - ")[2]


def test_a_schedule_is_added_and_shown_with_its_next_five_runs(client: TestClient) -> None:
    answer = client.post("/settlementSchedules", json=EVENING)
    assert (answer.status_code, answer.json()) == (
        201,
        {
            **EVENING,
            "isActive": True,
            "nextRuns": [f"2026-{day}T16:00:00.000Z" for day in ("11-26", "11-27", "11-30", "12-01", "12-02")],
            "lastRun": None,
            "lastDue": None,
            "lastOutcome": None,
            "createdDate": "2026-11-26T12:00:00.000Z",
            "createdBy": "operator",
            "changedDate": "2026-11-26T12:00:00.000Z",
            "changedBy": "operator",
        },
    )
    assert client.get(PATH).json() == answer.json()
    assert client.get("/settlementSchedules").json() == [answer.json()]


def test_what_a_schedule_need_not_say(client: TestClient) -> None:
    answer = client.post("/settlementSchedules", json={"name": "x", "cron": " 0 0  * * * ", "settlementModel": None})
    found = {key: answer.json()[key] for key in ("cron", "timeZone", "settlementModel", "isActive")}
    assert found == {"cron": "0 0 * * *", "timeZone": "UTC", "settlementModel": None, "isActive": True}


def test_schedules_are_listed_by_name(client: TestClient) -> None:
    for name in ("evening", "afternoon"):
        client.post("/settlementSchedules", json={**EVENING, "name": name})
    assert [each["name"] for each in client.get("/settlementSchedules").json()] == ["afternoon", "evening"]


def test_a_run_is_shown_with_what_came_of_it(client: TestClient, bench: SchemeBench) -> None:
    for name in ("alpha", "bravo"):
        bench.onboard(name, "USD", cap="1000", funds="2000")
    Settling(bench).pay("alpha", "bravo", "12.5 USD")
    client.post("/settlementSchedules", json=EVENING)
    bench.advance(4 * 3_600_000 + 1_234)
    bench.accept(RunSchedules())
    found = client.get(PATH).json()
    assert {key: found[key] for key in ("lastRun", "lastDue", "lastOutcome")} == {
        "lastRun": "2026-11-26T16:00:01.234Z",
        "lastDue": "2026-11-26T16:00:00.000Z",
        "lastOutcome": f"Window 1 closed, 2 opened. Settlement 1 by {DEFAULT} settles window 1.",
    }
    assert found["nextRuns"][0] == "2026-11-27T16:00:00.000Z"
    assert client.get("/v2/settlementWindows/1").json()["reason"] == "Made by schedule evening"
    assert client.get("/v2/settlements/1").json()["state"] == "PENDING_SETTLEMENT"


def test_one_that_is_due_shows_that_it_is(client: TestClient, bench: SchemeBench) -> None:
    client.post("/settlementSchedules", json=EVENING)
    bench.advance(5 * 3_600_000)
    assert client.get(PATH).json()["nextRuns"][:2] == ["2026-11-26T16:00:00.000Z", "2026-11-27T16:00:00.000Z"]


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({"cron": "30 6 * * *"}, {"cron": "30 6 * * *"}),
        ({"timeZone": "Asia/Yangon"}, {"timeZone": "Asia/Yangon"}),
        ({"settlementModel": None}, {"settlementModel": None}),
        ({"isActive": False}, {"isActive": False, "nextRuns": []}),
        ({"isActive": "false", "cron": "0 0 * * *"}, {"isActive": False, "cron": "0 0 * * *", "nextRuns": []}),
    ],
)
def test_each_part_of_a_schedule_is_changed_alone(
    client: TestClient, body: dict[str, object], changed: dict[str, object]
) -> None:
    before = client.post("/settlementSchedules", json=EVENING).json()
    answer = client.put(PATH, json=body)
    assert answer.status_code == 200
    found = answer.json()
    for name in ("cron", "timeZone", "settlementModel", "isActive"):
        assert found[name] == changed.get(name, before[name])
    moves = "cron" in body or "timeZone" in body
    assert found["nextRuns"] == changed.get("nextRuns", found["nextRuns"] if moves else before["nextRuns"])


def test_a_paused_schedule_is_resumed(client: TestClient) -> None:
    before = client.post("/settlementSchedules", json={**EVENING, "isActive": False}).json()
    assert (before["isActive"], before["nextRuns"]) == (False, [])
    assert client.put(PATH, json={"isActive": True}).json()["nextRuns"][0] == "2026-11-26T16:00:00.000Z"


def test_a_removed_schedule_is_gone(client: TestClient) -> None:
    client.post("/settlementSchedules", json=EVENING)
    answer = client.delete(PATH)
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get("/settlementSchedules").json() == []


@pytest.mark.parametrize("name", ["evening", "x" * 40, "%00", "a%20b"])
def test_one_that_is_not_there(client: TestClient, name: str) -> None:
    for answer in (
        client.get(f"/settlementSchedules/{name}"),
        client.put(f"/settlementSchedules/{name}", json={"isActive": True}),
        client.delete(f"/settlementSchedules/{name}"),
    ):
        assert refused(answer)[:2] == (400, "3200")
    assert refused(client.get(PATH))[2] == "There is no schedule evening. See: vuka schedule list"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"name": None}, "3101", '"name" must be a string'),
        ({"name": "two words"}, "3100", '"name" must be 1 to 30 letters, digits, dots, dashes or underscores'),
        ({"cron": 5}, "3101", '"cron" must be a string'),
        ({"cron": "*" * 101}, "3101", '"cron" length must be less than or equal to 100 characters long'),
        (
            {"cron": "0 18 * *"},
            "3100",
            '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI',
        ),
        ({"cron": "0 24 * * *"}, "3100", '"cron" has a bad hour. Write it e.g. as 0 18 * * MON-FRI'),
        (
            {"timeZone": "Kigali"},
            "3100",
            "\"timeZone\" 'Kigali' is not in the IANA database. Write it e.g. as Africa/Kigali",
        ),
        ({"timeZone": None}, "3101", '"timeZone" must be a string'),
        ({"settlementModel": "NONE"}, "3100", '"settlementModel" NONE is not there. See: vuka model list'),
        ({"settlementModel": 1}, "3101", '"settlementModel" must be a string'),
        ({"isActive": "maybe"}, "3100", '"isActive" must be a boolean'),
        ({"every": "day"}, "3103", '"every" is not allowed'),
    ],
)
def test_what_a_schedule_can_not_say(client: TestClient, change: dict[str, object], code: str, text: str) -> None:
    assert refused(client.post("/settlementSchedules", json={**EVENING, **change})) == (400, code, text)
    assert client.get("/settlementSchedules").json() == []
    if "name" not in change:
        before = client.post("/settlementSchedules", json=EVENING).json()
        assert refused(client.put(PATH, json=change)) == (400, code, text)
        assert client.get(PATH).json() == before


@pytest.mark.parametrize("name", ["name", "cron"])
def test_what_a_schedule_must_say(client: TestClient, name: str) -> None:
    body = {key: value for key, value in EVENING.items() if key != name}
    assert refused(client.post("/settlementSchedules", json=body)) == (400, "3102", f'"{name}" is required')


def test_an_immediate_model_settles_no_windows(client: TestClient) -> None:
    model = {"settlementGranularity": "GROSS", "settlementInterchange": "BILATERAL", "settlementDelay": "IMMEDIATE"}
    account = {"ledgerAccountType": "POSITION", "settlementAccountType": "SETTLEMENT"}
    flags = {"requireLiquidityCheck": True, "autoPositionReset": True}
    client.post("/settlementModels", json={"name": "CGS", "currency": "USD", **model, **account, **flags})
    answer = client.post("/settlementSchedules", json={**EVENING, "settlementModel": "CGS"})
    text = '"settlementModel" CGS settles no windows, being immediate: name another'
    assert refused(answer) == (400, "3100", text)


def test_a_name_stands_for_one_schedule(client: TestClient) -> None:
    client.post("/settlementSchedules", json=EVENING)
    text = "There is a schedule evening already: change it, or take another name"
    assert refused(client.post("/settlementSchedules", json=EVENING)) == (400, "3000", text)


def test_a_change_that_says_nothing(client: TestClient) -> None:
    client.post("/settlementSchedules", json=EVENING)
    text = "Say cron, timeZone, settlementModel or isActive"
    assert refused(client.put(PATH, json={})) == (400, "3102", text)
