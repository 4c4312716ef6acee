"""``/parties`` on the participants' API (FSPIOP API 1.1 §6.3): who is behind an identifier?

The hub only routes: it asks its oracle which participants serve the identifier, passes the question to them, and
their answers back, byte for byte. Nothing of it needs a record, so it goes straight to the courier; the journal has
it with the next batch.
"""

from __future__ import annotations

from vuka.api.hub import Hub
from vuka.api.request import Request
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.messages import ErrorInformationObject, PartiesTypeIDPutResponse
from vuka.fspiop.parties import check_party_id
from vuka.ids import FspId
from vuka.money import CURRENCIES
from vuka.switch.lookup import Party, callback, find
from vuka.switch.work import Action, ErrorBody, Forward, Inbound, Notice


def to_party(request: Request) -> Party:
    """The party that the path names. Raises `FspiopError` 3101."""
    checked = check_party_id(*request.ids)
    return Party(checked.type, checked.identifier, checked.sub_id or "")


def currency_of(request: Request) -> str:
    """The currency that the query asks for, or empty. Raises `FspiopError` 3100 for one the scheme doesn't know."""
    currency = request.query.get("currency", "")
    if currency and currency not in CURRENCIES:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "/query/currency must be equal to one of the allowed values")
    return currency


async def get(hub: Hub, request: Request) -> int:
    """``GET /parties/{Type}/{ID}[/{SubId}]``: passed to every participant that serves the party."""
    inbound = request.inbound()
    try:
        party, currency = to_party(request), currency_of(request)
        recipients = _recipients(hub, inbound, party, currency)
    except FspiopError as error:
        tell(hub, inbound, error)
        return 202
    hub.route(inbound, [_forward(hub, inbound, to, Action.GET) for to in recipients])
    return 202


def _recipients(hub: Hub, inbound: Inbound, party: Party, currency: str) -> list[FspId]:
    """Who is asked: the destination where the requester knows it, else whom the oracle names."""
    directory = hub.directory
    known = directory.get(inbound.destination)
    if known is not None and known.is_active:
        return [known.name]
    entries = hub.read(lambda tx, _ledger, _directory: find(tx, party, currency))
    active = [
        entry.fsp_id
        for entry in entries
        if (participant := directory.get(entry.fsp_id)) is not None and participant.is_active
    ]
    if not active and party.party_sub_id:
        raise FspiopError(ErrorCode.ID_NOT_FOUND, f"No participant serves {'/'.join(party.ids)}"[:100])
    if not active:
        raise FspiopError(ErrorCode.PARTY_NOT_FOUND)
    return list(dict.fromkeys(active))


async def put(hub: Hub, request: Request) -> int:
    """``PUT /parties/{Type}/{ID}[/{SubId}]``: the answer, passed to whoever asked."""
    to_party(request)
    request.decode(PartiesTypeIDPutResponse)
    return pass_back(hub, request, Action.PUT)


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /parties/{Type}/{ID}[/{SubId}]/error``: the refusal, passed to whoever asked."""
    to_party(request)
    request.decode(ErrorInformationObject)
    return pass_back(hub, request, Action.ERROR)


def pass_back(hub: Hub, request: Request, action: Action) -> int:
    """Passes an answer to its destination; its sender learns by callback where there is no such participant."""
    inbound = request.inbound()
    if inbound.destination is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-destination'")
    recipient = hub.directory.get(inbound.destination)
    if recipient is None:
        tell(hub, inbound, FspiopError(ErrorCode.ID_NOT_FOUND, f"Participant {inbound.destination} not found"))
        return 200
    hub.route(inbound, [_forward(hub, inbound, recipient.name, action)])
    return 200


def tell(hub: Hub, inbound: Inbound, error: FspiopError) -> None:
    """Tells a requester by ``PUT …/error`` what is wrong with its request."""
    deadline_ms = hub.now_ms() + hub.config.scheme.routed_deadline_seconds * 1000
    notice = callback(inbound, inbound.source, ErrorBody.of(error), deadline_ms)
    hub.route(inbound, [notice], outcome=f"refused: {error}")


def _forward(hub: Hub, inbound: Inbound, to: FspId, action: Action) -> Notice:
    return Notice(
        to=to,
        action=action,
        resource=inbound.resource,
        ids=inbound.ids,
        body=Forward(inbound),
        deadline_ms=hub.now_ms() + hub.config.scheme.routed_deadline_seconds * 1000,
        source=inbound.source,
        destination=to,
        trace=inbound.trace,
    )
