"""Steps that are done at once: tags, coupons, tasks. What all of them bring is gathered, and written once for each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Connection, TextClause, column, select, text

from crm_plugin.clock import day_number
from crm_plugin.ids import new_ids
from crm_plugin.rules.supposed import TAG
from crm_plugin.store import coupon_pools
from crm_plugin.store.base import to_json
from crm_plugin.store.rows import given
from crm_plugin.store.together import Part
from crm_plugin.touchpoints.steps import ending, levels
from crm_plugin.touchpoints.steps.document import Step, walk
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay, tell
from crm_plugin.touchpoints.versions import Version

NO_STOCK = "no_stock"


def tag(stand: Stand, stays: Sequence[Stay]) -> None:
    """Give and take tags of our own; those that the store gave are its own. Of what several steps say of a tag the last holds."""
    for stay in stays:
        for given_, names in ((True, stand.told.get("add", ())), (False, stand.told.get("remove", ()))):
            for name in names:
                stand.group.said[stay.member_id, (TAG, name)] = stand.group.unwritten[stay.member_id, name] = given_
        stand.group.done(stay, stand.to())


def coupon(stand: Stand, stays: Sequence[Stay]) -> None:
    """A code of the pool for each, none twice: their own where one was made for them. Who finds none goes on without."""
    wanted = stand.group.codes.setdefault(stand.told["pool"], [])
    for stay in stays:
        wanted.append((stay, stand.step.key, stand.group.done(stay, stand.to(), reason=NO_STOCK)))


def task(stand: Stand, stays: Sequence[Stay]) -> None:
    """A task for a person about each."""
    told, group = stand.told, stand.group
    due_on = day_number(group.today + timedelta(days=told["due_days"]))
    what = (to_json(told["title"]), told["owner"], due_on)
    for stay in stays:
        group.tasks.append((stand.step.key, stay.enrolment_id, stay.member_id, *what))
        group.done(stay, stand.to())


def hold_pools(connection: Connection, shop_id: int, known: Iterable[Version]) -> None:
    """Take the pools that the steps hand out of all at once, by their names, so that journeys of the same pools wait in one order.

    One at a time hands out of a pool; of SQLite only one writes anyway.
    """
    steps = [step for version in known for step in walk(version.journey.flow.steps)]
    pools = sorted({step.told["pool"] for step in steps if step.kind == "coupon"})
    if pools and connection.dialect.name != "sqlite":
        p = coupon_pools.c
        held = select(p.pool_key).where(p.shop_id == shop_id, p.pool_key.in_(pools)).order_by(p.pool_key)
        connection.execute(held.with_for_update()).all()


def write(group: Group) -> None:
    """Bring about what was gathered; before the events are written, for they tell which code somebody got."""
    write_tags(group)
    levels.write(group)
    if group.codes:
        _hand_out(group)
    if group.tasks or group.needless:
        rows = [(task_id, *row, False) for task_id, row in zip(new_ids(len(group.tasks)), group.tasks, strict=True)]
        rows += [(*row, "{}", "", 0, True) for row in group.needless]
        group.put(_tasking(group.is_sqlite), rows)


def write_tags(group: Group) -> None:
    """Write what was said of tags until now."""
    rows = [(*key, is_given) for key, is_given in group.unwritten.items()]
    said = {is_given for *_key, is_given in rows}
    for statement in _tagging(group.is_sqlite, True in said, False in said) if rows else ():
        group.put(statement, rows)
    group.unwritten.clear()


_TAG = {"member_id": "BIGINT", "tag": "TEXT", "is_given": "BOOLEAN"}


@lru_cache
def _tagging(is_sqlite: bool, gives: bool, takes: bool) -> tuple[TextClause, ...]:
    told = given(is_sqlite, _TAG)
    parts = []
    if gives:
        parts.append(
            "INSERT INTO member_tags (shop_id, member_id, tag, own) SELECT CAST(:shop_id AS BIGINT), member_id, tag, TRUE "  # noqa: S608
            f"FROM {told} WHERE is_given ON CONFLICT DO NOTHING"
        )
    if takes:
        parts.append(
            "DELETE FROM member_tags WHERE shop_id = :shop_id AND own "  # noqa: S608
            f"AND (member_id, tag) IN (SELECT member_id, tag FROM {told} WHERE NOT is_given)"
        )
    # By this, rules that ask for a tag know whom to ask again.
    parts.append(
        "UPDATE members SET touched_at = CAST(:now AS BIGINT) WHERE shop_id = :shop_id "  # noqa: S608
        f"AND member_id IN (SELECT member_id FROM {told})"
    )
    return tuple(map(text, parts))


_TASK = {
    "task_id": "BIGINT",
    "step_key": "TEXT",
    "enrolment_id": "BIGINT",
    "member_id": "BIGINT",
    "title": "TEXT",
    "owner": "TEXT",
    "due_on": "INTEGER",
    "is_needless": "BOOLEAN",
}


@lru_cache
def _tasking(is_sqlite: bool) -> TextClause:
    """Make tasks; those that are there and needless by now are done with, and nothing else of them is changed."""
    names = ", ".join(name for name in _TASK if name != "is_needless")
    ends = {"done_at": "CAST(:now AS BIGINT)", "done_by": f"'{ending.BY_JOURNEY}'", "outcome": f"'{ending.GOAL}'"}
    none = {"done_at": "NULL", "done_by": "''", "outcome": "''"}
    told = ", ".join(f"CASE WHEN is_needless THEN {value} ELSE {none[name]} END" for name, value in ends.items())
    sets = ", ".join(f"{name} = excluded.{name}" for name in ends)
    return text(
        f"INSERT INTO tasks (shop_id, journey_key, created_at, {', '.join(ends)}, {names}) "  # noqa: S608
        f"SELECT CAST(:shop_id AS BIGINT), CAST(:journey_key AS TEXT), CAST(:now AS BIGINT), {told}, {names} "
        f"FROM {given(is_sqlite, _TASK)} WHERE TRUE ON CONFLICT (shop_id, enrolment_id, step_key) "
        f"DO UPDATE SET {sets} WHERE tasks.done_at IS NULL AND excluded.done_at IS NOT NULL"
    )


def parts(group: Group, steps: Iterable[Step], members: Sequence[int]) -> list[Part]:
    """The codes that these members may be handed in these steps, beside those of whom it was foreseen before; the group keeps them."""
    pools = [step.told["pool"] for step in steps if step.kind == "coupon"]
    if not pools:
        return []
    group.foreseen.update((pool, one) for pool in pools for one in members)
    free, values = _to_be_had(group)
    return [Part(free.columns(*(column(name) for name in _FREE)), partial(_take_stock, group), values)]


def _take_stock(group: Group, found: Iterable[Any]) -> None:
    """Keep the codes that are to be had, in their order."""
    group.stock.clear()
    for pool, code, place, member_id in found:
        group.stock[pool, member_id].append((code, place))


def _hand_out(group: Group) -> None:
    """In the order in which members come to the steps: to each their own code, else the first that is nobody's, until the pool runs out."""
    wanted = Counter((pool, stay.member_id) for pool, whose in group.codes.items() for stay, _step_key, _event in whose)
    if not wanted <= group.foreseen:
        # Somebody came past a message that was skipped, or a wait that was over.
        group.foreseen = wanted
        free, values = _to_be_had(group)
        _take_stock(group, group.run(free, (), **values))
    handed = []
    for pool, whose in group.codes.items():
        for stay, step_key, event in whose:
            if codes := group.stock[pool, stay.member_id] or group.stock[pool, None]:
                code, place = codes.popleft()
                tell(event, "", code)
                handed.append((pool, code, place, stay.enrolment_id, step_key, stay.member_id))
    if handed:
        group.put(_handing(group.is_sqlite), handed)


_FREE = ("pool_key", "code", "place", "member_id")


def _to_be_had(group: Group) -> tuple[TextClause, dict[str, Any]]:
    """The statement for the codes that are foreseen, also for those on another version, and what it is bound to."""
    counts = Counter[str]()
    for (pool, _member_id), times in group.foreseen.items():
        counts[pool] += times
    takers = to_json([[one] for one in sorted({member_id for _pool, member_id in group.foreseen})])
    values: dict[str, Any] = {"shop_id": group.shop.shop_id, "takers": takers}
    for place, (pool, count) in enumerate(counts.items()):
        values |= {f"pool{place}": pool, f"wanted{place}": count}
    return _free(group.is_sqlite, len(counts)), values


@lru_cache
def _free(is_sqlite: bool, pools: int) -> TextClause:
    """(pool, code, place, member) of so many pools: the first that are free, as many as wanted, and those of the members in `takers`."""
    takers = given(is_sqlite, {"member_id": "BIGINT"}).replace(":rows", ":takers")
    whose = {
        "ix_coupon_codes_nobodys": "member_id IS NULL ORDER BY place LIMIT :wanted{n}",
        # Who is none of them is left out by this alone: SQLite may take what else says so for the span of the index to be read.
        "ix_coupon_codes_own": f"member_id IN (SELECT member_id FROM {takers}) ORDER BY place",  # noqa: S608
    }
    told = (
        f"SELECT * FROM (SELECT {', '.join(_FREE)} FROM coupon_codes{{by}} "  # noqa: S608
        "WHERE shop_id = :shop_id AND pool_key = :pool{n} AND handed_at IS NULL AND {whose}) AS free"
    )
    # Without figures about the table SQLite may go through all that are free.
    parts = [
        told.format(n=n, by=f" INDEXED BY {index}" if is_sqlite else "", whose=one.format(n=n))
        for n in range(pools)
        for index, one in whose.items()
    ]
    return text(" UNION ALL ".join(parts))


_HANDED = {
    "pool_key": "TEXT",
    "code": "TEXT",
    "place": "BIGINT",
    "enrolment_id": "BIGINT",
    "step_key": "TEXT",
    "member_id": "BIGINT",
}


@lru_cache
def _handing(is_sqlite: bool) -> TextClause:
    """All are there. Met so, each is found by its key alone: without figures about the table an UPDATE may read all codes for each."""
    names = ", ".join(_HANDED)
    sets = ", ".join(f"{name} = excluded.{name}" for name in ("enrolment_id", "step_key", "member_id", "handed_at"))
    return text(
        f"INSERT INTO coupon_codes (shop_id, handed_at, {names}) "  # noqa: S608
        f"SELECT CAST(:shop_id AS BIGINT), CAST(:now AS BIGINT), {names} FROM {given(is_sqlite, _HANDED)} WHERE TRUE "
        f"ON CONFLICT (shop_id, pool_key, code) DO UPDATE SET {sets}"
    )
