"""``vuka schedule``, against a hub of life in which somebody has paid."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import refused, vuka
from tests.cli.test_settlement import settled_hub

from vuka.cli.process import hub_process

ADD = ("schedule", "add", "end-of-day", "0 18 * * MON-FRI", "--time-zone", "Africa/Kigali")
AT_SIX = re.compile(r"end-of-day runs next at \d{4}-\d\d-\d\d 18:00\+02:00\.")


@pytest.fixture(scope="module")
def hub_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("schedules")
    settled_hub(data)
    with hub_process(data) as hub:
        yield hub.operators_url


@pytest.fixture
def url(hub_url: str) -> Iterator[str]:
    """A hub without schedules."""
    yield hub_url
    for each in json.loads(vuka("schedule", "list", "--json", "--url", hub_url).stdout):
        vuka("schedule", "remove", each["name"], "--url", hub_url)


def said(*arguments: str) -> str:
    result = vuka(*arguments, environment={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_schedule_is_added_listed_and_shown(url: str) -> None:
    at = ("--url", url)
    assert AT_SIX.fullmatch(said(*ADD, *at))
    listed = said("schedule", "list", *at)
    assert all(word in listed for word in ("end-of-day", "0 18 * * MON-FRI", "Africa/Kigali", "closes only"))
    shown = said("schedule", "show", "end-of-day", *at)
    assert shown.startswith(
        "end-of-day closes the window at 0 18 * * MON-FRI (Africa/Kigali) and settles nothing.\nNext runs"
    )
    assert len(re.findall(r"18:00\+02:00 .*T16:00:00\.000Z", shown)) == 5
    as_json = json.loads(said("schedule", "show", "end-of-day", "--json", *at))
    assert (as_json["timeZone"], len(as_json["nextRuns"])) == ("Africa/Kigali", 5)


def test_a_schedule_is_paused_resumed_and_removed(url: str) -> None:
    at = ("--url", url)
    said(*ADD, *at)
    assert said("schedule", "pause", "end-of-day", *at) == "end-of-day is paused."
    assert "but is paused." in said("schedule", "show", "end-of-day", *at)
    assert "paused" in said("schedule", "list", *at)
    assert said("schedule", "change", "end-of-day", "--cron", "0 18 * * SUN", *at) == "end-of-day is paused."
    assert AT_SIX.fullmatch(said("schedule", "resume", "end-of-day", *at))
    assert said("schedule", "remove", "end-of-day", *at) == "end-of-day is removed."
    assert "end-of-day" not in said("schedule", "list", *at)


def test_a_schedule_is_changed_part_by_part(url: str) -> None:
    at = ("--url", url)
    said(*ADD, "--model", "DEFAULTDEFERREDNET", *at)
    assert "settles by DEFAULTDEFERREDNET" in said("schedule", "show", "end-of-day", *at)
    changed = said("schedule", "change", "end-of-day", "--cron", "30 6 * * *", "--time-zone", "UTC", *at)
    assert re.fullmatch(r"end-of-day runs next at \S+ 06:30\+00:00\.", changed)
    assert said("schedule", "change", "end-of-day", "--model", "", *at) == changed
    assert "settles nothing" in said("schedule", "show", "end-of-day", *at)
    assert "Nothing is to be changed" in refused("schedule", "change", "end-of-day", *at)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "x", "0 18 * *"), '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI'),
        (("add", "x", "0 99 * * *"), '"cron" has a bad hour. Write it e.g. as 0 18 * * MON-FRI'),
        (("add", "x", "0 18 * * *", "--time-zone", "Mars"), "\"timeZone\" 'Mars' is not in the IANA database."),
        (("add", "x", "0 18 * * *", "--model", "NO"), '"settlementModel" NO is not there. See: vuka model list'),
        (("add", "a b", "0 18 * * *"), '"name" must be 1 to 30 letters, digits, dots, dashes or underscores'),
        (("show", "lost"), "There is no schedule lost. See: vuka schedule list"),
        (("change", "lost", "--cron", "0 18 * * *"), "There is no schedule lost."),
        (("pause", "lost"), "There is no schedule lost."),
        (("resume", "lost"), "There is no schedule lost."),
        (("remove", "lost"), "There is no schedule lost."),
    ],
)
def test_what_will_not_do_is_a_sentence(url: str, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused("schedule", *arguments, "--url", url)
    assert json.loads(said("schedule", "list", "--json", "--url", url)) == []


def test_a_schedule_runs_and_tells_what_it_did(tmp_path: Path) -> None:
    """The next minute is far away for a test: the hub finds that it was due while it was down."""
    settled_hub(tmp_path)
    with hub_process(tmp_path) as hub:
        said(*ADD, "--model", "DEFAULTDEFERREDNET", "--url", hub.operators_url)
    make_due(tmp_path)
    with hub_process(tmp_path) as hub:
        at = ("--url", hub.operators_url)
        outcome = "Window 1 closed, 2 opened. Settlement 1 by DEFAULTDEFERREDNET settles window 1."
        deadline = time.monotonic() + 20
        # It listens before its timer has looked for what is due.
        while outcome not in said("schedule", "show", "end-of-day", *at):
            assert time.monotonic() < deadline, said("schedule", "show", "end-of-day", *at)
            time.sleep(0.02)
        assert outcome in said("schedule", "list", *at)
        assert "Settlement 1 is PENDING_SETTLEMENT." in said("settlement", "show", "1", *at)
    assert "a schedule ran" in (tmp_path / "hub.log").read_text()


def make_due(data: Path) -> None:
    """Has every schedule of a hub that is down be due."""
    connection = sqlite3.connect(data / "vuka.db")
    connection.execute("UPDATE settlement_schedule SET next_ms = 1790000000000")
    connection.commit()
    connection.close()
