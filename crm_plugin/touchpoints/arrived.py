"""Whether anything came late at all: one look into the index by which late rows are found, before the rows are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Connection, Index, TextClause, text

from crm_plugin.rules.trigger_kinds import Arrival
from crm_plugin.store import metadata
from crm_plugin.store.base import to_micros
from crm_plugin.touchpoints.due import Late

# Each is a column of the answer, of which PostgreSQL takes 1,600.
_MOST = 500


class Arrived:
    """Answers for one shop, about many in one statement; what was asked before, or is `known` from before, is not asked again."""

    def __init__(self, connection: Connection, shop_id: int, known: dict[Late, bool] | None = None) -> None:
        self._connection = connection
        self._shop_id = shop_id
        self._known: dict[Late, bool] = {} if known is None else known

    def __call__(self, lates: Sequence[Late]) -> list[Late]:
        """Those of which a row was written in their span, or of which the index cannot tell."""
        unknown = [late for late in dict.fromkeys(lates) if late not in self._known]
        for start in range(0, len(unknown), _MOST):
            some = unknown[start : start + _MOST]
            self._known.update(zip(some, self._ask(some), strict=True))
        return [late for late in lates if self._known[late]]

    def _ask(self, lates: Sequence[Late]) -> Sequence[bool]:
        asks = _asks(tuple(late.arrival for late in lates), self._connection.dialect.name == "sqlite")
        if asks is None:
            return [True for _ in lates]
        spans: dict[str, int] = {"shop_id": self._shop_id}
        for place, late in enumerate(lates):
            spans |= {f"after{place}": to_micros(late.after), f"until{place}": to_micros(late.until)}
        told = self._connection.execute(asks, {name: spans[name] for name in asks._bindparams}).one()
        return [bool(came) for came in told]


@lru_cache(maxsize=256)
def _asks(arrivals: tuple[Arrival, ...], is_sqlite: bool) -> TextClause | None:
    """Of each whether its index has a row, which is so where the index cannot tell; None where none can."""
    asks = [_ask_of(arrival, place, is_sqlite) for place, arrival in enumerate(arrivals)]
    return text(f"SELECT {', '.join(one or 'TRUE' for one in asks)}") if any(asks) else None


def _ask_of(arrival: Arrival, place: int, is_sqlite: bool) -> str:
    """Empty for an index that has something else between the shop and the instant."""
    alias, _, changed = arrival.changed.partition(".")
    index = _index(arrival.index)
    if [column.name for column in index.columns][:2] != ["shop_id", changed]:
        return ""
    assert index.table is not None
    # A partial index holds only such rows, and is used only where they are asked for.
    is_partial = index.dialect_options["sqlite"]["where"] is not None
    where = f" AND {arrival.where}" if is_partial and arrival.where else ""
    led = f" INDEXED BY {index.name}" if is_sqlite else ""
    return (
        f"EXISTS (SELECT 1 FROM {index.table.name} AS {alias}{led} WHERE {alias}.shop_id = :shop_id "  # noqa: S608
        f"AND {arrival.changed} > :after{place} AND {arrival.changed} <= :until{place}{where} LIMIT 1)"
    )


def _index(name: str) -> Index:
    return next(index for table in metadata.tables.values() for index in table.indexes if index.name == name)
