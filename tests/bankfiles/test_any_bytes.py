"""Whatever the bytes, a statement is read or refused with a reason: never anything else."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bankfiles.little_bank import LittleBank
from tests.bankfiles.test_statements_csv import OWN, PORTAL
from tests.faults.report import Inputs, keep
from tests.fuzz.inputs import changed
from tests.fuzz.test_decoders import examples_of_a_long_run, tried

from vuka.bankfiles.model import BankFileError, Statement
from vuka.bankfiles.statements import read_statement


def _camt053() -> bytes:
    bank = LittleBank()
    bank.open("GB29NWBK60161331926819", "USD", "1000")
    bank.book("GB29NWBK60161331926819", "USD", Decimal(-100), "STL1-7-0")
    return bank.camt053()


BEGINNINGS = (b"<", b"<Document ", b"settlement_id,", b"Settlement ID,1\n", b"\xff\xfe<\x00")
WHOLE = (_camt053(), OWN.encode(), PORTAL.encode())


def read(content: bytes) -> None:
    """Reads it, or is told why not in a few words."""
    try:
        statement = read_statement(content)
    except BankFileError as error:
        why = str(error)
    else:
        why = "it is read" if isinstance(statement, Statement) else ""
    assert 0 < len(why) < 300


@given(st.binary(max_size=400))
def test_any_bytes(content: bytes) -> None:
    read(content)


@given(
    st.sampled_from(BEGINNINGS),
    st.binary(max_size=200),
)
def test_any_bytes_after_a_beginning_that_is_right(start: bytes, content: bytes) -> None:
    read(start + content)


@given(st.sampled_from(WHOLE), st.integers(0, 2_000), st.integers(0, 40), st.binary(max_size=20))
def test_a_file_with_something_else_in_it(whole: bytes, place: int, length: int, other: bytes) -> None:
    read(whole[:place] + other + whole[place + length :])


@given(st.sampled_from(WHOLE), st.text(alphabet="0123456789.,-()eE ١∞", max_size=30))
def test_a_file_with_another_amount(whole: bytes, amount: str) -> None:
    read(whole.replace(b"100", amount.encode()))


ANY = st.one_of(
    changed(st.sampled_from(WHOLE)),
    changed(changed(st.sampled_from(WHOLE))),
    st.builds(
        lambda whole, amount: whole.replace(b"100", amount.encode()),
        st.sampled_from(WHOLE),
        st.text(alphabet="0123456789.,-()eE ١∞", max_size=30),
    ),
    st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=200)),
    st.binary(max_size=400),
)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_any_file_in_a_long_run() -> None:
    keep(Inputs("bank files", tried("bank files", ANY, read, examples=examples_of_a_long_run(), fresh=True)))
