"""What every storefront keeps to, on a made-up Saleor."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import responses
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.saleor import SaleorStorefront
from crm_plugin.adapters.storefronts.saleor.client import SaleorClient
from crm_plugin.adapters.testing import (
    Answered,
    Asked,
    GivenBack,
    Person,
    Sale,
    Sample,
    State,
    Store,
    StorefrontKit,
    Thing,
    Told,
    Trait,
    Trouble,
)
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest, StoreEventKind, Stream
from tests.adapters.storefronts.saleor.fake_saleor import APP, TOKEN, URL, FakeSaleor, user

_ORDER = Told(kind=StoreEventKind.CHANGED, stream=Stream.ORDERS, external_id="T3JkZXI6MQ==")
_ROWS = {Stream.MEMBERS: "users", Stream.ORDERS: "orders", Stream.PRODUCTS: "variants"}
_KINDS = {Stream.MEMBERS: "User", Stream.ORDERS: "Order", Stream.PRODUCTS: "ProductVariant"}
_STATES = {
    State.PAID: ("UNFULFILLED", "FULL"),
    State.PENDING: ("UNFULFILLED", "NONE"),
    State.CANCELLED: ("CANCELED", "NONE"),
}
_WORDS = {
    StoreEventKind.SUSPENDED: "app_status_changed",
    StoreEventKind.RESUMED: "app_status_changed",
    StoreEventKind.UNINSTALLED: "app_deleted",
    StoreEventKind.DELETED: "customer_deleted",
    StoreEventKind.UNKNOWN: "thing_of_tomorrow",
}


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwks() -> dict[str, Any]:
    """The store's public key."""
    numbers = _key().public_key().public_numbers()
    n, e = (_encoded(one.to_bytes((one.bit_length() + 7) // 8, "big")) for one in (numbers.n, numbers.e))
    return {"keys": [{"kty": "RSA", "kid": "kit", "use": "sig", "n": n, "e": e}]}


class SaleorStore(Store):
    """A made-up Saleor that is asked as one."""

    traits: ClassVar[frozenset[Trait]] = frozenset({
        Trait.GUESTS, Trait.REMOVES, Trait.FRACTIONS, Trait.ECHOES, Trait.EVENT_TIMES, Trait.PERMISSIONS, Trait.COMMON_ADDRESS,
    })  # fmt: skip
    tells: ClassVar[frozenset[StoreEventKind]] = frozenset({
        StoreEventKind.CHANGED, StoreEventKind.DELETED, StoreEventKind.SUSPENDED, StoreEventKind.RESUMED,
        StoreEventKind.UNINSTALLED, StoreEventKind.UNKNOWN,
    })  # fmt: skip
    currencies: ClassVar[tuple[str, ...]] = ("TWD", "USD")
    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)

    def __init__(self) -> None:
        super().__init__()
        self.saleor = FakeSaleor()
        self._number = 0
        self._whole: dict[str, dict[str, Any]] = {}

    def answer(self, asked: Asked) -> Answered:
        if asked.method == "GET":
            return Answered(body=json.dumps(jwks()).encode())
        given = SimpleNamespace(body=asked.body, headers={"Authorization": asked.headers.get("authorization", "")})
        status, headers, body = self.saleor.answer(given)  # type: ignore[arg-type]
        return Answered(status, body.encode(), {"Content-Type": "application/json", **headers})

    def refusal(self, trouble: Trouble, asked: Asked) -> Answered | None:
        if trouble is Trouble.FORBIDDEN:
            return Answered(403, b'{"detail": "Forbidden"}', {"Content-Type": "application/json"})
        token, permissions = self.saleor.token, self.saleor.permissions
        if trouble is Trouble.REVOKED:
            self.saleor.token = None
        else:
            self.saleor.permissions = []
            if (
                trouble is Trouble.READ_ONLY
                and "mutation" not in asked.body.decode()
                and self._operation(asked) != "Shop"
            ):
                return None
        try:
            return self.answer(asked)
        finally:
            self.saleor.token, self.saleor.permissions = token, permissions

    def list_of(self, asked: Asked) -> str:
        name = self._operation(asked)
        return name if name in ("Members", "Orders", "Variants", "Checkouts", "FinishedCheckouts") else ""

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """An index that lags tells no rows yet, and that there are no more."""
        told = json.loads(answered.body)
        for one in (told.get("data") or {}).values():
            if isinstance(one, dict) and "pageInfo" in one:
                one |= {"edges": [], "pageInfo": {**one["pageInfo"], "hasNextPage": False, "endCursor": None}}
                return replace(answered, body=json.dumps(told).encode())
        return None

    def put(self, sample: Sample, external_id: str = "") -> str:
        self._number += 1
        if isinstance(sample, GivenBack):
            return self._give_back(sample)
        rows = self.saleor.rows[_ROWS[sample.stream]]
        kept = next((row for row in rows if row["id"] == external_id), None)
        name = external_id or _id(_KINDS[sample.stream], self._number)
        row = {**_row(sample, self._number), "id": name}
        if kept is None:
            rows.append(row)
        else:
            money = {key: kept[key] for key in ("transactions", "totalRefunded") if key in kept}
            kept.update({**row, **(money if money.get("totalRefunded") else {})})
        return name

    def remove(self, stream: Stream, external_id: str) -> None:
        rows = self.saleor.rows[_ROWS[stream]]
        rows[:] = [row for row in rows if row["id"] != external_id]

    def spoil(self, stream: Stream, external_id: str) -> None:
        row = self._find(stream, external_id)
        self._whole[external_id] = dict(row)
        row[{Stream.MEMBERS: "email", Stream.ORDERS: "total", Stream.PRODUCTS: "sku"}[stream]] = ["spoilt"]

    def mend(self, stream: Stream, external_id: str) -> None:
        self._find(stream, external_id).update(self._whole.pop(external_id))

    def change_unseen(self, what: str) -> tuple[Stream, str]:
        if not self.saleor.rows["variants"]:
            self.put(Thing())
        row = self.saleor.rows["variants"][0]
        row["product"] = {**row["product"], "name": "Another name"}
        at = self.now.isoformat()
        self.saleor.rows["products"] = [{"id": _id("Product", 1), "updatedAt": at, "variants": [row]}]
        return Stream.PRODUCTS, row["id"]

    def hook(self, told: Told) -> RawRequest:
        word, body = _WORDS.get(told.kind, "order_updated"), {"order": {"id": told.external_id or _id("Order", 1)}}
        if told.kind in (StoreEventKind.SUSPENDED, StoreEventKind.RESUMED, StoreEventKind.UNINSTALLED):
            body = {"app": {"id": APP, "isActive": told.kind is StoreEventKind.RESUMED}}
        elif told.stream is Stream.MEMBERS:
            word = "customer_deleted" if told.kind is StoreEventKind.DELETED else "customer_updated"
            body = {"user": {"id": told.external_id}}
        elif told.stream is Stream.PRODUCTS:
            word = "product_variant_deleted" if told.kind is StoreEventKind.DELETED else "product_variant_updated"
            body = {"productVariant": {"id": told.external_id}}
        whole = {
            "issuedAt": told.at.isoformat(),
            "issuingPrincipal": {"__typename": "App", "id": APP}
            if told.own
            else {"__typename": "User", "id": "VXNlcjo5"},
            "recipient": {"id": APP},
            **body,
        }
        url = "https://other.example/graphql/" if told.elsewhere else URL
        return self._request(json.dumps(whole).encode(), word, url)

    def signed(self, body: bytes) -> RawRequest:
        return self._request(body, "order_updated", URL)

    def coupons(self) -> list[str]:
        return [code for one in self.saleor.vouchers for code in one["addCodes"]]

    @staticmethod
    def _request(body: bytes, word: str, url: str) -> RawRequest:
        head = _encoded(json.dumps({"alg": "RS256", "b64": False, "crit": ["b64"], "kid": "kit"}).encode())
        signature = _encoded(_key().sign(f"{head}.".encode() + body, padding.PKCS1v15(), SHA256()))
        headers = {"saleor-event": word, "saleor-api-url": url, "saleor-signature": f"{head}..{signature}"}
        return RawRequest("POST", "https://crm.example/events/saleor", headers, body)

    @staticmethod
    def _operation(asked: Asked) -> str:
        if asked.method == "GET":
            return ""
        return str(json.loads(asked.body)["query"].split()[1].split("(")[0])

    def _find(self, stream: Stream, external_id: str) -> dict[str, Any]:
        return next(row for row in self.saleor.rows[_ROWS[stream]] if row["id"] == external_id)

    def _give_back(self, sample: GivenBack) -> str:
        row = self._find(Stream.ORDERS, sample.order)
        name = _id("TransactionEvent", self._number)
        event = {
            "id": name,
            "type": "REFUND_SUCCESS",
            "createdAt": sample.at.isoformat(),
            "message": "",
            "amount": {"amount": float(sample.amount)},
        }
        row["transactions"].append({"events": [event]})
        before = (row["totalRefunded"] or {"amount": 0})["amount"]
        row["totalRefunded"] = {"amount": round(before + float(sample.amount), 3)}
        row["updatedAt"] = sample.at.isoformat()
        return name


def _id(kind: str, number: int) -> str:
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def _row(sample: Person | Sale | Thing, number: int) -> dict[str, Any]:
    changed = sample.changed_at.astimezone(UTC).isoformat()
    if isinstance(sample, Person):
        meta = [{"key": f"crm.tag.{tag}", "value": "yes"} for tag in sample.tags]
        place = {"phone": sample.phone, "country": {"code": "TW"}}
        return user(
            number, changed, email=sample.email, firstName=sample.first_name, metadata=meta,
            dateJoined=sample.joined_at.isoformat(), defaultBillingAddress=place if sample.phone else None,
        )  # fmt: skip
    if isinstance(sample, Thing):
        listing = {
            "channel": {"slug": "tw", "currencyCode": "TWD"}, "costPrice": None,
            "price": {"amount": float(sample.price), "currency": "TWD"},
        }  # fmt: skip
        return {
            "sku": "",
            "name": "",
            "updatedAt": changed,
            "channelListings": [listing],
            "product": {"name": sample.title},
        }
    status, charged = _STATES[sample.state]
    paid = {
        "id": "VHg=",
        "type": "CHARGE_SUCCESS",
        "createdAt": sample.placed_at.isoformat(),
        "amount": {"amount": float(sample.total)},
    }
    money = {"amount": float(sample.total)}
    return {
        "number": str(number), "status": status, "chargeStatus": charged, "updatedAt": changed, "checkoutId": None,
        "created": sample.placed_at.isoformat(), "userEmail": sample.email, "user": {"id": sample.person} if sample.person else None,
        "total": {"gross": {**money, "currency": sample.currency or "TWD"}, "tax": {"amount": 0}}, "totalRefunded": None,
        "lines": [{"productName": sample.title, "quantity": 1, "totalPrice": {"gross": money}}],
        "transactions": [{"events": [paid]}] if charged == "FULL" else [],
    }  # fmt: skip


@pytest.mark.slow
class TestKit(StorefrontKit):
    adapter = SaleorStorefront
    store_type = SaleorStore

    @pytest.fixture
    def store(self) -> Iterator[SaleorStore]:
        made = SaleorStore()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_passthru("http://127.0.0.1")
            mock.add_callback(responses.POST, URL, made.respond, content_type=None)
            mock.add_callback(
                responses.GET, "https://shop.example/.well-known/jwks.json", made.respond, content_type=None
            )
            yield made

    def open(self, store: Store) -> StorefrontAdapter:
        url = f"{store.served_at}/graphql/" if store.served_at else URL
        client = SaleorClient(url, TOKEN, Calls("saleor", sleep=lambda _: None, clock=lambda: store.now.timestamp()))
        values = {"api_url": url, "token": TOKEN, "app_id": APP, "jwks": jwks(), "timezone": "Asia/Taipei"}
        return SaleorStorefront(values, client=client, page_size=store.page_size, now=lambda: store.now)

    def test_common_address_is_told_whose_event_it_is(self, store: Store, storefront: StorefrontAdapter) -> None:
        """The keys are the store's own: of one that is not known here nobody is believed."""
        ours, theirs = store.hook(_ORDER), store.hook(replace(_ORDER, elsewhere=True))
        assert self.adapter.addressed(ours) == URL
        assert self.adapter.addressed(ours) != self.adapter.addressed(theirs)
        assert self.adapter.addressed(replace(ours, headers={}, body=b"\xff")) == ""
        with pytest.raises(WebhookRejected):
            self.adapter.listening({}).verify_webhook(ours)
