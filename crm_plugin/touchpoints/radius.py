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

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, literal_column, not_, select, text, update

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store import audit, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import glance
from crm_plugin.touchpoints.caps import exempt_rows
from crm_plugin.touchpoints.guard_settings import Blast
from crm_plugin.touchpoints.holdout import WHOLE, share_sql
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import get
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.states import WAITING, Reason
from crm_plugin.touchpoints.versions import voices
from crm_plugin.touchpoints.wave_figures import concerned, due_by_journey, figures_of
from crm_plugin.touchpoints.waves import CANARY, CLEAR, HELD, RELEASED, Wave, all_waves, keep, next_wave

_DAY = timedelta(days=1)
_WAITING = [state.value for state in WAITING]


def look(db: Database, shop: Shop, now: datetime) -> dict[str, str]:
    """Hold back what has to be held back; answers the journeys whose state changed: key → state."""
    if _is_quiet(db, shop.shop_id, now):
        return {}
    blast = policy_of(shop).blast
    with db.write() as connection:
        journeys = voices(connection, shop.shop_id, ())
        due = due_by_journey(connection, shop.shop_id, journeys, now)
        waves = all_waves(connection, shop.shop_id)
        if not due and not any(wave.state == CANARY for wave in waves.values()):
            return {}
        figures = figures_of(connection, shop, journeys, due, now)
        changed: dict[str, str] = {}
        for journey in journeys.journeys.values():
            if not journey.enabled or not (concerned(journey) or due.get(journey.key)):
                continue
            before = waves.get(journey.key)
            wave = next_wave(before, journey, figures[journey.key], blast, now)
            if wave is not None and wave != before:
                keep(connection, shop.shop_id, wave, now)
                if before is None or (wave.state, wave.since) != (before.state, before.since):
                    changed[journey.key] = wave.state
            if wave is not None and wave.state in (CANARY, HELD) and due.get(journey.key):
                _hold_back(connection, shop.shop_id, journey, wave, blast, now)
    return changed


def _is_quiet(db: Database, shop_id: int, now: datetime) -> bool:
    """Whether nothing is due and no canary is out, so that there is nothing to decide."""
    with db.read() as connection:
        return connection.execute(_ANYTHING, {"shop_id": shop_id, "now": to_micros(now)}).first() is None


_ANYTHING = text(
    # Of EXISTS PostgreSQL would forget the order.
    f"SELECT 1 WHERE ({glance.DUE}) = 1 "  # noqa: S608
    f"OR EXISTS (SELECT 1 FROM journey_waves WHERE shop_id = :shop_id AND state = '{CANARY}')"
)


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
    if policy_of(shop).blast.asks(count) and typed.strip() != str(count):
        raise InvalidInput(
            phrase("%(count)s messages would go out.", count=count),
            field="confirm",
            hint=phrase("Type %(count)s to let them go.", count=count),
        )
    # For a day it is not held against the forecast; what comes back and is reported counts from now.
    let_go = Wave(key, CLEAR, RELEASED, journey.version, now, now + _DAY, max(count, wave.waiting), wave.detail)
    keep(connection, shop.shop_id, let_go, now)
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


def held_back(connection: Connection, shop_id: int, key: str) -> int:
    """How many messages of a journey wait for it to be let go."""
    t = touchpoints.c
    query = select(func.count()).where(
        _of(shop_id, key), t.state.in_(_WAITING), t.reason == Reason.BLAST_RADIUS.value, t.reason != ""
    )
    return connection.execute(query).scalar_one()


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
