"""What came after the instant that a copy is taken back to: set aside row by row, and let in again at the time it came."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, select

from crm_plugin.rehearsal import answers, consents, dials, finished, inside, levels, lists, statuses, tags, withdrawn
from crm_plugin.rehearsal.unknown import UNREAD, Unknown, unrewound
from crm_plugin.store import metadata, shops
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.bulk import execute
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.facts import FactsDelta, RefundPart
from crm_plugin.sync.upsert import part_of

# When a row of each table came. A table not named here that has one of `_TELLS` came then; every other is from the beginning as it is now.
CAME = {
    "tier_bars": "at",
    "tier_holds": "at",
    "tier_invitations": "invited_at",
}
_TELLS = ("first_seen_at", "recorded_at", "seen_at")
# When it happened. What happened before the shop was connected came with the first reading, and was so all the time.
_HAPPENED = {
    "consents": "t.at",
    "members": "MIN(COALESCE(t.joined_at, t.first_seen_at), COALESCE((SELECT MIN(o.placed_at) FROM orders AS o "
    "WHERE o.shop_id = t.shop_id AND o.member_id = t.member_id), t.first_seen_at))",
    "order_events": "t.at",
    "orders": "t.placed_at",
    "refunds": "t.refunded_at",
    "suppressions": "t.at",
}
# These came with the row that they belong to.
WITH = {"identities": "members", "member_tags": "members", "order_lines": "orders"}
# What keeps a list of its own of what is to come.
_NOTED = (statuses, levels, lists, dials, withdrawn, finished, answers)
# At more instants than this nobody looks at each: what came between two rounds is let in before the second.
MOST_INSTANTS = 5_000
# Longer than planning looks back for what changed.
LONG_AGO = timedelta(days=1)
_ORDER = "member_id, counts, base_minor, items_milli, discount_minor, cost_minor, placed_at, placed_on, currency, total_minor"
_REFUND = "member_id, counts, base_minor"


class Arrivals:
    """What is still to come in a copy, in the order in which it came."""

    def __init__(self, shop: Shop, tables: Sequence[Table], instants: array[int], unknown: tuple[Unknown, ...]) -> None:
        self._shop = shop
        self._tables = tables
        self._instants = instants
        self._done = 0
        # What could not be taken back, in words.
        self.unknown = unknown

    @property
    def are_few(self) -> bool:
        """Whether a round at each instant at which something came takes no longer than one an hour."""
        return len(self._instants) <= MOST_INSTANTS

    def next_after(self, at: datetime) -> datetime | None:
        """When something comes next; None once nothing does."""
        place = bisect_right(self._instants, to_micros(at))
        return from_micros(self._instants[place]) if place < len(self._instants) else None

    def let_in(self, db: Database, until: datetime) -> int:
        """Write what came up to then, facts with it; answers at how many instants something came."""
        place = bisect_right(self._instants, to_micros(until))
        if place == self._done:
            return 0
        low = self._instants[self._done - 1] if self._done else 0
        came, self._done = place - self._done, place
        # Marks move to the instant of what came last, never past it: what is looked for by them is found once.
        at = from_micros(self._instants[place - 1])
        with db.write() as connection:
            self._write(connection, low, to_micros(at), at)
        return came

    def _write(self, connection: Connection, low: int, high: int, at: datetime) -> None:
        shop_id, delta = self._shop.shop_id, FactsDelta()
        for table in self._tables:
            names = ", ".join(column.name for column in table.columns)
            execute(
                connection,
                f"INSERT INTO {table.name} ({names}) SELECT {names} FROM later_{table.name} "  # noqa: S608
                "WHERE comes_at > ? AND comes_at <= ?",
                (low, high),
            )
        for row in _between(connection, "orders", _ORDER, low, high):
            delta.add_order(part_of(self._shop.currency, *row))
        for row in _between(connection, "refunds", _REFUND, low, high):
            delta.replace_refund(None, RefundPart(row[0], bool(row[1]), row[2]))
        for row in statuses.turn(connection, shop_id, low, high, _ORDER):
            part = part_of(self._shop.currency, *row)
            delta.replace_order(part, part)
        delta.write(connection, shop_id, at)
        consents.settle(connection, shop_id, low, high)
        levels.turn(connection, self._shop, low, high)
        lists.turn(connection, shop_id, low, high)
        dials.turn(connection, shop_id, low, high)
        withdrawn.turn(connection, shop_id, low, high)
        finished.turn(connection, shop_id, low, high)
        answers.turn(connection, low, high)


def take_out(connection: Connection, shop: Shop, start: datetime) -> Arrivals:
    """Set aside what came after `start`, facts counted without it, and answer with what will come again."""
    since = to_micros(start)
    created = to_micros(_connected(connection, shop.shop_id))
    unknown = tuple(unrewound(connection, shop.shop_id, since))
    statuses.take_back(connection, shop.shop_id, since, created)
    withdrawn.take_back(connection, shop.shop_id, since)
    finished.take_back(connection, shop.shop_id, since)
    dials.take_back(connection, shop.shop_id, since)
    if unread := tags.take_back(connection, shop.shop_id, since):
        unknown += (Unknown(UNREAD, unread),)
    tables = [table for table in metadata.sorted_tables if table.name in WITH or _came(table)]
    for table in tables:
        _set_aside(connection, table, since, created)
    delta = FactsDelta()
    for row in _kept_members(connection, "orders", _ORDER):
        delta.remove_order(part_of(shop.currency, *row))
    for row in _kept_members(connection, "refunds", _REFUND):
        delta.replace_refund(RefundPart(row[0], bool(row[1]), row[2]), None)
    consents.take_back(connection, shop.shop_id)
    levels.take_back(connection, shop, start)
    lists.take_back(connection, shop, start)
    inside.take_back(connection, shop.shop_id, since)
    for table in reversed(tables):
        keys = ", ".join(column.name for column in table.primary_key.columns)
        execute(connection, f"DELETE FROM {table.name} WHERE ({keys}) IN (SELECT {keys} FROM later_{table.name})")  # noqa: S608
    # After the rows: first and last order are asked from those that are left.
    delta.write(connection, shop.shop_id, start - LONG_AGO)
    _still_marks(connection, tables, since, to_micros(start - LONG_AGO))
    return Arrivals(shop, tables, _instants(connection, tables), unknown)


def _came(table: Table) -> str:
    """The column that tells when a row came; empty when none does."""
    return CAME.get(table.name) or next((name for name in _TELLS if name in table.columns), "")


def _connected(connection: Connection, shop_id: int) -> datetime:
    found: datetime = connection.execute(select(shops.c.created_at).where(shops.c.shop_id == shop_id)).scalar_one()
    return found


def _set_aside(connection: Connection, table: Table, since: int, created: int) -> None:
    """One more table `later_…` with the rows that came after `since`, and when: with a row that they belong to at the earliest."""
    joins, instants = "", [_comes(table, created)] if table.name not in WITH else []
    for place, key in enumerate(sorted(table.foreign_key_constraints, key=lambda one: one.referred_table.name)):
        parent = key.referred_table
        if parent.name != WITH.get(table.name) and (table.name in WITH or not _came(parent)):
            continue
        on = " AND ".join(f"p{place}.{part.column.name} = t.{part.parent.name}" for part in key.elements)
        joins += f" LEFT JOIN later_{parent.name} AS p{place} ON {on}"
        instants.append(f"COALESCE(p{place}.comes_at, 0)")
    comes = instants[0] if len(instants) == 1 else f"MAX({', '.join(instants)})"
    name = table.name
    execute(
        connection,
        f"CREATE TABLE later_{name} AS SELECT t.*, {comes} AS comes_at FROM {name} AS t{joins} WHERE {comes} > {since}",  # noqa: S608
    )
    keys = ", ".join(column.name for column in table.primary_key.columns)
    execute(connection, f"CREATE INDEX ix_later_{name}_key ON later_{name} ({keys})")
    execute(connection, f"CREATE INDEX ix_later_{name}_comes ON later_{name} (comes_at)")
    marks = [mark for mark in ("changed_at", "touched_at") if mark in table.columns]
    sets = ", ".join(
        [*(f"{mark} = MIN({mark}, comes_at)" for mark in marks), *(f"{one} = comes_at" for one in _seen(table))]
    )
    if sets:
        execute(connection, f"UPDATE later_{name} SET {sets}")  # noqa: S608


def _comes(table: Table, created: int) -> str:
    """When a row `t` came, as SQL."""
    seen, happened = f"t.{_came(table)}", _HAPPENED.get(table.name)
    if happened is None:
        return seen
    return f"(CASE WHEN {happened} < {created} THEN MIN({happened}, {seen}) ELSE {seen} END)"


def _seen(table: Table) -> list[str]:
    """The column by which planning finds what came late."""
    return [name for name in _TELLS if name in table.columns]


def _still_marks(connection: Connection, tables: Sequence[Table], since: int, long_ago: int) -> None:
    """What was changed in place is so since long: no mark lies ahead of the clock, and nobody is looked for as one who just changed."""
    for name in ("members", "member_facts", "member_consents"):
        for mark in ("changed_at", "touched_at"):
            if mark in metadata.tables[name].columns:
                execute(connection, f"UPDATE {name} SET {mark} = {long_ago} WHERE {mark} > {since}")  # noqa: S608
    for table in tables:
        for mark in _seen(table):
            execute(connection, f"UPDATE {table.name} SET {mark} = {long_ago} WHERE {mark} > {since}")  # noqa: S608


def _instants(connection: Connection, tables: Sequence[Table]) -> array[int]:
    """Every instant at which something comes, in order, each once."""
    names = [f"later_{table.name}" for table in tables] + [one.LATER for one in _NOTED]
    every = " UNION ".join(f"SELECT comes_at FROM {name}" for name in names)  # noqa: S608
    return array("q", (row[0] for row in execute(connection, f"SELECT comes_at FROM ({every}) ORDER BY comes_at")))  # noqa: S608


def _between(connection: Connection, table: str, columns: str, low: int, high: int) -> Iterator[tuple[Any, ...]]:
    sql = f"SELECT {columns} FROM later_{table} WHERE comes_at > ? AND comes_at <= ?"  # noqa: S608
    for row in execute(connection, sql, (low, high)):
        yield tuple(row)


def _kept_members(connection: Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows set aside of members who stay."""
    sql = f"SELECT {columns} FROM later_{table} WHERE member_id NOT IN (SELECT member_id FROM later_members)"  # noqa: S608
    for row in execute(connection, sql):
        yield tuple(row)
