"""Rendering: Jinja in a sandbox with strict undefined, compiled once for each version of a text, CSS inlined once with it.

A text sees plain values and a few views, never our rows. An unknown name is an error that names itself, here and when a text is saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import css_inline
from babel import Locale
from babel.dates import format_date, format_skeleton
from babel.numbers import format_currency
from jinja2 import Template, TemplateError, TemplateSyntaxError, meta, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined

from crm_plugin.errors import InvalidInput, RenderError
from crm_plugin.phrases import phrase
from crm_plugin.touchpoints import mistakes
from crm_plugin.touchpoints.bounds import LARGEST_NUMBER, LONGEST_OUTPUT, BoundedEnvironment
from crm_plugin.touchpoints.mistakes import Mistake
from crm_plugin.touchpoints.policy import Brand
from crm_plugin.touchpoints.scene import VIEWS, Scene, babel_locale

# A text longer than this is no message; an HTML mail past 102 KB is cut by the largest mail host.
LONGEST_SOURCE = 100_000
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})
PARTS = {
    "email": ("subject", "body_text", "body_html"),
    "sms": ("body_text",),
    "inapp": ("subject", "body_text", "url"),
    "note": ("body_text",),
}
# What errors call the channels.
CALLED = {"email": phrase("email"), "sms": phrase("sms"), "inapp": phrase("inapp"), "note": phrase("note")}
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
        if obj.__class__ in _VIEWS and not attribute.startswith("_"):
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


_VIEWS = frozenset((*VIEWS, Brand))


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
        html = _run(lambda: _compiled_mail(text.body_html, brand).render(around), text, "body_html", names)
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


def _run(work: Callable[[], str], text: Text, part: str, names: Mapping[str, Any] | None = None) -> str:
    """What the work makes. Raises: RenderError; the line of a whole mail says nothing, so its inner text is tried alone by the `names`."""
    try:
        made = work()
    except _MISTAKES as error:
        if names is not None:
            _run(lambda: _compiled(text.parts()[part], True).render(names), text, part)
        raise _told(error, text, part) from error
    if len(made) > LONGEST_OUTPUT:
        raise _error(text, part, Mistake(phrase("it comes out longer than %(most)s characters.", most=LONGEST_OUTPUT)))
    return made


def _told(error: Exception, text: Text, part: str) -> RenderError:
    """What went wrong in a text, in words that say what to do."""
    if isinstance(error, _TOO_DEEP):
        return _error(text, part, Mistake(phrase("it is nested too deeply.")), hint=phrase("Make it simpler."))
    if isinstance(error, TemplateSyntaxError):
        return _error(text, part, mistakes.of_syntax(error, text.parts()[part]))
    return _error(text, part, mistakes.of_rendering(error), name=mistakes.missing_name(error))


def _error(text: Text, part: str, mistake: Mistake, *, hint: str = "", name: str = "") -> RenderError:
    return RenderError(
        _placed(text, part, mistake), template=_where(text, part), variable=name, line=mistake.line, hint=hint
    )


def _where(text: Text, part: str) -> str:
    return f"{text.template_key} ({text.channel}, {text.locale}, {part})"


def _placed(text: Text, part: str, mistake: Mistake) -> str:
    """A mistake after the text it is in; that text's own page leaves the place out."""
    where = _where(text, part)
    if mistake.line:
        return phrase("%(where)s, line %(line)s: %(what)s", where=where, line=mistake.line, what=mistake.what)
    return phrase("%(where)s: %(what)s", where=where, what=mistake.what)


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
            part = next((name for name in text.parts() if error.template == _where(text, name)), "body_text")
            raise InvalidInput(error.message, field=part, line=error.line, hint=error.hint) from error
        if not made.text.strip():
            raise InvalidInput(
                phrase("The %(channel)s text of %(key)s (%(locale)s) comes out empty.", **_named(text)),
                field="body_text",
            )


def _named(text: Text) -> dict[str, str]:
    return {"channel": CALLED[text.channel], "key": text.template_key, "locale": text.locale}


def _check_part(text: Text, part: str, source: str) -> None:
    environment = _environment(part == "body_html")
    try:
        tree = environment.parse(source)
        _compiled(source, part == "body_html")
    except TemplateSyntaxError as error:
        raise _refused(text, part, mistakes.of_syntax(error, source)) from error
    except (*_TOO_DEEP, ValueError) as error:
        # A number of very many digits is a ValueError.
        raise _refused(text, part, Mistake(phrase("it cannot be read.")), hint=phrase("Make it simpler.")) from error
    unknown = mistakes.unknown_name(tree, meta.find_undeclared_variables(tree))
    if unknown is not None:
        raise _refused(text, part, unknown)


def _refused(text: Text, part: str, mistake: Mistake, hint: str = "") -> InvalidInput:
    return InvalidInput(_placed(text, part, mistake), field=part, line=mistake.line, hint=hint)


def preheader(text: str) -> str:
    """The first words of the plain text, which mail programs show beside the subject; its greeting line is left out."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    body = lines[1] if len(lines) > 1 else lines[0] if lines else ""
    return body if len(body) <= 120 else body[:119].rsplit(" ", 1)[0] + "…"


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
    locale: Locale = babel_locale(context["locale"])
    if style == "day":
        return str(format_skeleton("MMMMd", value, locale=locale))
    return str(format_date(value, style, locale=locale))


def names_in(text: Text) -> frozenset[str]:
    """The variables that a text speaks of; none for a part that cannot be read."""
    return frozenset().union(*(_names_in(source) for source in text.parts().values()))


@lru_cache(maxsize=4096)
def _names_in(source: str) -> frozenset[str]:
    try:
        return frozenset(meta.find_undeclared_variables(_environment(False).parse(source)))
    except (TemplateSyntaxError, *_TOO_DEEP, ValueError):
        return frozenset()


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
