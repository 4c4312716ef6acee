"""What people are told: limits that change, positions that settlement moves, and alarms, to the minor unit."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling

from vuka.config import Notifications
from vuka.ids import FspId
from vuka.money import Currency, parse_decimal
from vuka.plugins import ADJUSTMENT, POSITION_CHANGE, THRESHOLD_BREACH
from vuka.switch.alarms import (
    MINUTE_MS,
    AlarmRules,
    AlarmView,
    CheckAlarms,
    Told,
    alarms,
    anything_to_tell,
    counts,
    limited_positions,
)
from vuka.switch.cap_use import CapUse
from vuka.switch.participants import AdjustLimit, CreateParticipant, SetInitialPositionAndLimits, adjust_limit

A, B = "alpha", "bravo"

RULES = AlarmRules()
"""Hysteresis 5 %, 3 reminders, 15 minutes apart, in 24 hours."""


@pytest.fixture
def scheme(hub: SchemeBench) -> SchemeBench:
    """Two participants with a cap of 1000 and funds enough; what was told of that is forgotten."""
    for name in (A, B):
        hub.onboard(name, "USD", cap="1000", funds="5000")
    forget(hub)
    return hub


def told(hub: SchemeBench) -> list[tuple[str, str, str, dict[str, str]]]:
    """Every notification: kind, participant, currency and figures, in order."""
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query(
            "SELECT kind, participant, currency, data FROM notification ORDER BY notification_id"
        )
    )
    return [(kind, participant, currency, json.loads(data)) for kind, participant, currency, data in rows]


def forget(hub: SchemeBench) -> None:
    with hub.work() as work:
        work.tx.run("DELETE FROM notification")


def limit(hub: SchemeBench, name: str, cap: str, alarm: int, *, share: int | None = None) -> None:
    """Another cap, or share of the liquidity, and alarm percentage."""
    hub.accept(
        AdjustLimit(
            name=FspId(name),
            currency=Currency("USD"),
            value=parse_decimal(cap),
            liquidity_share=share,
            alarm_percentage=alarm,
        )
    )
    forget(hub)


def look(hub: SchemeBench, rules: AlarmRules = RULES) -> list[str]:
    """What the timer does; what was told of whom."""
    account_ids = hub.read(
        lambda tx, ledger, directory: anything_to_tell(tx, ledger, limited_positions(directory), rules, hub.now_ms)
    )
    if not account_ids:
        return []
    value = hub.accept(CheckAlarms(account_ids=account_ids, rules=rules)).value
    assert isinstance(value, list)
    assert all(isinstance(each, Told) for each in value)
    return [f"{each.participant} {each.event}" for each in value]


def standing(hub: SchemeBench, rules: AlarmRules = RULES) -> list[AlarmView]:
    return hub.read(lambda tx, ledger, directory: alarms(tx, ledger, directory, rules))


# --- adjustments ------------------------------------------------------------------------------------------------------


def test_the_first_limits_are_told_with_the_position(hub: SchemeBench) -> None:
    hub.accept(CreateParticipant(name=FspId(A), currency=Currency("USD")))
    assert told(hub) == []
    hub.accept(SetInitialPositionAndLimits(name=FspId(A), currency=Currency("USD"), value=parse_decimal("1000.5")))
    data = {
        "cause": "INITIAL",
        "limit": "1000.5",
        "position": "0",
        "available": "0",
        "percentageUsed": "0.00",
        "alarmPercentage": "10",
    }
    assert told(hub) == [(ADJUSTMENT, A, "USD", data)]


def test_an_adjusted_cap_is_told_with_the_one_before_and_the_use_of_it(scheme: SchemeBench) -> None:
    scheme.pay(A, B, "333.3333 USD")
    scheme.accept(AdjustLimit(name=FspId(A), currency=Currency("USD"), value=parse_decimal("700"), alarm_percentage=90))
    data = {
        "cause": "ADJUSTED",
        "formerLimit": "1000",
        "limit": "700",
        "position": "333.3333",
        "available": "366.6667",
        "percentageUsed": "47.61",
        "alarmPercentage": "90",
    }
    assert told(scheme) == [(ADJUSTMENT, A, "USD", data)]


def test_a_cap_that_becomes_a_share_is_told_as_what_it_comes_to(scheme: SchemeBench) -> None:
    change = AdjustLimit(name=FspId(A), currency=Currency("USD"), liquidity_share=1250, alarm_percentage=10)
    scheme.accept(change)
    ((_, _, _, data),) = told(scheme)
    assert (data["limit"], data["liquidityPercentage"], data["formerLimit"]) == ("625", "12.5", "1000")
    scheme.adjust_cap(A, "USD", "40")
    assert told(scheme)[-1][3]["formerLiquidityPercentage"] == "12.5"


def test_a_cap_that_is_a_share_and_follows_the_funds_is_no_adjustment(scheme: SchemeBench) -> None:
    limit(scheme, A, "0", 10, share=5000)
    scheme.accept(scheme.funds_in(A, "100 USD"))
    assert told(scheme) == []


def test_a_refused_adjustment_tells_nobody(scheme: SchemeBench) -> None:
    scheme.refuse(AdjustLimit(name=FspId(A), currency=Currency("USD"), value=-1))
    scheme.refuse(AdjustLimit(name=FspId(A), currency=Currency("USD"), value=1, alarm_percentage=101))
    assert told(scheme) == []


def test_what_is_undone_was_never_told(scheme: SchemeBench) -> None:
    command = AdjustLimit(name=FspId(A), currency=Currency("USD"), value=parse_decimal("1"))

    def undone() -> None:
        with scheme.work() as work:
            adjust_limit(work, [command])
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        undone()
    assert told(scheme) == []
    scheme.accept(command)
    assert len(told(scheme)) == 1


# --- settlement -------------------------------------------------------------------------------------------------------


def test_settlement_tells_of_the_positions_it_moves_and_of_the_cap_it_raises(scheme: SchemeBench) -> None:
    settling = Settling(scheme)
    settling.pay(A, B, "900 USD")
    settling.pay(B, A, "200 USD")
    scheme.pay(B, A, "700 USD")  # outside of any window: B owes 0 again, so that what it is paid exceeds its cap
    scheme.adjust_cap(B, "USD", "500")
    forget(scheme)
    settling.finalise(settling.create(settling.close()))
    kinds = [(kind, name, data["position"], data["limit"]) for kind, name, _, data in told(scheme)]
    assert kinds == [
        # What B is due is 700: taken from a position of 0 it is beyond the cap of 500, which is raised by it.
        (ADJUSTMENT, B, "0", "1200"),
        (POSITION_CHANGE, B, "700", "1200"),
        (POSITION_CHANGE, A, "-700", "1000"),
    ]
    adjusted = told(scheme)[0][3]
    assert (adjusted["cause"], adjusted["formerLimit"], adjusted["percentageUsed"]) == ("SETTLEMENT", "500", "0.00")
    assert {data["settlementId"] for kind, _, _, data in told(scheme) if kind == POSITION_CHANGE} == {"1"}
    scheme.audit()


def test_an_aborted_settlement_tells_that_positions_are_given_back(scheme: SchemeBench) -> None:
    settling = Settling(scheme)
    settling.pay(A, B, "100 USD")
    settlement = settling.create(settling.close())
    settling.step(settlement, "PS_TRANSFERS_RECORDED")
    settling.step(settlement, "PS_TRANSFERS_RESERVED")
    settling.abort(settlement)
    assert [(kind, name, data["position"]) for kind, name, _, data in told(scheme)] == [
        (POSITION_CHANGE, B, "0"),
        (POSITION_CHANGE, B, "-100"),
    ]


# --- thresholds, to the minor unit ------------------------------------------------------------------------------------


@given(st.integers(-(10**6), 10**22), st.integers(0, 10**22), st.integers(0, 100))
def test_a_threshold_is_reached_exactly(position: int, cap: int, percent: int) -> None:
    use = CapUse(position, cap, 0)
    share = Fraction(max(0, position), cap) if cap else Fraction(1) if position > 0 else Fraction(0)
    assert use.reaches(percent) == (position > 0 and share >= Fraction(percent, 100))
    if cap:
        assert use.used_hundredths == int(share * 10_000)


@pytest.mark.parametrize(
    ("cap", "alarm", "below", "step"),
    [("1000", 80, "799.9999", "0.0001"), ("1.0001", 80, "0.8", "0.0001"), ("0.0003", 34, "0.0001", "0.0001")],
)
def test_an_alarm_is_raised_at_its_threshold_and_not_a_minor_unit_before(
    scheme: SchemeBench, cap: str, alarm: int, below: str, step: str
) -> None:
    limit(scheme, A, cap, alarm)
    assert scheme.pay(A, B, f"{below} USD")
    assert look(scheme) == []
    assert scheme.pay(A, B, f"{step} USD")
    assert look(scheme) == ["alpha RAISED"]


def test_an_alarm_tells_how_far_the_cap_is_used_and_what_is_left(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "812.3456 USD")
    look(scheme)
    data = {
        "event": "RAISED",
        "threshold": "80",
        "limit": "1000",
        "position": "812.3456",
        "available": "187.6544",
        "percentageUsed": "81.23",
        "alarmPercentage": "80",
    }
    assert told(scheme) == [(THRESHOLD_BREACH, A, "USD", data)]
    (alarm,) = standing(scheme)
    assert (alarm.participant, alarm.threshold, alarm.raised_ms, alarm.repeats) == (A, 80, scheme.now_ms, 0)
    assert alarm.figures["percentageUsed"] == "81.23"
    assert scheme.read(lambda tx, _ledger, _directory: counts(tx)) == {A: 1}


def test_a_reservation_counts_as_used_and_what_is_received_does_not(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 80)
    limit(scheme, B, "1000", 1)
    assert scheme.reserve(A, B, "800 USD") is not None
    assert look(scheme) == ["alpha RAISED"]
    scheme.pay(A, B, "100 USD")
    assert (scheme.position(B, "USD"), look(scheme)) == ("-100", [])


def test_a_threshold_of_100_is_reached_when_all_is_used(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 100)
    scheme.pay(A, B, "999.9999 USD")
    assert look(scheme) == []
    scheme.pay(A, B, "0.0001 USD")
    assert look(scheme) == ["alpha RAISED"]


def test_a_threshold_of_0_is_none(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 0)
    scheme.pay(A, B, "1000 USD")
    assert look(scheme) == []


def test_a_cap_of_0_raises_no_alarm_unless_something_is_used(scheme: SchemeBench) -> None:
    limit(scheme, A, "0", 1)
    assert look(scheme) == []
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "0.0001 USD")
    assert look(scheme) == []
    limit(scheme, A, "0", 100)
    assert look(scheme) == ["alpha RAISED"]
    assert "percentageUsed" not in told(scheme)[0][3], "of nothing there is no percentage"


def test_a_cap_may_be_as_large_as_the_hub_can_hold(scheme: SchemeBench) -> None:
    limit(scheme, A, "922337203685477.5807", 1)
    scheme.pay(A, B, "5000 USD")
    assert look(scheme) == []


def test_lowering_a_cap_raises_an_alarm_and_raising_it_ends_it(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "700 USD")
    assert look(scheme) == []
    limit(scheme, A, "875", 80)
    assert look(scheme) == ["alpha RAISED"]
    limit(scheme, A, "1000", 80)
    assert look(scheme) == ["alpha CLEARED"]


def test_a_cap_that_is_a_share_is_measured_as_the_funds_have_it(scheme: SchemeBench) -> None:
    limit(scheme, A, "0", 80, share=2000)
    scheme.pay(A, B, "799.9999 USD")
    assert look(scheme) == []
    out = scheme.funds_out(A, "0.0005 USD")
    scheme.accept(out)
    # 20 % of 4999.9995 is 999.9999: 80 % of it is 799.99992, a minor unit more than is used.
    assert look(scheme) == []
    scheme.accept(scheme.funds_out(A, "0.0005 USD"))
    assert look(scheme) == ["alpha RAISED"]
    assert told(scheme)[-1][3] | {"event": ""} == {
        "event": "",
        "threshold": "80",
        "limit": "999.9998",
        "position": "799.9999",
        "available": "199.9999",
        "percentageUsed": "80.00",
        "alarmPercentage": "80",
        "liquidityPercentage": "20",
    }
    scheme.accept(scheme.funds_in(A, "1000 USD"))
    assert look(scheme) == ["alpha CLEARED"]


def test_a_hub_may_count_what_is_left(scheme: SchemeBench) -> None:
    left = AlarmRules(counts_left=True)
    limit(scheme, A, "1000", 10)
    scheme.pay(A, B, "899.9999 USD")
    assert (look(scheme, left), look(scheme)) == ([], ["alpha RAISED"])
    with scheme.work() as work:
        work.tx.run("DELETE FROM alarm")
    scheme.pay(A, B, "0.0001 USD")
    assert look(scheme, left) == ["alpha RAISED"]
    assert (told(scheme)[-1][3]["threshold"], told(scheme)[-1][3]["alarmPercentage"]) == ("90", "10")
    limit(scheme, B, "1000", 0)
    scheme.pay(A, B, "100 USD")
    scheme.pay(B, A, "2000 USD")
    assert "bravo RAISED" in look(scheme, left), "0 left is all used"
    limit(scheme, B, "1000", 100)
    assert look(scheme, left) == ["bravo CLEARED"], "100 left is a threshold of 0"


def test_currencies_have_alarms_of_their_own(scheme: SchemeBench) -> None:
    for name in (A, B):
        scheme.onboard(name, "EUR", cap="100", funds="100")
    scheme.pay(A, B, "50 EUR")
    look(scheme)
    assert [(alarm.participant, alarm.currency) for alarm in standing(scheme)] == [(A, "EUR")]
    found = scheme.read(lambda tx, ledger, directory: alarms(tx, ledger, directory, RULES, participant=B))
    assert found == []


# --- once, again, and over --------------------------------------------------------------------------------------------


@pytest.fixture
def alarmed(scheme: SchemeBench) -> SchemeBench:
    """Alpha has an alarm since this moment, at 80 % of 1000."""
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "800 USD")
    assert look(scheme) == ["alpha RAISED"]
    return scheme


def wait(hub: SchemeBench, minutes: int) -> None:
    hub.advance(minutes * MINUTE_MS)


def test_a_standing_alarm_is_raised_once(alarmed: SchemeBench) -> None:
    alarmed.pay(A, B, "100 USD")
    alarmed.advance(15 * MINUTE_MS - 1)
    assert look(alarmed) == []
    assert len(told(alarmed)) == 1


def test_reminders_keep_their_distance_and_stop_at_the_most_in_a_period(alarmed: SchemeBench) -> None:
    for number in (1, 2, 3):
        wait(alarmed, 15)
        assert look(alarmed) == ["alpha REPEATED"]
        assert look(alarmed) == []
        data = told(alarmed)[-1][3]
        assert (data["event"], data["repeat"], data["repeatsMax"]) == ("REPEATED", str(number), "3")
    for _ in range(20):
        wait(alarmed, 15)
        assert look(alarmed) == []
    assert standing(alarmed)[0].repeats == 3


def test_a_new_reset_period_counts_reminders_anew(alarmed: SchemeBench) -> None:
    for _ in range(3):
        wait(alarmed, 15)
        look(alarmed)
    alarmed.advance((24 * 60 - 45) * MINUTE_MS - 1)
    assert look(alarmed) == []
    alarmed.advance(1)
    assert look(alarmed) == ["alpha REPEATED"]
    assert told(alarmed)[-1][3]["repeat"] == "1"
    for expected in (["alpha REPEATED"], ["alpha REPEATED"], []):
        wait(alarmed, 15)
        assert look(alarmed) == expected


def test_a_period_that_passed_unseen_is_not_made_up_for(alarmed: SchemeBench) -> None:
    wait(alarmed, 10 * 24 * 60)
    assert [look(alarmed), look(alarmed)] == [["alpha REPEATED"], []]


def test_without_reminders_an_alarm_is_told_once(scheme: SchemeBench) -> None:
    silent = AlarmRules(repeats_max=0)
    scheme.pay(A, B, "800 USD")
    assert look(scheme, silent) == ["alpha RAISED"]
    wait(scheme, 3 * 24 * 60)
    assert look(scheme, silent) == []


def test_an_alarm_stands_until_use_has_fallen_below_the_hysteresis(alarmed: SchemeBench) -> None:
    alarmed.pay(B, A, "50 USD")
    assert (alarmed.position(A, "USD"), look(alarmed)) == ("750", []), "75 % is not yet below"
    alarmed.pay(B, A, "0.0001 USD")
    assert look(alarmed) == ["alpha CLEARED"]
    assert told(alarmed)[-1][3]["event"] == "CLEARED"
    assert standing(alarmed) == []


def test_a_position_that_swings_about_the_threshold_raises_one_alarm(alarmed: SchemeBench) -> None:
    for _ in range(5):
        alarmed.pay(B, A, "40 USD")
        assert look(alarmed) == []
        alarmed.pay(A, B, "40 USD")
        assert look(alarmed) == []


def test_an_alarm_that_is_over_may_be_raised_again(alarmed: SchemeBench) -> None:
    alarmed.pay(B, A, "100 USD")
    assert look(alarmed) == ["alpha CLEARED"]
    alarmed.pay(A, B, "99.9999 USD")
    assert look(alarmed) == []
    alarmed.pay(A, B, "0.0001 USD")
    assert look(alarmed) == ["alpha RAISED"]
    assert standing(alarmed)[0].repeats == 0


def test_without_hysteresis_an_alarm_ends_below_its_threshold(scheme: SchemeBench) -> None:
    exact = AlarmRules(hysteresis_percent=0)
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "800 USD")
    assert look(scheme, exact) == ["alpha RAISED"]
    scheme.pay(B, A, "0.0001 USD")
    assert look(scheme, exact) == ["alpha CLEARED"]


def test_a_hysteresis_below_nothing_ends_an_alarm_with_the_last_minor_unit_used(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 3)
    scheme.pay(A, B, "30 USD")
    assert look(scheme) == ["alpha RAISED"]
    scheme.pay(B, A, "29.9999 USD")
    assert look(scheme) == []
    scheme.pay(B, A, "0.0001 USD")
    assert look(scheme) == ["alpha CLEARED"]


def test_an_alarm_that_is_switched_off_is_over(alarmed: SchemeBench) -> None:
    limit(alarmed, A, "1000", 0)
    assert look(alarmed) == ["alpha CLEARED"]


def test_what_is_over_before_the_command_runs_is_not_told(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "800 USD")
    account_id = scheme.account_id(A, "USD", "POSITION")
    scheme.pay(B, A, "0.0001 USD")
    assert scheme.accept(CheckAlarms(account_ids=(account_id,), rules=RULES)).value == []
    assert told(scheme) == []


def test_two_looks_at_once_raise_one_alarm(scheme: SchemeBench) -> None:
    limit(scheme, A, "1000", 80)
    scheme.pay(A, B, "800 USD")
    command = CheckAlarms(account_ids=(scheme.account_id(A, "USD", "POSITION"),), rules=RULES)
    values = [outcome.value for outcome in scheme.run_many([command, command])]
    assert [len(value) for value in values if isinstance(value, list)] == [1, 0]
    assert len(told(scheme)) == 1


def test_looking_writes_nothing(scheme: SchemeBench) -> None:
    scheme.pay(A, B, "800 USD")
    scheme.read(
        lambda tx, ledger, directory: anything_to_tell(tx, ledger, limited_positions(directory), RULES, scheme.now_ms)
    )
    assert (told(scheme), standing(scheme)) == ([], [])


def test_the_rules_are_those_of_the_configuration() -> None:
    configured = Notifications(
        alarm_counts="left",
        alarm_hysteresis_percent=1,
        alarm_repeats_max=2,
        alarm_repeat_minutes=3,
        alarm_reset_minutes=60,
    )
    assert AlarmRules.of(configured) == AlarmRules(True, 1, 2, 180_000, 3_600_000)
    assert AlarmRules.of(Notifications()) == RULES
