"""``vuka quotes``: rules shown, set and cleared at a running hub, faults told in full, and rules tried on the past."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Played, refused

ALWAYS = {"all": [{"fact": "operation", "operator": "isString", "value": True}]}


def refusing(**more: Any) -> dict[str, Any]:
    params = {"FSPIOPError": "PAYER_ERROR", "message": "not today"}
    return {"conditions": ALWAYS, "event": {"type": "INVALID_QUOTE_REQUEST", "params": params}, **more}


def rerouting(to: str) -> dict[str, Any]:
    return {"conditions": ALWAYS, "event": {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": to}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.json"


@pytest.fixture
def hub(played: Played) -> Iterator[Played]:
    """The hub, without rules in the end."""
    yield played
    assert played.ask("quotes", "rules", "clear").exit_code == 0


def written(file: Path, *rules: object) -> str:
    file.write_text(json.dumps(rules))
    return str(file)


def test_rules_are_set_and_shown(hub: Played, file: Path) -> None:
    name = written(file, refusing(name="nobody pays"), rerouting("pesapay"))
    done = hub.ask("quotes", "rules", "set", name)
    assert done.exit_code == 0
    assert done.output.startswith("2 rules in force, version ")
    shown = hub.ask("quotes", "rules", "show").output
    for words in ("nobody pays", "INVALID_QUOTE_REQUEST", "PAYER_ERROR: not today", "asks pesapay instead"):
        assert words in shown


def test_rules_are_shown_as_they_are_set(hub: Played, file: Path) -> None:
    hub.ask("quotes", "rules", "set", written(file, refusing()))
    assert json.loads(hub.ask("quotes", "rules", "show", "--json").output) == [refusing()]


def test_rules_are_cleared(hub: Played, file: Path) -> None:
    hub.ask("quotes", "rules", "set", written(file, refusing()))
    assert hub.ask("quotes", "rules", "clear").output.startswith("No rules are in force, version ")
    assert hub.ask("quotes", "rules", "show").output == "No rules are in force: every quote goes its own way.\n"


def test_the_versions_are_listed(hub: Played, file: Path) -> None:
    hub.ask("quotes", "rules", "set", written(file, refusing()))
    assert "in force" in hub.ask("quotes", "rules", "show", "--history").output
    versions = json.loads(hub.ask("quotes", "rules", "show", "--history", "--json").output)
    assert [each["isActive"] for each in versions[:2]] == [True] + [False] * len(versions[1:2])


def test_every_fault_of_a_file_is_told(hub: Played, file: Path) -> None:
    wrong = {"conditions": {"all": [{"fact": "payer", "operator": "equals", "value": 1}]}, "event": {"type": "X"}}
    told = refused("quotes", "rules", "set", written(file, wrong), "--url", hub.hub.operators_url)
    assert told.splitlines()[1:] == [
        "  rule 1, conditions.all[0].operator: 'equals' is no operator; there are "
        + told.splitlines()[1].partition("there are ")[2],
        "  rule 1, event.type: must be INVALID_QUOTE_REQUEST or INTERCEPT_QUOTE",
    ]


def test_rules_that_the_hub_refuses_are_told(hub: Played, file: Path) -> None:
    told = refused("quotes", "rules", "set", written(file, rerouting("nobody")), "--url", hub.hub.operators_url)
    assert "nobody, which the scheme does not have" in told


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "can't be read: No such file or directory." in refused("quotes", "rules", "set", str(tmp_path / "no.json"))


def test_a_number_that_json_libraries_would_round_is_told(file: Path) -> None:
    value = "123456789012345678.0001"
    condition = f'{{"fact": "payload", "path": "a", "operator": "lessThan", "value": {value}}}'
    event = '{"type": "INVALID_QUOTE_REQUEST", "params": {"FSPIOPError": "PAYER_ERROR"}}'
    file.write_text(f'[{{"conditions": {{"all": [{condition}]}}, "event": {event}}}]')
    assert f'write it as a text, "{value}"' in refused("quotes", "rules", "set", str(file))


def test_rules_are_tried_on_past_quotes(hub: Played, file: Path) -> None:
    done = hub.ask("quotes", "try-rules", written(file, refusing(name="nobody pays")), "--since", "1h")
    assert done.exit_code == 0
    assert "been refused: 4000 Generic Payer error - not today" in done.output
    assert "nobody pays" in done.output
    assert hub.ask("quotes", "rules", "show", "--json").output.strip() == "[]"


def test_a_trial_is_printed_for_programs(hub: Played, file: Path) -> None:
    arguments = ("quotes", "try-rules", written(file, rerouting("pesapay")), "--json", "--limit")
    one = json.loads(hub.ask(*arguments, "1").output)
    assert (one["tried"], one["quotes"][0]["decision"]["to"]) == (1, "pesapay")
    all_of_it = json.loads(hub.ask(*arguments, "1000").output)
    assert all_of_it["tried"] > 1


def test_a_trial_may_be_of_one_quote(hub: Played, file: Path) -> None:
    arguments = ("quotes", "try-rules", written(file, refusing()), "--json")
    (newest,) = json.loads(hub.ask(*arguments, "--limit", "1").output)["quotes"]
    (same,) = json.loads(hub.ask(*arguments, "--quote", newest["id"]).output)["quotes"]
    assert same == newest


def test_a_time_that_is_none_is_told(file: Path) -> None:
    told = refused("quotes", "try-rules", written(file, refusing()), "--since", "lately")
    assert told == "lately is no time: write e.g. 7d, 12h, 2030-01-31, or 2030-01-31T12:00:00Z."
