"""Rows of the made-up shop, in the words of the Admin API."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def money(amount: str) -> Json:
    return {"shopMoney": {"amount": amount, "currencyCode": "EUR"}}


def customer(number: int, **more: Any) -> Json:
    """An account that said yes to mails and never anything to texts."""
    email = {
        "emailAddress": f"c{number}@example.com",
        "marketingState": "SUBSCRIBED",
        "marketingOptInLevel": "SINGLE_OPT_IN",
    }
    never = {"state": "NEVER_SUBSCRIBED", "optInLevel": None, "updatedAt": None}
    return {
        "id": f"gid://shopify/Customer/{number}", "firstName": "Ada", "lastName": f"No {number}", "locale": "de", "state": "ENABLED",
        "tags": ["vip"], "createdAt": "2025-03-01T08:00:00Z", "updatedAt": "2026-11-01T08:00:00Z", "dataSaleOptOut": False,
        "defaultEmailAddress": {**email, "marketingUpdatedAt": "2026-01-02T03:04:05Z"},
        "defaultPhoneNumber": {"phoneNumber": "+4930123456", "smsMarketingConsent": never},
        "defaultAddress": {"company": None, "city": "Berlin", "zip": "10115", "provinceCode": "BE", "countryCodeV2": "DE"},
        "metafields": [{"id": f"gid://shopify/Metafield/{number}", "namespace": "facts", "key": "birth_date", "value": "1990-02-28"}],
        **more,
    }  # fmt: skip


def line(number: int, variant: int | None = 11, **more: Any) -> Json:
    found = variant and {
        "id": f"gid://shopify/ProductVariant/{variant}",
        "inventoryItem": {"unitCost": {"amount": "3.5"}},
    }
    return {
        "id": f"gid://shopify/LineItem/{number}", "title": "Rose", "variantTitle": "Red", "sku": "R-1", "quantity": 2,
        "variant": found, "discountedTotalSet": money("16.81"), "taxLines": [{"priceSet": money("3.19")}], **more,
    }  # fmt: skip


def order(number: int, buyer: int | None = 1, **more: Any) -> Json:
    """A paid order of 25.00: two roses of 20.00 with their tax, and 5.00 for shipping."""
    return {
        "id": f"gid://shopify/Order/{number}", "name": f"#{number}", "processedAt": "2026-10-01T10:00:00Z",
        "updatedAt": "2026-10-01T10:05:00Z", "cancelledAt": None, "test": False, "displayFinancialStatus": "PAID",
        "displayFulfillmentStatus": "UNFULFILLED", "sourceName": "web", "customerLocale": "de-DE", "customerAcceptsMarketing": True,
        "email": "c1@example.com", "phone": None, "taxesIncluded": False, "discountCodes": ["TEN"],
        "customer": buyer and {"id": f"gid://shopify/Customer/{buyer}"},
        "billingAddress": {"firstName": "Ada", "lastName": "No 1", "phone": None, "city": "Berlin", "zip": "10115", "provinceCode": None,
                           "countryCodeV2": "DE"},
        "totalPriceSet": money("25.0"), "totalTaxSet": money("3.99"), "totalShippingPriceSet": money("5.00"),
        "totalDiscountsSet": money("2.5"), "refunds": [], "fulfillments": [], "lineItems": [line(number * 100)], **more,
    }  # fmt: skip


def refund(number: int, amount: str = "10.0") -> Json:
    return {
        "id": f"gid://shopify/Refund/{number}", "processedAt": "2026-10-05T10:00:00Z", "updatedAt": "2026-10-05T10:00:01Z",
        "note": "broken", "totalRefundedSet": money(amount),
    }  # fmt: skip


def product(number: int, variants: int = 1, **more: Any) -> Json:
    """A product whose variants are numbered from ten times its own number."""
    made = [
        {"id": f"gid://shopify/ProductVariant/{number * 10 + at}", "title": f"Size {at}", "sku": f"P{number}-{at}", "price": "8.50",
         "updatedAt": "2026-10-02T00:00:00Z",
         "inventoryItem": {"id": f"gid://shopify/InventoryItem/{number * 10 + at}", "unitCost": {"amount": "3.5"}}}
        for at in range(1, variants + 1)
    ]  # fmt: skip
    return {
        "id": f"gid://shopify/Product/{number}", "title": "Rose", "status": "ACTIVE", "productType": "Flowers",
        "updatedAt": "2026-10-03T00:00:00Z",
        "onlineStoreUrl": f"https://flowers.example/products/{number}", "category": {"fullName": "Home & Garden > Plants > Flowers"},
        "featuredMedia": None, "variants": made, **more,
    }  # fmt: skip


def checkout(number: int, buyer: int | None = 1, **more: Any) -> Json:
    found = buyer and {
        "id": f"gid://shopify/Customer/{buyer}",
        "defaultEmailAddress": {"emailAddress": f"c{buyer}@example.com"},
    }
    item = {"id": f"gid://shopify/AbandonedCheckoutLineItem/{number}", "title": "Rose", "variantTitle": "Red", "sku": "R-1", "quantity": 1,
            "variant": {"id": "gid://shopify/ProductVariant/11"}, "discountedTotalPriceSet": money("10.0")}  # fmt: skip
    return {
        "id": f"gid://shopify/AbandonedCheckout/{number}", "createdAt": "2026-11-20T10:00:00Z", "updatedAt": "2026-11-20T10:20:00Z",
        "completedAt": None, "abandonedCheckoutUrl": f"https://flowers.example/checkouts/{number}", "customer": found,
        "totalPriceSet": money("10.0"), "lineItems": [item], **more,
    }  # fmt: skip
