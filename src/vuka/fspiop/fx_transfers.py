"""Bodies of currency conversions under way, and of who offers them (FSPIOP API 2.0)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vuka.fspiop.messages import (
    CorrelationId,
    DateTime,
    ExtensionList,
    FspIdText,
    IlpCondition,
    IlpFulfilment,
    Message,
    Money,
    TransferState,
)
from vuka.fspiop.versions import Version


class FxTransfersPostRequest(Message, frozen=True, kw_only=True):
    """``POST /fxTransfers``: reserve a sum in one currency against one in another."""

    SINCE = Version.V2_0

    commit_request_id: CorrelationId
    determining_transfer_id: CorrelationId | None = None
    initiating_fsp: FspIdText
    counter_party_fsp: FspIdText
    source_amount: Money
    target_amount: Money
    condition: IlpCondition
    expiration: DateTime | None = None


class FxTransfersIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /fxTransfers/{ID}``: the provider's answer to a conversion, or the hub's result of it."""

    SINCE = Version.V2_0

    fulfilment: IlpFulfilment | None = None
    completed_timestamp: DateTime | None = None
    conversion_state: TransferState
    extension_list: ExtensionList | None = None


class FxTransfersIDPatchResponse(Message, frozen=True, kw_only=True):
    """``PATCH /fxTransfers/{ID}``: the hub tells the provider how a conversion ended."""

    SINCE = Version.V2_0

    completed_timestamp: DateTime | None = None
    conversion_state: TransferState
    extension_list: ExtensionList | None = None


class ServicesFXPPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /services/FXP``: who converts."""

    SINCE = Version.V2_0

    providers: Annotated[tuple[FspIdText, ...], Meta(max_length=16)]


class ServicesFXPSourceCurrencyTargetCurrencyPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /services/FXP/{SourceCurrency}/{TargetCurrency}``: who converts the one into the other."""

    SINCE = Version.V2_0

    providers: Annotated[tuple[FspIdText, ...], Meta(max_length=16)]
