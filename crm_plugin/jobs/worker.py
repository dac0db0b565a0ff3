"""What `crm-plugin worker` runs: processes that take jobs from the broker and work them off, each with its own database connections."""

from __future__ import annotations

import fcntl
import logging
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from multiprocessing import Event
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from crm_plugin.config import Config
from crm_plugin.errors import TransientError
from crm_plugin.jobs.remote import LONG, SHORT, TASK, RemoteQueue, celery_app
from crm_plugin.jobs.tasks import Job, job_named
from crm_plugin.jobs.work import work
from crm_plugin.rounds import Stopped
from crm_plugin.runtime import Runtime
from crm_plugin.store import leases
from crm_plugin.sync.pull import Progress

# A worker that is killed lets go of its job after this long; while it runs the lease is kept every few seconds.
SPAN = timedelta(seconds=60)
KEEP_SECONDS = 15.0
# A long job that finds no room comes again after this many seconds.
AGAIN_SECONDS = 5
QUEUES = {"all": (SHORT, LONG), "short": (SHORT,), "long": (LONG,)}
_log = logging.getLogger(__name__)


class Worker:
    """The processes of one `crm-plugin worker`. Of several processes one is always left for short jobs."""

    def __init__(self, config: Config, processes: int, kind: str = "all") -> None:
        self._config = config
        self._processes = processes
        self._kind = kind
        # Made before the processes part, so that all of them see it.
        self._ending = Event()
        # It has no name, so that nothing is left of a worker that is killed.
        self._rooms = tempfile.TemporaryFile()  # noqa: SIM115
        # In each process its own.
        self._runtime: Runtime | None = None
        self._queue: RemoteQueue | None = None

    def run(self) -> None:
        """Work until a polite kill; jobs that can go on later stop at their next halt, the others end first."""
        from celery import signals

        from crm_plugin.jobs.processes import Processes

        app = celery_app(self._config.broker_url)

        @app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]
        def do(task: Any, job: str, shop_id: int, arguments: Mapping[str, Any]) -> None:
            self._do(task, job, shop_id, arguments)

        signals.worker_process_init.connect(self._open, weak=False)
        signals.worker_process_shutdown.connect(self._close, weak=False)
        signals.worker_shutting_down.connect(self._end, weak=False)
        worker = app.Worker(
            concurrency=self._processes,
            pool=Processes,
            queues=QUEUES[self._kind],
            without_gossip=True,
            without_mingle=True,
            quiet=True,
            loglevel=logging.getLevelName(logging.getLogger().getEffectiveLevel()),
        )
        with self._rooms:
            worker.start()
        if worker.exitcode:
            raise SystemExit(worker.exitcode)

    def _open(self, **_told: Any) -> None:
        self._runtime = Runtime.open(self._config)
        self._queue = RemoteQueue(self._runtime)

    def _close(self, **_told: Any) -> None:
        if self._runtime is not None:
            self._runtime.close()

    def _end(self, **_told: Any) -> None:
        self._ending.set()

    def _do(self, task: Any, job_name: str, shop_id: int, arguments: Mapping[str, Any]) -> None:
        runtime, job = self._runtime, job_named(job_name)
        assert runtime is not None
        with ExitStack() as stack:
            if job.is_long and not stack.enter_context(self._room()):
                # Not an error of the job: it waits in its queue as before.
                task.apply_async((job_name, shop_id, arguments), queue=LONG, countdown=AGAIN_SECONDS, retry=False)
                return
            again = self._work_off(runtime, job, shop_id, arguments)
        if again and not self._ending.is_set():
            self._ask_again(job, shop_id, arguments)

    def _work_off(self, runtime: Runtime, job: Job, shop_id: int, arguments: Mapping[str, Any]) -> bool:
        token = secrets.token_hex(8)
        with runtime.db.write() as connection:
            if not leases.begin(connection, shop_id, job.name, token, runtime.clock.now(), SPAN):
                # Told twice, or done meanwhile.
                return False
        kept = _Kept(runtime, job, shop_id, token)

        def note(progress: Progress) -> None:
            kept.progress = progress
            if job.can_stop and (self._ending.is_set() or kept.lost):
                raise Stopped

        with kept:
            return work(runtime, job, shop_id, arguments, note)

    def _ask_again(self, job: Job, shop_id: int, arguments: Mapping[str, Any]) -> None:
        assert self._queue is not None
        try:
            self._queue.enqueue(job.name, shop_id, **arguments)
        except TransientError:
            _log.warning("%s of shop %s goes on when the clock asks for it", job.name, shop_id)

    @contextmanager
    def _room(self) -> Iterator[bool]:
        """A place for a long job: one fewer than there are processes, given back by the system when a process dies."""
        file = self._rooms.fileno()
        with ExitStack() as stack:
            yield any(_locked(stack, file, place) for place in range(max(1, self._processes - 1)))


def _locked(stack: ExitStack, file: int, place: int) -> bool:
    """Lock one byte for this process; such a lock is not shared with those that have the file from the same parent."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError:
        return False
    stack.callback(fcntl.lockf, file, fcntl.LOCK_UN, 1, place)
    return True


class _Kept:
    """A lease that is kept while its job runs, in a thread of its own, with how far the job is; given back at the end."""

    def __init__(self, runtime: Runtime, job: Job, shop_id: int, token: str) -> None:
        self.progress: Progress | None = None
        self.lost = False
        self._runtime = runtime
        self._name = job.name
        self._shop_id = shop_id
        self._token = token
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            with self._runtime.db.write() as connection:
                leases.give_back(connection, self._shop_id, self._name, self._token)
        except SQLAlchemyError:
            # It runs out by itself.
            _log.warning("the lease of %s of shop %s was not given back", self._name, self._shop_id)

    def _keep(self) -> None:
        while not self._ended.wait(KEEP_SECONDS):
            far = self.progress or Progress("", 0, None)
            now = self._runtime.clock.now()
            whose = (self._shop_id, self._name, self._token, now, SPAN)
            try:
                with self._runtime.db.write() as connection:
                    held = leases.keep(connection, *whose, label=far.stream, done=far.done, total=far.total)
                self.lost = not held
            except SQLAlchemyError as error:
                _log.warning(
                    "the lease of %s of shop %s was not kept: %s", self._name, self._shop_id, type(error).__name__
                )
