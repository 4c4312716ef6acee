"""Who must be told what of a transfer, by the rules of FSPIOP and of this hub, and whether each was.

The model is made of what participants have asked of the hub, of how each transfer has ended, and of the scheme's
settings; never of what the hub notes that it owes: what it forgets to owe would not exist. Each request that a
participant sends, each attempt of it, has a trace context of its own, which the hub passes on to whatever comes of it.
So an answer to a question is never taken for what must be told unasked, however often somebody has asked, and of two
answers of a payee it shows which has counted.

Participants keep what they have heard (their servers fail, their notes do not). What is parked counts as told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from vuka.engine.outbox import DeliveryState
from vuka.simulation.beliefs import HUB, Word, fulfilment_of, word_of
from vuka.simulation.network import Answer, Call
from vuka.simulation.plan import Scheme
from vuka.simulation.world import short
from vuka.store import Tx
from vuka.switch import journal
from vuka.switch.journal import Block

TOLD: Final = "whoever must be told is told"
"""The check's name."""

EXPIRED: Final = "3303"

_RESERVED_ONCE: Final = frozenset(("COMMITTED", "ABORTED_ERROR", "EXPIRED_RESERVED"))
_NEVER_RESERVED: Final = frozenset(("INVALID", "ABORTED_REJECTED", "EXPIRED_PREPARED"))


class Asked(msgspec.Struct):
    """A request about a transfer as it came to the hub. ``began`` and ``ended`` order it among the others."""

    trace: str
    sender: str
    method: str
    transfer_id: str
    is_error: bool
    destination: str | None
    version: str
    said: dict[str, Any]
    body: bytes
    began: int
    ended: int | None = None
    """None: the hub has not answered, and nobody knows whether it has taken it."""
    is_accepted: bool = False
    may_be_ignored: bool = False
    """Whether its sender took no part when it may have been decided."""

    @property
    def reserves(self) -> bool:
        """Whether the sender waits for the hub's word in a PATCH."""
        return not self.is_error and self.said.get("transferState") == "RESERVED"

    def overlaps(self, other: Asked) -> bool:
        """Whether one came before the other was answered: they may have been decided in one batch."""
        return (self.ended is None or other.began < self.ended) and (other.ended is None or self.began < other.ended)


class Heard(msgspec.Struct, frozen=True):
    """A message of the hub about a transfer as it came to a participant, or is parked."""

    method: str
    is_error: bool
    source: str
    trace: str
    word: Word | None
    code: str | None
    description: str
    body: bytes


class _Transfer(msgspec.Struct, frozen=True):
    """A transfer at the end."""

    wire_id: str
    payer: str
    payee: str
    state: str
    error_code: str | None
    error_description: str | None


class Told:
    """Notes what is asked, and says at the end who has not been told."""

    def __init__(self, scheme: Scheme, fail: Callable[[str], None]) -> None:
        self._scheme = scheme
        self._fail = fail
        self._versions = {each.name: each.version for each in scheme.members}
        self._asked: dict[str, list[Asked]] = defaultdict(list)
        self._open: dict[str, Asked] = {}
        self._inactive: frozenset[str] = frozenset()
        self._moments = 0
        self.refused: dict[str, str] = {}
        """By transfer: who has refused its end as the payee wrote it."""

    def hub_is_asked(self, call: Call) -> None:
        """A request has come to the hub."""
        resource, *ids = call.path.partition("?")[0].strip("/").split("/")
        headers = {name.lower(): value for name, value in call.headers}
        trace = headers.get("traceparent")
        if resource != "transfers" or trace is None or call.sender not in self._versions:
            return
        said = msgspec.json.decode(call.body) if call.body else {}
        self._moments += 1
        asked = Asked(
            trace=trace,
            sender=call.sender,
            method=call.method,
            transfer_id=ids[0] if ids else str(said["transferId"]),
            is_error=ids[-1:] == ["error"],
            destination=headers.get("fspiop-destination"),
            version=headers["content-type"].rpartition("version=")[2],
            said=said,
            body=call.body,
            began=self._moments,
            may_be_ignored=call.sender in self._inactive,
        )
        self._asked[asked.transfer_id].append(asked)
        self._open[trace] = asked

    def hub_answers(self, call: Call, answer: Answer) -> None:
        """The hub has answered one."""
        trace = next((value for name, value in call.headers if name.lower() == "traceparent"), "")
        asked = self._open.pop(trace, None)
        if asked is not None:
            self._moments += 1
            asked.ended = self._moments
            asked.is_accepted = answer.status in (200, 202)

    def hub_died(self) -> None:
        """What it had not answered it never will."""
        self._open.clear()

    def committed(self, tx: Tx) -> None:
        """Who takes no part now: the hub ignores the questions of those."""
        self._inactive = frozenset(name for (name,) in tx.query("SELECT name FROM participant WHERE is_active = 0"))
        for asked in self._open.values():
            asked.may_be_ignored = asked.may_be_ignored or asked.sender in self._inactive

    def marked(self, block: Block, owed: Mapping[int, tuple[str, str, str, bytes]]) -> None:
        """A block says that a payer has refused an end as its payee wrote it: it is told once more, by the hub."""
        for mark in block.marks:
            name, method, path, body = owed.get(mark.message_id, ("", "", "", b""))
            if mark.state == DeliveryState.PARKED and mark.status is not None and method == "PUT":
                transfer_id = path.strip("/").split("/")[1]
                if any(each.body == body and each.method == "PUT" for each in self._asked.get(transfer_id, ())):
                    self.refused.setdefault(transfer_id, name)

    # --- at the end -------------------------------------------------------------------------------------------------

    def check(self, tx: Tx, came: Mapping[str, Sequence[Call]]) -> None:
        """Everything works again and nothing is under way; ``came`` is what each participant's server has taken."""
        heard: dict[tuple[str, str], list[Heard]] = defaultdict(list)
        for name, calls in (*came.items(), *_parked(tx)):
            for call in calls:
                transfer_id, message = _heard(call)
                heard[name, transfer_id].append(message)
        rows = tx.query(
            """SELECT wire_id, payer_fsp, payee_fsp, state, error_code, error_description FROM transfer
               WHERE kind = 'PAYMENT'"""
        )
        transfers = {row[0]: _Transfer(*row) for row in rows}
        for transfer_id in dict.fromkeys((*transfers, *self._asked)):
            _Check(self, transfer_id, transfers.get(transfer_id), heard).run()

    def asked_of(self, transfer_id: str) -> Sequence[Asked]:
        """What was asked about a transfer."""
        return self._asked.get(transfer_id, ())

    @property
    def confirms(self) -> bool:
        """Whether a payee that waits for no PATCH is told the end all the same."""
        return self._scheme.confirms_to_payee

    def lacks(self, name: str, transfer_id: str, what: str) -> None:
        """Somebody was not told something."""
        self._fail(f"{name} was never told of transfer {short(transfer_id)}: {what}")


class _Check:
    """One transfer at the end. ``transfer`` is None where the hub has never heard of it from its payer."""

    def __init__(
        self,
        told: Told,
        transfer_id: str,
        transfer: _Transfer | None,
        heard: Mapping[tuple[str, str], Sequence[Heard]],
    ) -> None:
        self._told = told
        self._id = transfer_id
        self._transfer = transfer
        self._all_heard = heard
        asked = told.asked_of(transfer_id)
        payer = transfer.payer if transfer is not None else None
        payee = transfer.payee if transfer is not None else None
        self._prepares = {each.trace: each for each in asked if each.method == "POST" and each.sender == payer}
        self._answers = {each.trace: each for each in asked if each.method == "PUT" and each.sender == payee}
        self._asked = asked
        self._made_by: str | None = None
        """The trace of the request that has made the transfer: of several the hub takes one."""
        self._ended_by: str | None = None
        """The trace of the answer that has ended it, where one has."""

    def run(self) -> None:
        if self._transfer is not None:
            self._made_by = self._check_prepared(self._transfer)
            self._check_ended(self._transfer)
            self._check_refused(self._transfer)
        for asked in self._asked:
            if asked.is_accepted:
                self._check_asked(asked)

    def _heard(self, name: str) -> Sequence[Heard]:
        return self._all_heard.get((name, self._id), ())

    def _lacks(self, name: str, what: str) -> None:
        self._told.lacks(name, self._id, what)

    def _must_hear(self, name: str, what: str, is_it: Callable[[Heard], bool]) -> Heard | None:
        found = next((each for each in self._heard(name) if is_it(each)), None)
        if found is None:
            self._lacks(name, what)
        return found

    # --- what is told unasked ---------------------------------------------------------------------------------------

    def _check_prepared(self, transfer: _Transfer) -> str | None:
        """What is reserved goes to its payee; of what never is its payer is told why. Which request that was of."""
        prepares = self._prepares
        if transfer.state in _RESERVED_ONCE:
            found = self._must_hear(
                transfer.payee,
                f"{transfer.payer}'s request itself",
                lambda each: (
                    each.method == "POST" and each.trace in prepares and each.body == prepares[each.trace].body
                ),
            )
        elif transfer.state in _NEVER_RESERVED:
            found = self._must_hear(
                transfer.payer,
                f"error {transfer.error_code}, with which it is {transfer.state}",
                lambda each: (
                    _is_hubs_error(each, transfer.error_code, transfer.error_description) and each.trace in prepares
                ),
            )
        else:
            return None
        return None if found is None else found.trace

    def _check_ended(self, transfer: _Transfer) -> None:
        if transfer.state == "EXPIRED_RESERVED":
            # In the trace of the request: a payee that answers too late is told 3303 of its answer, in the answer's.
            traces = self._prepares if self._made_by is None else (self._made_by,)
            for name in dict.fromkeys((transfer.payer, transfer.payee)):
                self._must_hear(
                    name,
                    "3303, that it has expired",
                    lambda each: _is_hubs_error(each, EXPIRED) and each.trace in traces,
                )
        elif transfer.state == "COMMITTED":
            self._check_committed(transfer)
        elif transfer.state == "ABORTED_ERROR":
            self._check_aborted(transfer)

    def _check_committed(self, transfer: _Transfer) -> None:
        payer, payee, answers = transfer.payer, transfer.payee, self._answers

        def tells_payer(each: Heard) -> bool:
            """What a payee that reserves has sent is told by the hub, any other answer is passed on as it came."""
            answer = answers.get(each.trace)
            if answer is None or each.method != "PUT" or each.is_error or each.word is not Word.COMMITTED:
                return False
            if answer.reserves:
                return each.source == HUB and _fulfilment(each) == fulfilment_of(self._id)
            return each.source == payee and each.body == answer.body

        found = self._must_hear(payer, f"{payee}'s fulfilment", tells_payer)
        if found is None:
            return
        self._ended_by = found.trace
        if answers[found.trace].reserves:
            self._must_hear(
                payee,
                "PATCH that it is COMMITTED, for which it waits",
                lambda each: each.method == "PATCH" and each.trace == found.trace and each.word is Word.COMMITTED,
            )
        elif self._told.confirms:
            self._must_hear(
                payee,
                "PUT that it is COMMITTED, as the scheme confirms",
                lambda each: _is_hubs_put(each, Word.COMMITTED) and each.trace == found.trace,
            )

    def _check_aborted(self, transfer: _Transfer) -> None:
        """Its payee has declined, or has answered what is not valid (a wrong fulfilment, somebody else's name)."""
        payer, payee, answers = transfer.payer, transfer.payee, self._answers

        def is_invalid(each: Heard) -> bool:
            return (
                _is_hubs_error(each, transfer.error_code, transfer.error_description)
                and each.trace in answers
                and self._is_invalid(answers[each.trace], payer)
            )

        def tells_payer(each: Heard) -> bool:
            answer = answers.get(each.trace)
            is_passed_on = answer is not None and answer.is_error and each.source == payee and each.body == answer.body
            return (is_passed_on and each.is_error) or is_invalid(each)

        found = self._must_hear(payer, f"that {payee} has ended it with error {transfer.error_code}", tells_payer)
        if found is None:
            return
        answer, self._ended_by = answers[found.trace], found.trace
        if found.source == HUB or self._told.confirms:
            # One that pays itself is told the same twice of an answer that is not valid: once is not told from twice.
            self._must_hear(
                payee,
                f"error {transfer.error_code}, with which its answer has ended it",
                lambda each: _is_hubs_error(each, transfer.error_code) and each.trace == found.trace,
            )
        if answer.reserves:
            self._must_hear(
                payee,
                "PATCH that it is ABORTED, where it waits for one",
                lambda each: each.method == "PATCH" and each.trace == found.trace and each.word is Word.ABORTED,
            )

    def _check_refused(self, transfer: _Transfer) -> None:
        """A payer that can't read what its payee has written is told the end in the hub's words, in no trace."""
        if self._told.refused.get(self._id) == transfer.payer:
            word = Word.COMMITTED if transfer.state == "COMMITTED" else Word.ABORTED
            self._must_hear(
                transfer.payer,
                "how it has ended, once more, as it has refused its payee's word",
                lambda each: _is_hubs_put(each, word) and not each.trace,
            )

    def _is_invalid(self, answer: Asked, payer: str) -> bool:
        is_for_another = answer.destination is not None and answer.destination != payer
        return is_for_another or (not answer.is_error and answer.said.get("fulfilment") != fulfilment_of(self._id))

    # --- what every request is told ---------------------------------------------------------------------------------

    def _check_asked(self, asked: Asked) -> None:
        """Whatever is accepted comes to something: an answer, a refusal, or the transfer itself."""
        match asked.method:
            case "GET":
                # The hub does not answer whoever takes no part.
                if not asked.may_be_ignored:
                    self._must_be_told(asked, "how it stands, as it has asked")
            case "POST":
                if not self._is_taken(asked):
                    self._must_be_told(asked, "what has become of its request")
            case "PUT" if not self._is_left(asked):
                if asked.reserves and asked.trace in self._answers:
                    self._must_hear(
                        asked.sender,
                        "PATCH for an answer with which it waits, or that it is refused",
                        lambda each: each.trace == asked.trace and (each.method == "PATCH" or _is_hubs_error(each)),
                    )
                else:
                    self._must_be_told(asked, "what has become of its answer")
            case _:
                pass

    def _must_be_told(self, asked: Asked, what: str) -> None:
        self._must_hear(
            asked.sender,
            what,
            lambda each: each.trace == asked.trace and each.source == HUB and each.method in ("PUT", "PATCH"),
        )

    def _is_taken(self, asked: Asked) -> bool:
        """Whether a request has made the transfer, or came again, the same, while that one was being decided."""
        if asked.trace == self._made_by:
            return True
        made_by = self._prepares.get(self._made_by or "")
        return (
            made_by is not None
            and asked.sender == made_by.sender
            and asked.body == made_by.body
            and asked.overlaps(made_by)
        )

    def _is_left(self, asked: Asked) -> bool:
        """Whether an answer is rightly told nothing."""
        if asked.reserves and asked.version == "1.0":
            # It has no PATCH: the hub ignores it, whoever has sent it.
            return True
        if asked.trace not in self._answers:
            return False
        if not asked.is_error and asked.said.get("transferState") == "ABORTED":
            # Ignored, where the transfer is known by then.
            return True
        if asked.trace == self._ended_by and not asked.reserves and not self._told.confirms:
            # Told where it was not valid, which `_check_aborted` looks after.
            return True
        # The same again, after the time and before the timer has ended it: what is in progress is not answered twice.
        same = [
            each.trace
            for each in self._answers.values()
            if each is not asked and (each.is_error, each.body) == (asked.is_error, asked.body)
        ]
        return any(each.trace in same and _is_hubs_error(each, EXPIRED) for each in self._heard(asked.sender))


def _is_hubs_error(each: Heard, code: str | None = None, description: str | None = None) -> bool:
    if each.source != HUB or not each.is_error:
        return False
    return (code is None or each.code == code) and (description is None or each.description == description)


def _is_hubs_put(each: Heard, word: Word) -> bool:
    return each.source == HUB and each.method == "PUT" and not each.is_error and each.word is word


def _fulfilment(each: Heard) -> str | None:
    found: str | None = msgspec.json.decode(each.body).get("fulfilment")
    return found


def _heard(call: Call) -> tuple[str, Heard]:
    """A message of the hub about a transfer, with the transfer's id."""
    _, *ids = call.path.strip("/").split("/")
    headers = {name.lower(): value for name, value in call.headers}
    said = msgspec.json.decode(call.body)
    error = said.get("errorInformation") or {}
    is_error = ids[-1:] == ["error"]
    heard = Heard(
        method=call.method,
        is_error=is_error,
        source=headers.get("fspiop-source", HUB),
        trace=headers.get("traceparent", ""),
        word=word_of(call)[0] if call.method != "POST" else None,
        code=error.get("errorCode") if is_error else None,
        description=error.get("errorDescription", "") if is_error else "",
        body=call.body,
    )
    return (ids[0] if ids else str(said["transferId"])), heard


def _parked(tx: Tx) -> Iterable[tuple[str, Sequence[Call]]]:
    """What is parked about transfers."""
    rows = tx.query("SELECT participant, message FROM delivery WHERE state = ?", (DeliveryState.PARKED.value,))
    for name, message in rows:
        sent = journal.decode_sent(message)
        if sent.resource == "transfers":
            yield name, (Call("hub", sent.method, sent.path, sent.headers, sent.body or b""),)
