"""A hub on real sockets inside the test's loop, and participants that keep every byte they are sent."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests import stores

from vuka.api.hub import Hub
from vuka.api.server import Addresses, serve
from vuka.config import Config, Listener, OperatorsApi, ParticipantsApi, load
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response
from vuka.sim.onboard import Operator, Terms
from vuka.sim.participant import now_ms
from vuka.sim.server import Answer, Inquiry, Server
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

WAIT_SECONDS = 10.0


class Recorder:
    """A participant that answers every request and remembers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Inquiry] = []
        self.answer: Callable[[Inquiry], Answer | None] = lambda _inquiry: Answer(202)
        self._arrived = asyncio.Event()
        self.server = Server(self._handle)

    def _handle(self, inquiry: Inquiry) -> Answer | None:
        self.got.append(inquiry)
        self._arrived.set()
        return self.answer(inquiry)

    async def one(self, method: str, path: str) -> Inquiry:
        """The first request of that method and path, as soon as it has come."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for inquiry in self.got:
                    if (inquiry.method, inquiry.path) == (method, path):
                        return inquiry
                self._arrived.clear()
                await self._arrived.wait()


class Rig:
    """A running hub, an HTTP client, and the participants of a test."""

    def __init__(self, config: Config, addresses: Addresses, hub: Hub) -> None:
        self.config = config
        self.addresses = addresses
        self.hub = hub
        self.client = HttpClient(timeout_ms=10_000)
        self.operator = Operator(self.client, addresses.operators_url)
        self.participants: dict[str, Recorder] = {}

    async def join(
        self, name: str, *, cap: int = 10_000_000, funds: int = 10_000_000, currency: str = "USD"
    ) -> Recorder:
        """A new participant, onboarded and funded."""
        recorder = Recorder(name)
        await recorder.server.start()
        self.participants[name] = recorder
        await self.operator.add_participant(name, recorder.server.url, {"USD": Terms(cap, funds)})
        await self.set_endpoint(name, BATCH_ENDPOINT, recorder.server.url + "/participants/{{requestId}}")
        return recorder

    async def set_endpoint(self, name: str, kind: str, value: str) -> None:
        """Sets one endpoint by the operators' API."""
        await self.operator.do("POST", f"/participants/{name}/endpoints", {"type": kind, "value": value})

    async def send(
        self,
        method: str,
        path: str,
        source: str,
        *,
        destination: str | None = None,
        body: bytes | None = None,
        version: Version = Version.V1_1,
        headers: dict[str, str | None] | None = None,
    ) -> Response:
        """One message of a participant; ``headers`` replace the usual ones, None leaves one out."""
        resource = path.split("/")[1].partition("?")[0]
        usual = hub_headers(
            resource, version, method=method, source=source, destination=destination, uri=path, now_ms=now_ms()
        )
        changed = {name.lower(): value for name, value in (headers or {}).items()}
        kept = [(name, value) for name, value in usual if name.lower() not in changed]
        kept += [(name, value) for name, value in (headers or {}).items() if value is not None]
        return await self.client.send(Request(method, self.addresses.participants_url + path, kept, body))

    async def position(self, name: str, currency: str = "USD") -> object:
        """A participant's position, as the operators' API shows it."""
        answer = await self.operator.do("GET", f"/participants/{name}/positions?currency={currency}")
        return answer["value"]

    async def close(self) -> None:
        for recorder in self.participants.values():
            await recorder.server.stop()
        await self.client.close()


BATCH_ENDPOINT = "FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT"


@asynccontextmanager
async def running(directory: Path, **sections: msgspec.Struct) -> AsyncIterator[Rig]:
    """A hub in a directory, made there when there is none; it stops in order at the end."""
    data = directory / "hub"
    config = stores.configured(load(None, {}, data_dir=str(data)))
    config = msgspec.structs.replace(
        config, participants_api=ParticipantsApi(port=0), operators_api=OperatorsApi(port=0), **sections
    )
    assert isinstance(config.participants_api, Listener)
    if not data.exists():
        stores.found(config, "Test", ["USD", "KES"])
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[tuple[Addresses, Hub]] = loop.create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(
        serve(config, ready=lambda addresses, hub: ready.set_result((addresses, hub)), stop=stop)
    )
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    rig = Rig(config, *ready.result())
    try:
        yield rig
    finally:
        await rig.close()
        stop.set()
        await task


def transfer(
    payer: str,
    payee: str,
    *,
    amount: str = "10",
    currency: str = "USD",
    seconds: float = 30,
    transfer_id: str | None = None,
) -> dict[str, Any]:
    """The body of a ``POST /transfers``."""
    return {
        "transferId": str(uuid.uuid4()),
        "payerFsp": payer,
        "payeeFsp": payee,
        "amount": {"amount": amount, "currency": "USD"},
        "ilpPacket": ILP_PACKET,
        "condition": CONDITION,
        "expiration": format_datetime_ms(now_ms() + round(seconds * 1000)),
    }


def answer(state: str) -> dict[str, Any]:
    """The body of a payee's ``PUT /transfers/{ID}``."""
    return {"transferState": state, "fulfilment": FULFILMENT, "completedTimestamp": format_datetime_ms(now_ms())}


def encode(body: object) -> bytes:
    """JSON with the spaces and the order that Python's own encoder gives it: not how the hub would write it."""
    return json.dumps(body, ensure_ascii=False).encode()


def error_of(response: Response) -> tuple[int, str, str]:
    """Status, code and description of a refusal."""
    information = json.loads(response.body)["errorInformation"]
    return response.status, information["errorCode"], information["errorDescription"]
