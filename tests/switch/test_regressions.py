"""Defects that participants of other hubs have met: each is shown here not to be one of ours.

They come from the reference's public tracker and from reading its code; a test is named for what must be so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from decimal import Decimal

import msgspec
import pytest
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import (
    EXPIRY_MS,
    OTHER,
    PAYEE,
    PAYER,
    abort,
    answer_quote,
    audited,
    base64url,
    fulfil,
    get,
    prepare,
    request_quote,
    reserved,
    told,
)

from vuka.api.hub import FEES
from vuka.ids import format_ulid, parse_id
from vuka.money import AMOUNT_MAX, Amount, Currency
from vuka.switch import transfers
from vuka.switch.transfers import FINAL_STATES, AbortTransfer, ExpireTransfers, FulfilTransfer, PrepareTransfer, State
from vuka.switch.work import Action, Command, ErrorBody, Notice, TransferBody

API_STATES = frozenset(("RECEIVED", "RESERVED", "COMMITTED", "ABORTED"))


@pytest.fixture(autouse=True)
def books(hub: SchemeBench) -> Iterator[None]:
    """payerfsp with 100 USD of cap and of liquidity, payeefsp and otherfsp with as much; audited in the end."""
    for name in (PAYER, PAYEE, OTHER):
        hub.onboard(name, "USD", cap="100", funds="100")
    hub.take_quotes(PAYER, PAYEE, OTHER)
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


def state(hub: SchemeBench, command: PrepareTransfer) -> State:
    return hub.transfer(command.transfer_id).state


def everything(hub: SchemeBench) -> list[Notice]:
    """The messages of a life in which a transfer meets every end, every resend and every question."""
    committing, declining, garbling, expiring, late = (prepare(hub, "1 USD") for _ in range(5))
    refusing, invalid = prepare(hub, "101 USD"), prepare(hub, "1 USD", payee="nobody")
    commands: list[Command] = [committing, declining, garbling, expiring, late, refusing, invalid]
    answers: list[Command] = [
        reserved(hub, committing),
        abort(hub, declining),
        reserved(hub, garbling, fulfilment=base64url(bytes(32))),
    ]
    asked = (committing, declining, garbling, expiring, late, refusing, invalid)
    for command in (*commands, *commands):
        hub.accept(command)
    for command in answers:
        hub.accept(command)
    hub.advance(EXPIRY_MS)
    hub.accept(reserved(hub, late))
    for command in (
        ExpireTransfers(),
        *commands,
        *answers,
        reserved(hub, expiring),
        *(get(hub, each) for each in asked),
    ):
        hub.accept(command)
    return hub.take_notices()


# --- from the tracker -------------------------------------------------------------------------------------------


def test_patch_committed_is_not_owed_before_the_hub_itself_has_committed(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    with hub.work() as work:
        transfers.fulfil(work, [reserved(hub, ten)], fees=FEES)
        patch = work.notices[-1]
        ((recorded,),) = work.tx.query("SELECT state FROM transfer WHERE transfer_id = ?", (ten.transfer_id,))
    assert isinstance(patch.body, TransferBody)
    assert (patch.action, patch.body.state, recorded) == (Action.PATCH, "COMMITTED", "COMMITTED")


def test_nothing_is_owed_when_the_commit_is_undone(hub: SchemeBench, ten: PrepareTransfer) -> None:
    class CrashError(Exception):
        pass

    answer = reserved(hub, ten)

    def crash() -> None:
        with hub.work() as work:
            transfers.fulfil(work, [answer], fees=FEES)
            raise CrashError

    with pytest.raises(CrashError):
        crash()
    assert (told(hub), state(hub, ten)) == ([], State.RESERVED)
    if hub.read(lambda _tx, ledger, _directory: ledger.shares_transaction):
        assert hub.position(PAYEE, "USD") == "0"
        return
    # A ledger elsewhere has done it already: sent again, the answer finds it done, and the records follow.
    assert hub.position(PAYEE, "USD") == "-10"
    hub.accept(answer)
    assert (state(hub, ten), hub.position(PAYEE, "USD")) == (State.COMMITTED, "-10")


def test_a_timeout_resets_the_position(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS)
    hub.expire()
    assert (hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == ("0", "100")


def test_timeouts_of_a_whole_batch_reset_the_position(hub: SchemeBench) -> None:
    hub.run_many([prepare(hub, "12.5 USD") for _ in range(8)])
    hub.advance(EXPIRY_MS)
    hub.expire()
    assert (hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == ("0", "100")


def test_internal_states_never_reach_a_participant(hub: SchemeBench) -> None:
    shown = {notice.body.state for notice in everything(hub) if isinstance(notice.body, TransferBody)}
    assert shown == {"RESERVED", "COMMITTED", "ABORTED"} <= API_STATES


def test_only_a_final_state_carries_a_completion_time(hub: SchemeBench) -> None:
    for notice in everything(hub):
        if isinstance(notice.body, TransferBody):
            assert (notice.body.completed_ms is not None) == (notice.body.state in ("COMMITTED", "ABORTED"))


def test_every_timeout_has_the_same_code(hub: SchemeBench) -> None:
    waited = prepare(hub, "1 USD", expires_in_ms=1)
    reserved_in_time, answered_late, declined_late = (prepare(hub, "1 USD") for _ in range(3))
    hub.run_many([reserved_in_time, answered_late, declined_late])
    hub.advance(EXPIRY_MS)
    hub.take_notices()
    for command in (waited, fulfil(hub, answered_late), abort(hub, declined_late), ExpireTransfers()):
        hub.accept(command)
    bodies = [notice.body for notice in hub.take_notices()]
    assert len(bodies) == 1 + 1 + 1 + 2 * 3
    assert set(bodies) == {ErrorBody("3303", "Transfer expired")}


def test_timeouts_are_not_told_again_for_what_has_been_aborted(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten))
    hub.take_notices()
    hub.advance(EXPIRY_MS)
    for _ in range(3):
        hub.expire()
        hub.advance(EXPIRY_MS)
    assert told(hub) == []


def test_a_timeout_is_told_once(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS)
    for _ in range(3):
        hub.expire()
        hub.advance(EXPIRY_MS)
    assert len(told(hub)) == 2


@pytest.mark.parametrize("answer", ["COMMITTED", "RESERVED"])
def test_a_transfer_committed_by_reserved_has_a_settlement_window_too(
    hub: SchemeBench, ten: PrepareTransfer, answer: str
) -> None:
    hub.accept(fulfil(hub, ten, state=answer))
    assert hub.transfer(ten.transfer_id).settlement_window_id == hub.directory.open_window_id != 0


def test_a_wrong_source_is_refused_and_the_payees_answer_still_counts(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(reserved(hub, ten, source=OTHER))
    hub.accept(reserved(hub, ten))
    assert state(hub, ten) is State.COMMITTED


# --- from the code: positions and limits ------------------------------------------------------------------------


def test_transfers_of_one_batch_do_not_exceed_the_limits_together(hub: SchemeBench) -> None:
    batch = [prepare(hub, "30 USD") for _ in range(10)]
    hub.run_many(batch)
    assert [state(hub, each) for each in batch].count(State.RESERVED) == 3
    assert hub.position(PAYER, "USD") == "90"


def test_a_batch_that_is_refused_in_part_uses_the_limits_to_the_last_minor_unit(hub: SchemeBench) -> None:
    hub.run_many([prepare(hub, amount) for amount in ("99.9999 USD", "0.0002 USD", "0.0001 USD")])
    assert (hub.position(PAYER, "USD"), hub.available(PAYER, "USD")) == ("100", "0")


def test_amounts_that_floats_cannot_hold_are_exact(hub: SchemeBench) -> None:
    amounts = ["0.1", "0.2", "0.0001", "33.3333"]
    hub.run_many([prepare(hub, f"{amount} USD") for amount in amounts])
    assert Decimal(hub.position(PAYER, "USD")) == sum(map(Decimal, amounts))


def test_amounts_beyond_the_precision_of_a_float_are_exact(hub: SchemeBench) -> None:
    whole = "900000000000000.0001"
    minor = Amount.from_string(f"{whole} USD").minor
    assert int(struct.unpack("d", struct.pack("d", minor))[0]) != minor
    hub.onboard("richfsp", "USD", cap=whole, funds=whole)
    assert hub.accept(prepare(hub, f"{whole} USD", payer="richfsp")).error is None
    assert hub.position("richfsp", "USD") == whole


def test_an_amount_that_no_balance_can_hold_is_refused_to_its_payer_alone(hub: SchemeBench) -> None:
    sound = prepare(hub, "10 USD")
    huge = prepare(hub, Amount(Currency("USD"), AMOUNT_MAX).wire + " USD")
    hub.run_many([huge, sound])
    assert told(hub) == ["payerfsp: ERROR 4001 Payer FSP insufficient liquidity", "payeefsp: POST from payerfsp"]
    assert (state(hub, huge), state(hub, sound)) == (State.ABORTED_REJECTED, State.RESERVED)


# --- from the code: who may end a transfer ----------------------------------------------------------------------

OUTSIDERS = [OTHER, PAYER]


@pytest.mark.parametrize("source", OUTSIDERS)
def test_nobody_who_knows_an_id_can_abort_anothers_transfer(
    hub: SchemeBench, ten: PrepareTransfer, source: str
) -> None:
    for answer in (abort(hub, ten, source=source), fulfil(hub, ten, source=source, fulfilment=None)):
        hub.accept(answer)
    assert (state(hub, ten), hub.position(PAYER, "USD")) == (State.RESERVED, "10")


@pytest.mark.parametrize("source", OUTSIDERS)
def test_nobody_can_undo_the_payers_debit_after_the_commit(hub: SchemeBench, ten: PrepareTransfer, source: str) -> None:
    hub.accept(fulfil(hub, ten))
    for answer in (abort(hub, ten, source=source), fulfil(hub, ten, source=source, fulfilment=None)):
        hub.accept(answer)
    assert (state(hub, ten), hub.position(PAYER, "USD"), hub.position(PAYEE, "USD")) == (State.COMMITTED, "10", "-10")


def test_the_payee_itself_cannot_undo_a_commit(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(fulfil(hub, ten))
    for answer in (abort(hub, ten), abort(hub, ten, destination=OTHER), fulfil(hub, ten, fulfilment=None)):
        hub.accept(answer)
    assert (state(hub, ten), hub.position(PAYER, "USD"), hub.position(PAYEE, "USD")) == (State.COMMITTED, "10", "-10")


def test_an_outsiders_answer_tells_the_parties_nothing(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.accept(abort(hub, ten, source=OTHER))
    assert {notice.to for notice in hub.take_notices()} == {OTHER}


def test_an_outsiders_answer_does_not_pass_for_the_payees_first(hub: SchemeBench, ten: PrepareTransfer) -> None:
    answer: FulfilTransfer | AbortTransfer = fulfil(hub, ten, source=OTHER)
    hub.accept(answer)
    hub.accept(fulfil(hub, ten, note="the payee's own words"))
    assert state(hub, ten) is State.COMMITTED


def test_nobody_can_use_up_anothers_id(hub: SchemeBench) -> None:
    mine = prepare(hub, "10 USD")
    hub.accept(prepare(hub, "1 USD", source=OTHER, wire_id=mine.message.resource_id))
    hub.accept(mine)
    assert state(hub, mine) is State.RESERVED


# --- from the code: what is told --------------------------------------------------------------------------------


def test_what_expired_before_it_was_reserved_is_told_its_payer(hub: SchemeBench) -> None:
    command = prepare(hub, "10 USD", expires_in_ms=1)
    hub.advance(5)
    hub.accept(command)
    assert told(hub) == ["payerfsp: ERROR 3303 Transfer expired"]


def test_the_payer_learns_every_end(hub: SchemeBench) -> None:
    ends = [notice.resource_id for notice in everything(hub) if notice.to == PAYER and notice.action is not Action.POST]
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query("SELECT wire_id, state FROM transfer WHERE kind = 'PAYMENT'")
    )
    assert {wire_id for wire_id, _ in rows} <= set(ends)
    assert {State(each) for _, each in rows} <= FINAL_STATES


def test_a_fulfilment_past_the_expiration_never_commits_however_late_the_timer(
    hub: SchemeBench, ten: PrepareTransfer
) -> None:
    hub.advance(EXPIRY_MS)
    hub.accept(fulfil(hub, ten))
    hub.advance(30_000)
    hub.expire()
    assert (state(hub, ten), hub.position(PAYER, "USD"), hub.position(PAYEE, "USD")) == (
        State.EXPIRED_RESERVED,
        "0",
        "0",
    )


def test_what_was_accepted_in_time_does_not_expire(hub: SchemeBench, ten: PrepareTransfer) -> None:
    hub.advance(EXPIRY_MS - 1)
    hub.accept(fulfil(hub, ten))
    hub.advance(EXPIRY_MS)
    hub.expire()
    assert state(hub, ten) is State.COMMITTED


def test_the_fulfilment_never_goes_out_before_the_commit(hub: SchemeBench) -> None:
    for notice in everything(hub):
        if isinstance(notice.body, TransferBody) and notice.body.fulfilment is not None:
            assert notice.body.state == "COMMITTED"


# --- from the code: quotes --------------------------------------------------------------------------------------


def test_a_modified_quote_is_refused_rather_than_passed_on_blindly(hub: SchemeBench) -> None:
    first = request_quote(hub, "10 USD")
    hub.accept(first)
    hub.take_notices()
    hub.accept(request_quote(hub, "1000 USD", wire_id=first.message.resource_id))
    assert told(hub) == ["payerfsp: ERROR 3106 Modified request"]


def test_a_resent_quote_goes_out_as_it_first_did(hub: SchemeBench) -> None:
    command = request_quote(hub)
    hub.accept(command)
    (first,) = hub.take_notices()
    hub.accept(command)
    (again,) = hub.take_notices()
    assert again == first


def test_terms_that_nobody_asked_for_reach_nobody_else(hub: SchemeBench) -> None:
    hub.accept(answer_quote(hub, request_quote(hub)))
    assert {notice.to for notice in hub.take_notices()} == {PAYEE}


def test_ids_in_the_hubs_own_range_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="neither a lower-case UUID nor an upper-case ULID"):
        parse_id("ff000000-0000-f000-8000-000000000000")


@pytest.mark.parametrize("answer", [fulfil, abort])
def test_a_payer_is_told_of_its_transfer_by_the_id_that_it_wrote_however_the_payee_writes_it(
    hub: SchemeBench, ten: PrepareTransfer, answer: Callable[..., Command]
) -> None:
    """The same 128 bits may be written as a UUID and as a ULID: the payer would not find its transfer again."""
    hub.take_notices()
    ulid = format_ulid(parse_id(ten.message.resource_id))
    command = answer(hub, ten)
    hub.accept(msgspec.structs.replace(command, message=msgspec.structs.replace(command.message, ids=(ulid,))))  # type: ignore[attr-defined]
    to_payer = [notice for notice in hub.take_notices() if notice.to == PAYER]
    assert [notice.ids for notice in to_payer] == [(ten.message.resource_id,)]
