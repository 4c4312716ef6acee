"""The ledger as anyone would write it who had all the time in the world: the model that engines are compared with.

It remembers accounts and transfers as they were created, how pending transfers ended, and which ids are spent; every
balance is summed up afresh from the transfers whenever it is needed. Rules are lists of what may be wrong, in order;
a chain works on a copy of everything, which is thrown away when it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Final

import msgspec
from tests.ledger.clock import START_NS

from vuka.ledger.model import (
    AMOUNT_MAX,
    BATCH_MAX,
    ID_MAX,
    NS_PER_S,
    TIMESTAMP_MAX,
    TRANSIENT,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLargeError,
    CreateAccountResult,
    CreateTransferResult,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
    TransferFlags,
)
from vuka.ledger.model import CreateAccountStatus as AccountStatus
from vuka.ledger.model import CreateTransferStatus as Status

Broken = Iterator[tuple[bool, Any]]
"""Rules in order: whether each is broken, and what is told then. What follows a broken rule is not looked at."""

A: Final = AccountFlags
T: Final = TransferFlags
ENDS_PENDING: Final = T.post_pending_transfer | T.void_pending_transfer
BALANCING: Final = T.balancing_debit | T.balancing_credit
CLOSING: Final = T.closing_debit | T.closing_credit
USER_DATA: Final = ("user_data_128", "user_data_64", "user_data_32")


class ObviousLedger:
    """Keeps the contract of `vuka.ledger.model.Ledger`; releases what is due when a batch begins."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.created: dict[int, Account] = {}
        self.transfers: dict[int, Transfer] = {}
        self.endings: dict[int, Status] = {}
        """What a second post or void of a pending transfer is told, by its id."""
        self.history: list[tuple[int, AccountBalance]] = []
        self.spent: set[int] = set()

    shares_transaction = False
    has_own_clock = True

    @property
    def quiet_ns(self) -> int:
        return self.now_ns - 3600 * NS_PER_S

    def advance(self, seconds: int) -> None:
        self.now_ns += seconds * NS_PER_S

    def close(self) -> None:
        """Nothing is held."""

    # Balances

    def account(self, id: int) -> Account:
        """The account as it is now."""
        now = copy(self.created[id])
        for t in self.transfers.values():
            debits, credits_ = t.debit_account_id == id, t.credit_account_id == id
            if t.flags & T.pending and t.id not in self.endings:
                now.debits_pending += t.amount * debits
                now.credits_pending += t.amount * credits_
                if (debits and t.flags & T.closing_debit) or (credits_ and t.flags & T.closing_credit):
                    now.flags |= A.closed
            elif not t.flags & (T.pending | T.void_pending_transfer):
                now.debits_posted += t.amount * debits
                now.credits_posted += t.amount * credits_
        return now

    # Batches

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        return [
            CreateAccountResult(*each)
            for each in self._batch(accounts, A.imported, AccountStatus, self._create_account)
        ]

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        return [
            CreateTransferResult(*each) for each in self._batch(transfers, T.imported, Status, self._create_transfer)
        ]

    def _batch(self, events: Sequence[Any], imported: int, status: Any, create: Any) -> list[tuple[int, Any]]:
        if len(events) > BATCH_MAX:
            raise BatchTooLargeError
        first = max(self.now_ns, 1 + max([0, *(each.timestamp for each in self._everything())]))
        self._expire(first)
        results: list[tuple[int, Any]] = []
        for chain in _chains(events):
            before = copy(self.created), copy(self.transfers), copy(self.endings), copy(self.history)
            outcomes: list[tuple[int, Any]] = []
            for event in chain:
                at = first + len(results) + len(outcomes)
                is_open = len(results) + len(outcomes) == len(events) - 1 and event.flags & T.linked
                if is_open:
                    outcomes.append((at, status.linked_event_chain_open))
                elif outcomes and outcomes[-1][1] is not status.created:
                    outcomes.append((at, status.linked_event_failed))
                else:
                    why_not = _first(self._against_its_batch(event, events, first, imported, status))
                    outcomes.append((at, why_not) if why_not else create(event, at))
                    if outcomes[-1][1] in TRANSIENT and status is Status:
                        self.spent.add(event.id)
            told = [each for _, each in outcomes]
            if set(told) != {status.created}:
                self.created, self.transfers, self.endings, self.history = before
                outcomes = [(at, status.linked_event_failed if s is status.created else s) for at, s in outcomes]
            results += outcomes
        return results

    def _everything(self) -> list[Account | Transfer]:
        return [*self.created.values(), *self.transfers.values()]

    def _expire(self, now: int) -> None:
        for t in self.transfers.values():
            if t.flags & T.pending and t.id not in self.endings and 0 < _expiry(t) <= now:
                self.endings[t.id] = Status.pending_transfer_expired

    def _against_its_batch(self, event: Any, events: Sequence[Any], first: int, imported: int, status: Any) -> Broken:
        first_is, this_is = bool(events[0].flags & imported), bool(event.flags & imported)
        yield first_is and not this_is, status.imported_event_expected
        yield this_is and not first_is, status.imported_event_not_expected
        yield not this_is and event.timestamp != 0, status.timestamp_must_be_zero
        yield this_is and not 1 <= event.timestamp <= TIMESTAMP_MAX, status.imported_event_timestamp_out_of_range
        last = first + len(events) - 1
        yield this_is and event.timestamp >= last, status.imported_event_timestamp_must_not_advance

    # Accounts

    def _create_account(self, a: Account, at: int) -> tuple[int, AccountStatus]:
        why_not = _first(self._against_account(a))
        if why_not is AccountStatus.exists:
            return self.created[a.id].timestamp, why_not
        if why_not:
            return at, why_not
        made = copy(a)
        made.timestamp = a.timestamp or at
        self.created[a.id] = made
        return made.timestamp, AccountStatus.created

    def _against_account(self, a: Account) -> Broken:
        yield a.flags >= 2 * A.closed, AccountStatus.reserved_flag
        yield a.id == 0, AccountStatus.id_must_not_be_zero
        yield a.id == ID_MAX, AccountStatus.id_must_not_be_int_max
        if a.id in self.created:
            e = self.account(a.id)
            for field in ("flags", *USER_DATA, "ledger", "code"):
                yield getattr(a, field) != getattr(e, field), AccountStatus[f"exists_with_different_{field}"]
            yield True, AccountStatus.exists
        both = A.debits_must_not_exceed_credits | A.credits_must_not_exceed_debits
        yield a.flags & both == both, AccountStatus.flags_are_mutually_exclusive
        for field in ("debits_pending", "debits_posted", "credits_pending", "credits_posted"):
            yield getattr(a, field) != 0, AccountStatus[f"{field}_must_be_zero"]
        yield a.ledger == 0, AccountStatus.ledger_must_not_be_zero
        yield a.code == 0, AccountStatus.code_must_not_be_zero
        if a.flags & A.imported:
            taken = any(a.timestamp == t.timestamp for t in self.transfers.values())
            late = any(a.timestamp <= other.timestamp for other in self.created.values())
            yield taken or late, AccountStatus.imported_event_timestamp_must_not_regress

    # Transfers

    def _create_transfer(self, t: Transfer, at: int) -> tuple[int, Status]:
        ends_pending = bool(t.flags & ENDS_PENDING)
        why_not = _first(self._against_transfer(t))
        why_not = why_not or _first(self._against_end(t, at) if ends_pending else self._against_movement(t, at))
        if why_not is Status.exists:
            return self.transfers[t.id].timestamp, why_not
        if why_not:
            return at, why_not
        timestamp = t.timestamp or at
        if ends_pending:
            self._end(t, timestamp)
        else:
            amount = self._amount(t)
            self.transfers[t.id] = msgspec.structs.replace(t, amount=amount, timestamp=timestamp)
        self._remember(self.transfers[t.id])
        return timestamp, Status.created

    def _remember(self, t: Transfer) -> None:
        for id in (t.debit_account_id, t.credit_account_id):
            if self.created[id].flags & A.history:
                a = self.account(id)
                balance = AccountBalance(
                    debits_pending=a.debits_pending,
                    debits_posted=a.debits_posted,
                    credits_pending=a.credits_pending,
                    credits_posted=a.credits_posted,
                    timestamp=t.timestamp,
                )
                self.history.append((id, balance))

    def _against_transfer(self, t: Transfer) -> Broken:
        yield t.flags >= 2 * T.imported, Status.reserved_flag
        yield t.id == 0, Status.id_must_not_be_zero
        yield t.id == ID_MAX, Status.id_must_not_be_int_max
        if t.id in self.transfers:
            yield from self._against_existing(t, self.transfers[t.id])
            yield True, Status.exists
        yield t.id in self.spent, Status.id_already_failed

    def _against_existing(self, t: Transfer, e: Transfer) -> Broken:
        for field in ("flags", "pending_id", "timeout"):
            yield getattr(t, field) != getattr(e, field), Status[f"exists_with_different_{field}"]
        meant = t
        if t.flags & ENDS_PENDING:
            meant = self._filled_in(t)
        elif t.flags & BALANCING and t.amount > e.amount:
            meant = msgspec.structs.replace(t, amount=e.amount)
        for field in ("debit_account_id", "credit_account_id", "amount", *USER_DATA, "ledger", "code"):
            yield getattr(meant, field) != getattr(e, field), Status[f"exists_with_different_{field}"]

    def _filled_in(self, t: Transfer) -> Transfer:
        """A post or a void with what it left to be as in the pending transfer."""
        p = self.transfers[t.pending_id]
        inherited = ("debit_account_id", "credit_account_id", "ledger", "code", *USER_DATA)
        fields = {field: getattr(t, field) or getattr(p, field) for field in inherited}
        whole = AMOUNT_MAX if t.flags & T.post_pending_transfer else 0
        return msgspec.structs.replace(t, amount=p.amount if t.amount == whole else t.amount, **fields)

    def _against_movement(self, t: Transfer, at: int) -> Broken:
        for side in ("debit", "credit"):
            id = getattr(t, f"{side}_account_id")
            yield id == 0, Status[f"{side}_account_id_must_not_be_zero"]
            yield id == ID_MAX, Status[f"{side}_account_id_must_not_be_int_max"]
        yield t.debit_account_id == t.credit_account_id, Status.accounts_must_be_different
        yield t.pending_id != 0, Status.pending_id_must_be_zero
        is_pending = bool(t.flags & T.pending)
        yield t.timeout != 0 and not is_pending, Status.timeout_reserved_for_pending_transfer
        yield bool(t.flags & CLOSING) and not is_pending, Status.closing_transfer_must_be_pending
        yield t.ledger == 0, Status.ledger_must_not_be_zero
        yield t.code == 0, Status.code_must_not_be_zero
        yield t.debit_account_id not in self.created, Status.debit_account_not_found
        yield t.credit_account_id not in self.created, Status.credit_account_not_found
        dr, cr = self.account(t.debit_account_id), self.account(t.credit_account_id)
        yield dr.ledger != cr.ledger, Status.accounts_must_have_the_same_ledger
        yield t.ledger != dr.ledger, Status.transfer_must_have_the_same_ledger_as_accounts
        if t.flags & T.imported:
            yield from self._against_time(t)
            yield t.timestamp <= dr.timestamp, Status.imported_event_timestamp_must_postdate_debit_account
            yield t.timestamp <= cr.timestamp, Status.imported_event_timestamp_must_postdate_credit_account
            yield t.timeout != 0, Status.imported_event_timeout_must_be_zero
        yield bool(dr.flags & A.closed), Status.debit_account_already_closed
        yield bool(cr.flags & A.closed), Status.credit_account_already_closed
        amount = self._amount(t)
        yield is_pending and dr.debits_pending + amount > AMOUNT_MAX, Status.overflows_debits_pending
        yield is_pending and cr.credits_pending + amount > AMOUNT_MAX, Status.overflows_credits_pending
        yield dr.debits_posted + amount > AMOUNT_MAX, Status.overflows_debits_posted
        yield cr.credits_posted + amount > AMOUNT_MAX, Status.overflows_credits_posted
        debits = dr.debits_pending + dr.debits_posted + amount
        credits_ = cr.credits_pending + cr.credits_posted + amount
        yield debits > AMOUNT_MAX, Status.overflows_debits
        yield credits_ > AMOUNT_MAX, Status.overflows_credits
        yield (t.timestamp or at) + t.timeout * NS_PER_S > TIMESTAMP_MAX, Status.overflows_timeout
        limited = bool(dr.flags & A.debits_must_not_exceed_credits)
        yield limited and debits > dr.credits_posted, Status.exceeds_credits
        limited = bool(cr.flags & A.credits_must_not_exceed_debits)
        yield limited and credits_ > cr.debits_posted, Status.exceeds_debits

    def _amount(self, t: Transfer) -> int:
        """What a transfer moves: a balancing one, no more than there is to move."""
        dr, cr = self.account(t.debit_account_id), self.account(t.credit_account_id)
        amounts = [t.amount]
        if t.flags & T.balancing_debit:
            amounts.append(dr.credits_posted - dr.debits_posted - dr.debits_pending)
        if t.flags & T.balancing_credit:
            amounts.append(cr.debits_posted - cr.credits_posted - cr.credits_pending)
        return max(0, min(amounts))

    def _against_time(self, t: Transfer) -> Broken:
        taken = any(t.timestamp == a.timestamp for a in self.created.values())
        late = any(t.timestamp <= other.timestamp for other in self.transfers.values())
        yield taken or late, Status.imported_event_timestamp_must_not_regress

    def _against_end(self, t: Transfer, at: int) -> Broken:
        mixed = BALANCING | CLOSING | T.pending
        yield t.flags & ENDS_PENDING == ENDS_PENDING or bool(t.flags & mixed), Status.flags_are_mutually_exclusive
        yield t.pending_id == 0, Status.pending_id_must_not_be_zero
        yield t.pending_id == ID_MAX, Status.pending_id_must_not_be_int_max
        yield t.pending_id == t.id, Status.pending_id_must_be_different
        yield t.timeout != 0, Status.timeout_reserved_for_pending_transfer
        yield t.pending_id not in self.transfers, Status.pending_transfer_not_found
        p = self.transfers[t.pending_id]
        yield not p.flags & T.pending, Status.pending_transfer_not_pending
        meant = self._filled_in(t)
        for field in ("debit_account_id", "credit_account_id", "ledger", "code"):
            yield getattr(meant, field) != getattr(p, field), Status[f"pending_transfer_has_different_{field}"]
        yield meant.amount > p.amount, Status.exceeds_pending_transfer_amount
        is_void = bool(t.flags & T.void_pending_transfer)
        yield is_void and meant.amount != p.amount, Status.pending_transfer_has_different_amount
        yield p.id in self.endings, self.endings.get(p.id)
        yield 0 < _expiry(p) <= at, Status.pending_transfer_expired
        if t.flags & T.imported:
            yield from self._against_time(t)
        for side in ("debit", "credit"):
            closed = self.account(getattr(p, f"{side}_account_id")).flags & A.closed
            yield bool(closed) and not is_void, Status[f"{side}_account_already_closed"]

    def _end(self, t: Transfer, timestamp: int) -> None:
        self.transfers[t.id] = msgspec.structs.replace(self._filled_in(t), timestamp=timestamp)
        posts = t.flags & T.post_pending_transfer
        self.endings[t.pending_id] = (
            Status.pending_transfer_already_posted if posts else Status.pending_transfer_already_voided
        )

    # Reading

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        _check_length(ids)
        return [self.account(id) for id in ids if id in self.created]

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        _check_length(ids)
        return [self.transfers[id] for id in ids if id in self.transfers]

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        f = account_filter
        sides = AccountFilterFlags.debits | AccountFilterFlags.credits
        if not f.flags & sides or f.flags >= 8 or f.account_id in (0, ID_MAX):
            return []
        of_account = [
            t
            for t in self.transfers.values()
            if (f.flags & AccountFilterFlags.debits and t.debit_account_id == f.account_id)
            or (f.flags & AccountFilterFlags.credits and t.credit_account_id == f.account_id)
        ]
        return _select(of_account, f, bool(f.flags & AccountFilterFlags.reversed))

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        kept = {balance.timestamp: balance for id, balance in self.history if id == account_filter.account_id}
        return [kept[t.timestamp] for t in self.get_account_transfers(account_filter) if t.timestamp in kept]

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        return self._query([self.account(id) for id in self.created], query_filter)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        return self._query(list(self.transfers.values()), query_filter)

    def _query(self, everything: list[Any], query_filter: QueryFilter) -> list[Any]:
        if query_filter.flags >= 2:
            return []
        return _select(everything, query_filter, bool(query_filter.flags & QueryFilterFlags.reversed))


def _first(rules: Broken) -> Any:
    """What is told of the first broken rule; None where none is."""
    return next((status for broken, status in rules if broken), None)


def _chains(events: Sequence[Any]) -> list[list[Any]]:
    """The batch in chains: each ends with an event that is not linked, or with the batch."""
    chains: list[list[Any]] = []
    goes_on = False
    for event in events:
        if goes_on:
            chains[-1].append(event)
        else:
            chains.append([event])
        goes_on = bool(event.flags & T.linked)
    return chains


def _expiry(t: Transfer) -> int:
    return t.timestamp + t.timeout * NS_PER_S if t.timeout else 0


def _check_length(ids: Sequence[int]) -> None:
    if len(ids) > BATCH_MAX:
        raise BatchTooLargeError


def _select(rows: list[Any], f: AccountFilter | QueryFilter, latest_first: bool) -> list[Any]:
    if f.limit < 1 or max(f.timestamp_min, f.timestamp_max) > TIMESTAMP_MAX or 0 < f.timestamp_max < f.timestamp_min:
        return []
    fields = [*USER_DATA, "code", *(["ledger"] if isinstance(f, QueryFilter) else [])]
    rows = [
        row
        for row in rows
        if all(getattr(f, field) in (0, getattr(row, field)) for field in fields)
        and f.timestamp_min <= row.timestamp <= (f.timestamp_max or TIMESTAMP_MAX)
    ]
    rows.sort(key=lambda row: int(row.timestamp), reverse=latest_first)
    return rows[: min(f.limit, BATCH_MAX)]
