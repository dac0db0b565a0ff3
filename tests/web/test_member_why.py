"""A page that says why a journey did not take a member in."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from crm_plugin.runtime import Runtime
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, order, write
from tests.touchpoints.steps.stage import SEND, person, turn_on
from tests.web.conftest import Page, words


def test_page_says_what_did_not_hold_that_day(runtime: Runtime, shop: Shop, page: Page) -> None:
    began = NOON - timedelta(days=90)
    trigger = {"type": "post_purchase", "days": 2}
    turn_on(runtime.db, shop, SEND, at=began, trigger=trigger, audience="orders() >= 3")
    write(runtime.db, shop, [person(1)], began)
    for number in range(3):
        placed = began + timedelta(days=1 + 20 * number)
        write(runtime.db, shop, [order(f"o{number}", member_external_id="1", placed_at=placed)], placed)
    with runtime.db.read() as connection:
        one = connection.execute(select(members.c.member_id)).scalar_one()
    assert "Why not in a journey?" in words(page(f"members/{one}"))
    assert "The answer" not in words(page(f"members/{one}/why"))
    told = words(page(f"members/{one}/why?journey=j&on=2026-03-26"))
    assert "It fell due on 2026-03-26, and the audience did not hold for the member on that day." in told
    assert "On that day: 2" in told
    told = words(page(f"members/{one}/why?journey=j&on=2026-03-26&lang=zh"))
    assert "当天会员不符合受众条件" in told
    assert "This is no day" in words(page(f"members/{one}/why?journey=j&on=gestern&lang=en", status=422))
    for far in ("0001-01-01", "9999-12-31"):
        assert "from 1970-01-01 to 2100-12-31" in words(page(f"members/{one}/why?journey=j&on={far}", status=422))
