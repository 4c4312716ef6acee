"""The scheme's rules about quotes: what they see, what follows from what they say, how they are stored and tried."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import (
    OTHER,
    PAYEE,
    PAYER,
    answer_quote,
    body_hash,
    decline_quote,
    get_quote,
    inbound,
    request_quote,
    told,
)

from vuka import rules as rules_module
from vuka.errors import FspiopError
from vuka.ids import FspId
from vuka.plugins import Plugins, hookimpl
from vuka.rules import Event, RulesError
from vuka.store import Row
from vuka.switch import quotes
from vuka.switch.journal import Block, Received, subject_of, write
from vuka.switch.participants import SetParticipantActive
from vuka.switch.quote_rules import (
    PAYLOAD_DEPTH_MAX,
    PAYLOAD_VALUES_MAX,
    Page,
    QuoteRules,
    Reroute,
    SetQuoteRules,
    compile_quote_rules,
    conclude,
    participant_fact,
    past_requests,
    past_requests_of,
    payload_fact,
    try_rules,
)
from vuka.switch.quotes import RequestQuote
from vuka.switch.rule_sets import history
from vuka.switch.work import Forward, Outcome

Conditions = Mapping[str, object]

ALWAYS: Conditions = {"all": [{"fact": "operation", "operator": "isString", "value": True}]}
OF_PAYER: Conditions = {
    "all": [{"fact": "headers", "path": "$.fspiop-source", "operator": "equal", "value": PAYER}],
}


@pytest.fixture(autouse=True)
def scheme(hub: SchemeBench) -> None:
    """payerfsp, payeefsp and otherfsp, all in USD, reachable."""
    for name in (PAYER, PAYEE, OTHER):
        hub.onboard(name, "USD", cap="100", funds="100")
    hub.take_quotes(PAYER, PAYEE, OTHER)
    hub.take_notices()


def refusing(code: str = "PAYER_UNSUPPORTED_CURRENCY", message: str = "not here", **more: Any) -> dict[str, Any]:
    params = {"FSPIOPError": code, "message": message}
    return {"conditions": ALWAYS, "event": {"type": "INVALID_QUOTE_REQUEST", "params": params}, **more}


def rerouting(to: str = OTHER, headers: Mapping[str, object] | None = None, **more: Any) -> dict[str, Any]:
    params: dict[str, object] = {"rerouteToFsp": to}
    if headers is not None:
        params["additionalHeaders"] = headers
    return {"conditions": ALWAYS, "event": {"type": "INTERCEPT_QUOTE", "params": params}, **more}


def set_rules(hub: SchemeBench, *rules: Mapping[str, object]) -> Outcome:
    outcome = hub.run(SetQuoteRules(content=json.dumps(rules), by="alice"))
    hub.take_notices()
    return outcome


def after(hub: SchemeBench, *commands: Any) -> list[str]:
    hub.take_notices()
    for command in commands:
        hub.accept(command)
    return told(hub)


def asked_of(hub: SchemeBench) -> list[Row]:
    return hub.read(
        lambda tx, _ledger, _directory: tx.query("SELECT payee_fsp, rerouted_fsp, added_headers, state FROM quote")
    )


# --- refusing ---------------------------------------------------------------------------------------------------


def test_without_rules_a_quote_goes_its_own_way(hub: SchemeBench) -> None:
    assert after(hub, request_quote(hub)) == ["payeefsp: POST from payerfsp"]


def test_a_rule_refuses_with_its_error_and_message(hub: SchemeBench) -> None:
    set_rules(hub, refusing("PAYER_UNSUPPORTED_CURRENCY", "USD is not for sale"))
    assert after(hub, request_quote(hub)) == [
        "payerfsp: ERROR 4103 Payer unsupported currency - USD is not for sale",
    ]


def test_a_rule_may_name_its_error_by_code(hub: SchemeBench) -> None:
    set_rules(hub, refusing("5103", "no"))
    assert after(hub, request_quote(hub)) == ["payerfsp: ERROR 5103 Payee FSP rejected quote - no"]


def test_what_a_rule_refuses_is_not_remembered(hub: SchemeBench) -> None:
    set_rules(hub, refusing())
    hub.accept(request_quote(hub))
    assert asked_of(hub) == []


def test_of_several_refusals_the_first_counts(hub: SchemeBench) -> None:
    set_rules(hub, refusing("PAYER_ERROR", "second"), refusing("PAYEE_ERROR", "first", priority=2))
    assert after(hub, request_quote(hub)) == ["payerfsp: ERROR 5000 Generic Payee error - first"]


def test_a_refusal_counts_more_than_another_way(hub: SchemeBench) -> None:
    set_rules(hub, rerouting(priority=9), refusing("PAYER_ERROR", "stop"))
    assert after(hub, request_quote(hub)) == ["payerfsp: ERROR 4000 Generic Payer error - stop"]


def test_rules_are_asked_only_where_the_scheme_would_pass_the_quote_on(hub: SchemeBench) -> None:
    set_rules(hub, refusing())
    (line,) = after(hub, request_quote(hub, destination="nobody"))
    assert line.startswith("payerfsp: ERROR 3201")


def test_rules_put_in_force_hold_for_the_same_batch(hub: SchemeBench) -> None:
    hub.run_many([SetQuoteRules(content=json.dumps([refusing("4000", "no")]), by="alice"), request_quote(hub)])
    assert told(hub) == ["payerfsp: ERROR 4000 Generic Payer error - no"]


# --- rerouting --------------------------------------------------------------------------------------------------


def test_a_rule_has_another_participant_asked(hub: SchemeBench) -> None:
    set_rules(hub, rerouting(OTHER, {"x-fspiop-sourcecurrency": "EUR"}))
    command = request_quote(hub)
    outcome = hub.accept(command)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.body) == (OTHER, Forward(command.message))
    assert notice.headers == (("FSPIOP-Destination", OTHER), ("x-fspiop-sourcecurrency", "EUR"))
    assert outcome.note == "rerouted to otherfsp by a rule"


def test_the_record_knows_who_was_asked_for_and_who_was_asked(hub: SchemeBench) -> None:
    set_rules(hub, rerouting(OTHER, {"x-a": "1"}))
    hub.accept(request_quote(hub))
    assert [tuple(row) for row in asked_of(hub)] == [(PAYEE, OTHER, '[["x-a","1"]]', "REQUESTED")]


@pytest.fixture
def rerouted(hub: SchemeBench) -> RequestQuote:
    """A quote that payerfsp asked payeefsp for, and a rule otherfsp."""
    set_rules(hub, rerouting(OTHER, {"x-a": "1"}))
    command = request_quote(hub)
    hub.accept(command)
    hub.take_notices()
    return command


def test_answers_come_from_the_participant_that_was_asked_instead(hub: SchemeBench, rerouted: RequestQuote) -> None:
    assert after(hub, answer_quote(hub, rerouted, source=OTHER)) == ["payerfsp: PUT from otherfsp"]


def test_refusals_come_from_the_participant_that_was_asked_instead(hub: SchemeBench, rerouted: RequestQuote) -> None:
    assert after(hub, decline_quote(hub, rerouted, source=OTHER)) == ["payerfsp: ERROR from otherfsp"]


def test_the_participant_that_was_never_asked_cannot_answer(hub: SchemeBench, rerouted: RequestQuote) -> None:
    (line,) = after(hub, answer_quote(hub, rerouted, source=PAYEE))
    assert line.startswith("payeefsp: ERROR 3100")


def test_a_question_goes_to_the_participant_that_was_asked_instead(hub: SchemeBench, rerouted: RequestQuote) -> None:
    hub.accept(get_quote(hub, rerouted))
    (notice,) = hub.take_notices()
    assert (notice.to, notice.headers) == (OTHER, (("FSPIOP-Destination", OTHER), ("x-a", "1")))


def test_the_participant_that_was_asked_instead_may_ask_back(hub: SchemeBench, rerouted: RequestQuote) -> None:
    assert after(hub, get_quote(hub, rerouted, OTHER, destination=PAYER)) == ["payerfsp: GET from otherfsp"]


def test_the_participant_that_was_never_asked_may_not_ask(hub: SchemeBench, rerouted: RequestQuote) -> None:
    assert after(hub, get_quote(hub, rerouted, PAYEE, destination=PAYER)) == [
        "payeefsp: ERROR 3000 Generic client error"
    ]


def test_a_resend_goes_the_way_of_the_first_whatever_the_rules_are_now(
    hub: SchemeBench, rerouted: RequestQuote
) -> None:
    set_rules(hub, refusing())
    hub.accept(rerouted)
    (notice,) = hub.take_notices()
    assert (notice.to, notice.headers) == (OTHER, (("FSPIOP-Destination", OTHER), ("x-a", "1")))


@pytest.mark.parametrize("make_unfit", ["inactive", "unreachable"])
def test_a_participant_that_cannot_be_asked_instead_is_told_with_3201(hub: SchemeBench, make_unfit: str) -> None:
    set_rules(hub, rerouting(OTHER))
    if make_unfit == "inactive":
        hub.accept(SetParticipantActive(name=FspId(OTHER), is_active=False))
    else:
        with hub.work() as work:
            work.tx.run(
                "DELETE FROM endpoint WHERE participant_id = (SELECT participant_id FROM participant WHERE name = ?)",
                (OTHER,),
            )
            work.directory_changed()
    (line,) = after(hub, request_quote(hub))
    assert line.startswith("payerfsp: ERROR 3201 Destination FSP Error - ")
    assert OTHER in line
    assert asked_of(hub) == []


def test_two_other_ways_for_one_quote_fail_it(hub: SchemeBench) -> None:
    set_rules(hub, rerouting(OTHER), rerouting(OTHER))
    assert after(hub, request_quote(hub)) == [
        "payerfsp: ERROR 2001 Internal server error - more than one rule of the scheme reroutes this quote"
    ]


# --- facts ------------------------------------------------------------------------------------------------------


def seen_by(hub: SchemeBench, path: str, fact: str, value: object) -> bool:
    """Whether a rule finds exactly that."""
    condition = {"fact": fact, "path": path, "operator": "deepEqual", "value": value}
    set_rules(hub, {**refusing(), "conditions": {"all": [condition]}})
    return "ERROR 4103" in after(hub, request_quote(hub))[0]


@pytest.mark.parametrize(
    ("fact", "path", "value"),
    [
        ("operation", "", "quoteRequest"),
        ("payer", "$.name", PAYER),
        ("payee", "$.name", PAYEE),
        ("payee", "$.isActive", 1),
        ("payee", "$.isProxy", 0),
        ("payee", "$.accounts[?(@.ledgerAccountType == 'POSITION' && @.isActive == 1)].currency", ["USD"]),
        ("payload", "$.amount", "10.00 USD"),
        ("headers", "$.fspiop-source", PAYER),
    ],
)
def test_a_rule_sees(hub: SchemeBench, fact: str, path: str, value: object) -> None:
    assert seen_by(hub, path, fact, value)


def test_a_participant_is_shown_in_the_references_shape(hub: SchemeBench) -> None:
    fact = participant_fact(hub.directory, PAYEE)
    accounts: Any = fact.pop("accounts")
    assert fact == {"name": PAYEE, "isActive": 1, "isProxy": 0}
    assert [{**each, "id": 0} for each in accounts] == [
        {"id": 0, "ledgerAccountType": kind, "currency": "USD", "isActive": 1} for kind in ("POSITION", "SETTLEMENT")
    ]


def test_a_participant_that_is_no_longer_there_has_no_accounts(hub: SchemeBench) -> None:
    assert participant_fact(hub.directory, "gone") == {"name": "gone", "isActive": 0, "isProxy": 0, "accounts": []}


def padded(hub: SchemeBench, filling: object) -> RequestQuote:
    """A request whose body has more in it than any quote."""
    base = request_quote(hub)
    message = inbound(
        hub, "POST", "quotes", base.message.ids, source=PAYER, destination=PAYEE, body={"filling": filling}
    )
    fields = {name: getattr(base, name) for name in base.__struct_fields__}
    return RequestQuote(**{**fields, "message": message, "body_hash": body_hash(message)})


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("filling", [[1] * PAYLOAD_VALUES_MAX, deep(PAYLOAD_DEPTH_MAX)], ids=["large", "deep"])
def test_a_body_that_would_cost_too_much_to_look_into_is_refused_with_3104(hub: SchemeBench, filling: object) -> None:
    set_rules(hub, rerouting())
    (line,) = after(hub, padded(hub, filling))
    assert line.startswith("payerfsp: ERROR 3104 Too large payload")


def test_the_size_of_a_body_is_nobodys_business_where_there_are_no_rules(hub: SchemeBench) -> None:
    assert after(hub, padded(hub, [1] * PAYLOAD_VALUES_MAX)) == ["payeefsp: POST from payerfsp"]


def test_a_body_at_the_limits_is_looked_into() -> None:
    assert payload_fact(json.dumps({"a": [1] * (PAYLOAD_VALUES_MAX - 2)}).encode())
    assert payload_fact(json.dumps({"a": deep(PAYLOAD_DEPTH_MAX - 2)}).encode())


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(FspiopError, match="3101"):
        payload_fact(body)


# --- plugins ----------------------------------------------------------------------------------------------------


class Plugin:
    """A plugin that gives what a function of the question gives."""

    def __init__(self, answer: Callable[[Mapping[str, object]], list[Event]]) -> None:
        self.answer = answer

    @hookimpl
    def vuka_quote_events(self, payload: Mapping[str, object]) -> list[Event]:
        return self.answer(payload)


def asked_with(
    hub: SchemeBench, answer: Callable[[Mapping[str, object]], list[Event]], *rules: Mapping[str, object]
) -> list[str]:
    """What a request leads to in a hub with such a plugin."""
    if rules:
        set_rules(hub, *rules)
    decide = partial(quotes.request, rules=QuoteRules([("scheme-x", Plugin(answer))]))
    hub.take_notices()
    with hub.work() as work:
        decide(work, [request_quote(hub)])
    return told(hub)


def invalid(message: str) -> Event:
    return Event("INVALID_QUOTE_REQUEST", {"FSPIOPError": "PAYER_LIMIT_ERROR", "message": message})


def test_a_plugin_refuses_as_a_rule_does(hub: SchemeBench) -> None:
    assert asked_with(hub, lambda payload: [invalid(f"{payload['amount']} is too much")]) == [
        "payerfsp: ERROR 4200 Payer limit error - 10.00 USD is too much"
    ]


def test_a_plugin_reroutes_as_a_rule_does(hub: SchemeBench) -> None:
    event = Event("INTERCEPT_QUOTE", {"rerouteToFsp": OTHER})
    assert asked_with(hub, lambda _payload: [event]) == ["otherfsp: POST from payerfsp"]


def test_the_stored_rules_speak_before_the_plugins(hub: SchemeBench) -> None:
    assert asked_with(hub, lambda _payload: [invalid("plugin")], refusing("4000", "rule")) == [
        "payerfsp: ERROR 4000 Generic Payer error - rule"
    ]


def test_a_plugin_that_raises_fails_the_quote_and_not_the_hub(hub: SchemeBench) -> None:
    def fail(_payload: Mapping[str, object]) -> list[Event]:
        raise RuntimeError("no rates today")

    with capture_logs() as logs:
        assert asked_with(hub, fail) == [
            "payerfsp: ERROR 2001 Internal server error - the rules of the scheme could not be applied"
        ]
    assert [each["plugin"] for each in logs] == ["scheme-x"]
    assert asked_of(hub) == []


@pytest.mark.parametrize(
    "event",
    [
        Event("UNKNOWN"),
        Event("INVALID_QUOTE_REQUEST", {"FSPIOPError": "NO_SUCH_ERROR"}),
        Event("INTERCEPT_QUOTE", {}),
        Event("INTERCEPT_QUOTE", {"rerouteToFsp": OTHER, "additionalHeaders": {"FSPIOP-Source": "somebody"}}),
        Event("INTERCEPT_QUOTE", {"rerouteToFsp": OTHER, "additionalHeaders": {"x-a": "line\r\nbreak: 1"}}),
    ],
    ids=["type", "error", "nobody", "source", "injection"],
)
def test_what_a_plugin_says_wrongly_fails_the_quote(hub: SchemeBench, event: Event) -> None:
    (line,) = asked_with(hub, lambda _payload: [event])
    assert line.startswith("payerfsp: ERROR 2001 Internal server error - a rule of the scheme gave")


def test_a_plugin_that_reroutes_to_nobody_is_told_with_3201(hub: SchemeBench) -> None:
    (line,) = asked_with(hub, lambda _payload: [Event("INTERCEPT_QUOTE", {"rerouteToFsp": "nobody"})])
    assert line == "payerfsp: ERROR 3201 Destination FSP Error - Unsupported participant 'nobody'"


# --- storing ----------------------------------------------------------------------------------------------------


def test_rules_are_versions_of_which_one_is_in_force(hub: SchemeBench) -> None:
    first = set_rules(hub, refusing(name="one"))
    hub.advance(1_000)
    second = set_rules(hub, refusing(name="two"))
    versions = hub.read(lambda tx, _ledger, _directory: history(tx, "quotes", limit=10))
    assert [(each.rule_set_id, each.is_active, each.created_by) for each in versions] == [
        (second.value, True, "alice"),
        (first.value, False, "alice"),
    ]
    assert versions[0].created_ms == hub.now_ms
    assert hub.directory.rule_sets["quotes"].rule_set_id == second.value


def test_no_rules_are_a_version_too(hub: SchemeBench) -> None:
    set_rules(hub, refusing())
    set_rules(hub)
    assert after(hub, request_quote(hub)) == ["payeefsp: POST from payerfsp"]


def test_rules_that_reroute_to_nobody_are_not_stored(hub: SchemeBench) -> None:
    outcome = set_rules(hub, rerouting("nobody"), rerouting(OTHER))
    assert str(outcome.error) == "The rules reroute to nobody, which the scheme does not have. Add it first."
    assert hub.read(lambda tx, _ledger, _directory: history(tx, "quotes", limit=10)) == []


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        ({"type": "SOMETHING"}, "event.type: must be INVALID_QUOTE_REQUEST or INTERCEPT_QUOTE"),
        ({"type": "INVALID_QUOTE_REQUEST"}, "event.params.FSPIOPError: must be an error of FSPIOP"),
        (
            {"type": "INVALID_QUOTE_REQUEST", "params": {"FSPIOPError": "PAYER_ERROR", "message": 5}},
            "event.params.message: must be a text",
        ),
        ({"type": "INTERCEPT_QUOTE"}, "event.params.rerouteToFsp: must be the name of a participant"),
        ({"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": "Hub"}}, "event.params.rerouteToFsp: Hub is the hub"),
        (
            {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": "a", "additionalHeaders": ["x"]}},
            "event.params.additionalHeaders: must be an object",
        ),
        (
            {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": "a", "additionalHeaders": {"Content-Type": "x"}}},
            "event.params.additionalHeaders: Content-Type is the message's own",
        ),
        (
            {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": "a", "additionalHeaders": {"x y": "x"}}},
            "event.params.additionalHeaders: 'x y' is no name of a header",
        ),
        (
            {"type": "INTERCEPT_QUOTE", "params": {"rerouteToFsp": "a", "additionalHeaders": {"x": 1}}},
            "event.params.additionalHeaders: x must be at most",
        ),
    ],
)
def test_an_event_that_nobody_could_follow_is_told_with_its_place(event: object, fault: str) -> None:
    with pytest.raises(RulesError) as caught:
        compile_quote_rules(json.dumps([{"conditions": ALWAYS, "event": event, "name": "odd"}]))
    assert str(caught.value.faults[0]).startswith(f"rule 1 (odd), {fault}")


def test_an_event_may_carry_what_others_read_from_it() -> None:
    """The reference's own example has sourceCurrency beside what it needs."""
    params = {"rerouteToFsp": OTHER, "sourceCurrency": "EUR", "rerouteToFspCurrency": "XOF"}
    assert conclude([Event("INTERCEPT_QUOTE", params)]) == Reroute(FspId(OTHER))


# --- trying -----------------------------------------------------------------------------------------------------


def past(hub: SchemeBench, source: str = PAYER, body: bytes = b'{"amount": {"currency": "USD"}}') -> Received:
    headers = (("FSPIOP-Source", source),)
    return Received(1, hub.now_ms, source, PAYEE, "POST", "/quotes", "quotes", "q-1", headers, body, "accepted")


def test_rules_are_tried_on_a_past_request(hub: SchemeBench) -> None:
    rules = compile_quote_rules(json.dumps([{**refusing(name="of the payer"), "conditions": OF_PAYER}, rerouting()]))
    trial = try_rules(rules, hub.directory, past(hub))
    assert [rule.name for rule in trial.held] == ["of the payer", None]
    assert str(trial.decision) == "4103 Payer unsupported currency - not here"


def test_rules_that_do_not_hold_leave_a_past_request_its_way(hub: SchemeBench) -> None:
    rules = compile_quote_rules(json.dumps([{**refusing(), "conditions": OF_PAYER}]))
    trial = try_rules(rules, hub.directory, past(hub, OTHER))
    assert (trial.held, trial.decision) == ((), None)


def test_trying_puts_nothing_in_force(hub: SchemeBench) -> None:
    try_rules(compile_quote_rules(json.dumps([refusing()])), hub.directory, past(hub))
    assert after(hub, request_quote(hub)) == ["payeefsp: POST from payerfsp"]


def test_a_past_request_whose_body_is_not_kept_is_told_as_that(hub: SchemeBench) -> None:
    trial = try_rules(compile_quote_rules(json.dumps([refusing()])), hub.directory, past(hub, body=b""))
    assert (trial.held, str(trial.decision)) == ((), "3101 Malformed syntax - the body is not JSON")


def journal(hub: SchemeBench, count: int) -> None:
    """So many requests, and as many answers, in the journal: a block for each."""
    with hub.work() as work:
        for number in range(2, 2 * count + 2):
            method, about = ("POST", "PUT")[number % 2], f"q-{number // 2}"
            message = Received(number, 0, "a", "b", method, "/", "quotes", about, (), b"{}", "accepted")
            write(work.tx, number, Block([message], [], [], [subject_of(about)]), node=0, settled=number)


def test_past_requests_are_found_newest_first_page_by_page(hub: SchemeBench) -> None:
    journal(hub, 5)

    def page(before: int) -> Page:
        return hub.read(lambda tx, _ledger, _directory: past_requests(tx, before=before, down_to=4, blocks=3))

    pages = [page(2**63 - 1)]
    while pages[-1].before is not None:
        pages.append(page(pages[-1].before))
    found = [each.resource_id for one in pages for each in one.requests]
    assert found == ["q-5", "q-4", "q-3", "q-2"]


def test_past_requests_are_found_by_their_ids(hub: SchemeBench) -> None:
    journal(hub, 5)
    found = hub.read(lambda tx, _ledger, _directory: past_requests_of(tx, ("q-1", "q-4", "q-9")))
    assert [(each.resource_id, each.body) for each in found] == [("q-4", b"{}"), ("q-1", b"{}")]


# --- the page about rules ---------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_the_rules_on_the_page_are_in_order_and_say_what_it_says(hub: SchemeBench) -> None:
    (content,) = blocks("json")
    rules = compile_quote_rules(content)
    payload = {"transactionType": {"initiatorType": "AGENT"}, "amount": {"amount": "500.01", "currency": "EUR"}}
    facts = {"operation": "quoteRequest", "payee": participant_fact(hub.directory, PAYEE), "payload": payload}
    held = rules.run(facts)
    assert [rule.name for rule in held] == ["cap for agents", "EUR goes by the forex desk"]
    assert str(conclude([rule.event for rule in held])) == "4200 Payer limit error - agents send at most 500"


def test_the_plugin_on_the_page_works(hub: SchemeBench) -> None:
    (source,) = blocks("python")
    module = ModuleType("no_xxx")
    exec(source, module.__dict__)
    asked = {"payer": {}, "payee": {}, "headers": {}, "rules": None, "payload": {"amount": {"currency": "XXX"}}}
    (event,) = Plugins([("no-xxx", module)]).quote_events(operation="quoteRequest", **asked)  # type: ignore[arg-type]
    assert str(conclude([event])) == "4103 Payer unsupported currency - no XXX here"


def test_every_operator_and_limit_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*rules_module._OPERATORS, *rules_module._DECORATORS) if f"`{name}" not in page] == []
    for limit in (rules_module.RULES_MAX, rules_module.CONDITIONS_MAX, rules_module.DEPTH_MAX, PAYLOAD_VALUES_MAX):
        assert f"{limit:,}" in page
