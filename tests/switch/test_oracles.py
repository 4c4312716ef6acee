"""The rules of oracles outside the hub: how they are registered, and which of them is asked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.switch.scheme_bench import SchemeBench

from vuka.errors import FspiopError
from vuka.money import Currency
from vuka.switch.directory import Oracle
from vuka.switch.oracles import AddOracle, ChangeOracle, RemoveOracle, oracle_for

URL = "http://oracle"
DUPLICATE = (
    "Internal server error - Duplicate: Active oracle with matching partyIdTypeId, endpointTypeId, currencyId "
    "already exists"
)


def added(hub: SchemeBench, currency: str | None = None, *, kind: str = "MSISDN", **fields: Any) -> int:
    """Registers an oracle; its number."""
    return number(hub.accept(addition(currency, kind=kind, **fields)).value)


def number(value: object) -> int:
    assert isinstance(value, int)
    return value


def addition(
    currency: str | None = None, *, kind: str = "MSISDN", value: str = URL, default: bool = False
) -> AddOracle:
    code = None if currency is None else Currency(currency)
    return AddOracle(party_id_type=kind, currency=code, value=value, is_default=default)


def changed(oracle_id: int, currency: str | None = None, *, kind: str = "MSISDN", **fields: Any) -> ChangeOracle:
    code = None if currency is None else Currency(currency)
    return ChangeOracle(oracle_id=oracle_id, party_id_type=kind, currency=code, **{"value": URL, **fields})


def asked(hub: SchemeBench, currency: str = "", *, kind: str = "MSISDN", writes: bool = False) -> int | None:
    """The number of the oracle that is asked; None for the hub's own."""
    oracle = oracle_for(hub.directory, kind, currency, writes=writes)
    return None if oracle is None else oracle.oracle_id


# --- which is asked ---------------------------------------------------------------------------------------------


def test_a_type_without_an_oracle_is_the_hubs_own(hub: SchemeBench) -> None:
    added(hub, kind="ALIAS")
    assert (asked(hub), asked(hub, "USD")) == (None, None)


def test_a_type_is_asked_of_its_oracle(hub: SchemeBench) -> None:
    assert added(hub) == asked(hub)


def test_an_oracle_for_any_currency_is_asked_for_each(hub: SchemeBench) -> None:
    assert added(hub) == asked(hub, "USD")


def test_the_oracle_for_exactly_a_currency_goes_before_one_for_any_even_the_default(hub: SchemeBench) -> None:
    added(hub, default=True)
    assert added(hub, "USD") == asked(hub, "USD")


def test_a_currency_of_which_the_type_has_no_oracle_is_3003(hub: SchemeBench) -> None:
    added(hub, "USD")
    with pytest.raises(
        FspiopError, match="3003 Add Party information error - Oracle type:MSISDN and currency:KES not found"
    ):
        asked(hub, "KES")


def test_a_registration_in_a_currency_without_an_oracle_goes_to_the_types_oracle(hub: SchemeBench) -> None:
    assert added(hub, "USD") == asked(hub, "KES", writes=True)


def test_a_registration_goes_where_a_lookup_in_its_currency_looks(hub: SchemeBench) -> None:
    added(hub, "USD", default=True)
    kes = added(hub, "KES")
    assert (asked(hub, "KES", writes=True), asked(hub, "KES")) == (kes, kes)


def test_of_several_the_default_is_asked(hub: SchemeBench) -> None:
    added(hub)
    added(hub, "USD")
    assert added(hub, "KES", default=True) == asked(hub)


def test_of_several_none_of_them_the_default_the_one_for_any_currency_is_asked(hub: SchemeBench) -> None:
    """The reference leaves the choice undefined there and fails (hub reference §7.4)."""
    added(hub, "USD")
    any_currency = added(hub)
    added(hub, "KES")
    assert asked(hub) == any_currency


def test_of_several_that_are_alike_the_first_added_is_asked(hub: SchemeBench) -> None:
    first = added(hub, "USD", default=True)
    added(hub, "KES", default=True)
    assert asked(hub) == first


# --- adding -----------------------------------------------------------------------------------------------------


def test_an_added_oracle_is_in_the_directory(hub: SchemeBench) -> None:
    oracle_id = added(hub, "USD", value="http://oracle/als", default=True)
    assert hub.directory.oracles == (Oracle(oracle_id, "MSISDN", "USD", "http://oracle/als", True),)


@pytest.mark.parametrize("currency", ["USD", None])
def test_a_second_oracle_for_a_type_and_currency_is_2001(hub: SchemeBench, currency: str | None) -> None:
    added(hub, currency)
    assert hub.refuse(addition(currency, value="http://another")) == ("2001", DUPLICATE, 500)


def test_an_oracle_that_was_removed_can_be_added_again(hub: SchemeBench) -> None:
    first = added(hub)
    hub.accept(RemoveOracle(oracle_id=first))
    assert added(hub) != first


def test_types_and_currencies_are_apart(hub: SchemeBench) -> None:
    for kind, currency in (("MSISDN", "USD"), ("MSISDN", "KES"), ("MSISDN", None), ("ALIAS", "USD")):
        added(hub, currency, kind=kind)
    assert len(hub.directory.oracles) == 4


# --- changing ---------------------------------------------------------------------------------------------------


def test_an_oracle_moves(hub: SchemeBench) -> None:
    oracle_id = added(hub, "USD")
    hub.accept(changed(oracle_id, "USD", value="https://moved"))
    assert hub.directory.oracles == (Oracle(oracle_id, "MSISDN", "USD", "https://moved", False),)


def test_an_oracle_for_any_currency_moves(hub: SchemeBench) -> None:
    """The reference says that there is none: it looks for its currency."""
    oracle_id = added(hub)
    hub.accept(changed(oracle_id, value="https://moved"))
    assert hub.directory.oracles[0].value == "https://moved"


def test_what_a_change_does_not_name_stays(hub: SchemeBench) -> None:
    oracle_id = added(hub, "USD", default=True)
    hub.accept(changed(oracle_id))
    assert hub.directory.oracles == (Oracle(oracle_id, "MSISDN", "USD", URL, True),)


def test_an_oracle_can_stop_being_the_default(hub: SchemeBench) -> None:
    """In the reference it stays the default for ever."""
    oracle_id = added(hub, default=True)
    hub.accept(changed(oracle_id, is_default=False))
    assert hub.directory.oracles[0].is_default is False


def test_an_oracle_takes_another_type_and_currency(hub: SchemeBench) -> None:
    oracle_id = added(hub, "USD")
    hub.accept(changed(oracle_id, "KES", kind="BUSINESS"))
    assert (asked(hub), asked(hub, "KES", kind="BUSINESS")) == (None, oracle_id)


def test_a_change_to_what_another_oracle_serves_is_2001(hub: SchemeBench) -> None:
    added(hub, "USD")
    oracle_id = added(hub, "KES")
    assert hub.refuse(changed(oracle_id, "USD")) == ("2001", DUPLICATE, 500)


def test_a_change_of_an_oracle_that_is_not_there_is_3003(hub: SchemeBench) -> None:
    oracle_id = added(hub)
    hub.accept(RemoveOracle(oracle_id=oracle_id))
    for each in (oracle_id, 999):
        assert hub.refuse(changed(each)) == ("3003", "Add Party information error - Oracle not found", 400)


# --- removing ---------------------------------------------------------------------------------------------------


def test_a_removed_oracle_is_asked_no_more(hub: SchemeBench) -> None:
    oracle_id = added(hub)
    hub.accept(RemoveOracle(oracle_id=oracle_id))
    assert (hub.directory.oracles, asked(hub)) == ((), None)


def test_an_oracle_that_is_not_there_is_removed_already(hub: SchemeBench) -> None:
    hub.accept(RemoveOracle(oracle_id=999))
