"""What is written into a shop, beyond what every storefront keeps to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.shopify import ShopifyStorefront
from crm_plugin.errors import PermanentError, UnsupportedFeature
from crm_plugin.records import ConsentRecord, ConsentState, CouponOrder, MemberRecord, Stream, TierMark, TierWrite
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import FakeShop
from tests.adapters.storefronts.shopify.test_reading import storefront

__all__ = ["storefront"]
AT = datetime(2026, 11, 27, 9, tzinfo=UTC)


def test_levels_go_together_and_the_gone_is_left_out(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["customers"] = [shop_rows.customer(number) for number in range(1, 25)]
    writes = [TierWrite(str(number), TierMark("main", "gold")) for number in range(1, 26)]
    done = storefront.write_tiers(writes)
    assert [one.reference for one in done if one.error] == ["25"]
    sent = shop.asked("MetafieldsSet")
    assert [len(asked["metafields"]) for asked in sent] == [25, 24]
    assert len(shop.asked("TierDefinition")) == 1
    assert sent[0]["metafields"][0] == {
        "ownerId": "gid://shopify/Customer/1", "namespace": "$app", "key": "tier_main", "type": "single_line_text_field", "value": "gold",
    }  # fmt: skip
    storefront.write_tiers(writes[:2])
    assert len(shop.asked("TierDefinition")) == 1


def test_mark_of_one_who_is_gone_keeps_no_other_in_the_shop(
    shop: FakeShop, storefront: ShopifyStorefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.rows["customers"] = [shop_rows.customer(1), shop_rows.customer(2)]
    storefront.write_tiers([TierWrite(one, TierMark("main", "gold")) for one in ("1", "2")])
    delete = shop.do_metafieldsDelete

    def all_or_none(metafields: list[Any]) -> Any:
        if all(shop.find(one["ownerId"]) for one in metafields):
            return delete(metafields)
        return {
            "deletedMetafields": [],
            "userErrors": [{"field": ["metafields", "0", "ownerId"], "message": "Owner does not exist"}],
        }

    monkeypatch.setattr(shop, "do_metafieldsDelete", all_or_none)
    done = storefront.write_tiers([TierWrite(one, TierMark("main", "")) for one in ("9", "1", "2")])
    assert [one.error for one in done] == [None] * 3
    assert [one["key"] for row in shop.rows["customers"] for one in row["metafields"]] == ["birth_date"] * 2


def test_consent_says_when_and_needs_an_address(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["customers"] = [shop_rows.customer(1), shop_rows.customer(2, defaultEmailAddress=None)]
    storefront.write_consent("1", ConsentRecord(channel="sms", state=ConsentState.GRANTED, at=AT))
    (asked,) = shop.asked("SmsConsent")
    assert asked["input"]["smsMarketingConsent"] == {
        "marketingState": "SUBSCRIBED", "marketingOptInLevel": "SINGLE_OPT_IN", "consentUpdatedAt": "2026-11-27T09:00:00Z",
    }  # fmt: skip
    member = storefront.reread(Stream.MEMBERS, "1")
    assert isinstance(member, MemberRecord)
    assert [(one.channel, one.at) for one in member.consents if one.channel == "sms"] == [("sms", AT)]
    with pytest.raises(PermanentError) as caught:
        storefront.write_consent("2", ConsentRecord(channel="email", state=ConsentState.GRANTED, at=AT))
    assert caught.value.code == "no_address"
    for consent in (
        ConsentRecord(channel="whatsapp", state=ConsentState.GRANTED),
        ConsentRecord(channel="email", state=ConsentState.GRANTED, topic="birthday"),
    ):
        with pytest.raises(UnsupportedFeature):
            storefront.write_consent("1", consent)


def test_tags_know_no_case_and_no_comma(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["customers"] = [shop_rows.customer(1)]
    storefront.write_tags("1", ["VIP", "New"], ["vip", "old"])
    assert shop.rows["customers"][0]["tags"] == ["vip", "New"]
    with pytest.raises(UnsupportedFeature, match="commas"):
        storefront.write_tags("1", ["a,b"], [])


def test_many_codes_are_one_discount(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    codes = tuple(f"C-{number}" for number in range(250))
    order = CouponOrder(
        "win:7", "Win-back", codes, percent=Decimal("12.5"), least_minor=5000, currency="EUR", starts_at=AT, references=("1", "2")
    )  # fmt: skip
    made = storefront.create_coupons(order)
    assert all(one.error is None and one.is_restricted and one.external_id for one in made)
    (discount,) = shop.discounts.values()
    assert discount["asked"] == {
        "title": "Win-back [win:7]", "code": "C-0", "startsAt": "2026-11-27T09:00:00Z", "endsAt": None, "usageLimit": 1,
        "appliesOncePerCustomer": False, "customerGets": {"value": {"percentage": 0.125}, "items": {"all": True}},
        "context": {"customers": {"add": ["gid://shopify/Customer/1", "gid://shopify/Customer/2"]}},
        "minimumRequirement": {"subtotal": {"greaterThanOrEqualToSubtotal": "50.00"}},
    }  # fmt: skip
    assert len(shop.asked("CodesState")) == 2
    assert storefront.create_coupons(order) == made
    assert len(shop.asked("CodesAdd")) == 1


def test_code_of_another_discount_is_refused_alone(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    other = CouponOrder("a", "A", ("X-2", "X-1"), percent=Decimal(5))
    assert [one.error for one in storefront.create_coupons(other)] == [None, None]
    made = storefront.create_coupons(
        CouponOrder("b", "B", ("X-1", "Y-1", "X-2", "Y-2"), amount_minor=500, currency="EUR")
    )
    assert [one.error.code if one.error else "" for one in made] == ["taken", "", "taken", ""]
    assert not made[1].is_restricted
    with pytest.raises(UnsupportedFeature, match="USD"):
        storefront.create_coupons(CouponOrder("c", "C", ("Z",), amount_minor=500, currency="USD"))
