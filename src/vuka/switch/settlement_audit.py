"""The audit of settlement: windows against the transfers in them, settlements against the windows they are made of.

What the records say settlement has done to each account is added up here (`Effects`); `vuka.switch.audit` compares it
with what the ledger did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, TypeAlias

from vuka.money import format_amount
from vuka.store import Tx
from vuka.switch import settlements, windows
from vuka.switch.directory import POSITION, Directory
from vuka.switch.obligations import HALF, Pair, bilateral, nets, pairs, window_kinds

Differs: TypeAlias = Callable[[str, str, object, object], None]
"""Notes a difference of what is expected (third) and found (fourth) for a rule and a subject."""

_SUMS: Final = f"SUM(amount / {HALF}), SUM(amount % {HALF})"


class Effects:
    """What the records say that settlement and fees have done, in minor units."""

    def __init__(self) -> None:
        self.settled: dict[int, int] = defaultdict(int)
        """By account: what settlements have taken from it (negative: given to it)."""
        self.gross: dict[int, int] = defaultdict(int)
        """By position: what its payments have paid out of the liquidity (negative: into it), one by one."""
        self.fees: dict[Pair, int] = defaultdict(int)
        """By debtor and creditor: what fees they have run up."""
        self.committed: set[int] = set()
        """Settlements all of whose accounts are committed."""


def compare(tx: Tx, directory: Directory, differs: Differs) -> Effects:
    """Compares windows and settlements with what they are made of, and says what they have done to accounts."""
    effects = Effects()
    flows = _compare_windows(tx, directory, differs, effects)
    _compare_contents(tx, differs)
    _compare_claims(tx, differs)
    for (_, debtor, creditor, is_immediate), amount in flows.items():
        if is_immediate and debtor != creditor:
            effects.gross[debtor] += amount
            effects.gross[creditor] -= amount
    positions = _positions(directory)
    for payer, payee, currency, amount in tx.query(
        """SELECT t.payer_fsp, t.payee_fsp, t.currency, t.amount
           FROM gross_unsettled g JOIN transfer t ON t.transfer_seq = g.transfer_seq"""
    ):
        effects.gross[positions[payer, currency]] -= amount
        effects.gross[positions[payee, currency]] += amount
    _compare_settlements(tx, directory, differs, effects)
    return effects


def _positions(directory: Directory) -> dict[tuple[str, str], int]:
    return {
        (participant.name, currency): account.account_id
        for participant in directory.participants.values()
        for (currency, kind), account in participant.accounts.items()
        if kind == POSITION
    }


def _compare_windows(
    tx: Tx, directory: Directory, differs: Differs, effects: Effects
) -> dict[tuple[int, int, int, int], int]:
    """Each window holds what its transfers and fees add up to, no more and no less."""
    positions = _positions(directory)
    expected: dict[tuple[int, int, int], int] = defaultdict(int)
    for window_id, payer, payee, currency, high, low in tx.query(
        f"""SELECT COALESCE(settlement_window_id, 0), payer_fsp, payee_fsp, currency, {_SUMS} FROM transfer
            WHERE kind = 'PAYMENT' AND state = 'COMMITTED'
            GROUP BY settlement_window_id, payer_fsp, payee_fsp, currency"""
    ):
        debtor, creditor = (positions.get((name, currency), 0) for name in (payer, payee))
        expected[window_id, debtor, creditor] += high * HALF + low
    for window_id, debtor, creditor, high, low in tx.query(
        f"""SELECT settlement_window_id, debtor_account_id, creditor_account_id, {_SUMS} FROM fee
            GROUP BY settlement_window_id, debtor_account_id, creditor_account_id"""
    ):
        expected[window_id, debtor, creditor] += high * HALF + low
        effects.fees[debtor, creditor] += high * HALF + low
    flows = {
        (window_id, debtor, creditor, is_immediate): high * HALF + low
        for window_id, debtor, creditor, is_immediate, high, low in tx.query(
            """SELECT settlement_window_id, debtor_account_id, creditor_account_id, is_immediate,
                      amount_high, amount_low
               FROM window_flow"""
        )
    }
    found: dict[tuple[int, int, int], int] = defaultdict(int)
    for (window_id, debtor, creditor, _), amount in flows.items():
        found[window_id, debtor, creditor] += amount
    for key in sorted(expected.keys() | found.keys()):
        window_id, debtor, creditor = key
        differs(
            "a window holds what its transfers add up to",
            f"window {window_id}, account {debtor} to {creditor}",
            format_amount(expected[key]),
            format_amount(found[key]),
        )
    return flows


def _compare_contents(tx: Tx, differs: Differs) -> None:
    """A closed window's content is of the kinds that it holds, and gives the window its state."""
    open_windows = 0
    for window_id, state in tx.query("SELECT settlement_window_id, state FROM settlement_window"):
        subject = f"window {window_id}"
        if state == windows.OPEN:
            open_windows += 1
            continue
        rows = tx.query(
            """SELECT ledger_account_type, currency, is_immediate, state FROM window_content
               WHERE settlement_window_id = ? ORDER BY ledger_account_type, currency, is_immediate""",
            (window_id,),
        )
        kinds = [(account_type, currency, bool(is_immediate)) for account_type, currency, is_immediate, _ in rows]
        differs("a window's content is what it holds", subject, window_kinds(tx, window_id), kinds)
        differs("a window is as far as its content", subject, windows.state_of({row[3] for row in rows}), state)
    differs("one window is open", "settlement windows", 1, open_windows)


_CONTENT_STATES: Final = {
    settlements.SETTLING: frozenset((windows.PENDING_SETTLEMENT, windows.SETTLED)),
    settlements.SETTLED: frozenset((windows.SETTLED,)),
}
"""By the state of the settlement that has it: how far content may be. Before these it is PENDING_SETTLEMENT."""
_PENDING: Final = frozenset((windows.PENDING_SETTLEMENT,))
_FREE: Final = frozenset((windows.CLOSED, windows.ABORTED))


def _compare_claims(tx: Tx, differs: Differs) -> None:
    """Content is settled once: by itself, or by the one settlement that has it, and it is as far as that one."""
    claims: dict[int, list[int]] = defaultdict(list)
    states: dict[int, str] = {}
    for content_id, settlement_id, state in tx.query(
        """SELECT c.window_content_id, s.settlement_id, s.state
           FROM settlement_content c JOIN settlement s ON s.settlement_id = c.settlement_id
           WHERE s.state <> ? ORDER BY c.window_content_id, s.settlement_id""",
        (settlements.ABORTED,),
    ):
        claims[content_id].append(settlement_id)
        states[settlement_id] = state
    for content_id, window_id, account_type, currency, is_immediate, state, settlement_id in tx.query(
        """SELECT window_content_id, settlement_window_id, ledger_account_type, currency, is_immediate, state,
                  settlement_id
           FROM window_content ORDER BY window_content_id"""
    ):
        subject = f"window {window_id}, {currency} {account_type}"
        has = [] if settlement_id is None else [settlement_id]
        differs("content is settled by the one settlement that has it", subject, has, claims[content_id])
        if is_immediate:
            waits = currency in windows.unsettled_currencies(tx, window_id)
            allowed = frozenset((windows.CLOSED if waits else windows.SETTLED,))
        elif claims[content_id]:
            allowed = _CONTENT_STATES.get(states[claims[content_id][0]], _PENDING)
        else:
            allowed = _FREE
        if state not in allowed:
            differs("content is as far as what settles it", subject, " or ".join(sorted(allowed)), state)


_TAKEN: Final = frozenset((settlements.RESERVED, settlements.COMMITTED, settlements.SETTLED))
_GIVEN: Final = frozenset((settlements.COMMITTED, settlements.SETTLED))
_OVER: Final = frozenset((settlements.COMMITTED, settlements.SETTLING, settlements.SETTLED))


def _compare_settlements(tx: Tx, directory: Directory, differs: Differs, effects: Effects) -> None:
    models = {model.settlement_model_id: model for model in directory.settlement_models}
    currencies = {
        account.account_id: currency
        for participant in directory.participants.values()
        for (currency, _), account in participant.accounts.items()
    }
    for settlement_id, model_id, state in tx.query(
        "SELECT settlement_id, settlement_model_id, state FROM settlement ORDER BY settlement_id"
    ):
        model, subject = models[model_id], f"settlement {settlement_id}"
        net: dict[int, int] = {}
        states: dict[int, str] = {}
        for account_id, account_state, high, low in tx.query(
            "SELECT account_id, state, net_high, net_low FROM settlement_account WHERE settlement_id = ?",
            (settlement_id,),
        ):
            net[account_id], states[account_id] = high * HALF + low, account_state
        owed = _owed(tx, settlement_id, model.ledger_account_type)
        differs("a settlement is what its windows hold", subject, nets(owed), net)
        sums: dict[str, int] = defaultdict(int)
        for account_id, amount in net.items():
            sums[currencies[account_id]] += amount
        for currency, amount in sums.items():
            differs("a settlement nets to zero", f"{subject} {currency}", "0", format_amount(amount))
        obligations = {
            (debtor, creditor): high * HALF + low
            for debtor, creditor, high, low in tx.query(
                """SELECT debtor_account_id, creditor_account_id, amount_high, amount_low
                   FROM settlement_obligation WHERE settlement_id = ?""",
                (settlement_id,),
            )
        }
        expected = bilateral(owed, is_gross=model.is_gross) if model.is_bilateral else {}
        differs("who pays whom is what they owe each other", subject, expected, obligations)
        differs("a settlement is as far as its accounts", subject, True, _agrees(state, set(states.values())))
        if state in _OVER:
            effects.committed.add(settlement_id)
        if not model.auto_position_reset:
            continue
        paid = obligations if model.is_bilateral else {}
        taken = {account_id: -amount for account_id, amount in net.items() if amount < 0}
        given = {account_id: amount for account_id, amount in net.items() if amount > 0}
        if model.is_bilateral:
            taken, given = defaultdict(int), defaultdict(int)
            for (debtor, creditor), amount in paid.items():
                given[debtor] += amount
                taken[creditor] += amount
        for account_id, account_state in states.items():
            if account_state in _TAKEN:
                effects.settled[account_id] += taken.get(account_id, 0)
            if account_state in _GIVEN:
                effects.settled[account_id] -= given.get(account_id, 0)


def _owed(tx: Tx, settlement_id: int, account_type: str) -> dict[Pair, int]:
    """What the content that a settlement was made of holds."""
    by_currency: dict[str, list[int]] = defaultdict(list)
    for window_id, currency in tx.query(
        """SELECT c.settlement_window_id, c.currency
           FROM settlement_content s JOIN window_content c ON c.window_content_id = s.window_content_id
           WHERE s.settlement_id = ?""",
        (settlement_id,),
    ):
        by_currency[currency].append(window_id)
    owed: dict[Pair, int] = {}
    for currency, window_ids in by_currency.items():
        owed |= pairs(tx, window_ids, account_type, currency)
    return owed


def _agrees(state: str, accounts: set[str]) -> bool:
    """Whether a settlement may be in ``state`` while its accounts are in theirs."""
    allowed = {
        settlements.SETTLING: {settlements.COMMITTED, settlements.SETTLED},
        settlements.ABORTED: {settlements.ABORTED},
        settlements.SETTLED: {settlements.SETTLED},
    }.get(state)
    if allowed is not None:
        return accounts <= allowed
    following = settlements.ACCOUNT_STATES[settlements.ACCOUNT_STATES.index(state) + 1]
    return state in accounts and accounts <= {state, following}
