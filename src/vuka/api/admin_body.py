"""What operators send, read and checked: bodies, queries and path parameters of the administrative API.

The rules are those that the reference declares for each route; what breaks one is told with its field, in the
reference's words and codes: missing 3102, one too many 3103, a text of the wrong form or not of a list 3101, anything
else (a number, a boolean) 3100, always with status 400. Booleans may be written ``"true"`` and numbers as text, as
there. A number is read as its digits, never as a float; what the hub can't hold exactly is refused, not rounded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
from starlette.requests import Request

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import FspId, IdError, TransferId, parse_id
from vuka.money import CURRENCIES, AmountError, Currency, parse_decimal
from vuka.switch.participants import NAME_LENGTH_MAX, NAME_LENGTH_MIN

BODY_BYTES_MAX: Final = 1_048_576
"""The largest body accepted, in bytes: the default of the reference's server."""

ACCOUNT_ID_DIGITS_MAX: Final = 15

_TRUE: Final = ("true", "1")
_FALSE: Final = ("false", "0", "")

# `float_hook` is given the digits of a JSON number with a point or an exponent, so that no float is ever made.
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE | re.DOTALL)


def malformed(detail: str) -> FspiopError:
    """A text of the wrong form."""
    return FspiopError(ErrorCode.MALFORMED_SYNTAX, detail)


def invalid(detail: str) -> FspiopError:
    """A value that is not allowed."""
    return FspiopError(ErrorCode.VALIDATION_ERROR, detail)


async def read_body(request: Request) -> Fields:
    """The members of the JSON object that a request carries. Raises `FspiopError`."""
    if _JSON.fullmatch(request.headers.get("content-type", "application/json")) is None:
        raise malformed("Unsupported Media Type")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES_MAX:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {BODY_BYTES_MAX} bytes", status=413)
    if not content:
        raise invalid('"value" must be of type object')
    try:
        value = _DECODER.decode(bytes(content))
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError):
        raise FspiopError(ErrorCode.CLIENT_ERROR, "Invalid request payload JSON format") from None
    if not isinstance(value, dict):
        raise invalid('"value" must be of type object')
    return Fields(value)


def read_query(request: Request) -> Fields:
    """The parameters of a request's query."""
    return Fields(dict(request.query_params))


def path_name(request: Request) -> FspId:
    """The participant that a path names. Raises `FspiopError` 3101."""
    name = request.path_params["name"]
    if not NAME_LENGTH_MIN <= len(name) <= NAME_LENGTH_MAX or "\x00" in name:
        raise malformed("'name' URI path parameter")
    return FspId(name)


def path_account_id(request: Request) -> int:
    """The number of the account that a path names. Raises `FspiopError` 3100."""
    text = request.path_params["id"]
    if not text.isascii() or not text.isdigit() or len(text) > ACCOUNT_ID_DIGITS_MAX or int(text) == 0:
        raise invalid("'id' URI path parameter")
    return int(text)


def path_transfer_id(request: Request, name: str = "transferId") -> TransferId:
    """The transfer that a path names. Raises `FspiopError` 3101."""
    try:
        return TransferId(parse_id(request.path_params[name]))
    except IdError:
        raise malformed(f"{name!r} URI path parameter") from None


class Fields:
    """The members of one JSON object: taken one by one, in the order of their rules; `end` refuses what is left."""

    __slots__ = ("_left", "_prefix")

    def __init__(self, members: Mapping[str, object], prefix: str = "") -> None:
        self._left = dict(members)
        self._prefix = prefix

    def _label(self, name: str) -> str:
        return f'"{self._prefix}{name}"'

    def _take(self, name: str) -> object:
        """The value, which must be there. A JSON ``null`` is there, and is not allowed by any rule of these."""
        if name not in self._left:
            raise FspiopError(ErrorCode.MISSING_ELEMENT, f"{self._label(name)} is required")
        return self._left.pop(name)

    def text(self, name: str, *, length_min: int = 1, length_max: int | None = None) -> str:
        """A string that must be there."""
        value = self._take(name)
        if not isinstance(value, str) or "\x00" in value:
            raise malformed(f"{self._label(name)} must be a string")
        if not value:
            raise malformed(f"{self._label(name)} is not allowed to be empty")
        if len(value) < length_min:
            raise malformed(f"{self._label(name)} length must be at least {length_min} characters long")
        if length_max is not None and len(value) > length_max:
            raise malformed(f"{self._label(name)} length must be less than or equal to {length_max} characters long")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is missing."""
        return self.text(name) if name in self._left else None

    def nullable_text(self, name: str) -> str | None:
        """A string, or ``null``; it must be there."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return None
        return self.text(name)

    def matching(self, name: str, pattern: re.Pattern[str], rule: str) -> str:
        """A string that a pattern matches as a whole."""
        value = self.text(name)
        if pattern.fullmatch(value) is None:
            raise malformed(f"{self._label(name)} {rule}, 2 to 30 of them")
        return value

    def nullable_choice(self, name: str, choices: Collection[str]) -> str | None:
        """One of a list, or ``null``; it must be there."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return None
        return self.choice(name, choices)

    def choice(self, name: str, choices: Collection[str], *, label: str = "") -> str:
        """One of a list."""
        if name not in self._left and label:
            raise FspiopError(ErrorCode.MISSING_ELEMENT, f'"{label}" is required')
        value = self._take(name)
        if not isinstance(value, str) or value not in choices:
            listed = ", ".join(sorted(choices))
            shown = f'"{label}"' if label else self._label(name)
            raise malformed(f"{shown} must be one of [{listed}]")
        return value

    def currency(self, name: str = "currency") -> Currency:
        """A currency that the scheme knows."""
        return Currency(self.choice(name, CURRENCIES))

    def optional_currency(self, name: str = "currency") -> Currency | None:
        """A currency that the scheme knows, or None where it is missing."""
        return self.currency(name) if name in self._left else None

    def boolean(self, name: str) -> bool:
        """A boolean, or the word for one."""
        value = self._take(name)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise invalid(f"{self._label(name)} must be a boolean")

    def flag(self, name: str) -> bool:
        """Whether something is said to be so: also ``1`` or ``0``, and not where it is missing, empty or ``null``."""
        value = self._left.pop(name, None)
        if value is None:
            return False
        word = str(value).lower() if isinstance(value, str | int) else "?"
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise invalid(f"{self._label(name)} must be a boolean")

    def minor(self, name: str) -> int:
        """Minor units of an amount written as a number or as text."""
        value = self._take(name)
        digits = _digits(value)
        if digits is None:
            raise invalid(f"{self._label(name)} must be a number")
        try:
            return parse_decimal(digits)
        except AmountError:
            raise invalid(f"{self._label(name)} must have at most 18 digits and 4 decimals") from None

    def optional_minor(self, name: str) -> int:
        """Minor units of an amount; 0 where it is missing."""
        return self.minor(name) if name in self._left else 0

    def positive_minor(self, name: str) -> int:
        """Minor units of an amount above 0."""
        minor = self.minor(name)
        if minor <= 0:
            raise invalid(f"{self._label(name)} must be a positive number")
        return minor

    def whole(self, name: str) -> int:
        """A whole number."""
        value = self._take(name)
        digits = _digits(value)
        if digits is None:
            raise invalid(f"{self._label(name)} must be a number")
        whole, _, fraction = digits.partition(".")
        if fraction.strip("0"):
            raise malformed(f"{self._label(name)} must be an integer")
        return int(whole)

    def transfer_id(self, name: str) -> tuple[TransferId, str]:
        """The id of a transfer, and how it was written."""
        text = self.text(name)
        try:
            return TransferId(parse_id(text)), text
        except IdError:
            raise malformed(f"{self._label(name)} must be a UUID or a ULID") from None

    def object(self, name: str, *, label: str = "") -> Fields:
        """An object; read it with `Fields` of its own, its `end` included."""
        if name not in self._left and label:
            raise FspiopError(ErrorCode.MISSING_ELEMENT, f'"{label}" is required')
        value = self._take(name)
        if not isinstance(value, dict):
            raise invalid(f"{self._label(name)} must be of type object")
        return Fields(value, f"{self._prefix}{name}.")

    def has(self, name: str) -> bool:
        """Whether a member is there and not yet taken."""
        return name in self._left

    def objects(self, name: str) -> list[Fields]:
        """An array of objects; read each with its own `Fields`, its `end` included."""
        value = self._take(name)
        if not isinstance(value, list):
            raise invalid(f"{self._label(name)} must be an array")
        found: list[Fields] = []
        for place, item in enumerate(value):
            where = f"{self._prefix}{name}[{place}]"
            if not isinstance(item, dict):
                raise invalid(f'"{where}" must be of type object')
            found.append(Fields(item, f"{where}."))
        return found

    def extensions(self, name: str = "extensionList") -> tuple[tuple[str, str], ...]:
        """The keys and values of an ``ExtensionList``; none where it is missing."""
        if name not in self._left:
            return ()
        holder = self.object(name)
        items = holder._left.pop("extension", [])
        holder.end()
        if not isinstance(items, list):
            raise invalid(f'"{self._prefix}{name}.extension" must be an array')
        found: list[tuple[str, str]] = []
        for place, item in enumerate(items):
            where = f"{self._prefix}{name}.extension[{place}]"
            if not isinstance(item, dict):
                raise invalid(f'"{where}" must be of type object')
            fields = Fields(item, f"{where}.")
            found.append((fields.optional_text("key") or "", fields.optional_text("value") or ""))
            fields.end()
        return tuple(found)

    def end(self) -> None:
        """Refuses what no rule has asked for. Raises `FspiopError` 3103."""
        for name in self._left:
            raise FspiopError(ErrorCode.TOO_MANY_ELEMENTS, f"{self._label(name[:60])} is not allowed")


def _digits(value: object) -> str | None:
    """A number in plain digits, e.g. ``1e3`` as ``1000``; None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else "9" * 40
    if isinstance(value, str):
        try:
            value = Decimal(value.strip()) if value.isascii() and "_" not in value else None
        except InvalidOperation:
            return None
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    # Written out, an exponent could fill the memory; nothing the hub holds comes near these bounds.
    if value.adjusted() > 40:
        return "9" * 40
    if value.adjusted() < -40 and value != 0:
        return "0." + "0" * 40 + "1"
    return format(value, "f") if value != 0 else "0"
