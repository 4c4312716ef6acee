"""Statements as CSV, in two layouts; which one it is, the first row tells.

The hub's own: a header, then one row for each booking, in their order.

=================  ====================================================================================================
column             what it holds
=================  ====================================================================================================
``settlement_id``  of which settlement the booking is; required
``currency``       required
``amount``         what came into the account (negative: left it); required; 0 in a row that only tells a balance
``participant``    the participant's name in the scheme, `Hub` for the scheme's own account
``bank_account``   the bank's number for the account
``account_id``     the hub's number for the account that is being settled
``balance``        what is in the account after the booking
``reference``      the transfer's reference as the hub gave it, or the bank's own
=================  ====================================================================================================

At least one of ``participant``, ``bank_account`` and ``account_id`` says whose it is; several must mean the same.

The sheet of the reference's finance portal, saved as CSV: the settlement's number beside *Settlement ID* in the first
row, and below a header that begins with *Participant*, for each account ``participantId accountId name``, the bank's
identifier, the new balance, the transfer and, where the sheet has it, the currency. There the transfer has the sign of
the settlement API, as the initiation report gives it to the bank: positive where the participant *owes*.

Cells are separated by commas, semicolons or tabs; the text is UTF-8, with or without a byte order mark. A decimal comma
is refused and not guessed at.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from vuka.bankfiles.identifiers import find_references, plain_account
from vuka.bankfiles.model import (
    ACCOUNT_UNKNOWN,
    AMOUNT_INVALID,
    BALANCE_INVALID,
    IDENTIFIERS_MISMATCH,
    SETTLEMENT_ID_MISMATCH,
    AccountName,
    AccountStatement,
    BankFileError,
    Entry,
    Fault,
    Statement,
)
from vuka.money import AmountError, parse_decimal

ROWS_MAX: Final = 20_000

REQUIRED: Final = ("settlement_id", "currency", "amount")
NAMING: Final = ("participant", "bank_account", "account_id")
COLUMNS: Final = (*REQUIRED, *NAMING, "balance", "reference")

_PORTAL_FIRST: Final = "settlement id"
_PORTAL_HEADER: Final = "participant"
_PORTAL_NAME: Final = re.compile(r"(\d{1,10}) (\d{1,10}) (.+)", re.ASCII)
_PORTAL_AMOUNT: Final = re.compile(r"(\(|-?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(\)?)", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,10}", re.ASCII)
_DELIMITERS: Final = (",", ";", "\t")
_TEXT_MAX: Final = 60

_Row: TypeAlias = tuple[int, list[str]]
"""The number of a row, and its cells."""


def read_statement_csv(content: bytes) -> Statement:
    """What the file says. Raises `BankFileError` where it is of neither layout."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BankFileError("is not text in UTF-8") from None
    if "\x00" in text:
        raise BankFileError("is not text: it holds a zero byte")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[_Row] = []
    try:
        for number, cells in enumerate(reader, 1):
            if any(cell.strip() for cell in cells):
                rows.append((number, [cell.strip() for cell in cells]))
            if len(rows) > ROWS_MAX:
                raise BankFileError(f"has more than {ROWS_MAX:,} rows")
    except csv.Error as error:
        raise BankFileError(f"is not CSV: {error}") from None
    if not rows:
        raise BankFileError("holds nothing")
    names = _column_names(rows[0][1])
    is_own = all(each in names for each in REQUIRED)
    is_portal = not is_own and rows[0][1][0].lower() == _PORTAL_FIRST
    return _PortalReader().read(rows) if is_portal else _OwnReader().read(rows)


def _column_names(cells: Sequence[str]) -> list[str]:
    """A header's names as they are compared: ``Settlement ID`` is ``settlement_id``."""
    return [each.lower().replace(" ", "_") for each in cells]


class _Reader:
    """Gathers what rows say of each account, and what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._entries: dict[tuple[AccountName, str], list[Entry]] = {}
        self._closing: dict[tuple[AccountName, str], int | None] = {}

    def fault(self, code: str, place: str, found: str, message: str) -> None:
        """Notes that something is wrong."""
        self.faults.append(Fault(code, place, found[:_TEXT_MAX], message))

    def add(self, name: AccountName, currency: str, entry: Entry | None, closing: int | None) -> None:
        """One row: the last one with a balance tells the account's."""
        key = (name, currency)
        entries = self._entries.setdefault(key, [])
        if entry is not None:
            entries.append(entry)
        if closing is not None or key not in self._closing:
            self._closing[key] = closing

    def statement(self, identification: str | None = None) -> Statement:
        """What all rows say."""
        accounts = tuple(
            AccountStatement(
                entries[0].place if entries else "", name, currency, tuple(entries), self._closing[name, currency]
            )
            for (name, currency), entries in self._entries.items()
        )
        return Statement(accounts, tuple(self.faults), identification)


class _OwnReader(_Reader):
    """The hub's own layout."""

    def read(self, rows: Sequence[_Row]) -> Statement:
        """Reads every row below the header."""
        names = _column_names(rows[0][1])
        missing = [each for each in REQUIRED if each not in names]
        if missing:
            raise BankFileError(f"has no column {', '.join(missing)}: its first row must name {', '.join(COLUMNS)}")
        if not any(each in names for each in NAMING):
            raise BankFileError(f"has no column that names accounts: one of {', '.join(NAMING)}")
        twice = sorted({each for each in names if each in COLUMNS and names.count(each) > 1})
        if twice:
            raise BankFileError(f"has the column {', '.join(twice)} twice")
        for number, cells in rows[1:]:
            if len(cells) > len(names):
                raise BankFileError(f"has more cells in row {number} than in its header")
            self._row(f"row {number}", dict(zip(names, cells, strict=False)))
        return self.statement()

    def _row(self, place: str, cells: dict[str, str]) -> None:
        account_id = cells.get("account_id", "")
        name = AccountName(
            account=plain_account(cells.get("bank_account", ""))[:_TEXT_MAX],
            participant=cells.get("participant", "")[:_TEXT_MAX],
            account_id=int(account_id) if _NUMBER.fullmatch(account_id) else None,
        )
        if account_id and name.account_id is None:
            self.fault(ACCOUNT_UNKNOWN, place, account_id, "is no number of an account")
        elif not str(name):
            self.fault(ACCOUNT_UNKNOWN, place, "", f"names no account: fill in one of {', '.join(NAMING)}")
        number = cells.get("settlement_id", "")
        settlement_id = int(number) if _NUMBER.fullmatch(number) else None
        if settlement_id is None:
            self.fault(SETTLEMENT_ID_MISMATCH, place, number, "is no number of a settlement")
        amount = self._amount(AMOUNT_INVALID, place, cells.get("amount", ""))
        balance = self._amount(BALANCE_INVALID, place, cells["balance"]) if cells.get("balance") else None
        reference = cells.get("reference", "")
        references = find_references([reference])
        if settlement_id is not None and any(each.settlement_id != settlement_id for each in references):
            self.fault(IDENTIFIERS_MISMATCH, place, reference, f"is no reference of settlement {settlement_id}")
        entry = None
        if amount is not None:
            entry = Entry(place, amount, settlement_id, references, bank_reference=reference[:_TEXT_MAX] or None)
        self.add(name, cells.get("currency", "").upper()[:_TEXT_MAX], entry, balance)

    def _amount(self, code: str, place: str, text: str) -> int | None:
        try:
            return parse_decimal(text)
        except AmountError:
            self.fault(code, place, text, "is not an amount: digits, a point and at most 4 decimals, e.g. -1234.50")
            return None


class _PortalReader(_Reader):
    """The sheet of the reference's finance portal."""

    def read(self, rows: Sequence[_Row]) -> Statement:
        """Reads every row below the one that begins with *Participant*."""
        number = rows[0][1][1] if len(rows[0][1]) > 1 else ""
        if _NUMBER.fullmatch(number) is None:
            raise BankFileError("has no number of a settlement beside Settlement ID")
        places = [place for place, (_, cells) in enumerate(rows) if cells[0].lower().startswith(_PORTAL_HEADER)]
        if not places:
            raise BankFileError("has no row that begins with Participant, as the sheet of the portal has")
        for line, cells in rows[places[0] + 1 :]:
            self._row(f"row {line}", int(number), [*cells, "", "", "", ""])
        return self.statement()

    def _row(self, place: str, settlement_id: int, cells: Sequence[str]) -> None:
        who, _, balance_text, transfer_text, currency = cells[:5]
        match = _PORTAL_NAME.fullmatch(who)
        if match is None:
            self.fault(
                ACCOUNT_UNKNOWN, place, who, "is not participantId, accountId and name with a space between them"
            )
            return
        # What stands in the second column is whatever the scheme and its bank have agreed on: it identifies nothing.
        name = AccountName(participant=match[3][:_TEXT_MAX], participant_id=int(match[1]), account_id=int(match[2]))
        transfer = self._amount(AMOUNT_INVALID, place, transfer_text)
        balance = self._amount(BALANCE_INVALID, place, balance_text) if balance_text else None
        entry = None
        if transfer is not None:
            entry = Entry(place, -transfer, settlement_id)
        self.add(name, currency.upper()[:_TEXT_MAX], entry, balance)

    def _amount(self, code: str, place: str, text: str) -> int | None:
        """An amount as spreadsheets show it: ``1,234.50``, negative as ``-1,234.50`` or ``(1,234.50)``."""
        match = _PORTAL_AMOUNT.fullmatch(text)
        if match is not None and (match[1] == "(") == bool(match[4]):
            try:
                minor = parse_decimal(match[2].replace(",", "") + (match[3] or ""))
            except AmountError:
                pass
            else:
                return -minor if match[1] else minor
        self.fault(code, place, text, "is not an amount as the sheet has them, e.g. 1,234.50 or (1,234.50)")
        return None
