"""pacs.009.001.08, ``FinancialInstitutionCreditTransfer``: a settlement's transfers in one currency, as one message.

The settlement method is INDA: the instructed agent, that is the settlement bank, settles on its own books. The message
gives a total, so all of its transfers are of one currency and one day (rules of ``TotalInterbankSettlementAmount``).
"""

from __future__ import annotations

from typing import Final

from vuka.bankfiles import iso_parts
from vuka.bankfiles.amounts import bank_amount
from vuka.bankfiles.model import File, Order
from vuka.bankfiles.xml_files import child, document, written

NAMESPACE: Final = "pacs.009.001.08"
_SETTLEMENT_METHOD: Final = "INDA"


def write_pacs009(order: Order) -> list[File]:
    """One message for each currency, in the order of their codes."""
    currencies = sorted({each.currency for each in order.instructions})
    return [_message(order, currency) for currency in currencies]


def _message(order: Order, currency: str) -> File:
    instructions = [each for each in order.instructions if each.currency == currency]
    total = sum(each.amount for each in instructions)
    root, message = document(NAMESPACE, "FICdtTrf")
    header = child(message, "GrpHdr")
    child(header, "MsgId", f"STL{order.settlement_id}-{currency}")
    child(header, "CreDtTm", iso_parts.created(order))
    child(header, "NbOfTxs", str(len(instructions)))
    child(header, "CtrlSum", bank_amount(total, currency))
    iso_parts.amount(header, "TtlIntrBkSttlmAmt", total, currency)
    child(header, "IntrBkSttlmDt", order.value_date)
    child(header, "SttlmInf/SttlmMtd", _SETTLEMENT_METHOD)
    for each in instructions:
        transfer = child(message, "CdtTrfTxInf")
        iso_parts.payment_id(transfer, "PmtId", each)
        iso_parts.amount(transfer, "IntrBkSttlmAmt", each.amount, currency)
        iso_parts.institution(transfer, "Dbtr", each.debtor)
        iso_parts.account(transfer, "DbtrAcct", each.debtor)
        iso_parts.agent(transfer, "DbtrAgt", each.debtor)
        iso_parts.agent(transfer, "CdtrAgt", each.creditor)
        iso_parts.institution(transfer, "Cdtr", each.creditor)
        iso_parts.account(transfer, "CdtrAcct", each.creditor)
        child(transfer, "RmtInf/Ustrd", f"Settlement {order.settlement_id} {each.reference}")
    return File(f"settlement-{order.settlement_id}-{currency}.pacs.009.xml", iso_parts.XML, written(root))
