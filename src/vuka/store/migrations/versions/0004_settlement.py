"""Settlement: what windows hold, settlements, fees, schedules, bank accounts and notifications"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fee",
        sa.Column(
            "transfer_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("fee_no", sa.Integer(), autoincrement=False, nullable=False, comment="From 1."),
        sa.Column("rule", sa.Text(), nullable=False, comment="The name of the rule that charged it."),
        sa.Column("ledger_account_type", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("debtor_account_id", sa.Integer(), nullable=False),
        sa.Column("creditor_account_id", sa.Integer(), nullable=False),
        sa.Column("settlement_window_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_seq", "fee_no", name=op.f("pk_fee")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notification",
        sa.Column("notification_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False, comment="A JSON object: the figures it tells."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notification")),
    )
    op.create_table(
        "notification_delivery",
        sa.Column(
            "notification_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("channel", sa.Text(), nullable=False, comment="log, webhook, smtp, or a plugin's."),
        sa.Column("state", sa.Text(), nullable=False, comment="PENDING, DELIVERED or PARKED."),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "next_ms",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="When it is tried next.",
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", "channel", name=op.f("pk_notification_delivery")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("notification_delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notification_delivery_pending",
            ["next_ms"],
            unique=False,
            sqlite_where=sa.text("state = 'PENDING'"),
            postgresql_where=sa.text("state = 'PENDING'"),
        )

    op.create_table(
        "settlement_change",
        sa.Column("settlement_change_id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False, comment="WINDOW, SETTLEMENT or ACCOUNT."),
        sa.Column("subject_id", sa.Integer(), nullable=False, comment="The window's or the settlement's number."),
        sa.Column("account_id", sa.Integer(), nullable=True, comment="Which account of the settlement."),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("settlement_change_id", name=op.f("pk_settlement_change")),
    )
    with op.batch_alter_table("settlement_change", schema=None) as batch_op:
        batch_op.create_index("ix_settlement_change_subject_id", ["subject_id", "subject"], unique=False)

    op.create_table(
        "settlement_schedule",
        sa.Column("settlement_schedule_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False, comment="Five fields: minute, hour, day, month, weekday."),
        sa.Column("time_zone", sa.Text(), nullable=False, comment="Of the IANA database, e.g. Africa/Kigali."),
        sa.Column(
            "settlement_model",
            sa.Text(),
            nullable=True,
            comment="The model to settle the closed window by; None: it is closed only.",
        ),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column(
            "next_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, comment="When it is due."
        ),
        sa.Column(
            "last_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True, comment="When it last ran."
        ),
        sa.Column("last_outcome", sa.Text(), nullable=True, comment="What it did then, for people."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("settlement_schedule_id", name=op.f("pk_settlement_schedule")),
        sa.UniqueConstraint("name", name=op.f("uq_settlement_schedule_name")),
    )
    op.create_table(
        "window_flow",
        sa.Column("settlement_window_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("debtor_account_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("creditor_account_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "is_immediate", sa.Integer(), autoincrement=False, nullable=False, comment="Settled as it was committed."
        ),
        sa.Column(
            "amount_high",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="The sum of amount / 2^32.",
        ),
        sa.Column(
            "amount_low",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="The sum of amount % 2^32.",
        ),
        sa.Column(
            "transfers",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="How many made it up.",
        ),
        sa.PrimaryKeyConstraint(
            "settlement_window_id",
            "debtor_account_id",
            "creditor_account_id",
            "is_immediate",
            name=op.f("pk_window_flow"),
        ),
        comment="What one account owes another by the transfers and fees of a window, grown in the commit of each.",
        sqlite_with_rowid=False,
    )
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
        sa.Column("bic", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.participant_id"], name=op.f("fk_bank_account_participant_id")
        ),
        sa.PrimaryKeyConstraint("participant_id", "currency", name=op.f("pk_bank_account")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gross_unsettled",
        sa.Column(
            "transfer_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["transfer_seq"], ["transfer.transfer_seq"], name=op.f("fk_gross_unsettled_transfer_seq")
        ),
        sa.PrimaryKeyConstraint("transfer_seq", name=op.f("pk_gross_unsettled")),
        comment="Payments of an immediate model whose payer had no liquidity left when they were committed.",
    )
    op.create_table(
        "settlement",
        sa.Column("settlement_id", sa.Integer(), nullable=False),
        sa.Column("settlement_model_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="Of its last change of state."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_model_id"],
            ["settlement_model.settlement_model_id"],
            name=op.f("fk_settlement_settlement_model_id"),
        ),
        sa.PrimaryKeyConstraint("settlement_id", name=op.f("pk_settlement")),
    )
    op.create_table(
        "alarm",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="The position."),
        sa.Column("raised_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "last_ms",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="When it was last notified.",
        ),
        sa.Column("repeats", sa.Integer(), nullable=False, comment="How often it was notified again."),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name=op.f("fk_alarm_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_alarm")),
        comment="Net debit caps in use beyond their threshold.",
    )
    op.create_table(
        "bank_statement",
        sa.Column("bank_statement_id", sa.Integer(), nullable=False),
        sa.Column("settlement_id", sa.Integer(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False, comment="SHA-256 of the file."),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False, comment="A JSON array: the warnings that were accepted."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_id"], ["settlement.settlement_id"], name=op.f("fk_bank_statement_settlement_id")
        ),
        sa.PrimaryKeyConstraint("bank_statement_id", name=op.f("pk_bank_statement")),
        sa.UniqueConstraint("settlement_id", "digest", name=op.f("uq_bank_statement_settlement_id_digest")),
        comment="Statements of the settlement bank by which settlements were finalised.",
    )
    op.create_table(
        "settlement_account",
        sa.Column("settlement_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=True),
        sa.Column(
            "net_high",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="What it owes (negative: is owed), divided by 2^32, downwards.",
        ),
        sa.Column(
            "net_low",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="The rest, from 0 to 2^32 - 1.",
        ),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name=op.f("fk_settlement_account_account_id")),
        sa.ForeignKeyConstraint(
            ["settlement_id"], ["settlement.settlement_id"], name=op.f("fk_settlement_account_settlement_id")
        ),
        sa.PrimaryKeyConstraint("settlement_id", "account_id", name=op.f("pk_settlement_account")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "settlement_obligation",
        sa.Column("settlement_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("debtor_account_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("creditor_account_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("amount_high", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_low", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_id"], ["settlement.settlement_id"], name=op.f("fk_settlement_obligation_settlement_id")
        ),
        sa.PrimaryKeyConstraint(
            "settlement_id", "debtor_account_id", "creditor_account_id", name=op.f("pk_settlement_obligation")
        ),
        comment="Who pays whom in a bilateral settlement; a multilateral one has none.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "window_content",
        sa.Column("window_content_id", sa.Integer(), nullable=False),
        sa.Column("settlement_window_id", sa.Integer(), nullable=False),
        sa.Column("ledger_account_type", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("is_immediate", sa.Integer(), nullable=False, comment="Settled as it was committed."),
        sa.Column("state", sa.Text(), nullable=False, comment="CLOSED, PENDING_SETTLEMENT, SETTLED or ABORTED."),
        sa.Column("settlement_id", sa.Integer(), nullable=True, comment="The one that has it now."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_id"], ["settlement.settlement_id"], name=op.f("fk_window_content_settlement_id")
        ),
        sa.ForeignKeyConstraint(
            ["settlement_window_id"],
            ["settlement_window.settlement_window_id"],
            name=op.f("fk_window_content_settlement_window_id"),
        ),
        sa.PrimaryKeyConstraint("window_content_id", name=op.f("pk_window_content")),
        sa.UniqueConstraint(
            "settlement_window_id",
            "ledger_account_type",
            "currency",
            "is_immediate",
            name=op.f("uq_window_content_kind"),
        ),
    )
    op.create_table(
        "settlement_content",
        sa.Column("settlement_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("window_content_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_id"], ["settlement.settlement_id"], name=op.f("fk_settlement_content_settlement_id")
        ),
        sa.ForeignKeyConstraint(
            ["window_content_id"],
            ["window_content.window_content_id"],
            name=op.f("fk_settlement_content_window_content_id"),
        ),
        sa.PrimaryKeyConstraint("settlement_id", "window_content_id", name=op.f("pk_settlement_content")),
        comment="What a settlement was made of: it stays when the settlement is aborted and another takes the content.",
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("participant_limit", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "liquidity_share",
                sa.Integer(),
                nullable=True,
                comment="In hundredths of a percent: the cap follows the liquidity.",
            )
        )

    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("extensions", sa.Text(), nullable=True, comment="Of the request: a JSON array of [key, value].")
        )

    # What the windows hold already: every committed payment was deferred, whatever its model said.
    op.execute(
        """INSERT INTO window_flow (settlement_window_id, debtor_account_id, creditor_account_id, is_immediate,
                                    amount_high, amount_low, transfers)
           SELECT t.settlement_window_id, da.account_id, ca.account_id, 0,
                  SUM(t.amount / 4294967296), SUM(t.amount % 4294967296), COUNT(*)
           FROM transfer t
           JOIN participant d ON d.name = t.payer_fsp
           JOIN account da ON da.participant_id = d.participant_id AND da.currency = t.currency
                          AND da.type = 'POSITION'
           JOIN participant c ON c.name = t.payee_fsp
           JOIN account ca ON ca.participant_id = c.participant_id AND ca.currency = t.currency
                          AND ca.type = 'POSITION'
           WHERE t.kind = 'PAYMENT' AND t.state = 'COMMITTED'
           GROUP BY t.settlement_window_id, da.account_id, ca.account_id"""
    )
