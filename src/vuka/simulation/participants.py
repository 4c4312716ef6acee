"""Simulated participants: they pay, are paid, and go wrong in all the ways that a plan says.

They are outsiders: they know the hub by its API, and of a transfer what they have planned and what they are told
(`vuka.simulation.beliefs`). Whatever their server takes is kept, so that what the hub owed can be compared with what
came.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.money import format_amount
from vuka.sim.unquoted import ILP_PACKET
from vuka.simulation.beliefs import (
    ENDS,
    Beliefs,
    Word,
    condition_of,
    fulfilment_in,
    fulfilment_of,
    word_of,
)
from vuka.simulation.network import Answer, Broken, Call
from vuka.simulation.plan import Member, Pay, PayeeWay, PayerWay, Trouble
from vuka.simulation.world import World, short, shown

RESEND_SECONDS: Final = 40.0
"""How long a message is sent again and again to a hub that does not take it."""

AGREE_SECONDS: Final = 4.0
"""How long a payer waits for the answer to a lookup or a quote."""

ASK_SECONDS: Final = 3.0
"""How long whoever has asked for a transfer's end waits before it asks again."""

QUESTIONS_MAX: Final = 5
"""How often it asks before everything works again."""

TAKEN: Final = Answer(202)

ONE_WORD: Final = "nobody is told two ends"
FULFILLED: Final = "what is committed is fulfilled"
RIGHT_PAYEE: Final = "a transfer goes to its payee"
"""What participants see for themselves, by the names of the checks."""


class Participant:
    """One participant."""

    def __init__(self, world: World, beliefs: Beliefs, member: Member, number: int) -> None:
        self._world = world
        self._beliefs = beliefs
        self.name = member.name
        self.member = member
        self.version = Version(member.version)
        self.party = f"2547000000{number}"
        self.trouble: Trouble | None = None
        self.taken: Counter[tuple[str, str, bytes]] = Counter()
        """Messages that its server has taken: method, path and body."""
        self.heard: list[Call] = []
        """Those of them that are about transfers, in the order in which they came."""
        self.others: Callable[[], list[Participant]] = list
        self._waiting: dict[str, list[asyncio.Future[bool]]] = {}
        self._answered: set[str] = set()
        self._number = number
        self._attempts = 0
        world.network.connect(self.name, self.receive)

    @property
    def url(self) -> str:
        """Where the hub calls it."""
        return f"http://{self.name}"

    # --- what comes in ----------------------------------------------------------------------------------------------

    def receive(self, call: Call) -> Answer | Broken:
        """Takes a message of the hub, or not."""
        outcome = self._receive(call)
        self._world.tell(f"hub → {self.name}: {call.method} {_shown(call)}: {shown(outcome)}")
        return outcome

    def _receive(self, call: Call) -> Answer | Broken:
        match self.trouble:
            case Trouble.DOWN:
                return Broken("connection refused")
            case Trouble.HANGS:
                return Broken("timed out after 10000 ms", seconds=10.0)
            case Trouble.FAILS:
                return Answer(500)
            case Trouble.BUSY:
                return Answer(503, (("Retry-After", "1"),))
            case Trouble.GARBAGE:
                return Broken("the answer is not HTTP")
            case Trouble.REFUSES:
                return Answer(400)
        self.taken[call.method, call.path, call.body] += 1
        self._take(call)
        return Broken("the connection was reset") if self.trouble is Trouble.CUTS else TAKEN

    def _take(self, call: Call) -> None:
        resource, *ids = call.path.partition("?")[0].strip("/").split("/")
        if resource == "transfers":
            self.heard.append(call)
        if resource == "transfers" and call.method == "POST":
            self._world.begin(self._be_paid(call))
        elif resource == "transfers":
            self._hear(call, ids[0])
        elif resource == "parties" and call.method == "GET":
            self._world.begin(self._name_party(call, "/".join(ids)))
        elif resource == "quotes" and call.method == "POST":
            self._world.begin(self._quote(call))
        else:
            is_answer = ids[-1] != "error"
            for waiting in self._waiting.pop(call.path.removesuffix("/error"), ()):
                if not waiting.done():
                    waiting.set_result(is_answer)

    def _hear(self, call: Call, transfer_id: str) -> None:
        word, _ = word_of(call)
        fulfilment = fulfilment_in(call)
        if word is Word.COMMITTED and fulfilment is not None and fulfilment != fulfilment_of(transfer_id):
            self._world.fail(FULFILLED, f"transfer {short(transfer_id)} with {fulfilment}")
        contradiction = self._beliefs.hear(self.name, transfer_id, word)
        if contradiction is not None:
            self._world.fail(ONE_WORD, contradiction)

    # --- what goes out ----------------------------------------------------------------------------------------------

    async def send(
        self,
        method: str,
        path: str,
        body: object | None = None,
        *,
        destination: str | None = None,
        version: Version | None = None,
        again: bool = True,
    ) -> Answer | Broken:
        """Sends a message to the hub, again and again where it is not taken."""
        content = b"" if body is None else msgspec.json.encode(body)
        resource = path.split("/")[1].partition("?")[0]

        def call() -> Call:
            self._attempts += 1
            headers = hub_headers(
                resource,
                version or self.version,
                method=method,
                source=self.name,
                destination=destination,
                uri=path,
                now_ms=self._world.clock.now_ms(),
                # Of each attempt: what comes of it is in the same trace, and so known from what comes of another.
                traceparent=f"00-{self._number + 1:016x}{self._attempts:016x}-{self._attempts:016x}-01",
            )
            return Call(self.name, method, path, headers, content)

        outcome = await self._world.ask_until(call, seconds=RESEND_SECONDS if again else 0.0)
        self._world.tell(f"{self.name} → hub: {method} {_shown(call())}: {shown(outcome)}")
        return outcome

    async def register(self) -> None:
        """Tells the hub's oracle whom it serves."""
        outcome = await self.send("POST", f"/participants/MSISDN/{self.party}", {"fspId": self.name})
        if isinstance(outcome, Broken) or outcome.status != 202:
            raise RuntimeError(f"{self.name} could not register its party: {shown(outcome)}")

    # --- paying -----------------------------------------------------------------------------------------------------

    async def pay(self, pay: Pay) -> None:
        """A payment as planned."""
        if pay.is_quoted and not await self._agree(pay):
            return
        world, way = self._world, pay.payer_way
        if pay.payee_way is PayeeWay.EARLY:
            world.begin(self._of(pay.payee)._fulfil(pay, early=True))
        if way is PayerWay.BY_ANOTHER:
            others = [each for each in self.others() if each.name not in (pay.payer, pay.payee)]
            if others:
                world.begin(others[0]._transfer(pay, pay.amount))
        if way in (PayerWay.TWICE, PayerWay.CHANGED):
            world.begin(self._transfer(pay, pay.amount + (10_000 if way is PayerWay.CHANGED else 0)))
        if way is PayerWay.IMPATIENT:
            world.begin(self._ask(pay.transfer_id))
        await self._transfer(pay, pay.amount, again=way is not PayerWay.ONCE)
        await asyncio.sleep(pay.valid_ms / 1000 + 1.5)
        await self.learn_end(pay.transfer_id, QUESTIONS_MAX)

    async def _transfer(self, pay: Pay, amount: int, *, again: bool = True) -> None:
        beliefs = self._beliefs
        body = {
            "transferId": pay.transfer_id,
            "payerFsp": pay.payer,
            "payeeFsp": pay.payee,
            "amount": {"amount": format_amount(amount), "currency": pay.currency},
            "ilpPacket": ILP_PACKET,
            "condition": condition_of(pay.transfer_id),
            "expiration": format_datetime_ms(self._world.clock.now_ms() + pay.valid_ms),
        }
        if self.name == pay.payer:
            beliefs.sent.setdefault(pay.transfer_id, set()).add(amount)
            beliefs.word_expected.add((self.name, pay.transfer_id))
        outcome = await self.send("POST", "/transfers", body, destination=pay.payee, again=again)
        if self.name == pay.payer and isinstance(outcome, Answer) and outcome.status == 202:
            beliefs.accepted.add(pay.transfer_id)

    async def _agree(self, pay: Pay) -> bool:
        """Looks the payee up and asks it for a quote; whether both were answered."""
        payee = self._of(pay.payee)
        path = f"/parties/MSISDN/{payee.party}"
        if not await self._ask_and_wait(("GET", path, None, None), path):
            return False
        quote_id = _derived(pay.transfer_id, 1)
        party = {"partyIdType": "MSISDN", "partyIdentifier": payee.party, "fspId": payee.name}
        own = {"partyIdType": "MSISDN", "partyIdentifier": self.party, "fspId": self.name}
        body = {
            "quoteId": quote_id,
            "transactionId": _derived(pay.transfer_id, 2),
            "payee": {"partyIdInfo": party},
            "payer": {"partyIdInfo": own},
            "amountType": "SEND",
            "amount": {"amount": format_amount(pay.amount), "currency": pay.currency},
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        }
        return await self._ask_and_wait(("POST", "/quotes", body, payee.name), f"/quotes/{quote_id}")

    async def _ask_and_wait(self, message: tuple[str, str, Any, str | None], answered_at: str) -> bool:
        method, path, body, destination = message
        waiting: asyncio.Future[bool] = self._world.loop.create_future()
        self._waiting.setdefault(answered_at, []).append(waiting)
        outcome = await self.send(method, path, body, destination=destination)
        if isinstance(outcome, Broken) or outcome.status != 202:
            return False
        try:
            return await asyncio.wait_for(waiting, AGREE_SECONDS)
        except TimeoutError:
            return False

    async def learn_end(self, transfer_id: str, questions: int) -> None:
        """Asks how a transfer has ended, until it is told."""
        for _ in range(questions):
            if self._beliefs.end_told(self.name, transfer_id) in ENDS:
                return
            await self._ask(transfer_id)
            await asyncio.sleep(ASK_SECONDS)

    async def _ask(self, transfer_id: str) -> None:
        await self.send("GET", f"/transfers/{transfer_id}")

    # --- being paid -------------------------------------------------------------------------------------------------

    async def _be_paid(self, call: Call) -> None:
        transfer_id = str(msgspec.json.decode(call.body)["transferId"])
        pay = self._beliefs.payments.get(transfer_id)
        if pay is None or self.name != pay.payee:
            self._world.fail(RIGHT_PAYEE, f"{self.name} is asked for {short(transfer_id)}")
            return
        self._beliefs.asked.add(transfer_id)
        self._beliefs.word_expected.add((self.name, transfer_id))
        if transfer_id in self._answered:
            # The hub may deliver a message twice; an answer that is on its way is sent again by itself.
            return
        self._answered.add(transfer_id)
        await self._answer(pay)
        await asyncio.sleep(pay.valid_ms / 1000 + 1.5)
        await self.learn_end(transfer_id, QUESTIONS_MAX)

    async def _answer(self, pay: Pay) -> None:
        world, way, path = self._world, pay.payee_way, f"/transfers/{pay.transfer_id}"
        await asyncio.sleep((pay.valid_ms + 200 if way is PayeeWay.LATE else pay.payee_ms) / 1000)
        match way:
            case PayeeWay.SILENT:
                return
            case PayeeWay.DECLINES:
                await self._decline(pay)
            case PayeeWay.WRONG_FULFILMENT:
                wrong = fulfilment_of(pay.transfer_id + " wrong")
                await self.send("PUT", path, self._fulfilled("RESERVED", wrong), destination=pay.payer)
            case PayeeWay.WRONG_DESTINATION:
                strangers = [each.name for each in self.others() if each.name not in (pay.payer, self.name)]
                await self._fulfil(pay, destination=strangers[0] if strangers else "nobody")
            case PayeeWay.BY_ANOTHER:
                strangers_ = [each for each in self.others() if each.name not in (pay.payer, self.name)]
                if strangers_:
                    await strangers_[0]._fulfil(pay)
                await self._fulfil(pay)
            case PayeeWay.SAYS_ABORTED:
                await self.send("PUT", path, {"transferState": "ABORTED"}, destination=pay.payer)
            case PayeeWay.DECLINES_THEN_FULFILS:
                world.begin(self._decline(pay))
                await self._fulfil(pay)
            case PayeeWay.FULFILS_THEN_DECLINES:
                world.begin(self._fulfil(pay))
                await self._decline(pay)
            case PayeeWay.TWICE:
                world.begin(self._fulfil(pay))
                await self._fulfil(pay)
            case PayeeWay.CHANGED:
                world.begin(self._fulfil(pay))
                body = {"transferState": "COMMITTED", "fulfilment": fulfilment_of(pay.transfer_id)}
                await self.send("PUT", path, body, destination=pay.payer)
            case PayeeWay.ASKS:
                world.begin(self._ask(pay.transfer_id))
                await self._fulfil(pay)
            case _:
                await self._fulfil(pay)

    async def _fulfil(self, pay: Pay, *, destination: str | None = None, early: bool = False) -> None:
        if early:
            self._answered.add(pay.transfer_id)
        state = "COMMITTED" if pay.payee_way is PayeeWay.COMMITS or self.version is Version.V1_0 else "RESERVED"
        body = self._fulfilled(state, fulfilment_of(pay.transfer_id))
        await self.send("PUT", f"/transfers/{pay.transfer_id}", body, destination=destination or pay.payer)

    def _fulfilled(self, state: str, fulfilment: str) -> dict[str, str]:
        completed = format_datetime_ms(self._world.clock.now_ms())
        return {"transferState": state, "fulfilment": fulfilment, "completedTimestamp": completed}

    async def _decline(self, pay: Pay) -> None:
        body = {"errorInformation": {"errorCode": "5100", "errorDescription": "the payee declines"}}
        await self.send("PUT", f"/transfers/{pay.transfer_id}/error", body, destination=pay.payer)

    async def _name_party(self, call: Call, path: str) -> None:
        party = {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": self.party, "fspId": self.name}}
        await self.send("PUT", f"/parties/{path}", {"party": party}, destination=_source(call), again=False)

    async def _quote(self, call: Call) -> None:
        asked = msgspec.json.decode(call.body)
        transfer_id = str(asked["quoteId"])
        body = {
            "transferAmount": asked["amount"],
            "expiration": format_datetime_ms(self._world.clock.now_ms() + 60_000),
            "ilpPacket": ILP_PACKET,
            "condition": condition_of(transfer_id),
        }
        await self.send("PUT", f"/quotes/{transfer_id}", body, destination=_source(call), again=False)

    def _of(self, name: str) -> Participant:
        return next((each for each in self.others() if each.name == name), self)


def _derived(transfer_id: str, number: int) -> str:
    """Another id that belongs to a transfer."""
    return f"{transfer_id[:-1]}{'0123456789abcdef'[(int(transfer_id[-1], 16) + number) % 16]}"


def _source(call: Call) -> str:
    return next(value for name, value in call.headers if name.lower() == "fspiop-source")


def _shown(call: Call) -> str:
    """A message, for a story."""
    resource, *ids = call.path.strip("/").split("/")
    if resource != "transfers":
        return call.path if len(call.path) < 30 else f"/{resource}/{short(ids[0])}"
    if call.method == "GET":
        return f"transfer {short(ids[0])}"
    if call.method == "POST":
        body = msgspec.json.decode(call.body)
        money = f"{body['amount']['amount']} {body['amount']['currency']}"
        return f"transfer {short(body['transferId'])}, {money} from {body['payerFsp']} to {body['payeeFsp']}"
    return f"transfer {short(ids[0])} {word_of(call)[1]}"
