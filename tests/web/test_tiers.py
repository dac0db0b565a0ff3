"""The page of tiers: who moves is shown before anything is saved, and only what was shown is saved."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy import select

from crm_plugin.rules import compile_rule, segments, tier_undo
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.reference import example
from crm_plugin.rules.tiers import Level, apply, held, levels, save_levels, save_policy
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, fields, seen_in, words

MAIN = "tiers/programme/main"
BRONZE = Level("bronze", "orders() >= 1", {"en": "Bronze", "zh-CN": "铜卡"})
GOLD = Level("gold", "spent() >= 100", {"en": "Gold", "de": "Gold-Kunde"})


@pytest.fixture
def people(runtime: Runtime, shop: Shop) -> None:
    """Three who spent 50, 150 and 250, and one who bought nothing."""
    names = ["Anna", "Bo", "<script>", "Dora"]
    write(runtime.db, shop, [member(str(number), first_name=name) for number, name in enumerate(names)])
    write(runtime.db, shop, [order(f"o{n}", (n * 100 + 50) * 100, member_external_id=str(n)) for n in range(3)])


def _set_up(runtime: Runtime, shop: Shop, *ladder: Level, applied: bool = True) -> None:
    with runtime.db.write() as connection:
        save_levels(connection, shop, ladder, NOON)
    if applied:
        apply(runtime.db, shop, as_of=NOON.date(), now=NOON, actor="job:tiers")


def _form(page: Page, *ladder: Level) -> dict[str, str]:
    """What a browser sends of the form of the main programme with these levels (lowest first), each by a rule."""
    form = {name: told for name, told in fields(page(MAIN), "policy").items() if not name[-1].isdigit()}
    for number, level in enumerate(reversed(ladder)):
        row = {"was": level.key, "key": level.key, "en": level.title.get("en", ""), "zh": level.title.get("zh-CN", "")}
        form |= {f"{name}-{number}": told for name, told in {**row, "how": "rule", "rule": level.rule}.items()}
    return {**form, "measure": ""}


def _kept(runtime: Runtime, shop: Shop) -> tuple[list[Level], dict[str, int]]:
    with runtime.db.read() as connection:
        return levels(connection, shop.shop_id), held(connection, shop.shop_id)


def _audited(runtime: Runtime) -> list[tuple[Any, ...]]:
    columns = audit_log.c
    with runtime.db.read() as connection:
        return [
            tuple(row) for row in connection.execute(select(columns.actor, columns.action).order_by(columns.audit_id))
        ]


@pytest.mark.usefixtures("people")
def test_ladder_says_who_holds_what(runtime: Runtime, shop: Shop, page: Page) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    told = words(page("tiers"))
    assert "3 of 4 members hold a level." in told
    assert "Gold Members whose amount spent is at least 100 EUR 2 members 50%" in told
    assert "Bronze Members whose number of orders is at least 1 1 member 25%" in told
    assert "No level Everybody whom no rule fits 1 member 25%" in told
    assert "3 members moved" in told
    assert "by itself, every day" in told


@pytest.mark.usefixtures("people")
def test_undone_run_is_shown_with_the_way_on(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    with runtime.db.write() as connection:
        tier_undo.undo(connection, shop, today=NOON.date(), now=NOON, actor="page:owner", reason="Too early")
    assert "so nobody moves by itself. Reason: Too early" in words(page("tiers"))
    assert _kept(runtime, shop)[1] == {}
    assert post("tiers/go-on", {}).status_code == 303
    assert _kept(runtime, shop)[1] == {"bronze": 1, "gold": 2}
    told = words(page("tiers"))
    assert "Members move by themselves again, once a day. 3 members have moved." in told
    assert "Too early" not in told


@pytest.mark.usefixtures("people")
def test_page_is_in_chinese(runtime: Runtime, shop: Shop, page: Page) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    html = page("tiers?lang=zh")
    assert "铜卡" in html
    assert "订单数" in html


@pytest.mark.usefixtures("people")
def test_preview_tells_who_moves_and_writes_nothing(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    before = _audited(runtime)
    answer = post(f"{MAIN}/preview", _form(page, BRONZE, Level("gold", "spent() >= 200", GOLD.title)))
    assert answer.status_code == 200
    assert "<html" not in answer.text
    told = words(answer.text)
    assert "1 member would move: 1 goes down." in told
    assert "↓ 1 Gold → Bronze such as Bo" in told
    assert "Gold Members whose amount spent is at least 200 EUR" in told
    assert "Save and move 1 member" in told
    assert _kept(runtime, shop) == ([BRONZE, GOLD], {"bronze": 1, "gold": 2})
    assert _audited(runtime) == before


@pytest.mark.usefixtures("people")
def test_preview_tells_what_happens_anyway(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, applied=False)
    told = words(post(f"{MAIN}/preview", _form(page, BRONZE, GOLD)).text)
    assert "3 members would move today anyway, by the levels saved now." in told
    assert "The change itself gives 2 members another level." in told


@pytest.mark.usefixtures("people")
def test_saving_what_was_seen_moves_them(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    wanted = _form(page, BRONZE, Level("gold", "spent() >= 200", GOLD.title))
    answer = post(MAIN, {**wanted, "do": "apply", "seen": seen_in(post(f"{MAIN}/preview", wanted).text)})
    assert answer.status_code == 303
    assert "Saved. 1 member has moved." in words(page("tiers"))
    saved, holders = _kept(runtime, shop)
    assert saved[1] == Level("gold", "spent() >= 200", {"en": "Gold", "de": "Gold-Kunde"})
    assert holders == {"bronze": 2, "gold": 1}
    assert _audited(runtime)[-2:] == [("page:owner", "tiers.saved"), ("page:owner", "tiers.applied")]


@pytest.mark.usefixtures("people")
def test_number_that_has_changed_is_shown_first(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD, applied=False)
    form = _form(page, BRONZE, GOLD)
    seen = seen_in(post(f"{MAIN}/preview", form).text)
    write(runtime.db, shop, [order("late", 100, member_external_id="3")])
    answer = post(MAIN, {**form, "do": "apply", "seen": seen})
    assert answer.status_code == 422
    assert "Move 4 members now" in words(answer.text)
    assert _kept(runtime, shop)[1] == {}


@pytest.mark.usefixtures("people")
def test_saving_only_moves_nobody_yet(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    form = _form(page, BRONZE, GOLD)
    seen = seen_in(post(f"{MAIN}/preview", form).text)
    assert post(MAIN, {**form, "do": "save", "seen": seen}).status_code == 303
    html = page(MAIN)
    assert "Nobody has moved yet" in words(html)
    assert "Move 3 members now" in words(html)
    assert _kept(runtime, shop)[1] == {}
    form = fields(html, "policy")
    assert post(MAIN, {**form, "do": "apply", "seen": seen_in(html)}).status_code == 303
    assert _kept(runtime, shop)[1] == {"bronze": 1, "gold": 2}


@pytest.mark.usefixtures("people")
def test_new_level_gets_a_key_from_its_name(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    form = _form(page, Level("", "orders() >= 2", {"zh-CN": "金卡"}), Level("", "everyone", {"en": "Très Chic+"}))
    seen = seen_in(post(f"{MAIN}/preview", form).text)
    assert post(MAIN, {**form, "do": "apply", "seen": seen}).status_code == 303
    assert _kept(runtime, shop) == (
        [Level("level", "orders() >= 2", {"zh-CN": "金卡"}), Level("tres-chic", "everyone", {"en": "Très Chic+"})],
        {"tres-chic": 4},
    )


@pytest.mark.usefixtures("people")
def test_level_taken_out_is_named_in_the_preview(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    told = words(post(f"{MAIN}/preview", _form(page, GOLD)).text)
    assert "− 1 Bronze → No level such as Anna" in told
    assert "1 loses their level" in told


@pytest.mark.slow
@pytest.mark.usefixtures("people")
def test_level_that_was_replaced_keeps_its_name(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    form = _form(page, BRONZE, Level("platinum", "spent() >= 200", {"en": "Platinum"}))
    seen = seen_in(post(f"{MAIN}/preview", form).text)
    assert post(MAIN, {**form, "do": "save", "seen": seen}).status_code == 303
    html = page(MAIN)
    assert "↑ 1 Gold → Platinum" in words(html)
    assert "↓ 1 Gold → Bronze" in words(html)
    with runtime.db.read() as connection:
        rich = connection.execute(select(members.c.member_id).where(members.c.first_name == "Bo")).scalar_one()
    told = words(page(f"members/{rich}"))
    assert "The level Gold is no longer among your tiers." in told
    assert ">gold<" not in page("members")
    assert post(MAIN, {**fields(html, "policy"), "do": "apply", "seen": seen_in(html)}).status_code == 303
    assert "Gold → Bronze 1 , Gold → Platinum 1" in words(page("tiers"))
    assert "Moved from tier Gold to Bronze" in words(page(f"members/{rich}"))


@pytest.mark.slow
@pytest.mark.usefixtures("people")
def test_level_a_saved_rule_asks_for_is_not_taken_out(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    told = {
        "key": "wishes",
        "title": {"en": "Wishes"},
        "trigger": {"type": "birthday"},
        "channels": ["email"],
        "audience": 'tier != "bronze" and spent() >= 9',
    }
    with runtime.db.write() as connection:
        journeys.save(connection, shop, read_draft(told), NOON)
        segments.save(connection, shop, "low", 'tier == "bronze"', NOON, title="Beginners")
    before = _audited(runtime)
    for path, act in ((f"{MAIN}/preview", ""), (MAIN, "preview"), (MAIN, "save"), (MAIN, "apply")):
        answer = post(path, {**_form(page, GOLD), "do": act})
        assert answer.status_code == 422
        told_so = words(answer.text)
        assert (
            "Bronze cannot go: the journey “Wishes” is only for members whose tier is not “Bronze” and whose amount spent "
            "is at least 9 EUR. Keep the level,"
        ) in told_so
        assert (
            "Bronze cannot go: the segment Beginners is for members whose tier is “Bronze”. Keep the level," in told_so
        )
    # Also when the row has just been taken out, and nobody has asked yet whether that can be.
    answer = post(MAIN, {**_form(page, BRONZE, GOLD), "do": "remove-1"})
    assert answer.status_code == 200
    assert "Bronze cannot go: the journey “Wishes” is only" in words(answer.text)
    assert "Give the new level a name" not in answer.text
    assert _kept(runtime, shop)[0] == [BRONZE, GOLD]
    assert _audited(runtime) == before


@pytest.mark.usefixtures("people")
def test_name_of_a_member_is_text(page: Page, post: Post) -> None:
    answer = post(f"{MAIN}/preview", _form(page, Level("top", "spent() >= 200", {"en": "<b>Top</b>"})))
    assert "&lt;script&gt;" in answer.text
    assert "&lt;b&gt;Top&lt;/b&gt;" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.slow
def test_ready_ladder_is_offered_and_begun_by_two_buttons(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    write(runtime.db, shop, [member(str(number)) for number in range(40)])
    write(runtime.db, shop, [order(f"o{n}", (n + 1) * 1000, member_external_id=str(n)) for n in range(40)])
    html = page("tiers")
    told = words(html)
    assert "By what was spent in the last 12 months" in told
    assert "Worked out from what 40 members spent." in told
    assert "Silver Members whose amount spent in the last 365 days is at least 350 EUR 5 members" in told
    assert [f'href="/s/{shop.name}/{MAIN}?start={one}"' in html for one in ("year", "ever")] == [True, True]
    html = page(f"{MAIN}?start=year")
    form = fields(html, "policy")
    assert [form[name] for name in ("measure", "window", "window_days", "entry-0", "entry-1")] == [
        "spent", "days", "365", "400", "350",
    ]  # fmt: skip
    assert (form["how-2"], form["rule-2"]) == ("rule", "orders() >= 1")
    assert "Save and move 40 members" in words(html)
    ever = fields(page(f"{MAIN}?start=ever"), "policy")
    assert (ever["window"], ever["entry-1"]) == ("lifetime", "350")
    assert fields(page(f"{MAIN}?start=moon"), "policy")["entry-0"] == ""
    assert _kept(runtime, shop) == ([], {})
    assert post(MAIN, {**form, "do": "apply", "seen": seen_in(html)}).status_code == 303
    assert _kept(runtime, shop)[1] == {"member": 34, "silver": 5, "gold": 1}
    # What is saved is not proposed over.
    assert fields(page(f"{MAIN}?start=ever"), "policy")["window"] == "days"


@pytest.mark.usefixtures("people")
def test_new_shop_writes_two_names_and_two_figures(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    html = page("tiers")
    assert "Once 20 members have bought something" in words(html)
    assert f'href="/s/{shop.name}/{MAIN}?start=own"' in html
    html = page(f"{MAIN}?start=own")
    assert "Save and move" not in html
    # All that is not needed at first is folded away.
    assert len(re.findall("<details(?! open)", html.partition('id="policy"')[2].partition("</form>")[0])) == 5
    form = {**fields(html, "policy"), "en-0": "Silver", "entry-0": "100"}
    html = post(MAIN, {**form, "do": "add"}).text
    form = {**fields(html, "policy"), "en-0": "Gold", "entry-0": "200"}
    html = post(MAIN, {**form, "do": "preview"}).text
    assert "2 members would move: 2 get a first level." in words(html)
    assert post(MAIN, {**fields(html, "policy"), "do": "apply", "seen": seen_in(html)}).status_code == 303
    assert _kept(runtime, shop)[1] == {"gold": 1, "silver": 1}


def test_every_field_is_explained_by_a_rule_that_can_be_read(page: Page) -> None:
    told = page(MAIN)
    for key, spec in FIELDS.items():
        compile_rule(example(spec))
        assert (f"<code>{escape(example(spec))}</code>" in told) == (key not in ("tier", "days_in_tier"))


def test_stranger_and_foreign_page_change_nothing(
    runtime: Runtime, shop: Shop, page: Page, stranger: FlaskClient, client: FlaskClient
) -> None:
    form = {**_form(page, BRONZE), "do": "save"}
    assert stranger.get(f"/s/{shop.name}/tiers").status_code == 401
    assert stranger.post(f"/s/{shop.name}/{MAIN}", data=form).status_code == 401
    foreign = {"Origin": "https://evil.example"}
    assert client.post(f"/s/{shop.name}/{MAIN}", data=form, headers=foreign).status_code == 403
    assert _kept(runtime, shop) == ([], {})


@pytest.mark.usefixtures("people")
def test_level_that_nobody_reaches_is_warned_of(page: Page, runtime: Runtime, shop: Shop) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    assert "nobody earns it" not in words(page("tiers"))
    _set_up(runtime, shop, Level("best", "spent() >= 500", {"en": "Best", "zh-CN": "至尊"}), GOLD)
    assert "Best : Whoever fits also fits a higher level (Gold): nobody earns it." in words(page("tiers"))
    assert "至尊 ：符合条件的会员同时符合更高的等级（Gold）" in words(page("tiers?lang=zh"))


@pytest.mark.usefixtures("people")
def test_warning_about_another_programme_says_which(page: Page, runtime: Runtime, shop: Shop) -> None:
    ladder = [{"key": key, "title": title, "rule": "spent() >= 9"} for key, title in (("a", "Guest"), ("b", "Host"))]
    club = {"program": "club", "title": {"en": "Tea club", "zh-CN": "茶友会"}, "levels": ladder}
    with runtime.db.write() as connection:
        save_policy(connection, shop, read_policy(club), NOON, actor="test")
    assert "Tea club: Guest : It asks for the same as Host, which is higher: nobody earns it." in words(page("tiers"))
    assert "茶友会：Guest ：与更高的等级“Host”条件相同" in words(page("tiers?lang=zh"))
