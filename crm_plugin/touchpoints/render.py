"""One message from one text: filled in for a member, or refused by its place and line; and the check of a text before it is saved.

A text sees plain values and a few views, never our rows. An unknown name is an error that names itself, here and when a text is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes
from markupsafe import Markup, escape

from crm_plugin.errors import InvalidInput, RenderError
from crm_plugin.phrases import phrase
from crm_plugin.touchpoints import mistakes
from crm_plugin.touchpoints.bounds import LONGEST_OUTPUT
from crm_plugin.touchpoints.mistakes import Mistake
from crm_plugin.touchpoints.policy import Brand
from crm_plugin.touchpoints.sandbox import compiled, compiled_mail, environment
from crm_plugin.touchpoints.scene import Scene

RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})
PARTS = {
    "email": ("subject", "body_text", "body_html"),
    "sms": ("body_text",),
    "inapp": ("subject", "body_text", "url"),
    "note": ("body_text",),
}
# What errors call the channels.
CALLED = {"email": phrase("email"), "sms": phrase("sms"), "inapp": phrase("in-app"), "note": phrase("note")}


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

    @property
    def is_framed(self) -> bool:
        """Whether it is an HTML mail, which stands in a frame."""
        return self.channel == "email" and bool(self.body_html)


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message as it will be read."""

    locale: str
    subject: str
    text: str
    html: str = ""
    url: str = ""


def render(text: Text, scene: Scene, brand: Brand) -> Rendered:
    """One message. Raises: RenderError naming the part and the variable."""
    names = scene.names()
    done = {
        part: _render_part(text, part, source, names) for part, source in text.parts().items() if part != "body_html"
    }
    html = ""
    if text.is_framed:
        around = {**names, **frame(scene.locale, brand), **heading(done)}
        html = _run(lambda: compiled_mail(text.body_html, brand).render(around), text, "body_html", names)
    return finished(text, scene.locale, done, html)


def frame(locale: str, brand: Brand) -> dict[str, Any]:
    """What the frame of an HTML mail asks for, whoever reads it."""
    return {"lang": locale, "dir": "rtl" if locale.split("-")[0] in RIGHT_TO_LEFT else "ltr", "brand": brand}


def heading(done: Mapping[str, str]) -> dict[str, str]:
    """What the frame of an HTML mail asks for of the parts that are done."""
    return {"title": done["subject"], "preheader": preheader(done.get("body_text", ""))}


def finished(text: Text, locale: str, done: Mapping[str, str], html: str) -> Rendered:
    """The message of its parts."""
    return Rendered(
        locale=locale,
        # A subject is one line, whatever a name holds.
        subject=" ".join(done.get("subject", "").split()),
        text=done.get("body_text", "").strip("\n") + ("\n" if text.channel == "email" else ""),
        html=html,
        url=done.get("url", "").strip(),
    )


def _render_part(text: Text, part: str, source: str, names: Mapping[str, Any]) -> str:
    return _run(lambda: compiled(source, False).render(names), text, part)


_TOO_DEEP = (SyntaxError, RecursionError, MemoryError)
# What a text can bring about: a mistake in it, values that do not fit, nesting too deep for Jinja or Python.
MISTAKES = (
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
    except MISTAKES as error:
        if names is not None:
            _run(lambda: compiled(text.parts()[part], True).render(names), text, part)
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
    try:
        tree = environment(part == "body_html").parse(source)
        compiled(source, part == "body_html")
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


def preheader(text: str) -> Markup:
    """The first words of the plain text, which mail programs show beside the subject; its greeting line is left out."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    body = lines[1] if len(lines) > 1 else lines[0] if lines else ""
    if len(body) <= 120:
        return escape(body)
    # Written in ASCII: a mail that is all ASCII goes as it is.
    return escape(body[:119].rsplit(" ", 1)[0]) + Markup("&hellip;")


def names_in(text: Text) -> frozenset[str]:
    """The variables that a text speaks of; none for a part that cannot be read."""
    return frozenset().union(*(names_of(source) for source in text.parts().values()))


@lru_cache(maxsize=4096)
def names_of(source: str) -> frozenset[str]:
    """The same of one part."""
    tree = tree_of(source)
    return frozenset() if tree is None else frozenset(meta.find_undeclared_variables(tree))


def tree_of(source: str) -> nodes.Template | None:
    """A text as it is read; None when it cannot be."""
    try:
        return environment(False).parse(source)
    except (TemplateSyntaxError, *_TOO_DEEP, ValueError):
        return None
