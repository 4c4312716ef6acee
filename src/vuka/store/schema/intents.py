"""Where a hub's money is, and, where that is a cluster, what is about to be done there."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, LargeBinary, Table, Text

from vuka.store.schema.base import Int64, metadata

ledger_choice: Final = Table(
    "ledger_choice",
    metadata,
    Column("only", Int64, primary_key=True, autoincrement=False, comment="1."),
    Column("engine", Text, nullable=False),
    Column("cluster_id", Text, nullable=False, comment="A decimal number of 128 bits; 0 where it is embedded."),
    comment="Where the money is. A hub's ledger is chosen when it is made.",
)

ledger_intent: Final = Table(
    "ledger_intent",
    metadata,
    Column("intent_id", Int64, primary_key=True, autoincrement=False),
    Column("now_ms", Int64, nullable=False),
    Column("term", Int64, nullable=False, comment="Of the process that wrote it: ended by whoever carries it out."),
    Column("command", Text, nullable=False, comment="Its name; empty where there is none, and headroom may be amiss."),
    Column("content", LargeBinary, nullable=False),
    comment="Commands begun in a ledger that does not wait for the commit of the records, which strikes them out.",
)
