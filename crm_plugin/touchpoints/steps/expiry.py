"""Until when a code that was handed out is good. A code of the merchant's own tells nobody; one that the store made ends with its order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from crm_plugin.clock import local_day
from crm_plugin.store.tenants import Shop

if TYPE_CHECKING:
    from crm_plugin.touchpoints.steps.stock import Order

# A code of a pool, and the member who was handed it.
Handed = tuple[str, str, int]


def last_days(connection: Connection, shop: Shop, handed: Iterable[Handed]) -> dict[str, date]:
    """By code the last day, in the shop's zone, on which it is good; a code without an end is not in it, nor one that has ended."""
    told = list(handed)
    found: dict[str, date] = {}
    if not told:
        return found
    # Where nothing is handed out nothing of this is needed.
    from crm_plugin.touchpoints.steps.stock import all_stocks

    for stock in all_stocks(connection, shop.shop_id).values():
        mine = [(code, member_id) for pool, code, member_id in told if pool == stock.pool]
        for order in stock.orders:
            if order.ends_at is None:
                continue
            # It ends at the midnight after its last day.
            last = local_day(order.ends_at - timedelta(microseconds=1), shop.timezone)
            found |= {code: last for code, member_id in mine if _is_of(order, code, member_id)}
    return found


def _is_of(order: Order, code: str, member_id: int) -> bool:
    if order.segment:
        return order.code(member_id) == code
    return code in _codes(order.seed, order.terms.prefix, order.asked)


@lru_cache(maxsize=32)
def _codes(seed: str, prefix: str, asked: int) -> frozenset[str]:
    """All that an order asked for; each batch of messages asks again."""
    from crm_plugin.touchpoints.steps.stock import code_of

    return frozenset(code_of(seed, prefix, number) for number in range(asked))
