"""Migrations: the one way in which a real database gets its tables, from the first on.

A database carries the revision of its schema. One that is older than this program is migrated before it is
served; one that is newer is refused: a program must not write what it does not know.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vuka.errors import OperatorError
from vuka.store.sqlite import read_only_uri

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

HEAD: Final = "0007"
"""The revision that this program reads and writes. A test keeps it equal to the newest file of migrations."""

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def current_revision(path: Path) -> str | None:
    """The revision of a database file; None for a new or empty one.

    Raises `OperatorError` where the file is no database of a hub.
    """
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


def migrate(path: Path) -> str | None:
    """Brings a database to `HEAD`; the revision it had, or None where it was new.

    Raises `OperatorError` where a newer program has written it.
    """
    before = current_revision(path)
    if before == HEAD:
        return before
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = _alembic(path)
    try:
        if before is not None:
            ScriptDirectory.from_config(config).get_revision(before)
    except CommandError:
        raise OperatorError(
            f"{path} has schema {before}, which is newer than this program's ({HEAD}). "
            "Use the version of vuka that wrote it, or a later one."
        ) from None
    command.upgrade(config, "head")
    return before


def _alembic(path: Path) -> AlembicConfig:
    from alembic.config import Config as AlembicConfig
    from sqlalchemy.engine import URL

    config = AlembicConfig()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    # Not as text: a path may hold what means something in a URL.
    config.attributes["url"] = URL.create("sqlite", database=str(path))
    return config
