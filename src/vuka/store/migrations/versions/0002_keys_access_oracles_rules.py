"""Keys, credentials, oracles, rules and ledger account types"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_account_type",
        sa.Column("ledger_account_type_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column("is_settleable", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("ledger_account_type_id", name=op.f("pk_ledger_account_type")),
        sa.UniqueConstraint("name", name=op.f("uq_ledger_account_type_name")),
    )
    op.create_table(
        "oracle",
        sa.Column("oracle_id", sa.Integer(), nullable=False),
        sa.Column("party_id_type", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True, comment="None: for any currency."),
        sa.Column("endpoint_type", sa.Text(), nullable=False, comment="URL"),
        sa.Column("value", sa.Text(), nullable=False, comment="The base URL of the oracle's API."),
        sa.Column("is_default", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("oracle_id", name=op.f("pk_oracle")),
    )
    op.create_table(
        "rule_set",
        sa.Column("rule_set_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="What the rules decide about: quotes."),
        sa.Column("content", sa.Text(), nullable=False, comment="A JSON array of rules."),
        sa.Column(
            "is_active", sa.Integer(), nullable=False, comment="A change adds a row; the older ones stay, inactive."
        ),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rule_set_id", name=op.f("pk_rule_set")),
    )
    with op.batch_alter_table("rule_set", schema=None) as batch_op:
        batch_op.create_index(
            "uq_rule_set_active",
            ["kind"],
            unique=True,
            sqlite_where=sa.text("is_active = 1"),
            postgresql_where=sa.text("is_active = 1"),
        )

    op.create_table(
        "credential",
        sa.Column("credential_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="TOKEN, API_KEY or CERTIFICATE."),
        sa.Column(
            "digest", sa.LargeBinary(length=32), nullable=False, comment="SHA-256: the secret itself is not kept."
        ),
        sa.Column("participant_id", sa.Integer(), nullable=True, comment="None: an operator's."),
        sa.Column("name", sa.Text(), nullable=False, comment="Whose it is, for people: the operator, or a label."),
        sa.Column("roles", sa.Text(), nullable=False, comment="An operator's roles, separated by spaces; else empty."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.participant_id"], name=op.f("fk_credential_participant_id")
        ),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_credential")),
        sa.UniqueConstraint("digest", name=op.f("uq_credential_digest")),
    )
    op.create_table(
        "signing_key",
        sa.Column("signing_key_id", sa.Integer(), nullable=False),
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False, comment="RS256 or ES256."),
        sa.Column("public_key", sa.Text(), nullable=False, comment="PEM, SubjectPublicKeyInfo."),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="SHA-256 of the key's DER, in hex."),
        sa.Column("is_active", sa.Integer(), nullable=False, comment="Several may be: a rotation overlaps."),
        sa.Column("created_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("retired_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.participant_id"], name=op.f("fk_signing_key_participant_id")
        ),
        sa.PrimaryKeyConstraint("signing_key_id", name=op.f("pk_signing_key")),
        sa.UniqueConstraint("participant_id", "fingerprint", name=op.f("uq_signing_key_participant_id_fingerprint")),
    )
    with op.batch_alter_table("participant", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "signatures",
                sa.Text(),
                nullable=True,
                comment="REQUIRED or OFF for this participant; None: as the deployment has it.",
            )
        )

    # A scheme that was founded before these types were records gets those that every scheme has.
    op.execute(
        """INSERT INTO ledger_account_type (name, description, is_active, is_settleable, created_ms, created_by)
           SELECT t.name, t.description, 1, t.is_settleable, s.created_ms, 'founding' FROM scheme s, (
               SELECT 1 AS n, 'POSITION' AS name,
                      'Typical accounts from which a DFSP provisions transfers' AS description, 1 AS is_settleable
               UNION ALL SELECT 2, 'SETTLEMENT',
                      'Reflects the individual DFSP Settlement Accounts as held at the Settlement Bank', 0
               UNION ALL SELECT 3, 'HUB_RECONCILIATION',
                      'A single account for each currency with which the hub operates, held by the hub: '
                      || 'funds in and out', 0
               UNION ALL SELECT 4, 'HUB_MULTILATERAL_SETTLEMENT',
                      'A single account for each currency with which the hub operates, held by the hub: '
                      || 'the other side of settlement', 0
               UNION ALL SELECT 5, 'INTERCHANGE_FEE', 'Fees that participants owe each other', 1
               UNION ALL SELECT 6, 'INTERCHANGE_FEE_SETTLEMENT',
                      'Where fees that participants owe each other are settled', 0
               UNION ALL SELECT 7, 'HUB_FEE', 'Fees that participants owe the hub', 0) t
           ORDER BY t.n"""
    )
