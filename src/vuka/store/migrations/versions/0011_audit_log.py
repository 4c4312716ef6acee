"""The audit log, which begins with what was final before it"""

from __future__ import annotations

import hashlib
import time

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", _INT64, autoincrement=False, nullable=False, comment="1, 2, 3 …: none is ever left out."),
        sa.Column("at_ms", _INT64, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="GENESIS, ENDS, ACT, CHECKPOINT or PRUNED"),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="MessagePack: see vuka.switch.auditlog."),
        sa.Column("hash", sa.LargeBinary(32), nullable=False, comment="SHA-256 of the hash before it and of this row."),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entry")),
        comment="Who changed what about the hub, and how every transfer ended.",
    )
    op.create_index("ix_audit_entry_at_ms", "audit_entry", ["at_ms"])
    op.create_index(
        "ix_audit_entry_acts",
        "audit_entry",
        ["seq"],
        sqlite_where=sa.text("kind <> 'ENDS'"),
        postgresql_where=sa.text("kind <> 'ENDS'"),
    )
    connection = op.get_bind()
    scheme = connection.execute(sa.text("SELECT name FROM scheme")).scalar()
    if scheme is not None:
        _begin(connection, scheme)


def _begin(connection: sa.Connection, scheme: str) -> None:
    """The first entry of a hub that has worked without the log. A new one has it from its founding."""
    count, digest, after = 0, hashlib.sha256(), b""
    while True:
        rows = connection.execute(
            sa.text(
                """SELECT transfer_id, state, completed_ms, amount, currency, payer_fsp, payee_fsp, kind, error_code
                   FROM transfer
                   WHERE transfer_id > :after AND state IN ('COMMITTED', 'ABORTED_REJECTED', 'ABORTED_ERROR',
                         'EXPIRED_PREPARED', 'EXPIRED_RESERVED', 'INVALID')
                   ORDER BY transfer_id LIMIT 10000"""
            ),
            {"after": after},
        ).all()
        for transfer_id, *end in rows:
            count += 1
            digest.update(msgspec.msgpack.encode((bytes(transfer_id), *end)))
        if len(rows) < 10_000:
            break
        after = bytes(rows[-1][0])
    now_ms = time.time_ns() // 1_000_000
    content = msgspec.msgpack.encode(
        {"scheme": scheme, "from_ms": now_ms, "transfers": count, "digest": digest.hexdigest()}
    )
    number, at = (1).to_bytes(8, "big"), now_ms.to_bytes(8, "big")
    connection.execute(
        sa.text("INSERT INTO audit_entry (seq, at_ms, kind, content, hash) VALUES (1, :at_ms, :kind, :content, :hash)"),
        {
            "at_ms": now_ms,
            "kind": "GENESIS",
            "content": content,
            "hash": hashlib.sha256(b"%b%b%bGENESIS\0%b" % (bytes(32), number, at, content)).digest(),
        },
    )
