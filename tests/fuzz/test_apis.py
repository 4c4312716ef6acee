"""Every path of both APIs, asked anything: what answers is the use case or an error of its own, never a defect of ours.

The APIs are called as their servers call them, without sockets: so many more requests are tried than over the wire.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.application import Api, right_headers, serving
from tests.faults.report import Inputs, keep
from tests.fuzz.inputs import JSON, JSON_BYTES, TEXTS, encoded, message_types, nearly

from vuka.api import fspiop
from vuka.api.admin import admin_app
from vuka.switch.audit import audit

EXAMPLES = 200
EXAMPLES_LONG = 40_000

QUERY_NAMES = (
    "after", "before", "limit", "state", "kind", "participant", "currency", "type", "format", "valueDate", "isProxy",
    "partyIdType", "partyIdentifier", "partySubIdOrType", "participantId", "settlementWindowId", "settlementId",
    "fromDateTime", "toDateTime", "fromSettlementWindowDateTime", "toSettlementWindowDateTime", "accountId", "id", "x",
)  # fmt: skip
VALUES = st.one_of(
    TEXTS,
    st.integers(-(2**70), 2**70).map(str),
    st.text(max_size=20),
    st.sampled_from(
        ("", "0", "-1", "1e400", "PENDING_SETTLEMENT", "OPEN", "DELIVERED", "2026-13-45", "\x00", "9" * 30)
    ),
)
MEMBERS = (
    "name", "currency", "type", "value", "limit", "isActive", "transferId", "action", "amount", "reason", "fspId",
    "initialPosition", "externalReference", "state", "settlementModel", "settlementWindows", "participants", "id",
    "isDefault", "endpoint", "version", "rules", "cron", "timeZone", "roles", "kind", "key", "schedule",
    "alarmPercentage",
)  # fmt: skip
BODIES = st.one_of(
    st.dictionaries(st.sampled_from(MEMBERS), st.one_of(TEXTS, JSON), max_size=6).map(encoded), JSON_BYTES, st.just(b"")
)
SEGMENTS = st.one_of(
    st.sampled_from(
        ("payerfsp", "payeefsp", "Hub", "1", "2", "USD", "MSISDN", "254711000001", "..", "%", "a%2Fb", "%ff", "0")
    ),
    TEXTS,
    st.integers(-1, 2**70).map(str),
    st.text(min_size=1, max_size=12),
)


class Hubs(NamedTuple):
    """A hub in this process, and a loop for it to live in."""

    runner: asyncio.Runner
    api: Api
    operator: httpx.AsyncClient


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hubs]:
    with asyncio.Runner() as runner:
        context = serving(
            tmp_path_factory.mktemp("hub"), COURIER_RETRY_FIRST_MS="1000", OPERATORS_API_AUTHENTICATION="open"
        )
        api = runner.run(context.__aenter__())
        transport = httpx.ASGITransport(app=admin_app(api.hub), raise_app_exceptions=False)
        operator = httpx.AsyncClient(transport=transport, base_url="http://hub")
        yield Hubs(runner, api, operator)
        report = api.hub.read(lambda tx, ledger, _directory: audit(tx, ledger))
        runner.run(operator.aclose())
        runner.run(context.__aexit__(None, None, None))
        assert report.differences == []


def _settings(examples: int, *, fresh: bool) -> settings:
    return settings(
        max_examples=examples,
        derandomize=not fresh,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def participants_requests() -> st.SearchStrategy[tuple[str, str, bytes, dict[str, str | None]]]:
    """A method, a path that may be there, a body, and headers that are not as they should be."""
    shapes = sorted({*fspiop._ROUTES, *fspiop._NOT_SERVED})
    paths = st.sampled_from(shapes).flatmap(
        lambda shape: st.lists(SEGMENTS, min_size=shape[1], max_size=shape[1]).map(
            lambda ids: "/".join(("", shape[0], *map(_escaped, ids), *(("error",) if shape[2] else ())))
        )
    )
    queries = st.dictionaries(st.sampled_from(QUERY_NAMES), VALUES, max_size=2).map(
        lambda each: str(httpx.QueryParams(each))
    )
    return st.tuples(
        st.sampled_from(("GET", "POST", "PUT", "PATCH", "DELETE")),
        st.one_of(paths, st.tuples(paths, queries).map("?".join)),
        st.one_of(st.sampled_from(message_types()).flatmap(nearly), JSON_BYTES),
        st.dictionaries(
            st.sampled_from(("accept", "content-type", "date", "fspiop-source", "fspiop-destination", "traceparent")),
            st.one_of(st.none(), st.text(max_size=12).map(lambda each: each.encode("ascii", "replace").decode())),
            max_size=1,
        ),
    )


def _escaped(segment: str) -> str:
    return "".join(each if each.isascii() and (each.isalnum() or each in "%.-_") else "%20" for each in segment)


def is_no_defect(status: int, body: bytes, what: object) -> None:
    """No 5xx but 501, and the ones with which the reference tells an operator's mistake."""
    if status < 400 or (status == 501 and b"errorInformation" in body):
        return
    assert body.startswith(b'{"errorInformation"'), (status, body, what)
    information = json.loads(body)["errorInformation"]
    assert len(information["errorCode"]) == 4, what
    assert 1 <= len(information["errorDescription"]) <= 128, what
    assert "Internal server error" not in information["errorDescription"], (what, body)


def attack_participants(hubs: Hubs, *, examples: int, fresh: bool) -> int:
    count = 0

    @_settings(examples, fresh=fresh)
    @given(participants_requests())
    def one(request: tuple[str, str, bytes, dict[str, str | None]]) -> None:
        nonlocal count
        count += 1
        method, path, body, changed = request
        headers = {**right_headers(method, path), **changed}
        raw = [(name.encode(), value.encode()) for name, value in headers.items() if value is not None]
        answer = hubs.runner.run(hubs.api.call(method, path, raw, [body]))
        is_no_defect(answer.status, answer.body, request)

    one()
    return count


def operators_requests(hubs: Hubs) -> st.SearchStrategy[tuple[str, str, bytes]]:
    """A method and path of a route, with a query and a body."""
    routes = [
        (method, str(route.path))  # type: ignore[attr-defined]
        for route in admin_app(hubs.api.hub).routes
        for method in sorted(route.methods)  # type: ignore[attr-defined]
    ]

    def request(chosen: tuple[str, str]) -> st.SearchStrategy[tuple[str, str, bytes]]:
        method, template = chosen
        parts = template.split("/")
        path = st.tuples(*(SEGMENTS.map(_escaped) if part.startswith("{") else st.just(part) for part in parts)).map(
            "/".join
        )
        query = st.dictionaries(st.sampled_from(QUERY_NAMES), VALUES, max_size=3).map(
            lambda each: (
                f"?{httpx.QueryParams({key: value.encode('utf-8', 'replace').decode() for key, value in each.items()})}"
            )
        )
        return st.tuples(st.just(method), st.tuples(path, query).map("".join), BODIES)

    return st.sampled_from(routes).flatmap(request)


def attack_operators(hubs: Hubs, *, examples: int, fresh: bool) -> int:
    count = 0

    @_settings(examples, fresh=fresh)
    @given(operators_requests(hubs))
    def one(request: tuple[str, str, bytes]) -> None:
        nonlocal count
        count += 1
        method, path, body = request
        made = hubs.operator.request(method, path, content=body, headers={"content-type": "application/json"})
        answer = hubs.runner.run(made)
        if method != "HEAD":
            is_no_defect(answer.status_code, answer.content, request)

    one()
    return count


def test_no_request_of_a_participant_finds_a_defect(hubs: Hubs) -> None:
    assert attack_participants(hubs, examples=EXAMPLES, fresh=False) >= EXAMPLES // 2


def test_no_request_of_an_operator_finds_a_defect(hubs: Hubs) -> None:
    assert attack_operators(hubs, examples=EXAMPLES, fresh=False) >= EXAMPLES // 2


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_no_request_finds_a_defect_in_a_long_run(hubs: Hubs) -> None:
    examples = EXAMPLES_LONG * int(os.environ.get("VUKA_SOAK_PERCENT", "100")) // 100
    keep(Inputs("participants' requests", attack_participants(hubs, examples=examples, fresh=True)))
    keep(Inputs("operators' requests", attack_operators(hubs, examples=examples, fresh=True)))
