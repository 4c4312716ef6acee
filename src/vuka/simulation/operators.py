"""Simulated operators: they onboard, move funds, change caps, disable and enable, close windows and settle.

All of it over the operators' API, whose answers may never come. What must happen in the end (funds that the bank has
moved) is asked for until it is answered; the rest an operator lets be. What they are told of money is kept, for the
checks.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from vuka.money import format_amount
from vuka.sim.onboard import ENDPOINTS
from vuka.simulation.machine import Decoded
from vuka.simulation.network import Broken, Call
from vuka.simulation.plan import (
    NAMES,
    Advance,
    CloseWindow,
    Disable,
    EndSettlement,
    Funds,
    Member,
    Scheme,
    SetCap,
    Settle,
)
from vuka.simulation.world import World, shown

PERSIST_SECONDS: Final = 90.0
"""How long an operator insists on what must happen."""

DEFAULT_MODEL: Final = "DEFAULTDEFERREDNET"
BILATERAL_MODEL: Final = "BILATERALSIM"
GROSS_MODEL: Final = "GROSSSIM"
FEE_MODEL: Final = "FEESIM"

FEE_FIXED: Final = 200
"""What a payment in US dollars is charged on schemes with fees, in minor units…"""
FEE_PER_CENT: Final = 1
"""…and the percentage on top."""

FEE_CURRENCY: Final = "USD"

_NEXT: Final = {
    "PENDING_SETTLEMENT": "PS_TRANSFERS_RECORDED",
    "PS_TRANSFERS_RECORDED": "PS_TRANSFERS_RESERVED",
    "PS_TRANSFERS_RESERVED": "PS_TRANSFERS_COMMITTED",
    "PS_TRANSFERS_COMMITTED": "SETTLED",
    "SETTLING": "SETTLED",
}


class FundsTold(msgspec.Struct):
    """What operators know of a movement of funds. ``amount`` is negative for funds out."""

    name: str
    currency: str
    amount: int
    state: str = ""
    """The transferState that the hub has answered; empty where it has not."""


class Operators:
    """The operators of one scheme."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.funds: dict[str, FundsTold] = {}
        self.accounts: dict[tuple[str, str, str], int] = {}
        """By participant, currency and type: the account's number."""

    # --- asking -----------------------------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, body: object | None = None, *, persists: bool = False
    ) -> Decoded | None:
        """One request; None where no answer came."""
        call = Call(
            "operator",
            method,
            path,
            (("Content-Type", "application/json"),),
            b"" if body is None else msgspec.json.encode(body),
        )
        seconds = PERSIST_SECONDS if persists else 0.0
        outcome = await self._world.ask_until(lambda: call, seconds=seconds, operates=True)
        if method != "GET":
            self._world.tell(
                f"operator → hub: {method} {path} {'' if body is None else call.body.decode()}: {shown(outcome)}"
            )
        if isinstance(outcome, Broken):
            return None
        return Decoded(outcome.status, msgspec.json.decode(outcome.body) if outcome.body else None)

    async def read(self, path: str) -> Any:
        """What is there, None where the hub does not say."""
        answer = await self.call("GET", path)
        return answer.body if answer is not None and answer.status == 200 else None

    async def _must(self, method: str, path: str, body: object | None = None) -> Any:
        answer = await self.call(method, path, body, persists=True)
        if answer is None or answer.status >= 300:
            raise RuntimeError(f"{method} {path} failed: {answer}")
        return answer.body

    # --- the beginning ----------------------------------------------------------------------------------------------

    async def found(self, scheme: Scheme) -> None:
        """Makes the scheme what the plan says."""
        if scheme.gross_currency is not None:
            await self._add_model(GROSS_MODEL, "GROSS", "BILATERAL", "IMMEDIATE", scheme.gross_currency)
        if scheme.is_bilateral:
            for currency in scheme.currencies:
                if currency != scheme.gross_currency:
                    await self._add_model(f"{BILATERAL_MODEL}{currency}", "NET", "BILATERAL", "DEFERRED", currency)
        if scheme.charges_fees:
            await self._add_model(FEE_MODEL, "NET", "MULTILATERAL", "DEFERRED", None, account="INTERCHANGE_FEE")
            params = {
                "ledgerAccountType": "INTERCHANGE_FEE",
                "from": "payer",
                "to": "hub",
                "currency": FEE_CURRENCY,
                "fixed": format_amount(FEE_FIXED),
                "percentage": str(FEE_PER_CENT),
            }
            always = {"all": [{"fact": "transfer", "operator": "isObject", "value": True}]}
            rule = {"name": "toll", "conditions": always, "event": {"type": "FEE", "params": params}}
            await self._must("PUT", "/rules/fees", [rule])
        await asyncio.gather(*(self._onboard(each, scheme) for each in scheme.members))

    async def _add_model(
        self,
        name: str,
        granularity: str,
        interchange: str,
        delay: str,
        currency: str | None,
        *,
        account: str = "POSITION",
    ) -> None:
        body = {
            "name": name,
            "settlementGranularity": granularity,
            "settlementInterchange": interchange,
            "settlementDelay": delay,
            "requireLiquidityCheck": True,
            "ledgerAccountType": account,
            "settlementAccountType": "SETTLEMENT" if account == "POSITION" else "INTERCHANGE_FEE_SETTLEMENT",
            "autoPositionReset": True,
        }
        await self._must("POST", "/settlementModels", body if currency is None else {**body, "currency": currency})

    async def _onboard(self, member: Member, scheme: Scheme) -> None:
        name = member.name
        for currency in scheme.currencies:
            await self._must("POST", "/participants", {"name": name, "currency": currency})
            limit = {"type": "NET_DEBIT_CAP", "value": format_amount(member.cap)}
            body = {"currency": currency, "limit": limit, "initialPosition": 0}
            await self._must("POST", f"/participants/{name}/initialPositionAndLimits", body)
        for kind, path in ENDPOINTS.items():
            body = {"type": kind, "value": f"http://{name}{path}"}
            await self._must("POST", f"/participants/{name}/endpoints", body)
        for each in await self._must("GET", f"/participants/{name}/accounts"):
            self.accounts[name, each["currency"], each["ledgerAccountType"]] = each["id"]
        for number, currency in enumerate(scheme.currencies):
            transfer_id = f"00000000-0000-4000-8000-{NAMES.index(name):06d}{number:06d}"
            await self._move(name, currency, member.funds, transfer_id)

    # --- funds and limits -------------------------------------------------------------------------------------------

    async def _move(self, name: str, currency: str, amount: int, transfer_id: str) -> None:
        told = self.funds[transfer_id] = FundsTold(name, currency, amount)
        body = {
            "transferId": transfer_id,
            "externalReference": "bank",
            "action": "recordFundsIn" if amount > 0 else "recordFundsOutPrepareReserve",
            "reason": "the bank says so",
            "amount": {"amount": format_amount(abs(amount)), "currency": currency},
        }
        path = f"/participants/{name}/accounts/{self.accounts[name, currency, 'SETTLEMENT']}"
        await self._until_told(told, "POST", path, body)

    async def _until_told(self, told: FundsTold, method: str, path: str, body: object) -> None:
        """The bank has moved its money: the hub is told until it has taken it, whatever keeps it from that."""
        while True:
            answer = await self.call(method, path, body, persists=True)
            if answer is not None and answer.status == 202:
                told.state = answer.body["transferState"]
                return
            if answer is not None and answer.status < 500:
                return
            # A participant that takes no part moves no funds; it will again.
            await asyncio.sleep(1.0)

    async def move_funds(self, step: Funds) -> None:
        """Records funds in, or reserves funds out and concludes that."""
        await self._move(step.name, step.currency, step.amount, step.transfer_id)
        told = self.funds[step.transfer_id]
        if step.amount > 0 or told.state != "RESERVED" or step.ends is None:
            return
        await asyncio.sleep(step.ends_after_ms / 1000)
        account = self.accounts[step.name, step.currency, "SETTLEMENT"]
        path = f"/participants/{step.name}/accounts/{account}/transfers/{step.transfer_id}"
        await self._until_told(told, "PUT", path, {"action": step.ends, "reason": "the bank says so"})

    async def set_cap(self, step: SetCap) -> None:
        """Changes a net debit cap."""
        limit = {"type": "NET_DEBIT_CAP", "value": format_amount(step.cap), "alarmPercentage": 10}
        await self.call("PUT", f"/participants/{step.name}/limits", {"currency": step.currency, "limit": limit})

    async def disable(self, step: Disable) -> None:
        """Has somebody take no part for a while."""
        path = f"/participants/{step.name}"
        if step.currency is not None:
            path += f"/accounts/{self.accounts[step.name, step.currency, 'POSITION']}"
        await self.call("PUT", path, {"isActive": False})
        await asyncio.sleep(step.for_ms / 1000)
        await self.call("PUT", path, {"isActive": True}, persists=True)

    # --- settlement -------------------------------------------------------------------------------------------------

    async def close_window(self, _step: CloseWindow | None = None) -> None:
        """Closes the open window."""
        for window in await self.read("/v2/settlementWindows?state=OPEN") or ():
            body = {"state": "CLOSED", "reason": "the day is over"}
            await self.call("POST", f"/v2/settlementWindows/{window['id']}", body)

    async def settle(self, step: Settle) -> None:
        """Makes a settlement of all that is closed, by each model that may have something."""
        scheme = self._world.plan.scheme
        models = [DEFAULT_MODEL]
        if scheme.is_bilateral:
            models = [f"{BILATERAL_MODEL}{each}" for each in scheme.currencies if each != scheme.gross_currency]
        for model in [FEE_MODEL] if step.of_fees else models:
            windows = [
                {"id": each["id"]}
                for state in ("CLOSED", "ABORTED")
                for each in await self.read(f"/v2/settlementWindows?state={state}") or ()
            ]
            # One by one: a window that has nothing for the model is refused with all the others.
            for window in windows:
                body = {"settlementModel": model, "reason": "to be settled", "settlementWindows": [window]}
                await self.call("POST", "/v2/settlements", body)

    async def open_settlements(self) -> list[dict[str, Any]]:
        """Settlements that have not come to their end, the oldest first."""
        found: list[dict[str, Any]] = []
        for state in _NEXT:
            found += await self.read(f"/v2/settlements?state={state}") or ()
        return sorted(found, key=lambda each: int(each["id"]))

    async def advance(self, step: Advance) -> None:
        """Leads the oldest open settlement a step further, or as many of its accounts."""
        for settlement in (await self.open_settlements())[:1]:
            wanted = _NEXT[settlement["state"]]
            left, participants = step.accounts, []
            for participant in settlement["participants"]:
                accounts = [
                    {"id": each["id"], "state": wanted, "reason": "the bank is so far"}
                    for each in participant["accounts"]
                    if each["state"] != wanted
                ][:left]
                left -= len(accounts)
                if accounts:
                    participants.append({"id": participant["id"], "accounts": accounts})
            await self.call("PUT", f"/v2/settlements/{settlement['id']}", {"participants": participants})

    async def end_settlement(self, step: EndSettlement) -> None:
        """Leads the oldest open settlement to its end, or aborts it."""
        for settlement in (await self.open_settlements())[:1]:
            path = f"/v2/settlements/{settlement['id']}"
            if step.aborts:
                await self.call("PUT", path, {"state": "ABORTED", "reason": "the bank says no"})
            else:
                await self.call("POST", f"{path}/finalise", {"reason": "the bank has paid"})

    # --- the end ----------------------------------------------------------------------------------------------------

    async def bring_to_end(self) -> None:
        """Ends what is open: every settlement is settled, or aborted where that is no longer possible."""
        for settlement in await self.open_settlements():
            await self.call(
                "POST", f"/v2/settlements/{settlement['id']}/finalise", {"reason": "the bank has paid"}, persists=True
            )

    async def learn_ends(self) -> None:
        """Asks how funds out stand that are reserved: their time may have passed."""
        for transfer_id, told in self.funds.items():
            if told.state == "RESERVED":
                found = await self.read(f"/transfers/{transfer_id}")
                told.state = told.state if found is None else found["transferState"]

    async def resend_parked(self) -> int:
        """Has what is parked sent again; how much that was."""
        parked = await self.read("/messages/parked") or ()
        for each in parked:
            await self.call("POST", f"/messages/{each['messageId']}/resend", persists=True)
        return len(parked)
