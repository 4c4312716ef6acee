"""The messages of a payment between two participants, ready but for what differs: ids, the party, times, a signature.

Every message of a payment is a form of bytes for each pair of payer and payee, made once; to write one is to fill it
in. All that is filled in has a fixed length, so Content-Length is part of the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from vuka.fspiop.headers import hub_headers
from vuka.fspiop.jws import PrivateKey, sign
from vuka.fspiop.versions import Version
from vuka.money import format_amount
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

AMOUNT: Final = 10_000
CURRENCY: Final = "USD"
VERSION: Final = Version.V1_1

Fields: TypeAlias = dict[bytes, bytes]
"""What is filled in, by name."""

TRANSFER: Final = b"transfer"
QUOTE: Final = b"quote"
PARTY: Final = b"party"
DATE: Final = b"date"
EXPIRES: Final = b"expires"
COMPLETED: Final = b"completed"
SIGNATURE: Final = b"signature"

_SAMPLES: Final[Mapping[str, str]] = {
    "transfer": "0" * 36,
    "quote": "0" * 36,
    "party": "0" * 12,
    "expires": "0" * 24,
    "completed": "0" * 24,
}
"""Something of the right length for each field of a body."""


class Kind(StrEnum):
    """The messages that participants send."""

    LOOKUP = "GET /parties"
    FOUND = "PUT /parties"
    ASK = "POST /quotes"
    TERMS = "PUT /quotes"
    PREPARE = "POST /transfers"
    FULFIL = "PUT /transfers"
    QUESTION = "GET /transfers"


SIGNED: Final = frozenset((Kind.ASK, Kind.TERMS, Kind.PREPARE, Kind.FULFIL))
"""What is signed where participants sign: neither GET nor PUT /parties, as with the usual SDK."""


class Form:
    """One message, to be filled in."""

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: str | None, host: str) -> None:
        """``path``, header values and ``body`` have ``%(name)b`` where a field goes, and no other per cent sign."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body.replace(')b', ')s') % _SAMPLES)}")
        head = "\r\n".join(lines) + "\r\n%(signature)b\r\n"
        self._message = (head + (body or "")).encode()
        self._body = (body or "").encode()
        self._headers = {name.lower(): value.encode() for name, value in headers}

    def fill(self, fields: Fields) -> bytes:
        """The message as it goes out."""
        return self._message % fields

    def sign(self, key: PrivateKey, fields: Fields) -> bytes:
        """The line with its signature, for the field `SIGNATURE`."""

        def header(name: str) -> str | None:
            value = self._headers.get(name)
            return None if value is None else (value % fields).decode()

        return f"FSPIOP-Signature: {sign(key, get=header, body=self._body % fields)}\r\n".encode()


class Pair(msgspec.Struct, frozen=True):
    """A payer and a payee, by their numbers, and what they send each other."""

    number: int
    payer: int
    payee: int
    forms: Mapping[Kind, Form]


def make_pair(number: int, payer: int, payee: int, names: list[str], *, reserves: bool, host: str) -> Pair:
    """The messages of a pair. ``reserves``: whether the payee answers RESERVED, or COMMITTED as in FSPIOP 1.0."""
    source, destination = names[payer], names[payee]
    money = {"amount": format_amount(AMOUNT), "currency": CURRENCY}
    payee_info = {"partyIdType": "MSISDN", "partyIdentifier": "%(party)b", "fspId": destination}
    payer_info = {"partyIdType": "MSISDN", "partyIdentifier": f"4470000{payer:05d}", "fspId": source}
    bodies: dict[Kind, object] = {
        Kind.FOUND: {
            "party": {
                "partyIdInfo": payee_info,
                "name": "Bob Babatunde",
                "personalInfo": {"complexName": {"firstName": "Bob", "lastName": "Babatunde"}},
            }
        },
        Kind.ASK: {
            "quoteId": "%(quote)b",
            "transactionId": "%(transfer)b",
            "payee": {"partyIdInfo": payee_info},
            "payer": {"partyIdInfo": payer_info, "name": "Alice Alaba"},
            "amountType": "SEND",
            "amount": money,
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
            "expiration": "%(expires)b",
        },
        Kind.TERMS: {
            "transferAmount": money,
            "payeeReceiveAmount": money,
            "expiration": "%(expires)b",
            "ilpPacket": ILP_PACKET,
            "condition": CONDITION,
        },
        Kind.PREPARE: {
            "transferId": "%(transfer)b",
            "payerFsp": source,
            "payeeFsp": destination,
            "amount": money,
            "ilpPacket": ILP_PACKET,
            "condition": CONDITION,
            "expiration": "%(expires)b",
        },
        Kind.FULFIL: {
            "transferState": "RESERVED" if reserves else "COMMITTED",
            "fulfilment": FULFILMENT,
            "completedTimestamp": "%(completed)b",
        },
    }
    shapes = {
        Kind.LOOKUP: ("/parties/MSISDN/%(party)b", source, None),
        Kind.FOUND: ("/parties/MSISDN/%(party)b", destination, source),
        Kind.ASK: ("/quotes", source, destination),
        Kind.TERMS: ("/quotes/%(quote)b", destination, source),
        Kind.PREPARE: ("/transfers", source, destination),
        Kind.FULFIL: ("/transfers/%(transfer)b", destination, source),
        Kind.QUESTION: ("/transfers/%(transfer)b", source, destination),
    }
    forms: dict[Kind, Form] = {}
    for kind, (path, sender, receiver) in shapes.items():
        method, _, resource = kind.value.partition(" /")
        headers = hub_headers(resource, VERSION, method=method, source=sender, destination=receiver, uri=path, now_ms=0)
        dated = [(name, "%(date)b" if name == "Date" else value) for name, value in headers]
        body = msgspec.json.encode(bodies[kind]).decode() if kind in bodies else None
        forms[kind] = Form(method, path, dated, body, host)
    return Pair(number, payer, payee, forms)


def make_pairs(names: list[str], *, reserves: bool, host: str) -> list[Pair]:
    """Every payer with every other payee, in the order in which they take turns."""
    pairs = [(payer, payee) for payer in range(len(names)) for payee in range(len(names)) if payer != payee]
    return [
        make_pair(number, payer, payee, names, reserves=reserves, host=host)
        for number, (payer, payee) in enumerate(pairs)
    ]


PARTIES_EACH: Final = 200
"""Telephone numbers that a payer knows of each payee: more than it asks about at once."""


def party_of(pair: int, turn: int) -> bytes:
    """A telephone number that says which pair it is for, so that whoever is asked about it knows who asks."""
    return b"27%05d%05d" % (pair, turn % PARTIES_EACH)


def pair_of(party: bytes) -> int:
    """The pair of a number that `party_of` made."""
    return int(party[2:7])
