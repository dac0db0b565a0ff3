"""For whom an occasion has fallen due, as SELECTs over index ranges: one row is a member, an occasion, and its instants.

A type of trigger tells the rows it is found by (`rules/trigger_kinds.Source`); here they are joined with the slots of its calendar
or, for what speaks at once, taken by when they were written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Text, bindparam, column, literal_column, select, text

from crm_plugin.rules.trigger_kinds import Arrival, Kind, Source, is_at_once, minutes_of
from crm_plugin.rules.triggers import SLOT_COLUMNS, Slot, kind_of, slots
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import once
from crm_plugin.touchpoints.journey import Journey
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
    """Whose occasions are asked for: of one journey of a shop, in the zones its members live in; of one member where one is named.

    `lunar` says whether anybody has a birthday of the lunar calendar: its days are four times as many.
    """

    shop: Shop
    journey: Journey
    zones: frozenset[str]
    is_sqlite: bool
    member_id: int | None = None
    lunar: bool = True

    @property
    def kind(self) -> Kind:
        """The type of the journey's trigger."""
        return kind_of(self.journey.trigger)

    @property
    def source(self) -> Source:
        """The rows its occasions are found by."""
        return self.kind.source(self.journey.trigger)

    @property
    def is_at_once(self) -> bool:
        """Whether there is no calendar, for it speaks when something has happened."""
        return is_at_once(self.kind, self.journey.trigger)

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
            begun=self.journey.enabled_at if self.journey.enabled else None,
            lunar=self.lunar,
        )


@dataclass(frozen=True, slots=True)
class Way:
    """One way by which occasions come due. Its select is the same in each round but for `values`: the calendar, or the instants.

    By the slots of a calendar, of those that came late as well as `late` says; or at once, out of what happened within `span` and was
    written as `late` says.
    """

    asked: Asked
    slots: Sequence[Slot] = ()
    late: Late | None = None
    span: tuple[datetime, datetime] | None = None

    @property
    def shape(self) -> tuple[bool, Arrival | None]:
        """What tells the select from that of the other ways of the journey."""
        return self.span is not None, None if self.late is None else self.late.arrival

    @property
    def values(self) -> dict[str, int | str]:
        """What changes from round to round, by the names it is bound by."""
        told: dict[str, int | str] = {}
        if self.late is not None:
            told |= {"late_after": to_micros(self.late.after), "late_until": to_micros(self.late.until)}
        if self.span is None:
            told["calendar"] = json.dumps([slot.row() for slot in self.slots], separators=(",", ":"))
        else:
            told |= {"low": to_micros(self.span[0]), "high": to_micros(self.span[1])}
        return told

    def select(self) -> Select[Any]:
        """Members and occasions that are due by this way."""
        return _matched(self) if self.span is None else _at_once(self)


def passes(
    asked: Asked,
    begun: datetime,
    mark: datetime | None,
    now: datetime,
    came: Callable[[Sequence[Late]], Sequence[Late]] = lambda lates: lates,
) -> Iterator[Way]:
    """All that a round has to plan: what fell due since the mark, and what came late and is still worth reading.

    Nothing from before the journey was switched on (`begun`), and nothing late whose window is over. What `came` leaves out,
    for nothing came late of it, is not asked for.
    """
    oldest, since = _reach(asked, begun, mark, now)
    written = late_of(asked, begun, mark, now)
    if asked.is_at_once:
        # One way for both: what was written since, of what is due since or is still worth reading.
        if came(written):
            yield _happened(asked, min(since, oldest), now, since)
        return
    if due := asked.slots(since, now):
        yield Way(asked, due)
    if (late := came(written) if written else ()) and (past := asked.slots(oldest, since)):
        for one in late:
            yield Way(asked, past, one)


def late_of(asked: Asked, begun: datetime, mark: datetime | None, now: datetime) -> list[Late]:
    """What `passes` asks `came` about."""
    oldest, since = _reach(asked, begun, mark, now)
    if asked.is_at_once:
        return [_late(_happened(asked, min(since, oldest), now, since))]
    changed_after = max(since - LATE_OVERLAP, begun)
    return [Late(arrival, changed_after, now) for arrival in asked.source.late] if oldest < since else []


def _reach(asked: Asked, begun: datetime, mark: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From when what came late is still worth reading, and since when all that is due is to be planned."""
    oldest = max(begun, now - timedelta(days=asked.journey.validity_days))
    # A mark ahead of us was left by a round for a later day: it says nothing of the days until then, so the whole window is planned again.
    return oldest, oldest if mark is not None and mark > now else mark or begun


def between(asked: Asked, since: datetime, until: datetime) -> Select[Any] | None:
    """What falls due between two instants; None when no day can. Of what speaks at once, what has happened already."""
    if asked.is_at_once:
        return _happened(asked, since, until, since).select()
    due = asked.slots(since, until)
    return Way(asked, due).select() if due else None


def _matched(way: Way) -> Select[Any]:
    """Members and occasions that match the slots: an index range, driven by the slots or, for what is late, by what changed."""
    asked, late = way.asked, way.late
    source = asked.source
    of_member = asked.member_id is not None or (late is not None and late.arrival.of_member)
    where = ["m.zone = cal.zone"]
    where += [f"{source.day} = cal.match"] if source.day else []
    by_days = late is None and not of_member and not source.by_zone
    if by_days and source.found:
        where += [f"{source.day} = found.match", "f.member_id = found.member_id"]
    elif by_days:
        where.append(f"{source.day} = days.match")
    query = _selected(asked, ("cal.due_at", "cal.next_try_at", "cal.valid_until"), where)
    query = query.select_from(text(_tables(asked, late.arrival if late else None, of_member, by_days)))
    query = query.add_cte(_calendar(asked.is_sqlite, way))
    if late is not None:
        return query.where(_written(way))
    if not by_days:
        return query
    query = query.add_cte(text("SELECT DISTINCT match FROM cal").columns(column("match")).cte("days"))
    if not source.found:
        return query
    indexes = {name: f" INDEXED BY {index}" if asked.is_sqlite else "" for name, index in source.found_by.items()}
    found = text(source.found.format(**indexes)).bindparams(shop_id=asked.shop.shop_id)
    return query.add_cte(found.columns(column("member_id"), column("match")).cte("found"))


def holding(shop: Shop, journey: Journey, member_ids: Iterable[int], occasions: Iterable[str]) -> Select[Any]:
    """Which of these members and occasions are still found as they were planned; what a slot alone gives is not asked."""
    asked = Asked(shop, journey, frozenset(), is_sqlite=False)
    source = asked.source
    tables = " CROSS JOIN ".join(part for part in ("members AS m", source.of_member or source.tables) if part)
    held = [*_held(source), "m.member_id IN :member_ids", f"{source.occasion} IN :occasions"]
    asks = text(" AND ".join(held)).bindparams(
        bindparam("member_ids", sorted(set(member_ids)), expanding=True),
        bindparam("occasions", sorted(set(occasions)), expanding=True),
        **_values(asked),
    )
    columns: list[Any] = [
        literal_column("m.member_id").label("member_id"),
        literal_column(source.occasion).label("occasion"),
    ]
    chosen: Select[Any] = select(*columns)
    return chosen.select_from(text(tables)).where(asks)


def _happened(asked: Asked, low: datetime, high: datetime, since: datetime) -> Way:
    """What has happened and is due between two instants, out of what was written since the mark."""
    delay, seen = timedelta(minutes=minutes_of(asked.kind, asked.journey.trigger)), asked.source.seen
    assert seen is not None
    return Way(asked, (), Late(seen, since - delay - LATE_OVERLAP, high), (low - delay, high - delay))


def _at_once(way: Way) -> Select[Any]:
    asked = way.asked
    source, delay = asked.source, minutes_of(asked.kind, asked.journey.trigger) * _MINUTE
    # Written out, for they belong to the journey: the statement is the same in each round.
    due = f"({source.at} + {delay})"
    instants = (due, due, f"({due} + {asked.journey.validity_days * _DAY})")
    span = [f"{source.at} > CAST(:low AS BIGINT)", f"{source.at} <= CAST(:high AS BIGINT)"]
    query = _selected(asked, instants, span, low=way.values["low"], high=way.values["high"])
    tables = _tables(asked, _late(way).arrival, asked.member_id is not None, False, slots=False)
    return query.select_from(text(tables)).where(_written(way))


def _late(way: Way) -> Late:
    assert way.late is not None
    return way.late


_MINUTE, _DAY = 60_000_000, 86_400_000_000


def _written(way: Way) -> Any:
    """That a row was written between two instants."""
    arrival, values = _late(way).arrival, way.values
    span = f"{arrival.changed} > :late_after AND {arrival.changed} <= :late_until"
    if arrival.where:
        span += f" AND {arrival.where}"
    return text(span).bindparams(late_after=values["late_after"], late_until=values["late_until"])


def _held(source: Source) -> list[str]:
    """What holds for whatever way the rows are found."""
    return ["m.shop_id = :shop_id", "m.state = 'active'", *(part for part in (source.hangs, source.holds) if part)]


def _values(asked: Asked) -> dict[str, Any]:
    return {"shop_id": asked.shop.shop_id, **asked.source.binds}


def _selected(asked: Asked, instants: tuple[str, str, str], where: list[str], **values: int | str) -> Select[Any]:
    """The columns, out of rows that hold and of which the journey has not spoken in a way that the key does not tell."""
    source = asked.source
    held, values_of = [*_held(source), *where], {**_values(asked), **values}
    if asked.member_id is not None:
        held.append("m.member_id = :of_member_id")
        values_of["of_member_id"] = asked.member_id
    guards = [once.unsaid(name, source.occasion, source.order_id) for name in asked.kind.once]
    if guards:
        values_of["journey_key"] = asked.journey.key
    told = (
        "m.member_id",
        source.occasion,
        source.occasion_on,
        source.order_id,
        *instants,
    )
    columns: list[Any] = [literal_column(sql).label(name) for sql, name in zip(told, _COLUMNS, strict=True)]
    chosen: Select[Any] = select(*columns)
    return chosen.where(text(" AND ".join([*held, *guards])).bindparams(**values_of))


_COLUMNS = ("member_id", "occasion", "occasion_on", "subject_order_id", "due_at", "next_try_at", "valid_until")


def _tables(asked: Asked, arrival: Arrival | None, of_member: bool, by_days: bool, *, slots: bool = True) -> str:
    """What is joined, in the order in which it is read, the first table by the index that was made for it.

    CROSS JOIN keeps SQLite from turning the order around; PostgreSQL plans it as any other join. Without figures about a table SQLite
    would rather go through all of a shop than look up a row for each entry of an index, so it is told.
    """
    source, cal = asked.source, "cal" if slots else ""
    whose = [source.tables, "members AS m"] if source.tables else ["members AS m"]
    if of_member:
        parts, place = ["members AS m", source.of_member or source.tables, cal], 0
    elif arrival is not None:
        parts, place = [*whose, cal], 0
    elif by_days:
        parts, place = (
            [
                "found" if source.found else "days",
                source.tables or "members AS m",
                "members AS m" if source.tables else "",
                "cal",
            ],
            1,
        )
    else:
        parts, place = [part for part in ("cal", source.tables, "members AS m") if part], 1
    # What was found already is looked up by its key.
    if asked.is_sqlite and asked.member_id is None and not (source.found and by_days):
        first, *others = parts[place].split(" CROSS JOIN ")
        index = arrival.index if arrival is not None else source.index
        parts[place] = " CROSS JOIN ".join([f"{first} INDEXED BY {index}", *others])
    return " CROSS JOIN ".join(part for part in parts if part)


def _calendar(is_sqlite: bool, way: Way) -> Any:
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
    told = text(source).bindparams(bindparam("calendar", way.values["calendar"], type_=Text)).columns(*names).cte("cal")
    # Else SQLite takes the values out of the document again for each row that is due: half of what finding one costs.
    return told.prefix_with("MATERIALIZED", dialect="sqlite")
