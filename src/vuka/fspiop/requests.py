"""Bodies of a payee's request for a payment, of what the payer proves to the payee's side, and of transactions.

FSPIOP API 1.1 §6.4, §6.6 and §6.9.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from vuka.fspiop.messages import (
    CorrelationId,
    DateTime,
    ExtensionList,
    GeoCode,
    Message,
    Money,
    Party,
    PartyIdInfo,
    Rule,
    Text128,
    TransactionType,
    matches,
)
from vuka.fspiop.versions import Version

CODE: Final = Rule("be 4 to 32 letters and digits", matches("[0-9a-zA-Z]{4,32}"))
INTEGER: Final = Rule("be a whole number, the first digit not 0", matches("[1-9][0-9]*"))
_UNBROKEN: Final = re.compile(r"\S{1,64}").fullmatch


def _is_authentication_value(value: object) -> bool:
    return not isinstance(value, str) or _UNBROKEN(value) is not None


PIN: Final = Rule("be 1 to 64 characters without spaces", _UNBROKEN)
AUTHENTICATION_TYPE: Final = Rule(
    "be equal to one of the allowed values",
    frozenset(("OTP", "QRCODE", "U2F")).__contains__,
    until_2_0=frozenset(("OTP", "QRCODE")).__contains__,
)
AUTHENTICATION_VALUE: Final = Rule(
    "be 1 to 64 characters without spaces, or from version 2.0 on a U2F object",
    _is_authentication_value,
)

TransactionState = Literal["RECEIVED", "PENDING", "COMPLETED", "REJECTED"]
TransactionRequestState = Literal["RECEIVED", "PENDING", "ACCEPTED", "REJECTED"]
AuthorizationResponse = Literal["ENTERED", "REJECTED", "RESEND"]


class U2FPinValue(Message, frozen=True, kw_only=True):
    """What a U2F device answers, with its counter."""

    SINCE = Version.V2_0

    pin_value: Annotated[str, PIN]
    counter: Annotated[str, INTEGER]


class AuthenticationInfo(Message, frozen=True, kw_only=True):
    """How a payer proved who he is."""

    authentication: Annotated[str, AUTHENTICATION_TYPE]
    # The 1.1 file wants one of two forms of which the second contains the first; that could never hold for an OTP.
    authentication_value: Annotated[str | U2FPinValue, AUTHENTICATION_VALUE]


class TransactionRequestsPostRequest(Message, frozen=True, kw_only=True):
    """``POST /transactionRequests``: a payee asks a payer for a payment."""

    transaction_request_id: CorrelationId
    payee: Party
    payer: PartyIdInfo
    amount: Money
    transaction_type: TransactionType
    note: Text128 | None = None
    geo_code: GeoCode | None = None
    authentication_type: Annotated[str, AUTHENTICATION_TYPE] | None = None
    expiration: DateTime | None = None
    extension_list: ExtensionList | None = None


class TransactionRequestsIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /transactionRequests/{ID}``: what the payer's participant makes of the request."""

    transaction_id: CorrelationId | None = None
    transaction_request_state: TransactionRequestState
    extension_list: ExtensionList | None = None


class TransactionsIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /transactions/{ID}``: how a transaction stands."""

    completed_timestamp: DateTime | None = None
    transaction_state: TransactionState
    code: Annotated[str, CODE] | None = None
    extension_list: ExtensionList | None = None


class AuthorizationsIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /authorizations/{ID}``: what the payer entered."""

    authentication_info: AuthenticationInfo | None = None
    response_type: AuthorizationResponse
