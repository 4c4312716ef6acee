"""A whole scheme on a bench: the rules, a ledger and the tables, without engine, wire or clock.

Commands run one by one (`SchemeBench.run`) or together in one transaction (`run_many`); time stands still until it is
advanced; what the hub owes to whom is in `notices`; `audit` recomputes every balance from the transfers.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count, groupby
from typing import Any, TypeVar

from tests import stores

from vuka.config import Scheme
from vuka.engine.keys import KeySource
from vuka.fspiop.ilp import transaction_json
from vuka.ids import FspId, TransferId, ledger_id, parse_id
from vuka.ledger import chart
from vuka.ledger.model import Account as LedgerAccount
from vuka.ledger.model import Ledger, QueryFilter, Transfer, TransferFlags
from vuka.ledger.sql import SqlLedger
from vuka.money import Amount, Currency, parse_decimal
from vuka.store import Tx
from vuka.switch import (
    access,
    account_types,
    accounts,
    agreement,
    alarms,
    bank_accounts,
    bank_statements,
    bulk_quotes,
    fees,
    funds,
    fx_quotes,
    gross_settlement,
    keys,
    lookup,
    oracles,
    participants,
    quote_rules,
    quotes,
    schedules,
    scheme,
    settlement_models,
    settlements,
    transfers,
    undelivered,
    windows,
)
from vuka.switch.directory import HEADROOM, POSITION, SETTLEMENT, Directory, DirectoryCache
from vuka.switch.headroom import cap, create_or_raise, recall_shortfalls
from vuka.switch.work import Command, Notice, Outcome, Work

T = TypeVar("T")

START_MS = 1_700_000_000_000
"""2023-11-14T22:13:20Z: when the scheme is founded."""

_RULES = quote_rules.QuoteRules()
_FEES = fees.Fees(transaction_json)

_HANDLERS: dict[type[Command], Callable[..., Sequence[Outcome]]] = {
    command: handler
    for handler, *commands in (
        *participants.USE_CASES,
        *funds.USE_CASES,
        *access.USE_CASES,
        *keys.USE_CASES,
        *account_types.USE_CASES,
        *settlement_models.USE_CASES,
        *windows.USE_CASES,
        *settlements.USE_CASES,
        *bank_accounts.USE_CASES,
        *bank_statements.USE_CASES,
        *schedules.USE_CASES,
        *gross_settlement.USE_CASES,
        *alarms.USE_CASES,
        *oracles.USE_CASES,
        (lookup.register, lookup.RegisterParty),
        (lookup.remove, lookup.RemoveParty),
        (transfers.prepare, transfers.PrepareTransfer),
        (partial(transfers.fulfil, fees=_FEES), transfers.FulfilTransfer, transfers.AbortTransfer),
        (transfers.expire, transfers.ExpireTransfers),
        (transfers.get, transfers.GetTransfer),
        (transfers.tell_result, transfers.TellResult),
        *quote_rules.USE_CASES,
        *fees.USE_CASES,
        (partial(quotes.request, rules=_RULES), quotes.RequestQuote),
        (partial(fx_quotes.request, rules=_RULES), fx_quotes.RequestFxQuote),
        (fx_quotes.answer, fx_quotes.AnswerFxQuote, fx_quotes.DeclineFxQuote),
        (fx_quotes.get, fx_quotes.GetFxQuote),
        (bulk_quotes.request, bulk_quotes.RequestBulkQuote),
        (bulk_quotes.route, bulk_quotes.RouteBulkQuote),
        (quotes.answer, quotes.AnswerQuote, quotes.DeclineQuote),
        (quotes.get, quotes.GetQuote),
        (undelivered.report, undelivered.ReportUndelivered),
    )
    for command in commands
}


_QUOTE_ENDPOINTS = tuple(participants.Endpoint(kind, "http://fsp.example") for kind in agreement.ENDPOINTS.values())


def new_transfer_id() -> tuple[TransferId, str]:
    """An id nobody has used, and how it is written."""
    text = str(uuid.uuid4())
    return TransferId(parse_id(text)), text


class SchemeBench:
    """A scheme in memory. Amounts are given and told as people write them, e.g. ``"12.50"``."""

    def __init__(
        self,
        *,
        currencies: Sequence[str] = ("USD", "EUR"),
        rules: Scheme | None = None,
        ledger: Callable[[Tx, int], Ledger] = SqlLedger,
    ) -> None:
        self.ledger = ledger
        self.database = stores.fresh()
        self.rules = rules or Scheme()
        self.now_ms = START_MS
        self.notices: list[Notice] = []
        self._keys = KeySource()
        self._directories = DirectoryCache()
        self._references = count(1)
        with self.work() as work:
            scheme.found(work, "Bench", currencies)

    def close(self) -> None:
        self.database.close()

    def forget_directory(self) -> None:
        """Another database was put in its place."""
        self._directories = DirectoryCache()

    # --- running ------------------------------------------------------------------------------------------------

    @contextmanager
    def work(self) -> Iterator[Work]:
        """A transaction to run use cases in: committed at the end, its notices kept; undone when it raises."""
        with self.database.begin() as tx:
            work = Work(
                tx=tx,
                ledger=self.ledger(tx, self.now_ms * 1_000_000),
                now_ms=self.now_ms,
                scheme=self.rules,
                next_id=lambda: self._keys.next(self.now_ms),
                load_directory=self._directories.load,
            )
            yield work
        self.notices += work.notices

    def run(self, command: Command) -> Outcome:
        """One command in a transaction of its own."""
        return self.run_many([command])[0]

    def run_many(self, commands: Sequence[Command]) -> list[Outcome]:
        """Commands in one transaction, in order; neighbours of one kind go to their function together."""
        with self.work() as work:
            return self.decide(work, commands)

    def decide(self, work: Work, commands: Sequence[Command]) -> list[Outcome]:
        """Commands in a transaction that goes on."""
        outcomes: list[Outcome] = []
        for handler, together in groupby(commands, key=lambda command: _HANDLERS[type(command)]):
            outcomes += handler(work, list(together))
        return outcomes

    def accept(self, command: Command) -> Outcome:
        """A command that must not be refused."""
        outcome = self.run(command)
        if outcome.error is not None:
            raise AssertionError(f"{type(command).__name__} was refused: {outcome.error}")
        return outcome

    def refuse(self, command: Command) -> tuple[str, str, int]:
        """A command that must be refused: the error's code, description and HTTP status."""
        error: Any = self.run(command).error
        if error is None:
            raise AssertionError(f"{type(command).__name__} was accepted")
        return error.code, error.description, error.status

    def advance(self, ms: int) -> None:
        """Lets time pass."""
        self.now_ms += ms

    def expire(self) -> None:
        """What the timer does."""
        self.accept(transfers.ExpireTransfers())

    def take_notices(self) -> list[Notice]:
        """The messages owed since they were last taken."""
        taken, self.notices = self.notices, []
        return taken

    # --- onboarding and funds -----------------------------------------------------------------------------------

    def onboard(self, name: str, currency: str, *, cap: str, funds: str = "0") -> None:
        """A participant that can take part: with accounts, a net debit cap and, if any, liquidity."""
        fsp, code = FspId(name), Currency(currency)
        self.accept(participants.CreateParticipant(name=fsp, currency=code))
        self.accept(participants.SetInitialPositionAndLimits(name=fsp, currency=code, value=parse_decimal(cap)))
        if parse_decimal(funds):
            self.accept(self.funds_in(name, f"{funds} {currency}"))

    def take_quotes(self, *names: str) -> None:
        """Has participants say where messages about quotes of every kind go."""
        for name in names:
            self.accept(participants.SetEndpoints(name=FspId(name), endpoints=_QUOTE_ENDPOINTS, by="bench"))

    def funds_in(self, name: str, amount: str, /, **fields: Any) -> funds.RecordFundsIn:
        """The command for funds in, e.g. of ``"100 USD"``; ``fields`` override its own."""
        return funds.RecordFundsIn(**self._movement(name, amount, fields))

    def funds_out(self, name: str, amount: str, /, **fields: Any) -> funds.ReserveFundsOut:
        """The command that reserves funds out; ``fields`` override its own."""
        return funds.ReserveFundsOut(**self._movement(name, amount, fields))

    def _movement(self, name: str, amount: str, fields: dict[str, Any]) -> dict[str, Any]:
        money = Amount.from_string(amount)
        transfer_id, wire_id = new_transfer_id()
        return {
            "name": FspId(name),
            "account_id": self.account_id(name, money.currency, SETTLEMENT),
            "transfer_id": transfer_id,
            "wire_id": wire_id,
            "amount": money,
            "reason": "as the bank says",
            "external_reference": f"bank-{next(self._references)}",
            **fields,
        }

    def commit_out(self, reserved: funds.ReserveFundsOut) -> funds.CommitFundsOut:
        """The command that commits a withdrawal."""
        return funds.CommitFundsOut(
            name=reserved.name, account_id=reserved.account_id, transfer_id=reserved.transfer_id, reason="paid"
        )

    def abort_out(self, reserved: funds.ReserveFundsOut) -> funds.AbortFundsOut:
        """The command that aborts a withdrawal."""
        return funds.AbortFundsOut(
            name=reserved.name, account_id=reserved.account_id, transfer_id=reserved.transfer_id, reason="not paid"
        )

    def adjust_cap(self, name: str, currency: str, cap: str) -> None:
        """Another net debit cap."""
        command = participants.AdjustLimit(name=FspId(name), currency=Currency(currency), value=parse_decimal(cap))
        self.accept(command)

    # --- payments, as the ledger and the records have them ------------------------------------------------------

    def pay(self, payer: str, payee: str, amount: str) -> bool:
        """A payment that is reserved and committed at once; whether the ledger allowed it.

        It takes the ledger's way of a transfer and nothing else of it: for tests of limits and liquidity.
        """
        transfer_id = self.reserve(payer, payee, amount)
        if transfer_id is None:
            return False
        with self.work() as work:
            minor = Amount.from_string(amount).minor
            create_or_raise(work, [chart.post(transfer_id, minor, window_id=1)])
            recall_shortfalls(work)
        return True

    def reserve(self, payer: str, payee: str, amount: str) -> TransferId | None:
        """The reservation of a payment in the ledger; None where it is refused."""
        money = Amount.from_string(amount)
        transfer_id, _ = new_transfer_id()
        with self.work() as work:
            (result,) = work.ledger.create_transfers(
                [
                    chart.reserve(
                        transfer_id,
                        debit=chart.account_id(payer, money.currency, POSITION),
                        credit=chart.account_id(payee, money.currency, POSITION),
                        amount=money.minor,
                        currency=money.currency,
                    )
                ]
            )
        return transfer_id if result.status.name == "created" else None

    # --- what the scheme shows ----------------------------------------------------------------------------------

    def read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        """What ``function`` finds, as of the last commit."""
        with self.database.read() as tx:
            return function(tx, self.ledger(tx, self.now_ms * 1_000_000), self._directories.load(tx))

    @property
    def directory(self) -> Directory:
        """Who takes part."""
        return self.read(lambda _tx, _ledger, directory: directory)

    def account_id(self, name: str, currency: str, account_type: str) -> int:
        """The number that the API shows."""
        return self.directory.participants[name].accounts[currency, account_type].account_id

    def figures(self, name: str, currency: str, account_type: str) -> accounts.AccountFigures:
        """An account as the API shows it."""
        found = self.read(lambda tx, ledger, directory: accounts.accounts(tx, ledger, directory.participants[name]))
        return next(each for each in found if (each.currency, each.type) == (currency, account_type))

    def value(self, name: str, currency: str, account_type: str) -> str:
        """The balance of an account in the API's sign."""
        return show(self.figures(name, currency, account_type).value)

    def position(self, name: str, currency: str) -> str:
        """The position as the API shows it: positive where the participant owes the scheme."""
        return self.value(name, currency, POSITION)

    def liquidity(self, name: str, currency: str) -> str:
        """The SETTLEMENT account as the API shows it: negative when funded."""
        return self.value(name, currency, SETTLEMENT)

    def available(self, name: str, currency: str) -> str:
        """What the participant can still send."""
        return show(chart.available(self._ledger_account(name, currency, POSITION)))

    def headroom(self, name: str, currency: str) -> str:
        """What has been granted to the position."""
        return show(chart.granted(self._ledger_account(name, currency, HEADROOM)))

    def shortfall(self, name: str, currency: str) -> str:
        """What the position is yet to give back."""
        account_id = self.account_id(name, currency, POSITION)
        rows = self.read(
            lambda tx, _ledger, _directory: tx.query("SELECT amount FROM shortfall WHERE account_id = ?", (account_id,))
        )
        return show(rows[0][0] if rows else 0)

    def transfer(self, transfer_id: TransferId) -> accounts.TransferDetails:
        """A transfer with its history."""
        found = self.read(lambda tx, _ledger, _directory: accounts.transfer(tx, transfer_id))
        assert found is not None
        return found

    def _ledger_account(self, name: str, currency: str, account_type: str) -> LedgerAccount:
        wanted = chart.account_id(name, currency, account_type)
        return self.read(lambda _tx, ledger, _directory: ledger.lookup_accounts([wanted])[0])

    # --- the books ----------------------------------------------------------------------------------------------

    def audit(self) -> None:
        """Asserts that the books balance, follow from the transfers alone, and agree with the records."""
        self.read(_audit)


def show(minor: int) -> str:
    """Minor units as the wire writes them."""
    whole, fraction = divmod(abs(minor), 10_000)
    text = f"{whole}.{fraction:04d}".rstrip("0").rstrip(".")
    return f"-{text}" if minor < 0 else text


def _audit(tx: Tx, ledger: Ledger, directory: Directory) -> None:
    everything = ledger.query_accounts(QueryFilter())
    moved = ledger.query_transfers(QueryFilter())
    by_id = {transfer.id: transfer for transfer in moved}
    recomputed: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    open_reservations: dict[int, Transfer] = {}
    for transfer in moved:
        flags = TransferFlags(transfer.flags)
        ends = flags & (TransferFlags.post_pending_transfer | TransferFlags.void_pending_transfer)
        reserved = by_id[transfer.pending_id] if ends else transfer
        debit, credit = recomputed[reserved.debit_account_id], recomputed[reserved.credit_account_id]
        if flags & TransferFlags.pending:
            debit[0] += transfer.amount
            credit[2] += transfer.amount
            open_reservations[transfer.id] = transfer
            continue
        if ends:
            debit[0] -= reserved.amount
            credit[2] -= reserved.amount
            del open_reservations[reserved.id]
        if not flags & TransferFlags.void_pending_transfer:
            debit[1] += transfer.amount
            credit[3] += transfer.amount
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for account in everything:
        kept = [account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted]
        assert kept == recomputed[account.id], f"the balance of {account.id:032x} does not follow from its transfers"
        sums[account.ledger] = [total + part for total, part in zip(sums[account.ledger], kept, strict=True)]
    for currency, (debits_pending, debits_posted, credits_pending, credits_posted) in sums.items():
        assert debits_posted == credits_posted, f"ledger {currency} does not balance"
        assert debits_pending == credits_pending, f"ledger {currency} does not balance in what is pending"
    balances = {account.id: account for account in everything}
    shortfalls = dict(tx.query("SELECT account_id, amount FROM shortfall"))
    for participant in directory.participants.values():
        for (currency, kind), position in participant.accounts.items():
            if kind != POSITION:
                continue
            headroom = participant.accounts[currency, HEADROOM]
            liquidity = participant.accounts[currency, SETTLEMENT]
            granted = chart.granted(balances[headroom.ledger_account_id])
            cover = chart.liquidity_cover(balances[liquidity.ledger_account_id])
            owed = shortfalls.get(position.account_id, 0)
            free = chart.available(balances[position.ledger_account_id])
            assert cover >= 0, f"{participant.name} has taken out more than it has placed"
            assert free >= 0, f"{participant.name} has sent more than it may"
            assert not (owed and free), f"{participant.name} may send while it has a shortfall"
            assert granted - owed == min(cap(position, cover), cover), f"{participant.name}: headroom is wrong"
    for raw, kind, state in tx.query("SELECT transfer_id, kind, state FROM transfer"):
        pending = ledger_id(raw) in open_reservations
        assert pending == (state == "RESERVED"), f"{kind} {raw.hex()} is {state} and not so in the ledger"
