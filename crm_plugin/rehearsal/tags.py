"""Which tags journeys had given at an instant, by the steps that gave and took them; those that a store gave say not since when."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.errors import CrmError
from crm_plugin.store import journey_versions, member_tags
from crm_plugin.store.bulk import execute, insert_rows, select_in
from crm_plugin.touchpoints.steps.document import read_steps, walk

_log = logging.getLogger(__name__)

_DONE = (
    "SELECT e.member_id, v.at, e.journey_key, v.version, v.step_key FROM enrolment_events AS v JOIN enrolments AS e "
    "ON e.shop_id = v.shop_id AND e.enrolment_id = v.enrolment_id WHERE v.shop_id = ? AND v.what = 'done' AND v.reason <> 'before' "
)
# (journey, version, step) → tag → whether it is given.
Steps = Mapping[tuple[str, int, str], Mapping[str, bool]]


def take_back(connection: Connection, shop_id: int, since: int) -> int:
    """Undo what steps after `since` gave and took. Answers how many published versions could not be read, whose tags stay as they are."""
    steps, unread = _steps(connection, shop_id)
    if steps:
        _undo(connection, shop_id, since, steps)
    return unread


def _undo(connection: Connection, shop_id: int, since: int, steps: Steps) -> None:
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


def _steps(connection: Connection, shop_id: int) -> tuple[Steps, int]:
    """The steps that give or take tags, over all versions, and how many of these cannot be read."""
    v = journey_versions.c
    found: dict[tuple[str, int, str], Mapping[str, bool]] = {}
    query = select(v.journey_key, v.version, v.document).where(v.shop_id == shop_id)
    unread = 0
    for key, version, document in connection.execute(query):
        try:
            told = [
                (step.key, _given(step.told)) for step in walk(read_steps(document.get("steps"))) if step.kind == "tag"
            ]
        except (CrmError, AttributeError, LookupError, TypeError, ValueError) as error:
            _log.warning("version %s of journey %s in shop %s: %s", version, key, shop_id, error)
            unread += 1
        else:
            found |= {(key, version, step_key): given for step_key, given in told}
    return found, unread


def _given(told: Mapping[str, Any]) -> dict[str, bool]:
    return {**dict.fromkeys(told.get("remove", ()), False), **dict.fromkeys(told.get("add", ()), True)}
