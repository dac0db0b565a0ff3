"""Leases: who may work on what, where several processes could. Each is taken, kept and given back by one conditional statement.

Times are the callers' clocks, so machines that share a database keep theirs by NTP: a clock that is ahead by more than a lease lets two
work on the same, which costs work and nothing else, for every job is safe to repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from crm_plugin.store import job_leases
from crm_plugin.store.upserts import insert_into

# The shop that stands for the whole installation.
EVERYBODY = 0
# Clocks of machines may differ by as much.
_AHEAD = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Lease:
    """Something that waits or runs; `label`, `done` and `total` tell how far it is, as far as it says."""

    name: str
    since: datetime
    until: datetime
    started: bool
    label: str
    done: int
    total: int | None


def take(connection: Connection, shop_id: int, name: str, token: str, now: datetime, span: timedelta) -> bool:
    """Take what nobody holds, or what somebody's time ran out for; False when it is held."""
    values: dict[str, Any] = {
        "token": token,
        "since": now,
        "until": now + span,
        "started": False,
        "label": "",
        "done": 0,
        "total": None,
    }
    statement = insert_into(connection, job_leases).values(shop_id=shop_id, name=name, **values)
    statement = statement.on_conflict_do_update(index_elements=["shop_id", "name"], set_=values, where=_over(now))
    return connection.execute(statement.returning(job_leases.c.token)).first() is not None


def begin(connection: Connection, shop_id: int, name: str, token: str, now: datetime, span: timedelta) -> bool:
    """Begin what waits, whoever asked for it, or what its worker left behind; False when it runs, or waits no more.

    That another asked last makes no difference: were only the last one's word good, work whose turn comes later than its lease runs out
    would be asked for again and again and never begin.
    """
    ours = _is(shop_id, name) & or_(job_leases.c.started.is_(False), _over(now))
    values = {"token": token, "started": True, "until": now + span}
    return connection.execute(update(job_leases).where(ours).values(**values)).rowcount == 1


def keep(
    connection: Connection,
    shop_id: int,
    name: str,
    token: str,
    now: datetime,
    span: timedelta,
    *,
    label: str = "",
    done: int = 0,
    total: int | None = None,
) -> bool:
    """Hold on to it, and tell how far it is; False when another has taken it."""
    values = {"until": now + span, "label": label, "done": done, "total": total}
    mine = _is(shop_id, name) & (job_leases.c.token == token)
    return connection.execute(update(job_leases).where(mine).values(**values)).rowcount == 1


def give_back(connection: Connection, shop_id: int, name: str, token: str) -> None:
    """Let it go, if it is still held by this token."""
    connection.execute(delete(job_leases).where(_is(shop_id, name) & (job_leases.c.token == token)))


def held(connection: Connection, shop_id: int, now: datetime) -> list[Lease]:
    """What waits and runs for a shop, longest first."""
    c = job_leases.c
    query = select(job_leases).where(c.shop_id == shop_id, c.until > now).order_by(c.since, c.name)
    return [
        Lease(row.name, row.since, row.until, bool(row.started), row.label, row.done, row.total)
        for row in connection.execute(query)
    ]


def _over(now: datetime) -> ColumnElement[bool]:
    """Whether its time has run out, or it was taken before the clock was put back: by such a one's `until` it would be held for long."""
    return or_(job_leases.c.until <= now, job_leases.c.since > now + _AHEAD)


def _is(shop_id: int, name: str) -> ColumnElement[bool]:
    return (job_leases.c.shop_id == shop_id) & (job_leases.c.name == name)
