"""Process-wide settings, read from the environment once at the start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from crm_plugin.errors import ConfigError

BROKERS = ("redis", "rediss", "amqp", "amqps")


@dataclass(frozen=True, slots=True)
class EnvironmentSetting:
    """One environment variable: plugin.yaml and the docs list them from here."""

    name: str
    help: str
    secret: bool = False


ENVIRONMENT = (
    EnvironmentSetting("CRM_DATABASE_URL", "Database URL; SQLite in the data directory when unset."),
    EnvironmentSetting("CRM_DATA_DIR", "Where the database, the key file and logs are kept."),
    EnvironmentSetting(
        "CRM_SECRET_KEY", "Fernet key (several, comma separated, to rotate); a key file when unset.", True
    ),
    EnvironmentSetting("CRM_PUBLIC_URL", "Address under which customers reach this server: unsubscribe links, in-app."),
    EnvironmentSetting(
        "CRM_BROKER_URL", "Redis or RabbitMQ, to hand jobs to other processes; jobs run in `serve` when unset.", True
    ),
    EnvironmentSetting("CRM_LOG_LEVEL", "How much is told on stderr: DEBUG, INFO, WARNING (when unset) or ERROR."),
    EnvironmentSetting("CRM_LOG_FORMAT", "How it is told: text (when unset) or json, one object a line."),
    EnvironmentSetting(
        "CRM_METRICS_TOKEN", "Whoever shows it as a bearer token may read /metrics; nobody may when unset.", True
    ),
)


@dataclass(frozen=True, slots=True)
class Config:
    """Where things are.

    `public_url` has no slash at the end; empty means links cannot be made yet. Without a `broker_url` jobs run where they are asked for.
    """

    database_url: str
    data_dir: Path
    secret_keys: tuple[str, ...] = ()
    public_url: str = ""
    broker_url: str = field(default="", repr=False)
    metrics_token: str = field(default="", repr=False)

    @property
    def key_file(self) -> Path:
        """The encryption key when none is given by environment."""
        return self.data_dir / "secret.key"


def load_config(environ: Mapping[str, str] | None = None) -> Config:
    """Read the environment. Raises: ConfigError when the data directory cannot be made."""
    env = os.environ if environ is None else environ
    data_dir = Path(env.get("CRM_DATA_DIR") or _usual_dir())
    try:
        # It will hold names and addresses of customers: nobody else on the machine has a reason to look.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be made: {error.strerror}.",
            hint="Set CRM_DATA_DIR to a writable folder.",
        ) from error
    keys = tuple(key.strip() for key in env.get("CRM_SECRET_KEY", "").split(",") if key.strip())
    return Config(
        database_url=env.get("CRM_DATABASE_URL") or f"sqlite:///{data_dir / 'crm.sqlite3'}",
        data_dir=data_dir,
        secret_keys=keys,
        public_url=_public_url(env.get("CRM_PUBLIC_URL", "").strip()),
        broker_url=_broker_url(env.get("CRM_BROKER_URL", "").strip()),
        metrics_token=env.get("CRM_METRICS_TOKEN", "").strip(),
    )


def _usual_dir() -> str:
    """Where this system keeps the data of programs; asked only where nobody has said."""
    import platformdirs

    return platformdirs.user_data_dir("crm-plugin")


def _broker_url(told: str) -> str:
    """Raises: ConfigError; what was typed may hold a password, so it is not repeated."""
    if told and urlsplit(told).scheme not in BROKERS:
        raise ConfigError(
            "CRM_BROKER_URL is no address of a broker that can be used here.",
            hint="Write it as redis://host:6379/0, or amqp://user:password@host:5672// for RabbitMQ.",
        )
    return told


def _public_url(told: str) -> str:
    """An address that links can begin with, or empty. Raises: ConfigError."""
    parts = urlsplit(told)
    if told and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ConfigError(
            f"CRM_PUBLIC_URL is {told!r}, which is no web address.",
            hint="Write it as https://crm.example.com, the address customers reach this server under.",
        )
    return told.rstrip("/")
