"""Asking providers what became of messages that they took, where no report has come: without a public address none can, and some are lost.

A sender's list is walked back from the newest message to the oldest that is still `accepted`, a few pages a round, the place kept between
rounds; then nothing is asked for an hour. Whatever was told before, by a report or an earlier walk, is found by one look for a page.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, select, update

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.registry import able
from crm_plugin.errors import CrmError
from crm_plugin.phrases import cut
from crm_plugin.store import connections, job_runs, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.store.upserts import insert_into
from crm_plugin.touchpoints import intake, senders
from crm_plugin.touchpoints.states import State

# A report mostly comes first, and after two days none will.
AFTER = timedelta(minutes=15)
UNTIL = timedelta(days=2)
AGAIN = timedelta(hours=1)
# A walk goes on in the next round, by whichever worker.
_GOES_ON = timedelta(seconds=30)
# Of one round, for other steps wait for it; and of one walk.
PAGES = 2
MOST_PAGES = 1000
_log = logging.getLogger(__name__)


def poll_shop(
    db: Database,
    box: SecretBox,
    shop: Shop,
    now: datetime,
    open_channel: Callable[..., ChannelAdapter] = senders.open_channel,
) -> dict[str, int]:
    """Ask the senders whose turn it is.

    Returns: state → how many messages came to it.
    """
    moved: Counter[str] = Counter()
    for walk in _due(db, shop, now):
        since = walk.started_at if walk.through else _oldest(db, shop, walk.adapter, now)
        if _take(db, shop, walk, since or now, now) and since is not None:
            moved += _go_on(db, box, shop, walk, since, now, open_channel)
    return dict(moved)


def _due(db: Database, shop: Shop, now: datetime) -> Sequence[Row[Any]]:
    """Senders that can be asked and whose turn it is, with where their walk stands; those before the first have no job."""
    c, r = connections.c, job_runs.c
    kept = and_(r.shop_id == c.shop_id, r.job == "events:" + c.adapter)
    query = (
        select(c.adapter, r.job, func.coalesce(r.through, "").label("through"), r.started_at, r.finished_at, r.result)
        .outerjoin(job_runs, kept)
        .where(c.shop_id == shop.shop_id, c.enabled.is_(True), c.status != senders.PAUSED)
        .order_by(c.adapter)
    )
    with db.read() as connection:
        rows: list[Row[Any]] = list(connection.execute(query))
    askable = able({row.adapter for row in rows}, Capability.POLL_EVENTS)
    rows = [row for row in rows if row.adapter in askable]
    return [one for one in rows if one.job is None or one.finished_at <= now - (_GOES_ON if one.through else AGAIN)]


def _oldest(db: Database, shop: Shop, adapter: str, now: datetime) -> datetime | None:
    """When the first message was taken of which no more is known; None where there is none."""
    t = touchpoints.c
    query = (
        select(t.accepted_at)
        .where(
            t.shop_id == shop.shop_id,
            t.accepted_at > now - UNTIL,
            t.accepted_at <= now - AFTER,
            t.adapter == adapter,
            t.state == State.ACCEPTED.value,
        )
        .order_by(t.accepted_at)
        .limit(1)
    )
    with db.read() as connection:
        found: datetime | None = connection.execute(query).scalar()
    return found


def _take(db: Database, shop: Shop, walk: Row[Any], since: datetime, now: datetime) -> bool:
    """Take the turn; False where another worker did."""
    r, job = job_runs.c, f"events:{walk.adapter}"
    with db.write() as connection:
        if walk.job is None:
            row = {"shop_id": shop.shop_id, "job": job, "through": "", "result": {}, "error": ""}
            fresh = (
                insert_into(connection, job_runs)
                .values(started_at=since, finished_at=now, **row)
                .on_conflict_do_nothing()
            )
            return connection.execute(fresh).rowcount > 0
        mine = (r.shop_id == shop.shop_id) & (r.job == job) & (r.finished_at == walk.finished_at)
        return connection.execute(update(job_runs).where(mine).values(started_at=since, finished_at=now)).rowcount > 0


def _go_on(
    db: Database,
    box: SecretBox,
    shop: Shop,
    walk: Row[Any],
    since: datetime,
    now: datetime,
    open_channel: Callable[..., ChannelAdapter],
) -> Counter[str]:
    """Read the next pages, and keep where the walk stands."""
    moved: Counter[str] = Counter()
    cursor, error = walk.through, ""
    pages = (walk.result or {}).get("pages", 0) if cursor else 0
    try:
        channel = open_channel(db, box, shop, walk.adapter, now)
        try:
            # What takes a sender's place in a rehearsal cannot be asked.
            for _ in range(PAGES if Capability.POLL_EVENTS in channel.capabilities else 0):
                page = channel.events(since=since, cursor=cursor)
                moved.update(intake.take_listed(db, shop, walk.adapter, page.events, now))
                pages += 1
                cursor = page.next_cursor if pages < MOST_PAGES else ""
                if not cursor:
                    break
        finally:
            channel.close()
    except CrmError as told:
        # It begins anew in an hour.
        _log.warning("%s of %s does not tell what became of messages: %s", walk.adapter, shop.name, told)
        cursor, error = "", str(told)
    r = job_runs.c
    with db.write() as connection:
        values = {"through": cursor, "result": {"pages": pages}, "error": cut(error, 500)}
        mine = (r.shop_id == shop.shop_id) & (r.job == f"events:{walk.adapter}")
        connection.execute(update(job_runs).where(mine).values(**values))
    return moved
