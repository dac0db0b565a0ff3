"""Rules on pages: where a mistake stands, and what there is to write, from the catalogue of fields."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext as _

from crm_plugin.errors import RuleError
from crm_plugin.rules.fields import FIELDS, FieldSpec, Kind, Unit
from crm_plugin.rules.parse import value_text
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
    return [FieldHelp(example(spec), _label(spec, lang), spec.help.in_language(lang)) for spec in specs]


def _label(spec: FieldSpec, lang: str) -> str:
    blank = "…"
    return spec.label.in_language(lang).format(tag=blank, channel=blank, product=blank)


_VALUES = {Unit.COUNT: "2", Unit.MONEY: "100", Unit.DAYS: "90", Unit.MONTH: "5", Unit.NONE: "1"}
_WORDS = {
    "tier": "gold",
    "country": "GB",
    "locale": "en",
    "tag": "vip",
    "channel": "email",
    "sku": "A-100",
    "title": "Mug",
}


def example(spec: FieldSpec) -> str:
    """How a condition with this field is written."""
    needed = [one for one in spec.parameters if one.positional or one.key in spec.needs_one_of[:1]]
    args = ", ".join(
        value_text(_WORDS[one.key]) if one.positional else f"{one.key}={value_text(_WORDS[one.key])}" for one in needed
    )
    optional = [one.key for one in spec.parameters if one not in needed and one.type is int]
    if optional:
        args = ", ".join(part for part in (args, f"{optional[0]}=365") if part)
    asked = f"{spec.key}({args})" if spec.parameters else spec.key
    if spec.kind is Kind.FLAG:
        return asked
    if spec.kind is Kind.TEXT:
        return f"{asked} == {value_text(_WORDS[spec.key])}"
    return f"{asked} >= {_VALUES[spec.unit]}"
