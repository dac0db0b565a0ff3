"""The file of a bulk query, put in order on disk: its lines are rows and rows below rows, and those may stand anywhere in it.

However large the file, memory holds a few thousand lines of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import msgspec

# Which list of its row a line belongs to, by the kind in its id.
LISTS = {
    "LineItem": "lineItems",
    "AbandonedCheckoutLineItem": "lineItems",
    "Metafield": "metafields",
    "ProductVariant": "variants",
}
_AT_ONCE = 2000


class _Line(msgspec.Struct):
    id: str = ""
    parent: str | None = msgspec.field(name="__parentId", default=None)


_LINE = msgspec.json.Decoder(_Line)


class Staging:
    """The rows of one file, in its order. A context manager: the copy on disk goes with it."""

    def __init__(self) -> None:
        # Without a name it is a file that is in no folder: what is in it goes with the process, however that ends.
        self._db = sqlite3.connect("", isolation_level=None)
        # It is thrown away whatever happens, so nothing has to be safe.
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;"
            "CREATE TABLE row (place INTEGER PRIMARY KEY, id TEXT NOT NULL, raw BLOB NOT NULL);"
            "CREATE TABLE below (place INTEGER PRIMARY KEY, parent TEXT NOT NULL, list TEXT NOT NULL, raw BLOB NOT NULL);"
        )
        # Rows that stand by themselves, and bytes of the file.
        self.rows = self.size = 0

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def load(self, lines: Iterable[bytes]) -> None:
        """Read the whole file."""
        rows: list[tuple[str, bytes]] = []
        below: list[tuple[str, str, bytes]] = []
        self._db.execute("BEGIN")
        for line in lines:
            self.size += len(line) + 1
            if not line.strip():
                continue
            told = _head(line)
            if told.parent is None:
                rows.append((told.id, line))
            else:
                below.append((told.parent, LISTS.get(told.id.split("/")[-2] if "/" in told.id else "", ""), line))
            if len(rows) + len(below) >= _AT_ONCE:
                self._write(rows, below)
        self._write(rows, below)
        self._db.execute("CREATE INDEX below_parent ON below (parent, place)")
        self._db.execute("COMMIT")

    def _write(self, rows: list[tuple[str, bytes]], below: list[tuple[str, str, bytes]]) -> None:
        self.rows += len(rows)
        self._db.executemany("INSERT INTO row (id, raw) VALUES (?, ?)", rows)
        self._db.executemany("INSERT INTO below (parent, list, raw) VALUES (?, ?, ?)", below)
        rows.clear()
        below.clear()

    def pages(self, done: int, size: int) -> Iterator[list[msgspec.Raw]]:
        """The rows behind the first `done`, so many at a time, each with what is below it."""
        while found := self._db.execute(
            "SELECT place, id, raw FROM row WHERE place > ? ORDER BY place LIMIT ?", (done, size)
        ).fetchall():
            done = found[-1][0]
            yield [self._whole(gid, raw) for _, gid, raw in found]

    def _whole(self, gid: str, raw: bytes) -> msgspec.Raw:
        lists: dict[str, list[msgspec.Raw]] = {}
        for name, line in self._db.execute("SELECT list, raw FROM below WHERE parent = ? ORDER BY place", (gid,)):
            lists.setdefault(name, []).append(msgspec.Raw(line))
        lists.pop("", None)
        if not lists:
            return msgspec.Raw(raw)
        row: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return msgspec.Raw(msgspec.json.encode({**row, **{name: {"nodes": nodes} for name, nodes in lists.items()}}))


def _head(line: bytes) -> _Line:
    try:
        return _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # It becomes a row of its own, which cannot be read and is set aside with its text.
        return _Line()
