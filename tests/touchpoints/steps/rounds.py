"""Members, and journeys that give them tags and levels and ask for these, as hypothesis makes them up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

TAGS = ("a", "b", "c")
DEPTH = 2
SEGMENTS = {
    "marked": 'tag("a") or tag("b")',
    "plain": 'not segment("marked") and tag("c")',
    "old": 'days_in_tier >= 0 or tag("b") and received() > 0',
}
POLICY: dict[str, Any] = {
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 20},
    "grace_days": 5,
    "levels": [
        {"key": "silver", "entry": 100, "keep": 80},
        {"key": "gold", "entry": 500, "keep": 400},
        {"key": "circle", "invitation": True},
    ],
}
LEAVES = (
    *(f'tag("{tag}")' for tag in TAGS * 3),
    *(f'segment("{key}")' for key in SEGMENTS),
    *(
        'tier(program="club") == "gold"',
        'tier(program="club") not in ["silver", "gold"]',
        'tier == "gold"',
        'tier in ["silver", "gold"]',
        'tier == ""',
        "days_in_tier < 3",
        "to_next_tier <= 300",
    ),
    *("tier_at_risk(within=3000)", "orders() >= 2", 'orders(since="tier") >= 1', "received() == 0", "known(phone)"),
)
RULES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]}) {0[1]} ({0[2]})".format),
    ),
    max_leaves=3,
)
_NAMES = st.lists(st.sampled_from(TAGS), min_size=1, max_size=2, unique=True)
_FIXES = st.fixed_dictionaries(
    {"level": st.sampled_from(["silver", "gold", "gone"]), "reason": st.just("Why")},
    optional={"until_days": st.integers(1, 9), "program": st.sampled_from(["club", "none"])},
)
_INVITES = st.fixed_dictionaries({"level": st.sampled_from(["circle", "gold"]), "invite": st.just(True)})
_MARKS = st.one_of(
    st.fixed_dictionaries({"add": _NAMES}),
    st.fixed_dictionaries({"remove": _NAMES}),
    st.permutations(TAGS).map(lambda names: {"add": [names[0]], "remove": [names[1]]}),
).map(lambda told: {"tag": told})
_PLAIN = (
    *(_MARKS, _MARKS, _MARKS),
    _FIXES.map(lambda told: {"tier": told}),
    st.one_of(_FIXES, _INVITES).map(lambda told: {"tier": told}),
    st.sampled_from(["p", "q"]).map(lambda pool: {"coupon": {"pool": pool}}),
    st.just({"task": {"title": "Call", "due_days": 2}}),
    st.just({"send": {"template": "hello", "channels": ["email"]}}),
    st.sampled_from([{"wait": {"hours": 5}}, {"wait": {"days": 1}}]),
)


# What is done, and what a rule may say of it before it is stored.
_SEEN = (
    (_FIXES.map(lambda told: {"tier": told}), ["days_in_tier < 3", *(leaf for leaf in LEAVES if "tier" in leaf)]),
    (_MARKS, [leaf for leaf in LEAVES if "tag" in leaf or "segment" in leaf]),
)


def _lists(depth: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Steps without their keys."""
    plain: list[st.SearchStrategy[list[dict[str, Any]]]] = [kind.map(lambda step: [step]) for kind in _PLAIN]
    if not depth:
        return st.lists(st.one_of(*plain), max_size=2).map(_joined)
    inner = _lists(depth - 1)
    both = {"then": inner, "else": inner}
    seen = []
    for act, leaves in _SEEN:
        asks = st.sampled_from(leaves).flatmap(
            lambda rule: st.lists(st.fixed_dictionaries({"branch": st.just(rule), **both}), min_size=2, max_size=2)
        )
        # The same is asked before and after.
        seen.append(st.tuples(act, asks).map(lambda told: [told[1][0], told[0], told[1][1]]))
    arms = {"split": st.just({"a": 50, "b": 50}), "arms": st.fixed_dictionaries({"a": inner})}
    buys = {"wait": st.just({"event": "order_placed", "within_days": 1}), **both}
    parts = ({"branch": RULES, **both}, arms, buys)
    one = st.one_of(*(st.fixed_dictionaries(told) for told in parts), st.just({"end": {}})).map(lambda step: [step])
    least, most = (3, 6) if depth == DEPTH else (0, 2)
    return st.lists(st.one_of(*seen, *seen, one, st.one_of(*plain)), min_size=least, max_size=most).map(_joined)


def _joined(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return list(itertools.chain.from_iterable(parts))


def _named(steps: list[dict[str, Any]], numbers: Iterator[int]) -> list[dict[str, Any]]:
    named = []
    for step in steps:
        told: dict[str, Any] = {"key": f"s{next(numbers)}", **step}
        told |= {part: _named(step[part], numbers) for part in ("then", "else") if part in step}
        if "arms" in step:
            told["arms"] = {arm: _named(inner, numbers) for arm, inner in step["arms"].items()}
        named.append(told)
    return named


STEPS = _lists(DEPTH).map(lambda steps: _named(steps, itertools.count()))
JOURNEYS = st.fixed_dictionaries(
    {"steps": STEPS},
    optional={
        "goal": RULES,
        "audience": RULES,
        "exit": st.sampled_from(["never", "audience"]),
        "holdout_pct": st.just(30),
    },
)
PEOPLE = st.lists(
    st.fixed_dictionaries(
        {
            "agreed": st.booleans(),
            "tags": st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
            "own": st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
            # The hours at which each order is placed.
            "orders": st.lists(st.integers(0, 60), min_size=1, max_size=3),
        }
    ),
    min_size=2,
    max_size=4,
)
