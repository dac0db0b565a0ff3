"""Members who pass a multiple of their own rhythm between two days, found by the index of rhythms.

`late_by` compares with v where days since the last order reach v times the mean gap. The index has the mean gap in whole days, then the
last order: for each whole number of days that some member has, the last orders in question are one short range.
"""

from __future__ import annotations

import math
from fractions import Fraction

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    func,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
)

from crm_plugin.store import member_facts
from crm_plugin.store.members import HAS_PACE, PACE

# Multiples are taken to a millionth, and none of a million days' worth is ever reached.
_PARTS, _MOST = 1_000_000, 1_000_000


def late_between(shop_id: int, value: Fraction, low: int, high: int) -> Select[int]:
    """Whoever's lateness may have passed `value` from day number `low` to `high`, one column `member_id`."""
    f = member_facts.c
    pace = literal_column(PACE, Integer)
    own = (f.shop_id == shop_id, text(HAS_PACE))
    if not 0 <= value <= _MOST:
        # Below zero lie orders of days to come alone, which `changes` finds by their day.
        return select(f.member_id).where(*own, literal(1) == 0)
    # Each step asks the index for the next number, so that many members of few rhythms cost as much as few.
    first = select(func.min(pace).label("days")).where(*own).cte("paces", recursive=True)
    following = select(func.min(pace)).where(*own, pace > first.c.days).scalar_subquery()
    paces = first.union_all(select(following).where(first.c.days.is_not(None)))
    last = type_coerce(f.last_order_on, Integer)
    days = paces.c.days
    from_day = _big(low) - 2 - _big(math.ceil(value * _PARTS)) * (days + 1) // _PARTS
    return (
        select(f.member_id)
        .select_from(paces.join(member_facts, and_(*own, pace == days)))
        .where(last >= from_day, last <= _big(high) + 1 - _big(math.floor(value * _PARTS)) * days // _PARTS)
    )


def _big(number: int) -> ColumnElement[int]:
    return literal(number, BigInteger)
