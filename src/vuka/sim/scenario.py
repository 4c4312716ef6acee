"""The demo's cast and script: four participants in two currencies, and one payment of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient
from vuka.money import Amount
from vuka.sim.onboard import Joining, Operator, Terms, onboard
from vuka.sim.outcomes import Outcomes
from vuka.sim.participant import Conduct, Customer, Participant, Payment, PaymentState

TRANSFER_SECONDS: Final = 20.0
SHORT_TRANSFER_SECONDS: Final = 2.0
"""The expiration of the script's payment that is to time out."""

CURRENCIES: Final = ("USD", "KES")


def _minor(text: str) -> int:
    return Amount.from_string(text).minor


class Role(msgspec.Struct, frozen=True):
    """One participant of the cast: amounts as people write them, e.g. ``"1000 USD"``."""

    name: str
    what: str
    version: Version
    terms: dict[str, tuple[str, str]]
    """By currency: net debit cap, first funds."""
    fee: str
    customers: tuple[tuple[str, str, str], ...]
    """MSISDN, name, opening balances ("500 USD, 20000 KES")."""


CAST: Final = (
    Role(
        "greenbank",
        "a bank",
        Version.V2_0,
        {"USD": ("5000 USD", "10000 USD"), "KES": ("500000 KES", "400000 KES")},
        "0 USD",
        (
            ("254700000001", "Amina Otieno", "2500 USD, 90000 KES"),
            ("254700000002", "José Ñandú-Pérez", "800 USD, 15000 KES"),
        ),
    ),
    Role(
        "pesapay",
        "a mobile wallet",
        Version.V1_1,
        {"USD": ("2000 USD", "3000 USD"), "KES": ("300000 KES", "350000 KES")},
        "0.1 USD",
        (
            ("254711000001", "Wanjiru Kamau", "300 USD, 45000 KES"),
            ("254711000002", "ကောင်းထက်စံ", "150 USD, 8000 KES"),
        ),
    ),
    Role(
        "kilimo",
        "a microfinance institution",
        Version.V1_1,
        {"USD": ("500 USD", "120 USD"), "KES": ("50000 KES", "60000 KES")},
        "0.25 USD",
        (("254722000001", "Achieng Farmers' Co-op", "900 USD, 70000 KES"),),
    ),
    Role(
        "shopline",
        "a merchant acquirer",
        Version.V1_0,
        {"USD": ("200 USD", "5000 USD")},
        "0.5 USD",
        (("254733000001", "Mama Njeri's Shop", "6000 USD"),),
    ),
)


class Cast:
    """The participants of the demo, running."""

    def __init__(self, participants_url: str, operators_url: str, *, outcomes: Outcomes | None = None) -> None:
        self.client = HttpClient(timeout_ms=15_000)
        self.operator = Operator(self.client, operators_url)
        self._outcomes = outcomes
        self.participants = {role.name: self._participant(role, participants_url) for role in CAST}

    def _participant(self, role: Role, hub_url: str) -> Participant:
        return Participant(
            role.name,
            currencies=tuple(role.terms),
            client=self.client,
            hub_url=hub_url,
            version=role.version,
            fee=_minor(role.fee),
            transfer_seconds=TRANSFER_SECONDS,
            outcomes=self._outcomes,
            customers=[
                Customer(
                    name,
                    "MSISDN",
                    identifier,
                    {amount.currency: amount.minor for amount in map(Amount.from_string, balances.split(", "))},
                )
                for identifier, name, balances in role.customers
            ],
        )

    async def start(self) -> None:
        """Has every participant listen, and onboards it."""
        for participant in self.participants.values():
            await participant.start()
        await onboard(
            self.operator,
            [
                Joining(
                    self.participants[role.name],
                    {currency: Terms(_minor(cap), _minor(funds)) for currency, (cap, funds) in role.terms.items()},
                )
                for role in CAST
            ],
        )

    async def stop(self) -> None:
        """Stops them."""
        for participant in self.participants.values():
            await participant.stop()
        await self.client.close()

    @property
    def names(self) -> Sequence[str]:
        """Their names, in the order of the cast."""
        return tuple(self.participants)


class Step(msgspec.Struct, frozen=True):
    """One payment of the script: what is to happen, and how it is to end."""

    title: str
    payer: tuple[str, str]
    payee: str
    amount: str
    expected: PaymentState
    expected_error: str = ""
    """What the error begins with."""
    conduct: tuple[str, Conduct] | None = None
    transfer_seconds: float = TRANSFER_SECONDS


SCRIPT: Final = (
    Step("bank to wallet", ("greenbank", "254700000001"), "254711000001", "120 USD", PaymentState.COMMITTED),
    Step("wallet to bank", ("pesapay", "254711000001"), "254700000002", "35.5 USD", PaymentState.COMMITTED),
    Step("a Burmese name", ("greenbank", "254700000002"), "254711000002", "12.25 USD", PaymentState.COMMITTED),
    Step("in shillings", ("pesapay", "254711000001"), "254722000001", "4500 KES", PaymentState.COMMITTED),
    Step("to a merchant (FSPIOP 1.0)", ("pesapay", "254711000001"), "254733000001", "64 USD", PaymentState.COMMITTED),
    Step("unknown payee", ("greenbank", "254700000001"), "254799999999", "5 USD", PaymentState.ABORTED, "3204"),
    Step(
        "more than its liquidity", ("kilimo", "254722000001"), "254711000001", "400 USD", PaymentState.ABORTED, "4001"
    ),
    # So much more than the cap that what earlier plays of the script brought in does not cover it.
    Step("more than its cap", ("shopline", "254733000001"), "254711000001", "4900 USD", PaymentState.ABORTED, "4200"),
    Step(
        "the payee rejects the quote",
        ("greenbank", "254700000001"),
        "254711000001",
        "10 USD",
        PaymentState.ABORTED,
        "5101",
        conduct=("pesapay", Conduct.REJECTS_QUOTES),
    ),
    Step(
        "the payee declines the transfer",
        ("greenbank", "254700000001"),
        "254711000001",
        "10 USD",
        PaymentState.ABORTED,
        "5104",
        conduct=("pesapay", Conduct.ABORTS),
    ),
    Step(
        "a wrong fulfilment",
        ("greenbank", "254700000001"),
        "254711000001",
        "10 USD",
        PaymentState.ABORTED,
        "3100",
        conduct=("pesapay", Conduct.WRONG_FULFILMENT),
    ),
    Step(
        "every answer twice",
        ("greenbank", "254700000001"),
        "254711000001",
        "15 USD",
        PaymentState.COMMITTED,
        conduct=("pesapay", Conduct.DUPLICATES),
    ),
    Step(
        "the payee is silent: it expires",
        ("greenbank", "254700000001"),
        "254711000001",
        "20 USD",
        PaymentState.ABORTED,
        "3303",
        conduct=("pesapay", Conduct.SILENT),
        transfer_seconds=SHORT_TRANSFER_SECONDS,
    ),
    Step("and life goes on", ("greenbank", "254700000001"), "254711000001", "1 USD", PaymentState.COMMITTED),
)


class StepResult(msgspec.Struct, frozen=True):
    """How a step ended."""

    step: Step
    payment: Payment
    payer_change: int = 0
    payee_change: int = 0
    """How the two customers' balances changed, in minor units of the payment's currency."""

    @property
    def name(self) -> str:
        """What happened."""
        return self.step.title

    @property
    def expected(self) -> str:
        """How it was to end: a state, and the error that it was to end with."""
        return f"{self.step.expected} {self.step.expected_error}".rstrip()

    @property
    def outcome(self) -> str:
        """How it ended."""
        return f"{self.payment.state} {self.payment.error}".rstrip()

    @property
    def latency_ms(self) -> float:
        """From the first question to the hub's last word to the payer."""
        return self.payment.total_ms

    @property
    def ok(self) -> bool:
        """Whether it ended as it was to, and moved the customers' money exactly so."""
        payment = self.payment
        if payment.state is not self.step.expected or not payment.error.startswith(self.step.expected_error):
            return False
        if payment.state is not PaymentState.COMMITTED:
            return (self.payer_change, self.payee_change) == (0, 0)
        return (self.payer_change, self.payee_change) == (-payment.transfer_amount, payment.payee_receives)


async def play(cast: Cast, script: Sequence[Step] = SCRIPT) -> AsyncIterator[StepResult]:
    """Plays a script, step by step."""
    for step in script:
        payer = cast.participants[step.payer[0]]
        amount = Amount.from_string(step.amount)
        before = _balances(cast, step, amount.currency)
        payer.transfer_seconds = step.transfer_seconds
        conducted = cast.participants[step.conduct[0]] if step.conduct is not None else None
        if conducted is not None and step.conduct is not None:
            conducted.conduct = step.conduct[1]
        try:
            payment = await payer.pay(step.payer[1], ("MSISDN", step.payee), amount.minor, amount.currency)
        finally:
            payer.transfer_seconds = TRANSFER_SECONDS
            if conducted is not None:
                conducted.conduct = Conduct.NORMAL
        payee = cast.participants.get(payment.payee_fsp)
        if payee is not None:
            await payee.ended(payment.transfer_id)
        after = _balances(cast, step, amount.currency)
        yield StepResult(step, payment, after[0] - before[0], after[1] - before[1])


def _balances(cast: Cast, step: Step, currency: str) -> tuple[int, int]:
    """What payer and payee have, in minor units; nothing where nobody serves the payee."""
    payer = cast.participants[step.payer[0]].customer(step.payer[1])
    payee = next(
        (
            customer
            for participant in cast.participants.values()
            for customer in participant.customers.values()
            if customer.identifier == step.payee
        ),
        None,
    )
    return payer.balances.get(currency, 0), payee.balances.get(currency, 0) if payee is not None else 0
