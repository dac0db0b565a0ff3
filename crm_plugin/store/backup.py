"""Backup and restore of a SQLite database, while everything goes on. PostgreSQL has tools of its own for that (`pg_dump`)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine

from crm_plugin.errors import ConfigError, InvalidInput
from crm_plugin.store import migrate

# So many pages of 4 KiB are copied before writers may have a turn.
_PAGES = 4096
_BUSY_SECONDS = 30.0


def file_of(engine: Engine) -> Path:
    """The file of a SQLite database. Raises: ConfigError for another kind."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        raise ConfigError(
            "Only a SQLite database is backed up here.",
            hint="For PostgreSQL use pg_dump, and pg_restore to put it back.",
        )
    return Path(engine.url.database)


def backup(engine: Engine, target: Path, told: Callable[[int, int], None] = lambda _done, _all: None) -> int:
    """Copy the database as it is at one instant into a new file; answers its size in bytes.

    `told` hears how many pages of how many are copied. A copy that is broken off leaves nothing behind.
    Raises: InvalidInput when the file is there already, OSError when it cannot be written.
    """
    source = file_of(engine)
    if target.exists():
        raise InvalidInput(f"{target} is there already.", field="file", hint="Name another file, or move it away.")
    part = target.with_name(f"{target.name}.part")
    # Nobody else on the machine may read it: it holds names and addresses.
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    try:
        with closing(_open(source)) as here, closing(_open(part)) as there:
            here.backup(there, pages=_PAGES, progress=lambda _state, left, of: told(of - left, of))
            # The copy is a single file: it is read wherever it is carried.
            there.execute("PRAGMA journal_mode=DELETE")
        _check(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def restore(engine: Engine, backup_file: Path) -> Path:
    """Put a backup in the database's place; answers where what was there before lies now. Nobody may use the database meanwhile.

    A backup of an earlier version is brought to the present tables when the database is next opened.
    Raises: InvalidInput when the file is no sound backup of this version or an earlier one, ConfigError while the database is in use.
    """
    place = file_of(engine)
    if not backup_file.is_file():
        raise InvalidInput(
            f"There is no file {backup_file}.", field="file", hint="Give one that `crm-plugin backup` wrote."
        )
    _check(backup_file)
    with closing(_open(backup_file)) as there:
        tables = {name for (name,) in there.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        known = "alembic_version" in tables and there.execute("SELECT version_num FROM alembic_version").fetchone()
    if not known or known[0] not in migrate.revisions():
        raise InvalidInput(
            f"{backup_file} is no database of this version of crm-plugin, or of an earlier one.",
            field="file",
            hint="Give a file that `crm-plugin backup` wrote; if a newer version wrote it, install that version.",
        )
    engine.dispose()
    before = place.with_name(f"{place.name}.before-restore")
    new = place.with_name(f"{place.name}.restored")
    with closing(_open(backup_file)) as there, closing(_open(new)) as copy:
        there.backup(copy)
    new.chmod(0o600)
    if place.exists():
        _alone(place)
        place.replace(before)
    for tail in ("-wal", "-shm"):
        place.with_name(place.name + tail).unlink(missing_ok=True)
    new.replace(place)
    return before


def _alone(place: Path) -> None:
    """Raises: ConfigError when another process has the database open; else all it holds is in its file afterwards."""
    with closing(_open(place, seconds=2.0)) as database:
        try:
            # Leaving WAL needs that nobody else has the file open.
            database.execute("PRAGMA journal_mode=DELETE")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise ConfigError(
                "The database is in use.", hint="End `crm-plugin serve` and whatever else uses it, then try again."
            ) from error


def _check(file: Path) -> None:
    try:
        with closing(_open(file)) as database:
            (answer,) = database.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise InvalidInput(f"{file} is not sound: {answer}.", field="file", hint="Take another backup.")


def _open(file: Path, seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
    if not file.exists() and not file.parent.exists():
        raise InvalidInput(f"The folder {file.parent} is not there.", field="file", hint="Make it first.")
    return sqlite3.connect(file, timeout=seconds, isolation_level=None)
