"""Fees: what a payment costs beside its amount, who owes it to whom, and what other rules would have charged.

Fees are charged by rules that operators store (`vuka.rules` says how they read): where the conditions of a rule hold,
its event, of type ``FEE``, says how much. A fee is an entry of the ledger between accounts of its own type, made in the
commit of its payment, and belongs to the settlement window of that payment; the settlement model of that account type
settles it. The reference has scripts for this, which it runs after the commit (hub reference §5.2, "Rules").

- A fee is what was agreed by the rules in force when the payment was committed, and is never computed again.
- No fee holds a payment up: its accounts may go either way, and are opened where a participant has none yet.
- A fee of nothing, or of a participant to itself, is none.

Amounts are computed exactly and rounded once, at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from vuka.ids import HUB, FspId, TransferId
from vuka.ledger import chart
from vuka.ledger.model import Transfer
from vuka.money import ASSET_SCALE, CURRENCIES, UNITS_PER_MAIN, Currency, currency_digits, format_amount
from vuka.rules import Event, Rule, RulesError, RuleSet, compile_rules, decode_json, sizes
from vuka.store import Tx
from vuka.switch.directory import HUB_RECONCILIATION, POSITION, Account, Directory, SettlementModel
from vuka.switch.participants import open_accounts
from vuka.switch.records import COLUMNS, Record, to_record
from vuka.switch.rule_sets import participant_fact, put_in_force
from vuka.switch.work import Command, Outcome, Work

KIND: Final = "fees"
"""The kind of these rules in the table ``rule_set``."""

FEE: Final = "FEE"
"""The one type of event that these rules have."""

FACTS: Final = ("transfer", "transaction", "payer", "payee")

PARTIES: Final = ("payer", "payee", "hub")
"""Who may owe a fee, and to whom."""

SLAB: Final = "SLAB"
"""The tier in which the amount lies says the fee of the whole amount."""
MARGINAL: Final = "MARGINAL"
"""Each tier says the fee of the part of the amount that lies in it."""

ROUNDINGS: Final = ("HALF_UP", "HALF_EVEN", "UP", "DOWN")

TIERS_MAX: Final = 50
PERCENTAGE_MAX: Final = 50
PERCENTAGE_DECIMALS: Final = 6
FIXED_MAX: Final = 10**14 * UNITS_PER_MAIN
"""In minor units, of all tiers together: half of a payment and this are never more than the ledger can move."""
ACCOUNT_TYPE_LENGTH_MAX: Final = 50

TRANSACTION_VALUES_MAX: Final = 2_000
"""Values in a transaction object that rules look at; a larger one is to them as if it were not there."""
TRANSACTION_DEPTH_MAX: Final = 32

COMPILED_MAX: Final = 8

_RATE: Final = 100 * 10**PERCENTAGE_DECIMALS
"""What a rate is divided by: 1 % is 10^6 / 10^8."""

_NUMBER: Final = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)
_MAGNITUDE_MAX: Final = 40
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

TransactionReader: TypeAlias = Callable[[str], bytes]
"""The JSON of the transaction object in an ILP packet; raises `ValueError` where there is none."""


# --- tariffs ----------------------------------------------------------------------------------------------------


class Tier(msgspec.Struct, frozen=True):
    """A band of amounts."""

    up_to: int | None
    """Its upper end, included; None for the last."""
    rate: int
    """Millionths of a percent."""
    fixed: int


class Tariff(msgspec.Struct, frozen=True):
    """How much a rule charges, and whom. Amounts in minor units."""

    ledger_account_type: str
    debtor: str
    creditor: str
    currency: Currency | None
    tiers: tuple[Tier, ...]
    """At least one; the last is open. A plain percentage or fixed amount is one tier."""
    is_marginal: bool
    minimum: int
    maximum: int | None
    decimals: int | None
    """None: as many as the currency has."""
    rounding: str
    valid_from_ms: int | None
    valid_to_ms: int | None
    """Not included."""

    def applies(self, currency: str, at_ms: int) -> bool:
        """Whether it charges payments of that currency that are committed then."""
        if self.currency is not None and self.currency != currency:
            return False
        if self.valid_from_ms is not None and at_ms < self.valid_from_ms:
            return False
        return self.valid_to_ms is None or at_ms < self.valid_to_ms

    def fee(self, amount: int, currency: str) -> int:
        """The fee of a payment of ``amount``, in minor units; 0 for none."""
        # In units of 1 / _RATE of a minor unit: whole numbers throughout.
        exact = self._marginal(amount) if self.is_marginal else self._slab(amount)
        if not exact:
            return 0
        step: int = 10 ** (ASSET_SCALE - _decimals_of(Currency(currency), self.decimals))
        rounded = _round(exact, _RATE * step, self.rounding) * step
        rounded = max(rounded, self.minimum)
        return rounded if self.maximum is None else min(rounded, self.maximum)

    def _slab(self, amount: int) -> int:
        tier = next(each for each in self.tiers if each.up_to is None or amount <= each.up_to)
        return amount * tier.rate + tier.fixed * _RATE

    def _marginal(self, amount: int) -> int:
        exact = reached = 0
        for tier in self.tiers:
            upper = amount if tier.up_to is None else min(amount, tier.up_to)
            if upper <= reached:
                break
            exact += (upper - reached) * tier.rate + tier.fixed * _RATE
            reached = upper
        return exact


def _round(numerator: int, denominator: int, rounding: str) -> int:
    whole, rest = divmod(numerator, denominator)
    if rounding == "UP":
        return whole + (rest > 0)
    if rounding == "DOWN":
        return whole
    if 2 * rest == denominator and rounding == "HALF_EVEN":
        return whole + whole % 2
    return whole + (2 * rest >= denominator)


_PARAMS: Final = frozenset(
    """ledgerAccountType from to currency percentage fixed tiers tiering minimum maximum decimals rounding validFrom
    validTo""".split()
)
_AMOUNT: Final = (
    f'must be an amount of at most {FIXED_MAX // UNITS_PER_MAIN:,} with at most {ASSET_SCALE} decimals, e.g. "0.50"'
)


class _Reader:
    """Reads the params of an event, and gathers what is wrong with them."""

    def __init__(self, params: Mapping[str, object]) -> None:
        self.faults: list[tuple[str, str]] = []
        self._params = params

    def read(self) -> Tariff:
        """The tariff; without meaning where there are faults."""
        for name in sorted(self._params.keys() - _PARAMS):
            self._fault(name, f"is not known here; known: {', '.join(sorted(_PARAMS))}")
        account_type = self._account_type()
        debtor = self._choice("from", PARTIES, None)
        creditor = self._choice("to", PARTIES, None)
        if debtor == creditor and debtor:
            self._fault("to", f"is {creditor}, who would owe the fee to itself")
        currency = self._currency()
        is_marginal = self._choice("tiering", (SLAB, MARGINAL), SLAB) == MARGINAL
        tiers = self._tiers()
        if is_marginal and sum(tier.fixed for tier in tiers) > FIXED_MAX:
            self._fault("tiers", f"have fixed amounts that add up to more than {FIXED_MAX // UNITS_PER_MAIN:,}")
        decimals = self._decimals()
        rounded_to = _decimals_of(currency, decimals)
        minimum, maximum = self._bound("minimum", rounded_to), self._bound("maximum", rounded_to)
        if maximum is not None and maximum < max(minimum or 0, 1):
            self._fault("maximum", "must be more than nothing, and not less than the minimum")
        if currency is None and "currency" not in self._params:
            amounts = [name for name in ("fixed", "minimum", "maximum", "tiers") if name in self._params]
            if amounts:
                self._fault("currency", f"is missing: {', '.join(amounts)} mean amounts of one currency")
        valid_from, valid_to = self._moment("validFrom"), self._moment("validTo")
        if valid_from is not None and valid_to is not None and valid_to <= valid_from:
            self._fault("validTo", "is not after validFrom")
        rounding = self._choice("rounding", ROUNDINGS, "HALF_UP")
        if not self.faults and not any(tier.rate or tier.fixed for tier in tiers):
            name = next(each for each in ("tiers", "percentage", "fixed") if each in self._params)
            self._fault(name, "charges nothing, ever: some percentage or fixed amount must be more than 0")
        return Tariff(
            ledger_account_type=account_type,
            debtor=debtor,
            creditor=creditor,
            currency=currency,
            tiers=tiers,
            is_marginal=is_marginal,
            minimum=minimum or 0,
            maximum=maximum,
            decimals=decimals,
            rounding=rounding,
            valid_from_ms=valid_from,
            valid_to_ms=valid_to,
        )

    def _fault(self, path: str, message: str) -> None:
        self.faults.append((path, message))

    def _choice(self, name: str, choices: Sequence[str], default: str | None) -> str:
        value = self._params.get(name, default)
        if isinstance(value, str) and value in choices:
            return value
        self._fault(name, f"must be one of {', '.join(choices)}")
        return ""

    def _account_type(self) -> str:
        value = self._params.get("ledgerAccountType")
        if isinstance(value, str) and 1 <= len(value) <= ACCOUNT_TYPE_LENGTH_MAX and value != POSITION:
            return value
        self._fault("ledgerAccountType", "must be the type of accounts that take fees, e.g. INTERCHANGE_FEE")
        return ""

    def _currency(self) -> Currency | None:
        if "currency" not in self._params:
            return None
        value = self._params["currency"]
        if isinstance(value, str) and value in CURRENCIES:
            return Currency(value)
        self._fault("currency", "must be a currency, e.g. USD")
        return None

    def _decimals(self) -> int | None:
        if "decimals" not in self._params:
            return None
        value = self._params["decimals"]
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= ASSET_SCALE:
            return value
        self._fault("decimals", f"must be a whole number from 0 to {ASSET_SCALE}")
        return None

    def _bound(self, name: str, decimals: int) -> int | None:
        """What a fee is raised or cut to, which must itself be an amount that a fee can have."""
        if name not in self._params:
            return None
        amount = self._amount(self._params[name], name)
        if amount is not None and amount % 10 ** (ASSET_SCALE - decimals):
            self._fault(name, f"has more decimals than the {decimals} to which the fee is rounded")
        return amount

    def _tiers(self) -> tuple[Tier, ...]:
        if "tiers" not in self._params:
            if "percentage" not in self._params and "fixed" not in self._params:
                self._fault("percentage", "is missing: a fee is a percentage, a fixed amount, both, or tiers of them")
            if "tiering" in self._params:
                self._fault("tiering", "is for tiers, and there are none")
            return (Tier(None, self._rate(self._params, ""), self._fixed(self._params, "")),)
        for name in ("percentage", "fixed"):
            if name in self._params:
                self._fault(name, "stands in each of the tiers, where there are tiers")
        value = self._params["tiers"]
        if not isinstance(value, list) or not 1 <= len(value) <= TIERS_MAX:
            self._fault("tiers", f"must be a list of 1 to {TIERS_MAX} tiers")
            return (Tier(None, 0, 0),)
        tiers: list[Tier] = []
        reached = 0
        for place, each in enumerate(value):
            tier = self._tier(each, f"tiers[{place}]", reached, is_last=place == len(value) - 1)
            tiers.append(tier)
            reached = max(reached, tier.up_to or 0)
        return tuple(tiers)

    def _tier(self, value: object, path: str, reached: int, *, is_last: bool) -> Tier:
        """One tier; ``reached`` is how far the ones before it go."""
        if not isinstance(value, Mapping):
            self._fault(path, 'must be an object, e.g. {"upTo": "100", "fixed": "0.50"}')
            return Tier(None, 0, 0)
        for name in sorted(value.keys() - {"upTo", "percentage", "fixed"}):
            self._fault(f"{path}.{name}", "is not known here; known: fixed, percentage, upTo")
        if "percentage" not in value and "fixed" not in value:
            self._fault(path, 'must have a percentage or a fixed amount; one that costs nothing has "fixed": "0"')
        up_to: int | None = None
        if is_last and "upTo" in value:
            self._fault(f"{path}.upTo", "the last tier has no upper end: leave upTo out")
        elif not is_last:
            up_to = self._amount(value.get("upTo"), f"{path}.upTo")
            if up_to is not None and up_to <= reached:
                self._fault(f"{path}.upTo", "must be more than nothing, and more than that of the tier before")
        return Tier(up_to, self._rate(value, f"{path}."), self._fixed(value, f"{path}."))

    def _rate(self, where: Mapping[str, object], prefix: str) -> int:
        if "percentage" not in where:
            return 0
        rate = _scaled(where["percentage"], PERCENTAGE_DECIMALS)
        if rate is not None and 0 <= rate <= PERCENTAGE_MAX * 10**PERCENTAGE_DECIMALS:
            return rate
        self._fault(
            f"{prefix}percentage",
            f'must be from 0 to {PERCENTAGE_MAX} with at most {PERCENTAGE_DECIMALS} decimals, e.g. "0.6"',
        )
        return 0

    def _fixed(self, where: Mapping[str, object], prefix: str) -> int:
        return 0 if "fixed" not in where else self._amount(where["fixed"], f"{prefix}fixed") or 0

    def _amount(self, value: object, path: str) -> int | None:
        amount = _scaled(value, ASSET_SCALE)
        if amount is not None and 0 <= amount <= FIXED_MAX:
            return amount
        self._fault(path, _AMOUNT)
        return None

    def _moment(self, name: str) -> int | None:
        if name not in self._params:
            return None
        value = self._params[name]
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self._fault(name, 'must be a time with its zone, e.g. "2030-01-31T00:00:00+02:00"')
            return None
        return (moment - _EPOCH) // _MILLISECOND


def _decimals_of(currency: Currency | None, decimals: int | None) -> int:
    """To how many decimals fees are rounded."""
    if decimals is not None:
        return decimals
    return ASSET_SCALE if currency is None else currency_digits(currency)


def _scaled(value: object, decimals: int) -> int | None:
    """A number, or a text of digits, in units of its last decimal; None for what is neither, or finer than that."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        return None
    number = Decimal(value)
    # What is far larger or finer than any amount would only cost time to look at.
    if abs(number.adjusted()) > _MAGNITUDE_MAX or len(number.as_tuple().digits) > 2 * _MAGNITUDE_MAX:
        return None
    scaled = Fraction(number) * 10**decimals
    return scaled.numerator if scaled.denominator == 1 else None


def check_event(event: Event, accounts: FeeAccounts | None = None) -> Iterator[tuple[str, str]]:
    """What is wrong with an event: where in its params (nowhere: its type), and a sentence."""
    if event.type != FEE:
        yield "", f"must be {FEE}"
        return
    reader = _Reader(event.params)
    tariff = reader.read()
    yield from reader.faults
    if accounts is not None and tariff.ledger_account_type:
        problem = accounts.problem(tariff)
        if problem is not None:
            yield "ledgerAccountType", problem


class FeeAccounts(msgspec.Struct, frozen=True):
    """Which types of account may take fees: what they are charged must one day be settled."""

    directory: Directory
    settleable: Mapping[str, bool]
    """Whether it can be settled, by type, of those that are active."""

    def problem(self, tariff: Tariff) -> str | None:
        """Why what a tariff charges could never be settled; None where it can be."""
        account_type = tariff.ledger_account_type
        if account_type not in self.settleable:
            return "is no type of account here: add it first (POST /ledgerAccountTypes), or use INTERCHANGE_FEE"
        if not self.settleable[account_type]:
            return "is a type of account that can't be settled: use INTERCHANGE_FEE, or a settleable type"
        unsettled = [each for each in _currencies(self.directory, tariff) if not _settles(self.directory, tariff, each)]
        if unsettled:
            return f"is settled by no deferred model in {', '.join(unsettled)}: add one first (vuka model add)"
        return None


def fee_accounts(tx: Tx, directory: Directory) -> FeeAccounts:
    """The types of account that there are."""
    rows = tx.query("SELECT name, is_settleable FROM ledger_account_type WHERE is_active = 1")
    return FeeAccounts(directory, {name: bool(is_settleable) for name, is_settleable in rows})


def _currencies(directory: Directory, tariff: Tariff) -> list[str]:
    """Those in which a tariff may charge: its own, or all in which anybody can pay."""
    if tariff.currency is not None:
        return [tariff.currency]
    hub = directory.participants[HUB].accounts
    return sorted(currency for currency, account_type in hub if account_type == HUB_RECONCILIATION)


def _settles(directory: Directory, tariff: Tariff, currency: str) -> bool:
    model = directory.model_for(tariff.ledger_account_type, currency)
    return model is not None and not model.is_immediate


class FeeRules(msgspec.Struct, frozen=True):
    """Rules about fees, compiled."""

    rules: RuleSet
    tariffs: Mapping[int, Tariff]
    """By the number of the rule."""


def compile_fee_rules(content: bytes | str, accounts: FeeAccounts | None = None) -> FeeRules:
    """Rules about fees from their JSON, such that ``accounts`` can take what they charge.

    Raises `vuka.rules.RulesError` with everything that is wrong. Without ``accounts`` it is not asked what takes a fee:
    for rules that are in force already, or that are only tried.
    """
    rules = compile_rules(content, facts=FACTS, check_event=lambda event: check_event(event, accounts))
    return FeeRules(rules, {rule.number: _Reader(rule.event.params).read() for rule in rules.rules})


# --- charging ---------------------------------------------------------------------------------------------------


class Charge(msgspec.Struct, frozen=True):
    """One fee of a payment."""

    rule: Rule
    ledger_account_type: str
    debtor: FspId
    creditor: FspId
    currency: Currency
    amount: int
    """Minor units, more than none."""


class Entry(msgspec.Struct, frozen=True):
    """A fee that is charged: what the ledger does, between whose accounts, and its row of ``fee``."""

    ledger: Transfer
    debtor: Account
    creditor: Account
    row: tuple[int, int, str, str, str, int, int, int, int]


class _Facts(Mapping[str, object]):
    """What rules see of a payment. Each fact is looked up when a rule first asks for it: most ask for few."""

    def __init__(self, directory: Directory, record: Record, read_transaction: TransactionReader) -> None:
        self._directory = directory
        self._record = record
        self._read_transaction = read_transaction
        self._found: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        """The fact; raises `KeyError` where there is none."""
        if name not in self._found:
            self._found[name] = self._find(name)
        if self._found[name] is None:
            raise KeyError(name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in FACTS if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, name: str) -> object:
        record = self._record
        match name:
            case "transfer":
                return _transfer_fact(record)
            case "transaction":
                return _transaction_fact(record.ilp_packet, self._read_transaction)
            case "payer":
                return participant_fact(self._directory, record.payer_fsp)
            case "payee":
                return participant_fact(self._directory, record.payee_fsp)
        return None


def _transfer_fact(record: Record) -> dict[str, object]:
    extensions: list[list[str]] = msgspec.json.decode(record.extensions) if record.extensions else []
    return {
        "transferId": record.wire_id,
        "payerFsp": record.payer_fsp,
        "payeeFsp": record.payee_fsp,
        "amount": {"amount": format_amount(record.amount), "currency": record.currency},
        # Of a key that comes twice the first counts, as in the reference.
        "extensions": dict(reversed([(key, value) for key, value in extensions])),
        "extensionList": {"extension": [{"key": key, "value": value} for key, value in extensions]},
    }


def _transaction_fact(packet: str | None, read: TransactionReader) -> dict[str, object] | None:
    """The transaction object of a packet; None where it has none, or one that would cost too much to look into."""
    if packet is None:
        return None
    try:
        transaction = decode_json(read(packet))
    except (ValueError, ArithmeticError, RecursionError):
        return None
    if not isinstance(transaction, dict):
        return None
    count, depth = sizes(transaction)
    return transaction if count <= TRANSACTION_VALUES_MAX and depth <= TRANSACTION_DEPTH_MAX else None


class Fees:
    """What charges payments. One for each hub."""

    def __init__(self, read_transaction: TransactionReader) -> None:
        self._read_transaction = read_transaction
        self._compiled: Callable[[str], FeeRules] = lru_cache(maxsize=COMPILED_MAX)(compile_fee_rules)

    def charges(
        self, rules: FeeRules, directory: Directory, record: Record, at_ms: int
    ) -> tuple[list[Rule], list[Charge]]:
        """The rules that hold for a payment committed at ``at_ms``, and what they charge it. Changes nothing."""
        held = rules.rules.run(_Facts(directory, record, self._read_transaction))
        charges: list[Charge] = []
        parties = {"payer": record.payer_fsp, "payee": record.payee_fsp, "hub": HUB}
        for rule in held:
            tariff = rules.tariffs[rule.number]
            debtor, creditor = parties[tariff.debtor], parties[tariff.creditor]
            if debtor == creditor or not tariff.applies(record.currency, at_ms):
                continue
            amount = tariff.fee(record.amount, record.currency)
            if amount:
                charge = Charge(rule, tariff.ledger_account_type, debtor, creditor, record.currency, amount)
                charges.append(charge)
        return held, charges

    def entries(self, work: Work, records: Sequence[Record]) -> list[Entry]:
        """The fees of payments that this batch commits, by the rules in force; opens the accounts they need."""
        in_force = work.directory.rule_sets.get(KIND)
        if in_force is None or not records:
            return []
        rules = self._compiled(in_force.content)
        if not rules.tariffs:
            return []
        charged = [
            (record, number, charge)
            for record in records
            for number, charge in enumerate(self.charges(rules, work.directory, record, work.now_ms)[1], 1)
        ]
        _open_accounts(work, [charge for _, _, charge in charged])
        return [_entry(work, record, number, charge) for record, number, charge in charged]


def _open_accounts(work: Work, charges: Sequence[Charge]) -> None:
    lacking: dict[tuple[str, str, str], None] = {}
    for charge in charges:
        for name in (charge.debtor, charge.creditor):
            if work.directory.participants[name].account(charge.currency, charge.ledger_account_type) is None:
                lacking[name, charge.currency, charge.ledger_account_type] = None
    for owner, currency, account_type in lacking:
        participant_id = work.directory.participants[owner].participant_id
        open_accounts(work, participant_id, owner, currency=currency, types=[account_type], is_active=True, by=KIND)
    if lacking:
        work.directory_changed()


def _entry(work: Work, record: Record, number: int, charge: Charge) -> Entry:
    window_id = record.settlement_window_id
    assert window_id is not None, "a committed payment has its window"  # noqa: S101
    debtor, creditor = (
        work.directory.participants[name].accounts[charge.currency, charge.ledger_account_type]
        for name in (charge.debtor, charge.creditor)
    )
    ledger = chart.fee(
        record.transfer_id,
        number,
        debit=debtor.ledger_account_id,
        credit=creditor.ledger_account_id,
        amount=charge.amount,
        currency=charge.currency,
        window_id=window_id,
    )
    name = charge.rule.name or f"rule {charge.rule.number}"
    row = (
        record.transfer_seq,
        number,
        name,
        charge.ledger_account_type,
        charge.currency,
        charge.amount,
        debtor.account_id,
        creditor.account_id,
        window_id,
    )
    return Entry(ledger, debtor, creditor, row)


def insert_fees(work: Work, entries: Sequence[Entry]) -> None:
    """Writes the records of fees."""
    work.tx.run_many(
        """INSERT INTO fee (transfer_seq, fee_no, rule, ledger_account_type, currency, amount, debtor_account_id,
                            creditor_account_id, settlement_window_id)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [entry.row for entry in entries],
    )


# --- storing ----------------------------------------------------------------------------------------------------


class SetFeeRules(Command, frozen=True, kw_only=True):
    """An operator puts other rules in force; ``content`` has been compiled, so that it is known to be right."""

    content: str
    by: str


def store(work: Work, commands: Sequence[SetFeeRules]) -> list[Outcome]:
    """Puts rules in force, each a new version; the ones before stay for the record."""
    return [_store(work, command) for command in commands]


def _store(work: Work, command: SetFeeRules) -> Outcome:
    try:
        rules = compile_fee_rules(command.content, fee_accounts(work.tx, work.directory))
    except RulesError as error:
        # What takes the fees may have changed since the rules were checked.
        return Outcome(error=error)
    rule_set_id = put_in_force(work, KIND, command.content, command.by)
    return Outcome(value=rule_set_id, note=f"{len(rules.tariffs)} rules about fees in force, version {rule_set_id}")


def unsettled_by(directory: Directory, models: Sequence[SettlementModel]) -> str | None:
    """Why ``models`` can't take the place of the settlement models that there are; None where they can.

    What the rules in force charge, and something settles, must still be settled.
    """
    in_force = directory.rule_sets.get(KIND)
    if in_force is None:
        return None
    after = msgspec.structs.replace(directory, settlement_models=tuple(models))
    for tariff in compile_fee_rules(in_force.content).tariffs.values():
        for currency in _currencies(directory, tariff):
            if _settles(directory, tariff, currency) and not _settles(after, tariff, currency):
                return (
                    f"rules about fees charge {tariff.ledger_account_type} in {currency}: "
                    "add another deferred model for it, or change them"
                )
    return None


# --- what was charged, and what would have been -----------------------------------------------------------------


class ChargedFee(msgspec.Struct, frozen=True):
    """A fee that was charged, as operators see it."""

    rule: str
    ledger_account_type: str
    debtor: FspId
    creditor: FspId
    currency: Currency
    amount: int
    """Minor units."""


def fees_of(tx: Tx, transfer_seqs: Sequence[int]) -> dict[int, list[ChargedFee]]:
    """What payments were charged, by their number."""
    found: dict[int, list[tuple[int, ChargedFee]]] = {}
    for seq, number, *fee in tx.query_in(
        """SELECT f.transfer_seq, f.fee_no, f.rule, f.ledger_account_type, d.name, c.name, f.currency, f.amount
           FROM fee f
           JOIN account da ON da.account_id = f.debtor_account_id
           JOIN participant d ON d.participant_id = da.participant_id
           JOIN account ca ON ca.account_id = f.creditor_account_id
           JOIN participant c ON c.participant_id = ca.participant_id
           WHERE f.transfer_seq IN {values}""",
        list(transfer_seqs),
    ):
        found.setdefault(seq, []).append((number, ChargedFee(*fee)))
    return {seq: [fee for _, fee in sorted(each, key=lambda one: one[0])] for seq, each in found.items()}


class Trial(msgspec.Struct, frozen=True):
    """What rules would have charged a past payment, and what it was charged."""

    record: Record
    held: tuple[Rule, ...]
    """The rules whose conditions hold, the highest priority first; one that is out of its dates charges nothing."""
    charges: tuple[Charge, ...]
    charged: tuple[ChargedFee, ...]


def try_rules(fees: Fees, rules: FeeRules, tx: Tx, directory: Directory, records: Sequence[Record]) -> list[Trial]:
    """What rules would have charged past payments when they were committed. Changes nothing."""
    charged = fees_of(tx, [record.transfer_seq for record in records])
    trials: list[Trial] = []
    for record in records:
        assert record.completed_ms is not None, "a committed payment has its time"  # noqa: S101
        held, charges = fees.charges(rules, directory, record, record.completed_ms)
        trials.append(Trial(record, tuple(held), tuple(charges), tuple(charged.get(record.transfer_seq, ()))))
    return trials


_IS_PAYMENT: Final = "kind = 'PAYMENT' AND state = 'COMMITTED'"


def past_payments_of(tx: Tx, ids: Sequence[TransferId]) -> list[Record]:
    """The committed payments among these transfers, the newest first."""
    rows = tx.query_in(f"SELECT {COLUMNS} FROM transfer WHERE transfer_id IN {{values}} AND {_IS_PAYMENT}", list(ids))
    return sorted(map(to_record, rows), key=lambda record: -record.transfer_seq)


class Page(msgspec.Struct, frozen=True):
    """The committed payments among some transfers, the newest first, and where the next page ends."""

    records: list[Record]
    before: int | None
    """The key that the next page's transfers are below; None where there are no more."""


def past_payments(tx: Tx, *, before: int, down_to: int, transfers: int) -> Page:
    """The committed payments among the next ``transfers`` transfers below the key ``before``, down to ``down_to``."""
    ((lowest, count),) = tx.query(
        """SELECT MIN(transfer_seq), COUNT(*) FROM (
               SELECT transfer_seq FROM transfer WHERE transfer_seq < ? AND transfer_seq >= ?
               ORDER BY transfer_seq DESC LIMIT ?) AS page""",
        (before, down_to, transfers),
    )
    if not count:
        return Page([], None)
    rows = tx.query(
        f"""SELECT {COLUMNS} FROM transfer WHERE transfer_seq < ? AND transfer_seq >= ? AND {_IS_PAYMENT}
            ORDER BY transfer_seq DESC""",
        (before, lowest),
    )
    return Page([to_record(row) for row in rows], lowest if count == transfers else None)


USE_CASES: Final = ((store, SetFeeRules),)
"""Each function with the commands that it decides."""
