"""What stores tell by themselves, kept in the inbox before anything is done about it: answered at once, followed later (`follow.py`).

An event says no more than "look at this again", so what it carried is not kept, but for what names a person to export or to erase, which
goes when that is done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, literal_column, select, update

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.ids import new_ids
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind
from crm_plugin.store import bulk, inbox
from crm_plugin.store.base import from_micros, to_json, to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_of

Kind = StoreEventKind
NEW, DONE, FAILED = "new", "done", "failed"
_COLUMNS = (
    "shop_id",
    "inbox_id",
    "source",
    "dedupe_key",
    "kind",
    "topic",
    "stream",
    "external_id",
    "body",
    "state",
    "detail",
    "tries",
    "next_try_at",
    "received_at",
    "handled_at",
)
# What asks for nothing: it is kept, so that it is counted and seen.
_IDLE = frozenset({Kind.PING, Kind.UNKNOWN})
# Fields of an event that have no column of their own.
_CARRIED = ("into", "email", "phone", "orders", "detail")


@dataclass(slots=True)
class Heard:
    """What one request or one look into a queue told. `own` are echoes of what we wrote, `strays` speak of a store that is not here."""

    events: int = 0
    new: int = 0
    repeated: int = 0
    own: int = 0
    strays: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        names = ("events", "new", "repeated", "own", "strays")
        return {**{name: getattr(self, name) for name in names}, "kinds": dict(self.kinds)}


def receive(db: Database, shop: Shop, storefront: StorefrontAdapter, request: RawRequest, now: datetime) -> Heard:
    """Keep what a webhook tells, all of it or nothing. Raises: WebhookRejected, UnsupportedFeature."""
    storefront.verify_webhook(request)
    return keep(db, shop, storefront.parse_webhook(request), now)


def keep(db: Database, shop: Shop, events: Iterable[StoreEvent], now: datetime) -> Heard:
    """Keep events in one transaction, each once. One that names another store of the platform becomes that store's."""
    told, heard = list(events), Heard()
    if not told:
        return heard
    with db.write() as connection:
        rows = []
        for event, inbox_id in zip(told, new_ids(len(told)), strict=True):
            whose = _whose(connection, shop, event)
            if whose is None:
                heard.strays += 1
                continue
            heard.kinds[event.kind.value] += 1
            heard.own += event.is_own
            rows.append(_row(whose, shop.platform, inbox_id, event, to_micros(now)))
        heard.new = _insert(connection, rows)
    heard.events = len(told)
    heard.repeated = len(rows) - heard.new
    return heard


def _whose(connection: Connection, shop: Shop, event: StoreEvent) -> int | None:
    if event.reference in ("", shop.reference):
        return shop.shop_id
    other = shop_of(connection, shop.platform, event.reference)
    return None if other is None else other.shop_id


def _row(shop_id: int, source: str, inbox_id: int, event: StoreEvent, at: int) -> tuple[Any, ...]:
    body = {name: value for name in _CARRIED if (value := getattr(event, name))}
    if event.at is not None:
        body["at"] = to_micros(event.at)
    is_done = event.is_own or event.kind in _IDLE
    stream = "" if event.stream is None else event.stream.value
    state = (DONE if is_done else NEW, "own" if event.is_own else "", 0, at, at, at if is_done else None)
    told = (event.key, event.kind.value, event.topic[:200], stream, event.external_id, to_json(body))
    return (shop_id, inbox_id, source, *told, *state)


def _insert(connection: Connection, rows: list[tuple[Any, ...]]) -> int:
    """How many were not there before."""
    marks = ", ".join("?" * len(_COLUMNS))
    sql = f"INSERT INTO inbox ({', '.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    return sum(bulk.execute(connection, sql, row).rowcount for row in rows)


@dataclass(frozen=True, slots=True)
class News:
    """One event of the inbox that is to be followed."""

    inbox_id: int
    kind: StoreEventKind
    topic: str
    stream: str
    external_id: str
    tries: int
    received_at: datetime
    body: dict[str, Any]

    @property
    def event(self) -> StoreEvent:
        """What is left of the event itself."""
        detail = dict(self.body.get("detail", {}))
        return StoreEvent(self.kind, str(self.inbox_id), self.topic, None, self.external_id, self.at, detail=detail)

    @property
    def at(self) -> datetime | None:
        """The store's own time of it."""
        told = self.body.get("at")
        return None if told is None else from_micros(told)


# What is done for a shop whose app was taken away or switched off, too: its end, its coming back, and what its customers ask for by law.
OF_ASLEEP = frozenset({Kind.UNINSTALLED, Kind.RESUMED, Kind.ERASE, Kind.EXPORT, Kind.ERASE_SHOP})


def due(connection: Connection, shop: Shop, now: datetime, most: int) -> list[News]:
    """What is to be followed now, in the order in which it came."""
    c = inbox.c
    query = select(inbox).where(_waits(shop, now)).order_by(c.next_try_at, c.inbox_id).limit(most)
    return [_news(row) for row in connection.execute(query)]


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether there is anything to follow now."""
    return connection.execute(select(inbox.c.inbox_id).where(_waits(shop, now)).limit(1)).first() is not None


def given_up(connection: Connection, shop: Shop) -> tuple[int, str]:
    """How many events were tried too often, and why the last one was given up."""
    c = inbox.c
    # Written out, as the state of what is new is.
    own = (c.shop_id == shop.shop_id, c.state == literal_column(f"'{FAILED}'"))
    count = connection.execute(select(func.count()).select_from(inbox).where(*own)).scalar() or 0
    why = connection.execute(select(c.detail).where(*own).order_by(c.inbox_id.desc()).limit(1)).scalar()
    return count, why or ""


def waiting(connection: Connection, shop: Shop) -> tuple[int, datetime | None]:
    """How many events wait to be followed, and when the oldest of them came."""
    c = inbox.c
    own = (c.shop_id == shop.shop_id, c.state == literal_column(f"'{NEW}'"))
    count, oldest = connection.execute(select(func.count(), func.min(c.received_at)).where(*own)).one()
    return count, oldest


def last_at(connection: Connection, shop: Shop) -> datetime | None:
    """When the store told us anything last; ids are in the order of time."""
    c = inbox.c
    own = (c.shop_id == shop.shop_id, c.source == shop.platform)
    return connection.execute(select(c.received_at).where(*own).order_by(c.inbox_id.desc()).limit(1)).scalar()


def again(connection: Connection, shop: Shop, now: datetime) -> int:
    """Try once more what was given up; how many events that is."""
    own = (inbox.c.shop_id == shop.shop_id, inbox.c.state == literal_column(f"'{FAILED}'"))
    return connection.execute(update(inbox).where(*own).values(state=NEW, tries=0, next_try_at=now)).rowcount


def _waits(shop: Shop, now: datetime) -> Any:
    # The state is written out, so that the index of what is new is taken.
    waits = and_(
        inbox.c.shop_id == shop.shop_id, inbox.c.state == literal_column(f"'{NEW}'"), inbox.c.next_try_at <= now
    )
    return waits if shop.is_awake else and_(waits, inbox.c.kind.in_([kind.value for kind in OF_ASLEEP]))


def _news(row: Row[Any]) -> News:
    body = json.loads(row.body or "{}")
    return News(row.inbox_id, Kind(row.kind), row.topic, row.stream, row.external_id, row.tries, row.received_at, body)
