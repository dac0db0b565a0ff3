"""What a journey did lately and what it will do: for whom, through what, and who will be held back and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select, text, true

from crm_plugin.errors import RuleError
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.trigger_kinds import BY_DAY
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store import members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import meant, problem_of, rule_of
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.plan import coming, day_of
from crm_plugin.touchpoints.reach import TRUE
from crm_plugin.touchpoints.senders import available
from crm_plugin.touchpoints.states import WAITING, State

_NEWEST = 5000
# No example is looked for further back: where nobody fits, all members would be gone through.
_LOOKED_THROUGH = 50_000
_OVER = tuple(state.value for state in State if state not in WAITING)


@dataclass(frozen=True, slots=True)
class Coming:
    """How many will be planned for a day through a channel, or (with a reason) held back."""

    on: date
    channel: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that will fall due. `members` counts people, for one may have several occasions; `missing` are channels without a sender.

    With a `problem` the audience cannot be asked, and nothing will.
    """

    rows: tuple[Coming, ...]
    members: int
    missing: tuple[str, ...]
    problem: RuleError | None = None

    @property
    def planned(self) -> int:
        """How many messages."""
        return sum(row.count for row in self.rows if not row.reason)

    @property
    def held_back(self) -> int:
        """How many will get none."""
        return sum(row.count for row in self.rows if row.reason)

    def on(self, day: date) -> int:
        """How many messages on one day."""
        return sum(row.count for row in self.rows if row.on == day and not row.reason)

    def channels(self) -> list[tuple[str, int]]:
        """Messages by channel, most first."""
        return _counted((row.channel, row.count) for row in self.rows if not row.reason)

    def reasons(self) -> list[tuple[str, int]]:
        """Held back by reason, most first."""
        return _counted((row.reason, row.count) for row in self.rows if row.reason)


def _counted(pairs: Any) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for key, count in pairs:
        total[key] += count
    return total.most_common()


def outlook(connection: Connection, shop: Shop, journey: Journey, since: datetime, until: datetime) -> Outlook:
    """What the journey will plan between two instants if nothing changes, on or off."""
    there = available(connection, shop)
    missing = tuple(channel for channel in journey.channels if channel not in there)
    if (problem := problem_of(connection, shop, journey)) is not None:
        return Outlook((), 0, missing, problem)
    judged = coming(connection, shop, journey, since, until)
    if judged is None:
        return Outlook((), 0, missing)
    columns = judged.c
    query = select(columns.due_at, columns.channel, columns.reason, func.count())
    query = query.group_by(columns.due_at, columns.channel, columns.reason)
    days: Counter[tuple[date, str, str]] = Counter()
    for due_at, channel, reason, count in connection.execute(query):
        days[day_of(shop, due_at), channel, reason] += count
    found = Outlook(tuple(Coming(*key, count) for key, count in sorted(days.items())), 0, missing)
    if kind_of(journey.trigger).source(journey.trigger).occasion == BY_DAY:
        # Nobody has two birthdays or two last orders in so short a time.
        return replace(found, members=found.planned)
    reached = select(func.count(func.distinct(columns.member_id))).where(columns.state == State.PLANNED.value)
    return replace(found, members=connection.execute(reached).scalar_one())


def recent(connection: Connection, shop_id: int, since: datetime) -> dict[str, dict[str, int]]:
    """Journey → state → how many were due since then; those that wait are counted whenever they are due."""
    columns = touchpoints.c
    waiting = columns.state.in_([state.value for state in WAITING])
    lately = and_(columns.state.in_(_OVER), columns.due_at >= since)
    found: dict[str, dict[str, int]] = {}
    for which in (waiting, lately):
        query = select(columns.journey_key, columns.state, func.count()).where(columns.shop_id == shop_id, which)
        for key, state, count in connection.execute(query.group_by(columns.journey_key, columns.state)):
            found.setdefault(key, {})[state] = count
    return found


def waiting(connection: Connection, shop_id: int, key: str) -> int:
    """How many messages of a journey wait to be sent: switching it off cancels these."""
    columns = touchpoints.c
    query = select(func.count()).where(
        columns.shop_id == shop_id,
        columns.journey_key == key,
        columns.state.in_([state.value for state in WAITING]),
    )
    return connection.execute(query).scalar_one()


def newest_match(connection: Connection, shop: Shop, journey: Journey, as_of: date, language: str = "") -> int | None:
    """The newest member the journey can speak to: in its audience, with what its trigger waits for; None where none of the newest is.

    With a `language` such as zh one who reads it comes first, if there is one among the newest.
    """
    if problem_of(connection, shop, journey) is not None:
        return None
    m = members.alias("m").c
    query = select(m.member_id).where(m.shop_id == shop.shop_id, m.state == rules_sql.ACTIVE, _awaited(shop, journey))
    query = query.where(m.member_id >= _oldest(shop))
    if rule_of(journey) is not None:
        query = query.where(meant(connection, shop, journey, as_of, m.member_id))
    # Whom no address reaches would make a poor example, but is better than none. By the key, so that the first who fits is enough.
    addressed = or_(m.email != "", m.phone != "")
    for more in (and_(addressed, _reads(m, shop, language)) if language else false(), addressed, true()):
        found = connection.execute(query.where(more).order_by(m.member_id.desc()).limit(1)).scalar()
        if found is not None:
            return int(found)
    return None


def _oldest(shop: Shop) -> ColumnElement[int]:
    """The oldest member that is looked at; 0 where there are fewer."""
    o = members.alias("older").c
    last = select(o.member_id).where(o.shop_id == shop.shop_id).order_by(o.member_id.desc())
    return func.coalesce(last.offset(_LOOKED_THROUGH - 1).limit(1).scalar_subquery(), 0)


def _reads(m: Any, shop: Shop, language: str) -> ColumnElement[bool]:
    """Only the newest are looked at: where nobody reads the language, all would be."""
    n = members.alias("newest").c
    newest = select(n.member_id).where(n.shop_id == shop.shop_id).order_by(n.member_id.desc()).limit(_NEWEST)
    return and_(m.locale.startswith(language, autoescape=True), m.member_id.in_(select(newest.subquery().c.member_id)))


def _awaited(shop: Shop, journey: Journey) -> ColumnElement[bool]:
    """Whether the member `m` has what the trigger waits for, on whatever day."""
    source = kind_of(journey.trigger).source(journey.trigger)
    known = f"{source.day} IS NOT NULL" if source.day else TRUE
    if not source.tables:
        return text(f"{known}{f' AND {source.holds}' if source.holds else ''}").bindparams(**source.binds)  # type: ignore[return-value]
    tables = (source.of_member or source.tables).replace(" CROSS JOIN ", ", ")
    where = " AND ".join(part for part in (source.hangs, source.holds, known) if part)
    return text(f"EXISTS (SELECT 1 FROM {tables} WHERE {where})").bindparams(shop_id=shop.shop_id, **source.binds)  # type: ignore[return-value]  # noqa: S608
