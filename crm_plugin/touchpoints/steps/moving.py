"""Moving those inside to the newest version: never by itself, and looked at before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, text

from crm_plugin.store import enrolments
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journeys import get, hold
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.versions import Version, versions


@dataclass(frozen=True, slots=True)
class Standing:
    """How many stand at a step of an older version, and where they would go on: at the step of the same key, or (empty) nowhere,
    for the newest version has no such step, or one that does something else. They stay on theirs."""

    version: int
    step_key: str
    count: int
    to_step: str


def preview(connection: Connection, shop: Shop, key: str) -> list[Standing]:
    """Those inside by version and step, the oldest version first; without those who are on the newest. Raises: NotFound."""
    journey = get(connection, shop.shop_id, key)
    e = enrolments.c
    inside = (e.shop_id == shop.shop_id, e.journey_key == key, e.state == ending.ACTIVE, e.version != journey.version)
    query = select(e.version, e.step_key, func.count()).where(*inside).group_by(e.version, e.step_key)
    rows = connection.execute(query.order_by(e.version)).all()
    known = versions(connection, shop.shop_id, journey, {journey.version, *(row.version for row in rows)})
    newest = known[journey.version]
    found = [Standing(number, step, count, _goes(known[number], newest, step)) for number, step, count in rows]
    order = newest.journey.flow.path
    return sorted(found, key=lambda one: (one.version, order[one.to_step].order if one.to_step else -1, one.step_key))


def _goes(present: Version, newest: Version, step_key: str) -> str:
    """The same step in the newest version; empty where it is gone, or is another kind of step there."""
    old, new = present.journey.flow.path.get(step_key), newest.journey.flow.path.get(step_key)
    same = old is not None and new is not None and old.step.kind == new.step.kind and set(old.goes) == set(new.goes)
    return step_key if same else ""


_STANDING = (
    "e.shop_id = :shop_id AND e.journey_key = :journey_key AND e.state = 'active' AND e.version = :from_version "
    "AND e.step_key IN :steps"
)
_EVENTS = text(
    "INSERT INTO enrolment_events (shop_id, enrolment_id, seq, at, what, version, step_key, to_step, phase, base_at, due_at, "  # noqa: S608
    "reason, detail) SELECT e.shop_id, e.enrolment_id, e.seq + 1, CAST(:now AS BIGINT), 'moved', CAST(:to_version AS INTEGER), e.step_key, "
    f"e.step_key, e.phase, e.base_at, e.due_at, '', CAST(:told AS TEXT) FROM enrolments AS e WHERE {_STANDING} ON CONFLICT DO NOTHING"
).bindparams(bindparam("steps", expanding=True))
_MOVE = text(
    "UPDATE enrolments SET version = :to_version, seq = seq + 1, updated_at = :now "  # noqa: S608
    f"WHERE {_STANDING.replace('e.', '')}"
).bindparams(bindparam("steps", expanding=True))


def move(connection: Connection, shop: Shop, key: str, now: datetime) -> tuple[int, list[Standing]]:
    """Move everybody whose step is there to the newest version, where they stand; answers how many, and who stays. Raises: NotFound.

    What they wait for and what they were sent stays as it was: a wait that lasts ends when it was to end.
    """
    to = hold(connection, shop.shop_id, key).version
    seen = preview(connection, shop, key)
    moved = 0
    for number in sorted({one.version for one in seen if one.to_step}):
        steps = [one.step_key for one in seen if one.version == number and one.to_step]
        ours = {"shop_id": shop.shop_id, "journey_key": key, "from_version": number, "steps": steps, "to_version": to}
        connection.execute(_EVENTS, {**ours, "now": to_micros(now), "told": str(number)})
        moved += int(connection.execute(_MOVE, {**ours, "now": to_micros(now)}).rowcount)
    return moved, [one for one in seen if not one.to_step]
