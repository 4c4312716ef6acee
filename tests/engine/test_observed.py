"""What the engine tells those who watch it, and what it logs: enough to act on, and never a flood."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from structlog.testing import capture_logs
from tests import journalled
from tests.engine.batches import Batches, Poison
from tests.switch import wire
from tests.switch.wire import PAYEE, PAYER

from vuka.api.wire import FspiopWire
from vuka.engine.courier import Delivery, DeliveryOutcome, DeliveryReport
from vuka.engine.notifier import NotificationOutcome
from vuka.engine.observed import QUIET_MS, SLOW_BATCH_SECONDS, Committed, EngineLog, Observer, Observers
from vuka.engine.outbox import traces_of
from vuka.ids import FspId
from vuka.money import Currency
from vuka.switch.alarms import AlarmEvent, Told
from vuka.switch.transfers import ExpireTransfers
from vuka.switch.work import Action, ErrorBody, Notice

TRACE = "0af7651916cd43dd8448eb211c80319c"


def report(
    outcome: DeliveryOutcome,
    at_ms: int,
    *,
    to: str = PAYEE,
    resource: str = "transfers",
    resource_id: str = "affc534d-d79e-4cdc-ac42-0c8c75796388",
    status: int | None = None,
    error: str | None = None,
    traceparent: str = f"00-{TRACE}-b7ad6b7169203331-01",
) -> DeliveryReport:
    target = journalled.target(resource, resource_id, source=PAYER, to=to)
    headers = [("traceparent", traceparent)]
    return DeliveryReport(
        delivery=Delivery(7, to, "POST", headers, b"{}", 10**15, True, 1, target),
        outcome=outcome,
        status=status,
        error=error,
        attempts=1,
        at_ms=at_ms,
    )


def committed(decide_seconds: float, commit_seconds: float) -> Committed:
    return Committed(3, (), (), decide_seconds, commit_seconds)


# --- what is logged ---------------------------------------------------------------------------------------------


def test_a_delivery_that_fails_is_a_warning_that_says_whose_and_which() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        log.attempted(report(DeliveryOutcome.RETRYING, 0, error="connection refused"))
    assert lines == [
        {
            "log_level": "warning",
            "event": "deliveries to a participant fail",
            "participant": PAYEE,
            "failed": 1,
            "parked": 0,
            "status": None,
            "error": "connection refused",
            "message_id": 7,
            "trace_id": TRACE,
            "method": "POST",
            "resource": "transfers",
            "id": "affc534d-d79e-4cdc-ac42-0c8c75796388",
        }
    ]


def test_a_dead_participant_is_one_line_in_its_time_with_how_many_failed() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        for at_ms in range(0, QUIET_MS + 1, 10):
            log.attempted(report(DeliveryOutcome.PARKED if at_ms % 100 else DeliveryOutcome.RETRYING, at_ms))
    first, second = lines
    assert (first["failed"], second["failed"], second["parked"]) == (1, QUIET_MS // 10, QUIET_MS * 9 // 100)


def test_one_dead_participant_hides_no_other() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        for to in (PAYEE, PAYER):
            log.attempted(report(DeliveryOutcome.RETRYING, 0, to=to))
    assert [line["participant"] for line in lines] == [PAYEE, PAYER]


def test_a_participant_that_is_back_is_said_once_and_one_that_comes_and_goes_is_no_flood() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        for at_ms in range(0, QUIET_MS, 100):
            log.attempted(report(DeliveryOutcome.RETRYING, at_ms))
            log.attempted(report(DeliveryOutcome.DELIVERED, at_ms + 50, status=202))
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "deliveries to a participant fail"),
        ("info", "deliveries to a participant arrive again"),
    ]


def test_what_arrives_is_no_line() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        log.attempted(report(DeliveryOutcome.DELIVERED, 0, status=202))
        log.committed(committed(0.001, 0.001))
    assert lines == []


def test_neither_whom_a_lookup_is_about_nor_what_a_participant_answered_is_logged() -> None:
    log = EngineLog()
    failed = report(
        DeliveryOutcome.PARKED,
        0,
        resource="parties",
        resource_id="MSISDN/254711000001",
        status=400,
        error="HTTP 400 nobody has 254711000001",
    )
    with capture_logs() as lines:
        log.attempted(failed)
    assert "254711000001" not in str(lines)
    assert (lines[0]["status"], lines[0]["resource"], lines[0]["id"]) == (400, "parties", None)


def test_a_malformed_traceparent_is_not_logged() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        log.attempted(report(DeliveryOutcome.RETRYING, 0, traceparent="00-forged"))
    assert lines[0]["trace_id"] is None


def test_a_slow_batch_is_a_warning_with_where_its_time_went() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        log.committed(committed(0.1, SLOW_BATCH_SECONDS))
    assert lines == [
        {"log_level": "warning", "event": "a slow batch", "commands": 3, "decide_ms": 100, "commit_ms": 500}
    ]


def test_a_disk_that_fails_is_one_line_in_its_time_and_one_when_it_works_again() -> None:
    log = EngineLog()
    with capture_logs() as lines:
        for at_ms in range(0, QUIET_MS, 50):
            log.not_committed(1, OSError("disk full"), at_ms)
        log.committed(committed(0.0, 0.0))
        log.committed(committed(0.0, 0.0))
    assert [(line["log_level"], line["event"], line["failed"]) for line in lines] == [
        ("error", "a batch could not be committed", 1),
        ("info", "batches are committed again", QUIET_MS // 50),
    ]


# --- who is told ------------------------------------------------------------------------------------------------


class _Broken(Observer):
    def attempted(self, report: DeliveryReport) -> None:
        raise RuntimeError("a defect")

    def notified(self, channel: str, outcome: NotificationOutcome) -> None:
        raise RuntimeError("a defect")

    def alarmed(self, told: Sequence[Told]) -> None:
        raise RuntimeError("a defect")


class _Listening(Observer):
    def __init__(self) -> None:
        self.told: list[object] = []

    def attempted(self, report: DeliveryReport) -> None:
        self.told.append(report)

    def notified(self, channel: str, outcome: NotificationOutcome) -> None:
        self.told.append(channel)

    def alarmed(self, told: Sequence[Told]) -> None:
        self.told += told


def test_an_observer_that_fails_is_logged_and_keeps_nothing_from_the_others() -> None:
    listening = _Listening()
    observers = Observers(_Broken(), listening)
    with capture_logs() as lines:
        observers.attempted(report(DeliveryOutcome.DELIVERED, 0))
        observers.committed(committed(0.0, 0.0))
        observers.not_committed(1, OSError(), 0)
        observers.routed(())
        observers.notified("smtp", NotificationOutcome.PARKED)
        observers.alarmed([Told(FspId(PAYER), Currency("USD"), AlarmEvent.RAISED)])
    assert len(listening.told) == 3
    assert [(line["event"], line["observer"]) for line in lines] == [("an observer failed", "_Broken")] * 3


def test_a_batch_tells_which_transfers_it_has_ended_each_once() -> None:
    batches = Batches()
    prepared = wire.prepare(batches.bench, "10 USD")
    assert batches.run(prepared).ended == []
    (ended,) = batches.run(wire.fulfil(batches.bench, prepared)).ended
    assert (ended.wire_id, ended.kind, ended.state) == (prepared.message.resource_id, "PAYMENT", "COMMITTED")
    assert (ended.payer_fsp, ended.began_ms) == (PAYER, prepared.message.received_ms)
    assert batches.run(wire.fulfil(batches.bench, prepared), wire.get(batches.bench, prepared)).ended == []


def test_a_transfer_that_is_refused_has_ended_as_it_began() -> None:
    batches = Batches()
    (ended,) = batches.run(wire.prepare(batches.bench, "1000.01 USD")).ended
    assert ended.state == "ABORTED_REJECTED"


def test_what_a_batch_undid_has_not_ended() -> None:
    batches = Batches()
    prepared = wire.prepare(batches.bench, "10 USD")
    batches.run(prepared)
    batch = batches.run(wire.fulfil(batches.bench, prepared), Poison())
    assert [ended.state for ended in batch.ended] == ["COMMITTED"], "told once, though it was decided twice"


def test_a_message_by_which_the_hub_refuses_says_with_which_code() -> None:
    batches = Batches()
    (outgoing,) = batches.run(wire.prepare(batches.bench, "1000.01 USD")).outgoing
    assert outgoing.error_code == "4001"
    (forwarded,) = batches.run(wire.prepare(batches.bench, "10 USD")).outgoing
    assert forwarded.error_code is None


# --- trace context ----------------------------------------------------------------------------------------------


def _with_headers(batches: Batches, *headers: tuple[str, str], amount: str = "10 USD") -> str:
    """A prepared transfer whose prepare had these headers; its id."""
    prepared = wire.prepare(batches.bench, amount)
    message = msgspec.structs.replace(
        prepared.message, headers=(*prepared.message.headers, *headers), trace=traces_of(headers)
    )
    batches.run(msgspec.structs.replace(prepared, message=message))
    return prepared.message.resource_id


CONTEXT = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"), ("tracestate", "a=1"), ("baggage", "b=2"))


def _trace_of(headers: object) -> list[tuple[str, str]]:
    assert isinstance(headers, list)
    return [pair for pair in headers if pair[0] in ("traceparent", "tracestate", "baggage")]


def test_an_expiry_carries_the_trace_context_that_its_prepare_had() -> None:
    batches = Batches()
    _with_headers(batches, *CONTEXT)
    batches.bench.now_ms += wire.EXPIRY_MS
    batch = batches.run(ExpireTransfers())
    assert [_trace_of(each.delivery.headers) for each in batch.outgoing] == [list(CONTEXT)] * 2


def test_an_expiry_invents_no_trace_and_takes_none_of_another_payment() -> None:
    batches = Batches()
    traced, bare = _with_headers(batches, *CONTEXT), _with_headers(batches)
    batches.bench.now_ms += wire.EXPIRY_MS
    batch = batches.run(ExpireTransfers())
    traces = {each.target.resource_id: _trace_of(each.delivery.headers) for each in batch.outgoing}
    assert traces == {traced: list(CONTEXT), bare: []}


def test_without_a_journal_an_expiry_carries_it_too() -> None:
    batches = Batches()
    batches.journal = False
    _with_headers(batches, *CONTEXT)
    batches.bench.now_ms += wire.EXPIRY_MS
    outgoing = batches.run(ExpireTransfers()).outgoing
    assert [_trace_of(each.delivery.headers) for each in outgoing] == [list(CONTEXT)] * 2


def test_what_the_hub_answers_carries_the_whole_trace_context_of_the_question() -> None:
    notice = Notice(FspId(PAYER), Action.ERROR, "transfers", ("1",), ErrorBody("3100", "no"), 2**60, trace=CONTEXT)
    assert _trace_of(list(FspiopWire().compose(notice, 0).headers)) == list(CONTEXT)


def test_what_is_forwarded_keeps_a_trace_context_however_it_is_written() -> None:
    batches = Batches()
    odd = (("TraceParent", "not-a-traceparent"), ("tracestate", "a=1"), ("TraceState", "b=2"), ("Baggage", "c=3;d"))
    prepared = wire.prepare(batches.bench, "10 USD")
    message = msgspec.structs.replace(prepared.message, headers=odd)
    (outgoing,) = batches.run(msgspec.structs.replace(prepared, message=message)).outgoing
    assert [pair for pair in outgoing.delivery.headers if pair in odd] == list(odd)
