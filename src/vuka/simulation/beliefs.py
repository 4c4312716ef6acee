"""What participants have been told of transfers, by callbacks and by answers to their questions: the model's memory.

It knows nothing of the hub's tables. A participant is told an *end* (COMMITTED or ABORTED), or how a transfer stands
meanwhile, or that some message of its own was refused, which says nothing of the transfer (FSPIOP API 1.1 §6.7; the
hub's page for participants has the codes). Two ends of one transfer, told to whomever, is the one thing that a scheme
must never see.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Final

import msgspec

from vuka.simulation.network import Call
from vuka.simulation.plan import Pay

HUB: Final = "Hub"

_ABOUT_A_MESSAGE: Final = ("3106", "3208", "3000", "2001")
"""Codes that say what is wrong with a message or a question, and nothing of the transfer."""

_REFUSALS: Final = ("non-RESERVED transfer state", "header should match Payee FSP", "header should match Payer")
"""Of the generic validation error: what an answer that changes nothing is told."""

_DESTINATION: Final = "FSPIOP-Destination header"
"""…and what one that ends the transfer is told."""


class Word(StrEnum):
    """What a participant is told of a transfer."""

    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"
    RESERVED = "RESERVED"
    UNKNOWN = "not known"
    """The hub says that it has no such transfer."""
    NOTHING = "nothing"
    """That a message of its own is refused."""


ENDS: Final = frozenset((Word.COMMITTED, Word.ABORTED))


class _Error(msgspec.Struct, rename="camel"):
    error_code: str
    error_description: str


class _Said(msgspec.Struct, rename="camel"):
    """As much of a message about a transfer as tells how it stands."""

    transfer_state: str | None = None
    fulfilment: str | None = None
    error_information: _Error | None = None


def preimage_of(transfer_id: str) -> bytes:
    """The secret of a transfer, which its payee alone is to know."""
    return hashlib.sha256(b"vuka simulation " + transfer_id.encode()).digest()


def fulfilment_of(transfer_id: str) -> str:
    """What fulfils a transfer."""
    return _encoded(preimage_of(transfer_id))


def condition_of(transfer_id: str) -> str:
    """What a transfer asks to be fulfilled."""
    return _encoded(hashlib.sha256(preimage_of(transfer_id)).digest())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def word_of(call: Call) -> tuple[Word, str]:
    """What a message about a transfer tells whoever gets it, and how that may be shown."""
    said = msgspec.json.decode(call.body, type=_Said)
    error = said.error_information
    if error is None:
        state = said.transfer_state or ""
        return Word(state) if state in ("COMMITTED", "ABORTED", "RESERVED") else Word.NOTHING, state
    text = f"{error.error_code} {error.error_description}"
    source = next((value for name, value in call.headers if name.lower() == "fspiop-source"), HUB)
    if source != HUB:
        # What the payee has said, passed on: it has declined.
        return Word.ABORTED, text
    if error.error_code == "3208":
        return Word.UNKNOWN, text
    if error.error_code in _ABOUT_A_MESSAGE:
        return Word.NOTHING, text
    if any(each in error.error_description for each in _REFUSALS) and _DESTINATION not in error.error_description:
        return Word.NOTHING, text
    return Word.ABORTED, text


def fulfilment_in(call: Call) -> str | None:
    """The fulfilment that a message shows."""
    return msgspec.json.decode(call.body, type=_Said).fulfilment


class Beliefs:
    """Who has been told what."""

    def __init__(self) -> None:
        self.payments: dict[str, Pay] = {}
        """By transfer: what was planned."""
        self.ends: dict[str, dict[str, Word]] = {}
        """By transfer and participant: the end that it was told."""
        self.sent: dict[str, set[int]] = {}
        """By transfer: the amounts, in minor units, with which its payer has sent it."""
        self.accepted: set[str] = set()
        """Transfers of which their payer has seen a 202."""
        self.asked: set[str] = set()
        """Transfers that their payee has been asked for."""
        self.word_expected: set[tuple[str, str]] = set()
        """By participant and transfer: who will not rest before it knows the end."""

    def hear(self, name: str, transfer_id: str, word: Word) -> str | None:
        """Notes what a participant was told; a contradiction, where it is one."""
        pay = self.payments.get(transfer_id)
        if pay is None or name not in (pay.payer, pay.payee) or word not in ENDS:
            return None
        told = self.ends.setdefault(transfer_id, {})
        for other, end in told.items():
            if end is not word:
                return f"{other} was told {end} of transfer {transfer_id[:8]}, and {name} is told {word}"
        told[name] = word
        return None

    def end_told(self, name: str, transfer_id: str) -> Word | None:
        """The end that a participant knows of."""
        return self.ends.get(transfer_id, {}).get(name)

    def end_of(self, transfer_id: str) -> Word | None:
        """The end that anybody knows of."""
        return next(iter(self.ends.get(transfer_id, {}).values()), None)
