"""``vuka model`` and ``vuka account-type``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cli.conftest import refused, vuka

from vuka.cli.hub import found
from vuka.cli.process import hub_process
from vuka.config import load


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("models")
    found(load(None, {}, data_dir=str(data)), "Models", ["USD"])
    with hub_process(data) as hub:
        yield hub.operators_url


def said(*arguments: str) -> str:
    result = vuka(*arguments, environment={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_model_is_added_listed_and_taken_out_of_use(url: str) -> None:
    added = said(
        *("model", "add", "CGS", "-c", "usd", "--delay", "immediate", "--granularity", "gross"),
        *("--interchange", "bilateral", "--url", url),
    )
    assert added == "Added the settlement model CGS."
    assert "IMMEDIATE GROSS BILATERAL" in said("model", "list", "--url", url)
    assert said("model", "deactivate", "CGS", "--url", url) == "CGS is not in use."
    assert "CGS" not in said("model", "list", "--url", url)
    assert said("model", "activate", "CGS", "--url", url) == "CGS is in use."


def test_a_model_that_makes_no_sense_is_refused_with_a_sentence(url: str) -> None:
    sentence = refused("model", "add", "ODD", "--delay", "immediate", "--url", url)
    assert "delay-granularity-interchange combination is not supported" in sentence


def test_a_ledger_account_type_is_added_and_listed(url: str) -> None:
    added = said("account-type", "add", "MERCHANT_FEE", "Fees of merchants", "--url", url)
    assert added == "Added the ledger account type MERCHANT_FEE."
    assert "Fees of merchants" in said("account-type", "list", "--url", url)
    again = refused("account-type", "add", "MERCHANT_FEE", "Again", "--url", url)
    assert "This Ledger Account Type already exists" in again
