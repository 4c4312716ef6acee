"""How Alembic runs our migrations: on the database that `vuka.store.migrate` names, in one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Engine, text

from vuka.store.schema import metadata

LOCK = 0x76_75_6B_61_6D
"""The advisory lock of PostgreSQL that one migration at a time holds: "vukam" in ASCII."""


def run(engine: Engine) -> None:
    """Runs what is asked on the configured database."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            # SQLite's migrations need no driver of PostgreSQL.
            from vuka.store.postgresql import LOCK_BATCHES

            # Nor is a batch of an older program run meanwhile: it would not be in what is made of what is there.
            connection.execute(text(LOCK_BATCHES))
        # Alembic holds that SQLite makes no tables in a transaction. It does, where the driver lets it.
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run(context.config.attributes["engine"])
