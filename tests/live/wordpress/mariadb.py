"""A MariaDB of our own: its files in a folder that goes with the trial, heard on a socket there alone."""

from __future__ import annotations

import getpass
import subprocess
import time
from pathlib import Path

from tests.live.machine import end, run, start

_SECONDS = 120


class MariaDb:
    """The running server; `socket` is where it is heard, `USER` may everything without a password."""

    USER = "live"

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "socket"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        who = f"--user={getpass.getuser()}"
        run(
            "mariadb-install-db", "--no-defaults", who, f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db",
            folder=folder, seconds=_SECONDS,
        )  # fmt: skip
        # Nothing here has to outlive the machine.
        options = ("--skip-networking", "--innodb-flush-log-at-trx-commit=0", f"--socket={self.socket}")
        command = ("mariadbd", "--no-defaults", who, f"--datadir={data}", *options)
        self._process = start(*command, log=folder / "log", folder=folder)
        self._wait()
        self._say(f"CREATE USER '{self.USER}'@'localhost'; GRANT ALL ON *.* TO '{self.USER}'@'localhost';")

    def make(self, database: str) -> None:
        """An empty database."""
        self._say(f"CREATE DATABASE {database} CHARACTER SET utf8mb4;")

    def stop(self) -> None:
        """End the server."""
        end(self._process)

    def _wait(self) -> None:
        until = time.monotonic() + _SECONDS
        while not self.socket.exists():
            assert self._process is not None
            told = (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
            assert self._process.poll() is None, told
            assert time.monotonic() < until, "MariaDB did not start"
            time.sleep(0.1)

    def _say(self, statements: str) -> None:
        run(
            "mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root",
            folder=self._folder, seconds=_SECONDS, given=statements,
        )  # fmt: skip
