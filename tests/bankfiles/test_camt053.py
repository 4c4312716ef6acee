"""Statements as camt.053: what banks of any version book, and what is wrong with a statement told with its place."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.bankfiles import iso
from tests.bankfiles.little_bank import LittleBank

from vuka.bankfiles.identifiers import Reference
from vuka.bankfiles.model import BankFileError, Entry, Fault, Statement
from vuka.bankfiles.statements import read_statement

IBAN = "GB29NWBK60161331926819"
VERSIONS = sorted(iso.CAMT053)
UETR = "be11f386-7b6b-40eb-8a98-a4619cc18108"


@pytest.fixture
def bank() -> LittleBank:
    """A bank with one account of 1000 USD, from which 100 went and to which 30.50 came."""
    bank = LittleBank()
    bank.open(IBAN, "USD", "1000")
    bank.book(IBAN, "USD", Decimal(-100), "STL1-7-0", UETR)
    bank.book(IBAN, "USD", Decimal("30.50"), "NOTPROVIDED")
    return bank


def changed(content: bytes, old: str, new: str) -> Statement:
    """What a statement says in which one thing is another."""
    assert content.count(old.encode()) >= 1, old
    return read_statement(content.replace(old.encode(), new.encode(), 1))


def faults(content: bytes, old: str, new: str) -> list[tuple[str, str, str]]:
    """What is wrong with it then: code, place and what stands there."""
    return [(each.code, each.place, each.found) for each in changed(content, old, new).faults]


@pytest.mark.parametrize("version", VERSIONS)
def test_entries_and_the_closing_balance_are_read_of_every_version(bank: LittleBank, version: int) -> None:
    statement = read_statement(bank.camt053(version=version))
    (account,) = statement.accounts
    assert (statement.faults, statement.identification) == ((), "STATEMENT-1")
    assert (account.name.account, account.currency, account.closing) == (IBAN, "USD", 9_305_000)
    assert account.entries == (
        Entry("statement 1, entry 1", -1_000_000, references=(Reference(1, 7, 0),), bank_reference="BANK1"),
        Entry("statement 1, entry 2", 305_000, bank_reference="BANK2"),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_booked_together_is_taken_apart(bank: LittleBank, version: int) -> None:
    bank.accounts[IBAN, "USD"].bookings[1].amount = Decimal(-20)
    (account,) = read_statement(bank.camt053(version=version, together=True)).accounts
    assert [(each.place, each.amount, each.references) for each in account.entries] == [
        ("statement 1, entry 1, transaction 1", -1_000_000, (Reference(1, 7, 0),)),
        ("statement 1, entry 1, transaction 2", -200_000, ()),
    ]


def test_what_is_booked_together_must_add_up(bank: LittleBank) -> None:
    bank.accounts[IBAN, "USD"].bookings[1].amount = Decimal(-20)
    content = bank.camt053(together=True)
    statement = changed(content, '<Amt Ccy="USD">20</Amt>', '<Amt Ccy="USD">21</Amt>')
    assert statement.faults[0] == Fault(
        "STATEMENT_INCONSISTENT",
        "statement 1, entry 1",
        "-120",
        "is not what the amounts of its transactions add up to",
    )


def test_a_uetr_names_the_transfer_too(bank: LittleBank) -> None:
    bank.accounts[IBAN, "USD"].bookings.pop()
    (account,) = read_statement(bank.camt053(uetr_only=True)).accounts
    assert [(each.references, each.uetr) for each in account.entries] == [((), UETR)]


def test_what_the_bank_shows_but_has_not_booked_is_told_apart(bank: LittleBank) -> None:
    bank.accounts[IBAN, "USD"].bookings[0].status = "PDNG"
    (account,) = read_statement(bank.camt053()).accounts
    assert ([each.is_booked for each in account.entries], account.closing) == ([False, True], 10_305_000)


def test_an_account_that_is_no_iban_is_read_in_plain_form(bank: LittleBank) -> None:
    bank.open("1000/a", "EUR", "5")
    content = bank.camt053(("1000/a", "EUR"))
    assert [each.name.account for each in read_statement(content).accounts] == ["1000/A"]


def test_several_statements_in_one_file_are_several_accounts(bank: LittleBank) -> None:
    bank.open("1000", "EUR", "5")
    found = read_statement(bank.camt053()).accounts
    assert [(each.place, each.currency, each.closing) for each in found] == [
        ("statement 1", "USD", 9_305_000),
        ("statement 2", "EUR", 50_000),
    ]


def test_an_overdrawn_balance_is_negative(bank: LittleBank) -> None:
    bank.book(IBAN, "USD", Decimal(-2000), "x")
    assert read_statement(bank.camt053()).accounts[0].closing == -10_695_000


def test_a_reference_in_the_remittance_counts_where_no_other_place_has_it(bank: LittleBank) -> None:
    old = "<TxDtls><Refs><AcctSvcrRef>BANK2</AcctSvcrRef><EndToEndId>NOTPROVIDED</EndToEndId></Refs>"
    amount = '<Amt Ccy="USD">30.50</Amt><CdtDbtInd>CRDT</CdtDbtInd>'
    statement = changed(
        bank.camt053(), f"{old}{amount}", f"{old}{amount}<RmtInf><Ustrd>Settlement 1 STL1-0-9</Ustrd></RmtInf>"
    )
    assert statement.accounts[0].entries[1].references == (Reference(1, 0, 9),)


def test_a_statement_that_contradicts_itself_is_told(bank: LittleBank) -> None:
    assert faults(bank.camt053(), '<Amt Ccy="USD">1000</Amt>', '<Amt Ccy="USD">999</Amt>') == [
        ("STATEMENT_INCONSISTENT", "statement 1", "930.5")
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('<Amt Ccy="USD">100</Amt>', '<Amt Ccy="USD">1OO</Amt>', ("AMOUNT_INVALID", "statement 1, entry 1", "1OO")),
        ('<Amt Ccy="USD">100</Amt>', '<Amt Ccy="USD">-100</Amt>', ("AMOUNT_INVALID", "statement 1, entry 1", "-100")),
        (
            '<Amt Ccy="USD">100</Amt>',
            '<Amt Ccy="USD">1.00001</Amt>',
            ("AMOUNT_INVALID", "statement 1, entry 1", "1.00001"),
        ),
        ('<Amt Ccy="USD">100</Amt>', "", ("AMOUNT_INVALID", "statement 1, entry 1", "")),
        ('<Amt Ccy="USD">100</Amt>', '<Amt Ccy="EUR">100</Amt>', ("CURRENCY_MISMATCH", "statement 1, entry 1", "EUR")),
        (
            '<Amt Ccy="USD">930.50</Amt>',
            '<Amt Ccy="USD">x</Amt>',
            ("BALANCE_INVALID", "statement 1, balance CLBD", "x"),
        ),
        ("<IBAN>GB29NWBK60161331926819</IBAN>", "<IBAN/>", ("ACCOUNT_UNKNOWN", "statement 1", "")),
        (
            "<CdtDbtInd>DBIT</CdtDbtInd>",
            "<CdtDbtInd>OUT</CdtDbtInd>",
            ("AMOUNT_INVALID", "statement 1, entry 1", "OUT"),
        ),
    ],
)
def test_what_is_wrong_with_one_thing_is_told_with_its_place(
    bank: LittleBank, old: str, new: str, fault: tuple[str, str, str]
) -> None:
    assert fault in faults(bank.camt053(), old, new)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<a/>", "is XML, but no ISO 20022 document"),
        (b"<a", "is not well-formed XML: unclosed token: line 1, column 0"),
        (
            b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"/>',
            "is camt.054.001.08, and not a statement (camt.053)",
        ),
        (
            b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"/>',
            "is camt.053, but holds no statement",
        ),
        (b'<?xml version="1.0" encoding="none-such"?><a/>', "is in an encoding that can't be read: unknown encoding"),
        (b"<!DOCTYPE a><a/>", "has a document type or entities, which no file of a bank needs"),
        (
            b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>',
            "has a document type or entities, which no file of a bank needs",
        ),
        (
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
            "has a document type or entities, which no file of a bank needs",
        ),
        (b"<a>" * 65 + b"</a>" * 65, "has more than 200,000 elements, or nests them more than 64 deep"),
        (b"<a>" + b"<b/>" * 200_001 + b"</a>", "has more than 200,000 elements, or nests them more than 64 deep"),
        (b"<a>" + b" " * 8_388_608 + b"</a>", "has more than 8,388,608 bytes"),
    ],
    ids=["other", "broken", "camt054", "empty", "encoding", "doctype", "laughs", "external", "deep", "many", "huge"],
)
def test_what_is_no_statement_is_refused_and_says_why(content: bytes, why: str) -> None:
    with pytest.raises(BankFileError) as refused:
        read_statement(content)
    assert str(refused.value).startswith(why)


def test_a_truncated_statement_is_refused(bank: LittleBank) -> None:
    with pytest.raises(BankFileError, match="is not well-formed XML"):
        read_statement(bank.camt053()[:-20])


def test_a_statement_in_utf_16_is_read(bank: LittleBank) -> None:
    text = bank.camt053().decode().replace('encoding="UTF-8"', 'encoding="UTF-16"')
    assert read_statement(text.encode("utf-16")) == read_statement(bank.camt053())
