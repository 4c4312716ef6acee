"""Interledger as the API uses it: packets, conditions and fulfilments.

A transfer is locked by a **condition** and released by its **fulfilment**: 32 bytes whose SHA-256 the condition is.
That is all the hub decides (`fulfilment_matches`). Making them is the participants' business, and is here for the
participants that the hub brings along (simulated ones, the connector), in both forms in use:

- version 1 (FSPIOP API 1.1 §6.5 and the Interledger Payment packet of 2017): the packet holds amount, account and the
  transaction object; the fulfilment is an HMAC over the packet;
- version 4 (Interledger Prepare, IL-RFC-27): the packet holds the condition too; the fulfilment is an HMAC over the
  transaction object.

Packets are OER (IL-RFC-30): a type byte, then the contents with their length before them. Texts are base64url without
padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.money import UNITS_PER_MAIN, Amount, AmountError, currency_digits

Transaction: TypeAlias = Mapping[str, Any]
"""A transaction object (FSPIOP API 1.1 §7.4.17) or the terms of a conversion, as JSON has it."""

ILP_ADDRESS: Final = "g.mojaloop"
"""The destination of every version 4 packet: parties are not addressed by Interledger."""

_AMOUNT_MAX: Final = 2**64 - 1
_URLSAFE: Final = str.maketrans("-_", "+/")
_FULFILMENT: Final = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch


class IlpError(ValueError):
    """The packet, fulfilment or transaction is none that Interledger can carry; the message says why."""


class IlpVersion(IntEnum):
    """The two forms of agreement in use."""

    V1 = 1
    V4 = 4


@dataclass(frozen=True, slots=True)
class IlpPayment:
    """A version 1 packet. ``amount`` counts the currency's own minor units (cents)."""

    amount: int
    account: str
    data: bytes


@dataclass(frozen=True, slots=True)
class IlpPrepare:
    """A version 4 packet. ``expires_at_ms`` counts from 1970 UTC; ``condition`` is 32 bytes."""

    amount: int
    expires_at_ms: int
    condition: bytes
    destination: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a payee's participant puts into its quote, and the fulfilment that it keeps for the transfer."""

    packet: str
    condition: str
    fulfilment: str


# --- what the hub decides ---


def condition_of(fulfilment: str) -> str:
    """The condition that a fulfilment fulfils. Raises `IlpError` where it is not 32 bytes in base64url."""
    if _FULFILMENT(fulfilment) is None:
        raise IlpError("A fulfilment is 32 bytes in base64url: 43 characters")
    return _to_text(hashlib.sha256(binascii.a2b_base64(fulfilment.translate(_URLSAFE) + "=")).digest())


def fulfilment_matches(fulfilment: str, condition: str) -> bool:
    """Whether a fulfilment fulfils a condition; false for whatever is no fulfilment at all."""
    if _FULFILMENT(fulfilment) is None:
        return False
    return condition_of(fulfilment) == condition


# --- packets ---


def encode_packet(packet: IlpPayment | IlpPrepare) -> str:
    """The text of a packet. Raises `IlpError` for an amount, address, time or condition that has no place in it."""
    if not 0 <= packet.amount <= _AMOUNT_MAX:
        raise IlpError(f"{packet.amount} does not fit the 64 bits of a packet's amount")
    amount = packet.amount.to_bytes(8, "big")
    if isinstance(packet, IlpPayment):
        contents = amount + _octets(_ascii(packet.account)) + _octets(packet.data) + b"\0"  # no extensions
        return _to_text(b"\x01" + _octets(contents))
    if len(packet.condition) != 32:
        raise IlpError("A condition is 32 bytes")
    time = _interledger_time(packet.expires_at_ms)
    contents = amount + time + packet.condition + _octets(_ascii(packet.destination)) + _octets(packet.data)
    return _to_text(b"\x0c" + _octets(contents))


def decode_packet(text: str) -> IlpPayment | IlpPrepare:
    """The packet of a text. Raises `IlpError` where it is neither of the two, or is cut short."""
    reader = _Reader(_from_text(text))
    kind = reader.take(1)[0]
    contents = _Reader(reader.octets())
    if kind == 1:
        amount = int.from_bytes(contents.take(8), "big")
        return IlpPayment(amount, _from_ascii(contents.octets()), contents.octets())
    if kind == 12:
        amount = int.from_bytes(contents.take(8), "big")
        expires_at_ms = _from_interledger_time(contents.take(17))
        condition = contents.take(32)
        return IlpPrepare(amount, expires_at_ms, condition, _from_ascii(contents.octets()), contents.octets())
    raise IlpError(f"Packets of type {kind} are not payments")


def transaction_of(packet: str) -> dict[str, Any] | None:
    """The transaction object in a packet, `None` where the packet cannot be read or holds something else.

    A packet's data is the base64url of the object's JSON, or in older senders the JSON itself.
    """
    try:
        transaction = json.loads(transaction_json(packet))
    except (ValueError, RecursionError):
        return None
    return transaction if isinstance(transaction, dict) else None


def transaction_json(packet: str) -> bytes:
    """The JSON in a packet, not decoded. Raises `IlpError` where the packet cannot be read."""
    data = decode_packet(packet).data
    return data if data[:1] == b"{" else _from_text(_from_ascii(data))


# --- what participants make ---


def agree(transaction: Transaction, secret: bytes, version: IlpVersion = IlpVersion.V1) -> Agreement:
    """Packet, condition and fulfilment for a transaction, as the payee's participant makes them for its quote.

    ``secret`` is known to that participant alone. Raises `IlpError` where the transaction lacks what a packet holds
    (version 1: amount and payee; version 4: amount and expiration), or its amount has more decimals than its currency.
    """
    data = _to_text(_stable_json(transaction)).encode()
    if version is IlpVersion.V1:
        packet = encode_packet(IlpPayment(_packet_amount(transaction), _account(transaction), data))
        fulfilment = fulfilment_v1(packet, secret)
        return Agreement(packet, condition_of(fulfilment), fulfilment)
    fulfilment = fulfilment_v4(transaction, secret)
    condition = condition_of(fulfilment)
    expires_at_ms = _expires_at_ms(transaction)
    prepare = IlpPrepare(_packet_amount(transaction), expires_at_ms, _from_text(condition), ILP_ADDRESS, data)
    return Agreement(encode_packet(prepare), condition, fulfilment)


def fulfilment_v1(packet: str, secret: bytes) -> str:
    """The fulfilment of a version 1 packet: an HMAC over its text, its key the base64 of the secret."""
    return _hmac(packet.encode("ascii"), secret)


def fulfilment_v4(transaction: Transaction, secret: bytes) -> str:
    """The fulfilment of a transaction under version 4: an HMAC over the base64 of its key-sorted JSON."""
    return _hmac(base64.b64encode(_stable_json(transaction)), secret)


def fulfil(packet: str, secret: bytes) -> str:
    """The fulfilment of a packet that this participant made with ``secret``. Raises `IlpError` for any other packet."""
    if isinstance(decode_packet(packet), IlpPayment):
        return fulfilment_v1(packet, secret)
    transaction = transaction_of(packet)
    if transaction is None:
        raise IlpError("The packet holds no transaction object")
    return fulfilment_v4(transaction, secret)


def packet_amount(amount: Amount) -> int:
    """An amount in the minor units of its currency (cents), as packets count. Raises `IlpError` for parts of one."""
    units: int = UNITS_PER_MAIN // 10 ** currency_digits(amount.currency)
    whole, rest = divmod(amount.minor, units)
    if rest or whole < 0:
        raise IlpError(f"{amount} is not a whole number of the currency's minor units")
    return whole


def _packet_amount(transaction: Transaction) -> int:
    if "conversionTerms" in transaction:
        return 0  # a conversion has two amounts; its terms carry them
    try:
        money = transaction["amount"]
        return packet_amount(Amount.from_wire(money["amount"], money["currency"]))
    except (KeyError, TypeError, AmountError) as error:
        raise IlpError(f"The transaction has no amount: {error}") from None


def _account(transaction: Transaction) -> str:
    """Interledger addresses as the reference's SDK makes them: ``g.{fsp}.{type}.{identifier}[.{sub-identifier}]``."""
    try:
        if "conversionTerms" in transaction:
            terms = transaction["conversionTerms"]
            currencies = terms["sourceAmount"]["currency"], terms["targetAmount"]["currency"]
            return ".".join(("g", terms["counterPartyFsp"], *currencies)).lower()
        party = transaction["payee"]["partyIdInfo"]
        parts = [party["partyIdType"], party["partyIdentifier"]]
        if party.get("partySubIdOrType"):
            parts.append(party["partySubIdOrType"])
        return f"g.{party['fspId']}.{'.'.join(parts).lower()}"
    except (KeyError, TypeError, AttributeError) as error:
        raise IlpError(f"The transaction names no payee: {error}") from None


def _expires_at_ms(transaction: Transaction) -> int:
    terms = transaction.get("conversionTerms", transaction)
    try:
        expiration: str = terms["expiration"]
        return parse_datetime_ms(expiration)
    except (KeyError, TypeError, ValueError) as error:
        raise IlpError(f"The transaction has no expiration: {error}") from None


def _hmac(text: bytes, secret: bytes) -> str:
    return _to_text(hmac.digest(base64.b64encode(secret), text, "sha256"))


def _stable_json(value: Transaction) -> bytes:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise IlpError(f"The transaction cannot be written as JSON: {error}") from None


# --- octets ---


class _Reader:
    """Reads octets in their order; raises `IlpError` where there are too few."""

    __slots__ = ("_at", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._octets[self._at : self._at + count]
        if len(taken) != count:
            raise IlpError("The packet is cut short")
        self._at += count
        return taken

    def octets(self) -> bytes:
        """Octets with their number before them: one byte under 128, else the count of its bytes and those."""
        size = self.take(1)[0]
        if size > 127:
            size = int.from_bytes(self.take(size & 127), "big")
        return self.take(size)


def _octets(value: bytes) -> bytes:
    size = len(value)
    if size < 128:
        return bytes((size,)) + value
    width = (size.bit_length() + 7) // 8
    return bytes((128 | width,)) + size.to_bytes(width, "big") + value


def _interledger_time(time_ms: int) -> bytes:
    """``YYYYMMDDHHmmssfff`` in UTC."""
    try:
        return re.sub(r"[^0-9]", "", format_datetime_ms(time_ms)).encode()
    except ValueError as error:
        raise IlpError(str(error)) from None


def _from_interledger_time(octets: bytes) -> int:
    text = _from_ascii(octets)
    try:
        return parse_datetime_ms(
            f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}.{text[14:]}Z"
        )
    except ValueError:
        raise IlpError("The packet's expiry is no time") from None


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise IlpError(f"{text[:60]!r} is no Interledger address: it is not ASCII") from None


def _from_ascii(octets: bytes) -> str:
    try:
        return octets.decode("ascii")
    except UnicodeDecodeError:
        raise IlpError("The packet has a text that is not ASCII") from None


def _to_text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _from_text(text: str) -> bytes:
    """The octets of base64url, padded or not."""
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare.translate(_URLSAFE) + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise IlpError("The text is not base64url") from None
