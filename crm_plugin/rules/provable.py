"""What can be proven of a rule without looking at any member: that it never holds, always holds, or follows from another.

Each condition narrows what its field may be; where nothing is left, they cannot be met together. A proof is searched for through all
ways a rule can come out, and only so long. What is not proven may be true all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from crm_plugin.rules.bounds import Domain, compared, consistent, domain_of
from crm_plugin.rules.evaluate import Truth
from crm_plugin.rules.nodes import (
    And,
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
    Or,
    Relation,
    Term,
    Value,
    Within,
)
from crm_plugin.rules.operators import OPERATORS, fold
from crm_plugin.rules.rows import MARKETING
from crm_plugin.rules.windows import PROGRAM

# So many conditions are looked at in one search; a rule of a hundred takes a few hundred.
MOST_STEPS = 4_000

Aim = frozenset[Truth]
TRUE: Aim = frozenset({True})
FALSE: Aim = frozenset({False})
NOT_TRUE: Aim = frozenset({False, None})
NOT_FALSE: Aim = frozenset({True, None})
_MIRRORED = {TRUE: FALSE, FALSE: TRUE, NOT_TRUE: NOT_FALSE, NOT_FALSE: NOT_TRUE}
# A field, or a comparison of two terms as its difference.
Subject = Field | tuple[Term, Term]
Found = Mapping[Subject, Domain]
Goal = tuple[Node, Aim]


def never(node: Node) -> bool:
    """Whether it is certain that no member can ever match."""
    return impossible([(node, TRUE)])


def always(node: Node) -> bool:
    """Whether it is certain that every member matches; for whom it is unknown it does not hold."""
    return impossible([(node, NOT_TRUE)])


def implies(node: Node, *others: Node) -> bool:
    """Whether whoever matches is certain to match one of the others too."""
    return impossible([(node, TRUE), *((other, NOT_TRUE) for other in others)])


def impossible(goals: Iterable[Goal]) -> bool:
    """Whether no member can answer all of these so."""
    search = _Search()
    try:
        return not search.possible(list(goals), [], {})
    except _Enough:
        return False


class _Enough(Exception):
    pass


class _Search:
    def __init__(self) -> None:
        self._steps = 0

    def possible(self, goals: list[Goal], forks: list[list[Goal]], known: Found) -> bool:
        """Whether all goals, and one of each fork, may be met together with what is known."""
        goals, forks = list(goals), list(forks)
        while goals:
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise _Enough
            node, aim = goals.pop()
            parts = _parts(node, aim)
            if parts is False:
                return False
            if isinstance(parts, list):
                forks.append(parts)
            elif isinstance(parts, tuple):
                goals += parts
            elif parts is not True:
                subject, left = _narrowed(parts, aim, known)
                if left.empty:
                    return False
                known = {**known, subject: left}
        if not consistent({one: left for one, left in known.items() if isinstance(one, Field)}):
            return False
        if not forks:
            return True
        first, *rest = sorted(forks, key=len)
        return any(self.possible([one], rest, known) for one in first)


def _parts(node: Node, aim: Aim) -> bool | list[Goal] | tuple[Goal, ...] | Leaf:
    """What has to be met: nothing more (True), what cannot be (False), one of a list, all of a tuple, or a single condition."""
    if isinstance(node, Everyone):
        return True in aim
    if isinstance(node, Not):
        return ((node.item, _MIRRORED[aim]),)
    if isinstance(node, And | Or):
        if not node.items:
            return False in aim
        # All of `and` for true, all of `or` for not true; one suffices for the contrary.
        together = isinstance(node, And) == (aim in (TRUE, NOT_FALSE))
        return tuple((item, aim) for item in node.items) if together else [(item, aim) for item in node.items]
    if isinstance(node, Within) and node.rule is not None:
        # What is unknown there is not in it.
        return ((node.rule, TRUE if True in aim else NOT_TRUE),)
    return node


def _narrowed(leaf: Leaf, aim: Aim, known: Found) -> tuple[Subject, Domain]:
    """What is left of a field when a condition comes out so."""
    holds = True in aim
    if isinstance(leaf, Relation):
        subject, op = _difference(leaf)
        before = known.get(subject, Domain())
        after = before.within(compared(op if holds else OPERATORS[op].negated, Fraction(0)))
        return subject, _keeping(after, before, aim)
    assert not isinstance(leaf, Everyone)
    field = canonical(leaf.field)
    before = known.get(field, domain_of(field))
    if isinstance(leaf, Known):
        return field, replace(before, unknown=before.unknown and not holds, found=before.found and holds)
    if isinstance(leaf, Holds | Within):
        return field, _flag(leaf.field, before, holds)
    if isinstance(leaf, Compare):
        after = _compared(before, leaf.op if holds else OPERATORS[leaf.op].negated, leaf.value)
    elif isinstance(leaf, Membership):
        after = _listed(before, leaf.values, holds != leaf.negated)
    else:
        look = Matches(field, leaf.how, fold(leaf.text))
        after = replace(before, matches=(*before.matches, (look, holds)))
    return field, _keeping(after, before, aim)


def _keeping(after: Domain, before: Domain, aim: Aim) -> Domain:
    return replace(after, unknown=before.unknown and None in aim)


def _difference(leaf: Relation) -> tuple[Subject, str]:
    """Both sides as one thing that is compared with 0, the same whichever stands first."""
    if repr(leaf.left) <= repr(leaf.right):
        return (leaf.left, leaf.right), leaf.op
    return (leaf.right, leaf.left), OPERATORS[leaf.op].mirrored


_DEFAULTS = {"topic": MARKETING, "program": PROGRAM}
_SAME = {"bought": "bought_times", "consents": "consent"}


def canonical(field: Field) -> Field:
    """The field that says the same: what has two names has one domain."""
    args = tuple((name, value) for name, value in field.args if _DEFAULTS.get(name) != value)
    return Field(_SAME.get(field.key, field.key), args)


def _flag(asked: Field, before: Domain, holds: bool) -> Domain:
    if asked.key == "bought":
        after = before.within(compared(">=" if holds else "<", Fraction(1)))
        return replace(after, unknown=before.unknown and not holds)
    if asked.key == "consents":
        granted = frozenset({"granted"})
        return before.among(granted) if holds else before.but(granted)
    return before.among(frozenset({"yes" if holds else "no"}))


def _compared(before: Domain, op: str, value: Value) -> Domain:
    if not isinstance(value, str):
        return before.within(compared(op, Fraction(value)))
    return before.among(frozenset({value})) if op == "==" else before.but(frozenset({value}))


def _listed(before: Domain, values: tuple[Value, ...], within: bool) -> Domain:
    texts = frozenset(value for value in values if isinstance(value, str))
    if texts:
        return before.among(texts) if within else before.but(texts)
    numbers = [Fraction(value) for value in values if not isinstance(value, str)]
    if within:
        return before.within([span for number in numbers for span in compared("==", number)])
    for number in numbers:
        before = before.within(compared("!=", number))
    return before
