"""A made-up shop that lives for some weeks on a fake clock, with the real engine and senders that take everything."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import select

from crm_plugin import rounds
from crm_plugin.clock import FixedClock, at_local, local_day
from crm_plugin.config import Config
from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord, OrderLineRecord, OrderRecord, OrderStatus
from crm_plugin.rehearsal.ways import Paper
from crm_plugin.rules.by_hand import Desk, fix
from crm_plugin.rules.kept import write_list
from crm_plugin.rules.segments import save_list
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, consent, members, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import program
from tests.factories import make_shop, order, refund, write

BEGIN = datetime(2026, 3, 20, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Adelaide")
# Wall-clock hours at which something falls due or may go on.
HOURS = (time(0), time(9), time(9, 30), time(10), time(14))
_SAYS = "{{ shop.title }}: hello {{ member.first_name }}"
_SMS = {"en": {"text": _SAYS + "{% if marketing %} Reply STOP to opt out{% endif %}"}}
_STOPS = "{% if unsubscribe_url %} {{ unsubscribe_url }}{% endif %}"
_MAIL = {
    "en": {"subject": "Hello {{ member.name }}", "text": "Hello {{ member.name }}, it is {{ shop.title }}." + _STOPS}
}
PROGRAM: dict[str, Any] = {
    "settings": {"quiet_hours": {"from": "20:00", "to": "09:30"}},
    "tiers": [
        {"key": "silver", "title": {"en": "Silver"}, "rule": "spent(days=30) >= 40"},
        {"key": "gold", "title": {"en": "Gold"}, "rule": "spent(days=30) >= 120"},
    ],
    "segments": [
        {"key": "best", "title": "The best", "rule": "orders(days=20) >= 2"},
        {"key": "fresh", "title": "Fresh", "rule": "days_since_order < 5"},
    ],
    "journeys": [
        {"key": "birthday", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"]},
        {
            "key": "lapse",
            "trigger": {"type": "lapse", "days": 9},
            "audience": 'tier in ["silver", "gold"]',
            "channels": ["sms", "email"],
        },
        {
            "key": "thanks",
            "trigger": {"type": "post_purchase", "days": 2},
            "channels": ["email"],
            "kind": "transactional",
            "topic": "orders",
        },
        {
            "key": "more",
            "trigger": {"type": "post_purchase", "days": 4},
            "audience": 'not segment("best") and segment("fresh")',
            "channels": ["email", "sms"],
            "send_at": "09:00",
        },
        {"key": "idle", "trigger": {"type": "post_purchase", "days": 1}, "channels": ["email"]},
    ],
    "templates": {key: {"email": _MAIL, "sms": _SMS} for key in ("birthday", "lapse", "thanks", "more", "idle")},
}
ON = ("birthday", "lapse", "thanks", "more")


@dataclass(slots=True)
class Story:
    """A shop's life: what is told comes at its minute, and a round is taken whenever something came or falls due."""

    runtime: Runtime
    shop: Shop
    rng: random.Random
    events: list[tuple[datetime, int, Callable[[datetime], None]]] = field(default_factory=list)
    people: int = 0
    orders: int = 0
    ways: rounds.Ways = field(default_factory=lambda: Paper(every=False).ways())

    @property
    def db(self) -> Database:
        return self.runtime.db

    def at(self, when: datetime, act: Callable[[datetime], None]) -> None:
        """Tell something at an instant."""
        self.events.append((when, len(self.events), act))

    def live(self, since: datetime, until: datetime, outages: Sequence[tuple[datetime, datetime]] = ()) -> None:
        """Go through the days, with no round while the engine is down."""
        clock = self.runtime.clock
        assert isinstance(clock, FixedClock)
        waiting = sorted(self.events)
        at = since
        while at < until:
            told = [act for when, _, act in waiting if when == at]
            for act in told:
                act(at)
            clock.at = at
            if not any(begins <= at < ends for begins, ends in outages):
                report = rounds.tick(self.runtime, self.shop, at, ways=self.ways)
                assert not report.errors
            following = [when for when, _, _ in waiting if when > at]
            # The clock asks every minute: it does so as soon as the engine is up again.
            back = [ends for _, ends in outages if ends > at]
            at = min([_next_due(at), *following[:1], *back])
        clock.at = until

    def person(self, at: datetime, **values: Any) -> None:
        """Somebody new."""
        self.people += 1
        number, rng = self.people, self.rng
        states = (ConsentState.GRANTED, ConsentState.GRANTED, ConsentState.GRANTED, ConsentState.WITHDRAWN)
        said = [
            ConsentRecord(channel=channel, state=rng.choice(states), at=at)
            for channel in ("email", "sms")
            if rng.random() < 0.9
        ]
        born = at + timedelta(days=rng.randrange(-5, 40))
        known = {"birth_month": born.month, "birth_day": born.day} if rng.random() < 0.8 else {}
        row = {
            "email": f"m{number}@x.test",
            "phone": f"+4915112345{number:03}" if rng.random() < 0.6 else "",
            "first_name": f"First{number}",
            "timezone": rng.choice(ZONES),
            "consents": tuple(said),
            **known,
            **values,
        }
        write(self.db, self.shop, [MemberRecord(external_id=str(number), **row)], at)

    def buys(self, at: datetime, *, late: timedelta = timedelta(0)) -> None:
        """A member orders; it is told `late` afterwards."""
        self.orders += 1
        number, rng = self.orders, self.rng
        who, total = str(rng.randrange(1, self.people + 1)), rng.randrange(500, 9000)
        placed = at - late
        if number % 11 == 0:
            self._order(at, number, total, placed, who, status=OrderStatus.PENDING)
            paid = at + timedelta(days=rng.choice((1, 2, 3)), minutes=7)
            self.at(
                paid, lambda then: self._order(then, number, total, placed, who, status=OrderStatus.PAID, paid_at=then)
            )
            return
        self._order(at, number, total, placed, who, paid_at=placed)
        if number % 5 == 0:
            whole = number % 2 == 0
            back = at + timedelta(days=rng.choice((1, 2, 5)), minutes=13)
            self.at(back, lambda then: self._back(then, number, total, placed, who, whole))

    def _order(self, at: datetime, number: int, total: int, placed: datetime, who: str, **values: Any) -> None:
        lines = (OrderLineRecord(sku=f"S{number % 7}", title="Thing", total_minor=total),)
        made: OrderRecord = order(
            f"o{number}", total, placed_at=placed, member_external_id=who, updated_at=at, lines=lines, **values
        )
        write(self.db, self.shop, [made], at)

    def _back(self, at: datetime, number: int, total: int, placed: datetime, who: str, whole: bool) -> None:
        if whole:
            self._order(at, number, total, placed, who, status=OrderStatus.REFUNDED, paid_at=placed)
        amount = total if whole else total // 3
        write(self.db, self.shop, [refund(f"r{number}", amount, order_external_id=f"o{number}", refunded_at=at)], at)

    def says(self, at: datetime) -> None:
        """A member agrees or refuses."""
        channel, state = self.rng.choice(("email", "sms")), self.rng.choice(tuple(ConsentState))
        with self.db.write() as connection:
            said = {"channel": channel, "topic": "marketing", "state": state, "source": "page"}
            consent.record(connection, self.shop.shop_id, self.anybody(), **said, at=at, recorded_at=at)

    def bounces(self, at: datetime) -> None:
        """An address turns out to be dead."""
        with self.db.write() as connection:
            address = f"m{self.rng.randrange(1, self.people + 1)}@x.test"
            consent.suppress(connection, self.shop.shop_id, "email", address, reason="bounce", at=at, source="smtp")

    def fixes(self, at: datetime) -> None:
        """A person gives a level by hand."""
        today = local_day(at, self.shop.timezone)
        with self.db.write() as connection:
            desk = Desk(connection, self.shop, at, "anna")
            fix(desk, self.anybody(), self.rng.choice(("silver", "gold", "")), "because", today + timedelta(days=9))

    def lists(self, at: datetime) -> None:
        """A person writes a list."""
        with self.db.write() as connection:
            write_list(connection, self.shop, "friends", {self.anybody() for _ in range(5)}, at)

    def anybody(self) -> int:
        """A member's id."""
        with self.db.read() as connection:
            ids = connection.execute(select(members.c.member_id).order_by(members.c.member_id)).scalars().all()
        return int(self.rng.choice(ids))

    def contacts(self, since: datetime, until: datetime) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """What the engine made of the span: key → state before anything came back, reason, channel, day it fell due."""
        t = touchpoints.c
        with self.db.read() as connection:
            rows = connection.execute(select(touchpoints).where(t.shop_id == self.shop.shop_id)).all()
        return {
            (row.journey_key, row.member_id, row.occasion): (
                row.state,
                row.reason,
                row.channel,
                local_day(row.due_at, self.shop.timezone),
            )
            for row in rows
            if since <= (row.accepted_at or row.due_at) < until
        }


def begin(db: Database, folder: Path, seed: int, *, people: int, on: Sequence[str] = ON) -> Story:
    """The shop on its first day."""
    runtime = Runtime(
        Config("", folder, public_url="https://crm.example"), db, SecretBox(Fernet.generate_key()), FixedClock(BEGIN)
    )
    with db.write() as connection:
        shop = make_shop(connection, created_at=BEGIN)
        for adapter, channel in (("smtp", "email"), ("twilio", "sms")):
            row = {"adapter": adapter, "channel": channel, "settings": b"sealed", "status": "ok", "updated_at": BEGIN}
            connection.execute(connections.insert().values(shop_id=shop.shop_id, enabled=True, status_detail="", **row))
        program.load(connection, shop, PROGRAM, BEGIN)
        save_list(connection, shop, "friends", BEGIN)
        for key in on:
            journey_store.switch(connection, shop, key, True, BEGIN)
        shop = shop_by_id(connection, shop.shop_id)
    story = Story(runtime, shop, random.Random(seed))
    for _ in range(people):
        story.person(BEGIN)
    return story


def _next_due(at: datetime) -> datetime:
    """The clock asks every minute; between these hours nothing can happen that was not told."""
    days = [(at + timedelta(days=ahead)).date() for ahead in (-1, 0, 1, 2)]
    return min(due for zone in ZONES for day in days for hour in HOURS if (due := at_local(day, hour, zone)) > at)
