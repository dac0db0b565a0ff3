"""The served shop: signatures, pages and dates as the real store gives them, read through the product's own client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec
import pytest
import requests

from crm_plugin.adapters.storefronts.woocommerce.auth import oauth_params, query_string
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.mapping import Mapper
from crm_plugin.demo.server import Note, ServedShop, serve
from crm_plugin.demo.shop import DemoShop, generate
from crm_plugin.demo.woo_auth import Door
from crm_plugin.errors import ActionRequired, AdapterError

SHOP = generate(seed=3, members=200, years=2, until=date(2026, 11, 24))
PATH = "/wp-json/wc/v3/orders"


@pytest.fixture
def shop() -> DemoShop:
    return SHOP


@pytest.fixture
def served() -> Iterator[ServedShop]:
    with serve(SHOP) as running:
        yield running


@pytest.fixture
def client(served: ServedShop) -> Iterator[WooCommerceClient]:
    client = WooCommerceClient(served.url, served.key, served.secret, attempts=1)
    yield client
    client.close()


def _ids(client: WooCommerceClient, path: str, **params: str) -> list[int]:
    """Ids of a whole list, page after page."""
    found, offset = [], 0
    while True:
        listing = client.list(path, params, offset)
        found += [msgspec.json.decode(row)["id"] for row in listing.rows]
        if not listing.more:
            return found
        offset = listing.next_offset


def _signed(served: ServedShop, secret: str = "", **params: str) -> tuple[int, Any, Any]:
    """Status, JSON and headers of one signed request for orders."""
    query = oauth_params("GET", served.url + PATH, params, served.key, secret or served.secret, at=time.time())
    answer = requests.get(f"{served.url}{PATH}?{query_string(query.items())}", timeout=5)
    return answer.status_code, answer.json(), answer.headers


def test_tells_of_itself_without_keys(served: ServedShop, client: WooCommerceClient) -> None:
    root = client.root()
    assert (root["name"], root["timezone_string"], root["home"]) == ("Lantern and Leaf", "Europe/London", served.url)
    assert "wc/v3" in root["namespaces"]
    assert served.refused == 0


def test_system_status_gives_the_fields_asked_for(client: WooCommerceClient) -> None:
    fields = "environment.version,settings.currency,settings.HPOS_enabled"
    assert client.get("system_status", {"_fields": fields}) == {
        "environment": {"version": "11.0.1"},
        "settings": {"currency": "GBP", "HPOS_enabled": True},
    }
    assert client.get("settings/general/woocommerce_currency")["value"] == "GBP"


def test_whole_history_through_the_client(client: WooCommerceClient, shop: DemoShop, served: ServedShop) -> None:
    live = [row["id"] for row in shop.orders if row["status"] != "trash"]
    assert _ids(client, "customers", role="all", orderby="id", order="asc") == list(range(1, 157))
    assert sorted(_ids(client, "orders", status="any", orderby="modified", order="asc")) == live
    assert len(_ids(client, "orders", status="trash")) == 3
    assert len(_ids(client, "refunds")) == 42
    assert len(_ids(client, "products")) == 34
    assert len(_ids(client, "variations")) == 42
    assert served.calls == {
        "GET customers": 2,
        "GET orders": 6,
        "GET refunds": 1,
        "GET products": 1,
        "GET variations": 1,
    }
    assert served.refused == 0


def test_every_record_can_be_mapped(shop: DemoShop) -> None:
    mapper = Mapper()
    orders = [mapper.order(msgspec.json.encode(row)) for row in shop.orders]
    members = [mapper.member(msgspec.json.encode(row)) for row in shop.customers]
    refunds = [mapper.refund(msgspec.json.encode(row), "GBP") for row in shop.refunds]
    goods = [mapper.product(msgspec.json.encode(row), "GBP") for row in [*shop.products, *shop.variations]]
    assert sum(x.amount_minor for x in refunds) == sum(r.amount_minor for x in orders for r in x.refunds or ())
    assert {member.locale for member in members} == {"", "en", "zh-CN"}
    assert not any("birthday_unread" in member.attributes for member in members)
    assert sum(member.birth_month is not None and member.birth_year is None for member in members) == 12
    assert (len(goods), sum(item.cost_minor is None for item in goods)) == (76, 23)


def test_pages_and_their_headers(served: ServedShop) -> None:
    status, rows, headers = _signed(served, per_page="100", page="5", orderby="id", order="asc")
    assert (status, len(rows), headers["X-WP-Total"], headers["X-WP-TotalPages"]) == (200, 81, "481", "5")
    status, rows, headers = _signed(served, per_page="100", page="6")
    assert (status, rows, headers["X-WP-Total"]) == (200, [], "0")
    _, by_offset, _ = _signed(served, per_page="10", offset="20", orderby="id", order="asc")
    _, by_page, _ = _signed(served, per_page="10", page="3", orderby="id", order="asc")
    assert by_offset == by_page


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"per_page": "101"}, "Invalid parameter(s): per_page"),
        ({"page": "0"}, "Invalid parameter(s): page"),
        ({"orderby": "registered_date"}, "Invalid parameter(s): orderby"),
        ({"modified_after": "2026-11-01"}, "Invalid date."),
    ],
)
def test_bad_parameters_are_refused(served: ServedShop, params: dict[str, str], said: str) -> None:
    status, told, _ = _signed(served, **params)
    assert (status, told["code"], told["message"]) == (400, "rest_invalid_param", said)
    assert served.refused == 1


def test_unknown_status_names_the_known_ones(served: ServedShop) -> None:
    status, told, _ = _signed(served, status="shipped")
    assert status == 400
    assert "processing, on-hold, completed" in told["message"]


def test_modified_after_is_exclusive_and_read_as_told(served: ServedShop, shop: DemoShop) -> None:
    live = [row for row in shop.orders if row["status"] != "trash"]
    # A summer's day: the shop's own time is an hour ahead of UTC.
    summer = sorted(
        (row for row in live if "2026-07" in row["date_modified_gmt"]), key=lambda row: row["date_modified_gmt"]
    )
    edge = summer[len(summer) // 2]

    def count(value: str, gmt: str) -> int:
        return int(_signed(served, modified_after=value, dates_are_gmt=gmt, per_page="1")[2]["X-WP-Total"])

    later = sum(row["date_modified_gmt"] > edge["date_modified_gmt"] for row in live)
    assert count(edge["date_modified_gmt"], "true") == later
    assert count(edge["date_modified"], "false") == later
    assert count(f"{edge['date_modified_gmt']}Z", "false") == later
    # With an offset and in UTC at once the store looks an hour too late.
    assert count(f"{edge['date_modified_gmt']}Z", "true") == sum(
        row["date_modified_gmt"] > edge["date_modified"] for row in live
    )


def test_customers_need_the_role_and_know_no_changes(client: WooCommerceClient) -> None:
    customers = _ids(client, "customers", orderby="id", order="asc")
    assert 1 not in customers
    assert len(customers) < 156
    assert len(_ids(client, "customers", role="all", modified_after="2099-01-01T00:00:00")) == 156
    assert _ids(client, "customers", role="all", include="7,9", orderby="id", order="asc") == [7, 9]


def test_children_of_one_record(client: WooCommerceClient, shop: DemoShop) -> None:
    parent = shop.refunds[0]["parent_id"]
    assert client.get(f"orders/{parent}/refunds") == [row for row in shop.refunds if row["parent_id"] == parent]
    product = shop.products[0]
    assert sorted(_ids(client, f"products/{product['id']}/variations")) == product["variations"]
    assert client.get(f"orders/{parent}")["id"] == parent


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("orders/999999", "woocommerce_rest_shop_order_invalid_id"),
        ("customers/999999", "wc_user_invalid_id"),
        ("reports", "rest_no_route"),
    ],
)
def test_what_is_not_there(client: WooCommerceClient, served: ServedShop, path: str, code: str) -> None:
    with pytest.raises(AdapterError) as caught:
        client.get(path)
    assert caught.value.status == 404
    assert code in caught.value.excerpt
    assert served.refused == 1


def test_note_is_kept_once(client: WooCommerceClient, served: ServedShop, shop: DemoShop) -> None:
    order = shop.orders[0]["id"]
    made = client.post(f"orders/{order}/notes", {"note": "您好，茶已寄出", "customer_note": True})
    assert (made["id"], made["note"], made["customer_note"]) == (1, "您好，茶已寄出", True)
    assert served.notes == [Note(1, order, "您好，茶已寄出", True)]
    assert [row["id"] for row in client.get(f"orders/{order}/notes")] == [1]


@pytest.mark.parametrize(
    ("path", "note"), [("orders/999999/notes", "Hello"), ("orders/501/notes", " "), ("orders", "x")]
)
def test_refused_note_is_not_kept(client: WooCommerceClient, served: ServedShop, path: str, note: str) -> None:
    with pytest.raises(AdapterError):
        client.post(path, {"note": note})
    assert served.notes == []


def test_wrong_keys_are_refused(served: ServedShop) -> None:
    for key, secret in ((served.key, "cs_wrong"), ("ck_wrong", served.secret)):
        client = WooCommerceClient(served.url, key, secret, attempts=1)
        with pytest.raises(ActionRequired):
            client.get("orders")
        client.close()
    assert served.refused == served.calls["GET orders"] == 2


def test_keys_in_clear_are_refused(served: ServedShop) -> None:
    basic = requests.get(served.url + PATH, auth=(served.key, served.secret), timeout=5)
    query = {"consumer_key": served.key, "consumer_secret": served.secret}
    in_query = requests.get(served.url + PATH, params=query, timeout=5)
    assert [answer.status_code for answer in (basic, in_query)] == [401, 401]
    assert basic.json()["code"] == in_query.json()["code"] == "woocommerce_rest_cannot_view"


def test_door_knows_signature_clock_and_nonce() -> None:
    door = Door("ck_a", "cs_b", now=lambda: 1_700_000_000.0)
    url = "http://127.0.0.1:80/wp-json/wc/v3/orders"

    def said(at: float = 1_700_000_000, nonce: str = "n1", **changes: str) -> str:
        sent = oauth_params("GET", url, {"search": "é & ~"}, "ck_a", "cs_b", at=at, nonce=nonce) | changes
        refusal = door.refusal("GET", url, query_string(sent.items()), "")
        return refusal.message if refusal else ""

    assert said() == ""
    assert said() == "Invalid nonce - nonce has already been used."
    assert said(nonce="n2", search="other") == "Invalid signature - provided signature does not match."
    assert said(nonce="n3", oauth_signature_method="PLAINTEXT").startswith("Invalid signature")
    assert said(at=1_700_000_901, nonce="n4") == "Invalid timestamp."
    assert said(at=1_700_000_900, nonce="n5") == ""


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("HMAC-SHA256", "BcBs0uUHqktCODa/UDQS72KWCVs7JYhTs9eM53u+8HI="),
        ("HMAC-SHA1", "m+ybVBS8DM+rgumnq5A1LyL24hA="),
    ],
)
def test_door_agrees_with_openssl(method: str, signature: str) -> None:
    # Computed with `openssl dgst -hmac 'cs_b&'` over a base string written out by RFC 5849's rules.
    sent = {
        "search": "é & ~",
        "oauth_consumer_key": "ck_a",
        "oauth_nonce": "n9",
        "oauth_signature_method": method,
        "oauth_timestamp": "1700000000",
        "oauth_signature": signature,
    }
    door = Door("ck_a", "cs_b", now=lambda: 1_700_000_000.0)
    assert door.refusal("GET", "http://127.0.0.1:80/wp-json/wc/v3/orders", query_string(sent.items()), "") is None


def test_signature_in_the_header(served: ServedShop) -> None:
    signed = oauth_params("GET", served.url + PATH, {"per_page": "2"}, served.key, served.secret, at=time.time())
    told = ", ".join(
        f"{name}={query_string([('', value)])[1:]}" for name, value in signed.items() if name != "per_page"
    )
    answer = requests.get(f"{served.url}{PATH}?per_page=2", headers={"Authorization": f"OAuth {told}"}, timeout=5)
    assert (answer.status_code, len(answer.json())) == (200, 2)


def test_stops_and_frees_its_port() -> None:
    with serve(SHOP) as first:
        port = int(first.url.rsplit(":", 1)[1])
        session = requests.Session()
        assert session.get(f"{first.url}/wp-json/", timeout=5).status_code == 200
    with serve(SHOP, port, key="ck_own", secret="cs_own") as second:
        assert (second.url, second.key, second.secret) == (first.url, "ck_own", "cs_own")
        assert session.get(f"{second.url}/wp-json/", timeout=5).status_code == 200
    session.close()
