"""A command line is read far enough to know which command's module it needs; whatever is unclear gets all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vuka.cli import named


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("participant list", "participant"),
        ("--token serve participant list", "participant"),
        ("--token=serve participant list", "participant"),
        ("--ca-file x --token y audit", "audit"),
        ("account-type list", "account-type"),
        ("", None),
        ("--help", None),
        ("-h participant", None),
        ("--version", None),
        ("participants", None),
        ("--token participant", None),
    ],
)
def test_the_command_is_the_first_word_that_is_no_options_value(line: str, name: str | None) -> None:
    assert named(line.split()) == name


def _vuka(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vuka", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_command_that_there_is_not_is_answered_with_those_that_are_like_it() -> None:
    done = _vuka("particpant", "list")
    assert done.returncode == 2
    assert "participant" in done.stderr


def test_a_command_that_only_asks_imports_neither_engine_nor_apis() -> None:
    script = """
import sys
from vuka.cli import application
application(["participant"])
sys.exit(any(name.startswith(("vuka.engine", "vuka.api")) for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
