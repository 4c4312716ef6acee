"""Keys on the operators' API: a participant's messages are its own as long as its key is registered."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from tests.api.conftest import BenchHub
from tests.switch.scheme_bench import SchemeBench

from vuka.fspiop.jws import ES256, RS256, PrivateKey
from vuka.switch.keys import KEYS_MAX

KEY, OTHER = PrivateKey.generate(ES256).public, PrivateKey.generate(RS256).public
KEYS = "/participants/greenbank/keys"
SIGNATURES = "/participants/greenbank/signatures"


@pytest.fixture(autouse=True)
def greenbank(client: TestClient) -> None:
    assert client.post("/participants", json={"name": "greenbank", "currency": "USD"}).status_code == 201


def error_of(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["errorInformation"]["errorCode"]  # type: ignore[attr-defined]


def add(client: TestClient, pem: str = KEY.pem) -> None:
    assert client.post(KEYS, json={"publicKey": pem}).status_code == 201


def active(hub: BenchHub) -> list[str]:
    """The fingerprints with which greenbank's messages are checked."""
    return [key.fingerprint for key in hub.directory.participants["greenbank"].signing_keys]


def test_a_key_that_is_registered_is_shown_and_used(client: TestClient, hub: BenchHub) -> None:
    made = client.post(KEYS, json={"publicKey": KEY.pem}).json()
    assert {**made, "createdDate": ""} == {
        "algorithm": "ES256",
        "fingerprint": KEY.fingerprint,
        "isActive": 1,
        "createdDate": "",
        "createdBy": "operator",
        "publicKey": KEY.pem,
    }
    assert client.get(KEYS).json() == [made]
    assert active(hub) == [KEY.fingerprint]


def test_the_same_key_again_changes_nothing(client: TestClient, hub: BenchHub) -> None:
    add(client)
    add(client)
    assert active(hub) == [KEY.fingerprint]


def test_keys_overlap_while_they_are_changed(client: TestClient, hub: BenchHub) -> None:
    add(client)
    add(client, OTHER.pem)
    assert active(hub) == [OTHER.fingerprint, KEY.fingerprint]
    assert client.delete(f"{KEYS}/{KEY.fingerprint.upper()}").status_code == 204
    assert active(hub) == [OTHER.fingerprint]
    retired = client.get(KEYS).json()[1]
    assert (retired["isActive"], "retiredDate" in retired) == (0, True)


def test_a_retired_key_may_come_back(client: TestClient, hub: BenchHub) -> None:
    add(client)
    client.delete(f"{KEYS}/{KEY.fingerprint}")
    assert active(hub) == []
    add(client)
    assert active(hub) == [KEY.fingerprint]


def test_what_is_no_key_is_refused_with_the_reason(client: TestClient) -> None:
    answer = client.post(KEYS, json={"publicKey": "x"})
    assert error_of(answer) == (400, "3100")
    assert "not a public key" in answer.json()["errorInformation"]["errorDescription"]
    assert error_of(client.post(KEYS, json={})) == (400, "3102")
    assert error_of(client.post(KEYS, json={"publicKey": KEY.pem, "more": 1})) == (400, "3103")


def test_a_private_key_is_never_taken(client: TestClient, hub: BenchHub) -> None:
    answer = client.post(KEYS, json={"publicKey": PrivateKey.generate(ES256).to_pem().decode()})
    assert error_of(answer) == (400, "3100")
    assert active(hub) == []


def test_a_key_that_is_not_in_use_can_not_be_retired(client: TestClient) -> None:
    assert error_of(client.delete(f"{KEYS}/{KEY.fingerprint}")) == (400, "3200")


def test_keys_are_bounded(client: TestClient, bench: SchemeBench) -> None:
    for _ in range(KEYS_MAX):
        add(client, PrivateKey.generate(ES256).public.pem)
    assert error_of(client.post(KEYS, json={"publicKey": KEY.pem})) == (400, "3000")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "keys", None),
        ("POST", "keys", {"publicKey": KEY.pem}),
        ("DELETE", f"keys/{KEY.fingerprint}", None),
        ("GET", "signatures", None),
        ("PUT", "signatures", {"signatures": "OFF"}),
    ],
    ids=["list", "add", "retire", "ask", "set"],
)
def test_a_participant_that_is_not_there_is_3200(client: TestClient, method: str, path: str, body: object) -> None:
    assert error_of(client.request(method, f"/participants/nobody/{path}", json=body)) == (400, "3200")


def test_a_participant_signs_as_the_deployment_has_it_unless_it_is_set_apart(client: TestClient) -> None:
    assert client.get(SIGNATURES).json() == {"name": "greenbank", "signatures": None, "effective": "OFF"}
    add(client)
    for choice in ("REQUIRED", "OFF"):
        answer = client.put(SIGNATURES, json={"signatures": choice})
        assert answer.json() == {"name": "greenbank", "signatures": choice, "effective": choice}
    assert client.put(SIGNATURES, json={"signatures": None}).json()["signatures"] is None


def test_nobody_must_sign_without_a_key(client: TestClient) -> None:
    assert error_of(client.put(SIGNATURES, json={"signatures": "REQUIRED"})) == (400, "3000")
    add(client)
    client.put(SIGNATURES, json={"signatures": "REQUIRED"})
    assert error_of(client.delete(f"{KEYS}/{KEY.fingerprint}")) == (400, "3000")


@pytest.mark.parametrize("choice", ["MAYBE", "", 1, ["OFF"]])
def test_there_is_no_other_choice(client: TestClient, choice: object) -> None:
    assert error_of(client.put(SIGNATURES, json={"signatures": choice}))[0] == 400


def test_the_hubs_key_is_told_where_it_signs(client: TestClient, hub: BenchHub) -> None:
    assert error_of(client.get("/keys/hub")) == (400, "3200")
    hub.signs_with = KEY
    assert client.get("/keys/hub").json() == {
        "algorithm": "ES256",
        "fingerprint": KEY.fingerprint,
        "publicKey": KEY.pem,
    }
