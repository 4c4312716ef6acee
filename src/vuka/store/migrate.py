"""Migrations: the one way in which a real database gets its tables, from the first on.

A database carries the revision of its schema. One that is older than this program is migrated before it is
served; one that is newer is refused: a program must not write what it does not know. Where a database is, its *place*,
is the path of a SQLite file or the URL of a PostgreSQL database.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vuka.config import Store
from vuka.errors import OperatorError
from vuka.store import Database
from vuka.store.sqlite import Database as SqliteDatabase
from vuka.store.sqlite import read_only_uri

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

HEAD: Final = "0011"
"""The revision that this program reads and writes. A test keeps it equal to the newest file of migrations."""

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def open_place(place: Path | str, *, read_only: bool = False) -> Database:
    """Opens the database there. Raises `OperatorError` where a PostgreSQL database can't be reached."""
    if isinstance(place, Path):
        return SqliteDatabase.open(place, read_only=read_only)
    from vuka.store import UnavailableError
    from vuka.store.postgresql import Database as PostgresDatabase

    try:
        return PostgresDatabase.open(place, read_only=read_only)
    except UnavailableError as error:
        raise OperatorError(f"{_shown(place)}: {error}.") from None


def current_revision(place: Path | str) -> str | None:
    """The revision of a database; None for a new or empty one.

    Raises `OperatorError` where it is no database of a hub, or can't be reached.
    """
    return _sqlite_revision(place) if isinstance(place, Path) else _postgresql_revision(place)


def _sqlite_revision(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(read_only_uri(path), uri=True)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if "alembic_version" not in tables:
                raise OperatorError(f"{path} is a database, but not one of a hub. Name another data directory.")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise OperatorError(f"{path} can't be read as a database: {error}.") from None
    return str(row[0]) if row is not None else None


def _postgresql_revision(url: str) -> str | None:
    database = open_place(url, read_only=True)
    try:
        with database.read() as tx:
            ((encoding,),) = tx.query("SELECT current_setting('server_encoding')")
            if encoding != "UTF8":
                raise OperatorError(f"{_shown(url)} has the encoding {encoding}; a hub needs a database in UTF8.")
            tables = {
                name
                for (name,) in tx.query("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
            }
            if not tables:
                return None
            if "alembic_version" not in tables:
                raise OperatorError(f"{_shown(url)} is a database, but not one of a hub. Name another.")
            rows = tx.query("SELECT version_num FROM alembic_version")
    finally:
        database.close()
    return str(rows[0][0]) if rows else None


def _shown(place: Path | str) -> str:
    return str(place) if isinstance(place, Path) else Store(url=place).url_shown


def migrate(place: Path | str) -> str | None:
    """Brings a database to `HEAD`; the revision it had, or None where it was new.

    Several processes may do so at once: one does it, the others wait. Raises `OperatorError` where a newer program
    has written it.
    """
    before = current_revision(place)
    if before == HEAD:
        return before
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = _alembic(place)
    try:
        if before is not None:
            ScriptDirectory.from_config(config).get_revision(before)
    except CommandError:
        raise OperatorError(
            f"{_shown(place)} has schema {before}, which is newer than this program's ({HEAD}). "
            "Use the version of vuka that wrote it, or a later one."
        ) from None
    command.upgrade(config, "head")
    return before


def _alembic(place: Path | str) -> AlembicConfig:
    from alembic.config import Config as AlembicConfig
    from sqlalchemy import create_engine, event, pool
    from sqlalchemy.engine import URL

    config = AlembicConfig()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    # Not as text: a path may hold what means something in a URL.
    if isinstance(place, Path):
        engine = create_engine(URL.create("sqlite", database=str(place)), poolclass=pool.NullPool)
        # Python's driver would begin a transaction at the first row that is written, not at the first table: a
        # migration that is killed would leave tables behind over which the next one stumbles.
        event.listen(engine, "connect", lambda connection, _record: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        import psycopg

        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(place), poolclass=pool.NullPool)
    config.attributes["engine"] = engine
    return config
