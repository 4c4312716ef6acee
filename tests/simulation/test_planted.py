"""The checks see what they are for: a hub with a fault planted in it is caught by the check that is named for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from vuka.engine import courier, node, outbox
from vuka.errors import FspiopError
from vuka.ids import derive_id
from vuka.ledger import chart
from vuka.ledger.model import Transfer as LedgerTransfer
from vuka.ledger.model import TransferFlags
from vuka.simulation import checks, participants
from vuka.simulation.plan import draw_plan
from vuka.simulation.run import run
from vuka.simulation.told import TOLD
from vuka.switch import fees, headroom, transfers
from vuka.switch.directory import POSITION
from vuka.switch.work import ACCEPTED, Action, Outcome, TransferBody, Work

SEEDS = range(1, 11)
STEPS = 25

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: list[Any] = []


def planted(check: str, scenario: str = "calm") -> Callable[[Plant], Plant]:
    """Has a fault be a test: a few seeds of the scenario must fail, by that check and no other."""

    def add(plant: Plant) -> Plant:
        PLANTS.append(pytest.param(plant, check, scenario, id=plant.__name__))
        return plant

    return add


@pytest.mark.parametrize(("plant", "check", "scenario"), PLANTS)
def test_a_planted_fault_is_caught_by_the_check_for_it(
    plant: Plant, check: str, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    failures = (run(draw_plan(seed, steps=STEPS, scenario=scenario)).failure for seed in SEEDS)
    caught = next((failure for failure in failures if failure is not None), None)
    assert caught is not None, "nobody has noticed"
    assert caught.check == check, caught.what


# --- deliveries -------------------------------------------------------------------------------------------------------


@planted(checks.DELIVERED)
def it_forgets_some_of_what_it_owes(monkeypatch: pytest.MonkeyPatch) -> None:
    post, posted = courier.Courier.post, [0]

    def forgetful(self: courier.Courier, delivery: courier.Delivery) -> bool:
        posted[0] += 1
        return True if posted[0] % 9 == 0 else post(self, delivery)

    monkeypatch.setattr(courier.Courier, "post", forgetful)


@planted(checks.DELIVERED, "crashes")
def it_does_not_look_for_what_an_earlier_process_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.Engine, "_settle", lambda _self: None)
    monkeypatch.setattr(outbox, "settle", lambda *_args, **_options: 0)


@planted(checks.DURABLE)
def it_sends_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = node.Engine._run

    def hasty(self: node.Engine, *args: Any) -> Any:
        batch = decide(self, *args)
        self._hand_over([each.delivery for each in batch.outgoing])
        return batch

    monkeypatch.setattr(node.Engine, "_run", hasty)


def owed(monkeypatch: pytest.MonkeyPatch, keeps: Callable[[int], bool]) -> None:
    """Leaves what is owed out of the blocks, by its number, and has it sent all the same."""
    messages, seen = outbox.Outbox._messages, [0]

    def short(self: outbox.Outbox, entries: outbox.Entries) -> Any:
        received, sent = messages(self, entries)
        left = []
        for each in sent:
            seen[0] += each.is_owed
            if not each.is_owed or keeps(seen[0]):
                left.append(each)
        return received, left

    monkeypatch.setattr(outbox.Outbox, "_messages", short)


@planted(checks.DURABLE)
def it_writes_most_of_what_it_owes_into_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    owed(monkeypatch, lambda number: number % 9 != 0)


@planted(checks.DURABLE, "crashes")
def it_writes_nothing_that_it_owes_into_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    owed(monkeypatch, lambda _number: False)


@planted(TOLD, "crashes")
def its_blocks_are_not_looked_at_and_it_writes_nothing_that_it_owes_into_them(monkeypatch: pytest.MonkeyPatch) -> None:
    owed(monkeypatch, lambda _number: False)
    monkeypatch.setattr(checks.Checker, "_is_owed", lambda _self, _call: True)


# --- what is told -----------------------------------------------------------------------------------------------------


def notified(monkeypatch: pytest.MonkeyPatch, forgets: Callable[..., bool]) -> None:
    """Has the hub forget to make some messages of its own about transfers."""
    notify = transfers._notify

    def forgetful(work: Work, to: Any, action: Action, wire_id: str, body: Any, *args: Any, **options: Any) -> None:
        if not forgets(action, body):
            notify(work, to, action, wire_id, body, *args, **options)

    monkeypatch.setattr(transfers, "_notify", forgetful)


def passed_on(monkeypatch: pytest.MonkeyPatch, forgets: Callable[[Action], bool]) -> None:
    """Has the hub forget to pass on some messages about transfers."""
    forward = transfers._forward

    def forgetful(work: Work, to: Any, inbound: Any, wire_id: str | None, action: Action, **options: Any) -> None:
        if not forgets(action):
            forward(work, to, inbound, wire_id, action, **options)

    monkeypatch.setattr(transfers, "_forward", forgetful)


@planted(TOLD)
def it_forgets_some_of_what_it_is_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [0]

    def forgets(*_args: object) -> bool:
        told[0] += 1
        return told[0] % 9 == 0

    notified(monkeypatch, forgets)


@planted(TOLD)
def it_sends_no_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    notified(monkeypatch, lambda action, _body: action is Action.PATCH)


@planted(TOLD)
def it_tells_nobody_of_an_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    notified(monkeypatch, lambda action, body: action is Action.ERROR and body.code == "3303")


@planted(TOLD)
def it_tells_the_payer_alone_of_an_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    expiries = [0]

    def forgets(action: Action, body: Any) -> bool:
        if action is not Action.ERROR or body.code != "3303":
            return False
        expiries[0] += 1
        return expiries[0] % 2 == 0

    notified(monkeypatch, forgets)


@planted(TOLD)
def it_passes_no_fulfilment_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_on(monkeypatch, lambda action: action is Action.PUT)


@planted(TOLD)
def it_passes_no_refusal_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_on(monkeypatch, lambda action: action is Action.ERROR)


@planted(TOLD)
def it_passes_most_requests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [0]

    def forgets(action: Action) -> bool:
        requests[0] += action is Action.POST
        return action is Action.POST and requests[0] % 9 == 0

    passed_on(monkeypatch, forgets)


@planted(TOLD, "liars")
def it_does_not_tell_a_payee_that_its_answer_was_not_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(*args: Any, **options: Any) -> Outcome:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(transfers, "_notify_error", lambda *_args: None)
            return abort(*args, **options)

    abort = transfers._abort_invalid
    monkeypatch.setattr(transfers, "_abort_invalid", untold)


@planted(TOLD, "rough")
def it_tells_a_payer_that_refused_its_payees_word_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "tell_result", lambda _work, commands: [Outcome() for _ in commands])


# --- records ----------------------------------------------------------------------------------------------------------


@planted(checks.ON_RECORD)
def it_accepts_without_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, prepared = transfers.prepare, [0]

    def careless(work: Work, commands: Sequence[transfers.PrepareTransfer]) -> list[Outcome]:
        prepared[0] += 1
        return [ACCEPTED for _ in commands] if prepared[0] % 5 == 0 else prepare(work, commands)

    monkeypatch.setattr(transfers, "prepare", careless)


@planted(checks.ON_RECORD, "crashes")
def it_accepts_what_could_not_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    def optimistic(_self: node.Engine, taken: Sequence[Any], _error: BaseException) -> None:
        for submission in taken:
            if not submission.done.done():
                submission.done.set_result(ACCEPTED)

    monkeypatch.setattr(node.Engine, "_fail", optimistic)


@planted(checks.ON_RECORD)
def its_journal_leaves_messages_out(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = outbox.Outbox._messages

    def short(self: outbox.Outbox, entries: outbox.Entries) -> Any:
        received, sent = messages(self, entries)
        return received[1:], sent

    monkeypatch.setattr(outbox.Outbox, "_messages", short)


@planted(checks.REFUSED)
def it_refuses_what_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = transfers.prepare

    def confused(work: Work, commands: Sequence[transfers.PrepareTransfer]) -> list[Outcome]:
        return [msgspec.structs.replace(each, error=FspiopError("2003")) for each in prepare(work, commands)]

    monkeypatch.setattr(transfers, "prepare", confused)


# --- ends -------------------------------------------------------------------------------------------------------------


@planted(checks.DURABLE)
def it_tells_committed_before_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    abort = transfers._abort

    def eager(work: Work, command: Any, record: Any, ending: Any) -> Outcome:
        body = TransferBody("COMMITTED", work.now_ms)
        transfers._notify(work, record.payer_fsp, Action.PUT, record.wire_id, body, record.payer_version)
        return abort(work, command, record, ending)

    monkeypatch.setattr(transfers, "_abort", eager)


@planted(participants.ONE_WORD)
def its_word_is_not_looked_at_and_it_tells_one_party_the_opposite(monkeypatch: pytest.MonkeyPatch) -> None:
    it_tells_committed_before_an_abort(monkeypatch)
    monkeypatch.setattr(checks.Checker, "hub_sends", lambda _self, _call: None)


@planted(participants.FULFILLED, "liars")
def it_takes_any_fulfilment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_fulfils", lambda _fulfilment, _condition: True)


@planted(checks.IN_TIME)
def nothing_ever_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_work: Work, commands: Sequence[transfers.ExpireTransfers], **_fees: object) -> list[Outcome]:
        return [Outcome(value=0) for _ in commands]

    monkeypatch.setattr(transfers, "expire", never)


@planted(checks.ONE_END)
def it_expires_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    expire = transfers.expire

    def late(work: Work, commands: Sequence[transfers.ExpireTransfers], **options: Any) -> list[Outcome]:
        work.tx.run(
            "UPDATE transfer SET state = 'EXPIRED_RESERVED' WHERE state = 'COMMITTED' AND kind = 'PAYMENT'",
        )
        return expire(work, commands, **options)

    monkeypatch.setattr(transfers, "expire", late)


# --- money ------------------------------------------------------------------------------------------------------------


@planted(checks.BALANCED)
def it_moves_the_money_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = transfers._commit_record

    def twice(work: Work, record: Any, ending: Any) -> None:
        commit(work, record, ending)
        payer, payee = (
            work.directory.participants[name].accounts[record.currency, POSITION].ledger_account_id
            for name in (record.payee_fsp, record.payer_fsp)
        )
        reserved = chart.reserve(record.transfer_id, debit=payer, credit=payee, amount=1, currency=record.currency)
        again = derive_id("again", record.transfer_id)
        ending.ledger.append(msgspec.structs.replace(reserved, id=again, flags=0))

    monkeypatch.setattr(transfers, "_commit_record", twice)


@planted(checks.MONEY)
def its_books_are_not_looked_at_and_it_moves_the_money_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    it_moves_the_money_twice(monkeypatch)
    monkeypatch.setattr(checks.Checker, "_check_books", lambda _self, _tx: None)


@planted(checks.BALANCED)
def it_rounds_what_it_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    post = chart.post

    def rounded(*args: Any, **options: Any) -> LedgerTransfer:
        posted = post(*args, **options)
        return msgspec.structs.replace(posted, amount=posted.amount - posted.amount % 70_000)

    monkeypatch.setattr(chart, "post", rounded)


@planted(checks.MONEY)
def its_books_are_not_looked_at_and_it_rounds_what_it_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    it_rounds_what_it_posts(monkeypatch)
    monkeypatch.setattr(checks.Checker, "_check_books", lambda _self, _tx: None)


@planted(checks.COVERED)
def it_forgets_to_free_headroom(monkeypatch: pytest.MonkeyPatch) -> None:
    write = transfers._Ending.write

    def forgetful(self: Any, work: Work) -> None:
        self.ledger = [each for each in self.ledger if not each.flags & TransferFlags.void_pending_transfer]
        write(self, work)

    monkeypatch.setattr(transfers._Ending, "write", forgetful)


@planted(checks.COVERED)
def it_grants_more_headroom_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    cap = headroom.cap
    monkeypatch.setattr(headroom, "cap", lambda position, cover: cap(position, cover) + 1)


@planted(checks.MONEY, "settlement")
def it_charges_no_fees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fees.Fees, "entries", lambda _self, _work, _records: [])


@planted(checks.BALANCED)
def its_books_are_wrong_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """…and right again before the end."""
    prepare, prepared, touched = transfers.prepare, [0], []

    def crooked(work: Work, commands: Sequence[transfers.PrepareTransfer]) -> list[Outcome]:
        prepared[0] += 1
        if prepared[0] == 5:
            touched.extend(work.tx.query("SELECT transfer_id FROM transfer WHERE state = 'COMMITTED'"))
            work.tx.run_many("UPDATE transfer SET amount = amount + 1 WHERE transfer_id = ?", touched)
        if prepared[0] == 12:
            work.tx.run_many("UPDATE transfer SET amount = amount - 1 WHERE transfer_id = ?", touched)
        return prepare(work, commands)

    monkeypatch.setattr(transfers, "prepare", crooked)


@planted(checks.SOUND)
def one_command_fails_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_work: Work, _commands: Sequence[Any]) -> list[Outcome]:
        raise RuntimeError("planted")

    monkeypatch.setattr(transfers, "prepare", broken)
