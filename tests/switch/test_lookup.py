"""The rules of the hub's own oracle: who serves a party, who may say so, and what is answered."""

from __future__ import annotations

import pytest
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import OTHER, PAYEE, PAYER, inbound, told

from vuka.errors import FspiopError
from vuka.ids import HUB, FspId
from vuka.switch.lookup import (
    OracleEntry,
    Party,
    RegisterParty,
    RemoveParty,
    find,
    in_scheme,
    listed,
    of_currency,
    recipients,
)
from vuka.switch.participants import SetParticipantActive
from vuka.switch.undelivered import METHODS, RESOURCES, ReportUndelivered
from vuka.switch.work import Action, Inbound, JsonBody

PARTY = Party("MSISDN", "27713803912")
SAVINGS = Party("MSISDN", "27713803912", "SAVINGS")
ANSWER = b'{"fspId":"payeefsp"}'


@pytest.fixture(autouse=True)
def scheme(hub: SchemeBench) -> None:
    """Three participants in USD."""
    for name in (PAYER, PAYEE, OTHER):
        hub.onboard(name, "USD", cap="100", funds="100")


def entry(fsp: str = PAYEE, currency: str = "", party: Party = PARTY) -> OracleEntry:
    return OracleEntry(party, FspId(fsp), currency)


def registration(hub: SchemeBench, *entries: OracleEntry, source: str = PAYEE, replace: bool = False) -> RegisterParty:
    """A participant's own registration, to be answered."""
    return RegisterParty(
        entries=entries, replace=replace, message=asked(hub, "POST", entries[0].party, source), answer=ANSWER
    )


def removal(hub: SchemeBench, party: Party = PARTY, *, source: str = PAYEE, currency: str = "") -> RemoveParty:
    return RemoveParty(
        party=party,
        fsp_id=FspId(source),
        currency=currency,
        message=asked(hub, "DELETE", party, source),
        answer=ANSWER,
    )


def asked(hub: SchemeBench, method: str, party: Party, source: str) -> Inbound:
    return inbound(hub, method, "participants", party.ids, source=source, destination=None, answer_version="2.0")


def register(hub: SchemeBench, *entries: OracleEntry, replace: bool = False) -> None:
    """As an operator does it."""
    hub.accept(RegisterParty(entries=entries, replace=replace))


def found(hub: SchemeBench, party: Party = PARTY, currency: str = "") -> list[tuple[str, str]]:
    """Participant and currency of each entry."""
    entries = hub.read(lambda tx, _ledger, _directory: find(tx, party, currency))
    assert {each.party for each in entries} <= {party}
    return [(each.fsp_id, each.currency) for each in entries]


# --- finding ----------------------------------------------------------------------------------------------------


def test_a_party_that_nobody_serves_is_not_found(hub: SchemeBench) -> None:
    assert found(hub) == []


def test_a_party_is_found_with_the_participant_that_serves_it(hub: SchemeBench) -> None:
    register(hub, entry())
    assert found(hub) == [(PAYEE, "")]


def test_a_party_may_be_with_several_participants(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE))
    hub.advance(1)
    register(hub, entry(OTHER))
    assert found(hub) == [(PAYEE, ""), (OTHER, "")]


def test_the_first_to_register_is_the_first_to_be_found(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE))
    hub.advance(1)
    register(hub, entry(OTHER))
    hub.advance(1)
    register(hub, entry(PAYEE))
    assert found(hub)[0] == (PAYEE, "")


def test_without_a_currency_every_entry_is_found(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"), entry(currency="EUR"), entry(OTHER))
    assert found(hub) == [(OTHER, ""), (PAYEE, "EUR"), (PAYEE, "USD")]


def test_with_a_currency_its_entries_and_those_of_any_are_found(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"), entry(currency="EUR"), entry(OTHER))
    assert found(hub, currency="EUR") == [(OTHER, ""), (PAYEE, "EUR")]


def test_a_sub_identifier_names_another_party(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE), entry(OTHER, party=SAVINGS))
    assert (found(hub), found(hub, SAVINGS)) == ([(PAYEE, "")], [(OTHER, "")])


@pytest.mark.parametrize("party", [Party("ALIAS", "27713803912"), Party("MSISDN", "27713803913")])
def test_type_and_identifier_must_both_be_the_same(hub: SchemeBench, party: Party) -> None:
    register(hub, entry())
    assert found(hub, party) == []


def test_a_partys_path_ends_with_its_sub_identifier(hub: SchemeBench) -> None:
    assert (PARTY.ids, SAVINGS.ids) == (("MSISDN", "27713803912"), ("MSISDN", "27713803912", "SAVINGS"))


# --- what an oracle lists, and who is asked ---------------------------------------------------------------------


def listing(hub: SchemeBench, party: Party = PARTY, currency: str = "") -> list[OracleEntry]:
    return hub.read(lambda tx, _ledger, _directory: listed(tx, party, currency))


def passed_to(hub: SchemeBench, *entries: OracleEntry, party: Party = PARTY) -> list[str]:
    return [*recipients(hub.directory, entries, party)]


def test_an_identifier_is_listed_with_all_its_sub_identifiers(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE), entry(OTHER, party=SAVINGS))
    assert listing(hub) == [entry(OTHER, party=SAVINGS), entry(PAYEE)]


def test_a_sub_identifier_is_listed_alone(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE), entry(OTHER, party=SAVINGS))
    assert listing(hub, SAVINGS) == [entry(OTHER, party=SAVINGS)]


def test_a_list_for_a_currency_has_it_and_any(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"), entry(currency="EUR"), entry(OTHER))
    assert listing(hub, currency="EUR") == [entry(OTHER), entry(currency="EUR")]
    assert of_currency(listing(hub), "EUR") == listing(hub, currency="EUR")


def test_a_lookup_is_passed_to_everybody_who_serves_the_party_once(hub: SchemeBench) -> None:
    assert passed_to(hub, entry(PAYEE, "USD"), entry(OTHER), entry(PAYEE, "EUR")) == [PAYEE, OTHER]


def test_a_lookup_without_a_sub_identifier_passes_those_with_one_over(hub: SchemeBench) -> None:
    assert passed_to(hub, entry(PAYEE), entry(OTHER, party=SAVINGS)) == [PAYEE]


def test_a_lookup_with_a_sub_identifier_passes_those_without_over(hub: SchemeBench) -> None:
    assert passed_to(hub, entry(PAYEE), entry(OTHER, party=SAVINGS), party=SAVINGS) == [OTHER]


def test_a_list_of_which_nothing_is_left_is_3200(hub: SchemeBench) -> None:
    with pytest.raises(FspiopError, match="3200 Generic ID not found - Empty oracle partyList"):
        passed_to(hub, entry(OTHER, party=SAVINGS))


def test_a_sub_identifier_that_nobody_serves_is_3200(hub: SchemeBench) -> None:
    with pytest.raises(FspiopError, match="3200"):
        passed_to(hub, party=SAVINGS)


def test_an_empty_list_is_3204(hub: SchemeBench) -> None:
    with pytest.raises(FspiopError, match=r"3204 Party not found$"):
        passed_to(hub)


def test_a_list_of_strangers_is_3204(hub: SchemeBench) -> None:
    with pytest.raises(FspiopError, match="3204"):
        passed_to(hub, entry("stranger"))


def test_who_does_not_take_part_is_passed_over(hub: SchemeBench) -> None:
    hub.accept(SetParticipantActive(name=FspId(OTHER), is_active=False))
    entries = (entry("stranger"), entry(OTHER), entry(HUB), entry(PAYEE))
    assert passed_to(hub, *entries) == in_scheme(hub.directory, entries) == [PAYEE]


# --- registering ------------------------------------------------------------------------------------------------


def test_a_registration_is_confirmed_to_who_asked(hub: SchemeBench) -> None:
    hub.accept(registration(hub, entry()))
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.resource, notice.ids, notice.body, notice.version) == (
        PAYEE,
        Action.PUT,
        "participants",
        PARTY.ids,
        JsonBody(ANSWER),
        "2.0",
    )


def test_a_registration_may_be_confirmed_to_another(hub: SchemeBench) -> None:
    command = RegisterParty(
        entries=(entry(),), message=asked(hub, "POST", PARTY, PAYEE), answer=ANSWER, answer_to=FspId(OTHER)
    )
    hub.accept(command)
    assert told(hub) == ['otherfsp: PUT {"fspId":"payeefsp"}']


def test_an_operators_registration_is_confirmed_to_nobody(hub: SchemeBench) -> None:
    register(hub, entry())
    assert told(hub) == []


def test_a_registration_again_is_confirmed_and_changes_nothing(hub: SchemeBench) -> None:
    hub.accept(registration(hub, entry()))
    hub.accept(registration(hub, entry()))
    assert (found(hub), len(told(hub))) == ([(PAYEE, "")], 2)


def test_a_registration_for_an_unknown_participant_is_refused_with_3003(hub: SchemeBench) -> None:
    hub.accept(registration(hub, entry("nobody")))
    assert told(hub) == ["payeefsp: ERROR 3003 Add Party information error - Participant nobody is unknown or inactive"]


def test_a_registration_for_an_inactive_participant_is_refused_with_3003(hub: SchemeBench) -> None:
    hub.accept(SetParticipantActive(name=FspId(OTHER), is_active=False))
    hub.accept(registration(hub, entry(OTHER)))
    assert told(hub) == [
        "payeefsp: ERROR 3003 Add Party information error - Participant otherfsp is unknown or inactive"
    ]


def test_the_hub_serves_no_parties(hub: SchemeBench) -> None:
    assert hub.refuse(RegisterParty(entries=(entry(HUB),)))[0] == "3003"


def test_a_registration_of_which_one_entry_fails_registers_none(hub: SchemeBench) -> None:
    hub.accept(registration(hub, entry(), entry("nobody")))
    assert found(hub) == []


def test_an_operator_learns_of_an_error_by_the_answer(hub: SchemeBench) -> None:
    assert hub.refuse(RegisterParty(entries=(entry("nobody"),)))[0] == "3003"


def test_the_oracle_of_another_scheme_knows_its_participants(hub: SchemeBench) -> None:
    hub.accept(RegisterParty(entries=(entry("stranger"),), any_participant=True))
    assert found(hub) == [("stranger", "")]


def test_registering_again_adds_a_currency(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"))
    register(hub, entry(currency="EUR"))
    assert sorted(found(hub)) == [(PAYEE, "EUR"), (PAYEE, "USD")]


def test_replacing_drops_what_the_participant_had_registered_before(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"))
    register(hub, entry(currency="EUR"), replace=True)
    assert found(hub) == [(PAYEE, "EUR")]


def test_replacing_leaves_what_others_have_registered(hub: SchemeBench) -> None:
    register(hub, entry(OTHER, "USD"), entry(PAYEE, "USD"))
    register(hub, entry(PAYEE, "EUR"), replace=True)
    assert sorted(found(hub)) == [(OTHER, "USD"), (PAYEE, "EUR")]


def test_replacing_by_several_entries_keeps_them_all(hub: SchemeBench) -> None:
    register(hub, entry(currency="KES"))
    register(hub, entry(currency="USD"), entry(currency="EUR"), replace=True)
    assert sorted(found(hub)) == [(PAYEE, "EUR"), (PAYEE, "USD")]


# --- removing ---------------------------------------------------------------------------------------------------


def test_a_removal_is_confirmed(hub: SchemeBench) -> None:
    register(hub, entry())
    hub.accept(removal(hub))
    assert (found(hub), told(hub)) == ([], ['payeefsp: PUT {"fspId":"payeefsp"}'])


def test_a_removal_of_what_was_never_registered_is_refused_with_3040(hub: SchemeBench) -> None:
    hub.accept(removal(hub))
    assert told(hub) == [
        "payeefsp: ERROR 3040 Delete Party information error - payeefsp has not registered MSISDN/27713803912"
    ]


def test_nobody_removes_what_another_registered(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE))
    hub.accept(removal(hub, source=OTHER))
    assert found(hub) == [(PAYEE, "")]
    assert told(hub)[0].startswith("otherfsp: ERROR 3040")


def test_a_removal_without_a_currency_removes_them_all(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"), entry(currency="EUR"), entry())
    hub.accept(removal(hub))
    assert found(hub) == []


def test_a_removal_with_a_currency_removes_that_one(hub: SchemeBench) -> None:
    register(hub, entry(currency="USD"), entry(currency="EUR"))
    hub.accept(removal(hub, currency="USD"))
    assert found(hub) == [(PAYEE, "EUR")]


def test_a_removal_of_a_party_leaves_its_sub_identifiers(hub: SchemeBench) -> None:
    register(hub, entry(), entry(party=SAVINGS))
    hub.accept(removal(hub))
    assert found(hub, SAVINGS) == [(PAYEE, "")]


def test_a_removal_of_a_sub_identifier_leaves_the_party(hub: SchemeBench) -> None:
    register(hub, entry(), entry(party=SAVINGS))
    hub.accept(removal(hub, SAVINGS))
    assert (found(hub), found(hub, SAVINGS)) == ([(PAYEE, "")], [])


def test_a_removal_of_anybodys_takes_the_participants_own_first(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE), entry(OTHER))
    hub.accept(RemoveParty(party=PARTY, fsp_id=FspId(PAYEE), or_anybodys=True))
    assert found(hub) == [(OTHER, "")]


def test_a_removal_of_anybodys_takes_others_where_the_participant_has_none(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE), entry(OTHER))
    hub.accept(RemoveParty(party=PARTY, fsp_id=FspId(PAYER), or_anybodys=True))
    assert found(hub) == []


def test_a_removal_for_nobody_in_particular_takes_everybodys_in_its_currency(hub: SchemeBench) -> None:
    register(hub, entry(PAYEE, "USD"), entry(OTHER, "USD"), entry(OTHER, "EUR"))
    hub.accept(RemoveParty(party=PARTY, fsp_id=None, currency="USD"))
    assert found(hub) == [(OTHER, "EUR")]


def test_an_operators_removal_is_told_nobody(hub: SchemeBench) -> None:
    register(hub, entry())
    hub.accept(RemoveParty(party=PARTY, fsp_id=FspId(PAYEE)))
    assert (found(hub), told(hub)) == ([], [])


def test_an_operators_removal_of_nothing_is_refused_with_3040(hub: SchemeBench) -> None:
    assert hub.refuse(RemoveParty(party=PARTY, fsp_id=FspId(PAYEE)))[0] == "3040"


# --- what could not be delivered --------------------------------------------------------------------------------


def undelivered(source: str = PAYER) -> ReportUndelivered:
    return ReportUndelivered(
        resource="parties",
        ids=PARTY.ids,
        source=FspId(source),
        to=FspId(PAYEE),
        reason="connection refused",
        version="1.1",
    )


def test_a_requester_is_told_1001_of_what_could_not_be_delivered(hub: SchemeBench) -> None:
    hub.accept(undelivered())
    (notice,) = hub.notices
    assert told(hub) == ["payerfsp: ERROR 1001 Destination communication error - payeefsp cannot be reached"]
    assert (notice.resource, notice.ids, notice.version) == ("parties", PARTY.ids, "1.1")


def test_a_requester_that_is_no_participant_is_told_nothing(hub: SchemeBench) -> None:
    hub.accept(undelivered("stranger"))
    assert told(hub) == []


def test_only_requests_that_wait_for_an_answer_are_reported(hub: SchemeBench) -> None:
    waiting = {"parties", "participants", "quotes", "bulkQuotes", "fxQuotes"}
    assert (waiting, {"GET", "POST"}) == (RESOURCES, METHODS)
