"""Waiting: for a time, until a weekday and hour where the member lives, or for something to happen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from typing import Any

from sqlalchemy import TextClause, column, text

from crm_plugin.clock import at_local, from_day_number, is_zone, local_day
from crm_plugin.places import zones_in
from crm_plugin.rules.triggers import read_time
from crm_plugin.store.base import from_micros, to_json, to_micros
from crm_plugin.store.rows import given
from crm_plugin.store.tenants import Shop
from crm_plugin.store.together import Part
from crm_plugin.touchpoints.due import LATE_OVERLAP
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.document import Step
from crm_plugin.touchpoints.steps.kinds import WEEKDAYS, minutes_of
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay
from crm_plugin.touchpoints.versions import Version

_MINUTE = 60_000_000
_DAY = 24 * 60 * _MINUTE
_WEEK = timedelta(days=7)
ORDER = "order_placed"
_WAIT = "wait:"


def take(stand: Stand, stays: Sequence[Stay]) -> None:
    """The wait begins; whoever's is over by then goes on."""
    group, event = stand.group, stand.told.get("event")
    heard = _heard(stand, stays) if event else {}
    till = _till(stand, stays)
    for stay in stays:
        at = heard.get(stay.enrolment_id)
        if at is not None:
            group.begin(stay, ending.HEARD, at)
        else:
            group.begin(stay, ending.EVENT + event if event else ending.WAITS, till(stay))
    end(stand, [stay for stay in stays if stay.due_at <= group.at])


def end(stand: Stand, stays: Sequence[Stay]) -> None:
    """The wait is over: what was waited for has happened, or the time has gone by."""
    for stay in stays:
        arm = ("then" if stay.phase == ending.HEARD else "else") if "event" in stand.told else ""
        stand.group.done(stay, stand.to(arm), base=stay.due_at, detail=arm)


def _till(stand: Stand, stays: Sequence[Stay]) -> Callable[[Stay], int]:
    """Until when each waits, whatever happens."""
    told = stand.told
    if "until" in told:
        until = told["until"]
        return _until_occasion(stand.group, until) if "occasion" in until else _until(stand.group, until, stays)
    lasts = told["within_days"] * _DAY if "event" in told else minutes_of(told) * _MINUTE
    return lambda stay: stay.base_at + lasts


# The plus keeps the databases from walking back through all messages of the shop to the last one of a member.
_LAST = (
    "(SELECT MAX(+l.touchpoint_id) FROM touchpoints AS l WHERE l.shop_id = e.shop_id AND l.journey_key = e.journey_key "
    "AND l.member_id = e.member_id AND l.occasion = e.occasion)"
)


_COMES = {"enrolment_id": "BIGINT", "base_at": "BIGINT"}
_FIRST_ORDER = (
    "SELECT MIN(o.placed_at) FROM orders AS o WHERE o.shop_id = e.shop_id AND o.member_id = e.member_id "
    "AND o.counts AND o.placed_at > w.base_at AND o.placed_at <= w.base_at + CAST(:within AS BIGINT)"
)
_FIRST_DELIVERY = (
    "SELECT CASE WHEN MIN(d.at) < w.base_at THEN w.base_at ELSE MIN(d.at) END "  # noqa: S608
    "FROM touchpoints AS t JOIN delivery_events AS d ON d.shop_id = t.shop_id "
    "AND d.touchpoint_id = t.touchpoint_id WHERE t.shop_id = e.shop_id AND t.journey_key = e.journey_key "
    "AND t.member_id = e.member_id AND t.occasion = e.occasion AND d.kind = :event AND NOT d.machine "
    f"AND d.at <= w.base_at + CAST(:within AS BIGINT) AND t.touchpoint_id = {_LAST}"
)


@lru_cache
def _hearing_first(is_sqlite: bool, of_orders: bool) -> TextClause:
    """(enrolment, instant) of those of whom it happened."""
    first = _FIRST_ORDER if of_orders else _FIRST_DELIVERY
    return text(
        f"SELECT e.enrolment_id, ({first}) AS heard_at FROM {given(is_sqlite, _COMES)} CROSS JOIN enrolments AS e "  # noqa: S608
        "WHERE e.shop_id = :shop_id AND e.enrolment_id = w.enrolment_id"
    )


def parts(group: Group, version: Version, steps: Iterable[Step], stays: Sequence[Stay]) -> list[Part]:
    """What these may come to wait for in these steps, if it has happened; the group keeps it."""
    comes = [(stay.enrolment_id, base) for stay in stays if (base := _comes_from(group, version, stay)) is not None]
    found = []
    for place, step in enumerate(step for step in steps if step.kind == "wait" and "event" in step.told):
        query = _hearing_first(group.is_sqlite, step.told["event"] == ORDER).text
        for name in ("rows", "within", "event"):
            # Each part has its own.
            query = query.replace(f":{name}", f":{name}_of_wait{place}")
        told = {"rows": to_json(comes), **_asked(step)}
        found.append(
            Part(
                text(query).columns(column("enrolment_id"), column("heard_at")),
                partial(_keep, group, step.key, comes),
                {f"{name}_of_wait{place}": value for name, value in told.items()},
            )
        )
    return found if comes else []


def _comes_from(group: Group, version: Version, stay: Stay) -> int | None:
    """From what instant somebody counts who goes on from where they stand; None where that is to be seen."""
    if stay.phase == ending.DUE:
        return stay.base_at
    if stay.phase != ending.SENT:
        return stay.due_at
    # While a message is waited for, `base_at` is when the step fell due.
    row = group.news.get((stay.member_id, stay.occasion, version.numbers.get(stay.step_key, 0)))
    return None if row is None else ending.left_from(stay.base_at, row.state, row.left_at)


def _keep(group: Group, step_key: str, comes: Iterable[tuple[int, int]], found: Iterable[Any]) -> None:
    at = dict(tuple(row) for row in found)
    for enrolment_id, base in comes:
        group.heard.setdefault(enrolment_id, {})[step_key] = (base, at.get(enrolment_id))


def _asked(step: Step) -> dict[str, Any]:
    return {"within": step.told["within_days"] * _DAY, "event": step.told["event"]}


def _heard(stand: Stand, stays: Sequence[Stay]) -> dict[int, int]:
    """When it first happened, by enrolment, if it has before the wait is found to begin, and not before it began; for most it has not."""
    group, step = stand.group, stand.step
    unseen = []
    for stay in stays:
        base, _at = group.heard.get(stay.enrolment_id, {}).get(step.key, (None, None))
        if base != stay.base_at:
            unseen.append((stay.enrolment_id, stay.base_at))
    if unseen:
        found = group.run(_hearing_first(group.is_sqlite, step.told["event"] == ORDER), unseen, **_asked(step))
        _keep(group, step.key, unseen, found)
    instants = {stay.enrolment_id: group.heard[stay.enrolment_id][step.key][1] for stay in stays}
    return {enrolment_id: at for enrolment_id, at in instants.items() if at is not None}


# Who waits for an order is found by the orders that are new here, who waits for what becomes of a message by what providers told: nobody
# who merely waits is looked at.
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


@lru_cache
def _new(is_sqlite: bool, of_orders: bool) -> str:
    """(enrolment, instant) of those whose wait for an order, or for what becomes of a message, ends by what is new."""
    told, own, index = (
        (_NEW_ORDERS, _OF_ORDER, " INDEXED BY ix_enrolments_member")
        if of_orders
        else (_NEW_DELIVERIES, _OF_MESSAGE, "")
    )
    active = "AND e.state = 'active'"
    if is_sqlite:
        # Without figures about the table it may take the index of what is due, and read all who wait.
        asked = told.format(inside=f"CROSS JOIN enrolments AS e{index}", on=f"AND {own.replace('x.', 'e.')} {active}")
    else:
        # Asked for each that is new, by the key alone: else PostgreSQL may hold all that is new against all who are inside, or take for
        # each the index of those inside, and read them all.
        each = f"CROSS JOIN LATERAL (SELECT x.* FROM enrolments AS x WHERE {own} OFFSET 0) AS e"  # noqa: S608
        asked = told.format(inside=each, on=active)
    return f"{asked} GROUP BY e.enrolment_id"


_NOTHING = "SELECT CAST(NULL AS BIGINT) AS enrolment_id, CAST(NULL AS BIGINT) AS at WHERE FALSE"


def heard(is_sqlite: bool, kinds: Iterable[str]) -> str:
    """Those of a journey whose wait ends by what was told since `since`: (enrolment_id, at), when it happened.

    `kinds` are what the journey's steps do, in the words of `document.kinds`.
    """
    waited = {kind.removeprefix(_WAIT) for kind in kinds if kind.startswith(_WAIT)}
    found = [_new(is_sqlite, True)] if ORDER in waited else []
    if waited - {ORDER}:
        found.append(_new(is_sqlite, False))
    return " UNION ALL ".join(found) or _NOTHING


def heard_since(journey: Journey, now: datetime) -> int:
    """Since when something may have been told that was not heard so far."""
    begun, mark = journey.enabled_at or now, journey.planned_through
    return to_micros((mark if mark is not None and mark <= now else begun) - LATE_OVERLAP)


def _until(group: Group, until: Mapping[str, str], stays: Sequence[Stay]) -> Callable[[Stay], int]:
    """The next time it is that weekday and hour where each lives."""
    oldest = from_micros(min(stay.base_at for stay in stays))

    @cache
    def ends(zone: str) -> list[int]:
        return [end for _start, end in spans(until, _known(zone, group.shop), oldest, group.now)]

    def till(stay: Stay) -> int:
        instants = ends(stay.zone)
        return instants[bisect_left(instants, stay.base_at)]

    return till


def _until_occasion(group: Group, until: Mapping[str, Any]) -> Callable[[Stay], int]:
    """That hour of the day that each one's occasion is about, or so many days from it; at once where it is over."""
    at, days = read_time(until["at"]), timedelta(days=until["occasion"])

    @cache
    def instant(zone: str, number: int) -> int:
        return to_micros(at_local(from_day_number(number) + days, at, _known(zone, group.shop)))

    return lambda stay: max(instant(stay.zone, stay.occasion_on), stay.base_at)


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
