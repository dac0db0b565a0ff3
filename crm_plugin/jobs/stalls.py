"""What should move and does not: messages that are due, rounds that have stopped, messages that a worker has had for too long."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, func, select, text

from crm_plugin.runtime import Runtime
from crm_plugin.store import job_leases, job_runs, journeys, shops, touchpoints
from crm_plugin.touchpoints.backlog import backlogs

# Five rounds.
STILL = timedelta(minutes=5)
_ROUND = "tick"
_IN_FLIGHT = text("touchpoints.state = 'in_flight'")
_SHOPS = select(shops.c.shop_id)
_log = logging.getLogger(__name__)


class What(StrEnum):
    """What stands still."""

    ROUNDS = "rounds"
    MESSAGES = "messages"
    CLAIMS = "claims"


@dataclass(frozen=True, slots=True)
class Stall:
    """One thing of a shop that has stood still since an instant; `count` messages are concerned, 0 for rounds."""

    shop_id: int
    what: What
    since: datetime
    count: int = 0
    adapter: str = ""


def stalls(connection: Connection, now: datetime, shop_id: int | None = None) -> list[Stall]:
    """What stands still in one shop, or in all. Where there are no rounds, nothing is told of what waits for them."""
    rounds = _rounds(connection, now)
    without = {one.shop_id for one in rounds}
    waiting = [
        Stall(one.shop_id, What.MESSAGES, one.oldest_at, one.waiting, one.adapter)
        for one in backlogs(connection, now, shop_id)
        # What is many takes its time: while some of it leaves, all is well.
        if not one.rests and not one.accepted and one.oldest_at < now - STILL and one.shop_id not in without
    ]
    claims = [one for one in _claims(connection, now) if one.shop_id not in without]
    return [one for one in (*rounds, *waiting, *claims) if shop_id in (None, one.shop_id)]


def watch(runtime: Runtime) -> int:
    """Warn in the log of all that stands still; answers how much does."""
    with runtime.db.read() as connection:
        found = stalls(connection, runtime.clock.now())
    for one in found:
        _log.warning(
            "%s of shop %s %s stand still since %s: %s messages",
            one.what,
            one.shop_id,
            one.adapter,
            one.since.isoformat(timespec="seconds"),
            one.count,
        )
    return len(found)


def _rounds(connection: Connection, now: datetime) -> list[Stall]:
    """Shops with a journey that is on, whose last round ended long ago and where none runs. Before the first round nobody can tell."""
    r, leases, j = job_runs.c, job_leases.c, journeys.c
    runs_now = select(leases.shop_id).where(leases.name == _ROUND, leases.started.is_(True), leases.until > now)
    query = select(r.shop_id, r.finished_at).where(
        r.shop_id.in_(_SHOPS),
        r.job == _ROUND,
        r.finished_at < now - STILL,
        r.shop_id.not_in(runs_now),
        r.shop_id.in_(select(j.shop_id).where(j.enabled.is_(True))),
    )
    return [Stall(row.shop_id, What.ROUNDS, row.finished_at) for row in connection.execute(query)]


def _claims(connection: Connection, now: datetime) -> list[Stall]:
    """Messages that a worker took and left, and that no round has settled since."""
    t = touchpoints.c
    query = (
        select(t.shop_id, func.count().label("number"), func.min(t.claimed_until).label("since"))
        .where(t.shop_id.in_(_SHOPS), _IN_FLIGHT, t.claimed_until < now - STILL)
        .group_by(t.shop_id)
    )
    return [Stall(row.shop_id, What.CLAIMS, row.since, row.number) for row in connection.execute(query)]
