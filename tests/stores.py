"""The stores that the suites run on: SQLite, and PostgreSQL on a server that the session starts.

A test of one of the suites named in `tests/conftest.py` runs once for each; what it opens through this module is of
the store that its run is for. On PostgreSQL every database is a schema that is emptied and used again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from urllib.parse import quote

import msgspec
import psycopg

from vuka.cli.hub import found as found_on_disk
from vuka.cli.hub import writing
from vuka.config import Config, Store
from vuka.store import Database
from vuka.store import postgresql as on_postgresql
from vuka.store import sqlite as on_sqlite
from vuka.store.migrate import HEAD
from vuka.switch import scheme

SQLITE, POSTGRESQL = "sqlite", "postgresql"


class Schemas:
    """Schemas of a PostgreSQL server with every table, handed out empty."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._made = 0
        self._free: list[str] = []
        self._lent: list[str] = []
        self._open: dict[str, list[Reused]] = {}
        self._emptying: dict[str, psycopg.Connection[tuple[object, ...]]] = {}

    def lend(self) -> str:
        """The URL of an empty one, until `take_back`."""
        url = self._free.pop() if self._free else self._make()
        self._lent.append(url)
        return url

    def open(self) -> Reused:
        """An empty one, opened; closing it keeps its connections for the next that is opened."""
        url = self.lend()
        kept = self._open.get(url)
        database = kept.pop() if kept else Reused(url)
        database.on_close = partial(self._closed, url)
        return database

    def _closed(self, url: str, database: Reused) -> None:
        # Nobody can open it again: a test of many examples needs no more than are open at once.
        self._open.setdefault(url, []).append(database)
        if url in self._lent:
            self._take_back(url)

    def take_back(self) -> None:
        """All that was lent, emptied."""
        while self._lent:
            self._take_back(self._lent[-1])

    def _take_back(self, url: str) -> None:
        self._lent.remove(url)
        self._emptying[url].execute("SELECT make_empty()")
        self._free.append(url)

    def close(self) -> None:
        """Closes what was kept open."""
        for connection in self._emptying.values():
            connection.close()
        for kept in self._open.values():
            for database in kept:
                on_postgresql.Database.close(database)

    def _make(self) -> str:
        self._made += 1
        name = f"s{self._made}"
        url = f"{self._server_url}?options={quote(f'-csearch_path={name}')}"
        with psycopg.connect(url) as connection:
            connection.execute(
                "; ".join(
                    (
                        f"CREATE SCHEMA {name}",
                        *on_postgresql.ddl(),
                        "CREATE TABLE alembic_version (version_num TEXT)",
                        f"INSERT INTO alembic_version VALUES ('{HEAD}')",
                        _make_empty(),
                    )
                )
            )
        self._emptying[url] = psycopg.connect(url, autocommit=True)
        return url


class Reused(on_postgresql.Database):
    """A database whose connections outlive its use in one test."""

    on_close: Callable[[Reused], None]

    def create_all(self) -> None:
        """It has its tables."""

    def close(self) -> None:
        self.on_close(self)


def _make_empty() -> str:
    """A function of the schema: a server keeps its plans, and most tables are empty anyway."""
    from vuka.store.schema import metadata

    statements: list[str] = []
    for table in reversed(metadata.sorted_tables):
        statements.append(f"IF EXISTS (SELECT 1 FROM {table.name}) THEN DELETE FROM {table.name}; END IF;")
        statements += [
            f"PERFORM setval('{table.name}_{column.name}_seq', 1, false);"
            for column in table.columns
            if column is table.autoincrement_column
        ]
    # Of a test that was of another version.
    statements.append(f"UPDATE alembic_version SET version_num = '{HEAD}' WHERE version_num <> '{HEAD}';")
    return f"CREATE FUNCTION make_empty() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {' '.join(statements)} END $$"


class Stores:
    """Which store the test that runs now is for."""

    def __init__(self) -> None:
        self.kind = SQLITE
        self.schemas: Schemas | None = None
        self.configured: dict[str, str] = {}


current = Stores()


def _schemas() -> Schemas:
    assert current.schemas is not None
    return current.schemas


def fresh() -> Database:
    """A new database with every table: in memory, or a schema of its own."""
    if current.kind == POSTGRESQL:
        return _schemas().open()
    return on_disk(None)


def on_disk(path: Path | None) -> Database:
    """A database with every table, on SQLite whatever store the test is for; None is in memory."""
    database = on_sqlite.Database.open(path)
    _with_every_table().backup(database._writer)
    return database


@cache
def _with_every_table() -> sqlite3.Connection:
    """An empty database, to be copied: that takes a tenth of the time of making its tables."""
    database = on_sqlite.Database.open(None)
    database.create_all()
    database._writer.execute("CREATE TABLE alembic_version (version_num TEXT)")
    database._writer.execute(f"INSERT INTO alembic_version VALUES ('{HEAD}')")
    return database._writer


def transaction_class() -> type[on_sqlite.SqliteTx | on_postgresql.PostgresTx]:
    """What a test makes fail."""
    return on_postgresql.PostgresTx if current.kind == POSTGRESQL else on_sqlite.SqliteTx


def configured(config: Config) -> Config:
    """The configuration of a hub that is yet to be founded, with its records in the store of this test."""
    if current.kind == SQLITE:
        return config
    known = current.configured.get(config.data_dir)
    url = current.configured[config.data_dir] = known or _schemas().lend()
    return msgspec.structs.replace(config, store=Store(url=url))


def found(config: Config, name: str, currencies: Sequence[str]) -> None:
    """Makes a new hub. A schema has its tables already: that migrations make them too is a test of its own."""
    if not config.store.url:
        found_on_disk(config, name, list(currencies))
        return
    Path(config.data_dir).mkdir(parents=True)
    with writing(config) as work:
        scheme.found(work, name, currencies)
