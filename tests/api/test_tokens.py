"""Access tokens of authorization servers: which one lets whom in, and why another does not."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from tests.authorization_server import ISSUER, OPERATORS, PARTICIPANTS, AuthorizationServer, new_key

from vuka.api import tokens
from vuka.api.tokens import AccessTokens, KeysPendingError, TokenError, access_tokens
from vuka.config import Config, OAuth, OperatorsApi, ParticipantsApi
from vuka.errors import OperatorError

RSA = new_key("rsa", "RSA")


class Clock:
    """The machine's time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def __call__(self) -> int:
        return (int(time.time()) + self.ahead_s) * 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server() -> AsyncIterator[AuthorizationServer]:
    server = AuthorizationServer()
    await server.server.start()
    yield server
    await server.server.stop()


def checker(server: AuthorizationServer, clock: Clock, directory: Path, **settings: Any) -> AccessTokens:
    """One that has the server's keys from a file."""
    file = directory / "keys.json"
    file.write_bytes(server.key_set())
    return AccessTokens(OAuth(**({"keys": str(file)} | BASE | settings)), clock)


BASE = {"issuers": ISSUER, "participants_audience": PARTICIPANTS, "operators_audience": OPERATORS}


@pytest.fixture
def known(server: AuthorizationServer, clock: Clock, tmp_path: Path) -> AccessTokens:
    return checker(server, clock, tmp_path)


def refused(check: AccessTokens, token: str) -> str:
    with pytest.raises(TokenError) as caught:
        check.participant(token)
    assert not isinstance(caught.value, KeysPendingError)
    return str(caught.value)


# --- participants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256"])
def test_a_token_says_which_participant_it_is_of(alg: str, clock: Clock, tmp_path: Path) -> None:
    server = AuthorizationServer(None if alg == "ES256" else RSA)
    check = checker(server, clock, tmp_path)
    assert check.participant(server.token(alg=alg, client_id="greenbank")) == "greenbank"
    assert check.participant(server.token(alg=alg, client_id="greenbank", aud=["x", PARTICIPANTS])) == "greenbank"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://login.elsewhere.example"}, "an issuer that oauth.issuers does not name"),
        ({"iss": None}, "an issuer that oauth.issuers does not name"),
        ({"aud": OPERATORS}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"exp": None}, "without an end"),
        ({"exp": "tomorrow"}, "whose exp is no time"),
        ({"exp": True}, "whose exp is no time"),
        ({"exp": -1}, "whose exp is no time"),
        ({"nbf": "tomorrow"}, "whose nbf is no time"),
        ({"client_id": None}, "without the claim client_id"),
        ({"client_id": ["greenbank"]}, "without the claim client_id"),
        ({"client_id": "Hub"}, "of the hub itself"),
    ],
)
def test_a_token_whose_claims_will_not_do_lets_nobody_in(
    server: AuthorizationServer, known: AccessTokens, claims: dict[str, Any], reason: str
) -> None:
    assert reason in refused(known, server.token(**{"client_id": "greenbank", **claims}))


@pytest.mark.parametrize(
    ("name", "inside_s", "outside_s", "reason"),
    [("exp", -25, -35, "expired"), ("nbf", 25, 3_600, "nbf lies ahead"), ("iat", 25, 3_600, "iat lies ahead")],
)
def test_times_hold_with_the_leeway_and_no_further(
    server: AuthorizationServer, known: AccessTokens, name: str, inside_s: int, outside_s: int, reason: str
) -> None:
    now = int(time.time())
    claims: dict[str, Any] = {"client_id": "greenbank"}
    assert known.participant(server.token(**claims, **{name: now + inside_s})) == "greenbank"
    assert reason in refused(known, server.token(**claims, **{name: now + outside_s}))


def test_a_token_that_is_remembered_ends_when_it_ends(
    server: AuthorizationServer, known: AccessTokens, clock: Clock
) -> None:
    token = server.token(client_id="greenbank")
    assert known.participant(token) == "greenbank"
    clock.ahead_s = 320
    assert known.participant(token) == "greenbank"
    clock.ahead_s = 331
    assert refused(known, token) == "a token that has expired"


def test_a_token_is_checked_once_and_no_more_are_remembered_than_may_be(
    server: AuthorizationServer, known: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    check = known._check

    def counting(token: str, audience: str, now_ms: int) -> Any:
        checked.append(token)
        return check(token, audience, now_ms)

    monkeypatch.setattr(known, "_check", counting)
    monkeypatch.setattr(tokens, "TOKENS_KEPT_MAX", 2)
    first, second, third = (server.token(client_id="greenbank", jti=str(number)) for number in range(3))
    for token in (first, second, first, third, first, second):
        known.participant(token)
    assert checked == [first, second, third, second]


# --- signatures -------------------------------------------------------------------------------------------------------


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_without_a_signature_is_never_one(server: AuthorizationServer, known: AccessTokens) -> None:
    claims = server.token(client_id="greenbank").split(".")[1]
    for alg in ("none", "None", "NONE", ""):
        assert "alg is not allowed" in refused(known, f"{_part({'alg': alg})}.{claims}.")


def test_the_public_key_is_no_shared_secret(clock: Clock, tmp_path: Path) -> None:
    server = AuthorizationServer(RSA)
    check = checker(server, clock, tmp_path)
    assert isinstance(RSA, RSAKey)
    claims = server.token(alg="RS256", client_id="greenbank").split(".")[1]
    signed = f"{_part({'alg': 'HS256', 'kid': 'rsa'})}.{claims}"
    signature = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    forged = f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert "alg is not allowed" in refused(check, forged)


def test_a_signature_of_another_key_of_that_name_is_refused(server: AuthorizationServer, known: AccessTokens) -> None:
    server.keys = [new_key("first")]
    assert refused(known, server.token(client_id="greenbank")) == f"a token whose signature is not of {ISSUER}"


def test_a_token_that_was_changed_is_refused(server: AuthorizationServer, known: AccessTokens) -> None:
    header, _, signature = server.token(client_id="greenbank").split(".")
    claims = server.token(client_id="pesapay").split(".")[1]
    assert "signature" in refused(known, f"{header}.{claims}.{signature}")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "RS512"}, "alg is not allowed"),
        ({"typ": "logout+jwt"}, "not that of an access token"),
        ({"crit": ["b64"], "b64": False}, "not that of an access token"),
        ({"kid": 7}, "not that of an access token"),
        ({"kid": "another"}, "a key that"),
        ({"alg": "RS256"}, "a key that"),
    ],
)
def test_a_header_that_will_not_do_is_refused(
    server: AuthorizationServer, known: AccessTokens, header: dict[str, Any], reason: str
) -> None:
    _, claims, signature = server.token(client_id="greenbank").split(".")
    made = {"alg": "ES256", "kid": "first", **header}
    assert reason in refused(known, f"{_part(made)}.{claims}.{signature}")


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c", "..", "é.é.é", "W10.W10.W10", "bnVsbA.bnVsbA.x", "a" * 9_000]
)
def test_what_is_no_token_is_refused_and_never_an_accident(known: AccessTokens, token: str) -> None:
    assert refused(known, token)


def test_a_key_without_a_name_serves_where_it_is_the_only_one(clock: Clock, tmp_path: Path) -> None:
    server = AuthorizationServer()
    check = checker(server, clock, tmp_path)
    token = server.token(client_id="greenbank", header={"kid": None})
    assert check.participant(token) == "greenbank"
    server.keys.append(new_key("second"))
    assert "does not say with which key" in refused(checker(server, clock, tmp_path), token)


@pytest.mark.parametrize("parameters", [{"use": "enc"}, {"alg": "ES512"}])
def test_a_key_for_something_else_signs_no_tokens(clock: Clock, tmp_path: Path, parameters: dict[str, str]) -> None:
    server = AuthorizationServer()
    server.keys.append(new_key("second", **parameters))
    check = checker(server, clock, tmp_path)
    server.keys[-1] = new_key("second")
    assert "a key that" in refused(check, server.token(client_id="greenbank"))


# --- operators --------------------------------------------------------------------------------------------------------


def test_an_operator_has_the_roles_of_its_claim(server: AuthorizationServer, known: AccessTokens) -> None:
    found = known.operator(server.token(aud=OPERATORS, sub="alice", roles=["finance", "read", "root"]))
    assert (found.name, found.roles) == ("alice", {"finance", "read"})


def test_roles_may_lie_deep_have_other_names_and_be_a_text(
    server: AuthorizationServer, clock: Clock, tmp_path: Path
) -> None:
    check = checker(
        server, clock, tmp_path, roles_claim="realm_access.roles", roles="hub-staff=operate, hub-root=admin"
    )
    token = server.token(aud=OPERATORS, sub="bob", realm_access={"roles": ["hub-staff", "admin"]})
    assert check.operator(token).roles == {"operate"}
    check = checker(server, clock, tmp_path, roles_claim="scope", operator_claim="email")
    token = server.token(aud=OPERATORS, email="eve@scheme.example", scope="openid read")
    assert (check.operator(token).name, check.operator(token).roles) == ("eve@scheme.example", {"read"})


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"sub": "alice"}, "no role of this hub"),
        ({"sub": "alice", "roles": ["root", 7]}, "no role of this hub"),
        ({"sub": "alice", "roles": {"admin": True}}, "no role of this hub"),
        ({"sub": None, "roles": ["admin"]}, "is no name"),
        ({"sub": "a\nb", "roles": ["admin"]}, "is no name"),
        ({"sub": "x" * 65, "roles": ["admin"]}, "is no name"),
        ({"sub": "alice", "roles": ["admin"], "aud": PARTICIPANTS}, "another audience"),
    ],
)
def test_who_has_no_role_operates_nothing(
    server: AuthorizationServer, known: AccessTokens, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TokenError, match=reason):
        known.operator(server.token(**{"aud": OPERATORS, **claims}))


def test_clients_may_stand_for_participants_of_other_names(
    server: AuthorizationServer, clock: Clock, tmp_path: Path
) -> None:
    check = checker(server, clock, tmp_path, participant_claim="azp", participants="client-17=greenbank,a=b=pesapay")
    assert check.participant(server.token(azp="client-17")) == "greenbank"
    assert check.participant(server.token(azp="a=b")) == "pesapay"
    assert "which oauth.participants does not name" in refused(check, server.token(azp="greenbank"))


def test_a_token_that_is_bound_to_a_certificate_is_for_whoever_shows_it(
    server: AuthorizationServer, known: AccessTokens
) -> None:
    shown, other = "ab" * 32, "cd" * 32
    bound = base64.urlsafe_b64encode(bytes.fromhex(shown)).rstrip(b"=").decode()
    token = server.token(client_id="greenbank", cnf={"x5t#S256": bound})
    assert known.participant(token, shown) == "greenbank"
    for wrong in (other, ""):
        with pytest.raises(TokenError, match="bound to a certificate which its bearer does not show"):
            known.participant(token, wrong)
    operators = server.token(aud=OPERATORS, sub="alice", roles=["read"], cnf={"x5t#S256": bound})
    assert known.operator(operators, shown).name == "alice"
    with pytest.raises(TokenError, match="does not show"):
        known.operator(operators)


@pytest.mark.parametrize("bound", [{"jkt": "x"}, {}, "x", {"x5t#S256": 7}, {"x5t#S256": "x", "jkt": "x"}, []])
def test_a_token_that_is_bound_to_something_else_is_for_nobody(
    bound: object, server: AuthorizationServer, known: AccessTokens
) -> None:
    with pytest.raises(TokenError, match="bound to what the hub does not ask for"):
        known.participant(server.token(client_id="greenbank", cnf=bound), "ab" * 32)


OTHER = "https://login.other.example"


@pytest.fixture
def two(clock: Clock, tmp_path: Path) -> Callable[..., AccessTokens]:
    """Checks tokens of two servers that have a key of the same name each."""

    def made(*servers: AuthorizationServer, **settings: str) -> AccessTokens:
        files = [tmp_path / "first.json", tmp_path / "second.json"]
        for file, server in zip(files, servers, strict=True):
            file.write_bytes(server.key_set())
        keys = ",".join(map(str, files))
        return AccessTokens(OAuth(**(BASE | {"issuers": f"{ISSUER},{OTHER}", "keys": keys} | settings)), clock)

    return made


def test_one_issuer_signs_nothing_of_another(server: AuthorizationServer, two: Callable[..., AccessTokens]) -> None:
    other = AuthorizationServer()
    check = two(server, other)
    assert check.participant(other.token(iss=OTHER, client_id="pesapay")) == "pesapay"
    assert f"not of {ISSUER}" in refused(check, other.token(iss=ISSUER, client_id="greenbank"))


def test_an_issuer_speaks_for_those_participants_that_are_said_to_be_its_own(
    server: AuthorizationServer, two: Callable[..., AccessTokens]
) -> None:
    other = AuthorizationServer()
    participants = f"{ISSUER} client-1=greenbank,{OTHER} client-1=pesapay,{OTHER} client-2=duka,both=shared"
    check = two(server, other, participants=participants)
    assert check.participant(server.token(client_id="client-1")) == "greenbank"
    assert check.participant(other.token(iss=OTHER, client_id="client-1")) == "pesapay"
    assert "does not name" in refused(check, server.token(client_id="client-2"))
    # What an issuer writes into its claim is no other issuer.
    assert "does not name" in refused(check, server.token(client_id=f"{OTHER} client-2"))
    assert check.participant(server.token(client_id="both")) == "shared"
    assert check.participant(other.token(iss=OTHER, client_id="both")) == "shared"


def test_an_issuer_gives_those_roles_that_it_is_said_to_give(
    server: AuthorizationServer, two: Callable[..., AccessTokens]
) -> None:
    other = AuthorizationServer()
    check = two(server, other, roles=f"{ISSUER} boss=admin,{ISSUER} boss=finance,staff=read")
    said = {"aud": OPERATORS, "sub": "alice", "roles": ["boss", "staff"]}
    assert check.operator(server.token(**said)).roles == {"admin", "finance", "read"}
    assert check.operator(other.token(iss=OTHER, **said)).roles == {"read"}


def test_an_operator_of_one_issuer_does_not_act_in_the_name_of_anothers(
    server: AuthorizationServer, two: Callable[..., AccessTokens]
) -> None:
    other = AuthorizationServer()
    check = two(server, other)
    said = {"aud": OPERATORS, "sub": "alice", "roles": ["read"]}
    assert check.operator(server.token(**said)).name == f"alice ({ISSUER})"
    assert check.operator(other.token(iss=OTHER, **said)).name == f"alice ({OTHER})"


def test_an_api_without_an_audience_takes_no_tokens(server: AuthorizationServer, clock: Clock, tmp_path: Path) -> None:
    check = checker(server, clock, tmp_path, participants_audience="")
    assert "takes none" in refused(check, server.token(client_id="greenbank", aud=""))


# --- keys that are fetched --------------------------------------------------------------------------------------------


async def fetching(server: AuthorizationServer, clock: Clock, **settings: Any) -> AccessTokens:
    check = AccessTokens(OAuth(**({"keys": server.keys_url} | BASE | settings)), clock)
    await check.start()
    return check


async def test_keys_are_fetched_at_the_start_and_another_when_it_is_first_seen(
    server: AuthorizationServer, clock: Clock
) -> None:
    check = await fetching(server, clock)
    assert check.participant(server.token(client_id="greenbank")) == "greenbank"
    server.keys.append(new_key("second"))
    clock.ahead_s = 31
    token = server.token(client_id="greenbank")
    with pytest.raises(KeysPendingError):
        check.participant(token)
    await asyncio.wait_for(_asked(check), 5)
    assert check.participant(token) == "greenbank"
    assert server.asked == 2
    await check.close()


async def _asked(check: AccessTokens) -> None:
    """Until what is being fetched has come."""
    (issuer,) = check._issuers.values()
    assert issuer.asking is not None
    await issuer.asking


async def test_keys_that_nobody_has_are_asked_for_no_oftener_than_may_be(
    server: AuthorizationServer, clock: Clock
) -> None:
    check = await fetching(server, clock)
    for number in range(20):
        assert "a key that" in refused(check, server.token(client_id="greenbank", header={"kid": f"guess-{number}"}))
    assert server.asked == 1
    await check.close()


async def test_a_key_that_is_withdrawn_counts_no_longer_for_tokens_that_are_remembered_either(
    server: AuthorizationServer, clock: Clock
) -> None:
    check = await fetching(server, clock)
    token = server.token(client_id="greenbank")
    assert check.participant(token) == "greenbank"
    server.keys = [new_key("second")]
    clock.ahead_s = 31
    with pytest.raises(KeysPendingError):
        check.participant(server.token(client_id="greenbank"))
    await asyncio.wait_for(_asked(check), 5)
    assert "a key that" in refused(check, token)
    await check.close()


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_server_that_does_not_tell_its_keys_is_asked_again_and_those_of_before_stay(
    server: AuthorizationServer, clock: Clock, status: int
) -> None:
    check = await fetching(server, clock)
    token = server.token(client_id="greenbank")
    server.status = status
    server.keys.append(new_key("second"))
    clock.ahead_s = 31
    with pytest.raises(KeysPendingError):
        check.participant(server.token(client_id="greenbank"))
    await asyncio.wait_for(_asked(check), 5)
    assert check.participant(token) == "greenbank"
    await check.close()


async def test_an_issuer_that_withdraws_all_its_keys_has_none(server: AuthorizationServer, clock: Clock) -> None:
    check = await fetching(server, clock)
    token = server.token(client_id="greenbank")
    assert check.participant(token) == "greenbank"
    unknown = server.token(client_id="greenbank", header={"kid": "unknown"})
    server.keys = []
    clock.ahead_s = 31
    with pytest.raises(KeysPendingError):
        check.participant(unknown)
    await asyncio.wait_for(_asked(check), 5)
    assert "a key that" in refused(check, token)
    await check.close()


def test_a_file_whose_keys_are_all_withdrawn_has_none_and_half_a_file_changes_nothing(
    server: AuthorizationServer, clock: Clock, tmp_path: Path
) -> None:
    check = checker(server, clock, tmp_path)
    token, file = server.token(client_id="greenbank"), tmp_path / "keys.json"
    (issuer,) = check._issuers.values()
    file.write_bytes(server.key_set()[:40])
    with pytest.raises(OperatorError):
        check._read_file(issuer)
    assert check.participant(token) == "greenbank"
    file.write_text('{"keys": []}')
    check._read_file(issuer)
    assert "a key that" in refused(check, token)


async def test_a_server_that_was_out_of_reach_when_keys_were_due_is_asked_again_soon(
    server: AuthorizationServer, clock: Clock
) -> None:
    server.status = 500
    check = await fetching(server, clock, refresh_seconds=1, refresh_seconds_min=1)
    (issuer,) = check._issuers.values()
    server.status = 200
    await check._fetch(issuer)
    token = server.token(client_id="greenbank")
    assert check.participant(token) == "greenbank"
    # Due, and not told: it is due for as long as it was not told.
    clock.ahead_s, server.status = 5, 500
    await check._fetch(issuer)
    assert check._is_due(issuer)
    server.status = 200
    await check._fetch(issuer)
    assert not check._is_due(issuer)
    await check.close()


async def test_while_no_key_has_ever_come_nobody_is_told_that_its_token_is_wrong(
    server: AuthorizationServer, clock: Clock
) -> None:
    server.status = 503
    check = await fetching(server, clock)
    with pytest.raises(KeysPendingError):
        check.participant(server.token(client_id="greenbank"))
    await check.close()


# --- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"issuers": f"{ISSUER},https://other.example"}, "a file or URL for each of oauth.issuers"),
        ({"issuers": f"{ISSUER},{ISSUER}", "keys": "a,b"}, "a file or URL for each"),
        ({"keys": ""}, "a file or URL for each"),
        ({"keys": "http://login.example/keys"}, "must be a URL of https"),
        ({"keys": "https://[x/keys"}, "must be a URL of https"),
        ({"keys": "https://me:secret@login.example/keys"}, "a URL with a user name or a password"),
        ({"keys": "none.json"}, "none.json can't be read: No such file"),
        ({"participants": "greenbank"}, "oauth.participants must hold pairs"),
        ({"roles": "staff=root"}, "oauth.roles names root: roles are read, operate, finance, admin"),
        ({"participants_audience": "", "operators_audience": ""}, "participants_audience or oauth.operators_audience"),
        ({"operators_audience": PARTICIPANTS}, "a participant's token would be an operator's too"),
        ({"participants": "a=greenbank,a=pesapay"}, "says of a that it is greenbank and that it is pesapay"),
        ({"participants": "https://x.example a=greenbank"}, "https://x.example, which oauth.issuers does not name"),
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused_at_the_start(
    settings: dict[str, str], words: str, known: AccessTokens, tmp_path: Path, clock: Clock
) -> None:
    oauth = OAuth(**({"keys": str(tmp_path / "keys.json")} | BASE | settings))
    with pytest.raises(OperatorError) as caught:
        access_tokens(_asking(oauth), clock)
    assert words in str(caught.value)


def _asking(oauth: OAuth) -> Config:
    asked = "required"
    return Config(
        oauth=oauth,
        participants_api=ParticipantsApi(authentication=asked),
        operators_api=OperatorsApi(authentication=asked),
    )


def test_tokens_for_an_api_that_asks_nobody_are_refused_at_the_start(clock: Clock) -> None:
    with pytest.raises(OperatorError, match=r"Say participants_api\.authentication = required"):
        access_tokens(Config(oauth=OAuth(keys="keys.json", **BASE)), clock)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "{"]
)
def test_a_file_without_a_usable_key_is_refused_at_the_start(content: str, tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(OperatorError, match=r"keys\.json will not do: it .* See oauth\.keys"):
        AccessTokens(OAuth(keys=str(file), **BASE), clock)


def test_without_issuers_there_is_nothing_to_check(clock: Clock) -> None:
    assert access_tokens(Config(), clock) is None
