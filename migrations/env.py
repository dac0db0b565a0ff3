"""Alembic's entry: the engine comes from `crm_plugin.store.migrate`, the tables from `crm_plugin.store`.

Two processes that start with a new version both come here. One waits for the other, and the revision that it
reads then is true.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, Engine, text

from crm_plugin.store import metadata
from crm_plugin.store.session import Database

engine: Engine = context.config.attributes["engine"]
# Any number that nothing else in the database locks.
_LOCK = 26_150_317


@contextmanager
def alone() -> Iterator[Connection]:
    """A connection that no other process can have here at the same time. On SQLite all steps are one transaction: all or none."""
    if engine.dialect.name == "sqlite":
        with Database(engine).write() as connection:
            yield connection
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            yield connection
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()


with alone() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most things in place: Alembic copies the table instead.
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
