"""``/participants`` on the participants' API (FSPIOP API 1.1 §6.2): which participant serves an identifier?

Registrations are records and go through the engine; questions are answered from the oracle at once. The bodies of the
confirmations are the reference's, which differ from the specification's and which participants rely on.
"""

from __future__ import annotations

from vuka.api.hub import Hub
from vuka.api.parties import currency_of, pass_back, tell, to_party
from vuka.api.request import Request
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop import render
from vuka.fspiop.messages import (
    ErrorInformationObject,
    ParticipantsPostRequest,
    ParticipantsTypeIDSubIDPostRequest,
    PartyIdInfo,
)
from vuka.fspiop.parties import check_party_id
from vuka.ids import FspId
from vuka.switch.lookup import OracleEntry, Party, RegisterParty, RemoveParty, callback, find
from vuka.switch.work import Action, JsonBody


async def get(hub: Hub, request: Request) -> int:
    """``GET /participants/{Type}/{ID}[/{SubId}]``: answered with the first participant that serves it."""
    inbound = request.inbound()
    try:
        party, currency = to_party(request), currency_of(request)
        entries = hub.read(lambda tx, _ledger, _directory: find(tx, party, currency))
        if not entries:
            raise FspiopError(ErrorCode.PARTY_NOT_FOUND)
    except FspiopError as error:
        tell(hub, inbound, error)
        return 202
    deadline_ms = hub.now_ms() + hub.config.scheme.routed_deadline_seconds * 1000
    body = JsonBody(render.participant_result(entries[0].fsp_id))
    hub.route(inbound, [callback(inbound, inbound.source, body, deadline_ms)], outcome="answered")
    return 202


async def post(hub: Hub, request: Request) -> int:
    """``POST /participants/{Type}/{ID}[/{SubId}]``: a participant says that it serves a party."""
    await _register(hub, request, replace=False)
    return 202


async def put(hub: Hub, request: Request) -> int:
    """``PUT /participants/{Type}/{ID}[/{SubId}]``: the same, replacing what it said before."""
    await _register(hub, request, replace=True)
    return 200


async def _register(hub: Hub, request: Request, *, replace: bool) -> None:
    inbound = request.inbound()
    body = request.decode(ParticipantsTypeIDSubIDPostRequest)
    try:
        party = to_party(request)
        if hub.config.scheme.parties_by_owner_only and body.fsp_id != inbound.source:
            detail = f"{inbound.source} can't register a party for {body.fsp_id}"
            raise FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, detail)
    except FspiopError as error:
        tell(hub, inbound, error)
        return
    destination = hub.directory.get(inbound.destination)
    await hub.submit(
        RegisterParty(
            entries=(OracleEntry(party, FspId(body.fsp_id), body.currency or ""),),
            replace=replace,
            message=inbound,
            answer=render.participant_registered(
                party.party_id_type,
                party.party_identifier,
                body.fsp_id,
                sub_id=party.party_sub_id or None,
                currency=body.currency,
            ),
            answer_to=destination.name if destination is not None else FspId(body.fsp_id),
        )
    )


async def post_batch(hub: Hub, request: Request) -> int:
    """``POST /participants``: many parties at once; those of another participant are refused one by one.

    Answers 200, as the reference does.
    """
    body = request.decode(ParticipantsPostRequest)
    inbound = request.inbound((body.request_id,))
    accepted: list[OracleEntry] = []
    results: list[tuple[PartyIdInfo, FspiopError | None]] = []
    for info in body.party_list:
        error = _refusal(info, inbound.source)
        results.append((info, error))
        if error is None:
            party = Party(info.party_id_type, info.party_identifier, info.party_sub_id_or_type or "")
            accepted.append(OracleEntry(party, inbound.source, body.currency or ""))
    await hub.submit(
        RegisterParty(entries=tuple(accepted), message=inbound, answer=render.batch_result(results, body.currency))
    )
    return 200


def _refusal(info: PartyIdInfo, source: FspId) -> FspiopError | None:
    """Why one party of a batch is not registered."""
    if info.fsp_id != source:
        return FspiopError(ErrorCode.PARTY_NOT_FOUND, "fspId should equal FSPIOP-Source")
    try:
        check_party_id(info.party_id_type, info.party_identifier, info.party_sub_id_or_type)
    except FspiopError as error:
        return error
    return None


async def delete(hub: Hub, request: Request) -> int:
    """``DELETE /participants/{Type}/{ID}[/{SubId}]``: a participant says that it no longer serves a party."""
    inbound = request.inbound()
    try:
        party, currency = to_party(request), currency_of(request)
    except FspiopError as error:
        tell(hub, inbound, error)
        return 202
    await hub.submit(
        RemoveParty(
            party=party,
            fsp_id=inbound.source,
            currency=currency,
            message=inbound,
            answer=render.participant_result(inbound.source),
        )
    )
    return 202


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /participants/…/error``: passed to its destination."""
    request.decode(ErrorInformationObject)
    return pass_back(hub, request, Action.ERROR)


async def put_batch(_hub: Hub, _request: Request) -> int:
    """``PUT /participants/{ID}``: the hub makes no batches that it would have answered."""
    raise FspiopError(ErrorCode.NOT_IMPLEMENTED)
