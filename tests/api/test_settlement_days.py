"""Each settlement model walked through a day, over HTTP: what is on every account after every request.

A hub of life, three participants, two currencies. The model of the day settles dollars (and is the dollars' own, or the
default), shillings settle by another. Payments, the close, each step of the settlement, an abort and the whole again, a
restart in the middle: after each request the operators' API is asked for all positions, all SETTLEMENT accounts, the
hub's own accounts, caps, windows and settlements, and each has to be what is written here, to the minor unit.

Figures are those of alpha, bravo and charlie, in that order.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.running import RunningHub, running

from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request
from vuka.money import Amount
from vuka.sim.onboard import Operator, Terms
from vuka.sim.participant import now_ms
from vuka.sim.server import Answer, Inquiry, Server
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET

NAMES = ("alpha", "bravo", "charlie")
TERMS = {
    "USD": Terms(Amount.from_string("1000 USD").minor, Amount.from_string("2000 USD").minor),
    "KES": Terms(Amount.from_string("2000000 KES").minor, Amount.from_string("3000000 KES").minor),
}
DEFAULT = "DEFAULTDEFERREDNET"
STATES = ("PENDING_SETTLEMENT", "PS_TRANSFERS_RECORDED", "PS_TRANSFERS_RESERVED", "PS_TRANSFERS_COMMITTED", "SETTLED")
PENDING, RECORDED, RESERVED, COMMITTED, SETTLED = STATES

_EXACT = msgspec.json.Decoder(float_hook=Decimal)


class Books(msgspec.Struct):
    """What the operators' API is to show. Amounts are written as people write them."""

    positions: dict[str, str]
    liquidity: dict[str, str]
    """SETTLEMENT accounts: negative where funded."""
    caps: dict[str, str]
    multilateral: dict[str, str]
    """HUB_MULTILATERAL_SETTLEMENT, by currency."""
    reconciliation: dict[str, str]
    """HUB_RECONCILIATION, by currency."""
    windows: dict[int, str]
    """By number: its state, then each content with its own: ``CLOSED: KES CLOSED, USD SETTLED``."""
    settlements: dict[int, str]
    """By number: its state, then each account's net amount and state."""


def opening() -> Books:
    """Before the first payment."""
    return Books(
        positions={"USD": "0 0 0", "KES": "0 0 0"},
        liquidity={"USD": "-2000 -2000 -2000", "KES": "-3000000 -3000000 -3000000"},
        caps={"USD": "1000 1000 1000", "KES": "2000000 2000000 2000000"},
        multilateral={"USD": "0", "KES": "0"},
        reconciliation={"USD": "6000", "KES": "9000000"},
        windows={1: "OPEN:"},
        settlements={},
    )


def plain(value: Any) -> str:
    """A JSON number as people write it."""
    return format(Decimal(str(value)).normalize(), "f") if Decimal(str(value)) else "0"


def short(state: str) -> str:
    return state.removeprefix("PS_TRANSFERS_").removesuffix("_SETTLEMENT")


class Day:
    """A hub, its operator and what is on its books."""

    def __init__(self, hub: RunningHub, client: HttpClient) -> None:
        self.hub = hub
        self.client = client
        self.books = opening()
        self.owners: dict[int, tuple[str, str, str]] = {}
        """By account number: participant, currency and type."""
        self.ids: dict[str, int] = {}
        """Participants' numbers, as settlements name them."""

    # --- asking ---------------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A request of the operator: the status and what is answered, numbers exactly as they are written."""
        encoded = None if body is None else msgspec.json.encode(body)
        headers = [("Content-Type", "application/json")]
        answer = await self.client.send(Request(method, self.hub.operators_url + path, headers, encoded))
        return answer.status, _EXACT.decode(answer.body) if answer.body else None

    async def get(self, path: str) -> Any:
        status, answer = await self.ask("GET", path)
        assert status == 200, answer
        return answer

    async def call(self, method: str, path: str, body: object = None, *, status: int = 200, **changes: Any) -> Any:
        """A request of the operator, after which the books differ from before by ``changes`` and nothing else."""
        found, answer = await self.ask(method, path, body)
        assert found == status, answer
        await self.expect(**changes)
        return answer

    async def expect(self, **changes: Any) -> None:
        """Compares the books with what was there before, changed by ``changes``: ``usd="1 -1 0"`` and so on."""
        for name, value in changes.items():
            if name in ("windows", "settlements"):
                getattr(self.books, name).update(value)
                continue
            currency, _, what = name.partition("_")
            getattr(self.books, what or "positions")[currency.upper()] = value
        assert await self.shown() == self.books

    async def refused(self, method: str, path: str, body: object, code: str, text: str, *, status: int = 400) -> None:
        """A request that is refused and changes nothing."""
        answer = await self.call(method, path, body, status=status)
        information = answer["errorInformation"]
        assert (information["errorCode"], information["errorDescription"].partition(" - ")[2]) == (code, text[:128])

    async def shown(self) -> Books:
        """The books as the operators' API shows them."""
        figures: dict[tuple[str, str, str], str] = {}
        for name in (*NAMES, "Hub"):
            for each in await self.get(f"/participants/{name}/accounts"):
                figures[name, each["currency"], each["ledgerAccountType"]] = plain(each["value"])
                self.owners[each["id"]] = (name, each["currency"], each["ledgerAccountType"])
        for name in NAMES:
            for each in await self.get(f"/participants/{name}/positions"):
                assert plain(each["value"]) == figures[name, each["currency"], "POSITION"]
        caps = {
            (each["name"], each["currency"]): plain(each["limit"]["value"])
            for each in await self.get("/participants/limits")
        }

        def of(kind: str) -> dict[str, str]:
            return {code: " ".join(figures[name, code, kind] for name in NAMES) for code in TERMS}

        return Books(
            positions=of("POSITION"),
            liquidity=of("SETTLEMENT"),
            caps={code: " ".join(caps[name, code] for name in NAMES) for code in TERMS},
            multilateral={code: figures["Hub", code, "HUB_MULTILATERAL_SETTLEMENT"] for code in TERMS},
            reconciliation={code: figures["Hub", code, "HUB_RECONCILIATION"] for code in TERMS},
            windows=await self._windows(),
            settlements=await self._settlements(),
        )

    async def _windows(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for each in await self.get("/v2/settlementWindows?fromDateTime=1970-01-01"):
            assert each == await self.get(f"/v2/settlementWindows/{each['id']}")
            contents = sorted(f"{content['currencyId']} {short(content['state'])}" for content in each["content"])
            found[each["id"]] = f"{short(each['state'])}: {', '.join(contents)}".strip()
        return found

    async def _settlements(self) -> dict[int, str]:
        status, answer = await self.ask("GET", "/v2/settlements?fromDateTime=1970-01-01")
        if status == 400:
            assert "No settlements found" in answer["errorInformation"]["errorDescription"]
            return {}
        found: dict[int, str] = {}
        for each in answer:
            assert each == await self.get(f"/v2/settlements/{each['id']}")
            lines: list[tuple[str, str]] = []
            for participant in each["participants"]:
                for account in participant["accounts"]:
                    name, currency, kind = self.owners[account["id"]]
                    money = account["netSettlementAmount"]
                    assert (money["currency"], kind) == (currency, "POSITION")
                    self.ids[name] = participant["id"]
                    lines.append((f"{currency} {name}", f"{plain(money['amount'])} {short(account['state'])}"))
            found[each["id"]] = f"{short(each['state'])}: {', '.join(line for _, line in sorted(lines))}"
        return found

    # --- what is done ---------------------------------------------------------------------------------------------

    async def send(self, method: str, path: str, source: str, destination: str, body: object) -> None:
        """A message of a participant."""
        headers = hub_headers(
            "transfers",
            Version.V1_1,
            method=method,
            source=source,
            destination=destination,
            uri=path,
            now_ms=now_ms(),
        )
        url = self.hub.participants_url + path
        answer = await self.client.send(Request(method, url, headers, msgspec.json.encode(body)))
        assert answer.status in (200, 202), answer.body

    async def prepare(self, payer: str, payee: str, amount: str, **changes: Any) -> str:
        """A payment's ``POST``; its id."""
        number, currency = amount.split()
        transfer_id = str(uuid.uuid4())
        body = {
            "transferId": transfer_id,
            "payerFsp": payer,
            "payeeFsp": payee,
            "amount": {"amount": number, "currency": currency},
            "ilpPacket": ILP_PACKET,
            "condition": CONDITION,
            "expiration": format_datetime_ms(now_ms() + 60_000),
        }
        await self.send("POST", "/transfers", payer, payee, body)
        await self.expect(**changes)
        return transfer_id

    async def fulfil(self, transfer_id: str, payer: str, payee: str, **changes: Any) -> None:
        """The payee's ``PUT``: the payment is committed."""
        body = {"transferState": "COMMITTED", "fulfilment": FULFILMENT}
        await self.send("PUT", f"/transfers/{transfer_id}", payee, payer, body)
        await self.expect(**changes)
        assert (await self.get(f"/transfers/{transfer_id}"))["transferState"] == "COMMITTED"

    async def pay(self, payer: str, payee: str, amount: str, reserved: str, committed: str, **changes: Any) -> str:
        """A payment: the positions in its currency while it is reserved, and once it is committed."""
        currency = amount.split()[1].lower()
        transfer_id = await self.prepare(payer, payee, amount, **{currency: reserved})
        await self.fulfil(transfer_id, payer, payee, **{currency: committed}, **changes)
        return transfer_id

    async def add_model(self, name: str, currency: str | None, kind: str, **flags: bool) -> None:
        """A settlement model, e.g. ``DEFERRED NET MULTILATERAL``."""
        delay, granularity, interchange = kind.split()
        body: dict[str, object] = {
            "name": name,
            "settlementDelay": delay,
            "settlementGranularity": granularity,
            "settlementInterchange": interchange,
            "requireLiquidityCheck": True,
            "ledgerAccountType": "POSITION",
            "settlementAccountType": "SETTLEMENT",
            "autoPositionReset": True,
            **flags,
        }
        if currency is not None:
            body["currency"] = currency
        await self.call("POST", "/settlementModels", body, status=201)

    async def move_funds(self, name: str, action: str, amount: str, **changes: Any) -> str:
        """Funds in, or the reservation of funds out; the path of the movement."""
        path = await self._move_funds(name, action, amount)
        await self.expect(**changes)
        return path

    async def _move_funds(self, name: str, action: str, amount: str) -> str:
        number, currency = amount.split()
        path = f"/participants/{name}/accounts/{self.account(name, currency, 'SETTLEMENT')}"
        transfer_id = str(uuid.uuid4())
        body = {
            "transferId": transfer_id,
            "externalReference": "bank",
            "action": action,
            "reason": "as the bank says",
            "amount": {"amount": number, "currency": currency},
        }
        status, answer = await self.ask("POST", path, body)
        assert status == 202, answer
        return f"{path}/transfers/{transfer_id}"

    async def settle_late(self, transfer_id: str, payer: str, funds: str, **changes: Any) -> None:
        """Funds in, by which the timer settles a payment that has waited for them."""
        await self._move_funds(payer, "recordFundsIn", funds)
        async with asyncio.timeout(20):
            # Nobody announces it.
            while (await self.get(f"/transfers/{transfer_id}"))["history"][-1]["state"] != SETTLED:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await self.expect(**changes)

    def account(self, name: str, currency: str, kind: str = "POSITION") -> int:
        return next(number for number, owner in self.owners.items() if owner == (name, currency, kind))

    def update(self, state: str, *names: str, currency: str = "USD", **fields: str) -> dict[str, Any]:
        """The body that leads positions of these participants to a state."""
        return {
            "participants": [
                {
                    "id": self.ids[name],
                    "accounts": [
                        {
                            "id": self.account(name, currency),
                            "state": state,
                            "reason": f"the bank: {short(state)}",
                            **fields,
                        }
                    ],
                }
                for name in names or NAMES
            ]
        }

    async def restart(self) -> None:
        """Another process takes over: nothing on the books changes."""
        await self.hub.stop()
        await self.hub.start()
        await self.expect()

    def audit(self) -> None:
        assert self.hub.audit().differences == []


@pytest.fixture
async def day(tmp_path: Path) -> AsyncIterator[Day]:
    """Three participants, in dollars and shillings, each with a place to be called at."""
    client = HttpClient(timeout_ms=10_000)
    server = Server(_obliging)
    await server.start()
    async with running(tmp_path / "hub") as hub:
        operator = Operator(client, hub.operators_url)
        for name in NAMES:
            await operator.add_participant(name, server.url, TERMS)
        day = Day(hub, client)
        await day.expect()
        yield day
        day.audit()
    await server.stop()
    await client.close()


def _obliging(inquiry: Inquiry) -> Answer:
    return Answer(202 if inquiry.method == "POST" else 200)


CLOSING = {"state": "CLOSED", "reason": "end of day"}


def creation(model: str, *window_ids: int) -> dict[str, Any]:
    return {"settlementModel": model, "reason": "settle", "settlementWindows": [{"id": each} for each in window_ids]}


# --- deferred models --------------------------------------------------------------------------------------------------
#
# In dollars alpha pays bravo 100.0001, bravo pays alpha 30, bravo pays charlie 50, charlie pays alpha 20: alpha owes
# 50.0001, bravo is owed 20.0001, charlie 30. In shillings bravo pays alpha 7.25 and charlie pays bravo 1,000,000.5.


class Model(msgspec.Struct, frozen=True):
    """A deferred model, and what its settlement of the dollars makes of positions and of the hub's account."""

    kind: str
    bravo_reserved: tuple[str, str]
    """When what is due to bravo is reserved: the positions, and the hub's HUB_MULTILATERAL_SETTLEMENT."""
    all_reserved: tuple[str, str]
    alpha_committed: tuple[str, str]
    """When, after that, what is due from alpha is given back to it."""
    later_reserved: tuple[str, str]
    """`all_reserved` and `alpha_committed`, where alpha has paid charlie 5 more since the close."""
    later_committed: tuple[str, str]


AS_IT_WAS = ("50.0001 -20.0001 -30", "0")
LATER = ("55.0001 -20.0001 -35", "0")

MODELS = {
    # Each with all the others: alpha pays 50.0001, bravo gets 20.0001, charlie gets 30.
    "net multilateral": Model(
        "DEFERRED NET MULTILATERAL",
        bravo_reserved=("50.0001 0 -30", "-20.0001"),
        all_reserved=("50.0001 0 0", "-50.0001"),
        alpha_committed=("0 0 0", "0"),
        later_reserved=("55.0001 0 -5", "-50.0001"),
        later_committed=("5 0 -5", "0"),
    ),
    # Pair by pair, the difference: alpha pays bravo 70.0001, bravo pays charlie 50, charlie pays alpha 20.
    "net bilateral": Model(
        "DEFERRED NET BILATERAL",
        bravo_reserved=("50.0001 50 -30", "-70.0001"),
        all_reserved=("70.0001 50 20", "-140.0001"),
        alpha_committed=("0 50 20", "-70"),
        later_reserved=("75.0001 50 15", "-140.0001"),
        later_committed=("5 50 15", "-70"),
    ),
    # Each direction in full: alpha pays 100.0001, bravo pays 30 and 50, charlie pays 20.
    "gross bilateral": Model(
        "DEFERRED GROSS BILATERAL",
        bravo_reserved=("50.0001 80 -30", "-100.0001"),
        all_reserved=("100.0001 80 20", "-200.0001"),
        alpha_committed=("0 80 20", "-100"),
        later_reserved=("105.0001 80 15", "-200.0001"),
        later_committed=("5 80 15", "-100"),
    ),
}

UNMOVED = {name: (LATER if name.startswith("later") else AS_IT_WAS) for name in Model.__struct_fields__[1:]}
"""Where the model resets no positions, its settlement moves nothing."""


@pytest.mark.parametrize(
    ("kind", "is_own", "resets"),
    [
        ("net multilateral", True, True),
        ("net multilateral", False, False),
        ("net bilateral", False, True),
        ("net bilateral", True, False),
        ("gross bilateral", True, True),
        ("gross bilateral", False, False),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value).lower(),
)
async def test_a_day_of_a_deferred_model(day: Day, kind: str, is_own: bool, resets: bool) -> None:
    model = MODELS[kind] if resets else Model(MODELS[kind].kind, **UNMOVED)
    await day.add_model("TODAYS", "USD" if is_own else None, model.kind, autoPositionReset=resets)
    shillings = DEFAULT
    if not is_own:
        await day.add_model("SHILLINGS", "KES", "DEFERRED NET MULTILATERAL")
        shillings = "SHILLINGS"

    # Payments, and the close.
    await day.pay("alpha", "bravo", "100.0001 USD", "100.0001 0 0", "100.0001 -100.0001 0")
    await day.pay("bravo", "alpha", "30 USD", "100.0001 -70.0001 0", "70.0001 -70.0001 0")
    await day.pay("bravo", "charlie", "50 USD", "70.0001 -20.0001 0", "70.0001 -20.0001 -50")
    await day.pay("charlie", "alpha", "20 USD", "70.0001 -20.0001 -30", "50.0001 -20.0001 -30")
    await day.pay("bravo", "alpha", "7.25 KES", "0 7.25 0", "-7.25 7.25 0")
    await day.pay("charlie", "bravo", "1000000.5 KES", "-7.25 7.25 1000000.5", "-7.25 -999993.25 1000000.5")
    await day.refused("POST", "/v2/settlements", creation("TODAYS", 1), "3100", "Inapplicable windows 1")
    await day.call(
        "POST", "/v2/settlementWindows/1", CLOSING, windows={1: "CLOSED: KES CLOSED, USD CLOSED", 2: "OPEN:"}
    )
    await day.refused("POST", "/v2/settlementWindows/1", CLOSING, "3100", "Window 1 is not open")
    await day.refused("POST", "/v2/settlementWindows/2", CLOSING, "3100", "Window 2 is empty")
    await day.refused("POST", "/v2/settlements", creation("TODAYS", 1, 2), "3100", "Inapplicable windows 2")

    # The settlement, step by step, by each of its three paths.
    await day.call(
        "POST",
        "/v2/settlements",
        creation("TODAYS", 1),
        windows={1: "PENDING: KES CLOSED, USD PENDING"},
        settlements={1: "PENDING: 50.0001 PENDING, -20.0001 PENDING, -30 PENDING"},
    )
    await day.refused("POST", "/v2/settlements", creation("TODAYS", 1), "3100", "Inapplicable windows 1")
    both = {**day.update(RECORDED), "state": "ABORTED", "reason": "both"}
    text = "No other properties are allowed when participants is provided"
    await day.refused("PUT", "/v2/settlements/1", both, "3100", text)
    await day.refused("PUT", "/v2/settlements/1", {"state": "ABORTED"}, "3102", "State and reason are mandatory")
    alpha, bravo = (f"/v2/settlements/1/participants/{day.ids[name]}" for name in ("alpha", "bravo"))
    (of_alpha,) = day.update(RECORDED, "alpha", externalReference="bank-1")["participants"]
    answer = await day.call(
        "PUT",
        alpha,
        {"accounts": of_alpha["accounts"]},
        settlements={1: "PENDING: 50.0001 RECORDED, -20.0001 PENDING, -30 PENDING"},
    )
    assert answer["participants"][0]["accounts"][0]["externalReference"] == "bank-1"
    await day.restart()
    assert (await day.get(alpha))["participants"][0]["accounts"][0]["externalReference"] == "bank-1"
    path = f"{bravo}/accounts/{day.account('bravo', 'USD')}"
    await day.call(
        "PUT",
        path,
        {"state": RECORDED, "reason": "sent"},
        settlements={1: "PENDING: 50.0001 RECORDED, -20.0001 RECORDED, -30 PENDING"},
    )
    await day.call(
        "PUT",
        "/v2/settlements/1",
        day.update(RECORDED, "charlie"),
        settlements={1: "RECORDED: 50.0001 RECORDED, -20.0001 RECORDED, -30 RECORDED"},
    )
    # The same state again: only the reason and the reference are other ones.
    await day.call("PUT", path, {"state": RECORDED, "reason": "sent again", "externalReference": "bank-2"})
    (shown,) = (await day.get(path))["participants"][0]["accounts"]
    assert (shown["state"], shown["reason"], shown["externalReference"]) == (RECORDED, "sent again", "bank-2")
    answer = await day.call("PUT", path, {"state": COMMITTED, "reason": "too early"})
    (told,) = answer["participants"][0]["accounts"]
    assert told["errorInformation"] == {
        "errorCode": "3000",
        "errorDescription": "Generic client error - State change not allowed",
    }
    positions, hub = model.bravo_reserved
    await day.call(
        "PUT",
        path,
        {"state": RESERVED, "reason": "the bank has it"},
        usd=positions,
        usd_multilateral=hub,
        settlements={1: "RECORDED: 50.0001 RECORDED, -20.0001 RESERVED, -30 RECORDED"},
    )
    await day.restart()
    positions, hub = model.all_reserved
    await day.call(
        "PUT",
        "/v2/settlements/1",
        day.update(RESERVED),
        usd=positions,
        usd_multilateral=hub,
        settlements={1: "RESERVED: 50.0001 RESERVED, -20.0001 RESERVED, -30 RESERVED"},
    )

    # The bank says no: everything is as it was, and the window settles anew.
    answer = await day.call(
        "PUT",
        "/v2/settlements/1",
        {"state": "ABORTED", "reason": "the bank is closed", "externalReference": "bank-3"},
        usd=AS_IT_WAS[0],
        usd_multilateral="0",
        windows={1: "ABORTED: KES CLOSED, USD ABORTED"},
        settlements={1: "ABORTED: 50.0001 ABORTED, -20.0001 ABORTED, -30 ABORTED"},
    )
    assert answer == {"id": 1, "state": "ABORTED", "reason": "the bank is closed"}
    answer = await day.call("PUT", "/v2/settlements/1", {"state": "ABORTED", "reason": "still closed"})
    assert (await day.get("/v2/settlements/1"))["reason"] == "still closed"
    text = "State change is not allowed for settlement '1' in state 'ABORTED'"
    await day.refused("POST", "/v2/settlements/1/finalise", {"reason": "after all"}, "3100", text)
    await day.call(
        "POST",
        "/v2/settlements",
        creation("TODAYS", 1),
        windows={1: "PENDING: KES CLOSED, USD PENDING"},
        settlements={2: "PENDING: 50.0001 PENDING, -20.0001 PENDING, -30 PENDING"},
    )
    # Life goes on, in the next window.
    await day.pay("alpha", "charlie", "5 USD", "55.0001 -20.0001 -30", LATER[0])
    await day.call(
        "PUT",
        "/v2/settlements/2",
        day.update(RECORDED),
        settlements={2: "RECORDED: 50.0001 RECORDED, -20.0001 RECORDED, -30 RECORDED"},
    )
    positions, hub = model.later_reserved
    await day.call(
        "PUT",
        "/v2/settlements/2",
        day.update(RESERVED),
        usd=positions,
        usd_multilateral=hub,
        settlements={2: "RESERVED: 50.0001 RESERVED, -20.0001 RESERVED, -30 RESERVED"},
    )
    positions, hub = model.later_committed
    await day.call(
        "PUT",
        "/v2/settlements/2",
        day.update(COMMITTED, "alpha"),
        usd=positions,
        usd_multilateral=hub,
        settlements={2: "RESERVED: 50.0001 COMMITTED, -20.0001 RESERVED, -30 RESERVED"},
    )
    text = "At least one settlement transfer is committed for settlement '2'. Aborting is not allowed."
    await day.refused("PUT", "/v2/settlements/2", {"state": "ABORTED", "reason": "too late"}, "3100", text)
    await day.restart()
    await day.call(
        "PUT",
        "/v2/settlements/2",
        day.update(COMMITTED, "bravo", "charlie"),
        usd="5 0 -5" if resets else LATER[0],
        usd_multilateral="0",
        settlements={2: "COMMITTED: 50.0001 COMMITTED, -20.0001 COMMITTED, -30 COMMITTED"},
    )
    text = "State change is not allowed for settlement '2' in state 'PS_TRANSFERS_COMMITTED'"
    await day.refused("PUT", "/v2/settlements/2", {"state": "ABORTED", "reason": "too late"}, "3100", text)
    await day.call(
        "PUT",
        "/v2/settlements/2",
        day.update(SETTLED, "charlie"),
        settlements={2: "SETTLING: 50.0001 COMMITTED, -20.0001 COMMITTED, -30 SETTLED"},
    )
    await day.call(
        "PUT",
        "/v2/settlements/2",
        day.update(SETTLED, "alpha", "bravo"),
        windows={1: "CLOSED: KES CLOSED, USD SETTLED"},
        settlements={2: "SETTLED: 50.0001 SETTLED, -20.0001 SETTLED, -30 SETTLED"},
    )

    # The bank has moved the money: alpha's liquidity went to bravo and charlie.
    out = await day.move_funds(
        "alpha", "recordFundsOutPrepareReserve", "50.0001 USD", usd_liquidity="-1949.9999 -2000 -2000"
    )
    await day.call(
        "PUT",
        out,
        {"action": "recordFundsOutCommit", "reason": "paid"},
        status=202,
        usd_reconciliation="5949.9999",
    )
    await day.move_funds(
        "bravo",
        "recordFundsIn",
        "20.0001 USD",
        usd_liquidity="-1949.9999 -2020.0001 -2000",
        usd_reconciliation="5970",
    )
    await day.move_funds(
        "charlie", "recordFundsIn", "30 USD", usd_liquidity="-1949.9999 -2020.0001 -2030", usd_reconciliation="6000"
    )

    # The other currency, by its own model, at once.
    await day.refused("POST", "/v2/settlements", creation("TODAYS", 1), "3100", "Inapplicable windows 1")
    await day.call(
        "POST",
        "/v2/settlements",
        creation(shillings, 1),
        windows={1: "PENDING: KES PENDING, USD SETTLED"},
        settlements={3: "PENDING: -7.25 PENDING, -999993.25 PENDING, 1000000.5 PENDING"},
    )
    answer = await day.call(
        "POST",
        "/v2/settlements/3/finalise",
        {"reason": "paid", "externalReference": "bank-4"},
        kes="0 0 0",
        windows={1: "SETTLED: KES SETTLED, USD SETTLED"},
        settlements={3: "SETTLED: -7.25 SETTLED, -999993.25 SETTLED, 1000000.5 SETTLED"},
    )
    references = {account["externalReference"] for each in answer["participants"] for account in each["accounts"]}
    assert references == {"bank-4"}
    await day.call("POST", "/v2/settlements/3/finalise", {"reason": "paid again"})


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("checks", [True, False], ids=["checked", "unchecked"])
async def test_a_cap_that_settlement_takes_a_position_beyond(day: Day, kind: str, checks: bool) -> None:
    """Bravo gets 90 and spends 950 of its cap of 1,000 and of that: then the 90 are settled."""
    await day.add_model("TODAYS", "USD", MODELS[kind].kind, requireLiquidityCheck=checks)
    await day.pay("alpha", "bravo", "90 USD", "90 0 0", "90 -90 0")
    await day.call("POST", "/v2/settlementWindows/1", CLOSING, windows={1: "CLOSED: USD CLOSED", 2: "OPEN:"})
    await day.pay("bravo", "charlie", "1040 USD", "90 950 0", "90 950 -1040")
    await day.call(
        "POST",
        "/v2/settlements",
        creation("TODAYS", 1),
        windows={1: "PENDING: USD PENDING"},
        settlements={1: "PENDING: 90 PENDING, -90 PENDING"},
    )
    await day.call(
        "PUT",
        "/v2/settlements/1",
        day.update(RECORDED, "alpha", "bravo"),
        settlements={1: "RECORDED: 90 RECORDED, -90 RECORDED"},
    )
    changes = {"usd_caps": "1000 1090 1000"} if checks else {}
    await day.call(
        "PUT",
        "/v2/settlements/1",
        day.update(RESERVED, "alpha", "bravo"),
        usd="90 1040 -1040",
        usd_multilateral="-90",
        settlements={1: "RESERVED: 90 RESERVED, -90 RESERVED"},
        **changes,
    )
    # What bravo can still send: 50 of the raised cap; nothing of one that it has exceeded.
    refused = await day.prepare("bravo", "charlie", "50.0001 USD" if checks else "0.0001 USD")
    shown = await day.get(f"/transfers/{refused}")
    assert (shown["transferState"], shown["errorInformation"]["errorCode"]) == ("ABORTED", "4200")
    await day.call(
        "POST",
        "/v2/settlements/1/finalise",
        {"reason": "paid"},
        usd="0 1040 -1040",
        usd_multilateral="0",
        windows={1: "SETTLED: USD SETTLED"},
        settlements={1: "SETTLED: 90 SETTLED, -90 SETTLED"},
    )
    if checks:
        await day.pay("bravo", "charlie", "50 USD", "0 1090 -1040", "0 1090 -1090")
        return
    # A credit pays for what it has exceeded the cap by, before it can be sent.
    await day.pay("charlie", "bravo", "40 USD", "0 1040 -1000", "0 1000 -1000")
    await day.prepare("bravo", "charlie", "0.0001 USD")
    await day.pay("charlie", "bravo", "1 USD", "0 1000 -999", "0 999 -999")
    await day.pay("bravo", "charlie", "1 USD", "0 1000 -999", "0 1000 -1000")


# --- the immediate model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "default"])
@pytest.mark.parametrize("resets", [True, False], ids=["resets", "does not reset"])
async def test_a_day_of_the_immediate_model(day: Day, is_own: bool, resets: bool) -> None:
    flags = {"autoPositionReset": resets, "requireLiquidityCheck": resets}
    shillings = DEFAULT
    if not is_own:
        await day.add_model("SHILLINGS", "KES", "DEFERRED NET BILATERAL")
        shillings = "SHILLINGS"
    await day.add_model("TODAYS", "USD" if is_own else None, "IMMEDIATE GROSS BILATERAL", **flags)

    # Each payment moves the liquidity in its own commit, and leaves no position.
    await day.pay(
        "alpha", "bravo", "100.0001 USD", "100.0001 0 0", "0 0 0", usd_liquidity="-1899.9999 -2100.0001 -2000"
    )
    await day.pay("bravo", "alpha", "30 USD", "0 30 0", "0 0 0", usd_liquidity="-1929.9999 -2070.0001 -2000")
    await day.pay("bravo", "charlie", "50 USD", "0 50 0", "0 0 0", usd_liquidity="-1929.9999 -2020.0001 -2050")
    await day.pay("charlie", "alpha", "20 USD", "0 0 20", "0 0 0", usd_liquidity="-1949.9999 -2020.0001 -2030")
    await day.pay("bravo", "alpha", "7.25 KES", "0 7.25 0", "-7.25 7.25 0")

    # One that was reserved before alpha's liquidity was paid out stays on the positions until there is some again.
    late = await day.prepare("alpha", "charlie", "200 USD", usd="200 0 0")
    out = await day.move_funds(
        "alpha", "recordFundsOutPrepareReserve", "1949.9999 USD", usd_liquidity="0 -2020.0001 -2030"
    )
    body = {"action": "recordFundsOutCommit", "reason": "paid"}
    await day.call("PUT", out, body, status=202, usd_reconciliation="4050.0001")
    await day.fulfil(late, "alpha", "charlie", usd="200 0 -200")

    await day.call(
        "POST", "/v2/settlementWindows/1", CLOSING, windows={1: "CLOSED: KES CLOSED, USD CLOSED", 2: "OPEN:"}
    )
    text = "Settlement can not be created for GROSS or IMMEDIATE models"
    await day.refused("POST", "/v2/settlements", creation("TODAYS", 1), "3100", text)
    await day.restart()

    # Funds arrive: the timer settles what was left, and with it the window's content.
    await day.settle_late(
        late,
        "alpha",
        "1000 USD",
        usd="0 0 0",
        usd_liquidity="-800 -2020.0001 -2230",
        usd_reconciliation="5050.0001",
        windows={1: "CLOSED: KES CLOSED, USD SETTLED"},
    )

    # The shillings settle with the window, by their own model.
    await day.call(
        "POST",
        "/v2/settlements",
        creation(shillings, 1),
        windows={1: "PENDING: KES PENDING, USD SETTLED"},
        settlements={1: "PENDING: -7.25 PENDING, 7.25 PENDING"},
    )
    for state, kes, hub in (
        (RECORDED, "-7.25 7.25 0", "0"),
        (RESERVED, "0 7.25 0", "-7.25"),
        (COMMITTED, "0 0 0", "0"),
    ):
        name = short(state)
        await day.call(
            "PUT",
            "/v2/settlements/1",
            day.update(state, "alpha", "bravo", currency="KES"),
            kes=kes,
            kes_multilateral=hub,
            settlements={1: f"{name}: -7.25 {name}, 7.25 {name}"},
        )
    await day.call(
        "PUT",
        "/v2/settlements/1",
        day.update(SETTLED, "alpha", "bravo", currency="KES"),
        windows={1: "SETTLED: KES SETTLED, USD SETTLED"},
        settlements={1: "SETTLED: -7.25 SETTLED, 7.25 SETTLED"},
    )

    # A window in which everything settled by itself has nothing left when it closes.
    await day.pay("charlie", "alpha", "1 USD", "0 0 1", "0 0 0", usd_liquidity="-801 -2020.0001 -2229")
    await day.call("POST", "/v2/settlementWindows/2", CLOSING, windows={2: "SETTLED: USD SETTLED", 3: "OPEN:"})
