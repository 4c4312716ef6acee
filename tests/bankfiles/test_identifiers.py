"""What banks call things: each check, right beside wrong, and references that are found again."""

from __future__ import annotations

import re

import pytest

from vuka.bankfiles.identifiers import (
    Reference,
    bic_fault,
    derive_uuid,
    find_references,
    iban_fault,
    name_fault,
    other_account_fault,
    plain_account,
)


@pytest.mark.parametrize(
    "text",
    ["GB29NWBK60161331926819", "DE89370400440532013000", "FR1420041010050500013M02606", "NO9386011117947"],
)
def test_an_iban_is_in_order(text: str) -> None:
    assert iban_fault(text) is None


@pytest.mark.parametrize("place", range(22))
def test_an_iban_with_one_character_wrong_is_not(place: int) -> None:
    text = "GB29NWBK60161331926819"
    other = "1" if text[place] == "0" else "0" if text[place].isdigit() else "A" if text[place] != "A" else "B"
    assert iban_fault(text[:place] + other + text[place + 1 :]) is not None


def test_an_iban_with_neighbours_exchanged_is_not_in_order() -> None:
    assert iban_fault("GB29NWBK60161331928619") == (
        "is not an IBAN: its check digits are wrong, so a letter or digit of it is"
    )


@pytest.mark.parametrize(
    "text", ["", "GB29", "1234567890123456", "GB29 NWBK 6016 1331 9268 19", "gb29nwbk60161331926819"]
)
def test_what_has_not_the_form_of_an_iban_is_none(text: str) -> None:
    assert iban_fault(text) == "is not an IBAN: two letters, two digits and 11 to 30 letters or digits"


def test_an_iban_is_compared_without_the_spaces_in_which_people_group_it() -> None:
    assert plain_account("gb29 NWBK 6016 1331 9268 19") == "GB29NWBK60161331926819"


@pytest.mark.parametrize(
    ("text", "is_right"),
    [("12-34/56 A", True), ("=1+1", False), ("", False), ("9" * 34, True), ("9" * 35, False), ("1\n2", False)],
)
def test_another_account_has_the_characters_of_payment_systems(text: str, is_right: bool) -> None:
    assert (other_account_fault(text) is None) == is_right


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("NWBKGB2L", True),
        ("COBADEFFXXX", True),
        ("nwbkgb2l", False),
        ("NWBKGB2", False),
        ("NWBK1B2L", False),
        ("NWBKGB2LX", False),
    ],
)
def test_a_bic_has_its_pattern(text: str, is_right: bool) -> None:
    assert (bic_fault(text) is None) == is_right


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("Green Bank", True),
        ("Société Générale", True),
        ("", False),
        (" Green", False),
        ("=cmd", False),
        ("a\x00b", False),
        ("a\nb", False),
        ("x" * 141, False),
    ],
)
def test_a_name_can_stand_in_xml_and_in_a_spreadsheet(text: str, is_right: bool) -> None:
    assert (name_fault(text) is None) == is_right


def test_a_reference_is_found_again_wherever_the_bank_repeats_it() -> None:
    reference = Reference(12, 7, 0)
    assert find_references(["Settlement 12 STL12-7-0", "ref STL12-7-0.", "none"]) == (reference,)


@pytest.mark.parametrize("text", ["XSTL1-7-0", "STL1-7", "STL1-7-00000000000", "stl1-7-0", "STL١-7-0"])
def test_what_only_looks_like_a_reference_is_none(text: str) -> None:
    assert find_references([text]) == ()


def test_a_reference_is_never_longer_than_a_bank_repeats() -> None:
    largest = 2**31 - 1
    assert len(str(Reference(largest, largest, largest))) <= 35


def test_a_uetr_is_always_the_same_and_has_the_form_of_the_standard() -> None:
    uetr = derive_uuid("scheme", b"1", "STL1-7-0")
    assert uetr == derive_uuid("scheme", b"1", "STL1-7-0") != derive_uuid("scheme", b"1S", "TL1-7-0")
    assert re.fullmatch("[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}", uetr)
