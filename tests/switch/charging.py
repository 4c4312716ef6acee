"""What operators charge, in few words: rules about fees, and the payments that they look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.switch.scheme_bench import SchemeBench, show

from vuka.fspiop.ilp import agree
from vuka.switch.transfers import PrepareTransfer

Conditions = Mapping[str, object]

FEE_TYPE = "INTERCHANGE_FEE"


def where(fact: str, path: str, operator: str, value: object) -> dict[str, object]:
    """One condition."""
    return {"fact": fact, "path": path, "operator": operator, "value": value}


ALWAYS: Conditions = {"all": [{"fact": "transfer", "operator": "isObject", "value": True}]}

_WALLET = "partyIdInfo.extensionList.extension[?(@.key == 'accountType')].value"
WALLET_TO_WALLET: Conditions = {
    "all": [
        where("transaction", f"$.payer.{_WALLET}", "contains", "Wallet"),
        where("transaction", f"$.payee.{_WALLET}", "contains", "Wallet"),
        where("transaction", "$.transactionType.scenario", "equal", "TRANSFER"),
        where("transaction", "$.transactionType.initiator", "equal", "PAYER"),
        where("transaction", "$.transactionType.initiatorType", "equal", "CONSUMER"),
    ]
}
"""What the reference's sample script asks of a payment."""


def fee_rule(
    *,
    conditions: Conditions = ALWAYS,
    debtor: object = "payer",
    creditor: object = "payee",
    name: str | None = None,
    priority: int | None = None,
    **params: object,
) -> dict[str, Any]:
    """A rule that charges ``params``, kept in INTERCHANGE_FEE unless they say otherwise."""
    of = {"ledgerAccountType": FEE_TYPE, "from": debtor, "to": creditor, **params}
    rule: dict[str, Any] = {"conditions": conditions, "event": {"type": "FEE", "params": of}}
    if name is not None:
        rule["name"] = name
    if priority is not None:
        rule["priority"] = priority
    return rule


SIX_PER_MILLE = fee_rule(name="six per mille", percentage="0.6", currency="USD")


BETWEEN_CONSUMERS = {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"}


def transaction(payer_kind: str | None = "Wallet", payee_kind: str | None = "Wallet", **more: object) -> dict[str, Any]:
    """A transaction object of a payment between consumers, whose accounts are of these kinds."""

    def party(fsp: str, kind: str | None) -> dict[str, Any]:
        info: dict[str, Any] = {"partyIdType": "MSISDN", "partyIdentifier": "254711000001", "fspId": fsp}
        if kind is not None:
            info["extensionList"] = {"extension": [{"key": "accountType", "value": kind}]}
        return {"partyIdInfo": info}

    return {
        "transactionId": "b51ec534-ee48-4575-b6a9-ead2955b8069",
        "quoteId": "b51ec534-ee48-4575-b6a9-ead2955b8069",
        "payer": party("alpha", payer_kind),
        "payee": party("bravo", payee_kind),
        "amount": {"amount": "100", "currency": "USD"},
        "transactionType": BETWEEN_CONSUMERS,
        **more,
    }


def packet(of: Mapping[str, Any]) -> str:
    """The ILP packet that holds a transaction object."""
    return agree(of, b"secret").packet


def charged(hub: SchemeBench, payment: PrepareTransfer) -> list[str]:
    """The fees of a payment, one a line: ``six per mille: alpha owes bravo 0.6 USD``."""
    return [
        f"{fee.rule}: {fee.debtor} owes {fee.creditor} {show(fee.amount)} {fee.currency}"
        for fee in hub.transfer(payment.transfer_id).fees
    ]
