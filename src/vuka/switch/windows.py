"""Settlement windows: which transfers are settled together.

A transfer belongs to the window that is open in the commit that makes it COMMITTED, and to no other: the window's
number is written with the transfer, and what it adds to the window's obligations in the same commit. Closing a window
opens the next in one commit too, so whether a payment is before or after is never in doubt. Words, states and answers
are the reference's (hub reference §5.2); its PROCESSING is never seen here, for closing takes no time.

A window's content is what it holds for one type of account and one currency: that is what settlements take up, each by
its model, and from which the window has its state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from vuka.errors import ErrorCode, FspiopError
from vuka.store import Tx
from vuka.switch.obligations import window_kinds
from vuka.switch.work import Command, Outcome, Work

OPEN: Final = "OPEN"
CLOSED: Final = "CLOSED"
PENDING_SETTLEMENT: Final = "PENDING_SETTLEMENT"
SETTLED: Final = "SETTLED"
ABORTED: Final = "ABORTED"

STATES: Final = (OPEN, CLOSED, PENDING_SETTLEMENT, SETTLED, ABORTED)

# A window is as far as the content of it that is furthest behind, but one that is being settled says so.
_PRECEDENCE: Final = (PENDING_SETTLEMENT, ABORTED, CLOSED, SETTLED)

_REASONS: Final = {
    PENDING_SETTLEMENT: "Some of its content is being settled",
    ABORTED: "A settlement of its content was aborted",
    CLOSED: "Some of its content is still to be settled",
    SETTLED: "All settlement window content is SETTLED",
}

_NOTE_CHANGE: Final = """INSERT INTO settlement_change (subject, subject_id, account_id, state, reason,
                                                         external_reference, created_ms, created_by)
                         VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


class CloseWindow(Command, frozen=True, kw_only=True):
    """``POST /settlementWindows/{id}``: the window takes nothing more, the next one opens."""

    window_id: int
    reason: str
    by: str = "operator"


def close(work: Work, commands: Sequence[CloseWindow]) -> list[Outcome]:
    """Closes windows. The outcome's value is the number of the window that is open then."""
    return [close_one(work, command) for command in commands]


def close_one(work: Work, command: CloseWindow) -> Outcome:
    """Closes one window; an empty one stays open, as the reference's clients expect (3100)."""
    rows = work.tx.query("SELECT state FROM settlement_window WHERE settlement_window_id = ?", (command.window_id,))
    if not rows:
        return _refused(f"Window {command.window_id} does not exist")
    if rows[0][0] != OPEN:
        return _refused(f"Window {command.window_id} is not open")
    kinds = window_kinds(work.tx, command.window_id)
    if not kinds:
        return _refused(f"Window {command.window_id} is empty")
    unsettled = unsettled_currencies(work.tx, command.window_id)
    work.tx.run_many(
        """INSERT INTO window_content (settlement_window_id, ledger_account_type, currency, is_immediate, state,
                                       created_ms, changed_ms)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        [
            (
                command.window_id,
                account_type,
                currency,
                int(is_immediate),
                SETTLED if is_immediate and currency not in unsettled else CLOSED,
                work.now_ms,
                work.now_ms,
            )
            for account_type, currency, is_immediate in kinds
        ],
    )
    only_immediate = all(is_immediate for _, _, is_immediate in kinds)
    change_window(work, command.window_id, CLOSED, command.reason, command.by)
    if only_immediate and not unsettled:
        change_window(work, command.window_id, SETTLED, _REASONS[SETTLED], command.by)
    ((window_id,),) = work.tx.query(
        """INSERT INTO settlement_window (state, reason, created_ms, changed_ms) VALUES (?, ?, ?, ?)
           RETURNING settlement_window_id""",
        (OPEN, command.reason, work.now_ms, work.now_ms),
    )
    note_change(work, "WINDOW", window_id, OPEN, command.reason, command.by)
    work.directory_changed()
    return Outcome(value=window_id, note=f"window {command.window_id} closed, {window_id} opened")


def change_window(work: Work, window_id: int, state: str, reason: str, by: str) -> None:
    """Writes the new state of a window, and that it was so."""
    _change_windows(work, [(window_id, state, reason)], by)


def _change_windows(work: Work, changes: Sequence[tuple[int, str, str]], by: str) -> None:
    """Writes new states of windows, each with its reason."""
    work.tx.run_many(
        "UPDATE settlement_window SET state = ?, reason = ?, changed_ms = ? WHERE settlement_window_id = ?",
        [(state, reason, work.now_ms, window_id) for window_id, state, reason in changes],
    )
    work.tx.run_many(
        _NOTE_CHANGE,
        [("WINDOW", window_id, None, state, reason, None, work.now_ms, by) for window_id, state, reason in changes],
    )


def note_change(
    work: Work,
    subject: str,
    subject_id: int,
    state: str,
    reason: str,
    by: str,
    *,
    account_id: int | None = None,
    external_reference: str | None = None,
) -> None:
    """Adds to the history of a window, a settlement, or an account in one."""
    work.tx.run(_NOTE_CHANGE, (subject, subject_id, account_id, state, reason, external_reference, work.now_ms, by))


def follow_contents(work: Work, window_ids: Iterable[int], by: str, reason: str | None = None) -> None:
    """Brings closed windows to the state that their contents give them."""
    contents: dict[int, set[str]] = {window_id: set() for window_id in window_ids}
    for window_id, state in work.tx.query_in(
        "SELECT settlement_window_id, state FROM window_content WHERE settlement_window_id IN {values}", list(contents)
    ):
        contents[window_id].add(state)
    changes: list[tuple[int, str, str]] = []
    for window_id, current in sorted(
        work.tx.query_in(
            "SELECT settlement_window_id, state FROM settlement_window WHERE settlement_window_id IN {values}",
            list(contents),
        )
    ):
        wanted = state_of(contents[window_id])
        if current not in (OPEN, wanted):
            changes.append((window_id, wanted, reason or _REASONS[wanted]))
    _change_windows(work, changes, by)


def state_of(contents: Collection[str]) -> str:
    """The state that contents in these states give their window."""
    return next((state for state in _PRECEDENCE if state in contents), CLOSED)


def settle_immediate_content(work: Work, window_ids: Sequence[int]) -> None:
    """After late settlements of single payments: content none of which is left unsettled is SETTLED."""
    contents: list[tuple[int, int]] = []
    for window_id in sorted(set(window_ids)):
        unsettled = unsettled_currencies(work.tx, window_id)
        contents += (
            (content_id, window_id)
            for content_id, currency in work.tx.query(
                """SELECT window_content_id, currency FROM window_content
                   WHERE settlement_window_id = ? AND is_immediate = 1 AND state = ?""",
                (window_id, CLOSED),
            )
            if currency not in unsettled
        )
    work.tx.run_many(
        "UPDATE window_content SET state = ?, changed_ms = ? WHERE window_content_id = ?",
        [(SETTLED, work.now_ms, content_id) for content_id, _ in contents],
    )
    follow_contents(work, {window_id for _, window_id in contents}, "Hub")


def unsettled_currencies(tx: Tx, window_id: int) -> set[str]:
    """In which currencies payments of a window still wait for their payers' liquidity."""
    # CROSS JOIN keeps SQLite from looking through all transfers for the few that are left.
    return {
        currency
        for (currency,) in tx.query(
            """SELECT DISTINCT t.currency FROM gross_unsettled g CROSS JOIN transfer t
               WHERE t.transfer_seq = g.transfer_seq AND t.settlement_window_id = ?""",
            (window_id,),
        )
    }


def _refused(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))


USE_CASES: Final = ((close, CloseWindow),)
"""What is decided here."""
