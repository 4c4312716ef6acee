"""Quotes that a rule rerouted, and quotes of conversions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fx_quote",
        sa.Column("fx_quote_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conversion_request_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("wire_id", sa.Text(), nullable=False, comment="The id as the initiator wrote it."),
        sa.Column("conversion_id", sa.Text(), nullable=False),
        sa.Column("determining_transfer_id", sa.Text(), nullable=True),
        sa.Column("initiating_fsp", sa.Text(), nullable=False),
        sa.Column("counter_party_fsp", sa.Text(), nullable=False, comment="The FXP."),
        sa.Column("source_currency", sa.Text(), nullable=False),
        sa.Column(
            "source_amount",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="None: the FXP is to say it.",
        ),
        sa.Column("target_currency", sa.Text(), nullable=False),
        sa.Column(
            "target_amount",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="None: the FXP is to say it.",
        ),
        sa.Column("amount_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("response_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("condition", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("answered_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "rerouted_fsp",
            sa.Text(),
            nullable=True,
            comment="Who was asked instead of `counter_party_fsp`, by a rule of the scheme.",
        ),
        sa.Column(
            "added_headers",
            sa.Text(),
            nullable=True,
            comment="What that rule added: a JSON array of [name, value].",
        ),
        sa.PrimaryKeyConstraint("fx_quote_seq", name=op.f("pk_fx_quote")),
    )
    with op.batch_alter_table("fx_quote", schema=None) as batch_op:
        batch_op.create_index("uq_fx_quote_conversion_request_id", ["conversion_request_id"], unique=True)
        batch_op.create_index(
            "ix_fx_quote_determining_transfer_id",
            ["determining_transfer_id"],
            unique=False,
            sqlite_where=sa.text("determining_transfer_id IS NOT NULL"),
            postgresql_where=sa.text("determining_transfer_id IS NOT NULL"),
        )
    with op.batch_alter_table("quote", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "rerouted_fsp",
                sa.Text(),
                nullable=True,
                comment="Who was asked instead of `payee_fsp`, by a rule of the scheme.",
            )
        )
        batch_op.add_column(
            sa.Column(
                "added_headers",
                sa.Text(),
                nullable=True,
                comment="What that rule added: a JSON array of [name, value].",
            )
        )
