"""What the commands print: tables for people, JSON for programs, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

console: Final = Console()
errors: Final = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Says what is wrong and what to do about it, and ends the command."""
    # The message is text: a name with brackets in it is no markup.
    errors.print(Text.assemble(("Error:", "bold red"), f" {message}"), highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def print_json(value: object) -> None:
    """Prints one JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table of plain text; columns whose name ends in ``>`` are aligned right."""
    table = Table(title=Text(title) if title else None, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    console.print(table)
