"""One job for one shop, from its beginning to the note of how it went; whatever queue it came from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from crm_plugin.errors import CrmError
from crm_plugin.jobs.tasks import Job
from crm_plugin.rounds import Stopped, told_of
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import shop_by_id, shop_or_none
from crm_plugin.sync.pull import Progress

_log = logging.getLogger(__name__)


def work(
    runtime: Runtime, job: Job, shop_id: int, arguments: Mapping[str, Any], note: Callable[[Progress], None]
) -> bool:
    """Run it and keep how it went; answers whether it asks for another turn.

    `note` hears how far it is and may raise `Stopped`. No other error comes out: it is logged, and kept as the job's last one.
    """
    clock, error, result = runtime.clock, "", {}
    began = clock.now()
    try:
        with runtime.db.read() as connection:
            shop = shop_by_id(connection, shop_id)
        if not (shop.is_awake or job.of_asleep):
            # It was asked for before the merchant took the app away.
            return False
        result = job.run(runtime, shop, now=began, progress=note, **arguments)
        error = told_of(result.get("errors", {}))
    except Stopped:
        # No end that anybody has to know of: it goes on with the next process.
        return False
    except CrmError as failure:
        # A person has to know; the log of a store that is away for an hour need not hold a trace a minute.
        error = str(failure)
        _log.warning("%s of shop %s: %s", job.name, shop_id, failure)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"[:500]
        _log.exception("%s of shop %s", job.name, shop_id)
    _keep(runtime, shop_id, Run(job.name, began, clock.now(), runs.plain(result), error))
    return bool(result.get("again"))


def _keep(runtime: Runtime, shop_id: int, run: Run) -> None:
    try:
        with runtime.db.write() as connection:
            # What was erased keeps nothing, not even that.
            if shop_or_none(connection, shop_id) is not None:
                runs.keep(connection, shop_id, run)
    except SQLAlchemyError:
        # The database may be away; the next run tells again.
        _log.exception("the run of %s of shop %s was not kept", run.job, shop_id)
