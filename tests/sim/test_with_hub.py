"""Participants with a hub of life beside them: onboarding, the demo's script, and clearing load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from vuka.cli.hub import found
from vuka.cli.process import HubProcess, hub_process
from vuka.config import load as load_config
from vuka.httpclient import HttpClient
from vuka.money import Amount
from vuka.sim.behaviour import Conduct
from vuka.sim.load import Load
from vuka.sim.onboard import Operator, Terms
from vuka.sim.outcomes import read_outcomes
from vuka.sim.participant import PaymentState
from vuka.sim.scenario import CURRENCIES, SCRIPT, Cast, play


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub process without participants, for all tests of this page."""
    data = tmp_path_factory.mktemp("hub")
    found(load_config(None, {}, data_dir=str(data)), "Participants", list(CURRENCIES))
    with hub_process(data) as running:
        yield running


async def _accounts(operator: Operator, name: str) -> dict[tuple[str, str], Any]:
    return {
        (each["ledgerAccountType"], each["currency"]): each["value"]
        for each in await operator.do("GET", f"/participants/{name}/accounts")
    }


async def test_the_script_ends_as_it_says_and_again_on_the_same_hub(hub: HubProcess) -> None:
    quick = [step for step in SCRIPT if step.conduct is None or step.conduct[1] is not Conduct.SILENT]
    for script in (SCRIPT, quick):
        cast = Cast(hub.participants_url, hub.operators_url)
        await cast.start()
        results = [result async for result in play(cast, script)]
        figures = await cast.operator.figures(cast.names)
        await cast.stop()
        assert {result.name: (result.expected, result.outcome) for result in results if not result.ok} == {}
        assert [each.contradictions for each in cast.participants.values()] == [[]] * 4
        # Whatever was sent was received, to the minor unit.
        for currency in CURRENCIES:
            sent = sum(each.sent[currency] for each in cast.participants.values())
            assert sent == sum(each.received[currency] for each in cast.participants.values())
    for (name, currency, kind), value in figures.items():
        assert not (kind == "SETTLEMENT" and value == 0), (name, currency)


async def test_first_funds_are_recorded_once_however_often_onboarding_is_run(
    hub: HubProcess, client: HttpClient
) -> None:
    operator = Operator(client, hub.operators_url)
    terms = {"USD": Terms(net_debit_cap=1_000_000, funds=2_500_000)}
    await operator.add_hub_accounts("USD")
    for _ in range(3):
        await operator.add_participant("again", "http://127.0.0.1:1", terms)
    accounts = await _accounts(operator, "again")
    assert accounts["SETTLEMENT", "USD"] == -250


async def test_onboarding_that_broke_off_is_completed(hub: HubProcess, client: HttpClient) -> None:
    operator = Operator(client, hub.operators_url)
    await operator.add_hub_accounts("USD")
    await operator.do("POST", "/participants", {"name": "halfway", "currency": "USD"})
    await operator.add_participant("halfway", "http://127.0.0.1:1", {"USD": Terms(1_000_000, 2_500_000)})
    assert (await _accounts(operator, "halfway"))["SETTLEMENT", "USD"] == -250
    limits = await operator.do("GET", "/participants/halfway/limits")
    assert [(each["currency"], each["limit"]["value"]) for each in limits] == [("USD", 100)]


@pytest.mark.parametrize("reserve", [True, False], ids=["reserved", "committed"])
async def test_load_sends_exactly_so_many_and_payer_payee_and_hub_agree(
    hub: HubProcess, tmp_path: Path, reserve: bool
) -> None:
    load = Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=3, reserve=reserve)
    await load.start()
    before = [await _accounts(load.operator, each.name) for each in load.participants]
    report = await load.run_count(concurrency=16, count=150, warmup=30)
    after = [await _accounts(load.operator, each.name) for each in load.participants]
    await load.stop()
    assert (report.transfers, report.committed, report.unfinished, report.refused) == (150, 180, 0, 0)
    assert (report.disagreements, report.errors) == ([], {})
    assert 0 < report.p50_ms <= report.p95_ms <= report.p99_ms <= report.p999_ms
    for participant, then, now in zip(load.participants, before, after, strict=True):
        moved = Amount.from_string(f"{now['POSITION', 'USD'] - then['POSITION', 'USD']} USD").minor
        assert moved == load.sent[participant.name] - load.received[participant.name]


async def test_a_transfer_that_the_hub_refuses_is_counted_by_its_code(hub: HubProcess) -> None:
    load = Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=2)
    await load.start()
    await load.operator.do("PUT", f"/participants/{load.participants[0].name}", {"isActive": False})
    report = await load.run_count(concurrency=4, count=10)
    await load.operator.do("PUT", f"/participants/{load.participants[0].name}", {"isActive": True})
    await load.stop()
    assert (report.errors, report.committed, report.unfinished) == ({"3100": 10}, 0, 0)


def test_load_in_a_process_of_its_own_reports_as_json_and_leaves_every_end_on_disk(
    hub: HubProcess, tmp_path: Path
) -> None:
    outcomes = tmp_path / "outcomes.jsonl"
    command = [sys.executable, "-m", "vuka.sim", "--hub", hub.participants_url, "--operators", hub.operators_url]
    options = ["--participants", "2", "--concurrency", "4", "--count", "20", "--outcomes", str(outcomes)]
    run = subprocess.run([*command, *options], capture_output=True, check=True, timeout=30)
    report = json.loads(run.stdout)
    assert (report["transfers"], report["committed"], report["errors"]) == (20, 20, {})
    assert report["cpu_seconds"] > 0
    written = read_outcomes(outcomes)
    payers = {each.transfer_id for each in written if (each.role, each.state) == ("payer", "COMMITTED")}
    payees = {each.transfer_id for each in written if (each.role, each.state) == ("payee", "COMMITTED")}
    assert payers == payees
    assert len(written) == 40


def test_the_cast_in_a_process_of_its_own_is_used_over_http(hub: HubProcess) -> None:
    command = [sys.executable, "-m", "vuka.sim", "--hub", hub.participants_url, "--operators", hub.operators_url]
    with subprocess.Popen([*command, "--cast"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            urls = json.loads(process.stdout.readline())
            wanted = {"from": "254700000001", "to": {"id": "254711000002"}, "amount": "3", "currency": "USD"}
            with httpx.Client(trust_env=False, timeout=10) as client:
                story = client.post(f"{urls['greenbank']}/sim/pay", json=wanted).json()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (story["state"], story["payee"]) == (PaymentState.COMMITTED, "ကောင်းထက်စံ")
