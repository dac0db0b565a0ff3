"""A programme file: read into typed values, each section checked by itself, each error naming section and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.rules.book import check_key
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import Level, check_level, read_level
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.touchpoints import documents
from crm_plugin.touchpoints.journey import Draft
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.recipes import recipe, recipe_texts
from crm_plugin.touchpoints.render import PARTS, Text
from crm_plugin.touchpoints.settings import read_locale, read_settings
from crm_plugin.touchpoints.texts import tidied

SECTIONS = ("settings", "tiers", "tier_programs", "segments", "journeys", "templates")
# What the parts of a text are called in a file.
PART_NAMES = {"subject": "subject", "body_text": "text", "body_html": "html", "url": "url"}
Place = tuple[str, str, str]
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class SegmentDraft:
    """A segment as told; its rule is checked where the tiers are known."""

    key: str
    title: str
    rule: str


@dataclass(frozen=True, slots=True)
class Program:
    """What a file says. None is a section that is not in it; `offered` are the texts of the recipes that journeys name."""

    settings: dict[str, Any] | None = None
    tiers: list[Level] | None = None
    policies: list[Policy] | None = None
    segments: list[SegmentDraft] | None = None
    journeys: list[Draft] | None = None
    templates: list[Text] | None = None
    offered: tuple[Text, ...] = ()


def read_file(path: Path) -> dict[str, Any]:
    """The document of a programme file. Raises: InvalidInput."""
    return as_program(_document(path))


def read_policy_file(path: Path, program: str = PROGRAM) -> Policy:
    """The policy of a tier programme in a file of its own. Raises: InvalidInput, RuleError."""
    document = _document(path)
    with within(path.name):
        return read_policy(document, program)


def _document(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field="file") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text.", field="file", hint="Save it again as UTF-8.") from error
    return documents.read(text, path.name)


def as_program(document: Any) -> dict[str, Any]:
    """The document, when it is made of sections. Raises: InvalidInput."""
    if not isinstance(document, Mapping) or not document:
        raise InvalidInput(
            "The file holds no programme.", hint=f"It has the sections {', '.join(SECTIONS)}, or some of them."
        )
    for key in document:
        if key not in SECTIONS:
            near = difflib.get_close_matches(str(key), SECTIONS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(SECTIONS)}."
            raise InvalidInput(f"There is no section {key!r}.", field=str(key), hint=hint)
    return dict(document)


@contextmanager
def within(*place: str) -> Iterator[None]:
    """Errors inside say where in the file they are: section, key, and what is inside it."""
    where = ", ".join(part for part in place if part)
    try:
        yield
    except RuleError as error:
        # Line and column count from the beginning of the rule, not of the file.
        message = f"In the rule of {_inside(where, error.path)}: {error.message}"
        raise type(error)(message, line=error.line, column=error.column, path=error.path, hint=error.hint) from error
    except CrmError as error:
        inner = getattr(error, "field", "")
        field = ".".join(part for part in (*place, inner) if part)
        raise InvalidInput(
            f"{_inside(where, inner)}: {error.message}", field=field, line=getattr(error, "line", 0), hint=error.hint
        ) from error


def _inside(where: str, place: str) -> str:
    """The place in the file, down to the step of a journey where it is in one."""
    return f"{where}, {place.split(':')[0]}" if place.startswith("steps.") else where


def read_program(document: Mapping[str, Any]) -> Program:
    """Check a document section by section. Raises: InvalidInput, RuleError."""
    told = as_program(document)
    journeys, offered = _journeys(told["journeys"]) if "journeys" in told else (None, ())
    return Program(
        settings=_settings(told["settings"]) if "settings" in told else None,
        tiers=_tiers(told["tiers"]) if "tiers" in told else None,
        policies=_policies(told["tier_programs"], with_tiers="tiers" in told) if "tier_programs" in told else None,
        segments=_segments(told["segments"]) if "segments" in told else None,
        journeys=journeys,
        templates=_templates(told["templates"]) if "templates" in told else None,
        offered=offered,
    )


def _settings(told: Any) -> dict[str, Any]:
    with within("settings"):
        if not isinstance(told, Mapping):
            raise InvalidInput("Settings are names and values.")
        return read_settings(told)


def _tiers(told: Any) -> list[Level]:
    found: list[Level] = []
    for key, item in _entries(told, "tiers"):
        with within("tiers", key):
            level = read_level({**item, "title": _titles(item.get("title"))})
            found.append(replace(level, rule=check_level(level).text))
    return found


def _policies(told: Any, *, with_tiers: bool) -> list[Policy]:
    """The tier programmes by their policies; the main one is in `tiers` or here."""
    found: list[Policy] = []
    with within("tier_programs"):
        if not isinstance(told, list | tuple):
            raise InvalidInput("It is a list.", hint="- program: … for each.")
    for number, item in enumerate(told, start=1):
        named = item.get("program") if isinstance(item, Mapping) else None
        with within("tier_programs", str(named or f"entry {number}")):
            policy = read_policy(item)
            if any(one.program == policy.program for one in found):
                raise InvalidInput(
                    "This programme is there twice.", field="program", hint="Give each a key of its own."
                )
            if with_tiers and policy.program == PROGRAM:
                hint = "Leave out tiers, or give the programme another key."
                raise InvalidInput("The main programme stands in tiers too.", field="program", hint=hint)
            found.append(policy)
    return found


def _segments(told: Any) -> list[SegmentDraft]:
    found: list[SegmentDraft] = []
    for key, item in _entries(told, "segments"):
        with within("segments", key):
            unknown = sorted(set(item) - {"key", "title", "rule"})
            if unknown:
                raise InvalidInput(
                    f"A segment has no {unknown[0]!r}.", field=unknown[0], hint="It has key, title, rule."
                )
            check_key(key, "segment")
            rule = item.get("rule")
            found.append(SegmentDraft(key, _word(item.get("title"), "title"), str(rule if rule is not None else "")))
    return found


def _journeys(told: Any) -> tuple[list[Draft], tuple[Text, ...]]:
    drafts: list[Draft] = []
    offered: list[Text] = []
    for key, item in _entries(told, "journeys"):
        with within("journeys", key):
            named = item.pop("recipe", None)
            ready = recipe(_word(named, "recipe")) if named is not None else None
            if ready is not None:
                item = {**ready.as_journey(), **item}
            if item.get("title") is not None:
                item["title"] = _titles(item["title"])
            draft = read_draft(item)
            drafts.append(draft)
            if ready is not None:
                # Of one message they become the texts of the journey's own template, of several each keeps its own.
                own = {} if draft.flow.steps else {ready.key: draft.template_key}
                offered += [
                    replace(text, template_key=own.get(text.template_key, text.template_key))
                    for text in recipe_texts(ready.key)
                ]
    return drafts, tuple(offered)


def _templates(told: Any) -> list[Text]:
    found: list[Text] = []
    for key, channels in _named(told, "templates").items():
        for channel, locales in _named(channels, "templates", key).items():
            for locale, parts in _named(locales, "templates", key, channel).items():
                with within("templates", key, channel, locale):
                    text = _text(key, channel, locale, parts)
                    if any(place_of(text) == place_of(other) for other in found):
                        raise InvalidInput("This language is written twice.", field="locale")
                    found.append(text)
    return found


def _text(key: str, channel: str, locale: str, told: Any) -> Text:
    check_key(key, "template")
    if channel not in PARTS:
        raise InvalidInput(f"There is no channel {channel!r}.", hint=f"Use: {', '.join(PARTS)}.")
    names = {PART_NAMES[part]: part for part in PARTS[channel]}
    if not isinstance(told, Mapping) or not told:
        raise InvalidInput("There is no text.", hint=f"It has: {', '.join(names)}.")
    unknown = sorted(str(name) for name in told if name not in names)
    if unknown:
        raise InvalidInput(f"There is no {unknown[0]!r}.", field=unknown[0], hint=f"It has: {', '.join(names)}.")
    parts = {part: _word(told.get(name), name) for name, part in names.items()}
    return tidied(Text(key, channel, read_locale(locale), **parts))  # type: ignore[arg-type]


def place_of(text: Text) -> Place:
    """Where a text stands: template, channel, locale."""
    return text.template_key, text.channel, text.locale


def _entries(told: Any, section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of a list with their keys, each key once."""
    with within(section):
        if not isinstance(told, list | tuple):
            raise InvalidInput("It is a list.", hint=f"- key: … for each, or {section}: [] for none.")
    seen: set[str] = set()
    for number, item in enumerate(told, start=1):
        with within(section, f"entry {number}"):
            if not isinstance(item, Mapping) or not isinstance(item.get("key"), str):
                raise InvalidInput("It has no key.", field="key", hint="Begin each entry with - key: a-name.")
        key = str(item["key"])
        with within(section, key):
            if key in seen:
                raise InvalidInput("This key is there twice.", field="key", hint="Give each a key of its own.")
        seen.add(key)
        yield key, dict(item)


def _named(told: Any, *place: str) -> Mapping[str, Any]:
    with within(*place):
        if not isinstance(told, Mapping):
            raise InvalidInput(
                "Texts are written by template, channel and language.", hint="birthday: {email: {en: {…}}}"
            )
    return {str(name): value for name, value in told.items()}


def _titles(told: Any) -> dict[str, str]:
    if told is None or isinstance(told, str):
        return {"en": told} if told else {}
    if not isinstance(told, Mapping):
        raise InvalidInput(
            "A title is a text, or one for each language.", field="title", hint="{en: Gold, zh-CN: 金卡}"
        )
    for language in told:
        if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
            raise InvalidInput(f"{language!r} is not a language.", field="title", hint="Such as en or zh-CN.")
    return {language: _word(name, "title") for language, name in told.items()}


def _word(told: Any, field: str) -> str:
    if told is None:
        return ""
    if not isinstance(told, str):
        raise InvalidInput(f"{told!r} is not a text.", field=field, hint="Put it in quotes.")
    return told
