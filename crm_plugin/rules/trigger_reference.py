"""The types of trigger as a reference: for the API's schema, and the tables in the README of touchpoints."""

from __future__ import annotations

from typing import Any

from crm_plugin.rules.trigger_kinds import Kind, Param
from crm_plugin.rules.triggers import KINDS


def triggers() -> list[dict[str, Any]]:
    """Every type: what it is in both languages, its parameters with bounds and what is usual, the index that finds it."""
    return [
        {
            "type": kind.type,
            "label": {"en": kind.label.en, "zh": kind.label.zh},
            "help": {"en": kind.help.en, "zh": kind.help.zh},
            "occasion": {"en": kind.occasion_help.en, "zh": kind.occasion_help.zh},
            "params": [_param(one) for one in kind.params],
            "about_order": kind.about_order,
            "transactional": kind.transactional,
        }
        for kind in KINDS.values()
    ]


def _param(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "label": {"en": param.label.en, "zh": param.label.zh},
        "low": param.low,
        "high": param.high,
        "usual": param.usual,
        "required": param.needed,
        "choices": [name for name, _label in param.choices],
    }


def occasions() -> str:
    """The table of occasions."""
    rows = [f"| `{kind.type}` | {kind.occasion_help.en} |" for kind in KINDS.values()]
    return "\n".join(["| trigger | occasion |", "| --- | --- |", *rows]) + "\n"


def markdown() -> str:
    """The table of types and parameters."""
    rows = [f"| `{kind.type}` | {kind.help.en} | {_takes(kind)} | {_may(kind)} |" for kind in KINDS.values()]
    return "\n".join(["| type | when | takes | may |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _takes(kind: Kind) -> str:
    return ", ".join(f"`{one.name}` {_range(one)}" for one in kind.params)


def _range(param: Param) -> str:
    if param.choices and len(param.choices) > _FEW:
        told = "a key of `calendars.FESTIVALS`"
    elif param.choices:
        told = " or ".join(f"`{name}`" for name, _label in param.choices)
    else:
        told = f"{param.low} to {param.high}" if param.low is not None else str(param.takes)
    usual = "" if param.usual is None or param.choices else f" ({param.usual})"
    return f"{told}{usual}{'; needed' if param.needed else ''}"


def _may(kind: Kind) -> str:
    return ", ".join(
        told
        for is_so, told in ((kind.about_order, "speak of an order"), (kind.transactional, "be transactional"))
        if is_so
    )


_FEW = 5
