"""XML for banks: read without trust, written in order.

What is read may come from anybody who can put a file before an operator: no document type, no entities, nothing loaded
from elsewhere, and limits on elements and depth. What is written is plain ElementTree in the order of the schema.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as Etree

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from vuka.bankfiles.model import BankFileError

ELEMENTS_MAX: Final = 200_000
DEPTH_MAX: Final = 64


class _Builder(Etree.TreeBuilder):
    """Builds the tree, as long as it stays within the limits."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = 0
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Etree.Element:
        self._elements += 1
        self._depth += 1
        if self._elements > ELEMENTS_MAX or self._depth > DEPTH_MAX:
            raise BankFileError(f"has more than {ELEMENTS_MAX:,} elements, or nests them more than {DEPTH_MAX} deep")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Etree.Element:
        self._depth -= 1
        return super().end(tag)


def parse_xml(content: bytes) -> Etree.Element:
    """The root of a document. Raises `BankFileError`."""
    parser = DefusedXMLParser(target=_Builder(), forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(content)
        root = parser.close()
    except DefusedXmlException:
        raise BankFileError("has a document type or entities, which no file of a bank needs") from None
    except Etree.ParseError as error:
        raise BankFileError(f"is not well-formed XML: {error}") from None
    except BankFileError:
        raise
    except (ValueError, LookupError) as error:
        # What the declaration names is no encoding, or one that the parser does not have.
        raise BankFileError(f"is in an encoding that can't be read: {error}") from None
    if not isinstance(root, Etree.Element):
        raise BankFileError("holds no element")
    return root


def child(parent: Etree.Element, path: str, text: str | None = None) -> Etree.Element:
    """Adds an element, or the elements of a path one within the other; the innermost. ``text`` is what it holds."""
    for name in path.split("/"):
        parent = Etree.SubElement(parent, name)
    if text is not None:
        parent.text = text
    return parent


def document(namespace: str, message: str) -> tuple[Etree.Element, Etree.Element]:
    """A new ISO 20022 document: its root, and the message in it."""
    root = Etree.Element("Document", {"xmlns": f"urn:iso:std:iso:20022:tech:xsd:{namespace}"})
    return root, child(root, message)


def written(root: Etree.Element) -> bytes:
    """The bytes of a document: UTF-8, indented, the same for the same document."""
    Etree.indent(root)
    # Of Etree's own making the declaration would have single quotes, which some banks' gateways stumble over.
    body: bytes = Etree.tostring(root, encoding="utf-8", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"
