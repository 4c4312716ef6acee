"""Load: many simulated participants in one process, clearing transfers as fast as a hub takes them.

Closed loop: so many transfers are always under way; when one has ended the next begins. Only the transfer leg is
driven (FSPIOP API 1.1 §6.7), with a condition and fulfilment that are always the same, and no body is parsed further
than to the id it begins with: what is measured is the hub, not this. What payer and payee were told of each transfer is
kept, so that it can be compared with the hub's records afterwards.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Final

import msgspec

from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response, TransportError
from vuka.money import format_amount
from vuka.sim.onboard import Operator, Terms
from vuka.sim.outcomes import Outcome, Outcomes
from vuka.sim.participant import now_ms
from vuka.sim.server import Answer, Inquiry, Server
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

AMOUNT: Final = 10_000
CURRENCY: Final = "USD"
TERMS: Final = Terms(net_debit_cap=10**15, funds=10**15)
RESEND_SECONDS: Final = 0.05
EXPIRES_MS: Final = 60_000
QUESTIONS_MAX: Final = 100

_ID_START: Final = len('{"transferId":"')
_ID_END: Final = _ID_START + 36
_PATH_START: Final = len("/transfers/")
_CODE_START: Final = b'"errorCode":"'

_ACCEPTED: Final = Answer(202)
_OK: Final = Answer(200)


class LoadReport(msgspec.Struct):
    """What a run came to. Latencies are milliseconds from POST to the payer's final callback."""

    transfers: int
    seconds: float
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    refused: int
    resent: int
    cpu_seconds: float
    """Of this process, while it was measured: payers and payees together."""
    cpu_ms_per_transfer: float
    disagreements: list[str]
    """Transfers of which payer and payee were told different ends."""
    committed: int
    """Transfers told COMMITTED in the whole run, warm-up included."""
    unfinished: int
    errors: dict[str, int] = {}
    """How often payers were told what, by error code, or by HTTP status where there was none."""
    sent: dict[str, str] = {}
    received: dict[str, str] = {}
    """By participant: the sum of what it was told COMMITTED as payer and as payee, warm-up included."""


class _Under(msgspec.Struct):
    """One transfer under way."""

    started: float
    payer: LoadParticipant
    payee: LoadParticipant
    answer: bytes = b""
    """What the payee answered: a POST that comes twice is answered twice the same (FSPIOP API 1.1 §3.2.5)."""


class LoadParticipant:
    """One participant of the load: payer of some transfers, payee of others."""

    def __init__(self, name: str, load: Load) -> None:
        self.name = name
        self.load = load
        self.server = Server(self._handle, reads_headers=False)

    def _handle(self, inquiry: Inquiry) -> Answer:
        method, path = inquiry.method, inquiry.path
        if method == "POST":
            self.load.reserve(self, inquiry.body)
            return _ACCEPTED
        transfer_id = path[_PATH_START : _PATH_START + 36]
        if method == "PATCH":
            self.load.hear_patch(self, transfer_id, _end_of(inquiry.body))
            return _OK
        if path.endswith("/error"):
            self.load.hear_error(self, transfer_id, inquiry.body)
            return _OK
        self.load.hear(self, transfer_id, _end_of(inquiry.body))
        return _OK


def _code_of(body: bytes) -> str:
    """The FSPIOP code in an error's body; empty where there is none."""
    at = body.find(_CODE_START)
    return body[at + len(_CODE_START) :][:4].decode("ascii", "replace") if at >= 0 else ""


def _end_of(body: bytes) -> str:
    if b'"COMMITTED"' in body:
        return "COMMITTED"
    if b'"ABORTED"' in body:
        return "ABORTED"
    return "RESERVED"


class Load:
    """A closed loop of transfers among ``participants`` of one hub."""

    def __init__(
        self,
        *,
        hub_url: str,
        operators_url: str,
        participants: int,
        reserve: bool = True,
        prefix: str = "loadfsp",
        outcomes: Outcomes | None = None,
    ) -> None:
        self.hub_url = hub_url
        self.reserve_first = reserve
        """Whether payees answer RESERVED (1.1 and later) or COMMITTED (1.0 style)."""
        self.version = Version.V1_1
        self.client = HttpClient(connect_timeout_ms=2_000, timeout_ms=15_000)
        self.operator = Operator(self.client, operators_url)
        self.participants = [LoadParticipant(f"{prefix}{number:02d}", self) for number in range(participants)]
        self.payer_told: dict[str, str] = {}
        self.payee_told: dict[str, str] = {}
        self.accepted: set[str] = set()
        """Transfers whose POST the hub has answered 202."""
        self.resent = 0
        self.refused = 0
        self.errors: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        """Minor units of committed transfers, by participant, as payer and as payee were told."""
        self.goes_on = True
        self._outcomes = outcomes
        self.contradictions: list[str] = []
        """Transfers of which somebody was told a second end."""
        self._under: dict[str, _Under] = {}
        self._awaited: dict[str, LoadParticipant] = {}
        """The payees of transfers that have ended for the payer, and not yet for them."""
        self._latencies: list[float] = []
        self._measures = False
        self._began = (0.0, 0.0)
        self._begins_after: int | None = None
        self._to_send: int | None = None
        """How many transfers are still to be sent; None for no bound."""
        self._quiet = asyncio.Event()
        self._one_ended = asyncio.Event()
        self._headers: dict[tuple[str, str, str], tuple[int, list[tuple[str, str]]]] = {}
        self._pairs = cycle(
            [(payer, payee) for payer in self.participants for payee in self.participants if payer is not payee]
        )

    # --- life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts the participants and onboards them; rerunnable on a hub that knows them."""
        for participant in self.participants:
            await participant.server.start()
        await self.operator.add_hub_accounts(CURRENCY)
        for participant in self.participants:
            await self.operator.add_participant(participant.name, participant.server.url, {CURRENCY: TERMS})

    async def stop(self) -> None:
        """Stops the participants."""
        for participant in self.participants:
            await participant.server.stop()
        await self.client.close()

    async def run(self, *, concurrency: int, warmup_seconds: float, seconds: float) -> LoadReport:
        """Keeps ``concurrency`` transfers under way, measures for ``seconds``, and lets them all end."""
        for _ in range(concurrency):
            self.prepare()
        await asyncio.sleep(warmup_seconds)
        self._begin()
        await asyncio.sleep(seconds)
        elapsed, cpu_seconds = self._end()
        await self.finish()
        return self._report(elapsed, cpu_seconds)

    async def run_count(self, *, concurrency: int, count: int, warmup: int = 0) -> LoadReport:
        """The same for ``count`` transfers after ``warmup`` others: exactly so many are sent."""
        self._to_send = warmup + count
        self._begins_after = len(self.payer_told) + warmup
        if not warmup:
            self._begin()
        all_ended = self._begins_after + count
        for _ in range(min(concurrency, self._to_send)):
            self.prepare()
        await self.until_ended(all_ended)
        elapsed, cpu_seconds = self._end()
        await self.finish()
        return self._report(elapsed, cpu_seconds)

    def _begin(self) -> None:
        """What ends from now on is measured."""
        self._measures = True
        self._began = time.perf_counter(), time.process_time()

    def _end(self) -> tuple[float, float]:
        """Measures no more; the seconds that it took, and those of this process's CPU."""
        self._measures = False
        self.goes_on = False
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]

    async def until_ended(self, count: int) -> None:
        """Waits until ``count`` transfers have ended."""
        while len(self.payer_told) < count:
            self._one_ended.clear()
            await self._one_ended.wait()

    async def finish(self) -> None:
        """Waits for what is under way; asks the hub about what has not ended in time."""
        self.goes_on = False
        for _ in range(QUESTIONS_MAX):
            if not self._under:
                break
            try:
                async with asyncio.timeout(1.0):
                    await self._quiet.wait()
            except TimeoutError:
                for transfer_id, under in list(self._under.items()):
                    self._ask(transfer_id, under)
            self._quiet.clear()
        # The payee's own notice may still be on its way when the payer has had its.
        for _ in range(50):
            if all(each in self.payee_told for each, end in self.payer_told.items() if end == "COMMITTED"):
                return
            await asyncio.sleep(0.1)

    def _report(self, seconds: float, cpu_seconds: float) -> LoadReport:
        latencies = sorted(self._latencies)
        count = len(latencies)

        def percentile(part: float) -> float:
            return round(latencies[min(int(count * part), count - 1)] * 1000, 2) if latencies else 0.0

        return LoadReport(
            transfers=count,
            seconds=round(seconds, 3),
            per_second=round(count / seconds, 1),
            p50_ms=percentile(0.5),
            p95_ms=percentile(0.95),
            p99_ms=percentile(0.99),
            p999_ms=percentile(0.999),
            refused=self.refused,
            resent=self.resent,
            cpu_seconds=round(cpu_seconds, 3),
            cpu_ms_per_transfer=round(cpu_seconds * 1000 / count, 4) if count else 0.0,
            disagreements=self.disagreements(),
            committed=sum(end == "COMMITTED" for end in self.payer_told.values()),
            unfinished=len(self._under),
            errors=dict(self.errors),
            sent={each.name: format_amount(self.sent[each.name]) for each in self.participants},
            received={each.name: format_amount(self.received[each.name]) for each in self.participants},
        )

    def disagreements(self) -> list[str]:
        """Transfers of which payer and payee were told different ends, or one of them two."""
        return self.contradictions + [
            f"{transfer_id}: payer {end}, payee {self.payee_told.get(transfer_id, 'nothing')}"
            for transfer_id, end in self.payer_told.items()
            if (self.payee_told.get(transfer_id) == "COMMITTED") != (end == "COMMITTED")
        ]

    # --- one transfer -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """The payer's POST."""
        if self._to_send is not None:
            if self._to_send <= 0:
                return
            self._to_send -= 1
        payer, payee = next(self._pairs)
        transfer_id = str(uuid.uuid4())
        expires = format_datetime_ms(now_ms() + EXPIRES_MS)
        body = (
            f'{{"transferId":"{transfer_id}","payerFsp":"{payer.name}","payeeFsp":"{payee.name}",'
            f'"amount":{{"amount":"{format_amount(AMOUNT)}","currency":"{CURRENCY}"}},"ilpPacket":"{ILP_PACKET}",'
            f'"condition":"{CONDITION}","expiration":"{expires}"}}'
        ).encode()
        self._under[transfer_id] = _Under(time.perf_counter(), payer, payee)
        self._send("POST", "/transfers", payer.name, payee.name, body)

    def reserve(self, payee: LoadParticipant, body: bytes) -> None:
        """The payee has the POST: it answers with the fulfilment."""
        transfer_id = body[_ID_START:_ID_END].decode()
        under = self._under.get(transfer_id)
        if under is None:
            return
        if not under.answer:
            state = "RESERVED" if self.reserve_first else "COMMITTED"
            completed = format_datetime_ms(now_ms())
            under.answer = (
                f'{{"transferState":"{state}","fulfilment":"{FULFILMENT}","completedTimestamp":"{completed}"}}'
            ).encode()
        self._send("PUT", f"/transfers/{transfer_id}", payee.name, under.payer.name, under.answer)

    def hear(self, participant: LoadParticipant, transfer_id: str, end: str) -> None:
        """The hub's PUT: the end, for the payer; a confirmation, for the payee."""
        under = self._under.get(transfer_id)
        if under is None:
            self._payee_ended(participant, transfer_id, end)
            return
        if under.payee is participant:
            self._payee_ended(participant, transfer_id, end)
        elif end != "RESERVED":
            self._ended(transfer_id, end)

    def hear_patch(self, payee: LoadParticipant, transfer_id: str, end: str) -> None:
        """The hub's PATCH: the end, for the payee."""
        self._payee_ended(payee, transfer_id, end)

    def hear_error(self, participant: LoadParticipant, transfer_id: str, body: bytes) -> None:
        """The hub's PUT …/error: the transfer has ended without money."""
        if b'"3208"' in body or b'"3106"' in body:
            # Not an end: the answer to a question that overtook its POST, or a word about a message of its own.
            return
        under = self._under.get(transfer_id)
        if under is not None and under.payer is participant:
            self.refused += 1
            self._ended(transfer_id, "ABORTED", _code_of(body))
        else:
            self.payee_told.setdefault(transfer_id, "ABORTED")

    def _payee_ended(self, payee: LoadParticipant, transfer_id: str, end: str) -> None:
        """The hub's word to a payee; or to anybody once more, who must be told the same."""
        if end == "RESERVED":
            return
        under = self._under.get(transfer_id)
        awaited = under.payee if under is not None else self._awaited.get(transfer_id)
        earlier = self.payee_told.get(transfer_id)
        if payee is not awaited or earlier is not None:
            known = earlier or self.payer_told.get(transfer_id, end)
            if end != known:
                self.contradictions.append(f"{transfer_id}: {payee.name} told {end}, after {known}")
            return
        self.payee_told[transfer_id] = end
        self._awaited.pop(transfer_id, None)
        if end == "COMMITTED":
            self.received[payee.name] += AMOUNT
        if self._outcomes is not None:
            self._outcomes.add(Outcome(now_ms(), transfer_id, payee.name, "payee", end, AMOUNT, CURRENCY))

    def _ended(self, transfer_id: str, end: str, code: str = "") -> None:
        under = self._under.pop(transfer_id)
        self.payer_told[transfer_id] = end
        if transfer_id not in self.payee_told:
            self._awaited[transfer_id] = under.payee
        if end == "COMMITTED":
            self.sent[under.payer.name] += AMOUNT
        else:
            self.errors[code or end] += 1
        if self._outcomes is not None:
            self._outcomes.add(Outcome(now_ms(), transfer_id, under.payer.name, "payer", end, AMOUNT, CURRENCY, code))
        self._one_ended.set()
        if self._measures and end == "COMMITTED":
            self._latencies.append(time.perf_counter() - under.started)
        if len(self.payer_told) == self._begins_after and not self._measures:
            self._begin()
        if self.goes_on:
            self.prepare()
        elif not self._under:
            self._quiet.set()

    def _ask(self, transfer_id: str, under: _Under) -> None:
        """GET, as a participant does that has waited long enough. One that never reached the hub has not happened."""
        path = f"/transfers/{transfer_id}"
        self._send("GET", path, under.payer.name, under.payee.name, None)

    def _send(self, method: str, path: str, source: str, destination: str, body: bytes | None) -> None:
        request = Request(method, self.hub_url + path, self._headers_for(method, path, source, destination), body)
        self.client.start(request, self._resending(request))

    def _resending(self, request: Request) -> Callable[[Response | TransportError], None]:
        """Sends again what did not reach the hub, or found it busy: the same message, so that nothing is doubled."""

        def answered(answer: Response | TransportError) -> None:
            if isinstance(answer, Response) and answer.status < 300:
                if request.method == "POST" and request.body is not None:
                    self.accepted.add(request.body[_ID_START:_ID_END].decode())
                return
            if isinstance(answer, Response) and answer.status != 503:
                self._refused(request, answer)
                return
            self.resent += 1
            loop = asyncio.get_running_loop()
            loop.call_later(RESEND_SECONDS, self.client.start, request, self._resending(request))

        return answered

    def _refused(self, request: Request, answer: Response) -> None:
        """The hub does not want it. A transfer that it never took has ended; any other it tells the end of itself."""
        self.refused += 1
        code = _code_of(answer.body) or f"HTTP {answer.status}"
        transfer_id = request.body[_ID_START:_ID_END].decode() if request.body is not None else ""
        if request.method == "POST" and transfer_id in self._under:
            self._ended(transfer_id, "ABORTED", code)
        else:
            self.errors[code] += 1

    def _headers_for(self, method: str, path: str, source: str, destination: str) -> list[tuple[str, str]]:
        key = (method, source, destination)
        time_ms = now_ms()
        kept = self._headers.get(key)
        if kept is not None and kept[0] == time_ms // 1000 and method == "POST":
            return kept[1]
        made = hub_headers(
            "transfers",
            self.version,
            method=method,
            source=source,
            destination=destination,
            uri=path,
            now_ms=time_ms,
        )
        self._headers[key] = (time_ms // 1000, made)
        return made
