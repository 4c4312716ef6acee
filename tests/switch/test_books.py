"""The books: a trial balance that balances, and statements whose movements make their balances."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.switch.scheme_bench import SchemeBench, show
from tests.switch.settling import Settling
from tests.switch.test_settlement_machine import walk
from tests.switch.wire import EXPIRY_MS, prepare

from vuka.switch import books
from vuka.switch.directory import HEADROOM, INTERNAL_ACCOUNT_TYPES

A, B = "alpha", "bravo"


@pytest.fixture
def scheme() -> Iterator[Settling]:
    hub = SchemeBench()
    for name in (A, B):
        hub.onboard(name, "USD", cap="1000", funds="2000")
    yield Settling(hub)
    hub.close()


def statement(hub: SchemeBench, name: str, kind: str, **period: int) -> books.Statement:
    def read(_tx: object, ledger: books.Ledger, directory: books.Directory) -> books.Statement:
        account = directory.participants[name].accounts["USD", kind]
        return books.statement(ledger, directory, name, account, **period)

    return hub.read(read)


def trial_balance(hub: SchemeBench, until_ms: int | None = None) -> list[books.Balance]:
    return hub.read(lambda _tx, ledger, directory: books.trial_balance(ledger, directory, until_ms=until_ms))


def test_a_position_shows_payments_and_settlement_and_no_headroom(scheme: Settling) -> None:
    scheme.pay(A, B, "12.5 USD")
    scheme.walk(scheme.create(scheme.close()))
    found = statement(scheme.hub, A, "POSITION")
    assert [(each.what, each.counterparty, show(each.balance)) for each in found.movements] == [
        ("payment reserved", "bravo POSITION", "12.5"),
        ("settlement", "Hub HUB_MULTILATERAL_SETTLEMENT", "0"),
    ]


def test_an_expired_payment_is_taken_back(scheme: Settling) -> None:
    scheme.hub.accept(prepare(scheme.hub, "7 USD", payer=A, payee=B))
    scheme.hub.advance(EXPIRY_MS)
    scheme.hub.expire()
    found = statement(scheme.hub, A, "POSITION")
    assert [(each.what, show(each.debit), show(each.credit)) for each in found.movements] == [
        ("payment reserved", "7", "0"),
        ("payment aborted", "0", "7"),
    ]


def test_periods_follow_on_each_other(scheme: Settling) -> None:
    scheme.pay(A, B, "10 USD")
    middle = scheme.hub.now_ms
    scheme.hub.advance(1000)
    scheme.pay(A, B, "5 USD")
    before = statement(scheme.hub, A, "POSITION", until_ms=middle)
    after = statement(scheme.hub, A, "POSITION", from_ms=middle + 1)
    assert (show(before.closing), show(after.opening), show(after.closing)) == ("10", "10", "15")


def test_a_trial_balance_of_the_past_leaves_out_what_came_later(scheme: Settling) -> None:
    scheme.pay(A, B, "10 USD")
    then, past = scheme.hub.now_ms, trial_balance(scheme.hub)
    scheme.hub.advance(1000)
    scheme.pay(A, B, "5 USD")
    assert trial_balance(scheme.hub, then) == past
    assert trial_balance(scheme.hub, scheme.hub.now_ms) == trial_balance(scheme.hub)


def test_times_that_the_ledger_has_no_number_for_are_before_or_after_everything(scheme: Settling) -> None:
    scheme.pay(A, B, "10 USD")
    ages_ago, never = -2_000_000_000_000, 253_402_300_799_999

    def journal(**period: int) -> list[books.Transfer]:
        return scheme.hub.read(lambda _tx, ledger, _directory: list(books.transfers(ledger, **period)))

    assert journal(from_ms=ages_ago, until_ms=never) == journal() != []
    assert journal(until_ms=ages_ago) == journal(from_ms=never) == []
    assert trial_balance(scheme.hub, never) == trial_balance(scheme.hub)
    assert statement(scheme.hub, A, "POSITION", from_ms=ages_ago, until_ms=never).closing == 100_000
    assert statement(scheme.hub, A, "POSITION", until_ms=ages_ago).closing == 0


@pytest.mark.parametrize("seed", range(3))
def test_after_a_busy_life_every_statement_ends_with_the_figure_of_the_api(seed: int) -> None:
    machine = walk(seed, 120)
    hub = machine.hub
    balances = trial_balance(hub)
    assert sum(each.debits for each in balances) == sum(each.credits for each in balances) > 0
    assert trial_balance(hub, hub.now_ms) == balances
    for name, participant in hub.directory.participants.items():
        for currency, kind in participant.accounts:
            if currency != "USD" or kind in INTERNAL_ACCOUNT_TYPES | {HEADROOM}:
                continue
            found = statement(hub, name, kind)
            changed = sum(each.debit - each.credit for each in found.movements)
            assert (found.opening + changed, show(found.closing)) == (found.closing, hub.value(name, "USD", kind))
    machine.teardown()
