"""Rendering: Jinja in a sandbox with strict undefined, compiled once for each version of a text, CSS inlined once with it.

A text sees plain values and a few views, never our rows. An unknown name is an error that names itself, here and when a text is saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import css_inline
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton
from babel.numbers import format_currency
from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    UndefinedError,
    meta,
    nodes,
    pass_context,
)
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context

from crm_plugin.errors import InvalidInput, RenderError
from crm_plugin.money import to_major
from crm_plugin.phrases import Phrase, phrase
from crm_plugin.store.members import full_name
from crm_plugin.touchpoints.bounds import LARGEST_NUMBER, LONGEST_OUTPUT, BoundedEnvironment, NotAllowed
from crm_plugin.touchpoints.policy import Brand, Policy

# A text longer than this is no message; an HTML mail past 102 KB is cut by the largest mail host.
LONGEST_SOURCE = 100_000
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})
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
PARTS = {
    "email": ("subject", "body_text", "body_html"),
    "sms": ("body_text",),
    "inapp": ("subject", "body_text", "url"),
    "note": ("body_text",),
}
# What errors call the channels.
CALLED = {"email": phrase("email"), "sms": phrase("sms"), "inapp": phrase("inapp"), "note": phrase("note")}
_NAMES = {"en": "there", "zh": "顾客"}
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Text:
    """One stored text: a template's channel and locale, with its parts as written and the version they are at."""

    template_key: str
    channel: str
    locale: str
    version: int = 0
    subject: str = ""
    body_text: str = ""
    body_html: str = ""
    url: str = ""

    def parts(self) -> dict[str, str]:
        """The parts this channel has, as written."""
        return {name: getattr(self, name) for name in PARTS[self.channel]}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message as it will be read."""

    locale: str
    subject: str
    text: str
    html: str = ""
    url: str = ""


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


class Sandbox(BoundedEnvironment):
    """No attribute that begins with an underscore, nothing that changes what it is given, nothing that takes long or grows large."""

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=autoescape, trim_blocks=False, keep_trailing_newline=False
        )
        self.filters["money"] = _money_filter
        self.filters["date"] = _date_filter

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Our own views are plain values without methods, so of the sandbox's questions only the underscore is asked of them."""
        if obj.__class__ in _VIEWS and not attribute.startswith("_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


_VIEWS = frozenset((MemberView, LineView, OrderView, ShopView, JourneyView, Brand))


@cache
def _environment(autoescape: bool) -> Sandbox:
    return Sandbox(autoescape=autoescape)


@lru_cache(maxsize=4096)
def _compiled(source: str, autoescape: bool) -> Template:
    if len(source) > LONGEST_SOURCE:
        raise InvalidInput(phrase("The text is longer than %(most)s characters.", most=LONGEST_SOURCE), field="text")
    return _environment(autoescape).from_string(source)


@lru_cache(maxsize=1024)
def _compiled_mail(inner: str, brand: Brand) -> Template:
    """The whole mail around an inner text, with the CSS inlined; compiled once for each text and brand."""
    return _environment(True).from_string(inlined(inner, brand))


def inlined(inner: str, brand: Brand) -> str:
    """The source of the whole mail around an inner text, its CSS in the tags' own styles."""
    whole = layout().replace("{{ body }}", inner)
    whole = whole.replace("{{ brand.color }}", brand.color).replace("{{ brand.on_color }}", brand.on_color)
    # Tags are kept apart while the HTML is parsed: its parser would escape what they hold.
    tags: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        tags.append(found[0])
        return f"jinja-tag-{len(tags) - 1}-"

    inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
    html = str(inliner.inline(_TAG.sub(put_aside, whole)))
    return re.sub(r"jinja-tag-(\d+)-", lambda found: tags[int(found[1])], html)


@cache
def layout() -> str:
    """The skeleton of every HTML mail."""
    return (files("crm_plugin") / "templates" / "messages" / "layout.html").read_text(encoding="utf-8")


def render(text: Text, scene: Scene, brand: Brand) -> Rendered:
    """One message. Raises: RenderError naming the part and the variable."""
    names = scene.names()
    done = {
        part: _render_part(text, part, source, names) for part, source in text.parts().items() if part != "body_html"
    }
    html = ""
    if text.channel == "email" and text.body_html:
        language = scene.locale.split("-")[0]
        around = {
            **names,
            "title": done["subject"],
            "preheader": preheader(done.get("body_text", "")),
            "lang": scene.locale,
            "dir": "rtl" if language in RIGHT_TO_LEFT else "ltr",
            "brand": brand,
        }
        html = _run(lambda: _compiled_mail(text.body_html, brand).render(around), text, "body_html")
    return Rendered(
        locale=scene.locale,
        # A subject is one line, whatever a name holds.
        subject=" ".join(done.get("subject", "").split()),
        text=done.get("body_text", "").strip("\n") + ("\n" if text.channel == "email" else ""),
        html=html,
        url=done.get("url", "").strip(),
    )


def _render_part(text: Text, part: str, source: str, names: Mapping[str, Any]) -> str:
    return _run(lambda: _compiled(source, False).render(names), text, part)


_TOO_DEEP = (SyntaxError, RecursionError, MemoryError)
# What a text can bring about: a mistake in it, values that do not fit, nesting too deep for Jinja or Python.
_MISTAKES = (
    TemplateError,
    ArithmeticError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    *_TOO_DEEP,
)


def _run(work: Callable[[], str], text: Text, part: str) -> str:
    try:
        made = work()
    except _MISTAKES as error:
        raise _told(error, f"{text.template_key} ({text.channel}, {text.locale}, {part})") from error
    if len(made) > LONGEST_OUTPUT:
        where = f"{text.template_key} ({text.channel}, {text.locale}, {part})"
        what = phrase("comes out longer than %(most)s characters.", most=LONGEST_OUTPUT)
        raise RenderError(_of(where, what), template=where)
    return made


def _told(error: Exception, where: str) -> RenderError:
    """What went wrong in a text, in words that say what to do."""
    if isinstance(error, _TOO_DEEP):
        what = phrase("is nested too deeply.")
        return RenderError(_of(where, what), template=where, hint=phrase("Make it simpler."))
    if isinstance(error, TemplateSyntaxError):
        what = phrase("cannot be read: %(why)s (line %(line)s).", why=error.message, line=error.lineno)
        return RenderError(_of(where, what), template=where, hint=_MEND)
    if isinstance(error, UndefinedError):
        name = _undefined_name(str(error))
        what = phrase("uses %(name)s that is not there: %(why)s.", name=name or phrase("something"), why=error.message)
        hint = phrase("Guard it with {% if … %}, or take it out.")
        return RenderError(_of(where, what), template=where, variable=name, hint=hint)
    if isinstance(error, SecurityError):
        return RenderError(_of(where, phrase("does what a text may not: %(why)s.", why=error)), template=where)
    return RenderError(_of(where, phrase("fails: %(why)s.", why=error)), template=where, hint=_MEND)


_MEND = phrase("Mend it under Journeys.")


def _of(where: str, what: str) -> Phrase:
    """What is wrong with a text, after the text itself; its own page leaves that out."""
    return phrase("The text %(where)s %(what)s", where=where, what=what)


def _undefined_name(message: str) -> str:
    found = re.findall(r"'([^']+)'", message)
    return found[-1] if found else ""


def check(text: Text, scenes: list[Scene], brand: Brand) -> None:
    """Refuse a text that could not be rendered: syntax, unknown names, and a rehearsal with sample scenes.

    Raises: InvalidInput naming the part, the line and what to write instead.
    """
    if text.channel not in PARTS:
        raise InvalidInput(
            phrase("There is no channel %(channel)r.", channel=text.channel),
            field="channel",
            hint=phrase("Use: %(names)s.", names=list(PARTS)),
        )
    if not text.body_text.strip():
        raise InvalidInput(
            phrase("The %(channel)s text of %(key)s (%(locale)s) is empty.", **_named(text)),
            field="body_text",
            hint=phrase("A mail needs its plain text too: many read that.") if text.channel == "email" else "",
        )
    if text.channel == "email" and not text.subject.strip():
        told = phrase("The mail %(key)s (%(locale)s) has no subject.", key=text.template_key, locale=text.locale)
        raise InvalidInput(told, field="subject")
    for part, source in text.parts().items():
        _check_part(text, part, source)
    for scene in scenes:
        try:
            made = render(text, scene, brand)
        except RenderError as error:
            part = next((name for name in text.parts() if f", {name})" in error.message), "body_text")
            raise InvalidInput(error.message, field=part, hint=error.hint) from error
        if not made.text.strip():
            raise InvalidInput(
                phrase("The %(channel)s text of %(key)s (%(locale)s) comes out empty.", **_named(text)),
                field="body_text",
            )


def _named(text: Text) -> dict[str, str]:
    return {"channel": CALLED[text.channel], "key": text.template_key, "locale": text.locale}


def _check_part(text: Text, part: str, source: str) -> None:
    where = f"{text.template_key} ({text.channel}, {text.locale}, {part})"
    environment = _environment(part == "body_html")
    try:
        tree = environment.parse(source)
        _compiled(source, part == "body_html")
    except TemplateSyntaxError as error:
        pairs = phrase("Every {{ ends with }}, every {% with %}, and every {% if %} has its {% endif %}.")
        what = phrase("%(why)s.", why=error.message or phrase("cannot be read"))
        raise InvalidInput(
            phrase("%(where)s, line %(line)s: %(what)s", where=where, line=error.lineno, what=what),
            field=part,
            line=error.lineno,
            hint="" if isinstance(error, NotAllowed) else pairs,
        ) from error
    except (*_TOO_DEEP, ValueError) as error:
        # A number of very many digits is a ValueError.
        what = phrase("it cannot be read.")
        told = phrase("%(where)s: %(what)s", where=where, what=what)
        raise InvalidInput(told, field=part, hint=phrase("Make it simpler.")) from error
    unknown = sorted(meta.find_undeclared_variables(tree) - set(VARIABLES))
    if unknown:
        what = phrase("there is no variable %(name)r.", name=unknown[0])
        raise InvalidInput(
            phrase("%(where)s: %(what)s", where=where, what=what),
            field=part,
            line=_line_of(tree, unknown[0]),
            hint=phrase("Known are: %(names)s.", names=list(VARIABLES)),
        )


def _line_of(tree: nodes.Template, name: str) -> int:
    return next((found.lineno for found in tree.find_all(nodes.Name) if found.name == name), 0)


def preheader(text: str) -> str:
    """The first words of the plain text, which mail programs show beside the subject; its greeting line is left out."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    body = lines[1] if len(lines) > 1 else lines[0] if lines else ""
    return body if len(body) <= 120 else body[:119].rsplit(" ", 1)[0] + "…"


def money(minor: int, currency: str, locale: str) -> str:
    """Minor units as money in a language."""
    return str(format_currency(to_major(minor, currency), currency, locale=babel_locale(locale)))


@pass_context
def _money_filter(context: Context, value: Any, currency: str = "") -> str:
    """An amount in major units, by default in the shop's currency."""
    code, amount = currency or context["shop"].currency, Decimal(str(value))
    if not -LARGEST_NUMBER <= amount <= LARGEST_NUMBER or amount.adjusted() < -20:
        raise ValueError("the amount is out of range")
    return str(format_currency(amount, code, locale=babel_locale(context["locale"])))


@pass_context
def _date_filter(context: Context, value: date, style: str = "long") -> str:
    """A day as the member's language writes it; the style "day" leaves out the year."""
    locale = babel_locale(context["locale"])
    if style == "day":
        return str(format_skeleton("MMMMd", value, locale=locale))
    return str(format_date(value, style, locale=locale))


@lru_cache(maxsize=256)
def babel_locale(locale: str) -> Locale:
    """The Babel locale of a tag; English for one nobody knows."""
    try:
        return Locale.parse(locale, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en")


def choose_locale(wanted: str, there: Collection[str], fallback: str) -> str:
    """Of the locales a text is written in, the one nearest to the member's; then the shop's, English, any.

    zh-TW is not served zh-CN's text when there is English and the shop is no Chinese one: scripts differ.
    """
    names = sorted(there)
    for told in (wanted, fallback, "en"):
        tag = told.replace("_", "-")
        if not tag:
            continue
        exact = next((name for name in names if name.lower() == tag.lower()), None)
        if exact is not None:
            return exact
        language = tag.split("-")[0].lower()
        near = next(
            (name for name in names if name.split("-")[0].lower() == language and not _other_script(tag, name)), None
        )
        if near is not None:
            return near
    return names[0] if names else ""


_TRADITIONAL = frozenset({"tw", "hk", "mo", "hant"})


def _other_script(one: str, other: str) -> bool:
    def traditional(tag: str) -> bool:
        return any(part.lower() in _TRADITIONAL for part in tag.split("-")[1:])

    return one.lower().startswith("zh") and traditional(one) != traditional(other)


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
