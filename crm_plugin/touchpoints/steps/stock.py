"""Codes that a store is asked for: what they are worth, how far an order of them is, and pools that are kept in stock.

An order is one document in a row of `job_runs`, one for each pool. Its codes are made of a secret of the order and their number, so
whoever goes on after a kill asks for the very same ones, and a store makes the same once. Codes that end are taken out of the pool a day
before, so that nobody is handed one that is of no use.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.clock import at_local, local_day
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    InvalidInput,
    MalformedResponse,
    NotFound,
    OutcomeUnknown,
    TransientError,
    UnsupportedFeature,
)
from crm_plugin.phrases import packed, phrase
from crm_plugin.records import CouponMade, CouponOrder
from crm_plugin.rules.book import check_key
from crm_plugin.store import coupon_codes, job_runs, runs
from crm_plugin.store.members import lock
from crm_plugin.store.runs import Run
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.steps import duties

MOST, LONGEST_TITLE, LONGEST_DAYS, LONGEST_PREFIX = 10_000, 80, 3650, 10
OPEN, DONE, STOPPED = "open", "done", "stopped"
_ROW = "coupons:"
# Without those that look like others.
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 10
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(hours=6)
# What is asked of the store at once for a pool that is kept in stock: a fifth of it, not each code by itself.
_REFILL_AT = 5
# A code that ends within this time is handed out no more.
_BEFORE_END = timedelta(days=1)
_KEPT_ORDERS = 5
_PASSING = (TransientError, OutcomeUnknown, MalformedResponse)


@dataclass(frozen=True, slots=True)
class Terms:
    """What each code is worth: a share (above 0, at most 100) or an amount in the shop's currency comes off an order of at least
    `least_minor`. It is good for `days` after it was made, 0 for ever. `prefix` begins each code.
    """

    percent: Decimal | None = None
    amount_minor: int | None = None
    least_minor: int = 0
    days: int = 0
    title: str = ""
    prefix: str = ""


@dataclass(slots=True)
class Order:
    """So many codes of one store. `asked` is up to which number they were asked for, `why` what the store said last."""

    seed: str
    count: int
    terms: Terms
    at: datetime
    ends_at: datetime | None = None
    asked: int = 0
    made: int = 0
    refused: int = 0
    state: str = OPEN
    why: str = ""
    tries: int = 0
    next_try_at: datetime | None = None

    def code(self, number: int) -> str:
        """Its code of that number."""
        drawn = hashlib.sha256(f"{self.seed}:{number}".encode()).digest()
        return self.terms.prefix + "".join(_LETTERS[byte % len(_LETTERS)] for byte in drawn[:_LENGTH])

    @property
    def reference(self) -> str:
        """What the store knows it by; its secret is not told by that."""
        return hashlib.sha256(f"{self.seed}:reference".encode()).hexdigest()[:12]


@dataclass(slots=True)
class Stock:
    """What is asked of the store for one pool: the orders, the newest last; how many codes are kept in stock (0: none), on which terms."""

    pool: str
    keep: int = 0
    terms: Terms | None = None
    orders: list[Order] = field(default_factory=list)

    @property
    def order(self) -> Order | None:
        """The one that is not at its end."""
        return next((one for one in self.orders if one.state != DONE), None)


def can_make(shop: Shop) -> bool:
    """Whether the store makes codes that whoever has one may use."""
    cls = storefront_class(shop.platform)
    return Capability.COUPONS in cls.capabilities and cls.codes_for_anybody


def all_stocks(connection: Connection, shop_id: int) -> dict[str, Stock]:
    """By pool what was asked of the store."""
    r = job_runs.c
    # `;` comes after `:`.
    mine = (r.shop_id == shop_id, r.job >= _ROW, r.job < f"{_ROW[:-1]};")
    rows = connection.execute(select(r.job, r.result).where(*mine).order_by(r.job))
    return {row.job.removeprefix(_ROW): msgspec.convert(row.result, Stock) for row in rows}


def stock_of(connection: Connection, shop_id: int, pool: str) -> Stock:
    """Of one pool; nothing was asked for one that is not there."""
    run = runs.last(connection, shop_id, f"{_ROW}{pool}")
    return Stock(pool) if run is None else msgspec.convert(run.result, Stock)


def _put(connection: Connection, shop_id: int, stock: Stock, now: datetime) -> None:
    runs.keep(connection, shop_id, Run(f"{_ROW}{stock.pool}", now, now, msgspec.to_builtins(stock), ""))


def check(shop: Shop, terms: Terms, count: int) -> None:
    """Raises: InvalidInput naming the field, UnsupportedFeature where the platform cannot."""
    if not can_make(shop):
        label = storefront_class(shop.platform).label
        said = phrase("%(platform)s makes no codes that anybody may use.", platform=label)
        raise UnsupportedFeature(said, adapter=shop.platform, operation="create_coupons")
    if (terms.percent is None) == (terms.amount_minor is None):
        raise InvalidInput(phrase("Say what comes off: a share or an amount."), field="value")
    if terms.percent is not None and not (terms.percent.is_finite() and 0 < terms.percent <= 100):
        raise InvalidInput(phrase("A share is above 0 and at most 100."), field="value")
    if terms.amount_minor is not None and terms.amount_minor <= 0:
        raise InvalidInput(phrase("An amount is above 0."), field="value")
    if terms.least_minor < 0:
        raise InvalidInput(phrase("An amount is not below 0."), field="least")
    if not 0 <= terms.days <= LONGEST_DAYS:
        raise InvalidInput(phrase("From 1 to %(most)s days, or none.", most=LONGEST_DAYS), field="days")
    if not 1 <= count <= MOST:
        raise InvalidInput(phrase("From 1 to %(most)s codes at a time.", most=MOST), field="count")
    if len(terms.title) > LONGEST_TITLE:
        raise InvalidInput(phrase("At most %(most)s characters.", most=LONGEST_TITLE), field="title")
    if len(terms.prefix) > LONGEST_PREFIX or not all(letter in f"{_LETTERS}IO01-" for letter in terms.prefix):
        said = phrase("Capital letters, digits and -, at most %(most)s.", most=LONGEST_PREFIX)
        raise InvalidInput(said, field="prefix")


def ask(
    connection: Connection,
    shop: Shop,
    pool: str,
    terms: Terms,
    count: int,
    now: datetime,
    *,
    keep: bool = False,
    typed: str = "",
) -> Order | None:
    """Order codes; `keep` has as many kept in stock from now on, and only what is missing ordered. None where nothing is missing.

    Above a size (`confirm_above`) the number has to be typed. Raises: InvalidInput naming the field, UnsupportedFeature.
    """
    check_key(pool, phrase("pool"))
    check(shop, terms, count)
    lock(connection, shop.shop_id)
    stock = stock_of(connection, shop.shop_id, pool)
    if stock.order is not None:
        raise InvalidInput(
            phrase("Codes are being made for the pool %(pool)s already.", pool=pool),
            field="pool",
            hint=phrase("Wait for their end, or give them up."),
        )
    missing = count - free(connection, shop.shop_id).get(pool, 0) if keep else count
    if missing > 0 and policy_of(shop).blast.asks(missing) and typed.strip() != str(missing):
        raise InvalidInput(
            phrase("These are %(count)s codes.", count=missing),
            field="confirm",
            hint=phrase("Type %(count)s to go ahead.", count=missing),
        )
    duties.load_codes(connection, shop, pool, (), now, title=terms.title)
    stock.keep, stock.terms = count if keep else 0, terms
    made = _add(stock, shop, terms, missing, now) if missing > 0 else None
    _put(connection, shop.shop_id, stock, now)
    return made


def _add(stock: Stock, shop: Shop, terms: Terms, count: int, now: datetime) -> Order:
    last_day = local_day(now, shop.timezone) + timedelta(days=terms.days)
    ends_at = at_local(last_day + timedelta(days=1), time(), shop.timezone) if terms.days else None
    made = Order(secrets.token_hex(16), count, terms, now, ends_at)
    # Those that end are known until then, for their codes have to be found again.
    past = [one for one in stock.orders if one.ends_at is None][:-_KEPT_ORDERS]
    stock.orders = [*(one for one in stock.orders if one not in past), made]
    return made


def again(connection: Connection, shop: Shop, pool: str, now: datetime) -> None:
    """Ask the store once more after it refused. Raises: NotFound."""
    _change(connection, shop, pool, now, state=OPEN, tries=0, next_try_at=None, why="")


def give_up(connection: Connection, shop: Shop, pool: str, now: datetime) -> None:
    """Ask for no more codes of the present order, and keep none in stock; those that were made stay. Raises: NotFound."""
    lock(connection, shop.shop_id)
    stock = stock_of(connection, shop.shop_id, pool)
    if stock.order is None and not stock.keep:
        raise _nothing(pool)
    stock.keep = 0
    stock.orders = [replace(one, state=DONE) if one.state != DONE else one for one in stock.orders]
    _put(connection, shop.shop_id, stock, now)


def _change(connection: Connection, shop: Shop, pool: str, now: datetime, **values: Any) -> None:
    lock(connection, shop.shop_id)
    stock = stock_of(connection, shop.shop_id, pool)
    if stock.order is None:
        raise _nothing(pool)
    stock.orders = [replace(one, **values) if one.state != DONE else one for one in stock.orders]
    _put(connection, shop.shop_id, stock, now)


def _nothing(pool: str) -> NotFound:
    return NotFound(phrase("Nothing is asked of the store for the pool %(pool)s.", pool=pool))


def free(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many codes each pool has left."""
    c = coupon_codes.c
    query = select(c.pool_key, func.count()).where(c.shop_id == shop_id, c.handed_at.is_(None)).group_by(c.pool_key)
    return {pool: int(count) for pool, count in connection.execute(query)}


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether there is anything to ask, to order or to take away now."""
    stocks = all_stocks(connection, shop.shop_id).values()
    if any(_is_ready(one, now) or _ended(one, now) for one in stocks):
        return True
    kept = [one for one in stocks if one.keep and one.order is None]
    left = free(connection, shop.shop_id) if kept else {}
    return any(_missing(one, left) for one in kept)


def _is_ready(stock: Stock, now: datetime) -> bool:
    order = stock.order
    return order is not None and order.state == OPEN and (order.next_try_at is None or order.next_try_at <= now)


def _ended(stock: Stock, now: datetime) -> list[Order]:
    return [one for one in stock.orders if one.ends_at is not None and one.ends_at - _BEFORE_END <= now]


def _missing(stock: Stock, left: dict[str, int]) -> int:
    """How many codes a pool that is kept in stock is to get now."""
    have = left.get(stock.pool, 0)
    return stock.keep - have if have <= stock.keep - max(1, stock.keep // _REFILL_AT) else 0


def keep_up(connection: Connection, shop: Shop, now: datetime) -> int:
    """Take away the codes that end, and order what is missing of those that are kept in stock; answers how many were taken away."""
    lock(connection, shop.shop_id)
    dropped = 0
    stocks = all_stocks(connection, shop.shop_id)
    for stock in stocks.values():
        if ended := _ended(stock, now):
            codes = [order.code(number) for order in ended for number in range(order.asked)]
            dropped += _drop(connection, shop.shop_id, stock.pool, codes)
            stock.orders = [one for one in stock.orders if one not in ended]
            _put(connection, shop.shop_id, stock, now)
    left = free(connection, shop.shop_id)
    for stock in stocks.values():
        if stock.keep and stock.order is None and stock.terms is not None and (missing := _missing(stock, left)):
            _add(stock, shop, stock.terms, missing, now)
            _put(connection, shop.shop_id, stock, now)
    return dropped


def _drop(connection: Connection, shop_id: int, pool: str, codes: list[str]) -> int:
    c, gone = coupon_codes.c, 0
    for start in range(0, len(codes), 500):
        mine = (c.shop_id == shop_id, c.pool_key == pool, c.code.in_(codes[start : start + 500]), c.handed_at.is_(None))
        gone += connection.execute(delete(coupon_codes).where(*mine)).rowcount
    return gone


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
        ready = [one.pool for one in all_stocks(connection, shop.shop_id).values() if _is_ready(one, now)]
    for pool in ready:
        going = True
        while going:
            with db.read() as connection:
                order = stock_of(connection, shop.shop_id, pool).order
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
    size = min(storefront.coupons_at_once, order.count - order.made)
    numbers = range(order.asked, order.asked + size)
    try:
        answered = storefront.create_coupons(_as_asked(shop, pool, order, numbers))
        _raise_what_stops(answered)
    except _PASSING as error:
        wait = max(
            timedelta(seconds=getattr(error, "retry_after", None) or 0),
            min(_FIRST * 4 ** min(order.tries, 6), _LONGEST),
        )
        _settle(db, shop, pool, order, now, tries=order.tries + 1, next_try_at=now + wait, why=packed(str(error)))
        return False
    except AdapterError as error:
        _settle(db, shop, pool, order, now, state=STOPPED, why=packed(str(error)))
        return False
    codes = [one.code for one in answered if one.error is None]
    refused = [one.error for one in answered if one.error is not None]
    made = order.made + len(codes)
    state = DONE if made >= order.count else OPEN if codes else STOPPED
    values = {"asked": order.asked + size, "made": made, "refused": order.refused + len(refused), "state": state}
    why = packed(str(refused[0])) if refused else ""
    _settle(db, shop, pool, order, now, codes, tries=0, next_try_at=None, why=why, **values)
    told[pool] = told.get(pool, 0) + len(codes)
    return state == OPEN


def _as_asked(shop: Shop, pool: str, order: Order, numbers: range) -> CouponOrder:
    terms = order.terms
    return CouponOrder(
        reference=f"{order.reference}-{numbers.start}",
        title=terms.title or pool,
        codes=tuple(order.code(number) for number in numbers),
        percent=terms.percent,
        amount_minor=terms.amount_minor,
        currency=shop.currency,
        least_minor=terms.least_minor,
        ends_at=order.ends_at,
    )


def _raise_what_stops(answered: Iterable[CouponMade]) -> None:
    """What would meet the other codes too: all of them are asked for again, which makes none twice."""
    for one in answered:
        if isinstance(one.error, (*_PASSING, ActionRequired)):
            raise one.error


def _settle(
    db: Database, shop: Shop, pool: str, order: Order, now: datetime, codes: Iterable[str] = (), **values: Any
) -> None:
    """Put the codes into the pool and say how far the order is, in one transaction. One that was given up meanwhile stays so."""
    with db.write() as connection:
        lock(connection, shop.shop_id)
        stock = stock_of(connection, shop.shop_id, pool)
        duties.load_codes(connection, shop, pool, codes, now)
        at = next((place for place, one in enumerate(stock.orders) if one.seed == order.seed), None)
        if at is None or stock.orders[at].asked != order.asked:
            return
        if stock.orders[at].state == DONE:
            # Given up: only that these codes are its own is kept.
            values = {name: values[name] for name in ("asked", "made") if name in values}
        stock.orders[at] = replace(stock.orders[at], **values)
        _put(connection, shop.shop_id, stock, now)
