"""Statements that are made once and run many times: their SQL is kept, and a run only binds what has changed.

SQLAlchemy keeps SQL too, but to find it a statement has to be built and walked each time, which for a long one costs more than to run it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Executable


class Prepared:
    """The SQL of a statement for one kind of database, with what it was built with."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        state = compiled.construct_expanded_state()
        self._sql: str = state.statement
        self._names: tuple[str, ...] = tuple(state.positiontup)
        self._values: dict[str, Any] = {}
        for name in self._names:
            known = state.processors.get(name)
            if known is None and name in compiled.binds:
                known = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            value = state.parameters[name]
            self._values[name] = value if known is None else known(value)

    def run(self, connection: Connection, changed: Mapping[str, int | str]) -> CursorResult[Any]:
        """Execute it with these values, as stored, in place of those that it was built with; a name that it does not have does nothing."""
        values = {**self._values, **changed}
        return connection.exec_driver_sql(self._sql, tuple(values[name] for name in self._names))


class Shelf:
    """Prepared statements by their place, each with what it was made of; those used least recently go. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, Prepared]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, place: Hashable, content: Any, make: Callable[[], Prepared]) -> Prepared:
        """What is kept in that place if it was made of the same; else it is made, and kept in its stead."""
        with self._lock:
            found = self._kept.get(place)
            if found is not None and found[0] == content:
                self._kept.move_to_end(place)
                return found[1]
        made = make()
        with self._lock:
            self._kept[place] = content, made
            self._kept.move_to_end(place)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made
