"""The witness of an act of administration: it stands between a use case and the tables, and keeps what was changed.

No use case says what it changes, and none can forget to. While an act is decided its transaction and its ledger are
watched: every statement that writes is asked for the rows that it leaves (``RETURNING *``), an ``UPDATE`` or an
``ON CONFLICT`` for those that it finds; and of every ledger account that money moves on the balances before and after
are kept. Payments are never watched so: their ends are told (see `vuka.switch.auditlog`).

Nothing that lets anybody in is kept: digests of credentials and passwords in addresses are left out, and so is what
follows the host and the first segment where alarms go; what is large is kept as its SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final, TypeAlias, TypeVar

import msgspec

from vuka.ids import format_uuid, is_reserved
from vuka.ledger.model import (
    Account,
    AccountBalance,
    AccountFilter,
    CreateAccountResult,
    CreateTransferResult,
    Ledger,
    QueryFilter,
    Transfer,
)
from vuka.money import ledger_currency
from vuka.store import Row, Tx, Value
from vuka.switch.auditlog import Act, Balance, Change
from vuka.switch.participants import ALARM_URL, LEFT_OUT, shortened
from vuka.switch.work import Actor, Command, Outcome, Work

CHANGES_MAX: Final = 10_000
"""Changes of rows kept of one act; of more their number. As many as one request may have, so that none can be hidden
behind others."""

INTEGER_MAX: Final = (1 << 63) - 1
"""What any reader of an entry can take for a number."""

TEXT_MAX: Final = 4_000
"""Longest text kept as it is, in characters."""

BYTES_MAX: Final = 64

UNTOLD: Final = frozenset(
    (
        "scheme",
        "hub_node",
        "notification",
        "audit_entry",
        "gross_unsettled",
        "journal_block",
        "journal_subject",
        # Of the ledger's own tables the balances are told.
        "ledger_account",
        "ledger_balance",
        "ledger_expiry",
        "ledger_failed",
        "ledger_intent",
        "ledger_resolution",
        "ledger_transfer",
    )
)
"""Tables whose changes are the hub's own bookkeeping: what is told elsewhere, or follows from what is told."""

SECRET: Final = re.compile(r"digest|secret|password|token|private", re.IGNORECASE)
"""Columns and fields of which nothing is kept but that they changed."""

_USER_INFO: Final = re.compile(r"(://[^/\s:@]*):[^/\s@]*@")
_QUERY_SECRET: Final = re.compile(r"([?&][^=&\s]*(?:token|secret|password|key|sig)[^=&\s]*=)[^&\s]+", re.IGNORECASE)

_STATEMENT: Final = re.compile(r"\s*(INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+\"?(\w+)\"?(.*)", re.IGNORECASE | re.DOTALL)
_RETURNING: Final = re.compile(r"\sRETURNING\s+(.*?)\s*$", re.IGNORECASE | re.DOTALL)
_WORD: Final = re.compile(r"'(?:[^']|'')*'|[()]|\b(?:WHERE|FROM)\b", re.IGNORECASE)
_READS: Final = re.compile(r"\s*SELECT\s", re.IGNORECASE)
_CONFLICT: Final = re.compile(r"\sON\s+CONFLICT\s*\(([^)]*)\)(?:.*?)\sDO\s+UPDATE\s", re.IGNORECASE | re.DOTALL)
_COLUMNS: Final = re.compile(r"\s*\(([^)]*)\)\s*VALUES\s*\(([^)]*)\)", re.IGNORECASE | re.DOTALL)
_TEXT: Final = re.compile(r"'(?:[^']|'')*'")

_RowOf: TypeAlias = dict[str, Value]

AnyCommand = TypeVar("AnyCommand", bound=Command)


class _Written(msgspec.Struct):
    """A change of a row as it stands so far in an act."""

    table: str
    before: _RowOf | None
    after: _RowOf | None


class _WitnessedTx:
    """A transaction that notes what is written through it. See `vuka.store.Tx`."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.written: list[_Written] = []
        self._standing: dict[tuple[str, tuple[object, ...]], _Written] = {}

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        statement = _STATEMENT.match(sql)
        if statement is None and _READS.match(sql) is None:
            self._note_statement(sql)
        if statement is None or statement[2] in UNTOLD:
            return self._tx.query(sql, parameters)
        returning = _RETURNING.search(sql)
        rows = self._write(statement, sql if returning is None else sql[: returning.start()], parameters)
        names = [] if returning is None else [name.strip(' "') for name in returning[1].split(",")]
        return [tuple(row[name] for name in names) for row in rows]

    def named(self, sql: str, parameters: Sequence[Value] = ()) -> list[dict[str, Value]]:
        return self._tx.named(sql, parameters)

    def query_in(self, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> list[Row]:
        return self._tx.query_in(sql, values, parameters)

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        statement = _STATEMENT.match(sql)
        if statement is None:
            self._note_statement(sql)
        if statement is None or statement[2] in UNTOLD:
            return self._tx.run(sql, parameters)
        return len(self._write(statement, sql, parameters))

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        statement = _STATEMENT.match(sql)
        if statement is None:
            self._note_statement(sql)
        if statement is None or statement[2] in UNTOLD:
            self._tx.run_many(sql, rows)
            return
        for row in rows:
            self._write(statement, sql, row)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        self._tx.on_rollback(undo)

    def _write(self, statement: re.Match[str], sql: str, parameters: Sequence[Value]) -> list[_RowOf]:
        verb, table, rest = statement[1].split()[0].upper(), statement[2], statement[3]
        found = self._found(verb, table, rest, parameters)
        left = self._tx.named(f"{sql} RETURNING *", parameters)
        if verb == "DELETE":
            for row in left:
                self._note(table, row, None)
        elif verb == "INSERT":
            # Of the rows that are in the way of one that is inserted there is one at most.
            for row in left:
                self._note(table, found[0] if found else None, row)
        else:
            for before, after in _paired(found, left, _set_columns(rest)):
                self._note(table, before, after)
        return left

    def _found(self, verb: str, table: str, rest: str, parameters: Sequence[Value]) -> list[_RowOf]:
        """The rows that a statement is about to change."""
        if verb == "DELETE":
            return []
        if verb == "INSERT":
            conflict, columns = _CONFLICT.search(rest), _COLUMNS.match(rest)
            if conflict is None or columns is None:
                return []
            given = _given(columns, parameters)
            keys = [name.strip(' "') for name in conflict[1].split(",")]
            if any(key not in given for key in keys):
                return []
            condition = " AND ".join(f'"{key}" = ?' for key in keys)
            return self._tx.named(f'SELECT * FROM "{table}" WHERE {condition}', [given[key] for key in keys])
        _, is_joined, where = _parts(rest)
        if is_joined:
            # Which rows it will find only the whole statement says.
            return []
        if where is None:
            return self._tx.named(f'SELECT * FROM "{table}"')
        count = _TEXT.sub("", where).count("?")
        return self._tx.named(f'SELECT * FROM "{table}" WHERE {where}', parameters[len(parameters) - count :])

    def _note_statement(self, sql: str) -> None:
        """Of a form that is not known the statement itself is kept: that something was changed is never left untold."""
        self.written.append(_Written("", None, {"statement": " ".join(sql.split())}))

    def _note(self, table: str, before: _RowOf | None, after: _RowOf | None) -> None:
        """A row that an act changes twice is kept as it was at first, and as it is in the end."""
        standing = None if before is None else self._standing.pop((table, tuple(before.values())), None)
        if standing is None:
            standing = _Written(table, before, after)
            self.written.append(standing)
        else:
            standing.after = after
        if after is not None:
            self._standing[table, tuple(after.values())] = standing


def _given(columns: re.Match[str], parameters: Sequence[Value]) -> dict[str, Value]:
    """The values that an ``INSERT`` has from its parameters, by column."""
    given: dict[str, Value] = {}
    at = 0
    for name, value in zip(columns[1].split(","), columns[2].split(","), strict=False):
        if value.strip() == "?":
            given[name.strip(' "')] = parameters[at]
            at += 1
    return given


def _parts(rest: str) -> tuple[str, bool, str | None]:
    """Of an ``UPDATE`` what it sets, whether it looks into other tables for that, and its condition, if it has one."""
    depth, is_joined, ends_at = 0, False, len(rest)
    for word in _WORD.finditer(rest):
        if word[0] in "()":
            depth += 1 if word[0] == "(" else -1
        elif depth == 0 and word[0].upper() == "FROM":
            is_joined, ends_at = True, word.start()
        elif depth == 0 and word[0].upper() == "WHERE":
            return rest[: min(ends_at, word.start())], is_joined, rest[word.end() :]
    return rest[:ends_at], is_joined, None


def _set_columns(rest: str) -> set[str]:
    """The columns that an ``UPDATE`` sets."""
    return set(re.findall(r"(?:SET|,)\s*\"?(\w+)\"?\s*=", _parts(rest)[0], re.IGNORECASE))


def _paired(
    found: Sequence[_RowOf], left: Sequence[_RowOf], changed: set[str]
) -> Iterator[tuple[_RowOf | None, _RowOf]]:
    """Rows before and after: they are the same in all columns that are not set, among them the key.

    Where it is not known how one was before, it is told as it is now: no act fails for being watched.
    """

    def key(row: _RowOf) -> tuple[object, ...]:
        return tuple(value for name, value in row.items() if name not in changed)

    before = {key(row): row for row in found}
    for row in left:
        yield before.get(key(row)), row


class _WitnessedLedger:
    """A ledger that notes which accounts money is moved on. See `vuka.ledger.model.Ledger`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.before: dict[int, Account | None] = {}

    @property
    def shares_transaction(self) -> bool:
        return self._ledger.shares_transaction

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        self._see(account.id for account in accounts)
        return self._ledger.create_accounts(accounts)

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        pending_ids = [each.pending_id for each in transfers if each.pending_id]
        pending = self._ledger.lookup_transfers(pending_ids) if pending_ids else []
        self._see(id_ for each in (*transfers, *pending) for id_ in (each.debit_account_id, each.credit_account_id))
        return self._ledger.create_transfers(transfers)

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        return self._ledger.lookup_accounts(ids)

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        return self._ledger.lookup_transfers(ids)

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        return self._ledger.get_account_transfers(account_filter)

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        return self._ledger.get_account_balances(account_filter)

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        return self._ledger.query_accounts(query_filter)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        return self._ledger.query_transfers(query_filter)

    def _see(self, ids: Iterable[int]) -> None:
        unseen = [id_ for id_ in dict.fromkeys(ids) if id_ and id_ not in self.before]
        if unseen:
            there = {account.id: account for account in self._ledger.lookup_accounts(unseen)}
            self.before.update({id_: there.get(id_) for id_ in unseen})

    def moved(self) -> list[tuple[int, Account | None, Account]]:
        """The accounts whose balances are others than before, or that are new."""
        if not self.before:
            return []
        after = self._ledger.lookup_accounts(list(self.before))
        return [
            (each.id, self.before[each.id], each)
            for each in after
            if (was := self.before[each.id]) is None or _figures(was) != _figures(each)
        ]


def _figures(account: Account) -> dict[str, int]:
    return {
        "debits_pending": account.debits_pending,
        "debits_posted": account.debits_posted,
        "credits_pending": account.credits_pending,
        "credits_posted": account.credits_posted,
    }


def witnessed(
    work: Work, decide: Callable[[Work, Sequence[AnyCommand]], Sequence[Outcome]], command: AnyCommand, who: Actor
) -> tuple[Outcome, Act]:
    """Has one act decided, and keeps what it changed."""
    with _watching(work) as (tx, ledger):
        (outcome,) = decide(work, [command])
    changes, left_out = _changes(tx.written)
    act = Act(
        who=who,
        what=type(command).__name__,
        outcome=_said(outcome),
        asked=asked(command),
        changes=changes,
        balances=_balances(work, ledger.moved()),
        left_out=left_out,
    )
    return outcome, act


def failed(command: Command, who: Actor) -> Act:
    """An act that a defect has undone."""
    return Act(who=who, what=type(command).__name__, outcome="failed: a defect of the hub", asked=asked(command))


@contextmanager
def _watching(work: Work) -> Iterator[tuple[_WitnessedTx, _WitnessedLedger]]:
    tx, ledger = work.tx, work.ledger
    watched = _WitnessedTx(tx), _WitnessedLedger(ledger)
    work.tx, work.ledger = watched
    try:
        yield watched
    finally:
        work.tx, work.ledger = tx, ledger


def _said(outcome: Outcome) -> str:
    if outcome.error is None:
        return outcome.note
    return f"refused: {outcome.error}"


def _changes(written: Sequence[_Written]) -> tuple[list[Change], int]:
    changes = [_change(each.table, each.before, each.after) for each in written if each.before != each.after]
    return changes[:CHANGES_MAX], max(len(changes) - CHANGES_MAX, 0)


def _change(table: str, before: _RowOf | None, after: _RowOf | None) -> Change:
    if before is None or after is None:
        return Change(table, {}, _shown(before), _shown(after))
    differing = {name for name, value in after.items() if before[name] != value}
    was, is_now = _values(before), _values(after)
    return Change(
        table,
        {name: value for name, value in is_now.items() if name not in differing},
        {name: value for name, value in was.items() if name in differing},
        {name: value for name, value in is_now.items() if name in differing},
    )


def _shown(row: Mapping[str, object] | None) -> dict[str, object] | None:
    return None if row is None else _values(row)


def _values(fields: Mapping[str, object]) -> dict[str, object]:
    """What is kept of a row, or of what was asked with one: of where alarms go no more than whom it belongs to."""
    address = "value" if fields.get("type") == ALARM_URL else "address"
    found = fields.get(address)
    if isinstance(found, str):
        fields = {**fields, address: shortened(found)}
    return {name: _value(name, value) for name, value in fields.items()}


def asked(command: Command) -> dict[str, object]:
    """What a command asks, without what lets anybody in."""
    fields = {
        name: getattr(command, name) for name in command.__struct_fields__ if name not in ("actor", "message", "answer")
    }
    return {name: _value(name, value) for name, value in fields.items() if value is not msgspec.UNSET}


def _value(name: str, value: object) -> object:
    """What is kept of a value: itself where it is small and no secret."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if -INTEGER_MAX <= value <= INTEGER_MAX else str(int(value))
    if SECRET.search(name) is not None:
        return LEFT_OUT
    if isinstance(value, bytes):
        return _of_bytes(value)
    if isinstance(value, str):
        # Of an enumeration the text: it may be of a kind that no message can hold.
        return _of_text(str(value))
    if isinstance(value, msgspec.Struct):
        return _values({field: getattr(value, field) for field in value.__struct_fields__})
    if isinstance(value, Mapping):
        return {str(key): _value(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        kept = [_value(name, each) for each in islice(value, CHANGES_MAX)]
        return kept if len(value) <= CHANGES_MAX else [*kept, f"and {len(value) - CHANGES_MAX} more"]
    return _of_text(str(value))


def _of_bytes(value: bytes) -> object:
    if len(value) == 16:
        return value.hex() if is_reserved(int.from_bytes(value, "big")) else format_uuid(value)
    if len(value) <= BYTES_MAX:
        return value.hex()
    return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}


def _of_text(value: str) -> object:
    if len(value) > TEXT_MAX:
        return {"characters": len(value), "sha256": hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()}
    return _QUERY_SECRET.sub(rf"\1{LEFT_OUT}", _USER_INFO.sub(rf"\1:{LEFT_OUT}@", value))


def _balances(work: Work, moved: Sequence[tuple[int, Account | None, Account]]) -> list[Balance]:
    if not moved:
        return []
    names = {
        account.ledger_account_id: f"{participant.name} {account.currency} {account.type}"
        for participant in work.directory.participants.values()
        for account in participant.accounts.values()
    }
    return [
        Balance(
            names.get(id_) or f"{id_:032x} {ledger_currency(after.ledger)}",
            None if before is None else _figures(before),
            _figures(after),
        )
        for id_, before, after in moved
    ]
