"""Alarms: who is told, and how often, that a position uses much of its net debit cap.

A limit's ``alarmPercentage`` is a threshold. The alarm is **raised** when the use of the cap (`vuka.switch.cap_use`)
reaches it, to the minor unit: ``used x 100 >= cap x percentage``. It stands until use has fallen below the threshold by
the hysteresis, so that a position that goes up and down around the threshold raises one alarm and not a hundred; then
it is **cleared**. While it stands people are **reminded**, at most so many times in a reset period and never twice
within the least time between; when the period is over the count begins anew (hub reference §4.12).

At the edges:

- a threshold of 0 is none: with nothing used there is nothing to tell, so 0 switches the alarm off;
- 100 is reached when the whole cap is used, and beyond;
- a cap of 0 with anything used (it was lowered below the position) is beyond every threshold; with nothing used it is
  no alarm: whoever may send nothing and has sent nothing has no use to tell of;
- a position without limits has none.

``alarmPercentage`` counts what is used, as the API's specification says ("triggered when a pre-specified percentage of
the limit is reached"). The reference's event processor counts what is left, and so does a hub whose configuration
says so: then 10 raises the alarm at 90 %, and 100 switches it off.

Payments are not asked. A timer of the engine looks at some positions, in a snapshot and with one question to the
ledger, and only where something is to be told makes a command, which looks again in its own transaction: row and
notification are of the same commit and the same figures. A use that rises and falls again between two looks raises no
alarm. A statement for each payment would cost the payments most when there are most of them; this costs the same at any
load.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from vuka.config import Notifications
from vuka.ids import FspId
from vuka.ledger.model import Ledger
from vuka.money import Currency
from vuka.plugins import THRESHOLD_BREACH
from vuka.store import Tx
from vuka.switch.cap_use import CapUse, cap_uses, figures
from vuka.switch.directory import POSITION, Account, Directory, Participant
from vuka.switch.notifications import notify
from vuka.switch.work import Command, Outcome, Work

MINUTE_MS: Final = 60_000


class AlarmRules(msgspec.Struct, frozen=True):
    """When an alarm is raised, repeated and cleared."""

    counts_left: bool = False
    """Whether a threshold counts what is left of a cap rather than what is used."""
    hysteresis_percent: int = 5
    """How far below its threshold the use of a cap ends an alarm, in percent of the cap."""
    repeats_max: int = 3
    """Reminders within one reset period."""
    repeat_ms: int = 15 * MINUTE_MS
    reset_ms: int = 24 * 60 * MINUTE_MS

    @classmethod
    def of(cls, configured: Notifications) -> AlarmRules:
        """As the deployment has them."""
        return cls(
            counts_left=configured.alarm_counts == "left",
            hysteresis_percent=configured.alarm_hysteresis_percent,
            repeats_max=configured.alarm_repeats_max,
            repeat_ms=configured.alarm_repeat_minutes * MINUTE_MS,
            reset_ms=configured.alarm_reset_minutes * MINUTE_MS,
        )

    def threshold(self, position: Account) -> int:
        """At how much use of its cap, in percent, a position raises an alarm; 0: never."""
        if position.net_debit_cap is None or position.alarm_percentage is None:
            return 0
        return 100 - position.alarm_percentage if self.counts_left else position.alarm_percentage


class CheckAlarms(Command, frozen=True, kw_only=True):
    """The engine's timer has seen something to tell about these positions."""

    account_ids: tuple[int, ...]
    rules: AlarmRules


class AlarmEvent(StrEnum):
    """What becomes of an alarm."""

    RAISED = "RAISED"
    REPEATED = "REPEATED"
    CLEARED = "CLEARED"


class Told(msgspec.Struct, frozen=True):
    """What people were told of one alarm."""

    participant: FspId
    currency: Currency
    event: AlarmEvent


class Standing(msgspec.Struct, frozen=True):
    """An alarm that stands."""

    account_id: int
    raised_ms: int
    last_ms: int
    """When people were last told of it."""
    repeats: int
    """Reminders in the reset period of `last_ms`."""


class _Due(msgspec.Struct, frozen=True):
    """Something to tell."""

    event: AlarmEvent
    owner: Participant
    position: Account
    use: CapUse
    alarm: Standing | None


Position = tuple[Participant, Account]


def limited_positions(directory: Directory) -> list[Position]:
    """The positions that have limits, in the order of their numbers."""
    found = [
        (participant, account)
        for participant in directory.participants.values()
        for account in participant.accounts.values()
        if account.type == POSITION and account.net_debit_cap is not None
    ]
    return sorted(found, key=lambda each: each[1].account_id)


def anything_to_tell(
    tx: Tx, ledger: Ledger, positions: Sequence[Position], rules: AlarmRules, now_ms: int
) -> tuple[int, ...]:
    """Those of the positions, by account number, whose alarm is to be raised, repeated or cleared."""
    return tuple(due.position.account_id for due in _due(tx, ledger, positions, rules, now_ms))


def check(work: Work, commands: Sequence[CheckAlarms]) -> list[Outcome]:
    """Raises, repeats and clears alarms. The outcome's value is a list of `Told`."""
    return [_check(work, command) for command in commands]


def _check(work: Work, command: CheckAlarms) -> Outcome:
    asked = set(command.account_ids)
    positions = [each for each in limited_positions(work.directory) if each[1].account_id in asked]
    due = _due(work.tx, work.ledger, positions, command.rules, work.now_ms)
    for each in due:
        _write(work, each, command.rules)
    told = [Told(each.owner.name, each.position.currency, each.event) for each in due]
    return Outcome(value=told, note=f"alarms: {len(told)} told")


def _write(work: Work, due: _Due, rules: AlarmRules) -> None:
    """The alarm's row, and what people are told, with the figures of this moment."""
    account_id, repeat = due.position.account_id, 0
    if due.alarm is None:
        work.tx.run(
            "INSERT INTO alarm (account_id, raised_ms, last_ms, repeats) VALUES (?, ?, ?, 0)",
            (account_id, work.now_ms, work.now_ms),
        )
    elif due.event is AlarmEvent.CLEARED:
        work.tx.run("DELETE FROM alarm WHERE account_id = ?", (account_id,))
    else:
        repeat = _repeats(due.alarm, rules, work.now_ms) + 1
        work.tx.run("UPDATE alarm SET last_ms = ?, repeats = ? WHERE account_id = ?", (work.now_ms, repeat, account_id))
    data = {
        "event": due.event.value,
        "threshold": str(rules.threshold(due.position)),
        **figures(due.position, due.use),
    }
    if repeat:
        data |= {"repeat": str(repeat), "repeatsMax": str(rules.repeats_max)}
    notify(work, THRESHOLD_BREACH, due.owner.name, due.position.currency, data)


# --- the rule -----------------------------------------------------------------------------------------------------


def _due(tx: Tx, ledger: Ledger, positions: Sequence[Position], rules: AlarmRules, now_ms: int) -> list[_Due]:
    """What is to be told of these positions now."""
    alarms = _standing(tx, [position.account_id for _, position in positions])
    concerned = [each for each in positions if each[1].account_id in alarms or rules.threshold(each[1])]
    due: list[_Due] = []
    for (owner, position), use in zip(concerned, cap_uses(ledger, concerned), strict=True):
        alarm = alarms.get(position.account_id)
        event = _event(alarm, use, rules.threshold(position), rules, now_ms)
        if event is not None:
            due.append(_Due(event, owner, position, use, alarm))
    return due


def _event(alarm: Standing | None, use: CapUse, threshold: int, rules: AlarmRules, now_ms: int) -> AlarmEvent | None:
    """What becomes of an alarm; ``threshold`` is in percent of use, 0 for none."""
    if alarm is None:
        return AlarmEvent.RAISED if threshold and use.reaches(threshold) else None
    if not threshold or not use.reaches(max(0, threshold - rules.hysteresis_percent)):
        return AlarmEvent.CLEARED
    if now_ms - alarm.last_ms < rules.repeat_ms:
        return None
    return AlarmEvent.REPEATED if _repeats(alarm, rules, now_ms) < rules.repeats_max else None


def _repeats(alarm: Standing, rules: AlarmRules, now_ms: int) -> int:
    """Reminders so far in the reset period that ``now_ms`` lies in; periods begin when the alarm is raised."""
    period = (now_ms - alarm.raised_ms) // rules.reset_ms
    return alarm.repeats if period == (alarm.last_ms - alarm.raised_ms) // rules.reset_ms else 0


def _standing(tx: Tx, account_ids: Collection[int]) -> dict[int, Standing]:
    rows = tx.query_in(
        "SELECT account_id, raised_ms, last_ms, repeats FROM alarm WHERE account_id IN {values}", list(account_ids)
    )
    return {row[0]: Standing(*row) for row in rows}


# --- what stands --------------------------------------------------------------------------------------------------


class AlarmView(msgspec.Struct, frozen=True):
    """An alarm that stands, with the use of the cap at this moment."""

    participant: FspId
    currency: Currency
    threshold: int
    """In percent of use."""
    raised_ms: int
    last_ms: int
    repeats: int
    figures: dict[str, str]


def alarms(
    tx: Tx, ledger: Ledger, directory: Directory, rules: AlarmRules, *, participant: str | None = None
) -> list[AlarmView]:
    """The alarms that stand, of one participant or of all, in the order of their positions' numbers."""
    standing = {row[0]: Standing(*row) for row in tx.query("SELECT account_id, raised_ms, last_ms, repeats FROM alarm")}
    concerned = [
        (owner, position)
        for owner, position in limited_positions(directory)
        if position.account_id in standing and participant in (None, owner.name)
    ]
    return [
        AlarmView(
            participant=owner.name,
            currency=position.currency,
            threshold=rules.threshold(position),
            raised_ms=standing[position.account_id].raised_ms,
            last_ms=standing[position.account_id].last_ms,
            repeats=standing[position.account_id].repeats,
            figures=figures(position, use),
        )
        for (owner, position), use in zip(concerned, cap_uses(ledger, concerned), strict=True)
    ]


def counts(tx: Tx) -> dict[str, int]:
    """How many alarms of each participant stand."""
    rows = tx.query(
        """SELECT p.name, COUNT(*) FROM alarm l JOIN account a ON a.account_id = l.account_id
           JOIN participant p ON p.participant_id = a.participant_id GROUP BY p.name"""
    )
    return {str(name): int(count) for name, count in rows}


USE_CASES: Final = ((check, CheckAlarms),)
"""Each function with the commands that it decides."""
