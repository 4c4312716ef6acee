"""Lookup: which participant serves a party, from the hub's own oracle.

FSPIOP API 1.1 §6.2 (participants). The hub's oracle is a table of its own; a party may be with several
participants, in several currencies, and have sub-identifiers. A lookup without a currency finds every entry, one
with a currency finds those of that currency and those for any.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId
from vuka.store import Tx
from vuka.switch.work import Action, Body, Command, ErrorBody, Inbound, JsonBody, Notice, Outcome, Work


class Party(msgspec.Struct, frozen=True):
    """An identifier of a person or business: its type, the identifier, and where there is one a sub-identifier."""

    party_id_type: str
    party_identifier: str
    party_sub_id: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """Its path segments."""
        if self.party_sub_id:
            return (self.party_id_type, self.party_identifier, self.party_sub_id)
        return (self.party_id_type, self.party_identifier)


class OracleEntry(msgspec.Struct, frozen=True):
    """One row of the oracle: this participant serves this party."""

    party: Party
    fsp_id: FspId
    currency: str
    """Empty: any currency."""


class RegisterParty(Command, frozen=True, kw_only=True):
    """``POST`` or ``PUT /participants/{Type}/{ID}``, or an operator: a participant serves these parties."""

    entries: tuple[OracleEntry, ...]
    replace: bool = False
    """Whether the participant's other entries for the same party go (``PUT``)."""
    message: Inbound | None = None
    answer: bytes | None = None
    """The body of the ``PUT`` that confirms it to ``answer_to``."""
    answer_to: FspId | None = None


class RemoveParty(Command, frozen=True, kw_only=True):
    """``DELETE /participants/{Type}/{ID}``, or an operator: the participant no longer serves the party."""

    party: Party
    fsp_id: FspId
    currency: str = ""
    message: Inbound | None = None
    answer: bytes | None = None


def find(tx: Tx, party: Party, currency: str = "") -> list[OracleEntry]:
    """The entries for exactly that party (a sub-identifier names another party), in a stable order."""
    rows = tx.query(
        """SELECT fsp_id, currency FROM oracle_party
           WHERE party_id_type = ? AND party_identifier = ? AND party_sub_id = ?
             AND (? = '' OR currency = '' OR currency = ?)
           ORDER BY created_ms, fsp_id, currency""",
        (party.party_id_type, party.party_identifier, party.party_sub_id, currency, currency),
    )
    return [OracleEntry(party, FspId(fsp_id), entry_currency) for fsp_id, entry_currency in rows]


def register(work: Work, commands: Sequence[RegisterParty]) -> list[Outcome]:
    """Writes entries; all of a command's or, where one names an unknown participant, none."""
    return [_register(work, command) for command in commands]


def _register(work: Work, command: RegisterParty) -> Outcome:
    for entry in command.entries:
        participant = work.directory.get(entry.fsp_id)
        if participant is None or not participant.is_active or participant.name == HUB:
            error = FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, f"Participant {entry.fsp_id} is unknown or inactive")
            return _told(work, command.message, error)
    if command.replace:
        # All of them before the first is written: an entry never replaces its neighbour.
        work.tx.run_many(
            """DELETE FROM oracle_party
               WHERE party_id_type = ? AND party_identifier = ? AND party_sub_id = ? AND fsp_id = ?""",
            [(*_key(entry.party), entry.fsp_id) for entry in command.entries],
        )
    work.tx.run_many(
        """INSERT INTO oracle_party (party_id_type, party_identifier, party_sub_id, currency, fsp_id, created_ms)
           VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING""",
        [(*_key(entry.party), entry.currency, entry.fsp_id, work.now_ms) for entry in command.entries],
    )
    if command.message is not None and command.answer is not None:
        _answer(work, command.message, command.answer_to or command.message.source, JsonBody(command.answer))
    return Outcome(note=f"registered {len(command.entries)}")


def _key(party: Party) -> tuple[str, str, str]:
    return (party.party_id_type, party.party_identifier, party.party_sub_id)


def remove(work: Work, commands: Sequence[RemoveParty]) -> list[Outcome]:
    """Removes what a participant registered; never what another did."""
    return [_remove(work, command) for command in commands]


def _remove(work: Work, command: RemoveParty) -> Outcome:
    party = command.party
    removed = work.tx.run(
        """DELETE FROM oracle_party
           WHERE party_id_type = ? AND party_identifier = ? AND party_sub_id = ? AND fsp_id = ?
             AND (? = '' OR currency = ?)""",
        (*_key(party), command.fsp_id, command.currency, command.currency),
    )
    if not removed:
        detail = f"{command.fsp_id} has not registered {'/'.join(party.ids)}"
        return _told(work, command.message, FspiopError(ErrorCode.DELETE_PARTY_INFO_ERROR, detail))
    if command.message is not None and command.answer is not None:
        _answer(work, command.message, command.message.source, JsonBody(command.answer))
    return Outcome(note="removed")


def _told(work: Work, message: Inbound | None, error: FspiopError) -> Outcome:
    """A participant learns of an error by callback, an operator by the answer."""
    if message is None:
        return Outcome(error=error)
    _answer(work, message, message.source, ErrorBody.of(error))
    return Outcome(note=f"refused: {error}")


def _answer(work: Work, message: Inbound, to: FspId, body: Body) -> None:
    work.notify(callback(message, to, body, work.now_ms + work.scheme.result_deadline_seconds * 1000))


def callback(message: Inbound, to: FspId, body: Body, deadline_ms: int) -> Notice:
    """The hub's ``PUT`` (or ``PUT …/error``) on the same path as a participant's request."""
    return Notice(
        to=to,
        action=Action.ERROR if isinstance(body, ErrorBody) else Action.PUT,
        resource=message.resource,
        ids=message.ids,
        body=body,
        deadline_ms=deadline_ms,
        version=message.answer_version,
        trace=message.trace,
    )
