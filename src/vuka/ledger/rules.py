"""The rulebook of the embedded ledger: decides a batch of accounts or transfers, in memory, event after event.

Each `decide` reads top to bottom: one rule after another, each with the name of its result, in the order of
precedence of TigerBeetle's reference (``create_accounts``, ``create_transfers``). Whoever runs a batch
(`vuka.ledger.sql`) has read beforehand whatever it mentions, and writes afterwards what it leaves in its lists.

What a transfer changes is changed here at once, so that the next event sees it. Inside a chain of linked events every
change is also noted, to be taken back when a later link fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from vuka.ledger.model import (
    AMOUNT_MAX,
    BALANCE_MAX,
    ID_MAX,
    NS_PER_S,
    TIMESTAMP_MAX,
    TRANSIENT,
    Account,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    Transfer,
    TransferFlags,
)

# Flags as plain numbers: an IntFlag makes an object for each operation, far too dear for every transfer.
_LINKED: Final = int(TransferFlags.linked)
_PENDING: Final = int(TransferFlags.pending)
_POST: Final = int(TransferFlags.post_pending_transfer)
_VOID: Final = int(TransferFlags.void_pending_transfer)
_BALANCING_DEBIT: Final = int(TransferFlags.balancing_debit)
_BALANCING_CREDIT: Final = int(TransferFlags.balancing_credit)
_CLOSING_DEBIT: Final = int(TransferFlags.closing_debit)
_CLOSING_CREDIT: Final = int(TransferFlags.closing_credit)
_TRANSFER_IMPORTED: Final = int(TransferFlags.imported)
_POST_OR_VOID: Final = _POST | _VOID
_BALANCING: Final = _BALANCING_DEBIT | _BALANCING_CREDIT
_CLOSING: Final = _CLOSING_DEBIT | _CLOSING_CREDIT
_NOT_FOR_POST_OR_VOID: Final = _PENDING | _BALANCING | _CLOSING
_TRANSFER_FLAGS_MAX: Final = 2 * _TRANSFER_IMPORTED - 1

_DEBITS_LIMITED: Final = int(AccountFlags.debits_must_not_exceed_credits)
_CREDITS_LIMITED: Final = int(AccountFlags.credits_must_not_exceed_debits)
_LIMITED_BOTH_WAYS: Final = _DEBITS_LIMITED | _CREDITS_LIMITED
_HISTORY: Final = int(AccountFlags.history)
_ACCOUNT_IMPORTED: Final = int(AccountFlags.imported)
_CLOSED: Final = int(AccountFlags.closed)
_ACCOUNT_FLAGS_MAX: Final = 2 * _CLOSED - 1

POSTED: Final = 2
VOIDED: Final = 3
EXPIRED: Final = 4
"""How a pending transfer ended, as `ledger_resolution.status` keeps it."""

TransferRow: TypeAlias = tuple[
    int, bytes, int, int, int, int, int, bytes | None, bytes | None, int | None, int | None, int | None
]
"""A row of `ledger_transfer`: timestamp, id, debit and credit account numbers, amount, code, flags, pending id, user
data of 128, 64 and 32 bits, timeout; where zero means none, None."""

BalanceRow: TypeAlias = tuple[int, int, int, int, int, int]
"""A row of `ledger_balance`: account number, timestamp, debits pending and posted, credits pending and posted."""


class OpenAccount(msgspec.Struct, gc=False):
    """An account that a batch moves money on: what the rules look at, changed as they go."""

    no: int
    id: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    ledger: int
    flags: int
    timestamp: int


_Change: TypeAlias = tuple[OpenAccount, int, int, int, int, int]
"""An account with its balances and flags as they were before."""


class _Event(Protocol):
    @property
    def flags(self) -> int: ...
    @property
    def timestamp(self) -> int: ...


EventT_contra = TypeVar("EventT_contra", bound=_Event, contravariant=True)
EventT = TypeVar("EventT", bound=_Event)
StatusT = TypeVar("StatusT", CreateAccountStatus, CreateTransferStatus)


class Batch(Protocol[EventT_contra, StatusT]):
    """The rules of one kind of event, and the state they work on."""

    exists_timestamp: int
    """After a decision ``exists``: the timestamp of what exists."""

    def decide(self, at: int, index: int, event: EventT_contra) -> StatusT:
        """What comes of the event, whose timestamp is ``at``; when created, everything it changes is changed."""

    def refused(self, index: int, status: StatusT) -> None:
        """Takes note that the event was not created."""

    def open_chain(self) -> None:
        """From here on changes may have to be taken back."""

    def undo_chain(self) -> None:
        """Takes back every change since the chain was opened."""

    def keep_chain(self) -> None:
        """The chain is whole: its changes stay."""


class Outcomes(Generic[StatusT]):
    """The status and the timestamp of each event of a batch."""

    __slots__ = ("statuses", "timestamps")

    def __init__(self) -> None:
        self.statuses: list[StatusT] = []
        self.timestamps: list[int] = []


def run_batch(
    batch: Batch[EventT, StatusT],
    events: Sequence[EventT],
    first: int,
    status_of: type[StatusT],
    imported_flag: int,
) -> Outcomes[StatusT]:
    """Decides the events in order, the first at the timestamp ``first``, each a nanosecond after the one before.

    Links, and the rules that an event breaks against its batch rather than against the ledger, are decided here.
    """
    created = status_of.created
    exists = status_of.exists
    outcomes: Outcomes[StatusT] = Outcomes()
    statuses, timestamps = outcomes.statuses, outcomes.timestamps
    decide = batch.decide
    index_last = len(events) - 1
    now = first + index_last
    imported = events[0].flags & imported_flag
    chain_start = -1
    broken = False
    for index, event in enumerate(events):
        at = timestamp = first + index
        flags = event.flags
        linked = flags & _LINKED
        if linked and chain_start < 0:
            chain_start = index
            batch.open_chain()

        if linked and index == index_last:
            status = status_of.linked_event_chain_open
        elif broken:
            status = status_of.linked_event_failed
        elif imported and not flags & imported_flag:
            status = status_of.imported_event_expected
        elif flags & imported_flag and not imported:
            status = status_of.imported_event_not_expected
        elif event.timestamp and not imported:
            status = status_of.timestamp_must_be_zero
        elif imported and not 0 < event.timestamp <= TIMESTAMP_MAX:
            status = status_of.imported_event_timestamp_out_of_range
        elif imported and event.timestamp >= now:
            status = status_of.imported_event_timestamp_must_not_advance
        else:
            status = decide(at, index, event)

        if status is created:
            if imported:
                timestamp = event.timestamp
        else:
            if status is exists:
                timestamp = batch.exists_timestamp
            if chain_start >= 0 and not broken:
                broken = True
                batch.undo_chain()
                statuses[chain_start:] = [status_of.linked_event_failed] * (index - chain_start)
            batch.refused(index, status)
        statuses.append(status)
        timestamps.append(timestamp)

        if chain_start >= 0 and (not linked or index == index_last):
            if not broken:
                batch.keep_chain()
            chain_start = -1
            broken = False
    return outcomes


class AccountBatch:
    """Decides accounts. `known` holds every account that the batch mentions and the ledger has, by id."""

    __slots__ = (
        "_chain_created",
        "_chain_timestamp_last",
        "created",
        "exists_timestamp",
        "known",
        "timestamp_last",
        "timestamps_taken",
    )

    def __init__(self, known: dict[int, Account], *, timestamp_last: int, timestamps_taken: set[int]) -> None:
        self.known = known
        self.created: list[Account] = []
        self.exists_timestamp = 0
        self.timestamp_last = timestamp_last
        """The timestamp of the account last created."""
        self.timestamps_taken = timestamps_taken
        """Of the timestamps in an imported batch, those that transfers have."""
        self._chain_created = 0
        self._chain_timestamp_last = 0

    def decide(self, at: int, index: int, a: Account) -> CreateAccountStatus:  # noqa: ARG002 — as the protocol has it
        status = CreateAccountStatus
        if a.flags > _ACCOUNT_FLAGS_MAX:
            return status.reserved_flag

        if a.id == 0:
            return status.id_must_not_be_zero
        if a.id == ID_MAX:
            return status.id_must_not_be_int_max

        existing = self.known.get(a.id)
        if existing is not None:
            return self._exists(a, existing)

        if a.flags & _LIMITED_BOTH_WAYS == _LIMITED_BOTH_WAYS:
            return status.flags_are_mutually_exclusive

        if a.debits_pending:
            return status.debits_pending_must_be_zero
        if a.debits_posted:
            return status.debits_posted_must_be_zero
        if a.credits_pending:
            return status.credits_pending_must_be_zero
        if a.credits_posted:
            return status.credits_posted_must_be_zero
        if a.ledger == 0:
            return status.ledger_must_not_be_zero
        if a.code == 0:
            return status.code_must_not_be_zero

        timestamp = at
        if a.flags & _ACCOUNT_IMPORTED:
            timestamp = a.timestamp
            if timestamp <= self.timestamp_last or timestamp in self.timestamps_taken:
                return status.imported_event_timestamp_must_not_regress

        account = msgspec.structs.replace(a, timestamp=timestamp)
        self.known[a.id] = account
        self.created.append(account)
        self.timestamp_last = timestamp
        return status.created

    def _exists(self, a: Account, existing: Account) -> CreateAccountStatus:
        status = CreateAccountStatus
        if a.flags != existing.flags:
            return status.exists_with_different_flags
        if a.user_data_128 != existing.user_data_128:
            return status.exists_with_different_user_data_128
        if a.user_data_64 != existing.user_data_64:
            return status.exists_with_different_user_data_64
        if a.user_data_32 != existing.user_data_32:
            return status.exists_with_different_user_data_32
        if a.ledger != existing.ledger:
            return status.exists_with_different_ledger
        if a.code != existing.code:
            return status.exists_with_different_code
        self.exists_timestamp = existing.timestamp
        return status.exists

    def refused(self, index: int, status: CreateAccountStatus) -> None:
        """Nothing to note: no account is refused for what depends on the moment."""

    def open_chain(self) -> None:
        self._chain_created = len(self.created)
        self._chain_timestamp_last = self.timestamp_last

    def undo_chain(self) -> None:
        for account in self.created[self._chain_created :]:
            del self.known[account.id]
        del self.created[self._chain_created :]
        self.timestamp_last = self._chain_timestamp_last

    def keep_chain(self) -> None:
        """Nothing to do: what was created is in its list."""


class TransferBatch:
    """Decides transfers, given everything that the batch mentions and the ledger has."""

    __slots__ = (
        "_chain_created",
        "_chain_marks",
        "_chain_timestamp_last",
        "_undo",
        "account_timestamps",
        "accounts",
        "accounts_by_no",
        "balance_max",
        "balances",
        "created",
        "exists_timestamp",
        "expiries",
        "expiries_ended",
        "failed",
        "keys",
        "known",
        "newly_failed",
        "pending_keys",
        "resolutions",
        "resolved",
        "timestamp_last",
        "touched",
    )

    def __init__(self, keys: list[bytes], pending_keys: list[bytes | None], *, balance_max: int = BALANCE_MAX) -> None:
        self.balance_max = balance_max
        """The highest balance that an account may reach."""
        # What the ledger has, of what the batch mentions.
        self.keys = keys
        """The id of each transfer of the batch, as 16 bytes."""
        self.pending_keys = pending_keys
        """The pending id of each transfer of the batch, as 16 bytes; None is none."""
        self.accounts: dict[int, OpenAccount] = {}
        """By id."""
        self.accounts_by_no: dict[int, OpenAccount] = {}
        """The same by number; those of the transfers in `known` too."""
        self.known: dict[bytes, TransferRow] = {}
        """Transfers, by id."""
        self.failed: set[bytes] = set()
        """Ids that are spent."""
        self.resolutions: dict[int, int] = {}
        """How the pending ones of `known` that have ended did, by their timestamp."""
        self.timestamp_last = 0
        """The timestamp of the transfer last created; only an imported batch needs it."""
        self.account_timestamps: set[int] = set()
        """Of the timestamps in an imported batch, those that accounts have."""

        # What the batch leaves to be written.
        self.touched: dict[int, OpenAccount] = {}
        self.created: list[TransferRow] = []
        self.resolved: list[tuple[int, int, int]] = []
        """Timestamp of the pending transfer, how it ended, timestamp of its end."""
        self.expiries: list[tuple[int, int]] = []
        """When a pending transfer expires, and its timestamp."""
        self.expiries_ended: list[tuple[int, int]] = []
        self.balances: list[BalanceRow] = []
        self.newly_failed: list[bytes] = []

        self.exists_timestamp = 0
        self._undo: list[_Change] | None = None
        self._chain_marks = (0, 0, 0, 0, 0)
        self._chain_timestamp_last = 0

    def add_account(self, account: OpenAccount) -> None:
        """Makes an account known to the batch."""
        self.accounts[account.id] = account
        self.accounts_by_no[account.no] = account

    def decide(self, at: int, index: int, t: Transfer) -> CreateTransferStatus:
        status = CreateTransferStatus
        flags = t.flags
        if flags > _TRANSFER_FLAGS_MAX:
            return status.reserved_flag

        if t.id == 0:
            return status.id_must_not_be_zero
        if t.id == ID_MAX:
            return status.id_must_not_be_int_max

        key = self.keys[index]
        existing = self.known.get(key)
        if existing is not None:
            return self._exists(t, index, existing)
        if key in self.failed:
            return status.id_already_failed

        if flags & _POST_OR_VOID:
            return self._post_or_void(at, index, t)

        debit_account_id = t.debit_account_id
        credit_account_id = t.credit_account_id
        if debit_account_id == 0:
            return status.debit_account_id_must_not_be_zero
        if debit_account_id == ID_MAX:
            return status.debit_account_id_must_not_be_int_max
        if credit_account_id == 0:
            return status.credit_account_id_must_not_be_zero
        if credit_account_id == ID_MAX:
            return status.credit_account_id_must_not_be_int_max
        if debit_account_id == credit_account_id:
            return status.accounts_must_be_different

        if t.pending_id:
            return status.pending_id_must_be_zero
        timeout = t.timeout
        if timeout and not flags & _PENDING:
            return status.timeout_reserved_for_pending_transfer
        if flags & _CLOSING and not flags & _PENDING:
            return status.closing_transfer_must_be_pending

        ledger = t.ledger
        if ledger == 0:
            return status.ledger_must_not_be_zero
        code = t.code
        if code == 0:
            return status.code_must_not_be_zero

        dr = self.accounts.get(debit_account_id)
        if dr is None:
            return status.debit_account_not_found
        cr = self.accounts.get(credit_account_id)
        if cr is None:
            return status.credit_account_not_found

        if dr.ledger != cr.ledger:
            return status.accounts_must_have_the_same_ledger
        if ledger != dr.ledger:
            return status.transfer_must_have_the_same_ledger_as_accounts

        timestamp = at
        if flags & _TRANSFER_IMPORTED:
            timestamp = t.timestamp
            if timestamp <= self.timestamp_last or timestamp in self.account_timestamps:
                return status.imported_event_timestamp_must_not_regress
            if timestamp <= dr.timestamp:
                return status.imported_event_timestamp_must_postdate_debit_account
            if timestamp <= cr.timestamp:
                return status.imported_event_timestamp_must_postdate_credit_account
            if timeout:
                return status.imported_event_timeout_must_be_zero

        if dr.flags & _CLOSED:
            return status.debit_account_already_closed
        if cr.flags & _CLOSED:
            return status.credit_account_already_closed

        amount = t.amount
        if flags & _BALANCING_DEBIT:
            amount = min(amount, max(0, dr.credits_posted - dr.debits_posted - dr.debits_pending))
        if flags & _BALANCING_CREDIT:
            amount = min(amount, max(0, cr.debits_posted - cr.credits_posted - cr.credits_pending))

        debits = amount + dr.debits_pending + dr.debits_posted
        credits_ = amount + cr.credits_pending + cr.credits_posted
        # No balance is larger than the sum with its sibling, so these two tell whether anything overflows at all.
        if debits > self.balance_max or credits_ > self.balance_max:
            return _overflow(amount, flags, dr, cr, self.balance_max)
        if timestamp + timeout * NS_PER_S > TIMESTAMP_MAX:
            return status.overflows_timeout

        if dr.flags & _DEBITS_LIMITED and debits > dr.credits_posted:
            return status.exceeds_credits
        if cr.flags & _CREDITS_LIMITED and credits_ > cr.debits_posted:
            return status.exceeds_debits

        # From here on the transfer succeeds.
        row: TransferRow = (
            timestamp,
            key,
            dr.no,
            cr.no,
            amount,
            code,
            flags,
            None,
            t.user_data_128.to_bytes(16, "big") if t.user_data_128 else None,
            signed_64(t.user_data_64) if t.user_data_64 else None,
            t.user_data_32 or None,
            timeout or None,
        )
        self.known[key] = row
        self.created.append(row)
        self._touch(dr, cr)
        if flags & _PENDING:
            dr.debits_pending += amount
            cr.credits_pending += amount
            if timeout:
                self.expiries.append((timestamp + timeout * NS_PER_S, timestamp))
        else:
            dr.debits_posted += amount
            cr.credits_posted += amount
        if flags & _CLOSING_DEBIT:
            dr.flags |= _CLOSED
        if flags & _CLOSING_CREDIT:
            cr.flags |= _CLOSED
        if (dr.flags | cr.flags) & _HISTORY:
            self._keep_history(timestamp, dr, cr)
        self.timestamp_last = timestamp
        return status.created

    def _post_or_void(self, at: int, index: int, t: Transfer) -> CreateTransferStatus:
        status = CreateTransferStatus
        flags = t.flags
        if flags & _POST_OR_VOID == _POST_OR_VOID:
            return status.flags_are_mutually_exclusive
        if flags & _NOT_FOR_POST_OR_VOID:
            return status.flags_are_mutually_exclusive

        pending_id = t.pending_id
        if pending_id == 0:
            return status.pending_id_must_not_be_zero
        if pending_id == ID_MAX:
            return status.pending_id_must_not_be_int_max
        if pending_id == t.id:
            return status.pending_id_must_be_different
        if t.timeout:
            return status.timeout_reserved_for_pending_transfer

        pending_key = self.pending_keys[index]
        pending = self.known.get(pending_key) if pending_key is not None else None
        if pending is None:
            return status.pending_transfer_not_found
        reserved_at, _, dr_no, cr_no, reserved, code, pending_flags, _, data_128, data_64, data_32, timeout = pending
        if not pending_flags & _PENDING:
            return status.pending_transfer_not_pending

        dr = self.accounts_by_no[dr_no]
        cr = self.accounts_by_no[cr_no]
        if t.debit_account_id and t.debit_account_id != dr.id:
            return status.pending_transfer_has_different_debit_account_id
        if t.credit_account_id and t.credit_account_id != cr.id:
            return status.pending_transfer_has_different_credit_account_id
        if t.ledger and t.ledger != dr.ledger:
            return status.pending_transfer_has_different_ledger
        if t.code and t.code != code:
            return status.pending_transfer_has_different_code

        amount = t.amount
        if flags & _VOID and amount == 0:
            amount = reserved
        if flags & _POST and amount == AMOUNT_MAX:
            amount = reserved
        if amount > reserved:
            return status.exceeds_pending_transfer_amount
        if flags & _VOID and amount < reserved:
            return status.pending_transfer_has_different_amount

        end = self.resolutions.get(reserved_at)
        if end == POSTED:
            return status.pending_transfer_already_posted
        if end == VOIDED:
            return status.pending_transfer_already_voided
        if end == EXPIRED:
            return status.pending_transfer_expired
        expires_at = reserved_at + timeout * NS_PER_S if timeout else 0
        if expires_at and expires_at <= at:
            return status.pending_transfer_expired

        timestamp = at
        if flags & _TRANSFER_IMPORTED:
            timestamp = t.timestamp
            if timestamp <= self.timestamp_last or timestamp in self.account_timestamps:
                return status.imported_event_timestamp_must_not_regress

        # Nothing moves on a closed account, but what was reserved before can be given back.
        if dr.flags & _CLOSED and not flags & _VOID:
            return status.debit_account_already_closed
        if cr.flags & _CLOSED and not flags & _VOID:
            return status.credit_account_already_closed

        # From here on the transfer succeeds.
        key = self.keys[index]
        row: TransferRow = (
            timestamp,
            key,
            dr_no,
            cr_no,
            amount,
            code,
            flags,
            pending_key,
            t.user_data_128.to_bytes(16, "big") if t.user_data_128 else data_128,
            signed_64(t.user_data_64) if t.user_data_64 else data_64,
            t.user_data_32 or data_32,
            None,
        )
        self.known[key] = row
        self.created.append(row)
        end = POSTED if flags & _POST else VOIDED
        self.resolutions[reserved_at] = end
        self.resolved.append((reserved_at, end, timestamp))
        if expires_at:
            self.expiries_ended.append((expires_at, reserved_at))
        self._touch(dr, cr)
        dr.debits_pending -= reserved
        cr.credits_pending -= reserved
        if flags & _POST:
            dr.debits_posted += amount
            cr.credits_posted += amount
        else:
            _reopen(pending_flags, dr, cr)
        if (dr.flags | cr.flags) & _HISTORY:
            self._keep_history(timestamp, dr, cr)
        self.timestamp_last = timestamp
        return status.created

    def expire(self, pending: TransferRow) -> None:
        """Releases a pending transfer whose timeout has passed. It leaves no history: no transfer did it."""
        reserved_at, _, dr_no, cr_no, reserved, _, pending_flags, _, _, _, _, timeout = pending
        expires_at = reserved_at + (timeout or 0) * NS_PER_S
        dr = self.accounts_by_no[dr_no]
        cr = self.accounts_by_no[cr_no]
        self._touch(dr, cr)
        dr.debits_pending -= reserved
        cr.credits_pending -= reserved
        _reopen(pending_flags, dr, cr)
        self.resolved.append((reserved_at, EXPIRED, expires_at))
        self.expiries_ended.append((expires_at, reserved_at))

    def _exists(self, t: Transfer, index: int, existing: TransferRow) -> CreateTransferStatus:
        status = CreateTransferStatus
        timestamp, _, dr_no, cr_no, amount, code, flags, pending_key, data_128, data_64, data_32, timeout = existing
        # The flags first: they decide what the other fields mean.
        if t.flags != flags:
            return status.exists_with_different_flags
        if self.pending_keys[index] != pending_key:
            return status.exists_with_different_pending_id
        if t.timeout != (timeout or 0):
            return status.exists_with_different_timeout

        dr = self.accounts_by_no[dr_no]
        cr = self.accounts_by_no[cr_no]
        pending = self.known[pending_key] if pending_key is not None else None
        # Zero in a post or a void means: as in the pending transfer. In any other transfer it means zero.
        inherits = pending is not None
        if t.debit_account_id != dr.id and not (inherits and t.debit_account_id == 0):
            return status.exists_with_different_debit_account_id
        if t.credit_account_id != cr.id and not (inherits and t.credit_account_id == 0):
            return status.exists_with_different_credit_account_id
        if not _same_amount(t, amount, pending):
            return status.exists_with_different_amount
        inherited_128, inherited_64, inherited_32 = pending[8:11] if pending is not None else (None, None, None)
        if (t.user_data_128.to_bytes(16, "big") if t.user_data_128 else inherited_128) != data_128:
            return status.exists_with_different_user_data_128
        if (signed_64(t.user_data_64) if t.user_data_64 else inherited_64) != data_64:
            return status.exists_with_different_user_data_64
        if (t.user_data_32 or inherited_32) != data_32:
            return status.exists_with_different_user_data_32
        if t.ledger != dr.ledger and not (inherits and t.ledger == 0):
            return status.exists_with_different_ledger
        if t.code != code and not (inherits and t.code == 0):
            return status.exists_with_different_code
        self.exists_timestamp = timestamp
        return status.exists

    def refused(self, index: int, status: CreateTransferStatus) -> None:
        if status in TRANSIENT:
            key = self.keys[index]
            self.failed.add(key)
            self.newly_failed.append(key)

    def open_chain(self) -> None:
        self._undo = []
        self._chain_marks = (
            len(self.created),
            len(self.resolved),
            len(self.expiries),
            len(self.expiries_ended),
            len(self.balances),
        )
        self._chain_timestamp_last = self.timestamp_last

    def undo_chain(self) -> None:
        created, resolved, expiries, expiries_ended, balances = self._chain_marks
        for account, *before in reversed(self._undo or ()):
            (
                account.debits_pending,
                account.debits_posted,
                account.credits_pending,
                account.credits_posted,
                account.flags,
            ) = before
        for row in self.created[created:]:
            del self.known[row[1]]
        for reserved_at, _, _ in self.resolved[resolved:]:
            del self.resolutions[reserved_at]
        del self.created[created:]
        del self.resolved[resolved:]
        del self.expiries[expiries:]
        del self.expiries_ended[expiries_ended:]
        del self.balances[balances:]
        self.timestamp_last = self._chain_timestamp_last
        self._undo = None

    def keep_chain(self) -> None:
        self._undo = None

    def _touch(self, dr: OpenAccount, cr: OpenAccount) -> None:
        """Says that the two accounts are about to change."""
        self.touched[dr.no] = dr
        self.touched[cr.no] = cr
        if self._undo is not None:
            for account in (dr, cr):
                self._undo.append(
                    (
                        account,
                        account.debits_pending,
                        account.debits_posted,
                        account.credits_pending,
                        account.credits_posted,
                        account.flags,
                    )
                )

    def _keep_history(self, timestamp: int, dr: OpenAccount, cr: OpenAccount) -> None:
        for account in (dr, cr):
            if account.flags & _HISTORY:
                self.balances.append(
                    (
                        account.no,
                        timestamp,
                        account.debits_pending,
                        account.debits_posted,
                        account.credits_pending,
                        account.credits_posted,
                    )
                )


def _overflow(amount: int, flags: int, dr: OpenAccount, cr: OpenAccount, balance_max: int) -> CreateTransferStatus:
    """Which balance would overflow, in order of precedence. One does."""
    status = CreateTransferStatus
    if flags & _PENDING and amount + dr.debits_pending > balance_max:
        return status.overflows_debits_pending
    if flags & _PENDING and amount + cr.credits_pending > balance_max:
        return status.overflows_credits_pending
    if amount + dr.debits_posted > balance_max:
        return status.overflows_debits_posted
    if amount + cr.credits_posted > balance_max:
        return status.overflows_credits_posted
    if amount + dr.debits_pending + dr.debits_posted > balance_max:
        return status.overflows_debits
    return status.overflows_credits


def _reopen(pending_flags: int, dr: OpenAccount, cr: OpenAccount) -> None:
    """Opens again what the pending transfer that just ended without effect had closed."""
    if pending_flags & _CLOSING_DEBIT:
        dr.flags &= ~_CLOSED
    if pending_flags & _CLOSING_CREDIT:
        cr.flags &= ~_CLOSED


def _same_amount(t: Transfer, amount: int, pending: TransferRow | None) -> bool:
    """Whether the amount of a repeated transfer allows what the first one moved."""
    if t.flags & _BALANCING:
        return t.amount >= amount
    if pending is None:
        return t.amount == amount
    reserved = pending[4]
    if t.flags & _VOID and t.amount == 0:
        return amount == reserved
    if t.flags & _POST and t.amount == AMOUNT_MAX:
        return amount == reserved
    return t.amount == amount


def signed_64(number: int) -> int:
    """The 64 bits of an unsigned number as a signed one, which a column can hold."""
    return number - 2**64 if number >= 2**63 else number


def unsigned_64(number: int) -> int:
    """The inverse of `signed_64`."""
    return number + 2**64 if number < 0 else number
