"""``/fxQuotes`` on the participants' API (FSPIOP API 2.0): requests become commands of `vuka.switch.fx_quotes`."""

from __future__ import annotations

from vuka.api.hub import Hub
from vuka.api.quotes import refuse_accept
from vuka.api.request import Request, body_id, path_id
from vuka.api.transfers import to_amount
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.fx import FxMoney, FxQuotesIDPutResponse, FxQuotesPostRequest
from vuka.fspiop.messages import ErrorInformationObject
from vuka.money import Currency
from vuka.switch.fx_quotes import AnswerFxQuote, DeclineFxQuote, GetFxQuote, RequestFxQuote


async def post(hub: Hub, request: Request) -> int:
    """``POST /fxQuotes``."""
    if request.checked.destination is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-destination'")
    body = request.decode(FxQuotesPostRequest)
    terms = body.conversion_terms
    await hub.submit(
        RequestFxQuote(
            message=request.inbound((body.conversion_request_id,)),
            conversion_request_id=body_id(body.conversion_request_id, "conversionRequestId"),
            conversion_id=terms.conversion_id,
            determining_transfer_id=terms.determining_transfer_id,
            source_currency=Currency(terms.source_amount.currency),
            source_amount=_minor(terms.source_amount, "conversionTerms/sourceAmount"),
            target_currency=Currency(terms.target_amount.currency),
            target_amount=_minor(terms.target_amount, "conversionTerms/targetAmount"),
            amount_type=terms.amount_type,
            expires_ms=terms.expires_at_ms(),
            body_hash=request.body_hash(),
        )
    )
    return 202


def _minor(money: FxMoney, field: str) -> int | None:
    """Minor units; None where the FXP is to say how much. Raises `FspiopError` 3100."""
    return None if money.amount is None else to_amount(money.amount, money.currency, field).minor


async def put(hub: Hub, request: Request) -> int:
    """``PUT /fxQuotes/{ID}``."""
    refuse_accept(request)
    conversion_request_id = path_id(request.ids[0])
    body = request.decode(FxQuotesIDPutResponse)
    await hub.submit(
        AnswerFxQuote(
            message=request.inbound(),
            conversion_request_id=conversion_request_id,
            condition=body.condition,
            body_hash=request.body_hash(),
        )
    )
    return 200


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /fxQuotes/{ID}/error``."""
    conversion_request_id = path_id(request.ids[0])
    information = request.decode(ErrorInformationObject).error_information
    await hub.submit(
        DeclineFxQuote(
            message=request.inbound(),
            conversion_request_id=conversion_request_id,
            error_code=information.error_code,
            body_hash=request.body_hash(),
        )
    )
    return 200


async def get(hub: Hub, request: Request) -> int:
    """``GET /fxQuotes/{ID}``."""
    await hub.submit(GetFxQuote(message=request.inbound(), conversion_request_id=path_id(request.ids[0])))
    return 202
