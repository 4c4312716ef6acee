"""Money: what the wire may say, what people may write, and that nothing is ever rounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.money import (
    AMOUNT_MAX,
    CURRENCIES,
    Amount,
    AmountError,
    Currency,
    format_amount,
    ledger_currency,
    ledger_number,
    parse_amount,
    parse_decimal,
)


@pytest.mark.parametrize(
    ("text", "minor"),
    [("0", 0), ("1", 10_000), ("12.5", 125_000), ("0.0001", 1), ("100000000000000.0001", 1_000_000_000_000_000_001)],
)
def test_a_wire_amount_is_its_minor_units_at_scale_4(text: str, minor: int) -> None:
    assert parse_amount(text) == minor


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "01", "1.0", "1.50", ".5", "1.", "1.00001", "1e3", "NaN", "١", "1 ", "1,5", "1" * 19]
)
def test_a_wire_amount_has_no_sign_no_extra_zero_and_at_most_4_decimals(text: str) -> None:
    with pytest.raises(AmountError):
        parse_amount(text)


def test_an_amount_beyond_63_bits_is_refused_and_not_cut() -> None:
    assert parse_amount(format_amount(AMOUNT_MAX)) == AMOUNT_MAX
    with pytest.raises(AmountError, match="more than the hub can hold"):
        parse_amount("922337203685477.5808")


@given(st.integers(min_value=0, max_value=AMOUNT_MAX))
def test_formatting_and_parsing_an_amount_is_the_identity(minor: int) -> None:
    assert parse_amount(format_amount(minor)) == minor
    assert parse_decimal(format_amount(-minor)) == -minor


@pytest.mark.parametrize(
    ("text", "minor"), [("12.50", 125_000), ("-3", -30_000), ("1.00000", 10_000), ("007", 70_000), ("0.10", 1_000)]
)
def test_people_may_write_signs_and_extra_zeros(text: str, minor: int) -> None:
    assert parse_decimal(text) == minor


@pytest.mark.parametrize("text", ["1.00001", "1e3", "", "abc", "--1", "1.2.3", "٣"])
def test_what_people_write_is_never_rounded_or_guessed(text: str) -> None:
    with pytest.raises(AmountError):
        parse_decimal(text)


def test_an_amount_reads_and_prints_as_people_write_it() -> None:
    amount = Amount.from_string("1234.5 USD")
    assert amount == Amount(Currency("USD"), 12_345_000)
    assert str(amount) == "1,234.50 USD"
    assert amount.wire == "1234.5"


@pytest.mark.parametrize("text", ["1 ABC", "1", "USD 1", "1 usd"])
def test_an_amount_of_no_known_currency_is_refused(text: str) -> None:
    with pytest.raises(AmountError):
        Amount.from_string(text)


def test_every_currency_has_a_ledger_of_its_own() -> None:
    numbers = {ledger_number(currency) for currency in CURRENCIES}
    assert len(numbers) == len(CURRENCIES)
    assert 0 not in numbers
    assert {ledger_currency(number) for number in numbers} == CURRENCIES
