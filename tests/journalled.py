"""What the journal and the outbox of a hub hold, as tests look at it."""

from __future__ import annotations

from typing import NamedTuple

from vuka.engine.outbox import still_owed
from vuka.store import Tx
from vuka.switch import journal
from vuka.switch.work import Header


class Message(NamedTuple):
    """One message of the journal."""

    message_id: int
    direction: str
    method: str
    path: str
    source: str
    destination: str
    resource_id: str
    headers: tuple[Header, ...]
    body: bytes | None
    body_of: int | None
    outcome: str


def messages(tx: Tx) -> list[Message]:
    """Every message, the oldest first."""
    found: list[Message] = []
    for block in journal.everything(tx):
        for came in block.received:
            about = (came.method, came.path, came.source, came.destination, came.resource_id, came.headers)
            found.append(Message(came.message_id, "in", *about, came.body or None, None, came.outcome))
        for sent in block.sent:
            about = (sent.method, sent.path, sent.source, sent.destination, sent.resource_id, tuple(sent.headers))
            found.append(Message(sent.message_id, "out", *about, sent.body, sent.body_of, "sent"))
    return sorted(found)


def deliveries(tx: Tx) -> list[tuple[str, str]]:
    """Who each message goes to and how it stands, the oldest first: what has an end, a row, or is owed."""
    found: dict[int, tuple[str, str]] = {}
    to: dict[int, str] = {}
    for block in journal.everything(tx):
        to |= {each.message_id: each.to for each in block.sent}
        found |= {each.message_id: (to[each.message_id], each.state) for each in block.marks if each.message_id in to}
    found |= {each.message_id: (each.to, "PENDING") for each in still_owed(tx)}
    rows = tx.query("SELECT message_id, participant, state FROM delivery")
    found |= {message_id: (participant, state) for message_id, participant, state in rows}
    return [found[message_id] for message_id in sorted(found)]


def target(resource: str, resource_id: str, *, method: str = "POST", source: str = "Hub", to: str = "") -> journal.Sent:
    """A message that goes out, as far as who looks on needs it."""
    path = f"/{resource}"
    return journal.Sent(
        7, 0, source, to, method, path, resource, resource_id, (), None, None, to, "", {}, 10**15, True, -1
    )
