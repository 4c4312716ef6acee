"""Orders in each format: by the standard's own schemas, with its rules on totals, digits and ids, always the same."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from tests.bankfiles import iso

from vuka.bankfiles.amounts import bank_amount, fits, is_exact
from vuka.bankfiles.identifiers import Reference, derive_uuid
from vuka.bankfiles.model import BankAccount, Instruction, Order
from vuka.bankfiles.orders import FORMATS
from vuka.money import Amount, Currency

CREATED_MS = 1_900_000_000_123


def account(holder: str, currency: str, number: str = "", **fields: str) -> BankAccount:
    """A bank account: an IBAN unless a number of the bank's own is given."""
    scheme = "OTHER" if number else "IBAN"
    return BankAccount(
        holder, Currency(currency), number or "GB29NWBK60161331926819", scheme, f"{holder} Ltd", **fields
    )


def instruction(number: int, money: str) -> Instruction:
    """The transfer of an amount from one participant to the scheme."""
    amount = Amount.from_string(money)
    return Instruction(
        Reference(4, number, 0),
        derive_uuid(str(number)),
        account("alpha", amount.currency, bic="NWBKGB2L", agent_bic="RBOSGGSX"),
        account("Hub", amount.currency, "1000/SCHEME"),
        amount.minor,
    )


def order(*amounts: str) -> Order:
    """An order of these transfers."""
    instructions = tuple(instruction(number, each) for number, each in enumerate(amounts, 1))
    return Order(4, CREATED_MS, "2030-03-18", instructions)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_same_order_makes_the_same_files(format_name: str) -> None:
    assert FORMATS[format_name](order("1 USD", "2 EUR")) == FORMATS[format_name](order("1 USD", "2 EUR"))


def test_pacs009_has_its_totals_by_the_rules_of_the_standard() -> None:
    (file,) = FORMATS["pacs.009"](order("12.50 USD", "0.01 USD", "1000000 USD"))
    header = iso.pacs009(file.content).grp_hdr
    assert (
        header.nb_of_txs,
        header.ctrl_sum,
        header.ttl_intr_bk_sttlm_amt.value,
        header.ttl_intr_bk_sttlm_amt.ccy,
    ) == (
        "3",
        Decimal("1000012.51"),
        Decimal("1000012.51"),
        "USD",
    )
    assert (header.msg_id, str(header.cre_dt_tm), str(header.intr_bk_sttlm_dt), header.sttlm_inf.sttlm_mtd.value) == (
        "STL4-USD",
        "2030-03-17T17:46:40.123Z",
        "2030-03-18",
        "INDA",
    )


def test_pacs009_is_a_message_for_each_currency() -> None:
    files = FORMATS["pacs.009"](order("1 USD", "2 EUR", "3 USD"))
    assert [each.name for each in files] == ["settlement-4-EUR.pacs.009.xml", "settlement-4-USD.pacs.009.xml"]
    assert [iso.pacs009(each.content).grp_hdr.nb_of_txs for each in files] == ["1", "2"]


def test_pacs009_says_who_pays_whom() -> None:
    (file,) = FORMATS["pacs.009"](order("12.5 USD"))
    (transfer,) = iso.pacs009(file.content).cdt_trf_tx_inf
    payment = transfer.pmt_id
    assert (payment.instr_id, payment.end_to_end_id, payment.tx_id, payment.uetr) == (
        *["STL4-1-0"] * 3,
        derive_uuid("1"),
    )
    assert (transfer.intr_bk_sttlm_amt.value, transfer.intr_bk_sttlm_amt.ccy) == (Decimal("12.50"), "USD")
    debtor, creditor = transfer.dbtr.fin_instn_id, transfer.cdtr.fin_instn_id
    assert (debtor.bicfi, debtor.nm, debtor.othr.id) == ("NWBKGB2L", "alpha Ltd", "alpha")
    assert (creditor.bicfi, creditor.nm, creditor.othr.id) == (None, "Hub Ltd", "Hub")
    assert (transfer.dbtr_acct.id.iban, transfer.cdtr_acct.id.othr.id) == ("GB29NWBK60161331926819", "1000/SCHEME")
    assert (transfer.dbtr_agt.fin_instn_id.bicfi, transfer.cdtr_agt) == ("RBOSGGSX", None)


def test_camt050_is_a_message_for_each_transfer() -> None:
    files = FORMATS["camt.050"](order("12.5 USD", "3 JPY"))
    assert [each.name for each in files] == [
        "settlement-4-USD-STL4-1-0.camt.050.xml",
        "settlement-4-JPY-STL4-2-0.camt.050.xml",
    ]
    messages = [iso.camt050(each.content) for each in files]
    assert [each.msg_hdr.msg_id for each in messages] == ["STL4-1-0", "STL4-2-0"]
    money = [each.lqdty_cdt_trf.trfd_amt.amt_wth_ccy for each in messages]
    assert [(str(each.value), each.ccy) for each in money] == [("12.50", "USD"), ("3", "JPY")]
    assert [str(each.lqdty_cdt_trf.sttlm_dt) for each in messages] == ["2030-03-18"] * 2


def test_csv_holds_every_currency_and_both_sides() -> None:
    (file,) = FORMATS["csv"](order("12.5 USD", "3 JPY"))
    rows = list(csv.DictReader(io.StringIO(file.content.decode())))
    assert [(each["reference"], each["amount"], each["currency"]) for each in rows] == [
        ("STL4-1-0", "12.50", "USD"),
        ("STL4-2-0", "3", "JPY"),
    ]
    assert (rows[0]["debtor_account"], rows[0]["creditor_account"]) == ("GB29NWBK60161331926819", "1000/SCHEME")
    assert {each["value_date"] for each in rows} == {"2030-03-18"}


@pytest.mark.parametrize(
    ("money", "text"),
    [
        ("12.5 USD", "12.50"),
        ("0.01 USD", "0.01"),
        ("12 JPY", "12"),
        ("1.234 KWD", "1.234"),
        ("-3 USD", "-3.00"),
        ("7 XTS", "7.0000"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(money: str, text: str) -> None:
    amount = Amount.from_string(money)
    assert bank_amount(amount.minor, amount.currency) == text


@pytest.mark.parametrize("money", ["0.0001 USD", "12.505 USD", "12.5 JPY", "1.2345 KWD"])
def test_an_amount_that_its_currency_has_not_is_never_rounded(money: str) -> None:
    amount = Amount.from_string(money)
    assert not is_exact(amount.minor, amount.currency)
    with pytest.raises(ValueError, match="can't be expressed"):
        bank_amount(amount.minor, amount.currency)


def test_an_amount_of_more_digits_than_the_standard_has_does_not_fit() -> None:
    assert fits(10**16 * 10_000 - 100, "USD")
    assert not fits(10**16 * 10_000, "USD")
