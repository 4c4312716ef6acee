"""The rules of bulk quotes: both sides may deal in the first currency, and what is sent is passed on."""

from __future__ import annotations

import json

import pytest
from tests.switch.scheme_bench import SchemeBench, new_transfer_id
from tests.switch.wire import OTHER, PAYEE, PAYER, inbound, told

from vuka.ids import HUB, FspId
from vuka.money import Currency
from vuka.switch.bulk_quotes import RequestBulkQuote, RouteBulkQuote
from vuka.switch.participants import SetParticipantActive
from vuka.switch.quote_rules import SetQuoteRules
from vuka.switch.work import Action, Command, Forward

UNREACHABLE = "No FSPIOP_CALLBACK_URL_BULK_QUOTES found for otherfsp"


@pytest.fixture(autouse=True)
def scheme(hub: SchemeBench) -> None:
    """payerfsp and payeefsp in USD; otherfsp too, but with nowhere to send bulk quotes to."""
    for name in (PAYER, PAYEE, OTHER):
        hub.onboard(name, "USD", cap="100", funds="100")
    hub.take_quotes(PAYER, PAYEE)
    hub.take_notices()


def request(
    hub: SchemeBench, currency: str = "USD", *, destination: str | None = PAYEE, expires_ms: int | None = None
) -> RequestBulkQuote:
    wire_id = new_transfer_id()[1]
    message = inbound(
        hub, "POST", "bulkQuotes", (wire_id,), source=PAYER, destination=destination, body={"id": wire_id}
    )
    return RequestBulkQuote(message=message, currency=Currency(currency), expires_ms=expires_ms)


def routed(hub: SchemeBench, action: Action, *, source: str = PAYEE, destination: str = PAYER) -> RouteBulkQuote:
    method = "GET" if action is Action.GET else "PUT"
    message = inbound(hub, method, "bulkQuotes", (new_transfer_id()[1],), source=source, destination=destination)
    return RouteBulkQuote(message=message, action=action)


def after(hub: SchemeBench, *commands: Command) -> list[str]:
    for command in commands:
        hub.accept(command)
    return told(hub)


def test_a_request_is_passed_on_byte_for_byte(hub: SchemeBench) -> None:
    command = request(hub)
    hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.action, notice.ids, notice.body) == (PAYEE, Action.POST, (), Forward(command.message))


def test_a_request_is_not_worth_sending_once_it_has_expired(hub: SchemeBench) -> None:
    hub.accept(request(hub, expires_ms=hub.now_ms + 1_000))
    assert hub.take_notices()[0].deadline_ms == hub.now_ms + 1_000


def test_a_request_again_is_passed_on_again(hub: SchemeBench) -> None:
    command = request(hub)
    assert after(hub, command, command) == ["payeefsp: POST from payerfsp"] * 2


def test_the_payer_is_checked_first(hub: SchemeBench) -> None:
    assert after(hub, request(hub, "EUR")) == [
        "payerfsp: ERROR 3202 Payer FSP ID not found - Unsupported participant 'payerfsp': no active EUR account"
    ]


@pytest.mark.parametrize("destination", ["nobody", HUB])
def test_an_unsupported_payee_is_refused_with_3201(hub: SchemeBench, destination: str) -> None:
    (line,) = after(hub, request(hub, destination=destination))
    assert line.startswith(f"payerfsp: ERROR 3201 Destination FSP Error - Unsupported participant '{destination}'")


def test_an_inactive_payee_is_refused_with_3201(hub: SchemeBench) -> None:
    hub.accept(SetParticipantActive(name=FspId(PAYEE), is_active=False))
    (line,) = after(hub, request(hub))
    assert line == "payerfsp: ERROR 3201 Destination FSP Error - Unsupported participant 'payeefsp'"


def test_a_request_without_a_destination_is_refused_with_3102(hub: SchemeBench) -> None:
    (line,) = after(hub, request(hub, destination=None))
    assert line.startswith("payerfsp: ERROR 3102")


def test_a_payee_without_an_endpoint_is_told_with_3201(hub: SchemeBench) -> None:
    assert after(hub, request(hub, destination=OTHER)) == [
        f"payerfsp: ERROR 3201 Destination FSP Error - {UNREACHABLE}"
    ]


@pytest.mark.parametrize("action", [Action.GET, Action.PUT, Action.ERROR])
def test_what_follows_goes_where_its_sender_says(hub: SchemeBench, action: Action) -> None:
    assert after(hub, routed(hub, action)) == [f"payerfsp: {action} from payeefsp"]


@pytest.mark.parametrize(("action", "error"), [(Action.PUT, "3201"), (Action.GET, "3201"), (Action.ERROR, "3204")])
def test_what_has_nowhere_to_go_is_told_to_its_sender(hub: SchemeBench, action: Action, error: str) -> None:
    (line,) = after(hub, routed(hub, action, destination=OTHER))
    assert line.startswith(f"payeefsp: ERROR {error} ")
    assert line.endswith(UNREACHABLE)


@pytest.mark.parametrize(("action", "error"), [(Action.PUT, "3201"), (Action.GET, "3201"), (Action.ERROR, "3204")])
def test_what_is_for_nobody_is_told_to_its_sender(hub: SchemeBench, action: Action, error: str) -> None:
    (line,) = after(hub, routed(hub, action, destination="nobody"))
    assert line.startswith(f"payeefsp: ERROR {error} ")


def test_rules_are_not_asked_about_bulks(hub: SchemeBench) -> None:
    conditions = {"all": [{"fact": "operation", "operator": "isString", "value": True}]}
    event = {"type": "INVALID_QUOTE_REQUEST", "params": {"FSPIOPError": "PAYER_ERROR"}}
    hub.accept(SetQuoteRules(content=json.dumps([{"conditions": conditions, "event": event}]), by="alice"))
    assert after(hub, request(hub)) == ["payeefsp: POST from payerfsp"]
