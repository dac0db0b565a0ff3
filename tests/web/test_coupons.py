"""Coupons: what would be made is shown first, the store makes it in the background, and what it refuses is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from crm_plugin.demo import server
from crm_plugin.demo import shop as demo
from crm_plugin.demo.server import ServedShop
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.tasks import add_shop
from crm_plugin.rules import kept, segments
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, coupon_codes, members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.steps import stock
from tests.factories import NOON, make_shop, member, write
from tests.web.conftest import fields, sign_in, words

HERE = "/s/lantern/coupons"
TOLD = {
    "pool": "wb",
    "title": "Come back",
    "kind": "percent",
    "value": "10",
    "count": "130",
    "prefix": "wb-",
    "least": "50",
    "days": "30",
}


@pytest.fixture(scope="module")
def store() -> Iterator[ServedShop]:
    with server.serve(demo.generate(3, members=20, years=1, until=date(2026, 6, 1))) as served:
        yield served


@pytest.fixture
def shop(runtime: Runtime, store: ServedShop) -> Shop:
    store.may_write = True
    return add_shop(
        runtime,
        name="lantern",
        platform="woocommerce",
        credentials={"url": store.url, "key": store.key, "secret": store.secret},
    )


@pytest.fixture
def browser(app: Flask, shop: Shop) -> FlaskClient:
    return sign_in(app)


def _codes(runtime: Runtime) -> list[str]:
    with runtime.db.read() as connection:
        return list(connection.execute(select(coupon_codes.c.code).order_by(coupon_codes.c.place)).scalars())


def test_nothing_is_made_before_it_was_shown(browser: FlaskClient, runtime: Runtime, queue: Queue) -> None:
    html = browser.get(HERE).text
    assert "No pool of codes yet" in words(html)
    assert 'value="ask"' not in html
    seen = browser.post(HERE, data={**TOLD, "do": "look"})
    text = words(seen.text)
    assert "10 % off. For an order of at least £50.00. Made today, it is good until Jul 1, 2026." in text
    assert "130 codes such as WB-" in text
    assert "It takes 2 requests to WooCommerce" in text
    assert _codes(runtime) == []
    assert browser.post(HERE, data={**TOLD, "do": "ask"}).headers["Location"] == f"{HERE}#main"
    assert queue.wait(30)
    made = _codes(runtime)
    assert len(set(made)) == 130
    assert all(code.startswith("WB-") for code in made)
    text = words(browser.get(HERE).text)
    assert "Come back wb 130 codes left · 0 handed out" in text
    with runtime.db.read() as connection:
        assert "coupons.asked" in connection.execute(select(audit_log.c.action)).scalars().all()


def test_what_the_store_refuses_is_told_and_asked_again(
    browser: FlaskClient, runtime: Runtime, queue: Queue, store: ServedShop
) -> None:
    store.may_write = False
    browser.post(HERE, data={**TOLD, "count": "5", "do": "ask"})
    assert queue.wait(30)
    text = words(browser.get(HERE).text)
    assert "Needs you" in text
    assert "Read/Write" in text
    assert "Your store makes no codes for the pool wb" in words(browser.get("/s/lantern/today").text)
    store.may_write = True
    browser.post(f"{HERE}/pools/wb", data={"do": "again"})
    assert queue.wait(30)
    assert len(_codes(runtime)) == 5


def test_members_of_a_segment_get_codes_of_their_own(
    browser: FlaskClient, runtime: Runtime, queue: Queue, shop: Shop
) -> None:
    write(runtime.db, shop, [member("1", email="a@x.test"), member("2", email="b@x.test"), member("3")])
    with runtime.db.write() as connection:
        segments.save_list(connection, shop, "vip", NOON, title="Best")
        kept.write_list(connection, shop, "vip", connection.execute(select(members.c.member_id)).scalars().all(), NOON)
    told = {**TOLD, "segment": "vip"}
    seen = words(browser.post(HERE, data={**told, "do": "look"}).text)
    assert "2 members of the segment with an account and an e-mail address get a code such as WB-" in seen
    assert "It takes 2 requests" in seen
    assert "Have 2 codes made" in seen
    refused = browser.post(HERE, data={**told, "keep": "1", "do": "look"})
    assert "not kept in stock" in words(refused.text)
    browser.post(HERE, data={**told, "do": "ask"})
    assert queue.wait(30)
    with runtime.db.read() as connection:
        own = connection.execute(select(coupon_codes.c.member_id)).scalars().all()
        assert len(set(own)) == 2
        assert None not in own


@pytest.mark.parametrize(
    ("told", "field", "said"),
    [
        ({"value": "ten"}, "value", "Write a number such as 10 or 7.5."),
        ({"kind": "amount", "value": "x"}, "value", "Write an amount such as 5.00."),
        ({"value": "101"}, "value", "A share is above 0 and at most 100."),
        ({"count": "x"}, "count", "Write a whole number."),
        ({"pool": "Not A Key"}, "pool", "cannot be the key of a pool"),
        ({"count": "2000", "do": "ask", "confirm": "200"}, "confirm", "Type 2000 to go ahead."),
    ],
)
def test_what_is_typed_wrongly_is_told_at_its_field(
    browser: FlaskClient, runtime: Runtime, shop: Shop, told: dict[str, str], field: str, said: str
) -> None:
    refused = browser.post(HERE, data={**TOLD, "do": "look", **told})
    assert refused.status_code == 422
    assert said in words(refused.text.partition(f'id="e-{field}">')[2].partition("</p>")[0])
    if field != "confirm":
        assert fields(refused.text, "coupons")["value"] == told.get("value", "10")
    with runtime.db.read() as connection:
        assert stock.all_stocks(connection, shop.shop_id) == {}


def test_each_form_goes_to_its_own_place_after_another_was_refused(browser: FlaskClient) -> None:
    refused = browser.post(f"{HERE}/own", data={"own-pool": "bad pool", "codes": "A1"})
    assert refused.status_code == 422
    assert f'id="coupons" method="post" action="{HERE}#ask"' in refused.text


def test_disconnected_store_is_asked_for_nothing(browser: FlaskClient, queue: Queue) -> None:
    browser.post("/s/lantern/connections/disconnect")
    assert queue.wait(30)
    html = browser.get(HERE).text
    assert 'id="coupons"' not in html
    assert "Your store is not connected." in html
    assert "Nothing goes out Your store is not connected." in words(browser.get("/s/lantern/today").text)
    new_keys = browser.get("/s/lantern/connections/store").text
    assert "Leave it empty to keep the present one." not in new_keys
    assert fields(new_keys.replace('class="fields"', 'id="keys"'), "keys")["url"].startswith("http://")


def test_shop_of_files_fills_pools_by_hand(app: Flask, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        make_shop(connection, 7, name="files")
    browser = sign_in(app)
    html = browser.get("/s/files/coupons").text
    assert "CSV files cannot make codes that anybody may use. Make them in your store" in words(html)
    assert 'name="value"' not in html
    assert browser.post("/s/files/coupons", data={**TOLD, "do": "ask"}).status_code == 422
    assert browser.post("/s/files/coupons/own", data={"own-pool": "own", "codes": "A1\nA2"}).status_code == 303
    assert _codes(runtime) == ["A1", "A2"]
    told = {"own-pool": "own", "codes": "a1\nA2"}
    answer = browser.post("/s/files/coupons/own", data=told, follow_redirects=True)
    assert 'class="notice info"' in answer.text
    assert "No code was added. 1 is in the pool already. 1 was left out: it differs" in words(answer.text)
    assert browser.post("/s/files/coupons/own", data={"own-pool": "own", "codes": " "}).status_code == 422
    answer = browser.post("/s/files/coupons/pools/own", data={"do": "end"}, follow_redirects=True)
    assert "Nothing is asked of the store for the pool own." in words(answer.text)
