"""Who may talk to the hub: the credentials of participants and of operators, and what an operator's roles allow.

A credential is what somebody shows to be let in. The hub keeps the SHA-256 of it and never the thing itself: whoever
reads the tables can't show it. A participant has as many as it likes, so that it changes one without a gap: the new one
is issued, taken into use, and the old one revoked. A credential ends when it expires or is revoked, at once: it is part
of the directory, which every request is checked against.

There is no such thing in the reference, whose gateway decides who comes in (hub reference §11.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId
from vuka.store import Tx
from vuka.switch.directory import Directory
from vuka.switch.participants import participant_not_found
from vuka.switch.work import Command, Outcome, Work

DIGEST_BYTES: Final = 32
NAME_LENGTH_MAX: Final = 64


class CredentialKind(StrEnum):
    """How a credential is shown. One kind never passes for another."""

    TOKEN = "TOKEN"  # noqa: S105 - the name of a kind
    """``Authorization: Bearer …``"""
    API_KEY = "API_KEY"
    """``X-Api-Key: …``"""
    CERTIFICATE = "CERTIFICATE"
    """A client certificate, that the hub's own TLS or the gateway in front has verified."""


OPERATOR_KINDS: Final = (CredentialKind.TOKEN, CredentialKind.CERTIFICATE)


class Role(StrEnum):
    """What an operator may do. Each role includes `READ`; `ADMIN` includes all."""

    READ = "read"
    """Every question: whatever changes nothing."""
    OPERATE = "operate"
    """Participants, their accounts, endpoints and keys; oracles and parties; rules; messages."""
    FINANCE = "finance"
    """Money: funds in and out, net debit caps, settlement."""
    ADMIN = "admin"
    """Everything, and alone: who may do what."""


def allows(roles: Collection[str], needed: Role) -> bool:
    """Whether somebody with these roles may do what takes the role ``needed``."""
    if Role.ADMIN in roles or needed in roles:
        return True
    return needed is Role.READ and (Role.OPERATE in roles or Role.FINANCE in roles)


class IssueCredential(Command, frozen=True, kw_only=True):
    """``POST /credentials``: lets somebody in, a participant or an operator. The outcome's value is its number."""

    kind: CredentialKind
    digest: bytes
    """SHA-256 of what will be shown."""
    participant: FspId | None = None
    """Who it speaks for; None for an operator's."""
    name: str
    """The operator's name; for a participant's a label, for people."""
    roles: tuple[str, ...] = ()
    """An operator's; none for a participant's."""
    expires_ms: int | None = None
    """UTC; None: until it is revoked."""
    by: str = "operator"

    def __repr__(self) -> str:
        """Without the digest: it is enough to recognise what was shown."""
        return f"IssueCredential({self.kind}, {self.participant or 'operator'}, {self.name!r})"


class RevokeCredential(Command, frozen=True, kw_only=True):
    """``DELETE /credentials/{id}``: lets it in no longer, from this commit on."""

    credential_id: int


class CredentialDetails(msgspec.Struct, frozen=True):
    """A credential as operators see it: all but its digest. Times are UTC milliseconds."""

    credential_id: int
    kind: CredentialKind
    participant: FspId | None
    name: str
    roles: tuple[str, ...]
    created_ms: int
    created_by: str
    expires_ms: int | None
    revoked_ms: int | None


def issue(work: Work, commands: Sequence[IssueCredential]) -> list[Outcome]:
    """Lets participants and operators in."""
    return [_issue(work, command) for command in commands]


def _issue(work: Work, command: IssueCredential) -> Outcome:
    if len(command.digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(command.digest)}")
    fault = _holder_fault(work, command) or _name_fault(command.name)
    if fault is not None:
        return Outcome(error=fault)
    if command.expires_ms is not None and command.expires_ms <= work.now_ms:
        return _invalid("expiresAt must be in the future")
    if not _make_way(work, command.digest):
        detail = "the same credential is in use already: revoke it first, or use another"
        return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, detail))
    participant = work.directory.get(command.participant)
    ((credential_id,),) = work.tx.query(
        """INSERT INTO credential (kind, digest, participant_id, name, roles, created_ms, created_by, expires_ms)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING credential_id""",
        (
            command.kind.value,
            command.digest,
            None if participant is None else participant.participant_id,
            command.name,
            " ".join(role.value for role in Role if role.value in command.roles),
            work.now_ms,
            command.by,
            command.expires_ms,
        ),
    )
    work.directory_changed()
    holder = command.participant or f"the operator {command.name}"
    return Outcome(value=int(credential_id), note=f"credential {credential_id} issued to {holder}")


def _holder_fault(work: Work, command: IssueCredential) -> FspiopError | None:
    """Why nobody can hold such a credential."""
    if command.participant is None:
        if command.kind not in OPERATOR_KINDS:
            return _validation_error(f"an operator's credential is a {' or a '.join(OPERATOR_KINDS)}")
        unknown = sorted(set(command.roles) - set(Role))
        if unknown or not command.roles:
            return _validation_error(f"roles must be of {', '.join(Role)}, at least one")
        return None
    if command.roles:
        return _validation_error("a participant has no roles")
    if command.participant == HUB:
        return _validation_error(f"{HUB} is the hub itself: nobody else speaks for it")
    if work.directory.get(command.participant) is None:
        return participant_not_found()
    return None


def _name_fault(name: str) -> FspiopError | None:
    if 1 <= len(name) <= NAME_LENGTH_MAX and name.isprintable() and name == name.strip():
        return None
    return _validation_error(f"name must have 1 to {NAME_LENGTH_MAX} printable characters")


def _make_way(work: Work, digest: bytes) -> bool:
    """Whether a digest is free. A certificate whose credential has ended may be registered anew.

    The row that has ended stays, for the record, under a digest that nothing has.
    """
    rows = work.tx.query("SELECT credential_id, expires_ms, revoked_ms FROM credential WHERE digest = ?", (digest,))
    if not rows:
        return True
    ((credential_id, expires_ms, revoked_ms),) = rows
    if revoked_ms is None and (expires_ms is None or expires_ms > work.now_ms):
        return False
    former = hashlib.sha256(b"%b ended as credential %d" % (digest, credential_id)).digest()
    work.tx.run(
        "UPDATE credential SET digest = ?, revoked_ms = COALESCE(revoked_ms, ?) WHERE credential_id = ?",
        (former, work.now_ms, credential_id),
    )
    return True


def revoke(work: Work, commands: Sequence[RevokeCredential]) -> list[Outcome]:
    """Lets credentials in no longer. One that was revoked already stays so."""
    return [_revoke(work, command) for command in commands]


def _revoke(work: Work, command: RevokeCredential) -> Outcome:
    rows = work.tx.query(
        "SELECT revoked_ms FROM credential WHERE credential_id = ?",
        (command.credential_id,),
    )
    if not rows:
        return Outcome(error=FspiopError(ErrorCode.ID_NOT_FOUND, f"there is no credential {command.credential_id}"))
    if rows[0][0] is not None:
        return Outcome(note=f"credential {command.credential_id} was revoked already")
    if living_admins(work.directory, work.now_ms) == {command.credential_id}:
        detail = "it is the last admin's: nobody could issue another. Grant another admin one first"
        return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, detail))
    work.tx.run("UPDATE credential SET revoked_ms = ? WHERE credential_id = ?", (work.now_ms, command.credential_id))
    work.directory_changed()
    return Outcome(note=f"credential {command.credential_id} revoked")


def living_admins(directory: Directory, now_ms: int) -> frozenset[int]:
    """The credentials with which somebody can be let in, by number."""
    return frozenset(
        each.credential_id
        for each in directory.credentials.values()
        if each.participant is None
        and Role.ADMIN in each.roles
        and (each.expires_ms is None or each.expires_ms > now_ms)
    )


def credentials(tx: Tx, *, with_ended: bool = False, now_ms: int = 0) -> list[CredentialDetails]:
    """The credentials that let somebody in now, the oldest first; with those that have ended where asked for."""
    rows = tx.query(
        """SELECT c.credential_id, c.kind, p.name, c.name, c.roles, c.created_ms, c.created_by, c.expires_ms,
                  c.revoked_ms
           FROM credential c LEFT JOIN participant p ON p.participant_id = c.participant_id
           WHERE ? = 1 OR (c.revoked_ms IS NULL AND (c.expires_ms IS NULL OR c.expires_ms > ?))
           ORDER BY c.credential_id""",
        (int(with_ended), now_ms),
    )
    return [
        CredentialDetails(
            credential_id,
            CredentialKind(kind),
            None if participant is None else FspId(participant),
            name,
            tuple(roles.split()),
            created_ms,
            created_by,
            expires_ms,
            revoked_ms,
        )
        for credential_id, kind, participant, name, roles, created_ms, created_by, expires_ms, revoked_ms in rows
    ]


def _validation_error(detail: str) -> FspiopError:
    return FspiopError(ErrorCode.VALIDATION_ERROR, detail)


def _invalid(detail: str) -> Outcome:
    return Outcome(error=_validation_error(detail))


USE_CASES: Final = (
    # A batch that takes one away and gives another ends with the one it gave.
    (revoke, RevokeCredential),
    (issue, IssueCredential),
)
"""Each function with the commands that it decides, in the order in which one batch takes them."""
