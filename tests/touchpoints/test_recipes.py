"""Recipes: complete, read well by whoever gets them, and installed without touching what a merchant made."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.adapters.channels.base import sms_size
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store import touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.recipes import LOCALES, Recipe, install, install_one, recipe, recipe_texts, recipes
from crm_plugin.touchpoints.render import Rendered, Text, render
from crm_plugin.touchpoints.scene import (
    CheckoutView,
    EventView,
    GiftView,
    JourneyView,
    LineView,
    MemberView,
    OrderView,
    Scene,
    ShopView,
    TierView,
)
from crm_plugin.touchpoints.templates import save_text
from crm_plugin.touchpoints.texts import check_text, texts
from tests.cases import failing
from tests.factories import NOON, make_shop, member, write

SHOP = Shop(1, "s", "Lantern & Leaf", "csv", "https://shop.example", "EUR", "Europe/Berlin", "en")
BRAND = policy_of(SHOP).brand
LINK = "https://crm.example/u/token"
NAMES = {"full": ("Anna", "O'Neill"), "nameless": ("", ""), "chinese": ("小明", "王")}
each_recipe = pytest.mark.parametrize("one", [pytest.param(one, id=one.key) for one in recipes()])


def _read(
    one: Recipe, text: Text, *, who: str = "full", days: int | None = None, bare: bool = False, marketing: bool = True
) -> Rendered:
    """The text as that member reads it; `bare` has no link, no address, no order number and no lines."""
    lines = tuple(LineView(f"Cup {number}", "1") for number in range(7))
    order = OrderView("" if bare else "1042", date(2026, 5, 20), () if bare else lines, 3150, "EUR", text.locale)
    chinese = text.locale != "en"
    day = date(2026, 6, 20)
    line = LineView("茶杯" if chinese else "Cup", "1", "https://shop.example/cup")
    told: dict[str, Any] = {
        "product": line,
        "tier": TierView("金卡" if chinese else "Gold", "白金卡" if chinese else "Platinum", "€38.20", day),
        "event": EventView("points_expiring", day, points=500, expires_on=day),
        "checkout": CheckoutView("https://shop.example", day, lines, "€31.50"),
        "gift": GiftView("妈妈" if chinese else "Mum", day),
    }
    scene = Scene(
        member=MemberView(
            *NAMES[who], "a@x.test", "Gold", 3, 12_000, "EUR", text.locale, 90, None if bare else date(2024, 6, 1), 2
        ),
        shop=ShopView(
            "花间小铺" if chinese else "Lantern & Leaf",
            "" if bare else "https://shop.example",
            "" if bare else "1 Mill Lane, York",
            "EUR",
        ),
        journey=JourneyView(one.key),
        locale=text.locale,
        occasion=date(2026, 6, 1),
        days=one.trigger.days if days is None else days,
        order=order if kind_of(one.trigger).about_order else None,
        marketing=marketing,
        unsubscribe_url="" if bare or not marketing else LINK,
        cta_url="" if bare else "https://shop.example",
        **({} if bare else told),
    )
    return render(text, scene, BRAND)


def _words(made: Rendered) -> str:
    return "\n".join((made.subject, made.text, re.sub(r"<style.*?</style>|<[^>]+>", " ", made.html, flags=re.DOTALL)))


@pytest.mark.slow
def test_every_recipe_is_complete() -> None:
    assert [one.key for one in recipes() if one.start] == ["birthday", "lapse", "post_purchase"]
    for one in recipes():
        assert set(one.title) == set(one.description) == set(LOCALES)
        assert all("\n" not in line for line in one.description.values())
        there = {(text.template_key, text.channel, text.locale) for text in recipe_texts(one.key)}
        assert there == {
            (template, channel, locale)
            for template, channels in one.templates.items()
            for channel in channels
            for locale in LOCALES
        }
        with_order = kind_of(one.trigger).about_order
        for text in recipe_texts(one.key):
            check_text(SHOP, text, with_order=with_order, marketing=one.draft.kind == "marketing")


def test_every_folder_with_texts_is_a_recipe_s() -> None:
    """No text lies about that no recipe says."""
    folder = files("crm_plugin") / "templates" / "messages"
    named = {one.key for one in recipes()}
    assert sorted(one.name for one in folder.iterdir() if one.is_dir() and one.name not in named) == []


def test_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(NotFound, match=", ".join(one.key for one in recipes())):
        recipe("qwerty")


def _texts(one: Recipe) -> list[tuple[str, Text]]:
    return [(f"{text.template_key}-{text.channel}-{text.locale}", text) for text in recipe_texts(one.key)]


@each_recipe
def test_texts_read_well(one: Recipe) -> None:
    """For whomever they are, with all that can be known and with little of it, before the day and after it."""

    def reads_well(case: tuple[Text, str, bool, int | None]) -> None:
        text, who, bare, day = case
        made = _read(one, text, who=who, bare=bare, days=day)
        words = _words(made)
        # Nothing that may be untrue when it is read: sent late, without an order number, for a birthday of which only the month is known.
        assert not re.search(r"\b(?:today|tomorrow|this week)\b|今天|明天|今日", words, re.IGNORECASE)
        if one.key == "birthday":
            assert not re.search(r"2026|June|6月", words)
        assert not re.search(r"None|Undefined|\(\)|（）|[,，] *[!！.。?]| [,.!?，。！]|\bthere\b|顾客", words)
        assert made.subject == made.subject.strip(" ,，:：")
        if bare:
            assert not re.search(r"https?://|：\s*$|:\s*$", made.text.strip())
            assert "href" not in made.html

    days = [-7, 0, 2] if one.key == "birthday" else [None]
    readers = list(product(NAMES, [False, True], days))
    cases = [
        (f"{name} {who} bare={bare} {day}", (text, who, bare, day))
        for name, text in _texts(one)
        for who, bare, day in readers
    ]
    assert failing(reads_well, cases) == {}


@each_recipe
def test_marketing_says_how_to_stop_it(one: Recipe) -> None:
    def says_so(text: Text) -> None:
        made = _read(one, text)
        if text.channel in ("email", "note"):
            assert made.text.count(LINK) == 1
        if text.channel == "sms":
            # Also where no link can be made: the law asks for it all the same.
            for bare in (False, True):
                assert _read(one, text, bare=bare).text.endswith(
                    {"en": " Reply STOP to opt out", "zh-CN": " 拒收请回复R"}[text.locale]
                )
            service = _read(one, text, marketing=False).text
            assert not re.search("STOP|拒收", service)
            assert made.text.startswith({"en": "Lantern & Leaf: ", "zh-CN": "【花间小铺】"}[text.locale])
            assert sms_size(made.text).parts == 1

    assert failing(says_so, _texts(one)) == {}


@pytest.mark.parametrize(
    ("days", "english", "chinese"),
    [
        (-7, "Your birthday is coming up, Anna", "王小明，提前祝您生日快乐"),
        (0, "Happy birthday, Anna", "王小明，生日快乐"),
        (2, "Happy birthday, Anna", "王小明，生日快乐"),
    ],
)
def test_birthday_says_before_only_before(days: int, english: str, chinese: str) -> None:
    one = recipe("birthday")
    mails = {text.locale: text for text in recipe_texts("birthday") if text.channel == "email"}
    assert _read(one, mails["en"], days=days).subject == english
    assert _read(one, mails["zh-CN"], who="chinese", days=days).subject == chinese


def test_long_order_is_told_in_short() -> None:
    mails = {text.locale: text for text in recipe_texts("post_purchase") if text.channel == "email"}
    english, chinese = (_read(recipe("post_purchase"), mails[locale]).text for locale in LOCALES)
    assert "- Cup 4 × 1\n- and 2 more\n" in english
    assert "- Cup 4 × 1\n- 以及另外 2 种商品\n" in chinese
    assert "on May 20, 2026 (order 1042, €31.50)" in english


@pytest.mark.parametrize(
    ("first", "last", "locale", "name"),
    [
        ("Ada", "Lovelace", "en", "Ada Lovelace"),
        ("Ada", "Lovelace", "zh-CN", "Ada Lovelace"),
        ("小明", "王", "en", "王小明"),
        ("小明", "", "zh-CN", "小明"),
        ("", "", "zh-CN", "顾客"),
        ("", "", "de", "there"),
    ],
)
def test_names_are_put_as_their_owners_do(first: str, last: str, locale: str, name: str) -> None:
    assert MemberView(first, last, "", "", 0, 0, "EUR", locale).name == name


def test_day_without_its_year() -> None:
    text = Text("t", "sms", "en", body_text='{{ occasion | date("day") }}')
    assert _read(recipe("birthday"), text).text == "June 1"
    assert _read(recipe("birthday"), Text("t", "sms", "zh-CN", body_text=text.body_text)).text == "6月1日"


def test_announcement_ends_when_the_day_begins(db: Database) -> None:
    """A word before the birthday that an outage held up is missed, in the member's own zone, and never comes too late."""
    start = datetime(2026, 6, 1, 0, tzinfo=UTC)
    yes = (ConsentRecord(channel="inapp", state=ConsentState.GRANTED, at=start),)
    with db.write() as connection:
        shop = make_shop(connection)
        install(connection, shop, start)
        early = {**recipe("birthday").as_journey(), "trigger": {"type": "birthday", "days": -1}, "channels": ["inapp"]}
        journey_store.save(connection, shop, read_draft({**early, "enabled": True}), start)
    people = [
        member("1", birth_month=6, birth_day=3, timezone="Asia/Shanghai", consents=yes),
        member("2", birth_month=6, birth_day=3, timezone="America/New_York", consents=yes),
    ]
    write(db, shop, people, start)
    plan_shop(db, shop, datetime(2026, 6, 2, 17, tzinfo=UTC))
    columns = touchpoints.c
    with db.read() as connection:
        rows = connection.execute(select(columns.state, columns.valid_until).order_by(columns.valid_until)).all()
    assert [tuple(row) for row in rows] == [
        ("missed", datetime(2026, 6, 2, 16, tzinfo=UTC)),
        ("planned", datetime(2026, 6, 3, 4, tzinfo=UTC)),
    ]


@pytest.mark.slow
def test_install_adds_what_is_missing_once(db: Database) -> None:
    with db.write() as connection:
        shop, other = make_shop(connection), make_shop(connection, 2)
        assert install(connection, shop, NOON) == ["birthday", "lapse", "post_purchase"]
        assert install(connection, shop, NOON) == []
        found = journey_store.all_journeys(connection, 1)
        assert [(one.key, one.enabled, one.version) for one in found] == [
            ("birthday", False, 1),
            ("lapse", False, 1),
            ("post_purchase", False, 1),
        ]
        assert len(texts(connection, 1)) == sum(len(recipe_texts(one.key)) for one in recipes() if one.start)
        for one in found:
            assert journey_store.switch(connection, shop, one.key, True, NOON).enabled
        assert texts(connection, other.shop_id) == []


def test_install_leaves_what_the_merchant_made(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        own = read_draft(
            {"key": "birthday", "trigger": {"type": "birthday", "days": -3}, "channels": ["sms"], "template": "own"}
        )
        journey_store.save(connection, shop, own, NOON)
        save_text(connection, shop, Text("lapse", "sms", "en", body_text="Where are you?"), NOON)
        assert install(connection, shop, NOON + timedelta(days=1)) == ["lapse", "post_purchase"]
        assert journey_store.get(connection, 1, "birthday").trigger.days == -3
        assert [text.body_text for text in texts(connection, 1, "lapse")] == ["Where are you?"]
        assert texts(connection, 1, "birthday") == []


@pytest.mark.parametrize("key", [one.key for one in recipes()])
def test_recipe_runs_on_a_fresh_shop(sqlite_db: Database, key: str) -> None:
    """It comes with all of its texts, and can be switched on as it is."""
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        told = install_one(connection, shop, key, NOON)
        assert sorted(told) == sorted(recipe(key).templates)
        assert len(texts(connection, 1)) == len(recipe_texts(key))
        assert journey_store.switch(connection, shop, key, True, NOON).enabled
        saved = journey_store.get(connection, 1, key).as_dict()
        again = read_draft(saved)
        assert again == replace(recipe(key).draft, enabled=True)


def test_recipe_is_added_once(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        install_one(connection, shop, "lapse", NOON)
        with pytest.raises(InvalidInput, match="The journey lapse is there already"):
            install_one(connection, shop, "lapse", NOON)
