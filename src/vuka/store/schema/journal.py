"""The message journal, and what the hub owes: blocks that append, and rows only for what did not arrive at once.

A batch writes one block with every message in and out, so that what a payment costs here does not depend on how
many there are. What is in a block is written and read by `vuka.switch.journal`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text, text

from vuka.store.schema.base import Int64, metadata

journal_block: Final = Table(
    "journal_block",
    metadata,
    Column("block_id", Int64, primary_key=True, comment="A key: it says when, and which node wrote it."),
    Column("node", Integer, nullable=False),
    Column(
        "settled",
        Int64,
        nullable=False,
        comment="Every message owed by the node's blocks up to this one has arrived, or has its row of `delivery`.",
    ),
    Column("content", LargeBinary, nullable=False, comment="MessagePack: what came in, what goes out, what arrived."),
)
Index("ix_journal_block_node", journal_block.c.node, journal_block.c.block_id)

journal_subject: Final = Table(
    "journal_subject",
    metadata,
    Column(
        "subject",
        Int64,
        primary_key=True,
        autoincrement=False,
        comment="The key of a record; below zero the hash of what a message without a record is about.",
    ),
    Column("block_id", Int64, primary_key=True, autoincrement=False),
    comment="Which blocks have messages about what.",
    sqlite_with_rowid=False,
)

delivery: Final = Table(
    "delivery",
    metadata,
    Column("message_id", Int64, primary_key=True, autoincrement=False),
    Column("participant", Text, nullable=False),
    Column("state", Text, nullable=False, comment="PENDING or PARKED"),
    Column("deadline_ms", Int64, nullable=False, comment="Until when the message can still matter."),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer, comment="The HTTP status last answered."),
    Column("error", Text),
    Column("updated_ms", Int64, nullable=False),
    Column("message", LargeBinary, nullable=False, comment="MessagePack: all that is needed to send it again."),
    comment="Messages that are owed and did not arrive at once. What has arrived has no row.",
)
Index("ix_delivery_participant", delivery.c.participant, delivery.c.message_id)
Index(
    "ix_delivery_parked",
    delivery.c.message_id,
    sqlite_where=text("state = 'PARKED'"),
    postgresql_where=text("state = 'PARKED'"),
)
