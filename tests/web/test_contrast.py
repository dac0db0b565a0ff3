"""Colours of the pages: every pair that text is set in keeps the contrast of WCAG 2.2 AA, in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crm_plugin import web

_CSS = (Path(web.__file__).parent / "static" / "app.css").read_text(encoding="utf-8")
_TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", _CSS)
}
_PAIRS = [
    *((text, ground) for text in ("text", "quiet") for ground in ("ground", "surface", "raised")),
    *(("accent-strong", ground) for ground in ("ground", "surface", "accent-soft")),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("text", "accent-soft"),
    *((tone, f"{tone}-soft") for tone in ("good", "warn", "bad", "info")),
    *(("text", f"{tone}-soft") for tone in ("good", "warn", "bad", "info")),
    ("bad", "surface"),
]
_LINES = [("line-strong", "surface"), ("focus", "surface"), ("focus", "ground"), ("accent", "surface")]


def _luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), _PAIRS)
def test_text_reads_on_its_ground(text: str, ground: str, scheme: int) -> None:
    assert _contrast(_TOKENS[text][scheme], _TOKENS[ground][scheme]) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("line", "ground"), _LINES)
def test_controls_stand_out(line: str, ground: str, scheme: int) -> None:
    assert _contrast(_TOKENS[line][scheme], _TOKENS[ground][scheme]) >= 3
