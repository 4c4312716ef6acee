"""The tables of the hub, as SQLAlchemy Core states them: the source that migrations are checked against."""

import vuka.store.schema.ledger
import vuka.store.schema.records  # noqa: F401 - both declare their tables on the one metadata
from vuka.store.schema.base import metadata

__all__ = ["metadata"]
