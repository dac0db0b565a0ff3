"""What a message is about beside its member and order: something that was raised, a checkout, a day to be reminded of.

They are found by the trigger's occasion, which names the row: `event:7`, `checkout:7`, `date:7:2026`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import InvalidOperation
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, select

from crm_plugin.clock import local_day
from crm_plugin.store import checkouts, member_dates, member_events
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.bounds import LONGEST_VALUE
from crm_plugin.touchpoints.scene import CheckoutView, EventView, GiftView, LineView, money, pieces

EVENT, CHECKOUT, DATE = "event", "checkout", "date"
_TABLES: dict[str, tuple[Table, str]] = {
    EVENT: (member_events, "event_id"),
    CHECKOUT: (checkouts, "checkout_id"),
    DATE: (member_dates, "date_id"),
}
# What ends on the day that its event is about.
_EXPIRING = ("points_expiring", "coupon_expiring")
_MOST_POINTS = 10**12


@dataclass(slots=True)
class Subjects:
    """Rows by kind and id."""

    rows: dict[tuple[str, int], Row[Any]] = field(default_factory=dict)

    def event(self, occasion: str, shop: Shop, locale: str) -> EventView | None:
        """What was raised, as a text may tell it; None for an occasion of another kind."""
        row = self._of(EVENT, occasion)
        if row is None:
            return None
        told: Mapping[str, Any] = row.payload
        return EventView(
            kind=row.kind,
            on=row.on_day,
            title=_text(told.get("title")),
            amount="" if row.amount_minor is None else money(row.amount_minor, shop.currency, locale),
            points=_number(told.get("points")),
            code=_text(told.get("code")),
            url=_link(told.get("url")),
            expires_on=row.on_day if row.kind in _EXPIRING else _day(told.get("expires_on")),
        )

    def checkout(self, occasion: str, shop: Shop, locale: str) -> CheckoutView | None:
        """The checkout that was begun; None for an occasion of another kind."""
        row = self._of(CHECKOUT, occasion)
        if row is None:
            return None
        lines = tuple(_line(one) for one in row.lines if isinstance(one, Mapping) and one.get("title"))
        total = money(row.total_minor, row.currency or shop.currency, locale)
        return CheckoutView(_link(row.url), local_day(row.started_at, shop.timezone), lines, total)

    def gift(self, occasion: str, on: date) -> GiftView | None:
        """The person and the day of a reminder, which is the day the occasion is about."""
        row = self._of(DATE, occasion)
        return None if row is None else GiftView(_text(row.person), on)

    def reminder(self, occasion: str) -> Row[Any] | None:
        """The day that a member named, as it is kept now."""
        return self._of(DATE, occasion)

    def _of(self, kind: str, occasion: str) -> Row[Any] | None:
        found = named(occasion)
        return self.rows.get(found) if found is not None and found[0] == kind else None


def named(occasion: str) -> tuple[str, int] | None:
    """Kind and id of the row that an occasion names, None where it names none of these."""
    kind, _, rest = occasion.partition(":")
    number = rest.partition(":")[0]
    return (kind, int(number)) if kind in _TABLES and number.isascii() and number.isdigit() else None


def load(connection: Connection, shop_id: int, occasions: Iterable[str]) -> Subjects:
    """The rows that these occasions name: one statement for each kind there is."""
    found = Subjects()
    wanted = {one for occasion in occasions if (one := named(occasion)) is not None}
    for kind, (table, key) in _TABLES.items():
        ids = sorted(number for of, number in wanted if of == kind)
        if ids:
            query = select(table).where(table.c.shop_id == shop_id, table.c[key].in_(ids))
            found.rows |= {(kind, getattr(row, key)): row for row in connection.execute(query)}
    return found


def newest(connection: Connection, shop_id: int, member_id: int, trigger: str, event: str = "") -> str:
    """The occasion that a preview of a journey may speak of for a member, by the name of its trigger; empty where there is none."""
    where: tuple[ColumnElement[bool], ...]
    if trigger == "abandoned_checkout":
        kind, where = CHECKOUT, (checkouts.c.completed_at.is_(None),)
    elif trigger == "gift_reminder":
        kind, where = DATE, ()
    else:
        kind, where = EVENT, (member_events.c.kind == (event or trigger), member_events.c.withdrawn_at.is_(None))
    table, key = _TABLES[kind]
    query = select(table.c[key]).where(table.c.shop_id == shop_id, table.c.member_id == member_id, *where)
    # The ids of days do not grow with time.
    last = member_dates.c.recorded_at if kind == DATE else table.c[key]
    found = connection.execute(query.order_by(last.desc()).limit(1)).scalar()
    return "" if found is None else f"{kind}:{found}"


def _line(told: Mapping[str, Any]) -> LineView:
    quantity = told.get("quantity", 1)
    try:
        number = pieces(quantity)
    except InvalidOperation:
        number = "1"
    return LineView(_text(told["title"]), number, _link(told.get("url")))


def _text(told: Any) -> str:
    return str(told)[:LONGEST_VALUE] if isinstance(told, str | int) and not isinstance(told, bool) else ""


def _link(told: Any) -> str:
    """Only what leads to a page on the web may stand behind a button."""
    link = _text(told).strip()
    return link if link.startswith(("https://", "http://")) and not any(one in link for one in '"<> \n\r\t') else ""


def _number(told: Any) -> int:
    return told if isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= _MOST_POINTS else 0


def _day(told: Any) -> date | None:
    try:
        return date.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        return None
