"""The embedded ledger: accounts with their balances, transfers, and how two-phase transfers ended.

Amounts are minor units at asset scale 4, times nanoseconds UTC since 1970. Every transfer costs the same however many
there are: rows append in the order of their timestamps, accounts are referred to by a small number of their
own, and of a transfer only its id is kept in random order, in one unique index. A pending transfer is a row like any
other; that it ended is a row of `ledger_resolution`, so that nothing but balances is ever updated.

There are no foreign keys on what grows with every payment: the ledger has read the rows they would check. In the
columns of user data NULL stands for the zero that means none, so that the partial indexes hold only what is asked
for; a `user_data_64` of 2^63 or more is kept as the negative number with the same bits.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, Integer, Table, text

from vuka.store.schema.base import Id128, Int64, Int128, metadata

ledger_account: Final = Table(
    "ledger_account",
    metadata,
    Column("account_no", Integer, primary_key=True, autoincrement=False, comment="In the order of creation, from 1."),
    Column("id", Id128, nullable=False),
    Column("debits_pending", Int128, nullable=False),
    Column("debits_posted", Int128, nullable=False),
    Column("credits_pending", Int128, nullable=False),
    Column("credits_posted", Int128, nullable=False),
    Column("user_data_128", Id128),
    Column("user_data_64", Int64),
    Column("user_data_32", Int64),
    Column("ledger", Int64, nullable=False),
    Column("code", Integer, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("timestamp", Int64, nullable=False),
)
Index("uq_ledger_account_id", ledger_account.c.id, unique=True)
Index("uq_ledger_account_timestamp", ledger_account.c.timestamp, unique=True)

ledger_transfer: Final = Table(
    "ledger_transfer",
    metadata,
    Column("timestamp", Int64, primary_key=True, autoincrement=False),
    Column("id", Id128, nullable=False),
    Column("debit_account_no", Integer, nullable=False),
    Column("credit_account_no", Integer, nullable=False),
    Column("amount", Int64, nullable=False),
    Column("code", Integer, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("pending_id", Id128, comment="The transfer that this one posts or voids."),
    Column("user_data_128", Id128),
    Column("user_data_64", Int64),
    Column("user_data_32", Int64),
    Column("timeout", Int64, comment="In seconds; NULL is none."),
    comment="The ledger of a transfer is that of its accounts.",
)
Index("uq_ledger_transfer_id", ledger_transfer.c.id, unique=True)
Index("ix_ledger_transfer_debit", ledger_transfer.c.debit_account_no, ledger_transfer.c.timestamp)
Index("ix_ledger_transfer_credit", ledger_transfer.c.credit_account_no, ledger_transfer.c.timestamp)

for _table in (ledger_account, ledger_transfer):
    for _name in ("user_data_128", "user_data_64", "user_data_32"):
        Index(
            f"ix_{_table.name}_{_name}",
            _table.c[_name],
            _table.c.timestamp,
            sqlite_where=text(f"{_name} IS NOT NULL"),
            postgresql_where=text(f"{_name} IS NOT NULL"),
        )

ledger_resolution: Final = Table(
    "ledger_resolution",
    metadata,
    Column("timestamp", Int64, primary_key=True, autoincrement=False, comment="Of the pending transfer."),
    Column("status", Integer, nullable=False, comment="2 posted, 3 voided, 4 expired."),
    Column("resolved_at", Int64, nullable=False, comment="The timestamp of the post or void; of the expiry, when due."),
)

ledger_expiry: Final = Table(
    "ledger_expiry",
    metadata,
    Column("expires_at", Int64, primary_key=True, autoincrement=False),
    Column("timestamp", Int64, primary_key=True, autoincrement=False, comment="Of the pending transfer."),
    comment="Pending transfers with a timeout that have not ended.",
    sqlite_with_rowid=False,
)

ledger_failed: Final = Table(
    "ledger_failed",
    metadata,
    Column("id", Id128, primary_key=True),
    comment="Ids of transfers refused for what depends on the moment: they are spent.",
    sqlite_with_rowid=False,
)

ledger_balance: Final = Table(
    "ledger_balance",
    metadata,
    Column("account_no", Integer, primary_key=True, autoincrement=False),
    Column("timestamp", Int64, primary_key=True, autoincrement=False, comment="Of the transfer."),
    Column("debits_pending", Int128, nullable=False),
    Column("debits_posted", Int128, nullable=False),
    Column("credits_pending", Int128, nullable=False),
    Column("credits_posted", Int128, nullable=False),
    comment="Accounts with history: their balances after each transfer.",
    sqlite_with_rowid=False,
)
