"""For whom an occasion has fallen due: members matched with the slots of a trigger, as one SELECT over an index range."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, bindparam, cast, column, literal, literal_column, select, text

from crm_plugin.rules.triggers import BIRTHDAY, LAPSE, POST_PURCHASE, SLOT_COLUMNS, Slot
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import once
from crm_plugin.touchpoints.journeys import Journey


@dataclass(frozen=True, slots=True)
class Late:
    """What came late is found by the row that changed after an instant: m(ember), f(acts) or o(rder)."""

    row: str
    after: datetime


# What moves a member's occasion: their birthday and zone, their last order, an order that comes, is paid or changes hands.
CHANGES = {BIRTHDAY: ("m",), LAPSE: ("f", "m"), POST_PURCHASE: ("o", "m")}
_CHANGED = {"m": "m.changed_at", "f": "f.changed_at", "o": "o.first_seen_at"}
# The row beside the member that says when the occasion is.
_BESIDE = {LAPSE: ("member_facts AS f", "f", "f.last_order_on"), POST_PURCHASE: ("orders AS o", "o", "o.placed_on")}


def matched(
    shop: Shop, journey: Journey, is_sqlite: bool, due: Iterable[Slot], now: datetime, late: Late | None
) -> Select[Any]:
    """Members and occasions that match the slots: an index range, driven by the slots or, for what is late, by what changed."""
    kind = journey.trigger.type
    occasion: Any = literal_column("cal.occasion")
    if kind == POST_PURCHASE:
        occasion = literal("order:") + cast(literal_column("o.order_id"), Text)
    tables, match = _joined(kind, late)
    query = (
        select(
            literal_column("m.member_id").label("member_id"),
            occasion.label("occasion"),
            literal_column("cal.occasion_on").label("occasion_on"),
            literal_column("o.order_id" if kind == POST_PURCHASE else "CAST(NULL AS BIGINT)").label("subject_order_id"),
            literal_column("cal.due_at").label("due_at"),
            literal_column("cal.next_try_at").label("next_try_at"),
            literal_column("cal.valid_until").label("valid_until"),
        )
        .select_from(text(tables))
        .where(text(f"m.shop_id = :shop_id AND m.state = 'active' AND {match}").bindparams(shop_id=shop.shop_id))
        .add_cte(_calendar(is_sqlite, due))
    )
    if kind in once.UNSAID:
        query = query.where(text(once.UNSAID[kind]).bindparams(journey_key=journey.key))
    if late is not None:
        changed = _CHANGED[late.row]
        span = text(f"{changed} > :late_after AND {changed} <= :late_until")
        query = query.where(span.bindparams(late_after=to_micros(late.after), late_until=to_micros(now)))
    elif kind != BIRTHDAY:
        query = query.add_cte(text("SELECT DISTINCT match FROM cal").columns(column("match")).cte("days"))
    return query


def _joined(kind: str, late: Late | None) -> tuple[str, str]:
    """The tables and how they match.

    CROSS JOIN keeps SQLite from turning the order around; PostgreSQL plans it as any other join.
    """
    if kind == BIRTHDAY:
        tables = "cal CROSS JOIN members AS m" if late is None else "members AS m CROSS JOIN cal"
        return tables, "m.birth_md = cal.match AND m.zone = cal.zone"
    beside, name, day = _BESIDE[kind]
    match = f"m.shop_id = {name}.shop_id AND m.member_id = {name}.member_id AND {day} = cal.match AND m.zone = cal.zone"
    match += f" AND {name}.shop_id = :shop_id"
    if kind == POST_PURCHASE:
        match += " AND o.counts"
    if late is None:
        return f"days CROSS JOIN {beside} CROSS JOIN members AS m CROSS JOIN cal", f"{match} AND {day} = days.match"
    if late.row == "m":
        # Who is new has nothing that is older; a first reading of a whole store would be joined for nothing.
        return f"members AS m CROSS JOIN {beside} CROSS JOIN cal", f"{match} AND m.changed_at > m.first_seen_at"
    return f"{beside} CROSS JOIN members AS m CROSS JOIN cal", match


def _calendar(is_sqlite: bool, due: Iterable[Slot]) -> Any:
    document = json.dumps([slot.row() for slot in due], separators=(",", ":"))
    names: list[Any] = [column(name) for name, _ in SLOT_COLUMNS]
    if is_sqlite:
        # Without a type the columns fit no automatic index, and every member would be held against every slot.
        picked = ", ".join(
            f"CAST(json_extract(value, '$[{place}]') AS {kind}) AS {name}"
            for place, (name, kind) in enumerate(SLOT_COLUMNS)
        )
        source = f"SELECT {picked} FROM json_each(:calendar)"  # noqa: S608
    else:
        picked = ", ".join(
            f"CAST(value ->> {place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(SLOT_COLUMNS)
        )
        source = f"SELECT {picked} FROM jsonb_array_elements(CAST(:calendar AS jsonb)) AS rows(value)"  # noqa: S608
    return text(source).bindparams(bindparam("calendar", document, type_=Text)).columns(*names).cte("cal")
