"""English and Simplified Chinese: the language of a request, and catalogues read straight from the .po files.

Reading them at the start costs a few milliseconds and leaves no compiled copy that could be out of date.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, g, request, session
from flask_babel import Babel, Domain, get_locale, gettext

from crm_plugin.errors import CrmError
from crm_plugin.phrases import Phrase, joined

FOLDER = Path(__file__).resolve().parent.parent / "translations"
LANGUAGES = {"en": "English", "zh": "简体中文"}
# What numbers, dates and names of countries are written in.
_LOCALES = {"en": "en", "zh": "zh_Hans_CN"}


@cache
def catalogue(language: str) -> NullTranslations:
    """The translations into a language; English needs none."""
    path = FOLDER / language / "LC_MESSAGES" / "messages.po"
    if not path.is_file():
        return NullTranslations()
    with path.open("rb") as file:
        written = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, written)
    compiled.seek(0)
    return Translations(compiled)


class _FromText(Domain):  # type: ignore[misc]
    def get_translations(self) -> Any:
        return catalogue(str(get_locale()).split("_")[0])


def language() -> str:
    """The language of this request: chosen on the page, else that of the admin around it, else what the browser prefers, else English."""
    told = request.args.get("lang", "")
    if told in LANGUAGES:
        session["lang"] = told
    visit = g.get("visit")
    for chosen in (told, visit.language if visit is not None else "", session.get("lang", "")):
        if chosen in LANGUAGES:
            return str(chosen)
    return request.accept_languages.best_match(["en", "zh", "zh-CN", "zh-Hans"], default="en").split("-")[0]


def ours(locale: str) -> str:
    """Which of our languages a locale such as `zh_Hans` or `en-GB` is of; empty for any other."""
    first = locale.replace("_", "-").partition("-")[0].lower()
    return first if first in LANGUAGES else ""


def in_words(text: Any) -> Any:
    """A text from the code below the pages in the reader's language; what is no phrase stands as it is."""
    if not isinstance(text, Phrase):
        return text
    told = gettext(text.message)
    return told % {name: _value(value) for name, value in text.values.items()} if text.values else told


def _value(value: Any) -> Any:
    return gettext(", ").join(str(in_words(item)) for item in value) if isinstance(value, tuple) else in_words(value)


def explained(error: CrmError) -> str:
    """What is wrong and what to do, in the reader's language."""
    return str(in_words(joined(error.message, error.hint)))


def install(app: Flask) -> None:
    """Give the application its languages. Templates say every phrase in the reader's by themselves."""
    app.jinja_env.finalize = in_words
    app.jinja_env.globals["explained"] = explained
    domain = _FromText()
    Babel(app, locale_selector=lambda: _LOCALES[language()])

    @app.before_request
    def use_catalogue() -> None:
        domain.as_default()
