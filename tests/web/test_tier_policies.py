"""A policy that promises more than its levels, on the pages: said in words, kept when the levels are changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from crm_plugin.rules import by_hand
from crm_plugin.rules.by_hand import Desk
from crm_plugin.rules.policies import in_force
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import apply, save_policy
from crm_plugin.runtime import Runtime
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, fields, seen_in, words

CLUB = {
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 30},
    "grace_days": 10,
    "descent": "one_step",
    "levels": [
        {"key": "silver", "title": {"en": "Silver", "zh-CN": "银卡"}, "entry": 100},
        {"key": "circle", "title": {"en": "Circle", "zh-CN": "至尊会"}, "invitation": True},
    ],
}


@pytest.fixture(autouse=True)
def _club(runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1", first_name="Anna"), member("2", first_name="Bo")])
    write(runtime.db, shop, [order("o1", 15_000, member_external_id="1")])
    with runtime.db.write() as connection:
        save_policy(connection, shop, read_policy(CLUB), NOON, actor="test")
    apply(runtime.db, shop, as_of=NOON.date(), now=NOON)


def _anna(runtime: Runtime) -> int:
    with runtime.db.read() as connection:
        return int(connection.execute(select(members.c.member_id).where(members.c.external_id == "1")).scalar_one())


def test_page_says_what_is_promised(page: Page) -> None:
    told = words(page("tiers"))
    assert "Circle By invitation only 0 members" in told
    assert "How long a level holds A level holds for 30 days. Whoever then misses it has 10 more days." in told
    assert "Then the member goes down one level at a time." in told
    told = words(page("tiers?lang=zh"))
    assert "至尊会 仅限邀请" in told
    assert "等级有效期为 30 天。 未达标者另有 10 天宽限期。 之后每次下降一级。" in told


def test_policy_to_come_is_said(runtime: Runtime, shop: Shop, page: Page) -> None:
    with runtime.db.write() as connection:
        save_policy(
            connection, shop, read_policy({**CLUB, "grace_days": 0, "effective_on": "2026-07-01"}), NOON, actor="test"
        )
    assert "A new policy takes effect on Jul 1, 2026." in words(page("tiers"))


@pytest.mark.slow
def test_levels_are_changed_and_promises_kept(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    path = "tiers/programme/main"
    form = {**fields(page(path), "policy"), "en-1": "Sterling"}
    seen = seen_in(post(f"{path}/preview", form).text)
    assert post(path, {**form, "do": "save", "seen": seen}).status_code == 303
    with runtime.db.read() as connection:
        kept = in_force(connection, shop.shop_id, "main", NOON.date()).policy.as_dict()
    assert kept == {
        **read_policy(CLUB).as_dict(),
        "levels": [
            {"key": "silver", "title": {"en": "Sterling", "zh-CN": "银卡"}, "entry": 100},
            {"key": "circle", "title": {"en": "Circle", "zh-CN": "至尊会"}, "invitation": True},
        ],
    }


@pytest.mark.slow
def test_member_is_told_the_term(runtime: Runtime, shop: Shop, page: Page) -> None:
    anna = _anna(runtime)
    told = words(page(f"members/{anna}"))
    assert "The level holds through Jun 30, 2026." in told
    assert "This is the highest level." in told
    with runtime.db.write() as connection:
        desk = Desk(connection, shop, NOON, "page:owner")
        by_hand.fix(desk, anna, "circle", "An old friend", NOON.date() + timedelta(days=9))
    told = words(page(f"members/{anna}"))
    assert "by invitation only" in told
    assert "Fixed by hand through Jun 10, 2026: An old friend" in told
    assert "由人工固定。原因：An old friend。至 2026年6月10日 为止。" in words(page(f"members/{anna}?lang=zh"))


@pytest.mark.slow
def test_other_programmes_stand_on_the_page_of_a_member(runtime: Runtime, shop: Shop, page: Page) -> None:
    club = {**CLUB, "program": "club", "title": {"en": "Tea club", "zh-CN": "茶友会"}}
    with runtime.db.write() as connection:
        save_policy(connection, shop, read_policy(club), NOON, actor="test")
    apply(runtime.db, shop, as_of=NOON.date(), now=NOON)
    anna, later = _anna(runtime), NOON + timedelta(days=40)
    told = words(page(f"members/{anna}"))
    assert "In other programmes Tea club : Silver since Jun 1, 2026 The level holds through Jun 30, 2026." in told
    assert "Tea club: Came into the tier Silver" in told
    apply(runtime.db, shop, as_of=later.date(), now=later)
    assert "Tea club: Tier Silver renewed" in words(page(f"members/{anna}"))
    assert "茶友会：等级“银卡”已续期" in words(page(f"members/{anna}?lang=zh"))


@pytest.mark.slow
def test_story_tells_what_became_of_a_level(runtime: Runtime, shop: Shop, page: Page) -> None:
    anna, day = _anna(runtime), NOON + timedelta(days=30)
    with runtime.db.write() as connection:
        desk = Desk(connection, shop, NOON + timedelta(hours=1), "page:owner")
        by_hand.invite(desk, anna, "circle", NOON.date() + timedelta(days=9))
        by_hand.answer(desk, anna, "circle", accept=False)
        by_hand.invite(desk, anna, "circle", NOON.date() + timedelta(days=9))
        by_hand.fix(desk, anna, "silver", "While she moves house", NOON.date() + timedelta(days=1))
    apply(runtime.db, shop, as_of=day.date(), now=day)
    story = words(page(f"members/{anna}").partition('id="story"')[2])
    assert "The invitation to the tier Circle has expired Jul 1, 2026" in story
    assert "Tier Silver renewed It holds through" in story
    assert "Tier Silver fixed by hand It holds through Jun 2, 2026. The reason given: While she moves house" in story
    assert "Declined the invitation to the tier Circle" in story
    assert "Invited to the tier Circle To be accepted by Jun 10, 2026." in story
    assert "受邀加入等级“至尊会” 须在 2026年6月10日 前（含当日）接受。" in words(page(f"members/{anna}?lang=zh"))
