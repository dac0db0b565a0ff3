"""Backup while everything goes on, and restore: sound, private, and nothing leaves before somebody has looked."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from crm_plugin.demo import mail_sink
from crm_plugin.runtime import Runtime
from crm_plugin.store import migrate
from crm_plugin.store.session import make_engine
from tests.cli.conftest import Run, greet

AT = "2026-06-02T12:00"


@pytest.mark.slow
def test_what_a_backup_holds_is_put_back_and_every_journey_rests(
    run: Run, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_PUBLIC_URL", "https://crm.example")
    with mail_sink.serve() as sink:
        greet(run, sink)
        file = tmp_path / "monday.sqlite3"
        with closing(sqlite3.connect(data_dir / "crm.sqlite3")) as writer:
            # A writer at work keeps no backup away, and what it has not committed is not in it.
            writer.execute("UPDATE shops SET title = 'Another'")
            code, told = run("backup", str(file), "--json")
            writer.rollback()
        assert (code, told["bytes"]) == (0, file.stat().st_size)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert run("tick", "shop", "--at", AT, "--json")[1]["dispatch"]["states"] == {"accepted": 2}
        code, told = run("restore", str(file), "--json")
        assert code == 1
        assert "--yes" in told["error"]["hint"]
        code, told = run("restore", str(file), "--yes", "--json")
        assert (code, told["paused"]) == (0, 1)
        assert Path(told["before"]).exists()
        # The backup knows nothing of the two mails, and still nobody gets a second one by itself.
        assert run("outbox", "shop", "--json")[1] == []
        assert run("tick", "shop", "--at", AT, "--json")[1]["dispatch"]["states"] == {}
        assert len(sink.messages) == 2


def test_backup_of_an_earlier_version_is_brought_to_the_present(run: Run, tmp_path: Path, data_dir: Path) -> None:
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "UTC")[0] == 0
    old = tmp_path / "old.sqlite3"
    assert run("backup", str(old))[0] == 0
    engine = make_engine(f"sqlite:///{old}")
    command.downgrade(migrate._config(engine), _before_head())
    engine.dispose()
    assert run("restore", str(old), "--yes")[0] == 0
    runtime = Runtime.open()
    assert migrate.pending(runtime.db.engine) is False
    runtime.close()


def _before_head() -> str:
    return max(one for one in migrate.revisions() if one != migrate.head())


@pytest.mark.parametrize("kind", ["missing", "torn", "foreign", "newer"])
def test_what_is_no_backup_changes_nothing(run: Run, tmp_path: Path, data_dir: Path, kind: str) -> None:
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "UTC")[0] == 0
    file = tmp_path / "file"
    if kind != "missing":
        assert run("backup", str(file))[0] == 0
    if kind == "torn":
        file.write_bytes(file.read_bytes()[:20_000])
    if kind in ("foreign", "newer"):
        with closing(sqlite3.connect(file)) as database:
            database.execute(
                "DROP TABLE alembic_version" if kind == "foreign" else "UPDATE alembic_version SET version_num = '9999'"
            )
            database.commit()
    code, told = run("restore", str(file), "--yes", "--json")
    assert (code, told["error"]["field"]) == (1, "file")
    assert not file.exists() or kind != "missing"
    assert [one["name"] for one in run("shop", "list", "--json")[1]] == ["shop"]


def test_database_in_use_is_not_replaced(run: Run, tmp_path: Path, data_dir: Path) -> None:
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "UTC")[0] == 0
    file = tmp_path / "file"
    assert run("backup", str(file))[0] == 0
    assert run("backup", str(file))[0] == 1
    with closing(sqlite3.connect(data_dir / "crm.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        code, told = run("restore", str(file), "--yes", "--json")
    assert code == 1
    assert "in use" in told["error"]["message"]
