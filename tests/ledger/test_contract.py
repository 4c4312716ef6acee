"""The contract of a ledger engine, rule by rule: an example of every result, their precedence, and what is left.

The rules are those of TigerBeetle's reference. Amounts are minor units; `Books` is a small ledger to break them on.
An engine is under contract once it is in `tests.ledger.engines.FACTORIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.ledger.engines import FACTORIES, QUICK, parameters

from vuka.ledger.model import (
    AMOUNT_MAX,
    BATCH_MAX,
    ID_MAX,
    NS_PER_S,
    TIMEOUT_MAX,
    TIMESTAMP_MAX,
    TRANSIENT,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLargeError,
    CreateAccountStatus,
    CreateTransferStatus,
    FieldError,
    Ledger,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
    TransferFlags,
)

T = CreateTransferStatus
A = CreateAccountStatus
F = TransferFlags

ALICE, BOB, CAROL = 1, 2, 3
"""Accounts that may go anywhere; Carol keeps history."""
PREPAID = 4
"""Its debits must not exceed its credits: it has received 100 from Alice."""
CREDIT_CAPPED = 5
"""Its credits must not exceed its debits: it has paid 100 to Alice."""
FOREIGN = 6
"""An account of another ledger."""
CLOSED = 7
NOBODY = 999
"""There is no such account."""


class Books:
    """A ledger with a few accounts, and words to speak of it."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self._ids = count(10_000)
        flags = AccountFlags
        made = engine.create_accounts(
            [
                Account(id=ALICE, ledger=1, code=1),
                Account(id=BOB, ledger=1, code=1),
                Account(id=CAROL, ledger=1, code=1, flags=flags.history),
                Account(id=PREPAID, ledger=1, code=1, flags=flags.debits_must_not_exceed_credits),
                Account(id=CREDIT_CAPPED, ledger=1, code=1, flags=flags.credits_must_not_exceed_debits),
                Account(id=FOREIGN, ledger=2, code=1),
                Account(id=CLOSED, ledger=1, code=1, flags=flags.closed),
            ]
        )
        assert {each.status for each in made} == {A.created}
        self.must(self.transfer(ALICE, PREPAID, 100), self.transfer(CREDIT_CAPPED, ALICE, 100))

    def new_id(self) -> int:
        return next(self._ids)

    def transfer(self, debit: int = ALICE, credit: int = BOB, amount: int = 10, **fields: Any) -> Transfer:
        fields.setdefault("id", self.new_id())
        fields.setdefault("ledger", 1)
        fields.setdefault("code", 1)
        return Transfer(debit_account_id=debit, credit_account_id=credit, amount=amount, **fields)

    def pending(self, debit: int = ALICE, credit: int = BOB, amount: int = 10, **fields: Any) -> Transfer:
        return self.transfer(debit, credit, amount, flags=F.pending | fields.pop("flags", 0), **fields)

    def post(self, pending_id: int, amount: int = AMOUNT_MAX, **fields: Any) -> Transfer:
        flags = F.post_pending_transfer | fields.pop("flags", 0)
        return Transfer(
            id=fields.pop("id", 0) or self.new_id(), pending_id=pending_id, amount=amount, flags=flags, **fields
        )

    def void(self, pending_id: int, amount: int = 0, **fields: Any) -> Transfer:
        flags = F.void_pending_transfer | fields.pop("flags", 0)
        return Transfer(
            id=fields.pop("id", 0) or self.new_id(), pending_id=pending_id, amount=amount, flags=flags, **fields
        )

    def past(self, offset_ns: int = 0) -> int:
        """A timestamp an hour before the test began, plus so much: before everything here, so imports regress."""
        return int(self.engine.now_ns) - 3600 * NS_PER_S + offset_ns

    def later(self, seconds: int) -> None:
        self.engine.advance(seconds)

    def turn(self) -> None:
        """A batch that moves nothing; before any batch, what has expired is released."""
        self.must(self.transfer(ALICE, BOB, 0))

    def statuses(self, *transfers: Transfer) -> list[CreateTransferStatus]:
        return [each.status for each in self.engine.create_transfers(transfers)]

    def status(self, transfer: Transfer) -> CreateTransferStatus:
        return self.statuses(transfer)[0]

    def must(self, *transfers: Transfer) -> int:
        """Creates transfers that must succeed; the id of the last."""
        assert self.statuses(*transfers) == [T.created] * len(transfers)
        return transfers[-1].id

    def account(self, id_: int) -> Account:
        (account,) = self.engine.lookup_accounts([id_])
        return account  # type: ignore[no-any-return]

    def stored(self, id_: int) -> Transfer:
        (transfer,) = self.engine.lookup_transfers([id_])
        return transfer  # type: ignore[no-any-return]

    def balances(self, id_: int) -> tuple[int, int, int, int]:
        """Debits pending and posted, credits pending and posted."""
        a = self.account(id_)
        return a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted


REAL = [name for name in QUICK if name != "obvious"]
"""The engines but the model: it checks no sizes, and would take its time over full batches."""

only_real = pytest.mark.parametrize("engine", parameters(REAL), indirect=True)


@pytest.fixture(params=parameters(QUICK))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty ledger, of each engine."""
    opened = FACTORIES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def books(engine: Ledger) -> Books:
    return Books(engine)


TransferExample = Callable[[Books], CreateTransferStatus]
AccountExample = Callable[[Any], CreateAccountStatus]
TRANSFER_EXAMPLES: dict[CreateTransferStatus, TransferExample] = {}
ACCOUNT_EXAMPLES: dict[CreateAccountStatus, AccountExample] = {}


def arises(status: CreateTransferStatus) -> Callable[[TransferExample], TransferExample]:
    def keep(example: TransferExample) -> TransferExample:
        assert status not in TRANSFER_EXAMPLES
        TRANSFER_EXAMPLES[status] = example
        return example

    return keep


def account_arises(status: CreateAccountStatus) -> Callable[[AccountExample], AccountExample]:
    def keep(example: AccountExample) -> AccountExample:
        assert status not in ACCOUNT_EXAMPLES
        ACCOUNT_EXAMPLES[status] = example
        return example

    return keep


# Every result of create_transfers, in order of precedence


@arises(T.created)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer())


@arises(T.linked_event_failed)
def _(books: Books) -> CreateTransferStatus:
    return books.statuses(books.transfer(flags=F.linked), books.transfer(code=0))[0]


@arises(T.linked_event_chain_open)
def _(books: Books) -> CreateTransferStatus:
    return books.statuses(books.transfer(), books.transfer(flags=F.linked))[1]


@arises(T.imported_event_expected)
def _(books: Books) -> CreateTransferStatus:
    return books.statuses(books.transfer(flags=F.imported, timestamp=1), books.transfer())[1]


@arises(T.imported_event_not_expected)
def _(books: Books) -> CreateTransferStatus:
    return books.statuses(books.transfer(), books.transfer(flags=F.imported, timestamp=1))[1]


@arises(T.timestamp_must_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(timestamp=1))


@arises(T.imported_event_timestamp_out_of_range)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(flags=F.imported, timestamp=TIMESTAMP_MAX + 1))


@arises(T.imported_event_timestamp_must_not_advance)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(flags=F.imported, timestamp=books.engine.now_ns + NS_PER_S))


@arises(T.reserved_flag)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(flags=1 << 9))


@arises(T.id_must_not_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(id=0))


@arises(T.id_must_not_be_int_max)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(id=ID_MAX))


def _again(books: Books, **changes: Any) -> CreateTransferStatus:
    """Sends a pending transfer with everything set, and once more with changes."""
    first = books.pending(user_data_128=1, user_data_64=2, user_data_32=3, timeout=60)
    books.must(first)
    return books.status(msgspec.structs.replace(first, **changes))


@arises(T.exists_with_different_flags)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, flags=0)


@arises(T.exists_with_different_pending_id)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, pending_id=5)


@arises(T.exists_with_different_timeout)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, timeout=61)


@arises(T.exists_with_different_debit_account_id)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, debit_account_id=CAROL)


@arises(T.exists_with_different_credit_account_id)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, credit_account_id=CAROL)


@arises(T.exists_with_different_amount)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, amount=11)


@arises(T.exists_with_different_user_data_128)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, user_data_128=0)


@arises(T.exists_with_different_user_data_64)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, user_data_64=0)


@arises(T.exists_with_different_user_data_32)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, user_data_32=0)


@arises(T.exists_with_different_ledger)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, ledger=2)


@arises(T.exists_with_different_code)
def _(books: Books) -> CreateTransferStatus:
    return _again(books, code=2)


@arises(T.exists)
def _(books: Books) -> CreateTransferStatus:
    return _again(books)


@arises(T.id_already_failed)
def _(books: Books) -> CreateTransferStatus:
    refused = books.transfer(debit=PREPAID, amount=101)
    assert books.status(refused) is T.exceeds_credits
    books.must(books.transfer(credit=PREPAID))
    return books.status(refused)


@arises(T.flags_are_mutually_exclusive)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.pending()), flags=F.void_pending_transfer))


@arises(T.debit_account_id_must_not_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(debit=0))


@arises(T.debit_account_id_must_not_be_int_max)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(debit=ID_MAX))


@arises(T.credit_account_id_must_not_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(credit=0))


@arises(T.credit_account_id_must_not_be_int_max)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(credit=ID_MAX))


@arises(T.accounts_must_be_different)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(debit=ALICE, credit=ALICE))


@arises(T.pending_id_must_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(pending_id=1))


@arises(T.pending_id_must_not_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(0))


@arises(T.pending_id_must_not_be_int_max)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(ID_MAX))


@arises(T.pending_id_must_be_different)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(77, id=77))


@arises(T.timeout_reserved_for_pending_transfer)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(timeout=1))


@arises(T.closing_transfer_must_be_pending)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(flags=F.closing_debit))


@arises(T.ledger_must_not_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(ledger=0))


@arises(T.code_must_not_be_zero)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(code=0))


@arises(T.debit_account_not_found)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(debit=NOBODY))


@arises(T.credit_account_not_found)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(credit=NOBODY))


@arises(T.accounts_must_have_the_same_ledger)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(credit=FOREIGN))


@arises(T.transfer_must_have_the_same_ledger_as_accounts)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(ledger=2))


@arises(T.pending_transfer_not_found)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(77))


@arises(T.pending_transfer_not_pending)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.transfer())))


@arises(T.pending_transfer_has_different_debit_account_id)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.pending()), debit_account_id=CAROL))


@arises(T.pending_transfer_has_different_credit_account_id)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.pending()), credit_account_id=CAROL))


@arises(T.pending_transfer_has_different_ledger)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.pending()), ledger=2))


@arises(T.pending_transfer_has_different_code)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.pending()), code=2))


@arises(T.exceeds_pending_transfer_amount)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.post(books.must(books.pending(amount=10)), amount=11))


@arises(T.pending_transfer_has_different_amount)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.void(books.must(books.pending(amount=10)), amount=9))


@arises(T.pending_transfer_already_posted)
def _(books: Books) -> CreateTransferStatus:
    pending = books.must(books.pending())
    books.must(books.post(pending))
    return books.status(books.void(pending))


@arises(T.pending_transfer_already_voided)
def _(books: Books) -> CreateTransferStatus:
    pending = books.must(books.pending())
    books.must(books.void(pending))
    return books.status(books.post(pending))


@arises(T.pending_transfer_expired)
def _(books: Books) -> CreateTransferStatus:
    pending = books.must(books.pending(timeout=60))
    books.later(seconds=61)
    return books.status(books.post(pending))


@arises(T.imported_event_timestamp_must_not_regress)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(flags=F.imported, timestamp=books.past()))


def _import_between(books: Books, late: int, **sides: int) -> CreateTransferStatus:
    """Imports a transfer older than one of its accounts, into a ledger whose transfers are older still."""
    books.later(seconds=60)
    result = books.engine.create_accounts([Account(id=late, ledger=1, code=1)])
    assert result[0].status is A.created
    timestamp = books.engine.now_ns - NS_PER_S
    books.later(seconds=60)
    return books.status(books.transfer(**sides, flags=F.imported, timestamp=timestamp))


@arises(T.imported_event_timestamp_must_postdate_debit_account)
def _(books: Books) -> CreateTransferStatus:
    return _import_between(books, 50, debit=50)


@arises(T.imported_event_timestamp_must_postdate_credit_account)
def _(books: Books) -> CreateTransferStatus:
    return _import_between(books, 50, credit=50)


@arises(T.imported_event_timeout_must_be_zero)
def _(books: Books) -> CreateTransferStatus:
    books.later(seconds=60)
    return books.status(books.pending(timeout=1, flags=F.imported, timestamp=books.engine.now_ns - NS_PER_S))


@arises(T.debit_account_already_closed)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(debit=CLOSED))


@arises(T.credit_account_already_closed)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(credit=CLOSED))


@arises(T.overflows_debits_pending)
def _(books: Books) -> CreateTransferStatus:
    books.must(books.pending(CAROL, BOB, AMOUNT_MAX))
    return books.status(books.pending(CAROL, ALICE, 1))


@arises(T.overflows_credits_pending)
def _(books: Books) -> CreateTransferStatus:
    books.must(books.pending(CAROL, BOB, AMOUNT_MAX))
    return books.status(books.pending(ALICE, BOB, 1))


@arises(T.overflows_debits_posted)
def _(books: Books) -> CreateTransferStatus:
    books.must(books.transfer(CAROL, BOB, AMOUNT_MAX))
    return books.status(books.transfer(CAROL, ALICE, 1))


@arises(T.overflows_credits_posted)
def _(books: Books) -> CreateTransferStatus:
    books.must(books.transfer(CAROL, BOB, AMOUNT_MAX))
    return books.status(books.transfer(ALICE, BOB, 1))


@arises(T.overflows_debits)
def _(books: Books) -> CreateTransferStatus:
    books.must(books.pending(CAROL, BOB, AMOUNT_MAX))
    return books.status(books.transfer(CAROL, ALICE, 1))


@arises(T.overflows_credits)
def _(books: Books) -> CreateTransferStatus:
    books.must(books.pending(CAROL, BOB, AMOUNT_MAX))
    return books.status(books.transfer(ALICE, BOB, 1))


@arises(T.overflows_timeout)
def _(books: Books) -> CreateTransferStatus:
    books.engine.now_ns = TIMESTAMP_MAX - TIMEOUT_MAX * NS_PER_S + 1
    return books.status(books.pending(timeout=TIMEOUT_MAX))


@arises(T.exceeds_credits)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(debit=PREPAID, amount=101))


@arises(T.exceeds_debits)
def _(books: Books) -> CreateTransferStatus:
    return books.status(books.transfer(credit=CREDIT_CAPPED, amount=101))


@pytest.mark.parametrize("status", TRANSFER_EXAMPLES, ids=lambda status: status.name)
def test_each_transfer_status_arises(books: Books, status: CreateTransferStatus) -> None:
    assert TRANSFER_EXAMPLES[status](books).name == status.name


def test_no_transfer_status_is_without_an_example() -> None:
    assert set(TRANSFER_EXAMPLES) == set(CreateTransferStatus)


@pytest.mark.parametrize("status", [each for each in T if each is not T.created], ids=lambda status: status.name)
def test_a_transfer_that_is_refused_moves_nothing(books: Books, status: CreateTransferStatus) -> None:
    # Whatever the example itself moved before, the sums of both sides agree and what is stored explains them.
    TRANSFER_EXAMPLES[status](books)
    assert_books_balance(books)


def assert_books_balance(books: Books) -> None:
    """Debits equal credits, and every balance follows from the transfers that are stored."""
    accounts = books.engine.query_accounts(QueryFilter())
    assert sum(a.debits_pending for a in accounts) == sum(a.credits_pending for a in accounts)
    assert sum(a.debits_posted for a in accounts) == sum(a.credits_posted for a in accounts)
    posted_only = [
        t for t in books.engine.query_transfers(QueryFilter()) if not t.flags & (F.pending | F.void_pending_transfer)
    ]
    for account in accounts:
        assert account.debits_posted == sum(t.amount for t in posted_only if t.debit_account_id == account.id)
        assert account.credits_posted == sum(t.amount for t in posted_only if t.credit_account_id == account.id)


# Every result of create_accounts, in order of precedence


def _open(engine: Any, *accounts: Account) -> list[CreateAccountStatus]:
    return [each.status for each in engine.create_accounts(accounts)]


def _account(**fields: Any) -> Account:
    return Account(**{"id": 1, "ledger": 1, "code": 1, **fields})


def _open_again(engine: Any, **changes: Any) -> CreateAccountStatus:
    first = _account(user_data_128=1, user_data_64=2, user_data_32=3, flags=AccountFlags.history)
    assert _open(engine, first) == [A.created]
    return _open(engine, msgspec.structs.replace(first, **changes))[0]


@account_arises(A.created)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account())[0]


@account_arises(A.linked_event_failed)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(flags=AccountFlags.linked), _account(id=0))[0]


@account_arises(A.linked_event_chain_open)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(flags=AccountFlags.linked))[0]


@account_arises(A.imported_event_expected)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(flags=AccountFlags.imported, timestamp=1), _account(id=2))[1]


@account_arises(A.imported_event_not_expected)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(), _account(id=2, flags=AccountFlags.imported, timestamp=1))[1]


@account_arises(A.timestamp_must_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(timestamp=1))[0]


@account_arises(A.imported_event_timestamp_out_of_range)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(flags=AccountFlags.imported))[0]


@account_arises(A.imported_event_timestamp_must_not_advance)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(flags=AccountFlags.imported, timestamp=engine.now_ns + NS_PER_S))[0]


@account_arises(A.reserved_flag)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(flags=1 << 6))[0]


@account_arises(A.id_must_not_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(id=0))[0]


@account_arises(A.id_must_not_be_int_max)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(id=ID_MAX))[0]


@account_arises(A.exists_with_different_flags)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine, flags=0)


@account_arises(A.exists_with_different_user_data_128)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine, user_data_128=0)


@account_arises(A.exists_with_different_user_data_64)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine, user_data_64=0)


@account_arises(A.exists_with_different_user_data_32)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine, user_data_32=0)


@account_arises(A.exists_with_different_ledger)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine, ledger=2)


@account_arises(A.exists_with_different_code)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine, code=2)


@account_arises(A.exists)
def _(engine: Any) -> CreateAccountStatus:
    return _open_again(engine)


@account_arises(A.flags_are_mutually_exclusive)
def _(engine: Any) -> CreateAccountStatus:
    both = AccountFlags.debits_must_not_exceed_credits | AccountFlags.credits_must_not_exceed_debits
    return _open(engine, _account(flags=both))[0]


@account_arises(A.debits_pending_must_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(debits_pending=1))[0]


@account_arises(A.debits_posted_must_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(debits_posted=1))[0]


@account_arises(A.credits_pending_must_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(credits_pending=1))[0]


@account_arises(A.credits_posted_must_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(credits_posted=1))[0]


@account_arises(A.ledger_must_not_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(ledger=0))[0]


@account_arises(A.code_must_not_be_zero)
def _(engine: Any) -> CreateAccountStatus:
    return _open(engine, _account(code=0))[0]


@account_arises(A.imported_event_timestamp_must_not_regress)
def _(engine: Any) -> CreateAccountStatus:
    imported = AccountFlags.imported
    return _open(engine, _account(flags=imported, timestamp=9), _account(id=2, flags=imported, timestamp=9))[1]


@pytest.mark.parametrize("status", ACCOUNT_EXAMPLES, ids=lambda status: status.name)
def test_each_account_status_arises(engine: Ledger, status: CreateAccountStatus) -> None:
    assert ACCOUNT_EXAMPLES[status](engine).name == status.name


def test_no_account_status_is_without_an_example() -> None:
    assert set(ACCOUNT_EXAMPLES) == set(CreateAccountStatus)


# Precedence: an event that breaks every rule at once is told the first; mended, the next; and so on.


def _peel(
    create: Callable[[dict[str, Any]], str], broken: dict[str, Any], steps: list[tuple[str, dict[str, Any]]]
) -> None:
    told = []
    for _, mend in steps:
        told.append(create(broken))
        broken = {**broken, **mend}
    assert told == [name for name, _ in steps]


def test_the_first_broken_rule_of_an_account_is_told(engine: Any) -> None:
    both = AccountFlags.debits_must_not_exceed_credits | AccountFlags.credits_must_not_exceed_debits
    broken = {
        "id": 0, "timestamp": 1, "flags": 1 << 6 | both, "debits_pending": 1, "debits_posted": 1,
        "credits_pending": 1, "credits_posted": 1, "ledger": 0, "code": 0,
    }  # fmt: skip
    _peel(
        lambda fields: _open(engine, Account(**fields))[0].name,
        broken,
        [
            ("timestamp_must_be_zero", {"timestamp": 0}),
            ("reserved_flag", {"flags": both}),
            ("id_must_not_be_zero", {"id": ID_MAX}),
            ("id_must_not_be_int_max", {"id": 1}),
            ("flags_are_mutually_exclusive", {"flags": 0}),
            ("debits_pending_must_be_zero", {"debits_pending": 0}),
            ("debits_posted_must_be_zero", {"debits_posted": 0}),
            ("credits_pending_must_be_zero", {"credits_pending": 0}),
            ("credits_posted_must_be_zero", {"credits_posted": 0}),
            ("ledger_must_not_be_zero", {"ledger": 1}),
            ("code_must_not_be_zero", {"code": 1}),
            ("created", {"code": 2, "ledger": 2, "user_data_32": 1, "user_data_64": 1, "user_data_128": 1, "flags": 8}),
            ("exists_with_different_flags", {"flags": 0}),
            ("exists_with_different_user_data_128", {"user_data_128": 0}),
            ("exists_with_different_user_data_64", {"user_data_64": 0}),
            ("exists_with_different_user_data_32", {"user_data_32": 0}),
            ("exists_with_different_ledger", {"ledger": 1}),
            ("exists_with_different_code", {"code": 1}),
            ("exists", {}),
        ],
    )


def _fresh(books: Books, fields: dict[str, Any]) -> str:
    """Creates under a new id where the fields name none: an id that has failed is spent."""
    return books.status(Transfer(**{"id": books.new_id(), **fields})).name


def test_the_first_broken_rule_of_a_transfer_is_told(books: Books) -> None:
    books.engine.create_accounts([Account(id=51, ledger=1, code=1), Account(id=52, ledger=1, code=1, flags=32)])
    books.engine.create_accounts([Account(id=53, ledger=1, code=1, flags=AccountFlags.credits_must_not_exceed_debits)])
    books.must(books.pending(CAROL, BOB, AMOUNT_MAX))
    _peel(
        lambda fields: _fresh(books, fields),
        {
            "id": 0,
            "debit_account_id": 0,
            "credit_account_id": 0,
            "amount": AMOUNT_MAX,
            "pending_id": 1,
            "timeout": 1,
            "flags": 1 << 9 | F.closing_debit,
            "timestamp": 1,
        },
        [
            ("timestamp_must_be_zero", {"timestamp": 0}),
            ("reserved_flag", {"flags": F.closing_debit}),
            ("id_must_not_be_zero", {"id": ID_MAX}),
            ("id_must_not_be_int_max", {"id": 40}),
            ("debit_account_id_must_not_be_zero", {"debit_account_id": ID_MAX}),
            ("debit_account_id_must_not_be_int_max", {"debit_account_id": NOBODY}),
            ("credit_account_id_must_not_be_zero", {"credit_account_id": ID_MAX}),
            ("credit_account_id_must_not_be_int_max", {"credit_account_id": NOBODY}),
            ("accounts_must_be_different", {"credit_account_id": NOBODY + 1}),
            ("pending_id_must_be_zero", {"pending_id": 0}),
            ("timeout_reserved_for_pending_transfer", {"timeout": 0}),
            ("closing_transfer_must_be_pending", {"flags": F.pending | F.closing_debit}),
            ("ledger_must_not_be_zero", {"ledger": 3}),
            ("code_must_not_be_zero", {"code": 1}),
            ("debit_account_not_found", {"debit_account_id": FOREIGN, "id": 41}),
            ("credit_account_not_found", {"credit_account_id": CLOSED, "id": 42}),
            ("accounts_must_have_the_same_ledger", {"debit_account_id": 52}),
            ("transfer_must_have_the_same_ledger_as_accounts", {"ledger": 1}),
            ("debit_account_already_closed", {"debit_account_id": CAROL, "id": 43}),
            ("credit_account_already_closed", {"credit_account_id": BOB, "id": 44}),
            ("overflows_debits_pending", {"debit_account_id": ALICE}),
            ("overflows_credits_pending", {"credit_account_id": PREPAID}),
            ("overflows_debits_posted", {"debit_account_id": 51}),
            ("overflows_credits_posted", {"debit_account_id": PREPAID, "credit_account_id": 53}),
            ("exceeds_credits", {"debit_account_id": 51, "id": 45}),
            ("exceeds_debits", {"credit_account_id": 50}),
            ("id_already_failed", {"flags": F.post_pending_transfer | F.void_pending_transfer, "id": 46}),
            ("flags_are_mutually_exclusive", {}),
        ],
    )


def test_the_first_difference_from_an_existing_transfer_is_told(books: Books) -> None:
    first = books.pending(user_data_128=1, user_data_64=2, user_data_32=3, timeout=60)
    books.must(first)
    same = msgspec.structs.asdict(first)
    different = {"id": first.id, "flags": F.post_pending_transfer, "pending_id": 1}
    _peel(
        lambda fields: _fresh(books, fields),
        different,
        [
            ("exists_with_different_flags", {"flags": same["flags"]}),
            ("exists_with_different_pending_id", {"pending_id": 0}),
            ("exists_with_different_timeout", {"timeout": same["timeout"]}),
            ("exists_with_different_debit_account_id", {"debit_account_id": ALICE}),
            ("exists_with_different_credit_account_id", {"credit_account_id": BOB}),
            ("exists_with_different_amount", {"amount": 10}),
            ("exists_with_different_user_data_128", {"user_data_128": 1}),
            ("exists_with_different_user_data_64", {"user_data_64": 2}),
            ("exists_with_different_user_data_32", {"user_data_32": 3}),
            ("exists_with_different_ledger", {"ledger": 1}),
            ("exists_with_different_code", {"code": 1}),
            ("exists", {}),
        ],
    )


def test_the_first_broken_rule_of_a_post_is_told(books: Books) -> None:
    closing = books.must(books.pending(51 - 50, CAROL, 10, flags=F.closing_debit, code=7))
    single = books.must(books.transfer(BOB, CAROL, code=7))
    broken = {
        "flags": F.post_pending_transfer | F.pending, "pending_id": 0, "timeout": 1, "debit_account_id": FOREIGN,
        "credit_account_id": FOREIGN, "ledger": 9, "code": 9, "amount": 11, "id": 60,
    }  # fmt: skip
    _peel(
        lambda fields: _fresh(books, fields),
        broken,
        [
            ("flags_are_mutually_exclusive", {"flags": F.post_pending_transfer}),
            ("pending_id_must_not_be_zero", {"pending_id": ID_MAX}),
            ("pending_id_must_not_be_int_max", {"pending_id": 60}),
            ("pending_id_must_be_different", {"pending_id": 999}),
            ("timeout_reserved_for_pending_transfer", {"timeout": 0}),
            ("pending_transfer_not_found", {"pending_id": single, "id": 61}),
            ("pending_transfer_not_pending", {"pending_id": closing}),
            ("pending_transfer_has_different_debit_account_id", {"debit_account_id": ALICE}),
            ("pending_transfer_has_different_credit_account_id", {"credit_account_id": CAROL}),
            ("pending_transfer_has_different_ledger", {"ledger": 1}),
            ("pending_transfer_has_different_code", {"code": 7}),
            ("exceeds_pending_transfer_amount", {"amount": 9, "flags": F.void_pending_transfer}),
            ("pending_transfer_has_different_amount", {"flags": F.post_pending_transfer}),
            ("debit_account_already_closed", {"flags": F.void_pending_transfer, "amount": 0, "id": 62}),
            ("created", {"id": 63, "flags": F.post_pending_transfer}),
            ("pending_transfer_already_voided", {}),
        ],
    )


def test_the_first_difference_from_an_existing_post_is_told(books: Books) -> None:
    pending = books.must(books.pending(user_data_128=1, user_data_64=2, user_data_32=3))
    post = books.must(books.post(pending, amount=4, user_data_128=5, user_data_64=6, user_data_32=7))
    different = {
        "id": post, "flags": F.void_pending_transfer, "pending_id": 1, "timeout": 1, "debit_account_id": CAROL,
        "credit_account_id": CAROL, "ledger": 9, "code": 9, "amount": 5,
    }  # fmt: skip
    _peel(
        lambda fields: _fresh(books, fields),
        different,
        [
            ("exists_with_different_flags", {"flags": F.post_pending_transfer}),
            ("exists_with_different_pending_id", {"pending_id": pending}),
            ("exists_with_different_timeout", {"timeout": 0}),
            ("exists_with_different_debit_account_id", {"debit_account_id": 0}),
            ("exists_with_different_credit_account_id", {"credit_account_id": 0}),
            ("exists_with_different_amount", {"amount": AMOUNT_MAX}),
            ("exists_with_different_amount", {"amount": 4}),
            ("exists_with_different_user_data_128", {"user_data_128": 5}),
            ("exists_with_different_user_data_64", {"user_data_64": 6}),
            ("exists_with_different_user_data_32", {"user_data_32": 7}),
            ("exists_with_different_ledger", {"ledger": 0}),
            ("exists_with_different_code", {"code": 0}),
            ("exists", {"ledger": 1, "code": 1, "debit_account_id": ALICE, "credit_account_id": BOB}),
            ("exists", {}),
        ],
    )


def test_the_statuses_are_numbered_as_on_tigerbeetles_wire() -> None:
    codes = sorted(int(each) for each in CreateTransferStatus)
    assert codes == sorted({*range(1, 69), 2**32 - 1} - {18})
    assert sorted(int(each) for each in CreateAccountStatus) == sorted({*range(1, 27), 2**32 - 1} - {4})


# Timestamps


def test_timestamps_increase_by_one_within_a_batch(books: Books) -> None:
    results = books.engine.create_transfers([books.transfer(), books.transfer(code=0), books.transfer()])
    first = results[0].timestamp
    assert [each.timestamp for each in results] == [first, first + 1, first + 2]


def test_timestamps_increase_though_the_clock_goes_back(books: Books) -> None:
    before = books.stored(books.must(books.transfer())).timestamp
    books.later(seconds=-60)
    assert books.stored(books.must(books.transfer())).timestamp > before
    books.engine.create_accounts([Account(id=51, ledger=1, code=1)])
    assert books.account(51).timestamp > before + 1


def test_a_batch_begins_at_the_clock(books: Books) -> None:
    if not books.engine.has_own_clock:
        pytest.skip("the clock of a cluster can't be set")
    books.later(seconds=60)
    assert books.stored(books.must(books.transfer())).timestamp == books.engine.now_ns


def test_what_exists_is_told_with_its_own_timestamp(books: Books) -> None:
    transfer = books.transfer()
    (created,) = books.engine.create_transfers([transfer])
    books.later(seconds=60)
    assert books.engine.create_transfers([transfer])[0].timestamp == created.timestamp
    (again,) = books.engine.create_accounts([Account(id=ALICE, ledger=1, code=1)])
    assert again.timestamp == books.account(ALICE).timestamp


# Requests


def test_an_empty_request_does_nothing(engine: Ledger) -> None:
    assert engine.create_accounts([]) == []
    assert engine.create_transfers([]) == []
    assert engine.lookup_accounts([]) == []
    assert engine.lookup_transfers([]) == []


@only_real
def test_a_full_batch_is_accepted_and_one_more_is_not(books: Books) -> None:
    assert set(books.statuses(*(books.transfer() for _ in range(BATCH_MAX)))) == {T.created}
    with pytest.raises(BatchTooLargeError):
        books.engine.create_transfers([books.transfer() for _ in range(BATCH_MAX + 1)])
    with pytest.raises(BatchTooLargeError):
        books.engine.lookup_transfers(range(1, BATCH_MAX + 2))


@only_real
@pytest.mark.parametrize(
    "fields",
    [
        {"amount": -1}, {"amount": AMOUNT_MAX + 1}, {"id": -1}, {"id": ID_MAX + 1}, {"pending_id": -1},
        {"user_data_128": ID_MAX + 1}, {"user_data_64": 2**64}, {"user_data_32": 2**32}, {"timeout": -1},
        {"ledger": 2**32}, {"code": 2**16}, {"flags": 2**16}, {"timestamp": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_number_that_does_not_fit_its_field_stops_the_whole_request(books: Books, fields: dict[str, int]) -> None:
    good = books.transfer()
    with pytest.raises(FieldError):
        books.engine.create_transfers([good, msgspec.structs.replace(books.transfer(), **fields)])
    assert books.engine.lookup_transfers([good.id]) == []


@only_real
@pytest.mark.parametrize(
    "fields", [{"id": ID_MAX + 1}, {"credits_posted": -1}, {"code": 2**16}, {"flags": -1}], ids=str
)
def test_a_number_that_does_not_fit_its_field_opens_no_account(engine: Ledger, fields: dict[str, int]) -> None:
    with pytest.raises(FieldError):
        engine.create_accounts([_account(id=2), _account(**fields)])
    assert engine.lookup_accounts([2]) == []


def test_lookups_answer_in_the_order_asked_and_leave_out_what_is_not_there(books: Books) -> None:
    assert [each.id for each in books.engine.lookup_accounts([BOB, NOBODY, ALICE])] == [BOB, ALICE]
    one, two = books.must(books.transfer()), books.must(books.transfer())
    assert [each.id for each in books.engine.lookup_transfers([two, 5, one])] == [two, one]


def test_every_field_comes_back_as_it_was_given(books: Books) -> None:
    account = Account(
        id=ID_MAX - 1, user_data_128=ID_MAX, user_data_64=2**64 - 1, user_data_32=2**32 - 1, ledger=2**32 - 1,
        code=2**16 - 1, flags=AccountFlags.history,
    )  # fmt: skip
    (result,) = books.engine.create_accounts([account])
    assert books.account(ID_MAX - 1) == msgspec.structs.replace(account, timestamp=result.timestamp)
    transfer = books.pending(
        amount=AMOUNT_MAX - 100, user_data_128=ID_MAX, user_data_64=2**64 - 1, user_data_32=2**32 - 1,
        timeout=TIMEOUT_MAX, code=2**16 - 1, id=ID_MAX - 1,
    )  # fmt: skip
    (created,) = books.engine.create_transfers([transfer])
    assert books.stored(ID_MAX - 1) == msgspec.structs.replace(transfer, timestamp=created.timestamp)


# Idempotency


def test_a_repeated_transfer_moves_money_once(books: Books) -> None:
    transfer = books.transfer(amount=10)
    assert books.statuses(transfer, transfer) == [T.created, T.exists]
    assert books.status(transfer) is T.exists
    assert books.balances(BOB) == (0, 0, 0, 10)


def test_a_repeated_account_keeps_its_balances(books: Books) -> None:
    books.must(books.transfer(amount=10))
    assert _open(books.engine, Account(id=BOB, ledger=1, code=1)) == [A.exists]
    assert books.balances(BOB) == (0, 0, 0, 10)


def test_a_repeated_post_or_void_exists(books: Books) -> None:
    posted, voided = books.pending(), books.pending()
    post, void = books.post(posted.id), books.void(voided.id)
    books.must(posted, voided, post, void)
    assert books.statuses(post, void) == [T.exists, T.exists]


def test_a_post_in_full_repeated_after_a_post_in_part_is_different(books: Books) -> None:
    pending = books.must(books.pending(amount=10))
    post = books.must(books.post(pending, amount=4))
    assert books.status(books.post(pending, id=post)) is T.exists_with_different_amount
    assert books.status(books.post(pending, amount=4, id=post)) is T.exists


@pytest.mark.parametrize("status", sorted(TRANSIENT), ids=lambda status: status.name)
def test_the_id_of_a_transfer_refused_for_the_moment_is_spent(books: Books, status: CreateTransferStatus) -> None:
    seen: list[Transfer] = []
    create = books.engine.create_transfers
    books.engine.create_transfers = lambda transfers: seen.extend(transfers) or create(transfers)
    assert TRANSFER_EXAMPLES[status](books) is status
    assert books.status(seen[-1]) is T.id_already_failed
    assert books.status(books.transfer(id=seen[-1].id)) is T.id_already_failed


def test_a_transient_failure_is_remembered_within_its_batch(books: Books) -> None:
    refused = books.transfer(debit=PREPAID, amount=101)
    funding = books.transfer(credit=PREPAID)
    assert books.statuses(refused, funding, refused) == [T.exceeds_credits, T.created, T.id_already_failed]


def test_the_id_of_a_malformed_transfer_may_be_used_again(books: Books) -> None:
    malformed = books.transfer(code=0)
    assert books.status(malformed) is T.code_must_not_be_zero
    assert books.status(msgspec.structs.replace(malformed, code=1)) is T.created


def test_in_a_broken_chain_only_the_id_that_failed_is_spent(books: Books) -> None:
    first, second = books.transfer(flags=F.linked), books.transfer(debit=PREPAID, amount=101)
    assert books.statuses(first, second) == [T.linked_event_failed, T.exceeds_credits]
    assert books.statuses(first, books.transfer()) == [T.created, T.created]
    assert books.status(second) is T.id_already_failed


# Linked chains


def test_a_chain_succeeds_as_a_whole(books: Books) -> None:
    books.must(books.transfer(flags=F.linked), books.transfer(flags=F.linked), books.transfer())
    assert books.balances(BOB) == (0, 0, 0, 30)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_chain_fails_as_a_whole_whichever_link_breaks(books: Books, broken: int) -> None:
    chain = [books.transfer(flags=F.linked), books.transfer(flags=F.linked), books.transfer()]
    chain[broken] = msgspec.structs.replace(chain[broken], code=0)
    expected = [T.linked_event_failed] * 3
    expected[broken] = T.code_must_not_be_zero
    assert books.statuses(*chain) == expected
    assert books.balances(BOB) == (0, 0, 0, 0)
    assert books.engine.lookup_transfers([each.id for each in chain]) == []


def test_what_stands_beside_a_broken_chain_is_not_touched(books: Books) -> None:
    linked, failing = books.transfer(amount=1, flags=F.linked), books.transfer(code=0)
    before, after = books.transfer(amount=2), books.transfer(amount=4)
    statuses = books.statuses(before, linked, failing, after)
    assert statuses == [T.created, T.linked_event_failed, T.code_must_not_be_zero, T.created]
    assert books.balances(BOB) == (0, 0, 0, 6)


def test_later_links_see_what_earlier_links_did(books: Books) -> None:
    books.must(books.transfer(credit=PREPAID, amount=50, flags=F.linked), books.transfer(debit=PREPAID, amount=150))
    assert books.balances(PREPAID) == (0, 150, 0, 150)


def test_a_broken_chain_takes_back_reservations_posts_voids_and_closings(books: Books) -> None:
    posted, voided = books.pending(amount=5), books.pending(amount=7)
    books.must(posted, voided)
    before = [books.account(each) for each in (ALICE, BOB, CAROL)]
    statuses = books.statuses(
        books.pending(amount=11, timeout=5, flags=F.linked),
        books.post(posted.id, amount=3, flags=F.linked),
        books.void(voided.id, flags=F.linked),
        books.pending(CAROL, BOB, 0, flags=F.linked | F.closing_debit),
        books.transfer(code=0),
    )
    assert statuses[:4] == [T.linked_event_failed] * 4
    assert [books.account(each) for each in (ALICE, BOB, CAROL)] == before
    books.must(books.post(posted.id), books.void(voided.id))


def test_an_open_chain_fails_as_a_whole(books: Books) -> None:
    statuses = books.statuses(books.transfer(), books.transfer(flags=F.linked), books.transfer(flags=F.linked))
    assert statuses == [T.created, T.linked_event_failed, T.linked_event_chain_open]


def test_an_open_chain_that_is_broken_already_is_still_told_open(books: Books) -> None:
    statuses = books.statuses(books.transfer(flags=F.linked, code=0), books.transfer(flags=F.linked))
    assert statuses == [T.code_must_not_be_zero, T.linked_event_chain_open]


def test_a_repeated_transfer_breaks_its_chain(books: Books) -> None:
    existing = books.transfer()
    books.must(existing)
    assert books.statuses(books.transfer(flags=F.linked), existing) == [T.linked_event_failed, T.exists]


def test_a_chain_of_accounts_succeeds_or_fails_as_a_whole(engine: Ledger) -> None:
    linked = AccountFlags.linked
    statuses = _open(engine, _account(id=1, flags=linked), _account(id=2, code=0), _account(id=1, code=2))
    assert statuses == [A.linked_event_failed, A.code_must_not_be_zero, A.created]
    assert _open(engine, _account(id=3, flags=linked), _account(id=4)) == [A.created, A.created]


# Two-phase transfers


def test_a_pending_transfer_reserves_on_both_sides(books: Books) -> None:
    books.must(books.pending(CAROL, BOB, 10))
    assert books.balances(CAROL) == (10, 0, 0, 0)
    assert books.balances(BOB) == (0, 0, 10, 0)


def test_a_post_moves_what_was_reserved(books: Books) -> None:
    books.must(books.post(books.must(books.pending(CAROL, BOB, 10))))
    assert books.balances(CAROL) == (0, 10, 0, 0)
    assert books.balances(BOB) == (0, 0, 0, 10)


def test_a_post_in_part_frees_the_rest(books: Books) -> None:
    post = books.must(books.post(books.must(books.pending(CAROL, BOB, 10)), amount=4))
    assert books.balances(CAROL) == (0, 4, 0, 0)
    assert books.balances(BOB) == (0, 0, 0, 4)
    assert books.stored(post).amount == 4


def test_a_post_of_nothing_frees_everything(books: Books) -> None:
    books.must(books.post(books.must(books.pending(CAROL, BOB, 10)), amount=0))
    assert books.balances(CAROL) == (0, 0, 0, 0)
    assert books.balances(BOB) == (0, 0, 0, 0)


def test_a_post_larger_than_its_pending_is_refused(books: Books) -> None:
    pending = books.must(books.pending(CAROL, BOB, 10))
    assert books.status(books.post(pending, amount=11)) is T.exceeds_pending_transfer_amount
    assert books.balances(CAROL) == (10, 0, 0, 0)


def test_a_void_frees_what_was_reserved(books: Books) -> None:
    void = books.must(books.void(books.must(books.pending(CAROL, BOB, 10))))
    assert books.balances(CAROL) == (0, 0, 0, 0)
    assert books.balances(BOB) == (0, 0, 0, 0)
    assert books.stored(void).amount == 10


def test_a_void_may_state_the_whole_amount(books: Books) -> None:
    books.must(books.void(books.must(books.pending(amount=10)), amount=10))


def test_a_post_takes_over_what_it_does_not_say(books: Books) -> None:
    pending = books.pending(amount=10, user_data_128=1, user_data_64=2, user_data_32=3, code=4)
    post = books.stored(books.must(pending, books.post(pending.id)))
    assert (post.debit_account_id, post.credit_account_id, post.amount) == (ALICE, BOB, 10)
    assert (post.user_data_128, post.user_data_64, post.user_data_32, post.ledger, post.code) == (1, 2, 3, 1, 4)


def test_a_post_may_say_other_user_data(books: Books) -> None:
    pending = books.pending(user_data_128=1, user_data_64=2, user_data_32=3)
    post = books.stored(books.must(pending, books.post(pending.id, user_data_128=4, user_data_64=5, user_data_32=6)))
    assert (post.user_data_128, post.user_data_64, post.user_data_32) == (4, 5, 6)


def test_a_pending_transfer_and_its_post_may_share_a_batch(books: Books) -> None:
    pending = books.pending(CAROL, BOB, 10)
    assert books.statuses(pending, books.post(pending.id), books.void(pending.id)) == [
        T.created,
        T.created,
        T.pending_transfer_already_posted,
    ]
    assert books.balances(CAROL) == (0, 10, 0, 0)


def test_a_reservation_counts_against_the_limit_and_a_post_does_not_ask_again(books: Books) -> None:
    pending = books.must(books.pending(PREPAID, BOB, 60))
    assert books.status(books.transfer(PREPAID, BOB, 41)) is T.exceeds_credits
    books.must(books.transfer(PREPAID, BOB, 40), books.post(pending))
    assert books.balances(PREPAID) == (0, 100, 0, 100)


def test_credit_that_is_only_pending_can_not_be_spent(books: Books) -> None:
    books.must(books.pending(ALICE, PREPAID, 50))
    assert books.status(books.transfer(PREPAID, BOB, 101)) is T.exceeds_credits


@pytest.mark.parametrize("flag", [F.pending, F.balancing_debit, F.balancing_credit, F.closing_debit, F.closing_credit])
def test_a_post_or_void_takes_no_other_kind_of_flag(books: Books, flag: TransferFlags) -> None:
    pending = books.must(books.pending())
    assert books.status(books.post(pending, flags=flag)) is T.flags_are_mutually_exclusive
    assert books.status(books.void(pending, flags=flag)) is T.flags_are_mutually_exclusive


def test_an_amount_of_zero_is_a_transfer_like_any_other(books: Books) -> None:
    assert books.stored(books.must(books.transfer(amount=0))).amount == 0


def test_overflow_is_told_before_the_limit(books: Books) -> None:
    assert books.status(books.transfer(PREPAID, CREDIT_CAPPED, AMOUNT_MAX)) is T.exceeds_credits
    books.must(books.transfer(PREPAID, BOB, 1))
    assert books.status(books.transfer(PREPAID, CREDIT_CAPPED, AMOUNT_MAX)) is T.overflows_debits_posted


# Timeouts


def test_a_pending_transfer_can_be_posted_until_its_timeout_has_passed(books: Books) -> None:
    pending = books.must(books.pending(timeout=60))
    books.engine.now_ns = books.stored(pending).timestamp + 60 * NS_PER_S - 1
    assert books.status(books.post(pending)) is T.created


def test_a_pending_transfer_can_not_be_posted_at_its_expiry(books: Books) -> None:
    pending = books.must(books.pending(timeout=60))
    books.engine.now_ns = books.stored(pending).timestamp + 60 * NS_PER_S
    assert books.status(books.post(pending)) is T.pending_transfer_expired
    assert books.status(books.void(pending)) is T.pending_transfer_expired


def test_an_expired_reservation_is_released_before_the_next_batch(books: Books) -> None:
    books.must(books.pending(PREPAID, BOB, 100, timeout=60))
    assert books.status(books.transfer(PREPAID, BOB, 1)) is T.exceeds_credits
    books.later(seconds=61)
    books.must(books.transfer(PREPAID, BOB, 100))
    assert books.balances(PREPAID) == (0, 100, 0, 100)


def test_only_what_is_due_is_released_and_only_once(books: Books) -> None:
    books.must(books.pending(CAROL, BOB, 10, timeout=60), books.pending(CAROL, BOB, 5, timeout=120))
    books.later(seconds=61)
    books.turn()
    assert books.balances(CAROL) == (5, 0, 0, 0)
    books.turn()
    assert books.balances(CAROL) == (5, 0, 0, 0)


def test_what_was_posted_or_voided_does_not_expire(books: Books) -> None:
    posted, voided = books.pending(CAROL, BOB, 10, timeout=60), books.pending(CAROL, BOB, 5, timeout=60)
    books.must(posted, voided, books.post(posted.id), books.void(voided.id))
    books.later(seconds=61)
    books.turn()
    assert books.balances(CAROL) == (0, 10, 0, 0)


def test_a_reservation_without_timeout_stays(books: Books) -> None:
    books.must(books.pending(CAROL, BOB, 10))
    books.later(seconds=TIMEOUT_MAX)
    books.turn()
    assert books.balances(CAROL) == (10, 0, 0, 0)


def test_an_expired_pending_transfer_reopens_the_account_it_closed(books: Books) -> None:
    books.must(books.pending(CAROL, BOB, 0, flags=F.closing_debit, timeout=60))
    books.later(seconds=61)
    books.must(books.transfer(CAROL, BOB))


# Balancing


def test_balancing_debit_moves_what_the_credits_still_cover(books: Books) -> None:
    moved = books.must(books.transfer(PREPAID, BOB, AMOUNT_MAX, flags=F.balancing_debit))
    assert books.stored(moved).amount == 100
    assert books.balances(PREPAID) == (0, 100, 0, 100)


def test_balancing_debit_moves_at_most_its_amount(books: Books) -> None:
    assert books.stored(books.must(books.transfer(PREPAID, BOB, 30, flags=F.balancing_debit))).amount == 30


def test_balancing_debit_counts_what_is_reserved(books: Books) -> None:
    books.must(books.pending(PREPAID, BOB, 70))
    assert books.stored(books.must(books.transfer(PREPAID, BOB, 50, flags=F.balancing_debit))).amount == 30


def test_balancing_moves_nothing_where_nothing_is_left(books: Books) -> None:
    assert books.stored(books.must(books.transfer(BOB, CAROL, 50, flags=F.balancing_debit))).amount == 0


def test_balancing_credit_moves_what_the_debits_still_cover(books: Books) -> None:
    moved = books.must(books.transfer(ALICE, CREDIT_CAPPED, AMOUNT_MAX, flags=F.balancing_credit))
    assert books.stored(moved).amount == 100


def test_balancing_both_ways_moves_the_smaller(books: Books) -> None:
    books.must(books.transfer(PREPAID, BOB, 60))
    flags = F.balancing_debit | F.balancing_credit
    assert books.stored(books.must(books.transfer(PREPAID, CREDIT_CAPPED, 90, flags=flags))).amount == 40


def test_balancing_works_for_reservations(books: Books) -> None:
    books.must(books.pending(PREPAID, BOB, AMOUNT_MAX, flags=F.balancing_debit))
    assert books.balances(PREPAID) == (100, 0, 0, 100)


def test_a_balancing_transfer_exists_for_any_amount_that_allows_what_moved(books: Books) -> None:
    moved = books.must(books.transfer(PREPAID, BOB, 500, flags=F.balancing_debit))
    assert books.status(books.transfer(PREPAID, BOB, 100, flags=F.balancing_debit, id=moved)) is T.exists
    assert books.status(books.transfer(PREPAID, BOB, 900, flags=F.balancing_debit, id=moved)) is T.exists
    less = books.transfer(PREPAID, BOB, 99, flags=F.balancing_debit, id=moved)
    assert books.status(less) is T.exists_with_different_amount


# Closing


@pytest.mark.parametrize("flag", [F.closing_debit, F.closing_credit])
def test_a_closing_transfer_closes_its_account(books: Books, flag: TransferFlags) -> None:
    closed = CAROL if flag is F.closing_debit else BOB
    books.must(books.pending(CAROL, BOB, 0, flags=flag))
    assert books.account(closed).flags & AccountFlags.closed
    assert books.status(books.transfer(closed, ALICE)) is T.debit_account_already_closed
    assert books.status(books.transfer(ALICE, closed)) is T.credit_account_already_closed


def test_voiding_the_closing_transfer_opens_the_account_again(books: Books) -> None:
    closing = books.must(books.pending(CAROL, BOB, 0, flags=F.closing_debit | F.closing_credit))
    books.must(books.void(closing))
    assert not books.account(CAROL).flags & AccountFlags.closed
    books.must(books.transfer(CAROL, BOB))


def test_what_is_pending_on_a_closed_account_can_be_voided_but_not_posted(books: Books) -> None:
    one, two = books.pending(CAROL, BOB, 10), books.pending(BOB, CAROL, 10)
    books.must(one, two, books.pending(CAROL, BOB, 0, flags=F.closing_debit))
    assert books.status(books.post(one.id)) is T.debit_account_already_closed
    assert books.status(books.post(two.id)) is T.credit_account_already_closed
    books.must(books.void(one.id), books.void(two.id))
    assert books.account(CAROL).flags & AccountFlags.closed


def test_the_closing_transfer_itself_can_not_be_posted(books: Books) -> None:
    closing = books.must(books.pending(CAROL, BOB, 0, flags=F.closing_debit))
    assert books.status(books.post(closing)) is T.debit_account_already_closed


# Import


def test_imported_accounts_and_transfers_keep_their_timestamps(engine: Any) -> None:
    past = engine.quiet_ns
    imported = AccountFlags.imported
    opened = engine.create_accounts(
        [_account(id=1, flags=imported, timestamp=past), _account(id=2, flags=imported, timestamp=past + 1)]
    )
    assert [each.timestamp for each in opened] == [past, past + 1]
    transfer = Transfer(
        id=1, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1, flags=F.imported, timestamp=past + 5
    )
    (moved,) = engine.create_transfers([transfer])
    assert (moved.status, moved.timestamp) == (T.created, past + 5)
    assert engine.lookup_transfers([1]) == [transfer]


def test_an_imported_transfer_may_not_share_a_timestamp_with_an_account(engine: Any) -> None:
    past = engine.quiet_ns
    for id_, offset in ((1, 0), (2, 1), (3, 10)):
        account = _account(id=id_, flags=AccountFlags.imported, timestamp=past + offset)
        assert _open(engine, account) == [A.created]
    transfer = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1, flags=F.imported)
    statuses = [
        engine.create_transfers([msgspec.structs.replace(transfer, timestamp=past + offset)])[0].status
        for offset in (10, 9)
    ]
    assert statuses == [T.imported_event_timestamp_must_not_regress, T.created]


def test_an_imported_account_may_not_share_a_timestamp_with_a_transfer(books: Books) -> None:
    books.later(seconds=60)
    taken = books.stored(books.must(books.transfer())).timestamp
    books.later(seconds=60)
    account = Account(id=51, ledger=1, code=1, flags=AccountFlags.imported, timestamp=taken)
    assert _open(books.engine, account) == [A.imported_event_timestamp_must_not_regress]
    assert _open(books.engine, msgspec.structs.replace(account, timestamp=taken + 1)) == [A.created]


def test_a_broken_chain_of_imports_leaves_the_timestamps_free(books: Books) -> None:
    books.later(seconds=60)
    timestamp = books.engine.now_ns - NS_PER_S
    chain = [
        books.transfer(flags=F.linked | F.imported, timestamp=timestamp),
        books.transfer(flags=F.imported, timestamp=timestamp + 1, code=0),
    ]
    assert books.statuses(*chain) == [T.linked_event_failed, T.code_must_not_be_zero]
    books.must(chain[0], msgspec.structs.replace(chain[1], code=1))


def test_an_imported_transfer_that_exists_is_told_so_before_its_timestamp_regresses(books: Books) -> None:
    books.later(seconds=60)
    transfer = books.transfer(flags=F.imported, timestamp=books.engine.now_ns - NS_PER_S)
    books.must(transfer)
    assert books.status(transfer) is T.exists


def test_an_imported_post_follows_the_transfers_before_it(books: Books) -> None:
    pending = books.must(books.pending(CAROL, BOB))
    books.later(seconds=60)
    books.engine.create_accounts([Account(id=51, ledger=1, code=1)])
    taken = books.account(51).timestamp
    books.later(seconds=60)
    refused = T.imported_event_timestamp_must_not_regress
    assert books.status(books.post(pending, flags=F.imported, timestamp=1)) is refused
    assert books.status(books.post(pending, flags=F.imported, timestamp=taken)) is refused
    books.must(books.post(pending, flags=F.imported, timestamp=taken - 1))


# History


def test_history_keeps_the_balances_after_each_transfer(books: Books) -> None:
    pending = books.pending(CAROL, BOB, 10)
    books.must(pending, books.transfer(ALICE, CAROL, 3), books.post(pending.id, amount=4))
    timestamps = [each.timestamp for each in books.engine.get_account_transfers(AccountFilter(account_id=CAROL))]
    assert books.engine.get_account_balances(AccountFilter(account_id=CAROL)) == [
        AccountBalance(debits_pending=dp, debits_posted=d, credits_pending=cp, credits_posted=c, timestamp=timestamp)
        for (dp, d, cp, c), timestamp in zip([(10, 0, 0, 0), (10, 0, 0, 3), (0, 4, 0, 3)], timestamps, strict=True)
    ]


def test_an_account_without_history_has_no_balances(books: Books) -> None:
    books.must(books.transfer(CAROL, BOB))
    assert books.engine.get_account_balances(AccountFilter(account_id=BOB)) == []
    assert books.engine.get_account_balances(AccountFilter(account_id=NOBODY)) == []


def test_history_is_filtered_like_the_transfers(books: Books) -> None:
    books.must(books.transfer(CAROL, BOB, 1, code=1), books.transfer(BOB, CAROL, 2, code=2))
    (credited,) = books.engine.get_account_balances(AccountFilter(account_id=CAROL, flags=AccountFilterFlags.credits))
    assert (credited.debits_posted, credited.credits_posted) == (1, 2)
    (by_code,) = books.engine.get_account_balances(AccountFilter(account_id=CAROL, code=1))
    assert (by_code.debits_posted, by_code.credits_posted) == (1, 0)


def test_an_expiry_leaves_no_history(books: Books) -> None:
    books.must(books.pending(CAROL, BOB, 10, timeout=60))
    books.later(seconds=61)
    books.turn()
    (only,) = books.engine.get_account_balances(AccountFilter(account_id=CAROL))
    assert only.debits_pending == 10


def test_a_broken_chain_leaves_no_history(books: Books) -> None:
    books.statuses(books.transfer(CAROL, BOB, flags=F.linked), books.transfer(code=0))
    assert books.engine.get_account_balances(AccountFilter(account_id=CAROL)) == []


# Queries


def _amounts(transfers: list[Transfer]) -> list[int]:
    return [each.amount for each in transfers]


@pytest.fixture
def busy(books: Books) -> Books:
    """Carol's transfers by amount: 1 and 3 debit her, 2 and 4 credit her; 5 is none of hers."""
    books.must(
        books.transfer(CAROL, BOB, 1, user_data_128=7),
        books.transfer(BOB, CAROL, 2, user_data_64=2**64 - 1),
        books.transfer(CAROL, BOB, 3, user_data_32=7, user_data_128=7),
        books.transfer(BOB, CAROL, 4, code=9),
        books.transfer(ALICE, BOB, 5, user_data_128=7),
    )
    return books


@pytest.mark.parametrize(
    ("wanted", "amounts"),
    [
        ({}, [1, 2, 3, 4]),
        ({"flags": 1}, [1, 3]),
        ({"flags": 2}, [2, 4]),
        ({"flags": 7}, [4, 3, 2, 1]),
        ({"limit": 3}, [1, 2, 3]),
        ({"limit": 1, "flags": 5}, [3]),
        ({"user_data_128": 7}, [1, 3]),
        ({"user_data_64": 2**64 - 1}, [2]),
        ({"user_data_32": 7, "user_data_128": 7}, [3]),
        ({"user_data_32": 7, "user_data_64": 1}, []),
        ({"code": 9}, [4]),
        ({"account_id": NOBODY}, []),
    ],
    ids=str,
)
def test_transfers_of_an_account_are_found(busy: Books, wanted: dict[str, int], amounts: list[int]) -> None:
    assert _amounts(busy.engine.get_account_transfers(AccountFilter(**{"account_id": CAROL, **wanted}))) == amounts


def test_timestamps_of_a_filter_are_inclusive(busy: Books) -> None:
    two, three = busy.engine.get_account_transfers(AccountFilter(account_id=CAROL))[1:3]
    within = {"timestamp_min": two.timestamp, "timestamp_max": three.timestamp}
    assert _amounts(busy.engine.get_account_transfers(AccountFilter(account_id=CAROL, **within))) == [2, 3]
    assert _amounts(busy.engine.query_transfers(QueryFilter(**within))) == [2, 3]
    from_three = AccountFilter(account_id=CAROL, timestamp_min=three.timestamp)
    assert _amounts(busy.engine.get_account_transfers(from_three)) == [3, 4]


@pytest.mark.parametrize(
    "broken",
    [
        {"account_id": 0}, {"account_id": ID_MAX}, {"limit": 0}, {"flags": 0}, {"flags": 4}, {"flags": 8 | 1},
        {"timestamp_min": 2, "timestamp_max": 1}, {"timestamp_min": TIMESTAMP_MAX + 1},
        {"timestamp_max": TIMESTAMP_MAX + 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_filter_that_breaks_a_constraint_finds_nothing(busy: Books, broken: dict[str, int]) -> None:
    wanted = AccountFilter(**{"account_id": CAROL, **broken})
    assert busy.engine.get_account_transfers(wanted) == []
    assert busy.engine.get_account_balances(wanted) == []


@pytest.mark.parametrize(
    ("wanted", "amounts"),
    [
        ({"user_data_128": 7}, [1, 3, 5]),
        ({"user_data_128": 7, "flags": 1}, [5, 3, 1]),
        ({"user_data_128": 7, "limit": 2}, [1, 3]),
        ({"user_data_64": 2**64 - 1}, [2]),
        ({"user_data_32": 7}, [3]),
        ({"code": 9}, [4]),
        ({"ledger": 2}, []),
        ({"ledger": 1, "flags": 1, "limit": 2}, [5, 4]),
        ({"limit": 0}, []),
        ({"flags": 2}, []),
        ({"timestamp_min": 2, "timestamp_max": 1}, []),
    ],
    ids=str,
)
def test_transfers_are_found_by_what_they_say(busy: Books, wanted: dict[str, int], amounts: list[int]) -> None:
    assert _amounts(busy.engine.query_transfers(QueryFilter(**wanted))) == amounts


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"ledger": 1}, [11, 13]),
        ({"code": 2}, [12, 13]),
        ({"user_data_128": 5}, [11, 12]),
        ({"user_data_128": 5, "flags": QueryFilterFlags.reversed}, [12, 11]),
        ({"user_data_64": 2**63}, [13]),
        ({"user_data_32": 6, "ledger": 2}, [12]),
        ({"limit": 1}, [11]),
        ({"limit": 0}, []),
    ],
    ids=str,
)
def test_accounts_are_found_by_what_they_say(engine: Ledger, wanted: dict[str, int], ids: list[int]) -> None:
    engine.create_accounts(
        [
            Account(id=11, ledger=1, code=1, user_data_128=5),
            Account(id=12, ledger=2, code=2, user_data_128=5, user_data_32=6),
            Account(id=13, ledger=1, code=2, user_data_64=2**63),
        ]
    )
    assert [each.id for each in engine.query_accounts(QueryFilter(**wanted))] == ids


@only_real
def test_a_query_is_answered_with_at_most_a_full_batch(books: Books) -> None:
    for _ in range(2):
        books.must(*(books.transfer(CAROL, BOB, 1) for _ in range(BATCH_MAX // 2 + 10)))
    assert len(books.engine.query_transfers(QueryFilter(limit=2**32 - 1))) == BATCH_MAX
    assert len(books.engine.get_account_transfers(AccountFilter(account_id=CAROL, limit=2**32 - 1))) == BATCH_MAX


def test_no_flag_is_missing_from_the_model() -> None:
    assert sum(AccountFlags) == 2**6 - 1
    assert sum(TransferFlags) == 2**9 - 1
    assert sum(AccountFilterFlags) == 2**3 - 1
