"""The npm package: it can be packed, its signatures and passes are taken, and it tells again what was not."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.adapters.storefronts import medusa as package
from crm_plugin.adapters.storefronts.medusa import MedusaInstaller, MedusaStorefront, webhooks
from crm_plugin.adapters.storefronts.medusa.webhooks import TOPICS, check_pass
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest, StoreEventKind, Stream
from tests.adapters.storefronts.medusa.conftest import NOW, SECRET

COMPANION = Path(package.__file__).parent / "companion"
SOURCE = COMPANION / ".medusa" / "server" / "src"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")

_SIGN = """
const { signed, pass } = require(process.argv[1] + "/lib/signing.js");
const { deliver, config, idsOf } = require(process.argv[1] + "/subscribers/forward.js");
const body = JSON.stringify({ name: "order.placed", data: { id: "order_1", note: "王 ☕" }, at: "2026-11-24T00:00:00.000Z" });
const seconds = Number(process.argv[2]);
(async () => {
  const run = async (answers) => {
    const told = [], pauses = [];
    const send = async (url, options) => {
      told.push(options.headers["x-crm-delivery"]);
      const status = answers.shift();
      if (!status) throw new Error("reset");
      return { ok: status < 300, status };
    };
    let status;
    try { status = await deliver({ secret: "s", events: "https://x" }, body, "d", send, async (ms) => pauses.push(ms)); }
    catch (error) { status = error.message; }
    return [status, told.length, pauses.length];
  };
  const { GET } = require(process.argv[1] + "/api/store/customers/me/crm/route.js");
  const asked = [];
  const set = { server: "https://crm.example/", events: "https://crm.example/hooks/s/medusa", secret: "shared" };
  const show = async (fetched, customer = "cus_1", options = set) => {
    const said = { headers: {} };
    const response = {
      status(code) { said.status = code; return this; },
      setHeader(name, value) { said.headers[name] = value; },
      json(told) { said.told = told; },
    };
    const plugins = [{ resolve: "crm-plugin-medusa", options }];
    const scope = { resolve: (name) => (name === "logger" ? { warn: (text) => { said.warned = text; } } : { plugins }) };
    globalThis.fetch = async (url, told) => { asked.push([url, told.headers, told.body, told.redirect]); return fetched(); };
    await GET({ scope, auth_context: customer ? { actor_id: customer } : undefined }, response);
    return said;
  };
  const yes = () => ({ ok: true, status: 200, json: async () => ({ token: "t", preferences: "https://crm.example/u/x" }) });
  const shopper = {
    told: await show(yes), unknown: await show(() => ({ ok: false, status: 404 })), down: await show(() => ({ ok: false, status: 500 })),
    lost: await show(() => { throw new Error("reset"); }), nobody: await show(yes, ""), unset: await show(yes, "cus_1", {}), asked,
  };
  console.log(JSON.stringify({
    ids: idsOf({ id: "order_1", order_id: "o", no_notification: false, email: "a@x.example", items: [{ id: "i" }] }),
    shopper, body, headers: signed("shared", "d-1", body, seconds), events: config.event,
    token: pass("shared", "live", "user_1", seconds + 120),
    taken: await run([0, 503, 429, 204]), refused: await run([401, 204]),
    lost: await run([0, 0, 0, 0, 0]), down: await run([500, 500, 500, 500, 500]),
  }));
})();
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    done = subprocess.run(
        ["node", "-e", _SIGN, str(SOURCE), str(int(NOW.timestamp()))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _request(told: dict[str, Any], **headers: str) -> RawRequest:
    return RawRequest(
        "POST", "https://crm.example/events/s/medusa", {**told["headers"], **headers}, told["body"].encode()
    )


@needs_node
@pytest.mark.slow
def test_what_it_signs_is_taken(
    storefront: MedusaStorefront, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = _request(told)
    storefront.verify_webhook(request)
    (event,) = storefront.parse_webhook(request)
    assert (event.kind, event.stream, event.external_id, event.key) == (
        StoreEventKind.CHANGED,
        Stream.ORDERS,
        "order_1",
        "d-1",
    )
    assert event.at == NOW
    for forged in (
        _request(told, **{"x-crm-delivery": "d-2"}),
        _request(told, **{"x-crm-timestamp": str(int(NOW.timestamp()) + 1)}),
        _request(told, **{"x-crm-signature": ""}),
        RawRequest("POST", "", told["headers"], told["body"].encode() + b" "),
        RawRequest("POST", "", {}, told["body"].encode()),
    ):
        with pytest.raises(WebhookRejected) as caught:
            storefront.verify_webhook(forged)
        assert caught.value.status == 401
    monkeypatch.setattr(MedusaStorefront, "clock", staticmethod((NOW + timedelta(minutes=6)).timestamp))
    with pytest.raises(WebhookRejected, match="too old"):
        storefront.verify_webhook(request)
    unset = MedusaStorefront({"url": "https://x.example", "key": "k"})
    with pytest.raises(WebhookRejected):
        unset.verify_webhook(request)


@needs_node
@pytest.mark.slow
def test_storefront_is_told_what_shows_its_customer_their_messages(told: dict[str, Any]) -> None:
    shopper = told["shopper"]
    assert shopper["told"]["told"] == {
        "script": "https://crm.example/static/inapp.js",
        "token": "t",
        "preferences": "https://crm.example/u/x",
    }
    assert shopper["told"]["headers"] == {"Cache-Control": "no-store"}
    assert [shopper[name]["status"] for name in ("unknown", "down", "lost", "nobody", "unset")] == [
        404, 503, 503, 404, 404,
    ]  # fmt: skip
    assert len(shopper["asked"]) == 4
    url, headers, body, redirect = shopper["asked"][0]
    assert (url, redirect) == ("https://crm.example/hooks/s/medusa/shopper", "error")
    request = RawRequest("POST", url, headers, body.encode())
    at = json.loads(body)["at"]
    assert webhooks.shopper(request, SECRET, at) == "cus_1"
    with pytest.raises(WebhookRejected):
        webhooks.shopper(request, SECRET, at + 301)
    event = _request(told, **{"x-crm-proof": told["headers"]["x-crm-signature"]})
    with pytest.raises(WebhookRejected):
        webhooks.shopper(event, SECRET, at)


@needs_node
@pytest.mark.slow
def test_it_tells_again_what_was_not_taken(told: dict[str, Any]) -> None:
    assert told["taken"] == [204, 4, 3]
    assert told["refused"] == [401, 1, 0]
    assert told["lost"] == ["reset", 5, 4]
    assert told["down"] == [0, 5, 4]
    assert set(told["events"]) == set(TOPICS)
    assert told["ids"] == {"id": "order_1", "order_id": "o"}


@needs_node
@pytest.mark.slow
def test_its_pass_is_good_for_two_minutes(told: dict[str, Any]) -> None:
    now = NOW.timestamp()
    found = check_pass(told["token"], SECRET, now)
    assert (found.store, found.actor) == ("live", "user_1")
    payload, tail = told["token"].split(".")
    for token, secret, at in (
        (told["token"], SECRET, now + 121), (told["token"], "other", now), (told["token"], "", now),
        (f"{payload[:-1]}.{tail}", SECRET, now),
        (payload, SECRET, now),
    ):  # fmt: skip
        with pytest.raises(WebhookRejected):
            check_pass(token, secret, at)


@needs_node
@pytest.mark.slow
def test_who_opens_the_page_is_told_by_the_pass(told: dict[str, Any]) -> None:
    kept = {"webhook_secret": SECRET, "url": "https://api.shop.example/"}
    installer = MedusaInstaller({}, "https://crm.example", clock=NOW.timestamp)
    request = RawRequest("GET", "", {"authorization": f"Bearer {told['token']}"}, b"")
    with pytest.raises(WebhookRejected, match="not connected"):
        installer.visit(request)
    installer.known = lambda reference: kept if reference == "live" else None  # type: ignore[method-assign,assignment]
    visitor = installer.visit(request)
    assert visitor is not None
    assert (visitor.reference, visitor.user, visitor.expires_in) == ("live", "user_1", 120)
    assert installer.visit(RawRequest("GET", "", {}, b"")) is None
    assert installer.named(RawRequest("GET", "https://crm.example/install/medusa/page?store=live", {}, b"")) == "live"
    assert MedusaInstaller.reference_of("https://API.shop.example/app/") == "https://api.shop.example"
    assert installer.named(RawRequest("GET", "https://crm.example/install/medusa/page?store=http://[", {}, b"")) == ""
    frame = installer.frame("live")
    assert frame.ancestors == ("https://api.shop.example",)
    assert frame.scripts == ("https://crm.example/static/medusa-bridge.js",)
    assert installer.frame("other").ancestors == ()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"name": "payment.captured", "data": {"id": "pay_1", "order_id": "order_1"}}, ("changed", "order_1")),
        ({"name": "payment.captured", "data": {"id": "pay_1"}}, ("unknown", "")),
        ({"name": "customer.deleted", "data": {"id": "cus_1"}}, ("deleted", "cus_1")),
        ({"name": "ping", "data": {}}, ("ping", "")),
        ({"name": "cart.updated", "data": {"id": "cart_1"}}, ("unknown", "")),
    ],
)
def test_events_are_read(storefront: MedusaStorefront, body: dict[str, Any], found: tuple[str, str]) -> None:
    (event,) = storefront.parse_webhook(RawRequest("POST", "", {"x-crm-delivery": "d"}, json.dumps(body).encode()))
    assert (event.kind.value, event.external_id) == found


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name": 1, "data": {}}', b'{"name": "order.placed"}'])
def test_unreadable_event_is_refused(storefront: MedusaStorefront, body: bytes) -> None:
    with pytest.raises(WebhookRejected) as caught:
        storefront.parse_webhook(RawRequest("POST", "", {}, body))
    assert caught.value.status == 400


@needs_node
@pytest.mark.slow
def test_package_can_be_packed(tmp_path: Path) -> None:
    for file in SOURCE.rglob("*.*js"):
        subprocess.run(["node", "--check", str(file)], check=True, capture_output=True, timeout=60)
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = ["npm", "pack", str(COMPANION), "--json", "--dry-run", "--offline", "--cache", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120)
    packed = {one["path"] for one in json.loads(done.stdout)[0]["files"]}
    wanted = {file.relative_to(COMPANION).as_posix() for file in COMPANION.rglob("*") if file.is_file()}
    assert packed == wanted
