"""What is expected for one member is what the planner plans for them later, with the same channel or the same reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from crm_plugin.errors import NotFound
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.store import consent, journeys, members, templates, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.ahead import Expected, expected, preview
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import make_shop, member, order, write
from tests.touchpoints.guarding import shop_with

BOX = SecretBox("A" * 43 + "=")
START = datetime(2026, 6, 1, 6, 0, tzinfo=UTC)
YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START),)
JOURNEYS = (
    {"key": "greet", "trigger": {"type": "birthday", "days": -2}, "channels": ["email", "inapp"]},
    {"key": "miss", "trigger": {"type": "lapse", "days": 30}, "channels": ["email"], "send_at": "23:00"},
    {
        "key": "thanks",
        "trigger": {"type": "post_purchase", "days": 7},
        "channels": ["sms", "email"],
        "audience": "orders() >= 2",
        "kind": "transactional",
    },
    {"key": "off", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"]},
)


@pytest.fixture
def shop(db: Database) -> Shop:
    """Three journeys that are on and one that is off; e-mail and in-app go out, text messages do not."""
    with db.write() as connection:
        made = make_shop(connection)
        for key, channel in (
            ("greet", "email"),
            ("greet", "inapp"),
            ("miss", "email"),
            ("thanks", "email"),
            ("thanks", "sms"),
        ):
            text = {"template_key": key, "channel": channel, "locale": "en", "subject": "Hi", "updated_at": START}
            connection.execute(templates.insert().values(shop_id=1, body_text="Hello {{ member.first_name }}!", **text))
    values = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "shop@x.test"}
    senders.save_connection(db, BOX, made, "smtp", values, START, probe=False)
    with db.write() as connection:
        for told in JOURNEYS:
            draft = read_draft({**told, "enabled": told["key"] != "off"})
            journey_store.save(connection, made, draft, START)
    return made


def _member(db: Database, external_id: str = "1") -> int:
    with db.read() as connection:
        return connection.execute(select(members.c.member_id).where(members.c.external_id == external_id)).scalar_one()


def _ahead(db: Database, shop: Shop, member_id: int) -> list[Expected]:
    with db.read() as connection:
        return expected(connection, shop, member_id, START, days=40)


def _same(db: Database, shop: Shop) -> list[tuple[str, str, str]]:
    """Let the planner come by when each is due, and at the end of the time for what was not expected."""
    me = _member(db)
    ahead = [(one.journey_key, one.occasion_on, one.at, one.channel, one.reason) for one in _ahead(db, shop, me)]
    for at in sorted({at + timedelta(minutes=1) for _, _, at, _, _ in ahead} | {START + timedelta(days=40)}):
        plan_shop(db, shop, at)
    t = touchpoints.c
    query = select(t.journey_key, t.occasion_on, t.next_try_at, t.channel, t.reason).where(t.member_id == me)
    with db.read() as connection:
        planned = [tuple(row) for row in connection.execute(query.order_by(t.next_try_at, t.journey_key))]
    assert ahead == planned
    return [(key, channel, reason) for key, _, _, channel, reason in ahead]


def test_agreed_member_gets_what_is_expected(db: Database, shop: Shop) -> None:
    write(db, shop, [member(email="a@x.test", birth_month=7, birth_day=4, consents=YES, timezone="Asia/Tokyo")], START)
    orders = [order(f"o{n}", member_external_id="1", placed_at=START - timedelta(days=n)) for n in (2, 4)]
    write(db, shop, orders, START)
    assert _same(db, shop) == [
        ("thanks", "email", ""),
        ("thanks", "email", ""),
        ("miss", "email", ""),
        ("greet", "email", ""),
    ]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"email": "a@x.test"}, [("greet", "inapp", "")]),
        ({"email": "", "consents": YES}, [("greet", "inapp", "")]),
    ],
    ids=["no consent", "no address"],
)
def test_next_channel_is_expected(
    db: Database, shop: Shop, values: dict[str, object], found: list[tuple[str, str, str]]
) -> None:
    write(db, shop, [member(birth_month=7, birth_day=4, **values)], START)
    assert _same(db, shop) == found


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"email": "a@x.test"}, "no_consent"),
        ({"email": ""}, "no_address"),
        ({"email": "b@x.test", "consents": YES}, "suppressed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_held_back_for_the_planners_reason(db: Database, shop: Shop, values: dict[str, object], reason: str) -> None:
    write(db, shop, [member(**values)], START)
    with db.write() as connection:
        consent.suppress(connection, 1, "email", "b@x.test", reason="bounced", at=START, source="smtp")
    write(db, shop, [order(member_external_id="1", placed_at=START - timedelta(days=3))], START)
    assert _same(db, shop) == [("miss", "", reason)]


def test_what_is_planned_is_not_expected_again(db: Database, shop: Shop) -> None:
    write(db, shop, [member(email="a@x.test", birth_month=6, birth_day=3, consents=YES)], START)
    assert [one.journey_key for one in _ahead(db, shop, _member(db))] == ["greet"]
    plan_shop(db, shop, START + timedelta(hours=6))
    assert _ahead(db, shop, _member(db)) == []
    with db.read() as connection, pytest.raises(NotFound):
        expected(connection, shop, 5, START)


def test_preview_renders_and_writes_nothing(db: Database, shop: Shop) -> None:
    write(db, shop, [member(email="a@x.test", first_name="Ada", birth_month=6, birth_day=3, consents=YES)], START)
    now = START + timedelta(hours=6)
    plan_shop(db, shop, now)
    with db.read() as connection:
        touchpoint_id = connection.execute(select(touchpoints.c.touchpoint_id)).scalar_one()
        seen = preview(connection, shop, BOX, "https://crm.example", touchpoint_id, now)
        kept = connection.execute(select(func.count()).select_from(touchpoints).where(touchpoints.c.attempts > 0))
        assert kept.scalar_one() == 0
    assert seen.message is not None
    assert seen.message.text.startswith("Hello Ada!")
    assert seen.verdict.open
    with db.write() as connection:
        connection.execute(templates.delete())
    with db.read() as connection:
        unwritten = preview(connection, shop, BOX, "https://crm.example", touchpoint_id, now)
    assert unwritten.message is None
    assert "no email text" in unwritten.problem


def test_instant_is_the_first_that_the_law_allows(sqlite_db: Database) -> None:
    shop = shop_with(
        sqlite_db,
        phone="+12035550100",
        country="US",
        region="CT",
        timezone="America/New_York",
        settings={"quiet_hours": {"from": "22:00", "to": "07:00"}},
    )
    with sqlite_db.write() as connection:
        told = {"key": "text", "trigger": {"type": "birthday"}, "channels": ["sms"], "send_at": "07:30"}
        journey_store.save(connection, shop, read_draft(told), START)
        connection.execute(journeys.update().values(enabled=True))
    [one] = _ahead(sqlite_db, shop, _member(sqlite_db, "0"))
    # Connecticut's day begins at nine; in UTC.
    assert (one.at, one.channel, one.reason) == (datetime(2026, 6, 2, 13, tzinfo=UTC), "sms", "")
