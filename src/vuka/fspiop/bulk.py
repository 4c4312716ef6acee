"""Bodies of bulk quotes: many quotes of one payer in one message (FSPIOP API 1.1 §6.8), alike in every version."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vuka.fspiop.messages import (
    AmountType,
    CorrelationId,
    DateTime,
    ErrorInformation,
    ExtensionList,
    GeoCode,
    IlpCondition,
    IlpPacket,
    Message,
    Money,
    Party,
    Text128,
    TransactionType,
)


class IndividualQuote(Message, frozen=True, kw_only=True):
    """One request for terms within a bulk."""

    quote_id: CorrelationId
    transaction_id: CorrelationId
    payee: Party
    amount_type: AmountType
    amount: Money
    fees: Money | None = None
    transaction_type: TransactionType
    note: Text128 | None = None
    extension_list: ExtensionList | None = None


class IndividualQuoteResult(Message, frozen=True, kw_only=True):
    """The terms of one of them, or why there are none."""

    quote_id: CorrelationId
    payee: Party | None = None
    transfer_amount: Money | None = None
    payee_receive_amount: Money | None = None
    payee_fsp_fee: Money | None = None
    payee_fsp_commission: Money | None = None
    ilp_packet: IlpPacket | None = None
    condition: IlpCondition | None = None
    error_information: ErrorInformation | None = None
    extension_list: ExtensionList | None = None


class BulkQuotesPostRequest(Message, frozen=True, kw_only=True):
    """``POST /bulkQuotes``: on what terms would the payees' participant accept these transactions?"""

    bulk_quote_id: CorrelationId
    payer: Party
    geo_code: GeoCode | None = None
    expiration: DateTime | None = None
    individual_quotes: Annotated[tuple[IndividualQuote, ...], Meta(min_length=1, max_length=1000)]
    extension_list: ExtensionList | None = None


class BulkQuotesIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /bulkQuotes/{ID}``: the terms of each."""

    individual_quote_results: Annotated[tuple[IndividualQuoteResult, ...] | None, Meta(max_length=1000)] = None
    expiration: DateTime
    extension_list: ExtensionList | None = None
