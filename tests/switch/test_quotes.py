"""The rules of quotes: who may ask whom in which currency, what is passed on, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import (
    CONDITION,
    OTHER,
    PAYEE,
    PAYER,
    answer_quote,
    audited,
    base64url,
    decline_quote,
    get_quote,
    request_quote,
    told,
)

from vuka.ids import HUB, FspId
from vuka.money import Currency
from vuka.store import Row
from vuka.switch.directory import POSITION
from vuka.switch.participants import CreateParticipant, SetAccountActive, SetParticipantActive
from vuka.switch.quotes import RequestQuote
from vuka.switch.work import Action, Command, Forward

UNSUPPORTED_PAYEE = "3201 Destination FSP Error - Unsupported participant"
UNSUPPORTED_PAYER = "3202 Payer FSP ID not found - Unsupported participant"
MODIFIED = "3106 Modified request"
NOT_FOUND = "3205 Quote ID not found"


@pytest.fixture(autouse=True)
def scheme(hub: SchemeBench) -> Iterator[None]:
    """payerfsp in USD and EUR, payeefsp and otherfsp in USD. A quote never moves money."""
    hub.onboard(PAYER, "USD", cap="100", funds="100")
    hub.accept(CreateParticipant(name=FspId(PAYER), currency=Currency("EUR")))
    activate(hub, PAYER, "EUR", is_active=True)
    hub.onboard(PAYEE, "USD", cap="100", funds="100")
    hub.onboard(OTHER, "USD", cap="100", funds="100")
    hub.take_quotes(PAYER, PAYEE, OTHER)
    hub.take_notices()
    yield
    assert audited(hub).differences == []
    assert hub.position(PAYER, "USD") == hub.position(PAYEE, "USD") == "0"


@pytest.fixture
def asked(hub: SchemeBench) -> RequestQuote:
    """A quote that payerfsp has asked payeefsp for."""
    command = request_quote(hub)
    hub.accept(command)
    hub.take_notices()
    return command


def activate(hub: SchemeBench, name: str, currency: str, *, is_active: bool) -> None:
    account_id = hub.account_id(name, currency, POSITION)
    hub.accept(SetAccountActive(name=FspId(name), account_id=account_id, is_active=is_active))


def deactivate(hub: SchemeBench, name: str) -> None:
    hub.accept(SetParticipantActive(name=FspId(name), is_active=False))


def after(hub: SchemeBench, *commands: Command) -> list[str]:
    """What is owed to whom after these commands, each in a commit of its own."""
    hub.take_notices()
    for command in commands:
        hub.accept(command)
    return told(hub)


def remembered(hub: SchemeBench, asked: RequestQuote) -> list[Row]:
    """State, condition, error and time of the answer, of the one quote there may be."""
    return hub.read(
        lambda tx, _ledger, _directory: tx.query(
            "SELECT state, condition, error_code, answered_ms FROM quote WHERE quote_id = ?", (asked.quote_id,)
        )
    )


# --- asking -----------------------------------------------------------------------------------------------------


def test_a_request_is_passed_on_byte_for_byte(hub: SchemeBench) -> None:
    command = request_quote(hub)
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.resource, notice.body) == (
        PAYEE,
        Action.POST,
        "quotes",
        Forward(command.message),
    )


def test_a_request_is_remembered_as_it_was_asked(hub: SchemeBench) -> None:
    command = request_quote(hub, "12.5 USD")
    hub.accept(command)
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query(
            """SELECT wire_id, transaction_id, payer_fsp, payee_fsp, payee_party, currency, amount, amount_type, state
               FROM quote"""
        )
    )
    assert [tuple(row) for row in rows] == [
        (
            command.message.resource_id,
            command.transaction_id,
            PAYER,
            PAYEE,
            "MSISDN/27713803912",
            "USD",
            125_000,
            "SEND",
            "REQUESTED",
        )
    ]


def test_a_request_without_a_destination_is_refused_with_3102(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, destination=None)) == [
        "payerfsp: ERROR 3102 Missing mandatory element - FSPIOP-Destination is required"
    ]


def test_a_request_is_worth_sending_as_long_as_a_lookup(hub: SchemeBench) -> None:
    hub.accept(request_quote(hub))
    assert hub.take_notices()[0].deadline_ms == hub.now_ms + 30_000


def test_a_request_is_not_worth_sending_once_it_has_expired(hub: SchemeBench) -> None:
    hub.accept(request_quote(hub, expires_ms=hub.now_ms + 1_000))
    assert hub.take_notices()[0].deadline_ms == hub.now_ms + 1_000


def test_a_request_that_has_expired_is_passed_on_all_the_same(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, expires_ms=hub.now_ms - 1)) == ["payeefsp: POST from payerfsp"]


def test_a_refused_request_is_not_remembered(hub: SchemeBench) -> None:
    command = request_quote(hub, destination="nobody")
    hub.accept(command)
    assert remembered(hub, command) == []


# --- asking: either payer or payee is checked -------------------------------------------------------------------


def test_an_unknown_payee_is_refused_with_3201(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, destination="nobody")) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'nobody'"]


def test_an_inactive_payee_is_refused_with_3201(hub: SchemeBench) -> None:
    deactivate(hub, PAYEE)
    assert after(hub, request_quote(hub)) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'payeefsp'"]


def test_a_payee_with_an_inactive_account_is_refused_with_3201(hub: SchemeBench) -> None:
    activate(hub, PAYEE, "USD", is_active=False)
    assert after(hub, request_quote(hub)) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'payeefsp': no active USD account"]


def test_a_payee_without_the_currency_is_refused_with_3201(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, "10 EUR")) == [
        f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'payeefsp': no active EUR account"
    ]


def test_the_payer_is_not_checked_where_it_names_no_currencies(hub: SchemeBench) -> None:
    activate(hub, PAYER, "USD", is_active=False)
    assert after(hub, request_quote(hub)) == ["payeefsp: POST from payerfsp"]


def test_a_payer_that_names_currencies_must_have_every_one(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, payer_currencies=("USD", "KES"))) == [
        f"payerfsp: ERROR {UNSUPPORTED_PAYER} 'payerfsp': no active KES account"
    ]


def test_a_payer_that_names_currencies_must_have_them_active(hub: SchemeBench) -> None:
    activate(hub, PAYER, "EUR", is_active=False)
    assert after(hub, request_quote(hub, payer_currencies=("USD", "EUR"))) == [
        f"payerfsp: ERROR {UNSUPPORTED_PAYER} 'payerfsp': no active EUR account"
    ]


def test_the_payees_currency_is_not_checked_where_the_payer_names_its_own(hub: SchemeBench) -> None:
    command = request_quote(hub, "10 EUR", payer_currencies=("USD", "EUR"))
    assert after(hub, command) == ["payeefsp: POST from payerfsp"]


def test_the_payee_must_be_there_even_where_the_payer_names_its_currencies(hub: SchemeBench) -> None:
    command = request_quote(hub, destination="nobody", payer_currencies=("USD",))
    assert after(hub, command) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'nobody'"]


@pytest.mark.parametrize("payer_currencies", [(), ("USD",)])
def test_the_hub_gives_no_quotes(hub: SchemeBench, payer_currencies: tuple[str, ...]) -> None:
    (line,) = after(hub, request_quote(hub, destination=HUB, payer_currencies=payer_currencies))
    assert line.startswith(f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'Hub'")


def test_a_payer_that_the_body_names_must_have_the_currency(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, payer_fsp="nobody")) == [f"payerfsp: ERROR {UNSUPPORTED_PAYER} 'nobody'"]


def test_a_payee_that_the_body_names_must_have_the_currency(hub: SchemeBench) -> None:
    deactivate(hub, OTHER)
    assert after(hub, request_quote(hub, payee_fsp=OTHER)) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'otherfsp'"]


def test_the_body_may_name_others_than_the_headers(hub: SchemeBench) -> None:
    command = request_quote(hub, payer_fsp=OTHER, payee_fsp=OTHER)
    assert after(hub, command) == ["payeefsp: POST from payerfsp"]


def test_the_body_may_name_the_same_as_the_headers(hub: SchemeBench) -> None:
    command = request_quote(hub, payer_fsp=PAYER, payee_fsp=PAYEE)
    assert after(hub, command) == ["payeefsp: POST from payerfsp"]


def test_an_unknown_source_has_nowhere_to_be_told(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub, source="stranger", destination="nobody")) == []


# --- asking again -----------------------------------------------------------------------------------------------


def test_a_resent_request_is_passed_on_again(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, asked) == ["payeefsp: POST from payerfsp"]


def test_a_resent_request_is_remembered_once(hub: SchemeBench, asked: RequestQuote) -> None:
    hub.accept(asked)
    assert len(remembered(hub, asked)) == 1


def test_a_request_twice_in_one_batch_is_passed_on_twice_and_remembered_once(hub: SchemeBench) -> None:
    command = request_quote(hub)
    hub.run_many([command, command])
    assert (len(hub.take_notices()), len(remembered(hub, command))) == (2, 1)


def test_a_modified_request_is_refused_with_3106(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, request_quote(hub, "11 USD", wire_id=asked.message.resource_id)) == [
        f"payerfsp: ERROR {MODIFIED}"
    ]


def test_a_modified_request_of_one_batch_is_refused_with_3106(hub: SchemeBench) -> None:
    command = request_quote(hub)
    hub.run_many([command, request_quote(hub, "11 USD", wire_id=command.message.resource_id)])
    assert told(hub) == ["payeefsp: POST from payerfsp", f"payerfsp: ERROR {MODIFIED}"]


def test_anothers_request_with_the_same_id_is_a_modified_one(hub: SchemeBench, asked: RequestQuote) -> None:
    theirs = request_quote(hub, wire_id=asked.message.resource_id, source=OTHER)
    assert theirs.body_hash == asked.body_hash
    assert after(hub, theirs) == [f"otherfsp: ERROR {MODIFIED}"]


def test_a_resend_to_another_payee_is_a_modified_one(hub: SchemeBench, asked: RequestQuote) -> None:
    elsewhere = request_quote(hub, wire_id=asked.message.resource_id, destination=OTHER)
    assert elsewhere.body_hash == asked.body_hash
    assert after(hub, elsewhere) == [f"payerfsp: ERROR {MODIFIED}"]


def test_a_resent_request_is_checked_anew(hub: SchemeBench, asked: RequestQuote) -> None:
    deactivate(hub, PAYEE)
    assert after(hub, asked) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'payeefsp'"]


# --- answering --------------------------------------------------------------------------------------------------


def test_terms_are_passed_back_byte_for_byte(hub: SchemeBench, asked: RequestQuote) -> None:
    command = answer_quote(hub, asked)
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.ids, notice.body) == (
        PAYER,
        Action.PUT,
        asked.message.ids,
        Forward(command.message),
    )


def test_terms_are_remembered(hub: SchemeBench, asked: RequestQuote) -> None:
    hub.advance(500)
    hub.accept(answer_quote(hub, asked))
    assert remembered(hub, asked) == [("ANSWERED", CONDITION, None, hub.now_ms)]


def test_a_refusal_is_passed_back(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, decline_quote(hub, asked)) == ["payerfsp: ERROR from payeefsp"]


def test_a_refusal_is_remembered(hub: SchemeBench, asked: RequestQuote) -> None:
    hub.accept(decline_quote(hub, asked, "5103"))
    assert remembered(hub, asked) == [("DECLINED", None, "5103", hub.now_ms)]


def test_terms_for_an_unknown_quote_are_refused_with_3205(hub: SchemeBench) -> None:
    assert after(hub, answer_quote(hub, request_quote(hub))) == [f"payeefsp: ERROR {NOT_FOUND}"]


def test_terms_from_anybody_but_the_payee_are_refused(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, answer_quote(hub, asked, source=OTHER)) == [
        "otherfsp: ERROR 3100 Generic validation error"
        " - FSPIOP-Source header should match the participant that was asked"
    ]
    assert remembered(hub, asked) == [("REQUESTED", None, None, None)]


def test_a_refusal_from_anybody_but_the_payee_is_refused(hub: SchemeBench, asked: RequestQuote) -> None:
    hub.accept(decline_quote(hub, asked, source=PAYER))
    assert remembered(hub, asked) == [("REQUESTED", None, None, None)]


def test_terms_in_a_currency_that_the_payee_does_not_have_are_refused_with_3201(
    hub: SchemeBench, asked: RequestQuote
) -> None:
    assert after(hub, answer_quote(hub, asked, "EUR")) == [
        f"payeefsp: ERROR {UNSUPPORTED_PAYEE} 'payeefsp': no active EUR account"
    ]
    assert remembered(hub, asked) == [("REQUESTED", None, None, None)]


def test_a_payee_may_decline_without_an_account(hub: SchemeBench, asked: RequestQuote) -> None:
    activate(hub, PAYEE, "USD", is_active=False)
    assert after(hub, decline_quote(hub, asked)) == ["payerfsp: ERROR from payeefsp"]


def test_resent_terms_are_passed_back_again(hub: SchemeBench, asked: RequestQuote) -> None:
    command = answer_quote(hub, asked)
    assert after(hub, command, command) == ["payerfsp: PUT from payeefsp"] * 2


def test_resent_terms_keep_the_time_of_the_first(hub: SchemeBench, asked: RequestQuote) -> None:
    command = answer_quote(hub, asked)
    hub.accept(command)
    first_ms = hub.now_ms
    hub.advance(1_000)
    hub.accept(command)
    assert remembered(hub, asked) == [("ANSWERED", CONDITION, None, first_ms)]


def test_modified_terms_are_refused_with_3106(hub: SchemeBench, asked: RequestQuote) -> None:
    hub.accept(answer_quote(hub, asked))
    changed = answer_quote(hub, asked, condition=base64url(bytes(32)))
    assert after(hub, changed) == [f"payeefsp: ERROR {MODIFIED}"]
    assert remembered(hub, asked) == [("ANSWERED", CONDITION, None, hub.now_ms)]


def test_a_refusal_after_terms_is_refused_with_3106(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, answer_quote(hub, asked), decline_quote(hub, asked)) == [
        "payerfsp: PUT from payeefsp",
        f"payeefsp: ERROR {MODIFIED}",
    ]


def test_of_two_answers_of_one_batch_the_first_stands(hub: SchemeBench, asked: RequestQuote) -> None:
    hub.run_many([decline_quote(hub, asked), answer_quote(hub, asked)])
    assert told(hub) == ["payerfsp: ERROR from payeefsp", f"payeefsp: ERROR {MODIFIED}"]
    assert remembered(hub, asked) == [("DECLINED", None, "5103", hub.now_ms)]


# --- asking how it stands ---------------------------------------------------------------------------------------


def test_a_question_goes_to_the_other_side(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, get_quote(hub, asked)) == ["payeefsp: GET from payerfsp"]


@pytest.mark.parametrize(("source", "other"), [(PAYER, PAYEE), (PAYEE, PAYER)])
def test_a_question_without_a_destination_finds_the_other_side(
    hub: SchemeBench, asked: RequestQuote, source: str, other: str
) -> None:
    assert after(hub, get_quote(hub, asked, source, destination=None)) == [f"{other}: GET from {source}"]


def test_a_strangers_question_is_refused_with_3000(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, get_quote(hub, asked, OTHER)) == ["otherfsp: ERROR 3000 Generic client error"]


def test_a_question_for_an_unknown_quote_goes_where_it_is_sent(hub: SchemeBench) -> None:
    assert after(hub, get_quote(hub, request_quote(hub))) == ["payeefsp: GET from payerfsp"]


@pytest.mark.parametrize("destination", [None, "nobody"])
def test_a_question_for_an_unknown_quote_to_nobody_is_refused_with_3205(
    hub: SchemeBench, destination: str | None
) -> None:
    question = get_quote(hub, request_quote(hub), destination=destination)
    assert after(hub, question) == [f"payerfsp: ERROR {NOT_FOUND}"]


def test_a_question_for_a_known_quote_to_an_unknown_participant_is_refused_with_3201(
    hub: SchemeBench, asked: RequestQuote
) -> None:
    assert after(hub, get_quote(hub, asked, destination="nobody")) == [f"payerfsp: ERROR {UNSUPPORTED_PAYEE} 'nobody'"]


def test_a_question_addressed_to_the_hub_goes_to_the_other_side(hub: SchemeBench, asked: RequestQuote) -> None:
    assert after(hub, get_quote(hub, asked, destination=HUB)) == ["payeefsp: GET from payerfsp"]


# --- participants that cannot be reached ------------------------------------------------------------------------


def forget_endpoint(hub: SchemeBench, name: str) -> None:
    with hub.work() as work:
        work.tx.run(
            """DELETE FROM endpoint WHERE type = 'FSPIOP_CALLBACK_URL_QUOTES' AND participant_id =
               (SELECT participant_id FROM participant WHERE name = ?)""",
            (name,),
        )
        work.directory_changed()


def test_a_payee_without_an_endpoint_is_told_to_the_payer_with_3201(hub: SchemeBench) -> None:
    forget_endpoint(hub, PAYEE)
    command = request_quote(hub)
    assert after(hub, command) == [
        "payerfsp: ERROR 3201 Destination FSP Error - No FSPIOP_CALLBACK_URL_QUOTES found for payeefsp"
    ]
    assert remembered(hub, command) == []


def test_terms_for_a_payer_without_an_endpoint_are_refused_with_3201(hub: SchemeBench, asked: RequestQuote) -> None:
    forget_endpoint(hub, PAYER)
    assert after(hub, answer_quote(hub, asked)) == [
        "payeefsp: ERROR 3201 Destination FSP Error - No FSPIOP_CALLBACK_URL_QUOTES found for payerfsp"
    ]
    assert remembered(hub, asked) == [("REQUESTED", None, None, None)]


def test_a_refusal_for_a_payer_without_an_endpoint_is_refused_with_3204(hub: SchemeBench, asked: RequestQuote) -> None:
    forget_endpoint(hub, PAYER)
    assert after(hub, decline_quote(hub, asked)) == [
        "payeefsp: ERROR 3204 Party not found - No FSPIOP_CALLBACK_URL_QUOTES found for payerfsp"
    ]


def test_terms_that_could_not_be_passed_back_may_be_sent_again(hub: SchemeBench, asked: RequestQuote) -> None:
    forget_endpoint(hub, PAYER)
    command = answer_quote(hub, asked)
    hub.accept(command)
    hub.take_quotes(PAYER)
    assert after(hub, command) == ["payerfsp: PUT from payeefsp"]


def test_a_question_to_a_participant_without_an_endpoint_is_refused_with_3201(
    hub: SchemeBench, asked: RequestQuote
) -> None:
    forget_endpoint(hub, PAYEE)
    assert after(hub, get_quote(hub, asked)) == [
        "payerfsp: ERROR 3201 Destination FSP Error - No FSPIOP_CALLBACK_URL_QUOTES found for payeefsp"
    ]
