"""How far a mistake can reach: many messages of one journey at once go out as a small share first, and stop when something looks wrong.

- A journey with more than `above` messages due sends those of a share of its members (the canary, always the same ones) and keeps the rest
  back for some hours, never beyond the middle of what is left of their validity. A size that went well needs no canary for a week, nor one
  up to three times as large, as long as the journey is not edited.
- It stands still (held) when on one day three times as many fell due as it was expected to plan or ever did on a day of the last four
  weeks, or when too many of what it sent within a day came back or were reported as spam. Held, it sends nothing until the merchant lets it
  go; what passes its window meanwhile is missed, and says so.

Messages about a member's own order and what a step tells another program are not concerned, whatever else their journey sends. It is looked
at once a round, in a fixed number of statements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, literal_column, not_, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from crm_plugin.clock import at_local, local_day
from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.store import audit, journey_forecasts, journey_waves, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import glance
from crm_plugin.touchpoints.caps import exempt, exempt_rows
from crm_plugin.touchpoints.claims import HELD as HELD
from crm_plugin.touchpoints.guard_settings import Blast
from crm_plugin.touchpoints.holdout import WHOLE, share_sql
from crm_plugin.touchpoints.journeys import Journey, get
from crm_plugin.touchpoints.plan import forecast_journey
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.states import WAITING, Reason, State
from crm_plugin.touchpoints.versions import Voices, voices

CANARY, CLEAR = "canary", "clear"
# Why a journey stands still, and that somebody let it go.
FORECAST, COMPLAINTS, BOUNCES, RELEASED = "forecast", "complaints", "bounces", "released"
_TIMES = 3
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)
_BUSIEST_OF = timedelta(days=28)
# A share says nothing of so few.
_FEWEST = {COMPLAINTS: 3, BOUNCES: 10}
_WAITING = [state.value for state in WAITING]
# What tells of a touchpoint whether it is bounded.
_SPOKEN = (touchpoints.c.journey_key, touchpoints.c.journey_version, touchpoints.c.step)


@dataclass(frozen=True, slots=True)
class Wave:
    """What stands of a journey: canary, clear or held, since and until when, and the figures that decided."""

    journey_key: str
    state: str
    cause: str
    version: int
    since: datetime
    until: datetime
    waiting: int
    detail: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            "journey": self.journey_key,
            "state": self.state,
            "cause": self.cause,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "waiting": self.waiting,
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """One journey now: how many are due, how many fell due today, how many it was expected to plan, and what became of what it sent."""

    due: int = 0
    today: int = 0
    expected: int | None = None
    sent: int = 0
    complaints: int = 0
    bounces: int = 0


def look(db: Database, shop: Shop, now: datetime) -> dict[str, str]:
    """Hold back what has to be held back; answers the journeys whose state changed: key → state."""
    if _is_quiet(db, shop.shop_id, now):
        return {}
    blast = policy_of(shop).blast
    with db.write() as connection:
        journeys = voices(connection, shop.shop_id, ())
        due = _due(connection, shop.shop_id, journeys, now)
        waves = all_waves(connection, shop.shop_id)
        if not due and not any(wave.state == CANARY for wave in waves.values()):
            return {}
        figures = _figures(connection, shop, journeys, due, now)
        changed: dict[str, str] = {}
        for journey in journeys.journeys.values():
            if not journey.enabled or not (_concerned(journey) or due.get(journey.key)):
                continue
            before = waves.get(journey.key)
            wave = next_wave(before, journey, figures[journey.key], blast, now)
            if wave is not None and wave != before:
                _keep(connection, shop.shop_id, wave, now)
                if before is None or (wave.state, wave.since) != (before.state, before.since):
                    changed[journey.key] = wave.state
            if wave is not None and wave.state in (CANARY, HELD) and due.get(journey.key):
                _hold_back(connection, shop.shop_id, journey, wave, blast, now)
    return changed


def _concerned(journey: Journey) -> bool:
    """Whether it sends anything that is bounded."""
    return not all(exempt(voice) for voice in journey.voices)


def _is_quiet(db: Database, shop_id: int, now: datetime) -> bool:
    """Whether nothing is due and no canary is out, so that there is nothing to decide."""
    with db.read() as connection:
        return connection.execute(_ANYTHING, {"shop_id": shop_id, "now": to_micros(now)}).first() is None


_ANYTHING = text(
    f"SELECT 1 WHERE EXISTS ({glance.DUE}) "  # noqa: S608
    f"OR EXISTS (SELECT 1 FROM journey_waves WHERE shop_id = :shop_id AND state = '{CANARY}')"
)


def next_wave(before: Wave | None, journey: Journey, seen: Figures, blast: Blast, now: datetime) -> Wave | None:
    """What becomes of a journey by these figures; None where there is nothing to say."""
    if before is not None and before.state == HELD:
        return before
    if (cause := _trouble(before, seen, blast, now)) is not None:
        return _wave(journey, HELD, cause, seen, now, now)
    if before is not None and before.state == CANARY:
        if now < before.until:
            return before
        return Wave(journey.key, CLEAR, "", before.version, now, now + _WEEK, before.waiting, before.detail)
    if blast.above and seen.due > blast.above and not _is_cleared(before, journey, seen, now):
        return _wave(journey, CANARY, "", seen, now, now + timedelta(hours=blast.hold_hours))
    return before


def _trouble(before: Wave | None, seen: Figures, blast: Blast, now: datetime) -> str | None:
    """Why it has to stop, if it has to."""
    let_go = before is not None and before.cause == RELEASED and now < before.until
    if (
        blast.above
        and seen.expected is not None
        and not let_go
        and seen.today > max(_TIMES * seen.expected, blast.above)
    ):
        return FORECAST
    for cause, count, pct in (
        (COMPLAINTS, seen.complaints, blast.complaints_pct),
        (BOUNCES, seen.bounces, blast.bounces_pct),
    ):
        if pct and count >= _FEWEST[cause] and count * 100 >= pct * seen.sent:
            return cause
    return None


def _is_cleared(before: Wave | None, journey: Journey, seen: Figures, now: datetime) -> bool:
    if before is None or before.state != CLEAR or now >= before.until:
        return False
    return before.version == journey.version and seen.due <= _TIMES * before.waiting


def _wave(journey: Journey, state: str, cause: str, seen: Figures, since: datetime, until: datetime) -> Wave:
    detail = {
        "due": seen.due,
        "today": seen.today,
        "expected": seen.expected,
        "sent": seen.sent,
        "complaints": seen.complaints,
        "bounces": seen.bounces,
    }
    return Wave(journey.key, state, cause, journey.version, since, until, seen.due, detail)


def release(connection: Connection, shop: Shop, key: str, now: datetime, actor: str, typed: str = "") -> int:
    """Let a journey go that is held, or whose rest waits for its canary; answers how many messages that is.

    Above a size (`confirm_above`) that number has to be typed. Raises: NotFound, InvalidInput when nothing is held back, or when the number
    is not the right one, which is told then.
    """
    journey = get(connection, shop.shop_id, key)
    wave = all_waves(connection, shop.shop_id).get(key)
    if wave is None or wave.state not in (HELD, CANARY):
        raise InvalidInput(phrase("Nothing of the journey %(key)s is held back.", key=key), field="journey")
    count = held_back(connection, shop.shop_id, key)
    if count > policy_of(shop).blast.confirm_above and typed.strip() != str(count):
        raise InvalidInput(
            phrase("%(count)s messages would go out.", count=count),
            field="confirm",
            hint=phrase("Type %(count)s to let them go.", count=count),
        )
    # For a day it is not held against the forecast; what comes back and is reported counts from now.
    let_go = Wave(key, CLEAR, RELEASED, journey.version, now, now + _DAY, max(count, wave.waiting), wave.detail)
    _keep(connection, shop.shop_id, let_go, now)
    t = touchpoints.c
    connection.execute(
        update(touchpoints)
        .where(
            _of(shop.shop_id, key), t.state.in_(_WAITING), t.reason == Reason.BLAST_RADIUS.value, t.next_try_at > now
        )
        .values(next_try_at=now, updated_at=now)
    )
    audit.note(connection, shop.shop_id, actor, "journey.released", {"journey": key, "messages": count}, now)
    return count


def all_waves(connection: Connection, shop_id: int) -> dict[str, Wave]:
    """What stands of each journey that ever had many messages at once."""
    w = journey_waves.c
    rows = connection.execute(select(journey_waves).where(w.shop_id == shop_id))
    return {row.journey_key: _of_row(row) for row in rows}


def held_back(connection: Connection, shop_id: int, key: str) -> int:
    """How many messages of a journey wait for it to be let go."""
    t = touchpoints.c
    query = select(func.count()).where(
        _of(shop_id, key), t.state.in_(_WAITING), t.reason == Reason.BLAST_RADIUS.value, t.reason != ""
    )
    return connection.execute(query).scalar_one()


def note_forecasts(db: Database, shop: Shop, day: date) -> int:
    """Look up what each journey will plan on a day, before it begins: a day that brings far more is stopped. Answers how many are kept.

    Beside it stands the busiest day of the last four weeks, for what no calendar can foresee.
    """
    begins = at_local(day, time(), shop.timezone)
    ends = at_local(day + timedelta(days=1), time(), shop.timezone)
    with db.write() as connection:
        journeys = voices(connection, shop.shop_id, ())
        busiest = _busiest(connection, shop.shop_id, journeys, begins)
        kept = []
        for journey in journeys.journeys.values():
            # One that was switched on within a day has no day to be held against.
            if not journey.enabled or not _concerned(journey) or (journey.enabled_at or begins) > begins - _DAY:
                continue
            try:
                coming = forecast_journey(connection, shop, journey, begins, ends)
            except RuleError:
                continue
            planned = max(sum(one.planned + one.skipped for one in coming), busiest.get(journey.key, 0))
            kept.append({"shop_id": shop.shop_id, "journey_key": journey.key, "day": day, "planned": planned})
        f = journey_forecasts.c
        connection.execute(journey_forecasts.delete().where(f.shop_id == shop.shop_id, f.day <= day))
        if kept:
            connection.execute(journey_forecasts.insert(), kept)
    return len(kept)


def _busiest(connection: Connection, shop_id: int, journeys: Voices, before: datetime) -> dict[str, int]:
    t = touchpoints.c
    day: Any = literal_column("due_at / 86400000000").label("day")
    query = (
        select(*_SPOKEN, day, func.count().label("many"))
        .where(t.shop_id == shop_id, t.due_at > before - _BUSIEST_OF, t.due_at <= before)
        .group_by(*_SPOKEN, day)
    )
    daily: Counter[tuple[str, int]] = Counter()
    for row in _bounded(connection, shop_id, journeys, query):
        daily[row.journey_key, row.day] += row.many
    most: dict[str, int] = {}
    for (key, _), many in daily.items():
        most[key] = max(many, most.get(key, 0))
    return most


def _due(connection: Connection, shop_id: int, journeys: Voices, now: datetime) -> dict[str, int]:
    t = touchpoints.c
    query = select(*_SPOKEN, func.count()).where(
        t.shop_id == shop_id, t.state.in_(_WAITING), t.next_try_at <= now, t.valid_until > now
    )
    return {key: told[0] for key, told in _sums(connection, shop_id, journeys, query).items()}


def _bounded(connection: Connection, shop_id: int, journeys: Voices, query: Select[Any]) -> list[Row[Any]]:
    """The rows of a query by `_SPOKEN` that are bounded."""
    rows = connection.execute(query).all()
    journeys.learn(connection, shop_id, rows)
    return [row for row in rows if not exempt(journeys.of(row))]


def _sums(connection: Connection, shop_id: int, journeys: Voices, query: Select[Any]) -> dict[str, tuple[int, ...]]:
    """Journey → the sums of what a query counts beside `_SPOKEN`, over what is bounded."""
    found: dict[str, tuple[int, ...]] = {}
    for row in _bounded(connection, shop_id, journeys, query.group_by(*_SPOKEN)):
        counts = tuple(int(value) for value in row[len(_SPOKEN) :])
        found[row.journey_key] = tuple(
            map(sum, zip(counts, found.get(row.journey_key, (0,) * len(counts)), strict=True))
        )
    return found


def _figures(
    connection: Connection, shop: Shop, journeys: Voices, due: Mapping[str, int], now: datetime
) -> dict[str, Figures]:
    t, w, f = touchpoints.c, journey_waves.c, journey_forecasts.c
    today = local_day(now, shop.timezone)
    fell = select(*_SPOKEN, func.count()).where(
        t.shop_id == shop.shop_id, t.due_at >= at_local(today, time(), shop.timezone), t.due_at <= now
    )
    fallen = _sums(connection, shop.shop_id, journeys, fell)
    planned = select(f.journey_key, f.planned).where(f.shop_id == shop.shop_id, f.day == today)
    expected = {key: int(count) for key, count in connection.execute(planned)}
    since_release = or_(w.cause.is_(None), w.cause != RELEASED, t.accepted_at > w.since)
    became = {
        state: func.sum(case((t.state == state.value, 1), else_=0)) for state in (State.COMPLAINED, State.BOUNCED)
    }
    query = (
        select(*_SPOKEN, func.count(), became[State.COMPLAINED], became[State.BOUNCED])
        .select_from(touchpoints)
        .outerjoin(journey_waves, and_(w.shop_id == t.shop_id, w.journey_key == t.journey_key))
        .where(t.shop_id == shop.shop_id, t.accepted_at > now - _DAY, t.accepted_at.is_not(None), since_release)
    )
    sent = _sums(connection, shop.shop_id, journeys, query)
    return {
        key: Figures(due.get(key, 0), fallen.get(key, (0,))[0], expected.get(key), *sent.get(key, (0, 0, 0)))
        for key in journeys.journeys
    }


def _hold_back(connection: Connection, shop_id: int, journey: Journey, wave: Wave, blast: Blast, now: datetime) -> None:
    """Of a canary's wave all but the canary, for its hours; of what is held all, which the claim leaves alone."""
    t = touchpoints.c
    held = and_(
        _of(shop_id, journey.key),
        t.state.in_(_WAITING),
        t.next_try_at <= now,
        t.valid_until > now,
        t.reason != Reason.BLAST_RADIUS.value,
        not_(exempt_rows(connection, shop_id, {journey.key: journey})),
    )
    values: dict[str, Any] = {"reason": Reason.BLAST_RADIUS.value, "reason_detail": "", "updated_at": now}
    if wave.state == CANARY:
        share = share_sql(shop_id, journey.key, CANARY, "touchpoints.member_id")
        held &= text(f"{share} >= {round(blast.canary_pct * WHOLE / 100)}")
        # What is worth reading for less than twice as long goes on in the middle of it.
        half = f"(valid_until + {to_micros(now)}) / 2"
        until = to_micros(wave.until)
        values["next_try_at"] = literal_column(f"CASE WHEN {half} < {until} THEN {half} ELSE {until} END")
    connection.execute(update(touchpoints).where(held).values(**values))


def _of(shop_id: int, key: str) -> Any:
    return (touchpoints.c.shop_id == shop_id) & (touchpoints.c.journey_key == key)


def _keep(connection: Connection, shop_id: int, wave: Wave, now: datetime) -> None:
    add = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = {
        "state": wave.state,
        "cause": wave.cause,
        "version": wave.version,
        "since": wave.since,
        "until": wave.until,
        "waiting": wave.waiting,
        "detail": dict(wave.detail),
        "updated_at": now,
    }
    connection.execute(
        add(journey_waves)
        .values(shop_id=shop_id, journey_key=wave.journey_key, **values)
        .on_conflict_do_update(index_elements=["shop_id", "journey_key"], set_=values)
    )


def _of_row(row: Row[Any]) -> Wave:
    return Wave(row.journey_key, row.state, row.cause, row.version, row.since, row.until, row.waiting, row.detail or {})
