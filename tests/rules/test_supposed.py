"""A rule of which some tags are settled beforehand says what it would say of a member who has just these, in plain Python."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import Book, resolve
from crm_plugin.rules.evaluate import PlacedOrder, Snapshot, evaluate
from crm_plugin.rules.nodes import deep_fields
from crm_plugin.rules.supposed import ALWAYS, NEVER, supposing

DAY = date(2026, 6, 1)
TAGS = ("a", "b", "c")
SEGMENTS = {
    "marked": 'tag("a") or tag("b") and not tag("c")',
    # Unknown, and so not in it, for whoever never ordered.
    "keen": 'days_since_order < 3 and not tag("b")',
    "list": None,
}
BOOK = Book(segments={key: None if text is None else compile_rule(text).node for key, text in SEGMENTS.items()})
_LEAVES = (
    *(f'tag("{tag}")' for tag in TAGS),
    *(f'segment("{key}")' for key in SEGMENTS),
    *("days_since_order < 3", "orders() >= 1", "everyone"),
)
RULES = st.recursive(
    st.sampled_from(_LEAVES),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]}) {0[1]} ({0[2]})".format),
    ),
    max_leaves=7,
)
_SOME = st.frozensets(st.sampled_from(TAGS))


@given(rule=RULES, stored=_SOME, has=st.dictionaries(st.sampled_from(TAGS), st.booleans()), ordered=st.booleans())
def test_tags_that_are_settled_are_as_if_stored(
    rule: str, stored: frozenset[str], has: dict[str, bool], ordered: bool
) -> None:
    node = resolve(compile_rule(rule).node, BOOK)
    member = Snapshot("EUR", tags=stored, orders=(PlacedOrder(DAY, 100),) if ordered else ())
    then = replace(member, tags=(stored - has.keys()) | {tag for tag, is_there in has.items() if is_there})
    supposed = supposing(node, {("tag", tag): is_there for tag, is_there in has.items()})
    assert evaluate(supposed, member, DAY) is evaluate(node, then, DAY)
    # What is settled is asked no more, and what is left is no longer than it was.
    assert not {str(one.arg("tag")) for one in deep_fields(supposed) if one.key == "tag"} & has.keys()
    if set(has) == set(TAGS) and all(one.key == "tag" for one in deep_fields(node)):
        assert supposed in (ALWAYS, NEVER)
