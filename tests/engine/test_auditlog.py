"""What a batch leaves in the audit log: one entry for all that has ended, one for each act, or nothing at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.engine.batches import Batches, Poison
from tests.switch import wire
from tests.switch.settling import Settling
from tests.switch.wire import PAYEE, PAYER

from vuka.api.audit_key import AuditKey
from vuka.engine.auditlog import LAST_FILE, AuditLog, SignAuditLog, tell
from vuka.engine.batch import Rules
from vuka.engine.notifications import ResendNotifications
from vuka.ids import FspId
from vuka.switch import auditlog
from vuka.switch.access import CredentialKind, IssueCredential
from vuka.switch.auditlog import Act, Entry, Kind
from vuka.switch.funds import ReserveFundsOut
from vuka.switch.gross_settlement import SettleGross
from vuka.switch.participants import AdjustLimit, Endpoint, SetEndpoints, SetParticipantActive
from vuka.switch.schedules import RunSchedules
from vuka.switch.work import TIMER, Actor, ActorKind

ALICE = Actor(ActorKind.OPERATOR, "alice", 7)
KEY = AuditKey(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1"))


class Logged(Batches):
    """Batches of a process that keeps the audit log."""

    def __init__(self) -> None:
        super().__init__()
        self.log = AuditLog(KEY.sign, is_alone=True)
        self.before = len(self.entries())

    @property
    def rules(self) -> Rules:
        return msgspec.structs.replace(super().rules, auditlog=self.log)

    def entries(self) -> list[Entry]:
        with self.bench.database.read() as tx:
            return list(auditlog.entries(tx))

    def new(self) -> list[Entry]:
        """What was added since the last look."""
        found = self.entries()[self.before :]
        self.before += len(found)
        return found

    def acts(self) -> list[Act]:
        contents = [each.read() for each in self.new()]
        return [content for content in contents if isinstance(content, Act)]

    def is_whole(self) -> bool:
        return auditlog.verify(self.entries(), keys={KEY.public}).fault is None


@pytest.fixture
def batches() -> Iterator[Logged]:
    logged = Logged()
    yield logged
    assert logged.is_whole()


def _active(name: str, *, is_active: bool, who: Actor | None = ALICE) -> SetParticipantActive:
    return SetParticipantActive(name=FspId(name), is_active=is_active, actor=who)


def test_a_batch_leaves_one_entry_for_all_that_it_has_ended(batches: Logged) -> None:
    prepared = [wire.prepare(batches.bench, f"{number}.25 USD") for number in range(1, 4)]
    batches.run(*prepared)
    assert batches.new() == [], "what is reserved has not ended"
    batches.run(*(wire.fulfil(batches.bench, each) for each in prepared[:2]), wire.abort(batches.bench, prepared[2]))
    (entry,) = batches.new()
    ends = {end.transfer_id: end for end in auditlog.ends_of(entry)}
    assert [ends[each.transfer_id].state for each in prepared] == ["COMMITTED", "COMMITTED", "ABORTED_ERROR"]
    assert [ends[each.transfer_id].amount for each in prepared] == [12_500, 22_500, 32_500]
    assert ends[prepared[2].transfer_id].error_code == "5104"
    end = ends[prepared[0].transfer_id]
    assert (end.payer_fsp, end.payee_fsp, end.currency, end.kind) == (PAYER, PAYEE, "USD", "PAYMENT")
    assert end.completed_ms == entry.at_ms == batches.bench.now_ms


def test_a_transfer_that_ends_before_anything_is_reserved_is_told_too(batches: Logged) -> None:
    batches.run(wire.prepare(batches.bench, "1000.01 USD"))
    ((end,),) = map(auditlog.ends_of, batches.new())
    assert (end.state, end.error_code) == ("ABORTED_REJECTED", "4001")


def test_each_act_of_a_batch_has_its_own_changes(batches: Logged) -> None:
    batches.run(_active(PAYER, is_active=False), _active(PAYEE, is_active=False))
    acts = batches.acts()
    assert [act.who for act in acts] == [ALICE, ALICE]
    assert [(each.before, each.after) for act in acts for each in act.changes] == [
        ({"is_active": 1}, {"is_active": 0}),
        ({"is_active": 1}, {"is_active": 0}),
    ]
    assert [act.changes[0].of["name"] for act in acts] == [PAYER, PAYEE]


def test_a_change_and_a_refusal_are_told_apart(batches: Logged) -> None:
    batches.run(_active("nobody", is_active=False), _active(PAYER, is_active=True))
    refused, unchanged = batches.acts()
    assert refused.outcome.startswith("refused: ")
    assert (refused.changes, refused.asked) == ([], {"name": "nobody", "is_active": False})
    assert not unchanged.outcome.startswith("refused")
    assert unchanged.changes == []


def test_what_participants_and_timers_do_is_no_act(batches: Logged) -> None:
    batches.run(_active(PAYER, is_active=False, who=None), RunSchedules(replans_all=True, actor=TIMER))
    assert batches.new() == []


def _unsettled(batches: Logged) -> ReserveFundsOut:
    """A payment to be settled gross, for which its payer's liquidity is reserved elsewhere: by this withdrawal."""
    settling = Settling(batches.bench)
    settling.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    prepared = wire.prepare(batches.bench, "100 USD")
    batches.run(prepared)
    out = batches.bench.funds_out(PAYER, "1000 USD")
    batches.run(out)
    batches.run(wire.fulfil(batches.bench, prepared))
    return out


def test_liquidity_that_the_timer_moves_is_its_act_and_what_it_finds_undone_is_none(batches: Logged) -> None:
    out = _unsettled(batches)
    batches.new()
    batches.run(SettleGross(actor=TIMER))
    assert batches.new() == [], "there is nothing to settle it with"
    batches.run(batches.bench.abort_out(out))
    batches.new()
    batches.run(SettleGross(actor=TIMER))
    (act,) = batches.acts()
    assert (act.who, act.what) == (TIMER, "SettleGross")
    moved = {
        each.account: each.after["credits_posted"]
        - each.after["debits_posted"]
        - (0 if each.before is None else each.before["credits_posted"] - each.before["debits_posted"])
        for each in act.balances
    }
    assert moved[f"{PAYER} USD SETTLEMENT"] == -1_000_000
    assert moved[f"{PAYEE} USD SETTLEMENT"] == 1_000_000


def test_a_row_that_is_replaced_is_told_as_it_was_and_as_it_is(batches: Logged) -> None:
    def endpoint(value: str) -> SetEndpoints:
        endpoints = (Endpoint("FSPIOP_CALLBACK_URL_QUOTES", value),)
        return SetEndpoints(name=FspId(PAYER), endpoints=endpoints, actor=ALICE)

    batches.run(endpoint("http://old.example"))
    batches.acts()
    batches.bench.advance(1)
    batches.run(endpoint("http://hub:hunter2@new.example/cb?token=abc&x=1"))
    (act,) = batches.acts()
    (change,) = (each for each in act.changes if each.table == "endpoint")
    assert change.before is not None
    assert change.after is not None
    assert change.before["value"] == "http://old.example"
    assert change.after["value"] == "http://hub:(left out)@new.example/cb?token=(left out)&x=1"
    assert "hunter2" not in repr(act)


def test_of_where_alarms_go_no_more_is_kept_than_the_host_and_the_first_segment(batches: Logged) -> None:
    def endpoint(value: str) -> SetEndpoints:
        endpoints = (Endpoint("ALARM_NOTIFICATION_URL", value),)
        return SetEndpoints(name=FspId(PAYER), endpoints=endpoints, actor=ALICE)

    short = "https://hooks.example.com/services/(left out)"
    for secret in ("S3CRET", "0THER"):
        batches.bench.advance(1)
        batches.run(endpoint(f"https://hooks.example.com/services/T0/B0/{secret}?token=TOP"))
        (entry,) = batches.new()
        act = entry.read()
        assert isinstance(act, Act)
        (change,) = (each for each in act.changes if each.table == "endpoint")
        assert change.after is not None
        assert change.after["value"] == short, "that it changed is told"
        assert change.before is None or change.before["value"] == short
        assert act.asked["endpoints"] == [{"type": "ALARM_NOTIFICATION_URL", "value": short}]
        for part in ("S3CRET", "0THER", "B0", "TOP"):
            assert part.encode() not in entry.content


def test_where_a_notification_goes_that_is_sent_again_is_kept_no_longer_than_that(batches: Logged) -> None:
    with batches.bench.database.begin() as tx:
        tx.run(
            """INSERT INTO notification (notification_id, kind, participant, currency, data, created_ms)
               VALUES (7, 'NET_DEBIT_CAP_ADJUSTMENT', 'greenbank', 'USD', '{}', 1)"""
        )
        for number, address in enumerate(("https://hooks.example.com/services/T0/S3CRET", "desk@scheme.example"), 1):
            tx.run(
                """INSERT INTO notification_delivery
                   (notification_id, delivery_no, channel, recipient, address, state, attempts, next_ms, updated_ms)
                   VALUES (7, ?, 'webhook', 'greenbank', ?, 'PARKED', 1, 1, 1)""",
                (number, address),
            )
    batches.run(ResendNotifications(notification_id=7, channel=None, channels=("webhook",), actor=ALICE))
    (entry,) = batches.new()
    act = entry.read()
    assert isinstance(act, Act)
    told = [each.of["address"] for each in act.changes if each.table == "notification_delivery"]
    assert sorted(map(str, told)) == ["desk@scheme.example", "https://hooks.example.com/services/(left out)"]
    assert b"S3CRET" not in entry.content


def test_a_limit_is_told_with_the_headroom_that_it_moves(batches: Logged) -> None:
    command = AdjustLimit(
        name=FspId(PAYER),
        currency="USD",
        limit_type="NET_DEBIT_CAP",
        value=5_000_000,
        alarm_percentage=10,
        actor=ALICE,
    )
    batches.run(command)
    (act,) = batches.acts()
    (position,) = (each for each in act.balances if each.account == f"{PAYER} USD POSITION")
    assert position.before is not None
    moved = [figures["credits_posted"] - figures["debits_posted"] for figures in (position.before, position.after)]
    assert moved == [10_000_000, 5_000_000], "1000 were granted, and 500 are left"


def test_nothing_that_lets_anybody_in_is_kept(batches: Logged) -> None:
    digest = bytes(range(32))
    command = IssueCredential(kind=CredentialKind.TOKEN, digest=digest, name="bob", roles=("read",), actor=ALICE)
    batches.run(command)
    (entry,) = batches.new()
    assert digest not in entry.content
    assert digest.hex().encode() not in entry.content


def test_a_defect_leaves_the_act_that_failed_and_the_others_theirs(batches: Logged) -> None:
    batches.run(_active(PAYER, is_active=False), Poison(actor=ALICE))
    done, failed = sorted(batches.acts(), key=lambda act: act.what, reverse=True)
    assert (done.what, len(done.changes)) == ("SetParticipantActive", 1)
    assert (failed.what, failed.outcome, failed.changes) == ("Poison", "failed: a defect of the hub", [])


def test_what_is_not_committed_leaves_no_trace_and_the_next_batch_goes_on_from_before(batches: Logged) -> None:
    batches.run(_active(PAYER, is_active=False))
    batches.run(_active(PAYER, is_active=True), commit=False)
    batches.run(_active(PAYEE, is_active=False))
    assert len(batches.new()) == 2
    assert batches.is_whole()


@pytest.mark.store("sqlite")
def test_a_row_that_somebody_else_has_put_there_stops_no_batch_and_is_told() -> None:
    batches = Logged()
    batches.run(_active(PAYER, is_active=False))
    with batches.bench.database.begin() as tx:
        act = Act(ALICE, "Nothing", "accepted", {})
        auditlog.append(tx, auditlog.head(tx), Kind.ACT, act, batches.bench.now_ms)
    with pytest.raises(sqlite3.IntegrityError):
        batches.run(_active(PAYER, is_active=True))
    batches.run(_active(PAYER, is_active=True), commit=False)
    with structlog.testing.capture_logs() as logs:
        batches.run(_active(PAYER, is_active=True))
        batches.run(_active(PAYEE, is_active=True))
    assert [each["event"] for each in logs if each["log_level"] == "critical"] == [
        "the audit log ends elsewhere than this hub has ended it: somebody else has written it"
    ]
    fault = auditlog.verify(batches.entries()).fault
    assert fault is not None
    assert fault.seq == 4, "the first that does not follow from what the hub has written"


def test_several_processes_share_one_chain(batches: Logged) -> None:
    logs = [AuditLog(KEY.sign), AuditLog(KEY.sign)]
    for number in range(6):
        batches.log = logs[number % 2]
        batches.run(_active(PAYER, is_active=number % 2 == 0))
    assert [each.seq for each in batches.new()] == list(range(2, 8))
    assert batches.is_whole()


def test_a_batch_that_signs_ends_with_a_checkpoint_of_all_before(batches: Logged) -> None:
    prepared = wire.prepare(batches.bench, "1 USD")
    batches.run(prepared)
    batches.run(
        wire.fulfil(batches.bench, prepared),
        SignAuditLog(actor=ALICE),
        _active(PAYEE, is_active=False),
    )
    entries = batches.new()
    assert [each.kind for each in entries] == [Kind.ACT, Kind.ACT, Kind.ENDS, Kind.CHECKPOINT]
    checkpoint = entries[-1].read()
    assert isinstance(checkpoint, auditlog.Checkpoint)
    assert (checkpoint.seq, checkpoint.hash) == (entries[-2].seq, entries[-2].hash.hex())
    assert checkpoint.is_genuine()


def test_a_batch_with_an_operators_act_leaves_a_signature_of_the_log_and_no_further_entry(batches: Logged) -> None:
    prepared = wire.prepare(batches.bench, "1 USD")
    assert batches.run(prepared).checkpoint is None
    signed = batches.run(wire.fulfil(batches.bench, prepared), _active(PAYER, is_active=False)).checkpoint
    assert [each.kind for each in batches.new()] == [Kind.ACT, Kind.ENDS]
    assert signed is not None
    chain = batches.entries()
    assert (signed.log, signed.seq, signed.hash) == (chain[0].hash.hex(), chain[-1].seq, chain[-1].hash.hex())
    assert signed.is_genuine()


def test_what_participants_and_timers_do_leaves_no_signature(batches: Logged) -> None:
    out = _unsettled(batches)
    batches.run(batches.bench.abort_out(out))
    batches.new()
    batch = batches.run(SettleGross(actor=TIMER))
    assert [each.kind for each in batches.new()] == [Kind.ACT]
    assert batch.checkpoint is None


def test_an_operators_act_that_was_cut_off_is_found_with_what_the_hub_has_kept(batches: Logged) -> None:
    acts = [_active(PAYER, is_active=False), _active("nobody", is_active=False), Poison(actor=ALICE)]
    for command in acts:
        kept = batches.run(command).checkpoint
        assert kept is not None
        chain = batches.entries()
        whole = auditlog.verify(chain, kept=[kept], keys={KEY.public})
        assert (whole.fault, whole.kept, whole.signed_up_to, whole.unsigned) == (None, 1, len(chain), 0)
        fault = auditlog.verify(chain[:-1], kept=[kept], keys={KEY.public}).fault
        assert fault is not None
        assert fault.seq == len(chain)


def test_a_signature_that_is_older_than_the_log_agrees_with_it_and_says_what_is_not_signed(batches: Logged) -> None:
    first = batches.run(_active(PAYER, is_active=False)).checkpoint
    batches.run(_active(PAYER, is_active=True))
    batches.run(SignAuditLog())
    before_last = batches.run(_active(PAYEE, is_active=False)).checkpoint
    batches.run(_active(PAYEE, is_active=True))
    batches.run(_active(PAYEE, is_active=False))
    assert first is not None
    assert before_last is not None
    chain = batches.entries()
    for kept, signed_up_to, unsigned in ((first, 3, 3), (before_last, 5, 2)):
        verdict = auditlog.verify(chain, kept=[kept], keys={KEY.public})
        assert (verdict.fault, verdict.signed_up_to, verdict.unsigned) == (None, signed_up_to, unsigned)


def test_each_of_several_processes_signs_where_the_chain_has_ended_with_its_own_act(batches: Logged) -> None:
    logs = [AuditLog(KEY.sign), AuditLog(KEY.sign)]
    signed: list[int] = []
    for number in range(4):
        batches.log = logs[number % 2]
        kept = batches.run(_active(PAYER, is_active=number % 2 == 0)).checkpoint
        assert kept is not None
        assert auditlog.verify(batches.entries(), kept=[kept], keys={KEY.public}).fault is None
        signed.append(kept.seq)
    assert signed == [2, 3, 4, 5]


def test_without_a_key_nothing_is_signed(batches: Logged) -> None:
    batches.log = AuditLog()
    assert batches.run(SignAuditLog()).checkpoint is None
    assert batches.new() == []
    assert batches.run(_active(PAYER, is_active=False)).checkpoint is None


def test_a_checkpoint_is_told_when_it_is_committed_and_not_before(batches: Logged, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        batch = batches.run(SignAuditLog(), commit=False)
    assert batch.checkpoint is not None
    assert logs == []
    with structlog.testing.capture_logs() as logs:
        tell(batch.checkpoint, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [LAST_FILE]
    assert msgspec.json.decode((tmp_path / LAST_FILE).read_bytes(), type=auditlog.Checkpoint) == batch.checkpoint
    assert msgspec.json.decode(logs[0]["checkpoint"], type=auditlog.Checkpoint) == batch.checkpoint


def test_a_checkpoint_that_can_not_be_kept_stops_nobody(batches: Logged, tmp_path: Path) -> None:
    batch = batches.run(SignAuditLog())
    assert batch.checkpoint is not None
    with structlog.testing.capture_logs() as logs:
        tell(batch.checkpoint, tmp_path / "none")
    assert [each["log_level"] for each in logs] == ["info", "warning"]
