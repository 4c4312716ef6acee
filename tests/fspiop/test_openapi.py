"""Every object we model, against the published OpenAPI file of its version: property by property, sample by sample.

The files are the reference's own and no part of the repository: their directory is named by ``VUKA_SPECS``, or stands
beside the checkout in ``shared/specs``. Where they are absent these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vuka.errors import FspiopError
from vuka.fspiop import bulk, bulk_transfers, fx, fx_transfers, messages, requests
from vuka.fspiop.messages import Message, decode, version_type
from vuka.fspiop.versions import Version
from vuka.money import CURRENCIES

SPECS = Path(os.environ.get("VUKA_SPECS", Path(__file__).parents[3] / "shared" / "specs"))

MODELLED = [
    message
    for module in (messages, bulk, bulk_transfers, fx, fx_transfers, requests)
    for message in vars(module).values()
    if isinstance(message, type)
    and issubclass(message, Message)
    and message is not Message
    and message.__module__ == module.__name__
]
NOT_IN_THE_FILE = {("Transaction", Version.V1_1)}
"""What a version knows by its text alone: no body, but what an ILP packet carries."""

IN_EACH_VERSION = [
    pytest.param(message, version, id=f"{message.__name__}-{version.value}")
    for message in MODELLED
    for version in Version
    if version >= message.SINCE and (message.__name__, version) not in NOT_IN_THE_FILE
]

# The places where the files are not followed to the letter; `vuka.fspiop.messages` says why where it stands.
NOT_TO_THE_LETTER = {
    ("1.1", "Party", "name"),
    ("1.1", "PartyIdInfo", "partySubIdOrType"),
    ("1.1", "AuthenticationInfo", "authenticationValue"),
}

CODES = {
    "required": "3102",
    "additionalProperties": "3103",
    "type": "3101",
    "null": "3100",
    "pattern": "3100",
    "enum": "3100",
    "length": "3100",
}

Schema = dict[str, Any]


@cache
def schemas(version: Version) -> dict[str, Schema]:
    path = SPECS / f"fspiop-{version.value}.yaml"
    if not path.exists():
        pytest.skip(f"the OpenAPI file of {version.value} is not in the directory that VUKA_SPECS names")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Schema] = yaml.load(path.read_text(), Loader=loader)["components"]["schemas"]
    return loaded


@cache
def pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.removesuffix("$") + r"\Z" if "|" not in text else text.replace("$", r"\Z"), re.ASCII)


def is_name(text: str) -> bool:
    """The files' pattern of names, which is written in classes of Unicode that `re` does not have."""
    allowed = [
        unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Pc")
        or character in "\u200c\u200d .,'-"
        for character in text
    ]
    return bool(text.strip()) and all(allowed) and len(text) <= 128


def faults(schema: Schema, value: object, version: Version) -> Iterator[str]:
    """The keywords of a schema that a value breaks: as much of JSON Schema as the files use."""
    if "$ref" in schema:
        yield from faults(schemas(version)[schema["$ref"].rpartition("/")[2]], value, version)
        return
    if "oneOf" in schema:
        yield from faults(schema["oneOf"][-1], value, version)
    for part in schema.get("allOf", ()):
        yield from faults(part, value, version)
    if "anyOf" in schema and all(list(faults(part, value, version)) for part in schema["anyOf"]):
        yield "anyOf"
        return
    if schema.get("type") == "object":
        if not isinstance(value, dict):
            yield "type"
            return
        properties = schema["properties"]
        yield from ("required" for name in schema.get("required", ()) if name not in value)
        for name, content in value.items():
            if name in properties:
                yield from faults(properties[name], content, version)
            elif schema.get("additionalProperties") is False:
                yield "additionalProperties"
    elif schema.get("type") == "array":
        if not isinstance(value, list):
            yield "type"
            return
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield "length"
        for element in value[:1]:
            yield from faults(schema["items"], element, version)
    elif schema.get("type") == "string" or ("pattern" in schema and isinstance(value, str)):
        if value is None:
            yield "null"
            return
        if not isinstance(value, str):
            yield "type"
            return
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield "length"
        if "enum" in schema and value not in schema["enum"]:
            yield "enum"
        if "pattern" in schema:
            text = schema["pattern"]
            matched = is_name(value) if r"\p{" in text else pattern(text).match(value) is not None
            if not matched:
                yield "pattern"


def resolved(schema: Schema, version: Version) -> Schema:
    while "$ref" in schema:
        schema = schemas(version)[schema["$ref"].rpartition("/")[2]]
    if "allOf" in schema:
        return resolved(next(part for part in schema["allOf"] if "$ref" in part), version)
    if "oneOf" in schema or "anyOf" in schema:
        # The last alternative of the one contains the others, the first of the other is the simplest.
        chosen = schema["oneOf"][-1] if "oneOf" in schema else schema["anyOf"][0]
        return {**resolved(chosen, version), **({"pattern": schema["pattern"]} if "pattern" in schema else {})}
    return schema


TEXTS = [
    "",
    " ",
    "a",
    "Z",
    "0",
    "1",
    "12",
    "123",
    "012",
    "1234",
    "12345",
    "0123",
    "0.1",
    "1.5",
    "1.50",
    "01.5",
    "-1",
    "+1",
    "1.2345",
    "1.23456",
    "1.",
    ".5",
    "1e3",
    "9" * 18,
    "9" * 19,
    "9" * 18 + ".9999",
    "USD",
    "usd",
    "XXX",
    "ABC",
    "PAYER",
    "PAYEE",
    "SEND",
    "RECEIVE",
    "X",
    "MSISDN",
    "CONSENT",
    "PASSPORT",
    "TRANSFER",
    "CONSUMER",
    "COMMITTED",
    "PENDING",
    "ENTERED",
    "OTP",
    "U2F",
    "a b",
    "SETTLED",
    "LOCALLY_DEFINED",
    "A_" * 16,
    "A_" * 16 + "A",
    "b51ec534-ee48-4575-b6a9-ead2955b8069",
    "B51EC534-EE48-4575-B6A9-EAD2955B8069",
    "b51ec534-ee48-1575-b6a9-ead2955b8069",
    "b51ec534-ee48-5575-b6a9-ead2955b8069",
    "b51ec534-ee48-6575-b6a9-ead2955b8069",
    "b51ec534-ee48-7575-b6a9-ead2955b8069",
    "b51ec534-ee48-8575-b6a9-ead2955b8069",
    "b51ec534-ee48-0575-b6a9-ead2955b8069",
    "b51ec534-ee48-4575-c6a9-ead2955b8069",
    "b51ec534ee484575b6a9ead2955b8069",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "01arz3ndektsv4rrffq69g5fav",
    "01ARZ3NDEKTSV4RRFFQ69G5FAI",
    "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "2016-05-24T08:38:08.699-04:00",
    "2016-05-24T08:38:08.699Z",
    "2016-05-24T08:38:08.69Z",
    "2016-02-29T00:00:00.000Z",
    "2015-02-29T00:00:00.000Z",
    "1900-02-29T00:00:00.000Z",
    "2000-02-29T23:59:59.999+19:59",
    "2000-02-29T23:59:59.999+20:00",
    "2000-02-29T24:00:00.000Z",
    "2016-05-24T08:38:08.699Z\n",
    "2016-W21-2T08:38:08.699Z",
    "0999-05-24T08:38:08.699Z",
    "1966-06-16",
    "1967-02-29",
    "1966-W24-4",
    "19660616",
    "A" * 43,
    "A" * 42,
    "A" * 44,
    "-_" * 21 + "A",
    "A" * 42 + "=",
    "AYIB",
    "AYI=",
    "AY==",
    "A===",
    "=",
    "A=B",
    "AY+/",
    "A" * 32768,
    "A" * 32769,
    "x" * 32,
    "x" * 33,
    "x" * 64,
    "x" * 65,
    "x" * 128,
    "x" * 129,
    "x" * 2048,
    "x" * 2049,
    "90",
    "+90.000000",
    "+90.0000000",
    "-90.000001",
    "180.000000",
    "180.0000000",
    "89.999999",
    "89.9999999",
    "180",
    "-180.0",
    "180.1",
    "179.123456",
    "O'Brien-Smith, Jr.",
    "ထွန်း",
    "Zoë",
    "नरेन्द्र",
    "a\u200db",
    "a_b",
    "a\u203fb",
    "a\u0300b",
    "Smith & Sons",
    "a\u2019b",
    "Ⅷ",
    "\u0661\u0662\u0663",
    "\u0661",
    "é" * 128,
    "😀",
    "a\nb",
    "a\u0000b",
]
OTHERS: list[object] = [None, 1, 1.5, True, [], {}, ["a"], {"a": "b"}]


def example(schema: Schema, version: Version, *, whole: bool) -> object:
    """A valid value of a schema, with every property or with the required ones."""
    schema = resolved(schema, version)
    if schema.get("type") == "object":
        required = schema.get("required", ())
        return {
            name: example(content, version, whole=whole)
            for name, content in schema["properties"].items()
            if whole or name in required
        }
    if schema.get("type") == "array":
        return [example(schema["items"], version, whole=whole)]
    return next(text for text in TEXTS if not list(faults(schema, text, version)))


def samples(schema: Schema, version: Version) -> Iterator[object]:
    """Values to try in place of a property: some that its schema allows, more that it does not."""
    yield from OTHERS
    schema = resolved(schema, version)
    if schema.get("type") == "string":
        yield from TEXTS
    elif schema.get("type") == "array":
        element = example(schema["items"], version, whole=True)
        yield from ([element] * count for count in (1, 16, 17, schema["maxItems"], schema["maxItems"] + 1))
        yield [None]
    else:
        whole = example(schema, version, whole=True)
        assert isinstance(whole, dict)
        yield whole
        yield {**whole, "unknownProperty": {"a": [1]}}
        for name in whole:
            yield {key: value for key, value in whole.items() if key != name}


def code_of(message: type[Message], version: Version, value: object) -> str | None:
    """The error code with which a value is refused, `None` where it is decoded."""
    try:
        decode(message, version, json.dumps(value).encode())
    except FspiopError as error:
        return error.code
    return None


def test_every_modelled_object_is_of_the_api() -> None:
    assert len(MODELLED) >= 24
    for message in MODELLED:
        for version in Version:
            known = version >= message.SINCE and (message.__name__, version) not in NOT_IN_THE_FILE
            assert (message.__name__ in schemas(version)) is known, (message, version)


@pytest.mark.parametrize("version", list(Version))
def test_every_object_of_the_api_is_modelled(version: Version) -> None:
    objects = {name for name, schema in schemas(version).items() if schema.get("type") == "object"}
    assert objects == {message.__name__ for message in MODELLED} & schemas(version).keys()


def test_the_currencies_are_those_of_every_version() -> None:
    for version in Version:
        assert frozenset(schemas(version)["Currency"]["enum"]) == CURRENCIES


@pytest.mark.parametrize(("message", "version"), IN_EACH_VERSION)
def test_properties_and_what_is_required_are_those_of_the_file(message: type[Message], version: Version) -> None:
    schema = schemas(version)[message.__name__]
    fields = [
        field for field in msgspec.structs.fields(version_type(message, version)) if field.type is not msgspec.Raw
    ]
    assert {field.encode_name for field in fields} == set(schema["properties"])
    assert {field.encode_name for field in fields if field.required} == set(schema.get("required", ()))


@pytest.mark.parametrize(("message", "version"), IN_EACH_VERSION)
def test_unknown_properties_are_refused_where_the_file_says_so(message: type[Message], version: Version) -> None:
    schema = schemas(version)[message.__name__]
    value = example(schema, version, whole=True)
    assert isinstance(value, dict)
    forbidden = schema.get("additionalProperties") is False
    assert code_of(message, version, {**value, "unknownProperty": 1}) == ("3103" if forbidden else None)


@pytest.mark.parametrize(("message", "version"), IN_EACH_VERSION)
@pytest.mark.parametrize("whole", [True, False])
def test_what_the_file_allows_is_decoded(message: type[Message], version: Version, whole: bool) -> None:
    assert code_of(message, version, example(schemas(version)[message.__name__], version, whole=whole)) is None


@pytest.mark.parametrize(("message", "version"), IN_EACH_VERSION)
def test_each_required_property_is_required(message: type[Message], version: Version) -> None:
    schema = schemas(version)[message.__name__]
    value = example(schema, version, whole=False)
    assert isinstance(value, dict)
    for name in schema.get("required", ()):
        assert code_of(message, version, {key: value[key] for key in value if key != name}) == "3102", name


@pytest.mark.parametrize(("message", "version"), IN_EACH_VERSION)
def test_each_property_takes_what_the_file_allows_and_nothing_else(message: type[Message], version: Version) -> None:
    schema = schemas(version)[message.__name__]
    value = example(schema, version, whole=False)
    assert isinstance(value, dict)
    for name, content in schema["properties"].items():
        if (version.value, message.__name__, name) in NOT_TO_THE_LETTER:
            continue
        for sample in samples(content, version):
            broken = list(faults(content, sample, version))
            expected: set[str | None] = {None}
            if "anyOf" in broken:
                # Whatever is wrong with the alternative that comes nearest.
                expected = set(CODES.values())
            elif broken:
                expected = {CODES[keyword] for keyword in broken}
            shown = repr(sample)[:80]
            assert code_of(message, version, {**value, name: sample}) in expected, (name, shown, broken)


def test_a_property_of_a_newer_version_is_unknown_to_an_older_one() -> None:
    extension = {"extension": "no list"}
    party = {"partyIdType": "MSISDN", "partyIdentifier": "1", "extensionList": extension}
    body = json.dumps({"party": {"partyIdInfo": party, "supportedCurrencies": 5}}).encode()
    decoded = decode(messages.PartiesTypeIDPutResponse, Version.V1_0, body).party
    assert (decoded.party_id_info.extension_list, decoded.supported_currencies) == (None, None)


@pytest.mark.parametrize("version", list(Version))
def test_a_merchants_name_passes_in_every_version(version: Version) -> None:
    """The 1.1 file alone would refuse it."""
    body = json.dumps({"party": {"partyIdInfo": {"partyIdType": "BUSINESS", "partyIdentifier": "1"}, "name": "A & B"}})
    assert decode(messages.PartiesTypeIDPutResponse, version, body.encode()).party.name == "A & B"


@pytest.mark.parametrize("version", list(Version))
def test_a_personal_identifier_type_passes_as_sub_identifier_in_every_version(version: Version) -> None:
    """The 1.1 file would refuse it, since both of its alternatives hold."""
    party = {"partyIdType": "PERSONAL_ID", "partyIdentifier": "1", "partySubIdOrType": "PASSPORT"}
    body = json.dumps({"party": {"partyIdInfo": party}}).encode()
    decoded = decode(messages.PartiesTypeIDPutResponse, version, body).party.party_id_info
    assert decoded.party_sub_id_or_type == "PASSPORT"
