"""What Shopify signs, held against published vectors; whatever is changed in it is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.shopify import signatures
from crm_plugin.errors import WebhookRejected

QUERY = "code=0907a61c0c8d55e99db179b68161bc00&shop=some-shop.myshopify.com&timestamp=1337178173"
QUERY_HMAC = "4712bf92ffc2917d15a2f5a273e39f0116667419aa4b6ac0b3baaf26fa3c4d20"
PROXY = "extra=1&extra=2&shop=shop-name.myshopify.com&logged_in_customer_id=1&path_prefix=%2Fapps%2Fawesome_reviews&timestamp=1317327555"
PROXY_SIGNATURE = "4c68c8624d737112c91818c11017d24d334b524cb5c2b8ba08daa056f7395ddb"
AT, PROXY_AT, NOW = 1337178173, 1317327555, 1_800_000_000


def id_token(secret: str = "hush", alg: str = "HS256", **changed: Any) -> str:
    claims = {
        "iss": "https://a-shop.myshopify.com/admin",
        "dest": "https://a-shop.myshopify.com",
        "aud": "client-1",
        "sub": "42",
    }
    parts = [{"alg": alg, "typ": "JWT"}, {**claims, "exp": NOW + 60, "nbf": NOW, "iat": NOW, "jti": "j", **changed}]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def test_webhook_vector() -> None:
    vector = "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY="
    assert signatures.is_signed_body(b'{"id":1}', vector, ["hush"])
    assert signatures.is_signed_body(b'{"id":1}', vector, ["new", "hush"])
    assert not signatures.is_signed_body(b'{"id": 1}', vector, ["hush"])
    assert not signatures.is_signed_body(b'{"id":1}', vector, [])
    assert not signatures.is_signed_body(b'{"id":1}', "é", ["hush"])


def test_query_vector() -> None:
    told = signatures.signed_query(f"{QUERY}&hmac={QUERY_HMAC}", ["hush"], AT + 90)
    assert told["shop"] == "some-shop.myshopify.com"
    for query, now in (
        (f"{QUERY}&hmac={QUERY_HMAC}", AT + 91),
        (f"{QUERY}&hmac={QUERY_HMAC[::-1]}", AT),
        (QUERY, AT),
        (f"{QUERY.replace('some', 'other')}&hmac={QUERY_HMAC}", AT),
        (f"shop=other.myshopify.com&{QUERY}&hmac={QUERY_HMAC}", AT),
    ):
        with pytest.raises(WebhookRejected):
            signatures.signed_query(query, ["hush"], now)


def test_proxy_vector() -> None:
    call = signatures.proxy_call(f"{PROXY}&signature={PROXY_SIGNATURE}", ["new", "hush"], PROXY_AT)
    assert call == signatures.ProxyCall("shop-name.myshopify.com", "1", "/apps/awesome_reviews")
    for query, now in (
        (f"{PROXY}&signature={PROXY_SIGNATURE}", PROXY_AT + 91),
        (f"{PROXY}&signature={PROXY_SIGNATURE}&logged_in_customer_id=2", PROXY_AT),
        (f"{PROXY.replace('id=1', 'id=2')}&signature={PROXY_SIGNATURE}", PROXY_AT),
        (f"{PROXY}&more=1&signature={PROXY_SIGNATURE}", PROXY_AT),
        (PROXY, PROXY_AT),
    ):
        with pytest.raises(WebhookRejected):
            signatures.proxy_call(query, ["hush"], now)


def test_id_token_is_read() -> None:
    for secrets in (["hush"], ["new", "hush"]):
        told = signatures.read_id_token(id_token(), "client-1", secrets, NOW + 65)
        assert (told.shop, told.sub) == ("a-shop.myshopify.com", "42")


@pytest.mark.parametrize(
    "token",
    [
        id_token("another"), id_token(alg="none"), id_token(alg="HS512"), id_token(aud="client-2"),
        id_token(exp=NOW - 11), id_token(nbf=NOW + 11),
        id_token(dest="https://a-shop.myshopify.com.evil.example"), id_token(iss="https://b-shop.myshopify.com/admin"), id_token(dest="a"),
        id_token() + "x", id_token().rpartition(".")[0] + ".", "", "a.b.c", "é.é.é",
    ],
)  # fmt: skip
def test_forged_id_token_is_refused(token: str) -> None:
    with pytest.raises(WebhookRejected) as caught:
        signatures.read_id_token(token, "client-1", ["hush"], NOW)
    assert caught.value.status == 401
