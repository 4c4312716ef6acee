"""The page about the ledger says what the code does."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from vuka.ledger.chart import AccountCode
from vuka.ledger.model import (
    BATCH_MAX,
    TRANSIENT,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    TransferFlags,
)

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


def test_the_examples_print_what_the_page_shows() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert attempted > 10
    assert failed == 0


@pytest.mark.parametrize("names", [AccountFlags, TransferFlags, CreateAccountStatus, CreateTransferStatus, AccountCode])
def test_every_name_is_on_the_page(names: type[AccountFlags]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [each.name for each in names if f"`{each.name}`" not in page]
    assert not missing


def test_the_statuses_of_transfers_are_listed_in_their_order() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("**Statuses of transfers**")[2].partition("Transient are")[0]
    places = [table.index(f"`{status.name}`") for status in CreateTransferStatus]
    assert places == sorted(places)


def test_the_transient_statuses_are_all_named() -> None:
    sentence = PAGE.read_text(encoding="utf-8").partition("Transient are")[2].partition(".")[0]
    assert {status for status in CreateTransferStatus if f"`{status.name}`" in sentence} == TRANSIENT


def test_the_limit_of_a_batch_is_on_the_page() -> None:
    assert f"{BATCH_MAX:,}" in PAGE.read_text(encoding="utf-8")
