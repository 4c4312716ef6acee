"""Every statement that stands in the source is one of PostgreSQL, too: its server is asked, with all tables there."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from tests.postgres_server import Server

from vuka.store.migrate import migrate
from vuka.store.postgresql import _placed, _translated_in

SOURCE = Path(__file__).parents[2] / "src"
BEGINS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")
ONE_STORE_ONLY = ("vuka/store/sqlite.py", "vuka/store/postgresql.py", "vuka/store/migrations")
WRONG = (
    psycopg.errors.SyntaxError,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.GroupingError,
    psycopg.errors.AmbiguousColumn,
)
"""What makes a statement wrong whatever it is given. That a place's type can't be told from the text does not."""


def texts_of(file: Path) -> Iterator[str]:
    """The texts of a file that are whole: as they stand there, or as its module has them when it is imported."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    pieces = {id(part) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for part in ast.walk(each)}
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in pieces:
            yield each.value
    if any(isinstance(each, ast.JoinedStr) for statement in tree.body for each in ast.walk(statement)):
        name = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        yield from (each for each in vars(importlib.import_module(name)).values() if isinstance(each, str))


def statements() -> dict[str, str]:
    """Every statement, as PostgreSQL is asked, with the file that it stands in."""
    found: dict[str, str] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).as_posix()
        if place.startswith(ONE_STORE_ONLY) or not re.search(r"\b(SELECT|INSERT|UPDATE|DELETE) ", file.read_text()):
            continue
        for text in texts_of(file):
            # SQLite alone has a table of its tables.
            if BEGINS.match(text) and "sqlite_master" not in text and "{" not in text.replace("{values}", ""):
                found[_translated_in(text) if "{values}" in text else _placed(text)] = place
    return found


def numbered(statement: str) -> str:
    """With the places as ``PREPARE`` has them."""
    pieces = statement.split("%b")
    return "".join(f"{piece}${number}" for number, piece in enumerate(pieces[:-1], 1)).replace("%%", "%") + pieces[-1]


def test_postgresql_reads_every_statement(postgresql: Server) -> None:
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS every_statement WITH (FORCE)")
        connection.execute("CREATE DATABASE every_statement")
    url = postgresql.url_of("every_statement")
    migrate(url)
    asked = statements()
    assert len(asked) > 250
    wrong: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for number, (statement, place) in enumerate(asked.items()):
            try:
                connection.execute(f"PREPARE one_{number} AS {numbered(statement)}")
            except WRONG as error:
                wrong.append(f"{place}: {str(error).splitlines()[0]}: {' '.join(statement.split())[:200]}")
            except psycopg.errors.IndeterminateDatatype:
                pass
    assert not wrong, "\n".join(wrong)
