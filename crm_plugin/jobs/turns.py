"""Turns: a round with much to send gives its worker back after a while and asks for the next turn, so that other shops have theirs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from crm_plugin.clock import Clock
from crm_plugin.rounds import TurnOver
from crm_plugin.sync.pull import Progress

TURN = timedelta(seconds=20)
# Fewer than these in a turn mean a sender that hardly answers; it is left alone until the clock asks again.
FEWEST = 3


class Turn:
    """A progress callback that passes on what it hears and ends the turn. The time runs from the first message."""

    def __init__(self, clock: Clock, progress: Callable[[Progress], None] | None) -> None:
        self._clock = clock
        self._progress = progress
        self._until: datetime | None = None

    def __call__(self, told: Progress) -> None:
        if self._progress is not None:
            self._progress(told)
        now = self._clock.now()
        self._until = self._until or now + TURN
        if now >= self._until:
            raise TurnOver(told.done)
