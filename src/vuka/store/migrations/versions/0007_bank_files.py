"""Bank files: who keeps an account, and a statement in several files

Nothing has written the tables of revision 0004 yet, so they are made anew rather than altered.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("bank_statement")
    op.drop_table("bank_account")
    op.create_table(
        "bank_account",
        sa.Column(
            "participant_id",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="The hub's own is the scheme's settlement account.",
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False, comment="IBAN or OTHER."),
        sa.Column("bic", sa.Text(), nullable=True, comment="Of the holder."),
        sa.Column("agent_bic", sa.Text(), nullable=True, comment="Of the bank that keeps the account."),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.participant_id"], name=op.f("fk_bank_account_participant_id")
        ),
        sa.PrimaryKeyConstraint("participant_id", "currency", name=op.f("pk_bank_account")),
        sa.UniqueConstraint("account", "currency", name="uq_bank_account_account"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bank_statement",
        sa.Column("bank_statement_id", sa.Integer(), nullable=False),
        sa.Column("settlement_id", sa.Integer(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False, comment="A JSON array: the warnings that were accepted."),
        sa.Column("movements", sa.Text(), nullable=False, comment="A JSON array: what was recorded of each account."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_id"], ["settlement.settlement_id"], name=op.f("fk_bank_statement_settlement_id")
        ),
        sa.PrimaryKeyConstraint("bank_statement_id", name=op.f("pk_bank_statement")),
        comment="Statements of the settlement bank by which settlements were finalised.",
    )
    with op.batch_alter_table("bank_statement", schema=None) as batch_op:
        batch_op.create_index("ix_bank_statement_settlement_id", ["settlement_id"], unique=False)
    op.create_table(
        "bank_statement_file",
        sa.Column("bank_statement_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("file_no", sa.Integer(), autoincrement=False, nullable=False, comment="From 1."),
        sa.Column("settlement_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("identification", sa.Text(), nullable=True, comment="The bank's own number for the statement."),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False, comment="SHA-256 of the content."),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bank_statement_id"],
            ["bank_statement.bank_statement_id"],
            name=op.f("fk_bank_statement_file_bank_statement_id"),
        ),
        sa.PrimaryKeyConstraint("bank_statement_id", "file_no", name=op.f("pk_bank_statement_file")),
        sa.UniqueConstraint("settlement_id", "digest", name="uq_bank_statement_file_digest"),
        comment="The files of a statement, as the bank gave them.",
    )
