"""The message journal in blocks: a batch appends one row, and what has arrived leaves no other"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BLOCK_MESSAGES = 200
NODE_BITS, SEQUENCE_BITS = 8, 13
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SELECT_MESSAGES = """SELECT m.message_id, m.at_ms, m.direction, m.source, m.destination, m.method, m.path, m.resource,
    m.resource_id, m.headers, m.body, m.body_of, m.outcome, d.participant, d.endpoint, d.parameters, d.deadline_ms,
    d.state, d.attempts, d.status, d.error, d.updated_ms, b.body AS shared_body
    FROM message m
    LEFT JOIN delivery d ON d.message_id = m.message_id
    LEFT JOIN message b ON b.message_id = m.body_of
    WHERE m.message_id > :after ORDER BY m.message_id LIMIT :limit"""


def upgrade() -> None:
    op.add_column(
        "transfer",
        sa.Column(
            "trace",
            sa.Text(),
            nullable=True,
            comment="Its trace context, for what the hub says by itself: a JSON array of [name, value].",
        ),
    )
    op.create_table(
        "journal_block",
        sa.Column("block_id", BIG, nullable=False, comment="A key: it says when, and which node wrote it."),
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column(
            "settled",
            BIG,
            nullable=False,
            comment="Every message owed by the node's blocks up to this one has arrived, or has its row of `delivery`.",
        ),
        sa.Column(
            "content",
            sa.LargeBinary(),
            nullable=False,
            comment="MessagePack: what came in, what goes out, what arrived.",
        ),
        sa.PrimaryKeyConstraint("block_id", name=op.f("pk_journal_block")),
    )
    op.create_index("ix_journal_block_node", "journal_block", ["node", "block_id"])
    op.create_table(
        "journal_subject",
        sa.Column(
            "subject",
            BIG,
            autoincrement=False,
            nullable=False,
            comment="The key of a record; below zero the hash of what a message without a record is about.",
        ),
        sa.Column("block_id", BIG, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subject", "block_id", name=op.f("pk_journal_subject")),
        comment="Which blocks have messages about what.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "delivery_new",
        sa.Column("message_id", BIG, autoincrement=False, nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="PENDING or PARKED"),
        sa.Column("deadline_ms", BIG, nullable=False, comment="Until when the message can still matter."),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True, comment="The HTTP status last answered."),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_ms", BIG, nullable=False),
        sa.Column(
            "message",
            sa.LargeBinary(),
            nullable=False,
            comment="MessagePack: all that is needed to send it again.",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_delivery_new")),
        comment="Messages that are owed and did not arrive at once. What has arrived has no row.",
    )
    _move(op.get_bind())
    op.drop_table("delivery")
    op.drop_table("message")
    op.rename_table("delivery_new", "delivery")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX pk_delivery_new RENAME TO pk_delivery")
    op.create_index("ix_delivery_participant", "delivery", ["participant", "message_id"])
    is_parked = sa.text("state = 'PARKED'")
    op.create_index(
        "ix_delivery_parked", "delivery", ["message_id"], sqlite_where=is_parked, postgresql_where=is_parked
    )


def _move(connection: sa.Connection) -> None:
    """Everything there is goes into blocks, each with the key of its last message; what is owed into rows."""
    for rows in _pages(connection):
        # A block belongs to a node, and what is in it has that node's keys.
        for node in sorted({_node_of(row.message_id) for row in rows}):
            _write(connection, node, [row for row in rows if _node_of(row.message_id) == node])


def _pages(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    after = 0
    while True:
        rows = connection.execute(sa.text(SELECT_MESSAGES), {"after": after, "limit": BLOCK_MESSAGES}).all()
        if not rows:
            return
        yield rows
        after = rows[-1].message_id


def _write(connection: sa.Connection, node: int, rows: Sequence[Any]) -> None:
    received: list[list[object]] = []
    sent: list[list[object]] = []
    marks: list[list[object]] = []
    subjects: set[int] = set()
    owed: list[dict[str, object]] = []
    for row in rows:
        subject = _subject_of(row.resource_id)
        subjects.add(subject)
        about = [row.message_id, row.at_ms, row.source, row.destination, row.method, row.path, row.resource]
        about += [row.resource_id, json.loads(row.headers)]
        if row.direction == "in":
            received.append([*about, row.body or b"", row.outcome])
            continue
        # A body may be in another block from here: it is written where it is needed.
        body = row.body if row.body_of is None else row.shared_body
        parameters = json.loads(row.parameters) if row.parameters is not None else {}
        message = [*about, body, None, row.participant or row.destination, row.endpoint or "", parameters]
        message += [row.deadline_ms or 0, row.state is not None, subject]
        sent.append(message)
        if row.state is None:
            continue
        if row.state != "PENDING":
            marks.append([row.message_id, row.state, row.attempts, row.status, row.error, row.updated_ms])
        if row.state != "DELIVERED":
            owed.append(
                {
                    "message_id": row.message_id,
                    "participant": row.participant,
                    "state": row.state,
                    "deadline_ms": row.deadline_ms,
                    "attempts": row.attempts,
                    "status": row.status,
                    "error": row.error,
                    "updated_ms": row.updated_ms,
                    "message": msgspec.msgpack.encode(message),
                }
            )
    block_id = rows[-1].message_id
    content = msgspec.msgpack.encode([received, sent, marks, sorted(subjects)])
    connection.execute(
        sa.text("INSERT INTO journal_block (block_id, node, settled, content) VALUES (:id, :node, :id, :content)"),
        {"id": block_id, "node": node, "content": content},
    )
    connection.execute(
        sa.text("INSERT INTO journal_subject (subject, block_id) VALUES (:subject, :block_id)"),
        [{"subject": subject, "block_id": block_id} for subject in sorted(subjects)],
    )
    if owed:
        names = list(owed[0])
        values = ", ".join(f":{name}" for name in names)
        connection.execute(
            sa.text(f"INSERT INTO delivery_new ({', '.join(names)}) VALUES ({values})"),
            owed,
        )


def _node_of(key: int) -> int:
    return (key >> SEQUENCE_BITS) & ((1 << NODE_BITS) - 1)


def _subject_of(text: str) -> int:
    return -1 - (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1)
