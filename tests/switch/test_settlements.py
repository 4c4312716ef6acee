"""Settlement, model by model: a day of payments, the window closed, settled step by step, aborted and done again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import DEFAULT, Settling
from tests.switch.wire import fulfil, prepare

from vuka.config import Scheme
from vuka.ids import FspId
from vuka.money import AMOUNT_MAX, Currency, format_amount
from vuka.switch import settlement_views
from vuka.switch.gross_settlement import SettleGross
from vuka.switch.participants import AdjustLimit
from vuka.switch.settlement_models import SetSettlementModelActive
from vuka.switch.settlements import (
    AbortSettlement,
    AccountUpdate,
    CreateSettlement,
    FinaliseSettlement,
    ParticipantUpdate,
    SettlementUpdated,
    UpdateSettlement,
)
from vuka.switch.windows import CloseWindow
from vuka.switch.work import Command

A, B, C = "alpha", "bravo", "charlie"

RECORDED, RESERVED, COMMITTED, SETTLED = (
    "PS_TRANSFERS_RECORDED",
    "PS_TRANSFERS_RESERVED",
    "PS_TRANSFERS_COMMITTED",
    "SETTLED",
)


@pytest.fixture
def bench() -> Iterator[SchemeBench]:
    hub = SchemeBench(rules=Scheme(on_us_transfers=True))
    for name in (A, B, C):
        hub.onboard(name, "USD", cap="1000", funds="2000")
    yield hub
    hub.close()


@pytest.fixture
def scheme(bench: SchemeBench) -> Iterator[Settling]:
    settling = Settling(bench)
    yield settling
    settling.check()


def pay_round(scheme: Settling) -> None:
    """A owes B 100.0001 and gets 30 back, B owes C 50, C owes A 20: A +50.0001, B −20.0001, C −30."""
    scheme.pay(A, B, "100.0001 USD")
    scheme.pay(B, A, "30 USD")
    scheme.pay(B, C, "50 USD")
    scheme.pay(C, A, "20 USD")


# --- windows ----------------------------------------------------------------------------------------------------


def test_closing_a_window_opens_the_next(scheme: Settling) -> None:
    scheme.pay(A, B, "1 USD")
    first = scheme.close()
    assert (scheme.window_state(first), scheme.window_state(scheme.open_window)) == ("CLOSED", "OPEN")


def test_a_transfer_belongs_to_the_window_open_when_it_is_committed(scheme: Settling) -> None:
    request = prepare(scheme.hub, "10 USD", payer=A, payee=B)
    scheme.hub.accept(request)
    scheme.pay(A, C, "1 USD")
    first = scheme.close()
    scheme.hub.accept(fulfil(scheme.hub, request))
    assert scheme.hub.transfer(request.transfer_id).settlement_window_id == first + 1
    assert scheme.nets(scheme.create(first)) == {A: "1", C: "-1"}


def test_an_empty_window_is_not_closed(scheme: Settling) -> None:
    refused = scheme.hub.refuse(CloseWindow(window_id=scheme.open_window, reason="why not"))
    assert refused[:2] == ("3100", "Generic validation error - Window 1 is empty")


def test_a_closed_window_is_not_closed_again(scheme: Settling) -> None:
    scheme.pay(A, B, "1 USD")
    closed = scheme.close()
    refused = scheme.hub.refuse(CloseWindow(window_id=closed, reason="again"))
    assert refused[:2] == ("3100", f"Generic validation error - Window {closed} is not open")


def test_an_unknown_window_is_not_closed(scheme: Settling) -> None:
    refused = scheme.hub.refuse(CloseWindow(window_id=999, reason="lost"))
    assert refused[:2] == ("3100", "Generic validation error - Window 999 does not exist")


def test_two_closes_of_one_window_in_one_batch_close_it_once(scheme: Settling) -> None:
    scheme.pay(A, B, "1 USD")
    command = CloseWindow(window_id=scheme.open_window, reason="end of day")
    first, second = scheme.hub.run_many([command, command])
    assert (first.value, second.error is None) == (2, False)


def steps(scheme: Settling, command: Command) -> int:
    """How much SQLite has to do for a command, in steps of its virtual machine."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection = scheme.hub.database._writer
    connection.set_progress_handler(count, 1)
    try:
        scheme.hub.accept(command)
    finally:
        connection.set_progress_handler(None, 1)
    return taken


@pytest.mark.store("sqlite")
def test_closing_a_window_costs_by_the_pairs_in_it_and_not_by_its_transfers(scheme: Settling) -> None:
    scheme.pay(A, B, "1 USD")
    scheme.close()
    scheme.pay(A, B, "1 USD")
    of_one = steps(scheme, CloseWindow(window_id=scheme.open_window, reason="one"))
    for _ in range(300):
        scheme.pay(A, B, "0.0001 USD")
    of_many = steps(scheme, CloseWindow(window_id=scheme.open_window, reason="many"))
    assert of_many < of_one * 1.1


# --- deferred net, multilateral ---------------------------------------------------------------------------------


def test_a_settlement_nets_what_each_owes_all_the_others(scheme: Settling) -> None:
    pay_round(scheme)
    assert scheme.nets(scheme.create(scheme.close())) == {A: "50.0001", B: "-20.0001", C: "-30"}


def test_several_windows_settle_together(scheme: Settling) -> None:
    pay_round(scheme)
    first = scheme.close()
    pay_round(scheme)
    assert scheme.nets(scheme.create(first, scheme.close())) == {A: "100.0002", B: "-40.0002", C: "-60"}


def test_a_deferred_net_day(scheme: Settling) -> None:
    pay_round(scheme)
    assert scheme.positions(A, B, C) == ("50.0001", "-20.0001", "-30")
    window = scheme.close()
    settlement = scheme.create(window)
    assert (scheme.state(settlement), scheme.window_state(window)) == ("PENDING_SETTLEMENT", "PENDING_SETTLEMENT")
    scheme.step(settlement, RECORDED)
    assert (scheme.state(settlement), scheme.positions(A, B, C)) == (RECORDED, ("50.0001", "-20.0001", "-30"))
    scheme.step(settlement, RESERVED)
    assert (scheme.state(settlement), scheme.positions(A, B, C)) == (RESERVED, ("50.0001", "0", "0"))
    assert scheme.hub_side() == "-50.0001"
    scheme.step(settlement, COMMITTED)
    assert (scheme.state(settlement), scheme.positions(A, B, C)) == (COMMITTED, ("0", "0", "0"))
    assert scheme.hub_side() == "0"
    scheme.step(settlement, SETTLED)
    assert (scheme.state(settlement), scheme.window_state(window)) == (SETTLED, SETTLED)
    assert scheme.liquidity(A, B, C) == ("-2000", "-2000", "-2000")


def test_what_is_paid_after_the_window_stays_on_the_positions(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.pay(B, A, "7 USD")
    scheme.walk(settlement)
    assert scheme.positions(A, B, C) == ("-7", "7", "0")


def test_a_settlement_moves_on_when_its_last_account_does(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.step(settlement, RECORDED, A, B)
    assert scheme.state(settlement) == "PENDING_SETTLEMENT"
    scheme.step(settlement, RECORDED, C)
    assert scheme.state(settlement) == RECORDED


def test_a_settlement_some_of_whose_accounts_are_settled_is_settling(scheme: Settling) -> None:
    pay_round(scheme)
    window = scheme.close()
    settlement = scheme.create(window)
    for state in (RECORDED, RESERVED, COMMITTED):
        scheme.step(settlement, state)
    scheme.step(settlement, SETTLED, A)
    assert (scheme.state(settlement), scheme.window_state(window)) == ("SETTLING", "PENDING_SETTLEMENT")
    scheme.step(settlement, SETTLED, B, C)
    assert (scheme.state(settlement), scheme.window_state(window)) == (SETTLED, SETTLED)


def test_finalising_resumes_partial_progress(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.step(settlement, RECORDED)
    scheme.step(settlement, RESERVED, B)
    scheme.finalise(settlement)
    assert (scheme.state(settlement), scheme.positions(A, B, C)) == (SETTLED, ("0", "0", "0"))


def test_finalising_again_changes_nothing(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.finalise(settlement)
    scheme.finalise(settlement)
    assert scheme.positions(A, B, C) == ("0", "0", "0")


@pytest.mark.parametrize("end", [FinaliseSettlement, AbortSettlement])
def test_an_end_without_a_reference_keeps_those_that_accounts_have(
    scheme: Settling, end: type[FinaliseSettlement] | type[AbortSettlement]
) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    accounts = {each.account_id: each for each in views_of(scheme, settlement).accounts}
    updates = tuple(
        ParticipantUpdate(
            each.participant_id, (AccountUpdate(each.account_id, RECORDED, "sent", f"bank-{each.account_id}"),)
        )
        for each in accounts.values()
    )
    scheme.hub.accept(UpdateSettlement(settlement_id=settlement, participants=updates))
    scheme.hub.accept(end(settlement_id=settlement, reason="over"))
    found = {each.account_id: each.external_reference for each in views_of(scheme, settlement).accounts}
    assert found == {account_id: f"bank-{account_id}" for account_id in accounts}


def views_of(scheme: Settling, settlement_id: int) -> settlement_views.Settlement:
    found = scheme.hub.read(lambda tx, _ledger, _directory: settlement_views.settlement(tx, settlement_id))
    assert found is not None
    return found


def test_a_model_without_position_reset_leaves_the_positions(bench: SchemeBench) -> None:
    scheme = Settling(bench)
    scheme.add_model("MANUAL", "DEFERRED", "NET", "MULTILATERAL", auto_position_reset=False)
    pay_round(scheme)
    scheme.walk(scheme.create(scheme.close(), model="MANUAL"))
    assert scheme.positions(A, B, C) == ("50.0001", "-20.0001", "-30")


def test_an_on_us_payment_nets_to_nothing(scheme: Settling) -> None:
    scheme.pay(A, A, "5 USD")
    settlement = scheme.create(scheme.close())
    assert scheme.nets(settlement) == {A: "0"}
    scheme.walk(settlement)
    assert scheme.positions(A) == ("0",)


def test_currencies_settle_side_by_side(bench: SchemeBench) -> None:
    for name in (A, B):
        bench.onboard(name, "EUR", cap="100", funds="100")
    scheme = Settling(bench)
    scheme.pay(A, B, "10 USD")
    scheme.pay(B, A, "4 EUR")
    scheme.walk(scheme.create(scheme.close()))
    assert (scheme.positions(A, B), scheme.positions(A, B, currency="EUR")) == (("0", "0"), ("0", "0"))


# --- what settlement takes is never refused -----------------------------------------------------------------------


def spent_again(scheme: Settling) -> int:
    """B gets 900, spends 1,900 of what it has in the next window; the settlement of the first window."""
    scheme.pay(A, B, "900 USD")
    window = scheme.close()
    scheme.pay(B, C, "1900 USD")
    assert scheme.hub.available(B, "USD") == "0"
    return scheme.create(window)


def test_a_recipient_that_has_spent_it_can_send_nothing_until_it_has_liquidity(scheme: Settling) -> None:
    scheme.step(settlement := spent_again(scheme), RECORDED)
    scheme.step(settlement, RESERVED)
    assert (scheme.positions(B), scheme.hub.available(B, "USD")) == (("1900",), "0")


def test_a_cap_that_settlement_exceeds_is_raised_by_what_it_takes(scheme: Settling) -> None:
    scheme.step(settlement := spent_again(scheme), RECORDED)
    scheme.step(settlement, RESERVED)
    position = scheme.hub.directory.participants[B].accounts[Currency("USD"), "POSITION"]
    assert position.net_debit_cap == 1900_0000


def test_a_cap_stays_where_the_model_checks_no_liquidity(bench: SchemeBench) -> None:
    scheme = Settling(bench)
    scheme.add_model("UNCHECKED", "DEFERRED", "NET", "MULTILATERAL", require_liquidity_check=False)
    scheme.pay(A, B, "900 USD")
    window = scheme.close()
    scheme.pay(B, C, "1900 USD")
    settlement = scheme.create(window, model="UNCHECKED")
    scheme.step(settlement, RECORDED)
    scheme.step(settlement, RESERVED)
    position = bench.directory.participants[B].accounts[Currency("USD"), "POSITION"]
    assert (position.net_debit_cap, bench.shortfall(B, "USD")) == (1000_0000, "900")


# --- abort ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(), (RECORDED,), (RECORDED, RESERVED)])
def test_an_aborted_settlement_gives_back_what_was_reserved(scheme: Settling, steps: tuple[str, ...]) -> None:
    pay_round(scheme)
    window = scheme.close()
    settlement = scheme.create(window)
    for state in steps:
        scheme.step(settlement, state)
    scheme.abort(settlement)
    assert (scheme.state(settlement), scheme.window_state(window)) == ("ABORTED", "ABORTED")
    assert (scheme.positions(A, B, C), scheme.hub_side()) == (("50.0001", "-20.0001", "-30"), "0")


def test_a_partly_reserved_settlement_is_aborted_whole(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.step(settlement, RECORDED)
    scheme.step(settlement, RESERVED, C)
    scheme.abort(settlement)
    assert scheme.positions(A, B, C) == ("50.0001", "-20.0001", "-30")


def test_an_aborted_settlements_windows_settle_anew(scheme: Settling) -> None:
    pay_round(scheme)
    window = scheme.close()
    first = scheme.create(window)
    scheme.step(first, RECORDED)
    scheme.step(first, RESERVED)
    scheme.abort(first)
    second = scheme.create(window)
    scheme.walk(second)
    assert (scheme.state(first), scheme.state(second), scheme.window_state(window)) == ("ABORTED", SETTLED, SETTLED)
    assert scheme.positions(A, B, C) == ("0", "0", "0")


def test_a_settlement_with_a_committed_account_is_not_aborted(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.step(settlement, RECORDED)
    scheme.step(settlement, RESERVED)
    scheme.step(settlement, COMMITTED, A)
    code, description, _ = scheme.hub.refuse(AbortSettlement(settlement_id=settlement, reason="too late"))
    assert (code, "At least one settlement transfer is committed" in description) == ("3100", True)
    assert scheme.positions(A, B, C) == ("0", "0", "0")


@pytest.mark.parametrize("steps", [(COMMITTED,), (COMMITTED, SETTLED)])
def test_a_committed_settlement_is_not_aborted(scheme: Settling, steps: tuple[str, ...]) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    for state in (RECORDED, RESERVED, *steps):
        scheme.step(settlement, state)
    code, description, _ = scheme.hub.refuse(AbortSettlement(settlement_id=settlement, reason="too late"))
    assert (code, f"in state '{steps[-1]}'" in description) == ("3100", True)


def test_aborting_again_only_changes_the_reason(scheme: Settling) -> None:
    pay_round(scheme)
    window = scheme.close()
    settlement = scheme.create(window)
    scheme.abort(settlement)
    again = scheme.create(window)
    scheme.abort(settlement)
    assert (scheme.state(again), scheme.window_state(window)) == ("PENDING_SETTLEMENT", "PENDING_SETTLEMENT")


def test_an_aborted_settlement_is_not_finalised(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    scheme.abort(settlement)
    refused = scheme.hub.refuse(FinaliseSettlement(settlement_id=settlement, reason="after all"))
    assert refused[0] == "3100"


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "windows", "text"),
    [
        ("NOSUCH", (1,), "Settlement model not found: NOSUCH"),
        ("INSTANT", (1,), "Settlement can not be created for GROSS or IMMEDIATE models"),
        (DEFAULT, (2,), "Inapplicable windows 2"),
        (DEFAULT, (1, 7, 8), "Inapplicable windows 7, 8"),
    ],
)
def test_a_settlement_that_can_not_be_made(scheme: Settling, model: str, windows: tuple[int, ...], text: str) -> None:
    scheme.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL", currency=Currency("EUR"))
    pay_round(scheme)
    scheme.close()
    refused = scheme.hub.refuse(CreateSettlement(settlement_model=model, reason="settle", window_ids=windows))
    assert refused[:2] == ("3100", f"Generic validation error - {text}")


def test_a_window_is_settled_once(scheme: Settling) -> None:
    pay_round(scheme)
    window = scheme.close()
    scheme.create(window)
    refused = scheme.hub.refuse(CreateSettlement(settlement_model=DEFAULT, reason="twice", window_ids=(window,)))
    assert refused[:2] == ("3100", f"Generic validation error - Inapplicable windows {window}")


def test_a_default_model_does_not_settle_a_currency_with_a_model_of_its_own(scheme: Settling) -> None:
    pay_round(scheme)
    window = scheme.close()
    scheme.add_model("DOLLARS", "DEFERRED", "NET", "MULTILATERAL")
    refused = scheme.hub.refuse(CreateSettlement(settlement_model=DEFAULT, reason="settle", window_ids=(window,)))
    assert refused[1] == f"Generic validation error - Inapplicable windows {window}"
    scheme.walk(scheme.create(window, model="DOLLARS"))
    assert scheme.positions(A, B, C) == ("0", "0", "0")


def account_update(scheme: Settling, settlement: int, name: str, state: str) -> SettlementUpdated:
    participant = scheme.hub.directory.participants[name]
    account = AccountUpdate(scheme.hub.account_id(name, "USD", "POSITION"), state, "why")
    command = UpdateSettlement(
        settlement_id=settlement, participants=(ParticipantUpdate(participant.participant_id, (account,)),)
    )
    value = scheme.hub.accept(command).value
    assert isinstance(value, SettlementUpdated)
    return value


@pytest.mark.parametrize("state", [RESERVED, COMMITTED, SETTLED])
def test_a_state_out_of_order_is_told_within_the_answer(scheme: Settling, state: str) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    (participant,) = account_update(scheme, settlement, A, state).participants
    error = participant.accounts[0].error
    assert error is not None
    assert (error.code, error.description) == ("3000", "Generic client error - State change not allowed")
    assert scheme.state(settlement) == "PENDING_SETTLEMENT"


def test_the_same_state_again_only_changes_the_reason(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    for state in (RECORDED, RESERVED):
        scheme.step(settlement, state)
    updated = account_update(scheme, settlement, B, RESERVED)
    assert (updated.participants[0].accounts[0].reason, updated.window_content_ids) == ("why", ())
    assert scheme.positions(B) == ("0",)


def test_an_account_of_another_participant_is_told_within_the_answer(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    wrong = AccountUpdate(scheme.hub.account_id(A, "USD", "POSITION"), RECORDED, "why")
    lost = replace_account(wrong, 999)
    right = scheme.hub.directory.participants[B].participant_id
    command = UpdateSettlement(settlement_id=settlement, participants=(ParticipantUpdate(right, (wrong, lost, wrong)),))
    value = scheme.hub.accept(command).value
    assert isinstance(value, SettlementUpdated)
    texts = [each.error.description if each.error else None for each in value.participants[0].accounts]
    assert texts == [
        "Generic client error - Participant and account mismatch",
        "Generic client error - Account not found",
        "Generic client error - Participant and account mismatch",
    ]


def replace_account(update: AccountUpdate, account_id: int) -> AccountUpdate:
    return AccountUpdate(account_id, update.state, update.reason)


def test_an_account_twice_is_processed_once(scheme: Settling) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    update = AccountUpdate(scheme.hub.account_id(A, "USD", "POSITION"), RECORDED, "why")
    participant_id = scheme.hub.directory.participants[A].participant_id
    command = UpdateSettlement(
        settlement_id=settlement, participants=(ParticipantUpdate(participant_id, (update, update)),)
    )
    value = scheme.hub.accept(command).value
    assert isinstance(value, SettlementUpdated)
    first, second = value.participants[0].accounts
    assert (first.error, second.error and second.error.description) == (
        None,
        "Generic client error - Account already processed once",
    )


def test_an_unknown_settlement_is_refused(scheme: Settling) -> None:
    refused = scheme.hub.refuse(UpdateSettlement(settlement_id=5, participants=()))
    assert refused[:2] == ("3100", "Generic validation error - Settlement not found")
    for command in (
        AbortSettlement(settlement_id=5, reason="lost"),
        FinaliseSettlement(settlement_id=5, reason="lost"),
    ):
        assert scheme.hub.refuse(command)[1] == "Generic validation error - Settlement with ID '5' not found"


# --- bilateral ----------------------------------------------------------------------------------------------------


def test_a_deferred_bilateral_net_day(scheme: Settling) -> None:
    scheme.add_model("PAIRS", "DEFERRED", "NET", "BILATERAL")
    pay_round(scheme)
    settlement = scheme.create(scheme.close(), model="PAIRS")
    assert scheme.obligations(settlement) == {(A, B): "70.0001", (B, C): "50", (C, A): "20"}
    assert scheme.nets(settlement) == {A: "50.0001", B: "-20.0001", C: "-30"}
    scheme.step(settlement, RECORDED)
    scheme.step(settlement, RESERVED)
    assert scheme.positions(A, B, C) == ("70.0001", "50", "20")
    assert scheme.hub_side() == "-140.0001"
    scheme.step(settlement, COMMITTED)
    scheme.step(settlement, SETTLED)
    assert (scheme.positions(A, B, C), scheme.hub_side()) == (("0", "0", "0"), "0")


def test_a_deferred_gross_day_pays_each_direction_in_full(scheme: Settling) -> None:
    scheme.add_model("FULL", "DEFERRED", "GROSS", "BILATERAL")
    pay_round(scheme)
    settlement = scheme.create(scheme.close(), model="FULL")
    assert scheme.obligations(settlement) == {(A, B): "100.0001", (B, A): "30", (B, C): "50", (C, A): "20"}
    scheme.walk(settlement)
    assert (scheme.positions(A, B, C), scheme.hub_side()) == (("0", "0", "0"), "0")


@pytest.mark.parametrize("granularity", ["NET", "GROSS"])
def test_a_bilateral_settlement_is_aborted_and_done_again(scheme: Settling, granularity: str) -> None:
    scheme.add_model("PAIRS", "DEFERRED", granularity, "BILATERAL")
    pay_round(scheme)
    window = scheme.close()
    first = scheme.create(window, model="PAIRS")
    scheme.step(first, RECORDED)
    scheme.step(first, RESERVED)
    scheme.abort(first)
    assert (scheme.positions(A, B, C), scheme.hub_side()) == (("50.0001", "-20.0001", "-30"), "0")
    scheme.walk(scheme.create(window, model="PAIRS"))
    assert scheme.positions(A, B, C) == ("0", "0", "0")


# --- immediate gross ----------------------------------------------------------------------------------------------


@pytest.fixture
def instant(scheme: Settling) -> Settling:
    scheme.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    return scheme


def test_a_payment_settles_with_its_commit(instant: Settling) -> None:
    instant.pay(A, B, "100.5 USD")
    assert (instant.positions(A, B), instant.liquidity(A, B)) == (("0", "0"), ("-1899.5", "-2100.5"))


def test_a_settled_payment_says_so_in_its_history(instant: Settling) -> None:
    request = prepare(instant.hub, "1 USD", payer=A, payee=B)
    instant.hub.accept(request)
    instant.hub.accept(fulfil(instant.hub, request))
    history = [step.state for step in instant.hub.transfer(request.transfer_id).history]
    assert history == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_FULFIL", "COMMITTED", "SETTLED"]


def test_headroom_follows_liquidity_that_moved(instant: Settling) -> None:
    instant.hub.adjust_cap(A, "USD", "10000")
    instant.pay(A, B, "1500 USD")
    assert instant.hub.available(A, "USD") == "500"
    assert instant.hub.available(B, "USD") == "1000"


def test_an_immediate_window_is_settled_when_it_closes(instant: Settling) -> None:
    instant.pay(A, B, "1 USD")
    assert instant.window_state(instant.close()) == SETTLED


def test_content_waits_for_the_payments_of_its_own_currency_only(instant: Settling) -> None:
    instant.add_model("EUROS", "IMMEDIATE", "GROSS", "BILATERAL", currency=Currency("EUR"))
    for name in (A, B):
        instant.hub.onboard(name, "EUR", cap="100", funds="100")

    def states(window_id: int) -> list[tuple[str, str]]:
        return instant.hub.read(
            lambda tx, _ledger, _directory: tx.query(
                "SELECT currency, state FROM window_content WHERE settlement_window_id = ? ORDER BY currency",
                (window_id,),
            )
        )

    for currency in ("USD", "EUR"):
        unpaid(instant, A, currency)
    first = instant.close()
    assert states(first) == [("EUR", "CLOSED"), ("USD", "CLOSED")]
    instant.hub.accept(instant.hub.funds_in(A, "100 EUR"))
    instant.retry_gross()
    assert (states(first), instant.window_state(first)) == ([("EUR", SETTLED), ("USD", "CLOSED")], "CLOSED")
    instant.pay(A, B, "1 EUR")
    unpaid(instant, C, "USD")
    second = instant.close()
    assert (states(second), instant.window_state(second)) == ([("EUR", SETTLED), ("USD", "CLOSED")], "CLOSED")


def unpaid(scheme: Settling, payer: str, currency: str) -> None:
    """A payment of 10 to B, whose payer takes all of its liquidity out before it is fulfilled."""
    hub = scheme.hub
    request = prepare(hub, f"10 {currency}", payer=payer, payee=B)
    hub.accept(request)
    out = hub.funds_out(payer, f"{scheme.liquidity(payer, currency=currency)[0].removeprefix('-')} {currency}")
    hub.accept(out)
    hub.accept(hub.commit_out(out))
    hub.accept(fulfil(hub, request))


def test_payments_of_one_batch_settle_in_order(instant: Settling) -> None:
    requests = [prepare(instant.hub, "600 USD", payer=payer, payee=payee) for payer, payee in ((A, B), (B, C), (C, A))]
    instant.hub.run_many(requests)
    instant.hub.run_many([fulfil(instant.hub, request) for request in requests])
    assert (instant.positions(A, B, C), instant.liquidity(A, B, C)) == (("0",) * 3, ("-2000",) * 3)


def withdrawn(scheme: Settling) -> None:
    """A has reserved 800 when its operator takes all its liquidity; then the payee fulfils."""
    request = prepare(scheme.hub, "800 USD", payer=A, payee=B)
    scheme.hub.accept(request)
    out = scheme.hub.funds_out(A, "2000 USD")
    scheme.hub.accept(out)
    scheme.hub.accept(scheme.hub.commit_out(out))
    scheme.hub.accept(fulfil(scheme.hub, request))
    assert scheme.hub.transfer(request.transfer_id).state.name == "COMMITTED"


def test_a_payment_whose_payer_has_no_liquidity_left_stays_an_obligation(instant: Settling) -> None:
    withdrawn(instant)
    assert (instant.positions(A, B), instant.liquidity(A, B)) == (("800", "-800"), ("0", "-2000"))
    assert instant.window_state(instant.close()) == "CLOSED"


def test_such_a_payment_settles_when_there_is_liquidity_again(instant: Settling) -> None:
    withdrawn(instant)
    window = instant.close()
    instant.retry_gross()
    instant.hub.accept(instant.hub.funds_in(A, "799.9999 USD"))
    instant.retry_gross()
    assert instant.positions(A, B) == ("800", "-800")
    instant.hub.accept(instant.hub.funds_in(A, "0.0001 USD"))
    instant.retry_gross()
    assert (instant.positions(A, B), instant.liquidity(A, B)) == (("0", "0"), ("0", "-2800"))
    assert instant.window_state(window) == SETTLED


def test_a_payee_that_has_spent_it_meanwhile_settles_all_the_same(instant: Settling) -> None:
    withdrawn(instant)
    instant.pay(B, C, "1800 USD")
    instant.hub.accept(instant.hub.funds_in(A, "5000 USD"))
    instant.retry_gross()
    assert (instant.positions(A, B, C), instant.liquidity(A, B, C)) == (("0",) * 3, ("-4200", "-1000", "-3800"))


@pytest.mark.store("sqlite")
def test_looking_for_what_can_be_settled_late_costs_by_what_is_left_and_not_by_all_transfers(
    instant: Settling,
) -> None:
    withdrawn(instant)
    instant.retry_gross()
    of_few = steps(instant, SettleGross())
    for _ in range(300):
        instant.pay(B, C, "0.0001 USD")
    instant.hub.accept(instant.hub.funds_in(A, "799.9999 USD"))
    assert instant.positions(A, B) == ("800", "-800")
    assert steps(instant, SettleGross()) < of_few * 4


def test_a_change_of_model_holds_from_the_next_commit(scheme: Settling) -> None:
    scheme.pay(A, B, "10 USD")
    scheme.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    scheme.pay(A, B, "5 USD")
    window = scheme.close()
    assert (scheme.positions(A, B), scheme.window_state(window)) == (("10", "-10"), "CLOSED")
    scheme.hub.accept(SetSettlementModelActive(name="INSTANT", is_active=False))
    scheme.walk(scheme.create(window))
    assert (scheme.positions(A, B), scheme.window_state(window)) == (("0", "0"), SETTLED)


# --- models that come later -----------------------------------------------------------------------------------------


def test_positions_are_covered_by_liquidity_whatever_account_their_model_settles_on(scheme: Settling) -> None:
    fields = {"currency": Currency("EUR"), "settlement_account_type": "INTERCHANGE_FEE_SETTLEMENT"}
    scheme.add_model("EUROS", "DEFERRED", "NET", "MULTILATERAL", **fields)
    for name in (A, B):
        scheme.hub.onboard(name, "EUR", cap="100", funds="50")
    scheme.pay(A, B, "10 EUR")
    beyond = prepare(scheme.hub, "40.0001 EUR", payer=A, payee=B)
    scheme.hub.accept(beyond)
    assert scheme.hub.transfer(beyond.transfer_id).error_code == "4001"
    scheme.walk(scheme.create(scheme.close(), model="EUROS"))
    assert scheme.positions(A, B, currency="EUR") == ("0", "0")


def test_what_windows_held_before_an_immediate_model_came_the_default_settles(scheme: Settling) -> None:
    scheme.pay(A, B, "10 USD")
    scheme.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    window = scheme.close()
    scheme.walk(scheme.create(window))
    scheme.pay(A, B, "5 USD")
    assert (scheme.positions(A, B), scheme.window_state(window)) == (("0", "0"), SETTLED)


def test_a_model_that_comes_later_opens_accounts_for_those_that_are_there(scheme: Settling) -> None:
    fees = {"ledger_account_type": "INTERCHANGE_FEE", "settlement_account_type": "INTERCHANGE_FEE_SETTLEMENT"}
    scheme.add_model("FEES", "DEFERRED", "NET", "MULTILATERAL", **fees)
    accounts = scheme.hub.directory.participants[A].accounts
    found = {kind: account.is_active for (_, kind), account in accounts.items() if kind.startswith("INTERCHANGE")}
    assert found == {"INTERCHANGE_FEE": True, "INTERCHANGE_FEE_SETTLEMENT": True}


def test_the_newest_default_is_the_model_in_force(scheme: Settling) -> None:
    scheme.add_model("NEWER", "IMMEDIATE", "GROSS", "BILATERAL", currency=None)
    scheme.pay(A, B, "5 USD")
    assert scheme.positions(A, B) == ("0", "0")


# --- net debit caps as a share of the liquidity ---------------------------------------------------------------------


def share(bench: SchemeBench, name: str, hundredths: int) -> None:
    """Sets a net debit cap to a share of the liquidity, in hundredths of a percent."""
    bench.accept(AdjustLimit(name=FspId(name), currency=Currency("USD"), liquidity_share=hundredths))


def test_a_cap_that_is_a_share_follows_every_movement_of_funds(scheme: Settling) -> None:
    share(scheme.hub, A, 25_50)
    assert scheme.hub.available(A, "USD") == "510"
    scheme.hub.accept(scheme.hub.funds_in(A, "100 USD"))
    assert scheme.hub.available(A, "USD") == "535.5"
    scheme.hub.accept(scheme.hub.funds_out(A, "1100 USD"))
    assert scheme.hub.available(A, "USD") == "255"


def test_a_share_is_rounded_down(scheme: Settling) -> None:
    scheme.hub.accept(scheme.hub.funds_in(A, "0.0001 USD"))
    share(scheme.hub, A, 33_33)
    assert scheme.hub.available(A, "USD") == "666.6"


def test_a_payment_beyond_a_share_is_refused_as_beyond_a_cap(scheme: Settling) -> None:
    share(scheme.hub, A, 1_00)
    request = prepare(scheme.hub, "20.0001 USD", payer=A, payee=B)
    scheme.hub.accept(request)
    assert scheme.hub.transfer(request.transfer_id).error_code == "4200"


def test_settlement_raises_no_cap_that_is_a_share(scheme: Settling) -> None:
    settlement = spent_again(scheme)
    share(scheme.hub, B, 10_00)
    scheme.walk(settlement)
    position = scheme.hub.directory.participants[B].accounts["USD", "POSITION"]
    assert (position.liquidity_share, scheme.hub.available(B, "USD")) == (10_00, "0")


def test_a_share_of_more_than_one_movement_can_hold_is_taken_back_whole(bench: SchemeBench) -> None:
    for _ in range(3):
        bench.accept(bench.funds_in(A, f"{format_amount(AMOUNT_MAX)} USD"))
    share(bench, A, 10_000)
    share(bench, A, 0)
    request = prepare(bench, "0.0001 USD", payer=A, payee=B)
    bench.accept(request)
    assert bench.transfer(request.transfer_id).error_code == "4200"
    bench.audit()


@pytest.mark.parametrize("hundredths", [-1, 100_01])
def test_a_share_is_between_nothing_and_everything(scheme: Settling, hundredths: int) -> None:
    command = AdjustLimit(name=FspId(A), currency=Currency("USD"), liquidity_share=hundredths)
    refused = scheme.hub.refuse(command)
    assert refused[:2] == ("3100", "Generic validation error - limit.liquidityPercentage must be between 0 and 100")
