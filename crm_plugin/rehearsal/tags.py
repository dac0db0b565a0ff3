"""Which tags journeys had given at an instant, by the steps that gave and took them; those that a store gave say not since when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.store import journey_versions, member_tags
from crm_plugin.store.bulk import execute, insert_rows, select_in
from crm_plugin.touchpoints.steps.document import read_steps, walk

_DONE = (
    "SELECT e.member_id, v.at, e.journey_key, v.version, v.step_key FROM enrolment_events AS v JOIN enrolments AS e "
    "ON e.shop_id = v.shop_id AND e.enrolment_id = v.enrolment_id WHERE v.shop_id = ? AND v.what = 'done' AND v.reason <> 'before' "
)
# (journey, version, step) → tag → whether it is given.
Steps = Mapping[tuple[str, int, str], Mapping[str, bool]]


def take_back(connection: Connection, shop_id: int, since: int) -> None:
    """Undo what steps after `since` gave and took."""
    steps = _steps(connection, shop_id)
    if not steps:
        return
    later = execute(connection, f"{_DONE} AND v.at > ?", (shop_id, since))
    touched = {(row[0], tag) for row in later for tag in steps.get(tuple(row[2:]), {})}
    had: dict[tuple[int, str], bool] = dict.fromkeys(touched, False)
    before = select_in(
        connection,
        f"{_DONE} AND v.at <= ? AND e.member_id IN ({{marks}})",
        (shop_id, since),
        {one for one, _ in touched},
    )
    for row in sorted(tuple(row) for row in before):
        for tag, given in steps.get(row[2:], {}).items():
            if (row[0], tag) in had:
                had[row[0], tag] = given
    for member_id, tag in touched:
        own = (shop_id, member_id, tag)
        execute(connection, "DELETE FROM member_tags WHERE shop_id = ? AND member_id = ? AND tag = ? AND own", own)
    rows = [(shop_id, member_id, tag, True) for (member_id, tag), given in had.items() if given]
    kept = {
        tuple(row)
        for row in execute(connection, "SELECT member_id, tag FROM member_tags WHERE shop_id = ?", (shop_id,))
    }
    columns = ("shop_id", "member_id", "tag", "own")
    insert_rows(connection, member_tags, columns, [row for row in rows if row[1:3] not in kept])


def _steps(connection: Connection, shop_id: int) -> dict[tuple[str, int, str], dict[str, bool]]:
    """The steps that give or take tags, over all versions."""
    v = journey_versions.c
    found: dict[tuple[str, int, str], dict[str, bool]] = {}
    query = select(v.journey_key, v.version, v.document).where(v.shop_id == shop_id)
    for key, version, document in connection.execute(query):
        for step in walk(read_steps(document.get("steps"))):
            if step.kind == "tag":
                told: Mapping[str, Any] = step.told
                taken = dict.fromkeys(told.get("remove", ()), False)
                found[key, version, step.key] = {**taken, **dict.fromkeys(told.get("add", ()), True)}
    return found
