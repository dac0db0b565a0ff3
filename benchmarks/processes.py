"""Work in processes of its own: told to begin by a line, answered by a line of JSON; and how much memory processes hold (Linux)."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Worker:
    """One process of `python -m MODULE`, ready to begin."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        if self._line() != "ready":
            raise RuntimeError("a process of the benchmark did not start; what it said stands above")

    def begin(self) -> None:
        """Tell it to begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it measured, when it is done."""
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def worker(module: str, arguments: dict[str, Any]) -> Iterator[Worker]:
    """Start it, and end it with the block."""
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


def serve(work: Callable[[], dict[str, Any]]) -> None:
    """The other side: say that all is ready, wait for the word, do the work, and tell of it with times and the peak of memory.

    `seconds` are by the clock, `cpu_seconds` what this process and its children, all ended by then, took of a core.
    """
    print("ready", flush=True)
    sys.stdin.readline()
    began, taken = time.perf_counter(), _cpu_seconds()
    done = work()
    told = {"seconds": time.perf_counter() - began, "cpu_seconds": _cpu_seconds() - taken, "peak_mb": peak_mb()}
    print(json.dumps({**told, **done}), flush=True)


def _cpu_seconds() -> float:
    own, children = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mb() -> float:
    """The most this process ever held, in MB. What `getrusage` says would count the parent's share before the program was loaded."""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return int(told.split("VmHWM:")[1].split()[0]) / 1024


def held_mb(pids: Iterable[int]) -> float:
    """What these processes and their children hold together, in MB; what several share counts once."""
    return sum(_shared_out_mb(pid) for one in pids for pid in _family(one))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for told in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in told.read_text(encoding="ascii").split():
            yield from _family(int(child))


def _shared_out_mb(pid: int) -> float:
    """The proportional set size: a page that three processes share counts a third for each."""
    with suppress(FileNotFoundError, ProcessLookupError):
        told = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        return int(told.split("\nPss:")[1].split()[0]) / 1024
    return 0.0
