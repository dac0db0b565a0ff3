"""Everything a batch of claimed touchpoints needs, read in a handful of statements however large the batch is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Row, select

from crm_plugin.clock import local_day
from crm_plugin.errors import RuleError
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.trigger_events import program_of
from crm_plugin.rules.trigger_kinds import MEMBER, PAUSE
from crm_plugin.rules.triggers import BIRTHDAY, kind_of
from crm_plugin.store import (
    coupon_codes,
    enrolments,
    journey_waves,
    members,
    templates,
)
from crm_plugin.store.lists import among
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import caps, cases, greetings, in_step, known, level, once, subjects
from crm_plugin.touchpoints.audience import arrived, meant, rule_of
from crm_plugin.touchpoints.caps import Ledger
from crm_plugin.touchpoints.due import holding
from crm_plugin.touchpoints.in_step import InStep
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.level import Levels
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.prefilled import Prefilled
from crm_plugin.touchpoints.render import Text, names_of
from crm_plugin.touchpoints.steps.expiry import last_days
from crm_plugin.touchpoints.subjects import Subjects
from crm_plugin.touchpoints.texts import text_of
from crm_plugin.touchpoints.versions import Spoken, Voices, voices
from crm_plugin.touchpoints.waves import HELD


class Subject(Protocol):
    """Whom and what a message is about: a claimed touchpoint, or a made-up one of a preview."""

    @property
    def journey_key(self) -> str: ...

    @property
    def member_id(self) -> int: ...

    @property
    def address(self) -> str: ...

    @property
    def occasion_on(self) -> date: ...

    @property
    def subject_order_id(self) -> int | None: ...


@dataclass(slots=True)
class Batch:
    """What is known of the members, orders, journeys and texts of the touchpoints in hand, on the shop's day `today`."""

    today: date
    members: dict[int, Row[Any]] = field(default_factory=dict)
    facts: dict[int, Row[Any]] = field(default_factory=dict)
    consents: dict[int, dict[tuple[str, str], str]] = field(default_factory=lambda: defaultdict(dict))
    suppressed: dict[tuple[str, str], str] = field(default_factory=dict)
    # By programme, of those that the journeys in hand speak of.
    levels: dict[str, Levels] = field(default_factory=dict)
    orders: dict[int, Row[Any]] = field(default_factory=dict)
    lines: dict[int, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    # Where the store shows each product, by its id there.
    pages: dict[str, str] = field(default_factory=dict)
    voices: Voices = field(default_factory=lambda: Voices({}))
    # (journey, member, occasion) of whoever is inside → what they came in for, and the code of a coupon.
    causes: dict[tuple[str, int, str], str] = field(default_factory=dict)
    coupons: dict[tuple[str, int, str], str] = field(default_factory=dict)
    # The last day of each of these codes that has an end.
    coupon_ends: dict[str, date] = field(default_factory=dict)
    # The events, checkouts and days that the occasions in hand name.
    subjects: Subjects = field(default_factory=Subjects)
    texts: dict[tuple[str, str], dict[str, Text]] = field(default_factory=lambda: defaultdict(dict))
    # (journey, channel, language of a member) → the text it is told by, with what all its readers have alike.
    words: dict[tuple[str, str, str], Prefilled] = field(default_factory=dict)
    in_audience: dict[str, set[int]] = field(default_factory=dict)
    # Of a journey with a goal, who has reached it.
    at_goal: dict[str, set[int]] = field(default_factory=dict)
    # Why the audience or the goal of a journey cannot be asked; nobody is in it then.
    unasked: dict[str, str] = field(default_factory=dict)
    # What has left already: (journey, member) → the lapses, (journey, order) → to whom.
    lapses: dict[tuple[str, int], dict[str, datetime]] = field(default_factory=dict)
    told: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    # (journey, member) → the occasions of which something has left, of journeys that speak to a member once ever.
    spoken: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    # Of a journey whose occasions are looked for again: the members and occasions that are still found.
    holding: dict[str, set[tuple[int, str]]] = field(default_factory=dict)
    in_step: InStep = field(default_factory=InStep)
    # What counts towards the limits of the members, and what they chose themselves.
    ledger: Ledger = field(default_factory=Ledger)
    # Who has an open case, and which.
    cases: dict[int, str] = field(default_factory=dict)
    # By touchpoint: whether another journey has written about the birthday (True), or goes first.
    greeted: dict[tuple[int, datetime], bool] = field(default_factory=dict)
    # The journeys that stand still.
    held: set[str] = field(default_factory=set)

    @property
    def journeys(self) -> dict[str, Journey]:
        """The shop's journeys as they are, by key."""
        return self.voices.journeys

    def journey_of(self, row: Spoken) -> Journey | None:
        """The journey as it speaks in a touchpoint; None when it, or its step, is not there."""
        return self.voices.of(row)

    def program_of(self, row: Spoken) -> str:
        """The tier programme that a touchpoint's journey speaks of."""
        journey = self.journey_of(row)
        return PROGRAM_KEY if journey is None else program_of(journey.trigger)

    def occasion_of(self, row: Any) -> str:
        """The trigger's occasion: a touchpoint's own, or what the enrolment came in for; empty for a preview."""
        occasion = str(getattr(row, "occasion", ""))
        if not getattr(row, "step", 0):
            return occasion
        return self.causes.get((row.journey_key, row.member_id, occasion), occasion)


def load(
    connection: Connection, shop: Shop, rows: Sequence[Subject], now: datetime, also: Collection[Text] = ()
) -> Batch:
    """Read it all; `also` are texts that are not saved and will be filled in."""
    today = local_day(now, shop.timezone)
    batch = Batch(today)
    shop_id = shop.shop_id
    ids = sorted({row.member_id for row in rows})
    batch.members, batch.facts, batch.consents = known.people(connection, shop_id, ids)
    batch.suppressed = known.suppressed(connection, shop_id, {row.address for row in rows if row.address})
    if order_ids := {row.subject_order_id for row in rows if row.subject_order_id}:
        batch.orders, batch.lines = known.orders_of(connection, shop_id, order_ids)
        batch.told = once.orders(connection, shop_id, order_ids)
    w = journey_waves.c
    held = select(w.journey_key).where(w.shop_id == shop_id, w.state == HELD)
    batch.held = set(connection.execute(held).scalars())
    batch.cases = cases.open_cases(connection, shop_id, policy_of(shop).cases, ids, now)
    batch.ledger = caps.load(connection, shop_id, ids, now)
    batch.voices = voices(connection, shop_id, rows)
    heard = _heard(rows, batch)
    journeys = [journey for journey, _ in heard]
    _load_texts(connection, shop_id, journeys, batch)
    _load_audiences(connection, shop, heard, today, batch)
    _load_inside(connection, shop, rows, batch)
    _load_holding(connection, shop, heard, batch)
    greeting = [row for journey, mine in heard if _greets(journey) for row in _known(mine, batch)]
    batch.greeted = greetings.load(connection, shop_id, greeting)
    batch.subjects = subjects.load(connection, shop_id, {batch.occasion_of(row) for row in rows})
    if any(kind_of(journey.trigger).awaits_orders for journey in journeys):
        batch.in_step = in_step.orders_of(connection, shop)
    programs = {program_of(journey.trigger) for journey in journeys} or {PROGRAM_KEY}
    batch.levels = {program: level.held(connection, shop_id, ids, program) for program in sorted(programs)}
    texts = [*also, *(text for found in batch.texts.values() for text in found.values())]
    names = _spoken_in(texts)
    if "tier" in names:
        for levels in batch.levels.values():
            level.standing(connection, shop, ids, today, levels)
    if names & {"product", "order"}:
        batch.pages = known.pages(connection, shop_id, (line for lines in batch.lines.values() for line in lines))
    return batch


_Heard = list[tuple[Journey, list[Subject]]]


def _heard(rows: Sequence[Subject], batch: Batch) -> _Heard:
    """The journeys in hand as they speak, each with its touchpoints: what is asked of a journey is asked once."""
    found: dict[str, tuple[Journey, list[Subject]]] = {}
    for row in rows:
        if (journey := batch.journey_of(row)) is not None:
            mine = found.get(journey.name) or found.setdefault(journey.name, (journey, []))
            mine[1].append(row)
    return list(found.values())


def _known(rows: Iterable[Subject], batch: Batch) -> list[Subject]:
    """Those that have an occasion: a preview has none."""
    return [row for row in rows if batch.occasion_of(row)]


def _greets(journey: Journey) -> bool:
    return journey.trigger.type == BIRTHDAY and not caps.exempt(journey)


# What has to be read for the texts that speak of it.
_READ_FOR = ("tier", "product", "order")


def _spoken_in(texts: Iterable[Text]) -> set[str]:
    """Which of these the texts speak of. A part in which no such word stands is not taken apart, which costs as much as several mails."""
    parts = (part for text in texts for part in text.parts().values())
    return {name for part in parts if any(word in part for word in _READ_FOR) for name in names_of(part)}


def _load_texts(connection: Connection, shop_id: int, journeys: Iterable[Journey], batch: Batch) -> None:
    wanted = {journey.template_key for journey in journeys}
    t = templates.c
    query = select(templates).where(t.shop_id == shop_id, t.template_key.in_(sorted(wanted)))
    for row in connection.execute(query):
        batch.texts[row.template_key, row.channel][row.locale] = text_of(row)


def _load_holding(connection: Connection, shop: Shop, heard: _Heard, batch: Batch) -> None:
    """What the journeys in hand were planned for and is still so, asked by the SQL that planned it; and what they have said before."""
    once_a_pause: set[int] = set()
    once_ever: dict[str, set[int]] = defaultdict(set)
    for journey, rows in heard:
        kind = kind_of(journey.trigger)
        mine = _known(rows, batch) if kind.rechecked or kind.once else []
        if not mine:
            continue
        ids = [row.member_id for row in mine]
        if kind.rechecked:
            found = connection.execute(holding(shop, journey, ids, [batch.occasion_of(row) for row in mine]))
            batch.holding[journey.name] = {(row.member_id, row.occasion) for row in found}
        if PAUSE in kind.once:
            once_a_pause.update(ids)
        if MEMBER in kind.once:
            once_ever[journey.key].update(ids)
    if once_a_pause:
        batch.lapses = once.lapses(connection, shop.shop_id, once_a_pause)
    batch.spoken = once.members(connection, shop.shop_id, set().union(*once_ever.values()), once_ever)


def _load_audiences(connection: Connection, shop: Shop, heard: _Heard, today: date, batch: Batch) -> None:
    for journey, rows in heard:
        name, m = journey.name, members.c
        ids = sorted({row.member_id for row in rows})
        query = select(m.member_id).where(m.shop_id == shop.shop_id, among(m.member_id, ids))
        asked = [(batch.in_audience, meant)] if rule_of(journey) is not None else []
        asked += [(batch.at_goal, arrived)] if journey.flow.goal_text else []
        for into, ask in asked:
            try:
                holds = ask(connection, shop, journey, today, m.member_id)
            except RuleError as error:
                batch.unasked[name] = error.message
                into[name] = set()
                continue
            into[name] = set(connection.execute(query.where(holds)).scalars())


def _load_inside(connection: Connection, shop: Shop, rows: Sequence[Subject], batch: Batch) -> None:
    """Of whoever is inside a journey: what they came in for, and the codes handed out to them on the way, of several the last."""
    ids = sorted({row.member_id for row in rows if getattr(row, "step", 0)})
    if not ids:
        return
    c, e = coupon_codes.c, enrolments.c
    own = (e.shop_id == shop.shop_id, among(e.member_id, ids))
    place = (e.journey_key, e.member_id, e.occasion)
    for row in connection.execute(select(*place, e.cause).where(*own)):
        batch.causes[row.journey_key, row.member_id, row.occasion] = row.cause
    handed = select(*place, c.code, c.pool_key).join_from(
        coupon_codes, enrolments, (e.shop_id == c.shop_id) & (e.enrolment_id == c.enrolment_id)
    )
    mine = (c.shop_id == shop.shop_id, among(c.member_id, ids), c.handed_at.is_not(None))
    given = connection.execute(handed.where(*mine).order_by(c.handed_at, c.place)).all()
    for one in given:
        batch.coupons[one.journey_key, one.member_id, one.occasion] = one.code
    batch.coupon_ends = last_days(connection, shop, ((one.pool_key, one.code, one.member_id) for one in given))
