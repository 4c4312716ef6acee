"""Configuration: file, environment and defaults, and a sentence for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from vuka.config import Config, load, settings, to_toml
from vuka.errors import OperatorError


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load(None, {}) == Config()


def test_the_environment_overrides_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "vuka.toml"
    file.write_text("[engine]\nbatch_max = 7\nqueue_max = 9\n")
    config = load(file, {"VUKA_ENGINE_BATCH_MAX": "8"})
    assert (config.engine.batch_max, config.engine.queue_max) == (8, 9)


def test_the_file_that_init_writes_says_what_it_was_written_from(tmp_path: Path) -> None:
    file = tmp_path / "vuka.toml"
    file.write_text(to_toml(Config()))
    assert load(file, {}) == Config()


def test_whatever_a_text_holds_is_written_so_that_it_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "vuka.toml"
    config = Config(data_dir="".join(map(chr, range(1, 0x100))) + "\u2028\U0001f4b8")
    file.write_text(to_toml(config), encoding="utf-8")
    assert load(file, {}) == config


def test_every_key_is_documented_and_has_a_variable_of_its_own() -> None:
    described = list(settings())
    assert all(each.meaning for each in described)
    assert len({each.variable for each in described}) == len(described)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[engine]\nbatch_max = 0\n", "engine.batch_max"),
        ("[engine]\nbatch_maximum = 1\n", "batch_maximum"),
        ("[log]\nlevel = 'loud'\n", "log.level"),
        ("participants_api = 3\n", "participants_api"),
        ("not toml", "TOML"),
        ("a = " + "[" * 5_000, "nested too deeply"),
        ("a = " + "{a=" * 3_000, "nested too deeply"),
        ("a = " + "9" * 5_000, "TOML"),
    ],
)
def test_a_wrong_file_is_refused_naming_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "vuka.toml"
    file.write_text(text)
    with pytest.raises(OperatorError, match=named):
        load(file, {})


def test_a_section_that_is_none_is_refused_whatever_the_environment_says_of_it(tmp_path: Path) -> None:
    file = tmp_path / "vuka.toml"
    file.write_text("engine = 3\n")
    with pytest.raises(OperatorError, match=r"\$\.engine"):
        load(file, {"VUKA_ENGINE_BATCH_MAX": "7"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no configuration file"):
        load(tmp_path / "none.toml", {})


def test_a_wrong_variable_is_refused_naming_its_key() -> None:
    with pytest.raises(OperatorError, match=r"participants_api\.port"):
        load(None, {"VUKA_PARTICIPANTS_API_PORT": "70000"})


def test_what_is_no_text_is_refused_naming_where_it_stands() -> None:
    with pytest.raises(OperatorError, match="VUKA_ENGINE_QUEUE_MAX is not UTF-8"):
        load(None, {"VUKA_ENGINE_QUEUE_MAX": "\udc80"})
    with pytest.raises(OperatorError, match="data_dir is not UTF-8"):
        load(None, {}, data_dir="/srv/\udcff")
