"""The duplicate matrix (hub reference §4.8): what a message sent again is answered with, one row for each cell.

A resend is a message with the same id that says the same, whatever the order of its keys and its spaces; one that says
something else is a modified request. The cells of messages in progress whose progress is over within one commit here
are shown on the bench, where nothing moves by itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import pytest
from tests.contract.application import Api
from tests.e2e.conftest import Wire, fulfilled, in_seconds
from tests.e2e.recorder import Recorder, json_of
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import PAYEE, PAYER, abort, fulfil, prepare, told

from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

pytestmark = pytest.mark.asyncio(loop_scope="module")

ERROR: Final = {"errorInformation": {"errorCode": "5104", "errorDescription": "Payee rejected transaction"}}
COMMITTED: Final = {"transferState": "COMMITTED", "fulfilment": FULFILMENT}
ABORTED: Final = {
    "transferState": "ABORTED",
    "extensionList": {"extension": [{"key": "cause", "value": "5104: Payee rejected transaction"}]},
}
RESERVED: Final = {"transferState": "RESERVED"}
MODIFIED: Final = {"errorInformation": {"errorCode": "3106", "errorDescription": "Modified request"}}


class Message(NamedTuple):
    """A message that was sent once: by whom, where to, and what it says; and how it would say something else."""

    sender: Recorder
    method: str
    path: str
    to: str
    body: dict[str, Any]
    other: dict[str, Any]

    async def again(self, body: dict[str, Any]) -> int:
        """Sends it once more: the same with other spaces and its keys the other way round."""
        turned = dict(reversed(body.items()))
        encoded = json.dumps(turned, indent=1, ensure_ascii=True).encode()
        return (await self.sender.send(self.method, self.path, encoded, self.to)).status

    async def first(self) -> None:
        """Sends it for the first time."""
        answer = await self.sender.send(self.method, self.path, self.body, self.to)
        assert answer.status in (200, 202), answer.body


Arrange = Callable[[Wire], Awaitable[tuple[Message, str]]]


class Cell(NamedTuple):
    """A message, how far what it began has come, and what its sender hears of a resend of it."""

    message: str
    progress: str
    arrange: Arrange
    answer: dict[str, Any]


CELLS: list[Cell] = []


def cell(message: str, progress: str, answer: dict[str, Any]) -> Callable[[Arrange], Arrange]:
    """Enters a cell: what brings the message so far; it returns the message, and the path that answers come on."""

    def enter(arrange: Arrange) -> Arrange:
        CELLS.append(Cell(message, progress, arrange, answer))
        return arrange

    return enter


async def posted(wire: Wire) -> tuple[Message, str]:
    """A transfer that its payee has."""
    body = wire.transfer()
    other = {**body, "amount": {"amount": "10.01", "currency": "USD"}}
    await wire.reserved(body)
    message = Message(wire.payer, "POST", "/transfers", wire.payee.name, body, other)
    return message, f"/transfers/{body['transferId']}"


async def answered(wire: Wire, body: dict[str, Any], other: dict[str, Any], suffix: str = "") -> tuple[Message, str]:
    """The payee's answer to a transfer, that its payer has heard."""
    path = f"/transfers/{await wire.reserved()}"
    message = Message(wire.payee, "PUT", path + suffix, wire.payer.name, body, other)
    await message.first()
    await wire.payer.heard("PUT", path + suffix)
    return message, path


@cell("POST /transfers", "reserved", RESERVED)
async def post_reserved(wire: Wire) -> tuple[Message, str]:
    return await posted(wire)


@cell("POST /transfers", "committed", COMMITTED)
async def post_committed(wire: Wire) -> tuple[Message, str]:
    message, path = await posted(wire)
    await wire.payee.send("PUT", path, fulfilled("RESERVED"), wire.payer.name)
    await wire.payer.heard("PUT", path)
    return message, path


@cell("POST /transfers", "aborted", ABORTED)
async def post_aborted(wire: Wire) -> tuple[Message, str]:
    message, path = await posted(wire)
    await wire.payee.send("PUT", f"{path}/error", ERROR, wire.payer.name)
    await wire.payer.heard("PUT", f"{path}/error")
    return message, path


@cell("PUT /transfers", "committed", COMMITTED)
async def put_committed(wire: Wire) -> tuple[Message, str]:
    body = fulfilled("COMMITTED")
    message, path = await answered(wire, body, {**body, "completedTimestamp": in_seconds(-1)})
    # The hub's confirmation that it committed.
    await wire.payee.heard("PUT", path)
    return message, path


@cell("PUT /transfers error", "aborted", ABORTED)
async def put_error_aborted(wire: Wire) -> tuple[Message, str]:
    other = {"errorInformation": {"errorCode": "5100", "errorDescription": "No"}}
    message, path = await answered(wire, ERROR, other, "/error")
    # The hub's confirmation that it aborted.
    await wire.payee.heard("PUT", f"{path}/error")
    return message, path


def without_its_time(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "completedTimestamp"}


def params() -> list[Any]:
    return [pytest.param(each, id=f"{each.message}, {each.progress}") for each in CELLS]


@pytest.mark.parametrize("cell", params())
async def test_the_same_again_is_answered_with_how_it_stands(wire: Wire, cell: Cell) -> None:
    message, path = await cell.arrange(wire)
    message.sender.received.clear()
    assert await message.again(message.body) in (200, 202)
    heard = await message.sender.heard("PUT", path)
    assert without_its_time(json_of(heard.body)) == cell.answer
    assert heard.headers["fspiop-source"] == "Hub"


@pytest.mark.parametrize("cell", params())
async def test_something_else_again_is_a_modified_request_told_to_its_sender(wire: Wire, cell: Cell) -> None:
    message, path = await cell.arrange(wire)
    message.sender.received.clear()
    assert await message.again(message.other) in (200, 202)
    heard = await message.sender.heard("PUT", f"{path}/error")
    assert json_of(heard.body) == MODIFIED
    assert heard.headers["fspiop-source"] == "Hub"


@pytest.mark.parametrize("cell", params())
@pytest.mark.parametrize("modified", [False, True], ids=["the same", "something else"])
async def test_neither_reaches_the_other_side_nor_changes_anything(wire: Wire, cell: Cell, modified: bool) -> None:
    message, path = await cell.arrange(wire)
    state = wire.hub.states()[path.split("/")[2]]
    before = await wire.hub.journal(path.split("/")[2])
    message.sender.received.clear()
    await message.again(message.other if modified else message.body)
    await message.sender.heard("PUT", f"{path}/error" if modified else path)
    since = (await wire.hub.journal(path.split("/")[2]))[len(before) :]
    assert {each[4] for each in since if each[0] == "out"} == {message.sender.name}
    assert wire.hub.states()[path.split("/")[2]] == state


# --- in progress, on the bench ---------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Any:
    """A scheme of payerfsp and payeefsp in memory: time stands still."""
    bench = SchemeBench()
    for name in (PAYER, PAYEE):
        bench.onboard(name, "USD", cap="1000", funds="1000")
    yield bench
    bench.audit()
    bench.close()


async def test_post_transfers_while_it_is_received_is_ignored(bench: SchemeBench) -> None:
    transfer = prepare(bench, "10 USD")
    bench.take_notices()
    outcomes = bench.run_many([transfer, transfer])
    assert outcomes[1].note == "ignored: a resend of what is in progress"
    assert told(bench) == [f"{PAYEE}: POST from {PAYER}"]


async def test_put_transfers_while_its_transfer_has_not_ended_is_ignored(bench: SchemeBench) -> None:
    """Here only an answer that came too late leaves its transfer as it was, until the timer ends it."""
    transfer = prepare(bench, "10 USD", expires_in_ms=1_000)
    bench.accept(transfer)
    bench.advance(1_001)
    answer = fulfil(bench, transfer)
    bench.accept(answer)
    bench.take_notices()
    assert bench.accept(answer).note == "ignored: a resend of what is in progress"
    assert told(bench) == []


async def test_put_transfers_error_while_its_transfer_has_not_ended_is_ignored(bench: SchemeBench) -> None:
    transfer = prepare(bench, "10 USD", expires_in_ms=1_000)
    bench.accept(transfer)
    bench.advance(1_001)
    answer = abort(bench, transfer)
    bench.accept(answer)
    bench.take_notices()
    assert bench.accept(answer).note == "ignored: a resend of what is in progress"
    assert told(bench) == []


# --- quotes ----------------------------------------------------------------------------------------------------------


def a_quote() -> dict[str, Any]:
    party = {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}
    return {
        "quoteId": str(uuid.uuid4()),
        "transactionId": str(uuid.uuid4()),
        "payee": party,
        "payer": party,
        "amountType": "SEND",
        "amount": {"amount": "10", "currency": "USD"},
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    }


@pytest.mark.parametrize("progress", ["asked", "answered"])
async def test_post_quotes_again_is_passed_on_again(wire: Wire, progress: str) -> None:
    body = a_quote()
    message = Message(wire.payer, "POST", "/quotes", wire.payee.name, body, {})
    await message.first()
    await wire.payee.heard("POST", "/quotes", having=body["quoteId"].encode())
    if progress == "answered":
        terms = {
            "transferAmount": {"amount": "10", "currency": "USD"},
            "expiration": in_seconds(60),
            "ilpPacket": ILP_PACKET,
            "condition": CONDITION,
        }
        await wire.payee.send("PUT", f"/quotes/{body['quoteId']}", terms, wire.payer.name)
        await wire.payer.heard("PUT", f"/quotes/{body['quoteId']}")
    assert await message.again(body) == 202
    await wire.payee.heard("POST", "/quotes", count=2, having=body["quoteId"].encode())


async def test_post_quotes_with_something_else_is_a_modified_request(wire: Wire) -> None:
    body = a_quote()
    message = Message(wire.payer, "POST", "/quotes", wire.payee.name, body, {**body, "amountType": "RECEIVE"})
    await message.first()
    assert await message.again(message.other) == 202
    assert json_of((await wire.payer.heard("PUT", f"/quotes/{body['quoteId']}/error")).body) == MODIFIED


# --- what the hub does not have --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/fxTransfers"), ("PUT", f"/fxTransfers/{uuid.UUID(int=0)}"), ("POST", "/bulkTransfers")],
)
async def test_what_the_hub_does_not_have_it_does_not_take_twice_either(api: Api, method: str, path: str) -> None:
    for _ in range(2):
        assert (await api.send(method, path, version="2.0")).refusal[:2] == (501, "2002")
