"""Asking senders what became of messages: a few pages a round, by one worker, and only for what nobody has told yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.adapters.base import Capability
from crm_plugin.errors import TransientError
from crm_plugin.events import DeliveryEvent, DeliveryEventKind, EventPage
from crm_plugin.store import delivery_events, job_runs, suppressions, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import polling
from crm_plugin.touchpoints.polling import poll_shop
from tests.touchpoints.guarding import BOX, NOON, journey, plant, rows, shop_with
from tests.touchpoints.plans import counted

LATER = NOON + timedelta(minutes=20)
Kind = DeliveryEventKind


def _event(name: str, kind: Kind, **told: Any) -> DeliveryEvent:
    return DeliveryEvent(f"{name}:{kind}", name, kind, NOON + timedelta(minutes=1), **told)


class Provider:
    """A list of pages, one for each cursor; notes with which it was asked."""

    capabilities = frozenset({Capability.POLL_EVENTS})

    def __init__(self, *pages: list[DeliveryEvent], error: Exception | None = None) -> None:
        self.pages, self.error = list(pages), error
        self.asked: list[tuple[datetime, str]] = []

    def open(self, *_: Any, **__: Any) -> Any:
        return self

    def events(self, *, since: datetime, cursor: str = "") -> EventPage:
        self.asked.append((since, cursor))
        if self.error is not None:
            raise self.error
        place = int(cursor or 0)
        return EventPage(self.pages[place], str(place + 1) if place + 1 < len(self.pages) else "")

    def close(self) -> None: ...


@pytest.fixture
def shop(db: Database) -> Shop:
    """Three texts that Twilio took at noon: SM0, SM1 and SM2."""
    made = shop_with(db, 3)
    journey(db, made, "hello")
    taken = {"state": "accepted", "accepted_at": NOON, "settled_at": NOON, "attempts": 1, "channel": "sms"}
    plant(db, "hello", **taken, adapter="twilio")
    with db.write() as connection:
        t = touchpoints.c
        for place, one in enumerate(
            connection.execute(select(t.touchpoint_id).order_by(t.touchpoint_id)).scalars().all()
        ):
            named = update(touchpoints).where(t.touchpoint_id == one)
            connection.execute(named.values(provider_message_id=f"SM{place}", address=f"+4930901800{place}"))
    return made


def _poll(db: Database, shop: Shop, at: datetime, provider: Provider) -> dict[str, int]:
    return poll_shop(db, BOX, shop, at, provider.open)


def _states(db: Database) -> list[str]:
    return [row.state for row in rows(db)]


def _kept(db: Database) -> list[str]:
    with db.read() as connection:
        return sorted(connection.execute(select(delivery_events.c.provider_event_id)).scalars())


def test_list_is_walked_over_several_rounds_and_then_not_for_an_hour(db: Database, shop: Shop) -> None:
    provider = Provider(
        [_event("SM9", Kind.DELIVERED), _event("SM2", Kind.DELIVERED)],
        [_event("SM1", Kind.BOUNCED, permanent=True, reason="30005")],
        [_event("SM0", Kind.SENT)],
    )
    assert _poll(db, shop, NOON + timedelta(minutes=14), provider) == {}
    assert provider.asked == []
    at = NOON + polling.AGAIN + timedelta(minutes=15)
    assert _poll(db, shop, at, provider) == {"delivered": 1, "bounced": 1}
    assert _poll(db, shop, at + timedelta(minutes=1), provider) == {}
    assert provider.asked == [(NOON, ""), (NOON, "1"), (NOON, "2")]
    assert _states(db) == ["accepted", "bounced", "delivered"]
    # Neither what moves nothing is kept, nor what is none of ours.
    assert _kept(db) == ["SM1:bounced", "SM2:delivered"]
    with db.read() as connection:
        assert connection.execute(select(suppressions.c.address)).scalars().all() == ["+49309018001"]
    for minutes in (2, 59):
        assert _poll(db, shop, at + timedelta(minutes=minutes), provider) == {}
    assert len(provider.asked) == 3
    _poll(db, shop, at + timedelta(minutes=61), provider)
    assert len(provider.asked) == 5


def test_what_was_told_is_not_asked_for(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="delivered"))
    provider = Provider([])
    for hours in (1, 2):
        assert _poll(db, shop, LATER + timedelta(hours=hours), provider) == {}
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="accepted"))
    # Nor what is older than two days.
    assert _poll(db, shop, NOON + polling.UNTIL, provider) == {}
    assert provider.asked == []


def test_of_two_workers_one_asks(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider([_event("SM0", Kind.DELIVERED)])
    due = polling._due
    for hours in (0, 2):
        found = due(db, shop, LATER + timedelta(hours=hours))
        with monkeypatch.context() as patch:
            # Both have seen that it is the sender's turn.
            patch.setattr(polling, "_due", lambda *_, seen=found: seen)
            for _ in range(2):
                _poll(db, shop, LATER + timedelta(hours=hours), provider)
        assert len(provider.asked) == 1 + hours // 2


def test_walk_that_fails_begins_anew_in_an_hour(db: Database, shop: Shop) -> None:
    provider = Provider([], [], [_event("SM0", Kind.DELIVERED)])
    _poll(db, shop, LATER, provider)
    provider.error = TransientError("no connection", adapter="twilio", operation="events")
    assert _poll(db, shop, LATER + timedelta(minutes=1), provider) == {}
    with db.read() as connection:
        kept = connection.execute(select(job_runs.c.through, job_runs.c.error)).one()
    assert (kept.through, kept.error) == ("", "no connection")
    provider.error = None
    assert _poll(db, shop, LATER + timedelta(minutes=2), provider) == {}
    assert [cursor for _, cursor in provider.asked] == ["", "1", "2"]
    _poll(db, shop, LATER + timedelta(minutes=62), provider)
    assert _poll(db, shop, LATER + timedelta(minutes=63), provider) == {"delivered": 1}


def test_list_without_end_is_left(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "MOST_PAGES", 5)
    provider = Provider(*([[]] * 100))
    for minutes in range(10):
        _poll(db, shop, LATER + timedelta(minutes=minutes), provider)
    assert len(provider.asked) == 5


@pytest.mark.parametrize("events", [1, 200])
def test_page_with_nothing_new_costs_one_look(db: Database, shop: Shop, events: int) -> None:
    provider = Provider([_event(f"X{number}", Kind.DELIVERED) for number in range(events)])
    # Whose turn it is, the oldest message, taking the turn, the look, and where the walk stands.
    assert _statements(db, shop, provider) == 5
    assert _statements(db, shop, provider) == 1


def _statements(db: Database, shop: Shop, provider: Provider) -> int:
    with counted(db) as told:
        _poll(db, shop, LATER, provider)
    return sum(not one.startswith("BEGIN") for one in told)
