"""Coming in from Saleor: the token and its call back, visits in the dashboard's frame, webhooks, and leaving."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

import crm_plugin
from crm_plugin.adapters.storefronts.installing import AppFacts
from crm_plugin.adapters.storefronts.saleor import SaleorInstaller, SaleorStorefront
from crm_plugin.adapters.storefronts.saleor.adapter import PERMISSIONS
from crm_plugin.errors import InvalidInput, WebhookRejected
from crm_plugin.records import RawRequest, StoreEventKind, Stream
from tests.adapters.storefronts.saleor.fake_saleor import APP, TOKEN, URL, FakeSaleor

SIGNED: dict[str, Any] = json.loads((Path(__file__).parent / "payloads" / "signed.json").read_text(encoding="utf-8"))
NOW = 1795400000.0


def _installer(allowed: str = URL, kept: dict[str, Any] | None = None) -> SaleorInstaller:
    made = SaleorInstaller(
        {"allowed_api_urls": allowed}, "https://crm.example", clock=lambda: NOW, look_up=lambda *_: ["10.0.0.7"]
    )
    made.known = lambda reference: kept if reference == URL else None  # type: ignore[method-assign,assignment]
    return made


def _post(body: Any = None, api_url: str = URL, **headers: str) -> RawRequest:
    told = {"saleor-api-url": api_url, "saleor-domain": "shop.example", **headers}
    return RawRequest(
        "POST", "https://crm.example/install/saleor/token", told, json.dumps(body or {"auth_token": TOKEN}).encode()
    )


def test_token_is_taken_when_its_saleor_vouches_for_it(saleor: FakeSaleor) -> None:
    saleor.jwks = SIGNED["jwks"]
    found = _installer().finish(_post(), {}, "")
    assert (found.reference, found.url, found.title) == (URL, "https://shop.example", "shop.example")
    assert found.credentials == {"api_url": URL, "token": TOKEN, "app_id": APP, "jwks": SIGNED["jwks"]}
    assert found.scopes == frozenset(saleor.permissions)
    assert SaleorStorefront(found.credentials).check() == []


def test_another_apps_token_takes_no_place_while_ours_is_alive(saleor: FakeSaleor) -> None:
    saleor.jwks = SIGNED["jwks"]
    kept = {"app_id": "QXBwOjk5", "token": TOKEN}
    with pytest.raises(WebhookRejected, match="another app") as caught:
        _installer(kept=kept).finish(_post(), {}, "")
    assert caught.value.status == 403
    # Ours was deleted there and installed anew: the old token is dead.
    assert _installer(kept={**kept, "token": "dead"}).finish(_post(), {}, "").credentials["app_id"] == APP


def test_other_tokens_are_refused(saleor: FakeSaleor) -> None:
    saleor.jwks = SIGNED["jwks"]
    for request, status in (
        (_post({"auth_token": "forged"}), 403),
        (_post({"auth_token": ""}), 400),
        (_post({"auth_token": ["x"]}), 400),
        (_post([1]), 400),
        (_post(api_url="https://other.example/graphql/"), 403),
        (_post(api_url=""), 403),
    ):
        with pytest.raises(WebhookRejected) as caught:
            _installer().finish(request, {}, "")
        assert caught.value.status == status
        assert TOKEN not in caught.value.message


@pytest.mark.parametrize(
    "api_url",
    ["http://shop.example/graphql/", "https://inner.example/graphql/", "https://u:p@shop.example/graphql/", "ftp://x"],
)
def test_without_a_list_only_the_public_internet_is_called(saleor: FakeSaleor, api_url: str) -> None:
    with pytest.raises(WebhookRejected):
        _installer(allowed="").finish(_post(api_url=api_url), {}, "")
    assert saleor.calls == []


@pytest.mark.parametrize(
    "fault", [requests.ConnectionError("reset"), (500, {}, ""), (200, {}, "{}"), (302, {"Location": "/"}, "")]
)
def test_install_cut_off_leaves_nothing(saleor: FakeSaleor, fault: Any) -> None:
    saleor.faults = [fault]
    with pytest.raises(WebhookRejected) as caught:
        _installer().finish(_post(), {}, "")
    assert caught.value.status == 403
    # Saleor that publishes no keys could never be believed later.
    with pytest.raises(WebhookRejected, match="no keys"):
        _installer().finish(_post(), {}, "")


def test_manifest_asks_for_what_is_used() -> None:
    facts = AppFacts("crm-plugin", "0.1.0", "CRM plugin", "Knows members.", "", PERMISSIONS)
    told = json.loads(_installer().manifest_files(facts)["manifest.json"])
    assert (told["id"], told["version"], told["permissions"]) == ("crm-plugin", "0.1.0", list(PERMISSIONS))
    assert told["tokenTargetUrl"].startswith("https://crm.example/")
    events = [event for hook in told["webhooks"] for event in hook["asyncEvents"]]
    assert len(events) == len(set(events))
    assert {"APP_DELETED", "APP_STATUS_CHANGED", "ORDER_FULLY_PAID", "CUSTOMER_METADATA_UPDATED"} <= set(events)
    for hook in told["webhooks"]:
        assert hook["query"].count("{") == hook["query"].count("}")
        assert "fragment Told on Event" in hook["query"]
    fewer = AppFacts("crm-plugin", "0.1.0", "CRM plugin", "", "", {"MANAGE_USERS": True})
    told = json.loads(_installer().manifest_files(fewer)["manifest.json"])
    assert [hook["name"].split(": ")[1] for hook in told["webhooks"]] == ["Members", "App"]


def test_dashboard_is_told_where_the_manifest_is() -> None:
    address = _installer().begin({"dashboard": "https://shop.example/dashboard/"}, "s", "b")
    assert (
        address
        == "https://shop.example/dashboard/apps/install?manifestUrl=https%3A%2F%2Fcrm.example%2Finstall%2Fsaleor%2Fmanifest.json"
    )
    with pytest.raises(InvalidInput):
        _installer().begin({"dashboard": "javascript:x"}, "s", "b")


def _visit(token: str) -> RawRequest:
    return RawRequest("GET", "https://crm.example/install/saleor/page", {"authorization": f"Bearer {token}"}, b"")


KEPT = {"app_id": APP, "jwks": SIGNED["jwks"]}


def test_visitor_is_whom_the_token_names() -> None:
    visitor = _installer(kept=KEPT).visit(_visit(SIGNED["tokens"]["staff"]))
    assert visitor is not None
    assert (visitor.reference, visitor.user, visitor.may_manage, visitor.expires_in) == (
        URL,
        "staff@example.com",
        True,
        300,
    )
    assert _installer(kept=KEPT).visit(RawRequest("GET", "https://crm.example/", {}, b"")) is None


@pytest.mark.parametrize(
    ("token", "kept", "status"),
    [
        ("staff", None, 401),
        ("staff", {"app_id": "QXBwOjk=", "jwks": SIGNED["jwks"]}, 401),
        ("otherApp", KEPT, 401),
        ("noType", KEPT, 401),
        ("cashier", KEPT, 403),
    ],
)
def test_other_visitors_are_refused(token: str, kept: dict[str, Any] | None, status: int) -> None:
    with pytest.raises(WebhookRejected) as caught:
        _installer(kept=kept).visit(_visit(SIGNED["tokens"][token]))
    assert caught.value.status == status


def test_only_the_dashboard_frames_the_page() -> None:
    assert _installer(kept=KEPT).frame(URL).ancestors == ("https://shop.example",)
    elsewhere = _installer(kept={**KEPT, "dashboard_url": "https://staff.example/dashboard"}).frame(URL)
    assert elsewhere.ancestors == ("https://staff.example",)
    assert elsewhere.scripts == ("https://crm.example/static/saleor-bridge.js",)


def _store(**values: Any) -> SaleorStorefront:
    return SaleorStorefront({"api_url": URL, "token": TOKEN, **KEPT, **values})


def _hook(name: str, event: str, **headers: str) -> RawRequest:
    told = SIGNED["webhooks"][name]
    given = {"saleor-api-url": URL, "saleor-event": event, "saleor-signature": told["signature"], **headers}
    return RawRequest("POST", "https://crm.example/events/saleor", given, told["body"].encode())


def test_webhook_says_what_to_look_at() -> None:
    request = _hook("customer", "customer_updated")
    assert SaleorStorefront.addressed(request) == URL
    store = _store()
    store.verify_webhook(request)
    (event,) = store.parse_webhook(request)
    assert (event.kind, event.stream, event.external_id, event.is_own) == (
        StoreEventKind.CHANGED,
        Stream.MEMBERS,
        "VXNlcjo0Ng==",
        False,
    )
    (again,) = store.parse_webhook(request)
    assert again.key == event.key
    (own,) = store.parse_webhook(_hook("own", "customer_metadata_updated"))
    assert own.is_own
    assert own.key != event.key
    (unknown,) = store.parse_webhook(_hook("own", "gift_card_created"))
    assert unknown.kind is StoreEventKind.UNKNOWN


def test_webhook_for_others_is_refused() -> None:
    for store, request in (
        (_store(app_id="QXBwOjk="), _hook("customer", "customer_updated")),
        (_store(api_url="https://other.example/graphql/"), _hook("customer", "customer_updated")),
        (_store(), _hook("customer", "customer_updated", **{"saleor-signature": ""})),
        (
            _store(jwks={"keys": []}, webhook_secret="old"),
            _hook("customer", "customer_updated", **{"saleor-signature": "00ff"}),
        ),
    ):
        with pytest.raises(WebhookRejected):
            store.verify_webhook(request)


@pytest.mark.parametrize(
    ("event", "body", "found"),
    [
        ("app_deleted", {"app": {"id": APP, "isActive": False}}, [("uninstalled", "")]),
        ("app_deleted", {"app": {"id": "QXBwOjk=", "isActive": False}}, []),
        ("app_status_changed", {"app": {"id": APP, "isActive": False}}, [("suspended", "")]),
        ("app_status_changed", {"app": {"id": APP, "isActive": True}}, [("resumed", "")]),
        ("account_deleted", {"user": {"id": "VXNlcjox"}}, [("deleted", "VXNlcjox")]),
        ("order_bulk_created", {"orders": [{"id": "a"}, {"id": "b"}]}, [("changed", "a"), ("changed", "b")]),
        (
            "product_updated",
            {"product": {"id": "p", "variants": [{"id": "v"}, {"id": "w"}]}},
            [("changed", "v"), ("changed", "w")],
        ),
    ],
)
def test_events_are_read(event: str, body: dict[str, Any], found: list[tuple[str, str]]) -> None:
    told = {"issuedAt": "2026-11-22T05:09:09+00:00", "recipient": {"id": APP}, **body}
    request = RawRequest("POST", "", {"saleor-event": event}, json.dumps(told).encode())
    assert [(one.kind.value, one.external_id) for one in _store().parse_webhook(request)] == found


@pytest.mark.parametrize("body", [b"", b"[]", b'{"user": null}', b'{"user": {"id": 7}}'])
def test_unreadable_webhook_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRejected) as caught:
        _store().parse_webhook(RawRequest("POST", "", {"saleor-event": "customer_updated"}, body))
    assert caught.value.status == 400


_BRIDGE = """
const fs = require("fs"), vm = require("vm");
const sent = [], told = [], listeners = {};
const parent = { postMessage: (data, to) => sent.push([data.type, typeof data.payload.actionId, to]) };
const document = {
  documentElement: { dataset: {} },
  querySelector: () => ({ content: "https://shop.example" }),
  dispatchEvent: (event) => told.push([event.name, event.detail]),
};
const window = {
  parent, location: { search: "?theme=dark&locale=zh_Hans" }, crypto: { randomUUID: () => "uuid" },
  CustomEvent: function (name, init) { this.name = name; this.detail = init.detail; },
  addEventListener: (name, f) => { listeners[name] = f; },
  fetch: (address, options) => told.push([address, options.headers.Authorization, options.credentials]),
};
vm.runInNewContext(fs.readFileSync(process.argv[1], "utf8"), { window, document, URLSearchParams, Object });
const say = (data, origin, source) => listeners.message({ data, origin, source });
say({ type: "handshake", payload: { token: "evil.evil.evil" } }, "https://evil.example", parent);
say({ type: "handshake", payload: { token: "evil.evil.evil" } }, "https://shop.example", {});
say({ type: "handshake", payload: { token: "a.b.c" } }, "https://shop.example", parent);
say({ type: "tokenRefresh", payload: { token: "d.e.f" } }, "https://shop.example", parent);
say({ type: "theme", payload: { theme: "light" } }, "https://shop.example", parent);
say({ type: "toString" }, "https://shop.example", parent);
window.crmSaleor.fetch("/x");
console.log(JSON.stringify({ sent, told, theme: document.documentElement.dataset.theme }));
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_bridge_listens_to_the_dashboard_alone() -> None:
    script = Path(crm_plugin.__file__).parent / "web" / "static" / "saleor-bridge.js"
    done = subprocess.run(["node", "-e", _BRIDGE, str(script)], capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert found["sent"] == [["notifyReady", "string", "https://shop.example"]]
    assert found["told"] == [
        ["crm:theme", "dark"], ["crm:locale", "zh-Hans"], ["crm:visit", "a.b.c"], ["crm:token", "d.e.f"], ["crm:theme", "light"],
        ["/x", "Bearer d.e.f", "omit"],
    ]  # fmt: skip
    assert found["theme"] == "light"
