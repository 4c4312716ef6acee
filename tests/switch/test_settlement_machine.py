"""Anything may happen in any order, and after each step the books are right.

Payments, fees by rules that change, closes, settlements by every model, partial progress, aborts, funds in and out,
limits and models that change: a state machine mixes them at random; the bench's audit and the hub's own run after each
step.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.switch.charging import FEE_TYPE, SIX_PER_MILLE, fee_rule, where
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling
from tests.switch.wire import EXPIRY_MS, abort, fulfil, prepare

from vuka.config import Scheme
from vuka.ids import HUB
from vuka.money import Amount, Currency
from vuka.switch.directory import POSITION
from vuka.switch.fees import SetFeeRules
from vuka.switch.gross_settlement import SettleGross
from vuka.switch.settlement_models import SetSettlementModelActive
from vuka.switch.settlements import (
    ACCOUNT_STATES,
    AbortSettlement,
    AccountUpdate,
    CreateSettlement,
    FinaliseSettlement,
    ParticipantUpdate,
    UpdateSettlement,
)
from vuka.switch.transfers import PrepareTransfer
from vuka.switch.windows import CloseWindow

NAMES = ("alpha", "bravo", "charlie")
MODELS = {
    "NETTING": ("DEFERRED", "NET", "MULTILATERAL"),
    "PAIRS": ("DEFERRED", "NET", "BILATERAL"),
    "FULL": ("DEFERRED", "GROSS", "BILATERAL"),
    "INSTANT": ("IMMEDIATE", "GROSS", "BILATERAL"),
}
FEE_MODELS = {
    "FEES": ("NET", "MULTILATERAL"),
    "FEE_PAIRS": ("NET", "BILATERAL"),
    "FEES_IN_FULL": ("GROSS", "BILATERAL"),
}
ALL_MODELS = sorted({**MODELS, **FEE_MODELS})
SETTLED = (*NAMES, HUB)
"""Who has accounts that are settled: the hub has some where it is owed fees."""

RULES = (
    SIX_PER_MILLE,
    fee_rule(name="toll", debtor="payee", creditor="hub", fixed="0.05", currency="USD"),
    fee_rule(name="rebate", debtor="hub", creditor="payer", percentage="0.1", decimals=4, rounding="DOWN"),
    fee_rule(
        name="large ones",
        debtor="payee",
        creditor="payer",
        conditions={"all": [where("transfer", "$.amount.amount", "greaterThan", 150)]},
        tiers=[{"upTo": "200", "percentage": "1"}, {"percentage": "0.5", "fixed": "0.0001"}],
        tiering="MARGINAL",
        decimals=4,
        currency="USD",
    ),
)

names = st.sampled_from(NAMES)
settled = st.sets(st.sampled_from(SETTLED), min_size=1)
charges = st.lists(st.sampled_from(range(len(RULES))), unique=True)
amounts = st.integers(1, 300_0000).map(lambda minor: str(Amount(Currency("USD"), minor).wire))
numbers = st.integers(1, 6)


class SettlementMachine(RuleBasedStateMachine):
    """One scheme, in which everybody does anything."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = SchemeBench(rules=Scheme(on_us_transfers=True))
        self.scheme = Settling(self.hub)
        self.waiting: list[PrepareTransfer] = []

    @initialize(in_force=st.sampled_from(sorted(MODELS)))
    def onboard(self, in_force: str) -> None:
        for name in NAMES:
            self.hub.onboard(name, "USD", cap="500", funds="600")
        for name, (delay, granularity, interchange) in MODELS.items():
            self.scheme.add_model(name, delay, granularity, interchange, currency=None)
        for name, combination in FEE_MODELS.items():
            self.scheme.add_fee_model(*combination, name=name)
        self.prefer(in_force)
        self.charge(range(len(RULES)))

    @rule(in_force=st.sampled_from(sorted(MODELS)))
    def prefer(self, in_force: str) -> None:
        """The newest default that is active is in force: the others are switched off."""
        for name in MODELS:
            self.hub.accept(SetSettlementModelActive(name=name, is_active=name == in_force))

    @rule(some=st.sets(st.sampled_from(sorted(FEE_MODELS))))
    def prefer_for_fees(self, some: Collection[str]) -> None:
        """Only these are active; while fees are charged, the last one is not switched off."""
        for name in sorted(FEE_MODELS, key=lambda each: each not in some):
            self.hub.run(SetSettlementModelActive(name=name, is_active=name in some))

    @rule(which=charges)
    def charge(self, which: Sequence[int]) -> None:
        """Other rules about fees; refused where nothing settles what they charge."""
        self.hub.run(SetFeeRules(content=json.dumps([RULES[each] for each in which]), by="alice"))

    @rule(payer=names, payee=names, amount=amounts)
    def reserve(self, payer: str, payee: str, amount: str) -> None:
        request = prepare(self.hub, f"{amount} USD", payer=payer, payee=payee)
        self.hub.accept(request)
        self.waiting.append(request)

    @rule(commits=st.booleans())
    def answer(self, commits: bool) -> None:
        if self.waiting:
            request = self.waiting.pop(0)
            self.hub.accept(fulfil(self.hub, request) if commits else abort(self.hub, request))

    @rule(payer=names, payee=names, amount=amounts)
    def pay(self, payer: str, payee: str, amount: str) -> None:
        request = prepare(self.hub, f"{amount} USD", payer=payer, payee=payee)
        self.hub.accept(request)
        self.hub.accept(fulfil(self.hub, request))

    @rule()
    def expire(self) -> None:
        self.hub.advance(EXPIRY_MS)
        self.hub.expire()
        self.waiting.clear()

    @rule()
    def close(self) -> None:
        self.hub.run(CloseWindow(window_id=self.scheme.open_window, reason="time"))

    @rule(most=numbers, model=st.sampled_from(ALL_MODELS), wrong=st.sets(numbers, max_size=1))
    def settle(self, most: int, model: str, wrong: set[int]) -> None:
        """Some of the windows that are closed; now and then another."""
        closed = self._numbers("SELECT settlement_window_id FROM window_content WHERE state IN ('CLOSED', 'ABORTED')")
        window_ids = tuple(sorted({*closed[:most], *(wrong if most == 1 else ())}))
        if window_ids:
            self.hub.run(CreateSettlement(settlement_model=model, reason="settle", window_ids=window_ids))

    def _numbers(self, sql: str) -> list[int]:
        return [number for (number,) in self.hub.read(lambda tx, _ledger, _directory: tx.query(sql))]

    def number_of(self, table: str) -> int:
        return self._numbers(f"SELECT COUNT(*) FROM {table}")[0]

    def _unfinished(self, which: int) -> int:
        """One of the settlements that are not at their end; where there is none, one that is or is not there."""
        found = self._numbers("SELECT settlement_id FROM settlement WHERE state NOT IN ('SETTLED', 'ABORTED')")
        return found[which % len(found)] if found else which

    @rule(settlement=numbers, state=st.sampled_from(ACCOUNT_STATES), some=settled)
    def lead(self, settlement: int, state: str, some: set[str]) -> None:
        participants = self.hub.directory.participants
        updates = tuple(
            ParticipantUpdate(
                participants[name].participant_id,
                tuple(
                    AccountUpdate(account.account_id, state, "the bank says so")
                    for account in map(participants[name].accounts.get, (("USD", POSITION), ("USD", FEE_TYPE)))
                    if account is not None
                ),
            )
            for name in sorted(some)
        )
        self.hub.run(UpdateSettlement(settlement_id=self._unfinished(settlement), participants=updates))

    @rule(settlement=numbers)
    def lead_all_to_reserved(self, settlement: int) -> None:
        for state in ACCOUNT_STATES[1:3]:
            self.lead(settlement, state, set(SETTLED))

    @rule(settlement=numbers)
    def abort(self, settlement: int) -> None:
        self.hub.run(AbortSettlement(settlement_id=self._unfinished(settlement), reason="not so"))

    @rule(settlement=numbers)
    def finalise(self, settlement: int) -> None:
        self.hub.run(FinaliseSettlement(settlement_id=self._unfinished(settlement), reason="all paid"))

    @rule(name=names, amount=amounts)
    def pay_in(self, name: str, amount: str) -> None:
        self.hub.accept(self.hub.funds_in(name, f"{amount} USD"))

    @rule(name=names, amount=amounts, commits=st.booleans())
    def pay_out(self, name: str, amount: str, commits: bool) -> None:
        reserved = self.hub.funds_out(name, f"{amount} USD")
        self.hub.accept(reserved)
        self.hub.run(self.hub.commit_out(reserved) if commits else self.hub.abort_out(reserved))

    @rule(name=names, cap=st.integers(0, 1_000))
    def limit(self, name: str, cap: int) -> None:
        self.hub.adjust_cap(name, "USD", str(cap))

    @rule()
    def retry(self) -> None:
        self.hub.accept(SettleGross())

    @invariant()
    def the_books_are_right(self) -> None:
        self.scheme.check()

    def teardown(self) -> None:
        self.hub.close()


def lives(count: int) -> settings:
    return settings(max_examples=count, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


TestSettlementMachine = SettlementMachine.TestCase
TestSettlementMachine.settings = lives(40)


@pytest.mark.soak
class TestManySettlementMachines(SettlementMachine.TestCase):  # type: ignore[name-defined, misc]
    """The same for long."""

    settings = lives(400)


def walk(seed: int, steps: int) -> SettlementMachine:
    """A busier life than hypothesis leads: payments in plenty, so that there is always something to settle."""
    chance = random.Random(seed)
    machine = SettlementMachine()
    machine.onboard(chance.choice(sorted(MODELS)))

    def amount() -> str:
        return str(Amount(Currency("USD"), chance.randint(1, 300_0000)).wire)

    def some() -> set[str]:
        return set(chance.sample(SETTLED, chance.randint(1, 4)))

    deeds: list[tuple[int, Callable[[], None]]] = [
        (1, lambda: machine.prefer(chance.choice(sorted(MODELS)))),
        (1, lambda: machine.prefer_for_fees(chance.sample(sorted(FEE_MODELS), chance.randint(0, 3)))),
        (2, lambda: machine.charge(chance.sample(range(len(RULES)), chance.randint(0, len(RULES))))),
        (4, lambda: machine.reserve(chance.choice(NAMES), chance.choice(NAMES), amount())),
        (3, lambda: machine.answer(chance.random() < 0.8)),
        (10, lambda: machine.pay(chance.choice(NAMES), chance.choice(NAMES), amount())),
        (1, machine.expire),
        (3, machine.close),
        (4, lambda: machine.settle(chance.randint(1, 6), chance.choice(ALL_MODELS), {chance.randint(1, 6)})),
        (4, lambda: machine.lead(chance.randint(1, 6), chance.choice(ACCOUNT_STATES), some())),
        (2, lambda: machine.lead_all_to_reserved(chance.randint(1, 6))),
        (1, lambda: machine.abort(chance.randint(1, 6))),
        (1, lambda: machine.finalise(chance.randint(1, 6))),
        (3, lambda: machine.pay_in(chance.choice(NAMES), amount())),
        (3, lambda: machine.pay_out(chance.choice(NAMES), amount(), chance.random() < 0.7)),
        (1, lambda: machine.limit(chance.choice(NAMES), chance.randint(0, 1_000))),
        (2, machine.retry),
    ]
    for _ in range(steps):
        (deed,) = chance.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])
        deed()
        machine.the_books_are_right()
    return machine


@pytest.mark.parametrize("seed", range(6))
def test_a_busy_life_keeps_the_books_right(seed: int) -> None:
    machine = walk(seed, 200)
    assert machine.number_of("fee") > 0
    machine.teardown()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_busy_lives_keep_the_books_right(seed: int) -> None:
    walk(seed, 600).teardown()
