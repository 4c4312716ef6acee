"""The operators' guides are what their reader sees: every command in them is run, every output compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import guide

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["onboarding.md", "bank-files.md", "fees.md", "security.md"])
def test_every_command_of_an_operators_guide_prints_what_the_guide_shows(tmp_path: Path, name: str) -> None:
    page = DOCS / name
    reader = guide.Reader(tmp_path)
    reader.save(guide.files(page))
    results: list[tuple[guide.Step, str]] = []
    try:
        for step in guide.steps(page):
            results.append((step, reader.run(step.command)))
    finally:
        reader.close()
    if guide.is_to_be_written():
        guide.write(page, results)
    for step, output in results:
        assert guide.shape(output) == guide.shape(step.output), f"{name}:{step.line}: {step.command}"


def test_a_page_is_read_command_by_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n```console\n$ echo a \\\n    b\na b\n$ true\n```\n\n1. x\n\n    ```console\n    $ ls\n    c\n    ```\n"
    )
    assert [(step.line, step.command, step.output) for step in guide.steps(page)] == [
        (4, "echo a \\\n    b", "a b"),
        (7, "true", ""),
        (13, "ls", "c"),
    ]


def test_a_block_with_a_title_is_a_file_that_the_reader_saves(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```json title="a.json"\n{\n}\n```\n\n```json\n[]\n```\n\n```console\n$ cat a.json\n{\n}\n```\n')
    assert guide.files(page) == {"a.json": "{\n}\n"}
    reader = guide.Reader(tmp_path)
    reader.save(guide.files(page))
    assert [reader.run(step.command) for step in guide.steps(page)] == ["{\n}"]


def test_an_output_that_differs_is_seen() -> None:
    id_a, id_b = "3fde6fa6-fd0e-4894-b2ec-2ffa5e96fe5d", "affc534d-d79e-4cdc-ac42-0c8c75796388"
    assert guide.shape(f"600.00 USD {id_a}") == guide.shape(f"600.00 USD {id_b}")
    assert guide.shape(f"600.00 USD {id_a}") != guide.shape(f"600.01 USD {id_b}")
