"""The capacity model: its arithmetic, its refusals, and that docs/scaling.md shows what it prints."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from tests.deploy.files import ROOT

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def capacity() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_capacity", ROOT / "benchmarks" / "capacity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _need(capacity: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    capacity.main([*arguments, "--json"])
    (found,) = json.loads(capsys.readouterr().out)["needs"]
    assert isinstance(found, dict)
    return found


def test_the_page_shows_what_the_script_prints(capacity: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main([])
    (shown,) = re.findall(r"<!-- python benchmarks/capacity.py -->\n(.*)<!-- end -->", PAGE, re.S)
    assert shown == capsys.readouterr().out


def test_the_page_names_the_costs_that_the_script_multiplies(capacity: ModuleType) -> None:
    costs = capacity.costs_of(capacity._arguments([]))
    for figure in (
        "650 µs",
        "270 µs",
        "46 µs",
        "9 µs",
        "39 µs",
        "104 µs",
        "4,620 µs",
        "7,263 bytes",
        "400 bytes",
        "5,455 bytes",
    ):
        assert figure in PAGE
    assert (costs.hub_cpu_us, costs.database_cpu_us) == (650, 270)
    assert (costs.signature_cpu_us, costs.tls_cpu_us) == (46, 9)
    assert (costs.tigerbeetle_cpu_us, costs.decide_us, costs.commit_us) == (39, 104, 4_620)
    assert (costs.disk_bytes, costs.tigerbeetle_bytes, costs.network_bytes) == (7_263, 400, 5_455)


def test_the_scripts_defaults_are_those_of_the_hub(capacity: ModuleType) -> None:
    from vuka.config import Config

    given, hub = capacity._arguments([]), Config()
    assert given.batch_max == hub.engine.batch_max
    assert given.in_flight_max == hub.courier.in_flight_max
    assert given.retention_days == hub.journal.retention_days


def test_cores_disk_and_network_are_what_one_payment_costs_times_how_many(
    capacity: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = ("--hub-cpu-us", "500", "--database-cpu-us", "200", "--disk-bytes", "1000", "--network-bytes", "2000")
    found = _need(
        capacity, capsys, "--tps", "1000", "--load", "0.5", "--average", "0.5", "--retention-days", "10", *costs
    )
    assert found["hub_cores"] == 1.0
    assert found["hub_processes"] == 2
    assert found["database_cores"] == 0.4
    assert found["disk_bytes_per_day"] == 500 * 86_400 * 1_000
    assert found["disk_bytes_kept"] == 10 * found["disk_bytes_per_day"]
    assert found["records_bytes_per_year"] == 365 * found["disk_bytes_per_day"] / 10
    assert found["network_mbit_per_second"] == 16
    assert found["connections"] == 2 * 50 * 32


def test_signatures_and_tls_cost_cores(capacity: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    plain = _need(capacity, capsys, "--tps", "1000", "--load", "1")["hub_cores"]
    both = _need(capacity, capsys, "--tps", "1000", "--load", "1", "--jws", "--tls")["hub_cores"]
    assert both - plain == pytest.approx((2 * 46 + 5 * 9) / 1_000)


def test_the_writer_bounds_all_hubs_together(capacity: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    costs = ("--decide-us", "90", "--commit-us", "5000", "--batch-max", "500")
    found = _need(capacity, capsys, "--tps", "10000", *costs)
    assert found["writer_tps_max"] == 5_000
    assert found["writer_load"] == 2
    with_quotes = _need(capacity, capsys, "--tps", "10000", "--scenario", "payment", *costs)
    assert with_quotes["writer_tps_max"] == 2_500


def test_what_was_not_measured_is_not_guessed(capacity: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    found = _need(capacity, capsys, "--tps", "100", "--scenario", "payment")
    assert found["database_cores"] is None
    capacity.main(["--tps", "100", "--scenario", "payment"])
    assert "| cores of PostgreSQL | not measured yet |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tps", "0"), "--tps must be more than 0, not 0"),
        (("--participants", "-1"), "--participants must be more than 0, not -1"),
        (("--load", "1.5"), "--load must be more than 0 and at most 1, not 1.5"),
        (("--average", "0"), "--average must be more than 0 and at most 1, not 0"),
        (("--disk-bytes", "-5"), "--disk-bytes must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused(
    capacity: ModuleType, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit):
        capacity.main(arguments)
    assert said in capsys.readouterr().err


def test_measured_throughput_stands_in_one_table_and_each_row_has_its_command() -> None:
    (table,) = re.findall(r"^## Measured throughput of each stage\n.*?\n(\|.*?)\n\n", PAGE, re.S | re.M)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    assert {row[0] for row in rows} == {"1", "2", "3", "4"}
    for stage, command, figure, *_ in rows:
        if command.startswith("`"):
            assert figure, (stage, command)
            program = re.match(r"`(?:python )?([^\s`]+)", command)
            assert program is not None
            assert program[1] == "vuka" or Path(ROOT / program[1]).exists()


def test_every_alarm_is_on_the_page_about_deployment() -> None:
    from tests.deploy.files import rules

    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    named = re.findall(r"`(Vuka[A-Z]\w+)`", page)
    assert sorted(named) == sorted(rule["alert"] for rule in rules())
    for rule in rules():
        (row,) = (line for line in page.splitlines() if f"`{rule['alert']}`" in line)
        assert rule["labels"]["severity"] in row
