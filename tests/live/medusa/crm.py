"""Our own application beside the running Medusa: its store connected and read, its page opened in the real admin by a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from crm_plugin.jobs import tasks
from crm_plugin.store.tenants import Shop
from tests.live.application import LiveCrm
from tests.live.machine import chromium
from tests.live.medusa.server import PERSON, SECRET, LiveMedusa

NAME = "teas"


def connect(crm: LiveCrm, live: LiveMedusa) -> Shop:
    """The store, connected by its key and read."""
    told = {"url": live.url, "key": live.key, "webhook_secret": SECRET}
    shop = tasks.add_shop(crm.runtime, name=NAME, platform="medusa", credentials=told, timezone="Asia/Taipei")
    tasks.sync(crm.runtime, shop)
    return shop


def look_into_the_admin(live: LiveMedusa, crm: LiveCrm, folder: Path) -> list[Path]:
    """Sign in to the admin, open our page in it, go on within it, light and dark. Answers the pictures that were taken."""
    taken = []
    with chromium() as browser:
        for scheme, ground in (("light", "rgb(246, 245, 242)"), ("dark", "rgb(20, 20, 18)")):
            page = _signed_in(browser, live, scheme)
            page.get_by_role("link", name="CRM").first.click()
            inner = page.frame_locator('iframe[title="CRM"]')
            expect(inner.get_by_role("heading", level=1)).to_have_text("Today", timeout=20_000)
            frame = next(one for one in page.frames if one.url.startswith(f"{crm.url}/e/"))
            assert f"/s/{NAME}/today" in frame.url
            expect(inner.locator("html")).to_have_css("background-color", ground)
            inner.get_by_role("link", name="Members", exact=True).first.click()
            expect(inner.get_by_role("heading", level=1)).to_have_text("Members")
            expect(inner.get_by_text("a@example.com").first).to_be_visible()
            expect(inner.locator("html")).to_have_css("background-color", ground)
            taken.append(folder / f"admin-{scheme}.png")
            page.screenshot(path=taken[-1])
            page.context.close()
    return taken


def _signed_in(browser: Browser, live: LiveMedusa, scheme: str) -> Page:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1400, "height": 900}, locale="en-GB")
    page = context.new_page()
    page.goto(f"{live.url}/app/login")
    page.locator('input[name="email"]').fill(PERSON["email"])
    page.locator('input[name="password"]').fill(PERSON["password"])
    page.locator('button[type="submit"]').click()
    page.wait_for_url("**/app/orders**", timeout=60_000)
    return page
