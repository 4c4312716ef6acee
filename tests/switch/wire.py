"""What participants write, as commands, and what they are told, as lines one can read.

Commands are made as the participants' API makes them: the body is JSON, its hash is of its bytes, so that the same
command again is a resend and one with another field is a modified request.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import count
from typing import Any, Final

import msgspec
from tests.switch.scheme_bench import SchemeBench, new_transfer_id

from vuka.ids import FspId, TransferId, parse_id
from vuka.money import Amount, Currency
from vuka.switch.audit import Report, audit
from vuka.switch.quotes import AnswerQuote, DeclineQuote, GetQuote, RequestQuote
from vuka.switch.transfers import AbortTransfer, FulfilTransfer, GetTransfer, PrepareTransfer
from vuka.switch.work import ErrorBody, Forward, Inbound, JsonBody, Notice, TransferBody

PAYER: Final = "payerfsp"
PAYEE: Final = "payeefsp"
OTHER: Final = "otherfsp"

EXPIRY_MS: Final = 60_000
"""How long a transfer of these tests may take."""


def base64url(raw: bytes) -> str:
    """As FSPIOP writes 32 bytes: 43 letters, no padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def condition_of(preimage: bytes) -> str:
    """The condition that ``preimage`` fulfils."""
    return base64url(hashlib.sha256(preimage).digest())


PREIMAGE: Final = bytes(range(32))
FULFILMENT: Final = base64url(PREIMAGE)
CONDITION: Final = condition_of(PREIMAGE)

_message_ids: Final = count(1)


def inbound(
    hub: SchemeBench,
    method: str,
    resource: str,
    ids: tuple[str, ...],
    *,
    source: str,
    destination: str | None,
    body: object = None,
    version: str = "1.1",
    answer_version: str | None = None,
    path: str | None = None,
) -> Inbound:
    """A message as a participant sent it just now."""
    return Inbound(
        message_id=next(_message_ids),
        method=method,
        path=path or "/".join(("", resource, *(() if method == "POST" else ids))),
        headers=(("fspiop-source", source), ("fspiop-signature", "as the sender signed it")),
        body=b"" if body is None else msgspec.json.encode(body),
        source=FspId(source),
        destination=None if destination is None else FspId(destination),
        resource=resource,
        ids=ids,
        version=version,
        answer_version=answer_version or version,
        received_ms=hub.now_ms,
        trace=(("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),),
    )


def body_hash(message: Inbound) -> bytes:
    """What tells a resend from a modified request."""
    return hashlib.sha256(message.body).digest()


# --- transfers --------------------------------------------------------------------------------------------------


def prepare(
    hub: SchemeBench,
    amount: str,
    *,
    payer: str = PAYER,
    payee: str = PAYEE,
    wire_id: str | None = None,
    source: str | None = None,
    expires_in_ms: int = EXPIRY_MS,
    condition: str = CONDITION,
    version: str = "1.1",
    answer_version: str | None = None,
) -> PrepareTransfer:
    """``POST /transfers``, e.g. of ``"12.50 USD"``."""
    money = Amount.from_string(amount)
    wire_id = wire_id or new_transfer_id()[1]
    expires_ms = hub.now_ms + expires_in_ms
    message = inbound(
        hub,
        "POST",
        "transfers",
        (wire_id,),
        source=source or payer,
        destination=payee,
        version=version,
        answer_version=answer_version,
        body={
            "transferId": wire_id,
            "payerFsp": payer,
            "payeeFsp": payee,
            "amount": {"currency": money.currency, "amount": money.wire},
            "condition": condition,
            "expiration": expires_ms,
        },
    )
    return PrepareTransfer(
        message=message,
        transfer_id=TransferId(parse_id(wire_id)),
        payer_fsp=FspId(payer),
        payee_fsp=FspId(payee),
        amount=money,
        condition=condition,
        ilp_packet="AYIBgQ",
        expires_ms=expires_ms,
        body_hash=body_hash(message),
    )


def fulfil(
    hub: SchemeBench,
    prepared: PrepareTransfer,
    *,
    state: str = "COMMITTED",
    fulfilment: str | None = FULFILMENT,
    source: str | None = None,
    destination: str | None = "",
    version: str = "1.1",
    note: str = "",
) -> FulfilTransfer:
    """``PUT /transfers/{ID}`` from the payee; ``destination`` None sends no header. Another ``note``, another body."""
    wire_id = prepared.message.resource_id
    message = inbound(
        hub,
        "PUT",
        "transfers",
        (wire_id,),
        source=source or prepared.payee_fsp,
        destination=prepared.payer_fsp if destination == "" else destination,
        version=version,
        body={"transferState": state, "fulfilment": fulfilment, "note": note},
    )
    return FulfilTransfer(
        message=message,
        transfer_id=TransferId(parse_id(wire_id)),
        transfer_state=state,
        fulfilment=fulfilment,
        body_hash=body_hash(message),
    )


def reserved(hub: SchemeBench, prepared: PrepareTransfer, **fields: Any) -> FulfilTransfer:
    """``PUT /transfers/{ID}`` with RESERVED: the payee asks to be told the end."""
    return fulfil(hub, prepared, state="RESERVED", **fields)


def abort(
    hub: SchemeBench,
    prepared: PrepareTransfer,
    code: str = "5104",
    description: str = "Payee rejected transaction",
    *,
    source: str | None = None,
    destination: str | None = "",
    version: str = "1.1",
) -> AbortTransfer:
    """``PUT /transfers/{ID}/error`` from the payee."""
    wire_id = prepared.message.resource_id
    message = inbound(
        hub,
        "PUT",
        "transfers",
        (wire_id,),
        source=source or prepared.payee_fsp,
        destination=prepared.payer_fsp if destination == "" else destination,
        version=version,
        body={"errorInformation": {"errorCode": code, "errorDescription": description}},
        path=f"/transfers/{wire_id}/error",
    )
    return AbortTransfer(
        message=message,
        transfer_id=TransferId(parse_id(wire_id)),
        error_code=code,
        error_description=description,
        body_hash=body_hash(message),
    )


def get(hub: SchemeBench, prepared: PrepareTransfer, source: str = PAYER, *, version: str = "1.1") -> GetTransfer:
    """``GET /transfers/{ID}``."""
    wire_id = prepared.message.resource_id
    message = inbound(hub, "GET", "transfers", (wire_id,), source=source, destination="Hub", version=version)
    return GetTransfer(message=message, transfer_id=TransferId(parse_id(wire_id)))


# --- quotes -----------------------------------------------------------------------------------------------------


def request_quote(
    hub: SchemeBench,
    amount: str = "10 USD",
    *,
    wire_id: str | None = None,
    source: str = PAYER,
    destination: str | None = PAYEE,
    payer_fsp: str | None = None,
    payee_fsp: str | None = None,
    payer_currencies: tuple[str, ...] = (),
    expires_ms: int | None = None,
) -> RequestQuote:
    """``POST /quotes``."""
    money = Amount.from_string(amount)
    wire_id = wire_id or new_transfer_id()[1]
    message = inbound(
        hub,
        "POST",
        "quotes",
        (wire_id,),
        source=source,
        destination=destination,
        body={"quoteId": wire_id, "amount": str(money), "payer": [payer_fsp, payer_currencies], "payee": payee_fsp},
    )
    return RequestQuote(
        message=message,
        quote_id=parse_id(wire_id),
        transaction_id=new_transfer_id()[1],
        payer_fsp=None if payer_fsp is None else FspId(payer_fsp),
        payee_fsp=None if payee_fsp is None else FspId(payee_fsp),
        payee_party="MSISDN/27713803912",
        payer_currencies=payer_currencies,
        currency=money.currency,
        amount=money.minor,
        amount_type="SEND",
        expires_ms=expires_ms,
        body_hash=body_hash(message),
    )


def answer_quote(
    hub: SchemeBench,
    asked: RequestQuote,
    currency: str = "USD",
    *,
    source: str = PAYEE,
    condition: str = CONDITION,
) -> AnswerQuote:
    """``PUT /quotes/{ID}``: terms."""
    body = {"condition": condition, "transferAmount": {"currency": currency, "amount": "10"}}
    ids = asked.message.ids
    message = inbound(hub, "PUT", "quotes", ids, source=source, destination=asked.message.source, body=body)
    return AnswerQuote(
        message=message,
        quote_id=asked.quote_id,
        currency=Currency(currency),
        condition=condition,
        body_hash=body_hash(message),
    )


def decline_quote(hub: SchemeBench, asked: RequestQuote, code: str = "5103", *, source: str = PAYEE) -> DeclineQuote:
    """``PUT /quotes/{ID}/error``."""
    ids = asked.message.ids
    message = inbound(
        hub,
        "PUT",
        "quotes",
        ids,
        source=source,
        destination=asked.message.source,
        body={"errorInformation": {"errorCode": code, "errorDescription": "no terms"}},
        path=f"/quotes/{ids[0]}/error",
    )
    return DeclineQuote(message=message, quote_id=asked.quote_id, error_code=code, body_hash=body_hash(message))


def get_quote(
    hub: SchemeBench, asked: RequestQuote, source: str = PAYER, *, destination: str | None = PAYEE
) -> GetQuote:
    """``GET /quotes/{ID}``."""
    message = inbound(hub, "GET", "quotes", asked.message.ids, source=source, destination=destination)
    return GetQuote(message=message, quote_id=asked.quote_id)


# --- what participants are told ---------------------------------------------------------------------------------


def told(hub: SchemeBench) -> list[str]:
    """What the hub owes to whom since this was last asked, in order: ``payerfsp: PUT COMMITTED with fulfilment``.

    A message without ``from …`` is the hub's own.
    """
    return [line(notice) for notice in hub.take_notices()]


def line(notice: Notice) -> str:
    """One message, as a line."""
    return f"{notice.to}: {notice.action} {_content(notice)}"


def _content(notice: Notice) -> str:
    match notice.body:
        case Forward(inbound=message):
            assert notice.source == message.source
            return f"from {message.source}"
        case ErrorBody(code=code, description=description):
            return f"{code} {description}"
        case TransferBody(state=state, fulfilment=fulfilment, extensions=extensions):
            because = "".join(f", {key} {value}" for key, value in extensions)
            return f"{state}{' with fulfilment' if fulfilment else ''}{because}"
        case JsonBody(content=content):
            return content.decode()
    return "nothing"


def audited(hub: SchemeBench) -> Report:
    """What an audit of the books reports."""
    return hub.read(lambda tx, ledger, _directory: audit(tx, ledger))
