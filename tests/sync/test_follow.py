"""Following what stores tell: named once and read as it is now, never lost, and deletions, merges and ends of stores as they are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from crm_plugin.errors import ActionRequired, InvalidInput, MalformedResponse, PermanentError, TransientError
from crm_plugin.records import OrderLineRecord, OrderStatus, Page, ProductRecord, StoreEventKind, Stream
from crm_plugin.store import audit_log, inbox, members, metadata, orders, privacy_requests, products, runs, shops
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import SUSPENDED, UNINSTALLED, Shop, shop_by_id
from crm_plugin.sync import believed, heard, lifecycle, privacy
from crm_plugin.sync.follow import follow
from crm_plugin.sync.reconcile import ReconcileReport, reconcile
from crm_plugin.sync.standing import Standing
from tests.factories import NOON, make_shop, member, order, write
from tests.sync.plain_store import PlainStore, event
from tests.touchpoints.plans import counted

Kind = StoreEventKind


@pytest.fixture
def store() -> PlainStore:
    return PlainStore()


def _shop(db: Database, **values: Any) -> Shop:
    with db.write() as connection:
        return make_shop(connection, platform="plain", **values)


def _one(db: Database, query: Any) -> Any:
    with db.read() as connection:
        return connection.execute(query).scalar()


def _states(db: Database) -> dict[str, int]:
    with db.read() as connection:
        query = select(inbox.c.state, func.count()).group_by(inbox.c.state)
        return {row[0]: row[1] for row in connection.execute(query)}


def test_what_is_named_often_is_read_once(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    store.put(member("7", first_name="Ada"), order("o1", member_external_id="7"))
    told = [event("7", key=f"k{n}") for n in range(3)] + [event("o1", stream=Stream.ORDERS), event("7", key="k0")]
    kept = heard.keep(db, shop, told, NOON)
    assert (kept.new, kept.repeated) == (4, 1)
    report = follow(db, shop, store, NOON)
    assert store.told == [("members", "7"), ("orders", "o1")]
    assert report.read == 2
    assert _one(db, select(members.c.first_name)) == "Ada"
    assert _one(db, select(orders.c.counts))
    assert _states(db) == {"done": 4}
    assert follow(db, shop, store, NOON).as_dict()["events"] == 0


def test_stale_event_changes_nothing(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    now = member("7", first_name="New", updated_at=NOON)
    write(sqlite_db, shop, [now])
    store.put(now)
    heard.keep(sqlite_db, shop, [event("7", at=NOON - timedelta(days=3))], NOON)
    assert follow(sqlite_db, shop, store, NOON).written.rows == 0


def test_gone_is_gone_and_counts_no_more(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    write(db, shop, [member("7")])
    write(db, shop, [order("o1", member_external_id="7")])
    told = [
        event("7", Kind.DELETED),
        event("o1", Kind.DELETED, Stream.ORDERS),
        event("o9", Kind.DELETED, Stream.ORDERS),
    ]
    heard.keep(db, shop, told, NOON)
    report = follow(db, shop, store, NOON)
    assert report.gone == 3
    assert _one(db, select(members.c.state)) == "deleted"
    with db.read() as connection:
        row = connection.execute(select(orders)).one()
    assert (row.counts, row.status, row.total_minor) == (False, "trash", 1000)


def test_product_that_is_gone_takes_its_variants_with_it(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    variants = [ProductRecord(external_id=f"4{n}", parent_external_id="Product/4") for n in range(2)]
    write(db, shop, [*variants, ProductRecord(external_id="50", parent_external_id="Product/5")])
    store.shelf[Stream.PRODUCTS] = {}
    heard.keep(db, shop, [event("Product/4", Kind.DELETED, Stream.PRODUCTS)], NOON)
    follow(db, shop, store, NOON)
    assert store.told == [("products", "Product/4")]
    assert _one(db, select(func.count()).select_from(products)) == 1


def test_store_that_is_away_is_asked_again_later(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    store.put(member("7"))
    heard.keep(sqlite_db, shop, [event("7")], NOON)
    store.trouble = TransientError("away", retry_after=600)
    assert follow(sqlite_db, shop, store, NOON).later == 1
    assert follow(sqlite_db, shop, store, NOON + timedelta(minutes=9)).read == 0
    assert follow(sqlite_db, shop, store, NOON + timedelta(minutes=11)).read == 1
    assert _states(sqlite_db) == {"done": 1}


def test_after_many_failures_it_is_given_up_and_told(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    heard.keep(sqlite_db, shop, [event("7")], NOON)
    at = NOON
    for _ in range(12):
        store.trouble = TransientError("away")
        follow(sqlite_db, shop, store, at)
        at += timedelta(hours=7)
    assert _states(sqlite_db) == {"failed": 1}
    assert _one(sqlite_db, select(inbox.c.detail)) == "away"


def test_revoked_key_stops_the_shop_and_loses_nothing(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    store.put(member("7"))
    heard.keep(sqlite_db, shop, [event("7")], NOON)
    store.trouble = ActionRequired("revoked")
    with pytest.raises(ActionRequired):
        follow(sqlite_db, shop, store, NOON)
    assert _one(sqlite_db, select(shops.c.status)) == "action_required"
    assert follow(sqlite_db, shop, store, NOON + timedelta(hours=7)).read == 1


def test_one_that_cannot_be_read_keeps_nobody_up(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    store.put(member("7"), member("8"))
    heard.keep(sqlite_db, shop, [event("7"), event("8"), event("9")], NOON)
    store.trouble = MalformedResponse("no member", path="$.email")
    report = follow(sqlite_db, shop, store, NOON)
    # The trouble of the first call is over when each is asked for alone.
    assert (report.read, report.gone) == (2, 1)


def test_accounts_that_became_one_become_one_member(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    write(db, shop, [member("1", email="a@b.test"), member("2", email="c@d.test")])
    write(db, shop, [order("o1", member_external_id="1"), order("o2", member_external_id="2")])
    store.put(member("2", email="c@d.test"))
    heard.keep(db, shop, [event("1", Kind.MERGED, into="2")], NOON)
    follow(db, shop, store, NOON)
    assert _one(db, select(func.count()).select_from(members)) == 1
    assert _one(db, select(func.count(orders.c.member_id.distinct()))) == 1


def test_app_taken_away_stops_and_keeps(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db, credentials=b"keys")
    write(sqlite_db, shop, [member("7")])
    # It lets us in, so it is on again: the event comes late.
    heard.keep(sqlite_db, shop, [event("", Kind.SUSPENDED, None, key="late")], NOON)
    follow(sqlite_db, shop, store, NOON)
    assert _one(sqlite_db, select(shops.c.status)) == "connected"
    store.trouble = ActionRequired("off")
    heard.keep(sqlite_db, shop, [event("", Kind.SUSPENDED, None)], NOON)
    follow(sqlite_db, shop, store, NOON)
    assert _one(sqlite_db, select(shops.c.status)) == SUSPENDED
    store.trouble = None
    heard.keep(sqlite_db, shop, [event("", Kind.RESUMED, None)], NOON)
    follow(sqlite_db, shop, store, NOON)
    assert _one(sqlite_db, select(shops.c.status)) == "connected"
    heard.keep(sqlite_db, shop, [event("", Kind.UNINSTALLED, None)], NOON)
    follow(sqlite_db, shop, store, NOON)
    with sqlite_db.read() as connection:
        row = connection.execute(select(shops)).one()
        assert not shop_by_id(connection, shop.shop_id).is_awake
    assert (row.status, row.credentials) == (UNINSTALLED, None)
    assert _one(sqlite_db, select(func.count()).select_from(members)) == 1


def test_end_of_a_store_is_not_kept_waiting_by_what_it_refuses(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db, credentials=b"keys")
    heard.keep(sqlite_db, shop, [event("7"), event("", Kind.UNINSTALLED, None)], NOON)
    store.trouble = ActionRequired("revoked")
    report = follow(sqlite_db, shop, store, NOON)
    assert dict(report.kinds) == {"uninstalled": 1}
    assert store.told == []
    assert _one(sqlite_db, select(shops.c.status)) == UNINSTALLED
    # The change waits; what the law asks for does not.
    told = [event("", Kind.ERASE_SHOP, None)]
    heard.keep(sqlite_db, shop, told, NOON)
    with sqlite_db.read() as connection:
        asleep = shop_by_id(connection, shop.shop_id)
        assert [one.kind for one in heard.due(connection, asleep, NOON, 10)] == [Kind.ERASE_SHOP]
    follow(sqlite_db, asleep, store, NOON)
    assert _one(sqlite_db, select(func.count()).select_from(shops)) == 0


def test_what_ends_late_does_not_wake_a_store_that_was_taken_away(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db, status=UNINSTALLED)
    for status in ("action_required", "connected"):
        lifecycle.set_status(sqlite_db, shop, status, Standing.WELL, "", NOON)
        assert _one(sqlite_db, select(shops.c.status)) == UNINSTALLED
    lifecycle.look(sqlite_db, shop, store, NOON)
    assert _one(sqlite_db, select(shops.c.status)) == UNINSTALLED


def test_law_does_not_wait_for_a_store_that_is_away_nor_for_what_it_refuses(
    sqlite_db: Database, store: PlainStore
) -> None:
    shop = _shop(sqlite_db)
    write(sqlite_db, shop, [member("7", email="ada@b.test")])
    heard.keep(sqlite_db, shop, [event("7"), event("7", Kind.ERASE, None)], NOON)
    store.trouble = TransientError("away")
    assert follow(sqlite_db, shop, store, NOON).later == 1
    assert _one(sqlite_db, select(members.c.state)) == privacy.ERASED
    # One that is refused for good keeps nobody behind it waiting.
    heard.keep(sqlite_db, shop, [event("8"), event("9", Kind.MERGED, into="10")], NOON)
    store.put(member("8"))
    store.trouble = PermanentError("no")
    report = follow(sqlite_db, shop, store, NOON)
    assert report.read == 1
    assert follow(sqlite_db, shop, store, NOON + timedelta(hours=1)).kinds.total() == 1


def test_uninstall_that_comes_after_the_reinstall_is_old(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db, credentials=b"keys", installed_at=NOON)
    heard.keep(sqlite_db, shop, [event("", Kind.UNINSTALLED, None, at=NOON - timedelta(hours=1))], NOON)
    follow(sqlite_db, shop, store, NOON)
    assert _one(sqlite_db, select(shops.c.status)) == "connected"


def test_erased_shop_leaves_no_row_and_no_other_shop_is_touched(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    with db.write() as connection:
        other = make_shop(connection, 2)
    for one in (shop, other):
        write(db, one, [member("7", email="a@b.test", tags=("x",))])
        write(db, one, [order("o1", member_external_id="7")])
    heard.keep(db, shop, [event("", Kind.ERASE_SHOP, None)], NOON)
    follow(db, shop, store, NOON)
    # It is installed: the platform speaks of an earlier time.
    assert _one(db, select(func.count()).select_from(shops)) == 2
    with db.write() as connection:
        connection.execute(update(shops).where(shops.c.shop_id == shop.shop_id).values(status=UNINSTALLED))
    heard.keep(db, shop, [event("", Kind.ERASE_SHOP, None, key="again")], NOON)
    follow(db, shop, store, NOON)
    with db.read() as connection:
        for table in metadata.sorted_tables:
            found = set(connection.execute(select(table.c.shop_id)).scalars())
            assert shop.shop_id not in found, table.name
        assert connection.execute(select(func.count()).select_from(members)).scalar() == 1


def test_nobody_is_left_of_whom_the_store_asks_to_erase(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    told: dict[str, Any] = {
        "email": "ada@b.test",
        "first_name": "Ada",
        "phone": "+4930123456",
        "birth_month": 6,
        "birth_day": 1,
    }
    write(db, shop, [member("7", tags=("vip",), attributes={"note": "Ada"}, **told), member("8", email="bo@b.test")])
    write(db, shop, [order("o1", member_external_id="7")])
    guest = member("", email="ada@b.test", first_name="Ada")
    write(db, shop, [order("o2", contact=guest)])
    heard.keep(db, shop, [event("7", Kind.ERASE, None, email="ada@b.test", orders=("o1", "o2"))], NOON)
    follow(db, shop, store, NOON)
    with db.read() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                assert "ada" not in str(tuple(row)).lower(), table.name
        assert connection.execute(select(func.count()).where(orders.c.counts)).scalar() == 2
        states = set(connection.execute(select(members.c.state)).scalars())
    assert states == {"active", privacy.ERASED}


def test_export_has_every_table_that_names_a_member_or_hangs_on_one_that_does() -> None:
    hangs = {table.name for table in metadata.sorted_tables if privacy._hangs_on(table) and "member_id" not in table.c}
    assert {"order_lines", "order_events", "touchpoint_contents", "attempts", "enrolment_events"} <= hangs
    assert "shops" not in hangs
    assert "products" not in hangs


def test_export_waits_for_the_merchant_and_holds_all(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    write(sqlite_db, shop, [member("7", email="ada@b.test", tags=("vip",))])
    write(sqlite_db, shop, [order("o1", member_external_id="7")])
    heard.keep(sqlite_db, shop, [event("7", Kind.EXPORT, None)], NOON)
    follow(sqlite_db, shop, store, NOON)
    request_id = _one(sqlite_db, select(privacy_requests.c.request_id).where(privacy_requests.c.done_at.is_(None)))
    found = privacy.hand_over(sqlite_db, shop, request_id, NOON)["tables"]
    assert found["members"][0]["email"] == "ada@b.test"
    assert found["order_lines"][0]["title"] == "Thing"
    assert found["member_tags"][0]["tag"] == "vip"
    assert _one(sqlite_db, select(func.count()).where(privacy_requests.c.done_at.is_(None))) == 0


def test_night_finds_what_was_told_to_nobody(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    write(db, shop, [member(str(n)) for n in range(5)])
    store.put(*(member(str(n)) for n in range(1, 6)))
    store.unseen_pages = [Page(Stream.MEMBERS, (member("1", first_name="Late"),), "", last=True)]
    report = reconcile(db, shop, store, NOON - timedelta(days=1), NOON)
    found = report.streams["members"]
    assert (found.there, found.here, found.gone, found.added, found.changed, found.held_back) == (5, 5, 1, 1, 1, 0)
    assert found.names == {"gone": ["0"], "added": ["5"], "unread": []}
    assert found.silent == {"1": ["name"]}
    # Only what was missing was asked for by itself.
    assert store.told == [("members", "0"), ("members", "5")]
    assert reconcile(db, shop, store, NOON, NOON).differences == 0


def test_what_changed_in_silence_is_told_with_what_differs(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    line = OrderLineRecord(sku="A", title="Thing", total_minor=1000)
    known = [order(str(n), number=f"A-{n}", lines=(line,)) for n in range(10)]
    write(db, shop, known)
    now_there = (
        order("0", number="A-0", lines=(line,)),
        order("1", number="A-1", total=1200, status=OrderStatus.CANCELLED, lines=(line,)),
        order("2", number="A-2", lines=(OrderLineRecord(sku="B", title="Thing", total_minor=1000),)),
        order("3", number="A-3", lines=(line,), coupon_codes=("TEN",), shipped_at=NOON),
        order("new", number="A-99", lines=(line,)),
    )
    store.put(*known, now_there[-1])
    many = tuple(order(str(n), number=f"A-{n}", total=5, lines=(line,)) for n in range(4, 10))
    store.unseen_pages = [Page(Stream.ORDERS, now_there, ""), Page(Stream.ORDERS, many, "", last=True)]
    found = reconcile(db, shop, store, NOON, NOON).streams["orders"]
    assert found.changed == 10
    # The first five; the one that is as it was is not among them.
    assert found.silent == {
        "A-1": ["state", "total"],
        "A-2": ["rest"],
        "A-3": ["dates", "coupons"],
        "A-99": ["new"],
        "A-4": ["total"],
    }


def test_store_that_answers_in_part_empties_nothing(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    write(sqlite_db, shop, [member(str(n)) for n in range(100)])
    store.put(member("1"))
    found = reconcile(sqlite_db, shop, store, NOON, NOON).streams["members"]
    assert (found.held_back, found.gone, found.names["held_back"]) == (99, 0, ["0", "10", "11", "12", "13"])
    assert store.told == []


def _say(db: Database, shop: Shop, report: ReconcileReport, told: str) -> None:
    with db.write() as connection:
        run = runs.Run("reconcile", NOON, NOON, report.as_dict(), "")
        believed.believe(connection, shop, run, "members", told, "page:ada", NOON)


def test_store_that_was_really_emptied_is_believed_once_its_merchant_says_so(db: Database, store: PlainStore) -> None:
    shop = _shop(db)
    write(db, shop, [member(str(n)) for n in range(100)])
    store.put(member("1"))
    report = reconcile(db, shop, store, NOON, NOON)
    with pytest.raises(InvalidInput, match="exactly as it is shown"):
        _say(db, shop, report, "98")
    assert reconcile(db, shop, store, NOON, NOON).streams["members"].held_back == 99
    _say(db, shop, report, "99")
    # One more is missing than was spoken of: nobody said that.
    del store.shelf[Stream.MEMBERS]["1"]
    store.shelf[Stream.MEMBERS]["2"] = member("2")
    write(db, shop, [member("101")])
    assert reconcile(db, shop, store, NOON, NOON).streams["members"].held_back == 100
    store.put(member("1"))
    found = reconcile(db, shop, store, NOON, NOON).streams["members"]
    assert (found.held_back, found.gone, found.believed) == (0, 99, 99)
    # The word was for that once.
    write(db, shop, [member(str(n)) for n in range(200, 300)])
    assert reconcile(db, shop, store, NOON, NOON).streams["members"].held_back == 100
    with db.read() as connection:
        noted = connection.execute(select(audit_log.c.actor, audit_log.c.detail)).one()
    assert noted == ("page:ada", {"list": "members", "count": 99})


def test_what_is_there_after_all_is_taken_out_by_no_word(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    write(sqlite_db, shop, [member(str(n)) for n in range(100)])
    store.put(*(member(str(n)) for n in range(100)))
    store.listed = {"1"}
    _say(sqlite_db, shop, reconcile(sqlite_db, shop, store, NOON, NOON), "99")
    report = reconcile(sqlite_db, shop, store, NOON, NOON)
    assert (report.streams["members"].gone, report.as_dict()["again"]) == (0, False)


def test_word_of_long_ago_is_believed_no_more(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    write(sqlite_db, shop, [member(str(n)) for n in range(100)])
    _say(sqlite_db, shop, reconcile(sqlite_db, shop, store, NOON, NOON), "100")
    later = NOON + timedelta(days=7)
    assert reconcile(sqlite_db, shop, store, later, later).streams["members"].held_back == 100


def test_more_than_a_night_takes_goes_on_at_once(
    sqlite_db: Database, store: PlainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm_plugin.sync.reconcile._MOST", 60)
    shop = _shop(sqlite_db)
    write(sqlite_db, shop, [member(str(n)) for n in range(100)])
    _say(sqlite_db, shop, reconcile(sqlite_db, shop, store, NOON, NOON), "100")
    for gone, left, again in ((60, 40, True), (40, 0, False)):
        report = reconcile(sqlite_db, shop, store, NOON, NOON)
        found = report.streams["members"]
        assert (found.gone, found.left, report.as_dict()["again"]) == (gone, left, again)


def test_one_record_that_cannot_be_read_ends_no_night(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    store.put(order("1", number="A-1"), order("2", number="A-2"), order("3", number="A-3"))
    # Of all at once, and then of the first alone.
    store.troubles = [MalformedResponse("no order", path="$.total"), MalformedResponse("no order", path="$.total")]
    found = reconcile(sqlite_db, shop, store, NOON, NOON).streams["orders"]
    assert (found.added, found.unread, found.names) == (2, 1, {"added": ["A-2", "A-3"], "unread": ["1"]})
    assert reconcile(sqlite_db, shop, store, NOON, NOON).streams["orders"].added == 1


def test_many_events_cost_statements_by_the_batch(sqlite_db: Database, store: PlainStore) -> None:
    shop = _shop(sqlite_db)
    store.put(*(member(str(n)) for n in range(150)))
    heard.keep(sqlite_db, shop, [event(str(n)) for n in range(150)], NOON)
    with counted(sqlite_db) as statements:
        follow(sqlite_db, shop, store, NOON)
    assert len(statements) < 40
