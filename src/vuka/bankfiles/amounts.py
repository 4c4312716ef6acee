"""Amounts as banks write them: with the digits that the currency has, neither more nor fewer, and never rounded."""

from __future__ import annotations

from typing import Final

from vuka.money import ASSET_SCALE, UNITS_PER_MAIN, currency_digits

TOTAL_DIGITS_MAX: Final = 18
"""Digits of an ISO 20022 amount (``ActiveCurrencyAndAmount``), those after the point included."""


def is_exact(minor: int, currency: str) -> bool:
    """Whether a currency can express an amount: 12.3456 USD can be owed, but no bank can pay it."""
    step: int = 10 ** (ASSET_SCALE - currency_digits(currency))
    return minor % step == 0


def bank_amount(minor: int, currency: str) -> str:
    """An amount as banks write it: ``125000`` of USD as ``12.50``, and ``120000`` of JPY as ``12``.

    Raises `ValueError` where the currency can't express it.
    """
    if not is_exact(minor, currency):
        raise ValueError(f"{minor} minor units can't be expressed in {currency}")
    digits = currency_digits(currency)
    whole, fraction = divmod(abs(minor), UNITS_PER_MAIN)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole}.{f'{fraction:04d}'[:digits]}" if digits else f"{sign}{whole}"


def fits(minor: int, currency: str) -> bool:
    """Whether an amount has no more digits than ISO 20022 allows."""
    return len(bank_amount(minor, currency).replace(".", "")) <= TOTAL_DIGITS_MAX
