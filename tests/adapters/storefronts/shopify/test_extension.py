"""The theme app extension's script in a real browser, in a storefront whose app proxy answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from crm_plugin.adapters.storefronts.shopify.app_files import EXTENSION, extension_files
from tests.web.test_inapp_script import ARGUMENTS

pytestmark = pytest.mark.browser
SHOP = "https://flowers.example"
FILES = extension_files()
WORDS = json.loads(FILES[f"{EXTENSION}/locales/en.default.json"])["messages"]
HTML = f"""<!doctype html><html lang="en"><head><link rel="stylesheet" href="/crm-messages.css"></head><body><h1>Flowers</h1>
<crm-messages data-path="/apps/crm" {" ".join(f'data-{name}="{word}"' for name, word in WORDS.items())} data-side="end"
style="--crm-messages-accent: #1f6b52" lang="en" hidden></crm-messages><script src="/crm-messages.js" defer></script></body></html>"""
UNREAD: dict[str, Any] = {
    "id": 1, "title": "Welcome", "body": "<img src=x onerror=alert(1)>", "url": "/collections/roses", "image_url": "",
    "expires_at": "2027-01-31T12:00:00Z", "read": False,
}  # fmt: skip
READ: dict[str, Any] = {
    "id": 2, "title": "Old", "body": "Read before.", "url": "javascript:alert(1)", "image_url": "javascript:1",
    "expires_at": None, "read": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 800, "height": 600}, locale="en-GB", reduced_motion="reduce")
    yield context.new_page()
    context.close()


def _serve(page: Page, status: int = 200) -> list[str]:
    """Serve the storefront; the calls of its app proxy as they come."""
    called: list[str] = []

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(SHOP)
        if path.startswith("/apps/crm"):
            called.append(f"{route.request.method} {path}")
            route.fulfill(status=status, json={"messages": [UNREAD, READ], "unread": 1})
        elif path.startswith("/crm-messages."):
            kind = "text/css" if path.endswith("css") else "text/javascript"
            route.fulfill(body=FILES[f"{EXTENSION}/assets{path}"], content_type=kind)
        else:
            route.fulfill(body=HTML, content_type="text/html")

    page.route(f"{SHOP}/**", answer)
    page.goto(SHOP)
    return called


def test_messages_are_shown_as_text_and_told_as_read(page: Page) -> None:
    called = _serve(page)
    box = page.get_by_role("region", name="Messages")
    expect(box).to_be_visible()
    cards = box.get_by_role("article")
    expect(cards).to_have_count(2)
    expect(cards.nth(0)).to_contain_text("New · Welcome")
    expect(cards.nth(0)).to_contain_text("<img src=x onerror=alert(1)>")
    expect(cards.nth(0)).to_contain_text("Until January 31, 2027")
    expect(cards.nth(1).get_by_role("link")).to_have_count(0)
    expect(box.locator("img")).to_have_count(0)
    page.wait_for_timeout(1300)
    assert called == ["GET /apps/crm/messages", "POST /apps/crm/messages/1/read"]


def test_closed_message_stays_closed(page: Page) -> None:
    called = _serve(page)
    page.get_by_role("button", name="Close: Welcome").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_role("button", name="Close: Old")).to_be_focused()
    page.reload()
    expect(page.get_by_role("article")).to_have_count(1)
    page.get_by_role("button", name="Close: Old").click()
    expect(page.locator("crm-messages")).to_be_hidden()
    assert "POST /apps/crm/messages/1/read" in called


def test_followed_link_is_told(page: Page) -> None:
    called = _serve(page)
    page.get_by_role("link", name="Have a look").click()
    page.wait_for_url(f"{SHOP}/collections/roses")
    assert "POST /apps/crm/messages/1/click" in called


def test_shop_that_is_not_connected_shows_nothing(page: Page) -> None:
    with page.expect_response(lambda answer: answer.url.endswith("/messages")):
        called = _serve(page, status=404)
    assert called == ["GET /apps/crm/messages"]
    expect(page.locator("crm-messages")).to_be_hidden()
