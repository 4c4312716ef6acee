"""The hub processes that share a database"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hub_node",
        sa.Column(
            "node_no", sa.Integer(), autoincrement=False, nullable=False, comment="0 to 255: in every key it makes."
        ),
        sa.Column(
            "place",
            sa.Text(),
            nullable=False,
            comment="Whose data directory it runs in: the same after a restart.",
        ),
        sa.Column(
            "run",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Drawn by lot at each start; its workers share it.",
        ),
        sa.Column(
            "incarnation",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Drawn by lot for each process.",
        ),
        sa.Column(
            "beats",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Grows while it lives.",
        ),
        sa.Column(
            "held_by",
            sa.Integer(),
            nullable=False,
            comment="The node that delivers what is owed under this number.",
        ),
        sa.Column(
            "last_batch",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="The key of the last batch it has committed.",
        ),
        sa.Column(
            "resends",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Grows when another node has a message of it sent again.",
        ),
        sa.Column(
            "is_stopped",
            sa.Integer(),
            nullable=False,
            comment="It has ended in order, and waits for nobody to notice.",
        ),
        sa.Column("started_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("node_no", name=op.f("pk_hub_node")),
    )
