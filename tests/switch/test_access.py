"""Credentials: who is let in, until when, and what an operator's roles allow."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from tests.switch.scheme_bench import START_MS, SchemeBench

from vuka.ids import FspId
from vuka.switch.access import (
    CredentialDetails,
    CredentialKind,
    IssueCredential,
    RevokeCredential,
    Role,
    allows,
    credentials,
    living_admins,
)

BANK = FspId("payerfsp")


def digest(shown: str) -> bytes:
    return hashlib.sha256(shown.encode()).digest()


def of_bank(shown: str = "secret", /, **fields: Any) -> IssueCredential:
    """A token for payerfsp; ``fields`` override its own."""
    usual = {"kind": CredentialKind.TOKEN, "digest": digest(shown), "participant": BANK, "name": "first"}
    return IssueCredential(**{**usual, **fields})


def of_operator(shown: str = "secret", /, **fields: Any) -> IssueCredential:
    """A token for alice, who may read."""
    usual = {"kind": CredentialKind.TOKEN, "digest": digest(shown), "name": "alice", "roles": ("read",)}
    return IssueCredential(**{**usual, **fields})


def issued(hub: SchemeBench, command: IssueCredential) -> int:
    """The number of the credential."""
    number = hub.accept(command).value
    assert isinstance(number, int)
    return number


def listed(hub: SchemeBench, *, with_ended: bool = False) -> list[CredentialDetails]:
    return hub.read(lambda tx, _ledger, _directory: credentials(tx, with_ended=with_ended, now_ms=hub.now_ms))


@pytest.fixture(autouse=True)
def _bank(hub: SchemeBench) -> None:
    hub.onboard(BANK, "USD", cap="100")


# --- issuing ----------------------------------------------------------------------------------------------------


def test_a_participants_credential_is_found_by_the_digest_of_what_it_shows(hub: SchemeBench) -> None:
    number = issued(hub, of_bank(expires_ms=START_MS + 1))
    found = hub.directory.credentials[digest("secret")]
    assert (found.credential_id, found.kind, found.participant, found.name) == (number, "TOKEN", BANK, "first")
    assert (found.roles, found.expires_ms) == (frozenset(), START_MS + 1)


def test_an_operators_credential_has_its_roles_and_speaks_for_no_participant(hub: SchemeBench) -> None:
    issued(hub, of_operator(roles=("finance", "operate")))
    found = hub.directory.credentials[digest("secret")]
    assert (found.participant, found.name, found.roles) == (None, "alice", {"operate", "finance"})


def test_a_new_credential_is_in_force_from_its_commit(hub: SchemeBench) -> None:
    before = hub.directory.version
    issued(hub, of_bank())
    assert hub.directory.version == before + 1


def test_a_participant_may_have_several_so_that_it_can_change_one(hub: SchemeBench) -> None:
    old, new = issued(hub, of_bank("old")), issued(hub, of_bank("new"))
    assert {each.participant for each in hub.directory.credentials.values()} == {BANK}
    hub.accept(RevokeCredential(credential_id=old))
    assert [each.credential_id for each in hub.directory.credentials.values()] == [new]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (of_bank(participant=FspId("nobody")), "3200", "participant not found"),
        (of_bank(participant=FspId("Hub")), "3100", "nobody else speaks for it"),
        (of_bank(roles=("read",)), "3100", "a participant has no roles"),
        (of_bank(name=""), "3100", "name must have"),
        (of_bank(name="x" * 65), "3100", "name must have"),
        (of_bank(name="a\nb"), "3100", "name must have"),
        (of_bank(expires_ms=START_MS), "3100", "expiresAt must be in the future"),
        (of_operator(roles=()), "3100", "roles must be of read, operate, finance, admin"),
        (of_operator(roles=("read", "root")), "3100", "roles must be of"),
        (of_operator(kind=CredentialKind.API_KEY), "3100", "an operator's credential is a TOKEN or a CERTIFICATE"),
    ],
)
def test_a_credential_that_breaks_a_rule_lets_nobody_in(
    hub: SchemeBench, command: IssueCredential, code: str, words: str
) -> None:
    refused = hub.refuse(command)
    assert refused[0] == code
    assert words in refused[1]
    assert hub.directory.credentials == {}


def test_what_somebody_shows_already_is_nobody_elses(hub: SchemeBench) -> None:
    issued(hub, of_bank())
    code, words, _ = hub.refuse(of_operator())
    assert code == "3000"
    assert "in use already" in words
    assert [each.participant for each in hub.directory.credentials.values()] == [BANK]


@pytest.mark.parametrize("ending", ["revoked", "expired"])
def test_a_certificate_whose_credential_has_ended_may_be_registered_anew(hub: SchemeBench, ending: str) -> None:
    first = issued(hub, of_bank(kind=CredentialKind.CERTIFICATE, expires_ms=START_MS + 10))
    if ending == "revoked":
        hub.accept(RevokeCredential(credential_id=first))
    else:
        hub.advance(10)
    second = issued(hub, of_bank(kind=CredentialKind.CERTIFICATE))
    assert hub.directory.credentials[digest("secret")].credential_id == second
    assert [each.credential_id for each in listed(hub, with_ended=True)] == [first, second]
    assert listed(hub, with_ended=True)[0].revoked_ms is not None


def test_a_digest_of_another_length_is_a_defect_of_ours(hub: SchemeBench) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        hub.run(of_bank(digest=b"secret"))


def test_a_command_that_is_printed_does_not_tell_the_digest() -> None:
    assert digest("secret").hex()[:8] not in repr(of_bank())
    assert repr(digest("secret"))[2:10] not in repr(of_bank())


# --- revoking ---------------------------------------------------------------------------------------------------


def test_a_revoked_credential_is_out_of_the_directory_at_once(hub: SchemeBench) -> None:
    number = issued(hub, of_bank())
    hub.accept(RevokeCredential(credential_id=number))
    assert hub.directory.credentials == {}


def test_revoking_again_changes_nothing(hub: SchemeBench) -> None:
    number = issued(hub, of_bank())
    hub.accept(RevokeCredential(credential_id=number))
    hub.advance(5)
    assert "already" in hub.accept(RevokeCredential(credential_id=number)).note
    assert listed(hub, with_ended=True)[0].revoked_ms == START_MS


def test_a_credential_that_never_was_cannot_be_revoked(hub: SchemeBench) -> None:
    assert hub.refuse(RevokeCredential(credential_id=17)) == (
        "3200",
        "Generic ID not found - there is no credential 17",
        400,
    )


def test_the_last_admin_is_not_revoked(hub: SchemeBench) -> None:
    first = issued(hub, of_operator("a", roles=("admin",)))
    issued(hub, of_operator("b", roles=("operate", "finance")))
    assert "the last admin's" in hub.refuse(RevokeCredential(credential_id=first))[1]
    assert living_admins(hub.directory, hub.now_ms) == {first}


def test_an_admin_that_has_expired_is_no_other_admin(hub: SchemeBench) -> None:
    first = issued(hub, of_operator("a", roles=("admin",)))
    issued(hub, of_operator("b", roles=("admin",), expires_ms=START_MS + 10))
    hub.advance(10)
    assert "the last admin's" in hub.refuse(RevokeCredential(credential_id=first))[1]


def test_an_admin_beside_another_is_revoked(hub: SchemeBench) -> None:
    first = issued(hub, of_operator("a", roles=("admin",)))
    second = issued(hub, of_operator("b", roles=("admin",)))
    hub.accept(RevokeCredential(credential_id=first))
    assert living_admins(hub.directory, hub.now_ms) == {second}


# --- reading ----------------------------------------------------------------------------------------------------


def test_the_list_shows_all_but_the_digest(hub: SchemeBench) -> None:
    number = issued(hub, of_operator(by="root", expires_ms=START_MS + 9))
    assert listed(hub) == [
        CredentialDetails(number, CredentialKind.TOKEN, None, "alice", ("read",), START_MS, "root", START_MS + 9, None)
    ]
    assert not any(isinstance(getattr(listed(hub)[0], field), bytes) for field in CredentialDetails.__struct_fields__)


def test_what_has_ended_is_listed_where_it_is_asked_for(hub: SchemeBench) -> None:
    revoked = issued(hub, of_bank("a"))
    expired = issued(hub, of_bank("b", expires_ms=START_MS + 10))
    living = issued(hub, of_bank("c", expires_ms=START_MS + 11))
    hub.accept(RevokeCredential(credential_id=revoked))
    hub.advance(10)
    assert [each.credential_id for each in listed(hub)] == [living]
    assert [each.credential_id for each in listed(hub, with_ended=True)] == [revoked, expired, living]


# --- roles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.READ, {Role.READ}),
        (Role.OPERATE, {Role.READ, Role.OPERATE}),
        (Role.FINANCE, {Role.READ, Role.FINANCE}),
        (Role.ADMIN, set(Role)),
    ],
)
def test_each_role_includes_reading_and_admin_includes_all(role: Role, may: set[Role]) -> None:
    assert {needed for needed in Role if allows(frozenset((role.value,)), needed)} == may


def test_roles_add_up() -> None:
    both = frozenset(("operate", "finance"))
    assert {needed for needed in Role if allows(both, needed)} == {Role.READ, Role.OPERATE, Role.FINANCE}


def test_without_a_role_nothing_is_allowed() -> None:
    assert not any(allows(frozenset(), needed) for needed in Role)
