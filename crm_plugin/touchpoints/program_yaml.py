"""A programme written as a file: keys in order, short things on one line, texts as blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crm_plugin.touchpoints import documents
from crm_plugin.touchpoints.documents import Inline, InlineList
from crm_plugin.touchpoints.program_file import SECTIONS


def to_yaml(document: Mapping[str, Any]) -> str:
    """The document as text; the sections in the order of `SECTIONS`."""
    laid_out = {name: document[name] for name in SECTIONS if name in document}
    for name in ("tiers", "segments"):
        if laid_out.get(name):
            laid_out[name] = [_inline(item, "title") for item in laid_out[name]]
    if laid_out.get("tier_programs"):
        laid_out["tier_programs"] = [
            {
                **_inline(one, "title", "window", "exclude", "term"),
                "levels": [Inline(level) for level in one["levels"]],
            }
            for one in laid_out["tier_programs"]
        ]
    if laid_out.get("journeys"):
        laid_out["journeys"] = [_journey(item) for item in laid_out["journeys"]]
    if laid_out.get("settings"):
        laid_out["settings"] = _inline(laid_out["settings"], "quiet_hours", "brand", "rates")
    parts = [documents.write({name: value}) for name, value in laid_out.items()]
    return "\n".join(parts)


def _journey(item: Mapping[str, Any]) -> dict[str, Any]:
    told = _inline(item, "title", "trigger", "channels", "reentry")
    return {**told, "steps": [_step(step) for step in told["steps"]]} if "steps" in told else told


def _step(item: Mapping[str, Any]) -> dict[str, Any]:
    """A step with its parameters on one line, and the lists it goes on in set in below."""

    def laid(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [_step(step) for step in value]
        return {arm: laid(arm, steps) for arm, steps in value.items()} if name == "arms" else Inline(value)

    return {name: value if isinstance(value, str) else laid(name, value) for name, value in item.items()}


def _inline(item: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    def short(value: Any) -> Any:
        return Inline(value) if isinstance(value, Mapping) else InlineList(value) if isinstance(value, list) else value

    return {key: short(value) if key in keys else value for key, value in item.items()}
