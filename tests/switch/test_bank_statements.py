"""Statements of the settlement bank: what finalises a settlement, what stops it, what an operator must accept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tests.switch.banking import Banking, statement_files
from tests.switch.scheme_bench import SchemeBench, show

from vuka.config import Scheme
from vuka.ids import FspId, TransferId, parse_id
from vuka.money import Currency
from vuka.switch.accounts import transfer
from vuka.switch.bank_statements import (
    ERROR,
    SEVERITIES,
    Check,
    ImportStatement,
    file_content,
    statements,
)
from vuka.switch.directory import POSITION, SETTLEMENT
from vuka.switch.fees import SetFeeRules
from vuka.switch.participants import SetParticipantActive
from vuka.switch.settlements import take_to_finalise

A, B, C = "alpha", "bravo", "charlie"
NAMES = (A, B, C)
SETTLED = "SETTLED"

# A owes 50, B is owed 20, C 30.
OWED = {A: "-50", B: "20", C: "30"}
AFTER = {A: "1950", B: "2020", C: "2030"}


def new_scheme(*, funds: str = "2000") -> Banking:
    """A scheme of three participants that settles at a little bank."""
    hub = SchemeBench(rules=Scheme(on_us_transfers=True))
    for name in NAMES:
        hub.onboard(name, "USD", cap="1000", funds=funds)
    return Banking(hub, *NAMES)


@pytest.fixture
def scheme() -> Iterator[Banking]:
    banking = new_scheme()
    yield banking
    banking.check()
    banking.hub.close()


def pay_round(scheme: Banking) -> None:
    """A owes B 100 and gets 30 back, B owes C 50, C owes A 20: A +50, B −20, C −30."""
    scheme.pay(A, B, "100 USD")
    scheme.pay(B, A, "30 USD")
    scheme.pay(B, C, "50 USD")
    scheme.pay(C, A, "20 USD")


@pytest.fixture
def settlement(scheme: Banking) -> int:
    """A settlement of a round of payments."""
    pay_round(scheme)
    return scheme.create(scheme.close())


@pytest.fixture
def carried(scheme: Banking, settlement: int) -> int:
    """A settlement that the bank has done."""
    scheme.carry(settlement)
    return settlement


def report(settlement_id: int = 1, **rows: str) -> bytes:
    """A statement in the hub's own layout: amount and balance of each participant; ``alpha="-50 1950"``."""
    lines = ["settlement_id,participant,currency,amount,balance"]
    whole = {name: f"{OWED[name]} {AFTER[name]}" for name in NAMES} | rows
    lines += [f"{settlement_id},{name},USD,{text.replace(' ', ',')}" for name, text in whole.items() if text]
    return "\n".join(lines).encode()


def codes(check: Check) -> list[str]:
    return [each.code for each in check.findings]


# --- what goes as it should -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["csv", "pacs.009", "camt.050"])
@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("DEFAULTDEFERREDNET", ()),
        ("BILATERAL", ("DEFERRED", "NET", "BILATERAL")),
        ("GROSSMODEL", ("DEFERRED", "GROSS", "BILATERAL")),
    ],
)
def test_what_is_exported_comes_back_and_settles_without_a_warning(
    scheme: Banking, format_name: str, model: str, fields: tuple[str, ...]
) -> None:
    if fields:
        scheme.add_model(model, *fields)
    pay_round(scheme)
    window = scheme.close()
    settlement = scheme.create(window, model=model)
    scheme.carry(settlement, format_name)
    statement = scheme.bank.camt053()
    assert scheme.found(settlement, statement) == []
    done = scheme.bring(settlement, statement, shown=False)
    assert (done.refusal, done.statement_id, scheme.state(settlement), scheme.window_state(window)) == (
        None,
        1,
        SETTLED,
        SETTLED,
    )
    assert scheme.positions(*NAMES) == ("0", "0", "0")
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")
    assert scheme.hub_side() == "0"


@pytest.mark.parametrize(
    "write",
    [
        lambda scheme: scheme.bank.camt053(version=2),
        lambda scheme: scheme.bank.camt053(together=True),
        lambda scheme: scheme.bank.camt053(uetr_only=True),
        lambda scheme: scheme.bank.csv(1),
        lambda scheme: report(),
    ],
    ids=["camt.053.001.02", "batch", "uetr", "csv by transfer", "csv by participant"],
)
def test_a_statement_settles_in_whatever_form_the_bank_writes_it(scheme: Banking, carried: int, write: Any) -> None:
    content = write(scheme)
    assert scheme.found(carried, content) == []
    scheme.bring(carried, content)
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")


def test_the_sheet_of_the_portal_settles(scheme: Banking, settlement: int) -> None:
    directory = scheme.hub.directory
    rows = "".join(
        f"{directory.participants[name].participant_id} {scheme.hub.account_id(name, 'USD', POSITION)} {name},"
        f"bank,{AFTER[name]}.00,{-int(OWED[name])}.00,USD\n"
        for name in NAMES
    )
    sheet = f"Settlement ID,{settlement}\n,\nParticipant (PayerFSP Identifier),Bank,Balance,Transfer,Currency\n{rows}"
    assert scheme.found(settlement, sheet.encode()) == []
    scheme.bring(settlement, sheet.encode())
    assert (scheme.state(settlement), scheme.liquidity(A)) == (SETTLED, ("-1950",))


def test_it_comes_out_as_when_an_operator_does_it_by_hand(scheme: Banking, carried: int) -> None:
    scheme.bring(carried, scheme.bank.camt053())
    hand = new_scheme()
    pay_round(hand)
    settlement = hand.create(hand.close())
    hand.finalise(settlement)
    reserved = hand.hub.funds_out(A, "50 USD")
    hand.hub.accept(reserved)
    hand.hub.accept(hand.hub.commit_out(reserved))
    hand.hub.accept(hand.hub.funds_in(B, "20 USD"))
    hand.hub.accept(hand.hub.funds_in(C, "30 USD"))
    for each in (scheme, hand):
        assert each.positions(*NAMES) == ("0", "0", "0")
    assert scheme.liquidity(*NAMES) == hand.liquidity(*NAMES) == ("-1950", "-2020", "-2030")
    assert [scheme.hub.available(name, "USD") for name in NAMES] == [hand.hub.available(name, "USD") for name in NAMES]
    reconciliation = [each.hub.value("Hub", "USD", "HUB_RECONCILIATION") for each in (scheme, hand)]
    assert reconciliation[0] == reconciliation[1]
    hand.check()
    hand.hub.close()


def test_headroom_follows_what_the_bank_moved(scheme: Banking) -> None:
    scheme.hub.adjust_cap(A, "USD", "5000")
    scheme.pay(A, B, "500 USD")
    settlement = scheme.create(scheme.close())
    scheme.carry(settlement)
    scheme.bring(settlement, scheme.bank.camt053())
    assert (scheme.hub.available(A, "USD"), scheme.liquidity(A)) == ("1500", ("-1500",))


def test_each_movement_can_be_found_with_the_banks_reference_and_the_statements_number(
    scheme: Banking, carried: int
) -> None:
    done = scheme.bring(carried, scheme.bank.camt053())
    shown = []
    for movement in done.movements:
        transfer_id = TransferId(parse_id(movement.transfer_id))
        found = scheme.hub.read(lambda tx, _ledger, _directory: transfer(tx, transfer_id))  # noqa: B023 - read at once
        assert found is not None
        assert found.funds is not None
        assert found.funds.account_id == scheme.hub.account_id(movement.participant, "USD", SETTLEMENT)
        shown.append(
            (
                found.kind,
                found.state.name,
                show(found.amount),
                found.payer_fsp,
                found.funds.reason,
                found.funds.created_by,
                found.funds.external_reference,
            )
        )
    reason = "Bank statement 1, settlement"
    assert shown == [
        ("FUNDS_OUT", "COMMITTED", "50", "Hub", reason, "olga", "BANK1"),
        ("FUNDS_IN", "COMMITTED", "20", B, reason, "olga", "BANK4"),
        ("FUNDS_IN", "COMMITTED", "30", C, reason, "olga", "BANK6"),
    ]


def test_the_settlements_history_has_the_statements_number_and_the_banks_references(
    scheme: Banking, carried: int
) -> None:
    scheme.bring(carried, scheme.bank.camt053())
    rows = scheme.hub.read(
        lambda tx, _ledger, _directory: tx.query(
            """SELECT reason, external_reference, created_by FROM settlement_change
               WHERE subject = 'ACCOUNT' AND state = ?""",
            (SETTLED,),
        )
    )
    assert set(rows) == {("Bank statement 1", f"BANK{number}", "olga") for number in (1, 4, 6)}


def test_a_statement_of_the_schemes_account_alone_confirms_what_went_through_it(scheme: Banking, carried: int) -> None:
    content = scheme.bank.camt053(scheme.account("Hub"))
    finding = scheme.finding(carried, content)
    assert (finding.code, finding.message) == (
        "BALANCE_MISSING",
        "The statement has no balance of alpha, bravo, charlie: what was moved is recorded, and what is left is not"
        " compared.",
    )
    scheme.bring(carried, content, accept=("BALANCE_MISSING",))
    assert (scheme.state(carried), scheme.liquidity(*NAMES)) == (SETTLED, ("-1950", "-2020", "-2030"))


def test_several_files_together_are_one_statement(scheme: Banking, carried: int) -> None:
    files = [scheme.bank.camt053(scheme.account(name)) for name in NAMES]
    assert scheme.found(carried, *files[:2]) == ["ACCOUNT_MISSING"]
    assert scheme.found(carried, *files) == []
    scheme.bring(carried, *files)
    (stored,) = scheme.hub.read(lambda tx, _ledger, _directory: statements(tx, carried))
    assert [each.name for each in stored.files] == ["file1", "file2", "file3"]


def test_two_currencies_settle_by_one_file() -> None:
    hub = SchemeBench()
    for currency in ("USD", "EUR"):
        for name in (A, B):
            hub.onboard(name, currency, cap="1000", funds="2000")
    scheme = Banking(hub, A, B, currencies=("USD", "EUR"))
    scheme.pay(A, B, "10.01 USD")
    scheme.pay(B, A, "7 EUR")
    settlement = scheme.create(scheme.close())
    scheme.carry(settlement)
    assert scheme.found(settlement, scheme.bank.camt053(*(scheme.account(each) for each in (A, B)))) == [
        "ACCOUNT_MISSING",
        "ACCOUNT_MISSING",
    ]
    scheme.bring(settlement, scheme.bank.camt053())
    assert scheme.liquidity(A, B) == ("-1989.99", "-2010.01")
    assert scheme.liquidity(A, B, currency="EUR") == ("-2007", "-1993")
    scheme.check()
    hub.close()


FEE_RULES = [
    {
        "conditions": {"all": [{"fact": "transfer", "path": "$.amount.currency", "operator": "equal", "value": "USD"}]},
        "event": {
            "type": "FEE",
            "params": {
                "ledgerAccountType": "INTERCHANGE_FEE",
                "from": "payer",
                "to": to,
                "currency": "USD",
                "fixed": fixed,
            },
        },
    }
    for to, fixed in (("payee", "0.50"), ("hub", "0.20"))
]


@pytest.mark.parametrize("interchange", ["MULTILATERAL", "BILATERAL"])
def test_fees_settle_too_and_the_days_statement_holds_both_settlements(scheme: Banking, interchange: str) -> None:
    scheme.add_model(
        "FEEMODEL",
        "DEFERRED",
        "NET",
        interchange,
        ledger_account_type="INTERCHANGE_FEE",
        settlement_account_type="INTERCHANGE_FEE_SETTLEMENT",
    )
    scheme.hub.accept(SetFeeRules(content=json.dumps(FEE_RULES), by="olga"))
    pay_round(scheme)
    window = scheme.close()
    payments, fees = scheme.create(window), scheme.create(window, model="FEEMODEL")
    scheme.carry(payments)
    scheme.carry(fees)
    # A pays one more fee of 0.50 than it is paid… each payment costs its payer 0.70 and brings its payee 0.50.
    statement = scheme.bank.camt053()
    assert (scheme.found(payments, statement), scheme.found(fees, statement)) == ([], [])
    scheme.bring(payments, statement)
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")
    assert scheme.found(fees, statement) == []
    scheme.bring(fees, statement)
    assert scheme.state(fees) == SETTLED
    # A paid 1 and was paid 2: −0.70 + 1. B paid 2 and was paid 1. C paid 1 and was paid 1.
    assert scheme.liquidity(*NAMES) == ("-1950.3", "-2019.1", "-2029.8")
    assert str(scheme.bank.accounts[scheme.account("Hub")].closing) == "0.80"


def test_an_account_that_is_further_already_is_only_led_on(scheme: Banking, carried: int) -> None:
    for state in ("PS_TRANSFERS_RECORDED", "PS_TRANSFERS_RESERVED"):
        scheme.step(carried, state)
    scheme.step(carried, "PS_TRANSFERS_COMMITTED", A)
    content = scheme.bank.camt053()
    assert scheme.found(carried, content) == []
    scheme.bring(carried, content)
    assert (scheme.state(carried), scheme.positions(*NAMES)) == (SETTLED, ("0", "0", "0"))
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")


def test_a_participant_that_is_not_active_settles_all_the_same(scheme: Banking, carried: int) -> None:
    scheme.hub.accept(SetParticipantActive(name=FspId(A), is_active=False))
    scheme.bring(carried, scheme.bank.camt053())
    assert (scheme.state(carried), scheme.liquidity(A)) == (SETTLED, ("-1950",))


def test_a_settlement_in_which_all_are_even_is_finalised_by_the_balances(scheme: Banking) -> None:
    scheme.pay(A, B, "10 USD")
    scheme.pay(B, A, "10 USD")
    settlement = scheme.create(scheme.close())
    content = scheme.bank.camt053(*(scheme.account(name) for name in (A, B)))
    assert scheme.found(settlement, content) == []
    scheme.bring(settlement, content)
    assert (scheme.state(settlement), scheme.liquidity(A, B)) == (SETTLED, ("-2000", "-2000"))


# --- nothing is accepted that was not shown ---------------------------------------------------------------------


def test_checking_changes_nothing(scheme: Banking, carried: int) -> None:
    content = scheme.bank.camt053()
    check = scheme.check_file(carried, content)
    assert [(each.participant, show(each.before), show(each.after)) for each in check.balances] == [
        (A, "2000", "1950"),
        (B, "2000", "2020"),
        (C, "2000", "2030"),
    ]
    assert [(each.participant, each.kind, show(each.amount)) for each in check.movements] == [
        (A, "SETTLEMENT", "-50"),
        (B, "SETTLEMENT", "20"),
        (C, "SETTLEMENT", "30"),
    ]
    assert (scheme.state(carried), scheme.liquidity(A)) == ("PENDING_SETTLEMENT", ("-2000",))
    assert scheme.check_file(carried, content) == check


def test_warnings_that_are_not_accepted_stop_it(scheme: Banking, settlement: int) -> None:
    content = report(alpha="-50 1940")
    done = scheme.bring(settlement, content)
    assert done.refusal == (
        "The statement has warnings that were not accepted: BALANCE_NOT_AS_EXPECTED. Nothing was changed."
    )
    assert (scheme.state(settlement), scheme.liquidity(A)) == ("PENDING_SETTLEMENT", ("-2000",))


def test_warnings_are_accepted_only_as_they_were_shown(scheme: Banking, settlement: int) -> None:
    content = report(alpha="-50 1940")
    digest = scheme.check_file(settlement, content).digest
    # Between the check and its acceptance somebody records funds: the difference is another now.
    scheme.hub.accept(scheme.hub.funds_in(A, "5 USD"))
    command = ImportStatement(
        settlement_id=settlement,
        files=statement_files(content),
        accepted=frozenset(("BALANCE_NOT_AS_EXPECTED",)),
        digest=digest,
    )
    done = scheme.hub.accept(command).value
    assert isinstance(done, Check)
    assert done.refusal == (
        "What the hub finds now is not what was shown: look at the findings again. Nothing was changed."
    )
    assert (done.findings[0].expected, scheme.state(settlement)) == ("1955", "PENDING_SETTLEMENT")


def test_warnings_are_accepted_with_the_digest_of_what_was_shown_only(scheme: Banking, settlement: int) -> None:
    done = scheme.bring(settlement, report(alpha="-50 1940"), accept=("BALANCE_NOT_AS_EXPECTED",), shown=False)
    assert done.refusal == "Say by the digest of the check which findings are accepted. Nothing was changed."
    assert scheme.state(settlement) == "PENDING_SETTLEMENT"


def test_errors_are_never_accepted(scheme: Banking, settlement: int) -> None:
    done = scheme.bring(settlement, report(alpha="-49 1951"), accept=tuple(SEVERITIES))
    assert done.refusal == "The statement has errors; nothing was changed."
    assert (done.movements, done.balances, scheme.state(settlement)) == ((), (), "PENDING_SETTLEMENT")


def test_a_statement_is_processed_once(scheme: Banking, carried: int) -> None:
    content = scheme.bank.camt053()
    scheme.bring(carried, content)
    before = scheme.liquidity(*NAMES)
    again = scheme.bring(carried, content)
    assert codes(again) == ["SETTLEMENT_SETTLED", "STATEMENT_KNOWN"]
    assert again.findings[1].message == "It was processed already, as statement 1."
    assert scheme.liquidity(*NAMES) == before


def test_of_two_that_process_at_once_one_wins(scheme: Banking, carried: int) -> None:
    commands = [
        ImportStatement(settlement_id=carried, files=statement_files(content), by=by)
        for content, by in ((scheme.bank.camt053(), "olga"), (report(), "omar"))
    ]
    first, second = (outcome.value for outcome in scheme.hub.run_many(commands))
    assert isinstance(first, Check)
    assert isinstance(second, Check)
    assert (first.statement_id, first.refusal, codes(second)) == (1, None, ["SETTLEMENT_SETTLED"])
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")


def test_a_settlement_is_taken_to_be_finalised_by_one(scheme: Banking, carried: int) -> None:
    with scheme.hub.work() as work:
        assert take_to_finalise(work, carried)
    scheme.finalise(carried)
    with scheme.hub.work() as work:
        assert not take_to_finalise(work, carried)


def test_the_statement_is_kept_with_its_findings_and_its_files(scheme: Banking, settlement: int) -> None:
    content = report(alpha="-50 1940")
    scheme.bring(settlement, content, accept=("BALANCE_NOT_AS_EXPECTED",))
    (stored,) = scheme.hub.read(lambda tx, _ledger, _directory: statements(tx, settlement))
    assert (stored.statement_id, stored.created_by, [each.code for each in stored.findings]) == (
        1,
        "olga",
        ["BALANCE_NOT_AS_EXPECTED"],
    )
    assert [(each.participant, each.kind, show(each.amount)) for each in stored.movements] == [
        (A, "SETTLEMENT", "-50"),
        (A, "ADJUSTMENT", "-10"),
        (B, "SETTLEMENT", "20"),
        (C, "SETTLEMENT", "30"),
    ]
    kept = scheme.hub.read(lambda tx, _ledger, _directory: file_content(tx, settlement, 1, 1))
    assert kept == ("file1", content)
    assert scheme.hub.read(lambda tx, _ledger, _directory: file_content(tx, settlement, 1, 2)) is None


def test_there_is_no_statement_of_a_settlement_that_is_not_there(scheme: Banking) -> None:
    refused = scheme.hub.refuse(ImportStatement(settlement_id=9, files=statement_files(report())))
    assert refused == ("3100", "Generic validation error - Settlement with ID '9' not found", 400)


# --- each thing that may be found -------------------------------------------------------------------------------


def test_settlement_id_mismatch(scheme: Banking, settlement: int) -> None:
    finding = scheme.check_file(settlement, report(7)).findings[0]
    assert (finding.code, finding.severity, finding.expected, finding.found) == (
        "SETTLEMENT_ID_MISMATCH",
        ERROR,
        "1",
        "7",
    )
    assert finding.message == "The statement is of settlement 7, and not of 1."


def test_a_statement_for_another_settlement_changes_nothing(scheme: Banking, carried: int) -> None:
    pay_round(scheme)
    other = scheme.create(scheme.close())
    check = scheme.bring(other, scheme.bank.camt053())
    assert codes(check)[0] == "SETTLEMENT_ID_MISMATCH"
    assert (check.refusal is None, scheme.state(other), scheme.liquidity(A)) == (
        False,
        "PENDING_SETTLEMENT",
        ("-2000",),
    )


def test_a_statement_from_before_the_bank_did_anything_is_of_no_settlement(scheme: Banking, settlement: int) -> None:
    check = scheme.check_file(settlement, scheme.bank.camt053())
    assert check.findings[0].message == "Nothing in the statement is of settlement 1."


def test_settlement_aborted(scheme: Banking, carried: int) -> None:
    scheme.abort(carried)
    assert scheme.found(carried, scheme.bank.camt053())[0] == "SETTLEMENT_ABORTED"


def test_settlement_settled(scheme: Banking, carried: int) -> None:
    scheme.finalise(carried)
    assert scheme.found(carried, scheme.bank.camt053()) == ["SETTLEMENT_SETTLED"]


def test_account_already_settled(scheme: Banking, carried: int) -> None:
    for state in ("PS_TRANSFERS_RECORDED", "PS_TRANSFERS_RESERVED", "PS_TRANSFERS_COMMITTED"):
        scheme.step(carried, state)
    scheme.step(carried, SETTLED, B)
    # Its funds were recorded by hand: what the bank says is left tells, and nothing is recorded twice.
    scheme.hub.accept(scheme.hub.funds_in(B, "20 USD"))
    content = scheme.bank.camt053()
    check = scheme.check_file(carried, content)
    assert [(each.code, each.participant) for each in check.findings] == [
        ("ACCOUNT_ALREADY_SETTLED", B),
        ("BALANCE_NOT_AS_EXPECTED", B),
    ]
    scheme.bring(carried, content, accept=("ACCOUNT_ALREADY_SETTLED", "BALANCE_NOT_AS_EXPECTED"))
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")


def test_amount_mismatch_and_transfers_sum_not_zero(scheme: Banking, settlement: int) -> None:
    findings = scheme.check_file(settlement, report(bravo="20.01 2020.01")).findings
    assert [(each.code, each.severity, each.participant, each.expected, each.found) for each in findings] == [
        ("AMOUNT_MISMATCH", ERROR, B, "20", "20.01"),
        ("TRANSFERS_SUM_NOT_ZERO", ERROR, None, "0", "0.01"),
        ("BALANCE_NOT_AS_EXPECTED", "WARNING", B, "2020", "2020.01"),
    ]


def test_amount_mismatch_of_one_transfer(scheme: Banking, carried: int) -> None:
    scheme.bank.accounts[scheme.account(B)].bookings[0].amount = Decimal(19)
    (mismatch, *_) = scheme.check_file(carried, scheme.bank.camt053()).findings
    assert (mismatch.code, mismatch.participant, mismatch.expected, mismatch.found) == (
        "AMOUNT_MISMATCH",
        B,
        "20",
        "19",
    )


def test_a_transfer_that_the_bank_made_twice_is_a_mismatch(scheme: Banking, carried: int) -> None:
    scheme.carry(carried)
    assert set(scheme.found(carried, scheme.bank.camt053())) >= {"AMOUNT_MISMATCH"}


def test_a_transfer_that_the_bank_took_back_is_a_mismatch(scheme: Banking, carried: int) -> None:
    reference = scheme.bank.accounts[scheme.account(A)].bookings[0].reference
    scheme.book(A, "50", reference)
    mismatch = scheme.check_file(carried, scheme.bank.camt053()).findings[0]
    assert (mismatch.code, mismatch.participant, mismatch.expected, mismatch.found) == (
        "AMOUNT_MISMATCH",
        A,
        "-50",
        "0",
    )


def test_account_missing(scheme: Banking, settlement: int) -> None:
    findings = scheme.check_file(settlement, report(charlie="")).findings
    assert [(each.code, each.participant, each.expected) for each in findings] == [("ACCOUNT_MISSING", C, "30")]


def test_what_several_transfers_come_to_on_the_schemes_account_confirms_none_of_them(
    scheme: Banking, settlement: int
) -> None:
    content = b"settlement_id,participant,currency,amount,balance\n1,Hub,USD,0,0\n"
    findings = scheme.check_file(settlement, content).findings
    assert [(each.code, each.participant) for each in findings if each.severity == ERROR] == [
        ("TRANSFER_MISSING", A),
        ("TRANSFER_MISSING", B),
        ("TRANSFER_MISSING", C),
    ]


def test_what_pairs_paid_each_other_is_told_in_total_by_both_of_them(scheme: Banking) -> None:
    scheme.add_model("GROSSMODEL", "DEFERRED", "GROSS", "BILATERAL")
    pay_round(scheme)
    settlement = scheme.create(scheme.close(), model="GROSSMODEL")
    assert scheme.found(settlement, report()) == []
    findings = scheme.check_file(settlement, report(bravo="")).findings
    assert [(each.code, each.participant, each.expected) for each in findings] == [("ACCOUNT_MISSING", B, "20")]
    scheme.bring(settlement, report())
    assert scheme.liquidity(*NAMES) == ("-1950", "-2020", "-2030")


def test_who_had_nothing_and_has_nothing_is_as_it_was(scheme: Banking) -> None:
    scheme.hub.onboard("delta", "USD", cap="10")
    scheme.pay(A, "delta", "5 USD")
    scheme.pay("delta", B, "5 USD")
    settlement = scheme.create(scheme.close())
    rows = (
        b"settlement_id,participant,currency,amount,balance\n1,alpha,USD,-5,1995\n1,bravo,USD,5,2005\n1,delta,USD,0,0\n"
    )
    assert scheme.found(settlement, rows) == []
    scheme.bring(settlement, rows)
    assert scheme.hub.directory.participants[FspId("delta")].accounts[Currency("USD"), POSITION].is_active


def test_transfer_missing(scheme: Banking, carried: int) -> None:
    scheme.bank.accounts[scheme.account(C)].bookings.clear()
    content = scheme.bank.camt053(*(scheme.account(name) for name in NAMES))
    (missing, *_) = scheme.check_file(carried, content).findings
    assert (missing.code, missing.participant, missing.expected) == ("TRANSFER_MISSING", C, "30")


def test_transfer_unknown(scheme: Banking, carried: int) -> None:
    scheme.bank.accounts[scheme.account(C)].bookings[0].reference = "STL1-99-0"
    (unknown, *_) = scheme.check_file(carried, scheme.bank.camt053(*(scheme.account(name) for name in NAMES))).findings
    assert (unknown.code, unknown.participant, unknown.found) == ("TRANSFER_UNKNOWN", C, "STL1-99-0")


def test_a_transfer_on_the_account_of_somebody_else_is_unknown_there(scheme: Banking, carried: int) -> None:
    reference = scheme.bank.accounts[scheme.account(B)].bookings[0].reference
    scheme.book(C, "20", reference)
    (unknown, *_) = scheme.check_file(carried, scheme.bank.camt053()).findings
    assert (unknown.code, unknown.participant, unknown.found) == ("TRANSFER_UNKNOWN", C, reference)


def test_account_extra(scheme: Banking, settlement: int) -> None:
    scheme.hub.onboard("delta", "USD", cap="10", funds="10")
    findings = scheme.check_file(settlement, report(delta="5 15")).findings
    assert [(each.code, each.participant, each.found) for each in findings] == [
        ("TRANSFERS_SUM_NOT_ZERO", None, "5"),
        ("ACCOUNT_EXTRA", "delta", "5"),
    ]


def test_account_not_in_settlement(scheme: Banking, settlement: int) -> None:
    scheme.hub.onboard("delta", "USD", cap="10", funds="10")
    content = report(delta="0 7")
    assert scheme.finding(settlement, content).code == "ACCOUNT_NOT_IN_SETTLEMENT"
    scheme.bring(settlement, content, accept=("ACCOUNT_NOT_IN_SETTLEMENT",))
    assert scheme.liquidity("delta") == ("-10",)


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("participant,account_id", "alpha,{bravo}", "alpha {bravo}"),
        ("participant,bank_account", "alpha,DE89370400440532013000", "alpha DE89370400440532013000"),
    ],
)
def test_identifiers_mismatch(scheme: Banking, settlement: int, header: str, row: str, found: str) -> None:
    numbers = {"bravo": scheme.hub.account_id(B, "USD", POSITION)}
    content = f"settlement_id,currency,amount,{header}\n1,USD,1,{row.format(**numbers)}\n".encode()
    finding = scheme.check_file(settlement, content).findings[0]
    assert (finding.code, finding.found) == ("IDENTIFIERS_MISMATCH", found.format(**numbers))


def test_identifiers_mismatch_of_the_portals_sheet(scheme: Banking, settlement: int) -> None:
    account = scheme.hub.account_id(A, "USD", POSITION)
    sheet = f"Settlement ID,1\nParticipant,Bank,Balance,Transfer\n99 {account} alpha,,1950,50\n"
    assert scheme.found(settlement, sheet.encode())[0] == "IDENTIFIERS_MISMATCH"


def test_an_entry_that_names_two_transfers_is_none(scheme: Banking, carried: int) -> None:
    content = scheme.bank.csv(carried).replace(b"STL1-0-10", b"STL1-0-10 STL1-0-13", 1)
    assert scheme.found(carried, content)[0] == "IDENTIFIERS_MISMATCH"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("participant", "nobody"),
        ("bank_account", "GB82WEST12345698765432"),
        ("account_id", "999"),
        ("participant", "alpha,EUR"),
    ],
)
def test_account_unknown(scheme: Banking, settlement: int, header: str, row: str) -> None:
    row = row if "," in row else f"{row},USD"
    content = f"settlement_id,amount,{header},currency\n1,-50,{row}\n".encode()
    finding = scheme.check_file(settlement, content).findings[0]
    assert (finding.code, finding.severity, finding.place) == ("ACCOUNT_UNKNOWN", ERROR, "file1, row 2")


def test_account_unknown_to_the_scheme_in_a_statement(scheme: Banking, carried: int) -> None:
    scheme.bank.open("GB82WEST12345698765432", "USD", "1")
    finding = scheme.finding(carried, scheme.bank.camt053())
    assert (finding.code, finding.found) == ("ACCOUNT_UNKNOWN", "GB82WEST12345698765432")


def test_account_type_wrong(scheme: Banking, settlement: int) -> None:
    account = scheme.hub.account_id(A, "USD", SETTLEMENT)
    content = f"settlement_id,amount,account_id,currency\n1,-50,{account},USD\n".encode()
    finding = scheme.check_file(settlement, content).findings[0]
    assert (finding.code, finding.participant, finding.expected, finding.found) == (
        "ACCOUNT_TYPE_WRONG",
        A,
        POSITION,
        SETTLEMENT,
    )


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("-50.001 1950", "AMOUNT_INVALID"),
        ("fifty 1950", "AMOUNT_INVALID"),
        ("-50 1949.9999", "BALANCE_INVALID"),
        ("-50 much", "BALANCE_INVALID"),
    ],
)
def test_amount_invalid_and_balance_invalid(scheme: Banking, settlement: int, row: str, code: str) -> None:
    findings = scheme.check_file(settlement, report(alpha=row)).findings
    assert (code, ERROR) in {(each.code, each.severity) for each in findings}


def test_currency_mismatch(scheme: Banking, carried: int) -> None:
    content = scheme.bank.camt053().replace(b'<Ntry><Amt Ccy="USD">50.00', b'<Ntry><Amt Ccy="EUR">50.00', 1)
    assert "CURRENCY_MISMATCH" in scheme.found(carried, content)


def test_account_twice(scheme: Banking, carried: int) -> None:
    account = scheme.account(A)
    first = scheme.bank.camt053()
    scheme.bank.accounts[account].opening += 1
    finding = scheme.check_file(carried, first, scheme.bank.camt053(account)).findings[-2]
    twice = [
        each
        for each in scheme.check_file(carried, first, scheme.bank.camt053(account)).findings
        if each.code == "ACCOUNT_TWICE"
    ]
    assert finding.severity == ERROR
    assert [(each.participant, each.expected, each.found) for each in twice] == [(A, "1950", "1951")]


def test_statement_inconsistent(scheme: Banking, carried: int) -> None:
    content = scheme.bank.camt053().replace(b'<Amt Ccy="USD">2000</Amt>', b'<Amt Ccy="USD">2001</Amt>', 1)
    finding = scheme.finding(carried, content)
    assert (finding.code, finding.place, finding.found) == ("STATEMENT_INCONSISTENT", "file1, statement 1", "1950")


def test_statement_known_when_one_file_is_given_twice(scheme: Banking, carried: int) -> None:
    content = scheme.bank.camt053()
    assert "STATEMENT_KNOWN" in scheme.found(carried, content, content)


def test_balance_not_as_expected_is_adjusted(scheme: Banking, settlement: int) -> None:
    content = report(alpha="-50 1940.01", bravo="20 2050")
    findings = scheme.check_file(settlement, content).findings
    assert [(each.code, each.participant, each.expected, each.found) for each in findings] == [
        ("BALANCE_NOT_AS_EXPECTED", A, "1950", "1940.01"),
        ("BALANCE_NOT_AS_EXPECTED", B, "2020", "2050"),
    ]
    scheme.bring(settlement, content, accept=("BALANCE_NOT_AS_EXPECTED",))
    assert scheme.liquidity(*NAMES) == ("-1940.01", "-2050", "-2030")
    assert scheme.state(settlement) == SETTLED


@pytest.mark.parametrize("balance", ["0", "-3.50"])
def test_balance_not_positive_is_nothing_and_the_participant_sends_no_more(
    scheme: Banking, settlement: int, balance: str
) -> None:
    content = report(alpha=f"-50 {balance}")
    check = scheme.check_file(settlement, content)
    assert codes(check) == ["BALANCE_NOT_AS_EXPECTED", "BALANCE_NOT_POSITIVE"]
    assert [each.is_suspended for each in check.balances] == [True, False, False]
    scheme.bring(settlement, content, accept=("BALANCE_NOT_AS_EXPECTED", "BALANCE_NOT_POSITIVE"))
    position = scheme.hub.directory.participants[FspId(A)].accounts[Currency("USD"), POSITION]
    assert (scheme.liquidity(A), position.net_debit_cap, position.is_active) == (("0",), 0, False)
    assert (scheme.hub.available(A, "USD"), scheme.state(settlement)) == ("0", SETTLED)


def test_balance_that_the_settlement_itself_uses_up(scheme: Banking) -> None:
    scheme.hub.adjust_cap(A, "USD", "2000")
    scheme.pay(A, B, "2000 USD")
    settlement = scheme.create(scheme.close())
    scheme.carry(settlement)
    content = scheme.bank.camt053()
    assert scheme.finding(settlement, content).code == "BALANCE_NOT_POSITIVE"
    scheme.bring(settlement, content, accept=("BALANCE_NOT_POSITIVE",))
    assert (scheme.liquidity(A, B), scheme.positions(A, B)) == (("0", "-4000"), ("0", "0"))


def test_liquidity_that_does_not_suffice_is_made_up_by_what_the_bank_says_is_left(scheme: Banking) -> None:
    scheme.pay(A, B, "500 USD")
    settlement = scheme.create(scheme.close())
    # Somebody records a withdrawal that the bank knows nothing of.
    out = scheme.hub.funds_out(A, "1900 USD")
    scheme.hub.accept(out)
    scheme.hub.accept(scheme.hub.commit_out(out))
    scheme.carry(settlement)
    content = scheme.bank.camt053()
    assert scheme.found(settlement, content) == ["BALANCE_NOT_AS_EXPECTED"]
    scheme.bring(settlement, content, accept=("BALANCE_NOT_AS_EXPECTED",))
    assert scheme.liquidity(A) == ("-1500",)


def test_without_a_balance_what_is_left_is_counted(scheme: Banking) -> None:
    scheme.pay(A, B, "500 USD")
    settlement = scheme.create(scheme.close())
    out = scheme.hub.funds_out(A, "1900 USD")
    scheme.hub.accept(out)
    scheme.hub.accept(scheme.hub.commit_out(out))
    scheme.carry(settlement)
    content = scheme.bank.camt053(scheme.account("Hub"))
    findings = scheme.check_file(settlement, content).findings
    assert [(each.code, each.found) for each in findings] == [
        ("BALANCE_NOT_POSITIVE", "-400"),
        ("BALANCE_MISSING", None),
    ]


def test_withdrawal_reserved(scheme: Banking, settlement: int) -> None:
    out = scheme.hub.funds_out(A, "1000 USD")
    scheme.hub.accept(out)
    # The bank has not paid it yet, so it is in the balance.
    assert scheme.found(settlement, report()) == []
    finding = scheme.check_file(settlement, report(alpha="-50 999.99")).findings[0]
    assert (finding.code, finding.severity, finding.participant, finding.expected, finding.found) == (
        "WITHDRAWAL_RESERVED",
        ERROR,
        A,
        "1000",
        "999.99",
    )
    scheme.bring(settlement, report())
    assert scheme.liquidity(A) == ("-950",)
    scheme.hub.accept(scheme.hub.commit_out(out))
    assert scheme.liquidity(A) == ("-950",)


def test_balance_too_large(scheme: Banking) -> None:
    scheme.pay(A, B, "1 USD")
    settlement = scheme.create(scheme.close())
    largest = "922337203685477.58"
    scheme.hub.accept(scheme.hub.funds_in(B, f"{largest} USD"))
    lines = f"settlement_id,participant,currency,amount,balance\n1,alpha,USD,-1,1999\n1,bravo,USD,1,{largest}\n"
    assert scheme.check_file(settlement, lines.encode()).findings[0].code == "BALANCE_TOO_LARGE"


def test_balance_missing(scheme: Banking, settlement: int) -> None:
    finding = scheme.finding(settlement, report(bravo="20"))
    assert (finding.code, finding.participant) == ("BALANCE_MISSING", B)


def test_entry_not_of_settlement(scheme: Banking, carried: int) -> None:
    scheme.book(A, "300", "SALARIES")
    scheme.book(A, "-0.50", "CHARGES")
    content = scheme.bank.camt053()
    findings = scheme.check_file(carried, content).findings
    assert [(each.code, each.participant, each.found) for each in findings] == [
        ("ENTRY_NOT_OF_SETTLEMENT", A, "299.5"),
        ("BALANCE_NOT_AS_EXPECTED", A, "2249.5"),
    ]
    # Once the operator has recorded them, only their being there is told.
    scheme.hub.accept(scheme.hub.funds_in(A, "299.50 USD"))
    assert scheme.found(carried, content) == ["ENTRY_NOT_OF_SETTLEMENT"]


def test_an_entry_of_a_settlement_that_was_aborted_is_of_none(scheme: Banking, carried: int) -> None:
    pay_round(scheme)
    other = scheme.create(scheme.close())
    scheme.carry(other)
    scheme.abort(other)
    assert set(scheme.found(carried, scheme.bank.camt053())) == {"ENTRY_NOT_OF_SETTLEMENT", "BALANCE_NOT_AS_EXPECTED"}


def test_entry_not_booked(scheme: Banking, carried: int) -> None:
    booking = scheme.bank.accounts[scheme.account(B)].bookings[0]
    booking.status = "PDNG"
    check = scheme.check_file(carried, scheme.bank.camt053(*(scheme.account(name) for name in NAMES)))
    assert [(each.code, each.participant) for each in check.findings] == [
        ("TRANSFER_MISSING", B),
        ("ENTRY_NOT_BOOKED", B),
        ("BALANCE_NOT_AS_EXPECTED", B),
    ]


def test_findings_too_many(scheme: Banking, settlement: int) -> None:
    rows = "".join(f"1,nobody{number},USD,1\n" for number in range(600))
    check = scheme.check_file(settlement, f"settlement_id,participant,currency,amount\n{rows}".encode())
    assert (len(check.findings), check.has_errors) == (500, True)


def test_every_code_is_found_by_a_test_of_its_name() -> None:
    named = " ".join(name for name in globals() if name.startswith("test_"))
    assert [code for code in SEVERITIES if code.lower() not in named] == []
