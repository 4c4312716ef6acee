"""The embedded ledger: tables beside the records, in the same transaction.

A batch is a handful of statements whatever its length: read the transfers, the spent ids and the accounts that it
mentions, decide it in memory (`vuka.ledger.rules`), write back. Nothing is kept between calls, so that calls in one
transaction compose, a rollback needs no care, and a commit makes records and ledger durable together.

It relies on one thing of the store: transactions that write the ledger run one after another. SQLite's do; on
PostgreSQL whoever opens the transaction takes a lock that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from vuka.ledger.model import (
    AMOUNT_MAX,
    BALANCE_MAX,
    BATCH_MAX,
    ID_MAX,
    TIMESTAMP_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLargeError,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    FieldError,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
    TransferFlags,
)
from vuka.ledger.rules import AccountBatch, OpenAccount, TransferBatch, TransferRow, run_batch, signed_64, unsigned_64
from vuka.store import Row, Tx, Value

_ACCOUNT_IMPORTED: Final = int(AccountFlags.imported)
_TRANSFER_IMPORTED: Final = int(TransferFlags.imported)

_BOTH_SIDES: Final = int(AccountFilterFlags.debits | AccountFilterFlags.credits)
# The complement of an IntFlag holds only its named flags, so it can't find what is none of them: a bound does.
_ACCOUNT_FILTER_FLAGS_MAX: Final = 2 * int(AccountFilterFlags.reversed) - 1
_QUERY_FILTER_FLAGS_MAX: Final = 2 * int(QueryFilterFlags.reversed) - 1

_CLOCK: Final = """
SELECT (SELECT MAX(timestamp) FROM ledger_account),
       (SELECT MAX(timestamp) FROM ledger_transfer),
       (SELECT MIN(expires_at) FROM ledger_expiry)"""

_ACCOUNT: Final = """
SELECT id, debits_pending, debits_posted, credits_pending, credits_posted,
       user_data_128, user_data_64, user_data_32, ledger, code, flags, timestamp
FROM ledger_account"""

_OPEN_ACCOUNT: Final = """
SELECT account_no, id, debits_pending, debits_posted, credits_pending, credits_posted, ledger, flags, timestamp
FROM ledger_account"""

_TRANSFER: Final = """
SELECT t.timestamp, t.id, d.id, c.id, t.amount, t.code, t.flags, t.pending_id,
       t.user_data_128, t.user_data_64, t.user_data_32, t.timeout, d.ledger
FROM ledger_transfer t
JOIN ledger_account d ON d.account_no = t.debit_account_no
JOIN ledger_account c ON c.account_no = t.credit_account_no"""

# The columns of `rules.TransferRow`, in its order. Those that most transfers leave empty come last.
_TRANSFER_COLUMNS: Final = (
    "timestamp",
    "id",
    "debit_account_no",
    "credit_account_no",
    "amount",
    "code",
    "flags",
    "pending_id",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "timeout",
)
_COLUMNS_ALWAYS_FULL: Final = 7
_TRANSFER_ROW: Final = ", ".join(f"t.{column}" for column in _TRANSFER_COLUMNS)

_KNOWN_TRANSFER: Final = f"""
SELECT {_TRANSFER_ROW}, r.status
FROM ledger_transfer t
LEFT JOIN ledger_resolution r ON r.timestamp = t.timestamp
WHERE t.id IN {{values}}"""

_DUE_TRANSFER: Final = f"""
SELECT {_TRANSFER_ROW}
FROM ledger_expiry e
JOIN ledger_transfer t ON t.timestamp = e.timestamp
WHERE e.expires_at <= ?
ORDER BY e.expires_at, e.timestamp
LIMIT ?"""

_INSERT_ACCOUNT: Final = """
INSERT INTO ledger_account (account_no, id, debits_pending, debits_posted, credits_pending, credits_posted,
                            user_data_128, user_data_64, user_data_32, ledger, code, flags, timestamp)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_UPDATE_ACCOUNT: Final = """
UPDATE ledger_account
SET debits_pending = ?, debits_posted = ?, credits_pending = ?, credits_posted = ?, flags = ?
WHERE account_no = ?"""

_INSERT_BALANCE: Final = """
INSERT INTO ledger_balance (account_no, timestamp, debits_pending, debits_posted, credits_pending, credits_posted)
VALUES (?, ?, ?, ?, ?, ?)"""


class SqlLedger:
    """The ledger in one transaction; see `vuka.ledger.model.Ledger`.

    ``now_ns`` is the time of everything done through it, in nanoseconds UTC since 1970. Where the ledger is already
    past it, the timestamps go on from there: they always increase.
    """

    __slots__ = ("_balance_max", "_now_ns", "_tx")

    shares_transaction = True

    def __init__(self, tx: Tx, now_ns: int, *, balance_max: int = BALANCE_MAX) -> None:
        self._tx = tx
        self._now_ns = now_ns
        self._balance_max = balance_max

    # Creating

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        """One result for each account, in order. Raises `BatchTooLargeError`, `FieldError`."""
        _check_length(accounts)
        if not accounts:
            return []
        for account in accounts:
            _check_account(account)
        first, account_last = self._release_and_tell_time()
        known = {account.id: account for account in self.lookup_accounts(list({each.id for each in accounts}))}
        taken: set[int] = set()
        if accounts[0].flags & _ACCOUNT_IMPORTED:
            taken = self._taken("ledger_transfer", [account.timestamp for account in accounts])
        batch = AccountBatch(known, timestamp_last=account_last, timestamps_taken=taken)
        outcomes = run_batch(batch, accounts, first, CreateAccountStatus, _ACCOUNT_IMPORTED)
        if batch.created:
            ((no_last,),) = self._tx.query("SELECT COALESCE(MAX(account_no), 0) FROM ledger_account")
            self._tx.run_many(
                _INSERT_ACCOUNT, [_account_row(no, each) for no, each in enumerate(batch.created, no_last + 1)]
            )
        return list(map(CreateAccountResult, outcomes.timestamps, outcomes.statuses))

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        """One result for each transfer, in order. Raises `BatchTooLargeError`, `FieldError`."""
        _check_length(transfers)
        if not transfers:
            return []
        keys: list[bytes] = []
        pending_keys: list[bytes | None] = []
        account_ids: set[int] = set()
        for t in transfers:
            _check_transfer(t)
            keys.append(t.id.to_bytes(16, "big"))
            pending_keys.append(t.pending_id.to_bytes(16, "big") if t.pending_id else None)
            account_ids.add(t.debit_account_id)
            account_ids.add(t.credit_account_id)
        account_ids.discard(0)
        first, _ = self._release_and_tell_time()
        batch = TransferBatch(keys, pending_keys, balance_max=self._balance_max)
        self._read(batch, account_ids)
        if transfers[0].flags & _TRANSFER_IMPORTED:
            ((last,),) = self._tx.query("SELECT COALESCE(MAX(timestamp), 0) FROM ledger_transfer")
            batch.timestamp_last = last
            batch.account_timestamps = self._taken("ledger_account", [t.timestamp for t in transfers])
        outcomes = run_batch(batch, transfers, first, CreateTransferStatus, _TRANSFER_IMPORTED)
        self._write(batch)
        return list(map(CreateTransferResult, outcomes.timestamps, outcomes.statuses))

    def expire_pending(self) -> int:
        """Releases every pending transfer whose timeout has passed; how many.

        Each batch does the same for what is due, up to `BATCH_MAX`, so that this is needed only where nothing else
        happens.
        """
        first, _ = self._tell_time()
        released = 0
        while released_now := self._expire(first):
            released += released_now
        return released

    def _tell_time(self) -> tuple[int, int]:
        """The timestamp for the next event, and that of the account last created."""
        ((account_last, transfer_last, _),) = self._tx.query(_CLOCK)
        return max(self._now_ns, (account_last or 0) + 1, (transfer_last or 0) + 1), account_last or 0

    def _release_and_tell_time(self) -> tuple[int, int]:
        """The same, after releasing what is due by then."""
        ((account_last, transfer_last, due),) = self._tx.query(_CLOCK)
        first = max(self._now_ns, (account_last or 0) + 1, (transfer_last or 0) + 1)
        if due is not None and due <= first:
            self._expire(first)
        return first, account_last or 0

    def _taken(self, table: str, timestamps: Iterable[int]) -> set[int]:
        """Those of the timestamps that rows of the table have."""
        wanted = [each for each in timestamps if each <= TIMESTAMP_MAX]
        return {
            row[0] for row in self._tx.query_in(f"SELECT timestamp FROM {table} WHERE timestamp IN {{values}}", wanted)
        }

    def _read(self, batch: TransferBatch, account_ids: Iterable[int]) -> None:
        """Reads what the ledger has of what the batch mentions."""
        tx = self._tx
        wanted = dict.fromkeys(batch.keys)
        wanted.update(dict.fromkeys(key for key in batch.pending_keys if key is not None))
        known, resolutions = batch.known, batch.resolutions
        for row in tx.query_in(_KNOWN_TRANSFER, list(wanted)):
            known[row[1]] = row[:-1]
            if row[-1] is not None:
                resolutions[row[0]] = row[-1]
        fresh = [key for key in batch.keys if key not in known]
        batch.failed.update(row[0] for row in tx.query_in("SELECT id FROM ledger_failed WHERE id IN {values}", fresh))
        self._read_accounts(batch, f"{_OPEN_ACCOUNT} WHERE id IN {{values}}", [_id(each) for each in account_ids])
        numbers = {no for row in known.values() for no in row[2:4]} - batch.accounts_by_no.keys()
        self._read_accounts(batch, f"{_OPEN_ACCOUNT} WHERE account_no IN {{values}}", list(numbers))

    def _read_accounts(self, batch: TransferBatch, sql: str, values: Sequence[Value]) -> None:
        for no, id_, dr_pending, dr_posted, cr_pending, cr_posted, *rest in self._tx.query_in(sql, values):
            balances = (_number(dr_pending), _number(dr_posted), _number(cr_pending), _number(cr_posted))
            batch.add_account(OpenAccount(no, _number(id_), *balances, *rest))

    def _expire(self, now: int) -> int:
        """Releases what is due, the oldest first, at most `BATCH_MAX`; how many."""
        due: list[Any] = self._tx.query(_DUE_TRANSFER, (now, BATCH_MAX))
        if not due:
            return 0
        batch = TransferBatch([], [])
        numbers = {no for row in due for no in row[2:4]}
        self._read_accounts(batch, f"{_OPEN_ACCOUNT} WHERE account_no IN {{values}}", list(numbers))
        for row in due:
            batch.expire(row)
        self._write(batch)
        return len(due)

    def _write(self, batch: TransferBatch) -> None:
        """Writes what the batch has decided."""
        run_many = self._tx.run_many
        if batch.created:
            run_many(*_insert_of(batch.created))
        if batch.resolved:
            run_many("INSERT INTO ledger_resolution (timestamp, status, resolved_at) VALUES (?, ?, ?)", batch.resolved)
        if batch.expiries:
            run_many("INSERT INTO ledger_expiry (expires_at, timestamp) VALUES (?, ?)", batch.expiries)
        if batch.expiries_ended:
            run_many("DELETE FROM ledger_expiry WHERE expires_at = ? AND timestamp = ?", batch.expiries_ended)
        if batch.balances:
            run_many(_INSERT_BALANCE, [(no, at, *map(_wide, figures)) for no, at, *figures in batch.balances])
        if batch.newly_failed:
            run_many("INSERT INTO ledger_failed (id) VALUES (?)", [(key,) for key in batch.newly_failed])
        if batch.touched:
            run_many(
                _UPDATE_ACCOUNT,
                [
                    (
                        _wide(a.debits_pending),
                        _wide(a.debits_posted),
                        _wide(a.credits_pending),
                        _wide(a.credits_posted),
                        a.flags,
                        a.no,
                    )
                    for a in batch.touched.values()
                ],
            )

    # Reading

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist among these, in the order asked. Raises `BatchTooLargeError`, `FieldError`."""
        rows = self._tx.query_in(f"{_ACCOUNT} WHERE id IN {{values}}", _lookup_keys(ids))
        found = {account.id: account for account in map(_account, rows)}
        return [found[each] for each in ids if each in found]

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist among these, in the order asked. Raises `BatchTooLargeError`, `FieldError`."""
        rows = self._tx.query_in(f"{_TRANSFER} WHERE t.id IN {{values}}", _lookup_keys(ids))
        found = {transfer.id: transfer for transfer in map(_transfer, rows)}
        return [found[each] for each in ids if each in found]

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account, by timestamp. Raises `FieldError`."""
        if not _is_valid_account_filter(account_filter):
            return []
        return [_transfer(row) for row in self._of_account(_TRANSFER, account_filter, AccountFlags(0))]

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        """The balances of one account after each of its transfers, by timestamp. Raises `FieldError`."""
        if not _is_valid_account_filter(account_filter):
            return []
        sql = """
            SELECT t.timestamp, b.debits_pending, b.debits_posted, b.credits_pending, b.credits_posted
            FROM ledger_transfer t
            JOIN ledger_balance b ON b.account_no = ? AND b.timestamp = t.timestamp"""
        return [
            AccountBalance(
                debits_pending=_number(debits_pending),
                debits_posted=_number(debits_posted),
                credits_pending=_number(credits_pending),
                credits_posted=_number(credits_posted),
                timestamp=timestamp,
            )
            for timestamp, debits_pending, debits_posted, credits_pending, credits_posted in self._of_account(
                sql, account_filter, AccountFlags.history
            )
        ]

    def _of_account(self, select: str, wanted: AccountFilter, needs: AccountFlags) -> list[Row]:
        """Rows of the transfers ``t`` of one account, which must have the flags ``needs``.

        Each side is read from its own index, in order, and the two are merged: no account debits itself.
        """
        found = self._tx.query(f"{_OPEN_ACCOUNT} WHERE id = ?", (_id(wanted.account_id),))
        if not found or found[0][7] & needs != needs:
            return []
        account_no = found[0][0]
        conditions, values = _conditions(wanted)
        if wanted.code:
            conditions.append("t.code = ?")
            values.append(wanted.code)
        sides = []
        if wanted.flags & AccountFilterFlags.debits:
            sides.append("t.debit_account_no = ?")
        if wanted.flags & AccountFilterFlags.credits:
            sides.append("t.credit_account_no = ?")
        sql = " UNION ALL ".join(f"{select} WHERE {' AND '.join((side, *conditions))}" for side in sides)
        joined = [account_no] * select.count("?")
        parameters = [*joined, account_no, *values] * len(sides)
        order = "DESC" if wanted.flags & AccountFilterFlags.reversed else "ASC"
        return self._tx.query(f"{sql} ORDER BY 1 {order} LIMIT ?", (*parameters, min(wanted.limit, BATCH_MAX)))

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """The accounts that match, by timestamp. Raises `FieldError`."""
        if not _is_valid_query_filter(query_filter):
            return []
        conditions, values = _conditions(query_filter)
        rows = self._matching(f"{_ACCOUNT} t", "t", query_filter, conditions, values)
        return [_account(row) for row in rows]

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """The transfers that match, by timestamp. Raises `FieldError`."""
        if not _is_valid_query_filter(query_filter):
            return []
        conditions, values = _conditions(query_filter)
        rows = self._matching(_TRANSFER, "d", query_filter, conditions, values)
        return [_transfer(row) for row in rows]

    def _matching(
        self, select: str, ledger_of: str, wanted: QueryFilter, conditions: list[str], values: list[Value]
    ) -> list[Row]:
        if wanted.ledger:
            conditions.append(f"{ledger_of}.ledger = ?")
            values.append(wanted.ledger)
        if wanted.code:
            conditions.append("t.code = ?")
            values.append(wanted.code)
        order = "DESC" if wanted.flags & QueryFilterFlags.reversed else "ASC"
        sql = f"{select} WHERE {' AND '.join(conditions)} ORDER BY t.timestamp {order} LIMIT ?"
        return self._tx.query(sql, (*values, min(wanted.limit, BATCH_MAX)))


def _check_length(events: Sequence[object]) -> None:
    if len(events) > BATCH_MAX:
        raise BatchTooLargeError(f"{len(events)} in one request, where {BATCH_MAX} are the most")


# A number shifted right by the width of its field is zero when it fits, and -1 when it is negative.


def _check_account(a: Account) -> None:
    if (
        (a.id | a.user_data_128) >> 128
        or (a.debits_pending | a.debits_posted | a.credits_pending | a.credits_posted) >> 128
        or (a.user_data_64 | a.timestamp) >> 64
        or (a.user_data_32 | a.ledger) >> 32
        or (a.code | a.flags) >> 16
    ):
        raise FieldError(f"a number does not fit its field: {a}")


def _check_transfer(t: Transfer) -> None:
    if (
        (t.id | t.debit_account_id | t.credit_account_id | t.pending_id | t.user_data_128) >> 128
        or not 0 <= t.amount <= AMOUNT_MAX
        or (t.user_data_64 | t.timestamp) >> 64
        or (t.user_data_32 | t.timeout | t.ledger) >> 32
        or (t.code | t.flags) >> 16
    ):
        raise FieldError(f"a number does not fit its field: {t}")


def _insert_of(rows: Sequence[TransferRow]) -> tuple[str, Iterable[Sequence[Value]]]:
    """The statement that inserts the rows, and its parameters: only the columns that any of them fills.

    A column that is not named costs nothing, and most batches fill few.
    """
    filled = [place for place, column in enumerate(zip(*rows, strict=True)) if any(column)]
    filled = [*range(_COLUMNS_ALWAYS_FULL), *(place for place in filled if place >= _COLUMNS_ALWAYS_FULL)]
    columns = ", ".join(_TRANSFER_COLUMNS[place] for place in filled)
    places = ", ".join("?" * len(filled))
    return f"INSERT INTO ledger_transfer ({columns}) VALUES ({places})", map(itemgetter(*filled), rows)


def _lookup_keys(ids: Sequence[int]) -> list[bytes]:
    _check_length(ids)
    return [_id(each) for each in ids]


def _wide(balance: int) -> bytes:
    """A balance as its column holds it."""
    return balance.to_bytes(16, "big")


def _number(column: bytes) -> int:
    """The number that 16 bytes are."""
    return int.from_bytes(column, "big")


def _id(value: int) -> bytes:
    """The 16 bytes of an id. Raises `FieldError` where it has more."""
    if value >> 128:
        raise FieldError(f"{value} is not a 128-bit id")
    return value.to_bytes(16, "big")


def _is_valid_account_filter(wanted: AccountFilter) -> bool:
    return (
        wanted.account_id not in (0, ID_MAX)
        and _is_valid_range(wanted)
        and wanted.flags & _BOTH_SIDES != 0
        and 0 <= wanted.flags <= _ACCOUNT_FILTER_FLAGS_MAX
    )


def _is_valid_query_filter(wanted: QueryFilter) -> bool:
    return _is_valid_range(wanted) and 0 <= wanted.flags <= _QUERY_FILTER_FLAGS_MAX


def _is_valid_range(wanted: AccountFilter | QueryFilter) -> bool:
    return (
        0 <= wanted.timestamp_min <= TIMESTAMP_MAX
        and 0 <= wanted.timestamp_max <= TIMESTAMP_MAX
        and (wanted.timestamp_max == 0 or wanted.timestamp_min <= wanted.timestamp_max)
        and wanted.limit > 0
    )


def _conditions(wanted: AccountFilter | QueryFilter) -> tuple[list[str], list[Value]]:
    """What both kinds of filter say of the timestamp and the user data of ``t``, as SQL and its parameters."""
    ledger = wanted.ledger if isinstance(wanted, QueryFilter) else 0
    if wanted.user_data_64 >> 64 or (wanted.user_data_32 | ledger) >> 32 or wanted.code >> 16:
        raise FieldError(f"a number does not fit its field: {wanted}")
    conditions = ["t.timestamp BETWEEN ? AND ?"]
    values: list[Value] = [wanted.timestamp_min, wanted.timestamp_max or TIMESTAMP_MAX]
    if wanted.user_data_128:
        conditions.append("t.user_data_128 = ?")
        values.append(_id(wanted.user_data_128))
    if wanted.user_data_64:
        conditions.append("t.user_data_64 = ?")
        values.append(signed_64(wanted.user_data_64))
    if wanted.user_data_32:
        conditions.append("t.user_data_32 = ?")
        values.append(wanted.user_data_32)
    return conditions, values


def _account_row(no: int, a: Account) -> tuple[Value, ...]:
    return (
        no,
        _id(a.id),
        *(_wide(0),) * 4,
        _id(a.user_data_128) if a.user_data_128 else None,
        signed_64(a.user_data_64) if a.user_data_64 else None,
        a.user_data_32 or None,
        a.ledger,
        a.code,
        a.flags,
        a.timestamp,
    )


def _account(row: Row) -> Account:
    id_, debits_pending, debits_posted, credits_pending, credits_posted, data_128, data_64, data_32, *rest = row
    ledger, code, flags, timestamp = rest
    return Account(
        id=int.from_bytes(id_, "big"),
        debits_pending=_number(debits_pending),
        debits_posted=_number(debits_posted),
        credits_pending=_number(credits_pending),
        credits_posted=_number(credits_posted),
        user_data_128=int.from_bytes(data_128 or b"", "big"),
        user_data_64=unsigned_64(data_64 or 0),
        user_data_32=data_32 or 0,
        ledger=ledger,
        code=code,
        flags=flags,
        timestamp=timestamp,
    )


def _transfer(row: Row) -> Transfer:
    (
        timestamp,
        id_,
        debit_id,
        credit_id,
        amount,
        code,
        flags,
        pending_id,
        data_128,
        data_64,
        data_32,
        timeout,
        ledger,
    ) = row
    return Transfer(
        id=int.from_bytes(id_, "big"),
        debit_account_id=int.from_bytes(debit_id, "big"),
        credit_account_id=int.from_bytes(credit_id, "big"),
        amount=amount,
        pending_id=int.from_bytes(pending_id or b"", "big"),
        user_data_128=int.from_bytes(data_128 or b"", "big"),
        user_data_64=unsigned_64(data_64 or 0),
        user_data_32=data_32 or 0,
        timeout=timeout or 0,
        ledger=ledger,
        code=code,
        flags=flags,
        timestamp=timestamp,
    )
