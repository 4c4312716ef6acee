"""Settlements: what the closed windows hold is discharged, account by account.

A settlement takes up the content of closed windows that its model settles, nets it, and is then led through its states
by an operator, who says of each account how far the settlement bank is (hub reference §5.2):

    PENDING_SETTLEMENT → PS_TRANSFERS_RECORDED → PS_TRANSFERS_RESERVED → PS_TRANSFERS_COMMITTED (→ SETTLING) → SETTLED

Until the first account is committed it may be ABORTED: what was reserved is given back, and its windows may be settled
anew. Where the model resets positions by itself, the ledger follows the accounts: what is due *to* a participant is
taken from its position when its account is RESERVED (it can't be spent twice while the bank pays), what is due *from*
one is given back to its position when its account is COMMITTED. Both go through the hub's HUB_MULTILATERAL_SETTLEMENT
account, which is back at nothing when all accounts are committed. What settlement takes is never refused: see
`vuka.switch.headroom.make_room`. Liquidity moves with funds in and out, as the bank says.

In a bilateral model the same happens pair by pair, and who pays whom is kept (``settlement_obligation``): each
direction in full where the model is GROSS, only the difference where it is NET.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, record_id
from vuka.ledger import chart
from vuka.ledger.model import Transfer
from vuka.switch import windows
from vuka.switch.directory import HEADROOM, HUB_MULTILATERAL_SETTLEMENT, POSITION, Account, Participant, SettlementModel
from vuka.switch.headroom import (
    balances,
    create_or_raise,
    in_ledger,
    make_room,
    rebalance_all,
    recall_shortfalls,
)
from vuka.switch.notifications import AdjustmentCause, notify_adjusted, notify_settled
from vuka.switch.obligations import HALF, bilateral, halves, nets, pairs
from vuka.switch.participants import raise_net_debit_cap
from vuka.switch.work import Command, Outcome, Work

PENDING_SETTLEMENT: Final = "PENDING_SETTLEMENT"
RECORDED: Final = "PS_TRANSFERS_RECORDED"
RESERVED: Final = "PS_TRANSFERS_RESERVED"
COMMITTED: Final = "PS_TRANSFERS_COMMITTED"
SETTLING: Final = "SETTLING"
SETTLED: Final = "SETTLED"
ABORTED: Final = "ABORTED"

STATES: Final = (PENDING_SETTLEMENT, RECORDED, RESERVED, COMMITTED, SETTLING, SETTLED, ABORTED)
ACCOUNT_STATES: Final = (PENDING_SETTLEMENT, RECORDED, RESERVED, COMMITTED, SETTLED)
"""What an account may be led to, in order."""

_NEXT: Final = {
    PENDING_SETTLEMENT: RECORDED,
    RECORDED: RESERVED,
    RESERVED: COMMITTED,
    COMMITTED: SETTLED,
    SETTLING: SETTLED,
}
"""By the settlement's state: to which state its accounts may go."""

_ENTERED: Final = {
    RECORDED: "All settlement accounts are PS_TRANSFERS_RECORDED",
    RESERVED: "All settlement accounts are PS_TRANSFERS_RESERVED",
    COMMITTED: "All settlement accounts are PS_TRANSFERS_COMMITTED",
    SETTLING: "Some settlement accounts are SETTLED",
    SETTLED: "All settlement accounts are SETTLED",
}


class CreateSettlement(Command, frozen=True, kw_only=True):
    """``POST /settlements``: settles what closed windows hold, by one model."""

    settlement_model: str
    reason: str
    window_ids: tuple[int, ...]
    by: str = "operator"


class AccountUpdate(msgspec.Struct, frozen=True):
    """How far one account of a settlement is."""

    account_id: int
    state: str
    reason: str
    external_reference: str | None = None


class ParticipantUpdate(msgspec.Struct, frozen=True):
    """How far the accounts of one participant are."""

    participant_id: int
    accounts: tuple[AccountUpdate, ...]


class UpdateSettlement(Command, frozen=True, kw_only=True):
    """``PUT /settlements/{id}`` with participants: the settlement bank is a step further."""

    settlement_id: int
    participants: tuple[ParticipantUpdate, ...]
    by: str = "operator"


class AbortSettlement(Command, frozen=True, kw_only=True):
    """``PUT /settlements/{id}`` with state ABORTED: it will not be settled like this."""

    settlement_id: int
    reason: str
    external_reference: str | None = None
    by: str = "operator"


class FinaliseSettlement(Command, frozen=True, kw_only=True):
    """Leads every account of a settlement through the states that are left, to SETTLED, in one commit."""

    settlement_id: int
    reason: str
    external_reference: str | None = None
    by: str = "operator"


class AccountResult(msgspec.Struct, frozen=True):
    """What became of one `AccountUpdate`."""

    account_id: int
    state: str | None
    """How the account stands now; None where the settlement does not have it."""
    reason: str | None
    external_reference: str | None
    changed_ms: int | None
    net_amount: int | None
    """Minor units: positive where it owes."""
    currency: str | None
    error: FspiopError | None = None


class ParticipantResult(msgspec.Struct, frozen=True):
    """What became of the updates of one participant."""

    participant_id: int
    accounts: tuple[AccountResult, ...]


class SettlementUpdated(msgspec.Struct, frozen=True):
    """The value of an accepted `UpdateSettlement`."""

    settlement_id: int
    state: str
    changed_ms: int
    window_content_ids: tuple[int, ...]
    """The content that the changed accounts have a part in."""
    participants: tuple[ParticipantResult, ...]


class SettlementEnded(msgspec.Struct, frozen=True):
    """The value of an accepted `AbortSettlement` or `FinaliseSettlement`."""

    settlement_id: int
    state: str
    reason: str


class _Entry(msgspec.Struct):
    """An account in a settlement."""

    participant: Participant
    account: Account
    state: str
    reason: str
    external_reference: str | None
    net_amount: int
    changed_ms: int


class _Settlement(msgspec.Struct):
    """A settlement as this batch sees it."""

    settlement_id: int
    model: SettlementModel
    state: str
    changed_ms: int
    entries: dict[int, _Entry]
    """By account number."""


# --- create -----------------------------------------------------------------------------------------------------


def create(work: Work, commands: Sequence[CreateSettlement]) -> list[Outcome]:
    """Makes settlements. The outcome's value is the settlement's number."""
    return [create_one(work, command) for command in commands]


def create_one(work: Work, command: CreateSettlement) -> Outcome:
    """Makes one settlement of all that its model settles in these windows, and nobody settles yet."""
    model = next((each for each in work.directory.settlement_models if each.name == command.settlement_model), None)
    if model is None:
        return _refused(f"Settlement model not found: {command.settlement_model}")
    if model.is_immediate:
        return _refused("Settlement can not be created for GROSS or IMMEDIATE models")
    contents = _open_contents(work, model, command.window_ids)
    inapplicable = sorted(set(command.window_ids) - {window_id for _, window_id, _ in contents})
    if inapplicable:
        return _refused(f"Inapplicable windows {', '.join(map(str, inapplicable))}")
    ((settlement_id,),) = work.tx.query(
        """INSERT INTO settlement (settlement_model_id, state, reason, created_ms, changed_ms, created_by)
           VALUES (?, ?, ?, ?, ?, ?) RETURNING settlement_id""",
        (model.settlement_model_id, PENDING_SETTLEMENT, command.reason, work.now_ms, work.now_ms, command.by),
    )
    windows.note_change(work, "SETTLEMENT", settlement_id, PENDING_SETTLEMENT, command.reason, command.by)
    work.tx.run_many(
        "INSERT INTO settlement_content (settlement_id, window_content_id) VALUES (?, ?)",
        [(settlement_id, content_id) for content_id, _, _ in contents],
    )
    work.tx.run_many(
        "UPDATE window_content SET state = ?, settlement_id = ?, changed_ms = ? WHERE window_content_id = ?",
        [(PENDING_SETTLEMENT, settlement_id, work.now_ms, content_id) for content_id, _, _ in contents],
    )
    for currency in sorted({currency for _, _, currency in contents}):
        window_ids = [window_id for _, window_id, each in contents if each == currency]
        owed = pairs(work.tx, window_ids, model.ledger_account_type, currency)
        work.tx.run_many(
            """INSERT INTO settlement_account (settlement_id, account_id, state, reason, external_reference, net_high,
                                               net_low, created_ms, changed_ms)
               VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?)""",
            [
                (settlement_id, account_id, PENDING_SETTLEMENT, command.reason, *halves(net), work.now_ms, work.now_ms)
                for account_id, net in sorted(nets(owed).items())
            ],
        )
        if model.is_bilateral:
            work.tx.run_many(
                """INSERT INTO settlement_obligation (settlement_id, debtor_account_id, creditor_account_id,
                                                      amount_high, amount_low)
                   VALUES (?, ?, ?, ?, ?)""",
                [
                    (settlement_id, *pair, *halves(amount))
                    for pair, amount in sorted(bilateral(owed, is_gross=model.is_gross).items())
                ],
            )
    windows.follow_contents(work, command.window_ids, command.by, command.reason)
    return Outcome(value=settlement_id, note=f"settlement {settlement_id} created")


def unsettled_windows(work: Work, model: SettlementModel) -> list[int]:
    """The closed windows that hold what the model settles and nobody settles yet, the oldest first."""
    rows = work.tx.query(
        """SELECT settlement_window_id, currency FROM window_content
           WHERE ledger_account_type = ? AND is_immediate = 0 AND state IN ('CLOSED', 'ABORTED')""",
        (model.ledger_account_type,),
    )
    return sorted({window_id for window_id, currency in rows if work.directory.settles(model, currency)})


def _open_contents(work: Work, model: SettlementModel, window_ids: Sequence[int]) -> list[tuple[int, int, str]]:
    """The content of these windows that the model settles and nobody settles yet: its number, window and currency."""
    rows = work.tx.query_in(
        """SELECT c.window_content_id, c.settlement_window_id, c.currency
           FROM window_content c
           WHERE c.ledger_account_type = ? AND c.is_immediate = 0 AND c.state IN ('CLOSED', 'ABORTED')
             AND c.settlement_window_id IN {values}""",
        list(window_ids),
        (model.ledger_account_type,),
    )
    return sorted(
        (content_id, window_id, currency)
        for content_id, window_id, currency in rows
        if work.directory.settles(model, currency)
    )


# --- update -----------------------------------------------------------------------------------------------------


def update(work: Work, commands: Sequence[UpdateSettlement]) -> list[Outcome]:
    """Leads accounts of settlements on. The outcome's value is a `SettlementUpdated`."""
    return [_update(work, command) for command in commands]


def _update(work: Work, command: UpdateSettlement) -> Outcome:
    settlement = _load(work, command.settlement_id)
    if settlement is None:
        return _refused("Settlement not found")
    processed: set[int] = set()
    changed: list[_Entry] = []
    results: list[ParticipantResult] = []
    for participant in command.participants:
        answers = [
            _update_account(work, settlement, participant.participant_id, each, processed, changed, command.by)
            for each in participant.accounts
        ]
        results.append(ParticipantResult(participant.participant_id, tuple(answers)))
    content_ids = _advance(work, settlement, changed, command.by)
    value = SettlementUpdated(
        settlement.settlement_id, settlement.state, settlement.changed_ms, tuple(content_ids), tuple(results)
    )
    return Outcome(value=value, note=f"settlement {settlement.settlement_id} {settlement.state}")


def _update_account(
    work: Work,
    settlement: _Settlement,
    participant_id: int,
    asked: AccountUpdate,
    processed: set[int],
    changed: list[_Entry],
    by: str,
) -> AccountResult:
    """One account, by the reference's checks in their order: what is wrong with one is told within the answer."""
    entry = settlement.entries.get(asked.account_id)
    if entry is None:
        error = FspiopError(ErrorCode.CLIENT_ERROR, "Account not found")
        return AccountResult(asked.account_id, None, None, None, None, None, None, error)
    if entry.participant.participant_id != participant_id:
        processed.add(asked.account_id)
        error = FspiopError(ErrorCode.CLIENT_ERROR, "Participant and account mismatch")
        return AccountResult(asked.account_id, None, None, None, None, None, None, error)
    if asked.account_id in processed:
        return _result(entry, FspiopError(ErrorCode.CLIENT_ERROR, "Account already processed once"))
    if asked.state != entry.state and asked.state != _NEXT.get(settlement.state):
        return _result(entry, FspiopError(ErrorCode.CLIENT_ERROR, "State change not allowed"))
    processed.add(asked.account_id)
    if asked.state != entry.state:
        changed.append(entry)
    _write_entry(work, settlement, entry, asked.state, asked.reason, asked.external_reference, by)
    return _result(entry)


def _write_entry(
    work: Work,
    settlement: _Settlement,
    entry: _Entry,
    state: str,
    reason: str,
    external_reference: str | None,
    by: str,
) -> None:
    entry.state, entry.reason, entry.changed_ms = state, reason, work.now_ms
    entry.external_reference = external_reference
    work.tx.run(
        """UPDATE settlement_account SET state = ?, reason = ?, external_reference = ?, changed_ms = ?
           WHERE settlement_id = ? AND account_id = ?""",
        (state, reason, external_reference, work.now_ms, settlement.settlement_id, entry.account.account_id),
    )
    windows.note_change(
        work,
        "ACCOUNT",
        settlement.settlement_id,
        state,
        reason,
        by,
        account_id=entry.account.account_id,
        external_reference=external_reference,
    )


def _result(entry: _Entry, error: FspiopError | None = None) -> AccountResult:
    return AccountResult(
        entry.account.account_id,
        entry.state,
        entry.reason,
        entry.external_reference,
        entry.changed_ms,
        entry.net_amount,
        entry.account.currency,
        error,
    )


def _advance(work: Work, settlement: _Settlement, changed: Sequence[_Entry], by: str) -> list[int]:
    """What follows from accounts that have changed, all to the same state; gives the content they have a part in."""
    if not changed:
        return []
    state = changed[0].state
    if settlement.model.auto_position_reset:
        if state == RESERVED:
            _reserve(work, settlement, changed, by)
        elif state == COMMITTED:
            _commit(work, settlement, changed)
    contents = _contents(work, settlement)
    if state == SETTLED:
        _settle_contents(work, settlement, contents, by)
    _follow_accounts(work, settlement, by)
    moved = {entry.account.account_id for entry in changed}
    return sorted(content_id for content_id, (_, accounts) in contents.items() if accounts & moved)


def _follow_accounts(work: Work, settlement: _Settlement, by: str) -> None:
    """The settlement moves on when none of its accounts is behind."""
    states = {entry.state for entry in settlement.entries.values()}
    wanted = _NEXT.get(settlement.state)
    if wanted is None:
        return
    if settlement.state == SETTLING:
        behind = COMMITTED in states
    elif settlement.state == COMMITTED and states == {COMMITTED, SETTLED}:
        wanted, behind = SETTLING, False
    else:
        behind = settlement.state in states
    if not behind:
        _write_state(work, settlement, wanted, _ENTERED[wanted], by)


def _write_state(work: Work, settlement: _Settlement, state: str, reason: str, by: str) -> None:
    settlement.state, settlement.changed_ms = state, work.now_ms
    work.tx.run(
        "UPDATE settlement SET state = ?, reason = ?, changed_ms = ? WHERE settlement_id = ?",
        (state, reason, work.now_ms, settlement.settlement_id),
    )
    windows.note_change(work, "SETTLEMENT", settlement.settlement_id, state, reason, by)


def _contents(work: Work, settlement: _Settlement) -> dict[int, tuple[int, set[int]]]:
    """The content that a settlement holds: its window, and which accounts have a part in it."""
    found: dict[int, tuple[int, set[int]]] = {}
    for content_id, window_id, debtor, creditor in work.tx.query(
        """SELECT c.window_content_id, c.settlement_window_id, f.debtor_account_id, f.creditor_account_id
           FROM window_content c
           JOIN window_flow f ON f.settlement_window_id = c.settlement_window_id AND f.is_immediate = 0
           JOIN account a ON a.account_id = f.debtor_account_id
                         AND a.type = c.ledger_account_type AND a.currency = c.currency
           WHERE c.settlement_id = ? AND c.is_immediate = 0""",
        (settlement.settlement_id,),
    ):
        found.setdefault(content_id, (window_id, set()))[1].update((debtor, creditor))
    return found


def _settle_contents(work: Work, settlement: _Settlement, contents: dict[int, tuple[int, set[int]]], by: str) -> None:
    """Content all of whose accounts are SETTLED is SETTLED, and so is a window that has no other."""
    done = {account_id for account_id, entry in settlement.entries.items() if entry.state == SETTLED}
    settled = [content_id for content_id, (_, accounts) in contents.items() if accounts <= done]
    work.tx.run_many(
        "UPDATE window_content SET state = ?, changed_ms = ? WHERE window_content_id = ? AND state <> ?",
        [(SETTLED, work.now_ms, content_id, SETTLED) for content_id in settled],
    )
    windows.follow_contents(work, [contents[content_id][0] for content_id in settled], by)


# --- abort and finalise -----------------------------------------------------------------------------------------


def abort(work: Work, commands: Sequence[AbortSettlement]) -> list[Outcome]:
    """Aborts settlements none of whose accounts is committed. The outcome's value is a `SettlementEnded`."""
    return [_abort(work, command) for command in commands]


def _abort(work: Work, command: AbortSettlement) -> Outcome:
    settlement = _load(work, command.settlement_id)
    if settlement is None:
        return Outcome(error=not_found(command.settlement_id))
    if settlement.state in (COMMITTED, SETTLING, SETTLED):
        return _refused(
            f"State change is not allowed for settlement '{command.settlement_id}' in state '{settlement.state}'"
        )
    if any(entry.state == COMMITTED for entry in settlement.entries.values()):
        return _refused(
            f"At least one settlement transfer is committed for settlement '{command.settlement_id}'."
            " Aborting is not allowed."
        )
    if settlement.state != ABORTED:
        reserved = [entry for entry in settlement.entries.values() if entry.state == RESERVED]
        if settlement.model.auto_position_reset:
            _give_back(work, settlement, reserved)
        for entry in settlement.entries.values():
            reference = command.external_reference or entry.external_reference
            _write_entry(work, settlement, entry, ABORTED, command.reason, reference, command.by)
        window_ids = [
            window_id
            for (window_id,) in work.tx.query(
                """SELECT settlement_window_id FROM window_content WHERE settlement_id = ?""",
                (settlement.settlement_id,),
            )
        ]
        work.tx.run(
            "UPDATE window_content SET state = ?, settlement_id = NULL, changed_ms = ? WHERE settlement_id = ?",
            (ABORTED, work.now_ms, settlement.settlement_id),
        )
        windows.follow_contents(work, window_ids, command.by, command.reason)
    # One that is aborted already only gets another reason.
    _write_state(work, settlement, ABORTED, command.reason, command.by)
    value = SettlementEnded(settlement.settlement_id, ABORTED, command.reason)
    return Outcome(value=value, note=f"settlement {settlement.settlement_id} aborted")


def finalise(work: Work, commands: Sequence[FinaliseSettlement]) -> list[Outcome]:
    """Leads settlements to their end at once. The outcome's value is a `SettlementEnded`."""
    return [_finalise(work, command) for command in commands]


def _finalise(work: Work, command: FinaliseSettlement) -> Outcome:
    settlement = _load(work, command.settlement_id)
    if settlement is None:
        return Outcome(error=not_found(command.settlement_id))
    if settlement.state == ABORTED:
        return _refused(
            f"State change is not allowed for settlement '{command.settlement_id}' in state '{settlement.state}'"
        )
    references = dict.fromkeys(settlement.entries, command.external_reference)
    _lead_to_end(work, settlement, command.reason, references, command.by)
    value = SettlementEnded(settlement.settlement_id, SETTLED, _ENTERED[SETTLED])
    return Outcome(value=value, note=f"settlement {settlement.settlement_id} finalised")


def take_to_finalise(work: Work, settlement_id: int) -> bool:
    """Whether this transaction is the one to finalise a settlement: no other can until it ends."""
    touched = work.tx.run(
        "UPDATE settlement SET changed_ms = ? WHERE settlement_id = ? AND state NOT IN (?, ?)",
        (work.now_ms, settlement_id, ABORTED, SETTLED),
    )
    return touched == 1


def lead_to_end(
    work: Work, settlement_id: int, reason: str, references: Mapping[tuple[str, str], str], by: str
) -> None:
    """Leads a settlement that is there and not aborted to its end.

    ``references`` are the bank's, by participant and currency, where it has any.
    """
    settlement = _load(work, settlement_id)
    if settlement is None or settlement.state == ABORTED:
        raise AssertionError(f"settlement {settlement_id} can't be finalised")
    by_account = {
        account_id: references.get((entry.participant.name, entry.account.currency))
        for account_id, entry in settlement.entries.items()
    }
    _lead_to_end(work, settlement, reason, by_account, by)


def _lead_to_end(
    work: Work, settlement: _Settlement, reason: str, references: Mapping[int, str | None], by: str
) -> None:
    while settlement.state != SETTLED:
        wanted = _NEXT[settlement.state]
        behind = [entry for entry in settlement.entries.values() if entry.state != wanted]
        for entry in behind:
            # A reference that an account has already stays where there is no other.
            reference = references.get(entry.account.account_id) or entry.external_reference
            _write_entry(work, settlement, entry, wanted, reason, reference, by)
        _advance(work, settlement, behind, by)


def not_found(settlement_id: int) -> FspiopError:
    """There is no such settlement: 3100, in the reference's words."""
    return FspiopError(ErrorCode.VALIDATION_ERROR, f"Settlement with ID '{settlement_id}' not found")


# --- what the ledger does -----------------------------------------------------------------------------------------


class _Leg(msgspec.Struct, frozen=True):
    """What one account pays to, or gets from, the hub's other side of settlement."""

    entry: _Entry
    counterparty: int
    """The other account in a bilateral settlement; 0: all the others."""
    amount: int
    """Minor units: positive where it pays."""

    def parts(self, settlement_id: int) -> list[tuple[int, int]]:
        """The ledger transfers that it takes: their ids and amounts."""
        account_id, pays = self.entry.account.account_id, self.amount > 0
        return [
            (chart.settlement_leg_id(settlement_id, account_id, self.counterparty, part_no, pays=pays), part)
            for part_no, part in enumerate(chart.parts(abs(self.amount)))
        ]


def _legs(work: Work, settlement: _Settlement, entries: Iterable[_Entry]) -> list[_Leg]:
    if not settlement.model.is_bilateral:
        return [_Leg(entry, 0, entry.net_amount) for entry in entries if entry.net_amount]
    wanted = {entry.account.account_id: entry for entry in entries}
    legs: list[_Leg] = []
    for debtor, creditor, high, low in work.tx.query(
        """SELECT debtor_account_id, creditor_account_id, amount_high, amount_low FROM settlement_obligation
           WHERE settlement_id = ? ORDER BY debtor_account_id, creditor_account_id""",
        (settlement.settlement_id,),
    ):
        amount = high * HALF + low
        if debtor in wanted:
            legs.append(_Leg(wanted[debtor], creditor, amount))
        if creditor in wanted:
            legs.append(_Leg(wanted[creditor], debtor, -amount))
    return legs


def _hub_account(work: Work, currency: str) -> int:
    return work.directory.participants[HUB].accounts[currency, HUB_MULTILATERAL_SETTLEMENT].ledger_account_id


def _reserve(work: Work, settlement: _Settlement, entries: Sequence[_Entry], by: str) -> None:
    """Takes from positions what is due to their participants: it leaves by the bank now."""
    legs = [leg for leg in _legs(work, settlement, entries) if leg.amount < 0]
    due: dict[int, int] = {}
    for leg in legs:
        due[leg.entry.account.account_id] = due.get(leg.entry.account.account_id, 0) - leg.amount
    positions = [
        (settlement.entries[account_id], amount)
        for account_id, amount in due.items()
        if settlement.entries[account_id].account.type == POSITION
    ]
    taken = _taken_before(work, settlement, legs)
    if settlement.model.require_liquidity_check:
        _raise_caps(work, positions, taken, by)
    make_room(
        work,
        record_id(work.next_id()),
        [
            (_participant(work, entry), entry.account.currency, amount - taken.get(entry.account.account_id, 0))
            for entry, amount in positions
        ],
    )
    create_or_raise(
        work,
        [
            chart.settlement_leg(
                leg_id,
                settlement_id=settlement.settlement_id,
                debit=leg.entry.account.ledger_account_id,
                credit=_hub_account(work, leg.entry.account.currency),
                amount=part,
                currency=leg.entry.account.currency,
                pending=True,
            )
            for leg in legs
            for leg_id, part in leg.parts(settlement.settlement_id)
        ],
    )
    _tell(work, settlement, [settlement.entries[account_id] for account_id in due])


def _taken_before(work: Work, settlement: _Settlement, legs: Sequence[_Leg]) -> dict[int, int]:
    """By account: what a ledger elsewhere has taken of these legs in a transaction that was undone."""
    if work.ledger.shares_transaction:
        return {}
    accounts = {
        leg_id: leg.entry.account.account_id for leg in legs for leg_id, _ in leg.parts(settlement.settlement_id)
    }
    taken: dict[int, int] = {}
    for leg_id, transfer in in_ledger(work, list(accounts)).items():
        taken[accounts[leg_id]] = taken.get(accounts[leg_id], 0) + transfer.amount
    return taken


def _raise_caps(work: Work, positions: Sequence[tuple[_Entry, int]], taken: Mapping[int, int], by: str) -> None:
    """Raises net debit caps that settlement takes a position beyond, by what it takes (hub reference §5.2).

    ``taken`` is, by account, what of it is in the ledger already.
    """
    ledger = balances(
        work,
        (
            account
            for entry, _ in positions
            for account in (entry.account, entry.participant.accounts[entry.account.currency, HEADROOM])
        ),
    )
    raised: list[_Entry] = []
    for entry, amount in positions:
        position = entry.account
        if position.liquidity_share is not None or position.net_debit_cap is None:
            continue
        headroom = entry.participant.accounts[position.currency, HEADROOM]
        value = chart.position_value(ledger[position.ledger_account_id], ledger[headroom.ledger_account_id])
        if value - taken.get(position.account_id, 0) + amount > position.net_debit_cap:
            raise_net_debit_cap(work, position, amount, by)
            raised.append(entry)
    if raised:
        changed = [(_participant(work, entry), entry.account.currency) for entry in raised]
        rebalance_all(work, record_id(work.next_id()), changed)
        former = [(entry.participant.name, entry.account) for entry in raised]
        notify_adjusted(work, AdjustmentCause.SETTLEMENT, former)


def _commit(work: Work, settlement: _Settlement, entries: Sequence[_Entry]) -> None:
    """What was reserved of positions is final; what is due from their participants is given back to positions."""
    legs = _legs(work, settlement, entries)
    transfers: list[Transfer] = []
    for leg in legs:
        for leg_id, part in leg.parts(settlement.settlement_id):
            if leg.amount < 0:
                end = chart.end_settlement_leg(leg_id, part, settlement_id=settlement.settlement_id, commits=True)
                transfers.append(end)
                continue
            transfers.append(
                chart.settlement_leg(
                    leg_id,
                    settlement_id=settlement.settlement_id,
                    debit=_hub_account(work, leg.entry.account.currency),
                    credit=leg.entry.account.ledger_account_id,
                    amount=part,
                    currency=leg.entry.account.currency,
                    pending=False,
                )
            )
    create_or_raise(work, transfers)
    recall_shortfalls(work)
    payers = {leg.entry.account.account_id: leg.entry for leg in legs if leg.amount > 0}
    _tell(work, settlement, list(payers.values()))


def _give_back(work: Work, settlement: _Settlement, entries: Sequence[_Entry]) -> None:
    """Gives positions back what was reserved of them."""
    legs = [leg for leg in _legs(work, settlement, entries) if leg.amount < 0]
    create_or_raise(
        work,
        [
            chart.end_settlement_leg(leg_id, part, settlement_id=settlement.settlement_id, commits=False)
            for leg in legs
            for leg_id, part in leg.parts(settlement.settlement_id)
        ],
    )
    recall_shortfalls(work)
    receivers = {leg.entry.account.account_id: leg.entry for leg in legs}
    _tell(work, settlement, list(receivers.values()))


def _tell(work: Work, settlement: _Settlement, entries: Sequence[_Entry]) -> None:
    """Notes when accounts changed, and has participants told of positions that settlement has moved."""
    work.tx.run_many(
        "UPDATE account SET changed_ms = ? WHERE account_id = ?",
        [(work.now_ms, entry.account.account_id) for entry in entries],
    )
    moved = [(_participant(work, entry), entry.account) for entry in entries if entry.account.type == POSITION]
    # As they are now: this settlement may have raised their caps.
    positions = [(owner, owner.accounts[account.currency, POSITION]) for owner, account in moved]
    notify_settled(work, settlement.settlement_id, positions)


def _participant(work: Work, entry: _Entry) -> Participant:
    """As it is now: its limits may have changed since the settlement was read."""
    return work.directory.participants[entry.participant.name]


# --- reading ----------------------------------------------------------------------------------------------------


def _load(work: Work, settlement_id: int) -> _Settlement | None:
    rows = work.tx.query(
        "SELECT settlement_model_id, state, changed_ms FROM settlement WHERE settlement_id = ?", (settlement_id,)
    )
    if not rows:
        return None
    model_id, state, changed_ms = rows[0]
    model = next(each for each in work.directory.settlement_models if each.settlement_model_id == model_id)
    owners = {
        account.account_id: (participant, account)
        for participant in work.directory.participants.values()
        for account in participant.accounts.values()
    }
    entries = {
        account_id: _Entry(*owners[account_id], entry_state, reason, reference, high * HALF + low, entry_changed_ms)
        for account_id, entry_state, reason, reference, high, low, entry_changed_ms in work.tx.query(
            """SELECT account_id, state, reason, external_reference, net_high, net_low, changed_ms
               FROM settlement_account WHERE settlement_id = ? ORDER BY account_id""",
            (settlement_id,),
        )
    }
    return _Settlement(settlement_id, model, state, changed_ms, entries)


def _refused(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))


USE_CASES: Final = (
    (create, CreateSettlement),
    (update, UpdateSettlement),
    (abort, AbortSettlement),
    (finalise, FinaliseSettlement),
)
"""Each function with the commands that it decides."""
