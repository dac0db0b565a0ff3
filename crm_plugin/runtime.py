"""What a process carries: configuration, database, encryption and clock. No globals."""

from __future__ import annotations

from dataclasses import dataclass

from crm_plugin.clock import Clock, SystemClock
from crm_plugin.config import Config, load_config
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
        """Open what the configuration names; the database is not upgraded here."""
        config = config or load_config()
        box = SecretBox(*config.secret_keys) if config.secret_keys else key_file_box(config.key_file)
        return cls(config=config, db=Database.at(config.database_url), box=box, clock=clock or SystemClock())

    def close(self) -> None:
        """Give back the database connections."""
        self.db.dispose()
