"""A hub of life with recording participants around it, shared by the tests of one page."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.recorder import Recorder
from tests.e2e.running import RunningHub, running

from vuka.httpclient import HttpClient
from vuka.money import Amount
from vuka.sim.onboard import Operator, Terms
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

TERMS = Terms(net_debit_cap=Amount.from_string("1000000 USD").minor, funds=Amount.from_string("1000000 USD").minor)

BATCH_ENDPOINTS = {
    "FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT": "/participants/{{requestId}}",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT_ERROR": "/participants/{{requestId}}/error",
}


class Wire:
    """A hub, its operator, and three participants that keep what they get."""

    def __init__(self, hub: RunningHub, client: HttpClient) -> None:
        self.hub = hub
        self.operator = Operator(client, hub.operators_url)
        self.client = client
        self.payer = Recorder("payerfsp", client, hub.participants_url)
        self.payee = Recorder("payeefsp", client, hub.participants_url)
        self.other = Recorder("otherfsp", client, hub.participants_url)

    @property
    def all(self) -> tuple[Recorder, ...]:
        """The participants."""
        return self.payer, self.payee, self.other

    async def take_in(self, recorder: Recorder) -> None:
        """Onboards a participant with every endpoint."""
        await recorder.server.start()
        await self.operator.add_participant(recorder.name, recorder.server.url, {"USD": TERMS})
        for kind, path in BATCH_ENDPOINTS.items():
            await self.point(recorder, kind, recorder.server.url + path)

    async def point(self, recorder: Recorder, kind: str, value: str) -> None:
        """Registers where a participant is called back."""
        await self.operator.do("POST", f"/participants/{recorder.name}/endpoints", {"type": kind, "value": value})

    async def serve(self, recorder: Recorder, *ids: str) -> None:
        """Has the hub's oracle know that a participant serves a party."""
        names = ("partyIdType", "partyIdentifier", "partySubIdOrType")
        party = {**dict(zip(names, ids, strict=False)), "fspId": recorder.name}
        await self.operator.do("POST", "/oracle/parties", party)

    async def reserved(self, transfer: dict[str, Any] | None = None, **headers: str | None) -> str:
        """A transfer that has reached its payee; its id."""
        body = transfer or self.transfer()
        answer = await self.payer.send("POST", "/transfers", body, self.payee.name, **headers)
        assert answer.status == 202, answer.body
        await self.payee.heard("POST", "/transfers", having=body["transferId"].encode())
        transfer_id: str = body["transferId"]
        return transfer_id

    def transfer(self, **changed: Any) -> dict[str, Any]:
        """A body of ``POST /transfers``."""
        return {
            "transferId": str(uuid.uuid4()),
            "payerFsp": self.payer.name,
            "payeeFsp": self.payee.name,
            "amount": {"amount": "10", "currency": "USD"},
            "ilpPacket": ILP_PACKET,
            "condition": CONDITION,
            "expiration": in_seconds(30),
            **changed,
        }


def in_seconds(seconds: float) -> str:
    """A DateTime so far from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fulfilled(state: str, **changed: Any) -> dict[str, Any]:
    """A body of ``PUT /transfers/{ID}``."""
    return {"fulfilment": FULFILMENT, "completedTimestamp": in_seconds(0), "transferState": state, **changed}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    """One hub and three participants for all tests of a page: each test uses ids of its own."""
    client = HttpClient(timeout_ms=5_000)
    async with running(tmp_path_factory.mktemp("hub") / "data") as hub:
        wire = Wire(hub, client)
        await wire.operator.add_hub_accounts("USD")
        for each in wire.all:
            await wire.take_in(each)
        yield wire
        for each in wire.all:
            await each.server.stop()
    await client.close()
