"""Calling a sender: messages that are ready, one after another or several at the same time, and what came of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from crm_plugin.adapters.channels.base import ChannelAdapter, Flow, Flowed
from crm_plugin.errors import RecipientRefused
from crm_plugin.records import Message, SendResult
from crm_plugin.touchpoints.compose import key_of
from crm_plugin.touchpoints.render import Rendered

# A sender that answers within this many seconds is called by one thread: several would only wait for one another.
QUICK = 0.005
# A flow has so many connections to one.
_QUICK_WIDTH = 2
# A call may take longer for once, for the machine has other things to do.
_ONCE = 3


# These are made for every message, and to freeze one takes several times as long as to make it.
@dataclass(slots=True)
class Ready:
    """A claimed touchpoint and the message that is to leave for it; its guards were asked at `asked_at`."""

    row: Row[Any]
    channel: ChannelAdapter
    message: Message
    made: Rendered
    asked_at: datetime


@dataclass(slots=True)
class Called:
    """One call that has ended: with a result, or with the error that tells why not."""

    ready: Ready
    seconds: float
    result: SendResult | None = None
    error: Exception | None = None


class Line:
    """The calls to one sender in one round."""

    def __init__(self, channel: ChannelAdapter) -> None:
        self._parallel = channel.parallel
        self._flow = channel.flow()
        # Whether the last call was well: until one was, and after one that was not, the next waits for what comes of it.
        self._is_well = False
        self._threads: ThreadPoolExecutor | None = None
        # What the flow has told as ended and nobody has heard of yet.
        self._told: deque[Flowed] = deque()
        # How long the calls of late took at least, in seconds: whoever waits for a busy machine is quick at times, a slow sender never is.
        self._least: deque[float] = deque(maxlen=_ONCE)
        self._is_slow = False

    @property
    def at_once(self) -> int:
        """How many it has called for at the same time as things stand, where there are so many."""
        if not self._is_slow:
            return 1
        return self._parallel if self._flow is None else self._flow.under_way + self._flow.room(self._parallel)

    def call(
        self,
        waiting: deque[Ready],
        may_go_on: Callable[[Ready], bool],
        ended: Callable[[Called], None],
        meanwhile: Callable[[], bool] = lambda: False,
        more: Callable[[int], bool] = lambda _under_way: False,
    ) -> None:
        """Call for what waits, in its order, and take each from `waiting` as its call begins.

        `may_go_on` is asked before each call; where it answers False or raises, those under way end first, and the rest is left waiting.
        `ended` hears of every call that came to an end, in the thread of the caller. That thread does something useful `meanwhile`, a
        little each time, until there is nothing more to do (False). A flow asks for `more` while as many as it tells are under way and
        nothing waits: then something may wait (True), and no connection stands idle before the last one has ended.
        """
        if self._flow is not None:
            self._call_by_flow(self._flow, waiting, may_go_on, ended, meanwhile, more)
            return
        while waiting and not self._is_slow:
            if not may_go_on(waiting[0]):
                return
            self._note(_call(waiting.popleft()), ended)
        if waiting:
            self._call_at_once(waiting, may_go_on, ended, meanwhile)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
        if self._flow is not None:
            self._flow.close()

    def _call_by_flow(
        self,
        flow: Flow,
        waiting: deque[Ready],
        may_go_on: Callable[[Ready], bool],
        ended: Callable[[Called], None],
        meanwhile: Callable[[], bool],
        more: Callable[[int], bool],
    ) -> None:
        under_way: dict[int, Ready] = {}
        try:
            while True:
                while waiting and self._has_room(flow):
                    if not may_go_on(waiting[0]):
                        return
                    self._put(flow, waiting.popleft(), under_way, ended)
                busy = self._is_well and (meanwhile() or (not waiting and more(len(under_way))))
                if under_way:
                    self._take(flow, under_way, ended, wait=not busy)
                elif not busy and not waiting:
                    return
        finally:
            # An exception amid it may have lost what ended: that is left to recovery, and not waited for.
            while under_way and (self._told or flow.under_way):
                self._take(flow, under_way, ended, wait=True)

    def _has_room(self, flow: Flow) -> bool:
        return flow.room(self._width) > 0 if self._is_well else flow.under_way == 0

    @property
    def _width(self) -> int:
        """How many the provider works on at a time: the one that is quick has the next before it is asked for."""
        return self._parallel if self._is_slow else min(self._parallel, _QUICK_WIDTH)

    def _put(self, flow: Flow, ready: Ready, under_way: dict[int, Ready], ended: Callable[[Called], None]) -> None:
        tag = ready.row.touchpoint_id
        # Before it is put: where a signal comes amid that, it may leave all the same.
        under_way[tag] = ready
        try:
            flow.put(tag, ready.message, self._width)
        except Exception as error:
            del under_way[tag]
            ended(Called(ready, 0.0, error=error))

    def _take(self, flow: Flow, under_way: dict[int, Ready], ended: Callable[[Called], None], *, wait: bool) -> None:
        if not self._told:
            self._told.extend(flow.ended(wait))
        while self._told:
            one = self._told.popleft()
            self._is_well = one.error is None or isinstance(one.error, RecipientRefused)
            self._note(Called(under_way.pop(one.tag), one.seconds, one.result, one.error), ended)

    def _call_at_once(
        self,
        waiting: deque[Ready],
        may_go_on: Callable[[Ready], bool],
        ended: Callable[[Called], None],
        meanwhile: Callable[[], bool],
    ) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._parallel, "sender")
        under_way: set[Future[Called]] = set()
        try:
            while waiting and may_go_on(waiting[0]):
                under_way.add(self._threads.submit(_call, waiting.popleft()))
                if len(under_way) >= self._parallel:
                    while not any(one.done() for one in under_way) and meanwhile():
                        pass
                    for one in wait(under_way, return_when=FIRST_COMPLETED).done:
                        under_way.discard(one)
                        self._note(one.result(), ended)
            while not all(one.done() for one in under_way) and meanwhile():
                pass
        finally:
            for one in wait(under_way).done:
                self._note(one.result(), ended)

    def _note(self, called: Called, ended: Callable[[Called], None]) -> None:
        self._least.append(called.seconds)
        self._is_slow = min(self._least) > QUICK
        ended(called)


def _call(ready: Ready) -> Called:
    began = time.monotonic()
    try:
        result = ready.channel.send(ready.message, idempotency_key=key_of(ready.row))
    except Exception as error:
        return Called(ready, time.monotonic() - began, error=error)
    return Called(ready, time.monotonic() - began, result)


class Pace:
    """How many messages are noted at most whose calls have not ended, or are not written as ended.

    A crash leaves doubt about all of them, so a group is as large as is called for in a moment: few messages for a slow sender, for a quick
    one so many that writing the notes costs little.
    """

    MOST = 128
    _SHORT, _LONG = 0.1, 0.2

    def __init__(self) -> None:
        self.size = 1
        self._began = 0.0

    def begin(self, at_once: int = 1) -> None:
        """A group begins, of as many at least as are called for at the same time: so many become doubtful together all the same."""
        self.size = min(max(self.size, at_once), self.MOST)
        self._began = time.monotonic()

    def end(self) -> None:
        """It ended: the next is larger when this one took a moment, smaller when it took long."""
        took = time.monotonic() - self._began
        if took < self._SHORT:
            self.size = min(self.size * 2, self.MOST)
        elif took > self._LONG:
            self.size = max(self.size // 2, 1)
