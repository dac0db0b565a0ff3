"""Tasks for people: which are open, and what came of them. Pools of coupon codes: filling them, and what is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, literal, literal_column, select, update

from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules.book import check_key
from crm_plugin.store import bulk, coupon_codes, coupon_pools, members, tasks
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import full_name
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import arrived
from crm_plugin.touchpoints.journey import Journey

LONGEST_OUTCOME, LONGEST_CODE = 2000, 100


@dataclass(frozen=True, slots=True)
class Task:
    """Something for a person to do about a member; open while `done_at` is None."""

    task_id: int
    journey_key: str
    member_id: int
    member_name: str
    email: str
    phone: str
    title: dict[str, str]
    owner: str
    due_on: date
    done_at: datetime | None
    outcome: str
    done_by: str = ""


def open_tasks(connection: Connection, shop: Shop, due: date | None = None, limit: int = 100) -> list[Task]:
    """What is to be done, the most urgent first; with `due` only what is due by that day."""
    t = tasks.c
    mine = [t.shop_id == shop.shop_id, t.done_at.is_(None)]
    if due is not None:
        mine.append(t.due_on <= due)
    query = _with_members().where(*mine).order_by(t.due_on, t.task_id).limit(limit)
    return [_task(row) for row in connection.execute(query)]


def done_tasks(connection: Connection, shop: Shop, since: datetime, limit: int = 20) -> list[Task]:
    """What was done since then, the newest first."""
    t = tasks.c
    mine = (t.shop_id == shop.shop_id, t.done_at >= since)
    query = _with_members().where(*mine).order_by(t.done_at.desc(), t.task_id.desc()).limit(limit)
    return [_task(row) for row in connection.execute(query)]


def _with_members() -> Select[Any]:
    t, m = tasks.c, members.c
    both = (m.shop_id == t.shop_id) & (m.member_id == t.member_id)
    return select(tasks, m.first_name, m.last_name, m.email, m.phone).join_from(tasks, members, both)


def _task(row: Any) -> Task:
    name = full_name(row.first_name, row.last_name)
    told = (row.title, row.owner, row.due_on, row.done_at, row.outcome, row.done_by)
    return Task(row.task_id, row.journey_key, row.member_id, name, row.email, row.phone, *told)


def reached(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> Select[Any]:
    """What is still to be done about members who have reached the goal of a journey that has one: task, step, enrolment, member.

    Raises: RuleError when the goal cannot be asked.
    """
    t = tasks.c
    mine = (t.shop_id == shop.shop_id, t.journey_key == journey.key, t.done_at.is_(None))
    there = arrived(connection, shop, journey, local_day(now, shop.timezone), literal_column("tasks.member_id"))
    # With a limit it is asked for each by the key; else PostgreSQL may hold all tasks against all members.
    is_there = select(literal(1)).where(there).limit(1).scalar_subquery().is_not(None)
    # Held, or one that is taken away before it is written would be made anew.
    return select(t.task_id, t.step_key, t.enrolment_id, t.member_id).where(*mine, is_there).with_for_update()


def finish(connection: Connection, shop: Shop, task_id: int, outcome: str, actor: str, now: datetime) -> None:
    """Say what came of a task. Raises: NotFound when it is not there or done already, InvalidInput without an outcome."""
    if not outcome.strip() or len(outcome) > LONGEST_OUTCOME:
        raise InvalidInput(phrase("Say in a few words what came of it."), field="outcome")
    t = tasks.c
    mine = (t.shop_id == shop.shop_id, t.task_id == task_id, t.done_at.is_(None))
    done = update(tasks).where(*mine).values(done_at=now, done_by=actor, outcome=outcome.strip())
    if not connection.execute(done).rowcount:
        raise NotFound(
            phrase("There is no task %(task)s in this shop, or it is done.", task=str(task_id)),
            hint=phrase("`crm-plugin tasks` lists those that are open."),
        )


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of coupon codes, and how many it has had and still has."""

    key: str
    title: str
    codes: int
    left: int


def pools(connection: Connection, shop: Shop) -> list[Pool]:
    """The pools by key."""
    p, c = coupon_pools.c, coupon_codes.c
    query = (
        select(p.pool_key, p.title, func.count(c.code), func.count(case((c.handed_at.is_(None), c.code))))
        .join_from(coupon_pools, coupon_codes, (c.shop_id == p.shop_id) & (c.pool_key == p.pool_key), isouter=True)
        .where(p.shop_id == shop.shop_id)
        .group_by(p.pool_key, p.title)
    )
    return sorted((Pool(*row) for row in connection.execute(query)), key=lambda one: one.key)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading codes: `added` are new, `there` were in the pool; `alike` differ from another only in small or large letters."""

    added: int
    there: int
    alike: int


def load_codes(
    connection: Connection, shop: Shop, key: str, codes: Iterable[str], now: datetime, *, title: str = ""
) -> Loaded:
    """Put codes into a pool, made when it is not there. Raises: InvalidInput; nothing is written then."""
    check_key(key, phrase("pool"))
    told = list(dict.fromkeys(code.strip() for code in codes if code.strip()))
    # To a store a code is the same in small and in large letters: the first spelling stands.
    spelt: dict[str, str] = {}
    for code in told:
        spelt.setdefault(code.lower(), code)
    wanted = list(spelt.values())
    for code in wanted:
        if len(code) > LONGEST_CODE or any(letter.isspace() for letter in code):
            raise InvalidInput(
                phrase(
                    "A code has from 1 to %(most)s characters and no spaces, not %(code)r.",
                    most=LONGEST_CODE,
                    code=code,
                )
            )
    columns = ("shop_id", "pool_key", "title", "created_at")
    sets = "title = excluded.title" if title else ""
    bulk.upsert_rows(connection, coupon_pools, columns, columns[:2], sets, [(shop.shop_id, key, title, to_micros(now))])
    c = coupon_codes.c
    mine = (c.shop_id == shop.shop_id, c.pool_key == key)
    there = _spelt(connection, shop.shop_id, key, wanted)
    alike = len(told) - len(wanted) + sum(there.get(code.lower(), code) != code for code in wanted)
    wanted = [code for code in wanted if code.lower() not in there]
    last = connection.execute(select(func.coalesce(func.max(c.place), 0)).where(*mine)).scalar_one()
    rows = [(shop.shop_id, key, code, last + place) for place, code in enumerate(wanted, start=1)]
    bulk.upsert_rows(
        connection, coupon_codes, ("shop_id", "pool_key", "code", "place"), ("shop_id", "pool_key", "code"), "", rows
    )
    return Loaded(len(rows), len(told) - len(rows) - alike, alike)


def _spelt(connection: Connection, shop_id: int, key: str, codes: Iterable[str]) -> dict[str, str]:
    """Of these codes those that are in the pool, as they are spelt there, by their small letters."""
    sql = "SELECT code FROM coupon_codes WHERE shop_id = ? AND pool_key = ? AND lower(code) IN ({marks})"
    # SQLite knows small and large letters of ASCII alone.
    spellings = {one for code in codes for one in (code, code.lower(), code.upper())}
    found = bulk.select_in(connection, sql, (shop_id, key), spellings)
    return {code.lower(): code for (code,) in found}
