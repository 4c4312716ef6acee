"""The rules of clearing, one test each: prepare, fulfil, abort, expire, get, and what each party is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import (
    CONDITION,
    EXPIRY_MS,
    FULFILMENT,
    OTHER,
    PAYEE,
    PAYER,
    PREIMAGE,
    abort,
    audited,
    base64url,
    condition_of,
    fulfil,
    get,
    prepare,
    reserved,
    told,
)

from vuka.config import Scheme
from vuka.errors import ErrorCode, is_known_group
from vuka.ids import HUB, FspId, format_ulid, parse_id
from vuka.money import AMOUNT_MAX, Amount, Currency
from vuka.switch import accounts
from vuka.switch.directory import HUB_ON_US, POSITION
from vuka.switch.participants import CreateParticipant, SetAccountActive, SetParticipantActive, SetParticipantVersion
from vuka.switch.transfers import (
    EXPIRE_MAX,
    FINAL_STATES,
    AbortTransfer,
    ExpireTransfers,
    FulfilTransfer,
    PrepareTransfer,
    State,
)
from vuka.switch.work import Action, Command, Forward, TransferBody

VALIDATION = "3100 Generic validation error - "
EXPIRED = "3303 Transfer expired"
DECLINED = "5104 Payee rejected transaction"
NON_RESERVED = f"{VALIDATION}non-RESERVED transfer state"
INVALID_FULFILMENT = f"{VALIDATION}invalid fulfilment"
MODIFIED = "3106 Modified request"


def caused(error: str) -> str:
    """How a transfer's cause is written in an extension, e.g. of ``3303 Transfer expired``."""
    code, _, description = error.partition(" ")
    return f"cause {code}: {description}"


@pytest.fixture(autouse=True)
def books(hub: SchemeBench) -> Iterator[None]:
    """payerfsp with 1,000 USD of cap and of liquidity, payeefsp and otherfsp with 100; audited in the end."""
    hub.onboard(PAYER, "USD", cap="1000", funds="1000")
    hub.onboard(PAYEE, "USD", cap="100", funds="100")
    hub.onboard(OTHER, "USD", cap="100", funds="100")
    hub.take_notices()
    yield
    assert audited(hub).differences == []


@pytest.fixture
def ten(hub: SchemeBench) -> PrepareTransfer:
    """10 USD from payerfsp to payeefsp, reserved, the payee told."""
    command = prepare(hub, "10 USD")
    hub.accept(command)
    hub.take_notices()
    return command


@pytest.fixture
def committed(hub: SchemeBench, ten: PrepareTransfer) -> FulfilTransfer:
    """The answer that committed `ten`, and everybody told."""
    answer = fulfil(hub, ten)
    hub.accept(answer)
    hub.take_notices()
    return answer


@pytest.fixture
def on_us(hub: SchemeBench) -> None:
    """The scheme allows a participant to pay itself."""
    hub.rules = Scheme(on_us_transfers=True)


def after(hub: SchemeBench, *commands: Command) -> list[str]:
    """What is owed to whom after these commands, each in a commit of its own."""
    hub.take_notices()
    for command in commands:
        hub.accept(command)
    return told(hub)


def state(hub: SchemeBench, command: PrepareTransfer | FulfilTransfer | AbortTransfer) -> State:
    return hub.transfer(command.transfer_id).state


def history(hub: SchemeBench, command: PrepareTransfer) -> list[str]:
    return [change.state for change in hub.transfer(command.transfer_id).history]


def positions(hub: SchemeBench) -> tuple[str, str]:
    """Of payer and payee, in USD."""
    return hub.position(PAYER, "USD"), hub.position(PAYEE, "USD")


def deactivate(hub: SchemeBench, name: str) -> None:
    hub.accept(SetParticipantActive(name=FspId(name), is_active=False))


def deactivate_position(hub: SchemeBench, name: str) -> None:
    account_id = hub.account_id(name, "USD", POSITION)
    hub.accept(SetAccountActive(name=FspId(name), account_id=account_id, is_active=False))


# --- prepare: what is reserved ----------------------------------------------------------------------------------


def test_a_prepare_reserves_the_amount_on_the_payers_position_only(hub: SchemeBench) -> None:
    hub.accept(prepare(hub, "12.5001 USD"))
    assert positions(hub) == ("12.5001", "0")


def test_a_prepare_is_reserved_in_the_same_commit(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert state(hub, ten) is State.RESERVED


def test_a_reserved_transfer_was_received_first(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert history(hub, ten) == ["RECEIVED_PREPARE", "RESERVED"]


def test_a_reserved_transfer_has_not_completed(hub: SchemeBench, ten: PrepareTransfer) -> None:
    transfer = hub.transfer(ten.transfer_id)
    assert (transfer.completed_ms, transfer.settlement_window_id) == (None, None)


def test_the_payee_gets_the_payers_bytes(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.body) == (PAYEE, Action.POST, Forward(command.message))


def test_a_forwarded_prepare_keeps_source_destination_and_trace(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.source, notice.destination, notice.trace) == (PAYER, PAYEE, command.message.trace)


def test_a_forwarded_prepare_is_worth_sending_until_its_expiration(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert notice.deadline_ms == command.expires_ms


def test_a_reserved_transfer_tells_the_payer_nothing(hub: SchemeBench) -> None:
    assert after(hub, prepare(hub, "10 USD")) == ["payeefsp: POST from payerfsp"]


def test_a_transfer_may_have_a_ulid(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", wire_id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert after(hub, command, fulfil(hub, command))[1:] == [
        "payerfsp: PUT from payeefsp",
        "payeefsp: PUT COMMITTED with fulfilment",
    ]


def test_uuid_and_ulid_of_the_same_bits_are_the_same_transfer(hub: SchemeBench, ten: PrepareTransfer) -> None:
    other_spelling = prepare(hub, "10 USD", wire_id=format_ulid(parse_id(ten.message.resource_id)))
    assert after(hub, other_spelling) == [f"payerfsp: ERROR {MODIFIED}"]


# --- prepare: validation, in the reference's order --------------------------------------------------------------


def refused_prepare(hub: SchemeBench, command: PrepareTransfer) -> str:
    """Why a prepare was invalid: nothing moved, it is recorded so, and the payer alone is told."""
    (line,) = after(hub, command)
    assert state(hub, command) is State.INVALID
    assert positions(hub) == ("0", "0")
    prefix = f"{command.message.source}: ERROR {VALIDATION}"
    assert line.startswith(prefix)
    return line.removeprefix(prefix)


SOURCE_IS_NOT_PAYER = f"{VALIDATION}FSPIOP-Source header should match Payer"


def test_a_source_that_is_not_the_payer_is_refused(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", source=OTHER)
    assert after(hub, command) == [f"otherfsp: ERROR {SOURCE_IS_NOT_PAYER}"]


def test_a_source_that_is_not_the_payer_does_not_use_up_the_id(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.accept(prepare(hub, "10 USD", source=OTHER, wire_id=command.message.resource_id))
    assert after(hub, command) == ["payeefsp: POST from payerfsp"]


def test_the_payers_name_is_case_sensitive(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", payer="PayerFSP", source=PAYER)
    assert after(hub, command) == [f"payerfsp: ERROR {SOURCE_IS_NOT_PAYER}"]


def test_an_unknown_source_has_nowhere_to_be_told(hub: SchemeBench) -> None:
    assert after(hub, prepare(hub, "10 USD", payer="stranger")) == []


def test_an_inactive_payer_is_refused(hub: SchemeBench) -> None:
    deactivate(hub, PAYER)
    assert refused_prepare(hub, prepare(hub, "10 USD")) == "Participant payerfsp is inactive"


def test_an_unknown_payee_is_refused(hub: SchemeBench) -> None:
    assert refused_prepare(hub, prepare(hub, "10 USD", payee="nobody")) == "Participant nobody not found"


def test_an_inactive_payee_is_refused(hub: SchemeBench) -> None:
    deactivate(hub, PAYEE)
    assert refused_prepare(hub, prepare(hub, "10 USD")) == "Participant payeefsp is inactive"


def test_the_hub_is_nobodys_payee(hub: SchemeBench) -> None:
    assert refused_prepare(hub, prepare(hub, "10 USD", payee=HUB)) == "Participant Hub not found"


@pytest.mark.parametrize(
    "condition",
    [
        "",
        base64url(bytes(31)),
        base64url(bytes(33)),
        CONDITION + "=",
        CONDITION[:-1],
        CONDITION[:20] + " " + CONDITION[21:],
        base64url(bytes(32))[:-1] + "B",
        "ü" * 43,
    ],
    ids=["none", "31 bytes", "33 bytes", "padded", "cut", "foreign letter", "spare bits", "not ASCII"],
)
def test_a_condition_that_is_not_32_bytes_is_refused(hub: SchemeBench, condition: str) -> None:
    command = prepare(hub, "10 USD", condition=condition)
    assert refused_prepare(hub, command) == "Condition validation failed"


@pytest.mark.parametrize("expires_in_ms", [0, -1])
def test_an_expiration_that_is_not_in_the_future_is_refused_with_3100(hub: SchemeBench, expires_in_ms: int) -> None:
    command = prepare(hub, "10 USD", expires_in_ms=expires_in_ms)
    expired = datetime.fromtimestamp(command.expires_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    reason = refused_prepare(hub, command)
    assert reason.startswith(f"Expiration date {expired}.")
    assert reason.endswith("Z is already in the past")


def test_an_expiration_one_millisecond_ahead_is_accepted(hub: SchemeBench) -> None:
    assert after(hub, prepare(hub, "10 USD", expires_in_ms=1)) == ["payeefsp: POST from payerfsp"]


def test_a_payer_does_not_pay_itself_where_the_scheme_says_so(hub: SchemeBench) -> None:
    reason = refused_prepare(hub, prepare(hub, "10 USD", payee=PAYER))
    assert reason == "Payer FSP and Payee FSP should be different, unless on-us transfers are allowed by the Scheme"


def test_a_payer_without_an_account_in_the_currency_is_refused(hub: SchemeBench) -> None:
    hub.onboard("eurofsp", "EUR", cap="100", funds="100")
    reason = refused_prepare(hub, prepare(hub, "10 EUR", payee="eurofsp"))
    assert reason == "Participant payerfsp EUR account not found"


def test_a_payer_with_an_inactive_account_is_refused(hub: SchemeBench) -> None:
    deactivate_position(hub, PAYER)
    assert refused_prepare(hub, prepare(hub, "10 USD")) == "Participant payerfsp USD account is inactive"


def test_a_payee_without_an_account_in_the_currency_is_refused(hub: SchemeBench) -> None:
    hub.onboard("eurofsp", "EUR", cap="100", funds="100")
    reason = refused_prepare(hub, prepare(hub, "10 USD", payee="eurofsp"))
    assert reason == "Participant eurofsp USD account not found"


def test_a_payee_with_an_inactive_account_is_credited_by_default(hub: SchemeBench) -> None:
    deactivate_position(hub, PAYEE)
    command = prepare(hub, "10 USD")
    hub.accept(command)
    hub.accept(fulfil(hub, command))
    assert positions(hub) == ("10", "-10")


def test_a_payee_with_an_inactive_account_is_refused_where_the_scheme_says_so(hub: SchemeBench) -> None:
    hub.rules = Scheme(check_payee_account=True)
    deactivate_position(hub, PAYEE)
    assert refused_prepare(hub, prepare(hub, "10 USD")) == "Participant payeefsp USD account is inactive"


def test_a_payee_that_was_never_given_limits_is_refused_where_the_scheme_says_so(hub: SchemeBench) -> None:
    hub.rules = Scheme(check_payee_account=True)
    hub.accept(CreateParticipant(name=FspId("newfsp"), currency=Currency("USD")))
    reason = refused_prepare(hub, prepare(hub, "10 USD", payee="newfsp"))
    assert reason == "Participant newfsp USD account is inactive"


def faulty(hub: SchemeBench, *, sound: int) -> PrepareTransfer:
    """A prepare wrong in everything but the first ``sound`` rules of the order."""
    hub.onboard("lonely", "EUR", cap="1", funds="1")
    payer = PAYER if sound < 5 else "lonely"
    if sound == 1:
        deactivate(hub, payer)
    payee = "nobody" if sound < 3 else payer if sound < 6 else PAYEE
    return prepare(
        hub,
        "10 USD",
        payer=payer,
        payee=payee,
        source=OTHER if sound == 0 else payer,
        condition="" if sound < 4 else CONDITION,
        expires_in_ms=-1 if sound < 5 else EXPIRY_MS,
    )


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (0, "FSPIOP-Source header should match Payer"),
        (1, "Participant payerfsp is inactive"),
        (2, "Participant nobody not found"),
        (3, "Condition validation failed"),
        (4, "Expiration date "),
        (5, "Payer FSP and Payee FSP should be different, unless on-us transfers are allowed by the Scheme"),
        (6, "Participant lonely USD account not found"),
    ],
)
def test_the_first_broken_rule_is_the_one_named(hub: SchemeBench, sound: int, reason: str) -> None:
    (line,) = after(hub, faulty(hub, sound=sound))
    assert line.partition(": ERROR ")[2].startswith(f"{VALIDATION}{reason}")


def test_validation_comes_before_liquidity(hub: SchemeBench) -> None:
    assert refused_prepare(hub, prepare(hub, "1000000 USD", condition="")).startswith("Condition")


def test_an_invalid_transfer_was_never_prepared(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", condition="")
    hub.accept(command)
    assert history(hub, command) == ["INVALID"]


def test_an_invalid_transfer_keeps_the_reason(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", payee="nobody")
    hub.accept(command)
    transfer = hub.transfer(command.transfer_id)
    assert (transfer.error_code, transfer.error_description, transfer.completed_ms) == (
        "3100",
        "Generic validation error - Participant nobody not found",
        hub.now_ms,
    )


def test_an_invalid_transfer_uses_up_its_id(hub: SchemeBench) -> None:
    invalid = prepare(hub, "10 USD", condition="")
    hub.accept(invalid)
    assert after(hub, prepare(hub, "10 USD", wire_id=invalid.message.resource_id)) == [f"payerfsp: ERROR {MODIFIED}"]


def test_one_invalid_transfer_does_not_stop_its_neighbours(hub: SchemeBench) -> None:
    hub.run_many([prepare(hub, "1 USD"), prepare(hub, "2 USD", condition=""), prepare(hub, "4 USD")])
    assert hub.position(PAYER, "USD") == "5"


# --- prepare: liquidity and net debit cap -----------------------------------------------------------------------

NO_LIQUIDITY = "4001 Payer FSP insufficient liquidity"
BEYOND_CAP = "4200 Payer limit error"


def limits(hub: SchemeBench, *, cap: str, funds: str) -> None:
    """payerfsp with other limits: funds as much as said, a cap as said."""
    reserved_out = hub.funds_out(PAYER, f"{1000 - int(funds)} USD") if int(funds) < 1000 else None
    if reserved_out is not None:
        hub.accept(reserved_out)
        hub.accept(hub.commit_out(reserved_out))
    hub.adjust_cap(PAYER, "USD", cap)


def test_exactly_the_liquidity_may_be_sent(hub: SchemeBench) -> None:
    limits(hub, cap="500", funds="100")
    assert after(hub, prepare(hub, "100 USD")) == ["payeefsp: POST from payerfsp"]


def test_one_minor_unit_more_than_the_liquidity_is_refused_with_4001(hub: SchemeBench) -> None:
    limits(hub, cap="500", funds="100")
    assert after(hub, prepare(hub, "100.0001 USD")) == [f"payerfsp: ERROR {NO_LIQUIDITY}"]


def test_exactly_the_cap_may_be_sent(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    assert after(hub, prepare(hub, "100 USD")) == ["payeefsp: POST from payerfsp"]


def test_one_minor_unit_more_than_the_cap_is_refused_with_4200(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    assert after(hub, prepare(hub, "100.0001 USD")) == [f"payerfsp: ERROR {BEYOND_CAP}"]


def test_beyond_both_it_is_liquidity_that_is_named(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    assert after(hub, prepare(hub, "500.0001 USD")) == [f"payerfsp: ERROR {NO_LIQUIDITY}"]


def test_exactly_the_liquidity_beyond_the_cap_is_refused_with_4200(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    assert after(hub, prepare(hub, "500 USD")) == [f"payerfsp: ERROR {BEYOND_CAP}"]


def test_what_is_reserved_counts_against_the_limits(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    hub.accept(prepare(hub, "60 USD"))
    assert after(hub, prepare(hub, "40.0001 USD"), prepare(hub, "40 USD")) == [
        f"payerfsp: ERROR {BEYOND_CAP}",
        "payeefsp: POST from payerfsp",
    ]


def test_what_was_received_may_be_sent_on(hub: SchemeBench) -> None:
    received = prepare(hub, "30 USD")
    hub.accept(received)
    hub.accept(fulfil(hub, received))
    assert after(hub, prepare(hub, "130.0001 USD", payer=PAYEE, payee=OTHER))[0].startswith("payeefsp: ERROR 4001")
    assert after(hub, prepare(hub, "130 USD", payer=PAYEE, payee=OTHER)) == ["otherfsp: POST from payeefsp"]


def test_what_is_only_reserved_may_not_be_sent_on(hub: SchemeBench) -> None:
    hub.accept(prepare(hub, "30 USD"))
    assert after(hub, prepare(hub, "100.0001 USD", payer=PAYEE, payee=OTHER)) == [f"payeefsp: ERROR {NO_LIQUIDITY}"]


def test_a_payer_refused_for_its_limits_moves_nothing(hub: SchemeBench) -> None:
    command = prepare(hub, "1000.0001 USD")
    hub.accept(command)
    assert (positions(hub), state(hub, command)) == (("0", "0"), State.ABORTED_REJECTED)


def test_a_payer_refused_for_its_limits_was_prepared(hub: SchemeBench) -> None:
    command = prepare(hub, "1000.0001 USD")
    hub.accept(command)
    assert history(hub, command) == ["RECEIVED_PREPARE", "ABORTED_REJECTED"]


def test_a_refused_payment_may_be_tried_again_with_a_new_id(hub: SchemeBench) -> None:
    limits(hub, cap="1000", funds="100")
    hub.accept(prepare(hub, "150 USD"))
    hub.accept(hub.funds_in(PAYER, "50 USD"))
    assert after(hub, prepare(hub, "150 USD")) == ["payeefsp: POST from payerfsp"]


def test_prepares_of_one_batch_never_exceed_the_headroom_together(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    batch = [prepare(hub, "40 USD") for _ in range(5)]
    hub.run_many(batch)
    assert ([state(hub, command) for command in batch].count(State.RESERVED), hub.position(PAYER, "USD")) == (2, "80")


def test_prepares_of_one_batch_are_decided_in_order(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="500")
    batch = [prepare(hub, f"{amount} USD") for amount in ("60", "41", "40", "0.0001")]
    hub.run_many(batch)
    assert [state(hub, command).name for command in batch] == [
        "RESERVED",
        "ABORTED_REJECTED",
        "RESERVED",
        "ABORTED_REJECTED",
    ]


def test_a_refusal_names_the_limit_that_held_when_it_was_decided(hub: SchemeBench) -> None:
    # 110 exceeds the cap of 100, not the liquidity of 120; the 90 after it leave less than 110 of both.
    limits(hub, cap="100", funds="120")
    hub.run_many([prepare(hub, "110 USD"), prepare(hub, "90 USD")])
    assert told(hub)[-2:] == [f"payerfsp: ERROR {BEYOND_CAP}", "payeefsp: POST from payerfsp"]


def test_a_refusal_in_one_batch_counts_what_was_reserved_before_it(hub: SchemeBench) -> None:
    limits(hub, cap="100", funds="120")
    hub.run_many([prepare(hub, "90 USD"), prepare(hub, "40 USD"), prepare(hub, "20 USD")])
    assert told(hub)[-3:] == [
        "payeefsp: POST from payerfsp",
        f"payerfsp: ERROR {NO_LIQUIDITY}",
        f"payerfsp: ERROR {BEYOND_CAP}",
    ]


def test_the_limits_of_one_payer_are_not_anothers(hub: SchemeBench) -> None:
    hub.run_many([prepare(hub, "100 USD", payer=PAYEE, payee=OTHER), prepare(hub, "100 USD", payer=OTHER, payee=PAYEE)])
    assert (hub.position(PAYEE, "USD"), hub.position(OTHER, "USD")) == ("100", "100")


def test_a_cap_below_the_position_lets_nothing_through(hub: SchemeBench) -> None:
    hub.accept(prepare(hub, "60 USD"))
    hub.adjust_cap(PAYER, "USD", "50")
    assert after(hub, prepare(hub, "0.0001 USD")) == [f"payerfsp: ERROR {BEYOND_CAP}"]


def test_the_largest_amount_is_decided_like_any_other(hub: SchemeBench) -> None:
    amount = str(Amount(Currency("USD"), AMOUNT_MAX)).replace(",", "")
    assert after(hub, prepare(hub, amount)) == [f"payerfsp: ERROR {NO_LIQUIDITY}"]


# --- prepare: resends -------------------------------------------------------------------------------------------


def test_a_resend_of_what_is_reserved_is_answered_reserved(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, ten) == ["payerfsp: PUT RESERVED"]


def test_a_resend_of_what_is_committed_is_answered_with_the_fulfilment(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert after(hub, ten) == ["payerfsp: PUT COMMITTED with fulfilment"]


def test_a_resend_of_what_is_aborted_is_answered_with_the_cause(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    assert after(hub, ten) == [f"payerfsp: PUT ABORTED, {caused(DECLINED)}"]


def test_a_resend_of_what_was_invalid_is_answered_with_the_cause(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", payee="nobody")
    hub.accept(command)
    assert after(hub, command) == [f"payerfsp: PUT ABORTED, {caused(VALIDATION)}Participant nobody not found"]


def test_a_resend_of_what_was_refused_is_answered_with_the_cause(hub: SchemeBench) -> None:
    command = prepare(hub, "1001 USD")
    hub.accept(command)
    assert after(hub, command) == [f"payerfsp: PUT ABORTED, {caused(NO_LIQUIDITY)}"]


def test_a_resend_reserves_nothing_more(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(ten)
    assert hub.position(PAYER, "USD") == "10"


def test_a_resend_is_not_forwarded_again(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert all(not line.startswith(PAYEE) for line in after(hub, ten, ten))


def test_a_resend_after_expiry_is_answered_with_the_cause(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS)
    hub.expire()
    assert after(hub, ten) == [f"payerfsp: PUT ABORTED, {caused(EXPIRED)}"]


def test_a_modified_prepare_is_refused_with_3106(hub: SchemeBench, ten: PrepareTransfer) -> None:
    modified = prepare(hub, "11 USD", wire_id=ten.message.resource_id)
    assert after(hub, modified) == [f"payerfsp: ERROR {MODIFIED}"]


def test_a_modified_prepare_changes_nothing(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(prepare(hub, "11 USD", wire_id=ten.message.resource_id))
    assert (state(hub, ten), hub.position(PAYER, "USD")) == (State.RESERVED, "10")


def test_a_modified_prepare_of_what_is_final_is_refused_with_3106(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert after(hub, prepare(hub, "11 USD", wire_id=ten.message.resource_id)) == [f"payerfsp: ERROR {MODIFIED}"]


def test_anothers_prepare_with_the_same_id_is_a_modified_one(hub: SchemeBench, ten: PrepareTransfer) -> None:
    theirs = prepare(hub, "10 USD", payer=OTHER, wire_id=ten.message.resource_id)
    assert after(hub, theirs) == [f"otherfsp: ERROR {MODIFIED}"]


def test_the_same_bytes_from_another_source_are_not_a_resend(hub: SchemeBench, ten: PrepareTransfer) -> None:
    copied = prepare(hub, "10 USD", source=OTHER, wire_id=ten.message.resource_id)
    assert copied.body_hash == ten.body_hash
    assert after(hub, copied) == [f"otherfsp: ERROR {MODIFIED}"]


def test_the_same_id_twice_in_one_batch_is_reserved_once(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.run_many([command, command])
    assert (told(hub), hub.position(PAYER, "USD")) == (["payeefsp: POST from payerfsp"], "10")


def test_a_modified_prepare_in_one_batch_is_refused_and_the_first_stands(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.run_many([command, prepare(hub, "11 USD", wire_id=command.message.resource_id)])
    assert sorted(told(hub)) == ["payeefsp: POST from payerfsp", f"payerfsp: ERROR {MODIFIED}"]
    assert hub.position(PAYER, "USD") == "10"


def test_the_same_bytes_from_another_source_in_one_batch_are_refused(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    copied = prepare(hub, "10 USD", source=OTHER, wire_id=command.message.resource_id)
    hub.run_many([command, copied])
    assert sorted(told(hub)) == [f"otherfsp: ERROR {MODIFIED}", "payeefsp: POST from payerfsp"]


def test_an_invalid_prepare_twice_in_one_batch_is_answered_the_second_time(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", payee="nobody")
    hub.run_many([command, command])
    assert told(hub) == [
        f"payerfsp: ERROR {VALIDATION}Participant nobody not found",
        f"payerfsp: PUT ABORTED, {caused(VALIDATION)}Participant nobody not found",
    ]


def test_the_id_of_a_movement_of_funds_is_taken(hub: SchemeBench) -> None:
    movement = hub.funds_in(PAYER, "1 USD")
    hub.accept(movement)
    assert after(hub, prepare(hub, "1 USD", wire_id=movement.wire_id)) == [f"payerfsp: ERROR {MODIFIED}"]


# --- fulfil: COMMITTED ------------------------------------------------------------------------------------------


def test_a_commit_moves_the_amount_from_payer_to_payee(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert (state(hub, ten), positions(hub)) == (State.COMMITTED, ("10", "-10"))


def test_a_commit_gives_the_payer_the_payees_bytes(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer = fulfil(hub, ten)
    hub.accept(answer)
    notice = hub.take_notices()[0]
    assert (notice.to, notice.action, notice.ids, notice.body) == (
        PAYER,
        Action.PUT,
        (ten.message.resource_id,),
        Forward(answer.message),
    )


def test_a_commit_is_confirmed_to_the_payee(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, ten)) == [
        "payerfsp: PUT from payeefsp",
        "payeefsp: PUT COMMITTED with fulfilment",
    ]


def test_a_commit_is_not_confirmed_where_the_scheme_says_so(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.rules = Scheme(confirm_to_payee=False)
    assert after(hub, fulfil(hub, ten)) == ["payerfsp: PUT from payeefsp"]


def test_a_commit_is_stamped_with_the_open_settlement_window(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert hub.transfer(ten.transfer_id).settlement_window_id == hub.directory.open_window_id


def test_a_commit_keeps_its_fulfilment_and_its_time(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(1_234)
    hub.accept(fulfil(hub, ten))
    transfer = hub.transfer(ten.transfer_id)
    assert (transfer.fulfilment, transfer.completed_ms, transfer.error_code) == (FULFILMENT, hub.now_ms, None)


def test_a_committed_transfer_went_through_its_states_in_order(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert history(hub, ten) == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_FULFIL", "COMMITTED"]


def test_a_commit_leaves_the_payers_headroom_as_it_was_reserved(hub: SchemeBench, ten: PrepareTransfer) -> None:
    reserved_headroom = hub.available(PAYER, "USD")
    hub.accept(fulfil(hub, ten))
    assert (reserved_headroom, hub.available(PAYER, "USD"), hub.available(PAYEE, "USD")) == ("990", "990", "110")


def test_a_commit_in_the_last_millisecond_is_in_time(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS - 1)
    hub.accept(fulfil(hub, ten))
    assert state(hub, ten) is State.COMMITTED


def test_a_1_0_payee_may_commit(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, ten, version="1.0"))
    assert state(hub, ten) is State.COMMITTED


def test_names_in_the_headers_of_an_answer_are_not_case_sensitive(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, ten, source="PayeeFSP", destination="PayerFSP"))
    assert state(hub, ten) is State.COMMITTED


# --- fulfil: RESERVED -------------------------------------------------------------------------------------------


def test_reserved_commits(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(reserved(hub, ten))
    assert (state(hub, ten), positions(hub)) == (State.COMMITTED, ("10", "-10"))


def test_reserved_is_told_to_the_payer_by_the_hub_and_to_the_payee_by_patch(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    assert after(hub, reserved(hub, ten)) == [
        "payerfsp: PUT COMMITTED with fulfilment",
        "payeefsp: PATCH COMMITTED",
    ]


def test_reserved_gives_the_payer_the_fulfilment_and_the_hubs_time(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(777)
    hub.accept(reserved(hub, ten))
    notice = hub.take_notices()[0]
    assert (notice.source, notice.body) == (HUB, TransferBody("COMMITTED", hub.now_ms, FULFILMENT))


def test_the_patch_carries_the_hubs_time_and_no_fulfilment(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(777)
    hub.accept(reserved(hub, ten))
    notice = hub.take_notices()[1]
    assert (notice.source, notice.body) == (HUB, TransferBody("COMMITTED", hub.now_ms, None))


def test_reserved_is_told_to_each_side_in_its_own_version(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", version="1.0", answer_version="1.1")
    hub.accept(command)
    hub.take_notices()
    hub.accept(reserved(hub, command, version="2.0"))
    assert [(notice.to, notice.version) for notice in hub.take_notices()] == [(PAYER, "1.1"), (PAYEE, "2.0")]


def test_a_declared_version_goes_before_the_one_of_a_message(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(SetParticipantVersion(name=FspId(PAYER), version="2.0"))
    hub.accept(reserved(hub, ten))
    assert hub.take_notices()[0].version == "2.0"


def test_reserved_in_1_0_is_ignored(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, reserved(hub, ten, version="1.0")) == []
    assert (state(hub, ten), positions(hub)) == (State.RESERVED, ("10", "0"))


def test_after_an_ignored_reserved_the_payee_may_still_commit(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(reserved(hub, ten, version="1.0"))
    hub.accept(fulfil(hub, ten, version="1.0"))
    assert state(hub, ten) is State.COMMITTED


def test_after_an_ignored_reserved_the_transfer_expires(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(reserved(hub, ten, version="1.0"))
    hub.advance(EXPIRY_MS)
    assert after(hub, ExpireTransfers()) == [f"payerfsp: ERROR {EXPIRED}", f"payeefsp: ERROR {EXPIRED}"]


# --- fulfil: who may answer -------------------------------------------------------------------------------------


def test_an_answer_to_an_unknown_transfer_is_refused_with_2001(hub: SchemeBench) -> None:
    unheard_of = prepare(hub, "10 USD")
    not_found = "2001 Internal server error - transfer not found"
    assert after(hub, fulfil(hub, unheard_of), reserved(hub, unheard_of), abort(hub, unheard_of)) == [
        f"payeefsp: ERROR {not_found}",
        f"payeefsp: ERROR {not_found}",
        f"payeefsp: ERROR {not_found}",
    ]


def test_an_answer_to_a_movement_of_funds_is_refused_like_an_unknown_transfer(hub: SchemeBench) -> None:
    withdrawal = hub.funds_out(PAYEE, "50 USD")
    hub.accept(withdrawal)
    answer = fulfil(hub, prepare(hub, "50 USD", wire_id=withdrawal.wire_id))
    assert after(hub, answer) == ["payeefsp: ERROR 2001 Internal server error - transfer not found"]
    assert state(hub, answer) is State.RESERVED


SOURCE_IS_NOT_PAYEE = f"{VALIDATION}FSPIOP-Source header should match Payee FSP"
ANSWERS = ("fulfil", "reserved", "abort")


def answer_of(kind: str, hub: SchemeBench, prepared: PrepareTransfer, **fields: str | None) -> Command:
    """One of the three answers of a payee."""
    made: dict[str, Command] = {
        "fulfil": fulfil(hub, prepared, **fields),  # type: ignore[arg-type]
        "reserved": reserved(hub, prepared, **fields),
        "abort": abort(hub, prepared, **fields),  # type: ignore[arg-type]
    }
    return made[kind]


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("source", [OTHER, PAYER])
def test_an_answer_from_anybody_but_the_payee_is_refused(
    hub: SchemeBench, ten: PrepareTransfer, kind: str, source: str
) -> None:
    assert after(hub, answer_of(kind, hub, ten, source=source)) == [f"{source}: ERROR {SOURCE_IS_NOT_PAYEE}"]


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_from_anybody_but_the_payee_changes_nothing(
    hub: SchemeBench, ten: PrepareTransfer, kind: str
) -> None:
    before = hub.transfer(ten.transfer_id)
    hub.accept(answer_of(kind, hub, ten, source=OTHER))
    assert (hub.transfer(ten.transfer_id), positions(hub)) == (before, ("10", "0"))


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_from_anybody_but_the_payee_changes_nothing_that_is_committed(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer, kind: str
) -> None:
    before = hub.transfer(ten.transfer_id)
    hub.accept(answer_of(kind, hub, ten, source=OTHER))
    assert (hub.transfer(ten.transfer_id), positions(hub)) == (before, ("10", "-10"))


@pytest.mark.parametrize("kind", ANSWERS)
def test_after_anothers_answer_the_payees_own_is_the_first(hub: SchemeBench, ten: PrepareTransfer, kind: str) -> None:
    hub.accept(answer_of(kind, hub, ten, source=OTHER))
    hub.accept(fulfil(hub, ten))
    assert state(hub, ten) is State.COMMITTED


def test_an_unknown_sender_of_an_answer_has_nowhere_to_be_told(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, ten, source="stranger")) == []


# --- fulfil: an answer that is not valid ends the transfer ------------------------------------------------------

DESTINATION_IS_NOT_PAYER = f"{VALIDATION}FSPIOP-Destination header should match Payer FSP"


def test_an_answer_without_a_destination_is_for_the_payer_whom_the_hub_knows(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    hub.accept(fulfil(hub, ten, destination=None))
    assert (state(hub, ten), positions(hub)) == (State.COMMITTED, ("10", "-10"))


def test_a_wrong_destination_aborts_and_tells_both(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, ten, destination=OTHER)) == [
        f"payerfsp: ERROR {DESTINATION_IS_NOT_PAYER}",
        f"payeefsp: ERROR {DESTINATION_IS_NOT_PAYER}",
    ]
    assert (state(hub, ten), positions(hub)) == (State.ABORTED_ERROR, ("0", "0"))


def test_a_wrong_destination_of_reserved_is_told_the_payee_by_patch_too(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, reserved(hub, ten, destination=OTHER))[2:] == [
        f"payeefsp: PATCH ABORTED, {caused(DESTINATION_IS_NOT_PAYER)}"
    ]


def test_a_wrong_destination_of_an_error_aborts_all_the_same(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten, destination=OTHER))
    assert (state(hub, ten), positions(hub)) == (State.ABORTED_ERROR, ("0", "0"))


@pytest.mark.parametrize(
    "fulfilment",
    [
        None,
        "",
        base64url(bytes(32)),
        base64url(PREIMAGE[:31]),
        base64url(PREIMAGE + b"\0"),
        FULFILMENT + "=",
        FULFILMENT[:-1],
        FULFILMENT[:20] + "*" + FULFILMENT[20:],
        FULFILMENT[:-1] + chr(ord(FULFILMENT[-1]) + 1),
    ],
    ids=["missing", "empty", "another", "31 bytes", "33 bytes", "padded", "cut", "foreign letter", "spare bits"],
)
@pytest.mark.parametrize("answer", ["COMMITTED", "RESERVED"])
def test_a_fulfilment_that_does_not_fulfil_aborts(
    hub: SchemeBench, ten: PrepareTransfer, fulfilment: str | None, answer: str
) -> None:
    hub.accept(fulfil(hub, ten, state=answer, fulfilment=fulfilment))
    assert (state(hub, ten), positions(hub)) == (State.ABORTED_ERROR, ("0", "0"))


def test_an_invalid_fulfilment_is_told_to_both(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, ten, fulfilment=base64url(bytes(32)))) == [
        f"payerfsp: ERROR {INVALID_FULFILMENT}",
        f"payeefsp: ERROR {INVALID_FULFILMENT}",
    ]


def test_an_invalid_fulfilment_of_reserved_is_told_the_payee_by_patch_too(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    assert after(hub, reserved(hub, ten, fulfilment=None)) == [
        f"payerfsp: ERROR {INVALID_FULFILMENT}",
        f"payeefsp: ERROR {INVALID_FULFILMENT}",
        f"payeefsp: PATCH ABORTED, {caused(INVALID_FULFILMENT)}",
    ]


def test_a_fulfilment_that_did_not_fulfil_is_not_kept(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, ten, fulfilment=base64url(bytes(32))))
    assert hub.transfer(ten.transfer_id).fulfilment is None


def test_a_transfer_aborted_for_its_answer_went_through_its_states_in_order(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    hub.accept(fulfil(hub, ten, fulfilment=None))
    assert history(hub, ten) == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_ERROR", "ABORTED_ERROR"]


def test_after_an_invalid_fulfilment_the_right_one_is_a_modified_request(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    hub.accept(fulfil(hub, ten, fulfilment=base64url(bytes(32))))
    assert after(hub, fulfil(hub, ten)) == [f"payeefsp: ERROR {MODIFIED}"]
    assert state(hub, ten) is State.ABORTED_ERROR


def test_the_fulfilment_of_another_transfer_does_not_fulfil(hub: SchemeBench, ten: PrepareTransfer) -> None:
    secret = bytes(reversed(PREIMAGE))
    other = prepare(hub, "20 USD", condition=condition_of(secret))
    hub.accept(other)
    hub.accept(fulfil(hub, ten, fulfilment=base64url(secret)))
    hub.accept(fulfil(hub, other, fulfilment=base64url(secret)))
    assert (state(hub, ten), state(hub, other), positions(hub)) == (
        State.ABORTED_ERROR,
        State.COMMITTED,
        ("20", "-20"),
    )


def test_aborted_by_put_is_ignored(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, ten, state="ABORTED", fulfilment=None)) == []
    assert (state(hub, ten), positions(hub)) == (State.RESERVED, ("10", "0"))


def test_after_an_ignored_aborted_the_payee_may_still_answer(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, ten, state="ABORTED", fulfilment=None))
    hub.accept(fulfil(hub, ten))
    assert state(hub, ten) is State.COMMITTED


def test_any_other_state_in_an_answer_is_refused_and_changes_nothing(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, ten, state="RECEIVED")) == [
        f"payeefsp: ERROR {VALIDATION}transferState should be COMMITTED or RESERVED"
    ]
    assert state(hub, ten) is State.RESERVED


# --- fulfil: too late -------------------------------------------------------------------------------------------


@pytest.fixture
def overdue(hub: SchemeBench, ten: PrepareTransfer) -> PrepareTransfer:
    """`ten`, past its expiration, before the timer has come."""
    hub.advance(EXPIRY_MS)
    return ten


def test_a_commit_past_the_expiration_is_refused_with_3303(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, overdue)) == [f"payeefsp: ERROR {EXPIRED}"]


def test_a_commit_past_the_expiration_moves_nothing(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, overdue))
    assert (state(hub, overdue), positions(hub)) == (State.RESERVED, ("10", "0"))


def test_reserved_past_the_expiration_is_told_by_patch_too(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    assert after(hub, reserved(hub, overdue)) == [
        f"payeefsp: ERROR {EXPIRED}",
        f"payeefsp: PATCH ABORTED, {caused(EXPIRED)}",
    ]


@pytest.mark.parametrize("kind", ANSWERS)
def test_after_a_late_answer_the_timer_ends_it_and_tells_both(
    hub: SchemeBench, overdue: PrepareTransfer, kind: str
) -> None:
    hub.accept(answer_of(kind, hub, overdue))
    assert after(hub, ExpireTransfers()) == [f"payerfsp: ERROR {EXPIRED}", f"payeefsp: ERROR {EXPIRED}"]


def test_an_error_past_the_expiration_is_refused_with_3303(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    assert after(hub, abort(hub, overdue)) == [f"payeefsp: ERROR {EXPIRED}"]


def test_a_resend_of_a_late_answer_is_ignored_until_the_timer_has_come(
    hub: SchemeBench, overdue: PrepareTransfer
) -> None:
    late = fulfil(hub, overdue)
    hub.accept(late)
    assert after(hub, late) == []


def test_a_resend_of_a_late_answer_is_told_the_end(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    late = fulfil(hub, overdue)
    hub.accept(late)
    hub.expire()
    assert after(hub, late) == [f"payeefsp: PUT ABORTED, {caused(EXPIRED)}"]


def test_an_invalid_fulfilment_is_named_before_the_expiration(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    assert after(hub, fulfil(hub, overdue, fulfilment=None))[0] == f"payerfsp: ERROR {INVALID_FULFILMENT}"


def test_an_answer_after_the_expiry_finds_it_not_reserved(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.expire()
    assert after(hub, fulfil(hub, overdue)) == [f"payeefsp: ERROR {NON_RESERVED}"]


def test_reserved_after_the_expiry_is_told_aborted_by_patch(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.expire()
    assert after(hub, reserved(hub, overdue)) == [
        f"payeefsp: ERROR {NON_RESERVED}",
        f"payeefsp: PATCH ABORTED, {caused(NON_RESERVED)}",
    ]


def test_an_answer_after_an_abort_finds_it_not_reserved(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    assert after(hub, fulfil(hub, ten)) == [f"payeefsp: ERROR {NON_RESERVED}"]
    assert (state(hub, ten), positions(hub)) == (State.ABORTED_ERROR, ("0", "0"))


def test_an_error_after_the_commit_finds_it_not_reserved(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert after(hub, abort(hub, ten)) == [f"payeefsp: ERROR {NON_RESERVED}"]
    assert (state(hub, ten), positions(hub)) == (State.COMMITTED, ("10", "-10"))


def test_a_wrong_destination_after_the_commit_changes_nothing(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    hub.accept(abort(hub, ten, destination=OTHER))
    assert (state(hub, ten), positions(hub)) == (State.COMMITTED, ("10", "-10"))


# --- fulfil: resends --------------------------------------------------------------------------------------------


def test_a_resent_commit_is_answered_with_the_result(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert after(hub, committed) == ["payeefsp: PUT COMMITTED with fulfilment"]


def test_a_resent_commit_moves_nothing_more(hub: SchemeBench, committed: FulfilTransfer) -> None:
    hub.accept(committed)
    assert positions(hub) == ("10", "-10")


def test_a_resent_reserved_is_answered_by_patch(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer = reserved(hub, ten)
    hub.accept(answer)
    assert after(hub, answer) == ["payeefsp: PATCH COMMITTED"]


def test_a_resent_invalid_fulfilment_is_answered_with_the_cause(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer = fulfil(hub, ten, fulfilment=None)
    hub.accept(answer)
    assert after(hub, answer) == [f"payeefsp: PUT ABORTED, {caused(INVALID_FULFILMENT)}"]


def test_a_resent_error_is_answered_with_the_result(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer = abort(hub, ten)
    hub.accept(answer)
    assert after(hub, answer) == [f"payeefsp: PUT ABORTED, {caused(DECLINED)}"]


def test_a_modified_commit_is_refused_with_3106(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert after(hub, fulfil(hub, ten, note="changed")) == [f"payeefsp: ERROR {MODIFIED}"]


def test_reserved_after_committed_is_a_modified_request(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    assert after(hub, reserved(hub, ten)) == [f"payeefsp: ERROR {MODIFIED}"]


def test_a_modified_error_is_refused_with_3106(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    assert after(hub, abort(hub, ten, "5000", "Generic Payee error")) == [f"payeefsp: ERROR {MODIFIED}"]


def test_a_modified_late_answer_is_refused_with_3106(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, overdue))
    assert after(hub, fulfil(hub, overdue, note="changed")) == [f"payeefsp: ERROR {MODIFIED}"]


def test_two_answers_of_one_batch_end_it_once(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer = fulfil(hub, ten)
    hub.run_many([answer, answer])
    assert told(hub) == [
        "payerfsp: PUT from payeefsp",
        "payeefsp: PUT COMMITTED with fulfilment",
        "payeefsp: PUT COMMITTED with fulfilment",
    ]
    assert positions(hub) == ("10", "-10")


def test_a_modified_answer_of_one_batch_is_refused_and_the_first_stands(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.run_many([fulfil(hub, ten), fulfil(hub, ten, note="changed")])
    assert (told(hub)[-1], state(hub, ten)) == (f"payeefsp: ERROR {MODIFIED}", State.COMMITTED)


@pytest.mark.parametrize(
    ("order", "end", "position"),
    [(("fulfil", "abort"), State.COMMITTED, "10"), (("abort", "fulfil"), State.ABORTED_ERROR, "0")],
)
def test_of_two_different_answers_of_one_batch_the_first_decides(
    hub: SchemeBench, ten: PrepareTransfer, order: tuple[str, str], end: State, position: str
) -> None:
    hub.run_many([answer_of(kind, hub, ten) for kind in order])
    assert (told(hub)[-1], state(hub, ten), hub.position(PAYER, "USD")) == (
        f"payeefsp: ERROR {NON_RESERVED}",
        end,
        position,
    )


def test_prepare_and_answer_of_one_batch_are_taken_in_order(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD")
    hub.run_many([command, fulfil(hub, command)])
    assert (state(hub, command), positions(hub)) == (State.COMMITTED, ("10", "-10"))


# --- abort ------------------------------------------------------------------------------------------------------


def test_an_error_frees_what_was_reserved(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    assert (state(hub, ten), positions(hub), hub.available(PAYER, "USD")) == (State.ABORTED_ERROR, ("0", "0"), "1000")


def test_an_error_gives_the_payer_the_payees_bytes(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer = abort(hub, ten)
    hub.accept(answer)
    notice = hub.take_notices()[0]
    assert (notice.to, notice.action, notice.body) == (PAYER, Action.ERROR, Forward(answer.message))


def test_an_error_is_confirmed_to_the_payee(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, abort(hub, ten)) == ["payerfsp: ERROR from payeefsp", f"payeefsp: ERROR {DECLINED}"]


def test_an_error_is_not_confirmed_where_the_scheme_says_so(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.rules = Scheme(confirm_to_payee=False)
    assert after(hub, abort(hub, ten)) == ["payerfsp: ERROR from payeefsp"]


def test_an_error_keeps_its_code_and_description(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten, "5200", "Beyond the wallet's limit"))
    transfer = hub.transfer(ten.transfer_id)
    assert (transfer.error_code, transfer.error_description) == ("5200", "Beyond the wallet's limit")


def test_an_error_leaves_no_settlement_window(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    assert hub.transfer(ten.transfer_id).settlement_window_id is None


def test_a_declined_transfer_went_through_its_states_in_order(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    assert history(hub, ten) == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_ERROR", "ABORTED_ERROR"]


@pytest.mark.parametrize("code", sorted(member.code for member in ErrorCode))
def test_every_code_of_the_table_is_relayed(hub: SchemeBench, code: str) -> None:
    command = prepare(hub, "10 USD")
    hub.accept(command)
    assert after(hub, abort(hub, command, code))[0] == "payerfsp: ERROR from payeefsp"


@pytest.mark.parametrize("code", ["5040", "5099", "5199", "4040", "3299", "2040"])
def test_a_schemes_own_code_of_a_known_group_is_relayed(hub: SchemeBench, ten: PrepareTransfer, code: str) -> None:
    assert after(hub, abort(hub, ten, code, "our own"))[0] == "payerfsp: ERROR from payeefsp"
    assert hub.transfer(ten.transfer_id).error_code == code


UNDEFINED_CODE = f"{VALIDATION}API specification undefined errorCode"


@pytest.mark.parametrize("code", ["9999", "0000", "7000", "5500", "510", "51040", "51a4", "５１０４"])
def test_an_undefined_code_aborts_with_3100_from_the_hub(hub: SchemeBench, ten: PrepareTransfer, code: str) -> None:
    assert not is_known_group(code)
    assert after(hub, abort(hub, ten, code)) == [
        f"payerfsp: ERROR {UNDEFINED_CODE}",
        f"payeefsp: ERROR {UNDEFINED_CODE}",
    ]
    assert (state(hub, ten), positions(hub)) == (State.ABORTED_ERROR, ("0", "0"))


# --- get --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("party", [PAYER, PAYEE])
def test_a_party_may_ask_for_a_transfer(hub: SchemeBench, ten: PrepareTransfer, party: str) -> None:
    assert after(hub, get(hub, ten, party)) == [f"{party}: PUT RESERVED"]


def test_a_committed_transfer_is_answered_with_its_fulfilment_and_time(
    hub: SchemeBench, ten: PrepareTransfer, committed: FulfilTransfer
) -> None:
    committed_ms = hub.now_ms
    hub.advance(5_000)
    hub.accept(get(hub, ten))
    (notice,) = hub.take_notices()
    assert notice.body == TransferBody("COMMITTED", committed_ms, FULFILMENT)


def test_an_aborted_transfer_is_answered_with_its_cause(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, ten, fulfilment=None))
    assert after(hub, get(hub, ten)) == [
        "payerfsp: PUT ABORTED, cause 3100: Generic validation error - invalid fulfilment"
    ]


def test_an_answer_is_written_in_the_version_that_was_asked_for(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(get(hub, ten, version="2.0"))
    (notice,) = hub.take_notices()
    assert notice.version == "2.0"


def test_a_stranger_to_a_transfer_is_refused_with_3000(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, get(hub, ten, OTHER)) == ["otherfsp: ERROR 3000 Generic client error"]


def test_an_unknown_transfer_is_answered_with_3208(hub: SchemeBench) -> None:
    assert after(hub, get(hub, prepare(hub, "10 USD"))) == [
        "payerfsp: ERROR 3208 Transfer ID not found - Provided Transfer ID was not found on the server."
    ]


def test_an_inactive_requester_is_ignored(hub: SchemeBench, ten: PrepareTransfer) -> None:
    deactivate(hub, PAYER)
    assert after(hub, get(hub, ten)) == []


def test_an_unknown_requester_is_ignored(hub: SchemeBench, ten: PrepareTransfer) -> None:
    assert after(hub, get(hub, ten, "stranger")) == []


def test_a_participant_may_ask_for_its_movements_of_funds(hub: SchemeBench) -> None:
    movement = hub.funds_in(PAYER, "1 USD")
    hub.accept(movement)
    question = get(hub, prepare(hub, "1 USD", wire_id=movement.wire_id))
    assert after(hub, question) == ["payerfsp: PUT COMMITTED"]


def test_asking_changes_nothing(hub: SchemeBench, ten: PrepareTransfer) -> None:
    before = hub.transfer(ten.transfer_id)
    hub.accept(get(hub, ten))
    assert (hub.transfer(ten.transfer_id), positions(hub)) == (before, ("10", "0"))


# --- expiry -----------------------------------------------------------------------------------------------------


def test_expiry_tells_both_parties_3303(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    assert after(hub, ExpireTransfers()) == [f"payerfsp: ERROR {EXPIRED}", f"payeefsp: ERROR {EXPIRED}"]


def test_expiry_frees_what_was_reserved(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.expire()
    assert (positions(hub), hub.available(PAYER, "USD")) == (("0", "0"), "1000")


def test_nothing_expires_a_millisecond_early(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS - 1)
    hub.expire()
    assert state(hub, ten) is State.RESERVED


def test_a_transfer_expires_once(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.expire()
    assert after(hub, ExpireTransfers(), ExpireTransfers()) == []


def test_two_timers_of_one_batch_expire_a_transfer_once(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.run_many([ExpireTransfers(), ExpireTransfers()])
    assert len(told(hub)) == 2


def test_an_expired_transfer_went_through_its_states_in_order(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.expire()
    assert history(hub, overdue) == ["RECEIVED_PREPARE", "RESERVED", "RESERVED_TIMEOUT", "EXPIRED_RESERVED"]


def test_an_expired_transfer_keeps_the_reason_and_its_time(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    hub.expire()
    transfer = hub.transfer(overdue.transfer_id)
    assert (transfer.error_code, transfer.error_description, transfer.completed_ms) == (
        "3303",
        "Transfer expired",
        hub.now_ms,
    )


@pytest.mark.parametrize("kind", ["fulfil", "abort"])
def test_what_has_ended_does_not_expire(hub: SchemeBench, ten: PrepareTransfer, kind: str) -> None:
    hub.accept(answer_of(kind, hub, ten))
    hub.advance(EXPIRY_MS)
    assert after(hub, ExpireTransfers()) == []


def test_expiry_is_told_to_each_side_in_its_own_version(hub: SchemeBench) -> None:
    hub.accept(prepare(hub, "10 USD", version="1.0", answer_version="1.1"))
    hub.advance(EXPIRY_MS)
    hub.take_notices()
    hub.expire()
    assert [(notice.to, notice.version) for notice in hub.take_notices()] == [(PAYER, "1.1"), (PAYEE, "1.0")]


def test_the_timer_says_how_many_it_has_ended(hub: SchemeBench) -> None:
    hub.run_many([prepare(hub, "1 USD") for _ in range(3)])
    hub.advance(EXPIRY_MS)
    assert hub.accept(ExpireTransfers()).value == 3


def test_one_run_of_the_timer_ends_no_more_than_its_limit_and_the_next_the_rest(hub: SchemeBench) -> None:
    hub.run_many([prepare(hub, "0.0001 USD") for _ in range(EXPIRE_MAX + 1)])
    hub.advance(EXPIRY_MS)
    assert [hub.accept(ExpireTransfers()).value for _ in range(3)] == [EXPIRE_MAX, 1, 0]
    assert hub.position(PAYER, "USD") == "0"


def test_what_expired_while_it_waited_is_told_the_payer(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", expires_in_ms=1)
    hub.advance(1)
    assert after(hub, command) == [f"payerfsp: ERROR {EXPIRED}"]
    assert (state(hub, command), positions(hub)) == (State.EXPIRED_PREPARED, ("0", "0"))


def test_what_expired_while_it_waited_was_never_reserved(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", expires_in_ms=1)
    hub.advance(1)
    hub.accept(command)
    assert history(hub, command) == ["RECEIVED_PREPARE", "EXPIRED_PREPARED"]


# --- on-us ------------------------------------------------------------------------------------------------------


@pytest.fixture
def to_itself(hub: SchemeBench, on_us: None) -> PrepareTransfer:
    """10 USD from payerfsp to payerfsp, reserved."""
    command = prepare(hub, "10 USD", payee=PAYER)
    hub.accept(command)
    hub.take_notices()
    return command


def test_an_on_us_transfer_goes_back_to_its_participant(hub: SchemeBench, on_us: None) -> None:
    assert after(hub, prepare(hub, "10 USD", payee=PAYER)) == ["payerfsp: POST from payerfsp"]


def test_an_on_us_transfer_is_owed_while_it_is_reserved(hub: SchemeBench, to_itself: PrepareTransfer) -> None:
    assert (hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == ("10", "990")


def test_an_on_us_transfer_nets_to_zero(hub: SchemeBench, to_itself: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, to_itself))
    assert (state(hub, to_itself), hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == (
        State.COMMITTED,
        "0",
        "1000",
    )


def test_an_on_us_transfer_is_in_a_settlement_window(hub: SchemeBench, to_itself: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, to_itself))
    assert hub.transfer(to_itself.transfer_id).settlement_window_id == hub.directory.open_window_id


def test_an_on_us_transfer_respects_the_headroom(hub: SchemeBench, on_us: None) -> None:
    assert after(hub, prepare(hub, "1000.0001 USD", payee=PAYER)) == [f"payerfsp: ERROR {NO_LIQUIDITY}"]


def test_on_us_transfers_of_one_batch_respect_the_headroom_together(hub: SchemeBench, on_us: None) -> None:
    hub.run_many([prepare(hub, "600 USD", payee=PAYER), prepare(hub, "600 USD", payee=PAYER)])
    assert hub.position(PAYER, "USD") == "600"


def test_an_on_us_transfer_that_is_aborted_is_free_again(hub: SchemeBench, to_itself: PrepareTransfer) -> None:
    hub.accept(abort(hub, to_itself))
    assert (hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == ("0", "1000")


def test_an_on_us_transfer_that_expires_is_free_again(hub: SchemeBench, to_itself: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS)
    hub.expire()
    assert (hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == ("0", "1000")


def test_the_expiry_of_an_on_us_transfer_is_told_once(hub: SchemeBench, to_itself: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS)
    assert after(hub, ExpireTransfers()) == [f"payerfsp: ERROR {EXPIRED}"]


def test_on_us_transfers_of_one_batch_are_committed_together(hub: SchemeBench, on_us: None) -> None:
    batch = [prepare(hub, f"{amount} USD", payee=PAYER) for amount in (1, 2, 3)]
    hub.run_many(batch)
    hub.run_many([fulfil(hub, batch[0]), abort(hub, batch[1]), fulfil(hub, batch[2])])
    assert [state(hub, command).api for command in batch] == ["COMMITTED", "ABORTED", "COMMITTED"]
    assert hub.position(PAYER, "USD") == "0"


def test_the_account_through_which_on_us_transfers_pass_is_never_shown(hub: SchemeBench) -> None:
    shown = hub.read(lambda tx, ledger, directory: accounts.accounts(tx, ledger, directory.participants[HUB]))
    assert HUB_ON_US not in {account.type for account in shown}


# --- participants and accounts that are switched off ------------------------------------------------------------


@pytest.mark.parametrize("party", [PAYER, PAYEE])
def test_a_participant_deactivated_after_the_reservation_still_completes(
    hub: SchemeBench, ten: PrepareTransfer, party: str
) -> None:
    deactivate(hub, party)
    hub.accept(fulfil(hub, ten))
    assert (state(hub, ten), positions(hub)) == (State.COMMITTED, ("10", "-10"))


@pytest.mark.parametrize("party", [PAYER, PAYEE])
def test_a_position_deactivated_after_the_reservation_still_completes(
    hub: SchemeBench, ten: PrepareTransfer, party: str
) -> None:
    deactivate_position(hub, party)
    hub.accept(fulfil(hub, ten))
    assert positions(hub) == ("10", "-10")


def test_a_deactivated_party_is_still_told_of_what_was_reserved(hub: SchemeBench, overdue: PrepareTransfer) -> None:
    deactivate(hub, PAYER)
    assert after(hub, ExpireTransfers()) == [f"payerfsp: ERROR {EXPIRED}", f"payeefsp: ERROR {EXPIRED}"]


def test_a_participant_switched_on_again_may_pay_again(hub: SchemeBench) -> None:
    deactivate(hub, PAYER)
    hub.accept(SetParticipantActive(name=FspId(PAYER), is_active=True))
    assert after(hub, prepare(hub, "10 USD")) == ["payeefsp: POST from payerfsp"]


# --- states -----------------------------------------------------------------------------------------------------


def test_every_state_is_shown_as_one_of_the_apis(hub: SchemeBench) -> None:
    assert {each.name: each.api for each in State} == {
        "RECEIVED_PREPARE": "RECEIVED",
        "RESERVED": "RESERVED",
        "RECEIVED_FULFIL": "RESERVED",
        "RECEIVED_ERROR": "RESERVED",
        "RESERVED_TIMEOUT": "RESERVED",
        "COMMITTED": "COMMITTED",
        "ABORTED_REJECTED": "ABORTED",
        "ABORTED_ERROR": "ABORTED",
        "EXPIRED_PREPARED": "ABORTED",
        "EXPIRED_RESERVED": "ABORTED",
        "INVALID": "ABORTED",
    }


def test_a_state_is_final_exactly_when_it_is_shown_so(hub: SchemeBench) -> None:
    assert frozenset(each for each in State if each.api in ("COMMITTED", "ABORTED")) == FINAL_STATES


def test_a_result_is_worth_sending_for_as_long_as_the_scheme_says(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(reserved(hub, ten))
    assert {notice.deadline_ms for notice in hub.take_notices()} == {hub.now_ms + 86_400_000}


def test_what_answers_a_message_passes_on_its_trace(hub: SchemeBench, ten: PrepareTransfer) -> None:
    question = get(hub, ten)
    hub.accept(question)
    (notice,) = hub.take_notices()
    assert notice.trace == question.message.trace
