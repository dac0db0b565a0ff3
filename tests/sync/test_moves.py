"""Who is seen in another country or state than before has moved: noted once, with the row, and never at first sight."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from crm_plugin.rules import compile_rule
from crm_plugin.rules.evaluate import evaluate
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.store import member_events, members
from crm_plugin.store.events import withdraw_event
from crm_plugin.store.session import Database
from tests.factories import NOON, make_shop, member, write
from tests.touchpoints.plans import counted

_DAY = timedelta(days=1)


def _moves(db: Database) -> list[tuple[str, Any]]:
    query = (
        select(members.c.external_id, member_events.c.payload)
        .join(members, members.c.member_id == member_events.c.member_id)
        .where(member_events.c.kind == "moved")
        .order_by(member_events.c.at, members.c.external_id)
    )
    with db.read() as connection:
        return [(row.external_id, row.payload) for row in connection.execute(query)]


def _people(*places: tuple[str, str], days: int = 0) -> list[Any]:
    at = NOON + days * _DAY
    return [member(str(n), country=country, region=region, updated_at=at) for n, (country, region) in enumerate(places)]


def test_other_country_or_state_is_noted_with_one_statement(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    first = _people(("US", "CA"), ("DE", ""), ("", ""), ("US", ""), ("CN", "CN-BJ"))
    write(db, shop, first, NOON)
    write(db, shop, first, NOON)
    assert _moves(db) == []
    # Another state; another country; known only now, twice; the same, spelled otherwise.
    later = _people(("US", "NY"), ("AT", ""), ("FR", ""), ("US", "TX"), ("CN", "BJ"), days=1)
    with counted(db) as statements:
        write(db, shop, later, NOON + _DAY)
    told = [("0", {"from": "US-CA", "to": "US-NY"}), ("1", {"from": "DE", "to": "AT"})]
    assert _moves(db) == told
    assert sum("member_events" in one for one in statements) <= 1
    with counted(db) as statements:
        write(db, shop, later, NOON + 2 * _DAY)
    assert (_moves(db), [one for one in statements if "INTO" in one]) == (told, [])


def test_rule_counts_a_move_of_the_last_year_until_it_is_taken_back(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, _people(("DE", "")), NOON)
    write(db, shop, _people(("AT", ""), days=1), NOON + _DAY)
    rule = compile_rule('happened("moved", days=365) >= 1').node
    day = (NOON + _DAY).date()

    def holds(as_of: Any) -> Any:
        with db.read() as connection:
            who = connection.execute(select(func.min(members.c.member_id))).scalar_one()
            return evaluate(rule, snapshot_of(connection, shop, who, as_of), as_of)

    assert [holds(day + n * _DAY) for n in (-1, 0, 364, 365)] == [False, True, True, False]
    with db.write() as connection:
        who = connection.execute(select(func.min(members.c.member_id))).scalar_one()
        subject = connection.execute(select(member_events.c.subject)).scalar_one()
        assert withdraw_event(connection, shop, "moved", who, NOON + 9 * _DAY, subject=subject)
        assert connection.execute(select(members.c.touched_at)).scalar_one() == NOON + 9 * _DAY
    assert holds(day) is False
