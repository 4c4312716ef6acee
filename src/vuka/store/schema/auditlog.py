"""The audit log: a chain of entries that are only ever appended."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, LargeBinary, Table, Text, text

from vuka.store.schema.base import Int64, metadata

audit_entry: Final = Table(
    "audit_entry",
    metadata,
    Column("seq", Int64, primary_key=True, autoincrement=False, comment="1, 2, 3 …: none is ever left out."),
    Column("at_ms", Int64, nullable=False),
    Column("kind", Text, nullable=False, comment="GENESIS, ENDS, ACT, CHECKPOINT or PRUNED"),
    Column("content", LargeBinary, nullable=False, comment="MessagePack: see vuka.switch.auditlog."),
    Column("hash", LargeBinary(32), nullable=False, comment="SHA-256 of the hash before it and of this row."),
    comment="Who changed what about the hub, and how every transfer ended.",
)
Index("ix_audit_entry_at_ms", audit_entry.c.at_ms)
Index(
    "ix_audit_entry_acts",
    audit_entry.c.seq,
    sqlite_where=text("kind <> 'ENDS'"),
    postgresql_where=text("kind <> 'ENDS'"),
)
