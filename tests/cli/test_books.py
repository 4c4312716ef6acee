"""``vuka books``, on the data directory of a hub."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from tests.cli.conftest import refused, vuka
from tests.cli.test_settlement import OnDisk, settled_hub
from tests.switch.settling import Settling

from vuka.config import load
from vuka.switch.account_types import AddLedgerAccountType


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books")
    settled_hub(path)
    return path


def said(*arguments: str) -> str:
    result = vuka("books", *arguments, environment={"COLUMNS": "240"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_trial_balance_balances_in_every_format(data: Path) -> None:
    at = ("--data", str(data))
    assert "Trial balance" in said("trial-balance", *at)
    rows = list(csv.DictReader(io.StringIO(said("trial-balance", *at, "--format", "csv"))))
    documents = json.loads(said("trial-balance", *at, "--format", "json"))
    assert documents == rows
    total = rows[-1]
    assert (total["account"], total["balance"], total["debits"] == total["credits"]) == ("all accounts", "0", True)


def test_the_journal_is_filtered_by_participant_and_account(data: Path) -> None:
    found = said(
        "ledger", "--data", str(data), "--participant", "alpha", "--account-type", "position", "--format", "csv"
    )
    rows = list(csv.DictReader(io.StringIO(found)))
    assert {row["amount"] for row in rows if row["entry"].startswith("payment")} == {"12.5"}
    assert all("alpha POSITION" in (row["debit"], row["credit"]) for row in rows)


def test_a_statement_ends_with_its_closing_balance(data: Path) -> None:
    asked = ("statement", "--data", str(data), "--participant", "alpha", "--account-type", "POSITION")
    rows = list(csv.DictReader(io.StringIO(said(*asked, "--format", "csv"))))
    assert [row["balance"] for row in rows] == ["0", "12.5", "12.5"]


def test_a_day_before_everything_shows_nothing(data: Path) -> None:
    assert json.loads(said("ledger", "--data", str(data), "--to", "2000-01-01", "--format", "json")) == []


def test_a_type_of_the_scheme_s_own_is_found_as_it_is_written(tmp_path: Path) -> None:
    settled_hub(tmp_path)
    bench = OnDisk()
    bench.open_database(load(None, {}, data_dir=str(tmp_path)).database_path)
    bench.accept(AddLedgerAccountType(name="Tolls", description="Tolls", is_active=True, is_settleable=True))
    Settling(bench).add_fee_model(name="TOLLS", ledger_account_type="Tolls")
    bench.close()
    asked = ("--data", str(tmp_path), "--participant", "alpha", "--account-type", "Tolls", "--format", "json")
    assert [row["balance"] for row in json.loads(said("statement", *asked))] == ["0", "0"]
    assert json.loads(said("ledger", *asked)) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("trial-balance", "--currency", "XYZ"), "XYZ is not a currency"),
        (("trial-balance", "--at", "yesterday"), "--at yesterday is not a time"),
        (("ledger", "--participant", "nobody"), "There is no participant nobody"),
        (("ledger", "--account-type", "NOSUCH"), "There are no NOSUCH accounts"),
        (("ledger", "--from", "2026-02-01", "--to", "2026-01-01"), "--from is after --to"),
        (("statement", "--participant", "nobody"), "There is no participant nobody"),
        (("statement", "--participant", "alpha", "--account-type", "X"), "alpha has no such account"),
    ],
)
def test_what_is_asked_wrongly_is_told(data: Path, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused("books", *arguments, "--data", str(data))
