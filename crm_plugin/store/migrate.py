"""Bringing a database to the present schema with Alembic, on an engine we hand it: no ini file, no second way to configure."""

from __future__ import annotations

from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from crm_plugin.errors import ConfigError
from crm_plugin.resources import migrations_dir
from crm_plugin.store import metadata


def _config(engine: Engine | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.set_main_option("path_separator", "os")
    if engine is not None:
        config.attributes["engine"] = engine
    return config


@cache
def head() -> str:
    """The newest revision in this version of the product."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


@cache
def revisions() -> frozenset[str]:
    """Every revision that this version of the product knows."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def current(engine: Engine) -> str | None:
    """The revision of this database; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def pending(engine: Engine) -> bool:
    """Whether `upgrade` would change anything."""
    return current(engine) != head()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply what is missing. Raises: ConfigError when a newer version of the product, or another program, wrote this database."""
    known = revisions()
    # Asked in this order: another process may be making the tables and the revision, together, at this moment.
    there = inspect(engine).get_table_names()
    present = current(engine)
    if present is not None and present not in known:
        raise ConfigError(
            f"The database is at revision {present}, which this version does not know.",
            hint="A newer version of crm-plugin wrote it: install that version, or put back a backup from before.",
        )
    if present is None and (others := sorted(metadata.tables.keys() & set(there))):
        raise ConfigError(
            f"The database has a table {others[0]!r} that crm-plugin has not made.",
            hint="Name a database of its own in CRM_DATABASE_URL.",
        )
    command.upgrade(_config(engine), revision)
