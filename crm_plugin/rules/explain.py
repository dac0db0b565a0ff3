"""Why a member matches a rule or not: every condition with the member's value and whether it holds, and what would turn the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from crm_plugin.money import to_major, to_minor
from crm_plugin.rules import flip_words
from crm_plugin.rules.called import UNNAMED, Called
from crm_plugin.rules.evaluate import Found, Snapshot, Truth, evaluate, term_of, value_of
from crm_plugin.rules.fields import FIELDS, Unit
from crm_plugin.rules.flip import BUDGET, Flip, flip
from crm_plugin.rules.nodes import Everyone, Leaf, Node, Relation, Value, Within, leaves
from crm_plugin.rules.operands import half_up, plain
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.rules.text import to_text
from crm_plugin.store.tenants import Shop

__all__ = ["ExplainedLeaf", "Explanation", "explain", "explain_from", "shown", "snapshot_of"]


@dataclass(frozen=True, slots=True)
class ExplainedLeaf:
    """One condition: as text and as node (for `words`), the member's value (None is unknown), and whether it holds."""

    text: str
    node: Leaf
    value: Value | bool | None
    truth: Truth


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer; a truth of None is unknown, and matches no more than False. `flip` is None where nobody asked for it."""

    truth: Truth
    leaves: tuple[ExplainedLeaf, ...]
    as_of: date
    currency: str
    flip: Flip | None = None

    @property
    def matches(self) -> bool:
        return self.truth is True

    def as_dict(self, by: Called = UNNAMED) -> dict[str, Any]:
        """For `--json`: amounts as text, for JSON has no decimals. `by` is what the shop calls its own, for the sentences."""
        told: dict[str, Any] = {
            "matches": self.matches,
            "truth": self.truth,
            "conditions": [
                {
                    "text": leaf.text,
                    "value": str(leaf.value) if isinstance(leaf.value, Decimal) else leaf.value,
                    "truth": leaf.truth,
                }
                for leaf in self.leaves
            ],
        }
        if self.flip is not None:
            told["ways"] = [flip_words.as_dict(one, self.as_of, self.currency, by) for one in self.flip.ways]
            told["gave_up"] = self.flip.gave_up
        return told


def explain(connection: Connection, shop: Shop, node: Node, member_id: int, as_of: date) -> Explanation:
    """Each condition's value and truth for one member, and what would turn the whole. Raises: NotFound when the shop has no such member."""
    return explain_from(snapshot_of(connection, shop, member_id, as_of), node, as_of, budget=BUDGET)


def explain_from(snapshot: Snapshot, node: Node, as_of: date, *, budget: int = 0) -> Explanation:
    """The same for a member already read: several rules of one member need one reading. Without a `budget` nothing is tried out."""
    found = tuple(
        ExplainedLeaf(to_text(leaf), leaf, _value(leaf, snapshot, as_of), evaluate(leaf, snapshot, as_of))
        for leaf in dict.fromkeys(leaves(node))
    )
    turned = flip(node, snapshot, as_of, budget) if budget else None
    return Explanation(evaluate(node, snapshot, as_of), found, as_of, snapshot.currency, turned)


def _value(leaf: Leaf, snapshot: Snapshot, as_of: date) -> Value | bool | None:
    if isinstance(leaf, Everyone):
        return True
    if isinstance(leaf, Within):
        return evaluate(leaf, snapshot, as_of)
    if isinstance(leaf, Relation):
        return shown(term_of(leaf.left, snapshot, as_of), "")
    money = FIELDS[leaf.field.key].unit is Unit.MONEY
    return shown(value_of(leaf.field, snapshot, as_of), snapshot.currency if money else "")


def shown(found: Found, currency: str) -> Value | bool | None:
    """A value as people read it: an amount of `currency` rounded to its minor unit, else with at most two places."""
    if isinstance(found, bool) or found is None or isinstance(found, str):
        return found
    if isinstance(found, float):
        return plain(Decimal(repr(found)))
    if not currency:
        return plain(half_up(found, 2))
    return to_major(to_minor(Decimal(found.numerator) / Decimal(found.denominator), currency), currency)
