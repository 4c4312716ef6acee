"""The page that promises names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=["::".join(filter(None, each)) for each in NAMED])
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert name in ("", *_tests(ast.parse(text)))


def test_every_promise_names_one() -> None:
    rows = [each for each in PAGE.splitlines() if each.startswith("| ") and not each.startswith("| promise")]
    promises = [each for each in rows if each.count(" | ") == 1]
    assert promises
    assert [each for each in promises if "tests/" not in each] == []


def _tests(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for each in tree.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(each.name)
        elif isinstance(each, ast.Assign):
            names += [target.id for target in each.targets if isinstance(target, ast.Name)]
    return names
