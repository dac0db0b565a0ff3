"""Rows of ours within a statement: what is said of many crosses as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sqlalchemy import TextClause, text


def given(is_sqlite: bool, columns: Mapping[str, str]) -> str:
    """What to read FROM for rows of ours, as `w`: one JSON document, bound as `rows`, with the columns of these names and types."""
    if is_sqlite:
        # Without a type the columns fit no automatic index.
        picked = ", ".join(
            f"CAST(json_extract(value, '$[{place}]') AS {kind}) AS {name}"
            for place, (name, kind) in enumerate(columns.items())
        )
        return f"(SELECT {picked} FROM json_each(:rows)) AS w"  # noqa: S608
    picked = ", ".join(
        f"CAST(value ->> {place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(columns.items())
    )
    return f"(SELECT {picked} FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS told(value)) AS w"  # noqa: S608


def whole(is_sqlite: bool, columns: Mapping[str, str]) -> str:
    """The same rows to UPDATE by, with `shop_id`. They are read whole first, or SQLite goes through a shop and looks each up among them."""
    return f"(SELECT CAST(:shop_id AS BIGINT) AS shop_id, w.* FROM {given(is_sqlite, columns)} LIMIT {2**62}) AS w"  # noqa: S608


@lru_cache
def at_once(parts: tuple[tuple[str, int], ...]) -> TextClause:
    """Statements as one, each over the rows of that place."""
    *firsts, last = [sql.replace(":rows", f":rows{place}") for sql, place in parts]
    withs = ", ".join(f"part{place} AS ({sql})" for place, sql in enumerate(firsts))
    return text(f"WITH {withs} {last}" if withs else last)
