"""How rules read: what each operator says, what a path finds, in which order rules speak, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from vuka.rules import (
    CONDITIONS_MAX,
    CONTENT_BYTES_MAX,
    DEPTH_MAX,
    FAULTS_MAX,
    LIST_MAX,
    MISSING,
    RULES_MAX,
    Event,
    RulesError,
    compile_rules,
    decode_json,
    sizes,
)

FACTS = ("operation", "payload", "payee", "headers")
PAYLOAD = {
    "amount": {"amount": "100.50", "currency": "USD"},
    "tier": 2,
    "flag": True,
    "note": "",
    "nothing": None,
    "tags": ["a", "b"],
    "one": ["a"],
    "numbers": ["5", "50", "500"],
    "extensionList": [{"key": "blah", "value": "whatever"}, {"key": "KYCPayerTier", "value": "1"}],
}
PAYEE = {
    "name": "payeefsp",
    "accounts": [
        {"ledgerAccountType": "POSITION", "currency": "USD", "isActive": 1},
        {"ledgerAccountType": "SETTLEMENT", "currency": "USD", "isActive": 1},
        {"ledgerAccountType": "POSITION", "currency": "EUR", "isActive": 0},
    ],
}
ALL_FACTS = {
    "operation": "quoteRequest",
    "payload": PAYLOAD,
    "payee": PAYEE,
    "headers": {"fspiop-source": "payerfsp"},
}


def no_fault(_event: Event) -> Iterator[tuple[str, str]]:
    return iter(())


def rule(conditions: object, **more: Any) -> dict[str, Any]:
    return {"conditions": conditions, "event": {"type": "SAY"}, **more}


def compiled(*rules: object) -> Any:
    return compile_rules(json.dumps(rules), facts=FACTS, check_event=no_fault)


def holds(condition: object) -> bool:
    return bool(compiled(rule({"all": [condition]})).run(ALL_FACTS))


def compare(path: str, operator: str, value: object, fact: str = "payload") -> bool:
    return holds({"fact": fact, "path": path, "operator": operator, "value": value})


def faults(*rules: object) -> list[str]:
    with pytest.raises(RulesError) as caught:
        compiled(*rules)
    return [str(each) for each in caught.value.faults]


def faults_of(condition: object) -> list[str]:
    return faults(rule({"all": [condition]}))


# --- operators --------------------------------------------------------------------------------------------------

OPERATORS: list[tuple[str, str, object, bool]] = [
    # JavaScript's ===: no conversion.
    ("$.amount.currency", "equal", "USD", True),
    ("$.amount.currency", "equal", "usd", False),
    ("$.tier", "equal", 2, True),
    ("$.tier", "equal", 2.0, True),
    ("$.tier", "equal", "2", False),
    ("$.flag", "equal", True, True),
    ("$.flag", "equal", 1, False),
    ("$.nothing", "equal", None, True),
    ("$.absent", "equal", None, False),
    ("$.amount.currency", "notEqual", "EUR", True),
    ("$.amount.currency", "notEqual", "USD", False),
    ("$.absent", "notEqual", "USD", True),
    ("$.amount.currency", "in", ["EUR", "USD"], True),
    ("$.amount.currency", "in", ["EUR"], False),
    ("$.amount.currency", "in", "EURUSD", True),
    ("$.flag", "in", [1], False),
    ("$.amount.currency", "notIn", ["EUR"], True),
    ("$.amount.currency", "notIn", ["EUR", "USD"], False),
    ("$.absent", "notIn", ["EUR"], True),
    ("$.tags", "contains", "b", True),
    ("$.tags", "contains", "c", False),
    ("$.amount.currency", "contains", "U", False),
    ("$.tags", "doesNotContain", "c", True),
    ("$.tags", "doesNotContain", "a", False),
    # As in json-rules-engine: what is no list fails both.
    ("$.amount.currency", "doesNotContain", "x", False),
    ("$.tier", "lessThan", 3, True),
    ("$.tier", "lessThan", 2, False),
    ("$.tier", "lessThanInclusive", 2, True),
    ("$.tier", "greaterThan", 1, True),
    ("$.tier", "greaterThan", 2, False),
    ("$.tier", "greaterThanInclusive", 2, True),
    # The reference's own.
    ("$.one", "arrayEqual", "a", True),
    ("$.tags", "arrayEqual", "a", False),
    ("$.amount.currency", "arrayEqual", "USD", True),
    ("$.one", "arrayNotEqual", "a", False),
    ("$.tags", "arrayNotEqual", "a", True),
    ("$.flag", "truthy", True, True),
    ("$.note", "truthy", True, False),
    ("$.note", "truthy", False, True),
    ("$.absent", "truthy", False, True),
    ("$.tags", "truthy", True, True),
    ("$.amount", "deepEqual", {"currency": "USD", "amount": "100.50"}, True),
    ("$.amount", "deepEqual", {"currency": "USD"}, False),
    ("$.tags", "deepEqual", ["a", "b"], True),
    ("$.tags", "deepEqual", ["b", "a"], False),
    ("$.tags", "notDeepEqual", ["a"], True),
    ("$.tags", "notDeepEqual", ["a", "b"], False),
    ("$.note", "isString", True, True),
    ("$.tier", "isString", True, False),
    ("$.absent", "isString", False, True),
    ("$.tags", "isArray", True, True),
    ("$.amount", "isArray", False, True),
    ("$.amount", "isObject", True, True),
    ("$.tags", "isObject", True, False),
    ("$.absent", "isObject", False, True),
]


@pytest.mark.parametrize(("path", "operator", "value", "expected"), OPERATORS)
def test_an_operator_says(path: str, operator: str, value: object, expected: bool) -> None:
    assert compare(path, operator, value) is expected


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("lessThan", "9", False),
        ("greaterThan", "9", True),
        ("greaterThanInclusive", "100.5", True),
        ("lessThanInclusive", "100.5000", True),
        ("greaterThan", 100.5, False),
        ("lessThan", "100.50000000000000000001", True),
    ],
)
def test_amounts_are_compared_as_the_numbers_they_write(operator: str, value: object, expected: bool) -> None:
    """JavaScript would take two texts letter by letter: "100.50" before "9"."""
    assert compare("$.amount.amount", operator, value) is expected


def test_what_is_no_number_is_neither_more_nor_less() -> None:
    assert not compare("$.amount.currency", "lessThan", 5)
    assert not compare("$.amount.currency", "greaterThan", 5)
    assert not compare("$.absent", "lessThanInclusive", 5)


def test_a_number_keeps_every_digit() -> None:
    rules = compile_rules(
        '[{"conditions": {"all": [{"fact": "payload", "path": "n", "operator": "equal", '
        '"value": 123456789012345678.0001}]}, "event": {"type": "SAY"}}]',
        facts=FACTS,
        check_event=no_fault,
    )
    assert rules.run({"payload": {"n": Decimal("123456789012345678.0001")}})
    assert not rules.run({"payload": {"n": Decimal("123456789012345678.0002")}})


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("not:contains", "500", False),
        ("someFact:equal", "50", True),
        ("someFact:greaterThan", 400, True),
        ("everyFact:greaterThan", 4, True),
        ("everyFact:greaterThan", 5, False),
        ("not:everyFact:greaterThan", 5, True),
        ("someFact:in", ["1", "5"], True),
        ("someFact:someValue:equal", ["1", "5"], True),
    ],
)
def test_a_decorator_changes_what_an_operator_is_asked(operator: str, value: object, expected: bool) -> None:
    assert compare("$.numbers", operator, value) is expected


def test_swap_asks_the_other_way_round() -> None:
    assert compare("$.amount.currency", "swap:contains", ["USD", "EUR"])


# --- nesting ----------------------------------------------------------------------------------------------------

TRUE = {"fact": "operation", "operator": "equal", "value": "quoteRequest"}
FALSE = {"fact": "operation", "operator": "equal", "value": "fxQuoteRequest"}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"all": [TRUE, TRUE]}, True),
        ({"all": [TRUE, FALSE]}, False),
        ({"any": [FALSE, TRUE]}, True),
        ({"any": [FALSE, FALSE]}, False),
        ({"not": FALSE}, True),
        ({"not": {"all": [TRUE, TRUE]}}, False),
        ({"all": [TRUE, {"any": [FALSE, {"not": FALSE}]}]}, True),
        ({"any": [{"all": [TRUE, FALSE]}, {"not": TRUE}]}, False),
        ({"all": [{**TRUE, "priority": 5}, {**TRUE, "name": "named"}]}, True),
    ],
)
def test_conditions_nest(conditions: object, expected: bool) -> None:
    assert bool(compiled(rule(conditions)).run(ALL_FACTS)) is expected


def test_a_fact_may_be_compared_with_another() -> None:
    assert holds(
        {
            "fact": "payload",
            "path": "$.amount.currency",
            "operator": "in",
            "value": {"fact": "payee", "path": "$.accounts[?(@.isActive == 1)].currency"},
        }
    )


def test_a_fact_that_was_not_given_is_absent() -> None:
    absent = rule({"all": [{"fact": "payee", "path": "$.name", "operator": "isString", "value": False}]})
    assert compiled(absent).run({"payload": {}})


def test_a_path_into_what_has_no_inside_is_the_thing_itself() -> None:
    assert compare("$.anything", "equal", "quoteRequest", fact="operation")


# --- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.amount.currency", "USD"),
        ("amount.currency", "USD"),
        ("$['amount']['currency']", "USD"),
        ("$.['amount'].currency", "USD"),
        ("$.tags[1]", "b"),
        ("$.tags[-1]", "b"),
        ("$.tags", ["a", "b"]),
        ("$.tags[*]", ["a", "b"]),
        ("$.tags[0:1]", ["a"]),
        ("$.extensionList[?(@.key == 'KYCPayerTier')].value", ["1"]),
        ("$.extensionList[?(@.key === 'KYCPayerTier')].value", ["1"]),
        ('$.extensionList[?(@.key == "KYCPayerTier" && @.value != "2")].value', ["1"]),
        ("$.extensionList[?(@.key == 'no' || @.key == 'blah')].value", ["whatever"]),
        ("$.extensionList[?(@.value)].key", ["blah", "KYCPayerTier"]),
        ("$.extensionList[0].value", "whatever"),
    ],
)
def test_a_path_finds(path: str, found: object) -> None:
    assert compare(path, "deepEqual", found)


@pytest.mark.parametrize(
    "path", ["$.no", "$.amount.no.more", "$.tags[2]", "$.tags.a", "$.extensionList[?(@.key=='x')]"]
)
def test_a_path_that_leads_nowhere_finds_nothing(path: str) -> None:
    for operator in ("isString", "isArray", "isObject", "truthy"):
        assert compare(path, operator, False)


def test_a_long_list_costs_a_quote_next_to_nothing() -> None:
    listed = [f"bank-{number}" for number in range(LIST_MAX)]
    condition = {"fact": "payload", "path": "$.asked", "operator": "someFact:in", "value": listed}
    rules = compiled(rule({"all": [condition]}))
    asked = [f"other-{number}" for number in range(2_000)]
    began = time.process_time()
    assert not rules.run({"payload": {"asked": asked}})
    assert time.process_time() - began < 1
    assert rules.run({"payload": {"asked": [*asked, listed[-1]]}})


def test_a_path_may_name_several_properties_at_once() -> None:
    assert compare("$['amount','note'].currency", "deepEqual", ["USD"], fact="payload")


def test_a_name_with_a_hyphen_needs_no_quotes() -> None:
    assert compare("$.fspiop-source", "equal", "payerfsp", fact="headers")


def test_a_filter_finds_a_list_even_of_one() -> None:
    """By what the reference reads paths with: one match of a filter is a list of one, so that `in` works on it."""
    path = "$.accounts[?(@.ledgerAccountType == 'POSITION' && @.isActive == 1)].currency"
    assert compare(path, "deepEqual", ["USD"], fact="payee")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("$..currency", "no descendants"),
        ("$.accounts[?(@.currency =~ 'U.*')]", "not with =~"),
        ("$.accounts[?(@.isActive > 0)]", "not with >"),
        ("$.accounts[?(@.currency == $.x)]", "a text, a number"),
        ("$.accounts[?(@..currency == 'USD')]", "the element itself"),
        ("$.accounts.length", "'length' is no property"),
        ("$.accounts.`len`", "no len"),
        ("$.accounts[", "is not a JSONPath"),
        ("$." + "a" * 600, "at most 512 characters"),
        # What a step finds twice, the next finds four times: thirty steps would find a milliard.
        ("$" + "['a','a']" * 30, "each property or index once"),
        ("$.l" + "[0,0]" * 30, "each property or index once"),
        ("$.l" + "[0,-1]" * 30, "an index from the end stands alone"),
        ("$.l[?(@['a','a'].b == 'x')]", "each property or index once"),
    ],
)
def test_a_path_that_is_beyond_these_rules_is_refused_with_its_place(path: str, said: str) -> None:
    (fault,) = faults_of({"fact": "payload", "path": path, "operator": "equal", "value": "x"})
    assert fault.startswith("rule 1, conditions.all[0].path: ")
    assert said in fault


# --- the order of rules -----------------------------------------------------------------------------------------


def test_rules_speak_by_priority_and_then_as_they_are_written() -> None:
    rules = compiled(
        rule({"all": [TRUE]}, name="first"),
        rule({"all": [TRUE]}, name="urgent", priority=9),
        rule({"all": [FALSE]}, name="silent", priority=99),
        rule({"all": [TRUE]}, name="second"),
    )
    assert [each.name for each in rules.run(ALL_FACTS)] == ["urgent", "first", "second"]


def test_rules_keep_nothing_of_a_run() -> None:
    rules = compiled(rule({"all": [{"fact": "payload", "path": "$.a", "operator": "equal", "value": 1}]}))
    assert [bool(rules.run({"payload": {"a": value}})) for value in (1, 2, 1)] == [True, False, True]


def test_no_rules_say_nothing() -> None:
    assert compiled().run(ALL_FACTS) == []


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "rules are a JSON array"),
        ("[", "not JSON"),
        ("[1]", "rule 1: must be an object"),
        ("[{}]", "rule 1: 'conditions' is missing"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + " " * CONTENT_BYTES_MAX + "]", f"at most {CONTENT_BYTES_MAX} bytes"),
    ],
)
def test_what_is_no_set_of_rules_is_refused(content: str, said: str) -> None:
    with pytest.raises(RulesError, match=said):
        compile_rules(content, facts=FACTS, check_event=no_fault)


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        ({"fact": "payer"}, "conditions.all[0]: 'operator' is missing"),
        ({**TRUE, "fact": "payer"}, "conditions.all[0].fact: must be one of headers, operation, payee, payload"),
        ({**TRUE, "value": {"fact": "x"}}, "conditions.all[0].value.fact: must be one of"),
        ({**TRUE, "operator": "equals"}, "conditions.all[0].operator: 'equals' is no operator"),
        ({**TRUE, "operator": "never:equal"}, "conditions.all[0].operator: 'never' is no decorator"),
        ({**TRUE, "operator": "not:not:not:not:equal"}, "conditions.all[0].operator: an operator has at most 3"),
        ({**TRUE, "operator": "lessThan", "value": "ten"}, "conditions.all[0].value: lessThan wants a number"),
        ({**TRUE, "operator": "in", "value": 5}, "conditions.all[0].value: in wants a list"),
        ({**TRUE, "operator": "isString", "value": "true"}, "conditions.all[0].value: isString wants true or false"),
        ({**TRUE, "value": ["a"]}, "conditions.all[0].value: equal compares single values: use deepEqual"),
        ({**TRUE, "params": {}}, "conditions.all[0].params: facts take no parameters"),
        ({"condition": "named"}, "conditions.all[0]: conditions by name are not available"),
        ({**TRUE, "pth": "$"}, "conditions.all[0]: 'pth' is not known here"),
        ({"any": []}, "conditions.all[0].any: must be a list of at least one condition"),
        ({"any": [TRUE], "all": [TRUE]}, "conditions.all[0]: 'any' is not known here"),
        ({**TRUE, "priority": 0}, "conditions.all[0].priority: must be a whole number from 1"),
        ("x", "conditions.all[0]: a condition must be an object"),
        ({**TRUE, "operator": "in", "value": ["a"] * (LIST_MAX + 1)}, "conditions.all[0].value: a list has at most"),
    ],
)
def test_a_faulty_condition_is_told_with_its_place(condition: object, fault: str) -> None:
    told = faults_of(condition)
    assert any(each.startswith(f"rule 1, {fault}") for each in told), told


def test_the_outermost_condition_is_all_any_or_not() -> None:
    assert faults(rule(TRUE)) == ["rule 1, conditions: the outermost condition must be one of all, any, not"]


def test_every_fault_is_told_with_its_rule_and_name() -> None:
    wrong = {**TRUE, "operator": "x"}
    told = faults(rule({"all": [TRUE]}), rule({"all": [wrong, wrong]}, name="caps"), rule({"not": wrong}, priority="1"))
    assert [each.partition(": ")[0] for each in told] == [
        "rule 2 (caps), conditions.all[0].operator",
        "rule 2 (caps), conditions.all[1].operator",
        "rule 3, priority",
        "rule 3, conditions.not.operator",
    ]


def test_an_event_is_checked_by_whom_it_is_for() -> None:
    def check(event: Event) -> Iterator[tuple[str, str]]:
        yield "to", f"{event.type} must say to whom"
        yield "", "is not known"

    with pytest.raises(RulesError) as caught:
        compile_rules(json.dumps([rule({"all": [TRUE]})]), facts=FACTS, check_event=check)
    assert [str(each) for each in caught.value.faults] == [
        "rule 1, event.params.to: SAY must say to whom",
        "rule 1, event.type: is not known",
    ]


# --- limits -----------------------------------------------------------------------------------------------------


def test_a_set_has_at_most_so_many_rules() -> None:
    compiled(*[rule({"all": [TRUE]})] * RULES_MAX)
    assert faults(*[rule({"all": [TRUE]})] * (RULES_MAX + 1)) == [
        f"there are {RULES_MAX + 1} rules; a set has at most {RULES_MAX}"
    ]


def test_a_set_has_at_most_so_many_conditions() -> None:
    within = [rule({"all": [TRUE] * (CONDITIONS_MAX // 2 - 1)})] * 2
    compiled(*within)
    (fault,) = faults(*within, rule({"all": [TRUE]}))
    assert fault == f"rule 3, conditions: a set of rules has at most {CONDITIONS_MAX} conditions"


def test_conditions_nest_at_most_so_deep() -> None:
    def nested(depth: int) -> object:
        return TRUE if depth == 1 else {"not": nested(depth - 1)}

    compiled(rule(nested(DEPTH_MAX)))
    (fault,) = faults(rule(nested(DEPTH_MAX + 1)))
    assert f"conditions nest at most {DEPTH_MAX} deep" in fault


def test_no_more_faults_are_told_than_somebody_will_read() -> None:
    assert len(faults(*[{}] * RULES_MAX)) == FAULTS_MAX


def test_what_a_value_costs_is_its_values_and_its_depth() -> None:
    assert sizes({"a": [1, 2, {"b": None}], "c": "text"}) == (7, 4)
    deep: object = 1
    for _ in range(50_000):
        deep = [deep]
    assert sizes(deep) == (50_001, 50_001)
    while isinstance(deep, list):
        deep = deep.pop()


def test_what_is_absent_is_false_and_says_so() -> None:
    assert (bool(MISSING), repr(MISSING)) == (False, "nothing")


def test_numbers_are_decoded_digit_by_digit() -> None:
    assert decode_json(b"[1, 0.1000000000000000055511151231257827, 1e3]") == [
        1,
        Decimal("0.1000000000000000055511151231257827"),
        Decimal("1E+3"),
    ]
