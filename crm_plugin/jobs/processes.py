"""The processes of a Celery worker, as `worker.py` wants them."""

from __future__ import annotations

from celery.concurrency.prefork import TaskPool


class Processes(TaskPool):  # type: ignore[misc]
    """Celery's own, but that one of them which is killed while the worker begins is replaced, as it is at any later time.

    Celery asks this once, when it begins to listen, and ends the worker where it hears no.
    """

    def did_start_ok(self) -> bool:
        """False where a process has ended by itself: it would do so again."""
        ended = [process.exitcode for process in self._pool._pool]
        if any(code is not None and code >= 0 for code in ended):
            return bool(super().did_start_ok())
        self.maintain_pool()
        return True
