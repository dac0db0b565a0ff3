"""What was kept long enough goes, a bounded slice at a time: words of messages, what providers told us, records that were set aside.

Touchpoints stay for good, for their key is what makes "never twice" true; so do attempts, delivery events without what they came in,
consents and suppressions. Ids are in the order of time, so what is old is a range of the key. Each slice is one transaction: a process that
dies in between leaves the rest to the next run.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Table, delete, select, update

from crm_plugin.ids import first_of
from crm_plugin.rounds import Progress
from crm_plugin.runtime import Runtime
from crm_plugin.store import delivery_events, inbox, problems, runs, touchpoint_contents
from crm_plugin.store.runs import Run
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import pull
from crm_plugin.touchpoints.settings import keep_days

PRUNE = "prune"
# The mark up to which delivery events have lost what they came in.
_RAW = "prune_raw"
SLICE = 1000
_DAY = timedelta(days=1)
# Tables whose old rows go, with their id and with when a row was last of use.
_WHOLE: tuple[tuple[Table, Column[Any], Column[Any]], ...] = (
    (touchpoint_contents, touchpoint_contents.c.touchpoint_id, touchpoint_contents.c.rendered_at),
    (inbox, inbox.c.inbox_id, inbox.c.received_at),
    (problems, problems.c.problem_id, problems.c.last_at),
)


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether a day has passed since the last time."""
    before = runs.last(connection, shop.shop_id, PRUNE)
    return before is None or abs(now - before.finished_at) >= _DAY


def prune(runtime: Runtime, shop: Shop, *, now: datetime, progress: Progress | None = None) -> dict[str, Any]:
    """Take away what is older than the shop keeps; answers rows by table. `progress` is heard between two slices and may stop it."""
    before = now - timedelta(days=keep_days(shop))
    gone: dict[str, int] = {}

    def hear(table: str, count: int) -> None:
        gone[table] = gone.get(table, 0) + count
        if progress is not None:
            progress(pull.Progress(PRUNE, sum(gone.values()), None))

    for table, number, used_at in _WHOLE:
        after: int | None = 0
        while after is not None:
            count, after = _slice(runtime.db, shop.shop_id, table, number, used_at, before, after)
            hear(table.name, count)
    more = True
    while more:
        count, more = _forget_payloads(runtime.db, shop.shop_id, before, now)
        hear(delivery_events.name, count)
    return {"before": before.isoformat(), **gone}


def _slice(
    db: Database, shop_id: int, table: Table, number: Column[Any], used_at: Column[Any], before: datetime, after: int
) -> tuple[int, int | None]:
    """Remove old rows behind an id; answers how many, and the id to go on behind, None at the end."""
    own = table.c.shop_id == shop_id
    with db.write() as connection:
        rows = connection.execute(
            select(number, used_at).where(own, number > after, number < first_of(before)).order_by(number).limit(SLICE)
        ).all()
        # Made long ago and used since, such as a record that was told again yesterday: it stays.
        old = [found for found, at in rows if at < before]
        if old:
            connection.execute(delete(table).where(own, number.in_(old)))
    return len(old), rows[-1][0] if len(rows) == SLICE else None


def _forget_payloads(db: Database, shop_id: int, before: datetime, now: datetime) -> tuple[int, bool]:
    """Empty what the next old events came in; the mark is moved in the same transaction. Answers how many, and whether there are more."""
    e = delivery_events.c
    with db.write() as connection:
        mark = runs.last(connection, shop_id, _RAW)
        after = int(mark.through) if mark is not None else 0
        found = (
            connection.execute(
                select(e.event_id)
                .where(e.shop_id == shop_id, e.event_id > after, e.event_id < first_of(before))
                .order_by(e.event_id)
                .limit(SLICE)
            )
            .scalars()
            .all()
        )
        if found:
            some = (e.shop_id == shop_id) & (e.event_id > after) & (e.event_id <= found[-1])
            connection.execute(update(delivery_events).where(some).values(raw={}))
            runs.keep(connection, shop_id, Run(_RAW, now, now, {}, "", str(found[-1])))
    return len(found), len(found) == SLICE
