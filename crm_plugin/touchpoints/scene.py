"""What a text sees of its member, order and shop: plain values and a few views, never our rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency

from crm_plugin.money import to_major
from crm_plugin.store.members import full_name
from crm_plugin.touchpoints.policy import Policy

VARIABLES = (
    "member",
    "shop",
    "journey",
    "occasion",
    "days",
    "order",
    "marketing",
    "unsubscribe_url",
    "cta_url",
    "locale",
)
_NAMES = {"en": "there", "zh": "顾客"}


@dataclass(frozen=True, slots=True)
class MemberView:
    """What a text may know of a member; money is formatted when it is asked for."""

    first_name: str
    last_name: str
    email: str
    tier_title: str
    orders: int
    _spent_minor: int
    _currency: str
    _locale: str

    @property
    def name(self) -> str:
        """How to address them: the family name stands first where it is written in Chinese; without a name a friendly word."""
        return full_name(self.first_name, self.last_name) or _NAMES["zh" if self._locale.startswith("zh") else "en"]

    @property
    def spent(self) -> str:
        """All that was spent, net of refunds, as money in the member's language."""
        return money(self._spent_minor, self._currency, self._locale)


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of an order; `quantity` as people write it."""

    title: str
    quantity: str


@dataclass(frozen=True, slots=True)
class OrderView:
    """The order a message speaks of."""

    number: str
    placed_on: date
    lines: tuple[LineView, ...]
    _total_minor: int
    _currency: str
    _locale: str

    @property
    def total(self) -> str:
        """What was charged, as money in the member's language."""
        return money(self._total_minor, self._currency, self._locale)


@dataclass(frozen=True, slots=True)
class ShopView:
    """The shop as customers know it."""

    title: str
    url: str
    address: str
    currency: str


@dataclass(frozen=True, slots=True)
class JourneyView:
    """The journey a message belongs to."""

    key: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything one message is rendered from."""

    member: MemberView
    shop: ShopView
    journey: JourneyView
    locale: str
    occasion: date
    days: int
    order: OrderView | None = None
    # Marketing has to say how to stop it, on every channel; the link is only there where one can be made.
    marketing: bool = False
    unsubscribe_url: str = ""
    cta_url: str = ""

    def names(self) -> dict[str, Any]:
        """The variables by name."""
        return {name: getattr(self, name) for name in VARIABLES}


def money(minor: int, currency: str, locale: str) -> str:
    """Minor units as money in a language."""
    return str(format_currency(to_major(minor, currency), currency, locale=babel_locale(locale)))


@lru_cache(maxsize=256)
def babel_locale(locale: str) -> Locale:
    """The Babel locale of a tag; English for one nobody knows."""
    try:
        return Locale.parse(locale, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en")


def sample_scenes(policy: Policy, shop: ShopView, locale: str, *, with_order: bool) -> list[Scene]:
    """A member of whom all is known and one of whom hardly anything is: a text must do for both."""
    day = date(2026, 3, 14)
    names, tier = (("小雅", "林"), "金卡") if locale.startswith("zh") else (("Ada", "Lovelace"), "Gold")
    full = MemberView(*names, "ada@example.com", tier, 7, 48_250, shop.currency, locale)
    bare = MemberView("", "", "", "", 0, 0, shop.currency, locale)
    order = OrderView("1042", day, (LineView("Linen shirt", "2"),), 5900, shop.currency, locale) if with_order else None
    links = ("https://shop.example/u/sample", policy.cta_url or shop.url)
    return [
        Scene(full, shop, JourneyView("sample"), locale, day, 7, order, True, *links),
        Scene(bare, ShopView(shop.title, "", "", shop.currency), JourneyView("sample"), locale, day, 0, order),
    ]
