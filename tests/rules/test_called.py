"""What a shop calls its own: read once, and said in every sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from crm_plugin.rules import by_hand, compile_for, segments, tiers
from crm_plugin.rules.audit import LEVEL, audit
from crm_plugin.rules.by_hand import Desk
from crm_plugin.rules.called import UNNAMED, Called, called, title_in
from crm_plugin.rules.explain import explain
from crm_plugin.rules.parse import parse
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_history import history
from crm_plugin.rules.tier_words import figure_words, sentence_of
from crm_plugin.rules.words import words
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey_document import read_draft
from tests.rules.shops import AS_OF, NOW, MadeMember, MadeOrder, keep

CLUB: dict[str, Any] = {
    "program": "club",
    "title": {"en": "Tea club", "zh-CN": "茶友会"},
    "levels": [
        {"key": "a", "title": {"en": "Friend", "zh-CN": "茶友"}, "rule": "spent() >= 100"},
        {"key": "b", "title": "Host", "rule": "spent() >= 100"},
    ],
}
BY = Called(
    {("main", "gold"): {"en": "Gold card", "zh-CN": "金卡"}, ("club", "a"): {"en": "Friend"}},
    "EUR",
    {"club": {"en": "Tea club", "zh-CN": "茶友会"}},
    {"best": "Best customers"},
    {"wishes": {"en": "Birthday wishes", "zh-CN": "生日祝福"}},
)


def test_all_is_called_as_it_was_last(db: Database) -> None:
    renamed = {**CLUB, "levels": [{"key": "a", "title": "Best", "rule": "everyone"}]}
    wish = {"key": "wishes", "title": {"en": "Wishes"}, "trigger": {"type": "birthday"}, "channels": ["email"]}
    with db.write() as connection:
        shop, other = keep(connection, 1, []), keep(connection, 2, [])
        tiers.save_levels(connection, shop, [tiers.Level("gold", "everyone", {"en": "Gold"})], NOW)
        tiers.save_levels(connection, shop, [tiers.Level("silver", "everyone", {"en": "Silver"})], NOW)
        for document in (CLUB, renamed, {"program": "club", "levels": []}):
            tiers.save_policy(connection, shop, read_policy(document), NOW, actor="test")
        segments.save(connection, shop, "best", "orders() >= 1", NOW, title="Best customers")
        journeys.save(connection, shop, read_draft(wish), NOW)
        assert called(connection, shop) == Called(
            {
                ("main", "gold"): {"en": "Gold"},
                ("main", "silver"): {"en": "Silver"},
                ("club", "a"): {"en": "Best"},
                ("club", "b"): {"en": "Host"},
            },
            shop.currency,
            {"club": {"en": "Tea club", "zh-CN": "茶友会"}},
            {"best": "Best customers"},
            {"wishes": {"en": "Wishes"}},
        )
        assert called(connection, other) == Called(currency=other.currency)


@pytest.mark.parametrize(
    ("title", "english", "chinese"),
    [
        ({"en": "Gold", "zh-CN": "金卡"}, "Gold", "金卡"),
        ({"en-GB": "Gold", "zh": "金卡"}, "Gold", "金卡"),
        ({"en": "Gold", "de": "Gold-Kunde"}, "Gold", "Gold"),
        ({"de": "Gold-Kunde"}, "Gold-Kunde", "Gold-Kunde"),
        ({"en": ""}, "key", "key"),
        ({}, "key", "key"),
    ],
)
def test_name_is_that_of_the_language_or_near_it(title: dict[str, str], english: str, chinese: str) -> None:
    assert (title_in(title, False, "key"), title_in(title, True, "key")) == (english, chinese)


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        ('tier == "gold"', "members whose tier is “Gold card”", "会员等级为“金卡”的会员"),
        (
            'tier(program="club") == "a"',
            "members whose tier of “Tea club” is “Friend”",
            "“茶友会”会员等级为“Friend”的会员",
        ),
        ("spent() >= 1000", "members whose amount spent is at least 1,000 EUR", "消费金额不低于 1,000 EUR 的会员"),
        (
            'segment("best") and days_in_segment("best") >= 9',
            "members who are in the segment “Best customers” and whose number of days in the segment “Best customers” is at least 9",
            "属于分群“Best customers”，并且处于分群“Best customers”的天数不低于 9 的会员",
        ),
        (
            'opened(channel="email", journey="wishes") >= 2',
            "members whose number of messages opened by e-mail from the journey “Birthday wishes” is at least 2",
            "打开的消息数（渠道：邮件，旅程：“生日祝福”）不低于 2 的会员",
        ),
    ],
)
def test_sentence_has_the_names_of_the_shop(text: str, english: str, chinese: str) -> None:
    assert words(parse(text), "en", BY) == english
    assert words(parse(text), "zh-CN", BY) == chinese


@pytest.mark.parametrize(
    ("text", "value", "english", "chinese"),
    [
        ("spent(days=365)", "120.50", "amount spent in the last 365 days 120.50 EUR", "近 365 天消费金额 120.50 EUR"),
        ("orders()", 3, "number of orders 3", "订单数 3"),
        ("days_since_order", None, "number of days since the last order not known", "距上次下单的天数 未知"),
        ("tier", "gold", "tier “Gold card”", "会员等级 “金卡”"),
        ('tier(program="club")', "", "tier of “Tea club” none", "“茶友会”会员等级 无"),
        ('segment("best")', True, "are in the segment “Best customers”", "属于分群“Best customers”"),
        ('segment("best")', False, "are not in the segment “Best customers”", "不属于分群“Best customers”"),
        ("no_more()", 3, "no_more() 3", "no_more() 3"),
    ],
)
def test_figure_has_the_names_of_the_shop(text: str, value: object, english: str, chinese: str) -> None:
    assert figure_words(text, value, "en", BY) == english
    assert figure_words(text, value, "zh", BY) == chinese


def test_rule_that_cannot_be_read_any_more_stands_as_it_is() -> None:
    assert sentence_of("no_more() > 1", "en", BY) == "no_more() > 1"
    assert sentence_of('tier == "gold"', "en") == "members whose tier is “gold”"


def test_ways_have_the_names_of_the_shop(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [MadeMember(orders=(MadeOrder(3, 50_00),))])
        tiers.save_policy(connection, shop, read_policy(CLUB), NOW, actor="test")
        segments.save_list(connection, shop, "vips", NOW, title="Good friends")

        def told(text: str, lang: str = "en") -> list[str]:
            seen = explain(connection, shop, compile_for(connection, shop, text).asked, 1, AS_OF).as_dict(
                called(connection, shop)
            )
            return [way["words"][lang] for way in seen["ways"]]

        assert told('tier(program="club") == "a"') == ["the tier “Friend” of “Tea club”"]
        assert told('tier(program="club") == "a"', "zh") == ["“茶友会”等级变为“茶友”"]
        assert told('segment("vips")') == ["being put into the segment “Good friends”"]
        assert told("spent() >= 80") == [f"30.00 {shop.currency} more in orders"]


def test_reasons_have_the_names_of_the_shop(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [MadeMember(orders=(MadeOrder(3, 150_00),))])
        tiers.save_policy(connection, shop, read_policy(CLUB), NOW, actor="test")
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.read() as connection:
        (passage,) = history(connection, shop.shop_id, "club", 1)
        by = called(connection, shop)
        assert passage.words("en", by) == (
            f"It is for members whose amount spent is at least 100 {shop.currency}. "
            f"On that day: amount spent 150.00 {shop.currency}."
        )
        assert passage.as_dict("zh", by)["why"] == (
            f"适用于消费金额不低于 100 {shop.currency} 的会员。当天：消费金额 150.00 {shop.currency}。"
        )
        assert (
            passage.words("en")
            == "It is for members whose amount spent is at least 100. On that day: amount spent 150.00."
        )


def test_warning_names_the_level_and_its_programme(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [])
        tiers.save_policy(connection, shop, read_policy(CLUB), NOW, actor="test")
        tiers.save_policy(connection, shop, read_policy({**CLUB, "program": "main", "title": {}}), NOW, actor="test")
        main, club = audit(connection, shop, AS_OF, (LEVEL,))
        assert main.as_dict() == {
            "kind": "tier",
            "program": "main",
            "key": "a",
            "name": "Friend",
            "problem": "same",
            "message": "It asks for the same as Host, which is higher: nobody earns it.",
            "part": "",
        }
        assert (club.program, club.name, club.message) == ("club", "Tea club: Friend", main.message)
        assert [one.name for one in audit(connection, shop, AS_OF, (LEVEL,), lang="zh")] == ["茶友", "茶友会：茶友"]


def test_without_a_shop_keys_are_said() -> None:
    assert UNNAMED.whole("club", "a", False) == "club: a"
    assert (UNNAMED.segment("x"), UNNAMED.journey("y", True), UNNAMED.amount("9")) == ("x", "y", "9")


def test_member_barred_by_hand_is_told_in_the_history(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [MadeMember(orders=(MadeOrder(3, 150_00),))])
        tiers.save_policy(connection, shop, read_policy(CLUB), NOW, actor="test")
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.write() as connection:
        by_hand.fix(Desk(connection, shop, NOW, "test", "club"), 1, "", "Works here", AS_OF + timedelta(days=9))
        told = history(connection, shop.shop_id, "club", 1)[-1]
        assert (told.from_level, told.to_level) == ("b", "")
        assert told.words("en", BY).startswith("Fixed by hand. Reason: Works here. Through ")
