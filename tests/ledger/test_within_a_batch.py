"""What later events of the same batch see: of a chain that was taken back, and of time that passes within a batch."""

from __future__ import annotations

import pytest
from tests.ledger.engines import Engine
from tests.ledger.events import A, T, account, balances, move, open_accounts, pending, post, statuses, transfer, void

from vuka.ledger.model import NS_PER_S, AccountFilter
from vuka.ledger.model import CreateTransferStatus as Status

ALICE, BOB, NOBODY = 1, 2, 404


@pytest.fixture
def books(engine: Engine) -> Engine:
    """Alice and Bob, who keep history."""
    open_accounts(engine, account(ALICE, A.history), account(BOB, A.history))
    return engine


@pytest.mark.parametrize("end", [post(20, 10, 4, T.linked), void(20, 10, flags=T.linked)], ids=["post", "void"])
def test_a_reservation_whose_end_was_taken_back_can_still_be_ended(books: Engine, end: object) -> None:
    move(books, pending(10, ALICE, BOB, 5))
    told = statuses(books, end, transfer(21, ALICE, NOBODY, 1), post(22, 10), post(23, 10))  # type: ignore[arg-type]
    assert told == [
        Status.linked_event_failed,
        Status.credit_account_not_found,
        Status.created,
        Status.pending_transfer_already_posted,
    ]
    assert balances(books, ALICE, BOB) == [(0, 5, 0, 0), (0, 0, 0, 5)]


def test_a_reservation_that_was_taken_back_can_not_be_posted(books: Engine) -> None:
    told = statuses(books, pending(10, ALICE, BOB, 5, T.linked), post(11, 10, 6), post(12, 10))
    assert told == [
        Status.linked_event_failed,
        Status.exceeds_pending_transfer_amount,
        Status.pending_transfer_not_found,
    ]


def test_an_id_that_was_taken_back_may_be_used_again(books: Engine) -> None:
    first = transfer(10, ALICE, BOB, 5, T.linked)
    told = statuses(books, first, transfer(11, ALICE, BOB, 1, code=0), transfer(10, ALICE, BOB, 7))
    assert told == [Status.linked_event_failed, Status.code_must_not_be_zero, Status.created]
    assert balances(books, ALICE) == [(0, 7, 0, 0)]


def test_a_closing_that_was_taken_back_leaves_the_account_open(books: Engine) -> None:
    closing = pending(10, ALICE, BOB, 0, T.closing_debit | T.linked)
    told = statuses(books, closing, transfer(11, ALICE, BOB, 1), transfer(12, ALICE, BOB, 1))
    assert told == [Status.linked_event_failed, Status.debit_account_already_closed, Status.created]


def test_a_reopening_that_was_taken_back_leaves_the_account_closed(books: Engine) -> None:
    move(books, pending(10, ALICE, BOB, 0, T.closing_debit))
    told = statuses(
        books, void(11, 10, flags=T.linked), transfer(12, ALICE, NOBODY, 1), transfer(13, ALICE, BOB, 1), void(14, 10)
    )
    assert told == [
        Status.linked_event_failed,
        Status.credit_account_not_found,
        Status.debit_account_already_closed,
        Status.created,
    ]


def test_a_timestamp_that_was_taken_back_may_be_imported_again(books: Engine) -> None:
    books.advance(10)
    timestamp = books.now_ns - NS_PER_S
    told = statuses(
        books,
        transfer(10, ALICE, BOB, 1, T.imported | T.linked, timestamp=timestamp),
        transfer(11, ALICE, BOB, 1, T.imported, timestamp=timestamp),
        transfer(12, ALICE, BOB, 1, T.imported, timestamp=timestamp),
    )
    assert told == [
        Status.linked_event_failed,
        Status.imported_event_timestamp_must_not_regress,
        Status.created,
    ]


def test_a_timeout_that_was_taken_back_releases_nothing(books: Engine) -> None:
    told = statuses(
        books,
        pending(10, ALICE, BOB, 5, T.linked, timeout=1),
        transfer(11, ALICE, NOBODY, 1),
        # An hour, for which a cluster takes a minute; for a minute it takes a second, and that would be over.
        pending(10, ALICE, BOB, 5, timeout=3_600),
    )
    assert told == [Status.linked_event_failed, Status.credit_account_not_found, Status.created]
    books.advance(2)
    move(books, transfer(12, BOB, ALICE, 0))
    assert balances(books, ALICE) == [(5, 0, 0, 0)]


def test_history_keeps_only_what_stayed(books: Engine) -> None:
    statuses(
        books,
        transfer(10, ALICE, BOB, 5),
        transfer(11, ALICE, BOB, 100, T.linked),
        transfer(12, ALICE, NOBODY, 1),
        transfer(13, ALICE, BOB, 7),
    )
    kept = books.get_account_balances(AccountFilter(account_id=ALICE))
    assert [each.debits_posted for each in kept] == [5, 12]
    made = books.lookup_transfers([10, 13])
    assert [each.timestamp for each in kept] == [each.timestamp for each in made]


def test_of_two_chains_side_by_side_one_may_fail(books: Engine) -> None:
    told = statuses(
        books,
        transfer(10, ALICE, BOB, 1, T.linked),
        transfer(11, ALICE, BOB, 1),
        transfer(12, ALICE, BOB, 10, T.linked),
        transfer(13, ALICE, NOBODY, 10),
        transfer(14, ALICE, BOB, 100, T.linked),
        transfer(15, ALICE, BOB, 100),
    )
    failed = [Status.linked_event_failed, Status.credit_account_not_found]
    assert told == [Status.created, Status.created, *failed, Status.created, Status.created]
    assert balances(books, ALICE) == [(0, 202, 0, 0)]


def test_a_balancing_link_sees_what_the_links_before_it_moved(books: Engine) -> None:
    told = statuses(
        books,
        transfer(10, BOB, ALICE, 10, T.linked),
        transfer(11, ALICE, BOB, 100, T.balancing_debit | T.linked),
        transfer(12, ALICE, BOB, 100, T.balancing_debit),
    )
    assert told == [Status.created] * 3
    assert [each.amount for each in books.lookup_transfers([11, 12])] == [10, 0]


def test_a_reservation_expires_in_the_middle_of_a_batch(books: Engine) -> None:
    if not books.has_own_clock:
        pytest.skip("it needs a clock that stands still")
    # Events are a nanosecond apart: what was reserved third may still be posted second, a timeout later, and not third.
    move(books, *(transfer(id, ALICE, BOB, 0) for id in (8, 9)), pending(10, ALICE, BOB, 5, timeout=1))
    move(books, *(transfer(id, ALICE, BOB, 0) for id in (6, 7)), pending(11, ALICE, BOB, 5, timeout=1))
    first, second = (each.timestamp for each in books.lookup_transfers([10, 11]))
    books.advance(1)
    offset = first + NS_PER_S - books.now_ns
    filler = [transfer(100 + n, ALICE, BOB, 0) for n in range(offset)]
    told = statuses(books, *filler, post(20, 10), post(21, 11))
    assert told[offset:] == [Status.pending_transfer_expired, Status.created]
    assert second - first == 3
