"""How a merchant comes in: keys for a visit or for a code, who is in the frame and in the storefront, and the app's files."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import tomllib
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from crm_plugin.adapters.registry import installer_class
from crm_plugin.adapters.storefronts.installing import AppFacts, Shopper
from crm_plugin.adapters.storefronts.shopify import ShopifyInstaller
from crm_plugin.adapters.storefronts.shopify.app_files import EXTENSION
from crm_plugin.adapters.storefronts.shopify.scopes import SCOPES
from crm_plugin.adapters.storefronts.shopify.webhooks import COMPLIANCE, SUBSCRIBED, TOPICS
from crm_plugin.errors import ActionRequired, InvalidInput, WebhookRejected
from crm_plugin.records import RawRequest
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SECRET, SHOP, FakeShop
from tests.adapters.storefronts.shopify.test_signatures import NOW, PROXY, PROXY_AT, PROXY_SIGNATURE, id_token

PUBLIC = "https://crm.example"
BACK = f"{PUBLIC}/install/shopify/back"
ISSUER = {"iss": f"https://{SHOP}/admin", "dest": f"https://{SHOP}"}
FACTS = AppFacts("crm-plugin", "0.1.0", "CRM plugin for shops that have long names", "About.", "", SCOPES)


def _installer(now: float = NOW, **app: str) -> ShopifyInstaller:
    told = {"client_id": CLIENT_ID, "client_secret": SECRET, **app}
    return ShopifyInstaller(told, PUBLIC, clock=lambda: now)


def _request(url: str, **headers: str) -> RawRequest:
    return RawRequest("GET", url, headers, b"")


def _signed(secret: str = SECRET, **query: str) -> str:
    message = urlencode(sorted(query.items()))
    return f"{message}&hmac={hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()}"


def test_visit_gives_keys(shop: FakeShop) -> None:
    token = id_token(**ISSUER)
    installer = _installer()
    visits = [
        installer.visit(_request(f"{PUBLIC}/install/shopify/page?shop={SHOP}&id_token={token}")),
        installer.visit(_request(f"{PUBLIC}/x", authorization=f"Bearer {token}")),
    ]
    assert visits[0] == visits[1]
    assert visits[0] is not None
    assert (visits[0].reference, visits[0].user, visits[0].expires_in) == (SHOP, "42", 60)
    told = installer.exchange(visits[0])
    assert (told.reference, told.url) == (SHOP, f"https://{SHOP}")
    assert told.credentials == {
        "shop": SHOP, "access_token": "shpat_1x", "refresh_token": "shprt_1x", "expires_at": NOW + 3600,
    }  # fmt: skip
    assert told.scopes == frozenset(shop.scopes)
    assert shop.exchanged == [
        {
            "client_id": CLIENT_ID, "client_secret": SECRET, "subject_token": token, "expiring": "1",
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "requested_token_type": "urn:shopify:params:oauth:token-type:offline-access-token",
        }
    ]  # fmt: skip


def test_forged_visit_is_rejected() -> None:
    installer = _installer()
    opened = _request(f"{PUBLIC}/page?shop={SHOP}")
    assert installer.visit(opened) is None
    assert installer.frame(installer.named(opened)).ancestors == (f"https://{SHOP}", "https://admin.shopify.com")
    assert installer.frame(installer.named(_request(f"{PUBLIC}/page?shop=evil.example"))).ancestors == ("'none'",)
    for token in (id_token("another", **ISSUER), id_token(sub="", **ISSUER), id_token(exp=NOW - 60, **ISSUER), "x"):
        with pytest.raises(WebhookRejected):
            installer.visit(_request(f"{PUBLIC}/page", authorization=f"Bearer {token}"))
        # In an address it may be an old one: App Bridge has another.
        assert installer.visit(_request(f"{PUBLIC}/page?id_token={token}")) is None


def test_token_that_ran_out_on_the_way_comes_again(shop: FakeShop) -> None:
    visitor = _installer().visit(_request(f"{PUBLIC}/page?id_token={id_token(**ISSUER)}"))
    assert visitor is not None
    shop.oauth = lambda _told: (400, {"error": "invalid_subject_token"})
    with pytest.raises(WebhookRejected) as rejected:
        _installer().exchange(visitor)
    assert rejected.value.status == 401
    shop.oauth = lambda _told: (400, {"error": "invalid_client"})
    with pytest.raises(ActionRequired, match="client id"):
        _installer().exchange(visitor)


def test_install_by_address(shop: FakeShop) -> None:
    installer = _installer()
    sent_to = urlsplit(installer.begin({"shop": SHOP}, "state-1", BACK))
    assert (sent_to.netloc, sent_to.path) == (SHOP, "/admin/oauth/authorize")
    asked = {name: value for name, (value,) in parse_qs(sent_to.query).items()}
    assert (asked["client_id"], asked["state"], asked["redirect_uri"]) == (CLIENT_ID, "state-1", BACK)
    assert set(asked["scope"].split(",")) == set(SCOPES) - {"read_all_orders"}
    query = _signed(code="c-1", shop=SHOP, state="state-1", timestamp=str(NOW), host="YQ==")
    told = installer.finish(_request(f"{BACK}?{query}"), {"shop": SHOP}, BACK)
    assert told.credentials["access_token"] == "shpat_1x"
    assert [(one["code"], one["expiring"]) for one in shop.exchanged] == [("c-1", "1")]


@pytest.mark.parametrize(
    "query",
    [
        _signed("another", code="c", shop=SHOP, timestamp=str(NOW)),
        _signed(code="c", shop="other-shop.myshopify.com", timestamp=str(NOW)),
        _signed(code="c", shop="evil.example", timestamp=str(NOW)),
        _signed(code="c", shop=SHOP, timestamp=str(NOW - 91)),
        _signed(shop=SHOP, timestamp=str(NOW)),
    ],
)
def test_forged_answer_takes_no_keys(shop: FakeShop, query: str) -> None:
    with pytest.raises(WebhookRejected):
        _installer().finish(_request(f"{BACK}?{query}"), {"shop": SHOP}, BACK)
    assert shop.exchanged == []


@pytest.mark.parametrize("typed", ["", "flowers", "shop.example", "a.myshopify.com.evil.example", "-x.myshopify.com"])
def test_what_is_no_shop_is_refused(typed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        _installer().begin({"shop": typed}, "s", BACK)
    assert caught.value.field == "shop"
    with pytest.raises(WebhookRejected):
        _installer().begin({"shop": SHOP, "timestamp": str(NOW), "hmac": "0" * 64}, "s", BACK)


def test_shopper_is_whom_the_proxy_names() -> None:
    installer = _installer(PROXY_AT)
    called = _request(f"{PUBLIC}/inapp/shopify/messages?{PROXY}&signature={PROXY_SIGNATURE}")
    assert installer.shopper(called) == Shopper("shop-name.myshopify.com", "1")
    with pytest.raises(WebhookRejected):
        installer.shopper(_request(called.url.replace("customer_id=1", "customer_id=2")))


def test_frame_is_of_this_shop_alone() -> None:
    frame = _installer().frame(SHOP)
    assert frame.ancestors == (f"https://{SHOP}", "https://admin.shopify.com")
    assert frame.scripts == ("https://cdn.shopify.com/shopifycloud/app-bridge.js",)
    assert frame.metas == {"shopify-api-key": CLIENT_ID}
    assert installer_class("shopify") is ShopifyInstaller


def test_app_toml_says_what_the_code_does() -> None:
    told = tomllib.loads(_installer(client_id='id"1').manifest_files(FACTS)["shopify.app.toml"])
    assert (told["client_id"], told["embedded"], len(told["name"])) == ('id"1', True, 30)
    assert told["application_url"] == f"{PUBLIC}/install/shopify/page"
    assert set(told["access_scopes"]["scopes"].split(",")) == set(SCOPES) - {"read_all_orders"}
    assert told["access_scopes"]["optional_scopes"] == ["read_all_orders"]
    assert told["webhooks"]["api_version"] == "2026-10"
    topics, compliance = told["webhooks"]["subscriptions"]
    assert topics["topics"] == list(SUBSCRIBED)
    assert compliance["compliance_topics"] == list(COMPLIANCE)
    assert set(SUBSCRIBED) | set(COMPLIANCE) <= set(TOPICS)
    assert told["app_proxy"] == {"url": f"{PUBLIC}/inapp/shopify", "prefix": "apps", "subpath": "crm"}


def _keys(told: Any, prefix: str = "") -> set[str]:
    if not isinstance(told, dict):
        return {prefix[:-1]}
    return {key for name, below in told.items() for key in _keys(below, f"{prefix}{name}.")}


def test_extension_is_whole() -> None:
    files = {name.removeprefix(f"{EXTENSION}/"): text for name, text in _installer().manifest_files(FACTS).items()}
    assert tomllib.loads(files["shopify.extension.toml"])["type"] == "theme"
    liquid, script = files["blocks/messages.liquid"], files["assets/crm-messages.js"]
    found = re.search(r"{% schema %}(.*){% endschema %}", liquid, re.DOTALL)
    assert found is not None
    schema = json.loads(found[1])
    assert schema["target"] == "body"
    assert {f"assets/{schema['javascript']}", f"assets/{schema['stylesheet']}"} <= set(files)
    words = {name: _keys(json.loads(text)) for name, text in files.items() if name.startswith("locales/")}
    assert words["locales/en.default.json"] == words["locales/zh-CN.json"]
    assert words["locales/en.default.json"] == set(re.findall(r"'([\w.]+)' \| t", liquid))
    assert words["locales/en.default.schema.json"] == words["locales/zh-CN.schema.json"]
    assert words["locales/en.default.schema.json"] == set(re.findall(r'"t:([\w.]+)"', found[1]))
    given = set(re.findall(r"data-(\w+)=", liquid)) - {"side"}
    assert given == set(re.findall(r"dataset\.(\w+)", script))
    assert "innerHTML" not in script
    assert quote(schema["settings"][0]["default"]) == "/apps/crm"
