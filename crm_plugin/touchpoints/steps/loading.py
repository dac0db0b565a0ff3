"""Taking in hand: those of a journey who are due, and all that they go by, in one statement."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnClause, Dialect, Text, TextClause, bindparam, column, select, text
from sqlalchemy.sql.selectable import SelectBase

from crm_plugin.store import journey_versions
from crm_plugin.store.rows import given
from crm_plugin.store.together import Together
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import duties, ending, levels, waits
from crm_plugin.touchpoints.steps.moves import Group, Stay
from crm_plugin.touchpoints.versions import Version, versions, versions_of

# As `Stay` has them.
_STAY = {
    "enrolment_id": BigInteger,
    "member_id": BigInteger,
    "occasion": Text,
    "occasion_on": BigInteger,
    "version": BigInteger,
    "step_key": Text,
    "phase": Text,
    "base_at": BigInteger,
    "due_at": BigInteger,
    "seq": BigInteger,
    "state": Text,
    "zone": Text,
    "taken": Text,
}
_COLUMNS: list[ColumnClause[Any]] = [column(name, kind) for name, kind in _STAY.items()]


def load(group: Group, journey: Journey, kinds: Set[str], most: int) -> tuple[list[Stay], dict[int, Version]]:
    """Those who are due, whose wait is over by what happened, or for whom there is news, at most so many of each, by their ids.

    And the versions that they are on, the oldest first. The group keeps what steps that give levels go by, and which tasks are needless.

    Raises: InvalidInput, RuleError when a version that somebody is on cannot be read, or the goal cannot be asked.
    """
    shop_id, dialect = group.shop.shop_id, group.connection.dialect
    queries = _queries(group.is_sqlite, waits.heard(group.is_sqlite, kinds), "tier" in kinds)
    closes = "task" in kinds and journey.flow.goal_text
    if closes:
        asked = Together(dialect, [*queries, duties.reached(group.connection, group.shop, journey, group.now)])
    else:
        asked = _kept(dialect, queries)
    whom = list(dict.fromkeys((member_id, occasion) for member_id, occasion, _step in group.news))
    values = group.values(whom, most=most, since=waits.heard_since(journey, group.now), version=journey.version)
    found, newest, *told = asked.ask(group.connection, values)
    if closes:
        group.needless = told.pop()
    stays = sorted((Stay(*row) for row in found), key=lambda stay: stay.enrolment_id)
    numbers = {stay.version for stay in stays}
    known = versions_of((row for row in newest if row.version in numbers), journey)
    if older := numbers - known.keys():
        known = versions(group.connection, shop_id, journey, older) | known
    if told and stays:
        levels.know(group, known.values(), *told)
    return [stay for stay in stays if not _comes_later(group, stay)], known


@lru_cache
def _queries(is_sqlite: bool, heard: str, gives_levels: bool) -> tuple[SelectBase, ...]:
    """Those in hand; the version that runs, bound as `version`; and what steps that give levels go by."""
    v = journey_versions.c
    named = {"shop_id": v.shop_id, "journey_key": v.journey_key, "version": v.version}
    newest = select(journey_versions).where(*(one == bindparam(name, type_=one.type) for name, one in named.items()))
    return loading(is_sqlite, heard).columns(*_COLUMNS), newest, *(levels.ASKED if gives_levels else ())


@lru_cache(maxsize=16)
def _kept(dialect: Dialect, queries: tuple[SelectBase, ...]) -> Together:
    return Together(dialect, queries)


def _comes_later(group: Group, stay: Stay) -> bool:
    """Whether what somebody waited for happened by a clock ahead of ours; that it did is noted."""
    later = stay.phase == ending.HEARD and stay.due_at > group.at
    if later:
        group.put_off(stay, stay.due_at)
    return later


# What was taken on another version may stand further on in this one.
_TAKEN = (
    "(SELECT {joined} FROM enrolment_events AS p WHERE p.shop_id = e.shop_id AND p.enrolment_id = e.enrolment_id "
    "AND p.version <> e.version AND p.what IN ('begun', 'done'))"
)
# PostgreSQL takes both to be few, and would go through all who are heard for each who is in hand.
_INSTANT = (
    "CROSS JOIN LATERAL (SELECT CAST((SELECT jsonb_object_agg(enrolment_id, at) FROM heard) ->> CAST(e.enrolment_id AS TEXT) AS BIGINT) "
    "AS at OFFSET 0) AS h"
)
_MINE = "x.shop_id = :shop_id AND x.journey_key = :journey_key"


@lru_cache
def loading(is_sqlite: bool, heard: str) -> TextClause:
    """Those of a journey who are due, the longest due first, at most `most`; as many of `heard` (`waits.heard`); and those of
    the (member, occasion) in `rows` who wait for a message. PostgreSQL holds them: who changes one otherwise waits, or is seen."""
    taken = _TAKEN.format(joined="group_concat(p.step_key, ' ')" if is_sqlite else "string_agg(p.step_key, ' ')")
    # Whoever is due as well is to be known as heard, also where more are heard than are taken in hand.
    of_heard = "SELECT enrolment_id FROM (SELECT enrolment_id FROM heard LIMIT :most) AS told"
    chosen = " UNION ALL ".join([_due(is_sqlite), _of_news(is_sqlite), of_heard])
    chosen, held = (f"IN ({chosen})", "") if is_sqlite else (f"= ANY(ARRAY({chosen}))", " FOR UPDATE OF e")
    joined = "LEFT JOIN heard AS h ON h.enrolment_id = e.enrolment_id" if is_sqlite else _INSTANT
    # Said so that the index of those who are inside does not answer it: without figures PostgreSQL may read it whole, and each row.
    inside = "e.state" if is_sqlite else "e.state || ''"
    return text(
        f"WITH heard AS ({heard}) "  # noqa: S608
        "SELECT e.enrolment_id, e.member_id, e.occasion, e.occasion_on, e.version, e.step_key, "
        "CASE WHEN h.at IS NULL THEN e.phase ELSE 'heard' END AS phase, e.base_at, "
        "CASE WHEN h.at IS NULL THEN e.due_at WHEN h.at < e.base_at THEN e.base_at ELSE h.at END AS due_at, e.seq, "
        f"m.state, m.zone, {taken} AS taken "
        f"FROM enrolments AS e CROSS JOIN members AS m {joined} "
        f"WHERE e.shop_id = :shop_id AND e.enrolment_id {chosen} AND {inside} = 'active' "
        "AND (e.due_at <= CAST(:now AS BIGINT) OR e.phase = 'sent' OR h.at IS NOT NULL) "
        f"AND m.shop_id = e.shop_id AND m.member_id = e.member_id{held}"
    )


def _due(is_sqlite: bool) -> str:
    # Without figures about the table SQLite may read all who are inside.
    index = " INDEXED BY ix_enrolments_due" if is_sqlite else ""
    return (
        f"SELECT enrolment_id FROM (SELECT x.enrolment_id FROM enrolments AS x{index} WHERE {_MINE} AND x.state = 'active' "  # noqa: S608
        "AND x.due_at <= CAST(:now AS BIGINT) ORDER BY x.due_at LIMIT :most) AS due"
    )


def _of_news(is_sqlite: bool) -> str:
    key, waits_ = (
        f"{_MINE} AND x.member_id = w.member_id AND x.occasion = w.occasion",
        "x.state = 'active' AND x.phase = 'sent'",
    )
    # PostgreSQL asks for each by the key alone; else it may take for each the index of those who are due, and read them all.
    each = f"LATERAL (SELECT x.* FROM enrolments AS x WHERE {key} OFFSET 0) AS x WHERE {waits_}"  # noqa: S608
    each = f"enrolments AS x WHERE {key} AND {waits_}" if is_sqlite else each
    whom = given(is_sqlite, {"member_id": "BIGINT", "occasion": "TEXT"})
    return f"SELECT x.enrolment_id FROM {whom} CROSS JOIN {each}"  # noqa: S608
