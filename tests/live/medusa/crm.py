"""Our own application beside the running Medusa: its store connected and read, its page opened in the real admin by a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.fernet import Fernet
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import insert, select

from crm_plugin.app import create_app
from crm_plugin.clock import SystemClock
from crm_plugin.config import Config
from crm_plugin.jobs import tasks
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import inapp_messages, members, migrate
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database, make_engine
from crm_plugin.store.tenants import Shop
from crm_plugin.web.server import listening
from tests.live.medusa.server import PERSON, SECRET, LiveMedusa

NAME = "teas"
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass
class LiveCrm:
    """The running application; `url` is its address."""

    runtime: Runtime
    queue: Queue
    url: str

    def connect(self, live: LiveMedusa) -> Shop:
        """The store, connected by its key and read."""
        told = {"url": live.url, "key": live.key, "webhook_secret": SECRET}
        shop = tasks.add_shop(self.runtime, name=NAME, platform="medusa", credentials=told, timezone="Asia/Taipei")
        tasks.sync(self.runtime, shop)
        return shop

    def write_to(self, shop: Shop, customer: str, title: str) -> None:
        """An in-app message for one customer."""
        whose = select(members.c.member_id).where(members.c.shop_id == shop.shop_id, members.c.external_id == customer)
        with self.runtime.db.write() as connection:
            row = {"shop_id": shop.shop_id, "message_id": 1, "touchpoint_key": "test:1", "title": title, "body": "Tea"}
            member = connection.execute(whose).scalar_one()
            values = {**row, "member_id": member, "created_at": datetime.now(UTC)}
            connection.execute(insert(inapp_messages).values(**values))


@contextmanager
def running(folder: Path, port: int) -> Iterator[LiveCrm]:
    """The application on a database of its own, listening on that port."""
    url = f"http://127.0.0.1:{port}"
    address = f"sqlite:///{folder / 'crm.sqlite3'}"
    engine = make_engine(address)
    migrate.upgrade(engine)
    config = Config(address, folder, public_url=url)
    runtime = Runtime(config, Database(engine), SecretBox(Fernet.generate_key()), SystemClock())
    queue = Queue(runtime, workers=1)
    try:
        with listening(create_app(runtime, queue), "127.0.0.1", port):
            yield LiveCrm(runtime, queue, url)
    finally:
        queue.close(wait=True)
        runtime.close()


def look_into_the_admin(live: LiveMedusa, crm: LiveCrm, folder: Path) -> list[Path]:
    """Sign in to the admin, open our page in it, go on within it, light and dark. Answers the pictures that were taken."""
    program = shutil.which("chromium")
    assert program is not None, "Chromium is not installed: apt-get install chromium"
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
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
        browser.close()
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
