"""A simulated participant (DFSP): a real HTTP server with customers, that pays and is paid through a hub.

It speaks FSPIOP as its counterpart on the wire would: it looks payees up, asks for and gives quotes with fees, makes
ILP packets and fulfilments, reserves on POST, and moves its customers' money only on the hub's word: a payer's debit is
final or returned when the hub has said how the transfer ended, a payee is credited when the hub has said COMMITTED.
Where no word comes, it asks with GET (FSPIOP API 1.1 §6.7.2.1). Everything the hub tells it is kept
(`Participant.told`), so that a test can compare what payer, payee and hub believe. It knows nothing of the hub but its
URL.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

import msgspec

from vuka.errors import FspiopError
from vuka.fspiop import ilp
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.jws import PrivateKey, PublicKey, canonical, sign, verify
from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response, TransportError
from vuka.money import Amount, AmountError, Currency, format_amount, parse_amount
from vuka.sim.behaviour import DELAY_MS, BehaviourRequest, Conduct
from vuka.sim.outcomes import Outcome, Outcomes
from vuka.sim.server import Answer, Inquiry, Server
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

__all__ = ["Conduct", "Customer", "Participant", "Payment", "PaymentState", "Reservation", "now_ms"]

RETRY_FIRST_SECONDS: Final = 0.1
RETRY_SECONDS_MAX: Final = 2.0
RESEND_SECONDS: Final = 30.0
QUESTIONS_MAX: Final = 20
"""How often a participant asks with GET how a transfer has ended, before it waits to be told."""
QUESTION_SECONDS_MAX: Final = 5.0
ASKING_SECONDS: Final = 60.0

QUOTE_VALID_MS: Final = 60_000

PartyKey: TypeAlias = tuple[str, str, str]
"""Type, identifier and sub-identifier (empty for none) of a party."""

Key: TypeAlias = tuple[str, ...]
"""The segments of a path, percent-decoded: what an answer answers."""

Json: TypeAlias = dict[str, Any]

_ABORTED_BY_HUB: Final = ("4", "5")
"""Errors of the payer's and the payee's side: told of a transfer, they are its end."""

_EXPIRED: Final = "3303"
_NOT_FOUND: Final = "3208"
_MODIFIED_REQUEST: Final = "3106"


class Customer(msgspec.Struct):
    """A customer's account: balances in minor units by currency."""

    name: str
    party_type: str
    identifier: str
    balances: dict[str, int]
    sub_id: str = ""
    """Which of several accounts behind one identifier; empty for the only one."""

    @property
    def first_name(self) -> str:
        """The name before the first space."""
        return self.name.partition(" ")[0]

    @property
    def key(self) -> PartyKey:
        """What identifies it."""
        return self.party_type, self.identifier, self.sub_id


class PaymentState(StrEnum):
    """How a payment stands for its payer's participant."""

    LOOKUP = "LOOKUP"
    QUOTE = "QUOTE"
    TRANSFER = "TRANSFER"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"
    UNKNOWN = "UNKNOWN"
    """The hub has not said how it ended: the money stays set aside until it does."""


FINAL: Final = frozenset((PaymentState.COMMITTED, PaymentState.ABORTED))


class Payment(msgspec.Struct):
    """One payment as its payer's participant knows it. Times are milliseconds, amounts minor units."""

    transfer_id: str
    quote_id: str
    transaction_id: str
    payer: str
    """The paying customer's identifier; empty where a transfer is cleared for nobody."""
    payee_type: str
    payee_id: str
    currency: str
    amount: int
    """What was asked for: sent (SEND), or to be received (RECEIVE)."""
    state: PaymentState = PaymentState.LOOKUP
    payee_fsp: str = ""
    payee_name: str = ""
    fee: int = 0
    """What the payee's participant takes."""
    transfer_amount: int = 0
    error: str = ""
    lookup_ms: float = 0.0
    quote_ms: float = 0.0
    transfer_ms: float = 0.0
    amount_type: str = "SEND"
    payee_receives: int = 0
    payee_sub_id: str = ""
    condition: str = ""
    expires_ms: int = 0
    """Of the transfer, UTC milliseconds."""
    debited: PartyKey | None = None
    """The customer whose money is set aside, until it is gone or returned."""

    @property
    def total_ms(self) -> float:
        """From the first question to the end."""
        return self.lookup_ms + self.quote_ms + self.transfer_ms


class Reservation(msgspec.Struct):
    """Money that a payee holds for its customer until the hub has said how the transfer ended."""

    transfer_id: str
    payer_fsp: str
    customer: PartyKey | None
    """None for a transfer without a quote, which pays nobody."""
    currency: str
    amount: int
    """What the customer is to get, in minor units; the transfer's amount is this and the fee."""
    transfer_amount: int
    expires_ms: int
    state: str = "RESERVED"
    questions: int = 0


class _FailedError(Exception):
    """A leg of a payment ended with an error. ``code`` is the FSPIOP code, empty where no answer came."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class _RefusedError(_FailedError):
    """The hub did not take the message at all: nothing has come of it."""


class _Terms(msgspec.Struct, frozen=True):
    """What a payee agreed to, kept to fulfil it."""

    payer_fsp: str
    amount: int
    currency: str
    receives: int
    customer: PartyKey | None
    packet: str
    fulfilment: str
    condition: str
    expires_ms: int


class _Reply(msgspec.Struct, frozen=True):
    """What was answered, kept because a question that comes again is answered with the same bytes."""

    resource: str
    path: str
    body: bytes


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Participant:
    """One participant: a server, its customers, and what it knows of its payments."""

    def __init__(
        self,
        name: str,
        *,
        currencies: Sequence[str],
        client: HttpClient,
        customers: Sequence[Customer] = (),
        hub_url: str = "",
        port: int = 0,
        version: Version = Version.V1_1,
        fee: int = 0,
        transfer_seconds: float = 20.0,
        answer_seconds: float = 10.0,
        grace_seconds: float = 3.0,
        resend_seconds: float = RESEND_SECONDS,
        asking_seconds: float = ASKING_SECONDS,
        retry_first_seconds: float = RETRY_FIRST_SECONDS,
        clears_unquoted: bool = False,
        history_max: int | None = None,
        outcomes: Outcomes | None = None,
        token: str = "",
        signing_key: PrivateKey | None = None,
        peer_keys: Mapping[str, Sequence[PublicKey]] | None = None,
    ) -> None:
        self.name = name
        self.token = token
        """What it shows to a hub that asks who calls; empty: nothing."""
        self.signing_key = signing_key
        """What it signs its messages with; None: it does not sign."""
        self.peer_keys = peer_keys
        """The keys of the hub and the other participants, by name: what they send must be signed. None: it may be."""
        self.signatures_checked = 0
        """Messages whose signature was right."""
        self.currencies = tuple(currencies)
        self.hub_url = hub_url
        self.version = version
        self.fee = fee
        """What it takes as payee of each payment, in minor units."""
        self.transfer_seconds = transfer_seconds
        """How long the transfers it sends may take: their expiration."""
        self.answer_seconds = answer_seconds
        """How long it waits for an answer to a lookup, a quote or a question."""
        self.grace_seconds = grace_seconds
        """How long after a transfer's expiration it waits for the hub's word before it asks."""
        self.resend_seconds = resend_seconds
        """How long it tries to get a message to a hub that is away or busy."""
        self.asking_seconds = asking_seconds
        """How long after a transfer's expiration it asks for its end, before the end counts as unknown."""
        self.retry_first_seconds = retry_first_seconds
        self.clears_unquoted = clears_unquoted
        """Whether it fulfils transfers for which it gave no quote (`vuka.sim.unquoted`)."""
        self.history_max = history_max
        """How many ended transfers it remembers; None for all."""
        self.commits_at_once = version is Version.V1_0
        """Whether it answers transfers COMMITTED, as FSPIOP 1.0 does, not RESERVED."""
        self.conduct = Conduct.NORMAL
        self.delay_ms = DELAY_MS
        self.customers: dict[tuple[str, ...], Customer] = {}
        """By type and identifier, and sub-identifier where there is one."""
        for each in customers:
            self.customers[_short(each.key)] = each
        self.told: dict[str, list[str]] = {}
        """By transfer: what the hub told this participant of it, in order."""
        self.payments: dict[str, Payment] = {}
        self.reservations: dict[str, Reservation] = {}
        self.contradictions: list[str] = []
        """What the hub said that cannot be: two different ends of a transfer, a fulfilment that does not fit."""
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        """Minor units of committed transfers, by currency: what the hub's position must come to."""
        self.server = Server(self._handle, port=port)
        self.on_change: Callable[[Payment], None] | None = None
        self._client = client
        self._outcomes = outcomes
        self._secret = secrets.token_bytes(32)
        self._waiting: dict[Key, list[asyncio.Future[Json]]] = {}
        self._terms: dict[str, _Terms] = {}
        self._replies: dict[Key, _Reply] = {}
        self._endings: dict[str, list[asyncio.Future[None]]] = {}
        self._reminders: dict[str, asyncio.TimerHandle] = {}
        self._quoted: deque[Key] = deque()
        self._conditions: dict[Key, str] = {}
        self._ended: dict[str, None] = {}

    async def start(self) -> None:
        """Begins to listen."""
        await self.server.start()

    async def stop(self) -> None:
        """Stops; what it waits for is given up."""
        for reminder in self._reminders.values():
            reminder.cancel()
        self._reminders.clear()
        await self.server.stop()

    @property
    def url(self) -> str:
        """Where the hub calls it back."""
        return self.server.url

    def customer(self, identifier: str, party_type: str = "MSISDN", sub_id: str = "") -> Customer:
        """One of its customers. Raises `KeyError`."""
        return self.customers[_short((party_type, identifier, sub_id))]

    # --- paying -----------------------------------------------------------------------------------------------

    async def pay(
        self,
        payer: str,
        to: tuple[str, str] | PartyKey,
        amount: int,
        currency: str,
        *,
        payer_type: str = "MSISDN",
        amount_type: str = "SEND",
    ) -> Payment:
        """Pays ``amount`` minor units from a customer of its own to whoever ``to`` (type, identifier) is.

        With ``amount_type`` SEND the payer is debited so much and fees come off it; with RECEIVE the payee gets so much
        and fees come on top. Looks the payee up, agrees the terms, transfers; returns when the hub has said how it
        ended. Raises `KeyError` where it has no such customer.
        """
        customer = self.customers[payer_type, payer]
        payment = Payment(
            transfer_id=str(uuid.uuid4()),
            quote_id=str(uuid.uuid4()),
            transaction_id=str(uuid.uuid4()),
            payer=payer,
            payee_type=to[0],
            payee_id=to[1],
            payee_sub_id=to[2] if len(to) == 3 else "",
            currency=currency,
            amount=amount,
            amount_type=amount_type,
        )
        self.payments[payment.transfer_id] = payment
        try:
            party = await self._look_up(payment)
            packet = await self._agree(payment, customer, party)
            self._debit(payment, customer)
        except _FailedError as error:
            payment.error = str(error)
            self._finish(payment, PaymentState.ABORTED)
            return payment
        await self._transfer(payment, packet)
        return payment

    async def clear(self, payee_fsp: str, amount: int, currency: str) -> Payment:
        """The transfer leg alone, on `vuka.sim.unquoted`'s terms: nobody is debited and nobody credited for it.

        The payee must clear unquoted transfers (`clears_unquoted`). Returns when the hub has said how it ended.
        """
        transfer_id = str(uuid.uuid4())
        payment = Payment(
            transfer_id=transfer_id,
            quote_id="",
            transaction_id="",
            payer="",
            payee_type="",
            payee_id="",
            currency=currency,
            amount=amount,
            payee_fsp=payee_fsp,
            transfer_amount=amount,
            payee_receives=amount,
            condition=CONDITION,
        )
        self.payments[transfer_id] = payment
        await self._transfer(payment, ILP_PACKET)
        return payment

    async def _look_up(self, payment: Payment) -> Json:
        started = time.perf_counter()
        ids = _short((payment.payee_type, payment.payee_id, payment.payee_sub_id))
        try:
            answer = await self._ask("GET", "parties", ("parties", *ids), None, None, ("parties", *ids))
        finally:
            payment.lookup_ms = _ms_since(started)
        party: Json = answer["party"]
        payment.payee_fsp = party["partyIdInfo"]["fspId"]
        payment.payee_name = party.get("name", "")
        return party

    async def _agree(self, payment: Payment, customer: Customer, party: Mapping[str, Any]) -> str:
        """Asks for a quote and checks it; the packet to send."""
        payment.state = PaymentState.QUOTE
        self._changed(payment)
        started = time.perf_counter()
        body = {
            "quoteId": payment.quote_id,
            "transactionId": payment.transaction_id,
            "payee": {"partyIdInfo": party["partyIdInfo"]},
            "payer": self._party(customer),
            "amountType": payment.amount_type,
            "amount": _money(payment.amount, payment.currency),
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        }
        try:
            answer = await self._ask(
                "POST", "quotes", ("quotes",), body, payment.payee_fsp, ("quotes", payment.quote_id)
            )
        finally:
            payment.quote_ms = _ms_since(started)
        payment.transfer_amount = parse_amount(answer["transferAmount"]["amount"])
        payment.fee = parse_amount(answer.get("payeeFspFee", {}).get("amount", "0"))
        receives = answer.get("payeeReceiveAmount")
        payment.payee_receives = (
            parse_amount(receives["amount"]) if receives is not None else payment.transfer_amount - payment.fee
        )
        payment.condition = answer["condition"]
        objection = _objection_to_quote(payment, answer)
        if objection:
            raise _FailedError(f"the quote is not acceptable: {objection}")
        packet: str = answer["ilpPacket"]
        return packet

    def _debit(self, payment: Payment, customer: Customer) -> None:
        """Sets the customer's money aside, before anybody else can count on it."""
        held = customer.balances.get(payment.currency, 0)
        if held < payment.transfer_amount:
            raise _FailedError(f"{customer.name} has not enough {payment.currency}")
        customer.balances[payment.currency] = held - payment.transfer_amount
        payment.debited = customer.key

    async def _transfer(self, payment: Payment, packet: str) -> None:
        """POST /transfers, then the hub's word on it, asked for where it does not come."""
        payment.state = PaymentState.TRANSFER
        self._changed(payment)
        started = time.perf_counter()
        payment.expires_ms = now_ms() + round(self.transfer_seconds * 1000)
        body = {
            "transferId": payment.transfer_id,
            "payerFsp": self.name,
            "payeeFsp": payment.payee_fsp,
            "amount": _money(payment.transfer_amount, payment.currency),
            "ilpPacket": packet,
            "condition": payment.condition,
            "expiration": format_datetime_ms(payment.expires_ms),
        }
        ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._endings.setdefault(payment.transfer_id, []).append(ending)
        try:
            await self._send("POST", "transfers", ("transfers",), body, payment.payee_fsp)
            await asyncio.wait((ending,), timeout=self.transfer_seconds + self.grace_seconds)
        except _RefusedError as error:
            if not ending.done():
                payment.error = str(error)
                self._finish(payment, PaymentState.ABORTED)
        except _FailedError as error:
            payment.error = str(error)
        if payment.state not in FINAL:
            await self._ask_for_end(payment, ending)
        payment.transfer_ms = _ms_since(started)
        if payment.state not in FINAL:
            payment.state = PaymentState.UNKNOWN
            payment.error = payment.error or "the hub did not say how it ended"
        self._changed(payment)

    async def _ask_for_end(self, payment: Payment, ending: asyncio.Future[None]) -> None:
        """No word in time: how it ended is what the hub says, and only that."""
        key = ("transfers", payment.transfer_id)
        wait_seconds = self.retry_first_seconds * 5
        gives_up_ms = max(payment.expires_ms, now_ms()) + self.asking_seconds * 1000
        while now_ms() < gives_up_ms:
            try:
                await self._ask("GET", "transfers", key, None, payment.payee_fsp, key)
            except _FailedError as error:
                # A hub that knows nothing of it may still get it, until its time is over: only then it never happened.
                if error.code == _NOT_FOUND and now_ms() > payment.expires_ms:
                    payment.error = payment.error or str(error)
                    self._finish(payment, PaymentState.ABORTED)
            if payment.state in FINAL:
                return
            await asyncio.wait((ending,), timeout=wait_seconds)
            if payment.state in FINAL:
                return
            wait_seconds = min(wait_seconds * 2, QUESTION_SECONDS_MAX)

    def _payer_hears(self, transfer_id: str, state: str, *, fulfilment: str | None = None, reason: str = "") -> None:
        """The hub's word on a transfer that it sent; only the first end counts."""
        payment = self.payments.get(transfer_id)
        if payment is None or state not in ("COMMITTED", "ABORTED"):
            return
        if payment.state in FINAL:
            if payment.state != state:
                self.contradictions.append(f"{transfer_id}: payer told {payment.state}, then {state}")
            return
        fits = fulfilment is None or ilp.fulfilment_matches(fulfilment, payment.condition)
        if state == "COMMITTED" and not fits:
            self.contradictions.append(f"{transfer_id}: COMMITTED with a fulfilment that does not fit")
        payment.error = reason or payment.error or state
        self._finish(payment, PaymentState(state))

    def _finish(self, payment: Payment, state: PaymentState) -> None:
        """The end, once: the money is gone, or returned."""
        payment.state = state
        if state is PaymentState.COMMITTED:
            payment.error = ""
            self.sent[payment.currency] += payment.transfer_amount
        elif payment.debited is not None:
            balances = self.customers[_short(payment.debited)].balances
            balances[payment.currency] = balances.get(payment.currency, 0) + payment.transfer_amount
        payment.debited = None
        self._write("payer", payment.transfer_id, state, payment.transfer_amount, payment.currency, payment.error)
        self._wake_ending(payment.transfer_id)
        self._remember(payment.transfer_id)
        self._changed(payment)

    async def register(self) -> None:
        """Tells the hub's oracle of every customer. Raises `RuntimeError` where the hub refuses one."""
        for ids in self.customers:
            key = ("participants", *ids)
            try:
                await self._ask("POST", "participants", key, {"fspId": self.name}, None, key)
            except _FailedError as error:
                raise RuntimeError(f"{self.name} could not register {'/'.join(ids)}: {error}") from None

    async def ended(self, transfer_id: str, wait_seconds: float = 5.0) -> str | None:
        """As payee: how a transfer ended for it, waiting for the hub's word so long; None where it reserved nothing."""
        reservation = self.reservations.get(transfer_id)
        if reservation is None:
            return None
        if reservation.state == "RESERVED":
            ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._endings.setdefault(transfer_id, []).append(ending)
            await asyncio.wait((ending,), timeout=wait_seconds)
        return reservation.state

    # --- sending ----------------------------------------------------------------------------------------------

    async def _ask(
        self, method: str, resource: str, segments: Key, body: object | None, destination: str | None, key: Key
    ) -> Json:
        """Sends a request and waits for its callback. Raises `_FailedError` for an error or where none comes."""
        waiting: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiting)
        try:
            await self._send(method, resource, segments, body, destination)
            async with asyncio.timeout(self.answer_seconds):
                return await waiting
        except TimeoutError:
            raise _FailedError("no answer came in time") from None
        finally:
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # it came, and nobody waits for it any more
            others = self._waiting[key]
            others.remove(waiting)
            if not others:
                del self._waiting[key]

    async def _send(
        self,
        method: str,
        resource: str,
        segments: Key,
        body: object | None,
        destination: str | None,
        source: str | None = None,
    ) -> None:
        """One message to the hub; sent again while the hub cannot be reached or is busy (FSPIOP API 1.1 §3.2.5).

        Raises `_RefusedError` where the hub refuses it, `_FailedError` where the hub can't be reached for long.
        """
        path = _path(segments)
        headers = hub_headers(
            resource,
            self.version,
            method=method,
            source=source or self.name,
            destination=destination,
            uri=path,
            now_ms=now_ms(),
        )
        if self.token:
            headers.append(("Authorization", f"Bearer {self.token}"))
        encoded = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        if self.signing_key is not None and encoded is not None:
            # As the usual SDK does: the canonical form is signed, the body is sent as it was written.
            named = {name.lower(): value for name, value in headers}
            signature = sign(self.signing_key, get=named.get, body=canonical(encoded))
            headers.append(("FSPIOP-Signature", signature))
        request = Request(method, self.hub_url + path, headers, encoded)
        wait_seconds = self.retry_first_seconds
        gives_up_at = time.monotonic() + self.resend_seconds
        may_have_arrived = False
        while True:
            try:
                answer = await self._client.send(request)
            except TransportError as error:
                may_have_arrived = True
                reason, code = str(error), ""
            else:
                if answer.status < 300:
                    return
                reason, code = _refusal(answer)
                if answer.status != 503:
                    raise (_FailedError if may_have_arrived else _RefusedError)(reason, code)
                wait_seconds = max(wait_seconds, min(_retry_after_seconds(answer), RETRY_SECONDS_MAX))
            if time.monotonic() + wait_seconds > gives_up_at:
                raise (_FailedError if may_have_arrived else _RefusedError)(reason, code)
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, RETRY_SECONDS_MAX)

    def _changed(self, payment: Payment) -> None:
        if self.on_change is not None:
            self.on_change(payment)

    # --- being called back ------------------------------------------------------------------------------------

    def _handle(self, inquiry: Inquiry) -> Answer | Awaitable[Answer] | None:
        path = inquiry.path.partition("?")[0]
        if path.startswith("/sim/"):
            return self._control(inquiry, path)
        if self.conduct is Conduct.HANGS:
            return None
        if self.conduct is Conduct.FAILS:
            return Answer(500)
        key = tuple(unquote(each) for each in path.split("/")[1:])
        source = inquiry.headers.get("fspiop-source", "")
        if inquiry.method == "GET":
            return self._is_asked(source, key)
        if self.peer_keys is not None and not self._is_signed(inquiry, source, path, self.peer_keys):
            return Answer(400)
        try:
            body = msgspec.json.decode(inquiry.body)
            if not isinstance(body, dict):
                return Answer(400)
            return self._is_told(inquiry.method, source, key, body)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, AmountError):
            # Nothing has been done yet: whoever sent it learns that it can't be read.
            return Answer(400)

    def _is_signed(
        self, inquiry: Inquiry, source: str, path: str, peer_keys: Mapping[str, Sequence[PublicKey]]
    ) -> bool:
        """Whether it is from whom it says: what is not contradicts what the scheme promises."""
        try:
            verify(
                peer_keys.get(source, ()),
                method=inquiry.method,
                path=path,
                get=inquiry.headers.get,
                body=inquiry.body,
            )
        except FspiopError as error:
            self.contradictions.append(f"{inquiry.method} {path} of {source}: {error}")
            return False
        self.signatures_checked += 1
        return True

    def _is_asked(self, source: str, key: Key) -> Answer:
        match key:
            case ("parties", _, _) | ("parties", _, _, _):
                self.server.spawn(self._answer_lookup(source, key))
            case ("quotes", _):
                self.server.spawn(self._answer_again(source, key, "3205", "Quote ID not found"))
            case ("transfers", _):
                self.server.spawn(self._answer_again(source, key, _NOT_FOUND, "Transfer ID not found"))
            case _:
                return Answer(404)
        return Answer(202)

    def _is_told(self, method: str, source: str, key: Key, body: Json) -> Answer:
        match method, key:
            case "POST", ("quotes",):
                quote_key = ("quotes", str(body["quoteId"]))
                self.server.spawn(self._answer_quote(source, quote_key, body))
                return Answer(202)
            case "POST", ("transfers",):
                transfer_key = ("transfers", str(body["transferId"]))
                self.server.spawn(self._answer_transfer(source, transfer_key, body))
                return Answer(202)
            case "PUT" | "PATCH", ("transfers", transfer_id):
                self._hear(transfer_id, body)
                return Answer(200)
            case "PUT", ("transfers", transfer_id, "error"):
                self._hear_error(transfer_id, body)
                return Answer(200)
            case "PUT", (_, _, *_):
                self._wake(key, body)
                return Answer(200)
            case _:
                return Answer(404)

    def _wake(self, key: Key, body: Json) -> None:
        """Gives an answer to all who wait for it: two lookups of one party have one answer."""
        is_error = key[-1] == "error"
        error = _error_of(body) if is_error else None
        for waiting in self._waiting.get(key[:-1] if is_error else key, ()):
            if waiting.done():
                continue
            if error is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(body)

    def _hear(self, transfer_id: str, body: Json) -> None:
        """What the hub (or the payee, through it) says of a transfer: final for payer and payee."""
        state: str = body["transferState"]
        self.told.setdefault(transfer_id, []).append(state)
        self._wake(("transfers", transfer_id), body)
        self._payer_hears(transfer_id, state, fulfilment=body.get("fulfilment"), reason=_cause_of(body))
        self._payee_hears(transfer_id, state)
        self._remember(transfer_id)

    def _hear_error(self, transfer_id: str, body: Json) -> None:
        """An error about a transfer. Not every one is its end: some are about a message of this participant's own."""
        error = _error_of(body)
        self.told.setdefault(transfer_id, []).append(f"ERROR {error}")
        self._wake(("transfers", transfer_id, "error"), body)
        if error.code == _EXPIRED or error.code.startswith(_ABORTED_BY_HUB):
            self._payer_hears(transfer_id, "ABORTED", reason=str(error))
            self._payee_hears(transfer_id, "ABORTED")
            self._remember(transfer_id)
        elif error.code not in (_MODIFIED_REQUEST, _NOT_FOUND):
            # 3100 and the like: an invalid transfer, but also any message about a valid one. The hub knows which.
            self.server.spawn(self._ask_how_it_stands(transfer_id, str(error)))

    async def _ask_how_it_stands(self, transfer_id: str, reason: str) -> None:
        key = ("transfers", transfer_id)
        payment = self.payments.get(transfer_id)
        reservation = self.reservations.get(transfer_id)
        if payment is not None and payment.state not in FINAL:
            payment.error = payment.error or reason
            other = payment.payee_fsp
        elif reservation is not None and reservation.state == "RESERVED":
            other = reservation.payer_fsp
        else:
            return
        try:
            await self._send("GET", "transfers", key, None, other)
        except _FailedError as error:
            self.told.setdefault(transfer_id, []).append(f"GET failed: {error}")

    def _payee_hears(self, transfer_id: str, state: str) -> None:
        """Credits the customer when the hub has committed, lets go when it has not; once."""
        reservation = self.reservations.get(transfer_id)
        if reservation is None or state not in ("COMMITTED", "ABORTED"):
            return
        if reservation.state != "RESERVED":
            if reservation.state != state:
                self.contradictions.append(f"{transfer_id}: payee told {reservation.state}, then {state}")
            return
        reservation.state = state
        if state == "COMMITTED":
            self.received[reservation.currency] += reservation.transfer_amount
            if reservation.customer is not None:
                balances = self.customers[_short(reservation.customer)].balances
                balances[reservation.currency] = balances.get(reservation.currency, 0) + reservation.amount
        reminder = self._reminders.pop(transfer_id, None)
        if reminder is not None:
            reminder.cancel()
        self._write("payee", transfer_id, state, reservation.transfer_amount, reservation.currency)
        self._wake_ending(transfer_id)

    def _wake_ending(self, transfer_id: str) -> None:
        for ending in self._endings.pop(transfer_id, ()):
            if not ending.done():
                ending.set_result(None)

    def _write(self, role: str, transfer_id: str, state: str, amount: int, currency: str, error: str = "") -> None:
        if self._outcomes is not None:
            self._outcomes.add(Outcome(now_ms(), transfer_id, self.name, role, state, amount, currency, error))

    def _remember(self, transfer_id: str) -> None:
        """Forgets the oldest of what has ended, where it is to remember only so much."""
        if self.history_max is None:
            return
        payment, reservation = self.payments.get(transfer_id), self.reservations.get(transfer_id)
        is_open = (payment is not None and payment.state not in FINAL) or (
            reservation is not None and reservation.state == "RESERVED"
        )
        if is_open or transfer_id in self._ended:
            return
        self._ended[transfer_id] = None
        while len(self._ended) > self.history_max:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self.told.pop(oldest, None)
            self.payments.pop(oldest, None)
            self.reservations.pop(oldest, None)
            self._replies.pop(("transfers", oldest), None)

    # --- being paid -------------------------------------------------------------------------------------------

    async def _answer_lookup(self, source: str, key: Key) -> None:
        await self._take_time()
        customer = self.customers.get(key[1:])
        if customer is None:
            await self._reply(source, _refusing("parties", key, "3204", "Party not found"))
            return
        await self._reply(source, _reply("parties", key, {"party": self._party(customer)}))

    async def _answer_quote(self, source: str, key: Key, quote: Json) -> None:
        await self._take_time()
        earlier = self._replies.get(key)
        if earlier is None:
            earlier = self._replies[key] = self._quote(source, key, quote)
            self._quoted.append(key)
            self._forget_quotes()
        await self._reply(source, earlier)

    def _forget_quotes(self) -> None:
        while self.history_max is not None and len(self._quoted) > self.history_max:
            oldest = self._quoted.popleft()
            self._replies.pop(oldest, None)
            self._terms.pop(self._conditions.pop(oldest, ""), None)

    def _quote(self, source: str, key: Key, quote: Json) -> _Reply:
        """The terms for a transaction, or why there are none (FSPIOP API 1.1 §6.5.2)."""
        payee = quote["payee"]["partyIdInfo"]
        party = _short((payee["partyIdType"], payee["partyIdentifier"], payee.get("partySubIdOrType") or ""))
        customer = self.customers.get(party)
        amount, currency = parse_amount(quote["amount"]["amount"]), quote["amount"]["currency"]
        # SEND: the payer sends this much, the payee receives it less the fee. RECEIVE: the fee is on top.
        sends = amount if quote["amountType"] == "SEND" else amount + self.fee
        if self.conduct is Conduct.REJECTS_QUOTES:
            return _refusing("quotes", key, "5101", "Payee rejected quote")
        if customer is None:
            return _refusing("quotes", key, "5107", "Payee identifier no longer valid")
        if currency not in self.currencies:
            return _refusing("quotes", key, "5106", f"Payee unsupported currency - {currency}")
        if sends <= self.fee:
            return _refusing("quotes", key, "5103", "Payee FSP rejected quote - the amount does not cover the fee")
        expires_ms = now_ms() + QUOTE_VALID_MS
        transaction = {
            "transactionId": quote["transactionId"],
            "quoteId": quote["quoteId"],
            "payee": {**quote["payee"], "partyIdInfo": {**payee, "fspId": self.name}},
            "payer": quote["payer"],
            "amount": _money(sends, currency),
            "transactionType": quote["transactionType"],
            "expiration": format_datetime_ms(expires_ms),
        }
        version = ilp.IlpVersion.V4 if self.version >= Version.V2_0 else ilp.IlpVersion.V1
        try:
            agreement = ilp.agree(transaction, self._secret, version)
        except ilp.IlpError as error:
            return _refusing("quotes", key, "5103", f"Payee FSP rejected quote - {error}"[:128])
        self._terms[agreement.condition] = _Terms(
            payer_fsp=source,
            amount=sends,
            currency=currency,
            receives=sends - self.fee,
            customer=customer.key,
            packet=agreement.packet,
            fulfilment=agreement.fulfilment,
            condition=agreement.condition,
            expires_ms=expires_ms,
        )
        self._conditions[key] = agreement.condition
        body: dict[str, object] = {
            "transferAmount": _money(sends, currency),
            "payeeReceiveAmount": _money(sends - self.fee, currency),
            "expiration": transaction["expiration"],
            "ilpPacket": agreement.packet,
            "condition": agreement.condition,
        }
        if self.fee:
            body["payeeFspFee"] = _money(self.fee, currency)
        return _reply("quotes", key, body)

    async def _answer_transfer(self, source: str, key: Key, transfer: Json) -> None:
        earlier = self._replies.get(key)
        if earlier is not None:
            # It came again: it is answered the same again, or the hub would take the second for a changed one.
            await self._reply(source, earlier)
            return
        if self.conduct is Conduct.SILENT:
            return
        await self._take_time()
        if key in self._replies:
            await self._reply(source, self._replies[key])
            return
        terms = self._terms.get(transfer["condition"])
        if terms is None and self.clears_unquoted and transfer["condition"] == CONDITION:
            terms = _unquoted(source, transfer)
        refusal = self._objection_to_transfer(source, transfer, terms)
        if refusal is not None or terms is None:
            code, description = refusal or ("5105", "Payee FSP rejected transaction")
            answer = self._replies[key] = _refusing("transfers", key, code, description)
            await self._reply(source, answer)
            return
        fulfilment = terms.fulfilment
        if self.conduct is Conduct.WRONG_FULFILMENT:
            fulfilment = ilp.fulfilment_v1(terms.packet, b"not the secret")
        body = {
            "transferState": "COMMITTED" if self.commits_at_once else "RESERVED",
            "fulfilment": fulfilment,
            "completedTimestamp": format_datetime_ms(now_ms()),
        }
        answer = self._replies[key] = _reply("transfers", key, body)
        self._reserve(key[1], source, transfer, terms)
        if self.conduct is Conduct.WRONG_SOURCE:
            await self._try_to_send(answer, source, claimed=source)
            return
        await self._reply(source, answer)
        if self.conduct is Conduct.MODIFIED_DUPLICATES:
            body["completedTimestamp"] = format_datetime_ms(now_ms() + 1)
            await self._try_to_send(_reply("transfers", key, body), source)

    def _objection_to_transfer(self, source: str, transfer: Json, terms: _Terms | None) -> tuple[str, str] | None:
        """Why a transfer is not what was agreed: the payee's own check (FSPIOP API 1.1 §6.5.2); None where it is."""
        if self.conduct is Conduct.ABORTS:
            return "5104", "Payee rejected transaction"
        if terms is None:
            return "5105", "Payee FSP rejected transaction - there is no such quote"
        if transfer["ilpPacket"] != terms.packet:
            return "5105", "Payee FSP rejected transaction - the ILP packet is not the quote's"
        if source != terms.payer_fsp or transfer["payerFsp"] != terms.payer_fsp:
            return "5105", "Payee FSP rejected transaction - the quote was given to another"
        money = transfer["amount"]
        if money["currency"] != terms.currency or parse_amount(money["amount"]) != terms.amount:
            return "5105", "Payee FSP rejected transaction - the amount is not the quote's"
        if terms.expires_ms <= now_ms():
            return "5105", "Payee FSP rejected transaction - the quote has expired"
        if parse_datetime_ms(transfer["expiration"]) <= now_ms():
            return "5105", "Payee FSP rejected transaction - the transfer has expired"
        return None

    def _reserve(self, transfer_id: str, source: str, transfer: Json, terms: _Terms) -> None:
        """Holds the money for the customer, and makes sure that its end will be known."""
        expires_ms = parse_datetime_ms(transfer["expiration"])
        self.reservations[transfer_id] = Reservation(
            transfer_id, source, terms.customer, terms.currency, terms.receives, terms.amount, expires_ms
        )
        wait_seconds = max(expires_ms - now_ms(), 0) / 1000 + self.grace_seconds
        if self.commits_at_once:
            # The hub need not confirm what was answered COMMITTED, and it is final at once: so it is asked soon.
            wait_seconds = min(wait_seconds, self.answer_seconds)
        self._remind(transfer_id, wait_seconds)

    def _remind(self, transfer_id: str, wait_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._reminders[transfer_id] = loop.call_later(wait_seconds, self._ask_as_payee, transfer_id)

    def _ask_as_payee(self, transfer_id: str) -> None:
        """The hub's word has not come: asks for it, and again later."""
        self._reminders.pop(transfer_id, None)
        reservation = self.reservations[transfer_id]
        if reservation.state != "RESERVED" or reservation.questions >= QUESTIONS_MAX:
            return
        reservation.questions += 1
        self.server.spawn(self._ask_how_it_stands(transfer_id, ""))
        self._remind(transfer_id, self.answer_seconds)

    async def _answer_again(self, source: str, key: Key, code: str, description: str) -> None:
        """GET: what was answered before (FSPIOP API 1.1 §6.5.2.1, §6.7.2.1), or that there was nothing."""
        earlier = self._replies.get(key)
        await self._reply(source, earlier if earlier is not None else _refusing(key[0], key, code, description))

    async def _take_time(self) -> None:
        if self.conduct is Conduct.SLOW:
            await asyncio.sleep(self.delay_ms / 1000)

    async def _reply(self, to: str, reply: _Reply) -> None:
        await self._try_to_send(reply, to)
        if self.conduct is Conduct.DUPLICATES:
            await self._try_to_send(reply, to)

    async def _try_to_send(self, reply: _Reply, to: str, claimed: str | None = None) -> None:
        """An answer that the hub does not take is told among the transfer's events: there is nobody to raise it to."""
        segments = tuple(unquote(each) for each in reply.path.split("/")[1:])
        try:
            await self._send("PUT", reply.resource, segments, reply.body, to, claimed)
        except _FailedError as error:
            if reply.resource == "transfers":
                self.told.setdefault(segments[1], []).append(f"PUT failed: {error}")

    def _party(self, customer: Customer) -> dict[str, object]:
        info = {"partyIdType": customer.party_type, "partyIdentifier": customer.identifier, "fspId": self.name}
        if customer.sub_id:
            info["partySubIdOrType"] = customer.sub_id
        return {
            "partyIdInfo": info,
            "name": customer.name,
            "personalInfo": {"complexName": {"firstName": customer.first_name}},
        }

    # --- what people ask it -----------------------------------------------------------------------------------

    def _control(self, inquiry: Inquiry, path: str) -> Answer | Awaitable[Answer]:
        match inquiry.method, path.split("/")[2:]:
            case "GET", ["customers"]:
                return _json([_customer(each) for each in self.customers.values()])
            case "POST", ["pay"]:
                return self._pay_for(inquiry.body)
            case "GET", ["behaviour"]:
                return _json({"kind": self.conduct, "delayMs": self.delay_ms})
            case "PUT", ["behaviour" | "conduct"]:
                return self._behave(inquiry.body)
            case "GET", ["payments"]:
                return _json([self._story(payment) for payment in self.payments.values()])
            case "GET", ["payments", transfer_id]:
                payment = self.payments.get(transfer_id)
                return _json(self._story(payment)) if payment is not None else Answer(404)
            case "GET", ["transfers", transfer_id]:
                return self._transfer_told(transfer_id)
            case _:
                return Answer(404)

    async def _pay_for(self, body: bytes) -> Answer:
        try:
            wanted = msgspec.json.decode(body, type=PayRequest)
            amount = Amount.from_wire(wanted.amount, wanted.currency)
        except (msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        payer = next((each for each in self.customers.values() if each.identifier == wanted.payer), None)
        if payer is None or payer.sub_id:
            return _json({"error": f"{self.name} has no customer {wanted.payer}"}, 400)
        to = (wanted.to.type, wanted.to.id, wanted.to.sub_id)
        payment = await self.pay(
            payer.identifier,
            to,
            amount.minor,
            amount.currency,
            payer_type=payer.party_type,
            amount_type=wanted.amount_type,
        )
        return _json(self._story(payment))

    def _behave(self, body: bytes) -> Answer:
        try:
            wanted = msgspec.json.decode(body, type=BehaviourRequest)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, 400)
        self.conduct = wanted.wanted
        self.delay_ms = wanted.delay_ms
        return Answer(200)

    def _transfer_told(self, transfer_id: str) -> Answer:
        reservation = self.reservations.get(transfer_id)
        told = self.told.get(transfer_id)
        if told is None and reservation is None:
            return Answer(404)
        state = reservation.state if reservation is not None else None
        return _json({"transferId": transfer_id, "told": told or [], "asPayee": state})

    def _story(self, payment: Payment) -> dict[str, object]:
        currency = payment.currency
        return {
            "state": payment.state,
            "transferId": payment.transfer_id,
            "quoteId": payment.quote_id,
            "transactionId": payment.transaction_id,
            "payee": payment.payee_name,
            "payeeFsp": payment.payee_fsp,
            "amount": f"{format_amount(payment.transfer_amount or payment.amount)} {currency}",
            "payeeReceives": f"{format_amount(payment.payee_receives)} {currency}",
            "fee": format_amount(payment.fee),
            "lookupMs": round(payment.lookup_ms, 1),
            "quoteMs": round(payment.quote_ms, 1),
            "transferMs": round(payment.transfer_ms, 1),
            "told": self.told.get(payment.transfer_id, []),
            **({"error": payment.error} if payment.error else {}),
        }


class PartyOf(msgspec.Struct, frozen=True, rename="camel"):
    """Who is paid."""

    id: str
    type: str = "MSISDN"
    sub_id: str = ""


class PayRequest(msgspec.Struct, frozen=True, rename={"payer": "from", "amount_type": "amountType"}):
    """The body of ``POST /sim/pay``: ``{"from": …, "to": {"id": …}, "amount": "10", "currency": "USD"}``."""

    payer: str
    to: PartyOf
    amount: str
    currency: str
    amount_type: str = "SEND"

    def __post_init__(self) -> None:
        if self.amount_type not in ("SEND", "RECEIVE"):
            raise ValueError("amountType must be SEND or RECEIVE")


def _objection_to_quote(payment: Payment, answer: Json) -> str:
    """Why a payer can't accept a payee's terms; empty where it can (FSPIOP API 1.1 §5.1)."""
    if answer["transferAmount"]["currency"] != payment.currency:
        return "it is in another currency"
    if payment.amount_type == "SEND" and payment.transfer_amount > payment.amount:
        return "it asks for more than was to be sent"
    if payment.amount_type == "RECEIVE" and payment.payee_receives != payment.amount:
        return "the payee would not receive what was asked for"
    if parse_datetime_ms(answer["expiration"]) <= now_ms():
        return "it has expired"
    try:
        packet = ilp.decode_packet(answer["ilpPacket"])
        expected = ilp.packet_amount(Amount(Currency(payment.currency), payment.transfer_amount))
    except (ilp.IlpError, AmountError) as error:
        return str(error)
    if packet.amount != expected:
        return "its ILP packet is for another amount"
    return ""


def _unquoted(source: str, transfer: Json) -> _Terms:
    """The terms of a transfer for which there was no quote: whatever it says, on a condition that everybody knows."""
    amount = parse_amount(transfer["amount"]["amount"])
    return _Terms(
        payer_fsp=source,
        amount=amount,
        currency=transfer["amount"]["currency"],
        receives=amount,
        customer=None,
        packet=transfer["ilpPacket"],
        fulfilment=FULFILMENT,
        condition=CONDITION,
        expires_ms=parse_datetime_ms(transfer["expiration"]),
    )


def _short(key: Sequence[str]) -> tuple[str, ...]:
    """What identifies a party, as a path has it: without the sub-identifier where there is none."""
    return tuple(key) if len(key) == 3 and key[2] else tuple(key[:2])


def _path(segments: Key) -> str:
    return "/" + "/".join(percent_encode(each, safe="") for each in segments)


def _money(minor: int, currency: str) -> dict[str, str]:
    return {"amount": format_amount(minor), "currency": currency}


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _reply(resource: str, key: Key, body: object) -> _Reply:
    return _Reply(resource, _path(key), msgspec.json.encode(body))


def _refusing(resource: str, key: Key, code: str, description: str) -> _Reply:
    body = {"errorInformation": {"errorCode": code, "errorDescription": description}}
    return _Reply(resource, _path(key) + "/error", msgspec.json.encode(body))


def _cause_of(body: Json) -> str:
    """Why the hub aborted a transfer: the extension ``cause`` that it adds (hub reference §4.6)."""
    extensions = body.get("extensionList", {}).get("extension", ())
    cause: str = next((each["value"] for each in extensions if each["key"] == "cause"), "")
    # "3303: Transfer expired" there, "3303 Transfer expired" everywhere else.
    return cause.replace(": ", " ", 1)


def _error_of(body: Json) -> _FailedError:
    information = body["errorInformation"]
    code = str(information["errorCode"])
    return _FailedError(f"{code} {information['errorDescription']}", code)


def _refusal(answer: Response) -> tuple[str, str]:
    """Why the hub refused a message, and the code."""
    try:
        error = _error_of(msgspec.json.decode(answer.body))
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"HTTP {answer.status}", ""
    return str(error), error.code


def _retry_after_seconds(answer: Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def _customer(customer: Customer) -> dict[str, object]:
    return {
        "name": customer.name,
        "type": customer.party_type,
        "id": customer.identifier,
        **({"subId": customer.sub_id} if customer.sub_id else {}),
        "balances": {currency: format_amount(minor) for currency, minor in customer.balances.items()},
    }
