"""Notifications are delivered: to whom, where to, and what became of it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nothing has ever read or written the deliveries that 0004 knew.
    op.drop_table("notification_delivery")
    op.create_table(
        "notification_delivery",
        sa.Column(
            "notification_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("delivery_no", sa.Integer(), autoincrement=False, nullable=False, comment="From 1."),
        sa.Column("channel", sa.Text(), nullable=False, comment="log, webhook, smtp, or a plugin's."),
        sa.Column("recipient", sa.Text(), nullable=False, comment="The participant it is about, or the hub."),
        sa.Column(
            "address",
            sa.Text(),
            nullable=False,
            comment="Where to, when it was last tried; empty: the channel knows.",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="PENDING, DELIVERED or PARKED."),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "next_ms",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="When it is tried next: not while somebody tries it.",
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the last attempt failed."),
        sa.Column("updated_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notification.notification_id"],
            name=op.f("fk_notification_delivery_notification_id"),
        ),
        sa.PrimaryKeyConstraint("notification_id", "delivery_no", name=op.f("pk_notification_delivery")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("notification_delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notification_delivery_open",
            ["state", "channel", "next_ms"],
            unique=False,
            sqlite_where=sa.text("state <> 'DELIVERED'"),
            postgresql_where=sa.text("state <> 'DELIVERED'"),
        )
    with op.batch_alter_table("notification", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "distributed_ms",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                nullable=True,
                comment="When its deliveries were made; None: they are yet to be.",
            )
        )
        batch_op.create_index(
            "ix_notification_undistributed",
            ["notification_id"],
            unique=False,
            sqlite_where=sa.text("distributed_ms IS NULL"),
            postgresql_where=sa.text("distributed_ms IS NULL"),
        )
        batch_op.create_index("ix_notification_participant", ["participant", "notification_id"], unique=False)
    # What was noted before there was anybody to deliver it stays on record: nobody wants to be told of it now.
    op.execute("UPDATE notification SET distributed_ms = created_ms")
