"""Any statement whatever: it is refused and changes nothing, or is processed and the books stay right."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.switch.banking import Banking, statement_files
from tests.switch.test_bank_statements import NAMES, new_scheme, pay_round

from vuka.bankfiles.model import BankFileError
from vuka.money import parse_decimal
from vuka.store import Tx
from vuka.switch.audit import audit
from vuka.switch.bank_statements import ACCEPTABLE, Check, ImportStatement, process

FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class _UndoneError(Exception):
    """What was tried is undone."""


@pytest.fixture(scope="module")
def scheme() -> Iterator[Banking]:
    """A settlement that the bank has done, and a withdrawal that it has not."""
    banking = new_scheme()
    pay_round(banking)
    banking.carry(banking.create(banking.close()))
    banking.hub.accept(banking.hub.funds_out(NAMES[0], "100 USD"))
    yield banking
    banking.hub.close()


def tried(scheme: Banking, content: bytes) -> str:
    """Has a statement processed with every warning accepted, looks at the books, and undoes it; how it ended."""
    try:
        files = statement_files(content)
    except BankFileError:
        return "malformed"
    digest = scheme.check_file(1, content).digest
    command = ImportStatement(settlement_id=1, files=files, accepted=frozenset(ACCEPTABLE), digest=digest)
    ended = ""
    with contextlib.suppress(_UndoneError), scheme.hub.work() as work:
        before = _snapshot(work.tx)
        (outcome,) = process(work, [command])
        check = outcome.value
        assert isinstance(check, Check)
        if check.refusal is not None:
            assert _snapshot(work.tx) == before
            ended = "refused"
        else:
            assert not check.has_errors
            ended = "processed"
        report = audit(work.tx, work.ledger)
        assert report.differences == []
        raise _UndoneError
    assert scheme.state(1) == "PENDING_SETTLEMENT"
    return ended


def _snapshot(tx: Tx) -> list[object]:
    """What a statement would change: whatever it writes is in one of these."""
    return [
        tx.query("SELECT settlement_id, state, changed_ms FROM settlement ORDER BY settlement_id"),
        *(
            tx.query(f"SELECT COUNT(*) FROM {table}")
            for table in ("transfer", "funds_movement", "settlement_change", "bank_statement", "ledger_transfer")
        ),
        tx.query("SELECT account_id, is_active, changed_ms FROM account ORDER BY account_id"),
        tx.query("SELECT account_id, value, is_active FROM participant_limit ORDER BY account_id, value"),
    ]


@functools.cache
def _whole(scheme: Banking) -> bytes:
    return scheme.bank.camt053()


def _rows(rows: list[tuple[str, str, str]]) -> bytes:
    lines = ["settlement_id,participant,currency,amount,balance", *(f"1,{who},USD,{a},{b}" for who, a, b in rows)]
    return "\n".join(lines).encode()


_AMOUNTS = st.sampled_from(["-50", "20", "30", "0", "", "-50.00", "1", "0.0001", "x", "922337203685477.58", "-1e3"])
_BALANCES = st.one_of(
    st.sampled_from(["", "0", "-1", "100", "99.99", "2000", "0.001", "y", "922337203685477.58", "-922337203685477"]),
    st.decimals(-5_000, 5_000, places=2).map(str),
)


@FIXTURES
@given(rows=st.lists(st.tuples(st.sampled_from([*NAMES, "Hub", "nobody"]), _AMOUNTS, _BALANCES), max_size=6))
def test_any_rows(scheme: Banking, rows: list[tuple[str, str, str]]) -> None:
    assert tried(scheme, _rows(rows))


@FIXTURES
@given(balances=st.tuples(_BALANCES, _BALANCES, _BALANCES))
def test_any_balances_of_a_statement_that_is_right_otherwise(scheme: Banking, balances: tuple[str, str, str]) -> None:
    rows = list(zip(NAMES, ("-50", "20", "30"), balances, strict=True))
    ended = tried(scheme, _rows(rows))
    # A reserved withdrawal of 100 must stay covered, and no bank tells a thousandth of a cent or words.
    told = [balance for balance in balances if balance]
    is_wrong = any(balance in ("y", "0.001") for balance in told)
    if is_wrong or (balances[0] and parse_decimal(balances[0]) < parse_decimal("100")):
        assert ended == "refused"
    elif "922337203685477.58" not in told:
        assert ended == "processed"


@FIXTURES
@given(place=st.integers(0, 4_000), length=st.integers(0, 30), other=st.binary(max_size=12))
def test_any_camt053_with_something_else_in_it(scheme: Banking, place: int, length: int, other: bytes) -> None:
    whole = _whole(scheme)
    assert tried(scheme, whole[:place] + other + whole[place + length :])


def test_the_statement_as_it_is_is_processed(scheme: Banking) -> None:
    assert tried(scheme, scheme.bank.camt053()) == "processed"
