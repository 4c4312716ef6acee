"""The path parameters that name a party."""

from __future__ import annotations

import pytest

from vuka.errors import FspiopError
from vuka.fspiop.parties import EXTENDED_PARTY_ID_TYPES, PartyId, check_party_id


@pytest.mark.parametrize(
    ("party_type", "identifier"),
    [
        ("MSISDN", "27713803912"),
        ("MSISDN", "+27713803912"),
        ("MSISDN", "1" * 30),
        ("EMAIL", "henrik.karlsson@example.com"),
        ("IBAN", "SE4550000000058398257466"),
        ("ALIAS", "x"),
        ("ALIAS", "x" * 128),
        ("ACCOUNT_ID", "ထွန်း"),
        ("BUSINESS", "a/b?c#d"),
    ],
)
def test_an_identifier_of_its_type_passes(party_type: str, identifier: str) -> None:
    assert check_party_id(party_type, identifier, "sub") == PartyId(party_type, identifier, "sub")


@pytest.mark.parametrize(
    ("party_type", "identifier"),
    [
        ("MSISDN", "+"),
        ("MSISDN", "1" * 31),
        ("MSISDN", "27-713"),
        ("MSISDN", "\u0661\u0662"),
        ("EMAIL", "henrik"),
        ("EMAIL", "henrik@example"),
        ("IBAN", "se4550000000058398257466"),
        ("IBAN", "SE45" + "0" * 31),
        ("ALIAS", ""),
        ("ALIAS", "x" * 129),
        ("ALIAS", "a b"),
        ("ALIAS", "a\n"),
        ("ALIAS", "a\x00"),
        ("ALIAS", "a\ufeff"),
        ("ALIAS", "{ID}"),
        ("ALIAS", "{{partyIdentifier}}"),
        ("ALIAS", "<a>"),
        ("ALIAS", "a`b"),
        ("ALIAS", "a\\b"),
        ("CONSENT", "1"),
        ("msisdn", "1"),
        ("", "1"),
    ],
)
def test_any_other_identifier_is_malformed(party_type: str, identifier: str) -> None:
    with pytest.raises(FspiopError) as caught:
        check_party_id(party_type, identifier)
    assert caught.value.code == "3101"


@pytest.mark.parametrize("sub_id", ["", "x" * 129, "{SubId}", "a b"])
def test_a_sub_identifier_is_checked_like_an_identifier(sub_id: str) -> None:
    with pytest.raises(FspiopError, match=r"3101 .*/path/SubId"):
        check_party_id("ALIAS", "x", sub_id)


def test_a_scheme_with_third_parties_has_more_types() -> None:
    assert check_party_id("CONSENT", "1", types=EXTENDED_PARTY_ID_TYPES).type == "CONSENT"


@pytest.mark.parametrize("identifier", [".", ".."])
def test_an_identifier_can_not_climb_out_of_its_path(identifier: str) -> None:
    for arguments in (("ACCOUNT_ID", identifier), ("ACCOUNT_ID", "1", identifier)):
        with pytest.raises(FspiopError) as error:
            check_party_id(*arguments)
        assert error.value.code == "3101"
    assert check_party_id("ACCOUNT_ID", "...").identifier == "..."
