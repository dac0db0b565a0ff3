"""The made-up shop as the test kit asks for one: its samples written down in Shopify's words, its webhooks, its troubles."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

from crm_plugin.adapters.testing import (
    Answered,
    Asked,
    GivenBack,
    NoAnswer,
    Person,
    Sale,
    Sample,
    State,
    Store,
    Thing,
    Told,
    Trait,
    Trouble,
)
from crm_plugin.records import RawRequest, StoreEventKind, Stream
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import SECRET, SHOP, STORAGE, FakeShop, operation_of

Json = dict[str, Any]
_KINDS = {
    Stream.MEMBERS: ("customers", "Customer"),
    Stream.ORDERS: ("orders", "Order"),
    Stream.PRODUCTS: ("products", "Product"),
}
# A field of a type that is kept as it is, for each kind.
_SPOILT = {Stream.MEMBERS: "createdAt", Stream.ORDERS: "processedAt", Stream.PRODUCTS: "price"}
_DENIED = {"errors": [{"message": "Access denied.", "extensions": {"code": "ACCESS_DENIED"}}]}
_TOPICS = {
    StoreEventKind.SHOP: "shop/update",
    StoreEventKind.SCOPES: "app/scopes_update",
    StoreEventKind.UNINSTALLED: "app/uninstalled",
    StoreEventKind.BULK_READY: "bulk_operations/finish",
    StoreEventKind.EXPORT: "customers/data_request",
    StoreEventKind.ERASE: "customers/redact",
    StoreEventKind.ERASE_SHOP: "shop/redact",
    StoreEventKind.MERGED: "customers/merge",
    StoreEventKind.UNKNOWN: "customers/teleport",
}
_OF = {Stream.MEMBERS: "customers", Stream.ORDERS: "orders", Stream.PRODUCTS: "products"}


class ShopifyStore(Store):
    traits = frozenset(
        {Trait.GUESTS, Trait.REMOVES, Trait.TEST_ORDERS, Trait.MERGES, Trait.EVENT_TIMES, Trait.PERMISSIONS, Trait.COMMON_ADDRESS}
    )  # fmt: skip
    tells = frozenset({StoreEventKind.CHANGED, StoreEventKind.DELETED, *_TOPICS})
    secrets: ClassVar[tuple[str, ...]] = ("shpat_1", "shprt_1", SECRET)

    def __init__(self) -> None:
        super().__init__()
        self.shop = FakeShop()
        self.shop.available = 1e12
        self._number = 100
        self._before_spoilt: dict[str, Any] = {}

    def put(self, sample: Sample, external_id: str = "") -> str:
        self._number += 1
        number = int(external_id or self._number)
        match sample:
            case Person():
                self._place(Stream.MEMBERS, _person(number, sample))
            case Sale():
                old = self._find(Stream.ORDERS, str(number))
                self._place(Stream.ORDERS, {**_sale(number, sample), "refunds": old["refunds"] if old else []})
            case GivenBack():
                order = self._row(Stream.ORDERS, sample.order)
                order["refunds"].append({**shop_rows.refund(number, sample.amount), "processedAt": _at(sample.at)})
                order["updatedAt"] = max(order["updatedAt"], _at(sample.at))
            case Thing():
                row = shop_rows.product(number, title=sample.title, updatedAt=_at(sample.changed_at))
                (variant,) = row["variants"]
                variant |= {"id": f"gid://shopify/ProductVariant/{number}", "title": "Default Title"}
                variant |= {"price": sample.price, "updatedAt": _at(sample.changed_at)}
                self._place(Stream.PRODUCTS, row)
        return str(number)

    def remove(self, stream: Stream, external_id: str) -> None:
        self.shop.rows[_KINDS[stream][0]].remove(self._row(stream, external_id))

    def spoil(self, stream: Stream, external_id: str) -> None:
        holder, field = self._holder(stream, external_id), _SPOILT[stream]
        self._before_spoilt[external_id] = holder[field]
        holder[field] = 7

    def mend(self, stream: Stream, external_id: str) -> None:
        self._holder(stream, external_id)[_SPOILT[stream]] = self._before_spoilt.pop(external_id)

    def merge(self, external_id: str, into: str) -> None:
        for order in self.shop.rows["orders"]:
            if order["customer"] and order["customer"]["id"] == f"gid://shopify/Customer/{external_id}":
                order["customer"] = {"id": f"gid://shopify/Customer/{into}"}
        self.remove(Stream.MEMBERS, external_id)

    def change_unseen(self, what: str) -> tuple[Stream, str]:
        if what == "costs of products":
            put = self.put(Thing())
            self._holder(Stream.PRODUCTS, put)["inventoryItem"]["unitCost"] = {"amount": "4.75"}
            return Stream.PRODUCTS, put
        assert what == "birthdays and levels of accounts"
        put = self.put(Person())
        self._row(Stream.MEMBERS, put)["metafields"].append(
            {"id": "gid://shopify/Metafield/1", "namespace": "facts", "key": "birth_date", "value": "1991-07-13"}
        )
        return Stream.MEMBERS, put

    def coupons(self) -> list[str]:
        return [code["code"] for one in self.shop.discounts.values() for code in one["codeDiscount"]["codes"]]

    def answer(self, asked: Asked) -> Answered:
        self.shop.now = self.now
        self.shop.storage = self.served_at or STORAGE
        status, headers, body = self.shop.reply(asked.url, asked.headers, asked.body)
        return Answered(status, body.encode(), {"Content-Type": "application/json", **headers})

    def list_of(self, asked: Asked) -> str:
        """Walks by the time of change; a file that was prepared in bulk has no pages."""
        name = (
            operation_of(str((json.loads(asked.body or b"{}")).get("query", ""))).lower()
            if asked.method == "POST"
            else ""
        )
        return name if name in ("members", "orders", "products", "checkouts") else ""

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """An index that lags tells no rows yet, and that there are no more."""
        told = json.loads(answered.body)
        for one in (told.get("data") or {}).values():
            if isinstance(one, dict) and "pageInfo" in one:
                one |= {"nodes": [], "pageInfo": {**one["pageInfo"], "hasNextPage": False, "endCursor": None}}
                return replace(answered, body=json.dumps(told).encode())
        return None

    def refusal(self, trouble: Trouble, asked: Asked) -> Answered | None:
        text = json.loads(asked.body)["query"] if asked.body and "graphql" in asked.url else ""
        if trouble is Trouble.UNPERMITTED:
            return Answered(200, json.dumps(_DENIED).encode())
        if trouble is not Trouble.READ_ONLY:
            return super().refusal(trouble, asked)
        if operation_of(text) == "Installation":
            granted = {"row": {"accessScopes": [{"handle": "read_customers"}]}}
            return Answered(200, json.dumps({"data": granted}).encode())
        return Answered(200, json.dumps(_DENIED).encode()) if text.startswith("mutation") else None

    def hook(self, told: Told) -> RawRequest:
        stream = told.stream or Stream.MEMBERS
        topic = (
            _TOPICS.get(told.kind) or f"{_OF[stream]}/{'delete' if told.kind is StoreEventKind.DELETED else 'create'}"
        )
        return self._signed(json.dumps(_payload(told)).encode(), topic, told)

    def signed(self, body: bytes) -> RawRequest:
        return self._signed(body, "orders/create", Told(kind=StoreEventKind.CHANGED))

    def _signed(self, body: bytes, topic: str, told: Told) -> RawRequest:
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
        headers = {
            "content-type": "application/json",
            "x-shopify-topic": topic,
            "x-shopify-hmac-sha256": base64.b64encode(digest).decode(),
            "x-shopify-shop-domain": "other-shop.myshopify.com" if told.elsewhere else SHOP,
            "x-shopify-webhook-id": f"hook-{told.number}",
            "x-shopify-triggered-at": told.at.isoformat(),
            "x-shopify-api-version": "2026-10",
        }
        return RawRequest("POST", "https://crm.example/hooks/shopify", headers, body)

    def _find(self, stream: Stream, external_id: str) -> Json | None:
        name, kind = _KINDS[stream]
        gid = f"gid://shopify/{kind}/{external_id}"
        return next((row for row in self.shop.rows[name] if row["id"] == gid), None)

    def _row(self, stream: Stream, external_id: str) -> Json:
        found = self._find(stream, external_id)
        assert found is not None, external_id
        return found

    def _holder(self, stream: Stream, external_id: str) -> Json:
        row = self._row(stream, external_id)
        return row["variants"][0] if stream is Stream.PRODUCTS else row  # type: ignore[no-any-return]

    def _place(self, stream: Stream, row: Json) -> None:
        """In the order of ids, as bulk files have it; lists by change are sorted when they are asked for."""
        rows = self.shop.rows[_KINDS[stream][0]]
        rows[:] = [*(one for one in rows if one["id"] != row["id"]), row]
        rows.sort(key=lambda one: one["updatedAt"])


def _at(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _person(number: int, sample: Person) -> Json:
    row = shop_rows.customer(
        number, firstName=sample.first_name, tags=list(sample.tags), createdAt=_at(sample.joined_at),
        updatedAt=_at(sample.changed_at), metafields=[],
    )  # fmt: skip
    row["defaultEmailAddress"] |= {"emailAddress": sample.email, "marketingState": "NOT_SUBSCRIBED"}
    row["defaultPhoneNumber"]["phoneNumber"] = sample.phone
    return row


def _sale(number: int, sample: Sale) -> Json:
    total = shop_rows.money(sample.total)
    buyer = int(sample.person) if sample.person else None
    item = shop_rows.line(
        number, title=sample.title, variantTitle=None, quantity=1, discountedTotalSet=total, taxLines=[]
    )
    return shop_rows.order(
        number, buyer, email=sample.email, totalPriceSet=total, lineItems=[item], processedAt=_at(sample.placed_at),
        updatedAt=_at(sample.changed_at), test=sample.state is State.TEST,
        cancelledAt=_at(sample.changed_at) if sample.state is State.CANCELLED else None,
        displayFinancialStatus="PENDING" if sample.state is State.PENDING else "PAID",
    )  # fmt: skip


def _payload(told: Told) -> Json:
    number = int(told.external_id or 0)
    if told.kind is StoreEventKind.MERGED:
        names = {"kept": told.into, "deleted": told.external_id}
        ids = {f"admin_graphql_api_customer_{name}_id": f"gid://shopify/Customer/{one}" for name, one in names.items()}
        return {**ids, "status": "completed", "errors": []}
    if told.kind in (StoreEventKind.EXPORT, StoreEventKind.ERASE):
        named = "orders_requested" if told.kind is StoreEventKind.EXPORT else "orders_to_redact"
        person = {"id": number, "email": "a@example.test", "phone": None}
        return {"shop_id": 1, "shop_domain": SHOP, "customer": person, named: [11, 12], "data_request": {"id": 9}}
    if told.kind is StoreEventKind.ERASE_SHOP:
        return {"shop_id": 1, "shop_domain": SHOP}
    if told.kind is StoreEventKind.BULK_READY:
        return {"admin_graphql_api_id": "gid://shopify/BulkOperation/1", "status": "completed", "error_code": None}
    return {"id": number}


__all__ = ["NoAnswer", "ShopifyStore"]
