"""A rule as one sentence, in English or Simplified Chinese, made from the catalogues."""

from __future__ import annotations

from crm_plugin.rules.called import UNNAMED, Called
from crm_plugin.rules.field_words import figure, filled, listed, name_of, spaced, span_of, value_of
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Everyone,
    Field,
    Holds,
    Known,
    Leaf,
    Matches,
    Membership,
    Node,
    Not,
    Number,
    Or,
    Relation,
    Term,
    Within,
)
from crm_plugin.rules.operators import CALCULATIONS, MATCHES, OPERATORS


def words(node: Node, lang: str, by: Called = UNNAMED) -> str:
    """The rule as a sentence without a full stop: "members whose … and who …". Any language but Chinese gives English.

    `by` is what a shop calls its own, and its currency; without a shop all have their keys, and amounts none.
    """
    chinese = lang.lower().startswith("zh")
    if isinstance(node, Everyone):
        return "所有会员" if chinese else "all members"
    said = _say(node, chinese, by, negated=False)
    if chinese:
        return f"{said} 的会员" if said[-1].isascii() and said[-1].isalnum() else f"{said}的会员"
    return f"members {said}"


def leaf_words(leaf: Leaf | Not, lang: str, by: Called = UNNAMED) -> str:
    """One condition alone, or its opposite, as `words` says it inside its sentence."""
    return _say(leaf, lang.lower().startswith("zh"), by, negated=False)


def _say(node: Node, chinese: bool, by: Called, *, negated: bool) -> str:
    if isinstance(node, Not):
        return _say(node.item, chinese, by, negated=not negated)
    if isinstance(node, And | Or):
        # De Morgan's laws hold for unknown too, so "not" can go inside, where it reads well.
        together = isinstance(node, And) != negated
        if chinese:
            joint = "，并且" if together else "，或者"
        else:
            joint = " and " if together else " or "
        return joint.join(_part(item, chinese, by, negated) for item in node.items)
    if isinstance(node, Holds | Within):
        return _flag(node.field, chinese, by, negated)
    if isinstance(node, Relation):
        operator = OPERATORS[OPERATORS[node.op].negated if negated else node.op]
        return _relation(node, operator.zh if chinese else operator.en, chinese, by)
    if isinstance(node, Matches):
        match = MATCHES[node.how]
        if chinese:
            phrase = (match.zh_not if negated else match.zh).format(f"“{node.text}”")
            return f"{name_of(node.field, chinese, by)}{phrase}"
        phrase = match.en_not if negated else match.en
        return f"whose {name_of(node.field, chinese, by)} {phrase} “{node.text}”"
    if isinstance(node, Known):
        phrase = ("未知" if negated else "已知") if chinese else ("is not known" if negated else "is known")
        return (
            f"{name_of(node.field, chinese, by)}{phrase}"
            if chinese
            else f"whose {name_of(node.field, chinese, by)} {phrase}"
        )
    if isinstance(node, Everyone):
        if chinese:
            return "不存在" if negated else "不限"
        return "who are nobody" if negated else "whoever they are"
    if isinstance(node, Compare):
        operator = OPERATORS[OPERATORS[node.op].negated if negated else node.op]
        phrase = operator.zh if chinese else operator.en
        return _whose(node.field, phrase, value_of(node.field, node.value, chinese, by), chinese, by)
    assert isinstance(node, Membership)
    values = listed([value_of(node.field, value, chinese, by) for value in node.values], chinese)
    excluded = node.negated != negated
    if chinese:
        return _whose(node.field, "不为" if excluded else "为", values, chinese, by)
    return _whose(node.field, "is not" if excluded else "is", values, chinese, by)


def _part(item: Node, chinese: bool, by: Called, negated: bool) -> str:
    said = _say(item, chinese, by, negated=negated)
    inner = item
    while isinstance(inner, Not):
        inner = inner.item
    if not isinstance(inner, And | Or):
        return said
    return f"（{said}）" if chinese else f"({said})"


def _whose(field: Field, phrase: str, value: str, chinese: bool, by: Called) -> str:
    if chinese:
        return f"{name_of(field, chinese, by)}{phrase}{spaced(value)}"
    return f"whose {name_of(field, chinese, by)} {phrase} {value}"


def _flag(field: Field, chinese: bool, by: Called, negated: bool) -> str:
    spec = FIELDS[field.key]
    said = filled(spec.without if negated else spec.label, field, chinese, by)
    span = span_of(field, chinese)
    if chinese:
        return f"{span}{said}"
    return f"who {said} {span}".rstrip()


def _relation(node: Relation, phrase: str, chinese: bool, by: Called) -> str:
    left, right = _term(node.left, chinese, by), _term(node.right, chinese, by)
    if chinese:
        return f"{left}{phrase}{spaced(right)}"
    begins = "of whom" if isinstance(node.left, Number) else "whose"
    return f"{begins} {left} {phrase} {right if isinstance(node.right, Number) else f'the {right}'}"


def _term(term: Term, chinese: bool, by: Called) -> str:
    if isinstance(term, Number):
        return figure(term.value)
    if isinstance(term, Field):
        return name_of(term, chinese, by)
    assert isinstance(term, Calculation)
    joint = CALCULATIONS[term.op][1 if chinese else 0]
    left, right = (
        f"({_term(one, chinese, by)})" if isinstance(one, Calculation) else _term(one, chinese, by)
        for one in (term.left, term.right)
    )
    return f"{left}{joint}{spaced(right)}" if chinese else f"{left} {joint} {right}"
