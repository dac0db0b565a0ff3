"""63-bit, time-ordered ids made in the application: bulk inserts need no round trip, shards no sequence.

Layout: 41 bits of milliseconds since 2024-01-01 UTC (until 2093), 10 bits of process, 12 bits of sequence. When 4,096 ids are
gone within a millisecond the generator borrows from the next one, so a bulk load may run a few seconds ahead of the clock.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from datetime import datetime

_EPOCH_MS = 1_704_067_200_000
_SEQUENCE_BITS = 12
_NODE_BITS = 10
_LOW = (1 << _SEQUENCE_BITS) - 1


class IdSource:
    """Ids that never repeat within one process; two processes differ by their node bits."""

    def __init__(self, node: int | None = None) -> None:
        self._lock = threading.Lock()
        self._tick = 0
        self._node_given = node
        self._seed()

    def _seed(self) -> None:
        node = secrets.randbits(_NODE_BITS) if self._node_given is None else self._node_given
        self._node = node % (1 << _NODE_BITS)

    def reserve(self, count: int) -> tuple[int, int]:
        """First tick and node of `count` ids that a statement makes itself; `id_sql` is their form in SQL."""
        with self._lock:
            now = (time.time_ns() // 1_000_000 - _EPOCH_MS) << _SEQUENCE_BITS
            start = max(now, self._tick)
            self._tick = start + count
        return start, self._node

    def one(self) -> int:
        """One new id; most are taken so, in loops."""
        tick, node = self.reserve(1)
        low = tick & _LOW
        return ((tick - low) << _NODE_BITS) | (node << _SEQUENCE_BITS) | low

    def take(self, count: int) -> list[int]:
        """`count` new ids in ascending order."""
        if count <= 0:
            return []
        start, node = self.reserve(count)
        shift = _NODE_BITS + _SEQUENCE_BITS
        return [
            ((tick >> _SEQUENCE_BITS) << shift) | (node << _SEQUENCE_BITS) | (tick & _LOW)
            for tick in range(start, start + count)
        ]


_source = IdSource()
# A forked worker would otherwise continue the parent's sequence under the parent's node.
os.register_at_fork(after_in_child=_source._seed)


def new_id() -> int:
    """One new id."""
    return _source.one()


def new_ids(count: int) -> list[int]:
    """Many new ids, ascending."""
    return _source.take(count)


def first_of(at: datetime) -> int:
    """The least id that can have been made at that instant or later."""
    return max(int(at.timestamp() * 1000) - _EPOCH_MS, 0) << (_NODE_BITS + _SEQUENCE_BITS)


def reserve_ids(count: int) -> tuple[int, int]:
    """Room for `count` ids made by a statement: first tick and node, for `id_sql`."""
    return _source.reserve(count)


def id_sql(tick: str, node: int) -> str:
    """SQL (both databases) that makes the id of a tick; `tick` is an SQL expression of a bigint."""
    shift = _NODE_BITS + _SEQUENCE_BITS
    return f"((({tick}) >> {_SEQUENCE_BITS}) << {shift}) | {node << _SEQUENCE_BITS} | (({tick}) & {_LOW})"
