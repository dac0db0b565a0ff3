"""Waiting: for a time, until a weekday and hour where the member lives, or for something to happen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    TextClause,
    bindparam,
    case,
    column,
    func,
    literal,
    text,
    type_coerce,
)

from crm_plugin.clock import at_local, from_day_number, is_zone, local_day
from crm_plugin.places import zones_in
from crm_plugin.rules.triggers import read_time
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import zones_of
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.kinds import WEEKDAYS, minutes_of
from crm_plugin.touchpoints.steps.moves import STANDING, Outcome, Stand, col, word
from crm_plugin.touchpoints.versions import kinds_of

_MINUTE = 60_000_000
_DAY = 24 * 60 * _MINUTE
_WEEK = timedelta(days=7)
ORDER = "order_placed"
_WAIT = "wait:"


def begins(stand: Stand, oldest: datetime) -> Outcome:
    """How a wait begins, for those who came to it at `oldest` or later."""
    told = stand.told
    if "until" in told:
        until = told["until"]
        return _until_occasion(stand, until) if "occasion" in until else _until(stand, until, oldest)
    if "event" not in told:
        till = col("e.base_at") + literal(minutes_of(told) * _MINUTE, BigInteger)
        return Outcome(begins=True, phase=word(ending.WAITS), till=till)
    within = told["within_days"] * _DAY
    heard = _heard(told["event"], within)
    phase = case((heard.is_not(None), word(ending.HEARD)), else_=word(ending.EVENT + told["event"]))
    return Outcome(begins=True, phase=phase, till=func.coalesce(heard, col("e.base_at") + literal(within, BigInteger)))


def ends(stand: Stand) -> Outcome:
    """How a wait ends: what was waited for has happened, or the time is over."""
    arm = ("then" if stand.phase == ending.HEARD else "else") if "event" in stand.told else ""
    return Outcome(arm=word(arm), base=col("e.due_at"))


# The plus keeps the databases from walking back through all messages of the shop to the last one of a member.
_LAST = (
    "(SELECT MAX(+l.touchpoint_id) FROM touchpoints AS l WHERE l.shop_id = e.shop_id AND l.journey_key = e.journey_key "
    "AND l.member_id = e.member_id AND l.occasion = e.occasion)"
)


def _heard(event: str, within: int) -> ColumnElement[Any]:
    """When it first happened, if it has before the wait is found to begin, and not before it began: NULL for most."""
    if event == ORDER:
        told = (
            "SELECT MIN(o.placed_at) FROM orders AS o WHERE o.shop_id = e.shop_id AND o.member_id = e.member_id "
            "AND o.counts AND o.placed_at > e.base_at AND o.placed_at <= e.base_at + CAST(:within AS BIGINT)"
        )
        bound = text(f"({told})").bindparams(within=within)
    else:
        told = (
            "SELECT CASE WHEN MIN(d.at) < e.base_at THEN e.base_at ELSE MIN(d.at) END "  # noqa: S608
            "FROM touchpoints AS t JOIN delivery_events AS d ON d.shop_id = t.shop_id "
            "AND d.touchpoint_id = t.touchpoint_id WHERE t.shop_id = e.shop_id AND t.journey_key = e.journey_key "
            "AND t.member_id = e.member_id AND t.occasion = e.occasion AND d.kind = :event AND NOT d.machine "
            f"AND d.at <= e.base_at + CAST(:within AS BIGINT) AND t.touchpoint_id = {_LAST}"
        )
        bound = text(f"({told})").bindparams(event=event, within=within)
    return type_coerce(bound, BigInteger)


# Who waits for an order is found by the orders that are new here, who waits for what becomes of a message by what providers told: nobody
# who merely waits is looked at. `due_at` becomes the instant at which it happened, and with it the wait is over.
_HEARD = (
    "UPDATE enrolments SET phase = 'heard', due_at = CASE WHEN h.at < base_at THEN base_at ELSE h.at END, "
    "updated_at = CAST(:now AS BIGINT) FROM ({found} GROUP BY e.enrolment_id) AS h "
    "WHERE enrolments.shop_id = :shop_id AND enrolments.enrolment_id = h.enrolment_id"
)
_NEW_ORDERS = (
    "SELECT e.enrolment_id, MIN(o.placed_at) AS at FROM orders AS o {inside} "
    "WHERE o.shop_id = :shop_id AND o.first_seen_at > CAST(:since AS BIGINT) AND o.first_seen_at <= CAST(:now AS BIGINT) AND o.counts "
    "{on} AND e.phase = 'event:order_placed' AND o.placed_at > e.base_at AND o.placed_at <= e.due_at"
)
_OF_ORDER = "x.shop_id = o.shop_id AND x.member_id = o.member_id AND x.journey_key = :journey_key"
_NEW_DELIVERIES = (
    "SELECT e.enrolment_id, MIN(d.at) AS at FROM delivery_events AS d CROSS JOIN touchpoints AS t {inside} "  # noqa: S608
    "WHERE d.shop_id = :shop_id AND d.received_at > CAST(:since AS BIGINT) AND d.received_at <= CAST(:now AS BIGINT) AND NOT d.machine "
    "AND t.shop_id = d.shop_id AND t.touchpoint_id = d.touchpoint_id AND t.journey_key = :journey_key "
    f"{{on}} AND e.phase = 'event:' || d.kind AND d.at <= e.due_at AND t.touchpoint_id = {_LAST}"
)
_OF_MESSAGE = (
    "x.shop_id = t.shop_id AND x.journey_key = t.journey_key AND x.member_id = t.member_id AND x.occasion = t.occasion"
)


def _hearing(is_sqlite: bool) -> tuple[TextClause, ...]:
    found, active = [], "AND e.state = 'active'"
    for told, own, index in (
        (_NEW_ORDERS, _OF_ORDER, " INDEXED BY ix_enrolments_member"),
        (_NEW_DELIVERIES, _OF_MESSAGE, ""),
    ):
        if is_sqlite:
            # Without figures about the table it may take the index of what is due, and read all who wait.
            asked = told.format(
                inside=f"CROSS JOIN enrolments AS e{index}", on=f"AND {own.replace('x.', 'e.')} {active}"
            )
        else:
            # Asked for each that is new, by the key alone: else PostgreSQL may hold all that is new against all who are inside, or take for
            # each the index of those inside, and read them all.
            each = f"CROSS JOIN LATERAL (SELECT x.* FROM enrolments AS x WHERE {own} OFFSET 0) AS e"  # noqa: S608
            asked = told.format(inside=each, on=active)
        found.append(text(_HEARD.format(found=asked)))
    return tuple(found)


_HEARING = {is_sqlite: _hearing(is_sqlite) for is_sqlite in (True, False)}


def hear(connection: Connection, shop_id: int, journey_key: str, since: datetime, now: datetime) -> None:
    """End the waits for what has happened; `since` is how far back something may have been told that was not heard yet."""
    waited = {kind.removeprefix(_WAIT) for kind in kinds_of(connection, shop_id, journey_key) if kind.startswith(_WAIT)}
    ours = {"shop_id": shop_id, "journey_key": journey_key, "since": to_micros(since), "now": to_micros(now)}
    of_orders, of_messages = _HEARING[connection.dialect.name == "sqlite"]
    if ORDER in waited:
        connection.execute(of_orders, ours)
    if waited - {ORDER}:
        connection.execute(of_messages, ours)


def _until(stand: Stand, until: Mapping[str, str], oldest: datetime) -> Outcome:
    """The next time it is that weekday and hour in each zone: a calendar is joined whose rows hold from one such instant to the next."""
    rows = [
        (name, *span)
        for name in sorted(zones_of(stand.connection, stand.shop.shop_id))
        for span in spans(until, _known(name, stand.shop), oldest, stand.now)
    ]
    return _by_calendar(stand, rows, "e.base_at > spans.after AND e.base_at <= spans.till", col("spans.till"))


_OCCASIONS = text(f"SELECT DISTINCT e.occasion_on FROM enrolments AS e WHERE {STANDING}")  # noqa: S608


def _until_occasion(stand: Stand, until: Mapping[str, Any]) -> Outcome:
    """That hour of the day that each one's occasion is about, or so many days from it; at once where it is over."""
    at, days = read_time(until["at"]), timedelta(days=until["occasion"])
    occasions = stand.connection.execute(_OCCASIONS, stand.binds).scalars().all()
    rows = [
        (name, number, to_micros(at_local(from_day_number(number) + days, at, _known(name, stand.shop))))
        for name in sorted(zones_of(stand.connection, stand.shop.shop_id))
        for number in occasions
    ]
    till = case((col("spans.till") > col("e.base_at"), col("spans.till")), else_=col("e.base_at"))
    return _by_calendar(stand, rows, "e.occasion_on = spans.after", till)


def _by_calendar(stand: Stand, rows: list[tuple[str, int, int]], holds: str, till: ColumnElement[Any]) -> Outcome:
    """A wait until an instant that a calendar of (zone, number, instant) gives, by the row that `holds`."""
    if stand.is_sqlite:
        picked = (
            "CAST(json_extract(value, '$[0]') AS TEXT) AS zone, CAST(json_extract(value, '$[1]') AS BIGINT) AS after, "
            "CAST(json_extract(value, '$[2]') AS BIGINT) AS till FROM json_each(:spans)"
        )
    else:
        picked = (
            "value ->> 0 AS zone, CAST(value ->> 1 AS BIGINT) AS after, CAST(value ->> 2 AS BIGINT) AS till "
            "FROM jsonb_array_elements(CAST(:spans AS jsonb)) AS rows(value)"
        )
    document = json.dumps(rows, separators=(",", ":"))
    names: list[Any] = [column(name) for name in ("zone", "after", "till")]
    spans_ = text(f"SELECT {picked}").bindparams(bindparam("spans", document, type_=Text)).columns(*names).cte("spans")
    return Outcome(
        begins=True,
        phase=word(ending.WAITS),
        till=till,
        tables="CROSS JOIN spans",
        where=f"spans.zone = m.zone AND {holds}",
        ctes=(spans_,),
    )


def _known(name: str, shop: Shop) -> str:
    """The zone itself, or the shop's where this machine does not know it: nobody is left waiting for good."""
    return name if is_zone(next(iter(zones_in(name)), name)) else shop.timezone


def spans(until: Mapping[str, str], zone_name: str, oldest: datetime, latest: datetime) -> Iterator[tuple[int, int]]:
    """From each such instant (not with it) to the next, over all from `oldest` to `latest`; in microseconds."""
    at = read_time(until["at"])
    day = local_day(oldest, zone_name) - _WEEK - timedelta(days=1)
    last = local_day(latest, zone_name) + _WEEK + timedelta(days=1)
    before: int | None = None
    while day <= last:
        if "weekday" not in until or day.weekday() == WEEKDAYS.index(until["weekday"]):
            instant = to_micros(at_local(day, at, zone_name))
            if before is not None:
                yield before, instant
            before = instant
        day += timedelta(days=1)
