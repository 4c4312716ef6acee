"""Which ledger a hub has, and what is about to be done in one that is a cluster"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_choice",
        sa.Column(
            "only",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="1.",
        ),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column(
            "cluster_id",
            sa.Text(),
            nullable=False,
            comment="A decimal number of 128 bits; 0 where it is embedded.",
        ),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_ledger_choice")),
        comment="Where the money is. A hub's ledger is chosen when it is made.",
    )
    op.create_table(
        "ledger_intent",
        sa.Column(
            "intent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("now_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "term",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Of the process that wrote it: ended by whoever carries it out.",
        ),
        sa.Column(
            "command",
            sa.Text(),
            nullable=False,
            comment="Its name; empty where there is none, and headroom may be amiss.",
        ),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_ledger_intent")),
        comment="Commands begun in a ledger that does not wait for the commit of the records, which strikes them out.",
    )
