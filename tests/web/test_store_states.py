"""How a store's connection may end or be held up: the state that is kept, what page and log say, and that nothing asks in a circle."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, func, select, update
from werkzeug.test import TestResponse

from crm_plugin.clock import FixedClock
from crm_plugin.errors import TransientError
from crm_plugin.jobs import leaving
from crm_plugin.jobs.clock import Clock
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.tasks import JOBS, job_named
from crm_plugin.jobs.work import work
from crm_plugin.runtime import Runtime
from crm_plugin.store import journeys, leases, members, metadata, shops
from crm_plugin.store.tenants import CONNECTED, SUSPENDED, Shop, shop_of
from crm_plugin.sync import connect, lifecycle
from crm_plugin.sync.standing import Standing
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SECRET, SHOP, FakeShop
from tests.adapters.storefronts.shopify.test_hearing import hook
from tests.adapters.storefronts.shopify.test_signatures import id_token
from tests.factories import member, write
from tests.web.conftest import sign_in, words

HERE = "/s/flower-shop/connections"
_OF_STORES = frozenset({"sync", "follow", "reconcile", "write_levels", "write_back", "leave"})
Trouble = Callable[[FakeShop], None]


class World:
    """A Shopify store beside another shop of this server; `ran` counts the jobs that were really done."""

    def __init__(self, app: Flask, runtime: Runtime, clock: FixedClock, store: FakeShop) -> None:
        self.app, self.runtime, self.clock, self.store = app, runtime, clock, store
        self.ran: Counter[str] = Counter()
        self.visitor, self.owner = app.test_client(use_cookies=False), sign_in(app)

    def enqueue(self, job: str, shop_id: int, **arguments: Any) -> bool:
        self.ran[job] += 1
        work(self.runtime, job_named(job), shop_id, arguments, lambda _progress: None)
        return True

    def visit(self) -> TestResponse:
        """The merchant opens the app in the shop's admin."""
        now = datetime.now(UTC).timestamp()
        token = id_token(iss=f"https://{SHOP}/admin", dest=f"https://{SHOP}", exp=now + 60, nbf=now)
        return self.visitor.get(f"/install/shopify/page?shop={SHOP}&id_token={token}")

    def tell(self, topic: str, body: dict[str, Any], **headers: str) -> int:
        request = hook(topic, body, SECRET)
        told = {**request.headers, **{name.lower(): value for name, value in headers.items()}}
        return self.visitor.post("/events/shopify", headers=told, data=request.body).status_code

    def tick(self, times: int) -> None:
        """What the clock asks for of jobs that speak to a store, every five minutes."""
        clock = Clock(self.runtime, self)
        for _ in range(times):
            self.clock.move(minutes=5)
            for job in JOBS:
                if job.name in _OF_STORES:
                    clock.ask(job)

    @property
    def shop(self) -> Shop | None:
        with self.runtime.db.read() as connection:
            return shop_of(connection, "shopify", SHOP)

    def page(self, path: str = HERE) -> str:
        return words(self.owner.get(path).text)

    def rows_of(self, shop_id: int) -> dict[str, list[Any]]:
        """Every row of a shop, but for how its own jobs went."""
        with self.runtime.db.read() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table).where(table.c.shop_id == shop_id))]
                for table in metadata.sorted_tables
                if table.name not in ("job_runs", "job_leases")
            }


@pytest.fixture
def world(
    app: Flask,
    runtime: Runtime,
    shop: Shop,
    clock: FixedClock,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[World]:
    """The store was installed and read once; the other shop has a member."""
    monkeypatch.setenv("CRM_SHOPIFY_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("CRM_SHOPIFY_CLIENT_SECRET", SECRET)
    write(runtime.db, shop, [member("1", first_name="Ada")])
    store = FakeShop()
    store.bulk_states, store.available = ["COMPLETED"], 1e6
    store.rows["customers"] = [shop_rows.customer(1)]
    store.rows["orders"] = [shop_rows.order(1)]
    made = World(app, runtime, clock, store)
    monkeypatch.setattr(queue, "enqueue", made.enqueue)
    caplog.set_level(logging.INFO)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        store.listen(mock)
        assert made.visit().status_code == 303
        yield made


def _revoked(store: FakeShop) -> None:
    """In the middle of a sync: accounts are still told, orders no more, and no new keys are given."""

    def lose(operation: str, _variables: Any) -> Any:
        if operation.startswith("Order"):
            store.token = "another"
            return 401, {}, '{"errors":"[API] Invalid API key or access token"}'
        return None

    store.trouble, store.oauth = lose, lambda _told: (400, {"error": "invalid_request"})


def _denied(store: FakeShop) -> None:
    store.scopes.remove("read_orders")
    said = {"errors": [{"message": "Access denied for orders field.", "extensions": {"code": "ACCESS_DENIED"}}]}
    store.trouble = lambda name, _variables: (200, {}, said) if name.startswith("Order") else None


def _status(status: int) -> Trouble:
    def turn_away(store: FakeShop) -> None:
        store.trouble = lambda name, _variables: (status, {}, "{}") if name != "Installation" else None

    return turn_away


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "standing", "said"),
    [
        (_revoked, Standing.KEYS, "Your store no longer takes our keys"),
        (_denied, Standing.PERMISSION, "Access denied for orders field."),
        (_status(403), Standing.REFUSED, "Your store turns us away"),
        (_status(402), Standing.CLOSED, "The shop is frozen."),
        (_status(404), Standing.CLOSED, "or it has been closed."),
    ],
    ids=["revoked", "permission", "403", "frozen", "closed"],
)
def test_store_that_refuses_is_told_apart_and_left_in_peace(
    world: World, caplog: pytest.LogCaptureFixture, trouble: Trouble, standing: Standing, said: str
) -> None:
    other = world.rows_of(1)
    trouble(world.store)
    world.ran.clear()
    caplog.clear()
    world.tick(25)
    shop = world.shop
    assert shop is not None
    assert (shop.status, shop.status_reason) == ("action_required", standing.value)
    # Two hours: it was asked at once, and then once an hour, in place of 25 times.
    assert world.ran["sync"] <= 3
    (line,) = [one for one in caplog.records if getattr(one, "state", "") == "action_required"]
    assert (line.shop, line.adapter, line.reason) == ("flower-shop", "shopify", standing.value)  # type: ignore[attr-defined]
    assert SHOP not in line.getMessage()
    assert not any(secret in caplog.text for secret in ("shpat_", "shprt_", SECRET, "example.com"))
    text = world.page()
    assert said in text
    assert "Needs you since" in text
    assert ("What is missing: read_orders." in text) is (standing is Standing.PERMISSION)
    assert said in world.page("/s/flower-shop/today")
    assert world.rows_of(1) == other
    # Once it is put right, the next look mends it, and what waited is read.
    world.store.trouble, world.store.oauth = lambda _name, _variables: None, world.store._new_keys
    world.store.rows["customers"].append(shop_rows.customer(2, updatedAt="2026-11-28T00:00:00Z"))
    world.visit()
    world.tick(13)
    assert world.shop is not None
    assert (world.shop.status, world.shop.status_reason, world.shop.status_detail) == ("connected", "", "")
    with world.runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(members)).scalar() == 3


def test_keys_that_ran_out_are_renewed_and_nobody_has_to_know(world: World) -> None:
    world.store.token = "ran out"
    world.tick(2)
    assert world.shop is not None
    assert (world.shop.status, len(world.store.exchanged)) == ("connected", 2)


def test_page_says_while_keys_are_renewed(world: World) -> None:
    shop, now = world.shop, world.clock.now()
    assert shop is not None
    assert "Keys are being renewed" not in world.page()
    with world.runtime.db.write() as connection:
        leases.take(connection, shop.shop_id, "keys", "somebody", now, timedelta(minutes=1))
    assert "Keys are being renewed" in world.page()
    world.clock.move(minutes=2)
    assert "Keys are being renewed" not in world.page()


@pytest.mark.slow
def test_app_that_was_taken_away_comes_back_as_it_was(world: World, caplog: pytest.LogCaptureFixture) -> None:
    before = world.shop
    assert before is not None
    world.clock.move(hours=1)
    assert world.tell("app/uninstalled", {"id": 1, "myshopify_domain": SHOP}) == 200
    gone = world.shop
    assert gone is not None
    assert (gone.status, gone.status_reason) == ("uninstalled", "taken_away")
    assert connect.credentials_of(world.runtime.db, world.runtime.box, gone) == {}
    text = world.page()
    assert "Taken away since Jun 1, 2026 15:00" in text
    assert "What is kept is erased by Jul 3, 2026 at the latest" in text
    assert "Open the app in your store" in text
    assert "Read what is new" not in text
    world.ran.clear()
    asked = len(world.store.said)
    world.tick(25)
    assert (world.ran, len(world.store.said)) == (Counter(), asked)
    assert world.visit().status_code == 303
    back = world.shop
    assert back is not None
    assert (back.shop_id, back.status, back.status_reason) == (before.shop_id, "connected", "")
    lines = [one for one in caplog.records if one.name.endswith("lifecycle")]
    assert [(one.state, one.reason) for one in lines] == [("uninstalled", "taken_away")]  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("asks", [True, False], ids=["asked for", "never asked for"])
def test_all_of_a_store_is_gone_within_its_platforms_term(world: World, asks: bool) -> None:
    other = world.rows_of(1)
    gone = world.shop
    assert gone is not None
    world.tell("app/uninstalled", {"id": 1, "myshopify_domain": SHOP})
    world.clock.move(hours=48)
    if asks:
        assert world.tell("shop/redact", {"shop_domain": SHOP}, **{"X-Shopify-Webhook-Id": "w-redact"}) == 200
    else:
        world.tick(1)
        assert world.shop is not None
        world.clock.move(hours=30 * 24)
        world.tick(1)
    assert world.shop is None
    assert not any(world.rows_of(gone.shop_id).values())
    assert world.rows_of(1) == other
    assert world.owner.get(HERE).status_code == 404


@pytest.mark.parametrize("step", ["furnish", "keep", "ask"])
def test_install_that_is_cut_off_goes_on_at_the_next_visit(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with world.runtime.db.write() as connection:
        connection.execute(delete(shops).where(shops.c.shop_id != 1))
    world.ran.clear()
    cut = {
        "furnish": "crm_plugin.jobs.tasks.recipes.install",
        "keep": "crm_plugin.jobs.installing.writebacks.lift",
        "ask": "tests.web.test_store_states.work",
    }[step]

    def die(*_given: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(cut, die)
        with pytest.raises(KeyboardInterrupt):
            world.visit()
    # A whole shop or none.
    assert (world.shop is None) is (step == "furnish")
    if step == "ask":
        world.tick(1)
        assert world.ran["sync"] == 2
    else:
        assert world.visit().status_code == 303
    shop = world.shop
    assert shop is not None
    assert (shop.status, shop.status_reason) == ("connected", "")
    with world.runtime.db.read() as connection:
        own = select(func.count()).select_from(journeys).where(journeys.c.shop_id == shop.shop_id)
        assert connection.execute(own).scalar() == 3
        assert connection.execute(select(func.count()).select_from(shops)).scalar() == 2


def test_install_that_nobody_ends_is_told_and_then_cleared_away(world: World) -> None:
    header = {"Sec-Fetch-Site": "same-origin"}
    address = "https://tea.example"
    assert world.owner.post("/install/woocommerce", data={"url": address}, headers=header).status_code == 200
    told = "You began to connect https://tea.example and have not agreed there yet. Go on"
    assert told in world.page("/connect?platform=woocommerce")
    # Nobody is told who is not signed in, nor who looks from inside another store's admin.
    assert world.visitor.get("/connect?platform=woocommerce").status_code != 200
    world.clock.move(hours=2)
    assert told not in world.page("/connect?platform=woocommerce")
    world.clock.move(days=1)
    Clock(world.runtime, world).watch()
    with world.runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(metadata.tables["installs"])).scalar() == 0


@pytest.mark.slow
def test_store_is_disconnected_and_erased_by_its_merchant(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other, told = world.rows_of(1), list[str]()
    monkeypatch.setattr(
        "crm_plugin.adapters.storefronts.shopify.adapter.ShopifyStorefront.unsubscribe",
        lambda _self, address: told.append(address),
    )
    header = {"Sec-Fetch-Site": "same-origin"}
    assert world.owner.post(f"{HERE}/disconnect", headers=header).status_code == 303
    shop = world.shop
    assert shop is not None
    assert told == ["https://crm.example/hooks/flower-shop/shopify"]
    assert (shop.status, shop.status_reason) == ("uninstalled", "disconnected")
    assert connect.credentials_of(world.runtime.db, world.runtime.box, shop) == {}
    text = world.page()
    assert "Disconnected since" in text
    assert "at the latest" not in text
    # It is taken away in the store, too: from now on the platform's term runs.
    world.clock.move(hours=1)
    assert world.tell("app/uninstalled", {"id": 1, "myshopify_domain": SHOP}) == 200
    assert "is erased by Jul 3, 2026 at the latest" in world.page()
    assert world.owner.post(f"{HERE}/erase", data={"erase": "another"}, headers=header).status_code == 422
    assert world.shop is not None
    assert world.owner.post(f"{HERE}/erase", data={"erase": "flower-shop"}, headers=header).status_code == 303
    assert world.shop is None
    assert not any(world.rows_of(shop.shop_id).values())
    assert world.rows_of(1) == other


@pytest.mark.slow
def test_shop_that_is_being_erased_is_not_woken(world: World) -> None:
    shop = world.shop
    assert shop is not None
    lifecycle.leave(world.runtime.db, shop, "page:owner", world.clock.now(), erase=True)
    refused = world.visit()
    assert (refused.status_code, "Begin again in a few minutes." in refused.text) == (422, True)
    assert f"frame-ancestors 'self' https://{SHOP}" in refused.headers["Content-Security-Policy"]
    assert world.shop is not None
    assert world.shop.status_reason == "erasing"
    with pytest.raises(TransientError):
        connect.change_credentials(world.runtime.db, world.runtime.box, shop, {}, world.clock.now())
    assert world.shop.status_reason == "erasing"
    assert "is being erased" in world.page()
    world.tick(1)
    assert world.shop is None
    assert world.visit().status_code == 303


def test_shop_that_is_half_erased_is_not_woken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom not to write to may be forgotten already, when there still are members."""
    shop = world.shop
    assert shop is not None
    world.tell("app/uninstalled", {"id": 1, "myshopify_domain": SHOP})
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "delete", _killed)
        with pytest.raises(KeyboardInterrupt):
            lifecycle.erase(world.runtime.db, shop, world.clock.now())
    assert world.visit().status_code == 422
    world.tick(1)
    assert world.shop is None


def test_store_that_another_shop_holds_is_asked_nothing_at_leave(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    db, box, shop = world.runtime.db, world.runtime.box, world.shop
    assert shop is not None
    lifecycle.set_status(db, shop, SUSPENDED, Standing.HELD_ELSEWHERE, "", world.clock.now())
    held = world.shop
    assert held is not None
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle.audit, "note", _killed)
        with pytest.raises(KeyboardInterrupt):
            lifecycle.leave(db, held, "page:owner", world.clock.now())
    assert connect.credentials_of(db, box, held) == {}


def _killed(*_told: object) -> None:
    raise KeyboardInterrupt


def test_store_that_cannot_be_taken_leave_of_is_left_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_self: Any, address: str) -> None:
        asked.append(address)
        raise TransientError("The store is away.")

    asked: list[str] = []
    monkeypatch.setattr("crm_plugin.adapters.storefronts.shopify.adapter.ShopifyStorefront.unsubscribe", away)
    assert world.owner.post(f"{HERE}/disconnect", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
    world.tick(5)
    shop = world.shop
    assert shop is not None
    assert (len(asked), shop.status_reason) == (1, "disconnected")
    assert connect.credentials_of(world.runtime.db, world.runtime.box, shop) == {}
    assert "it could not be asked to tell us no more (transient)" in caplog.text


def test_leave_that_comes_late_takes_nothing_from_who_came_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "crm_plugin.adapters.storefronts.shopify.adapter.ShopifyStorefront.unsubscribe",
        lambda _self, address: asked.append(address),
    )
    db, box, shop = world.runtime.db, world.runtime.box, world.shop
    assert shop is not None
    lifecycle.leave(db, shop, "page:owner", world.clock.now())
    gone = world.shop
    assert gone is not None
    kept = connect.credentials_of(db, box, gone)
    back = {"status": CONNECTED, "status_reason": "", "status_at": world.clock.now() + timedelta(minutes=1)}
    with db.write() as connection:
        connection.execute(update(shops).where(shops.c.shop_id == gone.shop_id).values(**back))
    leaving.run(world.runtime, gone, now=world.clock.now())
    assert (asked, connect.credentials_of(db, box, gone)) == ([], kept)


def test_webhook_of_another_shop_reaches_neither(world: World) -> None:
    """Signed by the app, as all its shops' are: one that speaks of a store that is not here, and one whose body names another."""
    before = {shop_id: world.rows_of(shop_id) for shop_id in (1, world.shop.shop_id)}  # type: ignore[union-attr]
    assert world.tell("orders/updated", {"id": 1}, **{"X-Shopify-Shop-Domain": "tea.myshopify.com"}) == 200
    assert world.tell("app/uninstalled", {"id": 1, "myshopify_domain": "tea.myshopify.com"}) == 401
    assert {shop_id: world.rows_of(shop_id) for shop_id in before} == before
    assert "1 message of your store was refused, the last at Jun 1, 2026 14:00" in world.page()


def test_visitor_cannot_end_another_shop(world: World, client: FlaskClient, shop: Shop) -> None:
    inside = world.visit().headers["Location"]
    visit = inside.partition("/s/")[0]
    header = {"Sec-Fetch-Site": "same-origin"}
    for act in ("disconnect", "erase"):
        answer = world.visitor.post(
            f"{visit}/s/{shop.name}/connections/{act}", data={"erase": shop.name}, headers=header
        )
        assert answer.status_code == 404
