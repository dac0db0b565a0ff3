"""The pages in a real browser: nothing leaves for elsewhere, nothing is refused by our own policy, nothing runs over on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize, expect, sync_playwright

from crm_plugin.demo.check import PAGES
from crm_plugin.demo.run import Demo, run

pytestmark = [pytest.mark.browser, pytest.mark.slow]
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_DESK: ViewportSize = {"width": 1280, "height": 900}
_PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with run(tmp_path_factory.mktemp("demo"), members=120, on=date(2026, 5, 4), port=0) as running:
        yield running


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, demo: Demo) -> Any:
    """The cookies of a merchant who opened the link."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(demo.link)
    page.locator("main button").click()
    page.wait_for_url("**/today")
    assert page.url == f"{demo.url}/s/{demo.shop.name}/today"
    state = context.storage_state()
    context.close()
    return state


class _Watched:
    """A page with everything it complains of."""

    def __init__(self, browser: Browser, state: Any, origin: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._origin = origin
        self.context = browser.new_context(storage_state=state, reduced_motion="reduce", **options)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:", "about:")):
            self.foreign.append(request.url)


def _paths(demo: Demo) -> list[str]:
    with demo.runtime.db.read() as connection:
        touchpoint, member = connection.exec_driver_sql(
            "SELECT touchpoint_id, member_id FROM touchpoints WHERE channel = 'email' AND state = 'accepted' LIMIT 1"
        ).one()
    steps = [f"journeys/birthday/{path}" for path in ("start", "steps", "steps-new?kind=wait", "publish", "archive")]
    return [
        *PAGES,
        "journeys/birthday",
        *steps,
        "tiers/new",
        "tiers/programme/main",
        "segments/best",
        f"members/{member}",
        f"outbox/{touchpoint}",
    ]


# Controls that say nothing to whoever does not see them.
_NAMELESS = """() => [...document.querySelectorAll(
    'input:not([type=hidden]), select, textarea, button, a, iframe, progress:not([aria-hidden=true])'
)].filter(e => !(
    e.labels?.length || e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.title
)).map(e => e.outerHTML)"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_fit_name_their_controls_and_keep_to_themselves(
    browser: Browser, demo: Demo, signed_in: Any, language: str
) -> None:
    watched = _Watched(browser, signed_in, demo.url)
    page = watched.page
    for path in _paths(demo):
        page.set_viewport_size(_PHONE)
        page.goto(f"{demo.url}/s/{demo.shop.name}/{path}{'&' if '?' in path else '?'}lang={language}")
        # One visit shows both: the page is laid out anew, not asked for again.
        for size in (_PHONE, _DESK):
            page.set_viewport_size(size)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], f"{path} is {wide} pixels wide"
        assert page.evaluate(_NAMELESS) == [], path
        assert page.evaluate("document.documentElement.lang") == ("zh-CN" if language == "zh" else "en")
        assert page.locator("h1").count() == 1, path
    watched.context.close()
    assert (watched.complaints, watched.foreign) == ([], [])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_phone_shows_the_whole_menu(browser: Browser, demo: Demo, signed_in: Any, language: str) -> None:
    watched = _Watched(browser, signed_in, demo.url, viewport=_PHONE)
    watched.page.goto(f"{demo.url}/s/{demo.shop.name}/connections?lang={language}")
    hidden = """() => [...document.querySelectorAll('.side a, .side button')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.left < 0 || box.right > innerWidth || e.scrollWidth > e.clientWidth + 1;
    }).map(e => e.textContent)"""
    assert watched.page.evaluate(hidden) == []
    assert watched.page.locator(".side nav a, .side > ul:not(.side-foot) a").count() == 8
    watched.context.close()


def test_keyboard_reaches_the_content_first(browser: Browser, demo: Demo, signed_in: Any) -> None:
    watched = _Watched(browser, signed_in, demo.url)
    watched.page.goto(f"{demo.url}/s/{demo.shop.name}/members")
    watched.page.keyboard.press("Tab")
    watched.page.keyboard.press("Enter")
    assert watched.page.evaluate("document.activeElement.id") == "main"
    watched.context.close()


def test_pages_need_no_scripts(browser: Browser, demo: Demo, signed_in: Any) -> None:
    context = browser.new_context(storage_state=signed_in)
    for path in _paths(demo):
        # What the server answers, with nothing run over it.
        answer = context.request.get(f"{demo.url}/s/{demo.shop.name}/{path}")
        assert (answer.status, answer.text().count("<h1")) == (200, 1), path
    context.close()


def test_programme_is_set_up_without_scripts(browser: Browser, demo: Demo, signed_in: Any) -> None:
    watched = _Watched(browser, signed_in, demo.url, java_script_enabled=False)
    page = watched.page
    page.goto(f"{demo.url}/s/{demo.shop.name}/tiers/new?lang=en")
    # Only what matters with what is chosen is shown.
    assert page.get_by_label("How many days", exact=True).is_hidden()
    page.get_by_label("Since when").select_option("days")
    page.get_by_label("How many days", exact=True).fill("365")
    page.get_by_label("What is counted").select_option("")
    assert page.get_by_label("Since when").is_hidden()
    assert page.get_by_label("To reach it").is_hidden()
    page.get_by_label("What is counted").select_option("orders")
    page.get_by_label("Name of the programme in English").fill("Tea club")
    page.get_by_label("Name in English", exact=True).fill("Friend")
    page.get_by_label("To reach it").fill("one")
    page.get_by_role("button", name="Show who would move").click()
    assert page.get_by_text("Write a plain number such as").first.is_visible()
    page.get_by_label("To reach it").fill("1")
    page.get_by_role("button", name="Show who would move").click()
    page.get_by_role("button", name=re.compile("Save and move")).click()
    assert page.url.endswith("/tiers/programme/tea-club")
    assert page.get_by_text("members have moved").is_visible()
    page.get_by_role("button", name="Retire this programme").click()
    page.get_by_role("button", name=re.compile("Save and move")).click()
    assert page.get_by_text("This programme is retired").is_visible()
    watched.context.close()


def test_level_is_fixed_by_hand_without_scripts(browser: Browser, demo: Demo, signed_in: Any) -> None:
    with demo.runtime.db.read() as connection:
        one = connection.exec_driver_sql("SELECT max(member_id) FROM member_tiers").scalar_one()
    watched = _Watched(browser, signed_in, demo.url, java_script_enabled=False, viewport=_PHONE)
    page = watched.page
    page.goto(f"{demo.url}/s/{demo.shop.name}/members/{one}?lang=en")
    tier = page.locator("#tier")
    assert tier.get_by_label("Why", exact=True).is_hidden()
    tier.get_by_text("Fix the level by hand").click()
    tier.get_by_label("Level", exact=True).select_option("main/")
    tier.get_by_label("Why", exact=True).fill("Works here")
    tier.get_by_label("Last day").fill("2020-01-01")
    tier.get_by_role("button", name="Fix the level").click()
    # What is wrong stands at its field, in a form that is open, with what was written.
    assert tier.get_by_text("The day 2020-01-01 is over.").is_visible()
    assert tier.get_by_label("Why", exact=True).input_value() == "Works here"
    tier.get_by_label("Last day").fill("")
    tier.get_by_role("button", name="Fix the level").click()
    assert page.url.endswith(f"/members/{one}#tier")
    assert tier.get_by_text("Fixed by hand: Works here").is_visible()
    tier.get_by_role("button", name="Let the rules decide again").click()
    assert tier.get_by_text("Works here").count() == 0
    watched.context.close()


def test_what_came_of_a_form_is_seen_where_one_is_led_back_to(browser: Browser, demo: Demo, signed_in: Any) -> None:
    watched = _Watched(browser, signed_in, demo.url, java_script_enabled=False, viewport=_PHONE)
    page = watched.page
    page.goto(f"{demo.url}/s/{demo.shop.name}/connections?lang=en")
    page.locator("#messages").get_by_role("button", name="Save").click()
    assert page.url.endswith("/connections#messages")
    told, heading = page.locator(".told"), page.locator("#messages h2")
    expect(told).to_be_in_viewport(ratio=1)
    expect(heading).to_be_in_viewport(ratio=1)
    above, below = told.bounding_box(), heading.bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] <= below["y"]
    page.goto(f"{demo.url}/s/{demo.shop.name}/coupons")
    own = page.locator("#own")
    own.get_by_label("Pool").fill("own")
    own.get_by_label("Codes").fill("ABC-1")
    own.get_by_role("button", name="Add these codes").click()
    expect(page.get_by_text("1 code was added.")).to_be_in_viewport(ratio=1)
    expect(page.locator("#pool-own")).to_be_in_viewport(ratio=1)
    watched.context.close()


def test_customer_unsubscribes_by_hand(browser: Browser, demo: Demo, tmp_path: Path) -> None:
    from email import message_from_bytes

    mail = message_from_bytes(demo.mails.messages[-1].data)
    link = str(mail["List-Unsubscribe"]).strip("<> ").replace("\n", "").replace(" ", "")
    context = browser.new_context(viewport=_PHONE)
    page = context.new_page()
    page.goto(link)
    assert page.locator("form button.primary").count() == 1
    page.locator("form button.primary").click()
    page.wait_for_load_state()
    assert page.locator("input[name=again]").count() == 1
    with demo.runtime.db.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT count(*) FROM consents WHERE state = 'withdrawn' AND source = 'link'"
        ).scalar_one()
    assert rows == 1
    context.close()
