"""``/bulkQuotes`` on the participants' API (FSPIOP API 1.1 §6.8): requests become commands."""

from __future__ import annotations

from vuka.api.hub import Hub
from vuka.api.quotes import refuse_accept
from vuka.api.request import Request, body_id, path_id
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.bulk import BulkQuotesIDPutResponse, BulkQuotesPostRequest
from vuka.fspiop.messages import ErrorInformationObject
from vuka.fspiop.times import parse_datetime_ms
from vuka.money import Currency
from vuka.switch.bulk_quotes import RequestBulkQuote, RouteBulkQuote
from vuka.switch.work import Action


async def post(hub: Hub, request: Request) -> int:
    """``POST /bulkQuotes``."""
    _require_destination(request)
    body = request.decode(BulkQuotesPostRequest)
    body_id(body.bulk_quote_id, "bulkQuoteId")
    await hub.submit(
        RequestBulkQuote(
            message=request.inbound((body.bulk_quote_id,)),
            currency=Currency(body.individual_quotes[0].amount.currency),
            expires_ms=parse_datetime_ms(body.expiration) if body.expiration is not None else None,
        )
    )
    return 202


async def put(hub: Hub, request: Request) -> int:
    """``PUT /bulkQuotes/{ID}``."""
    refuse_accept(request)
    path_id(request.ids[0])
    _require_destination(request)
    request.decode(BulkQuotesIDPutResponse)
    await hub.submit(RouteBulkQuote(message=request.inbound(), action=Action.PUT))
    return 200


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /bulkQuotes/{ID}/error``."""
    path_id(request.ids[0])
    _require_destination(request)
    request.decode(ErrorInformationObject)
    await hub.submit(RouteBulkQuote(message=request.inbound(), action=Action.ERROR))
    return 200


async def get(hub: Hub, request: Request) -> int:
    """``GET /bulkQuotes/{ID}``."""
    path_id(request.ids[0])
    _require_destination(request)
    await hub.submit(RouteBulkQuote(message=request.inbound(), action=Action.GET))
    return 202


def _require_destination(request: Request) -> None:
    """The hub keeps no record of bulk quotes: only the sender can say for whom it is. Raises `FspiopError` 3102."""
    if request.checked.destination is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-destination'")
