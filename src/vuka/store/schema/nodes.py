"""The hub processes that share a database: who is alive, and who delivers what each of them owes.

The number of a node stands in the keys that it makes (`vuka.engine.keys`), so a message's row needs no mark of whose
it is. A row here outlives its process until nothing is owed under its number.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Integer, Table, Text

from vuka.store.schema.base import Int64, metadata

hub_node: Final = Table(
    "hub_node",
    metadata,
    Column("node_no", Integer, primary_key=True, autoincrement=False, comment="0 to 255: in every key it makes."),
    Column("place", Text, nullable=False, comment="Whose data directory it runs in: the same after a restart."),
    Column("run", Int64, nullable=False, comment="Drawn by lot at each start; its workers share it."),
    Column("incarnation", Int64, nullable=False, comment="Drawn by lot for each process."),
    Column("beats", Int64, nullable=False, comment="Grows while it lives."),
    Column("held_by", Integer, nullable=False, comment="The node that delivers what is owed under this number."),
    Column("last_batch", Int64, nullable=False, comment="The key of the last batch it has committed."),
    Column("resends", Int64, nullable=False, comment="Grows when another node has a message of it sent again."),
    Column("is_stopped", Integer, nullable=False, comment="It has ended in order, and waits for nobody to notice."),
    Column("started_ms", Int64, nullable=False),
)
