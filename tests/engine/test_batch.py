"""One batch, a plain function of a transaction and a time: what fails fails alone, what is owed is in the commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from tests.engine.batches import Batches, FillDisk, Poison, Undecided, Unspeakable, mark
from tests.switch import wire
from tests.switch.wire import PAYEE, PAYER

from vuka.engine.batch import Batch, Routed
from vuka.engine.courier import Delivery
from vuka.engine.outbox import DeliveryState, Outgoing, load_one, load_owed, parked
from vuka.errors import FspiopError
from vuka.ids import FspId
from vuka.switch.directory import Directory
from vuka.switch.journal import find
from vuka.switch.participants import CreateParticipant, Endpoint, SetEndpoints


def told(batch: Batch) -> list[tuple[str, str]]:
    return [(each.delivery.to, each.target.path) for each in batch.outgoing]


def codes(batch: Batch) -> list[str | None]:
    return [each.error.code if isinstance(each.error, FspiopError) else None for each in batch.outcomes]


@pytest.fixture
def batches() -> Iterator[Batches]:
    made = Batches()
    yield made
    made.bench.audit()
    made.bench.close()


# --- one that fails ---------------------------------------------------------------------------------------------


def test_a_poisonous_command_fails_alone_and_nothing_of_it_stays(batches: Batches) -> None:
    first, second = (wire.prepare(batches.bench, "10 USD") for _ in range(2))
    batch = batches.run(first, Poison(), second)
    assert codes(batch) == [None, "2001", None]
    assert batches.states() == ["RESERVED", "RESERVED"]
    assert told(batch) == [(PAYEE, "/transfers")] * 2
    assert batches.bench.position(PAYER, "USD") == "20"


def test_what_a_command_does_to_money_before_it_fails_is_undone(batches: Batches) -> None:
    batches.run(wire.prepare(batches.bench, "10 USD"))
    batches.run(Poison())
    assert batches.states() == ["RESERVED"]
    assert batches.bench.available(PAYER, "USD") == "990"


def test_a_message_that_can_not_be_written_fails_the_command_that_owes_it(batches: Batches) -> None:
    batch = batches.run(Unspeakable(), wire.prepare(batches.bench, "10 USD"))
    assert codes(batch) == ["2001", None]
    assert told(batch) == [(PAYEE, "/transfers")]


def test_a_command_that_nobody_decides_fails_alone(batches: Batches) -> None:
    batch = batches.run(Undecided(), wire.prepare(batches.bench, "10 USD"))
    assert codes(batch) == ["2001", None]
    assert batches.states() == ["RESERVED"]


@pytest.mark.store("sqlite")
def test_a_full_disk_is_no_commands_fault_and_leaves_nothing(batches: Batches) -> None:
    command = wire.prepare(batches.bench, "10 USD")
    with batches.bench.database.begin() as tx:
        tx.query("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        batches.run(command, FillDisk(), wire.prepare(batches.bench, "10 USD"))
    assert batches.states() == []
    assert batches.messages() == []
    with batches.bench.database.begin() as tx:
        tx.query("PRAGMA max_page_count = 1000000")
    assert codes(batches.run(command)) == [None]
    assert batches.bench.position(PAYER, "USD") == "10"


def test_the_journal_says_what_failed_and_keeps_it_once(batches: Batches) -> None:
    message = wire.prepare(batches.bench, "10 USD").message
    batches.run(Poison(message=message))
    batches.run(routed=[Routed(message, "refused: 2001", ())])
    with batches.bench.database.read() as tx:
        (kept,) = find(tx, (), {message.resource_id}).received
    assert kept.outcome.startswith("failed: 2001")


# --- the order of things ----------------------------------------------------------------------------------------


def test_what_frees_headroom_is_decided_before_what_takes_it(batches: Batches) -> None:
    towards = wire.prepare(batches.bench, "10 USD")
    batches.run(towards)
    back = wire.prepare(batches.bench, "10 USD", payer=PAYEE, payee=PAYER)
    batch = batches.run(back, wire.fulfil(batches.bench, towards))
    assert codes(batch) == [None, None]
    assert batches.states() == ["COMMITTED", "RESERVED"]
    assert batches.bench.available(PAYEE, "USD") == "0"


def test_outcomes_are_in_the_order_of_the_commands(batches: Batches) -> None:
    prepared = wire.prepare(batches.bench, "10 USD")
    batches.run(prepared)
    refused = SetEndpoints(name=FspId("nobody"), endpoints=(Endpoint("FSPIOP_CALLBACK_URL_QUOTES", "http://x"),))
    batch = batches.run(wire.get(batches.bench, prepared), refused, wire.fulfil(batches.bench, prepared))
    first, second, third = codes(batch)
    assert second is not None, "it is decided first"
    assert (first, third) == (None, None)


def test_a_question_sees_what_its_batch_has_decided(batches: Batches) -> None:
    prepared = wire.prepare(batches.bench, "10 USD")
    batches.run(prepared)
    batch = batches.run(wire.get(batches.bench, prepared), wire.fulfil(batches.bench, prepared))
    answer = batch.outgoing[-1].delivery
    assert (answer.to, answer.method) == (PAYER, "PUT")
    assert b'"transferState":"COMMITTED"' in (answer.body or b"")


# --- what is owed -----------------------------------------------------------------------------------------------


def test_what_is_owed_is_written_in_the_commit_that_makes_it_owed(batches: Batches) -> None:
    command = wire.prepare(batches.bench, "10 USD")
    undone = batches.run(command, commit=False)
    assert len(undone.outgoing) == 1
    assert (batches.states(), batches.messages(), batches.deliveries()) == ([], [], [])
    batches.run(command)
    assert batches.deliveries() == [(PAYEE, "PENDING")]


def as_sent(delivery: Delivery) -> tuple[object, ...]:
    """What counts of a delivery: who gets what until when."""
    headers = [tuple(each) for each in delivery.headers]
    return (delivery.id, delivery.to, delivery.method, headers, delivery.body, delivery.deadline_ms, delivery.owed_ms)


def test_what_is_read_back_from_the_outbox_is_what_was_to_be_sent(batches: Batches) -> None:
    for journal in (True, False):
        batches.journal = journal
        (owed,) = batches.run(wire.prepare(batches.bench, "10 USD")).outgoing
        batches.crash()
        with batches.bench.database.read() as tx:
            found = load_one(tx, owed.delivery.id)
        assert found is not None
        assert as_sent(found) == as_sent(owed.delivery)


def test_what_is_owed_comes_back_in_its_order_from_a_message_on(batches: Batches) -> None:
    commands = [wire.prepare(batches.bench, "1 USD") for _ in range(5)]
    ids = [each.delivery.id for each in batches.run(*commands).outgoing]
    batches.crash()
    with batches.bench.database.read() as tx:
        assert [each.id for each in load_owed(tx, PAYEE, after=0, limit=3)] == ids[:3]
        assert [each.id for each in load_owed(tx, PAYEE, after=ids[2], limit=3)] == ids[3:]
        assert load_owed(tx, PAYER, after=0, limit=3) == []


def test_a_body_is_stored_once_however_often_it_goes_out(batches: Batches) -> None:
    message = batches.lookup()
    routed = Routed(message, "routed", (*batches.route(message).sent, *batches.route(message, PAYER).sent))
    command = wire.prepare(batches.bench, "10 USD")
    batches.run(command, routed=[routed])
    stored = [(each.body, each.body_of) for each in batches.messages() if each.direction == "out"]
    assert stored == [(None, message.message_id)] * 2 + [(None, command.message.message_id)]
    bodies = [each.body for each in batches.messages() if each.direction == "in" and each.body is not None]
    assert bodies == [command.message.body]


def test_a_message_that_was_refused_by_the_participant_is_parked_with_its_answer(batches: Batches) -> None:
    (owed,) = batches.run(wire.prepare(batches.bench, "10 USD")).outgoing
    batches.run(marks=[mark(owed.delivery, DeliveryState.PARKED, status=400, error="HTTP 400 no")])
    with batches.bench.database.read() as tx:
        (shown,) = parked(tx, participant=PAYEE)
        assert parked(tx, participant=PAYER) == []
    assert (shown.message_id, shown.method, shown.path) == (owed.delivery.id, "POST", "/transfers")
    assert (shown.status, shown.error, shown.attempts) == (400, "HTTP 400 no", 1)


# --- without a journal ------------------------------------------------------------------------------------------


def test_without_a_journal_only_what_is_owed_is_kept_with_its_body_until_it_has_arrived(batches: Batches) -> None:
    batches.journal = False
    command = wire.prepare(batches.bench, "10 USD")
    (owed,) = batches.run(command, routed=[batches.route(batches.lookup())]).outgoing
    kept = [(each.direction, each.body, each.body_of) for each in batches.messages()]
    assert kept == [("out", command.message.body, None)]
    batches.run(marks=[mark(owed.delivery, DeliveryState.PENDING, status=500)])
    assert batches.rows("SELECT state, status FROM delivery") == [("PENDING", 500)]
    batches.run(marks=[mark(owed.delivery, DeliveryState.DELIVERED)])
    assert (batches.messages(), batches.rows("SELECT * FROM delivery")) == ([], [])


@pytest.mark.parametrize("journal", [True, False])
def test_a_routed_message_that_is_parked_can_be_sent_again(batches: Batches, journal: bool) -> None:
    batches.journal = journal
    routed = batches.route(batches.lookup())
    sent: Outgoing = routed.sent[0]
    batches.run(routed=[routed], marks=[mark(sent.delivery, DeliveryState.PARKED, status=None, error="refused")])
    with batches.bench.database.read() as tx:
        assert [each.message_id for each in parked(tx)] == [sent.delivery.id]
        again = load_one(tx, sent.delivery.id)
    assert again is not None
    assert as_sent(again) == as_sent(sent.delivery)


def test_without_a_journal_a_routed_message_that_arrived_leaves_nothing(batches: Batches) -> None:
    batches.journal = False
    routed = batches.route(batches.lookup())
    batches.run(routed=[routed], marks=[mark(routed.sent[0].delivery, DeliveryState.DELIVERED)])
    assert (batches.messages(), batches.rows("SELECT * FROM delivery")) == ([], [])


# --- the directory ----------------------------------------------------------------------------------------------


def _names(directory: Directory) -> set[str]:
    return set(directory.participants)


def test_the_directory_after_a_batch_is_what_the_batch_has_made_of_it(batches: Batches) -> None:
    batch = batches.run(CreateParticipant(name=FspId("newfsp"), currency=wire.Currency("USD"), is_proxy=False))
    assert _names(batch.directory) == {"Hub", PAYER, PAYEE, "newfsp"}


def test_a_participant_of_a_batch_that_was_undone_is_in_no_directory(batches: Batches) -> None:
    batches.run(CreateParticipant(name=FspId("gone"), currency=wire.Currency("USD"), is_proxy=False), commit=False)
    batch = batches.run(CreateParticipant(name=FspId("newfsp"), currency=wire.Currency("USD"), is_proxy=False))
    assert _names(batch.directory) == {"Hub", PAYER, PAYEE, "newfsp"}


def test_a_participant_that_was_created_beside_a_poisonous_command_is_in_the_directory(batches: Batches) -> None:
    new = CreateParticipant(name=FspId("newfsp"), currency=wire.Currency("USD"), is_proxy=False)
    batch = batches.run(Poison(), new, Poison())
    assert codes(batch) == ["2001", None, "2001"]
    assert _names(batch.directory) == {"Hub", PAYER, PAYEE, "newfsp"}
