"""The path parameters that name a party: ``/parties/{Type}/{ID}[/{SubId}]``, and the same of ``/participants``.

The OpenAPI files leave them nearly free; the rules here are the reference's account lookup. Among them: no braces,
which catches a template that somebody forgot to fill.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, get_args

from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.messages import PartyIdType

PARTY_ID_TYPES: Final[frozenset[str]] = frozenset(get_args(PartyIdType))
"""The types of the API (FSPIOP API 1.1 §7.5.6)."""

EXTENDED_PARTY_ID_TYPES: Final[frozenset[str]] = PARTY_ID_TYPES | {"CONSENT", "THIRD_PARTY_LINK"}
"""With those that a scheme with third parties adds."""

# The byte order mark is a space to the reference and not to Python.
# Segments that mean "here" and "above" would change the path that they stand in.
_IDENTIFIER: Final = re.compile(r"(?!\.{1,2}$)[^\s\x00-\x1f{}<>`\\\ufeff]{1,128}")
_BY_TYPE: Final = {
    "MSISDN": re.compile(r"\+?[0-9]{1,30}"),
    "EMAIL": re.compile(r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}"),
    "IBAN": re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}"),
}


class PartyId(NamedTuple):
    """What identifies a party: type, identifier and, where a party has several, the one that is meant."""

    type: str
    identifier: str
    sub_id: str | None = None


def check_party_id(
    party_type: str,
    identifier: str,
    sub_id: str | None = None,
    *,
    types: frozenset[str] = PARTY_ID_TYPES,
) -> PartyId:
    """The party that a path names; its parameters are given percent-decoded.

    Raises `FspiopError` 3101 for an unknown type, an identifier or a sub-identifier of 0 or more than 128 characters or
    with a space, control character or one of ``{}<>`\\``, and for an MSISDN, e-mail address or IBAN that is none.
    """
    if party_type not in types:
        raise _malformed("Type", "is not a type of party identifier")
    if _IDENTIFIER.fullmatch(identifier) is None:
        raise _malformed("ID", "must have 1 to 128 characters, no spaces, none of {}<>`\\")
    by_type = _BY_TYPE.get(party_type)
    if by_type is not None and by_type.fullmatch(identifier) is None:
        raise _malformed("ID", f"is not of type {party_type}")
    if sub_id is not None and _IDENTIFIER.fullmatch(sub_id) is None:
        raise _malformed("SubId", "must have 1 to 128 characters, no spaces, none of {}<>`\\")
    return PartyId(party_type, identifier, sub_id)


def _malformed(parameter: str, reason: str) -> FspiopError:
    return FspiopError(ErrorCode.MALFORMED_SYNTAX, f"/path/{parameter} {reason}")
