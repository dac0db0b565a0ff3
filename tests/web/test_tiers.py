"""The page of tiers: who moves is shown before anything is saved, and only what was shown is saved."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy import select

from crm_plugin.rules import compile_rule, tier_undo
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.reference import example
from crm_plugin.rules.tiers import Level, apply, held, levels, save_levels
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, words

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


def _form(*ladder: Level, **told: str) -> dict[str, str]:
    """The form of these levels (lowest first), as the page would send it."""
    values: dict[str, str] = {}
    for number, level in enumerate(reversed(ladder)):
        row = {"was": level.key, "key": level.key, "en": level.title.get("en", ""), "zh": level.title.get("zh-CN", "")}
        values |= {f"{name}-{number}": value for name, value in {**row, "rule": level.rule}.items()}
    return values | {name.replace("_", "-"): value for name, value in told.items()}


def _seen(html: str) -> str:
    found = re.search(r'name="seen" value="([^"]+)"', html)
    assert found is not None
    return found[1]


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
    assert "Gold Members whose amount spent is at least 100 2 members 50%" in told
    assert "Bronze Members whose number of orders is at least 1 1 member 25%" in told
    assert "No level Everybody whom no rule fits 1 member 25%" in told
    assert "Nobody would move" in told
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
def test_preview_tells_who_moves_and_writes_nothing(runtime: Runtime, shop: Shop, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    before = _audited(runtime)
    answer = post("tiers/preview", _form(BRONZE, Level("gold", "spent() >= 200", GOLD.title)))
    assert answer.status_code == 200
    assert "<html" not in answer.text
    told = words(answer.text)
    assert "1 member would move: 1 goes down." in told
    assert "↓ 1 Gold → Bronze such as Bo" in told
    assert "Save and move 1 member" in told
    assert _kept(runtime, shop) == ([BRONZE, GOLD], {"bronze": 1, "gold": 2})
    assert _audited(runtime) == before


@pytest.mark.usefixtures("people")
def test_preview_tells_what_happens_anyway(runtime: Runtime, shop: Shop, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, applied=False)
    told = words(post("tiers/preview", _form(BRONZE, GOLD)).text)
    assert "3 members would move today anyway, by the levels saved now." in told
    assert "The change itself gives 2 members another level." in told


@pytest.mark.usefixtures("people")
def test_saving_what_was_seen_moves_them(runtime: Runtime, shop: Shop, post: Post, page: Page) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    wanted = _form(BRONZE, Level("gold", "spent() >= 200", GOLD.title))
    seen = _seen(post("tiers/preview", wanted).text)
    answer = post("tiers", {**wanted, "do": "apply", "seen": seen})
    assert answer.status_code == 303
    assert "Saved. 1 member has moved." in words(page("tiers"))
    saved, holders = _kept(runtime, shop)
    assert saved[1] == Level("gold", "spent() >= 200", {"en": "Gold", "de": "Gold-Kunde"})
    assert holders == {"bronze": 2, "gold": 1}
    assert _audited(runtime)[-2:] == [("page:owner", "tiers.saved"), ("page:owner", "tiers.applied")]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("act", ["apply", "save"])
def test_what_was_not_seen_is_shown_first(runtime: Runtime, shop: Shop, post: Post, act: str) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    seen = _seen(post("tiers/preview", _form(BRONZE, GOLD)).text)
    changed = _form(BRONZE, Level("gold", "spent() >= 9", GOLD.title), do=act, seen=seen)
    answer = post("tiers", changed)
    assert answer.status_code == 422
    assert "This has changed since you looked." in words(answer.text)
    assert "spent() &gt;= 9" in answer.text
    assert _kept(runtime, shop) == ([BRONZE, GOLD], {"bronze": 1, "gold": 2})


@pytest.mark.usefixtures("people")
def test_number_that_has_changed_is_shown_first(runtime: Runtime, shop: Shop, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD, applied=False)
    form = _form(BRONZE, GOLD)
    seen = _seen(post("tiers/preview", form).text)
    write(runtime.db, shop, [order("late", 100, member_external_id="3")])
    answer = post("tiers", {**form, "do": "apply", "seen": seen})
    assert answer.status_code == 422
    assert "Move 4 members now" in words(answer.text)
    assert _kept(runtime, shop)[1] == {}


@pytest.mark.usefixtures("people")
def test_saving_only_moves_nobody_yet(runtime: Runtime, shop: Shop, post: Post, page: Page) -> None:
    form = _form(BRONZE, GOLD)
    seen = _seen(post("tiers/preview", form).text)
    assert post("tiers", {**form, "do": "save", "seen": seen}).status_code == 303
    told = words(page("tiers"))
    assert "Nobody has moved yet" in told
    assert "Move 3 members now" in told
    assert _kept(runtime, shop)[1] == {}
    seen = _seen(page("tiers"))
    assert post("tiers", {**form, "do": "apply", "seen": seen}).status_code == 303
    assert _kept(runtime, shop)[1] == {"bronze": 1, "gold": 2}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            {"rule-0": "orders() >= 1\nand spnt() >= 9"},
            "Line 2, column 5: There is no field 'spnt'. Did you mean spent?",
        ),
        ({"rule-0": ""}, "Write who belongs to this level."),
        ({"rule-0": 'tier == "bronze"'}, "A level cannot depend on the level held."),
        ({"en-0": "", "zh-0": ""}, "Give the level a name."),
        ({"key-0": "bronze"}, "Another level has this key."),
        ({"en-0": " bronze"}, "Another level has this name. Give each a name of its own."),
        ({"en-0": "", "zh-0": "铜卡"}, "Another level has this name. Give each a name of its own."),
        ({"key-0": "Gold!"}, "Use small letters, digits, - and _"),
    ],
)
def test_mistake_stands_at_its_field(runtime: Runtime, shop: Shop, post: Post, told: dict[str, str], said: str) -> None:
    for path, form in (("tiers", {"do": "apply"}), ("tiers/preview", {})):
        answer = post(path, {**_form(BRONZE, GOLD), **form, **told})
        assert answer.status_code == 422
        assert said in words(answer.text)
    assert 'aria-invalid="true"' in post("tiers", {**_form(BRONZE, GOLD), "do": "apply", **told}).text
    assert _kept(runtime, shop) == ([], {})


def test_buttons_move_rows_without_saving(runtime: Runtime, shop: Shop, post: Post) -> None:
    form = _form(BRONZE, GOLD)
    for act, order_of_keys in (
        ("down-0", ["bronze", "gold"]),
        ("up-1", ["bronze", "gold"]),
        ("up-0", ["gold", "bronze"]),
        ("remove-0", ["bronze"]),
        ("add", ["", "gold", "bronze"]),
        ("up-99", ["gold", "bronze"]),
    ):
        answer = post("tiers", {**form, "do": act})
        assert answer.status_code == 200
        assert re.findall(r'name="key-\d+" type="text" value="([^"]*)"', answer.text) == order_of_keys
        assert "aria-invalid" not in answer.text
    assert _kept(runtime, shop) == ([], {})


@pytest.mark.usefixtures("people")
def test_new_level_gets_a_key_from_its_name(runtime: Runtime, shop: Shop, post: Post) -> None:
    fresh = {"was-0": "", "key-0": "", "en-0": "Très Chic+", "zh-0": "", "rule-0": "everyone"}
    named = {"was-1": "", "key-1": "", "en-1": "", "zh-1": "金卡", "rule-1": "orders() >= 2"}
    form = {**fresh, **named}
    seen = _seen(post("tiers/preview", form).text)
    assert post("tiers", {**form, "do": "apply", "seen": seen}).status_code == 303
    assert _kept(runtime, shop) == (
        [Level("level", "orders() >= 2", {"zh-CN": "金卡"}), Level("tres-chic", "everyone", {"en": "Très Chic+"})],
        {"tres-chic": 4},
    )


@pytest.mark.usefixtures("people")
def test_level_taken_out_is_named_in_the_preview(runtime: Runtime, shop: Shop, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    told = words(post("tiers/preview", _form(GOLD)).text)
    assert "− 1 Bronze → No level such as Anna" in told
    assert "1 loses their level" in told


@pytest.mark.usefixtures("people")
def test_level_that_was_replaced_keeps_its_name(runtime: Runtime, shop: Shop, post: Post, page: Page) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    form = _form(BRONZE, Level("platinum", "spent() >= 200", {"en": "Platinum"}))
    seen = _seen(post("tiers/preview", form).text)
    assert post("tiers", {**form, "do": "save", "seen": seen}).status_code == 303
    html = page("tiers")
    told = words(html)
    assert "↑ 1 Gold → Platinum" in told
    assert "↓ 1 Gold → Bronze" in told
    with runtime.db.read() as connection:
        rich = connection.execute(select(members.c.member_id).where(members.c.first_name == "Bo")).scalar_one()
    assert "Guest" not in words(page(f"members/{rich}"))
    assert "Gold" in words(page(f"members/{rich}"))
    assert ">gold<" not in page("members")
    assert post("tiers", {**form, "do": "apply", "seen": _seen(html)}).status_code == 303
    told = words(page("tiers"))
    assert "Gold → Bronze 1 , Gold → Platinum 1" in told
    assert "Moved from tier Gold to Bronze" in words(page(f"members/{rich}"))


@pytest.mark.usefixtures("people")
def test_level_a_journey_asks_for_is_not_taken_out(runtime: Runtime, shop: Shop, post: Post) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    told = {
        "key": "wishes",
        "title": {"en": "Wishes"},
        "trigger": {"type": "birthday"},
        "channels": ["email"],
        "audience": 'tier != "bronze"',
    }
    with runtime.db.write() as connection:
        journeys.save(connection, shop, journeys.read_draft(told), NOON)
    before = _audited(runtime)
    for path, act in (("tiers/preview", ""), ("tiers", "preview"), ("tiers", "save"), ("tiers", "apply")):
        answer = post(path, _form(GOLD, do=act))
        assert answer.status_code == 422
        told_so = (
            "Bronze cannot go: the journey “Wishes” is only for members whose tier is not “bronze”. Keep the level,"
        )
        assert told_so in words(answer.text)
    # Also when the row has just been taken out, and nobody has asked yet whether that can be.
    answer = post("tiers", _form(BRONZE, GOLD, do="remove-1"))
    assert answer.status_code == 200
    assert told_so in words(answer.text)
    assert "Give the new level a name" not in answer.text
    assert _kept(runtime, shop)[0] == [BRONZE, GOLD]
    assert _audited(runtime) == before


@pytest.mark.usefixtures("people")
def test_name_of_a_member_is_text(post: Post) -> None:
    answer = post("tiers/preview", _form(Level("top", "spent() >= 200", {"en": "<b>Top</b>"})))
    assert "&lt;script&gt;" in answer.text
    assert "&lt;b&gt;Top&lt;/b&gt;" in answer.text
    assert "<script>" not in answer.text


def test_ready_ladder_is_offered_and_only_shown(runtime: Runtime, shop: Shop, page: Page) -> None:
    write(runtime.db, shop, [member(str(number)) for number in range(40)])
    write(runtime.db, shop, [order(f"o{n}", (n + 1) * 1000, member_external_id=str(n)) for n in range(40)])
    told = words(page("tiers"))
    assert "By what was spent in the last 12 months" in told
    assert "Worked out from what 40 members spent." in told
    assert "Silver Members whose amount spent in the last 365 days is at least 350 5 members" in told
    html = page("tiers?start=year")
    assert "spent(days=365) &gt;= 350" in html
    assert "Save and move 40 members" in words(html)
    assert "spent() &gt;= 350" in page("tiers?start=ever")
    assert _kept(runtime, shop) == ([], {})


def test_new_shop_may_write_its_own(page: Page) -> None:
    assert "Once 20 members have bought something" in words(page("tiers"))
    html = page("tiers?start=own")
    assert 'name="rule-0"' in html
    assert "Save and move" not in html


def test_every_field_is_explained_by_a_rule_that_can_be_read(page: Page) -> None:
    told = page("tiers?start=own")
    for key, spec in FIELDS.items():
        compile_rule(example(spec))
        assert (f"<code>{escape(example(spec))}</code>" in told) == (key not in ("tier", "days_in_tier"))


def test_stranger_and_foreign_page_change_nothing(
    runtime: Runtime, shop: Shop, stranger: FlaskClient, client: FlaskClient
) -> None:
    form = {**_form(BRONZE), "do": "save"}
    assert stranger.get(f"/s/{shop.name}/tiers").status_code == 401
    assert stranger.post(f"/s/{shop.name}/tiers", data=form).status_code == 401
    foreign = {"Origin": "https://evil.example"}
    assert client.post(f"/s/{shop.name}/tiers", data=form, headers=foreign).status_code == 403
    assert _kept(runtime, shop) == ([], {})


def test_level_that_nobody_reaches_is_warned_of(page: Page, people: None, runtime: Runtime, shop: Shop) -> None:
    _set_up(runtime, shop, BRONZE, GOLD)
    assert "nobody earns it" not in words(page("tiers"))
    _set_up(runtime, shop, Level("best", "spent() >= 500", {"en": "Best", "zh-CN": "至尊"}), GOLD)
    assert "Best : Whoever fits also fits a higher level (gold): nobody earns it." in words(page("tiers"))
    assert "同时符合更高的等级（gold）" in words(page("tiers?lang=zh"))
