"""The queue of one process: jobs wait in memory, run in threads, one of a kind for each shop, and shops take turns.

Losing the queue loses nothing that is due: it stands in the rows, and the clock asks again. An uploaded file is found again by the note
beside it (`uploads.py`). Only what a person asked for and had not begun, to read a store anew or problems again, has to be asked for again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crm_plugin.jobs.asked import Running
from crm_plugin.jobs.tasks import JOBS, Job
from crm_plugin.jobs.work import work
from crm_plugin.rounds import Stopped
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.runs import Run
from crm_plugin.sync.pull import Progress

_JOBS = {job.name: job for job in JOBS}


@dataclass(slots=True, eq=False)
class _Call:
    job: Job
    shop_id: int
    arguments: dict[str, Any]
    since: datetime
    started: bool = False
    progress: Progress | None = field(default=None)


class Queue:
    """Threads that work off the jobs of all shops. `close` lets what runs come to its end."""

    def __init__(self, runtime: Runtime, workers: int = 2) -> None:
        self._runtime = runtime
        self._changed = threading.Condition()
        # Shops in the order of their turns, each with what waits for it.
        self._waiting: OrderedDict[int, deque[_Call]] = OrderedDict()
        self._known: dict[tuple[int, str], _Call] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def enqueue(self, job: str, shop_id: int, **arguments: Any) -> bool:
        """Ask for a job; False when the same job of this shop waits or runs already, or the queue is closed."""
        call = _Call(_JOBS[job], shop_id, arguments, self._runtime.clock.now())
        with self._changed:
            if self._closed or (shop_id, job) in self._known:
                return False
            self._known[shop_id, job] = call
            self._waiting.setdefault(shop_id, deque()).append(call)
            self._changed.notify()
        return True

    def running(self, shop_id: int) -> list[Running]:
        """What waits and runs for a shop, longest first."""
        with self._changed:
            calls = [call for (shop, _), call in self._known.items() if shop == shop_id]
            return [_as_running(call) for call in sorted(calls, key=lambda call: call.since)]

    def last(self, shop_id: int, job: str) -> Run | None:
        """How the last run of a job went, also before a restart; None before the first."""
        with self._runtime.db.read() as connection:
            return runs.last(connection, shop_id, job)

    def wait(self, seconds: float = 60.0) -> bool:
        """Until nothing waits or runs; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._known, seconds)

    def close(self, wait: bool = True) -> None:
        """Take nothing more; what waits is left, what runs ends, at its next halt where it can go on later. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._known = {key: call for key, call in self._known.items() if call.started}
            self._changed.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            again = False
            try:
                again = self._run(call)
            finally:
                with self._changed:
                    self._known.pop((call.shop_id, call.job.name), None)
                    if again:
                        self.enqueue(call.job.name, call.shop_id, **call.arguments)
                    self._changed.notify_all()

    def _next(self) -> _Call | None:
        """The first call, that may run now, of the shop whose turn it is; the shop then goes to the end of the row."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._first() is not None)
            call = self._first()
            if self._closed or call is None:
                return None
            calls = self._waiting.pop(call.shop_id)
            calls.remove(call)
            if calls:
                self._waiting[call.shop_id] = calls
            call.started = True
            return call

    def _first(self) -> _Call | None:
        """Long jobs leave one worker free, so that no backfill keeps messages waiting."""
        under_way = sum(call.started and call.job.is_long for call in self._known.values())
        may_be_long = under_way < max(1, len(self._threads) - 1)
        waiting = (call for calls in self._waiting.values() for call in calls)
        return next((call for call in waiting if may_be_long or not call.job.is_long), None)

    def _run(self, call: _Call) -> bool:
        def note(progress: Progress) -> None:
            call.progress = progress
            if self._closed and call.job.can_stop:
                raise Stopped

        return work(self._runtime, call.job, call.shop_id, call.arguments, note)


def _as_running(call: _Call) -> Running:
    told = call.progress
    if told is None:
        return Running(call.job.name, call.since, started=call.started)
    return Running(call.job.name, call.since, told.stream, told.done, told.total, call.started)
