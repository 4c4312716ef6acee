"""How Alembic runs our migrations: on the database that `vuka.store.migrate` names, in one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool

from vuka.store.schema import metadata


def run() -> None:
    """Runs what is asked on the configured database."""
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
