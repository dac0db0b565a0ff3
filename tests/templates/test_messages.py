"""Every recipe renders, in each language, for a member of whom much is known and for one of whom nothing is."""

from __future__ import annotations

import re
from datetime import date
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

import crm_plugin
from crm_plugin.adapters.channels.sms_parts import sms_size
from crm_plugin.touchpoints.policy import Brand
from crm_plugin.touchpoints.sandbox import inlined
from tests.cases import failing

MESSAGES = Path(crm_plugin.__file__).parent / "templates" / "messages"
# Every folder with texts, also one within a recipe's.
RECIPES = sorted(file.parent.relative_to(MESSAGES).as_posix() for file in MESSAGES.rglob("email.en.html"))
LOCALES = ("en", "zh-CN")
FILES = (
    "email.{}.html",
    "email.{}.subject.txt",
    "email.{}.txt",
    "inapp.{}.title.txt",
    "inapp.{}.txt",
    "sms.{}.txt",
)
# A note hangs on an order, so only what follows one has it; a link of its own has what leads elsewhere than into the shop.
_NOTE, _URL = ("note.{}.txt",), ("inapp.{}.url.txt",)
MORE = {
    "post_purchase": _NOTE,
    "second_purchase": _NOTE,
    "review_request": (*_NOTE, *_URL),
    "replenishment": _URL,
    "abandoned_checkout": _URL,
    # A question is answered where the card or the message leads.
    "vip_invitation": _URL,
    "win_back/question": _URL,
}
FOLLOW_AN_ORDER = ("post_purchase", "second_purchase", "review_request", "cross_sell", "replenishment")
FOREIGN = {"en": re.compile(r"[\u4e00-\u9fff]"), "zh-CN": re.compile(r"(?!)")}
PROMISES = re.compile(r"gift|discount|coupon|voucher|first order|优惠|折扣|礼物|礼品|赠|首单|券", re.IGNORECASE)
# Whoever asked to be reminded of somebody looks for a gift.
SPEAKS_OF_GIFTS = "gift_reminder"


def context(recipe: str, locale: str, *, known: bool, marketing: bool = True) -> dict[str, Any]:
    """What the renderer hands to a text: all of it filled, or as empty as it may be."""
    chinese = locale == "zh-CN"
    line = SimpleNamespace(title="茶与杯" if chinese else "Tea & cups", quantity="2", url="https://shop.example/")
    day = date(2026, 6, 20)
    order = SimpleNamespace(
        number="1042" if known else "", placed_on=date(2026, 5, 20), total="£31.50", lines=[line] if known else []
    )
    return {
        "member": SimpleNamespace(
            first_name=("小明" if chinese else "Anna") if known else "",
            last_name=("王" if chinese else "O'Neill") if known else "",
            name=("王小明" if chinese else "Anna O'Neill") if known else ("顾客" if chinese else "there"),
            email="anna@example.com" if known else "",
            tier_title="Gold" if known else "",
            orders=3 if known else 0,
            spent="£120.00",
            days_since_order=90 if known else None,
            joined_on=date(2024, 6, 1) if known else None,
            years=2 if known else 0,
        ),
        "shop": SimpleNamespace(
            title="花间小铺" if chinese else "Harbour & Co",
            url="https://shop.example" if known else "",
            address="1 Quay Street, Bristol" if known else "",
            currency="GBP",
        ),
        "journey": SimpleNamespace(key=recipe),
        "occasion": date(2026, 6, 1),
        "days": 7 if known else 0,
        "order": order if recipe in FOLLOW_AN_ORDER else None,
        "product": line if known else None,
        "tier": SimpleNamespace(
            title=("金卡" if chinese else "Gold") if known else "",
            next_title=("白金卡" if chinese else "Platinum") if known else "",
            missing="£38.20" if known else "",
            ends_on=day if known else None,
        ),
        "event": SimpleNamespace(points=500, expires_on=day) if known else None,
        "checkout": SimpleNamespace(url="https://shop.example/", lines=[line], total="£31.50") if known else None,
        "gift": SimpleNamespace(person="妈妈" if chinese else "Mum", on=day) if known else None,
        "coupon": None,
        "answers": SimpleNamespace(why_left=(), invitation=()),
        "marketing": marketing,
        "unsubscribe_url": "https://crm.example/u/token" if marketing else "",
        "cta_url": "https://shop.example/" if known else "",
        "locale": locale,
    }


def environment(*, html: bool) -> SandboxedEnvironment:
    env = SandboxedEnvironment(undefined=StrictUndefined, autoescape=html)
    env.filters["date"] = lambda day, style="long": day.isoformat()
    env.filters["money"] = str
    return env


def rendered(recipe: str, file: str, values: dict[str, Any]) -> str:
    source = (MESSAGES / recipe / file).read_text(encoding="utf-8")
    return environment(html=file.endswith(".html")).from_string(source).render(values)


def mail(recipe: str, locale: str, values: dict[str, Any], direction: str = "ltr") -> str:
    body = (MESSAGES / recipe / f"email.{locale}.html").read_text(encoding="utf-8")
    brand = Brand(color="#0b5d4e", on_color="#ffffff", logo_url="https://shop.example/logo.png")
    own = {"title": "A title", "preheader": "A first line", "lang": locale, "dir": direction, "brand": brand}
    return environment(html=True).from_string(inlined(body, brand)).render(values | own)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("locale", LOCALES)
class TestRecipe:
    def test_has_all_files(self, recipe: str, locale: str) -> None:
        found = {path.name for path in (MESSAGES / recipe).iterdir() if f".{locale}." in path.name}
        assert found == {name.format(locale) for name in (*FILES, *MORE.get(recipe, ()))}

    def test_renders_cleanly(self, recipe: str, locale: str) -> None:
        def is_clean(case: tuple[str, bool, bool]) -> None:
            name, known, marketing = case
            text = rendered(recipe, name.format(locale), context(recipe, locale, known=known, marketing=marketing))
            assert text or name in _URL
            assert text == text.strip() or name.endswith(".html")
            assert not re.search(r" {2,}| [,.!?，。！]|\n{3,}|None|href=\"\"", text), (name, text)
            assert recipe == SPEAKS_OF_GIFTS or not PROMISES.search(text), (name, text)
            assert not FOREIGN[locale].search(text), (name, text)
            if ".subject." in name or ".title." in name:
                assert "\n" not in text
                assert len(text) <= 60

        cases = product((*FILES, *MORE.get(recipe, ())), [True, False], [True, False])
        assert (
            failing(
                is_clean,
                [(f"{name} known={known} marketing={told}", (name, known, told)) for name, known, told in cases],
            )
            == {}
        )

    def test_text_message_fits_one_part(self, recipe: str, locale: str) -> None:
        values = context(recipe, locale, known=True)
        size = sms_size(rendered(recipe, f"sms.{locale}.txt", values))
        assert (size.encoding, size.parts) == ("GSM-7" if locale == "en" else "UCS-2", 1)

    def test_text_message_is_signed_and_can_be_stopped(self, recipe: str, locale: str) -> None:
        text = rendered(recipe, f"sms.{locale}.txt", context(recipe, locale, known=True))
        begin, end = (
            ("Harbour & Co: ", " Reply STOP to opt out") if locale == "en" else ("【花间小铺】", " 拒收请回复R")
        )
        assert text.startswith(begin)
        assert text.endswith(end)
        service = rendered(recipe, f"sms.{locale}.txt", context(recipe, locale, known=True, marketing=False))
        assert service == text.removesuffix(end)

    def test_mail_says_who_sent_it_and_how_to_stop(self, recipe: str, locale: str) -> None:
        values = context(recipe, locale, known=True)
        for shown in (mail(recipe, locale, values), rendered(recipe, f"email.{locale}.txt", values)):
            assert shown.count("https://crm.example/u/token") == 1
            assert "1 Quay Street, Bristol" in shown
            assert shown.count("https://shop.example/") - shown.count("https://shop.example/logo.png") == 1

    def test_mail_without_consent_needed_has_no_unsubscribe(self, recipe: str, locale: str) -> None:
        shown = mail(recipe, locale, context(recipe, locale, known=True, marketing=False))
        assert "Unsubscribe" not in shown
        assert "退订" not in shown


def test_mail_is_small_and_inlined() -> None:
    shown = mail("post_purchase", "en", context("post_purchase", "en", known=True))
    assert len(shown.encode()) < 60_000
    assert 'style="margin: 0 0 16px' in shown
    assert "background-color: #0b5d4e" in shown
    assert "prefers-color-scheme: dark" in shown
    assert '<img src="https://shop.example/logo.png" alt="Harbour &amp; Co"' in shown
    assert "<li" in shown
    assert "Tea &amp; cups × 2" in shown


def test_letters_that_are_written_in_ascii_stay_so() -> None:
    """Then nothing in the mail has to be encoded for its way."""
    assert mail("birthday", "en", context("birthday", "en", known=True)).isascii()
    made = inlined(
        "<p title='&#8211;' style='font-family: &quot;Open Sans&quot;'>&hellip;&amp;&lt;{{ '&eacute;' }}</p>", Brand()
    )
    assert "&hellip;&amp;&lt;{{ '&eacute;' }}</p>" in made
    assert 'title="&#8211;"' in made
    assert "font-family: 'Open Sans'" in made


def test_mail_runs_right_to_left() -> None:
    """Nothing names a side, so `dir` alone turns the whole mail round."""
    shown = mail("birthday", "en", context("birthday", "en", known=True), "rtl")
    assert shown.count('dir="rtl"') == 4
    assert not re.search(r"\b(?:left|right)\b", shown)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("recipe", ["vip_invitation", "win_back/question"])
def test_question_is_answered_from_the_phone(recipe: str, locale: str) -> None:
    values = context(recipe, locale, known=True)
    answers = [SimpleNamespace(title=name, url=f"https://crm.example/a/{name}") for name in ("first", "last")]
    values["answers"] = SimpleNamespace(why_left=answers, invitation=answers)
    where = f"https://crm.example/a/{'last' if recipe == 'win_back/question' else 'first'}"
    assert rendered(recipe, f"inapp.{locale}.url.txt", values) == where
    text = rendered(recipe, f"sms.{locale}.txt", values)
    assert where in text
    assert "https://shop.example/" not in text


@pytest.mark.parametrize(("locale", "call"), [("en", "ring you once"), ("zh-CN", "电")])
def test_last_letter_tells_of_the_call_that_follows(locale: str, call: str) -> None:
    values = context("win_back/last", locale, known=True)
    for file in ("email.{}.html", "email.{}.txt", "sms.{}.txt", "inapp.{}.txt"):
        assert call in rendered("win_back/last", file.format(locale), values)


def test_member_cannot_bring_markup() -> None:
    values = context("birthday", "en", known=True)
    values["member"].first_name = "<b>Eve</b>"
    shown = mail("birthday", "en", values)
    assert "&lt;b&gt;Eve&lt;/b&gt;" in shown
    assert "<b>Eve" not in shown
