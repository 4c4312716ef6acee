"""How much of its net debit cap a position uses: one figure, for alarms, notifications and whoever asks.

The cap is the one in force at that moment: an amount, or a share of the liquidity that follows each movement of funds
(`vuka.switch.headroom.cap`). Used is the position's value as the administrative API shows it: what the participant owes
the scheme, **reservations included**, and nothing where it is owed. Everything is compared by multiplying integers, so
that a threshold is reached to the minor unit and never by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.ledger import chart
from vuka.ledger.model import Ledger
from vuka.money import format_amount
from vuka.switch.directory import HEADROOM, SETTLEMENT, Account, Participant
from vuka.switch.headroom import cap, lookup

_MINOR_PER_HUNDREDTH: Final = 100


class CapUse(msgspec.Struct, frozen=True):
    """A position against its net debit cap, in minor units."""

    position: int
    """Positive where the participant owes the scheme."""
    cap: int
    available: int
    """What it can still send: its liquidity may leave it less than its cap does."""

    @property
    def used(self) -> int:
        """How much of the cap is used; 0 where the participant is owed."""
        return max(0, self.position)

    @property
    def used_hundredths(self) -> int | None:
        """The use in hundredths of a percent of the cap, rounded down; None of a cap of 0."""
        return self.used * 10_000 // self.cap if self.cap else None

    def reaches(self, percent: int) -> bool:
        """Whether anything is used, and at least ``percent`` of the cap. Anything is more than all of a cap of 0."""
        return self.used > 0 and self.used * 100 >= self.cap * percent


def cap_uses(ledger: Ledger, positions: Sequence[tuple[Participant, Account]]) -> list[CapUse]:
    """How much of their caps these positions use: the ledger is asked once for all of them."""
    concerned = [
        (position, participant.accounts[position.currency, HEADROOM], _liquidity(participant, position))
        for participant, position in positions
    ]
    ledger_accounts = lookup(ledger, (each for accounts in concerned for each in accounts if each is not None))
    uses: list[CapUse] = []
    for position, headroom, liquidity in concerned:
        account = ledger_accounts[position.ledger_account_id]
        value = chart.position_value(account, ledger_accounts[headroom.ledger_account_id])
        cover = 0 if liquidity is None else chart.liquidity_cover(ledger_accounts[liquidity.ledger_account_id])
        uses.append(CapUse(value, cap(position, cover), chart.available(account)))
    return uses


def _liquidity(participant: Participant, position: Account) -> Account | None:
    """The account of its liquidity, where the cap depends on it."""
    if position.liquidity_share is None:
        return None
    return participant.account(position.currency, SETTLEMENT)


def figures(position: Account, use: CapUse) -> dict[str, str]:
    """A use as it is told: amounts and percentages as people write them, by the names of the administrative API."""
    shown = {
        "limit": format_amount(use.cap),
        "position": format_amount(use.position),
        "available": format_amount(use.available),
    }
    if use.used_hundredths is not None:
        whole, hundredths = divmod(use.used_hundredths, 100)
        shown["percentageUsed"] = f"{whole}.{hundredths:02d}"
    if position.alarm_percentage is not None:
        shown["alarmPercentage"] = str(position.alarm_percentage)
    if position.liquidity_share is not None:
        shown["liquidityPercentage"] = show_share(position.liquidity_share)
    return shown


def show_share(hundredths: int) -> str:
    """A share of the liquidity, given in hundredths of a percent, as a percentage: ``1250`` as ``12.5``."""
    return format_amount(hundredths * _MINOR_PER_HUNDREDTH)
