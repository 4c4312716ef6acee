"""The outbox: what is owed is known by its block while it is young, and by a row of its own from then on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.engine.batches import NODE, Batches, mark
from tests.switch import wire
from tests.switch.wire import PAYEE

from vuka.engine.courier import Delivery
from vuka.engine.outbox import YOUNG_MS, DeliveryState, Outbox, Outgoing, load_owed, nodes_owing, settle, still_owed
from vuka.switch import journal


@pytest.fixture
def batches() -> Iterator[Batches]:
    made = Batches()
    yield made
    made.bench.close()


def prepared(batches: Batches, count: int = 1, *, behind: tuple[str, ...] = ()) -> list[Outgoing]:
    """So many transfers, in one batch; what the hub owes the payee for them."""
    return batches.run(*(wire.prepare(batches.bench, "1 USD") for _ in range(count)), behind=behind).outgoing


def rows(batches: Batches) -> list[int]:
    return [key for (key,) in batches.rows("SELECT message_id FROM delivery ORDER BY message_id")]


def owed(batches: Batches) -> list[int]:
    with batches.bench.database.read() as tx:
        return sorted(each.message_id for each in still_owed(tx))


def settled(batches: Batches) -> bool:
    with batches.bench.database.read() as tx:
        last, up_to = journal.settled_up_to(tx, NODE)
    return up_to >= last


# --- while it is young ------------------------------------------------------------------------------------------


def test_what_arrives_at_once_has_no_row(batches: Batches) -> None:
    (sent,) = prepared(batches)
    assert (rows(batches), owed(batches)) == ([], [sent.delivery.id])
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    assert (rows(batches), owed(batches), settled(batches)) == ([], [], True)
    assert batches.deliveries() == [(PAYEE, "DELIVERED")]


def test_what_has_not_arrived_in_time_gets_a_row(batches: Batches) -> None:
    early, late = prepared(batches, 2)
    batches.run(marks=[mark(early.delivery, DeliveryState.DELIVERED)])
    assert not batches.outbox.has_late(batches.bench.now_ms)
    batches.bench.now_ms += YOUNG_MS + 1
    assert batches.outbox.has_late(batches.bench.now_ms)
    batches.run()
    assert (rows(batches), owed(batches), settled(batches)) == ([late.delivery.id], [late.delivery.id], True)
    assert not batches.outbox.has_late(batches.bench.now_ms)


def test_a_row_goes_when_its_message_has_arrived(batches: Batches) -> None:
    (late,) = prepared(batches)
    batches.bench.now_ms += YOUNG_MS + 1
    batches.run()
    batches.run(marks=[mark(late.delivery, DeliveryState.DELIVERED)])
    assert (rows(batches), owed(batches)) == ([], [])
    assert batches.deliveries() == [(PAYEE, "DELIVERED")], "the journal knows it, however late"


def test_an_attempt_that_failed_gives_a_row_with_what_was_answered(batches: Batches) -> None:
    (sent,) = prepared(batches)
    batches.run(marks=[mark(sent.delivery, DeliveryState.PENDING, status=503, error="HTTP 503")])
    assert batches.rows("SELECT state, attempts, status, error FROM delivery") == [("PENDING", 1, 503, "HTTP 503")]
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    assert (rows(batches), owed(batches)) == ([], [])


def test_of_two_attempts_in_one_batch_the_last_counts(batches: Batches) -> None:
    (sent,) = prepared(batches)
    failed = mark(sent.delivery, DeliveryState.PENDING, status=503, error="HTTP 503")
    batches.run(marks=[failed, mark(sent.delivery, DeliveryState.PARKED, status=400, error="HTTP 400")])
    assert batches.rows("SELECT state, status FROM delivery") == [("PARKED", 400)]
    (other,) = prepared(batches)
    failed = mark(other.delivery, DeliveryState.PENDING, status=503)
    batches.run(marks=[failed, mark(other.delivery, DeliveryState.DELIVERED)])
    assert rows(batches) == [sent.delivery.id]


def test_whoever_is_read_for_from_the_table_has_a_row_at_once(batches: Batches) -> None:
    (sent,) = prepared(batches, behind=(PAYEE,))
    assert rows(batches) == [sent.delivery.id]
    with batches.bench.database.read() as tx:
        assert [each.id for each in load_owed(tx, PAYEE, after=0, limit=10)] == [sent.delivery.id]
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    assert (rows(batches), owed(batches)) == ([], [])


def test_what_could_not_be_handed_over_gets_its_row_with_the_next_batch(batches: Batches) -> None:
    first, second = prepared(batches, 2)
    batches.outbox.strand(second.delivery)
    assert batches.outbox.has_stranded(PAYEE), "the table does not have all he is owed"
    batches.run(marks=[mark(first.delivery, DeliveryState.DELIVERED)])
    assert rows(batches) == [second.delivery.id]
    assert not batches.outbox.has_stranded(PAYEE)


def test_what_has_arrived_meanwhile_gets_no_row_as_late(batches: Batches) -> None:
    (sent,) = prepared(batches)
    batches.bench.now_ms += YOUNG_MS + 1
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    assert (rows(batches), owed(batches), settled(batches)) == ([], [], True)


# --- what is not committed --------------------------------------------------------------------------------------


def test_a_row_that_was_not_committed_is_written_with_the_next_batch(batches: Batches) -> None:
    (sent,) = prepared(batches)
    batches.bench.now_ms += YOUNG_MS + 1
    batches.run(commit=False)
    assert (rows(batches), batches.outbox.has_late(batches.bench.now_ms)) == ([], True)
    batches.run()
    assert rows(batches) == [sent.delivery.id]


def test_an_end_that_was_not_committed_is_noted_with_the_next_batch(batches: Batches) -> None:
    (sent,) = prepared(batches)
    end = mark(sent.delivery, DeliveryState.DELIVERED)
    batches.run(marks=[end], commit=False)
    assert owed(batches) == [sent.delivery.id]
    batches.run(marks=[end])
    assert (owed(batches), batches.outbox.has_late(batches.bench.now_ms + YOUNG_MS + 1)) == ([], False)


@pytest.mark.parametrize("was_committed", [True, False])
def test_where_nobody_knows_if_a_batch_is_durable_the_next_one_looks(batches: Batches, was_committed: bool) -> None:
    (before,) = prepared(batches)
    command = wire.prepare(batches.bench, "1 USD")
    tx = batches.bench.database.start()
    batch = batches.run_in(tx, command)
    if was_committed:
        tx.commit()
    else:
        tx.rollback()
    batches.outbox.is_in_doubt = True
    (unknown,) = batch.outgoing
    expected = [before.delivery.id, unknown.delivery.id] if was_committed else [before.delivery.id]
    batches.run()
    assert (rows(batches), batches.outbox.is_in_doubt) == (expected, False)
    batches.run(marks=[mark(before.delivery, DeliveryState.DELIVERED)])
    assert rows(batches) == expected[1:], "what was queued already has a row as well, and it goes"


def test_what_others_left_is_settled_with_the_first_batch_where_it_could_not_be_at_the_start(batches: Batches) -> None:
    (sent,) = prepared(batches)
    with batches.bench.database.begin() as tx:
        tx.run("UPDATE journal_block SET node = 3")
    batches.outbox = Outbox(node=NODE)
    batches.outbox.is_in_doubt, batches.outbox.left_behind = True, (3,)
    batches.run()
    assert rows(batches) == [sent.delivery.id]


def test_what_arrives_while_its_batch_is_in_doubt_leaves_no_row(batches: Batches) -> None:
    (sent,) = prepared(batches)
    batches.outbox.is_in_doubt = True
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    assert (rows(batches), owed(batches)) == ([], [])


# --- after a crash ----------------------------------------------------------------------------------------------


def test_after_a_crash_exactly_what_has_no_end_is_owed(batches: Batches) -> None:
    sent = prepared(batches, 5)
    batches.run(
        marks=[
            mark(sent[0].delivery, DeliveryState.DELIVERED),
            mark(sent[1].delivery, DeliveryState.PARKED, status=400),
            mark(sent[2].delivery, DeliveryState.PENDING, status=503),
        ]
    )
    more = prepared(batches, 1)
    batches.crash()
    left = [each.delivery.id for each in (*sent[2:], *more)]
    assert (owed(batches), settled(batches)) == (left, True)
    with batches.bench.database.read() as tx:
        found = {each.id: each for each in load_owed(tx, PAYEE, after=0, limit=10)}
    assert list(found) == left
    assert [found[key].attempts for key in left] == [1, 0, 0, 0]
    assert [found[each.delivery.id].body for each in sent[2:]] == [each.delivery.body for each in sent[2:]]


def test_settling_twice_is_settling_once(batches: Batches) -> None:
    (sent,) = prepared(batches)
    batches.crash()
    batches.crash()
    assert rows(batches) == [sent.delivery.id]


def test_a_crash_after_all_has_arrived_leaves_nothing_owed(batches: Batches) -> None:
    sent = prepared(batches, 3)
    batches.run(marks=[mark(each.delivery, DeliveryState.DELIVERED) for each in sent])
    batches.crash()
    assert (rows(batches), owed(batches)) == ([], [])


def test_what_a_row_delivered_before_the_crash_is_not_owed_again(batches: Batches) -> None:
    first, second = prepared(batches, 2)
    batches.run(marks=[mark(first.delivery, DeliveryState.PENDING, status=503)])
    batches.run(marks=[mark(first.delivery, DeliveryState.DELIVERED)])
    batches.crash()
    assert rows(batches) == [second.delivery.id]


def test_without_a_journal_a_crash_loses_nothing_either(batches: Batches) -> None:
    batches.journal = False
    first, second = prepared(batches, 2)
    batches.run(marks=[mark(first.delivery, DeliveryState.DELIVERED)])
    (third,) = prepared(batches)
    batches.crash()
    assert rows(batches) == [second.delivery.id, third.delivery.id]
    batches.run(marks=[mark(each, DeliveryState.DELIVERED) for each in _loaded(batches)])
    assert (rows(batches), batches.messages()) == ([], [])


def _loaded(batches: Batches) -> list[Delivery]:
    with batches.bench.database.read() as tx:
        return load_owed(tx, PAYEE, after=0, limit=10)


def test_a_nodes_number_owes_as_long_as_a_row_or_a_block_does(batches: Batches) -> None:
    (sent,) = prepared(batches)
    with batches.bench.database.begin() as tx:
        settle(tx, NODE, now_ms=batches.bench.now_ms)
    with batches.bench.database.read() as tx:
        assert nodes_owing(tx) == {NODE}
    assert rows(batches) == [sent.delivery.id]


# --- the journal ------------------------------------------------------------------------------------------------


def test_an_exchange_is_found_with_what_became_of_it_however_late(batches: Batches) -> None:
    command = wire.prepare(batches.bench, "1 USD")
    (sent,) = batches.run(command).outgoing
    for _ in range(3):
        batches.bench.now_ms += 400
        prepared(batches)
    batches.bench.now_ms += 10 * 60_000
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    seqs = _seqs(batches)
    with batches.bench.database.read() as tx:
        found = journal.find(tx, (), {command.message.resource_id})
        by_record = journal.find(tx, seqs, {command.message.resource_id})
    assert ([each.message_id for each in found.sent], found.marks) == ([], {}), "it is filed under its record"
    assert [each.message_id for each in by_record.received] == [command.message.message_id]
    assert [each.message_id for each in by_record.sent] == [sent.delivery.id]
    assert by_record.marks[sent.delivery.id].state == "DELIVERED"


def _seqs(batches: Batches) -> list[int]:
    return [seq for (seq,) in batches.rows("SELECT transfer_seq FROM transfer WHERE kind = 'PAYMENT'")]


def test_a_mark_that_follows_at_once_is_found_in_the_blocks_after_its_message(batches: Batches) -> None:
    command = wire.prepare(batches.bench, "1 USD")
    (sent,) = batches.run(command).outgoing
    for _ in range(3):
        batches.bench.now_ms += 100
        prepared(batches)
    batches.run(marks=[mark(sent.delivery, DeliveryState.DELIVERED)])
    subjects = batches.rows("SELECT COUNT(DISTINCT subject), COUNT(*) FROM journal_subject")
    assert subjects == [(4, 4)], "no block is filed for a mark alone"
    seqs = _seqs(batches)
    with batches.bench.database.read() as tx:
        found = journal.find(tx, seqs, {command.message.resource_id})
    assert found.marks[sent.delivery.id].status == 200


def test_old_blocks_are_purged_and_with_them_what_they_are_filed_under(batches: Batches) -> None:
    sent = [*prepared(batches, 3), *prepared(batches, 2)]
    batches.run(marks=[mark(each.delivery, DeliveryState.DELIVERED) for each in sent[:-1]])
    with batches.bench.database.begin() as tx:
        assert journal.purge(tx, 2**62, blocks_max=100) == 1, "the rest is needed to know what is owed"
    batches.run(marks=[mark(sent[-1].delivery, DeliveryState.DELIVERED)])
    with batches.bench.database.begin() as tx:
        assert journal.purge(tx, 2**62, blocks_max=100) == 2
        assert journal.purge(tx, 2**62, blocks_max=100) == 0, "the last says how far all is settled"
    assert batches.rows("SELECT COUNT(*) FROM journal_subject") == [(0,)]


def test_purging_takes_so_many_at_a_time_and_nothing_younger(batches: Batches) -> None:
    for _ in range(4):
        sent = prepared(batches)
        batches.run(marks=[mark(each.delivery, DeliveryState.DELIVERED) for each in sent])
    ids = [key for (key,) in batches.rows("SELECT block_id FROM journal_block ORDER BY block_id")]
    with batches.bench.database.begin() as tx:
        assert journal.purge(tx, ids[4], blocks_max=3) == 3
        assert journal.purge(tx, ids[4], blocks_max=3) == 1
        assert journal.purge(tx, ids[4], blocks_max=3) == 0
    assert [key for (key,) in batches.rows("SELECT block_id FROM journal_block ORDER BY block_id")] == ids[4:]
