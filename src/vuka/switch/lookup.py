"""Lookup: which participants serve a party, from what an oracle lists, and the hub's own oracle.

FSPIOP API 1.1 §6.2 (participants), hub reference §7.1 and §7.3. The hub's oracle is a table of its own; a party may be
with several participants, in several currencies, and have sub-identifiers. A lookup without a currency finds every
entry, one with a currency finds those of that currency and those for any; one without a sub-identifier finds only
entries without, one with a sub-identifier only those with the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId
from vuka.store import Tx
from vuka.switch.directory import Directory
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
    any_participant: bool = False
    """Whether the participants may be another scheme's, whose oracle this hub is."""
    message: Inbound | None = None
    answer: bytes | None = None
    """The body of the ``PUT`` that confirms it to ``answer_to``."""
    answer_to: FspId | None = None


class RemoveParty(Command, frozen=True, kw_only=True):
    """``DELETE /participants/{Type}/{ID}``, or an operator: the participant no longer serves the party."""

    party: Party
    fsp_id: FspId | None
    """None: whichever serves it."""
    currency: str = ""
    or_anybodys: bool = False
    """Whether, where the participant has registered nothing of it, what others registered goes."""
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


def listed(tx: Tx, party: Party, currency: str = "") -> list[OracleEntry]:
    """What the hub's oracle lists for an identifier, in a stable order: without a sub-identifier those of all."""
    rows = tx.query(
        """SELECT party_sub_id, fsp_id, currency FROM oracle_party
           WHERE party_id_type = ? AND party_identifier = ? AND (? = '' OR party_sub_id = ?)
             AND (? = '' OR currency = '' OR currency = ?)
           ORDER BY created_ms, fsp_id, party_sub_id, currency""",
        (*party.ids[:2], party.party_sub_id, party.party_sub_id, currency, currency),
    )
    return [
        OracleEntry(Party(party.party_id_type, party.party_identifier, sub_id), FspId(fsp_id), entry_currency)
        for sub_id, fsp_id, entry_currency in rows
    ]


def of_currency(entries: Sequence[OracleEntry], currency: str) -> list[OracleEntry]:
    """The entries for that currency and those for any; all of them where no currency is asked for."""
    return [each for each in entries if not currency or each.currency in ("", currency)]


def meant(entries: Sequence[OracleEntry], party: Party) -> list[OracleEntry]:
    """Which of the entries that an oracle lists for an identifier are about exactly that party (hub reference §7.1)."""
    return [each for each in entries if each.party == party]


def in_scheme(directory: Directory, entries: Sequence[OracleEntry]) -> list[FspId]:
    """The participants of these entries that take part, each once, in their order."""
    return [name for name in dict.fromkeys(each.fsp_id for each in entries) if serves(directory, name)]


def serves(directory: Directory, name: str) -> bool:
    """Whether parties can be with somebody of that name: a participant that takes part, and not the hub."""
    participant = directory.get(name)
    return participant is not None and participant.is_active and participant.name != HUB


def recipients(directory: Directory, entries: Sequence[OracleEntry], party: Party) -> list[FspId]:
    """Whom a lookup is passed to: every participant that serves the party, from what an oracle lists.

    Raises `FspiopError` 3200 where nothing is left of a list, or nobody serves a sub-identifier, and 3204 where nobody
    who takes part serves the party (hub reference §7.1, step 5).
    """
    about_it = meant(entries, party)
    if not about_it and (entries or party.party_sub_id):
        raise FspiopError(ErrorCode.ID_NOT_FOUND, "Empty oracle partyList, filtered based on callbackEndpointType")
    found = in_scheme(directory, about_it)
    if not found:
        raise FspiopError(ErrorCode.PARTY_NOT_FOUND)
    return found


def refusal_to_register(directory: Directory, fsp_id: str) -> FspiopError | None:
    """Why parties can't be registered with a participant."""
    if serves(directory, fsp_id):
        return None
    return FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, f"Participant {fsp_id} is unknown or inactive")


def register(work: Work, commands: Sequence[RegisterParty]) -> list[Outcome]:
    """Writes entries; all of a command's or, where one names an unknown participant, none."""
    return [_register(work, command) for command in commands]


def _register(work: Work, command: RegisterParty) -> Outcome:
    for entry in command.entries:
        refusal = None if command.any_participant else refusal_to_register(work.directory, entry.fsp_id)
        if refusal is not None:
            return _told(work, command.message, refusal)
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
    """Removes what a participant registered; what another did only where the command says so."""
    return [_remove(work, command) for command in commands]


def _remove(work: Work, command: RemoveParty) -> Outcome:
    party, fsp_id = command.party, command.fsp_id
    removed = _delete(work, party, fsp_id, command.currency)
    if not removed and command.or_anybodys:
        removed = _delete(work, party, None, command.currency)
    if not removed:
        detail = f"{fsp_id or 'nobody'} has {'' if fsp_id is None else 'not '}registered {'/'.join(party.ids)}"
        return _told(work, command.message, FspiopError(ErrorCode.DELETE_PARTY_INFO_ERROR, detail))
    if command.message is not None and command.answer is not None:
        _answer(work, command.message, command.message.source, JsonBody(command.answer))
    return Outcome(note="removed")


def _delete(work: Work, party: Party, fsp_id: FspId | None, currency: str) -> int:
    return work.tx.run(
        """DELETE FROM oracle_party
           WHERE party_id_type = ? AND party_identifier = ? AND party_sub_id = ? AND (? = '' OR fsp_id = ?)
             AND (? = '' OR currency = ?)""",
        (*_key(party), fsp_id or "", fsp_id or "", currency, currency),
    )


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
