"""Schedules that close settlement windows: what they are planned by, and what is there to settle"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("settlement_schedule", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "planned_ms",
                _INT64,
                nullable=False,
                server_default="0",
                comment="When next_ms was worked out: in the future, a clock was wrong.",
            )
        )
        batch_op.add_column(
            sa.Column(
                "last_due_ms", _INT64, nullable=True, comment="When it was due then: earlier, where that was made up."
            )
        )
        batch_op.add_column(sa.Column("changed_ms", _INT64, nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("changed_by", sa.Text(), nullable=False, server_default=""))
    # The defaults were for the rows of before.
    with op.batch_alter_table("settlement_schedule", schema=None) as batch_op:
        for column in ("planned_ms", "changed_ms", "changed_by"):
            batch_op.alter_column(column, server_default=None)
    op.create_index(
        "ix_window_content_unsettled",
        "window_content",
        ["settlement_window_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('CLOSED', 'ABORTED')"),
        postgresql_where=sa.text("state IN ('CLOSED', 'ABORTED')"),
    )
