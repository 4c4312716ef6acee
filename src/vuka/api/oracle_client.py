"""Oracles outside the hub, asked over HTTP: who serves a party, and who does so from now on.

The requests are the reference's (hub reference §7.4; ``oracle-1.0.yaml``): the participant's own headers, its source
and, as destination, its destination or the hub. Where the two differ the file is followed: a sub-identifier is removed
under its own path, which the reference leaves out, so that the whole party is not removed with it.

An oracle is somebody else's: it has a time to answer in, its answers a greatest size, and what it says is checked
before it is believed. Each has its own bound on what is under way, so that one which is slow or dead takes nothing from
the lookups of other types, and whatever waits for an oracle waits in a task of its own, never in a batch of payments.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

import msgspec
import structlog

from vuka.config import Oracles
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.headers import Headers, forward_headers
from vuka.fspiop.messages import PartyIdInfo
from vuka.httpclient import Guard, HttpClient, Request, Response, TransportError, believing
from vuka.ids import HUB, FspId
from vuka.money import CURRENCIES
from vuka.switch.directory import Oracle
from vuka.switch.lookup import OracleEntry, Party
from vuka.switch.work import Inbound

log: Final = structlog.get_logger("vuka.oracles")

CONNECT_TIMEOUT_MS_MAX: Final = 2_000

BATCH_PARTIES_MAX: Final = 200
BATCH_BYTES_MAX: Final = 48 * 1024
"""Parties and bytes in one request of a batch: an oracle's answer repeats them all, and must stay readable."""

FSP_ID_LENGTH_MAX: Final = 32
SUB_ID_LENGTH_MAX: Final = 128

# What the oracle is sent is not what the participant signed.
_NOT_PASSED_ON: Final = frozenset(("fspiop-signature",))


OracleObserver: TypeAlias = Callable[[Oracle, str, float], None]
"""Is told of each question: who was asked, whether it was ``answered``, ``refused`` or ``failed``, and its seconds."""


class OracleHealth(msgspec.Struct, frozen=True):
    """What an oracle answered to ``GET /health``."""

    oracle: Oracle
    status: int | None
    """The HTTP status; None where it did not answer."""
    took_ms: int
    error: str | None

    @property
    def is_up(self) -> bool:
        """Whether it answers. One that has no health page but says so is up."""
        return self.status is not None and self.status < 500


class _Kept(msgspec.Struct):
    entries: list[OracleEntry]
    until_ms: int


class _Cache:
    """Answers that may be used again. What the hub itself writes to an oracle is forgotten, whoever asks when."""

    def __init__(self, settings: Oracles, clock_ms: Callable[[], int]) -> None:
        self._keep_ms = settings.cache_ms
        self._entries_max = settings.cache_entries_max
        self._clock_ms = clock_ms
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        # By type and identifier, to forget all that was asked about it: each currency, each sub-identifier.
        self._urls: dict[tuple[str, str], set[str]] = {}
        self.writes = 0

    def get(self, url: str) -> list[OracleEntry] | None:
        kept = self._kept.get(url)
        if kept is None or kept.until_ms <= self._clock_ms():
            return None
        return kept.entries

    def put(self, url: str, party: Party, entries: list[OracleEntry], asked_at: int) -> None:
        """Keeps an answer, unless the hub has written to an oracle since ``asked_at`` (a value of `writes`)."""
        if not self._keep_ms or not entries or asked_at != self.writes:
            return
        self._drop(url)
        self._kept[url] = _Kept(entries, self._clock_ms() + self._keep_ms)
        self._urls.setdefault(_identifier(party), set()).add(url)
        while len(self._kept) > self._entries_max:
            self._drop(next(iter(self._kept)))

    def forget(self, party: Party) -> None:
        self.writes += 1
        for url in list(self._urls.get(_identifier(party), ())):
            self._drop(url)

    def _drop(self, url: str) -> None:
        kept = self._kept.pop(url, None)
        if kept is None:
            return
        key = _identifier(kept.entries[0].party)
        urls = self._urls[key]
        urls.discard(url)
        if not urls:
            del self._urls[key]


def _identifier(party: Party) -> tuple[str, str]:
    return party.party_id_type, party.party_identifier


class OracleClient:
    """Asks oracles. Made for one event loop, closed at the end: what is under way is then told that it failed."""

    def __init__(
        self,
        settings: Oracles,
        clock_ms: Callable[[], int],
        observer: OracleObserver | None = None,
        *,
        guard: Guard | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._http = HttpClient(
            connect_timeout_ms=min(CONNECT_TIMEOUT_MS_MAX, settings.timeout_ms),
            timeout_ms=settings.timeout_ms,
            tls=tls or believing(settings.ca_file),
            guard=guard,
        )
        self._cache = _Cache(settings, clock_ms)
        self._under_way: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def begin(self, oracles: Sequence[Oracle], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs what asks these oracles, beside everything else, and returns at once.

        ``work`` tells its own errors to whoever is to know. Raises `FspiopError` 2005 with status 503, before anything
        is accepted, where one of the oracles has as many questions as it may; 2003 where the hub is about to stop.
        """
        if self._closing:
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub is shutting down")
        for oracle in oracles:
            if self._under_way.get(oracle.oracle_id, 0) >= self._settings.in_flight_max:
                detail = f"the oracle for {oracle.party_id_type} has too many questions waiting"
                raise FspiopError(ErrorCode.SERVER_BUSY, detail, status=503, headers=(("Retry-After", "1"),))
        for oracle in oracles:
            self._under_way[oracle.oracle_id] = self._under_way.get(oracle.oracle_id, 0) + 1
        task = asyncio.create_task(work())
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            for oracle in oracles:
                self._under_way[oracle.oracle_id] -= 1
                if not self._under_way[oracle.oracle_id]:
                    del self._under_way[oracle.oracle_id]

        task.add_done_callback(ended)

    async def close(self, wait_ms: int) -> None:
        """Lets what is under way end for so long, then ends it with an error, and waits until that has been told."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=wait_ms / 1000)
        await self._http.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- asking -----------------------------------------------------------------------------------------------

    async def find(self, oracle: Oracle, party: Party, currency: str, asked: Inbound) -> list[OracleEntry]:
        """What an oracle lists for an identifier: nothing where its answer makes no sense.

        Raises `FspiopError` 3204 and 3201 where it answers 400 and 404, 1001 where it fails or does not answer.
        """
        url = _party_url(oracle, party, currency)
        kept = self._cache.get(url)
        if kept is not None:
            return kept
        asked_at = self._cache.writes
        entries = await self._list(oracle, Request("GET", url, _headers(asked, "GET")), party)
        self._cache.put(url, party, entries, asked_at)
        return entries

    async def _list(self, oracle: Oracle, request: Request, party: Party) -> list[OracleEntry]:
        answer = await self._send(oracle, request)
        if 200 <= answer.status < 300:
            return _entries(oracle, party, answer.body)
        log.warning("an oracle refuses a question", url=request.url, status=answer.status, answer=_shown(answer.body))
        if answer.status == 400:
            raise FspiopError(ErrorCode.PARTY_NOT_FOUND)
        if answer.status == 404:
            raise FspiopError(ErrorCode.DESTINATION_FSP_ERROR)
        raise _no_answer(oracle)

    async def register(
        self, oracle: Oracle, party: Party, fsp_id: FspId, currency: str, asked: Inbound, *, method: str
    ) -> None:
        """Has an oracle know that a participant serves a party (``POST``), instead of what it knew (``PUT``).

        Raises `FspiopError` 3003 where it refuses, or answers anything but 201 to a ``POST``; 1001 where it does not
        answer.
        """
        url = _party_url(oracle, Party(party.party_id_type, party.party_identifier))
        content: dict[str, str] = {"fspId": fsp_id}
        if currency:
            content["currency"] = currency
        if party.party_sub_id:
            content["partySubIdOrType"] = party.party_sub_id
        request = Request(method, url, _headers(asked, method), msgspec.json.encode(content))
        answer = await self._write(oracle, request, [party])
        if answer.status != 201 and (method == "POST" or not 200 <= answer.status < 300):
            _log_refusal(request, answer)
            raise FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR)

    async def remove(
        self, oracle: Oracle, party: Party, currency: str, asked: Inbound, *, only_of: FspId | None
    ) -> None:
        """Has an oracle forget a party. ``only_of``: the participant that must be among those who serve it.

        Raises `FspiopError` 3040 where the oracle refuses, or somebody else serves the party; 1001 where it does not
        answer.
        """
        if only_of is not None:
            await self._check_owner(oracle, party, currency, asked, only_of)
        url = _party_url(oracle, party, currency, sub_id_in_path=True)
        request = Request("DELETE", url, _headers(asked, "DELETE"))
        answer = await self._write(oracle, request, [party])
        if not 200 <= answer.status < 300:
            _log_refusal(request, answer)
            raise FspiopError(ErrorCode.DELETE_PARTY_INFO_ERROR)

    async def _check_owner(self, oracle: Oracle, party: Party, currency: str, asked: Inbound, fsp_id: FspId) -> None:
        request = Request("GET", _party_url(oracle, party, currency), _headers(asked, "GET"))
        try:
            # Not from the cache: somebody else may have taken the party over by now.
            entries = await self._list(oracle, request, party)
        except FspiopError as error:
            if error.code == ErrorCode.DESTINATION_COMMUNICATION_ERROR.code:
                raise
            entries = []
        about_it = [each for each in entries if each.party == party]
        if not about_it:
            raise FspiopError(ErrorCode.DELETE_PARTY_INFO_ERROR, "No participant found for the party")
        if all(each.fsp_id != fsp_id for each in about_it):
            detail = f"The party {party.party_id_type}:{party.party_identifier} does not belong to the requesting FSP"
            raise FspiopError(ErrorCode.DELETE_PARTY_INFO_ERROR, detail)

    async def register_batch(
        self, oracle: Oracle, request_id: str, parties: Sequence[PartyIdInfo], currency: str, asked: Inbound
    ) -> list[FspiopError | None]:
        """Has an oracle know many parties; for each, in its order, why it does not, or None.

        What it does not confirm is 3003, whether it refused, said nothing of it or did not answer.
        """
        results: list[FspiopError | None] = []
        for some in _portions(parties):
            results += await self._register_some(oracle, request_id, some, currency, asked)
        return results

    async def _register_some(
        self, oracle: Oracle, request_id: str, parties: Sequence[PartyIdInfo], currency: str, asked: Inbound
    ) -> list[FspiopError | None]:
        # The reference writes the currency into each party, the specification beside them: oracles read either.
        more = {"currency": currency} if currency else {}
        content = {
            "requestId": request_id,
            "partyList": [{**msgspec.to_builtins(each), **more} for each in parties],
            **more,
        }
        request = Request("POST", f"{oracle.value}/participants", _headers(asked, "POST"), msgspec.json.encode(content))
        refused = FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR)
        try:
            answer = await self._write(oracle, request, [_party_of(each) for each in parties])
        except FspiopError as error:
            refused = FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, error.description)
            return [refused for _ in parties]
        if not 200 <= answer.status < 300:
            _log_refusal(request, answer)
            return [refused for _ in parties]
        if not answer.body.strip():
            # The specification's answer: created, and nothing to say about it.
            return [None for _ in parties]
        said = _batch_answer(oracle, answer.body)
        return [said.get(_party_of(each), refused) for each in parties]

    async def check(self, oracle: Oracle) -> OracleHealth:
        """Whether an oracle answers at all."""
        started_ms = asyncio.get_running_loop().time() * 1000
        try:
            answer = await self._http.send(Request("GET", f"{oracle.value}/health", [("Accept", "application/json")]))
        except TransportError as error:
            took_ms = round(asyncio.get_running_loop().time() * 1000 - started_ms)
            return OracleHealth(oracle, None, took_ms, str(error))
        error_text = f"it answers {answer.status}" if answer.status >= 500 else None
        return OracleHealth(oracle, answer.status, answer.total_ms, error_text)

    async def _write(self, oracle: Oracle, request: Request, parties: Sequence[Party]) -> Response:
        """Sends what changes an oracle: no answer from before is used after, nor one that was asked for meanwhile."""
        for party in parties:
            self._cache.forget(party)
        try:
            return await self._send(oracle, request)
        finally:
            for party in parties:
                self._cache.forget(party)

    async def _send(self, oracle: Oracle, request: Request) -> Response:
        """Raises `FspiopError` 1001 where there is no answer in time, or one that is too large."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome = "failed"
        try:
            answer = await self._http.send(request)
        except TransportError as error:
            log.warning(
                "an oracle does not answer",
                oracle_id=oracle.oracle_id,
                method=request.method,
                url=request.url,
                error=str(error),
            )
            raise _no_answer(oracle) from None
        else:
            outcome = "answered" if 200 <= answer.status < 300 else "refused"
            return answer
        finally:
            if self._observer is not None:
                self._observer(oracle, outcome, loop.time() - began)


# --- what is sent -----------------------------------------------------------------------------------------------


def _party_url(oracle: Oracle, party: Party, currency: str = "", *, sub_id_in_path: bool = False) -> str:
    segments = party.ids if sub_id_in_path else party.ids[:2]
    url = "/".join((oracle.value, "participants", *(quote(each, safe="") for each in segments)))
    query: dict[str, str] = {}
    if currency:
        query["currency"] = currency
    if party.party_sub_id and not sub_id_in_path:
        query["partySubIdOrType"] = party.party_sub_id
    return f"{url}?{urlencode(query, quote_via=quote)}" if query else url


def _headers(asked: Inbound, method: str) -> list[tuple[str, str]]:
    forwarded = forward_headers(Headers(asked.headers), method=method, destination=asked.destination or HUB)
    return [(name, value) for name, value in forwarded if name.lower() not in _NOT_PASSED_ON]


def _party_of(info: PartyIdInfo) -> Party:
    return Party(info.party_id_type, info.party_identifier, info.party_sub_id_or_type or "")


def _portions(parties: Sequence[PartyIdInfo]) -> Iterator[list[PartyIdInfo]]:
    portion: list[PartyIdInfo] = []
    size = 0
    for each in parties:
        length = len(msgspec.json.encode(each))
        if portion and (len(portion) >= BATCH_PARTIES_MAX or size + length > BATCH_BYTES_MAX):
            yield portion
            portion, size = [], 0
        portion.append(each)
        size += length
    if portion:
        yield portion


# --- what is answered -------------------------------------------------------------------------------------------


def _no_answer(oracle: Oracle) -> FspiopError:
    detail = f"the oracle for {oracle.party_id_type} does not answer"
    return FspiopError(ErrorCode.DESTINATION_COMMUNICATION_ERROR, detail)


def _log_refusal(request: Request, answer: Response) -> None:
    log.warning(
        "an oracle refuses a change",
        method=request.method,
        url=request.url,
        status=answer.status,
        answer=_shown(answer.body),
    )


def _shown(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace")


def _party_list(oracle: Oracle, body: bytes) -> list[object]:
    """The ``partyList`` of an answer; what is none is logged and as good as empty."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    found = said.get("partyList") if isinstance(said, dict) else None
    if isinstance(found, list):
        return found
    log.warning("an oracle's answer has no partyList", oracle_id=oracle.oracle_id, answer=_shown(body))
    return []


def _entries(oracle: Oracle, party: Party, body: bytes) -> list[OracleEntry]:
    """What an oracle lists for an identifier. Entries that make no sense are logged and dropped."""
    if not body.strip():
        return []
    listed = _party_list(oracle, body)
    entries = [entry for each in listed if (entry := _entry(party, each)) is not None]
    if len(entries) < len(listed):
        log.warning(
            "entries of an oracle's answer are dropped",
            oracle_id=oracle.oracle_id,
            dropped=len(listed) - len(entries),
            answer=_shown(body),
        )
    return entries


def _entry(party: Party, said: object) -> OracleEntry | None:
    if not isinstance(said, dict):
        return None
    fsp_id, currency, sub_id = said.get("fspId"), said.get("currency") or "", said.get("partySubIdOrType") or ""
    if not isinstance(fsp_id, str) or not 1 <= len(fsp_id) <= FSP_ID_LENGTH_MAX:
        return None
    if not isinstance(currency, str) or (currency and currency not in CURRENCIES):
        return None
    if not isinstance(sub_id, str) or len(sub_id) > SUB_ID_LENGTH_MAX:
        return None
    return OracleEntry(Party(party.party_id_type, party.party_identifier, sub_id), FspId(fsp_id), currency)


def _batch_answer(oracle: Oracle, body: bytes) -> dict[Party, FspiopError | None]:
    """What an oracle says of each party of a batch: an error, or None where it knows the party now."""
    said: dict[Party, FspiopError | None] = {}
    for each in _party_list(oracle, body):
        info = each.get("partyId") if isinstance(each, dict) else None
        if not isinstance(each, dict) or not isinstance(info, dict):
            continue
        party_type, identifier = info.get("partyIdType"), info.get("partyIdentifier")
        sub_id = info.get("partySubIdOrType") or ""
        if isinstance(party_type, str) and isinstance(identifier, str) and isinstance(sub_id, str):
            said[Party(party_type, identifier, sub_id)] = _told_error(each.get("errorInformation"))
    return said


def _told_error(information: object) -> FspiopError | None:
    """The error that an oracle tells of a party, in its own words where they fit the wire."""
    if information is None:
        return None
    if isinstance(information, dict):
        code, description = information.get("errorCode"), information.get("errorDescription")
        if isinstance(code, str) and len(code) == 4 and code.isascii() and code.isdigit() and code[0] != "0":
            text = description if isinstance(description, str) and description else None
            return FspiopError(code, description=text)
    return FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR)
