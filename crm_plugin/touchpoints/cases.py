"""An open case: who has complained, sent something back or waits for a parcel that is late gets no promotion until it is settled.

- complaint: an event of that kind that was not withdrawn (settled), of the last `complaint_days`
- return: an order of the last `return_days` that is on hold, or a refund that is promised and not yet given
- late parcel: an order of the last 90 days that was shipped more than `late_parcel_days` ago and has not arrived; in a store that tells of
  arrivals, for elsewhere every parcel would be late

Planning asks in SQL, and before sending the same SQL is asked for the members in hand. Messages about an order of their own are not
concerned, and a journey that follows a complaint or a refund speaks of the very case.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, TextClause, bindparam, text

from crm_plugin.records import OrderStatus
from crm_plugin.store.base import to_micros
from crm_plugin.store.lists import Listed, among_sql
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.guard_settings import Cases
from crm_plugin.touchpoints.journey import Journey

COMPLAINT, RETURN, LATE_PARCEL = "complaint", "return", "late_parcel"
_DAY = 86_400_000_000
# A parcel that never arrived is not waited for longer.
_LONGEST = 90
# What a journey's trigger is about when it speaks of a case.
_SPEAKS = frozenset({"complaint", "refund"})


def concerns(journey: Journey) -> bool:
    """Whether an open case keeps this journey from speaking."""
    return not exempt(journey) and journey.trigger.type not in _SPEAKS


def conditions(shop_id: int, cases: Cases, member_id: str) -> list[tuple[str, str]]:
    """(case, SQL that it is open at `:now`); `member_id` is an SQL expression. Each is asked through an index of the member.

    Before that it is asked, once a statement, whether there is such a thing in the shop at all: in most there is not.
    """
    found: list[tuple[str, str]] = []
    now = "CAST(:now AS BIGINT)"
    if cases.complaint_days:
        found.append(
            (
                COMPLAINT,
                f"EXISTS (SELECT 1 FROM member_events AS a WHERE a.shop_id = {shop_id} AND a.kind = '{COMPLAINT}') "  # noqa: S608
                f"AND EXISTS (SELECT 1 FROM member_events AS v WHERE v.shop_id = {shop_id} AND v.member_id = {member_id} "
                f"AND v.at > {now} - {cases.complaint_days * _DAY} AND v.kind = '{COMPLAINT}' AND v.withdrawn_at IS NULL)",
            )
        )
    if cases.return_days:
        since = f"{now} / {_DAY} - {cases.return_days}"
        found.append(
            (
                RETURN,
                f"(EXISTS (SELECT 1 FROM orders AS o WHERE o.shop_id = {shop_id} AND o.member_id = {member_id} "  # noqa: S608
                f"AND o.placed_on >= {since} AND o.status = '{OrderStatus.ON_HOLD}') "
                f"OR EXISTS (SELECT 1 FROM refunds AS a WHERE a.shop_id = {shop_id} AND a.refunded_on >= {since} AND NOT a.dated) "
                f"AND EXISTS (SELECT 1 FROM refunds AS r WHERE r.shop_id = {shop_id} AND r.member_id = {member_id} "
                f"AND r.refunded_on >= {since} AND NOT r.dated))",
            )
        )
    if cases.late_parcel_days:
        since = f"{now} / {_DAY} - {_LONGEST}"
        found.append(
            (
                LATE_PARCEL,
                f"EXISTS (SELECT 1 FROM order_events AS e WHERE e.shop_id = {shop_id} AND e.kind = 'delivered' "  # noqa: S608
                f"AND e.happened_on >= {since}) "
                f"AND EXISTS (SELECT 1 FROM orders AS o WHERE o.shop_id = {shop_id} AND o.member_id = {member_id} "
                f"AND o.placed_on >= {since} AND o.status = '{OrderStatus.SHIPPED}' AND o.delivered_at IS NULL "
                f"AND o.shipped_at < {now} - {cases.late_parcel_days * _DAY})",
            )
        )
    return found


def open_cases(
    connection: Connection, shop_id: int, cases: Cases, member_ids: Collection[int], now: datetime
) -> dict[int, str]:
    """Which of these members have an open case, and which; one statement."""
    query = _query(shop_id, cases, connection.dialect.name == "sqlite")
    if query is None or not member_ids:
        return {}
    values = {"now": to_micros(now), "member_ids": sorted(member_ids)}
    return {row.member_id: row.which for row in connection.execute(query, values)}


@lru_cache(maxsize=64)
def _query(shop_id: int, cases: Cases, is_sqlite: bool) -> TextClause | None:
    """The statement names nobody, so that it is the same for all who are asked about, and is made once; None where nothing is asked."""
    asked = conditions(shop_id, cases, "m.member_id")
    if not asked:
        return None
    which = " ".join(f"WHEN {condition} THEN '{case}'" for case, condition in asked)
    sql = (
        f"SELECT c.member_id, c.which FROM (SELECT m.member_id AS member_id, CASE {which} END AS which FROM members AS m "  # noqa: S608
        f"WHERE m.shop_id = {shop_id} AND {among_sql('m.member_id', 'member_ids', is_sqlite=is_sqlite)}) AS c WHERE c.which IS NOT NULL"
    )
    return text(sql).bindparams(bindparam("member_ids", type_=Listed))
