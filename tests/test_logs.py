"""Log lines: one object a line, whoever logs, and nothing in them that was a secret or a person's."""

from __future__ import annotations

import errno
import io
import json
import logging
import warnings
from typing import Any

import msgspec
import pytest
import structlog

from vuka.config import Config, Log
from vuka.logs import configure_logging, loggable_id, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.mark.parametrize(
    "traceparent", [f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-x"]
)
def test_a_traceparent_names_its_trace(traceparent: str) -> None:
    assert trace_id(traceparent) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "nonsense",
        TRACE,
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE}-{PARENT}-01\nforged",
    ],
)
def test_a_malformed_traceparent_names_none(traceparent: str | None) -> None:
    assert trace_id(traceparent) is None


def test_the_id_of_a_payment_may_be_logged_and_that_of_a_person_not() -> None:
    assert loggable_id("transfers", "abc") == "abc"
    assert loggable_id("parties", "MSISDN/254711000001") is None
    assert loggable_id("participants", "MSISDN/254711000001") is None
    assert loggable_id("transfers", "") is None


def test_an_id_that_somebody_made_up_is_cut() -> None:
    assert loggable_id("transfers", "x" * 1_000) == "x" * 64


def _configure(level: str = "info", *, as_json: bool = True) -> None:
    configure_logging(msgspec.structs.replace(Config(), log=Log(level=level, json=as_json)))


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    written = capsys.readouterr()
    assert written.out == ""
    return [json.loads(line) for line in written.err.splitlines()]


@pytest.mark.usefixtures("configured")
def test_an_event_is_one_json_object_with_time_level_and_context(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()
    structlog.get_logger().warning("a slow batch", commands=3)
    (line,) = _lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "event": "a slow batch", "commands": 3}


@pytest.mark.usefixtures("configured")
def test_what_libraries_log_goes_through_the_same_formatter(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request %s", "received")
    logging.getLogger("asyncio").error("a callback failed", exc_info=ValueError("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("out of date", UserWarning, stacklevel=1)
    first, second, third = _lines(capsys)
    assert {key: first[key] for key in ("level", "event", "logger")} == {
        "level": "warning",
        "event": "Invalid HTTP request received",
        "logger": "uvicorn.error",
    }
    assert (second["event"], second["exception"][0]["exc_type"]) == ("a callback failed", "ValueError")
    assert (third["logger"], third["level"]) == ("py.warnings", "warning")
    assert all("time" in each for each in (first, second, third))


@pytest.mark.usefixtures("configured")
def test_what_the_server_library_says_of_itself_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("anything").debug("details")
    assert _lines(capsys) == []


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_where_and_never_the_values(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    _configure(as_json=as_json)

    def fail(token: str) -> None:
        raise RuntimeError("a defect")

    for logger in (structlog.get_logger(), logging.getLogger("library")):
        try:
            fail("vuka_" + "secret")
        except RuntimeError:
            logger.exception("a request failed")
    written = capsys.readouterr().err
    assert "vuka_secret" not in written
    assert written.count("a defect") >= 2
    assert "test_logs.py" in written


@pytest.mark.usefixtures("configured")
def test_neither_a_path_nor_a_body_tells_whom_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    _configure("debug")
    log = structlog.get_logger()
    for location in (
        "/oracle/participants/MSISDN/254711000001/SAVINGS?currency=KES",
        "http://oracle/participants/EMAIL/a%40b?partySubIdOrType=c",
        "/parties/ALIAS/someone",
        "/oracle/parties?partyIdType=MSISDN&partyIdentifier=254711000001&currency=KES",
        "/participants/greenbank/accounts/5",
    ):
        log.warning("an oracle does not answer", path=location, url=location, answer="254711000001")
    lines = _lines(capsys)
    assert [line["path"] for line in lines] == [line["url"] for line in lines]
    assert [line["path"] for line in lines] == [
        "/oracle/participants/MSISDN/…?currency=KES",
        "http://oracle/participants/EMAIL/…?partySubIdOrType=…",
        "/parties/ALIAS/…",
        "/oracle/parties?partyIdType=MSISDN&partyIdentifier=…&currency=KES",
        "/participants/greenbank/accounts/5",
    ]
    assert not [line for line in lines if "answer" in line]
    log.debug("a request is answered", path="/parties/ALIAS/someone")
    assert _lines(capsys)[0]["path"] == "/parties/ALIAS/someone"


@pytest.mark.usefixtures("configured")
def test_less_than_the_least_severity_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    _configure("error")
    structlog.get_logger().warning("a slow batch")
    logging.getLogger("library").warning("anything")
    assert _lines(capsys) == []


class Full(io.StringIO):
    """A log on a disk that is full."""

    is_full = True

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("configured")
def test_a_log_that_can_not_be_written_stops_nobody_and_later_says_how_much_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Full()
    monkeypatch.setattr("sys.stderr", disk)
    _configure()
    structlog.get_logger().error("a batch could not be committed", exc_info=OSError(errno.ENOSPC, "full"))
    logging.getLogger("library").warning("anything")
    disk.is_full = False
    for event in ("batches are committed again", "the hub is stopping"):
        structlog.get_logger().info(event)
    first, second = (json.loads(line) for line in disk.getvalue().splitlines())
    assert (first["event"], first["log_lines_lost"]) == ("batches are committed again", 2)
    assert "log_lines_lost" not in second


@pytest.mark.usefixtures("configured")
def test_a_log_whose_reader_is_gone_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr("sys.stderr", gone)
    _configure()
    structlog.get_logger().info("the hub is ready")
