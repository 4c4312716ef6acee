"""The whole story of one payment, from the journal, the records and the ledger: what ``vuka trace`` shows.

Any id will do: a transfer's, a quote's, a transaction's. The parts of a payment are linked by what
the messages themselves carry: a transfer and the quote it fulfils have the same condition, and the lookup before them
is about the quote's payee. Nothing is guessed from times alone but which of several lookups of the same payee it was:
the last before the quote.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from vuka.ids import IdError, TransferId, ledger_id, parse_id
from vuka.ledger import chart
from vuka.ledger.model import Ledger
from vuka.money import Amount, Currency, ledger_currency
from vuka.store import Tx
from vuka.switch import journal
from vuka.switch.directory import read_directory

LOOKUP_BEFORE_QUOTE_MS: Final = 15 * 60_000
"""How long before its quote a lookup may be to be shown with it."""


class EventKind(StrEnum):
    """What happened."""

    MESSAGE_IN = "in"
    MESSAGE_OUT = "out"
    DELIVERY = "delivery"
    STATE = "state"
    LEDGER = "ledger"


class Event(msgspec.Struct, frozen=True):
    """One thing that happened, at a time in milliseconds since 1970 UTC."""

    at_ms: int
    kind: EventKind
    source: str
    destination: str
    text: str
    message_id: int | None = None


class Story(msgspec.Struct, frozen=True):
    """A payment's events in order, and the ids by which it is known."""

    transfer_id: str | None
    quote_id: str | None
    transaction_id: str | None
    party: str | None
    payer_fsp: str
    payee_fsp: str
    amount: str
    state: str
    events: list[Event]


def tell(tx: Tx, ledger: Ledger, wanted: str) -> Story | None:
    """The story of the payment that an id belongs to, or None where no message or record has that id."""
    transfer = _transfer(tx, wanted)
    quote = _quote(tx, wanted, transfer)
    if transfer is None and quote is not None and quote["condition"]:
        transfer = _first(tx, _TRANSFER, "condition = ? AND kind = 'PAYMENT'", (quote["condition"],))
    resource_ids = {wanted}
    subjects: set[int] = set()
    party: str | None = None
    events: list[Event] = []
    if transfer is not None:
        resource_ids.add(transfer["wire_id"])
        subjects.add(transfer["transfer_seq"])
        events += _states(tx, transfer["transfer_seq"])
        events += _ledger_entries(tx, ledger, transfer["transfer_seq"], TransferId(transfer["transfer_id"]))
    if quote is not None:
        resource_ids.add(quote["wire_id"])
        subjects.add(quote["quote_seq"])
        party = quote["payee_party"]
        events += _lookup(tx, quote)
    events += _messages(tx, subjects, resource_ids)
    if not events:
        return None
    events.sort(key=lambda event: (event.at_ms, _ORDER[event.kind], event.message_id or 0))
    known = transfer or quote
    return Story(
        transfer_id=transfer["wire_id"] if transfer else None,
        quote_id=quote["wire_id"] if quote else None,
        transaction_id=quote["transaction_id"] if quote else None,
        party=party,
        payer_fsp=known["payer_fsp"] if known else "",
        payee_fsp=known["payee_fsp"] if known else "",
        amount=str(Amount(Currency(known["currency"]), known["amount"])) if known else "",
        state=known["state"] if known else "",
        events=events,
    )


_ORDER: Final = {
    EventKind.MESSAGE_IN: 0,
    EventKind.STATE: 1,
    EventKind.LEDGER: 2,
    EventKind.MESSAGE_OUT: 3,
    EventKind.DELIVERY: 4,
}

_TRANSFER: Final = (
    "transfer",
    tuple(
        """transfer_seq transfer_id wire_id kind payer_fsp payee_fsp currency amount state condition
           created_ms completed_ms""".split()
    ),
)
_QUOTE: Final = (
    "quote",
    tuple(
        """quote_seq quote_id wire_id transaction_id payer_fsp payee_fsp payee_party currency amount state condition
           created_ms""".split()
    ),
)


def _first(
    tx: Tx, table: tuple[str, tuple[str, ...]], condition: str, parameters: Sequence[str | bytes]
) -> dict[str, Any] | None:
    name, columns = table
    rows = tx.query(f"SELECT {', '.join(columns)} FROM {name} WHERE {condition} LIMIT 1", parameters)
    return dict(zip(columns, rows[0], strict=True)) if rows else None


def _transfer(tx: Tx, wanted: str) -> dict[str, Any] | None:
    try:
        return _first(tx, _TRANSFER, "transfer_id = ?", (parse_id(wanted),))
    except IdError:
        return None


def _quote(tx: Tx, wanted: str, transfer: dict[str, Any] | None) -> dict[str, Any] | None:
    if transfer is not None and transfer["condition"]:
        found = _first(tx, _QUOTE, "condition = ?", (transfer["condition"],))
        if found is not None:
            return found
    try:
        found = _first(tx, _QUOTE, "quote_id = ?", (parse_id(wanted),))
    except IdError:
        return None
    return found if found is not None else _first(tx, _QUOTE, "transaction_id = ?", (wanted,))


def _states(tx: Tx, transfer_seq: int) -> list[Event]:
    rows = tx.query(
        "SELECT created_ms, state, reason FROM transfer_state_change WHERE transfer_seq = ? ORDER BY step",
        (transfer_seq,),
    )
    return [
        Event(at_ms, EventKind.STATE, "Hub", "Hub", f"{state}: {reason}" if reason else state)
        for at_ms, state, reason in rows
    ]


def _ledger_entries(tx: Tx, ledger: Ledger, transfer_seq: int, transfer_id: TransferId) -> list[Event]:
    names = {
        account.ledger_account_id: f"{participant.name} {account.type}"
        for participant in read_directory(tx).participants.values()
        for account in participant.accounts.values()
    }
    words = {
        ledger_id(transfer_id): "reserved",
        chart.post_id(transfer_id): "posted",
        chart.void_id(transfer_id): "voided",
    }
    for fee_no, rule in tx.query(
        "SELECT fee_no, rule FROM fee WHERE transfer_seq = ? ORDER BY fee_no", (transfer_seq,)
    ):
        words[chart.fee_id(transfer_id, fee_no)] = f"fee by {rule}:"
    events: list[Event] = []
    for entry in ledger.lookup_transfers(list(words)):
        text = f"{words[entry.id]} {Amount(ledger_currency(entry.ledger), entry.amount)}"
        debit, credit = names.get(entry.debit_account_id, "?"), names.get(entry.credit_account_id, "?")
        at_ms = entry.timestamp // 1_000_000
        events.append(Event(at_ms, EventKind.LEDGER, "Hub", "Hub", f"{text}: debit {debit}, credit {credit}"))
    return events


def _messages(tx: Tx, subjects: Iterable[int], resource_ids: Collection[str]) -> list[Event]:
    return _message_events(journal.find(tx, subjects, resource_ids))


def _message_events(found: journal.Exchange) -> list[Event]:
    events: list[Event] = []
    for message in found.received:
        text = f"{message.method} {message.path}"
        if message.outcome not in ("accepted", "routed"):
            text += f" — {message.outcome}"
        events.append(Event(message.at_ms, EventKind.MESSAGE_IN, message.source, "Hub", text, message.message_id))
    for sent in found.sent:
        signed = "" if sent.source == "Hub" else f" (from {sent.source})"
        text = f"{sent.method} {sent.path}{signed}"
        events.append(Event(sent.at_ms, EventKind.MESSAGE_OUT, "Hub", sent.to, text, sent.message_id))
        mark = found.marks.get(sent.message_id)
        if mark is not None:
            answer = f"HTTP {mark.status}" if mark.status is not None else (mark.error or "not sent yet")
            tries = f", attempt {mark.attempts}" if mark.attempts > 1 else ""
            text = f"{mark.state.lower()}: {answer}{tries}"
            events.append(Event(mark.at_ms, EventKind.DELIVERY, sent.to, "Hub", text, sent.message_id))
        elif sent.is_owed:
            events.append(
                Event(sent.at_ms, EventKind.DELIVERY, sent.to, "Hub", "pending: not sent yet", sent.message_id)
            )
    return events


def _lookup(tx: Tx, quote: dict[str, Any]) -> list[Event]:
    """The last lookup of the payee by the payer's participant before the quote, with its answer."""
    payer, until_ms = quote["payer_fsp"], quote["created_ms"]
    found = journal.find(tx, (), {quote["payee_party"]}, between_ms=(until_ms - LOOKUP_BEFORE_QUOTE_MS, until_ms))

    def is_of_lookup(message: journal.Received | journal.Sent) -> bool:
        is_of_payer = payer in (message.source, message.destination)
        is_before = until_ms - LOOKUP_BEFORE_QUOTE_MS <= message.at_ms <= until_ms
        return message.resource == "parties" and is_of_payer and is_before

    asked = [each for each in found.received if is_of_lookup(each)]
    starts = [each.message_id for each in asked if each.method == "GET" and each.source == payer]
    if not starts:
        return []
    received = [each for each in asked if each.message_id >= starts[-1]]
    sent = [each for each in found.sent if is_of_lookup(each) and each.message_id >= starts[-1]]
    return _message_events(journal.Exchange(received, sent, found.marks))


def to_mermaid(story: Story) -> str:
    """The story as a Mermaid sequence diagram."""
    names = list(dict.fromkeys([story.payer_fsp or "Payer", "Hub", story.payee_fsp or "Payee"]))
    for event in story.events:
        names += [name for name in (event.source, event.destination) if name not in names]
    alias = {name: f"P{place}" for place, name in enumerate(names)}
    lines = ["sequenceDiagram"]
    lines += [f"    participant {alias[name]} as {_clean(name)}" for name in names]
    for event in story.events:
        text = _clean(event.text)
        match event.kind:
            case EventKind.MESSAGE_IN | EventKind.MESSAGE_OUT:
                lines.append(f"    {alias[event.source]}->>{alias[event.destination]}: {text}")
            case EventKind.DELIVERY:
                lines.append(f"    {alias[event.source]}-->>{alias[event.destination]}: {text}")
            case EventKind.STATE | EventKind.LEDGER:
                lines.append(f"    Note over {alias['Hub']}: {text}")
    return "\n".join(lines) + "\n"


def _clean(text: str) -> str:
    """Text that Mermaid takes for text: no line ends, and its own marks written as entities."""
    return " ".join(text.splitlines()).translate({ord("#"): "#35;", ord(";"): "#59;"})
