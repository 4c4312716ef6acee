"""Windows and settlements as operators see them: reading only, from one snapshot, in the reference's order.

Amounts are minor units, positive where an account owes. What is not there is None or an empty list; which error that
is, the API decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from vuka.money import Currency
from vuka.store import Tx, Value
from vuka.switch.obligations import HALF


class Content(msgspec.Struct, frozen=True):
    """What a window holds of one kind."""

    window_content_id: int
    settlement_window_id: int
    state: str
    ledger_account_type: str
    currency: Currency
    created_ms: int
    changed_ms: int
    settlement_id: int | None


class Window(msgspec.Struct, frozen=True):
    """A settlement window with its content; an open one has none yet."""

    settlement_window_id: int
    state: str
    reason: str
    created_ms: int
    changed_ms: int
    content: tuple[Content, ...]


class SettlementAccount(msgspec.Struct, frozen=True):
    """An account in a settlement."""

    participant_id: int
    account_id: int
    state: str
    reason: str
    external_reference: str | None
    net_amount: int
    currency: Currency


class Settlement(msgspec.Struct, frozen=True):
    """A settlement with its windows and accounts."""

    settlement_id: int
    settlement_model: str
    state: str
    reason: str
    created_ms: int
    changed_ms: int
    windows: tuple[Window, ...]
    accounts: tuple[SettlementAccount, ...]


class WindowFilter(msgspec.Struct, frozen=True):
    """Which windows are asked for; None asks for nothing."""

    participant_id: int | None = None
    state: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    currency: str | None = None


class SettlementFilter(msgspec.Struct, frozen=True):
    """Which settlements are asked for, and which of their accounts; None asks for nothing."""

    currency: str | None = None
    participant_id: int | None = None
    settlement_window_id: int | None = None
    account_id: int | None = None
    state: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    window_from_ms: int | None = None
    window_to_ms: int | None = None


def windows(tx: Tx, asked: WindowFilter) -> list[Window]:
    """The windows that a filter lets through, the one changed last first."""
    where: list[tuple[str, Value]] = []
    if asked.state is not None:
        where.append(("w.state = ?", asked.state))
    if asked.from_ms is not None:
        where.append(("w.created_ms >= ?", asked.from_ms))
    if asked.to_ms is not None:
        where.append(("w.created_ms <= ?", asked.to_ms))
    # One account must do for both: a participant that has traded, in that currency.
    held: list[tuple[str, Value]] = [
        (condition, value)
        for condition, value in (("a.currency = ?", asked.currency), ("a.participant_id = ?", asked.participant_id))
        if value is not None
    ]
    conditions = [condition for condition, _ in where]
    if held:
        conditions.append(_HOLDS.format(conditions=" AND ".join(condition for condition, _ in held)))
    found = tx.query(
        f"""SELECT w.settlement_window_id FROM settlement_window w WHERE {" AND ".join(conditions) or "1 = 1"}
            ORDER BY w.changed_ms DESC, w.settlement_window_id DESC""",
        [value for _, value in (*where, *held)],
    )
    ids = [window_id for (window_id,) in found]
    by_id = {window.settlement_window_id: window for window in windows_of(tx, ids)}
    return [by_id[window_id] for window_id in ids]


_HOLDS = """EXISTS (SELECT 1 FROM window_flow f
            JOIN account a ON a.account_id IN (f.debtor_account_id, f.creditor_account_id)
            WHERE f.settlement_window_id = w.settlement_window_id AND {conditions})"""


def window(tx: Tx, window_id: int) -> Window | None:
    """The window of that number."""
    found = windows_of(tx, [window_id])
    return found[0] if found else None


def windows_of(tx: Tx, window_ids: Collection[int], content_ids: Collection[int] | None = None) -> list[Window]:
    """These windows in the order of their numbers, with all of their content or only that of these numbers."""
    rows = tx.query_in(
        """SELECT window_content_id, settlement_window_id, state, ledger_account_type, currency, created_ms,
                  changed_ms, settlement_id
           FROM window_content WHERE settlement_window_id IN {values}""",
        list(window_ids),
    )
    contents: dict[int, list[Content]] = {}
    for row in sorted(rows):
        if content_ids is None or row[0] in content_ids:
            contents.setdefault(row[1], []).append(Content(*row))
    return [
        Window(row[0], row[1], row[2], row[3], row[4], tuple(contents.get(row[0], ())))
        for row in sorted(
            tx.query_in(
                """SELECT settlement_window_id, state, reason, created_ms, changed_ms FROM settlement_window
                   WHERE settlement_window_id IN {values}""",
                list(window_ids),
            )
        )
    ]


def contents_of(tx: Tx, settlement_id: int) -> dict[int, int]:
    """The content that a settlement was made of, by number, with its window."""
    return dict(
        tx.query(
            """SELECT c.window_content_id, c.settlement_window_id
               FROM settlement_content s JOIN window_content c ON c.window_content_id = s.window_content_id
               WHERE s.settlement_id = ?""",
            (settlement_id,),
        )
    )


def contents_with(tx: Tx, content_ids: Iterable[int], account_ids: Collection[int]) -> set[int]:
    """Which of these contents any of these accounts has a part in."""
    rows = tx.query_in(
        """SELECT c.window_content_id, f.debtor_account_id, f.creditor_account_id
           FROM window_content c
           JOIN window_flow f ON f.settlement_window_id = c.settlement_window_id AND f.is_immediate = c.is_immediate
           JOIN account a ON a.account_id = f.debtor_account_id
                         AND a.type = c.ledger_account_type AND a.currency = c.currency
           WHERE c.window_content_id IN {values}""",
        list(content_ids),
    )
    return {content_id for content_id, *pair in rows if not set(pair).isdisjoint(account_ids)}


def settlement(tx: Tx, settlement_id: int) -> Settlement | None:
    """The settlement of that number."""
    rows = tx.query(
        """SELECT s.settlement_id, m.name, s.state, s.reason, s.created_ms, s.changed_ms
           FROM settlement s JOIN settlement_model m ON m.settlement_model_id = s.settlement_model_id
           WHERE s.settlement_id = ?""",
        (settlement_id,),
    )
    if not rows:
        return None
    contents = contents_of(tx, settlement_id)
    number, model, state, reason, created_ms, changed_ms = rows[0]
    return Settlement(
        settlement_id=number,
        settlement_model=model,
        state=state,
        reason=reason,
        created_ms=created_ms,
        changed_ms=changed_ms,
        windows=tuple(windows_of(tx, set(contents.values()), contents.keys())),
        accounts=tuple(
            SettlementAccount(
                participant_id, account_id, account_state, why, reference, high * HALF + low, Currency(currency)
            )
            for participant_id, account_id, account_state, why, reference, high, low, currency in tx.query(
                """SELECT a.participant_id, s.account_id, s.state, s.reason, s.external_reference, s.net_high,
                          s.net_low, a.currency
                   FROM settlement_account s JOIN account a ON a.account_id = s.account_id
                   WHERE s.settlement_id = ? ORDER BY a.participant_id, s.account_id""",
                (settlement_id,),
            )
        ),
    )


def settlements(tx: Tx, asked: SettlementFilter) -> list[Settlement]:
    """The settlements that a filter lets through, each with the accounts that it asks for and all of its windows."""
    where: list[tuple[str, Value]] = [
        (condition, value)
        for condition, value in (
            ("s.state = ?", asked.state),
            ("s.created_ms >= ?", asked.from_ms),
            ("s.created_ms <= ?", asked.to_ms),
        )
        if value is not None
    ]
    conditions = " AND ".join(condition for condition, _ in where) or "1 = 1"
    found: list[Settlement] = []
    for (settlement_id,) in tx.query(
        f"SELECT s.settlement_id FROM settlement s WHERE {conditions} ORDER BY s.settlement_id",
        [value for _, value in where],
    ):
        each = settlement(tx, settlement_id)
        if each is None:
            continue
        accounts = tuple(account for account in each.accounts if _account_matches(account, asked))
        if accounts and any(_window_matches(window, asked) for window in each.windows):
            found.append(msgspec.structs.replace(each, accounts=accounts))
    return found


def _account_matches(account: SettlementAccount, asked: SettlementFilter) -> bool:
    return (
        asked.currency in (None, account.currency)
        and asked.participant_id in (None, account.participant_id)
        and asked.account_id in (None, account.account_id)
    )


def _window_matches(window: Window, asked: SettlementFilter) -> bool:
    return (
        asked.settlement_window_id in (None, window.settlement_window_id)
        and (asked.window_from_ms is None or window.created_ms >= asked.window_from_ms)
        and (asked.window_to_ms is None or window.created_ms <= asked.window_to_ms)
    )
