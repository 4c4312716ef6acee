"""Every status there is, by an example; and of several that apply, which one is told.

The tables are in the order of the enumerations, which is the order of precedence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import pytest
from tests.ledger.engines import Engine
from tests.ledger.events import (
    CODE,
    LEDGER,
    A,
    T,
    account,
    account_statuses,
    move,
    open_accounts,
    pending,
    post,
    statuses,
    transfer,
    void,
)

from vuka.ledger.model import (
    AMOUNT_MAX,
    ID_MAX,
    NS_PER_S,
    TIMEOUT_MAX,
    TIMESTAMP_MAX,
    TRANSIENT,
    Account,
    Transfer,
)
from vuka.ledger.model import CreateAccountStatus as AccountStatus
from vuka.ledger.model import CreateTransferStatus as Status

# --- the stage --------------------------------------------------------------------------------------------------

ALICE: Final = 1
BOB: Final = 2
LIMITED: Final = 3
"""``debits_must_not_exceed_credits``; 40 left to debit."""
COVERED: Final = 4
"""``credits_must_not_exceed_debits``; nothing to credit."""
ABROAD: Final = 5
"""Of another ledger."""
SHUT: Final = 6
"""Closed. So is the next one."""
SHUT_TOO: Final = 7
CLOSING: Final = 8
"""Closed by `CLOSER`, after `HELD` was reserved on it."""
FULL_PENDING: Final = (10, 11)
"""Debited, and credited, with all that can be pending."""
FULL_POSTED: Final = (12, 13)
"""The same, posted."""
FULL: Final = (14, 15)
"""Half is pending, half posted; together nothing more fits."""
STARTED_BOTH: Final = (16, 17)
"""1 is pending and 1 is posted."""
STARTED_POSTED: Final = (18, 19)
"""1 is posted."""
YOUNG: Final = 9
"""Younger than every transfer."""
NOBODY: Final = 404

PLAIN: Final = 100
OPEN: Final = 101
POSTED: Final = 102
VOIDED: Final = 103
EXPIRED: Final = 104
SPENT: Final = 105
BALANCED: Final = 106
"""Asked for 60, and moved them; asking for more is the same again."""
PARTLY: Final = 107
HELD: Final = 108
CLOSER: Final = 109
POST: Final = 202
VOID: Final = 203
PART: Final = 207
"""Posts 15 of the 20 of `PARTLY`."""
NEW: Final = 1_000
"""From here on no id has been used."""

HALF: Final = 2**62


@pytest.fixture
def stage(engine: Engine) -> Engine:
    """The accounts and transfers that the examples refer to."""
    open_accounts(
        engine,
        account(ALICE),
        account(BOB),
        account(LIMITED, A.debits_must_not_exceed_credits),
        account(COVERED, A.credits_must_not_exceed_debits),
        account(ABROAD, ledger=978),
        account(SHUT, A.closed),
        account(SHUT_TOO, A.closed),
        account(CLOSING),
        *(account(id) for id in range(10, 20)),
    )
    move(
        engine,
        transfer(PLAIN, ALICE, BOB, 50, user_data_128=1, user_data_64=2, user_data_32=3),
        pending(OPEN, ALICE, BOB, 30),
        pending(POSTED, ALICE, BOB, 10, user_data_128=7, user_data_64=8, user_data_32=9),
        post(POST, POSTED),
        pending(VOIDED, ALICE, BOB, 10, user_data_128=7, user_data_64=8, user_data_32=9),
        void(VOID, VOIDED, user_data_128=4, user_data_64=5, user_data_32=6),
        pending(EXPIRED, ALICE, BOB, 10, timeout=1),
        transfer(110, BOB, LIMITED, 100),
        transfer(BALANCED, LIMITED, BOB, 60, T.balancing_debit),
        pending(PARTLY, ALICE, BOB, 20),
        post(PART, PARTLY, 15),
        pending(HELD, CLOSING, BOB, 5),
        pending(CLOSER, CLOSING, BOB, 0, T.closing_debit),
        pending(111, *FULL_PENDING, AMOUNT_MAX),
        transfer(112, *FULL_POSTED, AMOUNT_MAX),
        transfer(113, *FULL, HALF),
        pending(114, *FULL, HALF - 1),
        transfer(115, *STARTED_BOTH, 1),
        pending(116, *STARTED_BOTH, 1),
        transfer(117, *STARTED_POSTED, 1),
    )
    assert statuses(engine, transfer(SPENT, LIMITED, BOB, 41)) == [Status.exceeds_credits]
    engine.advance(10)
    open_accounts(engine, account(YOUNG))
    engine.advance(10)
    return engine


# --- accounts ---------------------------------------------------------------------------------------------------


class AccountExample(NamedTuple):
    status: AccountStatus
    batch: Sequence[Account]
    """The last one is refused."""


def new_account(flags: int = 0, **fields: int) -> Account:
    return account(NEW, flags, **fields)


EXISTING: Final = account(NEW + 1, A.history, user_data_128=1, user_data_64=2, user_data_32=3)


def repeated(**changed: int) -> list[Account]:
    return [EXISTING, msgspec.structs.replace(EXISTING, **changed)]


def imported(id: int, **fields: int) -> Account:
    return account(id, A.imported, **{"timestamp": 1, **fields})


ACCOUNT_EXAMPLES: Final = (
    AccountExample(AccountStatus.created, [new_account()]),
    AccountExample(AccountStatus.linked_event_failed, [new_account(A.linked, code=0), account(NEW + 1)]),
    AccountExample(AccountStatus.linked_event_chain_open, [new_account(A.linked)]),
    AccountExample(AccountStatus.imported_event_expected, [imported(NEW), account(NEW + 1)]),
    AccountExample(AccountStatus.imported_event_not_expected, [new_account(), imported(NEW + 1)]),
    AccountExample(AccountStatus.timestamp_must_be_zero, [new_account(timestamp=1)]),
    AccountExample(AccountStatus.imported_event_timestamp_out_of_range, [imported(NEW, timestamp=0)]),
    AccountExample(AccountStatus.imported_event_timestamp_out_of_range, [imported(NEW, timestamp=TIMESTAMP_MAX + 1)]),
    AccountExample(AccountStatus.imported_event_timestamp_must_not_advance, [imported(NEW, timestamp=TIMESTAMP_MAX)]),
    AccountExample(AccountStatus.reserved_flag, [new_account(A.closed << 1)]),
    AccountExample(AccountStatus.id_must_not_be_zero, [account(0)]),
    AccountExample(AccountStatus.id_must_not_be_int_max, [account(ID_MAX)]),
    AccountExample(AccountStatus.exists_with_different_flags, repeated(flags=0)),
    AccountExample(AccountStatus.exists_with_different_user_data_128, repeated(user_data_128=9)),
    AccountExample(AccountStatus.exists_with_different_user_data_64, repeated(user_data_64=9)),
    AccountExample(AccountStatus.exists_with_different_user_data_32, repeated(user_data_32=9)),
    AccountExample(AccountStatus.exists_with_different_ledger, repeated(ledger=978)),
    AccountExample(AccountStatus.exists_with_different_code, repeated(code=9)),
    AccountExample(AccountStatus.exists, repeated()),
    AccountExample(
        AccountStatus.flags_are_mutually_exclusive,
        [new_account(A.debits_must_not_exceed_credits | A.credits_must_not_exceed_debits)],
    ),
    AccountExample(AccountStatus.debits_pending_must_be_zero, [new_account(debits_pending=1)]),
    AccountExample(AccountStatus.debits_posted_must_be_zero, [new_account(debits_posted=1)]),
    AccountExample(AccountStatus.credits_pending_must_be_zero, [new_account(credits_pending=1)]),
    AccountExample(AccountStatus.credits_posted_must_be_zero, [new_account(credits_posted=1)]),
    AccountExample(AccountStatus.ledger_must_not_be_zero, [new_account(ledger=0)]),
    AccountExample(AccountStatus.code_must_not_be_zero, [new_account(code=0)]),
    AccountExample(
        AccountStatus.imported_event_timestamp_must_not_regress,
        [imported(NEW, timestamp=10), imported(NEW + 1, timestamp=10)],
    ),
)


def name_of(example: object) -> str:
    status = getattr(example, "status", None)
    return str(status.name) if isinstance(status, AccountStatus | Status) else ""


@pytest.mark.parametrize("example", ACCOUNT_EXAMPLES, ids=name_of)
def test_an_account_is_answered(engine: Engine, example: AccountExample) -> None:
    assert account_statuses(engine, *example.batch)[-1] is example.status


def test_every_status_of_an_account_has_an_example() -> None:
    assert {example.status for example in ACCOUNT_EXAMPLES} == set(AccountStatus)


# --- transfers --------------------------------------------------------------------------------------------------


class Example(NamedTuple):
    status: Status
    event: Transfer
    before: Sequence[Transfer] = ()
    """What stands before it in its batch."""


PLAIN_AGAIN: Final = transfer(PLAIN, ALICE, BOB, 50, user_data_128=1, user_data_64=2, user_data_32=3)
LINKED_AND_WRONG: Final = transfer(NEW, ALICE, BOB, 1, T.linked, code=0)


def again(**changed: int) -> Transfer:
    return msgspec.structs.replace(PLAIN_AGAIN, **changed)


def new(debit: int, credit: int, amount: int = 1, flags: int = 0, **fields: int) -> Transfer:
    return transfer(NEW, debit, credit, amount, flags, **fields)


EXAMPLES: Final = (
    Example(Status.created, new(ALICE, BOB)),
    Example(Status.created, new(ALICE, BOB, 0)),
    Example(Status.created, new(ALICE, BOB, 1, T.pending, timeout=TIMEOUT_MAX)),
    Example(Status.created, new(LIMITED, BOB, 40)),
    Example(Status.created, post(NEW, OPEN)),
    Example(Status.created, post(NEW, OPEN, 0)),
    Example(Status.created, void(NEW, OPEN, 30)),
    Example(Status.linked_event_failed, transfer(NEW + 1, ALICE, BOB, 1), [LINKED_AND_WRONG]),
    Example(Status.linked_event_chain_open, new(ALICE, BOB, 1, T.linked)),
    Example(Status.linked_event_chain_open, transfer(NEW + 1, ALICE, BOB, 1, T.linked), [LINKED_AND_WRONG]),
    Example(Status.imported_event_not_expected, transfer(NEW + 1, ALICE, BOB, 1, T.imported), [new(ALICE, BOB)]),
    Example(Status.timestamp_must_be_zero, new(ALICE, BOB, timestamp=1)),
    Example(Status.imported_event_timestamp_out_of_range, new(ALICE, BOB, 1, T.imported)),
    Example(Status.imported_event_timestamp_out_of_range, new(ALICE, BOB, 1, T.imported, timestamp=TIMESTAMP_MAX + 1)),
    Example(Status.imported_event_timestamp_must_not_advance, new(ALICE, BOB, 1, T.imported, timestamp=TIMESTAMP_MAX)),
    Example(Status.reserved_flag, new(ALICE, BOB, 1, T.imported << 1)),
    Example(Status.id_must_not_be_zero, transfer(0, ALICE, BOB, 1)),
    Example(Status.id_must_not_be_int_max, transfer(ID_MAX, ALICE, BOB, 1)),
    # The same id again, with something else in it
    Example(Status.exists_with_different_flags, again(flags=int(T.pending))),
    Example(Status.exists_with_different_pending_id, again(pending_id=OPEN)),
    Example(Status.exists_with_different_pending_id, post(POST, OPEN)),
    Example(Status.exists_with_different_timeout, pending(EXPIRED, ALICE, BOB, 10, timeout=2)),
    Example(Status.exists_with_different_debit_account_id, again(debit_account_id=CLOSING)),
    Example(Status.exists_with_different_debit_account_id, again(debit_account_id=0)),
    Example(Status.exists_with_different_debit_account_id, post(POST, POSTED, debit_account_id=CLOSING)),
    Example(Status.exists_with_different_credit_account_id, again(credit_account_id=NOBODY)),
    Example(Status.exists_with_different_credit_account_id, void(VOID, VOIDED, credit_account_id=NOBODY)),
    Example(Status.exists_with_different_amount, again(amount=49)),
    Example(Status.exists_with_different_amount, transfer(BALANCED, LIMITED, BOB, 59, T.balancing_debit)),
    Example(Status.exists_with_different_amount, post(POST, POSTED, 9)),
    Example(Status.exists_with_different_amount, post(PART, PARTLY)),
    Example(Status.exists_with_different_amount, void(VOID, VOIDED, 9)),
    Example(Status.exists_with_different_user_data_128, again(user_data_128=0)),
    Example(Status.exists_with_different_user_data_128, void(VOID, VOIDED)),
    Example(Status.exists_with_different_user_data_64, again(user_data_64=2**64 - 1)),
    Example(Status.exists_with_different_user_data_64, post(POST, POSTED, user_data_64=9)),
    Example(Status.exists_with_different_user_data_32, again(user_data_32=4)),
    Example(Status.exists_with_different_user_data_32, post(POST, POSTED, user_data_32=8)),
    Example(Status.exists_with_different_ledger, again(ledger=978)),
    Example(Status.exists_with_different_ledger, post(POST, POSTED, ledger=978)),
    Example(Status.exists_with_different_code, again(code=9)),
    Example(Status.exists_with_different_code, post(POST, POSTED, code=9)),
    Example(Status.exists, again()),
    Example(Status.exists, pending(OPEN, ALICE, BOB, 30)),
    Example(Status.exists, pending(EXPIRED, ALICE, BOB, 10, timeout=1)),
    Example(Status.exists, transfer(BALANCED, LIMITED, BOB, 61, T.balancing_debit)),
    Example(Status.exists, post(POST, POSTED)),
    Example(Status.exists, post(POST, POSTED, 10, user_data_64=8, debit_account_id=ALICE, ledger=LEDGER, code=CODE)),
    Example(Status.exists, post(PART, PARTLY, 15)),
    Example(Status.exists, void(VOID, VOIDED, 10, user_data_128=4, user_data_64=5, user_data_32=6)),
    Example(Status.exists, void(VOID, VOIDED, user_data_128=4, user_data_64=5, user_data_32=6)),
    # An id that was refused for what depends on the moment
    Example(Status.id_already_failed, transfer(SPENT, LIMITED, BOB, 41)),
    Example(Status.id_already_failed, transfer(SPENT, LIMITED, BOB, 1)),
    Example(Status.id_already_failed, post(SPENT, OPEN)),
    # What is wrong with the event itself
    Example(Status.flags_are_mutually_exclusive, post(NEW, OPEN, 1, T.void_pending_transfer)),
    *(
        Example(Status.flags_are_mutually_exclusive, event)
        for flag in (T.pending, T.balancing_debit, T.balancing_credit, T.closing_debit, T.closing_credit)
        for event in (post(NEW, OPEN, 1, flag), void(NEW, OPEN, 0, flag))
    ),
    Example(Status.debit_account_id_must_not_be_zero, new(0, BOB)),
    Example(Status.debit_account_id_must_not_be_int_max, new(ID_MAX, BOB)),
    Example(Status.credit_account_id_must_not_be_zero, new(ALICE, 0)),
    Example(Status.credit_account_id_must_not_be_int_max, new(ALICE, ID_MAX)),
    Example(Status.accounts_must_be_different, new(ALICE, ALICE)),
    Example(Status.pending_id_must_be_zero, new(ALICE, BOB, pending_id=OPEN)),
    Example(Status.pending_id_must_be_zero, new(ALICE, BOB, 1, T.pending, pending_id=OPEN)),
    Example(Status.pending_id_must_not_be_zero, post(NEW, 0)),
    Example(Status.pending_id_must_not_be_int_max, void(NEW, ID_MAX)),
    Example(Status.pending_id_must_be_different, post(NEW, NEW)),
    Example(Status.timeout_reserved_for_pending_transfer, new(ALICE, BOB, timeout=1)),
    Example(Status.timeout_reserved_for_pending_transfer, post(NEW, OPEN, timeout=1)),
    Example(Status.closing_transfer_must_be_pending, new(ALICE, BOB, 1, T.closing_debit)),
    Example(Status.closing_transfer_must_be_pending, new(ALICE, BOB, 1, T.closing_credit)),
    Example(Status.ledger_must_not_be_zero, new(ALICE, BOB, ledger=0)),
    Example(Status.code_must_not_be_zero, new(ALICE, BOB, code=0)),
    # What it refers to
    Example(Status.debit_account_not_found, new(NOBODY, BOB)),
    Example(Status.credit_account_not_found, new(ALICE, NOBODY)),
    Example(Status.accounts_must_have_the_same_ledger, new(ALICE, ABROAD)),
    Example(Status.transfer_must_have_the_same_ledger_as_accounts, new(ALICE, BOB, ledger=978)),
    Example(Status.pending_transfer_not_found, post(NEW, NOBODY)),
    Example(Status.pending_transfer_not_found, post(NEW, SPENT)),
    Example(Status.pending_transfer_not_pending, post(NEW, PLAIN)),
    Example(Status.pending_transfer_not_pending, void(NEW, POST)),
    Example(Status.pending_transfer_has_different_debit_account_id, post(NEW, OPEN, debit_account_id=BOB)),
    Example(Status.pending_transfer_has_different_credit_account_id, post(NEW, OPEN, credit_account_id=ALICE)),
    Example(Status.pending_transfer_has_different_ledger, void(NEW, OPEN, ledger=978)),
    Example(Status.pending_transfer_has_different_code, void(NEW, OPEN, code=9)),
    Example(Status.exceeds_pending_transfer_amount, post(NEW, OPEN, 31)),
    Example(Status.exceeds_pending_transfer_amount, post(NEW, OPEN, AMOUNT_MAX - 1)),
    Example(Status.exceeds_pending_transfer_amount, void(NEW, OPEN, AMOUNT_MAX)),
    Example(Status.pending_transfer_has_different_amount, void(NEW, OPEN, 29)),
    Example(Status.pending_transfer_already_posted, post(NEW, POSTED)),
    Example(Status.pending_transfer_already_posted, void(NEW, PARTLY)),
    Example(Status.pending_transfer_already_voided, post(NEW, VOIDED)),
    Example(Status.pending_transfer_already_voided, void(NEW, VOIDED)),
    Example(Status.pending_transfer_expired, post(NEW, EXPIRED)),
    Example(Status.pending_transfer_expired, void(NEW, EXPIRED)),
    # Closed accounts
    Example(Status.debit_account_already_closed, new(SHUT, BOB)),
    Example(Status.debit_account_already_closed, new(CLOSING, BOB, 0)),
    Example(Status.debit_account_already_closed, post(NEW, HELD)),
    Example(Status.debit_account_already_closed, post(NEW, CLOSER)),
    Example(Status.created, void(NEW, HELD)),
    Example(Status.created, void(NEW, CLOSER)),
    Example(Status.credit_account_already_closed, new(ALICE, SHUT)),
    Example(Status.credit_account_already_closed, new(ALICE, CLOSING)),
    # What does not fit
    Example(Status.overflows_debits_pending, new(FULL_PENDING[0], BOB, 1, T.pending)),
    Example(Status.overflows_credits_pending, new(ALICE, FULL_PENDING[1], 1, T.pending)),
    Example(Status.overflows_debits_posted, new(FULL_POSTED[0], BOB)),
    Example(Status.overflows_credits_posted, new(ALICE, FULL_POSTED[1])),
    Example(Status.overflows_debits, new(FULL[0], BOB)),
    Example(Status.overflows_debits, new(FULL_PENDING[0], BOB)),
    Example(Status.overflows_credits, new(ALICE, FULL[1])),
    Example(Status.created, new(*FULL, 0)),
    # The limits that accounts set themselves
    Example(Status.exceeds_credits, new(LIMITED, BOB, 41)),
    Example(Status.exceeds_credits, new(LIMITED, BOB, 41, T.pending)),
    Example(Status.exceeds_debits, new(ALICE, COVERED)),
)

# A batch is imported when its first event is: these are told the time at which the batch begins, and stand second.
# The transfers of the stage are 20 s old, `YOUNG` is 10 s old.
IMPORTED_EXAMPLES: Final[Sequence[tuple[Status, Callable[[int], Transfer]]]] = (
    (Status.created, lambda now: new(ALICE, BOB, 1, T.imported, timestamp=now - NS_PER_S)),
    (Status.created, lambda now: post(NEW, OPEN, flags=T.imported, timestamp=now - NS_PER_S)),
    (Status.imported_event_expected, lambda now: new(ALICE, BOB)),
    (
        Status.imported_event_timestamp_must_not_regress,
        lambda now: new(ALICE, BOB, 1, T.imported, timestamp=now - 15 * NS_PER_S),
    ),
    (
        Status.imported_event_timestamp_must_not_regress,
        lambda now: void(NEW, OPEN, flags=T.imported, timestamp=now - 15 * NS_PER_S),
    ),
    (
        Status.imported_event_timestamp_must_postdate_debit_account,
        lambda now: new(YOUNG, BOB, 1, T.imported, timestamp=now - 12 * NS_PER_S),
    ),
    (
        Status.imported_event_timestamp_must_postdate_credit_account,
        lambda now: new(ALICE, YOUNG, 1, T.imported, timestamp=now - 12 * NS_PER_S),
    ),
    (
        Status.imported_event_timeout_must_be_zero,
        lambda now: new(ALICE, BOB, 1, T.imported | T.pending, timeout=1, timestamp=now - NS_PER_S),
    ),
)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_a_transfer_is_answered(stage: Engine, example: Example) -> None:
    assert statuses(stage, *example.before, example.event)[-1] is example.status


@pytest.mark.parametrize(("status", "event"), IMPORTED_EXAMPLES, ids=lambda value: getattr(value, "name", ""))
def test_an_imported_transfer_is_answered(stage: Engine, status: Status, event: Callable[[int], Transfer]) -> None:
    if not stage.has_own_clock:
        pytest.skip("it would take 20 seconds of a cluster's clock; test_contract has an example of each")
    now = stage.now_ns
    first = transfer(NEW + 1, ALICE, BOB, 1, T.imported, timestamp=now - 15 * NS_PER_S)
    assert statuses(stage, first, event(now)) == [Status.created, status]


def test_a_timeout_beyond_the_end_of_time_overflows(stage: Engine) -> None:
    seconds = (TIMESTAMP_MAX - stage.now_ns) // NS_PER_S
    stage.advance(seconds - TIMEOUT_MAX + 1)
    overflowing = new(ALICE, BOB, 1, T.pending, timeout=TIMEOUT_MAX)
    assert statuses(stage, overflowing) == [Status.overflows_timeout]


def test_every_status_of_a_transfer_has_an_example() -> None:
    shown = {example.status for example in EXAMPLES} | {status for status, _ in IMPORTED_EXAMPLES}
    assert shown | {Status.overflows_timeout} == set(Status)


TRANSIENT_EXAMPLES: Final = tuple({each.status: each for each in EXAMPLES if each.status in TRANSIENT}.values())
LASTING_EXAMPLES: Final = tuple(
    each
    for each in EXAMPLES
    if each.status not in TRANSIENT | {Status.created, Status.exists} and each.event.id == NEW and not each.before
)


@pytest.mark.parametrize("example", TRANSIENT_EXAMPLES, ids=name_of)
def test_an_id_refused_for_what_depends_on_the_moment_is_spent(stage: Engine, example: Example) -> None:
    statuses(stage, example.event)
    assert statuses(stage, new(ALICE, BOB), new(ALICE, BOB)) == [Status.id_already_failed] * 2


@pytest.mark.parametrize("example", LASTING_EXAMPLES, ids=name_of)
def test_an_id_refused_for_a_defect_of_the_event_may_be_used_again(stage: Engine, example: Example) -> None:
    statuses(stage, example.event)
    assert statuses(stage, new(ALICE, BOB)) == [Status.created]


def test_seven_statuses_depend_on_the_moment() -> None:
    assert {example.status for example in TRANSIENT_EXAMPLES} == TRANSIENT


# --- precedence -------------------------------------------------------------------------------------------------

ITSELF: Final = -1

PLAIN_LADDER: Final[Sequence[tuple[Status, dict[str, int]]]] = (
    (Status.linked_event_chain_open, {"flags": T.closing_debit | T.imported << 1}),
    (Status.timestamp_must_be_zero, {"timestamp": 0}),
    (Status.reserved_flag, {"flags": T.closing_debit}),
    (Status.id_must_not_be_zero, {"id": ID_MAX}),
    (Status.id_must_not_be_int_max, {"id": PLAIN}),
    (Status.exists_with_different_flags, {"id": SPENT}),
    (Status.id_already_failed, {"id": NEW}),
    (Status.debit_account_id_must_not_be_zero, {"debit_account_id": ID_MAX}),
    (Status.debit_account_id_must_not_be_int_max, {"debit_account_id": NOBODY}),
    (Status.credit_account_id_must_not_be_zero, {"credit_account_id": ID_MAX}),
    (Status.credit_account_id_must_not_be_int_max, {"credit_account_id": NOBODY}),
    (Status.accounts_must_be_different, {"credit_account_id": NOBODY + 1}),
    (Status.pending_id_must_be_zero, {"pending_id": 0}),
    (Status.timeout_reserved_for_pending_transfer, {"timeout": 0}),
    (Status.closing_transfer_must_be_pending, {"flags": T.closing_debit | T.pending}),
    (Status.ledger_must_not_be_zero, {"ledger": 1}),
    (Status.code_must_not_be_zero, {"code": CODE}),
    (Status.debit_account_not_found, {"debit_account_id": SHUT}),
    (Status.credit_account_not_found, {"credit_account_id": ABROAD}),
    (Status.accounts_must_have_the_same_ledger, {"credit_account_id": SHUT_TOO}),
    (Status.transfer_must_have_the_same_ledger_as_accounts, {"ledger": LEDGER}),
    (Status.debit_account_already_closed, {"debit_account_id": STARTED_BOTH[0]}),
    (Status.credit_account_already_closed, {"credit_account_id": STARTED_BOTH[1]}),
    (Status.overflows_debits_pending, {"debit_account_id": STARTED_POSTED[0]}),
    (Status.overflows_credits_pending, {"credit_account_id": STARTED_POSTED[1]}),
    (Status.overflows_debits_posted, {"debit_account_id": YOUNG}),
    (Status.overflows_credits_posted, {"debit_account_id": FULL[0], "credit_account_id": FULL[1], "amount": 41}),
    (Status.overflows_debits, {"debit_account_id": LIMITED}),
    (Status.overflows_credits, {"credit_account_id": COVERED}),
    (Status.exceeds_credits, {"debit_account_id": ALICE}),
    (Status.exceeds_debits, {"credit_account_id": BOB}),
    (Status.created, {}),
)

POST_LADDER: Final[Sequence[tuple[Status, dict[str, int]]]] = (
    (Status.flags_are_mutually_exclusive, {"flags": T.post_pending_transfer}),
    (Status.pending_id_must_not_be_zero, {"pending_id": ID_MAX}),
    (Status.pending_id_must_not_be_int_max, {"pending_id": ITSELF}),
    (Status.pending_id_must_be_different, {"pending_id": NOBODY}),
    (Status.timeout_reserved_for_pending_transfer, {"timeout": 0}),
    (Status.pending_transfer_not_found, {"pending_id": PLAIN}),
    (Status.pending_transfer_not_pending, {"pending_id": POSTED}),
    (Status.pending_transfer_has_different_debit_account_id, {"debit_account_id": 0}),
    (Status.pending_transfer_has_different_credit_account_id, {"credit_account_id": 0}),
    (Status.pending_transfer_has_different_ledger, {"ledger": 0}),
    (Status.pending_transfer_has_different_code, {"code": 0}),
    (Status.exceeds_pending_transfer_amount, {"flags": T.void_pending_transfer, "amount": 1}),
    (Status.pending_transfer_has_different_amount, {"amount": 0}),
    (Status.pending_transfer_already_posted, {"pending_id": VOIDED}),
    (Status.pending_transfer_already_voided, {"pending_id": EXPIRED}),
    (Status.pending_transfer_expired, {"flags": T.post_pending_transfer, "pending_id": HELD}),
    (Status.debit_account_already_closed, {"pending_id": OPEN}),
    (Status.created, {}),
)


def climb(ledger: Engine, event: Transfer, ladder: Sequence[tuple[Status, dict[str, int]]]) -> list[Status]:
    """What is told of the event, mended rung after rung. Ids from `NEW` on are not used twice."""
    told = []
    fields = msgspec.structs.asdict(event)
    for rung, (_, mended) in enumerate(ladder):
        attempt = dict(fields)
        if attempt["id"] >= NEW and attempt["id"] != ID_MAX:
            attempt["id"] += rung
        if attempt["pending_id"] == ITSELF:
            attempt["pending_id"] = attempt["id"]
        told += statuses(ledger, Transfer(**attempt))
        fields |= {name: int(value) for name, value in mended.items()}
    return told


def test_of_all_rules_that_a_transfer_breaks_the_first_is_told(stage: Engine) -> None:
    worst = Transfer(
        id=0,
        amount=AMOUNT_MAX,
        pending_id=1,
        timeout=1,
        timestamp=1,
        flags=int(T.linked | T.closing_debit | T.imported << 1),
    )
    assert climb(stage, worst, PLAIN_LADDER) == [status for status, _ in PLAIN_LADDER]


def test_of_all_rules_that_a_post_breaks_the_first_is_told(stage: Engine) -> None:
    worst = Transfer(
        id=NEW,
        debit_account_id=NOBODY,
        credit_account_id=NOBODY,
        amount=AMOUNT_MAX - 1,
        timeout=1,
        ledger=1,
        code=9,
        flags=int(T.post_pending_transfer | T.void_pending_transfer),
    )
    assert climb(stage, worst, POST_LADDER) == [status for status, _ in POST_LADDER]


def test_of_all_differences_to_what_exists_the_first_is_told(stage: Engine) -> None:
    ladder = [
        (Status.exists_with_different_flags, {"flags": 0}),
        (Status.exists_with_different_pending_id, {"pending_id": 0}),
        (Status.exists_with_different_timeout, {"timeout": 0}),
        (Status.exists_with_different_debit_account_id, {"debit_account_id": ALICE}),
        (Status.exists_with_different_credit_account_id, {"credit_account_id": BOB}),
        (Status.exists_with_different_amount, {"amount": 50}),
        (Status.exists_with_different_user_data_128, {"user_data_128": 1}),
        (Status.exists_with_different_user_data_64, {"user_data_64": 2}),
        (Status.exists_with_different_user_data_32, {"user_data_32": 3}),
        (Status.exists_with_different_ledger, {"ledger": LEDGER}),
        (Status.exists_with_different_code, {"code": CODE}),
        (Status.exists, {}),
    ]
    nothing_right = Transfer(id=PLAIN, pending_id=1, timeout=1, flags=int(T.pending))
    assert climb(stage, nothing_right, ladder) == [status for status, _ in ladder]
