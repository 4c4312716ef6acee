"""Making a hub, running a hub: what goes wrong is a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg
import pytest
from tests import stores
from tests.cli.conftest import refused, vuka
from tests.postgres_server import Server

from vuka.cli.hub import found, upgrade
from vuka.config import Config, load
from vuka.errors import OperatorError
from vuka.switch import scheme


def test_a_new_hub_has_its_database_its_configuration_and_a_word_on_how_to_run_it(data: Path) -> None:
    result = vuka("init", "--data", str(data), "--name", "My scheme", "-c", "USD", "-c", "kes")
    assert result.exit_code == 0
    assert f"vuka serve --data {data}" in result.output
    assert sorted(each.name for each in data.iterdir()) == [
        "auditlog.pem",
        "auditlog.pub.pem",
        "operator.token",
        "vuka.db",
        "vuka.toml",
    ]
    assert (data / "auditlog.pem").stat().st_mode & 0o777 == 0o600
    assert load(data / "vuka.toml", {}).data_dir == str(data)


def test_a_second_hub_in_the_same_directory_is_refused(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    before = (data / "vuka.db").read_bytes()
    assert refused("init", "--data", str(data), "-c", "USD") == (
        f"There is a hub in {data} already. Run it with: vuka serve"
    )
    assert (data / "vuka.db").read_bytes() == before


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am a file")
    said = refused("init", "--data", str(tmp_path / "file" / "hub"), "-c", "USD")
    assert str(tmp_path / "file") in said


def test_serving_what_was_never_made_says_how_to_make_it(data: Path) -> None:
    assert refused("serve", "--data", str(data)) == (
        f"There is no hub in {data}. Make one with: vuka init --data {data} -c USD"
    )


def test_a_data_directory_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am a file")
    for command in ("init", "serve", "audit", "demo"):
        assert str(tmp_path / "file") in refused(command, "--data", str(tmp_path / "file")).replace("\n", "")


def test_what_a_user_wrote_is_printed_as_it_was_written(tmp_path: Path) -> None:
    odd = tmp_path / "[bold]data[/bold]"
    assert str(odd) in refused("serve", "--data", str(odd))
    made = vuka("init", "--data", str(odd), "--name", "[/]")
    assert made.exit_code == 0
    assert f"Made the hub [/] in {odd}." in made.output.replace("\n", "")
    assert refused("trace", "[/x]", "--data", str(odd)) == "No message and no record has the id [/x]."


def test_a_database_that_is_none_is_a_sentence(data: Path) -> None:
    data.mkdir()
    (data / "vuka.db").write_bytes(b"this is no database, whatever its name says" * 100)
    assert "vuka.db" in refused("serve", "--data", str(data))
    assert "vuka.db" in refused("audit", "--data", str(data))


def test_a_server_that_lets_nobody_write_is_a_sentence(
    data: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS standby WITH (FORCE)")
        connection.execute("CREATE DATABASE standby")
        monkeypatch.setenv("VUKA_STORE_URL", postgresql.url_of("standby"))
        assert vuka("init", "--data", str(data), "-c", "USD").exit_code == 0
        connection.execute("ALTER DATABASE standby SET default_transaction_read_only = on")
    served = vuka("serve", "--data", str(data))
    why = "the database takes no writes: it is a standby, or read-only. Name the primary's URL."
    assert (served.exit_code, served.stderr.splitlines()[-1]) == (1, f"Error: The hub can't start: {why}")
    assert vuka("serve", "--data", str(data), "--workers", "2").exit_code == 1
    said = capfd.readouterr().err
    assert " ".join(said.split()).endswith(f"Error: The worker can't start: {why}")
    assert "Traceback" not in said


@pytest.mark.store("sqlite", "postgresql")
def test_a_hub_that_could_not_be_founded_may_be_founded_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stores.configured(Config(data_dir=str(data)))

    def fails(*_arguments: object) -> None:
        raise OperatorError("no such luck")

    with monkeypatch.context() as patched:
        patched.setattr(scheme, "found", fails)
        with pytest.raises(OperatorError, match="no such luck"):
            found(config, "First", ["USD"])
    with pytest.raises(OperatorError, match="There is no hub in"):
        upgrade(config)
    found(config, "Second", ["USD"])
    upgrade(config)
    with pytest.raises(OperatorError, match="There is a hub in"):
        found(config, "Third", ["USD"])


def test_several_processes_on_a_cluster_need_records_that_they_can_share(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    (data / "vuka.toml").write_text('[ledger]\nengine = "tigerbeetle"\n')
    said = refused("serve", "--data", str(data), "--workers", "2")
    assert said == (
        "Several processes on a TigerBeetle cluster need their records in PostgreSQL (store.url): "
        "on SQLite serve without --workers."
    )


@pytest.mark.parametrize("may_lose", [True, False])
def test_several_processes_on_a_sqlite_that_may_lose_pages_are_warned_of(
    data: Path, monkeypatch: pytest.MonkeyPatch, may_lose: bool
) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    monkeypatch.setattr("vuka.cli.hub.may_lose_pages", lambda: may_lose)
    monkeypatch.setattr("vuka.cli.workers.Workers.run", lambda _self: None)
    said = vuka("serve", "--data", str(data), "--workers", "2", environment={"VUKA_PARTICIPANTS_API_PORT": "0"})
    assert ("https://www.sqlite.org/wal.html#walresetbug" in said.stderr) is may_lose


# --- configuration ----------------------------------------------------------------------------------------------------


def test_the_effective_configuration_is_the_file_with_the_variables_over_it(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    printed = vuka("config", "--data", str(data), environment={"VUKA_ENGINE_BATCH_MAX": "77"}).output
    assert "batch_max = 77" in printed
    data.joinpath("again.toml").write_text(printed, encoding="utf-8")
    assert load(data / "again.toml", {}).engine.batch_max == 77


def test_the_configuration_is_json_for_programs() -> None:
    effective = msgspec.json.decode(vuka("config", "--json").output)
    assert effective["participants_api"]["port"] == 4000
    assert effective["courier"]["retry_first_ms"] == 200


def test_every_key_is_described_with_its_variable_and_meaning() -> None:
    keys = msgspec.json.decode(vuka("config", "--describe", "--json").output)
    assert {each["variable"] for each in keys} >= {"VUKA_DATA_DIR", "VUKA_ENGINE_BATCH_MAX", "VUKA_LOG_JSON"}
    assert all(each["meaning"] for each in keys)
    table = vuka("config", "--describe").output
    assert "VUKA_SCHEME_ON_US_TRANSFERS" in table


def test_a_configuration_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert refused("config", "--config", str(missing)) == f"There is no configuration file {missing}."


def test_a_configuration_that_is_no_toml_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[engine\n")
    assert "cannot be read as TOML" in refused("config", "--config", str(tmp_path / "broken.toml"))


def test_a_key_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text("[engine]\nbatchmax = 3\n")
    assert "batchmax" in refused("config", "--config", str(tmp_path / "odd.toml"))
