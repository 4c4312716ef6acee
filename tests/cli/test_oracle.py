"""``vuka oracle``: the oracles outside the hub, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.answering import answering
from tests.cli.conftest import Played

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _no_oracles_after(played: Played) -> Iterator[None]:
    """The hub is shared: every test leaves it without oracles."""
    yield
    for each in listed(played):
        played.ask("oracle", "remove-remote", str(each["oracleId"]))


def listed(played: Played) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(played.ask("oracle", "list", "--json").stdout)
    return found


def added(played: Played, kind: str, url: str, *options: str) -> str:
    """Adds an oracle; its number."""
    result = played.ask("oracle", "add-remote", kind, url, *options)
    assert result.exit_code == 0, result.output
    return str(listed(played)[-1]["oracleId"])


def said(played: Played, *arguments: str) -> tuple[int, str]:
    result = played.ask("oracle", *arguments)
    return result.exit_code, result.output.strip()


def test_an_oracle_is_added_and_listed(played: Played) -> None:
    assert said(played, "add-remote", "ALIAS", "http://oracle/als", "-c", "USD", "--default") == (
        0,
        "ALIAS in USD is asked of http://oracle/als.",
    )
    (oracle,) = listed(played)
    assert (oracle["oracleIdType"], oracle["currency"], oracle["isDefault"]) == ("ALIAS", "USD", 1)
    shown = played.ask("oracle", "list").stdout
    assert all(word in shown for word in ("ALIAS", "USD", "http://oracle/als", "yes"))


def test_an_oracle_for_any_currency_says_so(played: Played) -> None:
    assert said(played, "add-remote", "ALIAS", "http://oracle")[1] == "ALIAS is asked of http://oracle."
    assert " any " in played.ask("oracle", "list").stdout


def test_a_second_oracle_is_refused_in_a_sentence(played: Played) -> None:
    added(played, "ALIAS", "http://oracle")
    code, sentence = said(played, "add-remote", "ALIAS", "http://another")
    assert (code, "The hub refused: Internal server error - Duplicate" in sentence) == (1, True)


def test_what_is_no_url_is_refused_in_a_sentence(played: Played) -> None:
    code, sentence = said(played, "add-remote", "ALIAS", "oracle")
    assert (code, "must be an http or https URL" in sentence) == (1, True)


def test_an_oracle_is_changed_and_what_is_not_named_stays(played: Played) -> None:
    number = added(played, "ALIAS", "http://oracle", "-c", "USD", "--default")
    assert said(played, "change-remote", number, "https://moved") == (0, f"Oracle {number} is changed.")
    assert said(played, "change-remote", number, "--no-default", "--type", "BUSINESS")[0] == 0
    (oracle,) = listed(played)
    assert (oracle["endpoint"]["value"], oracle["oracleIdType"]) == ("https://moved", "BUSINESS")
    assert (oracle["currency"], oracle["isDefault"]) == ("USD", 0)


def test_an_oracle_is_removed(played: Played) -> None:
    number = added(played, "ALIAS", "http://oracle")
    assert said(played, "remove-remote", number) == (0, f"Oracle {number} is asked no more.")
    assert listed(played) == []


@pytest.mark.parametrize("command", ["change-remote", "remove-remote"])
def test_an_oracle_that_is_not_there_is_named_with_what_to_do(played: Played, command: str) -> None:
    assert said(played, command, "999") == (1, "Error: There is no oracle 999. See `vuka oracle list`.")


def test_the_test_ends_well_where_every_oracle_answers(played: Played) -> None:
    with answering(200) as url:
        added(played, "ALIAS", url)
        code, shown = said(played, "test")
    assert (code, "OK" in shown) == (0, True)


def test_the_hubs_own_oracle_is_no_oracle_outside_of_it(played: Played) -> None:
    code, sentence = said(played, "add-remote", "ALIAS", f"{played.hub.operators_url}/oracle")
    assert (code, "/requestBody/endpoint/value is the hub's own" in sentence) == (1, True)


def test_the_test_ends_with_1_where_an_oracle_is_down(played: Played) -> None:
    with answering(200) as url:
        added(played, "ALIAS", url)
        added(played, "BUSINESS", NOWHERE)
        result = played.ask("oracle", "test", "--json")
        found = {each["oracleIdType"]: (each["status"], each.get("error")) for each in json.loads(result.stdout)}
        assert (result.exit_code, found) == (1, {"ALIAS": ("OK", None), "BUSINESS": ("DOWN", "connection refused")})
        assert "connection refused" in said(played, "test")[1]
