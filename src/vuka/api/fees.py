"""``/rules/fees`` on the operators' API: what payments are charged, which rules say so, and trying others.

Trying changes nothing: it says what rules would have charged payments that were committed, and what these were charged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api import rule_sets
from vuka.api.hub import FEES, Hub
from vuka.api.rule_sets import KEY_MAX, TRIED_AT_ONCE, TryRequest, as_json, faults, read_try, rule_fact, since_ms
from vuka.engine.keys import key_floor
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import TransferId, parse_id
from vuka.money import format_amount
from vuka.rules import RulesError
from vuka.switch.fees import (
    KIND,
    Charge,
    ChargedFee,
    FeeRules,
    SetFeeRules,
    Trial,
    compile_fee_rules,
    fee_accounts,
    past_payments,
    past_payments_of,
    try_rules,
)
from vuka.switch.records import Record

PAGE_TRANSFERS: Final = 2_000
"""Transfers looked through at a time: payments go on in between."""


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def try_some(request: Request) -> Response:
        asked = await read_try(request)
        try:
            rules = compile_fee_rules(bytes(asked.rules))
        except RulesError as error:
            return faults(error)
        trials: list[Trial] = []
        records = await _payments(hub, asked)
        for start in range(0, len(records), TRIED_AT_ONCE):
            some = records[start : start + TRIED_AT_ONCE]
            trials += hub.read(lambda tx, _ledger, directory: try_rules(FEES, rules, tx, directory, some))  # noqa: B023 - read at once
            await asyncio.sleep(0)
        return as_json(_trials(rules, trials))

    def compile_settled(content: bytes) -> FeeRules:
        return hub.read(lambda tx, _ledger, directory: compile_fee_rules(content, fee_accounts(tx, directory)))

    def put_in_force(content: str, by: str) -> SetFeeRules:
        return SetFeeRules(content=content, by=by)

    return [
        *rule_sets.routes(hub, KIND, compile_settled, put_in_force),
        Route("/rules/fees/try", try_some, methods=["POST"]),
    ]


async def _payments(hub: Hub, asked: TryRequest) -> list[Record]:
    """The payments that rules are to be tried on, the newest first."""
    down_to = min(key_floor(since_ms(asked)), KEY_MAX)
    if asked.ids is not None:
        ids = [_transfer_id(each) for each in asked.ids]
        found = hub.read(lambda tx, _ledger, _directory: past_payments_of(tx, ids))
        return [each for each in found if each.transfer_seq >= down_to][: asked.limit]
    before: int | None = KEY_MAX
    records: list[Record] = []
    while before is not None and len(records) < asked.limit:
        below = before
        page = hub.read(
            lambda tx, _ledger, _directory: past_payments(tx, before=below, down_to=down_to, transfers=PAGE_TRANSFERS)  # noqa: B023 - read at once
        )
        records += page.records
        before = page.before
        await asyncio.sleep(0)
    return records[: asked.limit]


def _transfer_id(text: str) -> TransferId:
    try:
        return TransferId(parse_id(text))
    except ValueError:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, f"ids: {text[:40]} is neither a UUID nor a ULID") from None


# --- shapes -----------------------------------------------------------------------------------------------------


def fee(of: Charge | ChargedFee) -> dict[str, object]:
    """A fee as answers show it."""
    return {
        "rule": of.rule if isinstance(of, ChargedFee) else of.rule.name or f"rule {of.rule.number}",
        "ledgerAccountType": of.ledger_account_type,
        "from": of.debtor,
        "to": of.creditor,
        "amount": {"amount": format_amount(of.amount), "currency": of.currency},
    }


def _trials(rules: FeeRules, trials: Sequence[Trial]) -> dict[str, object]:
    held = Counter(rule.number for trial in trials for rule in trial.held)
    charges = [charge for trial in trials for charge in trial.charges]
    return {
        "tried": len(trials),
        "charged": sum(1 for trial in trials if trial.charges),
        "rules": [
            {
                **rule_fact(rule),
                "held": held[rule.number],
                "charged": sum(1 for charge in charges if charge.rule.number == rule.number),
                "total": _totals([charge for charge in charges if charge.rule.number == rule.number]),
            }
            for rule in rules.rules.rules
        ],
        "total": _totals(charges),
        "totalThen": _totals([fee for trial in trials for fee in trial.charged]),
        "transfers": [_trial(trial) for trial in trials],
    }


def _totals(fees: Sequence[Charge | ChargedFee]) -> list[dict[str, str]]:
    sums = Counter[str]()
    for each in fees:
        sums[each.currency] += each.amount
    return [{"amount": format_amount(amount), "currency": currency} for currency, amount in sorted(sums.items())]


def _trial(trial: Trial) -> dict[str, object]:
    record = trial.record
    assert record.completed_ms is not None, "a committed payment has its time"  # noqa: S101
    return {
        "transferId": record.wire_id,
        "payerFsp": record.payer_fsp,
        "payeeFsp": record.payee_fsp,
        "amount": {"amount": format_amount(record.amount), "currency": record.currency},
        "completedTimestamp": format_datetime_ms(record.completed_ms),
        "held": [rule_fact(rule) for rule in trial.held],
        "fees": [fee(charge) for charge in trial.charges],
        "feesThen": [fee(each) for each in trial.charged],
    }
