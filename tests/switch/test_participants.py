"""The rules for participants, their accounts, limits and endpoints, and for founding the scheme they join."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.switch.scheme_bench import SchemeBench

from vuka.errors import OperatorError
from vuka.ids import HUB, FspId
from vuka.money import AMOUNT_MAX, Currency
from vuka.switch import accounts, scheme
from vuka.switch.directory import (
    HEADROOM,
    HUB_MULTILATERAL_SETTLEMENT,
    HUB_ON_US,
    HUB_RECONCILIATION,
    POSITION,
    SETTLEMENT,
)
from vuka.switch.participants import (
    AdjustLimit,
    CreateHubAccount,
    CreateParticipant,
    Endpoint,
    SetAccountActive,
    SetEndpoints,
    SetInitialPositionAndLimits,
    SetParticipantActive,
    SetParticipantVersion,
    shortened,
)

USD = Currency("USD")
EUR = Currency("EUR")
KES = Currency("KES")
DFSP = FspId("payerfsp")

NOT_FOUND = ("3200", "Generic ID not found - participant not found", 400)


def create(name: str = DFSP, currency: str = USD, *, is_proxy: bool = False) -> CreateParticipant:
    return CreateParticipant(name=FspId(name), currency=Currency(currency), is_proxy=is_proxy)


def initial(value: int = 10_000, *, name: str = DFSP, currency: str = USD, position: int = 0) -> object:
    return SetInitialPositionAndLimits(
        name=FspId(name), currency=Currency(currency), value=value, initial_position=position
    )


# --- founding ---------------------------------------------------------------------------------------------------


def test_a_founded_scheme_has_the_hub_as_participant_number_one(hub: SchemeBench) -> None:
    assert hub.directory.participants[HUB].participant_id == 1
    assert list(hub.directory.participants) == [HUB]


def test_a_founded_scheme_has_the_hubs_accounts_in_its_currencies_active(hub: SchemeBench) -> None:
    owned = hub.directory.participants[HUB].accounts
    types = (HUB_RECONCILIATION, HUB_MULTILATERAL_SETTLEMENT, HUB_ON_US)
    assert set(owned) == {(currency, kind) for currency in (USD, EUR) for kind in types}
    assert all(account.is_active for account in owned.values())


def test_a_founded_scheme_settles_deferred_net_multilateral_by_default(hub: SchemeBench) -> None:
    (model,) = hub.read(lambda tx, _ledger, _directory: accounts.settlement_models(tx))
    assert (model.name, model.delay, model.granularity, model.interchange) == (
        "DEFAULTDEFERREDNET",
        "DEFERRED",
        "NET",
        "MULTILATERAL",
    )
    assert (model.currency, model.ledger_account_type, model.settlement_account_type) == (None, POSITION, SETTLEMENT)
    assert model.require_liquidity_check
    assert model.auto_position_reset


def test_a_founded_scheme_has_one_open_settlement_window(hub: SchemeBench) -> None:
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query("SELECT settlement_window_id, state FROM settlement_window")
    )
    assert rows == [(hub.directory.open_window_id, "OPEN")]


def test_a_scheme_is_not_founded_twice(hub: SchemeBench) -> None:
    with pytest.raises(OperatorError, match="'Bench' is founded here already"), hub.work() as work:
        scheme.found(work, "Another", [])


def test_a_scheme_is_not_founded_in_a_currency_that_does_not_exist(hub: SchemeBench) -> None:
    with pytest.raises(OperatorError, match="USX is not a currency"), hub.work() as work:
        scheme.found(work, "Another", ["USX"])


def test_a_scheme_needs_a_name(hub: SchemeBench) -> None:
    with pytest.raises(OperatorError, match="name"), hub.work() as work:
        scheme.found(work, " ", [])


# --- joining ----------------------------------------------------------------------------------------------------


def test_a_new_participant_has_a_position_and_a_settlement_account_both_inactive(hub: SchemeBench) -> None:
    hub.accept(create())
    found = hub.read(lambda tx, _ledger, _directory: accounts.participant(tx, DFSP))
    assert found is not None
    assert [(account.type, account.currency, account.is_active) for account in found.accounts] == [
        (POSITION, USD, False),
        (SETTLEMENT, USD, False),
    ]


def test_a_new_participant_takes_part_and_is_no_proxy(hub: SchemeBench) -> None:
    hub.accept(create())
    participant = hub.directory.participants[DFSP]
    assert (participant.is_active, participant.is_proxy) == (True, False)


def test_a_proxy_is_marked_as_one(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(create("proxy1", is_proxy=True))
    found = hub.read(lambda tx, _ledger, _directory: accounts.participants(tx, proxies_only=True))
    assert [participant.name for participant in found] == ["proxy1"]


def test_a_participant_may_join_in_another_currency(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(create(currency=EUR))
    participant = hub.directory.participants[DFSP]
    assert {currency for currency, _ in participant.accounts} == {USD, EUR}
    assert len(hub.directory.participants) == 2


def test_a_participant_joins_once_in_a_currency(hub: SchemeBench) -> None:
    hub.accept(create())
    assert hub.refuse(create()) == (
        "3000",
        "Generic client error - Participant currency has already been registered",
        400,
    )


def test_two_creations_in_one_batch_make_one_participant(hub: SchemeBench) -> None:
    first, second = hub.run_many([create(), create()])
    assert first.error is None
    assert getattr(second.error, "code", None) == "3000"


def test_nobody_joins_in_a_currency_without_a_hub_reconciliation_account(hub: SchemeBench) -> None:
    code, description, status = hub.refuse(create(currency=KES))
    assert (code, status) == ("3003", 400)
    assert description.startswith("Add Party information error - Hub reconciliation account")


def test_nobody_joins_in_a_currency_without_a_hub_settlement_account(hub: SchemeBench) -> None:
    hub.accept(CreateHubAccount(currency=KES, type=HUB_RECONCILIATION))
    code, description, _ = hub.refuse(create(currency=KES))
    assert code == "3003"
    assert description.startswith("Add Party information error - Hub multilateral net settlement account")


def test_without_a_settlement_model_nothing_is_left_of_a_participant(hub: SchemeBench) -> None:
    """The reference answers 6000 too, and leaves a participant without accounts behind."""
    with hub.work() as work:
        work.tx.run("UPDATE settlement_model SET is_active = 0")
    assert hub.refuse(create()) == (
        "6000",
        "Generic settlement error - Unable to find a matching or default, Settlement Model",
        400,
    )
    assert hub.directory.get(DFSP) is None


def test_a_currencys_own_settlement_model_stands_instead_of_the_default(hub: SchemeBench) -> None:
    with hub.work() as work:
        work.tx.run("UPDATE settlement_model SET currency = 'EUR'")
    assert hub.refuse(create())[0] == "6000"
    hub.accept(create(currency=EUR))


@pytest.mark.parametrize("name", ["", "a", "x" * 31, "with/slash", "tab\tbed", "-dash", "ünïcode"])
def test_a_name_must_do_for_a_header_and_a_path(hub: SchemeBench, name: str) -> None:
    assert hub.refuse(create(name))[0] == "3101"


def test_the_hub_is_no_participant(hub: SchemeBench) -> None:
    assert hub.refuse(create("hub"))[0] == "3000"


def test_a_name_that_differs_only_in_case_is_refused(hub: SchemeBench) -> None:
    """Headers are compared without regard to case: PayerFSP could answer for payerfsp."""
    hub.accept(create("payerfsp"))
    assert hub.refuse(create("PayerFSP"))[0] == "3000"


def test_an_unknown_currency_is_malformed(hub: SchemeBench) -> None:
    assert hub.refuse(create(currency="A#"))[0] == "3101"


# --- taking part ------------------------------------------------------------------------------------------------


def test_a_participant_can_be_disabled_and_activated_again(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(SetParticipantActive(name=DFSP, is_active=False))
    assert not hub.directory.participants[DFSP].is_active
    hub.accept(SetParticipantActive(name=DFSP, is_active=True))
    assert hub.directory.participants[DFSP].is_active


def test_a_version_can_be_declared_and_taken_back(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(SetParticipantVersion(name=DFSP, version="1.1"))
    assert hub.directory.participants[DFSP].fspiop_version == "1.1"
    hub.accept(SetParticipantVersion(name=DFSP, version=None))
    assert hub.directory.participants[DFSP].fspiop_version is None


def test_an_unknown_version_is_refused(hub: SchemeBench) -> None:
    hub.accept(create())
    assert hub.refuse(SetParticipantVersion(name=DFSP, version="3.0"))[0] == "3101"


@pytest.mark.parametrize(
    "command",
    [
        SetParticipantActive(name=DFSP, is_active=True),
        SetParticipantVersion(name=DFSP, version="1.1"),
        SetAccountActive(name=DFSP, account_id=1, is_active=True),
        SetEndpoints(name=DFSP, endpoints=()),
        AdjustLimit(name=DFSP, currency=USD, value=0),
        initial(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_an_unknown_participant_is_3200_with_status_400(hub: SchemeBench, command: object) -> None:
    assert hub.refuse(command) == NOT_FOUND  # type: ignore[arg-type]


# --- the hub's accounts -----------------------------------------------------------------------------------------


def test_a_reconciliation_account_brings_the_on_us_account_with_it(hub: SchemeBench) -> None:
    hub.accept(CreateHubAccount(currency=KES, type=HUB_RECONCILIATION))
    assert set(hub.directory.participants[HUB].accounts) >= {(KES, HUB_RECONCILIATION), (KES, HUB_ON_US)}


def test_a_fee_account_can_be_opened_for_the_hub(hub: SchemeBench) -> None:
    hub.accept(CreateHubAccount(currency=USD, type="HUB_FEE"))
    assert hub.value(HUB, "USD", "HUB_FEE") == "0"


@pytest.mark.parametrize(
    ("name", "account_type", "detail"),
    [
        ("nobody", HUB_RECONCILIATION, "Participant was not found."),
        (HUB, "NO_SUCH_TYPE", "Ledger account type was not found."),
        (HUB, HEADROOM, "Ledger account type was not found."),
        (HUB, HUB_RECONCILIATION, "Hub account has already been registered."),
        (DFSP, HUB_RECONCILIATION, "Endpoint is reserved for creation of Hub account types only."),
        (HUB, POSITION, "The requested hub operator account type is not allowed."),
    ],
)
def test_no_other_account_can_be_opened(hub: SchemeBench, name: str, account_type: str, detail: str) -> None:
    hub.accept(create())
    command = CreateHubAccount(name=FspId(name), currency=USD, type=account_type)
    assert hub.refuse(command) == ("3003", f"Add Party information error - {detail}", 400)


# --- accounts ---------------------------------------------------------------------------------------------------


def test_a_position_can_be_disabled(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    account_id = hub.account_id(DFSP, "USD", POSITION)
    hub.accept(SetAccountActive(name=DFSP, account_id=account_id, is_active=False))
    assert not hub.directory.participants[DFSP].accounts[USD, POSITION].is_active


@pytest.mark.parametrize(
    ("owner", "currency", "account_type", "detail"),
    [
        (DFSP, "USD", SETTLEMENT, "Only position account update is permitted"),
        (DFSP, "USD", HEADROOM, "Account not found"),
        ("payeefsp", "USD", POSITION, "Participant/account mismatch"),
    ],
)
def test_no_other_account_can_be_disabled(
    hub: SchemeBench, owner: str, currency: str, account_type: str, detail: str
) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    hub.onboard("payeefsp", "USD", cap="10")
    command = SetAccountActive(name=DFSP, account_id=hub.account_id(owner, currency, account_type), is_active=False)
    assert hub.refuse(command) == ("2001", f"Internal server error - {detail}", 500)


def test_an_account_that_does_not_exist_can_not_be_disabled(hub: SchemeBench) -> None:
    hub.accept(create())
    command = SetAccountActive(name=DFSP, account_id=999, is_active=False)
    assert hub.refuse(command) == ("2001", "Internal server error - Account not found", 500)


# --- limits -----------------------------------------------------------------------------------------------------


def test_the_first_limit_activates_the_accounts_of_its_currency_only(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(create(currency=EUR))
    hub.accept(initial())  # type: ignore[arg-type]
    active = {key for key, account in hub.directory.participants[DFSP].accounts.items() if account.is_active}
    assert active == {(USD, POSITION), (USD, SETTLEMENT), (USD, HEADROOM)}


def test_the_first_limit_is_set_once(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    assert hub.refuse(initial()) == (  # type: ignore[arg-type]
        "2001",
        "Internal server error - Participant Limit or Initial Position already set",
        500,
    )


def test_a_first_limit_in_a_currency_of_others_is_3200(hub: SchemeBench) -> None:
    hub.accept(create())
    assert hub.refuse(initial(currency=EUR))[::2] == ("3200", 400)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [1, -1, 10_000])
def test_an_initial_position_from_nowhere_is_refused(hub: SchemeBench, position: int) -> None:
    """The reference writes it into the position with nothing on the other side: the books would not balance."""
    hub.accept(create())
    assert hub.refuse(initial(position=position))[0] == "3100"  # type: ignore[arg-type]
    assert hub.directory.participants[DFSP].accounts[USD, POSITION].net_debit_cap is None


@pytest.mark.parametrize("value", [-1, AMOUNT_MAX + 1])
def test_a_cap_the_hub_can_not_hold_is_refused(hub: SchemeBench, value: int) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    assert hub.refuse(AdjustLimit(name=DFSP, currency=USD, value=value))[0] == "3100"


def test_a_cap_of_nothing_lets_nothing_through(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="0", funds="100")
    assert hub.available(DFSP, "USD") == "0"


def test_the_largest_cap_is_bounded_by_liquidity(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(initial(AMOUNT_MAX))  # type: ignore[arg-type]
    hub.accept(hub.funds_in(DFSP, "12.3456 USD"))
    assert hub.available(DFSP, "USD") == "12.3456"


@pytest.mark.parametrize("percentage", [-1, 101])
def test_an_alarm_percentage_is_a_percentage(hub: SchemeBench, percentage: int) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    assert hub.refuse(AdjustLimit(name=DFSP, currency=USD, value=1, alarm_percentage=percentage))[0] == "3100"


def test_an_unknown_type_of_limit_is_refused(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    assert hub.refuse(AdjustLimit(name=DFSP, currency=USD, limit_type="DAILY", value=1))[0] == "3100"


def test_a_limit_is_adjusted_only_after_it_was_set(hub: SchemeBench) -> None:
    hub.accept(create())
    assert hub.refuse(AdjustLimit(name=DFSP, currency=USD, value=1)) == (
        "2001",
        "Internal server error - Participant Limit does not exist",
        500,
    )


def test_an_adjusted_limit_is_in_force_and_the_former_one_stays_on_record(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10", funds="100")
    hub.accept(AdjustLimit(name=DFSP, currency=USD, value=200_000, alarm_percentage=25))
    (limit,) = hub.read(lambda tx, ledger, directory: accounts.limits(tx, ledger, directory, name=DFSP))
    assert (limit.value, limit.alarm_percentage) == (200_000, 25)
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query("SELECT value, is_active FROM participant_limit ORDER BY limit_id")
    )
    assert rows == [(100_000, 0), (200_000, 1)]


def test_two_adjustments_in_one_batch_leave_the_later_one(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10", funds="100")
    hub.run_many([AdjustLimit(name=DFSP, currency=USD, value=value) for value in (500_000, 300_000)])
    assert hub.headroom(DFSP, "USD") == "30"


# --- headroom follows -------------------------------------------------------------------------------------------


def test_headroom_is_the_cap_where_liquidity_is_more(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="2500.5")
    assert hub.available(DFSP, "USD") == "1000"


def test_headroom_is_the_liquidity_where_the_cap_is_more(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="250.5")
    assert hub.available(DFSP, "USD") == "250.5"


def test_a_higher_cap_frees_what_liquidity_covers(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1500")
    hub.adjust_cap(DFSP, "USD", "2000")
    assert hub.available(DFSP, "USD") == "1500"


def test_a_lower_cap_takes_back_what_is_free(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1500")
    hub.adjust_cap(DFSP, "USD", "400.25")
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("400.25", "0")


def test_a_cap_below_what_is_used_leaves_a_shortfall_and_nothing_to_send(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1500")
    hub.onboard("payeefsp", "USD", cap="10")
    assert hub.pay(DFSP, "payeefsp", "700 USD")
    hub.adjust_cap(DFSP, "USD", "400")
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("0", "300")
    assert hub.position(DFSP, "USD") == "700"


def test_credits_pay_a_shortfall_before_anything_is_free(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1500")
    hub.onboard("payeefsp", "USD", cap="10")
    hub.pay(DFSP, "payeefsp", "700 USD")
    hub.adjust_cap(DFSP, "USD", "400")
    hub.pay("payeefsp", DFSP, "299.9999 USD")
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("0", "0.0001")
    hub.pay("payeefsp", DFSP, "0.0003 USD")
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("0.0002", "0")
    assert hub.position(DFSP, "USD") == "399.9998"


def test_a_cap_raised_again_forgives_the_shortfall(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1500")
    hub.onboard("payeefsp", "USD", cap="10")
    hub.pay(DFSP, "payeefsp", "700 USD")
    hub.adjust_cap(DFSP, "USD", "400")
    hub.adjust_cap(DFSP, "USD", "750")
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("50", "0")


def test_a_cap_lowered_under_a_reservation_is_taken_when_the_reservation_is_void(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1000")
    hub.onboard("payeefsp", "USD", cap="10")
    assert hub.reserve(DFSP, "payeefsp", "900 USD") is not None
    hub.adjust_cap(DFSP, "USD", "100")
    assert (hub.available(DFSP, "USD"), hub.shortfall(DFSP, "USD")) == ("0", "800")


def test_caps_of_one_currency_leave_the_other_alone(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="1000", funds="1000")
    hub.onboard(DFSP, "EUR", cap="500", funds="300")
    hub.adjust_cap(DFSP, "USD", "10")
    assert (hub.available(DFSP, "USD"), hub.available(DFSP, "EUR")) == ("10", "300")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("cap"), st.integers(0, 2_000_000)),
            st.tuples(st.just("in"), st.integers(1, 1_000_000)),
            st.tuples(st.just("out"), st.integers(1, 1_000_000)),
            st.tuples(st.just("send"), st.integers(1, 1_000_000)),
            st.tuples(st.just("receive"), st.integers(1, 1_000_000)),
        ),
        max_size=12,
    )
)
def test_whatever_operators_and_payments_do_nobody_exceeds_cap_or_liquidity(steps: list[tuple[str, int]]) -> None:
    bench = SchemeBench(currencies=["USD"])
    try:
        bench.onboard(DFSP, "USD", cap="100", funds="100")
        bench.onboard("payeefsp", "USD", cap="1000", funds="1000")
        for action, minor in steps:
            amount = f"{minor // 10_000}.{minor % 10_000:04d}"
            if action == "cap":
                bench.adjust_cap(DFSP, "USD", amount)
            elif action == "in":
                bench.accept(bench.funds_in(DFSP, f"{amount} USD"))
            elif action == "out":
                bench.accept(bench.funds_out(DFSP, f"{amount} USD"))
            elif action == "send":
                bench.pay(DFSP, "payeefsp", f"{amount} USD")
            else:
                bench.pay("payeefsp", DFSP, f"{amount} USD")
            bench.audit()
    finally:
        bench.close()


# --- endpoints --------------------------------------------------------------------------------------------------


def endpoints(*pairs: tuple[str, str]) -> SetEndpoints:
    return SetEndpoints(name=DFSP, endpoints=tuple(Endpoint(kind, value) for kind, value in pairs))


def test_an_endpoint_set_again_is_replaced(hub: SchemeBench) -> None:
    hub.accept(create())
    hub.accept(
        endpoints(("FSPIOP_CALLBACK_URL_QUOTES", "http://one"), ("FSPIOP_CALLBACK_URL_TRX_REQ_SERVICE", "http://x"))
    )
    hub.accept(endpoints(("FSPIOP_CALLBACK_URL_QUOTES", "http://two")))
    assert hub.directory.participants[DFSP].endpoints == {
        "FSPIOP_CALLBACK_URL_QUOTES": "http://two",
        "FSPIOP_CALLBACK_URL_TRX_REQ_SERVICE": "http://x",
    }


def test_of_several_endpoints_none_is_set_where_one_is_wrong(hub: SchemeBench) -> None:
    hub.accept(create())
    command = endpoints(("FSPIOP_CALLBACK_URL_QUOTES", "http://one"), ("NO_SUCH_TYPE", "http://two"))
    assert hub.refuse(command)[::2] == ("3100", 400)
    assert hub.directory.participants[DFSP].endpoints == {}


def test_an_endpoint_is_somewhere(hub: SchemeBench) -> None:
    hub.accept(create())
    assert hub.refuse(endpoints(("FSPIOP_CALLBACK_URL_QUOTES", " ")))[0] == "3101"


def test_the_hub_has_endpoints_too(hub: SchemeBench) -> None:
    mail = Endpoint("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "operations@hub.example")
    hub.accept(SetEndpoints(name=HUB, endpoints=(mail,)))
    assert hub.directory.participants[HUB].endpoints == {mail.type: mail.value}


# --- what is shown ----------------------------------------------------------------------------------------------


def test_accounts_of_the_hubs_own_books_are_not_shown(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    found = hub.read(lambda tx, _ledger, _directory: accounts.participants(tx))
    shown = {account.type for participant in found for account in participant.accounts}
    assert shown == {POSITION, SETTLEMENT, HUB_RECONCILIATION, HUB_MULTILATERAL_SETTLEMENT}


def test_positions_of_inactive_accounts_are_not_shown(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    hub.accept(create(currency=EUR))
    found = hub.read(lambda tx, ledger, directory: accounts.positions(tx, ledger, directory.participants[DFSP]))
    assert [position.currency for position in found] == [USD]


def test_limits_can_be_asked_for_by_participant_currency_and_type(hub: SchemeBench) -> None:
    hub.onboard(DFSP, "USD", cap="10")
    hub.onboard(DFSP, "EUR", cap="20")
    hub.onboard("payeefsp", "USD", cap="30")

    def found(**asked: str) -> list[tuple[str, str, int]]:
        limits = hub.read(lambda tx, ledger, directory: accounts.limits(tx, ledger, directory, **asked))  # type: ignore[arg-type]
        return [(limit.name, limit.currency, limit.value) for limit in limits]

    assert found() == [(DFSP, EUR, 200_000), (DFSP, USD, 100_000), ("payeefsp", USD, 300_000)]
    assert found(currency="USD") == [(DFSP, USD, 100_000), ("payeefsp", USD, 300_000)]
    assert found(name=DFSP, currency="EUR") == [(DFSP, EUR, 200_000)]
    assert found(limit_type="DAILY") == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://hooks.example.com/services/T0/S3CRET", "https://hooks.example.com/services/(left out)"),
        ("https://hooks.example.com/services?token=S3CRET", "https://hooks.example.com/services/(left out)"),
        ("https://hooks.example.com:8443/?S3CRET", "https://hooks.example.com:8443/(left out)"),
        ("HTTPS://hooks.example.com?S3CRET", "HTTPS://hooks.example.com/(left out)"),
        ("https://hooks.example.com//S3CRET", "https://hooks.example.com/(left out)"),
        ("https://hooks.example.com#S3CRET", "https://hooks.example.com/(left out)"),
        ("https://hooks.example.com/alarms/", "https://hooks.example.com/alarms/"),
        ("https://hooks.example.com/alarms", "https://hooks.example.com/alarms"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("desk@scheme.example", "desk@scheme.example"),
        ("", ""),
    ],
)
def test_of_the_url_that_alarms_go_to_host_and_first_segment_are_shown(address: str, shown: str) -> None:
    assert shortened(address) == shown
