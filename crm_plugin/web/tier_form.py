"""The ladder as a form: one block of fields a level, the highest on top; rows are moved, added and taken out before anything is saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from flask import request
from flask_babel import gettext as _

from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.rules.tiers import Level, check_level
from crm_plugin.web.forms import Form
from crm_plugin.web.rule_help import rule_error
from crm_plugin.web.titles import CHINESE, ENGLISH, chinese, in_language, key_for, retitled

# More levels than any programme has.
MOST = 30
FIELDS = ("was", "key", "en", "zh", "rule")


def filled(levels: Sequence[Level], *, saved: bool = True) -> Form:
    """The form of these levels (lowest first, as everywhere but on the page)."""
    rows = [
        {
            "was": level.key if saved else "",
            "key": level.key,
            "en": in_language(level.title, ENGLISH),
            "zh": in_language(level.title, CHINESE),
            "rule": level.rule,
        }
        for level in reversed(levels)
    ]
    return Form(numbered(rows))


def posted() -> Form:
    """The form as it was sent."""
    return Form(numbered(posted_rows(FIELDS)))


def changed(form: Form, act: str) -> Form:
    """The form after one of its own buttons: `up-1`, `down-0`, `remove-2`, `add`."""
    return Form(numbered(arranged(rows_of(form, FIELDS), act, dict.fromkeys(FIELDS, ""))))


def read(form: Form, saved: Sequence[Level]) -> list[Level]:
    """The levels it describes, lowest first; what is wrong stands in the form then. Names in other languages are kept."""
    titles = {level.key: level.title for level in saved}
    invited = {level.key for level in saved if not level.rule}
    rows = rows_of(form, FIELDS)
    taken: set[str] = {row["key"] for row in rows if row["key"]}
    seen: set[str] = set()
    called: set[tuple[str, str]] = set()
    found: list[Level] = []
    for number, row in enumerate(rows):
        if not (row["en"] or row["zh"]):
            form.errors[f"zh-{number}" if chinese() else f"en-{number}"] = _("Give the level a name.")
        if not row["key"]:
            row["key"] = key_for(row["en"], taken, "level")
            taken.add(row["key"])
        if row["key"] in seen:
            form.errors[f"key-{number}"] = _("Another level has this key. Give each a key of its own.")
        seen.add(row["key"])
        name_apart(form, number, row, called)
        level = Level(row["key"], row["rule"], retitled(titles.get(row["was"], {}), row["en"], row["zh"]))
        if level.rule or row["was"] not in invited:
            _check(form, number, level)
        found.append(level)
    return found[::-1]


def name_apart(form: Form, number: int, row: dict[str, str], called: set[tuple[str, str]]) -> None:
    """Two levels of one name could not be told apart, in whichever language the reader has."""
    for lang, other in (("en", "zh"), ("zh", "en")):
        name = (row[lang] or row[other]).casefold()
        if name and (lang, name) in called:
            field = f"{lang if row[lang] else other}-{number}"
            form.errors.setdefault(field, _("Another level has this name. Give each a name of its own."))
        called.add((lang, name))


def _check(form: Form, number: int, level: Level) -> None:
    try:
        check_level(level)
    except InvalidInput:
        form.errors.setdefault(
            f"key-{number}", _("Use small letters, digits, - and _, beginning with a letter or digit.")
        )
    except RuleError as error:
        form.errors[f"rule-{number}"] = rule_error(error) if level.rule else _("Write who belongs to this level.")


def mark(told: Any) -> str:
    """A mark of exactly this document: what is saved is what was looked at."""
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


def posted_rows(fields: Sequence[str]) -> list[dict[str, str]]:
    """The levels as they were sent, each with these fields."""
    rows: list[dict[str, str]] = []
    while len(rows) < MOST and f"rule-{len(rows)}" in request.form:
        told = {name: request.form.get(f"{name}-{len(rows)}", "") for name in fields}
        rows.append({name: value.replace("\r\n", "\n").strip() for name, value in told.items()})
    return rows


def arranged(rows: list[dict[str, str]], act: str, blank: dict[str, str]) -> list[dict[str, str]]:
    """The rows after one of the form's own buttons; `blank` is a new one."""
    what, _sep, told = act.partition("-")
    place = int(told) if told.isdecimal() else -1
    if what == "add":
        rows.insert(0, blank)
    elif what in ("up", "down", "remove") and 0 <= place < len(rows):
        row = rows.pop(place)
        if what != "remove":
            rows.insert(max(place - 1, 0) if what == "up" else place + 1, row)
    return rows[:MOST]


def rows_of(form: Form, fields: Sequence[str]) -> list[dict[str, str]]:
    """The levels in a form, the highest first."""
    return [{name: form.text(f"{name}-{number}") for name in fields} for number in range(form.values["rows"])]


def numbered(rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """The values of a form with these rows."""
    values: dict[str, Any] = {"rows": len(rows)}
    for number, row in enumerate(rows):
        values |= {f"{name}-{number}": value for name, value in row.items()}
    return values
