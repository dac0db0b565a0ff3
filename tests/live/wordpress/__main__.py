"""The companion plugin in a real WordPress, the oldest that it promises and the newest: `./dev live wordpress`.

What is WooCommerce's own is a stand-in (`php/`): its screens are not seen here.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from crm_plugin.adapters.storefronts.woocommerce.packing import pack
from crm_plugin.jobs import tasks
from crm_plugin.records import TierMark
from crm_plugin.store.tenants import Shop, all_shops
from crm_plugin.sync import connect
from tests.live.application import LiveCrm, make_certificate, running
from tests.live.machine import cache_folder, chromium, free_port, say
from tests.live.wordpress import cores
from tests.live.wordpress.admin import OURS, Admin, sign_in
from tests.live.wordpress.mariadb import MariaDb
from tests.live.wordpress.server import PASSWORD, LiveWordPress

_LOGIN, _EMAIL = "ada", "ada@shop.example"
_PAGES = {
    "account": "[stand_in_account]",
    "details": "[stand_in_details]",
    "checkout": "[stand_in_checkout]",
    "club": "Level: [crm_tier]. [crm_if_tier level='silver, gold']For the best[/crm_if_tier] [crm_if_tier level='none']Never[/crm_if_tier]",
}


def steps(site: LiveWordPress, crm: LiveCrm, browser: Browser, folder: Path) -> Iterator[str]:
    """What is checked, each said once it is so."""
    packed = folder / "crm-plugin-woocommerce.zip"
    packed.write_bytes(pack())
    admin = Admin(browser, site, folder)
    routes = site.ask("return live_addresses();")
    admin.upload(packed)
    expect(admin.row().locator(".requires")).to_contain_text("woocommerce", ignore_case=True)
    assert admin.row().locator(".activate a").count() == 0
    admin.keep("refused")
    yield "uploaded; WordPress does not activate it without WooCommerce"
    site.add_stand_in()
    admin.activate("woocommerce/woocommerce.php")
    before = site.ask("return live_addresses();")
    admin.activate(OURS)
    admin.keep("plugins")
    admin.go_to_settings()
    assert set(site.ask("return live_addresses();")) == set(before) >= set(routes)
    yield "activated; it adds no address that could be called"
    yield from _connecting(site, crm, admin)
    (shop,) = all_shops_of(crm)
    yield from _shopping(site, crm, shop, browser, admin)
    yield from _person(site, admin)
    site.ask("return CrmPlugin\\shopper( $told['id'] );", id=_id(site))
    assert _kept_answers(site)
    admin.remove()
    assert site.ask("return live_options();") == []
    assert not (site.site / "wp-content" / "plugins" / "crm-plugin").exists()
    assert _kept(site) == {"marketing_opt_in": "yes"}
    yield "deactivated and deleted: its options are gone, what customers said stays"
    assert site.complaints() == "", site.complaints()
    yield "WordPress complained of nothing"


def _connecting(site: LiveWordPress, crm: LiveCrm, admin: Admin) -> Iterator[str]:
    expect(admin.tab().locator("body")).to_contain_text("Enter the address of your CRM first.")
    admin.type_address("http://crm.example")
    expect(admin.page.locator("#crm_plugin_server")).to_have_value("")
    admin.type_address(f"{crm.url}/")
    expect(admin.page.locator("#crm_plugin_server")).to_have_value(crm.url)
    admin.keep("to-connect")
    site.ask("wp_insert_user( $told );", user_login=_LOGIN, user_email=_EMAIL, user_pass=PASSWORD, role="subscriber")
    for name, text in _PAGES.items():
        post = {"post_type": "page", "post_status": "publish", "post_name": name, "post_title": name}
        site.ask("wp_insert_post( $told );", **post, post_content=text)
    admin.connect(crm)
    until = time.monotonic() + 60
    while not site.ask("return get_option( 'stand_in_webhooks' );"):
        assert time.monotonic() < until, "the CRM made no webhooks"
        time.sleep(0.5)
    expect(admin.tab().locator("body")).to_contain_text("This store is connected.")
    admin.keep("connected")
    admin.open_crm()
    yield "settings: an address that is none is refused; connected by a click; the CRM opens"
    site.ask("update_user_meta( get_user_by( 'login', 'owner' )->ID, 'locale', 'zh_CN' );")
    expect(admin.tab().locator("body")).to_contain_text("店铺已连接。")
    expect(admin.page.locator("body")).to_contain_text("结账时询问顾客")
    admin.keep("chinese")
    site.ask("delete_user_meta( get_user_by( 'login', 'owner' )->ID, 'locale' );")
    yield "in Chinese for who reads WordPress in Chinese"


def _shopping(site: LiveWordPress, crm: LiveCrm, shop: Shop, browser: Browser, admin: Admin) -> Iterator[str]:
    who = _id(site)
    page = browser.new_context(ignore_https_errors=True, locale="en-GB").new_page()
    for name in ("account", "club"):
        page.goto(f"{site.url}/{name}/")
    expect(page.locator("body")).to_contain_text("Level: .")
    assert page.locator("crm-inbox").count() == 0
    sign_in(page, site, _LOGIN)
    _type_birthday(page, site, "2999-01-01")
    expect(page.locator("body")).to_contain_text("a date that lies behind us")
    assert _kept(site) == {}
    _type_birthday(page, site, "1984-02-29")
    expect(page.locator("[name=crm_birthday]")).to_have_value("1984-02-29")
    admin.keep("details", page)
    assert _kept(site) == {"birthday": "1984-02-29"}
    yield "My Account: a birthday is kept, one that lies ahead is not"
    for is_ticked in (False, True):
        page.goto(f"{site.url}/checkout/")
        box = page.locator("[name=crm_marketing_opt_in]")
        expect(box).not_to_be_checked()
        if is_ticked:
            admin.keep("checkout", page)
            box.check()
        page.locator("button[name=place_order]").click()
    site.ask("stand_in_place_block_order( false ); stand_in_place_block_order( true );")
    said = {"marketing_opt_in": "yes"}
    assert site.ask("return get_option( 'stand_in_orders' );") == [[], said, [], said]
    assert _kept(site) == {"birthday": "1984-02-29", **said}
    yield "checkouts: a ticked box is kept, an empty one says nothing, and none comes ticked"
    storefront = connect.open_storefront(crm.runtime.db, crm.runtime.box, shop)
    storefront.write_tier(str(who), TierMark("main", "gold", "Gold", 1))
    storefront.close()
    page.goto(f"{site.url}/club/")
    expect(page.locator("body")).to_contain_text("Level: gold. For the best")
    expect(page.locator("body")).not_to_contain_text("Never")
    asked = ["crm_tier_gold", "crm_tier_main_gold", "crm_tier_silver", "manage_options"]
    assert site.ask("return live_may( $told );", id=who, names=asked) == [True, True, False, False]
    assert site.ask("return crm_plugin_tier( $told['id'] );", id=who) == "gold"
    yield "a level that the CRM wrote is there for themes: shortcodes, function, capabilities"
    tasks.sync(crm.runtime, shop, full=True)
    crm.write_to(shop, str(who), "For you alone")
    page.goto(f"{site.url}/account/")
    expect(page.get_by_text("For you alone")).to_be_visible()
    admin.keep("account", page)
    page.get_by_role("link", name="Choose which e-mails you get").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Stop these messages?")
    admin.keep("choice", page)
    yield "My Account shows the member's messages, and leads to the choice of e-mails"


def _person(site: LiveWordPress, admin: Admin) -> Iterator[str]:
    who = _id(site)
    assert admin.export_of("nobody@shop.example") == {}
    told = admin.export_of(_EMAIL)
    assert told == {"Birthday": "1984-02-29", "Consent to news by e-mail": "yes", "Level (main)": "gold"}, told
    admin.keep("export")
    admin.erase(_EMAIL)
    assert _kept(site) == {}
    assert not _kept_answers(site)
    site.ask("update_user_meta( $told['id'], 'marketing_opt_in', 'yes' );", id=who)
    yield "WordPress's own export and erasure of a person have what the plugin keeps"


def _type_birthday(page: Page, site: LiveWordPress, typed: str) -> None:
    page.goto(f"{site.url}/details/")
    page.locator("[name=crm_birthday]").fill(typed)
    page.locator("button[name=save_account_details]").click()


def _kept(site: LiveWordPress) -> dict[str, str]:
    """What the plugin keeps with the member's account, by key. PHP writes an empty object as a list."""
    return dict(site.ask("return live_entries( $told['id'] );", id=_id(site)))


def _kept_answers(site: LiveWordPress) -> list[str]:
    """Names of the CRM's answers for members that the store keeps for a while."""
    return [name for name in site.ask("return live_options();") if "crm_plugin_shopper" in name]


def _id(site: LiveWordPress) -> int:
    found: int = site.ask("return get_user_by( 'login', $told['login'] )->ID;", login=_LOGIN)
    return found


def all_shops_of(crm: LiveCrm) -> list[Shop]:
    """The shops that the CRM has."""
    with crm.runtime.db.read() as connection:
        return all_shops(connection)


def main() -> None:
    """Install, check and take down, for each WordPress or the one that is named."""
    began = time.monotonic()
    pictures = cache_folder("wordpress-pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    ways = {"oldest": cores.oldest, "newest": cores.newest}
    found = [core for name in sys.argv[1:] or ways if (core := ways[name]()) is not None]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate = folder / "certificate.pem"
        make_certificate(certificate)
        (folder / "database").mkdir()
        database = MariaDb(folder / "database")
        try:
            for core in found:
                say(f"WordPress {core.version}:")
                own = folder / core.version
                own.mkdir()
                port = free_port()
                with (
                    running(own, port, certificate) as crm,
                    LiveWordPress(core, database, own, port=port, certificate=certificate) as site,
                    chromium() as browser,
                ):
                    for done in steps(site, crm, browser, pictures):
                        say(f"  {done}")
        finally:
            database.stop()
    say(f"Pictures: {pictures}")
    say(f"The companion plugin holds ({time.monotonic() - began:.0f} s).")


if __name__ == "__main__":
    main()
