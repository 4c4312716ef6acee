"""What a settlement asks of its bank: who pays whom how much, from which account to which.

Where participants settle with all the others together, each that owes pays the scheme's own account, and that account
pays each that is owed; the hub's own part (fees) stays there and needs no transfer. Where they settle pair by pair,
they pay each other. References are derived from the settlement and its accounts: asking again asks for the same
transfers, and a bank that has made them can tell.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from vuka.bankfiles.amounts import fits, is_exact
from vuka.bankfiles.identifiers import SCHEME_SIDE, Reference, derive_uuid
from vuka.bankfiles.model import BankAccount, Instruction, Order
from vuka.ids import HUB
from vuka.money import Currency, format_amount
from vuka.store import Tx
from vuka.switch.bank_accounts import bank_accounts
from vuka.switch.directory import Directory, SettlementModel
from vuka.switch.obligations import HALF


class Transfer(msgspec.Struct, frozen=True):
    """One transfer that the bank is to make, whether its accounts are known or not."""

    reference: Reference
    uetr: str
    debtor: str
    """The participant that pays; the hub for the scheme's own account."""
    creditor: str
    currency: Currency
    amount: int
    """Minor units, more than nothing."""

    def effect_on(self, name: str) -> int:
        """What comes into a participant's account by it; negative: leaves it."""
        return (self.amount if name == self.creditor else 0) - (self.amount if name == self.debtor else 0)


class SettlementTransfers(msgspec.Struct, frozen=True):
    """A settlement and the transfers that discharge it."""

    settlement_id: int
    model: SettlementModel
    state: str
    created_ms: int
    accounts: dict[int, tuple[str, Currency, str]]
    """Its accounts, by their numbers: whose, in which currency, and how far it is."""
    transfers: tuple[Transfer, ...]


class Unpayable(msgspec.Struct, frozen=True):
    """Why an order can't be given to a bank yet."""

    missing: tuple[tuple[str, Currency], ...]
    """Participants, and their currencies, of which no bank account is known."""
    inexact: tuple[Transfer, ...]
    """Transfers of amounts that no bank can pay: the currency has fewer digits, or the amount too many."""

    def sentences(self) -> list[str]:
        """Each reason, as operators are told it."""
        return [
            *(f"{name} has no bank account in {currency}" for name, currency in self.missing),
            *(
                f"no bank can pay {each.creditor} the {format_amount(each.amount)} {each.currency} of {each.debtor}"
                for each in self.inexact
            ),
        ]


def settlement_transfers(tx: Tx, directory: Directory, settlement_id: int) -> SettlementTransfers | None:
    """What discharges a settlement, in the order of its accounts; None where there is no such settlement."""
    rows = tx.query(
        "SELECT settlement_model_id, state, created_ms FROM settlement WHERE settlement_id = ?", (settlement_id,)
    )
    if not rows:
        return None
    ((model_id, state, created_ms),) = rows
    model = next(each for each in directory.settlement_models if each.settlement_model_id == model_id)
    accounts: dict[int, tuple[str, Currency, str]] = {}
    net: dict[int, int] = {}
    for account_id, name, currency, account_state, high, low in tx.query(
        """SELECT s.account_id, p.name, a.currency, s.state, s.net_high, s.net_low
           FROM settlement_account s JOIN account a ON a.account_id = s.account_id
           JOIN participant p ON p.participant_id = a.participant_id
           WHERE s.settlement_id = ? ORDER BY s.account_id""",
        (settlement_id,),
    ):
        accounts[account_id] = (name, currency, account_state)
        net[account_id] = high * HALF + low
    pairs = _bilateral(tx, settlement_id) if model.is_bilateral else _multilateral(net, accounts)
    transfers: list[Transfer] = []
    for (debtor, creditor), amount in pairs.items():
        reference = Reference(settlement_id, debtor, creditor)
        # The scheme and the time make it differ from that of any other hub's settlement of the same number.
        uetr = derive_uuid(directory.scheme_name, str(created_ms), str(reference))
        names = [HUB if each == SCHEME_SIDE else accounts[each][0] for each in (debtor, creditor)]
        currency = accounts[debtor or creditor][1]
        transfers.append(Transfer(reference, uetr, names[0], names[1], currency, amount))
    return SettlementTransfers(settlement_id, model, state, created_ms, accounts, tuple(transfers))


def _multilateral(net: dict[int, int], accounts: dict[int, tuple[str, Currency, str]]) -> dict[tuple[int, int], int]:
    """Who owes pays the scheme's account first, then it pays who is owed."""
    of_participants = {account_id: amount for account_id, amount in net.items() if accounts[account_id][0] != HUB}
    paying = {(each, SCHEME_SIDE): amount for each, amount in of_participants.items() if amount > 0}
    return paying | {(SCHEME_SIDE, each): -amount for each, amount in of_participants.items() if amount < 0}


def _bilateral(tx: Tx, settlement_id: int) -> dict[tuple[int, int], int]:
    return {
        (debtor, creditor): high * HALF + low
        for debtor, creditor, high, low in tx.query(
            """SELECT debtor_account_id, creditor_account_id, amount_high, amount_low FROM settlement_obligation
               WHERE settlement_id = ? ORDER BY debtor_account_id, creditor_account_id""",
            (settlement_id,),
        )
    }


def order(
    tx: Tx, of: SettlementTransfers, *, currency: str | None = None, value_date: str | None = None
) -> Order | Unpayable:
    """The order for a settlement, or its part in one currency; or everything that stands in its way.

    ``value_date``: on which day the bank is to settle; without it, the day on which the settlement was made (UTC).
    """
    known = {(each.holder, each.currency): each for each in bank_accounts(tx)}
    transfers = [each for each in of.transfers if currency in (None, each.currency)]
    parties = [(name, each.currency) for each in transfers for name in (each.debtor, each.creditor)]
    missing = tuple(each for each in dict.fromkeys(parties) if each not in known)
    inexact = tuple(
        each for each in transfers if not is_exact(each.amount, each.currency) or not fits(each.amount, each.currency)
    )
    if missing or inexact:
        return Unpayable(missing, inexact)
    made = datetime.fromtimestamp(of.created_ms // 1000, UTC)
    return Order(
        settlement_id=of.settlement_id,
        created_ms=of.created_ms,
        value_date=value_date or f"{made:%Y-%m-%d}",
        instructions=tuple(_instruction(each, known) for each in transfers),
    )


def _instruction(transfer: Transfer, known: dict[tuple[str, Currency], BankAccount]) -> Instruction:
    return Instruction(
        transfer.reference,
        transfer.uetr,
        known[transfer.debtor, transfer.currency],
        known[transfer.creditor, transfer.currency],
        transfer.amount,
    )
