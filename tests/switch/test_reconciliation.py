"""Reconciliation: nothing on record without its transfer, nothing in the ledger without its record."""

from __future__ import annotations

import pytest
from tests import stores
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling
from tests.switch.wire import PAYEE, PAYER, abort, fulfil, prepare

from vuka.ledger import chart
from vuka.ledger.model import Transfer
from vuka.money import ledger_number
from vuka.switch.directory import POSITION
from vuka.switch.reconciliation import Reconciliation, reconcile
from vuka.switch.transfers import PrepareTransfer


def _reconcile(hub: SchemeBench, now_ms: int | None = None) -> Reconciliation:
    at_ms = hub.now_ms if now_ms is None else now_ms
    return hub.read(lambda tx, ledger, _directory: reconcile(tx, ledger, now_ms=at_ms))


def _rules(found: Reconciliation) -> set[str]:
    return {each.rule for each in found.differences}


@pytest.fixture
def busy(hub: SchemeBench) -> PrepareTransfer:
    """A scheme that has done everything once; a payment that is committed."""
    for name in (PAYER, PAYEE):
        hub.onboard(name, "USD", cap="100", funds="100")
    committed, aborted, kept = (prepare(hub, f"{amount} USD") for amount in (10, 20, 30))
    for each in (committed, aborted, kept):
        hub.accept(each)
    hub.accept(fulfil(hub, committed))
    hub.accept(abort(hub, aborted))
    out, back = hub.funds_out(PAYEE, "5 USD"), hub.funds_out(PAYEE, "6 USD")
    for command in (out, back, hub.commit_out(out), hub.abort_out(back)):
        hub.accept(command)
    settling = Settling(hub)
    settling.finalise(settling.create(settling.close()))
    return committed


def test_what_is_right_has_no_differences(hub: SchemeBench, busy: PrepareTransfer) -> None:
    found = _reconcile(hub)
    assert (found.differences, found.orphans) == ([], [])
    # Four movements of funds and three payments; no transfer of the ledger is passed over.
    assert found.records == 7
    assert found.ledger_transfers > found.records


UNCHECKED = {
    stores.SQLITE: "PRAGMA defer_foreign_keys = 1",
    stores.POSTGRESQL: "SET LOCAL session_replication_role = replica",
}
"""Has a transaction take what refers to nothing."""


def _undone(hub: SchemeBench, sql: str, *parameters: object) -> Reconciliation:
    """What is found where the tables say something else; they are as before afterwards."""
    with hub.database.begin() as tx:
        tx.run(UNCHECKED[stores.current.kind])
        tx.run("SAVEPOINT tampered")
        tx.run(sql, parameters)  # type: ignore[arg-type]
        found = reconcile(tx, hub.ledger(tx, 0), now_ms=hub.now_ms)
        tx.run("ROLLBACK TO tampered")
    return found


def test_a_record_that_is_missing_is_found(hub: SchemeBench, busy: PrepareTransfer) -> None:
    found = _undone(hub, "DELETE FROM transfer WHERE transfer_id = ?", busy.transfer_id)
    assert _rules(found) == {"what is in the ledger is on record"}
    assert any("10" in each.subject for each in found.differences)


@pytest.mark.parametrize("state", ["RESERVED", "ABORTED_ERROR"])
def test_a_record_that_says_another_end_is_found(hub: SchemeBench, busy: PrepareTransfer, state: str) -> None:
    found = _undone(hub, "UPDATE transfer SET state = ? WHERE transfer_id = ?", state, busy.transfer_id)
    assert _rules(found) == {"what is on record is in the ledger", "what is in the ledger is on record"}


def test_a_record_of_another_amount_is_found(hub: SchemeBench, busy: PrepareTransfer) -> None:
    found = _undone(hub, "UPDATE transfer SET amount = amount + 1 WHERE transfer_id = ?", busy.transfer_id)
    assert _rules(found) == {"ledger and record name the same amount"}


def test_a_record_of_what_never_moved_is_found(hub: SchemeBench, busy: PrepareTransfer) -> None:
    found = _undone(hub, "UPDATE transfer SET transfer_id = ? WHERE transfer_id = ?", b"\x01" * 16, busy.transfer_id)
    assert _rules(found) == {"what is on record is in the ledger", "what is in the ledger is on record"}


def test_a_settlement_that_is_not_on_record_is_found(hub: SchemeBench, busy: PrepareTransfer) -> None:
    found = _undone(hub, "UPDATE settlement SET settlement_id = 99")
    assert _rules(found) == {"what is in the ledger is on record"}
    assert all("SETTLEMENT" in each.subject for each in found.differences)


def test_a_reservation_that_frees_itself_is_told_apart_until_it_does(hub: SchemeBench, busy: PrepareTransfer) -> None:
    with hub.work() as work:
        lost = Transfer(
            id=77,
            debit_account_id=chart.account_id(PAYER, "USD", POSITION),
            credit_account_id=chart.account_id(PAYEE, "USD", POSITION),
            amount=7_0000,
            ledger=ledger_number("USD"),
            code=int(chart.TransferCode.PAYMENT),
            flags=2,
            timeout=3600,
        )
        (made,) = work.ledger.create_transfers([lost])
    assert made.status.name == "created"
    made_ms = made.timestamp // 1_000_000
    found = _reconcile(hub, made_ms)
    assert found.differences == []
    assert [(each.amount, each.currency, each.free_ms) for each in found.orphans] == [("7", "USD", made_ms + 3_600_000)]
    assert _reconcile(hub, made_ms + 3_600_001).orphans == []
    with hub.work() as work:
        work.ledger.create_transfers([Transfer(id=78, pending_id=77, flags=8)])
    # Voided by nobody on record.
    assert _rules(_reconcile(hub)) == {"what is in the ledger is on record"}


@pytest.fixture(autouse=True)
def _unaudited(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "frees_itself" in request.node.name:
        # What it leaves in the books is what it is about.
        monkeypatch.setattr(SchemeBench, "audit", lambda _self: None)
