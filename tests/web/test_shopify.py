"""A Shopify store from its first visit to its last webhook, through the whole application."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import responses
from flask import Flask
from sqlalchemy import func, select

from crm_plugin.jobs import tasks
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import members, orders, shops
from crm_plugin.store.tenants import shop_of
from crm_plugin.sync import connect
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SECRET, SHOP, FakeShop
from tests.adapters.storefronts.shopify.test_hearing import hook
from tests.adapters.storefronts.shopify.test_signatures import id_token


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeShop]:
    monkeypatch.setenv("CRM_SHOPIFY_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("CRM_SHOPIFY_CLIENT_SECRET", SECRET)
    fake = FakeShop()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        fake.listen(mock)
        yield fake


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
