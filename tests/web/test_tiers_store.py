"""Levels in the store on the page of tiers: switched on by the merchant alone, with how far it is and what stands against it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
from flask import Flask
from sqlalchemy import select, update

from crm_plugin.demo.server import ServedShop, serve
from crm_plugin.demo.shop import generate
from crm_plugin.jobs.queue import Queue
from crm_plugin.records import MemberRecord, Stream
from crm_plugin.rules.tiers import Level, apply, save_levels
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, shops, tier_writebacks, writeback_switches, writebacks
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync.connect import open_storefront
from crm_plugin.sync.pull import sync_shop
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, sign_in, words

LADDER = [Level("bronze", "orders() >= 1", {"en": "Bronze", "zh-CN": "铜卡"})]


@pytest.fixture(scope="module")
def served() -> Iterator[ServedShop]:
    with serve(generate(seed=4, members=30, years=1, until=date(2026, 6, 1))) as running:
        yield running


@pytest.fixture
def store(runtime: Runtime, shop: Shop, served: ServedShop) -> Iterator[Shop]:
    """shop-1 as a WooCommerce store in step, in which all who ordered hold bronze."""
    served.may_write, served.trouble = True, None
    keys = {"url": served.url, "key": served.key, "secret": served.secret}
    with runtime.db.write() as connection:
        values = {
            "platform": "woocommerce",
            "url": served.url,
            "currency": "GBP",
            "credentials": runtime.box.seal(keys),
        }
        connection.execute(update(shops).values(**values))
        present = shop_by_id(connection, shop.shop_id)
        save_levels(connection, present, LADDER, NOON)
    storefront = open_storefront(runtime.db, runtime.box, present)
    sync_shop(runtime.db, present, storefront, now=NOON)
    storefront.close()
    apply(runtime.db, present, as_of=NOON.date(), now=NOON)
    yield present
    served.may_write = True


def _marks(runtime: Runtime, shop: Shop) -> set[str]:
    storefront = open_storefront(runtime.db, runtime.box, shop)
    try:
        pages = list(storefront.pages(Stream.MEMBERS, ""))
    finally:
        storefront.close()
    records = [record for page in pages for record in page.records]
    return {one.external_id for one in records if isinstance(one, MemberRecord) and one.marks == {"main": "bronze"}}


def _rows(runtime: Runtime) -> list[str]:
    with runtime.db.read() as connection:
        return sorted(connection.execute(select(tier_writebacks.c.state)).scalars())


def test_files_cannot_hold_levels(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    write(runtime.db, shop, [member("1")])
    write(runtime.db, shop, [order("o", member_external_id="1")])
    with runtime.db.write() as connection:
        save_levels(connection, shop, LADDER, NOON)
    told = words(page("tiers"))
    assert "Levels in your store Not possible here CSV files cannot hold a level." in told
    assert "CSV files cannot hold a member's level." in words(
        post("tiers/store", {"do": "on"}, follow_redirects=True).text
    )
    assert _rows(runtime) == []


@pytest.mark.slow
def test_it_is_off_until_switched_on(
    runtime: Runtime, store: Shop, page: Page, post: Post, queue: Queue, served: ServedShop
) -> None:
    before = served.calls["POST customers/batch"]
    html = page("tiers")
    assert "Levels in your store Switched off" in words(html)
    with runtime.db.read() as connection:
        holders = connection.exec_driver_sql(
            "SELECT count(*) FROM member_tiers JOIN members USING (shop_id, member_id) WHERE external_id IS NOT NULL"
        ).scalar_one()
    assert f"Switch on for {holders} accounts" in words(html)
    assert served.calls["POST customers/batch"] == before
    answer = post("tiers/store", {"do": "on"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/s/{store.name}/tiers#store")
    assert queue.wait(30)
    assert len(_marks(runtime, store)) == holders
    told = words(page("tiers"))
    assert f"Up to date In your store {holders} Still to be written 0" in told
    post("tiers/store", {"do": "off"})
    assert "Levels in your store Switched off" in words(page("tiers"))
    assert len(_marks(runtime, store)) == holders
    with runtime.db.read() as connection:
        acts = connection.execute(select(audit_log.c.actor, audit_log.c.action)).all()
    assert ("page:owner", "tiers.writeback.on") in [tuple(act) for act in acts]


def test_key_that_only_reads_is_told_and_nothing_is_on(
    runtime: Runtime, store: Shop, post: Post, served: ServedShop
) -> None:
    served.may_write = False
    told = words(post("tiers/store", {"do": "on"}, follow_redirects=True).text)
    assert "give the key the permission Read/Write" in told
    assert "Levels in your store Switched off" in told
    assert _rows(runtime) == []


def _stop(runtime: Runtime, store: Shop) -> None:
    with runtime.db.write() as connection:
        writebacks.turn(connection, store.shop_id, NOON, on=True)
        writebacks.stop(connection, store.shop_id, "The key may not do this.", NOON, NOON.replace(hour=13))


@pytest.mark.slow
def test_what_stops_it_stands_on_both_pages(
    runtime: Runtime, store: Shop, page: Page, post: Post, queue: Queue
) -> None:
    _stop(runtime, store)
    assert "Levels in your store Needs you The key may not do this." in words(page("tiers"))
    assert "Stopped Levels no longer reach your store The key may not do this." in words(page("today"))
    post("tiers/store", {"do": "retry"})
    assert queue.wait(30)
    assert "Levels in your store Up to date" in words(page("tiers"))
    assert "Levels no longer reach" not in words(page("today"))


@pytest.mark.slow
def test_refused_levels_are_shown_and_tried_again(
    runtime: Runtime, store: Shop, page: Page, post: Post, queue: Queue
) -> None:
    with runtime.db.write() as connection:
        writebacks.turn(connection, store.shop_id, NOON, on=True)
        connection.execute(
            update(tier_writebacks)
            .where(tier_writebacks.c.state == "waiting")
            .values(state="failed", detail="The store said <no>.")
        )
    count = _rows(runtime).count("failed")
    html = page("tiers")
    assert "The store said &lt;no&gt;." in html
    assert f"Refused {count} see the reason below" in words(html)
    assert f"{count} levels were refused by your store" in words(page("today"))
    told = words(post("tiers/store", {"do": "retry"}, follow_redirects=True).text)
    assert f"{count} levels are tried again now." in told
    assert queue.wait(30)
    assert "failed" not in _rows(runtime)


def test_pause_that_the_store_asked_for_is_told(runtime: Runtime, store: Shop, page: Page) -> None:
    with runtime.db.write() as connection:
        writebacks.turn(connection, store.shop_id, NOON, on=True)
        writebacks.rest(connection, store.shop_id, NOON.replace(hour=13), NOON)
    told = words(page("tiers"))
    assert "Your store asked for a pause" in told
    assert "It goes on at" in told


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_chinese_merchant_reads_chinese(app: Flask, shop: Shop, runtime: Runtime) -> None:
    browser = sign_in(app)
    told = words(browser.get(f"/s/{shop.name}/tiers?lang=zh").text)
    assert "店铺里的等级 已关闭" in told
    _stop(runtime, shop)
    told = words(browser.get(f"/s/{shop.name}/tiers?lang=zh").text)
    assert "店铺里的等级 需要处理" in told
    assert "Levels" not in told


def test_unknown_act_changes_nothing(runtime: Runtime, store: Shop, post: Post) -> None:
    assert post("tiers/store", {"do": "teleport"}).status_code == 303
    with runtime.db.read() as connection:
        assert connection.execute(select(writeback_switches)).all() == []
