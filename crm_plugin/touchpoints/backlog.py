"""What is due and waits: how much by sender, since when, how fast it goes, and when the last of it leaves.

Three or four statements, each over an index range of what waits or happened lately; of one shop, or of all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, func, null, select, text, union_all

from crm_plugin.adapters.channels.base import RATE_SETTING
from crm_plugin.errors import ConfigError
from crm_plugin.store import connections, journey_waves, journeys, sender_health, shops, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.touchpoints.senders import PAUSED
from crm_plugin.touchpoints.waves import HELD

# A rate is taken over this span, or since the first message in it.
LATELY = timedelta(minutes=5)
_MINUTE = timedelta(minutes=1)
# Written out as the index has it, or SQLite could not use it.
_IS_WAITING = text("touchpoints.state IN ('planned', 'retry_wait')")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is due by one sender of a shop. What a paused or halted journey planned is none of it.

    `oldest_at` is since when the first has been due; `accepted` were taken within `LATELY`, the first at `since`. A sender that `rests`
    sends nothing now: until `rests_until`, or with None until the merchant acts.
    """

    shop_id: int
    adapter: str
    waiting: int
    oldest_at: datetime
    accepted: int = 0
    since: datetime | None = None
    rests: bool = False
    rests_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """When what waits by a sender has left: at `per_minute`, at `until`; None where nobody can tell."""

    adapter: str
    waiting: int
    oldest_at: datetime
    per_minute: float | None
    until: datetime | None


def backlogs(connection: Connection, now: datetime, shop_id: int | None = None) -> list[Backlog]:
    """What is due and waits in one shop, or in all."""
    t = touchpoints.c
    due = connection.execute(
        select(t.shop_id, t.adapter, t.journey_key, func.count().label("waiting"), func.min(t.next_try_at).label("at"))
        .where(_own(touchpoints, shop_id), _IS_WAITING, t.next_try_at <= now)
        .group_by(t.shop_id, t.adapter, t.journey_key)
    ).all()
    if not due:
        return []
    still, rests = _still(connection, shop_id), _rests(connection, shop_id, now)
    lately = connection.execute(
        select(t.shop_id, t.adapter, func.count().label("number"), func.min(t.accepted_at).label("since"))
        .where(_own(touchpoints, shop_id), t.accepted_at > now - LATELY, t.accepted_at <= now)
        .group_by(t.shop_id, t.adapter)
    )
    went = {(row.shop_id, row.adapter): (row.number, row.since) for row in lately}
    moving = [row for row in due if (row.shop_id, row.journey_key) not in still]
    found = []
    for one in sorted({(row.shop_id, row.adapter) for row in moving}):
        mine = [row for row in moving if (row.shop_id, row.adapter) == one]
        waiting, oldest = sum(row.waiting for row in mine), min(row.at for row in mine)
        found.append(Backlog(*one, waiting, oldest, *went.get(one, (0, None)), one in rests, rests.get(one)))
    return found


def estimates(connection: Connection, box: SecretBox, shop_id: int, now: datetime) -> list[Estimate]:
    """How long what is due in a shop still takes, by sender: by the rate of the last minutes, at most the sender's own limit."""
    found = backlogs(connection, now, shop_id)
    limits = _limits(connection, box, shop_id) if found else {}
    return [_estimate(one, limits.get(one.adapter, 0), now) for one in found]


def all_gone(found: list[Estimate]) -> datetime | None:
    """When the last leaves; None where that is not known of each sender."""
    known = [one.until for one in found if one.until is not None]
    return max(known) if known and len(known) == len(found) else None


def _estimate(one: Backlog, limit: int, now: datetime) -> Estimate:
    rate = one.accepted / max((now - one.since) / _MINUTE, 1.0) if one.since is not None else float(limit)
    rate = min(rate, limit) if limit else rate
    known = rate > 0 and (not one.rests or one.rests_until is not None)
    until = (one.rests_until or now) + _MINUTE * (one.waiting / rate) if known else None
    return Estimate(one.adapter, one.waiting, one.oldest_at, round(rate, 1) if rate else None, until)


def _limits(connection: Connection, box: SecretBox, shop_id: int) -> dict[str, int]:
    c = connections.c
    found = {}
    for row in connection.execute(select(c.adapter, c.settings).where(c.shop_id == shop_id, c.settings != b"")):
        try:
            found[row.adapter] = int(box.open(row.settings).get(RATE_SETTING.key) or 0)
        except ConfigError:
            # A key that is gone is told of elsewhere.
            continue
    return found


def _still(connection: Connection, shop_id: int | None) -> set[tuple[int, str]]:
    """Shops and journeys that are paused, or stand still because too much went out."""
    j, w = journeys.c, journey_waves.c
    paused = select(j.shop_id, j.journey_key).where(_own(journeys, shop_id), j.paused_at.is_not(None))
    held = select(w.shop_id, w.journey_key).where(_own(journey_waves, shop_id), w.state == HELD)
    return {(row.shop_id, row.journey_key) for row in connection.execute(union_all(paused, held))}


def _rests(connection: Connection, shop_id: int | None, now: datetime) -> dict[tuple[int, str], datetime | None]:
    """Shops and senders that send nothing now, with the end of that; None where the merchant must act."""
    c, h = connections.c, sender_health.c
    idle = (c.status == PAUSED) | c.enabled.is_(False)
    stopped = select(c.shop_id, c.adapter, null().label("until")).where(_own(connections, shop_id), idle)
    alone = select(h.shop_id, h.adapter, h.rests_until).where(_own(sender_health, shop_id), h.rests_until > now)
    found: dict[tuple[int, str], datetime | None] = {}
    for query in (alone, stopped):
        found |= {(row[0], row[1]): row[2] for row in connection.execute(query)}
    return found


def _own(table: Table, shop_id: int | None) -> ColumnElement[bool]:
    # With the shops named, an index that begins with them serves; many at once would be too many to be bound.
    return table.c.shop_id.in_(select(shops.c.shop_id)) if shop_id is None else table.c.shop_id == shop_id
