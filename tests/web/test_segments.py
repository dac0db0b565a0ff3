"""The page of segments: what a rule holds is shown before it is saved, and whoever asks for a segment keeps it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, event, select

from crm_plugin import rounds
from crm_plugin.jobs import tasks
from crm_plugin.rules import segments
from crm_plugin.rules.tiers import Level, save_levels
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, segment_members, tier_levels
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, words


@pytest.fixture
def people(runtime: Runtime, shop: Shop) -> None:
    """Seven who ordered once, the first of them twice."""
    names = ["Anna", "Bo", "<script>", "Dora", "Emil", "Finn", "Gus"]
    write(runtime.db, shop, [member(str(number), first_name=name) for number, name in enumerate(names)])
    write(runtime.db, shop, [order(f"o{n}", 1000, member_external_id=str(n % 7)) for n in range(8)])


def _saved(runtime: Runtime, shop: Shop) -> dict[str, tuple[str, str]]:
    with runtime.db.read() as connection:
        return {one.key: (one.title, one.rule) for one in segments.list(connection, shop.shop_id)}


def test_empty_page_says_what_comes_here(page: Page) -> None:
    assert "No segments yet" in words(page("segments"))


def test_new_one_is_looked_at_then_saved(runtime: Runtime, shop: Shop, people: None, page: Page, post: Post) -> None:
    told = words(post("segments/preview", {"rule": "orders() >= 1"}).text)
    assert "Members whose number of orders is at least 1" in told
    assert "7 members now" in told
    assert "and 2 more" in told
    assert "&lt;script&gt;" in post("segments/preview", {"rule": "orders() >= 1"}).text
    answer = post("segments/new", {"title": "Regular buyers", "rule": "orders() >= 2"})
    assert answer.status_code == 303
    assert answer.location.endswith("/segments/regular-buyers")
    assert _saved(runtime, shop) == {"regular-buyers": ("Regular buyers", "orders() >= 2")}
    told = words(page("segments/regular-buyers"))
    assert "1 member now." in told
    assert "Anna" in told
    assert 'segment("regular-buyers")' in told
    with runtime.db.read() as connection:
        assert connection.execute(select(segment_members.c.member_id)).all() != []
        acts = connection.execute(select(audit_log.c.action)).scalars().all()
    assert acts == ["segment.saved"]


def test_list_counts_who_came_and_left(runtime: Runtime, shop: Shop, people: None, page: Page) -> None:
    tasks.save_segment(runtime, shop, "two", "orders() >= 2", title="Twice", now=NOON)
    write(runtime.db, shop, [order("o9", 1000, member_external_id="1")], NOON)
    errors: dict[str, str] = {}
    assert rounds.keep_segments(runtime, shop, NOON, errors) == {"two": {"entered": 1, "left": 0}}
    html = page("segments")
    assert "Twice members whose number of orders is at least 2 2 1 0" in words(html)
    assert "whose number of orders" in words(html)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"title": "", "rule": "orders() >= 2"}, "Give the segment a name."),
        ({"title": "X", "rule": ""}, "Write who belongs to this segment."),
        ({"title": "X", "rule": "ordrs() >= 2"}, "Line 1, column 1: There is no field ‘ordrs’."),
        ({"title": "X", "key": "Ö!", "rule": "orders() >= 2"}, "cannot be the key of a segment"),
        ({"title": "X", "rule": 'segment("nobody")'}, "There is no segment"),
    ],
)
def test_mistake_is_told_and_nothing_saved(
    runtime: Runtime, shop: Shop, post: Post, form: dict[str, Any], told: str
) -> None:
    answer = post("segments/new", form)
    assert answer.status_code == 422
    assert told.replace("‘", "'").replace("’", "'") in words(answer.text).replace("‘", "'").replace("’", "'")
    assert _saved(runtime, shop) == {}


def test_key_that_is_taken_is_refused(runtime: Runtime, shop: Shop, post: Post) -> None:
    tasks.save_segment(runtime, shop, "two", "orders() >= 2", title="Twice", now=NOON)
    answer = post("segments/new", {"title": "Other", "key": "two", "rule": "everyone"})
    assert answer.status_code == 422
    assert "Another segment has this key." in words(answer.text)
    assert _saved(runtime, shop) == {"two": ("Twice", "orders() >= 2")}


def test_other_rule_is_saved_in_place(runtime: Runtime, shop: Shop, people: None, post: Post) -> None:
    tasks.save_segment(runtime, shop, "two", "orders() >= 2", title="Twice", now=NOON)
    assert post("segments/two", {"title": "Once", "rule": "orders() >= 1"}).status_code == 303
    assert _saved(runtime, shop) == {"two": ("Once", "orders() >= 1")}


def test_one_that_is_asked_for_cannot_go(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    tasks.save_segment(runtime, shop, "two", "orders() >= 2", title="Twice", now=NOON)
    tasks.save_segment(runtime, shop, "lost", 'segment("two") and days_since_order > 90', title="Lost", now=NOON)
    answer = post("segments/two", {"do": "remove"})
    assert answer.status_code == 422
    assert "The segment lost keeps its rule" in words(answer.text)
    assert post("segments/lost", {"do": "remove"}).status_code == 303
    assert post("segments/two", {"do": "remove"}).status_code == 303
    assert _saved(runtime, shop) == {}
    page("segments/two", status=404)


def test_stopped_one_says_why(runtime: Runtime, shop: Shop, page: Page) -> None:
    with runtime.db.write() as connection:
        save_levels(connection, shop, [Level("gold", "orders() >= 9")], NOON)
    tasks.save_segment(runtime, shop, "top", 'tier == "gold"', title="Top", now=NOON)
    with runtime.db.write() as connection:
        connection.execute(delete(tier_levels))
    assert "Stopped There is no tier" in words(page("segments"))
    assert "Its rule cannot be asked" in words(page("segments/top"))
    errors: dict[str, str] = {}
    rounds.keep_segments(runtime, shop, NOON, errors)
    assert errors["segments"].startswith("The segment top cannot be asked: There is no tier")


def test_list_out_of_a_file_keeps_its_members(
    runtime: Runtime, shop: Shop, people: None, page: Page, post: Post
) -> None:
    tasks.save_list(runtime, shop, "vips", [(2, "0"), (3, "1")], title="VIPs", now=NOON)
    assert "A list out of a file" in words(page("segments"))
    told = words(page("segments/vips"))
    assert "Anna" in told
    assert "crm-plugin segment save shop-1 vips --csv FILE" in told
    assert post("segments/vips", {"title": "Friends"}).status_code == 303
    assert "2 members now." in words(page("segments/vips"))
    assert _saved(runtime, shop) == {"vips": ("Friends", "")}


def test_rule_tried_under_members_is_kept_from_there(people: None, page: Page) -> None:
    html = page("members?rule=orders()+>=+2")
    assert "segments/new?rule=orders()" in html
    assert "orders() &gt;= 2" in page("segments/new?rule=orders()+>%3D+2")


def test_what_is_wrong_with_a_segment_stands_on_its_page(
    runtime: Runtime, shop: Shop, people: None, page: Page
) -> None:
    tasks.save_segment(runtime, shop, "never", "orders() >= 3 and orders() < 2", title="Never", now=NOON)
    tasks.save_segment(runtime, shop, "often", "orders() >= 2", title="Often", now=NOON)
    assert "No member can ever match." in words(page("segments/never"))
    assert "没有任何会员能够符合。" in words(page("segments/never?lang=zh"))
    told = words(page("segments/often?lang=en"))
    assert "No member can ever match." not in told
    assert "No tier, journey or other segment asks for it." in told


@pytest.mark.slow
def test_number_of_statements_is_that_of_one_segment_and_level(
    runtime: Runtime, shop: Shop, people: None, page: Page
) -> None:
    asked: list[str] = []
    numbers = []
    event.listen(runtime.db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    for count in (1, 9):
        levels = [Level(f"l{n}", f"orders() >= {n + 1}", {"en": f"L{n}"}) for n in range(count)]
        with runtime.db.write() as connection:
            save_levels(connection, shop, levels, NOON)
        for n in range(count):
            tasks.save_segment(runtime, shop, f"s{n}", f"orders() >= {n + 1}", title=f"S{n}", now=NOON)
        asked.clear()
        assert "No tier, journey or other segment asks for it." in words(page("segments/s0"))
        numbers.append(len(asked))
    assert numbers[0] == numbers[1]
