"""From the gateway to the text: nobody's e-mail or phone number comes in, stays, or goes out, and members are reached all the same."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from crm_plugin.adapters.channels.taobao_sms import TaobaoSmsChannel
from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront, trades
from crm_plugin.records import StoreEvent, StoreEventKind
from crm_plugin.store import members, orders, shops, touchpoints
from crm_plugin.store.base import metadata
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.pull import sync_shop
from crm_plugin.touchpoints import intake, senders, texts
from crm_plugin.touchpoints.ahead import expected
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.readying import LIVE
from crm_plugin.touchpoints.render import Text
from tests.adapters.storefronts.taobao.fake_top import NOW, VALUES, Top, member, refund, trade
from tests.factories import make_shop
from tests.touchpoints.guarding import BOX, journey

TOLD = {**VALUES, "sms_signature": "灯笼小铺", "members_agreed": True}
# Of a trade that is asked for fully, what TOP has of its receiver.
_PERSON = {
    "receiver_mobile": "13800138000",
    "receiver_phone": "057112345678",
    "buyer_email": "a@x.test",
    "receiver_name": "李",
}
_TELLING = re.compile(r"@|(?<!\d)1[3-9]\d{9}(?!\d)|057112345678|李")


@pytest.fixture
def shop(sqlite_db: Database, top: Top, monkeypatch: pytest.MonkeyPatch) -> Shop:
    # Ninety days are as many transactions.
    monkeypatch.setattr(trades, "HISTORY", timedelta(days=4))
    top.members = [member(n, grade=n % 3) for n in range(6)]
    top.trades = [trade(n, NOW - timedelta(days=2), **_PERSON) for n in range(6)]
    top.refunds = [refund(2, NOW - timedelta(days=1), **_PERSON)]
    with sqlite_db.write() as connection:
        return make_shop(
            connection, platform="taobao", currency="CNY", timezone="Asia/Shanghai", credentials=BOX.seal(dict(TOLD))
        )


@pytest.mark.parametrize("api", ["simple", "full"])
def test_no_address_of_anybody_anywhere(sqlite_db: Database, shop: Shop, top: Top, api: str) -> None:
    top.trade_api = api
    store = TaobaoStorefront({**TOLD, "trade_api": api}, sleep=top.sleep, now=top.clock)
    records = [record for stream in store.streams for page in store.pages(stream, "") for record in page.records]
    sync_shop(sqlite_db, shop, store, now=top.now)
    assert len(records) == 13
    assert not [record for record in records if _TELLING.search(repr(record))]
    for params in top.asked:
        assert not re.search("receiver_(name|mobile|phone|address)|buyer_(nick|email)|oaid", params.get("fields", ""))
    seen = 0
    with sqlite_db.read() as connection:
        for table in metadata.sorted_tables:
            if table.name == "shops":
                continue
            rows = connection.execute(select(table)).all()
            seen += len(rows)
            assert not [row for row in rows if _TELLING.search(repr(tuple(row)))], table.name
        people = connection.execute(select(members.c.external_id, members.c.email, members.c.phone)).all()
        assert connection.execute(select(orders.c.order_id)).all()
    assert seen > 13
    assert {tuple(row) for row in people} == {(f"AAE{n:05d}", "", "") for n in range(6)}


def test_members_without_address_get_the_text(sqlite_db: Database, shop: Shop, top: Top) -> None:
    db = sqlite_db
    sync_shop(db, shop, TaobaoStorefront(TOLD, sleep=top.sleep, now=top.clock), now=top.now)
    journey(
        db, shop, "thanks", trigger={"type": "post_purchase", "days": 3}, channels=["sms", "email"], template="thanks"
    )
    with db.write() as connection:
        texts.put(connection, shop.shop_id, Text("thanks", "sms", "zh-CN", body_text="谢谢！回R拒收"), top.now)
        assert senders.available(connection, shop)["sms"] == "taobao_sms"
        someone = connection.execute(
            select(members.c.member_id).where(members.c.external_id == "AAE00001")
        ).scalar_one()
        (ahead,) = expected(connection, shop, someone, top.now)
    assert (ahead.channel, ahead.reason) == ("sms", "")
    then = top.now + timedelta(days=2)
    plan_shop(db, shop, then)
    with db.read() as connection:
        planned = connection.execute(select(touchpoints).order_by(touchpoints.c.address)).all()
    # Who is no member of the shop has agreed to nothing.
    ours = [row for row in planned if row.state == "planned"]
    assert {(row.channel, row.adapter) for row in ours} == {("sms", "taobao_sms")}
    assert [row.address for row in ours] == ["AAE00001", "AAE00002", "AAE00004", "AAE00005"]
    assert {row.reason for row in planned if row.state == "skipped"} == {"no_consent"}
    top.now = then
    ways = replace(LIVE, open_channel=lambda *_, **__: TaobaoSmsChannel(TOLD, now=top.clock))
    dispatch_shop(db, BOX, shop, then, ways=ways)
    assert sorted(ouid for text in top.texts for ouid in text["deliver_targets"]) == [row.address for row in ours]
    assert {text["seller_tpl"] for text in top.texts} == {"谢谢！回R拒收"}
    # What the shop's messages tell of a text moves its touchpoint.
    bill = {"node_inst_id": "8801", "success_count": "1"}
    event = StoreEvent(StoreEventKind.REPORT, "tmc:9", "taobao_opencrm_ShortMessageBill", detail=bill)
    told = TaobaoSmsChannel.reported(event, then)
    assert intake.take(db, shop, "taobao_sms", told, then).states == {"delivered": 1}
    assert intake.take(db, shop, "taobao_sms", told, then).repeated == 1


def test_app_of_the_market_is_the_senders_too(sqlite_db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {key: value for key, value in TOLD.items() if key not in ("app_key", "app_secret")}
    with sqlite_db.write() as connection:
        connection.execute(shops.update().values(credentials=BOX.seal(bare)))
    monkeypatch.setenv("CRM_TAOBAO_APP_KEY", "12345678")
    monkeypatch.setenv("CRM_TAOBAO_APP_SECRET", "helloworld")
    channel = senders.open_channel(sqlite_db, BOX, shop, "taobao_sms", NOW)
    assert (channel.values["app_key"], channel.values["sms_signature"]) == ("12345678", "灯笼小铺")
    channel.close()
