"""Accepted files are loaded once whatever becomes of the process; what was never accepted goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.jobs import uploads
from crm_plugin.jobs.clock import Clock
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.uploads import Upload
from crm_plugin.runtime import Runtime
from crm_plugin.store import members
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from tests.factories import make_shop

MAPPING = "kind: members\nmember_id: Id\nemail: Email\n"
OLD = 49 * 3600


@pytest.fixture
def runtime(sqlite_db: Database, clock: FixedClock, tmp_path: Path) -> Runtime:
    with sqlite_db.write() as connection:
        make_shop(connection, 1)
        make_shop(connection, 2)
    return Runtime(Config("", tmp_path), sqlite_db, SecretBox(Fernet.generate_key()), clock)


def _accept(runtime: Runtime, shop_id: int, mapping: str = MAPPING) -> Path:
    path = uploads.new_path(uploads.folder_of(runtime))
    path.write_text(f"Id,Email\n1,a{shop_id}@x.test\n", encoding="utf-8")
    uploads.accept(path, Upload(shop_id, mapping, "members.csv"))
    return path


def _members(runtime: Runtime) -> int:
    with runtime.db.read() as connection:
        return connection.execute(select(func.count()).select_from(members)).scalar_one()


def _left(runtime: Runtime) -> list[str]:
    return sorted(path.suffix for path in uploads.folder_of(runtime).iterdir())


def test_file_is_loaded_after_a_restart(runtime: Runtime) -> None:
    for shop_id in (1, 2):
        _accept(runtime, shop_id)
    queue = Queue(runtime)
    clock = Clock(runtime, queue)
    clock.start()
    try:
        assert queue.wait()
    finally:
        clock.stop()
        queue.close()
    assert (_members(runtime), _left(runtime)) == (2, [])


def test_file_that_waits_is_asked_for_once(runtime: Runtime) -> None:
    path = _accept(runtime, 1)
    asked: list[Any] = []

    def enqueue(job: str, shop_id: int, **arguments: Any) -> bool:
        asked.append((job, shop_id, arguments))
        return len(asked) == 1

    assert [uploads.resume(runtime, enqueue), uploads.resume(runtime, enqueue)] == [1, 0]
    mapping = {"kind": "members", "member_id": "Id", "email": "Email"}
    assert asked[0] == ("import_file", 1, {"path": str(path), "mapping": mapping})
    assert _left(runtime) == [".json", ".part"]


def test_file_of_no_shop_and_note_of_no_file_go(runtime: Runtime) -> None:
    _accept(runtime, 9)
    _accept(runtime, 1).unlink()
    assert uploads.resume(runtime, lambda *_, **__: True) == 0
    assert _left(runtime) == []


@pytest.mark.parametrize("note", ["{", "[]", json.dumps({"shop_id": 1}), "mapping"])
def test_broken_note_keeps_no_other_from_its_turn(runtime: Runtime, note: str) -> None:
    broken = _accept(runtime, 1, "kind: [")
    if note != "mapping":
        broken.with_suffix(".json").write_text(note, encoding="utf-8")
    _accept(runtime, 2)
    asked = []
    assert uploads.resume(runtime, lambda job, shop_id, **_: asked.append(shop_id) or True) == 1
    assert (asked, len(_left(runtime))) == ([2], 4)


def test_only_what_was_never_accepted_is_forgotten(runtime: Runtime) -> None:
    kept = _accept(runtime, 1)
    folder = uploads.folder_of(runtime)
    lost, new = uploads.new_path(folder), uploads.new_path(folder)
    for path in (lost, new):
        path.touch()
    long_ago = time.time() - OLD
    for path in (kept, kept.with_suffix(".json"), lost):
        os.utime(path, (long_ago, long_ago))
    uploads.forget_old(folder)
    assert sorted(folder.iterdir()) == sorted([kept, kept.with_suffix(".json"), new])
