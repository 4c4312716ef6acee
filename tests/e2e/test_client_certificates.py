"""Mutual TLS ended by the hub itself: whose certificate lets in what, on both listeners, and until when."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.authorization_server import ISSUER, OPERATORS, PARTICIPANTS, AuthorizationServer
from tests.certificates import Authority
from tests.cli.conftest import refused, vuka
from tests.e2e.running import RunningHub, running

from vuka.cli.hub import make_admin_token
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request, Response, TransportError
from vuka.sim.onboard import Operator
from vuka.sim.participant import now_ms

BANK_SUBJECT = "CN=greenbank,O=Greenbank Ltd,C=KE"
Files = tuple[Path, Path]


class Secured:
    """A hub that asks for client certificates of an authority, and an admin with a token."""

    def __init__(self, hub: RunningHub, authority: Authority, token: str) -> None:
        self.hub = hub
        self.authority = authority
        self.token = token

    def context(self, files: Files | None) -> ssl.SSLContext:
        """For a client that shows this certificate, or none."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if files is not None:
            context.load_cert_chain(*files)
        return context

    @asynccontextmanager
    async def client(self, files: Files | None = None) -> AsyncIterator[HttpClient]:
        client = HttpClient(timeout_ms=5_000, tls=self.context(files))
        yield client
        await client.close()

    async def admin(self, method: str, path: str, body: object | None = None) -> Any:
        async with self.client(self.authority.issue("admins-machine")) as client:
            return await Operator(client, self.hub.operators_url, token=self.token).do(method, path, body)

    async def ask(self, client: HttpClient, source: str, *shown: tuple[str, str]) -> Response:
        """A lookup that says to be from ``source``."""
        path = "/parties/MSISDN/254711000001"
        headers = hub_headers(
            "parties", Version.V1_1, method="GET", source=source, destination=None, uri=path, now_ms=now_ms()
        )
        return await client.send(Request("GET", self.hub.participants_url + path, [*headers, *shown]))

    async def asked(self, files: Files | None, source: str = "greenbank") -> Response:
        async with self.client(files) as client:
            return await self.ask(client, source)


def refusal(answer: Response) -> tuple[int, str, str]:
    information = json.loads(answer.body)["errorInformation"]
    return answer.status, information["errorCode"], information["errorDescription"]


@asynccontextmanager
async def secured_hub(directory: Path, **settings: str) -> AsyncIterator[Secured]:
    authority = Authority(directory)
    certificate, key = authority.issue("hub")
    variables = {
        f"{api}_API_{name}": str(value)
        for api in ("PARTICIPANTS", "OPERATORS")
        for name, value in (
            ("TLS_CERTIFICATE_FILE", certificate),
            ("TLS_KEY_FILE", key),
            ("CLIENT_CA_FILE", authority.file),
            ("CLIENT_CRL_FILE", authority.revoke()),
        )
    }
    async with running(directory / "data", **variables, **settings) as hub:
        await hub.stop()
        token = make_admin_token(hub.config, by="test").read_text().strip()
        await hub.start()
        secured = Secured(hub, authority, token)
        for name in ("greenbank", "pesapay"):
            await secured.admin("POST", "/participants", {"name": name, "currency": "USD"})
        yield secured


@pytest_asyncio.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    async with secured_hub(tmp_path) as secured:
        yield secured


def fingerprint(files: Files) -> str:
    der = ssl.PEM_cert_to_DER_cert(files[0].read_text())
    return hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("how", ["subject", "fingerprint", "pem", "cn", "dns"])
async def test_a_participant_is_known_by_the_certificate_of_its_connection(secured: Secured, how: str) -> None:
    files = secured.authority.issue("bank-files", "greenbank.example", subject=BANK_SUBJECT)
    registered = {
        "subject": BANK_SUBJECT,
        "fingerprint": fingerprint(files),
        "pem": files[0].read_text(),
        "cn": "cn:greenbank",
        "dns": "dns:GreenBank.example",
    }[how]
    body = {"participant": "greenbank", "kind": "CERTIFICATE", "certificate": registered}
    assert refusal(await secured.asked(files))[:2] == (401, "3000")
    made = await secured.admin("POST", "/credentials", body)
    assert (await secured.asked(files)).status == 202
    # Who it is is who it may speak for, and no other certificate of the same authority is.
    assert refusal(await secured.asked(files, "pesapay"))[:2] == (400, "3100")
    assert refusal(await secured.asked(secured.authority.issue("pesapay")))[:2] == (401, "3000")
    async with secured.client(files) as client:
        assert (await secured.ask(client, "greenbank")).status == 202
        await secured.admin("DELETE", f"/credentials/{made['credentialId']}")
        # On the same connection: a credential that is revoked ends at once.
        assert refusal(await secured.ask(client, "greenbank"))[:2] == (401, "3000")


async def test_an_operator_is_known_by_its_certificate_and_may_what_its_roles_allow(secured: Secured) -> None:
    files = secured.authority.issue("alice")
    body = {"operator": "alice", "kind": "CERTIFICATE", "certificate": "CN=alice", "roles": ["operate"]}
    made = await secured.admin("POST", "/credentials", body)
    async with secured.client(files) as client:
        alice = Operator(client, secured.hub.operators_url)
        assert (await alice.call("GET", "/participants"))[0] == 200
        assert (await alice.call("POST", "/participants", {"name": "third", "currency": "USD"}))[0] == 201
        status, said = await alice.call("POST", "/credentials", {"operator": "eve", "roles": ["admin"]})
        assert (status, "this takes the role admin; alice has operate" in str(said)) == (403, True)
        (logged,) = (await alice.do("GET", "/auditlog?who=alice"))["entries"]
        shown = {"kind": "operator", "name": "alice", "credential": made["credentialId"]}
        assert logged["content"]["who"] == shown
        # The person's token counts before the machine's certificate, a wrong one too.
        alice.token = "vuka_nobodys"
        assert (await alice.call("GET", "/participants"))[0] == 401
    # A participant's certificate operates nothing, and an operator's speaks for no participant.
    assert refusal(await secured.asked(files))[:2] == (401, "3000")
    bank = secured.authority.issue("greenbank")
    await secured.admin(
        "POST", "/credentials", {"participant": "greenbank", "kind": "CERTIFICATE", "certificate": "CN=greenbank"}
    )
    async with secured.client(bank) as client:
        assert (await Operator(client, secured.hub.operators_url).call("GET", "/participants"))[0] == 401


async def test_a_browser_with_an_operators_certificate_does_not_operate_for_pages_of_other_sites(
    secured: Secured,
) -> None:
    files = secured.authority.issue("alice")
    body = {"operator": "alice", "kind": "CERTIFICATE", "certificate": "CN=alice", "roles": ["operate"]}
    await secured.admin("POST", "/credentials", body)
    async with secured.client(files) as client:
        url = f"{secured.hub.operators_url}/auditlog/checkpoints"
        answer = await client.send(Request("POST", url, [("Sec-Fetch-Site", "cross-site")]))
        assert refusal(answer)[0] == 403
        assert "a page of another site may not operate this hub" in answer.body.decode()
        assert (await client.send(Request("POST", url, [("Sec-Fetch-Site", "same-origin")]))).status == 201
        # What shows a token was written by whoever has it, on whatever page.
        shown = [("Sec-Fetch-Site", "cross-site"), ("Authorization", f"Bearer {secured.token}")]
        assert (await client.send(Request("POST", url, shown))).status == 201


async def test_who_shows_no_certificate_may_show_a_token_where_certificates_are_optional(secured: Secured) -> None:
    assert refusal(await secured.asked(None)) == (401, "3000", "Generic client error - authentication is required")
    made = await secured.admin("POST", "/credentials", {"participant": "greenbank"})
    async with secured.client() as client:
        answer = await secured.ask(client, "greenbank", ("Authorization", f"Bearer {made['secret']}"))
    assert answer.status == 202


async def test_a_certificate_and_a_token_of_different_participants_are_refused(secured: Secured) -> None:
    files = secured.authority.issue("greenbank")
    await secured.admin(
        "POST", "/credentials", {"participant": "greenbank", "kind": "CERTIFICATE", "certificate": "CN=greenbank"}
    )
    made = await secured.admin("POST", "/credentials", {"participant": "pesapay"})
    async with secured.client(files) as client:
        answer = await secured.ask(client, "pesapay", ("Authorization", f"Bearer {made['secret']}"))
    assert refusal(answer)[:2] == (400, "3100")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("authority", "unable to get local issuer certificate|self-signed certificate"),
        ("expired", "certificate has expired"),
        ("revoked", "certificate revoked"),
    ],
)
async def test_a_certificate_that_will_not_do_is_refused_by_both_listeners_and_the_log_says_why(
    secured: Secured, tmp_path: Path, wrong: str, reason: str
) -> None:
    authority = secured.authority
    if wrong == "authority":
        (tmp_path / "other").mkdir()
        files = Authority(tmp_path / "other", "stranger").issue("greenbank")
    elif wrong == "expired":
        files = authority.issue("greenbank", valid=-datetime.timedelta(minutes=1))
    else:
        files = authority.issue("greenbank")
        authority.revoke(files[0])
    for url in (secured.hub.participants_url, secured.hub.operators_url):
        with capture_logs() as lines:
            async with secured.client(files) as client:
                with pytest.raises(TransportError):
                    await client.send(Request("GET", f"{url}/health"))
        told = [each["reason"] for each in lines if each["event"] == "a client's certificate is refused"]
        assert len(told) == 1
        assert any(each in told[0] for each in reason.split("|")), told


async def test_a_list_that_changes_ends_the_connections_that_came_before_it(secured: Secured) -> None:
    files = secured.authority.issue("greenbank")
    await secured.admin(
        "POST", "/credentials", {"participant": "greenbank", "kind": "CERTIFICATE", "certificate": "CN=greenbank"}
    )
    async with secured.client(files) as client:
        assert (await secured.ask(client, "greenbank")).status == 202
        secured.authority.revoke(files[0])
        async with secured.client(secured.authority.issue("pesapay")) as other:
            # Whoever connects next has the hub look at its files; else it looks by itself within a second.
            assert (await secured.ask(other, "pesapay")).status == 401
        with pytest.raises(TransportError):
            await secured.ask(client, "greenbank")


async def test_a_list_that_can_not_be_read_leaves_that_of_before_in_force(secured: Secured) -> None:
    files = secured.authority.issue("greenbank")
    crl = secured.authority.revoke(files[0])
    async with secured.client(files) as client:
        with pytest.raises(TransportError):
            await secured.ask(client, "greenbank")
    crl.write_text("no list")
    with capture_logs() as lines:
        async with secured.client(files) as client:
            with pytest.raises(TransportError):
                await secured.ask(client, "greenbank")
    assert any("those of before are used" in each["event"] for each in lines)


async def test_a_certificate_is_required_where_the_hub_says_so(tmp_path: Path) -> None:
    async with secured_hub(tmp_path, PARTICIPANTS_API_CLIENT_CERTIFICATE="required") as secured:
        with capture_logs() as lines:
            async with secured.client() as client:
                with pytest.raises(TransportError):
                    await client.send(Request("GET", f"{secured.hub.participants_url}/health"))
        assert any(each.get("reason") == "it shows no certificate" for each in lines)
        assert (await secured.asked(secured.authority.issue("greenbank"))).status == 401


async def test_commands_show_the_certificate_that_they_are_given(tmp_path: Path) -> None:
    async with secured_hub(tmp_path, OPERATORS_API_CLIENT_CERTIFICATE="required") as secured:
        url, ca_file = secured.hub.operators_url, str(secured.authority.file)
        certificate, key = secured.authority.issue("alice")
        body = {"operator": "alice", "kind": "CERTIFICATE", "certificate": "CN=alice", "roles": ["read"]}
        await secured.admin("POST", "/credentials", body)
        both = tmp_path / "alice-both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        ask = ("participant", "list", "--url", url)
        shown = await asyncio.to_thread(vuka, "--ca-file", ca_file, "--certificate", str(both), *ask)
        assert shown.exit_code == 0, shown.output
        assert "greenbank" in shown.output
        without = await asyncio.to_thread(vuka, "--ca-file", ca_file, *ask)
        assert (without.exit_code, "Perhaps it wants a certificate: ask an admin." in without.stderr) == (1, True)
        secured.authority.revoke(certificate)
        revoked = await asyncio.to_thread(vuka, "--ca-file", ca_file, "--certificate", str(both), *ask)
        assert revoked.exit_code == 1
        assert "Perhaps it does not believe the certificate of --certificate" in revoked.stderr
        said = await asyncio.to_thread(refused, "--ca-file", ca_file, "--certificate", str(certificate), *ask)
        assert "it must hold a certificate and its private key. See --certificate." in said


async def test_a_token_that_is_bound_to_a_certificate_lets_in_on_its_connections_alone(tmp_path: Path) -> None:
    """RFC 8705: whoever steals the token has nothing."""
    server = AuthorizationServer()
    keys = tmp_path / "keys.json"
    keys.write_bytes(server.key_set())
    oauth = {
        "OAUTH_ISSUERS": ISSUER,
        "OAUTH_KEYS": str(keys),
        "OAUTH_PARTICIPANTS_AUDIENCE": PARTICIPANTS,
        "OAUTH_OPERATORS_AUDIENCE": OPERATORS,
    }
    async with secured_hub(tmp_path, **oauth) as secured:
        files = secured.authority.issue("greenbank")
        digest = base64.urlsafe_b64encode(bytes.fromhex(fingerprint(files))).rstrip(b"=").decode()
        await secured.admin(
            "POST", "/credentials", {"participant": "greenbank", "kind": "CERTIFICATE", "certificate": "CN=greenbank"}
        )
        token = server.token(client_id="greenbank", cnf={"x5t#S256": digest})
        alice = server.token(aud=OPERATORS, sub="alice", roles=["read"], cnf={"x5t#S256": digest})
        for shown, statuses in ((files, (202, 200)), (None, (401, 401))):
            async with secured.client(shown) as client:
                answer = await secured.ask(client, "greenbank", ("Authorization", f"Bearer {token}"))
                operator = Operator(client, secured.hub.operators_url, token=alice)
                assert (answer.status, (await operator.call("GET", "/participants"))[0]) == statuses


async def test_a_renewed_certificate_of_the_hub_holds_from_the_next_connection_on(secured: Secured) -> None:
    async def shown() -> bytes:
        host, _, port = secured.hub.participants_url.removeprefix("https://").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=secured.context(None))
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return der

    before = await shown()
    renewed, _ = secured.authority.issue("hub")
    after = await shown()
    assert after != before
    assert hashlib.sha256(after).hexdigest() == fingerprint((renewed, renewed))
