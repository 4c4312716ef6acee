"""``/parties`` on the participants' API (FSPIOP API 1.1 §6.3): who is behind an identifier?

The hub only routes: it asks an oracle which participants serve the identifier, passes the question to every one of
them, and their answers back, byte for byte (hub reference §7.1, §7.2). Nothing of it needs a record, so it goes
straight to the courier; the journal has it with the next batch. The hub's own oracle is asked at once, one outside
after the 202: whoever asked is then told by callback, whatever becomes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from vuka.api.hub import Hub
from vuka.api.request import Request
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.messages import ErrorInformationObject, PartiesTypeIDPutResponse
from vuka.fspiop.parties import EXTENDED_PARTY_ID_TYPES, PartyId, check_party_id
from vuka.ids import FspId
from vuka.money import CURRENCIES
from vuka.switch.directory import Oracle
from vuka.switch.lookup import OracleEntry, Party, callback, in_scheme, listed, of_currency, recipients, serves
from vuka.switch.oracles import oracle_for
from vuka.switch.work import Action, ErrorBody, Forward, Inbound, Notice

log: Final = structlog.get_logger("vuka.lookup")

_NOT_ACCEPTED: Final = frozenset((ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE.code, ErrorCode.SERVER_BUSY.code))
"""What the hub says before it has accepted anything: in the answer, not by callback."""

TELL_AGAIN_SECONDS: Final = 0.1
"""How soon a requester is told again whose queue was full."""


def to_party(request: Request, unknown_type: ErrorCode = ErrorCode.ADD_PARTY_INFO_ERROR) -> Party:
    """The party that the path names.

    Raises `FspiopError` 3101 for a malformed parameter, and ``unknown_type`` for a type that no oracle can know.
    """
    checked = _checked_path(request)
    if checked.type not in EXTENDED_PARTY_ID_TYPES:
        raise FspiopError(unknown_type, f"Oracle type:{checked.type} not found")
    return Party(checked.type, checked.identifier, checked.sub_id or "")


def _checked_path(request: Request) -> PartyId:
    """The path's parameters, by the rules of their type where it has any. Raises `FspiopError` 3101."""
    return check_party_id(*request.ids, types=EXTENDED_PARTY_ID_TYPES | {request.ids[0]})


def currency_of(request: Request) -> str:
    """The currency that the query asks for, or empty. Raises `FspiopError` 3100 for one the scheme doesn't know."""
    currency = request.query.get("currency", "")
    if currency and currency not in CURRENCIES:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "/query/currency must be equal to one of the allowed values")
    return currency


async def get(hub: Hub, request: Request) -> int:
    """``GET /parties/{Type}/{ID}[/{SubId}]``: passed to its destination, or to every participant that serves the party.

    Raises `FspiopError` 2005 where the oracle has too many questions waiting.
    """
    inbound = request.inbound()
    try:
        party, currency = to_party(request), currency_of(request)
        known = None if inbound.destination is None else _destination(hub, inbound.destination)
        oracle = oracle_for(hub.directory, party.party_id_type, currency) if known is None else None
    except FspiopError as error:
        tell(hub, inbound, error)
        return 202
    if known is not None:
        # The requester says where the party is: no oracle is asked.
        hub.route(inbound, [_forward(hub, inbound, known, Action.GET)])
        return 202

    def pass_on(entries: Sequence[OracleEntry]) -> None:
        asked = recipients(hub.directory, entries, party)
        hub.route(inbound, [_forward(hub, inbound, each, Action.GET) for each in asked])

    look_up(hub, inbound, oracle, party, currency, pass_on)
    return 202


def _destination(hub: Hub, name: FspId) -> FspId:
    """The participant that a requester names. Raises `FspiopError` 3204."""
    if not serves(hub.directory, name):
        raise FspiopError(ErrorCode.PARTY_NOT_FOUND, f"{name} is not in this scheme")
    return name


def look_up(
    hub: Hub,
    inbound: Inbound,
    oracle: Oracle | None,
    party: Party,
    currency: str,
    answer: Callable[[Sequence[OracleEntry]], None],
) -> None:
    """Gives what the oracle lists for an identifier to ``answer``, whose `FspiopError` the requester is told.

    At once where it is the hub's own, None; else later. Raises `FspiopError` 2005 and 2003 where nothing is accepted.
    """
    if oracle is None:
        try:
            answer(hub.read(lambda tx, _ledger, _directory: listed(tx, party, currency)))
        except FspiopError as error:
            if error.code in _NOT_ACCEPTED:
                raise
            tell(hub, inbound, error)
        return

    async def ask() -> None:
        entries = of_currency(await hub.oracles.find(oracle, party, currency, inbound), currency)
        strangers = {each.fsp_id for each in entries}.difference(in_scheme(hub.directory, entries))
        if strangers:
            log.warning("an oracle names strangers", oracle_id=oracle.oracle_id, participants=sorted(strangers))
        answer(entries)

    later(hub, inbound, [oracle], ask)


def later(hub: Hub, inbound: Inbound, oracles: Sequence[Oracle], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Has something done that waits for oracles; the requester is told of its error, whatever it is.

    Raises `FspiopError` 2005 and 2003 where nothing is accepted.
    """

    async def told() -> None:
        try:
            await work()
        except FspiopError as error:
            await _tell_in_the_end(hub, inbound, error)
        except Exception:
            log.exception("a question to an oracle failed", path=inbound.path, source=inbound.source)
            await _tell_in_the_end(hub, inbound, FspiopError(ErrorCode.INTERNAL_SERVER_ERROR))

    hub.oracles.begin(oracles, told)


async def _tell_in_the_end(hub: Hub, inbound: Inbound, error: FspiopError) -> None:
    """Tells a requester, also one whose queue is full just now, while its answer can still matter."""
    deadline_ms = hub.now_ms() + hub.config.scheme.routed_deadline_seconds * 1000
    while True:
        try:
            tell(hub, inbound, error)
        except FspiopError as refusal:
            if hub.now_ms() >= deadline_ms or refusal.code != ErrorCode.SERVER_BUSY.code:
                log.warning("a requester can't be told", source=inbound.source, path=inbound.path, error=str(error))
                return
            await asyncio.sleep(TELL_AGAIN_SECONDS)
        else:
            return


async def put(hub: Hub, request: Request) -> int:
    """``PUT /parties/{Type}/{ID}[/{SubId}]``: the answer, passed to whoever asked."""
    request.decode(PartiesTypeIDPutResponse)
    return pass_back(hub, request, Action.PUT)


async def put_error(hub: Hub, request: Request) -> int:
    """``PUT /parties/{Type}/{ID}[/{SubId}]/error``: the refusal, passed to whoever asked."""
    request.decode(ErrorInformationObject)
    return pass_back(hub, request, Action.ERROR)


def pass_back(hub: Hub, request: Request, action: Action) -> int:
    """Passes an answer to its destination.

    Its sender learns by callback of a malformed path, 3101, and of a destination that is no participant, 3201. Raises
    `FspiopError` 3102 where there is no destination.
    """
    inbound = request.inbound()
    if inbound.destination is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-destination'")
    try:
        if len(request.ids) > 1:
            _checked_path(request)
        recipient = hub.directory.get(inbound.destination)
        if recipient is None:
            raise FspiopError(ErrorCode.DESTINATION_FSP_ERROR, "Destination FSP not found")
    except FspiopError as error:
        tell(hub, inbound, error)
        return 200
    hub.route(inbound, [_forward(hub, inbound, recipient.name, action)])
    return 200


def tell(hub: Hub, inbound: Inbound, error: FspiopError) -> None:
    """Tells a requester by ``PUT …/error`` what is wrong with its request. Raises `FspiopError` 2005."""
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
