"""Ten days of a shop of few members in which much happens: journeys of several steps, orders on their way, events, checkouts, dials."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import func, select

from crm_plugin import rounds
from crm_plugin.clock import FixedClock, at_local
from crm_plugin.config import Config
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.records import (
    CheckoutRecord,
    ConsentRecord,
    ConsentState,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
)
from crm_plugin.rehearsal.ways import Paper
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, enrolment_events, enrolments, members, touchpoints
from crm_plugin.store.events import raise_event, remember_date, withdraw_event
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import dial, event_rows, program
from crm_plugin.touchpoints.states import WAITING
from crm_plugin.touchpoints.steps import duties
from tests.factories import make_shop, order, refund, write

BEGIN = datetime(2026, 3, 20, 0, 0, tzinfo=UTC)
ZONES = ("Europe/Berlin", "Australia/Adelaide")
PEOPLE = 6
# Wall clocks at which something falls due.
CLOCKS = [("Europe/Berlin", time(0)), *((zone, time(10)) for zone in ZONES)]
# How long after something happened those journeys of this shop speak that do not do so at once.
DELAY = timedelta(minutes=30)
_MAIL = {"en": {"subject": "Hello", "text": "Hello.{% if unsubscribe_url %} {{ unsubscribe_url }}{% endif %}"}}
_ABOUT_ORDERS = {"kind": "transactional", "topic": "orders"}


def _send(key: str) -> dict[str, Any]:
    return {"key": key, "send": {"template": "word", "channels": ["email"]}}


_CLUB = [
    _send("hello"),
    {
        "key": "heard",
        "wait": {"event": "opened", "within_days": 2},
        "then": [{"key": "keen", "tag": {"add": ["keen"]}}],
    },
    {
        "key": "worth",
        "branch": {"rule": "orders() >= 1"},
        "then": [{"key": "code", "coupon": {"pool": "club"}}, _send("gift")],
        "else": [{"key": "cool", "tag": {"remove": ["keen"]}}],
    },
    {
        "key": "tone",
        "split": {"a": 50, "b": 50},
        "arms": {
            "a": [{"key": "warm", "tag": {"add": ["warm"]}}],
            "b": [{"key": "call", "task": {"title": {"en": "Call"}, "due_days": 2}}],
        },
    },
    {"key": "rest", "wait": {"until": {"at": "10:00"}}},
    {"key": "level", "tier": {"program": "main", "level": "silver", "reason": "because", "until_days": 4}},
    {"key": "buys", "wait": {"event": "order_placed", "within_days": 3}, "then": [_send("thanks")]},
]


def _single(key: str, trigger: str, **told: Any) -> dict[str, Any]:
    about = {name: told.pop(name) for name in ("days", "minutes", "segment", "event") if name in told}
    own = {} if "steps" in told else {"channels": ["email"], "template": "word"}
    return {"key": key, "trigger": {"type": trigger, **about}, "enabled": True, **own, **told}


PROGRAM: dict[str, Any] = {
    "settings": {"caps": {"day": 3, "week": 9}, "open_cases": {"late_parcel_days": 1}},
    "tiers": [
        {"key": "silver", "title": {"en": "Silver"}, "rule": "spent(days=30) >= 60"},
        {"key": "gold", "title": {"en": "Gold"}, "rule": "spent(days=30) >= 180"},
    ],
    "segments": [{"key": "fresh", "title": "Fresh", "rule": "days_since_order < 3"}],
    "journeys": [
        _single("club", "joined", minutes=30, goal="orders() >= 4", steps=_CLUB),
        _single("paid", "order_paid", minutes=30, **_ABOUT_ORDERS),
        _single("sent", "order_shipped", **_ABOUT_ORDERS),
        _single("arrived", "order_delivered", days=1),
        _single("back", "refund", **_ABOUT_ORDERS),
        _single(
            "sorry",
            "complaint",
            kind="transactional",
            topic="orders",
            steps=[
                {"key": "pause", "wait": {"hours": 20}},
                _send("word"),
                {"key": "call", "task": {"title": {"en": "Call"}, "due_days": 1}},
            ],
        ),
        _single("points", "points_expiring", days=-2),
        _single("own", "event", event="visit", minutes=30, audience='not tag("warm")'),
        _single("risen", "tier_up"),
        _single("came", "segment_entered", segment="fresh"),
        _single("went", "segment_left", segment="fresh", exit="never", steps=[_send("word")]),
        _single("basket", "abandoned_checkout", minutes=30),
        _single("gift", "gift_reminder", days=-2),
    ],
    "templates": {"word": {"email": _MAIL}},
}


@dataclass(slots=True)
class Life:
    """The shop on its way through the days; what is told comes at its minute, and rounds are taken as the clock would."""

    runtime: Runtime
    shop: Shop
    rng: random.Random
    told: list[tuple[datetime, int, Callable[[datetime], None]]] = field(default_factory=list)
    people: int = 0
    made: int = 0

    @property
    def db(self) -> Database:
        return self.runtime.db

    def at(self, when: datetime, act: Callable[[datetime], None]) -> None:
        """Tell something at an instant."""
        self.told.append((when, len(self.told), act))

    def later(self, at: datetime) -> None:
        """A round is taken when a journey speaks of it that waits for so long."""
        self.at(at + DELAY, lambda _then: None)

    def fill(self, days: int) -> None:
        """Something every five hours, at odd minutes, and a newcomer every other day."""
        acts = (self.buys, self.buys, self.complains, self.visits, self.points, self.leaves, self.turns, self.reminds)
        for hour in range(5, days * 24, 5):
            when = BEGIN + timedelta(hours=hour, minutes=self.rng.randrange(1, 59), seconds=self.rng.randrange(60))
            self.at(when, self.person if hour % 40 == 20 else acts[self.rng.randrange(len(acts))])
            self.at(when + DELAY, self.opens)

    def live(self, until: datetime) -> None:
        """Go through the days."""
        clock = self.runtime.clock
        assert isinstance(clock, FixedClock)
        ways = Paper(every=False).ways()
        at, done = BEGIN, 0
        while at < until:
            for when, _, act in sorted(self.told)[done:]:
                if when <= at:
                    act(at)
                    done += 1
            clock.at = at
            assert not rounds.tick(self.runtime, self.shop, at, ways=ways).errors
            at = self._next(at)
        clock.at = until

    def _next(self, at: datetime) -> datetime:
        """The clock asks every minute; between these instants nothing can happen."""
        soon = [when for when, _, _ in self.told if when > at]
        days = [(at + timedelta(days=ahead)).date() for ahead in (-1, 0, 1, 2)]
        walls = [due for zone, hour in CLOCKS for day in days if (due := at_local(day, hour, zone)) > at]
        e, t = enrolments.c, touchpoints.c
        waits = (
            select(func.min(e.due_at)).where(e.state == "active", e.due_at > at),
            select(func.min(t.next_try_at)).where(t.state.in_([one.value for one in WAITING]), t.next_try_at > at),
        )
        with self.db.read() as connection:
            stored = [connection.execute(query).scalar() for query in waits]
            did = connection.execute(select(func.max(enrolment_events.c.at))).scalar()
            sent = connection.execute(select(func.max(t.settled_at))).scalar()
        # The clock asks each minute: what a round leaves to the next comes then.
        if at in (did, sent):
            return at + timedelta(minutes=1)
        return min([*soon, *walls, *(one for one in stored if one is not None)])

    def person(self, at: datetime) -> None:
        """Somebody new who agreed."""
        self.people += 1
        number = str(self.people)
        said = ConsentRecord(channel="email", state=ConsentState.GRANTED, at=at)
        row = {"email": f"m{number}@x.test", "timezone": ZONES[self.people % 2], "consents": (said,), "joined_at": at}
        write(self.db, self.shop, [MemberRecord(external_id=number, **row)], at)
        self.later(at)

    def buys(self, at: datetime) -> None:
        """An order that is paid, sent and arrives, or whose money is given back."""
        self.made += 1
        told = {"number": self.made, "total": self.rng.randrange(900, 9000), "who": self._who(), "placed": at}
        self._order(at, **told, status=OrderStatus.PENDING)
        hours = self.rng.randrange(2, 30)
        paid, sent = at + timedelta(hours=hours, minutes=3), at + timedelta(hours=hours + 20, minutes=7)
        self.at(paid, lambda then: self._order(then, **told, status=OrderStatus.PAID, paid_at=paid))
        self.later(paid)
        self.at(sent, lambda then: self._order(then, **told, status=OrderStatus.SHIPPED, paid_at=paid, shipped_at=sent))
        there = sent + timedelta(hours=self.rng.randrange(12, 60), minutes=11)
        dates = {"paid_at": paid, "shipped_at": sent, "delivered_at": there}
        self.at(there, lambda then: self._order(then, **told, status=OrderStatus.COMPLETED, **dates))
        if self.made % 3 == 0:
            self.at(there + timedelta(hours=9), lambda then: self._back(then, told))

    def _order(self, at: datetime, number: int, total: int, who: str, placed: datetime, **values: Any) -> None:
        lines = (OrderLineRecord(sku=f"S{number % 4}", title="Thing", total_minor=total),)
        about = {"placed_at": placed, "member_external_id": who, "updated_at": at, "lines": lines}
        made: OrderRecord = order(f"o{number}", total, **about, **values)
        write(self.db, self.shop, [made], at)

    def _back(self, at: datetime, told: dict[str, Any]) -> None:
        number = told["number"]
        given = refund(f"r{number}", told["total"] // 2, order_external_id=f"o{number}", refunded_at=at)
        write(self.db, self.shop, [given], at)

    def complains(self, at: datetime) -> None:
        """A complaint, settled a day and a half later."""
        who, about = self._anybody(), f"t{self.made}-{at:%d%H}"
        with self.db.write() as connection:
            raise_event(connection, self.shop, "complaint", who, at, subject=about)
        self.at(at + timedelta(hours=36), lambda then: self._settles(then, who, about))

    def _settles(self, at: datetime, who: int, about: str) -> None:
        with self.db.write() as connection:
            withdraw_event(connection, self.shop, "complaint", who, at, subject=about)

    def visits(self, at: datetime) -> None:
        """An event of the shop's own."""
        with self.db.write() as connection:
            raise_event(connection, self.shop, "visit", self._anybody(), at, subject=f"{at:%d%H}")

    def points(self, at: datetime) -> None:
        """Points that expire in some days."""
        on = (at + timedelta(days=self.rng.randrange(2, 5))).date()
        with self.db.write() as connection:
            raise_event(connection, self.shop, "points_expiring", self._anybody(), at, subject=f"{at:%d%H}", on=on)

    def leaves(self, at: datetime) -> None:
        """A checkout that is left, and sometimes finished before anything is said of it."""
        self.made += 1
        about = {"external_id": f"c{self.made}", "member_external_id": self._who(), "total_minor": 1000}
        write(self.db, self.shop, [CheckoutRecord(**about, started_at=at, updated_at=at)], at)

    def turns(self, at: datetime) -> None:
        """A member wants fewer messages, or more again."""
        choice = self.rng.randrange(4)
        told: dict[str, Any] = (
            {"frequency": "birthday"},
            {"per_month": 1},
            {"frequency": "all", "awake": True},
            {"snooze_until": at + timedelta(days=self.rng.randrange(1, 6))},
        )[choice]
        with self.db.write() as connection:
            dial.turn(connection, self.shop.shop_id, self._anybody(), at, source="link", **told)

    def reminds(self, at: datetime) -> None:
        """A member names a day and a person."""
        that = at + timedelta(days=self.rng.randrange(1, 7))
        with self.db.write() as connection:
            remember_date(connection, self.shop, self._anybody(), "Ada", that.month * 100 + that.day, at)

    def opens(self, at: datetime) -> None:
        """Somebody reads the newest message."""
        t = touchpoints.c
        query = (
            select(t.touchpoint_id).where(t.accepted_at.is_not(None)).order_by(t.accepted_at.desc(), t.due_at.desc())
        )
        with self.db.write() as connection:
            found = connection.execute(query.limit(1)).scalar()
            if found is not None:
                event = DeliveryEvent(f"e{at.isoformat()}", "", DeliveryEventKind.OPENED, at)
                event_rows.keep(connection, self.shop.shop_id, "smtp", event, found, at)

    def _who(self) -> str:
        return str(self.rng.randrange(1, self.people + 1))

    def _anybody(self) -> int:
        with self.db.read() as connection:
            ids = connection.execute(select(members.c.member_id).order_by(members.c.member_id)).scalars().all()
        return int(self.rng.choice(ids))


def begin(db: Database, folder: Path, seed: int) -> Life:
    """The shop on its first day."""
    config = Config("", folder, public_url="https://crm.example")
    runtime = Runtime(config, db, SecretBox(Fernet.generate_key()), FixedClock(BEGIN))
    with db.write() as connection:
        shop = make_shop(connection, created_at=BEGIN)
        row = {"adapter": "smtp", "channel": "email", "settings": b"sealed", "status": "ok", "updated_at": BEGIN}
        connection.execute(connections.insert().values(shop_id=shop.shop_id, enabled=True, status_detail="", **row))
        duties.load_codes(connection, shop, "club", [f"C{number:02}" for number in range(30)], BEGIN)
        program.load(connection, shop, PROGRAM, BEGIN - timedelta(minutes=1))
        shop = shop_by_id(connection, shop.shop_id)
    life = Life(runtime, shop, random.Random(seed))
    for _ in range(PEOPLE):
        life.person(BEGIN)
    return life
