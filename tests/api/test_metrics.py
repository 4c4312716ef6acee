"""What the hub measures of itself: what is counted, when, and that nobody outside can make it grow."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests import journalled, stores
from tests.e2e.rig import Rig, answer, encode, running, transfer

from vuka.api.hub import Hub, open_database
from vuka.api.metrics import RESULTS_MAX, Histogram, Metrics
from vuka.api.oracle_client import OracleClient
from vuka.cli.hub import found
from vuka.clock import clock_ms
from vuka.config import Courier, Engine, Oracles, Scheme, load
from vuka.engine.courier import Delivery, DeliveryOutcome, DeliveryReport
from vuka.engine.observed import Committed
from vuka.engine.outbox import Outgoing
from vuka.errors import FspiopError
from vuka.httpclient import Request
from vuka.ids import FspId
from vuka.sim.server import Answer, Server
from vuka.store import WriteTx
from vuka.switch.directory import Oracle
from vuka.switch.lookup import Party
from vuka.switch.transfers import ExpireTransfers
from vuka.switch.work import Ended, Inbound

PAYER, PAYEE = "payerfsp", "payeefsp"
OPERATORS_GUIDE = Path(__file__).parents[2] / "docs" / "operators.md"


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Rig]:
    """A hub that nobody takes part in; what fails is tried again at once."""
    courier = Courier(retry_first_ms=10, retry_max_ms=20, probe_max_ms=20)
    engine = Engine(timer_ms=20, drain_seconds=1)
    async with running(tmp_path, courier=courier, engine=engine, scheme=Scheme(routed_deadline_seconds=1)) as rig:
        yield rig


@pytest.fixture
async def rig(bare: Rig) -> Rig:
    """The same hub with two participants."""
    await bare.join(PAYER)
    await bare.join(PAYEE)
    return bare


async def scrape(rig: Rig) -> dict[str, float]:
    """Every figure by its name with labels, as Prometheus gets it."""
    response = await rig.client.send(Request("GET", f"{rig.addresses.operators_url}/metrics"))
    assert response.status == 200
    return figures(response.body.decode())


def figures(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def until(rig: Rig, name: str, value: float) -> dict[str, float]:
    """The figures as soon as one of them is ``value``: a delivery is over for the participant before it is for us."""
    async with asyncio.timeout(10):
        while (seen := await scrape(rig)).get(name) != value:
            await rig.hub.submit(ExpireTransfers())
    return seen


async def prepare(rig: Rig, **fields: object) -> str:
    """A payment that has reached its payee; its id."""
    body = transfer(PAYER, PAYEE, **fields)  # type: ignore[arg-type]
    response = await rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=encode(body))
    assert response.status == 202
    transfer_id: str = body["transferId"]
    return transfer_id


# --- what is counted --------------------------------------------------------------------------------------------


async def test_a_payment_is_counted_when_it_has_ended_and_timed_when_the_payer_knows(rig: Rig) -> None:
    transfer_id = await prepare(rig)
    await rig.participants[PAYEE].one("POST", "/transfers")
    before = await scrape(rig)
    assert "vuka_transfers_total{kind=PAYMENT,state=COMMITTED}" not in before
    path = f"/transfers/{transfer_id}"
    await rig.send("PUT", path, PAYEE, destination=PAYER, body=encode(answer("COMMITTED")))
    seen = await until(rig, "vuka_payment_duration_seconds_count{state=COMMITTED}", 1)
    assert seen["vuka_transfers_total{kind=PAYMENT,state=COMMITTED}"] == 1
    assert seen["vuka_transfers_total{kind=FUNDS_IN,state=COMMITTED}"] == 2
    assert 0 < seen["vuka_payment_duration_seconds_sum{state=COMMITTED}"] < 10


async def test_a_payment_that_expires_is_counted_as_expired_and_both_sides_are_told_3303(rig: Rig) -> None:
    await prepare(rig, seconds=0.2)
    seen = await until(rig, "vuka_payment_duration_seconds_count{state=EXPIRED_RESERVED}", 1)
    assert seen["vuka_transfers_total{kind=PAYMENT,state=EXPIRED_RESERVED}"] == 1
    assert seen["vuka_error_callbacks_total{code=3303}"] == 2


async def test_a_payment_that_is_refused_for_want_of_funds_is_counted_by_its_code(rig: Rig) -> None:
    await prepare(rig, amount="999999999")
    seen = await until(rig, "vuka_payment_duration_seconds_count{state=ABORTED_REJECTED}", 1)
    assert seen["vuka_transfers_total{kind=PAYMENT,state=ABORTED_REJECTED}"] == 1
    assert seen["vuka_error_callbacks_total{code=4001}"] == 1


async def test_a_request_again_is_no_other_payment(rig: Rig) -> None:
    transfer_id = await prepare(rig, seconds=0.1)
    await until(rig, "vuka_payment_duration_seconds_count{state=EXPIRED_RESERVED}", 1)
    payer = rig.participants[PAYER]
    payer.got.clear()
    await rig.send("GET", f"/transfers/{transfer_id}", PAYER, destination=PAYEE)
    await payer.one("PUT", f"/transfers/{transfer_id}")
    seen = await scrape(rig)
    assert seen["vuka_transfers_total{kind=PAYMENT,state=EXPIRED_RESERVED}"] == 1
    assert seen["vuka_payment_duration_seconds_count{state=EXPIRED_RESERVED}"] == 1


async def test_requests_are_counted_by_their_answer_and_timed_by_who_sent_them(rig: Rig) -> None:
    await prepare(rig)
    await rig.send("POST", "/transfers", PAYER, destination=PAYEE, body=b"{}")
    seen = await scrape(rig)
    assert seen["vuka_requests_total{api=participants,method=POST,resource=transfers,status=202}"] == 1
    assert seen["vuka_requests_total{api=participants,method=POST,resource=transfers,status=400}"] == 1
    assert seen["vuka_error_answers_total{api=participants,code=3102}"] == 1
    timed = "api=participants,method=POST,participant=payerfsp,resource=transfers"
    assert seen[f"vuka_request_duration_seconds_count{{{timed}}}"] == 2
    assert seen["vuka_requests_total{api=operators,method=POST,resource=participants,status=201}"] > 0


async def test_what_an_operator_is_refused_is_counted_too(bare: Rig) -> None:
    code_3200 = "vuka_error_answers_total{api=operators,code=3200}"
    before = (await scrape(bare)).get(code_3200, 0)
    await bare.client.send(Request("GET", f"{bare.addresses.operators_url}/participants/nobody"))
    await bare.client.send(Request("GET", f"{bare.addresses.operators_url}/nothing/here"))
    seen = await scrape(bare)
    assert seen[code_3200] == before + 1
    assert seen["vuka_requests_total{api=operators,method=GET,resource=other,status=404}"] == 1


async def test_deliveries_are_counted_by_participant_and_outcome_and_the_lag_of_those_that_arrive(rig: Rig) -> None:
    payee = rig.participants[PAYEE]
    payee.answer = lambda _inquiry: Answer(503 if len(payee.got) == 1 else 202)
    await prepare(rig)
    seen = await until(rig, "vuka_delivery_attempts_total{outcome=delivered,participant=payeefsp}", 1)
    assert seen["vuka_delivery_attempts_total{outcome=retrying,participant=payeefsp}"] == 1
    assert seen["vuka_delivery_lag_seconds_count{participant=payeefsp}"] == 1
    assert seen["vuka_delivery_lag_seconds_sum{participant=payeefsp}"] >= 0.005, "the retry is a part of it"


async def test_parked_messages_are_counted_until_they_are_sent_again(rig: Rig) -> None:
    rig.participants[PAYEE].answer = lambda _inquiry: Answer(400)
    await prepare(rig)
    await until(rig, "vuka_parked_messages{participant=payeefsp}", 1)
    (parked,) = await rig.operator.do("GET", "/messages/parked")
    rig.participants[PAYEE].answer = lambda _inquiry: Answer(202)
    await rig.operator.do("POST", f"/messages/{parked['messageId']}/resend")
    seen = await until(rig, "vuka_delivery_attempts_total{outcome=delivered,participant=payeefsp}", 1)
    assert seen["vuka_delivery_attempts_total{outcome=parked,participant=payeefsp}"] == 1
    assert seen.get("vuka_parked_messages{participant=payeefsp}", 0) == 0


async def test_a_participant_that_keeps_failing_shows_in_its_queue(rig: Rig) -> None:
    rig.participants[PAYEE].answer = lambda _inquiry: Answer(503)
    for _ in range(7):
        await prepare(rig)
    seen = await until(rig, "vuka_delivery_probing{participant=payeefsp}", 1)
    waiting = ("queued", "in_flight", "retrying")
    assert sum(seen[f"vuka_delivery_{each}_messages{{participant=payeefsp}}"] for each in waiting) == 7


async def test_batches_are_measured(rig: Rig) -> None:
    before = await scrape(rig)
    await prepare(rig)
    seen = await scrape(rig)
    for name in ("vuka_batch_commands", "vuka_batch_decide_seconds", "vuka_batch_commit_seconds"):
        assert seen[f"{name}_count"] > before[f"{name}_count"]
    assert seen["vuka_batch_commands_sum"] > before["vuka_batch_commands_sum"]
    assert (seen["vuka_engine_queued_commands"], seen["vuka_batches_failed_total"]) == (0, 0)


async def test_the_program_its_parts_and_its_process_are_told(bare: Rig) -> None:
    seen = await scrape(bare)
    assert [name for name in seen if name.startswith("vuka_build_info{python=")]
    assert (seen["vuka_service_up{service=datastore}"], seen["vuka_service_up{service=broker}"]) == (1, 1)
    assert seen["process_resident_memory_bytes"] > 0


async def test_questions_to_oracles_are_timed_by_what_became_of_them() -> None:
    metrics = Metrics(lambda _name: True)
    client = OracleClient(Oracles(timeout_ms=2_000), clock_ms, metrics.oracle_asked)
    server = Server(lambda inquiry: Answer(200, b'{"partyList":[]}') if inquiry.path.endswith("/1") else Answer(404))
    await server.start()
    outside = Oracle(1, "MSISDN", None, server.url, True)
    gone = Oracle(2, "EMAIL", None, "http://127.0.0.1:1", True)
    asked = Inbound(1, "GET", "", (), b"", FspId(PAYER), None, "parties", (), "1.1", "1.1", 0)
    for oracle, identifier in ((outside, "1"), (outside, "2"), (gone, "1")):
        with contextlib.suppress(FspiopError):
            await client.find(oracle, Party(oracle.party_id_type, identifier), "", asked)
    await client.close(0)
    await server.stop()
    counts = {key: histogram.count for key, histogram in metrics._oracle_seconds.items()}
    assert counts == {("MSISDN", "answered"): 1, ("MSISDN", "refused"): 1, ("EMAIL", "failed"): 1}


# --- that it stays small ----------------------------------------------------------------------------------------


async def test_a_stranger_makes_no_figure_of_its_own(bare: Rig) -> None:
    await bare.send("GET", "/parties/MSISDN/1", "stranger")
    known = set(await scrape(bare))
    for number in range(20):
        name = f"x{number}{uuid.uuid4().hex[:8]}"
        await bare.send("GET", f"/parties/MSISDN/{number}", name)
        await bare.send("GET", f"/{name}/{number}", name)
        await bare.client.send(Request(("PURGE", "LOCK")[number % 2], f"{bare.addresses.participants_url}/{name}"))
        await bare.client.send(Request("GET", f"{bare.addresses.operators_url}/{name}"))
    new = set(await scrape(bare)) - known
    assert {name for name in new if "_bucket{" not in name and "_sum{" not in name and "=metrics" not in name} == {
        "vuka_requests_total{api=participants,method=GET,resource=other,status=404}",
        "vuka_requests_total{api=participants,method=other,resource=other,status=404}",
        "vuka_requests_total{api=operators,method=GET,resource=other,status=404}",
        "vuka_error_answers_total{api=participants,code=3002}",
        "vuka_error_answers_total{api=operators,code=3002}",
        "vuka_request_duration_seconds_count{api=participants,method=GET,participant=,resource=other}",
        "vuka_request_duration_seconds_count{api=participants,method=other,participant=,resource=other}",
        "vuka_request_duration_seconds_count{api=operators,method=GET,participant=,resource=other}",
    }


def _report(to: str, outcome: DeliveryOutcome, message_id: int = 1) -> DeliveryReport:
    delivery = Delivery(message_id, to, "PUT", [], None, 10**15, True, owed_ms=1_000)
    return DeliveryReport(delivery=delivery, outcome=outcome, status=None, error=None, attempts=1, at_ms=1_250)


def test_a_delivery_to_one_who_is_no_participant_is_other() -> None:
    metrics = Metrics(lambda name: name == PAYEE)
    for name in (PAYEE, "x1", "x2"):
        metrics.attempted(_report(name, DeliveryOutcome.DELIVERED))
    assert {name: each.delivered for name, each in metrics._deliveries.items()} == {PAYEE: 1, "other": 2}


def test_a_code_that_the_scheme_does_not_define_is_other() -> None:
    metrics = Metrics(lambda _name: True)
    for code in ("5104", "5199", "x"):
        metrics.request("participants", "quotes", "GET", "", 400, code, 0.1)
    assert dict(metrics._error_answers) == {("participants", "5104"): 1, ("participants", "other"): 2}


def _ended(number: int) -> Ended:
    payer, payee = FspId(PAYER), FspId("payee")
    return Ended(str(number), "PAYMENT", "COMMITTED", payer, 1_000, bytes(16), payee, "USD", 10_000, 2_000, None)


def _result(number: int) -> Committed:
    target = journalled.target("transfers", str(number), method="PUT", to=PAYER)
    outgoing = Outgoing(Delivery(number, PAYER, "PUT", [], None, 10**15, True), target)
    return Committed(1, (outgoing,), (_ended(number),), 0.0, 0.0)


def test_results_that_nobody_takes_are_not_remembered_for_ever() -> None:
    metrics = Metrics(lambda _name: True)
    for number in range(RESULTS_MAX + 10):
        metrics.committed(_result(number))
    assert len(metrics._results) == RESULTS_MAX
    metrics.attempted(_report(PAYER, DeliveryOutcome.PARKED, RESULTS_MAX))
    assert len(metrics._results) == RESULTS_MAX - 1
    metrics.attempted(_report(PAYER, DeliveryOutcome.DELIVERED, RESULTS_MAX + 1))
    assert metrics._payment_seconds["COMMITTED"].total == 0.25


def test_a_figure_on_a_bound_is_within_it() -> None:
    histogram = Histogram((1, 2))
    for figure in (0.5, 1, 1.5, 2, 2.5):
        histogram.observe(figure)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 4), ("+Inf", 5)]
    assert histogram.total == 7.5


async def test_two_hubs_in_one_process_count_each_for_itself(tmp_path: Path) -> None:
    hubs = []
    for name in ("one", "two"):
        config = load(None, {}, data_dir=str(tmp_path / name))
        found(config, name, ["USD"])
        hubs.append(Hub(config, open_database(config)))
    hubs[0].metrics.request("participants", "quotes", "GET", "", 202, None, 0.1)
    told = []
    for hub in hubs:
        text, _ = await hub.metrics.expose(hub.engine, hub.health(), "")
        told.append(figures(text.decode()))
        hub.database.close()
    name = "vuka_requests_total{api=participants,method=GET,resource=quotes,status=202}"
    assert (told[0].get(name), told[1].get(name)) == (1, None)


# --- how it is told ---------------------------------------------------------------------------------------------


async def test_every_family_has_its_unit_in_its_name_and_its_line_in_the_operators_guide(rig: Rig) -> None:
    await prepare(rig, seconds=0.1)
    await until(rig, "vuka_payment_duration_seconds_count{state=EXPIRED_RESERVED}", 1)
    response = await rig.client.send(Request("GET", f"{rig.addresses.operators_url}/metrics"))
    families = re.findall(r"^# TYPE (vuka_\S+) ", response.body.decode(), re.M)
    assert len(families) > 15
    units = ("_seconds", "_total", "_commands", "_messages", "_info", "_up", "_probing", "_notifications", "_alarms")
    assert [name for name in families if not name.endswith(units)] == []
    guide = OPERATORS_GUIDE.read_text(encoding="utf-8")
    assert [name for name in families if f"| `{name}`" not in guide] == []


async def test_the_format_is_the_one_that_is_asked_for(bare: Rig) -> None:
    url = f"{bare.addresses.operators_url}/metrics"
    plain = await bare.client.send(Request("GET", url))
    assert plain.headers["content-type"].startswith("text/plain; version=")
    accept = [("Accept", "application/openmetrics-text; version=1.0.0")]
    open_metrics = await bare.client.send(Request("GET", url, accept))
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.body.endswith(b"# EOF\n")


async def test_figures_are_told_even_when_the_records_can_not_be_read(
    bare: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_tx: WriteTx, _sql: str, _parameters: object = ()) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(stores.transaction_class(), "query", fails)
    seen = await scrape(bare)
    assert seen["vuka_service_up{service=datastore}"] == 0
    assert not [name for name in seen if name.startswith("vuka_parked_messages")]
