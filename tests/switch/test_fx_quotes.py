"""The rules of conversions' quotes: which FXP may be asked, what is passed on, and what is remembered of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.switch.scheme_bench import SchemeBench, new_transfer_id
from tests.switch.wire import CONDITION, OTHER, PAYER, audited, base64url, body_hash, inbound, told

from vuka.ids import HUB, FspId, parse_id
from vuka.money import Currency
from vuka.store import Row
from vuka.switch.directory import POSITION
from vuka.switch.fx_quotes import AnswerFxQuote, DeclineFxQuote, GetFxQuote, RequestFxQuote
from vuka.switch.participants import CreateParticipant, SetAccountActive, SetParticipantActive
from vuka.switch.quote_rules import SetQuoteRules
from vuka.switch.work import Action, Command, Forward

FXP = "fxp"
UNSUPPORTED = "3100 Generic validation error - Unsupported participant"


@pytest.fixture(autouse=True)
def scheme(hub: SchemeBench) -> Iterator[None]:
    """payerfsp in USD, fxp and otherfsp in USD and EUR. A quote never moves money."""
    hub.onboard(PAYER, "USD", cap="100", funds="100")
    for name in (FXP, OTHER):
        hub.onboard(name, "USD", cap="100", funds="100")
        hub.accept(CreateParticipant(name=FspId(name), currency=Currency("EUR")))
        activate(hub, name, "EUR", is_active=True)
    hub.take_quotes(PAYER, FXP, OTHER)
    hub.take_notices()
    yield
    assert audited(hub).differences == []


def activate(hub: SchemeBench, name: str, currency: str, *, is_active: bool) -> None:
    account_id = hub.account_id(name, currency, POSITION)
    hub.accept(SetAccountActive(name=FspId(name), account_id=account_id, is_active=is_active))


def request(
    hub: SchemeBench,
    *,
    source: str = PAYER,
    destination: str | None = FXP,
    wire_id: str | None = None,
    source_minor: int | None = 100_000,
    target: str = "EUR",
) -> RequestFxQuote:
    """``POST /fxQuotes``: 10 USD to whatever they are in EUR."""
    wire_id = wire_id or new_transfer_id()[1]
    body = {"conversionRequestId": wire_id, "source": source_minor, "target": target}
    message = inbound(
        hub, "POST", "fxQuotes", (wire_id,), source=source, destination=destination, body=body, version="2.0"
    )
    return RequestFxQuote(
        message=message,
        conversion_request_id=parse_id(wire_id),
        conversion_id="c-1",
        determining_transfer_id="t-1",
        source_currency=Currency("USD"),
        source_amount=source_minor,
        target_currency=Currency(target),
        target_amount=None,
        amount_type="SEND",
        expires_ms=hub.now_ms + 60_000,
        body_hash=body_hash(message),
    )


def answer(
    hub: SchemeBench, asked: RequestFxQuote, *, source: str = FXP, condition: str | None = CONDITION
) -> AnswerFxQuote:
    """``PUT /fxQuotes/{ID}``."""
    ids, body = asked.message.ids, {"condition": condition}
    message = inbound(hub, "PUT", "fxQuotes", ids, source=source, destination=PAYER, body=body, version="2.0")
    return AnswerFxQuote(
        message=message,
        conversion_request_id=asked.conversion_request_id,
        condition=condition,
        body_hash=body_hash(message),
    )


def decline(hub: SchemeBench, asked: RequestFxQuote, *, source: str = FXP) -> DeclineFxQuote:
    """``PUT /fxQuotes/{ID}/error``."""
    ids, body = asked.message.ids, {"errorInformation": {"errorCode": "5106", "errorDescription": "no"}}
    message = inbound(hub, "PUT", "fxQuotes", ids, source=source, destination=PAYER, body=body, version="2.0")
    return DeclineFxQuote(
        message=message,
        conversion_request_id=asked.conversion_request_id,
        error_code="5106",
        body_hash=body_hash(message),
    )


def question(
    hub: SchemeBench, asked: RequestFxQuote, source: str = PAYER, *, destination: str | None = FXP
) -> GetFxQuote:
    """``GET /fxQuotes/{ID}``."""
    ids = asked.message.ids
    message = inbound(hub, "GET", "fxQuotes", ids, source=source, destination=destination, version="2.0")
    return GetFxQuote(message=message, conversion_request_id=asked.conversion_request_id)


def after(hub: SchemeBench, *commands: Command) -> list[str]:
    hub.take_notices()
    for command in commands:
        hub.accept(command)
    return told(hub)


def remembered(hub: SchemeBench) -> list[Row]:
    return hub.read(
        lambda tx, _ledger, _directory: [
            tuple(row) for row in tx.query("SELECT state, condition, error_code, answered_ms FROM fx_quote")
        ]
    )


@pytest.fixture
def asked(hub: SchemeBench) -> RequestFxQuote:
    """A conversion that payerfsp has asked fxp for."""
    command = request(hub)
    hub.accept(command)
    hub.take_notices()
    return command


# --- asking -----------------------------------------------------------------------------------------------------


def test_a_request_is_passed_on_byte_for_byte(hub: SchemeBench) -> None:
    command = request(hub)
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.resource, notice.body, notice.headers) == (
        FXP,
        Action.POST,
        "fxQuotes",
        Forward(command.message),
        (),
    )


def test_a_request_is_remembered_as_it_was_asked(hub: SchemeBench) -> None:
    hub.accept(request(hub))
    rows = hub.read(
        lambda tx, _ledger, _directory: tx.query(
            """SELECT conversion_id, determining_transfer_id, initiating_fsp, counter_party_fsp, source_currency,
                      source_amount, target_currency, target_amount, amount_type, state, rerouted_fsp FROM fx_quote"""
        )
    )
    assert [tuple(row) for row in rows] == [
        ("c-1", "t-1", PAYER, FXP, "USD", 100_000, "EUR", None, "SEND", "REQUESTED", None)
    ]


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_the_fxp_must_have_both_currencies_active(hub: SchemeBench, currency: str) -> None:
    activate(hub, FXP, currency, is_active=False)
    assert after(hub, request(hub)) == [f"payerfsp: ERROR {UNSUPPORTED} 'fxp': no active {currency} account"]


def test_the_fxp_must_have_the_target_currency(hub: SchemeBench) -> None:
    assert after(hub, request(hub, target="KES")) == [f"payerfsp: ERROR {UNSUPPORTED} 'fxp': no active KES account"]


def test_an_inactive_fxp_is_refused(hub: SchemeBench) -> None:
    hub.accept(SetParticipantActive(name=FspId(FXP), is_active=False))
    assert after(hub, request(hub)) == [f"payerfsp: ERROR {UNSUPPORTED} 'fxp'"]


@pytest.mark.parametrize("name", ["nobody", HUB])
def test_who_is_no_fxp_is_refused(hub: SchemeBench, name: str) -> None:
    assert after(hub, request(hub, destination=name)) == [f"payerfsp: ERROR {UNSUPPORTED} '{name}'"]


def test_a_request_without_a_destination_is_refused_with_3102(hub: SchemeBench) -> None:
    assert after(hub, request(hub, destination=None)) == [
        "payerfsp: ERROR 3102 Missing mandatory element - FSPIOP-Destination is required"
    ]


def test_the_initiator_is_not_checked(hub: SchemeBench) -> None:
    activate(hub, PAYER, "USD", is_active=False)
    assert after(hub, request(hub)) == ["fxp: POST from payerfsp"]


def test_a_refused_request_is_not_remembered(hub: SchemeBench) -> None:
    hub.accept(request(hub, destination="nobody"))
    assert remembered(hub) == []


# --- asking again -----------------------------------------------------------------------------------------------


def test_a_resent_fx_quote_is_passed_on_as_it_first_was(hub: SchemeBench, asked: RequestFxQuote) -> None:
    """The reference's resend passes the id where the request should be, and fails (hub reference §6.5)."""
    hub.accept(asked)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.body) == (FXP, Action.POST, Forward(asked.message))
    assert len(remembered(hub)) == 1


def test_a_request_twice_in_one_batch_is_passed_on_twice_and_remembered_once(hub: SchemeBench) -> None:
    command = request(hub)
    hub.run_many([command, command])
    assert (len(hub.take_notices()), len(remembered(hub))) == (2, 1)


def test_a_modified_request_is_refused_with_3106(hub: SchemeBench, asked: RequestFxQuote) -> None:
    changed = request(hub, wire_id=asked.message.resource_id, source_minor=1)
    assert after(hub, changed) == ["payerfsp: ERROR 3106 Modified request"]


@pytest.mark.parametrize("changed", [{"source": OTHER}, {"destination": OTHER}])
def test_the_same_request_between_others_is_a_modified_one(
    hub: SchemeBench, asked: RequestFxQuote, changed: dict[str, str]
) -> None:
    command = request(hub, wire_id=asked.message.resource_id, **changed)  # type: ignore[arg-type]
    assert command.body_hash == asked.body_hash
    assert after(hub, command) == [f"{changed.get('source', PAYER)}: ERROR 3106 Modified request"]


# --- answering --------------------------------------------------------------------------------------------------


def test_terms_are_passed_back_and_remembered(hub: SchemeBench, asked: RequestFxQuote) -> None:
    hub.advance(500)
    assert after(hub, answer(hub, asked)) == ["payerfsp: PUT from fxp"]
    assert remembered(hub) == [("ANSWERED", CONDITION, None, hub.now_ms)]


def test_terms_need_no_condition(hub: SchemeBench, asked: RequestFxQuote) -> None:
    hub.accept(answer(hub, asked, condition=None))
    assert remembered(hub) == [("ANSWERED", None, None, hub.now_ms)]


def test_a_refusal_is_passed_back_and_remembered(hub: SchemeBench, asked: RequestFxQuote) -> None:
    assert after(hub, decline(hub, asked)) == ["payerfsp: ERROR from fxp"]
    assert remembered(hub) == [("DECLINED", None, "5106", hub.now_ms)]


def test_resent_terms_are_passed_back_again(hub: SchemeBench, asked: RequestFxQuote) -> None:
    command = answer(hub, asked)
    assert after(hub, command, command) == ["payerfsp: PUT from fxp"] * 2


def test_modified_terms_are_refused_with_3106(hub: SchemeBench, asked: RequestFxQuote) -> None:
    hub.accept(answer(hub, asked))
    assert after(hub, answer(hub, asked, condition=base64url(bytes(32)))) == ["fxp: ERROR 3106 Modified request"]


def test_a_refusal_after_terms_is_refused_with_3106(hub: SchemeBench, asked: RequestFxQuote) -> None:
    assert after(hub, answer(hub, asked), decline(hub, asked))[1:] == ["fxp: ERROR 3106 Modified request"]


def test_terms_for_an_unknown_quote_are_refused_with_3205(hub: SchemeBench) -> None:
    assert after(hub, answer(hub, request(hub))) == ["fxp: ERROR 3205 Quote ID not found"]


def test_terms_from_anybody_but_the_fxp_are_refused(hub: SchemeBench, asked: RequestFxQuote) -> None:
    (line,) = after(hub, answer(hub, asked, source=OTHER))
    assert line.startswith("otherfsp: ERROR 3100")


# --- asking how it stands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "other"), [(PAYER, FXP), (FXP, PAYER)])
def test_a_question_goes_to_the_other_side(hub: SchemeBench, asked: RequestFxQuote, source: str, other: str) -> None:
    assert after(hub, question(hub, asked, source, destination=None)) == [f"{other}: GET from {source}"]


def test_a_strangers_question_is_refused_with_3000(hub: SchemeBench, asked: RequestFxQuote) -> None:
    assert after(hub, question(hub, asked, OTHER)) == ["otherfsp: ERROR 3000 Generic client error"]


# --- rules ------------------------------------------------------------------------------------------------------


def set_rules(hub: SchemeBench, event: dict[str, object]) -> None:
    conditions = {"all": [{"fact": "operation", "operator": "equal", "value": "fxQuoteRequest"}]}
    hub.accept(SetQuoteRules(content=json.dumps([{"conditions": conditions, "event": event}]), by="alice"))
    hub.take_notices()


def test_rules_see_conversions_as_an_operation_of_their_own(hub: SchemeBench) -> None:
    params = {"FSPIOPError": "PAYER_UNSUPPORTED_CURRENCY", "message": "no conversions today"}
    set_rules(hub, {"type": "INVALID_QUOTE_REQUEST", "params": params})
    assert after(hub, request(hub)) == ["payerfsp: ERROR 4103 Payer unsupported currency - no conversions today"]


def test_rules_come_after_the_check_for_duplicates(hub: SchemeBench, asked: RequestFxQuote) -> None:
    set_rules(hub, {"type": "INVALID_QUOTE_REQUEST", "params": {"FSPIOPError": "PAYER_ERROR"}})
    changed = request(hub, wire_id=asked.message.resource_id, source_minor=1)
    assert after(hub, asked, changed) == ["fxp: POST from payerfsp", "payerfsp: ERROR 3106 Modified request"]


def test_a_rule_has_another_fxp_asked(hub: SchemeBench) -> None:
    set_rules(hub, {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": OTHER}})
    command = request(hub)
    assert after(hub, command, answer(hub, command, source=OTHER)) == [
        "otherfsp: POST from payerfsp",
        "payerfsp: PUT from otherfsp",
    ]


def test_the_other_fxp_must_have_both_currencies_too(hub: SchemeBench) -> None:
    set_rules(hub, {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": OTHER}})
    activate(hub, OTHER, "EUR", is_active=False)
    assert after(hub, request(hub)) == [f"payerfsp: ERROR {UNSUPPORTED} 'otherfsp': no active EUR account"]
