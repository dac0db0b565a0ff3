"""From a draft to what runs, and its pauses: save, publish, pause, look at what became late, go on, archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, case, func, select, type_coerce, update

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store import enrolments, journeys, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import confirming
from crm_plugin.touchpoints.journey import ARCHIVED, PAUSED, Draft, Journey, as_drafted
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.journeys import get, hold, save, switch
from crm_plugin.touchpoints.plan import coming
from crm_plugin.touchpoints.states import WAITING, State
from crm_plugin.touchpoints.steps import ending, insiders
from crm_plugin.touchpoints.versions import versions


def save_draft(connection: Connection, shop: Shop, told: Mapping[str, Any], now: datetime) -> Draft:
    """Keep a document beside what runs; a journey that is new is kept as its first version, switched off.

    Raises: InvalidInput, RuleError for what cannot be read; what it lacks to run is told when it is published.
    """
    draft = read_draft({**told, "enabled": None})
    j = journeys.c
    mine = (j.shop_id == shop.shop_id, j.journey_key == draft.key)
    document = {name: value for name, value in told.items() if name != "enabled"}
    if not connection.execute(update(journeys).where(*mine).values(draft=document, updated_at=now)).rowcount:
        save(connection, shop, draft, now)
    return draft


def discard(connection: Connection, shop: Shop, key: str, now: datetime) -> Journey:
    """Forget the document that is kept beside what runs. Raises: NotFound."""
    hold(connection, shop.shop_id, key)
    _set(connection, shop, key, draft=None, updated_at=now)
    return get(connection, shop.shop_id, key)


def publish(
    connection: Connection, shop: Shop, key: str, now: datetime, *, actor: str = "", typed: str = ""
) -> Journey:
    """Make the draft (or, without one, what was saved) the version that runs, and switch it on. Whoever is inside stays on theirs.

    `typed` is the number of people, which a campaign to many asks for (`confirming.py`). Raises: NotFound, InvalidInput, RuleError naming
    the place of what it lacks; nothing is published then.
    """
    journey = hold(connection, shop.shop_id, key)
    j = journeys.c
    mine = (j.shop_id == shop.shop_id, j.journey_key == key)
    connection.execute(update(journeys).where(*mine).values(draft=None, archived_at=None))
    if journey.draft is not None:
        save(connection, shop, read_draft({**journey.draft, "enabled": None}), now, actor=actor)
    return switch_on(connection, shop, key, now, typed=typed)


def switch_on(connection: Connection, shop: Shop, key: str, now: datetime, *, typed: str = "") -> Journey:
    """Let it run as it was saved; a campaign to many asks for the number of people. Raises: as `publish`."""
    journey = switch(connection, shop, key, True, now)
    confirming.require(shop, confirming.people(connection, shop, journey, now), typed)
    return journey


def take_in(connection: Connection, shop: Shop, journey: Journey, most: int, now: datetime, *, typed: str = "") -> int:
    """Take in at most so many whom the audience holds already; many ask for their number. Answers how many.

    Raises: InvalidInput, NotFound, RuleError.
    """
    confirming.require(shop, min(most, insiders.count(connection, shop, journey, now)), typed)
    return insiders.take_in(connection, shop, journey, most, now)


def edited(journey: Journey) -> Journey:
    """The journey as it would be once its draft is published; itself where there is none. Raises: InvalidInput, RuleError."""
    return journey if journey.draft is None else as_drafted(journey, read_draft({**journey.draft, "enabled": None}))


def pause(connection: Connection, shop: Shop, key: str, now: datetime) -> Journey:
    """Let it rest: nothing is planned, nobody comes in or goes on, and what waits is not sent. Raises: NotFound, InvalidInput."""
    journey = hold(connection, shop.shop_id, key)
    if not journey.enabled:
        raise InvalidInput(
            phrase("The journey %(key)s is not on.", key=key),
            field="journey",
            hint=phrase("There is nothing to pause."),
        )
    if journey.paused_at is None:
        _set(connection, shop, key, paused_at=now, updated_at=now)
    return get(connection, shop.shop_id, key)


@dataclass(frozen=True, slots=True)
class Late:
    """What became due while a journey was paused, or its shop's rounds did not run: still worth sending, or over.

    `messages` wait already; `occasions` of the trigger are still to be planned; `inside` are enrolments with a step due.
    """

    messages_valid: int
    messages_missed: int
    occasions_valid: int
    occasions_missed: int
    inside_valid: int
    inside_missed: int

    @property
    def valid(self) -> int:
        """How many will go on as if nothing had been."""
        return self.messages_valid + self.occasions_valid + self.inside_valid

    @property
    def missed(self) -> int:
        """How many messages will never leave."""
        return self.messages_missed + self.occasions_missed + self.inside_missed

    def as_dict(self) -> dict[str, int]:
        return {**asdict(self), "valid": self.valid, "missed": self.missed}


def late(connection: Connection, shop: Shop, key: str, now: datetime) -> Late:
    """What going on would bring at this instant. Raises: NotFound, RuleError when its audience cannot be asked."""
    journey = get(connection, shop.shop_id, key)
    t = touchpoints.c
    mine = (
        t.shop_id == shop.shop_id,
        t.journey_key == key,
        t.state.in_([state.value for state in WAITING]),
        t.due_at <= now,
    )
    query = select(func.count(), func.count(case((t.valid_until <= now, 1)))).where(*mine)
    waiting, over = connection.execute(query).one()
    coming_, gone = _occasions(connection, shop, journey, now)
    inside, stale = _inside(connection, shop, journey, now)
    return Late(waiting - over, over, coming_ - gone, gone, inside - stale, stale)


def _occasions(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> tuple[int, int]:
    """Occasions since the mark that would be spoken of, and how many of them are past their window."""
    since = journey.planned_through or journey.enabled_at
    if since is None or since >= now:
        return 0, 0
    judged = coming(connection, shop, journey, since, now)
    if judged is None:
        return 0, 0
    columns = judged.c
    over = type_coerce(columns.valid_until, BigInteger) <= to_micros(now)
    query = select(func.count(), func.count(case((over, 1)))).where(columns.state == State.PLANNED.value)
    found, gone = connection.execute(query).one()
    return found, gone


def _inside(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> tuple[int, int]:
    """Enrolments with a step that is due, and how many of them stand before a message whose window is over."""
    e = enrolments.c
    due = (e.shop_id == shop.shop_id, e.journey_key == journey.key, e.state == ending.ACTIVE, e.due_at <= now)
    query = select(e.version, e.step_key, e.due_at, func.count()).where(*due, e.phase != ending.SENT)
    rows = connection.execute(query.group_by(e.version, e.step_key, e.due_at)).all()
    known = versions(connection, shop.shop_id, journey, {row.version for row in rows})
    total = stale = 0
    for number, step_key, due_at, count in rows:
        total += count
        version = known.get(number)
        place = version.journey.flow.path.get(step_key) if version is not None else None
        if version is not None and place is not None and place.step.kind == "send":
            window = timedelta(days=version.voice(step_key).validity_days)
            stale += count if due_at + window <= now else 0
    return total, stale


@dataclass(frozen=True, slots=True)
class Inside:
    """How many stand at a step of a version."""

    version: int
    step_key: str
    count: int


def inside(connection: Connection, shop: Shop, key: str) -> list[Inside]:
    """Who is inside a journey by version and step."""
    e = enrolments.c
    mine = (e.shop_id == shop.shop_id, e.journey_key == key, e.state == ending.ACTIVE)
    query = select(e.version, e.step_key, func.count()).where(*mine).group_by(e.version, e.step_key)
    return sorted((Inside(*row) for row in connection.execute(query)), key=lambda one: (one.version, one.step_key))


def resume(connection: Connection, shop: Shop, key: str, now: datetime) -> tuple[Journey, Late]:
    """Let it go on from where it stopped; answers what that brings, which `late` tells before. Raises: NotFound, InvalidInput."""
    journey = hold(connection, shop.shop_id, key)
    if journey.status != PAUSED:
        raise InvalidInput(
            phrase("The journey %(key)s is not paused.", key=key),
            field="journey",
            hint=phrase("There is nothing to go on with."),
        )
    brings = late(connection, shop, key, now)
    _set(connection, shop, key, paused_at=None, updated_at=now)
    return get(connection, shop.shop_id, key), brings


def archive(connection: Connection, shop: Shop, key: str, now: datetime) -> tuple[Journey, int]:
    """Put it away: what waits is cancelled, and whoever is inside ends with that reason; answers how many these were. Raises: NotFound."""
    journey = hold(connection, shop.shop_id, key)
    if journey.status == ARCHIVED:
        return journey, 0
    ended = ending.end_all(connection, shop.shop_id, key, ending.ARCHIVED, now)
    switch(connection, shop, key, False, now)
    _set(connection, shop, key, archived_at=now, paused_at=None, updated_at=now)
    return get(connection, shop.shop_id, key), ended


def _set(connection: Connection, shop: Shop, key: str, **values: Any) -> None:
    j = journeys.c
    connection.execute(update(journeys).where(j.shop_id == shop.shop_id, j.journey_key == key).values(**values))
