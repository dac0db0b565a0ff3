"""Whatever is written as a rule is refused with its place, and soon, or its values reach the database as parameters alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from crm_plugin.errors import RuleError
from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import Book, resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.document import from_json, to_json
from crm_plugin.rules.fields import FIELDS, FieldSpec, Kind, Parameter
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Field,
    Holds,
    Known,
    Matches,
    Membership,
    Node,
    Number,
    Relation,
    Step,
    Value,
    fields_of,
    leaves,
)
from crm_plugin.rules.operators import MATCHES, OPERATORS
from crm_plugin.rules.parse import parse
from crm_plugin.rules.sql import select_members
from crm_plugin.rules.text import to_text
from crm_plugin.rules.windows import ANCHORS
from crm_plugin.store.tenants import Shop
from tests.rules.hostile import DOCUMENTS, TEXTS
from tests.rules.shops import AS_OF, rules

# On a machine that others use too.
_SECONDS = 5.0
_MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_SHOP = Shop(1, "shop", "Shop", "csv", "", "EUR", "UTC", "en")


def _read(text: str) -> Node | None:
    """The tree of what is accepted. Anything but an error with its place fails."""
    begun, refused, found = time.perf_counter(), None, None
    try:
        found = compile_rule(text).node
    except RuleError as error:
        refused = error
    assert time.perf_counter() - begun < _SECONDS
    if refused is not None:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= refused.line <= len(lines), refused
        assert 1 <= refused.column <= len(lines[refused.line - 1]) + 1, refused
        assert 0 < len(refused.message) <= len(str(refused)) < 20_000
    return found


def _read_json(document: Any) -> Node | None:
    begun, refused, found = time.perf_counter(), None, None
    try:
        found = check(from_json(document))
    except RuleError as error:
        refused = error
    assert time.perf_counter() - begun < _SECONDS
    assert refused is None or (refused.path.startswith("rule") and refused.message), refused
    return found


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_hostile_text_is_refused_with_its_place_or_bound(text: str) -> None:
    node = _read(text)
    if node is not None:
        _compiled(node)


_MARKS = (
    """( ) [ ] , : . ; = * ** - + / // % @ ~ " ' "vip" 'GB' 1 0 -1 1.5 007 1e3 _ __class__ \\ # é ｅ ≥ “ ” ， （ 🎁"""
)
_NAMES = "and or not in is everyone known None True if lambda days= sku= since="
_ODD = ["\n", "\r\n", "\0", "\ud800", "\u200b", "\u2028", "9" * 30, "'; DROP TABLE members; --"]
_WORDS = st.sampled_from([*FIELDS, *MATCHES, *OPERATORS, *_NAMES.split(), *_MARKS.split(), *_ODD])
_soup = st.lists(_WORDS | st.text(max_size=5), max_size=40).flatmap(
    lambda words: st.sampled_from(["", " "]).map(lambda joint: joint.join(words))
)


@pytest.mark.slow
@_MANY
@given(text=st.text(st.characters(), max_size=200) | _soup)
def test_soup_is_refused_with_its_place_or_bound(text: str) -> None:
    node = _read(text)
    if node is not None:
        _compiled(node)


@pytest.mark.slow
@_MANY
@given(node=rules, cut=st.integers(0, 200), end=st.integers(0, 20), put=st.text(max_size=3) | _WORDS)
def test_damaged_rule_is_refused_with_its_place_or_bound(node: Node, cut: int, end: int, put: str) -> None:
    text = to_text(node)
    found = _read(text[:cut] + put + text[cut + end :])
    if found is not None:
        _compiled(found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_hostile_document_is_refused_with_its_path(document: Any) -> None:
    assert _read_json(document) is None


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _WORDS
_KEYS = st.sampled_from(["and", "or", "not", "everyone", "field", "args", "op", "value", "left", "right", "calc"])
_documents = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=3), inner, max_size=4)
)


@pytest.mark.slow
@_MANY
@given(document=_documents)
def test_any_document_is_refused_with_its_path_or_bound(document: Any) -> None:
    node = _read_json(document)
    if node is not None:
        _compiled(node)


@st.composite
def _damaged(draw: st.DrawFn) -> Any:
    """The document of a rule, with one of its parts exchanged for something else."""
    document = to_json(draw(rules))
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
            places.append((part, key))
            walk(value)

    walk(document)
    part, key = draw(st.sampled_from(places))
    part[key] = draw(_documents)
    return document


@pytest.mark.slow
@_MANY
@given(document=_damaged())
def test_damaged_document_is_refused_with_its_path_or_bound(document: Any) -> None:
    node = _read_json(document)
    if node is not None:
        _compiled(node)


def _book_of(node: Node) -> Book:
    """Whatever the rule names, whether it is there or not: what is asked here is how it is written."""
    asked = fields_of(node)
    programs = {str(one.arg("program") or "main") for one in asked}
    compared = [leaf for leaf in leaves(node) if isinstance(leaf, Compare | Membership)]
    values = [one for leaf in compared for one in (leaf.values if isinstance(leaf, Membership) else (leaf.value,))]
    step = Step("silver", "gold", Calculation("-", Number(500), Field("spent")), parse("orders() >= 1"))
    return Book(
        dict.fromkeys(programs, tuple(one for one in values if isinstance(one, str))),
        {str(one.arg("segment")): None for one in asked if one.arg("segment") is not None},
        None,
        dict.fromkeys(programs, (step,)),
    )


def _compiled(node: Node) -> list[tuple[str, list[Any]]]:
    """The statement and its parameters on both databases, of today and of a day that is past."""
    found, placed = [], resolve(node, _book_of(node))
    for history in (False, True):
        query = select_members(_SHOP, placed, AS_OF, history=history)
        for dialect in (sqlite.dialect(), postgresql.dialect()):
            compiled = query.compile(dialect=dialect)
            found.append((str(compiled), list(compiled.params.values())))
    return found


@dataclass(frozen=True)
class _Marks:
    """Values that stand nowhere by themselves: a text, a number, a number of days and a day."""

    text: str
    number: int
    days: int
    day: str
    letters: str
    small: int

    def of(self, spec: FieldSpec) -> Value:
        if spec.kind is Kind.TEXT:
            if spec.form is None:
                return self.text
            return self.letters if re.fullmatch(spec.form[0], self.letters) else spec.form[0].split("|")[0]
        return self.small if spec.between else self.number

    def arg(self, one: Parameter) -> Value:
        if one.choices:
            return one.choices[0]
        return self.days if one.type is int else self.day if one.is_day else self.text


_FIRST = _Marks("zq'); DROP TABLE members; -- %s :x ?", 73_451_873, 31_337, "2031-07-19", "ZQ", 3)
_SECOND = _Marks("xj' OR 1=1; /* {} $1; %(y)s", 86_219_547, 29_989, "2017-02-23", "XJ", 5)


def _asked(spec: FieldSpec, marks: _Marks) -> Iterator[Field]:
    """The field with everything it takes, once for each kind of span."""
    own = [one for one in spec.parameters if one.key not in ("days", "from_date", "to_date", "since")]
    spans: list[list[tuple[str, Value]]] = [[]]
    if spec.windowed:
        spans += [[("days", marks.days)], [("from_date", marks.day)], [("to_date", marks.day)]]
    if spec.parameter("since") is not None:
        spans += [[("days", marks.days), ("since", anchor)] for anchor in ANCHORS]
    for span in spans:
        yield Field(spec.key, (*((one.key, marks.arg(one)) for one in own), *span))


def _conditions(spec: FieldSpec, marks: _Marks) -> Iterator[Node]:
    """Every condition that there is about a field."""
    for asked in _asked(spec, marks):
        if spec.kind is Kind.FLAG:
            yield Holds(asked)
            continue
        value = marks.of(spec)
        yield Known(asked)
        yield Membership(asked, (value,), negated=True)
        for op in OPERATORS.values():
            if spec.kind is Kind.NUMBER or not op.ordered:
                yield Compare(asked, op.key, value)
        if spec.kind is Kind.TEXT:
            yield from (Matches(asked, how, marks.text) for how in MATCHES)
        elif spec.exact:
            yield Relation(Calculation("*", asked, Number(marks.number)), ">=", asked)


@pytest.mark.slow
@pytest.mark.parametrize("key", FIELDS)
def test_no_value_of_a_rule_is_in_its_statement(key: str) -> None:
    node, other = (check(And(tuple(_conditions(FIELDS[key], marks)))) for marks in (_FIRST, _SECOND))
    for (statement, values), (same, others) in zip(_compiled(node), _compiled(other), strict=True):
        # Whatever is written, the statement is the same to the letter; only its parameters differ.
        assert statement == same
        assert (values != others) == (to_text(node) != to_text(other))
        for mark in ("DROP", "31337", "31336", "73451873", "2031-07-19"):
            assert mark not in statement


def test_each_mark_of_a_rule_is_a_parameter() -> None:
    text = f"""tag({json.dumps(_FIRST.text)}) and spent(days=31337) >= 73451873
        and country in ["ZQ", "XJ"] and contains(email, {json.dumps(_FIRST.text)})"""
    for statement, values in _compiled(compile_rule(text).node):
        assert {_FIRST.text, _FIRST.text.lower(), "ZQ", "XJ", 7_345_187_300} <= set(values)
        assert not any(mark in statement for mark in ("zq", "ZQ", "XJ", "7345187300"))
