"""The benchmark: a short run ends with figures on which everybody agrees; where somebody does not, with none."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psycopg
import pytest
from tests import tigerbeetle
from tests.cli.conftest import refused, vuka
from tests.postgres_server import Server

from vuka.cli.bench import session
from vuka.cli.bench.ledger import LedgerBench
from vuka.cli.bench.plan import ALL_LOADS, Load, make_plan
from vuka.cli.bench.report import Bench
from vuka.cli.bench.verify import HubRecord, disagreements
from vuka.sim.bench import plan
from vuka.sim.bench.plan import Ends, Told
from vuka.switch.records import State

SHORT = ("--runs", "1", "--seconds", "0.4", "--warmup", "0.1", "--participants", "2")

pytestmark = pytest.mark.xdist_group("bench")


def _bench(folder: Path, *arguments: str) -> Bench:
    """A short benchmark's figures, as they are printed and saved."""
    result = vuka("bench", *SHORT, "--output", str(folder / "out"), "--directory", str(folder), "--json", *arguments)
    assert result.exit_code == 0, result.output
    (file,) = (folder / "out").glob("*.json")
    saved = msgspec.json.decode(file.read_bytes(), type=Bench)
    assert msgspec.json.decode(result.stdout, type=Bench) == saved
    return saved


@pytest.mark.parametrize(
    ("scenario", "security"),
    [("clearing", "plain"), ("payment", "plain"), ("payment", "jws+tls"), ("settlement", "tls")],
)
def test_a_short_run_ends_with_agreed_payments_and_every_figure(tmp_path: Path, scenario: str, security: str) -> None:
    loads = ("--concurrency", "4", "--rate", "40")
    bench = _bench(tmp_path, "--scenario", scenario, "--security", security, *loads)
    (cell,) = bench.cells
    assert (cell.scenario, cell.security) == (scenario, security)
    assert [load.name for load in cell.loads] == ["closed, 4 under way", "open, 40/s"]
    closed, open_loop = cell.runs[0].figures
    assert cell.agreed >= closed.report.committed + open_loop.report.committed
    assert open_loop.report.committed == 16, "0.4 seconds at 40 a second"
    assert open_loop.report.refused == closed.report.refused == 0
    for figures in (closed, open_loop):
        report = figures.report
        if not report.committed:
            # A machine that is busy with something else ends nothing in so short a time.
            continue
        assert 0 < report.hub_part.p50_ms <= report.latency.p50_ms <= report.latency.max_ms
        assert set(report.legs) == ({"transfer"} if scenario != "payment" else {"lookup", "quote", "transfer"})
        assert figures.hub_memory_mib > 0
        assert figures.commits_per_transfer > 0
    assert cell.bytes_per_transfer > 0


def test_payees_may_answer_committed_and_the_journal_may_be_off(tmp_path: Path) -> None:
    bench = _bench(
        tmp_path, "--scenario", "clearing", "--security", "plain", "--concurrency", "2", "--committed", "--no-journal"
    )
    assert (bench.answer, bench.journal) == ("COMMITTED", False)
    assert bench.cells[0].agreed > 0


def test_at_a_rate_that_the_hub_cannot_take_every_payment_still_counts(tmp_path: Path) -> None:
    bench = _bench(tmp_path, "--scenario", "clearing", "--security", "plain", "--rate", "2500")
    report = bench.cells[0].runs[0].figures[0].report
    # 0.4 seconds of it, however long they took to end.
    assert report.committed + report.refused + report.not_begun == 1_000


def test_another_hubs_records_and_money_are_neither_used_nor_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VUKA_STORE_URL", "postgresql://127.0.0.1:1/of-life")
    monkeypatch.setenv("VUKA_LEDGER_ENGINE", "tigerbeetle")
    monkeypatch.setenv("VUKA_LEDGER_ADDRESSES", "127.0.0.1:1")
    bench = _bench(tmp_path, "--scenario", "clearing", "--security", "plain", "--concurrency", "2")
    assert bench.cells[0].agreed > 0
    assert not {each for each in bench.environment if "STORE" in each or "LEDGER" in each}


def test_tables_and_pictures_are_for_people(tmp_path: Path) -> None:
    arguments = ("--scenario", "clearing", "--security", "plain", "--concurrency", "2", "--output", str(tmp_path))
    result = vuka("bench", *SHORT, *arguments)
    assert result.exit_code == 0
    for words in ("Clearing: the transfer alone", "transfers/s", "hub's part p99 ms", "bytes on disk a transfer"):
        assert words in result.stdout
    kinds = sorted(each.name.partition("-")[2].partition("Z")[2] for each in tmp_path.iterdir())
    assert kinds == ["-latency-clearing.svg", "-throughput.svg", ".json"]


def test_a_planted_disagreement_reports_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(path: Path) -> Ends:
        ends = plan.read_ends(path)
        ends.told[0].payee_told = "ABORTED"
        return ends

    monkeypatch.setattr(session, "read_ends", lying)
    arguments = (
        "--scenario",
        "clearing",
        "--security",
        "plain",
        "--concurrency",
        "2",
        "--output",
        str(tmp_path / "out"),
    )
    result = vuka("bench", *SHORT, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the hub has COMMITTED, the payee was told ABORTED. No figure is reported." in result.stderr
    assert "/s" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_books_that_do_not_balance_report_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tampered(path: Path) -> Ends:
        with sqlite3.connect(path.parent / "vuka.db") as connection:
            connection.execute("UPDATE ledger_account SET credits_posted = ?", ((12_345).to_bytes(16, "big"),))
        connection.close()
        return plan.read_ends(path)

    monkeypatch.setattr(session, "read_ends", tampered)
    arguments = (
        "--scenario",
        "clearing",
        "--security",
        "plain",
        "--concurrency",
        "2",
        "--output",
        str(tmp_path / "out"),
    )
    result = vuka("bench", *SHORT, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The books do not balance" in result.stderr


AGREED = Told("t", "onefsp", "twofsp", 10, "COMMITTED", "COMMITTED")
RECORD = HubRecord("onefsp", "twofsp", 10, State.COMMITTED)


@pytest.mark.parametrize(
    ("told", "record", "difference"),
    [
        ({}, {}, ""),
        ({"payer_told": "ABORTED", "payee_told": "ABORTED"}, {"state": State.ABORTED_ERROR}, ""),
        ({"payer_told": "ABORTED", "payee_told": ""}, {"state": State.INVALID}, ""),
        ({"payer_told": "REFUSED", "payee_told": ""}, None, ""),
        ({"payer_told": ""}, {}, "the payer was not told its end, the hub has COMMITTED"),
        ({"payer_told": ""}, None, "the payer was not told its end, the hub has nothing"),
        ({"payee_told": ""}, {}, "the hub has COMMITTED, the payee was told nothing"),
        ({"payee_told": "ABORTED"}, {}, "the hub has COMMITTED, the payee was told ABORTED"),
        ({"payer_told": "ABORTED"}, {}, "the hub has COMMITTED, the payer was told ABORTED"),
        ({}, {"state": State.EXPIRED_RESERVED}, "the hub has EXPIRED_RESERVED, the payer was told COMMITTED"),
        ({}, {"state": State.RESERVED}, "it has not ended: the hub has RESERVED, the payer was told COMMITTED"),
        (
            {"payer_told": "ABORTED"},
            {"state": State.ABORTED_ERROR},
            "the hub has ABORTED_ERROR, the payee was told COMMITTED",
        ),
        ({}, None, "the payer was told COMMITTED, the hub does not have it"),
        ({}, {"amount": 11}, "the hub has other parties or another amount"),
        ({}, {"payee": "threefsp"}, "the hub has other parties or another amount"),
        ({"payer_told": "REFUSED", "payee_told": ""}, {}, "the hub refused it, and knows it"),
    ],
)
def test_payer_payee_and_hub_must_agree(
    told: Mapping[str, str], record: Mapping[str, object] | None, difference: str
) -> None:
    one = msgspec.structs.replace(AGREED, **told)
    records = {} if record is None else {"t": msgspec.structs.replace(RECORD, **record)}
    assert disagreements(Ends([one]), records) == ([f"t: {difference}"] if difference else [])


def test_a_second_end_and_a_payment_of_nobody_are_disagreements() -> None:
    assert disagreements(Ends([], ["t: payer told COMMITTED, then ABORTED"]), {}) == [
        "t: payer told COMMITTED, then ABORTED"
    ]
    assert disagreements(Ends([]), {"t": RECORD}) == ["t: the hub has it, and no payer sent it"]


def test_without_wishes_every_scenario_is_measured_under_every_security() -> None:
    cells = make_plan()
    assert len({cell.name for cell in cells}) == len(cells) == 12
    assert cells[0].name == "clearing, plain"
    assert cells[0].loads == ALL_LOADS
    assert all(cell.loads == ALL_LOADS for cell in make_plan(full=True))
    assert [cell.name for cell in make_plan(scenarios=["payment"], securities=["jws", "tls"])] == [
        "payment, jws",
        "payment, tls",
    ]
    wished = (Load(concurrency=3),)
    assert all(cell.loads == wished for cell in make_plan(loads=wished))


def test_a_part_of_the_peak_becomes_a_rate() -> None:
    assert Load(part_of_peak=0.5).shape(1_234.0).rate == 617
    assert Load(part_of_peak=0.5).shape(0.0).rate == 1
    assert Load(concurrency=16).shape(1_234.0).concurrency == 16


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    said = refused("bench", "--scenario", "lending")
    assert said == "lending is no scenario: choose from clearing, payment, settlement."
    assert refused("bench", "--security", "rot13") == "rot13 is no security: choose from plain, jws, tls, jws+tls."


def test_figures_that_cannot_be_saved_say_where_else_to_put_them(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    arguments = ("--scenario", "clearing", "--security", "plain", "--concurrency", "1", "--output", str(taken))
    result = vuka("bench", *SHORT, *arguments)
    assert result.exit_code == 1
    assert "Name another place with --output." in result.stderr


def test_the_ledger_alone_is_measured_by_batch_size_and_phase(tmp_path: Path) -> None:
    arguments = ("--seconds", "0.01", "--runs", "1", "--size", "1", "--size", "10", "--directory", str(tmp_path))
    result = vuka("bench", "ledger", *arguments, "--json")
    assert result.exit_code == 0
    bench = msgspec.json.decode(result.stdout, type=LedgerBench)
    assert {(each.engine, each.two_phase, each.batch) for each in bench.rates} == {
        (engine, two_phase, size)
        for engine in ("embedded, in memory", "embedded, on disk")
        for two_phase in (False, True)
        for size in (1, 10)
    }
    assert all(each.per_second > 0 for each in bench.rates)
    shown = vuka("bench", "ledger", *arguments).stdout
    assert "Transfers a second, single-phase" in shown
    assert "Transfers a second, two-phase" in shown


def _measured(*arguments: str) -> LedgerBench:
    result = vuka("bench", "ledger", "--seconds", "0.01", "--runs", "1", "--size", "10", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout, type=LedgerBench)


def test_the_embedded_ledger_is_measured_on_postgresql_and_leaves_nothing_there(postgresql: Server) -> None:
    rates = _measured("--postgresql", postgresql.url).rates
    assert [each.per_second > 0 for each in rates if each.engine == "embedded, PostgreSQL"] == [True, True]
    with psycopg.connect(postgresql.url) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'vuka_bench%'").fetchall()
    assert found == []


@tigerbeetle.GROUP
def test_a_cluster_is_measured_where_one_is_named() -> None:
    rates = _measured("--tigerbeetle", tigerbeetle.address()).rates
    assert [each.per_second > 0 for each in rates if each.engine == "TigerBeetle"] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--postgresql", "postgresql://127.0.0.1:1/none"), "the database can't be reached"),
        (("--tigerbeetle", "nowhere"), "The ledger's addresses 'nowhere' will not do"),
    ],
)
def test_a_server_that_can_not_be_measured_is_told_and_no_figure_is_shown(
    arguments: tuple[str, ...], said: str
) -> None:
    result = vuka("bench", "ledger", "--seconds", "0.001", "--runs", "1", "--size", "1", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in " ".join(result.stderr.split())
