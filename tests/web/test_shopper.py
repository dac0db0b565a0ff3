"""The store's own server asks for what its customer's page needs: signed, fresh, about an account that is here."""

from __future__ import annotations

import json
import time

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from crm_plugin.adapters.storefronts.woocommerce.webhooks import signature, signing_secret
from crm_plugin.runtime import Runtime
from crm_plugin.store import shops
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import tokens
from tests.factories import member, write

SECRET = "cs_" + "b" * 40
_PATH = "/hooks/shop-1/woocommerce/shopper"


@pytest.fixture(autouse=True)
def connected(runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("7", email="ada@store.example")])
    with runtime.db.write() as connection:
        kept = runtime.box.seal({"url": "https://shop.example", "key": "ck_1", "secret": SECRET})
        connection.execute(update(shops).values(platform="woocommerce", credentials=kept))


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
