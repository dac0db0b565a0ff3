"""The catalogue as a reference: for `rule fields`, the API's schema and the tables in README.md."""

from __future__ import annotations

from typing import Any

from crm_plugin.rules.catalogue.common import SPAN
from crm_plugin.rules.fields import FIELDS, GROUPS, FieldSpec, Kind
from crm_plugin.rules.operators import CALCULATIONS, MATCHES, OPERATORS


def example(spec: FieldSpec) -> str:
    """A condition with this field, as it is written."""
    args, compared = spec.example
    field = f"{spec.key}({args})" if args or spec.called or spec.positional else spec.key
    words = compared.split(" ", 1)
    if words[0] in MATCHES:
        return f"{words[0]}({field}, {words[1]})"
    return f"{field} {compared}".strip()


def fields() -> list[dict[str, Any]]:
    """Every field: key, group, type, unit, arguments, label, help and meaning of unknown in both languages, what changes it."""
    return [_row(spec) for spec in FIELDS.values()]


def _row(spec: FieldSpec) -> dict[str, Any]:
    return {
        "key": spec.key,
        "group": spec.group,
        "type": str(spec.kind),
        "unit": str(spec.unit),
        "arguments": [
            {
                "key": one.key,
                "type": "day" if one.is_day else "number" if one.type is int else "text",
                "required": one.positional,
                "choices": list(one.choices),
            }
            for one in spec.parameters
        ],
        "label": {"en": spec.label.en, "zh": spec.label.zh},
        "help": {"en": spec.help.en, "zh": spec.help.zh},
        "unknown": {"en": spec.unknown.en, "zh": spec.unknown.zh},
        "changed_by": [str(source) for source in spec.sources],
        "moves": str(spec.moves),
        "example": example(spec),
    }


def markdown() -> str:
    """The tables of README.md."""
    lines: list[str] = []
    for group, (title, _) in GROUPS.items():
        lines += [f"### {title.en}", "", "| field | what it is | takes | example |", "| --- | --- | --- | --- |"]
        for spec in FIELDS.values():
            if spec.group == group:
                told = " ".join(part for part in (f"{_label(spec)}.", spec.help.en, spec.unknown.en) if part)
                lines.append(f"| `{spec.key}` | {told} | {_takes(spec)} | `{example(spec)}` |")
        lines.append("")
    lines += ["### Operators", "", "| operator | in words |", "| --- | --- |"]
    lines += [f"| `{one.key}` | {one.en} |" for one in OPERATORS.values()]
    lines += ["| `in` | is one of |", "| `not in` | is none of |"]
    lines += [f"| `{one.key}` | {one.en}; the case of A to Z does not count |" for one in MATCHES.values()]
    lines += ["| `known` | has a value |"]
    lines += [f"| `{key}` | {en} |" for key, (en, _) in CALCULATIONS.items()]
    return "\n".join(lines) + "\n"


def _takes(spec: FieldSpec) -> str:
    """The arguments besides those that come first, a span of days in one word."""
    span = [one.key for one in SPAN if spec.parameter(one.key)]
    own = [f"`{one.key}=`" for one in spec.parameters if not one.positional and one.key not in span]
    word = "a span" if len(span) == len(SPAN) else "a span without `since=`" if span else ""
    return ", ".join(part for part in (*own, word) if part)


def _label(spec: FieldSpec) -> str:
    blank = dict.fromkeys(("tag", "name", "segment", "channel", "topic", "product", "event"), "…")
    told = spec.label.en.format(**blank, messages="")
    told = f"Those who {told}" if spec.kind is Kind.FLAG else told
    return told[:1].upper() + told[1:]
