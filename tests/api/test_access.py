"""Who may do what on the operators' API: each route by each role, and ``/credentials`` itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from tests.api.conftest import BenchHub
from tests.api.test_identity import FINGERPRINT, PEM, SUBJECT
from tests.switch.scheme_bench import START_MS, SchemeBench, new_transfer_id

from vuka.api.access import NEEDED_ROLES, access_warnings, needed_role
from vuka.api.admin import admin_app
from vuka.api.identity import certificate_digest, secret_digest
from vuka.config import Config, OperatorsApi, ParticipantsApi
from vuka.ids import FspId
from vuka.switch.access import CredentialKind, IssueCredential, RevokeCredential, Role, allows

WHO: dict[str, tuple[str, ...]] = {
    "reader": ("read",),
    "operator": ("operate",),
    "treasurer": ("finance",),
    "admin": ("admin",),
}


def token_of(name: str) -> str:
    return f"vuka_token-of-{name}"


def header(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(name)}"}


def error(answer: Response) -> tuple[int, str, str]:
    """Status, code and description of a refusal."""
    information = answer.json()["errorInformation"]
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, information["errorCode"], information["errorDescription"]


@pytest.fixture
def hub(bench: SchemeBench) -> BenchHub:
    """A hub that wants to know who operates it, and knows one of each role."""
    bench.onboard("payerfsp", "USD", cap="1000", funds="500")
    for name, roles in WHO.items():
        grant(bench, name, roles)
    hub = BenchHub(bench)
    hub.config = Config(operators_api=OperatorsApi(authentication="required"))
    return hub


def grant(bench: SchemeBench, name: str, roles: tuple[str, ...], **fields: Any) -> int:
    command = IssueCredential(
        kind=CredentialKind.TOKEN, digest=secret_digest(token_of(name)), name=name, roles=roles, **fields
    )
    number = bench.accept(command).value
    assert isinstance(number, int)
    return number


@pytest.fixture
def open_client(bench: SchemeBench) -> Iterator[TestClient]:
    """The operators' API of a hub that asks nobody, on the same scheme."""
    with TestClient(admin_app(BenchHub(bench)), raise_server_exceptions=False) as client:  # type: ignore[arg-type]
        yield client


# --- the table --------------------------------------------------------------------------------------------------------


def declared(hub: BenchHub) -> list[tuple[str, str]]:
    """Every path and method that the application has."""
    routes = admin_app(hub).routes  # type: ignore[arg-type]
    assert all(isinstance(route, Route) for route in routes)
    return [(route.path, method) for route in routes if isinstance(route, Route) for method in route.methods or ()]


def test_every_route_is_in_the_table(hub: BenchHub) -> None:
    """Whoever adds a route decides who may use it: until then it is the admins' alone."""
    missing = [
        (path, method)
        for path, method in declared(hub)
        if ("GET" if method == "HEAD" else method) not in NEEDED_ROLES.get(path, {})
    ]
    assert missing == []


def test_a_route_that_is_not_in_the_table_is_for_admins() -> None:
    assert needed_role("/something/new", "GET") is Role.ADMIN
    assert needed_role("/participants", "DELETE") is Role.ADMIN


def test_every_question_may_be_asked_by_whoever_may_read() -> None:
    roles = {path: methods["GET"] for path, methods in NEEDED_ROLES.items() if "GET" in methods}
    assert {path: role for path, role in roles.items() if role is not Role.READ} == {
        "/health": None,
        "/v2/health": None,
    }


ONLY_ASKING = frozenset(("/rules/quotes/try", "/rules/fees/try"))
"""What is POSTed because the question is too long for a URL: nothing is changed by it."""


def test_nothing_is_changed_by_whoever_may_only_read() -> None:
    changes = [
        role
        for path, methods in NEEDED_ROLES.items()
        for method, role in methods.items()
        if method != "GET" and path not in ONLY_ASKING
    ]
    assert changes
    assert set(changes) == {Role.OPERATE, Role.FINANCE, Role.ADMIN}


def test_each_route_lets_in_the_roles_of_the_table_and_no_others(hub: BenchHub) -> None:
    """Whoever may is answered by the route, which finds nothing in the request; whoever may not is 403."""
    app = admin_app(hub)  # type: ignore[arg-type]
    for route in app.routes:
        assert isinstance(route, Route)

        route.app = _answering(200)
    with TestClient(app, base_url="http://hub") as client:
        for path, method in declared(hub):
            url = re.sub(r"\{[^}]*\}", "7", path)
            needed = needed_role(path, method)
            for name, roles in WHO.items():
                answered = client.request(method, url, headers=header(name)).status_code
                may = needed is None or allows(roles, needed)
                assert answered == (200 if may else 403), f"{name}: {method} {path}"
            nobody = client.request(method, url).status_code
            assert nobody == (200 if needed is None else 401), f"nobody: {method} {path}"


def _answering(status: int) -> Any:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return app


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("POST", "/participants", "operate"),
        ("PUT", "/participants/payerfsp", "operate"),
        ("POST", "/participants/payerfsp/endpoints", "operate"),
        ("POST", "/oracle/parties", "operate"),
        ("POST", "/messages/1/resend", "operate"),
        ("POST", "/participants/payerfsp/initialPositionAndLimits", "finance"),
        ("PUT", "/participants/payerfsp/limits", "finance"),
        ("POST", "/participants/payerfsp/accounts/1", "finance"),
        ("PUT", "/participants/payerfsp/accounts/1/transfers/x", "finance"),
        ("POST", "/credentials", "admin"),
        ("DELETE", "/credentials/1", "admin"),
    ],
)
def test_what_changes_something_takes_the_role_that_answers_for_it(
    client: TestClient, method: str, path: str, role: str
) -> None:
    answer = client.request(method, path, headers=header("reader"))
    assert error(answer) == (
        403,
        "3000",
        f"Generic client error - this takes the role {role}; reader has read",
    )
    assert f'scope="{role}"' in answer.headers["www-authenticate"]


# --- who is known -----------------------------------------------------------------------------------------------------


def test_health_is_told_to_everybody(client: TestClient) -> None:
    assert client.get("/health").status_code == 200


def test_without_a_token_a_request_is_401(client: TestClient) -> None:
    answer = client.get("/participants")
    assert error(answer) == (401, "3000", "Generic client error - authentication is required")
    assert answer.headers["www-authenticate"] == 'Bearer realm="vuka"'


@pytest.mark.parametrize("authorization", ["Bearer vuka_nobodys", "Basic cmVhZGVyOnNlY3JldA==", "Bearer", "vuka_x"])
def test_a_token_of_nobody_is_401(client: TestClient, authorization: str) -> None:
    answer = client.get("/participants", headers={"Authorization": authorization})
    assert error(answer) == (401, "3000", "Generic client error - the credential is not valid, or no longer")
    assert answer.headers["www-authenticate"] == 'Bearer realm="vuka", error="invalid_token"'


def test_a_participants_token_operates_nothing(client: TestClient, bench: SchemeBench) -> None:
    grant(bench, "participant", (), participant=FspId("payerfsp"))
    assert client.get("/participants", headers=header("participant")).status_code == 401


def test_an_expired_token_is_401_from_the_millisecond_of_its_end(client: TestClient, bench: SchemeBench) -> None:
    grant(bench, "guest", ("read",), expires_ms=START_MS + 100)
    bench.advance(99)
    assert client.get("/participants", headers=header("guest")).status_code == 200
    bench.advance(1)
    assert client.get("/participants", headers=header("guest")).status_code == 401


def test_a_revoked_token_is_401_at_once(client: TestClient, bench: SchemeBench) -> None:
    number = grant(bench, "leaver", ("operate",))
    assert client.get("/participants", headers=header("leaver")).status_code == 200
    bench.accept(RevokeCredential(credential_id=number))
    assert client.get("/participants", headers=header("leaver")).status_code == 401


def test_two_tokens_are_401(client: TestClient) -> None:
    twice = [("Authorization", f"Bearer {token_of(name)}") for name in ("reader", "admin")]
    assert client.get("/participants", headers=twice).status_code == 401


def test_what_is_nowhere_is_404_for_whoever_is_known_and_401_for_others(client: TestClient) -> None:
    assert error(client.get("/nowhere", headers=header("reader")))[:2] == (404, "3002")
    assert client.get("/nowhere").status_code == 401
    assert error(client.delete("/participants", headers=header("reader")))[:2] == (405, "3000")


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_the_records_name_the_operator(client: TestClient, bench: SchemeBench) -> None:
    made = client.post("/participants", json={"name": "newfsp", "currency": "USD"}, headers=header("operator"))
    assert {each["createdBy"] for each in made.json()["accounts"]} == {"operator"}
    account = bench.account_id("payerfsp", "USD", "SETTLEMENT")
    transfer_id = new_transfer_id()[1]
    movement = {
        "transferId": transfer_id,
        "externalReference": "bank-1",
        "action": "recordFundsIn",
        "reason": "deposit",
        "amount": {"amount": 100, "currency": "USD"},
    }
    path = f"/participants/payerfsp/accounts/{account}"
    assert client.post(path, json=movement, headers=header("treasurer")).status_code == 202
    shown = client.get(f"/transfers/{transfer_id}", headers=header("reader")).json()
    assert shown["funds"]["createdBy"] == "treasurer"


def test_a_limit_and_an_endpoint_name_the_operator(client: TestClient, bench: SchemeBench) -> None:
    limit = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 7, "alarmPercentage": 10}}
    assert client.put("/participants/payerfsp/limits", json=limit, headers=header("treasurer")).status_code == 200
    endpoint = {"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://payer"}
    assert client.post("/participants/payerfsp/endpoints", json=endpoint, headers=header("admin")).status_code == 201
    assert bench.read(
        lambda tx, _ledger, _directory: [
            *tx.query("SELECT created_by FROM participant_limit WHERE is_active = 1"),
            *tx.query("SELECT created_by FROM endpoint"),
        ]
    ) == [("treasurer",), ("admin",)]


def test_every_change_is_logged_with_who_made_it_and_how_it_ended(client: TestClient) -> None:
    with capture_logs() as lines:
        client.put("/participants/payerfsp", json={"isActive": False}, headers=header("operator"))
        client.put("/participants/nobody", json={"isActive": False}, headers=header("operator"))
        client.get("/participants", headers=header("operator"))
    assert [(each["operator"], each["method"], each["path"], each["status"]) for each in lines] == [
        ("operator", "PUT", "/participants/payerfsp", 200),
        ("operator", "PUT", "/participants/nobody", 400),
    ]


def test_every_refusal_is_logged(client: TestClient) -> None:
    with capture_logs() as lines:
        client.get("/participants")
        client.post("/participants", headers=header("reader"))
    assert [each["event"] for each in lines] == ["nobody known is refused", "an operator is refused"]


# --- an open hub ------------------------------------------------------------------------------------------------------


def test_an_open_hub_asks_nobody(open_client: TestClient) -> None:
    made = open_client.post("/participants", json={"name": "newfsp", "currency": "USD"})
    assert made.status_code == 201
    assert {each["createdBy"] for each in made.json()["accounts"]} == {"operator"}


def test_an_open_hub_still_records_who_shows_a_token(open_client: TestClient, bench: SchemeBench) -> None:
    grant(bench, "alice", ("read",))
    made = open_client.post("/participants", json={"name": "newfsp", "currency": "USD"}, headers=header("alice"))
    assert {each["createdBy"] for each in made.json()["accounts"]} == {"alice"}


def test_an_open_hub_lets_a_token_of_nobody_pass(open_client: TestClient) -> None:
    assert open_client.get("/participants", headers=header("nobody")).status_code == 200


def test_an_open_hub_is_not_operated_by_pages_of_other_sites(open_client: TestClient) -> None:
    body = {"operator": "mallory", "roles": ["admin"]}
    answer = open_client.post("/credentials", json=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert error(answer) == (403, "3000", "Generic client error - a page of another site may not operate this hub")
    for own in ("same-origin", "same-site", "none"):
        assert open_client.post("/credentials", json=body, headers={"Sec-Fetch-Site": own}).status_code == 201


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        (OperatorsApi(), False),
        (OperatorsApi(host="::1"), False),
        (OperatorsApi(host="0.0.0.0"), True),
        (OperatorsApi(authentication="required"), True),
        (OperatorsApi(authentication="open", host="0.0.0.0"), False),
    ],
)
def test_auto_asks_nobody_on_loopback_and_everybody_elsewhere(settings: OperatorsApi, required: bool) -> None:
    assert settings.requires_authentication is required


def test_a_hub_says_which_of_its_apis_are_open(bench: SchemeBench) -> None:
    opened = list(access_warnings(Config(), bench.directory, START_MS))
    assert [each.partition(" on ")[0] for each in opened] == ["The participants' API", "The operators' API"]
    closed = Config(
        participants_api=ParticipantsApi(authentication="required"),
        operators_api=OperatorsApi(authentication="required"),
    )
    grant(bench, "admin", ("admin",))
    assert list(access_warnings(closed, bench.directory, START_MS)) == []


def test_a_hub_that_lets_no_admin_in_says_so(bench: SchemeBench) -> None:
    closed = Config(
        participants_api=ParticipantsApi(authentication="required"),
        operators_api=OperatorsApi(authentication="required"),
    )
    grant(bench, "guest", ("admin",), expires_ms=START_MS + 1)
    assert list(access_warnings(closed, bench.directory, START_MS)) == []
    (said,) = access_warnings(closed, bench.directory, START_MS + 1)
    assert "vuka access recover --data vuka-data" in said


# --- where alarms go --------------------------------------------------------------------------------------------------


def test_where_alarms_go_is_shown_whole_to_those_alone_who_may_set_it(
    client: TestClient, open_client: TestClient
) -> None:
    path, whole = "/participants/payerfsp/endpoints", "https://hooks.example.com/services/T0/B0/S3CRET?token=TOP"
    callback = {"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://payer.example/a/b/c?d=e"}
    alarms = {"type": "ALARM_NOTIFICATION_URL", "value": whole}
    short = {**alarms, "value": "https://hooks.example.com/services/(left out)"}
    for each in (callback, alarms):
        assert client.post(path, json=each, headers=header("operator")).status_code == 201
    for name, expected in (("reader", short), ("treasurer", short), ("operator", alarms), ("admin", alarms)):
        found = client.get(path, headers=header(name)).json()
        assert {each["type"]: each for each in found} == {each["type"]: each for each in (callback, expected)}
        assert client.get(path, params={"type": expected["type"]}, headers=header(name)).json() == expected
    assert alarms in open_client.get(path).json()


def test_where_a_notification_went_is_shown_whole_to_those_alone_who_may_set_it(
    client: TestClient, bench: SchemeBench
) -> None:
    with bench.database.begin() as tx:
        tx.run(
            """INSERT INTO notification (notification_id, kind, participant, currency, data, created_ms)
               VALUES (7, 'NET_DEBIT_CAP_ADJUSTMENT', 'payerfsp', 'USD', '{}', 1)"""
        )
        tx.run(
            """INSERT INTO notification_delivery
               (notification_id, delivery_no, channel, recipient, address, state, attempts, next_ms, updated_ms)
               VALUES (7, 1, 'webhook', 'payerfsp', 'https://hooks.example.com/services/S3CRET', 'PARKED', 1, 1, 1)"""
        )

    def addresses(name: str) -> set[str]:
        listed = client.get("/notifications", headers=header(name)).json()
        shown = client.get("/notifications/7", headers=header(name)).json()
        return {each["address"] for found in (*listed, shown) for each in found["deliveries"]}

    assert addresses("reader") == {"https://hooks.example.com/services/(left out)"}
    assert addresses("operator") == {"https://hooks.example.com/services/S3CRET"}


# --- /credentials -----------------------------------------------------------------------------------------------------


def test_a_token_is_told_once_and_never_again(client: TestClient, bench: SchemeBench) -> None:
    answer = client.post("/credentials", json={"operator": "alice", "roles": ["finance"]}, headers=header("admin"))
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    secret = made.pop("secret")
    assert re.fullmatch(r"vuka_[A-Za-z0-9_-]{43}", secret)
    assert made == {
        "credentialId": 5,
        "kind": "TOKEN",
        "operator": "alice",
        "roles": ["finance"],
        "createdDate": "2023-11-14T22:13:20.000Z",
        "createdBy": "admin",
        "expiresAt": None,
    }
    listed = client.get("/credentials", headers={"Authorization": f"Bearer {secret}"})
    assert listed.json()[-1] == made
    assert secret not in listed.text
    assert secret_digest(secret) in bench.directory.credentials


def test_the_secret_reaches_neither_the_tables_nor_the_log(client: TestClient, bench: SchemeBench) -> None:
    with capture_logs() as lines:
        made = client.post("/credentials", json={"participant": "payerfsp"}, headers=header("admin")).json()
    assert made["secret"] not in str(lines)
    assert secret_digest(made["secret"]).hex() not in str(lines)
    rows = bench.read(lambda tx, _ledger, _directory: tx.query("SELECT * FROM credential"))
    assert made["secret"] not in str(rows)


def test_two_tokens_are_never_the_same(client: TestClient) -> None:
    body = {"participant": "payerfsp"}
    made = {client.post("/credentials", json=body, headers=header("admin")).json()["secret"] for _ in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize(
    ("certificate", "identity", "name"),
    [
        (SUBJECT, f"subject:{SUBJECT}", SUBJECT),
        (FINGERPRINT.upper(), f"sha256:{FINGERPRINT}", FINGERPRINT),
        (PEM, f"sha256:{FINGERPRINT}", SUBJECT),
    ],
    ids=["subject", "fingerprint", "PEM"],
)
def test_a_certificate_is_registered_without_a_secret(
    client: TestClient, bench: SchemeBench, certificate: str, identity: str, name: str
) -> None:
    body = {"participant": "payerfsp", "kind": "CERTIFICATE", "certificate": certificate}
    made = client.post("/credentials", json=body, headers=header("admin")).json()
    assert (made["kind"], made["participant"], made["name"]) == ("CERTIFICATE", "payerfsp", name)
    assert "secret" not in made
    assert bench.directory.credentials[certificate_digest(identity)].participant == "payerfsp"


def test_a_credential_ends_when_it_was_told_to(client: TestClient) -> None:
    body = {"participant": "payerfsp", "kind": "API_KEY", "name": "gateway", "expiresAt": "2024-01-01T00:00:00.000Z"}
    made = client.post("/credentials", json=body, headers=header("admin")).json()
    assert (made["name"], made["expiresAt"]) == ("gateway", "2024-01-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("body", "expected", "words"),
    [
        ({}, (400, "3102"), "either participant or operator is required"),
        ({"participant": "payerfsp", "operator": "alice"}, (400, "3102"), "either participant or operator"),
        ({"participant": "nobody"}, (400, "3200"), "participant not found"),
        ({"operator": "alice"}, (400, "3100"), "roles must be of read, operate, finance, admin"),
        ({"operator": "alice", "roles": ["root"]}, (400, "3100"), "roles must be of"),
        (
            {"operator": "alice", "roles": ["read"], "kind": "API_KEY"},
            (400, "3100"),
            "operator's credential is a TOKEN",
        ),
        ({"operator": "alice", "roles": ["read"], "name": "a"}, (400, "3103"), "name is for a participant's"),
        ({"participant": "payerfsp", "kind": "PASSWORD"}, (400, "3100"), "Invalid enum value 'PASSWORD'"),
        ({"participant": "payerfsp", "kind": "CERTIFICATE"}, (400, "3102"), "certificate is required"),
        (
            {"participant": "payerfsp", "kind": "CERTIFICATE", "certificate": "bank-a"},
            (400, "3101"),
            "certificate must be a PEM, a SHA-256 fingerprint, a subject",
        ),
        ({"participant": "payerfsp", "certificate": "CN=a"}, (400, "3103"), "certificate is not for kind TOKEN"),
        ({"participant": "payerfsp", "expiresAt": "soon"}, (400, "3101"), "expiresAt must be a DateTime"),
        (
            {"participant": "payerfsp", "expiresAt": "2020-01-01T00:00:00.000Z"},
            (400, "3100"),
            "expiresAt must be in the future",
        ),
        ({"participant": "payerfsp", "secret": "mine"}, (400, "3100"), "unknown field `secret`"),
    ],
)
def test_a_credential_that_cannot_be_is_refused_naming_what_is_wrong(
    client: TestClient, body: dict[str, Any], expected: tuple[int, str], words: str
) -> None:
    status, code, description = error(client.post("/credentials", json=body, headers=header("admin")))
    assert (status, code) == expected
    assert words in description


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    assert error(client.post("/credentials", content=b"{", headers=header("admin")))[:2] == (400, "3101")


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    body = {"participant": "payerfsp", "name": "x" * 70_000}
    assert error(client.post("/credentials", json=body, headers=header("admin")))[:2] == (413, "3104")


def test_a_revoked_credential_lets_nobody_in_and_is_listed_only_on_request(client: TestClient) -> None:
    made = client.post("/credentials", json={"operator": "bob", "roles": ["read"]}, headers=header("admin")).json()
    bob = {"Authorization": f"Bearer {made['secret']}"}
    assert client.get("/credentials", headers=bob).status_code == 200
    assert client.delete(f"/credentials/{made['credentialId']}", headers=header("admin")).status_code == 204
    assert client.get("/credentials", headers=bob).status_code == 401
    assert "bob" not in client.get("/credentials", headers=header("reader")).text
    (row,) = [
        each
        for each in client.get("/credentials?ended=true", headers=header("reader")).json()
        if each.get("operator") == "bob"
    ]
    assert row["revokedAt"] == "2023-11-14T22:13:20.000Z"


def test_the_last_admin_cannot_lock_everybody_out(client: TestClient) -> None:
    listed = client.get("/credentials", headers=header("admin")).json()
    own = next(each["credentialId"] for each in listed if each["operator"] == "admin")
    status, code, description = error(client.delete(f"/credentials/{own}", headers=header("admin")))
    assert (status, code) == (400, "3000")
    assert "the last admin's" in description


@pytest.mark.parametrize(("path", "code"), [("/credentials/99", "3200"), ("/credentials/x", "3100")])
def test_a_credential_that_is_not_there_cannot_be_revoked(client: TestClient, path: str, code: str) -> None:
    assert error(client.delete(path, headers=header("admin")))[:2] == (400, code)
