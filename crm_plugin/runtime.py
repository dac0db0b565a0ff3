"""What a process carries: configuration, database, encryption and clock. No globals."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from crm_plugin.clock import Clock, SystemClock
from crm_plugin.config import Config, load_config
from crm_plugin.errors import ConfigError
from crm_plugin.store.secrets import SecretBox, key_file_box
from crm_plugin.store.session import Database


@dataclass(frozen=True, slots=True)
class Runtime:
    """Handed to the page, the command line and the jobs; tests build their own."""

    config: Config
    db: Database
    box: SecretBox
    clock: Clock

    @classmethod
    def open(cls, config: Config | None = None, clock: Clock | None = None) -> Runtime:
        """Open what the configuration names; the database is not upgraded here. Raises: ConfigError saying what to do."""
        calm_collector()
        config = config or load_config()
        box = SecretBox(*config.secret_keys) if config.secret_keys else _key_file(config.key_file)
        return cls(config=config, db=_database(config.database_url), box=box, clock=clock or SystemClock())

    def close(self) -> None:
        """Give back the database connections."""
        self.db.dispose()


def calm_collector() -> None:
    """Look for circular garbage less often: pages of orders are tens of thousands of plain values at once, of which none is such."""
    gc.set_threshold(100_000, 50, 100)


def _key_file(path: Path) -> SecretBox:
    try:
        return key_file_box(path)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be used: {error.strerror}.",
            hint="Give this user the right to read and write it, or set CRM_SECRET_KEY.",
        ) from error
    except ConfigError as error:
        raise ConfigError(
            f"The key file {path} holds no key.",
            hint="Put it back from a backup. Without one, remove it: a new key is made, and stores and senders have to be set up anew.",
        ) from error


def _database(told: str) -> Database:
    hint = "Use sqlite:////path/to/crm.sqlite3 or postgresql://user:password@host/database."
    try:
        url = make_url(told)
        if url.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
            raise ConfigError(f"{url.get_backend_name()} is no database that can be used here.", hint=hint)
        return Database.at(url)
    except (ArgumentError, ValueError) as error:
        # What was typed may hold a password, so it is not repeated.
        raise ConfigError("CRM_DATABASE_URL is no address of a database.", hint=hint) from error
    except ImportError as error:
        raise ConfigError(
            f"The database driver {error.name} is not installed.",
            hint="Install crm-plugin[postgres] and begin the address with postgresql://.",
        ) from error
