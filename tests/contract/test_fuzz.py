"""Requests that nobody thought of, made from the OpenAPI files, well formed and not, at both listeners.

Whatever comes, the hub answers in time, never with an error of its own that the API does not document, and goes on
working: at the end its books balance. schemathesis makes the requests; the same ones each time here, new ones in the
long runs. The OpenAPI files are found as in ``test_every_operation.py``; without them these tests are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.operations import NEVER_RECEIVED, NOT_SERVED
from tests.contract.test_every_operation import METHODS, SPECS

from vuka.cli.hub import found
from vuka.cli.process import hub_process
from vuka.config import load
from vuka.fspiop.times import format_http_date
from vuka.ledger.sql import SqlLedger
from vuka.sim.participant import now_ms
from vuka.store.sqlite import Database
from vuka.switch.audit import audit

pytestmark = pytest.mark.xdist_group("fuzz")

ANSWER_SECONDS_MAX: Final = 10
EXAMPLES: Final = 3
EXAMPLES_LONG: Final = 300

PARTICIPANTS_FILES: Final = ("fspiop-1.0.yaml", "fspiop-1.1.yaml", "fspiop-2.0.yaml")
OPERATORS_FILES: Final = ("central-ledger-admin.json", "als-admin.yaml", "oracle-1.0.yaml", "settlement-2.0.json")
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same in C where there is one: the files are long."""

LETTERS: Final = r"^[\w .,'-]{1,128}$"
UNDER: Final = {"oracle-1.0.yaml": "/oracle", "settlement-2.0.json": "/v2"}
"""Where an API lies on the listener, if not at its root."""


@cache
def raw_schema(name: str) -> dict[str, Any]:
    text = (SPECS / name).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text) if name.endswith("json") else yaml.load(text, LOADER)
    plain: dict[str, Any] = _in_plain_patterns(schema)
    return plain


def _in_plain_patterns(node: Any) -> Any:
    """The schema with patterns that Python's own regular expressions know: Unicode's classes by name are not."""
    if isinstance(node, dict):
        return {
            key: LETTERS if key == "pattern" and "\\p{" in str(value) else _in_plain_patterns(value)
            for key, value in node.items()
        }
    return [_in_plain_patterns(each) for each in node] if isinstance(node, list) else node


@cache
def loaded(name: str) -> Any:
    """The schema as schemathesis has it."""
    return schemathesis.openapi.from_dict(raw_schema(name))


@cache
def cases(name: str, method: str, path: str) -> Any:
    """The requests of an operation: to work them out from the schema takes longer than to make a few."""
    return loaded(name)[path][method].as_strategy()


def operations(names: tuple[str, ...]) -> list[Any]:
    """One parameter for each operation of these files."""
    return [
        pytest.param(name, method, path, id=f"{name.rpartition('.')[0]}-{method.upper()}-{path}")
        for name in names
        if (SPECS / name).exists()
        for path, each in raw_schema(name)["paths"].items()
        for method in each
        if method in METHODS
    ] or [pytest.param("", "", "", marks=pytest.mark.skip("no OpenAPI files: set VUKA_SPECS to their directory"))]


class Target:
    """A running hub with two participants whose own servers are away."""

    def __init__(self, participants_url: str, operators_url: str) -> None:
        self.participants_url = participants_url
        self.operators_url = operators_url
        self.session = requests.Session()
        self.session.trust_env = False

    def do(self, method: str, path: str, body: object) -> None:
        answer = self.session.request(method, self.operators_url + path, json=body, timeout=ANSWER_SECONDS_MAX)
        assert answer.ok, answer.text


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("fuzz")
    config = load(None, {}, data_dir=str(directory))
    found(config, "Fuzz", ["USD"])
    with hub_process(directory, environment={"VUKA_LOG_LEVEL": "error"}) as hub:
        target = Target(hub.participants_url, hub.operators_url)
        for name in ("payerfsp", "payeefsp"):
            target.do("POST", "/participants", {"name": name, "currency": "USD"})
            limit = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1000}}
            target.do("POST", f"/participants/{name}/initialPositionAndLimits", limit)
        yield target
        health = target.session.get(target.operators_url + "/health", timeout=ANSWER_SECONDS_MAX)
        assert health.json()["status"] == "OK"
    database = Database.open(config.database_path, read_only=True)
    with database.read() as tx:
        report = audit(tx, SqlLedger(tx, 0))
    database.close()
    assert report.differences == []


@st.composite
def right_headers(draw: st.DrawFn, name: str, path: str) -> dict[str, str]:
    """Headers that get past the first checks, so that the rest is reached."""
    version = name.removeprefix("fspiop-").removesuffix(".yaml")
    media = f"application/vnd.interoperability.{path.split('/')[1]}+json;version={version}"
    return {
        "Accept": media,
        "Content-Type": media,
        "Date": format_http_date(now_ms()),
        "FSPIOP-Source": draw(st.sampled_from(("payerfsp", "payeefsp", "nobody"))),
        "FSPIOP-Destination": draw(st.sampled_from(("payerfsp", "payeefsp", "nobody"))),
    }


def attack(
    target: Target,
    name: str,
    method: str,
    path: str,
    *,
    base_url: str,
    headers: st.SearchStrategy[dict[str, str]],
    examples: int,
    fresh: bool,
    judge: Callable[[requests.Response, str], None],
) -> None:
    """Sends so many requests of one operation and judges each answer."""

    @settings(
        max_examples=examples,
        derandomize=not fresh,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(name, method, path), headers)
    def one(case: schemathesis.Case, added: dict[str, str]) -> None:
        answer = case.call(base_url=base_url, session=target.session, headers=added or None, timeout=ANSWER_SECONDS_MAX)
        judge(requests_response(answer), path)

    one()


def requests_response(answer: Any) -> requests.Response:
    """What schemathesis wraps an answer in has the same fields that are read here."""
    response: requests.Response = answer
    return response


def is_no_defect(answer: requests.Response, path: str) -> None:
    """No 5xx but those that are documented and mean what they say."""
    allowed = {501} if path in {template for _, template in (*NOT_SERVED, *NEVER_RECEIVED)} else set()
    assert answer.status_code < 500 or answer.status_code in allowed, (answer.status_code, answer.content)
    if answer.status_code >= 400:
        information = json.loads(answer.content)["errorInformation"]
        assert 1 <= len(information["errorDescription"]) <= 128
        assert len(information["errorCode"]) == 4


def is_documented_for_operators(answer: requests.Response, path: str) -> None:
    """The reference says 500 with code 2001 for many an operator's mistake; nothing else may be a 5xx."""
    if answer.status_code >= 500:
        information = json.loads(answer.content)["errorInformation"]
        assert information["errorCode"] == "2001"
        assert information["errorDescription"] != "Internal server error", (path, answer.content)


none = st.just(dict[str, str]())


@pytest.mark.parametrize(("name", "method", "path"), operations(PARTICIPANTS_FILES))
def test_no_request_of_a_participant_finds_a_defect(target: Target, name: str, method: str, path: str) -> None:
    for headers in (none, right_headers(name, path)):
        attack(
            target,
            name,
            method,
            path,
            base_url=target.participants_url,
            headers=headers,
            examples=EXAMPLES,
            fresh=False,
            judge=is_no_defect,
        )


@pytest.mark.parametrize(("name", "method", "path"), operations(OPERATORS_FILES))
def test_no_request_of_an_operator_finds_a_defect(target: Target, name: str, method: str, path: str) -> None:
    attack(
        target,
        name,
        method,
        path,
        base_url=target.operators_url + UNDER.get(name, ""),
        headers=none,
        examples=EXAMPLES,
        fresh=False,
        judge=is_documented_for_operators,
    )


@pytest.mark.soak
@pytest.mark.parametrize(("name", "method", "path"), operations((*PARTICIPANTS_FILES, *OPERATORS_FILES)))
def test_no_request_finds_a_defect_in_a_long_run(target: Target, name: str, method: str, path: str) -> None:
    is_participants = name in PARTICIPANTS_FILES
    attack(
        target,
        name,
        method,
        path,
        base_url=target.participants_url if is_participants else target.operators_url + UNDER.get(name, ""),
        headers=st.one_of(none, right_headers(name, path)) if is_participants else none,
        examples=EXAMPLES_LONG,
        fresh=True,
        judge=is_no_defect if is_participants else is_documented_for_operators,
    )
