"""Many mails by one thread: several connections, each of which is told the next mail together with the body of the one before."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from crm_plugin.adapters.channels.base import Flow, Flowed
from crm_plugin.adapters.channels.mime import Mail
from crm_plugin.adapters.channels.smtp.connection import READ, WRITE, Connection, ConnectionLost, Ended
from crm_plugin.adapters.channels.smtp.pool import Pool, lost
from crm_plugin.records import Message, SendResult

# What there is in hand for a connection: the mail whose end it waits for, the one that was told together with it, and the one after them.
_PER_CONNECTION = 3
# A connection that was opened is looked for so often, should its bell not ring.
_BELL_SECONDS = 1.0
_EVENTS = {READ: selectors.EVENT_READ, WRITE: selectors.EVENT_WRITE}


@dataclass(slots=True, eq=False)
class _Call:
    """A mail that was put in. `tried` once it was lost on a connection that had been used before."""

    tag: int
    mail: Mail
    began: float
    tried: bool = False


class SmtpFlow(Flow):
    """Mails that `build` makes, over at most so many connections; they come from the pool and go back to it."""

    def __init__(self, pool: Pool, build: Callable[[Message], Mail], most: int) -> None:
        self._pool, self._build, self._most = pool, build, most
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[_Call] = deque()
        # By the identity of the mail.
        self._calls: dict[int, _Call] = {}
        # What the selector watches each for.
        self._open: dict[Connection, int] = {}
        self._idle: list[Connection] = []
        self._opening: set[Future[Connection]] = set()
        # Opens and closes, which may take some answers of the server.
        self._others: ThreadPoolExecutor | None = None
        self._done: list[Flowed] = []
        # Whoever has opened a connection wakes the thread that waits.
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)

    @property
    def under_way(self) -> int:
        return len(self._calls) + len(self._done)

    def room(self, width: int) -> int:
        return _PER_CONNECTION * min(width, self._most) - self.under_way

    def put(self, tag: int, message: Message, width: int) -> None:
        call = _Call(tag, self._build(message), time.monotonic())
        self._calls[id(call.mail)] = call
        self._waiting.append(call)
        self._assign(min(width, self._most))

    def ended(self, wait: bool) -> list[Flowed]:
        self._heed(self._pause() if wait and not self._done else 0.0)
        if self._opening:
            # Not by the bell alone: an exception from without may have come before it was hung up.
            self._take_opened()
        now = time.monotonic()
        for connection in [one for one in self._busy if one.torn or one.until <= now]:
            self._settle(connection, connection.expire())
        if self._waiting:
            self._assign(max(len(self._open), 1))
        done, self._done = self._done, []
        if wait and not (done or self._waiting or self._opening or self._busy):
            # An exception from without, amid a step, has lost the others: whether they left nobody knows, and nothing will tell.
            self._calls.clear()
        return done

    @property
    def _busy(self) -> list[Connection]:
        return [one for one in self._open if not one.idle]

    def _pause(self) -> float:
        if busy := self._busy:
            return max(min(0.0 if one.torn else one.until for one in busy) - time.monotonic(), 0.0)
        return _BELL_SECONDS if self._opening else 0.0

    def _heed(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._bell.recv(4096)
                self._take_opened()
            elif key.data in self._open:
                # What broke before it in the list may have taken it along.
                self._settle(key.data, key.data.go_on(self._follow))

    def _follow(self) -> Mail | None:
        """The mail that goes out together with another's body: one that was lost before has a connection of its own."""
        if not self._waiting or self._waiting[0].tried:
            return None
        call = self._waiting.popleft()
        call.began = time.monotonic()
        return call.mail

    def _assign(self, width: int) -> None:
        """Give what waits to connections that are idle, and open more where all are busy."""
        for connection in [*self._idle]:
            # What broke before it may have taken it along.
            if connection in self._idle and (call := self._next_for(connection)) is not None:
                self._idle.remove(connection)
                call.began = time.monotonic()
                connection.begin(call.mail)
                self._settle(connection, connection.go_on(self._follow))
        if self._waiting and self._idle and not self._opening and len(self._open) >= width:
            # What waits needs a new one, and there are no more than so many.
            self._retire(self._idle[0])
        while len(self._waiting) > len(self._opening) and len(self._open) + len(self._opening) < width:
            kept = self._pool.take()
            if kept is not None:
                self._use(kept)
                self._assign(width)
                return
            future = self._beside.submit(Connection, self._pool.server)
            self._opening.add(future)
            future.add_done_callback(lambda _: self._ring.send(b"!"))

    def _next_for(self, connection: Connection) -> _Call | None:
        """The first that waits. One that was lost goes over a new one, and first: whoever hangs up after a few mails would do so again."""
        is_new = connection.sent == 0
        call = next((one for one in self._waiting if one.tried and is_new), next(iter(self._waiting), None))
        if call is None or (call.tried and not is_new):
            return None
        self._waiting.remove(call)
        return call

    @property
    def _beside(self) -> ThreadPoolExecutor:
        if self._others is None:
            self._others = ThreadPoolExecutor(self._most, "smtp")
        return self._others

    def _use(self, connection: Connection) -> None:
        self._open[connection] = READ
        self._idle.append(connection)
        self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def _take_opened(self) -> None:
        for future in [one for one in self._opening if one.done()]:
            self._opening.discard(future)
            error = future.exception()
            if error is None:
                self._use(future.result())
            elif self._open or self._opening:
                # There are no more than the others from now on: who takes so many may shut out whoever asks again and again.
                self._most = len(self._open) + len(self._opening)
            else:
                while self._waiting:
                    self._end(self._waiting.popleft(), error)
        self._assign(len(self._open))

    def _settle(self, connection: Connection, ends: list[Ended]) -> None:
        """What a step of a connection came to."""
        for place, end in enumerate(ends):
            call = self._calls.get(id(end.mail))
            if call is None:
                # It was told before an exception from without came.
                continue
            if not isinstance(end.error, ConnectionLost):
                self._end(call, end.error)
            elif call.tried or (connection.sent == 0 and place == 0):
                self._end(call, lost(end.error))
            else:
                # Closed by the server after others: nothing of it was delivered, a new one is worth one try.
                call.tried = True
                self._waiting.append(call)
        if connection.broken or (connection.idle and connection.worn):
            self._leave(connection)
        elif connection.idle and connection not in self._idle:
            self._idle.append(connection)
        if self._open.get(connection, connection.wants) != connection.wants:
            self._open[connection] = connection.wants
            self._selector.modify(connection.sock, _EVENTS[connection.wants], connection)

    def _leave(self, connection: Connection) -> None:
        # Those that stand idle beside a broken one may be as dead.
        for one in {connection, *(self._idle if connection.broken else ())}:
            self._retire(one)

    def _retire(self, connection: Connection) -> None:
        self._forget(connection)
        self._beside.submit(connection.close)

    def _forget(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)
        with suppress(KeyError):
            self._selector.unregister(connection.sock)

    def _end(self, call: _Call, error: BaseException | None) -> None:
        del self._calls[id(call.mail)]
        seconds = time.monotonic() - call.began
        if error is None:
            self._done.append(Flowed(call.tag, seconds, SendResult(call.mail.message_id)))
        elif isinstance(error, Exception):
            self._done.append(Flowed(call.tag, seconds, error=error))
        else:
            raise error

    def close(self) -> None:
        # Of what nobody waits for any more nothing is begun.
        self._waiting.clear()
        if self._others is not None:
            self._others.shutdown()
            self._take_opened()
        for connection in list(self._open):
            self._forget(connection)
            if connection.idle and not connection.torn:
                self._pool.give_back(connection)
            else:
                connection.close(politely=False)
        self._selector.close()
        self._bell.close()
        self._ring.close()
