"""The documentation and the program say the same."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import typer

from vuka.cli import application
from vuka.config import settings

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "benchmarks" / "README.md"]


def test_every_setting_is_on_the_configuration_page() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    missing = [each.name for each in settings() if f"| `{each.name}` | `{each.variable}` |" not in page]
    assert missing == []


def test_every_command_is_on_the_command_line_page_and_has_an_example() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    root = typer.main.get_command(application())
    names: list[str] = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        names += [f"{name} {each}" for each in below] if below else [name]
        for each in (below or {name: command}).values():
            assert "Example" in (each.help or ""), f"vuka {name}: its help shows no example"
    assert [name for name in names if f"## vuka {name}\n" not in page] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_dependency_has_its_line() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    declared = re.findall(r'^    "([A-Za-z0-9-]+)>=', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert declared
    assert [name for name in declared if f"| {name} |" not in page] == []


def test_every_test_that_the_security_page_names_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 15
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_every_limit_on_the_security_page_is_that_of_the_program() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| [^|]+ \| `([\w.]+)` \| ([\d,]+) \|$", page, re.M))
    values = {each.name: each.default for each in settings()}
    values |= {name: _constant(name) for name in told if name.startswith("vuka.")}
    wrong = {name: limit for name, limit in told.items() if limit != f"{values[name]:,}"}
    assert len(told) > 30
    assert wrong == {}


def test_every_limit_at_the_doors_is_on_the_security_page() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    bounds = ("vuka.httpserver", "vuka.httpclient", "vuka.destinations", "vuka.api.identity", "vuka.api.tokens")
    names = [
        f"{module}.{name}"
        for module in bounds
        for name in re.findall(r"^([A-Z]\w+_(?:MAX|MIN)): Final = ", _source(module).read_text(encoding="utf-8"), re.M)
    ]
    names += [
        each.name
        for each in settings()
        if each.name.startswith(("participants_api.", "oauth.", "courier.timeout", "courier.connect", "signatures."))
        and isinstance(each.default, int)
        and not isinstance(each.default, bool)
        and not each.name.endswith(".port")
    ]
    assert [name for name in names if f"| `{name}` |" not in page] == []


def _source(module: str) -> Path:
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


def _constant(name: str) -> int:
    module, _, constant = name.rpartition(".")
    value: int = getattr(importlib.import_module(module), constant)
    return value
