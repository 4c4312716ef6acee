"""Bodies of currency conversions: the terms an FXP is asked for and gives (FSPIOP API 2.0)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vuka.fspiop.messages import (
    AmountText,
    AmountType,
    CorrelationId,
    CurrencyCode,
    DateTime,
    ExtensionList,
    FspIdText,
    IlpCondition,
    Message,
    Money,
    Text32,
)
from vuka.fspiop.times import parse_datetime_ms
from vuka.fspiop.versions import Version


class FxMoney(Message, frozen=True, kw_only=True):
    """A sum of one side of a conversion; without an amount, one that the FXP is to say."""

    SINCE = Version.V2_0

    currency: CurrencyCode
    amount: AmountText | None = None


class FxCharge(Message, frozen=True, kw_only=True):
    """What an FXP charges for a conversion."""

    SINCE = Version.V2_0

    charge_type: Text32
    source_amount: Money | None = None
    target_amount: Money | None = None


class FxConversion(Message, frozen=True, kw_only=True):
    """The terms of a conversion, as asked for or as given."""

    SINCE = Version.V2_0

    conversion_id: CorrelationId
    determining_transfer_id: CorrelationId | None = None
    initiating_fsp: FspIdText
    counter_party_fsp: FspIdText
    amount_type: AmountType
    source_amount: FxMoney
    target_amount: FxMoney
    expiration: DateTime
    charges: Annotated[tuple[FxCharge, ...] | None, Meta(max_length=16)] = None
    extension_list: ExtensionList | None = None

    def expires_at_ms(self) -> int:
        """Until when the terms hold, or are needed, in milliseconds since 1970 UTC."""
        return parse_datetime_ms(self.expiration)


class FxQuotesPostRequest(Message, frozen=True, kw_only=True):
    """``POST /fxQuotes``: on what terms would an FXP convert a sum?"""

    SINCE = Version.V2_0

    conversion_request_id: CorrelationId
    conversion_terms: FxConversion


class FxQuotesIDPutResponse(Message, frozen=True, kw_only=True):
    """``PUT /fxQuotes/{ID}``: the FXP's terms, with the condition that the conversion must carry."""

    SINCE = Version.V2_0

    condition: IlpCondition | None = None
    conversion_terms: FxConversion
