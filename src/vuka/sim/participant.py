"""A simulated participant (DFSP): a real HTTP server with customers, that pays and is paid through a hub.

It speaks FSPIOP as its counterpart on the wire would: it looks payees up, asks for and gives quotes with fees, makes
ILP packets and fulfilments, reserves on POST, credits its customer only when the hub has said COMMITTED, and asks with
GET when an answer does not come. Everything the hub tells it is kept (`Participant.told`), so that a test can compare
what payer, payee and hub believe. It knows nothing of the hub but its URL.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

import msgspec

from vuka.fspiop import ilp
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response, TransportError
from vuka.money import format_amount, parse_amount
from vuka.sim.server import Answer, Inquiry, Server

SEND_ATTEMPTS_MAX: Final = 8
RETRY_FIRST_SECONDS: Final = 0.1
MODIFIED_REQUEST: Final = "3106"
QUOTE_VALID_MS: Final = 60_000


class Conduct(StrEnum):
    """How a participant behaves as payee."""

    NORMAL = "normal"
    SLOW = "slow"
    """Answers after `Participant.delay_ms`."""
    SILENT = "silent"
    """Takes a transfer and never answers it."""
    REJECTS_QUOTES = "rejects-quotes"
    ABORTS = "aborts"
    """Declines transfers with PUT …/error."""
    WRONG_FULFILMENT = "wrong-fulfilment"
    DUPLICATES = "duplicates"
    """Sends each answer twice."""
    MODIFIED_DUPLICATES = "modified-duplicates"
    """Sends each answer twice, the second time changed."""
    HANGS = "hangs"
    """Takes connections and answers no request."""
    FAILS = "fails"
    """Answers every request with HTTP 500."""
    WRONG_SOURCE = "wrong-source"
    """Answers transfers in the name of another participant."""


class Customer(msgspec.Struct):
    """A customer's account: balances in minor units by currency."""

    name: str
    party_type: str
    identifier: str
    balances: dict[str, int]

    @property
    def first_name(self) -> str:
        """The name before the first space."""
        return self.name.partition(" ")[0]


class PaymentState(StrEnum):
    """How a payment stands for its payer's participant."""

    LOOKUP = "LOOKUP"
    QUOTE = "QUOTE"
    TRANSFER = "TRANSFER"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"
    UNKNOWN = "UNKNOWN"
    """The hub could not be asked any more: only GET later can tell."""


class Payment(msgspec.Struct):
    """One payment as its payer's participant knows it. Times are milliseconds, amounts minor units."""

    transfer_id: str
    quote_id: str
    transaction_id: str
    payer: str
    payee_type: str
    payee_id: str
    currency: str
    amount: int
    state: PaymentState = PaymentState.LOOKUP
    payee_fsp: str = ""
    payee_name: str = ""
    fee: int = 0
    transfer_amount: int = 0
    error: str = ""
    lookup_ms: float = 0.0
    quote_ms: float = 0.0
    transfer_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """From the first question to the end."""
        return self.lookup_ms + self.quote_ms + self.transfer_ms


class _FailedError(Exception):
    """A leg of a payment ended with an error: the code and what it says."""


class _Terms(msgspec.Struct):
    """What a payee agreed to, kept to fulfil it."""

    amount: int
    currency: str
    receives: int
    customer: tuple[str, str]
    packet: str
    fulfilment: str
    condition: str


class _Reserved(msgspec.Struct):
    """Money that a payee holds for its customer until the hub has said COMMITTED."""

    customer: tuple[str, str]
    currency: str
    amount: int
    state: str = "RESERVED"


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
    ) -> None:
        self.name = name
        self.currencies = tuple(currencies)
        self.hub_url = hub_url
        self.version = version
        self.fee = fee
        """What it takes as payee of each payment, in minor units."""
        self.transfer_seconds = transfer_seconds
        """How long the transfers it sends may take: their expiration."""
        self.answer_seconds = answer_seconds
        """How long it waits for an answer to a lookup or a quote."""
        self.conduct = Conduct.NORMAL
        self.delay_ms = 500
        self.customers = {(each.party_type, each.identifier): each for each in customers}
        self.told: dict[str, list[str]] = {}
        """By transfer: what the hub told this participant of it, in order."""
        self.payments: dict[str, Payment] = {}
        self.server = Server(self._handle, port=port)
        self._client = client
        self._secret = secrets.token_bytes(32)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._terms: dict[str, _Terms] = {}
        self._reserved: dict[str, _Reserved] = {}
        self._answers: dict[str, dict[str, str]] = {}
        self._answered: dict[str, str] = {}
        self.on_change: Callable[[Payment], None] | None = None

    async def start(self) -> None:
        """Begins to listen."""
        await self.server.start()

    async def stop(self) -> None:
        """Stops."""
        await self.server.stop()

    @property
    def url(self) -> str:
        """Where the hub calls it back."""
        return self.server.url

    # --- paying -----------------------------------------------------------------------------------------------

    async def pay(
        self, payer: str, to: tuple[str, str], amount: int, currency: str, *, payer_type: str = "MSISDN"
    ) -> Payment:
        """Pays ``amount`` minor units from a customer of its own to whoever ``to`` (type, identifier) is.

        Looks the payee up, agrees the terms, transfers; returns when the hub has said how it ended.
        """
        payment = Payment(
            transfer_id=str(uuid.uuid4()),
            quote_id=str(uuid.uuid4()),
            transaction_id=str(uuid.uuid4()),
            payer=payer,
            payee_type=to[0],
            payee_id=to[1],
            currency=currency,
            amount=amount,
        )
        self.payments[payment.transfer_id] = payment
        customer = self.customers[payer_type, payer]
        try:
            party = await self._look_up(payment)
            packet, condition = await self._agree(payment, customer, party)
            await self._transfer(payment, customer, packet, condition)
        except _FailedError as error:
            payment.error = str(error)
            if payment.state is not PaymentState.UNKNOWN:
                payment.state = PaymentState.ABORTED
        self._changed(payment)
        return payment

    async def _look_up(self, payment: Payment) -> dict[str, Any]:
        started = time.perf_counter()
        path = f"/parties/{payment.payee_type}/{percent_encode(payment.payee_id, safe='')}"
        answer = await self._ask("GET", "parties", path, None, None, path, self.answer_seconds)
        payment.lookup_ms = (time.perf_counter() - started) * 1000
        party: dict[str, Any] = answer["party"]
        payment.payee_fsp = party["partyIdInfo"]["fspId"]
        payment.payee_name = party.get("name", "")
        return party

    async def _agree(self, payment: Payment, customer: Customer, party: Mapping[str, Any]) -> tuple[str, str]:
        payment.state = PaymentState.QUOTE
        self._changed(payment)
        started = time.perf_counter()
        body = {
            "quoteId": payment.quote_id,
            "transactionId": payment.transaction_id,
            "payee": {"partyIdInfo": party["partyIdInfo"]},
            "payer": self._party(customer),
            "amountType": "SEND",
            "amount": {"amount": format_amount(payment.amount), "currency": payment.currency},
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        }
        key = f"/quotes/{payment.quote_id}"
        answer = await self._ask("POST", "quotes", "/quotes", body, payment.payee_fsp, key, self.answer_seconds)
        payment.quote_ms = (time.perf_counter() - started) * 1000
        payment.transfer_amount = parse_amount(answer["transferAmount"]["amount"])
        payment.fee = parse_amount(answer.get("payeeFspFee", {}).get("amount", "0"))
        return answer["ilpPacket"], answer["condition"]

    async def _transfer(self, payment: Payment, customer: Customer, packet: str, condition: str) -> None:
        payment.state = PaymentState.TRANSFER
        self._changed(payment)
        currency = payment.currency
        if customer.balances.get(currency, 0) < payment.transfer_amount:
            raise _FailedError(f"{customer.name} has not enough {currency}")
        customer.balances[currency] -= payment.transfer_amount
        started = time.perf_counter()
        expires_ms = now_ms() + round(self.transfer_seconds * 1000)
        body = {
            "transferId": payment.transfer_id,
            "payerFsp": self.name,
            "payeeFsp": payment.payee_fsp,
            "amount": {"amount": format_amount(payment.transfer_amount), "currency": currency},
            "ilpPacket": packet,
            "condition": condition,
            "expiration": format_datetime_ms(expires_ms),
        }
        key = f"/transfers/{payment.transfer_id}"
        try:
            answer = await self._ask(
                "POST", "transfers", "/transfers", body, payment.payee_fsp, key, self.transfer_seconds + 3
            )
        except _FailedError:
            answer = await self._ask_for_end(payment, key)
        finally:
            payment.transfer_ms = (time.perf_counter() - started) * 1000
        if answer["transferState"] != "COMMITTED":
            customer.balances[currency] += payment.transfer_amount
            extensions = answer.get("extensionList", {}).get("extension", ())
            cause = next((each["value"] for each in extensions if each["key"] == "cause"), "")
            raise _FailedError(cause or answer["transferState"])
        payment.state = PaymentState.COMMITTED

    async def _ask_for_end(self, payment: Payment, key: str) -> dict[str, Any]:
        """An error, or no answer in time: how it ended is what the hub says, and only that."""
        told = self.told.get(payment.transfer_id, [])
        if told and told[-1].startswith("ERROR "):
            return {"transferState": "ABORTED", **_cause(told[-1].removeprefix("ERROR "))}
        for _ in range(SEND_ATTEMPTS_MAX):
            try:
                answer = await self._ask("GET", "transfers", key, None, None, key, self.answer_seconds)
            except _FailedError as error:
                if str(error).startswith("3208"):
                    return {"transferState": "ABORTED", **_cause(str(error))}
                continue
            if answer["transferState"] in ("COMMITTED", "ABORTED"):
                return answer
            await asyncio.sleep(RETRY_FIRST_SECONDS * 5)
        payment.state = PaymentState.UNKNOWN
        raise _FailedError("the hub did not say how it ended")

    async def register(self) -> None:
        """Tells the hub's oracle of every customer. Raises `RuntimeError` where the hub refuses one."""
        for party_type, identifier in self.customers:
            path = f"/participants/{party_type}/{percent_encode(identifier, safe='')}"
            body = {"fspId": self.name}
            try:
                await self._ask("POST", "participants", path, body, None, path, self.answer_seconds)
            except _FailedError as error:
                raise RuntimeError(f"{self.name} could not register {identifier}: {error}") from None

    async def _ask(
        self,
        method: str,
        resource: str,
        path: str,
        body: object | None,
        destination: str | None,
        key: str,
        wait_seconds: float,
    ) -> dict[str, Any]:
        """Sends a request and waits for its callback. Raises `_FailedError` for an error or where none comes."""
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = waiting
        try:
            await self._send(method, resource, path, body, destination)
            async with asyncio.timeout(wait_seconds):
                return await waiting
        except TimeoutError:
            raise _FailedError("no answer came in time") from None
        finally:
            self._waiting.pop(key, None)

    async def _send(
        self,
        method: str,
        resource: str,
        path: str,
        body: object | None,
        destination: str | None,
        source: str | None = None,
    ) -> None:
        """One message to the hub; sent again while the hub cannot be reached or is busy (FSPIOP API 1.1 §3.2.5).

        Raises `_FailedError` where the hub refuses it, or can't be reached for long.
        """
        headers = hub_headers(
            resource,
            self.version,
            method=method,
            source=source or self.name,
            destination=destination,
            uri=path,
            now_ms=now_ms(),
        )
        request = Request(method, self.hub_url + path, headers, None if body is None else msgspec.json.encode(body))
        wait_seconds = RETRY_FIRST_SECONDS
        for _ in range(SEND_ATTEMPTS_MAX):
            try:
                answer = await self._client.send(request)
            except TransportError as error:
                reason = str(error)
            else:
                if answer.status < 300:
                    return
                reason = _refusal(answer)
                if answer.status != 503:
                    raise _FailedError(reason)
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, 2.0)
        raise _FailedError(reason)

    def _changed(self, payment: Payment) -> None:
        if self.on_change is not None:
            self.on_change(payment)

    # --- being called back, and being paid --------------------------------------------------------------------

    def _handle(self, inquiry: Inquiry) -> Answer | Any | None:
        path = inquiry.path.partition("?")[0]
        if path.startswith("/sim/"):
            return self._control(inquiry, path)
        if self.conduct is Conduct.HANGS:
            return None
        if self.conduct is Conduct.FAILS:
            return Answer(500)
        segments = [unquote(each) for each in path.split("/")[1:]]
        source = inquiry.headers.get("fspiop-source", "")
        match inquiry.method, segments:
            case "GET", ["parties", party_type, identifier, *_]:
                self.server.spawn(self._answer_lookup(source, party_type, identifier, path))
                return Answer(202)
            case "POST", ["quotes"]:
                self.server.spawn(self._answer_quote(source, msgspec.json.decode(inquiry.body)))
                return Answer(202)
            case "POST", ["transfers"]:
                self.server.spawn(self._answer_transfer(source, msgspec.json.decode(inquiry.body)))
                return Answer(202)
            case "PUT" | "PATCH", ["transfers", transfer_id, *rest]:
                self._hear(transfer_id, msgspec.json.decode(inquiry.body), is_error=bool(rest))
                return Answer(200)
            case "PUT", [_, *_]:
                self._wake(path, msgspec.json.decode(inquiry.body))
                return Answer(200)
            case _:
                return Answer(404)

    def _wake(self, path: str, body: dict[str, Any]) -> None:
        key = path.removesuffix("/error")
        waiting = self._waiting.get(key)
        if waiting is None or waiting.done():
            return
        if path.endswith("/error"):
            information = body["errorInformation"]
            waiting.set_exception(_FailedError(f"{information['errorCode']} {information['errorDescription']}"))
        else:
            waiting.set_result(body)

    def _hear(self, transfer_id: str, body: dict[str, Any], *, is_error: bool) -> None:
        """What the hub (or the payee, through it) says of a transfer: final for payer and payee."""
        told = self.told.setdefault(transfer_id, [])
        path = f"/transfers/{transfer_id}"
        if is_error:
            information = body["errorInformation"]
            told.append(f"ERROR {information['errorCode']} {information['errorDescription']}")
            if information["errorCode"] == MODIFIED_REQUEST:
                # That is about a message of this participant's own, not about how the transfer ended.
                return
            self._settle(transfer_id, "ABORTED")
            self._wake(path + "/error", body)
            return
        state: str = body["transferState"]
        told.append(state)
        if state in ("COMMITTED", "ABORTED"):
            self._settle(transfer_id, state)
            self._wake(path, body)

    def _settle(self, transfer_id: str, state: str) -> None:
        """As payee: credits the customer when the hub has committed, releases when it has not; once."""
        reserved = self._reserved.get(transfer_id)
        if reserved is None or reserved.state != "RESERVED":
            return
        reserved.state = state
        if state == "COMMITTED":
            balances = self.customers[reserved.customer].balances
            balances[reserved.currency] = balances.get(reserved.currency, 0) + reserved.amount

    async def _answer_lookup(self, source: str, party_type: str, identifier: str, path: str) -> None:
        customer = self.customers.get((party_type, identifier))
        if customer is None:
            body: object = _error("3204", "Party not found")
            await self._answer("parties", path + "/error", body, source)
            return
        await self._answer("parties", path, {"party": self._party(customer)}, source)

    async def _answer_quote(self, source: str, quote: dict[str, Any]) -> None:
        path = f"/quotes/{quote['quoteId']}"
        payee = quote["payee"]["partyIdInfo"]
        customer = self.customers.get((payee["partyIdType"], payee["partyIdentifier"]))
        amount = parse_amount(quote["amount"]["amount"])
        if self.conduct is Conduct.REJECTS_QUOTES or customer is None or amount <= self.fee:
            await self._answer("quotes", path + "/error", _error("5101", "Payee rejected quote"), source)
            return
        currency = quote["amount"]["currency"]
        # SEND: the payer sends this much, the payee receives it less the fee. RECEIVE: the fee is on top.
        sends = amount if quote["amountType"] == "SEND" else amount + self.fee
        transaction = {
            "transactionId": quote["transactionId"],
            "quoteId": quote["quoteId"],
            "payee": quote["payee"],
            "payer": quote["payer"],
            "amount": {"amount": format_amount(sends), "currency": currency},
            "transactionType": quote["transactionType"],
        }
        expires = format_datetime_ms(now_ms() + QUOTE_VALID_MS)
        transaction["expiration"] = expires
        agreement = ilp.agree(
            transaction, self._secret, ilp.IlpVersion.V4 if self.version >= Version.V2_0 else ilp.IlpVersion.V1
        )
        self._terms[agreement.condition] = _Terms(
            amount=sends,
            currency=currency,
            receives=sends - self.fee,
            customer=(payee["partyIdType"], payee["partyIdentifier"]),
            packet=agreement.packet,
            fulfilment=agreement.fulfilment,
            condition=agreement.condition,
        )
        body: dict[str, object] = {
            "transferAmount": {"amount": format_amount(sends), "currency": currency},
            "payeeReceiveAmount": {"amount": format_amount(sends - self.fee), "currency": currency},
            "expiration": expires,
            "ilpPacket": agreement.packet,
            "condition": agreement.condition,
        }
        if self.fee:
            body["payeeFspFee"] = {"amount": format_amount(self.fee), "currency": currency}
        await self._answer("quotes", path, body, source)

    async def _answer_transfer(self, source: str, transfer: dict[str, Any]) -> None:
        transfer_id = transfer["transferId"]
        path = f"/transfers/{transfer_id}"
        terms = self._terms.get(transfer["condition"])
        if self.conduct is Conduct.SILENT:
            return
        if self.conduct is Conduct.SLOW:
            await asyncio.sleep(self.delay_ms / 1000)
        if self.conduct is Conduct.ABORTS or terms is None or not _agrees(transfer, terms):
            await self._answer("transfers", path + "/error", _error("5104", "Payee rejected transaction"), source)
            return
        earlier = self._answers.get(transfer_id)
        if earlier is not None:
            # It came again: it is answered the same again, or the hub would take the second for a changed one.
            await self._answer("transfers", path, earlier, source)
            return
        if transfer_id not in self._reserved:
            self._reserved[transfer_id] = _Reserved(terms.customer, terms.currency, terms.receives)
        fulfilment = terms.fulfilment
        if self.conduct is Conduct.WRONG_FULFILMENT:
            fulfilment = ilp.fulfilment_v1(terms.packet, b"not the secret")
        body = {
            "transferState": "COMMITTED" if self.version is Version.V1_0 else "RESERVED",
            "fulfilment": fulfilment,
            "completedTimestamp": format_datetime_ms(now_ms()),
        }
        self._answers[transfer_id] = dict(body)
        if self.conduct is Conduct.WRONG_SOURCE:
            await self._answer("transfers", path, body, source, claimed=source)
            return
        await self._answer("transfers", path, body, source)
        if self.conduct is Conduct.MODIFIED_DUPLICATES:
            body["completedTimestamp"] = format_datetime_ms(now_ms() + 1)
        if self.conduct in (Conduct.DUPLICATES, Conduct.MODIFIED_DUPLICATES):
            await self._answer("transfers", path, body, source)

    async def _answer(
        self, resource: str, path: str, body: object, destination: str, claimed: str | None = None
    ) -> None:
        try:
            await self._send("PUT", resource, path, body, destination, claimed)
        except _FailedError as error:
            self._answered[path] = str(error)
        else:
            self._answered[path] = "sent"

    def _party(self, customer: Customer) -> dict[str, object]:
        return {
            "partyIdInfo": {
                "partyIdType": customer.party_type,
                "partyIdentifier": customer.identifier,
                "fspId": self.name,
            },
            "name": customer.name,
            "personalInfo": {"complexName": {"firstName": customer.first_name}},
        }

    # --- what people ask it -----------------------------------------------------------------------------------

    def _control(self, inquiry: Inquiry, path: str) -> Answer | Any:
        match inquiry.method, path:
            case "GET", "/sim/customers":
                return _json([_customer(each) for each in self.customers.values()])
            case "POST", "/sim/pay":
                return self._pay_for(inquiry.body)
            case "PUT", "/sim/conduct":
                return self._set_conduct(inquiry.body)
            case "GET", _ if path.startswith("/sim/payments/"):
                payment = self.payments.get(path.removeprefix("/sim/payments/"))
                return _json(_story(payment)) if payment is not None else Answer(404)
            case _:
                return Answer(404)

    async def _pay_for(self, body: bytes) -> Answer:
        try:
            wanted = msgspec.json.decode(body, type=PayRequest)
            amount = parse_amount(wanted.amount)
        except (msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        if ("MSISDN", wanted.payer) not in self.customers:
            return _json({"error": f"{self.name} has no customer {wanted.payer}"}, 400)
        payment = await self.pay(wanted.payer, (wanted.to.type, wanted.to.id), amount, wanted.currency)
        return _json(_story(payment))

    def _set_conduct(self, body: bytes) -> Answer:
        try:
            wanted = msgspec.json.decode(body, type=ConductRequest)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, 400)
        self.conduct = wanted.conduct
        self.delay_ms = wanted.delay_ms
        return Answer(200)


class PartyOf(msgspec.Struct, frozen=True):
    """Who is paid."""

    id: str
    type: str = "MSISDN"


class PayRequest(msgspec.Struct, frozen=True, rename={"payer": "from"}):
    """The body of ``POST /sim/pay``: ``{"from": …, "to": {"id": …}, "amount": "10", "currency": "USD"}``."""

    payer: str
    to: PartyOf
    amount: str
    currency: str


class ConductRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of ``PUT /sim/conduct``."""

    conduct: Conduct
    delay_ms: int = 500


def _agrees(transfer: Mapping[str, Any], terms: _Terms) -> bool:
    """Whether a transfer is what was agreed: the payee's own check (FSPIOP API 1.1 §6.5.2)."""
    return (
        transfer["ilpPacket"] == terms.packet
        and transfer["amount"]["currency"] == terms.currency
        and parse_amount(transfer["amount"]["amount"]) == terms.amount
        and parse_datetime_ms(transfer["expiration"]) > now_ms()
    )


def _cause(text: str) -> dict[str, object]:
    return {"extensionList": {"extension": [{"key": "cause", "value": text}]}}


def _error(code: str, description: str) -> dict[str, object]:
    return {"errorInformation": {"errorCode": code, "errorDescription": description}}


def _refusal(answer: Response) -> str:
    try:
        information = msgspec.json.decode(answer.body)["errorInformation"]
        return f"{information['errorCode']} {information['errorDescription']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"HTTP {answer.status}"


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def _customer(customer: Customer) -> dict[str, object]:
    return {
        "name": customer.name,
        "type": customer.party_type,
        "id": customer.identifier,
        "balances": {currency: format_amount(minor) for currency, minor in customer.balances.items()},
    }


def _story(payment: Payment) -> dict[str, object]:
    return {
        "state": payment.state,
        "transferId": payment.transfer_id,
        "quoteId": payment.quote_id,
        "payee": payment.payee_name,
        "payeeFsp": payment.payee_fsp,
        "amount": f"{format_amount(payment.transfer_amount or payment.amount)} {payment.currency}",
        "fee": format_amount(payment.fee),
        "lookupMs": round(payment.lookup_ms, 1),
        "quoteMs": round(payment.quote_ms, 1),
        "transferMs": round(payment.transfer_ms, 1),
        **({"error": payment.error} if payment.error else {}),
    }
