"""Who comes in and who goes, for any two rules over any shop."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_plugin.rules import Rule
from crm_plugin.rules.book import resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.diff import diff
from crm_plugin.rules.document import to_json
from crm_plugin.rules.evaluate import evaluate
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.rules.text import to_text
from crm_plugin.store.session import Database
from tests.rules.shops import AS_OF, BOOK, MadeMember, keep, made_members, rules

_SHOPS = itertools.count(1)


def _rule(node: Node) -> Rule:
    return Rule(to_text(node), node, to_json(node), resolve(check(node), BOOK))


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(made=st.lists(made_members, min_size=1, max_size=5), old=rules, new=rules)
def test_comings_and_goings_are_those_of_both_rules(db: Database, made: list[MadeMember], old: Node, new: Node) -> None:
    with db.write() as connection:
        shop = keep(connection, next(_SHOPS), made)
        before, after = (
            {
                key
                for key, one in enumerate(made, start=1)
                if one.state == "active"
                and evaluate(rule.asked, snapshot_of(connection, shop, key, AS_OF), AS_OF) is True
            }
            for rule in (_rule(old), _rule(new))
        )
        found = diff(connection, shop, _rule(old), _rule(new), AS_OF, limit=2)
        assert (found.came, found.went, found.stayed) == (len(after - before), len(before - after), len(after & before))
        assert [row.member_id for row in found.came_sample] == sorted(after - before)[:2]
        assert [row.member_id for row in found.went_sample] == sorted(before - after)[:2]
