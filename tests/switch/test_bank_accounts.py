"""Bank accounts of participants and of the hub: each check of them, by the field's name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.switch.scheme_bench import SchemeBench

from vuka.bankfiles.model import BankAccount
from vuka.ids import FspId
from vuka.money import Currency
from vuka.switch.bank_accounts import RemoveBankAccount, SetBankAccount, bank_accounts

IBAN = "GB29NWBK60161331926819"


@pytest.fixture
def hub() -> Iterator[SchemeBench]:
    bench = SchemeBench()
    for name in ("alpha", "bravo"):
        bench.onboard(name, "USD", cap="100")
    yield bench
    bench.close()


def account(name: str = "alpha", **fields: Any) -> SetBankAccount:
    """The command for an account in USD; ``fields`` override its own."""
    defaults: dict[str, Any] = {"currency": Currency("USD"), "account": IBAN, "holder_name": "Alpha Ltd"}
    return SetBankAccount(name=FspId(name), **(defaults | fields))


def stored(hub: SchemeBench) -> list[BankAccount]:
    return hub.read(lambda tx, _ledger, _directory: bank_accounts(tx))


def test_an_account_is_kept_in_plain_form(hub: SchemeBench) -> None:
    hub.accept(account(account="gb29 NWBK 6016 1331 9268 19", bic="NWBKGB2L", agent_bic="RBOSGGSXXXX"))
    assert stored(hub) == [BankAccount("alpha", Currency("USD"), IBAN, "IBAN", "Alpha Ltd", "NWBKGB2L", "RBOSGGSXXXX")]


def test_a_new_account_takes_the_place_of_the_old(hub: SchemeBench) -> None:
    hub.accept(account(bic="NWBKGB2L"))
    hub.accept(account(account="12-34/a", scheme="OTHER"))
    assert [(each.account, each.scheme, each.bic) for each in stored(hub)] == [("12-34/a", "OTHER", None)]


def test_the_hub_has_the_schemes_own_account(hub: SchemeBench) -> None:
    hub.accept(account("Hub", holder_name="Scheme"))
    assert [each.holder for each in stored(hub)] == ["Hub"]


def test_an_account_is_removed(hub: SchemeBench) -> None:
    hub.accept(account())
    hub.accept(RemoveBankAccount(name=FspId("alpha"), currency=Currency("USD")))
    assert stored(hub) == []


def test_what_is_not_there_is_not_removed(hub: SchemeBench) -> None:
    refused = hub.refuse(RemoveBankAccount(name=FspId("alpha"), currency=Currency("USD")))
    assert refused == ("3200", "Generic ID not found - alpha has no bank account in USD", 400)


@pytest.mark.parametrize(
    ("name", "fields", "error"),
    [
        ("nobody", {}, ("3200", "Generic ID not found - participant not found")),
        ("alpha", {"currency": "EUR"}, ("3100", "alpha has no EUR accounts in the scheme")),
        (
            "alpha",
            {"account": "GB29NWBK60161331926818"},
            ("3100", '"account" is not an IBAN: its check digits are wrong'),
        ),
        ("alpha", {"account": "12-34"}, ("3100", '"account" is not an IBAN: two letters, two digits')),
        ("alpha", {"account": "=1+1", "scheme": "OTHER"}, ("3100", '"account" must have 1 to 34 letters')),
        ("alpha", {"scheme": "BBAN"}, ("3100", '"scheme" must be one of [IBAN, OTHER]')),
        ("alpha", {"bic": "NWBK"}, ("3100", '"bic" is not a BIC')),
        ("alpha", {"agent_bic": "nwbkgb2l"}, ("3100", '"agentBic" is not a BIC')),
        ("alpha", {"holder_name": "=HYPERLINK()"}, ("3100", '"name" must begin with a letter or digit')),
        ("alpha", {"holder_name": "x" * 141}, ("3100", '"name" must have 1 to 140 characters')),
    ],
)
def test_what_is_wrong_is_told_with_its_field_and_changes_nothing(
    hub: SchemeBench, name: str, fields: dict[str, Any], error: tuple[str, str]
) -> None:
    code, description, status = hub.refuse(account(name, **fields))
    assert (code, status, error[1] in description) == (error[0], 400, True), description
    assert stored(hub) == []


def test_no_two_participants_have_one_account(hub: SchemeBench) -> None:
    hub.accept(account())
    code, description, _ = hub.refuse(account("bravo"))
    assert (code, '"account" is that of alpha already' in description) == ("3100", True)


def test_one_account_number_may_hold_several_currencies(hub: SchemeBench) -> None:
    hub.onboard("alpha", "EUR", cap="1")
    hub.accept(account())
    hub.accept(account(currency=Currency("EUR")))
    assert [each.currency for each in stored(hub)] == ["EUR", "USD"]
