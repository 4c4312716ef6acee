"""The switch against a tiny obvious model: whatever participants and operators do, in whatever order and batches.

The model knows three participants, what each owes, and for each transfer its one state. After every step the hub must
show the same figures and states, its books must follow from its transfers, and no transfer may have been told to end
in two ways.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.switch.scheme_bench import SchemeBench, show
from tests.switch.wire import FULFILMENT, abort, audited, base64url, fulfil, get, prepare

from vuka.config import Scheme
from vuka.ids import FspId, TransferId
from vuka.switch.funds import ReserveFundsOut
from vuka.switch.transfers import AbortTransfer, ExpireTransfers, FulfilTransfer, PrepareTransfer
from vuka.switch.work import Action, Command, ErrorBody, Forward, Notice, TransferBody

NAMES: Final = ("ann", "ben", "cleo")
TICK_MS: Final = 1_000
IDS: Final = 12
"""Few, so that ids meet again."""

UNKNOWN: Final = 9
"""Where an answer aims: below this at a transfer there is, one that waits if any does; this is one nobody prepared."""

ABOUT_THE_MESSAGE: Final = (
    "Modified request",
    "Internal server error - transfer not found",
    "Generic client error",
    "Transfer ID not found - Provided Transfer ID was not found on the server.",
    "Generic validation error - FSPIOP-Source header should match Payer",
    "Generic validation error - FSPIOP-Source header should match Payee FSP",
    "Generic validation error - non-RESERVED transfer state",
)
"""Errors that tell a sender of its message; every other one tells of the end of the transfer."""


# --- the model --------------------------------------------------------------------------------------------------


@dataclass
class Payment:
    """What the model knows of a transfer."""

    payer: str
    payee: str
    amount: int
    expires_ms: int
    state: str
    was_reserved: bool = False
    answered: set[type[Command]] = field(default_factory=set)


@dataclass
class Model:
    """Minor units of one currency throughout."""

    caps: dict[str, int]
    funds: dict[str, int]
    owes: dict[str, int]
    payments: dict[TransferId, Payment] = field(default_factory=dict)

    def may_owe(self, name: str) -> int:
        return max(0, min(self.caps[name], self.funds[name]))

    def apply(self, command: Command, now_ms: int) -> None:
        match command:
            case PrepareTransfer():
                self._prepare(command, now_ms)
            case FulfilTransfer() | AbortTransfer():
                self._answer(command, now_ms)
            case ExpireTransfers():
                for payment in self.payments.values():
                    if payment.state == "RESERVED" and payment.expires_ms <= now_ms:
                        self._end(payment, "ABORTED")

    def _prepare(self, command: PrepareTransfer, now_ms: int) -> None:
        if command.transfer_id in self.payments or command.message.source != command.payer_fsp:
            return
        payment = Payment(
            command.payer_fsp, command.payee_fsp, command.amount.minor, command.expires_ms, state="ABORTED"
        )
        self.payments[command.transfer_id] = payment
        if payment.expires_ms > now_ms and self.owes[payment.payer] + payment.amount <= self.may_owe(payment.payer):
            payment.state, payment.was_reserved = "RESERVED", True
            self.owes[payment.payer] += payment.amount

    def _answer(self, command: FulfilTransfer | AbortTransfer, now_ms: int) -> None:
        fulfils = isinstance(command, FulfilTransfer)
        if fulfils and (command.transfer_state, command.message.version) == ("RESERVED", "1.0"):
            return
        payment = self.payments.get(command.transfer_id)
        if payment is None or command.message.source != payment.payee or type(command) in payment.answered:
            return
        if fulfils and command.transfer_state == "ABORTED":
            return
        payment.answered.add(type(command))
        if payment.state != "RESERVED":
            return
        if command.message.destination not in (None, payment.payer) or (fulfils and command.fulfilment != FULFILMENT):
            self._end(payment, "ABORTED")
        elif payment.expires_ms > now_ms:
            self._end(payment, "COMMITTED" if fulfils else "ABORTED")

    def _end(self, payment: Payment, state: str) -> None:
        payment.state = state
        self.owes[payment.payee if state == "COMMITTED" else payment.payer] -= payment.amount


# --- what may happen --------------------------------------------------------------------------------------------

names = st.sampled_from(NAMES)
ids = st.integers(0, IDS - 1)
amounts = st.one_of(st.integers(1, 60_0000), st.sampled_from((1, 20_0000, 50_0000, 50_0001)))
prepares = st.fixed_dictionaries(
    {
        "what": st.just("prepare"),
        "id": ids,
        "payer": names,
        "payee": names,
        "minor": amounts,
        "ticks": st.sampled_from((5, 9, 9, 2, 1, 0)),
        "source": st.sampled_from((None, None, None, None, *NAMES)),
    }
)
answers = st.fixed_dictionaries(
    {
        "what": st.just("answer"),
        "aim": st.integers(0, UNKNOWN),
        "says": st.sampled_from(("COMMITTED", "COMMITTED", "RESERVED", "RESERVED", "ABORTED", "ERROR")),
        "source": st.sampled_from((None, None, None, None, *NAMES)),
        "destination": st.sampled_from((*("",) * 12, None, *NAMES)),
        "fulfilment": st.sampled_from((*(FULFILMENT,) * 6, None, base64url(bytes(32)))),
        "version": st.sampled_from(("1.1", "1.1", "2.0", "1.0")),
        "code": st.sampled_from(("5104", "5199", "9999")),
    }
)
resends = st.fixed_dictionaries({"what": st.just("again"), "index": st.integers(0, 10_000)})
questions = st.fixed_dictionaries({"what": st.just("get"), "aim": st.integers(0, UNKNOWN), "source": names})
timers = st.just({"what": "expire"})
batches = st.lists(
    st.one_of(prepares, prepares, answers, answers, answers, resends, questions, timers), min_size=2, max_size=8
)


class SwitchAgainstModel(RuleBasedStateMachine):
    """Drives hub and model alike and compares them after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = SchemeBench(currencies=("USD",), rules=Scheme(on_us_transfers=True))
        for name in NAMES:
            self.hub.onboard(name, "USD", cap="50", funds="70")
        self.hub.take_notices()
        self.model = Model(
            caps=dict.fromkeys(NAMES, 50_0000), funds=dict.fromkeys(NAMES, 70_0000), owes=dict.fromkeys(NAMES, 0)
        )
        self.sent: list[Command] = []
        self.withdrawals: list[tuple[ReserveFundsOut, str]] = []
        self.ends: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        """By transfer, then by party: the ends it was told."""

    def teardown(self) -> None:
        self.hub.close()

    # --- participants -------------------------------------------------------------------------------------------

    @rule(each=prepares)
    def somebody_prepares(self, each: dict[str, Any]) -> None:
        self.participants_send([each])

    @precondition(lambda self: self.model.payments)
    @rule(each=answers)
    def somebody_answers(self, each: dict[str, Any]) -> None:
        self.participants_send([each])

    @rule(batch=batches)
    def participants_send_at_once(self, batch: list[dict[str, Any]]) -> None:
        self.participants_send(batch)

    def participants_send(self, batch: list[dict[str, Any]]) -> None:
        commands: list[Command] = []
        before = {key for key, payment in self.model.payments.items() if payment.was_reserved}
        for each in batch:
            command = self._command(each)
            if command is None:
                continue
            commands.append(command)
            self.model.apply(command, self.hub.now_ms)
        self.hub.run_many(commands)
        self.sent += [command for command in commands if not isinstance(command, ExpireTransfers)]
        for key, payment in self.model.payments.items():
            if payment.was_reserved and key not in before:
                assert self._owed(payment.payer) <= self.model.may_owe(payment.payer)

    def _command(self, each: dict[str, Any]) -> Command | None:
        match each["what"]:
            case "prepare":
                return prepare(
                    self.hub,
                    f"{show(each['minor'])} USD",
                    payer=each["payer"],
                    payee=each["payee"],
                    wire_id=_wire_id(each["id"]),
                    source=each["source"],
                    expires_in_ms=each["ticks"] * TICK_MS,
                )
            case "answer":
                return self._answer(each)
            case "again":
                return self.sent[each["index"] % len(self.sent)] if self.sent else None
            case "get":
                return get(self.hub, self._prepared(each["aim"]), each["source"])
        return ExpireTransfers()

    def _answer(self, each: dict[str, Any]) -> Command:
        prepared = self._prepared(each["aim"])
        common = {"source": each["source"], "destination": each["destination"], "version": each["version"]}
        if each["says"] == "ERROR":
            return abort(self.hub, prepared, each["code"], **common)
        return fulfil(self.hub, prepared, state=each["says"], fulfilment=each["fulfilment"], **common)

    def _prepared(self, aim: int) -> PrepareTransfer:
        """The transfer that is aimed at, as its payee knows it."""
        payments = self.model.payments
        waiting = [key for key, payment in payments.items() if payment.state == "RESERVED"]
        candidates = waiting if waiting and aim % 3 else list(payments)
        if aim == UNKNOWN or not candidates:
            return prepare(self.hub, "1 USD", payer="ann", payee="ben", wire_id=_wire_id(IDS))
        key = candidates[aim % len(candidates)]
        payment = payments[key]
        return prepare(self.hub, "1 USD", payer=payment.payer, payee=payment.payee, wire_id=_uuid(key))

    # --- time and operators -------------------------------------------------------------------------------------

    @rule(ticks=st.sampled_from((1, 1, 2, 9)), timer=st.booleans())
    def time_passes(self, ticks: int, timer: bool) -> None:
        self.hub.advance(ticks * TICK_MS)
        if timer:
            self.hub.expire()
            self.model.apply(ExpireTransfers(), self.hub.now_ms)

    @rule(name=names, minor=amounts, does=st.sampled_from(("funds in", "funds out", "paid", "returned", "cap")))
    def operators_act(self, name: str, minor: int, does: str) -> None:
        match does:
            case "funds in":
                self.hub.accept(self.hub.funds_in(name, f"{show(minor)} USD"))
                self.model.funds[name] += minor
            case "funds out":
                self._ask_back(name, minor)
            case "cap":
                self.hub.adjust_cap(name, "USD", show(minor))
                self.model.caps[name] = minor
            case _ if self.withdrawals:
                self._end_withdrawal(is_paid=does == "paid")

    def _ask_back(self, name: str, minor: int) -> None:
        withdrawal = self.hub.funds_out(name, f"{show(minor)} USD")
        self.hub.run(withdrawal)
        if minor <= self.model.funds[name]:
            self.model.funds[name] -= minor
            self.withdrawals.append((withdrawal, name))

    def _end_withdrawal(self, *, is_paid: bool) -> None:
        withdrawal, name = self.withdrawals.pop()
        self.hub.accept(self.hub.commit_out(withdrawal) if is_paid else self.hub.abort_out(withdrawal))
        if not is_paid:
            self.model.funds[name] += withdrawal.amount.minor

    # --- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def each_owes_what_the_model_says(self) -> None:
        assert {name: self._owed(name) for name in NAMES} == self.model.owes

    def _owed(self, name: str) -> int:
        return self.hub.figures(name, "USD", "POSITION").value

    @invariant()
    def each_transfer_stands_as_the_model_says(self) -> None:
        rows = self.hub.read(
            lambda tx, _ledger, _directory: tx.query(
                "SELECT transfer_id FROM transfer WHERE kind = 'PAYMENT' ORDER BY transfer_id"
            )
        )
        found = {TransferId(raw): self.hub.transfer(TransferId(raw)).state.api for (raw,) in rows}
        assert found == {key: payment.state for key, payment in self.model.payments.items()}

    @invariant()
    def the_books_follow_from_the_transfers(self) -> None:
        self.hub.audit()
        assert audited(self.hub).differences == []

    @invariant()
    def everybody_is_told_the_one_end(self) -> None:
        for notice in self.hub.take_notices():
            end = _end_told(notice)
            if end is not None:
                self.ends[notice.resource_id or _posted_id(notice)][notice.to].add(end)
        for key, payment in self.model.payments.items():
            told = self.ends[_uuid(key)]
            if payment.state == "RESERVED":
                assert all("COMMITTED" not in ends for ends in told.values())
                continue
            parties = {payment.payer, payment.payee} if payment.was_reserved else {payment.payer}
            assert {party: told[FspId(party)] for party in parties} == {party: {payment.state} for party in parties}
            assert all(ends <= {payment.state} for ends in told.values())


def _wire_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def _uuid(key: TransferId) -> str:
    return _wire_id(int.from_bytes(key[:4], "big"))


def _posted_id(notice: Notice) -> str:
    assert isinstance(notice.body, Forward)
    return notice.body.inbound.resource_id


def _end_told(notice: Notice) -> str | None:
    """The end of its transfer that a message tells, if it tells one."""
    match notice.action, notice.body:
        case _, TransferBody(state=state):
            return None if state == "RESERVED" else state
        case Action.PUT, Forward():
            return "COMMITTED"
        case Action.ERROR, Forward():
            return "ABORTED"
        case Action.ERROR, ErrorBody(description=description):
            return None if description in ABOUT_THE_MESSAGE else "ABORTED"
    assert notice.action is Action.POST
    return None


def lives(count: int) -> settings:
    return settings(
        max_examples=count,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


TestSwitchAgainstModel = SwitchAgainstModel.TestCase
TestSwitchAgainstModel.settings = lives(100)


@pytest.mark.soak
class TestSwitchAgainstModelForLong(SwitchAgainstModel.TestCase):  # type: ignore[name-defined, misc]
    """The same for long."""

    settings = lives(2_000)
