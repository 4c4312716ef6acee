"""Oracles on the operators' API: those outside the hub, and the hub's own for other hubs.

``/oracles`` registers the oracles that the hub asks: the reference's account lookup administration
(``als-admin.yaml``, hub reference §5.3), with its shapes, statuses and words; ``GET /oracles/health`` asks each of them
whether it is there. Of the headers that the file requires, Accept is: no browser can send a Date.

``/oracle`` is the hub's own oracle as an oracle service (``oracle-1.0.yaml``): another hub may register
``http://…/oracle`` as an oracle of its own. It lists whoever it was told, participants of this hub or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.health import health
from vuka.api.hub import Hub
from vuka.api.oracle_client import OracleHealth
from vuka.destinations import Destinations
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.headers import BODY_MAX
from vuka.fspiop.messages import (
    CorrelationId,
    CurrencyCode,
    ExtensionList,
    FspIdText,
    Message,
    Text128,
    decode,
)
from vuka.fspiop.parties import EXTENDED_PARTY_ID_TYPES, check_party_id
from vuka.fspiop.versions import Version
from vuka.ids import FspId
from vuka.money import CURRENCIES, Currency
from vuka.switch.directory import Oracle
from vuka.switch.lookup import OracleEntry, Party, RegisterParty, RemoveParty, listed
from vuka.switch.oracles import AddOracle, ChangeOracle, RemoveOracle

URL_LENGTH_MAX: Final = 512
ORACLE_ID_DIGITS_MAX: Final = 15

OraclePartyIdType = Literal[
    "MSISDN",
    "EMAIL",
    "PERSONAL_ID",
    "BUSINESS",
    "DEVICE",
    "ACCOUNT_ID",
    "IBAN",
    "ALIAS",
    "CONSENT",
    "THIRD_PARTY_LINK",
]

M = TypeVar("M", bound=Message)
Endpoint = Callable[[Request], Awaitable[Response]]


class OracleEndpoint(Message, frozen=True, kw_only=True):
    """Where an oracle is."""

    value: str
    endpoint_type: Literal["URL"]


class OracleInfo(Message, frozen=True, kw_only=True):
    """The body of ``POST /oracles`` and ``PUT /oracles/{ID}``."""

    oracle_id_type: OraclePartyIdType
    endpoint: OracleEndpoint
    currency: CurrencyCode | None = None
    is_default: bool | None = None


class PartyRegistration(Message, frozen=True, kw_only=True):
    """The body of ``POST`` and ``PUT /oracle/participants/{Type}/{ID}[/{SubId}]``."""

    fsp_id: FspIdText
    currency: CurrencyCode | None = None
    party_sub_id_or_type: Text128 | None = None
    extension_list: ExtensionList | None = None


class BatchParty(Message, frozen=True, kw_only=True):
    """One party of a batch. The reference writes the currency of the batch into each of them."""

    party_id_type: OraclePartyIdType
    party_identifier: Text128
    party_sub_id_or_type: Text128 | None = None
    fsp_id: FspIdText | None = None
    currency: CurrencyCode | None = None
    extension_list: ExtensionList | None = None


class PartyBatch(Message, frozen=True, kw_only=True):
    """The body of ``POST /oracle/participants``."""

    request_id: CorrelationId
    party_list: Annotated[tuple[BatchParty, ...], Meta(min_length=1, max_length=10_000)]
    currency: CurrencyCode | None = None


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""
    outside, own = _Outside(hub), _Own(hub)
    return [
        _route("/oracles", GET=outside.list, POST=outside.add),
        _route("/oracles/health", GET=outside.health),
        _route("/oracles/{ID}", PUT=outside.change, DELETE=outside.remove),
        _route("/oracle/health", GET=own.health),
        _route("/oracle/participants", POST=own.register_batch),
        # One parameter for what follows: an identifier may have a slash in it, escaped.
        _route(
            "/oracle/participants/{party:path}", GET=own.find, POST=own.register, PUT=own.register, DELETE=own.remove
        ),
    ]


def _route(path: str, **methods: Endpoint) -> Route:
    async def by_method(request: Request) -> Response:
        return await methods[request.method](request)

    route = Route(path, by_method, methods=list(methods))
    route.methods = set(methods)
    return route


class _Outside:
    """``/oracles``: the oracles outside the hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def list(self, request: Request) -> Response:
        """The oracles that are asked; of a type and of exactly a currency, where the query names them."""
        _require_accept(request)
        kind, currency = request.query_params.get("type"), request.query_params.get("currency")
        return _json(
            [
                _shown(each)
                for each in self._hub.directory.oracles
                if (not kind or each.party_id_type == kind) and (not currency or each.currency == currency)
            ]
        )

    async def add(self, request: Request) -> Response:
        """Another oracle."""
        _require_accept(request)
        info = await _body(request, OracleInfo)
        await self._hub.submit(
            AddOracle(
                party_id_type=info.oracle_id_type,
                currency=_currency(info.currency),
                value=_base_url(info.endpoint.value, self._hub.destinations),
                is_default=bool(info.is_default),
                by=operator_name(request),
            )
        )
        return Response(status_code=201)

    async def change(self, request: Request) -> Response:
        """Another URL, type or currency of one; whether it is the default."""
        info = await _body(request, OracleInfo)
        oracle_id = _oracle_id(request)
        if oracle_id is None:
            raise FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, "Oracle not found")
        await self._hub.submit(
            ChangeOracle(
                oracle_id=oracle_id,
                party_id_type=info.oracle_id_type,
                currency=_currency(info.currency),
                value=_base_url(info.endpoint.value, self._hub.destinations),
                is_default=info.is_default,
            )
        )
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """Removes one. What is not there is removed already, as in the reference."""
        _require_accept(request)
        oracle_id = _oracle_id(request)
        if oracle_id is not None:
            await self._hub.submit(RemoveOracle(oracle_id=oracle_id))
        return Response(status_code=204)

    async def health(self, _request: Request) -> Response:
        """Asks every oracle whether it is there, all at once."""
        found = await asyncio.gather(*(self._hub.oracles.check(each) for each in self._hub.directory.oracles))
        return _json([_shown_health(each) for each in found])


class _Own:
    """``/oracle``: the hub's own oracle."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def health(self, _request: Request) -> Response:
        """The hub's health."""
        status, answer = health(self._hub)
        return _json(answer, status)

    async def find(self, request: Request) -> Response:
        """Who serves a party: without a sub-identifier, all that is known of its identifier."""
        party = _path_party(request, request.query_params.get("partySubIdOrType"))
        currency = _query_currency(request)
        entries = self._hub.read(lambda tx, _ledger, _directory: listed(tx, party, currency))
        return _json({"partyList": [_shown_entry(each) for each in entries]})

    async def register(self, request: Request) -> Response:
        """A participant serves a party: also (``POST``), or instead of what it served of it before (``PUT``)."""
        body = await _body(request, PartyRegistration)
        party = _path_party(request, body.party_sub_id_or_type or request.query_params.get("partySubIdOrType"))
        entry = OracleEntry(party, FspId(body.fsp_id), body.currency or _query_currency(request))
        replace = request.method == "PUT"
        await self._hub.submit(RegisterParty(entries=(entry,), replace=replace, any_participant=True))
        return Response(status_code=200 if replace else 201)

    async def remove(self, request: Request) -> Response:
        """A party is served no longer by the participant in FSPIOP-Source; where it does not serve it, by nobody."""
        party = _path_party(request, request.query_params.get("partySubIdOrType"))
        source = request.headers.get("fspiop-source")
        await self._hub.submit(
            RemoveParty(
                party=party,
                fsp_id=FspId(source) if source else None,
                currency=_query_currency(request),
                or_anybodys=True,
            )
        )
        return Response(status_code=204)

    async def register_batch(self, request: Request) -> Response:
        """Many parties at once; the answer says of each what became of it."""
        body = await _body(request, PartyBatch)
        entries: list[OracleEntry] = []
        results: list[dict[str, object]] = []
        for each in body.party_list:
            result: dict[str, object] = {"partyId": msgspec.to_builtins(each)}
            try:
                entries.append(_batch_entry(each, body.currency))
            except FspiopError as error:
                result |= error.body()
            results.append(result)
        await self._hub.submit(RegisterParty(entries=tuple(entries), any_participant=True))
        answer: dict[str, object] = {"partyList": results}
        if body.currency is not None:
            answer["currency"] = body.currency
        return _json(answer, 201)


# --- what is asked ----------------------------------------------------------------------------------------------


def _require_accept(request: Request) -> None:
    if "accept" not in request.headers:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'accept'")


async def _body(request: Request, message: type[M]) -> M:
    """The checked body. Raises `FspiopError` in the words of the participants' API."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_MAX:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {BODY_MAX} bytes", status=413)
    return decode(message, Version.V1_1, bytes(content))


def _oracle_id(request: Request) -> int | None:
    text = request.path_params["ID"]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= ORACLE_ID_DIGITS_MAX else None


def _currency(code: str | None) -> Currency | None:
    return None if code is None else Currency(code)


def _base_url(text: str, destinations: Destinations) -> str:
    """The base URL of an oracle's API, without a slash at the end. Raises `FspiopError` 3100."""
    if len(text) <= URL_LENGTH_MAX and text.isascii() and text.isprintable() and not set(" \"'<>\\^`{|}") & set(text):
        try:
            parts = urlsplit(text)
            has_port = parts.port is None or parts.port > 0
        except ValueError:
            parts, has_port = None, False
        if (
            parts is not None
            and parts.scheme in ("http", "https")
            and parts.hostname
            and has_port
            and parts.username is None
            and not parts.query
            and not parts.fragment
        ):
            fault = destinations.fault(text)
            if fault is not None:
                raise FspiopError(ErrorCode.VALIDATION_ERROR, f"/requestBody/endpoint/value {fault}")
            return text.rstrip("?#/")
    detail = "/requestBody/endpoint/value must be an http or https URL without user, query or fragment"
    raise FspiopError(ErrorCode.VALIDATION_ERROR, detail)


def _path_party(request: Request, sub_id: str | None) -> Party:
    """The party that a path names; ``sub_id`` where the path has none. Raises `FspiopError` 3002, 3101."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    segments = raw.partition(b"?")[0].split(b"/")[3:]
    if not 2 <= len(segments) <= 3 or b"" in segments:
        raise FspiopError(ErrorCode.UNKNOWN_URI)
    try:
        ids = [unquote_to_bytes(each).decode() for each in segments]
    except UnicodeDecodeError:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the path is not percent-encoded UTF-8") from None
    return _party(ids[0], ids[1], ids[2] if len(ids) == 3 else sub_id)


def _party(party_type: str, identifier: str, sub_id: str | None) -> Party:
    checked = check_party_id(party_type, identifier, sub_id or None, types=EXTENDED_PARTY_ID_TYPES)
    return Party(checked.type, checked.identifier, checked.sub_id or "")


def _query_currency(request: Request) -> str:
    currency = request.query_params.get("currency", "")
    if currency and currency not in CURRENCIES:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "/query/currency must be equal to one of the allowed values")
    return currency


def _batch_entry(each: BatchParty, currency: str | None) -> OracleEntry:
    party = _party(each.party_id_type, each.party_identifier, each.party_sub_id_or_type)
    if each.fsp_id is None:
        raise FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, "fspId is missing")
    return OracleEntry(party, FspId(each.fsp_id), each.currency or currency or "")


# --- what is answered -------------------------------------------------------------------------------------------


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _shown(oracle: Oracle) -> dict[str, object]:
    # Numbers, as the reference answers and its test suites compare, where its file has a string and a boolean.
    shown: dict[str, object] = {
        "oracleId": oracle.oracle_id,
        "oracleIdType": oracle.party_id_type,
        "endpoint": {"value": oracle.value, "endpointType": "URL"},
    }
    if oracle.currency is not None:
        shown["currency"] = oracle.currency
    shown["isDefault"] = int(oracle.is_default)
    return shown


def _shown_health(found: OracleHealth) -> dict[str, object]:
    shown = {**_shown(found.oracle), "status": "OK" if found.is_up else "DOWN", "tookMs": found.took_ms}
    if found.status is not None:
        shown["httpStatus"] = found.status
    if found.error is not None:
        shown["error"] = found.error
    return shown


def _shown_entry(entry: OracleEntry) -> dict[str, str]:
    shown: dict[str, str] = {"fspId": entry.fsp_id}
    if entry.currency:
        shown["currency"] = entry.currency
    if entry.party.party_sub_id:
        shown["partySubIdOrType"] = entry.party.party_sub_id
    return shown
