"""What a merchant does in the real wp-admin with a real browser: upload, activate, connect, hand out and erase a person's data, remove."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from crm_plugin.web.auth import sign_in_path
from tests.live.application import LiveCrm
from tests.live.wordpress.server import OWNER, PASSWORD, LiveWordPress

OURS = "crm-plugin/crm-plugin.php"
_TAB = "/wp-admin/admin.php?page=wc-settings&tab=crm_plugin"


class Admin:
    """One browser that is signed in as who runs the store; pictures of screens go to the folder."""

    def __init__(self, browser: Browser, site: LiveWordPress, folder: Path) -> None:
        self._site = site
        self._folder = folder
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1300, "height": 900}, locale="en-GB")
        context.set_default_timeout(30_000)
        self.page: Page = context.new_page()
        sign_in(self.page, site, OWNER)

    def upload(self, packed: Path) -> None:
        """Plugins > Add new > Upload."""
        self.page.goto(f"{self._site.url}/wp-admin/plugin-install.php?tab=upload")
        self.page.locator("input[name=pluginzip]").set_input_files(packed)
        self.page.locator("#install-plugin-submit").click()
        expect(self.page.locator("body")).to_contain_text("Plugin installed successfully.")

    def row(self, plugin: str = OURS) -> Locator:
        """The plugin's row in the list of plugins."""
        self.page.goto(f"{self._site.url}/wp-admin/plugins.php")
        return self.page.locator(f"tr[data-plugin='{plugin}']:not(.plugin-update-tr)")

    def activate(self, plugin: str) -> None:
        """WordPress tells of output that has no place there, too."""
        self.row(plugin).locator(".activate a").click()
        expect(self.page.locator("#message")).to_contain_text("Plugin activated.")
        expect(self.page.locator("body")).not_to_contain_text("unexpected output")

    def go_to_settings(self) -> None:
        """From the list of plugins."""
        self.row().get_by_role("link", name="Settings").click()
        expect(self.page.locator("#crm_plugin_server")).to_be_visible()

    def remove(self) -> None:
        """Deactivate and delete."""
        self.row().locator(".deactivate a").click()
        expect(self.page.locator("#message")).to_contain_text("Plugin deactivated.")
        # Before the page's scripts are there the link leads to another page.
        self.page.wait_for_load_state("load")
        self.page.once("dialog", lambda dialog: dialog.accept())
        self.page.locator(f"tr[data-plugin='{OURS}'] .delete a").click()
        expect(self.page.locator(f"tr[data-plugin='{OURS}'].deleted")).to_be_attached()

    def tab(self) -> Page:
        """Our tab in the settings."""
        self.page.goto(f"{self._site.url}{_TAB}")
        return self.page

    def type_address(self, address: str) -> None:
        """Save that as the CRM's address."""
        self.tab().locator("#crm_plugin_server").fill(address)
        self.page.locator("button[name=save]").click()
        expect(self.page.locator("#crm_plugin_server")).to_be_visible()

    def connect(self, crm: LiveCrm) -> None:
        """From our tab to the CRM, there to the store's own question, and back with its answer."""
        other = self.page.context.new_page()
        other.goto(f"{crm.url}{sign_in_path(crm.runtime)}")
        other.get_by_role("button").first.click()
        other.close()
        opened = self._opened("Connect this store")
        expect(opened.locator("#click-url")).to_have_value(self._site.url)
        opened.get_by_role("button", name="Connect by clicking").click()
        opened.get_by_role("button", name="Approve").click()
        expect(opened.get_by_role("heading", level=1)).to_have_text("Today")
        opened.close()

    def open_crm(self) -> None:
        """From our tab to the page of today, signed in."""
        opened = self._opened("Open the CRM")
        expect(opened.get_by_role("heading", level=1)).to_have_text("Today")
        self.keep("crm", opened)
        opened.close()

    def export_of(self, email: str) -> dict[str, Any]:
        """Tools > Export personal data: what the file holds for our part, by name."""
        row = self._asked_for("export-personal-data", email)
        with self.page.expect_download() as waiting:
            row.locator(".row-actions .export-personal-data-handle").first.click()
        with zipfile.ZipFile(waiting.value.path()) as archive:
            told = json.loads(archive.read("export.json"))
        (groups,) = told.values()
        items = groups.get("crm-plugin", {"items": {}})["items"]
        return {entry["name"]: entry["value"] for entries in items.values() for entry in entries}

    def erase(self, email: str) -> None:
        """Tools > Erase personal data."""
        row = self._asked_for("erase-personal-data", email)
        row.locator(".remove-personal-data-handle").first.click()
        expect(self.page.locator("body")).to_contain_text("All of the personal data found for this user was erased.")

    def keep(self, name: str, page: Page | None = None) -> None:
        """A picture of the whole page."""
        (page or self.page).screenshot(path=self._folder / f"{self._site.version}-{name}.png")

    def _asked_for(self, tool: str, email: str) -> Locator:
        """A request without a mail to the person; its row, whose links are seen while something points at it."""
        self.page.goto(f"{self._site.url}/wp-admin/{tool}.php")
        self.page.locator("#username_or_email_for_privacy_request").fill(email)
        self.page.locator("#send_confirmation_email").uncheck()
        self.page.locator("#submit").click()
        row = self.page.locator("#the-list tr", has_text=email)
        expect(row).to_be_visible()
        # Its links do nothing before the page's scripts are there.
        self.page.wait_for_load_state("load")
        row.hover()
        return row

    def _opened(self, name: str) -> Page:
        with self.page.context.expect_page() as waiting:
            self.tab().get_by_role("link", name=name).click()
        waiting.value.wait_for_load_state()
        return waiting.value


def sign_in(page: Page, site: LiveWordPress, login: str) -> None:
    """By WordPress's own form."""
    page.goto(f"{site.url}/wp-login.php")
    page.locator("#user_login").fill(login)
    page.locator("#user_pass").fill(PASSWORD)
    page.locator("#wp-submit").click()
    page.wait_for_url("**/wp-admin/**")
