"""What the unique key alone cannot say: nobody is missed twice for one pause, and an order that changes hands is spoken of once.

Planning asks in SQL, the guards ask the same of what they have read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select

from crm_plugin.rules.trigger_kinds import ORDER, PAUSE
from crm_plugin.store import touchpoints
from crm_plugin.store.base import unindexed
from crm_plugin.store.lists import among
from crm_plugin.touchpoints.states import State

# It has left, or may have. One in flight counts while planning; the guards leave it out, for they are asked about such rows.
_LEFT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED, State.UNCONFIRMED)
_SAID = ", ".join(f"'{state}'" for state in (State.IN_FLIGHT, *_LEFT))
_PREFIX = "lapse:"


def unsaid(guard: str, occasion: str, order: str) -> str:
    """That the journey (:journey_key) has not said it yet, as SQL: of the pause of member `m` with facts `f`, of the order, to the member.

    Args: occasion, order: what a row has for them, as SQL.
    """
    own = "said.shop_id = m.shop_id AND said.journey_key = :journey_key"
    if guard == ORDER:
        said = f"said.subject_order_id = {order} AND said.member_id <> m.member_id AND said.state IN ({_SAID})"
    else:
        said = f"said.member_id = m.member_id AND said.occasion <> {occasion} AND said.state IN ({_SAID})"
    if guard == PAUSE:
        said += f" AND substr(said.occasion, 1, {len(_PREFIX)}) = '{_PREFIX}' AND said.due_at > f.last_order_at"
    # A subquery with a limit is asked for each row through an index; NOT EXISTS would let PostgreSQL hold all rows against all
    # touchpoints of the journey.
    return f"(SELECT 1 FROM touchpoints AS said WHERE {own} AND {said} LIMIT 1) IS NULL"  # noqa: S608


_t = touchpoints.c
_GONE = (_t.shop_id == bindparam("b_shop"), unindexed(_t.state).in_([state.value for state in _LEFT]))
_LAPSES = select(_t.journey_key, _t.member_id, _t.occasion, _t.due_at).where(
    *_GONE, among(_t.member_id, "b_ids"), func.substr(_t.occasion, 1, len(_PREFIX)) == _PREFIX
)
_ORDERS = select(_t.journey_key, _t.subject_order_id, _t.member_id).where(*_GONE, among(_t.subject_order_id, "b_ids"))
_SPOKEN = select(_t.journey_key, _t.member_id, _t.occasion).where(
    *_GONE, among(_t.member_id, "b_ids"), _t.journey_key.in_(bindparam("b_keys", expanding=True))
)


def lapses(
    connection: Connection, shop_id: int, member_ids: Iterable[int]
) -> dict[tuple[str, int], dict[str, datetime]]:
    """(journey, member) → occasion → when it was due, of the lapses that have left."""
    found: dict[tuple[str, int], dict[str, datetime]] = defaultdict(dict)
    for row in connection.execute(_LAPSES, {"b_shop": shop_id, "b_ids": sorted(set(member_ids))}):
        found[row.journey_key, row.member_id][row.occasion] = row.due_at
    return found


def orders(connection: Connection, shop_id: int, order_ids: Iterable[int]) -> dict[tuple[str, int], set[int]]:
    """(journey, order) → the members to whom a message about it has left."""
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for key, order_id, member_id in connection.execute(_ORDERS, {"b_shop": shop_id, "b_ids": sorted(set(order_ids))}):
        found[key, order_id].add(member_id)
    return found


def members(
    connection: Connection, shop_id: int, member_ids: Iterable[int], keys: Iterable[str]
) -> dict[tuple[str, int], set[str]]:
    """(journey, member) → the occasions of which something has left, for journeys that speak to a member once ever."""
    wanted = sorted(set(keys))
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    if not wanted:
        return found
    asked = {"b_shop": shop_id, "b_ids": sorted(set(member_ids)), "b_keys": wanted}
    for key, member_id, occasion in connection.execute(_SPOKEN, asked):
        found[key, member_id].add(occasion)
    return found
