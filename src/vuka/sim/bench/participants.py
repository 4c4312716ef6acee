"""Payers and payees of a whole scheme in one process, at the pace of a `Shape`.

What each is told of every payment is kept, to be compared with the hub's records. Of a callback no more is read than
what it is about. The *hub's part* of a payment's latency is the sum, over its messages, of the time from when a
participant gave the hub a message (for the first one: from when it was meant to) until the other side had what the hub
made of it; what participants do in between is not in it. Both are read off the clock of this one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vuka.fspiop.jws import PrivateKey
from vuka.fspiop.times import format_datetime_ms, format_http_date
from vuka.httpclient import HttpClient, believing
from vuka.sim.bench.figures import latency
from vuka.sim.bench.messages import (
    AMOUNT,
    COMPLETED,
    CURRENCY,
    DATE,
    EXPIRES,
    PARTIES_EACH,
    PARTY,
    QUOTE,
    SIGNATURE,
    TRANSFER,
    Fields,
    Kind,
    Pair,
    make_pairs,
    pair_of,
    party_of,
)
from vuka.sim.bench.plan import BEGAN, ENDED, Ends, Phase, PhaseReport, Setting, Told
from vuka.sim.bench.scenarios import AGREEMENT, LOOKUP, SCENARIOS
from vuka.sim.bench.shapes import Schedule
from vuka.sim.bench.signing import Pool, Signed, read_pool
from vuka.sim.bench.wire import CONNECTIONS_MAX, Connections, Listener
from vuka.sim.onboard import Operator, Terms

NAMES: Final = [f"benchfsp{number:02d}" for number in range(100)]

TERMS: Final = Terms(net_debit_cap=10**15, funds=10**15)
EXPIRES_MS: Final = 60_000
RESEND_SECONDS: Final = 0.05
UNDER_WAY_MAX: Final = 20_000
"""Payments under way in an open loop, beyond which further ones are counted and not begun."""

QUIET_SECONDS_MAX: Final = 90.0
"""How long after a measurement its payments may take to end."""

ASK_SECONDS: Final = 10.0
"""How long a payer waits for the end of a transfer, when nothing more begins, before it asks, and asks again."""

PACE_SECONDS: Final = 0.001
"""How often payments of an open loop begin that are due; their latency counts from when they were."""

LATENESS_EVERY_SECONDS: Final = 0.01
PARTIES_AT_ONCE: Final = 1_000

COMMITTED: Final = "COMMITTED"
ABORTED: Final = "ABORTED"
REFUSED: Final = "REFUSED"
UNANSWERED: Final = "no answer"

_TRANSFERS: Final = len(b"/transfers/")
_QUOTES: Final = len(b"/quotes/")
_PARTIES: Final = len(b"/parties/MSISDN/")
_TRANSFER_ID: Final = len(b'{"transferId":"')
_QUOTE_ID: Final = len(b'{"quoteId":"')
_ID: Final = 36
_PARTY: Final = 12
_CODE: Final = b'"errorCode":"'
_QUESTIONS: Final = frozenset((Kind.LOOKUP, Kind.ASK, Kind.PREPARE))
"""What a payer begins a leg with: where the hub is busy, the payment ends there, and nothing has come of it."""

_ANSWERS: Final = frozenset((Kind.FOUND, Kind.TERMS, Kind.FULFIL))
"""What payees send."""

_NO_END: Final = (b'"3208"', b'"3106"')
"""Errors that end no transfer: the answer to a question that overtook its POST, a word about a message of one's own."""


class Payment:
    """One payment under way."""

    __slots__ = (
        "answer",
        "asked",
        "fields",
        "has_ended",
        "hub_seconds",
        "is_counted",
        "left",
        "leg",
        "leg_began",
        "legs_seconds",
        "meant",
        "pair",
        "questioned",
        "signatures",
        "told",
    )

    def __init__(self, pair: Pair, fields: Fields, meant: float, signatures: dict[str, bytes] | None) -> None:
        self.pair = pair
        self.fields = fields
        self.meant = meant
        """When it was meant to begin, by this process's clock in seconds."""
        self.left = meant
        """When the message that is with the hub was given to it."""
        self.hub_seconds = 0.0
        self.leg = 0
        self.leg_began = meant
        self.legs_seconds: list[float] = []
        self.asked = False
        """Whether the question of this leg has reached the payee."""
        self.answer = b""
        """What the payee answered in this leg: a question that comes again is answered the same."""
        self.signatures = signatures
        self.told: Told | None = None
        self.questioned = 0.0
        """When the payer last asked how it stands."""
        self.is_counted = False
        self.has_ended = False


class Participants:
    """All participants of one hub, and the operator beside them."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.scenario = SCENARIOS[setting.scenario]
        self.names = NAMES[: setting.participants]
        hub = urlsplit(setting.participants_url)
        client_tls, server_tls = _contexts(setting)
        self._pairs = make_pairs(self.names, reserves=setting.reserves, host=hub.netloc)
        # Payees have connections of their own: what they answer does not wait behind what payers ask.
        self._asking, self._answering = (
            Connections(hub.hostname or "", hub.port or 0, tls=client_tls, connections_max=connections_max)
            for connections_max in (setting.connections_max, max(setting.connections_max // 2, CONNECTIONS_MAX))
        )
        self._listeners = [Listener(self._handler(number), tls=server_tls) for number in range(setting.participants)]
        self._client = HttpClient(connect_timeout_ms=2_000, timeout_ms=60_000, tls=believing(setting.ca_file))
        self.operator = Operator(self._client, setting.operators_url)
        self._pool: Pool | None = _pool_of(setting)
        self._unsigned: deque[Signed] = deque(self._pool.payments if self._pool is not None else ())
        self._number = count()
        self._second = -1
        self._date = self._expires = self._completed = b""
        self._random = b""
        # Under way, by what a callback names: the transfer's id, the quote's, or a party that a payer asks about.
        self._under: dict[bytes, Payment] = {}
        self._looking: dict[bytes, deque[Payment]] = {}
        self._under_way = 0
        self._told: dict[bytes, Told] = {}
        """Every transfer that was sent, by its id."""
        self._awaited: set[bytes] = set()
        """Those that were committed for the payer, and of which the payee does not know yet."""
        self._contradictions: list[str] = []
        self._refused = 0
        self._resent = 0
        self._errors: Counter[str] = Counter()
        self._is_quiet = asyncio.Event()
        self.ended: Callable[[Payment, str], None] = lambda _payment, _end: None
        """Told of every payment that has ended for its payer, and how."""

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens, and has the operator take everybody in. Raises `OnboardingError`."""
        for listener in self._listeners:
            await listener.start()
        await self.operator.add_hub_accounts(CURRENCY)
        for name, listener in zip(self.names, self._listeners, strict=True):
            await self.operator.add_participant(name, listener.url, {CURRENCY: TERMS})
        for name, pem in zip(self.names, self._setting.signing_keys, strict=False):
            public = PrivateKey.load(pem.encode()).public
            await self.operator.do("POST", f"/participants/{name}/keys", {"publicKey": public.pem})
        if self.scenario.looks_up:
            await self._register_parties()

    async def _register_parties(self) -> None:
        parties = [
            {
                "partyIdType": "MSISDN",
                "partyIdentifier": party_of(pair.number, turn).decode(),
                "fspId": self.names[pair.payee],
            }
            for pair in self._pairs
            for turn in range(PARTIES_EACH)
        ]
        for start in range(0, len(parties), PARTIES_AT_ONCE):
            body = {"requestId": self._new_id().decode(), "partyList": parties[start : start + PARTIES_AT_ONCE]}
            await self.operator.do("POST", "/oracle/participants", body)

    async def stop(self) -> None:
        """Stops everything."""
        for connections in (self._asking, self._answering):
            await connections.close()
        for listener in self._listeners:
            await listener.stop()
        await self._client.close()

    def ends(self) -> Ends:
        """What everybody was told so far."""
        return Ends(list(self._told.values()), self._contradictions)

    # --- a measurement --------------------------------------------------------------------------------------------

    async def run(self, phase: Phase, said: Callable[[str], None]) -> PhaseReport:
        """One measurement; ``said`` is called when its time begins and when it ends."""
        return await _Measurement(self, phase, said).run()

    async def quiet(self) -> None:
        """Waits until every payment has ended for both sides; asks the hub about those that take long."""
        deadline = time.monotonic() + QUIET_SECONDS_MAX
        while (self._under_way or self._awaited) and time.monotonic() < deadline:
            self._is_quiet.clear()
            try:
                async with asyncio.timeout(1.0):
                    await self._is_quiet.wait()
            except TimeoutError:
                self._ask()
        for payment in [*self._under.values(), *(each for waiting in self._looking.values() for each in waiting)]:
            # A lookup or a quote may be lost, nothing has come of it. A transfer may not: it stays without an end.
            if payment.told is None:
                self._errors[UNANSWERED] += 1
                self._end(payment, ABORTED)

    def _ask(self) -> None:
        """GET, as a participant does that has waited long enough."""
        now = time.perf_counter()
        for payment in self._under.values():
            if payment.told is not None and now - max(payment.left, payment.questioned) > ASK_SECONDS:
                payment.questioned = now
                self._send(payment, Kind.QUESTION)

    def take_counts(self) -> tuple[int, int, dict[str, int]]:
        """What was refused, what was sent again, and errors, since the last time."""
        taken = self._refused, self._resent, dict(self._errors)
        self._refused = self._resent = 0
        self._errors.clear()
        return taken

    @property
    def under_way(self) -> int:
        """Payments that have begun and not ended for their payer."""
        return self._under_way

    # --- one payment ----------------------------------------------------------------------------------------------

    def begin(self, meant: float, *, is_counted: bool) -> bool:
        """Begins the next payment, which was meant to begin then. False where signed payments have run out."""
        number = next(self._number)
        if self._pool is None:
            pair = self._pairs[number % len(self._pairs)]
            transfer, quote = self._new_id(), self._new_id()
            party = party_of(pair.number, number // len(self._pairs))
            signatures = None
            self._tell_time()
            fields = {EXPIRES: self._expires, SIGNATURE: b""}
        else:
            if not self._unsigned:
                return False
            signed = self._unsigned.popleft()
            pair, transfer, quote, party = self._pairs[signed.pair], signed.transfer, signed.quote, signed.party
            signatures = signed.signatures
            pool = self._pool
            fields = {EXPIRES: pool.expires, DATE: pool.date, COMPLETED: pool.completed}
        fields[TRANSFER], fields[QUOTE], fields[PARTY] = transfer, quote, party
        payment = Payment(pair, fields, meant, signatures)
        payment.is_counted = is_counted
        self._under_way += 1
        self._begin_leg(payment)
        return True

    def _begin_leg(self, payment: Payment) -> None:
        leg = self.scenario.legs[payment.leg]
        payment.asked, payment.answer = False, b""
        if leg is LOOKUP:
            self._looking.setdefault(payment.fields[PARTY], deque()).append(payment)
        elif leg.asks is Kind.ASK:
            self._under[payment.fields[QUOTE]] = payment
        else:
            told = payment.told = Told(
                payment.fields[TRANSFER].decode(),
                self.names[payment.pair.payer],
                self.names[payment.pair.payee],
                AMOUNT,
            )
            self._told[payment.fields[TRANSFER]] = told
            self._under[payment.fields[TRANSFER]] = payment
        self._send(payment, leg.asks)

    def _new_id(self) -> bytes:
        """A random UUID, version 4."""
        if len(self._random) < 32:
            self._random = os.urandom(16 * 256).hex().encode()
        drawn, self._random = self._random[:32], self._random[32:]
        return b"%b-%b-4%b-a%b-%b" % (drawn[:8], drawn[8:12], drawn[13:16], drawn[17:20], drawn[20:])

    def _tell_time(self) -> None:
        """The times that messages carry; made anew each second."""
        now_ms = time.time_ns() // 1_000_000
        if now_ms // 1000 != self._second:
            self._second = now_ms // 1000
            self._date = format_http_date(now_ms).encode()
            self._completed = format_datetime_ms(now_ms).encode()
            self._expires = format_datetime_ms(now_ms + EXPIRES_MS).encode()

    def _fill(self, payment: Payment, kind: Kind) -> bytes:
        fields = payment.fields
        if payment.signatures is None:
            self._tell_time()
            fields[DATE], fields[COMPLETED] = self._date, self._completed
        else:
            fields[SIGNATURE] = payment.signatures.get(kind, b"")
        return payment.pair.forms[kind].fill(fields)

    def _send(self, payment: Payment, kind: Kind) -> None:
        self._post(payment, kind, self._fill(payment, kind))

    def _post(self, payment: Payment, kind: Kind, message: bytes) -> None:
        """Sends a message, and again what did not arrive or came to a busy hub: the same, so nothing is doubled."""
        is_question = kind in _QUESTIONS
        hub = self._answering if kind in _ANSWERS else self._asking
        may_have_arrived = False

        def answered(status: int, body: bytes) -> None:
            nonlocal may_have_arrived
            if 200 <= status < 300:
                return
            may_have_arrived = may_have_arrived or not status
            is_busy = status == HTTPStatus.SERVICE_UNAVAILABLE
            if status and (not is_busy or (is_question and not may_have_arrived)):
                self._refuse(payment, kind, status, body)
                return
            self._resent += 1
            asyncio.get_running_loop().call_later(RESEND_SECONDS, hub.send, message, answered)

        hub.send(message, answered)

    def _refuse(self, payment: Payment, kind: Kind, status: int, body: bytes) -> None:
        """The hub does not take a message. A payment whose question it does not take has ended there."""
        self._errors[_code_of(body) or f"HTTP {status}"] += 1
        self._refused += 1
        if payment.has_ended or kind is not self.scenario.legs[payment.leg].asks:
            return
        if payment.told is not None and not payment.told.payer_told:
            payment.told.payer_told = REFUSED
        self._end(payment, REFUSED)

    # --- what the hub says ----------------------------------------------------------------------------------------

    def _handler(self, participant: int) -> Callable[[bytes, bytes, bytes], None]:
        def handle(method: bytes, path: bytes, body: bytes) -> None:
            now = time.perf_counter()
            if method == b"POST":
                if path == b"/transfers":
                    self._is_asked(body[_TRANSFER_ID : _TRANSFER_ID + _ID], participant, Kind.FULFIL, now)
                else:
                    self._is_asked(body[_QUOTE_ID : _QUOTE_ID + _ID], participant, Kind.TERMS, now)
            elif method == b"GET":
                self._is_looked_up(path[_PARTIES : _PARTIES + _PARTY], participant, now)
            elif path.endswith(b"/error"):
                self._is_told_error(path, participant, body)
            elif path.startswith(b"/transfers/"):
                self._is_told_end(path[_TRANSFERS : _TRANSFERS + _ID], participant, body, now)
            elif path.startswith(b"/quotes/"):
                self._is_quoted(path[_QUOTES : _QUOTES + _ID], participant, now)
            else:
                self._is_found(path[_PARTIES : _PARTIES + _PARTY], participant, now)

        return handle

    def _is_for(self, participant: int, meant: int, about: bytes) -> bool:
        """Whether a message came to whom it is meant for. What another is told may be in order, and is wrong there."""
        if participant == meant:
            return True
        self._contradictions.append(
            f"{about.decode('ascii', 'replace')}: {self.names[participant]} was told instead of {self.names[meant]}"
        )
        return False

    def _is_looked_up(self, party: bytes, participant: int, now: float) -> None:
        """The payee is asked who has a number. Questions about the same one are alike, and so are the answers."""
        if not self._is_for(participant, self._pairs[pair_of(party)].payee, party):
            return
        waiting = self._looking.get(party, ())
        payment = next((each for each in waiting if not each.asked), None)
        if payment is None:
            # It came again: whoever asked is answered once more.
            pair = self._pairs[pair_of(party)]
            payment = Payment(pair, {PARTY: party, SIGNATURE: b""}, now, None)
            self._send(payment, Kind.FOUND)
            return
        payment.asked = True
        payment.hub_seconds += now - payment.left
        self._send(payment, Kind.FOUND)
        payment.left = time.perf_counter()

    def _is_found(self, party: bytes, participant: int, now: float) -> None:
        """The payer learns who has a number."""
        if not self._is_for(participant, self._pairs[pair_of(party)].payer, party):
            return
        waiting = self._looking.get(party)
        if not waiting:
            return
        payment = waiting.popleft()
        if not waiting:
            del self._looking[party]
        self._hears(payment, now)

    def _is_asked(self, wire_id: bytes, participant: int, answers: Kind, now: float) -> None:
        """The payee is asked for terms, or to fulfil."""
        payment = self._under.get(wire_id)
        if payment is None or not self._is_for(participant, payment.pair.payee, wire_id):
            return
        if payment.asked:
            self._post(payment, answers, payment.answer)
            return
        payment.asked = True
        payment.hub_seconds += now - payment.left
        payment.answer = self._fill(payment, answers)
        self._post(payment, answers, payment.answer)
        payment.left = time.perf_counter()

    def _is_quoted(self, quote: bytes, participant: int, now: float) -> None:
        """The payer has the payee's terms."""
        payment = self._under.get(quote)
        if payment is not None and self._is_for(participant, payment.pair.payer, quote):
            del self._under[quote]
            self._hears(payment, now)

    def _hears(self, payment: Payment, now: float) -> None:
        """The payer has its answer: on to the next leg, or the end."""
        payment.hub_seconds += now - payment.left
        payment.legs_seconds.append(now - payment.leg_began)
        if payment.leg == len(self.scenario.legs) - 1:
            self._end(payment, COMMITTED)
            return
        payment.leg += 1
        payment.leg_began = payment.left = time.perf_counter()
        self._begin_leg(payment)

    def _is_told_end(self, transfer: bytes, participant: int, body: bytes, now: float) -> None:
        """PUT or PATCH /transfers: how a transfer has ended, for the payer or for the payee."""
        end = _end_of(body)
        told = self._told.get(transfer)
        if told is None or not end:
            return
        if not self._note(told, participant, end):
            return
        payment = self._under.pop(transfer)
        if end == COMMITTED:
            if not told.payee_told:
                self._awaited.add(transfer)
            self._hears(payment, now)
        else:
            self._errors[end] += 1
            self._end(payment, end)

    def _note(self, told: Told, participant: int, end: str) -> bool:
        """Notes what somebody is told of a transfer. True where it is the payer's first word."""
        if self.names[participant] == told.payee:
            if told.payee_told and told.payee_told != end:
                self._contradictions.append(f"{told.transfer_id}: payee told {told.payee_told}, then {end}")
            told.payee_told = end
            self._awaited.discard(told.transfer_id.encode())
            self._may_be_quiet()
            return False
        if not self._is_for(participant, self.names.index(told.payer), told.transfer_id.encode()):
            return False
        if told.payer_told:
            if told.payer_told != end:
                self._contradictions.append(f"{told.transfer_id}: payer told {told.payer_told}, then {end}")
            return False
        told.payer_told = end
        return True

    def _is_told_error(self, path: bytes, participant: int, body: bytes) -> None:
        """PUT …/error: a leg has ended without what was asked for."""
        if any(code in body for code in _NO_END):
            return
        resource, wire_id = path.split(b"/")[1:3]
        if resource == b"transfers":
            told = self._told.get(wire_id)
            payment = self._under.get(wire_id)
            is_end = told is not None and self._note(told, participant, ABORTED)
        elif resource == b"quotes":
            payment = self._under.get(wire_id)
            is_end = payment is not None and payment.pair.payer == participant
        else:
            waiting = self._looking.get(path[_PARTIES : _PARTIES + _PARTY])
            payment, is_end = (waiting[0], True) if waiting else (None, False)
        if is_end and payment is not None:
            self._errors[_code_of(body)] += 1
            self._end(payment, ABORTED)

    def _end(self, payment: Payment, end: str) -> None:
        payment.has_ended = True
        leg = self.scenario.legs[payment.leg]
        if leg is LOOKUP:
            waiting = self._looking[payment.fields[PARTY]]
            waiting.remove(payment)
            if not waiting:
                del self._looking[payment.fields[PARTY]]
        else:
            self._under.pop(payment.fields[QUOTE if leg is AGREEMENT else TRANSFER], None)
        self._under_way -= 1
        self.ended(payment, end)
        self._may_be_quiet()

    def _may_be_quiet(self) -> None:
        if not self._under_way and not self._awaited:
            self._is_quiet.set()


class _Measurement:
    """One phase: begins payments at the pace of its shape, and counts what ends in its time."""

    def __init__(self, participants: Participants, phase: Phase, said: Callable[[str], None]) -> None:
        self._participants = participants
        self._phase = phase
        self._said = said
        self._begins_next = True
        self._measures = False
        self._ended = 0
        self._not_begun = 0
        self._counted: list[Payment] = []
        self._finished: list[float] = []
        self._lateness: list[float] = []
        self._closes: list[float] = []
        self._pool_is_empty = asyncio.Event()
        participants.ended = self._note

    async def run(self) -> PhaseReport:
        """Warms up, measures, and lets everything end."""
        loop = asyncio.get_running_loop()
        beside = [loop.create_task(self._be_late())]
        if self._participants.scenario.closes_every_seconds is not None:
            beside.append(loop.create_task(self._close_windows(self._participants.scenario.closes_every_seconds)))
        phase = self._phase
        pace: asyncio.Task[None] | None = None
        if phase.shape.rate is not None:
            pace = loop.create_task(self._keep_pace(phase.shape.rate, time.perf_counter()))
        else:
            for _ in range(phase.shape.concurrency or 0):
                self._begin(time.perf_counter())
        await asyncio.sleep(phase.warmup_seconds)
        self._measures = True
        self._said(BEGAN)
        measured, used = time.perf_counter(), time.process_time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pool_is_empty.wait(), phase.seconds)
        seconds, used = time.perf_counter() - measured, time.process_time() - used
        self._said(ENDED)
        self._measures = self._begins_next = False
        if pace is not None:
            # What was meant to begin in the time begins, however late.
            await pace
        for task in beside:
            task.cancel()
        for error in await asyncio.gather(*beside, return_exceptions=True):
            if isinstance(error, Exception):
                raise error
        await self._participants.quiet()
        return self._report(seconds, used)

    def _begin(self, meant: float, *, is_counted: bool = False) -> None:
        if not self._participants.begin(meant, is_counted=is_counted):
            self._pool_is_empty.set()

    async def _keep_pace(self, rate: float, began: float) -> None:
        phase = self._phase
        counts_from = began + phase.warmup_seconds
        schedule = Schedule(rate, began, phase.warmup_seconds + phase.seconds)
        while (following := schedule.next) is not None and not self._pool_is_empty.is_set():
            # Never shorter than a timer of the loop is: it would do nothing else.
            await asyncio.sleep(max(following - time.perf_counter(), PACE_SECONDS))
            for meant in schedule.due(time.perf_counter()):
                if self._participants.under_way >= UNDER_WAY_MAX:
                    self._not_begun += 1
                else:
                    self._begin(meant, is_counted=meant >= counts_from)

    def _note(self, payment: Payment, end: str) -> None:
        now = time.perf_counter()
        if end == COMMITTED:
            self._ended += self._measures
            if payment.is_counted or (self._measures and self._phase.shape.rate is None):
                self._counted.append(payment)
                self._finished.append(now - payment.meant)
        if self._begins_next and self._phase.shape.rate is None:
            if end == COMMITTED:
                self._begin(now)
            else:
                # A payer that was refused does not come again at once.
                asyncio.get_running_loop().call_later(RESEND_SECONDS, self._begin_again)

    def _begin_again(self) -> None:
        if self._begins_next:
            self._begin(time.perf_counter())

    async def _be_late(self) -> None:
        """How much later than asked for this loop comes to something: what waits in it is not the hub's."""
        while True:
            due = time.perf_counter() + LATENESS_EVERY_SECONDS
            await asyncio.sleep(LATENESS_EVERY_SECONDS)
            if self._measures:
                self._lateness.append(max(time.perf_counter() - due, 0))

    async def _close_windows(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            took = await close_window(self._participants.operator)
            if took is not None and self._measures:
                self._closes.append(round(took * 1000, 2))

    def _report(self, seconds: float, used: float) -> PhaseReport:
        refused, resent, errors = self._participants.take_counts()
        legs = self._participants.scenario.legs
        return PhaseReport(
            committed=len(self._counted),
            seconds=round(seconds, 3),
            per_second=round(self._ended / seconds, 1),
            ended=self._ended,
            latency=latency(self._finished),
            hub_part=latency([each.hub_seconds for each in self._counted]),
            legs={
                leg.name: latency([each.legs_seconds[number] for each in self._counted])
                for number, leg in enumerate(legs)
            },
            offered_per_second=self._phase.shape.rate,
            refused=refused,
            resent=resent,
            not_begun=self._not_begun,
            errors=errors,
            participants_cpu_seconds=round(used, 3),
            lateness=latency(self._lateness),
            pool_ended=self._pool_is_empty.is_set(),
            closes_ms=self._closes,
        )


async def close_window(operator: Operator) -> float | None:
    """Closes the open settlement window, where anything is in it; the seconds that it took."""
    (window,) = await operator.do("GET", "/v2/settlementWindows?state=OPEN")
    began = time.perf_counter()
    body = {"state": "CLOSED", "reason": "measured"}
    status, _ = await operator.call("POST", f"/v2/settlementWindows/{window['id']}", body)
    return time.perf_counter() - began if status < 300 else None


async def settle(operator: Operator) -> int:
    """Settles every closed window; how many there were. Raises `OnboardingError`."""
    await close_window(operator)
    status, closed = await operator.call("GET", "/v2/settlementWindows?state=CLOSED")
    if status >= 300 or not closed:
        return 0
    windows = [{"id": each["id"]} for each in closed]
    body = {"settlementModel": "DEFAULTDEFERREDNET", "reason": "measured", "settlementWindows": windows}
    made = await operator.do("POST", "/v2/settlements", body)
    await operator.do("POST", f"/v2/settlements/{made['id']}/finalise", {"reason": "measured"})
    return len(windows)


def _pool_of(setting: Setting) -> Pool | None:
    return read_pool(Path(setting.pool_file)) if setting.pool_file else None


def _contexts(setting: Setting) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """For the connections to the hub, and for the participants' own servers; none without TLS."""
    if not setting.ca_file:
        return None, None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(setting.certificate_file, setting.key_file)
    return ssl.create_default_context(cafile=setting.ca_file), server


def _code_of(body: bytes) -> str:
    """The FSPIOP code in an error's body; empty where there is none."""
    at = body.find(_CODE)
    return body[at + len(_CODE) :][:4].decode("ascii", "replace") if at >= 0 else ""


def _end_of(body: bytes) -> str:
    """The final state in a body; empty where it has none."""
    if b'"COMMITTED"' in body:
        return COMMITTED
    return ABORTED if b'"ABORTED"' in body else ""
