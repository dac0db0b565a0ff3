"""Bringing a database to the present schema with Alembic, on an engine we hand it: no ini file, no second way to configure.

Alembic is loaded only to change something: whether anything is to be changed is asked at each start, and a process that runs for months
need not hold it for that. Files of revisions begin with their number.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text

from crm_plugin.errors import ConfigError
from crm_plugin.resources import migrations_dir
from crm_plugin.store import metadata

if TYPE_CHECKING:
    from alembic.config import Config

_VERSION = "alembic_version"


def _config(engine: Engine) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    return config


@cache
def head() -> str:
    """The newest revision in this version of the product."""
    return max(revisions())


@cache
def revisions() -> frozenset[str]:
    """Every revision that this version of the product knows."""
    return frozenset(file.name.partition("_")[0] for file in (migrations_dir() / "versions").glob("[0-9]*.py"))


def current(engine: Engine) -> str | None:
    """The revision of this database; None for an empty one."""
    if not inspect(engine).has_table(_VERSION):
        return None
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT version_num FROM {_VERSION}")).scalar()  # noqa: S608


def pending(engine: Engine) -> bool:
    """Whether `upgrade` would change anything."""
    return current(engine) != head()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply what is missing. Raises: ConfigError when a newer version of the product, or another program, wrote this database."""
    from alembic import command

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
