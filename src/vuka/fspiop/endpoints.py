"""Where a participant is called back: the endpoint types it registers, and the URL of one callback.

The reference knows two kinds. Most types hold a **template** of the whole URL
(``http://fsp/transfers/{{transferId}}``); a few hold a **base**, to which the path of the resource is appended. Which
is which is the reference's choice and is kept, because participants' onboarding scripts register them so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Final
from urllib.parse import quote

_PREFIX: Final = "FSPIOP_CALLBACK_URL_"


class EndpointKind(Enum):
    """What the value of an endpoint is."""

    TEMPLATE = "template"
    """The whole URL, with ``{{placeholders}}``."""
    BASE = "base"
    """A URL to which the path of the resource is appended."""
    OTHER = "other"
    """Not where a callback goes: an e-mail address, a topic, an alarm's URL."""


class EndpointType(StrEnum):
    """Every endpoint type of the reference, by its name."""

    TRANSFER_POST = "FSPIOP_CALLBACK_URL_TRANSFER_POST"
    TRANSFER_PUT = "FSPIOP_CALLBACK_URL_TRANSFER_PUT"
    TRANSFER_ERROR = "FSPIOP_CALLBACK_URL_TRANSFER_ERROR"
    FX_TRANSFER_POST = "FSPIOP_CALLBACK_URL_FX_TRANSFER_POST"
    FX_TRANSFER_PUT = "FSPIOP_CALLBACK_URL_FX_TRANSFER_PUT"
    FX_TRANSFER_ERROR = "FSPIOP_CALLBACK_URL_FX_TRANSFER_ERROR"
    BULK_TRANSFER_POST = "FSPIOP_CALLBACK_URL_BULK_TRANSFER_POST"
    BULK_TRANSFER_PUT = "FSPIOP_CALLBACK_URL_BULK_TRANSFER_PUT"
    BULK_TRANSFER_ERROR = "FSPIOP_CALLBACK_URL_BULK_TRANSFER_ERROR"
    PARTICIPANT_PUT = "FSPIOP_CALLBACK_URL_PARTICIPANT_PUT"
    PARTICIPANT_PUT_ERROR = "FSPIOP_CALLBACK_URL_PARTICIPANT_PUT_ERROR"
    PARTICIPANT_SUB_ID_PUT = "FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_PUT"
    PARTICIPANT_SUB_ID_PUT_ERROR = "FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_PUT_ERROR"
    PARTICIPANT_DELETE = "FSPIOP_CALLBACK_URL_PARTICIPANT_DELETE"
    PARTICIPANT_SUB_ID_DELETE = "FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_DELETE"
    PARTICIPANT_BATCH_PUT = "FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT"
    PARTICIPANT_BATCH_PUT_ERROR = "FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT_ERROR"
    PARTIES_GET = "FSPIOP_CALLBACK_URL_PARTIES_GET"
    PARTIES_PUT = "FSPIOP_CALLBACK_URL_PARTIES_PUT"
    PARTIES_PUT_ERROR = "FSPIOP_CALLBACK_URL_PARTIES_PUT_ERROR"
    PARTIES_SUB_ID_GET = "FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_GET"
    PARTIES_SUB_ID_PUT = "FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT"
    PARTIES_SUB_ID_PUT_ERROR = "FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT_ERROR"

    QUOTES = "FSPIOP_CALLBACK_URL_QUOTES"
    FX_QUOTES = "FSPIOP_CALLBACK_URL_FX_QUOTES"
    BULK_QUOTES = "FSPIOP_CALLBACK_URL_BULK_QUOTES"
    TRX_REQ_SERVICE = "FSPIOP_CALLBACK_URL_TRX_REQ_SERVICE"
    AUTHORIZATIONS = "FSPIOP_CALLBACK_URL_AUTHORIZATIONS"

    TP_TRANSACTION_REQUEST_GET = "TP_CB_URL_TRANSACTION_REQUEST_GET"
    TP_TRANSACTION_REQUEST_POST = "TP_CB_URL_TRANSACTION_REQUEST_POST"
    TP_TRANSACTION_REQUEST_PUT = "TP_CB_URL_TRANSACTION_REQUEST_PUT"
    TP_TRANSACTION_REQUEST_PUT_ERROR = "TP_CB_URL_TRANSACTION_REQUEST_PUT_ERROR"
    TP_TRANSACTION_REQUEST_PATCH = "TP_CB_URL_TRANSACTION_REQUEST_PATCH"
    TP_TRANSACTION_REQUEST_AUTH_POST = "TP_CB_URL_TRANSACTION_REQUEST_AUTH_POST"
    TP_TRANSACTION_REQUEST_AUTH_PUT = "TP_CB_URL_TRANSACTION_REQUEST_AUTH_PUT"
    TP_TRANSACTION_REQUEST_AUTH_PUT_ERROR = "TP_CB_URL_TRANSACTION_REQUEST_AUTH_PUT_ERROR"
    TP_TRANSACTION_REQUEST_VERIFY_POST = "TP_CB_URL_TRANSACTION_REQUEST_VERIFY_POST"
    TP_TRANSACTION_REQUEST_VERIFY_PUT = "TP_CB_URL_TRANSACTION_REQUEST_VERIFY_PUT"
    TP_TRANSACTION_REQUEST_VERIFY_PUT_ERROR = "TP_CB_URL_TRANSACTION_REQUEST_VERIFY_PUT_ERROR"
    TP_CONSENT_REQUEST_POST = "TP_CB_URL_CONSENT_REQUEST_POST"
    TP_CONSENT_REQUEST_PUT = "TP_CB_URL_CONSENT_REQUEST_PUT"
    TP_CONSENT_REQUEST_PUT_ERROR = "TP_CB_URL_CONSENT_REQUEST_PUT_ERROR"
    TP_CONSENT_REQUEST_PATCH = "TP_CB_URL_CONSENT_REQUEST_PATCH"
    TP_CREATE_CREDENTIAL_POST = "TP_CB_URL_CREATE_CREDENTIAL_POST"
    TP_CONSENT_POST = "TP_CB_URL_CONSENT_POST"
    TP_CONSENT_GET = "TP_CB_URL_CONSENT_GET"
    TP_CONSENT_PUT = "TP_CB_URL_CONSENT_PUT"
    TP_CONSENT_PUT_ERROR = "TP_CB_URL_CONSENT_PUT_ERROR"
    TP_CONSENT_PATCH = "TP_CB_URL_CONSENT_PATCH"
    TP_CONSENT_GENERATE_CHALLENGE_POST = "TP_CB_URL_CONSENT_GENERATE_CHALLENGE_POST"
    TP_CONSENT_GENERATE_CHALLENGE_PUT_ERROR = "TP_CB_URL_CONSENT_GENERATE_CHALLENGE_PUT_ERROR"
    TP_ACCOUNTS_GET = "TP_CB_URL_ACCOUNTS_GET"
    TP_ACCOUNTS_PUT = "TP_CB_URL_ACCOUNTS_PUT"
    TP_ACCOUNTS_PUT_ERROR = "TP_CB_URL_ACCOUNTS_PUT_ERROR"
    TP_SERVICES_GET = "TP_CB_URL_SERVICES_GET"
    TP_SERVICES_PUT = "TP_CB_URL_SERVICES_PUT"
    TP_SERVICES_PUT_ERROR = "TP_CB_URL_SERVICES_PUT_ERROR"

    ALARM_NOTIFICATION_URL = "ALARM_NOTIFICATION_URL"
    ALARM_NOTIFICATION_TOPIC = "ALARM_NOTIFICATION_TOPIC"
    NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL = "NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL"
    NET_DEBIT_CAP_ADJUSTMENT_EMAIL = "NET_DEBIT_CAP_ADJUSTMENT_EMAIL"
    SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL = "SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL"

    @property
    def kind(self) -> EndpointKind:
        """What a participant registers as its value."""
        if self.value in _BASES or self.value.startswith("TP_CB_URL_"):
            return EndpointKind.BASE
        if self.value.startswith(_PREFIX):
            return EndpointKind.TEMPLATE
        return EndpointKind.OTHER


_BASES: Final = frozenset(
    _PREFIX + name for name in ("QUOTES", "FX_QUOTES", "BULK_QUOTES", "TRX_REQ_SERVICE", "AUTHORIZATIONS")
)

_KINDS: Final[Mapping[str, EndpointKind]] = {endpoint: endpoint.kind for endpoint in EndpointType}
"""A look-up, because every message that goes out needs it."""

_is_plain: Final = re.compile(r"[A-Za-z0-9-]+").fullmatch
"""Most parameters are UUIDs, of which nothing needs to be escaped."""

_PLACEHOLDER: Final = re.compile(r"\{\{\{?\s*([A-Za-z0-9_]+)\s*\}?\}\}")

# The name under which a template asks for the id of a message of a resource; scripts in use also write ID and id.
_ID_NAMES: Final = {
    "authorizations": "transactionRequestId",
    "bulkQuotes": "bulkQuoteId",
    "bulkTransfers": "bulkTransferId",
    "fxQuotes": "conversionRequestId",
    "fxTransfers": "commitRequestId",
    "participants": "requestId",
    "quotes": "quoteId",
    "transactionRequests": "transactionRequestId",
    "transactions": "transactionId",
    "transfers": "transferId",
}


def id_parameters(resource: str, message_id: str) -> dict[str, str]:
    """The parameters of a URL that names one message: ``transferId`` and the like, ``ID`` and ``id``."""
    parameters = {"ID": message_id, "id": message_id}
    name = _ID_NAMES.get(resource)
    if name is not None:
        parameters[name] = message_id
    return parameters


def party_parameters(party_type: str, identifier: str, sub_id: str | None = None) -> dict[str, str]:
    """The parameters of a URL that names a party."""
    parameters = {"partyIdType": party_type, "partyIdentifier": identifier}
    if sub_id is not None:
        parameters["partySubIdOrType"] = sub_id
    return parameters


def fill(template: str, parameters: Mapping[str, str]) -> str:
    """A template with each ``{{placeholder}}`` replaced by the percent-encoded parameter of that name.

    Raises `ValueError` where the template asks for a parameter that is not given.
    """
    literals, names = _split(template)
    if not names:
        return template
    filled = [literals[0]]
    for name, literal in zip(names, literals[1:], strict=True):
        value = parameters.get(name)
        if value is None:
            known = ", ".join(sorted(parameters)) or "none"
            raise ValueError(f"{template} asks for {{{{{name}}}}}, which is not known here; known: {known}")
        filled.append(value if _is_plain(value) else quote(value, safe=""))
        filled.append(literal)
    return "".join(filled)


@lru_cache(maxsize=4096)
def _split(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parts = _PLACEHOLDER.split(template)
    return tuple(parts[::2]), tuple(parts[1::2])


def callback_url(endpoint: str, value: str, path: str, parameters: Mapping[str, str]) -> str:
    """The URL of one callback.

    ``value`` is what the participant registered for ``endpoint``, the name of an `EndpointType`; ``path`` is the path
    template of the resource (``/quotes/{{ID}}``), which is appended where the value is a base. Raises `ValueError` as
    `fill` does, and for an endpoint that takes no callbacks.
    """
    kind = _KINDS.get(endpoint, EndpointKind.OTHER)
    if kind is EndpointKind.TEMPLATE:
        return fill(value, parameters)
    if kind is EndpointKind.BASE:
        return fill(value.rstrip("/") + path, parameters)
    raise ValueError(f"{endpoint} takes no callbacks")


def path_of(url: str, resource: str) -> str:
    """The FSPIOP-URI of a URL: what follows its base, from the resource's name on, with the query.

    ``http://fsp:4000/fspiop/transfers/1`` → ``/transfers/1``. Raises `ValueError` where no segment of the path is the
    resource's name.
    """
    rest = url.partition("#")[0]
    scheme_end = rest.find("://")
    path_start = rest.find("/", scheme_end + 3) if scheme_end >= 0 else 0
    path, mark, query = (rest[path_start:] if path_start >= 0 else "").partition("?")
    segments = path.split("/")
    if resource not in segments[1:]:
        raise ValueError(f"{url} has no path that begins with /{resource}")
    return "/" + "/".join(segments[segments.index(resource, 1) :]) + mark + query
