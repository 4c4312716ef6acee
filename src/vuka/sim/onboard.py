"""Onboarding: what a scheme operator does for new participants, over the operators' API (hub reference §14.1).

It may be run again on a hub that knows some of them: nothing is doubled.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from vuka.httpclient import HttpClient, Request
from vuka.money import format_amount

_PARTY: Final = "{{partyIdType}}/{{partyIdentifier}}"

ENDPOINTS: Final = {
    "FSPIOP_CALLBACK_URL_TRANSFER_POST": "/transfers",
    "FSPIOP_CALLBACK_URL_TRANSFER_PUT": "/transfers/{{transferId}}",
    "FSPIOP_CALLBACK_URL_TRANSFER_ERROR": "/transfers/{{transferId}}/error",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_PUT": f"/participants/{_PARTY}",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_PUT_ERROR": f"/participants/{_PARTY}/error",
    "FSPIOP_CALLBACK_URL_PARTIES_GET": f"/parties/{_PARTY}",
    "FSPIOP_CALLBACK_URL_PARTIES_PUT": f"/parties/{_PARTY}",
    "FSPIOP_CALLBACK_URL_PARTIES_PUT_ERROR": f"/parties/{_PARTY}/error",
    "FSPIOP_CALLBACK_URL_QUOTES": "",
}
"""What a simulated participant answers, by endpoint type, under its base URL."""


class Terms(msgspec.Struct, frozen=True):
    """A participant's terms in one currency: its net debit cap and first funds, in minor units."""

    net_debit_cap: int
    funds: int


class OnboardingError(RuntimeError):
    """The hub refused a step; the message says which and why."""


class Operator:
    """An operator at work on a hub's administrative API."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self.url = url

    async def call(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        """One request: the status and the decoded body, None where there is none."""
        encoded = None if body is None else msgspec.json.encode(body)
        headers = (("Content-Type", "application/json"),)
        answer = await self._client.send(Request(method, self.url + path, headers, encoded))
        return answer.status, msgspec.json.decode(answer.body) if answer.body else None

    async def do(self, method: str, path: str, body: object | None = None) -> Any:
        """A request that must succeed. Raises `OnboardingError`."""
        status, answer = await self.call(method, path, body)
        if status >= 300:
            raise OnboardingError(f"{method} {path}: HTTP {status} {answer}")
        return answer

    async def add_hub_accounts(self, currency: str) -> None:
        """The hub's own accounts in a currency."""
        held = {
            (account["ledgerAccountType"], account["currency"])
            for account in await self.do("GET", "/participants/Hub/accounts")
        }
        for kind in ("HUB_RECONCILIATION", "HUB_MULTILATERAL_SETTLEMENT"):
            if (kind, currency) not in held:
                await self.do("POST", "/participants/Hub/accounts", {"currency": currency, "type": kind})

    async def add_participant(self, name: str, url: str, terms: Mapping[str, Terms]) -> None:
        """A participant with its currencies, limits, endpoints and first funds."""
        _, known = await self.call("GET", f"/participants/{name}/accounts")
        held = {account["currency"] for account in known} if isinstance(known, list) else set()
        for currency, term in terms.items():
            if currency in held:
                continue
            await self.do("POST", "/participants", {"name": name, "currency": currency})
            cap = format_amount(term.net_debit_cap)
            limits = {"currency": currency, "limit": {"type": "NET_DEBIT_CAP", "value": cap}, "initialPosition": 0}
            await self.do("POST", f"/participants/{name}/initialPositionAndLimits", limits)
            if term.funds:
                await self.add_funds(name, currency, term.funds)
        for kind, path in ENDPOINTS.items():
            await self.do("POST", f"/participants/{name}/endpoints", {"type": kind, "value": url + path})

    async def add_funds(self, name: str, currency: str, amount: int) -> str:
        """Records that a participant placed ``amount`` minor units at the settlement bank; the transfer's id."""
        accounts: list[dict[str, Any]] = await self.do("GET", f"/participants/{name}/accounts")
        number = next(
            account["id"]
            for account in accounts
            if account["ledgerAccountType"] == "SETTLEMENT" and account["currency"] == currency
        )
        transfer_id = str(uuid.uuid4())
        body = {
            "transferId": transfer_id,
            "externalReference": f"bank-{transfer_id[:8]}",
            "action": "recordFundsIn",
            "reason": "first funds",
            "amount": {"amount": format_amount(amount), "currency": currency},
        }
        await self.do("POST", f"/participants/{name}/accounts/{number}", body)
        return transfer_id

    async def set_cap(self, name: str, currency: str, cap: int) -> None:
        """Changes a net debit cap, in minor units."""
        limit = {"type": "NET_DEBIT_CAP", "value": format_amount(cap), "alarmPercentage": 10}
        await self.do("PUT", f"/participants/{name}/limits", {"currency": currency, "limit": limit})

    async def figures(self, names: Sequence[str]) -> dict[tuple[str, str, str], float]:
        """By (participant, currency, account type): the value that the API shows."""
        found: dict[tuple[str, str, str], float] = {}
        for name in names:
            for account in await self.do("GET", f"/participants/{name}/accounts"):
                found[name, account["currency"], account["ledgerAccountType"]] = account["value"]
        return found
