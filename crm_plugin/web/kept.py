"""Figures that took long are shown again for a minute, so that a large shop's pages stay quick; quick ones are always made anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")
SLOW_SECONDS = 0.1
KEPT_SECONDS = 60.0


class Kept:
    """What was made last under each key, with the stamp it was made for: another stamp makes it anew."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._lock = threading.Lock()
        self._made: dict[Hashable, tuple[Hashable, float, Any]] = {}

    def get(self, key: Hashable, stamp: Hashable, make: Callable[[], Made]) -> Made:
        """What is kept for the key and stamp, or made now."""
        began = self._timer()
        with self._lock:
            held_for, until, held = self._made.get(key, (None, 0.0, None))
        if held_for == stamp and began < until:
            return held  # type: ignore[no-any-return]
        made = make()
        ended = self._timer()
        with self._lock:
            if ended - began >= SLOW_SECONDS:
                self._made[key] = (stamp, ended + KEPT_SECONDS, made)
            else:
                self._made.pop(key, None)
        return made
