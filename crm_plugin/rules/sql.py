"""A rule as one SQL statement with bound parameters.

For all members (`select_members`) everything a rule reads is joined once. For the members at hand (`condition`) it is the other way
round: a caller who already has the few that are due asks for these alone, by their key.

SQL's own three values are the rule's: what is unknown matches neither a condition nor its opposite.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    text,
    true,
)

from crm_plugin.rules.dialects import folded
from crm_plugin.rules.fields import FIELDS, Scope
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Everyone,
    Field,
    Holds,
    Known,
    Matches,
    Membership,
    Node,
    Not,
    Number,
    Or,
    Relation,
    Term,
    Within,
    deep_fields,
)
from crm_plugin.rules.operands import Counted, DaysSince, Flag, Operand, Quotient, Ratio, Truth, Whole, Words, constant
from crm_plugin.rules.operators import MATCHES, fold
from crm_plugin.rules.ordered import takes_an_order
from crm_plugin.rules.rows import MARKETING
from crm_plugin.rules.scopes import FactsScope, JoinedScope, SingleScope
from crm_plugin.rules.windows import PROGRAM as PROGRAM_KEY
from crm_plugin.store import members, orders, refunds, tier_changes
from crm_plugin.store.tenants import Shop

__all__ = [
    "ACTIVE",
    "MARKETING",
    "PROGRAM_KEY",
    "FactsScope",
    "JoinedScope",
    "SingleScope",
    "condition",
    "counts",
    "is_active",
    "is_gone",
    "is_history",
    "operand",
    "scope_for",
    "select_members",
    "truth",
]

ACTIVE = "active"


def is_history(connection: Connection, shop: Shop, as_of: date) -> bool:
    """Whether something came after that day, so that facts and levels, which are of now, do not tell it by themselves."""
    o, r, t = orders.c, refunds.c, tier_changes.c
    ordered = select(literal(1)).where(o.shop_id == shop.shop_id, o.placed_on > as_of, o.counts)
    refunded = select(literal(1)).where(r.shop_id == shop.shop_id, r.refunded_on > as_of, r.counts)
    moved = select(literal(1)).where(t.shop_id == shop.shop_id, t.as_of > as_of)
    return bool(connection.execute(select(or_(exists(ordered), exists(refunded), exists(moved)))).scalar_one())


def select_members(shop: Shop, node: Node, as_of: date, *, live: bool = True, history: bool = False) -> Select[int]:
    """The members of this shop for whom the rule is true, one column `member_id`; `live` leaves out those deleted.

    The column may be of the facts: what is added to the query speaks of `selected_columns.member_id`.
    """
    scope = scope_for(shop, [node], as_of, history=history)
    holds = truth(scope, node)
    query = select(scope.member("member_id")).select_from(scope.source)
    query = query.where(scope.member("shop_id") == shop.shop_id, holds)
    return query.where(is_active(scope)) if live else query


def scope_for(shop: Shop, nodes: Sequence[Node], as_of: date, *, history: bool = False) -> JoinedScope:
    """What these rules can stand on together: the facts alone where only who has ordered can match."""
    if not history and takes_an_order(shop, nodes, as_of):
        # The index of last orders holds all that is asked for only when nothing else is.
        asked = {one.key for node in nodes for one in deep_fields(node)}
        return FactsScope(shop, as_of, in_one_stretch=asked != {"days_since_order"})
    return JoinedScope(shop, as_of, history=history)


def is_active(scope: JoinedScope) -> Truth:
    """Whether the scope's member is one who was not deleted."""
    if not isinstance(scope, FactsScope):
        return scope.member("state") == ACTIVE
    m = members.c
    # Those who are gone are few, and are listed once.
    gone = select(m.member_id).where(m.shop_id == scope.shop.shop_id, is_gone(m.state))
    return scope.member("member_id").not_in(gone)


def is_gone(state: ColumnElement[str]) -> Truth:
    """Whether that is the state of a member who was deleted; said as the index of those has it."""
    return state != text(f"'{ACTIVE}'")


def counts(connection: Connection, shop: Shop, nodes: Sequence[Node], as_of: date, *, history: bool) -> list[int]:
    """How many active members match each of these rules, in one statement."""
    if not nodes:
        return []
    scope = scope_for(shop, nodes, as_of, history=history)
    columns = [func.count(case((truth(scope, node), 1))).label(f"n{place}") for place, node in enumerate(nodes)]
    query = select(*columns).select_from(scope.source)
    row = connection.execute(query.where(scope.member("shop_id") == shop.shop_id, is_active(scope))).one()
    return [int(value) for value in row]


def condition(
    shop: Shop, node: Node, as_of: date, member_id_column: ColumnElement[int], *, history: bool = False
) -> Truth:
    """The rule as a condition on a member's id, for use inside another select; answered by key for each member at hand."""
    scope = SingleScope(shop, as_of, history=history)
    holds = truth(scope, node)
    same = and_(scope.member("shop_id") == shop.shop_id, scope.member("member_id") == member_id_column)
    return exists(select(literal(1)).select_from(scope.source).where(same, holds))


def truth(scope: Scope, node: Node) -> Truth:
    """A tree as a condition on the scope's row. A node of no known kind raises, for nothing may be left out in silence."""
    if isinstance(node, And):
        return and_(*(truth(scope, item) for item in node.items)) if node.items else false()
    if isinstance(node, Or):
        return or_(*(truth(scope, item) for item in node.items)) if node.items else false()
    if isinstance(node, Not):
        return not_(truth(scope, node.item))
    if isinstance(node, Compare):
        return operand(scope, node.field).compare(node.op, node.value)
    if isinstance(node, Relation):
        return calculated(scope, node.left).compare(node.op, calculated(scope, node.right))
    if isinstance(node, Membership):
        asked = operand(scope, node.field)
        found = or_(*(asked.compare("==", value) for value in node.values)) if node.values else false()
        return not_(found) if node.negated else found
    if isinstance(node, Matches):
        words = operand(scope, node.field)
        assert isinstance(words, Words)
        return MATCHES[node.how].sql(folded(words.expression), fold(node.text))
    if isinstance(node, Known):
        return operand(scope, node.field).known
    if isinstance(node, Holds):
        if node.field.key == "segment":
            raise TypeError("a segment has to be resolved before it is asked, see rules/book.py")
        flag = operand(scope, node.field)
        assert isinstance(flag, Flag)
        return flag.expression
    if isinstance(node, Within):
        if node.rule is None:
            flag = operand(scope, node.field)
            assert isinstance(flag, Flag)
            return flag.expression
        # Whoever the segment's rule is unknown for is not in it, and so is outside when it is denied.
        return func.coalesce(truth(scope, node.rule), false())
    if isinstance(node, Everyone):
        return true()
    raise TypeError(f"no SQL for {type(node).__name__}")


def operand(scope: Scope, field: Field) -> Operand:
    """What a field stands for in this scope."""
    return FIELDS[field.key].sql(scope, field)


def calculated(scope: Scope, term: Term) -> Quotient:
    """A term as a fraction in this scope."""
    if isinstance(term, Number):
        return constant(term.value)
    if isinstance(term, Calculation):
        return calculated(scope, term.left).combine(term.op, calculated(scope, term.right))
    found = operand(scope, term)
    assert isinstance(found, Whole | DaysSince | Ratio | Counted)
    return found.quotient()
