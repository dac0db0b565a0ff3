"""An audience that asks for what is gone stops its own journey and nothing else, and means nobody until it is mended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from crm_plugin.demo import mail_sink
from crm_plugin.errors import UnknownSegment
from crm_plugin.rules import segments
from crm_plugin.store import members
from crm_plugin.store import touchpoints as rows
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import ahead, outlook
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import forecast, plan_shop
from crm_plugin.touchpoints.settings import save_settings
from tests.touchpoints.test_dispatch import DUE, START, _send, _set_up

LATER = DUE + timedelta(minutes=10)


@pytest.fixture
def sink() -> Iterator[mail_sink.MailSink]:
    with mail_sink.serve() as server:
        yield server


@pytest.fixture
def shop(db: Database, sink: mail_sink.MailSink) -> Shop:
    """Three birthdays, which one journey greets; on that day another writes to those of a segment that holds two of them."""
    shop = _set_up(db, sink)
    told = {
        "key": "some",
        "trigger": {"type": "fixed_date", "date": "06-02"},
        "audience": 'segment("vip")',
        "channels": ["email"],
    }
    with db.write() as connection:
        # Two on one day are meant here.
        shop = save_settings(connection, shop, {"caps": {"day": 0}}, START)
        _save_vip(connection, shop)
        draft = read_draft({**told, "template": "greet", "enabled": True})
        journey_store.save(connection, shop, draft, START)
    return shop


def _save_vip(connection: object, shop: Shop) -> None:
    segments.save(connection, shop, "vip", 'email != "m0@x.test"', START)  # type: ignore[arg-type]


def _lose_vip(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        segments.forget(connection, shop, "vip")


def _kept(db: Database) -> list[tuple[str, str, str]]:
    t = rows.c
    with db.read() as connection:
        found = connection.execute(select(t.journey_key, t.state, t.reason).order_by(t.journey_key)).all()
    return [tuple(row) for row in found]


def test_only_its_journey_plans_nothing_and_catches_up(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    _lose_vip(db, shop)
    report = plan_shop(db, shop, DUE)
    assert report.journeys == {"greet": {"planned": 3}}
    assert report.problems == {"some": "There is no segment 'vip'."}
    assert report.as_dict()["problems"] == report.problems
    assert _send(db, shop) == {"accepted": 3}
    with db.write() as connection:
        _save_vip(connection, shop)
    mended = plan_shop(db, shop, LATER)
    assert (mended.journeys, mended.problems) == ({"some": {"planned": 2}}, {})
    assert _send(db, shop, LATER) == {"accepted": 2}
    assert len(sink.messages) == 5


def test_what_was_planned_waits(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    _lose_vip(db, shop)
    assert _send(db, shop) == {"accepted": 3, "planned": 2}
    assert _kept(db)[3:] == [("some", "planned", "no_audience")] * 2
    # Nothing is asked again at once, and what its window leaves behind is let go.
    assert _send(db, shop) == {}
    with db.write() as connection:
        _save_vip(connection, shop)
    assert _send(db, shop, LATER) == {"accepted": 2}
    assert sorted(mail.recipients[0] for mail in sink.messages)[-2:] == ["m2@x.test", "m2@x.test"]


def test_unmended_until_its_window_is_over(db: Database, shop: Shop) -> None:
    plan_shop(db, shop, DUE)
    _lose_vip(db, shop)
    _send(db, shop)
    assert _send(db, shop, DUE + timedelta(days=4)) == {"missed": 2}


def test_looking_ahead_leaves_it_out(db: Database, shop: Shop) -> None:
    before = DUE - timedelta(days=1)
    with db.read() as connection:
        last = connection.execute(select(members.c.member_id).where(members.c.email == "m2@x.test")).scalar_one()
        assert {one.journey_key for one in ahead.expected(connection, shop, last, before)} == {"greet", "some"}
    _lose_vip(db, shop)
    with db.read() as connection:
        journey = journey_store.get(connection, 1, "some")
        assert [one.journey_key for one in forecast(connection, shop, before, DUE)] == ["greet"]
        seen = outlook.outlook(connection, shop, journey, before, DUE)
        assert (seen.planned, seen.held_back, seen.members) == (0, 0, 0)
        assert isinstance(seen.problem, UnknownSegment)
        assert outlook.newest_match(connection, shop, journey, DUE.date()) is None
        assert [one.journey_key for one in ahead.expected(connection, shop, last, before)] == ["greet"]


def test_it_cannot_be_switched_on(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        journey_store.switch(connection, shop, "some", False, START)
    _lose_vip(db, shop)
    with db.write() as connection:
        with pytest.raises(UnknownSegment):
            journey_store.switch(connection, shop, "some", True, START)
        assert not journey_store.get(connection, 1, "some").enabled
