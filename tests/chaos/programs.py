"""Programs under fire: `crm-plugin serve`, `worker` and `clock` as real processes, each with whoever it has begotten."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 60.0


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """What programs see: settings of their own, this code, and the packages in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRM_")}
    path = os.pathsep.join((str(ROOT), str(folder)))
    return {**kept, "PYTHONPATH": path, **{name: value for name, value in settings.items() if value}}


class Program:
    """One command that is started again whenever it was killed."""

    def __init__(self, words: tuple[str, ...], env: Mapping[str, str], log: Path) -> None:
        self.name = words[0]
        # How often it ended without having been asked to.
        self.fell = 0
        self._words = words
        self._env = dict(env)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "crm_plugin", *self._words], env=self._env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._groups.append(self._process.pid)

    def revive(self) -> None:
        """Start it again where it has ended by itself, which it should not."""
        if self._process is not None and self._process.poll() is not None:
            self.fell += 1
            self.start()

    def kill(self, drawn: random.Random) -> str:
        """SIGKILL the program with its children, or alone, or one child, and start it again where it is gone; answers which."""
        assert self._process is not None
        children = children_of(self._process.pid)
        which = drawn.choice(("all", "alone", "child")) if children else "all"
        with contextlib.suppress(ProcessLookupError):
            if which == "child":
                # It is the program's to see that, and to begin another.
                os.kill(drawn.choice(children), signal.SIGKILL)
                return f"a process of {self.name}"
            if which == "all":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.start()
        return self.name if which == "all" else f"{self.name} without its processes"

    def end(self) -> int:
        """SIGTERM; answers the exit code. Raises: TimeoutExpired."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(_END_SECONDS)

    def orphans(self, seconds: float = 30.0) -> int:
        """How many processes of it outlive it by more than that; they are ended."""
        until = time.monotonic() + seconds
        while (left := [group for group in self._groups if _lives(group)]) and time.monotonic() < until:
            time.sleep(0.1)
        for group in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        return len(left)


def children_of(pid: int) -> list[int]:
    """The processes that a process has begun."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
