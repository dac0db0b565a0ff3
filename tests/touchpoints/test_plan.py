"""Planning: the right members, the right instant in each zone, once, whatever happens to the planner."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord, OrderStatus
from crm_plugin.rules.triggers import read_trigger
from crm_plugin.store import consent, journeys, members, orders, templates, touchpoints
from crm_plugin.store.members import zones_of
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import batch
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.due import LATE_OVERLAP
from crm_plugin.touchpoints.idle import move_marks
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import forecast, plan_shop
from crm_plugin.touchpoints.relevance import still_relevant
from tests.factories import make_shop, member, order, write

START = datetime(2026, 2, 27, 0, 0, tzinfo=UTC)
YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START - timedelta(days=90)),)


@pytest.fixture
def shop(db: Database) -> Shop:
    return _shop(db)


def _shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        connection.exec_driver_sql(
            "INSERT INTO connections (shop_id, adapter, channel, settings, enabled, status, status_detail, updated_at) "
            f"VALUES (1, 'smtp', 'email', {_EMPTY[db.is_sqlite]}, {'1' if db.is_sqlite else 'true'}, 'ok', '', 0)"
        )
        return made


_EMPTY = {True: "x''", False: "''::bytea"}


def _journey(db: Database, shop: Shop, at: datetime = START, **told: Any) -> None:
    draft = read_draft(
        {"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"], "validity_days": 3, **told}
    )
    with db.write() as connection:
        journey_store.save(connection, shop, draft, at)
        connection.execute(
            journeys.update()
            .where(journeys.c.shop_id == shop.shop_id)
            .values(enabled=True, enabled_at=at, planned_through=at)
        )


def _planned(db: Database) -> dict[str, tuple[str, str, str, str]]:
    """Address → state, reason, occasion and due instant in UTC."""
    columns = touchpoints.c
    with db.read() as connection:
        rows = connection.execute(
            select(columns.address, columns.state, columns.reason, columns.occasion, columns.due_at)
        ).all()
    return {row.address: (row.state, row.reason, row.occasion, row.due_at.strftime("%m-%d %H:%M")) for row in rows}


def _person(number: int, **values: Any) -> MemberRecord:
    return member(str(number), email=f"m{number}@x.test", **{"consents": YES, **values})


def test_birthdays_fall_due_in_each_zone(db: Database, shop: Shop) -> None:
    write(
        db,
        shop,
        [
            _person(1, birth_month=2, birth_day=28, timezone="Asia/Shanghai"),
            _person(2, birth_month=2, birth_day=28, timezone="America/New_York"),
            _person(3, birth_month=2, birth_day=29),
            _person(4, birth_month=3, birth_day=2),
            _person(5, birth_month=3),
            _person(6),
        ],
        START,
    )
    _journey(db, shop)
    plan_shop(db, shop, datetime(2026, 2, 28, 9, 0, tzinfo=UTC))
    assert _planned(db) == {
        "m1@x.test": ("planned", "", "2026", "02-28 02:00"),
        "m3@x.test": ("planned", "", "2026", "02-28 09:00"),
    }
    plan_shop(db, shop, datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
    assert _planned(db)["m2@x.test"] == ("planned", "", "2026", "02-28 15:00")
    assert _planned(db)["m5@x.test"] == ("planned", "", "2026", "03-01 09:00")
    assert len(_planned(db)) == 4


@pytest.mark.slow
def test_lunar_birthdays_fall_due_once_in_each_lunar_year(sqlite_db: Database) -> None:
    """Born on the first of the twelfth month: none of it in 2025, and two in 2027."""
    shop = _shop(sqlite_db)
    begin = datetime(2024, 6, 1, tzinfo=UTC)
    born = {"birth_month": 12, "birth_day": 1, "birth_lunar": True, "timezone": "Asia/Shanghai"}
    leap = {"birth_month": 6, "birth_day": 30, "birth_lunar": True, "birth_leap": True, "timezone": "Asia/Shanghai"}
    write(sqlite_db, shop, [_person(1, **born), _person(2, **leap)], begin)
    _journey(sqlite_db, shop, begin)
    at = begin
    while at < datetime(2028, 3, 1, tzinfo=UTC):
        at += timedelta(days=2)
        plan_shop(sqlite_db, shop, at)
    columns = touchpoints.c
    with sqlite_db.read() as connection:
        rows = connection.execute(
            select(columns.address, columns.occasion, columns.occasion_on, columns.state).order_by(columns.due_at)
        ).all()
    assert {row.state for row in rows} == {"planned"}
    found = {
        name: [(row.occasion, f"{row.occasion_on}") for row in rows if row.address == f"m{name}@x.test"]
        for name in (1, 2)
    }
    assert found == {
        1: [("2024", "2024-12-31"), ("2025", "2026-01-19"), ("2026", "2027-01-08"), ("2027", "2027-12-28")],
        # The leap sixth month of 2025 has 29 days; in other years it is the plain month, of 2026 with 30.
        2: [("2024", "2024-08-03"), ("2025", "2025-08-22"), ("2026", "2026-08-12"), ("2027", "2027-08-01")],
    }


@pytest.mark.parametrize(("leap_day", "due"), [("before", "02-28 09:00"), ("after", "03-01 09:00")])
def test_leap_day_is_kept_on_the_side_that_was_chosen(db: Database, shop: Shop, leap_day: str, due: str) -> None:
    write(db, shop, [_person(1, birth_month=2, birth_day=29)], START)
    _journey(db, shop, trigger={"type": "birthday", "leap_day": leap_day})
    plan_shop(db, shop, datetime(2026, 3, 2, tzinfo=UTC))
    assert _planned(db) == {"m1@x.test": ("planned", "", "2026", due)}
    with db.read() as connection:
        row = connection.execute(select(touchpoints)).one()
        known = batch.load(connection, shop, [row], START)
        journey = journey_store.get(connection, 1, "greet")
        other = {"before": "after", "after": "before"}[leap_day]
        assert still_relevant(row, journey, known)
        # Told otherwise meanwhile, that day is none any more.
        changed = replace(journey, trigger=read_trigger("birthday", {"leap_day": other}))
        assert not still_relevant(row, changed, known)


def test_planning_again_adds_nothing(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(n, birth_month=2, birth_day=28) for n in range(50)], START)
    _journey(db, shop)
    end = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    assert plan_shop(db, shop, end).as_dict()["planned"] == 50
    with db.write() as connection:
        connection.execute(journeys.update().values(planned_through=START))
    assert plan_shop(db, shop, end).as_dict()["planned"] == 0


def test_outage_is_caught_up_and_the_stale_is_missed(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1, birth_month=2, birth_day=28), _person(2, birth_month=3, birth_day=9)], START)
    _journey(db, shop)
    plan_shop(db, shop, datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
    assert {address: row[:2] for address, row in _planned(db).items()} == {
        "m1@x.test": ("missed", "window_over"),
        "m2@x.test": ("planned", ""),
    }


def test_reasons_for_not_planning(db: Database, shop: Shop) -> None:
    no = (ConsentRecord(channel="email", state=ConsentState.WITHDRAWN, at=START),)
    born: dict[str, Any] = {"birth_month": 2, "birth_day": 28}
    write(db, shop, [_person(1, consents=(), **born), _person(2, consents=no, **born), _person(3, **born)], START)
    write(db, shop, [member("4", consents=YES, **born)], START)
    with db.write() as connection:
        consent.suppress(connection, shop.shop_id, "email", "m3@x.test", reason="bounce", at=START, source="smtp")
    _journey(db, shop)
    report = plan_shop(db, shop, datetime(2026, 2, 28, 12, 0, tzinfo=UTC)).as_dict()
    assert (report["planned"], report["skipped"]) == (0, 4)
    with db.read() as connection:
        reasons = connection.execute(select(touchpoints.c.reason).order_by(touchpoints.c.member_id)).scalars().all()
    assert sorted(reasons) == ["no_address", "no_consent", "no_consent", "suppressed"]


def test_late_birthday_is_still_kept_within_its_window(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1)], START)
    _journey(db, shop)
    plan_shop(db, shop, datetime(2026, 2, 28, 12, 0, tzinfo=UTC))
    assert _planned(db) == {}
    later = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    write(db, shop, [_person(1, birth_month=2, birth_day=28)], later)
    plan_shop(db, shop, later + timedelta(minutes=1))
    assert _planned(db)["m1@x.test"][0] == "planned"


def test_lapse_and_purchase_count_from_the_order(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1), _person(2)], START)
    placed = START - timedelta(days=29, hours=-12)
    write(db, shop, [order("o1", member_external_id="1", placed_at=placed)], START)
    _journey(db, shop, key="lapse", trigger={"type": "lapse", "days": 30})
    _journey(
        db, shop, key="thanks", trigger={"type": "post_purchase", "days": 30}, kind="transactional", topic="orders"
    )
    with db.write() as connection:
        connection.execute(journeys.update().values(enabled=True, enabled_at=START, planned_through=START))
    plan_shop(db, shop, START + timedelta(days=2))
    columns = touchpoints.c
    with db.read() as connection:
        rows = {
            r.journey_key: r
            for r in connection.execute(select(columns.journey_key, columns.occasion, columns.due_at, columns.state))
        }
    assert (rows["lapse"].occasion, rows["lapse"].due_at) == ("lapse:2026-01-29", datetime(2026, 2, 28, 9, tzinfo=UTC))
    assert rows["thanks"].occasion.startswith("order:")
    assert {row.state for row in rows.values()} == {"planned"}


def test_audience_and_forecast(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1, birth_month=2, birth_day=28), _person(2, birth_month=2, birth_day=28)], START)
    write(db, shop, [order("o1", member_external_id="2", placed_at=START)], START)
    _journey(db, shop, audience="orders() >= 1")
    with db.read() as connection:
        coming = forecast(connection, shop, START, START + timedelta(days=3))
    assert [(one.on.isoformat(), one.planned, one.skipped) for one in coming] == [("2026-02-28", 1, 0)]
    plan_shop(db, shop, START + timedelta(days=2))
    assert list(_planned(db)) == ["m2@x.test"]


def test_night_is_left_out(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1, birth_month=2, birth_day=28)], START)
    _journey(db, shop, send_at="22:30")
    plan_shop(db, shop, START + timedelta(days=2))
    with db.read() as connection:
        row = connection.execute(select(touchpoints.c.due_at, touchpoints.c.next_try_at)).one()
    assert row.due_at == datetime(2026, 2, 28, 21, 30, tzinfo=UTC)
    assert row.next_try_at == datetime(2026, 3, 1, 7, 0, tzinfo=UTC)


def test_round_ahead_of_time_keeps_nothing_from_its_day(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1, birth_month=2, birth_day=28)], START)
    _journey(db, shop)
    plan_shop(db, shop, START + timedelta(days=370))
    write(db, shop, [_person(2, birth_month=3, birth_day=2), _person(3, birth_month=3, birth_day=9)], START)
    now = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    plan_shop(db, shop, now)
    assert _planned(db)["m2@x.test"] == ("planned", "", "2026", "03-02 09:00")
    with db.read() as connection:
        assert connection.execute(select(journeys.c.planned_through)).scalar_one() == now
    plan_shop(db, shop, now + timedelta(days=7))
    assert _planned(db)["m3@x.test"] == ("planned", "", "2026", "03-09 09:00")


def _edit(db: Database, shop: Shop, at: datetime, **told: Any) -> None:
    draft = read_draft({"key": "greet", "trigger": {"type": "birthday"}, "channels": ["email"], **told})
    with db.write() as connection:
        connection.execute(templates.delete())
        text = {"template_key": "greet", "channel": "email", "locale": "en", "updated_at": START}
        connection.execute(templates.insert().values(shop_id=1, subject="Hi", body_text="Hello", **text))
        journey_store.save(connection, shop, draft, at)


def test_hour_moved_forward_loses_nobody_of_today(db: Database, shop: Shop) -> None:
    people = [_person(n, birth_month=2, birth_day=day) for n, day in ((1, 28), (2, 27), (3, 26))]
    write(db, shop, people, START)
    _journey(db, shop, send_at="18:00")
    noon = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    plan_shop(db, shop, noon)
    assert list(_planned(db)) == ["m2@x.test"]
    _edit(db, shop, noon, send_at="10:00")
    plan_shop(db, shop, noon + timedelta(minutes=1))
    assert _planned(db)["m1@x.test"] == ("planned", "", "2026", "02-28 09:00")
    assert len(_planned(db)) == 2


def test_edit_during_planning_is_not_overtaken(db: Database, shop: Shop) -> None:
    _journey(db, shop, send_at="18:00")
    noon = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    with db.read() as connection:
        before = journey_store.get(connection, 1, "greet")
    _edit(db, shop, noon, send_at="10:00")
    with db.write() as connection:
        move_marks(connection, shop, [before], noon)
    with db.read() as connection:
        assert journey_store.get(connection, 1, "greet").planned_through == START


def test_words_alone_move_no_mark(db: Database, shop: Shop) -> None:
    _journey(db, shop)
    noon = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    plan_shop(db, shop, noon)
    _edit(db, shop, noon, title="Hello")
    with db.read() as connection:
        assert journey_store.get(connection, 1, "greet").planned_through == noon


@pytest.mark.parametrize("kind", ["lapse", "post_purchase"])
def test_member_who_moves_east_is_not_passed_over(db: Database, shop: Shop, kind: str) -> None:
    write(db, shop, [_person(1, timezone="America/Los_Angeles")], START)
    write(db, shop, [order("o1", member_external_id="1", placed_at=START - timedelta(days=29))], START)
    _journey(db, shop, trigger={"type": kind, "days": 30})
    # It is ten in the morning in Shanghai already and not yet in Los Angeles.
    now = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    plan_shop(db, shop, now)
    assert _planned(db) == {}
    write(db, shop, [_person(1, timezone="Asia/Shanghai")], now + timedelta(minutes=5))
    plan_shop(db, shop, now + timedelta(days=2))
    state, _, _, due = _planned(db)["m1@x.test"]
    assert (state, due) == ("planned", "02-28 02:00")


def test_order_paid_after_its_day_is_planned(db: Database, shop: Shop) -> None:
    placed, failed = START + timedelta(hours=1), OrderStatus.FAILED
    write(db, shop, [_person(1)], START)
    write(db, shop, [order("o1", member_external_id="1", placed_at=placed, status=failed)], placed)
    _journey(db, shop, trigger={"type": "post_purchase", "days": 1})
    due = datetime(2026, 2, 28, 9, 0, tzinfo=UTC)
    plan_shop(db, shop, due)
    assert _planned(db) == {}
    paid = due + timedelta(hours=8)
    write(db, shop, [order("o1", member_external_id="1", placed_at=placed, status=OrderStatus.PAID)], paid)
    plan_shop(db, shop, paid + timedelta(minutes=1))
    assert _planned(db)["m1@x.test"][0] == "planned"


def test_order_keeps_when_it_came_until_it_begins_to_count(db: Database, shop: Shop) -> None:
    def seen(at: datetime, **values: Any) -> datetime:
        write(db, shop, [order("o1", member_external_id="1", **values)], at)
        with db.read() as connection:
            found: datetime = connection.execute(select(orders.c.first_seen_at)).scalar_one()
            return found

    write(db, shop, [_person(1), _person(2)], START)
    days = [START + timedelta(days=n) for n in range(6)]
    assert seen(days[0]) == days[0]
    assert seen(days[1], number="7") == days[0]
    assert seen(days[2], status=OrderStatus.CANCELLED) == days[0]
    assert seen(days[3], status=OrderStatus.PAID) == days[3]
    assert seen(days[4], status=OrderStatus.PAID, placed_at=START) == days[4]
    assert seen(days[5], status=OrderStatus.PAID, placed_at=START + timedelta(hours=1)) == days[4]


def test_calendar_holds_the_members_zones_alone(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        make_shop(connection, 2)
        other = shop_by_id(connection, 2)
    write(db, other, [_person(9, timezone="Asia/Tokyo")], START)
    people = [_person(1, birth_month=2, birth_day=28), _person(2), _person(3, timezone="Pacific/Auckland")]
    write(db, shop, people, START)
    with db.read() as connection:
        assert zones_of(connection, 1) == {"Europe/Berlin", "Pacific/Auckland"}
        assert zones_of(connection, 3) == set()
    _journey(db, shop)
    seen: set[str] = set()

    def look(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "touchpoints" in statement:
            values = parameters.values() if isinstance(parameters, dict) else parameters
            seen.update(slot[0] for value in values if str(value).startswith("[[") for slot in json.loads(value))

    event.listen(db.engine, "before_cursor_execute", look)
    plan_shop(db, shop, datetime(2026, 2, 28, 12, 0, tzinfo=UTC))
    assert seen == {"Europe/Berlin", "Pacific/Auckland"}
    assert list(_planned(db)) == ["m1@x.test"]


def test_zone_of_an_unusual_name_has_its_calendar(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1, birth_month=2, birth_day=28), _person(2, birth_month=2, birth_day=28)], START)
    with db.write() as connection:
        for number, zone in ((1, "posix/Europe/London"), (2, "Nowhere/Here")):
            connection.execute(members.update().where(members.c.external_id == str(number)).values(zone=zone))
    _journey(db, shop)
    plan_shop(db, shop, datetime(2026, 2, 28, 12, 0, tzinfo=UTC))
    assert _planned(db) == {"m1@x.test": ("planned", "", "2026", "02-28 10:00")}


def test_row_written_before_the_mark_by_a_long_sync_is_found(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1), _person(2)], START)
    _journey(db, shop)
    mark = datetime(2026, 2, 28, 18, 0, tzinfo=UTC)
    plan_shop(db, shop, mark)
    # Both say an instant from before the mark and are seen only now; the first of a reading that began within the overlap.
    born: dict[str, Any] = {"birth_month": 2, "birth_day": 28}
    write(db, shop, [_person(1, **born)], mark - LATE_OVERLAP + timedelta(seconds=1))
    write(db, shop, [_person(2, **born)], mark - LATE_OVERLAP)
    plan_shop(db, shop, mark + timedelta(minutes=1))
    assert timedelta(hours=1) <= LATE_OVERLAP
    assert list(_planned(db)) == ["m1@x.test"]


def test_address_blocked_in_one_shop_is_open_in_another(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        make_shop(connection, 2)
        consent.suppress(connection, 2, "email", "m1@x.test", reason="bounce", at=START, source="smtp")
        consent.suppress(connection, 1, "sms", "m1@x.test", reason="bounce", at=START, source="smtp")
    write(db, shop, [_person(1, birth_month=2, birth_day=28)], START)
    _journey(db, shop)
    now = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    plan_shop(db, shop, now)
    assert _planned(db)["m1@x.test"][:2] == ("planned", "")
    with db.read() as connection:
        rows = connection.execute(select(touchpoints)).all()
        assert batch.load(connection, shop, rows, now).suppressed == {("sms", "m1@x.test"): "bounce"}
