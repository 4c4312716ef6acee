"""The rules of clearing, one test each: prepare, fulfil, abort, expire, get, and what each party is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.switch.scheme_bench import SchemeBench, new_transfer_id
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


def is_unknown(hub: SchemeBench, command: PrepareTransfer) -> bool:
    return not hub.read(
        lambda tx, _ledger, _directory: tx.query(
            "SELECT 1 FROM transfer WHERE transfer_id = ?", (command.transfer_id,)
        )
    )


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
    assert refused_prepare(hub, command) == "Condition is not 32 bytes in base64url"


@pytest.mark.parametrize("expires_in_ms", [0, -1])
def test_an_expiration_that_is_not_in_the_future_is_refused_with_3100(hub: SchemeBench, expires_in_ms: int) -> None:
    command = prepare(hub, "10 USD", expires_in_ms=expires_in_ms)
    assert refused_prepare(hub, command) == "Expiration date is already in the past"


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
        (3, "Condition is not 32 bytes in base64url"),
        (4, "Expiration date is already in the past"),
        (5, "Payer FSP and Payee FSP should be different, unless on-us transfers are allowed by the Scheme"),
        (6, "Participant lonely USD account not found"),
    ],
)
def test_the_first_broken_rule_is_the_one_named(hub: SchemeBench, sound: int, reason: str) -> None:
    (line,) = after(hub, faulty(hub, sound=sound))
    assert line.partition(": ERROR ")[2] == f"{VALIDATION}{reason}"


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
