"""What is told of runs: the story of one that failed, the command that plays it again, and the figures of many."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vuka.money import format_amount
from vuka.simulation.plan import (
    SCENARIOS,
    Advance,
    AnyStep,
    CloseWindow,
    Crash,
    Disable,
    EndSettlement,
    FillDisk,
    Funds,
    Pay,
    Plan,
    Scheme,
    SetCap,
    Settle,
    Stop,
    Suffer,
    draw_plan,
)
from vuka.simulation.run import Outcome, Statistics


def replay_command(plan: Plan, steps: int) -> str:
    """The command that plays a plan again; it was drawn with so many ``steps``, of which it may have fewer left."""
    whole = draw_plan(plan.seed, steps=steps, scenario=plan.scenario)
    command = f"vuka simulate --scenario {plan.scenario} --seed {plan.seed} --steps {steps}"
    if plan.steps != whole.steps:
        command += f" --only {ranges([each.number for each in plan.steps])}"
    members = [each.name for each in plan.scheme.members]
    if members != [each.name for each in whole.scheme.members]:
        command += f" --among {','.join(members)}"
    if plan.scheme.roughness != whole.scheme.roughness:
        command += " --quiet-network"
    return command


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in short: ``1,4-6``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ",".join(str(each[0]) if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in found) or "none"


def read_ranges(text: str) -> list[int]:
    """The numbers of such a text. Raises `ValueError` with a sentence."""
    numbers: list[int] = []
    for part in text.split(",") if text != "none" else ():
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{part.strip()!r} is neither a number nor two with a dash between them, e.g. 3,7-9")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def story_lines(outcome: Outcome) -> list[str]:
    """The whole story: the scheme, the steps as planned, and what happened, each moment in milliseconds."""
    plan = outcome.plan
    lines = [f"{'scenario':>12}     {plan.scenario}: {SCENARIOS[plan.scenario].says}", *_scheme(plan.scheme)]
    lines += [f"{f'step {step.number}':>12}     at {step.at_ms} ms: {_step(step)}" for step in plan.steps]
    lines += [f"{event.at_ms:>12.1f} ms  {event.text}" for event in outcome.story]
    return lines


def _scheme(scheme: Scheme) -> list[str]:
    lines = [
        f"{each.name:>12}     FSPIOP {each.version}, cap {format_amount(each.cap)}, funds {format_amount(each.funds)} "
        f"in {' and '.join(scheme.currencies)}"
        for each in scheme.members
    ]
    told = {name: value for name, value in msgspec.to_builtins(scheme).items() if name not in ("members", "currencies")}
    return [*lines, f"{'the hub':>12}     {', '.join(f'{name} {value}' for name, value in told.items())}"]


def _step(step: AnyStep) -> str:
    """A step, in words."""
    match step:
        case Pay():
            quoted = "looks up, asks for a quote and pays" if step.is_quoted else "pays"
            what = f"{_money(step.amount, step.currency)} ({step.transfer_id[:8]}, valid {step.valid_ms} ms)"
            then = f"{step.payee} {step.payee_way}, after {step.payee_ms} ms"
            return f"{step.payer} {quoted} {what} {step.payer_way}; {then}"
        case Suffer():
            return f"{step.name} {step.trouble} for {step.for_ms} ms"
        case Funds():
            ends = f", then {step.ends or 'left open'}" if step.amount < 0 else ""
            return f"funds of {step.name}: {_money(step.amount, step.currency)}{ends}"
        case SetCap():
            return f"the net debit cap of {step.name} is set to {_money(step.cap, step.currency)}"
        case Disable():
            what = step.name if step.currency is None else f"{step.name}'s position in {step.currency}"
            return f"{what} takes no part for {step.for_ms} ms"
        case CloseWindow():
            return "the open window is closed"
        case Settle():
            return f"what is closed is to be settled{', of fees' if step.of_fees else ''}"
        case Advance():
            return f"an open settlement is led a step further, {step.accounts} accounts at most"
        case EndSettlement():
            return f"an open settlement is {'aborted' if step.aborts else 'led to its end'}"
        case Crash():
            when = (
                f"as it sends the {step.after_sends + 1}. message from then on"
                if step.after_sends
                else f"in its next commit, which is {step.tear}"
                if step.tear is not None
                else "at once"
            )
            return f"the hub dies {when}; down {step.down_ms} ms, clocks set by {step.clock_ms} ms"
        case Stop():
            return f"the hub is stopped for {step.down_ms} ms"
        case FillDisk():
            return f"the hub's disk is full {step.shortage}, for {step.for_ms} ms"


def _money(amount: int, currency: str) -> str:
    return f"{format_amount(amount)} {currency}"


def figures(statistics: Statistics) -> str:
    """What was in the runs, in a sentence or two."""
    ends = ", ".join(f"{number:,} {state}" for state, number in sorted(statistics.transfers.items()))
    return (
        f"{statistics.runs:,} runs, {statistics.steps:,} steps, {statistics.virtual_seconds:,.0f} seconds simulated: "
        f"{statistics.transfers.total():,} transfers ({ends or 'none'}), {statistics.messages:,} messages "
        f"({statistics.messages_lost:,} lost), {statistics.commits:,} commits ({statistics.commits_failed:,} failed), "
        f"{statistics.crashes:,} crashes, {statistics.faults:,} other faults."
    )
