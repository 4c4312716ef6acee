"""Orders to a bank and statements of a bank, as values: the same whatever file they are written in.

Amounts are minor units at asset scale 4. In an order they are more than nothing; in a statement they are positive where
they came into the account and negative where they left it.
"""

from __future__ import annotations

import msgspec

from vuka.bankfiles.identifiers import Reference
from vuka.money import Currency


class BankFileError(ValueError):
    """The bytes are no file of any of these kinds, or a file can't be written; the message says why."""


class BankAccount(msgspec.Struct, frozen=True):
    """An account at a bank, and who holds it."""

    holder: str
    """The participant's name in the scheme."""
    currency: Currency
    account: str
    scheme: str
    """``IBAN`` or ``OTHER``."""
    name: str
    """Of the holder, as the bank knows it."""
    bic: str | None = None
    """Of the holder, where it is a financial institution that has one."""
    agent_bic: str | None = None
    """Of the bank that keeps the account."""


class Instruction(msgspec.Struct, frozen=True):
    """One transfer that the bank is asked to make."""

    reference: Reference
    uetr: str
    """Its unique end-to-end transaction reference."""
    debtor: BankAccount
    creditor: BankAccount
    amount: int

    @property
    def currency(self) -> Currency:
        """That of both accounts."""
        return self.debtor.currency


class Order(msgspec.Struct, frozen=True):
    """What one settlement asks of the bank."""

    settlement_id: int
    created_ms: int
    """When the settlement was made: every file of it says so, and is therefore always the same."""
    value_date: str
    """The day on which the bank is to settle, e.g. ``2030-01-31``."""
    instructions: tuple[Instruction, ...]


class File(msgspec.Struct, frozen=True):
    """One file for a bank."""

    name: str
    media_type: str
    content: bytes


class AccountName(msgspec.Struct, frozen=True):
    """How a statement names an account: by one or more of these, which must mean the same."""

    account: str = ""
    """The bank's number for it in plain form (`plain_account`)."""
    participant: str = ""
    participant_id: int | None = None
    account_id: int | None = None
    """The number of the account in the hub that is being settled."""

    def __str__(self) -> str:
        numbers = (str(each) for each in (self.participant_id, self.account_id) if each is not None)
        return " ".join(each for each in (self.participant, *numbers, self.account) if each)


class Entry(msgspec.Struct, frozen=True):
    """One booking on an account."""

    place: str
    """Where it stands in the file, e.g. ``row 8``."""
    amount: int
    settlement_id: int | None = None
    """Of which settlement the file says that it is."""
    references: tuple[Reference, ...] = ()
    """Those of settlements that it carries; one, if any, where the bank repeats what it was given."""
    uetr: str | None = None
    bank_reference: str | None = None
    """The bank's own."""
    is_booked: bool = True
    """Whether it is final; the bank may show what is only pending."""


class AccountStatement(msgspec.Struct, frozen=True):
    """What a statement says of one account."""

    place: str
    name: AccountName
    currency: str
    """Empty where only the account's number tells."""
    entries: tuple[Entry, ...]
    closing: int | None = None
    """The balance after the last entry."""


class Fault(msgspec.Struct, frozen=True):
    """Something in a statement that is not what it must be. The rest of the file is read all the same."""

    code: str
    place: str
    found: str
    message: str
    """What is wrong with what stands there."""


class Statement(msgspec.Struct, frozen=True):
    """What a file of a bank says."""

    accounts: tuple[AccountStatement, ...]
    faults: tuple[Fault, ...] = ()
    identification: str | None = None
    """The bank's own number for it."""


# What faults are called; `vuka.switch.bank_statements` has the whole list of what may be found.
AMOUNT_INVALID = "AMOUNT_INVALID"
BALANCE_INVALID = "BALANCE_INVALID"
ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
SETTLEMENT_ID_MISMATCH = "SETTLEMENT_ID_MISMATCH"
IDENTIFIERS_MISMATCH = "IDENTIFIERS_MISMATCH"
STATEMENT_INCONSISTENT = "STATEMENT_INCONSISTENT"
