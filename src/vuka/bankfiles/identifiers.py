"""What banks call accounts, banks and transfers, and how each is checked.

IBAN: ISO 13616. BIC: ISO 9362, by the pattern of ISO 20022 (``BICFIDec2014Identifier``). A transfer of a settlement is
called by its *reference*, which is derived from the settlement and the two accounts, so that it is the same in every
file and every statement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

IBAN: Final = "IBAN"
OTHER: Final = "OTHER"
ACCOUNT_SCHEMES: Final = (IBAN, OTHER)

NAME_LENGTH_MAX: Final = 140
"""``Max140Text``: the name of a financial institution."""
ACCOUNT_LENGTH_MAX: Final = 34

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")
# Of SWIFT's character set x. It begins with a letter or digit, so that no spreadsheet takes it for a formula.
_OTHER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9/?:().,'+ -]{0,33}")

_REFERENCE: Final = re.compile(r"(?<![A-Za-z0-9])STL(\d{1,10})-(\d{1,10})-(\d{1,10})(?![0-9])", re.ASCII)

SCHEME_SIDE: Final = 0
"""Stands in a reference for the scheme's own account, where participants settle with all the others together."""


class Reference(msgspec.Struct, frozen=True, order=True):
    """What names a transfer of a settlement at the bank: its ``EndToEndId``. At most 35 characters (``Max35Text``)."""

    settlement_id: int
    debtor: int
    """The number of the account that pays, `SCHEME_SIDE` for the scheme's own."""
    creditor: int

    def __str__(self) -> str:
        return f"STL{self.settlement_id}-{self.debtor}-{self.creditor}"


def find_references(texts: Iterable[str]) -> tuple[Reference, ...]:
    """The references of settlements that stand anywhere in these texts, each once, in the order in which they come."""
    found = (Reference(*map(int, match.groups())) for text in texts for match in _REFERENCE.finditer(text))
    return tuple(dict.fromkeys(found))


def plain_account(text: str) -> str:
    """An account as it is compared: without the spaces in which people group an IBAN, and in capitals."""
    return "".join(text.split()).upper()


def iban_fault(text: str) -> str | None:
    """What is wrong with an IBAN in plain form; None where it is in order."""
    if _IBAN.fullmatch(text) is None:
        return "is not an IBAN: two letters, two digits and 11 to 30 letters or digits"
    # ISO 7064: the country and check digits go to the end, letters count from 10, and the whole modulo 97 is 1.
    digits = "".join(str(int(each, 36)) for each in text[4:] + text[:4])
    if int(digits) % 97 != 1:
        return "is not an IBAN: its check digits are wrong, so a letter or digit of it is"
    return None


def other_account_fault(text: str) -> str | None:
    """What is wrong with the number of an account that is no IBAN; None where it is in order."""
    if _OTHER.fullmatch(text) is None:
        return f"must have 1 to {ACCOUNT_LENGTH_MAX} letters, digits or /-?:().,'+ and begin with a letter or digit"
    return None


def bic_fault(text: str) -> str | None:
    """What is wrong with a BIC; None where it is in order."""
    if _BIC.fullmatch(text) is None:
        return "is not a BIC: 8 or 11 capitals and digits, of which the 5th and 6th are the country"
    return None


def name_fault(text: str) -> str | None:
    """What is wrong with the name of an account's holder; None where it is in order."""
    if not 1 <= len(text) <= NAME_LENGTH_MAX:
        return f"must have 1 to {NAME_LENGTH_MAX} characters"
    if not text.isprintable() or text != text.strip() or not text[0].isalnum():
        return "must begin with a letter or digit, and have no line breaks and no spaces at its ends"
    return None


def derive_uuid(*parts: str | bytes) -> str:
    """A UUID of version 4 in form, of which the same ``parts`` always make the same: a UETR needs that form."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(4, "big") + raw)
    raw_id = bytearray(digest.digest()[:16])
    raw_id[6] = 0x40 | (raw_id[6] & 0x0F)
    raw_id[8] = 0x80 | (raw_id[8] & 0x3F)
    text = raw_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
