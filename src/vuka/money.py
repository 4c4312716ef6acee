"""Money: a currency and a whole number of minor units, never a float.

Every amount in the hub is an integer at **asset scale 4** (one unit is 1/10,000 of the currency's main
unit), whatever the currency: the finest the wire allows (FSPIOP API 1.1 §7.2.13: at most 18 digits before
and 4 after the point) and what the reference stores as DECIMAL(18,4). Amounts are bounded by what fits
64 signed bits, so that they fit the ledger of every store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NewType

Currency = NewType("Currency", str)
"""A currency code of the FSPIOP list, e.g. ``USD``."""

ASSET_SCALE: Final = 4
"""Decimal places of every amount in the hub and in the ledger."""

UNITS_PER_MAIN: Final = 10**ASSET_SCALE
AMOUNT_MAX: Final = 2**63 - 1
"""The largest amount and the largest balance, in minor units."""

# FSPIOP API 1.1 §7.3.9 and the `Currency` schema of the OpenAPI files: 164 codes, obsolete ones included. The
# position of a code in this list is not used anywhere: ledger numbers come from `ledger_number`.
CURRENCIES: Final[frozenset[str]] = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
    CDF CHF CLP CNY COP CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GGP GHS GIP GMD
    GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS IMP INR IQD IRR ISK JEP JMD JOD JPY KES KGS KHR KMF KPW KRW KWD
    KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRO MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
    NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLL SOS SPL SRD
    STD SVC SYP SZL THB TJS TMT TND TOP TRY TTD TVD TWD TZS UAH UGX USD UYU UZS VEF VND VUV WST XAF XCD XDR
    XOF XPF XTS XXX YER ZAR ZMW ZWD
    """.split()
)

_DIGITS: Final = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("XTS XXX".split(), 4),
}

_WIRE_AMOUNT: Final = re.compile(r"([0]|([1-9][0-9]{0,17}))([.][0-9]{0,3}[1-9])?")
"""The `Amount` pattern of every FSPIOP version: no sign, no leading or trailing zeros, at most 4 decimals."""

_LOOSE_AMOUNT: Final = re.compile(r"(-?)(\d{1,18})(?:\.(\d+))?")


class AmountError(ValueError):
    """The text or number is not an amount the hub can hold; the message says why."""


def parse_amount(text: str) -> int:
    """Minor units of an amount as FSPIOP writes it, e.g. ``"12.5"`` → ``125000``.

    Raises `AmountError` where the text breaks the wire's pattern or exceeds `AMOUNT_MAX`.
    """
    if _WIRE_AMOUNT.fullmatch(text) is None or not text.isascii():
        raise AmountError(f"{text[:40]!r} is not an amount: digits, then at most 4 decimals, no extra zeros")
    whole, _, fraction = text.partition(".")
    minor = int(whole) * UNITS_PER_MAIN + int(fraction.ljust(ASSET_SCALE, "0") or "0")
    if minor > AMOUNT_MAX:
        raise AmountError(f"{text} is more than the hub can hold")
    return minor


def parse_decimal(text: str) -> int:
    """Minor units of an amount as people and the administrative APIs write it: sign and extra zeros allowed.

    ``"12.50"`` → ``125000``; ``"-3"`` → ``-30000``. Raises `AmountError` for more than 4 significant decimals, an
    exponent, or a number too large.
    """
    match = _LOOSE_AMOUNT.fullmatch(text)
    if match is None or not text.isascii():
        raise AmountError(f"{text[:40]!r} is not an amount: digits, a point and at most 4 decimals")
    sign, whole, fraction = match.group(1), match.group(2), (match.group(3) or "").rstrip("0")
    if len(fraction) > ASSET_SCALE:
        raise AmountError(f"{text[:40]} has more than {ASSET_SCALE} decimals")
    minor = int(whole) * UNITS_PER_MAIN + int(fraction.ljust(ASSET_SCALE, "0"))
    if minor > AMOUNT_MAX:
        raise AmountError(f"{text} is more than the hub can hold")
    return -minor if sign else minor


def format_amount(minor: int) -> str:
    """An amount as FSPIOP writes it: ``125000`` → ``"12.5"``, ``-1`` → ``"-0.0001"`` (no trailing zeros)."""
    whole, fraction = divmod(abs(minor), UNITS_PER_MAIN)
    sign = "-" if minor < 0 else ""
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:04d}".rstrip("0")


@dataclass(frozen=True, slots=True, order=True)
class Amount:
    """So much of one currency. ``minor`` counts units of 1/10,000 (asset scale 4) and may be negative."""

    currency: Currency
    minor: int

    def __post_init__(self) -> None:
        if self.currency not in CURRENCIES:
            raise AmountError(f"{self.currency!r} is not a currency the scheme knows")
        if abs(self.minor) > AMOUNT_MAX:
            raise AmountError(f"{self.minor} minor units are more than the hub can hold")

    @classmethod
    def from_wire(cls, amount: str, currency: str) -> Amount:
        """The amount of an FSPIOP ``Money`` object. Raises `AmountError`."""
        return cls(Currency(currency), parse_amount(amount))

    @classmethod
    def from_string(cls, text: str) -> Amount:
        """The amount people write, e.g. ``"12.50 USD"``: the form tests, the CLI and reports use."""
        number, _, currency = text.strip().partition(" ")
        return cls(Currency(currency.strip()), parse_decimal(number))

    def __str__(self) -> str:
        """``12.50 USD``: at least two decimals, as people write it."""
        whole, fraction = divmod(abs(self.minor), UNITS_PER_MAIN)
        decimals = f"{fraction:04d}".rstrip("0").ljust(2, "0")
        return f"{'-' if self.minor < 0 else ''}{whole:,}.{decimals} {self.currency}"

    @property
    def wire(self) -> str:
        """The amount without its currency, as FSPIOP writes it."""
        return format_amount(self.minor)


def currency_digits(currency: str) -> int:
    """How many decimals a currency has in daily life (ISO 4217): 2 for USD, 0 for JPY. The hub's books have 4."""
    return _DIGITS.get(currency, 2)


@lru_cache(maxsize=1024)
def ledger_number(currency: str) -> int:
    """The ledger of a currency: its three letters in base 26, from 1. Stable for ever, the same in every hub.

    The ledgers of any three-letter code are distinct, so a scheme's own code needs no list to be kept.
    """
    first, second, third = (ord(letter) - ord("A") for letter in currency)
    return (first * 26 + second) * 26 + third + 1


def ledger_currency(number: int) -> Currency:
    """The currency of a ledger: the inverse of `ledger_number`."""
    rest, third = divmod(number - 1, 26)
    first, second = divmod(rest, 26)
    return Currency("".join(chr(ord("A") + index) for index in (first, second, third)))
