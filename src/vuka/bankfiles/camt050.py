"""camt.050.001.07, ``LiquidityCreditTransfer``: each transfer of a settlement as a message of its own.

What central banks' liquidity services take: the standard has one transfer a message, so a settlement is as many files.
"""

from __future__ import annotations

from typing import Final

from vuka.bankfiles import iso_parts
from vuka.bankfiles.model import File, Instruction, Order
from vuka.bankfiles.xml_files import child, document, written

NAMESPACE: Final = "camt.050.001.07"


def write_camt050(order: Order) -> list[File]:
    """One message for each transfer, in their order."""
    return [_message(order, each) for each in order.instructions]


def _message(order: Order, instruction: Instruction) -> File:
    root, message = document(NAMESPACE, "LqdtyCdtTrf")
    header = child(message, "MsgHdr")
    child(header, "MsgId", str(instruction.reference))
    child(header, "CreDtTm", iso_parts.created(order))
    transfer = child(message, "LqdtyCdtTrf")
    iso_parts.payment_id(transfer, "LqdtyTrfId", instruction)
    iso_parts.institution(transfer, "Cdtr", instruction.creditor)
    iso_parts.account(transfer, "CdtrAcct", instruction.creditor)
    iso_parts.amount(child(transfer, "TrfdAmt"), "AmtWthCcy", instruction.amount, instruction.currency)
    iso_parts.institution(transfer, "Dbtr", instruction.debtor)
    iso_parts.account(transfer, "DbtrAcct", instruction.debtor)
    child(transfer, "SttlmDt", order.value_date)
    name = f"settlement-{order.settlement_id}-{instruction.currency}-{instruction.reference}.camt.050.xml"
    return File(name, iso_parts.XML, written(root))
