"""``vuka access``, and every other command against a hub that wants to know who asks."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.api.test_identity import FINGERPRINT, PEM, SUBJECT
from tests.cli.conftest import refused, vuka
from typer.testing import Result

from vuka.api.identity import secret_digest
from vuka.cli import client, given
from vuka.cli.hub import found, make_admin_token
from vuka.cli.process import HubProcess, hub_process
from vuka.config import load
from vuka.store.sqlite import Database
from vuka.switch.directory import Directory, read_directory

REQUIRED = {"VUKA_PARTICIPANTS_API_AUTHENTICATION": "required", "VUKA_OPERATORS_API_AUTHENTICATION": "required"}


class Guarded:
    """A running hub that wants to know who asks, made by `vuka init`."""

    def __init__(self, hub: HubProcess, data: Path) -> None:
        self.hub = hub
        self.data = data
        self.here = {"VUKA_DATA_DIR": str(data)}
        self.admin_token = (data / given.TOKEN_FILE).read_text().strip()

    def ask(self, *arguments: str) -> Result:
        """A command on the hub's own machine, that must succeed."""
        result = vuka(*arguments, "--url", self.hub.operators_url, environment=self.here)
        assert result.exit_code == 0, result.output
        return result

    def grant(self, *arguments: str) -> str:
        """What is granted: its secret."""
        made = msgspec.json.decode(self.ask("access", "grant", *arguments, "--json").output)
        secret: str = made["secret"]
        return secret

    def with_token(self, token: str, *arguments: str) -> Sequence[str]:
        """A command with another token."""
        return ("--token", token, *arguments, "--url", self.hub.operators_url)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("guarded") / "hub"
    assert vuka("init", "--data", str(data), "-c", "USD").exit_code == 0
    with hub_process(data, environment=REQUIRED) as hub:
        guarded = Guarded(hub, data)
        guarded.ask("participant", "add", "greenbank", "-c", "USD", "--cap", "1000")
        yield guarded


# --- init -------------------------------------------------------------------------------------------------------------


def test_a_new_hub_has_an_admins_token_that_only_its_owner_reads(data: Path) -> None:
    said = vuka("init", "--data", str(data), "-c", "USD").output.replace("\n", " ")
    file = data / "operator.token"
    assert str(file) in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    assert re.fullmatch(r"vuka_[A-Za-z0-9_-]{43}", token)
    assert token not in said
    credential = _directory_of(data).credentials[secret_digest(token)]
    assert (credential.name, credential.roles, credential.expires_ms) == ("admin", {"admin"}, None)


def _directory_of(data: Path) -> Directory:
    database = Database.open(data / "vuka.db", read_only=True)
    try:
        with database.read() as tx:
            return read_directory(tx)
    finally:
        database.close()


def test_a_token_that_cannot_be_written_lets_nobody_in(data: Path) -> None:
    config = load(None, {}, data_dir=str(data))
    found(config, "Test", ["USD"])
    (data / "operator.token").mkdir()
    with pytest.raises(Exception, match=r"The token can't be written to .*operator\.token"):
        make_admin_token(config, by="test")
    assert _directory_of(data).credentials == {}


# --- granting ---------------------------------------------------------------------------------------------------------


def test_commands_on_the_hubs_machine_work_at_once(guarded: Guarded) -> None:
    assert "greenbank" in guarded.ask("participant", "list").output


def test_a_granted_token_is_shown_once_and_lets_its_operator_in(guarded: Guarded) -> None:
    said = guarded.ask("access", "grant", "--operator", "alice", "--role", "finance", "--expires", "90d").output
    assert "alice may finance, until 20" in said
    token = said.splitlines()[-1]
    assert vuka(*guarded.with_token(token, "participant", "list")).exit_code == 0
    result = vuka("participant", "list", "--url", guarded.hub.operators_url, environment={"VUKA_TOKEN": token})
    assert result.exit_code == 0
    assert token not in guarded.ask("access", "list").output


def test_what_an_operator_may_not_do_is_a_sentence(guarded: Guarded) -> None:
    token = guarded.grant("--operator", "bob", "--role", "read")
    said = refused(*guarded.with_token(token, "participant", "add", "pesapay", "-c", "USD"))
    assert "this takes the role operate; bob has read" in said
    assert "vuka access grant --operator NAME --role ROLE" in said


def test_roles_may_be_several(guarded: Guarded) -> None:
    token = guarded.grant("--operator", "carol", "--role", "operate", "--role", "finance")
    added = vuka(*guarded.with_token(token, "participant", "add", "kilimo", "-c", "USD", "--cap", "10"))
    assert added.exit_code == 0, added.output


@pytest.mark.parametrize(
    ("option", "header"), [((), "Authorization"), (("--api-key",), "X-Api-Key")], ids=["token", "API key"]
)
def test_a_participant_is_let_in_with_what_it_was_granted(
    guarded: Guarded, option: tuple[str, ...], header: str
) -> None:
    secret = guarded.grant("--participant", "greenbank", *option)
    shown = {header: f"Bearer {secret}" if header == "Authorization" else secret}
    url = f"{guarded.hub.participants_url}/transfers/b51ec534-ee48-4575-b6a9-ead2955b8069"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={**shown, "FSPIOP-Source": "greenbank"}).json()["errorInformation"]["errorCode"] == (
        "3101"  # it is let in, and told what is wrong with its Accept
    )


@pytest.mark.parametrize("given", ["subject", "fingerprint", "file"])
def test_a_participants_certificate_is_registered(guarded: Guarded, tmp_path: Path, given: str) -> None:
    file = tmp_path / "bank.pem"
    file.write_text(PEM)
    text = {"subject": SUBJECT + ",L=Nairobi", "fingerprint": "ab" * 32, "file": str(file)}[given]
    said = guarded.ask("access", "grant", "--participant", "greenbank", "--certificate", text).output
    shown = {"subject": SUBJECT, "fingerprint": "ab" * 32, "file": SUBJECT}[given]
    assert f"The certificate is {shown}" in said
    assert FINGERPRINT not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Say who: --operator NAME with --role, or --participant NAME."),
        (("--operator", "a", "--participant", "b"), "Say who:"),
        (("--operator", "a"), "Say what a may do: --role read, --role operate, --role finance, --role admin."),
        (("--operator", "a", "--role", "read", "--api-key"), "An operator has a token"),
        (("--participant", "greenbank", "--role", "read"), "A participant has no roles"),
        (("--participant", "greenbank", "--api-key", "--certificate", "CN=a"), "Choose one"),
        (("--participant", "greenbank", "--expires", "soon"), "soon is no time: write e.g. 90d"),
        (("--participant", "greenbank", "--expires", "2020-01-01T00:00:00Z"), "expiresAt must be in the future"),
        (("--participant", "greenbank", "--expires", "2020-01-01"), "expiresAt must be in the future"),
        (("--participant", "nobody"), "participant not found"),
        (("--participant", "greenbank", "--certificate", "bank-a"), "certificate must be a PEM"),
    ],
)
def test_a_grant_that_cannot_be_is_a_sentence(guarded: Guarded, arguments: tuple[str, ...], words: str) -> None:
    said = refused("access", "grant", *arguments, "--url", guarded.hub.operators_url, environment=guarded.here)
    assert words in said


# --- listing and revoking ---------------------------------------------------------------------------------------------


def test_the_list_says_who_may_do_what(guarded: Guarded) -> None:
    guarded.grant("--participant", "greenbank", "--label", "its gateway")
    said = guarded.ask("access", "list").output
    assert re.search(r"TOKEN +│ admin +│ admin +│ vuka init +│ further notice", said)
    assert "participant (its gateway)" in said


def test_a_revoked_token_is_refused_with_a_sentence_that_says_what_to_do(guarded: Guarded) -> None:
    made = msgspec.json.decode(guarded.ask("access", "grant", "--operator", "eve", "--role", "read", "--json").output)
    said = guarded.ask("access", "revoke", str(made["credentialId"])).output
    assert said == f"Credential {made['credentialId']} is revoked.\n"
    assert refused(*guarded.with_token(made["secret"], "participant", "list")) == (
        f"The hub at {guarded.hub.operators_url} does not know the token of --token or VUKA_TOKEN: it is wrong, "
        "expired or revoked. Ask an admin for another: vuka access grant --operator NAME --role ROLE"
    )
    assert "eve" not in guarded.ask("access", "list").output
    assert re.search(r"eve .*revoked 20", guarded.ask("access", "list", "--ended").output)


def test_the_last_admins_token_is_not_revoked(guarded: Guarded) -> None:
    listed = msgspec.json.decode(guarded.ask("access", "list", "--json").output)
    own = next(each["credentialId"] for each in listed if each.get("operator") == "admin")
    said = refused("access", "revoke", str(own), "--url", guarded.hub.operators_url, environment=guarded.here)
    assert "the last admin's" in said


# --- which token ------------------------------------------------------------------------------------------------------


def test_without_a_token_a_command_says_how_to_give_one(guarded: Guarded, tmp_path: Path) -> None:
    said = refused(
        "participant", "list", "--url", guarded.hub.operators_url, environment={"VUKA_DATA_DIR": str(tmp_path)}
    )
    assert said.startswith(f"The hub at {guarded.hub.operators_url} wants to know who you are.")
    assert "VUKA_TOKEN" in said
    assert "VUKA_DATA_DIR" in said


def test_a_given_token_comes_before_the_one_in_the_data_directory(guarded: Guarded) -> None:
    said = refused(*guarded.with_token("vuka_wrong", "participant", "list"), environment=guarded.here)
    assert "does not know the token of --token or VUKA_TOKEN" in said


@pytest.mark.parametrize("token", ["two words", "ключ"])
def test_what_is_no_token_is_a_sentence(token: str) -> None:
    assert "is no token" in refused("--token", token, "participant", "list")


def test_the_token_of_this_machine_is_shown_to_no_other(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VUKA_DATA_DIR", str(guarded.data))
    given.TOKEN.set("")
    for url in ("http://127.0.0.1:4001", "http://localhost:4001", "http://[::1]:4001"):
        found_token = client.find_token(url)
        assert found_token is not None
        assert found_token.text == guarded.admin_token
    for url in ("http://hub.example:4001", "https://10.0.0.7", "http://127.0.0.1.example", "http://127.0.0.1@10.0.0.7"):
        assert client.find_token(url) is None


# --- serving and recovering -------------------------------------------------------------------------------------------


def test_a_hub_that_is_open_says_so_when_it_starts(tmp_path: Path) -> None:
    found(load(None, {}, data_dir=str(tmp_path / "hub")), "Open", ["USD"])
    with hub_process(tmp_path / "hub") as hub:
        said = hub.log_path.read_text()
    assert "The participants' API on 127.0.0.1 asks nobody who they are" in said
    assert "The operators' API on 127.0.0.1 is open: whoever reaches it can do anything." in said


def test_a_hub_that_asks_everybody_says_nothing_of_the_kind(guarded: Guarded) -> None:
    said = guarded.hub.log_path.read_text()
    assert "asks nobody" not in said
    assert "is open" not in said
    assert guarded.admin_token not in said


def test_a_hub_whose_admins_are_lost_gets_another_token(guarded: Guarded, tmp_path: Path) -> None:
    data = tmp_path / "hub"
    found(load(None, {}, data_dir=str(data)), "Lost", ["USD"])
    assert f"An admin's token is in {data / 'operator.token'}" in vuka("access", "recover", "--data", str(data)).output
    first = (data / "operator.token").read_text()
    vuka("access", "recover", "--data", str(data))
    second = (data / "operator.token").read_text()
    assert first != second
    assert {each.name for each in _directory_of(data).credentials.values()} == {"admin"}
    assert len(_directory_of(data).credentials) == 2


def test_nobody_recovers_a_hub_that_runs_or_is_not_there(guarded: Guarded, data: Path) -> None:
    assert "Another hub runs in" in refused("access", "recover", "--data", str(guarded.data))
    assert (guarded.data / "operator.token").read_text().strip() == guarded.admin_token
    assert "There is no hub in" in refused("access", "recover", "--data", str(data))


def test_every_group_of_commands_takes_the_token(guarded: Guarded) -> None:
    for command in (
        ("participant", "show", "greenbank"),
        ("oracle", "find", "MSISDN", "1"),
        ("message", "queues"),
        ("message", "parked"),
        ("funds", "in", "greenbank", "5 USD"),
    ):
        guarded.ask(*command)
