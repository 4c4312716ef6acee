"""The operators' API beyond the reference's: the hub's own oracle, and the messages that it owes."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.hub import Hub
from vuka.engine import outbox
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.parties import check_party_id
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import FspId
from vuka.money import CURRENCIES
from vuka.switch.lookup import OracleEntry, Party, RegisterParty, RemoveParty, find

PARKED_MAX = 1_000


class PartyRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which participant serves which party: the body of ``POST /oracle/parties``, and the query of the others."""

    party_id_type: str
    party_identifier: str
    party_sub_id_or_type: str | None = None
    currency: str | None = None
    fsp_id: str | None = None

    def party(self) -> Party:
        """The party. Raises `FspiopError` 3101."""
        checked = check_party_id(self.party_id_type, self.party_identifier, self.party_sub_id_or_type)
        return Party(checked.type, checked.identifier, checked.sub_id or "")

    def checked_currency(self) -> str:
        """The currency, or empty for any. Raises `FspiopError` 3101."""
        if self.currency and self.currency not in CURRENCIES:
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, f"currency {self.currency[:10]} is not known")
        return self.currency or ""

    def participant(self) -> FspId:
        """The participant. Raises `FspiopError` 3102."""
        if not self.fsp_id:
            raise FspiopError(ErrorCode.MISSING_ELEMENT, "fspId is required")
        return FspId(self.fsp_id)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _query(request: Request) -> PartyRequest:
    try:
        return msgspec.convert(dict(request.query_params), PartyRequest)
    except msgspec.ValidationError as error:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, str(error)) from None


async def _body(request: Request) -> PartyRequest:
    try:
        return msgspec.json.decode(await request.body(), type=PartyRequest)
    except msgspec.ValidationError as error:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the body is not JSON") from None


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def find_party(request: Request) -> Response:
        asked = _query(request)
        party, currency = asked.party(), asked.checked_currency()
        entries = hub.read(lambda tx, _ledger, _directory: find(tx, party, currency))
        return _json(
            [{"fspId": entry.fsp_id, **({"currency": entry.currency} if entry.currency else {})} for entry in entries]
        )

    async def add_party(request: Request) -> Response:
        asked = await _body(request)
        entry = OracleEntry(asked.party(), asked.participant(), asked.checked_currency())
        await hub.submit(RegisterParty(entries=(entry,)))
        return Response(status_code=201)

    async def remove_party(request: Request) -> Response:
        asked = _query(request)
        await hub.submit(
            RemoveParty(party=asked.party(), fsp_id=asked.participant(), currency=asked.checked_currency())
        )
        return Response(status_code=204)

    async def parked(request: Request) -> Response:
        participant = request.query_params.get("participant")
        found = hub.read(lambda tx, _ledger, _directory: outbox.parked(tx, participant=participant, limit=PARKED_MAX))
        return _json(
            [
                {
                    "messageId": each.message_id,
                    "participant": each.participant,
                    "method": each.method,
                    "path": each.path,
                    "attempts": each.attempts,
                    "status": each.status,
                    "error": each.error,
                    "parkedAt": format_datetime_ms(each.at_ms),
                }
                for each in found
            ]
        )

    async def resend(request: Request) -> Response:
        message_id: int = request.path_params["message_id"]
        if message_id >= 1 << 63:
            raise FspiopError(ErrorCode.VALIDATION_ERROR, "messageId is not the id of a message")
        await hub.resend(message_id)
        return Response(status_code=202)

    async def queues(_request: Request) -> Response:
        now_ms = hub.now_ms()
        return _json(
            [
                {
                    "participant": name,
                    "state": str(each.state),
                    "queued": each.queued,
                    "inFlight": each.in_flight,
                    "waitingRetry": each.waiting_retry,
                    "delivered": each.delivered,
                    "parked": each.parked,
                    "oldestQueuedMs": None if each.oldest_queued_ms is None else now_ms - each.oldest_queued_ms,
                }
                for name, each in sorted(hub.engine.courier.statistics().items())
            ]
        )

    return [
        Route("/oracle/parties", find_party, methods=["GET"]),
        Route("/oracle/parties", add_party, methods=["POST"]),
        Route("/oracle/parties", remove_party, methods=["DELETE"]),
        Route("/messages/parked", parked, methods=["GET"]),
        Route("/messages/queues", queues, methods=["GET"]),
        Route("/messages/{message_id:int}/resend", resend, methods=["POST"]),
    ]
