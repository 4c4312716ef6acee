"""The nodes of a database: seats, signatures, who is dead, and who holds what is owed. No two deliver the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import stores

from vuka.engine import nodes
from vuka.engine.keys import NODE_MAX, KeySource, node_of
from vuka.engine.membership import place_of
from vuka.engine.nodes import (
    BEAT_MS,
    LEASE_MS,
    LOOKS_MIN,
    SILENCE_MS,
    FencedError,
    Node,
    Seat,
    TakeOver,
    TidyNodes,
    Watch,
)
from vuka.errors import OperatorError
from vuka.store import Database
from vuka.switch.work import Command, Outcome, Work


@pytest.fixture
def database() -> Iterator[Database]:
    database = stores.fresh()
    yield database
    database.close()


def join(database: Database, place: str, run: int = 1) -> Seat:
    with database.begin() as tx:
        return nodes.join(tx, place=place, run=run, incarnation=hash((place, run)) & 0xFFFF, now_ms=1)


def sign(database: Database, seat: Seat, batch: int = 1) -> None:
    with database.begin() as tx:
        nodes.sign(tx, seat, batch)


def read(database: Database) -> list[Node]:
    with database.read() as tx:
        return nodes.nodes(tx)


def holders(database: Database) -> dict[int, int]:
    return {node.number: node.held_by for node in read(database)}


def decide(database: Database, handler: Callable[[Work, Sequence[Any]], list[Outcome]], command: Command) -> object:
    with database.begin() as tx:
        work = Work(tx=tx, ledger=None, now_ms=1, scheme=None, next_id=None, load_directory=None)  # type: ignore[arg-type]
        (outcome,) = handler(work, [command])
    return outcome.value


def take_over(database: Database, dead: int, by: Seat) -> bool:
    (node,) = [each for each in read(database) if each.number == dead]
    return bool(decide(database, nodes._take_over, TakeOver(dead=node, by=by)))


def owe(database: Database, number: int) -> int:
    key = KeySource(node=number).next(1_700_000_000_000)
    with database.begin() as tx:
        tx.run(
            """INSERT INTO delivery (message_id, participant, deadline_ms, state, attempts, updated_ms, message)
               VALUES (?, 'payeefsp', 0, 'PENDING', 0, 0, ?)""",
            (key, b""),
        )
    return key


# --- seats --------------------------------------------------------------------------------------------------------


def test_each_takes_the_lowest_free_number_which_stands_in_its_keys(database: Database) -> None:
    seats = [join(database, place) for place in ("a", "b", "c")]
    assert [seat.number for seat in seats] == [0, 1, 2]
    assert [node_of(KeySource(node=seat.number).next(10**12)) for seat in seats] == [0, 1, 2]
    with database.begin() as tx:
        nodes.leave(tx, seats[1], now_ms=0)
    assert join(database, "d").number == 1


def test_one_more_than_there_are_numbers_is_refused(database: Database) -> None:
    with database.begin() as tx:
        for number in range(NODE_MAX):
            assert nodes.join(tx, place=str(number), run=1, incarnation=number, now_ms=1).number == number
        with pytest.raises(OperatorError, match="255 hub processes"):
            nodes.join(tx, place="one more", run=1, incarnation=0, now_ms=1)


def test_a_restart_in_the_same_place_holds_what_the_run_before_it_held(database: Database) -> None:
    join(database, "a")
    other = join(database, "b")
    owe(database, 0)
    again = join(database, "a", run=2)
    assert holders(database) == {0: again.number, 1: other.number, 2: again.number}


def test_a_directory_is_the_same_place_after_a_restart_and_a_copy_of_it_another(tmp_path: Path) -> None:
    # Whoever runs in the copy must not take the other for dead.
    place = place_of(tmp_path / "hub")
    assert place_of(tmp_path / "hub") == place
    shutil.copytree(tmp_path / "hub", tmp_path / "copy")
    assert place_of(tmp_path / "copy") != place


def test_neither_comes_nor_goes_a_process_of_an_older_version_where_a_newer_one_has_migrated(
    database: Database,
) -> None:
    seat = join(database, "a")
    with database.begin() as tx:
        tx.run("UPDATE alembic_version SET version_num = '9999'")
    before = read(database)
    with pytest.raises(OperatorError, match="A newer version of vuka has migrated"):
        join(database, "b")
    with pytest.raises(FencedError, match="A newer version of vuka has migrated"), database.begin() as tx:
        nodes.leave(tx, seat, now_ms=1)
    assert read(database) == before


def test_workers_of_one_run_leave_each_other_alone(database: Database) -> None:
    seats = [join(database, "a", run=7) for _ in range(3)]
    assert holders(database) == {0: 0, 1: 1, 2: 2}
    for seat in seats:
        sign(database, seat)


# --- signatures ---------------------------------------------------------------------------------------------------


def test_a_batch_is_signed_and_known_by_its_key(database: Database) -> None:
    seat = join(database, "a")
    sign(database, seat, 77)
    with database.read() as tx:
        assert nodes.last_batch(tx, seat) == 77
        assert nodes.last_batch(tx, Seat(seat.number, seat.incarnation + 1)) is None
    assert [node.beats for node in read(database)] == [1]


def test_a_batch_that_was_rolled_back_is_not_the_last(database: Database) -> None:
    seat = join(database, "a")
    sign(database, seat, 76)
    tx = database.start()
    nodes.sign(tx, seat, 77)
    tx.rollback()
    with database.read() as tx:
        assert nodes.last_batch(tx, seat) == 76


def test_one_that_was_taken_over_writes_nothing_more(database: Database) -> None:
    dead, alive = join(database, "a"), join(database, "b")
    assert take_over(database, dead.number, alive)
    with pytest.raises(FencedError):
        sign(database, dead)
    sign(database, alive)


def test_one_whose_number_was_given_to_another_writes_nothing_more(database: Database) -> None:
    first = join(database, "a")
    with database.begin() as tx:
        nodes.leave(tx, first, now_ms=0)
    second = join(database, "b")
    assert second.number == first.number
    with pytest.raises(FencedError):
        sign(database, first)


# --- taking over --------------------------------------------------------------------------------------------------


def test_whoever_takes_over_holds_also_what_the_dead_one_held_for_others(database: Database) -> None:
    a, b, c = (join(database, place) for place in "abc")
    assert take_over(database, a.number, b)
    assert take_over(database, b.number, c)
    assert holders(database) == {0: 2, 1: 2, 2: 2}


def test_one_that_has_signed_since_it_was_looked_at_is_not_taken_over(database: Database) -> None:
    slow, other = join(database, "a"), join(database, "b")
    (seen, _) = read(database)
    sign(database, slow)
    assert decide(database, nodes._take_over, TakeOver(dead=seen, by=other)) is False
    assert holders(database) == {0: 0, 1: 1}
    sign(database, slow)


def test_of_two_that_take_over_at_once_one_does(database: Database) -> None:
    join(database, "a")
    b, c = join(database, "b"), join(database, "c")
    (seen, *_) = read(database)
    done = [decide(database, nodes._take_over, TakeOver(dead=seen, by=by)) for by in (b, c)]
    assert (done, holders(database)) == ([True, False], {0: 1, 1: 1, 2: 2})


def test_a_number_is_free_again_when_nothing_is_owed_under_it(database: Database) -> None:
    dead, alive = join(database, "a"), join(database, "b")
    key = owe(database, dead.number)
    take_over(database, dead.number, alive)
    decide(database, nodes._tidy, TidyNodes(by=alive))
    assert holders(database) == {0: 1, 1: 1}
    with database.begin() as tx:
        tx.run("DELETE FROM delivery WHERE message_id = ?", (key,))
    decide(database, nodes._tidy, TidyNodes(by=alive))
    assert holders(database) == {1: 1}


def test_one_that_ends_owing_nothing_leaves_no_row_and_one_that_owes_is_marked(database: Database) -> None:
    a, b = join(database, "a"), join(database, "b")
    owe(database, b.number)
    with database.begin() as tx:
        nodes.leave(tx, a, now_ms=0)
        nodes.leave(tx, b, now_ms=0)
    assert [(node.number, bool(node.is_stopped)) for node in read(database)] == [(1, True)]


def test_a_message_of_a_node_that_is_long_gone_finds_somebody_to_send_it(database: Database) -> None:
    seat = join(database, "a")
    key = owe(database, 9)
    with database.begin() as tx:
        nodes.ask_again(tx, key)
    watch = Watch(seat)
    (orphan,) = watch.look(read(database), 0)
    assert orphan.number == 9
    assert take_over(database, 9, seat)
    assert holders(database) == {0: 0, 9: 0}


def test_a_holder_is_told_that_a_message_is_to_be_sent_again(database: Database) -> None:
    join(database, "a")
    with database.begin() as tx:
        nodes.ask_again(tx, KeySource(node=0).next(10**12))
    assert [node.resends for node in read(database)] == [1]


# --- who is dead --------------------------------------------------------------------------------------------------


def node(number: int, beats: int = 0, **fields: Any) -> Node:
    values = {"place": "x", "run": 1, "incarnation": 1, "held_by": number, "resends": 0, "is_stopped": 0, **fields}
    return Node(number=number, beats=beats, **values)


def looks(watch: Watch, there: Node, times: Sequence[int]) -> list[bool]:
    return [bool(watch.look([node(0), there], at)) for at in times]


def test_one_that_is_silent_for_long_enough_is_dead() -> None:
    watch = Watch(Seat(0, 1))
    times = range(0, SILENCE_MS + 1, BEAT_MS)
    assert looks(watch, node(1), times) == [False] * (len(times) - 1) + [True]


def test_one_that_signs_lives() -> None:
    watch = Watch(Seat(0, 1))
    assert not any(watch.look([node(1, beats=at // 3_000)], at) for at in range(0, 60_000, BEAT_MS))


def test_nobody_is_dead_for_a_silence_in_which_the_watcher_could_write_nothing_either() -> None:
    watch = Watch(Seat(0, 1))
    assert looks(watch, node(1), [0, 60_000, 60_010, 60_020]) == [False] * 4
    assert LOOKS_MIN >= 4


def test_one_that_has_ended_in_order_is_dead_at_once_and_one_taken_over_is_somebody_elses() -> None:
    watch = Watch(Seat(0, 1))
    assert watch.look([node(1, is_stopped=1)], 0) == [node(1, is_stopped=1)]
    assert watch.look([node(2, is_stopped=1, held_by=3)], 0) == []


def test_a_new_incarnation_is_a_new_node() -> None:
    watch = Watch(Seat(0, 1))
    looks(watch, node(1), range(0, SILENCE_MS, BEAT_MS))
    assert looks(watch, node(1, incarnation=2), [SILENCE_MS, SILENCE_MS + 1]) == [False, False]


def test_a_node_stops_delivering_before_another_may_begin() -> None:
    assert LEASE_MS + BEAT_MS < SILENCE_MS
