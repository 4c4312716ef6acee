"""Negotiation: what Content-Type and Accept may say, and which version comes of it."""

from __future__ import annotations

import pytest

from vuka.fspiop.versions import (
    SUPPORTED,
    Accepted,
    ContentType,
    Dialect,
    Supported,
    Version,
    accept,
    content_type,
    parse_accept,
    parse_content_type,
    version_extensions,
)

TRANSFERS = "application/vnd.interoperability.transfers+json"
ISO_TRANSFERS = "application/vnd.interoperability.iso20022.transfers+json"
WITH_ISO = Supported(iso20022=True)


def versions(text: str, supported: Supported = SUPPORTED) -> tuple[str, ...] | None:
    accepted = parse_accept("transfers", text, supported)
    return None if accepted is None else tuple(version.value for version in accepted.versions)


def test_versions_compare_in_their_order() -> None:
    assert Version.V1_0 < Version.V1_1 < Version.V2_0


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0"])
def test_a_content_type_names_one_exact_version(version: str) -> None:
    parsed = parse_content_type("transfers", f"{TRANSFERS};version={version}")
    assert parsed == ContentType(Dialect.FSPIOP, Version(version))


@pytest.mark.parametrize("separator", [";", " ;", "; ", " ; "])
def test_a_content_type_may_have_one_space_on_either_side_of_the_semicolon(separator: str) -> None:
    assert parse_content_type("transfers", f"{TRANSFERS}{separator}version=1.1") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "application/json",
        TRANSFERS,
        f"{TRANSFERS};version=1",
        f"{TRANSFERS};version=1.1;charset=utf-8",
        f"{TRANSFERS};version=1.1 ",
        f"{TRANSFERS};  version=1.1",
        f"{TRANSFERS};version=1.1\n",
        f"{TRANSFERS};version=\u0661.1",
        "Application/vnd.interoperability.transfers+json;version=1.1",
        "application/vnd.interoperability.quotes+json;version=1.1",
        f"{TRANSFERS};version=1.1,{TRANSFERS};version=1.1",
    ],
)
def test_any_other_content_type_is_malformed(text: str) -> None:
    assert parse_content_type("transfers", text) is None


@pytest.mark.parametrize("version", ["3.0", "1.2", "1.10", "01.0"])
def test_a_well_written_content_type_of_another_version_is_told_apart_from_a_malformed_one(version: str) -> None:
    assert parse_content_type("transfers", f"{TRANSFERS};version={version}") == ContentType(Dialect.FSPIOP, None)


def test_an_accept_with_a_major_version_means_its_highest_minor() -> None:
    assert versions(f"{TRANSFERS};version=1") == ("1.1",)
    assert versions(f"{TRANSFERS};version=2") == ("2.0",)


def test_an_accept_with_a_whole_version_means_that_one() -> None:
    assert versions(f"{TRANSFERS};version=1.0") == ("1.0",)


def test_an_accept_without_a_version_means_the_highest_supported() -> None:
    assert versions(TRANSFERS) == ("2.0",)
    assert versions(TRANSFERS, Supported(versions=(Version.V1_0, Version.V1_1))) == ("1.1",)


def test_an_accept_with_several_ranges_yields_their_versions_highest_first() -> None:
    assert versions(f"{TRANSFERS};version=1.0,{TRANSFERS};version=2,{TRANSFERS};version=9") == ("2.0", "1.0")


def test_an_accept_of_unsupported_versions_only_yields_none_of_them() -> None:
    assert versions(f"{TRANSFERS};version=3") == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*/*",
        "application/json",
        f"{TRANSFERS};version=1, {TRANSFERS};version=2",
        f"{TRANSFERS};version=1,",
        f"{TRANSFERS};version=",
        f"{TRANSFERS};version=1.0.0",
        f"{TRANSFERS};version=1;q=0.5",
        "application/vnd.interoperability.quotes+json;version=1",
    ],
)
def test_any_other_accept_is_malformed(text: str) -> None:
    assert versions(text) is None


def test_a_resource_that_came_with_2_0_has_no_other_version() -> None:
    text = "application/vnd.interoperability.fxTransfers+json;version=1.1"
    assert parse_content_type("fxTransfers", text) == ContentType(Dialect.FSPIOP, None)


def test_iso_20022_is_malformed_to_a_hub_that_does_not_speak_it() -> None:
    assert parse_content_type("transfers", f"{ISO_TRANSFERS};version=2.0") is None
    assert parse_accept("transfers", f"{ISO_TRANSFERS};version=2") is None


def test_iso_20022_is_a_dialect_of_2_0() -> None:
    parsed = parse_content_type("transfers", f"{ISO_TRANSFERS};version=2.0", WITH_ISO)
    assert parsed == ContentType(Dialect.ISO20022, Version.V2_0)
    assert parse_accept("transfers", ISO_TRANSFERS, WITH_ISO) == Accepted(Dialect.ISO20022, (Version.V2_0,))
    assert parse_content_type("transfers", f"{ISO_TRANSFERS};version=1.1", WITH_ISO) == (Dialect.ISO20022, None)


def test_a_resource_that_iso_20022_does_not_write_is_malformed_in_it() -> None:
    text = "application/vnd.interoperability.iso20022.participants+json;version=2.0"
    assert parse_content_type("participants", text, WITH_ISO) is None


def test_an_accept_cannot_mix_dialects() -> None:
    assert parse_accept("transfers", f"{ISO_TRANSFERS};version=2,{TRANSFERS};version=2", WITH_ISO) is None


def test_the_hub_names_its_exact_version_and_accepts_the_major() -> None:
    assert content_type("transfers", Version.V1_1) == f"{TRANSFERS};version=1.1"
    assert accept("transfers", Version.V1_1) == f"{TRANSFERS};version=1"
    assert content_type("transfers", Version.V2_0, Dialect.ISO20022) == f"{ISO_TRANSFERS};version=2.0"


def test_supported_versions_are_listed_with_the_major_as_key_and_the_minor_as_value() -> None:
    assert version_extensions("transfers") == (("1", "0"), ("1", "1"), ("2", "0"))
