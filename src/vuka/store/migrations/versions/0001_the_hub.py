"""The tables of the hub: ledger, records, journal and outbox"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "delivery",
        sa.Column(
            "message_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column(
            "parameters", sa.Text(), nullable=False, comment="A JSON object: what fills the endpoint's template."
        ),
        sa.Column(
            "deadline_ms",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Until when the message can still matter.",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="PENDING, DELIVERED or PARKED"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True, comment="The HTTP status last answered."),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_delivery")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_delivery_open",
            ["participant", "message_id"],
            unique=False,
            sqlite_where=sa.text("state <> 'DELIVERED'"),
            postgresql_where=sa.text("state <> 'DELIVERED'"),
        )

    op.create_table(
        "ledger_account",
        sa.Column(
            "account_no", sa.Integer(), autoincrement=False, nullable=False, comment="In the order of creation, from 1."
        ),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("debits_pending", sa.LargeBinary(length=16), nullable=False),
        sa.Column("debits_posted", sa.LargeBinary(length=16), nullable=False),
        sa.Column("credits_pending", sa.LargeBinary(length=16), nullable=False),
        sa.Column("credits_posted", sa.LargeBinary(length=16), nullable=False),
        sa.Column("user_data_128", sa.LargeBinary(length=16), nullable=True),
        sa.Column("user_data_64", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("user_data_32", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("ledger", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("timestamp", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("account_no", name=op.f("pk_ledger_account")),
    )
    with op.batch_alter_table("ledger_account", schema=None) as batch_op:
        batch_op.create_index(
            "ix_ledger_account_user_data_128",
            ["user_data_128", "timestamp"],
            unique=False,
            sqlite_where=sa.text("user_data_128 IS NOT NULL"),
            postgresql_where=sa.text("user_data_128 IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_ledger_account_user_data_32",
            ["user_data_32", "timestamp"],
            unique=False,
            sqlite_where=sa.text("user_data_32 IS NOT NULL"),
            postgresql_where=sa.text("user_data_32 IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_ledger_account_user_data_64",
            ["user_data_64", "timestamp"],
            unique=False,
            sqlite_where=sa.text("user_data_64 IS NOT NULL"),
            postgresql_where=sa.text("user_data_64 IS NOT NULL"),
        )
        batch_op.create_index("uq_ledger_account_id", ["id"], unique=True)
        batch_op.create_index("uq_ledger_account_timestamp", ["timestamp"], unique=True)

    op.create_table(
        "ledger_balance",
        sa.Column("account_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "timestamp",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="Of the transfer.",
        ),
        sa.Column("debits_pending", sa.LargeBinary(length=16), nullable=False),
        sa.Column("debits_posted", sa.LargeBinary(length=16), nullable=False),
        sa.Column("credits_pending", sa.LargeBinary(length=16), nullable=False),
        sa.Column("credits_posted", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("account_no", "timestamp", name=op.f("pk_ledger_balance")),
        comment="Accounts with history: their balances after each transfer.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_expiry",
        sa.Column(
            "expires_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "timestamp",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="Of the pending transfer.",
        ),
        sa.PrimaryKeyConstraint("expires_at", "timestamp", name=op.f("pk_ledger_expiry")),
        comment="Pending transfers with a timeout that have not ended.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_failed",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_failed")),
        comment="Ids of transfers refused for what depends on the moment: they are spent.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_resolution",
        sa.Column(
            "timestamp",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="Of the pending transfer.",
        ),
        sa.Column("status", sa.Integer(), nullable=False, comment="2 posted, 3 voided, 4 expired."),
        sa.Column(
            "resolved_at",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="The timestamp of the post or void; of the expiry, when due.",
        ),
        sa.PrimaryKeyConstraint("timestamp", name=op.f("pk_ledger_resolution")),
    )
    op.create_table(
        "ledger_transfer",
        sa.Column(
            "timestamp", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("debit_account_no", sa.Integer(), nullable=False),
        sa.Column("credit_account_no", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column(
            "pending_id", sa.LargeBinary(length=16), nullable=True, comment="The transfer that this one posts or voids."
        ),
        sa.Column("user_data_128", sa.LargeBinary(length=16), nullable=True),
        sa.Column("user_data_64", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("user_data_32", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "timeout",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="In seconds; NULL is none.",
        ),
        sa.PrimaryKeyConstraint("timestamp", name=op.f("pk_ledger_transfer")),
        comment="The ledger of a transfer is that of its accounts.",
    )
    with op.batch_alter_table("ledger_transfer", schema=None) as batch_op:
        batch_op.create_index("ix_ledger_transfer_credit", ["credit_account_no", "timestamp"], unique=False)
        batch_op.create_index("ix_ledger_transfer_debit", ["debit_account_no", "timestamp"], unique=False)
        batch_op.create_index(
            "ix_ledger_transfer_user_data_128",
            ["user_data_128", "timestamp"],
            unique=False,
            sqlite_where=sa.text("user_data_128 IS NOT NULL"),
            postgresql_where=sa.text("user_data_128 IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_ledger_transfer_user_data_32",
            ["user_data_32", "timestamp"],
            unique=False,
            sqlite_where=sa.text("user_data_32 IS NOT NULL"),
            postgresql_where=sa.text("user_data_32 IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_ledger_transfer_user_data_64",
            ["user_data_64", "timestamp"],
            unique=False,
            sqlite_where=sa.text("user_data_64 IS NOT NULL"),
            postgresql_where=sa.text("user_data_64 IS NOT NULL"),
        )
        batch_op.create_index("uq_ledger_transfer_id", ["id"], unique=True)

    op.create_table(
        "message",
        sa.Column("message_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False, comment="in or out"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False, comment="A JSON array of [name, value]."),
        sa.Column(
            "body", sa.LargeBinary(), nullable=True, comment="None where there is none, or where `body_of` has it."
        ),
        sa.Column(
            "body_of",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="The message whose body this is too: stored once however often it is sent.",
        ),
        sa.Column("outcome", sa.Text(), nullable=False, comment="What the hub did with it."),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message")),
    )
    with op.batch_alter_table("message", schema=None) as batch_op:
        batch_op.create_index("ix_message_resource_id", ["resource_id"], unique=False)

    op.create_table(
        "oracle_party",
        sa.Column("party_id_type", sa.Text(), nullable=False),
        sa.Column("party_identifier", sa.Text(), nullable=False),
        sa.Column("party_sub_id", sa.Text(), nullable=False, comment="Empty: the party itself."),
        sa.Column("currency", sa.Text(), nullable=False, comment="Empty: any."),
        sa.Column("fsp_id", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint(
            "party_id_type", "party_identifier", "party_sub_id", "currency", "fsp_id", name=op.f("pk_oracle_party")
        ),
    )
    op.create_table(
        "participant",
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column("is_proxy", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "fspiop_version",
            sa.Text(),
            nullable=True,
            comment="The version to speak to it where it did not name one itself.",
        ),
        sa.PrimaryKeyConstraint("participant_id", name=op.f("pk_participant")),
        sa.UniqueConstraint("name", name=op.f("uq_participant_name")),
    )
    op.create_table(
        "quote",
        sa.Column("quote_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quote_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("wire_id", sa.Text(), nullable=False, comment="The id as the payer wrote it."),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("payer_fsp", sa.Text(), nullable=False),
        sa.Column("payee_fsp", sa.Text(), nullable=False),
        sa.Column("payee_party", sa.Text(), nullable=False, comment="type/identifier[/subId]"),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("response_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("condition", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("answered_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("quote_seq", name=op.f("pk_quote")),
    )
    with op.batch_alter_table("quote", schema=None) as batch_op:
        batch_op.create_index(
            "ix_quote_condition",
            ["condition"],
            unique=False,
            sqlite_where=sa.text("condition IS NOT NULL"),
            postgresql_where=sa.text("condition IS NOT NULL"),
        )
        batch_op.create_index("uq_quote_quote_id", ["quote_id"], unique=True)

    op.create_table(
        "scheme",
        sa.Column("only", sa.Integer(), nullable=False, comment="Always 1: the table has one row."),
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Grows with every change to what `Directory` holds.",
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_scheme")),
    )
    op.create_table(
        "settlement_model",
        sa.Column("settlement_model_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column("granularity", sa.Text(), nullable=False),
        sa.Column("interchange", sa.Text(), nullable=False),
        sa.Column("delay", sa.Text(), nullable=False),
        sa.Column(
            "currency",
            sa.Text(),
            nullable=True,
            comment="None: the default for every currency without a model of its own.",
        ),
        sa.Column("require_liquidity_check", sa.Integer(), nullable=False),
        sa.Column("ledger_account_type", sa.Text(), nullable=False),
        sa.Column("settlement_account_type", sa.Text(), nullable=False),
        sa.Column("auto_position_reset", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("settlement_model_id", name=op.f("pk_settlement_model")),
        sa.UniqueConstraint("name", name=op.f("uq_settlement_model_name")),
    )
    op.create_table(
        "settlement_window",
        sa.Column("settlement_window_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("settlement_window_id", name=op.f("pk_settlement_window")),
    )
    op.create_table(
        "transfer",
        sa.Column("transfer_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transfer_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("wire_id", sa.Text(), nullable=False, comment="The id as the payer wrote it."),
        sa.Column("kind", sa.Text(), nullable=False, comment="PAYMENT, FUNDS_IN or FUNDS_OUT."),
        sa.Column("payer_fsp", sa.Text(), nullable=False),
        sa.Column("payee_fsp", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=True),
        sa.Column("ilp_packet", sa.Text(), nullable=True),
        sa.Column("expires_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("fulfil_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("error_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("fulfilment", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_description", sa.Text(), nullable=True),
        sa.Column("settlement_window_id", sa.Integer(), nullable=True),
        sa.Column("payer_version", sa.Text(), nullable=False, comment="The FSPIOP version of callbacks to the payer."),
        sa.Column("payee_version", sa.Text(), nullable=False, comment="The FSPIOP version of callbacks to the payee."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("completed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("transfer_seq", name=op.f("pk_transfer")),
    )
    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.create_index(
            "ix_transfer_expires",
            ["expires_ms"],
            unique=False,
            sqlite_where=sa.text("state = 'RESERVED'"),
            postgresql_where=sa.text("state = 'RESERVED'"),
        )
        batch_op.create_index("uq_transfer_transfer_id", ["transfer_id"], unique=True)

    op.create_table(
        "transfer_state_change",
        sa.Column(
            "transfer_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("transfer_seq", "step", name=op.f("pk_transfer_state_change")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "account",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, comment="A ledger account type, in the reference's words."),
        sa.Column("ledger_account_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "changed_ms",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="When an operator last changed it or its money.",
        ),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.participant_id"], name=op.f("fk_account_participant_id")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account")),
        sa.UniqueConstraint("ledger_account_id", name=op.f("uq_account_ledger_account_id")),
        sa.UniqueConstraint("participant_id", "currency", "type", name=op.f("uq_account_participant_id_currency_type")),
    )
    op.create_table(
        "endpoint",
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.participant_id"], name=op.f("fk_endpoint_participant_id")
        ),
        sa.PrimaryKeyConstraint("participant_id", "type", name=op.f("pk_endpoint")),
    )
    op.create_table(
        "funds_movement",
        sa.Column("transfer_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name=op.f("fk_funds_movement_account_id")),
        sa.ForeignKeyConstraint(
            ["transfer_seq"], ["transfer.transfer_seq"], name=op.f("fk_funds_movement_transfer_seq")
        ),
        sa.PrimaryKeyConstraint("transfer_seq", name=op.f("pk_funds_movement")),
    )
    op.create_table(
        "participant_limit",
        sa.Column("limit_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, comment="NET_DEBIT_CAP"),
        sa.Column("value", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("alarm_percentage", sa.Integer(), nullable=False),
        sa.Column(
            "is_active", sa.Integer(), nullable=False, comment="A change adds a row; the older ones stay, inactive."
        ),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name=op.f("fk_participant_limit_account_id")),
        sa.PrimaryKeyConstraint("limit_id", name=op.f("pk_participant_limit")),
    )
    with op.batch_alter_table("participant_limit", schema=None) as batch_op:
        batch_op.create_index(
            "uq_participant_limit_active",
            ["account_id", "type"],
            unique=True,
            sqlite_where=sa.text("is_active = 1"),
            postgresql_where=sa.text("is_active = 1"),
        )

    op.create_table(
        "shortfall",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="The position."),
        sa.Column(
            "amount",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Headroom to take back as soon as credits allow; > 0.",
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name=op.f("fk_shortfall_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_shortfall")),
    )
