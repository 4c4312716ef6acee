"""Every operation of the operators' API: that it is served, that it succeeds, and each error that can come of it.

The files are ``central-ledger-admin.json``, ``als-admin.yaml``, ``oracle-1.0.yaml`` and ``settlement-2.0.json``, found
as in ``test_every_operation.py``; where they are absent only the walk over them is skipped. Details of each operation
are in ``tests/api``; here it is that none is missing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
import yaml
from tests.answering import answering
from tests.contract.test_every_operation import METHODS, SPECS

from vuka.api.admin import admin_app
from vuka.api.audit_key import trusted_keys
from vuka.api.hub import Hub
from vuka.cli.hub import found, make_admin_token
from vuka.config import load
from vuka.fspiop.ilp import agree
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import FspId, TransferId, parse_id
from vuka.money import Amount
from vuka.sim.participant import now_ms
from vuka.sim.unquoted import CONDITION, FULFILMENT
from vuka.store.sqlite import Database
from vuka.switch import auditlog
from vuka.switch.transfers import FulfilTransfer, PrepareTransfer
from vuka.switch.work import Inbound

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("every-operators-operation")]

LEDGER, LOOKUP, ORACLE = "central-ledger-admin.json", "als-admin.yaml", "oracle-1.0.yaml"
SETTLEMENT = "settlement-2.0.json"
OWN: Final = "own"
"""What the reference has not: in no file."""
UNDER: Final = {LEDGER: "", LOOKUP: "", ORACLE: "/oracle", SETTLEMENT: "/v2", OWN: ""}
"""Where an API lies on the listener."""

ACCEPT: Final = {"accept": "application/json"}
Operation = tuple[str, str, str]


@dataclass
class Desk:
    """An operator's: a hub in this process, a token of every role, and participants to work on."""

    hub: Hub
    client: httpx.AsyncClient
    admin: str
    reader: str = ""

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = "admin", raw: bytes | None = None
    ) -> httpx.Response:
        headers = dict(ACCEPT)
        if token is not None:
            headers["authorization"] = f"Bearer {self.admin if token == 'admin' else token}"
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["content-type"] = "application/json"
        return await self.client.request(method, path, content=content, headers=headers)

    async def participant(self) -> str:
        """A new participant with limits; its name."""
        name = f"fsp{uuid.uuid4().hex[:12]}"
        assert (await self.ask("POST", "/participants", {"name": name, "currency": "USD"})).status_code == 201
        assert (await self.ask("POST", f"/participants/{name}/initialPositionAndLimits", LIMITS)).status_code == 201
        return name

    async def account(self, name: str, kind: str) -> int:
        accounts = (await self.ask("GET", f"/participants/{name}/accounts")).json()
        number: int = next(each["id"] for each in accounts if each["ledgerAccountType"] == kind)
        return number

    async def funded(self) -> tuple[str, str]:
        """A participant with funds, and the path of its settlement account."""
        name = await self.participant()
        path = f"/participants/{name}/accounts/{await self.account(name, 'SETTLEMENT')}"
        assert (await self.ask("POST", path, movement("recordFundsIn", "100"))).status_code == 202
        return name, path


LIMITS: Final = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 1000}, "initialPosition": 0}
ENDPOINT: Final = {"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://127.0.0.1:9"}
MODEL: Final = {
    "settlementGranularity": "NET",
    "settlementInterchange": "MULTILATERAL",
    "settlementDelay": "DEFERRED",
    "requireLiquidityCheck": True,
    "ledgerAccountType": "INTERCHANGE_FEE",
    "autoPositionReset": True,
    "settlementAccountType": "INTERCHANGE_FEE_SETTLEMENT",
}


def movement(action: str, amount: str) -> dict[str, Any]:
    return {
        "transferId": str(uuid.uuid4()),
        "externalReference": "bank",
        "action": action,
        "reason": "because",
        "amount": {"amount": amount, "currency": "USD"},
    }


# --- how each succeeds -----------------------------------------------------------------------------------------------

SUCCESSES: Final[dict[Operation, Callable[[Desk], Awaitable[httpx.Response]]]] = {}
STATUS: Final[dict[Operation, int]] = {}


def succeeds(
    api: str, method: str, template: str, status: int
) -> Callable[[Callable[[Desk], Awaitable[httpx.Response]]], Callable[[Desk], Awaitable[httpx.Response]]]:
    """Enters how an operation succeeds, and with what status."""

    def enter(success: Callable[[Desk], Awaitable[httpx.Response]]) -> Callable[[Desk], Awaitable[httpx.Response]]:
        SUCCESSES[api, method, template] = success
        STATUS[api, method, template] = status
        return success

    return enter


def _simple(api: str, method: str, template: str, status: int, path: str, body: object = None) -> None:
    async def success(desk: Desk) -> httpx.Response:
        if "{participant}" in path:
            return await desk.ask(method, path.format(participant=await desk.participant()), body)
        return await desk.ask(method, path, body)

    succeeds(api, method, template, status)(success)


for template in ("/health", "/enums", "/metrics", "/participants", "/participants/limits"):
    _simple(LEDGER, "GET", template, 200, template)
for template in ("/ledgerAccountTypes", "/settlementModels"):
    _simple(LEDGER, "GET", template, 200, template)
_simple(LEDGER, "GET", "/settlementModels/{name}", 200, "/settlementModels/DEFAULTDEFERREDNET")
_simple(LEDGER, "PUT", "/settlementModels/{name}", 200, "/settlementModels/DEFAULTDEFERREDNET", {"isActive": True})
for rest in ("", "/endpoints", "/limits", "/positions", "/accounts"):
    _simple(LEDGER, "GET", "/participants/{name}" + rest, 200, "/participants/{participant}" + rest)
_simple(LEDGER, "PUT", "/participants/{name}", 200, "/participants/{participant}", {"isActive": False})
_simple(LEDGER, "POST", "/participants/{name}/endpoints", 201, "/participants/{participant}/endpoints", ENDPOINT)


@succeeds(LEDGER, "POST", "/participants", 201)
async def post_participants(desk: Desk) -> httpx.Response:
    return await desk.ask("POST", "/participants", {"name": f"fsp{uuid.uuid4().hex[:12]}", "currency": "USD"})


@succeeds(LEDGER, "PUT", "/participants/{name}/limits", 200)
async def put_limits(desk: Desk) -> httpx.Response:
    limit = {"type": "NET_DEBIT_CAP", "value": "500.5", "alarmPercentage": 10}
    path = f"/participants/{await desk.participant()}/limits"
    return await desk.ask("PUT", path, {"currency": "USD", "limit": limit})


@succeeds(LEDGER, "POST", "/participants/{name}/accounts", 201)
async def post_accounts(desk: Desk) -> httpx.Response:
    return await desk.ask("POST", "/participants/Hub/accounts", {"currency": "USD", "type": "HUB_FEE"})


@succeeds(LEDGER, "POST", "/participants/{name}/initialPositionAndLimits", 201)
async def post_initial(desk: Desk) -> httpx.Response:
    made = await post_participants(desk)
    return await desk.ask("POST", f"/participants/{made.json()['name']}/initialPositionAndLimits", LIMITS)


@succeeds(LEDGER, "POST", "/participants/{name}/accounts/{id}", 202)
async def post_funds(desk: Desk) -> httpx.Response:
    _, path = await desk.funded()
    return await desk.ask("POST", path, movement("recordFundsOutPrepareReserve", "10"))


@succeeds(LEDGER, "PUT", "/participants/{name}/accounts/{id}", 200)
async def put_account(desk: Desk) -> httpx.Response:
    name = await desk.participant()
    path = f"/participants/{name}/accounts/{await desk.account(name, 'POSITION')}"
    return await desk.ask("PUT", path, {"isActive": False})


@succeeds(LEDGER, "PUT", "/participants/{name}/accounts/{id}/transfers/{transferId}", 202)
async def put_funds(desk: Desk) -> httpx.Response:
    _, path = await desk.funded()
    reserve = movement("recordFundsOutPrepareReserve", "10")
    assert (await desk.ask("POST", path, reserve)).status_code == 202
    conclusion = {"action": "recordFundsOutCommit", "reason": "the bank has paid"}
    return await desk.ask("PUT", f"{path}/transfers/{reserve['transferId']}", conclusion)


@succeeds(LEDGER, "POST", "/ledgerAccountTypes", 201)
async def post_types(desk: Desk) -> httpx.Response:
    body = {"name": "MERCHANT_FEE", "description": "Fees of merchants", "isActive": True, "isSettleable": True}
    return await desk.ask("POST", "/ledgerAccountTypes", body)


@succeeds(LEDGER, "POST", "/settlementModels", 201)
async def post_models(desk: Desk) -> httpx.Response:
    return await desk.ask("POST", "/settlementModels", {"name": "FEES", "currency": "KES", **MODEL})


def _message(desk: Desk, method: str, wire_id: str, source: FspId, destination: FspId) -> Inbound:
    return Inbound(
        message_id=desk.hub.new_message_id(),
        method=method,
        path="/transfers" if method == "POST" else f"/transfers/{wire_id}",
        headers=(),
        body=b"{}",
        source=source,
        destination=destination,
        resource="transfers",
        ids=(wire_id,),
        version="1.1",
        answer_version="1.1",
        received_ms=now_ms(),
    )


def _preparation(message: Inbound, payer: FspId, payee: FspId, packet: str) -> PrepareTransfer:
    return PrepareTransfer(
        message=message,
        transfer_id=TransferId(parse_id(message.resource_id)),
        payer_fsp=payer,
        payee_fsp=payee,
        amount=Amount.from_string("1 USD"),
        condition=CONDITION,
        ilp_packet=packet,
        expires_ms=now_ms() + 60_000,
        body_hash=bytes(32),
    )


@succeeds(LEDGER, "GET", "/transactions/{id}", 200)
async def get_transaction(desk: Desk) -> httpx.Response:
    payer, payee = FspId((await desk.funded())[0]), FspId((await desk.funded())[0])
    wire_id = str(uuid.uuid4())
    info = {"partyIdType": "MSISDN", "partyIdentifier": "254711000001"}
    transaction = {
        "transactionId": str(uuid.uuid4()),
        "quoteId": str(uuid.uuid4()),
        "payee": {"partyIdInfo": {**info, "fspId": payee}},
        "payer": {"partyIdInfo": {**info, "fspId": payer}},
        "amount": {"amount": "1", "currency": "USD"},
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        "expiration": format_datetime_ms(now_ms() + 60_000),
    }
    message = _message(desk, "POST", wire_id, payer, payee)
    packet = agree(transaction, b"secret").packet
    await desk.hub.submit(_preparation(message, payer, payee, packet))
    answer = await desk.ask("GET", f"/transactions/{wire_id}")
    assert answer.json() == transaction
    return answer


def oracle(currency: str) -> dict[str, Any]:
    return {
        "oracleIdType": "IBAN",
        "endpoint": {"value": "http://127.0.0.1:9/oracle", "endpointType": "URL"},
        "currency": currency,
        "isDefault": True,
    }


async def _oracle_id(desk: Desk, currency: str) -> str:
    assert (await desk.ask("POST", "/oracles", oracle(currency))).status_code == 201
    found = (await desk.ask("GET", f"/oracles?currency={currency}&type=IBAN")).json()
    return str(found[0]["oracleId"])


_simple(LOOKUP, "GET", "/oracles", 200, "/oracles")
_simple(LOOKUP, "GET", "/health", 200, "/health")
_simple(LOOKUP, "POST", "/oracles", 201, "/oracles", oracle("EUR"))


@succeeds(LOOKUP, "PUT", "/oracles/{ID}", 204)
async def put_oracle(desk: Desk) -> httpx.Response:
    return await desk.ask("PUT", f"/oracles/{await _oracle_id(desk, 'KES')}", oracle("KES"))


@succeeds(LOOKUP, "DELETE", "/oracles/{ID}", 204)
async def delete_oracle(desk: Desk) -> httpx.Response:
    return await desk.ask("DELETE", f"/oracles/{await _oracle_id(desk, 'UGX')}")


_simple(ORACLE, "GET", "/health", 200, "/oracle/health")
PARTY: Final = {"fspId": "greenbank", "currency": "USD"}


def _of_a_party(template: str, path: str) -> None:
    """The operations on one party, with and without a sub-identifier."""
    _simple(ORACLE, "POST", template, 201, path, PARTY)
    _simple(ORACLE, "GET", template, 200, path)
    _simple(ORACLE, "PUT", template, 200, path, PARTY)

    async def delete(desk: Desk) -> httpx.Response:
        await desk.ask("POST", path, PARTY)
        return await desk.ask("DELETE", path)

    succeeds(ORACLE, "DELETE", template, 204)(delete)


_of_a_party("/participants/{Type}/{ID}", "/oracle/participants/MSISDN/254711000001")
_of_a_party("/participants/{Type}/{ID}/{SubId}", "/oracle/participants/MSISDN/254711000001/HOME")
_simple(
    ORACLE,
    "POST",
    "/participants",
    201,
    "/oracle/participants",
    {
        "requestId": "b51ec534-ee48-4575-b6a9-ead2955b8069",
        "partyList": [{"partyIdType": "MSISDN", "partyIdentifier": "254711000002", "fspId": "greenbank"}],
    },
)

# --- notifications ---------------------------------------------------------------------------------------------------

for template in ("/notifications", "/notifications/channels", "/alarms"):
    _simple(OWN, "GET", template, 200, template)
_simple(OWN, "POST", "/notifications/resend", 202, "/notifications/resend")
_simple(OWN, "POST", "/notifications/test", 200, "/notifications/test", {"channel": "log"})


async def _parked(desk: Desk) -> str:
    """The path of a notification that could not be delivered, because its receiver is gone."""
    made = await post_participants(desk)
    name = made.json()["name"]
    with answering(410) as gone:
        address = {"type": "ALARM_NOTIFICATION_URL", "value": gone}
        assert (await desk.ask("POST", f"/participants/{name}/endpoints", address)).status_code == 201
        assert (await desk.ask("POST", f"/participants/{name}/initialPositionAndLimits", LIMITS)).status_code == 201
        async with asyncio.timeout(30):
            while not (found := (await desk.ask("GET", f"/notifications?participant={name}&state=PARKED")).json()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    return f"/notifications/{found[0]['notificationId']}"


@succeeds(OWN, "GET", "/notifications/{id}", 200)
async def get_notification(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", await _parked(desk))


@succeeds(OWN, "POST", "/notifications/{id}/resend", 202)
async def resend_notification(desk: Desk) -> httpx.Response:
    return await desk.ask("POST", f"{await _parked(desk)}/resend", {"channel": "webhook"})


# --- settlement ------------------------------------------------------------------------------------------------------

CLOSING: Final = {"state": "CLOSED", "reason": "end of day"}
RECORDED: Final = {"state": "PS_TRANSFERS_RECORDED", "reason": "the bank has it"}


async def _paid(desk: Desk) -> str:
    """The path of the open window, in which somebody has paid."""
    payer, payee = FspId((await desk.funded())[0]), FspId((await desk.funded())[0])
    wire_id = str(uuid.uuid4())
    await desk.hub.submit(_preparation(_message(desk, "POST", wire_id, payer, payee), payer, payee, "AA"))
    await desk.hub.submit(
        FulfilTransfer(
            message=_message(desk, "PUT", wire_id, payee, payer),
            transfer_id=TransferId(parse_id(wire_id)),
            transfer_state="COMMITTED",
            fulfilment=FULFILMENT,
            body_hash=bytes(32),
        )
    )
    window = (await desk.ask("GET", "/v2/settlementWindows?state=OPEN")).json()[0]
    return f"/v2/settlementWindows/{window['id']}"


async def _settled(desk: Desk) -> tuple[str, dict[str, Any]]:
    """A settlement: its path, and as it was answered."""
    window = await _paid(desk)
    assert (await desk.ask("POST", window, CLOSING)).status_code == 200
    body = {
        "settlementModel": "DEFAULTDEFERREDNET",
        "reason": "settle",
        "settlementWindows": [{"id": int(window.rpartition("/")[2])}],
    }
    made = await desk.ask("POST", "/v2/settlements", body)
    assert made.status_code == 200, made.text
    return f"/v2/settlements/{made.json()['id']}", made.json()


_simple(SETTLEMENT, "GET", "/health", 200, "/v2/health")


@succeeds(SETTLEMENT, "GET", "/settlementWindows", 200)
async def get_windows(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", "/v2/settlementWindows?state=OPEN")


@succeeds(SETTLEMENT, "GET", "/settlementWindows/{id}", 200)
async def get_window(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", await _paid(desk))


@succeeds(SETTLEMENT, "POST", "/settlementWindows/{id}", 200)
async def post_window(desk: Desk) -> httpx.Response:
    return await desk.ask("POST", await _paid(desk), CLOSING)


@succeeds(SETTLEMENT, "GET", "/settlements", 200)
async def get_settlements(desk: Desk) -> httpx.Response:
    await _settled(desk)
    return await desk.ask("GET", "/v2/settlements?state=PENDING_SETTLEMENT")


@succeeds(SETTLEMENT, "POST", "/settlements", 200)
async def post_settlements(desk: Desk) -> httpx.Response:
    path, _ = await _settled(desk)
    return await desk.ask("GET", path)


@succeeds(SETTLEMENT, "GET", "/settlements/{id}", 200)
async def get_settlement(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", (await _settled(desk))[0])


@succeeds(SETTLEMENT, "PUT", "/settlements/{id}", 200)
async def put_settlement(desk: Desk) -> httpx.Response:
    return await desk.ask("PUT", (await _settled(desk))[0], {"state": "ABORTED", "reason": "not today"})


def _of_a_settlement(method: str, template: str) -> None:
    """The operations on one participant of a settlement, or one account of it."""

    async def success(desk: Desk) -> httpx.Response:
        path, made = await _settled(desk)
        participant = made["participants"][0]
        account = participant["accounts"][0]["id"]
        path += f"/participants/{participant['id']}"
        body: dict[str, Any] = {"accounts": [{"id": account, **RECORDED}]}
        if "{aid}" in template:
            path, body = f"{path}/accounts/{account}", RECORDED
        return await desk.ask(method, path, body if method == "PUT" else None)

    succeeds(SETTLEMENT, method, template, 200)(success)


for method in ("GET", "PUT"):
    for template in ("/settlements/{sid}/participants/{pid}", "/settlements/{sid}/participants/{pid}/accounts/{aid}"):
        _of_a_settlement(method, template)

# --- bank files ------------------------------------------------------------------------------------------------------

ACCOUNTS: Final = "/participants/{name}/bankAccounts"
STATEMENTS: Final = "/v2/settlements/{id}/statements"


async def _banked(desk: Desk, name: str) -> str:
    """The path of a participant's bank account in USD."""
    path = f"/participants/{name}/bankAccounts/USD"
    account = {"account": f"1-{name}", "scheme": "OTHER", "name": name}
    answer = await desk.ask("PUT", path, account)
    assert answer.status_code == 200, answer.text
    return path


async def _settled_at_the_bank(desk: Desk) -> tuple[str, dict[str, Any]]:
    """A settlement, and the body with its bank's statement."""
    path, made = await _settled(desk)
    names = {
        account["id"]: each["name"]
        for each in (await desk.ask("GET", "/participants")).json()
        for account in each["accounts"]
    }
    rows = ["settlement_id,participant,currency,amount,balance"]
    for each in made["participants"]:
        (account,) = each["accounts"]
        owed = int(account["netSettlementAmount"]["amount"])
        rows.append(f"{made['id']},{names[account['id']]},USD,{-owed},{100 - owed}")
    content = base64.b64encode("\n".join(rows).encode()).decode()
    return path, {"files": [{"name": "statement.csv", "content": content}]}


@succeeds(OWN, "PUT", ACCOUNTS + "/{currency}", 200)
async def put_bank_account(desk: Desk) -> httpx.Response:
    path = await _banked(desk, await desk.participant())
    return await desk.ask("PUT", path, {"account": "GB29 NWBK 6016 1331 9268 19", "name": "Bank", "bic": "NWBKGB2L"})


@succeeds(OWN, "GET", ACCOUNTS + "/{currency}", 200)
async def get_bank_account(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", await _banked(desk, await desk.participant()))


@succeeds(OWN, "GET", ACCOUNTS, 200)
async def get_bank_accounts(desk: Desk) -> httpx.Response:
    path = await _banked(desk, await desk.participant())
    return await desk.ask("GET", path.removesuffix("/USD"))


@succeeds(OWN, "DELETE", ACCOUNTS + "/{currency}", 204)
async def delete_bank_account(desk: Desk) -> httpx.Response:
    return await desk.ask("DELETE", await _banked(desk, await desk.participant()))


@succeeds(OWN, "GET", "/v2/settlements/{id}/instructions", 200)
async def get_instructions(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", f"{(await _settled(desk))[0]}/instructions")


@succeeds(OWN, "POST", STATEMENTS + "/check", 200)
async def post_statement_check(desk: Desk) -> httpx.Response:
    path, body = await _settled_at_the_bank(desk)
    return await desk.ask("POST", f"{path}/statements/check", body)


@succeeds(OWN, "POST", STATEMENTS, 201)
async def post_statement(desk: Desk) -> httpx.Response:
    path, body = await _settled_at_the_bank(desk)
    return await desk.ask("POST", f"{path}/statements", body)


def _of_a_statement(rest: str) -> None:
    """What can be asked once a statement is processed."""

    async def success(desk: Desk) -> httpx.Response:
        path, body = await _settled_at_the_bank(desk)
        made = await desk.ask("POST", f"{path}/statements", body)
        assert made.status_code == 201, made.text
        number = str(made.json()["statementId"])
        return await desk.ask("GET", f"{path}/statements{rest.format(statement=number, file=1)}")

    succeeds(OWN, "GET", STATEMENTS + rest, 200)(success)


for rest in ("", "/{statement}", "/{statement}/files/{file}"):
    _of_a_statement(rest)
# --- fees ------------------------------------------------------------------------------------------------------------

FEE: Final = {"ledgerAccountType": "INTERCHANGE_FEE", "from": "payer", "to": "hub", "fixed": "0.5", "currency": "UGX"}
FEE_RULES: Final = [
    {
        "conditions": {"all": [{"fact": "transfer", "operator": "isObject", "value": True}]},
        "event": {"type": "FEE", "params": FEE},
    }
]
for template in ("/rules/fees", "/rules/fees/history"):
    _simple(OWN, "GET", template, 200, template)
_simple(OWN, "POST", "/rules/fees/try", 200, "/rules/fees/try", {"rules": FEE_RULES})


@succeeds(OWN, "PUT", "/rules/fees", 200)
async def put_fees(desk: Desk) -> httpx.Response:
    await desk.ask("POST", "/settlementModels", {"name": "UGXFEES", "currency": "UGX", **MODEL})
    return await desk.ask("PUT", "/rules/fees", FEE_RULES)


ONLY_ASKING: Final = ("/rules/fees/try",)
"""What is POSTed because the question is too long for a URL: nothing is changed by it."""

# --- schedules of settlement, the hub's own --------------------------------------------------------------------------

SCHEDULE: Final = {"cron": "0 18 * * MON-FRI", "timeZone": "Africa/Kigali", "settlementModel": "DEFAULTDEFERREDNET"}


async def _scheduled(desk: Desk) -> str:
    """The path of a new schedule."""
    name = f"schedule-{uuid.uuid4().hex[:12]}"
    made = await desk.ask("POST", "/settlementSchedules", {"name": name, **SCHEDULE})
    assert made.status_code == 201, made.text
    return f"/settlementSchedules/{name}"


_simple(OWN, "GET", "/settlementSchedules", 200, "/settlementSchedules")
_simple(OWN, "POST", "/settlementSchedules", 201, "/settlementSchedules", {"name": "end-of-day", **SCHEDULE})


def _of_a_schedule(method: str, status: int, body: object = None) -> None:
    async def success(desk: Desk) -> httpx.Response:
        return await desk.ask(method, await _scheduled(desk), body)

    succeeds(OWN, method, "/settlementSchedules/{name}", status)(success)


_of_a_schedule("GET", 200)
_of_a_schedule("PUT", 200, {"isActive": False})
_of_a_schedule("DELETE", 204)

ELSEWHERE: Final[dict[Operation, str]] = {(ORACLE, "GET", "/metrics"): "one process has one page of metrics: /metrics"}
"""What the files have and this listener answers under another path."""

NEVER_ANSWERED: Final = {
    "default": "no status at all",
    "406": "these APIs have one version",
    "415": "another media type is 400, as in the reference",
    "502": "of a hub that does not work: tests/api/test_health.py",
    "501": "all of it is there",
}
"""What the files document for every operation, and why it does not arise."""


# --- the audit log ---------------------------------------------------------------------------------------------------

for template in ("/auditlog", "/auditlog/checkpoints"):
    _simple(OWN, "GET", template, 200, template)
_simple(OWN, "GET", "/auditlog/{seq}", 200, "/auditlog/1")
_simple(OWN, "POST", "/auditlog/checkpoints", 201, "/auditlog/checkpoints")

CHANGES_NOTHING: Final = (*ONLY_ASKING, "/notifications/test", "/notifications/resend")
"""What is asked by POST and changes nothing, or, of the last, nothing on a desk where nothing is parked by then."""
UNCHANGED: Final = {
    (LEDGER, "PUT", "/settlementModels/{name}"): "it is active already",
    (OWN, "POST", "/auditlog/checkpoints"): "the checkpoint is an entry of its own",
}
"""Acts that may leave everything as it was, and why."""


# --- the walk --------------------------------------------------------------------------------------------------------


def documented() -> dict[Operation, list[str]]:
    """Every operation of the files, with the statuses that it documents."""
    found: dict[Operation, list[str]] = {}
    for name in UNDER.keys() - {OWN}:
        path = SPECS / name
        if not path.exists():
            pytest.skip(f"no OpenAPI files: set VUKA_SPECS to a directory that holds {name}")
        for template, operations in yaml.safe_load(path.read_text(encoding="utf-8"))["paths"].items():
            for method, operation in operations.items():
                if method in METHODS:
                    found[name, method.upper(), template] = [str(each) for each in operation["responses"]]
    return found


async def test_every_operation_of_the_files_is_tested() -> None:
    assert [each for each in documented() if each not in SUCCESSES and each not in ELSEWHERE] == []


async def test_every_documented_status_is_seen() -> None:
    seen = {str(status) for status in (*STATUS.values(), *ERRORS)} | NEVER_ANSWERED.keys()
    assert {status for statuses in documented().values() for status in statuses} - seen == set()


async def test_a_success_has_a_documented_status() -> None:
    for operation, statuses in documented().items():
        if operation in STATUS and statuses != ["default"]:
            assert str(STATUS[operation]) in statuses, operation


# --- success and errors ----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A hub that wants to know who operates it."""
    async with _open(tmp_path_factory.mktemp("desk")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def audited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Another, on which every operation succeeds once more: some do so once only."""
    async with _open(tmp_path_factory.mktemp("audited")) as opened:
        yield opened


@asynccontextmanager
async def _open(directory: Path) -> AsyncIterator[Desk]:
    config = load(None, {"VUKA_OPERATORS_API_AUTHENTICATION": "required"}, data_dir=str(directory))
    found(config, "Desk", ["USD", "KES"])
    token = make_admin_token(config, by="test").read_text().strip()
    database = Database.open(config.database_path)
    hub = Hub(config, database)
    await hub.start()
    transport = httpx.ASGITransport(admin_app(hub), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        desk = Desk(hub, client, token)
        made = await desk.ask("POST", "/credentials", {"operator": "reader", "roles": ["read"]})
        desk.reader = made.json()["secret"]
        yield desk
    await hub.stop()
    database.close()


OPERATIONS: Final = [pytest.param(*operation, id=" ".join(operation)) for operation in SUCCESSES]
OPEN: Final = ("/health",)
"""What anybody may ask."""


@pytest.mark.parametrize(("api", "method", "template"), OPERATIONS)
async def test_an_operation_succeeds(desk: Desk, api: str, method: str, template: str) -> None:
    answer = await SUCCESSES[api, method, template](desk)
    assert answer.status_code == STATUS[api, method, template], answer.text


CHANGING: Final = [
    pytest.param(*operation, id=" ".join(operation))
    for operation in SUCCESSES
    if operation[1] != "GET" and operation[2] not in CHANGES_NOTHING
]


@pytest.mark.parametrize(("api", "method", "template"), CHANGING)
async def test_what_an_operation_changes_is_in_the_audit_log(
    audited: Desk, api: str, method: str, template: str
) -> None:
    operator = f"op{uuid.uuid4().hex[:8]}"
    made = await audited.ask("POST", "/credentials", {"operator": operator, "roles": ["admin"]})
    secret = made.json()["secret"]
    own = Desk(audited.hub, audited.client, secret, audited.reader)
    answer = await SUCCESSES[api, method, template](own)
    assert answer.is_success, answer.text
    found = (await audited.ask("GET", f"/auditlog?who={operator}&limit=500")).json()["entries"]
    acts = [each["content"] for each in found]
    assert acts, "nothing says what was done"
    for act in acts:
        assert act["who"] == {"kind": "operator", "name": operator, "credential": made.json()["credentialId"]}
    last = acts[0]
    assert not last["outcome"].startswith(("refused", "failed"))
    if (api, method, template) not in UNCHANGED:
        assert last["changes"], f"what {last['what']} has changed is not kept"
        for change in last["changes"]:
            assert change["before"] != change["after"]
    told = json.dumps(found)
    assert secret not in told
    assert hashlib.sha256(secret.encode()).hexdigest() not in told


async def test_an_operation_that_is_refused_is_in_the_audit_log_and_changes_nothing(desk: Desk) -> None:
    name = await desk.participant()
    limit = {"type": "NET_DEBIT_CAP", "value": 2000, "alarmPercentage": 10}
    refusal = await desk.ask("PUT", f"/participants/{name}/limits", {"currency": "KES", "limit": limit})
    assert refusal.status_code == 400
    (last,) = (await desk.ask("GET", "/auditlog?what=AdjustLimit&limit=1")).json()["entries"]
    assert last["content"]["asked"]["name"] == name
    assert last["content"]["outcome"].startswith("refused: ")
    assert (last["content"]["changes"], last["content"]["balances"]) == ([], [])


async def test_a_limit_is_told_before_and_after(desk: Desk) -> None:
    name = await desk.participant()
    limit = {"type": "NET_DEBIT_CAP", "value": 2000, "alarmPercentage": 10}
    await desk.ask("PUT", f"/participants/{name}/limits", {"currency": "USD", "limit": limit})
    (last,) = (await desk.ask("GET", "/auditlog?what=AdjustLimit&limit=1")).json()["entries"]
    limits = [each for each in last["content"]["changes"] if each["table"] == "participant_limit"]
    assert [(each["before"], each["of"].get("value")) for each in limits if each["before"]] == [
        ({"is_active": 1}, 10_000_000)
    ]
    assert [each["after"]["value"] for each in limits if each["before"] is None] == [20_000_000]


async def test_how_a_transfer_ended_is_found_by_its_id(desk: Desk) -> None:
    _, path = await desk.funded()
    funds = movement("recordFundsIn", "50")
    await desk.ask("POST", path, funds)
    found = (await desk.ask("GET", f"/auditlog?transfer={funds['transferId']}")).json()["entries"]
    assert [each["kind"] for each in found] == ["ENDS", "ACT"]
    (end,) = found[0]["content"]
    assert (end["transfer_id"], end["state"], end["amount"]) == (funds["transferId"], "COMMITTED", 500_000)
    listed = (await desk.ask("GET", "/auditlog?what=ends&limit=1")).json()["entries"]
    assert listed[0]["content"] == {"ended": 1, "states": {"COMMITTED": 1}}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=many", "since=noon", "until=1", "before=-", "whom=alice"]
)
async def test_a_question_that_makes_no_sense_is_refused(desk: Desk, query: str) -> None:
    answer = await desk.ask("GET", f"/auditlog?{query}")
    assert refused(answer)[0] == 400
    assert query.partition("=")[0] in answer.text


async def test_the_audit_log_has_pages_below_its_first_entry_which_are_empty_unless_somebody_writes_there(
    desk: Desk,
) -> None:
    for before in (1, 0, -1, -9):
        assert (await desk.ask("GET", f"/auditlog?before={before}")).json() == {"entries": [], "before": None}


async def test_funds_are_told_with_the_balances_before_and_after(desk: Desk) -> None:
    name, path = await desk.funded()
    await desk.ask("POST", path, movement("recordFundsIn", "50"))
    (last,) = (await desk.ask("GET", "/auditlog?what=FundsIn&limit=1")).json()["entries"]
    (liquidity,) = (each for each in last["content"]["balances"] if each["account"] == f"{name} USD SETTLEMENT")
    posted = liquidity["before"]["credits_posted"], liquidity["after"]["credits_posted"]
    assert posted == (1_000_000, 1_500_000)


async def test_of_an_act_with_very_many_rows_a_list_has_the_first_and_the_entry_all(desk: Desk) -> None:
    name = await desk.participant()
    parties = [
        {"fspId": name, "currency": "USD", "partyIdType": "MSISDN", "partyIdentifier": str(uuid.uuid4().int % 10**15)}
        for _ in range(501)
    ]
    body = {"requestId": str(uuid.uuid4()), "partyList": parties}
    made = await desk.ask("POST", "/oracle/participants", body)
    assert made.is_success, made.text
    (listed,) = (await desk.ask("GET", "/auditlog?what=RegisterParty&limit=1")).json()["entries"]
    whole = (await desk.ask("GET", f"/auditlog/{listed['seq']}")).json()
    assert (len(listed["content"]["changes"]), listed["content"]["left_out"]) == (500, 1)
    assert (len(whole["content"]["changes"]), whole["content"]["left_out"]) == (501, 0)
    assert whole["content"]["changes"][500]["after"]["fsp_id"] == name


async def test_the_audit_log_of_all_this_is_whole(desk: Desk) -> None:
    with desk.hub.database.read() as tx:
        verdict = auditlog.verify(auditlog.entries(tx), keys=trusted_keys(desk.hub.config))
        assert verdict.fault is None
        assert verdict.checkpoints > 0
        assert list(auditlog.compare(tx)) == []


def refused(answer: httpx.Response) -> tuple[int, str]:
    information = json.loads(answer.content)["errorInformation"]
    assert 1 <= len(information["errorDescription"]) <= 128
    return answer.status_code, information["errorCode"]


def path_of(api: str, template: str) -> str:
    """A path of that template, of things that are not there."""
    path = template.replace("{name}", "nobody").replace("{id}", "999999").replace("{ID}", "999999")
    for name in ("{sid}", "{pid}", "{aid}", "{statement}", "{file}", "{seq}"):
        path = path.replace(name, "999999")
    path = path.replace("{transferId}", "b51ec534-ee48-4575-b6a9-ead2955b8069").replace("{SubId}", "HOME")
    return UNDER[api] + path.replace("{Type}", "NOTYPE").replace("{currency}", "USD")


async def _of_what_is_wrong(desk: Desk, api: str, method: str, template: str) -> None:
    if method in ("POST", "PUT"):
        assert refused(await desk.ask(method, path_of(api, template), raw=b"{"))[0] == 400
    elif "{" in template and template != "/oracles/{ID}":
        assert refused(await desk.ask(method, path_of(api, template)))[0] == 400
    elif template == "/oracles":
        request = desk.client.build_request("GET", "/oracles", headers={"authorization": f"Bearer {desk.admin}"})
        del request.headers["accept"]
        answer = await desk.client.send(request)
        assert refused(answer) == (400, "3102"), "Accept is required, as the file says"
    elif template in ("/participants", "/participants/limits"):
        query = {"/participants": "isProxy=maybe", "/participants/limits": "currency=XYZ"}
        assert refused(await desk.ask(method, f"{path_of(api, template)}?{query[template]}"))[0] == 400


async def _without_a_token(desk: Desk, api: str, method: str, template: str) -> None:
    answer = await desk.ask(method, path_of(api, template), token=None)
    if template in OPEN and api != ORACLE:
        assert answer.status_code == 200
    else:
        assert refused(answer)[0] == 401
        assert "www-authenticate" in answer.headers


async def _with_too_little(desk: Desk, api: str, method: str, template: str) -> None:
    answer = await desk.ask(method, path_of(api, template), {}, token=desk.reader)
    if method == "GET" or template in ONLY_ASKING:
        assert answer.status_code != 403, "who may read may ask everything"
    else:
        assert refused(answer)[0] == 403


async def _of_an_unknown_path(desk: Desk, api: str, method: str, template: str) -> None:
    answer = await desk.ask(method, f"/no/such{path_of(api, template)}")
    assert refused(answer) == (404, "3002")


async def _of_another_method(desk: Desk, api: str, method: str, template: str) -> None:
    answer = await desk.ask("PATCH", path_of(api, template))
    assert refused(answer) == (405, "3000")
    assert method in answer.headers["allow"].split(", ")


async def _of_a_hub_that_stops(desk: Desk, api: str, method: str, template: str) -> None:
    if method == "GET" or template in ONLY_ASKING:
        return
    closing = desk.hub.engine._closing
    desk.hub.engine._closing = True
    try:
        answer = await SUCCESSES[api, method, template](_Hurried(desk.hub, desk.client, desk.admin))
    except _NotNowError as refusal:
        answer = refusal.answer
    finally:
        desk.hub.engine._closing = closing
    assert refused(answer) == (503, "2003")


class _NotNowError(Exception):
    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(answer.text)
        self.answer = answer


class _Hurried(Desk):
    """Gives up at the first answer that is a 503: what a success needs first is refused too."""

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = "admin", raw: bytes | None = None
    ) -> httpx.Response:
        answer = await super().ask(method, path, body, token=token, raw=raw)
        if answer.status_code == 503:
            raise _NotNowError(answer)
        return answer


ERRORS: Final = {
    400: _of_what_is_wrong,
    401: _without_a_token,
    403: _with_too_little,
    404: _of_an_unknown_path,
    405: _of_another_method,
    503: _of_a_hub_that_stops,
}


@pytest.mark.parametrize("status", list(ERRORS))
@pytest.mark.parametrize(("api", "method", "template"), OPERATIONS)
async def test_an_operation_is_refused_as_documented(
    desk: Desk, api: str, method: str, template: str, status: int
) -> None:
    await ERRORS[status](desk, api, method, template)
