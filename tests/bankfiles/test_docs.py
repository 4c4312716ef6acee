"""The page about bank files and the program say the same."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bankfiles import iso

from vuka.bankfiles.orders import FORMATS
from vuka.bankfiles.statements import read_statement
from vuka.bankfiles.statements_csv import COLUMNS
from vuka.switch.bank_statements import SEVERITIES

PAGE = (Path(__file__).parent.parent.parent / "docs" / "bank-files.md").read_text(encoding="utf-8")


def test_every_finding_is_on_the_page_with_its_severity() -> None:
    shown: dict[str, str] = {}
    for codes, severity in re.findall(r"^\| (`[A-Z_`, ]+`) \| (error|warning) \|", PAGE, re.M):
        shown |= dict.fromkeys(re.findall(r"`([A-Z_]+)`", codes), severity.upper())
    assert shown == SEVERITIES


def test_every_format_and_every_column_is_on_the_page() -> None:
    assert [each for each in FORMATS if f"| `{each}` |" not in PAGE] == []
    assert [each for each in COLUMNS if f"`{each}`" not in PAGE] == []


def test_the_statement_on_the_page_is_one() -> None:
    (xml,) = re.findall(r"```xml\n(.*?)```", PAGE, re.S)
    iso.read(xml.encode(), iso.CAMT053[8].Document)  # type: ignore[attr-defined]
    (account,) = read_statement(xml.encode()).accounts
    assert (account.closing, account.entries[0].amount, str(account.entries[0].references[0])) == (
        5_300_000,
        -700_000,
        "STL1-4-0",
    )
