"""Who asks for a level: the rules of segments and the audiences of journeys, which would change their meaning if it went."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.store import journeys, segments
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Asking:
    """A saved rule that would not hold without a level; `kind` is segment or journey."""

    kind: str
    key: str
    rule: str
    problem: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What gets other rules in the same transaction, and is checked there."""

    segments: bool = False
    journeys: Collection[str] = ()


NOTHING = Rewritten()
_KINDS = {"segment": phrase("segment"), "journey": phrase("journey")}


def asking(connection: Connection, shop: Shop, levels: Collection[str], besides: Rewritten = NOTHING) -> list[Asking]:
    """The saved rules that would not hold with these levels alone, by kind and key."""
    s, j = segments.c, journeys.c
    kept: list[tuple[str, str, str]] = []
    if not besides.segments:
        rows = connection.execute(select(s.segment_key, s.rule_text).where(s.shop_id == shop.shop_id))
        kept += [("segment", row.segment_key, row.rule_text) for row in rows]
    rows = connection.execute(select(j.journey_key, j.audience_text).where(j.shop_id == shop.shop_id))
    kept += [("journey", row.journey_key, row.audience_text) for row in rows if row.journey_key not in besides.journeys]
    found: list[Asking] = []
    # Sorted here: the databases do not agree on the order of letters.
    for kind, key, rule in sorted(kept, key=lambda one: (one[0] != "segment", one[1])):
        try:
            if rule:
                compile_rule(rule, levels)
        except RuleError as error:
            found.append(Asking(kind, key, rule, error.message))
    return found


def refuse_asked(connection: Connection, shop: Shop, levels: Collection[str], besides: Rewritten = NOTHING) -> None:
    """Refuse to leave a saved rule without a level it asks for. Raises: InvalidInput."""
    for one in asking(connection, shop, levels, besides):
        raise InvalidInput(
            phrase(
                "The %(kind)s %(key)s keeps its rule: %(rule)s. %(problem)s",
                kind=_KINDS[one.kind],
                key=one.key,
                rule=one.rule,
                problem=one.problem,
            ),
            hint=phrase("Keep the level, or give the %(kind)s another rule first.", kind=_KINDS[one.kind]),
        )
