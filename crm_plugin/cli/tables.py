"""Answers for people: rows under headings, and what has names as `name: value`, with no Python or JSON in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Row = Mapping[str, Any]


def cell(value: Any) -> str:
    """One value in one line: instants in UTC to the minute, lists with commas, counts by their names."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(one) for one in value)
    return " ".join(str(value).split())


def heading(name: str) -> str:
    """What a column is called."""
    return name.replace("_", " ")


def plain(rows: Sequence[Row]) -> Iterator[str]:
    """Rows with tabs between the cells, the headings first."""
    yield "\t".join(heading(name) for name in rows[0])
    for row in rows:
        yield "\t".join(cell(value) for value in row.values())


def named(found: Row) -> Iterator[str]:
    """`name: value`, one a line; rows stand under their name."""
    for name, value in found.items():
        if rows := _rows(value):
            yield f"{heading(name)}:"
            yield from (f"  {line}" for line in plain(rows))
        else:
            yield f"{heading(name)}: {cell(value) or _nothing(value)}".rstrip()


def _rows(value: Any) -> list[Row]:
    """A value that is rows, or rows by a name of their own; none where it is anything else."""
    if isinstance(value, Mapping) and value and all(isinstance(one, Mapping) for one in value.values()):
        return [{"": key, **row} for key, row in value.items()]
    is_rows = isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value)
    return list(value) if is_rows else []


def _nothing(value: Any) -> str:
    return "none" if isinstance(value, Mapping | list | tuple) else ""
