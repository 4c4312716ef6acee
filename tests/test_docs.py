"""The documentation and the program say the same."""

from __future__ import annotations

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
