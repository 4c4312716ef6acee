"""Signing keys: with which keys a participant's messages are checked, and whether they must be signed.

A participant has several keys while it changes them: the new one is registered, taken into use, and the old one
retired. A key that was retired stays on record, and is of no use from that commit on. What makes a key fit to sign with
is decided by whoever reads it (`vuka.fspiop.jws`); here it is a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId
from vuka.store import Tx
from vuka.switch.directory import Participant
from vuka.switch.participants import participant_not_found
from vuka.switch.work import Command, Outcome, Work

KEYS_MAX: Final = 10
"""Active keys of one participant: each message may be tried with all of them."""

REQUIRED: Final = "REQUIRED"
OFF: Final = "OFF"
CHOICES: Final = (REQUIRED, OFF)
"""What may be set for one participant; None: as the deployment has it."""


class AddSigningKey(Command, frozen=True, kw_only=True):
    """``POST /participants/{name}/keys``: messages signed with this key are the participant's."""

    name: str
    algorithm: str
    public_key: str
    """PEM, SubjectPublicKeyInfo."""
    fingerprint: str
    """SHA-256 of the key's DER, in hex."""
    by: str = "operator"


class RetireSigningKey(Command, frozen=True, kw_only=True):
    """``DELETE /participants/{name}/keys/{fingerprint}``: they no longer are."""

    name: str
    fingerprint: str


class SetSignatures(Command, frozen=True, kw_only=True):
    """``PUT /participants/{name}/signatures``: whether it must sign, set apart from the rest."""

    name: str
    signatures: str | None


class KeyDetails(msgspec.Struct, frozen=True):
    """A key as operators see it. Times are UTC milliseconds."""

    algorithm: str
    public_key: str
    fingerprint: str
    is_active: bool
    created_ms: int
    created_by: str
    retired_ms: int | None


def change(work: Work, commands: Sequence[AddSigningKey | RetireSigningKey | SetSignatures]) -> list[Outcome]:
    """Changes keys, and who must use one, in the order in which it was asked."""
    return [_change(work, command) for command in commands]


def _change(work: Work, command: AddSigningKey | RetireSigningKey | SetSignatures) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None or participant.name == HUB:
        # The hub's own key is a file of its own: it signs, it is not checked.
        return Outcome(error=participant_not_found())
    match command:
        case AddSigningKey():
            return _add(work, participant, command)
        case RetireSigningKey():
            return _retire(work, participant, command.fingerprint)
        case SetSignatures():
            return _set(work, participant, command.signatures)


def _add(work: Work, participant: Participant, command: AddSigningKey) -> Outcome:
    if any(key.fingerprint == command.fingerprint for key in participant.signing_keys):
        return Outcome(note="the key is registered already")
    if len(participant.signing_keys) >= KEYS_MAX:
        return _refused(f"{participant.name} has {KEYS_MAX} keys: retire one first")
    work.tx.run(
        """INSERT INTO signing_key
               (participant_id, algorithm, public_key, fingerprint, is_active, created_ms, created_by)
           VALUES (?, ?, ?, ?, 1, ?, ?)
           ON CONFLICT (participant_id, fingerprint) DO UPDATE SET is_active = 1, retired_ms = NULL""",
        (
            participant.participant_id,
            command.algorithm,
            command.public_key,
            command.fingerprint,
            work.now_ms,
            command.by,
        ),
    )
    work.directory_changed()
    return Outcome(note=f"key {command.fingerprint} of {participant.name} registered")


def _retire(work: Work, participant: Participant, fingerprint: str) -> Outcome:
    left = [key for key in participant.signing_keys if key.fingerprint != fingerprint]
    if len(left) == len(participant.signing_keys):
        return Outcome(error=FspiopError(ErrorCode.ID_NOT_FOUND, f"{participant.name} has no such key in use"))
    if not left and participant.signatures == REQUIRED:
        return _refused(f"it is {participant.name}'s last key and it must sign: add another, or lift that first")
    work.tx.run(
        "UPDATE signing_key SET is_active = 0, retired_ms = ? WHERE participant_id = ? AND fingerprint = ?",
        (work.now_ms, participant.participant_id, fingerprint),
    )
    work.directory_changed()
    return Outcome(note=f"key {fingerprint} of {participant.name} retired")


def _set(work: Work, participant: Participant, signatures: str | None) -> Outcome:
    if signatures is not None and signatures not in CHOICES:
        raise ValueError(f"signatures are one of {', '.join(CHOICES)}, not {signatures}")
    if signatures == REQUIRED and not participant.signing_keys:
        return _refused(f"{participant.name} has no key to check a signature with: add one first")
    work.tx.run(
        "UPDATE participant SET signatures = ? WHERE participant_id = ?", (signatures, participant.participant_id)
    )
    work.directory_changed()
    return Outcome(note=f"signatures of {participant.name}: {signatures or 'as the deployment has it'}")


def _refused(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, detail))


def keys(tx: Tx, name: FspId) -> list[KeyDetails]:
    """Every key that a participant has had, the newest first."""
    rows = tx.query(
        """SELECT k.algorithm, k.public_key, k.fingerprint, k.is_active, k.created_ms, k.created_by, k.retired_ms
           FROM signing_key k JOIN participant p ON p.participant_id = k.participant_id
           WHERE p.name = ? ORDER BY k.signing_key_id DESC""",
        (name,),
    )
    return [KeyDetails(row[0], row[1], row[2], bool(row[3]), row[4], row[5], row[6]) for row in rows]


USE_CASES: Final = ((change, AddSigningKey, RetireSigningKey, SetSignatures),)
"""What is decided here."""
