"""``/rules/quotes`` on the operators' API: the scheme's rules about quotes, which of them hold, and trying others.

Trying changes nothing: it says what rules would have made of requests in the journal.
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
from vuka.api.hub import Hub
from vuka.api.rule_sets import KEY_MAX, TRIED_AT_ONCE, TryRequest, as_json, faults, read_try, rule_fact, since_ms
from vuka.engine.keys import key_floor
from vuka.errors import FspiopError
from vuka.fspiop.times import format_datetime_ms
from vuka.rules import RulesError, RuleSet
from vuka.switch.journal import Received
from vuka.switch.quote_rules import (
    KIND,
    OPERATIONS,
    Reroute,
    SetQuoteRules,
    Trial,
    compile_quote_rules,
    past_requests,
    past_requests_of,
    try_rules,
)

PAGE_BLOCKS: Final = 25
"""Blocks of the journal looked through at a time: payments go on in between."""


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def try_some(request: Request) -> Response:
        asked = await read_try(request)
        try:
            rules = compile_quote_rules(bytes(asked.rules))
        except RulesError as error:
            return faults(error)
        trials: list[Trial] = []
        requests = await _requests(hub, asked)
        for start in range(0, len(requests), TRIED_AT_ONCE):
            some = requests[start : start + TRIED_AT_ONCE]
            trials += [try_rules(rules, hub.directory, each) for each in some]
            await asyncio.sleep(0)
        return as_json(_trials(rules, trials))

    def put_in_force(content: str, by: str) -> SetQuoteRules:
        return SetQuoteRules(content=content, by=by)

    return [
        *rule_sets.routes(hub, KIND, compile_quote_rules, put_in_force),
        Route("/rules/quotes/try", try_some, methods=["POST"]),
    ]


async def _requests(hub: Hub, asked: TryRequest) -> list[Received]:
    """The past requests that rules are to be tried on, the newest first."""
    if asked.ids is not None:
        ids = asked.ids
        return hub.read(lambda tx, _ledger, _directory: past_requests_of(tx, ids))[: asked.limit]
    down_to = min(key_floor(since_ms(asked)), KEY_MAX)
    before: int | None = KEY_MAX
    found: list[Received] = []
    while before is not None and len(found) < asked.limit:
        below = before
        page = hub.read(
            lambda tx, _ledger, _directory: past_requests(tx, before=below, down_to=down_to, blocks=PAGE_BLOCKS)  # noqa: B023 - read at once
        )
        found += page.requests
        before = page.before
        await asyncio.sleep(0)
    return found[: asked.limit]


def _trials(rules: RuleSet, trials: Sequence[Trial]) -> dict[str, object]:
    held = Counter(rule.number for trial in trials for rule in trial.held)
    return {
        "tried": len(trials),
        "decided": sum(1 for trial in trials if trial.decision is not None),
        "rules": [{**rule_fact(rule), "held": held[rule.number]} for rule in rules.rules],
        "quotes": [_trial(trial) for trial in trials],
    }


def _trial(trial: Trial) -> dict[str, object]:
    request = trial.request
    return {
        "id": request.resource_id,
        "operation": OPERATIONS[request.resource],
        "source": request.source,
        "destination": request.destination,
        "receivedDate": format_datetime_ms(request.at_ms),
        "outcome": request.outcome,
        "held": [rule_fact(rule) for rule in trial.held],
        "decision": _decision(trial.decision),
    }


def _decision(decision: FspiopError | Reroute | None) -> dict[str, object]:
    if isinstance(decision, FspiopError):
        return {"action": "refuse", "errorCode": decision.code, "errorDescription": decision.description}
    if isinstance(decision, Reroute):
        return {"action": "reroute", "to": decision.to, "additionalHeaders": dict(decision.headers)}
    return {"action": "forward"}
