"""``GET /enums``: the reference's tables of names and numbers.

Its clients translate between the two with it, so the numbers are those of its seeds, in their order. Names that the
hub adds come after them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vuka.ids import HUB
from vuka.switch.accounts import ParticipantDetails
from vuka.switch.participants import ENDPOINT_TYPES, LIMIT_TYPES

_LEDGER_ENTRY_TYPES: Final = (
    "PRINCIPLE_VALUE",
    "INTERCHANGE_FEE",
    "HUB_FEE",
    "POSITION_DEPOSIT",
    "POSITION_WITHDRAWAL",
    "SETTLEMENT_NET_RECIPIENT",
    "SETTLEMENT_NET_SENDER",
    "SETTLEMENT_NET_ZERO",
    "RECORD_FUNDS_IN",
    "RECORD_FUNDS_OUT",
)

_ROLES: Final = (
    "PAYER_DFSP",
    "PAYEE_DFSP",
    "HUB",
    "DFSP_SETTLEMENT",
    "DFSP_POSITION",
    "INITIATING_FSP",
    "COUNTER_PARTY_FSP",
)

_TRANSFER_STATES: Final = {
    "RECEIVED_PREPARE": "RECEIVED",
    "RESERVED": "RESERVED",
    "RECEIVED_FULFIL": "RESERVED",
    "RECEIVED_FULFIL_DEPENDENT": "RESERVED",
    "COMMITTED": "COMMITTED",
    "FAILED": "ABORTED",
    "RESERVED_TIMEOUT": "RESERVED",
    "RECEIVED_REJECT": "RESERVED",
    "ABORTED_REJECTED": "ABORTED",
    "RECEIVED_ERROR": "RESERVED",
    "ABORTED_ERROR": "ABORTED",
    "EXPIRED_PREPARED": "ABORTED",
    "EXPIRED_RESERVED": "ABORTED",
    "INVALID": "ABORTED",
    "SETTLED": "SETTLED",
    "RESERVED_FORWARDED": "RESERVED",
}

_BULK_PROCESSING_STATES: Final = (
    "RECEIVED",
    "RECEIVED_DUPLICATE",
    "RECEIVED_INVALID",
    "ACCEPTED",
    "PROCESSING",
    "FULFIL_DUPLICATE",
    "FULFIL_INVALID",
    "COMPLETED",
    "REJECTED",
    "EXPIRED",
    "ABORTING",
)

_BULK_TRANSFER_STATES: Final = {
    "RECEIVED": "RECEIVED",
    "PENDING_PREPARE": "PENDING",
    "PENDING_INVALID": "PENDING",
    "ACCEPTED": "ACCEPTED",
    "PROCESSING": "PROCESSING",
    "PENDING_FULFIL": "PROCESSING",
    "EXPIRING": "PROCESSING",
    "COMPLETED": "COMPLETED",
    "EXPIRED": "COMPLETED",
    "REJECTED": "REJECTED",
    "INVALID": "REJECTED",
    "ABORTING": "PROCESSING",
}


def enums(hub: ParticipantDetails, ledger_account_types: Iterable[str]) -> dict[str, object]:
    """The body of ``GET /enums``."""
    return {
        "endpointType": _numbered(ENDPOINT_TYPES),
        "hubParticipant": {
            "participantId": hub.participant_id,
            "name": HUB,
            "isActive": int(hub.is_active),
            "isProxy": int(hub.is_proxy),
        },
        "ledgerAccountType": _numbered(ledger_account_types),
        "ledgerEntryType": _numbered(_LEDGER_ENTRY_TYPES),
        "participantLimitType": _numbered(LIMIT_TYPES),
        "transferParticipantRoleType": _numbered(_ROLES),
        "transferState": {name: name for name in _TRANSFER_STATES},
        "transferStateEnum": _TRANSFER_STATES,
        "bulkProcessingState": _numbered(_BULK_PROCESSING_STATES),
        "bulkTransferState": {name: name for name in _BULK_TRANSFER_STATES},
        "bulkTransferStateEnum": _BULK_TRANSFER_STATES,
    }


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names, 1)}
