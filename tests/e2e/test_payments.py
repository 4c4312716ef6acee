"""Whole payments, from lookup to commit: customers, participants, hub and books agree to the minor unit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from tests.e2e.running import RunningHub, running

from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient
from vuka.money import Amount
from vuka.sim.onboard import Joining, Operator, Terms, onboard
from vuka.sim.participant import Conduct, Customer, Participant, Payment, PaymentState

pytestmark = pytest.mark.asyncio(loop_scope="module")

CURRENCIES: Final = ("USD", "KES")
FEES: Final = {"alder": "0.5", "birch": "0.25", "cedar": "0"}
VERSIONS: Final = {"alder": Version.V1_0, "birch": Version.V1_1, "cedar": Version.V2_0}
SHORT_SECONDS: Final = 0.8
ALL_SECONDS_MAX: Final = 30


def minor(text: str) -> int:
    """Minor units of an amount as people write it; the currency makes no difference."""
    return Amount.from_string(f"{text} USD").minor


OPENING: Final = minor("1000000")


class Scheme:
    """A hub, an operator, and a participant of each version with one customer each."""

    def __init__(self, hub: RunningHub, client: HttpClient) -> None:
        self.hub = hub
        self.client = client
        self.operator = Operator(client, hub.operators_url)
        self.participants = {
            name: Participant(
                name,
                currencies=CURRENCIES,
                client=client,
                hub_url=hub.participants_url,
                version=version,
                fee=minor(FEES[name]),
                customers=[
                    Customer(f"Customer of {name}", "MSISDN", msisdn_of(name), dict.fromkeys(CURRENCIES, OPENING))
                ],
                answer_seconds=4.0,
                grace_seconds=1.0,
                retry_first_seconds=0.01,
            )
            for name, version in VERSIONS.items()
        }

    async def start(self) -> None:
        """Has the participants listen and take part."""
        for each in self.participants.values():
            await each.start()
        terms = {currency: Terms(OPENING, OPENING) for currency in CURRENCIES}
        await onboard(self.operator, [Joining(each, terms) for each in self.participants.values()])

    async def stop(self) -> None:
        """Stops the participants."""
        for each in self.participants.values():
            await each.stop()

    async def pay(self, payer: str, payee: str, amount: str, currency: str = "USD", **options: str) -> Payment:
        """One payment between the customers of two participants, and its end at both of them."""
        payment = await self.participants[payer].pay(
            msisdn_of(payer), ("MSISDN", msisdn_of(payee)), minor(amount), currency, **options
        )
        await self.participants[payee].ended(payment.transfer_id)
        return payment

    def balance(self, name: str, currency: str = "USD") -> int:
        """What a participant's customer has, in minor units."""
        return self.participants[name].customer(msisdn_of(name)).balances[currency]

    async def positions(self) -> dict[tuple[str, str], int]:
        """What the operators' API shows, in minor units."""
        figures = await self.operator.figures(list(self.participants))
        return {
            (name, currency): minor(str(value))
            for (name, currency, kind), value in figures.items()
            if kind == "POSITION"
        }

    def in_flight_to(self, name: str) -> int:
        """Messages under way from the hub to a participant."""
        statistics = self.hub.hub.engine.courier.statistics().get(name)
        return statistics.in_flight if statistics is not None else 0

    async def agree(self) -> None:
        """Every participant's own sums, what each was told, the hub's records and its books: all say the same."""
        participants = self.participants.values()
        assert [each.contradictions for each in participants] == [[] for _ in participants]
        positions = await self.positions()
        for each in participants:
            for currency in CURRENCIES:
                assert positions[each.name, currency] == each.sent[currency] - each.received[currency], each.name
        payments = {transfer_id: payment for each in participants for transfer_id, payment in each.payments.items()}
        states = self.hub.states()
        committed = {each for each, payment in payments.items() if payment.state is PaymentState.COMMITTED}
        assert committed == {each for each, state in states.items() if state == "COMMITTED"}
        reserved = {each: held.state for payee in participants for each, held in payee.reservations.items()}
        assert {each for each, state in reserved.items() if state == "COMMITTED"} == committed
        assert "RESERVED" not in reserved.values()
        for currency in CURRENCIES:
            fees = sum(payments[each].fee for each in committed if payments[each].currency == currency)
            held = sum(self.balance(name, currency) for name in self.participants)
            assert held + fees == OPENING * len(self.participants)
        assert self.hub.audit().differences == []


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what nobody announces: it is looked for again and again."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def msisdn_of(name: str) -> str:
    """The identifier of a participant's only customer."""
    return f"25470000000{sorted(VERSIONS).index(name)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scheme]:
    """One scheme for all tests of this page. A hub that gives up on a hanging participant soon."""
    client = HttpClient(timeout_ms=5_000)
    async with running(
        tmp_path_factory.mktemp("hub") / "data", COURIER_TIMEOUT_MS="300", COURIER_RETRY_MAX_MS="100"
    ) as hub:
        scheme = Scheme(hub, client)
        await scheme.start()
        yield scheme
        await scheme.stop()
    await client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def scheme(shared: Scheme) -> AsyncIterator[Scheme]:
    """The scheme with everybody well-behaved, before and after."""
    yield shared
    for each in shared.participants.values():
        each.conduct, each.transfer_seconds, each.on_change = Conduct.NORMAL, 20.0, None


# --- payments that commit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize(
    ("payer", "payee"), [(payer, payee) for payer in VERSIONS for payee in VERSIONS if payer != payee]
)
async def test_a_payment_moves_the_same_money_everywhere(scheme: Scheme, payer: str, payee: str, currency: str) -> None:
    before = {name: scheme.balance(name, currency) for name in VERSIONS}
    positions = await scheme.positions()
    payment = await scheme.pay(payer, payee, "10.25", currency)
    assert (payment.state, payment.error) == (PaymentState.COMMITTED, "")
    amount, fee = minor("10.25"), minor(FEES[payee])
    assert scheme.balance(payer, currency) == before[payer] - amount
    assert scheme.balance(payee, currency) == before[payee] + amount - fee
    changed = await scheme.positions()
    moved = {each: changed[each] - positions[each] for each in positions if changed[each] != positions[each]}
    assert moved == {(payer, currency): amount, (payee, currency): -amount}
    told = [scheme.participants[name].told[payment.transfer_id] for name in (payer, payee)]
    assert told == [["COMMITTED"], ["COMMITTED"]]
    record = await scheme.operator.do("GET", f"/transfers/{payment.transfer_id}")
    assert (record["payerFsp"], record["payeeFsp"], record["internalState"]) == (payer, payee, "COMMITTED")
    assert minor(str(record["amount"]["amount"])) == amount
    await scheme.agree()


async def test_a_payment_that_names_what_the_payee_receives_costs_the_payer_the_fee_on_top(scheme: Scheme) -> None:
    before = {name: scheme.balance(name) for name in VERSIONS}
    payment = await scheme.pay("cedar", "birch", "7.5", amount_type="RECEIVE")
    assert (payment.state, payment.error) == (PaymentState.COMMITTED, "")
    assert scheme.balance("birch") == before["birch"] + minor("7.5")
    assert scheme.balance("cedar") == before["cedar"] - minor("7.75")
    await scheme.agree()


async def test_a_cent_is_paid_exactly(scheme: Scheme) -> None:
    before = scheme.balance("cedar")
    payment = await scheme.pay("birch", "cedar", "0.01")
    assert (payment.state, payment.error) == (PaymentState.COMMITTED, "")
    assert scheme.balance("cedar") == before + minor("0.01")
    await scheme.agree()


async def test_many_payments_at_once_in_every_direction_all_commit(scheme: Scheme) -> None:
    pairs = [(payer, payee) for payer in VERSIONS for payee in VERSIONS if payer != payee]
    payments = await asyncio.gather(*(scheme.pay(*pair, "1.01", each) for pair in pairs * 4 for each in CURRENCIES))
    assert {each.state for each in payments} == {PaymentState.COMMITTED}
    await scheme.agree()


# --- payees that go wrong ---------------------------------------------------------------------------------------------

ENDS: Final = {
    Conduct.NORMAL: (PaymentState.COMMITTED, ""),
    Conduct.SLOW: (PaymentState.COMMITTED, ""),
    Conduct.SILENT: (PaymentState.ABORTED, "3303"),
    Conduct.REJECTS_QUOTES: (PaymentState.ABORTED, "5101"),
    Conduct.ABORTS: (PaymentState.ABORTED, "5104"),
    Conduct.WRONG_FULFILMENT: (PaymentState.ABORTED, "3100"),
    Conduct.DUPLICATES: (PaymentState.COMMITTED, ""),
    Conduct.MODIFIED_DUPLICATES: (PaymentState.COMMITTED, ""),
    Conduct.HANGS: (PaymentState.ABORTED, "1001"),
    Conduct.FAILS: (PaymentState.ABORTED, "1001"),
    Conduct.WRONG_SOURCE: (PaymentState.ABORTED, "3303"),
}


@pytest.mark.parametrize("payee", ["alder", "birch"])
@pytest.mark.parametrize("conduct", Conduct)
async def test_a_payment_to_a_payee_that_behaves_so_ends_and_nobody_loses_money(
    scheme: Scheme, conduct: Conduct, payee: str
) -> None:
    state, error = ENDS[conduct]
    scheme.participants[payee].conduct = conduct
    scheme.participants[payee].delay_ms = 30
    scheme.participants["cedar"].transfer_seconds = SHORT_SECONDS
    before = (scheme.balance("cedar"), scheme.balance(payee))
    payment = await scheme.pay("cedar", payee, "3")
    assert (payment.state, payment.error[:4]) == (state, error)
    moved = (scheme.balance("cedar") - before[0], scheme.balance(payee) - before[1])
    fee = minor(FEES[payee])
    assert moved == ((-minor("3"), minor("3") - fee) if state is PaymentState.COMMITTED else (0, 0))
    await scheme.agree()


async def test_a_payee_that_changes_its_answer_is_told_that_it_did(scheme: Scheme) -> None:
    payee = scheme.participants["birch"]
    payee.conduct = Conduct.MODIFIED_DUPLICATES
    payment = await scheme.pay("cedar", "birch", "3")
    await until(lambda: any(each.startswith("ERROR 3106") for each in payee.told[payment.transfer_id]))


async def test_a_payee_that_speaks_for_its_payer_changes_nothing(scheme: Scheme) -> None:
    scheme.participants["birch"].conduct = Conduct.WRONG_SOURCE
    scheme.participants["cedar"].transfer_seconds = SHORT_SECONDS
    payment = await scheme.pay("cedar", "birch", "3")
    assert payment.state is PaymentState.ABORTED
    assert scheme.hub.states()[payment.transfer_id] == "EXPIRED_RESERVED"


async def test_a_payee_that_hangs_at_the_transfer_never_gets_it_once_it_is_too_late(scheme: Scheme) -> None:
    payer, payee = scheme.participants["cedar"], scheme.participants["birch"]
    payer.transfer_seconds = SHORT_SECONDS

    def at_the_transfer(payment: Payment) -> None:
        if payment.state is PaymentState.TRANSFER:
            payee.conduct = Conduct.HANGS

    payer.on_change = at_the_transfer
    payment = await scheme.pay("cedar", "birch", "3")
    assert (payment.state, payment.error) == (PaymentState.ABORTED, "3303 Transfer expired")
    payee.conduct = Conduct.NORMAL
    await until(lambda: payment.transfer_id in payee.told)
    assert payee.told[payment.transfer_id] == ["ERROR 3303 Transfer expired"]
    assert payment.transfer_id not in payee.reservations
    await scheme.agree()


async def test_an_unknown_payee_costs_nothing(scheme: Scheme) -> None:
    before = scheme.balance("cedar")
    payment = await scheme.participants["cedar"].pay(msisdn_of("cedar"), ("MSISDN", "254799999999"), minor("3"), "USD")
    assert (payment.state, payment.error) == (PaymentState.ABORTED, "3204 Party not found")
    assert scheme.balance("cedar") == before


# --- the hub under strain ---------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(tmp_path: Path) -> AsyncIterator[Scheme]:
    """A scheme for one test, with the hub's usual patience."""
    client = HttpClient(timeout_ms=5_000)
    async with running(tmp_path / "data", SCHEME_ROUTED_DEADLINE_SECONDS="30") as hub:
        scheme = Scheme(hub, client)
        await scheme.start()
        yield scheme
        await scheme.stop()
    await client.close()


def _all_in(state: PaymentState, payer: Participant, count: int) -> asyncio.Event:
    """An event that is set when so many of a participant's payments have come to a state."""
    reached: set[str] = set()
    all_in = asyncio.Event()

    def changed(payment: Payment) -> None:
        if payment.state is state:
            reached.add(payment.transfer_id)
        if len(reached) == count:
            all_in.set()

    payer.on_change = changed
    return all_in


async def test_a_participant_that_hangs_delays_nobody_elses_payments(fresh: Scheme) -> None:
    in_flight_max = fresh.hub.config.courier.in_flight_max
    fresh.participants["alder"].conduct = Conduct.HANGS
    hanging = [asyncio.create_task(fresh.pay("cedar", "alder", "1")) for _ in range(in_flight_max + 8)]
    await until(lambda: fresh.in_flight_to("alder") == in_flight_max)
    payments = await asyncio.gather(*(fresh.pay("cedar", "birch", "1") for _ in range(40)))
    assert {each.state for each in payments} == {PaymentState.COMMITTED}
    assert not any(each.done() for each in hanging), "those to the hanging one were still waiting"
    fresh.participants["alder"].conduct = Conduct.NORMAL
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await fresh.agree()


@pytest.mark.parametrize("payee", ["alder", "birch"], ids=["committed", "reserved"])
async def test_a_hub_restarted_in_the_middle_of_payments_ends_them_all(fresh: Scheme, payee: str) -> None:
    count = 30
    # A stop goes on answering those who go on asking for half a second: payees are slower than that.
    fresh.participants[payee].conduct, fresh.participants[payee].delay_ms = Conduct.SLOW, 2_000
    all_in = _all_in(PaymentState.TRANSFER, fresh.participants["cedar"], count)
    paying = [asyncio.create_task(fresh.pay("cedar", payee, "1.5")) for _ in range(count)]
    async with asyncio.timeout(ALL_SECONDS_MAX):
        await all_in.wait()
    await fresh.hub.stop()
    assert not any(each.done() for each in paying)
    await fresh.hub.start()
    async with asyncio.timeout(ALL_SECONDS_MAX):
        payments: Sequence[Payment] = await asyncio.gather(*paying)
    assert {each.state for each in payments} == {PaymentState.COMMITTED}
    assert fresh.balance(payee) == OPENING + count * (minor("1.5") - minor(FEES[payee]))
    await fresh.agree()


async def test_a_hub_restarted_at_any_time_leaves_every_payment_with_one_end(fresh: Scheme) -> None:
    async def pay_on(payer: str, payee: str, currency: str) -> list[Payment]:
        return [await fresh.pay(payer, payee, "0.75", currency) for _ in range(6)]

    for each in fresh.participants.values():
        # A lookup is only routed: one that was under way when the hub stopped is not answered, and costs nothing.
        each.answer_seconds = 1.0
    pairs = [("alder", "birch"), ("birch", "cedar"), ("cedar", "alder"), ("cedar", "birch")]
    paying = [asyncio.create_task(pay_on(*pair, currency)) for pair in pairs for currency in CURRENCIES]
    for ended in (4, 14, 24):
        await until(lambda: list(fresh.hub.states().values()).count("COMMITTED") >= ended)  # noqa: B023
        await fresh.hub.stop()
        await fresh.hub.start()
    async with asyncio.timeout(ALL_SECONDS_MAX):
        payments = [payment for each in await asyncio.gather(*paying) for payment in each]
    assert {each.state for each in payments} <= {PaymentState.COMMITTED, PaymentState.ABORTED}
    assert {each.error for each in payments} <= {"", "no answer came in time"}
    assert sum(each.state is PaymentState.COMMITTED for each in payments) >= 24
    await fresh.agree()
