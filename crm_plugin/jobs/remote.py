"""The queue of many processes: a job goes as a message over Redis or RabbitMQ (Celery) to whichever worker is free.

The message is worth nothing by itself. That a job waits or runs stands in its lease in the database; a message that is lost, told twice
or comes late does no harm, for a lease that nobody keeps runs out and the clock asks again. So the broker may forget everything.
"""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from functools import cache
from typing import Any

from crm_plugin.errors import ConfigError, TransientError
from crm_plugin.jobs.asked import Running
from crm_plugin.jobs.tasks import job_named
from crm_plugin.phrases import phrase
from crm_plugin.runtime import Runtime
from crm_plugin.store import leases, runs
from crm_plugin.store.runs import Run

TASK = "crm_plugin.job"
# Long jobs wait apart, so that a worker can be kept for the short ones.
SHORT, LONG = "crm.short", "crm.long"
# A message that no worker has begun with is given up after this long; what a person asked for waits longer than what the clock asks again.
PATIENCE = timedelta(minutes=5)
PATIENCE_FOR_PERSONS = timedelta(hours=6)
# A broker that does not answer by then is away.
BROKER_SECONDS = 5
_log = logging.getLogger(__name__)


class RemoteQueue:
    """Hands jobs over. Like the queue of threads it takes one job of a kind for each shop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._app = celery_app(runtime.config.broker_url)

    def enqueue(self, job: str, shop_id: int, **arguments: Any) -> bool:
        """Ask for a job; False when the same job of this shop waits or runs already. Raises: TransientError when the broker is away."""
        token, now, kind = secrets.token_hex(8), self._runtime.clock.now(), job_named(job)
        patience = PATIENCE if kind.every_seconds else PATIENCE_FOR_PERSONS
        with self._runtime.db.write() as connection:
            if not leases.take(connection, shop_id, job, token, now, patience):
                return False
        try:
            self._app.send_task(
                TASK,
                args=(job, shop_id, arguments),
                queue=LONG if kind.is_long else SHORT,
                retry=False,
                ignore_result=True,
            )
        except Exception as error:
            # Each transport has errors of its own; whichever it is, the message has not gone.
            with self._runtime.db.write() as connection:
                leases.give_back(connection, shop_id, job, token)
            _log.error("the broker cannot be reached: %s", type(error).__name__)
            raise TransientError(
                phrase("The broker cannot be reached, so no job can be handed over."),
                adapter="broker",
                operation="enqueue",
                hint=phrase("What is due is not lost: it is asked for again when the broker is back."),
            ) from error
        return True

    def running(self, shop_id: int) -> list[Running]:
        """What waits and runs for a shop, longest first."""
        with self._runtime.db.read() as connection:
            held = leases.held(connection, shop_id, self._runtime.clock.now())
        return [Running(one.name, one.since, one.label, one.done, one.total, one.started) for one in held]

    def last(self, shop_id: int, job: str) -> Run | None:
        """How the last run of a job went; None before the first."""
        with self._runtime.db.read() as connection:
            return runs.last(connection, shop_id, job)

    def close(self) -> None:
        """Give back the connections to the broker."""
        self._app.close()


@cache
def celery_app(broker_url: str) -> Any:
    """The Celery application, on that broker. Raises: ConfigError when Celery is not installed."""
    try:
        from celery import Celery
    except ImportError as error:
        raise ConfigError(
            "Celery is not installed.", hint="Install crm-plugin[scale], or unset CRM_BROKER_URL."
        ) from error
    app = Celery("crm_plugin", broker=broker_url, set_as_current=False)
    app.conf.update(
        # Nobody waits for results: what a job has done is in the rows.
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # A worker takes one message at a time, so that what waits can go to whoever is free first.
        worker_prefetch_multiplier=1,
        # Told off at once: a message that came again would only find its job done or under way.
        task_acks_late=False,
        broker_connection_timeout=BROKER_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "max_retries": 0,
        },
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # Its queue would be one worker's own by the machine's name: over RabbitMQ a second worker there, or the next one, could not start.
        worker_enable_remote_control=False,
        timezone="UTC",
        enable_utc=True,
    )
    return app
