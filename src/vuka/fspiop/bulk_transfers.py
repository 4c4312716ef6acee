"""Bodies of bulk transfers: many transfers of one payer in one message (FSPIOP API 1.1 §6.10)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from vuka.fspiop.messages import (
    CorrelationId,
    DateTime,
    ErrorInformation,
    ExtensionList,
    FspIdText,
    IlpCondition,
    IlpFulfilment,
    IlpPacket,
    Message,
    Money,
)

BulkTransferState = Literal["RECEIVED", "PENDING", "ACCEPTED", "PROCESSING", "COMPLETED", "REJECTED"]


class IndividualTransfer(Message, frozen=True, kw_only=True):
    """One of the transfers of a bulk."""

    transfer_id: CorrelationId
    transfer_amount: Money
    ilp_packet: IlpPacket
    condition: IlpCondition
    extension_list: ExtensionList | None = None


class IndividualTransferResult(Message, frozen=True, kw_only=True):
    """How one transfer of a bulk ended."""

    transfer_id: CorrelationId
    fulfilment: IlpFulfilment | None = None
    error_information: ErrorInformation | None = None
    extension_list: ExtensionList | None = None


class BulkTransfersPostRequest(Message, frozen=True, kw_only=True):
    """``POST /bulkTransfers``: reserve many sums at the payer's participant for the payees' one."""

    bulk_transfer_id: CorrelationId
    bulk_quote_id: CorrelationId
    payer_fsp: FspIdText
    payee_fsp: FspIdText
    individual_transfers: Annotated[tuple[IndividualTransfer, ...], Meta(min_length=1, max_length=1000)]
    expiration: DateTime
    extension_list: ExtensionList | None = None


class BulkTransfersIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /bulkTransfers/{ID}``: how each ended."""

    completed_timestamp: DateTime | None = None
    individual_transfer_results: Annotated[tuple[IndividualTransferResult, ...] | None, Meta(max_length=1000)] = None
    bulk_transfer_state: BulkTransferState
    extension_list: ExtensionList | None = None
