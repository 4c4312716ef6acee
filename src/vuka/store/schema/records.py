"""The records of the hub: participants and their accounts, agreements and transfers.

Times are milliseconds UTC since 1970, amounts minor units at asset scale 4. Tables that grow with every
payment append in the order of their integer key; what is random (a transfer's id) is only in an index.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from vuka.store.schema.base import Id128, Int64, metadata

scheme: Final = Table(
    "scheme",
    metadata,
    Column("only", Integer, primary_key=True, comment="Always 1: the table has one row."),
    Column("version", Int64, nullable=False, comment="Grows with every change to what `Directory` holds."),
    Column("name", Text, nullable=False),
    Column("created_ms", Int64, nullable=False),
)

participant: Final = Table(
    "participant",
    metadata,
    Column("participant_id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("is_active", Integer, nullable=False),
    Column("is_proxy", Integer, nullable=False),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("fspiop_version", Text, comment="The version to speak to it where it did not name one itself."),
    Column("signatures", Text, comment="REQUIRED or OFF for this participant; None: as the deployment has it."),
)

signing_key: Final = Table(
    "signing_key",
    metadata,
    Column("signing_key_id", Integer, primary_key=True),
    Column("participant_id", Integer, ForeignKey("participant.participant_id"), nullable=False),
    Column("algorithm", Text, nullable=False, comment="RS256 or ES256."),
    Column("public_key", Text, nullable=False, comment="PEM, SubjectPublicKeyInfo."),
    Column("fingerprint", Text, nullable=False, comment="SHA-256 of the key's DER, in hex."),
    Column("is_active", Integer, nullable=False, comment="Several may be: a rotation overlaps."),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("retired_ms", Int64),
    UniqueConstraint("participant_id", "fingerprint"),
)

credential: Final = Table(
    "credential",
    metadata,
    Column("credential_id", Integer, primary_key=True),
    Column("kind", Text, nullable=False, comment="TOKEN, API_KEY or CERTIFICATE."),
    Column("digest", LargeBinary(32), nullable=False, unique=True, comment="SHA-256: the secret itself is not kept."),
    Column("participant_id", Integer, ForeignKey("participant.participant_id"), comment="None: an operator's."),
    Column("name", Text, nullable=False, comment="Whose it is, for people: the operator, or a label."),
    Column("roles", Text, nullable=False, comment="An operator's roles, separated by spaces; else empty."),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_ms", Int64),
    Column("revoked_ms", Int64),
)

account: Final = Table(
    "account",
    metadata,
    Column("account_id", Integer, primary_key=True),
    Column("participant_id", Integer, ForeignKey("participant.participant_id"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("type", Text, nullable=False, comment="A ledger account type, in the reference's words."),
    Column("ledger_account_id", Id128, nullable=False, unique=True),
    Column("is_active", Integer, nullable=False),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed_ms", Int64, nullable=False, comment="When an operator last changed it or its money."),
    UniqueConstraint("participant_id", "currency", "type"),
)

participant_limit: Final = Table(
    "participant_limit",
    metadata,
    Column("limit_id", Integer, primary_key=True),
    Column("account_id", Integer, ForeignKey("account.account_id"), nullable=False),
    Column("type", Text, nullable=False, comment="NET_DEBIT_CAP"),
    Column("value", Int64, nullable=False, comment="0 where it is a share of the liquidity."),
    Column("alarm_percentage", Integer, nullable=False),
    Column("is_active", Integer, nullable=False, comment="A change adds a row; the older ones stay, inactive."),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("liquidity_share", Integer, comment="In hundredths of a percent: the cap follows the liquidity."),
)
Index(
    "uq_participant_limit_active",
    participant_limit.c.account_id,
    participant_limit.c.type,
    unique=True,
    sqlite_where=text("is_active = 1"),
    postgresql_where=text("is_active = 1"),
)

shortfall: Final = Table(
    "shortfall",
    metadata,
    Column("account_id", Integer, ForeignKey("account.account_id"), primary_key=True, comment="The position."),
    Column("amount", Int64, nullable=False, comment="Headroom to take back as soon as credits allow; > 0."),
)

endpoint: Final = Table(
    "endpoint",
    metadata,
    Column("participant_id", Integer, ForeignKey("participant.participant_id"), primary_key=True),
    Column("type", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
)

ledger_account_type: Final = Table(
    "ledger_account_type",
    metadata,
    Column("ledger_account_type_id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("is_active", Integer, nullable=False),
    Column("is_settleable", Integer, nullable=False),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
)

oracle_party: Final = Table(
    "oracle_party",
    metadata,
    Column("party_id_type", Text, primary_key=True),
    Column("party_identifier", Text, primary_key=True),
    Column("party_sub_id", Text, primary_key=True, comment="Empty: the party itself."),
    Column("currency", Text, primary_key=True, comment="Empty: any."),
    Column("fsp_id", Text, primary_key=True),
    Column("created_ms", Int64, nullable=False),
)

oracle: Final = Table(
    "oracle",
    metadata,
    Column("oracle_id", Integer, primary_key=True),
    Column("party_id_type", Text, nullable=False),
    Column("currency", Text, comment="None: for any currency."),
    Column("endpoint_type", Text, nullable=False, comment="URL"),
    Column("value", Text, nullable=False, comment="The base URL of the oracle's API."),
    Column("is_default", Integer, nullable=False),
    Column("is_active", Integer, nullable=False),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed_ms", Int64, nullable=False),
)

rule_set: Final = Table(
    "rule_set",
    metadata,
    Column("rule_set_id", Integer, primary_key=True),
    Column("kind", Text, nullable=False, comment="What the rules decide about: quotes."),
    Column("content", Text, nullable=False, comment="A JSON array of rules."),
    Column("is_active", Integer, nullable=False, comment="A change adds a row; the older ones stay, inactive."),
    Column("created_ms", Int64, nullable=False),
    Column("created_by", Text, nullable=False),
)
Index(
    "uq_rule_set_active",
    rule_set.c.kind,
    unique=True,
    sqlite_where=text("is_active = 1"),
    postgresql_where=text("is_active = 1"),
)

quote: Final = Table(
    "quote",
    metadata,
    Column("quote_seq", Int64, primary_key=True),
    Column("quote_id", Id128, nullable=False),
    Column("wire_id", Text, nullable=False, comment="The id as the payer wrote it."),
    Column("transaction_id", Text, nullable=False),
    Column("payer_fsp", Text, nullable=False),
    Column("payee_fsp", Text, nullable=False),
    Column("payee_party", Text, nullable=False, comment="type/identifier[/subId]"),
    Column("currency", Text, nullable=False),
    Column("amount", Int64, nullable=False),
    Column("amount_type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("response_hash", LargeBinary(32)),
    Column("condition", Text),
    Column("error_code", Text),
    Column("created_ms", Int64, nullable=False),
    Column("answered_ms", Int64),
    Column("rerouted_fsp", Text, comment="Who was asked instead of `payee_fsp`, by a rule of the scheme."),
    Column("added_headers", Text, comment="What that rule added: a JSON array of [name, value]."),
)
Index("uq_quote_quote_id", quote.c.quote_id, unique=True)
Index(
    "ix_quote_condition",
    quote.c.condition,
    sqlite_where=text("condition IS NOT NULL"),
    postgresql_where=text("condition IS NOT NULL"),
)

fx_quote: Final = Table(
    "fx_quote",
    metadata,
    Column("fx_quote_seq", Int64, primary_key=True),
    Column("conversion_request_id", Id128, nullable=False),
    Column("wire_id", Text, nullable=False, comment="The id as the initiator wrote it."),
    Column("conversion_id", Text, nullable=False),
    Column("determining_transfer_id", Text),
    Column("initiating_fsp", Text, nullable=False),
    Column("counter_party_fsp", Text, nullable=False, comment="The FXP."),
    Column("source_currency", Text, nullable=False),
    Column("source_amount", Int64, comment="None: the FXP is to say it."),
    Column("target_currency", Text, nullable=False),
    Column("target_amount", Int64, comment="None: the FXP is to say it."),
    Column("amount_type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("response_hash", LargeBinary(32)),
    Column("condition", Text),
    Column("error_code", Text),
    Column("created_ms", Int64, nullable=False),
    Column("answered_ms", Int64),
    Column("rerouted_fsp", Text, comment="Who was asked instead of `counter_party_fsp`, by a rule of the scheme."),
    Column("added_headers", Text, comment="What that rule added: a JSON array of [name, value]."),
)
Index("uq_fx_quote_conversion_request_id", fx_quote.c.conversion_request_id, unique=True)
Index(
    "ix_fx_quote_determining_transfer_id",
    fx_quote.c.determining_transfer_id,
    sqlite_where=text("determining_transfer_id IS NOT NULL"),
    postgresql_where=text("determining_transfer_id IS NOT NULL"),
)

transfer: Final = Table(
    "transfer",
    metadata,
    Column("transfer_seq", Int64, primary_key=True),
    Column("transfer_id", Id128, nullable=False),
    Column("wire_id", Text, nullable=False, comment="The id as the payer wrote it."),
    Column("kind", Text, nullable=False, comment="PAYMENT, FUNDS_IN or FUNDS_OUT."),
    Column("payer_fsp", Text, nullable=False),
    Column("payee_fsp", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", Int64, nullable=False),
    Column("state", Text, nullable=False),
    Column("condition", Text),
    Column("ilp_packet", Text),
    Column("expires_ms", Int64, nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("fulfil_hash", LargeBinary(32)),
    Column("error_hash", LargeBinary(32)),
    Column("fulfilment", Text),
    Column("error_code", Text),
    Column("error_description", Text),
    Column("settlement_window_id", Integer),
    Column("payer_version", Text, nullable=False, comment="The FSPIOP version of callbacks to the payer."),
    Column("payee_version", Text, nullable=False, comment="The FSPIOP version of callbacks to the payee."),
    Column("created_ms", Int64, nullable=False),
    Column("completed_ms", Int64),
    Column("extensions", Text, comment="Of the request: a JSON array of [key, value]."),
    Column("trace", Text, comment="Its trace context, for what the hub says by itself: a JSON array of [name, value]."),
)
Index("uq_transfer_transfer_id", transfer.c.transfer_id, unique=True)
Index(
    "ix_transfer_expires",
    transfer.c.expires_ms,
    sqlite_where=text("state = 'RESERVED'"),
    postgresql_where=text("state = 'RESERVED'"),
)

transfer_state_change: Final = Table(
    "transfer_state_change",
    metadata,
    Column("transfer_seq", Int64, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("created_ms", Int64, nullable=False),
    sqlite_with_rowid=False,
)

funds_movement: Final = Table(
    "funds_movement",
    metadata,
    Column("transfer_seq", Int64, ForeignKey("transfer.transfer_seq"), primary_key=True),
    Column("account_id", Integer, ForeignKey("account.account_id"), nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("external_reference", Text, nullable=False),
    Column("created_by", Text, nullable=False),
)
