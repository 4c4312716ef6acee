"""A participant of life, as a process of its own: it pays and is paid, writes down what it does, and survives a kill.

Two files are all that it knows after a restart. ``wire.jsonl`` has each message as it went out or came in, written
before it is sent or answered, and not yet understood. ``books.jsonl`` has the ends that it took from them: its own
account of the money. What it does about a transfer follows from the transfer's id alone, so that a process started anew
goes on as the one before it would have.

It is told what to do by lines on its standard input: ``pay 5``, ``conduct hangs``, ``finish``, ``stop``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import uuid
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response, TransportError
from vuka.money import Amount, format_amount
from vuka.sim import server
from vuka.sim.outcomes import Outcome, Outcomes, read_outcomes
from vuka.sim.participant import now_ms
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

CURRENCY: Final = "USD"
AMOUNT_MINOR_MAX: Final = 99_999
EXPIRES_MS: Final = 10_000
SILENT_EXPIRES_MS: Final = 1_500
RESEND_SECONDS: Final = 0.05
ASK_SECONDS: Final = 0.5
NO_END: Final = frozenset(("3106", "3208"))
"""Errors that end no transfer: an answer that was another one than before, and a question that overtook its POST."""


class Conduct(StrEnum):
    """What its server does to the hub's messages."""

    WELL = "well"
    HANGS = "hangs"
    """Takes connections and requests, and answers nothing."""
    FAILS = "fails"
    """Answers 500."""
    GARBAGE = "garbage"
    """Answers bytes that are no HTTP, and tells the hub nonsense."""
    RESETS = "resets"
    """Resets each connection as soon as something comes."""


class Choice(StrEnum):
    """How a payee answers a transfer: its id says it."""

    RESERVES = "reserves"
    COMMITS = "commits"
    DECLINES = "declines"
    SILENT = "silent"


def choice_of(transfer_id: str) -> Choice:
    """Of sixteen transfers two are declined and one is never answered; half of the rest is committed at once."""
    digit = int(transfer_id[-1], 16)
    if digit == 0:
        return Choice.SILENT
    if digit < 3:
        return Choice.DECLINES
    return Choice.RESERVES if digit % 2 else Choice.COMMITS


class Wire(msgspec.Struct, frozen=True):
    """One message. ``status`` is 0 for what goes out or comes in, and that of the answer to what went out."""

    at_ms: int
    direction: str
    """``out``, ``in`` or ``answered``."""
    method: str
    path: str
    status: int
    body: str


def read_wire(path: Path) -> list[Wire]:
    """What was written down; a line that a killed process left unfinished is passed over."""
    decoder = msgspec.json.Decoder(Wire)
    found: list[Wire] = []
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(msgspec.DecodeError):
                found.append(decoder.decode(line))
    return found


def told_end(method: str, path: str, body: bytes) -> tuple[str, str, str] | None:
    """The transfer's id, its end and an error's code, where the hub's message tells one."""
    parts = path.split("/")
    if method not in ("PUT", "PATCH") or len(parts) < 3 or parts[1] != "transfers":
        return None
    said = json.loads(body)
    if parts[-1] == "error":
        code = said["errorInformation"]["errorCode"]
        return None if code in NO_END else (parts[2], "ABORTED", code)
    end = said["transferState"]
    return (parts[2], end, "") if end in ("COMMITTED", "ABORTED") else None


class _Rude(asyncio.Protocol):
    """A connection on which nothing good comes of a request."""

    def __init__(self, owner: FaultyServer, conduct: Conduct) -> None:
        self._owner = owner
        self._conduct = conduct
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.connections.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport is not None:
            self._owner.connections.discard(self._transport)

    def data_received(self, _data: bytes) -> None:
        assert self._transport is not None
        self._owner.bitten += 1
        if self._conduct is Conduct.GARBAGE:
            self._transport.write(self._owner.random.choice(GARBAGE))
            if self._owner.random.random() < 0.5:
                self._transport.close()
            return
        # With no time to linger a close is a reset.
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


GARBAGE: Final = (
    b"\x00\xff\x16\x03\x01" * 40,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabc",
    b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 99999 Beyond\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 300_000,
    b"SSH-2.0-OpenSSH_9.2\r\n",
)


class FaultyServer(server.Server):
    """The server of a participant, which may behave badly for a while."""

    conduct = Conduct.WELL
    bitten = 0
    """Messages that found it behaving badly."""

    def __init__(self, handler: server.Handler, *, port: int, chance: random.Random) -> None:
        super().__init__(handler, port=port)
        self.random = chance

    async def start(self) -> None:
        """Begins to listen."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, self.host, self.port, backlog=1024)

    def _connection(self) -> asyncio.Protocol:
        if self.conduct in (Conduct.GARBAGE, Conduct.RESETS):
            return _Rude(self, self.conduct)
        return server._Connection(self)

    def behave(self, conduct: Conduct) -> None:
        """From now on; the connections of before are closed."""
        self.conduct = conduct
        for transport in list(self.connections):
            transport.abort()


class Participant:
    """One participant: payer of some transfers and payee of others."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.name: str = arguments.name
        self.hub: str = arguments.hub
        self.expires_ms: int = arguments.expires_ms
        self.peers: list[str] = arguments.peers.split(",")
        self.client = HttpClient(connect_timeout_ms=1_000, timeout_ms=arguments.timeout_ms)
        self.random = random.Random(arguments.seed)
        self.server = FaultyServer(self._handle, port=arguments.port, chance=self.random)
        directory = Path(arguments.directory)
        self._wire_path = directory / "wire.jsonl"
        self._books_path = directory / "books.jsonl"
        self._under_wanted = 0
        self._finishing = False
        self._to_send: dict[tuple[str, str], bytes | None] = {}
        """What is being sent until the hub takes it, by method and path, or by the transfer's id for a POST."""
        self._paying: dict[str, tuple[str, bytes, int]] = {}
        """Transfers that it has begun and knows no end of: payee, body, minor units."""
        self._paid: dict[str, tuple[str, int]] = {}
        """Transfers that came to it and of which it knows no end: payer, minor units."""
        self._answers: dict[str, tuple[str, bytes]] = {}
        """What it has answered as a payee: path and body."""
        self._ended: set[str] = set()
        self._refused: set[str] = set()
        self._unbooked: list[tuple[str, str, str]] = []
        """Ends that were written down as they came, before the process was killed that should have booked them."""
        self._recall()
        self._wire = self._wire_path.open("ab", buffering=0)
        self._books = Outcomes(self._books_path)
        self._quiet = asyncio.Event()

    # --- what it has written down -------------------------------------------------------------------------------

    def _recall(self) -> None:
        """What the process before this one has left."""
        if self._books_path.exists():
            self._ended = {each.transfer_id for each in read_outcomes(self._books_path)}
        if self._wire_path.exists() and not self._wire_path.read_bytes().endswith(b"\n"):
            with self._wire_path.open("ab") as file:
                file.write(b"\n")
        for each in read_wire(self._wire_path):
            body = each.body.encode()
            if each.direction == "in" and each.method == "POST":
                self._came(body)
            elif each.direction == "in":
                end = told_end(each.method, each.path, body)
                if end is not None and end[0] not in self._ended:
                    self._unbooked.append(end)
            elif each.direction == "out" and each.method == "POST":
                said = json.loads(body)
                if said["transferId"] not in self._ended:
                    self._paying[said["transferId"]] = (said["payeeFsp"], body, _minor(said))
            elif each.direction == "out" and each.method == "PUT":
                self._answers[each.path.split("/")[2]] = (each.path, body)
            elif each.direction == "answered" and each.method == "POST" and 400 <= each.status < 500:
                self._paying.pop(json.loads(body)["transferId"], None)

    def _note(self, direction: str, method: str, path: str, body: bytes | None, status: int = 0) -> None:
        text = (body or b"").decode("utf-8", "replace")
        self._wire.write(msgspec.json.encode(Wire(now_ms(), direction, method, path, status, text)) + b"\n")

    # --- being called -------------------------------------------------------------------------------------------

    def _handle(self, inquiry: server.Inquiry) -> server.Answer | None:
        if self.server.conduct is Conduct.HANGS:
            self.server.bitten += 1
            return None
        if self.server.conduct is Conduct.FAILS:
            self.server.bitten += 1
            return server.Answer(self.random.choice((500, 502, 503, 504)), b"oops")
        self._note("in", inquiry.method, inquiry.path, inquiry.body)
        if inquiry.method == "POST" and inquiry.path == "/transfers":
            transfer_id = self._came(inquiry.body)
            if transfer_id is not None:
                self._answer(transfer_id)
            return server.Answer(202)
        end = told_end(inquiry.method, inquiry.path, inquiry.body)
        if end is not None:
            self._book(*end)
        return server.Answer(200)

    def _came(self, body: bytes) -> str | None:
        said = json.loads(body)
        if said["transferId"] in self._ended:
            return None
        self._paid[said["transferId"]] = (said["payerFsp"], _minor(said))
        return cast(str, said["transferId"])

    def _answer(self, transfer_id: str) -> None:
        """The payee's answer: the same each time it is asked for."""
        kept = self._answers.get(transfer_id)
        if kept is None:
            choice = choice_of(transfer_id)
            if choice is Choice.SILENT:
                return
            path, said = f"/transfers/{transfer_id}", dict[str, Any]()
            if choice is Choice.DECLINES:
                path += "/error"
                said["errorInformation"] = {"errorCode": "5104", "errorDescription": "Payee rejected the transaction"}
            else:
                said["transferState"] = "RESERVED" if choice is Choice.RESERVES else "COMMITTED"
                said["fulfilment"] = FULFILMENT
                said["completedTimestamp"] = format_datetime_ms(now_ms())
            kept = self._answers[transfer_id] = (path, msgspec.json.encode(said))
        self._send("PUT", kept[0], self._paid[transfer_id][0], kept[1])

    def _book(self, transfer_id: str, end: str, code: str) -> None:
        """Takes an end into its books, once."""
        if transfer_id in self._ended:
            return
        paying, paid = self._paying.pop(transfer_id, None), self._paid.pop(transfer_id, None)
        if paying is None and paid is None:
            return
        self._ended.add(transfer_id)
        minor = paying[2] if paying is not None else paid[1] if paid is not None else 0
        role = "payer" if paying is not None else "payee"
        self._books.add(Outcome(now_ms(), transfer_id, self.name, role, end, minor, CURRENCY, code))
        if paying is not None and not self._finishing:
            self._keep_under()
        self._check_quiet()

    # --- paying -------------------------------------------------------------------------------------------------

    def _keep_under(self) -> None:
        """So many are under way to each peer: one that answers nobody keeps no payment to another waiting."""
        if self._finishing:
            return
        under = Counter(payee for payee, _body, _minor in self._paying.values())
        for payee in [peer for peer in self.peers for _ in range(self._under_wanted - under[peer])]:
            transfer_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
            minor = self.random.randint(1, AMOUNT_MINOR_MAX)
            lasts_ms = SILENT_EXPIRES_MS if choice_of(transfer_id) is Choice.SILENT else self.expires_ms
            said = {
                "transferId": transfer_id,
                "payerFsp": self.name,
                "payeeFsp": payee,
                "amount": {"amount": format_amount(minor), "currency": CURRENCY},
                "ilpPacket": ILP_PACKET,
                "condition": CONDITION,
                "expiration": format_datetime_ms(now_ms() + lasts_ms),
            }
            body = msgspec.json.encode(said)
            self._paying[transfer_id] = (payee, body, minor)
            self._send("POST", "/transfers", payee, body, key=transfer_id)

    def _send(self, method: str, path: str, to: str, body: bytes | None, *, key: str = "") -> None:
        """Sends until the hub has it, the same each time: nothing is doubled by that (FSPIOP API 1.1 §3.2.5)."""
        place = (method, key or path)
        if place in self._to_send:
            return
        self._to_send[place] = body
        self._note("out", method, path, body)

        def answered(answer: Response | TransportError) -> None:
            status = answer.status if isinstance(answer, Response) else 0
            if status == 0 or status >= 500:
                if self._is_wanted(method, path, key):
                    asyncio.get_running_loop().call_later(RESEND_SECONDS, send)
                else:
                    del self._to_send[place]
                return
            del self._to_send[place]
            self._note("answered", method, path, body, status)
            if method == "POST" and status >= 400:
                # The hub never took it.
                self._paying.pop(key, None)
                self._refused.add(key)
                self._keep_under()
                self._check_quiet()

        def send() -> None:
            headers = hub_headers(
                "transfers",
                Version.V1_1,
                method=method,
                source=self.name,
                destination=to,
                uri=path,
                now_ms=now_ms(),
            )
            self.client.start(Request(method, self.hub + path, headers, body), answered)

        send()

    def _is_wanted(self, method: str, path: str, key: str) -> bool:
        if method == "POST":
            return key in self._paying
        return method == "PUT" and path.split("/")[2] not in self._ended

    async def ask(self) -> None:
        """As a participant does that has waited: says again what it has said, and asks about what it was not told."""
        for transfer_id, (payee, body, _minor_units) in list(self._paying.items()):
            self._send("POST", "/transfers", payee, body, key=transfer_id)
        for transfer_id, (payer, _minor_units) in list(self._paid.items()):
            self._send("GET", f"/transfers/{transfer_id}", payer, None)

    def _talk_nonsense(self) -> None:
        """What a participant that has gone mad tells the hub."""
        transfer_id = next(iter(self._paid), str(uuid.UUID(int=self.random.getrandbits(128), version=4)))
        body = self.random.choice((b"\x00\xff", b"{", b'{"transferState":"COMMITTED","fulfilment":7}', b"[]" * 9_000))
        headers = hub_headers(
            "transfers",
            Version.V1_1,
            method="PUT",
            source=self.name,
            destination=self.peers[0],
            uri=f"/transfers/{transfer_id}",
            now_ms=now_ms(),
        )
        self.client.start(Request("PUT", f"{self.hub}/transfers/{transfer_id}", headers, body), lambda _answer: None)

    # --- its life -----------------------------------------------------------------------------------------------

    def _check_quiet(self) -> None:
        if self._finishing and not self._paying and not self._paid:
            self._quiet.set()

    async def run(self) -> None:
        """Serves until it is told to stop."""
        await self.server.start()
        for end in self._unbooked:
            self._book(*end)
        for transfer_id in list(self._paid):
            self._answer(transfer_id)
        await self.ask()
        _say({"listening": self.server.port})
        beside = asyncio.create_task(self._live())
        try:
            await self._obey()
        finally:
            beside.cancel()
            await self.server.stop()
            await self.client.close()

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            if self.server.conduct is Conduct.GARBAGE:
                self._talk_nonsense()
            if self._finishing:
                await self.ask()

    async def _obey(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            match line:
                case ["pay", count]:
                    self._under_wanted = int(count)
                    self._keep_under()
                case ["conduct", conduct]:
                    self.server.behave(Conduct(conduct))
                    _say({"conduct": conduct, "bitten": self.server.bitten})
                case ["finish"]:
                    self._finishing = True
                    self._check_quiet()
                    await self.ask()
                    await self._quiet.wait()
                    _say({"open": len(self._paying) + len(self._paid), "told": len(self._ended)})
                case ["stop"]:
                    return


def _minor(said: dict[str, Any]) -> int:
    return Amount.from_string(f"{said['amount']['amount']} {said['amount']['currency']}").minor


def _say(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


class Figures(msgspec.Struct):
    """What one participant's own papers come to."""

    sent: int = 0
    received: int = 0
    """Minor units of what was told COMMITTED."""
    ends: dict[str, str] = {}
    """By transfer, as it has booked them."""
    roles: dict[str, str] = {}
    accepted: set[str] = set()
    """Transfers whose POST the hub has answered 202."""
    posted: set[str] = set()
    refused: set[str] = set()
    on_the_wire: dict[str, set[str]] = {}
    """Every end that it was ever told of a transfer, whatever it has booked."""
    again: int = 0
    """Ends that it was told more than once."""
    received_posts: Counter[str] = Counter()


def figures_of(directory: Path) -> Figures:
    """Reads a participant's papers."""
    figures = Figures()
    for each in read_outcomes(directory / "books.jsonl"):
        assert each.transfer_id not in figures.ends, f"{each.participant} booked {each.transfer_id} twice"
        figures.ends[each.transfer_id] = each.state
        figures.roles[each.transfer_id] = each.role
        if each.state == "COMMITTED" and each.role == "payer":
            figures.sent += each.amount
        elif each.state == "COMMITTED":
            figures.received += each.amount
    for message in read_wire(directory / "wire.jsonl"):
        body = message.body.encode()
        if message.method == "POST":
            transfer_id = json.loads(body)["transferId"]
            if message.direction == "out":
                figures.posted.add(transfer_id)
            elif message.direction == "in":
                figures.received_posts[transfer_id] += 1
            elif message.status == 202:
                figures.accepted.add(transfer_id)
            else:
                figures.refused.add(transfer_id)
        elif message.direction == "in":
            end = told_end(message.method, message.path, body)
            if end is not None:
                told = figures.on_the_wire.setdefault(end[0], set())
                figures.again += end[1] in told
                told.add(end[1])
    return figures


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.participant")
    for name in ("--name", "--hub", "--directory", "--peers"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--timeout-ms", type=int, default=5_000)
    parser.add_argument("--expires-ms", type=int, default=EXPIRES_MS)
    arguments = parser.parse_args()
    asyncio.run(Participant(arguments).run())


if __name__ == "__main__":
    main()
