"""Obligations: what accounts owe each other by the transfers and fees of a settlement window.

They are summed for each pair of accounts in the commit of what made them, so that a window knows at any moment what it
holds: closing one costs by the pairs that paid each other and not by the payments, and no payment is in two windows or
in none. Sums may need more than 64 bits, which SQL does not have: amounts are summed in two halves (`HALF`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from vuka.store import Tx
from vuka.switch.directory import Account
from vuka.switch.work import Work

HALF: Final = 2**32

Pair: TypeAlias = tuple[int, int]
"""The accounts of a debtor and a creditor, by their numbers in the records."""


def halves(amount: int) -> tuple[int, int]:
    """An amount as SQL sums it: divided by `HALF`, downwards, and the rest."""
    return divmod(amount, HALF)


_ADD: Final = """
INSERT INTO window_flow (settlement_window_id, debtor_account_id, creditor_account_id, is_immediate,
                         amount_high, amount_low, transfers)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (settlement_window_id, debtor_account_id, creditor_account_id, is_immediate) DO UPDATE
SET amount_high = window_flow.amount_high + excluded.amount_high,
    amount_low = window_flow.amount_low + excluded.amount_low,
    transfers = window_flow.transfers + excluded.transfers"""


class Flows:
    """What one batch adds to windows."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int, int, int], list[int]] = {}

    def add(self, window_id: int, debtor: Account, creditor: Account, amount: int, *, is_immediate: bool) -> None:
        """One more transfer or fee: ``debtor`` owes ``creditor`` so many minor units more.

        ``is_immediate``: it settles by itself, and no settlement of the window takes it up.
        """
        key = (window_id, debtor.account_id, creditor.account_id, int(is_immediate))
        sums = self._sums.setdefault(key, [0, 0, 0])
        high, low = halves(amount)
        sums[0] += high
        sums[1] += low
        sums[2] += 1

    def write(self, work: Work) -> None:
        """Adds them to the tables, in one statement."""
        if not self._sums:
            return
        work.tx.run_many(
            _ADD,
            # Ordered, so that two hub processes never wait for each other's rows crosswise.
            [(*key, *sums) for key, sums in sorted(self._sums.items())],
        )
        self._sums = {}


def window_kinds(tx: Tx, window_id: int) -> list[tuple[str, str, bool]]:
    """What kinds of obligation a window holds: ledger account type, currency, and whether they settle by themselves."""
    rows = tx.query(
        """SELECT DISTINCT a.type, a.currency, f.is_immediate
           FROM window_flow f JOIN account a ON a.account_id = f.debtor_account_id
           WHERE f.settlement_window_id = ? ORDER BY a.type, a.currency, f.is_immediate""",
        (window_id,),
    )
    return [(account_type, currency, bool(is_immediate)) for account_type, currency, is_immediate in rows]


def pairs(tx: Tx, window_ids: Sequence[int], account_type: str, currency: str) -> dict[Pair, int]:
    """What is to be settled of these windows for one type of account and currency: debtor, creditor, minor units."""
    sums: dict[Pair, int] = {}
    for debtor, creditor, high, low in tx.query_in(
        """SELECT f.debtor_account_id, f.creditor_account_id, f.amount_high, f.amount_low
           FROM window_flow f JOIN account a ON a.account_id = f.debtor_account_id
           WHERE a.type = ? AND a.currency = ? AND f.is_immediate = 0 AND f.settlement_window_id IN {values}""",
        list(window_ids),
        (account_type, currency),
    ):
        sums[debtor, creditor] = sums.get((debtor, creditor), 0) + high * HALF + low
    return sums


def nets(owed: Mapping[Pair, int]) -> dict[int, int]:
    """What each account owes all the others together; negative: is owed. They add up to nothing."""
    net: dict[int, int] = {}
    for (debtor, creditor), amount in owed.items():
        net[debtor] = net.get(debtor, 0) + amount
        net[creditor] = net.get(creditor, 0) - amount
    return net


def bilateral(owed: Mapping[Pair, int], *, is_gross: bool) -> dict[Pair, int]:
    """Who pays whom, pair by pair: each direction in full, or (net) only what one owes more than the other."""
    paid: dict[Pair, int] = {}
    for (debtor, creditor), amount in owed.items():
        due = amount if is_gross else amount - owed.get((creditor, debtor), 0)
        if debtor != creditor and due > 0:
            paid[debtor, creditor] = due
    return paid


def accounts_of(owed: Iterable[Pair]) -> set[int]:
    """Every account that pays or is paid."""
    return {account_id for pair in owed for account_id in pair}
