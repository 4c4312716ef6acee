"""Figures: what participants have, owe and may do, as the administrative API shows it.

Reading only, from one snapshot. Amounts are minor units in the reference's signs: a position is positive where the
participant owes the scheme, every other account is debits − credits, so that liquidity is negative when funded.
Accounts that only the hub's own books have (`INTERNAL_ACCOUNT_TYPES`) are never shown. What is not there is None;
which error that is, the API decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from vuka.ids import FspId, TransferId
from vuka.ledger import chart
from vuka.ledger.model import Account as LedgerAccount
from vuka.ledger.model import Ledger
from vuka.money import Currency
from vuka.store import Row, Tx
from vuka.switch import directory
from vuka.switch.directory import (
    HEADROOM,
    HUB_MULTILATERAL_SETTLEMENT,
    INTERNAL_ACCOUNT_TYPES,
    POSITION,
    SETTLEMENT,
    Account,
    Directory,
    Participant,
    SettlementModel,
)
from vuka.switch.fees import ChargedFee, fees_of
from vuka.switch.headroom import cap
from vuka.switch.records import State


class OwnedAccount(msgspec.Struct, frozen=True):
    """One account of a participant, without its balance."""

    account_id: int
    type: str
    currency: Currency
    is_active: bool
    created_ms: int
    created_by: str


class ParticipantDetails(msgspec.Struct, frozen=True):
    """A participant and its accounts."""

    name: FspId
    participant_id: int
    is_active: bool
    is_proxy: bool
    fspiop_version: str | None
    created_ms: int
    accounts: tuple[OwnedAccount, ...]


class AccountFigures(msgspec.Struct, frozen=True):
    """An account and its balance."""

    account_id: int
    type: str
    currency: Currency
    is_active: bool
    value: int
    """Minor units; reservations are in it."""
    reserved_value: int
    """Always 0: like the reference at rest, a reservation is part of `value` from the moment it is made."""
    changed_ms: int


class Limit(msgspec.Struct, frozen=True):
    """A net debit cap in force."""

    name: FspId
    currency: Currency
    type: str
    value: int
    """Minor units; what it comes to at present where it is a share of the liquidity."""
    alarm_percentage: int
    liquidity_share: int | None = None
    """In hundredths of a percent."""


class StateChange(msgspec.Struct, frozen=True):
    """One step in the history of a transfer."""

    state: str
    reason: str | None
    created_ms: int


class FundsMovement(msgspec.Struct, frozen=True):
    """What an operator said of a movement of funds."""

    account_id: int
    action: str
    reason: str
    external_reference: str
    created_by: str


class TransferDetails(msgspec.Struct, frozen=True):
    """A transfer of any kind, with its history."""

    transfer_id: TransferId
    wire_id: str
    kind: str
    payer_fsp: FspId
    payee_fsp: FspId
    currency: Currency
    amount: int
    """Minor units."""
    state: State
    condition: str | None
    fulfilment: str | None
    error_code: str | None
    error_description: str | None
    settlement_window_id: int | None
    expires_ms: int
    created_ms: int
    completed_ms: int | None
    history: tuple[StateChange, ...]
    funds: FundsMovement | None
    fees: tuple[ChargedFee, ...]


def participants(tx: Tx, *, proxies_only: bool = False) -> list[ParticipantDetails]:
    """Every participant, the hub first."""
    rows = tx.query(
        """SELECT participant_id, name, is_active, is_proxy, fspiop_version, created_ms FROM participant
           WHERE is_proxy >= ? ORDER BY participant_id""",
        (int(proxies_only),),
    )
    accounts: dict[int, list[OwnedAccount]] = {}
    for participant_id, *account in tx.query(
        """SELECT participant_id, account_id, type, currency, is_active, created_ms, created_by FROM account
           ORDER BY account_id"""
    ):
        owned = _owned_account(account)
        if owned.type not in INTERNAL_ACCOUNT_TYPES:
            accounts.setdefault(participant_id, []).append(owned)
    return [_participant(row, accounts.get(row[0], ())) for row in rows]


def participant(tx: Tx, name: str) -> ParticipantDetails | None:
    """The participant of that name."""
    rows = tx.query(
        """SELECT participant_id, name, is_active, is_proxy, fspiop_version, created_ms FROM participant
           WHERE name = ?""",
        (name,),
    )
    if not rows:
        return None
    owned = [
        _owned_account(account)
        for account in tx.query(
            """SELECT account_id, type, currency, is_active, created_ms, created_by FROM account
               WHERE participant_id = ? ORDER BY account_id""",
            (rows[0][0],),
        )
    ]
    return _participant(rows[0], [account for account in owned if account.type not in INTERNAL_ACCOUNT_TYPES])


def _participant(row: Row, accounts: Iterable[OwnedAccount]) -> ParticipantDetails:
    participant_id, name, is_active, is_proxy, fspiop_version, created_ms = row
    return ParticipantDetails(
        name=FspId(name),
        participant_id=participant_id,
        is_active=bool(is_active),
        is_proxy=bool(is_proxy),
        fspiop_version=fspiop_version,
        created_ms=created_ms,
        accounts=tuple(accounts),
    )


def _owned_account(row: Sequence[Any]) -> OwnedAccount:
    account_id, account_type, currency, is_active, created_ms, created_by = row
    return OwnedAccount(account_id, account_type, Currency(currency), bool(is_active), created_ms, created_by)


def accounts(tx: Tx, ledger: Ledger, of: Participant) -> list[AccountFigures]:
    """Every account of a participant with its balance."""
    owned = sorted(of.accounts.values(), key=lambda account: account.account_id)
    balances = {each.id: each for each in ledger.lookup_accounts([account.ledger_account_id for account in owned])}
    changed: dict[int, int] = dict(
        tx.query("SELECT account_id, changed_ms FROM account WHERE participant_id = ?", (of.participant_id,))
    )
    return [
        AccountFigures(
            account_id=account.account_id,
            type=account.type,
            currency=account.currency,
            is_active=account.is_active,
            value=_value(of, account, balances),
            reserved_value=0,
            changed_ms=changed[account.account_id],
        )
        for account in owned
        if account.type not in INTERNAL_ACCOUNT_TYPES
    ]


def _value(of: Participant, account: Account, balances: dict[int, LedgerAccount]) -> int:
    balance = balances[account.ledger_account_id]
    if account.type == HUB_MULTILATERAL_SETTLEMENT:
        return chart.settlement_value(balance)
    if account.type != POSITION:
        return chart.debit_value(balance)
    headroom = of.accounts[account.currency, HEADROOM]
    return chart.position_value(balance, balances[headroom.ledger_account_id])


def positions(tx: Tx, ledger: Ledger, of: Participant) -> list[AccountFigures]:
    """Its positions that are active, one for each currency."""
    return [each for each in accounts(tx, ledger, of) if each.type == POSITION and each.is_active]


def limits(
    tx: Tx,
    ledger: Ledger,
    directory: Directory,
    *,
    name: str | None = None,
    currency: str | None = None,
    limit_type: str | None = None,
) -> list[Limit]:
    """The limits in force, those of inactive positions left out unless one participant's currency is asked for."""
    rows = tx.query(
        """SELECT account_id, type, alarm_percentage, liquidity_share FROM participant_limit
           WHERE is_active = 1 ORDER BY type"""
    )
    by_account: dict[int, list[tuple[str, int, int | None]]] = {}
    for account_id, *limit in rows:
        by_account.setdefault(account_id, []).append((limit[0], limit[1], limit[2]))
    asked = directory.participants.values() if name is None else filter(None, [directory.get(name)])
    exact = name is not None and currency is not None
    found: list[Limit] = []
    for each in asked:
        if name is None and not each.is_active:
            continue
        for account in sorted(each.accounts.values(), key=lambda account: account.currency):
            if currency not in (None, account.currency) or not (account.is_active or exact):
                continue
            found += (
                Limit(each.name, account.currency, kind, _cap(ledger, each, account), alarm_percentage, share)
                for kind, alarm_percentage, share in by_account.get(account.account_id, ())
                if limit_type in (None, kind)
            )
    return found


def _cap(ledger: Ledger, of: Participant, position: Account) -> int:
    """The net debit cap in force; liquidity is looked up only where it matters."""
    cover = 0
    if position.liquidity_share is not None:
        (liquidity,) = ledger.lookup_accounts([of.accounts[position.currency, SETTLEMENT].ledger_account_id])
        cover = chart.liquidity_cover(liquidity)
    return cap(position, cover)


def settlement_models(tx: Tx, name: str | None = None) -> list[SettlementModel]:
    """The settlement models, or the one of that name."""
    return [model for model in directory.settlement_models(tx) if name in (None, model.name)]


def ilp_packet(tx: Tx, transfer_id: TransferId) -> str | None:
    """The ILP packet of a payment, as its payer sent it; None where there is no such payment."""
    rows = tx.query("SELECT ilp_packet FROM transfer WHERE transfer_id = ?", (transfer_id,))
    packet: str | None = rows[0][0] if rows else None
    return packet


def transfer(tx: Tx, transfer_id: TransferId) -> TransferDetails | None:
    """One transfer, with every state it has been in."""
    rows = tx.query(
        """SELECT transfer_seq, transfer_id, wire_id, kind, payer_fsp, payee_fsp, currency, amount, state, condition,
                  fulfilment, error_code, error_description, settlement_window_id, expires_ms, created_ms, completed_ms
           FROM transfer WHERE transfer_id = ?""",
        (transfer_id,),
    )
    if not rows:
        return None
    transfer_seq, *columns = rows[0]
    history = tx.query(
        "SELECT state, reason, created_ms FROM transfer_state_change WHERE transfer_seq = ? ORDER BY step",
        (transfer_seq,),
    )
    funds = tx.query(
        """SELECT account_id, action, reason, external_reference, created_by FROM funds_movement
           WHERE transfer_seq = ?""",
        (transfer_seq,),
    )
    before, state, after = columns[:7], columns[7], columns[8:]
    steps = tuple(StateChange(*row) for row in history)
    movement = FundsMovement(*funds[0]) if funds else None
    charged = tuple(fees_of(tx, [transfer_seq]).get(transfer_seq, ()))
    values: list[Any] = [*before, State(state), *after, steps, movement, charged]
    return TransferDetails(*values)
