"""The audit: every figure the hub shows, recomputed from its transfers alone.

The ledger's own transfers are read once, in order, and played onto empty accounts. What comes out must be what the
accounts say; what the records say of a transfer must be what the ledger did; what the API shows of a participant must
be what its payments add up to. Whatever differs is reported, one line each; nothing is repaired.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from vuka.ids import HUB, TransferId, format_uuid, ledger_id
from vuka.ledger import chart, terms
from vuka.ledger.model import (
    BATCH_MAX,
    NS_PER_S,
    Account,
    AccountFlags,
    Ledger,
    QueryFilter,
    Transfer,
    TransferFlags,
)
from vuka.money import format_amount, ledger_currency
from vuka.store import Row, Tx
from vuka.switch import settlement_audit
from vuka.switch.directory import (
    HEADROOM,
    HUB_MULTILATERAL_SETTLEMENT,
    HUB_ON_US,
    HUB_RECONCILIATION,
    POSITION,
    SETTLEMENT,
    Directory,
    read_directory,
)
from vuka.switch.headroom import cap
from vuka.switch.records import State

DIFFERENCES_MAX: Final = 1_000
"""Differences reported at most: beyond that the books are beyond reading line by line."""


class Difference(msgspec.Struct, frozen=True):
    """One figure that is not what it must be."""

    rule: str
    subject: str
    expected: str
    found: str


class Report(msgspec.Struct):
    """What an audit looked at and what it found."""

    accounts: int = 0
    ledger_transfers: int = 0
    transfers: int = 0
    positions: int = 0
    differences: list[Difference] = []

    def differs(self, rule: str, subject: str, expected: object, found: object) -> None:
        """Notes a difference, unless ``expected`` is ``found``."""
        if expected != found and len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(rule, subject, str(expected), str(found)))


class _Balance:
    """An account's balances as its transfers make them."""

    __slots__ = ("credits_pending", "credits_posted", "debits_pending", "debits_posted")

    def __init__(self) -> None:
        self.debits_pending = 0
        self.debits_posted = 0
        self.credits_pending = 0
        self.credits_posted = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Balance) and self._figures() == other._figures()

    __hash__ = None  # type: ignore[assignment]

    def _figures(self) -> tuple[int, int, int, int]:
        return (self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted)

    def __str__(self) -> str:
        names = ("debits pending", "debits posted", "credits pending", "credits posted")
        return ", ".join(f"{name} {format_amount(figure)}" for name, figure in zip(names, self._figures(), strict=True))


def audit(tx: Tx, ledger: Ledger, *, now_ms: int = 0) -> Report:
    """Recomputes everything, from one snapshot.

    A ledger elsewhere has reservations that free themselves (`vuka.ledger.tigerbeetle`): those whose time has come by
    ``now_ms`` are free, and one that has no record is no difference.
    """
    report = Report(differences=[])
    directory = read_directory(tx)
    names = _account_names(directory)
    accounts = {account.id: account for account in _accounts(ledger)}
    report.accounts = len(accounts)
    played = _play(ledger, report)
    if not ledger.shares_transaction:
        _free(played, now_ms)
    _compare_balances(report, accounts, played.balances, names)
    _compare_sides(report, accounts)
    _compare_records(tx, report, played, directory, is_of_one_commit=ledger.shares_transaction)
    effects = _compare_settlement(tx, report, played, directory)
    _compare_fees(tx, report, played, directory, is_of_one_commit=ledger.shares_transaction)
    _compare_fee_accounts(report, directory, accounts, effects)
    _compare_sums(report, accounts)
    _compare_participants(tx, report, directory, accounts, effects, _held(played))
    return report


def _account_names(directory: Directory) -> dict[int, str]:
    return {
        account.ledger_account_id: f"{participant.name} {account.currency} {account.type}"
        for participant in directory.participants.values()
        for account in participant.accounts.values()
    }


def _accounts(ledger: Ledger) -> Iterator[Account]:
    after = 0
    while True:
        page = ledger.query_accounts(QueryFilter(timestamp_min=after + 1))
        yield from (account for account in page if account.ledger != terms.LEDGER)
        if len(page) < BATCH_MAX:
            return
        after = page[-1].timestamp


def _transfers(ledger: Ledger) -> Iterator[Transfer]:
    after = 0
    while True:
        page = ledger.query_transfers(QueryFilter(timestamp_min=after + 1))
        yield from (transfer for transfer in page if transfer.ledger != terms.LEDGER)
        if len(page) < BATCH_MAX:
            return
        after = page[-1].timestamp


class _Played:
    """The ledger's transfers, played: what they make of each account, and the end of each payment."""

    def __init__(self) -> None:
        self.balances: dict[int, _Balance] = defaultdict(_Balance)
        self.pending: dict[int, Transfer] = {}
        self.posted: dict[int, tuple[int, int]] = {}
        """By pending id: what was posted, and the settlement window it was posted in."""
        self.voided: set[int] = set()
        self.orphans: set[int] = set()
        """Reservations that free themselves where nobody ends them; at last only those that no record accounts for."""
        self.returned: dict[int, int] = {}
        """By payment: what an on-us payment returned."""
        self.settled: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        """By settlement and account: debits less credits, what is reserved included."""
        self.gross: dict[int, int] = defaultdict(int)
        """By account: debits less credits of payments that settled one by one."""
        self.fees: dict[int, Transfer] = {}
        """By id."""


def _play(ledger: Ledger, report: Report) -> _Played:
    played = _Played()
    pending, posts, voids = (
        int(TransferFlags.pending),
        int(TransferFlags.post_pending_transfer),
        int(TransferFlags.void_pending_transfer),
    )
    for transfer in _transfers(ledger):
        report.ledger_transfers += 1
        _note_settlement(played, transfer)
        debit, credit = played.balances[transfer.debit_account_id], played.balances[transfer.credit_account_id]
        if transfer.flags & (posts | voids):
            reserved = played.pending.get(transfer.pending_id)
            if reserved is None or transfer.pending_id in played.posted or transfer.pending_id in played.voided:
                report.differs("a post or void ends one pending transfer", f"{transfer.id:032x}", "one", "none or two")
                continue
            debit.debits_pending -= reserved.amount
            credit.credits_pending -= reserved.amount
            if transfer.flags & voids:
                played.voided.add(transfer.pending_id)
                continue
            played.posted[transfer.pending_id] = (transfer.amount, transfer.user_data_64)
        elif transfer.flags & pending:
            played.pending[transfer.id] = transfer
            debit.debits_pending += transfer.amount
            credit.credits_pending += transfer.amount
            continue
        elif transfer.code == chart.TransferCode.ON_US_RETURN:
            played.returned[transfer.user_data_128] = transfer.amount
        debit.debits_posted += transfer.amount
        credit.credits_posted += transfer.amount
    return played


def _free(played: _Played, now_ms: int) -> None:
    """Frees the reservations whose timeout has passed."""
    for id_, transfer in played.pending.items():
        if not transfer.timeout or id_ in played.posted or id_ in played.voided:
            continue
        played.orphans.add(id_)
        if transfer.timestamp + transfer.timeout * NS_PER_S <= now_ms * 1_000_000:
            played.balances[transfer.debit_account_id].debits_pending -= transfer.amount
            played.balances[transfer.credit_account_id].credits_pending -= transfer.amount
            played.voided.add(id_)


def _note_settlement(played: _Played, transfer: Transfer) -> None:
    """What a transfer has to do with settlement and fees."""
    amount = transfer.amount
    if transfer.flags & TransferFlags.post_pending_transfer:
        # Counted when it was reserved.
        return
    if transfer.flags & TransferFlags.void_pending_transfer:
        reserved = played.pending.get(transfer.pending_id)
        if reserved is None or reserved.code != chart.TransferCode.SETTLEMENT:
            return
        transfer, amount = reserved, -reserved.amount
    if transfer.code == chart.TransferCode.SETTLEMENT:
        legs = played.settled[transfer.user_data_64]
        legs[transfer.debit_account_id] += amount
        legs[transfer.credit_account_id] -= amount
    elif transfer.code in (chart.TransferCode.GROSS_POSITION, chart.TransferCode.GROSS_LIQUIDITY):
        played.gross[transfer.debit_account_id] += amount
        played.gross[transfer.credit_account_id] -= amount
    elif transfer.code == chart.TransferCode.FEE:
        played.fees[transfer.id] = transfer


def _compare_balances(
    report: Report, accounts: dict[int, Account], played: dict[int, _Balance], names: dict[int, str]
) -> None:
    for account_id, account in accounts.items():
        found = _Balance()
        found.debits_pending, found.debits_posted = account.debits_pending, account.debits_posted
        found.credits_pending, found.credits_posted = account.credits_pending, account.credits_posted
        expected = played.get(account_id, _Balance())
        name = names.get(account_id, f"account {account_id:032x}")
        report.differs("an account is what its transfers make it", name, expected, found)
        if account.flags & AccountFlags.debits_must_not_exceed_credits:
            overdrawn = account.debits_posted + account.debits_pending > account.credits_posted
            report.differs("no account is overdrawn that must not be", name, False, overdrawn)
        if account_id not in names:
            report.differs("every ledger account belongs to a participant", name, "a participant", "nobody")
    for account_id, name in names.items():
        if account_id not in accounts:
            report.differs("every account of a participant is in the ledger", name, "there", "missing")


def _compare_sides(report: Report, accounts: dict[int, Account]) -> None:
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for account in accounts.values():
        sides = sums[account.ledger]
        sides[0] += account.debits_posted
        sides[1] += account.credits_posted
        sides[2] += account.debits_pending
        sides[3] += account.credits_pending
    for number, (debits, credits, debits_pending, credits_pending) in sums.items():
        currency = ledger_currency(number)
        report.differs("debits equal credits", currency, format_amount(debits), format_amount(credits))
        report.differs(
            "pending debits equal pending credits",
            currency,
            format_amount(debits_pending),
            format_amount(credits_pending),
        )


def _compare_records(tx: Tx, report: Report, played: _Played, directory: Directory, *, is_of_one_commit: bool) -> None:
    """What the records say of each transfer, against what the ledger did."""
    windows = {window_id for (window_id,) in tx.query("SELECT settlement_window_id FROM settlement_window")}
    seen: set[int] = set()
    after = 0
    while True:
        rows = tx.query(
            """SELECT transfer_seq, transfer_id, wire_id, kind, payer_fsp, payee_fsp, currency, amount, state,
                   settlement_window_id
               FROM transfer WHERE transfer_seq > ? ORDER BY transfer_seq LIMIT 10000""",
            (after,),
        )
        for _, transfer_id, wire_id, kind, payer_fsp, payee_fsp, currency, amount, state, window_id in rows:
            report.transfers += 1
            id_ = ledger_id(TransferId(transfer_id))
            seen.add(id_)
            if State(state) not in _UNRESERVED:
                played.orphans.discard(id_)
            if kind == "FUNDS_IN":
                continue
            subject = f"{kind} {wire_id}"
            _compare_end(report, played, subject, id_, State(state), amount)
            if kind != "PAYMENT":
                continue
            reserved = played.pending.get(id_)
            if reserved is not None:
                expected = tuple(_position(directory, name, currency) for name in (payer_fsp, payee_fsp))
                if payer_fsp == payee_fsp:
                    expected = (expected[0], chart.account_id(HUB, currency, "HUB_ON_US"))
                found = (reserved.debit_account_id, reserved.credit_account_id)
                report.differs("a payment moves between its parties' positions", subject, expected, found)
            if State(state) is State.COMMITTED:
                report.differs("a committed transfer is in a settlement window", subject, True, window_id in windows)
                posted = played.posted.get(id_)
                if posted is not None and is_of_one_commit:
                    # Elsewhere it may have been posted in a transaction that was undone, before a window was closed.
                    report.differs("ledger and record name the same window", subject, window_id, posted[1])
                if payer_fsp == payee_fsp:
                    report.differs("an on-us payment returns", subject, amount, played.returned.get(id_, 0))
        if len(rows) < 10_000:
            break
        after = rows[-1][0]
    of_settlement = {id_ for id_, each in played.pending.items() if each.code == chart.TransferCode.SETTLEMENT}
    for id_ in played.pending.keys() - seen - of_settlement - played.orphans:
        name = format_uuid(id_.to_bytes(16, "big"))
        report.differs("every reservation has its record", name, "a record", "none")


def _compare_end(report: Report, played: _Played, subject: str, id_: int, state: State, amount: int) -> None:
    # One that lost its record may be recorded later as one that was refused before it could be reserved.
    reserved = None if id_ in played.orphans else played.pending.get(id_)
    posted = played.posted.get(id_)
    found = (
        "not reserved"
        if reserved is None
        else f"posted {format_amount(posted[0])}"
        if posted is not None
        else "voided"
        if id_ in played.voided
        else f"reserved {format_amount(reserved.amount)}"
    )
    expected = {
        State.RESERVED: f"reserved {format_amount(amount)}",
        State.COMMITTED: f"posted {format_amount(amount)}",
        State.ABORTED_ERROR: "voided",
        State.EXPIRED_RESERVED: "voided",
        State.INVALID: "not reserved",
        State.EXPIRED_PREPARED: "not reserved",
    }.get(state)
    if expected is None:
        # ABORTED_REJECTED: a payment refused for want of headroom was never reserved, a withdrawal may have been.
        expected = "voided" if reserved is not None else "not reserved"
    report.differs("the ledger did what the record says", f"{subject} {state.name}", expected, found)


_UNRESERVED: Final = frozenset((State.INVALID, State.EXPIRED_PREPARED))


def _held(played: _Played) -> dict[int, int]:
    """By account: what reservations without a record take from it until they free themselves."""
    held: dict[int, int] = defaultdict(int)
    for id_ in played.orphans - played.voided:
        held[played.pending[id_].debit_account_id] += played.pending[id_].amount
    return held


def _position(directory: Directory, name: str, currency: str) -> int:
    participant = directory.get(name)
    account = participant.account(currency, POSITION) if participant is not None else None
    return account.ledger_account_id if account is not None else 0


def _compare_settlement(tx: Tx, report: Report, played: _Played, directory: Directory) -> settlement_audit.Effects:
    """What windows and settlements say, against the payments that they are made of and what the ledger did."""
    effects = settlement_audit.compare(tx, directory, report.differs)
    moved: dict[int, int] = defaultdict(int)
    for settlement_id, legs in played.settled.items():
        for account_id, amount in legs.items():
            moved[account_id] += amount
        if settlement_id in effects.committed:
            found = sorted(format_amount(amount) for amount in _hub_sides(directory, legs) if amount)
            report.differs("a committed settlement nets to zero", f"settlement {settlement_id}", [], found)
    for participant in directory.participants.values():
        for (currency, kind), account in participant.accounts.items():
            subject = f"{participant.name} {currency} {kind}"
            if participant.name != HUB or kind != HUB_MULTILATERAL_SETTLEMENT:
                report.differs(
                    "settlement has moved what its accounts say",
                    subject,
                    format_amount(effects.settled[account.account_id]),
                    format_amount(moved[account.ledger_account_id]),
                )
            if kind == POSITION:
                for each, sign in ((account, -1), (participant.accounts[currency, SETTLEMENT], 1)):
                    report.differs(
                        "what settles at once has moved the liquidity",
                        f"{participant.name} {currency} {each.type}",
                        format_amount(sign * effects.gross[account.account_id]),
                        format_amount(played.gross[each.ledger_account_id]),
                    )
    return effects


def _compare_fees(tx: Tx, report: Report, played: _Played, directory: Directory, *, is_of_one_commit: bool) -> None:
    """Each fee on record is an entry of the ledger, in its payment's window, and the ledger has no other."""
    owners = {
        account.account_id: (account.ledger_account_id, f"{account.currency} {account.type}")
        for participant in directory.participants.values()
        for account in participant.accounts.values()
    }
    names = _account_names(directory)
    unrecorded = dict(played.fees)
    for seq, number, account_type, currency, amount, debtor, creditor, window_id, *payment in _fee_rows(tx):
        transfer_id, wire_id, *end = payment
        if transfer_id is None:
            report.differs("a fee belongs to a payment", f"fee {number} of transfer {seq}", "a payment", "none")
            continue
        subject = f"fee {number} of {wire_id}"
        expected = ["PAYMENT", State.COMMITTED.name, window_id]
        report.differs("a fee belongs to a committed payment and its window", subject, expected, end)
        (debit, debit_kind), (credit, credit_kind) = (owners.get(each, (0, "nobody's")) for each in (debtor, creditor))
        kind = f"{currency} {account_type}"
        report.differs("a fee stands on accounts of its type", subject, (kind, kind), (debit_kind, credit_kind))
        entry = unrecorded.pop(chart.fee_id(TransferId(transfer_id), number), None)
        moved = "nothing"
        if entry is not None:
            entered_in = entry.user_data_64 if is_of_one_commit else window_id
            moved = _fee(names, entry.debit_account_id, entry.credit_account_id, entry.amount, entered_in)
        recorded = _fee(names, debit, credit, amount, window_id)
        report.differs("a fee is in the ledger as on record", subject, recorded, moved)
    for fee in unrecorded.values():
        subject = f"a fee of {format_uuid(fee.user_data_128.to_bytes(16, 'big'))}"
        found = _fee(names, fee.debit_account_id, fee.credit_account_id, fee.amount, fee.user_data_64)
        report.differs("every fee in the ledger is on record", subject, "nothing", found)


def _fee_rows(tx: Tx) -> Iterator[Row]:
    """Every fee, with the payment that it belongs to."""
    after = (0, 0)
    while True:
        rows = tx.query(
            """SELECT f.transfer_seq, f.fee_no, f.ledger_account_type, f.currency, f.amount, f.debtor_account_id,
                      f.creditor_account_id, f.settlement_window_id, t.transfer_id, t.wire_id, t.kind, t.state,
                      t.settlement_window_id
               FROM fee f LEFT JOIN transfer t ON t.transfer_seq = f.transfer_seq
               WHERE (f.transfer_seq, f.fee_no) > (?, ?) ORDER BY f.transfer_seq, f.fee_no LIMIT 10000""",
            after,
        )
        yield from rows
        if len(rows) < 10_000:
            return
        after = (rows[-1][0], rows[-1][1])


def _fee(names: Mapping[int, str], debit: int, credit: int, amount: int, window_id: int) -> str:
    debtor, creditor = (names.get(each, "nobody") for each in (debit, credit))
    return f"{format_amount(amount)} from {debtor} to {creditor} in window {window_id}"


def _compare_fee_accounts(
    report: Report, directory: Directory, accounts: dict[int, Account], effects: settlement_audit.Effects
) -> None:
    """Accounts that only fees and their settlement move are what these make them."""
    charged: dict[int, int] = defaultdict(int)
    for (debtor, creditor), amount in effects.fees.items():
        charged[debtor] += amount
        charged[creditor] -= amount
    for participant in directory.participants.values():
        for (currency, account_type), account in participant.accounts.items():
            found = accounts.get(account.ledger_account_id)
            if account_type in _NOT_OF_FEES or found is None:
                continue
            report.differs(
                "a fee account is what its fees and settlements add up to",
                f"{participant.name} {currency} {account_type}",
                format_amount(charged[account.account_id] + effects.settled[account.account_id]),
                format_amount(chart.debit_value(found)),
            )


def _hub_sides(directory: Directory, legs: dict[int, int]) -> list[int]:
    hub = directory.participants[HUB].accounts
    return [
        legs[account.ledger_account_id]
        for (_, kind), account in hub.items()
        if kind == HUB_MULTILATERAL_SETTLEMENT and account.ledger_account_id in legs
    ]


_NOT_OF_FEES: Final = frozenset(
    (POSITION, SETTLEMENT, HEADROOM, HUB_RECONCILIATION, HUB_MULTILATERAL_SETTLEMENT, HUB_ON_US)
)
_FUNDS: Final = frozenset((chart.AccountCode.LIQUIDITY, chart.AccountCode.RECONCILIATION))


def _compare_sums(report: Report, accounts: dict[int, Account]) -> None:
    """What participants owe is owed to others, and what they have placed the settlement bank holds."""
    owed: dict[int, int] = defaultdict(int)
    placed: dict[int, int] = defaultdict(int)
    for account in accounts.values():
        sums = placed if account.code in _FUNDS else owed
        sums[account.ledger] += account.debits_posted - account.credits_posted
    for rule, sums in (
        ("positions add up to nothing, against the hub's accounts", owed),
        ("liquidity is what the settlement bank holds", placed),
    ):
        for number, amount in sums.items():
            report.differs(rule, ledger_currency(number), "0", format_amount(amount))


# A sum of amounts may need more than 64 bits, which SQL does not have: its halves do not.
_LOW: Final = 2**32
_SUMS: Final = f"SUM(amount / {_LOW}), SUM(amount % {_LOW})"


def _compare_participants(
    tx: Tx,
    report: Report,
    directory: Directory,
    accounts: dict[int, Account],
    effects: settlement_audit.Effects,
    held: Mapping[int, int],
) -> None:
    """The figures the API shows of each participant, against what payments, settlement and funds add up to."""
    owed = {
        (name, currency): high * _LOW + low
        for name, currency, high, low in tx.query(
            f"""SELECT payer_fsp, currency, {_SUMS} FROM transfer
               WHERE kind = 'PAYMENT' AND state IN ('RESERVED', 'COMMITTED') AND payer_fsp <> payee_fsp
               GROUP BY payer_fsp, currency"""
        )
    }
    due = {
        (name, currency): high * _LOW + low
        for name, currency, high, low in tx.query(
            f"""SELECT payee_fsp, currency, {_SUMS} FROM transfer
               WHERE kind = 'PAYMENT' AND state = 'COMMITTED' AND payer_fsp <> payee_fsp
               GROUP BY payee_fsp, currency"""
        )
    }
    # What a participant has reserved to itself is owed until it is posted back.
    on_us = {
        (name, currency): high * _LOW + low
        for name, currency, high, low in tx.query(
            f"""SELECT payer_fsp, currency, {_SUMS} FROM transfer
               WHERE kind = 'PAYMENT' AND state = 'RESERVED' AND payer_fsp = payee_fsp
               GROUP BY payer_fsp, currency"""
        )
    }
    funds = defaultdict[int, int](int)
    for account_id, kind, high, low in tx.query(
        f"""SELECT m.account_id, t.kind, {_SUMS}
            FROM funds_movement m JOIN transfer t ON t.transfer_seq = m.transfer_seq
            WHERE t.state IN ('RESERVED', 'COMMITTED') GROUP BY m.account_id, t.kind"""
    ):
        funds[account_id] += (high * _LOW + low) * (1 if kind == "FUNDS_IN" else -1)
    shortfalls: dict[int, int] = dict(tx.query("SELECT account_id, amount FROM shortfall"))
    for participant in directory.participants.values():
        for (currency, account_type), position in participant.accounts.items():
            if account_type != POSITION:
                continue
            headroom = accounts.get(participant.accounts[currency, HEADROOM].ledger_account_id)
            liquidity = accounts.get(participant.accounts[currency, SETTLEMENT].ledger_account_id)
            ledger_position = accounts.get(position.ledger_account_id)
            if headroom is None or liquidity is None or ledger_position is None:
                continue
            report.positions += 1
            subject = f"{participant.name} {currency}"
            key = (participant.name, currency)
            value = owed.get(key, 0) - due.get(key, 0) + on_us.get(key, 0)
            value += effects.settled[position.account_id] - effects.gross[position.account_id]
            value += held.get(ledger_position.id, 0)
            report.differs(
                "a position is what its payments and settlements add up to",
                subject,
                format_amount(value),
                format_amount(chart.position_value(ledger_position, headroom)),
            )
            cover = chart.liquidity_cover(liquidity)
            placed = funds[participant.accounts[currency, SETTLEMENT].account_id] - effects.gross[position.account_id]
            placed -= held.get(liquidity.id, 0)
            report.differs(
                "liquidity is what its funds add up to", subject, format_amount(placed), format_amount(cover)
            )
            report.differs(
                "headroom is the smaller of net debit cap and liquidity",
                subject,
                format_amount(max(0, min(cover, cap(position, cover)))),
                format_amount(chart.granted(headroom) - shortfalls.get(position.account_id, 0)),
            )
