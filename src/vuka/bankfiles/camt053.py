"""camt.053, ``BankToCustomerStatement``, of any version: what the bank has booked on each account, and what is left.

Versions differ in where they put an entry's status and a transaction's amount; both places are read. An entry that
books several transactions together is taken apart where it says what each of them is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from vuka.bankfiles.identifiers import Reference, find_references, plain_account
from vuka.bankfiles.model import (
    ACCOUNT_UNKNOWN,
    AMOUNT_INVALID,
    BALANCE_INVALID,
    CURRENCY_MISMATCH,
    STATEMENT_INCONSISTENT,
    AccountName,
    AccountStatement,
    BankFileError,
    Entry,
    Fault,
    Statement,
)
from vuka.bankfiles.xml_files import parse_xml
from vuka.money import AmountError, format_amount, parse_decimal

ENTRIES_MAX: Final = 20_000

_ROOT: Final = re.compile(r"\{(urn:iso:std:iso:20022:tech:xsd:([a-z]{4}\.\d{3}\.\d{3}\.\d{2}))\}Document")
_BOOKED: Final = "BOOK"
_CREDIT: Final = "CRDT"
_DEBIT: Final = "DBIT"
_CLOSING: Final = "CLBD"
_OPENING: Final = ("OPBD", "PRCD")

# Where a bank may repeat the reference that it was given, the most telling first.
_REFERENCES: Final = ("Refs/EndToEndId", "Refs/InstrId", "Refs/TxId", "Refs/MsgId", "RmtInf/Ustrd")
_TEXT_MAX: Final = 60


def read_camt053(content: bytes) -> Statement:
    """What the file says. Raises `BankFileError` where it is no camt.053."""
    root = parse_xml(content)
    match = _ROOT.fullmatch(root.tag)
    if match is None:
        raise BankFileError("is XML, but no ISO 20022 document")
    if not match[2].startswith("camt.053.001."):
        raise BankFileError(f"is {match[2]}, and not a statement (camt.053)")
    return _Reader(match[1]).read(root)


class _Reader:
    """Reads one document, and gathers what is wrong with it."""

    def __init__(self, namespace: str) -> None:
        self._prefix = f"{{{namespace}}}"
        self._faults: list[Fault] = []
        self._entries = 0

    def read(self, root: Element) -> Statement:
        statements = self._all(root, "BkToCstmrStmt/Stmt")
        if not statements:
            raise BankFileError("is camt.053, but holds no statement")
        accounts = tuple(self._account(each, f"statement {place}") for place, each in enumerate(statements, 1))
        identification = self._text(statements[0], "Id") or self._text(root, "BkToCstmrStmt/GrpHdr/MsgId")
        return Statement(accounts, tuple(self._faults), identification)

    def _path(self, path: str) -> str:
        return "/".join(self._prefix + name for name in path.split("/"))

    def _all(self, parent: Element, path: str) -> list[Element]:
        return parent.findall(self._path(path))

    def _one(self, parent: Element, path: str) -> Element | None:
        return parent.find(self._path(path))

    def _text(self, parent: Element, path: str) -> str | None:
        """The text of an element, None where it is missing or blank."""
        found = self._one(parent, path)
        return ((found.text or "").strip() or None) if found is not None else None

    def _fault(self, code: str, place: str, found: str | None, message: str) -> None:
        self._faults.append(Fault(code, place, (found or "")[:_TEXT_MAX], message))

    # --- accounts -----------------------------------------------------------------------------------------------

    def _account(self, statement: Element, place: str) -> AccountStatement:
        faults_before = len(self._faults)
        number = self._text(statement, "Acct/Id/IBAN") or self._text(statement, "Acct/Id/Othr/Id")
        if number is None:
            self._fault(ACCOUNT_UNKNOWN, place, None, "names no account")
        name = AccountName(account=plain_account(number or "")[:_TEXT_MAX])
        currencies = [self._text(statement, "Acct/Ccy")]
        currencies += [each.get("Ccy") for each in self._all(statement, "Bal/Amt") + self._all(statement, "Ntry/Amt")]
        currency = next((each for each in currencies if each), "")
        closing = self._balance(statement, place, (_CLOSING,), currency)
        opening = self._balance(statement, place, _OPENING, currency)
        entries = tuple(
            entry
            for number_, each in enumerate(self._all(statement, "Ntry"), 1)
            for entry in self._entry(each, f"{place}, entry {number_}", currency)
        )
        booked = sum(each.amount for each in entries if each.is_booked)
        is_read_whole = len(self._faults) == faults_before
        if is_read_whole and opening is not None and closing is not None and opening + booked != closing:
            expected = format_amount(opening + booked)
            self._fault(
                STATEMENT_INCONSISTENT,
                place,
                format_amount(closing),
                f"its opening balance and its entries make {expected}, which is not its closing balance",
            )
        return AccountStatement(place, name, currency[:_TEXT_MAX], entries, closing)

    def _balance(self, statement: Element, place: str, kinds: tuple[str, ...], currency: str) -> int | None:
        """The balance of the first of these kinds that the statement has; of several of one kind the latest."""
        for kind in kinds:
            found = [each for each in self._all(statement, "Bal") if self._text(each, "Tp/CdOrPrtry/Cd") == kind]
            if found:
                latest = max(found, key=lambda each: self._text(each, "Dt/Dt") or self._text(each, "Dt/DtTm") or "")
                where = f"{place}, balance {kind}"
                return self._amount(
                    latest, "Amt", where, currency, self._sign(latest, where, BALANCE_INVALID), BALANCE_INVALID
                )
        return None

    # --- entries ------------------------------------------------------------------------------------------------

    def _entry(self, entry: Element, place: str, currency: str) -> Iterator[Entry]:
        self._entries += 1
        if self._entries > ENTRIES_MAX:
            raise BankFileError(f"holds more than {ENTRIES_MAX:,} entries")
        sign = self._sign(entry, place, AMOUNT_INVALID)
        amount = self._amount(entry, "Amt", place, currency, sign, AMOUNT_INVALID)
        if amount is None:
            return
        is_booked = (self._text(entry, "Sts/Cd") or self._text(entry, "Sts")) == _BOOKED
        bank_reference = self._text(entry, "AcctSvcrRef") or self._text(entry, "NtryRef")
        details = self._all(entry, "NtryDtls/TxDtls")
        if len(details) > 1:
            parts = [
                self._detail(each, f"{place}, transaction {number}", currency, sign, bank_reference, is_booked)
                for number, each in enumerate(details, 1)
            ]
            whole = [each for each in parts if each is not None]
            if len(whole) == len(parts) and sum(each.amount for each in whole) != amount:
                self._fault(
                    STATEMENT_INCONSISTENT,
                    place,
                    format_amount(amount),
                    "is not what the amounts of its transactions add up to",
                )
            yield from whole
            return
        reference: tuple[Reference, ...] = ()
        uetr = None
        if details:
            reference, uetr = self._references(details[0]), self._text(details[0], "Refs/UETR")
            bank_reference = self._text(details[0], "Refs/AcctSvcrRef") or bank_reference
        reference = reference or find_references(filter(None, [self._text(entry, "NtryRef")]))
        yield Entry(place, amount, references=reference, uetr=uetr, bank_reference=bank_reference, is_booked=is_booked)

    def _detail(
        self, detail: Element, place: str, currency: str, sign: int, bank_reference: str | None, is_booked: bool
    ) -> Entry | None:
        """One of several transactions that an entry books together; None where it does not say how much."""
        path = "Amt" if self._one(detail, "Amt") is not None else "AmtDtls/TxAmt/Amt"
        if self._one(detail, "CdtDbtInd") is not None:
            sign = self._sign(detail, place, AMOUNT_INVALID)
        amount = self._amount(detail, path, place, currency, sign, AMOUNT_INVALID)
        if amount is None:
            return None
        return Entry(
            place,
            amount,
            references=self._references(detail),
            uetr=self._text(detail, "Refs/UETR"),
            bank_reference=self._text(detail, "Refs/AcctSvcrRef") or bank_reference,
            is_booked=is_booked,
        )

    def _references(self, detail: Element) -> tuple[Reference, ...]:
        for path in _REFERENCES:
            found = find_references(each.text or "" for each in self._all(detail, path))
            if found:
                return found
        return ()

    def _sign(self, parent: Element, place: str, code: str) -> int:
        indicator = self._text(parent, "CdtDbtInd")
        if indicator not in (_CREDIT, _DEBIT):
            self._fault(code, place, indicator, f"says neither {_CREDIT} nor {_DEBIT}")
        return -1 if indicator == _DEBIT else 1

    def _amount(self, parent: Element, path: str, place: str, currency: str, sign: int, code: str) -> int | None:
        found = self._one(parent, path)
        text = (found.text or "").strip() if found is not None else ""
        if found is not None and found.get("Ccy", currency) != currency:
            self._fault(CURRENCY_MISMATCH, place, found.get("Ccy"), f"is not in {currency}, the account's currency")
            return None
        try:
            minor = parse_decimal(text)
        except AmountError:
            minor = -1
        if minor < 0:
            self._fault(code, place, text, "is not an amount: digits, a point and at most 4 decimals, no sign")
            return None
        return sign * minor
