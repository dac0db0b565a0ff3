"""The store's own server, or its customer's browser, asks for what their page needs: signed, fresh, about an account that is here."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from crm_plugin.adapters.storefronts.medusa import MedusaStorefront
from crm_plugin.adapters.storefronts.saleor import SaleorStorefront
from crm_plugin.adapters.storefronts.saleor.shoppers import origins_of
from crm_plugin.adapters.storefronts.saleor.signing import KeyRing
from crm_plugin.adapters.storefronts.woocommerce.webhooks import signature, signing_secret
from crm_plugin.runtime import Runtime
from crm_plugin.store import hook_counts, shops
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import tokens
from tests.factories import member, write

SECRET = "cs_" + "b" * 40
_PATH = "/hooks/shop-1/woocommerce/shopper"
_SALEOR, _MEDUSA = (_PATH.replace("woocommerce", name) for name in ("saleor", "medusa"))
# Customers' tokens, signed by jose (npm).
CUSTOMERS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "adapters/storefronts/saleor/payloads/customers.json").read_text(encoding="utf-8")
)
AT = 1795400000.0
_FRONT = "https://shop.example"


@pytest.fixture(autouse=True)
def connected(runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("7", email="ada@store.example")])
    _connect(runtime, "woocommerce", url="https://shop.example", key="ck_1", secret=SECRET)


def _connect(runtime: Runtime, platform: str, **credentials: Any) -> None:
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform=platform, credentials=runtime.box.seal(credentials)))


def _proof(body: bytes, secret: str = SECRET, purpose: bytes = b"shopper\n") -> dict[str, str]:
    return {"X-CRM-Proof": signature(purpose + body, signing_secret(secret))}


def _body(customer: int = 7, age: int = 0) -> bytes:
    return json.dumps({"customer": customer, "at": int(time.time()) - age}).encode()


def test_store_is_told_what_its_customers_page_needs(stranger: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    body = _body()
    told = stranger.post(_PATH, data=body, headers=_proof(body)).get_json()
    shop_id, member_id = tokens.read_member(runtime.box, told["token"])
    assert shop_id == shop.shop_id
    assert tokens.read_unsubscribe(runtime.box, told["preferences"].rpartition("/u/")[2]).member_id == member_id
    page = stranger.get(told["preferences"].removeprefix("https://crm.example"))
    assert page.status_code == 200


def test_nobody_else_is_told_anything(stranger: FlaskClient) -> None:
    body, old, stray, odd = _body(), _body(age=700), _body(customer=8), b"[7]"
    for data, headers, status in (
        (body, {}, 401),
        (body, _proof(body, "cs_" + "c" * 40), 401),
        # What the store signs as a webhook is no question.
        (body, _proof(body, purpose=b""), 401),
        (b"webhook_id=1", {}, 401),
        (old, _proof(old), 403),
        (odd, _proof(odd), 400),
        (stray, _proof(stray), 404),
    ):
        assert stranger.post(_PATH, data=data, headers=headers).status_code == status
    assert stranger.post("/hooks/shop-1/saleor/shopper", data=body, headers=_proof(body)).status_code == 404
    assert stranger.post("/hooks/nobody/woocommerce/shopper", data=body, headers=_proof(body)).status_code == 404


@pytest.fixture
def saleor(runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SaleorStorefront, "clock", staticmethod(lambda: AT))
    # Nor does the store publish a key of the name that one of them uses.
    monkeypatch.setattr(
        KeyRing.__init__, "__kwdefaults__", {"fetch": lambda _: CUSTOMERS["jwks"], "now": time.monotonic}
    )
    write(runtime.db, shop, [member("VXNlcjo0Ng==", email="new@example.com")])
    told = {"api_url": "https://shop.example/graphql/", "token": "t", "jwks": CUSTOMERS["jwks"]}
    _connect(runtime, "saleor", **told, storefront_origins=f"{_FRONT}/, https://m.shop.example")


def _bearer(name: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {CUSTOMERS['tokens'][name]}", **headers}


@pytest.mark.usefixtures("saleor")
def test_customers_own_token_opens_their_messages(stranger: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    asked = stranger.options(_SALEOR, headers={"Origin": _FRONT, "Access-Control-Request-Headers": "authorization"})
    assert (asked.status_code, asked.headers["Access-Control-Allow-Headers"]) == (204, "Authorization")
    told = stranger.post(_SALEOR, headers=_bearer("customer", Origin=_FRONT))
    assert (told.status_code, told.headers["Access-Control-Allow-Origin"]) == (200, _FRONT)
    assert (told.headers["Vary"], told.headers["Cache-Control"]) == ("Origin", "no-store")
    shop_id, member_id = tokens.read_member(runtime.box, told.get_json()["token"])
    assert shop_id == shop.shop_id
    seen = stranger.get("/inapp/messages", headers={"Authorization": f"Bearer {told.get_json()['token']}"})
    assert seen.get_json() == {"messages": [], "unread": 0}
    # A storefront's server asks with the same, and names no origin.
    by_server = stranger.post(_SALEOR, headers=_bearer("customer")).get_json()
    assert tokens.read_member(runtime.box, by_server["token"]) == (shop_id, member_id)


@pytest.mark.usefixtures("saleor")
def test_pages_elsewhere_may_not_ask(stranger: FlaskClient) -> None:
    for origin in ("https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"):
        asked = stranger.options(_SALEOR, headers={"Origin": origin})
        told = stranger.post(_SALEOR, headers=_bearer("customer", Origin=origin))
        assert (asked.status_code, told.status_code, told.get_data()) == (403, 403, b"")
        assert "Access-Control-Allow-Origin" not in {*asked.headers.keys(), *told.headers.keys()}
    assert stranger.options(_SALEOR).status_code == 403


@pytest.mark.usefixtures("saleor")
def test_other_tokens_open_nothing(stranger: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    others = sorted(set(CUSTOMERS["tokens"]) - {"customer"})
    assert len(others) >= 10
    for name in others:
        told = stranger.post(_SALEOR, headers=_bearer(name, Origin=_FRONT))
        # The page that asked may read that.
        said = (told.status_code, told.get_data(), told.headers["Access-Control-Allow-Origin"])
        assert said == (401, b"", _FRONT), name
    with runtime.db.read() as connection:
        assert hook_counts.counts(connection, shop.shop_id) == []


@pytest.mark.usefixtures("saleor")
def test_customers_token_runs_out(stranger: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SaleorStorefront, "clock", staticmethod(lambda: AT + 400))
    assert stranger.post(_SALEOR, headers=_bearer("customer", Origin=_FRONT)).status_code == 401
    assert stranger.post(_SALEOR, headers={"Origin": _FRONT}).status_code == 401


def test_medusas_companion_asks_for_its_customer(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MedusaStorefront, "clock", staticmethod(lambda: AT))
    write(runtime.db, shop, [member("cus_1", email="bo@store.example")])
    _connect(runtime, "medusa", url="https://api.shop.example", key="sk_1", webhook_secret="shared")

    def ask(customer: str = "cus_1", at: float = AT, secret: bytes = b"shared", purpose: bytes = b"shopper\n") -> Any:
        body = json.dumps({"customer": customer, "at": int(at)}).encode()
        proof = hmac.new(secret, purpose + body, hashlib.sha256).hexdigest()
        return stranger.post(_MEDUSA, data=body, headers={"X-CRM-Proof": proof})

    shop_id, _ = tokens.read_member(runtime.box, ask().get_json()["token"])
    assert shop_id == shop.shop_id
    refused = [ask(secret=b"other"), ask(purpose=b""), ask(at=AT - 301), ask(customer=""), ask(customer="cus_2")]
    assert [told.status_code for told in refused] == [401, 401, 403, 403, 404]
    # Its server asks, so no page does.
    assert stranger.options(_MEDUSA, headers={"Origin": _FRONT}).status_code == 403


def test_address_that_is_none_opens_no_page_and_closes_no_other() -> None:
    told = "https://Shop.example/a, https://[ ftp://x.example shop.example http://localhost:3000"
    assert origins_of(told) == {"https://shop.example", "http://localhost:3000"}
