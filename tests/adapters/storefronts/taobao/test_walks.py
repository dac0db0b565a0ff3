"""Reading everything, then what has changed: slices, spans, pages from the last to the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront, members
from crm_plugin.errors import PermanentError, TransientError
from crm_plugin.records import OrderRecord, Page, RefundRecord, Stream
from tests.adapters.storefronts.taobao.fake_top import NOW, VALUES, Params, Refused, Top, at, member, refund, trade


def read(store: TaobaoStorefront, stream: Stream, cursor: str = "") -> tuple[list[str], str]:
    """The ids in the order they came, and the cursor after them."""
    ids: list[str] = []
    pages = list(store.pages(stream, cursor))
    for page in pages:
        assert page.problems == ()
        ids += [record.external_id for record in page.records]
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return ids, pages[-1].next_cursor


def test_all_members_by_slices_and_sources(top: Top, store: TaobaoStorefront) -> None:
    untraded = {"last_trade_time": None, "trade_count": 0}
    top.members = [member(n) for n in range(1, 251)]
    top.members += [member(n, relation_source=2 + n % 2, **untraded) for n in range(251, 371)]
    ids, cursor = read(store, Stream.MEMBERS)
    assert sorted(set(ids)) == sorted(row["ouid"] for row in top.members)
    assert len(ids) == 370
    # How many there are, three pages of those who traded, who traded in the last minutes, one of each other source.
    assert top.calls["taobao.crm.members.search"] == 7
    top.now += timedelta(hours=1)
    top.members[3]["_modified"] = at(top.now - timedelta(minutes=3))
    assert read(store, Stream.MEMBERS, cursor)[0] == [top.members[3]["ouid"]]


def test_slices_are_halved_until_they_can_be_listed(
    top: Top, store: TaobaoStorefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MOST", 200)
    monkeypatch.setattr(members, "MOST_PAGES", 2)
    top.most = 200
    top.members = [member(n % 300, ouid=f"T{n}") for n in range(900)]
    top.members += [member(n, relation_source=2, grade=n % 5, last_trade_time=None, ouid=f"U{n}") for n in range(450)]
    ids, _ = read(store, Stream.MEMBERS)
    assert set(ids) == {row["ouid"] for row in top.members}


def test_more_of_a_kind_than_can_be_listed_is_told(
    top: Top, store: TaobaoStorefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MOST", 200)
    monkeypatch.setattr(members, "MOST_PAGES", 2)
    top.most = 200
    top.members = [member(n, relation_source=3, last_trade_time=None) for n in range(250)]
    pages = list(store.pages(Stream.MEMBERS, ""))
    assert sum(len(page.records) for page in pages) == 200
    (problem,) = [problem for page in pages for problem in page.problems]
    assert problem.external_id == "relation_source=3, grade=0"


@pytest.mark.slow
@pytest.mark.parametrize("api", ["simple", "full"])
def test_orders_of_three_months_then_changes(top: Top, api: str) -> None:
    top.trade_api = api
    store = TaobaoStorefront({**VALUES, "trade_api": api}, sleep=top.sleep, now=top.clock)
    top.trades = [trade(n, NOW - timedelta(days=n % 85, minutes=n + 15)) for n in range(400)]
    ids, cursor = read(store, Stream.ORDERS)
    assert sorted(set(ids)) == sorted(row["tid_str"] for row in top.trades)
    top.now += timedelta(hours=2)
    top.trades[5] |= {"status": "TRADE_FINISHED", "modified": at(top.now - timedelta(minutes=50))}
    before = top.calls.total()
    assert read(store, Stream.ORDERS, cursor)[0] == [top.trades[5]["tid_str"]]
    # Two hours and the overlap, half an hour at a time.
    assert top.calls.total() - before == 5


@pytest.mark.slow
def test_what_changes_while_pages_are_read_is_not_left_out(top: Top, store: TaobaoStorefront) -> None:
    _, cursor = read(store, Stream.ORDERS)
    top.now += timedelta(minutes=20)
    changed = top.now - timedelta(minutes=10)
    top.trades = [trade(n, NOW - timedelta(days=2), modified=at(changed + timedelta(seconds=n))) for n in range(350)]

    def moves(method: str, params: Params) -> None:
        # At each page after the first some that were not read yet change again, and leave the span.
        if params.get("page_no") not in (None, "1"):
            for row in [row for row in top.trades if row["modified"] < at(top.now)][-30:]:
                row["modified"] = at(top.now + timedelta(minutes=1))

    top.before = moves
    ids, cursor = read(store, Stream.ORDERS, cursor)
    top.before = lambda _method, _params: None
    top.now += timedelta(minutes=5)
    more, _ = read(store, Stream.ORDERS, cursor)
    assert {*ids, *more} == {row["tid_str"] for row in top.trades}
    assert len(ids) < 350


@pytest.mark.parametrize("most", [1, 40, 150])
def test_who_comes_in_while_pages_are_read_keeps_nobody_out(top: Top, store: TaobaoStorefront, most: int) -> None:
    before = [member(n, relation_source=3, last_trade_time=None) for n in range(450)]
    top.members = list(before)
    comers = (member(1000 + n, relation_source=3, last_trade_time=None) for n in range(3 * most))

    def joins(method: str, params: Params) -> None:
        if params.get("relation_source") == "3" and params["current_page"] in ("2", "3", "4"):
            top.members[:0] = [row for row, _ in zip(comers, range(most), strict=False)]

    top.before = joins
    ids, _ = read(store, Stream.MEMBERS)
    assert {row["ouid"] for row in before} <= set(ids)


def test_what_comes_into_the_first_pages_of_orders_is_seen_by_the_count_at_the_end(
    top: Top, store: TaobaoStorefront
) -> None:
    _, cursor = read(store, Stream.ORDERS)
    top.now += timedelta(minutes=30)
    changed = top.now - timedelta(minutes=20)
    top.trades = [trade(n, NOW, modified=at(changed + timedelta(seconds=n))) for n in range(250)]
    late = [trade(900, NOW, modified=at(changed + timedelta(seconds=240)))]

    def comes(_method: str, params: Params) -> None:
        if params.get("page_no") == "2" and late:
            top.trades.append(late.pop())

    top.before = comes
    ids, _ = read(store, Stream.ORDERS, cursor)
    assert set(ids) == {row["tid_str"] for row in top.trades}


@pytest.mark.parametrize("changed", [40, 240])
def test_what_changes_at_this_moment_displaces_nothing(top: Top, store: TaobaoStorefront, changed: int) -> None:
    """Of what has just changed a page is one call. Where it is more, the last minutes are read by themselves, and once more later."""
    _, cursor = read(store, Stream.ORDERS)
    top.now += timedelta(minutes=15)
    start = top.now - timedelta(minutes=14)
    top.trades = [trade(n, NOW, modified=at(start + timedelta(seconds=3 * n))) for n in range(changed)]
    top.calls.clear()

    def moves(_method: str, params: Params) -> None:
        # What was changed long before is changed again in the very second in which the walk ends.
        if params.get("page_no") not in (None, "1"):
            top.trades[0]["modified"] = at(top.now)
            top.trades.append(top.trades.pop(0))

    top.before = moves
    ids, cursor = read(store, Stream.ORDERS, cursor)
    top.before = lambda _method, _params: None
    assert (top.calls.total() == 1) is (changed == 40)
    top.now += timedelta(minutes=5)
    assert {*ids, *read(store, Stream.ORDERS, cursor)[0]} == {row["tid_str"] for row in top.trades}


def test_page_that_is_always_another_ends_the_turn(top: Top, store: TaobaoStorefront) -> None:
    top.members = [member(n) for n in range(300)]

    def repeats(method: str, params: Params) -> None:
        top.stuck = 3 if method == members.SEARCH and params["current_page"] == "2" else 0

    top.before = repeats
    with pytest.raises(TransientError, match="same page"):
        list(store.pages(Stream.MEMBERS, ""))
    top.before, top.stuck = (lambda _method, _params: None), 0
    assert len(set(read(store, Stream.MEMBERS)[0])) == 300


@pytest.mark.parametrize("stream", list(TaobaoStorefront.streams))
def test_walk_goes_on_in_another_process_after_any_page(top: Top, stream: Stream) -> None:
    top.members = [member(n) for n in range(260)]
    top.trades = [trade(n, NOW - timedelta(days=1, minutes=n)) for n in range(260)]
    top.refunds = [refund(n, NOW - timedelta(days=1, minutes=n)) for n in range(260)]
    cursor, ids, last = "", set[str](), False
    for _ in range(400):
        page = _first(TaobaoStorefront(VALUES, sleep=top.sleep, now=top.clock).pages(stream, cursor))
        cursor, last = page.next_cursor, page.last
        ids |= {record.external_id for record in page.records}
        if last:
            break
    assert last
    assert len(ids) == 260


def _first(pages: Iterator[Page]) -> Page:
    return next(pages)


def test_only_refunds_that_were_made_count(top: Top, store: TaobaoStorefront) -> None:
    top.refunds = [refund(1, NOW - timedelta(days=3)), refund(2, NOW - timedelta(days=3), status="WAIT_SELLER_AGREE")]
    pages = list(store.pages(Stream.REFUNDS, ""))
    (told,) = [record for page in pages for record in page.records]
    assert isinstance(told, RefundRecord)
    assert (told.external_id, told.amount_minor, told.order_external_id) == ("5001", 1230, "3700000000000000001")
    assert sum(page.skipped for page in pages) == 1
    assert store.reread(Stream.REFUNDS, "5002") is None
    assert store.reread(Stream.REFUNDS, "9") is None


def test_order_without_ouid_is_kept_and_linked_later(top: Top, store: TaobaoStorefront) -> None:
    strangers = [trade(n, NOW - timedelta(days=3), ouid="", buyer_open_uid=f"S{n}") for n in (1, 2, 3)]
    top.trades = list(strangers)
    ids, cursor = read(store, Stream.ORDERS)
    assert len(ids) == 3
    assert set(json.loads(cursor)["unlinked"].values()) == {"S1", "S2", "S3"}
    # The first buys again, as a member now: both orders are theirs at once.
    top.now += timedelta(hours=1)
    top.trades.append(trade(11, top.now - timedelta(minutes=30), ouid="AAE-S1", buyer_open_uid="S1"))
    told = _orders(store, cursor)
    assert {order.external_id: order.member_external_id for order in told[0]} == {
        strangers[0]["tid_str"]: "AAE-S1",
        top.trades[-1]["tid_str"]: "AAE-S1",
    }
    # The second joined without buying: Taobao is asked once a day.
    top.joined, top.members = {"S2": "AAE-S2"}, [member(2, ouid="AAE-S2")]
    assert _orders(store, told[1])[0] == []
    top.now += timedelta(days=1)
    told = _orders(store, told[1])
    assert [(order.external_id, order.member_external_id) for order in told[0]] == [(strangers[1]["tid_str"], "AAE-S2")]
    assert list(json.loads(told[1])["unlinked"].values()) == ["S3"]


def test_member_of_another_form_links_nothing(top: Top, store: TaobaoStorefront) -> None:
    top.trades = [trade(1, NOW - timedelta(days=3), ouid="", buyer_open_uid="S1")]
    cursor = read(store, Stream.ORDERS)[1]
    top.joined, top.members = {"S1": "AAE-S1"}, [member(1, ouid="AAE-S1", status=7)]
    top.now += timedelta(days=1)
    told = _orders(store, cursor)
    assert told[0] == []
    assert list(json.loads(told[1])["unlinked"].values()) == ["S1"]


def test_clock_that_is_ahead_costs_no_change(top: Top, store: TaobaoStorefront) -> None:
    ahead = TaobaoStorefront(VALUES, sleep=top.sleep, now=lambda: top.clock() + 9 * 60)
    cursor = read(ahead, Stream.ORDERS)[1]
    # By the gateway's clock after the walk, and by ours long before.
    top.now += timedelta(minutes=1)
    top.trades = [trade(1, top.now, modified=at(top.now))]
    top.now += timedelta(hours=1)
    assert read(ahead, Stream.ORDERS, cursor)[0] == [top.trades[0]["tid_str"]]


def test_only_a_wrong_ouid_is_nobody(top: Top, store: TaobaoStorefront) -> None:
    told = ["isv.invalid-parameter:ouid", "isv.invalid-parameter:page_size"]

    def refuses(_method: str, _params: Params) -> None:
        raise Refused(41, told.pop(0))

    top.before = refuses
    assert store.reread(Stream.MEMBERS, "x") is None
    with pytest.raises(PermanentError):
        store.reread(Stream.MEMBERS, "x")


def _orders(store: TaobaoStorefront, cursor: str) -> tuple[list[OrderRecord], str]:
    pages = list(store.pages(Stream.ORDERS, cursor))
    assert pages[-1].last
    return [order for page in pages for order in page.records if isinstance(order, OrderRecord)], pages[-1].next_cursor


def test_short_limit_is_waited_out_and_a_long_one_parks(top: Top, store: TaobaoStorefront) -> None:
    told = [Refused(7, "accesscontrol.limited-by-api-access-count", "This ban will last for 6 more seconds")]

    def limited(_method: str, _params: Params) -> None:
        if told:
            raise told.pop()

    top.before = limited
    assert store.reread(Stream.MEMBERS, "AAE1") is None
    assert top.slept == [6.0]
    told.append(Refused(7, "accesscontrol.limited-by-app-access-count", "This ban will last for 31062 more seconds"))
    with pytest.raises(TransientError) as caught:
        store.reread(Stream.MEMBERS, "AAE1")
    assert caught.value.retry_after == 31062
    assert top.slept == [6.0]
