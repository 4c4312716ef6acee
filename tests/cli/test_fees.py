"""``vuka fees``: rules shown, set, cleared and tried at a running hub, every fault told; what was charged is shown."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import refused, vuka
from tests.cli.test_settlement import settled_hub
from tests.switch.charging import FEE_TYPE, SIX_PER_MILLE, fee_rule, where

from vuka.cli.process import hub_process

TOLL = fee_rule(name="toll", creditor="hub", fixed="0.25", currency="USD")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub in which alpha has paid bravo 12.5 USD, and was charged by both rules."""
    path = tmp_path_factory.mktemp("fees")
    settled_hub(path, SIX_PER_MILLE, TOLL)
    return path


@pytest.fixture(scope="module")
def running(data: Path) -> Iterator[str]:
    with hub_process(data) as hub:
        yield hub.operators_url


@pytest.fixture
def url(running: str, tmp_path: Path) -> Iterator[str]:
    """Where the hub is; it charges nothing when a test begins and when it has ended."""
    said("clear", "--url", running)
    yield running
    said("clear", "--url", running)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fees.json"


def said(*arguments: str) -> str:
    result = vuka("fees", *arguments, environment={"COLUMNS": "240"})
    assert result.exit_code == 0, result.output
    return result.stdout


def written(file: Path, *rules: object) -> str:
    file.write_text(json.dumps(rules))
    return str(file)


def squeezed(text: str) -> str:
    """The words of tables, without their lines."""
    return re.sub(r"[\s│┃┏━┳┓┡╇┩└─┴┘]+", " ", text)


# --- the rules ----------------------------------------------------------------------------------------------------


def test_rules_are_set_and_shown(url: str, file: Path) -> None:
    done = said("set", written(file, SIX_PER_MILLE, TOLL), "--url", url)
    assert done.startswith("2 rules in force, version ")
    assert said("set", written(file, TOLL), "--url", url).startswith("1 rule in force, version ")
    shown = squeezed(said("show", "--url", url))
    assert "1 toll payer hub 0.25 USD INTERCHANGE_FEE" in shown


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"percentage": "0.6"}, "0.6 %"),
        ({"percentage": 0.6, "fixed": "1", "currency": "USD"}, "0.6 % + 1 USD"),
        (
            {"percentage": "1", "minimum": "0.5", "maximum": "9", "currency": "USD"},
            "1 %, at least 0.5 USD, at most 9 USD",
        ),
        (
            {"tiers": [{"upTo": "100", "fixed": "0"}, {"percentage": "1"}], "currency": "USD"},
            "slab: 0 USD up to 100; 1 % beyond",
        ),
        (
            {
                "tiers": [{"upTo": "9", "percentage": "1", "fixed": "2"}, {"fixed": "3"}],
                "tiering": "MARGINAL",
                "currency": "USD",
            },
            "marginal: 1 % + 2 USD up to 9; 3 USD beyond",
        ),
    ],
)
def test_how_much_a_rule_charges_is_told_in_a_few_words(
    url: str, file: Path, params: dict[str, Any], words: str
) -> None:
    said("set", written(file, fee_rule(**params)), "--url", url)
    assert f"payer payee {words} INTERCHANGE_FEE" in squeezed(said("show", "--url", url))


def test_when_a_rule_is_valid_is_told(url: str, file: Path) -> None:
    of = fee_rule(percentage="1", validTo="2030-01-01T00:00:00Z")
    said("set", written(file, of), "--url", url)
    assert "1 % … to 2030-01-01T00:00:00Z INTERCHANGE_FEE" in squeezed(said("show", "--url", url))


def test_rules_are_shown_as_they_are_set(url: str, file: Path) -> None:
    of = fee_rule(percentage=0.6, fixed=0.25, currency="USD")
    said("set", written(file, of), "--url", url)
    assert json.loads(said("show", "--json", "--url", url)) == [of]


def test_rules_are_read_from_standard_input(url: str) -> None:
    from typer.testing import CliRunner  # the runner itself: this is about its input

    from vuka.cli import application

    result = CliRunner().invoke(application(), ["fees", "set", "-", "--url", url], input=json.dumps([TOLL]))
    assert result.stdout.startswith("1 rule in force, version ")


def test_rules_are_cleared(url: str, file: Path) -> None:
    said("set", written(file, TOLL), "--url", url)
    assert said("clear", "--url", url).startswith("No rules are in force, version ")
    assert said("show", "--url", url) == "No rules are in force: payments cost nothing.\n"


def test_the_versions_are_listed(url: str, file: Path) -> None:
    said("set", written(file, SIX_PER_MILLE, TOLL), "--url", url)
    assert "in force" in said("show", "--history", "--url", url)
    versions = json.loads(said("show", "--history", "--json", "--url", url))
    assert [(each["isActive"], len(each["rules"])) for each in versions[:2]] == [(True, 2), (False, 0)]


# --- what is refused ----------------------------------------------------------------------------------------------


def test_every_fault_of_a_file_is_told_before_the_hub_is_asked(file: Path) -> None:
    wrong = fee_rule(name="odd", percentage="99", rounding="NONE")
    other = fee_rule(conditions={"all": [where("payload", "$.a", "equal", 1)]}, fixed="1")
    assert refused("fees", "set", written(file, wrong, other)).splitlines() == [
        f"The rules in {file} are not in order:",
        '  rule 1 (odd), event.params.percentage: must be from 0 to 50 with at most 6 decimals, e.g. "0.6"',
        "  rule 1 (odd), event.params.rounding: must be one of HALF_UP, HALF_EVEN, UP, DOWN",
        "  rule 2, conditions.all[0].fact: must be one of payee, payer, transaction, transfer",
        "  rule 2, event.params.currency: is missing: fixed mean amounts of one currency",
    ]


def test_every_fault_that_only_the_hub_knows_is_told(url: str, file: Path) -> None:
    lost = [fee_rule(percentage="1", currency="USD", ledgerAccountType=each) for each in ("NO_SUCH", "SETTLEMENT")]
    assert refused("fees", "set", written(file, TOLL, *lost), "--url", url).splitlines() == [
        "The hub refused the rules:",
        "  rule 2, event.params.ledgerAccountType: is no type of account here: add it first "
        "(POST /ledgerAccountTypes), or use INTERCHANGE_FEE",
        "  rule 3, event.params.ledgerAccountType: is a type of account that can't be settled: "
        "use INTERCHANGE_FEE, or a settleable type",
    ]
    assert json.loads(said("show", "--json", "--url", url)) == []


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "can't be read: No such file or directory." in refused("fees", "set", str(tmp_path / "no.json"))


@pytest.mark.parametrize("content", ["", "[", "{}", "null"])
def test_a_file_that_is_no_list_of_rules_is_told(file: Path, content: str) -> None:
    file.write_text(content)
    assert refused("fees", "try", str(file)).startswith(f"The rules in {file} are not in order:\n  ")


def test_a_number_that_json_libraries_would_round_is_told(file: Path) -> None:
    rule = json.dumps([fee_rule(fixed="NUMBER", currency="USD")]).replace('"NUMBER"', "12345678901234.0001")
    file.write_text(rule)
    assert 'write it as a text, "12345678901234.0001"' in refused("fees", "set", str(file))


# --- trying -------------------------------------------------------------------------------------------------------


def test_rules_are_tried_on_past_payments_and_nothing_changes(url: str, file: Path) -> None:
    one_percent = fee_rule(name="one percent", percentage="1", currency="USD")
    shown = said("try", written(file, one_percent, fee_rule(fixed="9", currency="EUR")), "--url", url)
    words = squeezed(shown)
    assert "1 one percent 1 1 0.13 USD" in words
    assert "2 1 0 nothing" in words
    assert "12.50 USD one percent alpha bravo 0.13 USD" in words
    assert words.endswith(
        "Tried on 1 past payment; 1 would have been charged 0.13 USD. Then they were charged 0.33 USD. "
    )
    assert json.loads(said("show", "--json", "--url", url)) == []


def test_a_trial_that_charges_nothing_shows_no_fees(url: str, file: Path) -> None:
    shown = said("try", written(file), "--url", url)
    assert "Fees that they would have charged" not in shown
    assert "none would have been charged. Then they were charged 0.33 USD." in squeezed(shown)


def test_a_trial_is_printed_for_programs_and_may_be_of_one_payment(url: str, file: Path) -> None:
    arguments = ("try", written(file, TOLL), "--json", "--url", url)
    (newest,) = json.loads(said(*arguments, "--limit", "1"))["transfers"]
    (same,) = json.loads(said(*arguments, "--transfer", newest["transferId"]))["transfers"]
    assert same == newest
    assert [each["rule"] for each in same["feesThen"]] == ["six per mille", "toll"]


def test_a_trial_may_be_of_the_last_days_only(url: str, file: Path) -> None:
    arguments = ("try", written(file, TOLL), "--json", "--url", url, "--since")
    tried = {each: json.loads(said(*arguments, each))["tried"] for each in ("1h", "2023-11-14", "1000-01-01")}
    # The payment was made when the bench's clock stood in 2023.
    assert tried == {"1h": 0, "2023-11-14": 1, "1000-01-01": 1}


def test_an_id_that_is_none_is_told(url: str, file: Path) -> None:
    told = refused("fees", "try", written(file, TOLL), "--transfer", "x", "--url", url)
    assert "ids: x is neither a UUID nor a ULID" in told


@pytest.mark.parametrize("since", ["lately", "99999w", "0001-01-01", "7 d"])
def test_a_time_that_is_none_is_told(file: Path, since: str) -> None:
    told = refused("fees", "try", written(file, TOLL), "--since", since)
    assert told == f"{since} is no time: write e.g. 7d, 12h, 2030-01-31, or 2030-01-31T12:00:00Z."


# --- what was charged ---------------------------------------------------------------------------------------------


def test_a_transfer_shows_its_fees(url: str, file: Path) -> None:
    (payment,) = json.loads(said("try", written(file), "--json", "--url", url))["transfers"]
    shown = vuka("transfer", "show", payment["transferId"], "--url", url, environment={"COLUMNS": "240"}).stdout
    words = squeezed(shown)
    assert "six per mille alpha bravo 0.08 USD INTERCHANGE_FEE" in words
    assert "toll alpha Hub 0.25 USD INTERCHANGE_FEE" in words


def test_the_story_of_a_payment_tells_its_fees(url: str, data: Path, file: Path) -> None:
    (payment,) = json.loads(said("try", written(file), "--json", "--url", url))["transfers"]
    told = vuka("trace", payment["transferId"], "--data", str(data), environment={"COLUMNS": "240"}).stdout
    assert "fee by toll: 0.25 USD: debit alpha INTERCHANGE_FEE, credit Hub INTERCHANGE_FEE" in squeezed(told)


def books(data: Path, *arguments: str) -> list[dict[str, str]]:
    result = vuka("books", *arguments, "--data", str(data), "--format", "csv")
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_the_books_show_fees(running: str, data: Path) -> None:
    balances = {
        row["participant"]: row["balance"] for row in books(data, "trial-balance") if row["account"] == FEE_TYPE
    }
    assert balances == {"alpha": "0.33", "bravo": "-0.08", "Hub": "-0.25"}
    entries = books(data, "ledger", "--account-type", "interchange_fee")
    assert [(row["entry"], row["debit"], row["credit"], row["amount"]) for row in entries] == [
        ("fee", "alpha INTERCHANGE_FEE", "bravo INTERCHANGE_FEE", "0.08"),
        ("fee", "alpha INTERCHANGE_FEE", "Hub INTERCHANGE_FEE", "0.25"),
    ]
    statement = books(data, "statement", "--participant", "alpha", "--account-type", "INTERCHANGE_FEE")
    assert [row["balance"] for row in statement] == ["0", "0.08", "0.33", "0.33"]


def test_the_books_with_fees_are_audited(running: str, data: Path) -> None:
    result = vuka("audit", "--data", str(data))
    assert (result.exit_code, "The books balance." in result.output) == (0, True), result.output
