"""A saved segment as people look at it: how many it holds now, some of them, who came and went; and its members on any day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from crm_plugin.clock import local_day
from crm_plugin.errors import RuleError
from crm_plugin.rules import compile_for
from crm_plugin.rules import segments as saved
from crm_plugin.rules.book import LIST, read_book, resolve, resolved
from crm_plugin.rules.called import called
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.segments import Segment
from crm_plugin.rules.sql import ACTIVE, counts, is_history, select_members
from crm_plugin.rules.words import words as in_words
from crm_plugin.store import members, segment_events, segment_members, segments
from crm_plugin.store.members import full_name
from crm_plugin.store.tenants import Shop

# Comings and goings are told of so many days.
DAYS = 30
_SAMPLE = 5
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """A member in a segment; `since_on` is known of today's list alone."""

    member_id: int
    external_id: str | None
    name: str
    email: str
    since_on: date | None

    def as_dict(self) -> dict[str, Any]:
        """Ids as text, for JavaScript rounds such long numbers."""
        since = None if self.since_on is None else self.since_on.isoformat()
        return {
            "member_id": str(self.member_id),
            "external_id": self.external_id,
            "name": self.name,
            "email": self.email,
            "since": since,
        }


@dataclass(frozen=True, slots=True)
class Look:
    """One segment. `count` is of now; `kept_at` is when its list was last brought up to date, None before the first time.

    `problem` says why the rule cannot be asked: then the count is of the list as it stands.
    """

    segment: Segment
    words: str
    count: int
    kept_at: datetime | None
    entered: int
    left: int
    sample: tuple[Held, ...]
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        one = self.segment
        return {
            "key": one.key,
            "title": one.title,
            "kind": one.kind,
            "rule": one.rule,
            "words": self.words,
            "count": self.count,
            "kept_at": None if self.kept_at is None else self.kept_at.isoformat(),
            f"entered_{DAYS}_days": self.entered,
            f"left_{DAYS}_days": self.left,
            "sample": [held.as_dict() for held in self.sample],
            "problem": self.problem,
        }


def look(connection: Connection, shop: Shop, key: str, now: datetime, lang: str = "en") -> Look:
    """The segment as it is at this instant, by its rule. Raises: NotFound."""
    segment = saved.show(connection, shop, key)
    today, problem, words = local_day(now, shop.timezone), "", ""
    if segment.node is not None:
        words = in_words(segment.node, lang, called(connection, shop))
    try:
        chosen = _chosen(connection, shop, segment, today, today)
    except RuleError as error:
        problem, chosen = error.message, _listed(shop, key)
    count, sample = _some_of(connection, shop, key, chosen, today)
    moves = _turnover(connection, shop, now, [key])
    s = segments.c
    kept = connection.execute(select(s.kept_through).where(s.shop_id == shop.shop_id, s.segment_key == key)).scalar()
    return Look(segment, words, count, kept, moves[key, True], moves[key, False], sample, problem)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rule says, how many it holds, and some of them."""

    words: str
    count: int
    sample: tuple[Held, ...]


def tried(connection: Connection, shop: Shop, text: str, as_of: date, lang: str) -> Trial:
    """Whom a rule would hold as a segment. Raises: RuleError."""
    rule = compile_for(connection, shop, text)
    chosen = select_members(shop, rule.asked, as_of, history=is_history(connection, shop, as_of))
    return Trial(in_words(rule.node, lang, called(connection, shop)), *_some_of(connection, shop, "", chosen, as_of))


def _some_of(
    connection: Connection, shop: Shop, key: str, chosen: Select[int], day: date
) -> tuple[int, tuple[Held, ...]]:
    count = connection.execute(select(func.count()).select_from(chosen.subquery())).scalar_one()
    return count, tuple(_rows(connection, shop, key, chosen, day, _SAMPLE))


@dataclass(frozen=True, slots=True)
class Row:
    """One segment in the list of all; `count` None when its rule cannot be asked, for the `problem`."""

    segment: Segment
    count: int | None
    entered: int
    left: int
    problem: str = ""


def overview(connection: Connection, shop: Shop, now: datetime) -> list[Row]:
    """All segments by key with how many each holds now: the rules are counted in one pass."""
    today, book = local_day(now, shop.timezone), read_book(connection, shop.shop_id)
    found = saved.list(connection, shop.shop_id)
    nodes: dict[str, Node] = {}
    problems: dict[str, str] = {}
    for one in found:
        if one.node is not None:
            try:
                nodes[one.key] = resolve(one.node, book)
            except RuleError as error:
                problems[one.key] = error.message
    counted = counts(connection, shop, list(nodes.values()), today, history=is_history(connection, shop, today))
    numbers: dict[str, int | None] = dict(zip(nodes, counted, strict=True))
    lists = [one.key for one in found if one.kind == LIST]
    numbers |= dict.fromkeys(lists, 0) | _listed_counts(connection, shop, lists)
    moves = _turnover(connection, shop, now, [one.key for one in found])
    return [
        Row(one, numbers.get(one.key), moves[one.key, True], moves[one.key, False], problems.get(one.key, ""))
        for one in found
    ]


def _listed_counts(connection: Connection, shop: Shop, keys: Sequence[str]) -> dict[str, int]:
    m, c = members.c, segment_members.c
    own = and_(m.shop_id == c.shop_id, m.member_id == c.member_id, m.state == ACTIVE)
    query = (
        select(c.segment_key, func.count())
        .select_from(segment_members.join(members, own))
        .where(c.shop_id == shop.shop_id, c.segment_key.in_(keys))
        .group_by(c.segment_key)
    )
    return {key: number for key, number in connection.execute(query)}  # noqa: C416


def _turnover(connection: Connection, shop: Shop, now: datetime, keys: Sequence[str]) -> Counter[tuple[str, bool]]:
    """How many came into these segments and left them in the last days: of each, the end of a range of the index."""
    e, after = segment_events.c, local_day(now, shop.timezone) - timedelta(days=DAYS)
    own = (e.shop_id == shop.shop_id, e.segment_key.in_(keys), e.at >= now - timedelta(days=DAYS + 2))
    query = select(e.segment_key, e.entered, func.count()).where(*own, e.as_of > after)
    query = query.group_by(e.segment_key, e.entered)
    return Counter({(one, bool(entered)): number for one, entered, number in connection.execute(query)})


def members_of(
    connection: Connection, shop: Shop, key: str, now: datetime, as_of: date | None = None, limit: int | None = None
) -> Iterator[Held]:
    """Whom the segment holds, by id; on a day that is past by what was so then. Raises: NotFound, RuleError."""
    segment, today = saved.show(connection, shop, key), local_day(now, shop.timezone)
    day = as_of or today
    return _rows(connection, shop, key, _chosen(connection, shop, segment, day, today), day, limit)


def _chosen(connection: Connection, shop: Shop, segment: Segment, as_of: date, today: date) -> Select[int]:
    if segment.kind == LIST or segment.node is None:
        return _listed(shop, segment.key) if as_of >= today else _listed_then(shop, segment.key, as_of)
    node = resolved(connection, shop.shop_id, segment.node)
    return select_members(shop, node, as_of, history=is_history(connection, shop, as_of))


def _listed(shop: Shop, key: str) -> Select[int]:
    m, c = members.c, segment_members.c
    own = and_(m.shop_id == c.shop_id, m.member_id == c.member_id)
    return (
        select(m.member_id)
        .select_from(segment_members.join(members, own))
        .where(c.shop_id == shop.shop_id, c.segment_key == key, m.state == ACTIVE)
    )


def _listed_then(shop: Shop, key: str, as_of: date) -> Select[int]:
    """Those whose last step up to that day was in."""
    m, e = members.c, segment_events.c
    newest = func.row_number().over(partition_by=e.member_id, order_by=(e.as_of.desc(), e.event_id.desc()))
    steps = (
        select(e.member_id, e.entered, newest.label("place"))
        .where(e.shop_id == shop.shop_id, e.segment_key == key, e.as_of <= as_of)
        .subquery()
    )
    return (
        select(m.member_id)
        .select_from(members.join(steps, m.member_id == steps.c.member_id))
        .where(m.shop_id == shop.shop_id, m.state == ACTIVE, steps.c.place == 1, steps.c.entered)
    )


def _rows(
    connection: Connection, shop: Shop, key: str, chosen: Select[int], day: date, limit: int | None
) -> Iterator[Held]:
    m, c = members.c, segment_members.c
    ids = chosen.order_by(chosen.selected_columns.member_id).limit(limit).subquery("chosen")
    query = (
        select(m.member_id, m.external_id, m.first_name, m.last_name, m.email, c.since_on)
        .select_from(ids)
        .join(members, and_(m.shop_id == shop.shop_id, m.member_id == ids.c.member_id))
        .outerjoin(
            segment_members,
            and_(c.shop_id == shop.shop_id, c.segment_key == key, c.member_id == ids.c.member_id),
        )
        .order_by(ids.c.member_id)
    )
    for row in connection.execute(query, execution_options={"yield_per": _PAGE}):
        name = full_name(row.first_name, row.last_name)
        # Who was in it on a day before that came, left and came again: since when is not known of then.
        since = row.since_on if row.since_on is not None and row.since_on <= day else None
        yield Held(row.member_id, row.external_id, name, row.email, since)
