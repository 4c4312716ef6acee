"""Every command says what it does, and shows how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from tests.cli.conftest import vuka

from vuka import __version__
from vuka.cli import application


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from _commands(child, (*path, name))


COMMANDS = sorted(_commands(typer.main.get_command(application())))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_explains_itself_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    result = vuka(*path, "--help")
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert f"Example: vuka {' '.join(path)}" in words


def test_every_group_of_commands_is_known() -> None:
    groups = {path[0] for path in COMMANDS}
    assert groups >= {"init", "serve", "demo", "participant", "oracle", "funds", "transfer", "message"}
    assert groups >= {"trace", "audit", "config", "bench"}


@pytest.mark.parametrize("group", ["", "participant", "oracle", "funds", "transfer", "message", "access"])
def test_a_group_without_a_command_shows_its_help(group: str) -> None:
    assert "Usage: vuka" in vuka(*group.split()).output


def test_the_version_is_printed() -> None:
    result = vuka("--version")
    assert (result.exit_code, result.output) == (0, f"vuka {__version__}\n")


def test_an_unknown_command_is_named() -> None:
    result = vuka("pay")
    assert result.exit_code == 2
    assert "No such command 'pay'" in result.output
