"""The clock: APScheduler ticks that hold no state and only ask the queue for each shop's jobs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from crm_plugin.jobs.queue import Enqueues
from crm_plugin.jobs.tasks import JOBS, Job
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import all_shops

_log = logging.getLogger(__name__)
# The first round comes soon after the start, when the pages are up.
_FIRST = timedelta(seconds=2)


class Clock:
    """Asks for every job at its interval. A tick that comes late or twice asks for what waits already, and that changes nothing."""

    def __init__(self, runtime: Runtime, queue: Enqueues) -> None:
        self._runtime = runtime
        self._queue = queue
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 30}
        )

    def start(self) -> None:
        """Begin to tick in a thread of its own."""
        for job in JOBS:
            if job.every_seconds:
                self._scheduler.add_job(
                    self.ask,
                    IntervalTrigger(seconds=job.every_seconds, timezone=UTC),
                    args=(job,),
                    id=job.name,
                    next_run_time=datetime.now(UTC) + _FIRST,
                )
        self._scheduler.start()

    def stop(self) -> None:
        """No more ticks; what was asked for goes on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def ask(self, job: Job) -> int:
        """Ask for a job of every shop it is for; answers how many were taken."""
        with self._runtime.db.read() as connection:
            wanted = [shop.shop_id for shop in all_shops(connection) if job.wanted(shop)]
        taken = sum(self._queue.enqueue(job.name, shop_id) for shop_id in wanted)
        _log.debug("%s: asked for %s shops, %s taken", job.name, len(wanted), taken)
        return taken
