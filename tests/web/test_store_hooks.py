"""What stores tell over the web: signed or refused, kept once and answered at once, followed by a job."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from crm_plugin.adapters import registry
from crm_plugin.adapters.storefronts.saleor.signing import KeyRing
from crm_plugin.clock import FixedClock
from crm_plugin.jobs import following
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import inbox, runs, shops
from crm_plugin.store.runs import Run
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import UNINSTALLED, Shop
from tests.adapters.storefronts.saleor import test_install as saleor
from tests.factories import NOON
from tests.sync.plain_store import PlainStore, sign
from tests.web.conftest import words


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, shop: Shop, queue: Queue) -> list[str]:
    """The shop is one of the plain platform; answers the jobs that were asked for."""
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": PlainStore})
    asked: list[str] = []
    monkeypatch.setattr(queue, "enqueue", lambda job, _shop_id, **_more: asked.append(job) or True)
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform="plain", reference="plain.example"))
    return asked


def _tell(
    client: FlaskClient, path: str, *, key: str = "k1", own: bool = False, store: str = "", secret: str = "hush"
) -> int:
    body = json.dumps({"id": "7", "key": key, "own": own}).encode()
    return client.post(path, data=body, headers={"X-Sign": sign(body, secret), "X-Store": store}).status_code


def _kept(db: Database) -> list[str]:
    with db.read() as connection:
        return list(connection.execute(select(inbox.c.state).order_by(inbox.c.dedupe_key)).scalars())


@pytest.mark.parametrize(("path", "store"), [("/hooks/shop-1/plain", ""), ("/events/plain", "plain.example")])
def test_what_is_signed_is_kept_once_and_followed_later(
    client: FlaskClient, runtime: Runtime, plain: list[str], path: str, store: str
) -> None:
    assert [_tell(client, path, store=store) for _ in range(2)] == [200, 200]
    assert _kept(runtime.db) == ["new"]
    assert plain == ["follow"]
    assert _tell(client, path, key="k2", own=True, store=store) == 200
    assert _kept(runtime.db) == ["new", "done"]
    assert plain == ["follow"]


def test_forgery_is_refused_wherever_it_is_addressed(client: FlaskClient, runtime: Runtime) -> None:
    for path, store in (("/hooks/shop-1/plain", ""), ("/events/plain", "plain.example"), ("/events/plain", "nobody")):
        assert _tell(client, path, store=store, secret="guess") == 401
    assert _tell(client, "/hooks/shop-1/woocommerce") == 404
    assert _tell(client, "/events/nothing") == 404
    assert _kept(runtime.db) == []


def test_store_that_is_not_here_is_answered_and_keeps_nothing(client: FlaskClient, runtime: Runtime) -> None:
    assert _tell(client, "/events/plain", store="gone.example") == 200
    assert _kept(runtime.db) == []


def test_store_that_was_taken_away_is_still_heard(client: FlaskClient, runtime: Runtime, plain: list[str]) -> None:
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(status=UNINSTALLED, credentials=None))
    assert _tell(client, "/events/plain", store="plain.example") == 200
    assert _kept(runtime.db) == ["new"]


def test_page_tells_what_was_heard_refused_and_given_up(
    client: FlaskClient, runtime: Runtime, shop: Shop, plain: list[str], clock: FixedClock
) -> None:
    here = "/s/shop-1/connections"
    assert "Your store told a change not yet" in words(client.get(here).text)
    assert [_tell(client, "/hooks/shop-1/plain", secret="guess") for _ in range(2)] == [401, 401]
    for key in ("k1", "k1", "k2"):
        assert _tell(client, "/hooks/shop-1/plain", key=key) == 200
    with runtime.db.write() as connection:
        given_up = inbox.c.dedupe_key == "k2"
        connection.execute(update(inbox).where(given_up).values(state="failed", detail="The store is away.", tries=12))
        silent = {"A-7": ["state", "total"], "A-8": ["new"], "A-9": ["of a later version"]}
        names = {"added": ["A-1", "A-2"]}
        streams = {"orders": {"there": 3, "here": 2, "added": 6, "changed": 3, "names": names, "silent": silent}}
        runs.keep(connection, shop.shop_id, Run("reconcile", NOON, NOON, {"streams": streams}, ""))
    text = words(client.get(here).text)
    assert "2 messages of your store were refused, the last at Jun 1, 2026 14:00 The signature was not" in text
    assert "1 change that your store told was given up The store is away. It was tried for two days." in text
    assert "Your store told a change Jun 1, 2026 14:00" in text
    assert "Changes that wait 1 since Jun 1, 2026 14:00 Given up 1" in text
    assert "What the comparison found at Jun 1, 2026 14:00" in text
    assert "Orders 3 2 Missing here, added: 6 A-1, A-2 …" in text
    assert "Changed in silence, read again: 3 A-7 (state, total), A-8 (was missing here), A-9 (details)" in text
    today = words(client.get("/s/shop-1/today").text)
    assert "1 change that your store told was given up" in today
    assert "waits since" not in today
    clock.move(minutes=16)
    assert "1 change that your store told waits since Jun 1, 2026 14:00" in words(client.get("/s/shop-1/today").text)
    plain.clear()
    assert client.post(f"{here}/again", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
    assert (_kept(runtime.db), plain) == (["new", "new"], ["follow"])
    clock.move(days=2)
    assert "were refused" not in words(client.get("/s/shop-1/today").text)


def test_merchant_says_that_much_is_really_gone(
    client: FlaskClient, runtime: Runtime, shop: Shop, plain: list[str], clock: FixedClock
) -> None:
    here, header = "/s/shop-1/connections", {"Sec-Fetch-Site": "same-origin"}
    streams = {
        "members": {"there": 1, "here": 100, "held_back": 99},
        "orders": {"there": 0, "here": 30, "held_back": 30},
    }
    with runtime.db.write() as connection:
        runs.keep(connection, shop.shop_id, Run("reconcile", NOON, NOON, {"streams": streams}, ""))
    clock.move(hours=1)
    refused = client.post(f"{here}/gone", data={"stream": "members", "gone_members": "98"}, headers=header)
    assert (refused.status_code, plain) == (422, [])
    assert "exactly as it is shown" in words(refused.text.partition('id="e-gone_members"')[2])
    assert refused.text.count("<details open>") == 1
    nothing = client.post(f"{here}/gone", data={"stream": "products", "gone_products": "1"}, headers=header)
    assert (nothing.status_code, "nothing is left in doubt" in nothing.text) == (422, True)
    done = client.post(f"{here}/gone", data={"stream": "members", "gone_members": "99"}, headers=header)
    assert (done.status_code, plain) == (303, ["reconcile"])
    text = words(client.get(here).text)
    assert "Members: 99 were said to be gone at Jun 1, 2026 15:00 (you, on this page)." in text
    assert "Members: your store no longer lists" not in text
    assert "Orders: your store no longer lists 30 that are here" in text
    # On Connections the form stands beneath; elsewhere the way to it is told.
    assert "say so on Connections" not in text
    assert "say so on Connections" in words(client.get("/s/shop-1/today").text)
    with runtime.db.write() as connection:
        assert following.is_night(connection, shop, clock.now())
        runs.keep(connection, shop.shop_id, Run("reconcile", clock.now(), clock.now(), {}, ""))
        assert not following.is_night(connection, shop, clock.now())


def test_saleor_whose_token_was_typed_in_is_heard(
    client: FlaskClient, runtime: Runtime, plain: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the webhooks that its app has made; what it signs with is fetched, for nothing was handed over."""
    kept = runtime.box.seal({"api_url": saleor.URL, "token": "t"})
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform="saleor", reference="", credentials=kept))
    fetch = {"fetch": lambda _: saleor.SIGNED["jwks"], "now": lambda: 1e9}
    monkeypatch.setattr(KeyRing.__init__, "__kwdefaults__", fetch)
    hook = saleor._hook("customer", "customer_updated")
    for _ in range(2):
        told = client.post("/hooks/shop-1/saleor", data=hook.body, headers=hook.headers)
        assert told.status_code == 200
    assert client.post("/hooks/shop-1/saleor", data=hook.body + b" ", headers=hook.headers).status_code == 401
    assert (_kept(runtime.db), plain) == (["new"], ["follow"])
