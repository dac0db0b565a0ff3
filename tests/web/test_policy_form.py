"""The form of a tier programme: all of a policy, looked at before it is saved, each mistake at its field."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import event, select

from crm_plugin.rules.policies import in_force, versions
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import Level, apply, save_levels, save_policy
from crm_plugin.runtime import Runtime
from crm_plugin.store import member_tiers, members
from crm_plugin.store.tenants import Shop
from crm_plugin.web.pages import tiers_policy
from tests.cases import failing
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, fields, seen_in, words

MAIN = "tiers/programme/main"
CLUB: dict[str, Any] = {
    "program": "club",
    "title": {"en": "Tea club", "zh-CN": "茶友会", "de": "Teeclub"},
    "measure": "spent",
    "window": {"days": 365},
    "exclude": {"products": ["GIFT-1", "GIFT-2"], "shipping": True},
    "term": {"days": 30},
    "grace_days": 10,
    "descent": "one_step",
    "levels": [
        {
            "key": "silver",
            "title": {"en": "Silver", "zh-CN": "银卡"},
            "entry": 100,
            "keep": "80.50",
            "reentry": 90,
            "reward": "TEA-5",
        },
        {"key": "gold", "title": {"en": "Gold"}, "rule": "orders() >= 5", "keep_rule": "orders() >= 4"},
        {"key": "circle", "title": {"en": "Circle"}, "invitation": True, "keep": 10},
    ],
}
_A: dict[str, Any] = {"key": "a", "title": "A", "entry": 5}
OTHERS: list[dict[str, Any]] = [
    {"program": "years", "measure": "profit", "window": "calendar_year", "descent": "never", "levels": [_A]},
    {
        "program": "figures",
        "measure": "spent() + 10 * orders()",
        "window": "since_joining",
        "term": "end_of_year",
        "levels": [{**_A, "reentry_rule": "orders() >= 9"}],
    },
    {"program": "rules", "levels": [{"key": "a", "title": "A", "rule": "orders() >= 1"}]},
]


@pytest.fixture(autouse=True)
def _people(runtime: Runtime, shop: Shop) -> None:
    """Three who spent 50, 150 and 250, and one who bought nothing."""
    write(runtime.db, shop, [member(str(n), first_name=name) for n, name in enumerate(("Anna", "Bo", "Cy", "Dora"))])
    write(runtime.db, shop, [order(f"o{n}", (n * 100 + 50) * 100, member_external_id=str(n)) for n in range(3)])


def _set_up(runtime: Runtime, shop: Shop, document: dict[str, Any], *, applied: bool = True) -> None:
    with runtime.db.write() as connection:
        save_policy(connection, shop, read_policy(document), NOON, actor="page:owner")
    if applied:
        apply(runtime.db, shop, as_of=NOON.date(), now=NOON)


def _fields(html: str) -> dict[str, str]:
    return fields(html, "policy")


def _in_force(runtime: Runtime, shop: Shop, program: str) -> Policy:
    with runtime.db.read() as connection:
        return in_force(connection, shop.shop_id, program, NOON.date()).policy


def _holders(runtime: Runtime, shop: Shop, program: str) -> dict[str, str]:
    t, m = member_tiers.c, members.c
    query = select(m.first_name, t.level_key).join(members, m.member_id == t.member_id)
    with runtime.db.read() as connection:
        return {name: level for name, level in connection.execute(query.where(t.program_key == program))}  # noqa: C416


def _save(post: Post, path: str, form: dict[str, str], act: str = "apply") -> None:
    seen = seen_in(post(path, {**form, "do": "preview"}).text)
    answer = post(path, {**form, "do": act, "seen": seen})
    assert answer.status_code == 303, words(answer.text)


@pytest.mark.slow
@pytest.mark.parametrize("document", [CLUB, *OTHERS], ids=lambda one: one["program"])
def test_form_gives_back_what_it_was_filled_with(
    runtime: Runtime, shop: Shop, page: Page, post: Post, document: dict[str, Any]
) -> None:
    _set_up(runtime, shop, document)
    path = f"tiers/programme/{document['program']}"
    form = _fields(page(path))
    before = _in_force(runtime, shop, document["program"]).as_dict()
    _save(post, path, {**form, "en": "Other"})
    after = _in_force(runtime, shop, document["program"]).as_dict()
    assert after == {**before, "title": {**before.get("title", {}), "en": "Other"}}


@pytest.mark.slow
def test_nothing_is_saved_that_was_not_looked_at(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    path = "tiers/programme/club"
    form = {**_fields(page(path)), "entry-2": "200"}
    for act in ("save", "apply"):
        answer = post(path, {**form, "do": act})
        assert answer.status_code == 422
        assert "This is new or has changed since you looked." in words(answer.text)
    seen = seen_in(answer.text)
    answer = post(path, {**form, "entry-2": "300", "do": "apply", "seen": seen})
    assert answer.status_code == 422
    assert 'value="300"' in answer.text
    assert _in_force(runtime, shop, "club").levels[0].entry == 100


@pytest.mark.slow
def test_preview_tells_who_moves_and_what_is_promised(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    form = {**_fields(page("tiers/programme/club")), "keep-2": "40", "entry-2": "40", "reentry-2": ""}
    answer = post("tiers/programme/club/preview", form)
    assert answer.status_code == 200
    assert "<html" not in answer.text
    told = words(answer.text)
    assert "1 member would move: 1 gets a first level." in told
    assert "No level → Silver such as Anna" in told
    assert "A level holds for 30 days." in told
    assert "Whoever comes in today holds the level through Jun 30, 2026." in told
    assert "Whoever comes into Silver gets TEA-5, once." in told
    assert "Save and move 1 member" in told
    assert _holders(runtime, shop, "club") == {"Bo": "silver", "Cy": "silver"}


@pytest.mark.slow
def test_saving_moves_the_members_that_were_shown(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    form = {**_fields(page("tiers/programme/club")), "entry-2": "40", "keep-2": "", "reentry-2": "", "grace_days": ""}
    _save(post, "tiers/programme/club", form)
    assert "Saved. 1 member has moved." in words(page("tiers/programme/club"))
    assert _holders(runtime, shop, "club") == {"Anna": "silver", "Bo": "silver", "Cy": "silver"}
    assert _in_force(runtime, shop, "club").grace_days == 0


# What is written, the field at which it is told, and how.
MISTAKES: list[tuple[dict[str, str], str, str]] = [
    ({"entry-2": "a lot"}, "entry-2", "Write a plain number such as 1000 or 99.50"),
    ({"entry-2": "1,000"}, "entry-2", "Write a plain number such as 1000 or 99.50"),
    ({"entry-2": "-1"}, "entry-2", "Write a plain number such as 1000 or 99.50"),
    ({"entry-2": "1.12345"}, "entry-2", "1.12345 has too many digits."),
    ({"entry-2": "1e15"}, "entry-2", "1000000000000000 has too many digits."),
    ({"entry-2": "1e999999999"}, "entry-2", "Write a plain number such as 1000 or 99.50"),
    ({"entry-2": "1e-999999999"}, "entry-2", "Write a plain number such as 1000 or 99.50"),
    ({"entry-2": ""}, "entry-2", "Write the figure that is to be reached, such as 100."),
    ({"keep-2": "91"}, "keep-2", "Whoever comes in with 90 would lose it again. Write at most 90."),
    ({"how-1": "bar", "entry-1": "100"}, "entry-1", "A level below asks for 100 already."),
    ({"keep_rule-2": "orders() >= 1"}, "keep_rule-2", "Say it by a figure or by a rule"),
    ({"rule-1": "spnt() >= 9"}, "rule-1", "There is no field 'spnt'. Did you mean spent?"),
    ({"rule-1": ""}, "rule-1", "Write who belongs to this level."),
    ({"keep_rule-1": "days_in_tier >= 3"}, "keep_rule-1", "A level cannot depend on the level held."),
    ({"keep_rule-1": 'segment("x")'}, "keep_rule-1", "There is no segment 'x'."),
    ({"measure": ""}, "how-2", "Nothing is counted: choose above what counts"),
    ({"measure": "own", "own": ""}, "own", "Write the figure, or choose another one above."),
    ({"measure": "own", "own": "vip"}, "own", "There is no field 'vip'"),
    ({"measure": "own", "own": "orders()"}, "products", "Exclusions are amounts, and orders() is none."),
    ({"window_days": "0"}, "window_days", "Write a whole number from 1 to 36500."),
    ({"window": "moon"}, "window", "Choose one of these."),
    ({"term_days": "x"}, "term_days", "Write a whole number from 1 to 36500."),
    ({"grace_days": "36501"}, "grace_days", "Write a whole number from 0 to 36500."),
    ({"descent": "up"}, "descent", "Choose one of these."),
    ({"effective_on": "2026-05-31"}, "effective_on", "This day is over."),
    ({"effective_on": "soon"}, "effective_on", "Write the day as 2026-06-01."),
    ({"en-1": ""}, "en-1", "Give the level a name."),
    ({"en-1": "silver"}, "en-2", "Another level has this name."),
    ({"key-1": "silver"}, "key-2", "Another level has this key."),
    ({"key-1": "Gold!"}, "key-1", "Use small letters, digits, - and _"),
]


@pytest.mark.slow
def test_mistake_stands_at_its_field(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB, applied=False)
    club = _fields(page("tiers/programme/club"))

    def is_told(case: tuple[dict[str, str], str, str]) -> None:
        told, place, said = case
        form = {**club, **told}
        answer = post("tiers/programme/club", {**form, "do": "apply"})
        assert answer.status_code == 422
        found = re.search(rf'<p class="error" id="e-{place}">(.*?)</p>', answer.text, re.DOTALL)
        assert found is not None, re.findall(r'<p class="error".*?</p>', answer.text)
        assert said in unescape(found[1])
        # Of a choice that is none a browser sends the first there is.
        assert {**_fields(answer.text), **told} == form
        assert said in words(post("tiers/programme/club/preview", form).text)

    assert failing(is_told, [(str(case[0]), case) for case in MISTAKES]) == {}
    with runtime.db.read() as connection:
        assert len(versions(connection, shop.shop_id, "club")) == 1


@pytest.mark.slow
def test_more_than_a_rule_can_hold_is_told(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    products = "\n".join(f"GIFT-{number}" for number in range(9_000))
    form = {**_fields(page("tiers/programme/club")), "products": products}
    answer = post("tiers/programme/club", {**form, "do": "apply"})
    assert answer.status_code == 422
    assert re.search(r'id="e-products">The rule is longer than 10000 characters', answer.text)
    assert post("tiers/programme/club", {"do": "drop-9", "version": "1"}).status_code == 200


@pytest.mark.slow
def test_what_a_choice_makes_pointless_is_not_read(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    form = _fields(page("tiers/programme/club"))
    hidden = {"window": "lifetime", "window_days": "x", "descent": "never", "term_days": "x", "grace_days": "x"}
    of_levels = {"how-2": "invitation", "entry-2": "x", "reentry-2": "x", "rule-2": "x", "reentry_rule-2": "x"}
    _save(post, "tiers/programme/club", {**form, **hidden, **of_levels})
    saved = _in_force(runtime, shop, "club").as_dict()
    assert "term" not in saved
    assert (saved["window"], saved["descent"]) == ("lifetime", "never")
    assert saved["levels"][0] == {
        "key": "silver",
        "title": {"en": "Silver", "zh-CN": "银卡"},
        "keep": "80.5",
        "reward": "TEA-5",
        "invitation": True,
    }


@pytest.mark.slow
def test_levels_are_arranged_without_saving(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    form = {**_fields(page("tiers/programme/club")), "en-2": "Silber", "grace_days": "odd"}
    for act, keys in (
        ("add", ["", "circle", "gold", "silver"]),
        ("down-0", ["gold", "circle", "silver"]),
        ("up-2", ["circle", "silver", "gold"]),
        ("remove-1", ["circle", "silver"]),
        ("retire", []),
    ):
        answer = post("tiers/programme/club", {**form, "do": act})
        assert answer.status_code == 200
        after = _fields(answer.text)
        assert [after[f"key-{n}"] for n in range(len(keys))] == keys
        assert f"key-{len(keys)}" not in after
        assert after["grace_days"] == "odd"
        assert "aria-invalid" not in answer.text
    with runtime.db.read() as connection:
        assert len(versions(connection, shop.shop_id, "club")) == 1


@pytest.mark.slow
def test_policy_saved_meanwhile_is_not_overwritten_unseen(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    form = {**_fields(page("tiers/programme/club")), "entry-2": "200", "keep-2": "", "reentry-2": ""}
    seen = seen_in(post("tiers/programme/club", {**form, "do": "preview"}).text)
    _set_up(runtime, shop, {**CLUB, "grace_days": 20})
    answer = post("tiers/programme/club", {**form, "do": "apply", "seen": seen})
    assert answer.status_code == 422
    assert "This programme was saved meanwhile (you, on this page)." in words(answer.text)
    assert _in_force(runtime, shop, "club").grace_days == 20
    # What was written stands there still, and can be saved now that this is known.
    again = _fields(answer.text)
    assert {name for name in form if form[name] != again[name]} == {"version"}
    _save(post, "tiers/programme/club", again)
    kept = _in_force(runtime, shop, "club")
    assert (kept.levels[0].entry, kept.grace_days) == (200, 10)


@pytest.mark.slow
def test_who_is_quicker_between_looking_and_saving_is_not_overwritten(
    runtime: Runtime, shop: Shop, page: Page, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_up(runtime, shop, CLUB)
    form = {**_fields(page("tiers/programme/club")), "grace_days": "25"}
    seen = seen_in(post("tiers/programme/club", {**form, "do": "preview"}).text)
    looked = tiers_policy._was_seen

    def quicker(act: str, found: str) -> bool:
        _set_up(runtime, shop, {**CLUB, "grace_days": 20}, applied=False)
        return looked(act, found)

    monkeypatch.setattr(tiers_policy, "_was_seen", quicker)
    answer = post("tiers/programme/club", {**form, "do": "apply", "seen": seen})
    assert answer.status_code == 422
    assert "was saved by somebody else meanwhile. Look at it again, then save." in words(answer.text)
    assert _fields(answer.text)["grace_days"] == "25"
    assert _in_force(runtime, shop, "club").grace_days == 20


@pytest.mark.slow
def test_new_programme_is_looked_at_then_begun(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, {**CLUB, "program": "main"})
    form = _fields(page("tiers/new"))
    assert "Give the new level a name" in words(page("tiers/new"))
    form |= {"en": "Friends of Tea", "zh": "", "measure": "orders", "en-0": "Friend", "entry-0": "1"}
    answer = post("tiers/new", {**form, "do": "preview"})
    assert "3 members would move: 3 get a first level." in words(answer.text)
    answer = post("tiers/new", {**form, "do": "apply", "seen": seen_in(answer.text)})
    assert answer.status_code == 303
    assert answer.location.endswith("/tiers/programme/friends-of-tea")
    assert _holders(runtime, shop, "friends-of-tea") == dict.fromkeys(("Anna", "Bo", "Cy"), "friend")
    told = words(page("tiers"))
    assert "3 members moved Friends of Tea: No level → Friend 3" in told
    assert "The programme Friends of Tea was saved" in told
    assert "Friends of Tea Number of orders Friend 3" in told
    assert "Tea club Amount spent, less what was given back in the last 365 days Silver, Gold, Circle 2" in told


@pytest.mark.parametrize(
    ("told", "place", "said"),
    [
        ({"en": ""}, "en", "Give the programme a name."),
        ({"key": "club"}, "key", "Another programme has this key."),
        ({"key": "Tea!"}, "key", "Use small letters, digits, - and _"),
    ],
)
def test_new_programme_needs_a_name_of_its_own(
    runtime: Runtime, shop: Shop, page: Page, post: Post, told: dict[str, str], place: str, said: str
) -> None:
    _set_up(runtime, shop, CLUB)
    form = {**_fields(page("tiers/new")), "en": "Friends", "en-0": "Friend", "entry-0": "1", **told}
    answer = post("tiers/new", {**form, "do": "preview"})
    assert answer.status_code == 422
    assert re.search(rf'id="e-{place}">{re.escape(said)}', answer.text)


@pytest.mark.slow
def test_programme_is_retired_and_taken_up_again(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    path = "tiers/programme/club"
    answer = post(path, {**_fields(page(path)), "do": "retire"})
    told = words(answer.text)
    assert "Without a level the programme is retired" in told
    assert "2 lose their level" in told
    _save(post, path, _fields(answer.text))
    assert _holders(runtime, shop, "club") == {}
    assert "Tea club – Retired 0" in words(page("tiers"))
    html = page(path)
    assert "This programme is retired" in words(html)
    again = re.search(r'href="[^"]*/(tiers/programme/club\?version=1)"', html)
    assert again is not None
    _save(post, path, _fields(page(again[1])))
    assert _holders(runtime, shop, "club") == {"Bo": "silver", "Cy": "silver"}


@pytest.mark.slow
def test_day_to_come_is_planned_changed_and_taken_back(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, CLUB)
    path = "tiers/programme/club"
    form = {**_fields(page(path)), "grace_days": "25", "effective_on": "2026-07-01"}
    answer = post(path, {**form, "do": "preview"})
    told = words(answer.text)
    assert "It takes effect on Jul 1, 2026." in told
    assert "Save for Jul 1, 2026" in told
    assert "Save and move" not in told
    _save(post, path, form, "save")
    assert _in_force(runtime, shop, "club").grace_days == 10
    html = page(path)
    assert "Another policy is planned from Jul 1, 2026 on, whatever is saved for today." in words(html)
    assert "Changes on Jul 1, 2026" in words(page("tiers"))
    assert _fields(html)["grace_days"] == "10"
    planned = _fields(page(f"{path}?version=2"))
    assert (planned["grace_days"], planned["effective_on"]) == ("25", "2026-07-01")
    assert post(path, {"do": "drop-2"}).status_code == 303
    assert "planned from" not in words(page(path))
    assert "Changes on" not in words(page("tiers"))
    with runtime.db.read() as connection:
        kept = in_force(connection, shop.shop_id, "club", NOON.date().replace(month=8))
    assert kept.policy.grace_days == 10


@pytest.mark.slow
def test_bare_ladder_gets_figures(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    with runtime.db.write() as connection:
        save_levels(connection, shop, [Level("silver", "spent() >= 100", {"en": "Silver"})], NOON)
    assert f'href="/s/{shop.name}/{MAIN}">Change the levels' in page("tiers")
    form = _fields(page(MAIN))
    assert (form["measure"], form["how-0"], form["rule-0"]) == ("", "rule", "spent() >= 100")
    _save(post, MAIN, {**form, "measure": "spent", "how-0": "bar", "entry-0": "100"})
    assert "Silver Members whose amount spent is at least 100 EUR 2 members" in words(page("tiers"))


@pytest.mark.slow
def test_retired_main_programme_can_begin_anew(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _set_up(runtime, shop, {**CLUB, "program": "main"})
    _save(post, MAIN, _fields(post(MAIN, {**_fields(page(MAIN)), "do": "retire"}).text))
    html = page("tiers")
    assert "Tea club – Retired 0" in words(html)
    assert f'href="/s/{shop.name}/{MAIN}?start=own">Write levels of your own' in html
    assert "There is no level in this form." in words(page(MAIN))
    form = _fields(page(f"{MAIN}?start=own"))
    assert (form["en-0"], form["measure"], form["version"]) == ("", "spent", "2")
    _save(post, MAIN, {**form, "en-0": "Friend", "entry-0": "100"})
    assert _holders(runtime, shop, "main") == {"Bo": "friend", "Cy": "friend"}


@pytest.mark.slow
def test_first_programme_is_the_main_one(runtime: Runtime, shop: Shop, page: Page) -> None:
    assert f'href="/s/{shop.name}/{MAIN}">Add a programme' in page("tiers")
    assert "Main programme" in words(page(MAIN))
    _set_up(runtime, shop, CLUB)
    assert f'href="/s/{shop.name}/tiers/new">Add a programme' in page("tiers")


def test_unknown_programme_is_not_found(page: Page, post: Post) -> None:
    page("tiers/programme/nowhere", status=404)
    assert post("tiers/programme/nowhere", {"do": "apply"}).status_code == 404
    assert 'name="entry-0"' in page(MAIN)


def test_name_is_text(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    form = {**_fields(page("tiers/new")), "en": "<b>Club</b>", "en-0": "<i>Top</i>", "entry-0": "1", "reward-0": "<u>"}
    html = post("tiers/new", {**form, "do": "preview"}).text
    assert "<i>" not in html
    assert "<b>Club" not in html
    assert "<u>" not in html


@pytest.mark.slow
@pytest.mark.parametrize("path", ["tiers", "tiers/programme/main", "tiers/programme/main/preview", "members/{anna}"])
def test_number_of_statements_is_that_of_one_level(
    runtime: Runtime, shop: Shop, page: Page, post: Post, path: str
) -> None:
    asked: list[str] = []
    numbers = []
    with runtime.db.read() as connection:
        anna = connection.execute(select(members.c.member_id).where(members.c.first_name == "Anna")).scalar_one()
    event.listen(runtime.db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    for count in (1, 4):
        levels = [{"key": f"l{n}", "title": f"L{n}", "entry": 10 * n + 10, "reward": "x"} for n in range(count)]
        _set_up(runtime, shop, {**CLUB, "program": "main", "levels": levels})
        for n in range(count):
            _set_up(runtime, shop, {**CLUB, "program": f"club-{n}"})
        form = _fields(page(MAIN))
        asked.clear()
        told = post(path, form).text if path.endswith("preview") else page(path.format(anna=anna))
        assert "L0" in told
        numbers.append(len(asked))
    assert numbers[0] == numbers[1]
