"""Tokens of the scheme's own authorization server, by the client-credentials flow, on both APIs of a running hub."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.authorization_server import ISSUER, OPERATORS, PARTICIPANTS, AuthorizationServer, new_key
from tests.e2e.running import RunningHub, running
from tests.e2e.test_access import bearer, look_up, refusal

from vuka.cli.hub import make_admin_token
from vuka.httpclient import HttpClient, Request, Response
from vuka.sim.onboard import Operator
from vuka.sim.participant import now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = {"greenbank": "s3cret-of-greenbank", "pesapay": "s3cret-of-pesapay", "alice": "s3cret-of-alice"}


class Scheme:
    """A hub that believes an authorization server, and the clients that the server knows."""

    def __init__(self, hub: RunningHub, server: AuthorizationServer, client: HttpClient, token: str) -> None:
        self.hub = hub
        self.server = server
        self.client = client
        self.admin = Operator(client, hub.operators_url, token=token)

    async def token(self, name: str) -> str:
        """What a client gets for its secret."""
        given = base64.b64encode(f"{name}:{SECRETS[name]}".encode()).decode()
        headers = [("Authorization", f"Basic {given}"), ("Content-Type", "application/x-www-form-urlencoded")]
        url = f"{self.server.server.url}/token"
        answer = await self.client.send(Request("POST", url, headers, b"grant_type=client_credentials"))
        assert answer.status == 200, answer.body
        token: str = json.loads(answer.body)["access_token"]
        return token

    async def ask(self, source: str, *shown: tuple[str, str]) -> Response:
        """A lookup that says to be from ``source``."""
        return await look_up(self.client, self.hub, source, *shown)


NOT_VALID = (401, "3000", "Generic client error - the credential is not valid, or no longer")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scheme(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scheme]:
    server = AuthorizationServer()
    server.clients = {
        "greenbank": (SECRETS["greenbank"], {}),
        "pesapay": (SECRETS["pesapay"], {}),
        "alice": (SECRETS["alice"], {"aud": OPERATORS, "roles": ["operate"]}),
    }
    await server.server.start()
    client = HttpClient(timeout_ms=5_000)
    settings = {
        "PARTICIPANTS_API_AUTHENTICATION": "required",
        "OPERATORS_API_AUTHENTICATION": "required",
        "OAUTH_ISSUERS": ISSUER,
        "OAUTH_KEYS": server.keys_url,
        "OAUTH_PARTICIPANTS_AUDIENCE": PARTICIPANTS,
        "OAUTH_OPERATORS_AUDIENCE": OPERATORS,
    }
    async with running(tmp_path_factory.mktemp("tokens") / "hub", **settings) as hub:
        await hub.stop()
        token = make_admin_token(hub.config, by="test").read_text().strip()
        await hub.start()
        scheme = Scheme(hub, server, client, token)
        for name in ("greenbank", "pesapay"):
            await scheme.admin.do("POST", "/participants", {"name": name, "currency": "USD"})
        yield scheme
    await client.close()
    await server.server.stop()


async def test_a_participant_is_known_by_its_token_and_speaks_for_nobody_else(scheme: Scheme) -> None:
    token = await scheme.token("greenbank")
    assert (await scheme.ask("greenbank", bearer(token))).status == 202
    assert refusal(await scheme.ask("pesapay", bearer(token)))[:2] == (400, "3100")
    other = await scheme.admin.do("POST", "/credentials", {"participant": "pesapay", "kind": "API_KEY"})
    assert refusal(await scheme.ask("greenbank", bearer(token), ("X-Api-Key", other["secret"])))[:2] == (400, "3100")


async def test_an_operator_may_what_its_token_says_and_its_name_is_recorded(scheme: Scheme) -> None:
    alice = Operator(scheme.client, scheme.hub.operators_url, token=await scheme.token("alice"))
    await alice.do("POST", "/participants", {"name": "third", "currency": "USD"})
    assert "alice" in str(await scheme.admin.do("GET", "/participants/third"))
    status, said = await alice.call("POST", "/credentials", {"operator": "eve", "roles": ["admin"]})
    assert (status, "this takes the role admin; alice has operate" in str(said)) == (403, True)


async def test_neither_apis_token_lets_into_the_other(scheme: Scheme) -> None:
    assert refusal(await scheme.ask("greenbank", bearer(await scheme.token("alice")))) == NOT_VALID
    bank = Operator(scheme.client, scheme.hub.operators_url, token=await scheme.token("greenbank"))
    assert (await bank.call("GET", "/participants"))[0] == 401


async def test_a_token_that_has_expired_is_401(scheme: Scheme) -> None:
    token = scheme.server.token(client_id="greenbank", exp=now_ms() // 1000 - 60)
    assert refusal(await scheme.ask("greenbank", bearer(token))) == NOT_VALID


async def test_while_keys_are_fetched_a_token_is_answered_503_and_nothing_waits(
    scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    (issuer,) = scheme.hub.hub.tokens._issuers.values()  # type: ignore[union-attr]
    monkeypatch.setattr(issuer, "asked_ms", 0)
    scheme.server.keys.append(new_key("second"))
    token = scheme.server.token(client_id="greenbank")
    answer = await scheme.ask("greenbank", bearer(token))
    assert refusal(answer)[:2] == (503, "2003")
    assert answer.headers["retry-after"] == "1"
    assert issuer.asking is not None
    await issuer.asking
    assert (await scheme.ask("greenbank", bearer(token))).status == 202


async def test_no_secret_is_in_the_log_the_answers_or_the_files_of_a_hub_that_refuses(
    scheme: Scheme, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is shown and however wrong it is: refused requests tell nothing that lets anybody in."""
    good = await scheme.token("greenbank")
    key = (await scheme.admin.do("POST", "/credentials", {"participant": "greenbank", "kind": "API_KEY"}))["secret"]
    forged = good[:-8] + "AAAAAAAA"
    shown: list[tuple[str, list[tuple[str, str]]]] = [
        ("pesapay", [bearer(good)]),
        ("pesapay", [("X-Api-Key", key)]),
        ("greenbank", [bearer(forged)]),
        ("greenbank", [bearer("vuka_guessed-secret-0001")]),
        ("greenbank", [("X-Api-Key", "vuka_guessed-secret-0002")]),
        ("greenbank", [("Authorization", "Basic Z3Vlc3NlZDpzZWNyZXQ=")]),
        ("greenbank", [("Authorization", "Bearer guessed.secret.0003")]),
        ("greenbank", [bearer(good), ("X-Api-Key", "guessed-secret-0004")]),
        ("greenbank", [("Cookie", "session=guessed-secret-0005")]),
    ]
    answers: list[Any] = []
    with capture_logs() as lines, caplog.at_level(logging.DEBUG):
        for source, headers in shown:
            answer = await scheme.ask(source, *headers)
            assert answer.status in (400, 401)
            answers.append((answer.headers, answer.body))
            for _, value in headers:
                operator = Operator(scheme.client, scheme.hub.operators_url, token=value.rpartition(" ")[2])
                status, said = await operator.call("GET", "/credentials")
                assert status == 401
                answers.append(said)
    assert lines
    told = f"{lines} {caplog.text} {answers}"
    kept = b"".join(each.read_bytes() for each in scheme.hub.config.database_path.parent.glob("vuka.db*"))
    for secret in (good, forged, key, "guessed", good.rpartition(".")[2], "Z3Vlc3NlZD"):
        assert secret not in told
        assert secret.encode() not in kept
