"""Every operation of the participants' API in every version: that it is served, that it succeeds, and its errors.

The OpenAPI files say which operations there are and which statuses each documents. They are the reference's own and no
part of the repository: ``VUKA_SPECS`` names their directory, or they stand beside the checkout in ``shared/specs``.
Where they are absent only the walk over them is skipped: the operations themselves are tested from our own list.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml
from tests.contract.application import InProcess
from tests.contract.operations import NEVER_RECEIVED, NOT_OF_THE_API, NOT_SERVED, SUCCESSES, filled
from tests.e2e.conftest import TERMS, Wire, wire

from vuka.api.fspiop import FspiopApi
from vuka.api.hub import Hub
from vuka.cli.hub import found
from vuka.config import Config, load
from vuka.fspiop.times import format_http_date
from vuka.fspiop.versions import Version
from vuka.sim.onboard import Operator, Terms
from vuka.sim.participant import now_ms
from vuka.store.sqlite import Database

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("every-operation")]

__all__ = ["wire"]

SPECS = Path(os.environ.get("VUKA_SPECS", Path(__file__).parents[3] / "shared" / "specs"))

SINCE = {"fxQuotes": Version.V2_0, "fxTransfers": Version.V2_0, "services": Version.V2_0}
"""The version in which a resource came; the others are as old as FSPIOP."""

NEVER_ANSWERED = frozenset(("403",))
"""In the reference the gateway says it, not the hub: who speaks for another is refused with 400 and 3100."""

METHODS = frozenset(("get", "put", "post", "delete", "patch"))


def documented(version: Version) -> dict[tuple[str, str], list[str]]:
    """The operations of a version's OpenAPI file, each with the statuses that it documents."""
    path = SPECS / f"fspiop-{version.value}.yaml"
    if not path.exists():
        pytest.skip(f"no OpenAPI files: set VUKA_SPECS to a directory that holds {path.name}")
    paths: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["paths"]
    return {
        (method.upper(), template): [str(status) for status in operation["responses"]]
        for template, operations in paths.items()
        for method, operation in operations.items()
        if method in METHODS
    }


def _in_each_version(operations: list[tuple[str, str]]) -> Iterator[Any]:
    for method, template in operations:
        for version in Version:
            if version >= SINCE.get(resource_of(template), Version.V1_0):
                yield pytest.param(version, method, template, id=f"{version.value}-{method}-{template}")


def resource_of(template: str) -> str:
    return template.split("/")[1]


# --- the walk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", list(Version))
async def test_every_operation_of_the_specification_is_tested_or_known_not_to_be_served(version: Version) -> None:
    known = {*SUCCESSES, *NEVER_RECEIVED, *NOT_SERVED, *NOT_OF_THE_API}
    assert [each for each in documented(version) if each not in known] == []


@pytest.mark.parametrize("version", list(Version))
async def test_every_documented_error_is_provoked(version: Version) -> None:
    accounted = {"200", "202", "501", *NEVER_ANSWERED, *(str(status) for status in ERRORS)}
    statuses = {status for documented_ones in documented(version).values() for status in documented_ones}
    assert statuses - accounted == set()


@pytest.mark.parametrize("version", list(Version))
async def test_a_success_is_answered_with_the_documented_status(version: Version) -> None:
    for (method, template), statuses in documented(version).items():
        if (method, template) in SUCCESSES and (method, template) != ("POST", "/participants"):
            assert ("202" if method in ("GET", "POST", "DELETE") else "200") in statuses, (method, template)


# --- success ---------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def joined(wire: Wire) -> Wire:
    """The three participants; the third one has an account in a second currency, as who changes money has."""
    operator: Operator = wire.operator
    await operator.add_hub_accounts("KES")
    await operator.add_participant(
        wire.other.name, wire.other.server.url, {"KES": Terms(TERMS.net_debit_cap, TERMS.funds)}
    )
    for each in wire.all:
        for kind, path in (("FX_QUOTES", ""), ("BULK_QUOTES", "")):
            await wire.point(each, f"FSPIOP_CALLBACK_URL_{kind}", each.server.url + path)
    return wire


@pytest.mark.parametrize(("version", "method", "template"), list(_in_each_version(list(SUCCESSES))))
async def test_an_operation_succeeds(joined: Wire, version: Version, method: str, template: str) -> None:
    for each in joined.all:
        each.version = each.accepts = version.value
    status = await SUCCESSES[method, template](joined)
    if (method, template) == ("POST", "/participants"):
        assert status == 200, "the reference answers 200 and participants rely on it"
    else:
        assert status == (202 if method in ("GET", "POST", "DELETE") else 200)


# --- errors ----------------------------------------------------------------------------------------------------------


class Bare:
    """The application alone, without sockets: an error is decided before anything is accepted."""

    def __init__(self, config: Config, database: Database) -> None:
        self.hub = Hub(config, database)
        self.client = httpx.AsyncClient(transport=InProcess(FspiopApi(self.hub)), base_url="http://hub")
        del self.client.headers["accept"]

    async def send(self, version: Version, method: str, path: str, **changed: str | None) -> httpx.Response:
        """A request of ``payerfsp`` without a body; ``changed`` headers with _ for -, None to leave one out."""
        media = f"application/vnd.interoperability.{resource_of(path)}+json;version={version.value}"
        headers = {
            "content-type": media,
            "accept": media,
            "date": format_http_date(now_ms()),
            "fspiop-source": "payerfsp",
            "fspiop-destination": "payeefsp",
        }
        for name, value in changed.items():
            headers.pop(name.replace("_", "-"))
            if value is not None:
                headers[name.replace("_", "-")] = value
        if method == "PUT":
            headers.pop("accept", None)
        return await self.client.request(method, path, headers=headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Bare]]:
    """A hub that takes anybody at his word, one that wants to see a credential, and one that is stopping."""
    made: dict[str, Bare] = {}
    for name in ("open", "required", "stopping"):
        variables = {"VUKA_PARTICIPANTS_API_AUTHENTICATION": "required" if name == "required" else "source-header"}
        config = load(None, variables, data_dir=str(tmp_path_factory.mktemp(name)))
        found(config, "Test", ["USD"])
        made[name] = Bare(config, Database.open(config.database_path))
        await made[name].hub.start()
        await made[name].hub.submit(create("payerfsp"))
        await made[name].hub.submit(create("payeefsp"))
    await made["stopping"].hub.stop()
    yield made
    for name, each in made.items():
        await each.client.aclose()
        if name != "stopping":
            await each.hub.stop()
        each.hub.database.close()


def create(name: str) -> Any:
    from vuka.ids import FspId
    from vuka.switch.participants import CreateParticipant

    return CreateParticipant(name=FspId(name), currency="USD", is_proxy=False)


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code; whatever is refused is refused with an ErrorInformationObject of at most 128 characters."""
    information = json.loads(answer.content)["errorInformation"]
    assert 1 <= len(information["errorDescription"]) <= 128
    assert answer.headers["content-type"].startswith("application/json")
    return answer.status_code, information["errorCode"]


async def _without_a_date(bare: dict[str, Bare], version: Version, method: str, template: str) -> None:
    answer = await bare["open"].send(version, method, filled(template), date=None)
    assert refused(answer) == (400, "3102")


async def _without_a_credential(bare: dict[str, Bare], version: Version, method: str, template: str) -> None:
    answer = await bare["required"].send(version, method, filled(template))
    assert refused(answer)[0] == 401
    assert "www-authenticate" in answer.headers


async def _of_an_unknown_path(bare: dict[str, Bare], version: Version, method: str, template: str) -> None:
    answer = await bare["open"].send(version, method, filled(template) + "/no/such/path/at/all")
    assert refused(answer) == (404, "3002")


async def _of_another_method(bare: dict[str, Bare], version: Version, method: str, template: str) -> None:
    answer = await bare["open"].send(version, "TRACE", filled(template))
    assert refused(answer) == (405, "3000")
    assert method in answer.headers["allow"].split(", ")


async def _of_an_unknown_version(bare: dict[str, Bare], version: Version, method: str, template: str) -> None:
    media = f"application/vnd.interoperability.{resource_of(template)}+json;version=9.9"
    answer = await bare["open"].send(version, method, filled(template), content_type=media)
    assert refused(answer) == (406, "3001")
    listed = json.loads(answer.content)["errorInformation"]["extensionList"]["extension"]
    assert {f"{each['key']}.{each['value']}" for each in listed} >= {version.value}


async def _of_a_hub_that_stops(bare: dict[str, Bare], version: Version, method: str, template: str) -> None:
    answer = await bare["stopping"].send(version, method, filled(template))
    assert refused(answer) == (503, "2003")
    assert answer.headers["retry-after"].isdigit()


ERRORS = {
    400: _without_a_date,
    401: _without_a_credential,
    404: _of_an_unknown_path,
    405: _of_another_method,
    406: _of_an_unknown_version,
    503: _of_a_hub_that_stops,
}
SERVED = [*SUCCESSES, *sorted(NEVER_RECEIVED)]


@pytest.mark.parametrize("status", list(ERRORS))
@pytest.mark.parametrize(("version", "method", "template"), list(_in_each_version(SERVED)))
async def test_an_operation_is_refused_as_documented(
    bare: dict[str, Bare], version: Version, method: str, template: str, status: int
) -> None:
    await ERRORS[status](bare, version, method, template)


@pytest.mark.parametrize(
    ("version", "method", "template"), list(_in_each_version([*NOT_SERVED, *sorted(NEVER_RECEIVED)]))
)
async def test_what_the_hub_does_not_have_it_says_so(
    bare: dict[str, Bare], version: Version, method: str, template: str
) -> None:
    assert refused(await bare["open"].send(version, method, filled(template))) == (501, "2002")
