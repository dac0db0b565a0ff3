"""For whom an occasion has fallen due, as SELECTs over index ranges: one row is a member, an occasion, and its instants.

A type of trigger tells the rows it is found by (`rules/trigger_kinds.Source`); here they are joined with the slots of its calendar.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Text, bindparam, column, literal_column, select, text

from crm_plugin.rules.trigger_kinds import Arrival, Source
from crm_plugin.rules.triggers import SLOT_COLUMNS, Slot, kind_of, slots
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import once
from crm_plugin.touchpoints.journeys import Journey
from crm_plugin.touchpoints.policy import policy_of

# Rows say when their writing began, an import's when the whole file did: what changed this long before the watermark is looked at again.
LATE_OVERLAP = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Late:
    """What came late is found by the row that changed after an instant, up to another."""

    arrival: Arrival
    after: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose occasions are asked for: of one journey of a shop, in the zones its members live in; of one member where one is named."""

    shop: Shop
    journey: Journey
    zones: frozenset[str]
    is_sqlite: bool
    member_id: int | None = None

    def slots(self, after: datetime, until: datetime) -> list[Slot]:
        """The calendar between two instants."""
        return slots(
            self.journey.trigger,
            after=after,
            until=until,
            send_at=self.journey.send_at,
            validity_days=self.journey.validity_days,
            quiet=policy_of(self.shop).quiet,
            zones=self.zones,
        )


def passes(asked: Asked, begun: datetime, mark: datetime | None, now: datetime) -> Iterator[Select[Any]]:
    """All that a round has to plan: what fell due since the mark, and what came late and is still worth reading.

    Nothing from before the journey was switched on (`begun`), and nothing late whose window is over.
    """
    oldest = max(begun, now - timedelta(days=asked.journey.validity_days))
    # A mark ahead of us was left by a round for a later day: it says nothing of the days until then, so the whole window is planned again.
    since = oldest if mark is not None and mark > now else mark or begun
    if due := asked.slots(since, now):
        yield matched(asked, due)
    if oldest < since and (past := asked.slots(oldest, since)):
        changed_after = max(since - LATE_OVERLAP, begun)
        for arrival in kind_of(asked.journey.trigger).source(asked.journey.trigger).late:
            yield matched(asked, past, Late(arrival, changed_after, now))


def between(asked: Asked, since: datetime, until: datetime) -> Select[Any] | None:
    """What falls due between two instants; None when no day can."""
    due = asked.slots(since, until)
    return matched(asked, due) if due else None


def matched(asked: Asked, due: Iterable[Slot], late: Late | None = None) -> Select[Any]:
    """Members and occasions that match the slots: an index range, driven by the slots or, for what is late, by what changed."""
    trigger = asked.journey.trigger
    kind = kind_of(trigger)
    source = kind.source(trigger)
    of_member = asked.member_id is not None or (late is not None and late.arrival.of_member)
    where = [f"{source.day} = cal.match", "m.zone = cal.zone"]
    by_days = late is None and not of_member and not source.by_zone
    if by_days:
        where.append(f"{source.day} = days.match")
    query = _selected(asked, source, where).select_from(text(_tables(asked, source, late, of_member, by_days)))
    query = query.add_cte(_calendar(asked.is_sqlite, due))
    if late is not None:
        changed = late.arrival.changed
        span = f"{changed} > :late_after AND {changed} <= :late_until"
        if late.arrival.where:
            span += f" AND {late.arrival.where}"
        values = {"late_after": to_micros(late.after), "late_until": to_micros(late.until)}
        query = query.where(text(span).bindparams(**values))
    elif by_days:
        query = query.add_cte(text("SELECT DISTINCT match FROM cal").columns(column("match")).cte("days"))
    return query


def _selected(asked: Asked, source: Source, where: list[str]) -> Select[Any]:
    """The columns, and what holds for whatever way the rows are found."""
    held = [
        "m.shop_id = :shop_id",
        "m.state = 'active'",
        *(part for part in (source.hangs, source.holds) if part),
        *where,
    ]
    values: dict[str, Any] = {"shop_id": asked.shop.shop_id, **source.binds}
    if asked.member_id is not None:
        held.append("m.member_id = :of_member_id")
        values["of_member_id"] = asked.member_id
    guards = [once.UNSAID[name] for name in kind_of(asked.journey.trigger).once]
    if guards:
        values["journey_key"] = asked.journey.key
    columns: tuple[Any, ...] = (
        literal_column("m.member_id").label("member_id"),
        literal_column(source.occasion).label("occasion"),
        literal_column(source.occasion_on).label("occasion_on"),
        literal_column(source.order_id).label("subject_order_id"),
        literal_column("cal.due_at").label("due_at"),
        literal_column("cal.next_try_at").label("next_try_at"),
        literal_column("cal.valid_until").label("valid_until"),
    )
    chosen: Select[Any] = select(*columns)
    return chosen.where(text(" AND ".join([*held, *guards])).bindparams(**values))


def _tables(asked: Asked, source: Source, late: Late | None, of_member: bool, by_days: bool) -> str:
    """What is joined, in the order in which it is read, the first table by the index that was made for it.

    CROSS JOIN keeps SQLite from turning the order around; PostgreSQL plans it as any other join. Without figures about a table SQLite
    would rather go through all of a shop than look up a row for each entry of an index, so it is told.
    """
    if of_member:
        parts, place = ["members AS m", source.of_member or source.tables, "cal"], 0
    elif late is not None:
        parts, place = [source.tables, "members AS m", "cal"], 0
    elif by_days:
        parts, place = ["days", source.tables, "members AS m", "cal"], 1
    else:
        parts, place = ["cal", source.tables, "members AS m"], 1
    parts = [part for part in parts if part]
    if asked.is_sqlite and asked.member_id is None:
        first, *others = parts[place].split(" CROSS JOIN ")
        index = source.index if late is None else late.arrival.index
        parts[place] = " CROSS JOIN ".join([f"{first} INDEXED BY {index}", *others])
    return " CROSS JOIN ".join(parts)


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
