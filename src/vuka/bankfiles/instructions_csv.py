"""A settlement's transfers as CSV: one row each, all currencies in one file (RFC 4180, UTF-8, a header)."""

from __future__ import annotations

import csv
import io
from typing import Final

from vuka.bankfiles.amounts import bank_amount
from vuka.bankfiles.model import BankAccount, File, Order

_PARTY: Final = ("", "_name", "_account", "_account_scheme", "_bic", "_agent_bic")

COLUMNS: Final = (
    "settlement_id",
    "reference",
    "uetr",
    "value_date",
    "currency",
    "amount",
    *(f"debtor{each}" for each in _PARTY),
    *(f"creditor{each}" for each in _PARTY),
)


def write_instructions_csv(order: Order) -> list[File]:
    """The one file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in order.instructions:
        amount = bank_amount(each.amount, each.currency)
        head = (order.settlement_id, each.reference, each.uetr, order.value_date, each.currency, amount)
        writer.writerow((*head, *_party(each.debtor), *_party(each.creditor)))
    return [File(f"settlement-{order.settlement_id}.csv", "text/csv", text.getvalue().encode())]


def _party(of: BankAccount) -> tuple[str, ...]:
    return (of.holder, of.name, of.account, of.scheme, of.bic or "", of.agent_bic or "")
