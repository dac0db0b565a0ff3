"""What a text sees of its member, order and shop: plain values and a few views, never our rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency

from crm_plugin.birthdays import kept_in
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
    "product",
    "tier",
    "event",
    "checkout",
    "gift",
    "coupon",
    "answers",
    "marketing",
    "unsubscribe_url",
    "cta_url",
    "locale",
)
# What somebody without a name is called.
UNNAMED = {"en": "there", "zh": "顾客"}


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
    days_since_order: int | None = None
    joined_on: date | None = None
    years: int = 0

    @property
    def name(self) -> str:
        """How to address them: the family name stands first where it is written in Chinese; without a name a friendly word."""
        return full_name(self.first_name, self.last_name) or UNNAMED["zh" if self._locale.startswith("zh") else "en"]

    @property
    def spent(self) -> str:
        """All that was spent, net of refunds, as money in the member's language."""
        return money(self._spent_minor, self._currency, self._locale)


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of an order or checkout; `quantity` as people write it, `url` where the product is shown, empty when it is not known."""

    title: str
    quantity: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class OrderView:
    """The order a message speaks of; what is told of its parcel is empty where the store does not say it."""

    number: str
    placed_on: date
    lines: tuple[LineView, ...]
    _total_minor: int
    _currency: str
    _locale: str
    tracking_number: str = ""
    tracking_carrier: str = ""
    tracking_url: str = ""

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
class TierView:
    """The level a member holds and the next one; whatever is not known is empty, `ends_on` None where the level has no end."""

    title: str = ""
    next_title: str = ""
    missing: str = ""
    ends_on: date | None = None


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that was raised for a member, such as points that expire; what it does not tell is empty or None."""

    kind: str
    on: date
    title: str = ""
    amount: str = ""
    points: int = 0
    code: str = ""
    url: str = ""
    expires_on: date | None = None


@dataclass(frozen=True, slots=True)
class CheckoutView:
    """A checkout that was begun and not finished; `url` leads back into it."""

    url: str
    started_on: date
    lines: tuple[LineView, ...]
    total: str


@dataclass(frozen=True, slots=True)
class GiftView:
    """The person and the day that a member asked to be reminded of."""

    person: str
    on: date


@dataclass(frozen=True, slots=True)
class CouponView:
    """A code that was handed out to this member alone."""

    code: str
    expires_on: date | None = None


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer to the question that a message asks, and the link that gives it."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class AnswersView:
    """The answers to each question that a message may ask; none where nothing can be linked."""

    why_left: tuple[AnswerView, ...] = ()
    invitation: tuple[AnswerView, ...] = ()


NO_ANSWERS = AnswersView()


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
    product: LineView | None = None
    tier: TierView = TierView()
    event: EventView | None = None
    checkout: CheckoutView | None = None
    gift: GiftView | None = None
    coupon: CouponView | None = None
    answers: AnswersView = NO_ANSWERS
    # Marketing has to say how to stop it, on every channel; the link is only there where one can be made.
    marketing: bool = False
    unsubscribe_url: str = ""
    cta_url: str = ""

    def names(self) -> dict[str, Any]:
        """The variables by name."""
        return {name: getattr(self, name) for name in VARIABLES}


# What each view is called in a text.
VIEWS: dict[type, str] = {
    MemberView: "member",
    ShopView: "shop",
    JourneyView: "journey",
    OrderView: "order",
    LineView: "line",
    TierView: "tier",
    EventView: "event",
    CheckoutView: "checkout",
    GiftView: "gift",
    CouponView: "coupon",
    AnswersView: "answers",
    AnswerView: "answer",
}


def money(minor: int, currency: str, locale: str) -> str:
    """Minor units as money in a language."""
    return str(format_currency(to_major(minor, currency), currency, locale=babel_locale(locale)))


def pieces(quantity: Any) -> str:
    """A quantity as people write it: 2, not 2.000. Raises: decimal.InvalidOperation for what is no number."""
    return format(Decimal(str(quantity)).normalize(), "f")


def full_years(since: date | None, on: date) -> int:
    """Full years from one day to another, 0 where the first is not known; 29 February is kept on the 28th in other years."""
    if since is None:
        return 0
    return max(0, on.year - since.year - (on < kept_in(on.year, since.month * 100 + since.day)))


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
    chinese = locale.startswith("zh")
    names, tier = (("小雅", "林"), "金卡") if chinese else (("Ada", "Lovelace"), "Gold")
    full = MemberView(*names, "ada@example.com", tier, 7, 48_250, shop.currency, locale, 12, date(2023, 3, 14), 3)
    bare = MemberView("", "", "", "", 0, 0, shop.currency, locale)
    line = LineView("亚麻衬衫" if chinese else "Linen shirt", "2", "https://shop.example/linen-shirt")
    order = OrderView("1042", day, (line,), 5900, shop.currency, locale) if with_order else None
    parcel = ("1Z999AA10123456784", "UPS", "https://shop.example/parcel/sample")
    shipped = order and replace(order, tracking_number=parcel[0], tracking_carrier=parcel[1], tracking_url=parcel[2])
    amount = money(5900, shop.currency, locale)
    links = ("https://shop.example/u/sample", policy.cta_url or shop.url)
    until = date(2026, 4, 30)
    known = Scene(
        *(full, shop, JourneyView("sample"), locale, day, 7, shipped),
        product=line,
        tier=TierView(tier, "白金卡" if chinese else "Platinum", amount, until),
        event=EventView("sample", day, "", amount, 500, "THANKS", "https://shop.example/thanks", until),
        checkout=CheckoutView("https://shop.example/checkout/sample", day, (line,), amount),
        gift=GiftView("妈妈" if chinese else "Grace", date(2026, 3, 28)),
        coupon=CouponView("WELCOME-7Q4M", until),
        answers=_sample_answers(chinese),
        marketing=True,
        unsubscribe_url=links[0],
        cta_url=links[1],
    )
    return [
        known,
        Scene(bare, ShopView(shop.title, "", "", shop.currency), JourneyView("sample"), locale, day, 0, order),
    ]


def _sample_answers(chinese: bool) -> AnswersView:
    price, yes = ("价格不合适", "我愿意加入") if chinese else ("The price", "Yes, I would like to")
    link = "https://shop.example/a/sample"
    return AnswersView((AnswerView(price, link),), (AnswerView(yes, link),))
