"""A level fixed by hand on a member's page, or none at all: what is offered, what is refused, what the page says of it afterwards."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from crm_plugin.clock import FixedClock
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import apply, save_policy
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, member_tiers, members, tier_bars, tier_terms
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, fields, words

MAIN: dict[str, Any] = {
    "levels": [
        {"key": "silver", "title": {"en": "Silver", "zh-CN": "银卡"}, "rule": "spent() >= 100"},
        {"key": "gold", "title": {"en": "Gold", "zh-CN": "金卡"}, "rule": "spent() >= 500"},
    ],
}
CLUB: dict[str, Any] = {
    "program": "club",
    "title": {"en": "Tea club", "zh-CN": "茶友会"},
    "levels": [{"key": "a", "title": "Friend", "rule": "orders() >= 1"}],
}


@pytest.fixture
def anna(runtime: Runtime, shop: Shop) -> int:
    """A member who spent 150 and has earned Silver."""
    write(runtime.db, shop, [member("1", first_name="Anna")])
    write(runtime.db, shop, [order("o1", 15_000, member_external_id="1")])
    _save(runtime, shop, MAIN)
    with runtime.db.read() as connection:
        return int(connection.execute(select(members.c.member_id)).scalar_one())


def _save(runtime: Runtime, shop: Shop, document: dict[str, Any]) -> None:
    with runtime.db.write() as connection:
        save_policy(connection, shop, read_policy(document), NOON, actor="test")
    apply(runtime.db, shop, as_of=NOON.date(), now=NOON)


def _form(**told: str) -> dict[str, str]:
    return {"level": "main/", "reason": "Sells it on", "until": "", "do": "fix", **told}


def _held(runtime: Runtime) -> dict[str, tuple[str, bool]]:
    t = member_tiers.c
    with runtime.db.read() as connection:
        rows = connection.execute(select(t.program_key, t.level_key, t.fixed)).all()
    return {row.program_key: (row.level_key, row.fixed) for row in rows}


def _bars(runtime: Runtime) -> list[tuple[str, date | None, str, str]]:
    b = tier_bars.c
    with runtime.db.read() as connection:
        return [tuple(row) for row in connection.execute(select(b.program_key, b.until, b.reason, b.actor))]


def _error(html: str, place: str) -> str:
    found = re.search(rf'<p class="error" id="e-{place}">(.*?)</p>', html, re.DOTALL)
    return unescape(found[1]) if found else ""


@pytest.mark.slow
def test_form_offers_each_level_and_none(page: Page, runtime: Runtime, shop: Shop, anna: int) -> None:
    def offered(path: str) -> list[tuple[str, str]]:
        inner = page(path).partition('name="level"')[2].partition("</select>")[0]
        return re.findall(r'<option value="([^"]*)"[^>]*>([^<]*)<', inner)

    assert offered(f"members/{anna}") == [
        ("", "Choose a level"),
        ("main/gold", "Gold"),
        ("main/silver", "Silver"),
        ("main/", "No level"),
    ]
    _save(runtime, shop, CLUB)
    assert offered(f"members/{anna}?lang=zh") == [
        ("", "请选择等级"),
        ("main/gold", "金卡"),
        ("main/silver", "银卡"),
        ("main/", "无等级"),
        ("club/a", "茶友会：Friend"),
        ("club/", "茶友会：无等级"),
    ]


def test_nobody_is_fixed_where_there_is_no_level(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1")])
    with runtime.db.read() as connection:
        one = connection.execute(select(members.c.member_id)).scalar_one()
    assert "Fix the level by hand" not in page(f"members/{one}")


def test_none_by_hand_holds_and_is_told(page: Page, post: Post, runtime: Runtime, shop: Shop, anna: int) -> None:
    answer = post(f"members/{anna}/tier", _form(until="2026-06-30"))
    assert (answer.status_code, answer.location) == (303, f"/s/{shop.name}/members/{anna}#tier")
    assert _held(runtime) == {}
    assert _bars(runtime) == [("main", date(2026, 6, 30), "Sells it on", "page:owner")]
    html = page(f"members/{anna}")
    told = words(html)
    assert "Fixed by hand. The rules do not move this member until that ends." in told
    assert (
        "No level Fixed by hand through Jun 30, 2026: Sells it on Let the rules decide again "
        "Today the rule of Silver fits. It counts once the level is no longer fixed by hand."
    ) in told
    # What the rules would give is not announced, nor what is missing for it.
    assert "with the next daily run" not in told
    assert "Missing for" not in told
    assert "No level yet" not in told
    assert "Left the tier Silver Fixed by hand. Reason: Sells it on. Through Jun 30, 2026." in told
    zh = words(page(f"members/{anna}?lang=zh"))
    assert "无等级 人工固定至 2026年6月30日：Sells it on 恢复由规则决定" in zh
    assert "今天已符合“银卡”的规则。解除人工固定后才会生效。" in zh
    apply(runtime.db, shop, as_of=date(2026, 6, 30), now=NOON + timedelta(days=29))
    assert _held(runtime) == {}


def test_bar_that_is_over_is_not_told(page: Page, post: Post, runtime: Runtime, anna: int, clock: FixedClock) -> None:
    assert post(f"members/{anna}/tier", _form(until="2026-06-01")).status_code == 303
    clock.move(days=1)
    told = words(page(f"members/{anna}"))
    assert "No level yet. Today the rule of Silver fits. They move with the next daily run." in told
    assert "Sells it on Let the rules" not in told


def test_no_rule_fits_either(page: Page, post: Post, runtime: Runtime, shop: Shop, anna: int) -> None:
    assert post(f"members/{anna}/tier", _form()).status_code == 303
    _save(runtime, shop, {"levels": [{**MAIN["levels"][0], "rule": "spent() >= 900"}]})
    told = words(page(f"members/{anna}"))
    assert "No level Fixed by hand: Sells it on Let the rules decide again No rule fits today either." in told


@pytest.mark.slow
def test_freed_the_rules_decide_at_once(page: Page, post: Post, runtime: Runtime, shop: Shop, anna: int) -> None:
    assert post(f"members/{anna}/tier", _form()).status_code == 303
    answer = post(f"members/{anna}/tier", {"do": "free", "program": "main"})
    assert answer.status_code == 303
    assert _held(runtime) == {"main": ("silver", False)}
    assert _bars(runtime) == []
    told = words(page(f"members/{anna}"))
    assert "No longer fixed by hand: the rules have decided again." in told
    assert "No longer fixed by hand at no level" in told
    assert "Let the rules decide again" not in told
    # The button once more, as from a page that stood open.
    answer = post(f"members/{anna}/tier", {"do": "free", "program": "main"})
    assert answer.status_code == 422
    assert "This member's level was not fixed by hand. There is nothing to free." in words(answer.text)


def test_whoever_has_no_level_is_kept_at_none(page: Page, post: Post, runtime: Runtime, shop: Shop, anna: int) -> None:
    _save(runtime, shop, {"levels": [{**MAIN["levels"][0], "rule": "spent() >= 900"}]})
    assert post(f"members/{anna}/tier", _form()).status_code == 303
    story = words(page(f"members/{anna}").partition('id="story"')[2])
    assert "Fixed by hand at no level The reason given: Sells it on" in story
    assert "人工固定为无等级" in words(page(f"members/{anna}?lang=zh"))
    with runtime.db.read() as connection:
        assert connection.execute(select(tier_terms.c.kind, tier_terms.c.level_key)).all() == [("by_hand", "")]


def test_level_by_hand_is_told_with_what_the_rules_say(page: Page, post: Post, runtime: Runtime, anna: int) -> None:
    answer = post(f"members/{anna}/tier", _form(level="main/gold", reason="An old friend"))
    assert answer.status_code == 303
    assert _held(runtime) == {"main": ("gold", True)}
    told = words(page(f"members/{anna}"))
    assert (
        "Gold : Members whose amount spent is at least 500 EUR Fixed by hand: An old friend Let the rules decide"
        in told
    )
    assert "Today the rule of Silver fits. It counts once the level is no longer fixed by hand." in told


def test_other_programme_is_fixed_by_its_own(page: Page, post: Post, runtime: Runtime, shop: Shop, anna: int) -> None:
    _save(runtime, shop, CLUB)
    assert post(f"members/{anna}/tier", _form(level="club/")).status_code == 303
    assert _held(runtime) == {"main": ("silver", False)}
    html = page(f"members/{anna}")
    assert "In other programmes Tea club : No level Fixed by hand: Sells it on Let the rules decide again" in words(
        html
    )
    assert html.count('name="program" value="club"') == 1
    assert "Missing for Gold" in words(html)
    assert "Tea club: Left the tier Friend" in words(html)
    assert post(f"members/{anna}/tier", {"do": "free", "program": "club"}).status_code == 303
    assert _held(runtime) == {"main": ("silver", False), "club": ("a", False)}


@pytest.mark.parametrize(
    ("told", "place", "said", "chinese"),
    [
        ({"level": ""}, "level", "Choose one of these.", "请选择其中一项。"),
        ({"level": "main/iron"}, "level", "Choose one of these.", "请选择其中一项。"),
        ({"level": "nowhere/"}, "level", "Choose one of these.", "请选择其中一项。"),
        ({"reason": "  "}, "reason", "Say in a few words why.", "请用几个字说明原因。"),
        (
            {"reason": "x" * 501},
            "reason",
            "Say in a few words why. It stands in the member's history, at most 500",
            "请用几个字说明原因。",
        ),
        ({"until": "soon"}, "until", "Write the day as 2026-12-31.", "请按 2026-12-31 的格式填写日期。"),
        (
            {"until": "2026-05-31"},
            "until",
            "The day 2026-05-31 is over. Name today or a day to come.",
            "2026-05-31 已经过去。请写今天或之后的日期。",
        ),
    ],
)
def test_mistake_stands_at_its_field(
    page: Page, post: Post, runtime: Runtime, anna: int, told: dict[str, str], place: str, said: str, chinese: str
) -> None:
    form = _form(**told)
    answer = post(f"members/{anna}/tier", form)
    assert answer.status_code == 422
    assert _error(answer.text, place).startswith(said)
    assert 'aria-invalid="true"' in answer.text
    # What was written stands there still, and the form is open.
    again = fields(
        answer.text.partition("<summary>Fix the level by hand")[2].replace("<form", '<form id="fix"', 1), "fix"
    )
    assert again["reason"] == form["reason"].strip()
    assert again["until"] == form["until"]
    assert "<details open>" in answer.text.partition('id="tier"')[2].partition("</section>")[0]
    assert _error(post(f"members/{anna}/tier?lang=zh", form).text, place).startswith(chinese)
    assert (_held(runtime), _bars(runtime)) == ({"main": ("silver", False)}, [])


def test_member_who_is_gone_is_not_fixed(page: Page, post: Post, runtime: Runtime, shop: Shop, anna: int) -> None:
    write(runtime.db, shop, [member("1", first_name="Anna", deleted=True)])
    assert "Fix the level by hand" not in page(f"members/{anna}")
    assert post(f"members/{anna}/tier", _form()).status_code == 404
    assert post("members/99/tier", _form()).status_code == 404
    assert _bars(runtime) == []


def test_stranger_and_foreign_page_fix_nobody(
    runtime: Runtime, shop: Shop, anna: int, stranger: FlaskClient, client: FlaskClient
) -> None:
    path = f"/s/{shop.name}/members/{anna}/tier"
    assert stranger.post(path, data=_form()).status_code == 401
    assert client.post(path, data=_form(), headers={"Origin": "https://evil.example"}).status_code == 403
    assert (_held(runtime), _bars(runtime)) == ({"main": ("silver", False)}, [])


def test_reason_is_text_and_kept_in_the_log(page: Page, post: Post, runtime: Runtime, anna: int) -> None:
    assert post(f"members/{anna}/tier", _form(reason="<b>why</b>")).status_code == 303
    html = page(f"members/{anna}")
    assert "<b>why" not in html
    assert "&lt;b&gt;why&lt;/b&gt;" in html
    a = audit_log.c
    with runtime.db.read() as connection:
        row = connection.execute(select(a.actor, a.detail).where(a.action == "tiers.fixed")).one()
    assert (row.actor, row.detail["reason"], row.detail["level"]) == ("page:owner", "<b>why</b>", "")
