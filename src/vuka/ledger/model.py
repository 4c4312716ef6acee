"""The terms of the ledger: accounts, transfers, their flags, and what may come of creating them.

The contract is TigerBeetle's (its reference documentation, release 0.17): the same names, the same flags, the
same results in the same order of precedence, and the numbers its wire uses for them. An engine is anything that
keeps the contract of `Ledger`; which one a hub has, nothing above this room can tell.

Ids are 128-bit numbers, amounts minor units at asset scale 4, timestamps nanoseconds UTC since 1970. One thing is
narrower than in TigerBeetle: the amount of one transfer is at most `AMOUNT_MAX`, 2^63 − 1, exactly what the wire and
every database allow. Balances only ever grow, so they are as wide as they may need to be: at most `BALANCE_MAX`.
What would exceed it is refused with the same ``overflows_…`` results.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final, Protocol

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.money import AMOUNT_MAX

BATCH_MAX: Final = 8189
"""The most events in one request and the most results of one query, as in TigerBeetle's default configuration."""

ID_MAX: Final = 2**128 - 1
"""The highest 128-bit number: like zero, never the id of anything."""

BALANCE_MAX: Final = 2**127 - 1
"""The highest balance. An account can't reach it: that takes 2^64 transfers of the largest amount."""

TIMESTAMP_MAX: Final = 2**63 - 1
"""The latest timestamp, in nanoseconds."""

TIMEOUT_MAX: Final = 2**32 - 1
"""The longest timeout of a pending transfer, in seconds."""

NS_PER_S: Final = 1_000_000_000


class BatchTooLargeError(ValueError):
    """More than `BATCH_MAX` events in one request: a defect of the caller, nothing was done."""


class FieldError(ValueError):
    """A field holds a number that its type does not: a defect of the caller, nothing was done."""


class LedgerUnavailableError(FspiopError):
    """The ledger has not answered in time. Whether it did what it was asked, or will, is not known."""

    def __init__(self, detail: str = "the hub's ledger can not be reached") -> None:
        super().__init__(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, detail, headers=(("Retry-After", "1"),))


class AccountFlags(IntFlag):
    """What an account does besides counting."""

    linked = 1 << 0
    """Succeeds or fails together with the next event of the batch."""
    debits_must_not_exceed_credits = 1 << 1
    """Refuses transfers after which its debits, pending ones included, would exceed its posted credits."""
    credits_must_not_exceed_debits = 1 << 2
    """Refuses transfers after which its credits, pending ones included, would exceed its posted debits."""
    history = 1 << 3
    """Keeps its balances after each transfer, for `Ledger.get_account_balances`."""
    imported = 1 << 4
    """Was created in the past: its timestamp is the caller's."""
    closed = 1 << 5
    """Refuses transfers, except those that void a pending one."""


class TransferFlags(IntFlag):
    """What kind of transfer it is."""

    linked = 1 << 0
    """Succeeds or fails together with the next event of the batch."""
    pending = 1 << 1
    """Reserves the amount until it is posted, voided, or times out."""
    post_pending_transfer = 1 << 2
    """Posts the transfer `Transfer.pending_id`, whole or in part; what is not posted is free again."""
    void_pending_transfer = 1 << 3
    """Voids the transfer `Transfer.pending_id`: what was reserved is free again."""
    balancing_debit = 1 << 4
    """Moves at most the amount: as much as the debit account's credits still cover, perhaps nothing."""
    balancing_credit = 1 << 5
    """Moves at most the amount: as much as the credit account's debits still cover, perhaps nothing."""
    closing_debit = 1 << 6
    """Closes the debit account, until this pending transfer is voided."""
    closing_credit = 1 << 7
    """Closes the credit account, until this pending transfer is voided."""
    imported = 1 << 8
    """Happened in the past: its timestamp is the caller's."""


class AccountFilterFlags(IntFlag):
    """Which side of an account's transfers, and in which order."""

    debits = 1 << 0
    """Transfers that debit the account."""
    credits = 1 << 1
    """Transfers that credit the account."""
    reversed = 1 << 2
    """The latest first."""


class QueryFilterFlags(IntFlag):
    """The order of the results of a query."""

    reversed = 1 << 0
    """The latest first."""


class Account(msgspec.Struct, kw_only=True, gc=False):
    """One account. When it is created only the id, user data, ledger, code and flags are the caller's to say."""

    id: int
    debits_pending: int = 0
    """Reserved by pending transfers that debit it, in minor units."""
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    user_data_128: int = 0
    """Whatever the caller likes; zero is none. The same goes for the narrower two."""
    user_data_64: int = 0
    user_data_32: int = 0
    ledger: int = 0
    """Accounts transact only with accounts of the same ledger: here, of the same currency."""
    code: int = 0
    """What the account is for."""
    flags: int = 0
    """`AccountFlags`."""
    timestamp: int = 0
    """When it was created; 0 before that, unless imported."""


class Transfer(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One movement of money from the debit account to the credit account, or one step of a two-phase movement.

    For a post or a void, zero in the accounts, user data, ledger and code means: as in the pending transfer.
    """

    id: int
    debit_account_id: int = 0
    credit_account_id: int = 0
    amount: int = 0
    """Minor units. Balancing: the most to move. Post: `AMOUNT_MAX` is all of it. Void: zero is all of it."""
    pending_id: int = 0
    """The pending transfer that this one posts or voids."""
    user_data_128: int = 0
    """Whatever the caller likes; zero is none. The same goes for the narrower two."""
    user_data_64: int = 0
    user_data_32: int = 0
    timeout: int = 0
    """Seconds after which a pending transfer expires; zero is never."""
    ledger: int = 0
    code: int = 0
    """Why the money moved."""
    flags: int = 0
    """`TransferFlags`."""
    timestamp: int = 0
    """When it was created; 0 before that, unless imported."""


class AccountBalance(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """An account's balances right after the transfer with the same timestamp."""

    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    timestamp: int


class AccountFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which transfers of one account; a filter that breaks a constraint matches nothing.

    A zero filters by nothing. Timestamps are inclusive; `limit` is at least 1 and answered with at most `BATCH_MAX`.
    """

    account_id: int
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    code: int = 0
    timestamp_min: int = 0
    timestamp_max: int = 0
    limit: int = BATCH_MAX
    flags: int = AccountFilterFlags.debits | AccountFilterFlags.credits


class QueryFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which accounts or transfers; a filter that breaks a constraint matches nothing.

    A zero filters by nothing. Timestamps are inclusive; `limit` is at least 1 and answered with at most `BATCH_MAX`.
    """

    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    ledger: int = 0
    code: int = 0
    timestamp_min: int = 0
    timestamp_max: int = 0
    limit: int = BATCH_MAX
    flags: int = 0


class CreateAccountStatus(IntEnum):
    """What came of creating an account, in descending precedence: of all that apply, the first is told."""

    created = 2**32 - 1

    linked_event_failed = 1
    linked_event_chain_open = 2

    imported_event_expected = 22
    imported_event_not_expected = 23

    timestamp_must_be_zero = 3

    imported_event_timestamp_out_of_range = 24
    imported_event_timestamp_must_not_advance = 25

    reserved_flag = 5

    id_must_not_be_zero = 6
    id_must_not_be_int_max = 7

    exists_with_different_flags = 15
    exists_with_different_user_data_128 = 16
    exists_with_different_user_data_64 = 17
    exists_with_different_user_data_32 = 18
    exists_with_different_ledger = 19
    exists_with_different_code = 20
    exists = 21

    flags_are_mutually_exclusive = 8

    debits_pending_must_be_zero = 9
    debits_posted_must_be_zero = 10
    credits_pending_must_be_zero = 11
    credits_posted_must_be_zero = 12
    ledger_must_not_be_zero = 13
    code_must_not_be_zero = 14

    imported_event_timestamp_must_not_regress = 26


class CreateTransferStatus(IntEnum):
    """What came of creating a transfer, in descending precedence: of all that apply, the first is told."""

    created = 2**32 - 1

    linked_event_failed = 1
    linked_event_chain_open = 2

    imported_event_expected = 56
    imported_event_not_expected = 57

    timestamp_must_be_zero = 3

    imported_event_timestamp_out_of_range = 58
    imported_event_timestamp_must_not_advance = 59

    reserved_flag = 4

    id_must_not_be_zero = 5
    id_must_not_be_int_max = 6

    exists_with_different_flags = 36
    exists_with_different_pending_id = 40
    exists_with_different_timeout = 44
    exists_with_different_debit_account_id = 37
    exists_with_different_credit_account_id = 38
    exists_with_different_amount = 39
    exists_with_different_user_data_128 = 41
    exists_with_different_user_data_64 = 42
    exists_with_different_user_data_32 = 43
    exists_with_different_ledger = 67
    exists_with_different_code = 45
    exists = 46

    id_already_failed = 68

    flags_are_mutually_exclusive = 7

    debit_account_id_must_not_be_zero = 8
    debit_account_id_must_not_be_int_max = 9
    credit_account_id_must_not_be_zero = 10
    credit_account_id_must_not_be_int_max = 11
    accounts_must_be_different = 12

    pending_id_must_be_zero = 13
    pending_id_must_not_be_zero = 14
    pending_id_must_not_be_int_max = 15
    pending_id_must_be_different = 16
    timeout_reserved_for_pending_transfer = 17

    closing_transfer_must_be_pending = 64

    ledger_must_not_be_zero = 19
    code_must_not_be_zero = 20

    debit_account_not_found = 21
    credit_account_not_found = 22

    accounts_must_have_the_same_ledger = 23
    transfer_must_have_the_same_ledger_as_accounts = 24

    pending_transfer_not_found = 25
    pending_transfer_not_pending = 26

    pending_transfer_has_different_debit_account_id = 27
    pending_transfer_has_different_credit_account_id = 28
    pending_transfer_has_different_ledger = 29
    pending_transfer_has_different_code = 30

    exceeds_pending_transfer_amount = 31
    pending_transfer_has_different_amount = 32

    pending_transfer_already_posted = 33
    pending_transfer_already_voided = 34

    pending_transfer_expired = 35

    imported_event_timestamp_must_not_regress = 60
    imported_event_timestamp_must_postdate_debit_account = 61
    imported_event_timestamp_must_postdate_credit_account = 62
    imported_event_timeout_must_be_zero = 63

    debit_account_already_closed = 65
    credit_account_already_closed = 66

    overflows_debits_pending = 47
    overflows_credits_pending = 48
    overflows_debits_posted = 49
    overflows_credits_posted = 50
    overflows_debits = 51
    overflows_credits = 52
    overflows_timeout = 53

    exceeds_credits = 54
    exceeds_debits = 55


TRANSIENT: Final = frozenset(
    (
        CreateTransferStatus.debit_account_not_found,
        CreateTransferStatus.credit_account_not_found,
        CreateTransferStatus.pending_transfer_not_found,
        CreateTransferStatus.exceeds_credits,
        CreateTransferStatus.exceeds_debits,
        CreateTransferStatus.debit_account_already_closed,
        CreateTransferStatus.credit_account_already_closed,
    )
)
"""What depends on the moment. The id of a transfer that was so refused is spent: a retry is `id_already_failed`."""


class CreateAccountResult(msgspec.Struct, frozen=True, gc=False):
    """What came of one event. `timestamp`: of the account where it was created or exists, else of the decision."""

    timestamp: int
    status: CreateAccountStatus


class CreateTransferResult(msgspec.Struct, frozen=True, gc=False):
    """What came of one event. `timestamp`: of the transfer where it was created or exists, else of the decision."""

    timestamp: int
    status: CreateTransferStatus


class Ledger(Protocol):
    """The contract of a ledger engine.

    Events of a batch are applied in order, each seeing the ones before it, and succeed or fail alone unless they are
    linked. What was created is never changed or deleted, and creating it again is ``exists``. A call takes at most
    `BATCH_MAX` events or ids (`BatchTooLargeError`); a number that does not fit its field is a `FieldError`; either
    way nothing is done. One that is elsewhere raises `LedgerUnavailableError` where it does not answer.
    """

    @property
    def shares_transaction(self) -> bool:
        """Whether what it does is durable, or undone, with the caller's transaction; else it is durable at once."""

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        """One result for each account, in order."""

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        """One result for each transfer, in order."""

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist among these, in the order asked."""

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist among these, in the order asked."""

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account, by timestamp."""

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        """The balances of one account after each of its transfers, by timestamp: only with `AccountFlags.history`."""

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """The accounts that match, by timestamp."""

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """The transfers that match, by timestamp."""


__all__ = [
    "AMOUNT_MAX",
    "BALANCE_MAX",
    "BATCH_MAX",
    "ID_MAX",
    "NS_PER_S",
    "TIMEOUT_MAX",
    "TIMESTAMP_MAX",
    "TRANSIENT",
    "Account",
    "AccountBalance",
    "AccountFilter",
    "AccountFilterFlags",
    "AccountFlags",
    "BatchTooLargeError",
    "CreateAccountResult",
    "CreateAccountStatus",
    "CreateTransferResult",
    "CreateTransferStatus",
    "FieldError",
    "Ledger",
    "LedgerUnavailableError",
    "QueryFilter",
    "QueryFilterFlags",
    "Transfer",
    "TransferFlags",
]
