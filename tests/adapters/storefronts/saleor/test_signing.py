"""Signatures by two libraries that we do not use, over the bytes as they came; and those that are none."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.saleor.signing import KeyRing, check_body, check_hmac, check_token
from crm_plugin.errors import TransientError, WebhookRejected

SIGNED: dict[str, Any] = json.loads((Path(__file__).parent / "payloads" / "signed.json").read_text(encoding="utf-8"))
JWKS = SIGNED["jwks"]
NOW = 1795400000.0


def _ring(api_url: str = "https://known.example/graphql/") -> KeyRing:
    return KeyRing(api_url, JWKS, fetch=lambda _: {"keys": []})


@pytest.mark.parametrize("name", sorted(SIGNED["webhooks"]))
def test_body_is_as_it_was_signed(name: str) -> None:
    told = SIGNED["webhooks"][name]
    body, signature = told["body"].encode(), told["signature"]
    check_body(signature, body, _ring())
    for other in (body + b" ", body.replace(b"recipient", b"Recipient"), b""):
        with pytest.raises(WebhookRejected) as caught:
            check_body(signature, other, _ring())
        assert caught.value.status == 401


def _changed(signature: str, **header: Any) -> str:
    head, _, tail = signature.split(".")
    told = json.loads(base64.urlsafe_b64decode(head + "==")) | header
    return f"{base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip('=')}..{tail}"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "a.b",
        "....",
        "é..ü",
        "!!..!!",
        SIGNED["webhooks"]["customer"]["signature"].replace("..", ".eyJ9."),
        _changed(SIGNED["webhooks"]["customer"]["signature"], alg="none"),
        _changed(SIGNED["webhooks"]["customer"]["signature"], alg="HS256"),
        _changed(SIGNED["webhooks"]["customer"]["signature"], b64=True),
        _changed(SIGNED["webhooks"]["customer"]["signature"], crit=["b64", "exp"]),
        _changed(SIGNED["webhooks"]["customer"]["signature"], kid="k2"),
        SIGNED["webhooks"]["own"]["signature"],
    ],
)
def test_other_signatures_are_refused(signature: str) -> None:
    with pytest.raises(WebhookRejected):
        check_body(signature, SIGNED["webhooks"]["customer"]["body"].encode(), _ring())


def test_unknown_key_is_fetched_once_a_minute() -> None:
    fetched: list[str] = []
    clock = [1000.0]

    def fetch(api_url: str) -> dict[str, Any]:
        fetched.append(api_url)
        if len(fetched) == 1:
            raise TransientError("away")
        return JWKS

    def ring() -> KeyRing:
        return KeyRing("https://new.example/graphql/", {"keys": []}, fetch=fetch, now=lambda: clock[0])

    told = SIGNED["webhooks"]["customer"]
    for _ in range(3):
        with pytest.raises(WebhookRejected) as caught:
            check_body(told["signature"], told["body"].encode(), ring())
        # Told again later: a refusal would lose it.
        assert caught.value.status == 503
    assert len(fetched) == 1
    clock[0] += 61
    for _ in range(3):
        check_body(told["signature"], told["body"].encode(), ring())
    made_up = _changed(told["signature"], kid="made-up")
    with pytest.raises(WebhookRejected):
        check_body(made_up, told["body"].encode(), ring())
    assert len(fetched) == 2
    # Nobody makes us forget what was fetched by naming a key while the store does not answer.
    clock[0] += 61
    fetched.clear()
    with pytest.raises(WebhookRejected):
        check_body(made_up, told["body"].encode(), ring())
    assert len(fetched) == 1
    check_body(told["signature"], told["body"].encode(), ring())


def test_old_form_is_hex() -> None:
    signature = hmac.new(b"old", b"{}", hashlib.sha256).hexdigest()
    check_hmac(signature, b"{}", "old")
    for wrong, body in ((signature, b"{} "), ("", b"{}"), (signature[:-1] + "é", b"{}")):
        with pytest.raises(WebhookRejected):
            check_hmac(wrong, body, "old")


def test_token_says_who_until_it_ends() -> None:
    claims = check_token(SIGNED["tokens"]["staff"], _ring(), NOW)
    assert (claims.iss, claims.app, claims.email) == ("https://shop.example/graphql/", "QXBwOjE=", "staff@example.com")
    with pytest.raises(WebhookRejected, match="run out"):
        check_token(SIGNED["tokens"]["staff"], _ring(), NOW + 311)
    head, payload, tail = SIGNED["tokens"]["staff"].split(".")
    for forged in (f"{head}.{payload[:-2]}AA.{tail}", f"{head}.{payload}.{tail[:-4]}AAAA", f"{head}..{tail}"):
        with pytest.raises(WebhookRejected):
            check_token(forged, _ring(), NOW)
