"""How the hub's notices look on the FSPIOP wire, and to which of a participant's endpoints they go.

The switch says what is owed to whom; here it becomes a method, a path, headers and a body. What a participant wrote
is passed on byte for byte; what the hub makes is written in the version its receiver speaks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, assert_never
from urllib.parse import quote

from vuka.api.signatures import HubKey
from vuka.engine.outbox import Composed
from vuka.errors import FspiopError
from vuka.fspiop import render
from vuka.fspiop.endpoints import EndpointType, callback_url, id_parameters, party_parameters
from vuka.fspiop.headers import Headers, forward_headers, hub_headers
from vuka.fspiop.jws import canonical
from vuka.fspiop.messages import TransferState
from vuka.fspiop.versions import Version, parse_accept, parse_content_type
from vuka.switch.journal import Sent
from vuka.switch.work import Action, ErrorBody, Forward, Header, JsonBody, Notice, TransferBody

_ENDPOINTS: Final[Mapping[tuple[str, Action], EndpointType]] = {
    ("transfers", Action.POST): EndpointType.TRANSFER_POST,
    ("transfers", Action.PUT): EndpointType.TRANSFER_PUT,
    # There is no endpoint type of its own for PATCH: the reference uses that of PUT.
    ("transfers", Action.PATCH): EndpointType.TRANSFER_PUT,
    ("transfers", Action.ERROR): EndpointType.TRANSFER_ERROR,
    ("quotes", Action.POST): EndpointType.QUOTES,
    ("quotes", Action.GET): EndpointType.QUOTES,
    ("quotes", Action.PUT): EndpointType.QUOTES,
    ("quotes", Action.ERROR): EndpointType.QUOTES,
    ("bulkQuotes", Action.POST): EndpointType.BULK_QUOTES,
    ("bulkQuotes", Action.GET): EndpointType.BULK_QUOTES,
    ("bulkQuotes", Action.PUT): EndpointType.BULK_QUOTES,
    ("bulkQuotes", Action.ERROR): EndpointType.BULK_QUOTES,
    ("fxQuotes", Action.POST): EndpointType.FX_QUOTES,
    ("fxQuotes", Action.GET): EndpointType.FX_QUOTES,
    ("fxQuotes", Action.PUT): EndpointType.FX_QUOTES,
    ("fxQuotes", Action.ERROR): EndpointType.FX_QUOTES,
    ("parties", Action.GET): EndpointType.PARTIES_GET,
    ("parties", Action.PUT): EndpointType.PARTIES_PUT,
    ("parties", Action.ERROR): EndpointType.PARTIES_PUT_ERROR,
    ("participants", Action.PUT): EndpointType.PARTICIPANT_PUT,
    ("participants", Action.ERROR): EndpointType.PARTICIPANT_PUT_ERROR,
}

_SUB_ID_ENDPOINTS: Final[Mapping[tuple[str, Action], EndpointType]] = {
    ("parties", Action.GET): EndpointType.PARTIES_SUB_ID_GET,
    ("parties", Action.PUT): EndpointType.PARTIES_SUB_ID_PUT,
    ("parties", Action.ERROR): EndpointType.PARTIES_SUB_ID_PUT_ERROR,
    ("participants", Action.PUT): EndpointType.PARTICIPANT_SUB_ID_PUT,
    ("participants", Action.ERROR): EndpointType.PARTICIPANT_SUB_ID_PUT_ERROR,
}

_BATCH_ENDPOINTS: Final[Mapping[Action, EndpointType]] = {
    Action.PUT: EndpointType.PARTICIPANT_BATCH_PUT,
    Action.ERROR: EndpointType.PARTICIPANT_BATCH_PUT_ERROR,
}


# An enum's own look-up by value, and `value` itself, are Python calls: of what every message needs they are none.
_VERSIONS: Final[Mapping[str, Version]] = {version.value: version for version in Version}

_is_plain: Final = re.compile(r"[A-Za-z0-9-]+").fullmatch


def endpoint_of(resource: str, action: Action, ids: tuple[str, ...]) -> EndpointType:
    """The endpoint type that a message about a resource goes to."""
    if resource == "participants" and len(ids) == 1:
        return _BATCH_ENDPOINTS[action]
    if resource in ("parties", "participants") and len(ids) == 3:
        return _SUB_ID_ENDPOINTS[resource, action]
    return _ENDPOINTS[resource, action]


def path_of(resource: str, action: Action, ids: tuple[str, ...]) -> str:
    """The path from the resource on, as FSPIOP-URI says it."""
    # Most are UUIDs, of which nothing needs to be escaped.
    segments = "".join([f"/{each if _is_plain(each) else quote(each, safe='')}" for each in ids])
    return f"/{resource}{segments}/error" if action is Action.ERROR else f"/{resource}{segments}"


class FspiopWire:
    """The FSPIOP wire: see `vuka.engine.outbox.Wire`. With a key, what the hub makes itself is signed."""

    def __init__(self, key: HubKey | None = None) -> None:
        self._key = key

    def compose(self, notice: Notice, now_ms: int) -> Composed:
        """Method, headers and body of a notice; ``now_ms`` dates what the hub makes itself."""
        method = "PUT" if notice.action is Action.ERROR else notice.action._value_
        path = path_of(notice.resource, notice.action, notice.ids)
        if isinstance(notice.body, Forward):
            inbound = notice.body.inbound
            found = notice.destination if inbound.destination is None else None
            passed_on = forward_headers(inbound.headers, method=method, destination=found)
            headers = _added(passed_on, notice.headers)
            body: bytes | None = inbound.body or None
        else:
            traces = dict(notice.trace)
            headers = hub_headers(
                notice.resource,
                _VERSIONS[notice.version],
                method=method,
                source=notice.source,
                destination=notice.destination or notice.to,
                uri=path,
                now_ms=now_ms,
                traceparent=traces.get("traceparent"),
                tracestate=traces.get("tracestate"),
                baggage=traces.get("baggage"),
            )
            body = _body(notice, now_ms)
            if self._key is not None and body is not None:
                if isinstance(notice.body, JsonBody):
                    # What the hub makes of its own types is in this form already.
                    body = canonical(body)
                headers = self._key.signed(headers, body)
        return Composed(
            method=method,
            path=path,
            endpoint=endpoint_of(notice.resource, notice.action, notice.ids)._value_,
            parameters=_parameters(notice.resource, notice.ids),
            headers=headers,
            body=body,
        )

    def answer_version(self, resource: str, headers: Sequence[Header]) -> str:
        """The highest version that a request's Accept allows, else the one that it is written in."""
        sent = Headers(headers)
        accepted = parse_accept(resource, sent.get("accept") or "")
        if accepted is not None and accepted.versions:
            return accepted.versions[0].value
        written = parse_content_type(resource, sent.get("content-type") or "")
        return (written.version if written is not None and written.version is not None else Version.V2_0).value

    def url(self, endpoints: Mapping[str, str], target: Sent) -> str:
        """Where a message goes now: the participant's endpoint of that type, filled in.

        Raises `LookupError` with a sentence for operators.
        """
        value = endpoints.get(target.endpoint)
        if value is None:
            raise LookupError(f"no endpoint {target.endpoint} is registered")
        try:
            return callback_url(target.endpoint, value, target.path, target.parameters)
        except ValueError as error:
            raise LookupError(str(error)) from None


def _added(headers: list[Header], added: Sequence[Header]) -> list[Header]:
    """Headers with others added, each in the place of those of its name."""
    names = {name.lower() for name, _ in added}
    return [*(pair for pair in headers if pair[0].lower() not in names), *added] if added else headers


def _parameters(resource: str, ids: tuple[str, ...]) -> dict[str, str]:
    if not ids:
        return {}
    if resource in ("parties", "participants") and len(ids) > 1:
        return party_parameters(*ids)
    return id_parameters(resource, ids[0])


def _body(notice: Notice, now_ms: int) -> bytes | None:
    body = notice.body
    match body:
        case None:
            return None
        case ErrorBody():
            error = FspiopError(body.code, description=body.description, extensions=body.extensions)
            return render.error_body(error)
        case TransferBody() if notice.action is Action.PATCH:
            return render.transfer_patch(_state(body.state), body.completed_ms or now_ms, body.extensions)
        case TransferBody():
            return render.transfer_result(_state(body.state), body.completed_ms, body.fulfilment, body.extensions)
        case JsonBody():
            return body.content
        case Forward():
            return body.inbound.body or None
        case _:
            assert_never(body)


def _state(text: str) -> TransferState:
    """The state as the wire's own type; the switch has no others."""
    match text:
        case "RECEIVED" | "RESERVED" | "COMMITTED" | "ABORTED":
            return text
        case _:
            raise AssertionError(f"{text} is not a transferState")
