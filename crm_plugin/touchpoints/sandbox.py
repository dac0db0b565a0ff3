"""The Jinja of texts: a sandbox with strict undefined, compiled once for each version of a text, CSS inlined once with it."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from babel import Locale
from babel.numbers import format_currency
from jinja2 import Template, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.touchpoints import mistakes
from crm_plugin.touchpoints.bounds import LARGEST_NUMBER, BoundedEnvironment
from crm_plugin.touchpoints.policy import Brand
from crm_plugin.touchpoints.scene import VIEWS, babel_locale

# A text longer than this is no message; an HTML mail past 102 KB is cut by the largest mail host.
LONGEST_SOURCE = 100_000
_TAG = r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}"
# A letter written by its name or number, but for those that HTML itself is written with.
_LETTER = r"&(?!(?:amp|lt|gt|quot|apos);)#?\w+;"
_ASIDE = re.compile(f"{_TAG}|{_LETTER}", re.DOTALL)


class Sandbox(BoundedEnvironment):
    """No attribute that begins with an underscore, nothing that changes what it is given, nothing that takes long or grows large."""

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            undefined=mistakes.Missing, autoescape=autoescape, trim_blocks=False, keep_trailing_newline=False
        )
        self.filters["money"] = _money_filter
        self.filters["date"] = _date_filter

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Our own views are plain values without methods, so of the sandbox's questions only the underscore is asked of them."""
        if obj.__class__ in PLAIN and not attribute.startswith("_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """What stands for a name that begins with an underscore."""
        return self.undefined(
            phrase("a name that begins with _ cannot be used"), obj=obj, name=attribute, exc=SecurityError
        )


# What a text is shown of ours: plain values under names.
PLAIN = frozenset((*VIEWS, Brand))


@cache
def environment(autoescape: bool) -> Sandbox:
    """The sandbox of HTML, which escapes what is filled in, or of plain text."""
    return Sandbox(autoescape=autoescape)


@lru_cache(maxsize=4096)
def compiled(source: str, autoescape: bool) -> Template:
    """A source, compiled once for all that are alike. Raises: InvalidInput where it is too long, TemplateSyntaxError."""
    return environment(autoescape).from_string(not_too_long(source))


def not_too_long(source: str) -> str:
    """The source itself. Raises: InvalidInput."""
    if len(source) > LONGEST_SOURCE:
        raise InvalidInput(phrase("The text is longer than %(most)s characters.", most=LONGEST_SOURCE), field="text")
    return source


@lru_cache(maxsize=1024)
def compiled_mail(inner: str, brand: Brand) -> Template:
    """The whole mail around an inner text, with the CSS inlined; compiled once for each text and brand."""
    return environment(True).from_string(inlined(inner, brand))


def inlined(inner: str, brand: Brand) -> str:
    """The source of the whole mail around an inner text, its CSS in the tags' own styles."""
    whole = layout().replace("{{ body }}", inner)
    whole = whole.replace("{{ brand.color }}", brand.color).replace("{{ brand.on_color }}", brand.on_color)
    # Tags are kept apart while the HTML is parsed: its parser would escape what they hold. So are letters that are written in ASCII, for it
    # would write them as they are, and a mail that is all ASCII goes as it is.
    kept: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"jinja-tag-{len(kept) - 1}-"

    # Whoever makes no HTML mail needs no parser of HTML.
    import css_inline

    inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
    html = str(inliner.inline(_ASIDE.sub(put_aside, whole)))
    return re.sub(r"jinja-tag-(\d+)-", lambda found: kept[int(found[1])], html)


@cache
def layout() -> str:
    """The skeleton of every HTML mail."""
    return (files("crm_plugin") / "templates" / "messages" / "layout.html").read_text(encoding="utf-8")


@pass_context
def _money_filter(context: Context, value: Any, currency: str = "") -> str:
    """An amount in major units, by default in the shop's currency."""
    try:
        code, amount = currency or context["shop"].currency, Decimal(str(value))
    except InvalidOperation as error:
        raise SecurityError(phrase("`money` needs a number")) from error
    if not -LARGEST_NUMBER <= amount <= LARGEST_NUMBER or amount.adjusted() < -20:
        raise SecurityError(phrase("the amount is out of range"))
    return str(format_currency(amount, code, locale=babel_locale(context["locale"])))


_STYLES = ("full", "long", "medium", "short", "day")


@pass_context
def _date_filter(context: Context, value: Any, style: str = "long") -> str:
    """A day as the member's language writes it; the style "day" leaves out the year."""
    if not isinstance(value, date) or style not in _STYLES:
        raise SecurityError(
            phrase("`date` needs a day such as `occasion`, and knows %(names)s", names=[f'"{one}"' for one in _STYLES])
        )
    # Few texts tell a day.
    from babel.dates import format_date, format_skeleton

    locale: Locale = babel_locale(context["locale"])
    if style == "day":
        return str(format_skeleton("MMMMd", value, locale=locale))
    return str(format_date(value, style, locale=locale))
