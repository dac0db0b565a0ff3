"""Our page inside an admin, in a real browser: the admin's side of the bridge is played by a page of another origin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Frame, Page, Route, expect, sync_playwright
from sqlalchemy import update

from crm_plugin.adapters.storefronts.saleor import SaleorInstaller
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import shops
from crm_plugin.store.tenants import Shop
from crm_plugin.web import embedded, site
from crm_plugin.web.server import listening
from tests.adapters.storefronts.saleor import test_install as saleor
from tests.adapters.storefronts.shopify.fake_shop import SHOP, FakeShop
from tests.adapters.storefronts.shopify.test_signatures import id_token
from tests.web.test_inapp_script import ARGUMENTS
from tests.web.test_shopify import store

__all__ = ["store"]
pytestmark = [pytest.mark.browser, pytest.mark.slow]
DASHBOARD, STRANGER, ADMIN = "http://dashboard.localhost", "http://stranger.localhost", "https://admin.shopify.com"
# A page of ours on this machine is framed by one that says it comes from elsewhere.
_LOCAL = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
_LIGHT, _DARK = "rgb(246, 245, 242)", "rgb(20, 20, 18)"

_SALEOR = """<!doctype html><title>Dashboard</title><iframe id="app" src="%(src)s" width="1200" height="800"></iframe><script>
const frame = document.getElementById("app"), app = new URL(frame.src).origin;
window.heard = [];
window.tokens = %(tokens)s;
window.say = (type, payload) => frame.contentWindow.postMessage({ type, payload }, app);
addEventListener("message", (event) => {
  if (event.source !== frame.contentWindow || event.origin !== app) return;
  heard.push(event.data);
  const { type, payload } = event.data;
  if (type === "notifyReady") say("handshake", { token: tokens[0], version: 1, saleorVersion: "3.24.0", dashboardVersion: "3.24.0" });
  say("response", { actionId: payload.actionId, ok: true });
});
</script>"""
_SHOPIFY = """<!doctype html><title>Admin</title><iframe id="app" src="%(src)s" width="1200" height="800"></iframe>"""
_APP_BRIDGE = "window.shopify = { idToken: () => window.freshToken() };"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, _LOCAL])
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(locale="en-GB", reduced_motion="reduce", color_scheme="light")
    yield made
    made.close()


@pytest.fixture
def plugin(app: Flask, runtime: Runtime, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The application, listening where its public address says; jobs are asked for and not done."""
    monkeypatch.setattr(queue, "enqueue", lambda *_args, **_more: True)
    with listening(app, "127.0.0.1", 0) as url:
        site.install(app, site.Site(replace(runtime, config=replace(runtime.config, public_url=url)), queue))
        yield url


def _serve(page: Page, origin: str, html: str) -> None:
    page.route(f"{origin}/**", lambda route: route.fulfill(body=html, content_type="text/html"))


def _shown(page: Page) -> Frame:
    found = page.query_selector("#app")
    assert found is not None
    frame = found.content_frame()
    assert frame is not None
    return frame


def _ground(frame: Frame) -> str:
    return str(frame.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


@pytest.fixture
def connected(runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SaleorInstaller.__init__.__kwdefaults__, "clock", lambda: saleor.NOW)
    told = {**saleor.KEPT, "api_url": saleor.URL, "token": "t", "dashboard_url": f"{DASHBOARD}/dashboard"}
    with runtime.db.write() as connection:
        values = {"platform": "saleor", "reference": saleor.URL, "credentials": runtime.box.seal(told)}
        connection.execute(update(shops).values(**values))


def _page(plugin: str) -> str:
    return (
        f"{plugin}/install/saleor/page?id=QXBwOjE%3D&saleorApiUrl={quote(saleor.URL, safe='')}"
        "&domain=shop.example&theme=dark&locale=zh-Hans"
    )


@pytest.mark.usefixtures("connected")
def test_saleors_dashboard_hands_over_token_theme_and_language(
    context: BrowserContext, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = context.new_page()
    staff = saleor.SIGNED["tokens"]["staff"]
    _serve(page, DASHBOARD, _SALEOR % {"src": _page(plugin), "tokens": json.dumps([staff])})
    page.goto(f"{DASHBOARD}/apps")
    inner = page.frame_locator("#app")
    expect(inner.get_by_role("heading", level=1)).to_have_text("今天")
    frame = _shown(page)
    assert "/s/shop-1/today" in frame.url
    assert (_ground(frame), frame.evaluate("document.documentElement.lang")) == (_DARK, "zh-CN")
    # The dashboard changes its theme, and the next page has it too.
    page.evaluate("say('theme', { theme: 'light' })")
    expect(inner.locator("html")).to_have_css("background-color", _LIGHT)
    inner.get_by_role("link", name="会员", exact=True).first.click()
    expect(inner.get_by_role("heading", level=1)).to_have_text("会员")
    assert _ground(_shown(page)) == _LIGHT
    page.evaluate("say('theme', { theme: 'dark' })")
    expect(inner.locator("html")).to_have_css("background-color", _DARK)
    # What we ask of it: each has an id of its own.
    _shown(page).evaluate("crmSaleor.open('/customers/7')")
    page.wait_for_function("heard.some((one) => one.type === 'redirect')")
    heard = page.evaluate("heard")
    assert {one["type"] for one in heard} == {"notifyReady", "redirect"}
    assert [one["payload"]["to"] for one in heard if one["type"] == "redirect"] == ["/customers/7"]
    assert len({one["payload"]["actionId"] for one in heard}) == len(heard)
    # The visit has run out, and so has the token that the dashboard holds, until it renews it.
    monkeypatch.setattr(embedded, "SECONDS", -1)
    page.evaluate("tokens = ['a.b.c']")
    _shown(page).evaluate("location.reload()")
    expect(inner.locator("[data-slow]")).to_be_visible()
    monkeypatch.undo()
    monkeypatch.setitem(SaleorInstaller.__init__.__kwdefaults__, "clock", lambda: saleor.NOW)
    page.evaluate("(token) => say('tokenRefresh', { token })", staff)
    expect(inner.get_by_role("heading", level=1)).to_have_text("会员")
    frame = _shown(page)
    assert (_ground(frame), frame.evaluate("document.documentElement.lang")) == (_DARK, "zh-CN")


@pytest.mark.usefixtures("connected")
def test_nobody_else_frames_the_page_or_is_listened_to(context: BrowserContext, plugin: str) -> None:
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    _serve(page, STRANGER, _SALEOR % {"src": _page(plugin), "tokens": json.dumps([saleor.SIGNED["tokens"]["staff"]])})
    page.goto(f"{STRANGER}/apps")
    page.wait_for_timeout(500)
    assert any("frame-ancestors" in said for said in complaints), complaints
    assert page.evaluate("heard") == []
    assert plugin not in _shown(page).url


def test_shopifys_app_bridge_is_asked_for_a_token_each_visit(
    context: BrowserContext, plugin: str, shop: Shop, store: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def fresh() -> str:
        now = datetime.now(UTC).timestamp()
        made.append(id_token(iss=f"https://{SHOP}/admin", dest=f"https://{SHOP}", exp=now + 60, nbf=now))
        return made[-1]

    def bridge(route: Route) -> None:
        route.fulfill(body=_APP_BRIDGE, content_type="text/javascript")

    page = context.new_page()
    page.expose_function("freshToken", fresh)
    page.route("https://cdn.shopify.com/shopifycloud/app-bridge.js", bridge)
    # A token in the address is old after a reload.
    src = f"{plugin}/install/shopify/page?shop={SHOP}&id_token=old&embedded=1&locale=zh-CN"
    _serve(page, ADMIN, _SHOPIFY % {"src": src})
    page.goto(f"{ADMIN}/store/flower-shop/apps/crm")
    inner = page.frame_locator("#app")
    expect(inner.get_by_role("heading", level=1)).to_have_text("今天")
    assert "/s/flower-shop/today" in _shown(page).url
    assert len(made) == 1
    inner.get_by_role("link", name="会员", exact=True).first.click()
    expect(inner.get_by_role("heading", level=1)).to_have_text("会员")
    assert len(made) == 1
    # Once the visit has run out the same page comes again, for a new token and by no other keys.
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "SECONDS", -1)
        page.route("**/install/shopify/enter*", lambda route: (patched.undo(), route.continue_()))
        _shown(page).evaluate("location.reload()")
        expect(inner.get_by_role("heading", level=1)).to_have_text("会员")
    assert len(made) == 2
    assert _shown(page).evaluate("document.documentElement.lang") == "zh-CN"
