"""Statements as CSV: the hub's own layout and the sheet of the reference's portal, as spreadsheets really save them."""

from __future__ import annotations

import pytest

from vuka.bankfiles.identifiers import Reference
from vuka.bankfiles.model import AccountName, BankFileError, Entry, Statement
from vuka.bankfiles.statements import read_statement

HEADER = "settlement_id,participant,currency,amount,balance,reference"
OWN = f"{HEADER}\n1,alpha,USD,-100.00,900,STL1-7-0\n1,bravo,USD,100,1100,B17\n"

PORTAL = """Settlement ID,1
Settlement Completed Date,
Settlement Completed Time,
Timezone,MMT
,
Participant (PayerFSP Identifier),Participant (Bank Identifier),Balance,Settlement Transfer,Currency
2 7 alpha,Alpha Bank 0000,900.00,100.00,USD
3 10 bravo,Bravo Bank 0000,"1,100.00",(100.00),USD
"""


def read(text: str) -> Statement:
    """What a text says."""
    return read_statement(text.encode())


def test_the_own_layout_is_read() -> None:
    statement = read(OWN)
    assert statement.faults == ()
    assert [(each.name.participant, each.currency, each.closing) for each in statement.accounts] == [
        ("alpha", "USD", 9_000_000),
        ("bravo", "USD", 11_000_000),
    ]
    assert [each.entries for each in statement.accounts] == [
        (Entry("row 2", -1_000_000, 1, (Reference(1, 7, 0),), bank_reference="STL1-7-0"),),
        (Entry("row 3", 1_000_000, 1, bank_reference="B17"),),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + OWN.encode(),
        OWN.replace(",", ";").encode(),
        OWN.replace(",", "\t").encode(),
        OWN.replace("\n", "\r\n").encode(),
        OWN.replace("settlement_id", '"Settlement ID"', 1).replace("amount", "Amount", 1).encode(),
        (OWN + "\n\n").encode(),
        OWN.replace("alpha,USD", '" alpha ",usd').encode(),
    ],
    ids=["bom", "semicolons", "tabs", "crlf", "header", "blank", "spaces"],
)
def test_it_is_read_as_spreadsheets_save_it(content: bytes) -> None:
    assert read_statement(content) == read(OWN)


def test_other_columns_are_passed_over() -> None:
    statement = read(f"{HEADER},comment\n1,alpha,USD,1,2,,hello\n")
    assert (statement.faults, statement.accounts[0].closing) == ((), 20_000)


def test_an_account_has_all_of_its_rows_and_the_balance_of_the_last() -> None:
    (account,) = read(f"{HEADER}\n1,alpha,USD,1,11,\n1,alpha,USD,2,13,\n1,alpha,USD,3,,\n").accounts
    assert ([each.amount for each in account.entries], account.closing) == ([10_000, 20_000, 30_000], 130_000)


def test_an_account_may_be_named_by_its_numbers() -> None:
    header = "settlement_id,account_id,bank_account,currency,amount"
    (account,) = read(f"{header}\n1,7,gb29 NWBK 6016 1331 9268 19,USD,1\n").accounts
    assert account.name == AccountName(account="GB29NWBK60161331926819", account_id=7)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1,alpha,USD,x,1,", ("AMOUNT_INVALID", "row 2", "x")),
        ("1,alpha,USD,,1,", ("AMOUNT_INVALID", "row 2", "")),
        ('1,alpha,USD,"12,50",1,', ("AMOUNT_INVALID", "row 2", "12,50")),
        ('1,alpha,USD,"1,234.50",1,', ("AMOUNT_INVALID", "row 2", "1,234.50")),
        ("1,alpha,USD,1e3,1,", ("AMOUNT_INVALID", "row 2", "1e3")),
        ("1,alpha,USD,0.00001,1,", ("AMOUNT_INVALID", "row 2", "0.00001")),
        ("1,alpha,USD,1,one,", ("BALANCE_INVALID", "row 2", "one")),
        ("x,alpha,USD,1,1,", ("SETTLEMENT_ID_MISMATCH", "row 2", "x")),
        (",alpha,USD,1,1,", ("SETTLEMENT_ID_MISMATCH", "row 2", "")),
        ("1,,USD,1,1,", ("ACCOUNT_UNKNOWN", "row 2", "")),
        ("1,alpha,USD,1,1,STL2-7-0", ("IDENTIFIERS_MISMATCH", "row 2", "STL2-7-0")),
    ],
)
def test_what_is_wrong_with_a_row_is_told_with_its_place(row: str, fault: tuple[str, str, str]) -> None:
    assert [(each.code, each.place, each.found) for each in read(f"{HEADER}\n{row}\n").faults] == [fault]


def test_a_row_with_fewer_cells_lacks_what_it_lacks() -> None:
    assert [each.code for each in read(f"{HEADER}\n1,alpha,USD\n").faults] == ["AMOUNT_INVALID"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds nothing"),
        (b" \n\n", "holds nothing"),
        (b"a,b,c\n1,2,3\n", "has no column settlement_id, currency, amount: its first row must name"),
        (b"settlement_id,currency,amount\n1,USD,1\n", "has no column that names accounts"),
        (f"{HEADER},amount\n".encode(), "has the column amount twice"),
        (f"{HEADER}\n1,alpha,USD,1,1,,7\n".encode(), "has more cells in row 2 than in its header"),
        (b"\xff\xfea\x00", "is not text in UTF-8"),
        (f"{HEADER}\n1,alpha,USD,1,1,\x00\n".encode(), "is not text: it holds a zero byte"),
        ("settlement_id,participant,currency,amount\n1,café,USD,1".encode("latin-1"), "is not text in UTF-8"),
        (f'{HEADER}\n1,"alpha,USD,1,1,'.encode(), "is not CSV"),
        (f"{HEADER}\n{'x' * 140_000},alpha\n".encode(), "is not CSV"),
        (f"{HEADER}\n".encode() + b"1,a,USD,1,1,\n" * 20_001, "has more than 20,000 rows"),
    ],
    ids=["empty", "blank", "other", "nobody", "twice", "cells", "utf-16", "zero", "latin-1", "quote", "field", "rows"],
)
def test_what_is_no_statement_is_refused_and_says_why(content: bytes, why: str) -> None:
    with pytest.raises(BankFileError) as refused:
        read_statement(content)
    assert str(refused.value).startswith(why)


# --- the portal's sheet -----------------------------------------------------------------------------------------


def test_the_sheet_of_the_portal_is_read_with_the_sign_of_the_settlement_api() -> None:
    statement = read(PORTAL)
    assert statement.faults == ()
    assert [(each.name, each.closing) for each in statement.accounts] == [
        (AccountName(participant="alpha", participant_id=2, account_id=7), 9_000_000),
        (AccountName(participant="bravo", participant_id=3, account_id=10), 11_000_000),
    ]
    assert [each.entries for each in statement.accounts] == [
        (Entry("row 7", -1_000_000, 1),),
        (Entry("row 8", 1_000_000, 1),),
    ]


def test_the_sheet_may_have_no_currencies_and_its_cells_be_padded() -> None:
    text = PORTAL.replace(",Currency", ",").replace(",USD", ",")
    assert [each.currency for each in read(text).accounts] == ["", ""]


@pytest.mark.parametrize(
    ("written", "minor"),
    [("1,234.50", -12_345_000), ("-1,234.50", 12_345_000), ("(1,234.50)", 12_345_000), ("7", -70_000), ("0", 0)],
)
def test_amounts_of_the_sheet_are_as_spreadsheets_show_them(written: str, minor: int) -> None:
    (entry,) = read(PORTAL.replace(",100.00,", f',"{written}",')).accounts[0].entries
    assert entry.amount == minor


@pytest.mark.parametrize("written", ["12,50", "(1", "1)", "-(1)", "1.234,50", "", "1.00001", "$1"])
def test_what_is_no_amount_of_the_sheet_is_told(written: str) -> None:
    (fault,) = read(PORTAL.replace(",100.00,", f',"{written}",')).faults
    assert (fault.code, fault.place, fault.found) == ("AMOUNT_INVALID", "row 7", written)


def test_a_row_of_the_sheet_must_name_participant_account_and_name() -> None:
    (fault,) = read(PORTAL.replace("2 7 alpha", "alpha")).faults
    assert (fault.code, fault.place, fault.found) == ("ACCOUNT_UNKNOWN", "row 7", "alpha")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Settlement ID,1", "Settlement ID,one", "has no number of a settlement"),
        ("Participant (Payer", "(Payer", "has no row that begins with Participant"),
    ],
)
def test_a_sheet_without_its_head_is_refused(old: str, new: str, why: str) -> None:
    with pytest.raises(BankFileError, match=why):
        read(PORTAL.replace(old, new))
