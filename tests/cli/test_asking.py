"""Asking about a hub that has cleared payments: traces, transfers, parked messages, the books."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.conftest import ODD_TRANSFER, ODD_WORDS, UNKNOWN_TRANSFER, Played, refused, vuka

from vuka.sim.participant import Payment

WAIT_SECONDS = 10


@contextmanager
def _listening(answer: bytes = b"", status: int = 200) -> Iterator[tuple[str, list[str], threading.Event]]:
    """A tiny server: its URL, the requests it got, and an event for the first."""
    got: list[str] = []
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            got.append(f"{self.command} {self.path}")
            arrived.set()

        do_GET = _take  # noqa: N815 - the names are the library's
        do_PUT = _take  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got, arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- trace ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def payment(played: Played) -> Payment:
    """A payment that committed."""
    return played.payments["bank to wallet"]


def test_a_trace_tells_every_leg_of_a_payment(played: Played, payment: Payment) -> None:
    result = vuka("trace", payment.transfer_id, "--data", str(played.data))
    assert result.exit_code == 0
    assert result.output.startswith("120.00 USD from greenbank to pesapay: COMMITTED\n")
    for wanted in ("GET /parties/MSISDN/254711000001", "POST /quotes", "POST /transfers", "PATCH /transfers/"):
        assert wanted in result.output
    assert f"quote: {payment.quote_id}" in result.output


def test_a_trace_of_any_of_its_ids_is_the_same_story(played: Played, payment: Payment) -> None:
    ids = (payment.transfer_id, payment.quote_id, payment.transaction_id)
    stories = [vuka("trace", each, "--json", "--data", str(played.data)).output for each in ids]
    decoded = [msgspec.json.decode(each) for each in stories]
    assert {each["transfer_id"] for each in decoded} == {payment.transfer_id}
    assert decoded[0]["events"] == decoded[1]["events"]
    times = [event["at_ms"] for event in decoded[0]["events"]]
    assert times == sorted(times)


def test_a_trace_is_drawn_as_a_sequence_diagram(played: Played, payment: Payment) -> None:
    diagram = vuka("trace", payment.transfer_id, "--diagram", "--data", str(played.data)).output
    assert diagram.splitlines()[0] == "sequenceDiagram"
    assert re.search(r"P0->>P1: POST /transfers", diagram)


def test_a_trace_of_a_refused_payment_says_why(played: Played) -> None:
    declined = played.payments["the payee declines the transfer"]
    result = vuka("trace", declined.transfer_id, "--data", str(played.data))
    assert "ABORTED" in result.output.splitlines()[0]
    assert "5104" in result.output


def test_what_participants_wrote_is_printed_as_they_wrote_it(played: Played) -> None:
    result = vuka("trace", ODD_TRANSFER, "--data", str(played.data))
    assert result.exit_code == 0
    assert ODD_WORDS in result.output
    assert ODD_WORDS in played.ask("transfer", "show", ODD_TRANSFER).output


def test_an_id_of_messages_alone_is_no_payment_and_its_messages_are_told(played: Played) -> None:
    result = vuka("trace", UNKNOWN_TRANSFER, "--data", str(played.data))
    assert result.output.startswith(f"No payment has the id {UNKNOWN_TRANSFER}, only messages:\n")
    assert f"GET /transfers/{UNKNOWN_TRANSFER}" in result.output


def test_an_id_that_nobody_has_seen_is_a_sentence(played: Played) -> None:
    said = refused("trace", "00000000-0000-4000-8000-000000000000", "--data", str(played.data))
    assert said == "No message and no record has the id 00000000-0000-4000-8000-000000000000."


# --- transfers and participants ---------------------------------------------------------------------------------------


def test_a_transfer_is_shown_with_its_history(played: Played, payment: Payment) -> None:
    output = played.ask("transfer", "show", payment.transfer_id).output
    assert "amount: 120 USD" in output
    assert "state: COMMITTED (COMMITTED)" in output
    states = re.findall(r"RECEIVED_PREPARE|RESERVED|RECEIVED_FULFIL|COMMITTED", output.partition("History")[2])
    assert states == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_FULFIL", "COMMITTED"]


@pytest.mark.parametrize("transfer_id", ["../participants", "no id", "?", "[/]", UNKNOWN_TRANSFER])
def test_an_id_of_no_transfer_is_a_sentence(played: Played, transfer_id: str) -> None:
    said = refused("transfer", "show", transfer_id, "--url", played.hub.operators_url)
    assert said.startswith("The hub refused: ")


def test_participants_are_listed_with_their_currencies(played: Played) -> None:
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in played.ask("participant", "list").output.splitlines()
        if line.startswith("│")
    ]
    assert ["greenbank", "yes", "KES, USD"] in rows
    assert ["shopline", "yes", "USD"] in rows


def test_a_participant_is_shown_with_accounts_and_endpoints(played: Played) -> None:
    output = played.ask("participant", "show", "pesapay").output
    assert "pesapay (active)" in output
    assert "/transfers/{{transferId}}/error" in output


def test_the_hub_itself_is_a_participant_to_show(played: Played) -> None:
    assert "HUB_RECONCILIATION" in played.ask("participant", "show", "Hub").output


@pytest.mark.parametrize("name", ["nobody", "a/b", "../participants", "[/]"])
def test_a_participant_that_is_none_is_a_sentence(played: Played, name: str) -> None:
    url = ("--url", played.hub.operators_url)
    assert refused("participant", "show", name, *url).startswith("The hub refused: ")
    assert refused("participant", "activate", name, *url).startswith("The hub refused: ")
    assert refused("funds", "in", name, "1 USD", *url).startswith("The hub refused: ")


def test_an_endpoint_type_that_is_none_is_answered_with_those_that_are(played: Played) -> None:
    said = refused("participant", "endpoint", "pesapay", "NO_SUCH", "http://x", "--url", played.hub.operators_url)
    assert "NO_SUCH is not an endpoint type" in said
    assert "FSPIOP_CALLBACK_URL_TRANSFER_POST" in said


def test_a_participant_added_with_a_callback_is_connected(played: Played) -> None:
    url = "http://127.0.0.1:5999"
    assert played.ask("participant", "add", "newbank", "-c", "USD", "--cap", "100", "--callback", url).exit_code == 0
    shown = msgspec.json.decode(played.ask("participant", "show", "newbank", "--json").output)
    values = {each["type"]: each["value"] for each in shown["endpoints"]}
    assert values["FSPIOP_CALLBACK_URL_TRANSFER_PUT"] == url + "/transfers/{{transferId}}"
    assert values["FSPIOP_CALLBACK_URL_QUOTES"] == url


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_parked_message_is_listed_and_sent_again_where_its_participant_now_is(played: Played) -> None:
    (parked,) = msgspec.json.decode(played.ask("message", "parked", "--participant", "greenbank", "--json").output)
    assert (parked["method"], parked["path"]) == ("PUT", f"/transfers/{UNKNOWN_TRANSFER}/error")
    assert parked["error"] == "HTTP 404"
    assert str(parked["messageId"]) in played.ask("message", "parked").output
    assert msgspec.json.decode(played.ask("message", "parked", "--participant", "pesapay", "--json").output) == []
    with _listening() as (url, got, arrived):
        kind, template = "FSPIOP_CALLBACK_URL_TRANSFER_ERROR", url + "/transfers/{{transferId}}/error"
        assert played.ask("participant", "endpoint", "greenbank", kind, template).exit_code == 0
        assert played.ask("message", "resend", str(parked["messageId"])).exit_code == 0
        assert arrived.wait(WAIT_SECONDS)
    assert got == [f"PUT /transfers/{UNKNOWN_TRANSFER}/error"]


def test_queues_show_each_participant(played: Played) -> None:
    queues = msgspec.json.decode(played.ask("message", "queues", "--json").output)
    assert {each["participant"] for each in queues} >= {"greenbank", "pesapay"}
    assert "greenbank" in played.ask("message", "queues").output


# --- a hub that is none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["127.0.0.1:4001", "nowhere", "http://", "http://[::1", "ftp://127.0.0.1"])
def test_a_url_that_is_none_is_a_sentence(url: str) -> None:
    assert url in refused("participant", "list", "--url", url)


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, b"<html>hello</html>"), (200, b"{"), (404, b"[]"), (502, b"\xff\xfe")],
    ids=["html", "broken", "no-error", "binary"],
)
def test_something_else_than_a_hub_behind_the_url_is_a_sentence(status: int, answer: bytes) -> None:
    with _listening(answer, status) as (url, _, _):
        said = refused("participant", "show", "greenbank", "--url", url)
    assert url in said or f"answered {status}" in said


# --- audit ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(played: Played, tmp_path: Path) -> Path:
    """The hub's data, as a backup would have it, to tamper with."""
    directory = tmp_path / "copy"
    directory.mkdir()
    source = sqlite3.connect(f"file:{played.data / 'vuka.db'}?mode=ro", uri=True)
    target = sqlite3.connect(directory / "vuka.db")
    source.backup(target)
    source.close()
    target.close()
    shutil.copy(played.hub.log_path, directory)
    return directory


def test_the_books_of_a_copy_balance(copied: Path) -> None:
    result = vuka("audit", "--data", str(copied))
    assert (result.exit_code, "The books balance." in result.output) == (0, True)
    assert msgspec.json.decode(vuka("audit", "--json", "--data", str(copied)).output)["differences"] == []


def _change(sql: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        connection = sqlite3.connect(directory / "vuka.db")
        assert connection.execute(sql).rowcount >= 1
        connection.commit()
        connection.close()

    return change


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE transfer SET amount = amount + 1 WHERE kind = 'PAYMENT' AND state = 'COMMITTED'",
        "UPDATE transfer SET state = 'COMMITTED' WHERE kind = 'PAYMENT' AND state = 'ABORTED_ERROR'",
        "DELETE FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED'",
    ],
    ids=["amount", "state", "deleted"],
)
def test_a_tampered_book_is_found_and_the_audit_fails(copied: Path, sql: str) -> None:
    _change(sql)(copied)
    result = vuka("audit", "--data", str(copied))
    assert (result.exit_code, "Differences" in result.output) == (1, True)
    assert msgspec.json.decode(vuka("audit", "--json", "--data", str(copied)).output)["differences"]
