"""A store for the kit: its samples in WooCommerce's form, in lists that filter, sort and page as the real ones do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar

from crm_plugin.adapters.storefronts.woocommerce.webhooks import signature, signing_secret
from crm_plugin.adapters.testing import (
    Answered,
    Asked,
    GivenBack,
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
from crm_plugin.demo.woo_accounts import Accounts
from crm_plugin.demo.woo_auth import Door
from crm_plugin.demo.woo_lists import Customers, Goods, Orders, Refused, Table, only
from crm_plugin.demo.woo_written import Written
from crm_plugin.records import RawRequest, StoreEventKind, Stream
from tests.adapters.storefronts.woocommerce.fake_store import customer, order

URL = "http://shop.example"
HOOK = "https://crm.example/hooks/shop/woocommerce"
KEY, SECRET = "ck_" + "a" * 40, "cs_" + "b" * 40
_API = "/wp-json/wc/v3/"
_ZONE = "Europe/Paris"
_STATUS = {State.PAID: "processing", State.PENDING: "pending", State.CANCELLED: "cancelled"}
_NAMES = {
    Stream.MEMBERS: "customers",
    Stream.ORDERS: "orders",
    Stream.REFUNDS: "refunds",
    Stream.PRODUCTS: "products",
}
_SPOILT = {"customers": "email", "orders": "total", "refunds": "amount", "products": "price"}
# Code and words of the real store, by trouble, with the status that comes with them.
_REFUSALS = {
    Trouble.REVOKED: (401, "woocommerce_rest_authentication_error", "Consumer key is invalid."),
    Trouble.FORBIDDEN: (403, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources."),
    Trouble.UNPERMITTED: (403, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources."),
    Trouble.READ_ONLY: (
        401,
        "woocommerce_rest_authentication_error",
        "The API key provided does not have write permissions.",
    ),
}


class WooStore(Store):
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.GUESTS, Trait.REMOVES, Trait.PERMISSIONS, Trait.EVENT_TIMES})
    tells: ClassVar[frozenset[StoreEventKind]] = frozenset(
        {StoreEventKind.CHANGED, StoreEventKind.DELETED, StoreEventKind.PING, StoreEventKind.UNKNOWN}
    )
    currencies: ClassVar[tuple[str, ...]] = ("EUR", "JPY", "KWD")
    page_size: ClassVar[int] = 10
    secrets: ClassVar[tuple[str, ...]] = (SECRET, KEY)

    def __init__(self) -> None:
        super().__init__()
        customers = Customers([], _ZONE)
        self.accounts = Accounts(customers)
        self.written = Written(_ZONE)
        self.tables: dict[str, Table] = {
            "customers": customers,
            "orders": Orders([], _ZONE),
            "refunds": Table([], _ZONE),
            "products": Goods([], _ZONE),
            "variations": Goods([], _ZONE),
            **self.written.tables,
        }
        self._door = Door(KEY, SECRET, lambda: self.now.timestamp())
        self._number = 100
        self._whole: dict[tuple[Stream, str], dict[str, Any]] = {}

    def put(self, sample: Sample, external_id: str = "") -> str:
        if not external_id:
            self._number += 1
        number = int(external_id or self._number)
        match sample:
            case Person():
                row = self._customer(number, sample)
            case Sale():
                row = self._order(number, sample)
            case GivenBack():
                row = self._refund(number, sample)
            case Thing():
                row = _product(number, sample)
        self.tables[_NAMES[sample.stream]].put(row)
        return str(number)

    def _customer(self, number: int, sample: Person) -> dict[str, Any]:
        dates = {"date_created_gmt": _gmt(sample.joined_at), "date_modified_gmt": _gmt(sample.changed_at)}
        return customer(number, email=sample.email, first_name=sample.first_name, username=f"u{number}", **dates)

    def _order(self, number: int, sample: Sale) -> dict[str, Any]:
        currency = sample.currency or self.currencies[0]
        line = {"name": sample.title, "sku": "L-1", "product_id": 7, "quantity": 1, "total": sample.total}
        present = self.tables["orders"].one(number) or {}
        return order(
            number,
            _gmt(sample.changed_at),
            status=_STATUS[sample.state],
            currency=currency,
            total=sample.total,
            total_tax="0",
            customer_id=int(sample.person or 0),
            date_created_gmt=_gmt(sample.placed_at),
            date_paid_gmt=_gmt(sample.placed_at) if sample.state is State.PAID else None,
            billing={"first_name": "Ada", "email": sample.email, "country": "FR"},
            line_items=[line],
            refunds=present.get("refunds", []),
        )

    def _refund(self, number: int, sample: GivenBack) -> dict[str, Any]:
        held = self.tables["orders"].one(int(sample.order))
        assert held is not None
        listed = [one for one in held["refunds"] if one["id"] != number]
        refunded = [*listed, {"id": number, "reason": "", "total": f"-{sample.amount}"}]
        self.tables["orders"].put({**held, "refunds": refunded, "date_modified_gmt": _gmt(sample.at)})
        return {
            "id": number,
            "parent_id": int(sample.order),
            "amount": sample.amount,
            "reason": "",
            "date_created_gmt": _gmt(sample.at),
        }

    def remove(self, stream: Stream, external_id: str) -> None:
        self.tables[_NAMES[stream]].remove(int(external_id))

    def spoil(self, stream: Stream, external_id: str) -> None:
        table = self.tables[_NAMES[stream]]
        row = table.one(int(external_id))
        assert row is not None
        self._whole[stream, external_id] = row
        table.put({**row, _SPOILT[_NAMES[stream]]: {"odd": [1]}})

    def mend(self, stream: Stream, external_id: str) -> None:
        self.tables[_NAMES[stream]].put(self._whole.pop((stream, external_id)))

    def change_unseen(self, what: str) -> tuple[Stream, str]:
        """Money is given back, or that is undone, while the order's time of change stays."""
        number = int(self.put(Sale(email="unseen@store.example", changed_at=self.now - timedelta(days=3))))
        held = self.tables["orders"].one(number)
        assert held is not None
        given_back = [{"id": 7_000_000 + number, "reason": "", "total": "-1.00"}]
        self.tables["orders"].put({**held, "refunds": [] if what == "deleted refunds" else given_back})
        return Stream.ORDERS, str(number)

    def hook(self, told: Told) -> RawRequest:
        if told.kind is StoreEventKind.PING:
            headers = {"content-type": "application/x-www-form-urlencoded"}
            return RawRequest("POST", HOOK, headers, b"webhook_id=1")
        resource = {Stream.MEMBERS: "customer", Stream.PRODUCTS: "product"}.get(told.stream or Stream.ORDERS, "order")
        body: dict[str, Any] = {"id": int(told.external_id or 1)}
        if told.kind is not StoreEventKind.DELETED:
            body |= {"date_modified_gmt": _gmt(told.at), "number": told.number}
        word = "deleted" if told.kind is StoreEventKind.DELETED else "updated"
        topic = "action.woocommerce_of_tomorrow" if told.kind is StoreEventKind.UNKNOWN else f"{resource}.{word}"
        secret = "cs_" + "c" * 40 if told.elsewhere else SECRET
        return self._hook(topic, json.dumps(body).encode(), f"{told.number:032x}", secret)

    def signed(self, body: bytes) -> RawRequest:
        return self._hook("order.updated", body, "0" * 32)

    def _hook(self, topic: str, body: bytes, delivery: str, secret: str = SECRET) -> RawRequest:
        headers = {
            "content-type": "application/json",
            "x-wc-webhook-topic": topic,
            "x-wc-webhook-signature": signature(body, signing_secret(secret)),
            "x-wc-webhook-delivery-id": delivery,
        }
        return RawRequest("POST", HOOK, headers, body)

    def coupons(self) -> list[str]:
        """The kit's codes are in capitals, and the store keeps small letters."""
        return [row["code"].upper() for row in self.written.coupons.rows()]

    def list_of(self, asked: Asked) -> str:
        """Only what is walked page by page: a page that was kept by a cache knows nothing of single records."""
        query = asked.query
        if "orderby" not in query:
            return ""
        return f"{asked.path} {query.get('status')} {query.get('order')} {'include' in query}"

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """A store whose memory was short tells fewer rows than it counts, or none; with the count of the whole."""
        rows = json.loads(answered.body)
        if not rows:
            return None
        left = rows[: dice.choice((0, len(rows) // 2))]
        return Answered(200, json.dumps(left).encode(), answered.headers)

    def refusal(self, trouble: Trouble, asked: Asked) -> Answered | None:
        if trouble is Trouble.READ_ONLY and asked.method == "GET":
            return None
        status, code, message = _REFUSALS[trouble]
        return _json({"code": code, "message": message, "data": {"status": status}}, status)

    def answer(self, asked: Asked) -> Answered:
        try:
            return self._answer(asked)
        except Refused as refused:
            status, code, message = refused.refusal
            return _json({"code": code, "message": message, "data": {"status": status}}, status)

    def _answer(self, asked: Asked) -> Answered:
        at = self.served_at or URL
        assert asked.url.startswith(at)
        if asked.path == "/wp-json/":
            return _json({"name": "Kit", "timezone_string": _ZONE, "home": at})
        url, _, query = asked.url.partition("?")
        refusal = self._door.refusal(asked.method, url, query, asked.headers.get("authorization", ""))
        if refusal is not None:
            raise Refused(*refusal)
        parts, params = asked.path.removeprefix(_API).split("/"), asked.query
        match asked.method, parts:
            case "GET", ["system_status"]:
                return _json({"settings": {"currency": self.currencies[0]}, "environment": {"version": "11.0.1"}})
            case "GET", [kind] if kind in self.tables:
                found = self.tables[kind].page(params)
                headers = {"X-WP-Total": str(found.total), "X-WP-TotalPages": str(found.pages)}
                return Answered(200, found.body, {"Content-Type": "application/json", **headers})
            case "GET", [kind, number] if kind in self.tables and number.isdigit():
                row = self.tables[kind].one(int(number))
                if row is None:
                    raise Refused(404, "woocommerce_rest_invalid_id", "Invalid ID.")
                return _json(only(row, params["_fields"]) if params.get("_fields") else row)
            case "POST", ["customers", "batch"]:
                return _json(self.accounts.batch(json.loads(asked.body)))
            case "POST", [("webhooks" | "coupons") as kind, "batch"]:
                return _json(self.written.batch(kind, json.loads(asked.body)))
        raise Refused(404, "rest_no_route", "No route was found matching the URL and request method.")


def _product(number: int, sample: Thing) -> dict[str, Any]:
    return {
        "id": number,
        "name": sample.title,
        "slug": f"p-{number}",
        "sku": f"L-{number}",
        "type": "simple",
        "status": "publish",
        "price": sample.price,
        "date_modified_gmt": _gmt(sample.changed_at),
    }


def _gmt(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _json(value: Mapping[str, Any], status: int = 200) -> Answered:
    return Answered(status, json.dumps(value).encode())
