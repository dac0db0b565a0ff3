"""One greeting for one birthday: of several journeys about birthdays one writes to a member on a day. A webhook greets nobody.

What has left is known when another is planned, and settles it. Of those that only wait none is settled by another, for it may still be
cancelled, missed or refused: just before sending, the one that was planned first goes, and the others wait until it has come to an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from crm_plugin.rules.triggers import BIRTHDAY
from crm_plugin.store import journeys, touchpoints
from crm_plugin.store.base import unindexed
from crm_plugin.store.lists import among
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import WEBHOOK, Journey
from crm_plugin.touchpoints.states import WAITING, State

_OPEN = {State.IN_FLIGHT, *WAITING}
_LEFT = [state for state in State if state not in {*_OPEN, State.SKIPPED, State.MISSED, State.CANCELLED, State.FAILED}]
# A day, whatever zone and hour each of the two journeys keeps.
_SAME_DAY = timedelta(hours=12)


def greeted_sql(shop: Shop, journey: Journey) -> str:
    """Whether another journey about birthdays has written to the member of `reached` on the same day."""
    left, day = ", ".join(f"'{state}'" for state in _LEFT), _SAME_DAY // timedelta(microseconds=1)
    return (
        # Asked once a statement: most shops have one such journey.
        f"EXISTS (SELECT 1 FROM journeys AS a WHERE a.shop_id = {shop.shop_id} AND a.journey_key <> '{journey.key}' "  # noqa: S608
        f"AND a.\"trigger\" = '{BIRTHDAY}') AND "
        "EXISTS (SELECT 1 FROM touchpoints AS g JOIN journeys AS j ON j.shop_id = g.shop_id AND j.journey_key = g.journey_key "
        f"WHERE g.shop_id = {shop.shop_id} AND g.member_id = reached.member_id AND g.journey_key <> '{journey.key}' "
        # With the plus the day's index is no way to them: of many who are due at one instant it would find all for each.
        f"AND +g.due_at > reached.due_at - {day} AND +g.due_at < reached.due_at + {day} "
        f"AND g.channel <> '{WEBHOOK}' AND g.state IN ({left}) AND j.\"trigger\" = '{BIRTHDAY}')"
    )


_t, _j = touchpoints.c, journeys.c
# What may be their rival: touchpoints about the birthday of the members `b_ids`, of other journeys than `b_journey`.
_OTHERS = (
    select(
        _t.touchpoint_id, _t.member_id, _t.journey_key, _t.state, _t.due_at, _t.next_try_at, _j.enabled, _j.paused_at
    )
    .join_from(touchpoints, journeys, (_j.shop_id == _t.shop_id) & (_j.journey_key == _t.journey_key))
    .where(_t.shop_id == bindparam("b_shop"), among(_t.member_id, "b_ids"), _j.trigger == BIRTHDAY)
    .where(_t.channel != WEBHOOK, unindexed(_t.journey_key) != bindparam("b_journey"))
    .where(unindexed(_t.due_at) > bindparam("b_after"), unindexed(_t.due_at) < bindparam("b_before"))
    .where(unindexed(_t.state).in_([*_OPEN, *_LEFT]))
)


def load(connection: Connection, shop_id: int, rows: Sequence[Any]) -> dict[tuple[int, datetime], bool]:
    """Of these touchpoints about birthdays those that another journey keeps back: True where it has written, else it goes first.

    By id (0: not planned yet) and instant.
    """
    if not rows:
        return {}
    speaking, due = {row.journey_key for row in rows}, [row.due_at for row in rows]
    asked = {
        "b_shop": shop_id,
        "b_ids": sorted({row.member_id for row in rows}),
        "b_after": min(due) - _SAME_DAY,
        "b_before": max(due) + _SAME_DAY,
        # Where they are all of one journey, none is another's rival.
        "b_journey": speaking.pop() if len(speaking) == 1 else "",
    }
    by_member: dict[int, list[Any]] = {}
    for other in connection.execute(_OTHERS, asked).all():
        by_member.setdefault(other.member_id, []).append(other)
    found: dict[tuple[int, datetime], bool] = {}
    for row in rows:
        if row.member_id not in by_member:
            continue
        others = [other for other in by_member[row.member_id] if _is_rival(other, row)]
        if any(other.state in _LEFT for other in others):
            found[row.touchpoint_id, row.due_at] = True
        elif any(_goes_first(other, row) for other in others):
            found[row.touchpoint_id, row.due_at] = False
    return found


def _is_rival(other: Row[Any], row: Row[Any]) -> bool:
    return bool(other.journey_key != row.journey_key and abs(other.due_at - row.due_at) < _SAME_DAY)


def _goes_first(other: Row[Any], row: Row[Any]) -> bool:
    """Whether what is not settled was planned before, and is to leave while there is time for both."""
    if row.touchpoint_id and other.touchpoint_id > row.touchpoint_id:
        return False
    runs = other.enabled and other.paused_at is None and other.next_try_at < row.valid_until
    return bool(other.state == State.IN_FLIGHT or runs)
