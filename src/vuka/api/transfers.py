"""``/transfers`` on the participants' API (FSPIOP API 1.1 §6.7): requests become commands."""

from __future__ import annotations

from vuka.api.hub import Hub
from vuka.api.request import Request, body_id, path_id
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.messages import ErrorInformationObject, ExtensionList, TransfersIDPutResponse, TransfersPostRequest
from vuka.ids import FspId, TransferId
from vuka.money import Amount, AmountError
from vuka.switch.transfers import AbortTransfer, FulfilTransfer, GetTransfer, PrepareTransfer


def to_amount(amount: str, currency: str, field: str) -> Amount:
    """A ``Money`` of a body. Raises `FspiopError` 3100 naming the field where the hub can't hold so much."""
    try:
        return Amount.from_wire(amount, currency)
    except AmountError as error:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, f"/requestBody/{field}: {error}") from None


async def post(hub: Hub, request: Request) -> int:
    """``POST /transfers``."""
    body = request.decode(TransfersPostRequest)
    await hub.submit(
        PrepareTransfer(
            message=request.inbound((body.transfer_id,)),
            transfer_id=TransferId(body_id(body.transfer_id, "transferId")),
            payer_fsp=FspId(body.payer_fsp),
            payee_fsp=FspId(body.payee_fsp),
            amount=to_amount(body.amount.amount, body.amount.currency, "amount"),
            condition=body.condition,
            ilp_packet=body.ilp_packet,
            expires_ms=body.expires_at_ms(),
            body_hash=request.body_hash(),
            extensions=_extensions(body.extension_list),
        )
    )
    return 202


def _extensions(given: ExtensionList | None) -> tuple[tuple[str, str], ...]:
    return () if given is None else tuple((each.key, each.value) for each in given.extension)


async def put(hub: Hub, request: Request) -> int:
    """``PUT /transfers/{ID}``."""
    transfer_id = TransferId(path_id(request.ids[0]))
    body = request.decode(TransfersIDPutResponse)
    check_completed(hub, body.completed_at_ms(), request.received_ms)
    await hub.submit(
        FulfilTransfer(
            message=request.inbound(),
            transfer_id=transfer_id,
            transfer_state=body.transfer_state,
            fulfilment=body.fulfilment,
            body_hash=request.body_hash(),
        )
    )
    return 200


def check_completed(hub: Hub, completed_ms: int | None, received_ms: int) -> None:
    """A completedTimestamp must be of now: not ahead of the hub's clock, not older than a fulfilment may be."""
    if completed_ms is None:
        return
    scheme = hub.config.scheme
    if completed_ms > received_ms + scheme.fulfil_future_ms_max:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "completedTimestamp fails because future timestamp was provided")
    if completed_ms < received_ms - scheme.fulfil_age_seconds_max * 1000:
        raise FspiopError(
            ErrorCode.VALIDATION_ERROR,
            "completedTimestamp fails because provided timestamp exceeded the maximum timeout",
        )


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /transfers/{ID}/error``."""
    transfer_id = TransferId(path_id(request.ids[0]))
    information = request.decode(ErrorInformationObject).error_information
    await hub.submit(
        AbortTransfer(
            message=request.inbound(),
            transfer_id=transfer_id,
            error_code=information.error_code,
            error_description=information.error_description,
            body_hash=request.body_hash(),
        )
    )
    return 200


async def get(hub: Hub, request: Request) -> int:
    """``GET /transfers/{ID}``."""
    await hub.submit(GetTransfer(message=request.inbound(), transfer_id=TransferId(path_id(request.ids[0]))))
    return 202


async def patch(_hub: Hub, _request: Request) -> int:
    """``PATCH /transfers/{ID}`` goes from the hub to a participant, never to the hub."""
    raise FspiopError(ErrorCode.NOT_IMPLEMENTED)
