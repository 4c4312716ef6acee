"""The tables of the hub, as SQLAlchemy Core states them: the source that migrations are checked against."""

import vuka.store.schema.intents
import vuka.store.schema.journal
import vuka.store.schema.ledger
import vuka.store.schema.nodes
import vuka.store.schema.records
import vuka.store.schema.settlement  # noqa: F401 - they declare their tables on the one metadata
from vuka.store.schema.base import metadata

__all__ = ["metadata"]
