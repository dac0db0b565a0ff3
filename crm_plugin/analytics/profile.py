"""Everything about one member on one page: who, worth, tier and why, what they allowed, what happened, what is to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select

from crm_plugin.analytics.timeline import Contacted, Event, Said, event_dict, said, timeline, upcoming
from crm_plugin.errors import NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules.book import read_book, resolve
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.document import from_json
from crm_plugin.rules.explain import Explanation, explain_from, snapshot_of
from crm_plugin.rules.held import Barred, barred_everywhere, held_everywhere
from crm_plugin.rules.nodes import Everyone, Node, Not
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.standing import NOTHING, Held
from crm_plugin.store import (
    identities,
    member_consents,
    member_facts,
    member_tags,
    members,
    suppressions,
    tier_levels,
)
from crm_plugin.store.base import from_micros
from crm_plugin.store.members import full_name
from crm_plugin.store.tenants import Shop

# So many statements of consent are shown; the log itself keeps all.
_STATEMENTS = 200
# So often a condition may be asked for what would turn a level; a few hundredths of a second.
_FLIP_BUDGET = 1_500


@dataclass(frozen=True, slots=True)
class Facts:
    """What is counted of a member; money in minor units of the shop's currency, `spent_minor` net of refunds."""

    orders: int = 0
    refunds: int = 0
    gross_minor: int = 0
    refunded_minor: int = 0
    spent_minor: int = 0
    discount_minor: int = 0
    unconverted_orders: int = 0
    first_order_on: date | None = None
    last_order_on: date | None = None

    @property
    def average_minor(self) -> int | None:
        """What an order came to on average, refunds not taken off; None without an order."""
        return round(self.gross_minor / self.orders) if self.orders else None


@dataclass(frozen=True, slots=True)
class LevelView:
    """One tier level as it stands for this member: its rule (as node, for `words`) and which of its conditions hold."""

    key: str
    title: Mapping[str, str]
    rule: str
    node: Node
    held: bool
    explanation: Explanation

    def as_dict(self, by: Called) -> dict[str, Any]:
        """`by` is what the shop calls its own, for the sentences."""
        explained = self.explanation.as_dict(by)
        return {"key": self.key, "title": dict(self.title), "rule": self.rule, "held": self.held, **explained}


@dataclass(frozen=True, slots=True)
class TierView:
    """The level held (an empty key is none) and all levels, the lowest first."""

    key: str
    since_at: datetime | None
    since_on: date | None
    levels: tuple[LevelView, ...]
    standing: Held = NOTHING
    # Whether a level is kept by something else than what earns it, so that one does not follow from the other.
    promised: bool = False
    # What is held in the other programmes, by their key; NOTHING where by hand no level is held.
    others: Mapping[str, Held] = field(default_factory=dict)
    # The programmes in which no level is held by hand, the main one among them.
    bars: Mapping[str, Barred] = field(default_factory=dict)

    @property
    def level(self) -> LevelView | None:
        """The level held, with why; None without one, or when it was taken out of the programme since."""
        return next((level for level in self.levels if level.held), None)

    @property
    def barred(self) -> Barred | None:
        """Why by hand no level of the main programme is held; None where the rules decide."""
        return self.bars.get(PROGRAM_KEY)

    @property
    def next(self) -> LevelView | None:
        """The level above that can be earned; its conditions that do not hold are what is missing. None at the top."""
        keys = [level.key for level in self.levels]
        place = keys.index(self.key) + 1 if self.key in keys else 0
        return next((level for level in self.levels[place:] if level.rule), None)


@dataclass(frozen=True, slots=True)
class Permission:
    """What holds now for one channel and topic."""

    channel: str
    topic: str
    state: str
    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An address of the member that is never written to, and why."""

    channel: str
    address: str
    reason: str
    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Identity:
    """One address or id by which the member is found."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One member; `called` is what their shop calls its own.

    `birth_md` is a birthday as it is stored (`birthdays.py`); `zone` is where their days are computed.
    """

    member_id: int
    external_id: str
    state: str
    first_name: str
    last_name: str
    email: str
    phone: str
    locale: str
    country: str
    zone: str
    birth_year: int | None
    birth_md: int | None
    joined_at: datetime | None
    first_seen_at: datetime
    attributes: Mapping[str, Any]
    tags: tuple[str, ...]
    identities: tuple[Identity, ...]
    currency: str
    called: Called
    facts: Facts
    tier: TierView
    permissions: tuple[Permission, ...]
    consent_log: tuple[Said, ...]
    suppressions: tuple[Suppressed, ...]
    timeline: tuple[Event, ...]
    upcoming: tuple[Contacted, ...]

    @property
    def name(self) -> str:
        return full_name(self.first_name, self.last_name)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: ids as text, for JavaScript rounds such long numbers."""
        plain = ("attributes", "tags", "external_id", "state", "first_name", "last_name", "email", "phone", "locale")
        more = ("country", "zone", "birth_year", "birth_md", "joined_at", "first_seen_at", "currency")
        following = self.tier.next
        return {
            "member_id": str(self.member_id),
            "name": self.name,
            **{key: getattr(self, key) for key in (*plain, *more)},
            "identities": [asdict(one) for one in self.identities],
            "facts": {**asdict(self.facts), "average_minor": self.facts.average_minor},
            "tier": {
                "key": self.tier.key,
                "since_on": self.tier.since_on,
                "valid_until": self.tier.standing.valid_until,
                "grace_until": self.tier.standing.grace_until,
                "fixed_until": self.tier.standing.fixed_until,
                "barred": {program: bar.as_dict() for program, bar in self.tier.bars.items()},
                "next": following.key if following else None,
                "levels": [level.as_dict(self.called) for level in self.tier.levels],
                "others": {program: held.level for program, held in self.tier.others.items()},
            },
            "permissions": [asdict(one) for one in self.permissions],
            "consent_log": [event_dict(one) for one in self.consent_log],
            "suppressions": [asdict(one) for one in self.suppressions],
            "timeline": [event_dict(one) for one in self.timeline],
            "upcoming": [event_dict(one) for one in self.upcoming],
        }


def profile(connection: Connection, shop: Shop, member_id: int, as_of: date, *, limit: int = 100) -> Profile:
    """One member, as seen on that day of the shop; at most `limit` events of the timeline. Raises: NotFound."""
    m = members.c
    row = connection.execute(select(members).where(m.shop_id == shop.shop_id, m.member_id == member_id)).first()
    if row is None:
        raise NotFound(
            phrase("There is no member %(member_id)s in this shop.", member_id=member_id),
            hint=phrase("They may have been merged with another."),
        )
    known = _identities(connection, shop, member_id)
    return Profile(
        member_id=member_id,
        external_id=row.external_id or "",
        state=row.state,
        first_name=row.first_name,
        last_name=row.last_name,
        email=row.email,
        phone=row.phone,
        locale=row.locale,
        country=row.country,
        zone=row.zone,
        birth_year=row.birth_year,
        birth_md=row.birth_md,
        joined_at=row.joined_at,
        first_seen_at=row.first_seen_at,
        attributes=row.attributes,
        tags=_tags(connection, shop, member_id),
        identities=known,
        currency=shop.currency,
        called=called(connection, shop),
        facts=_facts(connection, shop, member_id),
        tier=_tier(connection, shop, member_id, as_of),
        permissions=_permissions(connection, shop, member_id),
        consent_log=tuple(said(connection, shop.shop_id, member_id, _STATEMENTS)),
        suppressions=_suppressions(connection, shop, row, known),
        timeline=timeline(connection, shop.shop_id, member_id, row.joined_at, limit),
        upcoming=upcoming(connection, shop.shop_id, member_id, limit),
    )


def _identities(connection: Connection, shop: Shop, member_id: int) -> tuple[Identity, ...]:
    i = identities.c
    query = select(i.kind, i.value).where(i.shop_id == shop.shop_id, i.member_id == member_id)
    return tuple(Identity(*row) for row in connection.execute(query.order_by(i.rank, i.kind, i.value)))


def _tags(connection: Connection, shop: Shop, member_id: int) -> tuple[str, ...]:
    c = member_tags.c
    query = select(c.tag).where(c.shop_id == shop.shop_id, c.member_id == member_id).order_by(c.tag)
    return tuple(connection.execute(query).scalars())


def _facts(connection: Connection, shop: Shop, member_id: int) -> Facts:
    f = member_facts.c
    query = select(
        f.orders_count,
        f.refunds_count,
        f.gross_minor,
        f.refunded_minor,
        f.spent_minor,
        f.discount_minor,
        f.unconverted_orders,
        f.first_order_on,
        f.last_order_on,
    )
    row = connection.execute(query.where(f.shop_id == shop.shop_id, f.member_id == member_id)).first()
    return Facts() if row is None else Facts(*row)


def _tier(connection: Connection, shop: Shop, member_id: int, as_of: date) -> TierView:
    level = tier_levels.c
    everywhere = held_everywhere(connection, shop.shop_id, member_id)
    held = everywhere.pop(PROGRAM_KEY, NOTHING)
    bars = barred_everywhere(connection, shop.shop_id, member_id, as_of)
    others = everywhere | {one: NOTHING for one in bars if one != PROGRAM_KEY}
    key, since_at = held.level, from_micros(held.since_at) if held.level else None
    rows = connection.execute(
        select(tier_levels).where(level.shop_id == shop.shop_id, level.program_key == PROGRAM_KEY).order_by(level.rank)
    ).all()
    snapshot = snapshot_of(connection, shop, member_id, as_of)
    book = read_book(connection, shop.shop_id)
    levels: list[LevelView] = []
    for row in rows:
        # Nothing earns a level by invitation.
        node = from_json(row.rule) if row.rule else Not(Everyone())
        # What would turn it is of use for the level held and the one above, and not free.
        near = row.level_key == key or (levels[-1].held if levels else not any(one.level_key == key for one in rows))
        explained = explain_from(snapshot, resolve(node, book), as_of, budget=_FLIP_BUDGET if near else 0)
        levels.append(LevelView(row.level_key, row.title, row.rule_text, node, row.level_key == key, explained))
    promised = held.fixed or held.valid_until is not None or any({"keep", "kept"} & row.plan.keys() for row in rows)
    return TierView(key, since_at, held.since_on, tuple(levels), held, promised, others, bars)


def _permissions(connection: Connection, shop: Shop, member_id: int) -> tuple[Permission, ...]:
    c = member_consents.c
    query = select(c.channel, c.topic, c.state, c.at, c.source)
    rows = connection.execute(
        query.where(c.shop_id == shop.shop_id, c.member_id == member_id).order_by(c.channel, c.topic)
    )
    return tuple(Permission(*row) for row in rows)


def _suppressions(
    connection: Connection, shop: Shop, row: Row[Any], known: tuple[Identity, ...]
) -> tuple[Suppressed, ...]:
    emails = {one.value for one in known if one.kind == "email"} | {row.email}
    phones = {one.value for one in known if one.kind == "phone"} | {row.phone}
    s = suppressions.c
    own = or_(
        and_(s.channel == "email", s.address.in_(sorted(emails - {""}))),
        and_(s.channel == "sms", s.address.in_(sorted(phones - {""}))),
        and_(s.channel == "inapp", s.address == (row.external_id or "")),
    )
    query = select(s.channel, s.address, s.reason, s.at, s.source).where(s.shop_id == shop.shop_id, own)
    return tuple(Suppressed(*found) for found in connection.execute(query.order_by(s.channel, s.address)))
