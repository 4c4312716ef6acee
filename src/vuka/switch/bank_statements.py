"""The settlement bank's statement: checked against a settlement, which is then finalised and recorded in one commit.

What the bank says it has moved must be what the settlement asked for; how much it says is left must be what the hub
would have: each difference is a *finding*. An ERROR stops the statement. A WARNING is for the operator to accept, by
its code and with the digest of what was shown: nothing is accepted that was not seen. (The reference's finance portal
has these validations; its business operations framework says which of them abort and which go on.)

Recording does what an operator does by hand. The settlement's accounts are led through the states that are left, so
that positions go back. Then liquidity (SETTLEMENT accounts) follows the money: what the bank took from a participant's
account leaves it as funds out, what the bank put there enters as funds in. A balance that is another than expected is
adjusted by one more movement; one that is not positive is recorded as nothing, and the participant can't send any more:
its net debit cap becomes 0 and its position inactive. Headroom follows in the same commit.

The bank's account of a participant is one, whatever is settled, so a settlement of fees moves the same liquidity.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from vuka.bankfiles.amounts import is_exact
from vuka.bankfiles.identifiers import Reference, derive_uuid, plain_account
from vuka.bankfiles.model import AccountName, AccountStatement, Entry, Fault, Statement
from vuka.errors import FspiopError
from vuka.ids import HUB, FspId, TransferId, ledger_id, parse_id
from vuka.ledger import chart
from vuka.ledger.model import BATCH_MAX, Ledger
from vuka.ledger.model import Account as LedgerAccount
from vuka.ledger.model import Transfer as LedgerTransfer
from vuka.money import AMOUNT_MAX, Currency, format_amount
from vuka.store import Tx
from vuka.switch import settlements
from vuka.switch.bank_accounts import bank_accounts
from vuka.switch.bank_orders import SettlementTransfers, Transfer, settlement_transfers
from vuka.switch.directory import POSITION, SETTLEMENT, Account, Directory
from vuka.switch.funds import BankMovement, record_bank_movements
from vuka.switch.participants import AdjustLimit, SetAccountActive, adjust_limit, set_account_active
from vuka.switch.work import Command, Outcome, Work

FILES_MAX: Final = 20
ENTRIES_MAX: Final = 20_000
"""Accounts and entries in all files of a statement together: it is checked, and processed, while payments wait."""
FINDINGS_MAX: Final = 500
"""Findings told at most: beyond that the file is beyond reading line by line."""
NAMES_MAX: Final = 10
"""Names told in one sentence."""
REFERENCE_LENGTH_MAX: Final = 50

ERROR: Final = "ERROR"
WARNING: Final = "WARNING"

SEVERITIES: Final[dict[str, str]] = {
    # The statement is not one that this settlement can be finalised by.
    "SETTLEMENT_ABORTED": ERROR,
    "SETTLEMENT_SETTLED": ERROR,
    "STATEMENT_KNOWN": ERROR,
    "SETTLEMENT_ID_MISMATCH": ERROR,
    # What it says of accounts can't be understood, or contradicts itself.
    "ACCOUNT_UNKNOWN": ERROR,
    "IDENTIFIERS_MISMATCH": ERROR,
    "ACCOUNT_TYPE_WRONG": ERROR,
    "CURRENCY_MISMATCH": ERROR,
    "ACCOUNT_TWICE": ERROR,
    "AMOUNT_INVALID": ERROR,
    "BALANCE_INVALID": ERROR,
    "STATEMENT_INCONSISTENT": ERROR,
    # What was moved is not what the settlement asked for.
    "ACCOUNT_MISSING": ERROR,
    "ACCOUNT_EXTRA": ERROR,
    "TRANSFER_MISSING": ERROR,
    "TRANSFER_UNKNOWN": ERROR,
    "AMOUNT_MISMATCH": ERROR,
    "TRANSFERS_SUM_NOT_ZERO": ERROR,
    # What can't be recorded.
    "WITHDRAWAL_RESERVED": ERROR,
    "BALANCE_TOO_LARGE": ERROR,
    "FINDINGS_TOO_MANY": ERROR,
    # What can, if the operator says so.
    "BALANCE_NOT_AS_EXPECTED": WARNING,
    "BALANCE_NOT_POSITIVE": WARNING,
    "BALANCE_MISSING": WARNING,
    "ACCOUNT_NOT_IN_SETTLEMENT": WARNING,
    "ACCOUNT_ALREADY_SETTLED": WARNING,
    "ENTRY_NOT_OF_SETTLEMENT": WARNING,
    "ENTRY_NOT_BOOKED": WARNING,
}
"""How grave each finding is, by its code."""

ACCEPTABLE: Final = tuple(code for code, severity in SEVERITIES.items() if severity == WARNING)
"""What an operator may accept."""

SETTLED_BY_BANK: Final = "SETTLEMENT"
"""A movement: what the bank moved for the settlement."""
ADJUSTED: Final = "ADJUSTMENT"
"""A movement: what makes the liquidity the balance that the bank tells."""


class StatementFile(msgspec.Struct, frozen=True):
    """A file of the bank: as it came, and what it says."""

    name: str
    content: bytes
    statement: Statement

    @property
    def digest(self) -> bytes:
        """SHA-256 of its content."""
        return hashlib.sha256(self.content).digest()

    @property
    def size(self) -> int:
        """How much there is in it to look at: accounts and entries, right or wrong."""
        return sum(1 + len(each.entries) for each in self.statement.accounts) + len(self.statement.faults)


class ImportStatement(Command, frozen=True, kw_only=True):
    """``POST /v2/settlements/{id}/statements``: finalises the settlement by what the bank says."""

    settlement_id: int
    files: tuple[StatementFile, ...]
    accepted: frozenset[str] = frozenset()
    """The codes of the warnings that the operator accepts."""
    digest: str | None = None
    """Of the check whose findings the operator has seen; needed where any is accepted."""
    by: str = "operator"


class Finding(msgspec.Struct, frozen=True):
    """Something in a statement that is not as it should be."""

    severity: str
    code: str
    message: str
    participant: str | None = None
    currency: str | None = None
    place: str | None = None
    """The file, and where in it."""
    expected: str | None = None
    found: str | None = None


class PlannedMovement(msgspec.Struct, frozen=True):
    """A movement of a participant's liquidity, as it is or would be recorded."""

    participant: str
    currency: str
    kind: str
    """`SETTLED_BY_BANK` or `ADJUSTED`."""
    amount: int
    """Minor units: positive for funds in."""
    reference: str
    """The bank's own for it, else the transfer's, else the file's name."""
    transfer_id: str
    """Under which it can be found among the hub's transfers, once it is recorded."""


class PlannedBalance(msgspec.Struct, frozen=True):
    """The liquidity of a participant before and after."""

    participant: str
    currency: str
    before: int
    after: int
    is_suspended: bool
    """Whether it can't send any more then: there is nothing left that could cover it."""


class Check(msgspec.Struct, frozen=True):
    """What a statement comes to: the value of an `ImportStatement`, processed or not."""

    settlement_id: int
    digest: str
    """Of the files, the findings and what would be recorded."""
    findings: tuple[Finding, ...]
    movements: tuple[PlannedMovement, ...]
    balances: tuple[PlannedBalance, ...]
    statement_id: int | None = None
    """The statement's number, once it is processed."""
    refusal: str | None = None
    """Why it was not processed, where that was asked for."""

    @property
    def has_errors(self) -> bool:
        """Whether anything stops it."""
        return any(each.severity == ERROR for each in self.findings)

    @property
    def warnings(self) -> frozenset[str]:
        """The codes that an operator must accept."""
        return frozenset(each.code for each in self.findings if each.severity == WARNING)


# --- checking -----------------------------------------------------------------------------------------------------


def check_statement(
    tx: Tx, ledger: Ledger, directory: Directory, settlement_id: int, files: Sequence[StatementFile]
) -> Check | FspiopError:
    """What a statement comes to, from one snapshot; changes nothing."""
    of = settlement_transfers(tx, directory, settlement_id)
    if of is None:
        return settlements.not_found(settlement_id)
    checker = _Checker(tx, ledger, directory, of, files)
    checker.run()
    return checker.result()


class _Holder(msgspec.Struct, frozen=True, order=True):
    """Whose account it is: a participant in one currency, or the hub for the scheme's own."""

    name: str
    currency: str


class _Other(msgspec.Struct, frozen=True):
    """Another settlement, of which a statement has bookings."""

    state: str
    references: frozenset[Reference]


class _Seen(msgspec.Struct):
    """What the files say of one holder's account."""

    place: str
    closing: int | None = None
    identification: str | None = None
    """How the bank calls the statement that has the balance."""
    ours: list[tuple[Entry, Transfer | None]] = []
    """Bookings of this settlement; None: of all of the holder's transfers together."""
    unrelated: list[Entry] = []
    later: int = 0
    """What bookings of settlements that are still to be finalised have moved."""


class _Told(msgspec.Struct):
    """What a statement has told, right or wrong: it needs no finding that it did not."""

    transfers: set[Reference] = set()
    totals: set[_Holder] = set()
    """Whose account it tells in total, and right. What several transfers come to proves nothing of the other sides."""


class _Checker:
    """One statement against one settlement."""

    def __init__(
        self, tx: Tx, ledger: Ledger, directory: Directory, of: SettlementTransfers, files: Sequence[StatementFile]
    ) -> None:
        self._tx = tx
        self._ledger = ledger
        self._directory = directory
        self._of = of
        self._files = files
        self._digests = [each.digest for each in files]
        self._findings: list[Finding] = []
        self._movements: list[PlannedMovement] = []
        self._balances: list[PlannedBalance] = []
        self._seen: dict[_Holder, _Seen] = {}
        self._others: dict[int, _Other | None] = {}
        self._absent: set[_Holder] = set()
        """Whose accounts the statement ought to show, and does not."""
        self._by_reference = {each.reference: each for each in of.transfers}
        self._by_uetr = {each.uetr: each.reference for each in of.transfers}
        self._transfers_of: dict[_Holder, list[Transfer]] = defaultdict(list)
        for each in of.transfers:
            for name in (each.debtor, each.creditor):
                self._transfers_of[_Holder(name, each.currency)].append(each)
        self._settled_by = {_Holder(name, currency): number for number, (name, currency, _) in of.accounts.items()}

    def run(self) -> None:
        """Finds everything that there is to find."""
        self._check_settlement()
        self._check_files()
        if any(each.code in _OVER for each in self._findings):
            return
        self._find_faults()
        self._read_accounts()
        if self._is_of_this_settlement():
            self._check_transfers()
        self._check_other_accounts()
        self._check_balances()

    def result(self) -> Check:
        """What was found, and, where nothing stops it, what would be recorded."""
        if len(self._findings) > FINDINGS_MAX:
            message = f"There are {len(self._findings)} findings: too many to be looked through one by one."
            self._find("FINDINGS_TOO_MANY", message)
        stopped = any(each.severity == ERROR for each in self._findings)
        findings = tuple(sorted(self._findings, key=lambda each: each.severity)[:FINDINGS_MAX])
        movements = () if stopped else tuple(self._movements)
        balances = () if stopped else tuple(self._balances)
        settlement_id = self._of.settlement_id
        shown = (settlement_id, self._digests, findings, movements, balances)
        digest = hashlib.sha256(msgspec.json.encode(shown)).hexdigest()
        return Check(settlement_id, digest, findings, movements, balances)

    def _find(
        self,
        code: str,
        message: str,
        holder: _Holder | None = None,
        *,
        place: str | None = None,
        expected: int | str | None = None,
        found: int | str | None = None,
    ) -> None:
        amounts = [format_amount(each) if isinstance(each, int) else each for each in (expected, found)]
        name, currency = (holder.name or None, holder.currency) if holder is not None else (None, None)
        self._findings.append(Finding(SEVERITIES[code], code, message, name, currency, place, *amounts))

    # --- the settlement and the files ---------------------------------------------------------------------------

    def _check_settlement(self) -> None:
        number, state = self._of.settlement_id, self._of.state
        if state == settlements.ABORTED:
            self._find("SETTLEMENT_ABORTED", f"Settlement {number} was aborted: its windows are to be settled anew.")
        if state == settlements.SETTLED:
            self._find("SETTLEMENT_SETTLED", f"Settlement {number} is SETTLED already.")
            return
        for name, currency, account_state in self._of.accounts.values():
            if account_state == settlements.SETTLED and name != HUB:
                self._find(
                    "ACCOUNT_ALREADY_SETTLED",
                    f"The account of {name} in {currency} was led to SETTLED before: see that its funds were not"
                    " recorded then.",
                    _Holder(name, currency),
                )

    def _check_files(self) -> None:
        known: dict[bytes, int] = dict(
            self._tx.query(
                "SELECT digest, bank_statement_id FROM bank_statement_file WHERE settlement_id = ?",
                (self._of.settlement_id,),
            )
        )
        digests: set[bytes] = set()
        for file, digest in zip(self._files, self._digests, strict=True):
            if digest in known:
                message = f"It was processed already, as statement {known[digest]}."
                self._find("STATEMENT_KNOWN", message, place=file.name)
            if digest in digests:
                self._find("STATEMENT_KNOWN", "It is given twice.", place=file.name)
            digests.add(digest)

    def _find_faults(self) -> None:
        for file in self._files:
            for fault in file.statement.faults:
                self._find_fault(file, fault)

    def _find_fault(self, file: StatementFile, fault: Fault) -> None:
        what = f"“{fault.found}” {fault.message}." if fault.found else f"It {fault.message}."
        self._find(fault.code, what, place=f"{file.name}, {fault.place}", found=fault.found or None)

    # --- whose each account is ----------------------------------------------------------------------------------

    def _read_accounts(self) -> None:
        known = {(plain_account(each.account), each.currency): each.holder for each in bank_accounts(self._tx)}
        by_number = {
            account.account_id: (participant.name, account)
            for participant in self._directory.participants.values()
            for account in participant.accounts.values()
        }
        for file in self._files:
            for statement in file.statement.accounts:
                place = f"{file.name}, {statement.place}" if statement.place else file.name
                holder = self._holder(statement, place, known, by_number)
                if holder is not None:
                    self._read_account(file, statement, place, holder)

    def _holder(
        self,
        statement: AccountStatement,
        place: str,
        known: dict[tuple[str, Currency], str],
        by_number: dict[int, tuple[FspId, Account]],
    ) -> _Holder | None:
        """Whose account a statement tells of. None, with findings, where that can't be said."""
        name, currency = statement.name, Currency(statement.currency)
        holders: list[_Holder] = []
        if name.account_id is not None:
            owner = by_number.get(name.account_id)
            if owner is None:
                self._unknown(place, f"The hub has no account {name.account_id}.", name)
                return None
            account_type, wanted = owner[1].type, self._of.model.ledger_account_type
            if account_type != wanted:
                message = f"Account {name.account_id} of {owner[0]} is not of the type that is settled."
                holder = _Holder(owner[0], owner[1].currency)
                self._find("ACCOUNT_TYPE_WRONG", message, holder, place=place, expected=wanted, found=account_type)
                return None
            currency = currency or owner[1].currency
            holders.append(_Holder(owner[0], owner[1].currency))
        if name.participant:
            participant = self._directory.get(name.participant)
            if participant is None:
                self._unknown(place, f"There is no participant {name.participant}.", name)
                return None
            if all(each != currency for each, _ in participant.accounts):
                self._unknown(place, f"{name.participant} has no accounts in “{currency}”.", name)
                return None
            if name.participant_id not in (None, participant.participant_id):
                message = f"{name.participant} has the number {participant.participant_id}."
                self._find("IDENTIFIERS_MISMATCH", message, place=place, found=str(name))
                return None
            holders.append(_Holder(participant.name, currency))
        if name.account:
            of_account = known.get((name.account, currency))
            if of_account is None:
                message = f"No participant has the bank account {name.account} in “{currency}”, nor has the hub."
                self._unknown(place, message, name)
                return None
            holders.append(_Holder(of_account, currency))
        if len(set(holders)) > 1:
            listed = ", ".join(sorted({f"{each.name} in {each.currency}" for each in holders}))
            message = f"What names the account means different ones: {listed}."
            self._find("IDENTIFIERS_MISMATCH", message, place=place, found=str(name))
            return None
        # Where nothing names it, the reader of the file has said so.
        return holders[0] if holders else None

    def _unknown(self, place: str, message: str, name: AccountName) -> None:
        self._find("ACCOUNT_UNKNOWN", message, place=place, found=str(name))

    def _read_account(self, file: StatementFile, statement: AccountStatement, place: str, holder: _Holder) -> None:
        seen = self._seen.setdefault(holder, _Seen(place))
        if statement.closing is not None:
            if seen.closing not in (None, statement.closing):
                message = f"The account of {holder.name} stands there twice, with different balances."
                self._find(
                    "ACCOUNT_TWICE", message, holder, place=place, expected=seen.closing, found=statement.closing
                )
            seen.closing, seen.identification = statement.closing, file.statement.identification or file.name
            if not is_exact(statement.closing, holder.currency):
                message = f"{holder.currency} has fewer decimals than the balance of {holder.name}."
                self._find("BALANCE_INVALID", message, holder, place=place, found=statement.closing)
        for entry in statement.entries:
            self._read_entry(seen, holder, entry, f"{file.name}, {entry.place}")

    # --- of which settlement each booking is --------------------------------------------------------------------

    def _read_entry(self, seen: _Seen, holder: _Holder, entry: Entry, place: str) -> None:
        references = entry.references or tuple(filter(None, [self._by_uetr.get(entry.uetr or "")]))
        if len(references) > 1:
            found = ", ".join(map(str, references))
            message = "The entry names several transfers, so it can't be said which of them it is."
            self._find("IDENTIFIERS_MISMATCH", message, holder, place=place, found=found)
            return
        reference = references[0] if references else None
        settlement_id = reference.settlement_id if reference is not None else entry.settlement_id
        if settlement_id != self._of.settlement_id:
            if entry.is_booked:
                self._read_other(seen, entry, settlement_id, reference)
            return
        if not is_exact(entry.amount, holder.currency):
            message = f"{holder.currency} has fewer decimals than the amount."
            self._find("AMOUNT_INVALID", message, holder, place=place, found=entry.amount)
            return
        if not entry.is_booked:
            message = "The bank shows the entry, but has not booked it: it does not count."
            self._find("ENTRY_NOT_BOOKED", message, holder, place=place, found=entry.amount)
            return
        transfer = None
        if reference is not None:
            transfer = self._by_reference.get(reference)
            if transfer is None or transfer.currency != holder.currency or not transfer.effect_on(holder.name):
                message = f"Settlement {settlement_id} has no transfer {reference} of {holder.name}."
                self._find("TRANSFER_UNKNOWN", message, holder, place=place, found=str(reference))
                return
        seen.ours.append((entry, transfer))

    def _read_other(self, seen: _Seen, entry: Entry, settlement_id: int | None, reference: Reference | None) -> None:
        """A booking that is not of this settlement; the balance has it all the same."""
        other = self._other(settlement_id) if settlement_id is not None else None
        if other is None or other.state == settlements.ABORTED:
            seen.unrelated.append(entry)
        elif other.state == settlements.SETTLED:
            # It is recorded, and in what the hub expects.
            return
        elif reference is None or reference in other.references:
            seen.later += entry.amount
        else:
            seen.unrelated.append(entry)

    def _other(self, settlement_id: int) -> _Other | None:
        if settlement_id not in self._others:
            found = settlement_transfers(self._tx, self._directory, settlement_id)
            references = frozenset(each.reference for each in found.transfers) if found is not None else frozenset()
            self._others[settlement_id] = _Other(found.state, references) if found is not None else None
        return self._others[settlement_id]

    def _is_of_this_settlement(self) -> bool:
        """Whether the statement tells of this settlement at all."""
        if any(seen.ours for seen in self._seen.values()) or not (self._of.transfers or self._others):
            return True
        has_faults = any(each.severity == ERROR for each in self._findings)
        if has_faults and not self._others:
            # What was meant for it may be what could not be read.
            return True
        listed = ", ".join(map(str, sorted(self._others)[:NAMES_MAX]))
        message = f"Nothing in the statement is of settlement {self._of.settlement_id}."
        if listed:
            message = f"The statement is of settlement {listed}, and not of {self._of.settlement_id}."
        self._find("SETTLEMENT_ID_MISMATCH", message, expected=str(self._of.settlement_id), found=listed or None)
        return False

    # --- what was moved -----------------------------------------------------------------------------------------

    def _check_transfers(self) -> None:
        told = _Told()
        for holder, seen in self._seen.items():
            if seen.ours:
                self._check_holder(holder, seen, told)
        for transfer in self._of.transfers:
            if transfer.reference not in told.transfers:
                self._check_untold(transfer, told)
        for holder in sorted(self._absent):
            message = f"The statement does not show the account of {holder.name}, which is in the settlement."
            self._find("ACCOUNT_MISSING", message, holder, expected=self._effect(holder))
        self._check_sums()

    def _check_untold(self, transfer: Transfer, told: _Told) -> None:
        """A transfer that no entry names: the totals of its participants must stand for it."""
        scheme = _Holder(HUB, transfer.currency)
        sides = [_Holder(name, transfer.currency) for name in (transfer.debtor, transfer.creditor)]
        untold = [each for each in sides if each != scheme and each not in told.totals]
        if not untold:
            return
        shown = [each for each in untold if each in self._seen]
        if not shown and (scheme not in sides or scheme not in self._seen):
            self._absent.update(untold)
            return
        holder = (shown or untold)[0]
        message = f"The statement does not show transfer {transfer.reference} of {holder.name}."
        self._find("TRANSFER_MISSING", message, holder, expected=transfer.effect_on(holder.name))

    def _check_holder(self, holder: _Holder, seen: _Seen, told: _Told) -> None:
        """One account: transfer by transfer where the bank names them, in total where it does not."""
        if holder.name != HUB and holder not in self._settled_by:
            return
        mine = {each.reference: each.effect_on(holder.name) for each in self._transfers_of[holder]}
        if any(transfer is None for _, transfer in seen.ours):
            expected, found = sum(mine.values()), sum(entry.amount for entry, _ in seen.ours)
            if expected == found:
                told.totals.add(holder)
                return
            told.transfers.update(mine)
            message = f"The bank moved another amount on the account of {holder.name} than the settlement asks for."
            self._find("AMOUNT_MISMATCH", message, holder, place=seen.place, expected=expected, found=found)
            return
        moved: dict[Reference, int] = defaultdict(int)
        for entry, transfer in seen.ours:
            if transfer is not None:
                moved[transfer.reference] += entry.amount
        for reference, amount in moved.items():
            told.transfers.add(reference)
            if amount == mine[reference]:
                continue
            message = f"The bank moved another amount on the account of {holder.name} than transfer {reference} is of."
            self._find("AMOUNT_MISMATCH", message, holder, place=seen.place, expected=mine[reference], found=amount)

    def _effect(self, holder: _Holder) -> int:
        """What the settlement brings to a holder's account; negative: takes from it."""
        return sum(each.effect_on(holder.name) for each in self._transfers_of[holder])

    def _check_sums(self) -> None:
        """Where the statement shows every participant of a currency, what it says was moved must balance."""
        for currency in sorted({each.currency for each in self._of.transfers}):
            concerned = {
                _Holder(name, currency)
                for each in self._of.transfers
                if each.currency == currency
                for name in (each.debtor, each.creditor)
                if name != HUB
            }
            if any(not self._seen[each].ours if each in self._seen else True for each in concerned):
                continue
            expected = sum(self._effect(each) for each in concerned)
            found = sum(
                entry.amount
                for holder, seen in self._seen.items()
                if holder.currency == currency and holder.name != HUB
                for entry, _ in seen.ours
            )
            if found != expected:
                message = f"What the bank moved for participants in {currency} does not add up."
                holder = _Holder("", currency)
                self._find("TRANSFERS_SUM_NOT_ZERO", message, holder, expected=expected, found=found)

    def _check_other_accounts(self) -> None:
        """Accounts that the settlement does not have, and bookings on those it has that are of something else.

        A bank's statement may show accounts of participants that had nothing to settle: nothing is to say of them.
        """
        extra: dict[str, list[str]] = defaultdict(list)
        for holder, seen in self._seen.items():
            if holder.name == HUB:
                continue
            if holder not in self._settled_by:
                moved = sum(entry.amount for entry, _ in seen.ours)
                if not moved and seen.ours:
                    extra[holder.currency].append(holder.name)
                if not moved:
                    continue
                message = f"{holder.name} has no part in the settlement in {holder.currency}, but money was moved."
                self._find("ACCOUNT_EXTRA", message, holder, place=seen.place, found=moved)
            elif seen.unrelated:
                total = sum(each.amount for each in seen.unrelated)
                message = (
                    f"{len(seen.unrelated)} entries on the account of {holder.name} are not of this settlement; they"
                    " are not recorded by it, but are in the balance."
                )
                self._find("ENTRY_NOT_OF_SETTLEMENT", message, holder, place=seen.place, found=total)
        for currency, names in extra.items():
            message = f"The settlement in {currency} has no part of {_listed(names)}: nothing is recorded of it."
            self._find("ACCOUNT_NOT_IN_SETTLEMENT", message, _Holder(names[0] if len(names) == 1 else "", currency))

    # --- what is left -------------------------------------------------------------------------------------------

    def _check_balances(self) -> None:
        holders = [each for each in self._settled_by if each.name != HUB]
        liquidity: dict[_Holder, Account] = {}
        for holder in holders:
            account = self._directory.participants[holder.name].account(holder.currency, SETTLEMENT)
            if account is None:
                message = f"{holder.name} has no SETTLEMENT account in {holder.currency} that could be recorded on."
                self._find("ACCOUNT_UNKNOWN", message, holder)
            else:
                liquidity[holder] = account
        ledger = self._lookup(liquidity.values())
        if not self._ledger.shares_transaction:
            self._undo(liquidity, ledger)
        lacking: dict[str, list[str]] = defaultdict(list)
        for holder, account in liquidity.items():
            shows_balance = holder in self._seen and self._seen[holder].closing is not None
            if not shows_balance and holder not in self._absent:
                lacking[holder.currency].append(holder.name)
            self._movements += self._plan(holder, ledger[account.ledger_account_id])
        for currency, names in lacking.items():
            message = (
                f"The statement has no balance of {_listed(names)}: what was moved is recorded, and what is left is"
                " not compared."
            )
            self._find("BALANCE_MISSING", message, _Holder(names[0] if len(names) == 1 else "", currency))

    def _plan(self, holder: _Holder, balance: LedgerAccount) -> list[PlannedMovement]:
        """What is to be recorded of one participant, with findings about what is left."""
        seen = self._seen.get(holder) or _Seen("")
        placed = balance.credits_posted - balance.debits_posted
        expected = placed + self._effect(holder) + seen.later
        told = expected if seen.closing is None else seen.closing
        if told != expected:
            message = f"The balance of {holder.name} is not what the hub expects: its liquidity is adjusted."
            self._find("BALANCE_NOT_AS_EXPECTED", message, holder, place=seen.place, expected=expected, found=told)
        # What settlements that are still to be finalised have moved, they will record.
        after = told - seen.later
        movements = self._settling_movements(holder, seen)
        # Who had nothing placed and has nothing now, and was not moved, is as it was.
        is_suspended = after < 0 or (after == 0 and bool(placed or movements))
        if is_suspended:
            message = (
                f"Nothing is left on the account of {holder.name}: its liquidity and its net debit cap become 0, and"
                " its position inactive."
            )
            self._find("BALANCE_NOT_POSITIVE", message, holder, place=seen.place or None, found=after)
            after = 0
        if after < balance.debits_pending:
            message = (
                f"{holder.name} has withdrawals reserved beyond what is left: commit or abort them first"
                " (vuka funds commit, vuka funds abort)."
            )
            self._find("WITHDRAWAL_RESERVED", message, holder, expected=balance.debits_pending, found=after)
        adjustment = after - placed - sum(each.amount for each in movements)
        if adjustment:
            reference = seen.identification or self._files[0].name
            movements.append(self._movement(holder, ADJUSTED, adjustment, reference, ""))
        self._balances.append(
            PlannedBalance(
                holder.name,
                holder.currency,
                chart.liquidity_cover(balance),
                after - balance.debits_pending,
                is_suspended,
            )
        )
        if max(placed, after, *(abs(each.amount) for each in movements), 0) > AMOUNT_MAX:
            message = f"The account of {holder.name} would hold more than the hub can move at once."
            self._find("BALANCE_TOO_LARGE", message, holder, found=told)
        return movements

    def _settling_movements(self, holder: _Holder, seen: _Seen) -> list[PlannedMovement]:
        """What the bank moved for the settlement, transfer by transfer."""
        told = {
            transfer.reference if transfer is not None else None: entry.bank_reference
            for entry, transfer in seen.ours
            if entry.bank_reference is not None
        }
        return [
            self._movement(
                holder,
                SETTLED_BY_BANK,
                each.effect_on(holder.name),
                told.get(each.reference) or told.get(None) or str(each.reference),
                str(each.reference),
            )
            for each in self._transfers_of[holder]
        ]

    def _movement(self, holder: _Holder, kind: str, amount: int, reference: str, of: str) -> PlannedMovement:
        # The files are in it, so that nobody can occupy the id ahead of time.
        reference = reference[:REFERENCE_LENGTH_MAX]
        transfer_id = self._movement_id(holder, kind, of)
        return PlannedMovement(holder.name, holder.currency, kind, amount, reference, transfer_id)

    def _movement_id(self, holder: _Holder, kind: str, of: str) -> str:
        return derive_uuid(
            "bank statement", *self._digests, str(self._of.settlement_id), holder.name, holder.currency, kind, of
        )

    def _undo(self, liquidity: Mapping[_Holder, Account], ledger: Mapping[int, LedgerAccount]) -> None:
        """Takes the balances back to before this statement.

        A ledger elsewhere may have recorded it in a transaction that was undone. The plan must then be the same again.
        """
        accounts = {
            TransferId(parse_id(self._movement_id(holder, kind, of))): ledger[account.ledger_account_id]
            for holder, account in liquidity.items()
            for kind, of in (
                (ADJUSTED, ""),
                *((SETTLED_BY_BANK, str(each.reference)) for each in self._transfers_of[holder]),
            )
        }
        ids = [id_ for each in accounts for id_ in (ledger_id(each), chart.post_id(each))]
        moved: dict[int, LedgerTransfer] = {}
        for start in range(0, len(ids), BATCH_MAX):
            moved |= {each.id: each for each in self._ledger.lookup_transfers(ids[start : start + BATCH_MAX])}
        for transfer_id, account in accounts.items():
            movement = moved.get(ledger_id(transfer_id))
            if movement is None:
                continue
            if movement.code == chart.TransferCode.FUNDS_IN:
                account.credits_posted -= movement.amount
            elif chart.post_id(transfer_id) in moved:
                account.debits_posted -= movement.amount
            else:
                account.debits_pending -= movement.amount

    def _lookup(self, accounts: Iterable[Account]) -> dict[int, LedgerAccount]:
        wanted = [each.ledger_account_id for each in accounts]
        found: dict[int, LedgerAccount] = {}
        for start in range(0, len(wanted), BATCH_MAX):
            found |= {each.id: each for each in self._ledger.lookup_accounts(wanted[start : start + BATCH_MAX])}
        return found


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence: not all where they are many."""
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return ", ".join(names[:NAMES_MAX]) + more


_OVER: Final = frozenset(("SETTLEMENT_ABORTED", "SETTLEMENT_SETTLED", "STATEMENT_KNOWN"))
"""Where nothing else matters."""


# --- processing ---------------------------------------------------------------------------------------------------


def process(work: Work, commands: Sequence[ImportStatement]) -> list[Outcome]:
    """Finalises settlements by statements. The outcome's value is a `Check` that says what became of it."""
    return [_process(work, command) for command in commands]


def _process(work: Work, command: ImportStatement) -> Outcome:
    check = check_statement(work.tx, work.ledger, work.directory, command.settlement_id, command.files)
    if isinstance(check, FspiopError):
        return Outcome(error=check)
    refusal = _refusal(check, command)
    if refusal is not None:
        return Outcome(value=msgspec.structs.replace(check, refusal=refusal), note=f"refused: {refusal}")
    if not settlements.take_to_finalise(work, command.settlement_id):
        refusal = "Another operator finalised the settlement at the same time. Nothing was changed."
        return Outcome(value=msgspec.structs.replace(check, refusal=refusal), note=f"refused: {refusal}")
    statement_id = _insert(work, command, check)
    reason = f"Bank statement {statement_id}"
    references = {(each.participant, each.currency): each.reference for each in reversed(check.movements)}
    settlements.lead_to_end(work, command.settlement_id, reason, references, command.by)
    record_bank_movements(
        work,
        [
            BankMovement(
                name=FspId(each.participant),
                currency=Currency(each.currency),
                transfer_id=TransferId(parse_id(each.transfer_id)),
                wire_id=each.transfer_id,
                amount=each.amount,
                reason=f"{reason}, {'settlement' if each.kind == SETTLED_BY_BANK else 'adjustment'}",
                external_reference=each.reference,
            )
            for each in check.movements
        ],
        command.by,
    )
    for each in check.balances:
        if each.is_suspended:
            _suspend(work, each, command.by)
    note = f"settlement {command.settlement_id} finalised by statement {statement_id}"
    return Outcome(value=msgspec.structs.replace(check, statement_id=statement_id), note=note)


def _refusal(check: Check, command: ImportStatement) -> str | None:
    """Why a statement may not be processed as asked."""
    if check.has_errors:
        return "The statement has errors; nothing was changed."
    if command.digest not in (None, check.digest):
        return "What the hub finds now is not what was shown: look at the findings again. Nothing was changed."
    unaccepted = sorted(check.warnings - command.accepted)
    if unaccepted:
        return f"The statement has warnings that were not accepted: {', '.join(unaccepted)}. Nothing was changed."
    if check.warnings and command.digest is None:
        return "Say by the digest of the check which findings are accepted. Nothing was changed."
    return None


def _insert(work: Work, command: ImportStatement, check: Check) -> int:
    ((statement_id,),) = work.tx.query(
        """INSERT INTO bank_statement (settlement_id, findings, movements, created_ms, created_by)
           VALUES (?, ?, ?, ?, ?) RETURNING bank_statement_id""",
        (
            command.settlement_id,
            msgspec.json.encode(check.findings).decode(),
            msgspec.json.encode(check.movements).decode(),
            work.now_ms,
            command.by,
        ),
    )
    work.tx.run_many(
        """INSERT INTO bank_statement_file (bank_statement_id, file_no, settlement_id, name, identification, digest,
                                            content)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        [
            (
                statement_id,
                number,
                command.settlement_id,
                each.name,
                each.statement.identification,
                each.digest,
                each.content,
            )
            for number, each in enumerate(command.files, 1)
        ],
    )
    return int(statement_id)


def _suspend(work: Work, balance: PlannedBalance, by: str) -> None:
    """Has a participant send nothing any more in a currency: as an operator would, by its cap and its position."""
    name, currency = FspId(balance.participant), Currency(balance.currency)
    position = work.directory.participants[name].account(currency, POSITION)
    if position is None:
        return
    commands: list[Outcome] = []
    if position.net_debit_cap is not None:
        ((alarm_percentage,),) = work.tx.query(
            "SELECT alarm_percentage FROM participant_limit WHERE account_id = ? AND is_active = 1",
            (position.account_id,),
        )
        limit = AdjustLimit(name=name, currency=currency, value=0, alarm_percentage=alarm_percentage, by=by)
        commands += adjust_limit(work, [limit])
    if position.is_active:
        inactive = SetAccountActive(name=name, account_id=position.account_id, is_active=False)
        commands += set_account_active(work, [inactive])
    for outcome in commands:
        if outcome.error is not None:
            raise AssertionError(f"{name} could not be suspended in {currency}: {outcome.error}")


# --- reading ------------------------------------------------------------------------------------------------------


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a processed statement, without its content."""

    file_no: int
    name: str
    identification: str | None
    digest: bytes


class StoredStatement(msgspec.Struct, frozen=True):
    """A processed statement."""

    statement_id: int
    settlement_id: int
    created_ms: int
    created_by: str
    findings: tuple[Finding, ...]
    """The warnings that were accepted."""
    movements: tuple[PlannedMovement, ...]
    files: tuple[StoredFile, ...]


def statements(tx: Tx, settlement_id: int) -> list[StoredStatement]:
    """The statements by which a settlement was finalised: one, or none."""
    files: dict[int, list[StoredFile]] = defaultdict(list)
    for statement_id, *file in tx.query(
        """SELECT bank_statement_id, file_no, name, identification, digest FROM bank_statement_file
           WHERE settlement_id = ? ORDER BY bank_statement_id, file_no""",
        (settlement_id,),
    ):
        files[statement_id].append(StoredFile(*file))
    return [
        StoredStatement(
            statement_id,
            settlement_id,
            created_ms,
            created_by,
            msgspec.json.decode(findings, type=tuple[Finding, ...]),
            msgspec.json.decode(movements, type=tuple[PlannedMovement, ...]),
            tuple(files[statement_id]),
        )
        for statement_id, created_ms, created_by, findings, movements in tx.query(
            """SELECT bank_statement_id, created_ms, created_by, findings, movements FROM bank_statement
               WHERE settlement_id = ? ORDER BY bank_statement_id""",
            (settlement_id,),
        )
    ]


def file_content(tx: Tx, settlement_id: int, statement_id: int, file_no: int) -> tuple[str, bytes] | None:
    """A file as the bank gave it, with its name; None where there is none."""
    rows = tx.query(
        """SELECT name, content FROM bank_statement_file
           WHERE settlement_id = ? AND bank_statement_id = ? AND file_no = ?""",
        (settlement_id, statement_id, file_no),
    )
    return (rows[0][0], bytes(rows[0][1])) if rows else None


USE_CASES: Final = ((process, ImportStatement),)
"""Each function with the commands that it decides."""
