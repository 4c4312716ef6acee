"""``/participants`` on the participants' API (FSPIOP API 1.1 §6.2): which participant serves an identifier?

What the hub's own oracle is to know is a record and goes through the engine; what it is asked is answered at once. An
oracle outside the hub is asked and told after the 202, and its answer passed on by callback (hub reference §7.3). The
bodies of the confirmations are the reference's, which differ from the specification's and which participants rely on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from vuka.api.hub import Hub
from vuka.api.parties import currency_of, later, look_up, pass_back, tell, to_party
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
from vuka.ids import HUB, FspId
from vuka.switch.directory import Oracle
from vuka.switch.lookup import (
    OracleEntry,
    Party,
    RegisterParty,
    RemoveParty,
    callback,
    in_scheme,
    meant,
    refusal_to_register,
)
from vuka.switch.oracles import oracle_for
from vuka.switch.work import Action, Inbound, JsonBody

Result = tuple[PartyIdInfo, FspiopError | None]
"""One party of a batch, and why it is not registered."""


async def get(hub: Hub, request: Request) -> int:
    """``GET /participants/{Type}/{ID}[/{SubId}]``: answered with the first participant that serves it."""
    inbound = request.inbound()
    try:
        party, currency = to_party(request), currency_of(request)
        oracle = oracle_for(hub.directory, party.party_id_type, currency)
    except FspiopError as error:
        tell(hub, inbound, error)
        return 202

    def name_the_first(entries: Sequence[OracleEntry]) -> None:
        found = in_scheme(hub.directory, meant(entries, party))
        if not found:
            raise FspiopError(ErrorCode.PARTY_NOT_FOUND)
        _answer(hub, inbound, inbound.source, render.participant_result(found[0]))

    look_up(hub, inbound, oracle, party, currency, name_the_first)
    return 202


async def post(hub: Hub, request: Request) -> int:
    """``POST /participants/{Type}/{ID}[/{SubId}]``: a participant says that it serves a party."""
    await _register(hub, request)
    return 202


async def put(hub: Hub, request: Request) -> int:
    """``PUT /participants/{Type}/{ID}[/{SubId}]``: the same, replacing what it said before."""
    await _register(hub, request)
    return 200


async def _register(hub: Hub, request: Request) -> None:
    inbound = request.inbound()
    body = request.decode(ParticipantsTypeIDSubIDPostRequest)
    fsp_id, currency = FspId(body.fsp_id), body.currency or ""
    try:
        party = to_party(request)
        refusal = _refusal_to_register(hub, inbound.source, fsp_id)
        if refusal is not None:
            raise refusal
        oracle = oracle_for(hub.directory, party.party_id_type, currency, writes=True)
    except FspiopError as error:
        tell(hub, inbound, error)
        return
    destination = hub.directory.get(inbound.destination)
    answer_to = destination.name if destination is not None and destination.name != HUB else fsp_id
    answer = render.participant_registered(
        party.party_id_type,
        party.party_identifier,
        fsp_id,
        sub_id=party.party_sub_id or None,
        currency=body.currency,
    )
    if oracle is None:
        await hub.submit(
            RegisterParty(
                entries=(OracleEntry(party, fsp_id, currency),),
                replace=request.method == "PUT",
                message=inbound,
                answer=answer,
                answer_to=answer_to,
            )
        )
        return

    async def tell_the_oracle() -> None:
        await hub.oracles.register(oracle, party, fsp_id, currency, inbound, method=request.method)
        _answer(hub, inbound, answer_to, answer)

    later(hub, inbound, [oracle], tell_the_oracle)


def _refusal_to_register(hub: Hub, source: FspId, fsp_id: FspId) -> FspiopError | None:
    """Why a participant may not register a party with ``fsp_id``."""
    if hub.config.scheme.parties_by_owner_only and fsp_id != source:
        return FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, f"{source} can't register a party for {fsp_id}")
    return refusal_to_register(hub.directory, fsp_id)


async def post_batch(hub: Hub, request: Request) -> int:
    """``POST /participants``: many parties at once; those of another participant are refused one by one.

    Each goes to the oracle for its type; the result has all of them, in their order. Answers 200, as the reference
    does.
    """
    body = request.decode(ParticipantsPostRequest)
    inbound = request.inbound((body.request_id,))
    currency = body.currency or ""
    refusals: list[FspiopError | None] = []
    own: list[OracleEntry] = []
    places: defaultdict[int, list[int]] = defaultdict(list)
    oracles: dict[int, Oracle] = {}
    for place, info in enumerate(body.party_list):
        refusal, oracle = _destined(hub, inbound.source, info, currency)
        refusals.append(refusal)
        if oracle is not None:
            oracles[oracle.oracle_id] = oracle
            places[oracle.oracle_id].append(place)
        elif refusal is None:
            own.append(OracleEntry(_party_of(info), inbound.source, currency))

    def result() -> bytes:
        results: list[Result] = list(zip(body.party_list, refusals, strict=True))
        return render.batch_result(results, body.currency)

    if not oracles:
        await hub.submit(RegisterParty(entries=tuple(own), message=inbound, answer=result()))
        return 200

    async def tell_the_oracles() -> None:
        if own:
            await hub.submit(RegisterParty(entries=tuple(own)))
        await asyncio.gather(*(tell_one(oracles[number], those) for number, those in places.items()))
        _answer(hub, inbound, inbound.source, result())

    async def tell_one(oracle: Oracle, those: Sequence[int]) -> None:
        infos = [body.party_list[place] for place in those]
        said = await hub.oracles.register_batch(oracle, body.request_id, infos, currency, inbound)
        for place, info, error in zip(those, infos, said, strict=True):
            refusals[place] = None if error is None else _about(info, error)

    later(hub, inbound, list(oracles.values()), tell_the_oracles)
    return 200


def _destined(hub: Hub, source: FspId, info: PartyIdInfo, currency: str) -> tuple[FspiopError | None, Oracle | None]:
    """Why one party of a batch is not registered, and else the oracle that is to know it."""
    if info.fsp_id != source:
        return _about(info, FspiopError(ErrorCode.PARTY_NOT_FOUND, "fspId should equal FSPIOP-Source")), None
    try:
        check_party_id(info.party_id_type, info.party_identifier, info.party_sub_id_or_type)
        return None, oracle_for(hub.directory, info.party_id_type, currency, writes=True)
    except FspiopError as error:
        return _about(info, error), None


def _about(info: PartyIdInfo, error: FspiopError) -> FspiopError:
    """The error of one party of a batch, which says once more of which."""
    party = ((info.party_id_type, info.party_identifier),)
    return FspiopError(error.code, description=error.description, extensions=party)


def _party_of(info: PartyIdInfo) -> Party:
    return Party(info.party_id_type, info.party_identifier, info.party_sub_id_or_type or "")


async def delete(hub: Hub, request: Request) -> int:
    """``DELETE /participants/{Type}/{ID}[/{SubId}]``: a participant says that it no longer serves a party."""
    inbound = request.inbound()
    own_only = hub.config.scheme.parties_by_owner_only
    try:
        party, currency = to_party(request, ErrorCode.DELETE_PARTY_INFO_ERROR), currency_of(request)
        oracle = oracle_for(hub.directory, party.party_id_type, currency, writes=True)
    except FspiopError as error:
        tell(hub, inbound, error)
        return 202
    answer = render.participant_result(inbound.source)
    if oracle is None:
        await hub.submit(
            RemoveParty(
                party=party,
                fsp_id=inbound.source,
                currency=currency,
                or_anybodys=not own_only,
                message=inbound,
                answer=answer,
            )
        )
        return 202

    async def tell_the_oracle() -> None:
        only_of = inbound.source if own_only else None
        await hub.oracles.remove(oracle, party, currency, inbound, only_of=only_of)
        _answer(hub, inbound, inbound.source, answer)

    later(hub, inbound, [oracle], tell_the_oracle)
    return 202


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /participants/…/error``: passed to its destination."""
    request.decode(ErrorInformationObject)
    return pass_back(hub, request, Action.ERROR)


async def put_batch(_hub: Hub, _request: Request) -> int:
    """``PUT /participants/{ID}``: the hub makes no batches that it would have answered."""
    raise FspiopError(ErrorCode.NOT_IMPLEMENTED)


def _answer(hub: Hub, inbound: Inbound, to: FspId, body: bytes) -> None:
    """The hub's ``PUT`` on the path of a request. Raises `FspiopError` 2005."""
    deadline_ms = hub.now_ms() + hub.config.scheme.routed_deadline_seconds * 1000
    hub.route(inbound, [callback(inbound, to, JsonBody(body), deadline_ms)], outcome="answered")
