"""Whether anything came late at all: one look into the index by which late rows are found, before the rows are asked for."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Connection, Index, TextClause, text

from crm_plugin.rules.trigger_kinds import Arrival
from crm_plugin.store import metadata
from crm_plugin.store.base import to_micros
from crm_plugin.touchpoints.due import Late


class Arrived:
    """Answers for one shop; what was asked before is not asked again, and neither is what is `known` from before."""

    def __init__(self, connection: Connection, shop_id: int, known: dict[Late, bool] | None = None) -> None:
        self._connection = connection
        self._shop_id = shop_id
        self._known: dict[Late, bool] = {} if known is None else known

    def __call__(self, late: Late) -> bool:
        """False when no row at all was written in that span; True when one was, or when the index cannot tell."""
        if late not in self._known:
            self._known[late] = self._ask(late)
        return self._known[late]

    def _ask(self, late: Late) -> bool:
        asks = _asks(late.arrival, self._connection.dialect.name == "sqlite")
        if asks is None:
            return True
        span = {"shop_id": self._shop_id, "after": to_micros(late.after), "until": to_micros(late.until)}
        return self._connection.execute(asks, span).first() is not None


@lru_cache(maxsize=256)
def _asks(arrival: Arrival, is_sqlite: bool) -> TextClause | None:
    """One row of the index if there is any; None for an index that has something else between the shop and the instant."""
    alias, _, changed = arrival.changed.partition(".")
    index = _index(arrival.index)
    if [column.name for column in index.columns][:2] != ["shop_id", changed]:
        return None
    assert index.table is not None
    # A partial index holds only such rows, and is used only where they are asked for.
    is_partial = index.dialect_options["sqlite"]["where"] is not None
    where = f" AND {arrival.where}" if is_partial and arrival.where else ""
    led = f" INDEXED BY {index.name}" if is_sqlite else ""
    return text(
        f"SELECT 1 FROM {index.table.name} AS {alias}{led} WHERE {alias}.shop_id = :shop_id "  # noqa: S608
        f"AND {arrival.changed} > :after AND {arrival.changed} <= :until{where} LIMIT 1"
    )


def _index(name: str) -> Index:
    return next(index for table in metadata.tables.values() for index in table.indexes if index.name == name)
