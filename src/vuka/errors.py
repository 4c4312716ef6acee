"""The FSPIOP error codes, one table, and the one error a participant sees.

Codes, messages and HTTP statuses: FSPIOP API 1.1 §7.6 and the hub-specific additions that the reference
makes (2006, 3040, 5107, 6000). A description on the wire is ``<message> - <detail>``, cut to 128 characters
(FSPIOP API 1.1 §7.2.10, ``ErrorDescription``).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

DESCRIPTION_MAX: Final = 128
"""Characters in an ``errorDescription`` and in an extension's value."""


class ErrorCode(Enum):
    """Every code the scheme defines: ``(code, message, HTTP status)``."""

    COMMUNICATION_ERROR = ("1000", "Communication error", 503)
    DESTINATION_COMMUNICATION_ERROR = ("1001", "Destination communication error", 503)
    SERVER_ERROR = ("2000", "Generic server error", 500)
    INTERNAL_SERVER_ERROR = ("2001", "Internal server error", 500)
    NOT_IMPLEMENTED = ("2002", "Not implemented", 501)
    SERVICE_CURRENTLY_UNAVAILABLE = ("2003", "Service currently unavailable", 503)
    SERVER_TIMED_OUT = ("2004", "Server timed out", 500)
    SERVER_BUSY = ("2005", "Server busy", 500)
    TEMPORARY_PARTY_RESOLUTION_FAILED = ("2006", "Temporary party resolution failed, try again", 503)
    CLIENT_ERROR = ("3000", "Generic client error", 400)
    UNACCEPTABLE_VERSION = ("3001", "Unacceptable version requested", 406)
    UNKNOWN_URI = ("3002", "Unknown URI", 404)
    ADD_PARTY_INFO_ERROR = ("3003", "Add Party information error", 400)
    DELETE_PARTY_INFO_ERROR = ("3040", "Delete Party information error", 400)
    VALIDATION_ERROR = ("3100", "Generic validation error", 400)
    MALFORMED_SYNTAX = ("3101", "Malformed syntax", 400)
    MISSING_ELEMENT = ("3102", "Missing mandatory element", 400)
    TOO_MANY_ELEMENTS = ("3103", "Too many elements", 400)
    TOO_LARGE_PAYLOAD = ("3104", "Too large payload", 400)
    INVALID_SIGNATURE = ("3105", "Invalid signature", 400)
    MODIFIED_REQUEST = ("3106", "Modified request", 400)
    MISSING_MANDATORY_EXTENSION = ("3107", "Missing mandatory extension parameter", 400)
    ID_NOT_FOUND = ("3200", "Generic ID not found", 400)
    DESTINATION_FSP_ERROR = ("3201", "Destination FSP Error", 400)
    PAYER_FSP_ID_NOT_FOUND = ("3202", "Payer FSP ID not found", 400)
    PAYEE_FSP_ID_NOT_FOUND = ("3203", "Payee FSP ID not found", 400)
    PARTY_NOT_FOUND = ("3204", "Party not found", 400)
    QUOTE_ID_NOT_FOUND = ("3205", "Quote ID not found", 400)
    TXN_REQUEST_ID_NOT_FOUND = ("3206", "Transaction request ID not found", 400)
    TXN_ID_NOT_FOUND = ("3207", "Transaction ID not found", 400)
    TRANSFER_ID_NOT_FOUND = ("3208", "Transfer ID not found", 400)
    BULK_QUOTE_ID_NOT_FOUND = ("3209", "Bulk quote ID not found", 400)
    BULK_TRANSFER_ID_NOT_FOUND = ("3210", "Bulk transfer ID not found", 400)
    EXPIRED_ERROR = ("3300", "Generic expired error", 400)
    TXN_REQUEST_EXPIRED = ("3301", "Transaction request expired", 400)
    QUOTE_EXPIRED = ("3302", "Quote expired", 400)
    TRANSFER_EXPIRED = ("3303", "Transfer expired", 400)
    PAYER_ERROR = ("4000", "Generic Payer error", 400)
    PAYER_FSP_INSUFFICIENT_LIQUIDITY = ("4001", "Payer FSP insufficient liquidity", 400)
    PAYER_REJECTION = ("4100", "Generic Payer rejection", 400)
    PAYER_REJECTED_TXN_REQUEST = ("4101", "Payer rejected transaction request", 400)
    PAYER_FSP_UNSUPPORTED_TXN_TYPE = ("4102", "Payer FSP unsupported transaction type", 400)
    PAYER_UNSUPPORTED_CURRENCY = ("4103", "Payer unsupported currency", 400)
    PAYER_LIMIT_ERROR = ("4200", "Payer limit error", 400)
    PAYER_PERMISSION_ERROR = ("4300", "Generic Payer permission error", 400)
    PAYER_BLOCKED_ERROR = ("4400", "Generic Payer blocked error", 400)
    PAYEE_ERROR = ("5000", "Generic Payee error", 400)
    PAYEE_FSP_INSUFFICIENT_LIQUIDITY = ("5001", "Payee FSP insufficient liquidity", 400)
    PAYEE_REJECTION = ("5100", "Generic Payee rejection", 400)
    PAYEE_REJECTED_QUOTE = ("5101", "Payee rejected quote", 400)
    PAYEE_FSP_UNSUPPORTED_TXN_TYPE = ("5102", "Payee FSP unsupported transaction type", 400)
    PAYEE_FSP_REJECTED_QUOTE = ("5103", "Payee FSP rejected quote", 400)
    PAYEE_REJECTED_TXN = ("5104", "Payee rejected transaction", 400)
    PAYEE_FSP_REJECTED_TXN = ("5105", "Payee FSP rejected transaction", 400)
    PAYEE_UNSUPPORTED_CURRENCY = ("5106", "Payee unsupported currency", 400)
    PAYEE_IDENTIFIER_NOT_VALID = ("5107", "Payee identifier no-longer valid", 400)
    PAYEE_LIMIT_ERROR = ("5200", "Payee limit error", 400)
    PAYEE_PERMISSION_ERROR = ("5300", "Generic Payee permission error", 400)
    PAYEE_BLOCKED_ERROR = ("5400", "Generic Payee blocked error", 400)
    SETTLEMENT_ERROR = ("6000", "Generic settlement error", 400)

    def __init__(self, code: str, message: str, status: int) -> None:
        self.code = code
        self.message = message
        self.status = status


_BY_CODE: Final = {member.code: member for member in ErrorCode}

_KNOWN_GROUPS: Final = frozenset(
    ("10", "20", "30", "31", "32", "33", "40", "41", "42", "43", "44", "50", "51", "52", "53", "54", "60")
)


def is_known_group(code: str) -> bool:
    """Whether a participant's error code belongs to a defined group, so that it may be relayed as it is.

    FSPIOP API 1.1 §7.6: codes ending in 40 to 99 are a scheme's own and stand for their group's generic code.
    """
    return len(code) == 4 and code.isascii() and code.isdigit() and code[:2] in _KNOWN_GROUPS


class FspiopError(Exception):
    """What a participant is told went wrong, in an HTTP answer or in an error callback.

    ``extensions`` become the ``extensionList``. ``status`` overrides the code's HTTP status where the reference
    answers another one (405 for a wrong method, 503 with Retry-After for an overloaded hub).
    """

    def __init__(
        self,
        code: ErrorCode | str,
        detail: str = "",
        *,
        description: str | None = None,
        extensions: tuple[tuple[str, str], ...] = (),
        status: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        known = code if isinstance(code, ErrorCode) else _BY_CODE.get(code)
        self.code = known.code if known is not None else str(code)
        if description is None:
            message = known.message if known is not None else "Error"
            description = f"{message} - {detail}" if detail else message
        self.description = description[:DESCRIPTION_MAX]
        self.extensions = extensions
        self.status = status if status is not None else (known.status if known is not None else 400)
        self.headers = headers
        super().__init__(f"{self.code} {self.description}")

    def body(self) -> dict[str, object]:
        """The ``ErrorInformationObject``: the same for an answer and for a callback (FSPIOP API 1.1 §7.4.2)."""
        information: dict[str, object] = {"errorCode": self.code, "errorDescription": self.description}
        if self.extensions:
            information["extensionList"] = {
                "extension": [
                    {"key": key[:32], "value": value[:DESCRIPTION_MAX]} for key, value in self.extensions[:16]
                ]
            }
        return {"errorInformation": information}


class OperatorError(Exception):
    """What an operator did cannot be done; the message is a sentence that says what to do instead."""
