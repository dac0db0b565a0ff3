"""The clock: APScheduler ticks that hold no state and only ask the queue for each shop's jobs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import Connection

from crm_plugin.errors import TransientError
from crm_plugin.jobs import stalls, uploads
from crm_plugin.jobs.asked import Enqueues
from crm_plugin.jobs.leader import RENEW_SECONDS, Leader
from crm_plugin.jobs.tasks import JOBS, Job
from crm_plugin.runtime import Runtime
from crm_plugin.store import pending, runs
from crm_plugin.store.tenants import ACTION_REQUIRED, Shop, all_shops

# How often it is looked whether anything stands still.
_WATCH_SECONDS = 300
_log = logging.getLogger(__name__)
# The first round comes soon after the start, when the pages are up.
_FIRST = timedelta(seconds=2)


class Clock:
    """Asks for every job at its interval. A tick that comes late or twice asks for what waits already, and that changes nothing."""

    def __init__(self, runtime: Runtime, queue: Enqueues, leader: Leader | None = None) -> None:
        """Of several clocks only the `leader` asks for jobs."""
        self._runtime = runtime
        self._queue = queue
        self._leader = leader
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 30}
        )

    def start(self) -> None:
        """Begin to tick in a thread of its own. What was uploaded before the last end comes first."""
        uploads.resume(self._runtime, self._queue.enqueue)
        for job in JOBS:
            if job.every_seconds:
                self._scheduler.add_job(
                    self.ask,
                    IntervalTrigger(seconds=job.every_seconds, timezone=UTC),
                    args=(job,),
                    id=job.name,
                    next_run_time=datetime.now(UTC) + _FIRST,
                )
        self._scheduler.add_job(self.watch, IntervalTrigger(seconds=_WATCH_SECONDS, timezone=UTC), id="watch")
        if self._leader is not None:
            self._scheduler.add_job(
                self._leader.leads, IntervalTrigger(seconds=RENEW_SECONDS, timezone=UTC), id="leader"
            )
        self._scheduler.start()

    def stop(self) -> None:
        """No more ticks; what was asked for goes on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def ask(self, job: Job) -> int:
        """Ask for a job of every shop it is for; answers how many were taken."""
        if self._leader is not None and not self._leader.leads():
            return 0
        with self._runtime.db.read() as connection:
            shops = [shop for shop in all_shops(connection) if (shop.is_awake or job.of_asleep) and job.wanted(shop)]
            now = self._runtime.clock.now()
            open_ = [shop for shop in shops if not self._rests(connection, job, shop)]
            wanted = [shop.shop_id for shop in open_ if job.due(connection, shop, now)]
        try:
            taken = sum(self._queue.enqueue(job.name, shop_id) for shop_id in wanted)
        except TransientError as error:
            # Nobody takes jobs now; the next tick asks again.
            _log.warning("%s: %s", job.name, error)
            return 0
        _log.debug("%s: asked for %s shops, %s taken", job.name, len(wanted), taken)
        return taken

    def watch(self) -> int:
        """Warn of what stands still, and clear away installs that nobody ended; of several clocks the one that leads."""
        if self._leader is not None and not self._leader.leads():
            return 0
        with self._runtime.db.write() as connection:
            pending.forget(connection, self._runtime.clock.now())
        return stalls.watch(self._runtime)

    def _rests(self, connection: Connection, job: Job, shop: Shop) -> bool:
        """Whether a store that refuses us is left in peace for a while: nothing changes there before the merchant acts."""
        if not job.when_stuck_seconds or shop.status != ACTION_REQUIRED:
            return False
        before = runs.last(connection, shop.shop_id, job.name)
        pause = timedelta(seconds=job.when_stuck_seconds)
        return before is not None and self._runtime.clock.now() < before.finished_at + pause
