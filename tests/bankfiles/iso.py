"""ISO 20022 messages against the standard's own definitions: classes that are generated from its schemas.

A document must parse into them with nothing left over, hold what they say of lengths, patterns, digits and values, and
have its elements in their order: what they write is compared with what was read.
"""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar
from xml.etree import ElementTree as Etree

from pyiso20022.camt import camt_050_001_07, camt_053_001_02, camt_053_001_08
from pyiso20022.pacs import pacs_009_001_08
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig
from xsdata.formats.dataclass.serializers import XmlSerializer

T = TypeVar("T")

_CHECKED = ("min_length", "max_length", "pattern", "total_digits", "fraction_digits", "min_inclusive", "required")


def read(content: bytes, document: type[T]) -> T:
    """A document of that class, in every respect as its schema has it."""
    parser = XmlParser(config=ParserConfig(fail_on_unknown_properties=True, fail_on_converter_warnings=True))
    found = parser.from_bytes(content, document)
    faults = list(_faults(found, document.__name__))
    assert faults == []
    assert _tags(Etree.fromstring(content)) == _tags(Etree.fromstring(written(found)))
    return found


def written(document: Any) -> bytes:
    """The bytes of a document."""
    namespace = type(document).Meta.namespace
    return XmlSerializer().render(document, ns_map={None: namespace}).encode()


def pacs009(content: bytes) -> Any:
    """A pacs.009.001.08 in order."""
    return read(content, pacs_009_001_08.Document).ficdt_trf  # type: ignore[attr-defined]


def camt050(content: bytes) -> Any:
    """A camt.050.001.07 in order."""
    return read(content, camt_050_001_07.Document).lqdty_cdt_trf


CAMT053 = {2: camt_053_001_02, 8: camt_053_001_08}
"""The definitions of statements, by version."""


def _tags(element: Etree.Element) -> list[Any]:
    return [element.tag, sorted(element.attrib), [_tags(each) for each in element]]


def _faults(value: Any, path: str) -> Any:
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        name = f"{path}/{field.metadata.get('name', field.name)}"
        if held is None:
            if field.metadata.get("required"):
                yield f"{name} is missing"
            continue
        for each in held if isinstance(held, list) else [held]:
            if dataclasses.is_dataclass(each):
                yield from _faults(each, name)
            else:
                yield from _value_faults(each, name, field.metadata)


def _value_faults(value: Any, name: str, rules: Any) -> Any:
    text = str(value.value if isinstance(value, Enum) else value)
    if len(text) < rules.get("min_length", 0) or len(text) > rules.get("max_length", len(text)):
        yield f"{name}: {text!r} has the wrong length"
    if "pattern" in rules and re.fullmatch(rules["pattern"], text) is None:
        yield f"{name}: {text!r} breaks its pattern"
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        fraction = -min(0, int(exponent))
        if fraction > rules.get("fraction_digits", fraction) or len(digits) > rules.get("total_digits", len(digits)):
            yield f"{name}: {text} has too many digits"
        if "min_inclusive" in rules and value < rules["min_inclusive"]:
            yield f"{name}: {text} is too small"
