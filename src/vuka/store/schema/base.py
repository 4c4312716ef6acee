"""What every table shares: one `MetaData`, and the column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Integer, LargeBinary, MetaData

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id128: Final = LargeBinary(16)
"""A 128-bit id, big-endian: 16 bytes."""

Int128: Final = LargeBinary(16)
"""A number too large for 64 bits: 16 bytes, big-endian. A balance: it only ever grows."""

Int64: Final = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit integer; as the primary key on SQLite it is the rowid, so that rows append."""
