"""The tables of the hub, as SQLAlchemy Core states them: the source that migrations are checked against."""

from sqlalchemy import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

import vuka.store.schema.auditlog
import vuka.store.schema.intents
import vuka.store.schema.journal
import vuka.store.schema.ledger
import vuka.store.schema.nodes
import vuka.store.schema.records
import vuka.store.schema.settlement  # noqa: F401 - they declare their tables on the one metadata
from vuka.store.schema.base import metadata

__all__ = ["metadata", "statements"]


def statements(dialect: Dialect) -> tuple[str, ...]:
    """Every table and index as a database of this dialect makes them, each after those that it refers to."""
    made: list[str] = []
    for table in metadata.sorted_tables:
        made.append(str(CreateTable(table).compile(dialect=dialect)))
        made += [
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda each: str(each.name))
        ]
    return tuple(made)
