"""Rules on pages: where a mistake stands, and what there is to write, from the catalogue of fields."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext as _

from crm_plugin.errors import RuleError
from crm_plugin.rules.fields import FIELDS, FieldSpec
from crm_plugin.rules.reference import example
from crm_plugin.web.i18n import explained
from crm_plugin.web.titles import chinese


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """One field as a merchant reads it: how it is written, what it is."""

    example: str
    label: str
    help: str


def rule_error(error: RuleError) -> str:
    """What is wrong with a rule, where, and what to write instead."""
    told = explained(error)
    if not error.line:
        return told
    return str(_("Line %(line)s, column %(column)s: %(what)s", line=error.line, column=error.column, what=told))


def field_help(*without: str) -> list[FieldHelp]:
    """Every field there is, but for those that make no sense here."""
    lang = "zh" if chinese() else "en"
    specs = [spec for key, spec in FIELDS.items() if key not in without]
    return [
        FieldHelp(example(spec), _label(spec, lang), f"{spec.help.in_language(lang)} {spec.unknown.in_language(lang)}")
        for spec in specs
    ]


def _label(spec: FieldSpec, lang: str) -> str:
    blank = dict.fromkeys(("tag", "name", "segment", "channel", "topic", "product", "event"), "…")
    return spec.label.in_language(lang).format(**blank, messages="")
