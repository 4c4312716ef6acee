"""Schedules: windows close when they are due, once, whatever was missed, changed, or the clock did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import DEFAULT, Settling
from tests.switch.wire import fulfil, prepare

from vuka.cron import next_ms
from vuka.money import Currency
from vuka.switch import schedules as module
from vuka.switch.obligations import window_kinds
from vuka.switch.schedules import (
    CLOCK_TOLERANCE_MS,
    SCHEDULES_MAX,
    AddSchedule,
    ChangeSchedule,
    Ran,
    RemoveSchedule,
    RunSchedules,
    Schedule,
    anything_to_do,
    schedules,
)
from vuka.switch.settlements import FinaliseSettlement
from vuka.switch.windows import CloseWindow

A, B = "alpha", "bravo"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def clock(time_ms: int | None) -> str:
    """A time as ``2026-11-24 18:00``, UTC."""
    assert time_ms is not None
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")


class Scheduling(Settling):
    """A scheme on the bench whose windows close on schedules."""

    def add(self, name: str, cron: str, time_zone: str = "UTC", model: str | None = None, **fields: bool) -> None:
        command = AddSchedule(name=name, cron=cron, time_zone=time_zone, settlement_model=model, by="olga", **fields)
        self.hub.accept(command)

    def tick(self) -> list[Ran]:
        """What the engine does twice a second: nothing, where nothing is due."""
        if not self.hub.read(lambda tx, _ledger, _directory: anything_to_do(tx, self.hub.now_ms)):
            return []
        return self.run()

    def run(self, *, replans_all: bool = False) -> list[Ran]:
        value = self.hub.accept(RunSchedules(replans_all=replans_all)).value
        assert isinstance(value, tuple)
        return list(value)

    def at(self, text: str) -> list[Ran]:
        """Sets the clock, and has the engine look."""
        self.hub.now_ms = ms(text)
        return self.tick()

    def get(self, name: str) -> Schedule:
        (found,) = self.hub.read(lambda tx, _ledger, _directory: schedules(tx, name))
        return found

    def next(self, name: str) -> str:
        return clock(self.get(name).next_ms)

    def outcome(self, name: str) -> str | None:
        return self.get(name).last_outcome

    def closed_by(self) -> list[tuple[int, str]]:
        """Every close there was: the window, and who closed it."""
        return self.hub.read(
            lambda tx, _ledger, _directory: tx.query(
                """SELECT subject_id, created_by FROM settlement_change
                   WHERE subject = 'WINDOW' AND state = 'CLOSED' ORDER BY settlement_change_id"""
            )
        )


@pytest.fixture
def bench() -> Iterator[SchemeBench]:
    hub = SchemeBench()
    hub.now_ms = ms("2026-11-24T12:00:00Z")
    for name in (A, B):
        for currency in ("USD", "EUR"):
            hub.onboard(name, currency, cap="100000", funds="100000")
    yield hub
    hub.close()


@pytest.fixture
def scheme(bench: SchemeBench) -> Iterator[Scheduling]:
    scheduling = Scheduling(bench)
    yield scheduling
    scheduling.check()


@pytest.fixture
def daily(scheme: Scheduling) -> Scheduling:
    """With a schedule each day at 18:00 UTC, and something in the window."""
    scheme.add("daily", "0 18 * * *")
    scheme.pay(A, B, "1 USD")
    return scheme


# --- closing --------------------------------------------------------------------------------------------------------


def test_a_window_closes_when_its_schedule_is_due_and_the_next_opens(daily: Scheduling) -> None:
    assert daily.at("2026-11-24T17:59:59Z") == []
    assert daily.window_state(1) == "OPEN"
    (ran,) = daily.at("2026-11-24T18:00:00Z")
    assert ran == Ran("daily", ms("2026-11-24T18:00:00Z"), "Window 1 closed, 2 opened.")
    assert (daily.window_state(1), daily.window_state(2), daily.open_window) == ("CLOSED", "OPEN", 2)
    kept = daily.get("daily")
    assert (clock(kept.last_ms), clock(kept.last_due_ms)) == ("2026-11-24 18:00", "2026-11-24 18:00")
    assert (kept.last_outcome, daily.next("daily")) == (ran.outcome, "2026-11-25 18:00")


def test_a_due_time_closes_once(daily: Scheduling) -> None:
    daily.at("2026-11-24T18:00:00Z")
    daily.pay(A, B, "1 USD")
    assert daily.at("2026-11-24T18:00:01Z") == []
    assert daily.run() == []
    assert daily.open_window == 2


def test_the_records_say_that_it_was_the_schedule(daily: Scheduling) -> None:
    daily.at("2026-11-24T18:00:00Z")
    assert daily.closed_by() == [(1, "schedule daily")]
    rows = daily.hub.read(
        lambda tx, _ledger, _directory: tx.query(
            "SELECT settlement_window_id, reason FROM settlement_window ORDER BY settlement_window_id"
        )
    )
    assert rows == [(1, "Closed by schedule daily"), (2, "Closed by schedule daily")]


def test_a_payment_committed_after_a_scheduled_close_is_in_the_next_window(daily: Scheduling) -> None:
    request = prepare(daily.hub, "10 USD", payer=A, payee=B, expires_in_ms=DAY)
    daily.hub.accept(request)
    daily.at("2026-11-24T18:00:00Z")
    daily.hub.accept(fulfil(daily.hub, request))
    assert daily.hub.transfer(request.transfer_id).settlement_window_id == 2


def test_an_empty_window_stays_open_and_the_schedule_says_so(scheme: Scheduling) -> None:
    scheme.add("daily", "0 18 * * *")
    (ran,) = scheme.at("2026-11-24T18:00:00Z")
    assert ran.outcome == scheme.outcome("daily") == "Window 1 was empty and stays open."
    assert (scheme.open_window, scheme.closed_by(), scheme.next("daily")) == (1, [], "2026-11-25 18:00")


def test_a_window_that_an_operator_closed_in_the_same_batch_is_not_closed_again(daily: Scheduling) -> None:
    daily.hub.now_ms = ms("2026-11-24T18:00:00Z")
    daily.hub.run_many([CloseWindow(window_id=1, reason="by hand", by="olga"), RunSchedules()])
    assert daily.closed_by() == [(1, "olga")]
    assert daily.outcome("daily") == "Window 2 was empty and stays open."


def test_schedules_due_together_close_one_window(daily: Scheduling) -> None:
    daily.add("at-six", "0 18 * * TUE")
    ran = daily.at("2026-11-24T18:00:00Z")
    assert [(each.name, each.outcome) for each in ran] == [
        ("at-six", "Window 1 closed, 2 opened."),
        ("daily", "Window 1 closed, 2 opened."),
    ]
    assert daily.closed_by() == [(1, "schedules at-six, daily")]
    assert (daily.next("at-six"), daily.next("daily")) == ("2026-12-01 18:00", "2026-11-25 18:00")


def test_several_times_a_day_close_several_windows(scheme: Scheduling) -> None:
    scheme.add("thrice", "0 8,13,18 * * *", "Africa/Kigali")
    closes: list[int] = []
    for hour in range(24):
        scheme.pay(A, B, "1 USD")
        if scheme.at(f"2026-11-25T{hour:02}:00:30Z"):
            closes.append(hour)
    # Kigali is two hours ahead of UTC; at midnight the close of the evening before is made up.
    assert closes == [0, 6, 11, 16]


# --- what was missed ------------------------------------------------------------------------------------------------


def test_what_fell_due_while_the_hub_was_down_runs_once(scheme: Scheduling) -> None:
    scheme.add("hourly", "0 * * * *")
    scheme.pay(A, B, "1 USD")
    (ran,) = scheme.at("2026-11-25T09:30:00Z")
    assert (clock(ran.due_ms), ran.outcome) == ("2026-11-24 13:00", "Window 1 closed, 2 opened.")
    kept = scheme.get("hourly")
    assert (clock(kept.last_ms), clock(kept.last_due_ms)) == ("2026-11-25 09:30", "2026-11-24 13:00")
    assert scheme.next("hourly") == "2026-11-25 10:00"
    assert scheme.at("2026-11-25T09:30:01Z") == []


def test_schedules_missed_at_different_times_close_one_window(daily: Scheduling) -> None:
    daily.add("noon", "0 12 * * *")
    assert [each.name for each in daily.at("2026-11-26T09:00:00Z")] == ["daily", "noon"]
    assert daily.closed_by() == [(1, "schedules daily, noon")]


def test_a_plan_made_by_other_rules_of_the_zone_is_made_anew_at_the_start(daily: Scheduling) -> None:
    with daily.hub.work() as work:
        work.tx.run("UPDATE settlement_schedule SET next_ms = next_ms + ?", (HOUR,))
    assert daily.run(replans_all=True) == []
    assert daily.next("daily") == "2026-11-24 18:00"


# --- settling -------------------------------------------------------------------------------------------------------


@pytest.fixture
def settling(scheme: Scheduling) -> Scheduling:
    """With a schedule that closes at 18:00 and settles by the default model."""
    scheme.add("evening", "0 18 * * *", model=DEFAULT)
    scheme.pay(A, B, "7.5 USD")
    return scheme


def test_a_schedule_with_a_model_settles_the_window_that_it_closes(settling: Scheduling) -> None:
    (ran,) = settling.at("2026-11-24T18:00:00Z")
    assert ran.outcome == f"Window 1 closed, 2 opened. Settlement 1 by {DEFAULT} settles window 1."
    assert (settling.state(1), settling.window_state(1)) == ("PENDING_SETTLEMENT", "PENDING_SETTLEMENT")
    assert settling.nets(1) == {A: "7.5", B: "-7.5"}
    rows = settling.hub.read(
        lambda tx, _ledger, _directory: tx.query("SELECT created_by, reason FROM settlement WHERE settlement_id = 1")
    )
    assert rows == [("schedule evening", "Made by schedule evening")]


def test_a_scheduled_settlement_moves_nothing_before_the_bank_has(settling: Scheduling) -> None:
    settling.at("2026-11-24T18:00:00Z")
    assert (settling.positions(A, B), settling.liquidity(A, B)) == (("7.5", "-7.5"), ("-100000", "-100000"))
    settling.walk(1)
    assert (settling.positions(A, B), settling.window_state(1)) == (("0", "0"), "SETTLED")


def test_it_settles_windows_closed_before_too(settling: Scheduling) -> None:
    settling.add("noon", "0 12 * * *")
    settling.at("2026-11-25T09:00:00Z")
    settling.hub.accept(FinaliseSettlement(settlement_id=1, reason="paid"))
    settling.pay(A, B, "1 USD")
    assert settling.at("2026-11-25T12:00:00Z")[0].outcome == "Window 2 closed, 3 opened."
    settling.pay(B, A, "0.0001 USD")
    (ran,) = settling.at("2026-11-25T18:00:00Z")
    assert ran.outcome == f"Window 3 closed, 4 opened. Settlement 2 by {DEFAULT} settles windows 2, 3."
    assert settling.nets(2) == {A: "0.9999", B: "-0.9999"}


def test_it_settles_windows_closed_before_also_where_the_open_one_is_empty(settling: Scheduling) -> None:
    settling.close()
    (ran,) = settling.at("2026-11-24T18:00:00Z")
    assert ran.outcome == f"Window 2 was empty and stays open. Settlement 1 by {DEFAULT} settles window 1."


def test_it_settles_anew_what_an_aborted_settlement_has_left(settling: Scheduling) -> None:
    settling.at("2026-11-24T18:00:00Z")
    settling.abort(1)
    (ran,) = settling.at("2026-11-25T18:00:00Z")
    assert ran.outcome == f"Window 2 was empty and stays open. Settlement 2 by {DEFAULT} settles window 1."
    assert (settling.state(1), settling.state(2)) == ("ABORTED", "PENDING_SETTLEMENT")


def test_it_leaves_what_another_settlement_has(settling: Scheduling) -> None:
    settling.create(settling.close())
    (ran,) = settling.at("2026-11-24T18:00:00Z")
    assert ran.outcome == f"Window 2 was empty and stays open. Nothing to settle by {DEFAULT}."


def test_it_leaves_what_another_model_settles(settling: Scheduling) -> None:
    settling.add_model("EUROS", "DEFERRED", "NET", "BILATERAL", currency=Currency("EUR"))
    settling.pay(B, A, "3 EUR")
    settling.at("2026-11-24T18:00:00Z")
    assert settling.nets(1) == {A: "7.5", B: "-7.5"}
    assert settling.window_state(1) == "PENDING_SETTLEMENT"
    settling.finalise(1)
    assert settling.window_state(1) == "CLOSED"
    settling.add("euros", "30 18 * * *", model="EUROS")
    (ran,) = settling.at("2026-11-24T18:30:00Z")
    assert ran.outcome == "Window 2 was empty and stays open. Settlement 2 by EUROS settles window 1."


def test_schedules_with_different_models_settle_one_window_each_by_its_own(settling: Scheduling) -> None:
    settling.add_model("EUROS", "DEFERRED", "NET", "BILATERAL", currency=Currency("EUR"))
    settling.add("euros", "0 18 * * *", model="EUROS")
    settling.pay(B, A, "3 EUR")
    assert [each.outcome for each in settling.at("2026-11-24T18:00:00Z")] == [
        "Window 1 closed, 2 opened. Settlement 1 by EUROS settles window 1.",
        f"Window 1 closed, 2 opened. Settlement 2 by {DEFAULT} settles window 1.",
    ]
    assert (settling.nets(1), settling.nets(2)) == ({A: "-3", B: "3"}, {A: "7.5", B: "-7.5"})
    assert settling.closed_by() == [(1, "schedules euros, evening")]


def test_schedules_with_one_model_make_one_settlement(settling: Scheduling) -> None:
    settling.add("again", "0 18 * * *", model=DEFAULT)
    first, second = settling.at("2026-11-24T18:00:00Z")
    assert first.outcome == second.outcome
    assert settling.hub.read(lambda tx, _ledger, _directory: tx.query("SELECT created_by FROM settlement")) == [
        ("schedules again, evening",)
    ]


def test_a_window_of_an_immediate_model_has_nothing_left_to_settle(settling: Scheduling) -> None:
    settling.close()
    settling.finalise(settling.create(1))
    settling.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    settling.pay(A, B, "1 USD")
    (ran,) = settling.at("2026-11-24T18:00:00Z")
    assert ran.outcome == f"Window 2 closed, 3 opened. Nothing to settle by {DEFAULT}."
    assert settling.window_state(2) == "SETTLED"


def test_many_windows_are_counted_where_they_are_listed(settling: Scheduling) -> None:
    for _ in range(6):
        settling.close()
        settling.pay(A, B, "1 USD")
    (ran,) = settling.at("2026-11-24T18:00:00Z")
    assert ran.outcome.endswith(f"Settlement 1 by {DEFAULT} settles windows 1, 2, 3, 4, 5 and 2 more.")


def test_more_windows_than_one_run_settles_are_left_for_the_next(
    settling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_AT_ONCE_MAX", 2)
    for _ in range(2):
        settling.close()
        settling.pay(A, B, "1 USD")
    (ran,) = settling.at("2026-11-24T18:00:00Z")
    assert ran.outcome.endswith("settles windows 1, 2. 1 windows are left for the next run.")
    (ran,) = settling.at("2026-11-25T18:00:00Z")
    assert ran.outcome.endswith(f"Settlement 2 by {DEFAULT} settles window 3.")


# --- paused, changed, removed ----------------------------------------------------------------------------------------


def change(scheme: Scheduling, name: str, **fields: object) -> None:
    scheme.hub.accept(ChangeSchedule(name=name, by="otto", **fields))  # type: ignore[arg-type]


def test_a_paused_schedule_does_not_run(daily: Scheduling) -> None:
    change(daily, "daily", is_active=False)
    assert daily.at("2026-11-25T12:00:00Z") == []
    assert daily.run(replans_all=True) == []
    assert daily.get("daily").next_runs(daily.hub.now_ms) == []


def test_a_resumed_schedule_does_not_make_up_what_it_was_paused_for(daily: Scheduling) -> None:
    change(daily, "daily", is_active=False)
    daily.hub.now_ms = ms("2026-11-26T12:00:00Z")
    change(daily, "daily", is_active=True)
    assert daily.tick() == []
    assert daily.next("daily") == "2026-11-26 18:00"


def test_a_schedule_may_begin_paused(scheme: Scheduling) -> None:
    scheme.add("later", "0 18 * * *", is_active=False)
    scheme.pay(A, B, "1 USD")
    assert scheme.at("2026-11-25T12:00:00Z") == []


def test_a_changed_expression_is_planned_from_now(daily: Scheduling) -> None:
    daily.hub.now_ms = ms("2026-11-24T17:00:00Z")
    change(daily, "daily", cron="0  16   * * *")
    assert (daily.get("daily").cron, daily.next("daily")) == ("0 16 * * *", "2026-11-25 16:00")
    change(daily, "daily", time_zone="Africa/Kigali")
    assert daily.next("daily") == "2026-11-25 14:00"
    kept = daily.get("daily")
    assert (kept.created_by, kept.changed_by, clock(kept.changed_ms)) == ("olga", "otto", "2026-11-24 17:00")


def test_another_model_leaves_the_plan_as_it_is(daily: Scheduling) -> None:
    change(daily, "daily", settlement_model=DEFAULT)
    assert (daily.get("daily").settlement_model, daily.next("daily")) == (DEFAULT, "2026-11-24 18:00")
    change(daily, "daily", settlement_model=None)
    assert daily.get("daily").settlement_model is None


@pytest.mark.parametrize(
    "command",
    [
        ChangeSchedule(name="daily", cron="0 19 * * *"),
        ChangeSchedule(name="daily", is_active=False),
        ChangeSchedule(name="daily", settlement_model=DEFAULT),
        RemoveSchedule(name="daily"),
    ],
    ids=["another time", "paused", "another model", "removed"],
)
def test_what_is_due_runs_before_a_change(daily: Scheduling, command: ChangeSchedule | RemoveSchedule) -> None:
    daily.hub.now_ms = ms("2026-11-24T18:00:00Z")
    daily.hub.accept(command)
    assert daily.closed_by() == [(1, "schedule daily")]
    assert daily.hub.read(lambda tx, _ledger, _directory: tx.query("SELECT 1 FROM settlement")) == []
    assert daily.tick() == []


def test_a_removed_schedule_is_gone(daily: Scheduling) -> None:
    daily.hub.accept(RemoveSchedule(name="daily"))
    assert daily.at("2026-11-25T12:00:00Z") == []
    daily.add("daily", "0 20 * * *")
    assert daily.next("daily") == "2026-11-25 20:00"


# --- the clock --------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_runs_nothing_again(daily: Scheduling) -> None:
    daily.at("2026-11-24T18:00:00Z")
    daily.pay(A, B, "1 USD")
    for text in ("2026-11-24T17:59:59Z", "2026-11-24T17:00:00Z", "2026-11-24T18:00:00Z", "2026-11-25T17:59:59Z"):
        assert daily.at(text) == []
    assert [each.name for each in daily.at("2026-11-25T18:00:00Z")] == ["daily"]


def test_a_clock_that_jumps_ahead_runs_what_it_has_passed_once(scheme: Scheduling) -> None:
    scheme.add("hourly", "0 * * * *")
    scheme.pay(A, B, "1 USD")
    assert len(scheme.at("2026-11-24T16:30:00Z")) == 1
    assert scheme.next("hourly") == "2026-11-24 17:00"


def test_times_that_a_clock_only_seemed_to_have_passed_are_still_to_come(scheme: Scheduling) -> None:
    scheme.add("hourly", "0 * * * *")
    scheme.pay(A, B, "1 USD")
    scheme.at("2026-11-24T16:30:00Z")
    assert scheme.at("2026-11-24T12:00:05Z") == []
    # 13:00 has run, by the wrong clock; 14:00 to 16:00 have not.
    assert scheme.next("hourly") == "2026-11-24 14:00"


def test_a_clock_that_was_a_year_ahead_leaves_no_gap(scheme: Scheduling) -> None:
    scheme.add("hourly", "0 * * * *")
    scheme.pay(A, B, "1 USD")
    scheme.at("2027-11-24T12:30:00Z")
    scheme.at("2027-11-24T13:00:00Z")
    scheme.at("2026-11-24T12:00:10Z")
    assert scheme.next("hourly") == "2026-11-24 13:00"


def test_a_schedule_that_was_added_by_a_clock_that_was_ahead_is_planned_anew(scheme: Scheduling) -> None:
    scheme.hub.now_ms = ms("2027-01-01T00:00:00Z")
    scheme.add("daily", "0 18 * * *")
    assert scheme.at("2026-11-24T12:00:00Z") == []
    assert scheme.next("daily") == "2026-11-24 18:00"


def test_the_day_on_which_the_clocks_change_is_a_day_like_any_other(scheme: Scheduling) -> None:
    """Casablanca has 02:00 to 03:00 twice on 15 February 2026, and not at all on 22 March."""
    scheme.hub.now_ms = ms("2026-02-14T00:00:00Z")
    scheme.add("night", "30 2 * * *", "Africa/Casablanca")
    for month, first, last in ((2, 14, 17), (3, 21, 24)):
        found = [
            clock(scheme.hub.now_ms)
            for day in range(first, last)
            for minute in range(0, 1440, 10)
            if scheme.at(f"2026-{month:02}-{day}T{minute // 60:02}:{minute % 60:02}:00Z")
        ]
        if month == 2:
            assert found == ["2026-02-14 01:30", "2026-02-15 01:30", "2026-02-16 02:30"]
        else:
            # The first makes up what was missed since February.
            assert found == ["2026-03-21 00:00", "2026-03-21 02:30", "2026-03-22 02:00", "2026-03-23 01:30"]


JUMPS = st.one_of(st.integers(500, 30 * MINUTE), st.integers(-20 * HOUR, -1), st.integers(0, 3 * DAY))
"""What a clock may do between two looks of the engine, in milliseconds."""


@settings(deadline=None, max_examples=60)
@given(st.lists(JUMPS, min_size=1, max_size=30), st.sampled_from(["*/20 * * * *", "0 8,12,18 * * *"]))
def test_however_the_clock_jumps_no_time_runs_twice_and_none_that_is_to_come_is_lost(
    jumps: list[int], cron: str
) -> None:
    hub = SchemeBench()
    hub.now_ms = highest_ms = ms("2026-11-24T12:00:00Z")
    for name in (A, B):
        hub.onboard(name, "USD", cap="1000", funds="1000")
    scheme = Scheduling(hub)
    scheme.add("often", cron)
    ran: list[int] = []
    closed = 0
    for place, jump in enumerate(jumps):
        hub.now_ms = max(hub.now_ms + jump, highest_ms - 23 * HOUR)
        highest_ms = max(highest_ms, hub.now_ms)
        if place % 2:
            scheme.pay(A, B, "1 USD")
        holds = hub.read(lambda tx, _ledger, directory: window_kinds(tx, directory.open_window_id))
        found = scheme.tick()
        ran += [each.due_ms for each in found]
        closed += len(found) if holds else 0
        kept = scheme.get("often")
        if kept.planned_ms <= hub.now_ms:
            assert kept.next_ms == next_ms(cron, "UTC", max(hub.now_ms, kept.last_due_ms or 0))
        assert hub.now_ms < kept.next_ms
        assert kept.planned_ms <= hub.now_ms + CLOCK_TOLERANCE_MS
    assert len(set(ran)) == len(ran)
    assert len(scheme.closed_by()) == closed
    scheme.check()
    hub.close()


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"cron": "0 18 * *"}, '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI'),
        ({"cron": "0 25 * * *"}, '"cron" has a bad hour. Write it e.g. as 0 18 * * MON-FRI'),
        ({"cron": "0 0 31 2 *"}, '"cron" has a bad day-of-month. Write it e.g. as 0 18 * * MON-FRI'),
        ({"time_zone": "Kigali"}, "\"timeZone\" 'Kigali' is not in the IANA database. Write it e.g. as Africa/Kigali"),
        ({"settlement_model": "NONE"}, '"settlementModel" NONE is not there. See: vuka model list'),
        (
            {"settlement_model": "INSTANT"},
            '"settlementModel" INSTANT settles no windows, being immediate: name another',
        ),
    ],
)
def test_what_a_schedule_can_not_be_is_said_and_changes_nothing(
    scheme: Scheduling, fields: dict[str, str], text: str
) -> None:
    scheme.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL", currency=Currency("EUR"))
    scheme.add("kept", "0 18 * * *")
    before = scheme.get("kept")
    good = {"cron": "0 18 * * *", "time_zone": "UTC"}
    for command in (AddSchedule(name="bad", **{**good, **fields}), ChangeSchedule(name="kept", **fields)):  # type: ignore[arg-type]
        assert scheme.hub.refuse(command) == ("3100", f"Generic validation error - {text}", 400)
    assert scheme.hub.read(lambda tx, _ledger, _directory: schedules(tx)) == [before]


@pytest.mark.parametrize("name", ["", "-x", "two words", "a/b", "x" * 31, "naïve"])
def test_a_name_that_will_not_do(scheme: Scheduling, name: str) -> None:
    refused = scheme.hub.refuse(AddSchedule(name=name, cron="0 18 * * *", time_zone="UTC"))
    text = '"name" must be 1 to 30 letters, digits, dots, dashes or underscores'
    assert refused == ("3100", f"Generic validation error - {text}", 400)


def test_a_name_stands_for_one_schedule(daily: Scheduling) -> None:
    refused = daily.hub.refuse(AddSchedule(name="daily", cron="0 1 * * *", time_zone="UTC"))
    text = "There is a schedule daily already: change it, or take another name"
    assert refused == ("3000", f"Generic client error - {text}", 400)
    assert daily.next("daily") == "2026-11-24 18:00"


def test_a_schedule_that_is_not_there(scheme: Scheduling) -> None:
    expected = ("3200", "Generic ID not found - There is no schedule lost. See: vuka schedule list", 400)
    assert scheme.hub.refuse(ChangeSchedule(name="lost", is_active=False)) == expected
    assert scheme.hub.refuse(RemoveSchedule(name="lost")) == expected


def test_there_are_no_more_schedules_than_anybody_needs(scheme: Scheduling) -> None:
    for number in range(SCHEDULES_MAX):
        scheme.add(f"number-{number}", "0 18 * * *")
    refused = scheme.hub.refuse(AddSchedule(name="one-more", cron="0 18 * * *", time_zone="UTC"))
    assert refused[1] == f"Generic validation error - There are {SCHEDULES_MAX} schedules already: remove one first"
    scheme.pay(A, B, "1 USD")
    assert len(scheme.at("2026-11-24T18:00:00Z")) == SCHEDULES_MAX
    assert scheme.closed_by() == [(1, "schedules number-0, number-1, number-10, number-11, number-12 and 95 more")]
