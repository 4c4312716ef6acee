"""Schedules: settlement windows that close by themselves, and are settled where an operator wants that.

A schedule is a cron expression in a time zone (`vuka.cron`). The engine's timer asks for `RunSchedules` when one is
due; what is due is decided in the transaction that closes the window, which also writes when the schedule is due next:
each due time closes once, whatever crashes and however many hub processes there are. Payments are before or after it by
the order of commits, as with any other close.

- What fell due while the hub was down runs once when it starts, not once for each time that was missed.
- Schedules that are due together close one window. One that finds it empty leaves it open, and says so.
- One that names a settlement model settles, in the same commit, everything of that model that closed windows hold and
  nobody settles: the window that it has closed, those closed before, and those whose settlement was aborted. It leaves
  the settlement PENDING_SETTLEMENT: further steps say what the settlement bank has done, and only the bank knows.
- Where the clock is set back, times that have run do not run again; times that it only seemed to have passed are still
  to come, and so is everything where it had been more than a day ahead.
- What is due runs before a change by an operator: also if the schedule is paused or removed just after its time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

import msgspec

from vuka.cron import CronError, moments, next_ms
from vuka.errors import ErrorCode, FspiopError
from vuka.store import Tx, Value
from vuka.switch import settlements, windows
from vuka.switch.directory import SettlementModel
from vuka.switch.obligations import window_kinds
from vuka.switch.work import Command, Outcome, Work

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}")
SCHEDULES_MAX: Final = 100

SETTLED_AT_ONCE_MAX: Final = 10_000
"""Windows that one run settles; where there are more, the next one goes on with them."""

CLOCK_TOLERANCE_MS: Final = 1_000
"""By how much clocks of hub processes may differ, or be set back, without anything being planned anew."""

CLOCK_AHEAD_MS_MAX: Final = 86_400_000
"""A clock that is set back by more than that was wrong before: what it ran by does not count."""

RUNS_SHOWN: Final = 5
LISTED_MAX: Final = 5


class AddSchedule(Command, frozen=True, kw_only=True):
    """``POST /settlementSchedules``."""

    name: str
    cron: str
    time_zone: str
    settlement_model: str | None = None
    """None: the window is closed only."""
    is_active: bool = True
    by: str = "operator"


class ChangeSchedule(Command, frozen=True, kw_only=True):
    """``PUT /settlementSchedules/{name}``: what is `msgspec.UNSET` stays as it is."""

    name: str
    cron: str | msgspec.UnsetType = msgspec.UNSET
    time_zone: str | msgspec.UnsetType = msgspec.UNSET
    settlement_model: str | msgspec.UnsetType | None = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    by: str = "operator"


class RemoveSchedule(Command, frozen=True, kw_only=True):
    """``DELETE /settlementSchedules/{name}``."""

    name: str


class RunSchedules(Command, frozen=True, kw_only=True):
    """The engine's timer: some are due, or have to be planned anew."""

    replans_all: bool = False
    """Also those that are not due: the zones' rules may be other ones since the hub was started last."""


class Ran(msgspec.Struct, frozen=True):
    """What became of one schedule that was due."""

    name: str
    due_ms: int
    outcome: str


class Schedule(msgspec.Struct, frozen=True):
    """A schedule as it is kept. Times are milliseconds UTC since 1970."""

    settlement_schedule_id: int
    name: str
    cron: str
    time_zone: str
    settlement_model: str | None
    is_active: bool
    next_ms: int
    planned_ms: int
    last_ms: int | None
    last_due_ms: int | None
    last_outcome: str | None
    created_ms: int
    created_by: str
    changed_ms: int
    changed_by: str

    def next_runs(self, now_ms: int) -> list[int]:
        """When it runs the next times; never, while it is paused."""
        if not self.is_active:
            return []
        after = moments(self.cron, self.time_zone, max(self.next_ms, now_ms))
        with suppress(CronError):
            return [self.next_ms, *islice(after, RUNS_SHOWN - 1)]
        return [self.next_ms]

    def has_run_until(self, now_ms: int) -> int:
        """Up to when nothing is to run any more: now, or a time that has run although it is still to come."""
        ran_ms = self.last_due_ms or 0
        return max(now_ms, ran_ms) if ran_ms <= now_ms + CLOCK_AHEAD_MS_MAX else now_ms

    def due_after(self, now_ms: int) -> int | None:
        """The first time after ``now_ms`` that has not run yet; None where there is none any more."""
        try:
            return next_ms(self.cron, self.time_zone, self.has_run_until(now_ms))
        except CronError:
            return None


_COLUMNS: Final = ", ".join(Schedule.__struct_fields__)


# --- what operators do ------------------------------------------------------------------------------------------


def add(work: Work, commands: Sequence[AddSchedule]) -> list[Outcome]:
    """Stores schedules."""
    return [_add(work, command) for command in commands]


def _add(work: Work, command: AddSchedule) -> Outcome:
    if NAME.fullmatch(command.name) is None:
        return _refused('"name" must be 1 to 30 letters, digits, dots, dashes or underscores')
    if schedules(work.tx, command.name):
        detail = f"There is a schedule {command.name} already: change it, or take another name"
        return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, detail))
    if len(schedules(work.tx)) >= SCHEDULES_MAX:
        return _refused(f"There are {SCHEDULES_MAX} schedules already: remove one first")
    fault = _fault_of_model(work, command.settlement_model)
    if fault is not None:
        return _refused(fault)
    try:
        due_ms = next_ms(command.cron, command.time_zone, work.now_ms)
    except CronError as error:
        return _refused(str(error))
    work.tx.run(
        """INSERT INTO settlement_schedule (name, cron, time_zone, settlement_model, is_active, next_ms, planned_ms,
                                            created_ms, created_by, changed_ms, changed_by)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            command.name,
            " ".join(command.cron.split()),
            command.time_zone,
            command.settlement_model,
            int(command.is_active),
            due_ms,
            work.now_ms,
            work.now_ms,
            command.by,
            work.now_ms,
            command.by,
        ),
    )
    return Outcome(note=f"schedule {command.name} added")


def change(work: Work, commands: Sequence[ChangeSchedule]) -> list[Outcome]:
    """Changes schedules: when they run, what they settle, whether they are active."""
    return [_change(work, command) for command in commands]


def _change(work: Work, command: ChangeSchedule) -> Outcome:
    found = schedules(work.tx, command.name)
    if not found:
        return _not_found(command.name)
    kept = found[0]
    model = kept.settlement_model if command.settlement_model is msgspec.UNSET else command.settlement_model
    fault = None if command.settlement_model is msgspec.UNSET else _fault_of_model(work, model)
    if fault is not None:
        return _refused(fault)
    cron = kept.cron if command.cron is msgspec.UNSET else " ".join(command.cron.split())
    time_zone = kept.time_zone if command.time_zone is msgspec.UNSET else command.time_zone
    is_active = kept.is_active if command.is_active is msgspec.UNSET else command.is_active
    try:
        due_ms = next_ms(cron, time_zone, kept.has_run_until(work.now_ms))
    except CronError as error:
        return _refused(str(error))
    _run(work)
    was_planned = kept.is_active and (cron, time_zone) == (kept.cron, kept.time_zone)
    if not was_planned:
        work.tx.run(
            "UPDATE settlement_schedule SET next_ms = ?, planned_ms = ? WHERE settlement_schedule_id = ?",
            (due_ms, work.now_ms, kept.settlement_schedule_id),
        )
    work.tx.run(
        """UPDATE settlement_schedule
           SET cron = ?, time_zone = ?, settlement_model = ?, is_active = ?, changed_ms = ?, changed_by = ?
           WHERE settlement_schedule_id = ?""",
        (cron, time_zone, model, int(is_active), work.now_ms, command.by, kept.settlement_schedule_id),
    )
    return Outcome(note=f"schedule {command.name} changed")


def remove(work: Work, commands: Sequence[RemoveSchedule]) -> list[Outcome]:
    """Removes schedules. What they have closed and settled stays, and says who did it."""
    return [_remove(work, command) for command in commands]


def _remove(work: Work, command: RemoveSchedule) -> Outcome:
    if not schedules(work.tx, command.name):
        return _not_found(command.name)
    _run(work)
    work.tx.run("DELETE FROM settlement_schedule WHERE name = ?", (command.name,))
    return Outcome(note=f"schedule {command.name} removed")


def _fault_of_model(work: Work, name: str | None) -> str | None:
    """Why windows can't be settled by that model; None where they can, or needn't be."""
    if name is None:
        return None
    model = _model(work, name)
    if model is None:
        return f'"settlementModel" {name[:30]} is not there. See: vuka model list'
    if model.is_immediate:
        return f'"settlementModel" {name[:30]} settles no windows, being immediate: name another'
    return None


def _model(work: Work, name: str) -> SettlementModel | None:
    return next((each for each in work.directory.settlement_models if each.name == name), None)


# --- running ----------------------------------------------------------------------------------------------------


def run(work: Work, commands: Sequence[RunSchedules]) -> list[Outcome]:
    """Runs what is due and plans anew what has to be. The outcome's value lists each `Ran`."""
    ran = _run(work)
    _replan(work, everything=any(command.replans_all for command in commands))
    note = "; ".join(f"{each.name}: {each.outcome}" for each in ran) or "nothing was due"
    return [Outcome(value=tuple(ran), note=note) for _ in commands]


def anything_to_do(tx: Tx, now_ms: int) -> bool:
    """Whether any schedule is due, or was planned by a clock that has been set back since."""
    return bool(
        tx.query(
            "SELECT 1 FROM settlement_schedule WHERE is_active = 1 AND (next_ms <= ? OR planned_ms > ?) LIMIT 1",
            (now_ms, now_ms + CLOCK_TOLERANCE_MS),
        )
    )


def anything_planned(tx: Tx) -> bool:
    """Whether there is any schedule at all that is active."""
    return bool(tx.query("SELECT 1 FROM settlement_schedule WHERE is_active = 1 LIMIT 1"))


def _run(work: Work) -> list[Ran]:
    """Closes the open window, and settles what is to be, if any schedule is due."""
    due = [each for each in _select(work.tx, "is_active = 1 AND next_ms <= ?", (work.now_ms,)) if _take(work, each)]
    if not due:
        return []
    closed = _close(work, _named(due))
    settled: dict[str | None, str] = {None: ""}
    for each in due:
        if each.settlement_model is not None and each.settlement_model not in settled:
            concerned = [one for one in due if one.settlement_model == each.settlement_model]
            settled[each.settlement_model] = " " + _settle(work, each.settlement_model, _named(concerned))
    ran = [
        Ran(each.name, each.next_ms, closed + settled[each.settlement_model] + _last_words(work, each)) for each in due
    ]
    work.tx.run_many(
        "UPDATE settlement_schedule SET last_outcome = ? WHERE name = ?", [(each.outcome, each.name) for each in ran]
    )
    return ran


def _take(work: Work, schedule: Schedule) -> bool:
    """Plans the next run; whether this one is ours: another hub process may have been faster."""
    following = schedule.due_after(work.now_ms)
    touched = work.tx.run(
        """UPDATE settlement_schedule
           SET next_ms = ?, planned_ms = ?, last_ms = ?, last_due_ms = ?, is_active = ?
           WHERE settlement_schedule_id = ? AND is_active = 1 AND next_ms = ?""",
        (
            schedule.next_ms if following is None else following,
            work.now_ms,
            work.now_ms,
            schedule.next_ms,
            int(following is not None),
            schedule.settlement_schedule_id,
            schedule.next_ms,
        ),
    )
    return touched == 1


def _last_words(work: Work, schedule: Schedule) -> str:
    return "" if schedule.due_after(work.now_ms) is not None else " It names no further day and is paused."


def _named(due: Sequence[Schedule]) -> str:
    """Whom the records of what they do name."""
    names = [each.name for each in due]
    return f"schedule{'s' if len(names) > 1 else ''} {_listed(names)}"


def _listed(words: Sequence[object]) -> str:
    """Some words, and how many more there are where they are many."""
    shown = ", ".join(map(str, words[:LISTED_MAX]))
    return shown if len(words) <= LISTED_MAX else f"{shown} and {len(words) - LISTED_MAX} more"


def _close(work: Work, by: str) -> str:
    """Closes the open window; what became of it."""
    window_id = work.directory.open_window_id
    if not window_kinds(work.tx, window_id):
        return f"Window {window_id} was empty and stays open."
    outcome = windows.close_one(work, windows.CloseWindow(window_id=window_id, reason=f"Closed by {by}", by=by))
    if outcome.error is not None:
        return f"Window {window_id} could not be closed: {outcome.error}."
    return f"Window {window_id} closed, {outcome.value} opened."


def _settle(work: Work, name: str, by: str) -> str:
    """Settles all that a model settles of closed windows; what became of it."""
    model = _model(work, name)
    window_ids = settlements.unsettled_windows(work, model) if model is not None else []
    if not window_ids:
        return f"Nothing to settle by {name}."
    now, later = window_ids[:SETTLED_AT_ONCE_MAX], window_ids[SETTLED_AT_ONCE_MAX:]
    command = settlements.CreateSettlement(settlement_model=name, reason=f"Made by {by}", window_ids=tuple(now), by=by)
    outcome = settlements.create_one(work, command)
    if outcome.error is not None:
        return f"Nothing could be settled by {name}: {outcome.error}."
    rest = f" {len(later)} windows are left for the next run." if later else ""
    return f"Settlement {outcome.value} by {name} settles window{'s' if len(now) > 1 else ''} {_listed(now)}.{rest}"


def _replan(work: Work, *, everything: bool) -> None:
    """Works out again when schedules are due that are not: none at a time that has run."""
    for each in _select(work.tx, "is_active = 1"):
        if not everything and each.planned_ms <= work.now_ms + CLOCK_TOLERANCE_MS:
            continue
        following = each.due_after(work.now_ms)
        work.tx.run(
            """UPDATE settlement_schedule SET next_ms = ?, planned_ms = ?
               WHERE settlement_schedule_id = ? AND is_active = 1 AND next_ms = ? AND planned_ms = ?""",
            (
                each.next_ms if following is None else following,
                work.now_ms,
                each.settlement_schedule_id,
                each.next_ms,
                each.planned_ms,
            ),
        )


# --- reading ----------------------------------------------------------------------------------------------------


def schedules(tx: Tx, name: str | None = None) -> list[Schedule]:
    """Every schedule in the order of their names, or the one of that name."""
    return _select(tx, "1 = 1") if name is None else _select(tx, "name = ?", (name,))


def _select(tx: Tx, where: str, parameters: Sequence[Value] = ()) -> list[Schedule]:
    rows = tx.query(f"SELECT {_COLUMNS} FROM settlement_schedule WHERE {where} ORDER BY name", parameters)
    return [
        Schedule(number, name, cron, time_zone, model, bool(is_active), *rest)
        for number, name, cron, time_zone, model, is_active, *rest in rows
    ]


def _refused(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))


def _not_found(name: str) -> Outcome:
    return Outcome(error=schedule_not_found(name))


def schedule_not_found(name: str) -> FspiopError:
    """Nobody knows a schedule of that name."""
    return FspiopError(ErrorCode.ID_NOT_FOUND, f"There is no schedule {name[:30]}. See: vuka schedule list")


USE_CASES: Final = ((add, AddSchedule), (change, ChangeSchedule), (remove, RemoveSchedule), (run, RunSchedules))
"""Each function with the commands that it decides."""
