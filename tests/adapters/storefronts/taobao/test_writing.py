"""What is written into the shop: grades, groups, coupons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses
from sqlalchemy import select

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront
from crm_plugin.errors import ActionRequired, InvalidInput, PermanentError, TransientError, UnsupportedFeature
from crm_plugin.records import CouponOrder, Stream, TierWrite
from crm_plugin.store import audit_log
from crm_plugin.store.session import Database
from crm_plugin.sync import grades
from tests.adapters.storefronts.taobao.fake_top import NOW, URL, VALUES, Params, Refused, Top, member
from tests.contracts.storefront_tiers import CLUB, GOLD, NOTHING, SILVER, TierContract
from tests.factories import make_shop

GRADED = {**VALUES, "grades": "silver=2, gold=3"}
UPDATE = "taobao.crm.memberinfo.update.privy"


class TestGrades(TierContract):
    @pytest.fixture
    def storefront(self, top: Top) -> StorefrontAdapter:
        top.members = [member(1, grade=1), member(2)]
        return TaobaoStorefront(GRADED, sleep=top.sleep, now=top.clock)

    @pytest.fixture
    def references(self) -> tuple[str, str]:
        return "AAE00001", "AAE00002"

    @pytest.fixture
    def missing(self) -> str:
        return "AAE99999"

    @pytest.fixture
    def fail(self, top: Top) -> Callable[[str], None]:
        def begin(how: str) -> None:
            def before(method: str, _params: Params) -> None:
                if how == "busy":
                    raise Refused(7, sub_msg="This ban will last for 40 more seconds")
                if how == "read_only" and method == UPDATE:
                    raise Refused(12, msg="Insufficient user permissions")
                if how == "down":
                    raise Refused(10, msg="Service Currently Unavailable")

            def after(method: str) -> None:
                if how == "silent" and method == UPDATE:
                    raise Refused(15, "isp.top-remote-connection-timeout")

            top.before, top.after = before, after

        return begin

    # One grade a member, so one programme.

    def test_level_takes_the_place_of_the_one_before(
        self, storefront: StorefrontAdapter, references: tuple[str, str]
    ) -> None:
        for mark in (GOLD, SILVER):
            storefront.write_tier(references[0], mark)
        assert self._record(storefront, references[0]).marks == {"main": "silver"}
        with pytest.raises(PermanentError) as caught:
            storefront.write_tier(references[0], CLUB)
        assert caught.value.code == "other_program"
        assert self._record(storefront, references[0]).marks == {"main": "silver"}

    def test_many_are_answered_in_their_order(
        self, storefront: StorefrontAdapter, references: tuple[str, str], missing: str
    ) -> None:
        one, other = references
        done = storefront.write_tiers([TierWrite(other, SILVER), TierWrite(missing, GOLD), TierWrite(one, GOLD)])
        assert [(entry.reference, entry.error is None) for entry in done] == [
            (other, True),
            (missing, False),
            (one, True),
        ]
        assert self._record(storefront, one).marks == {"main": "gold"}
        assert self._record(storefront, other).marks == {"main": "silver"}


def test_nothing_is_written_where_it_is_so_already(top: Top) -> None:
    store = TaobaoStorefront(GRADED, sleep=top.sleep, now=top.clock)
    top.members = [member(1, grade=3), member(2, grade=4)]
    store.write_tier("AAE00001", GOLD)
    # A grade that no level of ours stands for is not ours to take away.
    store.write_tier("AAE00002", NOTHING)
    assert top.calls[UPDATE] == 0
    store.write_tier("AAE00001", NOTHING)
    assert top.members[0]["grade"] == 1


def test_status_stays_and_the_blacklist_gets_no_grade(top: Top) -> None:
    store = TaobaoStorefront(GRADED, sleep=top.sleep, now=top.clock)
    top.members = [member(1, status="normal"), member(2, status="blacklist")]
    store.write_tier("AAE00001", GOLD)
    assert top.asked[-1]["status"] == "normal"
    with pytest.raises(PermanentError) as caught:
        store.write_tier("AAE00002", GOLD)
    assert caught.value.code == "blacklist"
    assert top.members[1]["grade"] == 0


def test_level_without_grade_is_the_merchants(top: Top, store: TaobaoStorefront) -> None:
    top.members = [member(1)]
    with pytest.raises(ActionRequired) as caught:
        store.write_tier("AAE00001", GOLD)
    assert caught.value.code == "no_grades"
    assert [one.code for one in store.check_tiers()] == ["no_grades"]
    half = TaobaoStorefront({**VALUES, "grades": "silver=1"}, sleep=top.sleep, now=top.clock)
    with pytest.raises(ActionRequired, match="gold"):
        half.write_tier("AAE00001", GOLD)
    with pytest.raises(PermanentError) as refused:
        half.write_tier("AAE00001", NOTHING)
    assert refused.value.code == "no_plain_grade"


@pytest.mark.parametrize("grades", ["gold", "gold=5", "gold=0", "gold=x", "=2", "gold=2, silver=2", "gold=2, gold=3"])
def test_grades_that_cannot_be_read(grades: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        TaobaoStorefront({**VALUES, "grades": grades})
    assert caught.value.field == "grades"


def test_grades_of_the_shop_are_in_fen(top: Top) -> None:
    # Number and name stand in either order.
    top.grades = [
        {
            "cur_grade": "高级会员",
            "cur_grade_name": "2",
            "next_upgrade_amount": 0,
            "next_upgrade_count": 0,
            "discount": 950,
        },
        {"cur_grade": "1", "cur_grade_name": "普通会员", "next_upgrade_amount": "20000", "next_upgrade_count": 0},
    ]
    store = TaobaoStorefront(GRADED, sleep=top.sleep, now=top.clock)
    (problem,) = store.check_tiers()
    assert problem.code == "raised_by_taobao"
    assert "from grade 1 at 200 CNY" in problem.message


def test_grades_are_set_after_what_changes_was_shown(top: Top, sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection, platform="taobao", currency="CNY")
    store = TaobaoStorefront(GRADED, sleep=top.sleep, now=top.clock)
    wanted = grades.read(grades.AMOUNT, ["100", "200,50", "3000", ""], ["", "2.5", "10"], "CNY")
    shown = grades.compare(grades.there(shop, store), wanted)
    assert [(one.number, one.before, one.is_change) for one in shown] == [(n, None, True) for n in (1, 2, 3)]
    assert top.calls["taobao.crm.grade.set"] == 0
    for calls in (1, 1):
        # What is so already is not asked for again.
        grades.change(sqlite_db, shop, store, wanted, NOW, actor="cli")
        assert top.calls["taobao.crm.grade.set"] == calls
    (asked,) = [one for one in top.asked if one["method"] == "taobao.crm.grade.set"]
    assert (asked["amount"], asked["discount"]) == ("10000,20050,300000", "1000,975,900")
    assert asked["hierarchy"] == "true,true,true,false"
    assert [(one.number, one.level, one.least_minor) for one in store.grades()] == [
        (1, "", 10000),
        (2, "silver", 20050),
        (3, "gold", 300000),
    ]
    by_orders = grades.read(grades.ORDERS, ["1", "5"], [], "CNY")
    changes = grades.change(sqlite_db, shop, store, by_orders, NOW, actor="cli")
    assert [(one.number, one.after is None) for one in changes] == [(1, False), (2, False), (3, True)]
    # What is taken off stays as it is.
    assert [(one.least_orders, one.percent_off) for one in store.grades()] == [(1, Decimal(0)), (5, Decimal("2.5"))]
    with sqlite_db.read() as connection:
        assert connection.execute(select(audit_log.c.action)).scalars().all() == [grades.CHANGED] * 2


@pytest.mark.parametrize(
    ("least", "off", "field"),
    [
        (["", "5"], [], "least_1"),
        (["", ""], [], "least_1"),
        (["5", "x"], [], "least_2"),
        (["5", "5"], [], "least_2"),
        (["-1"], [], "least_1"),
        (["1", "2"], ["", "100"], "off_2"),
    ],
)
def test_grades_that_cannot_be_set(least: list[str], off: list[str], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        grades.read(grades.AMOUNT, least, off, "CNY")
    assert caught.value.field == field


def test_groups_are_tags(top: Top, store: TaobaoStorefront) -> None:
    top.groups = [{"group_id": 162534, "group_name": "老客", "member_count": 3}]
    top.members = [member(1, group_ids="162534")]
    store.write_tags("AAE00001", ["茶友"], ["老客", "unknown"])
    record = store.reread(Stream.MEMBERS, "AAE00001")
    assert getattr(record, "tags", None) == ("茶友",)
    assert [row["group_name"] for row in top.groups] == ["老客", "茶友"]
    with pytest.raises(PermanentError, match=r"a\|b"):
        store.write_tags("AAE00001", ["a|b"], [])


def test_group_that_is_worked_at_is_waited_for(top: Top, store: TaobaoStorefront) -> None:
    top.groups = [{"group_id": 1, "group_name": "busy", "member_count": -1}]
    top.members = [member(1)]
    top.busy_polls = 2
    store.write_tags("AAE00001", ["busy"], [])
    assert (top.slept, top.members[0]["group_ids"]) == ([2.0, 2.0], "1")
    top.busy_polls = 99
    with pytest.raises(TransientError) as caught:
        TaobaoStorefront(VALUES, sleep=top.sleep, now=top.clock).write_tags("AAE00001", [], ["busy"])
    assert caught.value.retry_after == 60
    assert top.members[0]["group_ids"] == "1"


def test_list_of_groups_without_end_ends(top: Top, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"group_id": n, "group_name": f"g{n}"} for n in range(100)]
    monkeypatch.setattr(top, "_taobao_crm_groups_get", lambda _: {"groups": {"group": rows}}, raising=False)
    top.members = [member(1, group_ids="7")]
    record = TaobaoStorefront(VALUES, sleep=top.sleep, now=top.clock).reread(Stream.MEMBERS, "AAE00001")
    assert getattr(record, "tags", None) == ("g7",)
    assert top.calls["taobao.crm.groups.get"] == 10


def test_hundred_groups_are_all(top: Top, store: TaobaoStorefront) -> None:
    top.groups = [{"group_id": n, "group_name": f"g{n}", "member_count": 0} for n in range(100)]
    top.members = [member(1, group_ids=" 7|8 ")]
    with pytest.raises(ActionRequired, match="100 groups"):
        store.write_tags("AAE00001", ["one more"], [])


ORDER = CouponOrder(
    reference="birthday:1",
    title="Birthday",
    codes=("C1", "C2"),
    amount_minor=1000,
    currency="CNY",
    least_minor=10000,
    starts_at=NOW,
    ends_at=NOW + timedelta(days=30),
    references=("AAE00001", "AAE00002"),
)
BENEFITS = [{"amount": "10", "least": "100", "relation_id": "r", "detail_id": "d", "benefit_type": "1"}]


def test_benefit_is_given_once(top: Top) -> None:
    store = TaobaoStorefront({**VALUES, "benefits": BENEFITS}, sleep=top.sleep, now=top.clock)
    for _ in range(2):
        made = store.create_coupons(ORDER)
        assert [(one.code, one.external_id, one.is_restricted) for one in made] == [
            ("C1", "birthday:1:C1", True),
            ("C2", "birthday:1:C2", True),
        ]
    assert top.given == {"birthday:1:C1": "AAE00001", "birthday:1:C2": "AAE00002"}


def test_shop_coupon_tells_each_member(top: Top, store: TaobaoStorefront) -> None:
    top.members = [member(1)]
    made = store.create_coupons(ORDER)
    assert [(one.code, one.external_id, one.error is None) for one in made] == [("C1", "7000", True), ("C2", "", False)]
    added = next(params for params in top.asked if params["method"] == "taobao.promotion.coupon.add")
    # Yuan, where grades are in fen.
    assert (added["denominations"], added["condition"]) == ("10", "100")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"amount_minor": None, "percent": Decimal(10)}, UnsupportedFeature),
        ({"currency": "EUR"}, UnsupportedFeature),
        ({"references": ()}, UnsupportedFeature),
        ({"amount_minor": 700}, ActionRequired),
        ({"ends_at": None}, PermanentError),
    ],
)
def test_coupon_that_taobao_does_not_have(
    top: Top, store: TaobaoStorefront, change: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        store.create_coupons(replace(ORDER, **change))
    assert top.calls.total() == 0


def test_benefits_that_cannot_be_read() -> None:
    with pytest.raises(InvalidInput) as caught:
        TaobaoStorefront({**VALUES, "benefits": '[{"amount": "10"}]'})
    assert caught.value.field == "benefits"
    assert TaobaoStorefront({**VALUES, "benefits": "[]"})


def test_page_in_between_is_told(store: TaobaoStorefront) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, body="<html>blocked</html>", status=403)
        assert [one.code for one in store.check()] == ["wrong_address"]
