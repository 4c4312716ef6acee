"""The audit: it passes on a busy scheme, and names the rule for each figure that somebody tampered with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.switch.charging import FEE_TYPE, SIX_PER_MILLE, fee_rule
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import FEES, Settling
from tests.switch.wire import EXPIRY_MS, OTHER, PAYEE, PAYER, abort, audited, fulfil, prepare, reserved

from vuka.config import Scheme
from vuka.ids import TransferId, derive_id, record_id
from vuka.ledger import chart
from vuka.switch.audit import DIFFERENCES_MAX, Difference, Report
from vuka.switch.directory import HUB_ON_US, POSITION, SETTLEMENT
from vuka.switch.transfers import ExpireTransfers, PrepareTransfer, State

BALANCE = "an account is what its transfers make it"
OVERDRAWN = "no account is overdrawn that must not be"
NOBODYS = "every ledger account belongs to a participant"
MISSING_ACCOUNT = "every account of a participant is in the ledger"
SIDES = "debits equal credits"
PENDING_SIDES = "pending debits equal pending credits"
ONE_END = "a post or void ends one pending transfer"
END = "the ledger did what the record says"
PARTIES = "a payment moves between its parties' positions"
IN_A_WINDOW = "a committed transfer is in a settlement window"
SAME_WINDOW = "ledger and record name the same window"
ON_US = "an on-us payment returns"
HAS_A_RECORD = "every reservation has its record"
POSITION_RULE = "a position is what its payments and settlements add up to"
WINDOW = "a window holds what its transfers add up to"
LIQUIDITY = "liquidity is what its funds add up to"
FEE_IN_LEDGER = "a fee is in the ledger as on record"
FEE_ON_RECORD = "every fee in the ledger is on record"
FEE_OF_PAYMENT = "a fee belongs to a committed payment and its window"
FEE_OF_NOTHING = "a fee belongs to a payment"
FEE_KIND = "a fee stands on accounts of its type"
FEE_ACCOUNT = "a fee account is what its fees and settlements add up to"
HEADROOM_RULE = "headroom is the smaller of net debit cap and liquidity"


class BusyScheme:
    """A scheme in which everything that may happen to a transfer has happened to one."""

    def __init__(self) -> None:
        self.hub = hub = SchemeBench(rules=Scheme(on_us_transfers=True))
        hub.onboard(PAYER, "USD", cap="500", funds="1000")
        hub.onboard(PAYEE, "USD", cap="1000", funds="200")
        hub.onboard(OTHER, "EUR", cap="100", funds="100")
        hub.onboard("secondeuro", "EUR", cap="100", funds="100")
        self.expired = self._prepare("1 USD")
        hub.advance(EXPIRY_MS)
        hub.expire()
        self.committed = self._prepare("10 USD")
        hub.accept(fulfil(hub, self.committed))
        self.notified = self._prepare("20 USD")
        hub.accept(reserved(hub, self.notified))
        self.declined = self._prepare("30 USD")
        hub.accept(abort(hub, self.declined))
        self.garbled = self._prepare("40 USD")
        hub.accept(fulfil(hub, self.garbled, fulfilment=None))
        self.waiting = self._prepare("50.0001 USD")
        self.refused = self._prepare("5000 USD")
        self.invalid = self._prepare("1 USD", payee="nobody")
        self.on_us = self._prepare("5 USD", payee=PAYER)
        hub.accept(fulfil(hub, self.on_us))
        self.on_us_waiting = self._prepare("6 USD", payee=PAYER)
        self.euro = self._prepare("60 EUR", payer=OTHER, payee="secondeuro")
        hub.accept(fulfil(hub, self.euro))
        # otherfsp owes more than its new cap: a shortfall.
        hub.adjust_cap(OTHER, "EUR", "25")
        self.deposit = hub.funds_in(PAYEE, "7 USD")
        hub.accept(self.deposit)
        self.withdrawal = hub.funds_out(PAYEE, "8 USD")
        hub.accept(self.withdrawal)
        paid = hub.funds_out(PAYEE, "9 USD")
        hub.accept(paid)
        hub.accept(hub.commit_out(paid))
        returned = hub.funds_out(PAYEE, "11 USD")
        hub.accept(returned)
        hub.accept(hub.abort_out(returned))

    def _prepare(self, amount: str, *, payer: str = PAYER, payee: str = PAYEE) -> PrepareTransfer:
        command = prepare(self.hub, amount, payer=payer, payee=payee)
        self.hub.accept(command)
        return command

    def tamper(self, sql: str, *parameters: int | str | bytes | None) -> None:
        """Changes exactly one row behind the hub's back."""
        with self.hub.work() as work:
            assert work.tx.run(sql, parameters) == 1

    def change_balance(self, account: bytes, column: str, change: int) -> None:
        """Changes a balance, by minor units, behind the hub's back."""
        with self.hub.work() as work:
            ((kept,),) = work.tx.query(f"SELECT {column} FROM ledger_account WHERE id = ?", (account,))
            changed = int.from_bytes(kept, "big") + change
            work.tx.run(f"UPDATE ledger_account SET {column} = ? WHERE id = ?", (changed.to_bytes(16, "big"), account))

    def found(self) -> dict[str, list[Difference]]:
        """What the audit reports, by rule."""
        by_rule: dict[str, list[Difference]] = {}
        for difference in audited(self.hub).differences:
            by_rule.setdefault(difference.rule, []).append(difference)
        return by_rule


@pytest.fixture
def busy() -> Iterator[BusyScheme]:
    scheme = BusyScheme()
    yield scheme
    scheme.hub.close()


def account_id(name: str, currency: str, account_type: str) -> bytes:
    return record_id(chart.account_id(name, currency, account_type))


def subjects(found: dict[str, list[Difference]], rule: str) -> list[str]:
    return [difference.subject for difference in found.get(rule, ())]


# --- books that are right ---------------------------------------------------------------------------------------


def test_a_scheme_just_founded_passes(hub: SchemeBench) -> None:
    assert audited(hub).differences == []


def test_a_busy_scheme_passes(busy: BusyScheme) -> None:
    assert busy.found() == {}


def test_a_busy_scheme_has_every_end_that_a_payment_may_have(busy: BusyScheme) -> None:
    rows = busy.hub.read(
        lambda tx, _ledger, _directory: tx.query("SELECT DISTINCT state FROM transfer WHERE kind = 'PAYMENT'")
    )
    late = prepare(busy.hub, "1 USD", expires_in_ms=1)
    busy.hub.advance(1)
    busy.hub.accept(late)
    assert {state for (state,) in rows} | {busy.hub.transfer(late.transfer_id).state} == {
        State.RESERVED,
        State.COMMITTED,
        State.ABORTED_ERROR,
        State.ABORTED_REJECTED,
        State.EXPIRED_RESERVED,
        State.EXPIRED_PREPARED,
        State.INVALID,
    }
    assert busy.found() == {}


def test_it_passes_after_everything_has_expired(busy: BusyScheme) -> None:
    busy.hub.advance(10 * 86_400_000)
    busy.hub.accept(ExpireTransfers())
    assert busy.found() == {}


def test_it_says_how_much_it_looked_at(busy: BusyScheme) -> None:
    report = audited(busy.hub)
    counted = busy.hub.read(
        lambda tx, _ledger, _directory: [
            tx.query(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("account", "ledger_transfer", "transfer")
        ]
    )
    assert [report.accounts, report.ledger_transfers, report.transfers] == counted
    assert report.positions == 4


def test_it_repairs_nothing(busy: BusyScheme) -> None:
    busy.change_balance(_position(), "debits_posted", 1)
    assert busy.found() == busy.found() != {}


def test_it_reports_no_more_differences_than_its_limit() -> None:
    report = Report()
    for number in range(DIFFERENCES_MAX + 1):
        report.differs("a rule", str(number), 0, 1)
    assert len(report.differences) == DIFFERENCES_MAX


# --- balances ---------------------------------------------------------------------------------------------------


def _position() -> bytes:
    return account_id(PAYER, "USD", POSITION)


def test_a_balance_that_was_changed_is_reported(busy: BusyScheme) -> None:
    busy.change_balance(_position(), "debits_posted", 1)
    found = busy.found()
    assert subjects(found, BALANCE) == ["payerfsp USD POSITION"]
    (difference,) = found[BALANCE]
    assert difference.expected != difference.found


def test_a_difference_gives_both_figures_to_the_minor_unit(busy: BusyScheme) -> None:
    busy.change_balance(account_id("Hub", "USD", HUB_ON_US), "debits_posted", 1)
    (difference,) = busy.found()[BALANCE]
    assert (difference.expected, difference.found) == (
        "debits pending 0, debits posted 5, credits pending 6, credits posted 5",
        "debits pending 0, debits posted 5.0001, credits pending 6, credits posted 5",
    )


def test_one_minor_unit_from_nowhere_is_reported(busy: BusyScheme) -> None:
    busy.change_balance(_position(), "credits_posted", 1)
    assert subjects(busy.found(), SIDES) == ["USD"]


def test_a_pending_balance_that_was_changed_is_reported(busy: BusyScheme) -> None:
    busy.change_balance(_position(), "debits_pending", 1)
    found = busy.found()
    assert (subjects(found, BALANCE), subjects(found, PENDING_SIDES)) == (["payerfsp USD POSITION"], ["USD"])


def test_an_overdrawn_position_is_reported(busy: BusyScheme) -> None:
    busy.change_balance(_position(), "debits_posted", 10_000_000)
    assert subjects(busy.found(), OVERDRAWN) == ["payerfsp USD POSITION"]


def test_overdrawn_liquidity_is_reported(busy: BusyScheme) -> None:
    busy.change_balance(account_id(PAYER, "USD", SETTLEMENT), "debits_posted", 10_000_001)
    assert subjects(busy.found(), OVERDRAWN) == ["payerfsp USD SETTLEMENT"]


def test_an_account_that_is_not_in_the_ledger_is_reported(busy: BusyScheme) -> None:
    busy.tamper("UPDATE account SET ledger_account_id = ? WHERE ledger_account_id = ?", bytes(15) + b"\1", _position())
    found = busy.found()
    assert subjects(found, MISSING_ACCOUNT) == ["payerfsp USD POSITION"]
    assert subjects(found, NOBODYS) == [f"account {_position().hex()}"]


# --- the ledger's transfers -------------------------------------------------------------------------------------


def test_a_missing_reservation_is_reported(busy: BusyScheme) -> None:
    busy.tamper("DELETE FROM ledger_transfer WHERE id = ?", busy.waiting.transfer_id)
    found = busy.found()
    assert subjects(found, BALANCE) == ["payerfsp USD POSITION", "payeefsp USD POSITION"]
    (difference,) = found[END]
    assert (difference.expected, difference.found) == ("reserved 50.0001", "not reserved")


def test_a_missing_post_is_reported(busy: BusyScheme) -> None:
    busy.tamper("DELETE FROM ledger_transfer WHERE id = ?", record_id(chart.post_id(busy.committed.transfer_id)))
    found = busy.found()
    (difference,) = found[END]
    assert (difference.expected, difference.found) == ("posted 10", "reserved 10")
    assert subjects(found, BALANCE) == ["payerfsp USD POSITION", "payeefsp USD POSITION"]


def test_a_missing_void_is_reported(busy: BusyScheme) -> None:
    busy.tamper("DELETE FROM ledger_transfer WHERE id = ?", record_id(chart.void_id(busy.declined.transfer_id)))
    (difference,) = busy.found()[END]
    assert (difference.expected, difference.found) == ("voided", "reserved 30")


def test_a_missing_deposit_is_reported(busy: BusyScheme) -> None:
    busy.tamper("DELETE FROM ledger_transfer WHERE id = ?", busy.deposit.transfer_id)
    assert subjects(busy.found(), BALANCE) == ["Hub USD HUB_RECONCILIATION", "payeefsp USD SETTLEMENT"]


def test_a_changed_amount_in_the_ledger_is_reported(busy: BusyScheme) -> None:
    busy.tamper("UPDATE ledger_transfer SET amount = amount + 1 WHERE id = ?", busy.waiting.transfer_id)
    (difference,) = busy.found()[END]
    assert (difference.expected, difference.found) == ("reserved 50.0001", "reserved 50.0002")


def test_a_second_post_is_reported(busy: BusyScheme) -> None:
    post_id = record_id(chart.post_id(busy.committed.transfer_id))
    second = record_id(derive_id("second", post_id))
    columns = "debit_account_no, credit_account_no, amount, code, flags, pending_id, user_data_64"
    busy.tamper(
        f"""INSERT INTO ledger_transfer (timestamp, id, {columns})
            SELECT (SELECT MAX(timestamp) + 1 FROM ledger_transfer), ?, {columns} FROM ledger_transfer WHERE id = ?""",
        second,
        post_id,
    )
    assert subjects(busy.found(), ONE_END) == [second.hex()]


def test_an_on_us_payment_that_did_not_return_is_reported(busy: BusyScheme) -> None:
    busy.tamper("DELETE FROM ledger_transfer WHERE id = ?", record_id(derive_id("on-us", busy.on_us.transfer_id)))
    (difference,) = busy.found()[ON_US]
    assert difference.subject == _subject(busy.on_us)


# --- records ----------------------------------------------------------------------------------------------------


def _subject(command: PrepareTransfer) -> str:
    return f"PAYMENT {command.message.resource_id}"


def set_record(busy: BusyScheme, transfer_id: TransferId, column: str, value: int | str | None) -> None:
    busy.tamper(f"UPDATE transfer SET {column} = ? WHERE transfer_id = ?", value, transfer_id)


@pytest.mark.parametrize(
    ("which", "state", "found"),
    [
        ("committed", "RESERVED", "posted 10"),
        ("committed", "ABORTED_ERROR", "posted 10"),
        ("notified", "EXPIRED_RESERVED", "posted 20"),
        ("waiting", "COMMITTED", "reserved 50.0001"),
        ("waiting", "ABORTED_ERROR", "reserved 50.0001"),
        ("declined", "COMMITTED", "voided"),
        ("garbled", "RESERVED", "voided"),
        ("expired", "COMMITTED", "voided"),
        ("refused", "RESERVED", "not reserved"),
        ("invalid", "COMMITTED", "not reserved"),
    ],
)
def test_a_record_that_says_another_end_than_the_ledger_is_reported(
    busy: BusyScheme, which: str, state: str, found: str
) -> None:
    command: PrepareTransfer = getattr(busy, which)
    set_record(busy, command.transfer_id, "state", state)
    (difference,) = busy.found()[END]
    assert (difference.subject, difference.found) == (f"{_subject(command)} {state}", found)


def test_a_withdrawal_that_says_another_end_than_the_ledger_is_reported(busy: BusyScheme) -> None:
    set_record(busy, busy.withdrawal.transfer_id, "state", "COMMITTED")
    (difference,) = busy.found()[END]
    assert (difference.expected, difference.found) == ("posted 8", "reserved 8")


def test_an_amount_that_was_changed_in_a_record_is_reported(busy: BusyScheme) -> None:
    set_record(busy, busy.committed.transfer_id, "amount", 100_001)
    found = busy.found()
    (difference,) = found[END]
    assert (difference.expected, difference.found) == ("posted 10.0001", "posted 10")
    assert subjects(found, POSITION_RULE) == ["payerfsp USD", "payeefsp USD"]


def test_a_position_that_its_payments_do_not_add_up_to_is_reported(busy: BusyScheme) -> None:
    set_record(busy, busy.committed.transfer_id, "amount", 100_001)
    differences = busy.found()[POSITION_RULE]
    assert [(each.expected, each.found) for each in differences] == [("86.0002", "86.0001"), ("-30.0001", "-30")]


def test_a_payment_to_another_than_the_ledger_paid_is_reported(busy: BusyScheme) -> None:
    set_record(busy, busy.committed.transfer_id, "payee_fsp", OTHER)
    found = busy.found()
    assert subjects(found, PARTIES) == [_subject(busy.committed)]
    assert subjects(found, POSITION_RULE) == ["payeefsp USD"]


def test_a_missing_record_is_reported(busy: BusyScheme) -> None:
    busy.tamper("DELETE FROM transfer WHERE transfer_id = ?", busy.committed.transfer_id)
    assert subjects(busy.found(), HAS_A_RECORD) == [busy.committed.message.resource_id]


# --- settlement windows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 999])
def test_a_committed_transfer_without_a_window_is_reported(busy: BusyScheme, window: int | None) -> None:
    set_record(busy, busy.committed.transfer_id, "settlement_window_id", window)
    assert subjects(busy.found(), IN_A_WINDOW) == [_subject(busy.committed)]


def test_a_committed_transfer_in_another_window_than_the_ledgers_is_reported(busy: BusyScheme) -> None:
    busy.tamper(
        """INSERT INTO settlement_window (settlement_window_id, state, reason, created_ms, changed_ms)
           VALUES (2, 'CLOSED', 'planted', 0, 0)"""
    )
    set_record(busy, busy.committed.transfer_id, "settlement_window_id", 2)
    found = busy.found()
    assert (list(found), subjects(found, SAME_WINDOW)) == ([SAME_WINDOW, WINDOW], [_subject(busy.committed)])


# --- liquidity and headroom -------------------------------------------------------------------------------------


def test_liquidity_that_its_funds_do_not_add_up_to_is_reported(busy: BusyScheme) -> None:
    set_record(busy, busy.deposit.transfer_id, "amount", 70_001)
    (difference,) = busy.found()[LIQUIDITY]
    assert (difference.subject, difference.expected, difference.found) == ("payeefsp USD", "190.0001", "190")


def test_a_missing_record_of_a_deposit_is_reported(busy: BusyScheme) -> None:
    busy.tamper("UPDATE transfer SET state = 'ABORTED_REJECTED' WHERE transfer_id = ?", busy.deposit.transfer_id)
    assert subjects(busy.found(), LIQUIDITY) == ["payeefsp USD"]


def test_headroom_that_does_not_follow_the_cap_is_reported(busy: BusyScheme) -> None:
    position_id = busy.hub.account_id(PAYER, "USD", POSITION)
    busy.tamper("UPDATE participant_limit SET value = value - 1 WHERE is_active = 1 AND account_id = ?", position_id)
    (difference,) = busy.found()[HEADROOM_RULE]
    assert (difference.subject, difference.expected, difference.found) == ("payerfsp USD", "499.9999", "500")


def test_a_cap_that_is_missing_is_reported(busy: BusyScheme) -> None:
    position_id = busy.hub.account_id(PAYER, "USD", POSITION)
    busy.tamper("UPDATE participant_limit SET is_active = 0 WHERE is_active = 1 AND account_id = ?", position_id)
    assert subjects(busy.found(), HEADROOM_RULE) == ["payerfsp USD"]


def test_a_forgotten_shortfall_is_reported(busy: BusyScheme) -> None:
    assert busy.hub.shortfall(OTHER, "EUR") == "35"
    busy.tamper("DELETE FROM shortfall")
    (difference,) = busy.found()[HEADROOM_RULE]
    assert (difference.subject, difference.expected, difference.found) == ("otherfsp EUR", "25", "60")


# --- fees ---------------------------------------------------------------------------------------------------------


class ChargingScheme(BusyScheme):
    """A busy scheme in which a payment of 100 USD was charged 0.6 to the payee and a toll of 0.05 to the hub."""

    def __init__(self) -> None:
        super().__init__()
        scheme = Settling(self.hub)
        scheme.add_fee_model()
        # What was charged in the window before is settled.
        scheme.charge(SIX_PER_MILLE)
        scheme.pay(PAYER, PAYEE, "50 USD")
        scheme.finalise(scheme.create(scheme.close(), model=FEES))
        scheme.charge(SIX_PER_MILLE, fee_rule(name="toll", creditor="hub", fixed="0.05", currency="USD"))
        self.charged = scheme.pay(PAYER, PAYEE, "100 USD")
        self.another = scheme.pay(PAYER, PAYEE, "100 USD")

    def change_fee(self, column: str, value: int | str) -> None:
        """Changes the first fee of the payment behind the hub's back."""
        self.tamper(
            f"""UPDATE fee SET {column} = ? WHERE fee_no = 1
                AND transfer_seq = (SELECT transfer_seq FROM transfer WHERE transfer_id = ?)""",
            value,
            self.charged.transfer_id,
        )

    @property
    def subject(self) -> str:
        """The first fee of the payment."""
        return f"fee 1 of {self.charged.message.resource_id}"


@pytest.fixture
def charging() -> Iterator[ChargingScheme]:
    scheme = ChargingScheme()
    yield scheme
    scheme.hub.close()


def fee_entry(scheme: ChargingScheme) -> bytes:
    return record_id(chart.fee_id(scheme.charged.transfer_id, 1))


def test_a_scheme_that_charges_passes(charging: ChargingScheme) -> None:
    assert charging.found() == {}


def test_a_fee_that_is_not_on_record_is_reported(charging: ChargingScheme) -> None:
    charging.tamper(
        "DELETE FROM fee WHERE fee_no = 1 AND transfer_seq = (SELECT transfer_seq FROM transfer WHERE transfer_id = ?)",
        charging.charged.transfer_id,
    )
    found = charging.found()
    (difference,) = found[FEE_ON_RECORD]
    assert difference.subject == f"a fee of {charging.charged.message.resource_id}"
    assert difference.expected == "nothing"
    assert difference.found == ("0.6 from payerfsp USD INTERCHANGE_FEE to payeefsp USD INTERCHANGE_FEE in window 2")
    assert subjects(found, FEE_ACCOUNT) == ["payerfsp USD INTERCHANGE_FEE", "payeefsp USD INTERCHANGE_FEE"]
    assert [(each.expected, each.found) for each in found[WINDOW]] == [("0.6", "1.2")]


def test_a_fee_whose_amount_was_changed_is_reported(charging: ChargingScheme) -> None:
    charging.change_fee("amount", 6001)
    found = charging.found()
    (difference,) = found[FEE_IN_LEDGER]
    assert (difference.subject, difference.expected[:11], difference.found[:9]) == (
        charging.subject,
        "0.6001 from",
        "0.6 from ",
    )
    assert [(each.expected, each.found) for each in found[WINDOW]] == [("1.2001", "1.2")]
    assert [(each.expected, each.found) for each in found[FEE_ACCOUNT]] == [("1.3001", "1.3"), ("-1.2001", "-1.2")]


def test_a_fee_that_is_not_in_the_ledger_is_reported(charging: ChargingScheme) -> None:
    charging.tamper("DELETE FROM ledger_transfer WHERE id = ?", fee_entry(charging))
    found = charging.found()
    (difference,) = found[FEE_IN_LEDGER]
    assert (difference.subject, difference.found) == (charging.subject, "nothing")
    assert subjects(found, BALANCE) == ["payerfsp USD INTERCHANGE_FEE", "payeefsp USD INTERCHANGE_FEE"]


def test_a_fee_that_moved_another_amount_in_the_ledger_is_reported(charging: ChargingScheme) -> None:
    charging.tamper("UPDATE ledger_transfer SET amount = amount + 1 WHERE id = ?", fee_entry(charging))
    (difference,) = charging.found()[FEE_IN_LEDGER]
    assert (difference.expected[:9], difference.found[:11]) == ("0.6 from ", "0.6001 from")


def test_a_fee_of_the_ledger_that_no_rule_charged_is_reported(charging: ChargingScheme) -> None:
    with charging.hub.work() as work:
        planted = chart.fee(
            charging.charged.transfer_id,
            3,
            debit=chart.account_id(PAYER, "USD", FEE_TYPE),
            credit=chart.account_id(PAYEE, "USD", FEE_TYPE),
            amount=1,
            currency="USD",
            window_id=2,
        )
        work.ledger.create_transfers([planted])
    found = charging.found()
    assert [each.found[:11] for each in found[FEE_ON_RECORD]] == ["0.0001 from"]
    assert [(each.expected, each.found) for each in found[FEE_ACCOUNT]] == [("1.3", "1.3001"), ("-1.2", "-1.2001")]


def test_a_fee_charged_to_another_payment_than_the_ledger_charged_is_reported(charging: ChargingScheme) -> None:
    """Sums stay as they were: only the two payments are not what they are said to be."""
    charging.tamper(
        """UPDATE fee SET transfer_seq = (SELECT transfer_seq FROM transfer WHERE transfer_id = ?), fee_no = 3
           WHERE fee_no = 1 AND transfer_seq = (SELECT transfer_seq FROM transfer WHERE transfer_id = ?)""",
        charging.another.transfer_id,
        charging.charged.transfer_id,
    )
    found = charging.found()
    assert set(found) == {FEE_IN_LEDGER, FEE_ON_RECORD}
    assert subjects(found, FEE_IN_LEDGER) == [f"fee 3 of {charging.another.message.resource_id}"]
    assert subjects(found, FEE_ON_RECORD) == [f"a fee of {charging.charged.message.resource_id}"]


@pytest.mark.parametrize("column", ["debtor_account_id", "creditor_account_id"])
def test_a_fee_of_another_than_the_ledger_charged_is_reported(charging: ChargingScheme, column: str) -> None:
    charging.change_fee(column, charging.hub.account_id("Hub", "USD", FEE_TYPE))
    (difference,) = charging.found()[FEE_IN_LEDGER]
    assert "Hub USD INTERCHANGE_FEE" in difference.expected
    assert "Hub" not in difference.found


def test_a_fee_on_accounts_of_another_type_is_reported(charging: ChargingScheme) -> None:
    charging.change_fee("ledger_account_type", "OTHER_FEE")
    (difference,) = charging.found()[FEE_KIND]
    assert (difference.subject, difference.found) == (
        charging.subject,
        "('USD INTERCHANGE_FEE', 'USD INTERCHANGE_FEE')",
    )


def test_a_fee_in_another_window_than_its_payments_is_reported(charging: ChargingScheme) -> None:
    charging.change_fee("settlement_window_id", 1)
    found = charging.found()
    assert subjects(found, FEE_OF_PAYMENT) == [charging.subject]
    assert subjects(found, FEE_IN_LEDGER) == [charging.subject]
    assert {each.subject.split(",")[0] for each in found[WINDOW]} == {"window 1", "window 2"}


def test_a_fee_of_a_payment_that_was_not_committed_is_reported(charging: ChargingScheme) -> None:
    set_record(charging, charging.charged.transfer_id, "state", "ABORTED_ERROR")
    (first, second) = charging.found()[FEE_OF_PAYMENT]
    assert first.subject == charging.subject
    assert "ABORTED_ERROR" in first.found
    assert second.subject == f"fee 2 of {charging.charged.message.resource_id}"


def test_a_fee_of_nothing_is_reported(charging: ChargingScheme) -> None:
    charging.change_fee("transfer_seq", 1)
    assert subjects(charging.found(), FEE_OF_NOTHING) == ["fee 1 of transfer 1"]


def test_a_balance_of_fees_that_was_changed_is_reported(charging: ChargingScheme) -> None:
    charging.change_balance(account_id(PAYEE, "USD", FEE_TYPE), "debits_posted", 1)
    (difference,) = charging.found()[FEE_ACCOUNT]
    assert (difference.subject, difference.expected, difference.found) == (
        "payeefsp USD INTERCHANGE_FEE",
        "-1.2",
        "-1.1999",
    )


# --- settlements --------------------------------------------------------------------------------------------------

ONE_SETTLEMENT = "content is settled by the one settlement that has it"
CONTENT_STATE = "content is as far as what settles it"


@pytest.fixture
def settled(busy: BusyScheme) -> BusyScheme:
    """A busy scheme whose first window was settled, after a settlement of it was aborted; another is being settled."""
    scheme = Settling(busy.hub)
    window = scheme.close()
    scheme.abort(scheme.create(window))
    scheme.finalise(scheme.create(window))
    scheme.pay(PAYER, PAYEE, "10 USD")
    scheme.create(scheme.close())
    return busy


def test_a_scheme_that_settles_passes(settled: BusyScheme) -> None:
    assert settled.found() == {}


def test_content_that_was_set_free_after_it_was_settled_is_reported(settled: BusyScheme) -> None:
    """It could be settled twice."""
    settled.tamper(
        """UPDATE window_content SET state = 'CLOSED', settlement_id = NULL
           WHERE settlement_window_id = 1 AND currency = 'USD'"""
    )
    settled.tamper("UPDATE settlement_window SET state = 'CLOSED' WHERE settlement_window_id = 1")
    found = settled.found()
    assert [(each.expected, each.found) for each in found[ONE_SETTLEMENT]] == [("[]", "[2]")]
    assert [(each.expected, each.found) for each in found[CONTENT_STATE]] == [("SETTLED", "CLOSED")]
    # Settled again, its money moves again: every sum agrees, and nothing else would tell.
    scheme = Settling(settled.hub)
    scheme.finalise(scheme.create(1))
    found = settled.found()
    assert set(found) == {ONE_SETTLEMENT}
    assert [(each.expected, each.found) for each in found[ONE_SETTLEMENT]] == [("[4]", "[2, 4]")]


def test_content_that_says_another_state_than_its_settlement_is_reported(settled: BusyScheme) -> None:
    settled.tamper("UPDATE window_content SET state = 'SETTLED' WHERE settlement_window_id = 2")
    settled.tamper("UPDATE settlement_window SET state = 'SETTLED' WHERE settlement_window_id = 2")
    (difference,) = settled.found()[CONTENT_STATE]
    assert (difference.subject, difference.expected, difference.found) == (
        "window 2, USD POSITION",
        "PENDING_SETTLEMENT",
        "SETTLED",
    )
