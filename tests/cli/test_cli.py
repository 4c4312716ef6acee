"""The command line as its user meets it: in a shell, with a hub or without one, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import vuka as vuka_here

from vuka.cli.process import HubProcess, hub_process
from vuka.store.sqlite import read_only_uri


def vuka(*arguments: str, data: Path | None = None, url: str | None = None, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **variables}
    if data is not None:
        environment["VUKA_DATA_DIR"] = str(data)
    if url is not None:
        environment["VUKA_OPERATORS_URL"] = url
    ended = subprocess.run(
        [sys.executable, "-m", "vuka", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ended.stderr + ended.stdout, ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


def asked(*arguments: str, data: Path | None = None, url: str | None = None) -> tuple[int, str, str]:
    """The same of a command that runs in this process: to start a shell's takes ten times as long as to ask."""
    where = {"VUKA_DATA_DIR": None if data is None else str(data), "VUKA_OPERATORS_URL": url}
    ended = vuka_here(*arguments, environment={name: value for name, value in where.items() if value is not None})
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "hub"
    assert vuka("init", "--name", "Test scheme", "-c", "USD", data=directory)[0] == 0
    return directory


@pytest.fixture(scope="module")
def hub(data: Path) -> Iterator[HubProcess]:
    with hub_process(data) as running:
        yield running


@pytest.fixture(scope="module")
def onboarded(hub: HubProcess) -> str:
    """The operators' URL of a hub with two participants."""
    url = hub.operators_url
    for name, cap in (("greenbank", "1000"), ("pesapay", "500.50")):
        callback = ("--callback", "http://127.0.0.1:1")
        code, said, _ = vuka("participant", "add", name, "-c", "USD", "--cap", cap, *callback, url=url)
        assert (code, said) == (0, f"Added {name} in USD.\n")
    return url


# --- without a hub ----------------------------------------------------------------------------------------------


def test_init_makes_a_hub_once(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    assert vuka("init", "-c", "USD", data=directory)[0] == 0
    assert (directory / "vuka.toml").exists()
    code, _, said = vuka("init", "-c", "USD", data=directory)
    assert (code, "There is a hub in" in said) == (1, True)


def test_init_knows_its_currencies(tmp_path: Path) -> None:
    code, _, said = vuka("init", "-c", "ABC", data=tmp_path / "hub")
    assert (code, "ABC is not a currency" in said) == (1, True)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("command", [("serve",), ("audit",), ("trace", "x")])
def test_a_directory_without_a_hub_is_named_with_what_to_do(tmp_path: Path, command: tuple[str, ...]) -> None:
    code, _, said = vuka(*command, data=tmp_path / "none")
    assert code == 1
    assert "There is no hub in" in said


@pytest.mark.parametrize(
    "command",
    [
        ("participant", "list"),
        ("participant", "show", "x"),
        ("oracle", "find", "MSISDN", "1"),
        ("funds", "in", "x", "1 USD"),
        ("transfer", "show", "x"),
        ("message", "parked"),
        ("message", "queues"),
    ],
)
def test_a_hub_that_does_not_answer_is_named_with_what_to_do(command: tuple[str, ...]) -> None:
    code, _, said = asked(*command, url="http://127.0.0.1:1")
    assert code == 1
    assert "No hub answers at http://127.0.0.1:1" in said


def test_a_wrong_configuration_is_a_sentence(data: Path) -> None:
    code, _, said = vuka("config", data=data, VUKA_ENGINE_BATCH_MAX="many")
    assert (code, "engine.batch_max" in said) == (1, True)


def test_config_prints_what_is_in_force(data: Path) -> None:
    _, said, _ = vuka("config", "--json", data=data, VUKA_ENGINE_BATCH_MAX="7")
    assert json.loads(said)["engine"]["batch_max"] == 7


# --- with one ---------------------------------------------------------------------------------------------------


def test_a_second_hub_on_one_directory_is_refused(hub: HubProcess, data: Path) -> None:
    code, _, said = vuka("serve", data=data, VUKA_PARTICIPANTS_API_PORT="0", VUKA_OPERATORS_API_PORT="0")
    assert (code, "Another hub runs in" in said) == (1, True)


def test_a_port_that_is_taken_is_named(hub: HubProcess, tmp_path: Path) -> None:
    vuka("init", data=tmp_path / "hub")
    port = hub.operators_url.rpartition(":")[2]
    code, _, said = vuka("serve", data=tmp_path / "hub", VUKA_OPERATORS_API_PORT=port, VUKA_PARTICIPANTS_API_PORT="0")
    assert (code, f"can't listen on 127.0.0.1:{port}" in said) == (1, True)


def test_a_participants_limits_and_funds_are_shown_as_the_api_has_them(onboarded: str) -> None:
    assert asked("participant", "limit", "pesapay", "250.25", "-c", "USD", url=onboarded)[0] == 0
    code, said, _ = asked("funds", "in", "pesapay", "600.10 USD", "--reference", "B-1", "--json", url=onboarded)
    assert (code, json.loads(said)["internalState"]) == (0, "COMMITTED")
    _, said, _ = asked("participant", "show", "pesapay", "--json", url=onboarded)
    shown = json.loads(said)
    assert {each["ledgerAccountType"]: each["value"] for each in shown["accounts"]} == {
        "POSITION": 0,
        "SETTLEMENT": -600.1,
    }
    assert shown["limits"][0]["limit"]["value"] == 250.25


def test_a_withdrawal_is_reserved_and_then_committed_or_aborted(onboarded: str) -> None:
    asked("funds", "in", "greenbank", "100 USD", url=onboarded)
    for end, state in (("commit", "COMMITTED"), ("abort", "ABORTED_REJECTED")):
        _, said, _ = asked("funds", "out", "greenbank", "10 USD", "--json", url=onboarded)
        reserved = json.loads(said)
        assert reserved["internalState"] == "RESERVED"
        code, said, _ = asked("funds", end, "greenbank", reserved["transferId"], "USD", url=onboarded)
        assert (code, said.split()[-1]) == (0, state)


def test_a_refusal_of_the_hub_is_a_sentence_with_its_code(onboarded: str) -> None:
    code, _, said = vuka("participant", "show", "nobody", url=onboarded)
    assert (code, "The hub refused: Generic ID not found" in said and "(code 3200)" in said) == (1, True)


@pytest.mark.parametrize("amount", ["ten USD", "10", "10 ABC", "-1 USD", "0 USD", "1.00001 USD"])
def test_an_amount_that_is_none_is_refused(onboarded: str, amount: str) -> None:
    assert asked("funds", "in", "--url", onboarded, "--", "greenbank", amount)[0] == 1


def test_the_oracle_finds_what_was_added_and_not_what_was_removed(onboarded: str) -> None:
    party = ("MSISDN", "254700000009")
    assert asked("oracle", "add", *party, "pesapay", url=onboarded)[0] == 0
    assert json.loads(asked("oracle", "find", *party, "--json", url=onboarded)[1]) == [{"fspId": "pesapay"}]
    assert asked("oracle", "remove", *party, "pesapay", url=onboarded)[0] == 0
    assert json.loads(asked("oracle", "find", *party, "--json", url=onboarded)[1]) == []


def test_a_participant_is_switched_off_and_on(onboarded: str) -> None:
    for command, active in (("deactivate", 0), ("activate", 1)):
        assert asked("participant", command, "greenbank", url=onboarded)[0] == 0
        _, said, _ = asked("participant", "list", "--json", url=onboarded)
        assert {each["name"]: each["isActive"] for each in json.loads(said)}["greenbank"] == active


def test_an_unknown_message_can_not_be_sent_again(onboarded: str) -> None:
    code, _, said = asked("message", "resend", "1", url=onboarded)
    assert (code, "No message 1 is parked" in said) == (1, True)


def test_the_audit_reads_beside_a_running_hub(onboarded: str, data: Path) -> None:
    code, said, _ = vuka("audit", data=data)
    assert (code, "The books balance." in said) == (0, True)


# --- the whole --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_the_demo_plays_its_script_twice_on_one_directory_and_its_books_can_be_audited(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    ports = ("--participants-port", "0", "--operators-port", "0")
    for _ in range(2):
        code, said, errors = vuka("demo", "--once", "--data", str(data), *ports)
        assert (code, "The books balance" in said) == (0, True), said + errors
        assert re.search(r"Window \d closed and settled: settlement \d is\s+SETTLED", said)
        for currency in ("KES", "USD"):
            _, _, table = said.partition(f"Trial balance, {currency}")
            (sums,) = re.findall(r"all +│ and \d+ at nothing +│ +([\d,.]+) │ +([\d,.]+) │", table.partition("└")[0])
            assert sums[0] == sums[1]
    connection = sqlite3.connect(data / "vuka.db")
    ((transfer_id,),) = connection.execute(
        "SELECT wire_id FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED' ORDER BY transfer_seq LIMIT 1"
    )
    code, said, _ = vuka("trace", transfer_id, "--json", data=data)
    story = json.loads(said)
    assert {each["kind"] for each in story["events"]} == {"in", "out", "delivery", "state", "ledger"}
    paths = " ".join(each["text"] for each in story["events"])
    assert all(part in paths for part in ("GET /parties/", "POST /quotes", "POST /transfers", "PATCH /transfers/"))
    assert (story["state"], story["payer_fsp"], story["payee_fsp"]) == ("COMMITTED", "greenbank", "pesapay")
    for wanted in (story["quote_id"], story["transaction_id"]):
        assert json.loads(asked("trace", wanted, "--json", data=data)[1])["transfer_id"] == transfer_id
    diagram = asked("trace", transfer_id, "--diagram", data=data)[1].splitlines()
    assert diagram[0] == "sequenceDiagram"
    assert sum("->>" in line for line in diagram) >= 8
    connection.execute("UPDATE transfer SET amount = amount + 1 WHERE wire_id = ?", (transfer_id,))
    connection.commit()
    connection.close()
    code, said, _ = vuka("audit", "--json", data=data)
    assert code == 1
    assert "the ledger did what the record says" in {each["rule"] for each in json.loads(said)["differences"]}


@pytest.mark.timeout(120)
def test_the_live_demo_ends_with_its_window_settled_and_its_books_audited(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    ports = ("--participants-port", "0", "--operators-port", "0")
    demo = subprocess.Popen(
        [sys.executable, "-m", "vuka", "demo", "--data", str(data), *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    deadline = time.monotonic() + 60
    while not _has_committed(data):
        assert time.monotonic() < deadline
        assert demo.poll() is None
        time.sleep(0.05)
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, said
    # A title is folded where its table is narrow: after one payment more so than after many.
    assert "Window 1 closed and settled: settlement 1 is SETTLED" in " ".join(said.split())
    assert "Trial balance, USD" in said
    assert "The books balance" in said


def _has_committed(data: Path) -> bool:
    """Whether anybody has paid; not, where there is no database yet."""
    with contextlib.suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(read_only_uri(data / "vuka.db"), uri=True)
        with contextlib.closing(connection):
            rows = connection.execute("SELECT 1 FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED' LIMIT 1")
            return bool(rows.fetchall())
    return False
