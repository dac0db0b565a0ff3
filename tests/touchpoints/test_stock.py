"""Codes asked of a store: made once whatever happens in between, refilled, taken away before they end, refused in words."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.errors import ActionRequired, InvalidInput, NotFound, PermanentError, TransientError, UnsupportedFeature
from crm_plugin.phrases import unpacked
from crm_plugin.records import CouponMade, CouponOrder
from crm_plugin.rules import kept, segments
from crm_plugin.store import coupon_codes, members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.steps import duties, making, stock
from crm_plugin.touchpoints.steps.stock import DONE, OPEN, STOPPED, Terms
from tests.factories import NOON, make_shop, member, write
from tests.touchpoints.plans import counted

TEN = Terms(percent=Decimal(10), title="Ten", prefix="WB-")


class CouponStore:
    """A store that makes codes, each once for its order; `trouble` is raised or told in turn, before or after they are made."""

    coupons_at_once = 20

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}
        self.calls: list[CouponOrder] = []
        self.before: list[Exception | None] = []
        self.after: list[BaseException | None] = []
        self.taken: set[str] = set()

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        self.calls.append(order)
        if self.before and (error := self.before.pop(0)) is not None:
            raise error
        made = []
        for code in order.codes:
            if code in self.taken or self.codes.setdefault(code, order.reference) != order.reference:
                made.append(CouponMade(code, error=PermanentError("Another coupon has this code.", adapter="fake")))
            else:
                made.append(CouponMade(code, f"id-{code}"))
        if self.after and (killed := self.after.pop(0)) is not None:
            raise killed
        return made


@pytest.fixture
def store() -> CouponStore:
    return CouponStore()


@pytest.fixture
def shop(sqlite_db: Database) -> Shop:
    return _shop(sqlite_db)


def _shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection, platform="woocommerce")


def _ask(db: Database, shop: Shop, terms: Terms = TEN, count: int = 50, **more: Any) -> None:
    with db.write() as connection:
        stock.ask(connection, shop, "wb", terms, count, more.pop("now", NOON), **more)


def _codes(db: Database) -> list[str]:
    with db.read() as connection:
        return sorted(connection.execute(select(coupon_codes.c.code)).scalars())


def _order(db: Database, shop: Shop) -> stock.Order:
    with db.read() as connection:
        return stock.stock_of(connection, shop.shop_id, "wb").orders[-1]


def _make(db: Database, shop: Shop, store: Any, **later: float) -> dict[str, int]:
    return making.make(db, shop, store, NOON + timedelta(**later))


def _keep_up(db: Database, shop: Shop, **later: float) -> int:
    with db.write() as connection:
        return stock.keep_up(connection, shop, NOON + timedelta(**later))


def test_codes_of_a_killed_worker_are_asked_for_again_and_made_once(db: Database, store: CouponStore) -> None:
    shop = _shop(db)
    _ask(db, shop)
    store.after = [None, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        _make(db, shop, store)
    assert len(_codes(db)) == 20
    assert len(store.codes) == 40
    assert _make(db, shop, store) == {"wb": 30}
    assert _codes(db) == sorted(store.codes)
    assert len(store.codes) == 50
    assert [len(one.codes) for one in store.calls] == [20, 20, 20, 10]
    assert store.calls[1] == store.calls[2]
    assert all(code.startswith("WB-") and len(code) == 13 for code in store.codes)
    assert (_order(db, shop).state, _order(db, shop).made) == (DONE, 50)
    assert _make(db, shop, store) == {}
    # What the store is told does not give its codes away.
    assert not any(_order(db, shop).seed in one.reference for one in store.calls)


def test_code_that_is_taken_is_made_up_for(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _ask(sqlite_db, shop)
    order = _order(sqlite_db, shop)
    store.taken = {order.code(0), order.code(7)}
    assert _make(sqlite_db, shop, store) == {"wb": 50}
    assert (_order(sqlite_db, shop).asked, _order(sqlite_db, shop).refused) == (52, 2)
    assert set(_codes(sqlite_db)) == set(store.codes)


def test_trouble_waits_and_refusals_stop(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _ask(sqlite_db, shop)
    store.before = [TransientError("Busy.", retry_after=300.0, adapter="fake")]
    assert _make(sqlite_db, shop, store) == {}
    with sqlite_db.read() as connection:
        assert not stock.is_due(connection, shop, NOON + timedelta(minutes=4))
        assert stock.is_due(connection, shop, NOON + timedelta(minutes=5))
    store.before = [ActionRequired("The key only reads.", hint="Make one that writes.", adapter="fake")]
    _make(sqlite_db, shop, store, minutes=5)
    order = _order(sqlite_db, shop)
    assert (order.state, unpacked(order.why)) == (STOPPED, "The key only reads. Make one that writes.")
    assert _make(sqlite_db, shop, store, hours=9) == {}
    with sqlite_db.write() as connection:
        assert not stock.is_due(connection, shop, NOON + timedelta(hours=9))
        stock.again(connection, shop, "wb", NOON)
    assert _make(sqlite_db, shop, store) == {"wb": 50}
    assert len(store.codes) == 50


def test_store_that_makes_none_is_asked_no_more(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _ask(sqlite_db, shop)
    store.taken = {_order(sqlite_db, shop).code(number) for number in range(20)}
    _make(sqlite_db, shop, store)
    assert (_order(sqlite_db, shop).state, len(store.calls)) == (STOPPED, 1)
    with sqlite_db.write() as connection:
        stock.give_up(connection, shop, "wb", NOON)
        with pytest.raises(NotFound):
            stock.again(connection, shop, "wb", NOON)
    assert _codes(sqlite_db) == []


def test_what_was_given_up_during_a_call_keeps_its_codes(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _ask(sqlite_db, shop)
    made = store.create_coupons

    def given_up(order: CouponOrder) -> list[CouponMade]:
        with sqlite_db.write() as connection:
            stock.give_up(connection, shop, "wb", NOON)
        return made(order)

    store.create_coupons = given_up  # type: ignore[method-assign]
    _make(sqlite_db, shop, store)
    assert (len(_codes(sqlite_db)), _order(sqlite_db, shop).state, _order(sqlite_db, shop).asked) == (20, DONE, 20)


def test_pool_is_kept_in_stock(db: Database, store: CouponStore) -> None:
    shop = _shop(db)
    _ask(db, shop, count=50, keep=True)
    _make(db, shop, store)
    assert _keep_up(db, shop) == 0
    assert _order(db, shop).state == DONE
    _hand_out(db, 9)
    _keep_up(db, shop)
    assert _order(db, shop).state == DONE
    _hand_out(db, 10)
    with db.read() as connection:
        assert stock.is_due(connection, shop, NOON)
    _keep_up(db, shop)
    assert (_order(db, shop).state, _order(db, shop).count) == (OPEN, 10)
    _make(db, shop, store)
    with db.read() as connection:
        assert stock.free(connection, shop.shop_id) == {"wb": 50}
    assert len(store.codes) == 60


def _hand_out(db: Database, count: int) -> None:
    """So many codes of the pool are handed out, in all."""
    with db.write() as connection:
        names = (
            connection.execute(select(coupon_codes.c.code).order_by(coupon_codes.c.place).limit(count)).scalars().all()
        )
        connection.execute(update(coupon_codes).where(coupon_codes.c.code.in_(names)).values(handed_at=NOON))


def test_codes_that_differ_only_in_case_are_one(db: Database) -> None:
    """As stores take them."""
    shop = _shop(db)
    with db.write() as connection:
        loaded = [
            duties.load_codes(connection, shop, "own", codes, NOON)
            for codes in (["Save10", "B", "SAVE10", "save10", "B"], ["sAVE10", "b", "C", "B"], ["Grüß"], ["GRÜß", "D"])
        ]
        codes = connection.execute(select(coupon_codes.c.code).order_by(coupon_codes.c.place)).scalars().all()
    assert [(one.added, one.there, one.alike) for one in loaded] == [(2, 0, 2), (1, 0, 3), (1, 0, 0), (1, 0, 1)]
    assert codes == ["Save10", "B", "C", "Grüß", "D"]


def test_whether_a_pool_is_low_counts_no_codes(db: Database, store: CouponStore) -> None:
    """It is asked every minute, of pools of any size."""
    shop = _shop(db)
    _ask(db, shop, count=10, keep=True)
    _make(db, shop, store)
    for handed, low in ((0, False), (1, False), (2, True)):
        _hand_out(db, handed)
        with db.read() as connection, counted(db) as statements:
            assert stock.is_due(connection, shop, NOON) is low
        assert [one for one in statements if "count(" in one.lower()] == []


def test_codes_leave_the_pool_a_day_before_they_end(db: Database, store: CouponStore) -> None:
    shop = _shop(db)
    with db.write() as connection:
        duties.load_codes(connection, shop, "wb", ["OWN"], NOON)
    _ask(db, shop, Terms(amount_minor=500, least_minor=2000, days=3), count=5)
    _make(db, shop, store)
    (call,) = store.calls
    # Midnight in Berlin after the third day.
    assert call.ends_at is not None
    assert call.ends_at.isoformat() == "2026-06-04T22:00:00+00:00"
    assert (call.amount_minor, call.least_minor, call.currency) == (500, 2000, "EUR")
    _hand_out(db, 2)
    assert _keep_up(db, shop, days=2) == 0
    assert _keep_up(db, shop, days=3) == 4
    left = _codes(db)
    assert len(left) == 2
    assert "OWN" in left


def test_stock_that_ended_is_made_anew(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _ask(sqlite_db, shop, Terms(percent=Decimal(5), days=3), count=5, keep=True)
    _make(sqlite_db, shop, store)
    assert _keep_up(sqlite_db, shop, days=3) == 5
    _make(sqlite_db, shop, store, days=3)
    assert len(_codes(sqlite_db)) == 5
    assert len(store.codes) == 10


@pytest.mark.parametrize(
    ("terms", "count", "field"),
    [
        (Terms(), 5, "value"),
        (Terms(percent=Decimal(10), amount_minor=5), 5, "value"),
        (Terms(percent=Decimal("100.1")), 5, "value"),
        (Terms(percent=Decimal("NaN")), 5, "value"),
        (Terms(amount_minor=0), 5, "value"),
        (Terms(percent=Decimal(5), least_minor=-1), 5, "least"),
        (Terms(percent=Decimal(5), days=-1), 5, "days"),
        (Terms(percent=Decimal(5), prefix="a b"), 5, "prefix"),
        (TEN, 0, "count"),
        (TEN, 10_001, "count"),
        (TEN, 2000, "confirm"),
    ],
)
def test_what_cannot_be_ordered_is_refused_at_its_field(
    sqlite_db: Database, shop: Shop, terms: Terms, count: int, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _ask(sqlite_db, shop, terms, count)
    assert caught.value.field == field
    with sqlite_db.read() as connection:
        assert stock.all_stocks(connection, shop.shop_id) == {}


def test_typed_number_lets_many_go_and_one_order_runs_at_a_time(sqlite_db: Database, shop: Shop) -> None:
    _ask(sqlite_db, shop, count=2000, typed="2000")
    with pytest.raises(InvalidInput, match="already"):
        _ask(sqlite_db, shop)


def _segment(db: Database, shop: Shop, count: int) -> None:
    """A segment of so many members, beside a guest and one whose address is not known."""
    people = [member(str(n), email=f"m{n}@x.test") for n in range(count)]
    write(db, shop, [*people, member("bare")])
    with db.write() as connection:
        segments.save_list(connection, shop, "vip", NOON, title="Best")
        ids = connection.execute(select(members.c.member_id)).scalars().all()
        kept.write_list(connection, shop, "vip", ids, NOON)


def test_store_that_is_not_connected_is_asked_for_none(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        gone = make_shop(connection, platform="woocommerce", status="uninstalled")
    with pytest.raises(InvalidInput, match="not connected"):
        _ask(sqlite_db, gone)


def test_members_of_a_segment_get_a_code_of_their_own(db: Database, store: CouponStore) -> None:
    shop = _shop(db)
    _segment(db, shop, 3)
    _ask(db, shop, segment="vip")
    assert _order(db, shop).count == 3
    store.after = [None, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        _make(db, shop, store)
    assert _make(db, shop, store) == {"wb": 2}
    assert [(one.references, one.emails) for one in store.calls] == [
        ((str(n),), (f"m{n}@x.test",)) for n in (0, 1, 1, 2)
    ]
    assert store.calls[1] == store.calls[2]
    c, m = coupon_codes.c, members.c
    with db.read() as connection:
        query = select(m.external_id, c.code).join(coupon_codes, c.member_id == m.member_id).order_by(m.external_id)
        own = [tuple(row) for row in connection.execute(query)]
        # They are nobody else's, so a stock does not count them.
        assert stock.free(connection, shop.shop_id) == {}
    assert own == [(one.references[0], one.codes[0]) for one in (store.calls[0], store.calls[2], store.calls[3])]
    assert _order(db, shop).state == DONE
    # Who has one gets no other; then there is nobody left to ask for.
    with pytest.raises(InvalidInput) as caught:
        _ask(db, shop, segment="vip")
    assert caught.value.field == "segment"


def test_member_who_is_refused_stops_nobody_else(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _segment(sqlite_db, shop, 4)
    _ask(sqlite_db, shop, segment="vip")
    with sqlite_db.read() as connection:
        second = connection.execute(select(members.c.member_id).where(members.c.external_id == "1")).scalar_one()
    store.taken = {_order(sqlite_db, shop).code(second)}
    assert _make(sqlite_db, shop, store) == {"wb": 3}
    assert (_order(sqlite_db, shop).state, _order(sqlite_db, shop).refused) == (DONE, 1)


def test_who_left_the_segment_gets_none(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _segment(sqlite_db, shop, 2)
    _ask(sqlite_db, shop, segment="vip")
    with sqlite_db.write() as connection:
        kept.write_list(connection, shop, "vip", [], NOON)
    assert _make(sqlite_db, shop, store) == {}
    assert (_order(sqlite_db, shop).state, store.calls) == (DONE, [])


def test_code_of_who_left_amid_it_is_asked_for_nobody_else(sqlite_db: Database, shop: Shop, store: CouponStore) -> None:
    _segment(sqlite_db, shop, 2)
    _ask(sqlite_db, shop, Terms(percent=Decimal(10), days=3), segment="vip")
    store.after = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        _make(sqlite_db, shop, store)
    m = members.c
    with sqlite_db.write() as connection:
        other = connection.execute(select(m.member_id).where(m.external_id == "1")).scalar_one()
        kept.write_list(connection, shop, "vip", [other], NOON)
    assert _make(sqlite_db, shop, store) == {"wb": 1}
    assert store.calls[0].codes != store.calls[1].codes
    assert _codes(sqlite_db) == list(store.calls[1].codes)
    assert _keep_up(sqlite_db, shop, days=3) == 1
    assert _codes(sqlite_db) == []


def test_codes_of_members_are_not_kept_in_stock(sqlite_db: Database, shop: Shop) -> None:
    _segment(sqlite_db, shop, 2)
    with pytest.raises(InvalidInput) as caught:
        _ask(sqlite_db, shop, segment="vip", keep=True)
    assert caught.value.field == "keep"
    with pytest.raises(NotFound):
        _ask(sqlite_db, shop, segment="none")
    with sqlite_db.write() as connection:
        saleor = make_shop(connection, 3, platform="saleor")
        with pytest.raises(UnsupportedFeature):
            stock.ask(connection, saleor, "wb", TEN, 5, NOON, segment="vip")


@pytest.mark.parametrize("platform", ["csv", "taobao"])
def test_platform_that_makes_none_for_everybody_says_so(sqlite_db: Database, platform: str) -> None:
    with sqlite_db.write() as connection:
        other = make_shop(connection, 2, platform=platform)
        with pytest.raises(UnsupportedFeature):
            stock.ask(connection, other, "wb", TEN, 5, NOON)
