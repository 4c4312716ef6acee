"""Time that is only counted, and processes that die on it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from random import Random
from typing import Any

import pytest

from vuka.simulation.beliefs import Beliefs, Word, condition_of, fulfilment_of, word_of
from vuka.simulation.loop import Process, StandstillError, VirtualLoop
from vuka.simulation.network import Call
from vuka.simulation.plan import Pay, draw_plan


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop(Random(1))
    yield made
    made.close()


def test_a_day_passes_at_once(loop: VirtualLoop) -> None:
    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return loop.time()

    assert 86_400 <= loop.run_until_complete(sleep()) < 86_401


def test_what_nobody_will_ever_wake_is_told(loop: VirtualLoop) -> None:
    with pytest.raises(StandstillError):
        loop.run_until_complete(asyncio.Event().wait())


def test_nothing_of_a_dead_process_goes_on(loop: VirtualLoop) -> None:
    process, did = Process("hub"), [""]

    async def work() -> None:
        asyncio.get_running_loop().call_later(2.0, did.append, "a timer")
        did.append("began")
        try:
            await asyncio.sleep(1.0)
            did.append("went on")
        finally:
            did.append("ended")

    async def whole() -> None:
        loop.start_in(process, work())
        await asyncio.sleep(0.5)
        loop.kill(process)
        process.context.copy().run(loop.call_soon, did.append, "asked after its death")
        await asyncio.sleep(5.0)

    loop.run_until_complete(whole())
    assert did == ["", "began"]
    loop.bury(process)


def test_what_runs_in_a_thread_has_its_effect_before_its_end_is_told(loop: VirtualLoop) -> None:
    loop.thread_seconds = lambda: (1.0, 2.0)
    effects: list[float] = []

    async def whole() -> float:
        await loop.run_in_executor(None, lambda: effects.append(loop.time()))
        return loop.time()

    assert loop.run_until_complete(whole()) >= 3.0
    assert 1.0 <= effects[0] < 1.1


def test_a_thread_that_raises_raises_where_it_is_waited_for(loop: VirtualLoop) -> None:
    def fail() -> None:
        raise KeyError("x")

    async def wait(coroutine: Coroutine[Any, Any, Any]) -> None:
        with pytest.raises(KeyError):
            await coroutine

    async def in_thread() -> None:
        await loop.run_in_executor(None, fail)

    loop.run_until_complete(wait(in_thread()))


# --- what is told -----------------------------------------------------------------------------------------------------


def told(body: bytes, source: str = "Hub") -> Word:
    return word_of(Call("hub", "PUT", "/transfers/x", (("FSPIOP-Source", source),), body))[0]


def error(code: str, description: str) -> bytes:
    return f'{{"errorInformation":{{"errorCode":"{code}","errorDescription":"{description}"}}}}'.encode()


@pytest.mark.parametrize(
    ("body", "source", "word"),
    [
        (b'{"transferState":"COMMITTED"}', "Hub", Word.COMMITTED),
        (b'{"transferState":"ABORTED"}', "Hub", Word.ABORTED),
        (b'{"transferState":"RESERVED"}', "Hub", Word.RESERVED),
        (error("3303", "Transfer expired"), "Hub", Word.ABORTED),
        (error("4001", "Payer FSP insufficient liquidity"), "Hub", Word.ABORTED),
        (error("3100", "Generic validation error - invalid fulfilment"), "Hub", Word.ABORTED),
        (error("3100", "FSPIOP-Destination header should match Payer FSP"), "Hub", Word.ABORTED),
        (error("3100", "non-RESERVED transfer state"), "Hub", Word.NOTHING),
        (error("3100", "FSPIOP-Source header should match Payee FSP"), "Hub", Word.NOTHING),
        (error("3106", "Modified request"), "Hub", Word.NOTHING),
        (error("3208", "Transfer ID not found"), "Hub", Word.UNKNOWN),
        (error("3106", "whatever the payee says"), "birch", Word.ABORTED),
    ],
)
def test_a_message_tells_an_end_or_that_a_message_is_refused(body: bytes, source: str, word: Word) -> None:
    assert told(body, source) is word


def test_two_ends_contradict_each_other_whoever_is_told() -> None:
    beliefs = Beliefs()
    pay = next(
        step for step in draw_plan(1, scenario="calm").steps if isinstance(step, Pay) and step.payer != step.payee
    )
    beliefs.payments[pay.transfer_id] = pay
    assert beliefs.hear(pay.payer, pay.transfer_id, Word.RESERVED) is None
    assert beliefs.hear(pay.payer, pay.transfer_id, Word.COMMITTED) is None
    assert beliefs.hear(pay.payee, pay.transfer_id, Word.COMMITTED) is None
    assert beliefs.hear("somebody", pay.transfer_id, Word.ABORTED) is None
    assert "was told COMMITTED" in (beliefs.hear(pay.payee, pay.transfer_id, Word.ABORTED) or "")
    assert beliefs.end_of(pay.transfer_id) is Word.COMMITTED


def test_a_fulfilment_fits_its_own_transfer_alone() -> None:
    assert fulfilment_of("a") != fulfilment_of("b")
    assert len(condition_of("a")) == len(fulfilment_of("a")) == 43
