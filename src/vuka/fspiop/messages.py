"""Bodies: every object of the API as a typed struct, and the one decode that checks a body against its version.

Each object is declared once, with all the properties of the newest version. What a version has differently is stated
beside the property: a `Rule` may change with the version (identifiers), a property may exist only `Since` one. From
that, `decode` derives the exact type of each version and keeps it. The declarations follow the published OpenAPI
files of 1.0, 1.1 and 2.0, and a test compares them property by property; FSPIOP API 1.1 §7 gives the meaning.
The places where the files cannot be followed to the letter are marked where they stand.

Speed decides the form: lengths, enumerations and shapes are checked by msgspec while it parses; patterns, which would
be most of the cost there, are checked after it, once for each object, by the cheapest test that decides the same.

Errors are those of the reference (its mapping of schema keywords, first error only): a missing property 3102, one too
many 3103, another type 3101, anything else 3100, each naming the property's path.
"""

from __future__ import annotations

import hashlib
import json
import re
import types
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, reduce
from operator import or_
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    TypeAlias,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import is_date, parse_datetime, parse_datetime_ms
from vuka.fspiop.versions import Version
from vuka.money import CURRENCIES, Amount, AmountError

# --- rules of scalars, FSPIOP API 1.1 §7.2 and §7.3 ---

Check: TypeAlias = Callable[[str], object]
"""A test of a text: what it returns is true where the text is allowed."""


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """What a text must be. ``says`` completes "must …"; ``until_2_0`` is the test of 1.0 and 1.1 where it differs."""

    says: str
    test: Check
    until_2_0: Check | None = None

    def of(self, version: Version) -> Check:
        """The test in one version."""
        return self.test if self.until_2_0 is None or version >= Version.V2_0 else self.until_2_0


@dataclass(frozen=True, slots=True)
class Since:
    """Marks a property that older versions do not know."""

    version: Version


def matches(pattern: str) -> Check:
    """The test whether a text is, as a whole, of a pattern."""
    return re.compile(pattern, re.ASCII).fullmatch


_BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _is_binary(text: str) -> bool:
    """``[A-Za-z0-9-_]+[=]{0,2}``: several times as fast as the pattern, which on packets is felt."""
    if not text.isascii():
        return False
    rest = text.encode().translate(None, _BASE64URL)
    return not rest or (rest in (b"=", b"==") and len(text) > len(rest) and text.endswith(rest.decode()))


_ASCII_NAME: Final = re.compile(r"[A-Za-z0-9_ .,'-]*").fullmatch
_JOIN_CONTROLS: Final = "\u200c\u200d"


def _is_name(text: str) -> bool:
    """Letters, marks, digits, connectors, joiners of any script, and `` .,'-``; not blank (FSPIOP API 1.1 §7.2.4)."""
    if text.isspace():
        return False
    return _ASCII_NAME(text) is not None or all(map(_is_name_character, text))


def _is_name_character(character: str) -> bool:
    if character in " .,'-" or character in _JOIN_CONTROLS:
        return True
    category = unicodedata.category(character)
    return category[0] in "LM" or category in ("Nd", "Pc")


_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[%s][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

CORRELATION_ID: Final = Rule(
    "be a lower-case UUID, or from version 2.0 on an upper-case ULID",
    matches(_UUID % "1-7" + "|[0-9A-HJKMNP-TV-Z]{26}"),
    until_2_0=matches(_UUID % "1-5"),
)
AMOUNT: Final = Rule(
    "be an amount: digits, then at most 4 decimals, no zeros that could be left out",
    matches(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{0,3}[1-9])?"),
)
CURRENCY: Final = Rule("be equal to one of the allowed values", CURRENCIES.__contains__)
DATE_TIME: Final = Rule("be a date and time as 2016-05-24T08:38:08.699-04:00", parse_datetime)
DATE: Final = Rule("be a date as 1966-06-16", is_date)
BINARY: Final = Rule("be base64url", _is_binary)
BINARY_32: Final = Rule("be 32 bytes in base64url: 43 characters", matches("[A-Za-z0-9_-]{43}"))
NAME: Final = Rule("be a name: letters, marks, digits and .,'- of any script, not blank", _is_name)
ERROR_CODE: Final = Rule("be four digits, the first not 0", matches("[1-9][0-9]{3}"))
MERCHANT_CODE: Final = Rule("be 1 to 4 digits", matches("[0-9]{1,4}"))
BALANCE_OF_PAYMENTS: Final = Rule("be three digits, the first not 0", matches("[1-9][0-9]{2}"))
SUB_SCENARIO: Final = Rule("be 1 to 32 of A to Z and _", matches("[A-Z_]{1,32}"))
LATITUDE: Final = Rule(
    "be a latitude: degrees from -90 to 90, at most 6 decimals",
    matches(r"[+-]?(?:90(?:\.0{1,6})?|(?:[0-9]|[1-8][0-9])(?:\.[0-9]{1,6})?)"),
)
LONGITUDE: Final = Rule(
    "be a longitude: degrees from -180 to 180, at most 6 decimals",
    matches(r"[+-]?(?:180(?:\.0{1,6})?|(?:[0-9]|[1-9][0-9]|1[0-7][0-9])(?:\.[0-9]{1,6})?)"),
)

CorrelationId: TypeAlias = Annotated[str, CORRELATION_ID]
AmountText: TypeAlias = Annotated[str, AMOUNT]
CurrencyCode: TypeAlias = Annotated[str, CURRENCY]
DateTime: TypeAlias = Annotated[str, DATE_TIME]
DateOfBirth: TypeAlias = Annotated[str, DATE]
IlpPacket: TypeAlias = Annotated[str, Meta(min_length=1, max_length=32768), BINARY]
IlpCondition: TypeAlias = Annotated[str, BINARY_32]
IlpFulfilment: TypeAlias = Annotated[str, BINARY_32]
PersonName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128), NAME]
FspIdText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=32)]
Text32: TypeAlias = Annotated[str, Meta(min_length=1, max_length=32)]
Text128: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Text2048: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]

AmountType = Literal["SEND", "RECEIVE"]
CurrencyConverter = Literal["PAYER", "PAYEE"]
PartyIdType = Literal["MSISDN", "EMAIL", "PERSONAL_ID", "BUSINESS", "DEVICE", "ACCOUNT_ID", "IBAN", "ALIAS"]
TransactionScenario = Literal["DEPOSIT", "WITHDRAWAL", "TRANSFER", "PAYMENT", "REFUND"]
TransactionInitiator = Literal["PAYER", "PAYEE"]
TransactionInitiatorType = Literal["CONSUMER", "AGENT", "BUSINESS", "DEVICE"]
TransferState = Literal["RECEIVED", "RESERVED", "COMMITTED", "ABORTED"]

_V1_1: Final = Since(Version.V1_1)
_V2_0: Final = Since(Version.V2_0)


class Message(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object of the API: checked when `decode` made it, not when built by hand. `encode` writes it."""

    SINCE: ClassVar[Version] = Version.V1_0
    """The first version that knows the object."""


# --- complex types, FSPIOP API 1.1 §7.4 ---


class Extension(Message, frozen=True, kw_only=True):
    """A key and a value that a scheme has agreed on."""

    key: Text32
    value: Text128


class ExtensionList(Message, frozen=True, kw_only=True):
    """1 to 16 extensions."""

    extension: Annotated[tuple[Extension, ...], Meta(min_length=1, max_length=16)]


class ErrorInformation(Message, frozen=True, kw_only=True):
    """An error code and its description."""

    error_code: Annotated[str, ERROR_CODE]
    error_description: Text128
    extension_list: ExtensionList | None = None


class Money(Message, frozen=True, kw_only=True):
    """A sum of one currency, as the wire writes it."""

    currency: CurrencyCode
    amount: AmountText

    def to_amount(self) -> Amount:
        """The sum in minor units. Raises `FspiopError` 3100 where it is more than the hub can hold."""
        try:
            return Amount.from_wire(self.amount, self.currency)
        except AmountError as error:
            raise FspiopError(ErrorCode.VALIDATION_ERROR, str(error)) from None


class FxRate(Message, frozen=True, kw_only=True):
    """A conversion as proposed: the sum before it and the sum after it."""

    SINCE = Version.V2_0

    source_amount: Money
    target_amount: Money


class GeoCode(Message, frozen=True, kw_only=True):
    """Where a party is, in degrees."""

    latitude: Annotated[str, LATITUDE]
    longitude: Annotated[str, LONGITUDE]


class PartyIdInfo(Message, frozen=True, kw_only=True):
    """What identifies a party, and at which participant."""

    party_id_type: PartyIdType
    party_identifier: Text128
    # The 1.1 file wants one of two forms of which the second contains the first; that could never hold for PASSPORT.
    party_sub_id_or_type: Text128 | None = None
    fsp_id: FspIdText | None = None
    extension_list: Annotated[ExtensionList | None, _V1_1] = None


class PartyComplexName(Message, frozen=True, kw_only=True):
    """A person's name in parts."""

    first_name: PersonName | None = None
    middle_name: PersonName | None = None
    last_name: PersonName | None = None


class PartyPersonalInfo(Message, frozen=True, kw_only=True):
    """Who a person is."""

    complex_name: PartyComplexName | None = None
    date_of_birth: DateOfBirth | None = None
    kyc_information: Annotated[Text2048 | None, _V2_0] = None


class Party(Message, frozen=True, kw_only=True):
    """A payer or a payee."""

    party_id_info: PartyIdInfo
    merchant_classification_code: Annotated[str, MERCHANT_CODE] | None = None
    # The 1.1 file alone narrows this to the characters of a person's name, which 1.0 and 2.0 do not and the
    # reference does not enforce: "Smith & Sons" stays a name in every version.
    name: Text128 | None = None
    personal_info: PartyPersonalInfo | None = None
    supported_currencies: Annotated[tuple[CurrencyCode, ...] | None, Meta(max_length=16), _V2_0] = None


class PartyResult(Message, frozen=True, kw_only=True):
    """What became of one party of a batch: identified, or refused with an error."""

    party_id: PartyIdInfo
    error_information: ErrorInformation | None = None


class Refund(Message, frozen=True, kw_only=True):
    """Which transaction a refund returns."""

    original_transaction_id: CorrelationId
    refund_reason: Text128 | None = None


class TransactionType(Message, frozen=True, kw_only=True):
    """What kind of transaction it is, and who began it."""

    scenario: TransactionScenario
    sub_scenario: Annotated[str, SUB_SCENARIO] | None = None
    initiator: TransactionInitiator
    initiator_type: TransactionInitiatorType
    refund_info: Refund | None = None
    balance_of_payments: Annotated[str, BALANCE_OF_PAYMENTS] | None = None


class Transaction(Message, frozen=True, kw_only=True):
    """What payer and payee have agreed on: no body, but what an ILP packet carries (FSPIOP API 1.1 §7.4.17)."""

    transaction_id: CorrelationId
    quote_id: CorrelationId
    payee: Party
    payer: Party
    amount: Money
    payee_receive_amount: Annotated[Money | None, _V2_0] = None
    converter: Annotated[CurrencyConverter | None, _V2_0] = None
    currency_conversion: Annotated[FxRate | None, _V2_0] = None
    transaction_type: TransactionType
    note: Text128 | None = None
    extension_list: ExtensionList | None = None


# --- bodies, FSPIOP API 1.1 §6 ---


class ErrorInformationResponse(Message, frozen=True, kw_only=True):
    """The body of an answer that refuses, as the files have it: the hub itself always says what is wrong."""

    error_information: ErrorInformation | None = None


class ErrorInformationObject(Message, frozen=True, kw_only=True):
    """``PUT …/error`` of every resource, and the body of every synchronous error."""

    error_information: ErrorInformation


class ParticipantsTypeIDSubIDPostRequest(Message, frozen=True, kw_only=True):
    """``POST /participants/{Type}/{ID}[/{SubId}]``: a party is to be found at a participant."""

    fsp_id: FspIdText
    currency: CurrencyCode | None = None
    extension_list: Annotated[ExtensionList | None, _V1_1] = None


class ParticipantsTypeIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /participants/{Type}/{ID}[/{SubId}]``: at which participant a party is."""

    fsp_id: FspIdText | None = None


class ParticipantsPostRequest(Message, frozen=True, kw_only=True):
    """``POST /participants``: a batch of parties to be found at their participants."""

    request_id: CorrelationId
    party_list: Annotated[tuple[PartyIdInfo, ...], Meta(min_length=1, max_length=10_000)]
    currency: CurrencyCode | None = None


class ParticipantsIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /participants/{ID}``: what became of each party of a batch."""

    party_list: Annotated[tuple[PartyResult, ...], Meta(min_length=1, max_length=10_000)]
    currency: CurrencyCode | None = None


class PartiesTypeIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /parties/{Type}/{ID}[/{SubId}]``: who a party is."""

    party: Party


class QuotesPostRequest(Message, frozen=True, kw_only=True):
    """``POST /quotes``: on what terms would the payee's participant accept a transaction?"""

    quote_id: CorrelationId
    transaction_id: CorrelationId
    transaction_request_id: CorrelationId | None = None
    payee: Party
    payer: Party
    amount_type: AmountType
    amount: Money
    fees: Money | None = None
    transaction_type: TransactionType
    converter: Annotated[CurrencyConverter | None, _V2_0] = None
    currency_conversion: Annotated[FxRate | None, _V2_0] = None
    geo_code: GeoCode | None = None
    note: Text128 | None = None
    expiration: DateTime | None = None
    extension_list: ExtensionList | None = None


class QuotesIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /quotes/{ID}``: the terms, with the condition that a transfer must carry."""

    transfer_amount: Money
    payee_receive_amount: Money | None = None
    payee_fsp_fee: Money | None = None
    payee_fsp_commission: Money | None = None
    expiration: DateTime
    geo_code: GeoCode | None = None
    ilp_packet: IlpPacket
    condition: IlpCondition
    extension_list: ExtensionList | None = None

    def expires_at_ms(self) -> int:
        """Until when the terms hold, in milliseconds since 1970 UTC."""
        return parse_datetime_ms(self.expiration)


class TransfersPostRequest(Message, frozen=True, kw_only=True):
    """``POST /transfers``: reserve a sum at the payer's participant for the payee's."""

    transfer_id: CorrelationId
    payee_fsp: FspIdText
    payer_fsp: FspIdText
    amount: Money
    ilp_packet: IlpPacket
    condition: IlpCondition
    expiration: DateTime
    extension_list: ExtensionList | None = None

    def expires_at_ms(self) -> int:
        """Until when the transfer can be fulfilled, in milliseconds since 1970 UTC."""
        return parse_datetime_ms(self.expiration)


class TransfersIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /transfers/{ID}``: the payee's answer to a transfer, or the hub's result of it."""

    fulfilment: IlpFulfilment | None = None
    completed_timestamp: DateTime | None = None
    transfer_state: TransferState
    extension_list: ExtensionList | None = None

    def completed_at_ms(self) -> int | None:
        """When the payee says it completed the transfer, in milliseconds since 1970 UTC."""
        return None if self.completed_timestamp is None else parse_datetime_ms(self.completed_timestamp)


class TransfersIDPatchResponse(Message, frozen=True, kw_only=True):
    """``PATCH /transfers/{ID}``: the hub tells the payee's participant how a reserved transfer ended."""

    SINCE = Version.V1_1

    completed_timestamp: DateTime
    transfer_state: TransferState
    extension_list: ExtensionList | None = None

    def completed_at_ms(self) -> int:
        """When the transfer was completed, in milliseconds since 1970 UTC."""
        return parse_datetime_ms(self.completed_timestamp)


M = TypeVar("M", bound=Message)


# --- the exact type of each version ---


class _BreachError(ValueError):
    """A property breaks its rule."""

    def __init__(self, name: str, rule: Rule) -> None:
        super().__init__(f"/{name} must {rule.says}")
        self.name = name
        self.rule = rule


@dataclass(frozen=True, slots=True)
class _Check:
    """A rule of one property, ready to be applied. ``many``: to each element of a list."""

    attribute: str
    name: str
    rule: Rule
    test: Check
    many: bool

    def apply(self, value: Any) -> None:
        for text in value if self.many else (value,):
            if not self.test(text):
                raise _BreachError(self.name, self.rule)


def version_type(message: type[M], version: Version) -> type[M]:
    """The exact type of an object in one version: a subclass whose properties are those of that version."""
    return _version_type(message, version)  # type: ignore[return-value]


@lru_cache(maxsize=512)
def _version_type(message: type[Message], version: Version) -> type[Message]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    checks: list[_Check] = []
    unknown: list[str] = []
    hints = get_type_hints(message, include_extras=True)
    for field in msgspec.structs.fields(message):
        annotation, metas, rules, since, many = _read(hints[field.name], version)
        if since is not None and version < since.version:
            # To this version the property is one of those it does not know: allowed, whatever it holds, and ignored.
            fields.append((field.name, msgspec.Raw, None))
            unknown.append(field.name)
            continue
        runtime = Annotated[annotation, *metas] if metas else annotation
        fields.append((field.name, runtime) if field.required else (field.name, runtime, field.default))
        checks += [_Check(field.name, field.encode_name, rule, rule.of(version), many) for rule in rules]
    namespace: dict[str, Any] = {"__doc__": message.__doc__, "__module__": __name__}
    if checks or unknown:
        namespace["__post_init__"] = _post_init(tuple(checks), tuple(unknown))
    made = msgspec.defstruct(
        f"{message.__name__}_{version.name}",
        fields,
        bases=(message,),
        namespace=namespace,
        frozen=True,
        kw_only=True,
        rename="camel",
        omit_defaults=True,
        forbid_unknown_fields=version >= Version.V2_0,
    )
    assert issubclass(made, message)  # noqa: S101
    return made


def _read(annotation: Any, version: Version) -> tuple[Any, list[Meta], list[Rule], Since | None, bool]:
    """Takes a declared type apart: what msgspec is to check, and what is checked after it.

    An optional property loses its ``None``: it may be absent, but not ``null``.
    """
    metas: list[Meta] = []
    rules: list[Rule] = []
    since: Since | None = None
    many = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *marks = get_args(annotation)
            metas += [mark for mark in marks if isinstance(mark, Meta)]
            rules += [mark for mark in marks if isinstance(mark, Rule)]
            since = next((mark for mark in marks if isinstance(mark, Since)), since)
        elif origin in (Union, types.UnionType):
            annotation = _alternatives(annotation, version)
            if get_origin(annotation) in (Union, types.UnionType):
                return annotation, metas, rules, since, many
        elif origin is tuple:
            element, inner_metas, inner_rules, _, _ = _read(get_args(annotation)[0], version)
            checked: Any = Annotated[element, *inner_metas] if inner_metas else element
            return tuple.__class_getitem__((checked, ...)), metas, rules + inner_rules, since, True
        elif _is_message(annotation):
            return _version_type(annotation, version), metas, rules, since, many
        else:
            return annotation, metas, rules, since, many


def _alternatives(annotation: Any, version: Version) -> Any:
    """What remains of a choice in one version: without ``None``, and without objects that it does not know."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    known = [part for part in parts if not _is_message(part) or version >= part.SINCE]
    if len(known) > 1:
        return reduce(or_, [_version_type(part, version) if _is_message(part) else part for part in known])
    # None is known only where the whole property is of a newer version.
    return (known or parts)[0]


def _is_message(annotation: object) -> TypeGuard[type[Message]]:
    return isinstance(annotation, type) and issubclass(annotation, Message)


def _post_init(checks: tuple[_Check, ...], unknown: tuple[str, ...]) -> Callable[[Message], None]:
    plain = tuple((check.attribute, check.test, check) for check in checks if not check.many)
    listed = tuple(check for check in checks if check.many)

    def apply(message: Message) -> None:
        for attribute, test, check in plain:
            text = getattr(message, attribute)
            if text is not None and not test(text):
                raise _BreachError(check.name, check.rule)
        for check in listed:
            texts = getattr(message, check.attribute)
            if texts is not None:
                check.apply(texts)
        for attribute in unknown:
            force_setattr(message, attribute, None)

    return apply


@lru_cache(maxsize=512)
def _decoder(message: type[Message], version: Version) -> msgspec.json.Decoder[Message]:
    return msgspec.json.Decoder(_version_type(message, version))


# --- reading and writing ---

NESTING_MAX: Final = 32
"""Objects and lists that may stand in one another. The API itself needs 7."""

_NO_JSON: Final = "The body is not valid JSON in UTF-8"
_NESTED: Final = f"The body is nested more than {NESTING_MAX} deep"

_ANY: Final = msgspec.json.Decoder[Any]()
_LOSSLESS: Final = msgspec.json.Decoder(Any, float_hook=Decimal)
_ENCODER: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")
_COMPACT: Final = msgspec.json.Encoder()
_SPACES: Final = b" \t\r\n"


def decode(message: type[M], version: Version, body: bytes) -> M:
    """The checked message of a body. ``version`` is that of its Content-Type.

    Raises `FspiopError`: 3101 for what is not JSON (or has a property twice, which two readers could read differently),
    is nested deeper than `NESTING_MAX` or has another type, 3102 for a missing property, 3103 for one too many, 3100
    for any other breach of the schema. The first error found is the one reported. Whoever reads the body limits its
    length.
    """
    if not body:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "The request has no body")
    try:
        decoded = _decoder(message, version).decode(body)
        parsed = _ANY.decode(body)
        _refuse_nested(body, parsed)
        _refuse_repeated(body, parsed)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _NO_JSON) from None
    except RecursionError:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _NESTED) from None
    return decoded  # type: ignore[return-value]


def encode(message: Message) -> bytes:
    """The body of a message: keys sorted, compact, which is the form that every signature check agrees on.

    The reference verifies a signature over the key-sorted body whatever order travelled, others over the bytes.
    """
    return _ENCODER.encode(message)


def body_hash(body: bytes) -> bytes:
    """SHA-256 of what a body says: the order of keys, spaces and escapes do not count, every digit of a number does.

    Two bodies with the same hash are the same message sent again. Raises `FspiopError` 3101 for what is not JSON.
    """
    try:
        canonical = _ENCODER.encode(_LOSSLESS.decode(body))
    except (msgspec.DecodeError, UnicodeError, ValueError, ArithmeticError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _NO_JSON) from None
    except RecursionError:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _NESTED) from None
    return hashlib.sha256(canonical).digest()


def _refuse_nested(body: bytes, parsed: object) -> None:
    """Raises `FspiopError` 3101 where objects and lists stand deeper in one another than `NESTING_MAX`.

    What no version of the API knows is passed on unread, and whoever reads it must not run out of stack.
    """
    if body.count(b"{") + body.count(b"[") <= NESTING_MAX:
        return
    level = [parsed]
    for _ in range(NESTING_MAX):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [content for each in inner for content in each]
        if not level:
            return
    if any(isinstance(each, dict | list) for each in level):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _NESTED)


def _refuse_repeated(body: bytes, parsed: object) -> None:
    """Raises `FspiopError` 3101 where an object has a property twice.

    A body is passed on byte for byte, so a reader that takes the first of two amounts must not meet one that takes the
    last. What is parsed has each property once: where it is written as the body was, the body had too. Spaces are left
    out of the comparison on both sides, which no repeated property can survive either: it has its quotes and colon.
    Only bodies that escape otherwise than we do are read once more, slowly.
    """
    written = _COMPACT.encode(parsed)
    if written == body or written.translate(None, _SPACES) == body.translate(None, _SPACES):
        return
    try:
        json.loads(body, object_pairs_hook=_unrepeated, parse_int=str, parse_float=str)
    except ValueError:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _NO_JSON) from None


def _unrepeated(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, f"The body has property {name!r} twice")
        seen.add(name)


# What msgspec says, and the code that the reference's mapping of schema keywords gives it.
_PATH: Final = re.compile(r" - at `(?:key in )?\$?([^`]*)`\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_TYPE: Final = re.compile(r"Expected `([a-z]+)`(?:, got `([a-z]+)`)?")
_LENGTH: Final = re.compile(r"Expected `([a-z]+)` of length (.*)", re.DOTALL)
_JSON_TYPES: Final = {"str": "string", "object": "object", "array": "array"}


def _refusal(error: msgspec.ValidationError) -> FspiopError:
    """The error that a participant is told for what msgspec found."""
    said = str(error)
    located = _PATH.search(said)
    path = "/requestBody" + (located[1].replace(".", "/") if located else "")
    reason = said[: located.start()] if located else said
    cause = error.__cause__
    if isinstance(cause, _BreachError):
        return FspiopError(ErrorCode.VALIDATION_ERROR, f"{path}/{cause.name} must {cause.rule.says}")
    if match := _MISSING.fullmatch(reason):
        return FspiopError(ErrorCode.MISSING_ELEMENT, f"{path} must have required property '{match[1]}'")
    if match := _UNKNOWN.fullmatch(reason):
        return FspiopError(ErrorCode.TOO_MANY_ELEMENTS, f"{path} must NOT have additional property '{match[1]}'")
    if match := _LENGTH.fullmatch(reason):
        return FspiopError(ErrorCode.VALIDATION_ERROR, f"{path} must have length {match[2]}")
    if (match := _TYPE.fullmatch(reason)) and match.groups() == ("str", "null"):
        # The reference's validation reads null as an empty text, which no text of the API may be.
        return FspiopError(ErrorCode.VALIDATION_ERROR, f"{path} must not be null")
    if match:
        return FspiopError(ErrorCode.MALFORMED_SYNTAX, f"{path} must be {_JSON_TYPES.get(match[1], match[1])}")
    if reason.startswith("Invalid enum value"):
        return FspiopError(ErrorCode.VALIDATION_ERROR, f"{path} must be equal to one of the allowed values")
    if reason.endswith("out of range"):
        return FspiopError(ErrorCode.MALFORMED_SYNTAX, f"{path} has a number that is out of range")
    return FspiopError(ErrorCode.VALIDATION_ERROR, f"{path}: {reason}")
