"""Queries that are asked in one statement answer what each would alone."""

from __future__ import annotations

from sqlalchemy import literal, select, union_all

from crm_plugin.store.session import Database
from crm_plugin.store.together import Together


def test_rows_come_whole_however_long_they_are(db: Database) -> None:
    lengths = (1, 100, 101, 250)
    queries = [
        union_all(*(select(*(literal(n + row).label(f"c{n}") for n in range(length))) for row in (0, 1)))
        for length in lengths
    ]
    with db.read() as connection:
        told = Together(connection.dialect, queries).ask(connection, {})
    assert [sorted(map(tuple, rows)) for rows in told] == [
        [tuple(range(length)), tuple(range(1, length + 1))] for length in lengths
    ]
    assert told[-1][0]._fields[-1] == "c249"
