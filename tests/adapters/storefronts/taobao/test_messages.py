"""The message service: fetched, understood, confirmed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront
from crm_plugin.adapters.storefronts.taobao.messages import LOOK_AT, REPORTS, TOPICS
from crm_plugin.errors import TransientError
from crm_plugin.records import StoreEventKind, Stream
from tests.adapters.storefronts.taobao.fake_top import VALUES, Params, Refused, Top

_OWN = int(VALUES["user_id"])


def told(number: int, topic: str, content: Any, user: int = _OWN) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"id": number, "topic": topic, "user_id": user, "content": text, "pub_time": "2026-11-01 11:59:00"}


def test_each_topic_says_what_to_look_at(top: Top, store: TaobaoStorefront) -> None:
    names = {Stream.ORDERS: "tid", Stream.REFUNDS: "refund_id"}
    content = {"tid": 3700000000000000001, "refund_id": "5001", "user": "AAE1", "ouid": "AAE1", "buyer_nick": "t**b"}
    top.messages = [told(number, topic, content) for number, topic in enumerate(LOOK_AT)]
    events = store.poll(200)
    assert [event.kind for event in events] == [StoreEventKind.CHANGED] * 25
    for event in events:
        assert event.stream is not None
        assert event.external_id == str(content[names.get(event.stream, "user")])
        assert event.at is not None
        assert event.at.isoformat() == "2026-11-01T03:59:00+00:00"
        assert event.detail == {}


def test_comes_again_until_confirmed(top: Top, store: TaobaoStorefront) -> None:
    top.messages = [told(number, "taobao_trade_TradeBuyerPay", {"tid": number}) for number in range(250)]
    events = store.poll(200)
    assert [event.key for event in store.poll(3)] == [event.key for event in events[:3]]
    store.confirm(events)
    assert [event.key for event in store.poll(500)] == [f"tmc:{number}" for number in range(200, 250)]
    # The queue is the app's: nobody's session goes with it.
    assert all("session" not in params for params in top.asked)


def test_confirming_that_fails_is_told(top: Top, store: TaobaoStorefront, monkeypatch: pytest.MonkeyPatch) -> None:
    top.messages = [told(1, "taobao_trade_TradeClose", {"tid": 7})]
    monkeypatch.setattr(top, "_taobao_tmc_messages_confirm", lambda _: {"is_success": False}, raising=False)
    with pytest.raises(TransientError):
        store.confirm(store.poll(10))


def test_other_shops_of_the_app_are_named(top: Top, store: TaobaoStorefront) -> None:
    top.messages = [told(1, "taobao_trade_TradeClose", {"tid": 7}), told(2, "taobao_trade_TradeClose", {"tid": 8}, 99)]
    assert [event.reference for event in store.poll(10)] == [VALUES["user_id"], "99"]
    alone = TaobaoStorefront({**VALUES, "user_id": ""}, now=top.clock)
    assert [event.reference for event in alone.poll(10)] == ["", ""]


def test_message_of_another_form_is_confirmed_all_the_same(top: Top, store: TaobaoStorefront) -> None:
    top.messages = [{**told(1, "taobao_trade_TradeClose", ""), "content": {"tid": 7}, "pub_time": 5}]
    top.messages += [{**told(2, "", ""), "topic": None, "content": 9}]
    events = store.poll(10)
    assert [event.kind for event in events] == [StoreEventKind.CHANGED, StoreEventKind.UNKNOWN]
    store.confirm(events)
    assert store.poll(10) == []


@pytest.mark.parametrize("content", ["", "no JSON", "[]", {}, {"tid": ""}])
def test_what_cannot_be_told_is_unknown_and_goes(top: Top, store: TaobaoStorefront, content: Any) -> None:
    top.messages = [told(1, "taobao_trade_TradeClose", content), told(2, "taobao_new_Topic", {"tid": 1})]
    events = store.poll(10)
    assert [event.kind for event in events] == [StoreEventKind.UNKNOWN] * 2
    store.confirm(events)
    assert store.poll(10) == []


def test_report_of_texts_keeps_counts_alone(top: Top, store: TaobaoStorefront) -> None:
    content = {"node_inst_id": "n1", "success_count": 1, "fail_count": 0, "seller_id": 5, "mobile": "13800138000"}
    top.messages = [told(1, REPORTS[1], content)]
    (event,) = store.poll(10)
    assert event.kind is StoreEventKind.REPORT
    assert event.detail == {"node_inst_id": "n1", "success_count": "1", "fail_count": "0"}


def test_topics_are_asked_for_and_given_up(top: Top, store: TaobaoStorefront) -> None:
    assert store.subscribe("https://crm.example/hooks/x") == []
    assert tuple(top.permitted.split(",")) == TOPICS
    store.unsubscribe("https://crm.example/hooks/x")
    assert top.permitted == ""


def test_limit_of_the_queue_is_waited_out(top: Top, store: TaobaoStorefront) -> None:
    def limited(_method: str, _params: Params) -> None:
        if not top.slept:
            raise Refused(7, "accesscontrol.limited-by-dynamic-access-count")

    top.before = limited
    assert store.poll(10) == []
    assert top.slept == [5.0]
