"""``/rules/quotes`` on the operators' API: the scheme's rules about quotes, which of them hold, and trying others.

What is stored is checked whole: the answer to rules that are wrong names every fault with its rule and place. Trying
changes nothing: it says what rules would have made of requests in the journal. The reference has its rules in a file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import read_query
from vuka.api.hub import Hub
from vuka.engine.keys import key_floor
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.rules import CONTENT_BYTES_MAX, Rule, RulesError, RuleSet
from vuka.switch.quote_rules import (
    OPERATIONS,
    PastRequest,
    Reroute,
    SetQuoteRules,
    StoredRuleSet,
    Trial,
    compile_quote_rules,
    history,
    past_requests,
    past_requests_of,
    try_rules,
)

HISTORY_MAX: Final = 100
"""Versions that the history shows."""
TRIALS_DEFAULT: Final = 100
TRIALS_MAX: Final = 1_000
IDS_MAX: Final = 200
PAGE_MESSAGES: Final = 2_000
"""Messages of the journal looked through at a time: payments go on in between."""
TRIED_AT_ONCE: Final = 25
KEY_MAX: Final = 2**63 - 1
BODY_BYTES_MAX: Final = 2 * CONTENT_BYTES_MAX


class TryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /rules/quotes/try``."""

    rules: msgspec.Raw
    limit: Annotated[int, Meta(ge=1, le=TRIALS_MAX)] = TRIALS_DEFAULT
    """How many past requests, the newest first."""
    since: str | None = None
    """A DateTime: no request that came before it."""
    ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=IDS_MAX)] | None = None
    """These quotes only."""


class _FaultyRulesError(Exception):
    """Rules that can't be compiled; the answer tells every fault."""

    def __init__(self, error: RulesError) -> None:
        super().__init__(str(error))
        self.error = error


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def get(_request: Request) -> Response:
        found = hub.read(lambda tx, _ledger, _directory: history(tx, limit=1, active_only=True))
        return _json(_version(found[0]) if found else _NO_VERSION)

    async def put(request: Request) -> Response:
        content = await _body(request, CONTENT_BYTES_MAX)
        try:
            _compile(content)
        except _FaultyRulesError as faulty:
            return _faults(faulty.error)
        await hub.submit(SetQuoteRules(content=content.decode(), by=operator_name(request)))
        return await get(request)

    async def get_history(request: Request) -> Response:
        read_query(request).end()
        found = hub.read(lambda tx, _ledger, _directory: history(tx, limit=HISTORY_MAX))
        return _json([{**_version(each), "isActive": each.is_active} for each in found])

    async def try_some(request: Request) -> Response:
        asked = await _try_body(request)
        try:
            rules = _compile(bytes(asked.rules))
        except _FaultyRulesError as faulty:
            return _faults(faulty.error)
        trials: list[Trial] = []
        requests = await _requests(hub, asked)
        for start in range(0, len(requests), TRIED_AT_ONCE):
            some = requests[start : start + TRIED_AT_ONCE]
            trials += [try_rules(rules, hub.directory, each) for each in some]
            await asyncio.sleep(0)
        return _json(_trials(rules, trials))

    return [
        Route("/rules/quotes", get, methods=["GET"]),
        Route("/rules/quotes", put, methods=["PUT"]),
        Route("/rules/quotes/history", get_history, methods=["GET"]),
        Route("/rules/quotes/try", try_some, methods=["POST"]),
    ]


# --- reading ----------------------------------------------------------------------------------------------------


async def _body(request: Request, bytes_max: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > bytes_max:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {bytes_max} bytes", status=413)
    return bytes(content)


async def _try_body(request: Request) -> TryRequest:
    try:
        return msgspec.json.decode(await _body(request, BODY_BYTES_MAX), type=TryRequest)
    except msgspec.ValidationError as error:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the body is not JSON") from None


def _compile(content: bytes) -> RuleSet:
    try:
        return compile_quote_rules(content)
    except RulesError as error:
        raise _FaultyRulesError(error) from None


async def _requests(hub: Hub, asked: TryRequest) -> list[PastRequest]:
    """The past requests that rules are to be tried on, the newest first."""
    if asked.ids is not None:
        ids = asked.ids
        return hub.read(lambda tx, _ledger, _directory: past_requests_of(tx, ids))[: asked.limit]
    down_to = min(key_floor(_since_ms(asked.since)), KEY_MAX)
    before: int | None = KEY_MAX
    found: list[PastRequest] = []
    while before is not None and len(found) < asked.limit:
        below = before
        page = hub.read(
            lambda tx, _ledger, _directory: past_requests(tx, before=below, down_to=down_to, messages=PAGE_MESSAGES)  # noqa: B023 - read at once
        )
        found += page.requests
        before = page.before
        await asyncio.sleep(0)
    return found[: asked.limit]


def _since_ms(text: str | None) -> int:
    if text is None:
        return 0
    try:
        return parse_datetime_ms(text)
    except ValueError:
        detail = "since must be a DateTime such as 2030-01-31T12:00:00.000Z"
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, detail) from None


# --- shapes -----------------------------------------------------------------------------------------------------

_NO_VERSION: Final[dict[str, object]] = {"version": None, "createdDate": None, "createdBy": None, "rules": []}


def _version(stored: StoredRuleSet) -> dict[str, object]:
    return {
        "version": stored.rule_set_id,
        "createdDate": format_datetime_ms(stored.created_ms),
        "createdBy": stored.created_by,
        "rules": msgspec.Raw(stored.content.encode()),
    }


def _faults(error: RulesError) -> Response:
    """The reference's error, and beside it every fault in full."""
    answer = FspiopError(ErrorCode.VALIDATION_ERROR, str(error)).body()
    answer["faults"] = [
        {"rule": each.rule, "name": each.name, "path": each.path, "message": each.message} for each in error.faults
    ]
    return _json(answer, 400)


def _trials(rules: RuleSet, trials: Sequence[Trial]) -> dict[str, object]:
    held = Counter(rule.number for trial in trials for rule in trial.held)
    return {
        "tried": len(trials),
        "decided": sum(1 for trial in trials if trial.decision is not None),
        "rules": [{**_rule(rule), "held": held[rule.number]} for rule in rules.rules],
        "quotes": [_trial(trial) for trial in trials],
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {"rule": rule.number, "name": rule.name, "type": rule.event.type}


def _trial(trial: Trial) -> dict[str, object]:
    request = trial.request
    return {
        "id": request.resource_id,
        "operation": OPERATIONS[request.resource],
        "source": request.source,
        "destination": request.destination,
        "receivedDate": format_datetime_ms(request.at_ms),
        "outcome": request.outcome,
        "held": [_rule(rule) for rule in trial.held],
        "decision": _decision(trial.decision),
    }


def _decision(decision: FspiopError | Reroute | None) -> dict[str, object]:
    if isinstance(decision, FspiopError):
        return {"action": "refuse", "errorCode": decision.code, "errorDescription": decision.description}
    if isinstance(decision, Reroute):
        return {"action": "reroute", "to": decision.to, "additionalHeaders": dict(decision.headers)}
    return {"action": "forward"}


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
