"""What the clock and the pages need of a queue: `queue.py` runs jobs in threads, `remote.py` hands them to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from crm_plugin.store.runs import Run


@dataclass(frozen=True, slots=True)
class Running:
    """A job that waits or runs; `label`, `done` and `total` tell how far it is, as far as it says."""

    job: str
    since: datetime
    label: str = ""
    done: int = 0
    total: int | None = None
    started: bool = False


class Enqueues(Protocol):
    """What the clock needs."""

    def enqueue(self, job: str, shop_id: int, **arguments: Any) -> bool:
        """Ask for a job; False when the same job of this shop waits or runs already."""
        ...


class Jobs(Enqueues, Protocol):
    """What the pages need besides."""

    def running(self, shop_id: int) -> list[Running]:
        """What waits and runs for a shop, longest first."""
        ...

    def last(self, shop_id: int, job: str) -> Run | None:
        """How the last run of a job went, also before a restart; None before the first."""
        ...
