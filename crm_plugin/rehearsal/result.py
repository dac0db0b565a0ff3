"""What came of a rehearsal, read out of its copy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from crm_plugin.clock import local_day, zone
from crm_plugin.phrases import phrase
from crm_plugin.rehearsal.ask import Ask
from crm_plugin.rehearsal.members import Contact, Taken, contacts, taken
from crm_plugin.rehearsal.unknown import Unknown
from crm_plugin.store import attempts, coupon_codes, enrolments, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.states import WAITING, State

_WAITING = [state.value for state in WAITING]
_HELD = [State.SKIPPED.value, State.MISSED.value, State.FAILED.value, State.CANCELLED.value]


@dataclass(slots=True)
class Played:
    """What the rounds told on the way. `waited` holds the messages put off for each reason, `segments` who came and left.

    `levels_today` are changes of level that were due as it began, `levels` those that the days bring; `knows_address` is whether the public
    address is set. `unknown` is what could not be taken back.
    """

    rounds: int = 0
    arrivals: int = 0
    levels: int = 0
    levels_today: int = 0
    knows_address: bool = True
    segments: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    waited: Mapping[str, frozenset[int]] = field(default_factory=dict)
    unknown: tuple[Unknown, ...] = ()


@dataclass(frozen=True, slots=True)
class Sends:
    """Messages that leave on one local day of the shop; `parts` is what text messages are billed as."""

    on: date
    journey: str
    channel: str
    messages: int
    parts: int


@dataclass(frozen=True, slots=True)
class Held:
    """Messages that do not leave, by why; the day is the one on which they fall due."""

    on: date
    journey: str
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Load:
    """A channel's fullest day at the rate of its sender, and when the last message of that day has left (in the shop's zone)."""

    channel: str
    on: date
    messages: int
    per_hour: int
    done_at: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """All of it. Days are the shop's; `cost` is in `currency`, None while no price is known. `waits` are not out at the end."""

    shop: str
    journey: str
    first: date
    last: date
    timezone: str
    currency: str
    sends: tuple[Sends, ...]
    held: tuple[Held, ...]
    put_off: Mapping[str, int]
    waits: int
    members: int
    parts: int
    cost: Decimal | None
    coupons: Mapping[str, int]
    loads: tuple[Load, ...]
    contacts: tuple[Contact, ...]
    steps: tuple[Taken, ...]
    levels: int
    levels_today: int
    segments: Mapping[str, tuple[int, int]]
    problems: Mapping[str, str]
    assumes: tuple[str, ...]
    unknown: tuple[Unknown, ...]
    rounds: int

    @property
    def messages(self) -> int:
        """How many leave."""
        return sum(one.messages for one in self.sends)

    @property
    def held_back(self) -> int:
        """How many do not."""
        return sum(one.messages for one in self.held)

    def by_day(self) -> dict[date, int]:
        """Messages on each day of the span, days without any too."""
        days = {self.first + timedelta(days=ahead): 0 for ahead in range((self.last - self.first).days + 1)}
        for one in self.sends:
            days[one.on] = days.get(one.on, 0) + one.messages
        return days

    def reasons(self) -> list[tuple[str, int]]:
        """Held back by reason, most first."""
        found: Counter[str] = Counter()
        for one in self.held:
            found[one.reason] += one.messages
        return found.most_common()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = asdict(self)
        told["segments"] = {key: {"entered": came, "left": left} for key, (came, left) in self.segments.items()}
        # Ids as text, for JavaScript rounds such long numbers.
        for name in ("contacts", "steps"):
            told[name] = [{**one, "member_id": str(one["member_id"])} for one in told[name]]
        told |= {"messages": self.messages, "held_back": self.held_back}
        found: dict[str, Any] = _plain(told)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def collect(scratch: Database, shop: Shop, ask: Ask, played: Played, now: datetime) -> Result:
    """Read the copy once the rounds are over."""
    with scratch.read() as connection:
        sends = tuple(_sends(connection, shop, ask))
        parts = sum(one.parts for one in sends)
        texts = any(one.channel == "sms" for one in sends)
        price = ask.part_price
        return Result(
            shop=shop.name,
            journey=ask.only,
            first=ask.first,
            last=ask.last,
            timezone=shop.timezone,
            currency=shop.currency,
            sends=sends,
            held=tuple(_held(connection, shop, ask)),
            put_off={reason: len(ids) for reason, ids in sorted(played.waited.items())},
            waits=_count(connection, shop, ask, touchpoints.c.state.in_(_WAITING)),
            members=_members(connection, shop, ask),
            parts=parts,
            cost=price * parts if price is not None else None if texts else Decimal(0),
            coupons=_coupons(connection, shop, ask),
            loads=tuple(_loads(connection, shop, ask)),
            contacts=tuple(contacts(connection, shop, ask)),
            steps=tuple(taken(connection, shop, ask)),
            levels=played.levels,
            levels_today=played.levels_today,
            segments=dict(sorted(played.segments.items())),
            problems=played.problems,
            assumes=tuple(_assumed(shop, ask, played, now)),
            unknown=played.unknown,
            rounds=played.rounds,
        )


def _own(shop: Shop, ask: Ask) -> list[Any]:
    t = touchpoints.c
    return [t.shop_id == shop.shop_id, *([t.journey_key == ask.only] if ask.only else [])]


def _sends(connection: Connection, shop: Shop, ask: Ask) -> Iterator[Sends]:
    t, a = touchpoints.c, attempts.c
    begin, end = ask.span(shop)
    query = (
        select(t.journey_key, t.channel, t.accepted_at, func.count(), func.coalesce(func.sum(a.parts), 0))
        .outerjoin_from(
            touchpoints,
            attempts,
            (a.shop_id == t.shop_id) & (a.touchpoint_id == t.touchpoint_id) & (a.attempt_no == t.attempts),
        )
        .where(*_own(shop, ask), t.accepted_at >= begin, t.accepted_at < end)
        .group_by(t.journey_key, t.channel, t.accepted_at)
    )
    found: defaultdict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for key, channel, at, messages, parts in connection.execute(query):
        place = found[local_day(at, shop.timezone), key, channel]
        place[0] += messages
        place[1] += int(parts) if channel == "sms" else 0
    for (on, key, channel), (messages, parts) in sorted(found.items()):
        yield Sends(on, key, channel, messages, parts)


def _held(connection: Connection, shop: Shop, ask: Ask) -> Iterator[Held]:
    t = touchpoints.c
    begin, end = ask.span(shop)
    at = func.coalesce(t.settled_at, t.planned_at)
    query = (
        select(t.journey_key, t.reason, t.due_at, func.count())
        .where(*_own(shop, ask), t.state.in_(_HELD), at >= begin, at < end)
        .group_by(t.journey_key, t.reason, t.due_at)
    )
    found: Counter[tuple[date, str, str]] = Counter()
    for key, reason, due_at, messages in connection.execute(query):
        found[local_day(due_at, shop.timezone), key, reason] += messages
    for (on, key, reason), messages in sorted(found.items()):
        yield Held(on, key, reason, messages)


def _count(connection: Connection, shop: Shop, ask: Ask, *where: Any) -> int:
    query = select(func.count()).select_from(touchpoints).where(*_own(shop, ask), *where)
    return int(connection.execute(query).scalar_one())


def _coupons(connection: Connection, shop: Shop, ask: Ask) -> dict[str, int]:
    """Codes handed out by pool."""
    c, e = coupon_codes.c, enrolments.c
    begin, end = ask.span(shop)
    query = (
        select(c.pool_key, func.count())
        .join_from(coupon_codes, enrolments, (e.shop_id == c.shop_id) & (e.enrolment_id == c.enrolment_id))
        .where(c.shop_id == shop.shop_id, c.handed_at >= begin, c.handed_at < end)
        .group_by(c.pool_key)
        .order_by(c.pool_key)
    )
    if ask.only:
        query = query.where(e.journey_key == ask.only)
    return {pool: int(count) for pool, count in connection.execute(query)}


def _members(connection: Connection, shop: Shop, ask: Ask) -> int:
    """How many people are written to."""
    t = touchpoints.c
    begin, end = ask.span(shop)
    query = select(func.count(t.member_id.distinct())).where(
        *_own(shop, ask), t.accepted_at >= begin, t.accepted_at < end
    )
    return int(connection.execute(query).scalar_one())


def _loads(connection: Connection, shop: Shop, ask: Ask) -> Iterator[Load]:
    """The day on which each sender is busy longest. What it cannot take at once waits in line, into the next day too."""
    t = touchpoints.c
    begin, end = ask.span(shop)
    for channel, per_hour in sorted(ask.per_hour.items()):
        # All journeys share a sender.
        query = (
            select(t.accepted_at, func.count())
            .where(t.shop_id == shop.shop_id, t.channel == channel, t.accepted_at >= begin, t.accepted_at < end)
            .group_by(t.accepted_at)
            .order_by(t.accepted_at)
        )
        each = timedelta(hours=1) / per_hour
        free, on_day, done = begin, Counter[date](), {}
        for at, messages in connection.execute(query):
            day = local_day(at, shop.timezone)
            free = max(free, at) + messages * each
            on_day[day] += messages
            done[day] = free
        if on_day:
            fullest = max(on_day, key=lambda day: (on_day[day], day))
            yield Load(channel, fullest, on_day[fullest], per_hour, done[fullest].astimezone(zone(shop.timezone)))


def _assumed(shop: Shop, ask: Ask, played: Played, now: datetime) -> Iterator[str]:
    """What is taken for granted, in words."""
    _, end = ask.span(shop)
    yield phrase("Journeys, texts, rules and settings are as they are now.")
    if ask.draft is not None:
        yield phrase("The journey is as it is drafted, and not as it was published.")
    if ask.first < local_day(now, shop.timezone):
        yield phrase(
            "Members, orders, refunds, consents, events and dials come as they came, and everybody stands in each journey where they stood."
        )
    if end > now:
        yield phrase("From now on nothing new comes: no order, no member, no consent, no refusal. Only the days pass.")
    yield phrase("Every sender takes all that it is handed, and nobody answers, opens or orders because of it.")
    if ask.first < local_day(now, shop.timezone):
        yield phrase(
            "What came back of messages comes again when it came, where the message leaves in the rehearsal too."
        )
    if not played.knows_address:
        yield phrase("The public address (CRM_PUBLIC_URL) is set by then: without it no marketing by mail leaves.")
    if ask.only:
        yield phrase("The other journeys that are on run beside it.")
