"""Account lookup on a hub of life, with oracles outside it that answer, lie, hang and die.

Every type of identifier is asked of an oracle of its own, as the test wants it: the page shares one hub.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.api.little_oracle import LittleOracle, answering, little_oracle, silent
from tests.e2e.conftest import Wire, fulfilled
from tests.e2e.recorder import code, description, json_of, refusal
from tests.e2e.running import running

from vuka.httpclient import HttpClient, Request
from vuka.sim.server import Answer, Inquiry

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def scheme(directory: Path, **settings: str) -> AsyncIterator[Wire]:
    """A hub whose oracles have little time, and three participants."""
    client = HttpClient(timeout_ms=5_000)
    async with running(directory, **{"ORACLES_TIMEOUT_MS": "400", **settings}) as hub:
        wire = Wire(hub, client)
        await wire.operator.add_hub_accounts("USD")
        for each in wire.all:
            await wire.take_in(each)
        yield wire
        for each in wire.all:
            await each.server.stop()
    await client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    async with scheme(tmp_path_factory.mktemp("hub") / "data") as wire:
        yield wire


async def operate(wire: Wire, method: str, path: str, body: object = None) -> Any:
    """What an operator asks of ``/oracles``."""
    headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
    encoded = None if body is None else msgspec.json.encode(body)
    answer = await wire.client.send(Request(method, wire.hub.operators_url + path, headers, encoded))
    assert answer.status < 300, answer.body
    return json_of(answer.body) if answer.body else None


@asynccontextmanager
async def registered(wire: Wire, url: str, kind: str = "BUSINESS", currency: str | None = None) -> AsyncIterator[int]:
    """An oracle that the hub asks, until the end of the test."""
    currencies = {} if currency is None else {"currency": currency}
    endpoint = {"value": url, "endpointType": "URL"}
    await operate(wire, "POST", "/oracles", {"oracleIdType": kind, "endpoint": endpoint, **currencies})
    number: int = (await operate(wire, "GET", "/oracles"))[-1]["oracleId"]
    try:
        yield number
    finally:
        await operate(wire, "DELETE", f"/oracles/{number}")


@asynccontextmanager
async def oracle_of(wire: Wire, kind: str = "BUSINESS", behaviour: Any = None) -> AsyncIterator[LittleOracle]:
    """An oracle that the hub asks about a type."""
    async with little_oracle(behaviour) as oracle, registered(wire, oracle.url, kind):
        yield oracle


def new_id() -> str:
    return uuid.uuid4().hex


def new_msisdn() -> str:
    return str(uuid.uuid4().int)[:15]


def serving(*names: str, **fields: str) -> list[dict[str, str]]:
    return [{"fspId": name, **fields} for name in names]


async def told(wire: Wire, path: str) -> tuple[str, str]:
    """Code and description of what the payer is told on a path."""
    heard = await wire.payer.heard("PUT", f"{path.partition('?')[0]}/error")
    assert (heard.headers["fspiop-source"], heard.headers["fspiop-destination"]) == ("Hub", wire.payer.name)
    return code(heard.body), description(heard.body)


# --- lookups of an oracle outside the hub -----------------------------------------------------------------------


async def test_a_lookup_is_passed_to_everybody_whom_the_oracle_names(wire: Wire) -> None:
    party = new_id()
    async with oracle_of(wire) as oracle:
        oracle.lists[f"/participants/BUSINESS/{party}"] = serving(wire.payee.name, wire.other.name, wire.payee.name)
        answer = await wire.payer.send("GET", f"/parties/BUSINESS/{party}")
        assert (answer.status, answer.body) == (202, b"")
        for each in (wire.payee, wire.other):
            heard = await each.heard("GET", f"/parties/BUSINESS/{party}")
            assert (heard.headers["fspiop-source"], heard.headers["fspiop-destination"]) == (
                wire.payer.name,
                each.name,
            )
    out = [each for each in await wire.hub.journal(f"BUSINESS/{party}") if each[0] == "out"]
    assert len(out) == 2


async def test_a_request_is_accepted_before_the_oracle_answers(wire: Wire) -> None:
    may_answer = asyncio.Event()

    async def late(_inquiry: Inquiry) -> Answer:
        await may_answer.wait()
        return Answer(200, msgspec.json.encode({"partyList": serving(wire.payee.name)}))

    party = new_id()
    async with oracle_of(wire, behaviour=late):
        assert (await wire.payer.send("GET", f"/parties/BUSINESS/{party}")).status == 202
        may_answer.set()
        await wire.payee.heard("GET", f"/parties/BUSINESS/{party}")


async def test_a_lookup_names_currency_and_sub_identifier_to_the_oracle(wire: Wire) -> None:
    party = new_id()
    asked = f"/participants/BUSINESS/{party}?currency=USD&partySubIdOrType=till"
    async with oracle_of(wire) as oracle:
        oracle.lists[asked] = [
            *serving(wire.payee.name, partySubIdOrType="till"),
            *serving(wire.other.name),
            *serving(wire.other.name, partySubIdOrType="till", currency="KES"),
        ]
        await wire.payer.send("GET", f"/parties/BUSINESS/{party}/till?currency=USD")
        await oracle.heard("GET", asked)
        await wire.payee.heard("GET", f"/parties/BUSINESS/{party}/till")
    out = [each[4] for each in await wire.hub.journal(f"BUSINESS/{party}/till") if each[0] == "out"]
    assert out == [wire.payee.name]


async def test_a_list_of_which_nothing_is_left_is_3200(wire: Wire) -> None:
    path = f"/parties/BUSINESS/{new_id()}"
    async with oracle_of(wire, behaviour=answering(200, {"partyList": serving("payeefsp", partySubIdOrType="till")})):
        await wire.payer.send("GET", path)
        said = "Generic ID not found - Empty oracle partyList, filtered based on callbackEndpointType"
        assert await told(wire, path) == ("3200", said)


async def test_strangers_whom_an_oracle_names_are_passed_over(wire: Wire) -> None:
    path = f"/parties/BUSINESS/{new_id()}"
    async with oracle_of(wire, behaviour=answering(200, {"partyList": serving("stranger", "payeefsp")})):
        await wire.payer.send("GET", path)
        await wire.payee.heard("GET", path)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param(answering(200, {"partyList": []}), "3204", id="nobody"),
        pytest.param(answering(200, {"partyList": serving("stranger")}), "3204", id="strangers"),
        pytest.param(answering(200, b"<garbage>"), "3204", id="garbage"),
        pytest.param(answering(400), "3204", id="400"),
        pytest.param(answering(404), "3201", id="404"),
        pytest.param(answering(500), "1001", id="500"),
        pytest.param(silent, "1001", id="never"),
    ],
)
async def test_whatever_an_oracle_does_the_requester_is_told(wire: Wire, behaviour: Any, expected: str) -> None:
    party = new_id()
    async with oracle_of(wire, behaviour=behaviour):
        for resource in ("parties", "participants"):
            path = f"/{resource}/BUSINESS/{party}"
            assert (await wire.payer.send("GET", path)).status == 202
            assert (await told(wire, path))[0] == expected


async def test_an_oracle_that_is_down_is_1001(wire: Wire) -> None:
    path = f"/parties/BUSINESS/{new_id()}"
    async with registered(wire, "http://127.0.0.1:1"):
        await wire.payer.send("GET", path)
        said = "Destination communication error - the oracle for BUSINESS does not answer"
        assert await told(wire, path) == ("1001", said)


async def test_a_dead_oracle_delays_neither_lookups_of_other_types_nor_payments(wire: Wire) -> None:
    async with oracle_of(wire, behaviour=silent) as dead, oracle_of(wire, "DEVICE") as living:
        stuck = f"/parties/BUSINESS/{new_id()}"
        await wire.payer.send("GET", stuck)
        await dead.heard("GET", stuck.replace("/parties", "/participants"))
        device, msisdn = new_id(), new_msisdn()
        living.lists[f"/participants/DEVICE/{device}"] = serving(wire.payee.name)
        await wire.serve(wire.payee, "MSISDN", msisdn)
        for path in (f"/parties/DEVICE/{device}", f"/parties/MSISDN/{msisdn}"):
            await wire.payer.send("GET", path)
            await wire.payee.heard("GET", path)
        transfer_id = await wire.reserved()
        await wire.payee.send("PUT", f"/transfers/{transfer_id}", fulfilled("COMMITTED"), wire.payer.name)
        await wire.payer.heard("PUT", f"/transfers/{transfer_id}", having=b"COMMITTED")
        assert not [each for each in wire.payer.received if each.path == f"{stuck}/error"]
        assert (await told(wire, stuck))[0] == "1001"


async def test_an_oracle_is_asked_from_its_registration_on_and_until_its_removal(wire: Wire) -> None:
    party = new_id()
    path = f"/participants/ALIAS/{party}"
    await wire.serve(wire.other, "ALIAS", party)
    async with oracle_of(wire, "ALIAS") as oracle:
        oracle.lists[path] = serving(wire.payee.name)
        await wire.payer.send("GET", path)
        assert json_of((await wire.payer.heard("PUT", path)).body) == {"fspId": wire.payee.name}
    await wire.payer.send("GET", path)
    assert json_of((await wire.payer.heard("PUT", path, count=2)).body) == {"fspId": wire.other.name}


async def test_a_currency_has_an_oracle_of_its_own(wire: Wire) -> None:
    party = new_id()
    async with (
        little_oracle(answering(200, {"partyList": serving("payeefsp")})) as usd,
        little_oracle(answering(200, {"partyList": serving("otherfsp")})) as kes,
        registered(wire, usd.url, "DEVICE", "USD"),
        registered(wire, kes.url, "DEVICE", "KES"),
    ):
        path = f"/parties/DEVICE/{party}"
        await wire.payer.send("GET", f"{path}?currency=KES")
        await wire.other.heard("GET", path)
        assert usd.asked == []
        await wire.payer.send("GET", f"{path}?currency=EUR")
        said = "Add Party information error - Oracle type:DEVICE and currency:EUR not found"
        assert await told(wire, path) == ("3003", said)


# --- destinations, types and paths ------------------------------------------------------------------------------


async def test_a_lookup_for_a_destination_asks_no_oracle(wire: Wire) -> None:
    path = f"/parties/BUSINESS/{new_id()}"
    async with oracle_of(wire) as oracle:
        await wire.payer.send("GET", path, None, wire.payee.name)
        await wire.payee.heard("GET", path)
        assert oracle.asked == []


async def test_a_lookup_for_a_destination_that_is_none_is_3204(wire: Wire) -> None:
    party = new_id()
    await wire.serve(wire.payee, "ALIAS", party)
    path = f"/parties/ALIAS/{party}"
    await wire.payer.send("GET", path, None, "nobody")
    assert await told(wire, path) == ("3204", "Party not found - nobody is not in this scheme")


@pytest.mark.parametrize(
    ("method", "resource", "expected"),
    [
        ("GET", "parties", ("3003", "Add Party information error - Oracle type:PIGEON not found")),
        ("GET", "participants", ("3003", "Add Party information error - Oracle type:PIGEON not found")),
        ("POST", "participants", ("3003", "Add Party information error - Oracle type:PIGEON not found")),
        ("PUT", "participants", ("3003", "Add Party information error - Oracle type:PIGEON not found")),
        ("DELETE", "participants", ("3040", "Delete Party information error - Oracle type:PIGEON not found")),
    ],
)
async def test_a_type_that_no_oracle_can_know_is_told_by_callback(
    wire: Wire, method: str, resource: str, expected: tuple[str, str]
) -> None:
    path = f"/{resource}/PIGEON/{new_id()}"
    body = {"fspId": wire.payer.name} if method in ("POST", "PUT") else None
    assert (await wire.payer.send(method, path, body)).status == (200 if method == "PUT" else 202)
    assert await told(wire, path) == expected


async def test_an_answer_with_a_malformed_path_is_told_to_its_sender(wire: Wire) -> None:
    path = f"/parties/MSISDN/x{new_id()}"
    party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}
    assert (await wire.payer.send("PUT", path, party, wire.payee.name)).status == 200
    assert (await told(wire, path))[0] == "3101"


@pytest.mark.parametrize(
    ("method", "expected"), [("GET", (400, "3200")), ("POST", (400, "3200")), ("DELETE", (400, "3200"))]
)
async def test_who_is_no_participant_asks_about_participants_in_vain(
    wire: Wire, method: str, expected: tuple[int, str]
) -> None:
    body = {"fspId": "nobody"} if method == "POST" else None
    answer = await wire.payer.send(method, "/participants/MSISDN/1", body, fspiop_source="nobody")
    assert (refusal(answer), description(answer.body)) == (expected, "Generic ID not found - Requester FSP not found")


async def test_who_is_no_participant_asks_about_parties_in_vain(wire: Wire) -> None:
    answer = await wire.payer.send("GET", "/parties/MSISDN/1", fspiop_source="nobody")
    assert refusal(answer) == (400, "3101")


# --- registrations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sub_id", ["", "/till"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_registration_is_passed_to_the_oracle_and_confirmed_as_the_reference_does(
    wire: Wire, method: str, sub_id: str
) -> None:
    party = new_id()
    path = f"/participants/BUSINESS/{party}{sub_id}"
    async with oracle_of(wire) as oracle:
        answer = await wire.payer.send(method, path, {"fspId": wire.payer.name, "currency": "USD"})
        assert answer.status == (202 if method == "POST" else 200)
        asked = await oracle.heard(method, f"/participants/BUSINESS/{party}")
        heard = await wire.payer.heard("PUT", path)
    more = {"partySubIdOrType": "till"} if sub_id else {}
    assert json_of(asked.body) == {"fspId": wire.payer.name, "currency": "USD", **more}
    registered_party = {"partyIdType": "BUSINESS", "partyIdentifier": party, "fspId": wire.payer.name, **more}
    assert json_of(heard.body) == {"partyList": [registered_party], "currency": "USD"}
    assert heard.headers["fspiop-source"] == "Hub"


async def test_a_registration_is_confirmed_to_its_destination(wire: Wire) -> None:
    path = f"/participants/BUSINESS/{new_id()}"
    async with oracle_of(wire):
        await wire.payer.send("POST", path, {"fspId": wire.payer.name}, wire.other.name)
        await wire.other.heard("PUT", path)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param(answering(200), "3003", id="not-created"),
        pytest.param(answering(500), "3003", id="500"),
        pytest.param(silent, "1001", id="never"),
    ],
)
async def test_a_registration_that_an_oracle_does_not_take_is_told(wire: Wire, behaviour: Any, expected: str) -> None:
    path = f"/participants/BUSINESS/{new_id()}"
    async with oracle_of(wire, behaviour=behaviour):
        assert (await wire.payer.send("POST", path, {"fspId": wire.payer.name})).status == 202
        assert (await told(wire, path))[0] == expected


async def test_a_registration_for_another_goes_to_no_oracle(wire: Wire) -> None:
    path = f"/participants/BUSINESS/{new_id()}"
    async with oracle_of(wire) as oracle:
        await wire.payer.send("POST", path, {"fspId": wire.payee.name})
        said = "Add Party information error - payerfsp can't register a party for payeefsp"
        assert await told(wire, path) == ("3003", said)
        assert oracle.asked == []


@pytest.mark.parametrize("sub_id", ["", "/till"])
async def test_a_removal_is_passed_to_the_oracle_and_confirmed(wire: Wire, sub_id: str) -> None:
    party = new_id()
    path = f"/participants/BUSINESS/{party}"
    async with oracle_of(wire) as oracle:
        more = {"partySubIdOrType": "till"} if sub_id else {}
        oracle.lists[path + ("?partySubIdOrType=till" if sub_id else "")] = serving(wire.payer.name, **more)
        assert (await wire.payer.send("DELETE", path + sub_id)).status == 202
        await oracle.heard("DELETE", path + sub_id)
        assert json_of((await wire.payer.heard("PUT", path + sub_id)).body) == {"fspId": wire.payer.name}


async def test_a_removal_of_anothers_party_is_3040(wire: Wire) -> None:
    party = new_id()
    path = f"/participants/BUSINESS/{party}"
    async with oracle_of(wire) as oracle:
        oracle.lists[path] = serving(wire.payee.name)
        await wire.payer.send("DELETE", path)
        said = f"The party BUSINESS:{party} does not belong to the requesting FSP"
        assert await told(wire, path) == ("3040", f"Delete Party information error - {said}"[:128])
        assert [method for method, _ in oracle.paths()] == ["GET"]


async def test_the_parties_of_a_batch_go_to_the_oracles_of_their_types(wire: Wire) -> None:
    request_id, device = str(uuid.uuid4()), new_id()
    parties = [
        {"partyIdType": "ALIAS", "partyIdentifier": new_id(), "fspId": wire.payer.name},
        {"partyIdType": "BUSINESS", "partyIdentifier": new_id(), "fspId": wire.payer.name},
        {"partyIdType": "DEVICE", "partyIdentifier": device, "fspId": wire.payer.name},
        {"partyIdType": "BUSINESS", "partyIdentifier": new_id(), "fspId": wire.payee.name},
        {"partyIdType": "PERSONAL_ID", "partyIdentifier": new_id(), "fspId": wire.payer.name},
    ]
    error = {"errorCode": "3003", "errorDescription": "Add Party information error - known already"}
    refusing = answering(201, {"partyList": [{"partyId": parties[2], "errorInformation": error}]})
    async with (
        oracle_of(wire) as business,
        oracle_of(wire, "DEVICE", refusing),
        registered(wire, "http://127.0.0.1:1", "PERSONAL_ID"),
    ):
        answer = await wire.payer.send(
            "POST", "/participants", {"requestId": request_id, "partyList": parties, "currency": "USD"}
        )
        assert (answer.status, answer.body) == (200, b"")
        heard = await wire.payer.heard("PUT", f"/participants/{request_id}")
        sent = json_of((await business.heard("POST", "/participants")).body)
    assert [each["partyIdentifier"] for each in sent["partyList"]] == [parties[1]["partyIdentifier"]]
    result = json_of(heard.body)
    assert ([each["partyId"] for each in result["partyList"]], result["currency"]) == (parties, "USD")
    told = [each.get("errorInformation", {}) for each in result["partyList"]]
    assert [each.get("errorCode") for each in told] == [None, None, "3003", "3204", "3003"]
    assert told[2]["errorDescription"] == error["errorDescription"]
    assert told[2]["extensionList"] == {"extension": [{"key": "DEVICE", "value": device}]}
    path = f"/participants/ALIAS/{parties[0]['partyIdentifier']}"
    await wire.payer.send("GET", path)
    assert json_of((await wire.payer.heard("PUT", path)).body) == {"fspId": wire.payer.name}


# --- one hub's oracle as another's ------------------------------------------------------------------------------


async def test_one_hubs_oracle_serves_another(wire: Wire, tmp_path: Path) -> None:
    async with (
        running(tmp_path / "data") as elsewhere,
        registered(wire, f"{elsewhere.operators_url}/oracle", "DEVICE"),
    ):
        party, batched, request_id = new_id(), new_id(), str(uuid.uuid4())
        path = f"/participants/DEVICE/{party}"
        for each in (path, f"{path}/till"):
            await wire.payee.send("POST", each, {"fspId": wire.payee.name, "currency": "USD"})
            await wire.payee.heard("PUT", each)
            await wire.payer.send("GET", each.replace("participants", "parties"))
            await wire.payee.heard("GET", each.replace("participants", "parties"))
        info = {"partyIdType": "DEVICE", "partyIdentifier": batched, "fspId": wire.payee.name}
        await wire.payee.send("POST", "/participants", {"requestId": request_id, "partyList": [info]})
        result = json_of((await wire.payee.heard("PUT", f"/participants/{request_id}")).body)
        assert result == {"partyList": [{"partyId": info}]}
        await wire.payee.send("DELETE", path)
        await wire.payee.heard("PUT", path, count=2)
        await wire.payer.send("GET", path)
        assert await told(wire, path) == ("3204", "Party not found")
        await wire.payer.send("GET", f"{path}/till")
        assert json_of((await wire.payer.heard("PUT", f"{path}/till")).body) == {"fspId": wire.payee.name}
        (health,) = await operate(wire, "GET", "/oracles/health")
        assert (health["status"], health["httpStatus"]) == ("OK", 200)


# --- health -----------------------------------------------------------------------------------------------------


async def test_an_oracle_that_is_down_is_shown_and_the_hub_is_well(wire: Wire) -> None:
    async with oracle_of(wire) as oracle, registered(wire, "http://127.0.0.1:1", "DEVICE") as down:
        oracle.behaviour = answering(200)
        found = {each["oracleId"]: each for each in await operate(wire, "GET", "/oracles/health")}
        assert (found[down]["status"], found[down]["error"]) == ("DOWN", "connection refused")
        assert [each["status"] for number, each in found.items() if number != down] == ["OK"]
        assert (await operate(wire, "GET", "/health"))["status"] == "OK"


# --- hubs with settings of their own ----------------------------------------------------------------------------


async def test_a_question_too_many_for_an_oracle_is_refused_before_it_is_accepted(tmp_path: Path) -> None:
    async with (
        scheme(tmp_path / "data", ORACLES_IN_FLIGHT_MAX="1") as wire,
        oracle_of(wire, behaviour=silent),
        oracle_of(wire, "DEVICE") as living,
    ):
        first = f"/parties/BUSINESS/{new_id()}"
        await wire.payer.send("GET", first)
        answer = await wire.payer.send("GET", f"/parties/BUSINESS/{new_id()}")
        assert (refusal(answer), answer.headers["retry-after"]) == ((503, "2005"), "1")
        device = new_id()
        living.lists[f"/participants/DEVICE/{device}"] = serving(wire.payee.name)
        await wire.payer.send("GET", f"/parties/DEVICE/{device}")
        await wire.payee.heard("GET", f"/parties/DEVICE/{device}")
        assert (await told(wire, first))[0] == "1001"


async def test_answers_are_used_again_until_the_hub_writes(tmp_path: Path) -> None:
    async with scheme(tmp_path / "data", ORACLES_CACHE_MS="60000") as wire, oracle_of(wire) as oracle:
        path = f"/participants/BUSINESS/{new_id()}"
        oracle.lists[path] = serving(wire.payee.name)
        for count in (1, 2):
            await wire.payer.send("GET", path)
            await wire.payer.heard("PUT", path, count=count)
        assert oracle.paths() == [("GET", path)]
        await wire.other.send("PUT", path, {"fspId": wire.other.name})
        await wire.other.heard("PUT", path)
        oracle.lists[path] = serving(wire.other.name)
        await wire.payer.send("GET", path)
        assert json_of((await wire.payer.heard("PUT", path, count=3)).body) == {"fspId": wire.other.name}


async def test_participants_may_register_for_one_another_where_the_scheme_lets_them(tmp_path: Path) -> None:
    async with scheme(tmp_path / "data", SCHEME_PARTIES_BY_OWNER_ONLY="false") as wire, oracle_of(wire) as oracle:
        for kind in ("BUSINESS", "ALIAS"):
            path = f"/participants/{kind}/{new_id()}"
            await wire.payer.send("POST", path, {"fspId": wire.payee.name})
            await wire.payee.heard("PUT", path)
            await wire.payer.send("DELETE", path)
            await wire.payer.heard("PUT", path)
        assert [method for method, _ in oracle.paths()] == ["POST", "DELETE"]


async def test_a_hub_that_stops_tells_whoever_waits_for_an_oracle(tmp_path: Path) -> None:
    settings = {"ENGINE_DRAIN_SECONDS": "1", "ORACLES_TIMEOUT_MS": "60000"}
    async with little_oracle(silent) as oracle:
        client = HttpClient(timeout_ms=5_000)
        async with running(tmp_path / "data", **settings) as hub:
            wire = Wire(hub, client)
            await wire.operator.add_hub_accounts("USD")
            await wire.take_in(wire.payer)
            body = {"oracleIdType": "ALIAS", "endpoint": {"value": oracle.url, "endpointType": "URL"}}
            await operate(wire, "POST", "/oracles", body)
            path = f"/parties/ALIAS/{new_id()}"
            await wire.payer.send("GET", path)
            await oracle.heard("GET", path.replace("/parties", "/participants"))
        assert (await told(wire, path))[0] == "1001"
        await wire.payer.server.stop()
        await client.close()
