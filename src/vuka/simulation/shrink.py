"""Cutting a plan down: what is left still fails the same check, and needs every step that it has.

Half of the steps is left out, then quarters, and so on down to single ones (delta debugging: Zeller and Hildebrandt,
2002), as long as there are attempts left; then the network is made quiet, and participants leave that no step names,
where the failure does not need them. Each attempt is a whole run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from vuka.simulation.plan import Plan
from vuka.simulation.run import Outcome, run

ATTEMPTS_MAX: Final = 300
"""Runs that cutting down takes at most."""


def shrink(failed: Outcome, *, attempts_max: int = ATTEMPTS_MAX, attempt: Callable[[Plan], Outcome] = run) -> Outcome:
    """The smallest run found that fails as this one has. Raises `ValueError` where it has not."""
    if failed.failure is None:
        raise ValueError("a run that has not failed can't be cut down")
    check, best, left = failed.failure.check, failed, attempts_max

    def fails(plan: Plan) -> bool:
        nonlocal best, left
        left -= 1
        outcome = attempt(plan)
        if outcome.failure is None or outcome.failure.check != check:
            return False
        best = outcome
        return True

    parts = 2
    while left > 0 and best.plan.steps:
        if any(fails(plan) for plan in _without_parts(best.plan, parts) if left > 0):
            parts = max(2, parts - 1)
        elif parts < len(best.plan.steps):
            parts = min(2 * parts, len(best.plan.steps))
        else:
            break
    for simpler in (Plan.in_quiet_network, _without_strangers):
        plan = simpler(best.plan)
        if plan != best.plan:
            fails(plan)
    return best


def _without_parts(plan: Plan, parts: int) -> Iterator[Plan]:
    """The plan without each of so many parts of its steps, the last part first: what comes late is needed least."""
    steps = plan.steps
    size = -(-len(steps) // parts)
    for start in reversed(range(0, len(steps), size)):
        yield msgspec.structs.replace(plan, steps=steps[:start] + steps[start + size :])


def _without_strangers(plan: Plan) -> Plan:
    """The plan without participants that no step names."""
    named = {getattr(step, field, None) for step in plan.steps for field in ("payer", "payee", "name")}
    members = [each.name for each in plan.scheme.members]
    return plan.among([name for name in members if name in named] or members[:2])
