"""The WooCommerce storefront against a store that pages, ties, fails and misbehaves as the real one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import responses
from sqlalchemy import func, select

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.errors import ActionRequired, MalformedResponse, TransientError
from crm_plugin.records import MemberRecord, OrderRecord, ProductRecord, RefundRecord, Stream
from crm_plugin.store import orders, refunds
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.sync import facts
from crm_plugin.sync.connect import add_shop
from crm_plugin.sync.pull import sync_shop
from tests.adapters.storefronts.woocommerce.fake_store import URL, FakeStore, customer, order
from tests.factories import NOON

KEYS = {"url": URL, "key": "ck_" + "a" * 40, "secret": "cs_" + "b" * 40}


class Waits:
    """Stands for sleeping and for the clock."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.at = 1_800_000_000.0

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    fake = FakeStore()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        fake.mount(mock)
        yield fake


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def storefront(waits: Waits) -> WooCommerceStorefront:
    client = WooCommerceClient(KEYS["url"], KEYS["key"], KEYS["secret"], sleep=waits.sleep, now=lambda: waits.at)
    return WooCommerceStorefront(KEYS, client=client)


def _ids(storefront: WooCommerceStorefront, stream: Stream, cursor: str = "") -> tuple[list[str], str]:
    ids: list[str] = []
    last = False
    for page in storefront.pages(stream, cursor):
        assert not last
        ids += [record.external_id for record in page.records]
        cursor, last = page.next_cursor, page.last
    assert last
    return ids, cursor


def test_equal_seconds_lose_nothing(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(n) for n in range(250)]
    store.lists["orders"] += [order(n, f"2026-01-02T00:{n % 60:02d}:00") for n in range(250, 400)]
    ids, cursor = _ids(storefront, Stream.ORDERS)
    assert set(ids) == {str(n) for n in range(400)}
    again, _ = _ids(storefront, Stream.ORDERS, cursor)
    assert set(again) < set(ids)
    assert len(again) < 30
    store.lists["orders"].append(order(999, "2026-01-03T00:00:00"))
    assert "999" in _ids(storefront, Stream.ORDERS, cursor)[0]


def test_every_page_can_be_resumed(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(n, f"2026-01-0{n // 100 + 1}T00:00:{n % 50:02d}") for n in range(330)]
    store.lists["orders"].append(order(900, status="trash"))
    seen: set[str] = set()
    cursor, last = "", False
    while not last:
        page = next(storefront.pages(Stream.ORDERS, cursor))
        seen |= {record.external_id for record in page.records}
        cursor, last = page.next_cursor, page.last
    assert seen == {str(n) for n in range(330)} | {"900"}


def test_trashed_order_no_longer_counts(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(1, status="trash")]
    (record,) = [record for page in storefront.pages(Stream.ORDERS, "") for record in page.records]
    assert isinstance(record, OrderRecord)
    assert not record.status.counts


def test_accounts_are_swept_daily_and_new_ones_at_once(
    store: FakeStore, storefront: WooCommerceStorefront, waits: Waits
) -> None:
    store.lists["customers"] = [customer(n) for n in range(1, 251)]
    ids, cursor = _ids(storefront, Stream.MEMBERS)
    assert ids == [str(n) for n in range(1, 251)]
    assert store.calls[0][1]["role"] == "all"
    store.lists["customers"] += [customer(n) for n in range(251, 371)]
    fresh, cursor = _ids(storefront, Stream.MEMBERS, cursor)
    assert sorted(map(int, fresh)) == list(range(251, 371))
    waits.at += 25 * 3600
    assert len(_ids(storefront, Stream.MEMBERS, cursor)[0]) == 370


def test_member_holds_birthday_and_consent(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    meta = [
        {"id": 1, "key": "billing_birth_date", "value": "1984-02-29"},
        {"id": 2, "key": "marketing_opt_in", "value": 1},
    ]
    store.lists["customers"] = [customer(7, meta_data=meta, billing={"country": "FR", "phone": "01 23 45 67 89"})]
    (record,) = [record for page in storefront.pages(Stream.MEMBERS, "") for record in page.records]
    assert isinstance(record, MemberRecord)
    assert (record.birth_year, record.birth_month, record.birth_day, record.country) == (1984, 2, 29, "FR")
    assert [(said.channel, said.state.value) for said in record.consents] == [("email", "granted")]


def test_refund_takes_its_orders_currency_and_day(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(5, currency="USD", refunds=[{"id": 6, "total": "-53.81", "reason": "Broken"}])]
    store.lists["refunds"] = [{"id": 6, "parent_id": 5, "amount": "53.81", "date_created_gmt": "2026-01-09T10:00:00"}]
    (record,) = [record for page in storefront.pages(Stream.REFUNDS, "") for record in page.records]
    assert isinstance(record, RefundRecord)
    assert (record.amount_minor, record.currency, record.order_external_id) == (5381, "USD", "5")
    assert record.refunded_at is not None
    assert record.refunded_at.isoformat() == "2026-01-09T10:00:00+00:00"


def test_currency_of_an_order_just_read_is_not_asked_again(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(5, currency="USD", refunds=[{"id": 6, "total": "-53.81"}])]
    store.lists["refunds"] = [{"id": 6, "parent_id": 5, "amount": "53.81"}]
    list(storefront.pages(Stream.ORDERS, ""))
    store.calls.clear()
    (record,) = [record for page in storefront.pages(Stream.REFUNDS, "") for record in page.records]
    assert isinstance(record, RefundRecord)
    assert (record.amount_minor, record.currency) == (5381, "USD")
    assert [path for path, _ in store.calls] == ["refunds"]


def test_old_store_tells_refunds_by_order(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    del store.lists["refunds"]
    store.lists["orders"] = [order(5, refunds=[{"id": 6, "total": "-1.00"}]), order(8)]
    store.lists["orders/5/refunds"] = [{"id": 6, "amount": "1.00", "date_created_gmt": "2026-01-09T10:00:00"}]
    (record,) = [record for page in storefront.pages(Stream.REFUNDS, "") for record in page.records]
    assert isinstance(record, RefundRecord)
    assert (record.external_id, record.order_external_id, record.amount_minor) == ("6", "5", 100)


def test_store_without_variations_still_tells_products(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    cost = {"total_value": 21.52, "values": [{"defined_value": 21.52}]}
    store.lists["products"] = [
        {
            "id": 37,
            "name": "Bag",
            "price": "53.81",
            "cost_of_goods_sold": cost,
            "date_modified_gmt": "2026-01-01T00:00:00",
        }
    ]
    (record,) = [record for page in storefront.pages(Stream.PRODUCTS, "") for record in page.records]
    assert isinstance(record, ProductRecord)
    assert (record.price_minor, record.cost_minor, record.currency) == (5381, 2152, "EUR")


def test_bad_record_is_set_aside_with_its_path(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(1), order(2, total={"amount": 3}), order(3, currency="")]
    (page, *_) = storefront.pages(Stream.ORDERS, "")
    assert [record.external_id for record in page.records] == ["1"]
    assert [(problem.external_id, problem.path) for problem in page.problems] == [("2", "$.total"), ("3", "$.currency")]
    with pytest.raises(MalformedResponse):
        storefront.parse(Stream.ORDERS, page.problems[0].raw)
    store.lists["orders"][1]["total"] = "3.00"
    again = storefront.reread(Stream.ORDERS, "2")
    assert isinstance(again, OrderRecord)
    assert again.total_minor == 300
    assert storefront.reread(Stream.ORDERS, "404") is None


def test_passing_troubles_are_waited_out(store: FakeStore, storefront: WooCommerceStorefront, waits: Waits) -> None:
    store.lists["customers"] = [customer(1)]
    store.faults = [
        (503, {}, ""),
        (429, {"Retry-After": "7"}, ""),
        requests.ConnectionError("gone"),
        (200, {}, '[{"id": 1, "email"'),
    ]
    assert _ids(storefront, Stream.MEMBERS)[0] == ["1"]
    assert waits.pauses == [1.0, 7.0, 4.0, 8.0]


def test_lasting_trouble_is_told(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.faults = [(503, {}, "")] * 9
    with pytest.raises(TransientError, match="busy or down"):
        _ids(storefront, Stream.MEMBERS)


@pytest.mark.parametrize(
    "changed_at", ["9999-12-31T23:30:00", "2160-01-01T00:00:00", "0001-01-01T00:00:00", "2030-01-01T00:00:00"]
)
def test_change_dated_at_the_end_of_time_stops_nothing(
    store: FakeStore, storefront: WooCommerceStorefront, changed_at: str
) -> None:
    store.lists["orders"] = [order(1), order(2, changed_at), order(3, "2026-01-02T00:00:00")]
    _, cursor = _ids(storefront, Stream.ORDERS)
    store.lists["orders"].append(order(4, "2026-02-01T00:00:00"))
    assert "4" in _ids(storefront, Stream.ORDERS, cursor)[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            (401, {}, '{"code":"woocommerce_rest_authentication_error","message":"Consumer key is invalid."}'),
            "does not know this key",
        ),
        ((200, {}, "<!doctype html><html><body>Hello</body></html>"), "web page instead of data"),
        ((404, {}, '{"code":"rest_no_route","message":"No route"}'), "There is no WooCommerce REST API"),
        (
            (301, {"Location": "https://www.shop.example/wp-json/"}, ""),
            "sends us on from https://shop.example to https://www.shop.example",
        ),
    ],
)
def test_refusals_say_what_to_do(
    store: FakeStore, storefront: WooCommerceStorefront, fault: tuple[int, dict[str, str], str], words: str
) -> None:
    store.faults = [fault] * 9
    (problem,) = storefront.check()
    assert words in problem.message
    assert problem.hint
    assert problem.severity is Severity.ERROR


def test_connected_store_is_synced_whole(
    store: FakeStore, storefront: WooCommerceStorefront, sqlite_db: Database
) -> None:
    store.lists["customers"] = [customer(1, email="g1@example.test")]
    store.lists["orders"] = [order(1, refunds=[{"id": 6, "total": "-53.81"}]), order(2)]
    store.lists["refunds"] = [{"id": 6, "parent_id": 1, "amount": "53.81", "date_created_gmt": "2026-01-09T10:00:00"}]
    shop = add_shop(
        sqlite_db, SecretBox("A" * 43 + "="), name="fake", platform="woocommerce", credentials=KEYS, now=NOON
    )
    assert (shop.currency, shop.timezone, shop.title) == ("EUR", "Europe/Paris", "Fake")
    assert sync_shop(sqlite_db, shop, storefront, now=NOON).problems == 0
    assert sync_shop(sqlite_db, shop, storefront, now=NOON, full=True).rows == 0
    with sqlite_db.read() as connection:
        assert connection.execute(select(func.sum(orders.c.total_minor))).scalar_one() == 59710
        assert connection.execute(select(refunds.c.dated, refunds.c.amount_minor)).one() == (True, 5381)


def test_refused_keys_write_no_shop(store: FakeStore, sqlite_db: Database) -> None:
    store.faults = [
        (401, {}, '{"code":"woocommerce_rest_authentication_error","message":"Consumer secret is invalid."}')
    ] * 9
    with pytest.raises(ActionRequired):
        add_shop(sqlite_db, SecretBox("A" * 43 + "="), name="fake", platform="woocommerce", credentials=KEYS, now=NOON)
    with sqlite_db.read() as connection:
        assert connection.execute(select(orders.c.order_id)).all() == []


def test_deleted_refund_is_noticed_within_a_day(
    store: FakeStore, storefront: WooCommerceStorefront, waits: Waits, sqlite_db: Database
) -> None:
    store.lists["orders"] = [
        order(n, f"2026-01-0{n}T00:00:00", refunds=[{"id": 90 + n, "total": "-1.00"}] if n < 3 else [])
        for n in range(1, 6)
    ]
    store.lists["refunds"] = [
        {"id": 90 + n, "parent_id": n, "amount": "1.00", "date_created_gmt": "2026-01-09T10:00:00"} for n in (1, 2)
    ]
    shop = add_shop(
        sqlite_db, SecretBox("A" * 43 + "="), name="fake", platform="woocommerce", credentials=KEYS, now=NOON
    )
    sync_shop(sqlite_db, shop, storefront, now=NOON)
    # The store leaves the order's time of change as it was.
    store.lists["orders"][0]["refunds"] = []
    store.lists["refunds"].pop(0)
    store.lists["orders"].append(order(6, "2026-01-06T00:00:00"))
    sync_shop(sqlite_db, shop, storefront, now=NOON)
    with sqlite_db.read() as connection:
        assert len(connection.execute(select(refunds)).all()) == 2
    waits.at += 24 * 3600
    store.calls.clear()
    sync_shop(sqlite_db, shop, storefront, now=NOON)
    with sqlite_db.read() as connection:
        assert connection.execute(select(refunds.c.external_id)).scalars().all() == ["92"]
        assert facts.recount(connection, shop.shop_id) == []
    assert [
        query["include"]
        for path, query in store.calls
        if path == "orders" and "orderby" in query and "include" in query
    ] == ["1,2"]
    store.calls.clear()
    assert sync_shop(sqlite_db, shop, storefront, now=NOON).rows == 0
    assert not any("include" in query and query.get("orderby") for _, query in store.calls)


def test_looking_again_is_resumed(store: FakeStore, storefront: WooCommerceStorefront, waits: Waits) -> None:
    store.lists["orders"] = [order(n, refunds=[{"id": 900 + n, "total": "-1.00"}]) for n in range(1, 251)]
    _, cursor = _ids(storefront, Stream.ORDERS)
    waits.at += 24 * 3600
    seen, last = [], False
    while not last:
        page = next(storefront.pages(Stream.ORDERS, cursor))
        seen.append({record.external_id for record in page.records})
        cursor, last = page.next_cursor, page.last
        if len(seen) > 9:
            break
    assert last
    assert {str(n) for n in range(1, 251)} == set().union(*seen)


def test_trashed_orders_refund_keeps_its_currency(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["orders"] = [order(5, currency="USD", status="trash")]
    store.lists["refunds"] = [{"id": 6, "parent_id": 5, "amount": "53.81"}, {"id": 7, "parent_id": 404, "amount": "1"}]
    found = [record for page in storefront.pages(Stream.REFUNDS, "") for record in page.records]
    assert [(record.currency, record.amount_minor) for record in found if isinstance(record, RefundRecord)] == [
        ("USD", 5381),
        ("EUR", 100),
    ]


def test_shop_managers_key_is_told(store: FakeStore, storefront: WooCommerceStorefront) -> None:
    store.lists["customers"] = [customer(1)]
    assert storefront.check() == []
    del store.lists["customers"][0]["meta_data"]
    (problem,) = storefront.check()
    assert (problem.code, problem.severity) == ("no_meta_data", Severity.WARNING)
    assert "administrator" in problem.hint


@pytest.mark.parametrize(
    ("told", "zone"),
    [
        ({"timezone_string": "Asia/Shanghai"}, "Asia/Shanghai"),
        ({"timezone_string": "", "gmt_offset": "5.5"}, "Asia/Kolkata"),
        ({"timezone_string": "", "gmt_offset": -3}, "Etc/GMT+3"),
        ({"timezone_string": "", "gmt_offset": "0"}, "UTC"),
        ({"timezone_string": "+02:00", "gmt_offset": 2}, "Etc/GMT-2"),
    ],
)
def test_store_without_a_city_stands_at_its_offset(
    store: FakeStore, storefront: WooCommerceStorefront, told: dict[str, object], zone: str
) -> None:
    store.root |= told
    info = storefront.shop_info()
    assert info.timezone == zone
    assert bool(info.notes) is (told["timezone_string"] != "Asia/Shanghai")


def test_what_is_kept_with_the_newest_is_shown_without_our_own(
    store: FakeStore, storefront: WooCommerceStorefront
) -> None:
    kept = [{"id": 1, "key": key, "value": ["05/06/1985"]} for key in ("geburtstag", "crm_tier_main")]
    store.lists["customers"] = [customer(n, meta_data=kept if n == 249 else []) for n in range(250)]
    found = storefront.recent_fields(Stream.MEMBERS)
    assert (found[0], len(found)) == ({"geburtstag": ["05/06/1985"]}, 200)
    # Older stores have no flat list of variations.
    assert storefront.recent_fields(Stream.PRODUCTS) == []
    store.lists["customers"] = [{"id": 1}]
    with pytest.raises(ActionRequired) as caught:
        storefront.recent_fields(Stream.MEMBERS)
    assert caught.value.code == "no_meta_data"
    store.faults = [requests.ConnectionError("reset")] * 2
    with pytest.raises(TransientError):
        storefront.recent_fields(Stream.MEMBERS)
