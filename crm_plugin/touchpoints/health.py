"""How senders fare, kept in the database so that all who send by one know: when it is left alone, and how much may leave a minute.

A sender that fails several times in a row rests for a minute, and twice as long each time the first message after a rest fails again; one
that names a pause itself (429 and the like) gets that. One message that goes through, and it is well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from crm_plugin.phrases import cut
from crm_plugin.store import sender_health
from crm_plugin.store.session import Database
from crm_plugin.store.upserts import insert_into

FIRST_REST = timedelta(minutes=1)
LONGEST_REST = timedelta(minutes=30)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a sender is left alone, and what it said last."""

    until: datetime
    why: str


def resting(connection: Connection, shop_id: int, now: datetime) -> dict[str, datetime]:
    """Adapters that are left alone now, with the end of that."""
    return {adapter: rest.until for adapter, rest in rests(connection, shop_id, now).items()}


def rests(connection: Connection, shop_id: int, now: datetime) -> dict[str, Rest]:
    """The same with the reason."""
    c = sender_health.c
    # Whoever set the clock back would wait for as long: no rest is longer than a day.
    soon = (c.rests_until > now) & (c.rests_until <= now + timedelta(days=1))
    query = select(c.adapter, c.rests_until, c.why).where(c.shop_id == shop_id, soon).order_by(c.adapter)
    return {row.adapter: Rest(row.rests_until, row.why) for row in connection.execute(query)}


def try_now(connection: Connection, shop_id: int, adapter: str) -> bool:
    """End a rest before its time; the next failure begins a longer one. False where there was none."""
    resting_ = _is(shop_id, adapter) & sender_health.c.rests_until.is_not(None)
    return connection.execute(update(sender_health).where(resting_).values(rests_until=None)).rowcount > 0


def recovering(connection: Connection, shop_id: int) -> set[str]:
    """Adapters that have rested and have not sent anything since: the next failure ends their try."""
    c = sender_health.c
    return set(connection.execute(select(c.adapter).where(c.shop_id == shop_id, c.failures > 0)).scalars())


def rest(
    connection: Connection, shop_id: int, adapter: str, now: datetime, why: str, pause: timedelta | None = None
) -> datetime:
    """Leave a sender alone: for the `pause` it asked for, else for longer each time. Answers until when."""
    c = sender_health.c
    before = connection.execute(
        select(c.failures, c.rests_until).where(_is(shop_id, adapter)).with_for_update()
    ).first()
    failures = before.failures if before else 0
    until = now + (pause if pause is not None else min(FIRST_REST * 2 ** min(failures, 10), LONGEST_REST))
    if before and before.rests_until is not None and before.rests_until > now:
        # Several workers failed at the same time: that counts once.
        failures, until = failures - 1, max(until, before.rests_until) if pause is not None else before.rests_until
    values = {"failures": failures + 1, "rests_until": until, "why": cut(why, 500)}
    _put(connection, shop_id, adapter, values)
    return until


def well(connection: Connection, shop_id: int, adapter: str) -> None:
    """A message went through."""
    connection.execute(
        update(sender_health)
        .where(_is(shop_id, adapter), sender_health.c.failures > 0)
        .values(failures=0, rests_until=None, why="")
    )


def allowed(db: Database, shop_id: int, adapter: str, most_a_minute: int, wanted: int, now: datetime) -> int:
    """Take up to `wanted` messages out of what may leave now; the others wait for their minute. 0 a minute means no limit."""
    if most_a_minute <= 0 or wanted <= 0:
        return max(wanted, 0)
    c = sender_health.c
    with db.write() as connection:
        _put(connection, shop_id, adapter, {})
        row = connection.execute(select(c.tokens, c.counted_at).where(_is(shop_id, adapter)).with_for_update()).one()
        tokens, at = row.tokens, row.counted_at
        if tokens is None or at is None or at > now or tokens > most_a_minute or now - at >= _MINUTE:
            tokens, at = most_a_minute, now
        else:
            fresh = int((now - at) * most_a_minute / _MINUTE)
            tokens, at = min(tokens + fresh, most_a_minute), at + _MINUTE * fresh / most_a_minute
        taken = min(wanted, tokens)
        _put(connection, shop_id, adapter, {"tokens": tokens - taken, "counted_at": at})
    return int(taken)


def give_back(db: Database, shop_id: int, adapter: str, count: int) -> None:
    """What was taken and did not leave may leave later."""
    if count > 0:
        with db.write() as connection:
            connection.execute(
                update(sender_health)
                .where(_is(shop_id, adapter), sender_health.c.tokens.is_not(None))
                .values(tokens=sender_health.c.tokens + count)
            )


def _put(connection: Connection, shop_id: int, adapter: str, values: dict[str, Any]) -> None:
    statement = insert_into(connection, sender_health).values(
        shop_id=shop_id, adapter=adapter, **{"failures": 0, "why": "", **values}
    )
    keys = ["shop_id", "adapter"]
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=values)
        if values
        else statement.on_conflict_do_nothing(index_elements=keys)
    )


def _is(shop_id: int, adapter: str) -> ColumnElement[bool]:
    return (sender_health.c.shop_id == shop_id) & (sender_health.c.adapter == adapter)
