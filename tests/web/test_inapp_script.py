"""The storefront's script in a real browser, in a page of another origin under a strict policy, against the real application."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright
from sqlalchemy import insert, select, update

from crm_plugin.adapters.storefronts.saleor import SaleorStorefront
from crm_plugin.runtime import Runtime
from crm_plugin.store import inapp_messages, members, shops, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import tokens
from crm_plugin.web.server import listening
from tests.factories import NOON, member, write
from tests.web.test_shopper import CUSTOMERS

pytestmark = pytest.mark.browser
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LARGEST = 6 * 1024


class Storefront:
    """A shop's own pages; `html` is what they hold, served under a policy that allows the plugin's origin and nothing else."""

    def __init__(self) -> None:
        self.html = ""
        self.plugin = ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def policy(self) -> str:
        return f"default-src 'none'; script-src {self.plugin}; connect-src {self.plugin}; img-src 'self' {self.plugin}"


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, front: Storefront, *rest: Any) -> None:
        self._front = front
        super().__init__(*rest)

    def do_GET(self) -> None:
        body = self._front.html.encode() if self.path in ("/", "/sale") else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", self._front.policy)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def plugin(app: Flask) -> Iterator[str]:
    """The application, listening."""
    with listening(app, "127.0.0.1", 0) as url:
        yield url


@pytest.fixture
def front(plugin: str) -> Iterator[Storefront]:
    served = Storefront()
    served.plugin = plugin
    thread = threading.Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield launched
        launched.close()


class Visit:
    """A customer's tab: what it complained of and what it asked the plugin."""

    def __init__(self, browser: Browser, front: Storefront, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.asked.append((asked.method, asked.url.removeprefix(front.plugin))))
        self.url = front.url

    def open(self) -> Page:
        self.page.goto(self.url)
        return self.page

    def marks(self) -> list[str]:
        """The posts to the plugin, in order."""
        return [path for method, path in self.asked if method == "POST"]


@pytest.fixture
def visit(browser: Browser, front: Storefront) -> Iterator[Visit]:
    one = Visit(browser, front, locale="en-GB", reduced_motion="reduce")
    yield one
    one.context.close()


@pytest.fixture
def ada(runtime: Runtime, shop: Shop) -> int:
    write(runtime.db, shop, [member("1", first_name="Ada")])
    with runtime.db.read() as connection:
        return int(connection.execute(select(members.c.member_id)).scalar_one())


@pytest.fixture
def token(runtime: Runtime, ada: int) -> str:
    return tokens.member(runtime.box, 1, ada)


def _keep(runtime: Runtime, member_id: int, message_id: int, title: str, **values: Any) -> None:
    """A message, and the touchpoint that it came from."""
    at = NOON - timedelta(days=9 - message_id)
    row = {
        "shop_id": 1, "message_id": message_id, "touchpoint_key": f"k{message_id}", "member_id": member_id, "title": title,
        "body": f"Line of {title}", "created_at": at, **values,
    }  # fmt: skip
    sent = {
        "shop_id": 1, "touchpoint_id": message_id, "journey_key": "greet", "member_id": member_id,
        "occasion": str(message_id), "state": "accepted", "channel": "inapp", "adapter": "inapp", "address": "1",
        "occasion_on": NOON.date(), "due_at": at, "next_try_at": at, "valid_until": at, "planned_at": at,
        "updated_at": at, "provider_message_id": str(message_id),
    }  # fmt: skip
    with runtime.db.write() as connection:
        connection.execute(insert(inapp_messages).values(**row))
        connection.execute(insert(touchpoints).values(**sent))


def _marked(runtime: Runtime) -> dict[int, tuple[bool, bool]]:
    """Message → read, clicked."""
    c = inapp_messages.c
    with runtime.db.read() as connection:
        rows = connection.execute(select(c.message_id, c.read_at, c.clicked_at).order_by(c.message_id))
        return {row.message_id: (row.read_at is not None, row.clicked_at is not None) for row in rows}


def _html(front: Storefront, token: str, body: str = "", *, lang: str = "en", attributes: str = "") -> None:
    script = f'<script src="{front.plugin}/static/inapp.js" data-token="{token}" {attributes}></script>'
    front.html = (
        f'<!doctype html><html lang="{lang}"><title>Shop</title><body><h1>Shop</h1>{body}{script}</body></html>'
    )


def test_it_is_small(runtime: Runtime, plugin: str, front: Storefront, visit: Visit) -> None:
    answer = visit.context.request.get(f"{plugin}/static/inapp.js")
    assert answer.ok
    assert answer.headers["content-type"].startswith("text/javascript")
    assert len(answer.body()) <= LARGEST


def test_cards_are_shown_and_marked_read(
    runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit
) -> None:
    ends = datetime.fromisoformat("2099-03-14T12:00:00+00:00")
    _keep(runtime, ada, 1, "Older & wiser", url="/sale")
    _keep(runtime, ada, 2, "Newer <b>one</b>", image_url="/picture.png", expires_at=ends)
    _html(front, token, attributes="async")
    page = visit.open()
    cards = page.get_by_role("list", name="Messages").get_by_role("listitem")
    expect(cards).to_have_count(2)
    assert cards.nth(0).inner_text().split("\n")[0] == "New · Newer <b>one</b>"
    assert "Line of Newer <b>one</b>" in cards.nth(0).inner_text()
    assert "Until March 14, 2099" in cards.nth(0).inner_text()
    assert cards.nth(0).locator("img").get_attribute("src") == "/picture.png"
    assert cards.nth(0).get_by_role("link").count() == 0
    assert cards.nth(1).get_by_role("link", name="Have a look").get_attribute("href") == "/sale"
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter(e => e.name.endsWith('/read')).length === 2"
    )
    assert _marked(runtime) == {1: (True, False), 2: (True, False)}
    with runtime.db.read() as connection:
        assert set(connection.execute(select(touchpoints.c.state)).scalars()) == {"delivered"}
    assert sorted(visit.marks()) == ["/inapp/messages/1/read", "/inapp/messages/2/read"]
    assert visit.complaints == []


def test_styles_hold_under_a_strict_policy(
    runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit
) -> None:
    _keep(runtime, ada, 1, "Wish", url="/sale")
    _html(front, token)
    page = visit.open()
    card = page.locator("crm-inbox li")
    expect(card).to_have_css("border-radius", "10px")
    expect(page.locator("crm-inbox")).to_have_css("position", "fixed")
    expect(card).to_have_css("animation-name", "none")
    light = card.evaluate("e => getComputedStyle(e).backgroundColor")
    page.emulate_media(color_scheme="dark")
    dark = card.evaluate("e => getComputedStyle(e).backgroundColor")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(18, 18, 18)")
    page.emulate_media(reduced_motion="no-preference")
    expect(card).to_have_css("animation-name", "i")
    page.evaluate("document.querySelector('crm-inbox').style.setProperty('--crm-inbox-surface', 'rgb(1, 2, 3)')")
    expect(card).to_have_css("background-color", "rgb(1, 2, 3)")
    assert visit.complaints == []


def test_click_is_noted_though_the_page_is_left(
    runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit
) -> None:
    _keep(runtime, ada, 1, "Wish", url="/sale")
    _html(front, token)
    page = visit.open()
    page.get_by_role("link", name="Have a look").click()
    page.wait_for_url(f"{front.url}/sale")
    for _ in range(50):
        if _marked(runtime)[1][1]:
            break
        page.wait_for_timeout(100)
    assert _marked(runtime) == {1: (True, True)}
    assert visit.marks() == ["/inapp/messages/1/click"]


def test_closed_card_stays_closed(runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit) -> None:
    for number in (1, 2):
        _keep(runtime, ada, number, f"Wish {number}")
    _html(front, token)
    page = visit.open()
    page.get_by_role("button", name="Close: Wish 2").focus()
    page.keyboard.press("Enter")
    expect(page.locator("crm-inbox li")).to_have_count(1)
    expect(page.get_by_role("button", name="Close: Wish 1")).to_be_focused()
    page = visit.open()
    expect(page.locator("crm-inbox li")).to_have_count(1)
    page.get_by_role("button", name="Close: Wish 1").click()
    expect(page.locator("crm-inbox")).to_be_hidden()
    page.wait_for_timeout(300)
    assert _marked(runtime) == {1: (True, False), 2: (True, False)}


def test_placed_inbox_speaks_chinese_and_tells_its_count(
    runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit
) -> None:
    _keep(runtime, ada, 1, "生日快乐", url="/sale")
    _html(front, token, '<main><crm-inbox open-label="领取"></crm-inbox></main>', lang="zh-CN")
    visit.page.add_init_script(
        "window.told = []; addEventListener('crm-inbox', event => told.push([event.detail.count, event.detail.unread]))"
    )
    page = visit.open()
    expect(page.locator("main crm-inbox li")).to_have_count(1)
    assert page.locator("crm-inbox").count() == 1
    expect(page.locator("crm-inbox")).to_have_css("position", "static")
    expect(page.get_by_role("link", name="领取")).to_be_visible()
    expect(page.get_by_role("button", name="关闭: 生日快乐")).to_be_visible()
    page.wait_for_function("() => told.length === 2")
    assert page.evaluate("told") == [[1, 1], [1, 0]]


def test_unsafe_addresses_are_no_links(runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit) -> None:
    for number, url in enumerate(("javascript:alert(1)", "//evil.example", "/\\evil.example", "data:text/html,x"), 1):
        _keep(runtime, ada, number, f"Wish {number}", url=url, image_url=url)
    _html(front, token)
    page = visit.open()
    expect(page.locator("crm-inbox li")).to_have_count(4)
    assert page.locator("crm-inbox a, crm-inbox img").count() == 0


_ASK = """async ([address, token]) => {
  const asked = await fetch(address, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (asked.ok) document.querySelector("crm-inbox").setAttribute("token", (await asked.json()).token);
  return asked.status;
}"""


def test_headless_storefront_asks_with_its_customers_token(
    runtime: Runtime, ada: int, front: Storefront, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a page of Saleor's does, from an origin that the merchant has named; elsewhere the browser itself keeps it away."""
    monkeypatch.setattr(SaleorStorefront, "clock", staticmethod(lambda: 1795400000.0))
    _keep(runtime, ada, 1, "Wish")
    told = {"api_url": "https://shop.example/graphql/", "token": "t", "jwks": CUSTOMERS["jwks"]}

    def connect(origins: str) -> None:
        kept = runtime.box.seal({**told, "storefront_origins": origins})
        with runtime.db.write() as connection:
            connection.execute(update(shops).values(platform="saleor", credentials=kept))

    with runtime.db.write() as connection:
        connection.execute(update(members).values(external_id="VXNlcjo0Ng=="))
    connect(front.url)
    front.html = (
        f'<!doctype html><main><crm-inbox></crm-inbox></main><script src="{front.plugin}/static/inapp.js"></script>'
    )
    page, asked = visit.open(), [f"{front.plugin}/hooks/shop-1/saleor/shopper", CUSTOMERS["tokens"]["customer"]]
    assert page.evaluate(_ASK, asked) == 200
    expect(page.locator("main crm-inbox li h3")).to_have_text(re.compile("Wish"))
    page.get_by_role("button", name="Close: Wish").click()
    expect(page.locator("crm-inbox")).to_be_hidden()
    assert visit.marks() == ["/hooks/shop-1/saleor/shopper", "/inapp/messages/1/read"]
    assert page.evaluate(_ASK, [asked[0], CUSTOMERS["tokens"]["refresh"]]) == 401
    connect("https://another.example")
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate(_ASK, asked)


def test_what_runs_out_goes_by_itself(runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit) -> None:
    _keep(runtime, ada, 1, "Wish")
    _html(front, token)
    page = visit.page
    page.clock.install(time=NOON)
    with runtime.db.write() as connection:
        connection.execute(update(inapp_messages).values(expires_at=NOON + timedelta(minutes=5)))
    visit.open()
    expect(page.locator("crm-inbox li")).to_have_count(1)
    page.clock.fast_forward("06:00")
    expect(page.locator("crm-inbox")).to_be_hidden()


def test_customers_wrong_clock_hides_nothing(
    runtime: Runtime, ada: int, token: str, front: Storefront, visit: Visit
) -> None:
    _keep(runtime, ada, 1, "Wish", expires_at=NOON + timedelta(days=1))
    _html(front, token)
    visit.page.clock.install(time=NOON + timedelta(days=400))
    page = visit.open()
    expect(page.locator("crm-inbox li")).to_have_count(1)
    page.clock.fast_forward(5000)
    expect(page.locator("crm-inbox li")).to_be_visible()


def test_nothing_for_a_bad_token_or_nobody(runtime: Runtime, ada: int, front: Storefront, visit: Visit) -> None:
    _keep(runtime, ada, 1, "Wish")
    _html(front, "forged")
    page = visit.page
    with page.expect_response("**/inapp/messages") as refused:
        visit.open()
    assert refused.value.status == 401
    page.wait_for_timeout(200)
    assert page.locator("crm-inbox li").count() == 0
    assert any("crm-inbox: 401" in said for said in visit.complaints)
    _html(front, "")
    page = visit.open()
    page.wait_for_timeout(200)
    assert page.locator("crm-inbox").count() == 0
    assert _marked(runtime) == {1: (False, False)}


def test_another_customer_sees_their_own(
    runtime: Runtime, shop: Shop, ada: int, token: str, front: Storefront, visit: Visit
) -> None:
    write(runtime.db, shop, [member("2", first_name="Bo")])
    with runtime.db.read() as connection:
        bo = connection.execute(select(members.c.member_id).where(members.c.external_id == "2")).scalar_one()
    _keep(runtime, ada, 1, "For Ada")
    _keep(runtime, bo, 2, "For Bo")
    _html(front, token)
    page = visit.open()
    expect(page.locator("crm-inbox li h3")).to_have_text(re.compile("For Ada"))
    page.evaluate(
        "told => document.querySelector('crm-inbox').setAttribute('token', told)", tokens.member(runtime.box, 1, bo)
    )
    expect(page.locator("crm-inbox li h3")).to_have_text(re.compile("For Bo"))
    page.evaluate("document.querySelector('crm-inbox').removeAttribute('token')")
    expect(page.locator("crm-inbox")).to_be_hidden()
