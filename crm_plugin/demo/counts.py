"""What a database holds of a shop, counted plainly for the demo's report."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from crm_plugin.rules import tiers
from crm_plugin.store import members, orders, products, refunds, touchpoints
from crm_plugin.touchpoints.states import State

_SENT = (State.ACCEPTED.value, State.DELIVERED.value, State.BOUNCED.value, State.COMPLAINED.value)


def of_shop(connection: Connection, shop_id: int) -> dict[str, Any]:
    """Rows by kind, members by tier, and messages that left by channel."""

    def rows(table: Any, *conditions: Any) -> int:
        query = select(func.count()).select_from(table).where(table.c.shop_id == shop_id, *conditions)
        return int(connection.execute(query).scalar_one())

    active = members.c.state == "active"
    held = tiers.held(connection, shop_id)
    channel = touchpoints.c.channel
    sent = (
        select(channel, func.count())
        .where(touchpoints.c.shop_id == shop_id, touchpoints.c.state.in_(_SENT))
        .group_by(channel)
        .order_by(channel)
    )
    return {
        "accounts": rows(members, active, members.c.external_id.is_not(None)),
        "members": rows(members, active),
        "orders": rows(orders),
        "refunds": rows(refunds),
        "products": rows(products),
        "tiers": {level.key: held.get(level.key, 0) for level in tiers.levels(connection, shop_id)},
        "sent": {name: count for name, count in connection.execute(sent)},  # noqa: C416
    }
