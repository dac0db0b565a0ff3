"""The wheel holds all that the product needs, and runs from where it lies, without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import crm_plugin
from crm_plugin.touchpoints.recipes import recipe_texts, recipes

PACKAGE = Path(crm_plugin.__file__).parent
PROJECT = PACKAGE.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the environment's own hatchling: nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def _run(unpacked: Path, data: Path, *arguments: str) -> str:
    """What the unpacked wheel prints; it stands before the checkout that the environment knows."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRM_")}
    environment |= {"PYTHONPATH": str(unpacked), "CRM_DATA_DIR": str(data), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=unpacked, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _files(folder: Path) -> set[str]:
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_everything_is_inside(unpacked: Path) -> None:
    inside = _files(unpacked / "crm_plugin")
    assert sorted(_files(PACKAGE) - inside) == []
    assert {f"_migrations/{name}" for name in _files(PROJECT / "migrations")} <= inside
    assert (unpacked / "crm_plugin" / "_plugin.yaml").read_bytes() == (PROJECT / "plugin.yaml").read_bytes()
    for kind in (
        "templates/messages/layout.html",
        "templates/messages/birthday/recipe.yaml",
        "templates/messages/birthday/email.zh-CN.html",
        "templates/web/base.html",
        "web/static/app.css",
        "web/static/inapp.js",
        "translations/zh/LC_MESSAGES/messages.po",
        "_migrations/env.py",
        "_migrations/versions/0001_first_tables.py",
    ):
        assert kind in inside


def test_nothing_else_is_inside(unpacked: Path) -> None:
    """No tests, no caches, no data of a shop."""
    tops = {path.parts[0] for path in (file.relative_to(unpacked) for file in unpacked.rglob("*"))}
    assert tops == {"crm_plugin", f"crm_plugin-{crm_plugin.__version__}.dist-info"}
    strange = {".pyc", ".sqlite3", ".key", ".db", ".log"}
    assert [file for file in _files(unpacked) if Path(file).suffix in strange] == []


def test_metadata_names_command_extras_and_licence(unpacked: Path) -> None:
    info = unpacked / f"crm_plugin-{crm_plugin.__version__}.dist-info"
    assert "crm-plugin = crm_plugin.cli:main" in (info / "entry_points.txt").read_text()
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    for line in ("License-Expression: Apache-2.0", "Provides-Extra: postgres", "Provides-Extra: scale"):
        assert line in metadata
    assert (info / "licenses" / "LICENSE").is_file()


def test_unpacked_wheel_runs_by_itself(unpacked: Path, tmp_path: Path) -> None:
    assert "db" in _run(unpacked, tmp_path, "-m", "crm_plugin", "--help")
    answer = json.loads(_run(unpacked, tmp_path, "-m", "crm_plugin", "db", "upgrade", "--json"))
    assert answer["from"] is None
    assert answer["to"]
    assert (tmp_path / "crm.sqlite3").is_file()
    again = json.loads(_run(unpacked, tmp_path, "-m", "crm_plugin", "db", "upgrade", "--json"))
    assert again == {"from": answer["to"], "to": answer["to"]}


def test_unpacked_wheel_finds_its_own_files(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import json, crm_plugin; from crm_plugin.manifest import load_manifest; "
        "from crm_plugin.touchpoints.recipes import recipe_texts, recipes; "
        "from crm_plugin.touchpoints.sandbox import layout; layout(); "
        "print(json.dumps([crm_plugin.__file__, load_manifest().version, "
        "[[one.key, len(recipe_texts(one.key))] for one in recipes()]]))"
    )
    file, version, told = json.loads(_run(unpacked, tmp_path, "-c", code))
    assert Path(file).is_relative_to(unpacked)
    assert version == crm_plugin.__version__
    assert told == [[one.key, len(recipe_texts(one.key))] for one in recipes()]
    assert ["post_purchase", 8] in told


def test_unpacked_wheel_serves_its_pages(unpacked: Path, tmp_path: Path) -> None:
    _run(unpacked, tmp_path, "-m", "crm_plugin", "db", "upgrade")
    code = (
        "import json; from crm_plugin.app import create_app; from crm_plugin.jobs.queue import Queue; "
        "from crm_plugin.runtime import Runtime; runtime = Runtime.open(); queue = Queue(runtime); "
        "client = create_app(runtime, queue).test_client(); "
        "answers = [client.get(path) for path in ('/healthz', '/static/app.css', '/u/no-such-token?lang=zh')]; "
        "print(json.dumps([[one.status_code, len(one.data)] for one in answers])); queue.close(); runtime.close()"
    )
    answers = json.loads(_run(unpacked, tmp_path, "-c", code))
    assert [status for status, _ in answers] == [200, 200, 404]
    assert all(size for _, size in answers)
