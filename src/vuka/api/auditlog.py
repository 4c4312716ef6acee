"""``/auditlog``: what operators and timers have changed, how transfers ended, and the signatures of it.

To check the log is a matter for ``vuka auditlog verify``, best elsewhere than where it is kept; the reference has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.admin_body import read_body
from vuka.api.hub import Hub
from vuka.engine.auditlog import SignAuditLog
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.ids import parse_id
from vuka.switch import auditlog
from vuka.switch.auditlog import Checkpoint, Entry, Search

LIMIT: Final = 100
LIMIT_MAX: Final = 500
LISTED_CHANGES_MAX: Final = 500
"""Changed rows of one act, in a list of many."""
_PARAMETERS: Final = frozenset(("who", "what", "since", "until", "transfer", "before", "limit"))


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def find(request: Request) -> Response:
        asked = dict(request.query_params)
        unknown = sorted(asked.keys() - _PARAMETERS)
        if unknown:
            raise _invalid(f'"{unknown[0]}" is not allowed: ask for {", ".join(sorted(_PARAMETERS))}')
        limit = _whole(asked, "limit", LIMIT)
        if not 1 <= limit <= LIMIT_MAX:
            raise _invalid(f'"limit" must be 1 to {LIMIT_MAX}')
        # Also below the first entry: what somebody has put there has a page, too.
        before = _whole(asked, "before", 0, may_be_negative=True) if "before" in asked else None
        search = Search(
            who=asked.get("who", ""),
            what=asked.get("what", ""),
            since_ms=_moment(asked, "since", 0),
            until_ms=_moment(asked, "until", (1 << 63) - 1),
            transfer=asked.get("transfer", ""),
        )
        found = hub.read(lambda tx, _ledger, _directory: auditlog.find(tx, search, before=before, limit=limit))
        return _json({"entries": [_listed(each, search) for each in found.entries], "before": found.before})

    async def show(request: Request) -> Response:
        seq: int = request.path_params["seq"]
        found = None
        if seq < 1 << 63:
            found = hub.read(lambda tx, _ledger, _directory: auditlog.entry(tx, seq))
        if found is None:
            raise FspiopError(ErrorCode.ID_NOT_FOUND, f"the audit log has no entry {seq}")
        return _json(shown(found))

    async def checkpoints(request: Request) -> Response:
        limit = _whole(dict(request.query_params), "limit", LIMIT)
        if not 1 <= limit <= LIMIT_MAX:
            raise _invalid(f'"limit" must be 1 to {LIMIT_MAX}')
        found = hub.read(lambda tx, _ledger, _directory: auditlog.checkpoints(tx, limit=limit))
        return _json([checkpoint(each) for each in found])

    async def sign(request: Request) -> Response:
        if await request.body():
            (await read_body(request)).end()
        if not hub.signs_audit_log:
            raise FspiopError(ErrorCode.CLIENT_ERROR, "the hub has no key to sign it with: see auditlog.key_file")
        await hub.submit(SignAuditLog())
        found = hub.read(lambda tx, _ledger, _directory: auditlog.last_checkpoint(tx))
        if found is None:
            raise AssertionError("a checkpoint was committed, and is not there")
        return _json(checkpoint(found[1]), 201)

    return [
        _route("/auditlog", GET=find),
        _route("/auditlog/checkpoints", GET=checkpoints, POST=sign),
        _route("/auditlog/{seq:int}", GET=show),
    ]


def _route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
    async def by_method(request: Request) -> Response:
        return await methods[request.method](request)

    route = Route(path, by_method, methods=list(methods))
    route.methods = set(methods)
    return route


def shown(each: Entry) -> dict[str, object]:
    """An entry as it is answered."""
    return {**_outside(each), "content": auditlog.shown(each)}


def _listed(each: Entry, search: Search) -> dict[str, object]:
    """An entry among others: of a batch's transfers the one that was asked for, else how many came to which end."""
    ends = auditlog.ends_of(each)
    if not ends:
        return _shortened(shown(each))
    if search.transfer:
        asked = parse_id(search.transfer)
        told: object = [auditlog.shown_end(end) for end in ends if end.transfer_id == asked]
    else:
        told = {"ended": len(ends), "states": Counter(end.state for end in ends)}
    return {**_outside(each), "content": told}


def _shortened(told: dict[str, object]) -> dict[str, object]:
    """An act among others: of one that has changed very much the first rows; by itself it is answered whole."""
    content = told["content"]
    if isinstance(content, dict) and len(content.get("changes", ())) > LISTED_CHANGES_MAX:
        left_out = content["left_out"] + len(content["changes"]) - LISTED_CHANGES_MAX
        asked = {name: "(left out)" if isinstance(value, list) else value for name, value in content["asked"].items()}
        told["content"] = {
            **content,
            "asked": asked,
            "changes": content["changes"][:LISTED_CHANGES_MAX],
            "left_out": left_out,
        }
    return told


def _outside(each: Entry) -> dict[str, object]:
    return {"seq": each.seq, "at": format_datetime_ms(each.at_ms), "kind": each.kind, "hash": each.hash.hex()}


def checkpoint(each: Checkpoint) -> dict[str, object]:
    """A checkpoint as it is answered: as it is checked, whoever keeps it."""
    told: dict[str, object] = msgspec.to_builtins(each)
    return told


def _whole(asked: dict[str, str], name: str, default: int, *, may_be_negative: bool = False) -> int:
    text = asked.get(name, str(default))
    digits = text.removeprefix("-") if may_be_negative else text
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
        raise _invalid(f'"{name}" must be a whole number')
    return int(text)


def _moment(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name)
    if text is None:
        return default
    try:
        return parse_datetime_ms(text)
    except ValueError:
        raise _invalid(f'"{name}" must be a time, e.g. 2026-01-31T12:00:00.000Z') from None


def _invalid(detail: str) -> FspiopError:
    return FspiopError(ErrorCode.VALIDATION_ERROR, detail)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
