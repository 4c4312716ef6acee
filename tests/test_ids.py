"""Ids: one transfer has one id however it is written, and nobody can take the hub's own."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.ids import IdError, derive_id, format_ulid, format_uuid, is_reserved, ledger_id, parse_id, record_id


def test_a_uuid_is_its_16_bytes() -> None:
    wire = uuid.uuid4()
    assert parse_id(str(wire)) == wire.bytes
    assert format_uuid(wire.bytes) == str(wire)


def test_the_same_128_bits_as_ulid_and_as_uuid_are_one_id() -> None:
    raw = bytes.fromhex("0197c3a2b1d04e5f8a9b0c1d2e3f4a5b")
    assert parse_id(format_ulid(raw)) == parse_id(format_uuid(raw)) == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B51EC534-EE48-4575-B6A9-EAD2955B8069",
        "b51ec534-ee48-4575-b6a9-ead2955b806",
        "b51ec534-ee48-0575-b6a9-ead2955b8069",
        "b51ec534-ee48-8575-b6a9-ead2955b8069",
        "b51ec534-ee48-4575-c6a9-ead2955b8069",
        "01ARZ3NDEKTSV4RRFFQ69G5FAI",
        "01arz3ndektsv4rrffq69g5fav",
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "00000000000000000000000000",
        "b51ec534-ee48-4575-b6a9-ead2955b8069\n",
    ],
)
def test_what_is_neither_lower_case_uuid_nor_upper_case_ulid_is_refused(text: str) -> None:
    with pytest.raises(IdError):
        parse_id(text)


@given(st.binary(min_size=16, max_size=16))
def test_no_participant_can_write_an_id_that_the_hub_derives(part: bytes) -> None:
    derived = derive_id("post", part)
    assert is_reserved(derived)
    raw = record_id(derived)
    for text in (format_uuid(raw), format_ulid(raw)):
        with pytest.raises(IdError):
            parse_id(text)


def test_a_derived_id_depends_on_purpose_and_on_each_part_and_on_nothing_else() -> None:
    assert derive_id("post", b"a", b"b") == derive_id("post", b"a", b"b")
    different = {derive_id("post", b"a", b"b"), derive_id("void", b"a", b"b"), derive_id("post", b"ab", b"")}
    assert len(different) == 3


@given(st.binary(min_size=16, max_size=16))
def test_a_record_and_its_ledger_transfer_have_the_same_id(raw: bytes) -> None:
    assert record_id(ledger_id(raw)) == raw
