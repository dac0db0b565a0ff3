"""Asking a store for the codes that were ordered, some at a time: the same ones again after a kill, and in the pool in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Row, update

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, AdapterError, MalformedResponse, OutcomeUnknown, TransientError
from crm_plugin.phrases import packed
from crm_plugin.records import CouponMade, CouponOrder
from crm_plugin.store import coupon_codes
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.steps import duties
from crm_plugin.touchpoints.steps import stock as stocks
from crm_plugin.touchpoints.steps.stock import DONE, OPEN, STOPPED, Order

_FIRST, _LONGEST = timedelta(minutes=1), timedelta(hours=6)
_PASSING = (TransientError, OutcomeUnknown, MalformedResponse)
_COUNTED = ("asked", "made", "refused", "after")


def make(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    now: datetime,
    note: Callable[[str, int, int], None] | None = None,
) -> dict[str, int]:
    """Ask the store for what is open, some at a time, until it is done or the store fails; answers how many were made, by pool.

    `note` hears pool, codes made, codes ordered after each call.
    """
    told: dict[str, int] = {}
    with db.read() as connection:
        ready = [one.pool for one in stocks.all_stocks(connection, shop.shop_id).values() if stocks.is_ready(one, now)]
    for pool in ready:
        going = True
        while going:
            with db.read() as connection:
                order = stocks.stock_of(connection, shop.shop_id, pool).order
            if order is None or order.state != OPEN:
                break
            going = _some(db, shop, storefront, pool, order, now, told)
            if note is not None:
                note(pool, told.get(pool, 0), order.count)
    return told


def _some(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    pool: str,
    order: Order,
    now: datetime,
    told: dict[str, int],
) -> bool:
    """Ask for the next codes of an order; False when it is not to be gone on with now."""
    settle = partial(_settle, db, shop, pool, order, now)
    member = _next_member(db, shop, pool, order) if order.segment else None
    if order.segment and member is None:
        # Who was in the segment when it was asked for may have left it.
        settle(state=DONE)
        return False
    size = 1 if member is not None else min(storefront.coupons_at_once, order.count - order.made)
    try:
        answered = storefront.create_coupons(_as_asked(shop, pool, order, size, member))
        _raise_what_stops(answered)
    except _PASSING as error:
        told_to_wait = timedelta(seconds=getattr(error, "retry_after", None) or 0)
        wait = max(told_to_wait, min(_FIRST * 4 ** min(order.tries, 6), _LONGEST))
        settle(tries=order.tries + 1, next_try_at=now + wait, why=packed(str(error)))
        return False
    except AdapterError as error:
        settle(state=STOPPED, why=packed(str(error)))
        return False
    codes = [one.code for one in answered if one.error is None]
    refused = [one.error for one in answered if one.error is not None]
    after = replace(
        order,
        asked=order.asked + size,
        made=order.made + len(codes),
        refused=order.refused + len(refused),
        after=order.after if member is None else member.member_id,
    )
    state = _state(after, bool(codes))
    settle(
        codes,
        None if member is None else member.member_id,
        **{name: getattr(after, name) for name in _COUNTED},
        state=state,
        tries=0,
        next_try_at=None,
        why=packed(str(refused[0])) if refused else "",
    )
    told[pool] = told.get(pool, 0) + len(codes)
    return state == OPEN


def _state(order: Order, has_made: bool) -> str:
    """Where the order stands after a call. A store that makes none of several is not asked again; of members it may refuse one alone."""
    # A code that is taken is made up for by another; a member who is refused is not.
    if order.made + (order.refused if order.segment else 0) >= order.count:
        return DONE
    return OPEN if has_made or (order.segment and order.made >= order.refused) else STOPPED


def _next_member(db: Database, shop: Shop, pool: str, order: Order) -> Row[tuple[int, str, str]] | None:
    with db.read() as connection:
        query = stocks.bound_members(shop.shop_id, pool, order.segment, order.after)
        return connection.execute(query.limit(1)).first()


def _as_asked(shop: Shop, pool: str, order: Order, size: int, member: Row[tuple[int, str, str]] | None) -> CouponOrder:
    terms = order.terms
    numbers = range(order.asked, order.asked + size) if member is None else (member.member_id,)
    return CouponOrder(
        # The same is asked for by the same name.
        reference=f"{order.reference}-{order.asked if member is None else member.member_id}",
        title=terms.title or pool,
        codes=tuple(map(order.code, numbers)),
        percent=terms.percent,
        amount_minor=terms.amount_minor,
        currency=shop.currency,
        least_minor=terms.least_minor,
        ends_at=order.ends_at,
        references=() if member is None else (member.external_id,),
        emails=() if member is None else (member.email,),
    )


def _raise_what_stops(answered: Iterable[CouponMade]) -> None:
    """What would meet the other codes too: all of them are asked for again, which makes none twice."""
    for one in answered:
        if isinstance(one.error, (*_PASSING, ActionRequired)):
            raise one.error


def _settle(
    db: Database,
    shop: Shop,
    pool: str,
    order: Order,
    now: datetime,
    codes: Sequence[str] = (),
    member_id: int | None = None,
    **values: Any,
) -> None:
    """Put the codes into the pool and say how far the order is, in one transaction. One that was given up meanwhile stays so."""
    with db.write() as connection:
        lock(connection, shop.shop_id)
        stock = stocks.stock_of(connection, shop.shop_id, pool)
        duties.load_codes(connection, shop, pool, codes, now)
        if member_id is not None:
            c = coupon_codes.c
            new = (c.shop_id == shop.shop_id, c.pool_key == pool, c.code.in_(codes), c.handed_at.is_(None))
            connection.execute(update(coupon_codes).where(*new).values(member_id=member_id))
        at = next((place for place, one in enumerate(stock.orders) if one.seed == order.seed), None)
        if at is None or stock.orders[at].asked != order.asked:
            return
        if stock.orders[at].state == DONE:
            # Given up: only that these codes are its own is kept.
            values = {name: values[name] for name in _COUNTED if name in values}
        stock.orders[at] = replace(stock.orders[at], **values)
        stocks.put(connection, shop.shop_id, stock, now)
