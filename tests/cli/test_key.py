"""``vuka key``: keys are made, registered, retired, and who must sign is said."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import refused, vuka

from vuka.cli.hub import found
from vuka.cli.process import hub_process
from vuka.config import load
from vuka.fspiop.jws import PrivateKey, load_public_key


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running hub that signs, and greenbank."""
    data = tmp_path_factory.mktemp("keys")
    found(load(None, {}, data_dir=str(data)), "Keys", ["USD"])
    key = data / "hub.pem"
    key.write_bytes(PrivateKey.generate("ES256").to_pem())
    with hub_process(data, environment={"VUKA_SIGNATURES_HUB_KEY_FILE": str(key)}) as hub:
        result = vuka("participant", "add", "greenbank", "-c", "USD", "--url", hub.operators_url)
        assert result.exit_code == 0, result.output
        yield hub.operators_url


def said(*arguments: str) -> str:
    result = vuka(*arguments, environment={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_key_pair_is_made_for_its_owners_eyes_only(tmp_path: Path, algorithm: str) -> None:
    file = tmp_path / "bank.pem"
    said("key", "generate", str(file), "--algorithm", algorithm)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    private = PrivateKey.load(file.read_bytes())
    assert load_public_key((tmp_path / "bank.pem.pub").read_text()) == private.public
    assert private.public.algorithm == algorithm


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "bank.pem"
    said("key", "generate", str(file))
    before = file.read_bytes()
    assert "is a file" in refused("key", "generate", str(file))
    assert file.read_bytes() == before


def test_there_is_no_third_algorithm(tmp_path: Path) -> None:
    assert "HS256 is not one of RS256, ES256" in refused("key", "generate", str(tmp_path / "x"), "--algorithm", "hs256")


def test_keys_are_registered_listed_and_retired(url: str, tmp_path: Path) -> None:
    said("key", "generate", str(tmp_path / "bank.pem"))
    public = load_public_key((tmp_path / "bank.pem.pub").read_text())
    registered = said("key", "add", "greenbank", str(tmp_path / "bank.pem.pub"), "--url", url)
    assert registered == f"greenbank: ES256 key {public.fingerprint} is registered."
    listed = said("key", "list", "greenbank", "--url", url)
    assert public.fingerprint in listed
    assert "Signatures: OFF." in listed
    assert said("key", "retire", "greenbank", public.fingerprint, "--url", url) == "greenbank: the key is retired."
    assert "retired" in said("key", "list", "greenbank", "--url", url)


def test_who_must_sign_is_said_for_each(url: str, tmp_path: Path) -> None:
    assert "no key to check a signature with" in refused("key", "require", "greenbank", "--url", url)
    said("key", "generate", str(tmp_path / "bank.pem"))
    said("key", "add", "greenbank", str(tmp_path / "bank.pem.pub"), "--url", url)
    assert said("key", "require", "greenbank", "--url", url) == "greenbank must sign."
    assert said("key", "off", "greenbank", "--url", url) == "greenbank need not sign, and is not checked."
    assert said("key", "default", "greenbank", "--url", url) == "greenbank signs as the others do."


def test_what_is_no_key_is_refused_with_a_sentence(url: str, tmp_path: Path) -> None:
    file = tmp_path / "no.pem"
    assert "can't be read" in refused("key", "add", "greenbank", str(file), "--url", url)
    file.write_text("no key")
    assert "not a public key" in refused("key", "add", "greenbank", str(file), "--url", url)


def test_the_hubs_own_key_is_printed_for_participants(url: str) -> None:
    assert load_public_key(said("key", "hub", "--url", url)).algorithm == "ES256"


def test_a_hub_does_not_start_with_a_key_that_will_not_do(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    found(load(None, {}, data_dir=str(data)), "Keys", ["USD"])
    (data / "key.pem").write_text("no key")
    for name, reason in (("key.pem", "will not do"), ("none.pem", "can't be read")):
        environment = {"VUKA_SIGNATURES_HUB_KEY_FILE": str(data / name)}
        result = vuka("serve", "--data", str(data), environment=environment)
        assert result.exit_code == 1
        assert reason in result.stderr.splitlines()[-1]
