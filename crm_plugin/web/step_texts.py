"""How the messages of a journey's steps begin, and which there are of each: one statement for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from crm_plugin.store import templates
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import CHANNELS
from crm_plugin.touchpoints.locales import choose_locale
from crm_plugin.touchpoints.steps.document import Step
from crm_plugin.web import languages
from crm_plugin.web.titles import CHINESE, ENGLISH, chinese

_CODE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_TAG = re.compile(r"\{%[-+]?\s*(\w+).*?%\}|\{#.*?#\}", re.DOTALL)
LONGEST = 60


@dataclass(frozen=True, slots=True)
class Texts:
    """Of the templates asked for: which channels and languages there are, and how each begins in the reader's language."""

    there: dict[str, dict[str, list[str]]]
    begins: dict[str, str]

    def of(self, step: Step) -> list[tuple[str, list[tuple[str, str]]]]:
        """The texts of a step that sends: its channels in their order, each with (locale, name of the language)."""
        written = self.there.get(step.told["template"], {})
        return [
            (channel, [(locale, languages.name(locale)) for locale in written.get(channel, [])])
            for channel in step.told["channels"]
        ]


def texts_of(connection: Connection, shop: Shop, steps: Iterable[Step]) -> Texts:
    """What is written for these steps, which send."""
    t = templates.c
    keys = sorted({step.told["template"] for step in steps})
    query = select(t.template_key, t.channel, t.locale, t.subject, t.body_text).where(
        t.shop_id == shop.shop_id, t.template_key.in_(keys)
    )
    there: dict[str, dict[str, list[str]]] = {}
    words: dict[tuple[str, str, str], str] = {}
    for row in connection.execute(query) if keys else ():
        there.setdefault(row.template_key, {}).setdefault(row.channel, []).append(row.locale)
        words[row.template_key, row.channel, row.locale] = row.subject or row.body_text
    begins = {}
    for key, channels in there.items():
        first = next(channel for channel in CHANNELS if channel in channels)
        own = choose_locale(CHINESE if chinese() else ENGLISH, channels[first], shop.locale)
        begins[key] = beginning(words[key, first, own])
        for locales in channels.values():
            locales.sort()
    return Texts(there, begins)


def beginning(text: str) -> str:
    """The beginning of a text with … in place of what each member's own is put, as it is for whom no condition holds."""
    told = _squeezed(_unconditional(text)) or _squeezed(_TAG.sub("", text))
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"


def _squeezed(text: str) -> str:
    return " ".join(_CODE.sub("…", text).split())


def _unconditional(text: str) -> str:
    """A text without its tags, and of its conditions only what stands under `else`: their branches are told for one reader each."""
    told, at = [], 0
    left_out: list[bool] = []
    for tag in _TAG.finditer(text):
        if not any(left_out):
            told.append(text[at : tag.start()])
        at, word = tag.end(), tag[1]
        if word in ("if", "for"):
            left_out.append(word == "if")
        elif left_out and word in ("else", "endif", "endfor"):
            left_out.pop()
            if word == "else":
                left_out.append(False)
    return "".join([*told, text[at:]])
