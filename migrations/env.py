"""Alembic's entry: the engine comes from `crm_plugin.store.migrate`, the tables from `crm_plugin.store`."""

from alembic import context
from sqlalchemy import Engine

from crm_plugin.store import metadata

engine: Engine = context.config.attributes["engine"]

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most things in place: Alembic copies the table instead.
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
