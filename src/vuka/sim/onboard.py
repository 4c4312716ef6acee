"""Onboarding: what a scheme operator does for new participants, over the operators' API (hub reference §14.1).

It may be run again on a hub that knows some of them, also one where it broke off halfway: nothing is doubled, and what
is missing is added.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from vuka.httpclient import HttpClient, Request
from vuka.money import format_amount
from vuka.sim.participant import Participant

_PARTY: Final = "{{partyIdType}}/{{partyIdentifier}}"
_SUB_ID: Final = _PARTY + "/{{partySubIdOrType}}"

_FIRST_FUNDS: Final = uuid.UUID("6f1d2c9e-6a0b-5f57-9c55-0b8f6a6f7c11")
"""The name space of the transfers that bring first funds: the same ones whenever onboarding is run again."""

ENDPOINTS: Final = {
    "FSPIOP_CALLBACK_URL_TRANSFER_POST": "/transfers",
    "FSPIOP_CALLBACK_URL_TRANSFER_PUT": "/transfers/{{transferId}}",
    "FSPIOP_CALLBACK_URL_TRANSFER_ERROR": "/transfers/{{transferId}}/error",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_PUT": f"/participants/{_PARTY}",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_PUT_ERROR": f"/participants/{_PARTY}/error",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_PUT": f"/participants/{_SUB_ID}",
    "FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_PUT_ERROR": f"/participants/{_SUB_ID}/error",
    "FSPIOP_CALLBACK_URL_PARTIES_GET": f"/parties/{_PARTY}",
    "FSPIOP_CALLBACK_URL_PARTIES_PUT": f"/parties/{_PARTY}",
    "FSPIOP_CALLBACK_URL_PARTIES_PUT_ERROR": f"/parties/{_PARTY}/error",
    "FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_GET": f"/parties/{_SUB_ID}",
    "FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT": f"/parties/{_SUB_ID}",
    "FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT_ERROR": f"/parties/{_SUB_ID}/error",
    "FSPIOP_CALLBACK_URL_QUOTES": "",
    "FSPIOP_CALLBACK_URL_BULK_QUOTES": "",
    "FSPIOP_CALLBACK_URL_FX_QUOTES": "",
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

    def __init__(self, client: HttpClient, url: str, *, token: str = "") -> None:
        self._client = client
        self.url = url
        self.token = token
        """What it shows to a hub that asks who operates it."""

    async def call(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        """One request: the status and the decoded body, None where there is none."""
        encoded = None if body is None else msgspec.json.encode(body)
        headers = [("Content-Type", "application/json")]
        if self.token:
            headers.append(("Authorization", f"Bearer {self.token}"))
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
        held, limited = await self._currencies(name, "accounts"), await self._currencies(name, "limits")
        for currency, term in terms.items():
            if currency not in held:
                await self.do("POST", "/participants", {"name": name, "currency": currency})
            if currency not in limited:
                cap = format_amount(term.net_debit_cap)
                limits = {"currency": currency, "limit": {"type": "NET_DEBIT_CAP", "value": cap}, "initialPosition": 0}
                await self.do("POST", f"/participants/{name}/initialPositionAndLimits", limits)
            if term.funds:
                await self._add_first_funds(name, currency, term.funds)
        for kind, path in ENDPOINTS.items():
            await self.do("POST", f"/participants/{name}/endpoints", {"type": kind, "value": url + path})

    async def _currencies(self, name: str, what: str) -> set[str]:
        """The currencies in which a participant has accounts, or limits; none where the hub does not know it."""
        status, known = await self.call("GET", f"/participants/{name}/{what}")
        return {each["currency"] for each in known} if status < 300 and isinstance(known, list) else set()

    async def _add_first_funds(self, name: str, currency: str, amount: int) -> None:
        account = await self._liquidity_account(name, currency)
        # The id is the same each time, so that a run after one that broke off repeats and never doubles. An account
        # that holds money has had its first funds, however much they were to be by today's terms.
        if account["value"] == 0:
            transfer_id = str(uuid.uuid5(_FIRST_FUNDS, f"{name}/{currency}/{amount}"))
            await self.add_funds(name, currency, amount, transfer_id)

    async def _liquidity_account(self, name: str, currency: str) -> dict[str, Any]:
        accounts: list[dict[str, Any]] = await self.do("GET", f"/participants/{name}/accounts")
        return next(
            account
            for account in accounts
            if account["ledgerAccountType"] == "SETTLEMENT" and account["currency"] == currency
        )

    async def add_funds(self, name: str, currency: str, amount: int, transfer_id: str | None = None) -> str:
        """Records that a participant placed ``amount`` minor units at the settlement bank; the transfer's id.

        With a ``transfer_id`` that the hub knows, nothing happens twice; without one it is new.
        """
        number = (await self._liquidity_account(name, currency))["id"]
        transfer_id = transfer_id or str(uuid.uuid4())
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


class Joining(msgspec.Struct, frozen=True):
    """A participant that is to take part, and its terms by currency."""

    participant: Participant
    terms: Mapping[str, Terms]


async def onboard(operator: Operator, joining: Sequence[Joining]) -> None:
    """Has participants take part in a scheme: accounts, limits, endpoints, first funds, then their customers.

    The participants must listen already: the hub confirms their customers to them. Raises `OnboardingError` where the
    hub refuses a step, `RuntimeError` where it refuses a customer.
    """
    for currency in sorted({currency for each in joining for currency in each.terms}):
        await operator.add_hub_accounts(currency)
    for each in joining:
        await operator.add_participant(each.participant.name, each.participant.url, each.terms)
    for each in joining:
        await each.participant.register()
