"""The tables of the hub, as SQLAlchemy Core states them: the source that migrations are checked against."""

from vuka.store.schema import ledger, records
from vuka.store.schema.base import metadata

__all__ = ["ledger", "metadata", "records"]
