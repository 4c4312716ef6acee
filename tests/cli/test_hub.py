"""Making a hub, running a hub: what goes wrong is a sentence that says what to do."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.cli.conftest import refused, vuka, vuka_process

from vuka.cli.process import hub_process
from vuka.config import load


def test_a_new_hub_has_its_database_its_configuration_and_a_word_on_how_to_run_it(data: Path) -> None:
    result = vuka("init", "--data", str(data), "--name", "My scheme", "-c", "USD", "-c", "kes")
    assert result.exit_code == 0
    assert f"vuka serve --data {data}" in result.output
    assert sorted(each.name for each in data.iterdir()) == ["vuka.db", "vuka.toml"]
    assert load(data / "vuka.toml", {}).data_dir == str(data)


def test_a_second_hub_in_the_same_directory_is_refused(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    before = (data / "vuka.db").read_bytes()
    assert refused("init", "--data", str(data), "-c", "USD") == (
        f"There is a hub in {data} already. Run it with: vuka serve"
    )
    assert (data / "vuka.db").read_bytes() == before


def test_a_currency_that_is_none_makes_no_hub(data: Path) -> None:
    assert refused("init", "--data", str(data), "-c", "XYZ").startswith("XYZ is not a currency")
    assert not data.exists()


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am a file")
    said = refused("init", "--data", str(tmp_path / "file" / "hub"), "-c", "USD")
    assert str(tmp_path / "file") in said


def test_serving_what_was_never_made_says_how_to_make_it(data: Path) -> None:
    assert refused("serve", "--data", str(data)) == (
        f"There is no hub in {data}. Make one with: vuka init --data {data} -c USD"
    )


def test_serving_an_empty_directory_says_how_to_make_a_hub(data: Path) -> None:
    data.mkdir()
    assert refused("serve", "--data", str(data)).startswith(f"There is no hub in {data}. Make one with: vuka init")


def test_a_database_that_is_none_is_a_sentence(data: Path) -> None:
    data.mkdir()
    (data / "vuka.db").write_bytes(b"this is no database, whatever its name says" * 100)
    assert "vuka.db" in refused("serve", "--data", str(data))
    assert "vuka.db" in refused("audit", "--data", str(data))


def test_a_port_in_use_is_named_with_the_way_out(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"VUKA_PARTICIPANTS_API_PORT": "0", "VUKA_OPERATORS_API_PORT": str(port)}
        done = vuka_process("serve", "--data", str(data), **ports)
    assert done.returncode == 1
    assert f"The operators API can't listen on 127.0.0.1:{port}" in done.stderr
    assert "VUKA_OPERATORS_API_PORT" in done.stderr


def test_a_second_hub_on_the_same_data_is_refused_and_the_first_goes_on(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    with hub_process(data) as running:
        assert refused("serve", "--data", str(data)) == (
            f"Another hub runs in {data}. Stop it, or use another data directory."
        )
        assert vuka("participant", "list", "--url", running.operators_url).exit_code == 0
    assert running.process.returncode == 0


# --- configuration ----------------------------------------------------------------------------------------------------


def test_the_effective_configuration_is_the_file_with_the_variables_over_it(data: Path) -> None:
    vuka("init", "--data", str(data), "-c", "USD")
    printed = vuka("config", "--data", str(data), environment={"VUKA_ENGINE_BATCH_MAX": "77"}).output
    assert "batch_max = 77" in printed
    data.joinpath("again.toml").write_text(printed, encoding="utf-8")
    assert load(data / "again.toml", {}).engine.batch_max == 77


def test_the_configuration_is_json_for_programs() -> None:
    import msgspec

    effective = msgspec.json.decode(vuka("config", "--json").output)
    assert effective["participants_api"]["port"] == 4000
    assert effective["courier"]["retry_first_ms"] == 200


def test_every_key_is_described_with_its_variable_and_meaning() -> None:
    import msgspec

    keys = msgspec.json.decode(vuka("config", "--describe", "--json").output)
    assert {each["variable"] for each in keys} >= {"VUKA_DATA_DIR", "VUKA_ENGINE_BATCH_MAX", "VUKA_LOG_JSON"}
    assert all(each["meaning"] for each in keys)
    table = vuka("config", "--describe").output
    assert "VUKA_SCHEME_ON_US_TRANSFERS" in table


def test_a_value_that_cannot_be_is_named() -> None:
    said = refused("config", environment={"VUKA_ENGINE_BATCH_MAX": "many"})
    assert "engine.batch_max" in said
    assert "vuka config --describe" in said


def test_a_configuration_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert refused("config", "--config", str(missing)) == f"There is no configuration file {missing}."


def test_a_configuration_that_is_no_toml_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[engine\n")
    assert "cannot be read as TOML" in refused("config", "--config", str(tmp_path / "broken.toml"))


def test_a_key_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text("[engine]\nbatchmax = 3\n")
    assert "batchmax" in refused("config", "--config", str(tmp_path / "odd.toml"))
