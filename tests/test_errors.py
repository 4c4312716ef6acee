"""The error a participant sees: code, text, length, shape."""

from __future__ import annotations

import pytest

from vuka.errors import ErrorCode, FspiopError, is_known_group


def test_a_description_is_the_codes_message_and_the_detail() -> None:
    error = FspiopError(ErrorCode.VALIDATION_ERROR, "invalid fulfilment")
    assert (error.code, error.description, error.status) == (
        "3100",
        "Generic validation error - invalid fulfilment",
        400,
    )


def test_a_description_is_cut_to_128_characters() -> None:
    assert len(FspiopError(ErrorCode.VALIDATION_ERROR, "x" * 500).description) == 128


def test_a_participants_own_code_keeps_its_own_description() -> None:
    assert FspiopError("5140", description="Frozen").body() == {
        "errorInformation": {"errorCode": "5140", "errorDescription": "Frozen"}
    }


def test_extensions_are_cut_to_the_wires_limits() -> None:
    error = FspiopError(ErrorCode.SERVER_ERROR, extensions=tuple(("k" * 40, "v" * 200) for _ in range(20)))
    listed = error.body()["errorInformation"]["extensionList"]["extension"]  # type: ignore[index]
    assert len(listed) == 16
    assert {(len(each["key"]), len(each["value"])) for each in listed} == {(32, 128)}


@pytest.mark.parametrize("code", ["3100", "5140", "4099", "1000"])
def test_a_code_of_a_known_group_may_be_relayed(code: str) -> None:
    assert is_known_group(code)


@pytest.mark.parametrize("code", ["9999", "7000", "3500", "", "31000", "abcd", "٣١٠٠"])
def test_a_code_of_no_group_may_not(code: str) -> None:
    assert not is_known_group(code)


def test_every_code_has_four_digits_and_is_listed_once() -> None:
    codes = [each.code for each in ErrorCode]
    assert len(set(codes)) == len(codes)
    assert all(len(code) == 4 and code.isdigit() for code in codes)
