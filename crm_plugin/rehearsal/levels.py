"""Which level each member held at an instant, by the history of levels; what a person decided afterwards is decided again at its time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from crm_plugin.clock import day_number, local_day
from crm_plugin.rounds import TIERS
from crm_plugin.rules.by_hand import INVITED
from crm_plugin.rules.standing import BY_HAND, UNDONE
from crm_plugin.store import member_tiers
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import execute, execute_in, insert_rows
from crm_plugin.store.program import PROGRAM, put_beside_facts
from crm_plugin.store.tenants import Shop

LATER = "later_levels"
# What `Held.as_dict` calls the columns, and what stands where it says nothing.
_TERM: dict[str, Any] = {
    "valid_until": None,
    "grace_until": None,
    "in_grace": False,
    "fixed": False,
    "fixed_until": None,
    "fixed_reason": "",
    "fixed_by": "",
}
_HELD = ("shop_id", "program_key", "member_id", "level_key", "since_at", "since_on", *_TERM)
_CHANGE = (
    "change_id", "program_key", "member_id", "from_level", "to_level", "as_of", "reason", "policy_version", "before", "after",
)  # fmt: skip
# As `steps.acts` signs what a journey decides.
_BY_A_PERSON = "COALESCE(json_extract({}, '$.by'), '') NOT IN (SELECT 'journey ' || journey_key FROM journeys)"
Place = tuple[str, int]


def take_back(connection: Connection, shop: Shop, start: datetime) -> None:
    """Give everybody the level held at `start`, and take out every change and run after it."""
    shop_id, since = shop.shop_id, to_micros(start)
    held = _held_before(connection, shop_id, since)
    _set_aside(connection, shop_id, since)
    _put(connection, shop_id, held)
    for table, column in (("tier_changes", "changed_at"), ("tier_terms", "at"), ("tier_entries", "at")):
        execute(connection, f"DELETE FROM {table} WHERE shop_id = ? AND {column} > ?", (shop_id, since))  # noqa: S608
    later = "SELECT run_id FROM tier_runs WHERE shop_id = ? AND at > ?"
    execute(
        connection,
        f"UPDATE tier_entries SET held = FALSE, held_run_id = NULL WHERE shop_id = ? AND held_run_id IN ({later})",  # noqa: S608
        (shop_id, shop_id, since),
    )
    execute(connection, "DELETE FROM tier_runs WHERE shop_id = ? AND at > ?", (shop_id, since))
    execute(connection, "DELETE FROM tier_passes WHERE shop_id = ? AND first_at > ?", (shop_id, since))
    day = local_day(start - timedelta(microseconds=1), shop.timezone)
    execute(
        connection,
        "UPDATE tier_passes SET last_at = MIN(last_at, ?), last_on = MIN(last_on, ?) WHERE shop_id = ?",
        (since, day_number(day), shop_id),
    )
    execute(
        connection,
        "UPDATE job_runs SET through = MIN(through, ?) WHERE shop_id = ? AND job = ?",
        (day.isoformat(), shop_id, TIERS),
    )


def _held_before(connection: Connection, shop_id: int, since: int) -> dict[Place, Mapping[str, Any]]:
    """By programme and member: what the first change after `since` found."""
    found: dict[Place, tuple[int, Mapping[str, Any]]] = {}
    moved = (
        "SELECT c.program_key, c.member_id, c.changed_at, c.before, c.from_level, MAX(b.changed_at), b.as_of, b.to_level "
        "FROM tier_changes AS c LEFT JOIN tier_changes AS b ON b.shop_id = c.shop_id AND b.program_key = c.program_key "
        "AND b.member_id = c.member_id AND b.changed_at <= ? "
        "WHERE c.shop_id = ? AND c.changed_at > ? GROUP BY c.change_id ORDER BY c.changed_at, c.change_id"
    )
    for program, member_id, at, before, level, since_at, since_on, led_to in execute(
        connection, moved, (since, shop_id, since)
    ):
        if (program, member_id) in found:
            continue
        plain = {"level": level}
        if level and led_to == level:
            plain |= {"since_at": since_at, "since_on": since_on}
        found[program, member_id] = at, json.loads(before) if before is not None else plain if level else {}
    turned = (
        "SELECT program_key, member_id, at, before FROM tier_terms WHERE shop_id = ? AND at > ? AND after IS NOT NULL "
        "ORDER BY at, event_id"
    )
    for program, member_id, at, before in execute(connection, turned, (shop_id, since)):
        there = found.get((program, member_id))
        if there is None or at < there[0]:
            found[program, member_id] = at, json.loads(before) if before is not None else {}
    return {place: before for place, (_, before) in found.items()}


def _set_aside(connection: Connection, shop_id: int, since: int) -> None:
    """What a person decided, or took back: no rule says it again. What a step of a journey decided is decided anew."""
    names = ", ".join(_CHANGE)
    execute(
        connection,
        f"CREATE TABLE {LATER} AS SELECT {names}, changed_at AS comes_at FROM tier_changes WHERE shop_id = ? AND changed_at > ? "  # noqa: S608
        f"AND json_extract(reason, '$.cause') IN (?, ?) AND {_BY_A_PERSON.format('reason')} UNION ALL "
        "SELECT NULL, program_key, member_id, level_key, level_key, as_of, detail, policy_version, before, after, at "
        f"FROM tier_terms WHERE shop_id = ? AND at > ? AND after IS NOT NULL AND kind IN (?, ?) AND {_BY_A_PERSON.format('detail')}",
        (shop_id, since, BY_HAND, UNDONE) * 2,
    )
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    execute(
        connection,
        "DELETE FROM later_tier_invitations WHERE (program_key, member_id, level_key, invited_at) IN "  # noqa: S608
        "(SELECT program_key, member_id, level_key, at FROM tier_terms WHERE shop_id = ? AND kind = ? "
        f"AND NOT {_BY_A_PERSON.format('detail')})",
        (shop_id, INVITED),
    )


def turn(connection: Connection, shop: Shop, low: int, high: int) -> None:
    """Decide again what a person decided between two instants."""
    sql = f"SELECT * FROM {LATER} WHERE comes_at > ? AND comes_at <= ? ORDER BY comes_at, change_id"  # noqa: S608
    decided: dict[Place, Mapping[str, Any]] = {}
    for row in execute(connection, sql, (low, high)).mappings().all():
        after = json.loads(row["after"]) if row["after"] is not None else {"level": row["to_level"]}
        held = {"since_at": row["comes_at"], "since_on": row["as_of"], **after} if after.get("level") else {}
        decided[row["program_key"], row["member_id"]] = held
        if row["change_id"] is not None:
            values = [row[name] for name in _CHANGE]
            execute(
                connection,
                f"INSERT OR IGNORE INTO tier_changes (shop_id, changed_at, {', '.join(_CHANGE)}) "  # noqa: S608
                f"VALUES ({', '.join('?' * (len(_CHANGE) + 2))})",
                (shop.shop_id, row["comes_at"], *values),
            )
    _put(connection, shop.shop_id, decided)


def _put(connection: Connection, shop_id: int, held: Mapping[Place, Mapping[str, Any]]) -> None:
    """What members hold, in place of what they held."""
    for program in sorted({program for program, _ in held}):
        mine = {member_id: one for (key, member_id), one in sorted(held.items()) if key == program}
        gone = "DELETE FROM member_tiers WHERE shop_id = ? AND program_key = ? AND member_id IN ({marks})"
        execute_in(connection, gone, (shop_id, program), mine)
        rows = []
        for member_id, one in mine.items():
            if one.get("level"):
                since = (one.get("since_at", 0), one.get("since_on", 0))
                term = [one.get(name, usual) for name, usual in _TERM.items()]
                rows.append((shop_id, program, member_id, one["level"], *since, *term))
        insert_rows(connection, member_tiers, _HELD, rows)
        if program == PROGRAM:
            put_beside_facts(connection, shop_id, ((one, held.get("level", "")) for one, held in mine.items()), 0)
