"""A tiny hub for the tests of participants: it routes, remembers transfers, and does what a test has it do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from vuka.fspiop import ilp
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, TransportError
from vuka.sim.participant import Participant, now_ms
from vuka.sim.server import Answer, Inquiry, Server

WAIT_SECONDS = 5


class Message(msgspec.Struct, frozen=True):
    """One message that reached the hub."""

    method: str
    key: tuple[str, ...]
    source: str
    destination: str
    body: bytes
    version: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


class Transfer(msgspec.Struct):
    """What the hub knows of a transfer."""

    transfer_id: str
    payer: str
    payee: str
    condition: str
    state: str = "RESERVED"
    fulfilment: str = ""
    cause: str = ""
    answer: bytes = b""


class FakeHub:
    """Routes between participants of one process."""

    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.server = Server(self._handle)
        self.participants: dict[str, Participant] = {}
        self.oracle: dict[tuple[str, ...], str] = {}
        self.transfers: dict[str, Transfer] = {}
        self.messages: list[Message] = []
        self.refusals: list[Answer] = []
        """What the next requests are refused with."""
        self.loses: Callable[[str, str, tuple[str, ...]], bool] = lambda _to, _method, _key: False
        """Whether a message (recipient, method, path) is lost on its way."""
        self.confirms_to_payee = True
        self.ignores_transfers = False
        self._something = asyncio.Event()

    def serve(self, *participants: Participant) -> None:
        """Takes participants in, with all their customers."""
        for participant in participants:
            participant.hub_url = self.server.url
            self.participants[participant.name] = participant
            self.oracle.update(dict.fromkeys(participant.customers, participant.name))

    def of(self, method: str, resource: str) -> list[Message]:
        """The messages of one kind, in their order."""
        return [each for each in self.messages if each.method == method and each.key[0] == resource]

    async def until(self, holds: Callable[[], object]) -> None:
        """Waits until something holds, looking whenever a message came or was delivered."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds():
                self._something.clear()
                await self._something.wait()

    # --- what arrives -----------------------------------------------------------------------------------------

    def _handle(self, inquiry: Inquiry) -> Answer | Awaitable[Answer]:
        headers = inquiry.headers
        key = tuple(unquote(each) for each in inquiry.path.split("/")[1:])
        message = Message(
            inquiry.method,
            key,
            headers["fspiop-source"],
            headers.get("fspiop-destination", ""),
            inquiry.body,
            headers["content-type"].rpartition("=")[2],
        )
        self._something.set()
        if self.refusals:
            return self.refusals.pop(0)
        self.messages.append(message)
        self.server.spawn(self._act(message))
        return Answer(202 if message.method in ("GET", "POST") else 200)

    async def _act(self, message: Message) -> None:
        match message.method, message.key:
            case "GET", ("parties", *ids):
                to = self.oracle.get(tuple(ids))
                if to is None:
                    await self.tell_error(message.source, message.key, "3204", "Party not found")
                else:
                    await self._forward(message, to)
            case "POST", ("participants", *ids):
                self.oracle[tuple(ids)] = message.source
                await self.tell(message.source, "PUT", message.key, {"fspId": message.source})
            case "POST", ("transfers",):
                await self._prepare(message)
            case "GET", ("transfers", transfer_id):
                await self._get(message, transfer_id)
            case "PUT", ("transfers", transfer_id, *rest):
                await self._fulfil(message, self.transfers[transfer_id], is_error=bool(rest))
            case _:
                await self._forward(message, message.destination)

    async def _prepare(self, message: Message) -> None:
        body = message.json
        transfer_id = body["transferId"]
        if self.ignores_transfers or transfer_id in self.transfers:
            return
        self.transfers[transfer_id] = Transfer(transfer_id, body["payerFsp"], body["payeeFsp"], body["condition"])
        await self._forward(message, body["payeeFsp"])

    async def _get(self, message: Message, transfer_id: str) -> None:
        transfer = self.transfers.get(transfer_id)
        if transfer is None:
            await self.tell_error(message.source, message.key, "3208", "Transfer ID not found")
            return
        await self._result(transfer, message.source)

    async def _fulfil(self, message: Message, transfer: Transfer, *, is_error: bool) -> None:
        key = ("transfers", transfer.transfer_id)
        if message.source != transfer.payee:
            await self.tell_error(message.source, key, "3100", "FSPIOP-Source header should match Payee FSP")
            return
        if transfer.answer:
            if transfer.answer != message.body:
                await self.tell_error(message.source, key, "3106", "Modified request")
            return
        transfer.answer = message.body
        body = message.json
        if is_error:
            information = body["errorInformation"]
            transfer.state = "ABORTED"
            transfer.cause = f"{information['errorCode']}: {information['errorDescription']}"
            await self._forward(message, transfer.payer)
        elif not ilp.fulfilment_matches(body["fulfilment"], transfer.condition):
            transfer.state, transfer.cause = "ABORTED", "3100: invalid fulfilment"
            for party in (transfer.payer, transfer.payee):
                await self.tell_error(party, key, "3100", "invalid fulfilment")
            await self._patch(transfer)
        elif transfer.state == "RESERVED":
            transfer.state, transfer.fulfilment = "COMMITTED", body["fulfilment"]
            await self._result(transfer, transfer.payer)
            if body["transferState"] == "RESERVED":
                await self._patch(transfer)
            elif self.confirms_to_payee:
                await self._result(transfer, transfer.payee)

    async def expire(self, transfer_id: str) -> None:
        """The transfer's time is over: both are told."""
        transfer = self.transfers[transfer_id]
        transfer.state, transfer.cause = "ABORTED", "3303: Transfer expired"
        for party in (transfer.payer, transfer.payee):
            await self.tell_error(party, ("transfers", transfer_id), "3303", "Transfer expired")

    # --- what is told -----------------------------------------------------------------------------------------

    async def _patch(self, transfer: Transfer) -> None:
        body = {"transferState": transfer.state, "completedTimestamp": format_datetime_ms(now_ms())}
        await self.tell(transfer.payee, "PATCH", ("transfers", transfer.transfer_id), body)

    async def _result(self, transfer: Transfer, to: str) -> None:
        body: dict[str, object] = {"transferState": transfer.state}
        if transfer.fulfilment:
            body["fulfilment"] = transfer.fulfilment
        if transfer.cause:
            body["extensionList"] = {"extension": [{"key": "cause", "value": transfer.cause}]}
        await self.tell(to, "PUT", ("transfers", transfer.transfer_id), body)

    async def tell_error(self, to: str, key: tuple[str, ...], code: str, description: str) -> None:
        """PUT …/error from the hub."""
        body = {"errorInformation": {"errorCode": code, "errorDescription": description}}
        await self.tell(to, "PUT", (*key, "error"), body)

    async def tell(self, to: str, method: str, key: tuple[str, ...], body: object) -> None:
        """A message of the hub's own."""
        await self._deliver(to, method, key, "Hub", msgspec.json.encode(body))

    async def _forward(self, message: Message, to: str) -> None:
        body = message.body or None
        await self._deliver(to, message.method, message.key, message.source, body)

    async def _deliver(self, to: str, method: str, key: tuple[str, ...], source: str, body: bytes | None) -> None:
        if self.loses(to, method, key):
            return
        path = "/" + "/".join(quote(each, safe="") for each in key)
        headers = hub_headers(
            key[0], Version.V1_1, method=method, source=source, destination=to, uri=path, now_ms=now_ms()
        )
        try:
            await self.client.send(Request(method, self.participants[to].url + path, headers, body))
        except TransportError:
            return
        finally:
            self._something.set()
