"""The records of settlement: what windows hold, what settles it, fees, schedules, bank accounts, notifications.

Times are milliseconds UTC since 1970, amounts minor units at asset scale 4. A sum of amounts may need more than 64
bits, which SQL does not have: it is kept in two columns, the amount divided by 2^32 and its rest, each of them summed.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from vuka.store.schema.base import Int64, metadata

settlement_window: Final = Table(
    "settlement_window",
    metadata,
    Column("settlement_window_id", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_ms", Int64, nullable=False),
    Column("changed_ms", Int64, nullable=False),
)

settlement_model: Final = Table(
    "settlement_model",
    metadata,
    Column("settlement_model_id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("is_active", Integer, nullable=False),
    Column("granularity", Text, nullable=False),
    Column("interchange", Text, nullable=False),
    Column("delay", Text, nullable=False),
    Column("currency", Text, comment="None: the default for every currency without a model of its own."),
    Column("require_liquidity_check", Integer, nullable=False),
    Column("ledger_account_type", Text, nullable=False),
    Column("settlement_account_type", Text, nullable=False),
    Column("auto_position_reset", Integer, nullable=False),
    Column("created_ms", Int64, nullable=False),
)

window_flow: Final = Table(
    "window_flow",
    metadata,
    Column("settlement_window_id", Integer, primary_key=True, autoincrement=False),
    Column("debtor_account_id", Integer, primary_key=True, autoincrement=False),
    Column("creditor_account_id", Integer, primary_key=True, autoincrement=False),
    Column("is_immediate", Integer, primary_key=True, autoincrement=False, comment="Settled as it was committed."),
    Column("amount_high", Int64, nullable=False, comment="The sum of amount / 2^32."),
    Column("amount_low", Int64, nullable=False, comment="The sum of amount % 2^32."),
    Column("transfers", Int64, nullable=False, comment="How many made it up."),
    comment="What one account owes another by the transfers and fees of a window, grown in the commit of each.",
    sqlite_with_rowid=False,
)

window_content: Final = Table(
    "window_content",
    metadata,
    Column("window_content_id", Integer, primary_key=True),
    Column("settlement_window_id", Integer, ForeignKey("settlement_window.settlement_window_id"), nullable=False),
    Column("ledger_account_type", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("is_immediate", Integer, nullable=False, comment="Settled as it was committed."),
    Column("state", Text, nullable=False, comment="CLOSED, PENDING_SETTLEMENT, SETTLED or ABORTED."),
    Column("settlement_id", Integer, ForeignKey("settlement.settlement_id"), comment="The one that has it now."),
    Column("created_ms", Int64, nullable=False),
    Column("changed_ms", Int64, nullable=False),
    UniqueConstraint(
        "settlement_window_id", "ledger_account_type", "currency", "is_immediate", name="uq_window_content_kind"
    ),
)
Index(
    "ix_window_content_unsettled",
    window_content.c.settlement_window_id,
    sqlite_where=text("state IN ('CLOSED', 'ABORTED')"),
    postgresql_where=text("state IN ('CLOSED', 'ABORTED')"),
)

settlement: Final = Table(
    "settlement",
    metadata,
    Column("settlement_id", Integer, primary_key=True),
    Column("settlement_model_id", Integer, ForeignKey("settlement_model.settlement_model_id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, comment="Of its last change of state."),
    Column("created_ms", Int64, nullable=False),
    Column("changed_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
)

settlement_content: Final = Table(
    "settlement_content",
    metadata,
    Column("settlement_id", Integer, ForeignKey("settlement.settlement_id"), primary_key=True, autoincrement=False),
    Column(
        "window_content_id",
        Integer,
        ForeignKey("window_content.window_content_id"),
        primary_key=True,
        autoincrement=False,
    ),
    comment="What a settlement was made of: it stays when the settlement is aborted and another takes the content.",
    sqlite_with_rowid=False,
)

settlement_account: Final = Table(
    "settlement_account",
    metadata,
    Column("settlement_id", Integer, ForeignKey("settlement.settlement_id"), primary_key=True, autoincrement=False),
    Column("account_id", Integer, ForeignKey("account.account_id"), primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("external_reference", Text),
    Column("net_high", Int64, nullable=False, comment="What it owes (negative: is owed), divided by 2^32, downwards."),
    Column("net_low", Int64, nullable=False, comment="The rest, from 0 to 2^32 - 1."),
    Column("created_ms", Int64, nullable=False),
    Column("changed_ms", Int64, nullable=False),
    sqlite_with_rowid=False,
)

settlement_obligation: Final = Table(
    "settlement_obligation",
    metadata,
    Column("settlement_id", Integer, ForeignKey("settlement.settlement_id"), primary_key=True, autoincrement=False),
    Column("debtor_account_id", Integer, primary_key=True, autoincrement=False),
    Column("creditor_account_id", Integer, primary_key=True, autoincrement=False),
    Column("amount_high", Int64, nullable=False),
    Column("amount_low", Int64, nullable=False),
    comment="Who pays whom in a bilateral settlement; a multilateral one has none.",
    sqlite_with_rowid=False,
)

settlement_change: Final = Table(
    "settlement_change",
    metadata,
    Column("settlement_change_id", Integer, primary_key=True),
    Column("subject", Text, nullable=False, comment="WINDOW, SETTLEMENT or ACCOUNT."),
    Column("subject_id", Integer, nullable=False, comment="The window's or the settlement's number."),
    Column("account_id", Integer, comment="Which account of the settlement."),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("external_reference", Text),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
)
Index("ix_settlement_change_subject_id", settlement_change.c.subject_id, settlement_change.c.subject)

gross_unsettled: Final = Table(
    "gross_unsettled",
    metadata,
    Column("transfer_seq", Int64, ForeignKey("transfer.transfer_seq"), primary_key=True, autoincrement=False),
    Column("attempts", Integer, nullable=False),
    Column("created_ms", Int64, nullable=False),
    comment="Payments of an immediate model whose payer had no liquidity left when they were committed.",
)

fee: Final = Table(
    "fee",
    metadata,
    Column("transfer_seq", Int64, primary_key=True, autoincrement=False),
    Column("fee_no", Integer, primary_key=True, autoincrement=False, comment="From 1."),
    Column("rule", Text, nullable=False, comment="The name of the rule that charged it."),
    Column("ledger_account_type", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", Int64, nullable=False),
    Column("debtor_account_id", Integer, nullable=False),
    Column("creditor_account_id", Integer, nullable=False),
    Column("settlement_window_id", Integer, nullable=False),
    sqlite_with_rowid=False,
)

settlement_schedule: Final = Table(
    "settlement_schedule",
    metadata,
    Column("settlement_schedule_id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("cron", Text, nullable=False, comment="Five fields: minute, hour, day, month, weekday."),
    Column("time_zone", Text, nullable=False, comment="Of the IANA database, e.g. Africa/Kigali."),
    Column("settlement_model", Text, comment="The model to settle the closed window by; None: it is closed only."),
    Column("is_active", Integer, nullable=False),
    Column("next_ms", Int64, nullable=False, comment="When it is due."),
    Column(
        "planned_ms", Int64, nullable=False, comment="When next_ms was worked out: in the future, a clock was wrong."
    ),
    Column("last_ms", Int64, comment="When it last ran."),
    Column("last_due_ms", Int64, comment="When it was due then: earlier, where that was made up."),
    Column("last_outcome", Text, comment="What it did then, for people."),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed_ms", Int64, nullable=False),
    Column("changed_by", Text, nullable=False),
)

bank_account: Final = Table(
    "bank_account",
    metadata,
    Column(
        "participant_id",
        Integer,
        ForeignKey("participant.participant_id"),
        primary_key=True,
        autoincrement=False,
        comment="The hub's own is the scheme's settlement account.",
    ),
    Column("currency", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("scheme", Text, nullable=False, comment="IBAN or OTHER."),
    Column("bic", Text, comment="Of the holder."),
    Column("agent_bic", Text, comment="Of the bank that keeps the account."),
    Column("name", Text, nullable=False),
    Column("changed_ms", Int64, nullable=False),
    Column("changed_by", Text, nullable=False),
    UniqueConstraint("account", "currency", name="uq_bank_account_account"),
    sqlite_with_rowid=False,
)

bank_statement: Final = Table(
    "bank_statement",
    metadata,
    Column("bank_statement_id", Integer, primary_key=True),
    Column("settlement_id", Integer, ForeignKey("settlement.settlement_id"), nullable=False),
    Column("findings", Text, nullable=False, comment="A JSON array: the warnings that were accepted."),
    Column("movements", Text, nullable=False, comment="A JSON array: what was recorded of each account."),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    comment="Statements of the settlement bank by which settlements were finalised.",
)
Index("ix_bank_statement_settlement_id", bank_statement.c.settlement_id)

bank_statement_file: Final = Table(
    "bank_statement_file",
    metadata,
    Column(
        "bank_statement_id",
        Integer,
        ForeignKey("bank_statement.bank_statement_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("file_no", Integer, primary_key=True, autoincrement=False, comment="From 1."),
    Column("settlement_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("identification", Text, comment="The bank's own number for the statement."),
    Column("digest", LargeBinary(32), nullable=False, comment="SHA-256 of the content."),
    Column("content", LargeBinary, nullable=False),
    UniqueConstraint("settlement_id", "digest", name="uq_bank_statement_file_digest"),
    comment="The files of a statement, as the bank gave them.",
)

notification: Final = Table(
    "notification",
    metadata,
    Column("notification_id", Int64, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("data", Text, nullable=False, comment="A JSON object: the figures it tells."),
    Column("created_ms", Int64, nullable=False),
    Column("distributed_ms", Int64, comment="When its deliveries were made; None: they are yet to be."),
)
Index(
    "ix_notification_undistributed",
    notification.c.notification_id,
    sqlite_where=text("distributed_ms IS NULL"),
    postgresql_where=text("distributed_ms IS NULL"),
)
Index("ix_notification_participant", notification.c.participant, notification.c.notification_id)

notification_delivery: Final = Table(
    "notification_delivery",
    metadata,
    Column(
        "notification_id",
        Int64,
        ForeignKey("notification.notification_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("delivery_no", Integer, primary_key=True, autoincrement=False, comment="From 1."),
    Column("channel", Text, nullable=False, comment="log, webhook, smtp, or a plugin's."),
    Column("recipient", Text, nullable=False, comment="The participant it is about, or the hub."),
    Column("address", Text, nullable=False, comment="Where to, when it was last tried; empty: the channel knows."),
    Column("state", Text, nullable=False, comment="PENDING, DELIVERED or PARKED."),
    Column("attempts", Integer, nullable=False),
    Column("next_ms", Int64, nullable=False, comment="When it is tried next: not while somebody tries it."),
    Column("error", Text, comment="Why the last attempt failed."),
    Column("updated_ms", Int64, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "ix_notification_delivery_open",
    notification_delivery.c.state,
    notification_delivery.c.channel,
    notification_delivery.c.next_ms,
    sqlite_where=text("state <> 'DELIVERED'"),
    postgresql_where=text("state <> 'DELIVERED'"),
)

alarm: Final = Table(
    "alarm",
    metadata,
    Column("account_id", Integer, ForeignKey("account.account_id"), primary_key=True, comment="The position."),
    Column("raised_ms", Int64, nullable=False),
    Column("last_ms", Int64, nullable=False, comment="When it was last notified."),
    Column("repeats", Integer, nullable=False, comment="How often it was notified again."),
    comment="Net debit caps in use beyond their threshold.",
)
