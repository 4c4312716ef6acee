"""What settlements ask of the bank, model by model, and what keeps them from being asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.switch.banking import Banking
from tests.switch.scheme_bench import SchemeBench, show

from vuka.bankfiles.model import Order
from vuka.bankfiles.orders import FORMATS
from vuka.config import Scheme
from vuka.ids import FspId
from vuka.money import Currency
from vuka.switch.bank_accounts import RemoveBankAccount
from vuka.switch.bank_orders import Unpayable, settlement_transfers

A, B, C = "alpha", "bravo", "charlie"


@pytest.fixture
def scheme() -> Iterator[Banking]:
    hub = SchemeBench(rules=Scheme(on_us_transfers=True))
    for name in (A, B, C):
        hub.onboard(name, "USD", cap="1000", funds="2000")
    banking = Banking(hub, A, B, C)
    yield banking
    banking.check()
    hub.close()


def pay_round(scheme: Banking) -> None:
    """A owes B 100 and gets 30 back, B owes C 50, C owes A 20: A +50, B −20, C −30."""
    scheme.pay(A, B, "100 USD")
    scheme.pay(B, A, "30 USD")
    scheme.pay(B, C, "50 USD")
    scheme.pay(C, A, "20 USD")


def asked(scheme: Banking, settlement_id: int, **fields: Any) -> list[tuple[str, str, str]]:
    """Who is to pay whom how much."""
    found = scheme.order(settlement_id, **fields)
    assert isinstance(found, Order), found
    return [(each.debtor.holder, each.creditor.holder, show(each.amount)) for each in found.instructions]


def test_net_senders_pay_the_scheme_which_pays_net_receivers(scheme: Banking) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    assert asked(scheme, settlement) == [(A, "Hub", "50"), ("Hub", B, "20"), ("Hub", C, "30")]


def test_pairs_pay_each_other_the_difference(scheme: Banking) -> None:
    scheme.add_model("BILATERAL", "DEFERRED", "NET", "BILATERAL")
    pay_round(scheme)
    settlement = scheme.create(scheme.close(), model="BILATERAL")
    assert asked(scheme, settlement) == [(A, B, "70"), (B, C, "50"), (C, A, "20")]


def test_pairs_pay_each_direction_in_full_where_it_is_gross(scheme: Banking) -> None:
    scheme.add_model("GROSSMODEL", "DEFERRED", "GROSS", "BILATERAL")
    pay_round(scheme)
    settlement = scheme.create(scheme.close(), model="GROSSMODEL")
    assert asked(scheme, settlement) == [(A, B, "100"), (B, A, "30"), (B, C, "50"), (C, A, "20")]


def test_whoever_is_even_neither_pays_nor_is_paid(scheme: Banking) -> None:
    scheme.pay(A, B, "10 USD")
    scheme.pay(B, A, "10 USD")
    scheme.pay(A, C, "1 USD")
    settlement = scheme.create(scheme.close())
    assert asked(scheme, settlement) == [(A, "Hub", "1"), ("Hub", C, "1")]


def test_asking_again_asks_for_the_same_files(scheme: Banking) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    first = scheme.order(settlement)
    scheme.hub.advance(86_400_000)
    scheme.step(settlement, "PS_TRANSFERS_RECORDED")
    again = scheme.order(settlement)
    assert isinstance(first, Order)
    assert isinstance(again, Order)
    assert [write(first) for write in FORMATS.values()] == [write(again) for write in FORMATS.values()]


def test_references_and_uetrs_are_each_transfers_own(scheme: Banking) -> None:
    pay_round(scheme)
    first = scheme.create(scheme.close())
    pay_round(scheme)
    second = scheme.create(scheme.close())
    orders = [scheme.order(each) for each in (first, second)]
    instructions = [each for order in orders if isinstance(order, Order) for each in order.instructions]
    assert len({str(each.reference) for each in instructions}) == len({each.uetr for each in instructions}) == 6


def test_the_bank_settles_on_the_day_of_the_settlement_or_the_one_that_is_asked_for(scheme: Banking) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    found = [scheme.order(settlement), scheme.order(settlement, value_date="2030-01-31")]
    assert [each.value_date for each in found if isinstance(each, Order)] == ["2023-11-14", "2030-01-31"]


def test_every_missing_account_is_named_at_once(scheme: Banking) -> None:
    pay_round(scheme)
    settlement = scheme.create(scheme.close())
    for name in (B, "Hub"):
        scheme.hub.accept(RemoveBankAccount(name=FspId(name), currency=Currency("USD")))
    found = scheme.order(settlement)
    assert isinstance(found, Unpayable)
    assert found.sentences() == ["Hub has no bank account in USD", "bravo has no bank account in USD"]


def test_an_amount_that_the_currency_has_not_is_named_and_not_rounded(scheme: Banking) -> None:
    scheme.pay(A, B, "100.0001 USD")
    scheme.pay(A, C, "5 USD")
    settlement = scheme.create(scheme.close())
    found = scheme.order(settlement)
    assert isinstance(found, Unpayable)
    assert found.sentences() == [
        "no bank can pay Hub the 105.0001 USD of alpha",
        "no bank can pay bravo the 100.0001 USD of Hub",
    ]


def test_currencies_are_told_apart() -> None:
    hub = SchemeBench()
    for currency in ("USD", "EUR"):
        for name in (A, B):
            hub.onboard(name, currency, cap="1000", funds="2000")
    scheme = Banking(hub, A, B, currencies=("USD", "EUR"))
    scheme.pay(A, B, "10 USD")
    scheme.pay(B, A, "7 EUR")
    settlement = scheme.create(scheme.close())
    assert asked(scheme, settlement, currency="EUR") == [(B, "Hub", "7"), ("Hub", A, "7")]
    assert len(asked(scheme, settlement)) == 4
    hub.close()


def test_there_is_nothing_to_ask_of_a_settlement_that_is_not_there(scheme: Banking) -> None:
    assert scheme.hub.read(lambda tx, _ledger, directory: settlement_transfers(tx, directory, 9)) is None
