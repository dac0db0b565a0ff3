"""Codes that a store is asked for: what they are worth, how far an order of them is, and pools that are kept in stock.

An order is one document in a row of `job_runs`, one for each pool. Its codes are made of a secret of the order and their number, so
whoever goes on after a kill asks for the very same ones, and a store makes the same once. Codes that end are taken out of the pool a day
before, so that nobody is handed one that is of no use.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, exists, func, select

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.clock import at_local, local_day
from crm_plugin.errors import InvalidInput, NotFound, UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.rules import segments
from crm_plugin.rules.book import check_key
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.store import coupon_codes, job_runs, members, runs, segment_members
from crm_plugin.store.members import lock
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.steps import duties

# A code of a member takes a call of its own.
MOST_BOUND = 1_000
MOST, LONGEST_TITLE, LONGEST_DAYS, LONGEST_PREFIX = 10_000, 80, 3650, 10
OPEN, DONE, STOPPED = "open", "done", "stopped"
_ROW = "coupons:"
# Without those that look like others.
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 10
# What is asked of the store at once for a pool that is kept in stock: a fifth of it, not each code by itself.
_REFILL_AT = 5
# A code that ends within this time is handed out no more.
_BEFORE_END = timedelta(days=1)
_KEPT_ORDERS = 5


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


def code_of(seed: str, prefix: str, number: int) -> str:
    """The code of that number of an order with this secret."""
    drawn = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return prefix + "".join(_LETTERS[byte % len(_LETTERS)] for byte in drawn[:_LENGTH])


@dataclass(slots=True)
class Order:
    """So many codes of one store. `asked` is up to which number they were asked for, `why` what the store said last.

    With a `segment` each is made for one of its members and no use to anybody else; those up to the id `after` have had theirs asked for.
    """

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
    segment: str = ""
    after: int = 0

    def code(self, number: int) -> str:
        """Its code of that number; a member's is that of their id, so that a code which was made for one is asked for nobody else."""
        return code_of(self.seed, self.terms.prefix, number)

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


def can_bind(shop: Shop) -> bool:
    """Whether it can make a code that is one member's alone."""
    return can_make(shop) and Capability.COUPONS_OF_ONE in storefront_class(shop.platform).capabilities


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


def put(connection: Connection, shop_id: int, stock: Stock, now: datetime) -> None:
    """Keep it in place of what was known of its pool."""
    runs.keep(connection, shop_id, Run(f"{_ROW}{stock.pool}", now, now, msgspec.to_builtins(stock), ""))


def check(shop: Shop, pool: str, terms: Terms, count: int) -> None:
    """Raises: InvalidInput naming the field, UnsupportedFeature where the platform cannot."""
    check_key(pool, phrase("pool"))
    if not can_make(shop):
        label = storefront_class(shop.platform).label
        said = phrase("%(platform)s cannot make codes that anybody may use.", platform=label)
        hint = phrase("Make them in your store, then put them into a pool.")
        raise UnsupportedFeature(said, adapter=shop.platform, operation="create_coupons", hint=hint)
    if not shop.is_awake:
        raise InvalidInput(phrase("Your store is not connected. Connect it again, and it can be asked for codes."))
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
    segment: str = "",
    typed: str = "",
) -> Order | None:
    """Order codes; `keep` has as many kept in stock from now on, and only what is missing ordered. None where nothing is missing.

    With a `segment` each of its members gets one of their own, whatever `count` says, but who has one in this pool. Above a size
    (`confirm_above`) the number has to be typed. Raises: InvalidInput naming the field, UnsupportedFeature, NotFound.
    """
    if segment:
        count = bound_count(connection, shop, pool, segment, keep=keep)
    check(shop, pool, terms, count)
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
    if made is not None:
        made.segment = segment
    put(connection, shop.shop_id, stock, now)
    return made


def bound_count(connection: Connection, shop: Shop, pool: str, segment: str, *, keep: bool = False) -> int:
    """How many members of a segment would get a code. Raises: InvalidInput, UnsupportedFeature where the platform cannot, NotFound."""
    if not can_bind(shop):
        label = storefront_class(shop.platform).label
        said = phrase("%(platform)s cannot make codes that are one member's alone.", platform=label)
        raise UnsupportedFeature(said, adapter=shop.platform, operation="create_coupons")
    if keep:
        raise InvalidInput(phrase("Codes of members are made once and not kept in stock."), field="keep")
    segments.show(connection, shop, segment)
    query = bound_members(shop.shop_id, pool, segment, 0).order_by(None).subquery()
    count = int(connection.execute(select(func.count()).select_from(query)).scalar_one())
    if not 1 <= count <= MOST_BOUND:
        raise InvalidInput(
            phrase("%(count)s members would get a code; from 1 to %(most)s can.", count=count, most=MOST_BOUND),
            field="segment",
            hint=phrase("Members without an account or an e-mail address get none, nor does who has one in this pool."),
        )
    return count


def bound_members(shop_id: int, pool: str, segment: str, after: int) -> Select[tuple[int, str, str]]:
    """Members of a segment with an id above `after` who are to have a code of this pool: id, account, e-mail address."""
    m, s, c = members.c, segment_members.c, coupon_codes.c
    has_one = exists().where(
        c.shop_id == shop_id, c.pool_key == pool, c.member_id == m.member_id, c.handed_at.is_(None)
    )
    return (
        select(m.member_id, m.external_id, m.email)
        .join(segment_members, (s.shop_id == m.shop_id) & (s.member_id == m.member_id))
        .where(m.shop_id == shop_id, s.segment_key == segment, m.member_id > after, m.state == ACTIVE)
        .where(m.external_id.is_not(None), m.external_id != "", m.email != "", ~has_one)
        .order_by(m.member_id)
    )


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
    put(connection, shop.shop_id, stock, now)


def _change(connection: Connection, shop: Shop, pool: str, now: datetime, **values: Any) -> None:
    lock(connection, shop.shop_id)
    stock = stock_of(connection, shop.shop_id, pool)
    if stock.order is None:
        raise _nothing(pool)
    stock.orders = [replace(one, **values) if one.state != DONE else one for one in stock.orders]
    put(connection, shop.shop_id, stock, now)


def _nothing(pool: str) -> NotFound:
    return NotFound(phrase("Nothing is asked of the store for the pool %(pool)s.", pool=pool))


def free(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many codes each pool has left that are nobody's."""
    c = coupon_codes.c
    nobodys = (c.shop_id == shop_id, c.handed_at.is_(None), c.member_id.is_(None))
    query = select(c.pool_key, func.count()).where(*nobodys).group_by(c.pool_key)
    return {pool: int(count) for pool, count in connection.execute(query)}


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether there is anything to ask, to order or to take away now."""
    stocks = all_stocks(connection, shop.shop_id).values()
    if any(is_ready(one, now) or _ended(one, now) for one in stocks):
        return True
    return any(_is_low(connection, shop.shop_id, one) for one in stocks if one.keep and one.order is None)


def _is_low(connection: Connection, shop_id: int, stock: Stock) -> bool:
    """Whether a pool has no more free codes than it is refilled at. The index of the free ones is asked for the first above that."""
    c = coupon_codes.c
    nobodys = (c.shop_id == shop_id, c.pool_key == stock.pool, c.handed_at.is_(None), c.member_id.is_(None))
    above = select(c.place).where(*nobodys).order_by(c.place).limit(1).offset(_refilled_at(stock))
    return connection.execute(above).first() is None


def is_ready(stock: Stock, now: datetime) -> bool:
    """Whether the store is to be asked for more of its order now."""
    order = stock.order
    return order is not None and order.state == OPEN and (order.next_try_at is None or order.next_try_at <= now)


def _ended(stock: Stock, now: datetime) -> list[Order]:
    return [one for one in stock.orders if one.ends_at is not None and one.ends_at - _BEFORE_END <= now]


def _missing(stock: Stock, left: dict[str, int]) -> int:
    """How many codes a pool that is kept in stock is to get now."""
    have = left.get(stock.pool, 0)
    return stock.keep - have if have <= _refilled_at(stock) else 0


def _refilled_at(stock: Stock) -> int:
    """With how many free codes or fewer a pool is refilled."""
    return stock.keep - max(1, stock.keep // _REFILL_AT)


def keep_up(connection: Connection, shop: Shop, now: datetime) -> int:
    """Take away the codes that end, and order what is missing of those that are kept in stock; answers how many were taken away."""
    lock(connection, shop.shop_id)
    dropped = 0
    stocks = all_stocks(connection, shop.shop_id)
    for stock in stocks.values():
        if ended := _ended(stock, now):
            codes = [code for order in ended for code in _codes(connection, shop.shop_id, stock.pool, order)]
            dropped += _drop(connection, shop.shop_id, stock.pool, codes)
            stock.orders = [one for one in stock.orders if one not in ended]
            put(connection, shop.shop_id, stock, now)
    left = free(connection, shop.shop_id)
    for stock in stocks.values():
        if stock.keep and stock.order is None and stock.terms is not None and (missing := _missing(stock, left)):
            _add(stock, shop, stock.terms, missing, now)
            put(connection, shop.shop_id, stock, now)
    return dropped


def _codes(connection: Connection, shop_id: int, pool: str, order: Order) -> list[str]:
    """All that were asked for, of those of members the ones that nobody was handed."""
    if not order.segment:
        return [order.code(number) for number in range(order.asked)]
    c = coupon_codes.c
    bound = (c.shop_id == shop_id, c.pool_key == pool, c.handed_at.is_(None), c.member_id.is_not(None))
    return [order.code(member_id) for member_id in connection.execute(select(c.member_id).where(*bound)).scalars()]


def _drop(connection: Connection, shop_id: int, pool: str, codes: list[str]) -> int:
    c, gone = coupon_codes.c, 0
    for start in range(0, len(codes), 500):
        mine = (c.shop_id == shop_id, c.pool_key == pool, c.code.in_(codes[start : start + 500]), c.handed_at.is_(None))
        gone += connection.execute(delete(coupon_codes).where(*mine)).rowcount
    return gone
