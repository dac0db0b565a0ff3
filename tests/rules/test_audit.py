"""What is wrong with a shop's saved rules, and that nothing is said of those that are right."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, delete, event, insert, update

from crm_plugin.rules import compile_rule, policies, read_book, segments, tiers
from crm_plugin.rules.audit import LEVEL, SEGMENT, Finding, audit
from crm_plugin.rules.document import to_json
from crm_plugin.rules.parse import parse
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store import journeys, tier_levels
from crm_plugin.store import segments as saved_segments
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.rules.shops import AS_OF, NOW, MadeMember, MadeOrder, keep

_BUYER = MadeMember(country="GB", orders=(MadeOrder(3, 10_000), MadeOrder(40, 10_000)))


def _put_segment(connection: Connection, shop: Shop, key: str, text: str) -> None:
    """As it was saved by some other way, without looking at the names."""
    segments.put(connection, shop, key, compile_rule(text), NOW)


def _put_level(connection: Connection, shop: Shop, rank: int, key: str, text: str, program: str = "main") -> None:
    row = {"program_key": program, "level_key": key, "rank": rank, "rule_text": text, "rule": to_json(parse(text))}
    connection.execute(insert(tier_levels).values(shop_id=shop.shop_id, **row, title={}, updated_at=NOW))


def _told(connection: Connection, shop: Shop) -> list[tuple[str, str, str]]:
    return [(one.kind, one.key, one.problem) for one in audit(connection, shop, AS_OF)]


def test_sound_book_has_nothing_wrong(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        keep(connection, 2, [_BUYER])
        segments.save(connection, shop, "buyers", "orders() >= 1", NOW)
        levels = [
            tiers.Level("member", "everyone"),
            tiers.Level("silver", 'segment("buyers") and spent() >= 100'),
            tiers.Level("gold", "spent() >= 500 or orders(days=365) >= 5"),
        ]
        tiers.save_levels(connection, shop, levels, NOW)
        assert _told(connection, shop) == []


def test_each_problem_is_found(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER, MadeMember()])
        _put_segment(connection, shop, "none", "orders() >= 3 and orders() < 2")
        _put_segment(connection, shop, "all", "orders(days=90) < 2 or orders() > 1")
        _put_segment(connection, shop, "french", 'country == "FR"')
        _put_segment(connection, shop, "part", 'country == "GB" or (orders(days=30) >= 2 and orders(days=90) < 1)')
        _put_segment(connection, shop, "idle", 'country == "GB" and not orders() < 0')
        _put_segment(connection, shop, "gone", 'segment("nowhere") or segment("part")')
        segments.save_list(connection, shop, "vips", NOW)
        _put_level(connection, shop, 0, "gold", 'segment("idle") or segment("vips")')
        assert _told(connection, shop) == [
            ("segment", "all", "always"),
            ("segment", "all", "dead"),
            ("segment", "french", "dead"),
            ("segment", "french", "empty"),
            ("segment", "gone", "broken"),
            ("segment", "gone", "dead"),
            ("segment", "idle", "part_always"),
            ("segment", "none", "never"),
            ("segment", "none", "dead"),
            ("segment", "part", "part_never"),
            ("segment", "vips", "empty"),
        ]
        found = {(one.key, one.problem): one for one in audit(connection, shop, AS_OF)}
        assert found["idle", "part_always"].message == "This part is always true: not orders() < 0."
        assert found["part", "part_never"].part == "orders(days=30) >= 2 and orders(days=90) < 1"
        assert found["gone", "broken"].message.startswith("There is no segment 'nowhere'.")
        assert found["gone", "dead"].as_dict() == {
            "kind": "segment",
            "program": "",
            "key": "gone",
            "name": "gone",
            "problem": "dead",
            "message": "No tier, journey or other segment asks for it.",
            "part": "",
        }


def test_one_rule_is_looked_over_alone(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        _put_segment(connection, shop, "none", "orders() >= 3 and orders() < 2")
        _put_segment(connection, shop, "french", 'country == "FR"')
        _put_level(connection, shop, 0, "french", 'segment("none")')
        found = audit(connection, shop, AS_OF, (SEGMENT,), only="french")
        assert [(one.kind, one.key, one.problem) for one in found] == [
            ("segment", "french", "dead"),
            ("segment", "french", "empty"),
        ]


def test_number_of_statements_is_that_of_one_level(db: Database) -> None:
    asked: list[str] = []
    numbers = []
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append(told[2]))
        for rank in range(9):
            _put_level(connection, shop, rank, f"l{rank}", f"orders() >= {rank + 1}")
            _put_level(connection, shop, 0, "m", "orders() >= 1", f"club-{rank}")
            asked.clear()
            assert audit(connection, shop, AS_OF, (LEVEL,)) == []
            numbers.append(len(asked))
    assert len(set(numbers)) == 1


@pytest.mark.parametrize(
    ("rules", "problems"),
    [
        (["spent() >= 100", "spent() >= 500"], []),
        (["100 <= spent() < 500", "spent() >= 500"], []),
        (["spent() >= 500", "spent() >= 100"], [("l0", "unreachable")]),
        (["orders() >= 2", "not orders() < 2"], [("l0", "same")]),
        (["orders() >= 1", "orders() < 5", "orders() >= 3"], [("l0", "unreachable")]),
        (["orders() >= 1 and orders() < 1", "everyone"], [("l0", "never")]),
        (["orders() >= 1", "everyone"], [("l0", "unreachable")]),
    ],
)
def test_levels_that_nobody_reaches(db: Database, rules: list[str], problems: list[tuple[str, str]]) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        for rank, text in enumerate(rules):
            _put_level(connection, shop, rank, f"l{rank}", text)
            # Another programme has a ladder of its own.
            _put_level(connection, shop, rank, f"m{rank}", f"days_since_order < {rank + 1}", "club")
        found = audit(connection, shop, AS_OF, (LEVEL,))
        club = [(f"m{rank}", "unreachable") for rank in range(len(rules) - 1)]
        assert [(one.key, one.problem) for one in found] == [*problems, *club]


def test_circles_are_found(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        _put_segment(connection, shop, "regulars", 'tier == "gold" and orders() >= 1')
        _put_level(connection, shop, 0, "gold", 'days_in_segment("regulars") >= 30')
        _put_segment(connection, shop, "a", 'segment("b")')
        _put_segment(connection, shop, "b", 'days_in_segment("a") > 1')
        found: list[Finding] = [one for one in audit(connection, shop, AS_OF) if one.problem == "circle"]
        assert [(one.kind, one.key, one.message.partition(": ")[2]) for one in found] == [
            ("segment", "a", 'segment("a") → segment("b") → segment("a").'),
            ("segment", "regulars", 'segment("regulars") → tier → segment("regulars").'),
        ]
        connection.execute(delete(tier_levels))
        connection.execute(
            update(saved_segments).where(saved_segments.c.segment_key == "b").values(rule=to_json(parse("everyone")))
        )
        assert [one for one in audit(connection, shop, AS_OF) if one.problem == "circle"] == []


def test_journeys_are_looked_at(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        _put_segment(connection, shop, "buyers", "orders() >= 1")
        row = {"shop_id": 1, "trigger": "birthday", "template_key": "birthday", "updated_at": NOW}
        texts = {"all": "", "old": "no_more() > 1", "some": 'segment("buyers") and not known(days_since_order)'}
        for key, text in texts.items():
            connection.execute(insert(journeys).values(**row, journey_key=key, audience_text=text))
        assert _told(connection, shop) == [("journey", "old", "broken"), ("journey", "some", "never")]


def test_levels_that_are_kept_or_by_invitation_are_not_called_unreachable(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_BUYER])
        for key in ("loyal", "coming", "unused"):
            segments.save(connection, shop, key, "orders() >= 1", NOW)
        document = {
            "levels": [
                {"key": "silver", "rule": "spent() >= 500", "keep_rule": 'segment("loyal")'},
                {"key": "gold", "rule": "spent() >= 100"},
                {"key": "black", "invitation": True},
            ]
        }
        policy = read_policy(document, "main")
        policies.save(connection, shop, policy, NOW, actor="test")
        policies.put_levels(connection, shop, policy, read_book(connection, shop.shop_id), AS_OF, NOW)
        later = {"levels": [{"key": "silver", "rule": 'segment("coming")'}], "effective_on": "2027-01-01"}
        policies.save(connection, shop, read_policy(later, "main"), NOW, actor="test")
        assert _told(connection, shop) == [("segment", "unused", "dead")]
