"""How an oracle outside the hub is asked, what is believed of its answers, and for how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.api.little_oracle import LittleOracle, answering, little_oracle, silent

from vuka.api.oracle_client import BATCH_PARTIES_MAX, OracleClient
from vuka.config import Oracles
from vuka.errors import FspiopError
from vuka.fspiop.messages import PartyIdInfo
from vuka.ids import FspId
from vuka.sim.server import Answer, Inquiry
from vuka.switch.directory import Oracle
from vuka.switch.lookup import OracleEntry, Party
from vuka.switch.work import Inbound

PARTY = Party("MSISDN", "+27713803912")
HOME = Party("MSISDN", "+27713803912", "HOME")
PATH = "/participants/MSISDN/%2B27713803912"
REQUEST_ID = "b51ec534-ee48-4575-b6a9-ead2955b8069"
REFUSED = "3003 Add Party information error"
UNREACHED = "1001 Destination communication error - the oracle for MSISDN does not answer"


class Asking:
    """A client whose clock stands, and the oracle that it asks."""

    def __init__(self, oracle: LittleOracle, **settings: int) -> None:
        self.now_ms = 1_000_000
        self.oracle = oracle
        self.client = OracleClient(Oracles(**{"timeout_ms": 300, **settings}), lambda: self.now_ms)
        self.row = Oracle(1, "MSISDN", None, oracle.url, is_default=False)

    async def find(self, party: Party = PARTY, currency: str = "", **headers: str) -> list[OracleEntry]:
        return await self.client.find(self.row, party, currency, inbound("GET", **headers))

    async def register(self, party: Party = PARTY, currency: str = "", method: str = "POST") -> None:
        await self.client.register(self.row, party, FspId("bank"), currency, inbound(method), method=method)

    async def remove(self, party: Party = PARTY, currency: str = "", only_of: str | None = None) -> None:
        fsp_id = None if only_of is None else FspId(only_of)
        await self.client.remove(self.row, party, currency, inbound("DELETE"), only_of=fsp_id)

    async def register_batch(self, *parties: PartyIdInfo, currency: str = "") -> list[str | None]:
        errors = await self.client.register_batch(self.row, REQUEST_ID, parties, currency, inbound("POST"))
        return [None if each is None else str(each) for each in errors]


def inbound(method: str, *, destination: str | None = None, **headers: str) -> Inbound:
    """A participant's request."""
    usual = {
        "Content-Type": "application/vnd.interoperability.parties+json;version=1.1",
        "Date": "Tue, 24 Nov 2026 02:26:05 GMT",
        "FSPIOP-Source": "payerfsp",
    }
    if destination is not None:
        usual["FSPIOP-Destination"] = destination
    return Inbound(
        message_id=1,
        method=method,
        path="/parties/MSISDN/%2B27713803912",
        headers=tuple({**usual, **headers}.items()),
        body=b"",
        source=FspId("payerfsp"),
        destination=None if destination is None else FspId(destination),
        resource="parties",
        ids=PARTY.ids,
        version="1.1",
        answer_version="1.1",
        received_ms=0,
    )


def entry(fsp: str = "bank", currency: str = "", party: Party = PARTY) -> OracleEntry:
    return OracleEntry(party, FspId(fsp), currency)


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    async with little_oracle() as oracle:
        asking = Asking(oracle)
        yield asking
        await asking.client.close(0)


@pytest_asyncio.fixture
async def keeping() -> AsyncIterator[Asking]:
    """A client that keeps two answers for a second."""
    async with little_oracle() as oracle:
        asking = Asking(oracle, cache_ms=1_000, cache_entries_max=2)
        oracle.behaviour = answering(200, {"partyList": [{"fspId": "bank"}]})
        yield asking
        await asking.client.close(0)


# --- what it is asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("party", "currency", "path"),
    [
        (PARTY, "", PATH),
        (PARTY, "USD", f"{PATH}?currency=USD"),
        (HOME, "", f"{PATH}?partySubIdOrType=HOME"),
        (HOME, "USD", f"{PATH}?currency=USD&partySubIdOrType=HOME"),
        (Party("ALIAS", "shop/4?", "a&b"), "", "/participants/ALIAS/shop%2F4%3F?partySubIdOrType=a%26b"),
    ],
)
async def test_an_oracle_is_asked_by_type_identifier_currency_and_sub_identifier(
    asking: Asking, party: Party, currency: str, path: str
) -> None:
    await asking.find(party, currency)
    assert asking.oracle.paths() == [("GET", path)]


async def test_an_oracle_sees_who_asks_and_the_hub_as_destination(asking: Asking) -> None:
    await asking.find(Accept="application/vnd.interoperability.parties+json;version=1.1", traceparent="00-1-2-01")
    (asked,) = asking.oracle.asked
    shown = {name: asked.headers.get(name) for name in ("fspiop-source", "fspiop-destination", "date", "traceparent")}
    assert shown == {
        "fspiop-source": "payerfsp",
        "fspiop-destination": "Hub",
        "date": "Tue, 24 Nov 2026 02:26:05 GMT",
        "traceparent": "00-1-2-01",
    }
    assert asked.headers["content-type"] == "application/vnd.interoperability.parties+json;version=1.1"
    assert asked.headers["accept"] == "application/vnd.interoperability.parties+json;version=1.1"


async def test_an_oracle_sees_the_destination_that_was_named(asking: Asking) -> None:
    await asking.client.find(asking.row, PARTY, "", inbound("GET", destination="payeefsp"))
    assert asking.oracle.asked[0].headers["fspiop-destination"] == "payeefsp"


async def test_an_oracle_is_shown_no_signature_of_something_else(asking: Asking) -> None:
    await asking.find(**{"FSPIOP-Signature": "of the request to the hub"})
    assert "fspiop-signature" not in asking.oracle.asked[0].headers


# --- what is believed of an answer ------------------------------------------------------------------------------


async def test_what_an_oracle_lists_is_found(asking: Asking) -> None:
    asking.oracle.lists[PATH] = [
        {"fspId": "bank"},
        {"fspId": "bank", "currency": "USD", "partySubIdOrType": "HOME", "more": 1},
        {"fspId": "other", "currency": None, "partySubIdOrType": None},
    ]
    assert await asking.find() == [entry(), entry("bank", "USD", HOME), entry("other")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"<html></html>",
        b"null",
        b"[]",
        b"{}",
        b'{"partyList":{"fspId":"bank"}}',
        b'{"partyList":[]}',
        b"[" * 10_000,
    ],
)
async def test_an_answer_that_makes_no_sense_lists_nothing(asking: Asking, body: bytes) -> None:
    asking.oracle.behaviour = answering(200, body)
    assert await asking.find() == []


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        "bank",
        {},
        {"fspId": None},
        {"fspId": 7},
        {"fspId": ""},
        {"fspId": "x" * 33},
        {"fspId": "bank", "currency": "ZZZ"},
        {"fspId": "bank", "currency": 840},
        {"fspId": "bank", "partySubIdOrType": ["HOME"]},
        {"fspId": "bank", "partySubIdOrType": "x" * 129},
    ],
)
async def test_an_entry_that_makes_no_sense_is_dropped_with_a_line_in_the_log(asking: Asking, garbage: Any) -> None:
    asking.oracle.lists[PATH] = [garbage, {"fspId": "other"}]
    with capture_logs() as lines:
        assert await asking.find() == [entry("other")]
    (line,) = lines
    assert (line["event"], line["dropped"]) == ("entries of an oracle's answer are dropped", 1)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "3204 Party not found"),
        (404, "3201 Destination FSP Error"),
        (302, UNREACHED),
        (403, UNREACHED),
        (500, UNREACHED),
        (503, UNREACHED),
    ],
)
async def test_a_refusal_is_told_by_its_status(asking: Asking, status: int, expected: str) -> None:
    asking.oracle.behaviour = answering(status)
    with pytest.raises(FspiopError) as refusal:
        await asking.find()
    assert str(refusal.value) == expected


async def test_an_oracle_that_is_down_is_1001(asking: Asking) -> None:
    await asking.oracle.server.stop()
    with pytest.raises(FspiopError) as refusal:
        await asking.find()
    assert str(refusal.value) == UNREACHED


async def test_an_oracle_that_never_answers_is_1001_when_its_time_is_over(asking: Asking) -> None:
    asking.oracle.behaviour = silent
    with pytest.raises(FspiopError) as refusal:
        await asking.find()
    assert str(refusal.value) == UNREACHED


async def test_an_answer_that_is_too_large_is_1001(asking: Asking) -> None:
    asking.oracle.behaviour = answering(200, {"partyList": [{"fspId": "bank"}] * 30_000})
    with pytest.raises(FspiopError) as refusal:
        await asking.find()
    assert str(refusal.value) == UNREACHED


# --- registering and removing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("party", "currency", "expected"),
    [
        (PARTY, "", {"fspId": "bank"}),
        (PARTY, "USD", {"fspId": "bank", "currency": "USD"}),
        (HOME, "", {"fspId": "bank", "partySubIdOrType": "HOME"}),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_oracle_is_told_who_serves_a_party(
    asking: Asking, party: Party, currency: str, expected: dict[str, str], method: str
) -> None:
    await asking.register(party, currency, method)
    (asked,) = asking.oracle.asked
    assert (asked.method, asked.path, json.loads(asked.body)) == (method, PATH, expected)


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 200), ("POST", 204), ("POST", 400), ("POST", 500), ("PUT", 400), ("PUT", 404)]
)
async def test_a_registration_that_is_refused_is_3003(asking: Asking, method: str, status: int) -> None:
    asking.oracle.behaviour = answering(status)
    with pytest.raises(FspiopError) as refusal:
        await asking.register(method=method)
    assert str(refusal.value) == REFUSED


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_an_update_that_succeeds_may_say_so_as_it_likes(asking: Asking, status: int) -> None:
    asking.oracle.behaviour = answering(status)
    await asking.register(method="PUT")


@pytest.mark.parametrize(
    ("party", "currency", "path"),
    [(PARTY, "", PATH), (PARTY, "USD", f"{PATH}?currency=USD"), (HOME, "", f"{PATH}/HOME")],
)
async def test_a_removal_names_exactly_what_goes(asking: Asking, party: Party, currency: str, path: str) -> None:
    """The reference leaves the sub-identifier out, and with it the whole party goes."""
    await asking.remove(party, currency)
    assert asking.oracle.paths() == [("DELETE", path)]


async def test_a_removal_by_the_participant_that_serves_the_party_is_passed_on(asking: Asking) -> None:
    asking.oracle.lists[PATH] = [{"fspId": "other"}, {"fspId": "bank"}]
    await asking.remove(only_of="bank")
    assert asking.oracle.paths() == [("GET", PATH), ("DELETE", PATH)]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([], "No participant found for the party"),
        ([{"fspId": "bank", "partySubIdOrType": "HOME"}], "No participant found for the party"),
        ([{"fspId": "other"}], "The party MSISDN:+27713803912 does not belong to the requesting FSP"),
    ],
)
async def test_a_removal_by_somebody_else_is_3040_and_goes_no_further(
    asking: Asking, listed: list[Any], said: str
) -> None:
    asking.oracle.lists[PATH] = listed
    with pytest.raises(FspiopError) as refusal:
        await asking.remove(only_of="bank")
    assert str(refusal.value) == f"3040 Delete Party information error - {said}"
    assert [method for method, _ in asking.oracle.paths()] == ["GET"]


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_removal_that_is_refused_is_3040(asking: Asking, status: int) -> None:
    asking.oracle.behaviour = answering(status)
    with pytest.raises(FspiopError) as refusal:
        await asking.remove()
    assert str(refusal.value) == "3040 Delete Party information error"


async def test_a_change_at_an_oracle_that_is_down_is_1001(asking: Asking) -> None:
    await asking.oracle.server.stop()
    for change in (asking.register(), asking.remove(), asking.remove(only_of="bank")):
        with pytest.raises(FspiopError) as refusal:
            await change
        assert str(refusal.value) == UNREACHED


# --- batches ----------------------------------------------------------------------------------------------------


def info(identifier: str = "1", sub_id: str | None = None) -> PartyIdInfo:
    return PartyIdInfo(party_id_type="MSISDN", party_identifier=identifier, party_sub_id_or_type=sub_id, fsp_id="bank")


def confirming(inquiry: Inquiry) -> Answer:
    """As the reference's oracle confirms a batch."""
    return Answer(201, json.dumps({"partyList": [{"partyId": each} for each in _parties(inquiry)]}).encode())


def _parties(inquiry: Inquiry) -> list[Any]:
    parties: list[Any] = json.loads(inquiry.body)["partyList"]
    return parties


async def test_a_batch_names_its_currency_beside_and_in_each_party(asking: Asking) -> None:
    asking.oracle.behaviour = confirming
    assert await asking.register_batch(info(), info("2", "HOME"), currency="USD") == [None, None]
    (asked,) = asking.oracle.asked
    party = {"partyIdType": "MSISDN", "partyIdentifier": "1", "fspId": "bank", "currency": "USD"}
    assert (asked.method, asked.path) == ("POST", "/participants")
    assert json.loads(asked.body) == {
        "requestId": REQUEST_ID,
        "partyList": [party, {**party, "partyIdentifier": "2", "partySubIdOrType": "HOME"}],
        "currency": "USD",
    }


async def test_a_batch_that_is_created_without_a_word_is_created(asking: Asking) -> None:
    assert await asking.register_batch(info(), info("2")) == [None, None]


async def test_an_error_of_one_party_is_passed_on_in_the_oracles_words(asking: Asking) -> None:
    told = {"errorCode": "3204", "errorDescription": "Party not found - unknown here"}
    said = [
        {"partyId": {"partyIdType": "MSISDN", "partyIdentifier": "2"}, "errorInformation": told},
        {"partyId": {"partyIdType": "MSISDN", "partyIdentifier": "1"}},
    ]
    asking.oracle.behaviour = answering(201, {"partyList": said})
    assert await asking.register_batch(info(), info("2")) == [None, "3204 Party not found - unknown here"]


@pytest.mark.parametrize(
    "said",
    [
        [],
        [None, "x", {}, {"partyId": 1}, {"partyId": {}}, {"partyId": {"partyIdType": "MSISDN", "partyIdentifier": 1}}],
        [{"partyId": {"partyIdType": "ALIAS", "partyIdentifier": "1"}}],
        [{"partyId": {"partyIdType": "MSISDN", "partyIdentifier": "1", "partySubIdOrType": "HOME"}}],
        [{"partyId": {"partyIdType": "MSISDN", "partyIdentifier": "1"}, "errorInformation": {}}],
        [{"partyId": {"partyIdType": "MSISDN", "partyIdentifier": "1"}, "errorInformation": {"errorCode": 3204}}],
    ],
)
async def test_a_party_that_is_not_confirmed_is_3003(asking: Asking, said: list[Any]) -> None:
    asking.oracle.behaviour = answering(201, {"partyList": said})
    assert await asking.register_batch(info()) == [REFUSED]


@pytest.mark.parametrize("behaviour", [answering(400), answering(500), answering(200, b"{")])
async def test_a_batch_that_is_refused_is_3003_for_each(asking: Asking, behaviour: Any) -> None:
    asking.oracle.behaviour = behaviour
    assert await asking.register_batch(info(), info("2")) == [REFUSED, REFUSED]


async def test_a_batch_for_an_oracle_that_is_down_is_3003_and_says_why(asking: Asking) -> None:
    await asking.oracle.server.stop()
    (error,) = await asking.register_batch(info())
    assert error == f"{REFUSED} - Destination communication error - the oracle for MSISDN does not answer"


async def test_a_large_batch_goes_in_portions_whose_answers_can_be_read(asking: Asking) -> None:
    asking.oracle.behaviour = confirming
    parties = [info(str(number)) for number in range(2 * BATCH_PARTIES_MAX + 1)]
    assert await asking.register_batch(*parties) == [None] * len(parties)
    assert [len(_parties(each)) for each in asking.oracle.asked] == [BATCH_PARTIES_MAX, BATCH_PARTIES_MAX, 1]


async def test_a_portion_that_fails_leaves_the_others(asking: Asking) -> None:
    asking.oracle.behaviour = lambda each: Answer(500) if len(_parties(each)) == 1 else confirming(each)
    parties = [info(str(number)) for number in range(BATCH_PARTIES_MAX + 1)]
    assert await asking.register_batch(*parties) == [*[None] * BATCH_PARTIES_MAX, REFUSED]


# --- answers used again -----------------------------------------------------------------------------------------


async def test_without_a_time_to_keep_them_answers_are_not_used_again(asking: Asking) -> None:
    asking.oracle.lists[PATH] = [{"fspId": "bank"}]
    for _ in range(2):
        assert await asking.find() == [entry()]
    assert len(asking.oracle.asked) == 2


async def test_an_answer_is_used_again_until_its_time_is_over(keeping: Asking) -> None:
    for at_ms, asked in ((0, 1), (999, 1), (1_000, 2)):
        keeping.now_ms = 1_000_000 + at_ms
        assert await keeping.find() == [entry()]
        assert len(keeping.oracle.asked) == asked


async def test_an_answer_is_used_again_for_the_same_question_only(keeping: Asking) -> None:
    await keeping.find()
    await keeping.find(currency="USD")
    assert len(keeping.oracle.asked) == 2


async def test_that_nobody_serves_a_party_is_not_kept(keeping: Asking) -> None:
    keeping.oracle.behaviour = None
    for _ in range(2):
        assert await keeping.find() == []
    assert len(keeping.oracle.asked) == 2


async def test_the_oldest_answer_makes_way(keeping: Asking) -> None:
    for identifier in ("1", "2", "3", "2", "1"):
        await keeping.find(Party("MSISDN", identifier))
    assert [path[-1] for _, path in keeping.oracle.paths()] == ["1", "2", "3", "1"]


@pytest.mark.parametrize("change", ["register", "remove", "register_batch"])
async def test_what_the_hub_writes_is_asked_anew(keeping: Asking, change: str) -> None:
    await keeping.find(currency="USD")
    await keeping.find(HOME)
    batch = PartyIdInfo(party_id_type="MSISDN", party_identifier=PARTY.party_identifier, fsp_id="bank")
    await {
        "register": lambda: keeping.register(method="PUT"),
        "remove": keeping.remove,
        "register_batch": lambda: keeping.register_batch(batch),
    }[change]()
    before = len(keeping.oracle.asked)
    await keeping.find(currency="USD")
    await keeping.find(HOME)
    assert len(keeping.oracle.asked) == before + 2


async def test_what_was_asked_while_the_hub_wrote_is_not_kept(keeping: Asking) -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def late(inquiry: Inquiry) -> Answer:
        if inquiry.method == "GET":
            is_asked.set()
            await may_answer.wait()
        return Answer(200, b'{"partyList":[{"fspId":"former"}]}')

    keeping.oracle.behaviour = late
    asked = asyncio.create_task(keeping.find())
    await is_asked.wait()
    await keeping.register(method="PUT")
    may_answer.set()
    assert await asked == [entry("former")]
    keeping.oracle.behaviour = answering(200, {"partyList": [{"fspId": "bank"}]})
    assert await keeping.find() == [entry()]


# --- what is under way ------------------------------------------------------------------------------------------


async def test_an_oracle_with_too_many_questions_is_asked_no_more_but_another_is() -> None:
    async with little_oracle(silent) as oracle:
        asking = Asking(oracle, in_flight_max=1)
        other = Oracle(2, "ALIAS", None, oracle.url, is_default=False)
        may_end = asyncio.Event()
        asking.client.begin([asking.row], lambda: _wait_for(may_end))
        with pytest.raises(FspiopError) as refusal:
            asking.client.begin([other, asking.row], lambda: _wait_for(may_end))
        assert (refusal.value.code, refusal.value.status) == ("2005", 503)
        assert refusal.value.headers == (("Retry-After", "1"),)
        asking.client.begin([other], lambda: _wait_for(may_end))
        may_end.set()
        await asking.client.close(1_000)


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def test_what_has_ended_makes_room(asking: Asking) -> None:
    asking = Asking(asking.oracle, in_flight_max=1)
    for _ in range(2):
        ended = asyncio.Event()

        async def end(ended: asyncio.Event = ended) -> None:
            ended.set()

        asking.client.begin([asking.row], end)
        await ended.wait()
        await asyncio.sleep(0)
    await asking.client.close(0)


async def test_a_client_that_closes_lets_what_is_under_way_end(asking: Asking) -> None:
    told: list[str] = []

    async def ask() -> None:
        told.append(str(len(await asking.find())))

    asking.client.begin([asking.row], ask)
    await asking.client.close(5_000)
    assert told == ["0"]


async def test_a_client_that_closes_ends_what_waits_too_long_with_an_error(asking: Asking) -> None:
    asking.oracle.behaviour = silent
    told: list[str] = []

    async def ask() -> None:
        try:
            await asking.find()
        except FspiopError as error:
            told.append(str(error))

    asking.client.begin([asking.row], ask)
    await asking.oracle.heard("GET", PATH)
    await asking.client.close(0)
    assert told == [UNREACHED]
    with pytest.raises(FspiopError, match="2003"):
        asking.client.begin([asking.row], ask)


# --- health -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "is_up"), [(200, True), (404, True), (500, False)])
async def test_an_oracle_that_answers_is_up_unless_it_says_that_it_fails(
    asking: Asking, status: int, is_up: bool
) -> None:
    asking.oracle.behaviour = answering(status)
    health = await asking.client.check(asking.row)
    assert (health.is_up, health.status, asking.oracle.paths()) == (is_up, status, [("GET", "/health")])


async def test_an_oracle_that_does_not_answer_is_down_and_says_why(asking: Asking) -> None:
    await asking.oracle.server.stop()
    health = await asking.client.check(asking.row)
    assert (health.is_up, health.status, health.error) == (False, None, "connection refused")
