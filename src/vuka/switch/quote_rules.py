"""The scheme's own rules about quotes: which are refused, and which another participant is asked for instead.

Rules are data that operators store (`vuka.rules` says how they read), or plugins; both answer the same hook with events
of two types, by the reference's names (hub reference §6.4):

- ``INVALID_QUOTE_REQUEST`` {FSPIOPError, message}: the quote is refused with that error; the first such event counts.
- ``INTERCEPT_QUOTE`` {rerouteToFsp, additionalHeaders}: another participant is asked; at most one such event.

What is neither is refused when rules are stored, and fails the quote where a plugin says it. Rules see the operation,
both participants, the body and the headers; they run for quotes and quotes of conversions, not for bulk quotes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.ids import HUB, FspId, IdError, parse_id
from vuka.plugins import PluginError, Plugins, hookimpl
from vuka.rules import Event, Rule, RuleSet, compile_rules, decode_json, sizes
from vuka.store import Tx
from vuka.switch import journal
from vuka.switch.directory import Directory
from vuka.switch.journal import Received
from vuka.switch.rule_sets import participant_fact, put_in_force
from vuka.switch.work import Command, Header, Inbound, Outcome, Work

KIND: Final = "quotes"
"""The kind of these rules in the table ``rule_set``."""

INVALID_QUOTE_REQUEST: Final = "INVALID_QUOTE_REQUEST"
INTERCEPT_QUOTE: Final = "INTERCEPT_QUOTE"

QUOTE_REQUEST: Final = "quoteRequest"
FX_QUOTE_REQUEST: Final = "fxQuoteRequest"
OPERATIONS: Final = {"quotes": QUOTE_REQUEST, "fxQuotes": FX_QUOTE_REQUEST}
"""What the fact ``operation`` is, by resource."""

FACTS: Final = ("operation", "payer", "payee", "payload", "headers")

PAYLOAD_VALUES_MAX: Final = 2_000
"""Values in a body that rules look at. The fullest quote that the API allows has some hundreds."""
PAYLOAD_DEPTH_MAX: Final = 32

COMPILED_MAX: Final = 8
"""Sets of rules kept ready: the one in force, and a few that are being tried."""

ADDED_HEADERS_MAX: Final = 16
HEADER_NAME_LENGTH_MAX: Final = 64
HEADER_VALUE_LENGTH_MAX: Final = 256
MESSAGE_LENGTH_MAX: Final = 128
FSP_ID_LENGTH_MAX: Final = 32

_CODES: Final = {code.name: code for code in ErrorCode} | {code.code: code for code in ErrorCode}

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_VALUE: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)

_OF_THE_MESSAGE: Final = frozenset(
    """accept authorization connection content-encoding content-length content-type cookie date expect host keep-alive
    te trailer transfer-encoding upgrade x-api-key x-client-id x-forwarded-client-cert""".split()
)


# --- events -----------------------------------------------------------------------------------------------------


def check_event(event: Event) -> Iterator[tuple[str, str]]:
    """What is wrong with an event: where in its params (nowhere: its type), and a sentence."""
    if event.type == INVALID_QUOTE_REQUEST:
        yield from _check_invalid(event.params)
    elif event.type == INTERCEPT_QUOTE:
        yield from _check_intercept(event.params)
    else:
        yield "", f"must be {INVALID_QUOTE_REQUEST} or {INTERCEPT_QUOTE}"


def _check_invalid(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    code = params.get("FSPIOPError")
    if not isinstance(code, str) or code not in _CODES:
        yield "FSPIOPError", "must be an error of FSPIOP by its name or code, e.g. PAYER_UNSUPPORTED_CURRENCY or 4103"
    message = params.get("message", "")
    if not isinstance(message, str):
        yield "message", "must be a text"


def _check_intercept(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    target = params.get("rerouteToFsp")
    if not isinstance(target, str) or not 1 <= len(target) <= FSP_ID_LENGTH_MAX:
        yield "rerouteToFsp", "must be the name of a participant"
    elif target == HUB:
        yield "rerouteToFsp", f"{HUB} is the hub itself: it gives no quotes"
    headers = params.get("additionalHeaders", {})
    if not isinstance(headers, Mapping):
        yield "additionalHeaders", "must be an object of names and texts"
        return
    if len(headers) > ADDED_HEADERS_MAX:
        yield "additionalHeaders", f"has at most {ADDED_HEADERS_MAX} headers"
    for name, value in headers.items():
        if not isinstance(name, str) or _TOKEN.fullmatch(name) is None or len(name) > HEADER_NAME_LENGTH_MAX:
            yield "additionalHeaders", f"{name!r} is no name of a header"
        elif name.lower() in _OF_THE_MESSAGE or name.lower().startswith("fspiop-"):
            yield "additionalHeaders", f"{name} is the message's own: a rule may add headers, not replace those"
        elif not isinstance(value, str) or _VALUE.fullmatch(value) is None or len(value) > HEADER_VALUE_LENGTH_MAX:
            yield "additionalHeaders", f"{name} must be at most {HEADER_VALUE_LENGTH_MAX} printable ASCII characters"


class Reroute(msgspec.Struct, frozen=True):
    """Who is asked instead, and what is added to the headers for it."""

    to: FspId
    headers: tuple[Header, ...] = ()


def conclude(events: Sequence[Event]) -> FspiopError | Reroute | None:
    """What follows from all the events of one request (the reference's ``handleRuleEvents``).

    An error of a rule is a `FspiopError` of its code; events that contradict each other, or that are none, are 2001.
    """
    for event in events:
        for path, message in check_event(event):
            where = f"{event.type} {path}".strip()
            return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, f"a rule of the scheme gave {where}: {message}")
    invalid = next((event for event in events if event.type == INVALID_QUOTE_REQUEST), None)
    if invalid is not None:
        message = str(invalid.params.get("message", ""))
        return FspiopError(_CODES[str(invalid.params["FSPIOPError"])], message[:MESSAGE_LENGTH_MAX])
    if len(events) > 1:
        return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "more than one rule of the scheme reroutes this quote")
    if not events:
        return None
    params = events[0].params
    added = params.get("additionalHeaders", {})
    assert isinstance(added, Mapping), "checked above"  # noqa: S101
    return Reroute(FspId(str(params["rerouteToFsp"])), tuple((str(name), str(added[name])) for name in added))


# --- facts ------------------------------------------------------------------------------------------------------


def payload_fact(body: bytes) -> dict[str, object]:
    """A body that rules can look at. Raises `FspiopError` 3101, 3104 for one that would cost too much to look into."""
    try:
        payload = decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the body is not JSON") from None
    if not isinstance(payload, dict):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the body is not a JSON object")
    count, depth = sizes(payload)
    if count > PAYLOAD_VALUES_MAX or depth > PAYLOAD_DEPTH_MAX:
        detail = f"more than {PAYLOAD_VALUES_MAX} values, or nested deeper than {PAYLOAD_DEPTH_MAX}"
        raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, detail)
    return payload


def header_facts(headers: Iterable[Header]) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.lower(): value for name, value in headers}


# --- deciding ---------------------------------------------------------------------------------------------------


def compile_quote_rules(content: bytes | str) -> RuleSet:
    """Rules about quotes from their JSON. Raises `vuka.rules.RulesError` with everything that is wrong."""
    return compile_rules(content, facts=FACTS, check_event=check_event)


class StoredRules:
    """The plugin of the rules that operators store.

    A set is compiled when it is first needed, and kept by its text: a new version is another text.
    """

    def __init__(self) -> None:
        self._compiled: Callable[[str], RuleSet] = lru_cache(maxsize=COMPILED_MAX)(compile_quote_rules)

    @hookimpl
    def vuka_quote_events(
        self,
        operation: str,
        payer: Mapping[str, object],
        payee: Mapping[str, object],
        payload: Mapping[str, object],
        headers: Mapping[str, str],
        rules: str | None,
    ) -> list[Event]:
        """The events of the rules in force whose conditions hold."""
        if rules is None:
            return []
        facts = {"operation": operation, "payer": payer, "payee": payee, "payload": payload, "headers": headers}
        return [rule.event for rule in self._compiled(rules).run(facts)]


class QuoteRules:
    """All that has a say about quotes: the stored rules first, then the plugins. One for each hub."""

    def __init__(self, plugins: Iterable[tuple[str, object]] = ()) -> None:
        """Raises `OperatorError` where a plugin is none."""
        others = list(plugins)
        self._has_plugins = bool(others)
        self._plugins = Plugins([("stored rules", StoredRules()), *others])

    def decide(self, directory: Directory, message: Inbound, payee: FspId) -> FspiopError | Reroute | None:
        """What becomes of a request to ``payee``: an error to refuse it with, another participant, or its own way."""
        in_force = directory.rule_sets.get(KIND)
        if in_force is None and not self._has_plugins:
            return None
        try:
            events = self._plugins.quote_events(
                operation=OPERATIONS[message.resource],
                payer=participant_fact(directory, message.source),
                payee=participant_fact(directory, payee),
                payload=payload_fact(message.body),
                headers=header_facts(message.headers),
                rules=None if in_force is None else in_force.content,
            )
        except FspiopError as error:
            return error
        except PluginError:
            return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "the rules of the scheme could not be applied")
        return conclude(events)


# --- storing ----------------------------------------------------------------------------------------------------


class SetQuoteRules(Command, frozen=True, kw_only=True):
    """An operator puts other rules in force; ``content`` has been compiled, so that it is known to be right."""

    content: str
    by: str


def store(work: Work, commands: Sequence[SetQuoteRules]) -> list[Outcome]:
    """Puts rules in force, each a new version; the ones before stay for the record."""
    return [_store(work, command) for command in commands]


def _store(work: Work, command: SetQuoteRules) -> Outcome:
    rules = compile_quote_rules(command.content)
    unknown = sorted(set(targets(rules)) - set(work.directory.participants))
    if unknown:
        detail = f"The rules reroute to {', '.join(unknown)}, which the scheme does not have. Add it first."
        return Outcome(error=OperatorError(detail))
    rule_set_id = put_in_force(work, KIND, command.content, command.by)
    return Outcome(value=rule_set_id, note=f"{len(rules.rules)} rules in force, version {rule_set_id}")


def targets(rules: RuleSet) -> Iterator[str]:
    """The participants that rules reroute to."""
    for rule in rules.rules:
        if rule.event.type == INTERCEPT_QUOTE:
            yield str(rule.event.params["rerouteToFsp"])


# --- trying -----------------------------------------------------------------------------------------------------


class Trial(msgspec.Struct, frozen=True):
    """What rules would have done with a past request."""

    request: Received
    held: tuple[Rule, ...]
    """The rules whose conditions hold, the highest priority first."""
    decision: FspiopError | Reroute | None


def try_rules(rules: RuleSet, directory: Directory, request: Received) -> Trial:
    """What rules would have made of a past request, with the participants as they are now. Changes nothing."""
    try:
        payload = payload_fact(request.body if len(request.body) <= BODY_BYTES_MAX else b"")
    except FspiopError as error:
        return Trial(request, (), error)
    held = rules.run(
        {
            "operation": OPERATIONS[request.resource],
            "payer": participant_fact(directory, request.source),
            "payee": participant_fact(directory, request.destination),
            "payload": payload,
            "headers": header_facts(request.headers),
        }
    )
    return Trial(request, tuple(held), conclude([rule.event for rule in held]))


BODY_BYTES_MAX: Final = 1_048_576
"""A past request with a larger body is tried as if it had none: it would be refused as too large in any case."""


def past_requests_of(tx: Tx, ids: Sequence[str]) -> list[Received]:
    """The requests of these quotes, the newest first; each as often as it was sent."""
    records: list[bytes] = []
    for text in ids:
        with contextlib.suppress(IdError):
            records.append(parse_id(text))
    rows = tx.query_in("SELECT quote_seq FROM quote WHERE quote_id IN {values}", records)
    rows += tx.query_in("SELECT fx_quote_seq FROM fx_quote WHERE conversion_request_id IN {values}", records)
    subjects = [seq for (seq,) in rows] + [journal.subject_of(text) for text in ids]
    return [each for each in journal.received_about(tx, subjects, set(ids)) if _is_request(each)]


def _is_request(message: Received) -> bool:
    return message.method == "POST" and message.resource in OPERATIONS


class Page(msgspec.Struct, frozen=True):
    """The requests among some messages of the journal, the newest first, and where the next page ends."""

    requests: list[Received]
    before: int | None
    """The key that the next page's blocks are below; None where there are no more."""


def past_requests(tx: Tx, *, before: int, down_to: int, blocks: int) -> Page:
    """The requests among the next ``blocks`` blocks of the journal below one key, down to another."""
    page = journal.received_before(tx, before=before, down_to=down_to, blocks=blocks)
    return Page([each for each in page.received if _is_request(each)], page.before)


USE_CASES: Final = ((store, SetQuoteRules),)
"""Each function with the commands that it decides."""
