"""Running commands as a merchant's developer types them, each with a data directory of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, inspect

from crm_plugin import cli
from crm_plugin.demo import mail_sink
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import journeys, migrate
from crm_plugin.store.session import make_engine
from crm_plugin.store.tenants import shop_named
from tests.factories import member, write

Run = Callable[..., tuple[int, Any]]
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
_BEFORE = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own; nothing of the machine's settings is seen."""
    folder = tmp_path / "data"
    monkeypatch.setenv("CRM_DATA_DIR", str(folder))
    for name in ("CRM_DATABASE_URL", "CRM_SECRET_KEY", "CRM_PUBLIC_URL", "CRM_STORE_SECRET", "CRM_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that was brought from nothing to the present schema, as the first command of each test would do."""
    path = tmp_path_factory.mktemp("upgraded") / "crm.sqlite3"
    engine = make_engine(f"sqlite:///{path}")
    migrate.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(autouse=True)
def upgrade_once(upgraded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is empty becomes a copy of the file above instead of taking all steps anew; whatever is not empty takes its own."""
    upgrade = migrate.upgrade

    def copied(engine: Engine, revision: str = "head") -> None:
        if engine.dialect.name != "sqlite" or inspect(engine).get_table_names():
            upgrade(engine, revision)
            return
        with closing(sqlite3.connect(upgraded)) as source, closing(engine.raw_connection()) as target:
            assert isinstance(target.driver_connection, sqlite3.Connection)
            source.backup(target.driver_connection)

    monkeypatch.setattr(migrate, "upgrade", copied)


@pytest.fixture
def run(data_dir: Path) -> Run:
    """Run a command; `--json` is added and its answer read."""

    def command(*words: str) -> tuple[int, Any]:
        result = CliRunner().invoke(cli.main, [*words, "--json"])
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result.exit_code, json.loads(result.stdout)

    return command


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a command without `--json` said."""

    code: int
    out: str
    err: str


@pytest.fixture
def say(data_dir: Path) -> Callable[..., Spoken]:
    """Run a command and give what it said to a person."""

    def command(*words: str, typed: str | None = None) -> Spoken:
        result = CliRunner().invoke(cli.main, list(words), input=typed)
        assert isinstance(result.exception, SystemExit | None), result.exception
        return Spoken(result.exit_code, result.stdout, result.stderr)

    return command


@pytest.fixture
def sink() -> Iterator[mail_sink.MailSink]:
    with mail_sink.serve() as server:
        yield server


def greet(run: Run, sink: mail_sink.MailSink, name: str = "shop", members: int = 2) -> None:
    """A shop whose members have their birthday on 2 June, with the journey on since long ago and a mail server."""
    words = ("shop", "add", name, "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")
    assert run(*words)[0] == 0
    values = (f"host={sink.host}", f"port={sink.port}", "security=none", "from_address=shop@x.test")
    assert run("sender", "set", name, "smtp", *values)[0] == 0
    assert run("journey", "on", name, "birthday")[0] == 0
    runtime = Runtime.open()
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=LONG_AGO),)
    people = [
        member(str(n), email=f"m{n}@x.test", first_name=f"N{n}", birth_month=6, birth_day=2, consents=yes)
        for n in range(members)
    ]
    with runtime.db.write() as connection:
        shop = shop_named(connection, name)
        # The journey is on since before the day that the tests play, whenever they are run.
        own = (journeys.c.shop_id == shop.shop_id) & (journeys.c.journey_key == "birthday")
        connection.execute(
            journeys.update()
            .where(own)
            .values(enabled_at=LONG_AGO, planned_through=_BEFORE, trigger_params={"days": 0})
        )
    write(runtime.db, shop, people, LONG_AGO)
    runtime.close()
