"""A WooCommerce store is connected by a click: the merchant agrees there, the store posts a key, the browser comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crm_plugin.clock import FixedClock
from crm_plugin.demo import server
from crm_plugin.demo import shop as demo
from crm_plugin.demo.server import ServedShop
from crm_plugin.jobs import following, tasks
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.work import work
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop, all_shops
from crm_plugin.sync import connect
from tests.web.conftest import sign_in

_HERE = "/install/woocommerce"


@pytest.fixture(scope="module")
def store() -> Iterator[ServedShop]:
    made = demo.generate(3, members=20, years=1, until=date(2026, 6, 1))
    with server.serve(made) as served:
        yield served


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch, queue: Queue) -> list[tuple[str, int]]:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(queue, "enqueue", lambda job, shop_id, **_more: asked.append((job, shop_id)) or True)
    return asked


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return sign_in(app)


def _begin(browser: FlaskClient, url: str) -> dict[str, str]:
    """What the store's page is asked."""
    answer = browser.post(_HERE, data={"url": url}, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    address = answer.headers["Refresh"].removeprefix("0; url=")
    assert address.startswith(f"{url}/wc-auth/v1/authorize?")
    return {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}


def _post(stranger: FlaskClient, asked: dict[str, str], store: ServedShop, **other: str) -> int:
    """The store's post, which has no cookie of ours."""
    body: dict[str, Any] = {
        "key_id": 6,
        "user_id": asked["user_id"],
        "consumer_key": store.key,
        "consumer_secret": store.secret,
        "key_permissions": "read_write",
        **other,
    }
    path = urlsplit(asked["callback_url"]).path
    headers = {"Content-Type": "application/json;charset=UTF-8"}
    return stranger.post(path, data=json.dumps(body), headers=headers).status_code


def _back(browser: FlaskClient, asked: dict[str, str], success: int = 1) -> Any:
    parts = urlsplit(asked["return_url"])
    return browser.get(f"{parts.path}?{parts.query}&success={success}&user_id={asked['user_id']}")


def _shops(runtime: Runtime) -> list[Shop]:
    with runtime.db.read() as connection:
        return all_shops(connection)


def test_store_is_connected_by_agreeing_there(
    browser: FlaskClient, stranger: FlaskClient, runtime: Runtime, store: ServedShop, jobs: list[tuple[str, int]]
) -> None:
    asked = _begin(browser, store.url)
    assert (asked["scope"], asked["callback_url"]) == ("read_write", "https://crm.example/install/woocommerce/keys")
    assert _post(stranger, asked, store) == 200
    (shop,) = _shops(runtime)
    assert (shop.reference, shop.url, shop.status) == (urlsplit(store.url).netloc, store.url, "connected")
    assert jobs == [("sync", shop.shop_id)]
    assert _back(browser, asked).headers["Location"] == f"/s/{shop.name}/today"
    # The same state again is refused, and the key that came first stays.
    assert _post(stranger, asked, store, consumer_key="ck_" + "9" * 40) == 403
    assert connect.credentials_of(runtime.db, runtime.box, shop)["key"] == store.key


def test_store_whose_key_was_typed_in_is_the_same_and_keeps_its_settings(
    browser: FlaskClient, stranger: FlaskClient, runtime: Runtime, store: ServedShop
) -> None:
    typed = {"url": store.url, "key": store.key, "secret": store.secret, "birthday_keys": "geburtstag"}
    before = tasks.add_shop(runtime, name="typed", platform="woocommerce", credentials=typed, url=store.url)
    assert _post(stranger, _begin(browser, store.url), store) == 200
    (shop,) = _shops(runtime)
    assert shop.shop_id == before.shop_id
    assert connect.credentials_of(runtime.db, runtime.box, shop)["birthday_keys"] == "geburtstag"


def test_who_does_not_agree_connects_nothing(browser: FlaskClient, runtime: Runtime, store: ServedShop) -> None:
    denied, lost = _begin(browser, store.url), _begin(browser, store.url)
    for asked, success, said in ((denied, 0, "You did not agree"), (lost, 1, "did not arrive")):
        answer = _back(browser, asked, success)
        assert answer.status_code == 422
        assert said in answer.get_data(as_text=True)
        assert _back(browser, asked, 1).status_code == 403
    assert _shops(runtime) == []


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"key_permissions": "write"}, 422),
        ({"consumer_key": "ck_" + "0" * 40}, 422),
        ({"consumer_secret": "no secret"}, 400),
        ({"user_id": "guessed"}, 403),
    ],
)
def test_key_that_opens_nothing_is_not_kept(
    browser: FlaskClient, stranger: FlaskClient, runtime: Runtime, store: ServedShop, other: dict[str, str], status: int
) -> None:
    assert _post(stranger, _begin(browser, store.url), store, **other) == status
    assert _shops(runtime) == []


def test_state_that_has_run_out_takes_no_key(
    browser: FlaskClient, stranger: FlaskClient, runtime: Runtime, store: ServedShop, clock: FixedClock
) -> None:
    asked = _begin(browser, store.url)
    clock.at += timedelta(hours=1, seconds=1)
    assert _post(stranger, asked, store) == 403
    assert stranger.post(f"{_HERE}/keys", data=b"\xff{").status_code == 403
    assert _shops(runtime) == []


def test_only_a_signed_in_merchant_begins(browser: FlaskClient, stranger: FlaskClient) -> None:
    assert stranger.post(_HERE, data={"url": "https://shop.example"}).status_code == 401
    foreign = browser.post(_HERE, data={"url": "https://shop.example"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    # From the store's admin one comes to our form, with the address in its place.
    led = browser.get(f"{_HERE}?url=https://shop.example")
    assert led.headers["Location"] == "/connect?platform=woocommerce&url=https://shop.example"
    page = browser.get(led.headers["Location"]).get_data(as_text=True)
    assert 'value="https://shop.example"' in page
    led = browser.post(_HERE, data={"url": "https://магазин.example"})
    assert led.headers["Refresh"].startswith("0; url=https://xn--80aairftm.example/wc-auth/v1/authorize?")
    for typed in ("", "ftp://shop.example", "https://", "https://me:pw@shop.example", "https://a b.example"):
        assert browser.post(_HERE, data={"url": typed}).status_code == 422


def test_store_that_is_disconnected_tells_nothing_more(
    browser: FlaskClient, runtime: Runtime, store: ServedShop, jobs: list[tuple[str, int]]
) -> None:
    keys = {"url": store.url, "key": store.key, "secret": store.secret}
    shop = tasks.add_shop(runtime, name="typed", platform="woocommerce", credentials=keys, url=store.url)
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)

    def told() -> int:
        return len(storefront.client.list("webhooks", {}, 0).rows)  # type: ignore[attr-defined]

    try:
        assert following.listen(runtime, shop, storefront)["webhooks"] == []
        assert told() > 0
        gone = browser.post("/s/typed/connections/disconnect", headers={"Sec-Fetch-Site": "same-origin"})
        assert (gone.status_code, jobs) == (303, [("leave", shop.shop_id)])
        work(runtime, tasks.job_named("leave"), shop.shop_id, {}, lambda _progress: None)
        assert told() == 0
    finally:
        storefront.close()
