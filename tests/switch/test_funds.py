"""The rules for funds in and out: what an operator records, what the ledger allows, and what headroom does then."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.switch.scheme_bench import SchemeBench, new_transfer_id

from vuka.ids import HUB, FspId
from vuka.money import AMOUNT_MAX, Amount, Currency
from vuka.switch.directory import HEADROOM, HUB_RECONCILIATION, POSITION
from vuka.switch.funds import CommitFundsOut, FundsState, RecordFundsIn, ReserveFundsOut
from vuka.switch.participants import CreateParticipant, SetAccountActive, SetParticipantActive
from vuka.switch.transfers import State

DFSP = FspId("payerfsp")
DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def participants(hub: SchemeBench) -> None:
    """payerfsp with a cap of 1,000 USD and 500 USD at the bank; payeefsp with neither much nor need of it."""
    hub.onboard(DFSP, "USD", cap="1000", funds="500")
    hub.onboard("payeefsp", "USD", cap="10")


def state_of(value: object) -> State:
    assert isinstance(value, FundsState)
    return value.state


# --- funds in ---------------------------------------------------------------------------------------------------


def test_funds_in_make_liquidity_more_negative_and_reconciliation_more_positive(hub: SchemeBench) -> None:
    hub.accept(hub.funds_in(DFSP, "250.5 USD"))
    assert (hub.liquidity(DFSP, "USD"), hub.value(HUB, "USD", HUB_RECONCILIATION)) == ("-750.5", "750.5")


def test_funds_in_leave_the_position_alone(hub: SchemeBench) -> None:
    hub.pay(DFSP, "payeefsp", "100 USD")
    hub.accept(hub.funds_in(DFSP, "250.5 USD"))
    assert hub.position(DFSP, "USD") == "100"


def test_funds_in_raise_headroom_at_once(hub: SchemeBench) -> None:
    hub.accept(hub.funds_in(DFSP, "250.5 USD"))
    assert hub.available(DFSP, "USD") == "750.5"


def test_funds_in_raise_headroom_no_further_than_the_cap(hub: SchemeBench) -> None:
    hub.accept(hub.funds_in(DFSP, "10000 USD"))
    assert hub.available(DFSP, "USD") == "1000"


def test_funds_in_are_committed_and_told_so(hub: SchemeBench) -> None:
    assert state_of(hub.accept(hub.funds_in(DFSP, "1 USD")).value) is State.COMMITTED


def test_funds_in_are_a_transfer_from_the_participant_to_the_hub(hub: SchemeBench) -> None:
    command = hub.funds_in(DFSP, "1.25 USD")
    hub.accept(command)
    transfer = hub.transfer(command.transfer_id)
    assert (transfer.kind, transfer.payer_fsp, transfer.payee_fsp) == ("FUNDS_IN", DFSP, HUB)
    assert (transfer.amount, transfer.state, transfer.wire_id) == (12_500, State.COMMITTED, command.wire_id)
    assert [change.state for change in transfer.history] == ["RECEIVED_PREPARE", "COMMITTED"]
    assert transfer.settlement_window_id is None


def test_what_the_operator_said_of_it_is_kept(hub: SchemeBench) -> None:
    command = hub.funds_in(DFSP, "1 USD", reason="deposit", external_reference="swift-1", by="ann")
    hub.accept(command)
    movement = hub.transfer(command.transfer_id).funds
    assert movement is not None
    assert (movement.action, movement.reason, movement.external_reference, movement.created_by) == (
        "recordFundsIn",
        "deposit",
        "swift-1",
        "ann",
    )


def test_the_same_funds_in_again_are_accepted_and_nothing_happens_twice(hub: SchemeBench) -> None:
    command = hub.funds_in(DFSP, "100 USD")
    hub.accept(command)
    assert state_of(hub.accept(command).value) is State.COMMITTED
    assert hub.liquidity(DFSP, "USD") == "-600"


def test_the_same_funds_in_twice_in_one_batch_happen_once(hub: SchemeBench) -> None:
    command = hub.funds_in(DFSP, "100 USD")
    first, second = hub.run_many([command, command])
    assert first.value == second.value
    assert hub.liquidity(DFSP, "USD") == "-600"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": Amount.from_string("100.0001 USD")},
        {"reason": "another"},
        {"external_reference": "another"},
        {"extensions": (("key", "value"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_id_used_before_with_other_content_is_refused(hub: SchemeBench, change: dict[str, object]) -> None:
    transfer_id, wire_id = new_transfer_id()
    known = {"transfer_id": transfer_id, "wire_id": wire_id, "external_reference": "one"}
    hub.accept(hub.funds_in(DFSP, "100 USD", **known))
    assert hub.refuse(hub.funds_in(DFSP, "100 USD", **{**known, **change}))[::2] == ("3106", 400)
    assert hub.liquidity(DFSP, "USD") == "-600"


def test_an_id_used_for_funds_in_can_not_be_used_for_funds_out(hub: SchemeBench) -> None:
    entered = hub.funds_in(DFSP, "100 USD")
    hub.accept(entered)
    leaving = hub.funds_out(DFSP, "100 USD", transfer_id=entered.transfer_id, wire_id=entered.wire_id)
    assert hub.refuse(leaving)[0] == "3106"


def test_liquidity_may_exceed_what_one_transfer_can_carry_and_is_kept_to_the_last_unit(hub: SchemeBench) -> None:
    hub.accept(hub.funds_in(DFSP, "1 USD", amount=Amount(Currency("USD"), AMOUNT_MAX)))
    assert hub.liquidity(DFSP, "USD") == "-922337203685977.5807"


def test_nothing_is_no_amount(hub: SchemeBench) -> None:
    assert hub.refuse(hub.funds_in(DFSP, "0 USD"))[0] == "3100"


# --- the account ------------------------------------------------------------------------------------------------


def internal_error(detail: str) -> tuple[str, str, int]:
    return "2001", f"Internal server error - {detail}", 500


MISMATCH = internal_error("The account does not match participant or currency specified")


def test_an_unknown_participant_is_3200(hub: SchemeBench) -> None:
    command = hub.funds_in(DFSP, "1 USD", name=FspId("nobody"))
    assert hub.refuse(command) == ("3200", "Generic ID not found - participant not found", 400)


def test_an_inactive_participant_moves_no_funds(hub: SchemeBench) -> None:
    hub.accept(SetParticipantActive(name=DFSP, is_active=False))
    assert hub.refuse(hub.funds_in(DFSP, "1 USD")) == internal_error("Participant is currently set inactive")


def test_an_unknown_account_is_refused(hub: SchemeBench) -> None:
    assert hub.refuse(hub.funds_in(DFSP, "1 USD", account_id=999)) == MISMATCH


def test_an_account_of_another_participant_is_refused(hub: SchemeBench) -> None:
    command = hub.funds_in("payeefsp", "1 USD", name=DFSP)
    assert hub.refuse(command) == MISMATCH


def test_an_amount_in_another_currency_than_the_accounts_is_refused(hub: SchemeBench) -> None:
    assert hub.refuse(hub.funds_in(DFSP, "1 USD", amount=Amount.from_string("1 EUR"))) == MISMATCH


@pytest.mark.parametrize("account_type", [POSITION, HEADROOM])
def test_funds_move_only_on_settlement_accounts(hub: SchemeBench, account_type: str) -> None:
    command = hub.funds_in(DFSP, "1 USD", account_id=hub.account_id(DFSP, "USD", account_type))
    assert hub.refuse(command) == internal_error("Account is not SETTLEMENT type")


def test_an_account_that_is_not_active_yet_moves_no_funds(hub: SchemeBench) -> None:
    hub.accept(CreateParticipant(name=DFSP, currency=Currency("EUR")))
    assert hub.refuse(hub.funds_in(DFSP, "1 EUR")) == internal_error("Account is currently set inactive")


def test_a_disabled_position_does_not_keep_funds_from_moving(hub: SchemeBench) -> None:
    position = hub.account_id(DFSP, "USD", POSITION)
    hub.accept(SetAccountActive(name=DFSP, account_id=position, is_active=False))
    hub.accept(hub.funds_in(DFSP, "1 USD"))


# --- funds out: reserve -----------------------------------------------------------------------------------------


def test_reserved_funds_leave_liquidity_but_not_yet_the_hub(hub: SchemeBench) -> None:
    """As the reference shows it: the participant's account moves with the reservation, the hub's with the commit."""
    hub.accept(hub.funds_out(DFSP, "200.25 USD"))
    assert (hub.liquidity(DFSP, "USD"), hub.value(HUB, "USD", HUB_RECONCILIATION)) == ("-299.75", "500")


def test_reserved_funds_are_no_longer_headroom(hub: SchemeBench) -> None:
    hub.accept(hub.funds_out(DFSP, "200.25 USD"))
    assert hub.available(DFSP, "USD") == "299.75"


def test_reserved_funds_are_a_transfer_from_the_hub_to_the_participant(hub: SchemeBench) -> None:
    command = hub.funds_out(DFSP, "200 USD")
    assert state_of(hub.accept(command).value) is State.RESERVED
    transfer = hub.transfer(command.transfer_id)
    assert (transfer.kind, transfer.payer_fsp, transfer.payee_fsp) == ("FUNDS_OUT", HUB, DFSP)
    assert [change.state for change in transfer.history] == ["RECEIVED_PREPARE", "RESERVED"]
    assert transfer.expires_ms == hub.now_ms + 5 * DAY_MS


def test_all_of_the_liquidity_may_be_asked_back(hub: SchemeBench) -> None:
    hub.accept(hub.funds_out(DFSP, "500 USD"))
    assert (hub.liquidity(DFSP, "USD"), hub.available(DFSP, "USD")) == ("0", "0")


def test_one_minor_unit_more_than_the_liquidity_is_recorded_as_rejected(hub: SchemeBench) -> None:
    command = hub.funds_out(DFSP, "500.0001 USD")
    value = hub.accept(command).value
    assert value == FundsState(command.wire_id, State.ABORTED_REJECTED, "4001", "Payer FSP insufficient liquidity")
    assert (hub.liquidity(DFSP, "USD"), hub.available(DFSP, "USD")) == ("-500", "500")
    assert [change.state for change in hub.transfer(command.transfer_id).history] == [
        "RECEIVED_PREPARE",
        "ABORTED_REJECTED",
    ]


def test_a_rejected_withdrawal_asked_again_is_told_the_same(hub: SchemeBench) -> None:
    command = hub.funds_out(DFSP, "600 USD")
    first = hub.accept(command).value
    hub.accept(hub.funds_in(DFSP, "600 USD"))
    assert hub.accept(command).value == first


def test_two_withdrawals_in_one_batch_do_not_exceed_the_liquidity_together(hub: SchemeBench) -> None:
    outcomes = hub.run_many([hub.funds_out(DFSP, "300 USD"), hub.funds_out(DFSP, "300 USD")])
    assert [state_of(outcome.value) for outcome in outcomes] == [State.RESERVED, State.ABORTED_REJECTED]
    assert hub.liquidity(DFSP, "USD") == "-200"


def test_withdrawing_what_a_position_uses_leaves_a_shortfall(hub: SchemeBench) -> None:
    hub.pay(DFSP, "payeefsp", "400 USD")
    hub.accept(hub.funds_out(DFSP, "300 USD"))
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("0", "200")
    assert hub.position(DFSP, "USD") == "400"


def test_the_same_reservation_again_is_accepted_and_nothing_happens_twice(hub: SchemeBench) -> None:
    command = hub.funds_out(DFSP, "100 USD")
    hub.accept(command)
    assert state_of(hub.accept(command).value) is State.RESERVED
    assert hub.liquidity(DFSP, "USD") == "-400"


# --- funds out: commit and abort --------------------------------------------------------------------------------


def reserve(hub: SchemeBench, amount: str = "200 USD") -> ReserveFundsOut:
    command = hub.funds_out(DFSP, amount)
    hub.accept(command)
    return command


def test_committed_funds_have_left_the_hub(hub: SchemeBench) -> None:
    hub.accept(hub.commit_out(reserve(hub)))
    assert (hub.liquidity(DFSP, "USD"), hub.value(HUB, "USD", HUB_RECONCILIATION)) == ("-300", "300")
    assert hub.available(DFSP, "USD") == "300"


def test_committed_funds_are_told_so(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    assert state_of(hub.accept(hub.commit_out(reserved)).value) is State.COMMITTED
    transfer = hub.transfer(reserved.transfer_id)
    assert transfer.completed_ms == hub.now_ms
    assert [change.state for change in transfer.history] == [
        "RECEIVED_PREPARE",
        "RESERVED",
        "RECEIVED_FULFIL",
        "COMMITTED",
    ]


def test_aborted_funds_are_liquidity_and_headroom_again(hub: SchemeBench) -> None:
    hub.accept(hub.abort_out(reserve(hub)))
    assert (hub.liquidity(DFSP, "USD"), hub.available(DFSP, "USD")) == ("-500", "500")
    assert hub.value(HUB, "USD", HUB_RECONCILIATION) == "500"


def test_aborted_funds_are_told_so_with_the_operators_reason(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    assert state_of(hub.accept(hub.abort_out(reserved)).value) is State.ABORTED_REJECTED
    last = hub.transfer(reserved.transfer_id).history[-1]
    assert (last.state, last.reason) == ("ABORTED_REJECTED", "not paid")


def test_aborting_pays_the_shortfall_that_the_withdrawal_had_left(hub: SchemeBench) -> None:
    hub.pay(DFSP, "payeefsp", "400 USD")
    reserved = reserve(hub, "300 USD")
    hub.accept(hub.abort_out(reserved))
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("100", "0")


def test_a_commit_told_twice_happens_once(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    hub.accept(hub.commit_out(reserved))
    assert state_of(hub.accept(hub.commit_out(reserved)).value) is State.COMMITTED
    assert hub.liquidity(DFSP, "USD") == "-300"


def test_what_is_committed_can_not_be_aborted(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    hub.accept(hub.commit_out(reserved))
    code, description, status = hub.refuse(hub.abort_out(reserved))
    assert (code, status) == ("3100", 400)
    assert "non-RESERVED transfer state" in description


@pytest.mark.parametrize("amount", ["200 USD", "600 USD"], ids=["aborted", "rejected"])
def test_what_is_aborted_or_rejected_can_not_be_committed(hub: SchemeBench, amount: str) -> None:
    reserved = reserve(hub, amount)
    hub.accept(hub.abort_out(reserved))
    assert hub.refuse(hub.commit_out(reserved))[0] == "3100"
    assert hub.liquidity(DFSP, "USD") == "-500"


def test_commit_and_abort_in_one_batch_are_decided_in_order(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    committed, aborted = hub.run_many([hub.commit_out(reserved), hub.abort_out(reserved)])
    assert state_of(committed.value) is State.COMMITTED
    assert getattr(aborted.error, "code", None) == "3100"


def test_a_withdrawal_that_does_not_exist_can_not_be_committed(hub: SchemeBench) -> None:
    transfer_id, _ = new_transfer_id()
    command = CommitFundsOut(
        name=DFSP, account_id=hub.account_id(DFSP, "USD", "SETTLEMENT"), transfer_id=transfer_id, reason="paid"
    )
    assert hub.refuse(command)[::2] == ("3208", 400)


def test_funds_in_can_not_be_committed_again(hub: SchemeBench) -> None:
    entered: RecordFundsIn = hub.funds_in(DFSP, "1 USD")
    hub.accept(entered)
    command = CommitFundsOut(name=DFSP, account_id=entered.account_id, transfer_id=entered.transfer_id, reason="paid")
    assert hub.refuse(command)[0] == "3208"


def test_another_participant_can_not_commit_a_withdrawal(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    command = CommitFundsOut(
        name=FspId("payeefsp"),
        account_id=hub.account_id("payeefsp", "USD", "SETTLEMENT"),
        transfer_id=reserved.transfer_id,
        reason="paid",
    )
    assert hub.refuse(command)[0] == "3208"


# --- funds out: expiry ------------------------------------------------------------------------------------------


def test_a_reservation_nobody_concludes_expires_and_frees_everything(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    hub.advance(5 * DAY_MS)
    hub.expire()
    assert (hub.liquidity(DFSP, "USD"), hub.available(DFSP, "USD")) == ("-500", "500")
    transfer = hub.transfer(reserved.transfer_id)
    assert (transfer.state, transfer.error_code) == (State.ABORTED_REJECTED, "3303")


def test_a_reservation_holds_until_the_last_millisecond(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    hub.advance(5 * DAY_MS - 1)
    hub.expire()
    assert state_of(hub.accept(hub.commit_out(reserved)).value) is State.COMMITTED


def test_a_commit_after_expiry_is_refused_even_before_the_timer_has_run(hub: SchemeBench) -> None:
    reserved = reserve(hub)
    hub.advance(5 * DAY_MS)
    assert hub.refuse(hub.commit_out(reserved)) == ("3303", "Transfer expired", 400)


def test_expired_withdrawals_of_several_participants_free_the_headroom_of_each(hub: SchemeBench) -> None:
    hub.accept(hub.funds_in("payeefsp", "8 USD"))
    reserve(hub)
    hub.accept(hub.funds_out("payeefsp", "3 USD"))
    hub.advance(5 * DAY_MS)
    hub.expire()
    assert (hub.available(DFSP, "USD"), hub.available("payeefsp", "USD")) == ("500", "8")


def test_an_expired_withdrawal_owes_nobody_a_message(hub: SchemeBench) -> None:
    reserve(hub)
    hub.advance(5 * DAY_MS)
    hub.expire()
    assert hub.take_notices() == []


# --- altogether -------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["in", "out", "commit", "abort", "again", "wait"]), st.integers(1, 3_000_000)),
        max_size=15,
    )
)
def test_liquidity_is_what_came_in_less_what_is_reserved_or_gone(steps: list[tuple[str, int]]) -> None:
    bench = SchemeBench(currencies=["USD"])
    try:
        bench.onboard(DFSP, "USD", cap="50")
        liquidity, reserved, last = 0, {}, None
        for action, minor in steps:
            amount = f"{minor // 10_000}.{minor % 10_000:04d} USD"
            if action == "in":
                last = bench.funds_in(DFSP, amount)
                bench.accept(last)
                liquidity += minor
            elif action == "out":
                last = bench.funds_out(DFSP, amount)
                if state_of(bench.accept(last).value) is State.RESERVED:
                    liquidity -= minor
                    reserved[last.transfer_id] = last
                else:
                    assert minor > liquidity
            elif action == "again" and last is not None:
                bench.accept(last)
            elif action == "wait":
                bench.advance(5 * DAY_MS)
                bench.expire()
                liquidity += sum(each.amount.minor for each in reserved.values())
                reserved.clear()
            elif action in ("commit", "abort") and reserved:
                _, command = reserved.popitem()
                bench.accept(bench.commit_out(command) if action == "commit" else bench.abort_out(command))
                liquidity += command.amount.minor if action == "abort" else 0
            assert Amount.from_string(f"{bench.liquidity(DFSP, 'USD')} USD").minor == -liquidity
            bench.audit()
    finally:
        bench.close()
