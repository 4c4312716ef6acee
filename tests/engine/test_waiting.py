"""What waits for a batch: all else before questions, each kind in its order, and questions never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.engine.waiting import QUESTIONS_SHARE, Submission, Waiting, is_question
from vuka.ids import FspId, TransferId
from vuka.switch.transfers import ExpireTransfers, GetTransfer
from vuka.switch.work import Command, Inbound

MESSAGE = Inbound(
    message_id=1,
    method="GET",
    path="/transfers/1",
    headers=(),
    body=b"",
    source=FspId("payer"),
    destination=None,
    resource="transfers",
    ids=("1",),
    version="1.1",
    answer_version="1.1",
    received_ms=0,
)


def question() -> Command:
    return GetTransfer(message=MESSAGE, transfer_id=TransferId(1))


def other() -> Command:
    return ExpireTransfers()


@pytest.fixture(scope="module", name="loop")
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def filled(loop: asyncio.AbstractEventLoop, questions: Sequence[bool]) -> tuple[Waiting, list[Submission]]:
    """Some that wait, and all of them as they came."""
    waiting = Waiting()
    came = [Submission(question() if each else other(), loop.create_future()) for each in questions]
    for submission in came:
        waiting.add(submission)
    return waiting, came


def places(taken: Sequence[Submission], came: Sequence[Submission]) -> list[int]:
    """Which of those that came, by identity: commands may be alike."""
    return [next(place for place, each in enumerate(came) if each is one) for one in taken]


def test_what_is_no_question_goes_first_and_each_kind_as_it_came(loop: asyncio.AbstractEventLoop) -> None:
    waiting, came = filled(loop, [True, False, True, False])
    assert places(waiting.take(10), came) == [1, 3, 0, 2]
    assert len(waiting) == 0


def test_a_part_of_each_batch_is_kept_for_questions(loop: asyncio.AbstractEventLoop) -> None:
    waiting, came = filled(loop, [False] * 20 + [True] * 20)
    assert places(waiting.take(8), came) == [0, 1, 2, 3, 4, 5, 20, 21]


def test_what_is_put_back_is_taken_again_first_and_in_its_order(loop: asyncio.AbstractEventLoop) -> None:
    waiting, came = filled(loop, [True, False, True, False, True])
    taken = waiting.take(4)
    waiting.put_back(taken)
    assert places(waiting.take(10), came) == [1, 3, 0, 2, 4]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20))
def test_batches_take_all_once_none_more_than_asked_and_questions_are_not_starved(
    loop: asyncio.AbstractEventLoop, questions: list[bool], count: int
) -> None:
    waiting, came = filled(loop, questions)
    taken: list[Submission] = []
    while waiting:
        asked, others = waiting.count(is_question=True), waiting.count(is_question=False)
        batch = waiting.take(count)
        got = sum(is_question(each.command) for each in batch)
        assert len(batch) == min(count, asked + others)
        assert got >= min(asked, count // QUESTIONS_SHARE)
        taken += batch
    assert sorted(places(taken, came)) == list(range(len(came)))
    for kind in (True, False):
        of_kind = [place for place in places(taken, came) if questions[place] is kind]
        assert of_kind == sorted(of_kind)
