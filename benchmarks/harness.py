"""What every benchmark shares: options, results, times taken in turns, and the databases to measure on."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from crm_plugin.store import metadata
from crm_plugin.store.session import Database
from tests.postgres import PostgresServer


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    members: int = 100_000
    repeats: int = 3
    seed: int = 7
    postgres: bool = True
    say: Callable[[str], None] = lambda _text: None


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report. `ratio` is ours over limit; `at_least` tells which side is good. Without a budget it only compares."""

    name: str
    ours: float
    limit: float
    unit: str
    budget: float | None
    at_least: bool
    against: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours divided by the limit."""
        return self.ours / self.limit if self.limit else float("inf")

    @property
    def kept(self) -> bool:
        """Whether the budget is kept; one that is not set cannot be broken."""
        if self.budget is None:
            return True
        return self.ratio >= self.budget if self.at_least else self.ratio <= self.budget

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "ratio": round(self.ratio, 4), "kept": self.kept}


Benchmark = Callable[[Options], Iterator[Result]]
REGISTRY: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a benchmark under a name that the command line can select."""

    def register(function: Benchmark) -> Benchmark:
        REGISTRY[name] = function
        return function

    return register


_clock: Callable[[], float] = time.perf_counter


def count_cpu_time() -> None:
    """From now on count this process's own CPU time: on a machine that others use, what they do is then left out."""
    global _clock
    _clock = time.process_time


def counts_cpu_time() -> bool:
    """Whether times of processes are to be their CPU time."""
    return _clock is time.process_time


def seconds(work: Callable[[], object], *, wall: bool = False) -> float:
    """Time of one call, with the garbage of the call before collected first; `wall` where another process does part of the work."""
    gc.collect()
    clock = time.perf_counter if wall else _clock
    start = clock()
    work()
    return clock() - start


def fastest(repeats: int, *works: Callable[[], object]) -> list[float]:
    """The shortest time of each, run in turns so that a noisy moment hits all alike: what else the machine does only ever adds."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for slot, work in zip(times, works, strict=True):
            slot.append(seconds(work))
    return [min(slot) for slot in times]


@contextmanager
def sqlite_database() -> Iterator[Database]:
    """A fresh file database with all tables, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        database = Database.at(f"sqlite:///{Path(folder) / 'bench.sqlite3'}")
        metadata.create_all(database.engine)
        try:
            yield database
        finally:
            database.dispose()


@contextmanager
def postgres_database(server: PostgresServer, name: str) -> Iterator[Database]:
    """A fresh database with all tables on that server."""
    admin = create_engine(server.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    database = Database.at(server.url(name))
    metadata.create_all(database.engine)
    try:
        yield database
    finally:
        database.dispose()
