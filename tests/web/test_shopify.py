"""A Shopify store from its first visit to its last webhook, through the whole application."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, insert, select, update
from werkzeug.test import TestResponse

from crm_plugin.adapters.storefronts.shopify import bulk
from crm_plugin.jobs import tasks
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import inapp_messages, members, orders, shops
from crm_plugin.store.tenants import Shop, shop_of
from crm_plugin.sync import connect
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SECRET, SHOP, FakeShop
from tests.adapters.storefronts.shopify.test_hearing import hook
from tests.adapters.storefronts.shopify.test_signatures import id_token
from tests.factories import NOON, member, write


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeShop]:
    monkeypatch.setenv("CRM_SHOPIFY_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("CRM_SHOPIFY_CLIENT_SECRET", SECRET)
    fake = FakeShop()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        fake.listen(mock)
        yield fake


def _through_proxy(
    client: FlaskClient, path: str, customer: str, method: str = "GET", secret: str = SECRET
) -> TestResponse:
    told = {
        "shop": SHOP,
        "logged_in_customer_id": customer,
        "path_prefix": "/apps/crm",
        "timestamp": str(int(time.time())),
    }
    message = "".join(sorted(f"{name}={value}" for name, value in told.items()))
    signature = hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    query = urlencode({**told, "signature": signature})
    return client.open(f"/inapp/shopify/messages{path}?{query}", method=method)


def test_shopper_sees_their_own_messages(app: Flask, runtime: Runtime, shop: Shop, store: FakeShop) -> None:
    write(runtime.db, shop, [member("1", first_name="Ada"), member("2")])
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform="shopify", reference=SHOP))
        ada = connection.execute(select(members.c.member_id).where(members.c.external_id == "1")).scalar_one()
        row = {"shop_id": 1, "message_id": 5, "touchpoint_key": "k5", "member_id": ada, "title": "Hello", "body": "You"}
        connection.execute(insert(inapp_messages).values(**row, created_at=NOON))
    client = app.test_client(use_cookies=False)
    told = _through_proxy(client, "", "1")
    assert told.headers["Cache-Control"] == "no-store"
    assert [one["title"] for one in told.get_json()["messages"]] == ["Hello"]
    for customer in ("2", "3", ""):
        assert _through_proxy(client, "", customer).get_json() == {"messages": [], "unread": 0}
        assert _through_proxy(client, "/5/read", customer, "POST").status_code == 404
    assert _through_proxy(client, "", "1", secret="other").status_code == 401
    assert client.get("/inapp/shopify/messages").status_code == 401
    assert client.get("/inapp/saleor/messages").status_code == 404
    assert _through_proxy(client, "/5/read", "1", "POST").status_code == 204
    assert _through_proxy(client, "", "1").get_json()["unread"] == 0


def test_store_comes_in_is_read_and_heard(
    app: Flask, runtime: Runtime, queue: Queue, store: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[str] = []
    monkeypatch.setattr(queue, "enqueue", lambda job, *_args, **_more: jobs.append(job) or True)
    store.rows["customers"] = [shop_rows.customer(1)]
    store.rows["orders"] = [shop_rows.order(1), shop_rows.order(2, None)]
    now = datetime.now(UTC).timestamp()
    token = id_token(iss=f"https://{SHOP}/admin", dest=f"https://{SHOP}", exp=now + 60, nbf=now)
    client = app.test_client(use_cookies=False)
    page = client.get(f"/install/shopify/page?shop={SHOP}&id_token={token}")
    assert page.status_code == 303
    assert "/s/flower-shop/" in page.headers["Location"]
    empty = client.get(f"/install/shopify/page?shop={SHOP}&id_token=old")
    assert (
        f"frame-ancestors 'self' https://{SHOP} https://admin.shopify.com" in empty.headers["Content-Security-Policy"]
    )
    text = empty.get_data(as_text=True)
    assert text.index("shopify-api-key") < text.index("app-bridge.js") < text.index("embedded.js")
    with runtime.db.read() as connection:
        shop = shop_of(connection, "shopify", SHOP)
    assert shop is not None
    assert (shop.currency, shop.timezone, jobs) == ("EUR", "Europe/Berlin", ["sync"])
    kept = connect.credentials_of(runtime.db, runtime.box, shop)
    assert (kept["shop"], kept["access_token"], kept["refresh_token"]) == (SHOP, "shpat_1x", "shprt_1x")
    # It waits a second between its questions whether a file is ready.
    monkeypatch.setattr(bulk, "_FIRST_PAUSE", 0.0)
    tasks.sync(runtime, shop)
    with runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(orders)).scalar() == 2
        assert connection.execute(select(members.c.external_id).where(members.c.external_id == "1")).scalar() == "1"
    for topic, told, status in (("orders/updated", {"id": 1}, 200), ("orders/updated", {"id": 1}, 200)):
        request = hook(topic, told, SECRET)
        assert client.post("/events/shopify", headers=request.headers, data=request.body).status_code == status
    forged = hook("orders/updated", {"id": 1}, "other")
    assert client.post("/events/shopify", headers=forged.headers, data=forged.body).status_code == 401
    assert jobs.count("follow") == 1
    with runtime.db.read() as connection:
        assert connection.execute(select(shops.c.status)).scalar() == "connected"
