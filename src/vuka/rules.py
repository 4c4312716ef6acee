"""Rules as data: conditions on named facts, and the event of each rule whose conditions hold.

The format is that of the reference's ``rules.json``, which is json-rules-engine's: an array of ``{conditions, event,
name?, priority?}``, conditions nested by ``all``, ``any`` and ``not``, each comparing a fact, or what a JSONPath finds
in it, with a value or with another fact. Its operators and their decorators are here, and those the reference adds.
What differs is stated in docs/rules.md: numbers are compared exactly, also where a body writes them as text; a fact
that is absent is in no list; and what could never hold, or not be computed, is refused when rules are compiled.

Nothing here knows what the facts are, nor what an event does. Rules are compiled once and run often: what a JSONPath
finds is looked up once for each run, and no rule can cost more than the limits below allow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from vuka.errors import OperatorError

RULES_MAX: Final = 200
CONDITIONS_MAX: Final = 2_000
"""Conditions in all rules of a set together, those that only hold others included."""
DEPTH_MAX: Final = 8
"""How deep conditions nest."""
VALUE_DEPTH_MAX: Final = 16
"""How deep a literal value nests."""
LIST_MAX: Final = 1_000
"""Elements of a literal list."""
PATH_LENGTH_MAX: Final = 512
CONTENT_BYTES_MAX: Final = 262_144
"""Bytes of a set of rules as JSON."""
DECORATORS_MAX: Final = 3
PRIORITY_MAX: Final = 1_000_000
NAME_LENGTH_MAX: Final = 128
FAULTS_MAX: Final = 50
"""Faults told of one set of rules: whoever wrote it starts with these."""


class Event(msgspec.Struct, frozen=True):
    """What a rule says when its conditions hold."""

    type: str
    params: Mapping[str, object] = msgspec.field(default_factory=dict)


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a set of rules, and where."""

    message: str
    rule: int | None = None
    """Which rule, from 1 on; None: the set as a whole."""
    name: str | None = None
    path: str = ""
    """Where in the rule, e.g. ``conditions.all[0].operator``."""

    def __str__(self) -> str:
        """The fault as a sentence."""
        if self.rule is None:
            return self.message
        name = f" ({self.name})" if self.name else ""
        where = f", {self.path}" if self.path else ""
        return f"rule {self.rule}{name}{where}: {self.message}"


class RulesError(OperatorError):
    """A set of rules that can't be compiled; ``faults`` are all that were found, at least one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults[:FAULTS_MAX])
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")


class Rule(msgspec.Struct, frozen=True):
    """One rule, as people know it."""

    number: int
    """Its place in the set, from 1 on."""
    name: str | None
    priority: int
    event: Event


_LOSSLESS: Final = msgspec.json.Decoder(object, float_hook=Decimal)


def decode_json(content: bytes | str) -> object:
    """JSON as rules take it: every digit of a number kept.

    Raises what msgspec raises, `ArithmeticError` for a number beyond any use, `RecursionError`.
    """
    return _LOSSLESS.decode(content)


EventCheck: TypeAlias = Callable[[Event], Iterable[tuple[str, str]]]
"""What is wrong with an event: pairs of a path in its ``params``, or empty for its type, and a sentence."""


class _Missing:
    """What is not there: a path that finds nothing. JSON has no word for it, JavaScript says undefined."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()


# --- what values are to each other ------------------------------------------------------------------------------

_DECIMAL: Final = re.compile(r"-?[0-9]{1,64}(?:\.[0-9]{1,64})?", re.ASCII)


def _number(value: object) -> Decimal | None:
    """A number, or a text that is one as FSPIOP writes amounts; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value) is not None:
        return Decimal(value)
    return None


def _is_same(left: object, right: object) -> bool:
    """JavaScript's ``===`` on what JSON holds: no conversion, and two lists or objects are never the same one."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (list, Mapping)) or isinstance(right, (list, Mapping)):
        return False
    return left == right


def _is_deeply_same(left: object, right: object) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_deeply_same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_is_deeply_same(left[key], right[key]) for key in left)
    return _is_same(left, right)


def _is_truthy(value: object) -> bool:
    """JavaScript's truth: an empty list or object is true."""
    return bool(value) or isinstance(value, (list, Mapping))


def _is_in(value: object, container: object) -> bool:
    """Whether a list has the value, or a text the text."""
    if isinstance(container, list):
        # What is looked for in a long list is a text, and a text is the same as none but its like.
        return value in container if isinstance(value, str) else any(_is_same(value, each) for each in container)
    return isinstance(container, str) and isinstance(value, str) and value in container


def _is_array_equal(fact: object, value: object) -> bool:
    """The reference's: the value itself, or a list of nothing but it."""
    return _is_same(fact[0], value) if isinstance(fact, list) and len(fact) == 1 else _is_same(fact, value)


def _ordered(decide: Callable[[Decimal, Decimal], bool]) -> _Operator:
    def compare(fact: object, value: object) -> bool:
        left, right = _number(fact), _number(value)
        return left is not None and right is not None and decide(left, right)

    return compare


_Operator: TypeAlias = Callable[[object, object], bool]

_OPERATORS: Final[Mapping[str, _Operator]] = {
    "equal": _is_same,
    "notEqual": lambda fact, value: not _is_same(fact, value),
    "in": _is_in,
    "notIn": lambda fact, value: not _is_in(fact, value),
    "contains": lambda fact, value: isinstance(fact, list) and _is_in(value, fact),
    "doesNotContain": lambda fact, value: isinstance(fact, list) and not _is_in(value, fact),
    "lessThan": _ordered(lambda left, right: left < right),
    "lessThanInclusive": _ordered(lambda left, right: left <= right),
    "greaterThan": _ordered(lambda left, right: left > right),
    "greaterThanInclusive": _ordered(lambda left, right: left >= right),
    "arrayEqual": _is_array_equal,
    "arrayNotEqual": lambda fact, value: not _is_array_equal(fact, value),
    "truthy": lambda fact, value: _is_truthy(fact) is value,
    "deepEqual": _is_deeply_same,
    "notDeepEqual": lambda fact, value: not _is_deeply_same(fact, value),
    "isString": lambda fact, value: isinstance(fact, str) is value,
    "isArray": lambda fact, value: isinstance(fact, list) is value,
    "isObject": lambda fact, value: isinstance(fact, Mapping) is value,
}

_OF_LISTS: Final = frozenset(("in", "notIn"))
_OF_NUMBERS: Final = frozenset(("lessThan", "lessThanInclusive", "greaterThan", "greaterThanInclusive"))
_OF_TRUTH: Final = frozenset(("truthy", "isString", "isArray", "isObject"))


def _some_fact(decide: _Operator) -> _Operator:
    return lambda fact, value: isinstance(fact, list) and any(decide(each, value) for each in fact)


def _every_fact(decide: _Operator) -> _Operator:
    return lambda fact, value: isinstance(fact, list) and all(decide(each, value) for each in fact)


def _some_value(decide: _Operator) -> _Operator:
    return lambda fact, value: isinstance(value, list) and any(decide(fact, each) for each in value)


def _every_value(decide: _Operator) -> _Operator:
    return lambda fact, value: isinstance(value, list) and all(decide(fact, each) for each in value)


_DECORATORS: Final[Mapping[str, Callable[[_Operator], _Operator]]] = {
    "someFact": _some_fact,
    "everyFact": _every_fact,
    "someValue": _some_value,
    "everyValue": _every_value,
    "swap": lambda decide: lambda fact, value: decide(value, fact),
    "not": lambda decide: lambda fact, value: not decide(fact, value),
}


# --- what a JSONPath finds --------------------------------------------------------------------------------------

_Finder: TypeAlias = Callable[[object], object]

_QUOTED: Final = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_STRICT: Final = re.compile(r"([=!])==")


class _PathError(ValueError):
    """A JSONPath that is not one, or that asks for what these rules do not do."""


def _compile_path(text: str) -> _Finder:
    """What finds the value of a path, as jsonpath-plus does with ``wrap: false``, by which the reference reads them.

    A path that can only lead to one place finds that value or nothing; one with a filter, a wildcard or a slice finds
    a list, or nothing where there is no match. Raises `_PathError`.
    """
    if len(text) > PATH_LENGTH_MAX:
        raise _PathError(f"a path has at most {PATH_LENGTH_MAX} characters")
    # Imported here: it takes its time, and a hub without rules does without it.
    from jsonpath_ng.ext.parser import parse

    try:
        parsed = parse(_without_strict_equality(text))
    except Exception as error:  # the parser has several, and they share no base that says only "bad path"
        raise _PathError(f"{text!r} is not a JSONPath: {str(error).strip().splitlines()[0]}") from None
    steps: list[object] = []
    _take_apart(parsed, steps)
    keys = [_key(step) for step in steps]
    if None not in keys:
        return _walker([key for key in keys if key is not None])

    def find_all(value: object) -> object:
        return [match.value for match in parsed.find(value)] or MISSING

    return find_all


def _without_strict_equality(text: str) -> str:
    """The reference's paths are JavaScript: what it writes ``===`` is ``==`` here, where there is no other kind."""
    parts = _QUOTED.split(text)
    return "".join(part if number % 2 else _STRICT.sub(r"\1=", part) for number, part in enumerate(parts))


def _take_apart(node: object, steps: list[object]) -> None:
    """The steps of a path from the root on. Raises `_PathError` for what is not of the plain kind."""
    from jsonpath_ng import Child, Fields, Index, Root, Slice

    kind = type(node).__name__
    if isinstance(node, Child):
        _take_apart(node.left, steps)
        _take_apart(node.right, steps)
    elif isinstance(node, Fields):
        if "length" in node.fields:
            raise _PathError("'length' is no property here: compare the list itself, or its elements")
        _check_once(node)
        steps.append(node)
    elif isinstance(node, (Index, Slice)) or kind == "Wildcard":
        _check_once(node)
        steps.append(node)
    elif kind == "Filter":
        for expression in node.expressions:  # type: ignore[attr-defined]
            _check_filter(expression)
        steps.append(node)
    elif not isinstance(node, Root):
        raise _PathError(f"a path may have names, indexes, slices, * and filters, but no {kind.lower()}")


def _check_once(step: object) -> None:
    """A step leads to each place once: twice, and a path of many steps would find more than anybody can hold.

    Raises `_PathError`.
    """
    from jsonpath_ng import Fields, Index

    places = step.fields if isinstance(step, Fields) else step.indices if isinstance(step, Index) else ()
    if len(set(places)) < len(places):
        raise _PathError("a step may name each property or index once")
    if len(places) > 1 and any(isinstance(place, int) and place < 0 for place in places):
        raise _PathError("an index from the end stands alone: with others it could mean the same element")


def _check_filter(expression: object) -> None:
    """A filter compares what an element has with a literal, by equality. Raises `_PathError`."""
    kind = type(expression).__name__
    if kind in ("Or", "And"):
        for operand in expression.operands:  # type: ignore[attr-defined]
            _check_filter(operand)
        return
    if kind != "Expression":
        raise _PathError(f"a filter may compare and combine with && and ||, but has {kind.lower()}")
    if expression.op not in ("==", "!=", None):  # type: ignore[attr-defined]
        raise _PathError(f"a filter may compare with == and !=, not with {expression.op}")  # type: ignore[attr-defined]
    value: object = expression.value  # type: ignore[attr-defined]
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise _PathError("a filter may compare with a text, a number, true, false or null only")
    _check_relative(expression.target)  # type: ignore[attr-defined]


def _check_relative(node: object) -> None:
    from jsonpath_ng import Child, Fields, Index, This

    if isinstance(node, Child):
        _check_relative(node.left)
        _check_relative(node.right)
        return
    _check_once(node)
    if not isinstance(node, (This, Index)) and not (isinstance(node, Fields) and node.fields != ("*",)):
        raise _PathError("a filter may only look at what the element itself has, e.g. @.currency")


def _key(step: object) -> str | int | None:
    """The name or index of a step that leads to one place; None where it may lead to several."""
    from jsonpath_ng import Fields, Index

    if isinstance(step, Fields) and len(step.fields) == 1 and step.fields != ("*",):
        return str(step.fields[0])
    if isinstance(step, Index) and len(step.indices) == 1:
        return int(step.indices[0])
    return None


def _walker(keys: Sequence[str | int]) -> _Finder:
    """Most paths are names only: going there by hand is many times as fast."""

    def walk(value: object) -> object:
        for key in keys:
            if isinstance(key, str):
                if not isinstance(value, Mapping) or key not in value:
                    return MISSING
                value = value[key]
            else:
                if not isinstance(value, list) or not -len(value) <= key < len(value):
                    return MISSING
                value = value[key]
        return value

    return walk


# --- compiled rules ---------------------------------------------------------------------------------------------


class _Facts:
    """The facts of one run, and what has been found in them so far."""

    __slots__ = ("_found", "_values")

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._found: dict[tuple[str, str], object] = {}

    def find(self, fact: str, path: str, finder: _Finder | None) -> object:
        value = self._values.get(fact, MISSING)
        # As in the reference: a path into what is neither an object nor a list is the thing itself.
        if finder is None or not isinstance(value, (list, Mapping)):
            return value
        key = (fact, path)
        if key not in self._found:
            self._found[key] = finder(value)
        return self._found[key]


_Condition: TypeAlias = Callable[[_Facts], bool]
_Source: TypeAlias = Callable[[_Facts], object]


class RuleSet:
    """Rules compiled: `run` says which of them hold. Made by `compile_rules`; holds nothing of any run."""

    __slots__ = ("_ordered", "rules")

    rules: tuple[Rule, ...]
    """In the order in which they were written."""

    def __init__(self, rules: Sequence[tuple[Rule, _Condition]]) -> None:
        self.rules = tuple(rule for rule, _ in rules)
        # The highest priority first; of equals, the one written first.
        self._ordered = sorted(rules, key=lambda each: -each[0].priority)

    def run(self, facts: Mapping[str, object]) -> list[Rule]:
        """The rules whose conditions hold, the highest priority first.

        Facts are JSON values as `decode_json` gives them; they are not changed.
        """
        seen = _Facts(facts)
        return [rule for rule, holds in self._ordered if holds(seen)]


def compile_rules(content: bytes | str, *, facts: Collection[str], check_event: EventCheck) -> RuleSet:
    """A set of rules from its JSON. ``facts`` are the names that conditions may use.

    Raises `RulesError` with everything that is wrong, not with the first alone.
    """
    if len(content) > CONTENT_BYTES_MAX:
        raise RulesError([Fault(f"a set of rules has at most {CONTENT_BYTES_MAX} bytes")])
    try:
        decoded = decode_json(content)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        raise RulesError([Fault(f"the rules are not JSON: {error}")]) from None
    except RecursionError:
        raise RulesError([Fault("the rules are nested too deeply")]) from None
    if not isinstance(decoded, list):
        raise RulesError([Fault("rules are a JSON array, [] for none")])
    if len(decoded) > RULES_MAX:
        raise RulesError([Fault(f"there are {len(decoded)} rules; a set has at most {RULES_MAX}")])
    compiler = _Compiler(frozenset(facts), check_event)
    compiled = [compiler.rule(number, each) for number, each in enumerate(decoded, 1)]
    if compiler.faults:
        raise RulesError(compiler.faults)
    return RuleSet([each for each in compiled if each is not None])


def _never(_facts: _Facts) -> bool:
    return False


class _Compiler:
    """Reads rules, and gathers what is wrong with them."""

    def __init__(self, facts: frozenset[str], check_event: EventCheck) -> None:
        self.faults: list[Fault] = []
        self._facts = facts
        self._check_event = check_event
        self._conditions = 0
        self._paths: dict[str, _Finder] = {}
        self._number = 0
        self._name: str | None = None

    def _fault(self, path: str, message: str) -> None:
        self.faults.append(Fault(message, self._number, self._name, path))

    def _object(self, value: object, path: str, allowed: Collection[str], required: Collection[str]) -> bool:
        """Whether it is an object with these members; says what is not so."""
        if not isinstance(value, dict):
            self._fault(path, "must be an object")
            return False
        unknown = sorted(set(value) - set(allowed))
        missing = [name for name in required if name not in value]
        for name in unknown:
            self._fault(path, f"{name!r} is not known here; known: {', '.join(sorted(allowed))}")
        for name in missing:
            self._fault(path, f"{name!r} is missing")
        return not unknown and not missing

    def rule(self, number: int, value: object) -> tuple[Rule, _Condition] | None:
        """One rule; None where it is faulty."""
        self._number, self._name = number, None
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            self._name = value["name"][:NAME_LENGTH_MAX]
        before = len(self.faults)
        if not self._object(value, "", ("conditions", "event", "name", "priority"), ("conditions", "event")):
            return None
        assert isinstance(value, dict), "checked above"  # noqa: S101
        name = value.get("name")
        if name is not None and not isinstance(name, str | int):
            self._fault("name", "must be a text")
        elif isinstance(name, str) and not 1 <= len(name) <= NAME_LENGTH_MAX:
            self._fault("name", f"must have 1 to {NAME_LENGTH_MAX} characters")
        priority = self._priority(value.get("priority", 1), "priority")
        conditions = value["conditions"]
        if isinstance(conditions, dict) and not {"all", "any", "not"} & conditions.keys():
            self._fault("conditions", "the outermost condition must be one of all, any, not")
        condition = self._condition(conditions, "conditions", 1)
        event = self._event(value["event"])
        if len(self.faults) > before or event is None:
            return None
        return Rule(number, None if name is None else str(name), priority, event), condition

    def _priority(self, value: object, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= PRIORITY_MAX:
            self._fault(path, f"must be a whole number from 1 to {PRIORITY_MAX}")
            return 1
        return value

    def _event(self, value: object) -> Event | None:
        if not self._object(value, "event", ("type", "params"), ("type",)):
            return None
        assert isinstance(value, dict), "checked above"  # noqa: S101
        kind, params = value["type"], value.get("params", {})
        if not isinstance(kind, str):
            self._fault("event.type", "must be a text")
            return None
        if not isinstance(params, dict):
            self._fault("event.params", "must be an object")
            return None
        event = Event(kind, params)
        for path, message in self._check_event(event):
            self._fault(f"event.params.{path}" if path else "event.type", message)
        return event

    def _condition(self, value: object, path: str, depth: int) -> _Condition:
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            if self._conditions == CONDITIONS_MAX + 1:
                self._fault(path, f"a set of rules has at most {CONDITIONS_MAX} conditions")
            return _never
        if depth > DEPTH_MAX:
            self._fault(path, f"conditions nest at most {DEPTH_MAX} deep")
            return _never
        if not isinstance(value, dict):
            self._fault(path, "a condition must be an object")
            return _never
        kinds = [kind for kind in ("all", "any", "not") if kind in value]
        if not kinds:
            return self._comparison(value, path)
        kind = kinds[0]
        if not self._object(value, path, (kind, "name", "priority"), ()):
            return _never
        self._priority(value.get("priority", 1), f"{path}.priority")
        inner = value[kind]
        if kind == "not":
            denied = self._condition(inner, f"{path}.not", depth + 1)
            return lambda facts: not denied(facts)
        if not isinstance(inner, list) or not inner:
            self._fault(f"{path}.{kind}", "must be a list of at least one condition")
            return _never
        parts = [self._condition(each, f"{path}.{kind}[{place}]", depth + 1) for place, each in enumerate(inner)]
        if kind == "all":
            return lambda facts: all(part(facts) for part in parts)
        return lambda facts: any(part(facts) for part in parts)

    def _comparison(self, value: dict[str, object], path: str) -> _Condition:
        if "condition" in value:
            self._fault(path, "conditions by name are not available: write the condition itself")
            return _never
        if "params" in value:
            self._fault(f"{path}.params", "facts take no parameters")
            return _never
        allowed = ("fact", "path", "operator", "value", "name", "priority")
        if not self._object(value, path, allowed, ("fact", "operator", "value")):
            return _never
        self._priority(value.get("priority", 1), f"{path}.priority")
        left = self._fact(value["fact"], value.get("path"), path)
        wanted = value["value"]
        if isinstance(wanted, dict) and "fact" in wanted:
            if not self._object(wanted, f"{path}.value", ("fact", "path"), ("fact",)):
                return _never
            right = self._fact(wanted["fact"], wanted.get("path"), f"{path}.value")
            decide = self._operator(value["operator"], f"{path}.operator", MISSING, path)
        else:
            self._literal(wanted, f"{path}.value", 1)
            decide = self._operator(value["operator"], f"{path}.operator", wanted, path)

            def right(_facts: _Facts) -> object:
                return wanted

        return lambda facts: decide(left(facts), right(facts))

    def _fact(self, name: object, path: object, where: str) -> _Source:
        if not isinstance(name, str) or name not in self._facts:
            self._fault(f"{where}.fact", f"must be one of {', '.join(sorted(self._facts))}")
            return lambda _facts: MISSING
        if path is None or path == "":
            return lambda facts: facts.find(name, "", None)
        if not isinstance(path, str):
            self._fault(f"{where}.path", "must be a text, e.g. $.amount.currency")
            return lambda _facts: MISSING
        try:
            finder = self._paths.get(path) or _compile_path(path)
        except _PathError as error:
            self._fault(f"{where}.path", str(error))
            return lambda _facts: MISSING
        self._paths[path] = finder
        return lambda facts: facts.find(name, path, finder)

    def _literal(self, value: object, path: str, depth: int) -> None:
        if depth > VALUE_DEPTH_MAX:
            self._fault(path, f"a value nests at most {VALUE_DEPTH_MAX} deep")
        elif isinstance(value, list):
            if len(value) > LIST_MAX:
                self._fault(path, f"a list has at most {LIST_MAX} elements")
            for place, each in enumerate(value[:LIST_MAX]):
                self._literal(each, f"{path}[{place}]", depth + 1)
        elif isinstance(value, dict):
            for name, each in value.items():
                self._literal(each, f"{path}.{name}", depth + 1)

    def _operator(self, value: object, path: str, literal: object, where: str) -> _Operator:
        """The operator with its decorators, outermost first: ``not:contains``. Checks that the literal suits it."""
        if not isinstance(value, str):
            self._fault(path, "must be a text")
            return _same_as_never
        *decorators, name = value.split(":")
        operator = _OPERATORS.get(name)
        if operator is None:
            self._fault(path, f"{name!r} is no operator; there are {', '.join(_OPERATORS)}")
            return _same_as_never
        if len(decorators) > DECORATORS_MAX:
            self._fault(path, f"an operator has at most {DECORATORS_MAX} decorators")
            return _same_as_never
        for each in reversed(decorators):
            decorate = _DECORATORS.get(each)
            if decorate is None:
                self._fault(path, f"{each!r} is no decorator; there are {', '.join(_DECORATORS)}")
                return _same_as_never
            operator = decorate(operator)
        if literal is not MISSING:
            self._check_literal(name, decorators, literal, f"{where}.value")
        return operator

    def _check_literal(self, name: str, decorators: Sequence[str], literal: object, path: str) -> None:
        """What could never hold is a mistake, and is told as one."""
        if "swap" in decorators:
            return
        values: object = literal
        for each in decorators:
            if each in ("someValue", "everyValue"):
                if not isinstance(values, list) or not values:
                    self._fault(path, f"{each} wants a list")
                    return
                values = values[0]
        if name in _OF_NUMBERS and _number(values) is None:
            self._fault(path, f"{name} wants a number, or a text of digits as amounts are written")
        elif name in _OF_LISTS and not isinstance(values, (list, str)):
            self._fault(path, f"{name} wants a list")
        elif name in _OF_TRUTH and not isinstance(values, bool):
            self._fault(path, f"{name} wants true or false")
        elif name in ("equal", "notEqual") and isinstance(values, (list, dict)):
            self._fault(path, f"{name} compares single values: use deepEqual or notDeepEqual")


def _same_as_never(_fact: object, _value: object) -> bool:
    return False


def sizes(value: object) -> tuple[int, int]:
    """How many values a JSON value holds, itself included, and how deep it nests: what it can cost to look into."""
    count = deepest = 0
    level: list[object] = [value]
    while level:
        count += len(level)
        deepest += 1
        level = [inner for each in level for inner in _inner(each)]
    return count, deepest


def _inner(value: object) -> Iterator[object]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, Mapping):
        yield from value.values()
