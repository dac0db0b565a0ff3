"""What every live trial needs of this machine: a word on the screen, a free port, a folder between runs, a browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import platformdirs
from playwright.sync_api import Browser, sync_playwright

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def say(text: str) -> None:
    """What is going on."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cache_folder(name: str) -> Path:
    """Where what was installed is kept between runs."""
    given = os.environ.get("CRM_LIVE_CACHE")
    return (Path(given) if given else Path(platformdirs.user_cache_dir("crm-plugin"))) / name


def run(
    *command: str, folder: Path, seconds: int, environment: Mapping[str, str] | None = None, given: str | None = None
) -> str:
    """What a command prints, which has to end well."""
    done = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def start(
    *command: str, log: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process that goes on, what it says going to a file; it has a group of its own, for some make workers and do not end them."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ask a process of `start` to end with its workers, and make them."""
    if process is None or process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Program(ABC):
    """What runs within a `with`, and is ended also when it does not begin well."""

    @abstractmethod
    def begin(self) -> None:
        """Install and start it."""

    @abstractmethod
    def stop(self) -> None:
        """End it, as far as it has begun."""

    def __enter__(self) -> Self:
        try:
            self.begin()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A real browser."""
    program = shutil.which("chromium")
    assert program is not None, "Chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
