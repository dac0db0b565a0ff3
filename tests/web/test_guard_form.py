"""What keeps messages within bounds is set on the page, and a journey that stands still is let go there."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from crm_plugin.runtime import Runtime
from crm_plugin.store import journey_waves, journeys, member_dials, touchpoints
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import waves
from crm_plugin.touchpoints.settings import save_settings
from tests.factories import NOON, member, write
from tests.touchpoints.guarding import journey, plant
from tests.web.conftest import Page, Post, words
from tests.web.test_customer import YES, _id, _link, _state

FORM = {
    "caps.day": "2",
    "caps.week": "0",
    "caps.channels.sms.day": "0",
    "caps.channels.sms.week": "1",
    "quiet.sms.from": "20:00",
    "quiet.sms.to": "10:00",
    "quiet.sundays": "1",
    "open_cases.complaint_days": "60",
    "open_cases.return_days": "0",
    "open_cases.late_parcel_days": "14",
    "blast.above": "500",
    "blast.canary_pct": "10",
    "blast.hold_hours": "3",
    "blast.confirm_above": "100",
    "blast.complaints_pct": "0.1",
    "blast.bounces_pct": "5",
}
KEPT = {
    "caps": {"day": 2, "week": 0, "channels": {"sms": {"day": 0, "week": 1}}},
    "quiet_hours": {
        "from": "21:00",
        "to": "08:00",
        "sundays": True,
        "channels": {"sms": {"from": "20:00", "to": "10:00"}},
    },
    "open_cases": {"complaint_days": 60, "return_days": 0, "late_parcel_days": 14},
    "blast": {
        "above": 500,
        "canary_pct": 10,
        "hold_hours": 3,
        "confirm_above": 100,
        "complaints_pct": "0.1",
        "bounces_pct": "5",
    },
}


def _settings(runtime: Runtime, shop: Shop) -> dict[str, object]:
    with runtime.db.read() as connection:
        return shop_by_id(connection, shop.shop_id).settings


def test_what_is_usual_is_shown(page: Page, shop: Shop) -> None:
    html = page("connections")
    for name, value in (
        ("caps.day", "1"),
        ("caps.week", "3"),
        ("blast.above", "1000"),
        ("blast.complaints_pct", "0.3"),
    ):
        assert f'name="{name}"' in html
        assert f'value="{value}"' in html.split(f'name="{name}"')[1].split(">")[0]


def test_bounds_are_kept_and_shown(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    assert post("connections/guards", FORM).status_code == 303
    assert _settings(runtime, shop) == KEPT
    html = page("connections")
    assert 'value="20:00"' in html
    assert html.split('name="quiet.sundays"')[1].split(">")[0].endswith("checked")
    # Saved again as it is shown, nothing changes.
    post("connections/guards", FORM)
    assert _settings(runtime, shop) == KEPT


def test_each_form_leaves_what_the_other_sets(post: Post, runtime: Runtime, shop: Shop) -> None:
    with runtime.db.write() as connection:
        told = {"caps": {"day": 1, "channels": {"email": {"week": 2}}}, "quiet_hours": {"from": "22:00", "to": "07:00"}}
        save_settings(connection, shop, told, NOON)
    post("connections/guards", FORM)
    look = {"title": "Shop", "locale": "en", "quiet_hours": "23:00", "quiet_to": "06:00", "brand.color": "#123456"}
    assert post("connections/messages", look).status_code == 303
    kept = _settings(runtime, shop)
    assert kept["quiet_hours"] == {**KEPT["quiet_hours"], "from": "23:00", "to": "06:00"}
    assert kept["caps"] == {
        "day": 2,
        "week": 0,
        "channels": {"email": {"week": 2}, "sms": {"day": 0, "week": 1}},
    }


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"caps.day": "often"}, "caps.day", "Write a whole number."),
        ({"caps.week": "101"}, "caps.week", "from 0 to 100"),
        ({"quiet.sms.to": ""}, "quiet.sms.from", "Write both times"),
        ({"open_cases.return_days": "91"}, "open_cases.return_days", "from 0 to 90"),
        ({"blast.canary_pct": "0"}, "blast.canary_pct", "from 1 to 50"),
        ({"blast.bounces_pct": "a few"}, "blast.bounces_pct", "from 0 to 100"),
    ],
)
def test_wrong_bound_is_told_at_its_field(
    post: Post, runtime: Runtime, shop: Shop, change: dict[str, str], field: str, told: str
) -> None:
    answer = post("connections/guards", {**FORM, **change})
    assert answer.status_code == 422
    assert told in answer.text.split(f'id="e-{field}"')[1].split("</p>")[0]
    assert _settings(runtime, shop) == {}


@pytest.fixture
def held(runtime: Runtime, shop: Shop) -> Shop:
    """A journey of three messages that stands still."""
    write(runtime.db, shop, [member(str(n), email=f"m{n}@x.test") for n in range(3)])
    with runtime.db.write() as connection:
        made = save_settings(connection, shop, {"blast": {"confirm_above": 2}}, NOON)
    journey(runtime.db, made, "greet", title={"en": "Greetings"})
    plant(runtime.db, "greet", due=NOON, reason="blast_radius")
    figures = {"due": 3, "today": 3, "expected": 1, "sent": 0, "complaints": 0, "bounces": 0}
    told = {"state": "held", "cause": "forecast", "version": 1, "waiting": 3, "detail": figures, "since": NOON}
    with runtime.db.write() as connection:
        connection.execute(
            journey_waves.insert().values(shop_id=1, journey_key="greet", until=NOON, updated_at=NOON, **told)
        )
    return made


def test_today_says_what_stands_still(page: Page, held: Shop) -> None:
    told = words(page("today"))
    assert "“Greetings” stands still" in told
    assert "More than three times as many messages fell due today as were expected." in told


def test_it_is_let_go_by_its_number(page: Page, post: Post, runtime: Runtime, held: Shop) -> None:
    html = words(page("journeys/greet"))
    assert "This journey stands still" in html
    assert "Fallen due today: 3; expected: 1." in html
    refused = post("journeys/greet/release", {"confirm": "2"})
    assert refused.status_code == 422
    assert "3 messages would go out. Type 3 to let them go." in words(refused.text)
    assert post("journeys/greet/release", {"confirm": "3"}).status_code == 303
    with runtime.db.read() as connection:
        assert waves.all_waves(connection, 1)["greet"].cause == "released"
    assert "stands still" not in words(page("journeys/greet"))


def test_canary_is_told_on_the_journeys_page(page: Page, runtime: Runtime, held: Shop) -> None:
    with runtime.db.write() as connection:
        connection.execute(update(journey_waves).values(state="canary", cause=""))
    told = words(page("journeys/greet"))
    assert "A small part goes first; the rest waits until" in told
    assert "3 messages were due at once." in told
    assert "stands still" not in words(page("today"))


def test_importance_and_holdout_are_kept(post: Post, page: Page, runtime: Runtime, held: Shop) -> None:
    form = {
        "en": "Greetings", "days": "0", "side": "after", "send_at": "10:00", "validity_days": "7", "channel-1": "email",
        "kind": "marketing", "priority": "8", "holdout_pct": "10",
    }  # fmt: skip
    with runtime.db.write() as connection:
        # Without a text it can be saved only while it is off.
        connection.execute(update(journeys).values(enabled=False))
    assert post("journeys/greet", {**form, "do": "save"}).status_code == 303
    j = journeys.c
    with runtime.db.read() as connection:
        kept = connection.execute(select(j.priority, j.holdout_pct)).one()
    assert tuple(kept) == (8, 10)
    assert 'value="8"' in page("journeys/greet").split('name="priority"')[1].split(">")[0]
    assert post("journeys/greet", {**form, "priority": "10", "do": "save"}).status_code == 422


def test_reason_is_told_in_the_outbox(page: Page, runtime: Runtime, held: Shop) -> None:
    with runtime.db.read() as connection:
        one = connection.execute(select(touchpoints.c.touchpoint_id)).scalars().first()
    assert "Many at once" in words(page(f"outbox/{one}"))


@pytest.mark.parametrize(
    ("choice", "kept"),
    [("two", ("monthly", 2, False)), ("birthday", ("birthday", None, False)), ("pause", ("all", None, True))],
)
def test_member_asks_for_fewer(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, choice: str, kept: tuple[str, int | None, bool]
) -> None:
    write(runtime.db, shop, [member("1", email="anna@x.test", consents=YES)])
    link = _link(runtime, shop, _id(runtime, "1"))
    assert stranger.post(link, data={"fewer": choice}).status_code == 303
    with runtime.db.read() as connection:
        row = connection.execute(select(member_dials)).one()
    assert (row.frequency, row.per_month, row.snooze_until is not None, row.source) == (*kept, "link")
    # That is no refusal, and the page shows what was chosen.
    assert _state(runtime) == ["granted"]
    shown = stranger.get(link).text
    assert shown.split(f'value="{choice}"')[1].split(">")[0].strip() == "checked"
    assert stranger.post(link, data={"fewer": "all"}).status_code == 303
    with runtime.db.read() as connection:
        again = connection.execute(select(member_dials)).one()
    assert (again.frequency, again.snooze_until) == ("all", None)
