"""What a merchant asks first: how far the store has been read, what waits to go out, what became of it lately, what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, case, func, literal, select, text

from crm_plugin.records import Stream
from crm_plugin.store import members, orders, sync_state, touchpoints
from crm_plugin.store.tenants import Shop

_SENT = ("accepted", "delivered", "bounced", "complained")
_HELD_BACK = ("skipped", "missed", "failed")
_WAITING = ("planned", "retry_wait")
# Written out as the indexes have them, or no index could be used for them.
_IS_WAITING = text("touchpoints.state IN ('planned', 'retry_wait')")
_IS_GONE = text("members.state <> 'active'")
_READING = ("backfill", "running")
# A speed taken over less than this is a guess.
FIRST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far one stream of the store is. `phase` is backfill, running, idle or stopped; `begun` says that a page has been kept."""

    stream: str
    phase: str
    done: int
    total: int | None
    begun: bool
    started_at: datetime | None
    updated_at: datetime
    detail: str

    @property
    def reading(self) -> bool:
        return self.phase in _READING


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a sync goes: records a second, and seconds until the present stream's end; None while nobody can tell."""

    per_second: float | None
    seconds_left: int | None


@dataclass(frozen=True, slots=True)
class Became:
    """What became of the messages that fell due in a span: sent, held back and why (most first), still waiting, or not confirmed."""

    sent: int
    held_back: int
    waiting: int
    unconfirmed: int
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages of one journey that are planned and not yet sent; `span` counts from 0 in the spans that were asked for."""

    journey_key: str
    span: int
    count: int


@dataclass(frozen=True, slots=True)
class Growth:
    """New members, orders and their value (before refunds, in the shop's currency) in the days up to one, and in as many days before."""

    members: int
    members_before: int
    orders: int
    orders_before: int
    sales_minor: int
    sales_before_minor: int


def streams(connection: Connection, shop_id: int) -> list[StreamState]:
    """The streams that have been begun, in the order in which they are pulled."""
    rows = {row.stream: row for row in connection.execute(select(sync_state).where(sync_state.c.shop_id == shop_id))}
    order = [stream.value for stream in Stream]
    return [
        StreamState(
            row.stream, row.phase, row.done, row.total, bool(row.cursor), row.started_at, row.updated_at, row.detail
        )
        for row in sorted(rows.values(), key=lambda row: order.index(row.stream) if row.stream in order else len(order))
    ]


def all_read(found: Sequence[StreamState], wanted: Sequence[str]) -> bool:
    """Whether the whole history has been read once: every stream has been begun, and none is in its first reading."""
    known = {state.stream: state for state in found}
    return all(stream in known and known[stream].begun and known[stream].phase != "backfill" for stream in wanted)


def pace(found: Sequence[StreamState], now: datetime) -> Pace:
    """The speed of the sync that is under way. All its streams begin to count at one instant, so they are counted together."""
    current = next((state for state in found if state.reading and state.started_at is not None), None)
    if current is None or current.started_at is None:
        return Pace(None, None)
    seconds = (now - current.started_at).total_seconds()
    done = sum(state.done for state in found if state.started_at == current.started_at)
    if seconds < FIRST_SECONDS or not done:
        return Pace(None, None)
    rate = done / seconds
    left = None if current.total is None else max(0, round((current.total - current.done) / rate))
    return Pace(rate, left)


def became(connection: Connection, shop_id: int, since: datetime, until: datetime) -> Became:
    """What became of the messages that were due from `since` until before `until`."""
    columns = touchpoints.c
    due = (columns.shop_id == shop_id, columns.due_at >= since, columns.due_at < until)
    by_state = select(columns.state, func.count()).where(*due).group_by(columns.state)
    counts = {str(state): int(number) for state, number in connection.execute(by_state)}
    number = func.count().label("number")
    why = select(columns.reason, number).where(*due, columns.state.in_(_HELD_BACK)).group_by(columns.reason)
    reasons = connection.execute(why.order_by(number.desc(), columns.reason))
    return Became(
        sent=sum(counts.get(state, 0) for state in _SENT),
        held_back=sum(counts.get(state, 0) for state in _HELD_BACK),
        waiting=sum(counts.get(state, 0) for state in (*_WAITING, "in_flight")),
        unconfirmed=counts.get("unconfirmed", 0),
        reasons=tuple((reason, count) for reason, count in reasons),
    )


def waiting(connection: Connection, shop_id: int, ends: Sequence[datetime]) -> list[Waiting]:
    """What is planned and not sent, by journey and by the span it will be tried in.

    Spans end at `ends`; the first also holds what is overdue, and what comes after the last is left out.
    """
    columns = touchpoints.c
    place = case(*((columns.next_try_at < end, literal(number)) for number, end in enumerate(ends)))
    found = (
        select(columns.journey_key, place.label("span"))
        .where(columns.shop_id == shop_id, _IS_WAITING, columns.next_try_at < ends[-1])
        .subquery()
    )
    query = select(found.c.journey_key, found.c.span, func.count()).group_by(found.c.journey_key, found.c.span)
    return [Waiting(key, int(span), count) for key, span, count in connection.execute(query)]


def count_unconfirmed(connection: Connection, shop_id: int) -> int:
    """Messages that may have left and that nobody has settled, of any age."""
    columns = touchpoints.c
    query = select(func.count()).where(columns.shop_id == shop_id, columns.state == "unconfirmed")
    return int(connection.execute(query).scalar_one())


def count_members(connection: Connection, shop_id: int) -> int:
    """The shop's active members: all but those who are gone, for both are counted in an index and the active ones are not."""
    everybody = select(func.count()).where(members.c.shop_id == shop_id).scalar_subquery()
    gone = select(func.count()).where(members.c.shop_id == shop_id, _IS_GONE).scalar_subquery()
    return int(connection.execute(select(everybody - gone)).scalar_one())


def has_orders(connection: Connection, shop_id: int) -> bool:
    """Whether any order has been read."""
    return connection.execute(select(orders.c.order_id).where(orders.c.shop_id == shop_id).limit(1)).first() is not None


def without_rate(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many orders that count are in no sum, by their currency: there is no exchange rate for it."""
    columns = orders.c
    query = select(columns.currency, func.count()).where(
        columns.shop_id == shop_id, columns.base_minor.is_(None), columns.counts
    )
    rows = connection.execute(query.group_by(columns.currency).order_by(columns.currency))
    return {currency: number for currency, number in rows}  # noqa: C416


def growth(connection: Connection, shop: Shop, until: date, days: int = 7) -> Growth:
    """What came in the `days` up to and with the local day `until`, and in as many before."""
    middle, first = until - timedelta(days=days), until - timedelta(days=2 * days)
    joined = members.c.joined_on
    new, new_before = connection.execute(
        select(_count(joined > middle), _count(joined <= middle)).where(
            members.c.shop_id == shop.shop_id, members.c.state == "active", joined > first, joined <= until
        )
    ).one()
    placed, value = orders.c.placed_on, func.coalesce(orders.c.base_minor, 0)
    count, count_before, sales, sales_before = connection.execute(
        select(
            _count(placed > middle),
            _count(placed <= middle),
            func.coalesce(func.sum(case((placed > middle, value), else_=0)), 0),
            func.coalesce(func.sum(case((placed <= middle, value), else_=0)), 0),
        ).where(orders.c.shop_id == shop.shop_id, orders.c.counts, placed > first, placed <= until)
    ).one()
    return Growth(*(int(told) for told in (new, new_before, count, count_before, sales, sales_before)))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
