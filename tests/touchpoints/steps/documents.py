"""Journeys of several steps as hypothesis makes them up."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st

_WORDS = st.text("abcdefghij", min_size=1, max_size=8)
_SENDS = st.fixed_dictionaries(
    {
        "template": _WORDS,
        "channels": st.lists(st.sampled_from(["email", "sms", "inapp"]), min_size=1, max_size=3, unique=True),
    },
    optional={"topic": _WORDS, "kind": st.just("marketing"), "validity_days": st.integers(1, 60)},
)
_WAITS = st.one_of(
    st.fixed_dictionaries(
        {"days": st.integers(1, 100)}, optional={"hours": st.integers(0, 99), "minutes": st.integers(0, 99)}
    ),
    st.fixed_dictionaries(
        {"until": st.fixed_dictionaries({"at": st.just("10:00"), "occasion": st.integers(-365, 365)})}
    ),
    st.fixed_dictionaries(
        {
            "until": st.fixed_dictionaries(
                {"at": st.sampled_from(["00:00", "09:30", "23:59"])},
                optional={"weekday": st.sampled_from(["mon", "sun"])},
            )
        }
    ),
)
_EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["order_placed", "opened", "clicked", "delivered"]), "within_days": st.integers(1, 365)}
)
_ACTS = st.one_of(
    st.fixed_dictionaries({"coupon": st.fixed_dictionaries({"pool": _WORDS})}),
    st.fixed_dictionaries(
        {"tag": st.fixed_dictionaries({"add": st.lists(_WORDS, min_size=1, max_size=2, unique=True)})}
    ),
    st.fixed_dictionaries(
        {
            "tier": st.fixed_dictionaries(
                {"program": _WORDS, "level": _WORDS, "reason": _WORDS}, optional={"until_days": st.integers(1, 99)}
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "task": st.fixed_dictionaries(
                {
                    "title": st.fixed_dictionaries({"en": _WORDS, "zh-CN": _WORDS}),
                    "due_days": st.integers(0, 9),
                    "owner": _WORDS,
                }
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "webhook": st.fixed_dictionaries(
                {"url": st.just("https://x.test/a"), "body": st.dictionaries(_WORDS, _WORDS)}
            )
        }
    ),
    st.just({"end": {}}),
)
_RULES = st.sampled_from(["orders() >= 1", 'tag("vip") and spent(days=30) > 10', "everyone"])


def _steps(inner: st.SearchStrategy[list[dict[str, Any]]] | None = None) -> st.SearchStrategy[list[dict[str, Any]]]:
    plain = [_SENDS.map(lambda told: {"send": told}), _WAITS.map(lambda told: {"wait": told}), _ACTS]
    if inner is not None:
        two = {"then": inner, "else": inner}
        plain += [
            st.fixed_dictionaries({"wait": _EVENTS, **two}),
            st.fixed_dictionaries({"branch": _RULES.map(lambda rule: {"rule": rule}), **two}),
            st.fixed_dictionaries(
                {
                    "split": st.just({"a": 45, "b": 45, "rest": 10}),
                    "arms": st.fixed_dictionaries({"a": inner, "b": inner, "rest": inner}),
                }
            ),
        ]
    return st.lists(st.one_of(*plain), max_size=4)


def _named(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with a key for each, and without the lists that hold nothing."""
    numbers = itertools.count(1)

    def name(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        named = []
        for step in listed:
            told: dict[str, Any] = {"key": f"s{next(numbers)}"}
            for part, value in step.items():
                if part in ("then", "else"):
                    told |= {part: name(value)} if value else {}
                elif part == "arms":
                    told[part] = {arm: name(inner) for arm, inner in value.items()}
                else:
                    told[part] = value
            named.append(told)
        return named

    return name(steps)


STEPS = _steps(_steps(_steps())).filter(bool).map(_named)
JOURNEYS = st.fixed_dictionaries(
    {"key": st.just("j"), "trigger": st.just({"type": "lapse", "days": 30}), "steps": STEPS},
    optional={
        "goal": _RULES,
        "exit": st.just("never"),
        "reentry": st.sampled_from(["once", {"every_days": 90}]),
        "audience": _RULES,
    },
)
