"""INSERT with ON CONFLICT, which each database has in a dialect of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, text
from sqlalchemy.dialects import sqlite


def insert_into(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that can be told what to do where the row is there already; both dialects say it in the same words."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    # All of its drivers come with it.
    from sqlalchemy.dialects import postgresql

    return cast("sqlite.Insert", postgresql.insert(table))


def insert_new(connection: Connection, table: Table, columns: Sequence[str], chosen: Select[Any]) -> sqlite.Insert:
    """An INSERT … SELECT that leaves alone what is there already."""
    if connection.dialect.name != "sqlite":
        chosen = _found_first(chosen)
    return insert_into(connection, table).from_select(columns, chosen, include_defaults=False).on_conflict_do_nothing()


def _found_first(chosen: Select[Any]) -> Select[Any]:
    """The rows of an INSERT … SELECT on PostgreSQL, all found before the first is written: a sort by the second column waits for all.

    While a table holds little PostgreSQL takes any of its indexes for as good as another. Asking for each row whether it is there already,
    it would go through those that the statement itself has just written: half an hour for 100,000.
    """
    return chosen.order_by(text("2"))
