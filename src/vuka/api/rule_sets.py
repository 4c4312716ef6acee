"""Rules of every kind on the operators' API: which are in force and were before, and what is wrong with others.

``/rules/quotes`` and ``/rules/fees`` are alike in this. What is stored is checked whole: the answer to rules that are
wrong names every fault with its rule and place. The reference has its rules in files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import read_query
from vuka.api.hub import Hub
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.rules import CONTENT_BYTES_MAX, Rule, RulesError
from vuka.switch.rule_sets import StoredRuleSet, history
from vuka.switch.work import Command

HISTORY_MAX: Final = 100
"""Versions that the history shows."""
TRIALS_DEFAULT: Final = 100
TRIALS_MAX: Final = 1_000
IDS_MAX: Final = 200
TRIED_AT_ONCE: Final = 25
"""How many a trial looks at before payments have their turn again."""
KEY_MAX: Final = 2**63 - 1
BODY_BYTES_MAX: Final = 2 * CONTENT_BYTES_MAX


class TryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /rules/…/try``."""

    rules: msgspec.Raw
    limit: Annotated[int, Meta(ge=1, le=TRIALS_MAX)] = TRIALS_DEFAULT
    """How many of the past, the newest first."""
    since: str | None = None
    """A DateTime: nothing that came before it."""
    ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=IDS_MAX)] | None = None
    """These quotes, or transfers, only."""


def routes(
    hub: Hub, kind: str, compile_rules: Callable[[bytes], object], command: Callable[[str, str], Command]
) -> list[Route]:
    """Those of every kind of rules. ``command`` makes, of a content that compiles and a name, what puts it in force."""

    async def get(_request: Request) -> Response:
        found = hub.read(lambda tx, _ledger, _directory: history(tx, kind, limit=1, active_only=True))
        return as_json(_version(found[0]) if found else _NO_VERSION)

    async def put(request: Request) -> Response:
        content = await _body(request, CONTENT_BYTES_MAX)
        try:
            compile_rules(content)
            await hub.submit(command(content.decode(), operator_name(request)))
        except RulesError as faulty:
            return faults(faulty)
        return await get(request)

    async def get_history(request: Request) -> Response:
        read_query(request).end()
        found = hub.read(lambda tx, _ledger, _directory: history(tx, kind, limit=HISTORY_MAX))
        return as_json([{**_version(each), "isActive": each.is_active} for each in found])

    async def in_force(request: Request) -> Response:
        return await (put if request.method == "PUT" else get)(request)

    return [
        Route(f"/rules/{kind}", in_force, methods=["GET", "PUT"]),
        Route(f"/rules/{kind}/history", get_history, methods=["GET"]),
    ]


# --- reading ----------------------------------------------------------------------------------------------------


async def _body(request: Request, bytes_max: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > bytes_max:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {bytes_max} bytes", status=413)
    return bytes(content)


async def read_try(request: Request) -> TryRequest:
    """What to try on what. Raises `FspiopError` 3100, 3101, 3104."""
    try:
        return msgspec.json.decode(await _body(request, BODY_BYTES_MAX), type=TryRequest)
    except msgspec.ValidationError as error:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the body is not JSON") from None


def since_ms(asked: TryRequest) -> int:
    """From when on, UTC milliseconds. Raises `FspiopError` 3101."""
    if asked.since is None:
        return 0
    try:
        return max(0, parse_datetime_ms(asked.since))
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


def faults(error: RulesError) -> Response:
    """The reference's error, and beside it every fault in full."""
    answer = FspiopError(ErrorCode.VALIDATION_ERROR, str(error)).body()
    answer["faults"] = [
        {"rule": each.rule, "name": each.name, "path": each.path, "message": each.message} for each in error.faults
    ]
    return as_json(answer, 400)


def rule_fact(rule: Rule) -> dict[str, object]:
    """A rule as answers name it."""
    return {"rule": rule.number, "name": rule.name, "type": rule.event.type}


def as_json(value: object, status: int = 200) -> Response:
    """An answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
