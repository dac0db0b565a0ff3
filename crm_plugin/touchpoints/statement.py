"""The statement that plans: INSERT … SELECT of new touchpoints, each with the channel that may be used or the reason why none may.

For a journey without steps it is made once and kept; a round binds the calendar, the instants and room for ids, and runs it. It is kept
with all that it was made of (`Terms`): another version, rule, setting or sender, or another day to ask a rule on, makes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    Insert,
    Row,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
)

from crm_plugin.ids import id_sql, reserve_ids
from crm_plugin.rules.nodes import Node
from crm_plugin.store import touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.prepared import Prepared, Shelf
from crm_plugin.store.tenants import Shop
from crm_plugin.store.upserts import insert_new
from crm_plugin.touchpoints.audience import holds
from crm_plugin.touchpoints.due import Way
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.reach import TRUE, first, flags, is_open, refusals
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.touchpoints.steps.enrol import came_in

# Room for ids in one statement; a round that plans more goes on with another.
_BATCH = 200_000
_ALL = 2**62
# Whether the step still means the member: a column of the rows of enrolments alone.
MEANT = "meant"
# Some 20 kB each.
_KEPT = Shelf(1_000)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a planning statement is made of beside the rows that it judges.

    `channels` are (channel, adapter) in the journey's order, those that have a sender. `rule`, with all that it names in its place, must
    hold of a member on the day `on`; None for everybody. With `had_steps` somebody may have been inside the journey.
    """

    shop: Shop
    journey: Journey
    channels: tuple[tuple[str, str], ...]
    rule: Node | None = None
    on: date | None = None
    had_steps: bool = False


def write_way(connection: Connection, terms: Terms, way: Way, now: datetime, counts: dict[str, int]) -> None:
    """Plan what came due by one way, with the statement that is kept for it; `counts` (state → how many) grows by what was written."""
    dialect, journey = connection.dialect, terms.journey
    place = (dialect.name, terms.shop.shop_id, journey.key, way.shape)
    # The mark moves in each round, and no statement reads it.
    content = replace(terms, journey=replace(journey, planned_through=None))
    values = {**way.values, "now": to_micros(now)}

    def make(start: int, node: int) -> Prepared:
        base = way.select()
        if terms.rule is not None and terms.on is not None:
            base = base.where(holds(terms.shop, terms.rule, terms.on, literal_column("m.member_id")))
        made = _statement(connection, terms, base, now, start, node).returning(touchpoints.c.state)
        return Prepared(made, dialect)

    count = _BATCH
    while count == _BATCH:
        start, node = reserve_ids(_BATCH)
        kept = _KEPT.take(place, (content, node), partial(make, start, node))
        count = _count(kept.run(connection, {**values, "first": start}).scalars().all(), counts)


def write_step(
    connection: Connection, terms: Terms, base: Select[Any], now: datetime, counts: dict[str, int]
) -> Sequence[Row[Any]]:
    """Plan what a step sends to the members and occasions of `base`: as `Way.select` gives them, or with a column `MEANT`; a page of them.

    Answers what is new: member_id, occasion, state, reason. What is settled by that counts as taken up.
    """
    t = touchpoints.c
    made = _statement(connection, terms, base, now, *reserve_ids(_BATCH))
    rows = connection.execute(made.returning(t.member_id, t.occasion, t.state, t.reason)).all()
    _count([row.state for row in rows], counts)
    return rows


def _count(states: Any, counts: dict[str, int]) -> int:
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return len(states)


def _statement(connection: Connection, terms: Terms, base: Select[Any], now: datetime, start: int, node: int) -> Insert:
    found = judged(terms, base, now).subquery("judged")
    columns, chosen = _rows(terms, found, now, start, node)
    if terms.had_steps:
        chosen = chosen.where(came_in(terms.shop, terms.journey, found).is_(None))
    return insert_new(connection, touchpoints, columns, chosen)


def _rows(terms: Terms, judged: Any, now: datetime, start: int, node: int) -> tuple[list[str], Select[Any]]:
    """Columns and rows of new touchpoints, at most `_BATCH` of those that are not there yet, with ids made by the statement."""
    shop, journey = terms.shop, terms.journey
    values: dict[str, Any] = {
        "shop_id": literal(shop.shop_id),
        # Without an order of its own the numbering costs no sort.
        "touchpoint_id": text(id_sql("CAST(:first AS BIGINT) + row_number() OVER ()", node)).bindparams(first=start),
        "journey_key": literal(journey.key),
        "step": literal(journey.step),
        "journey_version": literal(journey.version),
        "reason_detail": literal(""),
        "planned_at": _now(now),
        "fence": literal(0),
        "attempts": literal(0),
        "settled_at": text(f"CASE WHEN judged.state <> '{State.PLANNED}' THEN CAST(:now AS BIGINT) END").bindparams(
            _now(now)
        ),
        "updated_at": _now(now),
        **({"taken_up": judged.c.state != State.PLANNED.value} if journey.step else {}),
        **{column.name: column for column in judged.c},
    }
    return list(values), select(*values.values()).where(known(shop, journey, judged).is_(None)).limit(_BATCH)


def known(shop: Shop, journey: Journey, judged: Any) -> ScalarSelect[Any]:
    """1 where there is a touchpoint of the journey for the member and occasion."""
    there = touchpoints.c
    mine = (
        there.shop_id == shop.shop_id,
        there.journey_key == journey.key,
        there.member_id == judged.c.member_id,
        there.step == journey.step,
        there.occasion == judged.c.occasion,
    )
    # With a limit it is asked for each by the key; else PostgreSQL may hold all rows against all touchpoints of the journey.
    return select(literal(1)).where(*mine).limit(1).scalar_subquery()


def judged(terms: Terms, base: Select[Any], now: datetime) -> Select[Any]:
    """One row: a member and an occasion that is due, with the channel that may be used, or the reason why none may."""
    shop, journey, channels = terms.shop, terms.journey, terms.channels
    reached = base.add_columns(*flags(journey, channels)).limit(_ALL).subquery("reached")
    channel = first(reached, channels, lambda name, _adapter: f"'{name}'")
    adapter = first(reached, channels, lambda _name, adapter: f"'{adapter}'")
    address = first(reached, channels, lambda name, _adapter: f"reached.address_{name}")
    none = " AND ".join([f"NOT {is_open(name)}" for name, _ in channels]) or TRUE
    over = "reached.valid_until <= CAST(:now AS BIGINT)"
    if not channels:
        why = f"'{Reason.NO_SENDER}'"
    else:
        addressed = " OR ".join(f"reached.address_{name} <> ''" for name, _ in channels)
        agreed = " OR ".join(f"(reached.address_{name} <> '' AND reached.agreed_{name})" for name, _ in channels)
        why = (
            f"CASE WHEN NOT ({addressed}) THEN '{Reason.NO_ADDRESS}' WHEN {agreed} THEN '{Reason.SUPPRESSED}' "
            f"ELSE '{Reason.NO_CONSENT}' END"
        )
    refused = [(f"reached.{MEANT} IS NOT TRUE", Reason.NO_LONGER_MATCHES)] if MEANT in reached.c else []
    refused += refusals(shop, journey)
    kept_back = "".join(f" WHEN ({condition}) THEN '{reason}'" for condition, reason in refused)
    reason = f"CASE WHEN {over} THEN '{Reason.WINDOW_OVER}' WHEN {none} THEN {why}{kept_back} ELSE '' END"
    columns = reached.c
    told = (
        select(
            columns.member_id,
            columns.occasion,
            columns.occasion_on,
            columns.subject_order_id,
            columns.due_at,
            columns.next_try_at,
            columns.valid_until,
            literal_column(channel).label("channel"),
            literal_column(adapter).label("adapter"),
            literal_column(address).label("address"),
            type_coerce(text(reason).bindparams(_now(now)), Text).label("reason"),
        )
        # What is asked of each row is asked once: without a limit the databases put the reason wherever it is read.
        .limit(_ALL)
        .subquery("told")
    )
    state = (
        f"CASE told.reason WHEN '' THEN '{State.PLANNED}' WHEN '{Reason.WINDOW_OVER}' THEN '{State.MISSED}' "
        f"ELSE '{State.SKIPPED}' END"
    )
    return select(*told.c, literal_column(state, Text).label("state"))


def _now(now: datetime) -> BindParameter[int]:
    """The instant of the round, by its name in all parts of the statement."""
    return bindparam("now", to_micros(now), BigInteger)
