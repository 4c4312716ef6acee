"""``/quotes`` on the participants' API (FSPIOP API 1.1 §6.5): requests become commands of `vuka.switch.quotes`."""

from __future__ import annotations

from vuka.api.hub import Hub
from vuka.api.request import Request, body_id, path_id
from vuka.api.transfers import to_amount
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.messages import ErrorInformationObject, QuotesIDPutResponse, QuotesPostRequest
from vuka.fspiop.times import parse_datetime_ms
from vuka.ids import FspId
from vuka.money import Currency
from vuka.switch.quotes import AnswerQuote, DeclineQuote, GetQuote, RequestQuote


async def post(hub: Hub, request: Request) -> int:
    """``POST /quotes``."""
    if request.checked.destination is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-destination'")
    body = request.decode(QuotesPostRequest)
    payee = body.payee.party_id_info
    payer_fsp = body.payer.party_id_info.fsp_id
    amount = to_amount(body.amount.amount, body.amount.currency, "amount")
    parts = (payee.party_id_type, payee.party_identifier, payee.party_sub_id_or_type)
    await hub.submit(
        RequestQuote(
            message=request.inbound((body.quote_id,)),
            quote_id=body_id(body.quote_id, "quoteId"),
            transaction_id=body.transaction_id,
            payer_fsp=FspId(payer_fsp) if payer_fsp is not None else None,
            payee_fsp=FspId(payee.fsp_id) if payee.fsp_id is not None else None,
            payee_party="/".join(part for part in parts if part),
            payer_currencies=tuple(body.payer.supported_currencies or ()),
            currency=amount.currency,
            amount=amount.minor,
            amount_type=body.amount_type,
            expires_ms=parse_datetime_ms(body.expiration) if body.expiration is not None else None,
            body_hash=request.body_hash(),
        )
    )
    return 202


def refuse_accept(request: Request) -> None:
    """Terms are no request: they negotiate nothing (hub reference §1.3). Raises `FspiopError` 3100."""
    if request.headers.get("accept") is not None:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "Unexpected header: accept")


async def put(hub: Hub, request: Request) -> int:
    """``PUT /quotes/{ID}``."""
    refuse_accept(request)
    quote_id = path_id(request.ids[0])
    body = request.decode(QuotesIDPutResponse)
    currency = (body.payee_receive_amount or body.transfer_amount).currency
    await hub.submit(
        AnswerQuote(
            message=request.inbound(),
            quote_id=quote_id,
            currency=Currency(currency),
            condition=body.condition,
            body_hash=request.body_hash(),
        )
    )
    return 200


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /quotes/{ID}/error``."""
    quote_id = path_id(request.ids[0])
    information = request.decode(ErrorInformationObject).error_information
    await hub.submit(
        DeclineQuote(
            message=request.inbound(),
            quote_id=quote_id,
            error_code=information.error_code,
            body_hash=request.body_hash(),
        )
    )
    return 200


async def get(hub: Hub, request: Request) -> int:
    """``GET /quotes/{ID}``."""
    await hub.submit(GetQuote(message=request.inbound(), quote_id=path_id(request.ids[0])))
    return 202
