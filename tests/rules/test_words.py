"""A rule as a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given

from crm_plugin.rules.called import Called
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.parse import parse
from crm_plugin.rules.words import words
from tests.rules.shops import rules


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        (
            'spent(days=365) >= 1000 and orders(days=365) >= 3 and not bought(sku="GIFT")',
            "members whose amount spent in the last 365 days is at least 1,000 and whose number of orders in the last 365 days"
            " is at least 3 and who did not buy the product (code GIFT)",
            "近 365 天消费金额不低于 1,000，并且近 365 天订单数不低于 3，并且没有购买过商品（编码 GIFT）的会员",
        ),
        (
            'tag("vip") or (country in ["GB", "IE"] and not consents("email"))',
            "members who have the tag “vip” or (whose country is “GB” or “IE” and who did not agree to marketing by e-mail)",
            "有标签“vip”，或者（国家或地区为“GB”或“IE”，并且没有同意接收邮件营销信息）的会员",
        ),
        # "not" goes inside, where it reads well.
        (
            "not (days_since_order >= 90 or birthday_month == 2)",
            "members whose number of days since the last order is less than 90 and whose month of birth is not February",
            "距上次下单的天数低于 90，并且生日月份不为 2 月的会员",
        ),
        ('tier == ""', "members whose tier is none", "会员等级为无的会员"),
        (
            "average_order > 10.50",
            "members whose average order value is more than 10.5",
            "平均订单金额高于 10.5 的会员",
        ),
        (
            'bought(title="Mug", days=1)',
            "members who bought the product “Mug” in the last day",
            "近 1 天购买过商品“Mug”的会员",
        ),
        (
            "not tier_at_risk(within=14)",
            "members who are not about to lose the tier within 14 days",
            "14 天内没有即将失去等级的会员",
        ),
        (
            'tier_at_risk(program="club", within=1)',
            "members who are about to lose the tier in “club” within a day",
            "1 天内在“club”中即将失去等级的会员",
        ),
        (
            'tier_ends_in(program="club") <= 3',
            "members whose number of days until the tier ends in “club” is at most 3",
            "在“club”中距等级到期的天数不高于 3 的会员",
        ),
        (
            'orders(since="tier", days=30) >= 2',
            "members whose number of orders in the first 30 days from the day the tier was reached on is at least 2",
            "自达到当前等级起 30 天内的订单数不低于 2 的会员",
        ),
        ("everyone", "all members", "所有会员"),
    ],
)
def test_sentences(text: str, english: str, chinese: str) -> None:
    assert words(parse(text), "en") == english
    assert words(parse(text), "zh-CN") == chinese


def test_shop_names_its_levels_and_its_currency() -> None:
    by = Called({("main", "gold"): {"en": "Gold card", "zh-CN": "金卡"}, ("tea", "gold"): {"en": "Golden"}}, "EUR")
    rule = parse('tier in ("gold", "old") and spent() >= 100 and not tier(program="tea") == "gold"')
    assert words(rule, "en", by) == (
        "members whose tier is “Gold card” or “old” and whose amount spent is at least 100 EUR "
        "and whose tier of “tea” is not “Golden”"
    )
    assert words(rule, "zh-CN", by).startswith("会员等级为“金卡”或“old”，并且消费金额不低于 100 EUR")


@pytest.mark.slow
@given(rules)
def test_every_rule_has_words(node: Node) -> None:
    assert words(node, "en")
    assert words(node, "zh-CN").endswith("会员")
