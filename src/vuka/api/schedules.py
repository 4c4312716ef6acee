"""``/settlementSchedules``: when settlement windows close by themselves, and what is settled then.

The reference has no such resource: it leaves the closing to whoever operates it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import read_body
from vuka.api.hub import Hub
from vuka.cron import LENGTH_MAX
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms
from vuka.switch.schedules import (
    NAME,
    AddSchedule,
    ChangeSchedule,
    RemoveSchedule,
    Schedule,
    schedule_not_found,
    schedules,
)


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def list_all(_request: Request) -> Response:
        found = hub.read(lambda tx, _ledger, _directory: schedules(tx))
        return _json([_schedule(each, hub.now_ms()) for each in found])

    async def add(request: Request) -> Response:
        body = await read_body(request)
        command = AddSchedule(
            name=body.text("name"),
            cron=body.text("cron", length_max=LENGTH_MAX),
            time_zone=body.text("timeZone") if body.has("timeZone") else "UTC",
            settlement_model=body.nullable_text("settlementModel") if body.has("settlementModel") else None,
            is_active=body.boolean("isActive") if body.has("isActive") else True,
            by=operator_name(request),
        )
        body.end()
        await hub.submit(command)
        return _json(shown(command.name), 201)

    async def show(request: Request) -> Response:
        return _json(shown(_path_name(request)))

    async def change(request: Request) -> Response:
        body = await read_body(request)
        says_something = any(body.has(each) for each in ("cron", "timeZone", "settlementModel", "isActive"))
        command = ChangeSchedule(
            name=_path_name(request),
            cron=body.text("cron", length_max=LENGTH_MAX) if body.has("cron") else msgspec.UNSET,
            time_zone=body.text("timeZone") if body.has("timeZone") else msgspec.UNSET,
            settlement_model=body.nullable_text("settlementModel") if body.has("settlementModel") else msgspec.UNSET,
            is_active=body.boolean("isActive") if body.has("isActive") else msgspec.UNSET,
            by=operator_name(request),
        )
        body.end()
        if not says_something:
            raise FspiopError(ErrorCode.MISSING_ELEMENT, "Say cron, timeZone, settlementModel or isActive")
        await hub.submit(command)
        return _json(shown(command.name))

    async def remove(request: Request) -> Response:
        await hub.submit(RemoveSchedule(name=_path_name(request)))
        return Response(status_code=204)

    def shown(name: str) -> dict[str, object]:
        found = hub.read(lambda tx, _ledger, _directory: schedules(tx, name))
        if not found:
            raise schedule_not_found(name)
        return _schedule(found[0], hub.now_ms())

    return [
        _route("/settlementSchedules", GET=list_all, POST=add),
        _route("/settlementSchedules/{name}", GET=show, PUT=change, DELETE=remove),
    ]


def _route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
    async def by_method(request: Request) -> Response:
        return await methods[request.method](request)

    route = Route(path, by_method, methods=list(methods))
    route.methods = set(methods)
    return route


def _path_name(request: Request) -> str:
    """The schedule that a path names. Raises `FspiopError` 3200 for what can't be a name."""
    name: str = request.path_params["name"]
    if NAME.fullmatch(name) is None:
        raise schedule_not_found(name)
    return name


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _schedule(schedule: Schedule, now_ms: int) -> dict[str, object]:
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "timeZone": schedule.time_zone,
        "settlementModel": schedule.settlement_model,
        "isActive": schedule.is_active,
        "nextRuns": [format_datetime_ms(each) for each in schedule.next_runs(now_ms)],
        "lastRun": _moment(schedule.last_ms),
        "lastDue": _moment(schedule.last_due_ms),
        "lastOutcome": schedule.last_outcome,
        "createdDate": format_datetime_ms(schedule.created_ms),
        "createdBy": schedule.created_by,
        "changedDate": format_datetime_ms(schedule.changed_ms),
        "changedBy": schedule.changed_by,
    }


def _moment(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_datetime_ms(time_ms)
