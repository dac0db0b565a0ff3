"""Calling a sender: messages that are ready, one after another or several at the same time, and what came of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.records import Message, SendResult
from crm_plugin.touchpoints.compose import key_of
from crm_plugin.touchpoints.render import Rendered

# A sender that answers within this many seconds is called by one thread: several would only wait for one another.
QUICK = 0.005


@dataclass(frozen=True, slots=True)
class Ready:
    """A claimed touchpoint and the message that is to leave for it."""

    row: Row[Any]
    channel: ChannelAdapter
    message: Message
    made: Rendered


@dataclass(frozen=True, slots=True)
class Called:
    """One call that has ended: with a result, or with the error that tells why not."""

    ready: Ready
    result: SendResult | None = None
    error: Exception | None = None


class Line:
    """The calls to one sender in one round."""

    def __init__(self, parallel: int) -> None:
        self._parallel = parallel
        self._threads: ThreadPoolExecutor | None = None
        self._slow = False

    def call(self, waiting: deque[Ready], may_go_on: Callable[[], bool], ended: Callable[[Called], None]) -> None:
        """Call for what waits, in its order, and take each from `waiting` as its call begins.

        `may_go_on` is asked before each call; where it answers False or raises, those under way end first, and the rest is left waiting.
        `ended` hears of every call that came to an end, in the thread of the caller.
        """
        while waiting and not (self._slow and self._parallel > 1):
            if not may_go_on():
                return
            began = time.monotonic()
            ended(_call(waiting.popleft()))
            self._slow = time.monotonic() - began > QUICK
        if waiting:
            self._call_at_once(waiting, may_go_on, ended)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()

    def _call_at_once(
        self, waiting: deque[Ready], may_go_on: Callable[[], bool], ended: Callable[[Called], None]
    ) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._parallel, "sender")
        under_way: set[Future[Called]] = set()
        try:
            while waiting and may_go_on():
                under_way.add(self._threads.submit(_call, waiting.popleft()))
                if len(under_way) >= self._parallel:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for one in done:
                        ended(one.result())
        finally:
            for one in wait(under_way).done:
                ended(one.result())


def _call(ready: Ready) -> Called:
    try:
        return Called(ready, ready.channel.send(ready.message, idempotency_key=key_of(ready.row)))
    except Exception as error:
        return Called(ready, error=error)


class Pace:
    """How many messages are noted together before they are called for.

    A crash in between leaves doubt about all of them, so a group is as large as is called for in a moment: few messages for a slow sender,
    for a quick one so many that writing the notes costs little.
    """

    MOST = 64
    _SHORT, _LONG = 0.05, 0.2

    def __init__(self) -> None:
        self.size = 1
        self._began = 0.0

    def begin(self) -> None:
        """A group begins."""
        self._began = time.monotonic()

    def end(self) -> None:
        """It ended: the next is larger when this one took a moment, smaller when it took long."""
        took = time.monotonic() - self._began
        if took < self._SHORT:
            self.size = min(self.size * 2, self.MOST)
        elif took > self._LONG:
            self.size = max(self.size // 2, 1)
