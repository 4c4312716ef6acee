"""The parts that ISO 20022 messages of these kinds have in common: institutions, accounts, amounts, ids."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as Etree

from vuka.bankfiles.amounts import bank_amount
from vuka.bankfiles.identifiers import IBAN
from vuka.bankfiles.model import BankAccount, Instruction, Order
from vuka.bankfiles.xml_files import child

XML: Final = "application/xml"

_ID_SCHEME: Final = "FSPIOP"
"""Whose names participants go by: what says so beside the name, for banks that know several."""


def institution(parent: Etree.Element, name: str, holder: BankAccount) -> None:
    """``BranchAndFinancialInstitutionIdentification``: by BIC where there is one, and by its name in the scheme."""
    found = child(parent, f"{name}/FinInstnId")
    if holder.bic is not None:
        child(found, "BICFI", holder.bic)
    child(found, "Nm", holder.name)
    other = child(found, "Othr")
    child(other, "Id", holder.holder)
    child(other, "SchmeNm/Prtry", _ID_SCHEME)


def agent(parent: Etree.Element, name: str, holder: BankAccount) -> None:
    """The bank that keeps an account, where it is known."""
    if holder.agent_bic is not None:
        child(parent, f"{name}/FinInstnId/BICFI", holder.agent_bic)


def account(parent: Etree.Element, name: str, holder: BankAccount) -> None:
    """``CashAccount``."""
    found = child(parent, name)
    child(found, "Id/IBAN" if holder.scheme == IBAN else "Id/Othr/Id", holder.account)
    child(found, "Ccy", holder.currency)


def amount(parent: Etree.Element, name: str, minor: int, currency: str) -> None:
    """``ActiveCurrencyAndAmount``."""
    child(parent, name, bank_amount(minor, currency)).set("Ccy", currency)


def payment_id(parent: Etree.Element, name: str, instruction: Instruction) -> None:
    """``PaymentIdentification``: the same reference in each place that a bank may repeat."""
    found = child(parent, name)
    child(found, "InstrId", str(instruction.reference))
    child(found, "EndToEndId", str(instruction.reference))
    child(found, "TxId", str(instruction.reference))
    child(found, "UETR", instruction.uetr)


def created(order: Order) -> str:
    """``ISODateTime`` of when the settlement was made."""
    moment = datetime.fromtimestamp(order.created_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{order.created_ms % 1000:03d}Z"
