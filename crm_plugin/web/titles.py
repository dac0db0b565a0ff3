"""What the merchant called things: the name in the reader's language, and keys made from names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping

from babel.numbers import format_percent
from flask_babel import get_locale
from flask_babel import gettext as _

from crm_plugin.rules.called import Called, title_in
from crm_plugin.rules.windows import PROGRAM

# The names a form asks for, by the locale they are kept under.
ENGLISH, CHINESE = "en", "zh-CN"


def chinese() -> bool:
    """Whether the page is read in Chinese."""
    return str(get_locale()).startswith("zh")


def named(title: Mapping[str, str], key: str = "") -> str:
    """The name in the reader's language, else in another one, else the key."""
    return title_in(title, chinese(), key)


def level_name(by: Called, key: str, program: str = PROGRAM) -> str:
    """What the shop calls a level; of a key that is none, that there is none."""
    return by.level(program, key, chinese()) if key else str(_("No level"))


def program_name(by: Called, program: str) -> str:
    """What the shop calls a tier programme."""
    return by.program(program, chinese()) if program in by.programs or program != PROGRAM else str(_("Main programme"))


def in_language(title: Mapping[str, str], locale: str) -> str:
    """The name kept for a language of the form, also when it is kept under a shorter tag."""
    return title.get(locale) or title.get(locale.split("-")[0], "")


def retitled(title: Mapping[str, str], english: str, chinese_name: str) -> dict[str, str]:
    """The names with these two in place; names in other languages stay, empty ones go."""
    short = "zh" in title and CHINESE not in title
    kept = {locale: name for locale, name in title.items() if locale not in (ENGLISH, "zh", CHINESE)}
    told = {ENGLISH: english, "zh" if short else CHINESE: chinese_name}
    return {locale: name for locale, name in (told | kept).items() if name}


def who(actor: str) -> str:
    """Who caused something, out of the audit log."""
    kind = actor.partition(":")[0]
    told = {"page": _("you, on this page"), "cli": _("the command line"), "job": _("by itself, every day")}
    return str(told.get(kind, actor))


def share(part: float) -> str:
    """A part of a whole in per cent; what is there but rounds to nothing says so."""
    if 0 < part < 0.005:
        return f"<{format_percent(0.01, locale=get_locale())}"
    return str(format_percent(part, locale=get_locale()))


def key_for(name: str, taken: Collection[str], otherwise: str) -> str:
    """A key made from a name, such as gold-plus, and a number after it where it is taken."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or otherwise
    return next(key for number in range(1, 1000) if (key := base if number == 1 else f"{base}-{number}") not in taken)
