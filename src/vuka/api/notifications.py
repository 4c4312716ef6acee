"""``/notifications`` and ``/alarms`` on the operators' API: what people were told, and what they could not be told.

Ids are texts: they have more digits than some readers of JSON numbers keep. Figures are as in the notifications
themselves. Trying a channel delivers at once, waits for it and is noted nowhere.
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from vuka.api.access import may_operate
from vuka.api.admin_body import Fields, invalid, read_body, read_query
from vuka.api.hub import Hub
from vuka.channels.words import compose
from vuka.engine.notifications import (
    DeliveryView,
    NotificationFilter,
    NotificationView,
    ResendNotifications,
    Route,
    notification,
    notifications,
)
from vuka.engine.outbox import DeliveryState
from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import HUB
from vuka.plugins import NOTIFICATION_KINDS, THRESHOLD_BREACH, DeliveryError
from vuka.switch.alarms import AlarmRules, AlarmView, alarms
from vuka.switch.participants import participant_not_found, shortened

LISTED_DEFAULT: Final = 100
LISTED_MAX: Final = 1_000
ID_MAX: Final = (1 << 63) - 2

EXAMPLE: Final = "examplefsp"
"""Whom a test for the hub is about."""
TEST_CURRENCY: Final = "XTS"
TEST_FIGURES: Final = {
    "limit": "1000",
    "position": "800",
    "available": "200",
    "percentageUsed": "80.00",
    "threshold": "80",
}


def routes(hub: Hub) -> list[HttpRoute]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""
    rules = AlarmRules.of(hub.config.notifications)

    async def list_some(request: Request) -> Response:
        query = read_query(request)
        limit = _whole(query, "limit", LISTED_MAX) or LISTED_DEFAULT
        asked = NotificationFilter(
            state=query.choice("state", list(DeliveryState)) if query.has("state") else None,
            kind=query.choice("kind", NOTIFICATION_KINDS) if query.has("kind") else None,
            participant=query.optional_text("participant"),
            before=_whole(query, "before", ID_MAX),
        )
        query.end()
        found = hub.read(lambda tx, _ledger, _directory: notifications(tx, asked, limit))
        return _json([_notification(each, request) for each in found])

    async def show(request: Request) -> Response:
        notification_id = _path_id(request)
        found = hub.read(lambda tx, _ledger, _directory: notification(tx, notification_id))
        if found is None:
            raise FspiopError(ErrorCode.ID_NOT_FOUND, f"there is no notification {notification_id}")
        return _json(_notification(found, request))

    async def resend(request: Request) -> Response:
        return await resend_parked(_path_id(request), await _optional_body(request))

    async def resend_all(request: Request) -> Response:
        return await resend_parked(None, await _optional_body(request))

    async def resend_parked(notification_id: int | None, body: Fields) -> Response:
        channel = body.optional_text("channel")
        body.end()
        command = ResendNotifications(
            notification_id=notification_id, channel=channel, channels=hub.engine.notifier.channels
        )
        return _json({"resent": await hub.submit(command)}, 202)

    async def channels(_request: Request) -> Response:
        return _json([_channel(each) for each in hub.engine.notifier.routes])

    async def test(request: Request) -> Response:
        body = await read_body(request)
        channel = body.text("channel")
        recipient = body.optional_text("participant") or HUB
        kind = body.choice("kind", NOTIFICATION_KINDS) if body.has("kind") else THRESHOLD_BREACH
        body.end()
        return _json(await try_channel(channel, recipient, kind))

    async def try_channel(channel: str, recipient: str, kind: str) -> dict[str, str | None]:
        if not hub.engine.running:
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub is shutting down")
        notifier = hub.engine.notifier
        route = notifier.route(channel)
        if route is None:
            raise OperatorError(
                f"There is no channel {channel[:40]}: there are {', '.join(notifier.channels) or 'none'}."
            )
        told = hub.directory.get(recipient)
        if told is None:
            raise participant_not_found()
        address = route.address(kind, told.endpoints)
        if address is None:
            endpoint = (route.endpoints or {}).get(kind)
            raise OperatorError(f"{recipient} has no endpoint {endpoint}: set it to be told by {channel}.")
        tried = compose(
            delivery_id=f"test-{hub.new_message_id()}",
            kind=kind,
            participant=recipient if recipient != HUB else EXAMPLE,
            recipient=recipient,
            currency=TEST_CURRENCY,
            created_ms=hub.now_ms(),
            data=TEST_FIGURES,
            scheme=hub.directory.scheme_name,
            is_test=True,
        )
        answer = {"id": tried.id, "channel": channel, "recipient": recipient, "address": address or None}
        try:
            await notifier.try_now(tried, channel, address)
        except DeliveryError as error:
            return {**answer, "state": "FAILED", "error": str(error)}
        return {**answer, "state": DeliveryState.DELIVERED.value, "error": None}

    async def standing(request: Request) -> Response:
        query = read_query(request)
        participant = query.optional_text("participant")
        query.end()
        found = hub.read(lambda tx, ledger, directory: alarms(tx, ledger, directory, rules, participant=participant))
        return _json([_alarm(each) for each in found])

    return [
        HttpRoute("/notifications", list_some, methods=["GET"]),
        HttpRoute("/notifications/channels", channels, methods=["GET"]),
        HttpRoute("/notifications/test", test, methods=["POST"]),
        HttpRoute("/notifications/resend", resend_all, methods=["POST"]),
        HttpRoute("/notifications/{id:int}", show, methods=["GET"]),
        HttpRoute("/notifications/{id:int}/resend", resend, methods=["POST"]),
        HttpRoute("/alarms", standing, methods=["GET"]),
    ]


# --- what is asked ------------------------------------------------------------------------------------------------


def _path_id(request: Request) -> int:
    notification_id: int = request.path_params["id"]
    if notification_id > ID_MAX:
        raise invalid("'id' is not the id of a notification")
    return notification_id


def _whole(query: Fields, name: str, highest: int) -> int | None:
    """A whole number from 1 on, or None where it is missing. Raises `FspiopError` 3100, 3101."""
    if not query.has(name):
        return None
    number = query.whole(name)
    if not 1 <= number <= highest:
        raise invalid(f'"{name}" must be from 1 to {highest}')
    return number


async def _optional_body(request: Request) -> Fields:
    """The members of the body; none where there is none."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return Fields({})
    return await read_body(request)


# --- shapes -------------------------------------------------------------------------------------------------------


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _notification(of: NotificationView, request: Request) -> dict[str, object]:
    return {
        "notificationId": str(of.notification_id),
        "kind": of.kind,
        "participant": of.participant,
        "currency": of.currency,
        "createdDate": format_datetime_ms(of.created_ms),
        "data": of.data,
        "deliveries": [_delivery(each, is_whole=may_operate(request)) for each in of.deliveries],
    }


def _channel(of: Route) -> dict[str, object]:
    return {"name": of.channel, "endpoints": of.endpoints, "tellsParticipants": of.tells_participants}


def _delivery(of: DeliveryView, *, is_whole: bool) -> dict[str, object]:
    """A delivery; who may not set where alarms go is shown the beginning of where it went."""
    shown: dict[str, object] = {
        "id": of.id,
        "channel": of.channel,
        "recipient": of.recipient,
        "address": (of.address if is_whole else shortened(of.address)) or None,
        "state": of.state,
        "attempts": of.attempts,
        "error": of.error,
        "changedDate": format_datetime_ms(of.updated_ms),
    }
    if of.state == DeliveryState.PENDING:
        shown["nextAttempt"] = format_datetime_ms(of.next_ms)
    return shown


def _alarm(of: AlarmView) -> dict[str, object]:
    return {
        "participant": of.participant,
        "currency": of.currency,
        "threshold": str(of.threshold),
        **of.figures,
        "raisedDate": format_datetime_ms(of.raised_ms),
        "notifiedDate": format_datetime_ms(of.last_ms),
        "repeats": of.repeats,
    }
