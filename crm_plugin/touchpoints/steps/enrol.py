"""Who comes in: members and occasions of the journey's trigger become enrolments, in one statement for all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    Text,
    cast,
    literal,
    literal_column,
    or_,
    select,
    text,
    type_coerce,
)

from crm_plugin.clock import local_day
from crm_plugin.ids import id_sql, reserve_ids
from crm_plugin.store import enrolments, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.store.upserts import insert_new
from crm_plugin.touchpoints.audience import meant, rule_of
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.flow import EVERY_DAYS, ONCE

# Room for ids in one statement; a round that takes in more goes on with another.
BATCH = 200_000
_DAY = 86_400_000_000


def enrol(connection: Connection, shop: Shop, journey: Journey, due: Select[Any], now: datetime) -> int:
    """Take in those of `due` (as `due.matched` gives them) whom the audience holds and whom re-entry lets in; answers how many.

    They stand due at the first step, and no event tells of them so far.
    """
    if rule_of(journey) is not None:
        today = local_day(now, shop.timezone)
        due = due.where(meant(connection, shop, journey, today, literal_column("m.member_id")))
    came = due.subquery("came")
    taken = 0
    while True:
        columns, chosen = _rows(shop, journey, came, now)
        statement = insert_new(connection, enrolments, columns, chosen)
        # Counted by what comes back: of a statement that begins with WITH, SQLite's driver does not tell how many rows it wrote.
        count = len(connection.execute(statement.returning(enrolments.c.seq)).all())
        taken += count
        if count < BATCH:
            break
    return taken


def begin(connection: Connection, shop_id: int, *, writes: bool = False) -> None:
    """Before all else in a transaction that takes members in or moves them; with `writes` it holds the shop's members (`members.lock`).

    A table that PostgreSQL knows as empty it would read through for each row that comes, also those that came a moment ago.
    """
    if connection.dialect.name == "postgresql":
        held = ", pg_advisory_xact_lock(:shop_id)" if writes else ""
        connection.execute(
            text(f"SELECT set_config('enable_seqscan', 'off', true){held}"), {"shop_id": shop_id} if writes else {}
        )


def _rows(shop: Shop, journey: Journey, came: Any, now: datetime) -> tuple[list[str], Select[Any]]:
    flow, at = journey.flow, literal(to_micros(now), BigInteger)
    there = enrolments.c
    mine = (there.shop_id == shop.shop_id, there.journey_key == journey.key, there.member_id == came.c.member_id)
    occasion: Any = came.c.occasion
    # By the cause too: under another re-entry, before an edit, it was kept by another name.
    barred = [or_(there.occasion == occasion, there.cause == occasion)]
    if flow.reentry == ONCE:
        # Any stay, whatever re-entry it was let in by.
        occasion = cast(literal(ONCE, Text), Text)
        barred = []
    elif flow.reentry == EVERY_DAYS:
        # Two in one period have one key, whatever else goes on; who came in shortly before it began is kept out by the time since.
        span = flow.every_days * _DAY
        occasion = cast(literal(f"p{to_micros(now) // span}", Text), Text)
        recent = type_coerce(there.enrolled_at, BigInteger) > to_micros(now) - span
        barred = [or_(there.occasion == occasion, there.cause == came.c.occasion, recent)]
    first, node = reserve_ids(BATCH)
    values: dict[str, Any] = {
        "shop_id": literal(shop.shop_id, BigInteger),
        "enrolment_id": text(id_sql("CAST(:first AS BIGINT) + row_number() OVER ()", node)).bindparams(first=first),
        "journey_key": literal(journey.key, Text),
        "member_id": came.c.member_id,
        "occasion": occasion,
        "cause": came.c.occasion,
        "version": literal(journey.version),
        "state": literal(ending.ACTIVE, Text),
        "end_reason": literal("", Text),
        "step_key": literal(journey.flow.steps[0].key, Text),
        "phase": literal(ending.DUE, Text),
        "seq": literal(0),
        "base_at": came.c.due_at,
        "due_at": came.c.due_at,
        "occasion_on": came.c.occasion_on,
        "subject_order_id": came.c.subject_order_id,
        "enrolled_at": at,
        "updated_at": at,
    }
    # With a limit it is asked for each by the key; else PostgreSQL may hold all who come against all who ever came.
    been = select(literal(1)).where(*mine, *barred).limit(1).scalar_subquery()
    chosen = select(*values.values()).where(been.is_(None), _told(shop, journey, came).is_(None))
    return list(values), chosen.limit(BATCH)


def _told(shop: Shop, journey: Journey, came: Any) -> ScalarSelect[Any]:
    """1 where the journey spoke of the occasion while it was one send; an edit into several steps says it to nobody again."""
    t = touchpoints.c
    key = (t.shop_id == shop.shop_id, t.journey_key == journey.key, t.member_id == came.c.member_id, t.step == 0)
    return select(literal(1)).where(*key, t.occasion == came.c.occasion).limit(1).scalar_subquery()


def anybody_came_in(shop: Shop, journey: Journey) -> ColumnElement[bool]:
    """Whether anybody ever came into the journey while it had steps: asked once a statement, for into most nobody did."""
    e = enrolments.c
    mine = (e.shop_id == shop.shop_id, e.journey_key == journey.key)
    return select(literal(1)).where(*mine).limit(1).scalar_subquery().is_not(None)


def came_in(shop: Shop, journey: Journey, judged: Any) -> ScalarSelect[Any]:
    """1 where the member came into the journey for the occasion while it had steps; an edit into one send says it to nobody again.

    Where it has steps also 1 where its re-entry will not let them in when the occasion is due.
    """
    e = enrolments.c
    mine = (e.shop_id == shop.shop_id, e.member_id == judged.c.member_id, e.journey_key == journey.key)
    barred: list[Any] = [e.cause == judged.c.occasion]
    if journey.flow.steps and journey.flow.reentry == ONCE:
        barred = []
    elif journey.flow.steps and journey.flow.reentry == EVERY_DAYS:
        since = type_coerce(judged.c.due_at, BigInteger) - journey.flow.every_days * _DAY
        barred = [or_(*barred, type_coerce(e.enrolled_at, BigInteger) > since)]
    return select(literal(1)).where(*mine, *barred).limit(1).scalar_subquery()
